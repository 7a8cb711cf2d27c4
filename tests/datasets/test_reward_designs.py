"""Simulated logs: documented draws, closed-form limits, and least squares on many rows against them."""

import pickle
from math import erf, sqrt

import numpy as np
import pytest

from causalkit.datasets import (
    make_reward_groups,
    make_reward_instrument,
    make_reward_linear,
    make_reward_nonlinear,
    make_reward_two_by_two,
    make_reward_weekday,
)

THETA = np.array([1, 0.5, -0.75, 0])
B = np.array([0.8, -0.6, 0, 0])
MAKERS = [
    lambda seed: make_reward_linear(12, random_state=seed),
    lambda seed: make_reward_two_by_two(12, random_state=seed),
    lambda seed: make_reward_groups(4, 3, random_state=seed),
    lambda seed: make_reward_nonlinear(12, random_state=seed),
    lambda seed: make_reward_instrument(12, random_state=seed),
    lambda seed: make_reward_weekday(4, random_state=seed),
]


def slopes(y, *columns):
    """Least squares slopes with a constant."""
    design = np.column_stack([np.ones(len(y)), *columns])
    return np.linalg.lstsq(design, y, rcond=None)[0][1:]


def within(values, codes):
    """Values less the mean of their level."""
    columns = np.asarray(values, dtype=float).reshape(len(codes), -1)
    counts = np.bincount(codes)
    means = np.column_stack([np.bincount(codes, weights=column) / counts for column in columns.T])
    return columns - means[codes]


# --------------------------------------------------------------- draws


def test_linear_repeats_the_documented_draws():
    sample = make_reward_linear(7, confounding=-3, random_state=4)
    rng = np.random.default_rng(4)
    C, U, noise = rng.normal(size=7), rng.normal(size=(7, 4)), rng.normal(size=7)
    np.testing.assert_array_equal(sample.confounders["popularity"], C)
    np.testing.assert_allclose(sample.X, C[:, None] * B + U, rtol=1e-14)
    np.testing.assert_allclose(sample.reward, sample.X @ THETA, rtol=1e-14)
    np.testing.assert_allclose(sample.y, sample.X @ THETA - 3 * C + noise, rtol=1e-13)
    np.testing.assert_allclose(sample.adjusted_reward, sample.X @ THETA + noise, rtol=1e-12)


def test_two_by_two_repeats_the_documented_draws():
    sample = make_reward_two_by_two(9, random_state=4)
    rng = np.random.default_rng(4)
    C = rng.random(9) < 0.5
    X = rng.random(9) < np.where(C, 0.8, 0.2)
    np.testing.assert_array_equal(sample.confounders["audience"].to_numpy(), C.astype(int))
    np.testing.assert_array_equal(sample.X[:, 0], X)
    np.testing.assert_allclose(sample.y, X + 3 * C + rng.normal(size=9), rtol=1e-14)


def test_groups_repeat_the_documented_draws():
    sample = make_reward_groups(11, 2, random_state=4)
    rng = np.random.default_rng(4)
    a = np.repeat(rng.normal(size=11), 2)
    np.testing.assert_allclose(sample.X, a[:, None] * B + rng.normal(size=(22, 4)), rtol=1e-14)
    np.testing.assert_allclose(sample.y, sample.X @ THETA + 2 * a + rng.normal(size=22), rtol=1e-12)
    np.testing.assert_allclose(sample.confounder_effect, 2 * a, rtol=1e-14)
    authors = sample.confounders["author"]
    assert authors.dtype == "category"
    assert authors.tolist()[:3] == ["author_00", "author_00", "author_01"]
    assert authors.tolist()[-1] == "author_10"


def test_nonlinear_repeats_the_documented_draws():
    sample = make_reward_nonlinear(8, random_state=4)
    rng = np.random.default_rng(4)
    C = rng.uniform(-2, 2, size=(8, 2))
    U = rng.normal(size=(8, 3))
    X = U + np.column_stack([np.sin(2 * C[:, 0]), 0.5 * (C[:, 1] ** 2 - 4 / 3), np.zeros(8)])
    g = 2 * np.sin(2 * C[:, 0]) + C[:, 1] ** 2 - 4 / 3 + C[:, 0]
    np.testing.assert_array_equal(sample.confounders.to_numpy(), C)
    np.testing.assert_allclose(sample.X, X, rtol=1e-13)
    np.testing.assert_allclose(sample.confounder_effect, g, rtol=1e-13)
    np.testing.assert_allclose(sample.y, X @ [1, -0.5, 0.5] + g + rng.normal(size=8), rtol=1e-12)


