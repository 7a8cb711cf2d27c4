"""The partially linear reward: residual regression by hand, identities, errors, containers, texts, memory."""

from __future__ import annotations

import itertools
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline

from causalkit.crossfit import CrossFitter, Nuisance
from causalkit.datasets import make_reward_linear
from causalkit.exceptions import NuisanceFitWarning
from causalkit.rewards import PairwiseRewardModel, RewardDeconfounder, absorption, orthogonal, row_hashes
from causalkit.rewards.nuisances import RidgeOnBasis

Array = NDArray[np.float64]
THETA = np.array([1.0, 0.5, -0.75, 0.0])
LINES = {"outcome_model": LinearRegression(), "treatment_model": LinearRegression()}
pytestmark = [
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.BadControlWarning"),
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.AdditivityWarning"),
]


def log(seed: int = 0, n: int = 400) -> tuple[pd.DataFrame, pd.Series, pd.DataFrame]:
    """Features, outcome, and confounders of every kind."""
    rng = np.random.default_rng(seed)
    c, author, hour = rng.normal(size=n), rng.integers(0, 5, n), rng.uniform(0, 24, n)
    tide = np.sin(2 * np.pi * hour / 24)
    X = rng.normal(size=(n, 3)) + np.column_stack([0.8 * c, 0.5 * (author % 2) - 0.6 * c, tide])
    y = X @ [1.0, 0.5, -0.75] + c + 0.4 * author + 2 * tide + rng.normal(size=n)
    rows = [f"r{i}" for i in range(n)]
    return (
        pd.DataFrame(X, columns=["words", "links", "caps"], index=rows),
        pd.Series(y, name="shares", index=rows),
        pd.DataFrame({"age": c, "author": [f"a{k}" for k in author], "hour": hour}, index=rows),
    )


def residuals_by_hand(X: Array, y: Array, C: Array, splits: Any) -> tuple[Array, Array, Array, Array]:
    """Out-of-fold least squares of features and outcome on the confounders: X̃, Ỹ, m̂, ℓ̂."""
    m, level = np.empty_like(X), np.empty_like(y)
    for train, test in splits:
        m[test] = LinearRegression().fit(C[train], X[train]).predict(C[test])
        level[test] = LinearRegression().fit(C[train], y[train]).predict(C[test])
    return X - m, y - level, m, level


def folds(n: int, k: int = 4) -> list[tuple[Any, Any]]:
    return list(KFold(k, shuffle=True, random_state=3).split(np.zeros(n)))


# ---------------------------------------------------------------------- residuals on residuals


@pytest.mark.parametrize("kind", ["homoskedastic", "HC0", "HC1", "cluster"])
def test_coefficients_and_covariances_are_the_residual_regression_of_statsmodels(kind: str) -> None:
    sample = make_reward_linear(300, random_state=0)
    groups = np.random.default_rng(0).integers(0, 40, 300) if kind == "cluster" else None
    splits = folds(300)
    left, target, _, _ = residuals_by_hand(sample.X, sample.y, sample.confounders.to_numpy(), splits)
    fit = RewardDeconfounder(cv=splits, covariance=kind, **LINES)
    fit.fit(sample.X, sample.y, confounders=sample.confounders, groups=groups)
    model = sm.OLS(target, left)
    if kind == "cluster":
        cov = model.fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}).cov_params()
        cov = cov * 40 / 39
    else:
        cov = model.fit(cov_type="nonrobust" if kind == "homoskedastic" else kind).cov_params()
    assert_allclose(fit.coef_, model.fit().params, rtol=1e-9)
    assert_allclose(fit.covariance_, cov, rtol=1e-8)
    assert_allclose(fit.inference().cov, cov, rtol=1e-7)
    assert_allclose(fit.residual_variance_, model.fit().scale, rtol=1e-9)
    assert fit.degrees_of_freedom_ == 296
    assert_allclose(fit.feature_residual_covariance_, left.T @ left / 300, rtol=1e-9)


