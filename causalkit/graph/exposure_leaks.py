"""Covariates that are exposures: numbers made of the treatments of neighbours, which belong into ``exposure=``.

Passed along edges, an exposure brings a node its own treatment back, but in part only: over neighbours j of i the mean
of the share of treated neighbours holds T_i with weight :math:`d_i^{-1}\\sum_j d_j^{-1}`. With one neighbour each that
is 1, and the column of neighbours is the treatment; where hubs are linked to many nodes it is small, and no single
column gives the treatment away. Covariates are therefore compared with the exposures themselves.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.exceptions import LeakageWarning
from causalkit.graph.features import check_features
from causalkit.graph.graph import Graph
from causalkit.graph.inputs import NodeRows
from causalkit.graph.warning_place import caller_level

__all__ = ["exposures_among", "warn_of_exposures"]

Array = NDArray[np.float64]

_SAME = 0.999
_LEAST_ROWS = 30  # fewer agree by chance
_LEAST_DIFFERENT = 10  # rows that do not have the commonest exposure: a rare category agrees with fewer by chance


def warn_of_exposures(rows: NodeRows) -> None:
    """Warn of covariates that are exposures to the treatments of the fit."""
    found = exposures_among(rows)
    if not found:
        return
    names = check_features(rows.X)[1]
    listed = ", ".join(f"{names[j]} is the {words}" for j, words in list(found.items())[:3])
    warnings.warn(
        f"{len(found)} columns of X are made of the treatments of neighbours ({listed}): passed along edges, they "
        "bring a node part of its own treatment back, and the treatment model conditions on it. Exposures belong into "
        "exposure=, not into X.",
        LeakageWarning,
        stacklevel=caller_level(),
    )


def exposures_among(rows: NodeRows) -> dict[int, str]:
    """Columns of X that are an exposure up to unit and zero, with what the exposure is.

    Compared is what varies beside the number of neighbours: a count of treated neighbours goes with the degree, which
    is a covariate like any other.

    Parameters
    ----------
    rows : NodeRows
        Rows of the fit. Those with a neighbour without a row are left out: its treatment is unknown.

    Returns
    -------
    dict of int to str
    """
    graph, positions = rows.graph, rows.positions
    present = np.zeros(graph.n_nodes)
    present[positions] = 1.0
    lacking = np.asarray(graph.adjacency("binary") @ (1.0 - present))[positions] > 0
    kept = np.flatnonzero(~lacking)
    if len(kept) < _LEAST_ROWS:
        return {}
    found: dict[int, str] = {}
    for treatment in _treatments(rows):
        whole = np.zeros(graph.n_nodes)
        whole[positions] = treatment
        for words, exposure, reachable in _exposures(graph, whole):
            for j in _alike(rows.values, kept, exposure[positions[kept]], reachable[positions[kept]]):
                found.setdefault(j, words)
    return dict(sorted(found.items()))


def _treatments(rows: NodeRows) -> list[Array]:
    if rows.treatment.levels is None:
        return [rows.treatment.values]
    return [(rows.treatment.values == level).astype(np.float64) for level in range(1, rows.treatment.n_levels)]


def _exposures(graph: Graph, treatment: Array) -> Iterator[tuple[str, Array, Array]]:
    """What it is, its values, and those that it would have with everybody treated, of all nodes."""
    ones = np.ones(graph.n_nodes)
    for kind, words in (("binary", ""), *([("raw", ", weighted")] if graph.weighted else [])):
        matrix = sparse.csr_array(graph.adjacency(kind))
        total, full = matrix @ treatment, matrix @ ones
        share = np.divide(total, full, out=np.zeros(len(full)), where=full > 0)
        yield f"share of treated neighbours{words}", share, (full > 0).astype(np.float64)
        yield f"number of treated neighbours{words}", total, full
        if kind == "binary" and np.isin(treatment, (0.0, 1.0)).all():
            yield "presence of a treated neighbour", (total > 0).astype(np.float64), (full > 0).astype(np.float64)


def _alike(values: Array, kept: NDArray[np.intp], exposure: Array, full: Array) -> list[int]:
    counts = np.unique(exposure, return_counts=True)[1]
    if len(exposure) - counts.max() < _LEAST_DIFFERENT:
        return []
    left = _beside(exposure, full)
    size = float(left @ left)
    if size <= 1e-12 * float(exposure @ exposure):
        return []
    found = []
    for j in range(values.shape[1]):
        column = values[kept, j]
        column = _beside(column, full)
        length = float(column @ column)
        if length > 0 and abs(float(column @ left)) > _SAME * np.sqrt(length * size):
            found.append(j)
    return found


def _beside(column: Any, full: Array) -> Array:
    """Residual of a column on a constant and on ``full``; exactly 0 where rounding is all that is left."""
    centred = column - column.mean()
    slope = full - full.mean()
    size = float(slope @ slope)
    left = centred - slope * (float(slope @ centred) / size) if size > 0 else centred
    return left if float(left @ left) > 1e-12 * float(centred @ centred) else np.zeros(len(left))
