"""Rows and nodes: matched where only one reading is possible, refused everywhere else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalkit.exceptions import AlignmentError
from causalkit.graph import Graph
from causalkit.graph.alignment import row_positions

POSITIONAL = Graph.from_edges([(0, 1), (1, 2), (2, 3)], n_nodes=4)
NAMED = Graph.from_edges([("d", "a"), ("a", "b"), ("b", "c")])  # d, a, b, c
X = np.zeros((4, 2))


def frame(index):
    return pd.DataFrame(np.zeros((len(index), 2)), columns=["u", "v"], index=index)


def test_positions_are_implied_only_where_nothing_else_can_be_meant():
    accepted = [
        (X, POSITIONAL),
        (pl.DataFrame(X), POSITIONAL),
        (frame(range(4)), POSITIONAL),
        (frame(["p", "q", "r", "s"]), POSITIONAL),
        (X, Graph.from_edges([(0, 1), (1, 2), (2, 3)])),  # ids turn out to be 0..3 in order
        (frame(["d", "a", "b", "c"]), NAMED),
        (frame(pd.Index(["d", "a", "b", "c"], dtype=object)), NAMED),
    ]
    for rows, graph in accepted:
        np.testing.assert_array_equal(row_positions(rows, graph), np.arange(4))


def test_tuples_match_a_multi_index():
    ids = [("north", 1), ("north", 2), ("south", 1)]
    graph = Graph.from_edges([(ids[0], ids[1])], nodes=ids)
    np.testing.assert_array_equal(row_positions(frame(pd.MultiIndex.from_tuples(ids)), graph), [0, 1, 2])
    turned = frame(pd.MultiIndex.from_tuples(ids[::-1]))
    with pytest.raises(AlignmentError, match="differ in order"):
        row_positions(turned, graph)
    np.testing.assert_array_equal(row_positions(turned, graph, turned.index), [2, 1, 0])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 8))
def test_named_rows_are_looked_up(seed, n_rows):
    rng = np.random.default_rng(seed)
    ids = [f"n{i}" for i in rng.permutation(8)]
    graph = Graph.from_edges([("n0", "n1")], nodes=ids)
    chosen = list(rng.permutation(ids)[:n_rows])
    expected = [ids.index(node) for node in chosen]
    for nodes in (chosen, np.array(chosen), pd.Series(chosen), pl.Series(chosen), pd.Index(chosen)):
        np.testing.assert_array_equal(row_positions(np.zeros((n_rows, 1)), graph, nodes), expected)


@pytest.mark.parametrize(
    "rows, graph, message",
    [
        (
            X[:3],
            POSITIONAL,
            r"X has 3 rows, the graph 4 nodes \(first ids: 0, 1, 2, 3\). Pass nodes= with the position",
        ),
        (X, NAMED, r"X has 4 rows.*first ids: 'd', 'a', 'b', 'c'.*position of a row says nothing. Pass nodes="),
        (X[:2], NAMED, r"X has 2 rows, the graph 4 nodes"),
        (frame(["a", "b"]), NAMED, r"index of X holds ids of the graph: pass nodes=X.index"),
        (frame(["d", "a", "b", "x"]), NAMED, r"Pass nodes= with the node id of each row"),
        (frame(["a", "b", "c", "d"]), NAMED, r"X.index and graph.nodes differ in order: row 0 is 'a', node 1 of"),
        (frame([1, 0, 2, 3]), POSITIONAL, r"X.index and graph.nodes differ in order.*Pass nodes=X.index"),
        (X, Graph.from_edges([(0, 2), (2, 1), (1, 3)]), r"ids are not 0..n-1 in order"),
    ],
)
def test_a_guess_is_refused(rows, graph, message):
    with pytest.raises(AlignmentError, match=message):
        row_positions(rows, graph)


@pytest.mark.parametrize(
    "nodes, message",
    [
        (["a", "x", "y", "b"], r"nodes: 2 of 4 ids are not in the graph \(first: 'x', 'y'\)"),
        (["a", "a", "b", "b"], r"nodes repeats 2 ids \(first: 'a', 'b'; 2 rows for one node\)"),
        (["a", "b"], r"expected 4 ids like the rows of X, got shape \(2,\)"),
        ([0, 1, 2, 3], r"4 of 4 ids are not in the graph \(first: 0, 1, 2, 3\).*same type"),
        ([["a"], "b", "c", "d"], "not hashable"),
        (["a", None, "b", "c"], "1 of 4 ids"),
    ],
)
def test_nodes_that_do_not_fit_are_refused(nodes, message):
    with pytest.raises(AlignmentError, match=message):
        row_positions(X, NAMED, nodes)


def test_a_series_of_nodes_in_another_order_than_the_rows_is_refused():
    rows = frame([10, 11, 12, 13])
    nodes = pd.Series(["a", "b", "c", "d"], index=[11, 10, 12, 13])
    with pytest.raises(AlignmentError, match="different order"):
        row_positions(rows, NAMED, nodes)
    np.testing.assert_array_equal(row_positions(rows, NAMED, nodes.loc[rows.index]), [2, 1, 3, 0])
