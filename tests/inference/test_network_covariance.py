"""Network covariances against dense double sums over all pairs, rules by hand, clusters against statsmodels."""

from __future__ import annotations

import math
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.sparse import csgraph

from causalkit.exceptions import AlignmentError, GraphError, InferenceUnavailableError, NetworkDependenceWarning
from causalkit.inference import (
    InferenceResult,
    degree_strata,
    influence_covariance,
    mean_path_length,
    network_covariance,
    network_skeleton,
    suggest_bandwidth,
)
from causalkit.inference.network_distance import ball_blocks, ball_sizes
from causalkit.inference.network_kernels import common_ball_sum
from causalkit.validation import Groups


def random_graph(n: int, degree: float, seed: int) -> Any:
    """Undirected links, isolates and several components among them."""
    upper = np.triu(np.random.default_rng(seed).random((n, n)) < degree / n, 1)
    return sparse.csr_array((upper | upper.T).astype(float))


def ring(n: int) -> Any:
    return sparse.csr_array(sparse.diags_array([1.0] * 4, offsets=[1, -1, n - 1, 1 - n], shape=(n, n)))


def distances(adjacency: Any) -> Any:
    return csgraph.shortest_path(adjacency, directed=False, unweighted=True)


def influence(n: int, q: int, seed: int) -> Any:
    values = np.random.default_rng(seed).normal(size=(n, q))
    return values - values.mean(axis=0)


GRAPHS = [(60, 3.0, 0), (60, 1.2, 1), (45, 6.0, 2), (30, 0.3, 3)]


# ---------------------------------------------------------------------- distances


@pytest.mark.parametrize(("n", "degree", "seed"), GRAPHS)
@pytest.mark.parametrize("max_entries", [1, 40, 10**6])
def test_balls_are_those_of_all_pairs_distances(n: int, degree: float, seed: int, max_entries: int) -> None:
    A = random_graph(n, degree, seed)
    D, skeleton = distances(A), network_skeleton(A)
    largest = int(D[np.isfinite(D)].max())
    for radius in range(largest + 3):
        found, reached = np.zeros((n, n), dtype=bool), 0
        for rows, block, distance in ball_blocks(skeleton, radius, max_entries=max_entries):
            found[rows] = block.toarray()
            reached = max(reached, distance)
        assert np.array_equal(found, radius >= D)
        assert reached == min(radius, largest)


@pytest.mark.parametrize(("n", "degree", "seed"), GRAPHS)
def test_ball_sizes_stop_at_the_cap(n: int, degree: float, seed: int) -> None:
    A = random_graph(n, degree, seed)
    D = distances(A)
    means = [(radius >= D).sum(axis=1).mean() for radius in range(9)]
    for cap in (1.5, 4.0, 12.0, math.inf):
        sizes = ball_sizes(network_skeleton(A), 8, cap=cap)
        below = next((r for r in range(1, 9) if means[r] > cap), 9)
        assert_allclose(sizes.means, means[:below], rtol=1e-12)
        assert sizes.exceeded == (below < 9)
    present = (np.arange(n) % 3 > 0).astype(float)
    rows = (D <= 2)[np.ix_(present > 0, present > 0)].sum(axis=1).mean()
    assert ball_sizes(network_skeleton(A), 2, present=present).means[2] == pytest.approx(rows, rel=1e-12)


def test_mean_path_length_of_every_node_is_exact() -> None:
    for n, degree, seed in GRAPHS:
        A = random_graph(n, degree, seed)
        labels = csgraph.connected_components(A)[1]
        giant = np.flatnonzero(labels == np.bincount(labels).argmax())
        D = distances(A)[np.ix_(giant, giant)]
        expected = D.sum() / (len(giant) * (len(giant) - 1))
        assert mean_path_length(network_skeleton(A)) == pytest.approx(expected, rel=1e-12)
    assert mean_path_length(network_skeleton(sparse.csr_array((5, 5)))) == 0.0


