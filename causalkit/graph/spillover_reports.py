"""Tables about a fit with spillover: exposure cells, columns of the degree, assumptions in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.graph.neighbourhoods import NodeFeatures
from causalkit.graph.pool import FeatureSets
from causalkit.graph.spillover_exposures import ExposureMoments
from causalkit.inference import FitSummary

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ASSUMPTIONS",
    "exposure_cells",
    "exposure_report",
    "levels_by_effect",
    "summarise_spillover",
    "with_degree",
]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

_MOST_CELLS = 6
_QUARTERS = 4

ASSUMPTIONS = (
    "The exposure is right: the outcome depends on treatments through own treatment and the exposure alone (see "
    "two_hop_test()).",
    "Unconfoundedness: given own and neighbours' covariates and the graph, treatments are as good as random (see "
    "negative_control()).",
    "Given covariates and graph, treatments of different nodes are independent, unless mean and variance of the "
    "exposure were given.",
    "Overlap: for such covariates a node has a chance of either treatment, and its exposure varies (see overlap()).",
    "Graph and covariates were measured before treatment.",
    "Inference is conditional on the graph.",
)


def with_degree(data: NodeFeatures, degree: Array, center: float, scale: float) -> NodeFeatures:
    """Columns with the degree itself behind the others, in every set that sees the graph.

    A count of treated neighbours has mean Σe_j, which grows with the degree and not with its logarithm.
    """
    column = ((degree - center) / scale if scale > 0 else np.zeros(len(degree))).astype(np.float32)
    place = np.array([data.sets.columns.shape[1]])
    sets = {name: part if name == "own" else np.append(part, place) for name, part in data.sets.sets.items()}
    columns = np.hstack([data.sets.columns, column[:, None]])
    return NodeFeatures(FeatureSets(columns, sets, data.sets.messages), data.values, data.graph, data.nodes)


def exposure_cells(exposure: Array, reached: NDArray[np.bool_]) -> tuple[Codes, list[str]]:
    """Cells of one exposure: its values where they are few, else quarters; nodes without exposure are the first cell.

    Parameters
    ----------
    exposure : ndarray, shape (n,)
        Observed exposure.
    reached : ndarray of bool, shape (n,)
        Whether any treatment can reach the node.

    Returns
    -------
    cells : ndarray of int, shape (n,)
    labels : list of str
        What each cell is.
    """
    cells = np.zeros(len(exposure), dtype=np.intp)
    labels = ["no exposure possible"] if not reached.all() else []
    if not reached.any():
        return cells, labels
    start, values = len(labels), exposure[reached]
    levels = np.unique(values)
    if len(levels) <= _MOST_CELLS:
        cells[reached] = start + np.searchsorted(levels, values)
        return cells, labels + [f"exposure {level:.6g}" for level in levels]
    edges = np.unique(np.quantile(values, np.arange(1, _QUARTERS) / _QUARTERS))
    edges = edges[edges > levels[0]]
    cells[reached] = start + np.searchsorted(edges, values, side="right")
    bounds = [levels[0], *edges, levels[-1]]
    for k in range(len(edges) + 1):
        closing = "]" if k == len(edges) else ")"
        labels.append(f"exposure in [{bounds[k]:.4g}, {bounds[k + 1]:.4g}{closing}")
    return cells, labels


def exposure_report(isolates: NDArray[np.bool_], columns: Array, moments: ExposureMoments) -> pd.DataFrame:
    """One row per exposure: rows, isolates, nodes that no treatment can reach, mean, residual variance."""
    import pandas as pd

    reached = np.diagonal(moments.covariance, axis1=1, axis2=2) > 0
    table = [
        {
            "exposure": name,
            "rows": len(columns),
            "isolates": int(isolates.sum()),
            "without_exposure": int((~reached[:, j]).sum()),
            "mean": float(moments.values[:, j].mean()),
            "residual_variance": float((columns[:, 1 + j] ** 2).mean()),
        }
        for j, name in enumerate(moments.names)
    ]
    return pd.DataFrame(table)


def levels_by_effect(kinds: dict[str, str], at: Any, interaction: bool) -> dict[str, Any]:
    """Levels at which effects are wanted, under the names of the effects, or one for all of them under "at".

    Parameters
    ----------
    kinds : dict of str to str
        "direct", "total" or "spillover" with a number, by the name of the effect.
    at : float, array-like, dict or None
        What the user gave.
    interaction : bool
        Whether effects depend on levels.

    Raises
    ------
    ValueError
        Levels of effects that have none, or one level for effects that mean different things by it.
    """
    if isinstance(at, dict):
        allowed = [name for name, kind in kinds.items() if kind != "total"]
        for name in at:
            if name not in allowed:
                raise ValueError(
                    f"at has a level for {name!r}: expected levels of direct effects and spillovers that are asked "
                    f"for, {', '.join(map(repr, allowed)) or 'here none'}. Leave it out, or add it to effect."
                )
        return at
    if at is None:
        return {}
    if set(kinds.values()) == {"total"}:
        raise ValueError('at has no meaning for effect="total", everybody treated against nobody: leave it out.')
    spills = [name for name, kind in kinds.items() if kind.startswith("spillover")]
    if interaction and spills and "direct" in kinds:
        raise ValueError(
            f"at={at!r} would be the exposure of the direct effect and the own treatment of {spills[0]!r} at once: "
            f'pass a dict, at={{"direct": exposure, "{spills[0]}": treatment}}, or ask for the effects one by one.'
        )
    return {"at": at}


def summarise_spillover(learner: Any) -> FitSummary:
    """Summary of a fitted SpilloverRLearner."""
    exposures = learner.exposure_names_
    spills = ["spillover"] if len(exposures) == 1 else [f"spillover_{name}" for name in exposures]
    result = learner.ate(["direct", *spills, *(["total"] if learner._source.mappings is not None else [])])
    used = learner.selection_[learner.selection_["weight"] > 0]
    reached = ", ".join(f"{row.exposure}: {row.without_exposure}" for row in learner.report_.itertuples())
    notes = (
        f"SpilloverRLearner: {len(learner.effect_)} rows of a graph with {learner.graph_.n_nodes} nodes and "
        f"{learner.graph_.n_edges} edges; exposure {', '.join(exposures)}",
        f"final stage: {', '.join(f'{row.candidate} ({row.weight:.2f})' for row in used.itertuples())}",
        f"dependence: {result.dependence}",
        f"propensities clipped: {learner.clipped_share_:.1%}; rows that no treatment can reach: {reached}",
        "The intervals are for a wider population of such nodes on this network; for the average over exactly "
        "these nodes they are a little wide.",
    )
    return FitSummary(result.summary(), notes=notes, assumptions=ASSUMPTIONS)
