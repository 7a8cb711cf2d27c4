"""DebiasedEffect: band, parts, sets, sensitivity, bootstrap, streams; and coverage on simulated maps."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from causalkit import (
    EffectAccumulator,
    HierarchicalCalibration,
    LinearCalibration,
    SplineCalibration,
    TweedieCorrection,
    compare_corrections,
    debiased_effect,
)
from causalkit.datasets import make_gaussian_map, make_mixture_map, make_site_map
from causalkit.debiasing.effects import EXCLUSION, RECALIBRATED, SURROGACY, DebiasedEffect

CORRECTIONS = [
    LinearCalibration(),
    TweedieCorrection(n_knots=4),
    TweedieCorrection(n_knots=3, noise="heteroscedastic"),
    TweedieCorrection(score="kde"),
    SplineCalibration(n_knots=3),
]
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*of the predictions lie outside",
    "ignore:the residuals of y",
    "ignore:the correction does not increase",
)


def gaussian(seed: int, **kwargs: Any) -> Any:
    return make_gaussian_map(random_state=seed, **{"n_calibration": 300, "n_arm": 200, **kwargs})


def effect_of(
    data: Any, correction: Any = None, groups: Any = None, trial: Any = None, **kwargs: Any
) -> DebiasedEffect:
    model = LinearCalibration() if correction is None else correction
    model.fit(data.calibration_predictions, data.calibration_y, groups=groups)
    return model.effect(data.predictions, treatment=data.treatment, groups=trial, **kwargs)


# ---------------------------------------------------------------------- band and parts


@pytest.mark.parametrize("correction", CORRECTIONS, ids=repr)
def test_band_holds_both_assumptions_whatever_the_correction(correction: Any) -> None:
    data = gaussian(1)
    linear, result = effect_of(data), effect_of(data, correction)
    assert result.band["assumption"].tolist()[:2] == [SURROGACY, EXCLUSION]
    assert_allclose(result.band["estimate"].iloc[0], result.naive.estimate[0], rtol=1e-10)
    assert_allclose(result.band["se"].iloc[0], result.naive.std_error[0], rtol=1e-10)
    assert_allclose(result.band["estimate"].iloc[1], linear.estimate[0], rtol=1e-10)
    assert_allclose(result.band["se"].iloc[1], linear.std_error[0], rtol=1e-10)
    assert_allclose(result.variance_parts.sum(axis=1), result.std_error**2, rtol=1e-12)
    psi = result.influence_values / len(result.influence_values)
    assert_allclose(psi.T @ psi, result.cov, rtol=1e-10)


def test_recalibrated_row_appears_where_b_is_not_one() -> None:
    data = gaussian(2, n_calibration=1000)
    assert len(effect_of(data).band) == 2
    f, y = data.calibration_predictions, 2 * data.calibration_y
    result = LinearCalibration().fit(f, y).effect(data.predictions, treatment=data.treatment)
    row = result.band.set_index("assumption").loc[RECALIBRATED]
    b = result.lines.berkson_slope
    assert_allclose(row["estimate"], b * result.naive.estimate[0], rtol=1e-12)
    variance = b**2 * result.naive.std_error[0] ** 2 + result.naive.estimate[0] ** 2 * result.lines.cov[3, 3]
    assert_allclose(row["se"] ** 2, variance, rtol=1e-10)
    mean = LinearCalibration().fit(f, y).mean(data.predictions).band.set_index("assumption").loc[RECALIBRATED]
    assert_allclose(mean["estimate"], result.lines.berkson_intercept + b * data.predictions.mean(), rtol=1e-10)


def test_effects_of_three_levels_and_joint_bands() -> None:
    rng = np.random.default_rng(3)
    data, arm = gaussian(3), np.arange(600) % 3
    x = 0.2 * arm + rng.normal(size=600)
    model = LinearCalibration().fit(data.calibration_predictions, data.calibration_y)
    result = model.effect(x, treatment=arm)
    pair = model.effect(x[arm != 1], treatment=arm[arm != 1])
    assert_allclose([result.estimate[1], result.std_error[1]], [pair.estimate[0], pair.std_error[0]], rtol=1e-10)
    single, joint = result.conf_int(), result.conf_int(joint=True)
    assert (joint["upper"] - joint["lower"] > single["upper"] - single["lower"]).all()
    difference = result.contrast([-1, 1])
    assert_allclose(difference.estimate[0], (x[arm == 2].mean() - x[arm == 1].mean()) / model.slope_, rtol=1e-10)


def test_clusters_on_either_side_set_the_reference() -> None:
    data = gaussian(4)
    few, many = np.arange(300) % 15, np.arange(400) % 40
    assert effect_of(data).df is None
    assert effect_of(data, groups=few).df == 14
    assert effect_of(data, trial=many).df == 39
    both = effect_of(data, groups=few, trial=many)
    assert both.df == 14
    half = (both.conf_int()["upper"] - both.estimate).iloc[0]
    assert_allclose(half / both.std_error[0], stats.t(14).ppf(0.975), rtol=1e-12)


def test_mean_carries_the_intercept() -> None:
    data = gaussian(5)
    f, y, x = data.calibration_predictions + 3, data.calibration_y, data.predictions + 3
    model = LinearCalibration().fit(f, y)
    result = model.mean(x)
    assert_allclose(result.estimate, (x.mean() - model.intercept_) / model.slope_, rtol=1e-12)
    gradient = np.array([-(x.mean() - model.intercept_) / model.slope_**2, -1 / model.slope_])
    assert_allclose(result.variance_parts["calibration"], gradient @ model.cov_ @ gradient, rtol=1e-8)
    assert_allclose(result.variance_parts["sampling"], x.var(ddof=1) / 400 / model.slope_**2, rtol=1e-10)
    with pytest.raises(ValueError, match="defined for contrasts"):
        result.sensitivity()


# ---------------------------------------------------------------------- between the two assumptions


def test_sensitivity_from_exclusion_to_surrogacy() -> None:
    result = effect_of(gaussian(6))
    curve = result.sensitivity([0.0, 0.4, 1.0])
    naive, k, b = float(result.naive.estimate[0]), result.lines.slope, result.lines.berkson_slope
    assert_allclose(curve["estimate"], [naive / (k + r * (1 / b - k)) for r in (0, 0.4, 1)], rtol=1e-12)
    assert_allclose(curve["se"].iloc[0], result.std_error[0], rtol=1e-10)
    # Numerical delta method in (naive, k, b) at r = .4.
    cov = result.joint_cov[np.ix_([0, 2, 4], [0, 2, 4])]

    def tau(v: np.ndarray) -> float:
        return float(v[0] / (v[1] + 0.4 * (1 / v[2] - v[1])))

    centre, steps = np.array([naive, k, b]), 1e-6 * np.eye(3)
    gradient = np.array([(tau(centre + s) - tau(centre - s)) / 2e-6 for s in steps])
    assert_allclose(curve["se"].iloc[1] ** 2, gradient @ cov @ gradient, rtol=1e-6)
    robust, fine = result.assumption_robust().iloc[0], result.sensitivity(np.linspace(0, 1, 101))
    assert_allclose([robust["lower"], robust["upper"]], [fine["lower"].min(), fine["upper"].max()])


def test_joint_covariance_of_both_lines() -> None:
    import statsmodels.api as sm

    data = gaussian(7)
    f, y = data.calibration_predictions, data.calibration_y
    result = effect_of(data, LinearCalibration(cov_type="HC0"))
    X, W = sm.add_constant(y), sm.add_constant(f)
    v, e = sm.OLS(f, X).fit().resid, sm.OLS(y, W).fit().resid
    rows = np.column_stack([v[:, None] * X @ np.linalg.inv(X.T @ X), e[:, None] * W @ np.linalg.inv(W.T @ W)])
    assert_allclose(result.lines.cov, rows.T @ rows, rtol=1e-9, atol=1e-15)


# ---------------------------------------------------------------------- clusters in both samples


@pytest.mark.parametrize("correction", CORRECTIONS, ids=repr)
def test_shared_groups_are_sums_over_the_union(correction: Any) -> None:
    data = gaussian(8)
    groups, trial = np.arange(300) % 20, 10 + np.arange(400) % 20
    result = effect_of(data, correction, groups, trial, shared_groups=True)
    psi = result.influence_values[:, 0] / len(result.influence_values)
    sums = np.bincount(np.concatenate([trial, groups]), weights=psi)
    assert_allclose(result.std_error**2, np.sum(sums**2), rtol=1e-10)
    apart = effect_of(data, correction, groups, trial)
    assert_allclose(apart.variance_parts.sum(axis=1) + result.variance_parts["shared"], result.std_error**2, rtol=1e-10)
    assert_allclose(result.variance_parts.sum(axis=1), result.std_error**2, rtol=1e-12)
    naive_and_linear = effect_of(data, None, groups, trial, shared_groups=True)
    assert_allclose(result.band["se"].iloc[1], naive_and_linear.std_error[0], rtol=1e-10)


# ---------------------------------------------------------------------- bootstrap and streams


@pytest.mark.parametrize("clustered", [False, True])
def test_bootstrap_agrees_with_the_delta_method(clustered: bool) -> None:
    data = gaussian(9, n_calibration=400)
    groups, trial = (np.arange(400) % 80, np.arange(400) % 80) if clustered else (None, None)
    result = effect_of(data, TweedieCorrection(n_knots=3), groups, trial, n_bootstrap=300, random_state=0)
    draws = result.bootstrap_estimates[:, 0]
    # The standard error of a standard deviation of 300 draws is 4 %.
    assert_allclose(draws.std(), result.std_error[0], rtol=0.16)
    interval = result.conf_int().iloc[0]
    assert_allclose([interval["lower"], interval["upper"]], np.quantile(draws, [0.025, 0.975]))
    again = effect_of(data, TweedieCorrection(n_knots=3), groups, trial, n_bootstrap=20, random_state=0)
    assert_allclose(again.bootstrap_estimates, result.bootstrap_estimates[:20])
    assert_allclose(result.pvalue(np.median(draws)), 1.0, atol=0.01)


@pytest.mark.parametrize("correction", [c for c in CORRECTIONS if getattr(c, "score", "") != "kde"], ids=repr)
@pytest.mark.parametrize("weight_type", [None, "probability", "frequency"])
def test_accumulator_equals_the_effect_of_all_rows(correction: Any, weight_type: str | None) -> None:
    data, rng = gaussian(10), np.random.default_rng(0)
    correction.set_params(weight_type=weight_type or "probability")
    model = correction.fit(data.calibration_predictions, data.calibration_y)
    w = None if weight_type is None else rng.integers(1, 4, 400).astype(float)
    whole = model.effect(data.predictions, treatment=data.treatment, sample_weight=w)
    first, second = EffectAccumulator(model), EffectAccumulator(model)
    order = rng.permutation(400)
    for i, chunk in enumerate(np.split(order, [3, 150, 151, 290])):
        part = None if w is None else w[chunk]
        (first if i % 2 else second).update(data.predictions[chunk], data.treatment[chunk], part)
    result = first.merge(second).result()
    assert_allclose(result.estimate, whole.estimate, rtol=1e-10)
    assert_allclose(result.cov, whole.cov, rtol=1e-9)
    assert_allclose(result.band["se"], whole.band["se"], rtol=1e-9)
    assert_allclose(
        result.conf_int(method="delta").iloc[:, :2].astype(float),
        whole.conf_int(method="delta").iloc[:, :2].astype(float),
    )
    correction.set_params(weight_type="probability")


# ---------------------------------------------------------------------- one call, comparison, print


def test_one_call_is_fit_and_effect() -> None:
    data, sites = gaussian(11), make_site_map(random_state=0)
    groups, trial = np.arange(300) % 30, np.arange(400) % 30
    one = debiased_effect(
        data.predictions,
        treatment=data.treatment,
        calibration_predictions=data.calibration_predictions,
        calibration_y=data.calibration_y,
        correction=SplineCalibration(n_knots=3),
        groups=trial,
        calibration_groups=groups,
        shared_groups=True,
    )
    two = effect_of(data, SplineCalibration(n_knots=3), groups, trial, shared_groups=True)
    assert_allclose([one.estimate, one.std_error], [two.estimate, two.std_error])
    known = debiased_effect(
        sites.predictions,
        treatment=sites.treatment,
        calibration_predictions=sites.calibration_predictions,
        calibration_y=sites.calibration_y,
        correction=HierarchicalCalibration(),
        calibration_sites=sites.calibration_sites,
        sites=np.zeros(len(sites.predictions), dtype=int),
    )
    assert known.variance_parts["transport"].eq(0).all()


def test_comparison_table() -> None:
    data = make_mixture_map(sigma=2.0, n_calibration=800, n_arm=400, random_state=12)
    y = np.where(np.arange(800) % 4 == 0, data.y, np.nan)
    frame = compare_corrections(
        data.predictions,
        treatment=data.treatment,
        calibration_predictions=data.calibration_predictions,
        calibration_y=data.calibration_y,
        y=y,
    )
    methods = frame.index.get_level_values("method")
    assert list(methods) == ["naive", "LinearCalibration", "TweedieCorrection", "SplineCalibration", "PPI++", "PTD"]
    linear = effect_of(data)
    found = frame.loc["LinearCalibration", ["estimate", "se"]].to_numpy(float)
    assert_allclose(found[0], [linear.estimate[0], linear.std_error[0]])
    r2 = linear.lines.r_squared
    assert_allclose([frame.attrs["break_even_share"], frame.attrs["labelled_share"]], [r2 / (1 + r2), 0.25])


def test_presentation() -> None:
    result = effect_of(gaussian(13))
    text, html = repr(result), result._repr_html_()
    for words in ("exclusion", "surrogacy", "Share of the variance", "Band"):
        assert words in text
    assert "<table" in html
    saved = result.to_dict()
    assert_allclose(saved["estimate"], result.estimate)
    assert saved["interval_method"] == "delta"
    assert isinstance(result.summary(), pd.DataFrame)


# ---------------------------------------------------------------------- simulated truth


@pytest.mark.parametrize(("k", "tau", "n_calibration"), [(0.5, 0.5, 200), (0.5, 2.0, 200), (0.8, 1.0, 100)])
def test_coverage_of_linear_calibration(k: float, tau: float, n_calibration: int) -> None:
    repetitions, estimates, hits = 200, [], np.zeros(3)
    for seed in range(repetitions):
        data = make_gaussian_map(k=k, tau=tau, n_calibration=n_calibration, n_arm=1000, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = effect_of(data)
        estimates.append(result.estimate[0])
        for i, method in enumerate(("delta", "fieller")):
            interval = result.conf_int(method=method).iloc[0]
            hits[i] += interval["lower"] <= tau <= interval["upper"]
        hits[2] += abs(estimates[-1] - tau) < 1.96 * np.sqrt(result.variance_parts["sampling"].iloc[0])
    # A binomial(200, .95) lies in [180, 198] with probability .998.
    assert hits[:2].min() >= 180
    if tau == 2:
        assert hits[2] < 140  # ignoring calibration noise covers 57 %
    spread = np.std(estimates)
    assert abs(np.mean(estimates) - tau) <= 3 * spread / np.sqrt(repetitions) + tau * (1 - k) / (k * n_calibration)
    r2 = k  # unit variance of y, and predictions with b = 1
    theory = np.sqrt(2 / (r2 * 1000) + tau**2 * (1 - r2) / (r2 * n_calibration))
    assert_allclose(spread, theory, rtol=0.2)
