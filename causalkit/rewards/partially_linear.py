r"""The partially linear method: cross-fitted residuals on both sides, and the confounders' effect net of text.

θ̂ = (ΣX̃X̃' + λI)⁻¹ΣX̃Ỹ with X̃ = X - m̂(C), Ỹ = Y - ℓ̂(C) out-of-fold, and ĝ = ℓ̂ - θ̂'m̂ (Robinson 1988).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from causalkit.crossfit import CrossFitter, Nuisance
from causalkit.rewards.backfitting import backfit_cross_fitted, is_nonlinear, with_nonlinear_reward
from causalkit.rewards.confounders import Confounders
from causalkit.rewards.effects import NuisanceEffect, model_input, resolve_model
from causalkit.rewards.orthogonal import OrthogonalFit, fit_orthogonal, ridge_by_residual_loss
from causalkit.rewards.records import LoggedRows, RewardParts

__all__ = ["CrossFitted", "cross_fit", "partially_linear_parts"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Out-of-fold nuisance predictions.

    Attributes
    ----------
    outcome : ndarray, shape (r, n)
        ℓ̂ of each repeat.
    features : ndarray, shape (r, n, p)
        m̂ of each repeat.
    folds : ndarray of int, shape (r, n)
        Fold in which a row was held out.
    """

    outcome: Array
    features: Array
    folds: NDArray[np.intp]


def cross_fit(estimator: Any, rows: LoggedRows) -> CrossFitted:
    """Both nuisances out of fold, with the same splits; group-disjoint where there are groups."""
    confounders = _confounders(rows)
    refuse_thin_levels(estimator, rows)
    outcome = resolve_model(estimator.outcome_model, confounders)
    features = resolve_model(estimator.treatment_model, confounders, n_targets=rows.X.shape[1])
    fitter = CrossFitter(
        cv=estimator.cv,
        n_repeats=estimator.n_repeats,
        n_jobs=estimator.n_jobs,
        random_state=estimator._seed,
        verbose=estimator.verbose,
    )
    weight = rows.weight
    target = rows.X if rows.X.shape[1] > 1 else rows.X[:, 0]
    found = fitter.predict(
        [
            Nuisance("outcome", outcome, rows.y, sample_weight=weight, X=model_input(outcome, confounders)),
            Nuisance("features", features, target, sample_weight=weight, X=model_input(features, confounders)),
        ],
        groups=None if rows.groups is None else rows.groups.codes,
    )
    predicted = found.predictions["features"].reshape(found.folds.shape[0], rows.n, -1)
    return CrossFitted(found.predictions["outcome"], predicted, found.folds)


def _confounders(rows: LoggedRows) -> Confounders:
    if rows.confounders is None:
        raise ValueError("confounders is missing.")
    return rows.confounders


def refuse_thin_levels(estimator: Any, rows: LoggedRows) -> None:
    """Refuse levels that some training fold would not see."""
    n_folds = estimator.cv if isinstance(estimator.cv, int | np.integer) else 2
    remedy = 'use method="fixed_effects" or "mixed", which do not cross-fit over levels'
    for factor in _confounders(rows).factors:
        counts = np.bincount(factor.codes, minlength=factor.n_levels)
        thin = int(np.argmin(counts))
        if (counts == 1).mean() > 0.5:
            raise ValueError(
                f"confounders column {factor.name!r} has {factor.n_levels} levels for {rows.n} rows, most of them "
                "once: an identifier or a date is no level. Derive what matters, such as month or author, or pass "
                "numbers."
            )
        if counts[thin] < n_folds:
            raise ValueError(
                f"confounders column {factor.name!r} has level {factor.levels[thin]!r} with {counts[thin]} rows, fewer "
                f"than the {n_folds} folds: {remedy}."
            )
        if rows.groups is not None and factor.n_levels == rows.groups.n_groups:
            pairs = np.unique(np.stack([factor.codes, rows.groups.codes], axis=1), axis=0)
            if len(pairs) == factor.n_levels:
                raise ValueError(
                    f"groups are the levels of confounders column {factor.name!r}, so no fold could learn the effect "
                    f"of a held-out level: {remedy}."
                )


