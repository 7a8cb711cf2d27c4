"""Likelihood of log-ratios with an l1 penalty on the precision: solver and optimality conditions."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.contrasts import helmert_contrasts
from causalkit.composition.covariance import basis_variances, variation_of

__all__ = [
    "TARGETS",
    "SparsePrecision",
    "largest_covariance",
    "optimality_residual",
    "solve_sparse",
]

Array = NDArray[np.float64]

TARGETS = ("basis", "invariant")
_RELAXATION = 1.6  # over-relaxation between 1 and 2; 1.6 needed about two thirds of the steps of 1
_CHECK_EVERY = 5  # the optimality check costs a matrix inverse, a fifth of a step


@dataclass(frozen=True)
class SparsePrecision:
    """Solution of a penalised likelihood.

    Attributes
    ----------
    precision : ndarray, shape (D, D)
        Θ of target "basis", Γ⁺ of target "invariant"; exactly symmetric, exact zeros.
    kkt_residual : float
        Largest violation of the optimality conditions over the largest variance.
    n_iter : int
        Steps of the solver.
    """

    precision: Array
    kkt_residual: float
    n_iter: int


def largest_covariance(gamma: Array) -> float:
    """α_max, the largest absolute entry of Γ off the diagonal."""
    off = np.abs(gamma)
    np.fill_diagonal(off, 0.0)
    return float(off.max())


def optimality_residual(precision: Array, gamma: Array, penalty: float, target: str) -> float:
    r"""Largest violation of the optimality conditions, over the largest diagonal entry of Γ.

    "basis": with :math:`W = \Theta^{-1}`, W = Γ on the diagonal, W - Γ = α sign Θ where Θ ≠ 0 and
    \|W - Γ\| ≤ α elsewhere. "invariant": P⁺ = Γ + αGZG with Z = sign P where P ≠ 0, \|Z\| ≤ 1 elsewhere and
    Z_ii = 0. Doubly centred matrices with this diagonal are settled by their distances a_ii + a_jj - 2a_ij, so Z
    is half the difference of the distances of Γ and P⁺, over α.

    Returns
    -------
    float
        Infinity where the precision is not positive definite (on the log-contrasts, for "invariant").
    """
    d = len(gamma)
    try:
        # P + 11'/D has the inverse P⁺ + 11'/D, whose distances are those of P⁺.
        lower = np.linalg.cholesky(precision if target == "basis" else precision + 1.0 / d)
    except np.linalg.LinAlgError:
        return math.inf
    half = np.linalg.inv(lower)
    inverse = half.T @ half
    if target == "basis":
        slack = inverse - gamma
        diagonal = float(np.abs(np.diag(slack)).max())
    else:
        slack = (variation_of(gamma) - variation_of(inverse)) / 2
        diagonal = 0.0
    off = np.where(precision != 0, np.abs(slack - penalty * np.sign(precision)), np.abs(slack) - penalty)
    np.fill_diagonal(off, diagonal)
    return max(float(off.max()), 0.0) / float(np.diag(gamma).max())


def _start(gamma: Array, target: str) -> Array:
    """Precision of independent parts: a positive definite start that costs nothing."""
    if target == "basis":
        return np.diag(1 / np.diag(gamma))
    omega = 1 / basis_variances(np.diag(gamma))
    return np.diag(omega) - np.outer(omega, omega) / omega.sum()


def _balanced(step: float, primal: float, dual: float) -> float:
    """Factor on the step size that brings the two residuals of the splitting closer to each other."""
    ratio = math.sqrt(primal / max(dual, 1e-300))
    return 1.0 if 0.5 <= ratio <= 2 else min(max(ratio, 0.1), 10.0)


def _zero_sum(matrix: Array) -> Array:
    """Off-diagonal entries kept, diagonal such that rows sum to zero: the diagonal carries no penalty."""
    out = matrix.copy()
    np.fill_diagonal(out, 0.0)
    np.fill_diagonal(out, -out.sum(axis=1))
    return out


def solve_sparse(
    gamma: Array,
    penalty: float,
    target: str = "basis",
    *,
    max_iter: int = 10000,
    tol: float = 1e-7,
    verbose: int = 0,
) -> SparsePrecision:
    r"""Minimise :math:`-\log\det\Theta + \mathrm{tr}(\Gamma\Theta) + \alpha\sum_{i\ne j}|\Theta_{ij}|`.

    With ``target="invariant"`` over Θ with Θ1 = 0 and the pseudo-determinant. The alternating direction method of
    multipliers splits the likelihood (one eigendecomposition) from the penalty (soft thresholds); its step size is
    balanced every tenth step. It stops on the optimality conditions themselves, not on the size of a step.

    Parameters
    ----------
    gamma : ndarray, shape (D, D)
        Covariance Γ of centred log-ratios.
    penalty : float
        α, in units of Γ, positive.
    target : {"basis", "invariant"}, default="basis"
    max_iter, tol, verbose
        As in :class:`CompositionalGraphicalLasso`.

    Returns
    -------
    SparsePrecision
        The best step seen; compare its residual with ``tol``.

    References
    ----------
    Boyd, Parikh, Chu, Peleato and Eckstein (2011), Foundations and Trends in Machine Learning 3:1-122, sections 3.4
    and 6.5.
    """
    unit = float(np.diag(gamma).max())
    scaled, alpha = gamma / unit, penalty / unit
    contrasts = None if target == "basis" else helmert_contrasts(len(gamma))
    sparse = _start(scaled, target)
    best = SparsePrecision(sparse, optimality_residual(sparse, scaled, alpha, target), 0)
    dual, step = np.zeros_like(sparse), 1.0
    diagonal = np.diag_indices_from(sparse)
    for n_iter in range(1, max_iter + 1):
        dense = _likelihood_step(step * (sparse - dual) - scaled, step, contrasts)
        previous = sparse
        moved = _RELAXATION * dense + (1 - _RELAXATION) * sparse + dual
        sparse = np.sign(moved) * np.maximum(np.abs(moved) - alpha / step, 0.0)
        sparse[diagonal] = moved[diagonal]
        dual = moved - sparse
        if n_iter % _CHECK_EVERY == 0 or n_iter == max_iter:
            candidate = sparse if contrasts is None else _zero_sum(sparse)
            residual = optimality_residual(candidate, scaled, alpha, target)
            if residual < best.kkt_residual:
                best = SparsePrecision(candidate, residual, n_iter)
            if verbose and n_iter % (10 * _CHECK_EVERY) == 0:
                sys.stderr.write(f"graphical lasso: step {n_iter}, residual {residual:.2e}\n")
            if residual <= tol:
                break
        if n_iter % 10 == 0:
            primal = float(np.linalg.norm(dense - sparse) / np.linalg.norm(sparse))
            change = float(np.linalg.norm(sparse - previous) / max(float(np.linalg.norm(dual)), 1e-300))
            factor = _balanced(step, primal, change)
            step *= factor
            dual /= factor
    return SparsePrecision(best.precision / unit, best.kkt_residual, n_iter)


def _likelihood_step(matrix: Array, step: float, contrasts: Array | None) -> Array:
    """Θ with step·Θ - Θ⁻¹ = matrix, on the log-contrasts where these are given; exactly symmetric."""
    values, vectors = np.linalg.eigh(matrix if contrasts is None else contrasts.T @ matrix @ contrasts)
    # The positive root of step·θ² - value·θ - 1 = 0, written so that nothing cancels.
    root = np.sqrt(values**2 + 4 * step)
    theta = np.where(values > 0, (values + root) / (2 * step), 2 / (root - values))
    half = (vectors if contrasts is None else contrasts @ vectors) * np.sqrt(theta)
    dense = half @ half.T
    return np.asarray((dense + dense.T) / 2)
