"""One encoder with its second stage on some rows: what a dose curve is computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from causalkit.extrapolation.do_curve import do_mean
from causalkit.extrapolation.encoder_models import action_line
from causalkit.extrapolation.second_stage import SplineControlFunction

__all__ = ["CurvePart", "fit_curve_part", "new_outcome_model"]

Array = NDArray[np.float64]

_SPLINE_AXES = 3


@dataclass(frozen=True, eq=False)
class CurvePart:
    """Second stage on the rows of one part.

    Attributes
    ----------
    phi, residual : ndarray, shape (n, d)
        φ and R = φ - WA - b.
    action_matrix : ndarray, shape (d, k)
        W, by least squares on these rows.
    intercept : ndarray, shape (d,)
        b.
    outcome_model : estimator
        Fitted, with ``structural`` and ``predict``.
    outcome_mean : float
        ȳ.
    weight : ndarray or None, shape (n,)
        Weights.
    """

    phi: Array
    residual: Array
    action_matrix: Array
    intercept: Array
    outcome_model: Any
    outcome_mean: float
    weight: Array | None

    def do_mean(self, actions: Array) -> Array:
        """Mean outcome under do(A = a) for rows of actions (m, k)."""
        return do_mean(
            self.outcome_model.structural,
            self.phi,
            self.residual,
            self.outcome_mean,
            self.action_matrix,
            self.intercept,
            actions,
            self.weight,
        )

    def given_features(self, actions: Array, phi: Array) -> Array:
        r"""E[Y | X = x, do(a)] = ν(φ(x)) + ψ(φ(x) - Wa - b), shape (m,)."""
        return np.asarray(self.outcome_model.predict(phi, phi - actions @ self.action_matrix.T - self.intercept))


def new_outcome_model(model: Any, n_axes: int, device: Any, seed: int) -> Any:
    """An unfitted second stage: splines up to three axes and networks above, unless one is given."""
    if model is not None:
        return clone(model)
    if n_axes <= _SPLINE_AXES:
        return SplineControlFunction()
    from causalkit.extrapolation.neural_stage import NeuralControlFunction

    return NeuralControlFunction(device=device, random_state=seed)


def fit_curve_part(
    phi: Array,
    actions: Array,
    y: Array,
    weight: Array | None,
    outcome_model: Any,
    *,
    moments: Array | None = None,
    calibration: float = 0.0,
) -> CurvePart:
    """Fit W, b and the second stage on rows of a representation.

    Parameters
    ----------
    phi : ndarray, shape (n, d)
        Representation.
    actions : ndarray, shape (n, k)
        Actions.
    y : ndarray, shape (n,)
        Outcome.
    weight : ndarray, shape (n,), optional
        Weights.
    outcome_model : estimator
        Unfitted.
    moments : ndarray, shape (n, D), optional
        Functions of the action for the calibration term.
    calibration : float
        Its weight.
    """
    matrix, intercept, residual = action_line(phi, actions, weight)
    extra: dict[str, Any] = {}
    if weight is not None:
        extra["sample_weight"] = weight
    if calibration > 0:
        extra |= {"moments": moments, "calibration": calibration}
    model = outcome_model.fit(phi, residual, y, **extra)
    return CurvePart(phi, residual, matrix, intercept, model, float(np.average(y, weights=weight)), weight)
