r"""Exposure contrasts of experiments: means over exposure cells, weighted by their known probabilities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import IdentificationError
from causalkit.graph.exposure import (
    ExposureMapping,
    neighbour_count_probability,
    require_binary,
    require_graph,
    resolve_exposure,
)
from causalkit.graph.graph import Graph
from causalkit.graph.warning_place import warnings_at_caller
from causalkit.inference import InferenceResult, network_covariance
from causalkit.validation import check_choice, check_vector

__all__ = ["exposure_contrast"]

Array = NDArray[np.float64]
Cell = tuple[int | None, int]


def exposure_contrast(
    y: Any,
    *,
    treatment: Any,
    graph: Graph,
    probability: Any,
    exposure: Any = "any",
    threshold: int | None = None,
    levels: tuple[Any, Any] = (1, 0),
    estimator: str = "hajek",
    dependence: str = "auto",
    bandwidth: Any = "auto",
) -> InferenceResult:
    r"""Difference in mean outcome between two exposure levels of an experiment with known probabilities.

    Treatments are independent Bernoulli with known probabilities, so that node i is in cell d with known probability
    :math:`\pi_i(d)`: :math:`1 - \prod_j(1 - p_j)` over its neighbours for "any". The estimand is
    :math:`\mu(d) - \mu(d')`, the average over the nodes that can be in both cells of the outcome each would have
    there; the estimators are

    .. math:: \hat\mu_{\text{Hájek}}(d) = \frac{\sum_i 1\{D_i = d\}Y_i/\pi_i(d)}{\sum_i 1\{D_i = d\}/\pi_i(d)},\qquad
              \hat\mu_{\text{HT}}(d) = \frac1n\sum_i \frac{1\{D_i = d\}Y_i}{\pi_i(d)} .

    Parameters
    ----------
    y : array-like, shape (n_nodes,)
        Outcomes in the order of ``graph.nodes``.
    treatment : array-like of 0 and 1, shape (n_nodes,)
        Treatments.
    graph : Graph
        Who acts on whom.
    probability : float or array-like, shape (n_nodes,)
        Treatment probabilities of the experiment, in (0, 1).
    exposure : {"any", "threshold"}, default="any"
        Whether some neighbour is treated, or at least ``threshold`` of them.
    threshold : int, optional
        For "threshold".
    levels : tuple of two, default=(1, 0)
        The cells. An integer is an exposure level whatever the own treatment; a pair (own, exposure) fixes both, so
        that ((1, 0), (0, 0)) is the direct effect without exposure.
    estimator : {"hajek", "ht"}, default="hajek"
        Hájek has the smaller variance as a rule; Horvitz-Thompson is unbiased.
    dependence, bandwidth
        As in :func:`causalkit.inference.network_covariance`; outcomes of nodes whose neighbourhoods overlap are
        dependent, so that the exposure's reach counts as K = 1.

    Returns
    -------
    InferenceResult
        One estimate. ``dependence`` says how many nodes can be in one of the cells only and were left out.

    Raises
    ------
    IdentificationError
        No node is in one of the cells, or none can be in both.
    ValueError
        Treatments that are not 0 or 1, probabilities outside (0, 1), other lengths, an unknown level.

    Notes
    -----
    Assumptions: the mapping is right (the outcome depends on the treatments of others through it alone), treatments
    are independent with the given probabilities, and dependence between nodes fades with distance.

    References
    ----------
    Aronow & Samii 2017, Annals of Applied Statistics 11. Leung 2022, Econometrica 90 (the covariance).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.graph import Graph, exposure_contrast, exposure_mapping
    >>> rng = np.random.default_rng(0)
    >>> ring = Graph.from_edges([(i, (i + 1) % 600) for i in range(600)], n_nodes=600)
    >>> t = rng.integers(0, 2, 600)
    >>> y = 1.0 + 2.0 * exposure_mapping(ring, t, "any") + rng.normal(size=600)
    >>> result = exposure_contrast(y, treatment=t, graph=ring, probability=0.5)
    >>> bool(abs(result.estimate[0] - 2.0) < 3 * result.std_error[0])
    True
    """
    n = require_graph(graph).n_nodes
    outcome = check_vector(y, "y", n_rows=n, like="graph")
    assigned = check_vector(treatment, "treatment", n_rows=n, like="graph")
    require_binary(assigned)
    p = np.full(n, probability, dtype=np.float64) if np.ndim(probability) == 0 else None
    p = check_vector(probability, "probability", n_rows=n, like="graph") if p is None else p
    if not ((p > 0) & (p < 1)).all():
        raise ValueError("probability must lie strictly between 0 and 1: nodes treated for certain carry no contrast.")
    check_choice(exposure, "exposure", ("any", "threshold"))
    check_choice(estimator, "estimator", ("hajek", "ht"))
    mapping = resolve_exposure(graph, exposure, threshold)
    cells = [_cell(level) for level in levels] if len(tuple(levels)) == 2 else []
    if len(cells) != 2 or cells[0] == cells[1]:
        raise ValueError(f"levels must be two different cells, such as (1, 0) or ((1, 0), (0, 0)); got {levels!r}.")
    chance = neighbour_count_probability(mapping.weights, p, mapping.threshold)
    possible = np.stack([_cell_probability(cell, chance, p) for cell in cells])
    both = (possible > 0).all(axis=0)
    if not both.any():
        raise IdentificationError(
            f"no node can be in both cells {levels[0]!r} and {levels[1]!r}: none has enough neighbours. Use another "
            "exposure or other levels."
        )
    rows = np.flatnonzero(both)
    means, influence = _cell_means(cells, mapping, outcome, assigned, possible, rows, estimator, levels)
    values = np.zeros(n)
    values[rows] = influence[0] - influence[1]
    with warnings_at_caller():
        covariance = network_covariance(
            values[rows][:, None],
            graph.to_scipy(),
            positions=rows,
            dependence=dependence,
            bandwidth=bandwidth,
            exposure_radius=mapping.reach,
        )
    name = f"{levels[0]!r} - {levels[1]!r}"
    result = covariance.to_result(np.array([means[0] - means[1]]), [name], n_obs=len(rows))
    if len(rows) == n:
        return result
    note = f"; {n - len(rows)} of {n} nodes can be in one of the cells only and were left out"
    return replace(result, dependence=result.dependence + note)


def _cell(level: Any) -> Cell:
    """(own treatment or None, exposure level)."""
    parts = level if isinstance(level, tuple | list) else (None, level)
    if len(parts) != 2 or parts[0] not in (None, 0, 1) or parts[1] not in (0, 1):
        raise ValueError(
            f"levels holds {level!r}: expected an exposure level 0 or 1, or a pair (own, exposure) of them."
        )
    return (None if parts[0] is None else int(parts[0]), int(parts[1]))


def _cell_probability(cell: Cell, chance: Array, p: Array) -> Array:
    """π_i(d); own treatment is independent of the neighbours'."""
    own, exposed = cell
    probability = chance if exposed else 1.0 - chance
    if own is None:
        return np.asarray(probability)
    return np.asarray(probability * (p if own else 1.0 - p))


def _cell_means(
    cells: list[Cell],
    mapping: ExposureMapping,
    outcome: Array,
    assigned: Array,
    possible: Array,
    rows: NDArray[np.intp],
    estimator: str,
    levels: tuple[Any, Any],
) -> tuple[list[float], list[Array]]:
    """Estimated mean of each cell and its influence values over the rows."""
    exposed = mapping.values(assigned)
    means, influence = [], []
    for cell, chance, level in zip(cells, possible, levels, strict=True):
        own, wanted = cell
        inside = (exposed == wanted) & ((assigned == own) if own is not None else True)
        weight = np.where(inside, 1.0, 0.0)[rows] / chance[rows]
        if not weight.any():
            raise IdentificationError(f"no node is in cell {level!r} of those that can be in both: nothing to average.")
        if estimator == "hajek":
            total = weight.mean()
            mean = float(weight @ outcome[rows] / weight.sum())
            influence.append(weight * (outcome[rows] - mean) / total)
        else:
            mean = float((weight * outcome[rows]).mean())
            influence.append(weight * outcome[rows] - mean)
        means.append(mean)
    return means, influence
