"""Every way into a graph: ids of any kind, merging, symmetry, round trips."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from causalkit.graph import Graph
from tests.graph.networks import dense_adjacency, random_edges

FEW = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def edge_lists(draw):
    n = draw(st.integers(2, 12))
    m = draw(st.integers(1, 30))
    return n, random_edges(n, m, np.random.default_rng(draw(st.integers(0, 10**6))))


@FEW
@given(edge_lists(), st.booleans())
def test_adjacency_equals_a_loop_over_edges(case, directed):
    n, edges = case
    graph = Graph.from_edges(edges, n_nodes=n, directed=directed)
    A = dense_adjacency(edges, n, directed=directed)
    np.testing.assert_array_equal(graph.adjacency().toarray(), A)
    np.testing.assert_array_equal(graph.degree, (A > 0).sum(axis=1))
    assert graph.n_edges == (A > 0).sum() // (1 if directed else 2)


@FEW
@given(edge_lists())
def test_report_counts_what_was_dropped_and_merged(case):
    n, edges = case
    pairs = [tuple(edge) for edge in edges.tolist() if edge[0] != edge[1]]
    distinct = set(pairs)
    reciprocal = sum((v, u) in distinct for u, v in distinct) // 2
    report = Graph.from_edges(edges, n_nodes=n).report
    assert report.edges.listed == len(edges)
    assert report.edges.self_loops == len(edges) - len(pairs)
    assert report.edges.duplicates == len(pairs) - len(distinct)
    assert report.edges.reciprocal == reciprocal
    assert report.isolates == n - len({end for pair in pairs for end in pair})
    assert Graph.from_edges(edges, n_nodes=n, directed=True).report.edges.reciprocal == 0


@FEW
@given(edge_lists(), st.integers(0, 10**6))
def test_nodes_in_another_order_permute_the_matrix(case, seed):
    n, edges = case
    order = np.random.default_rng(seed).permutation(n)
    plain = Graph.from_edges(edges, n_nodes=n)
    permuted = Graph.from_edges(edges, nodes=order)
    for kind in ("raw", "binary", "mean", "sym"):
        expected = plain.adjacency(kind).toarray()[np.ix_(order, order)]
        np.testing.assert_allclose(permuted.adjacency(kind).toarray(), expected, rtol=1e-6)


@FEW
@given(edge_lists(), st.integers(0, 10**6))
def test_order_and_repeats_of_edges_do_not_matter(case, seed):
    n, edges = case
    rng = np.random.default_rng(seed)
    again = np.concatenate([edges, edges[rng.integers(0, len(edges), 5)]])[rng.permutation(len(edges) + 5)]
    flip = rng.random(len(again)) < 0.5
    again[flip] = again[flip][:, ::-1]
    assert Graph.from_edges(edges, n_nodes=n).fingerprint == Graph.from_edges(again, n_nodes=n).fingerprint


def test_weights_are_summed_within_a_direction():
    edges, weights = [(0, 1), (0, 1), (1, 2), (2, 2), (0, 2)], [1.0, 2.5, 4.0, 9.0, 0.0]
    undirected = Graph.from_edges(edges, n_nodes=3, weights=weights)
    np.testing.assert_array_equal(undirected.adjacency().toarray(), [[0, 3.5, 0], [3.5, 0, 4], [0, 4, 0]])
    directed = Graph.from_edges([*edges, (1, 0)], n_nodes=3, weights=[*weights, 7.0], directed=True)
    np.testing.assert_array_equal(directed.adjacency().toarray(), [[0, 7, 0], [3.5, 0, 0], [0, 4, 0]])
    assert undirected.weighted and directed.report.edges.zero_weights == 1
    assert directed.report.edges.self_loops == directed.report.edges.duplicates == 1


def test_both_directions_with_one_weight_are_one_edge():
    graph = Graph.from_edges([("a", "b"), ("b", "a")], weights=[0.1, np.float32(0.1)])
    np.testing.assert_array_equal(graph.adjacency().toarray(), np.float32([[0, 0.1], [0.1, 0]]))
    assert graph.n_edges == graph.report.edges.reciprocal == 1


TUPLES = [("north", 1), ("north", 2), ("south", 1)]
ID_KINDS = {
    "strings": ["b", "a", "c"],
    "integers": [30, 10, 20],
    "tuples": TUPLES,
    "mixed": ["x", 7, ("y", 1)],
    "floats": [0.5, 2.25, -1.0],
    "dates": list(pd.to_datetime(["2020-01-02", "2020-01-01", "2021-05-05"])),
    "frozensets": [frozenset({1}), frozenset({2}), frozenset()],
}


@pytest.mark.parametrize("ids", ID_KINDS.values(), ids=ID_KINDS.keys())
def test_ids_of_any_hashable_kind(ids):
    a, b, c = ids
    graph = Graph.from_edges([(b, a), (a, c)])
    assert graph.nodes.tolist() == [b, a, c]  # first appearance
    np.testing.assert_array_equal(graph.positions([c, b]), [2, 0])
    listed = Graph.from_edges([(b, a), (a, c)], nodes=[*ids])
    np.testing.assert_array_equal(listed.adjacency().toarray(), [[0, 1, 1], [1, 0, 0], [1, 0, 0]])


def test_ids_from_arrays_frames_and_lists_agree():
    edges = [("a", "b"), ("b", "c"), ("a", "d")]
    frame = pd.DataFrame(edges, columns=["source", "target"])
    graphs = [
        Graph.from_edges(edges),
        Graph.from_edges(np.array(edges)),
        Graph.from_edges(np.array(edges, dtype=object)),
        Graph.from_edges(frame),
        Graph.from_edges(iter(edges)),
        Graph.from_pandas(frame),
        Graph.from_pandas(frame.astype("category")),
        Graph.from_pandas(pl.from_pandas(frame)),
        Graph.from_pandas(frame.rename(columns={"source": "u", "target": "v"}), source="u", target="v"),
    ]
    assert len({graph.fingerprint for graph in graphs}) == 1
    assert all(graph.nodes.tolist() == ["a", "b", "c", "d"] for graph in graphs)


def test_columns_of_two_kinds_keep_both():
    graph = Graph.from_pandas(pd.DataFrame({"source": [1, 2], "target": ["1", "2"]}))
    assert graph.n_nodes == 4 and graph.nodes.tolist() == [1, "1", 2, "2"]


def test_positions_are_ids_zero_to_n():
    by_count = Graph.from_edges([(2, 0), (0, 1)], n_nodes=3)
    by_list = Graph.from_edges([(2.0, 0.0), (0, 1)], nodes=np.arange(3.0))
    assert by_count.fingerprint == by_list.fingerprint
    assert isinstance(by_list.nodes, pd.RangeIndex)
    assert not isinstance(Graph.from_edges([(2, 0), (0, 1)]).nodes, pd.RangeIndex)  # 2 comes first there


def test_pandas_weights_and_isolates():
    frame = pd.DataFrame({"from": ["a", "b"], "to": ["b", "c"], "w": [2, 3]})
    graph = Graph.from_pandas(frame, source="from", target="to", weight="w", nodes=list("abcd"), directed=True)
    assert graph.directed and graph.weighted and graph.report.isolates == 1
    assert graph.adjacency()[1, 0] == 2 and graph.adjacency()[2, 1] == 3 and graph.adjacency().nnz == 2
    again = Graph.from_pandas(graph.to_frame(), weight="weight", nodes=graph.nodes, directed=True)
    assert again.fingerprint == graph.fingerprint


def test_graph_without_edges_needs_its_nodes_listed():
    assert Graph.from_edges([], n_nodes=3).n_edges == 0
    assert Graph.from_edges(np.empty((0, 2)), nodes=["a"]).report.components == 1
    assert Graph.from_scipy(sparse.csr_array((4, 4))).report.isolates == 4


@FEW
@given(edge_lists(), st.booleans(), st.booleans())
def test_scipy_round_trip(case, directed, weighted):
    n, edges = case
    weights = 1.0 + (edges.sum(axis=1) % 3) if weighted and directed else None
    graph = Graph.from_edges(edges, n_nodes=n, directed=directed, weights=weights)
    again = Graph.from_scipy(graph.to_scipy(), directed=directed)
    np.testing.assert_array_equal(again.adjacency().toarray(), graph.adjacency().toarray())
    np.testing.assert_array_equal(graph.to_scipy().toarray(), graph.adjacency().toarray().T)


def test_scipy_entry_is_an_edge_from_row_to_column():
    matrix = sparse.coo_matrix(([2.0, 3.0], ([0, 0], [1, 1])), shape=(3, 3))  # duplicates add up, as in scipy
    graph = Graph.from_scipy(matrix, nodes=["a", "b", "c"])
    assert graph.directed and graph.adjacency()[1, 0] == 5 and graph.adjacency().nnz == 1
    symmetric = Graph.from_scipy(sparse.csc_matrix([[1, 1.0], [1, 0]]))
    assert not symmetric.directed and not symmetric.weighted and symmetric.report.edges.self_loops == 1


@pytest.mark.parametrize("directed", [False, True])
def test_networkx_round_trip(directed):
    nx = pytest.importorskip("networkx", reason="conversion to and from networkx")
    graph = Graph.from_edges(
        [("a", "b"), ("b", ("c", 1)), ("a", ("c", 1))],
        nodes=["z", "a", "b", ("c", 1)],
        weights=[1, 2, 3.5],
        directed=directed,
    )
    made = graph.to_networkx()
    assert isinstance(made, nx.DiGraph) == directed and list(made.nodes) == graph.nodes.tolist()
    assert made.edges["b", ("c", 1)]["weight"] == 2
    assert Graph.from_networkx(made, weight="weight").fingerprint == graph.fingerprint
    assert not Graph.from_networkx(made).weighted


def test_networkx_operators_agree_with_its_own_matrix():
    nx = pytest.importorskip("networkx", reason="conversion from networkx")
    g = nx.gnp_random_graph(30, 0.15, seed=4, directed=True)
    graph = Graph.from_networkx(g)
    np.testing.assert_array_equal(graph.to_scipy().toarray(), nx.to_numpy_array(g))
    multi = nx.MultiGraph([(0, 1), (0, 1), (1, 2)])
    assert Graph.from_networkx(multi).n_edges == 2


@pytest.mark.parametrize("directed", [False, True])
def test_pyg_round_trip(directed):
    pytest.importorskip("torch_geometric", reason="conversion to and from torch_geometric")
    graph = Graph.from_edges([(0, 1), (1, 2), (3, 1)], n_nodes=5, weights=[1, 2, 3.5], directed=directed)
    graph = graph.with_features(np.arange(10.0).reshape(5, 2))
    data = graph.to_pyg()
    assert data.num_nodes == 5 and data.edge_index.shape == (2, 3 if directed else 6)
    assert data.is_undirected() != directed
    again = Graph.from_pyg(data)
    assert again.fingerprint == graph.fingerprint
    np.testing.assert_array_equal(again.features, graph.features)


def test_pyg_messages_flow_as_our_rows_aggregate():
    torch = pytest.importorskip("torch", reason="comparison with torch_geometric's own aggregation")
    conv = pytest.importorskip("torch_geometric.nn", reason="comparison with torch_geometric").SimpleConv(aggr="mean")
    edges = random_edges(12, 40, np.random.default_rng(0))
    graph = Graph.from_edges(edges, n_nodes=12, directed=True)
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    ours = graph.adjacency("mean") @ x.numpy()
    np.testing.assert_allclose(ours, conv(x, graph.to_pyg().edge_index).numpy(), atol=1e-6)
