"""Residuals of the outcome from a baseline: what scores gain, and when they stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression

import causalkit.graph.effect_scores as effect_scores
import causalkit.graph.spillover_training as training
from causalkit.graph import Graph, GraphRLearner, SpilloverRLearner
from tests.graph.networks import erdos_renyi


def jumps(seed: int, n: int = 1200) -> dict[str, Any]:
    """Outcome and propensity jump at the same places; the direct effect is 2 and the spillover 1."""
    rng = np.random.default_rng([5, seed])
    graph = Graph.from_edges(erdos_renyi(n, 4.0, rng), n_nodes=n)
    C = rng.random(n)
    e = np.select([C < 0.33, C < 0.66], [0.15, 0.5], 0.85)
    t = (rng.random(n) < e).astype(int)
    base = np.select([C < 0.33, C < 0.8], [0.0, 1.5], 3.0)
    share = graph.adjacency("mean") @ t
    return {"X": C[:, None], "y": 2 * t + share + base + 0.1 * rng.normal(size=n), "treatment": t, "graph": graph}


def errors(n_draws: int) -> np.ndarray:
    found = []
    for seed in range(n_draws):
        learner = SpilloverRLearner(final_model="constant", nuisance_features="own", cv=2, buffer=0, random_state=0)
        found.append(learner.fit(**jumps(seed)).coef_ - [2, 1])
    return np.sqrt(np.mean(np.square(found), axis=0))


def test_errors_of_the_propensity_no_longer_enter_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    with_baseline = errors(3)
    monkeypatch.setattr(training, "has_baseline", lambda plan, treatment_is_known: False)
    without = errors(3)
    assert with_baseline[0] < 0.5 * without[0]
    assert with_baseline[1] < without[1]


def test_steps_by_hand() -> None:
    """The constant effects of a first fit give the target of the baseline, and this the residuals of the second."""
    case = jumps(0, 300)
    fold = np.random.default_rng(0).integers(0, 2, 300)
    cv = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in (0, 1)]
    learner = SpilloverRLearner(
        outcome_model=LinearRegression(),
        treatment_model=LogisticRegression(),
        final_model="constant",
        nuisance_features="own",
        cv=cv,
        random_state=0,
    ).fit(**case)
    e, gamma = learner.treatment_prediction_, learner.exposure_mean_
    R = np.column_stack([case["treatment"] - e, learner.exposure_ - gamma])
    C, y = case["X"], case["y"]

    def out_of_fold(model: Any, target: np.ndarray) -> np.ndarray:
        found = np.empty(300)
        for train, test in cv:
            found[test] = model.fit(C[train], target[train]).predict(C[test])
        return found

    trees = HistGradientBoostingRegressor(max_iter=50, max_leaf_nodes=8, early_stopping=False)
    first = np.linalg.lstsq(R, y - out_of_fold(trees, y), rcond=None)[0]
    taken = np.column_stack([case["treatment"], learner.exposure_]) @ first
    m = out_of_fold(LinearRegression(), y - taken) + np.column_stack([e, gamma]) @ first
    assert_allclose(learner.outcome_prediction_, m, atol=1e-5)
    assert_allclose(learner.outcome_residual_, y - m, atol=1e-5)
    assert_allclose(learner.coef_, np.linalg.lstsq(R, y - m, rcond=None)[0], rtol=1e-5)


def test_no_baseline_where_it_is_not_needed_or_cannot_be_had() -> None:
    case = jumps(0, 300)
    options = {"final_model": "constant", "nuisance_features": "own", "cv": 2, "buffer": 0, "random_state": 0}
    options |= {"outcome_model": LinearRegression(), "treatment_model": LogisticRegression()}
    e = np.full(300, 0.5)
    known = SpilloverRLearner(**options).fit(**case, treatment_predictions=e)
    assert not known._training.has_baseline
    columns = known._training.data.sets.take(slice(None), "own")
    frozen = options | {"outcome_model": FrozenEstimator(LinearRegression().fit(columns, case["y"]))}
    learner = SpilloverRLearner(**frozen).fit(**case)
    assert not learner._training.has_baseline
    assert_allclose(learner.outcome_prediction_, frozen["outcome_model"].predict(columns), atol=1e-5)
    assert SpilloverRLearner(**options).fit(**case)._training.has_baseline
    chances = options | {"outcome_model": HistGradientBoostingClassifier(max_iter=20)}
    binary = case | {"y": (case["y"] > 2).astype(int)}
    learner = SpilloverRLearner(**chances).fit(**binary)
    assert not learner._training.has_baseline
    assert learner.outcome_prediction_.min() >= 0 and learner.outcome_prediction_.max() <= 1
    assert np.isfinite(learner.negative_control(binary["y"]).estimate).all()
    with_products = SpilloverRLearner(**options | {"interaction": True}).fit(**case)
    assert with_products.coef_.shape == (3,) and np.isfinite(with_products.coef_).all()


def doses(seed: int, n: int = 1500) -> dict[str, Any]:
    """Outcome and mean dose jump at the same places; one more unit of the dose adds 2."""
    rng = np.random.default_rng([6, seed])
    graph = Graph.from_edges(erdos_renyi(n, 4.0, rng), n_nodes=n)
    C = rng.random(n)
    dose = np.select([C < 0.33, C < 0.66], [-1.0, 0.0], 1.0) + 0.5 * rng.normal(size=n)
    base = np.select([C < 0.33, C < 0.8], [0.0, 1.5], 3.0)
    return {"X": C[:, None], "y": 2 * dose + base + 0.1 * rng.normal(size=n), "treatment": dose, "graph": graph}


def test_average_effects_of_doses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean dose is taken to be linear, which it is not: the outcome model alone has to be right."""
    models = {"outcome_model": HistGradientBoostingRegressor(random_state=0), "treatment_model": LinearRegression()}

    def errors() -> np.ndarray:
        found = []
        for seed in range(3):
            learner = GraphRLearner(final_model="constant", nuisance_features="own", cv=2, random_state=0, **models)
            found.append(learner.fit(**doses(seed)).ate().estimate[0] - 2)
        return np.array(found)

    with_baseline = errors()
    monkeypatch.setattr(effect_scores, "has_baseline", lambda plan, treatment_is_known: False)
    without = errors()
    assert np.abs(with_baseline).mean() < 0.5 * np.abs(without).mean(), (with_baseline, without)


