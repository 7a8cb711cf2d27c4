"""Hop features: powers of dense matrices, statistics that travel, coverage, scikit-learn's conventions."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

from causalkit import load, save
from causalkit.exceptions import GraphCoverageWarning
from causalkit.graph import Graph, HopFeatures
from tests.graph.networks import dense_adjacency, mean_matrix, random_edges, sym_matrix

FEW = settings(max_examples=25, deadline=None, derandomize=True)
ALL = ("sym", "mean", "sum", "max", "min", "std")


def dense_columns(A, X, hops, operators, center=None):
    """[X, aggregates per hop and operator, log(1 + degree)] by dense algebra and loops over neighbours."""
    center = X.mean(axis=0) if center is None else center
    R, S, C = mean_matrix(A), sym_matrix(A), X - center
    empty = (A.sum(axis=1) == 0)[:, None]
    low, high, columns = C, C, [X]
    for h in range(1, hops + 1):
        Rh, Sh, Ah = (np.linalg.matrix_power(matrix, h) for matrix in (R, S, A))
        high = np.array([high[row > 0].max(axis=0) if row.any() else 0 * center for row in A])
        low = np.array([low[row > 0].min(axis=0) if row.any() else 0 * center for row in A])
        spread = np.sqrt(np.maximum(Rh @ C**2 - (Rh @ C) ** 2, 0))
        found = {
            "sym": Sh @ X, "mean": Rh @ C + center, "sum": Ah @ X,
            "max": high + center, "min": low + center, "std": spread,
        }  # fmt: skip
        assert h > 1 or np.allclose(found["mean"][~empty[:, 0]], (R @ X)[~empty[:, 0]])
        columns += [found[kind] for kind in operators]
    return np.column_stack([*columns, np.log1p((A > 0).sum(axis=1))])


def standardised(columns, like=None):
    like = columns if like is None else like
    spread = like.std(axis=0)
    constant = spread < 1e-6
    return np.where(constant, 0, (columns - like.mean(axis=0)) / np.where(constant, 1, spread))


def network(seed, n=25, m=30, directed=False, weighted=False):
    rng = np.random.default_rng(seed)
    edges = np.unique(np.sort(random_edges(n, m, rng), axis=1), axis=0)
    weights = rng.uniform(0.5, 2.0, len(edges)) if weighted else None
    graph = Graph.from_edges(edges, n_nodes=n, weights=weights, directed=directed)
    return graph, dense_adjacency(edges, n, weights=weights, directed=directed), rng.normal(2.0, 3.0, size=(n, 3))


@FEW
@given(st.integers(0, 10**6), st.booleans(), st.booleans(), st.integers(1, 3))
def test_columns_equal_dense_matrix_powers(seed, directed, weighted, hops):
    graph, A, X = network(seed, directed=directed, weighted=weighted)
    hop = HopFeatures(hops=hops, operators=ALL, standardize=False).fit(X, graph=graph)
    expected = dense_columns(A, X, hops, ALL)
    np.testing.assert_allclose(hop.transform(X), expected, rtol=2e-5, atol=2e-3)  # std cancels in single precision
    smooth = HopFeatures(hops=hops, standardize=False).fit_transform(X, graph=graph)
    np.testing.assert_allclose(smooth, dense_columns(A, X, hops, ("sym", "mean")), rtol=2e-5, atol=2e-5)


@FEW
@given(st.integers(0, 10**6), st.booleans())
def test_standardised_columns(seed, directed):
    graph, A, X = network(seed, directed=directed)
    columns = HopFeatures().fit_transform(X, graph=graph)
    Z = standardised(X)
    expected = standardised(dense_columns(A, Z, 2, ("sym", "mean")))
    np.testing.assert_allclose(columns, expected, atol=5e-5)
    assert columns.dtype == np.float32 and columns.shape == (25, 3 * 5 + 1)


@FEW
@given(st.integers(0, 10**6), st.permutations(range(12)))
def test_renamed_nodes_give_the_same_rows(seed, order):
    rng = np.random.default_rng(seed)
    edges, X = random_edges(12, 20, rng), rng.normal(size=(12, 2))
    plain = HopFeatures(operators=ALL).fit_transform(X, graph=Graph.from_edges(edges, n_nodes=12))
    moved = Graph.from_edges(edges, nodes=order)
    rows = rng.permutation(12)
    again = HopFeatures(operators=ALL).fit_transform(X[rows], graph=moved, nodes=rows)
    np.testing.assert_allclose(again, plain[rows], atol=2e-3)


def test_isolates_have_an_average_neighbourhood():
    graph = Graph.from_edges([(0, 1)], n_nodes=3)
    X = np.array([[1.0], [2.0], [9.0]])
    hop = HopFeatures(hops=2, operators=("mean", "max", "min", "std", "sum", "sym"), standardize=False)
    last = hop.fit_transform(X, graph=graph)[2]
    # X, then per hop: mean, max and min are the average 4, std and sum 0, sym the node itself; log(1 + 0)
    np.testing.assert_allclose(last, [9, 4, 4, 4, 0, 0, 9, 4, 4, 4, 0, 0, 9, 0], atol=1e-6)


def test_names_and_their_places():
    graph, A, X = network(0)
    frame = pd.DataFrame(X, columns=["age", "income", "size"])
    hop = HopFeatures(operators=("sum", "mean")).fit(frame, graph=graph)
    names = hop.get_feature_names_out()
    assert names.tolist()[:5] == ["age", "income", "size", "sum1(age)", "sum1(income)"]
    assert names[-1] == "log_degree" and len(names) == 3 * 5 + 1
    bare = HopFeatures(include_own=False, include_degree=False, hops=1, operators=("mean",)).fit(frame, graph=graph)
    assert bare.get_feature_names_out().tolist() == ["mean1(age)", "mean1(income)", "mean1(size)"]
    table = hop.set_output(transform="pandas").transform(frame)
    raw = mean_matrix(A) @ standardised(X)
    np.testing.assert_allclose(table["mean1(income)"], standardised(raw)[:, 1], atol=5e-5)
    assert table.columns.tolist() == names.tolist()


def test_many_columns_are_the_same_as_few():
    graph, _, _ = network(1)
    X = np.random.default_rng(0).normal(size=(25, 40))  # more than one chunk of columns
    hop = HopFeatures(operators=ALL, include_degree=False)
    whole = hop.fit_transform(X, graph=graph).reshape(25, -1, 40)
    for j in (0, 17, 39):
        np.testing.assert_allclose(whole[:, :, j], clone(hop).fit_transform(X[:, [j]], graph=graph), atol=1e-6)


def test_constant_columns_become_zero():
    ring = Graph.from_edges([(i, (i + 1) % 8) for i in range(8)], n_nodes=8)
    X = np.column_stack([np.arange(8.0), np.full(8, 0.1), 1.7e9 + np.arange(8)])
    columns = HopFeatures(operators=ALL).fit(X, graph=ring).transform(X + np.array([0, 5, 0]))
    names = HopFeatures(operators=ALL).fit(X, graph=ring).get_feature_names_out()
    constant = np.array([name == "x1" or "(x1)" in name or name == "log_degree" for name in names])
    assert (columns[:, constant] == 0).all()
    np.testing.assert_allclose(columns[:, 0], standardised(X[:, :1])[:, 0], rtol=1e-6)
    # A large offset costs nothing: X is centred in double precision.
    np.testing.assert_allclose(columns[:, 2], columns[:, 0], rtol=1e-6)


def test_statistics_of_fit_are_used_on_another_graph():
    first, A, X = network(2)
    second, B, W = network(3, n=40, m=90)
    hop = HopFeatures().fit(X, graph=first)
    mean, spread = X.mean(axis=0), X.std(axis=0)
    like = dense_columns(A, (X - mean) / spread, 2, ("sym", "mean"))
    # What an isolate of the new graph gets is the average node of the first one: zero after centring.
    new = dense_columns(B, (W - mean) / spread, 2, ("sym", "mean"), center=np.zeros(3))
    np.testing.assert_allclose(hop.transform(W, graph=second), standardised(new, like), atol=5e-5)
    np.testing.assert_allclose(hop.transform(X), standardised(like), atol=5e-5)
    np.testing.assert_array_equal(hop.transform(W[:7], graph=second.with_features(W), nodes=range(7)),
                                  hop.transform(W, graph=second)[:7])  # fmt: skip


@pytest.mark.parametrize("factor", [1e20, 1e50, 1e160])
def test_values_that_single_precision_cannot_hold_are_refused(factor):
    graph, _, X = network(0)
    hop = HopFeatures().fit(X, graph=graph)
    with pytest.raises(ValueError, match="X is out of scale"):
        hop.transform(X * factor, graph=graph)
    if factor > 1e60:
        with pytest.raises(ValueError, match="X is out of scale"):
            HopFeatures().fit(X * factor, graph=graph)
    else:  # units of their own are as good as any
        np.testing.assert_allclose(
            HopFeatures().fit_transform(X * factor, graph=graph), hop.transform(X, graph=graph), rtol=1e-4, atol=1e-5
        )


def test_fit_transform_is_fit_then_transform():
    graph, _, X = network(4)
    hop = HopFeatures(operators=ALL)
    both = hop.fit_transform(X, graph=graph)
    np.testing.assert_array_equal(clone(hop).fit(X, graph=graph).transform(X), both)
    pd.testing.assert_frame_equal(hop.report_, clone(hop).fit(X, graph=graph).report_)


def test_some_rows_with_the_features_of_all():
    graph, A, X = network(5)
    rows = np.random.default_rng(1).permutation(25)[:10]
    held = graph.with_features(X)
    hop = HopFeatures(standardize=False).fit(X[rows], graph=held, nodes=rows)
    expected = dense_columns(A, X, 2, ("sym", "mean"), center=X[rows].mean(axis=0))[rows]
    np.testing.assert_allclose(hop.transform(X[rows], nodes=rows), expected, rtol=2e-5, atol=2e-5)
    assert hop.report_["share_lost"].item() == 0
    changed = X.copy()
    changed[rows[0]] += 5  # rows of the call go before what the graph carries
    expected = dense_columns(A, changed, 2, ("sym", "mean"), center=X[rows].mean(axis=0))[rows]
    np.testing.assert_allclose(hop.transform(changed[rows], nodes=rows), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("directed", [False, True])
def test_some_rows_alone_see_each_other_only(directed):
    graph, A, X = network(6, m=60, directed=directed)
    rows = np.random.default_rng(2).permutation(25)[:15]
    with pytest.warns(GraphCoverageWarning, match=r"edges into the 15 rows.*with_features"):
        hop = HopFeatures(standardize=False).fit(X[rows], graph=graph, nodes=rows)
    part = A[np.ix_(rows, rows)]
    expected = dense_columns(part, X[rows], 2, ("sym", "mean"))
    expected[:, -1] = np.log1p((A > 0).sum(axis=1))[rows]  # the degree is known all the same
    with pytest.warns(GraphCoverageWarning):
        np.testing.assert_allclose(hop.transform(X[rows], nodes=rows), expected, rtol=2e-5, atol=2e-5)
    into, kept = (A[rows] > 0).sum(), (part > 0).sum()
    assert hop.report_.iloc[0].to_dict() == {
        "rows": 15, "nodes": 25, "edges_into_rows": into, "edges_lost": into - kept,
        "share_lost": pytest.approx(1 - kept / into),
    }  # fmt: skip


def test_features_of_some_nodes_count_as_far_as_they_go():
    graph, A, X = network(7, m=60)
    known = np.arange(22)
    hop = HopFeatures(standardize=False, hops=1, operators=("mean",), include_degree=False)
    made = hop.fit_transform(X[:10], graph=graph.with_features(X[known], nodes=known), nodes=range(10))
    expected = mean_matrix(A[:22, :22])[:10] @ X[:22]
    np.testing.assert_allclose(made[:, 3:], expected, rtol=2e-5, atol=2e-5)
    assert hop.report_["share_lost"].item() == pytest.approx(1 - (A[:10, :22] > 0).sum() / (A[:10] > 0).sum())
    assert 0 < hop.report_["share_lost"].item() < 0.2  # so there is no warning


def test_graph_without_edges_warns_and_keeps_own_columns():
    X = np.arange(6.0).reshape(3, 2)
    with pytest.warns(GraphCoverageWarning, match="no edges"):
        columns = HopFeatures(operators=("mean",)).fit_transform(X, graph=Graph.from_edges([], n_nodes=3))
    np.testing.assert_allclose(columns[:, :2], standardised(X), rtol=1e-6)
    assert (columns[:, 2:] == 0).all()


def test_memory_map_holds_the_same_columns(tmp_path):
    graph, _, X = network(8)
    hop = HopFeatures(memory=tmp_path / "columns").fit(X, graph=graph)
    assert not (tmp_path / "columns").exists()  # fitting alone writes nothing
    expected = HopFeatures().fit_transform(X, graph=graph)
    made = hop.fit_transform(X, graph=graph)
    assert isinstance(made, np.memmap)
    np.testing.assert_array_equal(made, expected)
    made[0, 0] = 99.0  # copy on write: the file stays as it is
    np.testing.assert_array_equal(np.load(made.filename), expected)
    np.testing.assert_array_equal(hop.transform(X), expected)
    assert len(list((tmp_path / "columns").glob("*.npy"))) == 2


@pytest.mark.parametrize("kind", ["pandas", "polars", "numpy32", "list", "nullable"])
def test_tables_of_every_kind_give_the_same_columns(kind):
    graph, _, X = network(9)
    X = X.astype(np.float32).astype(np.float64)
    frame = pd.DataFrame(X, columns=list("abc"))
    table = {
        "pandas": frame,
        "polars": pl.from_pandas(frame),
        "numpy32": X.astype(np.float32),
        "list": X.tolist(),
        "nullable": frame.astype("Float64"),
    }[kind]
    expected = HopFeatures().fit_transform(X, graph=graph)
    np.testing.assert_array_equal(HopFeatures().fit_transform(table, graph=graph), expected)


@pytest.mark.parametrize("way", ["pickle", "file"])
def test_saved_transformer_is_the_same(way, tmp_path):
    graph, _, X = network(10)
    hop = HopFeatures().fit(pd.DataFrame(X, columns=list("abc")), graph=graph)
    if way == "pickle":
        again = pickle.loads(pickle.dumps(hop))
    else:
        save(hop, tmp_path / "hop")
        again = load(tmp_path / "hop")
    frame = pd.DataFrame(X, columns=list("abc"))
    np.testing.assert_array_equal(again.transform(frame), hop.transform(frame))
    assert again.get_feature_names_out().tolist() == hop.get_feature_names_out().tolist()


def test_routing_slices_nodes_and_leaves_the_graph_whole():
    graph, A, X = network(11, n=60, m=150)
    graph = graph.with_features(X)
    rng = np.random.default_rng(0)
    y = mean_matrix(A) @ X[:, 0] + 0.01 * rng.normal(size=60)
    order = rng.permutation(60)
    with sklearn.config_context(enable_metadata_routing=True):
        hop = HopFeatures().set_fit_request(graph=True, nodes=True).set_transform_request(graph=True, nodes=True)
        pipeline = make_pipeline(hop, LinearRegression())
        params = {"graph": graph, "nodes": order}
        scores = cross_validate(pipeline, X[order], y[order], params=params, cv=4)["test_score"]
        assert scores.min() > 0.9  # the outcome is a neighbours' mean: only aligned rows predict it
        search = GridSearchCV(pipeline, {"hopfeatures__hops": [0, 1]}, cv=3).fit(X[order], y[order], **params)
        assert search.best_params_ == {"hopfeatures__hops": 1}


def test_raw_columns_beyond_single_precision_are_refused(tmp_path) -> None:
    graph = Graph.from_edges([(i, (i + 1) % 20) for i in range(20)], n_nodes=20)
    X = np.random.default_rng(0).normal(size=(20, 2)) * 1e45
    with pytest.raises(ValueError, match=r"X is out of scale: a column is beyond.*standardize=True"):
        HopFeatures(standardize=False, memory=str(tmp_path)).fit_transform(X, graph=graph)
    assert not list(tmp_path.iterdir())  # no half-written file is left
    assert np.isfinite(HopFeatures().fit_transform(X, graph=graph)).all()


def test_edge_weights_beyond_single_precision_are_refused() -> None:
    graph = Graph.from_edges([(i, (i + 1) % 20) for i in range(20)], n_nodes=20, weights=np.full(20, 1e25))
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(ValueError, match="smaller edge weights"):
        HopFeatures(hops=2, operators=("sum",)).fit_transform(X, graph=graph)
