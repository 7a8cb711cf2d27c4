"""Pairwise head: direct solutions, errors for dependent pairs, coverage, a weekday marker, failures, checks."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.special import expit
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from causalkit.exceptions import IdentificationError
from causalkit.rewards.bradley_terry import pairs_within
from causalkit.rewards.deconfounder import RewardDeconfounder
from causalkit.rewards.pairwise import PairwiseRewardModel

Array = NDArray[np.float64]
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": "a repeated row is one more candidate for pairs, which are drawn",
}


@parametrize_with_checks([PairwiseRewardModel(random_state=0)], expected_failed_checks=lambda _: EXPECTED_FAILURES)
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def all_pairs(n_prompts: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    i, j = np.triu_indices(size, 1)
    base = (np.arange(n_prompts) * size)[:, None]
    return (base + i).ravel(), (base + j).ravel()


def comparisons(seed: int, n_prompts: int = 40, size: int = 4, p: int = 3) -> tuple[Array, Array, Array]:
    """Rows, rewards, prompts: winners follow the Bradley-Terry model exactly."""
    rng = np.random.default_rng(seed)
    n = n_prompts * size
    X = rng.normal(size=(n, p))
    return X, X @ np.linspace(1, -0.6, p) + rng.gumbel(size=n), np.repeat(np.arange(n_prompts), size)


# ---------------------------------------------------------------------- pairs


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 40), st.integers(0, 10))
def test_pairs_within_are_distinct_pairs_of_one_group(labels: list[int], limit: int, seed: int) -> None:
    codes = np.unique(labels, return_inverse=True)[1]
    first, second = pairs_within(codes, limit, np.random.default_rng(seed))
    assert (first < second).all()
    assert_array_equal(codes[first], codes[second])
    assert len(set(zip(first, second, strict=True))) == len(first)
    sizes = np.bincount(codes)
    expected = np.minimum(sizes * (sizes - 1) // 2, limit)
    assert_array_equal(np.bincount(codes[first], minlength=len(sizes)), expected)


def test_drawn_pairs_are_uniform() -> None:
    rng = np.random.default_rng(0)
    counts = np.zeros((7, 7))
    for _ in range(3000):
        first, second = pairs_within(np.zeros(7, dtype=np.intp), 2, rng)
        np.add.at(counts, (first, second), 1)
    drawn = counts[np.triu_indices(7, 1)]
    assert stats.chisquare(drawn).pvalue > 1e-3
    assert counts.sum() == drawn.sum() == 6000


def test_pairs_of_a_large_group_stay_in_range() -> None:
    n = 200_000
    first, second = pairs_within(np.zeros(n, dtype=np.intp), 50_000, np.random.default_rng(1))
    assert first.min() >= 0 and second.max() < n and (first < second).all()
    # The larger of two uniform rows has mean 2n/3.
    assert_allclose(second.mean() / n, 2 / 3, atol=4 * np.sqrt(1 / 18 / 50_000))


# ---------------------------------------------------------------------- solution


@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_coefficients_minimise_the_loss(penalty: float) -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 150, 3))
    q, offset, weight = first - second, rng.normal(size=150), rng.integers(1, 4, 150).astype(float)
    won = rng.random(150)

    def loss(w: Array) -> tuple[float, Array]:
        linear = q @ w + offset
        scaled = weight / weight.mean()
        value = scaled @ (np.logaddexp(0, linear) - won * linear) + penalty / 2 * w @ w
        return value, q.T @ (scaled * (expit(linear) - won)) + penalty * w

    direct = optimize.minimize(loss, np.zeros(3), jac=True, method="BFGS", options={"gtol": 1e-11}).x
    model = PairwiseRewardModel(penalty=penalty).fit_pairs(first, second, won, offset=offset, sample_weight=weight)
    assert_allclose(model.coef_, direct, atol=1e-8)


def test_logistic_regression_on_differences() -> None:
    """Coefficients and clustered errors of a binomial model without constant; its factor is (n - 1)/(n - p) larger."""
    X, y, prompts = comparisons(3)
    i, j = all_pairs(40, 4)
    model = PairwiseRewardModel(penalty=0.0).fit(X, y, prompts=prompts)
    peer = sm.GLM((y[i] > y[j]).astype(float), X[i] - X[j], family=sm.families.Binomial()).fit(
        tol=1e-12, cov_type="cluster", cov_kwds={"groups": prompts[i]}
    )
    m, p = len(i), X.shape[1]
    assert_allclose(model.coef_, peer.params, atol=1e-8)
    assert_allclose(model.covariance_, peer.cov_params() * (m - p) / (m - 1), rtol=1e-7)
    assert model.n_pairs_ == m
    result = model.inference()
    assert_allclose(result.cov, model.covariance_, rtol=1e-10)
    assert result.df == 39 and result.dependence == "40 prompts"
    logged = PairwiseRewardModel(penalty=0.0).fit_pairs(X[i], X[j], y[i] > y[j], groups=prompts[i])
    assert_allclose(logged.coef_, model.coef_, atol=1e-9)
    assert_allclose(logged.covariance_, model.covariance_, rtol=1e-7)


def test_offset_is_the_peers_offset() -> None:
    X, y, _ = comparisons(4)
    i, j = all_pairs(40, 4)
    offset = np.random.default_rng(0).normal(size=len(i))
    won = (y[i] > y[j]).astype(float)
    peer = sm.GLM(won, X[i] - X[j], family=sm.families.Binomial(), offset=offset).fit(tol=1e-12)
    model = PairwiseRewardModel(penalty=0.0).fit_pairs(X[i], X[j], won, offset=offset)
    assert_allclose(model.coef_, peer.params, atol=1e-8)


def brute_force_covariance(
    X: Array, i: NDArray[np.intp], j: NDArray[np.intp], won: Array, coef: Array, penalty: float, units: Any
) -> Array:
    """H⁻¹ΩH⁻¹ with every product ψ_eψ_f' of two pairs that share a unit."""
    q = X[i] - X[j]
    probability = expit(q @ coef)
    hessian = q.T @ (q * (probability * (1 - probability))[:, None]) + penalty * np.eye(len(coef))
    psi = q * (won - probability)[:, None]
    omega = np.zeros_like(hessian)
    for e in range(len(i)):
        for f in range(len(i)):
            if {units[i[e]], units[j[e]]} & {units[i[f]], units[j[f]]}:
                omega += np.outer(psi[e], psi[f])
    inverse = np.linalg.inv(hessian)
    return inverse @ omega @ inverse


