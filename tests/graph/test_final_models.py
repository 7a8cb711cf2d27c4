"""Models of the effect: pseudo-outcomes and the R-loss, dense solves, another implementation, and units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, Ridge

from causalkit.graph import final_models
from causalkit.graph.final_models import (
    PENALTIES,
    ConstantEffect,
    GivenModel,
    LinearEffect,
    NeuralEffect,
    Residuals,
    TreeEffect,
    best_constant,
    fit_effect_model,
    given_kind,
    linear_design,
    linear_moments,
    penalised_path,
)
from causalkit.graph.pool_learners import coarsened
from causalkit.trees import FittedTrees

KINDS = ("constant", "linear", "forest", "boosting", "neural")


def draw(seed: int = 0, n: int = 300, k: int = 1, weights: bool = False) -> tuple[np.ndarray, Residuals]:
    """Columns and residuals of an effect 2 + z₀ (plus one per further level)."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 4)).astype(np.float32)
    e = np.full((n, k), 1 / (k + 1)) * rng.uniform(0.6, 1.2, size=(n, k))
    codes = rng.integers(0, k + 1, n)
    t = (codes[:, None] == np.arange(1, k + 1)) - e
    tau = 2 + Z[:, :1].astype(float) + np.arange(k)
    y = (t * tau).sum(axis=1) + 0.5 * rng.normal(size=n)
    weight = rng.uniform(0.5, 2, n) if weights else None
    return Z, Residuals(y, t, None if weight is None else weight / weight.mean(), None, 1.0)


class Recorded(BaseEstimator):
    """A regressor that keeps what it was given and predicts the first column."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Recorded:
        self.seen_ = (np.array(X), np.array(y), None if sample_weight is None else np.array(sample_weight))
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.asarray(X)[:, 0].astype(float)


class Direct(BaseEstimator):
    """A final model of the kind of econml's forests: fit(X, T, y)."""

    def fit(self, X: Any, T: Any, y: Any, sample_weight: Any = None) -> Direct:
        self.seen_ = (np.array(X), np.array(T), np.array(y), sample_weight)
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.asarray(X)[:, :1].astype(float)


# ---------------------------------------------------------------------- pseudo-outcomes


@pytest.mark.parametrize("weights", [False, True])
def test_loss_of_pseudo_outcomes_is_the_r_loss(weights: bool) -> None:
    """Σ wT̃²((Ỹ-cT̃)/T̃ - f)² = Σ w(Ỹ - T̃(c+f))² for every f: what any weighted regression minimises."""
    Z, r = draw(weights=weights)
    model = fit_effect_model(Recorded(), Z, r, seed=0)
    X, pseudo, w = model.model.seen_
    assert_allclose(X, Z)
    c = best_constant(r)[0]
    assert_allclose(model.predict(Z)[:, 0], c + Z[:, 0], rtol=1e-6)
    for seed in range(3):
        f = np.random.default_rng(seed).normal(size=len(Z))
        weighted = (w * (pseudo - f) ** 2).sum()
        assert_allclose(weighted, (r.weights * (r.outcome - r.treatment[:, 0] * (c + f)) ** 2).sum(), rtol=1e-10)


def test_rows_without_treatment_variation_are_left_out() -> None:
    Z, r = draw()
    t = r.treatment.copy()
    t[:7] = [[0.0], [9e-4], [-9e-4], [1e-9], [1e-3], [-1e-3], [1.1e-3]]
    X, pseudo, w = fit_effect_model(Recorded(), Z, Residuals(r.outcome, t, None, None, 1.0), seed=0).model.seen_
    assert len(X) == len(pseudo) == len(w) == len(Z) - 4
    assert_allclose(X, Z[4:])
    # The bound is in units of the treatment: a thousandth of its spread.
    large = Residuals(r.outcome, 1000 * t, None, None, 1000.0)
    assert len(fit_effect_model(Recorded(), Z, large, seed=0).model.seen_[0]) == len(Z) - 4


