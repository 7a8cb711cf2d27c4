"""Exposures of learners on graphs: how far they reach, who cannot see them, and where they must not be."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from causalkit.exceptions import FoldError, GraphError, IdentificationError, LeakageWarning, MethodNotApplicableError
from causalkit.graph import Graph, GraphKFold, GraphRLearner, SpilloverRLearner, exposure_mapping
from causalkit.graph.exposure_leaks import exposures_among
from causalkit.graph.inputs import check_rows
from causalkit.inference import network_covariance
from tests.graph.networks import barabasi_albert, mean_matrix

N = 240
CONSTANT: dict[str, Any] = {"final_model": "constant", "cv": 2, "random_state": 0}


class Ring:
    """Nodes on a ring, each linked to the next: distances are known, and buffers leave most rows."""

    def __init__(self, n: int = N) -> None:
        rng = np.random.default_rng(0)
        edges = np.column_stack([np.arange(n), (np.arange(n) + 1) % n])
        self.graph = Graph.from_edges(edges, n_nodes=n)
        self.A = np.zeros((n, n))
        self.A[edges[:, 0], edges[:, 1]] = self.A[edges[:, 1], edges[:, 0]] = 1
        apart = np.abs(np.arange(n)[:, None] - np.arange(n))
        self.distance = np.minimum(apart, n - apart)
        self.X = rng.normal(size=(n, 2))
        self.e = 1 / (1 + np.exp(-0.6 * self.X[:, 0]))
        self.t = (rng.random(n) < self.e).astype(int)
        self.y = self.X[:, 0] + self.t * (1 + self.share()) + rng.normal(size=n)
        self.m = self.X[:, 0] + self.e

    def share(self) -> Any:
        return mean_matrix(self.A) @ self.t

    def two_hop_share(self) -> Any:
        return mean_matrix((self.distance == 2).astype(float)) @ self.t

    def given(self, **changes: Any) -> dict[str, Any]:
        return {
            "X": self.X,
            "y": self.y,
            "treatment": self.t,
            "graph": self.graph,
            "outcome_predictions": self.m,
            "treatment_predictions": self.e,
        } | changes

    def fit(self, exposure: Any, **parameters: Any) -> GraphRLearner:
        return GraphRLearner(**CONSTANT | parameters).fit(**self.given(exposure=exposure))


RING = Ring()


def neighbours_share(treatment: Any, graph: Graph) -> Any:
    return graph.adjacency("mean") @ treatment


# ---------------------------------------------------------------------- how far treatments act


def smallest_step(learner: GraphRLearner) -> int:
    """Distance from held-out rows to the nearest training row, by the sizes in the report."""
    found = []
    for fold, n_train in enumerate(learner.fold_report_["n_train"]):
        test = learner.folds_[0] == fold
        nearest = RING.distance[:, test].min(axis=1)
        counts = [int((nearest > steps).sum()) for steps in range(4)]
        assert n_train in counts
        found.append(counts.index(n_train))
    return min(found)


@pytest.mark.parametrize(
    ("exposure", "options", "radius"),
    [
        (RING.share(), {}, 1),
        (RING.share(), {"buffer": 0}, 1),
        (RING.two_hop_share(), {"buffer": 2}, 2),
        (RING.two_hop_share(), {"cv": GraphKFold(2, buffer=2, random_state=0)}, 2),
        ("share", {}, 1),
        ("share", {"buffer": 2}, 1),
        ("two_hop_share", {}, 2),
        (["share", "two_hop_share"], {}, 2),
        (("threshold", 2), {}, 1),
        (sparse.csr_array(mean_matrix(RING.A)), {}, 1),
        (sparse.csr_array(mean_matrix((RING.distance == 2).astype(float))), {}, 2),
        (neighbours_share, {}, 1),
        (neighbours_share, {"buffer": 2}, 2),
    ],
)
def test_reach_of_exposures(exposure: Any, options: dict[str, Any], radius: int) -> None:
    learner = RING.fit(exposure, **options)
    assert learner.exposure_radius_ == radius
    asked = options.get("buffer", radius)
    assert smallest_step(learner) == (radius if "cv" in options else asked)
    psi = learner.scores_ - learner.scores_.mean()
    expected = network_covariance(psi, RING.graph.skeleton(), exposure_radius=radius)
    assert_allclose(learner.ate().std_error, expected.std_error, rtol=1e-10)


@pytest.mark.parametrize("kind", ["share", "two_hop_share"])
def test_mappings_are_the_numbers_that_they_stand_for(kind: str) -> None:
    numbers = RING.share() if kind == "share" else RING.two_hop_share()
    options: dict[str, Any] = {"final_model": "linear", "buffer": 1 if kind == "share" else 2}
    named, given = RING.fit(kind, **options), RING.fit(numbers, **options)
    assert_allclose(named.exposure_, numbers, atol=1e-7)
    assert_allclose(named.effect_, given.effect_, atol=1e-5)
    assert_allclose(named.predict(RING.X, exposure=numbers), given.predict(RING.X, exposure=numbers), atol=1e-5)
    assert GraphRLearner(**CONSTANT).fit(**RING.given()).exposure_ is None


def test_mappings_that_cannot_be_computed() -> None:
    learner = GraphRLearner(**CONSTANT)
    level = np.arange(N) % 3
    with pytest.raises(MethodNotApplicableError, match="exposure='share' is computed from treatments of two levels"):
        learner.fit(**RING.given(treatment=level, treatment_predictions=np.full((N, 3), 1 / 3), exposure="share"))
    few = {name: value if name == "graph" else value[:100] for name, value in RING.given().items()}
    with pytest.raises(ValueError, match=r"exposure needs the treatment of every neighbour.*exposures as numbers"):
        learner.fit(**few, nodes=np.arange(100), exposure="share")
    with pytest.raises(ValueError, match="treatment must be 0 or 1 to count"):
        learner.fit(**RING.given(treatment=RING.y, treatment_predictions=RING.e, exposure="any"))
    with pytest.raises(IdentificationError, match="depends on own treatment"):
        learner.fit(**RING.given(exposure=lambda t, graph: t + graph.adjacency("mean") @ t))
    with pytest.raises(GraphError, match="non-zero entries on its diagonal"):
        learner.fit(**RING.given(exposure=sparse.eye_array(N, format="csr")))
    with pytest.raises(ValueError, match=r"exposure must be one of .*; got 'shares'"):
        learner.fit(**RING.given(exposure="shares"))
    assert not hasattr(learner, "effect_")
    with pytest.raises(ValueError, match=r"exposure must hold numbers, one row per row of X.*got 'share'"):
        RING.fit("share").predict(RING.X, exposure="share")


# ---------------------------------------------------------------------- models that take the graph


class OnGraph(BaseEstimator):
    """A model that reads the graph itself."""

    def fit(self, X: Any, y: Any, *, graph: Graph, nodes: Any = None, sample_weight: Any = None) -> OnGraph:
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X: Any, *, graph: Graph, nodes: Any = None) -> Any:
        return np.full(len(X), self.mean_)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"outcome_model": OnGraph()}, "outcome_model=OnGraph"),
        ({"treatment_model": OnGraph()}, "treatment_model=OnGraph"),
        ({"final_model": OnGraph()}, "final_model=OnGraph"),
        ({"encoder": "sage"}, "encoder='sage'"),
    ],
)
def test_models_that_would_not_see_exposures_are_refused(options: dict[str, Any], name: str) -> None:
    given = RING.given(exposure="share", outcome_predictions=None, treatment_predictions=None)
    models = {"outcome_model": LinearRegression(), "final_model": "auto"}
    models |= {"treatment_model": LogisticRegression()} if "encoder" not in options else {}
    learner = GraphRLearner(**CONSTANT | models | options)
    with pytest.raises(MethodNotApplicableError, match=rf"{name}.*would not see them"):
        learner.fit(**given)


def test_models_that_are_not_used_are_not_refused() -> None:
    known = {"outcome_model": OnGraph(), "treatment_model": OnGraph(), "encoder": "sage"}
    assert_allclose(RING.fit("share", **known).effect_, RING.fit("share").effect_)
    alone = GraphRLearner(**CONSTANT | {"outcome_model": OnGraph()}).fit(**RING.given(outcome_predictions=None))
    train = alone.folds_[0] != 0
    assert_allclose(alone.outcome_prediction_[~train], RING.y[train].mean())


def test_exposures_reach_models_of_columns() -> None:
    """The outcome goes with the exposure, which nothing else in the data knows."""
    share = np.random.default_rng(3).normal(size=N)
    given = RING.given(y=5 * share, exposure=share, outcome_predictions=None)
    learner = GraphRLearner(**CONSTANT | {"outcome_model": Ridge(1e-3), "buffer": 0}).fit(**given)
    assert np.corrcoef(learner.outcome_prediction_, share)[0, 1] > 0.99


# ---------------------------------------------------------------------- exposures among the covariates


class ScaleFree:
    """Preferential attachment, where a node's own treatment is a small part of what its neighbours are exposed to."""

    def __init__(self, seed: int = 0, n: int = 400, weighted: bool = False) -> None:
        rng = np.random.default_rng(seed)
        edges = barabasi_albert(n, 4, rng)
        weights = rng.uniform(0.5, 2, len(edges)) if weighted else None
        self.graph = Graph.from_edges(edges, n_nodes=n, weights=weights)
        self.X = rng.normal(size=(n, 2))
        self.e = 1 / (1 + np.exp(-self.X[:, 0]))
        self.t = (rng.random(n) < self.e).astype(int)
        self.y = self.X[:, 0] + self.t + rng.normal(size=n)

    def found(self, column: Any, treatment: Any = None, rows: Any = slice(None)) -> dict[int, str]:
        X = np.column_stack([self.X, column])[rows]
        t = self.t if treatment is None else treatment
        nodes = np.arange(len(self.t))[rows]
        return exposures_among(
            check_rows(X, self.y[rows], treatment=t[rows], treatment_type="auto", graph=self.graph, nodes=nodes)
        )