def test_dyadic_covariance_against_all_products() -> None:
    """Pairs over all rows: products of pairs that share a row, or a group."""
    X, y, _ = comparisons(5, n_prompts=12, size=4, p=2)
    groups = np.arange(48) // 3
    model = PairwiseRewardModel(max_pairs_per_prompt=3, random_state=0).fit(X, y)
    i, j = pairs_within(
        np.zeros(48, dtype=np.intp), 3 * 48, np.random.default_rng(np.random.RandomState(0).randint(2**31 - 1))
    )
    won = (y[i] > y[j]).astype(float)
    assert model.n_pairs_ == len(i) == 144
    expected = brute_force_covariance(X, i, j, won, model.coef_, 1.0, np.arange(48))
    assert_allclose(model.covariance_, expected, rtol=1e-9)
    clustered = PairwiseRewardModel(max_pairs_per_prompt=3, random_state=0).fit(X, y, groups=groups)
    assert_allclose(clustered.covariance_, brute_force_covariance(X, i, j, won, model.coef_, 1.0, groups), rtol=1e-9)
    assert clustered.inference().dependence == "pairs that share groups"


def judged_texts(n_texts: int, n_dyads: int, seed: int) -> tuple[Array, Any, Any, Array]:
    """Some pairs of texts, each judged four times, in both orders."""
    rng = np.random.default_rng(seed)
    texts = rng.normal(size=(n_texts, 2))
    i, j = np.triu_indices(n_texts, 1)
    kept = np.repeat(rng.permutation(len(i))[:n_dyads], 4)
    flip = np.arange(len(kept)) % 2 == 1
    i, j = np.where(flip, j[kept], i[kept]), np.where(flip, i[kept], j[kept])
    return texts, i, j, (rng.random(len(i)) < expit((texts[i] - texts[j]) @ [1.0, 0.5])).astype(float)


