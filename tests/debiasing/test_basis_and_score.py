"""Bases and scores against truncated powers, splines of scipy, direct kernel sums and exact identities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.interpolate import CubicSpline
from scipy.stats import gaussian_kde

from causalkit.debiasing.basis import (
    CellBasis,
    NaturalSplineBasis,
    TabulatedScoreBasis,
    spline_knots,
    weighted_quantile,
)
from causalkit.debiasing.score import (
    choose_knots,
    fit_kernel_score,
    gram_by_pieces,
    noise_weighted_matching,
    score_matching,
)
from causalkit.exceptions import CalibrationError
from tests.golden.debiasing_reference import kernel_scores, natural_columns, natural_slopes

KNOTS = np.array([-1.5, -0.4, 0.1, 0.9, 2.0])
FEW = settings(max_examples=25, deadline=None, derandomize=True)


def points(seed: int = 0, n: int = 300, spread: float = 2.0) -> np.ndarray:
    return spread * np.random.default_rng(seed).standard_normal(n)


# ---------------------------------------------------------------------- natural splines


@pytest.mark.parametrize("n_knots", [2, 3, 5])
def test_columns_span_the_natural_splines(n_knots: int) -> None:
    knots, x = KNOTS[:n_knots], points()
    basis = NaturalSplineBasis(knots)
    ours, theirs = basis.design(x), natural_columns(x, knots)
    change = np.linalg.lstsq(theirs, ours, rcond=None)[0]
    assert_allclose(theirs @ change, ours, atol=1e-9)
    assert np.linalg.matrix_rank(ours) == n_knots
    assert_allclose(basis.derivative(x), natural_slopes(x, knots) @ change, atol=1e-8)


def test_columns_are_a_line_and_cardinal_splines() -> None:
    basis = NaturalSplineBasis(KNOTS)
    at_knots = basis.design(KNOTS)
    assert_allclose(at_knots[:, :2], np.column_stack([np.ones(5), KNOTS]), atol=1e-14)
    assert_allclose(at_knots[:, 2:], np.eye(5)[:, 1:-1], atol=1e-14)
    inside = np.linspace(-1.5, 2, 50)
    assert_allclose(basis.design(inside)[:, 3], CubicSpline(KNOTS, np.eye(5)[2], bc_type="natural")(inside), atol=1e-13)
    tail = basis.derivative(np.array([-50.0, -2.0, 2.5, 50.0]))
    assert_allclose(tail[[0, 3]], tail[[1, 2]], atol=1e-13)  # linear beyond the outer knots


@pytest.mark.parametrize("n_knots", [2, 4])
def test_evaluation_in_chunks_is_the_design_times_coefficients(n_knots: int) -> None:
    basis, coef = NaturalSplineBasis(KNOTS[:n_knots]), np.random.default_rng(1).normal(size=n_knots)
    x = points(2, 40_000)  # more than two chunks
    assert_allclose(basis.evaluate(x, coef), basis.design(x) @ coef, rtol=1e-12, atol=1e-12)
    weights = np.random.default_rng(3).normal(size=(40_000, 2))
    assert_allclose(basis.project(x, weights), basis.design(x).T @ weights, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize("shared", [False, True])
def test_lines_by_cell(shared: bool) -> None:
    x, cells = points(4, 30), np.arange(30) % 3
    basis = CellBasis(3, shared_slope=shared)
    coef = np.random.default_rng(5).normal(size=basis.n_columns)
    if shared:
        expected = coef[0] + coef[1] * x + np.r_[0, coef[2:]][cells]
    else:
        expected = coef[::2][cells] + coef[1::2][cells] * x
    assert_allclose(basis.evaluate(x, coef, cells), expected)
    assert_allclose(basis.design(x, cells) @ coef, expected)


def test_table_is_linear_between_and_beyond_its_nodes() -> None:
    table = TabulatedScoreBasis(0.0, 1.0, np.array([1.0, 3.0, 2.0]), -2.0, -5.0)
    assert_allclose(table.score(np.array([-1.0, 0.0, 0.25, 1.0, 1.5, 2.0, 3.0])), [3, 1, 1.5, 3, 2.5, 2, -3])


@FEW
@given(seed=st.integers(0, 10_000), levels=st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_quantiles_of_repeated_rows(seed: int, levels: list[float]) -> None:
    rng = np.random.default_rng(seed)
    x, counts = rng.normal(size=30).round(1), rng.integers(1, 6, 30)
    expected = np.quantile(np.repeat(x, counts), levels)
    assert_allclose(weighted_quantile(x, np.array(levels), counts.astype(float)), expected, atol=1e-8)
    assert_allclose(weighted_quantile(x, np.array(levels), np.ones(30)), np.quantile(x, levels), atol=1e-8)


# ---------------------------------------------------------------------- score matching


@FEW
@given(seed=st.integers(0, 10_000), n_knots=st.integers(2, 8), weighted=st.booleans())
def test_stein_identities_hold_in_the_sample(seed: int, n_knots: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    x = rng.gamma(2, size=200)
    w = rng.uniform(0.2, 3, 200) if weighted else np.ones(200)
    w *= 200 / w.sum()
    basis = NaturalSplineBasis(spline_knots(x, n_knots))
    beta, influence = score_matching(basis, x, w if weighted else None)
    score = basis.design(x) @ beta
    assert_allclose(np.average(score, weights=w), 0, atol=1e-8)
    assert_allclose(np.average((x - np.average(x, weights=w)) * score, weights=w), -1, atol=1e-8)
    # E[s f] = -E[f'] for every f in the span, which is what the coefficients solve.
    left = np.average(basis.design(x) * score[:, None], axis=0, weights=w)
    assert_allclose(left, -np.average(basis.derivative(x), axis=0, weights=w), atol=1e-7)
    assert_allclose(influence.mean(axis=0), 0, atol=1e-7 * np.abs(influence).max())


def test_coefficients_minimise_the_loss() -> None:
    x = points(6)
    basis = NaturalSplineBasis(spline_knots(x, 5))
    B, D = basis.design(x), basis.derivative(x)

    def loss(beta: np.ndarray) -> float:
        return float(np.mean(0.5 * (B @ beta) ** 2 + D @ beta))

    beta = score_matching(basis, x)[0]
    rng = np.random.default_rng(7)
    assert all(loss(beta) < loss(beta + 0.01 * rng.normal(size=5)) for _ in range(20))


def test_two_knots_are_the_normal_score() -> None:
    x = points(8) + 3
    basis = NaturalSplineBasis(spline_knots(x, 2))
    assert_allclose(basis.design(x) @ score_matching(basis, x)[0], -(x - x.mean()) / x.var(), rtol=1e-9, atol=1e-9)


def test_grams_by_pieces_and_folds() -> None:
    x, folds, w = points(9), np.arange(300) % 3, np.random.default_rng(0).uniform(1, 2, 300)
    basis = NaturalSplineBasis(KNOTS)
    gram, slope = gram_by_pieces(basis, x, w, folds, 3)
    B, D = basis.design(x), basis.derivative(x)
    for fold in range(3):
        rows = folds == fold
        assert_allclose(gram[fold], B[rows].T @ (w[rows, None] * B[rows]), rtol=1e-9, atol=1e-9)
        assert_allclose(slope[fold], w[rows] @ D[rows], rtol=1e-9, atol=1e-9)


def test_noise_weighted_matching_with_constant_noise_is_score_matching() -> None:
    x = points(10)
    basis = NaturalSplineBasis(spline_knots(x, 4))
    beta, of_beta = score_matching(basis, x)
    gamma, of_gamma = noise_weighted_matching(basis, x, np.full(300, 1.5), np.zeros((300, 2)))
    assert_allclose(gamma, 2.25 * beta, rtol=1e-9)
    assert_allclose(of_gamma, 2.25 * of_beta, rtol=1e-7, atol=1e-9)


def test_number_of_knots_by_brute_force_cross_validation() -> None:
    rng = np.random.default_rng(11)
    x = np.concatenate([rng.normal(-2, 0.6, 300), rng.normal(1.5, 1, 300)])
    folds = rng.permutation(np.arange(600) % 5)
    grid, losses = (2, 3, 4, 5, 6, 8), []
    for k in grid:
        knots, loss = spline_knots(x, k), np.empty(600)
        for fold in range(5):
            train, test = x[folds != fold], x[folds == fold]
            B, D = natural_columns(train, knots), natural_slopes(train, knots)
            beta = np.linalg.lstsq(B.T @ B, -D.sum(axis=0), rcond=None)[0]
            s, ds = natural_columns(test, knots) @ beta, natural_slopes(test, knots) @ beta
            loss[folds == fold] = 0.5 * s**2 + ds
        losses.append(loss)
    means = np.array([loss.mean() for loss in losses])
    best = int(np.argmin(means))
    error = np.array([(loss - losses[best]).std() / np.sqrt(600) for loss in losses])
    chosen, results = choose_knots(x, folds, 5, grid=grid)
    assert_allclose(results["mean_loss"], means, rtol=1e-7)
    assert_allclose(results["se_difference"], error, rtol=1e-6, atol=1e-12)
    assert chosen == grid[int(np.argmax(means - means[best] <= error))]
    assert chosen > 2


def test_knots_on_normal_predictions_and_on_too_few_values() -> None:
    picked = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        picked.append(choose_knots(rng.normal(size=1000), rng.permutation(np.arange(1000) % 5), 5)[0])
    # At least 90 % of samples get two knots; a binomial(30, .9) is above 22 with probability .998.
    assert sum(k == 2 for k in picked) >= 23
    with pytest.raises(CalibrationError, match="too many knots for the distinct values"):
        choose_knots(np.zeros(50), np.arange(50) % 5, 5)


# ---------------------------------------------------------------------- kernel score


@pytest.mark.parametrize("weighted", [False, True])
def test_kernel_score_against_direct_sums(weighted: bool) -> None:
    x = points(12, 800)
    w = np.random.default_rng(1).uniform(0.3, 2, 800) if weighted else None
    kernel = fit_kernel_score(x, weight=w)
    peer = gaussian_kde(x, weights=w)
    assert_allclose(kernel.bandwidth, np.sqrt(peer.covariance[0, 0]), rtol=0.003 if weighted else 1e-10)
    inside = np.linspace(*np.quantile(x, [0.01, 0.99]), 60)
    direct = kernel_scores(inside, x, np.ones(800) if w is None else w, kernel.bandwidth)
    assert_allclose(kernel.table.score(inside), direct, atol=1e-4)


def test_kernel_score_goes_on_as_a_normal_tail() -> None:
    x = points(13, 500, 0.8)
    table = fit_kernel_score(x).table
    for edge, sign in ((x.min(), -1), (x.max(), 1)):
        far = table.score(np.array([edge + sign * 1.0, edge + sign * 4.0]))
        assert_allclose((far[1] - far[0]) / (sign * 3.0), -1 / x.var(), rtol=1e-9)


def test_stein_constant_undoes_the_bandwidth() -> None:
    # A kernel of bandwidth h on normal data has slope -1/(V + h²): the constant must be near 1 + h²/V.
    x = np.random.default_rng(14).normal(size=20_000)
    kernel = fit_kernel_score(x)
    assert_allclose(kernel.stein_constant, 1 + kernel.bandwidth**2, rtol=0.01)


def test_kernel_functional_influence() -> None:
    rng = np.random.default_rng(15)
    x, w = rng.normal(size=300), rng.uniform(0.5, 2, 300)
    trial = np.clip(rng.normal(size=40), x.min(), x.max())
    omega = rng.normal(size=(40, 2))
    h, share = 0.35, 300 * w / w.sum()
    found = fit_kernel_score(x, h, w).functional_influence(trial, omega, x, share)
    for j in (0, 57, 123):
        step = 1e-4 * np.eye(300)[j]
        change = kernel_scores(trial, x, w + step, h) - kernel_scores(trial, x, w - step, h)
        assert_allclose(found[j], 300 * w[j] * omega.T @ change / 2e-4, atol=2e-3 * np.abs(found).max())


def test_kernel_score_influence_carries_the_bandwidth() -> None:
    rng = np.random.default_rng(3)
    sample, points, omega = rng.gamma(4.0, size=300), rng.gamma(4.0, size=40), rng.normal(size=40)
    influence = fit_kernel_score(sample).functional_influence(points, omega[:, None], sample, np.ones(300))[:, 0]

    def value(row: int, step: float) -> float:
        weight = np.ones(300)
        weight[row] += step
        return float(omega @ fit_kernel_score(sample, "scott", weight).table.score(points))

    for row in (0, 7, 100, int(np.argmax(sample))):
        numeric = 300 * (value(row, 1e-4) - value(row, -1e-4)) / 2e-4
        assert influence[row] == pytest.approx(numeric, rel=2e-3, abs=5e-3 * np.abs(influence).max())


def test_a_far_prediction_does_not_decide_the_stein_constant() -> None:
    sample = np.random.default_rng(0).normal(size=300)
    plain = fit_kernel_score(sample, 0.3).stein_constant
    # Eight bandwidths beyond the rest: its own moment is (x - x̄)²/V in 301 under the normal score, and would be
    # (x - x̄)·8/h in 301 under a leave-one-out kernel score.
    extended = np.append(sample, sample.max() + 2.4)
    far = fit_kernel_score(extended, 0.3).stein_constant
    deviation = extended[-1] - extended.mean()
    assert far == pytest.approx(301 / (300 / plain + deviation**2 / extended.var()), rel=0.03)
    assert far > 1.2 * 301 / (300 / plain + deviation * 8 / 0.3)
