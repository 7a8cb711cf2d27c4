"""GraphRLearner: estimates against the truth and by hand, alignment, weights, treatments, models, containers."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold

from causalkit.datasets import make_graph_heterogeneity
from causalkit.exceptions import GraphCoverageWarning, MethodNotApplicableError, NetworkDependenceWarning
from causalkit.graph import Graph, GraphKFold, GraphRLearner, HopFeatures
from causalkit.graph.final_models import PENALTIES
from causalkit.persistence import load, save
from tests.clusters import dask_workers
from tests.graph.networks import erdos_renyi, mean_matrix

MODELS: dict[str, Any] = {"outcome_model": Ridge(10.0), "treatment_model": LogisticRegression(C=0.1)}
QUICK: dict[str, Any] = {"final_model": "linear", "cv": 3, "random_state": 0}


class Town:
    """A network whose first covariate of neighbours confounds and moves the effect 2 + M₀; nuisances are known."""

    def __init__(self, n: int = 300, seed: int = 0, degree: float = 5.0, ring: bool = False) -> None:
        rng = np.random.default_rng(seed)
        edges = [(i, (i + k) % n) for i in range(n) for k in (1, 2)] if ring else erdos_renyi(n, degree, rng)
        self.graph = Graph.from_edges(edges, n_nodes=n)
        self.X = rng.normal(size=(n, 2))
        M = mean_matrix(self.graph.adjacency("binary").toarray()) @ self.X
        self.M = M / M.std(axis=0)
        self.e = 1 / (1 + np.exp(-0.6 * self.X[:, 0] - 0.4 * self.M[:, 0]))
        self.t = (rng.random(n) < self.e).astype(int)
        self.tau = 2 + self.M[:, 0]
        self.base = self.M[:, 0] + 0.5 * self.X[:, 1]
        self.y = self.base + self.tau * self.t + 0.5 * rng.normal(size=n)
        self.m = self.base + self.e * self.tau

    def known(self, **options: Any) -> GraphRLearner:
        """Fit with the true nuisances."""
        return GraphRLearner(**(QUICK | options)).fit(
            self.X,
            self.y,
            treatment=self.t,
            graph=self.graph,
            outcome_predictions=self.m,
            treatment_predictions=self.e,
        )

    def fitted(self, options: dict[str, Any] | None = None, **fit: Any) -> GraphRLearner:
        """Fit with quick models of the nuisances."""
        arguments = {"X": self.X, "y": self.y, "treatment": self.t, "graph": self.graph} | fit
        return GraphRLearner(**(QUICK | MODELS | (options or {}))).fit(**arguments)


# ---------------------------------------------------------------------- estimates


def test_known_nuisances_and_all_candidates_find_effects_of_the_neighbourhood() -> None:
    data = make_graph_heterogeneity(400, random_state=1)
    learner = GraphRLearner(cv=3, random_state=0).fit(
        data.X,
        data.y,
        treatment=data.treatment,
        graph=Graph.from_scipy(data.adjacency),
        outcome_predictions=data.outcome_mean,
        treatment_predictions=data.propensity,
    )
    variance = data.effect.var()
    assert np.mean((learner.effect_ - data.effect) ** 2) < 0.3 * variance  # a constant has 1
    assert np.mean((learner.predict(data.X) - data.effect) ** 2) < 0.3 * variance
    table = learner.selection_
    assert table["candidate"].tolist() == [
        "constant",
        *(c for c in ("linear", "forest", "boosting", "neural") for _ in "ab"),
    ]
    assert_allclose(table["weight"].sum(), 1)
    assert (table["weight"] >= 0).all()
    assert table.loc[table["features"] == "own", "r_score"].max() < 0.1 < table["r_score"].max()
    assert_allclose(table["r_score"], 1 - table["r_loss"] / table["r_loss"].iloc[0], atol=1e-12)
    ate = learner.ate()
    assert abs(float(ate) - data.effect.mean()) < 4 * ate.std_error[0]
    words = str(learner.summary())
    assert "No interference" in words and "forest on two_hop" in words and "ATE (overlap)" in words


def test_defaults_beat_a_constant_and_the_difference_in_means() -> None:
    """Nothing known, every pool: one small draw of the design with confounding and effects from neighbours."""
    data = make_graph_heterogeneity(350, random_state=3)
    learner = GraphRLearner(cv=2, random_state=0).fit(
        data.X, data.y, treatment=data.treatment, graph=Graph.from_scipy(data.adjacency)
    )
    assert np.mean((learner.effect_ - data.effect) ** 2) < 0.6 * data.effect.var()
    naive = data.y[data.treatment == 1].mean() - data.y[data.treatment == 0].mean()
    assert abs(float(learner.ate()) - data.effect.mean()) < abs(naive - data.effect.mean())
    table = learner.nuisance_selection_
    assert set(table["target"]) == {"outcome", "treatment"}
    assert (table.groupby(["target", "repeat", "fold"])["selected"].sum() == 1).all()
    assert len(table) == 2 * 2 * 10  # targets, folds, candidates
    assert set(table.loc[(table["target"] == "outcome") & table["selected"], "features"]) <= {"one_hop", "two_hop"}


def test_constant_is_kept_unless_a_candidate_beats_it_by_a_standard_error() -> None:
    # Without anything to find a standard error is passed in one draw of six by a single candidate.
    assert sum(constant_is_kept(seed) for seed in range(4)) >= 2


def constant_is_kept(seed: int) -> bool:
    """Whether the constant is used where the effect is constant, after checks that this follows from the table."""
    town = Town(300, seed)
    y = town.base + 2 * town.t + 0.5 * np.random.default_rng(seed).normal(size=300)
    learner = GraphRLearner(cv=2, final_features="graph", random_state=0).fit(
        town.X,
        y,
        treatment=town.t,
        graph=town.graph,
        outcome_predictions=town.base + 2 * town.e,
        treatment_predictions=town.e,
    )
    table = learner.selection_
    best = table["r_loss"].idxmin()
    kept = bool(table["r_loss"][0] - table["r_loss"][best] < table["std_error"][best] or best == 0)
    assert (learner.diagnostics().loc["weight of the constant", "value"] == 1) == kept
    if kept:
        assert table["weight"].tolist() == [1.0, 0, 0, 0, 0]
        assert_allclose(learner.effect_, 2, atol=0.2)
        assert not learner.calibration().loc["heterogeneity", "identified"]
    assert np.mean((learner.effect_ - 2) ** 2) < 0.05
    return kept


@pytest.mark.parametrize("clip", [0.02, 0.3])
@pytest.mark.filterwarnings("ignore::causalkit.exceptions.OverlapWarning")
def test_every_step_by_hand(clip: float) -> None:
    """Own covariates on a graph without edges: an R-learner of scikit-learn's models, fold by fold."""
    town = Town(200)
    n = 200
    folds = np.random.default_rng(1).integers(0, 3, n)
    cv = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(3)]
    with pytest.warns(GraphCoverageWarning, match="no edges"):
        graph = Graph.from_edges([], nodes=[f"n{i}" for i in range(n)])
        learner = GraphRLearner(
            **MODELS | {"final_model": "linear", "cv": cv, "clip": clip},
            hop_features=HopFeatures(operators=("mean",), include_degree=False),
        ).fit(town.X, town.y, treatment=town.t, graph=graph, nodes=[f"n{i}" for i in range(n)])
    Z = (town.X - town.X.mean(axis=0)) / town.X.std(axis=0)
    m, e = np.empty(n), np.empty(n)
    for train, test in cv:
        m[test] = Ridge(10.0).fit(Z[train], town.y[train]).predict(Z[test])
        e[test] = LogisticRegression(C=0.1).fit(Z[train], town.t[train]).predict_proba(Z[test])[:, 1]
    clipped = np.clip(e, clip, 1 - clip)
    y, t = town.y - m, town.t - clipped
    assert_allclose(learner.outcome_prediction_, m, atol=1e-5)
    assert_allclose(learner.treatment_prediction_, clipped, atol=1e-5)
    assert_allclose(learner.outcome_residual_, y, atol=1e-5)
    assert_allclose(learner.treatment_residual_, t, atol=1e-5)
    assert_allclose(learner.clipped_share_, np.mean(clipped != e))
    assert_allclose(learner.effect_constant_, (t * y).sum() / (t * t).sum(), rtol=1e-4)
    design = t[:, None] * np.column_stack([np.ones(n), Z])
    effect, everywhere = np.empty(n), np.zeros(n)
    for k, (train, test) in enumerate(cv):
        # Which of the four penalties the inner folds choose is taken from the learner; the solution is not.
        penalty = learner._final.models[0][k].penalty
        assert np.isclose(penalty / np.mean(t[train] ** 2), PENALTIES, rtol=1e-4).any()
        ridge = np.diag([0.0, penalty, penalty])
        b = np.linalg.solve(design[train].T @ design[train] + ridge, design[train].T @ y[train])
        effect[test] = b[0] + Z[test] @ b[1:]
        everywhere += (b[0] + Z @ b[1:]) / 3
    assert_allclose(learner.effect_, effect, atol=1e-4)
    by_level = np.empty((n, 2))
    for train, test in cv:
        for level in (0, 1):
            arm = train[town.t[train] == level]
            by_level[test, level] = Ridge(10.0).fit(Z[arm], town.y[arm]).predict(Z[test])
    assert_allclose(learner.outcome_by_level_, by_level, atol=1e-5)
    scored = np.clip(clipped, 0.05, 0.95)
    mu0, mu1 = by_level.T
    gamma = mu1 - mu0 + town.t / scored * (town.y - mu1) - (1 - town.t) / (1 - scored) * (town.y - mu0)
    assert_allclose(learner.scores_, gamma, atol=1e-3)
    with pytest.warns(GraphCoverageWarning):
        assert_allclose(learner.predict(town.X, nodes=graph.nodes), everywhere, atol=1e-4)
    assert_allclose(float(learner.ate()), gamma.mean(), atol=1e-4)
    assert learner.folds_.tolist() == [folds.tolist()]


