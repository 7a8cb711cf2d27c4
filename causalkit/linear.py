"""Weighted least squares and linear moment equations that return influence values.

Every function takes plain arrays and returns a frozen record. Influence values are on the scale of a
mean: the estimation error is ``influence.mean(axis=0)`` to first order, so that a covariance is
``influence.T @ influence / n**2`` and sums of clusters replace rows where rows are dependent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.inference.covariance import finite_sample_factor, influence_covariance
from causalkit.validation import Groups

__all__ = ["LinearFit", "linear_moments", "weighted_least_squares"]

Array = NDArray[np.float64]

COV_TYPES = ("HC0", "HC1", "HC2", "HC3")


@dataclass(frozen=True)
class LinearFit:
    """A solved linear estimating equation.

    Attributes
    ----------
    coef : ndarray, shape (p,)
        Coefficients.
    influence : ndarray, shape (n, p)
        Influence values on the mean scale.
    residuals : ndarray, shape (n,)
        Outcome less fitted value, unweighted.
    leverage : ndarray, shape (n,)
        Diagonal of the (weighted) hat matrix.
    normaliser : ndarray, shape (p, p)
        Inverse of the total weighted Gram (or moment) matrix.
    rank : int
        Numerical rank of the weighted design.
    """

    coef: Array
    influence: Array
    residuals: Array
    leverage: Array
    normaliser: Array
    rank: int

    def covariance(
        self,
        cov_type: str = "HC1",
        *,
        groups: Groups | None = None,
        frequency: Array | None = None,
    ) -> Array:
        """Sandwich covariance of the coefficients, shape (p, p).

        Parameters
        ----------
        cov_type : {"HC0", "HC1", "HC2", "HC3"}, default="HC1"
            Heteroscedasticity-consistent form; ignored beyond its finite-sample factor with groups.
        groups : Groups, optional
            Clusters; scores are summed within them and the factor is
            G/(G-1)·(n-1)/(n-p).
        frequency : ndarray, shape (n,), optional
            Weights that stand for repeated rows. HC2 and HC3 use the leverage of one copy.
        """
        influence = self.influence
        n, p = influence.shape
        n_rows = n if frequency is None else float(frequency.sum())
        if groups is None and cov_type in ("HC2", "HC3"):
            power = 0.5 if cov_type == "HC2" else 1.0
            leverage = self.leverage
            if frequency is not None:
                leverage = leverage / np.maximum(frequency, np.finfo(float).tiny)
            influence = influence / np.maximum(1.0 - leverage, 1e-12)[:, None] ** power
            factor = 1.0
        else:
            factor = finite_sample_factor(n_rows, p, cov_type, groups)
        return influence_covariance(influence, groups=groups, frequency=frequency, factor=factor)


def weighted_least_squares(X: Array, y: Array, sample_weight: Array | None = None) -> LinearFit:
    """Solve min_b Σ w (y - X b)² and return influence values n(X'WX)⁻¹x_j w_j e_j.

    Rank-deficient designs get the minimum-norm solution and ``rank`` below p; the caller decides
    whether that is an error.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Design, with the constant column if there is to be one.
    y : ndarray, shape (n,)
        Outcome.
    sample_weight : ndarray, shape (n,), optional
        Non-negative weights.

    Returns
    -------
    LinearFit
    """
    root = None if sample_weight is None else np.sqrt(sample_weight)
    design = X if root is None else X * root[:, None]
    outcome = y if root is None else y * root
    return _solve(design, _column_sizes(design), X, y, outcome, root)


def _column_sizes(matrix: Array) -> Array:
    size = np.sqrt(np.einsum("ij,ij->j", matrix, matrix))
    size[size == 0] = 1.0
    return size


def _thin_svd(matrix: Array) -> tuple[Array, Array, Array]:
    """Singular value decomposition without numerically empty directions."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    # Columns come in at size one, or smaller where a projection took something away.
    keep = s > max(1.0, s.max(initial=0.0)) * max(matrix.shape) * np.finfo(float).eps
    return u[:, keep], s[keep], vt[keep]


def _solve(regressors: Array, size: Array, X: Array, y: Array, outcome: Array, root: Array | None) -> LinearFit:
    """Regress the weighted outcome on weighted (projected) regressors; residuals come from X itself.

    Columns are divided by ``size`` first: columns of very different size would otherwise decide the rank.
    """
    n = X.shape[0]
    u, s, vt = _thin_svd(regressors / size)
    inverse_root = (vt.T / s) / size[:, None]
    coef = inverse_root @ (u.T @ outcome)
    residuals = y - X @ coef
    scaled = residuals if root is None else residuals * root
    influence = n * (u * scaled[:, None]) @ inverse_root.T
    leverage = np.einsum("ij,ij->i", u, u)
    return LinearFit(coef, influence, residuals, leverage, inverse_root @ inverse_root.T, len(s))


def linear_moments(Z: Array, X: Array, y: Array, sample_weight: Array | None = None) -> LinearFit:
    """Two-stage least squares: solve X'P_Z X b = X'P_Z y and return influence values.

    φ_j = (X'P_ZX/n)⁻¹ (P_ZX)_j w_j (y_j - x_j'b). With Z = X it is :func:`weighted_least_squares`.

    Parameters
    ----------
    Z : ndarray, shape (n, l)
        Instruments, l at least p.
    X : ndarray, shape (n, p)
        Regressors.
    y : ndarray, shape (n,)
        Outcome.
    sample_weight : ndarray, shape (n,), optional
        Non-negative weights.

    Returns
    -------
    LinearFit
        ``leverage`` is that of the projected regressors.
    """
    root = None if sample_weight is None else np.sqrt(sample_weight)
    instruments = Z if root is None else Z * root[:, None]
    design = X if root is None else X * root[:, None]
    outcome = y if root is None else y * root
    # The range of Z by SVD: a QR basis would hold an arbitrary direction for every collinear instrument.
    q, *_ = _thin_svd(instruments / _column_sizes(instruments))
    # Sizes before the projection: a regressor that the instruments do not move must not be blown up to rank.
    return _solve(q @ (q.T @ design), _column_sizes(design), X, y, outcome, root)
