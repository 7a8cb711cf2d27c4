"""The baselines and what they converge to, exactly: data whose sample moments are those of the population."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from statsmodels.nonparametric.smoothers_lowess import lowess

from causalkit.datasets import make_reward_linear, make_reward_nonlinear, make_reward_two_by_two
from causalkit.exceptions import IdentificationError
from causalkit.rewards import RewardDeconfounder

Array = NDArray[np.float64]
THETA = np.array([1.0, 0.5, -0.75, 0.0])
B = np.array([0.8, -0.6, 0.0, 0.0])
pytestmark = pytest.mark.filterwarnings("ignore::causalkit.exceptions.BadControlWarning")


class Multiple(RegressorMixin, BaseEstimator):
    """Nuisance that is known: ``slope`` times the confounder."""

    def __init__(self, slope: Any = 1.0) -> None:
        self.slope = slope

    def fit(self, C: Array, y: Array, sample_weight: Array | None = None) -> Multiple:
        """Nothing to estimate."""
        self.fitted_ = True
        return self

    def predict(self, C: Array) -> Array:
        """Slope times C."""
        return np.asarray(C[:, 0] * self.slope if np.ndim(self.slope) == 0 else np.outer(C[:, 0], self.slope))

    def __sklearn_tags__(self) -> Any:
        """Several targets at once."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def exact(gamma: float, n: int = 60) -> tuple[Array, Array, Array]:
    """X = bC + U, y = θ'X + γC + ε with C, U, ε of mean 0, variance 1 and no correlation in the sample itself."""
    columns = np.random.default_rng(0).normal(size=(n, 6))
    columns -= columns.mean(axis=0)
    unit = np.linalg.qr(columns)[0] * np.sqrt(n)
    C, U, noise = unit[:, 0], unit[:, 1:5], unit[:, 5]
    X = np.outer(C, B) + U
    return X, X @ THETA + gamma * C + noise + 5.0, C


def known_nuisances(gamma: float) -> dict[str, Any]:
    """E[Y|C] less its constant, which regressions with residuals that are centred do not need, and E[X|C]."""
    return {"outcome_model": Multiple(float(B @ THETA) + gamma), "treatment_model": Multiple(B)}


# ---------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("gamma", [2.0, -3.0])
def test_limits_in_the_linear_gaussian_design(gamma: float) -> None:
    X, y, C = exact(gamma)
    sigma = np.outer(B, B) + np.eye(4)
    none = THETA + gamma * np.linalg.solve(sigma, B)
    limits = {
        "none": none,
        "linear_control": THETA,
        "outcome_only": np.linalg.solve(sigma, THETA),
        "invariance": THETA - B * (B @ THETA) / (B @ B),
    }
    for method, limit in limits.items():
        nuisances = known_nuisances(gamma) if method == "outcome_only" else {}
        found = RewardDeconfounder(method=method, **nuisances).fit(X, y, confounders=C)
        assert_allclose(found.coef_, limit, atol=1e-10, err_msg=method)
        assert_allclose(found.predict(X).mean(), y.mean(), rtol=1e-10)
    assert_allclose(none, [1.8, -0.1, -0.75, 0] if gamma > 0 else [-0.2, 1.4, -0.75, 0], atol=1e-12)


def test_zero_correlation_with_the_confounder_is_the_signature_of_the_wrong_methods() -> None:
    X, y, C = exact(2.0)
    y = y - 5.0  # the known nuisances have no constant
    right = RewardDeconfounder(**known_nuisances(2.0)).fit(X, y, confounders=C)
    assert_allclose(right.coef_, THETA, atol=1e-10)
    assert_allclose(right.adjusted_reward_, y - 2 * C, atol=1e-10)
    assert_allclose(np.corrcoef(right.adjusted_reward_, C)[0, 1], 2 / 7, rtol=1e-10)
    assert_allclose(right.adjusted_reward_.var(), 3.0625, rtol=1e-10)
    wrong = RewardDeconfounder(method="outcome_only", **known_nuisances(2.0)).fit(X, y, confounders=C)
    assert_allclose(np.corrcoef(wrong.adjusted_reward_, C)[0, 1], 0, atol=1e-10)
    assert_allclose(wrong.adjusted_reward_.var(), 2.8125, rtol=1e-10)
    invariant = RewardDeconfounder(method="invariance").fit(X, y, confounders=C)
    assert_allclose(invariant.predict(X) @ C, 0, atol=1e-9)