def test_outcomes_of_a_fold_reach_its_own_effects_only_through_residuals_of_others() -> None:
    town = Town()
    first = town.known()
    held = first.folds_[0] == 0
    town.y = np.where(held, town.y + 100, town.y)
    second = town.known()
    assert np.array_equal(first.effect_[held], second.effect_[held])
    assert not np.allclose(first.effect_[~held], second.effect_[~held])


@pytest.mark.parametrize("kind", ["constant", "linear", "forest", "boosting", "neural"])
def test_unit_and_level_of_the_outcome(kind: str) -> None:
    """y → 8y: effects are eight times as large; a shift changes last bits, which trees may split by."""
    town = Town(150)
    first = town.fitted({"final_model": kind, "cv": 2})
    second = town.fitted({"final_model": kind, "cv": 2}, y=8 * town.y)
    assert_allclose(second.effect_, 8 * first.effect_, rtol=1e-6)
    assert_allclose(second.scores_, 8 * first.scores_, rtol=1e-6, atol=1e-6)
    assert_allclose(second.ate().std_error, 8 * first.ate().std_error, rtol=1e-6)
    third = town.fitted({"final_model": kind, "cv": 2}, y=8 * town.y - 3)
    assert np.mean((third.effect_ - second.effect_) ** 2) < 0.01 * second.effect_.var() + 1e-6