def test_instrument_repeats_the_documented_draws():
    sample = make_reward_instrument(8, random_state=4)
    rng = np.random.default_rng(4)
    Z, V, U, e = rng.normal(size=8), rng.normal(size=8), rng.normal(size=(8, 4)), rng.normal(size=8)
    np.testing.assert_array_equal(sample.instruments["shock"], Z)
    np.testing.assert_allclose(sample.confounders["popularity"], Z + V, rtol=1e-14)
    np.testing.assert_allclose(sample.X, Z[:, None] * B + U, rtol=1e-14)
    np.testing.assert_allclose(sample.y, sample.X @ THETA + 2 * (Z + V) + 0.8 * V + e, rtol=1e-12)


def test_weekday_repeats_the_documented_draws():
    sample = make_reward_weekday(5, 2, random_state=4)
    rng = np.random.default_rng(4)
    day, q, noise = rng.integers(0, 7, size=10), rng.normal(size=10), rng.normal(size=10)
    effects = np.array([0.5, 0.3, 0.2, 0.1, -0.4, -0.35, -0.35])
    np.testing.assert_allclose(sample.y, q + effects[day] + noise, rtol=1e-13)
    np.testing.assert_array_equal(sample.X[:, 0], q)
    names = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    assert sample.confounders["weekday"].tolist() == [names[d] for d in day]
    assert sample.prompts.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


# --------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("gamma", "name", "coef", "rho", "accuracy", "uplift"),
    [
        (2, "none", (1.8, -0.1, -0.75, 0), 0.8797, 0.8423, 1.6860),
        (-3, "none", (-0.2, 1.4, -0.75, 0), 0.4930, 0.6641, 0.9449),
        (2, "invariance", (0.6, 0.8, -0.75, 0), 0.9285, 0.8789, 1.7795),
        (-3, "outcome_only", (0.8, 0.65, -0.75, 0), 0.9833, 0.9417, 1.8845),
        (2, "partially_linear", (1, 0.5, -0.75, 0), 1.0, 1.0, 1.9166),
        (2, "linear_control", (1, 0.5, -0.75, 0), 1.0, 1.0, 1.9166),
    ],
)
def test_limits_of_the_linear_design_rank_as_stated(gamma, name, coef, rho, accuracy, uplift):
    limit = make_reward_linear(1, confounding=gamma, random_state=0).population[name]
    np.testing.assert_allclose(limit, coef, atol=1e-12)
    # For texts X ~ N(0, I): correlation of rewards, chance of ordering a pair rightly, gain of the best of eight.
    got = limit @ THETA / np.linalg.norm(limit) / np.linalg.norm(THETA)
    assert got == pytest.approx(rho, abs=1e-4)
    assert 0.5 + np.arcsin(min(got, 1.0)) / np.pi == pytest.approx(accuracy, abs=1e-4)
    assert got * np.linalg.norm(THETA) * 1.42360 == pytest.approx(uplift, abs=1e-4)


def test_linear_design_has_its_limits():
    sample = make_reward_linear(200_000, random_state=1)
    C, X, y = sample.confounders["popularity"].to_numpy(), sample.X, sample.y
    C = C - C.mean()
    gamma = slopes(y, C)[0]
    got = {
        "none": slopes(y, X),
        "linear_control": slopes(y, X, C)[:4],
        "outcome_only": slopes(y - gamma * C, X),
        "partially_linear": slopes(y - gamma * C, X - np.outer(C, C @ X / (C @ C))),
    }
    # Restricted least squares: raw slopes moved along Σ⁻¹Cov(X, C) until the reward is uncorrelated with C.
    centred = X - X.mean(axis=0)
    move = np.linalg.solve(centred.T @ centred, centred.T @ C)
    got["invariance"] = got["none"] - move * ((centred @ got["none"]) @ C) / ((centred @ move) @ C)
    assert set(got) == set(sample.population)
    for name, value in got.items():
        # Standard errors are below √((1 + γ²)/n) = .005.
        np.testing.assert_allclose(value, sample.population[name], atol=0.02, err_msg=name)
    R = sample.adjusted_reward
    assert np.corrcoef(R, C)[0, 1] == pytest.approx(2 / 7, abs=0.01)
    assert R.var() == pytest.approx(3.0625, rel=0.02)