def partially_linear_parts(estimator: Any, rows: LoggedRows) -> RewardParts:
    """θ̂ averaged over repeats, adjusted rewards, and full-sample nuisances for new rows."""
    crossed = cross_fit(estimator, rows)
    fits: list[OrthogonalFit] = []
    penalty = estimator.penalty
    for outcome, features, folds in zip(crossed.outcome, crossed.features, crossed.folds, strict=True):
        left = np.subtract(rows.X, features, dtype=np.float64).astype(rows.X.dtype, copy=False)
        target = rows.y - outcome
        if isinstance(estimator.penalty, str) and not fits:
            penalty = ridge_by_residual_loss(left, target, folds, rows.weight)
        fits.append(
            fit_orthogonal(
                left,
                target,
                weight=rows.weight,
                penalty=float(penalty),
                names=rows.names,
                feature_moment=rows.feature_moment,
            )
        )
    coef = np.mean([fit.coef for fit in fits], axis=0)
    net = np.mean(crossed.outcome - crossed.features @ coef, axis=0)
    effect_rows = net - rows.mean(net)
    outcome_model, treatment_model, effect = full_sample_effect(
        estimator, rows, coef, np.mean([fit.second_moment for fit in fits], axis=0)
    )
    variance = float(np.mean([fit.residual_variance for fit in fits]))
    parts = RewardParts(
        coef=coef,
        adjusted=rows.y - effect_rows,
        effect_rows=effect_rows,
        effect=effect,
        fits=fits,
        residuals=np.mean([fit.residuals for fit in fits], axis=0),
        residual_variance=variance,
        degrees_of_freedom=fits[0].degrees_of_freedom,
        informative=np.ones(rows.n, dtype=bool),
        second_moment=np.mean([fit.second_moment for fit in fits], axis=0),
        penalty=float(penalty),
        extras={
            "outcome_model_": outcome_model,
            "treatment_model_": treatment_model,
            "repeat_sd_": np.std([fit.coef for fit in fits], axis=0, ddof=1) if len(fits) > 1 else np.zeros(len(coef)),
        },
    )
    if not is_nonlinear(estimator.final_model):
        return parts
    effects, rounds, change = [], 0, 0.0
    for folds in crossed.folds:
        splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in np.unique(folds)]
        found = backfit_cross_fitted(estimator, rows, splits)
        effects.append(found[0])
        rounds, change = max(rounds, found[1]), max(change, found[2])
    return with_nonlinear_reward(estimator, rows, parts, np.mean(effects, axis=0), rounds, change)


def full_sample_effect(
    estimator: Any, rows: LoggedRows, coef: Array, second_moment: Array
) -> tuple[Any, Any, NuisanceEffect]:
    """Nuisances fitted on all rows, for rows that were not in the fit."""
    confounders = _confounders(rows)
    models = []
    for source, target in ((estimator.outcome_model, rows.y), (estimator.treatment_model, rows.X)):
        model = clone(resolve_model(source, confounders, n_targets=1 if target.ndim == 1 else target.shape[1]))
        if "random_state" in model.get_params() and model.get_params()["random_state"] is None:
            model.set_params(random_state=estimator._seed)
        goal = target if target.ndim == 1 or target.shape[1] > 1 else target[:, 0]
        keywords = {} if rows.weight is None else {"sample_weight": rows.weight}
        models.append(model.fit(model_input(model, confounders), goal, **keywords))
    outcome = np.asarray(models[0].predict(model_input(models[0], confounders))).reshape(-1)
    features = np.asarray(models[1].predict(model_input(models[1], confounders))).reshape(rows.n, -1)
    centre = float(rows.mean(outcome - features @ coef))
    return models[0], models[1], NuisanceEffect(models[0], models[1], coef, centre, rows.mean(features), second_moment)
