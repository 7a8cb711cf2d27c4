"""Regression trees as plain arrays, grown by scikit-learn on binned features.

scikit-learn's histogram trees do not show their splits, but the values that they predict name the leaves of
the rows they were grown on. The splits are recovered from there, so that leaf values can be solved for anew,
and a tree is a few arrays that can be saved and read.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

__all__ = ["Bins", "Partition", "Trees", "bin_features", "grow_partition", "join_trees", "recover_splits"]

Array = NDArray[np.float64]
Codes = NDArray[np.uint8]
Integers = NDArray[np.intp]

MAX_BINS = 255  # what the histogram trees can tell apart
_CHUNK_ROWS = 16_384


@dataclass(frozen=True, eq=False)
class Bins:
    """Binned features.

    Attributes
    ----------
    edges : tuple of ndarray
        Upper edge of every bin but the last, per feature: x is in bin b if edges[b-1] < x <= edges[b].
    codes : ndarray of uint8, shape (p, N)
        Bin of every value, one row per feature.
    """

    edges: tuple[Array, ...]
    codes: Codes


def bin_features(X: Array, weight: Array | None = None) -> Bins:
    """Cut every feature at (weighted) quantiles, half-way between neighbouring values.

    Parameters
    ----------
    X : ndarray, shape (N, p)
        Finite features.
    weight : ndarray, shape (N,), optional
        Positive weights, the same as repeated rows.

    Returns
    -------
    Bins
        One bin per value where a feature has at most 255 of them.
    """
    codes = np.empty((X.shape[1], X.shape[0]), dtype=np.uint8)
    edges = []
    for j in range(X.shape[1]):
        column = np.ascontiguousarray(X[:, j])
        edges.append(_edges(column, weight))
        codes[j] = np.searchsorted(edges[j], column, side="left")
    return Bins(tuple(edges), codes)


def _edges(column: Array, weight: Array | None) -> Array:
    if weight is None:
        values, mass = np.unique(column, return_counts=True)
    else:
        values, inverse = np.unique(column, return_inverse=True)
        mass = np.bincount(inverse, weights=weight)
    last = np.arange(len(values) - 1)
    if len(values) > MAX_BINS:
        total = np.cumsum(mass)
        # A hair below the quantile, so that a sum of weights that rounds up does not move a row to the next bin.
        quantiles = np.arange(1, MAX_BINS) / MAX_BINS * total[-1] * (1 - 1e-12)
        last = np.unique(np.searchsorted(total, quantiles, side="left"))
        last = last[last < len(values) - 1]
    return np.asarray(values[last] + (values[last + 1] - values[last]) / 2)


@dataclass(frozen=True, eq=False)
class Partition:
    """The splits of one tree, in bins, and the leaf of every row that it was grown on.

    Attributes
    ----------
    feature, cut, left, right : ndarray of int, shape (m,)
        Node i sends a row left if codes[feature[i]] <= cut[i]; a leaf has feature -1.
    leaf : ndarray of int, shape (m,)
        Number of the leaf, -1 for other nodes.
    row_leaf : ndarray of int, shape (N,)
        Leaf of every row.
    """

    feature: Integers
    cut: Integers
    left: Integers
    right: Integers
    leaf: Integers
    row_leaf: Integers

    @property
    def n_leaves(self) -> int:
        """Number of leaves."""
        return int(self.leaf.max()) + 1


def grow_partition(
    codes: Codes,
    features: Array,
    targets: Array,
    weight: Array | None,
    *,
    max_leaf_nodes: int,
    min_samples_leaf: int,
    seed: int,
) -> Partition:
    """Grow one least-squares tree on binned features.

    Parameters
    ----------
    codes : ndarray of uint8, shape (p, N)
        Bins.
    features : ndarray, shape (N, p)
        The same as floats, which is what scikit-learn works on; made once for all trees.
    targets : ndarray, shape (N,)
        What to approximate.
    weight : ndarray, shape (N,), optional
        Weights with mean 1.
    max_leaf_nodes, min_samples_leaf, seed : int
        As in scikit-learn; the seed matters above 200 000 rows only.

    Returns
    -------
    Partition
    """
    import pandas as pd

    # scikit-learn keeps gradients in single precision: targets of size one lose nothing by that.
    size = float(np.sqrt(np.mean(targets**2)))
    model = HistGradientBoostingRegressor(
        max_iter=1,
        learning_rate=1.0,
        early_stopping=False,
        max_leaf_nodes=max_leaf_nodes,
        min_samples_leaf=min_samples_leaf,
        max_bins=MAX_BINS,
        random_state=seed,
    )
    model.fit(features, targets / size if size > 0 else targets, sample_weight=weight)
    row_leaf, means = pd.factorize(model.predict(features))
    return recover_splits(codes, row_leaf.astype(np.intp), np.asarray(means), weight)


def recover_splits(codes: Codes, row_leaf: Integers, means: Array, weight: Array | None = None) -> Partition:
    """Splits that lead to given leaves.

    A best-first tree takes, in every node, the split with the largest reduction of the sum of squares among
    all splits, hence also among those that cut no leaf; this is the one that is looked for. Two leaves with
    exactly equal means carry one name. Then it may be that every split cuts some leaf: one that cuts the
    fewest is taken, and the parts become leaves of their own.

    Parameters
    ----------
    codes : ndarray of uint8, shape (p, N)
        Bins.
    row_leaf : ndarray of int, shape (N,)
        Leaf of every row, numbered from 0.
    means : ndarray, shape (L,)
        Mean of the targets in every leaf.
    weight : ndarray, shape (N,), optional
        Weights of the rows.

    Returns
    -------
    Partition
    """
    state = _Leaves.of(codes, row_leaf, means, weight)
    feature, cut, left, right, leaf = [-1], [-1], [-1], [-1], [-1]
    waiting = [(0, np.arange(len(means)))]
    n_leaves = 0
    number = {}
    while waiting:
        node, members = waiting.pop()
        if len(members) == 1:
            leaf[node] = number[int(members[0])] = n_leaves
            n_leaves += 1
            continue
        feature[node], cut[node] = _best_cut(state, codes, members)
        sides = state.split(codes, members, feature[node], cut[node])
        left[node], right[node] = len(feature), len(feature) + 1
        for column in (feature, cut, left, right, leaf):
            column.extend((-1, -1))
        waiting += [(right[node], sides[1]), (left[node], sides[0])]
    renumbered = np.array([number[i] for i in range(n_leaves)], dtype=np.intp)
    nodes = np.array([feature, cut, left, right, leaf], dtype=np.intp)
    return Partition(nodes[0], nodes[1], nodes[2], nodes[3], nodes[4], renumbered[state.row_leaf])


@dataclass
class _Leaves:
    """Boxes that hold the rows of each leaf; splitting a leaf appends one."""

    row_leaf: Integers
    low: Codes
    high: Codes
    mass: Array
    mean: Array
    weight: Array | None = field(default=None, repr=False)

    @classmethod
    def of(cls, codes: Codes, row_leaf: Integers, means: Array, weight: Array | None) -> _Leaves:
        order = np.argsort(row_leaf.astype(np.uint16 if len(means) < 2**16 else np.intp), kind="stable")
        starts = np.searchsorted(row_leaf[order], np.arange(len(means)))
        grouped = codes[:, order]
        low = np.minimum.reduceat(grouped, starts, axis=1)
        high = np.maximum.reduceat(grouped, starts, axis=1)
        return cls(row_leaf.copy(), low, high, np.bincount(row_leaf, weights=weight).astype(float), means, weight)

    def split(self, codes: Codes, members: Integers, feature: int, cut: int) -> tuple[Integers, Integers]:
        """Members on each side of a cut; those that it goes through are divided first."""
        low, high = self.low[feature, members], self.high[feature, members]
        left, right = list(members[high <= cut]), list(members[low > cut])
        for member in members[(low <= cut) & (high > cut)]:
            new = len(self.mass)
            above = (self.row_leaf == member) & (codes[feature] > cut)
            self.row_leaf[above] = new
            parts = [codes[:, self.row_leaf == i] for i in (member, new)]
            self.low = np.column_stack([self.low, parts[1].min(axis=1)])
            self.high = np.column_stack([self.high, parts[1].max(axis=1)])
            self.low[:, member], self.high[:, member] = parts[0].min(axis=1), parts[0].max(axis=1)
            moved = float(above.sum() if self.weight is None else self.weight[above].sum())
            self.mass = np.append(self.mass, moved)
            self.mass[member] -= moved
            self.mean = np.append(self.mean, self.mean[member])
            left.append(member)
            right.append(new)
        return np.array(left, dtype=np.intp), np.array(right, dtype=np.intp)


def _best_cut(leaves: _Leaves, codes: Codes, members: Integers) -> tuple[int, int]:
    """Feature and bin of the cut through no leaf, and among these of the largest reduction."""
    low, high = leaves.low[:, members], leaves.high[:, members]
    mass, mean = leaves.mass[members], leaves.mean[members]
    mean = mean - mass @ mean / mass.sum()
    # Cuts just above each leaf: between two such cuts nothing changes. Axes: feature, cut, leaf.
    left = high[:, None, :] <= high[:, :, None]
    right = low[:, None, :] > high[:, :, None]
    possible = right.any(axis=2) & (left | right).all(axis=2)
    if not possible.any():
        return _cut_through_leaves(leaves, codes, members)
    gain = np.where(possible, _reduction(left @ mass, left @ (mass * mean), mass.sum()), -1.0)
    j, i = np.unravel_index(int(np.argmax(gain)), gain.shape)
    return int(j), int(high[j, i])


def _cut_through_leaves(leaves: _Leaves, codes: Codes, members: Integers) -> tuple[int, int]:
    """Feature and bin of the cut through the fewest leaves, and among these of the largest reduction."""
    rows = np.flatnonzero(np.isin(leaves.row_leaf, members))
    owner = leaves.row_leaf[rows]
    mass = np.ones(len(rows)) if leaves.weight is None else leaves.weight[rows]
    moment = mass * (leaves.mean[owner] - mass @ leaves.mean[owner] / mass.sum())
    best = (len(members) + 1, 0.0, 0, 0)
    for j in range(len(codes)):
        column = codes[j, rows]
        cuts = np.unique(column)[:-1]
        low, high = leaves.low[j, members], leaves.high[j, members]
        through = ((low <= cuts[:, None]) & (high > cuts[:, None])).sum(axis=1)
        below, product = (np.cumsum(np.bincount(column, weights=v))[cuts] for v in (mass, moment))
        ranked = zip(through.tolist(), (-_reduction(below, product, mass.sum())).tolist(), cuts.tolist(), strict=True)
        best = min(best, min(((t, g, j, c) for t, g, c in ranked), default=best))
    return best[2], best[3]


def _reduction(mass: Array, moment: Array, total: float) -> Array:
    """Reduction of the sum of squares by a cut, from what lies below it; moments are centred on the node."""
    return np.asarray(moment**2 / np.maximum(mass, np.finfo(float).tiny) + moment**2 / np.maximum(total - mass, 1e-300))


@dataclass(frozen=True, eq=False)
class Trees:
    """A sum of trees.

    Attributes
    ----------
    feature : ndarray of int, shape (m,)
        Feature that a node splits on, -1 for a leaf; the trees stand one after the other.
    threshold : ndarray, shape (m,)
        A row with x <= threshold goes left.
    left, right : ndarray of int, shape (m,)
        Position of the children; a leaf is its own child.
    value : ndarray, shape (m,)
        What a leaf adds.
    roots, depth : ndarray of int, shape (n_trees,)
        Position of the root, and longest way to a leaf, of each tree.
    """

    feature: Integers
    threshold: Array
    left: Integers
    right: Integers
    value: Array
    roots: Integers
    depth: Integers

    def predict(self, X: Array) -> Array:
        """Sum over the trees, shape (n,), for finite X of shape (n, p)."""
        total = np.zeros(len(X))
        at = np.maximum(self.feature, 0)
        for start in range(0, len(X), _CHUNK_ROWS):
            rows = X[start : start + _CHUNK_ROWS]
            index = np.arange(len(rows))
            for root, depth in zip(self.roots, self.depth, strict=True):
                node = np.full(len(rows), root)
                for _ in range(depth):
                    below = rows[index, at[node]] <= self.threshold[node]
                    node = np.where(below, self.left[node], self.right[node])
                total[start : start + len(rows)] += self.value[node]
        return total


def join_trees(partitions: list[Partition], values: list[Array], edges: tuple[Array, ...]) -> Trees:
    """Trees in the units of the features, from partitions in bins and their leaf values.

    Parameters
    ----------
    partitions : list of Partition
    values : list of ndarray, shape (n_leaves,)
        What each leaf adds.
    edges : tuple of ndarray
        Of :class:`Bins`.

    Returns
    -------
    Trees
    """
    blocks: list[list[NDArray[np.generic]]] = [[] for _ in range(5)]
    roots, depths = [], []
    start = 0
    for part, value in zip(partitions, values, strict=True):
        inner = part.feature >= 0
        own = np.arange(len(inner)) + start
        splits = zip(part.feature[inner], part.cut[inner], strict=True)
        threshold = np.zeros(len(inner))
        threshold[inner] = [edges[j][c] for j, c in splits]
        leaf_value = np.zeros(len(inner))
        leaf_value[~inner] = value[part.leaf[~inner]]
        left, right = np.where(inner, part.left + start, own), np.where(inner, part.right + start, own)
        for block, array in zip(blocks, (part.feature, threshold, left, right, leaf_value), strict=True):
            block.append(array)
        roots.append(start)
        depths.append(_depth(part))
        start += len(inner)
    empty: list[NDArray[np.generic]] = [np.zeros(0)]
    feature, threshold, left, right, value = (np.concatenate(block or empty) for block in blocks)
    integers = (array.astype(np.intp) for array in (feature, left, right, np.array(roots), np.array(depths)))
    f, lt, rt, ro, de = integers
    return Trees(f, threshold.astype(np.float64), lt, rt, value.astype(np.float64), ro, de)


def _depth(part: Partition) -> int:
    level = np.zeros(len(part.feature), dtype=int)
    for node in np.flatnonzero(part.feature >= 0):  # parents come before their children
        level[part.left[node]] = level[part.right[node]] = level[node] + 1
    return int(level.max())
