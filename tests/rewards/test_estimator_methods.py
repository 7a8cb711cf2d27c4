"""Methods of the estimator beside the partially linear one: what it stores, adjusts, predicts and says of each."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
import statsmodels.api as sm
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy import stats
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from causalkit.datasets import (
    make_reward_groups,
    make_reward_instrument,
    make_reward_linear,
    make_reward_two_by_two,
)
from causalkit.exceptions import MethodNotApplicableError, OverlapWarning, UnseenLevelError, WeakInstrumentWarning
from causalkit.rewards import RewardDeconfounder
from tests.rewards.test_deconfounder import log

Array = NDArray[np.float64]
pytestmark = [
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.BadControlWarning"),
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.AdditivityWarning"),
]


# ---------------------------------------------------------------------- fixed effects


def crossed() -> tuple[Array, Array, pd.DataFrame]:
    """Two factors in two connected sets: authors a-c write in months 1-2, d-e in months 3-4."""
    rng = np.random.default_rng(0)
    second = rng.integers(0, 2, 160)
    author = np.where(second == 0, rng.integers(0, 3, 160), 3 + rng.integers(0, 2, 160))
    month = np.where(second == 0, rng.integers(1, 3, 160), rng.integers(3, 5, 160))
    X = rng.normal(size=(160, 2)) + author[:, None] * [0.4, -0.1]
    y = X @ [1.0, -0.5] + author + 0.5 * month + rng.normal(size=160)
    return X, y, pd.DataFrame({"author": np.array(list("abcde"))[author], "month": month})


def test_fixed_effects_equal_least_squares_with_dummies() -> None:
    X, y, C = crossed()
    dummies = np.hstack([np.asarray(pd.get_dummies(C[name]), dtype=float) for name in C])
    design = np.hstack([X, dummies])
    theta = np.linalg.lstsq(design, y, rcond=None)[0]
    residual = y - design @ theta
    fit = RewardDeconfounder(method="fixed_effects", categorical=["author", "month"]).fit(X, y, confounders=C)
    assert_allclose(fit.coef_, theta[:2], rtol=1e-9)
    # R̂ = r̂(x) + ê.
    assert_allclose(fit.adjusted_reward_, fit.predict(X) + residual, atol=1e-9)
    rank = np.linalg.matrix_rank(dummies)
    assert fit.n_absorbed_ == rank == 7
    assert fit.degrees_of_freedom_ == 160 - rank - 2
    assert_allclose(fit.residual_variance_, (residual**2).sum() / (160 - rank - 2), rtol=1e-9)
    left = X - dummies @ np.linalg.lstsq(dummies, X, rcond=None)[0]
    plain = sm.OLS(residual + left @ theta[:2], left).fit(cov_type="HC0").cov_params()
    assert_allclose(fit.covariance_, plain * 160 / (160 - rank - 2), rtol=1e-8)
    frame = fit.level_effects_
    assert list(frame.columns) == ["factor", "level", "n", "effect", "se", "shrinkage", "connected_set"]
    assert frame.groupby("factor")["n"].sum().tolist() == [160, 160]
    by_author = frame[frame["factor"] == "author"].set_index("level")["connected_set"]
    assert by_author["a"] == by_author["b"] == by_author["c"] != by_author["d"] == by_author["e"]


def test_rows_across_connected_sets_are_not_comparable() -> None:
    X, y, C = crossed()
    fit = RewardDeconfounder(method="fixed_effects", categorical=["author", "month"]).fit(X, y, confounders=C)
    new = pd.DataFrame({"author": ["a", "a", "d"], "month": [1, 4, 3]})
    with pytest.raises(
        UnseenLevelError, match=r"row 1 combines levels of connected sets . and ., whose effects are not"
    ):
        fit.confounder_effect(new)
    value = fit.confounder_effect(new.iloc[[0, 2]])
    effects = fit.level_effects_.set_index(["factor", "level"])["effect"]
    expected = [effects["author", a] + effects["month", m] for a, m in (("a", 1), ("d", 3))]
    assert_allclose(value[0] - value[1], expected[0] - expected[1], rtol=1e-10)
    # Within a set, differences are those of least squares with dummies.
    dummies = np.hstack([np.asarray(pd.get_dummies(C[name]), dtype=float) for name in C])
    beta = np.linalg.lstsq(np.hstack([X, dummies]), y, rcond=None)[0][2:]
    gaps = fit.confounder_effect(pd.DataFrame({"author": ["a", "b"], "month": [1, 2]}))
    assert_allclose(gaps[0] - gaps[1], beta[0] + beta[5] - beta[1] - beta[6], rtol=1e-8)
    assert_allclose(fit.transform(X, y, confounders=C), y - fit.confounder_effect(C), atol=1e-10)
    with pytest.raises(MethodNotApplicableError, match=r"crossed level effects have no closed form.*interactions="):
        fit.confounder_effect(new.iloc[:1], return_std=True)


def test_new_rows_of_one_factor_are_adjusted_by_the_level_means() -> None:
    X, y, C = log(1)
    fit = RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=C[["author"]])
    # With own-group means the two ways agree to rounding: nothing was held out.
    assert_allclose(fit.transform(X, y, confounders=C[["author"]]), fit.adjusted_reward_, atol=1e-10)
    means = y.groupby(C["author"]).mean() - X.groupby(C["author"]).mean() @ fit.coef_
    effects = fit.level_effects_.set_index("level")["effect"]
    assert_allclose(effects[means.index], means, rtol=1e-9)
    _, std = fit.confounder_effect(C[["author"]], return_std=True)
    levels = fit.level_effects_.set_index("level")["se"]
    assert_allclose(std, levels[C["author"]], rtol=1e-12)
    # SE² = σ̂²/n_g + X̄_g'V X̄_g.
    centred = X.groupby(C["author"]).mean() - X.mean()
    counts = C["author"].value_counts()[centred.index]
    expected = fit.residual_variance_ / counts + np.einsum("ij,jk,ik->i", centred, fit.covariance_, centred)
    assert_allclose(levels[centred.index], np.sqrt(expected), rtol=1e-9)


def test_leaving_the_row_itself_out_of_its_level() -> None:
    X, y, C = log(2, 60)
    author = C[["author"]]
    fit = RewardDeconfounder(method="fixed_effects", leave_one_out=True).fit(X, y, confounders=author)
    gap = (y - X @ fit.coef_).to_numpy()
    expected = np.empty(60)
    for i in range(60):  # brute force: the mean of the others of the level
        others = (author["author"] == author["author"].iloc[i]).to_numpy() & (np.arange(60) != i)
        expected[i] = gap[i] - gap[others].mean()
    adjusted = (X @ fit.coef_).to_numpy() + expected
    assert_allclose(fit.adjusted_reward_, adjusted - adjusted.mean() + y.mean(), atol=1e-9)
    assert np.abs(fit.transform(X, y, confounders=author) - fit.adjusted_reward_).max() > 1e-3


def test_cross_fitted_and_full_sample_adjustments_differ() -> None:
    X, y, C = log(3)
    for method, differs in (("partially_linear", True), ("outcome_only", True), ("fixed_effects", False)):
        confounders = C if differs else C[["author"]]
        fit = RewardDeconfounder(method=method, random_state=0)
        together = fit.fit_transform(X, y, confounders=confounders)
        assert_array_equal(together, fit.adjusted_reward_)
        gap = np.abs(together - fit.transform(X, y, confounders=confounders)).max()
        assert gap > 1e-3 if differs else gap < 1e-9
        together[:] = 0  # a copy
        assert fit.adjusted_reward_.any()


def test_clusters_of_fixed_effects() -> None:
    X, y, C = log(4)
    groups = np.arange(400) // 8
    dummies = np.asarray(pd.get_dummies(C["author"]), dtype=float)
    left = X.to_numpy() - dummies @ np.linalg.lstsq(dummies, X.to_numpy(), rcond=None)[0]
    fit = RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=C[["author"]], groups=groups)
    model = sm.OLS(y.to_numpy() - dummies @ np.linalg.lstsq(dummies, y, rcond=None)[0], left)
    cov = model.fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}).cov_params()
    assert_allclose(fit.covariance_, cov * 50 / 49 * 400 / (400 - 5 - 3), rtol=1e-8)
    assert_allclose(fit.inference().cov, fit.covariance_, rtol=1e-6)


# ---------------------------------------------------------------------- shrunk effects


@pytest.mark.parametrize("method", ["mixed", "mundlak"])
def test_shrunk_effects_beat_raw_ones_and_leave_the_coefficients(method: str) -> None:
    sample = make_reward_groups(300, 2, random_state=0)
    raw = RewardDeconfounder(method="fixed_effects").fit(sample.X, sample.y, confounders=sample.confounders)
    fit = RewardDeconfounder(method=method).fit(sample.X, sample.y, confounders=sample.confounders)
    assert_allclose(fit.coef_, raw.coef_, rtol=1e-9)
    assert_allclose(fit.covariance_, raw.covariance_, rtol=1e-9)
    error = [
        np.sqrt(np.mean((f.confounder_effect(sample.confounders) - sample.confounder_effect) ** 2)) for f in (raw, fit)
    ]
    assert error[1] < error[0]
    frame = fit.level_effects_
    assert ((frame["shrinkage"] > 0) & (frame["shrinkage"] < 1)).all()
    assert fit.variance_components_["residual"] == pytest.approx(1, rel=0.2)
    if method == "mixed":  # λ_g = σ²_α/(σ²_α + σ²/n_g)
        sigma2, level = fit.variance_components_["residual"], fit.variance_components_["levels"]
        assert level == pytest.approx(4, rel=0.3)
        assert_allclose(frame["shrinkage"], level / (level + sigma2 / 2), rtol=1e-9)
    else:
        assert fit.variance_components_["levels_and_texts"].pvalue < 1e-6


def test_unseen_levels_get_a_prior() -> None:
    sample = make_reward_groups(100, 5, random_state=1)
    new = make_reward_groups(30, 5, random_state=2)
    names = pd.DataFrame({"author": [f"new {k}" for k in np.repeat(np.arange(30), 5)]})
    mixed = RewardDeconfounder(method="mixed").fit(sample.X, sample.y, confounders=sample.confounders)
    value, std = mixed.confounder_effect(names, return_std=True)
    effects = mixed.level_effects_
    # The prior is the mean of the effects: nothing, up to how the effects of the rows are centred.
    assert_allclose(value, 0, atol=0.02)
    assert_allclose(std, np.sqrt(mixed.variance_components_["levels"]), rtol=1e-9)
    assert_allclose(mixed.transform(new.X, new.y, confounders=names), new.y - value, atol=1e-10)
    mundlak = RewardDeconfounder(method="mundlak").fit(sample.X, sample.y, confounders=sample.confounders)
    adjusted = mundlak.transform(new.X, new.y, confounders=names)
    found = (new.y - adjusted).reshape(30, 5)
    assert_allclose(found, np.repeat(found[:, :1], 5, axis=1), atol=1e-10)  # one value per unseen author
    # It is a line in the mean texts of the author, so it knows something of the effect; "mixed" knows nothing.
    assert np.corrcoef(found[:, 0], new.confounder_effect[::5])[0, 1] > 0.6
    table = pd.DataFrame(sample.X).groupby(np.asarray(sample.confounders["author"]))
    design = sm.add_constant(table.mean().to_numpy())
    raw = RewardDeconfounder(method="fixed_effects").fit(sample.X, sample.y, confounders=sample.confounders)
    line = np.linalg.lstsq(design, raw.level_effects_["effect"], rcond=None)[0]
    means = sm.add_constant(new.X.reshape(30, 5, 4).mean(axis=1), has_constant="add")
    assert_allclose(found[:, 0] - found[0, 0], (means - means[0]) @ line, atol=1e-8)
    for fit in (mixed, mundlak):
        both = pd.DataFrame({"author": [sample.confounders["author"].iloc[0], "unknown"]})
        assert np.isfinite(fit.transform(sample.X[:2], sample.y[:2], confounders=both)).all()
        assert fit.confounder_effect(both)[0] == pytest.approx(fit.confounder_effect(both.iloc[:1])[0])
    assert effects["level"].is_unique


@pytest.mark.parametrize(
    "method", ["partially_linear", "fixed_effects", "linear_control", "weighting", "standardization"]
)
def test_unseen_levels_are_refused_elsewhere(method: str) -> None:
    X, y, C = log(5)
    fit = RewardDeconfounder(method=method, random_state=0).fit(X, y, confounders=C[["author"]])
    new = pd.DataFrame({"author": ["a1", "zoe", "zoe"]})
    words = (
        r"'author' has levels unseen in fit: zoe \(2 rows\)\. Use method=\"mixed\", which gives unseen levels a prior"
    )
    for call in (
        lambda: fit.confounder_effect(new),
        lambda: fit.transform(X[:3], y[:3], confounders=new),
        lambda: fit.score(X[:3], y[:3], confounders=new),
    ):
        with pytest.raises(UnseenLevelError, match=words):
            call()


# ---------------------------------------------------------------------- instruments


def test_instrument_is_two_stage_least_squares() -> None:
    sample = make_reward_instrument(1000, random_state=0)
    fit = RewardDeconfounder(method="instrument")
    fit.fit(sample.X, sample.y, confounders=sample.confounders, instruments=sample.instruments)
    n, C, Z = 1000, sample.confounders.to_numpy(), sample.instruments.to_numpy()
    A, B = (np.column_stack([np.ones(n), sample.X, columns]) for columns in (C, Z))
    beta = np.linalg.solve(B.T @ A, B.T @ sample.y)
    residual = sample.y - A @ beta
    inverse = np.linalg.inv(B.T @ A)
    cov = inverse @ (B * residual[:, None]).T @ (B * residual[:, None]) @ inverse.T
    assert_allclose(fit.coef_, beta[1:5], rtol=1e-8)
    assert_allclose(fit.covariance_, cov[1:5, 1:5], rtol=1e-7)
    value, std = fit.confounder_effect(np.array([[0.0], [1.0], [3.0]]), return_std=True)
    assert_allclose(np.diff(value), beta[5] * np.array([1, 2]), rtol=1e-8)
    assert_allclose(std, np.abs(np.array([0, 1, 3]) - C.mean()) * np.sqrt(cov[5, 5]), rtol=1e-6)
    assert_allclose(fit.adjusted_reward_, sample.y - beta[5] * (C[:, 0] - C.mean()), atol=1e-8)
    assert_allclose(fit.transform(sample.X, sample.y, confounders=sample.confounders), fit.adjusted_reward_, atol=1e-8)
    frame = fit.first_stage_
    assert frame.index.tolist() == list(sample.confounders.columns)
    assert frame["f"].iloc[0] > 100
    assert fit.anderson_rubin_.pvalue(2.0) > 0.001
    ((low, high),) = fit.anderson_rubin_.confidence_set(0.95).intervals
    for edge in (low, high):
        assert fit.anderson_rubin_.pvalue(edge) == pytest.approx(0.05, abs=1e-9)
    assert low < beta[5] < high
    assert "net of the path through it" in repr(fit.summary())


def test_instrument_recovers_what_least_squares_does_not() -> None:
    sample = make_reward_instrument(20_000, random_state=1)
    fit = RewardDeconfounder(method="instrument")
    fit.fit(sample.X, sample.y, confounders=sample.confounders, instruments=sample.instruments)
    se = np.sqrt(np.diag(fit.covariance_))
    assert_allclose(se, np.sqrt(1.64 / 20_000), rtol=0.1)
    assert (np.abs(fit.coef_ - sample.theta) < 4 * se).all()
    wrong = RewardDeconfounder(method="linear_control").fit(sample.X, sample.y, confounders=sample.confounders)
    assert_allclose(wrong.coef_, [0.7867, 0.66, -0.75, 0], atol=0.03)


def test_other_confounders_beside_the_endogenous_one() -> None:
    sample = make_reward_instrument(2000, random_state=2)
    name = sample.confounders.columns[0]
    author = np.random.default_rng(2).integers(0, 3, 2000)
    C = sample.confounders.assign(author=author.astype(str))
    fit = RewardDeconfounder(method="instrument", endogenous=[name])
    fit.fit(sample.X, sample.y + author, confounders=C, instruments=sample.instruments)
    effect = fit.confounder_effect(pd.DataFrame({name: [0.0, 0.0, 1.0], "author": ["0", "2", "0"]}))
    assert effect[1] - effect[0] == pytest.approx(2, abs=0.2)
    assert effect[2] - effect[0] == pytest.approx(2, abs=0.15)


def test_weak_instruments_are_warned_of_and_their_set_is_unbounded() -> None:
    rng = np.random.default_rng(3)
    n = 500
    C, X = rng.normal(size=n), rng.normal(size=(n, 2))
    y = X[:, 0] + C + rng.normal(size=n)
    with pytest.warns(
        WeakInstrumentWarning, match=r"weak instruments for price \(F = .*Anderson-Rubin set, which may be"
    ):
        fit = RewardDeconfounder(method="instrument").fit(
            X, y, confounders=pd.DataFrame({"price": C}), instruments=rng.normal(size=n)
        )
    assert "inf" in repr(fit.anderson_rubin_.confidence_set(0.95)).lower().replace("∞", "inf")


# ---------------------------------------------------------------------- weighting


def two_levels(seed: int, n: int, shift: float) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    c = (rng.random(n) < 0.5).astype(int)
    X = rng.normal(size=(n, 2)) + shift * c[:, None] * [1.0, -0.5]
    return X, X @ [1.0, 0.5] + 2 * c + rng.normal(size=n), c.astype(str)


@pytest.mark.filterwarnings("ignore::causalkit.exceptions.OverlapWarning")
@pytest.mark.parametrize(("shift", "low", "covered"), [(0.6, 0.7, 0.85), (1.2, 0.65, 0.8)])
def test_errors_of_weighting_match_the_spread(shift: float, low: float, covered: float) -> None:
    """Mean standard error over the standard deviation of 60 estimates, which is known to ±.09.

    Binomial(60, .95) is at least 51 with probability .998. Where a few rows carry the estimate (an effective size of
    .45 n) errors that account for the estimated weights are a tenth or two too small.
    """
    coefs, errors, sizes = [], [], []
    for seed in range(60):
        X, y, c = two_levels(seed, 600, shift)
        fit = RewardDeconfounder(method="weighting", cv=2, random_state=0).fit(X, y, confounders=c)
        coefs.append(fit.coef_)
        errors.append(np.sqrt(np.diag(fit.covariance_)))
        sizes.append(fit.balance_["effective_sample_size"] / 600)
    ratio = np.mean(errors, axis=0) / np.std(coefs, axis=0, ddof=1)
    assert (ratio > low).all()
    assert (ratio < 1.3).all()
    assert (np.mean(np.abs(np.array(coefs) - [1, 0.5]) < 1.96 * np.array(errors), axis=0) >= covered).all()
    assert (np.mean(sizes) > 0.8) == (shift < 1)


def test_weighting_is_weighted_least_squares_and_level_means() -> None:
    X, y, c = two_levels(7, 600, 0.6)
    fit = RewardDeconfounder(method="weighting", random_state=0).fit(X, y, confounders=c)
    w = fit.weights_
    reference = sm.WLS(y, sm.add_constant(X), weights=w).fit(cov_type="HC0")
    assert_allclose(fit.coef_, reference.params[1:], rtol=1e-8)
    means = [np.average(y[c == level], weights=w[c == level]) for level in "01"]
    low, high = fit.confounder_effect(np.array(["0", "1"]))
    assert_allclose(high - low, means[1] - means[0], rtol=1e-9)
    assert_allclose(fit.adjusted_reward_.mean(), y.mean(), rtol=1e-12)
    assert "account for the estimated weights" in repr(fit.summary())
    # A classifier of the user's: weights as known, the plain sandwich of the weighted regression.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=100.0, max_iter=1000))
    own = RewardDeconfounder(method="weighting", confounder_model=model, random_state=0).fit(X, y, confounders=c)
    assert_allclose(own.coef_, fit.coef_, rtol=1e-9)
    assert_allclose(own.covariance_, reference.cov_params()[1:, 1:], rtol=1e-6)
    assert "taken as known" in repr(own.summary())
    capped = RewardDeconfounder(method="weighting", max_weight=1.2, random_state=0).fit(X, y, confounders=c)
    assert capped.weights_.max() < w.max()
    assert capped.diagnostics().effective_sample_size > fit.diagnostics().effective_sample_size


def test_weighting_on_the_sampled_table() -> None:
    sample = make_reward_two_by_two(4000, random_state=0)
    fit = RewardDeconfounder(method="weighting", random_state=0).fit(sample.X, sample.y, confounders=sample.confounders)
    assert abs(fit.coef_[0] - 1) < 4 * np.sqrt(fit.covariance_[0, 0])
    value, std = fit.confounder_effect(pd.DataFrame({"audience": [0, 1]}), return_std=True)
    assert abs(value[1] - value[0] - 3) < 4 * np.hypot(*std)


# ---------------------------------------------------------------------- standardization


def by_level(seed: int = 8, n: int = 1500) -> tuple[Array, Array, NDArray[Any]]:
    """What a feature is worth differs over three authors."""
    rng = np.random.default_rng(seed)
    author = rng.integers(0, 3, n)
    X = rng.normal(size=(n, 2)) + 0.3 * author[:, None]
    slopes = np.array([[1.0, 0.5], [0.0, 0.5], [2.0, -1.0]])[author]
    return X, (X * slopes).sum(axis=1) + author + 0.5 * rng.normal(size=n), np.array(["a", "b", "c"])[author]


def test_standardization_averages_over_the_target_confounders() -> None:
    X, y, author = by_level()
    target = np.array(["a"] * 5 + ["c"] * 15)
    for given, share in ((None, [np.mean(author == k) for k in "abc"]), (target, [0.25, 0.0, 0.75])):
        fit = RewardDeconfounder(method="standardization", penalty=1e-8)
        fit.fit(X, y, confounders=author, target_confounders=given)
        # Brute force: least squares by author, averaged.
        lines = [LinearRegression().fit(X[author == k], y[author == k]) for k in "abc"]
        expected = sum(s * line.predict(X) for s, line in zip(share, lines, strict=True))
        assert_allclose(fit.predict(X), expected, atol=1e-6)
        assert_allclose(fit.coef_, sum(s * line.coef_ for s, line in zip(share, lines, strict=True)), atol=1e-6)
        own = np.choose(np.searchsorted(list("abc"), author), [line.predict(X) for line in lines])
        assert_allclose(fit.adjusted_reward_, y - own + expected, atol=1e-6)
        assert_allclose(fit.transform(X, y, confounders=author), fit.adjusted_reward_, atol=1e-6)
    assert (np.abs(fit.coef_ - [1.75, -0.625]) < 4 * np.sqrt(np.diag(fit.covariance_))).all()


def test_standardization_with_a_model_of_the_users_own() -> None:
    X, y, author = by_level(9, 600)
    target = np.array(["a", "c", "c", "c"])
    model = make_pipeline(PolynomialFeatures(2, interaction_only=True), LinearRegression())
    fit = RewardDeconfounder(method="standardization", outcome_model=model, random_state=0)
    fit.fit(X, y, confounders=author, target_confounders=target)
    columns = np.asarray(pd.get_dummies(author), dtype=float)
    fitted = make_pipeline(PolynomialFeatures(2, interaction_only=True), LinearRegression())
    fitted.fit(np.hstack([X, columns]), y)
    expected = np.mean(
        [
            fitted.predict(np.hstack([X, np.tile(row, (600, 1))]))
            for row in ([1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1])
        ],
        axis=0,
    )
    assert_allclose(fit.predict(X), expected, atol=1e-8)
    together = fitted.predict(np.hstack([X, columns]))
    assert_allclose(fit.transform(X, y, confounders=author), y - together + expected, atol=1e-8)
    assert_allclose(fit.coef_, [1.75, -0.625], atol=0.15)
    # The rows of the fit are adjusted out of fold, and the coefficients are their linear projection.
    assert 1e-4 < np.abs(fit.transform(X, y, confounders=author) - fit.adjusted_reward_).max() < 1
    line = LinearRegression().fit(X, fit.adjusted_reward_)
    assert_allclose(fit.coef_, line.coef_, rtol=1e-9)
    boosted = RewardDeconfounder(
        method="standardization", outcome_model=HistGradientBoostingRegressor(max_iter=30), random_state=0
    ).fit(X, y, confounders=author)
    again = RewardDeconfounder(
        method="standardization", outcome_model=HistGradientBoostingRegressor(max_iter=30), random_state=0
    ).fit(X, y, confounders=author)
    assert_array_equal(boosted.predict(X), again.predict(X))


def test_standardization_agrees_where_additivity_holds() -> None:
    sample = make_reward_linear(4000, random_state=10)
    fit = RewardDeconfounder(method="standardization", random_state=0)
    fit.fit(sample.X, sample.y, confounders=sample.confounders)
    se = np.sqrt(np.diag(fit.covariance_))
    assert (np.abs(fit.coef_ - sample.theta) < 4 * se).all()
    assert_allclose(se, 1 / np.sqrt(4000), rtol=0.25)


# ---------------------------------------------------------------------- summaries, scores, searches

SAYS = {
    "partially_linear": ("Additivity", "Overlap", "Representation", "rows (or groups) are independent draws"),
    "fixed_effects": ("Additivity", "No unmeasured confounding given C"),
    "mixed": ("group effects as draws from one population", "not θ̂"),
    "mundlak": ("draws around a line in the mean texts",),
    "instrument": ("Instruments move Y only through the instrumented confounder and are relevant",),
    "weighting": ("every level possible for every text",),
    "standardization": ("Consistency: the logged outcome is the outcome of the text as published",),
    "none": ("baseline that is known to be biased",),
}


@pytest.mark.parametrize("method", SAYS)
def test_summaries_say_what_the_numbers_rest_on(method: str) -> None:
    X, y, C = log(11)
    C = C[["age"]] if method == "instrument" else C[["author"]] if method not in ("none",) else C
    X = X[["words"]] if method == "mundlak" else X
    instruments = C["age"] + np.random.default_rng(11).normal(size=400) if method == "instrument" else None
    fit = RewardDeconfounder(method=method, random_state=0).fit(X, y, confounders=C, instruments=instruments)
    shown = fit.summary()
    for words in SAYS[method]:
        assert words in repr(shown)
    assert ("Additivity" in repr(shown)) == (method != "standardization")
    assert f"method='{method}': 400 rows" in shown.notes[0]
    assert f"<li>{shown.assumptions[0]}</li>" in shown._repr_html_()
    table = shown.table
    assert_allclose(table.iloc[:, 0], fit.coef_, rtol=1e-12)
    assert_allclose(table.iloc[:, 1], np.sqrt(np.diag(fit.covariance_)), rtol=1e-6)
    # Every problem of the diagnostics is repeated.
    assert len([note for note in shown.notes if note.startswith("Warned: ")]) == len(fit.diagnostics().problems)


@pytest.mark.filterwarnings("ignore::causalkit.exceptions.NuisanceFitWarning")
@pytest.mark.parametrize("method", ["partially_linear", "fixed_effects", "standardization", "linear_control", "none"])
def test_searches_route_confounders_and_weights(method: str) -> None:
    X, y, C = log(12, 300)
    rng = np.random.default_rng(120)
    X = X.assign(**{f"noise{j}": rng.normal(size=300) for j in range(12)})
    weight, groups = rng.uniform(0.5, 2, 300), np.arange(300) // 3
    C = C if method != "fixed_effects" else C[["author"]]
    rows = {"confounders": C, "sample_weight": weight}
    grid = {"penalty": [0.001, 30.0, 1e6]}
    with sklearn.config_context(enable_metadata_routing=True):
        model = RewardDeconfounder(method=method, random_state=0)
        model.set_fit_request(confounders=True, sample_weight=True, groups=False)
        model.set_score_request(confounders=True, sample_weight=True)
        search = GridSearchCV(model, grid, cv=GroupKFold(3), error_score="raise")
        search.fit(X, y, groups=groups, **rows)
    for k, (train, test) in enumerate(GroupKFold(3).split(X, groups=groups)):
        for j, penalty in enumerate(grid["penalty"]):
            one = RewardDeconfounder(method=method, random_state=0, penalty=penalty)
            one.fit(X.iloc[train], y.iloc[train], confounders=C.iloc[train], sample_weight=weight[train])
            score = one.score(X.iloc[test], y.iloc[test], confounders=C.iloc[test], sample_weight=weight[test])
            assert search.cv_results_[f"split{k}_test_score"][j] == pytest.approx(score, rel=1e-9)
    # The penalty of "standardization" is on products with the confounders, of which there are none here.
    assert (search.best_params_["penalty"] < 1e6) == (method != "standardization")
    direct = RewardDeconfounder(method=method, random_state=0, **search.best_params_).fit(X, y, **rows)
    assert_array_equal(search.best_estimator_.coef_, direct.coef_)


def test_score_demeans_new_levels_within_themselves() -> None:
    sample = make_reward_groups(60, 5, random_state=3)
    new = make_reward_groups(40, 6, random_state=4)
    fit = RewardDeconfounder(method="mixed").fit(sample.X, sample.y, confounders=sample.confounders)
    names = pd.DataFrame({"author": [f"new {k}" for k in np.repeat(np.arange(40), 6)]})
    left, target = (z - np.repeat(z.reshape(40, 6, -1).mean(axis=1), 6, axis=0) for z in (new.X, new.y[:, None]))
    expected = 1 - ((target[:, 0] - left @ fit.coef_) ** 2).sum() / (target**2).sum()
    assert fit.score(new.X, new.y, confounders=names) == pytest.approx(expected, rel=1e-9)


def test_sensitivity_by_method() -> None:
    X, y, C = log(13)
    for method in ("partially_linear", "fixed_effects", "mixed", "outcome_only", "none"):
        fit = RewardDeconfounder(method=method, random_state=0).fit(X, y, confounders=C[["author"]])
        frame = fit.sensitivity(cf_y=0.1, cf_d=0.2)
        # |bias| ≤ √(cf_y cf_d/(1 - cf_d) σ² ν²), ν² the diagonal of Σ_U⁻¹.
        nu2 = np.diag(np.linalg.inv(fit.feature_residual_covariance_))
        gap = fit._parts.fits[0].residuals
        bound = np.sqrt(0.1 * 0.2 / 0.8 * np.mean(gap**2) * nu2)
        assert_allclose(frame["bound"], bound, rtol=1e-8)
        assert_allclose(frame["estimate"], fit.coef_, rtol=1e-12)
        assert_allclose(frame["se"], np.sqrt(np.diag(fit.covariance_)), rtol=1e-6)
    for method in ("weighting", "standardization", "invariance"):
        confounders = C[["author"]] if method != "invariance" else C["age"]
        fit = RewardDeconfounder(method=method, random_state=0).fit(X, y, confounders=confounders)
        with pytest.raises(MethodNotApplicableError, match=f'method="{method}" has none of: use "partially_linear"'):
            fit.sensitivity()


def test_linear_fits_warn_of_nothing_on_clean_data() -> None:
    rng = np.random.default_rng(14)
    author = rng.integers(0, 4, 500).astype(str)
    X = rng.normal(size=(500, 3))
    y = X[:, 0] + (author == "1") + rng.normal(size=500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in ("partially_linear", "fixed_effects", "mixed", "weighting", "standardization"):
            fit = RewardDeconfounder(method=method, random_state=0).fit(X, y, confounders=author)
            assert fit.diagnostics().ok
            assert stats.norm.sf(abs(fit.coef_[0] - 1) / np.sqrt(fit.covariance_[0, 0])) > 1e-4
    with pytest.warns(OverlapWarning, match=r"effective|predicted probability"):
        RewardDeconfounder(method="weighting", random_state=0).fit(
            *two_levels(0, 400, 6.0)[:2], confounders=two_levels(0, 400, 6.0)[2]
        )


@pytest.mark.parametrize(
    "splitter",
    [KFold(4), GroupKFold(4), [(np.arange(100, 400), np.arange(100)), (np.arange(100), np.arange(100, 400))]],
)
def test_splitters_of_every_method_that_splits(splitter: Any) -> None:
    X, y, C = log(15)
    for method in ("partially_linear", "outcome_only", "weighting", "standardization"):
        groups = np.arange(400) // 4 if isinstance(splitter, GroupKFold) else None
        fit = RewardDeconfounder(method=method, cv=splitter, random_state=0)
        fit.fit(X, y, confounders=C[["author"]], groups=groups)
        assert np.isfinite(fit.coef_).all()
