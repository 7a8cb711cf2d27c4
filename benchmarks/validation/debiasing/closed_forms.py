"""Section G, parts with a closed form: score from the trial, uneven noise, panels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

from benchmarks.measuring import quiet
from benchmarks.rows import Row, at_most, deviation, near
from benchmarks.simulation import Tier
from causalkit.datasets import heteroscedastic_map_bias, make_gaussian_map, make_heteroscedastic_map, make_panel_map
from causalkit.debiasing import LinearCalibration, SplineCalibration, TweedieCorrection

__all__ = ["rows"]

Array = NDArray[np.float64]


def rows(tier: Tier) -> Iterator[Row]:
    """G1 score from the trial, G2 noise that varies with the prediction, G3 panel."""
    with quiet():
        yield from _score_from_the_trial()
        yield from _uneven_noise()
        yield from _panel()


# ---------------------------------------------------------------------- score from the trial

_K, _TAU = 0.4, 1.5


def _trial_score(x: Array) -> Array:
    """Score of the trial's predictions: arms N(0, k) and N(kτ, k) in equal parts."""
    shift = _K * _TAU
    treated = 1 / (1 + np.exp(-(x - shift / 2) * shift / _K))
    return np.asarray((shift * treated - x) / _K)


def _score_from_the_trial() -> Iterator[Row]:
    naive = _K * _TAU
    formula = naive * (1 + (1 - _K) / (_K + naive**2 / 4))
    yield near("G1.1", "score of the trial, normal approximation", formula, 1.335, 5e-4)
    nodes = np.linspace(-8.0, 8.0, 8001)

    def density(mean: float) -> Array:
        return np.exp(-((nodes - mean) ** 2) / (2 * _K)) / np.sqrt(2 * np.pi * _K)

    contrast = (density(naive) - density(0.0)) * (nodes[1] - nodes[0])
    exact = float(contrast @ (nodes - (1 - _K) * _trial_score(nodes)))
    yield near("G1.2", "score of the trial, by quadrature", exact, 1.332, 5e-4)
    data = make_gaussian_map(k=_K, tau=_TAU, n_calibration=200_000, n_arm=200_000, random_state=5000)
    f, y = data.calibration_predictions, data.calibration_y
    for label, what, correction, target in (
        ("G1.3", "score of the calibration sample (default)", TweedieCorrection(random_state=0), _TAU),
        ("G1.4", "score of the trial handed in", TweedieCorrection(score=_trial_score, recalibrate=False), exact),
    ):
        result = correction.fit(f, y).effect(data.predictions, treatment=data.treatment)
        yield near(label, f"{what}: effect, n_c=2e5", result.estimate[0], target, 3 * result.std_error[0])


# ---------------------------------------------------------------------- noise that varies

# Listed numbers have three decimals.
_ROUNDING = 5.05e-4
_LEVELS = (0.02, 0.1, 0.5, 0.9, 0.98)
_BIAS = {
    "naive": (0.525, 0.460, 0.091, -0.585, -1.088),
    "LCC and one variance for all": (-0.360, -0.062, 0.096, -0.063, -0.281),
    "local variance without its derivative": (0.140, 0.206, 0.171, 0.193, 0.162),
    "local variance with its derivative": (0.092, 0.078, -0.067, 0.056, 0.096),
}


def _variance(u: Array) -> Array:
    return np.asarray(0.5 + 0.3 * np.tanh(u))


def _quantiles() -> Array:
    """Quantiles of Y = U + σ(U)N(0, 1)."""
    nodes = np.linspace(-10.0, 10.0, 4001)
    mass = np.exp(-0.5 * nodes**2) / np.sqrt(2 * np.pi) * (nodes[1] - nodes[0])
    root = np.sqrt(_variance(nodes))
    return np.array([brentq(lambda y, p=p: mass @ ndtr((y - nodes) / root) - p, -12.0, 12.0) for p in _LEVELS])


