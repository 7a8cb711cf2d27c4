"""Sampled neighbourhoods for training in batches: a few in-neighbours of each node, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["SampledBlocks", "sample_blocks", "sample_edges"]

Positions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SampledBlocks:
    """Operators between growing sets of nodes.

    Attributes
    ----------
    nodes : ndarray of int, shape (k,)
        Nodes whose values enter the first layer. The targets of every operator are the first of its sources, and
        the targets of the last one are the seeds.
    matrices : list of csr_array, shapes (n_targets, n_sources)
        One per layer, in the order of the layers.
    """

    nodes: Positions
    matrices: list[sparse.csr_array]


def sample_edges(
    matrix: Any, targets: Positions, fanout: int, rng: np.random.Generator
) -> tuple[Positions, Positions, NDArray[np.float32]]:
    r"""Draw at most ``fanout`` entries of each of some rows, without repeats.

    Of a row with d entries beside the diagonal, k = min(d, fanout) are kept and scaled by d/k, so that the sum over
    them has the sum over all as its mean. An entry on the diagonal is always kept as it is.

    Parameters
    ----------
    matrix : csr_array, shape (n, n)
        Operator, receivers in the rows.
    targets : ndarray of int, shape (t,)
        Rows.
    fanout : int
        Entries per row.
    rng : Generator
        Source of the draws.

    Returns
    -------
    row : ndarray of int, shape (m,)
        Place of each entry's row in ``targets``, ascending.
    source : ndarray of int, shape (m,)
        Column.
    value : ndarray of float32, shape (m,)
        Scaled entry.
    """
    first = matrix.indptr[targets].astype(np.int64)
    size = matrix.indptr[targets + 1].astype(np.int64) - first
    diagonal = _diagonal_places(matrix, targets, first, size)
    loops = diagonal >= 0
    others = size - loops
    number, draws = _draws(others, fanout, rng)
    row = np.repeat(np.arange(len(targets)), number)
    # Draws count the entries beside the diagonal: from its place on they are one further.
    draws += (loops[row] & (draws >= diagonal[row])).astype(np.int64)
    place = first[row] + draws
    scale = (others / np.maximum(number, 1))[row]
    kept = np.flatnonzero(loops)
    row = np.concatenate([row, kept])
    place = np.concatenate([place, (first + diagonal)[kept]])
    scale = np.concatenate([scale, np.ones(len(kept))])
    order = np.lexsort((matrix.indices[place], row))
    row, place, scale = row[order], place[order], scale[order]
    return row, matrix.indices[place].astype(np.int64), (matrix.data[place] * scale).astype(np.float32)


def _diagonal_places(matrix: Any, targets: Positions, first: Positions, size: Positions) -> Positions:
    """Place of the diagonal entry within each row, or -1, by bisection: columns ascend within rows."""
    low, high = np.zeros(len(targets), np.int64), size.copy()
    last = len(matrix.indices) - 1
    while (low < high).any():
        middle = (low + high) // 2
        below = matrix.indices[np.minimum(first + middle, last)] < targets
        searching = low < high
        low = np.where(searching & below, middle + 1, low)
        high = np.where(searching & ~below, middle, high)
    if last < 0:
        return np.full(len(targets), -1, np.int64)
    found = (low < size) & (matrix.indices[np.minimum(first + low, last)] == targets)
    return np.where(found, low, -1)


def _draws(sizes: Positions, fanout: int, rng: np.random.Generator) -> tuple[Positions, Positions]:
    """For each size d, min(d, fanout) different numbers below d, row after row.

    Floyd's algorithm, for all large rows at a time: the work does not depend on the size of a hub.
    """
    number = np.minimum(sizes, fanout)
    chosen = np.tile(np.arange(fanout), (len(sizes), 1))
    large = np.flatnonzero(sizes > fanout)
    if len(large):
        taken = np.full((len(large), fanout), -1, np.int64)
        for step in range(fanout):
            top = sizes[large] - fanout + step
            draw = rng.integers(0, top + 1)
            repeated = (taken[:, :step] == draw[:, None]).any(axis=1)
            taken[:, step] = np.where(repeated, top, draw)
        chosen[large] = taken
    return number, chosen[np.arange(fanout) < number[:, None]]


def sample_blocks(matrix: Any, seeds: Positions, fanout: Sequence[int], rng: np.random.Generator) -> SampledBlocks:
    """Neighbourhoods of the seeds, as many layers deep as ``fanout`` is long.

    Parameters
    ----------
    matrix : csr_array, shape (n, n)
        Operator, receivers in the rows, columns ascending within rows.
    seeds : ndarray of int, shape (s,)
        Different nodes whose outputs are wanted.
    fanout : sequence of int
        Neighbours per node; the first entry is that of the last layer, next to the seeds.
    rng : Generator
        Source of the draws.

    Returns
    -------
    SampledBlocks
    """
    nodes = np.asarray(seeds, dtype=np.int64)
    place = np.full(matrix.shape[0], -1, np.int64)  # of each node among the sources so far
    place[nodes] = np.arange(len(nodes))
    matrices: list[sparse.csr_array] = []
    for width in fanout:
        row, source, value = sample_edges(matrix, nodes, width, rng)
        n_targets = len(nodes)
        new = np.unique(source[place[source] < 0])
        place[new] = n_targets + np.arange(len(new))
        nodes = np.concatenate([nodes, new])
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n_targets))])
        block = sparse.csr_array((value, place[source], indptr), shape=(n_targets, len(nodes)))
        matrices.append(block)
    return SampledBlocks(nodes, matrices[::-1])
