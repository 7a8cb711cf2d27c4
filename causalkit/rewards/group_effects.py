"""Methods with levels: fixed effects, shrunk (mixed) effects, and effects around a line in mean texts (Mundlak)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import MethodNotApplicableError, UnseenLevelError
from causalkit.rewards.absorption import absorb
from causalkit.rewards.backfitting import backfit_rounds, is_nonlinear, reward_maker, with_nonlinear_reward
from causalkit.rewards.baselines import choose_penalty
from causalkit.rewards.confounders import Confounders
from causalkit.rewards.fixed_effects import WithinFit, within_fit
from causalkit.rewards.level_effects import LevelEffects, leave_one_out_residuals, level_effects
from causalkit.rewards.nuisances import ConfounderBasis
from causalkit.rewards.orthogonal import times, transposed_times
from causalkit.rewards.records import Factor, LoggedRows, RewardParts
from causalkit.rewards.shrinkage import mixed_effects, mundlak_effects

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LevelEffect", "fixed_effects_parts", "shrunk_parts"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LevelEffect:
    """ĝ(c) = Σ_f α̂_f(level) + γ̂'b(numeric).

    Attributes
    ----------
    values : list of ndarray, shape (G,)
        Effects of the levels of each factor.
    errors : ndarray, shape (G,), or None
        Standard errors, one factor only.
    sets : list of ndarray of int, shape (G,)
        Connected set of each level; effects are comparable within a set only.
    basis : ConfounderBasis or None
        Of the numeric confounders.
    gamma : ndarray, shape (q,)
        Their coefficients.
    centre : float
        Training mean of ĝ.
    prior : float
        Effect of an unseen level.
    prior_error : float
        Its standard error.
    prior_slopes : ndarray, shape (p + q,), or None
        For "mundlak": an unseen level is expected at ``prior`` + slopes'(means of the features and numeric confounders
        of its rows).
    """

    values: list[Array]
    errors: Array | None
    sets: list[NDArray[np.intp]]
    basis: ConfounderBasis | None
    gamma: Array
    centre: float
    prior: float
    prior_error: float
    prior_slopes: Array | None

    def value(self, new: Confounders) -> Array:
        """Effects less their training mean; unseen levels at the prior."""
        total = self._numeric(new) - self.centre
        sets = []
        for values, factor, labels in zip(self.values, new.factors, self.sets, strict=True):
            codes = factor.codes
            total = total + np.where(codes >= 0, values[codes], self.prior)
            empty = (codes >= 0) & np.isnan(values[codes])
            if empty.any():
                raise UnseenLevelError(
                    f"confounders column {factor.name!r} has levels whose rows had no weight in fit, such as "
                    f"{factor.levels[codes[np.argmax(empty)]]!r} ({int(empty.sum())} rows): they have no effect to "
                    'take off. Use method="mixed", which gives such levels a prior, or drop these rows.'
                )
            sets.append(np.where(codes >= 0, labels[codes], -1))
        for other in sets[1:]:
            mixed = (other != sets[0]) & (other >= 0) & (sets[0] >= 0)
            if mixed.any():
                i = int(np.argmax(mixed))
                raise UnseenLevelError(
                    f"row {i} combines levels of connected sets {sets[0][i]} and {other[i]}, whose effects are not "
                    f"comparable ({int(mixed.sum())} such rows): no row of the fit linked them. Drop these rows, or "
                    "use one factor."
                )
        return total

    def value_at(self, X: NDArray[np.floating], new: Confounders) -> Array:
        """Effects with unseen levels at the prior for the mean features of their rows."""
        total = self.value(new)
        codes = new.factors[0].codes
        if self.prior_slopes is None or not (codes < 0).any():
            return total
        W = np.zeros((new.n, 0)) if self.basis is None else self.basis.transform(new.matrix())
        for code in np.unique(codes[codes < 0]):
            rows = codes == code
            means = np.concatenate([X[rows].astype(np.float64).mean(axis=0), W[rows].mean(axis=0)])
            total[rows] += float(means @ self.prior_slopes)
        return total

    def _numeric(self, new: Confounders) -> Array:
        if self.basis is None:
            return np.zeros(new.n)
        return self.basis.transform(new.matrix()) @ self.gamma

    def std_error(self, new: Confounders, covariance: Array, residual_variance: float) -> tuple[Array, bool]:
        """Errors of the levels; with numeric confounders beside them a lower bound."""
        if self.errors is None:
            raise MethodNotApplicableError(
                "standard errors of crossed level effects have no closed form: use one factor, or their interaction "
                "through interactions=."
            )
        codes = new.factors[0].codes
        return np.where(codes >= 0, self.errors[codes], self.prior_error), self.basis is None

    def residuals(
        self, X: NDArray[np.floating], y: Array, new: Confounders, weight: Array | None = None
    ) -> tuple[NDArray[np.floating], Array]:
        """Features and outcome demeaned within the levels of these rows."""
        absorption = absorb([_recoded(factor) for factor in new.factors], weight)
        left, target = absorption.residualise(X), absorption.residualise(y)
        if self.basis is not None:
            W = absorption.residualise(self.basis.transform(new.matrix()))
            weighted = W if absorption.weight is None else W * absorption.weight[:, None]
            inverse = np.linalg.pinv(weighted.T @ W, hermitian=True)
            left = (left - W @ (inverse @ transposed_times(left, weighted).T)).astype(left.dtype, copy=False)
            target = target - W @ (inverse @ (weighted.T @ target))
        return left, target


def _recoded(factor: Factor) -> Factor:
    """The same grouping with codes from 0: unseen levels are groups of their own."""
    levels, codes = np.unique(factor.codes, return_inverse=True)
    return Factor(factor.name, codes.ravel().astype(np.intp), levels)


def require_factors(rows: LoggedRows, method: str, single: bool) -> Confounders:
    """Refuse confounders that the method cannot use."""
    confounders = rows.confounders
    if confounders is None or not confounders.factors:
        raise ValueError(
            f'method="{method}" needs a categorical confounder, and all of them are numeric: use '
            'method="partially_linear", or name coded columns in `categorical`.'
        )
    if single and len(confounders.factors) > 1:
        names = [f.name for f in confounders.factors]
        raise ValueError(
            f'method="{method}" needs exactly one factor; got {names}: join them with interactions=[tuple of names], '
            "or choose one."
        )
    return confounders


def numeric_basis(confounders: Confounders, weight: Array | None = None) -> tuple[ConfounderBasis | None, Array | None]:
    """Spline columns of the numeric confounders beside the factors."""
    if not confounders.roles.numeric:
        return None, None
    basis = ConfounderBasis(confounders.roles, ()).fit(confounders.matrix(), sample_weight=weight)
    return basis, basis.transform(confounders.matrix())


def fit_within(estimator: Any, rows: LoggedRows) -> tuple[WithinFit, ConfounderBasis | None, Array | None]:
    """The within regression of a method with levels."""
    confounders = require_factors(rows, estimator.method, single=estimator.method != "fixed_effects")
    absorption = absorb(confounders.factors, rows.weight)
    basis, W = numeric_basis(confounders, rows.weight)
    penalty = 0.0 if isinstance(estimator.penalty, str) else float(estimator.penalty)
    options: dict[str, Any] = {"names": rows.names, "feature_moment": rows.feature_moment}
    if isinstance(estimator.penalty, str):
        plain = within_fit(rows.X, rows.y, W, absorption, penalty=1e-8 * rows.n, **options)
        target = plain.residuals + times(plain.residual_features, plain.coef)
        penalty = choose_penalty(estimator, plain.residual_features, target, absorption.weight)
    return within_fit(rows.X, rows.y, W, absorption, penalty=penalty, **options), basis, W


def fixed_effects_parts(estimator: Any, rows: LoggedRows) -> RewardParts:
    """θ̂ within levels, effects of the levels, R̂ = r̂(X) + ê."""
    within, basis, W = fit_within(estimator, rows)
    kind, groups = estimator._kind_for(rows)
    covariance = within.covariance(kind, groups)
    levels = level_effects(within, rows.X, rows.y, W, covariance=covariance)
    residuals = leave_one_out_residuals(within) if estimator.leave_one_out else within.residuals
    errors = None if levels.standard_errors is None else levels.standard_errors[0]
    frame = level_frame(rows, levels, levels.effects, errors, None)
    parts = assemble(rows, within, covariance, basis, levels, residuals, levels.effects, errors=errors, frame=frame)
    if not is_nonlinear(estimator.final_model):
        return parts
    absorption = within.absorption

    def smooth(values: Array) -> Array:
        left = absorption.residualise(values)
        if W is not None:
            kept = absorption.residualise(W)
            weighted = left if absorption.weight is None else left * absorption.weight
            left = left - kept @ (within.numeric.inverse @ (kept.T @ weighted))
        return values - left

    # The regression on C is a projection here, so that it is taken in sample.
    target = rows.y - smooth(rows.y)
    done = backfit_rounds(
        reward_maker(estimator, int(estimator._seed)),
        rows.X,
        target,
        smooth,
        scale=float(rows.y.std()),
        weight=rows.weight,
    )
    return with_nonlinear_reward(estimator, rows, parts, rows.y - target - done.conditional, done.n_rounds, done.change)


def shrunk_parts(estimator: Any, rows: LoggedRows) -> RewardParts:
    """Methods "mixed" and "mundlak": θ̂ within levels, effects of the levels shrunk."""
    within, basis, W = fit_within(estimator, rows)
    covariance = within.covariance(*estimator._kind_for(rows))
    levels = level_effects(within, rows.X, rows.y, W, covariance=covariance)
    shrink = mixed_effects if estimator.method == "mixed" else mundlak_effects
    shrunk = shrink(within, levels)
    confounders = require_factors(rows, estimator.method, single=True)
    effect_rows = shrunk.effects[confounders.factors[0].codes]
    if basis is not None and W is not None:
        effect_rows = effect_rows + W @ within.gamma
    adjusted = rows.y - effect_rows + rows.mean(effect_rows)
    components: dict[str, Any] = {"residual": shrunk.sigma2, "levels": shrunk.level_variance}
    if shrunk.test is not None:
        components["levels_and_texts"] = shrunk.test
    return assemble(
        rows,
        within,
        covariance,
        basis,
        levels,
        within.residuals,
        [shrunk.effects],
        errors=shrunk.standard_errors,
        frame=level_frame(rows, levels, [shrunk.effects], shrunk.standard_errors, shrunk.shrinkage),
        prior=float(shrunk.coef[0]),
        prior_error=float(np.sqrt(shrunk.level_variance)),
        prior_slopes=None if len(shrunk.coef) == 1 else shrunk.coef[1:],
        adjusted=adjusted,
        extras={"variance_components_": components},
    )


def assemble(
    rows: LoggedRows,
    within: WithinFit,
    covariance: Array,
    basis: ConfounderBasis | None,
    levels: LevelEffects,
    residuals: Array,
    values: list[Array],
    *,
    errors: Array | None,
    frame: pd.DataFrame,
    prior: float = float("nan"),
    prior_error: float = float("nan"),
    prior_slopes: Array | None = None,
    adjusted: Array | None = None,
    extras: dict[str, Any] | None = None,
) -> RewardParts:
    """Parts of a method with levels from its within fit and its level effects."""
    coef = within.coef
    if adjusted is None:
        adjusted = rows.mean(rows.y) + times(rows.X, coef) - float(rows.feature_mean @ coef) + residuals
        adjusted = adjusted - rows.mean(adjusted) + rows.mean(rows.y)
    confounders = require_factors(rows, "fixed_effects", single=False)
    plain = np.zeros(rows.n) if basis is None else basis.transform(confounders.matrix()) @ within.gamma
    for effects, factor in zip(values, confounders.factors, strict=True):
        plain = plain + np.nan_to_num(effects)[factor.codes]  # levels whose rows have no weight have no effect
    effect = LevelEffect(
        values=values,
        errors=errors,
        sets=levels.connected_sets,
        basis=basis,
        gamma=within.gamma,
        centre=float(rows.mean(plain)),
        prior=prior,
        prior_error=prior_error,
        prior_slopes=prior_slopes,
    )
    return RewardParts(
        coef=coef,
        adjusted=adjusted,
        effect_rows=rows.y - adjusted,
        effect=effect,
        fits=[within.orthogonal],
        residuals=within.residuals,
        residual_variance=within.sigma2,
        degrees_of_freedom=within.degrees_of_freedom,
        informative=within.absorption.informative_rows,
        # Absorption gives weights mean 1 over the rows that have any, Σ_X over all rows.
        second_moment=within.orthogonal.second_moment * (rows.n / within.orthogonal.n_weighted),
        within=within,
        covariance=covariance,
        n_absorbed=within.n_absorbed,
        penalty=within.orthogonal.penalty,
        extras={"level_effects_": frame, **(extras or {})},
    )


def level_frame(
    rows: LoggedRows, levels: LevelEffects, values: list[Array], errors: Array | None, shrinkage: Array | None
) -> pd.DataFrame:
    """Frame of level effects: factor, level, n, effect, se, shrinkage, connected_set."""
    import pandas as pd

    frames = []
    for k, factor in enumerate([] if rows.confounders is None else rows.confounders.factors):
        frames.append(
            pd.DataFrame(
                {
                    "factor": factor.name,
                    "level": pd.Series(list(factor.levels), dtype=object),
                    "n": levels.counts[k],
                    "effect": values[k],
                    "se": np.nan if errors is None else errors,
                    "shrinkage": np.nan if shrinkage is None else shrinkage,
                    "connected_set": levels.connected_sets[k],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)
