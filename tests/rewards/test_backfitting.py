"""Backfitting: its first round, its limit and its rate are known for a linear reward; the rest is what learners do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.tree import DecisionTreeRegressor

from causalkit.datasets import make_reward_linear
from causalkit.exceptions import ConvergenceWarning, MethodNotApplicableError
from causalkit.rewards import RewardDeconfounder
from causalkit.rewards.backfitting import backfit_rounds

Array = NDArray[np.float64]
pytestmark = pytest.mark.filterwarnings("ignore::causalkit.exceptions.BadControlWarning")


def levels_log(seed: int = 0, n: int = 240, weighted: bool = False) -> tuple[Array, Array, NDArray[Any], Array | None]:
    """Features that go along with an author of six, linear reward."""
    rng = np.random.default_rng(seed)
    author = rng.integers(0, 6, n)
    level = np.array([-1.5, -0.5, 0.0, 0.3, 1.0, 2.0])[author]
    X = rng.normal(size=(n, 3)) + np.outer(level, [0.8, -0.6, 0.0])
    y = X @ [1.0, 0.5, -0.75] + 2 * level + rng.normal(size=n)
    weight = rng.uniform(0.3, 2, n) if weighted else None
    return X, y, author, None if weight is None else weight / weight.mean()


def level_means(author: NDArray[Any], weight: Array | None) -> Any:
    w = np.ones(len(author)) if weight is None else weight
    return lambda values: (np.bincount(author, w * values) / np.bincount(author, w))[author]


# ---------------------------------------------------------------------- the linear case


@pytest.mark.parametrize("weighted", [False, True])
def test_first_round_is_outcome_only_and_the_limit_is_within_levels(weighted: bool) -> None:
    X, y, author, weight = levels_log(weighted=weighted)
    smooth = level_means(author, weight)
    names = author.astype(str)

    def coefficients(rounds: int) -> Array:
        done = backfit_rounds(
            LinearRegression, X, y - smooth(y), smooth, scale=float(y.std()), weight=weight, max_rounds=rounds
        )
        return np.asarray(done.reward.coef_)

    first = RewardDeconfounder(method="outcome_only").fit(X, y, confounders=names, sample_weight=weight)
    assert_allclose(coefficients(1), first.coef_, atol=1e-10)
    within = RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=names, sample_weight=weight)
    assert_allclose(coefficients(50), within.coef_, atol=2e-5)
    # Per round the error shrinks by one less the smallest share of variance that the levels leave.
    rate = 1 - within.overlap_eigenvalues_[0]
    errors = [np.linalg.norm(coefficients(k) - within.coef_) for k in (8, 9, 10, 11)]
    assert 0.3 < rate < 0.9
    assert_allclose(np.array(errors[1:]) / errors[:-1], rate, rtol=0.01)


def test_rate_of_the_gaussian_design_is_one_half() -> None:
    """Least squares on one Gaussian confounder, exact moments of |b| = 1: from outcome_only halfway to θ per round."""
    columns = np.random.default_rng(1).normal(size=(60, 6))
    unit = np.linalg.qr(columns - columns.mean(axis=0))[0] * np.sqrt(60)
    C, b, theta = unit[:, 0], np.array([0.8, -0.6, 0, 0]), np.array([1.0, 0.5, -0.75, 0.0])
    X = np.outer(C, b) + unit[:, 1:5]
    y = X @ theta + 2 * C + unit[:, 5]
    for k in (1, 2, 3, 7):
        done = backfit_rounds(
            LinearRegression, X, y - C * (C @ y) / 60, lambda v: C * (C @ v) / 60, scale=1.0, max_rounds=k
        )
        # The error starts at (Σ_X⁻¹ - I)θ = -½ b(b'θ) and stays along b.
        assert_allclose(done.reward.coef_ - theta, -(0.5**k) * b * (b @ theta), atol=1e-10)


def test_fixed_effects_with_a_linear_final_model_is_the_linear_fit() -> None:
    X, y, author, weight = levels_log(2, weighted=True)
    C = pd.DataFrame({"author": author.astype(str), "age": np.random.default_rng(2).normal(size=len(y))})
    linear = RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=C, sample_weight=weight)
    backfitted = RewardDeconfounder(method="fixed_effects", final_model=LinearRegression())
    backfitted.fit(X, y, confounders=C, sample_weight=weight)
    assert_allclose(backfitted.coef_, linear.coef_, rtol=1e-12)
    assert_allclose(backfitted.final_model_.coef_, linear.coef_, atol=1e-4)
    assert_allclose(backfitted.adjusted_reward_, linear.adjusted_reward_, atol=1e-3)
    assert_allclose(backfitted.predict(X), linear.predict(X), atol=1e-3)
    assert 1 < backfitted.n_rounds_ < 50


def test_partially_linear_with_a_linear_final_model_is_close_to_the_linear_fit() -> None:
    sample = make_reward_linear(1500, random_state=3)
    models = {"outcome_model": LinearRegression(), "treatment_model": LinearRegression(), "random_state": 0}
    linear = RewardDeconfounder(**models).fit(sample.X, sample.y, confounders=sample.confounders)
    backfitted = RewardDeconfounder(final_model=LinearRegression(), **models)
    backfitted.fit(sample.X, sample.y, confounders=sample.confounders)
    # Inner folds differ, so that they agree to a fraction of the standard error (.026) only.
    assert_allclose(backfitted.final_model_.coef_, linear.coef_, atol=0.01)
    assert np.sqrt(np.mean((backfitted.adjusted_reward_ - sample.adjusted_reward) ** 2)) < 0.15
    effect = backfitted.confounder_effect(sample.confounders)
    assert_allclose(effect, 2 * sample.confounders["popularity"], atol=0.35)
    new = make_reward_linear(500, random_state=4)
    moved = backfitted.transform(new.X, new.y, confounders=new.confounders)
    assert np.sqrt(np.mean((moved - new.adjusted_reward) ** 2)) < 0.15
    assert 0.55 < backfitted.score(new.X, new.y, confounders=new.confounders) < 0.75  # θ'θ/(θ'θ + 1) = .644


# ---------------------------------------------------------------------- curves


def curved(n: int = 1500, seed: int = 5) -> tuple[Array, Array, pd.DataFrame, Array]:
    """A bowl in the first feature, which the confounder moves."""
    rng = np.random.default_rng(seed)
    c = rng.uniform(-1, 1, n)
    X = np.column_stack([c + rng.normal(size=n), rng.normal(size=n)])
    reward = X[:, 0] ** 2 + X[:, 1]
    return X, reward + 3 * c + 0.5 * rng.normal(size=n), pd.DataFrame({"c": c}), reward


@pytest.mark.filterwarnings("ignore::causalkit.exceptions.AdditivityWarning")
def test_a_curved_reward_is_found_where_the_linear_one_fails() -> None:
    X, y, C, _ = curved()
    model = make_pipeline(PolynomialFeatures(2), Ridge(1e-6))
    fit = RewardDeconfounder(final_model=model, random_state=0).fit(X, y, confounders=C)
    fresh, _, _, truth = curved(seed=6)
    found = fit.predict(fresh)
    assert np.corrcoef(found, truth)[0, 1] > 0.995
    linear = RewardDeconfounder(random_state=0).fit(X, y, confounders=C)
    assert np.corrcoef(linear.predict(fresh), truth)[0, 1] < 0.7
    # Coefficients and their errors are those of the linear projection, and said to be.
    assert_allclose(fit.coef_, linear.coef_, rtol=1e-12)
    assert_allclose(fit.inference().cov, linear.inference().cov, rtol=1e-12)
    assert "those of its linear projection" in repr(fit.summary())
    assert np.abs(fit.adjusted_reward_ - (y - 3 * C["c"])).mean() < 0.15
    assert_allclose(fit.adjusted_reward_.mean(), y.mean(), rtol=1e-12)


@pytest.mark.parametrize("method", ["partially_linear", "fixed_effects"])
def test_learners_that_never_settle_are_reported(method: str) -> None:
    X, y, author, _ = levels_log(7, 120)

    class Restless(DecisionTreeRegressor):
        """Another tree at every fit."""

        count = 0

        def __init__(self, max_depth: int = 3) -> None:
            super().__init__(max_depth=max_depth)

        def fit(self, X: Array, y: Array, sample_weight: Array | None = None) -> Any:
            Restless.count += 1
            self.max_depth = 2 + Restless.count % 2
            return super().fit(X, y, sample_weight)

    fit = RewardDeconfounder(method=method, final_model=Restless(), cv=2, random_state=0)
    with pytest.warns(
        ConvergenceWarning, match=r"after 50 rounds with a last change of .* per round by 0\.\d+.*random_"
    ):
        fit.fit(X, y, confounders=author.astype(str))
    assert fit.n_rounds_ == 50


def test_boosting_gets_a_seed_and_weights() -> None:
    X, y, author, weight = levels_log(8, 150, weighted=True)
    fits = [
        RewardDeconfounder(
            method="fixed_effects",
            final_model=HistGradientBoostingRegressor(max_iter=5, early_stopping=True),
            random_state=seed,
        ).fit(X, y, confounders=author.astype(str), sample_weight=weight)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(fits[0].predict(X), fits[1].predict(X))
    assert not np.array_equal(fits[0].predict(X), fits[2].predict(X))


@pytest.mark.parametrize("options", [{}, {"method": "fixed_effects"}])
def test_intervals_of_a_curved_reward_are_refused(options: dict[str, Any]) -> None:
    X, y, author, _ = levels_log(9, 120)
    fit = RewardDeconfounder(final_model=LinearRegression(), cv=2, random_state=0, **options)
    fit.fit(X, y, confounders=author.astype(str))
    with pytest.raises(ValueError, match=r"return_std needs a linear or pairwise reward.*LinearRegression.*at None"):
        fit.predict(X, return_std=True)
    with pytest.raises(
        ValueError, match=r"pair_inference needs a linear or pairwise reward.*LinearRegression.*at None"
    ):
        fit.pair_inference(X[:2], X[2:4])


@pytest.mark.parametrize("method", ["mixed", "mundlak", "instrument", "weighting", "standardization", "none"])
def test_a_final_model_that_would_be_ignored_is_refused(method: str) -> None:
    X, y, author, _ = levels_log(10, 120)
    fit = RewardDeconfounder(method=method, final_model=LinearRegression())
    with pytest.raises(
        MethodNotApplicableError, match=f'final_model=LinearRegression.*method="{method}".*fixed_effects'
    ):
        fit.fit(X, y, confounders=author.astype(str), instruments=X[:, 0])
