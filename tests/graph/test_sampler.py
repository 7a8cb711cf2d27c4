"""Sampled neighbourhoods: exact where nothing is left out, unbiased where something is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from causalkit.graph import Graph
from causalkit.graph.sampler import _draws, sample_blocks, sample_edges
from tests.graph.networks import barabasi_albert

GRAPH = Graph.from_edges(barabasi_albert(60, 3, np.random.default_rng(0)), n_nodes=62)  # two isolates


def test_all_neighbours_give_the_rows_themselves():
    for kind in ("raw", "mean", "sym"):
        matrix = GRAPH.adjacency(kind)
        targets = np.array([5, 0, 61, 17])
        row, source, value = sample_edges(matrix, targets, 100, np.random.default_rng(0))
        found = sparse.coo_array((value, (row, source)), shape=(4, 62)).toarray()
        np.testing.assert_allclose(found, matrix.toarray()[targets], rtol=1e-6)
        assert (np.diff(row) >= 0).all()


@pytest.mark.parametrize("kind", ["raw", "mean", "sym"])
def test_sum_over_sampled_entries_is_unbiased(kind):
    matrix, rng = GRAPH.adjacency(kind), np.random.default_rng(1)
    hub = int(GRAPH.degree.argmax())
    targets = np.array([hub, 30, 60])
    values = np.random.default_rng(2).normal(size=62)
    draws = np.empty((4000, 3))
    for k in range(len(draws)):
        row, source, value = sample_edges(matrix, targets, 3, rng)
        draws[k] = np.bincount(row, weights=value * values[source], minlength=3)
        # At most three entries of a row, and the diagonal of S beside them, unscaled.
        assert (np.bincount(row, minlength=3) <= 3 + (kind == "sym")).all()
    expected = matrix.toarray()[targets] @ values
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - expected) <= 4 * error + 1e-6).all()
    assert draws.std(axis=0)[0] > 0


def test_draws_are_different_numbers_and_each_subset_is_as_likely():
    rng = np.random.default_rng(3)
    sizes = np.array([0, 2, 3, 5, 1000])
    number, draws = _draws(sizes, 3, rng)
    assert number.tolist() == [0, 2, 3, 3, 3]
    parts = np.split(draws, np.cumsum(number)[:-1])
    assert [len(set(part.tolist())) for part in parts] == number.tolist()
    assert all((part < size).all() for part, size in zip(parts, sizes, strict=True))
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(3000):
        subset = tuple(sorted(_draws(np.array([4]), 2, rng)[1].tolist()))
        counts[subset] = counts.get(subset, 0) + 1
    assert len(counts) == 6
    # Six subsets, 500 each in the mean: chi-square with 5 degrees of freedom exceeds 20.5 once in a thousand.
    assert sum((c - 500) ** 2 / 500 for c in counts.values()) < 20.5


def test_blocks_with_all_neighbours_give_products_of_the_whole_matrix():
    matrix = GRAPH.adjacency("mean")
    seeds = np.array([41, 7, 61])
    blocks = sample_blocks(matrix, seeds, (100, 100), np.random.default_rng(0))
    values = np.random.default_rng(4).normal(size=(62, 2))
    assert blocks.nodes[:3].tolist() == seeds.tolist()
    assert len(set(blocks.nodes.tolist())) == len(blocks.nodes)
    first, second = blocks.matrices
    assert first.shape == (second.shape[1], len(blocks.nodes)) and second.shape[0] == 3
    np.testing.assert_allclose(
        second @ (first @ values[blocks.nodes]), (matrix @ (matrix @ values))[seeds], rtol=1e-5, atol=1e-6
    )


def test_same_generator_same_blocks():
    one, two, other = (
        sample_blocks(GRAPH.adjacency("raw"), np.arange(20), (2, 2), np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert np.array_equal(one.nodes, two.nodes)
    assert all(np.array_equal(a.toarray(), b.toarray()) for a, b in zip(one.matrices, two.matrices, strict=True))
    assert not np.array_equal(one.nodes, other.nodes)


def test_graph_without_edges():
    matrix = Graph.from_edges(np.empty((0, 2), int), n_nodes=4).adjacency("raw")
    blocks = sample_blocks(matrix, np.arange(3), (5,), np.random.default_rng(0))
    assert blocks.nodes.tolist() == [0, 1, 2]
    assert blocks.matrices[0].nnz == 0
