"""What a dose curve is fitted on and with: rows, settings, and their checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.extrapolation.actions import ActionScale, check_actions
from causalkit.extrapolation.encoder import LinearInvarianceEncoder
from causalkit.extrapolation.encoder_inputs import check_features, transformed_actions
from causalkit.validation import Groups, check_groups, check_sample_weight, check_vector

__all__ = ["CurveRows", "CurveSettings", "calibration_weight", "check_curve_rows"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class CurveRows:
    """Checked rows of a fit.

    Attributes
    ----------
    features : ndarray, shape (n, ...)
        X.
    actions : ndarray, shape (n, k)
        A, as the user gave them.
    moved : ndarray, shape (n, k')
        t(A), which the latent variables are linear in.
    standard : ndarray, shape (n, k')
        Standardised.
    y : ndarray, shape (n,)
        Outcome.
    weight : ndarray or None
        Weights with mean 1.
    groups : Groups or None
        Clusters.
    scale : ActionScale
        Of t(A).
    """

    features: Any
    actions: Array
    moved: Array
    standard: Array
    y: Array
    weight: Array | None
    groups: Groups | None
    scale: ActionScale

    def weights(self, rows: Rows) -> Array | None:
        """Weights of some rows."""
        return None if self.weight is None else self.weight[rows]


@dataclass(frozen=True, eq=False)
class CurveSettings:
    """What a fit uses.

    Attributes
    ----------
    encoder, outcome_model : estimator
        Unfitted; the outcome model may be None.
    calibration : float or None
        λ_c; None chooses.
    cv, n_repeats : object
        Parts of a cross-fit.
    device : str
        Where networks train.
    seed : int
        Key of all draws.
    """

    encoder: Any
    outcome_model: Any
    calibration: float | None
    cv: Any
    n_repeats: int
    device: Any
    seed: int


def check_curve_rows(
    encoder: Any, actions: Any, y: Any, features: Any, sample_weight: Any, groups: Any
) -> tuple[CurveRows, list[str]]:
    """Check everything that a fit is given; also returns the names of the actions."""
    if y is None:
        raise ValueError("Rep4Ex requires y to be passed, but the target y is None: expected one outcome per action.")
    raw, names, scale = check_actions(actions)
    n = len(raw)
    outcome = check_vector(y, "y", n_rows=n, like="actions")
    function = getattr(encoder, "action_features", None)
    moved = raw
    if function is not None:
        moved = transformed_actions(function, raw)
        _, _, scale = check_actions(moved, warn=False)
    any_shape = not isinstance(encoder, LinearInvarianceEncoder) or (
        encoder.encoder_module is not None or not isinstance(encoder.basis, str)
    )
    values = check_features(features, n, any_shape=any_shape)
    weight = check_sample_weight(sample_weight, n, like="actions")
    checked = check_groups(groups, n, like="actions")
    rows = CurveRows(
        values,
        raw,
        moved,
        scale.standardised(moved),
        outcome,
        None if weight is None else weight / weight.mean(),
        checked,
        scale,
    )
    return rows, names


def calibration_weight(value: Any) -> float | None:
    """λ_c as a number, or None for "auto"."""
    if isinstance(value, str) and value == "auto":
        return None
    ok = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not ok or not np.isfinite(value) or value < 0:
        raise ValueError(f'calibration must be "auto" or a number of at least 0; got {value!r}.')
    return float(value)
