"""R-loss and DR-loss against their sums and the identities that make them rank by error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from causalkit.selection import dr_loss, estimated_effect, r_loss


class Estimator:
    """Effects of two levels, in the shapes that estimators return."""

    def __init__(self, shape: str) -> None:
        self.shape = shape

    def const_marginal_effect(self, X: Any) -> Any:
        values = np.column_stack([X[:, 0], 2 * X[:, 1]])
        one_outcome = {"flat": values[:, 0], "levels": values, "outcome": values[:, None, :]}
        return one_outcome.get(self.shape, np.repeat(values[:, None, :], 2, axis=1))


def test_losses_are_their_sums() -> None:
    rng = np.random.default_rng(0)
    tau, scores, T = rng.normal(size=(3, 40, 2))
    Y, w = rng.normal(size=40), rng.random(40)
    errors = [(Y[i] - sum(T[i, j] * tau[i, j] for j in range(2))) ** 2 for i in range(40)]
    assert r_loss(tau, Y, T) == pytest.approx(np.mean(errors), rel=1e-13)
    assert r_loss(tau, Y, T, sample_weight=w) == pytest.approx(np.sum(w * errors) / w.sum(), rel=1e-13)
    assert dr_loss(tau, scores) == pytest.approx(((tau - scores) ** 2).sum() / 40, rel=1e-13)
    single = np.average((tau - scores)[:, 0] ** 2, weights=w)
    assert dr_loss(tau[:, 0], scores[:, 0], sample_weight=w) == pytest.approx(single, rel=1e-13)


def test_excess_r_loss_is_the_error_weighted_by_overlap() -> None:
    """L(τ) - L(τ*) = E[e(1-e)(τ-τ*)²], exact over the law of a binary treatment at each x."""
    rng = np.random.default_rng(1)
    e, truth, other = rng.uniform(0.1, 0.9, 30), rng.normal(size=30), rng.normal(size=30)
    # Every x once treated with weight e and once not with weight 1 - e; Y is its mean given x and T.
    T = np.repeat([1.0, 0.0], 30)
    p, weight = np.tile(e, 2), np.concatenate([e, 1 - e])
    residual = (T - p) * np.tile(truth, 2)
    gap = r_loss(np.tile(other, 2), residual, T - p, sample_weight=weight) - r_loss(
        np.tile(truth, 2), residual, T - p, sample_weight=weight
    )
    assert gap == pytest.approx(np.mean(e * (1 - e) * (other - truth) ** 2), rel=1e-12)


def test_best_constant_of_the_r_loss_is_the_overlap_weighted_effect() -> None:
    rng = np.random.default_rng(2)
    T, Y = rng.normal(size=(2, 500))
    best = (Y @ T) / (T @ T)
    losses = [r_loss(np.full(500, c), Y, T) for c in (best - 0.01, best, best + 0.01)]
    assert losses[0] - losses[1] == pytest.approx(1e-4 * np.mean(T**2), rel=1e-8)
    assert losses[2] - losses[1] == pytest.approx(1e-4 * np.mean(T**2), rel=1e-8)


def test_estimators_are_scored_by_their_effects() -> None:
    rng = np.random.default_rng(3)
    X, T, Y = rng.normal(size=(50, 2)), rng.normal(size=(50, 2)), rng.normal(size=50)
    effects = np.column_stack([X[:, 0], 2 * X[:, 1]])
    for shape in ("levels", "outcome"):
        assert r_loss(Estimator(shape), Y, T, X=X) == r_loss(effects, Y, T)
        assert dr_loss(Estimator(shape), T, X=X) == dr_loss(effects, T)
    assert r_loss(Estimator("flat"), Y, T[:, 0], X=X) == r_loss(X[:, 0], Y, T[:, 0])
    assert estimated_effect(Estimator("flat"), X).shape == (50, 1)


def test_econml_estimators_are_scored() -> None:
    dml = pytest.importorskip("econml.dml", reason="econml is an optional dependency")
    rng = np.random.default_rng(4)
    X, T = rng.normal(size=(400, 2)), rng.integers(0, 2, 400)
    Y = X[:, 0] + T * (1 + X[:, 1]) + 0.1 * rng.normal(size=400)
    model = dml.LinearDML(model_y=LinearRegression(), model_t=LinearRegression(), cv=2, random_state=0)
    model.fit(Y, T, X=X)
    values = np.ravel(model.const_marginal_effect(X))
    residual = Y - X[:, 0] - 0.5 * (1 + X[:, 1])
    assert r_loss(model, residual, T - 0.5, X=X) == pytest.approx(r_loss(values, residual, T - 0.5), rel=1e-12)
    assert r_loss(model, residual, T - 0.5, X=X) < 0.1 * r_loss(np.ones(400), residual, T - 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: r_loss([1.0, 2.0], [1.0], [1.0, 2.0]), "outcome_residual has 1 rows"),
        (lambda: r_loss([1.0], [1.0, 2.0], [1.0, 2.0]), "effect has 1 rows"),
        (lambda: r_loss(np.ones((2, 2)), [1.0, 2.0], [1.0, 2.0]), "effect has 2 columns, but treatment_residual has 1"),
        (lambda: dr_loss(np.ones((2, 2)), [1.0, 2.0]), "effect has 2 columns, but scores has 1"),
        (lambda: dr_loss([1.0, np.nan], [1.0, 2.0]), "effect contains NaN"),
        (lambda: dr_loss([1.0, 2.0], [1.0, 2.0], sample_weight=[-1, 1]), "sample_weight must not be negative"),
        (lambda: dr_loss(Estimator("levels"), np.ones((2, 2))), "pass X"),
        (lambda: dr_loss(Estimator("two"), np.ones((2, 2)), X=np.ones((2, 2))), "effect has 2 outcomes"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