def test_covariance_is_chosen_by_the_data() -> None:
    X, y, C = log(1, 200)
    groups = np.arange(200) // 4

    def cov(**options: Any) -> Array:
        fit_groups = options.pop("groups", None)
        return (
            RewardDeconfounder(random_state=0, cv=4, **options).fit(X, y, confounders=C, groups=fit_groups).covariance_
        )

    assert_array_equal(cov(), cov(covariance="HC0"))
    assert_array_equal(cov(groups=groups), cov(groups=groups, covariance="cluster"))
    assert_array_equal(cov(method="fixed_effects"), cov(method="fixed_effects", covariance="HC1"))
    assert_array_equal(
        cov(method="fixed_effects", groups=groups), cov(method="fixed_effects", groups=groups, covariance="cluster")
    )
    assert_array_equal(cov(method="none"), cov(method="none", covariance="HC0"))


@pytest.mark.parametrize("options", [{}, {"n_repeats": 3}, {"penalty": 5.0}, {"n_repeats": 2, "penalty": "cv"}])
def test_identities_of_adjusted_rewards(options: dict[str, Any]) -> None:
    X, y, C = log(2)
    fit = RewardDeconfounder(random_state=0, **options).fit(X, y, confounders=C)
    # The mean of the adjusted rewards is that of the outcome, and they are y less the centred effect.
    assert_allclose(fit.adjusted_reward_.mean(), y.mean(), rtol=1e-12)
    assert_allclose(fit.confounder_effect_.mean(), 0, atol=1e-12)
    assert_allclose(fit.adjusted_reward_, y - fit.confounder_effect_, atol=1e-12)
    # The mean text has the mean outcome.
    assert_allclose(fit.predict(X), y.mean() + (X - X.mean()) @ fit.coef_, atol=1e-10)
    assert_allclose(fit.predict(X.mean().to_frame().T), y.mean(), rtol=1e-12)
    # Full-sample nuisances of new rows are centred over the training rows too, and are close to the out-of-fold ones.
    effect = fit.confounder_effect(C)
    assert_allclose(effect.mean(), 0, atol=1e-10)
    assert_allclose(fit.transform(X, y, confounders=C), y - effect, atol=1e-12)
    assert 0.01 < np.median(np.abs(effect - fit.confounder_effect_)) < 0.25


def test_confounder_effect_is_net_of_the_text() -> None:
    sample = make_reward_linear(300, random_state=3)
    splits, C = folds(300), sample.confounders.to_numpy()
    _, _, m, level = residuals_by_hand(sample.X, sample.y, C, splits)
    fit = RewardDeconfounder(cv=splits, **LINES).fit(sample.X, sample.y, confounders=sample.confounders)
    net = level - m @ fit.coef_
    assert_allclose(fit.confounder_effect_, net - net.mean(), atol=1e-10)
    full = LinearRegression().fit(C, sample.y).coef_ - LinearRegression().fit(C, sample.X).coef_.T @ fit.coef_
    new = np.array([[-1.0], [0.0], [2.5]])
    assert_allclose(fit.confounder_effect(new), ((new - C.mean()) * full)[:, 0], atol=1e-10)
    assert_allclose(fit.outcome_model_.coef_, LinearRegression().fit(C, sample.y).coef_, rtol=1e-10)
    assert_allclose(fit.treatment_model_.predict(C), LinearRegression().fit(C, sample.X).predict(C), rtol=1e-9)


def test_repeats_are_averaged_over_splits() -> None:
    sample = make_reward_linear(200, random_state=4)

    fit = RewardDeconfounder(n_repeats=3, random_state=0, cv=KFold(4, shuffle=True), **LINES)
    fit.fit(sample.X, sample.y, confounders=sample.confounders)
    C = sample.confounders.to_numpy()
    found = CrossFitter(cv=KFold(4, shuffle=True), n_repeats=3, random_state=fit._seed).predict(
        [Nuisance("outcome", LinearRegression(), sample.y, X=C)]
    )
    coefs, adjusted, scores = [], [], []
    for own in found.folds:
        left, target, m, level = residuals_by_hand(
            sample.X, sample.y, C, [(np.flatnonzero(own != k), np.flatnonzero(own == k)) for k in range(4)]
        )
        theta = np.linalg.lstsq(left, target, rcond=None)[0]
        coefs.append(theta)
        adjusted.append((level, m))
        scores.append((left * (target - left @ theta)[:, None]) @ np.linalg.inv(left.T @ left / 200))
    assert_allclose(fit.coef_, np.mean(coefs, axis=0), rtol=1e-9)
    assert_allclose(fit.repeat_sd_, np.std(coefs, axis=0, ddof=1), rtol=1e-7)
    net = np.mean([level - m @ fit.coef_ for level, m in adjusted], axis=0)
    assert_allclose(fit.confounder_effect_, net - net.mean(), atol=1e-9)
    influence = np.mean(scores, axis=0)
    assert_allclose(fit.covariance_, influence.T @ influence / 200**2, rtol=1e-7)


