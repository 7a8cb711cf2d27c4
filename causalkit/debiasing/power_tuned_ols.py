"""Prediction-powered least squares: coefficients of labels moved by those of predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.power_tuning import (
    FIXED,
    ROUNDING,
    Parts,
    Solution,
    combine,
    labels_of,
    normalised,
    optimal_matrix,
    power_tuning,
    side_factors,
)
from causalkit.debiasing.two_sample import Codes, Side
from causalkit.exceptions import CalibrationError

__all__ = ["ols_solution"]

Array = NDArray[np.float64]

# Smallest eigenvalue of a Gram matrix with unit diagonal that still counts as full rank.
_SINGULAR = 1e-13
# Largest root of a variance inflation factor at which one solve of the normal equations is exact to about 1e-12.
_WELL_CONDITIONED = 30.0


@dataclass(frozen=True)
class _Gram:
    """Mean Gram matrix of one side, shape (p, p), with the weights that made it."""

    matrix: Array
    weight: Array | None
    used: int


def _gram(X: Array, weight: Array | None) -> _Gram:
    w, used = normalised(weight, len(X))
    return _Gram((X if w is None else X * w[:, None]).T @ X / used, w, used)


def _inverse(matrix: Array, name: str) -> Array:
    """Inverse of a Gram matrix through unit scaling; refuses collinear columns."""
    size = np.sqrt(np.diag(matrix))
    size[size == 0] = 1.0
    values, vectors = np.linalg.eigh(matrix / np.outer(size, size))
    if values[0] <= _SINGULAR * values[-1]:
        raise CalibrationError(
            f"{name} has collinear columns: expected {len(size)} linearly independent regressors with more rows than "
            f"columns, got a singular Gram matrix (smallest eigenvalue {values[0]:.1e} at unit scale). Drop columns."
        )
    inverse: Array = (vectors / values) @ vectors.T / np.outer(size, size)
    return inverse


def _coefficients(X: Array, target: Array, gram: _Gram, inverse: Array) -> tuple[Array, Array]:
    """Least-squares coefficients and residuals of one target."""
    residual, coef = target, np.zeros(X.shape[1])
    # The normal equations square the condition number: a second pass removes their error where it could show.
    size = np.sqrt(np.diag(gram.matrix) * np.diag(inverse))
    for _ in range(2 if size.max() > _WELL_CONDITIONED else 1):
        step = inverse @ (X.T @ (residual if gram.weight is None else residual * gram.weight) / gram.used)
        coef = coef + step
        residual = target - X @ coef
    if residual @ residual <= ROUNDING * (target @ target):
        residual = np.zeros_like(residual)
    return coef, residual


def _score_parts(direction: Array, residual: Array, gram: _Gram, out: Array, sign: float = 1.0) -> Array:
    """Fill ``out`` (n, p) with the parts ±(d r − mean)·w/n of a linear moment; return its mean, shape (p,).

    ``direction`` holds the rows d = H⁻¹x. Both arrays are stored by column: p long columns are several times
    faster to multiply than n short rows.
    """
    weighted = residual * (sign / gram.used)
    if gram.weight is not None:
        weighted *= gram.weight
    total: Array = direction.T @ weighted
    columns = out.T
    np.multiply(direction.T, weighted, out=columns)
    centre = (total / gram.used)[:, None]
    columns -= centre if gram.weight is None else centre * gram.weight
    return sign * total


@dataclass(frozen=True)
class _Fits:
    """Fits of labels (n), predictions (n) and predictions (N), with the two samples they came from."""

    X: tuple[Array, Array]
    targets: tuple[Array, Array, Array]
    grams: tuple[_Gram, _Gram]
    inverses: tuple[Array, Array]
    coefficients: tuple[Array, Array, Array]
    residuals: tuple[Array, Array, Array]

    @property
    def shift(self) -> Array:
        """Coefficients of the predictions on the labelled rows less those on the unlabelled ones."""
        return self.coefficients[1] - self.coefficients[2]

    def directions(self, inverse: Array, inverse_u: Array) -> tuple[Array, Array]:
        """Rows H⁻¹x of both samples, stored by column."""
        return (inverse @ self.X[0].T).T, (inverse_u @ self.X[1].T).T

    def parts(self, residuals: tuple[Array, Array, Array], directions: tuple[Array, Array]) -> Parts:
        """Parts of the three fits from given residuals and directions."""
        above, below = directions
        gram, gram_u = self.grams
        n = len(above)
        outcome, stacked = np.empty(above.shape, order="F"), np.empty((n + len(below), above.shape[1]), order="F")
        _score_parts(above, residuals[0], gram, outcome)
        level = _score_parts(above, residuals[1], gram, stacked[:n])
        level_u = _score_parts(below, residuals[2], gram_u, stacked[n:], sign=-1.0)
        weights, used = (gram.weight, gram_u.weight), (gram.used, gram_u.used)
        return Parts(self.coefficients[0], self.shift, outcome, stacked, level - level_u, weights, used)

    def own_parts(self) -> Parts:
        """Parts with the residuals and the Hessian of each fit."""
        return self.parts(self.residuals, self.directions(*self.inverses))

    def parts_at(self, value: float, directions: tuple[Array, Array]) -> Parts:
        """Parts with the residuals at the estimate that belongs to one λ."""
        coef = self.coefficients[0] - value * self.shift
        fitted, fitted_u = (X @ coef for X in self.X)
        y, f, f_u = self.targets
        return self.parts((y - fitted, f - fitted, f_u - fitted_u), directions)


def _fit(labelled: Side, unlabelled: Side) -> _Fits:
    X, X_u = _design(labelled), _design(unlabelled)
    y, f, f_u = labels_of(labelled), labelled.predictions, unlabelled.predictions
    gram, gram_u = _gram(X, labelled.weight), _gram(X_u, unlabelled.weight)
    inverse, inverse_u = _inverse(gram.matrix, "X"), _inverse(gram_u.matrix, "X_unlabelled")
    theta, own_y = _coefficients(X, y, gram, inverse)
    gamma, own_f = _coefficients(X, f, gram, inverse)
    gamma_u, own_f_u = _coefficients(X_u, f_u, gram_u, inverse_u)
    return _Fits(
        (X, X_u), (y, f, f_u), (gram, gram_u), (inverse, inverse_u), (theta, gamma, gamma_u), (own_y, own_f, own_f_u)
    )


def ols_solution(labelled: Side, unlabelled: Side, codes: Codes | None, method: str) -> Solution:
    """Prediction-powered least squares; ``codes`` are the clusters of the stacked rows.

    PPI and PPI++ evaluate the scores of labels and predictions at the common estimate with the Hessian of all
    rows (Angelopoulos, Duchi and Zrnic 2023); λ is tuned once, at the estimate with λ = 1. Predict-then-debias
    and the classical fit use the residuals and the Hessian of each fit itself.
    """
    fits = _fit(labelled, unlabelled)
    value = FIXED.get(method, 1.0)
    if value:
        gram, gram_u = fits.grams
        hessian = (gram.used * gram.matrix + gram_u.used * gram_u.matrix) / (gram.used + gram_u.used)
        inverse = _inverse(hessian, "X")
        directions = fits.directions(inverse, inverse)
        parts = fits.parts_at(1.0, directions)
        if method not in FIXED:
            value = power_tuning(parts, codes)
            parts = fits.parts_at(value, directions)
    # Without help from the predictions the estimate is the classical fit, and so is its covariance.
    if not value:
        parts = fits.own_parts()
    parts = parts.scaled(side_factors(labelled, unlabelled, codes, parts, ddof=1))
    tuning = optimal_matrix(parts, codes) if value is None else np.asarray(value)
    estimate, stacked = combine(parts, tuning)
    return Solution(estimate, tuning, stacked)


def _design(side: Side) -> Array:
    if side.X is None:
        raise ValueError("X is missing: least squares needs regressors on both sides.")
    return side.X