def test_identical_texts_of_logged_pairs_are_dependent() -> None:
    """Products of judgements that share both texts count once, those that share one text too."""
    texts, i, j, won = judged_texts(60, 70, 6)
    model = PairwiseRewardModel(penalty=0.5).fit_pairs(texts[i], texts[j], won)
    expected = brute_force_covariance(texts, i, j, won, model.coef_, 0.5, np.arange(60))
    assert np.linalg.eigvalsh(expected)[0] > 0
    assert_allclose(model.covariance_, expected, rtol=1e-9)


def test_dyadic_covariance_that_is_not_positive_errs_upwards() -> None:
    """Ten texts all compared with one another leave too little; sums over texts without subtraction are positive."""
    texts, i, j, won = judged_texts(10, 45, 6)
    model = PairwiseRewardModel(penalty=0.5).fit_pairs(texts[i], texts[j], won)
    assert np.linalg.eigvalsh(brute_force_covariance(texts, i, j, won, model.coef_, 0.5, np.arange(10)))[0] < 0
    q = texts[i] - texts[j]
    probability = expit(q @ model.coef_)
    psi = q * (won - probability)[:, None]
    inverse = np.linalg.inv(q.T @ (q * (probability * (1 - probability))[:, None]) + 0.5 * np.eye(2))
    sums = np.stack([psi[(i == k) | (j == k)].sum(axis=0) for k in range(10)])
    assert_allclose(model.covariance_, inverse @ sums.T @ sums @ inverse, rtol=1e-9)


def test_one_prompt_is_no_cluster() -> None:
    """A single cluster would have scores that add up to zero; its rows carry the dependence instead."""
    X, y, _ = comparisons(7, n_prompts=1, size=30, p=2)
    one = PairwiseRewardModel(max_pairs_per_prompt=435).fit(X, y, prompts=np.zeros(30))
    i, j = np.triu_indices(30, 1)
    expected = brute_force_covariance(X, i, j, (y[i] > y[j]) * 1.0, one.coef_, 1.0, np.arange(30))
    assert_allclose(one.covariance_, expected, rtol=1e-9)


# ---------------------------------------------------------------------- properties


def test_swapping_the_texts_of_pairs_changes_nothing() -> None:
    X, y, _ = comparisons(8)
    i, j = all_pairs(40, 4)
    flip = np.random.default_rng(0).random(len(i)) < 0.5
    a, b = np.where(flip, j, i), np.where(flip, i, j)
    one = PairwiseRewardModel().fit_pairs(X[i], X[j], y[i] > y[j])
    two = PairwiseRewardModel().fit_pairs(X[a], X[b], y[a] > y[b])
    assert_allclose(one.coef_, two.coef_, atol=1e-10)
    assert_allclose(one.covariance_, two.covariance_, rtol=1e-8)
    assert_allclose(one.predict_pairs(X[i], X[j]) + one.predict_pairs(X[j], X[i]), 1.0)


def test_units_of_features_do_not_matter_without_penalty() -> None:
    """Neither tiny units nor a large common level disturb the fit or are taken for collinearity."""
    X, y, prompts = comparisons(9)
    scale = np.array([1e-7, 1.0, 1e6])
    plain = PairwiseRewardModel(penalty=0.0).fit(X, y, prompts=prompts)
    scaled = PairwiseRewardModel(penalty=0.0).fit(X * scale + 10 * scale, y, prompts=prompts)
    assert_allclose(scaled.coef_ * scale, plain.coef_, rtol=1e-6)
    assert_allclose(scaled.covariance_ * np.outer(scale, scale), plain.covariance_, rtol=1e-5)


def test_single_precision_is_enough() -> None:
    X, y, prompts = comparisons(10)
    X = X.astype(np.float32)
    single = PairwiseRewardModel().fit(X, y, prompts=prompts)
    double = PairwiseRewardModel().fit(X.astype(float), y, prompts=prompts)
    assert_allclose(single.coef_, double.coef_, rtol=1e-10)
    assert_array_equal(single.row_hashes_, double.row_hashes_)


