"""The confounders' effect ĝ(c) as a fitted object: its value and standard error for new rows, and residuals of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.multioutput import MultiOutputRegressor
from sklearn.utils import get_tags

from causalkit.rewards.confounders import Confounders
from causalkit.rewards.nuisances import RidgeOnBasis

__all__ = ["ConfounderEffect", "LinearEffect", "NoEffect", "NuisanceEffect", "model_input", "resolve_model"]

Array = NDArray[np.float64]


class ConfounderEffect(Protocol):
    """What every fitted confounder effect can do."""

    def value(self, new: Confounders) -> Array:
        """ĝ(c) less its training mean, shape (n,)."""

    def std_error(self, new: Confounders, covariance: Array, residual_variance: float) -> tuple[Array, bool]:
        """Standard errors of :meth:`value`, and whether they are complete (else a lower bound)."""

    def residuals(
        self, X: NDArray[np.floating], y: Array, new: Confounders, weight: Array | None = None
    ) -> tuple[NDArray[np.floating], Array]:
        """(X̃, Ỹ) of rows under the fitted nuisances: what the score compares."""


def model_input(model: Any, confounders: Confounders) -> Array:
    """What a nuisance model gets: codes for the default basis, one-hot columns for a model of the user's."""
    return confounders.matrix() if isinstance(model, RidgeOnBasis) else confounders.design()


def resolve_model(model: Any, confounders: Confounders, *, n_targets: int = 1) -> Any:
    """A model of the user's, able to fit several targets, or the default one."""
    if model is None:
        return RidgeOnBasis(confounders.roles, tuple(f.n_levels for f in confounders.factors))
    if n_targets > 1 and not get_tags(model).target_tags.multi_output:
        return MultiOutputRegressor(clone(model))
    return model


@dataclass(frozen=True, eq=False)
class NoEffect:
    """ĝ = 0, for methods that do not adjust the logged rows."""

    feature_mean: Array
    outcome_mean: float

    def value(self, new: Confounders) -> Array:
        """Zeros."""
        return np.zeros(new.n)

    def std_error(self, new: Confounders, covariance: Array, residual_variance: float) -> tuple[Array, bool]:
        """Zeros: nothing was estimated."""
        return np.zeros(new.n), True

    def residuals(
        self, X: NDArray[np.floating], y: Array, new: Confounders, weight: Array | None = None
    ) -> tuple[NDArray[np.floating], Array]:
        """Deviations from the training means."""
        return X - self.feature_mean, y - self.outcome_mean


@dataclass(frozen=True, eq=False)
class NuisanceEffect:
    """ĝ = ℓ̂ - θ̂'m̂ from models of the outcome and the features given the confounders.

    Attributes
    ----------
    outcome_model : fitted model
        ℓ̂.
    treatment_model : fitted model or None
        m̂; None where only the outcome was adjusted.
    coef : ndarray, shape (p,)
        θ̂.
    centre : float
        Training mean of ℓ̂ - θ̂'m̂.
    feature_centre : ndarray, shape (p,)
        Training mean of m̂, or of X.
    residual_covariance : ndarray, shape (p, p), or None
        Σ_U, for the error that different ridge penalties of ℓ̂ and m̂ leave.
    """

    outcome_model: Any
    treatment_model: Any
    coef: Array
    centre: float
    feature_centre: Array
    residual_covariance: Array | None = None

    def _features(self, new: Confounders) -> Array:
        if self.treatment_model is None:
            return np.zeros((new.n, len(self.coef)))
        fitted = np.asarray(self.treatment_model.predict(model_input(self.treatment_model, new)), dtype=np.float64)
        return fitted.reshape(new.n, -1)

    def value(self, new: Confounders) -> Array:
        """ℓ̂(c) - θ̂'m̂(c) less its training mean."""
        outcome = np.asarray(self.outcome_model.predict(model_input(self.outcome_model, new)), dtype=np.float64)
        return np.asarray(outcome.reshape(-1) - self._features(new) @ self.coef - self.centre)

    def std_error(self, new: Confounders, covariance: Array, residual_variance: float) -> tuple[Array, bool]:
        """σ̂²‖s(c)‖² + m̂₀(c)'V m̂₀(c), the first part for linear smoothers, with what unequal penalties add to it."""
        m = self._features(new) - self.feature_centre
        variance = np.einsum("ij,jk,ik->i", m, covariance, m) if self.treatment_model is not None else np.zeros(new.n)
        smoother = isinstance(self.outcome_model, RidgeOnBasis)
        if smoother:
            variance = variance + residual_variance * self.outcome_model.squared_smoother_norm(new.matrix())
        if smoother and isinstance(self.treatment_model, RidgeOnBasis) and self.residual_covariance is not None:
            variance = variance + self.outcome_model.squared_difference_norm(
                self.treatment_model, new.matrix(), self.coef, self.residual_covariance
            )
        return np.sqrt(variance), smoother

    def residuals(
        self, X: NDArray[np.floating], y: Array, new: Confounders, weight: Array | None = None
    ) -> tuple[NDArray[np.floating], Array]:
        """X - m̂(c) and Y - ℓ̂(c)."""
        outcome = np.asarray(self.outcome_model.predict(model_input(self.outcome_model, new)), dtype=np.float64)
        features = X - self.feature_centre if self.treatment_model is None else X - self._features(new)
        return features, y - outcome.reshape(-1)


@dataclass(frozen=True, eq=False)
class LinearEffect:
    """ĝ(c) = γ̂'b(c) for a fixed basis b of the confounders.

    Attributes
    ----------
    basis : object with ``transform``, or None
        b; None takes numeric columns and one-hot levels as they are.
    columns : ndarray of int
        Which columns of the basis have a coefficient.
    coef : ndarray, shape (q,)
        γ̂.
    covariance : ndarray, shape (q, q)
        Of γ̂.
    mean : ndarray, shape (q,)
        Training mean of the columns.
    feature_mean, outcome_mean
        Training means, for the score.
    """

    basis: Any
    columns: NDArray[np.intp]
    coef: Array
    covariance: Array
    mean: Array
    feature_mean: Array
    outcome_mean: float

    def _rows(self, new: Confounders) -> Array:
        table = new.design() if self.basis is None else self.basis.transform(new.matrix())
        return np.asarray(table[:, self.columns] - self.mean)

    def value(self, new: Confounders) -> Array:
        """γ̂'(b(c) - b̄)."""
        return np.asarray(self._rows(new) @ self.coef)

    def std_error(self, new: Confounders, covariance: Array, residual_variance: float) -> tuple[Array, bool]:
        """√(b₀'V_γ b₀)."""
        rows = self._rows(new)
        return np.sqrt(np.clip(np.einsum("ij,jk,ik->i", rows, self.covariance, rows), 0.0, None)), True

    def residuals(
        self, X: NDArray[np.floating], y: Array, new: Confounders, weight: Array | None = None
    ) -> tuple[NDArray[np.floating], Array]:
        """Centred features, and the outcome less ĝ."""
        return X - self.feature_mean, y - self.outcome_mean - self.value(new)
