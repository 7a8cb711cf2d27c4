"""Overlap, nuisance fit, additivity and what else a reward rests on: brute force, and sizes by simulation."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import statsmodels.api as sm
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score

from causalkit.datasets import make_reward_linear, make_reward_nonlinear
from causalkit.exceptions import (
    AdditivityWarning,
    BadControlWarning,
    NuisanceFitWarning,
    OverlapWarning,
)
from causalkit.rewards import RewardDeconfounder
from causalkit.rewards.additivity import additivity_test, lagrange_multiplier_test
from causalkit.rewards.orthogonal import fit_orthogonal

Array = NDArray[np.float64]
FIT_WARNINGS = (NuisanceFitWarning, AdditivityWarning, BadControlWarning, OverlapWarning)


def quiet_fit(sample: Any, **options: Any) -> RewardDeconfounder:
    with warnings.catch_warnings():
        for category in FIT_WARNINGS:
            warnings.simplefilter("ignore", category)
        return RewardDeconfounder(random_state=0, **options).fit(sample.X, sample.y, confounders=sample.confounders)


# ---------------------------------------------------------------------- overlap


def test_overlap_is_the_share_of_variance_that_the_confounders_leave() -> None:
    rng = np.random.default_rng(0)
    author = rng.integers(0, 5, 300)
    X = rng.normal(size=(300, 4)) + np.outer(author, [1.0, 0.2, 0.0, -0.5])
    y = X @ [1.0, 0, 0, 1] + rng.normal(size=300)
    weight = rng.uniform(0.2, 2, 300)
    weight = weight / weight.mean()
    for w in (None, weight):
        fit = RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=author.astype(str), sample_weight=w)
        omega = np.ones(300) if w is None else w
        means = np.stack([np.bincount(author, omega * x) / np.bincount(author, omega) for x in X.T], axis=1)[author]
        inner, outer = X - means, X - np.average(X, axis=0, weights=omega)
        left, total = ((Z * omega[:, None]).T @ Z / 300 for Z in (inner, outer))
        found = fit.diagnostics()
        assert_allclose(found.overlap["r2"], 1 - np.diag(left) / np.diag(total), rtol=1e-9)
        shares = scipy.linalg.eigh(left, total, eigvals_only=True)
        assert_allclose(found.spectrum["eigenvalue"], shares, rtol=1e-9)
        assert_allclose(fit.overlap_eigenvalues_, shares, rtol=1e-9)
        assert found.spectrum["largest_loadings"].iloc[0].startswith("x0, x3")


def test_overlap_of_the_gaussian_design_is_one_half() -> None:
    found = quiet_fit(make_reward_linear(4000, random_state=1)).overlap_eigenvalues_
    assert_allclose(found, [0.5, 1, 1, 1], atol=0.06)


def test_little_overlap_is_warned_of_with_its_direction() -> None:
    rng = np.random.default_rng(2)
    c = rng.normal(size=600)
    X = np.column_stack([rng.normal(size=600), c + 0.05 * rng.normal(size=600)])
    frame = pd.DataFrame(X, columns=["words", "length"])
    y = X[:, 0] + c + rng.normal(size=600)
    with pytest.warns(
        OverlapWarning, match=r"direction of length, words .* share of 0\.00\d+ of the features' variance"
    ):
        fit = RewardDeconfounder(timing="before", random_state=0).fit(frame, y, confounders=c)
    assert not fit.diagnostics().ok
    assert "share of 0.00" in repr(fit.diagnostics())
    assert fit.overlap_eigenvalues_[0] == pytest.approx(0.0025, rel=0.3)


# ---------------------------------------------------------------------- nuisance fit


def test_score_test_by_brute_force() -> None:
    rng = np.random.default_rng(3)
    basis, residual = rng.normal(size=(80, 5)), rng.normal(size=80)
    weight = rng.uniform(0.3, 2, 80)
    weight = weight / weight.mean()
    for w in (np.ones(80), weight):
        e = residual - np.average(residual, weights=w)
        rows = (basis - np.average(basis, axis=0, weights=w)) * (w * e)[:, None]
        expected = rows.sum(axis=0) @ np.linalg.inv(rows.T @ rows) @ rows.sum(axis=0)
        statistic, freedom, pvalue = lagrange_multiplier_test(residual, np.hstack([basis, basis[:, :2]]), w)
        assert_allclose(statistic, expected, rtol=1e-9)
        assert freedom == 5  # repeated columns add nothing
        assert_allclose(pvalue, stats.chi2.sf(statistic, 5), rtol=1e-12)


def test_score_test_is_n_r_squared_under_equal_variances() -> None:
    rng = np.random.default_rng(4)
    basis, residual = rng.normal(size=(20_000, 5)), rng.normal(size=20_000)
    n_r_squared = 20_000 * sm.OLS(residual, sm.add_constant(basis)).fit().rsquared
    assert_allclose(lagrange_multiplier_test(residual, basis)[0], n_r_squared, rtol=0.05)


def test_score_test_is_silent_about_an_outlier_in_the_tail() -> None:
    rng = np.random.default_rng(5)
    residual, basis = rng.normal(size=500), np.zeros((500, 1))
    basis[0], residual[0] = 1.0, 12.0  # n R² would be 140 or so
    assert lagrange_multiplier_test(residual, basis)[2] > 0.1
    assert lagrange_multiplier_test(residual, np.ones((500, 2))) == (0.0, 0, 1.0)
    assert lagrange_multiplier_test(np.zeros(500), basis)[2] == 1.0


def test_nuisance_fit_is_silent_with_good_nuisances_and_loud_with_lines() -> None:
    good, bad = [], []
    for seed in range(20):
        sample = make_reward_nonlinear(1000, random_state=seed)
        good.append(quiet_fit(sample).diagnostics().nuisance_fit["pvalue"].iloc[0])
        if seed < 5:
            lines = {"outcome_model": LinearRegression(), "treatment_model": LinearRegression()}
            bad.append(quiet_fit(sample, **lines).diagnostics().nuisance_fit["pvalue"].iloc[0])
    assert min(good) > 1e-3
    assert np.mean(np.array(good) < 0.05) < 0.15
    assert max(bad) < 1e-3


def test_nuisance_fit_looks_at_the_residual_and_the_leading_features() -> None:
    sample = make_reward_linear(500, random_state=4)
    rng = np.random.default_rng(4)
    wide = np.hstack([sample.X, 3 * rng.normal(size=(500, 3))])
    fit = RewardDeconfounder(timing="before", random_state=0).fit(wide, sample.y, confounders=sample.confounders)
    frame = fit.diagnostics().nuisance_fit
    assert frame.index[0] == "residual"
    assert set(frame.index[1:4]) == {"x4", "x5", "x6"}  # the largest ones
    assert len(frame) == 6
    assert (frame["df"] > 5).all()
    levels = RewardDeconfounder(method="fixed_effects").fit(
        wide, sample.y, confounders=rng.integers(0, 4, 500).astype(str)
    )
    assert len(levels.diagnostics().nuisance_fit) == 0  # level means fit levels exactly


# ---------------------------------------------------------------------- additivity


def additive_sample(seed: int, n: int = 400, interaction: float = 0.0) -> tuple[Any, Array, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    c, X = rng.normal(size=n), rng.normal(size=(n, 2))
    y = X @ [1.0, 0.5] + interaction * X[:, 0] * c + (1 + 0.5 * np.abs(c)) * rng.normal(size=n)
    return fit_orthogonal(X, y), np.column_stack([c, c**2 - 1]), rng.integers(0, 60, n)


@pytest.mark.parametrize("clustered", [False, True])
def test_additivity_statistic_is_the_regression_of_ones_on_the_scores(clustered: bool) -> None:
    fit, columns, codes = additive_sample(5, interaction=0.3)
    products = np.column_stack([fit.features[:, j] * c for j in range(2) for c in columns.T])
    left = sm.OLS(products, fit.features).fit().resid
    scores = left * fit.residuals[:, None]
    if clustered:
        scores = np.stack([np.bincount(codes, s, minlength=60) for s in scores.T], axis=1)
    reference = sm.OLS(np.ones(len(scores)), scores).fit()
    expected = len(scores) - reference.ssr
    statistic, freedom, pvalue, gain = additivity_test(fit, columns, codes if clustered else None)
    assert freedom == 4
    assert_allclose(statistic, expected, rtol=1e-9)
    assert_allclose(pvalue, stats.chi2.sf(expected, 4), rtol=1e-8)
    error = 0.0
    for k in range(5):
        test = np.arange(400) % 5 == k
        beta = np.linalg.lstsq(left[~test], fit.residuals[~test], rcond=None)[0]
        error += ((fit.residuals[test] - left[test] @ beta) ** 2).sum()
    assert_allclose(gain, 1 - error / (fit.residuals**2).sum(), rtol=1e-8)


def test_additivity_keeps_its_level_and_finds_interactions() -> None:
    null = [additivity_test(*additive_sample(seed)[:2], None)[2] for seed in range(400)]
    # Binomial(400, .05) stays within .028 and .078 with probability .99.
    assert 0.02 < np.mean(np.array(null) < 0.05) < 0.085
    strong = [additivity_test(*additive_sample(seed, interaction=0.8)[:2], None) for seed in range(20)]
    assert max(pvalue for _, _, pvalue, _ in strong) < 0.01
    assert min(gain for _, _, _, gain in strong) > 0.02


@pytest.mark.parametrize("method", ["partially_linear", "fixed_effects"])
def test_rewards_that_differ_over_levels_are_warned_of(method: str) -> None:
    rng = np.random.default_rng(6)
    author = rng.integers(0, 3, 600)
    X = rng.normal(size=(600, 2))
    y = X[:, 0] * np.array([2.0, 0.0, -1.0])[author] + X[:, 1] + author + rng.normal(size=600)
    with pytest.warns(AdditivityWarning, match=r'differs over the confounders .* p = .*method="standardization"'):
        RewardDeconfounder(method=method, random_state=0).fit(X, y, confounders=author.astype(str))
    same = X.sum(axis=1) + author + rng.normal(size=600)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = RewardDeconfounder(method=method, random_state=0).fit(X, same, confounders=author.astype(str))
    assert fit.diagnostics().ok
    assert "nothing found" in repr(fit.diagnostics())


# ---------------------------------------------------------------------- confounders that follow the text


def test_predictability_is_out_of_fold_r_squared() -> None:
    sample = make_reward_linear(3000, random_state=7)
    with pytest.warns(
        BadControlWarning, match=r"predicts confounder 'popularity' \(out-of-fold R² 0\.\d+\).*timing=\{'pop"
    ):
        fit = RewardDeconfounder(random_state=0).fit(sample.X, sample.y, confounders=sample.confounders)
    frame = fit.diagnostics().predictability
    # R²(C | X) = b'Σ_X⁻¹b = 1/2.
    assert frame.loc["popularity", "value"] == pytest.approx(0.5, abs=0.04)
    assert not frame.loc["popularity", "declared"]
    noise = pd.DataFrame({"noise": np.random.default_rng(70).normal(size=3000)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for timing, confounders in (
            ("before", sample.confounders),
            ({"popularity": "before"}, sample.confounders),
            (None, noise),
        ):
            fit = RewardDeconfounder(timing=timing, random_state=0).fit(sample.X, sample.y, confounders=confounders)
    assert fit.diagnostics().predictability.loc["noise", "value"] < 0.005


def test_predictability_of_levels_is_an_area() -> None:
    rng = np.random.default_rng(8)
    author = rng.integers(0, 2, 2000)
    X = rng.normal(size=(2000, 2)) + np.outer(author, [1.0, 0.0])
    y = X[:, 0] + author + rng.normal(size=2000)
    frame = pd.DataFrame({"author": author.astype(str), "coin": rng.integers(0, 3, 2000).astype(str)})
    fit = RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=frame)
    found = fit.diagnostics().predictability["value"]
    assert found["author"] == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.03)  # unit shift of unit normals
    assert found["author"] == pytest.approx(roc_auc_score(author, X[:, 0]), abs=0.01)
    assert found["coin"] == pytest.approx(0.5, abs=0.04)


# ---------------------------------------------------------------------- levels and prompts


def test_levels_are_counted() -> None:
    author = np.array(["a"] * 4 + ["b"] * 3 + ["c", "d"] + ["e"] * 11)
    X = np.random.default_rng(9).normal(size=(20, 2))
    X[4:7] = X[4]  # no variation in b
    y = X[:, 0] + np.random.default_rng(10).normal(size=20)
    fit = RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=pd.DataFrame({"author": author}))
    row = fit.diagnostics().levels.loc["author"]
    same = [(i, j) for i in range(20) for j in range(i) if author[i] == author[j]]
    assert row.to_dict() == {
        "levels": 5,
        "singletons": 2,
        "without_variation": 3,
        "same_level_pairs": pytest.approx(len(same) / 190),
    }
    assert (~fit.informative_rows_).nonzero()[0].tolist() == [7, 8]
    assert_allclose(fit.adjusted_reward_[7:9], fit.predict(X[7:9]), atol=1e-10)


@pytest.mark.parametrize("as_series", [False, True])
def test_confounders_that_vary_within_prompts(as_series: bool) -> None:
    rng = np.random.default_rng(11)
    prompts = np.repeat(["p", "q", "r", "s"], 10)
    frame = pd.DataFrame(
        {
            "constant": np.repeat([1.0, 2.0, 3.0, 4.0], 10),
            "half": np.where(np.isin(prompts, ["p", "q"]), rng.normal(size=40), 0.0),
            "gap": np.where(np.arange(40) == 3, None, "x"),
        },
        index=np.arange(40) + 100,
    )
    X, y = pd.DataFrame(rng.normal(size=(40, 2)), index=frame.index), rng.normal(size=40)
    given = pd.Series(prompts, index=frame.index) if as_series else prompts
    fit = RewardDeconfounder(method="linear_control").fit(X, y, confounders=frame, prompts=given)
    assert fit.diagnostics().prompts["share_of_prompts"].to_dict() == {"constant": 0.0, "half": 0.5, "gap": 0.25}
    assert RewardDeconfounder(method="none").fit(X, y, prompts=given).diagnostics().prompts is None


@pytest.mark.filterwarnings("ignore:confounders 'month' hold integers")
def test_integer_codes_are_pointed_out_and_not_when_named() -> None:
    rng = np.random.default_rng(12)
    X, y = rng.normal(size=(200, 2)), rng.normal(size=200)
    frame = pd.DataFrame({"month": rng.integers(1, 13, 200), "age": rng.normal(size=200)})
    fit = RewardDeconfounder(random_state=0).fit(X, y, confounders=frame)
    assert fit.diagnostics().integer_coded == ("month",)
    fit = RewardDeconfounder(categorical=["month"], random_state=0).fit(X, y, confounders=frame)
    assert fit.diagnostics().integer_coded == ()


def test_effective_sample_size_of_the_weights() -> None:
    rng = np.random.default_rng(13)
    author = rng.integers(0, 2, 500)
    X = rng.normal(size=(500, 2)) + 0.5 * author[:, None]
    y = X[:, 0] + author + rng.normal(size=500)
    fit = RewardDeconfounder(method="weighting", random_state=0).fit(X, y, confounders=author.astype(str))
    w = fit.weights_
    assert fit.diagnostics().effective_sample_size == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert fit.balance_["effective_sample_size"] == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert abs(fit.balance_["auc_after"] - 0.5) < 0.03 < fit.balance_["auc_before"] - 0.6


def test_display_in_notebooks() -> None:
    found = quiet_fit(make_reward_linear(300, random_state=14)).diagnostics()
    html = found._repr_html_()
    for name in ("spectrum", "overlap", "nuisance_fit", "additivity", "predictability"):
        assert f"<summary>{name}</summary>" in html
    assert "predicts confounder" in html
