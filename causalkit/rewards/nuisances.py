"""Default nuisance of the rewards family: splines of numeric confounders, one-hot levels, ridge by leave-one-out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.preprocessing import SplineTransformer
from sklearn.utils.validation import check_is_fitted

from causalkit.rewards.confounders import ConfounderRoles

__all__ = ["ConfounderBasis", "RidgeOnBasis"]

Array = NDArray[np.float64]

N_KNOTS = 10
# Not below .01: with hardly any ridge the tails of the splines, which few rows inform, decide held-out residuals.
_ALPHAS = np.logspace(-2, 4, 13)
_TARGETS_AT_ONCE = 32


class ConfounderBasis(TransformerMixin, BaseEstimator):
    """Columns for a regression on confounders.

    Numeric columns become cubic splines with uniform knots and linear extrapolation (quantile knots and linear tails
    misfit smooth functions of unbounded confounders enough to bias the effect), cyclic columns periodic splines,
    factors one-hot columns. Constants are left to the regression.

    Parameters
    ----------
    roles : ConfounderRoles
        What the columns are: the input has the numeric columns, then one code per factor.
    n_levels : tuple of int
        Number of levels of each factor.
    n_knots : int, default=10
        Knots per numeric column.
    drop_first : bool, default=False
        Leave out the first level of each factor, for regressions without ridge.
    """

    def __init__(
        self, roles: ConfounderRoles, n_levels: tuple[int, ...], n_knots: int = N_KNOTS, drop_first: bool = False
    ) -> None:
        self.roles = roles
        self.n_levels = n_levels
        self.n_knots = n_knots
        self.drop_first = drop_first

    def fit(self, C: Array, y: Any = None, sample_weight: Array | None = None) -> ConfounderBasis:
        """Place the knots, over the rows with weight: a knot beyond them would leave coefficients undetermined."""
        C = C if sample_weight is None else C[sample_weight > 0]
        self.splines_ = []
        for j, name in enumerate(self.roles.numeric):
            column = C[:, j : j + 1]
            period = self.roles.cyclic.get(name)
            if period is not None:
                knots = np.linspace(0.0, period, self.n_knots)[:, None]
                spline = SplineTransformer(knots=knots, extrapolation="periodic", include_bias=False)
            elif column.min() == column.max():
                spline = None
            else:
                spline = SplineTransformer(
                    n_knots=self.n_knots, knots="uniform", extrapolation="linear", include_bias=False
                )
            self.splines_.append(spline if spline is None else spline.fit(column))
        return self

    def transform(self, C: Array) -> Array:
        """Basis columns, shape (n, q)."""
        check_is_fitted(self)
        blocks = [spline.transform(C[:, j : j + 1]) for j, spline in enumerate(self.splines_) if spline is not None]
        at = len(self.roles.numeric)
        for k, size in enumerate(self.n_levels):
            codes = C[:, at + k].astype(np.intp)
            columns = np.zeros((len(C), size))
            seen = codes >= 0
            columns[np.flatnonzero(seen), codes[seen]] = 1.0
            blocks.append(columns[:, 1:] if self.drop_first else columns)
        return np.hstack(blocks) if blocks else np.zeros((len(C), 0))


class RidgeOnBasis(RegressorMixin, BaseEstimator):
    r"""Ridge regression on a :class:`ConfounderBasis`, one penalty per target by leave-one-out error.

    :math:`\hat\ell(c) = \bar y + (b(c) - \bar b)'\hat\beta_\alpha`; the leave-one-out residuals of every alpha come
    from one eigendecomposition, :math:`e_i/(1 - h_{ii})`.

    Parameters
    ----------
    roles, n_levels
        As in :class:`ConfounderBasis`.
    """

    def __init__(self, roles: ConfounderRoles, n_levels: tuple[int, ...]) -> None:
        self.roles = roles
        self.n_levels = n_levels

    def fit(self, C: Array, y: Array, sample_weight: Array | None = None) -> RidgeOnBasis:
        """Fit one or several targets (n,) or (n, k)."""
        self.basis_ = ConfounderBasis(self.roles, self.n_levels).fit(C, sample_weight=sample_weight)
        B = self.basis_.transform(C)
        targets = np.asarray(y, dtype=np.float64)
        single = targets.ndim == 1
        targets = targets.reshape(len(B), -1)
        root = np.ones(len(B))
        if sample_weight is not None:  # mean 1 over the rows with weight: the others do not change the penalties
            root = np.sqrt(sample_weight / sample_weight[sample_weight > 0].mean())
        w = root**2 / (root**2).sum()
        self.basis_mean_, self.target_mean_ = w @ B, w @ targets
        Bc = (B - self.basis_mean_) * root[:, None]
        values, V = np.linalg.eigh(Bc.T @ Bc)
        kept = values > max(values.max(initial=0.0), 1.0) * 1e-12
        values, V = values[kept], V[:, kept]
        scores = Bc @ V  # (n, r), scores'scores = diag(values)
        squares, own = scores**2, root**2 / (root**2).sum()
        unexplained = [np.maximum(1.0 - squares @ (1.0 / (values + alpha)) - own, 1e-10)[:, None] for alpha in _ALPHAS]
        self.alpha_ = np.empty(targets.shape[1])
        self.coef_ = np.empty((B.shape[1], targets.shape[1]))
        for first in range(0, targets.shape[1], _TARGETS_AT_ONCE):  # residuals of a block of targets at a time
            block = slice(first, first + _TARGETS_AT_ONCE)
            Yc = (targets[:, block] - self.target_mean_[block]) * root[:, None]
            moment = scores.T @ Yc
            losses = np.empty((len(_ALPHAS), moment.shape[1]))
            for k, alpha in enumerate(_ALPHAS):
                residual = Yc - scores @ ((1.0 / (values + alpha))[:, None] * moment)
                losses[k] = ((residual / unexplained[k]) ** 2).sum(axis=0)
            self.alpha_[block] = _ALPHAS[np.argmin(losses, axis=0)]
            self.coef_[:, block] = V @ (moment / (values[:, None] + self.alpha_[block]))
        self.single_ = single
        self.directions_, self.values_ = V, values
        # Σw²bb' among the directions: the variance of Σwbε for one variance of ε; without weights diag(values).
        self.squares_ = None if sample_weight is None else scores.T @ (scores * root[:, None] ** 2)
        return self

    def predict(self, C: Array) -> Array:
        """Fitted values, shape (n,) or (n, k)."""
        check_is_fitted(self)
        fitted = self.target_mean_ + (self.basis_.transform(C) - self.basis_mean_) @ self.coef_
        return np.asarray(fitted[:, 0] if self.single_ else fitted)

    def squared_difference_norm(self, other: RidgeOnBasis, C: Array, slopes: Array, covariance: Array) -> Array:
        r"""Variance that different penalties of two regressions on the same rows leave, shape (n,).

        Σ_jk θ_jθ_k Σ_jk (s - s_j)'(s - s_k) with s the weights of this fitted value and s_j those of the targets of
        ``other``: what their noise, of covariance Σ, does to s'y - Σ_j θ_j s_j'x_j beyond s'(y - Σ_j θ_jx_j).
        """
        check_is_fitted(self)
        if self.squares_ is not None or len(self.values_) != len(other.values_):
            return np.zeros(len(C))
        gap = 1.0 / (self.values_[:, None] + self.alpha_[0]) - 1.0 / (self.values_[:, None] + other.alpha_)
        scaled = gap * slopes  # (r, targets)
        spread = np.einsum("rj,jk,rk->r", scaled, covariance, scaled)
        rows = (self.basis_.transform(C) - self.basis_mean_) @ self.directions_
        return np.asarray((rows**2) @ (self.values_ * spread))

    def squared_smoother_norm(self, C: Array) -> Array:
        """‖s(c)‖² of the first target, s(c) the weights of its fitted value less the mean of y, shape (n,)."""
        check_is_fitted(self)
        rows = (self.basis_.transform(C) - self.basis_mean_) @ self.directions_
        if self.squares_ is None:
            return np.asarray((rows**2) @ (self.values_ / (self.values_ + self.alpha_[0]) ** 2))
        rows = rows / (self.values_ + self.alpha_[0])
        return np.asarray(np.einsum("ij,ij->i", rows @ self.squares_, rows))
