"""Regressions of errors that a review found: each test fails on the code as it was before."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from sklearn.ensemble import RandomForestRegressor

from causalkit import (
    EffectAccumulator,
    LinearCalibration,
    TweedieCorrection,
    combine_imputations,
    compare_corrections,
    correct_vcov,
    exclusion_test,
    prediction_powered_ate,
    validate_correction,
)
from causalkit.exceptions import CalibrationError, CalibrationWarning, WeakInstrumentWarning


def _calibration(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    return 0.2 + 0.6 * y + 0.5 * rng.normal(size=n), y


def _trial(n: int = 120, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    arm = rng.integers(0, 2, n)
    truth = 0.8 * arm + rng.normal(size=n)
    return 0.2 + 0.6 * truth + 0.5 * rng.normal(size=n), arm


def test_did_with_units_clustered_across_units_is_the_dummy_regression() -> None:
    rng = np.random.default_rng(2)
    unit = np.repeat(np.arange(60), 2)
    post = np.tile([0, 1], 60)
    arm = np.repeat(rng.integers(0, 2, 60), 2)
    x = rng.normal(size=60)[unit] * 3 + 0.4 * arm * post + rng.normal(size=120)
    groups = rng.integers(0, 15, 120)  # clusters that cut through units: unit effects must be out of the residuals
    calibration = LinearCalibration.from_coefficients(1.0)
    result = calibration.effect(x, treatment=arm, estimator="did", post=post, unit=unit, groups=groups)
    design = np.column_stack([arm * post, post, unit[:, None] == np.arange(60)]).astype(float)
    bread = np.linalg.inv(design.T @ design)
    coef = bread @ design.T @ x
    scores = (design @ bread)[:, 0] * (x - design @ coef)
    sums = np.bincount(groups, weights=scores)
    factor = 15 / 14 * 119 / (120 - 62)
    np.testing.assert_allclose(result.estimate, coef[0], rtol=1e-10)
    np.testing.assert_allclose(result.cov[0, 0], factor * (sums**2).sum(), rtol=1e-10)


def test_horvitz_thompson_keeps_the_intercept_in_band_and_sensitivity() -> None:
    f, y = _calibration()
    f /= 2  # b differs from one, so that the band has its third row
    x, arm = _trial()
    shifted = x + 5.0  # the estimator of a constant is not zero, so that m and a matter
    calibration = LinearCalibration().fit(f + 5.0, y)
    result = calibration.effect(shifted, treatment=arm, estimator="horvitz_thompson", propensity=np.full(120, 0.5))
    weights = (2 * arm - 1) / 0.5 / 120
    a, b = (lambda fit: (fit[1], fit[0]))(np.polyfit(f + 5.0, y, 1))
    recalibrated = weights.sum() * a + b * (weights @ shifted)
    band = result.band.set_index("assumption")["estimate"]
    np.testing.assert_allclose(band["surrogacy, recalibrated"], recalibrated, rtol=1e-10)
    curve = result.sensitivity([0.0, 1.0])
    np.testing.assert_allclose(curve["estimate"], [result.estimate[0], recalibrated], rtol=1e-10)
    np.testing.assert_allclose(curve["se"].iloc[1], result.band.set_index("assumption")["se"].iloc[2], rtol=1e-10)


def test_sensitivity_gradient_of_horvitz_thompson_by_differences() -> None:
    f, y = _calibration()
    x, arm = _trial()
    result = (
        LinearCalibration()
        .fit(f, y)
        .effect(x, treatment=arm, estimator="horvitz_thompson", propensity=np.full(120, 0.5))
    )
    c = ((2 * arm - 1) / 0.5 / 120).sum()
    lines = result.lines
    point = np.array(
        [result.naive.estimate[0], lines.intercept, lines.slope, lines.berkson_intercept, lines.berkson_slope]
    )

    def value(v: np.ndarray) -> float:
        tau, m, k, a, b = v
        return (tau - c * (m + 0.3 * (-a / b - m))) / (k + 0.3 * (1 / b - k))

    gradient = [(value(point + h) - value(point - h)) / 2e-6 for h in 1e-6 * np.eye(5)]
    expected = np.sqrt(gradient @ result.joint_cov @ gradient)
    np.testing.assert_allclose(result.sensitivity([0.3])["se"], expected, rtol=1e-6)


@pytest.mark.parametrize("estimator", ["difference", "hajek", "horvitz_thompson", "ols", "aipw", "did"])
@pytest.mark.parametrize("rows", [0, 1])
def test_arms_without_two_rows_of_weight_are_refused(estimator: str, rows: int) -> None:
    calibration = LinearCalibration().fit(*_calibration())
    x, arm = _trial()
    weight = np.where(arm == 1, 0.0, 1.0)
    weight[np.flatnonzero(arm == 1)[:rows]] = 1.0
    adjusts = estimator not in ("did", "difference")
    extra = {
        "confounders": np.random.default_rng(0).normal(size=(120, 1)) if adjusts else None,
        "post": np.tile([0, 1], 60) if estimator == "did" else None,
    }
    with pytest.raises(ValueError, match=r"treatment level 1 has (no weight|1 row)"):
        calibration.effect(x, treatment=arm, estimator=estimator, sample_weight=weight, **extra)


def test_accumulator_reads_treatments_in_another_byte_order_and_names_ragged_ones() -> None:
    calibration, treatment = LinearCalibration().fit(*_calibration()), np.array([0, 0, 1, 1])
    swapped = treatment.astype(treatment.dtype.newbyteorder())
    predictions = [0.1, 0.2, 0.3, 0.5]
    first, second = (EffectAccumulator(calibration).update(predictions, t).result() for t in (treatment, swapped))
    np.testing.assert_array_equal(first.estimate, second.estimate)
    with pytest.raises(ValueError, match=r"treatment must be an array.*equal lengths"):
        EffectAccumulator(calibration).update(predictions, [[0], [0, 1], [1], [1]])


def test_accumulator_refuses_an_arm_of_one_row() -> None:
    calibration = LinearCalibration().fit(*_calibration())
    accumulator = EffectAccumulator(calibration).update([0.1, 0.2, 0.3], [0, 0, 1])
    with pytest.raises(ValueError, match="one row"):
        accumulator.result()


def test_aipw_without_a_seed_uses_one_split_for_estimate_and_band() -> None:
    calibration = LinearCalibration().fit(*_calibration())
    x, arm = _trial()
    result = calibration.effect(
        x,
        treatment=arm,
        estimator="aipw",
        confounders=np.random.default_rng(3).normal(size=(120, 2)),
        outcome_model=RandomForestRegressor(5, random_state=0),
    )
    exclusion = result.band.iloc[1]
    np.testing.assert_allclose(exclusion["estimate"], result.estimate[0], rtol=1e-10)
    np.testing.assert_allclose(exclusion["se"], result.std_error[0], rtol=1e-10)


def test_bootstrap_does_not_forget_unlabelled_predictions() -> None:
    f, y = _calibration()
    x, arm = _trial()
    correction = TweedieCorrection(n_knots=3).fit(f, y, unlabelled_predictions=_calibration(1000, 5)[0])
    with pytest.raises(ValueError, match="n_bootstrap is not available with unlabelled_predictions"):
        correction.effect(x, treatment=arm, n_bootstrap=20)


def test_exclusion_test_refuses_a_treatment_that_is_the_binary_truth() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300).astype(float)
    with pytest.raises(CalibrationError, match="collinear with y"):
        exclusion_test(0.2 + 0.5 * y + 0.1 * rng.normal(size=300), y, treatment=y)


def test_exclusion_test_finds_no_evidence_in_a_perfect_fit() -> None:
    y = np.random.default_rng(0).normal(size=300)
    frame = exclusion_test(y, y, treatment=np.tile([0, 1], 150))
    assert (frame["pvalue"] == 1.0).all()


def test_compare_corrections_with_perfect_predictions() -> None:
    _, y = _calibration()
    x, arm = _trial()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = compare_corrections(x, treatment=arm, calibration_predictions=y, calibration_y=y)
    assert frame.attrs["break_even_share"] == pytest.approx(0.5)


def test_compare_corrections_needs_unlabelled_rows() -> None:
    f, y = _calibration()
    x, arm = _trial()
    with pytest.raises(ValueError, match="labelled marks 120 of 120"):
        compare_corrections(x, treatment=arm, calibration_predictions=f, calibration_y=y, y=x)


def test_labels_in_one_arm_only_name_the_other_arm() -> None:
    x, arm = _trial()
    with pytest.raises(ValueError, match="no labelled row in arm 1"):
        prediction_powered_ate(
            x[:30], x[:30], treatment=np.zeros(30), predictions_unlabelled=x, treatment_unlabelled=arm
        )


def test_combine_imputations_of_nothing() -> None:
    with pytest.raises(ValueError, match="two or more"):
        combine_imputations([], [])


def test_validate_correction_with_fewer_groups_than_folds() -> None:
    f, y = _calibration()
    with pytest.warns(UserWarning, match="3 clusters"):
        frame = validate_correction(LinearCalibration(), f, y, n_bins=3, groups=np.arange(400) % 3)
    assert isinstance(frame, pd.DataFrame)
    assert np.isfinite(frame["bias"]).all()


@pytest.mark.parametrize("formula", ["p ~ 0 + C(c)", "p ~ 0 + z", "p ~ a + z", "p ~ bs - 1"])
def test_correct_vcov_finds_an_implicit_constant(formula: str) -> None:
    rng = np.random.default_rng(4)
    x, arm = _trial()
    data = pd.DataFrame({"p": x, "a": arm, "z": rng.normal(size=120), "c": rng.choice(list("uvw"), 120)})
    data["bs"] = 1.0 + data["z"]
    calibration = LinearCalibration().fit(*_calibration())
    weight = rng.uniform(0.5, 2.0, 120)
    for fit, corrected in (
        (smf.ols(formula, data), smf.ols(formula, data.assign(p=calibration.transform(x)))),
        (
            smf.wls(formula, data, weights=weight),
            smf.wls(formula, data.assign(p=calibration.transform(x)), weights=weight),
        ),
    ):
        params, vcov = correct_vcov(fit.fit(), correction=calibration)
        np.testing.assert_allclose(params, corrected.fit().params, rtol=1e-10)
        assert vcov.shape == (len(params), len(params))


def test_correct_vcov_leaves_variance_components_of_mixed_models_out() -> None:
    rng = np.random.default_rng(4)
    site = np.repeat(np.arange(20), 10)
    arm = rng.integers(0, 2, 200)
    data = pd.DataFrame({"p": rng.normal(size=20)[site] + 0.4 * arm + rng.normal(size=200), "a": arm, "g": site})
    fit = smf.mixedlm("p ~ a", data, groups=data["g"]).fit()
    params, vcov = correct_vcov(fit, correction=LinearCalibration.from_coefficients(0.5, 1.0))
    np.testing.assert_allclose(params, [(fit.params["Intercept"] - 1) / 0.5, fit.params["a"] / 0.5], rtol=1e-10)
    np.testing.assert_allclose(vcov, fit.cov_params().iloc[:2, :2] / 0.25, rtol=1e-10)


def test_as_many_coefficients_as_rows() -> None:
    calibration = LinearCalibration.from_coefficients(0.5)
    with pytest.raises(ValueError, match="4 rows for 4 coefficients"):
        calibration.effect(
            [1.0, 2.0, 3.0, 4.0],
            treatment=[0, 0, 1, 1],
            estimator="ols",
            confounders=[[1.0, 2.0], [1.0, 0.0], [3.0, 1.0], [0.0, 0.0]],
        )
    with pytest.raises(ValueError, match="1 rows for 1 coefficients"):
        calibration.mean([1.0])


def test_bootstrap_survives_draws_without_a_rare_category() -> None:
    calibration = LinearCalibration().fit(*_calibration())
    x, arm = _trial()
    rare = np.zeros((120, 1))
    rare[:4] = 1.0  # absent from about exp(-4) of the draws, where it is collinear
    result = calibration.effect(x, treatment=arm, estimator="ols", confounders=rare, n_bootstrap=200, random_state=0)
    assert 180 <= len(result.bootstrap_estimates) < 200


def test_tiny_units_are_not_constant() -> None:
    f, y = _calibration()
    plain, tiny = LinearCalibration().fit(f, y), LinearCalibration().fit(f * 1e-15, y * 1e-15)
    np.testing.assert_allclose(tiny.slope_, plain.slope_, rtol=1e-10)
    with pytest.raises(CalibrationError, match="nothing to calibrate"):
        LinearCalibration().fit(f, np.full(400, 1e-15))


def test_rows_in_another_order_are_refused_for_every_argument() -> None:
    f, y = _calibration()
    x, arm = _trial()
    series = pd.Series(f)
    for extra in ("sample_weight", "groups"):
        with pytest.raises(ValueError, match=f"predictions and {extra} have the same index labels"):
            LinearCalibration().fit(series, y, **{extra: pd.Series(np.arange(400) % 20 + 1)[::-1]})
    calibration = LinearCalibration().fit(f, y)
    for extra in ("confounders", "groups", "sample_weight"):
        with pytest.raises(ValueError, match=f"predictions and {extra} have the same index labels"):
            calibration.effect(
                pd.Series(x), treatment=arm, estimator="ols", **{extra: pd.Series(np.arange(120) % 20 + 1.0)[::-1]}
            )


def test_partial_fit_waits_for_a_second_cluster() -> None:
    f, y = _calibration()
    calibration = LinearCalibration().partial_fit(f[:50], y[:50], groups=np.zeros(50, dtype=int))
    assert not hasattr(calibration, "coef_")
    calibration.partial_fit(f[50:], y[50:], groups=np.arange(350) % 30)
    assert np.isfinite(calibration.cov_).all()


def test_few_clusters_warn_in_means_and_regressions() -> None:
    calibration = LinearCalibration().fit(*_calibration())
    x, arm = _trial()
    groups = np.arange(120) % 5
    with pytest.warns(CalibrationWarning, match="5 clusters"):
        calibration.mean(x, groups=groups)
    with pytest.warns(CalibrationWarning, match="5 clusters"):
        calibration.ols("p ~ a", pd.DataFrame({"p": x, "a": arm}), groups=groups)


def test_shared_groups_that_share_no_label_warn() -> None:
    f, y = _calibration()
    x, arm = _trial()
    calibration = LinearCalibration().fit(f, y, groups=np.arange(400) % 20)
    with pytest.warns(CalibrationWarning, match="nothing is shared"):
        calibration.effect(x, treatment=arm, groups=(np.arange(120) % 20).astype(str), shared_groups=True)


def test_published_coefficients_with_a_weak_slope_warn() -> None:
    with pytest.warns(WeakInstrumentWarning, match=r"2\.50 standard errors.*Fieller"):
        LinearCalibration.from_coefficients(0.5, 0.0, [[0.04, 0.0], [0.0, 0.01]])


def test_imputation_by_treatment_is_refused_in_its_own_words() -> None:
    f, y = _calibration()
    calibration = LinearCalibration(differential="shift").fit(f, y, treatment=np.arange(400) % 2)
    with pytest.raises(ValueError, match="impute is not defined for a correction by treatment"):
        calibration.impute(f)
