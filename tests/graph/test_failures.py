"""Bad input of graphs, hop features and folds: the named error, and what its message says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError

from causalkit.exceptions import AlignmentError, FoldError, GraphError
from causalkit.graph import Graph, GraphKFold, HopFeatures

GRAPH = Graph.from_edges([(0, 1), (1, 2), (2, 3)], n_nodes=4)
X = np.arange(8.0).reshape(4, 2)


# ---------------------------------------------------------------------- the argument graph


@pytest.mark.parametrize(
    "graph, message",
    [
        (None, "graph is missing.*got None.*Graph.from_edges"),
        (np.eye(4), r"got numpy.ndarray: use Graph.from_scipy\(scipy.sparse.csr_array\(graph\)\)"),
        (np.array([[0, 1], [1, 2], [2, 3]]), r"use Graph.from_edges\(graph\)"),
        ([(0, 1)], r"got builtins.list: use Graph.from_edges\(graph\)"),
        (sparse.eye_array(4), r"use Graph.from_scipy\(graph\)"),
        (pd.DataFrame({"source": [0], "target": [1]}), r"use Graph.from_pandas\(graph\)"),
    ],
)
def test_something_else_than_a_graph(graph, message):
    with pytest.raises(TypeError, match=message):
        HopFeatures().fit(X, graph=graph)
    with pytest.raises(TypeError, match=message):
        GraphKFold(2).split(X, graph=graph)


def test_networkx_and_pyg_objects_are_recognised():
    nx = pytest.importorskip("networkx", reason="the message names its constructor")
    with pytest.raises(TypeError, match=r"got networkx.*Graph: use Graph.from_networkx\(graph\)"):
        HopFeatures().fit(X, graph=nx.path_graph(4))
    data = pytest.importorskip("torch_geometric.data", reason="the message names its constructor").Data(num_nodes=4)
    with pytest.raises(TypeError, match=r"use Graph.from_pyg\(graph\)"):
        HopFeatures().fit(X, graph=data)


# ---------------------------------------------------------------------- building


@pytest.mark.parametrize(
    "edges, options, message",
    [
        (np.zeros((3, 3)), {}, r"shape \(m, 2\).*got shape \(3, 3\).*weights="),
        (np.arange(4), {}, r"got shape \(4,\)"),
        ([(0, 1), (1, 2, 5.0)], {}, r"1 of 2 are not \(rows 1; first: \(1, 2, 5.0\)\).*weights="),
        (["ab", "cd"], {}, "must be pairs"),
        (7, {}, "pairs of ids: got a int"),
        (sparse.eye_array(3), {}, "use Graph.from_scipy"),
        ([(0, 1), (-1, 2), (1, 3)], {"n_nodes": 3}, r"from 0 to 2 .*2 of 3 rows do not \(rows 1, 2; first: -1 - 2\)"),
        ([(0.0, 1.0), (0.5, 1.0)], {"n_nodes": 3}, r"rows 1; first: 0.5 - 1"),
        ([(0.0, 1.0), (np.nan, 1.0)], {"n_nodes": 3}, r"rows 1; first: nan - 1"),
        ([("a", "b")], {"n_nodes": 3}, r"n_nodes=3 was given.*pass nodes="),
        ([(0.0, 1.0), (np.nan, 1.0)], {}, r"missing id.*in 1 of 2 rows \(rows 1\)"),
        ([("a", "b"), ("a", None)], {}, r"missing id.*in 1 of 2 rows \(rows 1\)"),
        ([("a", "b"), ("a", ["c"])], {}, r"not hashable.*in 1 rows \(rows 1\)"),
        ([("a", "b"), ("a", "x")], {"nodes": ["a", "b"]}, r"does not list, in 1 of 2 rows \(rows 1; first: 'a' - 'x'"),
        ([("a", "b")], {"nodes": ["a", "b", "a"]}, r"nodes repeats 1 ids \(first: 'a'\)"),
        ([("a", "b")], {"nodes": ["a", "b", None]}, r"nodes has 1 missing ids \(first at rows 2\)"),
        ([("a", "b")], {"nodes": ["a", "b", []]}, "nodes holds an id that is not hashable"),
        ([("a", "b")], {"nodes": []}, "at least one"),
        ([("a", "b")], {"nodes": ["a", "b"], "n_nodes": 2}, "both given"),
        ([], {}, "edges is empty.*pass nodes= or n_nodes="),
        ([(0, 1)], {"weights": [1.0, 2.0]}, r"expected shape \(1,\), got \(2,\)"),
        ([(0, 1)], {"weights": ["heavy"]}, "weights must be numbers"),
        ([(0, 1), (1, 2)], {"weights": [1.0, np.nan]}, r"1 of 2 are not \(positions 1 - 2: nan\)"),
        ([(0, 1), (1, 2)], {"weights": [np.inf, -2.0]}, r"2 of 2 are not \(positions 0 - 1: inf, 1 - 2: -2\)"),
        ([(0, 1)], {"weights": [1e300]}, "single precision"),
        ([(0, 1), (1, 2), (1, 0)], {"weights": [1.0, 1.0, 3.0]}, r"1 undirected edges.*0 - 1: 1 and 3.*directed=True"),
    ],
)  # fmt: skip
def test_edges_that_make_no_graph(edges, options, message):
    with pytest.raises(GraphError, match=message):
        Graph.from_edges(edges, **options)


def test_two_weights_of_a_pair_are_fine_in_a_directed_graph():
    graph = Graph.from_edges([(0, 1), (1, 0)], weights=[1.0, 3.0], directed=True)
    assert graph.adjacency()[1, 0] == 1 and graph.adjacency()[0, 1] == 3


@pytest.mark.parametrize(
    "matrix, options, message",
    [
        (sparse.csr_array((2, 3)), {}, r"must be square.*got shape \(2, 3\)"),
        (np.eye(2), {}, "scipy sparse matrix or array: got a ndarray"),
        (sparse.csr_array([[0, 1.0], [4.0, 0]]), {"directed": False}, r"largest asymmetry is at \[[01], [01]\] \(3\)"),
        (sparse.csr_array([[0, np.nan], [1.0, 0]]), {}, "finite and not negative"),
        (sparse.csr_array([[0, -1.0], [-1.0, 0]]), {}, "finite and not negative"),
        (sparse.csr_array([[0, 1.0], [1.0, 0]]), {"nodes": ["a"]}, "nodes lists 1 ids, but adjacency has 2 rows"),
    ],
)
def test_matrices_that_make_no_graph(matrix, options, message):
    with pytest.raises(GraphError, match=message):
        Graph.from_scipy(matrix, **options)


def test_frames_and_objects_that_make_no_graph():
    frame = pd.DataFrame({"a": [1], "b": [2]})
    with pytest.raises(GraphError, match=r"no column 'source', 'target': its columns are 'a', 'b'"):
        Graph.from_pandas(frame)
    with pytest.raises(GraphError, match="no column 'w'"):
        Graph.from_pandas(frame, source="a", target="b", weight="w")
    with pytest.raises(GraphError, match=r"frame is a list.*from_edges"):
        Graph.from_pandas([(1, 2)])
    with pytest.raises(GraphError, match="must be a networkx graph: got a list"):
        Graph.from_networkx([(1, 2)])
    with pytest.raises(GraphError, match="without edge_index"):
        Graph.from_pyg(object())
    with pytest.raises(ValueError, match="directed must be True or False"):
        Graph.from_edges([(0, 1)], directed="yes")
    nx = pytest.importorskip("networkx", reason="weights on some edges only")
    g = nx.Graph([(0, 1), (1, 2)])
    g.edges[0, 1]["w"] = 2.0
    with pytest.raises(GraphError, match=r"weight='w' is missing on 1 of 2 edges \(first: \[\(1, 2\)\]\)"):
        Graph.from_networkx(g, weight="w")


def test_unions_and_parts_that_make_no_graph():
    first = Graph.from_edges([("a", "b")])
    with pytest.raises(GraphError, match=r"share 1 ids \(first: 'b'\)"):
        Graph.concat([first, Graph.from_edges([("b", "c")])])
    with pytest.raises(GraphError, match="share 4 ids"):
        Graph.concat([GRAPH, GRAPH])
    with pytest.raises(GraphError, match="mix directed and undirected"):
        Graph.concat([first, Graph.from_edges([("x", "y")], directed=True)])
    with pytest.raises(GraphError, match="at least one Graph"):
        Graph.concat([])
    with pytest.raises(GraphError, match="ids is empty"):
        GRAPH.subgraph([])


# ---------------------------------------------------------------------- covariates


@pytest.mark.parametrize(
    "table, error, message",
    [
        (pd.DataFrame({"a": [1.0] * 4, "town": list("wxyz")}), ValueError, r"1 of 2 columns do not: 'town'.*Pipeline"),
        (pd.DataFrame({"day": pd.date_range("2020", periods=4)}), ValueError, "'day'"),
        (np.array([["a", "b"]] * 4), ValueError, "must hold numbers.*Pipeline"),
        (np.where(X == 3, np.nan, X), ValueError, r"in 1 of 2 columns, most in 'x1': 1 rows \(first: 1; NaN\).*impute"),
        (np.where(X > 3, np.inf, X), ValueError, r"2 of 2 columns.*2 rows \(first: 2, 3; infinity\)"),
        (pd.DataFrame({"age": [1, None, 3, None]}), ValueError, r"'age': 2 rows \(first: 1, 3; NaN\)"),
        (X * 1j, ValueError, "Complex data not supported"),
        (X[:, 0], ValueError, r"shape \(n, p\), got shape \(4,\)"),
        (sparse.csr_array(X), TypeError, "sparse"),
        (np.empty((4, 0)), ValueError, "0 feature"),
    ],
)
def test_covariates_that_cannot_be_passed_along_edges(table, error, message):
    with pytest.raises(error, match=message):
        HopFeatures().fit(table, graph=GRAPH)
    with pytest.raises(error, match=message):
        GRAPH.with_features(table)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"hops": -1}, "hops must be an integer at least 0"),
        ({"hops": 1.5}, "hops must be an integer"),
        ({"operators": "mean"}, r"tuple such as \('sym', 'mean'\)"),
        ({"operators": ("median",)}, "operators must be one of"),
        ({"operators": ("mean", "mean")}, "repeats a name"),
        ({"include_degree": "yes"}, "include_degree must be one of True, False"),
        ({"hops": 0, "include_own": False, "include_degree": False}, "no columns are left"),
    ],
)
def test_parameters_of_hop_features(options, message):
    with pytest.raises(ValueError, match=message):
        HopFeatures(**options).fit(X, graph=GRAPH)


def test_transform_refuses_what_fit_did_not_see():
    hop = HopFeatures().fit(X, graph=GRAPH)
    with pytest.raises(ValueError, match="has 3 features, but HopFeatures is expecting 2 features"):
        hop.transform(np.ones((4, 3)))
    directed = Graph.from_edges([(0, 1)], n_nodes=4, directed=True)
    with pytest.raises(GraphError, match=r"graph is directed, but fit saw an undirected graph.*directed=False"):
        hop.transform(X, graph=directed)
    with pytest.raises(AlignmentError, match="X has 3 rows, the graph 4 nodes"):
        hop.transform(X[:3])
    with pytest.raises(ValueError, match="graph carries 1 features, but X has 2 columns"):
        hop.transform(X[:2], graph=GRAPH.with_features(X[:, :1]), nodes=[0, 1])
    named = HopFeatures().fit(pd.DataFrame(X, columns=["a", "b"]), graph=GRAPH)
    with pytest.raises(ValueError, match="feature names"):
        named.transform(pd.DataFrame(X, columns=["a", "c"]))
    with pytest.raises(NotFittedError):
        HopFeatures().transform(X, graph=GRAPH)
    with pytest.raises(NotFittedError):
        HopFeatures().get_feature_names_out()


def test_a_failed_fit_leaves_the_old_one(tmp_path):
    hop = HopFeatures(memory=tmp_path).fit(X, graph=GRAPH)
    before = {key: value for key, value in vars(hop).items() if key.endswith("_")}
    with pytest.raises(AlignmentError):
        hop.fit_transform(X[:3], graph=GRAPH)
    with pytest.raises(ValueError, match="NaN"):
        hop.fit_transform(np.full((4, 3), np.nan), graph=GRAPH)
    assert {key: value for key, value in vars(hop).items() if key.endswith("_")} == before
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_no_file(tmp_path, monkeypatch):
    def interrupted(*args):
        yield slice(0, 2), np.zeros((4, 2), np.float32)
        raise KeyboardInterrupt

    monkeypatch.setattr("causalkit.graph.hops.hop_blocks", interrupted)
    hop = HopFeatures(memory=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        hop.fit_transform(X, graph=GRAPH)
    assert list(tmp_path.iterdir()) == [] and not hasattr(hop, "center_")


# ---------------------------------------------------------------------- folds


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_splits": 1}, "n_splits must be an integer at least 2"),
        ({"method": "spectral"}, "method must be one of 'cluster', 'random'"),
        ({"parts_per_fold": 0}, "parts_per_fold must be an integer at least 1"),
        ({"partitioner": "kmeans"}, "partitioner must be one of"),
        ({"buffer": -1}, "buffer must be an integer at least 0"),
        ({"min_train_share": 1.5}, "min_train_share must be a share between 0 and 1"),
        ({"random_state": "a"}, "random_state must be an integer"),
    ],
)
def test_parameters_of_folds(options, message):
    with pytest.raises(ValueError, match=message):
        GraphKFold(**({"n_splits": 2} | options)).split(X, graph=GRAPH)


def test_folds_that_cannot_be_made():
    with pytest.raises(FoldError, match="n_splits=5 folds need at least 5 rows, got 4"):
        GraphKFold(5).split(X, graph=GRAPH)
    with pytest.raises(FoldError, match="groups has 2 groups, fewer than n_splits=3"):
        GraphKFold(3).split(X, groups=[0, 0, 1, 1], graph=GRAPH)
    with pytest.raises(AlignmentError, match="X has 3 rows"):
        GraphKFold(2).split(X[:3], graph=GRAPH)


def test_a_buffer_that_leaves_too_little():
    ring = Graph.from_edges([(i, (i + 1) % 40) for i in range(40)], n_nodes=40)
    folds = GraphKFold(4, method="random", buffer=2, min_train_share=0.5, random_state=0)
    with pytest.raises(FoldError, match=r"buffer=2 leaves less than min_train_share=0.5.*\(fold 0: \d+%.*"
                       r'With buffer=1 at least \d+% would be left.*method="cluster"') as caught:  # fmt: skip
        folds.split(np.zeros((40, 1)), graph=ring)
    assert not hasattr(folds, "report_")
    kept = GraphKFold(4, method="random", buffer=1, min_train_share=0.0, random_state=0)
    kept.split(np.zeros((40, 1)), graph=ring)
    assert f"at least {kept.report_['train_share'].min():.0%} would" in str(caught.value)
    with pytest.raises(FoldError, match="Lower buffer, parts_per_fold or min_train_share\\."):
        GraphKFold(2, buffer=40, min_train_share=0).split(np.zeros((40, 1)), graph=ring)
