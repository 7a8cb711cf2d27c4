"""Regressions of the outcome within levels of the treatment: what scores gain from them, and when there are none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

import causalkit.graph.level_outcomes as module
import causalkit.graph.nuisances as nuisances
from causalkit.datasets import make_graph_direct_effect
from causalkit.graph import Graph, GraphRLearner
from causalkit.graph.scores import doubly_robust_scores, of_levels
from tests.graph.networks import erdos_renyi

QUICK = {"final_model": "linear", "cv": 3, "random_state": 0}


class Village:
    """A network with three covariates, a treatment of some levels, and a linear outcome within each."""

    def __init__(self, n: int = 240, levels: int = 2) -> None:
        rng = np.random.default_rng(0)
        self.graph = Graph.from_edges(erdos_renyi(n, 4.0, rng), n_nodes=n)
        self.X = rng.normal(size=(n, 3))
        self.t = rng.integers(0, levels, n)
        self.y = self.X[:, 0] * (1 + self.t) + self.t + 0.1 * rng.normal(size=n)

    def fit(self, y: np.ndarray | None = None, options: dict | None = None, **given: object) -> GraphRLearner:
        learner = GraphRLearner(**(QUICK | {"treatment_model": LogisticRegression()} | (options or {})))
        outcome = self.y if y is None else y
        return learner.fit(self.X, outcome, **({"treatment": self.t, "graph": self.graph} | given))


def test_bias_of_both_forms_by_enumeration_of_the_treatment() -> None:
    """Means over T of the scores of a node, with nuisances that are wrong by known errors."""
    rng = np.random.default_rng(1)
    n = 50
    mu0, tau = rng.normal(size=n), rng.normal(2, 1, size=n)
    e, wrong_e = rng.uniform(0.2, 0.8, size=(2, n))
    d0, d1, dm = rng.normal(size=(3, n))
    wrong_m = mu0 + e * tau + dm
    both = np.column_stack([1 - wrong_e, wrong_e])
    by_level = np.column_stack([mu0 + d0, mu0 + tau + d1])
    direct, implied = np.zeros(n), np.zeros(n)
    for level, chance in ((0, 1 - e), (1, e)):
        codes, y = np.full(n, level), mu0 + level * tau
        outcome, effect = of_levels(by_level, both)
        direct += chance * doubly_robust_scores(y, codes, outcome, both, effect)[:, 0]
        implied += chance * doubly_robust_scores(y, codes, wrong_m, both, tau[:, None])[:, 0]
    de = wrong_e - e
    assert_allclose(direct - tau, de * (d1 / wrong_e + d0 / (1 - wrong_e)), rtol=1e-9)
    assert_allclose(implied - tau, de * (dm - tau * de) / (wrong_e * (1 - wrong_e)), rtol=1e-9)


def test_outcomes_of_levels_are_those_that_were_given() -> None:
    rng = np.random.default_rng(2)
    by_level, e = rng.normal(size=(6, 3)), rng.dirichlet(np.ones(3), size=6)
    outcome, effect = of_levels(by_level, e)
    assert_allclose(outcome, (by_level * e).sum(axis=1))
    assert_allclose(outcome - (e[:, 1:] * effect).sum(axis=1), by_level[:, 0])


@pytest.mark.parametrize("levels", [2, 3])
def test_lines_within_levels_are_found(levels: int) -> None:
    village = Village(levels=levels)
    for model in (None, Ridge(0.01)):
        learner = village.fit(options={"outcome_model": model, "nuisance_features": "own"})
        truth = village.X[:, [0]] * (1 + np.arange(levels)) + np.arange(levels)
        assert learner.outcome_by_level_.shape == truth.shape
        assert np.mean((learner.outcome_by_level_ - truth) ** 2) < 0.02
    ate = learner.ate()
    assert_allclose(ate.estimate, (truth[:, 1:] - truth[:, :1]).mean(axis=0), atol=0.05)
    for target in ("treated", "control", "overlap"):
        assert np.isfinite(learner.ate(target=target).std_error).all()


def test_scores_of_repeats_use_the_outcomes_of_their_own_folds() -> None:
    learner = Village().fit(options={"n_repeats": 2})
    assert learner.outcome_by_level_.shape == (240, 2)
    assert_allclose(float(learner.ate()), learner.scores_.mean())


def test_no_regressions_where_they_are_not_needed_or_cannot_be_had() -> None:
    village = Village()
    assert village.fit(treatment_predictions=np.full(240, 0.5)).outcome_by_level_ is None
    assert (
        village.fit(treatment=village.X[:, 1] + village.y, options={"treatment_model": None}).outcome_by_level_ is None
    )
    columns = village.fit(options={"outcome_model": LinearRegression()})._features.sets.take(slice(None), "two_hop")
    frozen = FrozenEstimator(LinearRegression().fit(columns, village.y))
    assert village.fit(options={"outcome_model": frozen}).outcome_by_level_ is None
    known = village.fit(outcome_predictions=village.y.mean() + 0 * village.y)
    assert known.outcome_by_level_.shape == (240, 2)  # a known E[Y|X] does not stand in for an error of e


def test_a_level_without_variation_needs_no_model() -> None:
    village = Village()
    event = ((village.t == 1) & (village.X[:, 0] > 0)).astype(float)
    learner = village.fit(event, options={"outcome_model": LogisticRegression()})
    assert (learner.outcome_by_level_[:, 0] == 0).all()
    assert ((learner.outcome_by_level_[:, 1] > 0) & (learner.outcome_by_level_[:, 1] < 1)).all()


def test_large_tables_decide_once_per_level(monkeypatch: pytest.MonkeyPatch) -> None:
    village = Village()
    asked = []
    for place in (module, nuisances):
        monkeypatch.setattr(place, "LARGE", 200)
    monkeypatch.setattr(module, "decide", lambda one, data, rows, seed: asked.append((one.name, len(rows))))
    village.fit(options={"cv": 2})
    counts = np.bincount(village.t)
    assert asked == [(f"outcome at level {level}", counts[level]) for level in (0, 1)]


def test_jumps_of_outcome_and_propensity_at_the_same_places() -> None:
    """Where propensities jump, scores from m, e and τ of the same fit are further off, and more spread out."""
    errors = []
    for seed in range(4):
        sample = make_graph_direct_effect(1500, graph="er", random_state=np.random.default_rng([17, seed]))
        learner = GraphRLearner(cv=2, nuisance_features="own", final_model="linear", random_state=seed)
        learner.fit(
            sample.X,
            sample.y,
            treatment=sample.treatment,
            graph=Graph.from_scipy(sample.adjacency),
            exposure=sample.exposure,
        )
        ate = learner.ate(dependence="iid")
        e, t, tau = learner.treatment_prediction_, learner.treatment_residual_, learner.effect_
        implied = tau + t * (learner.outcome_residual_ - t * tau) / (e * (1 - e))
        truth = sample.population["average_effect"]
        errors.append([float(ate) - truth, implied.mean() - truth])
        assert ate.std_error[0] < 0.8 * implied.std() / np.sqrt(1500)
    ours, other = np.sqrt(np.mean(np.square(errors), axis=0))
    assert ours < 0.5 * other
