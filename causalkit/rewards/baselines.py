r"""What people do instead, kept as named baselines: each is wrong in a way that a formula states.

In the linear Gaussian case X = bC + U, Y = θ'X + γC + ε with Var C = 1 the raw outcome ("none") gives
w₀ = θ + γΣ_X⁻¹b; adjusting the outcome alone ("outcome_only") gives Σ_X⁻¹Σ_U θ, attenuated along the confounded
directions; the best reward that is uncorrelated with C ("invariance") gives
w₀ - Σ_X⁻¹B(B'Σ_X⁻¹B)⁻¹B'w₀ with B = Cov(X, C), which deletes legitimate signal along b.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import KFold

from causalkit.crossfit import CrossFitter, Nuisance
from causalkit.exceptions import IdentificationError
from causalkit.rewards.absorption import absorb
from causalkit.rewards.confounders import Confounders
from causalkit.rewards.effects import LinearEffect, NoEffect, NuisanceEffect, model_input, resolve_model
from causalkit.rewards.orthogonal import (
    OrthogonalFit,
    fit_orthogonal,
    gram,
    ridge_by_residual_loss,
    times,
    transposed_times,
)
from causalkit.rewards.records import LoggedRows, RewardParts

__all__ = ["invariance_parts", "linear_control_parts", "lowess_parts", "none_parts", "outcome_only_parts"]

Array = NDArray[np.float64]


def centred_features(rows: LoggedRows) -> NDArray[np.floating]:
    """X less its mean, in the type of X."""
    return (rows.X - rows.feature_mean.astype(rows.X.dtype)).astype(rows.X.dtype, copy=False)


def choose_penalty(estimator: Any, features: NDArray[np.floating], target: Array, weight: Array | None) -> float:
    """λ as given, or by the out-of-fold loss of these residuals."""
    if not isinstance(estimator.penalty, str):
        return float(estimator.penalty)
    n_folds = estimator.cv if isinstance(estimator.cv, int | np.integer) else 5
    folds = np.empty(len(target), dtype=np.intp)
    for k, (_, test) in enumerate(KFold(n_folds, shuffle=True, random_state=estimator._seed).split(target)):
        folds[test] = k
    return ridge_by_residual_loss(features, target, folds, weight)


def _regression(estimator: Any, rows: LoggedRows, target: Array, **options: Any) -> OrthogonalFit:
    """Ridge regression of a target on the raw features."""
    features = centred_features(rows)
    target = target - rows.mean(target)
    penalty = choose_penalty(estimator, features, target, rows.weight)
    return fit_orthogonal(
        features,
        target,
        weight=rows.weight,
        penalty=penalty,
        names=rows.names,
        second_moment=rows.feature_moment,
        feature_moment=rows.feature_moment,
        **options,
    )


def _parts(rows: LoggedRows, fit: OrthogonalFit, adjusted: Array, effect: Any, **options: Any) -> RewardParts:
    return RewardParts(
        coef=options.pop("coef", fit.coef),
        adjusted=adjusted,
        effect_rows=options.pop("effect_rows", rows.y - adjusted),
        effect=effect,
        fits=[fit],
        residuals=fit.residuals,
        residual_variance=fit.residual_variance,
        degrees_of_freedom=fit.degrees_of_freedom,
        informative=np.ones(rows.n, dtype=bool),
        second_moment=fit.second_moment,
        penalty=fit.penalty,
        n_absorbed=fit.n_absorbed,
        **options,
    )


def none_parts(estimator: Any, rows: LoggedRows) -> RewardParts:
    """Regression of the raw outcome."""
    fit = _regression(estimator, rows, rows.y)
    return _parts(rows, fit, rows.y.copy(), NoEffect(rows.feature_mean, float(rows.mean(rows.y))))


def linear_control_parts(estimator: Any, rows: LoggedRows) -> RewardParts:
    """Least squares on features and confounders, the confounders linear or one-hot; only the features are penalised."""
    confounders = _given(rows)
    C = confounders.design(drop_first=True)
    mean = rows.mean(C)
    C = C - mean
    inverse = np.linalg.pinv(gram(C, rows.weight), hermitian=True)
    X, y = centred_features(rows), rows.y - rows.mean(rows.y)
    weighted = C if rows.weight is None else C * rows.weight[:, None]
    slopes = inverse @ transposed_times(X, weighted).T
    features = (X - C @ slopes).astype(rows.X.dtype, copy=False)
    target = y - C @ (inverse @ (weighted.T @ y))
    fit = fit_orthogonal(
        features,
        target,
        weight=rows.weight,
        penalty=choose_penalty(estimator, features, target, rows.weight),
        names=rows.names,
        feature_moment=rows.feature_moment,
        n_absorbed=int(np.linalg.matrix_rank(C)) + 1,
    )
    gamma = inverse @ (weighted.T @ (y - times(X, fit.coef)))
    covariance = fit.residual_variance * inverse + slopes @ fit.covariance("HC0") @ slopes.T
    effect = LinearEffect(
        None, _kept_columns(confounders), gamma, covariance, mean, rows.feature_mean, float(rows.mean(rows.y))
    )
    return _parts(rows, fit, rows.y - C @ gamma, effect)


def _kept_columns(confounders: Confounders) -> NDArray[np.intp]:
    """Columns of ``design()`` that are in ``design(drop_first=True)``."""
    kept, at = list(range(len(confounders.roles.numeric))), len(confounders.roles.numeric)
    for factor in confounders.factors:
        kept += range(at + 1, at + factor.n_levels)
        at += factor.n_levels
    return np.asarray(kept, dtype=np.intp)


def outcome_only_parts(estimator: Any, rows: LoggedRows) -> RewardParts:
    """Y - ℓ̂(C) regressed on raw features: level means where all confounders are levels, else cross-fitted."""
    confounders = _given(rows)
    model = resolve_model(estimator.outcome_model, confounders)
    if not confounders.roles.numeric and estimator.outcome_model is None:
        residual = absorb(confounders.factors, rows.weight).residualise(rows.y[:, None])[:, 0]
    else:
        fitter = CrossFitter(cv=estimator.cv, n_jobs=estimator.n_jobs, random_state=estimator._seed)
        nuisance = Nuisance("outcome", model, rows.y, sample_weight=rows.weight, X=model_input(model, confounders))
        groups = None if rows.groups is None else rows.groups.codes
        residual = rows.y - fitter.predict([nuisance], groups=groups).predictions["outcome"][0]
    adjusted = residual - rows.mean(residual) + rows.mean(rows.y)
    keywords = {} if rows.weight is None else {"sample_weight": rows.weight}
    fitted = clone(model).fit(model_input(model, confounders), rows.y, **keywords)
    centre = float(rows.mean(np.asarray(fitted.predict(model_input(fitted, confounders))).reshape(-1)))
    effect = NuisanceEffect(fitted, None, np.zeros(rows.X.shape[1]), centre, rows.feature_mean)
    fit = _regression(estimator, rows, adjusted)
    return _parts(rows, fit, adjusted, effect, extras={"outcome_model_": fitted})


def invariance_parts(estimator: Any, rows: LoggedRows) -> RewardParts:
    """The best linear reward that is uncorrelated with every (encoded) confounder column.

    Raises
    ------
    IdentificationError
        As many restrictions as features: nothing is left.
    """
    C = _given(rows).design()
    C = C - rows.mean(C)
    plain = _regression(estimator, rows, rows.y)
    weighted = C if rows.weight is None else C * rows.weight[:, None]
    B = transposed_times(centred_features(rows), weighted) / rows.n
    scale = np.sqrt(np.clip(np.diag(rows.feature_moment), 1e-300, None))
    u, s, _ = np.linalg.svd(B / scale[:, None] / np.maximum(C.std(axis=0), 1e-300), full_matrices=False)
    # Relative to n^-1/2, covariances that are zero in the data: only exact ones are dropped.
    rank = int((s > 1e-10 * max(float(s.max(initial=0.0)), 1e-300)).sum()) if s.max(initial=0.0) > 1e-12 else 0
    p = rows.X.shape[1]
    if rank >= p:
        raise IdentificationError(
            f"{rank} restrictions on {p} features leave no reward that is uncorrelated with the confounders: use "
            'method="partially_linear" or "fixed_effects", which do not demand it, or more features.'
        )
    ridged = plain.jacobian
    basis = scale[:, None] * u[:, :rank]
    inner = np.linalg.solve(ridged, basis)
    removed = inner @ np.linalg.solve(basis.T @ inner, basis.T @ plain.coef)
    coef = plain.coef - removed
    adjusted = rows.mean(rows.y) + times(centred_features(rows), coef)
    projector = np.eye(p) - inner @ np.linalg.solve(basis.T @ inner, basis.T)
    influence = plain.influence() @ projector.T
    effect = NoEffect(rows.feature_mean, float(rows.mean(rows.y)))
    zeros = np.zeros(rows.n)  # the rows' outcomes are not adjusted: the reward itself is restricted
    return _parts(rows, plain, adjusted, effect, coef=coef, influence=influence, effect_rows=zeros)


def lowess_parts(estimator: Any, rows: LoggedRows) -> RewardParts:
    """Y less its LOWESS on one numeric confounder (span ½), regressed on raw features."""
    from statsmodels.nonparametric.smoothers_lowess import lowess

    confounders = _given(rows)
    if len(confounders.roles.numeric) != 1 or confounders.factors:
        raise ValueError(
            f'method="lowess" smooths over one numeric confounder; got {list(confounders.roles.columns)}. Use '
            '"partially_linear" for several, "fixed_effects" for levels.'
        )
    c = confounders.numeric[:, 0]
    delta = 0.01 * float(np.ptp(c))  # neighbours nearer than this share one local fit: linear cost in n
    smooth = lowess(rows.y, c, frac=0.5, delta=delta, return_sorted=False)
    adjusted = rows.y - smooth + rows.mean(smooth)
    order = np.argsort(c)
    model = Interpolated(c[order], smooth[order])
    centre = float(rows.mean(smooth))
    effect = NuisanceEffect(model, None, np.zeros(rows.X.shape[1]), centre, rows.feature_mean)
    return _parts(rows, _regression(estimator, rows, adjusted), adjusted, effect)


class Interpolated:
    """A curve through points, constant beyond them."""

    def __init__(self, at: Array, values: Array) -> None:
        self.at, first = np.unique(at, return_index=True)
        self.values = values[first]

    def predict(self, C: Array) -> Array:
        """Values at the first column."""
        return np.asarray(np.interp(C[:, 0], self.at, self.values))


def _given(rows: LoggedRows) -> Confounders:
    if rows.confounders is None:
        raise ValueError("confounders is missing.")
    return rows.confounders