def test_scores_of_doses_by_hand() -> None:
    case = doses(0, 300)
    fold = np.random.default_rng(0).integers(0, 2, 300)
    cv = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in (0, 1)]
    learner = GraphRLearner(
        outcome_model=LinearRegression(),
        treatment_model=LinearRegression(),
        final_model="constant",
        nuisance_features="own",
        cv=cv,
        random_state=0,
    ).fit(**case)
    C, y, dose = case["X"], case["y"], case["treatment"]
    residual = learner.treatment_residual_
    slope = residual @ learner.outcome_residual_ / (residual @ residual)
    g = np.empty(300)
    for train, test in cv:
        g[test] = LinearRegression().fit(C[train], (y - slope * dose)[train]).predict(C[test])
    left = y - g - slope * (dose - residual) - residual * learner.effect_
    assert_allclose(learner.scores_, learner.effect_ + residual * left / learner._variance, atol=1e-5)
    left = y - g - slope * (dose - residual)
    assert_allclose(learner.ate(target="overlap").estimate, residual @ left / (residual @ residual), rtol=1e-5)
    known = GraphRLearner(outcome_model=LinearRegression(), final_model="constant", cv=cv, random_state=0)
    known.fit(**case, treatment_predictions=dose - residual)
    left = known.outcome_residual_ - residual * known.effect_
    assert_allclose(known.scores_, known.effect_ + residual * left / known._variance, atol=1e-5)