def _nearest_quantile(
    corrections: tuple[Callable[[Array], Array], ...], y: float, level: float, column: int
) -> tuple[float, float]:
    """Least distance from the four listed biases over Y within three standard errors of a sample quantile.

    The sample is one of 4e5 rows, as large as that of the fits below. Returns the distance and the step.
    """
    nodes = np.linspace(-10.0, 10.0, 4001)
    root = np.sqrt(_variance(nodes))
    mass = np.exp(-0.5 * nodes**2) / np.sqrt(2 * np.pi) * (nodes[1] - nodes[0])
    density = float(mass @ (np.exp(-0.5 * ((y - nodes) / root) ** 2) / (np.sqrt(2 * np.pi) * root)))
    reach = 3 * np.sqrt(level * (1 - level) / 4e5) / density
    steps = np.linspace(-reach, reach, 401)
    listed = np.array([values[column] for values in _BIAS.values()])
    measured = np.array([heteroscedastic_map_bias(g, y + steps) for g in corrections])
    distance = np.abs(measured - listed[:, None]).max(axis=0)
    best = int(np.argmin(distance))
    return float(distance[best]), float(steps[best])


def _uneven_noise() -> Iterator[Row]:
    y = _quantiles()
    corrections = (
        lambda u: u,
        lambda u: 1.5 * u,
        lambda u: u + u * _variance(u),
        lambda u: u + u * _variance(u) - 0.3 / np.cosh(u) ** 2,
    )
    biases = [heteroscedastic_map_bias(g, y) for g in corrections]
    note = "the listed values belong to quantiles of Y in one sample, see G2.8"
    for number, ((what, listed), bias) in enumerate(zip(_BIAS.items(), biases, strict=True)):
        for level, target, value in zip(_LEVELS, listed, bias, strict=True):
            label = f"G2.{number + 1}.{round(100 * level)}"
            text = f"uneven noise, {what}: bias at Y level {level}"
            yield deviation(label, text, value, target, _ROUNDING, note)
    for column, level in enumerate(_LEVELS):
        distance, shift = _nearest_quantile(corrections, y[column], level, column)
        text = f"uneven noise, Y level {level}: distance from the listed four at a sample quantile"
        note = f"at the exact quantile {shift:+.4f}"
        yield at_most(f"G2.8.{round(100 * level)}", text, distance, _ROUNDING, note=note)
    data = make_heteroscedastic_map(n_calibration=400_000, n_trial=2, random_state=5001)
    f, truth = data.calibration_predictions, data.calibration_y
    fitted = TweedieCorrection(n_knots=5, noise="heteroscedastic").fit(f, truth)
    distance = float(np.abs(heteroscedastic_map_bias(fitted.transform, y) - biases[-1]).max())
    yield at_most("G2.5", "noise-weighted matching K=5, n=4e5: largest distance from the last line", distance, 0.02)
    for n_knots in (3, 4):
        spline = SplineCalibration(n_knots=n_knots).fit(f, truth)
        largest = float(np.abs(heteroscedastic_map_bias(spline.transform, y)).max())
        yield at_most(f"G2.{3 + n_knots}", f"SplineCalibration K={n_knots}, n=4e5: largest bias", largest, 0.04)


# ---------------------------------------------------------------------- panel


def _panel() -> Iterator[Row]:
    data = make_panel_map(tau=1.0, n_calibration=100_000, n_arm=100_000, random_state=5002)
    f, y = data.calibration_predictions, data.calibration_y
    level = LinearCalibration().fit(f, y, groups=data.calibration_unit)
    change = LinearCalibration(variation="change").fit(
        f, y, level=data.calibration_unit, period=data.calibration_period
    )
    for label, what, fitted, target in (
        ("G3.1", "level", level, 0.57692),
        ("G3.2", "change", change, 0.3),
    ):
        tolerance = 3 * float(np.sqrt(fitted.cov_[0, 0]))
        yield near(label, f"panel, 1e5 units: k of the {what}", fitted.slope_, target, tolerance)

    def effect(correction: LinearCalibration) -> Any:
        return correction.effect(
            data.predictions, treatment=data.treatment, estimator="did", post=data.period, unit=data.unit
        )

    by_level, by_change = effect(level), effect(change)
    for label, what, result, target in (
        ("G3.3", "predictions", by_level.naive, 0.3),
        ("G3.4", "level-corrected", by_level, 0.52),
        ("G3.5", "change-corrected", by_change, 1.0),
    ):
        what = f"panel: difference in differences, {what}"
        yield near(label, what, result.estimate[0], target, 3 * result.std_error[0])
