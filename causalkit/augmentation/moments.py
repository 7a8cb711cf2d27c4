"""Mergeable first and second moments of [G, GX, D, W, y]: all that the linear fits need from the rows.

Moments are accumulated in float64 whatever the type of the input: with float32 sums the small eigenvalues
that decide a fit at alpha below .001 would be lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["Layout", "Moments", "chunk_moments", "merge_all"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Which columns stand side by side in the moments.

    Attributes
    ----------
    parameters, features, moves, controls, outcomes : int
        Number of columns of G (or Z), GX, D = GX - X (0 where nothing is moved), W and y.
    """

    parameters: int
    features: int
    moves: int
    controls: int
    outcomes: int

    def part(self, name: str) -> slice:
        """Columns of "g", "x", "d", "w" or "y"."""
        sizes = (self.parameters, self.features, self.moves, self.controls, self.outcomes)
        position = "gxdwy".index(name)
        return slice(sum(sizes[:position]), sum(sizes[: position + 1]))

    @property
    def width(self) -> int:
        """Number of columns in all."""
        return self.part("y").stop


@dataclass(frozen=True, eq=False)
class Moments:
    """Weighted means and centred second moments of the columns of a :class:`Layout`.

    Attributes
    ----------
    layout : Layout
        Which column is what.
    n_rows : int
        Rows of the data; the augmented draws of a row count once.
    weight : float
        Sum of the sample weights.
    weight_square : float
        Sum of their squares, those of the draws included.
    mean : ndarray, shape (c,)
        Weighted means, in the units of the columns.
    scatter : ndarray, shape (c, c)
        Weighted sums of centred products.
    """

    layout: Layout
    n_rows: int
    weight: float
    weight_square: float
    mean: Array
    scatter: Array

    @property
    def n_effective(self) -> float:
        """Augmented rows that carry as much as these with their weights, (Σw)²/Σw²: their number for equal weights."""
        return self.weight**2 / self.weight_square

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets of rows: S = S₁ + S₂ + (w₁w₂/w)·δδ', δ = m₂ - m₁ (Chan, Golub & LeVeque 1983)."""
        weight, square = self.weight + other.weight, self.weight_square + other.weight_square
        if other.weight == 0 or self.weight == 0:
            kept = self if other.weight == 0 else other
            return Moments(self.layout, self.n_rows + other.n_rows, weight, square, kept.mean, kept.scatter)
        step = other.mean - self.mean
        mean = self.mean + step * (other.weight / weight)
        scatter = self.scatter + other.scatter + np.outer(step, step * (self.weight * other.weight / weight))
        return Moments(self.layout, self.n_rows + other.n_rows, weight, square, mean, scatter)

    def without(self, other: Moments) -> Moments:
        """Moments of the rows that are left when those of ``other`` are taken out: the inverse of merging."""
        weight, square = self.weight - other.weight, self.weight_square - other.weight_square
        step = other.mean - self.mean
        mean = self.mean - step * (other.weight / weight)
        scatter = self.scatter - other.scatter - np.outer(step, step * (self.weight * other.weight / weight))
        return Moments(self.layout, self.n_rows - other.n_rows, weight, square, mean, scatter)

    def second(self, left: str, right: str, *, centred: bool = True, partial: bool = True) -> Array:
        """Second moments E_n[a b'] of two groups of columns.

        Parameters
        ----------
        left, right : {"g", "x", "d", "w", "y", "X"}, or several of them in one string
            Groups; "X" is GX - D, the features before augmentation; "Xw" is X beside W.
        centred : bool, default=True
            Whether means are taken out.
        partial : bool, default=True
            Whether the controls W are partialled out: M_ab - M_aw M_ww⁻¹ M_wb.
        """
        matrix = self.scatter / self.weight
        if not centred:
            matrix = matrix + np.outer(self.mean, self.mean)
        result = _pick(_pick(matrix, left, self.layout, 0), right, self.layout, 1)
        if partial and self.layout.controls:
            w = self.layout.part("w")
            with_left = _pick(matrix[:, w], left, self.layout, 0)
            with_right = _pick(matrix[w, :], right, self.layout, 1)
            result = result - with_left @ np.linalg.pinv(matrix[w, w], hermitian=True) @ with_right
        return np.asarray(result)

    def rounding(self, name: str) -> Array:
        """Second moments that a column may have by rounding alone, where it is constant or within the controls' span.

        Centring leaves errors relative to the mean, and partialling out leaves errors relative to the variance.
        """
        floor = 1e-20 * np.diag(self.second(name, name, centred=False, partial=False))
        if self.layout.controls:
            floor = np.maximum(floor, 1e-12 * np.diag(self.second(name, name, partial=False)))
        return np.asarray(floor)

    def average(self, name: str) -> Array:
        """Weighted means of a group of columns."""
        if len(name) > 1:
            return np.concatenate([self.average(part) for part in name])
        if name == "X":
            return self.average("x") - (self.average("d") if self.layout.moves else 0.0)
        return self.mean[self.layout.part(name)]


