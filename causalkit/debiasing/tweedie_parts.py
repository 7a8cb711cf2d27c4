"""Pieces of Tweedie's correction: the line of truth on prediction, and the noise of a score's constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from causalkit.debiasing.basis import Basis, CustomScoreBasis
from causalkit.debiasing.calibration_lines import simple_regression
from causalkit.debiasing.calibration_sample import CalibrationSample
from causalkit.debiasing.score import KernelScore

__all__ = ["BerksonLine", "berkson_line", "custom_basis", "stein_influence"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BerksonLine:
    """Y = a + bŶ + e: coefficients, residual variance, and influence of (a, b, σ²), shape (n, 3).

    ``line_influence``, shape (n, 2), is that of the line that the residuals are taken from.
    """

    intercept: float
    slope: float
    variance: float
    residuals: Array
    influence: Array
    line_influence: Array


def berkson_line(sample: CalibrationSample, recalibrate: bool) -> BerksonLine:
    """Regress truth on prediction, or take a = 0 and b = 1 as known."""
    share = np.full(sample.n, 1.0) if sample.weight is None else sample.weight * (sample.n / sample.weight.sum())
    if recalibrate:
        a, b, influence, centred = simple_regression(sample.predictions, sample.y, sample.weight)
    else:
        a, b, influence = 0.0, 1.0, np.zeros((sample.n, 2))
        centred = sample.y - sample.predictions
        centred = centred - np.average(centred, weights=sample.weight)
    variance = float(np.average(centred**2, weights=sample.weight))
    # The residuals are those of the line through their mean, even where a = 0 and b = 1 are taken as known.
    of_residuals = influence if recalibrate else np.column_stack([share * centred, np.zeros(sample.n)])
    parts = np.column_stack([influence, share * (centred**2 - variance)])
    return BerksonLine(a, b, variance, centred, parts, of_residuals)


def stein_influence(kernel: KernelScore, sample: CalibrationSample) -> Array:
    """Influence values of M = mean[(x - x̄)s(x)]: its own average, and the noise of s in it."""
    x = sample.predictions
    share = np.full(sample.n, 1.0) if sample.weight is None else sample.weight * (sample.n / sample.weight.sum())
    deviation = x - np.average(x, weights=sample.weight)
    score = kernel.table.score(x)
    mean_score = float(np.average(score, weights=sample.weight))
    moment = float(np.average(deviation * score, weights=sample.weight))
    own = share * (deviation * score - moment - mean_score * deviation)
    weights = (share * deviation / sample.n)[:, None]
    return own + kernel.functional_influence(x, weights, x, share)[:, 0]


def custom_basis(score: Any, sample: CalibrationSample) -> Basis:
    """Basis of a user's score function, or of a score estimator fitted on the predictions."""
    if hasattr(score, "fit"):
        model = clone(score)
        fitted = model.fit(sample.predictions[:, None])
        return CustomScoreBasis((fitted if fitted is not None else model).predict, column=True)
    return CustomScoreBasis(score, column=False)