def test_penalty_by_the_out_of_fold_residual_loss() -> None:
    rng = np.random.default_rng(5)
    n, p = 80, 25
    c = rng.normal(size=n)
    X = rng.normal(size=(n, p)) + np.outer(c, rng.normal(size=p))
    y = X @ (0.3 * rng.normal(size=p)) + c + 2 * rng.normal(size=n)
    splits = folds(n)
    left, target, _, _ = residuals_by_hand(X, y, c[:, None], splits)
    grid = np.logspace(-6, 3, 25) * np.trace(left.T @ left / n) / p
    losses = [
        sum(
            (
                (
                    target[test]
                    - left[test]
                    @ np.linalg.solve(
                        left[train].T @ left[train] + ratio * len(train) * np.eye(p), left[train].T @ target[train]
                    )
                )
                ** 2
            ).sum()
            for train, test in splits
        )
        for ratio in grid
    ]
    best = int(np.argmin(losses))
    assert 0 < best < 24
    fit = RewardDeconfounder(penalty="cv", cv=splits, **LINES).fit(X, y, confounders=c)
    assert_allclose(fit.penalty_, grid[best] * n, rtol=1e-9)
    assert_allclose(fit.coef_, Ridge(fit.penalty_, fit_intercept=False).fit(left, target).coef_, rtol=1e-8)
    notes = repr(fit.summary())
    dimension = np.trace(np.linalg.solve(left.T @ left + fit.penalty_ * np.eye(p), left.T @ left))
    assert f"effective dimension {dimension:.3g} of 25" in notes
    assert "intervals are for the penalised coefficients" in notes


def test_heavy_ridge_turns_into_outcome_only() -> None:
    sample = make_reward_linear(300, random_state=6)
    fit = RewardDeconfounder(penalty=1e12, random_state=0, **LINES)
    fit.fit(sample.X, sample.y, confounders=sample.confounders)
    only = RewardDeconfounder(method="outcome_only", random_state=0, outcome_model=LinearRegression())
    only.fit(sample.X, sample.y, confounders=sample.confounders)
    assert_allclose(fit.adjusted_reward_, only.adjusted_reward_, atol=1e-6)


def test_groups_are_never_divided_between_folds() -> None:
    X, y, C = log(7, 120)
    groups = np.repeat(np.arange(30), 4)
    seen: list[NDArray[Any]] = []

    class Watching(RegressorMixin, BaseEstimator):
        """Keeps which rows it was fitted on, by their age."""

        def fit(self, C: Array, y: Array) -> Watching:
            self.mean_ = y.mean(axis=0)
            seen.append(C[:, 0])
            return self

        def predict(self, C: Array) -> Array:
            held_out = np.isin(C[:, 0], seen[-1], invert=True)
            if held_out.any():  # a fold, and not the fit to all rows
                inside = set(groups[np.isin(C0, C[:, 0])]) & set(groups[np.isin(C0, seen[-1])])
                assert not inside
            return np.full(len(C), self.mean_)

    C0 = C["age"].to_numpy()
    fit = RewardDeconfounder(outcome_model=Watching(), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NuisanceFitWarning)
        fit.fit(X, y, confounders=C[["age"]], groups=groups)
        assert sorted(len(rows) for rows in seen) == [96] * 5 + [120]
        again = RewardDeconfounder(cv=GroupKFold(5), random_state=0).fit(X, y, confounders=C[["age"]], groups=groups)
        plain = RewardDeconfounder(random_state=0).fit(X, y, confounders=C[["age"]], groups=groups)
    assert_allclose(again.coef_, plain.coef_, rtol=1e-12)


# ---------------------------------------------------------------------- simulated truth


