"""The pool of nuisance learners: equality with scikit-learn, the rule of choice, and no label of a held-out row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from causalkit.graph import Graph, nuisances, pool
from causalkit.graph.neighbourhoods import NodeFeatures, chosen_sets, fit_features
from causalkit.graph.nuisances import GraphNuisance, crossfit_nuisances, takes_graph
from causalkit.graph.pool import FeatureSets, PoolOptions, PoolTarget, _choose, fit_pool
from causalkit.graph.pool_learners import (
    PENALTIES,
    boosting_losses,
    coarsened,
    fit_boosting,
    fit_linear,
    linear_losses,
    ridge_path,
    row_losses,
)
from causalkit.graph.splits import GraphSplits
from tests.graph.networks import erdos_renyi, mean_matrix

SETS = ("own", "one_hop", "two_hop")


def network(n: int = 240, seed: int = 0, p: int = 3) -> tuple[NodeFeatures, np.ndarray, np.ndarray]:
    """Columns of a random network, its covariates, and the means of neighbours by a dense product."""
    rng = np.random.default_rng(seed)
    graph = Graph.from_edges(erdos_renyi(n, 5, rng), n_nodes=n)
    X = rng.normal(size=(n, p))
    data, _, _ = fit_features(X, X, graph, graph.nodes, None, None)
    return data, X, mean_matrix(graph.adjacency("binary").toarray()) @ X


def columns_and_target(seed: int = 0, n: int = 200, levels: int = 0) -> tuple[np.ndarray, PoolTarget]:
    rng = np.random.default_rng(seed)
    Z = (3 + 2 * rng.normal(size=(n, 4))).astype(np.float32)
    Z[:, 3] = 1.5  # a constant column has nothing to say
    score = Z[:, 0] - 0.5 * Z[:, 1] - 1.5
    y = np.digitize(score + rng.logistic(size=n), np.linspace(-1, 1, levels - 1)) if levels else score
    values = y.astype(float) + (0 if levels else rng.normal(size=n))
    return Z, PoolTarget(values, levels, rng.uniform(0.5, 2, n))


# ---------------------------------------------------------------------- linear models


def test_ridge_path_is_the_solution_for_every_penalty() -> None:
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(50, 6)), rng.normal(size=50)
    for penalty, found in zip(PENALTIES, ridge_path(Z.T @ Z, Z.T @ y, PENALTIES), strict=True):
        assert_allclose(found, Ridge(penalty, fit_intercept=False).fit(Z, y).coef_, rtol=1e-9)


@pytest.mark.parametrize("squares", [False, True])
def test_regressions_equal_scikit_learn_on_standardised_columns(squares: bool) -> None:
    Z, target = columns_and_target()
    design = Z.astype(float)
    if squares:
        design = np.hstack([design, PolynomialFeatures(2, include_bias=False).fit_transform(design)[:, 4:]])
    scaler = StandardScaler().fit(design, sample_weight=target.weight)
    for penalty, model in zip(PENALTIES, fit_linear(Z, target, PENALTIES, squares), strict=True):
        reference = Ridge(penalty).fit(scaler.transform(design), target.values, sample_weight=target.weight)
        expected = reference.predict(scaler.transform(design))
        assert_allclose(model.predict(Z)[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("levels", [2, 3])
def test_logistic_regressions_equal_scikit_learn(levels: int) -> None:
    Z, target = columns_and_target(levels=levels)
    scaler = StandardScaler().fit(Z.astype(float), sample_weight=target.weight)
    for penalty, model in zip((1.0, 100.0), fit_linear(Z, target, (1.0, 100.0), False), strict=True):
        reference = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=2000)
        reference.fit(scaler.transform(Z), target.values, sample_weight=target.weight)
        found = model.predict(Z)
        assert found.shape == (200, levels)
        assert_allclose(found.sum(axis=1), 1)
        assert_allclose(found, reference.predict_proba(scaler.transform(Z)), atol=2e-3)


def test_regression_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    Z, target = columns_and_target()
    whole = fit_linear(Z, target, (10.0,), True)[0].predict(Z)
    monkeypatch.setattr("causalkit.graph.pool_learners._BLOCK_ROWS", 31)
    assert_allclose(fit_linear(Z, target, (10.0,), True)[0].predict(Z), whole, rtol=1e-9)


@pytest.mark.parametrize("levels", [0, 2])
def test_the_penalty_has_the_smallest_held_out_loss(levels: int) -> None:
    Z, target = columns_and_target(levels=levels)
    splits = list(KFold(3).split(Z))
    losses, penalty = linear_losses(Z, target, splits, False)
    means = []
    for candidate in PENALTIES:
        rows = np.empty(200)
        for train, test in splits:
            model = fit_linear(Z[train], target.rows(train), (candidate,), False)[0]
            rows[test] = row_losses(model.predict(Z[test]), target.rows(test))
        means.append(np.average(rows, weights=target.weight))
    assert penalty == PENALTIES[int(np.argmin(means))]
    assert_allclose(np.average(losses, weights=target.weight), min(means), rtol=1e-9)


def test_losses_of_rows() -> None:
    p = np.array([[0.2, 0.8], [0.9, 0.1], [1.0, 0.0]])
    target = PoolTarget(np.array([1.0, 1.0, 0.0]), 2)
    assert_allclose(row_losses(p, target).mean(), log_loss([1, 1, 0], p))
    squared = row_losses(np.array([[1.0], [3.0]]), PoolTarget(np.array([2.0, 0.0]), 0))
    assert_allclose(squared, [1.0, 9.0])
    assert np.isfinite(row_losses(np.array([[1.0, 0.0]]), PoolTarget(np.array([1.0]), 2))).all()


# ---------------------------------------------------------------------- boosted trees


@pytest.mark.parametrize("levels", [0, 2, 3])
def test_boosting_is_that_of_scikit_learn(levels: int) -> None:
    Z, target = columns_and_target(n=400, levels=levels)
    unweighted = PoolTarget(target.values, levels)
    kind = HistGradientBoostingClassifier if levels else HistGradientBoostingRegressor
    reference = kind(
        max_iter=20,
        learning_rate=0.05,
        max_leaf_nodes=8,
        min_samples_leaf=20,
        early_stopping=False,
        random_state=0,
    ).fit(coarsened(Z), target.values)
    expected = reference.predict_proba(Z) if levels else reference.predict(Z)[:, None]
    assert_allclose(fit_boosting(Z, unweighted, 20, 0).predict(Z), expected)


def test_number_of_trees_has_the_smallest_held_out_loss() -> None:
    Z, target = columns_and_target(n=300)
    Z = coarsened(Z)  # of all rows, as the splits have in common
    splits = list(KFold(3).split(Z))
    losses, number = boosting_losses(Z, target, splits, 0)

    def mean(trees: int) -> float:
        rows = np.empty(300)
        for train, test in splits:
            rows[test] = row_losses(
                fit_boosting(Z[train], target.rows(train), trees, 0).predict(Z[test]), target.rows(test)
            )
        return float(np.average(rows, weights=target.weight))

    assert 1 < number <= 200
    assert_allclose(np.average(losses, weights=target.weight), mean(number), rtol=1e-9)
    assert all(mean(other) >= mean(number) for other in (1, max(1, number - 10), min(200, number + 10), 200))


def test_rate_and_number_of_trees_go_together() -> None:
    Z, target = columns_and_target(n=300)
    splits = list(KFold(3).split(Z))
    losses, number = boosting_losses(Z, target, splits, 0, rate=0.1)
    assert 1 < number <= 100
    slow, _ = boosting_losses(Z, target, splits, 0)
    assert_allclose(losses.mean(), slow.mean(), rtol=0.05)


def test_coarsened_columns_keep_order_and_bins() -> None:
    rng = np.random.default_rng(0)
    few = rng.integers(0, 10, (3000, 1)).astype(np.float32)
    assert np.array_equal(coarsened(few), few)
    many = np.column_stack([rng.normal(size=3000), rng.exponential(size=3000)]).astype(np.float32)
    out = coarsened(many)
    for j in range(2):
        assert 200 < len(np.unique(out[:, j])) <= 255
        order = np.argsort(many[:, j], kind="stable")
        assert (np.diff(out[order, j]) >= 0).all()
        assert set(np.unique(out[:, j])) <= set(many[:, j])
        counts = np.unique(out[:, j], return_counts=True)[1]
        assert counts.max() <= 3 * 3000 / 255  # bins are of nearly equal size
        ranks = np.argsort(np.argsort(many[:, j]))
        assert np.abs(np.searchsorted(np.sort(many[:, j]), out[:, j]) - ranks).max() <= 2 * 3000 / 255
    spiked = np.where(rng.random((3000, 1)) < 0.6, 0.0, rng.normal(size=(3000, 1))).astype(np.float32)
    assert (coarsened(spiked)[spiked == 0] == 0).all()  # a value that many rows have stays what it is
    wide = np.arange(100_001, dtype=np.float32)[:, None]
    assert coarsened(wide) is wide
    assert len(np.unique(coarsened(wide[:-1]))) == 255


def test_many_rows_take_longer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    data, X, means = network()
    target = PoolTarget(np.sin(2 * X[:, 0]) + means[:, 1], 0)
    fold = np.arange(len(X)) % 2
    splits = GraphSplits([[(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in (0, 1)]], fold[None], None)

    def rates() -> set[float]:
        nuisance = GraphNuisance("outcome", target, None, PoolOptions(("own",), False), "own")
        fits = crossfit_nuisances([nuisance], data, splits, seed=0, n_jobs=None, verbose=0)
        return {one.model.model.model.learning_rate for one in fits.models["outcome"][0]}

    monkeypatch.setattr(pool, "_candidates", lambda features, options: [pool._Candidate("boosting", "own")])
    assert rates() == {0.05}
    for place in (pool, nuisances):
        monkeypatch.setattr(place, "LARGE", 200)
    monkeypatch.setattr(pool, "_SELECTION_ROWS", 100)
    assert rates() == {0.1}


# ---------------------------------------------------------------------- the choice


def test_simplest_candidate_within_one_standard_error_wins() -> None:
    rng = np.random.default_rng(0)
    n = 400
    base, noise = rng.exponential(size=n), rng.normal(size=n)
    worst, close, best = base + 1.0, base + 0.04 + noise - noise.mean(), base
    means, errors, chosen = _choose(np.array([worst, close, best]), None)
    assert_allclose(means, [base.mean() + 1, base.mean() + 0.04, base.mean()])
    assert_allclose(errors[1], noise.std() / np.sqrt(n))
    assert errors[2] == 0
    assert chosen == 1  # .04 is less than the error of .05, and 1 is more than that of 0
    assert _choose(np.array([worst, base + 0.06 + noise - noise.mean(), best]), None)[2] == 2
    assert _choose(np.array([best, close, worst]), None)[2] == 0


def test_weights_of_rows_change_the_choice_as_repeated_rows_do() -> None:
    losses = np.random.default_rng(1).exponential(size=(3, 100))
    weight = np.random.default_rng(2).integers(1, 4, 100).astype(float)
    means, _, _ = _choose(losses, weight)
    assert_allclose(means, np.repeat(losses, weight.astype(int), axis=1).mean(axis=1))


def test_pool_table_and_winner() -> None:
    data, X, M = network()
    rng = np.random.default_rng(3)
    y = 2 * M[:, 0] + X[:, 1] + 0.1 * rng.normal(size=len(X))
    choice = fit_pool(data, PoolTarget(y, 0), np.arange(len(y)), PoolOptions(SETS, False), seed=0)
    assert choice.features == "one_hop"
    rows = [(row["learner"], row["features"]) for row in choice.table]
    assert rows == [
        ("linear", "own"),
        ("linear, squares", "own"),
        ("linear", "one_hop"),
        ("linear", "two_hop"),
        ("boosting", "own"),
        ("boosting", "one_hop"),
        ("boosting", "two_hop"),
    ]
    assert [row["selected"] for row in choice.table] == [False, False, True, *[False] * 4]
    best = min(choice.table, key=lambda row: row["loss"])
    winner = choice.table[2]
    assert winner["loss"] - best["loss"] <= winner["std_error"]
    assert choice.predict(data, slice(None)).shape == (240, 1)
    assert np.mean((choice.predict(data, slice(None))[:, 0] - y) ** 2) < 0.1


def test_products_of_own_columns_are_found() -> None:
    data, X, _ = network(600)
    y = X[:, 0] * X[:, 1] + 0.1 * np.random.default_rng(0).normal(size=600)
    choice = fit_pool(data, PoolTarget(y, 0), np.arange(600), PoolOptions(SETS, False), seed=0)
    assert [row["learner"] for row in choice.table if row["selected"]] == ["linear, squares"]


def test_networks_and_message_passing_networks_take_part() -> None:
    pytest.importorskip("torch")
    from causalkit.graph import GNNClassifier, GNNRegressor

    data, X, M = network(150)
    options = {"max_iter": 5, "n_bags": 1, "hidden": 8, "encoder": "sage"}
    encoders = (GNNRegressor(**options), GNNClassifier(**options))
    t = (M[:, 0] > 0).astype(float)
    choice = fit_pool(data, PoolTarget(t, 2), np.arange(150), PoolOptions(("two_hop",), True, "cpu", encoders), seed=0)
    assert [row["learner"] for row in choice.table] == ["linear", "boosting", "neural", "sage"]
    assert choice.table[-1]["features"] == "messages"
    assert all(0 < row["loss"] < 2 for row in choice.table)
    encoded = PoolOptions((), False, "cpu", encoders)
    alone = fit_pool(data, PoolTarget(X[:, 0], 0), np.arange(100), encoded, seed=0)
    assert alone.predict(data, np.arange(100, 150)).shape == (50, 1)


# ---------------------------------------------------------------------- columns


def test_sets_are_nested_and_hold_what_their_names_say() -> None:
    data, X, M = network()
    sets = data.sets.sets
    assert list(sets) == list(SETS)
    assert set(sets["own"]) < set(sets["one_hop"]) < set(sets["two_hop"])
    assert len(sets["two_hop"]) == data.sets.columns.shape[1] == 3 * 5 + 1
    own = data.sets.take(slice(None), "own")
    assert_allclose(own, (X - X.mean(axis=0)) / X.std(axis=0), atol=1e-5)
    one = data.sets.take(np.arange(10), "one_hop")
    assert one.shape == (10, 3 * 3 + 1)
    found = np.abs(np.corrcoef(np.hstack([data.sets.take(slice(None), "one_hop"), M]).T)[-3:, :-3]).max(axis=1)
    assert_allclose(found, 1, atol=1e-2)  # isolates are at the mean
    assert chosen_sets(data.sets, "auto", "nuisance_features", nested=True) == SETS
    assert chosen_sets(data.sets, "auto", "final_features", nested=False) == ("own", "two_hop")
    assert chosen_sets(data.sets, "graph", "final_features", nested=False) == ("two_hop",)
    assert chosen_sets(data.sets, "own", "final_features", nested=False) == ("own",)


def test_exposures_are_columns_of_every_set_and_of_no_neighbour() -> None:
    rng = np.random.default_rng(0)
    graph = Graph.from_edges(erdos_renyi(100, 5, rng), n_nodes=100)
    X, exposure = rng.normal(size=(100, 2)), rng.random((100, 1))
    plain, _, _ = fit_features(X, X, graph, graph.nodes, None, None)
    data, _, scale = fit_features(X, X, graph, graph.nodes, None, exposure)
    assert scale is not None
    assert_allclose(data.sets.columns[:, :-1], plain.sets.columns)
    expected = ((exposure - exposure.mean()) / exposure.std())[:, 0]
    for name in SETS:
        assert_allclose(data.sets.take(slice(None), name)[:, -1], expected, atol=1e-5)


# ---------------------------------------------------------------------- cross-fitting


def halves(n: int, seed: int = 0) -> GraphSplits:
    import pandas as pd

    folds = np.random.default_rng(seed).integers(0, 2, n)
    pairs = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in (0, 1)]
    return GraphSplits([pairs], folds[None, :], pd.DataFrame())


def crossfit(data: NodeFeatures, y: np.ndarray, t: np.ndarray, splits: GraphSplits, **models: Any) -> Any:
    options = PoolOptions(("own", "two_hop"), True, "cpu")
    return crossfit_nuisances(
        [
            GraphNuisance("outcome", PoolTarget(y, 0), models.get("outcome"), options, "two_hop"),
            GraphNuisance("treatment", PoolTarget(t, 2), models.get("treatment"), options, "two_hop"),
        ],
        data,
        splits,
        seed=3,
        n_jobs=None,
        verbose=0,
    )


def test_labels_of_a_fold_do_not_reach_its_predictions() -> None:
    """Outcome and treatment of held-out rows changed beyond recognition: their predictions keep every bit."""
    data, X, M = network(100)
    rng = np.random.default_rng(4)
    y, t = M[:, 0] + rng.normal(size=100), (X[:, 0] + rng.normal(size=100) > 0).astype(float)
    splits = halves(100)
    before = crossfit(data, y, t, splits)
    held = splits.folds[0] == 0
    after = crossfit(data, np.where(held, 1e6 * rng.normal(size=100), y), np.where(held, 1 - t, t), splits)
    for name in ("outcome", "treatment"):
        assert np.array_equal(before.predictions[name][0, held], after.predictions[name][0, held])
        assert not np.array_equal(before.predictions[name][0, ~held], after.predictions[name][0, ~held])
    kept = [row for row in before.selection if row["fold"] == 0]
    assert kept == [row for row in after.selection if row["fold"] == 0]
    assert {row["target"] for row in kept} == {"outcome", "treatment"}


class Spy(RegressorMixin, BaseEstimator):
    """A regressor of raw covariates and the graph; it keeps what it was given and predicts the first covariate."""

    def fit(self, X: Any, y: Any, *, graph: Any, nodes: Any = None) -> Spy:
        self.graph_, self.nodes_, self.width_ = graph, np.asarray(nodes), X.shape[1]
        return self

    def predict(self, X: Any, *, graph: Any = None, nodes: Any = None) -> np.ndarray:
        return X[:, 0]


def test_models_that_take_the_graph_get_covariates_of_every_node() -> None:
    """Neighbours on the other side of a split still send their covariates."""
    data, X, _ = network(80)
    t = (X[:, 0] > 0).astype(float)
    fits = crossfit(data, X[:, 1], t, halves(80), outcome=Spy(), treatment=LogisticRegression())
    assert takes_graph(Spy()) and not takes_graph(Ridge())
    assert_allclose(fits.predictions["outcome"][0, :, 0], X[:, 0])
    spy = fits.models["outcome"][0][0].model
    assert spy.width_ == 3
    assert len(spy.nodes_) < 80
    assert_allclose(spy.graph_.features, X)


def test_frozen_models_are_used_as_they_are() -> None:
    data, X, M = network(80)
    t = (X[:, 0] > 0).astype(float)
    columns = data.sets.take(slice(None), "two_hop")
    ready = Ridge().fit(columns, M[:, 0])
    fits = crossfit(data, X[:, 1], t, halves(80), outcome=FrozenEstimator(ready), treatment=LogisticRegression())
    assert_allclose(fits.predictions["outcome"][0, :, 0], ready.predict(columns), rtol=1e-5, atol=1e-6)
    on_graph = FrozenEstimator(Spy().fit(X, X[:, 0], graph=data.graph))
    assert takes_graph(on_graph)
    fits = crossfit(data, X[:, 1], t, halves(80), outcome=on_graph, treatment=LogisticRegression())
    assert_allclose(fits.predictions["outcome"][0, :, 0], X[:, 0])


def test_models_of_the_user_equal_fits_by_hand() -> None:
    data, X, M = network(120)
    rng = np.random.default_rng(5)
    y, t = M[:, 0] + 0.1 * rng.normal(size=120), (X[:, 0] + rng.normal(size=120) > 0).astype(float)
    splits = halves(120)
    fits = crossfit(data, y, t, splits, outcome=Ridge(3.0), treatment=LogisticRegression(C=0.3))
    columns = data.sets.take(slice(None), "two_hop")
    for train, test in splits.splits[0]:
        outcome = Ridge(3.0).fit(columns[train], y[train]).predict(columns[test])
        assert_allclose(fits.predictions["outcome"][0, test, 0], outcome, rtol=1e-5, atol=1e-6)
        chances = LogisticRegression(C=0.3).fit(columns[train], t[train]).predict_proba(columns[test])
        assert_allclose(fits.predictions["treatment"][0, test], chances, rtol=1e-5)
    assert fits.selection == []


def test_failures_of_a_model_are_named() -> None:
    data, X, _ = network(60)
    t = (X[:, 0] > 0).astype(float)

    class Broken(Ridge):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Broken:
            raise ValueError("no such luck")

    class Silent(Ridge):
        def predict(self, X: Any) -> Any:
            return super().predict(X) * np.nan

    with pytest.raises(ValueError, match=r"the outcome model \(Broken\) in repeat 0, fold 0 failed.*no such luck"):
        crossfit(data, X[:, 1], t, halves(60), outcome=Broken())
    with pytest.raises(ValueError, match=r"the outcome model \(Silent\).*predicts NaN or infinity"):
        crossfit(data, X[:, 1], t, halves(60), outcome=Silent())


def test_feature_sets_take_copies() -> None:
    columns = np.zeros((4, 3), dtype=np.float32)
    sets = FeatureSets(columns, {"own": np.array([0]), "all": np.arange(3)})
    for name in ("own", "all"):
        part = sets.take(np.array([1, 2]), name)
        part += 1
    assert (columns == 0).all()
