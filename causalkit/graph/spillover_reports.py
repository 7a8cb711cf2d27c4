"""Tables about a fit with spillover: exposure cells, columns of the degree, assumptions in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from causalkit.graph.neighbourhoods import NodeFeatures
from causalkit.graph.pool import FeatureSets
from causalkit.graph.spillover_exposures import ExposureMoments

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ASSUMPTIONS", "exposure_cells", "exposure_report", "with_degree"]

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