@pytest.mark.filterwarnings("ignore::causalkit.exceptions.NuisanceFitWarning")
def test_orthogonal_scores_forgive_one_wrong_nuisance() -> None:
    """With one of the two nuisances right, the other may miss by any multiple of the confounder."""
    X, y, C = exact(2.0)
    y = y - 5.0
    for outcome, features in ((2.5, B), (0.0, B)):
        models = {"outcome_model": Multiple(outcome), "treatment_model": Multiple(features)}
        assert_allclose(RewardDeconfounder(**models).fit(X, y, confounders=C).coef_, THETA, atol=1e-10)
    models = {"outcome_model": Multiple(0.0), "treatment_model": Multiple(0.0 * B)}
    assert_allclose(RewardDeconfounder(**models).fit(X, y, confounders=C).coef_, [1.8, -0.1, -0.75, 0], atol=1e-10)


TWO_BY_TWO = {
    "none": 2.8,
    "outcome_only": 0.64,
    "linear_control": 1.0,
    "fixed_effects": 1.0,
    "mixed": 1.0,
}


@pytest.mark.parametrize("method", TWO_BY_TWO)
def test_two_by_two_exactly(method: str) -> None:
    sample = make_reward_two_by_two()
    found = RewardDeconfounder(method=method).fit(sample.X, sample.y, confounders=sample.confounders)
    assert_allclose(found.coef_, [TWO_BY_TWO[method]], rtol=1e-12)
    assert_allclose(found.adjusted_reward_.mean(), sample.y.mean(), rtol=1e-12)
    if method in ("linear_control", "fixed_effects"):
        assert_allclose(found.adjusted_reward_, sample.X[:, 0] + 1.5, atol=1e-12)
        low, high = found.confounder_effect(pd.DataFrame({"audience": [0, 1]}))
        assert_allclose([low, high], [-1.5, 1.5], atol=1e-12)


def test_two_by_two_by_repeated_rows_for_the_methods_that_estimate_nuisances() -> None:
    """200 copies of the ten rows: shares in the folds, and so the nuisances, are nearly those of the table."""
    sample = make_reward_two_by_two()
    X, y = np.tile(sample.X, (200, 1)), np.tile(sample.y, 200)
    C = pd.DataFrame({"audience": np.tile(np.asarray(sample.confounders["audience"]), 200)}).astype(str)
    for options in ({}, {"method": "weighting"}, {"method": "standardization"}):
        found = RewardDeconfounder(**options, random_state=0).fit(X, y, confounders=C)
        assert_allclose(found.coef_, [1.0], atol=0.02, err_msg=str(options))
        low, high = found.confounder_effect(pd.DataFrame({"audience": ["0", "1"]}))
        assert_allclose(high - low, 3.0, atol=0.03, err_msg=str(options))


def test_invariance_refuses_when_nothing_is_left() -> None:
    sample = make_reward_two_by_two()
    with pytest.raises(IdentificationError, match="1 restrictions on 1 features leave no reward"):
        RewardDeconfounder(method="invariance").fit(sample.X, sample.y, confounders=sample.confounders)


def test_limits_with_curves() -> None:
    sample = make_reward_nonlinear(40_000, random_state=0)
    for method, limit in sample.population.items():
        found = RewardDeconfounder(method=method, random_state=0).fit(
            sample.X, sample.y, confounders=sample.confounders
        )
        # Standard errors are about .01; the limits differ from one another by .1 and more.
        assert_allclose(found.coef_, limit, atol=0.04, err_msg=method)


# ---------------------------------------------------------------------- against other implementations


def test_linear_control_is_least_squares_on_both() -> None:
    sample = make_reward_linear(300, random_state=1)
    author = np.random.default_rng(1).integers(0, 4, 300)
    C = sample.confounders.assign(author=author.astype(str))
    weight = np.random.default_rng(2).uniform(0.2, 2, 300)
    weight = weight / weight.mean()
    design = np.column_stack([sample.X, np.ones(300), C["popularity"], np.eye(4)[author][:, 1:]])
    for w in (None, weight):
        reference = (sm.OLS(sample.y, design) if w is None else sm.WLS(sample.y, design, weights=w)).fit(cov_type="HC1")
        fit = RewardDeconfounder(method="linear_control", covariance="HC1")
        fit.fit(sample.X, sample.y, confounders=C, sample_weight=w)
        assert_allclose(fit.coef_, reference.params[:4], rtol=1e-9)
        assert_allclose(fit.covariance_, reference.cov_params()[:4, :4], rtol=1e-7)
        effect = design[:, 5:] @ reference.params[5:]
        assert_allclose(fit.confounder_effect_, effect - np.average(effect, weights=w), atol=1e-9)
        assert_allclose(fit.confounder_effect(C), fit.confounder_effect_, atol=1e-9)


