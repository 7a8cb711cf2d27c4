"""Designs on networks: documented draws, dense formulas, variances of the effect, e and m against Monte Carlo."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, stats
from scipy.special import expit

from causalkit.datasets import (
    make_graph_complex_baseline,
    make_graph_direct_effect,
    make_graph_heterogeneity,
    make_graph_paper,
    make_graph_random_gnn,
    make_graph_uptake,
)
from causalkit.datasets.graph_generators import (
    barabasi_albert,
    erdos_renyi,
    random_geometric,
    stochastic_blocks,
    watts_strogatz,
)

MAKERS = [
    lambda seed: make_graph_heterogeneity(40, random_state=seed),
    lambda seed: make_graph_random_gnn(40, graph="er", random_state=seed),
    lambda seed: make_graph_complex_baseline(40, graph="sbm", random_state=seed),
    lambda seed: make_graph_paper(40, random_state=seed),
    lambda seed: make_graph_direct_effect(40, n_redraws=3, random_state=seed),
    lambda seed: make_graph_uptake(40, random_state=seed),
]


def row_mean(dense: Any) -> Any:
    return dense / np.maximum(dense.sum(axis=1, keepdims=True), 1)


def scaled(values: Any) -> Any:
    return (values - values.mean(axis=0)) / values.std(axis=0)


def degrees(adjacency: Any) -> Any:
    return np.diff(adjacency.indptr)


def is_simple(adjacency: Any) -> bool:
    """Symmetric, ones, no loops."""
    return (
        abs(adjacency - adjacency.T).sum() == 0
        and not adjacency.diagonal().any()
        and bool((adjacency.data == 1).all())
        and adjacency.has_canonical_format
    )


# ---------------------------------------------------------------------- graphs


@pytest.mark.parametrize("n", [6, 9, 50, 400])
def test_preferential_attachment_links_every_new_node_to_four_older_ones(n: int) -> None:
    for seed in range(5):
        A = barabasi_albert(n, 4, np.random.default_rng(seed))
        assert is_simple(A)
        assert A.nnz == 2 * 4 * (n - 4)
        older = np.tril(A.toarray()).sum(axis=1)
        assert_array_equal(older[5:], 4)
        assert_array_equal(older[:5], [0, 1, 1, 1, 1])


def test_preferential_attachment_has_the_law_of_one_by_one_growth() -> None:
    """Against a loop that adds nodes singly: degrees of the first nodes and the mean square of all."""

    def grow(n: int, m: int, rng: Any) -> Any:
        ends = [0, 1, 0, 2]
        for node in range(m + 1, n):
            found: set[int] = set()
            while len(found) < m:
                found.add(ends[rng.integers(len(ends))])
            ends += [end for other in found for end in (node, other)]
        return np.bincount(ends, minlength=n)

    rng = np.random.default_rng(0)
    fast = np.array([degrees(barabasi_albert(12, 2, rng)) for _ in range(3000)])
    slow = np.array([grow(12, 2, rng) for _ in range(3000)])
    for statistic in (lambda d: d[:, 0], lambda d: d[:, 1], lambda d: d[:, 5], lambda d: (d**2).mean(axis=1)):
        a, b = statistic(fast), statistic(slow)
        assert abs(a.mean() - b.mean()) < 4 * math.sqrt((a.var() + b.var()) / 3000)


def test_degrees_of_independent_links_and_blocks() -> None:
    rng = np.random.default_rng(1)
    A = erdos_renyi(2000, 0.005, rng)
    assert is_simple(A)
    pairs = 2000 * 1999 / 2
    assert abs(A.nnz / 2 - 0.005 * pairs) < 4 * math.sqrt(pairs * 0.005 * 0.995)
    law = stats.binom(1999, 0.005)
    counts = np.bincount(degrees(A), minlength=40)[3:20]
    assert stats.chisquare(counts, law.pmf(np.arange(3, 20)) * counts.sum() / law.pmf(np.arange(3, 20)).sum())[1] > 1e-3
    B = stochastic_blocks([700, 500], 0.02, 0.004, rng)
    assert is_simple(B)
    for rows, columns, count, p in (
        (slice(0, 700), slice(0, 700), 700 * 699 / 2, 0.02),
        (slice(700, 1200), slice(700, 1200), 500 * 499 / 2, 0.02),
        (slice(0, 700), slice(700, 1200), 700 * 500, 0.004),
    ):
        links = B[rows][:, columns].sum() / (2 if rows == columns else 1)
        assert abs(links - count * p) < 4 * math.sqrt(count * p * (1 - p))
    assert erdos_renyi(30, 1.0, rng).nnz == 30 * 29
    assert erdos_renyi(30, 0.0, rng).nnz == 0


def test_every_pair_is_equally_likely() -> None:
    rng = np.random.default_rng(2)
    for p in (0.1, 0.7):
        total = sum(erdos_renyi(8, p, rng).toarray() for _ in range(3000))
        found = total[np.triu_indices(8, 1)]
        assert np.abs(found - 3000 * p).max() < 4.2 * math.sqrt(3000 * p * (1 - p))


def test_small_world() -> None:
    rng = np.random.default_rng(3)
    ring = watts_strogatz(50, 2, 0.0, rng).toarray()
    steps = np.abs(np.subtract.outer(np.arange(50), np.arange(50)))
    assert_array_equal(ring > 0, np.isin(np.minimum(steps, 50 - steps), [1, 2]))
    A = watts_strogatz(3000, 2, 0.05, rng)
    assert is_simple(A)
    assert A.nnz == 2 * 6000
    i, j = sparse.triu(A).coords
    away = ~np.isin(np.minimum(j - i, 3000 - (j - i)), [1, 2])
    assert abs(away.sum() - 300) < 4 * math.sqrt(6000 * 0.05 * 0.95) + 2
    full = watts_strogatz(8, 2, 1.0, rng)
    assert is_simple(full)
    assert full.nnz == 32


def test_geometric_graph_links_close_points() -> None:
    A, points = random_geometric(600, 6.0, np.random.default_rng(4))
    distance = np.sqrt(((points[:, None] - points) ** 2).sum(axis=2))
    np.fill_diagonal(distance, np.inf)
    linked = A.toarray() > 0
    assert distance[linked].max() < distance[~linked].min()
    means = [degrees(random_geometric(600, 6.0, np.random.default_rng(s))[0]).mean() for s in range(100)]
    assert abs(np.mean(means) - 6) < 4 * np.std(means) / 10


# ---------------------------------------------------------------------- draws and formulas


def test_heterogeneity_repeats_the_documented_draws() -> None:
    sample = make_graph_heterogeneity(60, random_state=4)
    rng = np.random.default_rng(4)
    A = barabasi_albert(60, 4, rng).toarray()
    X = rng.normal(size=(60, 10))
    Z = scaled(row_mean(A) @ X)
    e, tau = expit(0.5 * X[:, 0] - 0.7 * Z[:, 1]), 2 + 1.5 * np.sin(Z[:, 0])
    T = rng.random(60) < e
    assert_array_equal(sample.adjacency.toarray(), A)
    assert_array_equal(sample.X, X)
    assert_array_equal(sample.treatment, T)
    assert_allclose(sample.propensity, e, rtol=1e-12)
    assert_allclose(sample.effect, tau, rtol=1e-12)
    assert_allclose(sample.outcome_mean, Z[:, 0] + 0.5 * X[:, 1] + e * tau, rtol=1e-10)
    assert_allclose(sample.y, Z[:, 0] + 0.5 * X[:, 1] + T * tau + 0.5 * rng.normal(size=60), rtol=1e-10)


def convolved(A: Any, X: Any, rng: Any) -> Any:
    closed = A + np.eye(len(A))
    root = np.sqrt(closed.sum(axis=1))
    S = closed / np.outer(root, root)
    limit = math.sqrt(6 / 20)
    first, second = rng.uniform(-limit, limit, (10, 10)), rng.uniform(-limit, limit, (10, 10))
    return S @ np.maximum(S @ X @ first, 0) @ second


def test_random_gnn_repeats_the_documented_draws() -> None:
    sample = make_graph_random_gnn(60, graph="er", random_state=5)
    rng = np.random.default_rng(5)
    A, X = erdos_renyi(60, 10 / 59, rng).toarray(), rng.normal(size=(60, 10))
    Z = scaled(convolved(A, X, rng))
    assert_allclose(sample.effect, 2 + 1.5 * np.sin(Z[:, 0]), rtol=1e-10)
    assert_allclose(sample.propensity, expit(0.5 * X[:, 0] - 0.7 * Z[:, 1]), rtol=1e-10)
    assert_array_equal(sample.treatment, rng.random(60) < sample.propensity)


def test_complex_baseline_repeats_the_documented_draws() -> None:
    sample = make_graph_complex_baseline(60, graph="sbm", random_state=6)
    rng = np.random.default_rng(6)
    A, X = stochastic_blocks([30, 30], 16 / 60, 4 / 60, rng).toarray(), rng.normal(size=(60, 10))
    Z = scaled(row_mean(A) @ X)
    T = rng.random(60) < expit(0.5 * X[:, 0] - 0.7 * Z[:, 1])
    base = 2 * np.sin(2 * Z[:, 0]) + X[:, 0] * Z[:, 1] + np.maximum(X[:, 1], 0)
    assert_allclose(sample.effect, 1 + 0.5 * Z[:, 2], rtol=1e-10)
    assert_allclose(sample.y, base + T * (1 + 0.5 * Z[:, 2]) + 0.5 * rng.normal(size=60), rtol=1e-9)
    assert_allclose(sample.outcome_mean, base + sample.propensity * sample.effect, rtol=1e-9)


@pytest.mark.parametrize("effect", ["simple_h", "interaction", "local_x"])
def test_paper_repeats_the_documented_draws(effect: str) -> None:
    sample = make_graph_paper(60, effect=effect, random_state=7)
    rng = np.random.default_rng(7)
    A, X = barabasi_albert(60, 4, rng).toarray(), rng.normal(size=(60, 10))
    H = np.maximum(convolved(A, X, rng), 0)
    tau = {"simple_h": 2 + 1.5 * np.sin(H[:, 0]), "interaction": 2 + H[:, 0] * X[:, 1]}.get(
        effect, 2 + 1.5 * np.sin(X[:, 0])
    )
    index = 0.5 * X[:, 0] - 0.7 * H[:, 1]
    T = index + 0.3 * rng.normal(size=60) > 0
    assert_array_equal(sample.treatment, T)
    assert_allclose(sample.effect, tau, rtol=1e-10)
    assert_allclose(sample.propensity, stats.norm.cdf(index / 0.3), rtol=1e-9)
    assert_allclose(sample.y, H[:, 0] + 0.5 * X[:, 1] + T * tau + 0.5 * rng.normal(size=60), rtol=1e-9)
    assert sample.population["effect_variance"] == pytest.approx(tau.var(), rel=1e-10)


def test_uptake_repeats_the_documented_draws() -> None:
    for varying in (False, True):
        sample = make_graph_uptake(80, heterogeneous=varying, random_state=8)
        rng = np.random.default_rng(8)
        A = random_geometric(80, 6.0, rng)[0].toarray()
        age = rng.uniform(18, 85, 80)
        a, chronic = age - 50, rng.random(80)
        chronic = (chronic < expit(-2 + 0.05 * a)).astype(float)
        z = rng.normal(size=80)
        h = scaled(z + row_mean(A) @ z)
        near = row_mean(A) @ h
        e = expit(-0.2 + 0.9 * h + 0.02 * a + 0.6 * chronic + near)
        T = (rng.random(80) < e).astype(float)
        direct = -2 - near - 0.03 * a if varying else np.full(80, -2.0)
        base = 7 + 0.05 * a + 0.001 * a**2 + 2.5 * chronic - 0.8 * h - 1.5 * near
        assert_allclose(sample.X, np.column_stack([age, chronic, h]), rtol=1e-10)
        assert_allclose(sample.propensity, e, rtol=1e-10)
        assert_allclose(sample.effect, direct, rtol=1e-10)
        assert_allclose(sample.exposure, A @ T)
        assert_allclose(sample.y, base + direct * T - 0.5 * A @ T + 1.5 * rng.normal(size=80), rtol=1e-9)
        assert_allclose(sample.outcome_mean, base + direct * e - 0.5 * A @ e, rtol=1e-9)


def test_direct_effect_repeats_its_table() -> None:
    sample = make_graph_direct_effect(300, graph="er", n_redraws=2, random_state=9)
    rng = np.random.default_rng(9)
    A = erdos_renyi(300, 3 / 300, rng).toarray()
    C, u = rng.random(300), rng.random(300)
    e = np.array([0.15 if c < 0.33 else 0.5 if c < 0.66 else 0.85 for c in C])
    W = u < e
    noise = (rng.random(300) - 0.5) * math.sqrt(12) * 0.1
    x = row_mean(A) @ ((2 * W - 1) * C)
    one = np.array([(4 if v >= 0.7 else 1.5) if v >= 0.5 else 3.5 for v in x])  # C is never below -.2
    zero = np.array(
        [(0.5 if c >= 0.2 else -0.75) if v >= 0.4 else (0.25 if c >= 0.2 else -0.5) for v, c in zip(x, C, strict=True)]
    )
    assert_array_equal(sample.treatment, W)
    assert_allclose(sample.exposure, x, atol=1e-14)
    assert_allclose(sample.effect, one - zero)
    assert_allclose(sample.y, np.where(W, one, zero) + noise, rtol=1e-12)
    assert_allclose(sample.outcome_mean, e * one + (1 - e) * zero, rtol=1e-12)
    assert_allclose(sample.propensity, e)


# ---------------------------------------------------------------------- moments


@pytest.mark.parametrize("graph", ["ba", "er", "sbm"])
def test_variance_of_the_effect(graph: str) -> None:
    """2.25 E[(1 - exp(-2s))/2] for averages of d normals with variance s = (1/d)/E[1/d]; .973 for equal degrees."""
    samples = [make_graph_heterogeneity(1000, graph=graph, random_state=seed) for seed in range(30)]
    expected = []
    for sample in samples:
        d = degrees(sample.adjacency)
        share = np.divide(1.0, d, out=np.zeros(1000), where=d > 0)
        expected.append(2.25 * np.mean(1 - np.exp(-2 * share / share.mean())) / 2)
    found = np.array([sample.effect.var() for sample in samples])
    assert samples[0].population["effect_variance"] == pytest.approx(0.9727, abs=1e-4)
    assert samples[0].population["linear_floor"] == pytest.approx(0.145, abs=5e-4)
    assert found.mean() == pytest.approx(np.mean(expected), abs=4 * found.std() / math.sqrt(30))
    if graph == "ba":
        assert found.mean() == pytest.approx(0.92, abs=0.02)
    assert np.mean([sample.effect.mean() for sample in samples]) == pytest.approx(2, abs=0.02)


def test_variance_is_that_of_normal_averages_where_degrees_are_equal() -> None:
    n = 20_000
    ring = sparse.csr_array(sparse.diags_array([1.0] * 4, offsets=[1, -1, n - 1, 1 - n], shape=(n, n)))
    sample = make_graph_heterogeneity(graph=ring, random_state=0)
    assert len(sample.y) == n
    assert sample.effect.var() == pytest.approx(0.9727, abs=0.03)
    line = np.polyfit(
        scaled(0.5 * (np.roll(sample.X, 1, axis=0) + np.roll(sample.X, -1, axis=0)))[:, 0], sample.effect, 1
    )
    assert line[0] == pytest.approx(1.5 * math.exp(-0.5), abs=0.02)  # E[Z sin Z] = e^(-1/2)


def test_variance_of_the_published_effect_is_next_to_nothing() -> None:
    found = {
        graph: np.array([make_graph_paper(1000, graph=graph, random_state=seed).effect.var() for seed in range(60)])
        for graph in ("ba", "sbm", "er")
    }
    # Published-recipe means .0074, .0004, .0003; the law over random weights is heavy-tailed.
    assert 0.002 < found["ba"].mean() < 0.03
    assert found["sbm"].mean() < 0.0008
    assert found["er"].mean() < 0.0008
    assert (found["er"] == 0).any()  # the rectifier is off everywhere in some draws
    local = [make_graph_paper(1000, effect="local_x", random_state=seed).effect.var() for seed in range(20)]
    assert np.mean(local) == pytest.approx(0.9727, abs=0.03)


@pytest.mark.parametrize("maker", [make_graph_heterogeneity, make_graph_random_gnn, make_graph_complex_baseline])
def test_treatment_and_outcome_have_the_stated_means(maker: Any) -> None:
    """Over samples: T - e and y - m are centred, also along covariates and neighbours' covariates."""
    for graph in ("ba", "er", "sbm"):
        sample = maker(20_000, graph=graph, random_state=0)
        near = sample.adjacency @ sample.X[:, 0]
        for residual in (sample.treatment - sample.propensity, sample.y - sample.outcome_mean):
            for column in (np.ones(20_000), sample.X[:, 0], sample.X[:, 1], near, sample.effect):
                moment = residual * column
                assert abs(moment.mean()) < 4.5 * moment.std() / math.sqrt(20_000)


