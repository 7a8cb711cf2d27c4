"""Pieces of Tweedie's correction: truth on prediction, the noise of a score's constant, repeated predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from causalkit.debiasing.basis import Basis, CustomScoreBasis
from causalkit.debiasing.calibration_lines import simple_regression
from causalkit.debiasing.calibration_sample import CalibrationSample
from causalkit.debiasing.fitted import FittedCorrection
from causalkit.debiasing.score import KernelScore
from causalkit.exceptions import DiscretePredictionsError

__all__ = [
    "BerksonLine",
    "TweedieParts",
    "berkson_line",
    "custom_basis",
    "padded",
    "refuse_atoms",
    "stein_influence",
]

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


@dataclass(frozen=True)
class TweedieParts:
    """A fitted correction with the quantities that the estimator shows."""

    fitted: FittedCorrection
    intercept: float
    slope: float
    variance: float
    knots: Array
    score_coef: Array
    stein_constant: float


def padded(values: Array, n: int) -> Array:
    """Values with zeros for the unlabelled rows that follow."""
    return values if len(values) == n else np.concatenate([values, np.zeros(n - len(values))])


def refuse_atoms(sample: CalibrationSample) -> None:
    """Refuse predictions with repeated values, whose density has no score."""
    values, counts = np.unique(sample.predictions, return_counts=True)
    if sample.frequency is not None:
        counts = np.bincount(np.searchsorted(values, sample.predictions), weights=sample.frequency)
        heaviest = int(np.argmax(np.bincount(np.searchsorted(values, sample.predictions))))
        share = float(np.bincount(np.searchsorted(values, sample.predictions))[heaviest] / sample.n)
    else:
        heaviest = int(np.argmax(counts))
        share = float(counts[heaviest] / sample.n)
    # A value that occurs once is no atom, however small the sample.
    repeated = share * sample.n > 1.5
    if (repeated and share >= 0.01) or len(values) < sample.n / 10:
        raise DiscretePredictionsError(
            f"predictions take the value {values[heaviest]:g} on {100 * share:.1f} % of the rows ({len(values)} "
            f"distinct values in {sample.n} rows): the score does not exist. Use LinearCalibration."
        )
