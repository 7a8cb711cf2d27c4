"""Parts of a network with few edges between them: METIS, capped label propagation, Louvain."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.exceptions import MissingDependencyError

__all__ = ["PARTITIONERS", "label_propagation", "louvain", "metis", "partition"]

PARTITIONERS = ("auto", "metis", "label_propagation", "louvain")
Labels = NDArray[np.intp]

_FEW_REFINEMENTS = 100_000  # nodes from which METIS refines each level once: a third of the time, 2 % more edges cut
_ROUNDS = 10  # of label propagation per level
_LEVELS = 20


def partition(skeleton: Any, n_parts: int, how: str, largest: int, seed: int) -> Labels:
    """Label of each node's part.

    Parameters
    ----------
    skeleton : csr_array, shape (n, n)
        Symmetric, ones, no diagonal.
    n_parts : int
        Number of parts to aim at.
    how : {"auto", "metis", "label_propagation", "louvain"}
        "auto" is METIS where pymetis is installed, else label propagation.
    largest : int
        Nodes that a Louvain community may have before it is cut up.
    seed : int
        Seed.

    Returns
    -------
    ndarray of int, shape (n,)
    """
    if how == "auto":
        how = "metis" if find_spec("pymetis") is not None else "label_propagation"
    if how == "metis":
        return metis(skeleton, n_parts, seed)
    if how == "louvain":
        return louvain(skeleton, largest, seed)
    return label_propagation(skeleton, _cap(skeleton.shape[0], n_parts), seed)


def _cap(n: int, n_parts: int) -> int:
    return max(1, int(np.ceil(1.05 * n / n_parts)))


def metis(skeleton: Any, n_parts: int, seed: int) -> Labels:
    """Parts of nearly equal size by multilevel k-way partitioning (Karypis & Kumar 1998)."""
    try:
        import pymetis
    except ImportError as error:
        raise MissingDependencyError(
            "partitioner=\"metis\" needs pymetis: pip install -e '.[graph]'. Without it, "
            'partitioner="label_propagation" needs nothing else.'
        ) from error
    if n_parts == 1 or skeleton.nnz == 0:
        # Without edges every partition is as good: equal shares of a random order.
        return np.random.default_rng(seed).permutation(np.arange(skeleton.shape[0]) % n_parts)
    adjacency = pymetis.CSRAdjacency(skeleton.indptr.astype(np.int32), skeleton.indices.astype(np.int32))
    options = pymetis.Options(seed=seed % (2**31 - 1))
    if skeleton.shape[0] >= _FEW_REFINEMENTS:
        options.niter = 1
    found = pymetis.part_graph(n_parts, adjacency=adjacency, options=options)
    return np.asarray(found[1], dtype=np.intp)


def louvain(skeleton: Any, largest: int, seed: int) -> Labels:
    """Communities of high modularity (networkx), those above ``largest`` nodes cut up by label propagation."""
    try:
        import networkx as nx
    except ImportError as error:
        raise MissingDependencyError('partitioner="louvain" needs networkx: pip install networkx.') from error
    n = skeleton.shape[0]
    communities = nx.community.louvain_communities(nx.from_scipy_sparse_array(skeleton), seed=seed)
    labels = np.empty(n, dtype=np.intp)
    for number, members in enumerate(communities):
        labels[list(members)] = number
    sizes = np.bincount(labels)
    large = np.flatnonzero(sizes[labels] > largest)
    if len(large) == 0:
        return labels
    inside = skeleton[large][:, large].tocoo()
    kept = labels[large[inside.coords[0]]] == labels[large[inside.coords[1]]]
    within = sparse.csr_array((inside.data[kept], (inside.coords[0][kept], inside.coords[1][kept])), shape=inside.shape)
    labels[large] = len(communities) + label_propagation(within, largest, seed)
    return np.unique(labels, return_inverse=True)[1]


def label_propagation(skeleton: Any, cap: int, seed: int) -> Labels:
    """Clusters of at most ``cap`` nodes by repeated propagation of labels and contraction.

    Every node takes the label that most of its edges lead to, among the labels that still have room. Clusters then
    become the nodes of a smaller weighted network, on which the same is done, until no two clusters fit together; a
    last pass on the nodes themselves moves those at the borders.

    Parameters
    ----------
    skeleton : csr_array, shape (n, n)
        Symmetric, no diagonal.
    cap : int
        Largest cluster.
    seed : int
        Seed.

    Returns
    -------
    ndarray of int, shape (n,)
        Labels from 0.

    References
    ----------
    Raghavan, Albert & Kumara (2007), Near linear time algorithm to detect community structures in large-scale
    networks, Physical Review E 76, 036106; Meyerhenke, Sanders & Schulz (2014), Partitioning complex networks via
    size-constrained clustering, SEA, section 3 (the cap and the contraction).
    """
    rng = np.random.default_rng(seed)
    n = skeleton.shape[0]
    labels = np.arange(n)
    coarse, sizes = skeleton.astype(np.float32), np.ones(n, dtype=np.int64)
    for _ in range(_LEVELS):
        found = _propagate(coarse, sizes, np.arange(len(sizes)), cap, rng)
        kept, numbers = np.unique(found, return_inverse=True)
        labels = numbers[labels]
        if len(kept) == len(sizes):
            break
        members = sparse.csr_array((np.ones(len(sizes), np.float32), (numbers, np.arange(len(sizes)))))
        contracted = (members @ coarse @ members.T).tocoo()
        between = contracted.coords[0] != contracted.coords[1]
        coarse = sparse.csr_array(
            (contracted.data[between], (contracted.coords[0][between], contracted.coords[1][between])),
            shape=contracted.shape,
        )
        sizes = np.bincount(numbers, weights=sizes).astype(np.int64)
    labels = _propagate(skeleton.astype(np.float32), np.ones(n, dtype=np.int64), labels, cap, rng)
    return np.unique(labels, return_inverse=True)[1]


def _propagate(weights: Any, sizes: NDArray[np.int64], labels: Labels, cap: int, rng: np.random.Generator) -> Labels:
    """Some rounds in which a random half of the nodes move to the label of most of their edge weight."""
    n = len(sizes)
    labels = labels.copy()
    room = cap - np.bincount(labels, weights=sizes, minlength=n).astype(np.int64)
    for _ in range(_ROUNDS):
        # If both of two neighbours took the other's label they would swap for ever: half of the nodes may move.
        active = np.flatnonzero(rng.random(n) < 0.5)
        mover, target, gain = _best_moves(weights[active], sizes, active, labels, room, rng)
        order = np.lexsort((-gain, target))
        mover, target = mover[order], target[order]
        taken = np.cumsum(sizes[mover])
        first = np.flatnonzero(np.diff(target, prepend=-1))
        before = np.repeat(taken[first] - sizes[mover[first]], np.diff(np.append(first, len(target))))
        fits = taken - before <= room[target]
        mover, target = mover[fits], target[fits]
        np.add.at(room, labels[mover], sizes[mover])
        np.subtract.at(room, target, sizes[mover])
        labels[mover] = target
        if len(mover) <= n // 1000:
            break
    return labels


def _best_moves(
    weights: Any, sizes: NDArray[np.int64], active: Labels, labels: Labels, room: NDArray[np.int64], rng: Any
) -> tuple[Labels, Labels, NDArray[np.float32]]:
    """Nodes that gain by another label, that label, and the edge weight that they gain; rows are the active nodes."""
    n = len(sizes)
    onehot = sparse.csr_array((np.ones(n, np.float32), labels.astype(np.int32), np.arange(n + 1)), shape=(n, n))
    links = weights @ onehot
    rows = np.repeat(np.arange(len(active)), np.diff(links.indptr))
    here = links.indices == labels[active][rows]
    stay = np.zeros(len(active), np.float32)
    stay[rows[here]] = links.data[here]
    gain = links.data - stay[rows]
    possible = ~here & (gain > 0) & (sizes[active][rows] <= room[links.indices])
    rows, target, gain = rows[possible], links.indices[possible], gain[possible]
    if len(rows) == 0:
        return rows, rows, gain
    # Edge weights are whole numbers, so that noise below one half only decides between equals.
    score = gain + rng.random(len(rows), dtype=np.float32) / 4
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    largest = np.maximum.reduceat(score, first)
    best = np.flatnonzero(score == np.repeat(largest, np.diff(np.append(first, len(rows)))))
    best = best[np.flatnonzero(np.diff(rows[best], prepend=-1))]  # one of two with equal noise
    return active[rows[best]], target[best].astype(np.intp), gain[best]