def test_coefficients_have_the_right_errors() -> None:
    """70 logs of 500 rows; bands of four standard deviations of each quantity."""
    replicates, n = 70, 500
    coefs, errors = [], []
    for seed in range(replicates):
        sample = make_reward_linear(n, random_state=seed)
        fit = RewardDeconfounder(random_state=0, **LINES).fit(sample.X, sample.y, confounders=sample.confounders)
        coefs.append(fit.coef_)
        errors.append(np.sqrt(np.diag(fit.covariance_)))
    spread = np.std(coefs, axis=0, ddof=1)
    assert (np.abs(np.mean(coefs, axis=0) - THETA) < 4 * spread / np.sqrt(replicates)).all()
    # SE(θ̂_j) is 1/√n here.
    assert_allclose(np.mean(errors, axis=0), 1 / np.sqrt(n), rtol=0.05)
    assert_allclose(spread, 1 / np.sqrt(n), rtol=4 / np.sqrt(2 * replicates))
    assert (np.mean(np.abs(np.array(coefs) - THETA) < 1.96 * np.array(errors), axis=0) >= 60 / 70).all()


@pytest.mark.filterwarnings("ignore::causalkit.exceptions.NuisanceFitWarning")
def test_confounder_effects_have_the_right_errors() -> None:
    """40 logs of 2000 rows and default nuisances; binomial(40, .95) is at least 34 with probability .99."""
    at, gaps, errors = np.array([0.5, 1.0, 2.0]), [], []
    for seed in range(40):
        sample = make_reward_linear(2000, random_state=seed)
        fit = RewardDeconfounder(random_state=0, cv=3).fit(sample.X, sample.y, confounders=sample.confounders)
        value, std = fit.confounder_effect(at, return_std=True)
        # ĝ is centred at its mean over the rows of the fit, so the truth is too.
        gaps.append(value - 2 * (at - sample.confounders["popularity"].mean()))
        errors.append(std)
    assert_allclose(np.mean(errors, axis=0), np.std(gaps, axis=0, ddof=1), rtol=4 / np.sqrt(80))
    assert (np.mean(np.abs(gaps) < 1.96 * np.array(errors), axis=0) > 33 / 40).all()


def test_errors_with_other_learners_are_said_to_be_a_lower_bound() -> None:
    X, y, C = log(8, 200)
    fit = RewardDeconfounder(random_state=0, outcome_model=LinearRegression()).fit(X, y, confounders=C[["age"]])
    with pytest.warns(UserWarning, match="lower bound: they hold the noise of the coefficients only"):
        _, std = fit.confounder_effect(C[["age"]], return_std=True)
    m = fit.treatment_model_.predict(C[["age"]].to_numpy())
    m = m - m.mean(axis=0)
    assert_allclose(std, np.sqrt(np.einsum("ij,jk,ik->i", m, fit.covariance_, m)), rtol=1e-6)


def test_smoother_errors_add_their_parts() -> None:
    X, y, C = log(9, 200)
    fit = RewardDeconfounder(random_state=0).fit(X, y, confounders=C)
    _, std = fit.confounder_effect(C, return_std=True)
    codes = np.column_stack([C["age"], C["hour"], C["author"].str[1:].astype(int)])
    assert isinstance(fit.outcome_model_, RidgeOnBasis)
    m = fit.treatment_model_.predict(codes)
    m = m - m.mean(axis=0)
    expected = np.einsum("ij,jk,ik->i", m, fit.covariance_, m)
    expected += fit.residual_variance_ * fit.outcome_model_.squared_smoother_norm(codes)
    # Unequal penalties: the weights of each regression, built in full.
    B = fit.outcome_model_.basis_.transform(codes)
    B = B - B.mean(axis=0)
    gram = B.T @ B
    weights = {
        alpha: B @ np.linalg.pinv(gram + alpha * np.eye(len(gram)), rcond=1e-13) @ B.T
        for alpha in {*fit.outcome_model_.alpha_, *fit.treatment_model_.alpha_}
    }
    own = weights[fit.outcome_model_.alpha_[0]]
    gaps = [theta * (own - weights[a]) for theta, a in zip(fit.coef_, fit.treatment_model_.alpha_, strict=True)]
    for j, k in itertools.product(range(len(gaps)), repeat=2):
        expected += fit.feature_residual_covariance_[j, k] * (gaps[j] * gaps[k]).sum(axis=1)
    assert len(weights) > 1
    assert_allclose(std, np.sqrt(expected), rtol=1e-6)


# ---------------------------------------------------------------------- rewards of new content, pairs


