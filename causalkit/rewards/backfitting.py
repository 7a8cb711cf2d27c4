r"""Non-linear rewards: minimise E[Ỹ - (f(X) - E[f(X)|C])]² by backfitting any regressor.

h₀ = 0; f_k is fitted to (X, Y - ℓ̂(C) + h_{k-1}(C)), h_k to (C, f_k(X)). The first round is exactly "outcome_only"; for
a linear f and a regression on C that is a projection the limit is the partially linear fit, and the error shrinks per
round by one less the smallest overlap eigenvalue (Buja, Hastie & Tibshirani 1989).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from causalkit.crossfit import CrossFitter, Nuisance
from causalkit.exceptions import ConvergenceWarning
from causalkit.rewards.effects import NuisanceEffect, model_input, resolve_model
from causalkit.rewards.orthogonal import overlap_spectrum
from causalkit.rewards.pairwise import PairwiseRewardModel
from causalkit.rewards.records import LoggedRows, RewardParts

__all__ = [
    "Backfit",
    "NonlinearEffect",
    "backfit_cross_fitted",
    "backfit_rounds",
    "is_nonlinear",
    "reward_maker",
    "with_nonlinear_reward",
]

Array = NDArray[np.float64]

MAX_ROUNDS = 50
TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Backfit:
    """End of the iteration.

    Attributes
    ----------
    reward : fitted regressor
        f_K.
    fitted : ndarray, shape (n,)
        f_K(X).
    conditional : ndarray, shape (n,)
        h_K(C) of the rows.
    n_rounds : int
        Rounds.
    change : float
        Last change of h, root mean square, in units of y.
    """

    reward: Any
    fitted: Array
    conditional: Array
    n_rounds: int
    change: float


def backfit_rounds(
    make_reward: Callable[[], Any],
    X: NDArray[np.floating],
    outcome_residual: Array,
    smooth: Callable[[Array], Array],
    *,
    scale: float,
    weight: Array | None = None,
    max_rounds: int = MAX_ROUNDS,
) -> Backfit:
    """Iterate until h changes by less than 1e-6 of ``scale``.

    Parameters
    ----------
    make_reward : callable
        Returns an unfitted regressor.
    X : ndarray, shape (n, p)
        Features.
    outcome_residual : ndarray, shape (n,)
        Y - ℓ̂(C).
    smooth : callable
        Regression on C: values (n,) to fitted values (n,).
    scale : float
        Standard deviation of y.
    weight : ndarray, shape (n,), optional
        Weights.
    max_rounds : int
        Upper limit.
    """
    # The constant of f is not identified: without centring an out-of-fold residual of mean m would let f and h drift
    # by m in every round.
    outcome_residual = outcome_residual - np.average(outcome_residual, weights=weight)
    conditional = np.zeros(len(outcome_residual))
    keywords = {} if weight is None else {"sample_weight": weight}
    change, rounds, fitted, model = np.inf, 0, conditional, make_reward()
    while rounds < max_rounds and change >= TOLERANCE * scale:
        model = make_reward().fit(X, outcome_residual + conditional, **keywords)
        fitted = np.asarray(model.predict(X), dtype=np.float64).reshape(-1)
        before, conditional = conditional, smooth(fitted)
        conditional = conditional - np.average(conditional, weights=weight)
        change = float(np.sqrt(np.mean((conditional - before) ** 2)))
        rounds += 1
    return Backfit(model, fitted, conditional, rounds, change)


def is_nonlinear(final_model: Any) -> bool:
    """Whether the reward is a regressor of its own, rather than linear or pairwise."""
    return final_model is not None and not isinstance(final_model, PairwiseRewardModel)


def reward_maker(estimator: Any, seed: int) -> Callable[[], Any]:
    """Unfitted copies of the final model, seeded where the user left the seed open."""

    def make() -> Any:
        model = clone(estimator.final_model)
        parameters = model.get_params()
        if "random_state" in parameters and parameters["random_state"] is None:
            model.set_params(random_state=seed)
        return model

    return make


def _fold_confounder_effect(
    estimator: Any, rows: LoggedRows, train: NDArray[np.intp], test: NDArray[np.intp], fold: int
) -> tuple[Array, int, float]:
    """ĝ = ℓ̂ - h of the held-out rows of one fold, the rounds and the last change."""
    confounders = rows.confounders
    if confounders is None:
        raise ValueError("confounders is missing.")
    outcome = resolve_model(estimator.outcome_model, confounders)
    conditional = resolve_model(estimator.treatment_model, confounders)
    inside, outside = confounders.take(train), confounders.take(test)
    seed = int(estimator._seed)
    fitter = CrossFitter(cv=estimator.cv if isinstance(estimator.cv, int | np.integer) else 5, random_state=seed)
    groups = None if rows.groups is None else rows.groups.codes[train]
    weight = None if rows.weight is None else rows.weight[train]
    C_outcome, C_conditional = model_input(outcome, inside), model_input(conditional, inside)

    def out_of_fold(model: Any, C: Array, values: Array) -> Array:
        found = fitter.predict([Nuisance("inner", model, values, sample_weight=weight, X=C)], groups=groups)
        return found.predictions["inner"][0]

    y = rows.y[train]
    residual = y - out_of_fold(outcome, C_outcome, y)
    done = backfit_rounds(
        reward_maker(estimator, seed + fold),
        rows.X[train],
        residual,
        lambda values: out_of_fold(conditional, C_conditional, values),
        scale=float(rows.y.std()),
        weight=weight,
    )
    keywords = {} if weight is None else {"sample_weight": weight}
    level = clone(outcome).fit(C_outcome, y, **keywords).predict(model_input(outcome, outside))
    h = clone(conditional).fit(C_conditional, done.fitted, **keywords).predict(model_input(conditional, outside))
    return np.asarray(level).reshape(-1) - np.asarray(h).reshape(-1), done.n_rounds, done.change


def backfit_cross_fitted(estimator: Any, rows: LoggedRows, splits: list[tuple[Any, Any]]) -> tuple[Array, int, float]:
    """ĝ of every row by models that have not seen it, the most rounds and the largest last change."""
    calls = [
        delayed(_fold_confounder_effect)(estimator, rows, np.asarray(train), np.asarray(test), fold)
        for fold, (train, test) in enumerate(splits)
    ]
    effect, rounds, change = np.empty(rows.n), 0, 0.0
    for (_, test), found in zip(splits, Parallel(n_jobs=estimator.n_jobs)(calls), strict=True):
        effect[test] = found[0]
        rounds, change = max(rounds, found[1]), max(change, found[2])
    return effect, rounds, change


def with_nonlinear_reward(
    estimator: Any, rows: LoggedRows, parts: RewardParts, effect: Array, rounds: int, change: float
) -> RewardParts:
    """Adjusted rewards from a backfitted ĝ, and the reward model fitted to them on all rows."""
    if change >= TOLERANCE * float(rows.y.std()):
        rate = 1 - float(overlap_spectrum(parts.second_moment, rows.feature_moment)[0][0])
        warnings.warn(
            f"backfitting stopped after {rounds} rounds with a last change of {change:.2g} (outcome sd "
            f"{rows.y.std():.2g}); for a linear reward the error shrinks per round by {rate:.3f}. A learner that "
            "varies from fit to fit never settles: fix its random_state, or use the linear reward.",
            ConvergenceWarning,
            stacklevel=5,
        )
    effect_rows = effect - rows.mean(effect)
    adjusted = rows.y - effect_rows
    keywords = {} if rows.weight is None else {"sample_weight": rows.weight}
    final = reward_maker(estimator, int(estimator._seed))().fit(rows.X, adjusted, **keywords)
    fitted = np.asarray(final.predict(rows.X), dtype=np.float64).reshape(-1)
    new_effect: Any = parts.effect
    if isinstance(new_effect, NuisanceEffect) and rows.confounders is not None:
        model = clone(resolve_model(estimator.treatment_model, rows.confounders))
        C = model_input(model, rows.confounders)
        model.fit(C, fitted, **keywords)
        level = np.asarray(new_effect.outcome_model.predict(model_input(new_effect.outcome_model, rows.confounders)))
        centre = float(rows.mean(level.reshape(-1) - np.asarray(model.predict(C)).reshape(-1)))
        new_effect = NonlinearEffect(new_effect.outcome_model, model, final, centre)
    return replace(
        parts,
        adjusted=adjusted,
        effect_rows=effect_rows,
        effect=new_effect,
        extras={**parts.extras, "final_model_": final, "n_rounds_": rounds},
    )


@dataclass(frozen=True, eq=False)
class NonlinearEffect:
    """ĝ = ℓ̂(c) - h(c) with h the regression of the fitted reward on the confounders.

    Attributes
    ----------
    outcome_model, conditional_model, reward_model : fitted models
        ℓ̂, h and f.
    centre : float
        Training mean of ℓ̂ - h.
    """

    outcome_model: Any
    conditional_model: Any
    reward_model: Any
    centre: float

    def _level(self, new: Any) -> Array:
        return np.asarray(self.outcome_model.predict(model_input(self.outcome_model, new)), dtype=np.float64).reshape(
            -1
        )

    def _conditional(self, new: Any) -> Array:
        fitted = self.conditional_model.predict(model_input(self.conditional_model, new))
        return np.asarray(fitted, dtype=np.float64).reshape(-1)

    def value(self, new: Any) -> Array:
        """ℓ̂(c) - h(c) less its training mean."""
        return self._level(new) - self._conditional(new) - self.centre

    def std_error(self, new: Any, covariance: Array, residual_variance: float) -> tuple[Array, bool]:
        """Not available for a non-linear reward: refused by the estimator before it gets here."""
        raise ValueError("a non-linear reward has no standard errors: use the linear reward (final_model=None).")

    def residuals(
        self, X: NDArray[np.floating], y: Array, new: Any, weight: Array | None = None
    ) -> tuple[NDArray[np.floating], Array]:
        """f(X) - h(c) for the reward f(X) as the one column of X, and Y - ℓ̂(c)."""
        return X - self._conditional(new)[:, None], y - self._level(new)
