"""The method "standardization": what a text is worth may differ over the confounders, and is averaged over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold

from causalkit.exceptions import MethodNotApplicableError
from causalkit.rewards.confounders import Confounders
from causalkit.rewards.nuisances import ConfounderBasis
from causalkit.rewards.orthogonal import fit_orthogonal, times
from causalkit.rewards.records import LoggedRows, RewardParts
from causalkit.rewards.standardization import StandardizedFit, average_over_targets, interacted_ridge

__all__ = ["StandardizedEffect", "StandardizedReward", "standardization_parts"]

Array = NDArray[np.float64]

_NO_ERRORS = (
    'standard errors of the confounder effect are not available with method="standardization", where it differs from '
    "text to text: use the intervals of the rewards, or another method."
)


@dataclass(frozen=True, eq=False)
class StandardizedEffect:
    """μ̂(x, c) - r̂(x) of the interacted regression.

    Attributes
    ----------
    basis : ConfounderBasis
        b(c).
    basis_coef, interactions, feature_mean, target_basis, coef, intercept
        As in :class:`StandardizedFit`.
    mean_effect : float
        Training mean of the effect at the mean features.
    """

    basis: ConfounderBasis
    basis_coef: Array
    interactions: Array
    feature_mean: Array
    target_basis: Array
    mean_effect: float
    coef: Array
    intercept: float

    def _rows(self, new: Confounders) -> Array:
        return np.asarray(self.basis.transform(new.matrix()) - self.target_basis)

    def value(self, new: Confounders) -> Array:
        """Effect of c for the mean text, less its training mean."""
        return np.asarray(self._rows(new) @ self.basis_coef - self.mean_effect)

    def value_at(self, X: NDArray[np.floating], new: Confounders) -> Array:
        """μ̂(x, c) - r̂(x) of each row, so that y less it is the adjusted reward."""
        rows = self._rows(new)
        return np.asarray(rows @ self.basis_coef + (times(X - self.feature_mean, self.interactions) * rows).sum(axis=1))

    def std_error(self, new: Confounders, covariance: Array, residual_variance: float) -> tuple[Array, bool]:
        """Not available: refused."""
        raise MethodNotApplicableError(_NO_ERRORS)

    def residuals(
        self, X: NDArray[np.floating], y: Array, new: Confounders, weight: Array | None = None
    ) -> tuple[NDArray[np.floating], Array]:
        """Features, and the outcome net of the confounders, both about the reward of the mean text."""
        at_mean = self.intercept + float(self.feature_mean @ self.coef)
        return X - self.feature_mean, y - self.value_at(X, new) - at_mean


@dataclass(frozen=True, eq=False)
class StandardizedReward:
    """r̂(x), an outcome model averaged over the target confounders.

    Attributes
    ----------
    model : fitted regressor
        μ̂ of (X, C).
    targets : ndarray, shape (t, q)
        Encoded confounders of the target population.
    """

    model: Any
    targets: Array

    def predict(self, X: NDArray[np.floating]) -> Array:
        """Rewards of features, shape (n,)."""
        return average_over_targets(self.model.predict, X, self.targets)


@dataclass(frozen=True, eq=False)
class ModelEffect:
    """μ̂(x, c) - r̂(x) of an outcome model of the user's.

    Attributes
    ----------
    reward : StandardizedReward
        The model and its targets.
    feature_mean : ndarray, shape (p,)
        Mean text.
    mean_effect : float
        Training mean of the effect at the mean text.
    """

    reward: StandardizedReward
    feature_mean: Array
    mean_effect: float

    def _difference(self, X: NDArray[np.floating], new: Confounders) -> Array:
        together = np.asarray(self.reward.model.predict(np.hstack([X, new.design()])), dtype=np.float64).reshape(-1)
        return together - self.reward.predict(X)

    def value(self, new: Confounders) -> Array:
        """Effect of c for the mean text, less its training mean."""
        return self._difference(np.tile(self.feature_mean, (new.n, 1)), new) - self.mean_effect

    def value_at(self, X: NDArray[np.floating], new: Confounders) -> Array:
        """μ̂(x, c) - r̂(x) of each row."""
        return self._difference(X, new)

    def std_error(self, new: Confounders, covariance: Array, residual_variance: float) -> tuple[Array, bool]:
        """Not available: refused."""
        raise MethodNotApplicableError(_NO_ERRORS)

    def residuals(
        self, X: NDArray[np.floating], y: Array, new: Confounders, weight: Array | None = None
    ) -> tuple[NDArray[np.floating], Array]:
        """Features, and the adjusted reward less its mean."""
        adjusted = y - self._difference(X, new)
        return X - self.feature_mean, adjusted - np.average(adjusted, weights=weight)


def _folds(estimator: Any, rows: LoggedRows) -> NDArray[np.intp]:
    n_folds = estimator.cv if isinstance(estimator.cv, int | np.integer) else 5
    folds = np.empty(rows.n, dtype=np.intp)
    if rows.groups is not None:
        splits = GroupKFold(n_folds).split(folds, groups=rows.groups.codes)
    else:
        splits = KFold(n_folds, shuffle=True, random_state=estimator._seed).split(folds)
    for k, (_, test) in enumerate(splits):
        folds[test] = k
    return folds


def standardization_parts(estimator: Any, rows: LoggedRows) -> RewardParts:
    """Interacted regression, or an outcome model of the user's, averaged over the target confounders."""
    confounders = rows.confounders
    if confounders is None:
        raise ValueError("confounders is missing.")
    if estimator.outcome_model is not None:
        return _model_parts(estimator, rows, confounders)
    levels = tuple(f.n_levels for f in confounders.factors)
    basis = ConfounderBasis(confounders.roles, levels, drop_first=True)
    basis.fit(confounders.matrix(), sample_weight=rows.weight)
    B = basis.transform(confounders.matrix())
    targets = None if rows.targets is None else basis.transform(rows.targets.matrix())
    chosen = isinstance(estimator.penalty, str) or estimator.penalty == 0
    fit = interacted_ridge(
        rows.X,
        B,
        rows.y,
        weight=rows.weight,
        target_basis=targets,
        penalty=None if chosen else float(estimator.penalty),
        folds=_folds(estimator, rows) if chosen else None,
        names=rows.names,
    )
    at_mean = (B - fit.target_basis) @ fit.basis_coef
    effect = StandardizedEffect(
        basis,
        fit.basis_coef,
        fit.interactions,
        fit.feature_mean,
        fit.target_basis,
        float(rows.mean(at_mean)),
        fit.coef,
        fit.intercept,
    )
    return _parts(rows, fit, effect)