def test_covariates_may_have_any_unit() -> None:
    town = Town(200)
    first = town.fitted()
    second = town.fitted(X=town.X * [1000.0, 0.01] + [5.0, -3.0])
    assert_allclose(second.effect_, first.effect_, atol=1e-3)


# ---------------------------------------------------------------------- rows and nodes


def test_order_of_rows_is_of_no_account() -> None:
    town = Town(200)
    folds = np.random.default_rng(1).integers(0, 3, 200)

    def fit(rows: np.ndarray) -> GraphRLearner:
        cv = [(np.flatnonzero(folds[rows] != k), np.flatnonzero(folds[rows] == k)) for k in range(3)]
        # One penalty for all: which rows are in which inner fold depends on their order.
        final = LinearRegression()
        return town.fitted(
            {"cv": cv, "final_model": final}, X=town.X[rows], y=town.y[rows], treatment=town.t[rows], nodes=rows
        )

    order = np.random.default_rng(2).permutation(200)
    first, second = fit(np.arange(200)), fit(order)
    assert_allclose(second.effect_, first.effect_[order], atol=1e-4)
    assert_allclose(second.scores_, first.scores_[order], atol=1e-3)
    for dependence in ("network", "iid", "degree"):
        one, two = (found.ate(dependence=dependence) for found in (first, second))
        assert_allclose(two.estimate, one.estimate, rtol=1e-4)
        assert_allclose(two.std_error, one.std_error, rtol=1e-3)
    assert second.positions_.tolist() == order.tolist()
    assert_allclose(second.predict(town.X), first.predict(town.X), atol=1e-4)
    assert_allclose(second.residual_dependence()["moran_i"], first.residual_dependence()["moran_i"], atol=1e-4)
    assert_allclose(second.balance(), first.balance(), atol=1e-4)


def test_rows_may_be_a_part_with_covariates_of_the_others_in_the_graph() -> None:
    town = Town(500)
    rows = np.random.default_rng(0).permutation(500)[:250]
    full = town.graph.with_features(town.X)

    def fit(graph: Graph) -> GraphRLearner:
        return GraphRLearner(**QUICK).fit(
            town.X[rows],
            town.y[rows],
            treatment=town.t[rows],
            graph=graph,
            nodes=rows,
            outcome_predictions=town.m[rows],
            treatment_predictions=town.e[rows],
        )

    learner = fit(full)
    with pytest.warns(GraphCoverageWarning, match="with_features"):
        blind = fit(town.graph)
    errors = [np.mean((found.effect_ - town.tau[rows]) ** 2) for found in (learner, blind)]
    assert errors[0] < 0.2 < errors[1]
    assert learner.effect_.shape == learner.scores_.shape == (250,)
    rest = np.setdiff1d(np.arange(500), rows)
    there = learner.predict(town.X[rest], nodes=rest)
    assert np.mean((there - town.tau[rest]) ** 2) < 0.2
    # Balance is over all neighbours, whether they are rows or not.
    M = mean_matrix(town.graph.adjacency("binary").toarray()) @ (town.X - town.X[rows].mean(axis=0))
    table = learner.balance()
    treated = town.t[rows] == 1
    a, b = M[rows][treated], M[rows][~treated]
    assert_allclose(table["before"].iloc[2:], (a.mean(0) - b.mean(0)) / np.sqrt((a.var(0) + b.var(0)) / 2), rtol=1e-4)
    assert learner.ate().n_obs == 250


def test_prediction_for_another_network() -> None:
    learner, other = Town(400).known(), Town(200, 5)
    found = learner.predict(other.X, graph=other.graph)
    assert np.mean((found - other.tau) ** 2) < 0.2
    some = np.array([7, 3, 100])
    again = learner.predict(other.X[some], graph=other.graph.with_features(other.X), nodes=some)
    assert_allclose(again, found[some], atol=1e-5)


# ---------------------------------------------------------------------- weights, clusters, repeats


def test_equal_weights_are_no_weights() -> None:
    town = Town(200)
    plain, ones = town.fitted(), town.fitted(sample_weight=np.full(200, 3.0))
    assert_allclose(ones.effect_, plain.effect_, rtol=1e-6)
    assert_allclose(ones.scores_, plain.scores_, rtol=1e-6)
    assert_allclose(ones.ate().std_error, plain.ate().std_error, rtol=1e-6)


