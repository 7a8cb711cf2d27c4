"""Section D: fixed numbers from closed forms, brute force, other implementations and published summaries."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import quiet
from benchmarks.rows import Row, deviation, near, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.debiasing.common import INCOME_MAP_ABSENT, income_map
from causalkit.debiasing import LinearCalibration, SplineCalibration, TweedieCorrection

__all__ = ["rows"]

Array = NDArray[np.float64]
_Z = 1.959963984540054


def rows(tier: Tier) -> Iterator[Row]:
    """D1 a hand calculation, D2 one seeded sample, D3 published summaries, D4 the income map, D5 labels."""
    yield from _hand_calculation()
    with quiet():
        yield from _seeded_sample()
    yield from _published_summaries()
    with quiet():
        yield from _income_rows()
        yield from _prediction_powered()


def _hand_calculation() -> Iterator[Row]:
    from causalkit.debiasing.basis import Basis
    from causalkit.debiasing.calibration_lines import fit_lines
    from causalkit.debiasing.calibration_sample import CalibrationSample

    lines = fit_lines(CalibrationSample(np.array([1.0, 1.5, 2.0, 2.5, 3.0]), np.arange(5.0)))
    yield near("D1.1", "five rows: k", lines.slope, 0.5, 1e-15)
    yield near("D1.2", "five rows: m", lines.intercept, 1.0, 1e-15)
    corrected = float(Basis().evaluate(np.array([2.5]), lines.theta)[0])
    yield near("D1.3", "five rows: corrected value of 2.5", corrected, 3.0, 1e-15)


# ---------------------------------------------------------------------- one seeded sample


class _Sample(NamedTuple):
    f: Array
    y: Array
    trial: Array
    treatment: NDArray[np.int64]


def _sample() -> _Sample:
    rng = np.random.default_rng(20250801)
    y = rng.normal(size=1000)
    f = 0.5 * y + 0.5 * rng.normal(size=1000)
    treatment = np.repeat([0, 1], 1000)
    truth = 0.5 * treatment + rng.normal(size=2000)
    return _Sample(f, y, 0.5 * truth + 0.5 * rng.normal(size=2000), treatment)


def _seeded_sample() -> Iterator[Row]:
    s = _sample()
    lcc = LinearCalibration().fit(s.f, s.y)
    effect = lcc.effect(s.trial, treatment=s.treatment)
    hc0 = LinearCalibration(cov_type="HC0").fit(s.f, s.y).effect(s.trial, treatment=s.treatment)
    fieller = effect.conf_int(method="fieller").iloc[0]
    berkson = TweedieCorrection(score="gaussian", recalibrate=False).fit(s.f, s.y)
    numbers = (
        ("k", lcc.slope_, 0.4756118252),
        ("m", lcc.intercept_, 0.0037332477),
        ("naive", effect.naive.estimate[0], 0.2186441912),
        ("LCC", effect.estimate[0], 0.4597114277),
        ("LCC, SE HC1", effect.std_error[0], 0.06909873),
        ("LCC, SE HC0", hc0.std_error[0], 0.06909482),
        ("LCC, SE without calibration", math.sqrt(effect.variance_parts["sampling"].iloc[0]), 0.06711449),
        ("LCC, Fieller 95 % lower", fieller["lower"], 0.3261971884),
        ("LCC, Fieller 95 % upper", fieller["upper"], 0.5977650098),
        ("variance of the predictions", float(np.var(s.f)), 0.4791206211),
        ("noise variance, b = 1", berkson.sigma_**2, 0.5258050826),
    )
    for number, (what, value, target) in enumerate(numbers):
        yield near(f"D2.{number + 1}", what, value, target, 1e-8)
    yield from _seeded_nonlinear(s, hc0.std_error[0])


def _seeded_nonlinear(s: _Sample, linear_se: float) -> Iterator[Row]:
    spline = {"n_knots": 5, "cov_type": "HC0"}
    cases = (
        ("Tweedie gaussian", TweedieCorrection(score="gaussian", cov_type="HC0"), 0.4597114277, 0.06909482, 1e-8),
        ("Tweedie spline K=2", TweedieCorrection(n_knots=2, cov_type="HC0"), 0.4597114277, 0.06909482, 1e-8),
        (
            "Tweedie gaussian, not recalibrated",
            TweedieCorrection(score="gaussian", recalibrate=False, cov_type="HC0"),
            0.4585925924,
            0.06873939,
            1e-8,
        ),
        (
            "Tweedie spline K=2, not recalibrated",
            TweedieCorrection(n_knots=2, recalibrate=False, cov_type="HC0"),
            0.4585925924,
            0.06873939,
            1e-8,
        ),
        ("Tweedie K=5, not recalibrated", TweedieCorrection(recalibrate=False, **spline), 0.4592409, 0.068397, 1e-6),
        ("Tweedie K=5", TweedieCorrection(**spline), 0.4603923, 0.068749, 1e-6),
        (
            "Tweedie K=5, heteroscedastic",
            TweedieCorrection(noise="heteroscedastic", **spline),
            0.4530449,
            0.069349,
            1e-6,
        ),
        ("SplineCalibration K=2", SplineCalibration(n_knots=2, cov_type="HC0"), 0.4597114277, 0.06909482, 1e-8),
        ("SplineCalibration K=3", SplineCalibration(n_knots=3, cov_type="HC0"), 0.4592062, 0.069049, 1e-6),
        ("SplineCalibration K=4", SplineCalibration(n_knots=4, cov_type="HC0"), 0.4600948, 0.069701, 1e-6),
    )
    for number, (what, correction, estimate, se, tolerance) in enumerate(cases):
        result = correction.fit(s.f, s.y).effect(s.trial, treatment=s.treatment)
        yield near(f"D2.{12 + number}a", what, result.estimate[0], estimate, tolerance)
        se_tolerance = 1e-8 if tolerance == 1e-8 else 1e-5
        yield near(f"D2.{12 + number}b", f"{what}, SE (HC0)", result.std_error[0], se, se_tolerance)
        if what in ("Tweedie gaussian", "Tweedie spline K=2"):
            difference = result.std_error[0] - linear_se
            yield near(f"D2.{12 + number}c", f"{what}, SE less that of LCC", difference, 0.0, 1e-12)
    yield from _seeded_kernel(s)


def _kernel_contrast(s: _Sample, linear_tails: bool) -> float:
    """Contrast of ŷ - σ²s(ŷ) with the exact kernel score, by all pairs.

    Beyond the calibration range the score goes on with the slope -1/V of the normal, unless it is taken as
    the kernel has it.
    """
    sigma2 = float(np.var(s.y - s.f))
    h = len(s.f) ** -0.2 * s.f.std(ddof=1)
    inside = np.clip(s.trial, s.f.min(), s.f.max()) if linear_tails else s.trial
    steps = inside[:, None] - s.f
    kernel = np.exp(-0.5 * (steps / h) ** 2)
    score = -(steps * kernel).sum(axis=1) / (h**2 * kernel.sum(axis=1))
    corrected = s.trial - sigma2 * (score - (s.trial - inside) / np.var(s.f))
    return float(corrected[s.treatment == 1].mean() - corrected[s.treatment == 0].mean())


def _seeded_kernel(s: _Sample) -> Iterator[Row]:
    kde = TweedieCorrection(score="kde", stein_rescale=False, recalibrate=False).fit(s.f, s.y)
    estimate = kde.effect(s.trial, treatment=s.treatment).estimate[0]
    exact = _kernel_contrast(s, linear_tails=True)
    everywhere = _kernel_contrast(s, linear_tails=False)
    what = "Tweedie KDE Scott, no rescale, no recalibration"
    yield near("D2.22", f"{what}: all pairs, linear beyond the data", estimate, exact, 5e-4)
    outside = int(np.sum((s.trial < s.f.min()) | (s.trial > s.f.max())))
    note = (
        f"the listed value is that of the kernel score taken beyond the data too ({everywhere:.6f} by all pairs): "
        f"{outside} of {len(s.trial)} trial rows lie there, where the score must be continued linearly"
    )
    yield deviation("D2.23", f"{what}: listed", estimate, 0.448480, 5e-4, note)


# ---------------------------------------------------------------------- published summaries


def _published_summaries() -> Iterator[Row]:
    """Trial of haemoglobin, external validation sample: Nab et al. 2021, doi 10.1016/j.cmpb.2021.106238."""
    from causalkit.debiasing import correct_vcov
    from causalkit.debiasing.confidence_sets import RatioParts

    beta = np.array([124.4522608074, 7.7647016307])
    v = np.array([[0.9695239043, -0.9695239043], [-0.9695239043, 1.9390478085]])
    m, k = -3.5430138069, 1.0743568441
    cov = np.array([[0.0040773717, -0.490297913], [-0.490297913, 59.4219929871]])
    correction = LinearCalibration.from_coefficients(k, m, cov)
    params, vcov = correct_vcov(beta, v, correction=correction, intercept=0)
    set_ = RatioParts(beta[1:], k, np.diag([v[1, 1], cov[0, 0]])).confidence_set(0, _Z)
    se = math.sqrt(vcov[1, 1])
    # The printed variances are rounded: half a last digit of Var k and Cov(k, m), carried through the formula.
    steps = (5e-11 * np.outer(params, params) + 5e-10 * (np.outer(params, [1, 0]) + np.outer([1, 0], params))) / k**2
    rounding = 1e-9 + np.abs(steps)
    numbers = (
        ("corrected intercept", params[0], 119.1366493, 1e-7),
        ("corrected effect", params[1], 7.2273022, 1e-7),
        ("variance of the intercept", vcov[0, 0], 1.2466690716, rounding[0, 0]),
        ("covariance", vcov[0, 1], -0.8683520793, rounding[0, 1]),
        ("variance of the effect", vcov[1, 1], 1.8644475345, rounding[1, 1]),
        ("SE of the intercept", math.sqrt(vcov[0, 0]), 1.116543, 1e-6),
        ("SE of the effect", se, 1.365448, 1e-6),
        ("SE of the effect without calibration", math.sqrt(v[1, 1]) / k, 1.296121, 1e-6),
        ("Fieller lower", set_.lower, 4.630319, 1e-6),
        ("Fieller upper", set_.upper, 10.023133, 1e-6),
        ("delta lower", params[1] - _Z * se, 4.551074, 1e-6),
        ("delta upper", params[1] + _Z * se, 9.903531, 1e-6),
    )
    for number, (what, value, target, tolerance) in enumerate(numbers):
        yield near(f"D3.{number + 1}", f"haemoglobin summaries: {what}", value, target, tolerance)


# ---------------------------------------------------------------------- income map


def _income_rows() -> Iterator[Row]:
    data = income_map()
    if data is None:
        yield skipped("D4", "income map: slopes, standard errors, means, levels of variation", INCOME_MAP_ABSENT)
        return
    f, y, frame = data.calibration_predictions, data.calibration_y, data.calibration
    lcc = LinearCalibration().fit(f, y)
    cells = _cells(frame, 1)
    clustered = LinearCalibration().fit(f, y, groups=cells)
    trial_f, trial_y = data.predictions, data.y

    def slope(values: Array) -> float:
        return float(np.polyfit(trial_y - trial_y.mean(), values, 1)[0])

    corrected = lcc.transform(trial_f)
    numbers = [
        ("k", lcc.slope_, 0.469727124, 1e-9),
        ("m", lcc.intercept_, 33996.028, 1e-3),
        ("SE of k, HC1", math.sqrt(lcc.cov_[0, 0]), 0.00242700, 1e-8),
        ("SE of k, clustered on 1° cells", math.sqrt(clustered.cov_[0, 0]), 0.00796, 5e-6),
        ("slope of predictions on the held-back part", slope(trial_f), 0.4704, 5e-5),
        ("the same after LCC", slope(corrected), 1.0014, 5e-5),
        ("mean prediction", trial_f.mean(), 63693.0, 0.5),
        ("mean after LCC", lcc.mean(trial_f).estimate[0], 63222.0, 0.5),
        ("mean income", trial_y.mean(), 63820.0, 0.5),
    ]
    for degrees, within, between in ((1, 0.380, 0.661), (2, 0.401, 0.680), (5, 0.431, 0.696)):
        level = _cells(frame, degrees)
        for variation, target in (("within", within), ("between", between)):
            fitted = LinearCalibration(variation=variation).fit(f, y, level=level)
            # Coordinates are rounded to four decimals, which moves a few rows to the next cell.
            numbers.append((f"k {variation} cells of {degrees}°", fitted.slope_, target, 1e-3))
    for number, (what, value, target, tolerance) in enumerate(numbers):
        yield near(f"D4.{number + 1}", f"income map: {what}", value, target, tolerance)


def _cells(frame: object, degrees: int) -> Array:
    """Label of the square of the grid that holds each row."""
    lat = np.floor(frame["lat"].to_numpy() / degrees)  # type: ignore[index]
    lon = np.floor(frame["lon"].to_numpy() / degrees)  # type: ignore[index]
    return np.asarray(lat * 10_000 + lon)


# ---------------------------------------------------------------------- labels in the trial


def _prediction_powered() -> Iterator[Row]:
    from causalkit.debiasing import prediction_powered_mean, prediction_powered_ols

    rng = np.random.default_rng(20250802)
    n = 300
    x = rng.normal(size=3300)
    y = 0.5 + x + rng.normal(size=3300)
    f = 0.3 + 0.8 * x + 0.6 * (y - 0.5 - x) + 0.4 * rng.normal(size=3300)
    design = np.column_stack([np.ones(3300), x])
    means = {
        method: prediction_powered_mean(y[:n], f[:n], predictions_unlabelled=f[n:], method=method)
        for method in ("classical", "ppi", "ppi++", "predict_then_debias")
    }
    lines = {
        method: prediction_powered_ols(
            design[:n], y[:n], predictions=f[:n], X_unlabelled=design[n:], predictions_unlabelled=f[n:], method=method
        )
        for method in ("ppi", "ppi++")
    }
    tuned, debiased, line = means["ppi++"], means["predict_then_debias"], lines["ppi++"]
    interval = tuned.conf_int().iloc[0]
    numbers = (
        ("mean, classical", means["classical"].estimate[0], 0.6050792113),
        ("mean, PPI", means["ppi"].estimate[0], 0.5454763705),
        ("mean, PPI++ lambda", tuned.power_tuning, 0.9830639775),
        ("mean, PPI++", tuned.estimate[0], 0.5464858056),
        ("mean, PPI++ SE", tuned.std_error[0], 0.0390258710),
        ("mean, PPI++ lower", interval["lower"], 0.4699965040),
        ("mean, PPI++ upper", interval["upper"], 0.6229751072),
        ("OLS, PPI intercept", lines["ppi"].estimate[0], 0.5334366054),
        ("OLS, PPI slope", lines["ppi"].estimate[1], 0.9718248097),
        ("OLS, PPI++ lambda", line.power_tuning, 0.8923726019),
        ("OLS, PPI++ intercept", line.estimate[0], 0.5390710117),
        ("OLS, PPI++ slope", line.estimate[1], 0.9766036381),
        ("OLS, PPI++ SE of the intercept", line.std_error[0], 0.0363877345),
        ("OLS, PPI++ SE of the slope", line.std_error[1], 0.0342621851),
        ("mean, predict-then-debias Omega", np.ravel(debiased.tuning_matrix)[0], 1.0509232355),
        ("mean, predict-then-debias", debiased.estimate[0], 0.5424412010),
        ("mean, predict-then-debias SE", debiased.std_error[0], 0.0388340154),
    )
    for number, (what, value, target) in enumerate(numbers):
        yield near(f"D5.{number + 1}", f"labels in the trial: {what}", value, target, 1e-8)
