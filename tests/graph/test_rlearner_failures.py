"""GraphRLearner: what it refuses and warns of, in words that name the argument, what was got, and what to do."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import KFold, ShuffleSplit

from causalkit.exceptions import (
    AlignmentError,
    DeviceUnavailableError,
    FoldError,
    GraphCoverageWarning,
    GraphError,
    IdentificationError,
    InferenceUnavailableError,
    LeakageWarning,
    MethodNotApplicableError,
    NetworkDependenceWarning,
    OverlapWarning,
)
from causalkit.graph import Graph, GraphKFold, GraphRLearner, HopFeatures, exposure_mapping
from tests.graph.test_rlearner import QUICK, Town

TOWN = Town(120)


def arguments(**changes: Any) -> dict[str, Any]:
    """Rows of a quick fit with known nuisances."""
    return {
        "X": TOWN.X,
        "y": TOWN.y,
        "treatment": TOWN.t,
        "graph": TOWN.graph,
        "outcome_predictions": TOWN.m,
        "treatment_predictions": TOWN.e,
    } | changes


def refused(error: type[Exception], message: str, options: dict[str, Any] | None = None, **fit: Any) -> None:
    """The fit fails with that message, and leaves nothing behind."""
    learner = GraphRLearner(**QUICK | (options or {}))
    with pytest.raises(error, match=message):
        learner.fit(**arguments(**fit))
    assert vars(learner).keys() == learner.get_params(deep=False).keys()
    with pytest.raises(NotFittedError):
        learner.ate()


def with_value(values: Any, row: int, value: Any) -> np.ndarray:
    out = np.array(values, dtype=float)
    out[row] = value
    return out


# ---------------------------------------------------------------------- graph and rows


def test_something_else_than_a_graph() -> None:
    refused(TypeError, r"graph is missing: expected a causalkit\.graph\.Graph, got None.*Graph\.from_edges", graph=None)
    refused(TypeError, r"got scipy\..*: use Graph\.from_scipy\(graph\)", graph=TOWN.graph.to_scipy())
    refused(TypeError, r"got builtins\.list: use Graph\.from_edges\(graph\)", graph=[(0, 1)])
    networkx = pytest.importorskip("networkx")
    refused(TypeError, r"got networkx\..*: use Graph\.from_networkx\(graph\)", graph=networkx.path_graph(120))
    refused(TypeError, r"use Graph\.from_pandas\(graph\)", graph=TOWN.graph.to_frame())


def test_rows_that_match_no_nodes() -> None:
    refused(AlignmentError, r"X has 120 rows, the graph 80 nodes.*Pass nodes=", graph=Town(80).graph)
    named = Graph.from_edges([(f"a{i}", f"a{i + 1}") for i in range(119)])
    refused(AlignmentError, r"first ids: 'a0', 'a1'.*Pass nodes= with the node id of each row", graph=named)
    frame = pd.DataFrame(TOWN.X, index=named.nodes[::-1])
    refused(AlignmentError, r"X\.index and graph\.nodes differ in order.*Pass nodes=X\.index", graph=named, X=frame)
    refused(AlignmentError, r"expected 120 ids like the rows of X, got shape \(5,\).*Slice nodes", nodes=np.arange(5))
    refused(AlignmentError, r"2 of 120 ids are not in the graph \(first: 500, 501\)", nodes=[500, 501, *range(118)])
    refused(AlignmentError, r"nodes repeats 1 ids \(first: 0; 3 rows for one node\)", nodes=[0, 0, *range(118)])
    first, second = pd.DataFrame(TOWN.X), pd.Series(TOWN.y, index=np.arange(120)[::-1])
    refused(AlignmentError, "X and y have the same index labels in a different order", X=first, y=second)
    refused(
        AlignmentError, "X and treatment have the same index", X=first, treatment=pd.Series(TOWN.t, index=second.index)
    )


def test_graphs_with_few_links_between_the_rows() -> None:
    learner = GraphRLearner(**QUICK)
    with pytest.warns(GraphCoverageWarning, match="graph has no edges.*only own covariates"):
        learner.fit(**arguments(graph=Graph.from_edges([], n_nodes=120)))
    assert learner.effect_.shape == (120,)
    rows = np.arange(0, 120, 3)
    part = {name: value[rows] for name, value in arguments().items() if name != "graph"}
    with pytest.warns(GraphCoverageWarning, match=r"\d+% of the \d+ edges into the 40 rows.*graph\.with_features"):
        learner.fit(**part, graph=TOWN.graph, nodes=rows)
    assert learner.hop_features_.report_["share_lost"].iloc[0] > 0.2


def test_values_that_are_no_numbers() -> None:
    frame = pd.DataFrame({"age": TOWN.X[:, 0], "town": ["a", "b"] * 60})
    refused(ValueError, r"1 of 2 columns do not: 'town'.*Encode them in a Pipeline before the graph step", X=frame)
    bad = TOWN.X.copy()
    bad[[3, 9], 1] = np.nan
    refused(ValueError, r"X contains NaN.*most in 'x1': 2 rows \(first: 3, 9; NaN\).*impute", X=bad)
    refused(ValueError, r"y contains NaN or infinity in 1 of 120 rows \(first: row 7", y=with_value(TOWN.y, 7, np.inf))
    refused(ValueError, r"treatment has 1 missing values \(first: row 4\)", treatment=with_value(TOWN.t, 4, np.nan))
    refused(ValueError, "treatment contains NaN or infinity", treatment=with_value(TOWN.y, 4, np.inf))
    refused(ValueError, "exposure contains NaN", exposure=with_value(TOWN.y, 2, np.nan))
    refused(ValueError, "sample_weight contains NaN", sample_weight=with_value(np.ones(120), 2, np.nan))
    refused(ValueError, "outcome_predictions contains NaN", outcome_predictions=with_value(TOWN.m, 2, np.nan))
    refused(TypeError, r"X is a sparse matrix.*toarray", X=sparse.csr_array(TOWN.X))


def test_rows_of_other_lengths() -> None:
    refused(ValueError, "requires y to be passed, but the target y is None", y=None)
    refused(ValueError, "y has 5 rows, but X has 120", y=TOWN.y[:5])
    refused(ValueError, r"treatment must hold one value per row: expected shape \(120,\)", treatment=TOWN.t[:5])
    refused(ValueError, "One-hot columns become one column of labels", treatment=np.eye(2)[TOWN.t])
    refused(ValueError, "sample_weight", sample_weight=np.ones(5))
    refused(ValueError, "groups", groups=np.ones(5))
    refused(ValueError, "exposure has 5 rows, but X has 120", exposure=np.ones(5))
    refused(ValueError, "outcome_predictions has 5 rows, but X has 120", outcome_predictions=TOWN.m[:5])
    refused(ValueError, "treatment_predictions has 5 rows, but X has 120", treatment_predictions=TOWN.e[:5])
    refused(ValueError, r"X must be a table of shape \(n, p\)", X=TOWN.X[:, 0])


# ---------------------------------------------------------------------- treatments


def test_treatments_without_levels_to_compare() -> None:
    refused(ValueError, "treatment is missing", treatment=None)
    refused(ValueError, r"treatment has one level, \[1\]: expected at least two", treatment=np.ones(120, int))
    rare = np.where(np.arange(120) < 2, "c", np.where(TOWN.t, "b", "a"))
    levels = {"treatment": rare, "treatment_predictions": np.full((120, 3), 1 / 3)}
    refused(
        ValueError, r"treatment level 'c' has 2 rows, fewer than the 3 folds \('a': \d+, 'b': \d+, 'c': 2\)", **levels
    )
    halves = [(np.arange(60, 120), np.arange(60)), (np.arange(60), np.arange(60, 120))]
    refused(
        FoldError, r"fold 0 leaves no training row with treatment level 'c'.*merge levels", {"cv": halves}, **levels
    )
    refused(
        ValueError,
        'treatment has 3 levels, expected two with treatment_type="binary"',
        {"treatment_type": "binary"},
        treatment=rare,
    )
    many = {"treatment": np.arange(120) % 12}
    refused(
        ValueError,
        "treatment has 12 levels, more than the 10.*bin them, or treat it as",
        {"treatment_type": "multi"},
        **many,
    )
    refused(ValueError, "treatment must hold numbers", {"treatment_type": "continuous"}, treatment=rare)
    refused(
        ValueError,
        "treatment_type must be one of 'auto', 'binary', 'multi', 'continuous'",
        {"treatment_type": "ordinal"},
    )


@pytest.mark.parametrize("kind", ["forest", "boosting"])
def test_trees_with_several_effects(kind: str) -> None:
    refused(
        ValueError,
        f'final_model="{kind}" learns one effect, but the treatment has 2 .*use "constant", "linear" or "neural"',
        {"final_model": kind},
        treatment=np.arange(120) % 3,
        treatment_predictions=np.full((120, 3), 1 / 3),
    )


def test_probabilities_that_are_none() -> None:
    message = r"treatment_predictions must lie in \[0, 1\]: range .* to 1\.5, 1 rows outside \(first: \[6\]\)"
    refused(ValueError, message, treatment_predictions=with_value(TOWN.e, 6, 1.5))
    sums = np.column_stack([1 - TOWN.e, TOWN.e])
    sums[5] = [0.5, 0.4]
    refused(ValueError, r"must add up to 1: 1 do not \(first: \[5\], sum 0\.9\)", treatment_predictions=sums)
    refused(ValueError, "has 3 columns, expected 2: one probability per level", treatment_predictions=np.ones((120, 3)))
    three = {"treatment": np.arange(120) % 3, "treatment_predictions": TOWN.e}
    refused(ValueError, r"treatment_predictions has shape \(120,\), expected \(120, 3\)", **three)


# ---------------------------------------------------------------------- identification


def test_treatment_that_the_features_determine() -> None:
    words = "treatment is determined by the features: given the {} covariates.*Leave out the {} columns"
    refused(IdentificationError, words.format("own", "own"), X=np.column_stack([TOWN.X, TOWN.t]))
    passed = TOWN.graph.adjacency("mean") @ TOWN.X[:, 0]
    with pytest.warns(LeakageWarning, match=r"first: mean1\(x0\)"):
        refused(IdentificationError, words.format("one-hop", "one-hop"), treatment=np.round(passed, 6).astype(float))
    exact = (TOWN.X[:, 0] > 0).astype(int)
    refused(IdentificationError, "treatment is determined", treatment=exact, treatment_predictions=exact.astype(float))


def test_deterministic_rule_of_own_and_neighbours_covariates_is_flagged() -> None:
    """A threshold of the neighbourhood: no linear function, but models predict it, and hardly any row has overlap."""
    town = Town(240)
    t = (town.M[:, 0] > 0).astype(int)
    options = {"outcome_model": Ridge(10.0), "nuisance_features": "graph", "cv": 2}
    learner = GraphRLearner(**QUICK | options)
    with pytest.warns(OverlapWarning, match=r"\d+\.\d% of the propensities were clipped"):
        learner.fit(town.X, town.base + 2 * t, treatment=t, graph=town.graph)
    assert learner.clipped_share_ > 0.5
    assert learner.overlap().loc["all", "outside_05"] > 0.5


def test_clipped_propensities_and_thin_arms() -> None:
    extreme = np.where(np.arange(120) % 5 == 0, 0.001, TOWN.e)
    with pytest.warns(
        OverlapWarning, match=r'20\.0% .* \(lower degree .*, higher degree .*\).*ate\(target="overlap"\)'
    ):
        GraphRLearner(**QUICK).fit(**arguments(treatment_predictions=extreme))
    untidy = TOWN.t.copy()
    one = int(np.argmax(TOWN.t))
    few = np.where((np.arange(120) == one) | (TOWN.t == 0), 0.0005, 0.999)
    with pytest.warns(OverlapWarning, match=r"level 1: \d of \d+ rows"):
        GraphRLearner(**QUICK | {"clip": 0.0001}).fit(**arguments(treatment=untidy, treatment_predictions=few))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GraphRLearner(**QUICK).fit(**arguments())


def test_exposures_that_are_the_treatment() -> None:
    for exposure in (TOWN.t, 5.0 - 2 * TOWN.t, np.column_stack([TOWN.y, TOWN.t])):
        refused(IdentificationError, r"exposure column .* is the treatment, or a relabelling of it", exposure=exposure)


def test_exposures_among_the_covariates() -> None:
    """Pairs of nodes: the exposure of one is the treatment of the other, and comes back after one hop."""
    pairs = Graph.from_edges([(2 * i, 2 * i + 1) for i in range(60)], n_nodes=120)
    partner = TOWN.t.reshape(-1, 2)[:, ::-1].ravel() + 0.01 * np.random.default_rng(0).normal(size=120)
    words = r"1 columns of neighbours are nearly the own treatment \(first: mean1\(x2\)\).*exposure="
    with pytest.warns(LeakageWarning, match=words):
        GraphRLearner(**QUICK).fit(**arguments(X=np.column_stack([TOWN.X, partner]), graph=pairs))
    exact = np.column_stack([TOWN.X, exposure_mapping(pairs, TOWN.t)])
    with pytest.warns(LeakageWarning, match=words):
        refused(IdentificationError, "treatment is determined by the features", X=exact, graph=pairs)


# ---------------------------------------------------------------------- folds


def test_buffers_that_leave_too_little() -> None:
    refused(FoldError, r"buffer=3 leaves less.*", {"buffer": 3, "cv": 2})
    dense = Town(120, degree=30).graph
    message = r"buffer=1 leaves less.*"
    refused(FoldError, message, {"buffer": 1, "cv": GraphKFold(3, method="random", buffer=1)}, graph=dense)
    with pytest.raises(FoldError, match=r'method="cluster"'):
        GraphRLearner(**QUICK | {"cv": GraphKFold(3, method="random", buffer=1)}).fit(**arguments(graph=dense))


def test_folds_that_are_no_partition() -> None:
    rows = np.arange(120)
    overlap = [(rows[:70], rows[60:]), (rows[60:], rows[:60])]
    refused(
        FoldError, r"10 rows into both the training and the held-out part of fold 0 \(first: \[60, 61", {"cv": overlap}
    )
    message = r"hold out every row exactly once: \d+ rows are held out another number of times"
    refused(FoldError, message, {"cv": [(rows[60:], rows[:60])]})
    refused(FoldError, message, {"cv": ShuffleSplit(3, random_state=0)})
    refused(FoldError, r"empty or holds rows outside 0\.\.119", {"cv": [(rows[60:], rows[:60] + 100)]})
    refused(ValueError, "cv must be an integer at least 2", {"cv": 1})
    refused(ValueError, "n_repeats=2 needs splits that differ", {"cv": KFold(3), "n_repeats": 2})
    refused(ValueError, "n_repeats must be an integer at least 1", {"n_repeats": 0})
    refused(ValueError, "buffer must be", {"buffer": -1})


def test_groups_that_the_folds_divide() -> None:
    groups = np.repeat([f"village {i}" for i in range(30)], 4)
    with (
        pytest.warns(UserWarning, match="groups parameter is ignored by KFold"),
        pytest.warns(LeakageWarning, match=r"cv divides groups .*\(first: .*'village \d+'.*Pass an integer cv"),
    ):
        GraphRLearner(**QUICK | {"cv": KFold(3, shuffle=True, random_state=0)}).fit(**arguments(groups=groups))
    with warnings.catch_warnings():
        warnings.simplefilter("error", LeakageWarning)
        GraphRLearner(**QUICK).fit(**arguments(groups=groups))


# ---------------------------------------------------------------------- models and options


class NoWeights(BaseEstimator):
    """A regressor whose fit takes X and y alone."""

    def fit(self, X: Any, y: Any) -> NoWeights:
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.zeros(len(X))


def test_models_that_do_not_fit_their_slot() -> None:
    refused(TypeError, r"NoWeights cannot be fitted.*\(X, T, y\).*\(X, y, sample_weight", {"final_model": NoWeights()})
    refused(ValueError, "final_model must be one of 'auto', 'constant'.*got 'lasso'", {"final_model": "lasso"})
    free = {"outcome_predictions": None}
    refused(ValueError, "its fit takes no sample_weight", {"outcome_model": NoWeights()}, sample_weight=TOWN.e, **free)
    several = {"treatment": np.arange(120) % 3, "treatment_predictions": None}
    refused(
        ValueError,
        r"predicts shape \(\d+, 1\), expected \(\d+, 3\)",
        {"treatment_model": LinearRegression()},
        **several,
    )


def test_options_out_of_range() -> None:
    refused(ValueError, r"clip must be a probability of at least 0, below \.5; got 0\.5", {"clip": 0.5})
    refused(ValueError, "score_clip must be a probability", {"score_clip": -0.1})
    refused(ValueError, "clip must be a probability", {"clip": "none"})
    refused(ValueError, "n_bags must be an integer at least 1; got 0", {"n_bags": 0})
    refused(ValueError, "nuisance_features must be one of 'auto', 'graph', 'own'", {"nuisance_features": "all"})
    refused(ValueError, "final_features must be one of", {"final_features": None})
    refused(
        ValueError,
        'final_features="own" needs hop_features with include_own=True',
        {"final_features": "own", "hop_features": HopFeatures(include_own=False)},
    )
    refused(TypeError, "hop_features must be a HopFeatures instance or None, got int", {"hop_features": 2})
    refused(ValueError, "hop_features must have standardize=True", {"hop_features": HopFeatures(standardize=False)})
    refused(ValueError, "encoder must be one of 'sign', 'sage', 'gcn', 'gat', 'gin'; got 'mlp'", {"encoder": "mlp"})


def test_devices_and_packages_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        refused(DeviceUnavailableError, "cuda", {"device": "cuda", "final_model": "neural"})
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(ImportError, r"torch.*'\.\[", {"final_model": "neural"})


def test_networks_that_diverge(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named neural final stage falls back to the constant, and a candidate of the pool leaves it."""
    pytest.importorskip("torch")

    def diverges(*_: Any, **__: Any) -> None:
        raise FloatingPointError("training of bag 1 diverged in epoch 3")

    monkeypatch.setattr("causalkit.nn.stacked.fit_stacked_mlp", diverges)
    monkeypatch.setattr("causalkit.graph.pool_networks.fit_stacked_mlp", diverges)
    learner = GraphRLearner(**QUICK | {"final_model": "neural"})
    with pytest.warns(ConvergenceWarning, match=r"neural.* fold 0 is a constant instead: .*bag 1 diverged in epoch 3"):
        learner.fit(**arguments())
    constant = GraphRLearner(**QUICK | {"final_model": "constant"}).fit(**arguments())
    assert np.array_equal(learner.effect_, constant.effect_)
    options = {"nuisance_features": "own", "cv": 2, "treatment_model": None}
    with pytest.warns(ConvergenceWarning, match=r"neural on own covariates leaves the pool: .*epoch 3"):
        pooled = GraphRLearner(**QUICK | options).fit(**arguments(treatment_predictions=None))
    table = pooled.nuisance_selection_
    assert not table.loc[table["learner"] == "neural", "selected"].any()
    assert np.isfinite(pooled.effect_).all()


