"""Downstream estimators on uncorrected predictions against statsmodels, closed forms and numerical derivatives.

A calibration with slope 1 and no noise leaves the outcome alone, so that the effect is the downstream
estimator itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import KFold

from causalkit import LinearCalibration
from causalkit.debiasing.effects import DebiasedEffect
from causalkit.exceptions import OverlapWarning
from tests.golden.debiasing_reference import weight_derivatives

IDENTITY = LinearCalibration.from_coefficients(1.0)
REPEATED = LinearCalibration.from_coefficients(1.0)
REPEATED.weight_type = "frequency"


def trial_of(seed: int, n: int = 240, levels: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    p = 1 / (1 + np.exp(-0.7 * x[:, 0]))
    arm = (rng.random(n) < p).astype(int) if levels == 2 else np.arange(n) % levels
    return {
        "y": 1 + 0.8 * arm + x @ [1.0, -0.5] + (0.5 + np.abs(x[:, 1])) * rng.normal(size=n),
        "a": arm,
        "x": x,
        "p": p,
        "w": rng.uniform(0.2, 3, n),
        "counts": rng.integers(1, 4, n),
        "groups": rng.permutation(np.arange(n) % 30),
    }


def run(data: dict[str, Any], estimator: str, **kwargs: Any) -> DebiasedEffect:
    return IDENTITY.effect(data["y"], treatment=data["a"], estimator=estimator, **kwargs)


def dummies(arm: np.ndarray) -> np.ndarray:
    return (arm[:, None] == np.arange(1, arm.max() + 1)).astype(float)


# ---------------------------------------------------------------------- means and regressions


@pytest.mark.parametrize("levels", [2, 4])
def test_difference_in_means(levels: int) -> None:
    data = trial_of(1, levels=levels)
    parts = [data["y"][data["a"] == level] for level in range(levels)]
    result = run(data, "difference")
    assert result.names == tuple(f"{level} - 0" for level in range(1, levels))
    assert_allclose(result.estimate, [part.mean() - parts[0].mean() for part in parts[1:]])
    variance = [part.var(ddof=1) / len(part) for part in parts]
    expected = np.diag(variance[1:]) + variance[0]  # contrasts share the reference arm
    assert_allclose(result.cov, expected, rtol=1e-10)


@pytest.mark.parametrize("kind", ["plain", "weighted", "frequency", "clustered", "weighted and clustered"])
@pytest.mark.parametrize("estimator", ["ols", "difference"])
def test_regression_against_statsmodels(kind: str, estimator: str) -> None:
    data = trial_of(2, levels=3)
    covariates = data["x"] if estimator == "ols" else np.empty((240, 0))
    X = np.column_stack([np.ones(240), dummies(data["a"]), covariates])
    weight = {"weighted": data["w"], "frequency": data["counts"], "weighted and clustered": data["w"]}.get(kind)
    groups = data["groups"] if "clustered" in kind else None
    model = REPEATED if kind == "frequency" else IDENTITY
    confounders = data["x"] if estimator == "ols" else None
    result = model.effect(
        data["y"],
        treatment=np.array(["a", "b", "c"])[data["a"]],  # numbers would be a dose
        estimator=estimator,
        confounders=confounders,
        sample_weight=weight,
        groups=groups,
    )
    if kind == "frequency":
        repeats = data["counts"]
        peer = sm.OLS(np.repeat(data["y"], repeats), np.repeat(X, repeats, axis=0)).fit(cov_type="HC1")
    else:
        options = {"cov_type": "HC1"} if groups is None else {"cov_type": "cluster", "cov_kwds": {"groups": groups}}
        peer = sm.WLS(data["y"], X, weights=1.0 if weight is None else weight).fit(**options)
    assert_allclose(result.estimate, peer.params[1:3], rtol=1e-9)
    if estimator == "ols" or groups is not None:
        assert_allclose(result.cov, peer.cov_params()[1:3, 1:3], rtol=1e-8)
    else:  # arm variances with n_a/(n_a - 1) in the place of n/(n - p)
        size = np.bincount(data["a"], weights=weight if kind == "frequency" else None)
        hc0 = peer.cov_params()[0, 0] * (size.sum() - 3) / size.sum()  # of the reference arm's mean
        assert_allclose(result.cov[0, 1], hc0 * size[0] / (size[0] - 1), rtol=1e-8)
    if groups is not None:
        assert result.df == 29


def test_continuous_treatment() -> None:
    data = trial_of(3)
    dose = pd.Series(data["x"][:, 0], name="dose")
    result = IDENTITY.effect(data["y"], treatment=dose, estimator="ols", confounders=data["x"][:, 1])
    peer = sm.OLS(data["y"], sm.add_constant(data["x"])).fit(cov_type="HC1")
    assert result.names == ("dose",)
    assert_allclose([result.estimate[0], result.std_error[0]], [peer.params[1], peer.bse[1]], rtol=1e-10)


def test_weighted_mean() -> None:
    data = trial_of(4)
    result = IDENTITY.mean(data["y"], sample_weight=data["w"], groups=data["groups"])
    peer = sm.WLS(data["y"], np.ones(240), weights=data["w"]).fit(
        cov_type="cluster", cov_kwds={"groups": data["groups"]}
    )
    assert_allclose([result.estimate[0], result.std_error[0]], [peer.params[0], peer.bse[0]], rtol=1e-10)


# ---------------------------------------------------------------------- inverse probabilities


def test_horvitz_thompson_and_hajek() -> None:
    data = trial_of(5)
    y, a, p = data["y"], data["a"], data["p"]
    score = a * y / p - (1 - a) * y / (1 - p)
    result = run(data, "horvitz_thompson", propensity=p)
    assert_allclose([result.estimate[0], result.std_error[0]], [score.mean(), score.std() / np.sqrt(240)], rtol=1e-10)
    means = [np.average(y, weights=v) for v in (a / p, (1 - a) / (1 - p))]
    residual = a / p * (y - means[0]) / np.mean(a / p) - (1 - a) / (1 - p) * (y - means[1]) / np.mean((1 - a) / (1 - p))
    result = run(data, "hajek", propensity=np.column_stack([1 - p, p]))
    expected = [means[0] - means[1], np.sqrt(np.mean(residual**2) / 240)]
    assert_allclose([result.estimate[0], result.std_error[0]], expected, rtol=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("estimator", ["hajek", "horvitz_thompson"])
def test_estimated_propensity_against_stacked_equations(estimator: str, weighted: bool) -> None:
    data = trial_of(6, 6000)
    y, a, X = data["y"], data["a"], sm.add_constant(data["x"])
    w = data["w"] if weighted else np.ones(6000)
    result = run(data, estimator, confounders=data["x"], sample_weight=data["w"] if weighted else None)
    logit = sm.GLM(a, X, family=sm.families.Binomial(), freq_weights=w).fit()
    p = logit.predict(X)
    u, v = w * a / p, w * (1 - a) / (1 - p)
    if estimator == "hajek":
        tau1, tau0 = np.average(y, weights=u), np.average(y, weights=v)
        psi = (u * (y - tau1) - v * (y - tau0)) / w.mean()
    else:
        tau1, tau0 = u @ y / w.sum(), v @ y / w.sum()
        psi = (u * y - v * y - w * (tau1 - tau0)) / w.mean()
    assert_allclose(result.estimate, tau1 - tau0, rtol=1e-6)
    # Stacked sandwich: bread by the derivatives of both equations in the logit coefficients.
    centre1, centre0 = (tau1, tau0) if estimator == "hajek" else (0.0, 0.0)
    slope = -np.mean((u * (1 - p) * (y - centre1) + v * p * (y - centre0))[:, None] * X, axis=0) / w.mean()
    psi = psi + (w * (a - p))[:, None] * X @ np.linalg.solve((X * (w * p * (1 - p))[:, None]).T @ X / 6000, slope)
    # The projection on the scores uses their outer products, the sandwich their Hessian: equal up to 1/√n.
    assert_allclose(result.std_error, psi.std() / np.sqrt(6000), rtol=0.02)
    if not weighted:
        assert result.std_error[0] < run(data, estimator, propensity=data["p"]).std_error[0]


# ---------------------------------------------------------------------- doubly robust


@pytest.mark.parametrize("known", [True, False])
def test_aipw_with_the_same_folds(known: bool) -> None:
    data = trial_of(7, 300)
    x, a, y = data["x"], data["a"], data["y"]
    folds = list(KFold(3, shuffle=True, random_state=0).split(x))
    correction = LinearCalibration.from_coefficients(0.5, 1.0)
    result = correction.effect(
        1 + 0.5 * y,
        treatment=a,
        estimator="aipw",
        confounders=x,
        propensity=data["p"] if known else None,
        cv=folds,
    )
    p, m = data["p"].copy(), np.empty((300, 2))
    for train, test in folds:
        if not known:
            p[test] = LogisticRegression(max_iter=1000).fit(x[train], a[train]).predict_proba(x[test])[:, 1]
        for level in (0, 1):
            rows = train[a[train] == level]
            m[test, level] = LinearRegression().fit(x[rows], y[rows]).predict(x[test])
    score = m[:, 1] - m[:, 0] + a * (y - m[:, 1]) / p - (1 - a) * (y - m[:, 0]) / (1 - p)
    assert_allclose(result.estimate, score.mean(), rtol=1e-9)
    assert_allclose(result.std_error, score.std(ddof=1) / np.sqrt(300), rtol=1e-9)


def test_aipw_with_models_of_one_output() -> None:
    from sklearn.ensemble import GradientBoostingRegressor

    data = trial_of(8, 150)
    model = GradientBoostingRegressor(n_estimators=5, random_state=0)
    result = run(data, "aipw", confounders=data["x"], propensity=data["p"], outcome_model=model, random_state=0)
    assert np.isfinite(result.estimate[0])
    assert result.std_error[0] > 0


# ---------------------------------------------------------------------- difference in differences


def panel_of(seed: int, units: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"unit": np.repeat(np.arange(units), 2), "post": np.tile([0, 1], units)})
    frame["a"] = (frame["unit"] % 3 == 0).astype(int)
    frame["y"] = np.repeat(rng.normal(size=units), 2) + 0.3 * frame["post"] + 0.7 * frame["a"] * frame["post"]
    frame["y"] += 0.5 * rng.normal(size=2 * units)
    frame["w"] = np.repeat(rng.uniform(0.5, 2, units), 2)
    return frame


@pytest.mark.filterwarnings("ignore:.*cross-sectional slope")
def test_did_with_and_without_unit_effects() -> None:
    frame = panel_of(9)
    options = {"treatment": frame["a"], "estimator": "did", "post": frame["post"]}
    plain = IDENTITY.effect(frame["y"], **options)
    peer = smf.ols("y ~ a * post", frame).fit(cov_type="HC1")
    assert_allclose([plain.estimate[0], plain.std_error[0]], [peer.params["a:post"], peer.bse["a:post"]], rtol=1e-9)
    for weight in (None, frame["w"]):
        absorbed = IDENTITY.effect(frame["y"], unit=frame["unit"], sample_weight=weight, **options)
        fixed = smf.wls("y ~ a:post + post + C(unit)", frame, weights=1.0 if weight is None else weight)
        peer = fixed.fit(cov_type="cluster", cov_kwds={"groups": frame["unit"]})
        assert_allclose(absorbed.estimate[0], peer.params["a:post"], rtol=1e-8)
        # Absorbed effects that lie within clusters do not count as parameters.
        factor = np.sqrt((120 - 62) / (120 - 2))
        assert_allclose(absorbed.std_error[0], peer.bse["a:post"] * factor, rtol=1e-8)
        assert absorbed.df == 59
    # Clusters that cut across units: the absorbed effects are residuals and parameters like any other.
    across = np.random.default_rng(0).permutation(np.arange(120) % 20)
    absorbed = IDENTITY.effect(frame["y"], unit=frame["unit"], groups=across, **options)
    peer = smf.ols("y ~ a:post + post + C(unit)", frame).fit(cov_type="cluster", cov_kwds={"groups": across})
    assert_allclose(absorbed.std_error[0], peer.bse["a:post"], rtol=1e-8)


# ---------------------------------------------------------------------- influence values


@pytest.mark.filterwarnings("ignore:.*cross-sectional slope")
@pytest.mark.parametrize("estimator", ["difference", "ols", "hajek", "horvitz_thompson", "did"])
def test_influence_is_the_derivative_in_the_weights(estimator: str) -> None:
    data = trial_of(10, 120, levels=3 if estimator in ("difference", "ols") else 2)
    options: dict[str, Any] = {"confounders": data["x"]} if estimator == "ols" else {}
    if estimator in ("hajek", "horvitz_thompson"):
        options = {"propensity": data["p"]}
    if estimator == "did":
        options = {"post": np.arange(120) % 2}

    def estimate(w: np.ndarray) -> np.ndarray:
        return run(data, estimator, sample_weight=w, **options).estimate

    w = data["w"]
    rows = np.arange(0, 120, 11)
    numeric = w[rows, None] * weight_derivatives(estimate, w, rows)
    result = run(data, estimator, sample_weight=w, **options)
    found = result.influence_values[rows] / len(result.influence_values)
    size = np.bincount(data["a"])
    factor = {
        "difference": (size / (size - 1))[data["a"][rows]][:, None],
        "ols": 120 / (120 - 4),  # the three levels are numbers: one slope
        "did": 120 / (120 - 4),
    }.get(estimator, 1.0)
    assert_allclose(found, np.sqrt(factor) * numeric, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*cross-sectional slope")
@pytest.mark.parametrize("estimator", ["difference", "ols", "hajek", "horvitz_thompson", "did"])
def test_frequency_weights_are_repeated_rows(estimator: str) -> None:
    data = trial_of(11, 120)
    repeats = data["counts"]
    options: dict[str, Any] = {"ols": {"confounders": data["x"]}, "did": {"post": np.arange(120) % 2}}.get(
        estimator, {}
    )
    if estimator in ("hajek", "horvitz_thompson"):
        options = {"confounders": data["x"]}
    one = REPEATED.effect(data["y"], treatment=data["a"], estimator=estimator, sample_weight=repeats, **options)
    longer = {key: np.repeat(value, repeats, axis=0) for key, value in options.items()}
    y, a = np.repeat(data["y"], repeats), np.repeat(data["a"], repeats)
    two = IDENTITY.effect(y, treatment=a, estimator=estimator, **longer)
    assert_allclose(one.estimate, two.estimate, rtol=1e-6)
    assert_allclose(one.std_error, two.std_error, rtol=1e-5)


def test_extreme_estimated_propensities_warn() -> None:
    data = trial_of(12)
    steep = np.where(data["a"] == 1, 4.0, -4.0) + 3 * data["x"][:, 1]
    with pytest.warns(OverlapWarning, match=r"outside \[.01, .99\]"):
        run(data, "hajek", confounders=steep)
