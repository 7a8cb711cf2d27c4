r"""Outcomes less their effects, so that an error of the propensity alone leaves no bias in effects.

With R = T - e, or R = (T - e, G - γ, ...) with exposures of mean γ(e), E[R(Ỹ - R'β)] = 0 takes m = E[Y|X] apart from e.
Where e is off by δ, R is by :math:`-\delta_R`, and the moment by :math:`E[\delta_R(\delta_m - \beta'\delta_R)]`: the
true m does not help. With :math:`m = g + \beta_0'(e, \gamma, \ldots)` and g a regression of
:math:`Y - \beta_0'(T, G, \ldots)` it is :math:`E[\delta_R\{\delta_g - (\beta - \beta_0)'\delta_R\}]`. g is a function
of the covariates for any :math:`\beta_0`, so that a rough one will do: its error times the square of that of R is all
that is left where g is right. This is the second of the two scores of a partially linear model in Chernozhukov et al.
(2018, section 4.1), with several residuals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier

from causalkit.graph.level_outcomes import needs_outcome_models
from causalkit.graph.nuisances import GraphNuisance, NuisanceFits, crossfit_nuisances
from causalkit.graph.pool import PoolTarget

if TYPE_CHECKING:
    from causalkit.graph.inputs import NodeRows
    from causalkit.graph.neighbourhoods import NodeFeatures
    from causalkit.graph.rlearner_fit import FitPlan
    from causalkit.graph.splits import GraphSplits

__all__ = ["crossfit_baseline", "has_baseline"]


def has_baseline(plan: FitPlan, *, treatment_is_known: bool) -> bool:
    """Whether residuals of the outcome come from a baseline; a classifier cannot learn one."""
    classifies = plan.outcome_model is not None and is_classifier(plan.outcome_model)
    return needs_outcome_models(plan, treatment_is_known=treatment_is_known) and not classifies


def crossfit_baseline(
    remainder: NDArray[np.float64], rows: NodeRows, data: NodeFeatures, plan: FitPlan, splits: GraphSplits
) -> NuisanceFits:
    r"""Regressions of the remainder :math:`Y - \beta_0'(T, G, \ldots)`, shape (n,), by the model of the outcome."""
    target = PoolTarget(remainder, 0, rows.weight, None if rows.groups is None else rows.groups.codes)
    nuisance = GraphNuisance("outcome", target, plan.outcome_model, plan.pool_options(), plan.nuisance_sets[-1])
    return crossfit_nuisances([nuisance], data, splits, seed=plan.seed, n_jobs=plan.n_jobs, verbose=plan.verbose)