def test_effects_of_prompts_cancel() -> None:
    """Winners within prompts do not see what the prompt adds; neither does the scale."""
    X, y, prompts = comparisons(11)
    shift = np.random.default_rng(0).normal(size=40)[prompts] * 10
    moved = X + shift[:, None]
    plain = PairwiseRewardModel(penalty=0.0).fit(X, y, prompts=prompts)
    shifted = PairwiseRewardModel(penalty=0.0).fit(moved, y - 5 * shift, prompts=prompts)
    assert_allclose(shifted.coef_, plain.coef_, rtol=1e-7)
    assert_allclose(shifted.scale_, plain.scale_, rtol=1e-7)
    demeaned = [v - np.repeat([v[prompts == g].mean() for g in range(40)], 4) for v in (X @ plain.coef_, y)]
    assert_allclose(plain.scale_, (demeaned[0] @ demeaned[1]) / (demeaned[0] @ demeaned[0]))


def test_rows_of_weight_zero_form_no_pairs() -> None:
    X, y, prompts = comparisons(12)
    weight = np.ones(len(y))
    weight[::5] = 0
    kept = weight > 0
    limited = PairwiseRewardModel().fit(X, y, prompts=prompts, sample_weight=weight)
    without = PairwiseRewardModel().fit(X[kept], y[kept], prompts=prompts[kept])
    i, j = all_pairs(40, 4)
    assert limited.n_pairs_ == without.n_pairs_ == int((kept[i] & kept[j]).sum())
    # Weights have mean 1, so that those of the kept rows are 5/4 and the penalty weighs less by as much.
    rescaled = PairwiseRewardModel(penalty=0.8).fit(X[kept], y[kept], prompts=prompts[kept])
    assert_allclose(limited.coef_, rescaled.coef_, rtol=1e-7)


def test_min_gap_drops_close_pairs() -> None:
    X, y, prompts = comparisons(13)
    i, j = all_pairs(40, 4)
    model = PairwiseRewardModel(min_gap=0.8).fit(X, y, prompts=prompts)
    wide = np.abs(y[i] - y[j]) > 0.8
    direct = PairwiseRewardModel().fit_pairs(X[i][wide], X[j][wide], (y[i] > y[j])[wide])
    assert model.n_pairs_ == wide.sum()
    assert_allclose(model.coef_, direct.coef_, atol=1e-9)


def test_score_is_pair_accuracy_within_prompts() -> None:
    X, y, prompts = comparisons(14)
    model = PairwiseRewardModel().fit(X, y, prompts=prompts)
    i, j = all_pairs(40, 4)
    r = model.predict(X)
    assert_allclose(model.score(X, y, prompts=prompts), np.mean((y[i] > y[j]) == (r[i] > r[j])))
    a, b = np.triu_indices(len(y), 1)
    assert_allclose(model.score(X, y), np.mean((y[a] > y[b]) == (r[a] > r[b])))


def test_names_pickle_and_determinism() -> None:
    X, y, prompts = comparisons(15)
    frame = pd.DataFrame(X, columns=["length", "links", "caps"])
    model = PairwiseRewardModel(max_pairs_per_prompt=2, random_state=3).fit(frame, y, prompts=prompts)
    again = PairwiseRewardModel(max_pairs_per_prompt=2, random_state=3).fit(frame, y, prompts=prompts)
    assert_array_equal(model.coef_, again.coef_)
    array = PairwiseRewardModel(max_pairs_per_prompt=2, random_state=3).fit(X, y, prompts=prompts)
    assert_allclose(model.coef_, array.coef_, rtol=1e-12)
    assert model.n_pairs_ == 80
    assert list(model.inference().names) == ["length", "links", "caps"]
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.predict(frame), model.predict(frame))
    assert np.isnan(PairwiseRewardModel().fit_pairs(X[:80], X[80:], y[:80] > y[80:]).scale_)


