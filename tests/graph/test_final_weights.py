"""Weights of the final stage: a fold's own rows play no part in the mixture that tests use there."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression, Ridge

from causalkit.datasets import make_graph_heterogeneity
from causalkit.graph import Graph, GraphRLearner, final_stage
from causalkit.graph.final_models import Residuals
from causalkit.graph.final_weights import compared, mixed_by_fold, weights_by_fold
from causalkit.graph.splits import GraphSplits


def plain_error(values: np.ndarray) -> float:
    return float(values.std() / np.sqrt(len(values)))


class Case:
    """Three candidates on 300 rows in 3 folds: a constant and two deviations, of which one is real."""

    def __init__(self, signal: float, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        n = 300
        self.truth = rng.standard_normal(n)
        treatment = rng.choice([-0.5, 0.5], n)
        outcome = treatment * (1 + signal * self.truth) + 0.3 * rng.standard_normal(n)
        self.residuals = [Residuals(outcome, treatment[:, None], None, None, 1.0)]
        self.effects = np.stack([np.ones(n), 1 + self.truth, 1 + rng.standard_normal(n)])[:, None, :, None]
        codes = np.arange(n) % 3
        pairs = [[(np.flatnonzero(codes != k), np.flatnonzero(codes == k)) for k in range(3)]]
        self.splits = GraphSplits(pairs, codes[None], None)

    def by_fold(self) -> list[list[np.ndarray]]:
        return weights_by_fold(self.effects, self.residuals, self.splits, plain_error)


def test_weights_of_a_fold_are_those_of_the_other_rows_alone() -> None:
    case = Case(1.0)
    found = case.by_fold()
    for k in range(3):
        rows = np.flatnonzero(np.arange(300) % 3 != k)
        alone = Case(1.0)
        alone.effects = case.effects[:, :, rows]
        alone.residuals = [case.residuals[0].rows(rows)]
        weights, _ = compared(_candidates(), alone.effects, alone.residuals, _no_splits(len(rows)), plain_error)
        assert_allclose(found[0][k], weights, atol=1e-10)


def test_outcomes_of_a_fold_do_not_move_its_mixture() -> None:
    case, other = Case(1.0), Case(1.0)
    inside = np.arange(300) % 3 == 1
    other.residuals[0].outcome[inside] = np.random.default_rng(5).standard_normal(inside.sum())
    assert_array_equal(case.by_fold()[0][1], other.by_fold()[0][1])
    assert not np.array_equal(case.by_fold()[0][0], other.by_fold()[0][0])


def test_mixture_by_fold_is_that_of_its_weights() -> None:
    case = Case(1.0)
    weights = [[np.array([0.2, 0.5, 0.3]), np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])]]
    found = mixed_by_fold(weights, case.effects, case.splits)
    for row in range(12):
        assert found[row, 0] == pytest.approx(weights[0][row % 3] @ case.effects[:, 0, row, 0])


def test_noise_is_selected_on_the_rows_and_not_without_them() -> None:
    # Twelve candidates of pure noise: the one with the smallest loss correlates with the outcome that chose it.
    own, honest = [], []
    for seed in range(60):
        case = Case(0.0, seed)
        rng = np.random.default_rng([seed, 1])
        noise = 1 + 0.03 * rng.standard_normal((12, 1, 300, 1))
        case.effects = np.concatenate([case.effects[:1], noise])
        weights, _ = compared(_candidates(13), case.effects, case.residuals, case.splits, plain_error)
        target = case.residuals[0].outcome * case.residuals[0].treatment[:, 0] * 4
        for mixed, kept in (
            (np.tensordot(weights, case.effects[:, 0, :, 0], axes=1), own),
            (mixed_by_fold(case.by_fold(), case.effects, case.splits)[:, 0], honest),
        ):
            kept.append(float(np.mean((mixed - mixed.mean()) * target)))
    error = np.std(honest, ddof=1) / np.sqrt(len(honest))
    assert abs(np.mean(honest)) < 3 * error
    assert np.mean(own) > 3 * np.std(own, ddof=1) / np.sqrt(len(own))


def test_tests_use_the_honest_effects() -> None:
    data = make_graph_heterogeneity(300, random_state=0)
    learner = GraphRLearner(outcome_model=Ridge(), treatment_model=LogisticRegression(), random_state=0).fit(
        data.X, data.y, treatment=data.treatment, graph=Graph.from_scipy(data.adjacency)
    )
    assert learner.honest_effect_.shape == learner.effect_.shape
    before = learner.calibration()
    learner.effect_ = np.zeros(300)
    assert learner.calibration().equals(before)
    single = GraphRLearner(
        outcome_model=Ridge(), treatment_model=LogisticRegression(), final_model="linear", random_state=0
    ).fit(data.X, data.y, treatment=data.treatment, graph=Graph.from_scipy(data.adjacency))
    assert_array_equal(single.honest_effect_, single.effect_)


def test_large_tables_fit_what_has_weight_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(final_stage, "LARGE", 300)
    monkeypatch.setattr(final_stage, "_SELECTION_ROWS", 250)
    data = make_graph_heterogeneity(400, random_state=0)
    learner = GraphRLearner(outcome_model=Ridge(), treatment_model=LogisticRegression(), random_state=0)
    learner.fit(data.X, data.y, treatment=data.treatment, graph=Graph.from_scipy(data.adjacency))
    assert np.isfinite(learner.honest_effect_).all()
    stage = learner._final
    assert [bool(models) for models in stage.models] == (stage.weights > 0).tolist()
    assert learner.predict(data.X).shape == (400,)


def test_weights_among_fitted_candidates_sum_to_one() -> None:
    weights = np.array([0.0, 0.5, 0.3, 0.2])
    assert_allclose(final_stage._among(weights, [0, 2, 3]), [0, 0, 0.6, 0.4])
    assert_array_equal(final_stage._among(weights, [0]), [1, 0, 0, 0])


def _candidates(count: int = 3):
    from causalkit.graph.final_stage import FinalCandidate

    return [FinalCandidate(f"c{j}", "constant" if j == 0 else "linear", "own" if j else "") for j in range(count)]


def _no_splits(n: int) -> GraphSplits:
    half = np.arange(n) % 2 == 0
    pairs = [[(np.flatnonzero(half), np.flatnonzero(~half)), (np.flatnonzero(~half), np.flatnonzero(half))]]
    return GraphSplits(pairs, half[None].astype(int), None)