def test_two_by_two_is_exact():
    sample = make_reward_two_by_two()
    X, y, C = sample.X[:, 0], sample.y, sample.confounders["audience"].cat.codes.to_numpy()
    assert [X[level == C].mean() for level in (0, 1)] == [0.2, 0.8]
    np.testing.assert_array_equal(y, X + 3 * C)
    assert slopes(y, X)[0] == pytest.approx(2.8, abs=1e-12)
    assert slopes(within(y, C)[:, 0], X)[0] == pytest.approx(0.64, abs=1e-12)
    assert slopes(within(y, C)[:, 0], within(X, C)[:, 0])[0] == pytest.approx(1, abs=1e-12)
    # Weighted by P(C)/P(C|X) features and confounder are independent.
    share = np.array([[np.mean(C[x == X] == c) for c in (0, 1)] for x in (0, 1)])
    weight = 0.5 / share[X.astype(int), C]
    assert np.polyfit(X, y, 1, w=np.sqrt(weight))[0] == pytest.approx(1, abs=1e-12)
    stated = {"none": 2.8, "outcome_only": 0.64, "linear_control": 1, "fixed_effects": 1, "weighting": 1}
    assert set(sample.population) == set(stated)
    for name, value in stated.items():
        assert sample.population[name].item() == pytest.approx(value, abs=1e-12)
    # Average confounders are worth 1.5.
    np.testing.assert_array_equal(sample.reward, X + 1.5)
    np.testing.assert_array_equal(sample.adjusted_reward, sample.reward)


def test_two_by_two_sample_has_the_same_limits():
    sample = make_reward_two_by_two(100_000, random_state=0)
    C = sample.confounders["audience"].cat.codes.to_numpy()
    assert slopes(sample.y, sample.X)[0] == pytest.approx(2.8, abs=0.05)
    assert slopes(within(sample.y, C)[:, 0], sample.X)[0] == pytest.approx(0.64, abs=0.05)
    assert sample.adjusted_reward.mean() == pytest.approx(sample.y.mean(), abs=0.05)


@pytest.mark.parametrize(
    ("size", "outcome_only"), [(10, (0.72, 0.585, -0.675, 0)), (2, (0.40, 0.325, -0.375, 0)), (1, (0, 0, 0, 0))]
)
def test_limits_of_groups(size, outcome_only):
    stated = make_reward_groups(2, size, random_state=0).population
    np.testing.assert_allclose(stated["outcome_only"], outcome_only, atol=1e-12)
    np.testing.assert_allclose(stated["none"], (1.8, -0.1, -0.75, 0), atol=1e-12)


