"""LinearCalibration against closed forms, statsmodels, levels of variation by hand, and the income map."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose

from causalkit import LinearCalibration
from causalkit.datasets import (
    load_income_map,
    make_differential_map,
    make_gaussian_map,
    make_panel_map,
    make_surrogacy_map,
)
from causalkit.debiasing.calibration_lines import fit_lines
from causalkit.debiasing.calibration_sample import CalibrationSample
from causalkit.exceptions import CalibrationWarning, WeakInstrumentWarning
from tests.datasets.income_map import income_map_path
from tests.golden.debiasing_reference import closed_form_sample, line, weight_derivatives


def sample_of(seed: int, n: int = 150) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    y = rng.normal(2, 3, n)
    noise = (0.5 + np.abs(y) / 5) * rng.normal(size=n)
    return {
        "f": 1 + 0.4 * y + noise,
        "y": y,
        "w": rng.uniform(0.2, 3, n),
        "counts": rng.integers(1, 5, n).astype(float),
        "groups": np.repeat(np.arange(n // 5), 5),
    }


# ---------------------------------------------------------------------- exact numbers


def test_exact_line() -> None:
    sample = CalibrationSample(np.array([1, 1.5, 2, 2.5, 3]), np.arange(5.0))
    lines = fit_lines(sample)
    assert_allclose([lines.slope, lines.intercept, lines.r_squared], [0.5, 1.0, 1.0], atol=1e-15)
    assert_allclose(lines.theta @ [1, 2.5], 3.0, atol=1e-14)


def test_printed_values() -> None:
    f, y, x, arm = closed_form_sample()
    result = LinearCalibration().fit(f, y).effect(x, treatment=arm)
    lines = result.lines
    assert_allclose([lines.slope, lines.intercept], [0.4756118252, 0.0037332477], atol=1e-10)
    assert_allclose(result.naive.estimate, 0.2186441912, atol=1e-10)
    assert_allclose(result.estimate, 0.4597114277, atol=1e-10)
    assert_allclose(result.std_error, 0.06909873, atol=1e-8)
    assert_allclose(np.sqrt(result.variance_parts["sampling"]), 0.06711449, atol=1e-8)
    assert_allclose(
        result.conf_int(method="fieller").iloc[0, :2].astype(float), [0.3261971884, 0.5977650098], atol=1e-9
    )
    assert_allclose(np.var(f), 0.4791206211, atol=1e-10)
    other = LinearCalibration(cov_type="HC0").fit(f, y).effect(x, treatment=arm)
    assert_allclose(other.std_error, 0.06909482, atol=1e-8)


def test_effect_is_the_contrast_over_the_slope() -> None:
    f, y, x, arm = closed_form_sample()
    k = np.cov(f, y, ddof=0)[0, 1] / np.var(y)
    result = LinearCalibration().fit(f, y).effect(x, treatment=arm)
    naive = x[arm == 1].mean() - x[arm == 0].mean()
    assert_allclose(result.estimate, naive / k, rtol=1e-12)
    # The delta method for a quotient, from the variances of both parts.
    v_naive = x[arm == 1].var(ddof=1) / 1000 + x[arm == 0].var(ddof=1) / 1000
    v_k = sm.OLS(f, sm.add_constant(y)).fit(cov_type="HC1").cov_params()[1, 1]
    assert_allclose(result.std_error**2, (v_naive + (naive / k) ** 2 * v_k) / k**2, rtol=1e-10)


# ---------------------------------------------------------------------- covariance against statsmodels


@pytest.mark.parametrize("cov_type", ["HC0", "HC1"])
@pytest.mark.parametrize("kind", ["plain", "weighted", "frequency", "clustered", "weighted and clustered"])
def test_covariance_of_the_line(cov_type: str, kind: str) -> None:
    data = sample_of(3)
    f, y, X = data["f"], data["y"], sm.add_constant(data["y"])
    weight = {"weighted": data["w"], "frequency": data["counts"], "weighted and clustered": data["w"]}.get(kind)
    groups = data["groups"] if "clustered" in kind else None
    weight_type = "frequency" if kind == "frequency" else "probability"
    fitted = LinearCalibration(cov_type=cov_type, weight_type=weight_type)
    fitted.fit(f, y, sample_weight=weight, groups=groups)
    if kind == "frequency":
        repeats = data["counts"].astype(int)
        peer = sm.OLS(np.repeat(f, repeats), np.repeat(X, repeats, axis=0)).fit(cov_type=cov_type)
    elif groups is not None:
        peer = sm.WLS(f, X, weights=1.0 if weight is None else weight).fit(
            cov_type="cluster", cov_kwds={"groups": groups}
        )
    else:
        peer = sm.WLS(f, X, weights=1.0 if weight is None else weight).fit(cov_type=cov_type)
    assert_allclose([fitted.intercept_, fitted.slope_], peer.params, rtol=1e-10)
    assert_allclose(fitted.cov_, peer.cov_params()[::-1, ::-1], rtol=1e-9)


def test_survey_weights_have_no_scale() -> None:
    data = sample_of(4)
    one = LinearCalibration().fit(data["f"], data["y"], sample_weight=data["w"])
    two = LinearCalibration().fit(data["f"], data["y"], sample_weight=1000 * data["w"])
    assert_allclose(one.coef_cov_, two.coef_cov_, rtol=1e-10)


def test_coefficients_of_the_correction() -> None:
    data = sample_of(5)
    fitted = LinearCalibration(cov_type="HC0").fit(data["f"], data["y"])
    m, k = fitted.intercept_, fitted.slope_
    assert_allclose(fitted.coef_, [-m / k, 1 / k], rtol=1e-12)
    jacobian = np.array([[m / k**2, -1 / k], [-1 / k**2, 0.0]])  # in (slope, intercept)
    assert_allclose(fitted.coef_cov_, jacobian @ fitted.cov_ @ jacobian.T, rtol=1e-10)
    assert_allclose(fitted.r_squared_, np.corrcoef(data["f"], data["y"])[0, 1] ** 2, rtol=1e-12)
    assert_allclose(fitted.inverse_transform(fitted.transform(data["f"])), data["f"], rtol=1e-12)


# ---------------------------------------------------------------------- levels of variation


def test_levels_of_variation_by_hand() -> None:
    data = sample_of(6)
    frame = pd.DataFrame({"f": data["f"], "y": data["y"], "g": data["groups"]})
    means = frame.groupby("g")[["f", "y"]].transform("mean")

    def slope(f: Any, y: Any, w: Any = None) -> float:
        y, f = np.asarray(y), np.asarray(f)
        y0, f0 = np.average(y, weights=w), np.average(f, weights=w)
        return float(np.average((y - y0) * (f - f0), weights=w) / np.average((y - y0) ** 2, weights=w))

    within = LinearCalibration(variation="within").fit(data["f"], data["y"], level=data["groups"])
    assert_allclose(within.slope_, slope(frame["f"] - means["f"], frame["y"] - means["y"]), rtol=1e-12)
    sizes = np.r_[np.arange(100) // 4, np.full(50, 30)]  # cells of unequal size
    between = LinearCalibration(variation="between")
    cells = frame.assign(g=sizes % 27).groupby("g")[["f", "y"]].agg(["mean", "size"])
    with pytest.warns(UserWarning):
        between.fit(data["f"], data["y"], level=sizes % 27)
    expected = slope(cells["f", "mean"], cells["y", "mean"], cells["f", "size"])
    assert_allclose(between.slope_, expected, rtol=1e-12)


@pytest.mark.parametrize("variation", ["within", "between", "change"])
def test_influence_within_and_between_cells(variation: str) -> None:
    rng = np.random.default_rng(7)
    cells, n = np.repeat(np.arange(120), 2), 240
    unit = rng.normal(size=120)[cells]
    y = 3 + unit + rng.normal(size=n)
    f = 1 + 0.3 * y + 0.8 * unit + 0.3 * rng.normal(size=n)
    w = rng.uniform(0.5, 2, n)
    options = {"level": cells, **({"period": np.tile([0, 1], 120)} if variation == "change" else {})}

    def coef(weight: Any) -> Any:
        model = LinearCalibration(variation=variation, cov_type="HC0")
        return model.fit(f, y, sample_weight=weight, **options).coef_

    model = LinearCalibration(variation=variation, cov_type="HC0").fit(f, y, sample_weight=w, **options)
    rows = np.arange(1, n, 22)
    if variation == "within":
        found, factor = model.coef_influence_[rows] / n, 120 / 119 * (n - 1) / (n - 2)
        numeric = w[rows, None] * weight_derivatives(coef, w, rows)
    elif variation == "change":  # a change carries the weight of its later row
        found, factor = model.coef_influence_[rows // 2] / 120, 120 / 119 * 119 / 118
        numeric = w[rows, None] * weight_derivatives(coef, w, rows)
    else:  # the weight of a cell, whose mean stays where it is
        found, factor = model.coef_influence_[rows // 2] / 120, 1.0
        means = [np.bincount(cells, weights=w * v) / np.bincount(cells, weights=w) for v in (f, y)]
        size = np.bincount(cells, weights=w)

        def of_cells(weight: np.ndarray) -> np.ndarray:
            m, k = line(means[1], means[0], weight)
            return np.array([-m / k, 1 / k])

        numeric = size[rows // 2, None] * weight_derivatives(of_cells, size, rows // 2)
    assert_allclose(found, np.sqrt(factor) * numeric, rtol=1e-5, atol=1e-9)


def test_change_over_time_by_hand() -> None:
    panel = make_panel_map(n_calibration=300, random_state=1)
    rng = np.random.default_rng(0)
    order = rng.permutation(600)  # rows of a unit need not be neighbours
    f, y = panel.calibration_predictions, panel.calibration_y
    fitted = LinearCalibration(variation="change").fit(
        f[order], y[order], level=panel.calibration_unit[order], period=panel.calibration_period[order]
    )
    peer = sm.OLS(np.diff(f.reshape(-1, 2))[:, 0], sm.add_constant(np.diff(y.reshape(-1, 2))[:, 0]))
    assert_allclose([fitted.intercept_, fitted.slope_], peer.fit().params, rtol=1e-10)


def test_difference_in_differences_needs_the_slope_of_changes() -> None:
    panel = make_panel_map(n_calibration=4000, n_arm=4000, random_state=2)
    trial = {"treatment": panel.treatment, "estimator": "did", "post": panel.period, "unit": panel.unit}
    units = {"level": panel.calibration_unit, "period": panel.calibration_period}
    change = LinearCalibration(variation="change").fit(panel.calibration_predictions, panel.calibration_y, **units)
    levels = LinearCalibration().fit(panel.calibration_predictions, panel.calibration_y)
    # Standard errors: .2·2/.3/√8000 about .01 for the trial; slopes .57692 and .3 are known.
    assert_allclose([levels.slope_, change.slope_], [0.57692, 0.3], atol=0.02)
    effect = change.effect(panel.predictions, **trial)
    assert_allclose(effect.naive.estimate, 0.3, atol=0.03)
    assert_allclose(effect.estimate, 1.0, atol=0.1)
    with pytest.warns(UserWarning, match="cross-sectional slope"):
        assert_allclose(levels.effect(panel.predictions, **trial).estimate, 0.52, atol=0.05)


# ---------------------------------------------------------------------- differential error


def test_shift_and_arms_against_least_squares() -> None:
    data = make_differential_map(n_calibration=400, n_arm=300, random_state=3)
    a, f, y = data.calibration_treatment, data.calibration_predictions, data.calibration_y
    shift = LinearCalibration(differential="shift", cov_type="HC0").fit(f, y, treatment=a)
    peer = sm.OLS(f, np.column_stack([np.ones(400), y, a])).fit(cov_type="HC0")
    assert_allclose([shift.intercept_, shift.slope_, *shift.differential_], peer.params, rtol=1e-10)
    assert_allclose(shift.cov_, peer.cov_params()[:2, :2][::-1, ::-1], rtol=1e-9)
    result = shift.effect(data.predictions, treatment=data.treatment)
    naive, (_, k, delta), V = float(result.naive.estimate[0]), peer.params, peer.cov_params()
    tau = (naive - delta) / k
    assert_allclose(result.estimate, tau, rtol=1e-10)
    variance = (result.naive.std_error[0] ** 2 + V[2, 2] + tau**2 * V[1, 1] + 2 * tau * V[1, 2]) / k**2
    assert_allclose(result.std_error**2, variance, rtol=1e-9)

    arms = LinearCalibration(differential="arms", cov_type="HC0").fit(f, y, treatment=a)
    lines = [sm.OLS(f[a == v], sm.add_constant(y[a == v])).fit(cov_type="HC0") for v in (0, 1)]
    assert_allclose(arms.differential_, [fit.params for fit in lines], rtol=1e-10)
    means = [data.predictions[data.treatment == v].mean() for v in (0, 1)]
    corrected = [(mean - fit.params[0]) / fit.params[1] for mean, fit in zip(means, lines, strict=True)]
    assert_allclose(arms.effect(data.predictions, treatment=data.treatment).estimate, corrected[1] - corrected[0])
    assert_allclose(
        arms.transform(data.predictions, treatment=data.treatment)[:3],
        (data.predictions[:3] - lines[0].params[0]) / lines[0].params[1],
    )


def test_shift_with_three_levels_and_numerical_influence() -> None:
    rng = np.random.default_rng(5)
    n = 360
    arm, y = np.arange(n) % 3, rng.normal(size=n)
    f = 0.2 + 0.6 * y + np.array([0, 0.3, -0.2])[arm] + 0.3 * rng.normal(size=n)
    w = rng.uniform(0.5, 2, n)
    for kind in ("shift", "arms"):

        def coef(weight: Any, kind: str = kind) -> Any:
            fitted = LinearCalibration(differential=kind, cov_type="HC0")
            return fitted.fit(f, y, treatment=arm, sample_weight=weight).coef_

        fitted = LinearCalibration(differential=kind, cov_type="HC0").fit(f, y, treatment=arm, sample_weight=w)
        rows = np.arange(0, n, 17)
        numeric = n * w[rows, None] * weight_derivatives(coef, w, rows)
        assert_allclose(fitted.coef_influence_[rows], numeric, rtol=1e-5, atol=1e-6)


def test_differential_recovers_both_designs() -> None:
    # One large draw each; tolerances are four standard errors.
    one = make_differential_map(n_calibration=20_000, n_arm=20_000, random_state=6)
    two = make_surrogacy_map(n_calibration=20_000, n_arm=20_000, random_state=7)
    for data, k, delta in ((one, 0.6, 0.2), (two, 0.6, 0.32)):
        fitted = LinearCalibration(differential="shift").fit(
            data.calibration_predictions, data.calibration_y, treatment=data.calibration_treatment
        )
        assert_allclose(fitted.slope_, k, atol=0.015)
        assert_allclose(fitted.differential_, delta, atol=0.03)
        effect = fitted.effect(data.predictions, treatment=data.treatment)
        assert_allclose(effect.estimate, data.effect, atol=0.08)


# ---------------------------------------------------------------------- published coefficients, weak slopes


def test_from_coefficients() -> None:
    given = LinearCalibration.from_coefficients(0.5, 0.2, cov=[[0.01, -0.001], [-0.001, 0.02]])
    x, arm = np.array([1.0, 1.2, 2.0, 2.4]), np.array([0, 0, 1, 1])
    result = given.effect(x, treatment=arm)
    assert_allclose(given.transform(x), (x - 0.2) / 0.5)
    assert_allclose(result.estimate, 1.1 / 0.5)
    sampling = (0.02 / 2 + 0.08 / 2) / 0.25
    assert_allclose(result.variance_parts.to_numpy(), [[sampling, 2.2**2 * 0.01 / 0.25, 0]], rtol=1e-12)
    # Means move with the intercept as well: θ'(1, x̄) with θ = (-m/k, 1/k).
    mean = given.mean(x)
    gradient = np.array([-(1.65 - 0.2) / 0.25, -1 / 0.5])
    assert_allclose(mean.variance_parts["calibration"], gradient @ given.cov_ @ gradient, rtol=1e-12)


def test_weak_slope_gets_fiellers_set() -> None:
    data = make_gaussian_map(k=0.05, n_calibration=200, random_state=8)
    with pytest.warns(WeakInstrumentWarning):
        fitted = LinearCalibration().fit(data.calibration_predictions, data.calibration_y)
    result = fitted.effect(data.predictions, treatment=data.treatment)
    assert result.conf_int().equals(result.conf_int(method="fieller"))
    assert not result.conf_int(0.9999)["set"].iloc[0].bounded


def test_binary_outcome_is_rogan_gladen() -> None:
    rng = np.random.default_rng(9)
    y = rng.integers(0, 2, 400)
    f = np.where(rng.random(400) < np.where(y == 1, 0.9, 0.1), 1.0, 0.0)
    x = (rng.random(500) < 0.5).astype(float)
    sensitivity, false_positive = f[y == 1].mean(), f[y == 0].mean()
    mean = LinearCalibration().fit(f, y).mean(x)
    assert_allclose(mean.estimate, (x.mean() - false_positive) / (sensitivity - false_positive), rtol=1e-12)


# ---------------------------------------------------------------------- a real map


def test_income_map() -> None:
    data = load_income_map(income_map_path())
    f, y = data.calibration_predictions, data.calibration_y
    fitted = LinearCalibration().fit(f, y)
    assert_allclose([fitted.slope_, fitted.intercept_], [0.469727124, 33996.028], rtol=1e-8)
    assert_allclose(np.sqrt(fitted.cov_[0, 0]), 0.00242700, atol=1e-8)
    cells = [np.floor(data.calibration[["lon", "lat"]].to_numpy() / d).astype(int) @ [1000, 1] for d in (1, 2, 5)]
    clustered = LinearCalibration().fit(f, y, groups=cells[0])
    assert_allclose(np.sqrt(clustered.cov_[0, 0]), 0.00796, atol=1e-5)
    slope_on_truth = np.polyfit(data.y, np.column_stack([data.predictions, fitted.transform(data.predictions)]), 1)[0]
    assert_allclose(slope_on_truth, [0.4704, 1.0014], atol=5e-5)
    means = [data.predictions.mean(), fitted.transform(data.predictions).mean(), data.y.mean()]
    assert_allclose(means, [63693, 63222, 63820], atol=0.5)
    for cell, (within, between) in zip(cells, [(0.380, 0.661), (0.401, 0.680), (0.431, 0.696)], strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CalibrationWarning)  # few 5° cells
            slopes = [LinearCalibration(variation=v).fit(f, y, level=cell).slope_ for v in ("within", "between")]
        assert_allclose(slopes, [within, between], atol=5e-4)
