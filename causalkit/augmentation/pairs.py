"""Pairs of features before and after augmentation, chunk by chunk, the same for every way of cutting the rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.augmentation.arguments import Variation, require_parameters
from causalkit.augmentation.draws import augment, augmentation_name, orbit_draws
from causalkit.augmentation.moments import Layout, Moments, chunk_moments, merge_all
from causalkit.exceptions import AugmentationError

__all__ = ["Pair", "PairSource", "Rows", "mapped_rows", "moments_of_rows"]

Array = NDArray[np.float64]

_BLOCK = 4_096  # rows that share a random stream, see draws.py
_CHUNK_CELLS = 2**22  # cells of a chunk's table: 32 MB in float64
_PARTS_HELD = 16  # moments of chunks that wait for merging, so that memory does not grow with the rows


@dataclass(frozen=True, eq=False)
class Rows:
    """Checked rows with what belongs to them.

    Attributes
    ----------
    X : ndarray or CSR matrix, shape (n, p)
    y : ndarray, shape (n, t)
    variation : Variation
        Given augmented features, parameters or instruments are those of these rows.
    exogenous : ndarray, shape (n, e), or None
    weight : ndarray, shape (n,), or None
    first_row : int
        Number of the first row in the whole data.
    """

    X: Any
    y: Array
    variation: Variation
    exogenous: Array | None = None
    weight: Array | None = None
    first_row: int = 0

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.X.shape[0])


@dataclass(frozen=True, eq=False)
class Pair:
    """One draw for a chunk of rows.

    Attributes
    ----------
    share : float
        Weight of the draw: 1/R, or the probability of the element of an orbit.
    draw : int
        Number of the draw.
    x : ndarray or CSR matrix, shape (n, p)
        Features after augmentation (and feature map).
    d : ndarray, CSR matrix or None, shape (n, p)
        What the augmentation changed; None where nothing is moved.
    g : ndarray or None, shape (n, k)
        Parameters of the draw, or instruments.
    """

    share: float
    draw: int
    x: Any
    d: Any
    g: Array | None


@dataclass(frozen=True, eq=False)
class PairSource:
    """How pairs are made from features.

    Attributes
    ----------
    augmentation : Augmenter, callable or None
        None: the pairs are given with the rows, or nothing is moved.
    n_draws : int or "orbit"
        Draws per row.
    seed : int
        Key of the random streams.
    feature_map : fitted transformer or None
        Applied to both members of a pair.
    draws_pairs : bool
        False where the augmentation is known in closed form and no draw is needed.
    """

    augmentation: Any
    n_draws: int | str
    seed: int
    feature_map: Any = None
    draws_pairs: bool = True

    def pairs(self, rows: Rows, part: slice) -> Iterator[Pair]:
        """All draws of the rows of a slice."""
        X = rows.X[part]
        variation = rows.variation
        if variation.instruments is not None:
            yield Pair(1.0, 0, self._map(X), None, variation.instruments[part])
        elif variation.kind == "none" or not self.draws_pairs:
            yield Pair(1.0, 0, self._map(X), None, None)
        elif variation.augmented is not None:
            yield from self._given(X, variation, part)
        else:
            yield from self._drawn(X, rows, rows.first_row + part.start)

    def _given(self, X: Any, variation: Variation, part: slice) -> Iterator[Pair]:
        given = variation.augmented[part]
        draws = [given] if sparse.issparse(given) else [given[:, r] for r in range(given.shape[1])]
        before = self._map(X)
        for r, augmented in enumerate(draws):
            after = self._map(augmented)
            g = None if variation.parameters is None else variation.parameters[part, r]
            yield Pair(1.0 / len(draws), r, after, _difference(after, before), g)

    def _drawn(self, X: Any, rows: Rows, first_row: int) -> Iterator[Pair]:
        before = self._map(X)
        if self.n_draws == "orbit":
            for r, (share, drawn) in enumerate(orbit_draws(self.augmentation, X)):
                after = self._map(drawn.features)
                # Parameters number the element (of a permutation, say): only the penalties that project want them.
                g = drawn.parameters if rows.variation.penalty in ("projected", "paired") else None
                yield Pair(share, r, after, _difference(after, before), g)
            return
        for r in range(int(self.n_draws)):
            drawn = augment(self.augmentation, X, seed=self.seed, draw=r, first_row=first_row)
            if sparse.issparse(X) and not sparse.issparse(drawn.features):
                raise AugmentationError(
                    f"{augmentation_name(self.augmentation)} fills the sparse X: use an augmentation that preserves "
                    "sparsity (SignFlip, Masking, Scaling, Permutation), or pass dense chunks to partial_fit."
                )
            require_parameters(drawn.parameters, rows.variation.penalty, augmentation_name(self.augmentation))
            after = self._map(drawn.features)
            yield Pair(1.0 / int(self.n_draws), r, after, _difference(after, before), drawn.parameters)

    def _map(self, X: Any) -> Any:
        if self.feature_map is None:
            return X if sparse.issparse(X) else np.asarray(X, dtype=np.float64)
        return mapped_rows(self.feature_map, X)


def as_float(values: Any) -> Array:
    """A dense float64 array of a frame or array."""
    return np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values, dtype=np.float64)


def mapped_rows(feature_map: Any, X: Any) -> Any:
    """Rows of a fitted feature map, checked: float64 of shape (n, m), or a sparse matrix.

    Raises
    ------
    AugmentationError
        Another number of rows, no table, NaN or infinity.
    """
    mapped = feature_map.transform(X)
    if not sparse.issparse(mapped):
        mapped = as_float(mapped)
    name, n = type(feature_map).__name__, X.shape[0]
    if mapped.ndim != 2 or mapped.shape[0] != n:
        raise AugmentationError(
            f"feature_map {name} returned shape {mapped.shape} for {n} rows: expected ({n}, m), one row per row."
        )
    if not np.isfinite(mapped.data if sparse.issparse(mapped) else mapped).all():
        raise AugmentationError(
            f"feature_map {name} returned NaN or infinity: expected finite numbers. Check it on the augmented rows "
            "too, which may lie outside the range of X."
        )
    return mapped


def _difference(after: Any, before: Any) -> Any:
    if sparse.issparse(after) or sparse.issparse(before):
        return sparse.csr_array(after) - sparse.csr_array(before)
    return after - before


def chunk_slices(n: int, width: int, first_row: int = 0) -> list[slice]:
    """Slices of about 32 MB each whose ends lie on blocks of random draws."""
    blocks = max(1, _CHUNK_CELLS // (max(width, 1) * _BLOCK))
    size = blocks * _BLOCK
    first = min(n, size - first_row % _BLOCK)
    edges = [0, *range(first, n, size), n]
    return [slice(a, b) for a, b in itertools.pairwise(edges) if b > a]


def moments_of_rows(
    source: PairSource, rows: Rows, labels: NDArray[np.intp] | None = None, n_labels: int = 1
) -> list[Moments]:
    """Moments of the rows, or of each labelled subset of them, in one pass over the data.

    Parameters
    ----------
    source : PairSource
        How pairs are made.
    rows : Rows
        The rows.
    labels : ndarray of int, shape (n,), optional
        Subset of each row from 0 to n_labels - 1; negative rows are left out.
    n_labels : int, default=1
        Number of subsets.

    Returns
    -------
    list of Moments, length n_labels
    """
    parts: list[list[Moments]] = [[] for _ in range(n_labels)]
    for part in chunk_slices(rows.n, 3 * rows.X.shape[1], rows.first_row):
        code = None if labels is None else labels[part]
        for pair in source.pairs(rows, part):
            columns, layout = columns_of(pair, rows, part)
            weight = None if rows.weight is None else rows.weight[part]
            if pair.share != 1.0:
                weight = np.full(part.stop - part.start, pair.share) if weight is None else weight * pair.share
            for label in range(n_labels):
                if code is None:
                    chosen, w = columns, weight
                else:
                    inside = np.flatnonzero(code == label)
                    chosen, w = [c[inside] for c in columns], None if weight is None else weight[inside]
                count = chosen[0].shape[0] if pair.draw == 0 else 0
                if chosen[0].shape[0]:
                    parts[label].append(chunk_moments(chosen, layout, w, count))
                if len(parts[label]) == _PARTS_HELD:
                    parts[label] = [merge_all(parts[label])]
    return [merge_all(p) for p in parts]


def columns_of(pair: Pair, rows: Rows, part: slice) -> tuple[list[Any], Layout]:
    """The groups of columns [G, GX, D, W, y] of one draw, and their layout."""
    sizes = [0 if b is None else b.shape[1] for b in (pair.g, pair.x, pair.d, rows.exogenous)]
    layout = Layout(sizes[0], sizes[1], sizes[2], sizes[3], rows.y.shape[1])
    exogenous = None if rows.exogenous is None else rows.exogenous[part]
    blocks = [pair.g, pair.x, pair.d, exogenous, rows.y[part]]
    return [b for b in blocks if b is not None and b.shape[1] > 0], layout