def test_spillover_designs_have_the_stated_means() -> None:
    sample = make_graph_uptake(20_000, random_state=0)
    residual = sample.treatment - sample.propensity
    for column in (np.ones(20_000), sample.X[:, 2], sample.adjacency @ sample.X[:, 2]):
        assert abs((residual * column).mean()) < 4.5 * (residual * column).std() / math.sqrt(20_000)
    # Outcomes share neighbours' treatments: least squares on the true parts returns the coefficients.
    age, near = sample.X[:, 0] - 50, row_mean_sparse(sample.adjacency, sample.X[:, 2])
    parts = [np.ones(20_000), age, age**2, sample.X[:, 1], sample.X[:, 2], near, sample.treatment, sample.exposure]
    design = np.column_stack(parts)
    coef = np.linalg.lstsq(design, sample.y, rcond=None)[0]
    error = 1.5 * np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    assert (np.abs(coef - [7, 0.05, 0.001, 2.5, -0.8, -1.5, -2, -0.5]) < 4 * error).all()
    assert degrees(sample.adjacency).mean() == pytest.approx(6, abs=0.1)


def row_mean_sparse(adjacency: Any, values: Any) -> Any:
    return (adjacency @ values) / np.maximum(degrees(adjacency), 1)


@pytest.mark.parametrize("graph", ["ws", "er"])
def test_target_of_the_direct_effect_is_the_mean_over_redraws(graph: str) -> None:
    """Exact enough on its own: redraws of the covariates on the same graph, with the table written out."""
    sample = make_graph_direct_effect(400, graph=graph, random_state=1)
    rng, A = np.random.default_rng(99), row_mean(sample.adjacency.toarray())
    values = []
    for _ in range(400):
        C = rng.random(400)
        W = rng.random(400) < np.where(C < 0.33, 0.15, np.where(C < 0.66, 0.5, 0.85))
        x = A @ ((2 * W - 1) * C)
        one = np.where(x < 0.5, 3.5, np.where(x < 0.7, 1.5, 4.0))
        zero = np.where(x >= 0.4, np.where(C >= 0.2, 0.5, -0.75), np.where(C >= 0.2, 0.25, -0.5))
        values.append((one - zero).mean())
    error = math.hypot(np.std(values) / 20, sample.population["average_effect_error"])
    assert abs(np.mean(values) - sample.population["average_effect"]) < 4 * error
    assert degrees(sample.adjacency).mean() == pytest.approx(4 if graph == "ws" else 3, abs=0.4)