def test_reward_and_pair_errors() -> None:
    X, y, C = log(10)
    fit = RewardDeconfounder(random_state=0, n_repeats=2).fit(X, y, confounders=C)
    new = log(11, 30)[0]
    reward, std = fit.predict(new, return_std=True)
    centred = new.to_numpy() - X.to_numpy().mean(axis=0)
    assert_allclose(reward, y.mean() + centred @ fit.coef_, rtol=1e-10)
    assert_allclose(std, np.sqrt(np.diag(centred @ fit.covariance_ @ centred.T)), rtol=1e-9)
    pairs = fit.pair_inference(new[:15], new[15:])
    q = new[:15].to_numpy() - new[15:].to_numpy()
    assert_allclose(pairs.estimate, q @ fit.coef_, rtol=1e-9)
    assert_allclose(pairs.estimate, reward[:15] - reward[15:], atol=1e-10)
    assert_allclose(pairs.cov, q @ fit.covariance_ @ q.T, atol=1e-12)
    assert list(fit.inference().summary().index) == ["words", "links", "caps"]


def test_support_and_quantiles_of_the_training_texts() -> None:
    X, y, C = log(12)
    fit = RewardDeconfounder(random_state=0).fit(X, y, confounders=C)
    centred = X.to_numpy() - X.to_numpy().mean(axis=0)
    assert_allclose(fit.feature_covariance_, np.cov(X.T, bias=True), rtol=1e-10)
    distance = np.sqrt(np.einsum("ij,jk,ik->i", centred, np.linalg.inv(np.cov(X.T, bias=True)), centred))
    assert_allclose(fit.support_radius_, np.quantile(distance, 0.999), rtol=0.02)
    assert fit.support_radius_ <= distance.max() * (1 + 1e-9)
    assert_allclose(fit.reward_quantiles_, np.quantile(fit.predict(X), np.linspace(0, 1, 1001)), rtol=1e-10)


def test_pairwise_final_model_ranks_and_has_intervals() -> None:
    X, y, C = log(13)
    head = PairwiseRewardModel(random_state=0)
    prompts = np.arange(400) // 4
    fit = RewardDeconfounder(final_model=head, random_state=0).fit(X, y, confounders=C, prompts=prompts)
    direct = PairwiseRewardModel(random_state=0).fit(X.to_numpy(), fit.adjusted_reward_, prompts=prompts)
    assert_allclose(fit.final_model_.coef_, direct.coef_, rtol=1e-12)
    assert not hasattr(head, "coef_")
    reward, std = fit.predict(X, return_std=True)
    assert_allclose(reward, direct.predict(X.to_numpy()), atol=1e-12)
    centred = X.to_numpy() - X.to_numpy().mean(axis=0)
    assert_allclose(std, np.sqrt(np.einsum("ij,jk,ik->i", centred, direct.covariance_, centred)), rtol=1e-8)
    pairs = fit.pair_inference(X[:5], X[5:10])
    assert_allclose(pairs.estimate, reward[:5] - reward[5:10], atol=1e-10)
    assert_allclose(fit.reward_quantiles_[[0, -1]], [reward.min(), reward.max()], rtol=1e-10)
    linear = RewardDeconfounder(random_state=0).fit(X, y, confounders=C)
    assert_array_equal(fit.coef_, linear.coef_)


def test_score_is_the_share_of_residual_outcome_explained() -> None:
    sample, new = make_reward_linear(500, random_state=14), make_reward_linear(300, random_state=15)
    fit = RewardDeconfounder(random_state=0, **LINES).fit(sample.X, sample.y, confounders=sample.confounders)
    C, D = sample.confounders.to_numpy(), new.confounders.to_numpy()
    left = new.X - LinearRegression().fit(C, sample.X).predict(D)
    target = new.y - LinearRegression().fit(C, sample.y).predict(D)
    weight = np.random.default_rng(14).integers(0, 4, 300).astype(float)
    for w in (np.ones(300), weight):
        expected = 1 - (w @ (target - left @ fit.coef_) ** 2) / (w @ target**2)
        found = fit.score(new.X, new.y, confounders=new.confounders, sample_weight=w)
        assert_allclose(found, expected, rtol=1e-10)


# ---------------------------------------------------------------------- confounders of every kind


