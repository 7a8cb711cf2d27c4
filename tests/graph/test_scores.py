"""Scores and averages: closed forms, brute force with both potential outcomes, and influence values by derivatives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, softmax

from causalkit.graph.final_models import Residuals, best_constant
from causalkit.graph.scores import (
    average_effects,
    baseline_outcome,
    clip_probabilities,
    continuous_scores,
    doubly_robust_scores,
    ratio,
)
from causalkit.selection import r_loss

TARGETS = ("all", "treated", "control", "overlap")


class Sample:
    """Rows with L levels, true m, e and τ, and (wrong) estimates of them."""

    def __init__(self, seed: int = 0, n: int = 400, levels: int = 2) -> None:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, 2))
        logits = np.column_stack([np.zeros(n), *(0.7 * x @ rng.normal(size=2) for _ in range(levels - 1))])
        self.e = softmax(logits, axis=1)
        self.tau = 1 + x @ rng.normal(size=(2, levels - 1))
        self.base = x[:, 0] + np.sin(x[:, 1])
        self.potential = np.column_stack([self.base, self.base[:, None] + self.tau])
        self.codes = (rng.random(n)[:, None] > np.cumsum(self.e, axis=1)[:, :-1]).sum(axis=1)
        self.noise = rng.normal(size=n)
        self.y = self.potential[np.arange(n), self.codes] + self.noise
        self.m = (self.e * self.potential).sum(axis=1)
        self.wrong_m = self.m + 0.3 * rng.normal(size=n)
        self.wrong_tau = self.tau + 0.3 * rng.normal(size=self.tau.shape)
        self.weight = rng.uniform(0.5, 2, n)

    def averages(self, target: str, weight: np.ndarray | None = None):
        scores = doubly_robust_scores(self.y, self.codes, self.wrong_m, self.e, self.wrong_tau)
        return average_effects(target, self.y, self.codes, self.wrong_m, self.e, self.wrong_tau, scores, weight)


# ---------------------------------------------------------------------- the R-loss and its constant


def test_excess_r_loss_is_the_error_weighted_by_the_variance_of_the_treatment() -> None:
    """L(τ) - L(τ*) = E[e(1-e)(τ-τ*)²], by summing over both treatments of every row."""
    s = Sample(n=30)
    e, tau, wrong = s.e[:, 1], s.tau[:, 0], s.wrong_tau[:, 0]
    excess = 0.0
    for t in (0, 1):
        chance = np.where(t, e, 1 - e)
        outcome = s.potential[:, t]  # noise adds the same to both losses in expectation
        residual = outcome - s.m
        terms = (residual - (t - e) * wrong) ** 2 - (residual - (t - e) * tau) ** 2
        excess += float(np.mean(chance * terms))
    assert_allclose(excess, np.mean(e * (1 - e) * (wrong - tau) ** 2), rtol=1e-12)


def test_best_constant_is_the_ratio_and_tends_to_the_overlap_weighted_effect() -> None:
    s = Sample(n=300)
    y, t = s.y - s.m, s.codes - s.e[:, 1]
    c = best_constant(Residuals(y, t[:, None], None, None, 1.0))
    assert_allclose(c, (y @ t) / (t @ t), rtol=1e-12)
    weighted = best_constant(Residuals(y, t[:, None], s.weight, None, 1.0))
    assert_allclose(weighted, (s.weight * y * t).sum() / (s.weight * t * t).sum(), rtol=1e-12)
    steps = np.linspace(-1e-3, 1e-3, 3)
    losses = [r_loss(np.full(300, c[0] + d), y, t) for d in steps]
    assert losses[1] < min(losses[0], losses[2])
    # In expectation over both treatments: E[e(1-e)τ]/E[e(1-e)].
    top = bottom = 0.0
    e = s.e[:, 1]
    for level in (0, 1):
        chance = np.where(level, e, 1 - e)
        top += (chance * (s.potential[:, level] - s.m) * (level - e)).sum()
        bottom += (chance * (level - e) ** 2).sum()
    h = e * (1 - e)
    assert_allclose(top / bottom, (h * s.tau[:, 0]).sum() / h.sum(), rtol=1e-12)


def test_best_constants_of_several_levels_are_least_squares() -> None:
    s = Sample(levels=4)
    t = (s.codes[:, None] == np.arange(1, 4)) - s.e[:, 1:]
    root = np.sqrt(s.weight)
    expected = np.linalg.lstsq(t * root[:, None], (s.y - s.m) * root, rcond=None)[0]
    assert_allclose(best_constant(Residuals(s.y - s.m, t, s.weight, None, 1.0)), expected, rtol=1e-9)


# ---------------------------------------------------------------------- scores


def test_scores_of_two_levels_are_the_closed_form() -> None:
    s = Sample()
    e, tau, t = s.e[:, 1], s.wrong_tau[:, 0], s.codes
    expected = tau + (t - e) / (e * (1 - e)) * (s.y - s.wrong_m - (t - e) * tau)
    assert_allclose(doubly_robust_scores(s.y, t, s.wrong_m, s.e, s.wrong_tau)[:, 0], expected, rtol=1e-10)
    # The same in the augmented form: μ₁ = m + (1-e)τ, μ₀ = m - eτ.
    mu1, mu0 = s.wrong_m + (1 - e) * tau, s.wrong_m - e * tau
    assert_allclose(baseline_outcome(s.wrong_m, s.e, s.wrong_tau), mu0, rtol=1e-12)
    augmented = mu1 - mu0 + t * (s.y - mu1) / e - (1 - t) * (s.y - mu0) / (1 - e)
    assert_allclose(expected, augmented, rtol=1e-10)


def test_scores_of_several_levels_are_the_formula_row_by_row() -> None:
    s = Sample(levels=3)
    found = doubly_robust_scores(s.y, s.codes, s.wrong_m, s.e, s.wrong_tau)
    for i in range(50):
        mu0 = s.wrong_m[i] - sum(s.e[i, k] * s.wrong_tau[i, k - 1] for k in (1, 2))
        for k in (1, 2):
            expected = s.wrong_tau[i, k - 1]
            if s.codes[i] == k:
                expected += (s.y[i] - mu0 - s.wrong_tau[i, k - 1]) / s.e[i, k]
            if s.codes[i] == 0:
                expected -= (s.y[i] - mu0) / s.e[i, 0]
            assert_allclose(found[i, k - 1], expected, rtol=1e-10)


@pytest.mark.parametrize("wrong", ["m", "tau", "m and tau", "e"])
def test_scores_average_to_the_effect_if_the_rest_is_right(wrong: str) -> None:
    """Exactly, by summing over the treatments of every row with their chances."""
    s = Sample(levels=3, n=40)
    m = s.wrong_m if "m" in wrong else s.m
    tau = s.wrong_tau if "tau" in wrong else s.tau
    e = softmax(np.log(s.e) + 0.3 * np.random.default_rng(1).normal(size=s.e.shape), axis=1) if wrong == "e" else s.e
    if wrong == "e":  # m belongs to the probabilities that are used: m = μ₀ + Σ e_l τ_l
        m = s.base + (e[:, 1:] * s.tau).sum(axis=1)
    total = np.zeros_like(s.tau)
    for level in range(3):
        codes = np.full(40, level)
        total += s.e[:, [level]] * doubly_robust_scores(s.potential[:, level], codes, m, e, tau)
    assert_allclose(total, s.tau, atol=1e-12)


def test_scores_of_a_continuous_treatment() -> None:
    rng = np.random.default_rng(0)
    y, t, v, tau = rng.normal(size=50), rng.normal(size=50), rng.uniform(0.5, 2, 50), rng.normal(size=50)
    assert_allclose(continuous_scores(y, t, v, tau), tau + t / v * (y - t * tau))
    # A two-point treatment with its own variance is the binary score.
    s = Sample()
    e = s.e[:, 1]
    found = continuous_scores(s.y - s.wrong_m, s.codes - e, e * (1 - e), s.wrong_tau[:, 0])
    assert_allclose(found, doubly_robust_scores(s.y, s.codes, s.wrong_m, s.e, s.wrong_tau)[:, 0], rtol=1e-9)


# ---------------------------------------------------------------------- averages


def test_average_over_everybody_is_the_mean_of_scores() -> None:
    s = Sample(levels=3)
    scores = doubly_robust_scores(s.y, s.codes, s.wrong_m, s.e, s.wrong_tau)
    assert_allclose(s.averages("all").estimate, scores.mean(axis=0))
    assert_allclose(s.averages("all", s.weight).estimate, np.average(scores, axis=0, weights=s.weight))
    assert_allclose(s.averages("all").influence, scores - scores.mean(axis=0))


def test_averages_over_arms_are_the_formula() -> None:
    s = Sample()
    e, t, tau = s.e[:, 1], s.codes, s.wrong_tau[:, 0]
    mu0 = s.wrong_m - e * tau
    treated = (t * (s.y - mu0) - (1 - t) * e / (1 - e) * (s.y - mu0)).sum() / t.sum()
    assert_allclose(s.averages("treated").estimate, treated, rtol=1e-10)
    # The average over controls is that over the treated with arms and signs exchanged.
    flipped = Sample()
    flipped.codes, flipped.e, flipped.wrong_tau = 1 - t, s.e[:, ::-1], -s.wrong_tau
    assert_allclose(s.averages("control").estimate, -flipped.averages("treated").estimate, rtol=1e-10)


@pytest.mark.parametrize("target", TARGETS)
def test_averages_have_the_right_expectation(target: str) -> None:
    """Numerator and denominator summed over the treatments of every row, against both potential outcomes."""
    s = Sample(levels=3, n=60)
    top, bottom = np.zeros((60, 2)), np.zeros((60, 2))
    for level in range(3):
        codes = np.full(60, level)
        scores = doubly_robust_scores(s.potential[:, level], codes, s.wrong_m, s.e, s.wrong_tau)
        with np.errstate(invalid="ignore", divide="ignore"):
            part = average_effects(target, s.potential[:, level], codes, s.wrong_m, s.e, s.wrong_tau, scores, None)
        top += s.e[:, [level]] * part.numerator
        bottom += s.e[:, [level]] * part.denominator
    weights = {
        "all": np.ones((60, 2)),
        "treated": s.e[:, 1:],
        "control": np.repeat(s.e[:, :1], 2, axis=1),
        "overlap": np.repeat(1 / (1 / s.e).sum(axis=1, keepdims=True), 2, axis=1),
    }[target]
    assert_allclose(bottom, weights, rtol=1e-10)
    assert_allclose(top, weights * s.tau, atol=1e-10)


def test_averages_are_near_the_truth_of_their_targets() -> None:
    s = Sample(n=40_000, seed=3)
    e = s.e[:, 1]
    h = e * (1 - e)
    tau = s.tau[:, 0]
    truth = {
        "all": tau.mean(),
        "treated": (e * tau).sum() / e.sum(),
        "control": ((1 - e) * tau).sum() / (1 - e).sum(),
        "overlap": (h * tau).sum() / h.sum(),
    }
    for target, value in truth.items():
        found = s.averages(target)
        error = found.influence.std() / np.sqrt(len(e))
        assert error < 0.03
        assert abs(found.estimate[0] - value) < 4 * error, target
    assert len({round(value, 1) for value in truth.values()}) > 1


def test_overlap_of_two_levels_is_the_ratio_of_residuals() -> None:
    """With (T-e)² for weights the effect plugged in drops out."""
    s = Sample()
    y, t = s.y - s.wrong_m, s.codes - s.e[:, 1]
    assert_allclose(s.averages("overlap").estimate, (t * y).sum() / (t * t).sum(), rtol=1e-10)
    weighted = (s.weight * t * y).sum() / (s.weight * t * t).sum()
    assert_allclose(s.averages("overlap", s.weight).estimate, weighted, rtol=1e-10)


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_correction_of_overlap_weights_is_their_derivative(levels: int) -> None:
    """h + Σ ∂_l h (1{T=l} - e_l) = h²/e_T², with the derivatives taken numerically at free e_1..e_L."""
    s = Sample(levels=levels, n=30)

    def h(e: np.ndarray) -> np.ndarray:
        return 1 / (1 / e).sum(axis=1)

    step = 1e-6
    corrected = h(s.e)
    for level in range(levels):
        moved = np.eye(levels)[level] * step
        slope = (h(s.e + moved) - h(s.e - moved)) / (2 * step)
        corrected = corrected + slope * ((s.codes == level) - s.e[:, level])
    found = s.averages("overlap").denominator
    assert found is not None
    assert_allclose(found[:, 0], corrected, rtol=1e-6)
    if levels == 2:
        assert_allclose(corrected, (s.codes - s.e[:, 1]) ** 2, rtol=1e-6)


def test_overlap_average_does_not_move_with_small_errors_of_the_propensity() -> None:
    """The derivative with respect to e is 0 in expectation; plain weights h would move to first order."""
    s = Sample(levels=3, n=30, seed=5)
    direction = np.random.default_rng(0).normal(size=s.e.shape)
    direction -= direction.mean(axis=1, keepdims=True)  # probabilities keep adding up to one

    def expected(step: float) -> tuple[float, float]:
        e = s.e + step * direction
        top = bottom = plain_top = plain_bottom = 0.0
        for level in range(3):
            codes = np.full(30, level)
            m = s.base + (e[:, 1:] * s.tau).sum(axis=1)
            scores = doubly_robust_scores(s.potential[:, level], codes, m, e, s.tau)
            part = average_effects("overlap", s.potential[:, level], codes, m, e, s.tau, scores, None)
            top += float((s.e[:, level] * part.numerator[:, 0]).sum())
            bottom += float((s.e[:, level] * part.denominator[:, 0]).sum())
            h = 1 / (1 / e).sum(axis=1)
            plain_top += float((s.e[:, level] * h * scores[:, 0]).sum())
            plain_bottom += float((s.e[:, level] * h).sum())
        return top / bottom, plain_top / plain_bottom

    (up, plain_up), (down, plain_down) = expected(1e-5), expected(-1e-5)
    assert abs(up - down) / 2e-5 < 1e-3
    assert abs(plain_up - plain_down) / 2e-5 > 1e-2


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("levels", [2, 3])
def test_influence_values_are_derivatives_with_respect_to_weights(target: str, levels: int) -> None:
    s = Sample(levels=levels, n=80)
    found = s.averages(target, s.weight)
    assert_allclose(found.influence.sum(axis=0), 0, atol=1e-9)
    for row in (0, 17, 79):
        step = 1e-4 * np.eye(80)[row] * s.weight
        slope = (s.averages(target, s.weight + step).estimate - s.averages(target, s.weight - step).estimate) / 2e-4
        assert_allclose(slope, found.influence[row] / 80, rtol=1e-5, atol=1e-9)


def test_two_levels_among_several_equal_two_levels() -> None:
    """A third level that nobody takes and that has no chance changes neither scores nor averages."""
    s = Sample()
    n = len(s.y)
    e = np.column_stack([s.e, np.full(n, 1e-300)])
    tau = np.column_stack([s.wrong_tau, np.zeros(n)])
    two = doubly_robust_scores(s.y, s.codes, s.wrong_m, s.e, s.wrong_tau)
    three = doubly_robust_scores(s.y, s.codes, s.wrong_m, e, tau)
    assert_allclose(three[:, 0], two[:, 0], rtol=1e-12)
    found = average_effects("all", s.y, s.codes, s.wrong_m, e, tau, three, s.weight)
    assert_allclose(found.estimate[0], s.averages("all", s.weight).estimate[0], rtol=1e-12)


def test_ratio_by_hand() -> None:
    found = ratio(np.array([[1.0], [2.0], [4.0]]), np.array([[1.0], [1.0], [2.0]]), np.array([1.0, 2.0, 1.0]))
    assert_allclose(found.estimate, 9 / 5)
    assert_allclose(found.influence[:, 0], np.array([1 - 1.8, 2 * (2 - 1.8), 4 - 3.6]) / (5 / 3))


# ---------------------------------------------------------------------- clipping


def test_clipping_two_and_more_levels() -> None:
    two = np.array([[1.0, 0.0], [0.5, 0.5], [0.005, 0.995], [0.02, 0.98]])
    clipped, moved = clip_probabilities(two, 0.02)
    assert_allclose(clipped, [[0.98, 0.02], [0.5, 0.5], [0.02, 0.98], [0.02, 0.98]])
    assert moved.tolist() == [True, False, True, False]
    more = np.array([[0.0, 0.3, 0.7], [0.2, 0.3, 0.5]])
    clipped, moved = clip_probabilities(more, 0.1)
    assert_allclose(clipped[0], np.array([0.1, 0.3, 0.7]) / 1.1)
    assert_allclose(clipped.sum(axis=1), 1)
    assert_allclose(clipped[1], more[1])
    assert moved.tolist() == [True, False]
    assert_allclose(clip_probabilities(two, 0.0)[0], two)


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(ValueError, match="target must be one of 'all', 'treated', 'control', 'overlap'"):
        Sample().averages("everybody")


def test_exact_enumeration_of_a_tiny_experiment() -> None:
    """Four nodes, all 16 assignments: the average over everybody is unbiased with wrong m and τ."""
    rng = np.random.default_rng(2)
    e, tau, base = expit(rng.normal(size=4)), rng.normal(size=4), rng.normal(size=4)
    m, wrong = rng.normal(size=4), rng.normal(size=(4, 1))
    total = 0.0
    for assignment in itertools.product((0, 1), repeat=4):
        t = np.array(assignment)
        chance = np.prod(np.where(t, e, 1 - e))
        both = np.column_stack([1 - e, e])
        scores = doubly_robust_scores(base + t * tau, t, m, both, wrong)
        total += chance * average_effects("all", base + t * tau, t, m, both, wrong, scores, None).estimate[0]
    assert_allclose(total, tau.mean(), rtol=1e-12)
