"""The method "weighting": rows weighted so that texts and a categorical confounder are independent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from causalkit.crossfit import CrossFitter, Nuisance
from causalkit.inference.covariance import influence_covariance
from causalkit.rewards.effects import LinearEffect
from causalkit.rewards.estimated_weights import MAX_SCORES, influence_with_estimated_weights
from causalkit.rewards.partially_linear import refuse_thin_levels
from causalkit.rewards.records import Factor, LoggedRows, RewardParts
from causalkit.rewards.weighting import (
    auc_after_weighting,
    balancing_weights,
    weighted_level_means,
    weighted_regression,
)

if TYPE_CHECKING:
    from causalkit.validation import Groups

__all__ = ["weighting_parts"]

Array = NDArray[np.float64]


def weighting_parts(estimator: Any, rows: LoggedRows) -> RewardParts:
    """Weighted regression of y on features, and weighted level means of y."""
    factor = _single_factor(rows)
    refuse_thin_levels(estimator, rows)
    probabilities = _probabilities(estimator, rows, factor.codes)
    balance = balancing_weights(
        factor.codes,
        probabilities,
        max_weight=estimator.max_weight,
        weight=rows.weight,
        levels=factor.levels,
        stacklevel=5,
    )
    fit = weighted_regression(rows.X, rows.y, balance.weights, names=rows.names)
    _, groups = estimator._kind_for(rows)
    means = weighted_level_means(rows.y, factor.codes, factor.n_levels, balance.weights, groups=groups)
    columns = (factor.codes[:, None] == np.arange(factor.n_levels)).astype(np.float64)
    centre = rows.mean(columns)
    influence: Array | None = None
    covariance = np.diag(means.std_error**2)
    if estimator.confounder_model is None and estimator.max_weight is None and _is_small(rows, factor.n_levels):
        own = columns * balance.weights[:, None]
        both = np.hstack([fit.influence(), own * (rows.y[:, None] - means.effect) / own.mean(axis=0)])
        both = influence_with_estimated_weights(both, factor.codes, probabilities, rows.X, rows.weight)
        influence, of_levels = np.split(both.astype(np.float64), [rows.X.shape[1]], axis=1)
        covariance = _covariance(of_levels, groups)
    effect = LinearEffect(
        None,
        np.arange(factor.n_levels, dtype=np.intp),
        means.effect,
        covariance,
        centre,
        rows.feature_mean,
        float(rows.mean(rows.y)),
    )
    effect_rows = means.effect[factor.codes] - float(centre @ means.effect)
    before, _ = auc_after_weighting(factor.codes, probabilities, np.ones(rows.n))
    after, _ = auc_after_weighting(factor.codes, probabilities, balance.weights)
    return RewardParts(
        coef=fit.coef,
        adjusted=rows.y - effect_rows,
        effect_rows=effect_rows,
        effect=effect,
        fits=[fit],
        influence=influence,
        residuals=fit.residuals,
        residual_variance=fit.residual_variance,
        degrees_of_freedom=fit.degrees_of_freedom,
        informative=np.ones(rows.n, dtype=bool),
        second_moment=fit.second_moment,
        extras={
            "weights_": balance.weights,
            "balance_": {
                "auc_before": before,
                "auc_after": after,
                "effective_sample_size": balance.effective_size,
                "weights_taken_as_known": influence is None,
            },
        },
    )


def _single_factor(rows: LoggedRows) -> Factor:
    """The one factor that the method weights for."""
    confounders = rows.confounders
    if confounders is None or confounders.roles.numeric:
        numeric = [] if confounders is None else list(confounders.roles.numeric)
        raise ValueError(
            f'method="weighting" needs categorical confounders; {numeric} are numeric: use method="partially_linear", '
            "cut them into levels, or name coded columns in `categorical`."
        )
    if len(confounders.factors) > 1:
        raise ValueError(
            f'method="weighting" needs one factor; got {[f.name for f in confounders.factors]}: join them with '
            "interactions=[tuple of names]."
        )
    return confounders.factors[0]


def _is_small(rows: LoggedRows, n_levels: int) -> bool:
    """Whether the classifier has few enough scores to project on; else the weights are taken as known."""
    return (n_levels - 1) * (rows.X.shape[1] + 2) <= min(MAX_SCORES, rows.n // 5)


def _covariance(influence: Array, groups: Groups | None) -> Array:
    factor = 1.0 if groups is None else groups.n_groups / (groups.n_groups - 1)
    return influence_covariance(influence, groups=groups, factor=factor)


def _probabilities(estimator: Any, rows: LoggedRows, codes: NDArray[np.intp]) -> Array:
    """Out-of-fold probabilities of the levels given the features."""
    model = estimator.confounder_model
    if model is None:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=100.0, max_iter=1000))
    fitter = CrossFitter(
        cv=estimator.cv, n_jobs=estimator.n_jobs, random_state=estimator._seed, verbose=estimator.verbose
    )
    nuisance = Nuisance("confounder", model, codes, "predict_proba", sample_weight=rows.weight, X=rows.X)
    groups = None if rows.groups is None else rows.groups.codes
    found = fitter.predict([nuisance], groups=groups, stratify=codes).predictions["confounder"][0]
    return np.asarray(found / found.sum(axis=1, keepdims=True))
