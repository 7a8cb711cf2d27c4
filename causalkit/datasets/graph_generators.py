"""Random graphs as sparse adjacency matrices: preferential attachment, blocks, small worlds, points in a square."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["barabasi_albert", "erdos_renyi", "random_geometric", "stochastic_blocks", "watts_strogatz"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


def _adjacency(i: Ints, j: Ints, n: int) -> Any:
    """Symmetric matrix of distinct links."""
    ones = np.ones(2 * len(i))
    return sparse.csr_array((ones, (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(n, n))


def barabasi_albert(n: int, m: int, rng: np.random.Generator) -> Any:
    """Preferential attachment: each new node draws older ones in proportion to degree until m of them are distinct.

    It starts from a star of m + 1 nodes, so there are m(n - m) links. A node drawn in proportion to degree is an end
    of a link drawn at random; the far end of an earlier node's link is itself a draw, and such references are
    followed for all links at once, by repeated substitution. Every node has its own sequence of draws. What it takes
    from it is worked out from the current state of the older nodes until nothing changes, which is the graph that
    adding the nodes one by one would have given.

    Parameters
    ----------
    n, m : int
        Nodes and links per new node, n > m.
    rng : Generator
        Draws one uniform per link, and longer sequences for nodes whose first draws repeat one another.

    Returns
    -------
    csr_array, shape (n, n)
    """
    new = np.arange(m + 1, n, dtype=np.int64)
    own = np.concatenate([np.zeros(m, dtype=np.int64), np.repeat(new, m)])  # the star's centre, then new nodes
    older = 2 * m * (new - m)  # ends of links before a new node; ends 2k and 2k + 1 belong to link k
    first = np.floor(rng.random((len(new), m)) * older[:, None]).astype(np.int64)
    chosen, rows, draws = first.copy(), np.zeros(0, dtype=np.int64), np.zeros((0, 3 * m), dtype=np.int64)
    while True:
        target = np.concatenate([np.arange(1, m + 1), _resolved(chosen.ravel(), own, m)])
        repeated = np.flatnonzero(_repeats((own * n + target)[m:])) // m
        unknown = np.setdiff1d(repeated, rows)
        rest = np.floor(rng.random((len(unknown), draws.shape[1] - m)) * older[unknown, None]).astype(np.int64)
        rows = np.concatenate([rows, unknown])
        draws = np.concatenate([draws, np.hstack([first[unknown], rest])])
        taken = _first_distinct(np.where(draws % 2 == 1, target[draws // 2], own[draws // 2]), m)
        while taken is None:
            more = np.floor(rng.random((len(rows), m)) * older[rows, None]).astype(np.int64)
            draws = np.hstack([draws, more])
            taken = _first_distinct(np.where(draws % 2 == 1, target[draws // 2], own[draws // 2]), m)
        settled = np.take_along_axis(draws, taken, axis=1)
        if len(unknown) == 0 and np.array_equal(settled, chosen[rows]):
            return _adjacency(own, target, n)
        chosen[rows] = settled


def _first_distinct(nodes: Ints, m: int) -> Ints | None:
    """Columns of the first m distinct nodes of each row; None where a row has fewer."""
    fresh = np.ones(nodes.shape, dtype=bool)
    for j in range(1, nodes.shape[1]):
        fresh[:, j] = (nodes[:, :j] != nodes[:, j, None]).all(axis=1)
    if (fresh.sum(axis=1) < m).any():
        return None
    return np.argsort(~fresh, axis=1, kind="stable")[:, :m]


def _resolved(end: Ints, own: Ints, m: int) -> Ints:
    """Node at each drawn end: known for even ends and the star's, else what the referred link drew in its turn."""
    end = end.copy()
    while True:
        open_ends = np.flatnonzero((end % 2 == 1) & (end >= 2 * m))
        if len(open_ends) == 0:
            break
        # All references move at once, so that their length halves in each pass.
        end[open_ends] = end[end[open_ends] // 2 - m]
    return np.where(end % 2 == 1, end // 2 + 1, own[end // 2])


def _repeats(keys: Ints) -> NDArray[np.bool_]:
    """True for every value but the first of its kind."""
    order = np.argsort(keys, kind="stable")
    out = np.zeros(len(keys), dtype=bool)
    out[order[1:]] = np.diff(keys[order]) == 0
    return out


def _distinct(count: int, total: int, rng: np.random.Generator) -> Ints:
    """Distinct numbers below ``total``, each set of that size being equally likely."""
    if 2 * count > total:
        return rng.permutation(total)[:count].astype(np.int64)
    drawn = np.zeros(0, dtype=np.int64)
    while len(drawn) < count:
        more = rng.integers(0, total, count - len(drawn))
        both = np.concatenate([drawn, more])
        drawn = both[~_repeats(both)]
    return drawn


def _pair(index: Ints) -> tuple[Ints, Ints]:
    """Pair i > j number ``index`` in the order (1,0), (2,0), (2,1), (3,0), ..."""
    i = np.floor((1 + np.sqrt(1 + 8 * index.astype(np.float64))) / 2).astype(np.int64)
    # Square roots of large numbers may be off by one.
    i = np.where(i * (i - 1) // 2 > index, i - 1, i)
    i = np.where((i + 1) * i // 2 <= index, i + 1, i)
    return i, index - i * (i - 1) // 2


def erdos_renyi(n: int, probability: float, rng: np.random.Generator) -> Any:
    """Every pair of nodes is linked with the same probability, independently.

    Parameters
    ----------
    n : int
        Nodes.
    probability : float
        In [0, 1].
    rng : Generator
        Draws the number of links (binomial), then which pairs have them.

    Returns
    -------
    csr_array, shape (n, n)
    """
    return stochastic_blocks([n], probability, 0.0, rng)


def stochastic_blocks(sizes: list[int], inside: float, between: float, rng: np.random.Generator) -> Any:
    """Pairs of the same block are linked with one probability, pairs of two blocks with another one.

    Parameters
    ----------
    sizes : list of int
        Nodes of each block; blocks are runs of consecutive nodes.
    inside, between : float
        Probabilities in [0, 1].
    rng : Generator
        For each block, and each pair of blocks, draws the number of links (binomial), then which pairs have them.

    Returns
    -------
    csr_array, shape (n, n)
    """
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    ends: list[tuple[Ints, Ints]] = []
    for a, size in enumerate(sizes):
        pairs = size * (size - 1) // 2
        i, j = _pair(_distinct(int(rng.binomial(pairs, inside)), pairs, rng))
        ends.append((first[a] + i, first[a] + j))
        for b in range(a + 1, len(sizes)):
            pairs = size * sizes[b]
            index = _distinct(int(rng.binomial(pairs, between)), pairs, rng)
            ends.append((first[a] + index // sizes[b], first[b] + index % sizes[b]))
    return _adjacency(np.concatenate([i for i, _ in ends]), np.concatenate([j for _, j in ends]), int(first[-1]))


def watts_strogatz(n: int, side: int, rewiring: float, rng: np.random.Generator) -> Any:
    """Small world: a ring of nodes linked to their nearest ones, some links led to random nodes instead.

    Parameters
    ----------
    n : int
        Nodes, more than 2·side + 1.
    side : int
        Nearest nodes on each side, so that there are n·side links.
    rewiring : float
        Probability with which the far end of a link is drawn anew among all nodes.
    rng : Generator
        Draws one uniform per link, then a node for each link that is led elsewhere; nodes that would repeat a link or
        close a loop are drawn again until none does.

    Returns
    -------
    csr_array, shape (n, n)
    """
    own = np.tile(np.arange(n, dtype=np.int64), side)
    target = (own + np.repeat(np.arange(1, side + 1), n)) % n
    moved = rng.random(n * side) < rewiring
    # Links that stay come first, so that it is always a moved one that counts as the repetition.
    own = np.concatenate([own[~moved], own[moved]])
    target = np.concatenate([target[~moved], target[moved]])
    again = np.arange(int((~moved).sum()), len(own))
    while len(again):
        target[again] = rng.integers(0, n, len(again))
        key = np.minimum(own, target) * n + np.maximum(own, target)
        again = np.flatnonzero(_repeats(key) | (own == target))
    return _adjacency(own, target, n)


def random_geometric(n: int, mean_degree: float, rng: np.random.Generator) -> tuple[Any, Array]:
    r"""Points uniform on the unit square, linked where they are closer than a radius.

    Two random points are within r ≤ 1 of one another with probability :math:`\pi r^2 - 8r^3/3 + r^4/2`, borders
    included; r is the one for which n - 1 others make the mean degree.

    Parameters
    ----------
    n : int
        Nodes.
    mean_degree : float
        Expected degree, at most (π - 13/6)(n - 1).
    rng : Generator
        Draws n·2 uniforms.

    Returns
    -------
    adjacency : csr_array, shape (n, n)
    points : ndarray, shape (n, 2)
    """
    from scipy.optimize import brentq
    from scipy.spatial import cKDTree

    share = mean_degree / max(n - 1, 1)
    radius = brentq(lambda r: math.pi * r**2 - 8 * r**3 / 3 + r**4 / 2 - share, 0.0, 1.0, xtol=1e-14)
    points = rng.random((n, 2))
    pairs = cKDTree(points).query_pairs(radius, output_type="ndarray").astype(np.int64)
    return _adjacency(pairs[:, 0], pairs[:, 1], n), points