def test_interactions_are_a_joined_column() -> None:
    X, y, C = log(16, 600)
    C = C.assign(part=np.where(C["hour"] < 12, "am", "pm"), hour=0.0).drop(columns="hour")
    joined = C.assign(cell=C["author"] + "/" + C["part"]).drop(columns=["author", "part"])
    for options in ({}, {"method": "fixed_effects"}, {"method": "mixed"}, {"method": "outcome_only"}):
        one = RewardDeconfounder(interactions=[("author", "part")], random_state=0, **options)
        two = RewardDeconfounder(random_state=0, **options)
        one.fit(X, y, confounders=C)
        two.fit(X, y, confounders=joined)
        assert_allclose(one.coef_, two.coef_, rtol=1e-10)
        assert_allclose(one.adjusted_reward_, two.adjusted_reward_, atol=1e-9)
        assert_allclose(one.confounder_effect(C[:20]), two.confounder_effect(joined[:20]), atol=1e-9)
    assert one.confounder_names_.tolist() == ["age", "author", "part"]


def test_cyclic_confounders() -> None:
    X, y, C = log(17, 800)
    fit = RewardDeconfounder(cyclic={"hour": 24}, random_state=0).fit(X, y, confounders=C)
    moved = RewardDeconfounder(cyclic={"hour": 24}, random_state=0).fit(
        X, y, confounders=C.assign(hour=C["hour"] + 240)
    )
    assert_allclose(fit.coef_, moved.coef_, rtol=1e-8)
    grid = C.iloc[[0] * 5].assign(hour=[0.0, 24.0, 48.0, 6.0, 30.0])
    effect = fit.confounder_effect(grid)
    assert_allclose(effect[1:3], effect[0], atol=1e-9)
    assert_allclose(effect[4], effect[3], atol=1e-9)
    # The effect is 2 sin(2π hour/24), of which the default nuisance recovers the course.
    hours = np.arange(0, 24, 3.0)
    course = fit.confounder_effect(C.iloc[[0] * 8].assign(hour=hours))
    assert_allclose(course - course.mean(), 2 * np.sin(2 * np.pi * hours / 24), atol=0.6)


def test_missing_levels_are_levels() -> None:
    X, y, C = log(18)
    gaps = C.assign(author=C["author"].where(C["author"] != "a3"))
    for options in ({}, {"method": "fixed_effects"}):
        one = RewardDeconfounder(random_state=0, **options).fit(X, y, confounders=C)
        two = RewardDeconfounder(random_state=0, **options).fit(X, y, confounders=gaps)
        assert_allclose(one.coef_, two.coef_, rtol=1e-8)
        assert_allclose(one.confounder_effect(C), two.confounder_effect(gaps), atol=1e-8)


def test_many_targets_for_a_learner_of_one() -> None:
    X, y, C = log(19, 150)
    boosting = HistGradientBoostingRegressor(max_iter=5)
    options = {"outcome_model": boosting, "treatment_model": boosting, "random_state": 0}
    C = C[["author"]]
    fits = [RewardDeconfounder(**options).fit(X, y, confounders=C) for _ in range(2)]
    assert_array_equal(fits[0].coef_, fits[1].coef_)
    assert_array_equal(fits[0].confounder_effect(C), fits[1].confounder_effect(C))
    single = RewardDeconfounder(**options).fit(X[["words"]], y, confounders=C)
    assert single.coef_.shape == (1,)


# ---------------------------------------------------------------------- containers and types


@pytest.mark.parametrize("options", [{}, {"method": "fixed_effects"}, {"method": "none"}])
def test_frames_of_any_library_and_arrays_agree(options: dict[str, Any]) -> None:
    X, y, C = log(20, 200)
    groups, weight = np.arange(200) // 5, np.random.default_rng(20).uniform(0.5, 2, 200)
    reference = RewardDeconfounder(random_state=0, **options)
    reference.fit(X, y, confounders=C, groups=pd.Series(groups, index=X.index), sample_weight=weight)
    polars = [pl.from_pandas(frame.reset_index(drop=True)) for frame in (X, C)]
    as_rows = C.rename(columns=dict(zip(C.columns, ["c0", "c1", "c2"], strict=True)))
    for features, outcome, confounders in (
        (polars[0], pl.Series(y.to_numpy()), polars[1]),
        (X.to_numpy(), y.to_numpy(), C.to_dict("list")),
        (X.to_numpy().tolist(), y.tolist(), C.to_numpy().tolist()),
        (X, y, as_rows.to_numpy(dtype=object)),
    ):
        fit = RewardDeconfounder(random_state=0, **options)
        fit.fit(features, outcome, confounders=confounders, groups=pl.Series(groups), sample_weight=weight.tolist())
        assert_array_equal(fit.coef_, reference.coef_)
        assert_array_equal(fit.covariance_, reference.covariance_)
        assert_array_equal(fit.adjusted_reward_, reference.adjusted_reward_)
        assert_array_equal(
            fit.transform(features, outcome, confounders=confounders), reference.transform(X, y, confounders=C)
        )


