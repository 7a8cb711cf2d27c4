"""Distances in a network without a dense matrix: undirected skeletons, closed balls in blocks, mean path length."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from causalkit.exceptions import GraphError

__all__ = ["BallSizes", "Skeleton", "ball_blocks", "ball_sizes", "mean_path_length", "network_skeleton"]

Array = NDArray[np.float64]

# Entries that one block of balls may hold: about 150 MB with the temporaries of a sparse product.
_BLOCK_ENTRIES = 2**24
# Above this size mean ball sizes are those of a fixed random sample of nodes: a relative error of a few per cent,
# where a count over all nodes would cost as much as the covariance itself.
_EXACT_NODES = 20_000
_SAMPLED_NODES = 2_000
# Levels that are walked from all sources at once; networks with longer paths are walked source by source.
_SHARED_LEVELS = 40


@dataclass(frozen=True, eq=False, repr=False)
class Skeleton:
    """Undirected, unweighted network without self-loops, as distances use it.

    Attributes
    ----------
    matrix : csr_array, shape (n, n)
        Symmetric, ones, empty diagonal, float64.
    degree : ndarray, shape (n,)
        Number of neighbours.
    """

    matrix: Any
    degree: Array

    @property
    def n_nodes(self) -> int:
        """Number of nodes, n."""
        return int(self.matrix.shape[0])

    def __repr__(self) -> str:
        return f"Skeleton(n_nodes={self.n_nodes}, n_edges={self.matrix.nnz // 2})"


def network_skeleton(adjacency: Any) -> Skeleton:
    """Drop weights, directions and self-loops of an adjacency matrix.

    Nodes i and j are neighbours where either entry (i, j) or (j, i) is not zero. The functions of this package that
    take ``adjacency`` take a ready skeleton as well, which saves the work when several of them are called.

    Parameters
    ----------
    adjacency : scipy sparse matrix, shape (n, n), or Skeleton
        Entry (i, j) is not zero where i and j are linked.

    Returns
    -------
    Skeleton

    Raises
    ------
    TypeError
        Not a scipy sparse matrix.
    GraphError
        Not square, or an entry is not finite.

    Examples
    --------
    >>> from scipy import sparse
    >>> from causalkit.inference import network_skeleton
    >>> network_skeleton(sparse.csr_array([[2.0, 0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 3.0, 0.0]])).degree.tolist()
    [1.0, 2.0, 1.0]
    """
    if isinstance(adjacency, Skeleton):
        return adjacency
    if not sparse.issparse(adjacency):
        raise TypeError(
            f"adjacency must be a scipy sparse matrix, got {type(adjacency).__name__}: pass "
            "scipy.sparse.csr_array(matrix), or the adjacency of a Graph by its to_scipy()."
        )
    if adjacency.ndim != 2 or adjacency.shape[0] != adjacency.shape[1] or adjacency.shape[0] == 0:
        raise GraphError(
            f"adjacency must have one row and one column per node, expected shape (n, n), got {adjacency.shape}."
        )
    matrix = sparse.csr_array(adjacency)
    _check_entries(matrix)
    rows = np.repeat(np.arange(matrix.shape[0], dtype=matrix.indices.dtype), np.diff(matrix.indptr))
    kept = (matrix.data != 0) & (rows != matrix.indices)
    if not kept.all() or not matrix.has_canonical_format:
        ones = np.ones(int(kept.sum()))
        matrix = sparse.csr_array((ones, (rows[kept], matrix.indices[kept])), shape=matrix.shape)
    flipped = matrix.T.tocsr()
    same = np.array_equal(flipped.indptr, matrix.indptr) and np.array_equal(flipped.indices, matrix.indices)
    if not same:
        matrix = sparse.csr_array(abs(matrix) + abs(flipped))
    matrix = sparse.csr_array((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
    return Skeleton(matrix, np.diff(matrix.indptr).astype(np.float64))


def _check_entries(matrix: Any) -> None:
    finite = np.isfinite(matrix.data)
    if not finite.all():
        first = int(np.argmin(finite))
        row = int(np.searchsorted(matrix.indptr, first, side="right")) - 1
        raise GraphError(
            f"adjacency holds {int((~finite).sum())} entries that are NaN or infinite (first: row {row}, column "
            f"{int(matrix.indices[first])}): expected finite weights. Drop these links or give them a weight."
        )


def _closed(skeleton: Skeleton) -> Any:
    """Indicator of closed balls of radius 1, boolean so that products count nothing twice."""
    matrix = skeleton.matrix
    ones = sparse.csr_array((np.ones(matrix.nnz, dtype=bool), matrix.indices, matrix.indptr), shape=matrix.shape)
    return sparse.csr_array(ones + sparse.eye_array(skeleton.n_nodes, dtype=bool, format="csr"))


def _pieces(cost: Array, budget: float) -> Iterator[slice]:
    """Cut rows into runs of about ``budget`` total cost, at least one row each."""
    run = np.floor((np.cumsum(cost) - cost) / budget)
    edges = np.flatnonzero(np.diff(run)) + 1
    starts, ends = np.append(0, edges), np.append(edges, len(cost))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        yield slice(start, end)


def ball_blocks(
    skeleton: Skeleton, radius: int, *, max_entries: int = _BLOCK_ENTRIES
) -> Iterator[tuple[slice, Any, int]]:
    """Indicators of the closed balls of all nodes, in blocks of consecutive nodes.

    Parameters
    ----------
    skeleton : Skeleton
        The network.
    radius : int
        Largest distance from the centre.
    max_entries : int
        Bound on the entries of a block, save that a block has at least one row.

    Yields
    ------
    rows : slice
        Centres of the block.
    block : csr_array of bool, shape (len(rows), n)
        True at the nodes within ``radius`` of each centre.
    reached : int
        Largest distance at which the block still gained a node.
    """
    closed = _closed(skeleton)
    width = np.diff(closed.indptr).astype(np.float64)
    # Depth first: a piece is finished before the next one starts, so that few are held at a time.
    stack = [(0, _identity(np.arange(skeleton.n_nodes), skeleton.n_nodes), 0, False)]
    while stack:
        first, reach, distance, done = stack.pop()
        if done or distance == radius:
            yield slice(first, first + reach.shape[0]), reach, distance
            continue
        pieces = list(_pieces(reach.astype(np.float64) @ width, max_entries))
        if len(pieces) > 1:
            stack += [(first + piece.start, reach[piece], distance, False) for piece in reversed(pieces)]
            continue
        grown = reach @ closed
        # Where no ball gained a node, none ever will.
        still = grown.nnz == reach.nnz
        stack.append((first, reach, distance, True) if still else (first, grown, distance + 1, False))


def _identity(nodes: NDArray[np.intp], n: int) -> Any:
    return sparse.csr_array((np.ones(len(nodes), dtype=bool), nodes, np.arange(len(nodes) + 1)), shape=(len(nodes), n))


@dataclass(frozen=True)
class BallSizes:
    """Mean number of nodes within each distance.

    Attributes
    ----------
    means : tuple of float
        Mean size of closed balls of radius 0, 1, ...; the last radius is the one asked for, or the last one at which
        the mean is not above the cap.
    exceeded : bool
        Whether the next radius is above the cap.
    sampled : bool
        Whether the means are those of a random sample of nodes.
    """

    means: tuple[float, ...]
    exceeded: bool
    sampled: bool


def ball_sizes(
    skeleton: Skeleton, radius: int, *, cap: float = math.inf, present: Array | None = None, random_state: int = 0
) -> BallSizes:
    """Mean size of closed balls up to a radius, without going far beyond a cap.

    Parameters
    ----------
    skeleton : Skeleton
        The network.
    radius : int
        Largest radius.
    cap : float
        Counting ends with the first radius whose mean ball is larger.
    present : ndarray, shape (n,), optional
        1 for nodes that count, 0 for those that only lie between.
    random_state : int
        Seed of the 2000 nodes whose balls are counted where there are more than 20 000 nodes.

    Returns
    -------
    BallSizes
    """
    n = skeleton.n_nodes
    centres = np.arange(n) if present is None else np.flatnonzero(present)
    sampled = len(centres) > _EXACT_NODES
    if sampled:
        centres = np.sort(np.random.default_rng(random_state).choice(centres, _SAMPLED_NODES, replace=False))
    closed, limit = _closed(skeleton), cap * len(centres)
    width = np.diff(closed.indptr).astype(np.float64)
    counts = np.zeros(radius + 1)
    counts[0] = len(centres)
    deepest = radius  # the largest radius that still has to be counted
    stack = [(_identity(centres, n), 0)]
    while stack:
        reach, distance = stack.pop()
        if distance >= deepest:
            continue
        for piece in _pieces(reach.astype(np.float64) @ width, _BLOCK_ENTRIES / 8):
            if distance >= deepest:
                break
            start = reach[piece]
            grown = start @ closed
            size = grown.nnz if present is None else present[grown.indices].sum()
            if grown.nnz == start.nnz:
                counts[distance + 1 :] += size  # exhausted: the same at every larger radius
            else:
                counts[distance + 1] += size
                stack.append((grown, distance + 1))
            while (counts[1 : deepest + 1] > limit).any():
                deepest = int(np.argmax(counts[1 : deepest + 1] > limit))
    return BallSizes(tuple((counts[: deepest + 1] / len(centres)).tolist()), deepest < radius, sampled)


def mean_path_length(skeleton: Skeleton, *, n_sources: int = 100, random_state: Any = 0) -> float:
    r"""Mean distance from sampled nodes to all others, in the largest component.

    .. math:: L = \frac{1}{S (n_g - 1)} \sum_{s=1}^{S} \sum_{j \ne i_s} \ell(i_s, j)

    Parameters
    ----------
    skeleton : Skeleton
        The network.
    n_sources : int, default=100
        S, nodes drawn without replacement from the n_g nodes of the largest component; all of them where there are
        no more, and then L is exact.
    random_state : int or Generator
        Seed of the draw.

    Returns
    -------
    float
        0 where no two nodes are linked.
    """
    labels = csgraph.connected_components(skeleton.matrix, directed=False)[1]
    giant = np.flatnonzero(labels == np.bincount(labels).argmax())
    if len(giant) == 1:
        return 0.0
    count = min(n_sources, len(giant))
    sources = giant
    if count < len(giant):
        sources = np.random.default_rng(random_state).choice(giant, count, replace=False)
    total = _total_distance_by_levels(skeleton, sources)
    if total is None:
        total = float(sum(_total_distance(skeleton, int(source)) for source in sources))
    return total / (count * (len(giant) - 1))


def _total_distance_by_levels(skeleton: Skeleton, sources: NDArray[np.intp]) -> float | None:
    """Sum of distances from all sources, one bit of a word per source; None where paths are long."""
    n, words = skeleton.n_nodes, -(-len(sources) // 64)
    frontier = np.zeros((n, words), dtype=np.uint64)
    position = np.arange(len(sources))
    bits = np.left_shift(np.uint64(1), (position % 64).astype(np.uint64))
    np.bitwise_or.at(frontier, (sources, position // 64), bits)
    visited, total = frontier.copy(), 0.0
    linked = np.flatnonzero(skeleton.degree)
    starts = skeleton.matrix.indptr[linked]
    for level in range(1, _SHARED_LEVELS + 1):
        reached = np.zeros_like(frontier)
        for piece in _pieces(skeleton.degree[linked], _BLOCK_ENTRIES / 4):
            begin = int(starts[piece.start])
            end = int(starts[piece.stop]) if piece.stop < len(starts) else skeleton.matrix.nnz
            gathered = frontier[skeleton.matrix.indices[begin:end]]
            reached[linked[piece]] = np.bitwise_or.reduceat(gathered, starts[piece] - begin, axis=0)
        frontier = reached & ~visited
        if not frontier.any():
            return total
        visited |= frontier
        total += level * float(np.unpackbits(frontier.view(np.uint8)).sum(dtype=np.int64))
    return None


def _total_distance(skeleton: Skeleton, source: int) -> float:
    """Sum of distances from one node: levels of a breadth-first order are runs whose parents lie in the run before."""
    order, parent = csgraph.breadth_first_order(skeleton.matrix, source, directed=True)
    place = np.empty(skeleton.n_nodes, dtype=np.intp)
    place[order] = np.arange(len(order))
    parents = place[parent[order[1:]]]
    total, end, level = 0.0, 1, 0
    while end < len(order):
        level += 1
        begin, end = end, 1 + int(np.searchsorted(parents, end))
        total += level * (end - begin)
    return total