def test_long_paths_and_sampled_sources() -> None:
    """On a ring every source has the same mean distance, and 250 steps are beyond the shared levels."""
    for n in (90, 500, 501):
        expected = (n**2 // 4) / (n - 1)
        assert mean_path_length(network_skeleton(ring(n)), n_sources=70) == pytest.approx(expected, rel=1e-12)


def test_skeleton_drops_weights_directions_loops_and_zeros() -> None:
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((20, 20)) < 0.1, rng.normal(size=(20, 20)), 0.0)
    A = sparse.coo_array(dense)
    A = sparse.coo_array((np.append(A.data, [0.0, 2.0]), (np.append(A.row, [3, 5]), np.append(A.col, [9, 5]))), A.shape)
    linked = (dense != 0) | (dense.T != 0)
    np.fill_diagonal(linked, False)
    skeleton = network_skeleton(A)
    assert np.array_equal(skeleton.matrix.toarray(), linked)
    assert np.array_equal(skeleton.degree, linked.sum(axis=1))
    assert network_skeleton(skeleton) is skeleton


# ---------------------------------------------------------------------- kernels


@pytest.mark.parametrize(("n", "degree", "seed"), GRAPHS)
@pytest.mark.parametrize("q", [1, 3])
def test_uniform_kernel_is_the_double_sum(n: int, degree: float, seed: int, q: int) -> None:
    A, psi = random_graph(n, degree, seed), influence(n, q, seed)
    D = distances(A)
    largest = int(D[np.isfinite(D)].max())
    for b in range(largest + 2):
        B = b >= D
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NetworkDependenceWarning)  # one ball of everything leaves no variance
            found = network_covariance(psi, A, kernel="uniform", bandwidth=b)
        assert_allclose(found.cov, psi.T @ B @ psi / n**2, atol=1e-14)
        assert found.mean_ball == pytest.approx(B.sum() / n) or b == 0
        assert found.bandwidth == min(b, largest)
        assert ("beyond the largest distance" in found.dependence) == (b > largest)
        assert found.influence_values is None or b == 0


@pytest.mark.parametrize(("n", "degree", "seed"), GRAPHS)
@pytest.mark.parametrize("q", [1, 3])
def test_psd_and_wild_kernels_are_double_sums(n: int, degree: float, seed: int, q: int) -> None:
    A, psi = random_graph(n, degree, seed), influence(n, q, seed)
    D = distances(A)
    for b in range(1, 8):
        for kernel, radius in (("psd", max(1, math.ceil(b / 2))), ("wild", b)):
            N = (radius >= D).astype(float)
            size = N.sum(axis=1)
            W = N @ N.T / (np.sqrt(np.outer(size, size)) if kernel == "psd" else size.mean())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NetworkDependenceWarning)
                found = network_covariance(psi, A, kernel=kernel, bandwidth=b)
            assert_allclose(found.cov, psi.T @ W @ psi / n**2, atol=1e-14)
            assert_allclose(influence_covariance(found.influence_values), found.cov, atol=1e-15)
            assert found.method == kernel


def test_psd_kernel_is_never_negative() -> None:
    """For influence values on which the uniform kernel is negative, too."""
    negative = 0
    for seed in range(40):
        A = random_graph(40, 4.0, seed)
        for b in (1, 2, 3):
            B = (distances(A) <= b).astype(float)
            psi = np.linalg.eigh(B)[1][:, :2]  # eigenvectors of the most negative eigenvalues
            negative += bool((np.diag(psi.T @ B @ psi) < 0).any())
            for radius in (1, 2, 3):
                total = common_ball_sum(psi, network_skeleton(A), radius).total
                assert np.linalg.eigvalsh(total).min() >= -1e-13
            found = network_covariance(psi, A, bandwidth=b)
            assert found.method == "psd"
            assert found.radius <= max(1, math.ceil(b / 2))
            assert "negative eigenvalue" in found.dependence
    assert negative == 120


def test_uniform_kernel_stays_where_it_is_a_covariance() -> None:
    A = random_graph(60, 3.0, 5)
    psi = np.linalg.eigh((distances(A) <= 1).astype(float))[1][:, -2:]
    found = network_covariance(psi, A, bandwidth=1)
    assert found.method == "uniform"
    assert np.linalg.eigvalsh(found.cov).min() > 0