@pytest.mark.parametrize("kind", ["forest", "boosting"])
def test_trees_equal_scikit_learn_on_pseudo_outcomes(kind: str) -> None:
    from sklearn.ensemble import RandomForestRegressor

    Z, r = draw(weights=True)
    c, t = best_constant(r)[0], r.treatment[:, 0]
    pseudo, w = (r.outcome - c * t) / t, r.weights * t**2
    if kind == "forest":
        reference = RandomForestRegressor(200, min_samples_leaf=20, max_features=0.5, random_state=3)
    else:
        reference = HistGradientBoostingRegressor(
            learning_rate=0.03,
            max_iter=300,
            max_leaf_nodes=6,
            min_samples_leaf=30,
            l2_regularization=3.0,
            early_stopping=True,
            validation_fraction=0.2,
            tol=0.0,
            random_state=3,
        )
    reference.fit(Z if kind == "forest" else coarsened(Z), pseudo, sample_weight=w)
    model = fit_effect_model(kind, Z, r, seed=3)
    assert isinstance(model, TreeEffect)
    assert_allclose(model.predict(Z)[:, 0], c + reference.predict(Z), rtol=1e-6)


# ---------------------------------------------------------------------- constant and linear


@pytest.mark.parametrize("k", [1, 3])
def test_constant_is_the_least_squares_ratio(k: int) -> None:
    Z, r = draw(k=k, weights=True)
    model = fit_effect_model("constant", Z, r, seed=0)
    assert isinstance(model, ConstantEffect)
    w, t = r.weights, r.treatment
    expected = np.linalg.solve((t * w[:, None]).T @ t, (t * w[:, None]).T @ r.outcome)
    assert_allclose(model.predict(Z), np.tile(expected, (len(Z), 1)), rtol=1e-10)
    if k == 1:
        assert_allclose(expected[0], (w * t[:, 0] * r.outcome).sum() / (w * t[:, 0] ** 2).sum(), rtol=1e-12)


def test_constant_equals_linear_dml_without_covariates_on_the_same_residuals() -> None:
    dml = pytest.importorskip("econml.dml")
    from sklearn.dummy import DummyRegressor

    Z, r = draw()
    # Nuisances that are 0 leave Ỹ and T̃ as they are.
    zero = DummyRegressor(strategy="constant", constant=0.0)
    other = dml.LinearDML(
        model_y=zero, model_t=zero, discrete_treatment=False, fit_cate_intercept=True, cv=2, random_state=0
    ).fit(r.outcome, r.treatment[:, 0], X=None, W=Z)
    found = fit_effect_model("constant", Z, r, seed=0).predict(Z)[0, 0]
    assert_allclose(found, float(np.ravel(other.const_marginal_ate())[0]), rtol=1e-8)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("weights", [False, True])
def test_linear_is_the_dense_ridge_solve(k: int, weights: bool) -> None:
    Z, r = draw(k=k, weights=weights)
    model = fit_effect_model("linear", Z, r, seed=0)
    assert isinstance(model, LinearEffect)
    size = float(np.average((r.treatment**2).mean(axis=1), weights=r.weight))
    assert any(np.isclose(model.penalty, p * size) for p in PENALTIES)
    ones = np.hstack([np.ones((len(Z), 1)), Z.astype(float)])
    design = np.hstack([ones[:, [j]] * r.treatment for j in range(5)])
    w = r.weights[:, None]
    penalty = np.diag([0.0] * k + [model.penalty] * (4 * k))
    expected = np.linalg.solve(design.T @ (w * design) + penalty, design.T @ (w[:, 0] * r.outcome))
    assert_allclose(model.coef, expected.reshape(5, k), rtol=1e-8)
    assert_allclose(model.predict(Z), ones @ expected.reshape(5, k), rtol=1e-8)


def test_a_path_of_penalties_is_ridge_with_free_columns_projected_out() -> None:
    rng = np.random.default_rng(1)
    free, rest, y = rng.normal(size=(100, 2)), rng.normal(size=(100, 3)), rng.normal(size=100)
    design = np.hstack([free, rest])
    paths = penalised_path(design.T @ design, design.T @ y, [0.5, 50.0], 2)
    for penalty, found in zip((0.5, 50.0), paths, strict=True):
        project = np.eye(100) - free @ np.linalg.pinv(free)
        slopes = Ridge(penalty, fit_intercept=False).fit(project @ rest, project @ y).coef_
        expected = np.concatenate([np.linalg.lstsq(free, y - rest @ slopes, rcond=None)[0], slopes])
        assert_allclose(found, expected, rtol=1e-9)


