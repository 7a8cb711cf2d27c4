"""R-stacking: simplex least squares against a grid, its first-order conditions, and invariances of the weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from causalkit.selection import r_loss, r_stacking
from causalkit.selection.stacking import simplex_least_squares


def draw(seed: int, n: int = 200, candidates: int = 4, k: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Effects (C, n, k) of candidates that are wrong in different ways, Ỹ and T̃."""
    rng = np.random.default_rng(seed)
    truth = 1 + rng.normal(size=(n, k))
    t = rng.normal(size=(n, k))
    effects = truth + rng.normal(size=(candidates, n, k)) * rng.uniform(0.2, 2, size=(candidates, 1, 1))
    return effects, (t * truth).sum(axis=1) + rng.normal(size=n), t


def simplex_grid(size: int, steps: int) -> np.ndarray:
    """All points of the simplex whose coordinates are multiples of 1/steps."""
    return (
        np.array([p for p in itertools.product(range(steps + 1), repeat=size) if sum(p) == steps], dtype=float) / steps
    )


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_as_good_as_the_best_of_a_grid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(6, 3)) + 1.5 * rng.normal(size=(6, 1))
    gram = root.T @ root
    weights = simplex_least_squares(gram)
    grid = simplex_grid(3, 200)
    values = np.einsum("ij,jk,ik->i", grid, gram, grid)
    best = grid[np.argmin(values)]
    assert weights @ gram @ weights <= values.min() + 1e-12
    # The loss is quadratic: near the minimum a step of the grid moves it by no more than the step squared.
    assert np.abs(weights - best).max() < 0.05


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 7), rank=st.integers(1, 7))
def test_stacking_weights_meet_the_first_order_conditions(seed: int, size: int, rank: int) -> None:
    """On the simplex the gradient Ma is the same wherever a is positive, and not smaller elsewhere."""
    root = np.random.default_rng(seed).normal(size=(rank, size))
    gram = root.T @ root
    weights = simplex_least_squares(gram)
    assert weights.min() >= 0
    assert_allclose(weights.sum(), 1, rtol=1e-12)
    gradient = gram @ weights
    unit = np.trace(gram)
    used = weights > 1e-9
    assert_allclose(gradient[used], weights @ gradient, atol=1e-7 * unit)
    assert (gradient >= weights @ gradient - 1e-7 * unit).all()


def test_one_exact_candidate_gets_everything_and_no_loss_at_all_is_shared() -> None:
    effects, _, t = draw(0)
    exact = (t * effects[2]).sum(axis=1)
    assert_allclose(r_stacking(effects, exact, t), [0, 0, 1, 0], atol=1e-10)
    assert_allclose(r_stacking(effects[[2, 2]], exact, t), [0.5, 0.5])
    assert_allclose(r_stacking(effects[:1], exact, t), [1.0])


def test_truth_between_two_candidates_is_mixed_by_halves() -> None:
    rng = np.random.default_rng(3)
    t, truth, error = rng.normal(size=400), rng.normal(size=400), rng.normal(size=400)
    weights = r_stacking([truth + error, truth - error], t * truth, t)
    assert_allclose(weights, [0.5, 0.5], atol=1e-10)


@pytest.mark.parametrize("k", [1, 3])
def test_no_other_mixture_has_a_smaller_r_loss(k: int) -> None:
    effects, y, t = draw(1, k=k)
    weights = r_stacking(effects, y, t)

    def loss(a: np.ndarray) -> float:
        return float(np.mean((y - np.einsum("c,cnk,nk->n", a, effects, t)) ** 2))

    corners = np.eye(4)
    others = np.random.default_rng(2).dirichlet(np.full(4, 0.5), size=500)
    assert all(loss(weights) <= loss(a) + 1e-12 for a in [*corners, *others])
    if k == 1:
        mixed = np.tensordot(weights, effects[:, :, 0], axes=1)
        assert_allclose(loss(weights), r_loss(mixed, y, t[:, 0]), rtol=1e-12)


def test_weights_of_rows_are_repeated_rows() -> None:
    effects, y, t = draw(4)
    copies = np.random.default_rng(5).integers(0, 4, len(y))
    repeated = np.repeat(np.arange(len(y)), copies)
    assert_allclose(
        r_stacking(effects, y, t, sample_weight=copies.astype(float)),
        r_stacking(effects[:, repeated], y[repeated], t[repeated]),
        atol=1e-9,
    )
    assert_allclose(r_stacking(effects, y, t, sample_weight=np.full(len(y), 7.0)), r_stacking(effects, y, t), atol=1e-9)


def test_equivariances() -> None:
    effects, y, t = draw(6)
    weights = r_stacking(effects, y, t)
    order = np.random.default_rng(7).permutation(4)
    rows = np.random.default_rng(8).permutation(len(y))
    assert_allclose(r_stacking(effects[order], y, t), weights[order], atol=1e-8)
    assert_allclose(r_stacking(effects[:, rows], y[rows], t[rows]), weights, atol=1e-8)
    assert_allclose(r_stacking(1e6 * effects, 1e6 * y, t), weights, atol=1e-8)  # the unit of the outcome
    assert_allclose(r_stacking(effects / 1e4, y, 1e4 * t), weights, atol=1e-8)  # the unit of the treatment
    added = np.random.default_rng(9).normal(size=t.shape)  # the same change of every candidate and of the truth
    assert_allclose(r_stacking(effects + added, y + (t * added).sum(axis=1), t), weights, atol=1e-8)


def test_one_column_may_come_without_its_axis() -> None:
    effects, y, t = draw(10)
    assert_allclose(r_stacking(effects[:, :, 0], y, t[:, 0]), r_stacking(effects, y, t))


def test_bad_input() -> None:
    effects, y, t = draw(11)
    with pytest.raises(ValueError, match=r"effects must hold one table of shape \(200, 1\) per candidate"):
        r_stacking(effects[:, :50], y, t)
    with pytest.raises(ValueError, match="effects contains NaN or infinity"):
        r_stacking(np.where(effects > 3, np.nan, effects), y, t)
    with pytest.raises(ValueError, match="outcome_residual has 50 rows"):
        r_stacking(effects, y[:50], t)
    with pytest.raises(ValueError, match="treatment_residual contains NaN"):
        r_stacking(effects, y, np.where(t > 2, np.nan, t))
    with pytest.raises(ValueError, match="sample_weight"):
        r_stacking(effects, y, t, sample_weight=-np.ones(200))