@pytest.mark.parametrize(
    "method",
    ["partially_linear", "fixed_effects", "mixed", "weighting", "standardization", "invariance", "linear_control"],
)
def test_single_precision_features_give_the_same_fit(method: str) -> None:
    X, y, C = log(21)
    C = C[["author"]] if method in ("weighting", "mixed", "invariance") else C
    X = X.assign(**{f"more{j}": np.random.default_rng(j).normal(size=400) for j in range(4)})
    double, single = (
        RewardDeconfounder(method=method, random_state=0).fit(X.astype(kind), y, confounders=C)
        for kind in (np.float64, np.float32)
    )
    assert_allclose(single.coef_, double.coef_, atol=2e-4)
    assert_allclose(single.covariance_, double.covariance_, rtol=1e-3, atol=1e-6)
    assert_allclose(single.adjusted_reward_, double.adjusted_reward_, atol=2e-3)
    assert single.coef_.dtype == single.adjusted_reward_.dtype == np.float64


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("none", ["age"]),
        ("linear_control", ["age", "author"]),
        ("outcome_only", ["author"]),
        ("fixed_effects", ["author"]),
        ("fixed_effects", ["author", "part"]),
        ("mixed", ["author"]),
        ("invariance", ["part"]),
    ],
)
def test_weights_are_repeated_rows_where_nothing_is_split(method: str, names: list[str]) -> None:
    """Cross-fitted methods put copies of a row into different folds, and splines place knots by rows."""
    X, y, C = log(22, 150)
    C = C.assign(part=np.where(C["hour"] < 12, "am", "pm"))[names]
    times = np.random.default_rng(22).integers(0, 4, 150)
    again = np.repeat(np.arange(150), times)
    one = RewardDeconfounder(method=method).fit(X, y, confounders=C, sample_weight=times)
    two = RewardDeconfounder(method=method).fit(X.iloc[again], y.iloc[again], confounders=C.iloc[again])
    assert_allclose(one.coef_, two.coef_, rtol=1e-8, atol=1e-10)
    assert_allclose(one.intercept_, two.intercept_, rtol=1e-8)
    if method != "mixed":  # the variances behind the shrinkage count rows
        assert_allclose(one.adjusted_reward_[again], two.adjusted_reward_, atol=1e-8)
    expected = two.score(X.iloc[again], y.iloc[again], confounders=C.iloc[again])
    if method not in ("mixed", "outcome_only"):  # new rows get a ridge of the levels, chosen by rows
        assert_allclose(one.score(X, y, confounders=C, sample_weight=times), expected, rtol=1e-8)


def test_weights_reach_cross_fitted_nuisances() -> None:
    sample = make_reward_linear(300, random_state=23)
    weight = np.random.default_rng(23).uniform(0.2, 3, 300)
    splits, C = folds(300), sample.confounders.to_numpy()
    left, target = np.empty_like(sample.X), np.empty(300)
    for train, test in splits:
        for goal, out in ((sample.X, left), (sample.y, target)):
            model = LinearRegression().fit(C[train], goal[train], sample_weight=weight[train])
            out[test] = goal[test] - model.predict(C[test])
    fit = RewardDeconfounder(cv=splits, **LINES)
    fit.fit(sample.X, sample.y, confounders=sample.confounders, sample_weight=weight)
    reference = sm.WLS(target, left, weights=weight).fit(cov_type="HC0")
    assert_allclose(fit.coef_, reference.params, rtol=1e-9)
    assert_allclose(fit.covariance_, reference.cov_params(), rtol=1e-8)
    # The scale of weights is of no consequence.
    scaled = RewardDeconfounder(cv=splits, **LINES)
    scaled.fit(sample.X, sample.y, confounders=sample.confounders, sample_weight=1e4 * weight)
    assert_allclose(scaled.covariance_, fit.covariance_, rtol=1e-9)
    assert_allclose(np.average(fit.adjusted_reward_, weights=weight), np.average(sample.y, weights=weight), rtol=1e-12)