def test_moments_in_blocks_are_those_of_the_design(monkeypatch: pytest.MonkeyPatch) -> None:
    Z, r = draw(k=2, weights=True)
    design = linear_design(Z, r.treatment)
    assert_allclose(design[:, 3], Z[:, 0].astype(float) * r.treatment[:, 1])
    monkeypatch.setattr("causalkit.graph.final_models._BLOCK_ROWS", 37)
    gram, cross = linear_moments(Z, r)
    assert_allclose(gram, design.T @ (r.weights[:, None] * design), rtol=1e-10)
    assert_allclose(cross, design.T @ (r.weights * r.outcome), rtol=1e-10)


def test_penalty_is_the_best_of_the_inner_folds() -> None:
    """Held-out losses from moments equal those of refits row by row."""
    from causalkit.graph.final_models import _inner_folds

    Z, r = draw(n=90)
    folds = _inner_folds(r, 5)
    assert np.bincount(folds).tolist() == [18] * 5
    size = float((r.treatment**2).mean())
    losses = np.zeros(len(PENALTIES))
    design = linear_design(Z, r.treatment)
    for fold in range(5):
        train, test = folds != fold, folds == fold
        for number, p in enumerate(PENALTIES):
            penalty = np.diag([0.0] + [p * size] * 4)
            b = np.linalg.solve(design[train].T @ design[train] + penalty, design[train].T @ r.outcome[train])
            losses[number] += ((r.outcome[test] - design[test] @ b) ** 2).sum()
    model = fit_effect_model("linear", Z, r, seed=5)
    assert_allclose(model.penalty, PENALTIES[int(np.argmin(losses))] * size, rtol=1e-12)


def test_inner_folds_keep_clusters_together() -> None:
    from causalkit.graph.final_models import _inner_folds

    _, r = draw(n=100)
    groups = np.arange(100) // 4
    folds = _inner_folds(Residuals(r.outcome, r.treatment, None, groups, 1.0), 0)
    assert all(len(set(folds[groups == g])) == 1 for g in range(25))
    assert len(set(folds)) == 5


# ---------------------------------------------------------------------- units


def scaled(r: Residuals, outcome: float = 1.0, treatment: float = 1.0) -> Residuals:
    return Residuals(outcome * r.outcome, treatment * r.treatment, r.weight, r.groups, treatment * r.unit)


