r"""Outcomes less their effects, so that an error of the propensity alone leaves no bias in effects with spillover.

With R = (T - e, G - γ, ...), E[R(Ỹ - R'β)] = 0 takes m = E[Y|X] apart from e. Where e is off by δ, γ is as well, R by
:math:`-\delta_R`, and the moment by :math:`E[\delta_R(\delta_m - \beta'\delta_R)]`: the true m does not help. With
:math:`m = g + \beta'(e, \gamma, \ldots)` and g a regression of :math:`Y - \beta'(T, G, \ldots)` it is
:math:`E[\delta_R\,\delta_g]`, and vanishes where either side is right. This is the second of the two scores of a
partially linear model in Chernozhukov et al. (2018, section 4.1), with several residuals.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from causalkit.graph.level_outcomes import TREE_RATE_OF_SCORES
from causalkit.graph.nuisances import GraphNuisance, crossfit_nuisances
from causalkit.graph.pool import PoolOptions, PoolTarget
from causalkit.graph.spillover_fit import constant_fit

if TYPE_CHECKING:
    from causalkit.graph.spillover_fit import SpilloverRepeat
    from causalkit.graph.spillover_training import TrainingState

__all__ = ["with_baseline"]

Array = NDArray[np.float64]


def with_baseline(state: TrainingState, outcome: Array, *, interaction: bool) -> list[SpilloverRepeat]:
    r"""The repeats of a fit with residuals of the outcome from :math:`g + \beta'(e, \gamma, \ldots)`.

    Parameters
    ----------
    state : TrainingState
        Rows, columns, folds, and repeats with residuals of that outcome from m; they stay what they are where the
        fit needs no baseline.
    outcome : ndarray, shape (n,)
        Y; β are its constant effects. Those that vary would make g no simpler, and it is a function of the covariates
        with either.
    interaction : bool
        Whether there are products.
    """
    if not state.has_baseline:
        return state.repeats
    rows, plan = state.rows, state.plan
    effects = constant_fit(state.repeats, rows.weight).coef
    values = state.repeats[0].moments.values
    taken = _explained(rows.treatment.values, values, effects, interaction)
    target = PoolTarget(outcome - taken, 0, rows.weight, None if rows.groups is None else rows.groups.codes)
    options = PoolOptions(plan.nuisance_sets, neural=False, tree_rate=TREE_RATE_OF_SCORES)
    fits = crossfit_nuisances(
        [GraphNuisance("baseline", target, plan.outcome_model, options, plan.nuisance_sets[-1])],
        state.data,
        state.splits,
        seed=plan.seed,
        n_jobs=plan.n_jobs,
        verbose=plan.verbose,
    )
    found = []
    for one, baseline in zip(state.repeats, fits.predictions["baseline"][:, :, 0], strict=True):
        predicted = baseline + _explained(one.propensity, one.moments.mean, effects, interaction)
        found.append(replace(one, outcome=outcome - predicted))
    return found


def _explained(treatment: Array, exposure: Array, effects: Array, interaction: bool) -> Array:
    """β'(T, G, TG) per row."""
    products = [treatment[:, None] * exposure] if interaction else []
    return np.asarray(np.column_stack([treatment, exposure, *products]) @ effects)