# ---------------------------------------------------------------------- the record


@pytest.mark.parametrize("maker", MAKERS)
def test_samples_are_seeded_frozen_and_picklable(maker: Any) -> None:
    first, second, third = maker(3), maker(3), maker(4)
    assert_array_equal(first.y, second.y)
    assert not np.array_equal(first.y, third.y)
    assert is_simple(first.adjacency)
    n = first.adjacency.shape[0]
    for name in ("y", "treatment", "effect", "outcome_mean", "propensity"):
        assert getattr(first, name).shape == (n,)
    assert first.X.shape == (n, len(first.feature_names))
    assert set(first.treatment) <= {0, 1}
    with pytest.raises(AttributeError):
        first.y = second.y
    with pytest.raises(TypeError):
        first.population["effect_variance"] = 0.0
    back = pickle.loads(pickle.dumps(first))
    assert dict(back.population) == dict(first.population)
    assert repr(first).startswith(f"GraphSample(n={n}")


def test_graph_and_covariates_of_the_user() -> None:
    rng = np.random.default_rng(0)
    A = sparse.csr_array(np.triu(rng.random((30, 30)) < 0.2, 1) * 2.5)  # directed and weighted: the skeleton is used
    X = rng.normal(size=(30, 4))
    sample = make_graph_heterogeneity(graph=A, X=X, random_state=0)
    dense = (A.toarray() + A.toarray().T > 0).astype(float)
    assert_array_equal(sample.adjacency.toarray(), dense)
    assert_allclose(sample.effect, 2 + 1.5 * np.sin(scaled(row_mean(dense) @ X)[:, 0]), rtol=1e-10)
    assert make_graph_random_gnn(graph=A, X=X, random_state=0).X.shape == (30, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_graph_heterogeneity(5), "n_samples must be an integer at least 6"),
        (lambda: make_graph_heterogeneity(20, graph="ring"), "graph must be one of 'ba', 'er', 'sbm'"),
        (lambda: make_graph_heterogeneity(20, X=np.ones((9, 4))), "X has 9 rows, but graph has 20"),
        (lambda: make_graph_heterogeneity(20, X=np.ones((20, 2))), "X has 2 columns"),
        (lambda: make_graph_heterogeneity(20, random_state=-1), "random_state must be"),
        (lambda: make_graph_paper(20, effect="none"), "effect must be one of"),
        (lambda: make_graph_direct_effect(20, graph="ba"), "graph must be one of 'ws', 'er'"),
        (lambda: make_graph_direct_effect(20, n_redraws=1), "n_redraws must be an integer at least 2"),
        (lambda: make_graph_uptake(11), "n_samples must be an integer at least 12"),
        (lambda: make_graph_uptake(20, heterogeneous="yes"), "heterogeneous must be one of"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
