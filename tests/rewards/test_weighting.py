"""Balancing weights: exact numbers of the 2×2 table, brute force, derivatives, statsmodels, sampled rows, refusals."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from causalkit.exceptions import IdentificationError, OverlapWarning
from causalkit.rewards.estimated_weights import influence_with_estimated_weights
from causalkit.rewards.weighting import (
    auc_after_weighting,
    balancing_weights,
    weighted_level_means,
    weighted_regression,
)
from causalkit.validation import check_groups

Array = NDArray[np.float64]

# Ten rows, half of them at each level; P(X = 1 | C) is .2 and .8.
LEVEL = np.repeat([0, 1], 5)
FEATURE = np.array([1.0, 0, 0, 0, 0, 1, 1, 1, 1, 0])
OUTCOME = FEATURE + 3 * LEVEL


def two_by_two(c: NDArray[np.intp], x: Array) -> Array:
    """Cell frequencies P(C | X) of the rows, shape (n, 2)."""
    one = np.array([np.mean(c[x == value]) for value in (0.0, 1.0)])[x.astype(int)]
    return np.column_stack([1 - one, one])


def sample(rng: np.random.Generator, n: int) -> tuple[Array, NDArray[np.intp], Array, Array]:
    """X (n, 2), levels, their true probabilities given X, and y with level effects 0, 2, 4, ..."""
    X = rng.standard_normal((n, 2))
    score = np.exp(X @ [[0.8, 0.0, -0.8], [-0.4, 0.5, 0.0]])
    probabilities = score / score.sum(axis=1, keepdims=True)
    codes = (rng.uniform(size=n)[:, None] > np.cumsum(probabilities, axis=1)[:, :-1]).sum(axis=1)
    y = X @ [1.0, -0.5] + 2.0 * codes + rng.standard_normal(n)
    return X, codes, probabilities, y


# ---------------------------------------------------------------------- exact numbers


def test_two_by_two_table() -> None:
    found = balancing_weights(LEVEL, two_by_two(LEVEL, FEATURE))
    # P(C)/P(C|X) is .5/.8 in the four large cells and .5/.2 in the rare ones.
    expected = np.where(FEATURE == LEVEL, 0.625, 2.5)
    assert_allclose(found.weights, expected, rtol=1e-12)
    assert_allclose(found.effective_size, expected.sum() ** 2 / (expected**2).sum(), rtol=1e-12)
    fit = weighted_regression(FEATURE[:, None], OUTCOME, found.weights)
    assert_allclose(fit.coef, [1.0], rtol=1e-12)
    means = weighted_level_means(OUTCOME, LEVEL, 2, found.weights)
    assert_allclose(means.effect[1] - means.effect[0], 3.0, rtol=1e-12)
    # Without weights the slope is 2.8, as the table says.
    assert_allclose(weighted_regression(FEATURE[:, None], OUTCOME, np.ones(10)).coef, [2.8], rtol=1e-12)


def test_two_by_two_sampled() -> None:
    n, replicates = 4000, 60
    rng = np.random.default_rng(31)
    slopes, errors, gaps, gap_errors = [], [], [], []
    for _ in range(replicates):
        c = rng.integers(0, 2, n)
        x = (rng.uniform(size=n) < np.where(c == 1, 0.8, 0.2)).astype(float)
        y = x + 3 * c + rng.standard_normal(n)
        weights = balancing_weights(c, two_by_two(c, x)).weights
        fit = weighted_regression(x[:, None], y, weights)
        means = weighted_level_means(y, c, 2, weights)
        slopes.append(fit.coef[0])
        errors.append(np.sqrt(fit.covariance("HC0")[0, 0]))
        gaps.append(means.effect[1] - means.effect[0])
        gap_errors.append(np.hypot(*means.std_error))
    for values, truth in ((slopes, 1.0), (gaps, 3.0)):
        assert abs(np.mean(values) - truth) < 4 * np.std(values, ddof=1) / np.sqrt(replicates)
    # Weights that are taken as known make the interval too long here, never too short.
    assert np.mean(np.abs(np.array(slopes) - 1) < 1.96 * np.array(errors)) >= 0.92
    assert np.mean(np.abs(np.array(gaps) - 3) < 1.96 * np.array(gap_errors)) >= 0.92
    assert np.mean(errors) > np.std(slopes)


def test_estimated_weights_have_the_right_errors() -> None:
    n, replicates = 2000, 200
    rng = np.random.default_rng(33)
    slopes, errors = [], []
    for _ in range(replicates):
        c = rng.integers(0, 2, n)
        x = (rng.uniform(size=n) < np.where(c == 1, 0.8, 0.2)).astype(float)[:, None]
        # Cell frequencies are the maximum likelihood probabilities of a logistic regression on one binary feature.
        probabilities = two_by_two(c, x[:, 0])
        y = x[:, 0] + 3 * c + rng.standard_normal(n)
        fit = weighted_regression(x, y, balancing_weights(c, probabilities).weights)
        influence = influence_with_estimated_weights(fit.influence(), c, probabilities, x)
        slopes.append(fit.coef[0])
        errors.append(np.sqrt((influence**2).sum()) / n)
    assert_allclose(np.mean(errors), np.std(slopes, ddof=1), rtol=4 / np.sqrt(2 * replicates))
    assert 0.89 <= np.mean(np.abs(np.array(slopes) - 1) < 1.96 * np.array(errors)) <= 0.995


def test_projection_on_scores_equals_least_squares() -> None:
    X, codes, probabilities, y = sample(np.random.default_rng(34), 200)
    weight = np.random.default_rng(35).uniform(0.5, 1.5, 200)
    weight /= weight.mean()
    influence = weighted_regression(X, y, balancing_weights(codes, probabilities, weight=weight).weights).influence()
    scores = []
    for c in range(3):  # all levels: the projection does not change with the one that is left out
        gap = (codes == c) - probabilities[:, c]
        scores += [weight * gap, weight * gap * X[:, 0], weight * gap * X[:, 1]]
        scores += [weight * ((codes == c) - weight[codes == c].sum() / 200)]
    s = np.column_stack(scores)
    expected = influence - s @ np.linalg.lstsq(s, influence, rcond=None)[0]
    assert_allclose(influence_with_estimated_weights(influence, codes, probabilities, X, weight), expected, atol=1e-9)
    with pytest.raises(ValueError, match="8 scores for 30 rows: expected at most 6"):
        influence_with_estimated_weights(influence[:30], codes[:30], probabilities[:30], X[:30])


def test_known_weights_have_the_right_errors() -> None:
    n, replicates = 1000, 200
    rng = np.random.default_rng(32)
    score = np.array([[0.8, 0.2], [0.2, 0.8]])
    slopes, errors = [], []
    for _ in range(replicates):
        x = rng.integers(0, 2, n)
        c = (rng.uniform(size=n) < score[x, 1]).astype(np.intp)
        # The outcome has no part in C, so that the spread of the estimate is that of the noise alone.
        y = x + rng.standard_normal(n)
        fit = weighted_regression(x[:, None].astype(float), y, 0.5 / score[x, c])
        slopes.append(fit.coef[0])
        errors.append(np.sqrt(fit.covariance("HC0")[0, 0]))
    assert_allclose(np.mean(errors), np.std(slopes, ddof=1), rtol=4 / np.sqrt(2 * replicates))


# ---------------------------------------------------------------------- brute force and peers


def test_weights_by_rows() -> None:
    _, codes, probabilities, _ = sample(np.random.default_rng(1), 60)
    weight = np.random.default_rng(2).uniform(0.5, 1.5, 60)
    weight /= weight.mean()
    found = balancing_weights(codes, probabilities, weight=weight, max_weight=1.2)
    n_capped = 0
    for i in range(60):
        own = weight[codes == codes[i]].sum() / weight.sum() / probabilities[i, codes[i]]
        n_capped += own > 1.2
        assert_allclose(found.weights[i], weight[i] * min(own, 1.2), rtol=1e-12)
    assert found.n_capped == n_capped > 0
    assert_allclose(found.level_share, [weight[codes == c].sum() / 60 for c in range(3)], rtol=1e-12)
    assert_allclose(found.smallest_probability, probabilities.min(axis=0))


def test_regression_equals_statsmodels() -> None:
    X, codes, probabilities, y = sample(np.random.default_rng(3), 300)
    weights = balancing_weights(codes, probabilities).weights
    fit = weighted_regression(X, y, weights)
    peer = sm.WLS(y, sm.add_constant(X), weights=weights)
    labels = np.arange(300) // 3
    for kind, options in (
        ("HC0", {"cov_type": "HC0"}),
        ("cluster", {"cov_type": "cluster", "cov_kwds": {"groups": labels, "use_correction": False}}),
    ):
        expected = peer.fit(**options)
        assert_allclose(fit.coef, expected.params[1:], rtol=1e-10)
        factor = 100 / 99 if kind == "cluster" else 1.0  # statsmodels without its finite-sample factor
        found = fit.covariance(kind, check_groups(labels, 300))
        assert_allclose(found, factor * expected.cov_params()[1:, 1:], rtol=1e-9)


def test_influence_is_the_derivative_by_a_row_weight() -> None:
    X, codes, probabilities, y = sample(np.random.default_rng(4), 120)
    weights = balancing_weights(codes, probabilities).weights
    influence = weighted_regression(X, y, weights).influence()
    step = 1e-5
    for row in (0, 50, 119):
        ends = []
        for sign in (1, -1):
            moved = weights.copy()
            moved[row] *= 1 + sign * step
            ends.append(weighted_regression(X, y, moved).coef)
        assert_allclose(120 * (ends[0] - ends[1]) / (2 * step), influence[row], rtol=1e-6, atol=1e-8)


def test_single_precision_features() -> None:
    X, codes, probabilities, y = sample(np.random.default_rng(5), 200)
    weights = balancing_weights(codes, probabilities).weights
    single = weighted_regression(X.astype(np.float32), y, weights)
    assert single.influence().dtype == np.float32
    assert_allclose(single.coef, weighted_regression(X, y, weights).coef, atol=1e-5)


@pytest.mark.parametrize("clustered", [False, True])
def test_level_means_by_rows(clustered: bool) -> None:
    _, codes, probabilities, y = sample(np.random.default_rng(6), 90)
    weights = balancing_weights(codes, probabilities).weights
    labels = np.arange(90) // 4
    groups = check_groups(labels, 90) if clustered else None
    found = weighted_level_means(y, codes, 4, weights, groups=groups)
    for c in range(3):
        own = codes == c
        mean = (weights[own] * y[own]).sum() / weights[own].sum()
        scores = own * weights * (y - mean) / weights[own].sum()
        if clustered:
            sums = np.array([scores[labels == g].sum() for g in range(23)])
            variance = 23 / 22 * (sums**2).sum()
        else:
            variance = (scores**2).sum()
        assert_allclose(found.effect[c], mean, rtol=1e-12)
        assert_allclose(found.std_error[c], np.sqrt(variance), rtol=1e-12)
        assert found.n[c] == own.sum()
        assert_allclose(found.effective_size[c], weights[own].sum() ** 2 / (weights[own] ** 2).sum(), rtol=1e-12)
    assert np.isnan(found.effect[3]) and np.isnan(found.std_error[3]) and found.effective_size[3] == 0


def test_auc_counts_weighted_pairs() -> None:
    _, codes, probabilities, _ = sample(np.random.default_rng(7), 80)
    probabilities = probabilities.round(1)  # ties
    weights = np.random.default_rng(8).uniform(0.5, 2, 80)
    auc, per_level = auc_after_weighting(codes, probabilities, weights)
    expected = []
    for c in range(3):
        wins = total = 0.0
        for i in np.flatnonzero(codes == c):
            for j in np.flatnonzero(codes != c):
                gap = probabilities[i, c] - probabilities[j, c]
                wins += weights[i] * weights[j] * (gap > 0) + weights[i] * weights[j] * (gap == 0) / 2
                total += weights[i] * weights[j]
        expected.append(wins / total)
    assert_allclose(per_level, expected, rtol=1e-10)
    assert_allclose(auc, np.average(expected, weights=np.bincount(codes)), rtol=1e-10)


def test_weights_bring_the_auc_to_a_half() -> None:
    _, codes, probabilities, _ = sample(np.random.default_rng(9), 20_000)
    before, _ = auc_after_weighting(codes, probabilities, np.ones(len(codes)))
    after, per_level = auc_after_weighting(codes, probabilities, balancing_weights(codes, probabilities).weights)
    # An AUC of n₁ and n₀ rows has sd of about √((n₁+n₀)/(12 n₁n₀)), larger by √(n/ESS): below .01 here.
    assert before > 0.6 and abs(after - 0.5) < 0.02 and (np.abs(per_level - 0.5) < 0.04).all()


def test_auc_of_one_level_is_unknown() -> None:
    auc, per_level = auc_after_weighting(np.zeros(4, dtype=np.intp), np.tile([0.9, 0.1], (4, 1)), np.ones(4))
    assert np.isnan(auc) and np.isnan(per_level).all()


# ---------------------------------------------------------------------- warnings and refusals


def test_rare_level_and_small_effective_size_warn() -> None:
    codes = np.array([0] * 50 + [1] * 50)
    own = np.full(100, 0.5)
    own[0] = 5e-4
    probabilities = np.where(codes[:, None] == [0, 1], own[:, None], 1 - own[:, None])
    with pytest.warns(OverlapWarning, match=r"level 'Mon' .*0\.0005.* effective sample size is .* of 100.*max_weight"):
        found = balancing_weights(codes, probabilities, levels=["Mon", "Tue"])
    assert found.effective_size < 10
    probabilities[0] = [0.01, 0.99]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert balancing_weights(codes, probabilities, max_weight=5).n_capped == 1


def test_impossible_level() -> None:
    codes, probabilities = np.array([0, 1, 1]), np.array([[0.0, 1.0], [0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(
        IdentificationError, match=r"level 'a' has predicted probability 0 for 1 rows that have it .first: row 0"
    ):
        balancing_weights(codes, probabilities, levels=["a", "b"])
    with pytest.warns(OverlapWarning):
        assert balancing_weights(codes, probabilities, max_weight=3.0).weights[0] == 3.0


@pytest.mark.parametrize(
    ("probabilities", "options", "message"),
    [
        (np.full((2, 2), 0.5), {}, "row for each of the 3 rows"),
        (np.ones((3, 1)), {}, r"each level .2 or more.: got shape .3, 1"),
        (np.full((3, 2), 0.6), {}, "add up to one in every row: 3 of 3"),
        (np.array([[0.5, 0.5], [np.nan, 0.5], [0.5, 0.5]]), {}, "1 of 3 rows do not .first: row 1"),
        (np.full((3, 2), 0.5), {"max_weight": 0.0}, "max_weight must be a positive"),
    ],
)
def test_bad_arguments(probabilities: Array, options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        balancing_weights(np.array([0, 1, 1]), probabilities, **options)


def test_collinear_features_are_named() -> None:
    X = np.random.default_rng(0).standard_normal((30, 2))
    with pytest.raises(IdentificationError, match="length"):
        weighted_regression(np.column_stack([X, X[:, 0]]), X[:, 1], np.ones(30), names=["length", "caps", "size"])
