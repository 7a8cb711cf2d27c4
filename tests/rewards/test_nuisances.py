"""The default nuisance: splines with uniform knots, periodic ones, levels; ridge by exact leave-one-out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import RidgeCV

from causalkit.rewards.confounders import ConfounderRoles
from causalkit.rewards.nuisances import _ALPHAS, ConfounderBasis, RidgeOnBasis

Array = NDArray[np.float64]
NUMERIC = ConfounderRoles(("c",), ("c",), ())
MIXED = ConfounderRoles(("c", "hour", "author"), ("c", "hour"), ("author",), {"hour": 24.0})


def confounders(seed: int, n: int) -> Array:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.normal(size=n), rng.uniform(0, 24, n), rng.integers(0, 4, n)])


# ---------------------------------------------------------------------- basis


def test_knots_are_uniform_and_tails_are_lines() -> None:
    rng = np.random.default_rng(0)
    C = rng.exponential(size=(400, 1))
    basis = ConfounderBasis(NUMERIC, ()).fit(C)
    low, high = C.min(), C.max()
    spline = basis.splines_[0].bsplines_[0]
    inside = spline.t[(spline.t >= low - 1e-9) & (spline.t <= high + 1e-9)]
    assert_allclose(inside, np.linspace(low, high, 10), rtol=1e-9, atol=1e-12)
    for edge, sign in ((low, -1), (high, 1)):
        far = basis.transform((edge + sign * np.array([1.0, 2.0, 3.0]))[:, None])
        assert_allclose(np.diff(far, 2, axis=0), 0, atol=1e-9)
    # Cubic polynomials lie in the span of the columns and the constant.
    B = np.column_stack([np.ones(400), basis.transform(C)])
    cubic = (C**3 - 2 * C**2 + C)[:, 0]
    assert_allclose(B @ np.linalg.lstsq(B, cubic, rcond=None)[0], cubic, atol=1e-7)


def test_cyclic_columns_join_at_the_period() -> None:
    roles = ConfounderRoles(("hour",), ("hour",), (), {"hour": 24.0})
    hours = np.linspace(0, 24, 97)[:, None]
    basis = ConfounderBasis(roles, ()).fit(hours[10:40])  # nights were not seen: the period is known all the same
    B = basis.transform(hours)
    assert_allclose(B[0], B[-1], atol=1e-12)
    assert_allclose(B, basis.transform(hours + 48), atol=1e-9)
    slopes = (basis.transform(np.array([[1e-5], [24 - 1e-5]])) - B[0]) / 1e-5
    assert_allclose(slopes[0], -slopes[1], atol=1e-3)  # smooth at midnight


def test_constant_columns_and_unseen_levels_add_nothing() -> None:
    roles = ConfounderRoles(("c", "author"), ("c",), ("author",))
    C = np.column_stack([np.full(6, 3.0), [0, 1, 2, 0, 1, -1]])
    B = ConfounderBasis(roles, (3,)).fit(C).transform(C)
    assert_allclose(B, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert ConfounderBasis(roles, (3,), drop_first=True).fit(C).transform(C).shape == (6, 2)
    assert ConfounderBasis(NUMERIC, ()).fit(C[:, :1]).transform(C[:, :1]).shape == (6, 0)


# ---------------------------------------------------------------------- ridge


def brute_force(B: Array, y: Array, weight: Array) -> tuple[float, Array]:
    """Best alpha by refitting without each row, and the fit with it; the constant is not penalised."""

    def solve(rows: Array, alpha: float) -> tuple[float, Array]:
        w = weight[rows]
        mean, level = np.average(B[rows], axis=0, weights=w), np.average(y[rows], weights=w)
        centred = (B[rows] - mean) * w[:, None]
        slope = np.linalg.solve(
            centred.T @ (B[rows] - mean) + alpha * np.eye(B.shape[1]), centred.T @ (y[rows] - level)
        )
        return float(level - mean @ slope), slope

    everything = np.arange(len(y))
    losses = []
    for alpha in _ALPHAS:
        loss = 0.0
        for i in everything:
            constant, slope = solve(np.delete(everything, i), alpha)
            loss += weight[i] * float((y[i] - constant - B[i] @ slope) ** 2)
        losses.append(loss)
    best = float(_ALPHAS[int(np.argmin(losses))])
    constant, slope = solve(everything, best)
    return best, constant + B @ slope


@pytest.mark.parametrize("weighted", [False, True])
def test_penalty_is_that_of_refitting_without_each_row(weighted: bool) -> None:
    rng = np.random.default_rng(1)
    C = confounders(1, 40)
    targets = np.column_stack([np.sin(C[:, 0]) + 0.3 * rng.normal(size=40), rng.normal(size=40), C[:, 2]])
    weight = rng.uniform(0.3, 2, 40) if weighted else np.ones(40)
    weight = weight / weight.mean()
    model = RidgeOnBasis(MIXED, (4,)).fit(C, targets, sample_weight=weight if weighted else None)
    B = ConfounderBasis(MIXED, (4,)).fit(C).transform(C)
    for k in range(3):
        alpha, fitted = brute_force(B, targets[:, k], weight)
        assert_allclose(model.alpha_[k], alpha, rtol=1e-12)
        assert_allclose(model.predict(C)[:, k], fitted, atol=1e-8)
    assert len(set(model.alpha_)) > 1  # one penalty per target


def test_equals_scikit_learn_and_handles_blocks_of_targets() -> None:
    rng = np.random.default_rng(2)
    C = confounders(2, 150)
    targets = rng.normal(size=(150, 70)) + np.sin(C[:, :1]) * rng.normal(size=70)
    model = RidgeOnBasis(MIXED, (4,)).fit(C, targets)
    B = ConfounderBasis(MIXED, (4,)).fit(C).transform(C)
    reference = RidgeCV(alphas=_ALPHAS, alpha_per_target=True).fit(B, targets)
    assert_allclose(model.alpha_, reference.alpha_, rtol=1e-12)
    assert_allclose(model.predict(C), reference.predict(B), atol=1e-7)
    single = clone(model).fit(C, targets[:, 3])
    assert single.predict(C).shape == (150,)
    assert_allclose(single.predict(C), model.predict(C)[:, 3], atol=1e-10)


def test_weights_do_not_depend_on_their_scale_and_zero_leaves_a_row_out() -> None:
    rng = np.random.default_rng(3)
    C, y = confounders(3, 80), rng.normal(size=80)
    weight = rng.uniform(0.2, 2, 80)
    one = RidgeOnBasis(MIXED, (4,)).fit(C, y, sample_weight=weight)
    two = RidgeOnBasis(MIXED, (4,)).fit(C, y, sample_weight=1000 * weight)
    assert_allclose(one.predict(C), two.predict(C), atol=1e-10)
    weight[:5] = 0
    changed = y.copy()
    changed[:5] = 1e3
    three = RidgeOnBasis(MIXED, (4,)).fit(C, y, sample_weight=weight)
    four = RidgeOnBasis(MIXED, (4,)).fit(C, changed, sample_weight=weight)
    assert_allclose(three.predict(C), four.predict(C), atol=1e-8)


def test_smoother_norm_is_that_of_the_weights_on_the_outcome() -> None:
    rng = np.random.default_rng(4)
    C, y = confounders(4, 60), rng.normal(size=60)
    model = RidgeOnBasis(MIXED, (4,)).fit(C, y)
    new = confounders(5, 7)
    basis = ConfounderBasis(MIXED, (4,)).fit(C)
    centred = basis.transform(C) - basis.transform(C).mean(axis=0)
    rows = basis.transform(new) - basis.transform(C).mean(axis=0)
    smoother = rows @ np.linalg.solve(centred.T @ centred + model.alpha_[0] * np.eye(centred.shape[1]), centred.T)
    assert_allclose(model.predict(new) - y.mean(), smoother @ y, atol=1e-9)
    assert_allclose(model.squared_smoother_norm(new), (smoother**2).sum(axis=1), rtol=1e-7)
