"""Small networks by other means than the package: dense matrices and textbook generators."""

from __future__ import annotations

import numpy as np


def dense_adjacency(edges, n, weights=None, directed=False):
    """A with receivers in the rows, from a loop over the edges."""
    A = np.zeros((n, n))
    for k, (u, v) in enumerate(edges):
        if u == v:
            continue
        w = 1.0 if weights is None else weights[k]
        if weights is None:
            A[v, u] = 1.0
        else:
            A[v, u] += w
    return A if directed else np.maximum(A, A.T)


def mean_matrix(A):
    total = A.sum(axis=1, keepdims=True)
    return np.divide(A, total, out=np.zeros_like(A), where=total > 0)


def sym_matrix(A):
    whole = A + np.eye(len(A))
    root = 1 / np.sqrt(whole.sum(axis=1))
    return root[:, None] * whole * root[None, :]


def erdos_renyi(n, mean_degree, rng):
    """Each pair with probability mean_degree / (n - 1)."""
    u, v = np.triu_indices(n, 1)
    kept = rng.random(len(u)) < mean_degree / (n - 1)
    return np.column_stack([u[kept], v[kept]])


def barabasi_albert(n, m, rng):
    """Each new node links to m different nodes drawn with probability proportional to degree."""
    ends, edges = list(range(m)), []
    for new in range(m, n):
        chosen = set()
        while len(chosen) < m:
            chosen.add(ends[rng.integers(len(ends))])
        edges += [(new, old) for old in chosen]
        ends += [*chosen, *([new] * m)]
    return np.array(edges)


def random_edges(n, m, rng):
    """Edges with repeats, self-loops and isolates."""
    return rng.integers(0, n, size=(m, 2))


def all_distances(A):
    """Steps between all pairs by powers of the undirected pattern; infinity where there is no path."""
    n = len(A)
    step = ((A + A.T) > 0).astype(int)
    reach, distance = np.eye(n, dtype=bool), np.full((n, n), np.inf)
    distance[reach] = 0
    for d in range(1, n):
        reach = reach | (reach.astype(int) @ step > 0)
        distance[reach & np.isinf(distance)] = d
    return distance
