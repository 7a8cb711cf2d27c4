"""Rules that choose alpha. None of them targets causal risk, which the data do not identify."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar

from causalkit.augmentation.moments import Moments
from causalkit.augmentation.solution import LinearProblem
from causalkit.exceptions import MethodNotApplicableError

__all__ = [
    "confounding_strength",
    "generalised_cross_validation",
    "held_out_r2",
    "level_codes",
    "partition",
    "tolerance_alpha",
]

Array = NDArray[np.float64]

_CONTINUOUS = 10  # columns with more distinct values are cut in two


def held_out_r2(coef: Array, intercept: Array, test: Moments, features: str) -> Array:
    """R² on held-out rows for each alpha, from their moments alone, averaged over outcomes.

    Parameters
    ----------
    coef : ndarray, shape (m, p, t)
        Coefficients of each alpha, with those of the controls below where there are any.
    intercept : ndarray, shape (m, t)
        Intercepts.
    test : Moments
        Of the held-out rows.
    features : {"X", "x", "Xw", "xw"}
        Un-augmented or augmented features, with the controls where there are any.

    Returns
    -------
    ndarray, shape (m,)
    """
    A, a = test.second(features, features, partial=False), test.second(features, "y", partial=False)
    variance = np.diag(test.second("y", "y", partial=False))
    offset = test.average("y") - test.average(features) @ coef - intercept
    error = variance + ((A @ coef - 2 * a) * coef).sum(axis=1) + offset**2
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(variance > 0, 1.0 - error / np.where(variance > 0, variance, 1.0), 0.0)
    return np.asarray(share.mean(axis=1))


def generalised_cross_validation(problem: LinearProblem, alphas: Array, n: int) -> Array:
    """E_n r²/(1 - df/n)² for each alpha, shape (m,); outcomes are averaged relative to their variance."""
    freedom = problem.spectrum.degrees_of_freedom(alphas)
    if freedom is None:
        raise MethodNotApplicableError(
            'selection="gcv" does not apply to penalty="projected": its degrees of freedom are p for every alpha. Use '
            'selection="cv" or "confounder_correction", or penalty="pointwise".'
        )
    constant = problem.outcome_square <= 0  # every alpha fits such an outcome
    risk = problem.risk(problem.spectrum.coef(alphas)) / np.where(constant, 1.0, problem.outcome_square)
    return np.asarray(risk.mean(axis=1) / (1 - freedom / n) ** 2)


def tolerance_alpha(problem: LinearProblem, tolerance: float) -> float:
    """The alpha at which h'Bh is ``tolerance`` times the variance of y.

    h'Bh rises with alpha from 0 (within the unmoved directions) to its value at alpha = inf, so the root is
    unique (test_penalty_rises_with_alpha).
    """
    target = tolerance * float(problem.outcome_square[0])

    def excess(log_alpha: float) -> float:
        return float(problem.penalty_value(problem.coef(float(np.exp(log_alpha))))[0]) - target

    if problem.penalty == "constrained":
        return 0.0
    if float(problem.penalty_value(problem.coef(np.inf))[0]) <= target:
        return np.inf
    if target <= 0:
        return 0.0
    values = problem.spectrum.values
    scale = float(values.max(initial=0.0))
    low, high = np.log(scale) - 60.0, np.log(scale) + 60.0
    if problem.penalty == "analytic":  # factors 1/(1 + (1 + 1/alpha)l): the same range on both sides of 1
        low, high = low - 60.0, high + 60.0
    if excess(low) >= 0:
        return 0.0
    if excess(high) <= 0:
        return float(np.exp(high))
    return float(np.exp(brentq(excess, low, high, xtol=1e-12)))


def confounding_strength(h_ols: Array, covariance: Array) -> float:
    r"""Estimate β̂ of the share of ‖h_ols‖² that is confounding, for effects without preferred direction.

    With u = h_ols/‖h_ols‖, eigenpairs (s_j, q_j) of the covariance of the features and M_j = 1 + θ/s_j, θ maximises
    :math:`-\tfrac12\sum_j\log M_j - \tfrac p2\log\sum_j (q_j'u)^2/M_j`, and
    :math:`\hat\beta = 1/(1 + 1/(0.001 + \hat\theta\,\mathrm{mean}(1/s_j)))`. It depends on the units of the features.

    Parameters
    ----------
    h_ols : ndarray, shape (p,)
        Least-squares coefficients on the features as they are.
    covariance : ndarray, shape (p, p)
        Covariance of the features.

    References
    ----------
    Janzing & Schölkopf 2018, arXiv:1803.00810; Janzing 2019, arXiv:1906.12179.
    """
    length = float(np.linalg.norm(h_ols))
    if length == 0:
        return 0.0  # nothing to share out
    s, q = np.linalg.eigh(covariance)
    s = np.clip(s, s.max() * 1e-12, None)
    share = (q.T @ (h_ols / length)) ** 2
    p = len(s)

    def loss(log_theta: float) -> float:
        m = 1.0 + np.exp(log_theta) / s
        return float(0.5 * np.log(m).sum() + 0.5 * p * np.log((share / m).sum()))

    grid = np.linspace(np.log(s.min()) - 10.0, np.log(s.max()) + 10.0, 201)
    values = [loss(g) for g in grid]
    best = int(np.argmin(values))
    theta = 0.0
    bracket = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = minimize_scalar(loss, bounds=bracket, method="bounded", options={"xatol": 1e-8})
    # θ = 0 is the edge of the range, where the loss is log Σ(q_j'u)² = 0.
    if min(found.fun, values[best]) < 0:
        theta = float(np.exp(found.x if found.fun <= values[best] else grid[best]))
    return float(1.0 / (1.0 + 1.0 / (0.001 + theta * float(np.mean(1.0 / s)))))


def level_codes(parameters: Array) -> NDArray[np.intp]:
    """Levels of the parameters: unique rows, continuous columns cut at mid-range.

    Raises
    ------
    ValueError
        Fewer than five levels, or most of them with a single row.
    """
    table = parameters.copy()
    for j in range(table.shape[1]):
        column = table[:, j]
        if len(np.unique(column)) > _CONTINUOUS:
            table[:, j] = column > (column.min() + column.max()) / 2
    _, codes, counts = np.unique(table, axis=0, return_inverse=True, return_counts=True)
    if len(counts) < 5 or (counts >= 2).mean() <= 0.5:
        raise ValueError(
            f'selection="level" needs at least 5 levels of the parameters, most with 2 rows or more; got {len(counts)} '
            f"levels, {int((counts >= 2).sum())} of them with 2 rows or more. Holding out levels of many continuous "
            'parameters is a random split under another name: use selection="cv".'
        )
    return np.asarray(codes.ravel(), dtype=np.intp)


def partition(splits: list[tuple[NDArray[np.intp], NDArray[np.intp]]], n: int) -> NDArray[np.intp] | None:
    """Fold of each row, if the test sets do not overlap and train sets are their complements; else None."""
    labels = np.full(n, -1, dtype=np.intp)
    for fold, (train, test) in enumerate(splits):
        times = np.bincount(np.concatenate([train, test]), minlength=n)
        if (labels[test] >= 0).any() or (times != 1).any():
            return None
        labels[test] = fold
    return labels