def _pick(matrix: Array, name: str, layout: Layout, axis: int) -> Array:
    if len(name) > 1:
        return np.concatenate([_pick(matrix, part, layout, axis) for part in name], axis=axis)

    def take(part: str) -> Array:
        return matrix[layout.part(part)] if axis == 0 else matrix[:, layout.part(part)]

    if name == "X":
        return take("x") - take("d") if layout.moves else take("x")
    return take(name)


def chunk_moments(columns: list[Any], layout: Layout, weight: Array | None, n_rows: int) -> Moments:
    """Moments of one chunk of rows.

    Parameters
    ----------
    columns : list of ndarray or sparse matrix
        The groups of columns that the layout has, in its order, each (n, c_j).
    layout : Layout
        Sizes of the groups.
    weight : ndarray, shape (n,), or None
        Sample weights, times the share of the draw.
    n_rows : int
        Rows of the data that the chunk stands for (0 for second and later draws of the same rows).
    """
    rows = columns[0].shape[0]
    total = float(rows) if weight is None else float(weight.sum())
    if total == 0:
        return Moments(layout, n_rows, 0.0, 0.0, np.zeros(layout.width), np.zeros((layout.width, layout.width)))
    if any(sparse.issparse(block) for block in columns):
        return _sparse_moments(columns, layout, weight, n_rows, total)
    table = np.empty((rows, layout.width))
    at = 0
    for block in columns:
        table[:, at : at + block.shape[1]] = block
        at += block.shape[1]
    mean = (np.ones(rows) if weight is None else weight) @ table / total
    table -= mean
    if weight is not None:
        table *= np.sqrt(weight)[:, None]
    return Moments(layout, n_rows, total, _square_sum(weight, rows), mean, table.T @ table)


def _square_sum(weight: Array | None, rows: int) -> float:
    return float(rows) if weight is None else float(weight @ weight)


def _sparse_moments(columns: list[Any], layout: Layout, weight: Array | None, n_rows: int, total: float) -> Moments:
    """Sums of raw products less n·mm': the rows stay sparse, the moments are dense.

    Dense columns are centred first, because a mean that is large beside the spread would cancel every digit.
    """
    shifts, blocks = [], []
    for block in columns:
        if sparse.issparse(block):
            shift = np.zeros(block.shape[1])
        else:
            shift = (np.ones(len(block)) if weight is None else weight) @ block / total
            block = block - shift
        shifts.append(shift)
        blocks.append(sparse.csr_array(block))
    table = sparse.hstack(blocks, format="csr")
    weighted = table if weight is None else sparse.csr_array(table.multiply(weight[:, None]))
    mean = np.asarray(weighted.sum(axis=0)).ravel() / total
    raw = np.asarray((weighted.T @ table).todense())
    scatter = raw - total * np.outer(mean, mean)
    square = _square_sum(weight, table.shape[0])
    return Moments(layout, n_rows, total, square, mean + np.concatenate(shifts), scatter)


def merge_all(parts: list[Moments]) -> Moments:
    """Merge in a balanced tree, so that rounding grows with the logarithm of the number of parts."""
    while len(parts) > 1:
        pairs = [parts[i].merge(parts[i + 1]) for i in range(0, len(parts) - 1, 2)]
        parts = pairs + parts[len(parts) - len(parts) % 2 :]
    return parts[0]