# ---------------------------------------------------------------------- after the fit


def test_nothing_before_fit() -> None:
    learner = GraphRLearner()
    calls = [
        learner.ate,
        learner.effect,
        learner.const_marginal_effect,
        learner.effect_interval,
        lambda: learner.predict(TOWN.X),
        lambda: learner.score(TOWN.X, TOWN.y, treatment=TOWN.t),
        lambda: learner.gate(2),
        lambda: learner.projection(TOWN.X),
        lambda: learner.policy_value(TOWN.e),
        lambda: learner.targeting(0.5),
        learner.calibration,
        learner.toc,
        learner.rate,
        learner.overlap,
        learner.balance,
        learner.residual_dependence,
        learner.diagnostics,
        learner.summary,
    ]
    for call in calls:
        with pytest.raises(NotFittedError, match="GraphRLearner"):
            call()


def test_prediction_for_rows_that_do_not_fit() -> None:
    learner = TOWN.known()
    with pytest.raises(ValueError, match="X has 1 features, but GraphRLearner is expecting 2 features"):
        learner.predict(TOWN.X[:, :1])
    directed = Graph.from_edges([(i, i + 1) for i in range(119)], n_nodes=120, directed=True)
    with pytest.raises(GraphError, match="directed"):
        learner.predict(TOWN.X, graph=directed)
    with pytest.raises(AlignmentError, match="X has 30 rows, the graph 120 nodes"):
        learner.predict(TOWN.X[:30])
    with pytest.raises(AlignmentError, match="not in the graph"):
        learner.predict(TOWN.X[:2], nodes=[5, 500])
    with pytest.raises(TypeError, match=r"Graph\.from_scipy"):
        learner.predict(TOWN.X, graph=TOWN.graph.to_scipy())
    with pytest.raises(ValueError, match="X contains NaN"):
        learner.predict(np.full((120, 2), np.nan))
    with pytest.raises(ValueError, match=r"confidence_level"):
        learner.effect_interval(alpha=2.0)


