"""Regressions of a corrected outcome: formulas, tables that exist already, and a published example."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from numpy.testing import assert_allclose

from causalkit import LinearCalibration, SplineCalibration, TweedieCorrection, correct_vcov
from tests.golden.debiasing_reference import weight_derivatives

RNG = np.random.default_rng(1)
CAL_Y = RNG.normal(5, 2, 300)
CAL_F = 2 + 0.5 * CAL_Y + 0.5 * RNG.normal(size=300)


def trial(seed: int = 0, n: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    w = rng.normal(size=n)
    a = (rng.normal(size=n) + w > 0).astype(int)
    y = 5 + 0.7 * a + 0.5 * w + rng.normal(size=n)
    frame = pd.DataFrame({"f": 2 + 0.5 * y + 0.5 * rng.normal(size=n), "a": a, "w": w, "g": rng.choice(list("pqr"), n)})
    return frame.assign(weight=rng.uniform(0.3, 2, n), cluster=rng.permutation(np.arange(n) % 40))


LINEAR = LinearCalibration().fit(CAL_F, CAL_Y)
# The haemoglobin trial of Nab et al. 2021 with its external calibration study: summaries only.
HAEMOGLOBIN = LinearCalibration.from_coefficients(
    1.0743568441, -3.5430138069, [[0.0040773717, -0.490297913], [-0.490297913, 59.4219929871]]
)
BETA = np.array([124.4522608074, 7.7647016307])
V_BETA = np.array([[0.9695239043, -0.9695239043], [-0.9695239043, 1.9390478085]])


# ---------------------------------------------------------------------- a published table


def test_haemoglobin_trial() -> None:
    params, vcov = correct_vcov(BETA, V_BETA, correction=HAEMOGLOBIN, intercept=0)
    assert_allclose(params, [119.1366493, 7.2273022], atol=5e-8)
    assert_allclose(
        vcov, [[1.2466690716, -0.8683520793], [-0.8683520793, 1.8644475345]], atol=1e-6
    )  # inputs are rounded
    assert_allclose(np.sqrt(np.diag(vcov)), [1.116543, 1.365448], atol=5e-7)
    k, v_k = HAEMOGLOBIN.slope_, HAEMOGLOBIN.cov_[0, 0]
    assert_allclose(np.sqrt(V_BETA[1, 1]) / k, 1.296121, atol=5e-7)
    delta = params[1] + 1.959963985 * np.sqrt(vcov[1, 1]) * np.array([-1, 1])
    assert_allclose(delta, [4.551074, 9.903531], atol=5e-7)
    # Fieller's set for the slope: roots of (k² - z²V_k)t² - 2βkt + β² - z²V_β.
    z2 = 1.959963985**2
    roots = np.roots([k**2 - z2 * v_k, -2 * BETA[1] * k, BETA[1] ** 2 - z2 * V_BETA[1, 1]])
    assert_allclose(np.sort(roots), [4.630319, 10.023133], atol=5e-7)


def test_fiellers_set_of_the_published_summaries() -> None:
    # Arms whose difference in means and variance are those of the trial: the effect's own Fieller set.
    arm = np.repeat([0, 1], 2)
    spread = np.sqrt(V_BETA[1, 1] / 2)
    x = np.r_[0, 0, BETA[1], BETA[1]] + spread * np.tile([-1, 1], 2)
    result = HAEMOGLOBIN.effect(x, treatment=arm)
    interval = result.conf_int(method="fieller").iloc[0]
    assert_allclose([interval["lower"], interval["upper"]], [4.630319, 10.023133], atol=5e-7)


# ---------------------------------------------------------------------- formulas


@pytest.mark.parametrize("kind", ["plain", "weighted", "clustered"])
def test_three_roads_to_the_same_table(kind: str) -> None:
    frame = trial()
    weight = frame["weight"] if kind == "weighted" else None
    groups = frame["cluster"] if kind == "clustered" else None
    result = LINEAR.ols("f ~ a + w + C(g)", frame, sample_weight=weight, groups=groups)
    options: Any = {"cov_type": "HC1"}
    if kind == "clustered":
        options = {"cov_type": "cluster", "cov_kwds": {"groups": frame["cluster"]}}
    raw = smf.wls("f ~ a + w + C(g)", frame, weights=1.0 if weight is None else weight).fit(**options)
    corrected = frame.assign(f=LINEAR.transform(frame["f"]))
    direct = smf.wls("f ~ a + w + C(g)", corrected, weights=1.0 if weight is None else weight).fit(**options)
    params, vcov = correct_vcov(raw, correction=LINEAR)
    assert list(result.names) == list(params.index) == list(direct.params.index)
    assert_allclose(result.estimate, direct.params, rtol=1e-9)
    assert_allclose(params, direct.params, rtol=1e-9)
    assert_allclose(result.cov, vcov, rtol=1e-8, atol=1e-14)
    assert_allclose(result.variance_parts["sampling"], np.diag(direct.cov_params()), rtol=1e-8)
    assert_allclose(result.variance_parts.sum(axis=1), np.diag(vcov), rtol=1e-9)
    assert_allclose(result.naive.estimate, raw.params, rtol=1e-9)
    assert_allclose(result.naive.cov, raw.cov_params(), rtol=1e-8, atol=1e-14)


def test_without_a_constant_the_vector_is_a_projection() -> None:
    frame = trial()
    X = frame[["a", "w"]].to_numpy(float)
    result = LINEAR.ols("f ~ 0 + a + w", frame)
    raw = smf.ols("f ~ 0 + a + w", frame).fit(cov_type="HC1")
    c = np.linalg.lstsq(X, np.ones(240), rcond=None)[0]
    params, vcov = correct_vcov(raw, correction=LINEAR, intercept=c)
    assert_allclose(result.estimate, params, rtol=1e-9)
    # Sampling noise of Ŷ - m differs from that of Ŷ: the residuals of the constant on X are noise too.
    corrected = smf.ols("f ~ 0 + a + w", frame.assign(f=LINEAR.transform(frame["f"]))).fit(cov_type="HC1")
    calibration = vcov - raw.cov_params() / LINEAR.slope_**2
    assert_allclose(result.cov, corrected.cov_params() + calibration, rtol=1e-8)


@pytest.mark.parametrize("correction", [TweedieCorrection(n_knots=3), SplineCalibration(n_knots=3)], ids=repr)
def test_nonlinear_corrections_by_the_delta_method(correction: Any) -> None:
    frame = trial()
    model = correction.fit(CAL_F, CAL_Y)
    result = model.ols("f ~ a + w", frame)
    X = sm.add_constant(frame[["a", "w"]].to_numpy(float))
    direct = sm.OLS(model.transform(frame["f"]), X).fit(cov_type="HC1")
    columns = model._fitted.basis.design(frame["f"].to_numpy())
    delta = np.linalg.lstsq(X, columns, rcond=None)[0]
    assert_allclose(result.estimate, direct.params, rtol=1e-9)
    assert_allclose(result.cov, direct.cov_params() + delta @ model.coef_cov_ @ delta.T, rtol=1e-8)


def test_influence_is_the_derivative_in_the_weights() -> None:
    frame = trial(n=120)
    X = sm.add_constant(frame[["a", "w"]].to_numpy(float))

    def of_trial(v: np.ndarray) -> np.ndarray:
        return np.asarray(sm.WLS((frame["f"] - LINEAR.intercept_) / LINEAR.slope_, X, weights=v).fit().params)

    def of_calibration(v: np.ndarray) -> np.ndarray:
        m, k = sm.WLS(CAL_F, sm.add_constant(CAL_Y), weights=v).fit().params
        return np.linalg.lstsq(X, (frame["f"].to_numpy() - m) / k, rcond=None)[0]

    result = LinearCalibration().fit(CAL_F, CAL_Y).ols("f ~ a + w", frame)
    psi = result.influence_values / len(result.influence_values)
    rows = np.arange(0, 120, 11)
    for start, n, p, estimate in ((0, 120, 3, of_trial), (120, 300, 2, of_calibration)):
        numeric = weight_derivatives(estimate, np.ones(n), rows)
        assert_allclose(psi[start + rows], np.sqrt(n / (n - p)) * numeric, rtol=1e-5, atol=1e-8)


def test_statsmodels_results_read_corrected_numbers() -> None:
    frame = trial()
    for groups in (None, frame["cluster"]):
        result = LINEAR.ols("f ~ a + w", frame, groups=groups)
        peer = result.statsmodels
        assert_allclose(peer.params, result.estimate, rtol=1e-9)
        assert_allclose(peer.bse, result.std_error, rtol=1e-9)
        assert_allclose(peer.cov_params(), result.cov, rtol=1e-9)
        assert_allclose(peer.conf_int(), result.conf_int(), rtol=1e-7)
        assert_allclose(peer.pvalues, result.pvalue(), rtol=1e-6, atol=1e-12)
        test = peer.t_test("a - w = 0")
        contrast = result.contrast([0, 1, -1])
        assert_allclose(
            [float(np.squeeze(test.effect)), float(np.squeeze(test.sd))], [contrast.estimate[0], contrast.std_error[0]]
        )
        assert "corrected f" in str(peer.summary())


def test_frames_with_missing_rows_and_polars() -> None:
    frame = trial()
    holes = frame.copy()
    holes.loc[[3, 50, 51], "w"] = np.nan
    whole = LINEAR.ols("f ~ a + w", frame.drop(index=[3, 50, 51]), groups=frame["cluster"].drop([3, 50, 51]))
    some = LINEAR.ols("f ~ a + w", holes, groups=holes["cluster"])
    assert_allclose(some.cov, whole.cov, rtol=1e-10)
    other = LINEAR.ols("f ~ a + w", pl.from_dict(frame.to_dict(orient="list")))
    assert_allclose(other.cov, LINEAR.ols("f ~ a + w", frame).cov, rtol=1e-12)


def test_shared_clusters() -> None:
    frame = trial()
    model = LinearCalibration().fit(CAL_F, CAL_Y, groups=np.arange(300) % 30)
    result = model.ols("f ~ a + w", frame, groups=frame["cluster"], shared_groups=True)
    psi = result.influence_values / len(result.influence_values)
    labels = np.concatenate([frame["cluster"], np.arange(300) % 30])
    sums = np.column_stack([np.bincount(labels, weights=column) for column in psi.T])
    assert_allclose(result.cov, sums.T @ sums, rtol=1e-9)


# ---------------------------------------------------------------------- tables of other kinds


def test_types_in_are_types_out() -> None:
    frame = trial()
    raw = smf.ols("f ~ a + w", frame).fit()
    named = correct_vcov(raw.params, raw.cov_params(), correction=LINEAR)
    plain = correct_vcov(raw.params.to_numpy(), raw.cov_params().to_numpy(), correction=LINEAR, intercept=0)
    assert isinstance(named[0], pd.Series)
    assert isinstance(named[1], pd.DataFrame)
    assert isinstance(plain[0], np.ndarray)
    assert_allclose(named[1], plain[1])
    by_name = correct_vcov(raw, correction=LINEAR, intercept="Intercept")
    assert_allclose(by_name[0], named[0])


def test_absorbed_effects_have_no_constant() -> None:
    frame = trial()
    within = frame[["f", "a", "w"]] - frame.groupby("g")[["f", "a", "w"]].transform("mean")
    raw = sm.OLS(within["f"], within[["a", "w"]]).fit()
    params, vcov = correct_vcov(raw, correction=LINEAR, intercept=None)
    k, v_k = LINEAR.slope_, LINEAR.cov_[0, 0]
    assert_allclose(params, raw.params / k, rtol=1e-12)
    assert_allclose(vcov, (raw.cov_params() + v_k * np.outer(params, params)) / k**2, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"params": BETA, "vcov": V_BETA}, 'intercept="auto" needs labelled params'),
        ({"params": BETA, "vcov": V_BETA, "intercept": 5}, "position 5, but params has 2"),
        ({"params": BETA, "vcov": V_BETA, "intercept": [1.0]}, "2 finite entries"),
        ({"params": BETA, "vcov": V_BETA[:1], "intercept": 0}, r"shape \(2, 2\)"),
        ({"params": BETA, "intercept": 0}, "vcov is missing"),
        ({"params": pd.Series(BETA, index=["c", "a"]), "vcov": V_BETA, "intercept": "b"}, "not among the coefficients"),
    ],
)
def test_tables_that_do_not_fit(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        correct_vcov(**arguments, correction=HAEMOGLOBIN)


# ---------------------------------------------------------------------- simulated truth


def test_coverage_of_every_coefficient() -> None:
    truth, hits = np.array([5, 0.7, 0.5]), np.zeros(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(200):
            rng = np.random.default_rng(1000 + seed)
            n_c, n = 300, 600
            w = rng.normal(size=n_c + n)
            a = (rng.normal(size=n_c + n) + w > 0).astype(float)
            y = 5 + 0.7 * a + 0.5 * w + rng.normal(size=n_c + n)
            f = 2 + 0.5 * y + 0.5 * rng.normal(size=n_c + n)
            model = LinearCalibration().fit(f[:n_c], y[:n_c])
            frame = pd.DataFrame({"f": f[n_c:], "a": a[n_c:], "w": w[n_c:]})
            interval = model.ols("f ~ a + w", frame).conf_int().to_numpy(float)
            hits += (interval[:, 0] <= truth) & (truth <= interval[:, 1])
    # A binomial(200, .95) lies in [180, 198] with probability .998.
    assert hits.min() >= 180
