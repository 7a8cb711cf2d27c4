"""Section H: closed forms, brute force, and values of other packages; largest gaps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from benchmarks.measuring import gap, quiet
from benchmarks.rows import Row, at_least, at_most
from benchmarks.simulation import Tier
from benchmarks.validation.graph.identities_learner import learner_rows

__all__ = ["rows"]

Array = NDArray[np.float64]

_ALGEBRA = 1e-10


def random_graph(n: int, degree: float, seed: int) -> Any:
    """Independent links, symmetric, and more than one component as a rule."""
    rng = np.random.default_rng([61_000, n, seed])
    upper = np.triu(rng.random((n, n)) < degree / n, 1)
    return sparse.csr_array((upper | upper.T).astype(float))


def distances(adjacency: Any) -> Array:
    """Number of steps between all pairs, infinite between components."""
    return np.asarray(csgraph.shortest_path(adjacency.astype(float), unweighted=True, directed=False))


def rows(tier: Tier) -> Iterator[Row]:
    """H1-H3 covariances, H4 exposures, H5, H6 losses and curves, H7 hops, H8, H9 the learner."""
    with quiet():
        yield from _covariance_rows()
        yield from _exposure_rows()
        yield from _loss_rows()
        yield from _hop_rows()
        yield from learner_rows()


def _covariance_rows() -> Iterator[Row]:
    from causalkit.inference import network_covariance

    uniform, common, smallest = 0.0, 0.0, np.inf
    for seed in range(12):
        adjacency = random_graph(20 + 3 * seed, 2.5, seed)
        n = adjacency.shape[0]
        psi = np.random.default_rng(seed).standard_normal((n, 2))
        psi -= psi.mean(axis=0)
        steps = distances(adjacency)
        for b in range(int(steps[np.isfinite(steps)].max()) + 1):
            dense = psi.T @ (steps <= b).astype(float) @ psi / n**2
            found = network_covariance(psi, adjacency, dependence="network", kernel="uniform", bandwidth=b)
            uniform = max(uniform, gap(found.cov, dense))
            if b % 2 or b == 0:
                continue
            ball = (steps <= b // 2).astype(float)
            size = np.sqrt(ball.sum(axis=1))
            dense = psi.T @ (ball @ ball.T / np.outer(size, size)) @ psi / n**2
            found = network_covariance(psi, adjacency, dependence="network", kernel="psd", bandwidth=b)
            common = max(common, gap(found.cov, dense))
            smallest = min(smallest, float(np.linalg.eigvalsh(found.cov)[0]))
    words = "12 graphs of 20 to 53 nodes, every bandwidth"
    yield at_most("H1.1", f"uniform kernel against dense double sums, {words}", uniform, _ALGEBRA)
    yield at_most("H1.2", "kernel of common neighbours against dense double sums, the same graphs", common, _ALGEBRA)
    yield at_least("H1.3", "its smallest eigenvalue on the same graphs", smallest, -1e-15)
    yield from _cluster_rows()


def _cluster_rows() -> Iterator[Row]:
    import statsmodels.api as sm

    from causalkit.inference import conductance, network_covariance

    rng = np.random.default_rng(61_001)
    psi, groups = rng.standard_normal(400), rng.integers(0, 25, 400)
    psi -= psi.mean()
    plain = sm.OLS(psi, np.ones(400)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    found = network_covariance(psi, groups=groups)
    yield at_most("H2.1", "clustered variance against statsmodels", gap(found.cov, plain.cov_params()), 1e-14)
    adjacency = random_graph(60, 4, 99)
    codes = rng.integers(0, 4, 60)
    _, first = np.unique(codes, return_index=True)
    order = codes[np.sort(first)]
    dense = adjacency.toarray()
    direct = [dense[codes == c][:, codes != c].sum() / dense[codes == c].sum() for c in order]
    yield at_most("H2.2", "conductance against dense sums", gap(conductance(adjacency, codes), direct), 1e-14)


def _assignments(e: Array) -> tuple[Array, Array]:
    """All treatment vectors and their probabilities."""
    vectors = np.array(list(product((0.0, 1.0), repeat=len(e))))
    return vectors, np.where(vectors == 1, e, 1 - e).prod(axis=1)


def _exposure_rows() -> Iterator[Row]:
    from causalkit.graph.exposure import neighbour_count_probability
    from causalkit.graph.spillover_moments import residual_columns, residual_variance

    chance, moment = 0.0, 0.0
    for seed in range(6):
        adjacency = random_graph(9, 3.5, seed)
        e = np.random.default_rng([61_002, seed]).uniform(0.1, 0.9, 9)
        vectors, weight = _assignments(e)
        counts = vectors @ adjacency.toarray().T
        for least in (1, 2, 3):
            exact = weight @ (counts >= least)
            chance = max(chance, gap(neighbour_count_probability(adjacency, e, least), exact))
        degree = np.maximum(np.diff(adjacency.indptr), 1)
        share = adjacency.toarray() / degree[:, None]
        mean, v = share @ e, e * (1 - e)
        covariance = (share**2 @ v)[:, None, None]
        V = residual_variance(e, mean[:, None], covariance, interaction=True)
        exact = np.zeros_like(V)
        for T, w in zip(vectors, weight, strict=True):
            R = residual_columns(T, e, (share @ T)[:, None], mean[:, None], interaction=True)
            exact += w * R[:, :, None] * R[:, None, :]
        moment = max(moment, gap(V, exact))
    words = "all 512 treatment vectors of 9 nodes, 6 graphs"
    yield at_most("H4.1", f"chance of at least 1, 2, 3 treated neighbours against {words}", chance, 1e-12)
    yield at_most("H4.2", f"covariance of the three residuals against {words}", moment, 1e-12)


def _loss_rows() -> Iterator[Row]:
    from causalkit.selection import r_loss, toc

    rng = np.random.default_rng(61_003)
    n = 500
    e, truth, other = rng.uniform(0.05, 0.95, n), rng.standard_normal(n), rng.standard_normal(n)
    # Every node stands once in each arm, weighted by its probability: the mean is an expectation over treatments.
    left = np.concatenate([1 - e, -e])
    weight = np.concatenate([e, 1 - e])
    outcome = left * np.tile(truth, 2)
    losses = [_loss(r_loss(np.tile(tau, 2), outcome, left, sample_weight=weight)) for tau in (other, truth)]
    excess = float(np.mean(e * (1 - e) * (other - truth) ** 2))
    # Weights have mean one over 2n rows.
    yield at_most("H5.1", "excess R-loss against E[e(1 - e)(τ - τ*)²]", gap(losses[0] - losses[1], excess), 1e-12)
    constant = float(np.sum(e * (1 - e) * truth) / np.sum(e * (1 - e)))
    grid = constant + np.linspace(-0.5, 0.5, 1001)
    best = grid[np.argmin([_loss(r_loss(np.full(2 * n, c), outcome, left, sample_weight=weight)) for c in grid])]
    yield at_most("H5.2", "best constant of the R-loss against the overlap-weighted effect", gap(best, constant), 5e-4)
    score = (np.arange(20_000) + 0.5) / 20_000
    curve = toc(score, score, n_bootstrap=2, random_state=0)
    yield at_most("H6.1", "uniform scores ranked by themselves: AUTOC against 1/4", gap(curve.autoc, 0.25), 1e-3)
    yield at_most("H6.2", "uniform scores ranked by themselves: QINI against 1/12", gap(curve.qini, 1 / 12), 1e-3)
    expected = (1 - curve.share) / 2
    yield at_most(
        "H6.3", "uniform scores ranked by themselves: TOC(q) against (1 - q)/2", gap(curve.toc, expected), 1e-3
    )


def _loss(found: Any) -> float:
    return float(getattr(found, "loss", found))


def _hop_rows() -> Iterator[Row]:
    from causalkit.graph import Graph, HopFeatures

    adjacency = random_graph(60, 4, 7)
    X = np.random.default_rng(61_004).standard_normal((60, 3))
    X -= X.mean(axis=0)
    found = HopFeatures(standardize=False).fit_transform(X, graph=Graph.from_scipy(adjacency))
    dense = adjacency.toarray()
    degree = dense.sum(axis=1)
    mean = dense / np.maximum(degree, 1)[:, None]
    root = 1 / np.sqrt(degree + 1)
    smooth = root[:, None] * (dense + np.eye(60)) * root
    blocks = [X, smooth @ X, mean @ X, smooth @ smooth @ X, mean @ mean @ X, np.log1p(degree)[:, None]]
    yield at_most(
        "H7", "hop columns against powers of dense matrices (single precision)", gap(found, np.hstack(blocks)), 5e-6
    )