@pytest.mark.parametrize("kind", [*KINDS, Recorded()])
def test_effects_have_the_unit_of_the_outcome(kind: Any) -> None:
    """Y → a + bY leaves residuals times b; powers of two, so that trees and networks see the same bits."""
    Z, r = draw(weights=True)
    first = fit_effect_model(kind, Z, r, seed=1).predict(Z)
    small = fit_effect_model(kind, Z, scaled(r, outcome=2.0**-14), seed=1).predict(Z)
    second = fit_effect_model(kind, Z, scaled(r, outcome=1024.0), seed=1).predict(Z)
    if isinstance(kind, Recorded):  # its deviation is a fixed function, its constant scales
        assert_allclose(second - 1024 * first, -1023 * Z[:, :1], atol=1e-3)
        return
    assert first.std() > 0.1 or kind == "constant"
    assert_allclose(second, 1024 * first, rtol=1e-6)
    assert_allclose(small, first / 2**14, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_effects_are_per_unit_of_a_continuous_treatment(kind: str) -> None:
    rng = np.random.default_rng(2)
    Z = rng.normal(size=(300, 4)).astype(np.float32)
    t = rng.normal(size=(300, 1))
    y = t[:, 0] * (2 + Z[:, 0]) + 0.5 * rng.normal(size=300)
    r = Residuals(y, t, None, None, float(np.sqrt((t**2).mean())))
    first = fit_effect_model(kind, Z, r, seed=1).predict(Z)
    second = fit_effect_model(kind, Z, scaled(r, treatment=64.0), seed=1).predict(Z)
    assert np.corrcoef(first[:, 0], Z[:, 0])[0, 1] > 0.7 or kind == "constant"
    assert_allclose(second, first / 64, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_unequal_weights_matter_and_equal_ones_do_not(kind: str) -> None:
    Z, r = draw()
    plain = fit_effect_model(kind, Z, r, seed=1).predict(Z)
    ones = fit_effect_model(kind, Z, Residuals(r.outcome, r.treatment, np.ones(300), None, 1.0), seed=1).predict(Z)
    assert_allclose(ones, plain, rtol=1e-6)
    other = Residuals(r.outcome, r.treatment, np.linspace(0.1, 1.9, 300), None, 1.0)
    assert not np.allclose(fit_effect_model(kind, Z, other, seed=1).predict(Z), plain, rtol=1e-4)


# ---------------------------------------------------------------------- networks and models of the user's


@pytest.mark.parametrize("k", [1, 2])
def test_network_finds_a_curved_effect_for_every_level(k: int) -> None:
    rng = np.random.default_rng(4)
    n = 1200
    Z = rng.normal(size=(n, 3)).astype(np.float32)
    codes = rng.integers(0, k + 1, n)
    t = (codes[:, None] == np.arange(1, k + 1)) - 1 / (k + 1)
    tau = np.column_stack([2 + np.abs(Z[:, 0]), 1 - Z[:, 1]])[:, :k]
    y = (t * tau).sum(axis=1) + 0.3 * rng.normal(size=n)
    model = fit_effect_model("neural", Z, Residuals(y, t, None, None, 1.0), seed=0)
    assert isinstance(model, NeuralEffect)
    found = model.predict(Z)
    assert found.shape == (n, k)
    assert (np.mean((found - tau) ** 2, axis=0) < 0.25 * tau.var(axis=0)).all()
    again = fit_effect_model("neural", Z, Residuals(y, t, None, None, 1.0), seed=0)
    assert np.array_equal(again.predict(Z), found)


def test_models_of_the_user_are_called_by_what_their_fit_takes() -> None:
    Z, r = draw(weights=True)
    direct = fit_effect_model(Direct(), Z, r, seed=0)
    assert isinstance(direct, GivenModel)
    X, T, y, weight = direct.model.seen_
    assert X.dtype == np.float64
    for given, expected in ((X, Z), (T, r.treatment), (y, r.outcome), (weight, r.weight)):
        assert_allclose(given, expected)
    assert_allclose(direct.predict(Z), Z[:, :1])  # the effect itself, without a constant
    line = fit_effect_model(LinearRegression(), Z, r, seed=0)
    t = r.treatment[:, 0]
    ones = np.hstack([np.ones((len(Z), 1)), Z.astype(float)])
    root = np.sqrt(r.weights)
    b = np.linalg.lstsq(ones * (t * root)[:, None], r.outcome * root, rcond=None)[0]
    assert_allclose(line.predict(Z)[:, 0], ones @ b, rtol=1e-4)  # columns are in single precision


def test_kinds_of_fit() -> None:
    assert given_kind(Direct()) == "treatment"
    assert given_kind(Recorded()) == "weights"
    forest = pytest.importorskip("econml.grf").CausalForest
    assert given_kind(forest()) == "treatment"

    class Neither(BaseEstimator):
        def fit(self, X: Any, y: Any) -> Neither:
            return self

    with pytest.raises(
        TypeError, match=r"Neither cannot be fitted on residuals.*\(X, T, y\).*sample_weight.*fit\(X, y\)"
    ):
        given_kind(Neither())
    with pytest.raises(TypeError, match=r"final_model: int cannot be fitted"):
        given_kind(3)


def test_boosted_effects_of_many_rows_take_longer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(final_models, "FittedTrees", lambda model: made.append(model) or FittedTrees(model))
    Z, residuals = draw(n=400)
    slow = fit_effect_model("boosting", Z, residuals, seed=0).predict(Z)
    monkeypatch.setattr(final_models, "LARGE", 100)
    fast = fit_effect_model("boosting", Z, residuals, seed=0).predict(Z)
    assert [(model.learning_rate, model.max_iter) for model in made] == [(0.03, 300), (0.1, 100)]
    assert np.corrcoef(slow[:, 0], fast[:, 0])[0, 1] > 0.9


def test_trees_of_a_forest_draw_a_sample_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    Z, residuals = draw(n=400)
    assert fit_effect_model("forest", Z, residuals, seed=0).trees.model.max_samples is None
    monkeypatch.setattr(final_models, "_MOST_TREE_ROWS", 100)
    forest = fit_effect_model("forest", Z, residuals, seed=0).trees.model
    assert {len(rows) for rows in forest.estimators_samples_} == {100}
