"""Bootstrap of an estimate from two samples whose clusters may reach across them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.power_tuning import Solution
from causalkit.debiasing.two_sample import Codes, Side
from causalkit.exceptions import CalibrationError

__all__ = ["bootstrap_estimates"]

Array = NDArray[np.float64]

Solver = Callable[[Side, Side, Codes | None], Solution]


def bootstrap_estimates(
    solve: Solver,
    labelled: Side,
    unlabelled: Side,
    codes: Codes | None,
    *,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> Array:
    """Estimates on resampled data, tuned anew in each draw.

    Clusters (rows without groups) are drawn with replacement, keeping the number of clusters of each sample
    and arm. Samples and arms that share clusters are drawn together, because a cluster brings all its rows.
    Draws in which an arm lost its rows or the regressors became collinear are drawn again.

    Parameters
    ----------
    solve : callable
        ``solve(labelled, unlabelled, codes)`` returns a Solution.
    labelled, unlabelled : Side
        The two samples.
    codes : ndarray of int, shape (n + N,), optional
        Cluster of each stacked row.
    n_bootstrap : int
        Number of draws B.
    rng : Generator
        Source of the draws.

    Returns
    -------
    ndarray, shape (B, q)

    Raises
    ------
    ValueError
        If nine of ten draws have to be repeated.
    """
    n, total = labelled.n, labelled.n + unlabelled.n
    units = np.arange(total) if codes is None else codes
    cells = _cells(labelled, unlabelled)
    n_cells = int(cells.max()) + 1
    strata = _strata(units, cells, n_cells)
    draws: list[Array] = []
    for _ in range(10 * n_bootstrap + 10):
        counts = np.zeros(int(units.max()) + 1, dtype=np.intp)
        for members in strata:
            picked = members[rng.integers(len(members), size=len(members))]
            counts += np.bincount(picked, minlength=len(counts))
        repeats = counts[units]
        rows = np.repeat(np.arange(total), repeats)
        if np.bincount(cells[rows], minlength=n_cells).min() == 0:
            continue
        drawn = None if codes is None else _copies(codes, rows, repeats, len(counts))
        split = int(np.searchsorted(rows, n))
        try:
            solution = solve(labelled.take(rows[:split]), unlabelled.take(rows[split:] - n), drawn)
        except CalibrationError:
            continue
        draws.append(solution.estimate)
        if len(draws) == n_bootstrap:
            return np.array(draws)
    raise ValueError(
        f"n_bootstrap={n_bootstrap}: nine of ten resamples lost an arm or became collinear; expected resamples that "
        "can be refitted. Use n_bootstrap=0, or groups with more clusters."
    )


def _cells(labelled: Side, unlabelled: Side) -> Codes:
    """Sample and arm of each stacked row, numbered from 0 without gaps."""
    arm = np.zeros(labelled.n, dtype=np.intp) if labelled.arm is None else labelled.arm
    arm_u = np.zeros(unlabelled.n, dtype=np.intp) if unlabelled.arm is None else unlabelled.arm
    cells = np.concatenate([2 * arm, 2 * arm_u + 1])
    return np.unique(cells, return_inverse=True)[1].astype(np.intp)


def _strata(units: Codes, cells: Codes, n_cells: int) -> list[Codes]:
    """Units of each set of cells that share units, directly or through others."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    present = csr_array((np.ones(len(units)), (units, cells)), shape=(int(units.max()) + 1, n_cells))
    _, stratum_of_cell = connected_components(present.T @ present, directed=False)
    stratum = np.full(present.shape[0], -1, dtype=np.intp)
    stratum[units] = stratum_of_cell[cells]
    return [np.flatnonzero(stratum == s) for s in range(int(stratum_of_cell.max()) + 1)]


def _copies(codes: Codes, rows: Codes, repeats: Codes, n_units: int) -> Codes:
    """Cluster of each resampled row; two copies of a cluster are two clusters."""
    start = np.cumsum(repeats) - repeats
    copy = np.arange(len(rows)) - np.repeat(start, repeats)
    return np.unique(codes[rows] + n_units * copy, return_inverse=True)[1].astype(np.intp)
