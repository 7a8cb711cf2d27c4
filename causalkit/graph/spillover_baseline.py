"""Effects with spillover from a baseline: see :mod:`causalkit.graph.outcome_baseline` for why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.graph.outcome_baseline import crossfit_baseline
from causalkit.graph.spillover_fit import constant_fit

if TYPE_CHECKING:
    from causalkit.graph.rlearner_fit import FitPlan
    from causalkit.graph.spillover_fit import SpilloverRepeat
    from causalkit.graph.spillover_training import TrainingState

__all__ = ["first_plan", "with_baseline"]

Array = NDArray[np.float64]


def first_plan(plan: FitPlan) -> FitPlan:
    """The plan of the first fit, whose outcome model gives no more than constant effects to start from."""
    from sklearn.ensemble import HistGradientBoostingRegressor  # slow to import

    trees = HistGradientBoostingRegressor(max_iter=50, max_leaf_nodes=8, early_stopping=False)
    return replace(plan, outcome_model=trees)


def with_baseline(
    state: TrainingState, outcome: Array, *, interaction: bool
) -> tuple[list[SpilloverRepeat], list[dict[str, Any]]]:
    r"""Repeats with residuals of the outcome from :math:`g + \beta_0'(e, \gamma, \ldots)`, and how g was chosen.

    Parameters
    ----------
    state : TrainingState
        Rows, columns, folds, and repeats with residuals of that outcome by the model of :func:`first_plan`.
    outcome : ndarray, shape (n,)
        Y; β₀ are constant effects of that first fit. Those that vary would make g no simpler, and it is a function of
        the covariates with either.
    interaction : bool
        Whether there are products.
    """
    rows, plan = state.rows, state.plan
    effects = constant_fit(state.repeats, rows.weight).coef
    values = state.repeats[0].moments.values
    taken = _explained(rows.treatment.values, values, effects, interaction)
    fits = crossfit_baseline(outcome - taken, rows, state.data, plan, state.splits)
    found = []
    for one, baseline in zip(state.repeats, fits.predictions["outcome"][:, :, 0], strict=True):
        predicted = baseline + _explained(one.propensity, one.moments.mean, effects, interaction)
        found.append(replace(one, outcome=outcome - predicted))
    return found, fits.selection


def _explained(treatment: Array, exposure: Array, effects: Array, interaction: bool) -> Array:
    """β'(T, G, TG) per row."""
    products = [treatment[:, None] * exposure] if interaction else []
    return np.asarray(np.column_stack([treatment, exposure, *products]) @ effects)