def _parts(rows: LoggedRows, fit: StandardizedFit, effect: StandardizedEffect) -> RewardParts:
    difference = rows.y - fit.adjusted_reward
    weight = 1.0 if rows.weight is None else rows.weight
    return RewardParts(
        coef=fit.coef,
        intercept=fit.intercept,
        adjusted=fit.adjusted_reward,
        effect_rows=difference - rows.mean(difference),
        effect=effect,
        fits=[],
        influence=np.asarray(fit.influence, dtype=np.float64),
        residuals=fit.residuals,
        residual_variance=float(np.sum(weight * fit.residuals**2) / max(fit.degrees_of_freedom, 1.0)),
        degrees_of_freedom=round(fit.degrees_of_freedom),
        informative=np.ones(rows.n, dtype=bool),
        second_moment=rows.feature_moment,
        penalty=fit.penalty,
    )


def _model_parts(estimator: Any, rows: LoggedRows, confounders: Confounders) -> RewardParts:
    """Out-of-fold μ̂ and r̂ for the adjusted rewards; coefficients are the linear projection of these."""
    C = confounders.design()
    targets = C if rows.targets is None else rows.targets.design()
    together = np.hstack([rows.X, C])

    def fitted(train: NDArray[np.intp]) -> Any:
        model = clone(estimator.outcome_model)
        if "random_state" in model.get_params() and model.get_params()["random_state"] is None:
            model.set_params(random_state=estimator._seed)
        keywords = {} if rows.weight is None else {"sample_weight": rows.weight[train]}
        return model.fit(together[train], rows.y[train], **keywords)

    adjusted, folds = np.empty(rows.n), _folds(estimator, rows)
    for k in np.unique(folds):
        held_out = folds == k
        reward = StandardizedReward(fitted(np.flatnonzero(~held_out)), targets)
        together_out = np.asarray(reward.model.predict(together[held_out]), dtype=np.float64).reshape(-1)
        adjusted[held_out] = rows.y[held_out] - together_out + reward.predict(rows.X[held_out])
    final = StandardizedReward(fitted(np.arange(rows.n)), targets)
    centred = (rows.X - rows.feature_mean).astype(rows.X.dtype, copy=False)
    penalty = 0.0 if isinstance(estimator.penalty, str) else float(estimator.penalty)
    projection = fit_orthogonal(
        centred, adjusted - rows.mean(adjusted), weight=rows.weight, penalty=penalty, names=rows.names
    )
    at_mean = ModelEffect(final, rows.feature_mean, 0.0).value(confounders)
    difference = rows.y - adjusted
    return RewardParts(
        coef=projection.coef,
        intercept=float(rows.mean(adjusted) - rows.feature_mean @ projection.coef),
        adjusted=adjusted,
        effect_rows=difference - rows.mean(difference),
        effect=ModelEffect(final, rows.feature_mean, float(rows.mean(at_mean))),
        fits=[projection],
        influence=np.asarray(projection.influence(), dtype=np.float64),
        residuals=projection.residuals,
        residual_variance=projection.residual_variance,
        degrees_of_freedom=projection.degrees_of_freedom,
        informative=np.ones(rows.n, dtype=bool),
        second_moment=projection.second_moment,
        penalty=penalty,
        extras={"final_model_": final, "outcome_model_": final.model},
    )
