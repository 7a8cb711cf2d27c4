"""Conductance and partitions against counts by hand, Moran's I and covariate correlations against explicit sums."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse, stats

from causalkit.exceptions import GraphError
from causalkit.inference import conductance, covariate_association, moran, network_clusters


def linked_blocks(count: int, size: int) -> Any:
    """Complete blocks on a ring, each with one link to the next one."""
    A = sparse.block_diag([np.ones((size, size))] * count).tolil()
    for block in range(count):
        A[block * size, (block + 1) % count * size + 1] = 1
    return A.tocsr()


def test_conductance_is_the_share_of_link_ends_that_leave() -> None:
    rng = np.random.default_rng(0)
    upper = np.triu(rng.random((50, 50)) < 0.1, 1)
    dense = (upper | upper.T).astype(float)
    codes = rng.integers(0, 4, 50)
    labels = np.array(["d", "a", "c", "b"])[codes]
    found = conductance(sparse.csr_array(dense), labels)
    for j, label in enumerate(pd.unique(labels)):
        inside = labels == label
        cut, volume = dense[inside][:, ~inside].sum(), dense[inside].sum()
        assert found[j] == pytest.approx(cut / volume, rel=1e-12)
    assert_allclose(conductance(sparse.csr_array(dense), np.zeros(50)), [0.0])
    assert_allclose(conductance(sparse.csr_array((3, 3)), [0, 1, 1]), [0.0, 0.0])
    with pytest.raises(ValueError, match="groups must hold one label per row"):
        conductance(sparse.csr_array(dense), labels[:9])
    with pytest.raises(ValueError, match="groups is missing"):
        conductance(sparse.csr_array(dense), None)


@pytest.mark.parametrize("n_clusters", [12, "auto"])
@pytest.mark.parametrize("size", [10, 50])
def test_partition_finds_blocks(n_clusters: Any, size: int) -> None:
    """Each block has volume size(size - 1) + 2, two ends of which leave; no finer partition stays below 0.1."""
    found = network_clusters(linked_blocks(12, size), n_clusters, random_state=0)
    assert found.n_clusters == 12
    assert all(len(set(found.codes[first : first + size])) == 1 for first in range(0, 12 * size, size))
    assert_allclose(found.conductance, 2 / (size * (size - 1) + 2), rtol=1e-12)


def test_partition_of_components() -> None:
    """Where nothing can be cut at a low price, components are the clusters; small ones join a cluster otherwise."""
    A = sparse.csr_array(sparse.block_diag([np.ones((9, 9)), np.ones((3, 3)), np.ones((1, 1))]))
    auto = network_clusters(A)
    assert np.array_equal(auto.codes, np.repeat([0, 1, 2], [9, 3, 1]))
    assert_allclose(auto.conductance, 0.0)
    two = network_clusters(A, 2, random_state=0)
    assert two.n_clusters == 2
    assert len(set(two.codes[9:12])) == 1
    for bad, message in ((1, "at least 2"), (5, "at most half of them, 4"), ("many", "at least 2")):
        with pytest.raises(ValueError, match=message):
            network_clusters(A, bad)


# ---------------------------------------------------------------------- Moran's I


def test_moran_is_the_double_sum_with_its_exact_permutation_law() -> None:
    rng = np.random.default_rng(1)
    W = rng.random((6, 6))
    np.fill_diagonal(W, 7.0)  # left out
    values = rng.normal(size=6)
    u = values - values.mean()
    off = W - np.diag(np.diag(W))

    def index(v: Any) -> float:
        return 6 / off.sum() * (v @ off @ v) / (v @ v)

    law = np.array([index(u[list(order)]) for order in permutations(range(6))])
    found = moran(values, sparse.csr_array(W), n_permutations=4000, random_state=0)
    assert found.statistic == pytest.approx(index(u), rel=1e-12)
    assert found.expected == pytest.approx(law.mean(), abs=1e-12)
    share = np.mean(np.abs(law - law.mean()) >= abs(index(u) - law.mean()) - 1e-12)
    assert found.pvalue == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 4000) + 1 / 4001)
    assert found.std_error == pytest.approx(law.std(), rel=0.1)


def test_moran_has_its_level_and_sees_neighbours() -> None:
    n = 200
    ring = sparse.csr_array(sparse.diags_array([1.0] * 4, offsets=[1, -1, n - 1, 1 - n], shape=(n, n)))
    pvalues, powers = [], []
    for seed in range(100):
        noise = np.random.default_rng(seed).normal(size=n)
        pvalues.append(moran(noise, ring, n_permutations=99, random_state=seed).pvalue)
        powers.append(moran(noise + np.roll(noise, 1), ring, n_permutations=99, random_state=seed).pvalue)
    # Uniform on 0.01, ..., 1: 99.9 % band of a binomial share of 100.
    assert 3 <= np.sum(np.array(pvalues) <= 0.1) <= 21
    assert np.max(powers) <= 0.02
    assert moran(noise, ring, n_permutations=0).pvalue == 1.0


def test_covariate_association_is_the_largest_correlation() -> None:
    rng = np.random.default_rng(0)
    Z = pd.DataFrame(rng.normal(size=(300, 4)), columns=list("abcd"))
    Z["d"] = 3.0
    u = rng.normal(size=300) - 0.4 * Z["b"].to_numpy()
    found = covariate_association(u, Z)
    expected = [np.sqrt(300) * abs(np.corrcoef(u, Z[name])[0, 1]) for name in "abc"]
    assert_allclose(found.statistics, [*expected, 0.0], rtol=1e-12)
    assert found.column == "b"
    assert found.pvalue == pytest.approx(3 * 2 * stats.norm.sf(max(expected)), rel=1e-10)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: moran([1.0, 1.0], sparse.csr_array(np.ones((2, 2)))), ValueError, "values are constant"),
        (lambda: moran([1.0, 2.0], np.ones((2, 2))), TypeError, "scipy sparse matrix, got ndarray"),
        (lambda: moran([1.0, 2.0], sparse.csr_array((2, 2))), GraphError, "weights that sum to 0"),
        (lambda: moran([1.0, 2.0], sparse.csr_array(np.ones((3, 3)))), GraphError, r"expected shape \(2, 2\)"),
        (lambda: covariate_association([1.0, 1.0], [1.0, 2.0]), ValueError, "values are constant"),
        (lambda: covariate_association([1.0, 2.0], [1.0, 1.0]), ValueError, "no column that varies"),
        (lambda: covariate_association([1.0, 2.0], [1.0, 1.0, 3.0]), ValueError, "covariates has 3 rows"),
    ],
)
def test_bad_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