def test_averages_of_what_there_is_not() -> None:
    learner = TOWN.known()
    with pytest.raises(ValueError, match="target must be one of 'all', 'treated', 'control', 'overlap'; got 'some'"):
        learner.ate(target="some")
    with pytest.raises(ValueError, match="dependence must be one of"):
        learner.ate(dependence="spatial")
    for bandwidth in (-1, 1.5, "wide"):
        with pytest.raises(ValueError, match="bandwidth must be an integer"):
            learner.ate(bandwidth=bandwidth)
    with pytest.raises(ValueError, match="by has 1 missing labels"):
        learner.gate(np.where(np.arange(120) == 3, None, "a"))
    with pytest.raises(ValueError, match=r"by must hold one label per row, shape \(120,\)"):
        learner.gate(np.zeros(5))
    with pytest.raises(ValueError, match="by must be an integer between 2 and 120"):
        learner.gate(1)
    with pytest.raises(ValueError, match="metric must be one of 'autoc', 'qini'"):
        learner.rate(metric="gini")
    with pytest.raises(ValueError, match="priorities has 5 rows"):
        learner.rate(np.ones(5))


def test_bandwidths_beyond_the_network_and_few_clusters() -> None:
    pieces = Graph.from_edges([(5 * i + j, 5 * i + j + 1) for i in range(24) for j in range(4)], n_nodes=120)
    learner = GraphRLearner(**QUICK).fit(**arguments(graph=pieces))
    far, whole = learner.ate(bandwidth=50), learner.ate(bandwidth=4)
    assert np.array_equal(far.cov, whole.cov)
    assert "50 is beyond the largest distance, 4" in far.dependence
    clustered = GraphRLearner(**QUICK).fit(**arguments(graph=pieces, groups=np.arange(120) // 20))
    with pytest.warns(NetworkDependenceWarning, match="only 6 clusters, fewer than 10"):
        clustered.ate()
    with pytest.warns(NetworkDependenceWarning, match=r"conductance above 0\.1, the worst"):
        learner_with_cut_clusters().ate()


def learner_with_cut_clusters() -> GraphRLearner:
    return GraphRLearner(**QUICK).fit(**arguments(groups=np.arange(120) % 12))


def test_policies_and_budgets_out_of_range() -> None:
    learner = TOWN.known()
    with pytest.raises(ValueError, match=r"policy must .*\[0, 1\]"):
        learner.policy_value(np.full(120, 1.5))
    with pytest.raises(ValueError, match=r"policy .*(5|120)"):
        learner.policy_value(np.ones(5))
    for budget in (0.0, 1.5, -1):
        with pytest.raises(ValueError, match="budget must "):
            learner.targeting(budget)


def test_score_without_treatment_models() -> None:
    learner = TOWN.known()
    with pytest.raises(MethodNotApplicableError, match=r"score\(\) needs the nuisance models of fit.*fit again"):
        learner.score(TOWN.X, TOWN.y, treatment=TOWN.t)
    fitted = TOWN.fitted()
    with pytest.raises(ValueError, match="y has 5 rows, but X has 120"):
        fitted.score(TOWN.X, TOWN.y[:5], treatment=TOWN.t)
    with pytest.raises(ValueError, match="treatment"):
        fitted.score(TOWN.X, TOWN.y)


@pytest.mark.filterwarnings("ignore::causalkit.exceptions.NetworkDependenceWarning")
def test_a_network_in_which_everybody_is_linked_to_everybody() -> None:
    """Centred scores cancel over balls that hold all: no standard error of 0, and a word on what to do."""
    complete = Graph.from_scipy(sparse.csr_array(np.ones((120, 120)) - np.eye(120)))
    learner = GraphRLearner(**QUICK | {"final_features": "own"}).fit(**arguments(graph=complete))
    with pytest.raises(InferenceUnavailableError, match="ATE: no standard error along this network"):
        learner.ate()
    with pytest.raises(InferenceUnavailableError, match="heterogeneity: no standard error"):
        learner.calibration()
    with pytest.raises(InferenceUnavailableError, match="found a single one"):
        learner.ate(dependence="cluster")
    assert learner.ate(dependence="iid").std_error[0] > 0


@pytest.mark.filterwarnings("ignore::causalkit.exceptions.NetworkDependenceWarning")
def test_a_candidate_does_not_win_by_a_standard_error_of_zero() -> None:
    complete = Graph.from_scipy(sparse.csr_array(np.ones((120, 120)) - np.eye(120)))
    rng = np.random.default_rng(3)
    options = {"final_model": "auto", "final_features": "own", "cv": 2, "random_state": 0}
    y = TOWN.t + rng.normal(size=120)
    learner = GraphRLearner(**options).fit(
        **arguments(graph=complete, y=y, outcome_predictions=TOWN.e, treatment_predictions=TOWN.e)
    )
    table = learner.selection_
    best = table["r_loss"].idxmin()
    assert best == 0 or table["std_error"][best] > 0
