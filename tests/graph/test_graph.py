"""Graph: operators, distances, parts and unions, files and pickles, immutability."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split
from sklearn.utils import indexable
from sklearn.utils.validation import _check_method_params

from causalkit import load, save
from causalkit.exceptions import AlignmentError, GraphError
from causalkit.graph import Graph
from tests.graph.networks import all_distances, dense_adjacency, mean_matrix, random_edges, sym_matrix

FEW = settings(max_examples=25, deadline=None, derandomize=True)


def some_graph(seed=0, n=20, m=30, **options):
    rng = np.random.default_rng(seed)
    edges = random_edges(n, m, rng)
    return edges, Graph.from_edges(edges, n_nodes=n, **options)


@FEW
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_operators_equal_dense_formulas(seed, directed, weighted):
    rng = np.random.default_rng(seed)
    edges = np.unique(np.sort(random_edges(15, 25, rng), axis=1), axis=0)
    weights = rng.uniform(0.1, 3.0, len(edges)).astype(np.float32) if weighted else None
    graph = Graph.from_edges(edges, n_nodes=15, weights=weights, directed=directed)
    A = dense_adjacency(edges, 15, weights=weights, directed=directed)
    expected = {"raw": A, "binary": (A > 0) * 1.0, "mean": mean_matrix(A), "sym": sym_matrix(A)}
    for kind, matrix in expected.items():
        np.testing.assert_allclose(graph.adjacency(kind).toarray(), matrix, rtol=1e-6)
        assert graph.adjacency(kind).dtype == np.float32 and graph.adjacency(kind).indices.dtype == np.int32


@FEW
@given(st.integers(0, 10**6), st.booleans())
def test_distances_ignore_directions(seed, directed):
    edges, graph = some_graph(seed, 18, 20, directed=directed)
    distance = all_distances(dense_adjacency(edges, 18))
    for radius in range(5):
        np.testing.assert_array_equal(graph.balls(radius).toarray(), distance <= radius)
    np.testing.assert_array_equal(graph.skeleton().toarray(), distance == 1)
    same = graph.components()[:, None] == graph.components()[None, :]
    np.testing.assert_array_equal(same, np.isfinite(distance))
    sizes = np.isfinite(distance).sum(axis=1)
    assert graph.report.largest_component == sizes.max()


def test_mean_path_length_of_a_path():
    graph = Graph.from_edges([(i, i + 1) for i in range(9)] + [(20, 21)], n_nodes=22)
    # Ten nodes in a row: the mean distance of two of them is (10 + 1) / 3.
    assert graph.mean_path_length() == pytest.approx(11 / 3)
    assert graph.mean_path_length(n_sources=4, random_state=1) == graph.mean_path_length(n_sources=4, random_state=1)


def test_balls_that_would_not_fit_are_refused():
    star = Graph.from_edges([(0, i) for i in range(1, 30_000)], n_nodes=30_000)
    with pytest.raises(GraphError, match=r"radius=2 gives more than 5e\+08 pairs of nodes"):
        star.balls(2)


def test_subgraph_keeps_ids_edges_and_features():
    edges, graph = some_graph(3, 12, 25)
    X = np.arange(24.0).reshape(12, 2)
    part = graph.with_features(X).subgraph([7, 2, 5, 3])
    assert part.nodes.tolist() == [7, 2, 5, 3]
    A = dense_adjacency(edges, 12)
    np.testing.assert_array_equal(part.adjacency().toarray(), A[np.ix_([7, 2, 5, 3], [7, 2, 5, 3])])
    np.testing.assert_array_equal(part.features, X[[7, 2, 5, 3]])
    np.testing.assert_array_equal(part.degree, A[np.ix_([7, 2, 5, 3], [7, 2, 5, 3])].sum(axis=1))


def test_concat_is_the_disjoint_union():
    first = Graph.from_edges([("a", "b")], nodes=["a", "b", "c"]).with_features(np.ones((3, 1)), list("abc"))
    second = Graph.from_edges([("d", "e")], nodes=["e", "d"], weights=[2.0]).with_features(np.zeros((2, 1)), list("ed"))
    both = Graph.concat([first, second])
    assert both.nodes.tolist() == ["a", "b", "c", "e", "d"] and both.n_edges == 2 and both.weighted
    np.testing.assert_array_equal(both.report.piece, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(both.features.ravel(), [1, 1, 1, 0, 0])
    assert both.adjacency()[3, 4] == 2 and both.adjacency()[0, 1] == 1 and both.report.components == 3
    np.testing.assert_array_equal(both.subgraph(["d", "a"]).report.piece, [1, 0])


def test_features_of_some_nodes():
    graph = Graph.from_edges([("a", "b"), ("b", "c")])
    frame = pd.DataFrame({"age": [3.0, 1.0]}, index=["c", "a"])
    held = graph.with_features(frame, nodes=frame.index)
    np.testing.assert_array_equal(held.features.ravel(), [1.0, 0.0, 3.0])
    np.testing.assert_array_equal(held.feature_rows, [True, False, True])
    assert held.feature_names == ("age",) and graph.features is None
    assert held.fingerprint == graph.fingerprint
    ordered = pd.DataFrame({"age": [1.0, 2.0, 3.0]}, index=["a", "b", "c"])
    assert graph.with_features(ordered).feature_rows is None
    np.testing.assert_array_equal(held.subgraph(["c", "b"]).feature_rows, [True, False])


@pytest.mark.parametrize("change", ["edge", "weight", "direction", "id", "isolate"])
def test_fingerprint_tells_graphs_apart(change):
    base = {"edges": [("a", "b"), ("b", "c")], "nodes": ["a", "b", "c"], "weights": [1.0, 2.0], "directed": False}
    other = dict(base)
    if change == "edge":
        other["edges"] = [("a", "b"), ("a", "c")]
    elif change == "weight":
        other["weights"] = [1.0, 2.5]
    elif change == "direction":
        other["directed"] = True
    elif change == "id":
        other |= {"edges": [("a", "b"), ("b", "x")], "nodes": ["a", "b", "x"]}
    else:
        other["nodes"] = ["a", "b", "c", "d"]
    make = lambda options: Graph.from_edges(options.pop("edges"), **options)  # noqa: E731
    assert make(dict(base)).fingerprint == make(dict(base)).fingerprint != make(other).fingerprint


ROUND_TRIPS = {
    "positions": lambda: Graph.from_edges([(0, 2), (1, 2)], n_nodes=4),
    "strings": lambda: Graph.from_edges([("a", "b"), ("b", "c")], weights=[1.5, 2.0], directed=True),
    "tuples": lambda: Graph.from_edges([(("a", 1), ("b", 1))]).with_features(
        np.array([[1.0], [2.0]]), nodes=[("a", 1), ("b", 1)]
    ),
    "union": lambda: Graph.concat([Graph.from_edges([("a", "b")]), Graph.from_edges([("c", "d")])]),
}


@pytest.mark.parametrize("make", ROUND_TRIPS.values(), ids=ROUND_TRIPS.keys())
@pytest.mark.parametrize("way", ["pickle", "file"])
def test_saved_graph_is_the_same(make, way, tmp_path):
    graph = make()
    graph.adjacency("sym")  # what is cached must not travel
    if way == "pickle":
        again = pickle.loads(pickle.dumps(graph))
    else:
        save(graph, tmp_path / "graph")
        again = load(tmp_path / "graph")
    assert "_cache" not in vars(again)
    assert again.fingerprint == graph.fingerprint and repr(again) == repr(graph)
    assert again.nodes.tolist() == graph.nodes.tolist()
    np.testing.assert_array_equal(again.positions(graph.nodes), np.arange(graph.n_nodes))
    np.testing.assert_array_equal(again.adjacency("sym").toarray(), graph.adjacency("sym").toarray())
    np.testing.assert_equal(again.features, graph.features)
    np.testing.assert_equal(again.report.piece, graph.report.piece)


def test_fingerprint_is_the_same_in_another_process():
    code = "from causalkit.graph import Graph; print(Graph.from_edges([('a', 'b'), ('b', ('c', 1))]).fingerprint)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == Graph.from_edges([("a", "b"), ("b", ("c", 1))]).fingerprint


def test_an_edited_file_is_refused(tmp_path):
    graph = Graph.from_edges([(0, 1), (1, 2)], n_nodes=3)
    state = graph.__getstate__()
    state["_indices"] = np.array([1, 0, 99, 1], np.int32)
    broken = object.__new__(Graph)
    broken.__setstate__(state)
    with pytest.raises(GraphError, match="do not fit together"):
        broken.adjacency()


def test_scikit_learn_does_not_take_it_for_rows():
    _, graph = some_graph()
    for name in ("__len__", "shape", "__array__", "__iter__", "__getitem__"):
        assert not hasattr(graph, name)
    X = np.zeros((20, 1))
    assert _check_method_params(X, {"graph": graph, "nodes": np.arange(20)}, indices=[3, 4])["graph"] is graph
    with pytest.raises(TypeError):
        indexable(X, graph)
    with pytest.raises(TypeError):
        train_test_split(X, graph)


def test_nothing_can_be_changed():
    _, graph = some_graph()
    with pytest.raises(AttributeError, match="immutable"):
        graph.directed = True
    with pytest.raises(AttributeError, match="immutable"):
        del graph._nodes
    with pytest.raises(TypeError, match="from_edges"):
        Graph()
    matrix = graph.adjacency("mean")
    with pytest.raises(ValueError, match="read-only"):
        matrix.data[0] = 7
    matrix.data = np.zeros_like(matrix.data)
    assert graph.adjacency("mean").data.min() > 0
    with pytest.raises(ValueError, match="read-only"):
        graph.with_features(np.ones((20, 1))).features[0] = 2


def test_look_up():
    graph = Graph.from_edges([("a", "b"), ("b", "c")])
    np.testing.assert_array_equal(graph.positions("c"), [2])
    np.testing.assert_array_equal(graph.positions(pd.Series(["c", "a"])), [2, 0])
    with pytest.raises(AlignmentError, match=r"2 of 3 ids are not in the graph \(first: 'x', 'y'\)"):
        graph.positions(["x", "a", "y"])
    with pytest.raises(ValueError, match="kind must be one of"):
        graph.adjacency("row")
    with pytest.raises(AlignmentError, match="ids repeats nodes"):
        graph.subgraph(["a", "a"])