@pytest.mark.parametrize("kind", ["share", "count", "any", "weighted", "weighted_share"])
def test_exposures_among_the_covariates_are_found_where_hubs_dilute_them(kind: str) -> None:
    case = ScaleFree(weighted=kind.startswith("weighted"))
    rng = np.random.default_rng(1)
    t = case.t
    if kind == "any":  # nearly every node would have a treated neighbour
        t = (rng.random(len(t)) < 0.1).astype(int)
    exposure = exposure_mapping(case.graph, t, kind)
    assert list(case.found(3 - 2 * exposure, t)) == [2]
    assert list(case.found(exposure + 0.01 * exposure.std() * rng.normal(size=len(t)), t)) == [2]
    # A column of neighbours does not show it, which is what is checked beside this.
    passed = case.graph.adjacency("mean") @ exposure
    assert abs(np.corrcoef(passed, t)[0, 1]) < 0.9


@pytest.mark.parametrize("learner", [GraphRLearner, SpilloverRLearner])
def test_the_warning_names_the_column_and_where_it_belongs(learner: Any) -> None:
    case = ScaleFree()
    share = exposure_mapping(case.graph, case.t)
    given = {"treatment": case.t, "graph": case.graph, "treatment_predictions": case.e, "outcome_predictions": case.y}
    with pytest.warns(LeakageWarning, match=r"1 columns of X .*x2 is the share of treated neighbours.*exposure="):
        learner(**CONSTANT).fit(np.column_stack([case.X, share]), case.y, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LeakageWarning)
        learner(**CONSTANT).fit(np.column_stack([case.X, case.graph.degree]), case.y, **given)


