"""Residuals of the outcome from a baseline: what effects with spillover gain, and when they stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression

import causalkit.graph.spillover_training as training
from causalkit.graph import Graph, SpilloverRLearner
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
    monkeypatch.setattr(training, "needs_outcome_models", lambda plan, nuisance: False)
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

    def out_of_fold(target: np.ndarray) -> np.ndarray:
        found = np.empty(300)
        for train, test in cv:
            found[test] = LinearRegression().fit(C[train], target[train]).predict(C[test])
        return found

    first = np.linalg.lstsq(R, y - out_of_fold(y), rcond=None)[0]
    taken = np.column_stack([case["treatment"], learner.exposure_]) @ first
    m = out_of_fold(y - taken) + np.column_stack([e, gamma]) @ first
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
    with_products = SpilloverRLearner(**options | {"interaction": True}).fit(**case)
    assert with_products.coef_.shape == (3,) and np.isfinite(with_products.coef_).all()
