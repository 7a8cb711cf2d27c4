"""The last step of a GraphRLearner fit: doubly robust scores of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from causalkit.graph.level_outcomes import level_outcomes
from causalkit.graph.nuisances import GraphNuisance, crossfit_nuisances
from causalkit.graph.outcome_baseline import crossfit_baseline, has_baseline
from causalkit.graph.pool import PoolOptions, PoolTarget
from causalkit.graph.rlearner_fit import overall_constant
from causalkit.graph.scores import clip_probabilities, continuous_scores, doubly_robust_scores, of_levels
from causalkit.graph.splits import GraphSplits

if TYPE_CHECKING:
    from causalkit.graph.inputs import NodeRows
    from causalkit.graph.neighbourhoods import NodeFeatures
    from causalkit.graph.rlearner_fit import FitPlan, Residualised

__all__ = ["EffectScores", "effect_scores"]

Array = NDArray[np.float64]

_LEAST_VARIANCE = 0.1  # of the mean, about what score_clip does for two levels: one percent lets one row decide


@dataclass(frozen=True, eq=False)
class EffectScores:
    """Doubly robust scores, and what they were made with.

    Attributes
    ----------
    values : ndarray, shape (r, n, k)
        Γ of every repeat.
    by_level : ndarray, shape (r, n, L), or None
        Outcomes within levels, see :func:`level_outcomes`.
    variance : ndarray, shape (r, n), or None
        Var(T|X) of a continuous treatment.
    outcome_residual : ndarray, shape (r, n), or None
        Residuals of the outcome that scores of a continuous treatment use.
    """

    values: Array
    by_level: Array | None = None
    variance: Array | None = None
    outcome_residual: Array | None = None


def effect_scores(
    rows: NodeRows, data: NodeFeatures, plan: FitPlan, nuisance: Residualised, effect: Array
) -> EffectScores:
    """Doubly robust scores of every repeat."""
    coded = rows.treatment
    if coded.levels is not None:
        codes = coded.values.astype(np.intp)
        by_level = level_outcomes(rows, data, plan, nuisance)
        found = []
        for repeat, (m, unclipped) in enumerate(zip(nuisance.outcome, nuisance.treatment, strict=True)):
            e = clip_probabilities(unclipped, plan.score_clip)[0]
            outcome, tau = (m, effect) if by_level is None else of_levels(by_level[repeat], e)
            found.append(doubly_robust_scores(rows.outcome, codes, outcome, e, tau))
        return EffectScores(np.array(found), by_level)
    variance = _treatment_variance(rows, data, plan, nuisance)
    residuals = _outcome_residuals(rows, data, plan, nuisance)
    scores = [
        continuous_scores(y, t[:, 0], v, effect[:, 0])[:, None]
        for y, t, v in zip(residuals, nuisance.treatment_residual, variance, strict=True)
    ]
    return EffectScores(np.array(scores), None, variance, residuals)


def _outcome_residuals(rows: NodeRows, data: NodeFeatures, plan: FitPlan, nuisance: Residualised) -> Array:
    """Residuals of the outcome for the scores of a continuous treatment, shape (r, n)."""
    if not has_baseline(plan, treatment_is_known="treatment" not in nuisance.fits.models):
        return nuisance.outcome_residual
    slope = overall_constant(nuisance, rows)[0]
    fits = crossfit_baseline(rows.outcome - slope * rows.treatment.values, rows, data, plan, nuisance.splits)
    return rows.outcome - fits.predictions["outcome"][:, :, 0] - slope * nuisance.treatment[:, :, 0]


def _treatment_variance(rows: NodeRows, data: NodeFeatures, plan: FitPlan, nuisance: Residualised) -> Array:
    """Cross-fitted regression of T̃² on the covariates, floored at a tenth of its mean."""
    groups = None if rows.groups is None else rows.groups.codes
    variance = np.empty_like(nuisance.outcome)
    for repeat, residual in enumerate(nuisance.treatment_residual):
        squares = residual[:, 0] ** 2
        target = PoolTarget(squares, 0, rows.weight, groups)
        options = PoolOptions(plan.nuisance_sets, neural=False)
        splits = nuisance.splits
        part = GraphSplits([splits.splits[repeat]], splits.folds[repeat : repeat + 1], splits.report)
        fits = crossfit_nuisances(
            [GraphNuisance("treatment variance", target, None, options, plan.nuisance_sets[-1])],
            data,
            part,
            seed=plan.seed + repeat,
            n_jobs=plan.n_jobs,
            verbose=plan.verbose,
        )
        floor = _LEAST_VARIANCE * float(squares.mean())
        variance[repeat] = np.maximum(fits.predictions["treatment variance"][0, :, 0], floor)
    return variance
