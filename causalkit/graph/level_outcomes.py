r"""Outcomes within each level of the treatment, for scores whose bias is a product of two errors.

Scores can take the outcome of a level from m, e and τ, as :math:`\mu_0 = m - e\tau`. An error of e is then one of
:math:`\mu_0` as well, and the average effect is off by :math:`E[\delta_e(\delta_m - \tau\delta_e)/\{e(1-e)\}]`, where δ
are the errors of m and e and e is the estimate: even the true m does not help. With regressions within levels that is
:math:`E[\delta_e\{\delta_1/e + \delta_0/(1-e)\}]`, δ₁ and δ₀ being theirs, and vanishes where either side is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.utils.parallel import delayed

from causalkit.crossfit import run_tasks
from causalkit.graph.nuisances import GraphNuisance, decide, fit_fold
from causalkit.graph.pool import LARGE, MESSAGES, PoolChoice, PoolOptions, PoolTarget
from causalkit.seeds import task_seed

if TYPE_CHECKING:
    from causalkit.graph.inputs import NodeRows
    from causalkit.graph.neighbourhoods import NodeFeatures
    from causalkit.graph.pool import PoolDecision
    from causalkit.graph.rlearner_fit import FitPlan, Residualised

__all__ = ["TREE_RATE_OF_SCORES", "level_outcomes", "needs_outcome_models"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

TREE_RATE_OF_SCORES = 0.1  # half as many trees, for regressions that are as many as the levels


def needs_outcome_models(plan: FitPlan, *, treatment_is_known: bool) -> bool:
    """Whether the propensity is estimated, and the outcome model is one that is fitted here."""
    return not treatment_is_known and not isinstance(plan.outcome_model, FrozenEstimator)


def level_outcomes(rows: NodeRows, data: NodeFeatures, plan: FitPlan, nuisance: Residualised) -> Array | None:
    """Out-of-fold regressions of the outcome on the rows of each level, or None where scores do not need them.

    They are not needed where the chances of treatment are known, and cannot be had from a model that is not fitted
    here. A model of the user is fitted within levels too; of the pool, linear models and boosted trees take part, on
    the columns that the outcome model of the fold has chosen.

    Returns
    -------
    ndarray, shape (r, n, L), or None
    """
    coded = rows.treatment
    known = "treatment" not in nuisance.fits.models
    if coded.levels is None or not needs_outcome_models(plan, treatment_is_known=known):
        return None
    codes = coded.values.astype(np.intp)
    target = PoolTarget(rows.outcome, 0, rows.weight, None if rows.groups is None else rows.groups.codes)
    jobs = [
        (_nuisance(level, repeat, fold, target, plan, nuisance), repeat, fold, train[codes[train] == level], test)
        for repeat, repeat_splits in enumerate(nuisance.splits.splits)
        for fold, (train, test) in enumerate(repeat_splits)
        for level in range(coded.n_levels)
    ]
    decisions = _decide_once(jobs, data, codes, plan)
    outputs = run_tasks(
        [
            delayed(_fit_level)(one, data, train, test, repeat, fold, plan.seed, decisions.get((repeat, one.name)))
            for one, repeat, fold, train, test in jobs
        ],
        n_jobs=plan.n_jobs,
        verbose=plan.verbose,
        label="outcomes by level",
    )
    found = np.empty((*nuisance.outcome.shape, coded.n_levels))
    for number, ((_, repeat, _, _, test), output) in enumerate(zip(jobs, outputs, strict=True)):
        found[repeat, test, number % coded.n_levels] = output
    return found


def _nuisance(
    level: int, repeat: int, fold: int, target: PoolTarget, plan: FitPlan, nuisance: Residualised
) -> GraphNuisance:
    """The regression of one level; the pool keeps to the columns that the outcome model of the fold has chosen."""
    sets = plan.nuisance_sets
    models = nuisance.fits.models.get("outcome")  # None with known predictions
    choice = None if models is None else models[repeat][fold].model
    if isinstance(choice, PoolChoice) and choice.features != MESSAGES:
        sets = (choice.features,)
    options = PoolOptions(sets, neural=False, tree_rate=TREE_RATE_OF_SCORES)
    return GraphNuisance(f"outcome at level {level}", target, plan.outcome_model, options, plan.nuisance_sets[-1])


def _decide_once(jobs: list[Any], data: NodeFeatures, codes: Rows, plan: FitPlan) -> dict[tuple[int, str], Any]:
    """With many rows the pool decides once per repeat and level, as it does for the other nuisances."""
    if plan.outcome_model is not None or len(codes) < LARGE:
        return {}
    first = [job for job in jobs if job[2] == 0]
    levels = [np.flatnonzero(codes == level) for level in range(int(codes.max()) + 1)]
    found = run_tasks(
        [
            delayed(decide)(one, data, levels[number % len(levels)], task_seed(plan.seed, repeat, 0, one.name))
            for number, (one, repeat, *_) in enumerate(first)
        ],
        n_jobs=plan.n_jobs,
        verbose=plan.verbose,
        label="candidates by level",
    )
    return {(repeat, one.name): decision for (one, repeat, *_), decision in zip(first, found, strict=True)}


def _fit_level(
    nuisance: GraphNuisance,
    data: NodeFeatures,
    train: Rows,
    test: Rows,
    repeat: int,
    fold: int,
    seed: int,
    decision: PoolDecision | None,
) -> Array:
    values = nuisance.target.values[train]
    if np.ptp(values) == 0:  # a classifier of outcomes has one class to learn here
        return np.full(len(test), values[0])
    return fit_fold(nuisance, data, train, test, repeat, fold, seed, decision)[1][:, 0]