def test_chunks_of_pairs_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three chunks of 1 024 pairs, with dyads of groups across their borders, give what one chunk gives."""
    X, y, _ = comparisons(23, n_prompts=60)
    groups = np.arange(240) // 8
    fits = []
    for cells in (2**22, 1):
        monkeypatch.setattr("causalkit.rewards.orthogonal._CHUNK_CELLS", cells)
        for metadata in ({}, {"groups": groups}, {"prompts": np.arange(240) % 4}):
            model = PairwiseRewardModel(max_pairs_per_prompt=700 if metadata else 10, random_state=0)
            fits.append(model.fit(X, y, **metadata))
    for one, many in zip(fits[:3], fits[3:], strict=True):
        assert one.n_pairs_ == many.n_pairs_ > 2048
        assert_allclose(many.coef_, one.coef_, rtol=1e-9)
        assert_allclose(many.covariance_, one.covariance_, rtol=1e-8)


# ---------------------------------------------------------------------- simulated truth


def test_coverage_by_prompt_and_by_the_dyadic_formula() -> None:
    """200 prompts of four rows; taken for independent, pairs would cover in about .88 only."""
    truth, replicates = np.array([1.0, -0.6, 0.0]), 400
    prompts = np.repeat(np.arange(200), 4)
    i, j = all_pairs(200, 4)
    estimates, covered = np.empty((replicates, 3)), np.zeros((2, 3))
    for seed in range(replicates):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(800, 3))
        y = X @ truth + rng.gumbel(size=800)
        by_prompt = PairwiseRewardModel(penalty=0.0).fit(X, y, prompts=prompts)
        dyadic = PairwiseRewardModel(penalty=0.0).fit_pairs(X[i], X[j], y[i] > y[j])
        estimates[seed] = by_prompt.coef_
        for k, model in enumerate((by_prompt, dyadic)):
            interval = model.inference().conf_int()
            covered[k] += (interval["lower"] <= truth) & (truth <= interval["upper"])
    # Three binomial standard errors at 400 replicates are .033.
    assert (np.abs(covered / replicates - 0.95) < 0.033).all(), covered / replicates
    # Known from 1 000 replicates: mean (1.008, -.602, .003), sd (.083, .071, .062).
    sd = np.array([0.083, 0.071, 0.062])
    assert (np.abs(estimates.mean(axis=0) - [1.008, -0.602, 0.003]) < 4 * sd / np.sqrt(replicates)).all()
    assert_allclose(estimates.std(axis=0), sd, rtol=4 / np.sqrt(2 * replicates))


def test_weekday_marker_leaves_pairs_after_fixed_effects() -> None:
    """5 000 questions of three answers; the weekday's share of won pairs goes to one half, and its coefficient to 0."""
    rng = np.random.default_rng(16)
    effects = np.array([0.5, 0.3, 0.2, 0.1, -0.4, -0.35, -0.35])
    n, prompts = 15_000, np.repeat(np.arange(5000), 3)
    day, quality = rng.integers(0, 7, n), rng.normal(size=n)
    y = quality + effects[day] + rng.normal(size=n)
    log = RewardDeconfounder(method="fixed_effects", categorical=["day"])
    adjusted = log.fit(quality[:, None], y, confounders=pd.DataFrame({"day": day})).adjusted_reward_
    i, j = all_pairs(5000, 3)
    marker = np.column_stack([quality, day == 0, day == 4]).astype(float)
    shares = {}
    for name, reward in (("raw", y), ("adjusted", adjusted)):
        for k in (0, 4):
            one = np.concatenate([i[(day[i] == k) & (day[j] != k)], j[(day[j] == k) & (day[i] != k)]])
            other = np.concatenate([j[(day[i] == k) & (day[j] != k)], i[(day[j] == k) & (day[i] != k)]])
            shares[name, k] = np.mean(reward[one] > reward[other])
            # Two rows of quality and noise differ with variance 4; weekdays are equally frequent.
            gaps = effects[k] - np.delete(effects, k)
            expected = stats.norm.cdf(gaps / 2).mean() if name == "raw" else 0.5
            assert abs(shares[name, k] - expected) < 4 * 0.009, (name, k)
        result = PairwiseRewardModel(penalty=0.0).fit(marker, reward, prompts=prompts).inference()
        statistic = np.abs(result.estimate / result.std_error)
        assert statistic[0] > 50
        assert (statistic[1:] > 8).all() if name == "raw" else (statistic[1:] < 4).all()
    assert shares["raw", 0] > 0.57 and shares["raw", 4] < 0.45