def test_empty_network_is_independence() -> None:
    psi = influence(50, 2, 0)
    for kernel in ("uniform", "psd", "wild", "auto"):
        found = network_covariance(psi, sparse.csr_array((50, 50)), kernel=kernel, bandwidth=3)
        assert_allclose(found.cov, psi.T @ psi / 50**2, atol=1e-16)
    assert network_covariance(psi, sparse.csr_array((50, 50))).bandwidth == 0


def test_rows_may_be_a_part_of_the_nodes_in_any_order() -> None:
    """Steps lead through nodes without a row; the sum runs over rows."""
    A, rng = random_graph(60, 3.0, 7), np.random.default_rng(7)
    D = distances(A)
    nodes = rng.permutation(60)[:41]
    psi = influence(41, 2, 7)
    found = network_covariance(psi, A, positions=nodes, kernel="uniform", bandwidth=2)
    assert_allclose(found.cov, psi.T @ (D <= 2)[np.ix_(nodes, nodes)] @ psi / 41**2, atol=1e-15)
    psd = network_covariance(psi, A, positions=nodes, kernel="psd", bandwidth=4)
    N = (D <= 2).astype(float)
    W = N @ N.T / np.sqrt(np.outer(N.sum(axis=1), N.sum(axis=1)))
    assert_allclose(psd.cov, psi.T @ W[np.ix_(nodes, nodes)] @ psi / 41**2, atol=1e-15)
    assert_allclose(influence_covariance(psd.influence_values), psd.cov, atol=1e-15)


def test_variance_of_a_moving_average_on_a_ring() -> None:
    """Values ε_i + ε_{i+1} have mean variance 4/n; b = 1 finds it and independent rows find half of it."""
    n = 400
    ratios = []
    for seed in range(60):
        noise = np.random.default_rng(seed).normal(size=n)
        psi = noise + np.roll(noise, 1)
        psi -= psi.mean()
        found = network_covariance(psi, ring(n), bandwidth=1).cov[0, 0]
        ratios.append((found * n / 4, network_covariance(psi, ring(n), dependence="iid").cov[0, 0] * n / 4))
    mean, error = np.mean(ratios, axis=0), np.std(ratios, axis=0) / math.sqrt(60)
    assert abs(mean[0] - 1) < 4 * error[0] + 0.02  # centring takes about 3/n
    assert abs(mean[1] - 0.5) < 4 * error[1] + 0.02


# ---------------------------------------------------------------------- bandwidth and cap


def test_bandwidth_rule_by_hand() -> None:
    n = 64
    lattice = suggest_bandwidth(ring(n))  # d̄ = 2, L = 1024/63; 2 log n / log 2 = 12 is below L
    assert lattice.path_length == pytest.approx(1024 / 63)
    assert lattice.unrounded == pytest.approx((1024 / 63) ** (1 / 3))
    assert lattice.bandwidth == int(lattice) == 3
    assert suggest_bandwidth(ring(n), exposure_radius=4).bandwidth == 8
    star = sparse.csr_array(([1.0] * 9, ([0] * 9, range(1, 10))), shape=(10, 10))
    rule = suggest_bandwidth(star)  # 18 ordered pairs at 1, 72 at 2: L = 1.8 < 2 log 10 / log 1.8
    assert rule.path_length == pytest.approx(1.8)
    assert rule.mean_degree == pytest.approx(1.8)
    assert rule.unrounded == pytest.approx(0.9)
    assert rule.bandwidth == 1
    complete = suggest_bandwidth(sparse.csr_array(np.ones((12, 12))))  # L = 1, halves are rounded up
    assert (complete.unrounded, complete.bandwidth) == (0.5, 1)
    pairs = sparse.block_diag([np.array([[0.0, 1.0], [1.0, 0.0]])] * 5)  # mean degree 1
    assert [suggest_bandwidth(pairs, exposure_radius=k).bandwidth for k in (0, 1, 2)] == [0, 2, 4]


def hub_graph(n: int = 400) -> Any:
    """A ring with three nodes that a third of it is linked to: balls of two steps hold that third."""
    A = ring(n).tolil()
    for hub, end in ((0, 130), (133, 263), (266, 396)):
        A[hub, hub + 2 : end] = 1
    return network_skeleton(A.tocsr())