def test_exposures_to_one_of_several_levels_and_on_some_rows() -> None:
    case = ScaleFree()
    level = np.random.default_rng(2).integers(0, 3, len(case.t))
    share = exposure_mapping(case.graph, (level == 2).astype(float))
    assert list(case.found(share, level)) == [2]
    part = np.arange(len(case.t)) < 390  # treatments of the last ten are unknown, and so are some exposures
    assert list(case.found(exposure_mapping(case.graph, case.t), rows=part)) == [2]


@pytest.mark.parametrize("seed", range(6))
def test_other_covariates_of_the_network_are_no_exposures(seed: int) -> None:
    """What users have in X: degrees, means of neighbours' covariates, what was expected of neighbours, rare categories,
    clusters that share a treatment rate, treatments of an earlier wave that most kept."""
    case = ScaleFree(seed)
    rng = np.random.default_rng(100 + seed)
    n, degree, mean = len(case.t), case.graph.degree, case.graph.adjacency("mean")
    earlier = np.where(rng.random(n) < 0.9, case.t, 1 - case.t)
    covariates = [
        degree,
        np.log1p(degree),
        mean @ case.X[:, 0],
        mean @ case.e,
        case.graph.adjacency("binary") @ case.e,
        mean @ earlier,
        *np.eye(n)[:, rng.permutation(n)[:50]].T,
        (degree >= np.quantile(degree, 0.9)).astype(float),
    ]
    rare = (rng.random(n) < 0.02).astype(int)
    almost_all = (rng.random(n) < 0.98).astype(int)
    for treatment in (case.t, rare, almost_all):
        assert case.found(np.column_stack(covariates), treatment) == {}


def test_few_rows_say_nothing() -> None:
    graph = Graph.from_edges([(i, i + 1) for i in range(19)], n_nodes=20)
    t = np.arange(20) % 2
    share = exposure_mapping(graph, t)
    rows = check_rows(share[:, None], t, treatment=t, treatment_type="auto", graph=graph, nodes=None)
    assert exposures_among(rows) == {}


def test_a_buffer_of_the_reach_may_leave_too_little() -> None:
    case = ScaleFree()
    given = {"treatment": case.t, "graph": case.graph, "treatment_predictions": case.e, "outcome_predictions": case.y}
    words = r"buffer=2 leaves less than a share of 0\.25 .*Lower buffer, or pass cv=GraphKFold\(\.\.\.\)"
    with pytest.raises(FoldError, match=words):
        GraphRLearner(**CONSTANT).fit(case.X, case.y, exposure="two_hop_share", **given)
