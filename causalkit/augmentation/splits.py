"""The splits of a regression tree, recovered from the leaves of the rows that it was grown on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Partition", "recover_splits"]

Array = NDArray[np.float64]
Codes = NDArray[np.uint8]
Integers = NDArray[np.intp]


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