# ---------------------------------------------------------------------- texts

WORDS = ["tax", "vote", "wall", "jobs", "debate", "rally", "email", "poll"]


def texts_log(n: int = 240) -> tuple[list[str], Array, NDArray[Any]]:
    rng = np.random.default_rng(24)
    counts = rng.poisson(1.0, size=(n, 8))
    texts = [" ".join(word for word, k in zip(WORDS, row, strict=True) for _ in range(k)) or "the" for row in counts]
    author = rng.integers(0, 3, n)
    return texts, counts @ np.linspace(-1, 1, 8) + author + rng.normal(size=n), author.astype(str)


def count_words(texts: list[str]) -> Array:
    """Counts of the words, as an encoder."""
    return np.array([[text.split().count(word) for word in WORDS] for text in texts], dtype=np.float32)


def test_texts_through_a_callable() -> None:
    texts, y, author = texts_log()
    plain = RewardDeconfounder(method="fixed_effects").fit(count_words(texts), y, confounders=author)
    fit = RewardDeconfounder(method="fixed_effects", encoder=count_words)
    for given in (texts, pd.Series(texts), pl.Series(texts), np.array(texts), np.array(texts, dtype=object)):
        fit.fit(given, y, confounders=author)
        assert_array_equal(fit.coef_, plain.coef_)
        assert_array_equal(fit.predict(given), plain.predict(count_words(texts)))
        assert_array_equal(
            fit.transform(given, y, confounders=author), plain.transform(count_words(texts), y, confounders=author)
        )
    pairs = fit.pair_inference(["tax tax"], ["poll"])
    assert_allclose(pairs.estimate, [2 * plain.coef_[0] - plain.coef_[7]], rtol=1e-5)
    assert fit.sensitivity(X_first=["tax"], X_second=["poll"]).shape[0] == 1
    assert fit.encoder_ is count_words


def test_texts_through_a_pipeline_that_is_cloned_and_fitted_without_outcomes() -> None:
    texts, y, author = texts_log()
    encoder = make_pipeline(TfidfVectorizer(), TruncatedSVD(5, random_state=0))
    fit = RewardDeconfounder(encoder=encoder, random_state=0).fit(texts, y, confounders=author)
    assert not hasattr(encoder[0], "vocabulary_")
    features = make_pipeline(TfidfVectorizer(), TruncatedSVD(5, random_state=0)).fit_transform(texts)
    plain = RewardDeconfounder(random_state=0).fit(features, y, confounders=author)
    assert_allclose(fit.coef_, plain.coef_, rtol=1e-9)
    assert fit.n_features_in_ == 5
    assert_allclose(
        fit.predict(["tax wall", "jobs"]), plain.predict(fit.encoder_.transform(["tax wall", "jobs"])), rtol=1e-12
    )
    sparse = RewardDeconfounder(encoder=TfidfVectorizer(), random_state=0, penalty=1.0).fit(
        texts, y, confounders=author
    )
    assert sparse.coef_.shape == (8 + ("the" in " ".join(texts).split()),)


# ---------------------------------------------------------------------- memory


def test_wide_single_precision_features_are_not_copied_to_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 000 × 128 float32: one matrix of residuals in the type of X, and chunks."""
    monkeypatch.setattr(orthogonal, "_CHUNK_CELLS", 2**17)
    monkeypatch.setattr(row_hashes, "_CHUNK_CELLS", 2**17)
    monkeypatch.setattr(absorption, "_CHUNK_BYTES", 2**20)
    rng = np.random.default_rng(25)
    n, p = 20_000, 128
    X = rng.standard_normal((n, p), dtype=np.float32)
    author = rng.integers(0, 3, n)
    y = X[:, 0] + author + rng.normal(size=n)
    frame = pd.DataFrame({"author": pd.Categorical.from_codes(author, list("abc"))})
    RewardDeconfounder(method="fixed_effects").fit(X[:500], y[:500], confounders=frame[:500])  # imports, caches
    tracemalloc.start()
    try:
        fit = RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert fit.coef_[0] == pytest.approx(1, abs=0.05)
    # The residuals take X.nbytes; a float64 copy of X would take twice as much again.
    assert peak < 2 * X.nbytes, f"peak {peak / X.nbytes:.2f} times X"