def test_weights_are_used_in_averages_and_fits() -> None:
    town = Town()
    w = np.random.default_rng(0).uniform(0.2, 3, 300)
    learner = GraphRLearner(**QUICK | {"final_model": "constant"}).fit(
        town.X,
        town.y,
        treatment=town.t,
        graph=town.graph,
        sample_weight=w,
        outcome_predictions=town.m,
        treatment_predictions=town.e,
    )
    y, t = town.y - town.m, town.t - town.e
    assert_allclose(learner.effect_constant_, (w * y * t).sum() / (w * t * t).sum(), rtol=1e-9)
    for k in range(3):
        train = learner.folds_[0] != k
        assert_allclose(learner.effect_[~train], (w * y * t)[train].sum() / (w * t * t)[train].sum(), rtol=1e-9)
    ate = learner.ate(dependence="iid")
    assert_allclose(float(ate), np.average(learner.scores_, weights=w), rtol=1e-10)
    psi = w / w.mean() * (learner.scores_ - float(ate))
    assert_allclose(ate.std_error[0], np.sqrt(np.mean(psi**2) / 300), rtol=1e-9)
    assert_allclose(float(learner.ate(target="overlap")), learner.effect_constant_, rtol=1e-9)


def test_clusters_drive_folds_and_errors() -> None:
    town = Town()
    groups = np.array(list("abcdefghijklmnopqrst"))[np.arange(300) // 15]
    learner = town.fitted(groups=groups)
    for label in np.unique(groups):
        assert len(np.unique(learner.folds_[0][groups == label])) == 1
    with pytest.warns(NetworkDependenceWarning, match="20 clusters with conductance above"):
        result = learner.ate()
    assert "20 clusters" in result.dependence
    sums = pd.Series(learner.scores_ - learner.scores_.mean()).groupby(groups).sum()
    assert_allclose(result.std_error[0], np.sqrt(20 / 19 * (sums**2).sum()) / 300, rtol=1e-8)
    assert "network" in learner.ate(dependence="network").dependence
    assert "20 clusters" in learner.rate().dependence


def test_repeats_average_effects_and_scores() -> None:
    town = Town(200)
    learner = town.known(n_repeats=3, final_model="constant")
    assert learner.folds_.shape == (3, 200)
    assert not np.array_equal(learner.folds_[0], learner.folds_[1])
    y, t = town.y - town.m, town.t - town.e
    effect = np.zeros(200)
    for fold in learner.folds_:
        for k in range(3):
            effect[fold == k] += (y * t)[fold != k].sum() / (t * t)[fold != k].sum() / 3
    assert_allclose(learner.effect_, effect, rtol=1e-9)
    assert learner.diagnostics().loc["ATE spread over repeats", "value"] == pytest.approx(0, abs=1e-12)
    fitted = town.fitted({"n_repeats": 3})
    assert 0 < fitted.diagnostics().loc["ATE spread over repeats", "value"] < fitted.ate().std_error[0]
    assert len(fitted.fold_report_) == 9
    assert np.isnan(town.fitted().diagnostics().loc["ATE spread over repeats", "value"])


def test_exposures_are_features_that_prediction_needs() -> None:
    rng = np.random.default_rng(0)
    town = Town(400, ring=True)
    exposure = town.graph.adjacency("mean") @ town.t.astype(float)
    effect = 1 + 2 * exposure
    learner = GraphRLearner(**QUICK).fit(
        town.X,
        town.base + town.t * effect + 0.3 * rng.normal(size=400),
        treatment=town.t,
        graph=town.graph,
        exposure=exposure,
        outcome_predictions=town.base + town.e * effect,
        treatment_predictions=town.e,
    )
    assert learner.exposure_radius_ == 1
    assert learner.fold_report_["train_share"].max() < 1  # a buffer of one step
    assert np.mean((learner.effect_ - effect) ** 2) < 0.3 * effect.var()
    at_half = learner.predict(town.X, exposure=np.full(400, 0.5))
    assert abs(at_half.mean() - 2) < 0.2
    assert_allclose(learner.effect(town.X, exposure=exposure), learner.predict(town.X, exposure=exposure))
    with pytest.raises(ValueError, match="exposure is missing: fit had exposures"):
        learner.predict(town.X)
    with pytest.raises(ValueError, match="exposure is missing"):
        learner.effect(town.X)
    with pytest.raises(ValueError, match="exposure has 2 columns, expected 1 as in fit"):
        learner.predict(town.X, exposure=np.ones((400, 2)))
    with pytest.raises(ValueError, match="exposure was given, but fit had none"):
        town.known().predict(town.X, exposure=exposure)
    assert "exposure that was given" in str(learner.summary())


# ---------------------------------------------------------------------- kinds of treatment


def test_two_levels_as_several_are_the_binary_treatment() -> None:
    town = Town()
    binary = town.known()
    multi = town.known(treatment_type="multi")
    assert np.array_equal(multi.effect_, binary.effect_)
    assert np.array_equal(multi.scores_, binary.scores_)
    named = GraphRLearner(**QUICK).fit(
        town.X,
        town.y,
        treatment=np.array(["control", "drug"])[town.t],
        graph=town.graph,
        outcome_predictions=town.m,
        treatment_predictions=np.column_stack([1 - town.e, town.e]),
    )
    assert np.array_equal(named.effect_, binary.effect_)
    assert named.treatment_levels_.tolist() == ["control", "drug"]
    floats = GraphRLearner(**QUICK).fit(
        town.X,
        town.y,
        treatment=np.where(town.t, 2.5, -1.0),
        graph=town.graph,
        outcome_predictions=town.m,
        treatment_predictions=town.e,
    )
    assert np.array_equal(floats.effect_, binary.effect_)
    assert floats.treatment_levels_.tolist() == [-1.0, 2.5]
    assert_allclose(floats.effect(T0=2.5, T1=-1.0), -binary.effect_)


def three_levels(n: int = 900, seed: int = 0) -> tuple[Town, np.ndarray, np.ndarray, dict[str, Any]]:
    """A town with levels a, b, c, effects of b and c, and everything that is known."""
    town, rng = Town(n, seed), np.random.default_rng(seed)
    logits = np.column_stack([np.zeros(n), 0.5 * town.X[:, 0], 0.4 * town.M[:, 0]])
    e = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    codes = (rng.random(n)[:, None] > np.cumsum(e, axis=1)[:, :-1]).sum(axis=1)
    tau = np.column_stack([1 + town.M[:, 0], 2 - town.X[:, 0]])
    y = town.base + np.column_stack([np.zeros(n), tau])[np.arange(n), codes] + 0.5 * rng.normal(size=n)
    known = {"outcome_predictions": town.base + (e[:, 1:] * tau).sum(axis=1), "treatment_predictions": e}
    return town, tau, codes, {"y": y, "treatment": np.array(list("abc"))[codes], **known}


def test_several_levels() -> None:
    town, tau, codes, rows = three_levels()
    learner = GraphRLearner(**QUICK).fit(town.X, graph=town.graph, **rows)
    assert learner.effect_.shape == learner.scores_.shape == (900, 2)
    assert learner.effect_constant_.shape == (2,)
    assert learner.treatment_prediction_.shape == (900, 3)
    assert (np.mean((learner.effect_ - tau) ** 2, axis=0) < 0.2 * tau.var(axis=0)).all()
    assert learner.const_marginal_effect(town.X).shape == (900, 2)
    assert_allclose(learner.effect(T0="a", T1="c"), learner.effect_[:, 1])
    assert_allclose(learner.effect(T0="b", T1="c"), learner.effect_[:, 1] - learner.effect_[:, 0])
    assert_allclose(learner.effect(), learner.effect_[:, 0])  # numbers of levels, where 0 and 1 are none
    ate = learner.ate()
    assert ate.names == ("ATE, b", "ATE, c")
    assert (np.abs(ate.estimate - tau.mean(axis=0)) < 4 * ate.std_error).all()
    for target, rows_of in (("treated", None), ("control", codes == 0)):
        found = learner.ate(target=target)
        truth = [tau[(codes == k + 1) if rows_of is None else rows_of, k].mean() for k in range(2)]
        assert (np.abs(found.estimate - truth) < 4 * found.std_error).all(), target
    assert learner.gate(codes).names[:2] == ("0, b", "0, c")
    assert [column for column in learner.overlap() if column.startswith("ess")] == ["ess_a", "ess_b", "ess_c"]
    assert learner.balance().columns.tolist() == ["before, b", "after, b", "before, c", "after, c"]
    assert learner.residual_dependence().index.tolist() == ["outcome", "treatment b", "treatment c"]
    assert (np.abs(learner.calibration()["estimate"] - 1) < 0.3).all()
    policy = learner.policy_value(np.tile([0.2, 0.3], (900, 1)))
    assert_allclose(policy.estimate[0], (learner.scores_ @ [0.2, 0.3]).mean())
    for call in (learner.targeting, lambda _: learner.rate(), lambda _: learner.projection(town.X), learner.gate):
        with pytest.raises(MethodNotApplicableError, match="about one effect, but the treatment has 2 levels"):
            call(2 if call == learner.gate else 0.5)
    with pytest.raises(ValueError, match=r"T1 must be a level of the treatment, \['a', 'b', 'c'\]; got 'd'"):
        learner.effect(T0="a", T1="d")
    fitted = GraphRLearner(**QUICK | MODELS).fit(town.X, rows["y"], treatment=rows["treatment"], graph=town.graph)
    assert_allclose(fitted.treatment_prediction_.sum(axis=1), 1)
    assert abs(fitted.ate().estimate - tau.mean(axis=0)).max() < 0.5


def test_continuous_treatment() -> None:
    town, rng = Town(300), np.random.default_rng(0)
    mean = 0.5 * town.X[:, 0] + 0.5 * town.M[:, 0]
    t = mean + rng.normal(size=300)
    y = town.base + t * town.tau + 0.5 * rng.normal(size=300)

    def fit(unit: float, **options: Any) -> GraphRLearner:
        return GraphRLearner(**QUICK | {"cv": 2, "nuisance_features": "own"} | options).fit(
            town.X,
            y,
            treatment=unit * t,
            graph=town.graph,
            outcome_predictions=town.base + mean * town.tau,
            treatment_predictions=unit * mean,
        )

    learner = fit(1.0)
    assert learner.treatment_levels_ is None
    assert np.mean((learner.effect_ - town.tau) ** 2) < 0.1
    assert_allclose(learner.treatment_residual_, t - mean)
    assert_allclose(learner.effect(T0=1.0, T1=3.5), 2.5 * learner.effect_)
    truth = town.tau.mean()
    for target in ("all", "overlap"):
        result = learner.ate(target=target)
        assert abs(float(result) - truth) < 4 * result.std_error[0]
    residual = t - mean
    ratio = (residual * (y - town.base - mean * town.tau)).sum() / (residual**2).sum()
    assert_allclose(float(learner.ate(target="overlap")), ratio, rtol=1e-9)
    larger = fit(16.0)
    assert_allclose(larger.effect_, learner.effect_ / 16, rtol=1e-6)
    assert_allclose(larger.ate().estimate, learner.ate().estimate / 16, rtol=1e-3)
    with pytest.raises(MethodNotApplicableError, match='target="treated" needs treatment levels'):
        learner.ate(target="treated")
    with pytest.raises(MethodNotApplicableError, match=r"overlap\(\) compares arms, but the treatment is continuous"):
        learner.overlap()
    with pytest.raises(ValueError, match="T0 and T1 must be numbers"):
        learner.effect(T0="low", T1="high")
    table = learner.balance()
    assert abs(table.loc["x0", "before"] - np.corrcoef(town.X[:, 0], t)[0, 1]) < 1e-9
    assert table["after"].abs().max() < 0.2
    fitted = GraphRLearner(outcome_model=Ridge(10.0), treatment_model=Ridge(10.0), **QUICK).fit(
        town.X, y, treatment=t, graph=town.graph
    )
    for target in ("all", "overlap"):
        result = fitted.ate(target=target)
        assert abs(float(result) - truth) < 4 * result.std_error[0]
    assert abs(float(fitted.ate(target="overlap")) - truth) < 0.4
    # Scores divide by a regression of squared residuals, at least one percent of their mean.
    assert fitted._variance.min() >= 0.01 * np.mean(fitted.treatment_residual_**2) * (1 - 1e-12)
    weight = fitted.treatment_residual_ / fitted._variance
    residual = fitted.outcome_residual_ - fitted.treatment_residual_ * fitted.effect_
    # Ridge regressions are linear in what they are fitted to: with them a baseline changes nothing but rounding.
    assert_allclose(fitted.scores_, fitted.effect_ + weight * residual, rtol=1e-4)


# ---------------------------------------------------------------------- models


class NeighbourMean(RegressorMixin, BaseEstimator):
    """Least squares on own covariates and the means over neighbours, which it takes from the graph itself."""

    def _columns(self, X: Any, graph: Graph, nodes: Any) -> np.ndarray:
        everybody = np.asarray(graph.features)
        return np.hstack([X, (graph.adjacency("mean") @ everybody)[graph.positions(nodes)]])

    def fit(self, X: Any, y: Any, *, graph: Graph, nodes: Any = None) -> NeighbourMean:
        self.line_ = LinearRegression().fit(self._columns(X, graph, nodes), y)
        return self

    def predict(self, X: Any, *, graph: Graph, nodes: Any = None) -> Any:
        return self.line_.predict(self._columns(X, graph, nodes))


def test_models_with_and_without_the_graph() -> None:
    town = Town(400)
    learner = town.fitted({"outcome_model": NeighbourMean(), "treatment_model": LogisticRegression(C=0.3)})
    columns = np.hstack([town.X, mean_matrix(town.graph.adjacency("binary").toarray()) @ town.X])
    for k in range(3):
        test = learner.folds_[0] == k
        expected = LinearRegression().fit(columns[~test], town.y[~test]).predict(columns[test])
        assert_allclose(learner.outcome_prediction_[test], expected, rtol=1e-4, atol=1e-4)
    assert learner.nuisance_selection_.empty
    assert learner.score(town.X, town.y, treatment=town.t) > 0
    own = town.fitted({"nuisance_features": "own", "final_features": "own"})
    Z = (town.X - town.X.mean(axis=0)) / town.X.std(axis=0)
    test = own.folds_[0] == 0
    expected = Ridge(10.0).fit(Z[~test], town.y[~test]).predict(Z[test])
    assert_allclose(own.outcome_prediction_[test], expected, atol=1e-4)
    assert len(own._final.models[0][0].coef) == 3
    assert np.mean((own.effect_ - town.tau) ** 2) > 0.7 > 0.3 > np.mean((learner.effect_ - town.tau) ** 2)


def test_networks_as_nuisances() -> None:
    pytest.importorskip("torch")
    from causalkit.graph import GNNClassifier, GNNRegressor

    options = {"hidden": 8, "max_iter": 25, "n_bags": 1, "encoder": "sage", "device": "cpu"}
    town = Town(150)
    learner = town.fitted({"outcome_model": GNNRegressor(**options), "treatment_model": GNNClassifier(**options)})
    assert np.corrcoef(learner.outcome_prediction_, town.m)[0, 1] > 0.4
    assert 0 < learner.treatment_prediction_.min() < learner.treatment_prediction_.max() < 1


def test_known_predictions_and_frozen_models() -> None:
    town = Town()

    class Untouchable(Ridge):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Untouchable:
            raise RuntimeError("nobody should fit this")

    known = {"outcome_predictions": town.m, "treatment_predictions": town.e}
    learner = town.fitted({"outcome_model": Untouchable(), "treatment_model": Untouchable()}, **known)
    assert_allclose(learner.outcome_prediction_, town.m)
    assert_allclose(learner.treatment_prediction_, np.clip(town.e, 0.02, 0.98))
    with pytest.raises(MethodNotApplicableError, match="a fit with known predictions do not have"):
        learner.score(town.X, town.y, treatment=town.t)
    half = town.fitted({"treatment_model": Untouchable()}, treatment_predictions=town.e)
    assert not np.allclose(half.outcome_prediction_, town.m)
    columns = HopFeatures().fit_transform(town.X, graph=town.graph)
    ready = Ridge(3.0).fit(columns, town.y)
    frozen = town.fitted({"outcome_model": FrozenEstimator(ready)})
    assert_allclose(frozen.outcome_prediction_, ready.predict(columns), atol=1e-5)


def test_final_models_of_econml() -> None:
    grf = pytest.importorskip("econml.grf")
    from econml.sklearn_extensions.linear_model import StatsModelsLinearRegression

    town = Town(400)
    forest = town.known(final_model=grf.CausalForest(n_estimators=40, inference=True, n_jobs=1))
    assert np.mean((forest.effect_ - town.tau) ** 2) < 0.6
    low, high = interval = forest.effect_interval(
        town.X[:50], nodes=np.arange(50), graph=town.graph.with_features(town.X)
    )
    assert interval.method == "model" and not interval.heuristic
    found = forest.predict(town.X)[:50]
    assert ((low < found) & (found < high)).all()
    assert forest.selection_["candidate"].tolist() == ["CausalForest"]
    # A linear final stage without penalty is weighted least squares on pseudo-outcomes.
    line = town.known(final_model=StatsModelsLinearRegression())
    columns = HopFeatures().fit_transform(town.X, graph=town.graph).astype(float)
    y, t = town.y - town.m, town.t - town.e
    train = line.folds_[0] != 0
    design = t[:, None] * np.column_stack([np.ones(400), columns])
    b = np.linalg.lstsq(design[train], y[train], rcond=None)[0]
    expected = np.column_stack([np.ones(400), columns])[~train] @ b
    assert_allclose(line.effect_[~train], expected, atol=1e-3)
    assert line.effect_interval().method in ("model", "half_sample")


# ---------------------------------------------------------------------- containers, copies, files


def test_frames_and_arrays_give_the_same() -> None:
    town = Town(150)
    w, groups = np.random.default_rng(0).uniform(1, 2, 150), np.arange(150) // 5
    frame = pd.DataFrame(town.X, columns=["age", "income"])
    arrays = town.fitted(sample_weight=w, groups=groups)
    pandas = town.fitted(
        X=frame,
        y=pd.Series(town.y),
        treatment=pd.Series(town.t),
        sample_weight=pd.Series(w),
        groups=pd.Series(groups),
        nodes=pd.Series(np.arange(150)),
    )
    polars = town.fitted(
        X=pl.from_pandas(frame),
        y=pl.Series(town.y),
        treatment=pl.Series(town.t),
        sample_weight=pl.Series(w),
        groups=pl.Series(groups),
    )
    for other in (pandas, polars):
        for name in ("effect_", "scores_", "outcome_prediction_", "treatment_prediction_", "folds_"):
            assert np.array_equal(getattr(other, name), getattr(arrays, name)), name
        assert other.feature_names_in_.tolist() == ["age", "income"]
    assert "mean1(age)" in pandas.residual_dependence()["column"].iloc[0] or len(pandas.balance()) == 4
    assert pandas.balance().index.tolist() == ["age", "income", "neighbours' age", "neighbours' income"]
    assert np.array_equal(polars.predict(pl.from_pandas(frame)), arrays.predict(town.X))
    with pytest.raises(ValueError, match="feature names should match"):
        pandas.predict(frame.rename(columns={"age": "years"}))


def test_an_index_of_ids_says_which_node_a_row_is() -> None:
    town = Town(100)
    ids = [f"u{i}" for i in np.random.default_rng(0).permutation(100)]
    edges = [(ids[i], ids[j]) for i, j in town.graph.to_frame().to_numpy()]
    graph = Graph.from_edges(edges, nodes=ids)
    frame = pd.DataFrame(town.X, index=ids)
    order = np.random.default_rng(1).permutation(100)
    cv = [(np.flatnonzero(order % 2 == k), np.flatnonzero(order % 2 != k)) for k in (0, 1)]
    final = LinearRegression()
    by_position = town.fitted({"cv": [(order[a], order[b]) for a, b in cv], "final_model": final})
    by_index = town.fitted(
        {"cv": cv, "final_model": final},
        X=frame.iloc[order],
        y=town.y[order],
        treatment=town.t[order],
        graph=graph,
        nodes=frame.index[order],
    )
    assert_allclose(by_index.effect_, by_position.effect_[order], atol=1e-3)


def test_jobs_and_backends_change_no_bit() -> None:
    town = Town(100)
    options = {"final_model": "auto", "cv": 2, "final_features": "graph"}
    arrays = ("effect_", "scores_", "outcome_prediction_", "treatment_prediction_")

    def same(other: GraphRLearner) -> bool:
        return all(np.array_equal(getattr(other, name), getattr(serial, name)) for name in arrays)

    serial = town.fitted(options)
    with joblib.parallel_config("threading", n_jobs=2):
        assert same(town.fitted(options))
    options["final_model"] = "neural"
    serial = town.fitted(options)
    assert same(town.fitted(options | {"n_jobs": 2}))  # processes
    options["final_model"] = "boosting"
    serial = town.fitted(options)
    with dask_workers():
        assert same(town.fitted(options))


def test_seeds() -> None:
    town = Town(150)
    first = town.fitted({"random_state": 5})
    assert np.array_equal(town.fitted({"random_state": 5}).effect_, first.effect_)
    assert not np.array_equal(town.fitted({"random_state": 6}).effect_, first.effect_)


def test_copies_and_files(tmp_path: Any) -> None:
    town = Town(150)
    learner = town.fitted({"final_model": "auto", "cv": 2, "final_features": "graph"})
    assert clone(learner).get_params().keys() == learner.get_params().keys()
    assert not hasattr(clone(learner), "effect_")
    again = pickle.loads(pickle.dumps(learner))
    assert again.score(town.X, town.y, treatment=town.t) == learner.score(town.X, town.y, treatment=town.t)
    save(learner, tmp_path / "learner")
    loaded = load(tmp_path / "learner")
    new = Town(60, 9)
    for other in (again, loaded):
        assert np.array_equal(other.predict(town.X), learner.predict(town.X))
        assert np.array_equal(other.predict(new.X, graph=new.graph), learner.predict(new.X, graph=new.graph))
        assert np.array_equal(other.effect_, learner.effect_)
        pd.testing.assert_frame_equal(other.ate().summary(), learner.ate().summary(), check_exact=True)
        pd.testing.assert_frame_equal(other.selection_, learner.selection_)
        pd.testing.assert_frame_equal(other.nuisance_selection_, learner.nuisance_selection_)
        pd.testing.assert_frame_equal(other.overlap(), learner.overlap())
        pd.testing.assert_frame_equal(other.calibration(), learner.calibration())
        assert str(other.summary()) == str(learner.summary())
    with pytest.raises(MethodNotApplicableError, match="a saved file"):
        loaded.score(town.X, town.y, treatment=town.t)
    for call in (loaded.balance, loaded.residual_dependence, loaded.effect_interval):
        with pytest.raises(MethodNotApplicableError, match="needs the covariates of fit, which a saved file"):
            call()


@pytest.mark.parametrize("kind", ["constant", "linear", "forest", "boosting", "neural"])
def test_every_final_stage_comes_back_from_a_file(kind: str, tmp_path: Any) -> None:
    town = Town(120)
    learner = town.known(final_model=kind, cv=2)
    save(learner, tmp_path / kind)
    assert np.array_equal(load(tmp_path / kind).predict(town.X), learner.predict(town.X))


@pytest.mark.parametrize("grid", [{"clip": [0.02, 0.05]}, {"final_model": ["constant", "linear"]}])
def test_search_slices_rows_and_not_the_graph(grid: dict[str, list[Any]]) -> None:
    town = Town(240)
    graph = town.graph.with_features(town.X)
    order = np.random.default_rng(0).permutation(240)
    with sklearn.config_context(enable_metadata_routing=True):
        learner = GraphRLearner(**QUICK | MODELS).set_fit_request(treatment=True, nodes=True, graph=True)
        learner.set_score_request(treatment=True, nodes=True, graph=True)
        search = GridSearchCV(learner, grid, cv=3, error_score="raise")
        search.fit(town.X[order], town.y[order], treatment=town.t[order], nodes=order, graph=graph)
    best = search.best_estimator_
    assert best.graph_ is graph
    assert best.positions_.tolist() == order.tolist()
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    train, test = next(iter(KFold(3).split(order)))
    value = next(iter(grid.values()))[0]
    single = GraphRLearner(**QUICK | MODELS | {next(iter(grid)): value}).fit(
        town.X[order][train], town.y[order][train], treatment=town.t[order][train], graph=graph, nodes=order[train]
    )
    found = single.score(
        town.X[order][test], town.y[order][test], treatment=town.t[order][test], graph=graph, nodes=order[test]
    )
    assert_allclose(search.cv_results_["split0_test_score"][0], found, rtol=1e-9)
    if "final_model" in grid:
        assert search.best_params_ == {"final_model": "linear"}


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError])
def test_a_fit_that_breaks_off_leaves_the_old_one(failure: type[BaseException]) -> None:
    town = Town(150)

    class Breaks(Ridge):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Breaks:
            raise failure("enough")

    learner = town.fitted()
    before, state = learner.predict(town.X), vars(learner).copy()
    for broken in ({"outcome_model": Breaks()}, {"outcome_model": Ridge(), "final_model": Breaks()}):
        learner.set_params(**broken)
        with pytest.raises(failure, match="enough"):
            learner.fit(town.X, town.y, treatment=town.t, graph=town.graph)
        assert np.array_equal(learner.predict(town.X), before)
        changed = {name for name in vars(learner) if vars(learner)[name] is not state.get(name)}
        assert changed <= {"outcome_model", "final_model"}
        fresh = GraphRLearner(**learner.get_params(deep=False))
        with pytest.raises(failure, match="enough"):
            fresh.fit(town.X, town.y, treatment=town.t, graph=town.graph)
        assert not hasattr(fresh, "effect_")


def test_network_folds_and_buffers_are_reported() -> None:
    town = Town(400, degree=2.0)
    learner = town.known(cv=GraphKFold(4, buffer=1, random_state=0))
    report = learner.fold_report_
    assert report["n_test"].sum() == 400
    assert (report["train_share"] < 1).any()
    assert learner.diagnostics().loc["smallest training share", "value"] == report["train_share"].min()
    plain = town.known(buffer=0)
    assert (plain.fold_report_["train_share"] == 1).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        near = town.known(buffer=1)
    assert (near.fold_report_["train_share"] < 1).all()