# ---------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("penalty", -1.0), ("penalty", np.inf), ("penalty", "cv"), ("min_gap", -0.1), ("max_pairs_per_prompt", 0)],
)
def test_parameters_are_checked(parameter: str, value: Any) -> None:
    X, y, _ = comparisons(17)
    model = PairwiseRewardModel(**{parameter: value})
    with pytest.raises(ValueError, match=parameter):
        model.fit(X, y)
    with pytest.raises(ValueError, match=parameter):
        model.fit_pairs(X[:80], X[80:], y[:80] > y[80:])


def test_no_pair_is_left() -> None:
    X, y, prompts = comparisons(18)
    with pytest.raises(ValueError, match=r"no pair is left: 240 pairs were formed, 240 have rewards"):
        PairwiseRewardModel().fit(X, np.ones(len(y)), prompts=prompts)
    with pytest.raises(ValueError, match="no pair is left: 0 pairs were formed"):
        PairwiseRewardModel().fit(X, y, prompts=np.arange(len(y)))


def test_separable_and_collinear_pairs_need_a_penalty() -> None:
    X, y, prompts = comparisons(19)
    with pytest.raises(IdentificationError, match="separable"):
        PairwiseRewardModel(penalty=0.0).fit(X, X[:, 0], prompts=prompts)
    # A rare feature that always wins: its coefficient alone is infinite.
    rare = np.zeros(len(y))
    rare[::40] = 1
    winners = np.where(rare > 0, y + 100, y)
    with pytest.raises(IdentificationError, match="separable"):
        PairwiseRewardModel(penalty=0.0).fit(np.column_stack([X, rare]), winners, prompts=prompts)
    with pytest.raises(IdentificationError, match="direction without variation"):
        PairwiseRewardModel(penalty=0.0).fit(np.column_stack([X, X[:, 0] - X[:, 1]]), y, prompts=prompts)
    with pytest.raises(IdentificationError, match="direction without variation"):
        PairwiseRewardModel(penalty=0.0).fit(np.column_stack([X, prompts]), y, prompts=prompts)
    for features, reward in ((X, X[:, 0]), (np.column_stack([X, X[:, 0] - X[:, 1]]), y)):
        assert np.isfinite(PairwiseRewardModel(penalty=0.1).fit(features, reward, prompts=prompts).covariance_).all()


def test_logged_pairs_are_checked() -> None:
    X, y, _ = comparisons(20)
    first, second, won = X[:80], X[80:], (y[:80] > y[80:]).astype(float)
    model = PairwiseRewardModel()
    with pytest.raises(ValueError, match="X_first has 80 rows, X_second 79"):
        model.fit_pairs(first, second[:-1], won)
    with pytest.raises(ValueError, match="won has 79 rows"):
        model.fit_pairs(first, second, won[:-1])
    with pytest.raises(ValueError, match=r"won must lie in \[0, 1\]"):
        model.fit_pairs(first, second, 2 * won)
    with pytest.raises(ValueError, match="offset has 3 rows"):
        model.fit_pairs(first, second, won, offset=np.zeros(3))
    with pytest.raises(ValueError, match="groups"):
        model.fit_pairs(first, second, won, groups=np.zeros(80))
    with pytest.raises(ValueError, match="features"):
        model.fit_pairs(first, second[:, :2], won)
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert not [name for name in vars(model) if name.endswith("_")]


def test_one_group_has_no_clustered_errors() -> None:
    X, y, prompts = comparisons(21)
    with pytest.raises(ValueError, match="groups has 1 cluster"):
        PairwiseRewardModel().fit(X, y, prompts=prompts, groups=np.zeros(len(y)))


def test_lengths_and_indices_of_rows() -> None:
    X, y, prompts = comparisons(22)
    with pytest.raises(ValueError, match="prompts"):
        PairwiseRewardModel().fit(X, y, prompts=prompts[:-1])
    frame = pd.DataFrame(X)
    with pytest.raises(ValueError, match="same index labels in a different order"):
        PairwiseRewardModel().fit(frame, pd.Series(y)[::-1], prompts=prompts)
    model = PairwiseRewardModel().fit(X, y, prompts=prompts)
    with pytest.raises(ValueError, match="X_first has 3 rows, X_second 2"):
        model.predict_pairs(X[:3], X[:2])
