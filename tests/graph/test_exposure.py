"""Exposure mappings against dense matrices, their chances against enumeration, and contrasts against simulation."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse

from causalkit.exceptions import GraphError, IdentificationError
from causalkit.graph import Graph, exposure_contrast, exposure_mapping
from causalkit.graph.exposure import neighbour_count_probability, resolve_exposure


def random_graph(n: int, p: float, seed: int, directed: bool = False) -> Graph:
    rng = np.random.default_rng(seed)
    A = rng.random((n, n)) < p
    np.fill_diagonal(A, False)
    if not directed:
        A = np.triu(A)
    edges = np.argwhere(A)
    return Graph.from_edges(edges, n_nodes=n, directed=directed, weights=rng.uniform(0.5, 2, len(edges)))


@pytest.mark.parametrize("directed", [False, True])
def test_linear_mappings_equal_dense_products(directed: bool) -> None:
    graph = random_graph(12, 0.2, 3, directed)
    raw = graph.adjacency("raw").toarray().astype(float)
    binary = (raw > 0).astype(float)
    t = np.random.default_rng(0).random(12)
    degree, strength = binary.sum(axis=1), raw.sum(axis=1)
    reached = (binary @ binary > 0) & (binary == 0) & ~np.eye(12, dtype=bool)
    two = reached.sum(axis=1)
    expected = {
        "count": binary @ t,
        "share": np.divide(binary @ t, degree, out=np.zeros(12), where=degree > 0),
        "weighted": raw @ t,
        "weighted_share": np.divide(raw @ t, strength, out=np.zeros(12), where=strength > 0),
        "two_hop_share": np.divide(reached @ t, two, out=np.zeros(12), where=two > 0),
    }
    for kind, value in expected.items():
        assert_allclose(exposure_mapping(graph, t, kind), value, rtol=1e-6, err_msg=kind)
    E = sparse.random_array((12, 12), density=0.3, random_state=np.random.default_rng(1)).tolil()
    E.setdiag(0)
    assert_allclose(exposure_mapping(graph, t, E.tocsr()), E.toarray() @ t)


def test_an_edge_acts_in_its_direction() -> None:
    graph = Graph.from_edges([(0, 1)], n_nodes=2, directed=True)
    assert exposure_mapping(graph, [1, 0], "count").tolist() == [0.0, 1.0]
    assert exposure_mapping(graph, [0, 1], "count").tolist() == [0.0, 0.0]


@given(st.integers(0, 10_000), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_chances_equal_enumeration_of_all_assignments(seed: int, least: int) -> None:
    n = 7
    graph = random_graph(n, 0.5, seed, directed=bool(seed % 2))
    p = np.random.default_rng(seed).uniform(0.1, 0.9, n)
    A = (graph.adjacency("binary").toarray() > 0).astype(float)
    expected = np.zeros(n)
    for assignment in itertools.product([0.0, 1.0], repeat=n):
        t = np.array(assignment)
        expected += np.prod(np.where(t == 1, p, 1 - p)) * (A @ t >= least)
    assert_allclose(neighbour_count_probability(graph.adjacency("binary"), p, least), expected, atol=1e-12)


def test_any_is_a_threshold_of_one() -> None:
    graph = random_graph(60, 0.1, 5)
    t = np.random.default_rng(1).integers(0, 2, 60)
    assert_allclose(exposure_mapping(graph, t, "any"), exposure_mapping(graph, t, "threshold", threshold=1))
    p = np.full(60, 0.3)
    weights = resolve_exposure(graph, "any").weights
    by_steps = neighbour_count_probability(weights, p, 2) + _exactly_one(weights, 0.3)
    assert_allclose(neighbour_count_probability(weights, p, 1), by_steps, atol=1e-12)


def _exactly_one(weights: Any, p: float) -> np.ndarray:
    degree = np.diff(sparse.csr_array(weights).indptr)
    return degree * p * (1 - p) ** np.maximum(degree - 1, 0)


def test_horvitz_thompson_is_unbiased_over_all_assignments() -> None:
    n = 8
    graph = random_graph(n, 0.4, 11)
    rng = np.random.default_rng(2)
    p = rng.uniform(0.3, 0.7, n)
    y0, effect = rng.normal(size=n), rng.normal(size=n)
    degree = graph.degree
    mean = 0.0
    for assignment in itertools.product([0, 1], repeat=n):
        t = np.array(assignment)
        chance = np.prod(np.where(t == 1, p, 1 - p))
        exposed = exposure_mapping(graph, t, "any")
        rows = degree > 0
        pi = neighbour_count_probability(graph.adjacency("binary"), p, 1)[rows]
        y = (y0 + effect * exposed)[rows]
        mean += chance * np.mean(np.where(exposed[rows] == 1, y / pi, -y / (1 - pi)))
        if 0 < exposed[rows].sum() < rows.sum() and assignment[:3] == (1, 0, 0):
            result = exposure_contrast(
                y0 + effect * exposed, treatment=t, graph=graph, probability=p, estimator="ht", dependence="iid"
            )
            assert_allclose(result.estimate[0], np.mean(np.where(exposed[rows] == 1, y / pi, -y / (1 - pi))))
    assert_allclose(mean, effect[degree > 0].mean(), atol=1e-10)


def test_intervals_cover_the_contrasts() -> None:
    n = 600
    graph = Graph.from_edges([(i, (i + k) % n) for i in range(n) for k in (1, 2)], n_nodes=n)
    hits = {"spill": 0, "direct": 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        t = rng.integers(0, 2, n)
        exposed = exposure_mapping(graph, t, "threshold", threshold=2)
        y = 1.5 * exposed + 1.0 * t + rng.normal(size=n)
        options: dict[str, Any] = {"treatment": t, "graph": graph, "probability": 0.5, "exposure": "threshold"}
        spill = exposure_contrast(y, threshold=2, **options).conf_int().to_numpy()[0]
        direct = exposure_contrast(y, threshold=2, levels=((1, 0), (0, 0)), **options).conf_int().to_numpy()[0]
        hits["spill"] += int(spill[0] < 1.5 < spill[1])
        hits["direct"] += int(direct[0] < 1.0 < direct[1])
    assert min(hits.values()) >= 51  # 99.9 % of Binomial(60, .95) lies at 51 or above


def test_nodes_that_can_be_in_one_cell_only_are_left_out_and_named() -> None:
    graph = Graph.from_edges([(0, 1), (1, 2), (2, 3), (3, 0)], n_nodes=6)
    result = exposure_contrast(
        np.arange(6.0), treatment=[1, 0, 0, 0, 1, 0], graph=graph, probability=0.5, dependence="iid"
    )
    assert result.n_obs == 4
    assert "2 of 6 nodes" in result.dependence


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"graph": np.eye(3)}, TypeError, r"Graph\.from_edges"),
    ({"treatment": [0, 1, 2]}, ValueError, "0 or 1"),
    ({"treatment": [0, 1]}, ValueError, "treatment has 2 rows"),
    ({"probability": 1.0}, ValueError, "strictly between 0 and 1"),
    ({"exposure": "share"}, ValueError, "'any', 'threshold'"),
    ({"exposure": "threshold"}, ValueError, "threshold belongs"),
    ({"levels": (1, 1)}, ValueError, "two different cells"),
    ({"levels": (1, 2)}, ValueError, "exposure level 0 or 1"),
    ({"estimator": "ols"}, ValueError, "'hajek', 'ht'"),
    ({"exposure": "threshold", "threshold": 3}, IdentificationError, "no node can be in both"),
    ({"treatment": [0, 0, 0]}, IdentificationError, "no node is in cell"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD)
def test_failures_of_the_contrast(change: dict[str, Any], error: type[Exception], words: str) -> None:
    options: dict[str, Any] = {
        "treatment": [0, 1, 0],
        "graph": Graph.from_edges([(0, 1), (1, 2)], n_nodes=3),
        "probability": 0.5,
    }
    with pytest.raises(error, match=words):
        exposure_contrast([1.0, 2.0, 3.0], **(options | change))


def test_failures_of_the_mapping() -> None:
    graph = Graph.from_edges([(0, 1), (1, 2)], n_nodes=3)
    with pytest.raises(GraphError, match=r"shape \(3, 3\)"):
        exposure_mapping(graph, [0, 1, 0], sparse.eye_array(2, format="csr"))
    with pytest.raises(GraphError, match="diagonal"):
        exposure_mapping(graph, [0, 1, 0], sparse.eye_array(3, format="csr"))
    with pytest.raises(GraphError, match="NaN"):
        exposure_mapping(graph, [0, 1, 0], sparse.csr_array(np.array([[0, np.nan, 0]] * 3)))
    with pytest.raises(ValueError, match="must be one of"):
        exposure_mapping(graph, [0, 1, 0], "mean")