@pytest.mark.parametrize("size", [2, 10])
def test_groups_have_their_limits(size):
    sample = make_reward_groups(100_000 // size, size, random_state=2)
    codes = sample.confounders["author"].cat.codes.to_numpy()
    residual = within(sample.y, codes)[:, 0]
    theta = slopes(residual, within(sample.X, codes))
    for name, value in {
        "none": slopes(sample.y, sample.X),
        "outcome_only": slopes(residual, sample.X),
        "fixed_effects": theta,
    }.items():
        # Five standard errors of raw slopes with √(5/100 000) and groups of up to ten.
        np.testing.assert_allclose(value, sample.population[name], atol=0.04, err_msg=name)


def test_nonlinear_limits_are_the_stated_ones():
    sample = make_reward_nonlinear(200_000, random_state=3)
    stated = {
        "none": (1.7708, 0.0246, 0.5),
        "linear_control": (1.5691, 0.0246, 0.5),
        "outcome_only": (0.6953, -0.3689, 0.5),
        "partially_linear": (1, -0.5, 0.5),
    }
    assert set(sample.population) == set(stated)
    for name, value in stated.items():
        np.testing.assert_allclose(sample.population[name], value, atol=5e-5, err_msg=name)
    first, second = (sample.confounders[name].to_numpy() for name in ("first", "second"))
    means = np.column_stack([np.sin(2 * first), second**2 / 2 - 2 / 3, np.zeros(len(first))])
    at_c = means @ [1, -0.5, 0.5] + sample.confounder_effect
    got = {
        "none": slopes(sample.y, sample.X),
        "linear_control": slopes(sample.y, sample.X, first, second)[:3],
        "outcome_only": slopes(sample.y - at_c, sample.X),
        "partially_linear": slopes(sample.y - at_c, sample.X - means),
    }
    for name, value in got.items():
        np.testing.assert_allclose(value, stated[name], atol=0.03, err_msg=name)
    assert np.corrcoef(sample.adjusted_reward, sample.confounder_effect)[0, 1] == pytest.approx(0.1856, abs=0.01)


def test_instrument_limits_are_the_stated_ones():
    sample = make_reward_instrument(200_000, random_state=5)
    np.testing.assert_allclose(sample.population["none"], (1.8, -0.1, -0.75, 0), atol=1e-12)
    np.testing.assert_allclose(sample.population["linear_control"], (0.7867, 0.66, -0.75, 0), atol=5e-5)
    np.testing.assert_allclose(sample.population["linear_control_effect"], 2.5333, atol=5e-5)
    np.testing.assert_array_equal(sample.population["instrument"], THETA)
    C, Z = sample.confounders["popularity"].to_numpy(), sample.instruments["shock"].to_numpy()
    np.testing.assert_allclose(slopes(sample.y, sample.X), sample.population["none"], atol=0.03)
    controlled = slopes(sample.y, sample.X, C)
    np.testing.assert_allclose(controlled[:4], sample.population["linear_control"], atol=0.02)
    np.testing.assert_allclose(controlled[4:], sample.population["linear_control_effect"], atol=0.02)
    regressors, instruments = (np.column_stack([np.ones(len(Z)), sample.X, last]) for last in (C, Z))
    solved = np.linalg.solve(instruments.T @ regressors, instruments.T @ sample.y)
    np.testing.assert_allclose(solved[1:], [*THETA, 2], atol=5 * np.sqrt(3.28 / 200_000))


def test_weekdays_win_as_often_as_stated():
    sample = make_reward_weekday(random_state=6)
    effects = [0.5, 0.3, 0.2, 0.1, -0.4, -0.35, -0.35]
    expected = [
        sum(0.5 * (1 + erf((d - other) / 2 / sqrt(2))) for j, other in enumerate(effects) if j != i) / 6
        for i, d in enumerate(effects)
    ]
    np.testing.assert_allclose(sample.population["win_share"], expected, rtol=1e-12)
    assert sample.population["win_share"][[0, 4]] == pytest.approx([0.6136, 0.4088], abs=5e-5)
    day = sample.confounders["weekday"].cat.codes.to_numpy().reshape(-1, 3)
    for outcome, target in ((sample.y, (0.6136, 0.4088)), (sample.adjusted_reward, (0.5, 0.5))):
        values = outcome.reshape(-1, 3)
        for which, share in zip((0, 4), target, strict=True):
            wins = []
            for i, j in ((0, 1), (0, 2), (1, 2)):
                for one, two in ((i, j), (j, i)):
                    rows = (day[:, one] == which) & (day[:, two] != which)
                    wins.append(values[rows, one] > values[rows, two])
            won = np.concatenate(wins)
            assert len(won) == pytest.approx(3673, rel=0.08)
            assert won.mean() == pytest.approx(share, abs=4 * 0.009)


# --------------------------------------------------------------- records


@pytest.mark.parametrize("make", MAKERS)
def test_outcome_is_reward_and_effect_and_noise(make):
    sample = make(3)
    n = len(sample.y)
    assert sample.X.shape == (n, len(sample.theta))
    assert sample.reward.shape == sample.confounder_effect.shape == (n,)
    assert len(sample.confounders) == n
    np.testing.assert_allclose(sample.reward - sample.reward.mean(), (sample.X - sample.X.mean(0)) @ sample.theta)
    # What remains is noise: it has nothing of a size that either part has.
    noise = sample.adjusted_reward - sample.reward
    np.testing.assert_allclose(noise, sample.y - sample.reward - sample.confounder_effect, atol=1e-12)
    assert np.abs(noise).max() < 6


@pytest.mark.parametrize("make", MAKERS)
def test_randomness_comes_from_random_state_alone(make):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    np.testing.assert_array_equal(make(4).y, make(np.random.default_rng(4)).y)
    assert not np.array_equal(make(4).y, make(5).y)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("make", MAKERS)
def test_records_are_frozen_and_can_be_pickled(make):
    sample = make(0)
    with pytest.raises(AttributeError):
        sample.y = None
    copy = pickle.loads(pickle.dumps(sample))
    np.testing.assert_array_equal(copy.X, sample.X)
    assert copy.confounders.equals(sample.confounders)
    assert "n=12" in repr(sample) and str(sample.confounders.columns[0]) in repr(sample)


def test_truths_of_two_samples_are_their_own():
    one, two = make_reward_linear(2, random_state=0), make_reward_linear(2, random_state=0)
    one.theta[0] = 7.0
    one.population["partially_linear"][0] = 7.0
    assert two.theta[0] == 1 and two.population["partially_linear"][0] == 1
    assert make_reward_groups(2, 1, random_state=0).theta[0] == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make_reward_linear(0), "n_samples must be an integer at least 1"),
        (lambda: make_reward_linear(confounding=np.inf), "confounding must be a finite number"),
        (lambda: make_reward_linear(5, random_state="one"), "random_state must be None"),
        (lambda: make_reward_two_by_two(0), "n_samples must be an integer at least 1"),
        (lambda: make_reward_groups(1), "n_groups must be an integer at least 2"),
        (lambda: make_reward_groups(5, 0), "rows_per_group must be an integer at least 1"),
        (lambda: make_reward_nonlinear(2.5), "n_samples must be an integer at least 1"),
        (lambda: make_reward_instrument(-1), "n_samples must be an integer at least 1"),
        (lambda: make_reward_weekday(0), "n_questions must be an integer at least 1"),
        (lambda: make_reward_weekday(5, 0), "answers_per_question must be an integer at least 1"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