def test_ball_cap_lowers_the_bandwidth_without_interference() -> None:
    skeleton, psi = hub_graph(), influence(400, 1, 0)
    D = distances(skeleton.matrix)
    balls = [(r >= D).sum(axis=1).mean() for r in range(4)]
    # Exact L/2 is 2.7, far from a border of rounding for L from a sample of 100 nodes.
    assert D.sum() / (400 * 399) / 2 == pytest.approx(2.74, abs=0.05)
    assert suggest_bandwidth(skeleton).bandwidth == 3
    assert balls[1] < 20 < balls[2]
    found = network_covariance(psi, skeleton)
    assert_allclose(found.cov, psi.T @ (D <= 1) @ psi / 400**2, atol=1e-15)
    assert "lowered from 3, whose mean ball exceeds 20" in found.dependence
    free = network_covariance(psi, skeleton, ball_cap=None, kernel="uniform")
    assert_allclose(free.cov, psi.T @ (D <= 3) @ psi / 400**2, atol=1e-15)
    asked = network_covariance(psi, skeleton, bandwidth=3, kernel="uniform")
    assert_allclose(asked.cov, free.cov, atol=1e-15)
    capped = network_covariance(psi, skeleton, bandwidth=3, ball_cap=20)
    assert capped.bandwidth == 1
    lowest = network_covariance(psi, skeleton, ball_cap=1)
    assert lowest.bandwidth == 1


def test_ball_cap_keeps_the_reach_of_exposures() -> None:
    skeleton, psi = hub_graph(), influence(400, 2, 0)
    with pytest.warns(NetworkDependenceWarning, match="psd kernel with radius 1"):
        found = network_covariance(psi, skeleton, exposure_radius=1)
    N = (distances(skeleton.matrix) <= 1).astype(float)
    W = N @ N.T / np.sqrt(np.outer(N.sum(axis=1), N.sum(axis=1)))
    assert_allclose(found.cov, psi.T @ W @ psi / 400**2, atol=1e-15)
    assert (found.method, found.radius, found.bandwidth) == ("psd", 1, 2)


def test_automatic_choice_on_a_ring_with_interference() -> None:
    psi = influence(600, 1, 1)
    found = network_covariance(psi, ring(600), exposure_radius=4)
    assert (found.method, found.bandwidth) == ("uniform", 8)
    assert_allclose(found.cov, psi.T @ (distances(ring(600)) <= 8) @ psi / 600**2, atol=1e-15)


def test_psd_fallback_reaches_about_as_far_as_the_bandwidth() -> None:
    """Radius ⌈b/2⌉, or the exposure radius where that is larger; with b itself the reach would double."""
    psi = influence(200, 1, 2)
    for b, reach, radius in ((1, 0, 1), (2, 0, 1), (3, 0, 2), (4, 0, 2), (5, 0, 3), (2, 2, 2)):
        found = network_covariance(psi, ring(200), kernel="psd", bandwidth=b, exposure_radius=reach)
        assert found.radius == radius


def test_a_ball_of_everything_leaves_nothing() -> None:
    psi = influence(30, 1, 0)
    with pytest.warns(NetworkDependenceWarning, match="leaves no positive variance"):
        found = network_covariance(psi, sparse.csr_array(np.ones((30, 30))))
    with pytest.raises(InferenceUnavailableError, match="share: no standard error along this network"):
        found.to_result([0.5], ["share"], n_obs=30)
    constant = network_covariance(np.zeros(30), ring(30), bandwidth=1)  # nothing varies: 0 is the answer
    assert constant.to_result([0.5], ["share"], n_obs=30).std_error[0] == 0


def test_a_ball_of_a_large_part_is_said_for_every_kernel() -> None:
    psi = influence(60, 1, 0)
    for kernel in ("uniform", "psd", "wild"):
        with pytest.warns(NetworkDependenceWarning, match="far too small"):
            network_covariance(psi, ring(60), kernel=kernel, bandwidth=20)


# ---------------------------------------------------------------------- clusters and strata


