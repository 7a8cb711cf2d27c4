"""Checks of the parameters of a RewardDeconfounder, before any work."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalkit.exceptions import BadControlError, MethodNotApplicableError
from causalkit.rewards.backfitting import is_nonlinear
from causalkit.rewards.methods import METHODS
from causalkit.rewards.records import LoggedRows
from causalkit.validation import check_choice, check_integer

__all__ = ["check_parameters", "check_timing"]

COVARIANCES = ("auto", "homoskedastic", "HC0", "HC1", "cluster")


def check_parameters(estimator: Any) -> None:
    """Refuse parameters of a :class:`RewardDeconfounder` that mean nothing, or nothing together."""
    check_choice(estimator.method, "method", METHODS)
    check_choice(estimator.covariance, "covariance", COVARIANCES)
    check_integer(estimator.n_repeats, "n_repeats", low=1)
    penalty = estimator.penalty
    number = isinstance(penalty, int | float | np.number) and not isinstance(penalty, bool)
    if not (penalty == "cv" if isinstance(penalty, str) else number and 0 <= penalty < np.inf):
        raise ValueError(f'penalty must be a number of at least 0, or "cv"; got {penalty!r}.')
    model = estimator.final_model
    if model is not None and (isinstance(model, type) or not (hasattr(model, "fit") and hasattr(model, "predict"))):
        raise TypeError(f"final_model must be a regressor with fit and predict, as an object, or None; got {model!r}.")
    if is_nonlinear(estimator.final_model) and estimator.method not in ("partially_linear", "fixed_effects"):
        raise MethodNotApplicableError(
            f"final_model={type(estimator.final_model).__name__} is fitted by backfitting, which "
            f'method="{estimator.method}" does not do: use method="partially_linear" or "fixed_effects", or leave it '
            "at None."
        )
    number = isinstance(estimator.max_weight, int | float | np.number) and not isinstance(estimator.max_weight, bool)
    if estimator.max_weight is not None and not (number and estimator.max_weight > 0):
        raise ValueError(f"max_weight must be a positive number or None; got {estimator.max_weight!r}.")


def check_timing(estimator: Any, rows: LoggedRows) -> None:
    """Refuse confounders that the user says were settled after the text."""
    if rows.confounders is None:
        return
    columns = rows.confounders.roles.columns
    timing = estimator.timing
    if timing is None or timing == "before":
        return
    if not isinstance(timing, dict):
        raise ValueError(f'timing must be None, "before" or a dict of column to "before" or "after"; got {timing!r}.')
    for name, when in timing.items():
        if name not in columns:
            raise ValueError(f"timing names {name!r}, which is no column of confounders; available: {list(columns)}.")
        check_choice(when, f"timing[{name!r}]", ("before", "after"))
        if when == "after" and estimator.method != "instrument":
            raise BadControlError(
                f"confounders column {name!r} was settled after the text was written, so removing its effect would "
                'remove part of the reward: drop it, or use it with method="instrument".'
            )