def test_none_is_least_squares_with_a_constant_and_needs_no_confounders() -> None:
    sample = make_reward_linear(300, random_state=2)
    reference = sm.OLS(sample.y, sm.add_constant(sample.X)).fit(cov_type="HC0")
    fit = RewardDeconfounder(method="none").fit(sample.X, sample.y)
    assert_allclose(np.append(fit.intercept_, fit.coef_), reference.params, rtol=1e-10)
    assert_allclose(fit.covariance_, reference.cov_params()[1:, 1:], rtol=1e-9)
    assert_allclose(fit.score(sample.X, sample.y), reference.rsquared, rtol=1e-10)
    np.testing.assert_array_equal(fit.transform(sample.X, sample.y), sample.y)
    assert fit.confounder_names_ is None


def test_outcome_only_takes_level_means_in_sample() -> None:
    rng = np.random.default_rng(3)
    author = rng.integers(0, 5, 200)
    X = rng.normal(size=(200, 2)) + author[:, None] * [0.5, -0.2]
    y = X @ [1.0, 0.5] + author + rng.normal(size=200)
    means = np.bincount(author, y) / np.bincount(author)
    fit = RewardDeconfounder(method="outcome_only").fit(X, y, confounders=author.astype(str))
    assert_allclose(fit.adjusted_reward_, y - means[author] + y.mean(), atol=1e-10)
    reference = sm.OLS(y - means[author], sm.add_constant(X)).fit()
    assert_allclose(fit.coef_, reference.params[1:], rtol=1e-9)


def test_invariance_is_the_best_restricted_line() -> None:
    """Brute force: least squares on the features rotated into the null space of the restrictions."""
    rng = np.random.default_rng(4)
    n, author = 250, rng.integers(0, 3, 250)
    C = np.column_stack([rng.normal(size=n), np.eye(3)[author]])
    X = rng.normal(size=(n, 6)) + C @ rng.normal(size=(4, 6))
    y = X @ rng.normal(size=6) + C @ [1.0, 0.0, 1.0, 2.0] + rng.normal(size=n)
    frame = pd.DataFrame({"c": C[:, 0], "author": author.astype(str)})
    weight = rng.uniform(0.3, 2, n)
    for w in (np.ones(n), weight / weight.mean()):
        Xc, Cc = X - np.average(X, axis=0, weights=w), C - np.average(C, axis=0, weights=w)
        restrictions = (Xc * w[:, None]).T @ Cc
        null = np.linalg.svd(restrictions)[0][:, 3:]  # 4 columns of rank 3: the dummies sum to one
        root = np.sqrt(w)
        inner = np.linalg.lstsq(Xc @ null * root[:, None], (y - np.average(y, weights=w)) * root, rcond=None)[0]
        fit = RewardDeconfounder(method="invariance").fit(X, y, confounders=frame, sample_weight=w)
        assert_allclose(fit.coef_, null @ inner, atol=1e-8)
        assert_allclose(restrictions.T @ fit.coef_, 0, atol=1e-7)
        # Along the restrictions nothing is estimated.
        assert_allclose(restrictions.T @ fit.covariance_ @ restrictions, 0, atol=1e-6)


def test_lowess_is_that_of_statsmodels() -> None:
    sample = make_reward_nonlinear(400, random_state=5)
    c = sample.confounders["first"].to_numpy()
    fit = RewardDeconfounder(method="lowess").fit(sample.X, sample.y, confounders=c)
    smooth = lowess(sample.y, c, frac=0.5, return_sorted=False, it=3)
    # Local fits are shared by neighbours within a hundredth of the range.
    assert_allclose(fit.adjusted_reward_, sample.y - smooth + smooth.mean(), atol=0.02)
    assert_allclose(fit.confounder_effect(c), fit.confounder_effect_, atol=1e-10)
    reference = sm.OLS(fit.adjusted_reward_, sm.add_constant(sample.X)).fit()
    assert_allclose(fit.coef_, reference.params[1:], rtol=1e-8)


@pytest.mark.parametrize("method", ["outcome_only", "linear_control", "invariance", "lowess", "none"])
def test_baselines_say_so_and_warn_of_nothing_else(method: str) -> None:
    sample = make_reward_linear(400, random_state=6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = RewardDeconfounder(method=method, random_state=0).fit(sample.X, sample.y, confounders=sample.confounders)
    assert "baseline that is known to be biased" in repr(fit.summary())
    assert fit.diagnostics().ok