def test_clusters_are_those_of_statsmodels() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 23, 300)
    y = rng.normal(size=300) + rng.normal(size=23)[codes]
    fit = sm.OLS(y, np.ones(300)).fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
    found = network_covariance(y - y.mean(), groups=codes)
    assert found.std_error[0] == pytest.approx(fit.bse[0], rel=1e-12)
    assert found.df == 22
    result = found.to_result([y.mean()], ["mean"], n_obs=300)
    assert_allclose(result.conf_int().to_numpy(), fit.conf_int(), rtol=1e-10)
    groups = Groups(found.groups, np.arange(23))
    assert_allclose(influence_covariance(found.influence_values, groups=groups), found.cov, rtol=1e-12)


def blocks(count: int, size: int) -> Any:
    return sparse.csr_array(sparse.block_diag([np.ones((size, size))] * count))


def test_cluster_warnings_name_count_and_worst_cluster() -> None:
    psi = influence(120, 1, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = network_covariance(psi, blocks(12, 10), groups=np.repeat(np.arange(12), 10))
    assert_allclose(found.conductance, 0.0, atol=1e-15)
    assert "12 clusters (largest conductance 0)" in found.dependence
    with pytest.warns(NetworkDependenceWarning, match="only 6 clusters, fewer than 10"):
        network_covariance(psi, groups=np.repeat(np.arange(6), 20))
    halves = np.repeat(np.arange(12), 10)
    halves[5:10] = 12  # half of the first block: each half has 4 links inside and 5 outside per node
    with pytest.warns(NetworkDependenceWarning, match=r"2 clusters with conductance above 0\.1.*0\.56"):
        found = network_covariance(psi, blocks(12, 10), groups=halves)
    assert_allclose(found.conductance[:2], 5 / 9)


def test_links_to_nodes_without_a_row_leave_the_cluster() -> None:
    kept = np.r_[0:5, 10:120]
    with pytest.warns(NetworkDependenceWarning, match="1 clusters with conductance"):
        found = network_covariance(
            influence(115, 1, 0), blocks(12, 10), positions=kept, groups=np.repeat(np.arange(12), 10)[kept]
        )
    assert_allclose(found.conductance, np.append(5 / 9, np.zeros(11)), atol=1e-15)


def test_degree_strata_merge_up_to_thirty() -> None:
    degree = np.repeat([0, 1, 2, 3, 9, 40], [10, 25, 31, 29, 1, 3])
    # 0 and 1 make 35; 2 has 31; 3 and 9 make 30; the 3 that are left join them.
    assert np.array_equal(degree_strata(degree), np.repeat([0, 0, 1, 2, 2, 2], [10, 25, 31, 29, 1, 3]))
    assert np.array_equal(degree_strata([4, 1, 1, 2]), [0, 0, 0, 0])
    assert np.array_equal(degree_strata(np.repeat([7, 5], 30)), np.repeat([1, 0], 30))


def test_degree_form_centres_within_strata() -> None:
    A, psi = random_graph(120, 3.0, 3), influence(120, 2, 3)
    strata = degree_strata(A.sum(axis=1))
    assert strata.max() == 1
    centred = psi.copy()
    for stratum in range(2):
        centred[strata == stratum] -= psi[strata == stratum].mean(axis=0)
    found = network_covariance(psi, A, dependence="degree")
    assert_allclose(found.cov, centred.T @ centred / 120**2, atol=1e-16)
    assert found.method == "degree"
    near = network_covariance(psi, A, dependence="degree", exposure_radius=1, kernel="uniform", ball_cap=None)
    assert_allclose(near.cov, centred.T @ (distances(A) <= 2) @ centred / 120**2, atol=1e-15)
    assert near.dependence.startswith("centred within 2 degree strata; network, uniform kernel, bandwidth 2")


# ---------------------------------------------------------------------- results and failures


def test_result_carries_covariance_and_words() -> None:
    A, psi = random_graph(60, 3.0, 0), influence(60, 2, 0)
    found = network_covariance(psi, A, kernel="psd", bandwidth=2)
    result = found.to_result([1.0, 2.0], ["a", "b"], n_obs=60)
    assert isinstance(result, InferenceResult)
    assert_allclose(result.std_error, found.std_error)
    assert result.dependence == found.dependence
    total = result.contrast([[1.0, 1.0]])
    assert_allclose(total.cov, found.cov.sum())
    # Smoothed values keep sums of two results right as well.
    first, second = result.contrast([[1.0, 0.0]], ["a"]), result.contrast([[0.0, 1.0]], ["b"])
    assert_allclose((first + second).cov, total.cov, rtol=1e-12)
    uniform = network_covariance(psi, A, kernel="uniform", bandwidth=1).to_result([1.0, 2.0], ["a", "b"], n_obs=60)
    with pytest.raises(ValueError, match="without influence values"):
        uniform + uniform
    assert_allclose(pickle.loads(pickle.dumps(found)).cov, found.cov)


def test_numbering_of_nodes_does_not_matter() -> None:
    A, psi = random_graph(60, 3.0, 4), influence(60, 2, 4)
    order = np.random.default_rng(0).permutation(60)
    for options in ({"bandwidth": 2, "kernel": "uniform"}, {"bandwidth": 3, "kernel": "psd"}, {"dependence": "degree"}):
        first = network_covariance(psi, A, **options)
        second = network_covariance(psi[order], A[order][:, order], **options)
        assert_allclose(second.cov, first.cov, atol=1e-15)


PSI, PATH = np.array([1.0, -1.0, 0.5, -0.5]), sparse.csr_array(sparse.diags_array([1.0] * 3, offsets=1, shape=(4, 4)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: network_covariance(PSI), ValueError, "adjacency is missing"),
        (lambda: network_covariance(PSI, dependence="cluster"), ValueError, "groups is missing"),
        (lambda: network_covariance(PSI, groups=[1] * 4), ValueError, "groups has 1 cluster"),
        (lambda: network_covariance(PSI, PATH.toarray()), TypeError, "scipy sparse matrix, got ndarray"),
        (lambda: network_covariance(PSI, PATH[:3]), GraphError, r"expected shape \(n, n\), got \(3, 4\)"),
        (lambda: network_covariance(PSI, PATH * np.nan), GraphError, "3 entries that are NaN.*row 0, column 1"),
        (lambda: network_covariance(PSI[:3], PATH), AlignmentError, "3 rows, but adjacency has 4 nodes"),
        (lambda: network_covariance(PSI, PATH, positions=[0, 1, 2]), AlignmentError, r"expected shape \(4,\)"),
        (lambda: network_covariance(PSI, PATH, positions=[0, 1, 2, 9]), AlignmentError, r"0\.\.3: got 1 others"),
        (lambda: network_covariance(PSI, PATH, positions=[0, 1, 2, 2]), AlignmentError, "repeats 1 nodes"),
        (lambda: network_covariance(PSI, PATH, positions=[0.0, 1, 2, 3]), AlignmentError, "float64"),
        (lambda: network_covariance(PSI, PATH, bandwidth=-1), ValueError, "bandwidth must be an integer at least 0"),
        (lambda: network_covariance(PSI, PATH, bandwidth=1.5), ValueError, "bandwidth must be an integer"),
        (lambda: network_covariance(PSI, PATH, bandwidth="wide"), ValueError, "bandwidth must be an integer"),
        (lambda: network_covariance(PSI, PATH, kernel="flat"), ValueError, "kernel must be one of"),
        (lambda: network_covariance(PSI, PATH, dependence="none"), ValueError, "dependence must be one of"),
        (lambda: network_covariance(PSI, PATH, ball_cap=0.5), ValueError, "ball_cap must be"),
        (lambda: network_covariance(PSI, PATH, exposure_radius=-1), ValueError, "exposure_radius must be"),
        (lambda: network_covariance([1.0, np.nan, 0, 0], PATH), ValueError, "influence contains NaN"),
        (lambda: suggest_bandwidth(PATH, n_sources=0), ValueError, "n_sources must be an integer at least 1"),
    ],
)
def test_bad_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_bandwidth_that_cannot_be_computed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A star: balls of two steps hold all nodes, 4 million entries in all, where 1 million are allowed."""
    monkeypatch.setattr("causalkit.inference.network._MAX_ENTRIES", 1e6)
    star = sparse.csr_array((np.ones(1999), (np.zeros(1999, dtype=int), np.arange(1, 2000))), shape=(2000, 2000))
    with pytest.raises(ValueError, match=r"bandwidth 2 is too large.*1e\+06 entries.*radius 1 has 2.999 nodes"):
        network_covariance(np.zeros(2000), star, bandwidth=2)
