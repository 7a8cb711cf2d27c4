"""Regression trees as plain arrays, grown by scikit-learn on binned features.

scikit-learn's histogram trees do not show their splits, but the values that they predict name the leaves of
the rows they were grown on. The splits are recovered from there, so that leaf values can be solved for anew,
and a tree is a few arrays that can be saved and read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.augmentation.splits import Partition, recover_splits
from causalkit.threads import boosting_threads
from causalkit.trees import sum_of_trees

__all__ = ["Bins", "Trees", "bin_features", "grow_partition", "join_trees"]

Array = NDArray[np.float64]
Codes = NDArray[np.uint8]
Integers = NDArray[np.intp]

MAX_BINS = 255  # what the histogram trees can tell apart


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
    from sklearn.ensemble import HistGradientBoostingRegressor  # slow to import, and it imports pandas

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
    with boosting_threads(model, len(features)):
        model.fit(features, targets / size if size > 0 else targets, sample_weight=weight)
        row_leaf, means = pd.factorize(model.predict(features))
    return recover_splits(codes, row_leaf.astype(np.intp), np.asarray(means), weight)


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
        return sum_of_trees(X, self.feature, self.threshold, self.left, self.right, self.value, self.roots)


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
