"""Ridge on the products of two blocks of columns, with the columns themselves unpenalised, from cross-moments.

One pass over the rows gives the moments of each fold; every λ is then solved from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.rewards.orthogonal import row_chunks

__all__ = ["Eliminated", "ProductDesign", "ProductMoments", "choose_penalty", "sum_moments"]

Array = NDArray[np.float64]

_NO_VARIATION = 1e-10
_GRID = np.logspace(-6, 3, 25)


@dataclass(frozen=True, eq=False)
class ProductDesign:
    """Columns (1, X, B, X⊗B): X centred and at unit variance, B centred."""

    X: NDArray[np.floating]
    B: Array
    y: Array
    weight: Array
    mean: Array
    scale: Array
    basis_mean: Array
    outcome_mean: float

    @property
    def n_main(self) -> int:
        """1 + p + b."""
        return 1 + self.X.shape[1] + self.B.shape[1]

    @property
    def n_products(self) -> int:
        """p·b."""
        return self.X.shape[1] * self.B.shape[1]

    def chunks(self, rows: NDArray[np.intp] | None = None) -> Iterator[tuple[Any, Array]]:
        """Row indices and their columns, a few at a time."""
        n = len(self.y) if rows is None else len(rows)
        for part in row_chunks(n, self.n_main + self.n_products):
            at = part if rows is None else rows[part]
            x = (self.X[at].astype(np.float64) - self.mean) / self.scale
            b = self.B[at] - self.basis_mean
            products = np.einsum("ij,ik->ijk", x, b).reshape(len(x), -1)
            yield at, np.hstack([np.ones((len(x), 1)), x, b, products])

    def moments(self, rows: NDArray[np.intp] | None = None) -> ProductMoments:
        """Weighted cross-products of some rows."""
        width = self.n_main + self.n_products
        gram, moment, square, total = np.zeros((width, width)), np.zeros(width), 0.0, 0.0
        for at, F in self.chunks(rows):
            w, y = self.weight[at], self.y[at] - self.outcome_mean
            gram += F.T @ (F * w[:, None])
            moment += F.T @ (w * y)
            square += float(y @ (w * y))
            total += float(w.sum())
        return ProductMoments(gram, moment, square, total, self.n_main)


@dataclass(frozen=True, eq=False)
class ProductMoments:
    """Cross-products of the columns with one another and with the outcome."""

    gram: Array
    moment: Array
    square: float
    weight: float
    n_main: int

    def __sub__(self, other: ProductMoments) -> ProductMoments:
        return ProductMoments(
            self.gram - other.gram,
            self.moment - other.moment,
            self.square - other.square,
            self.weight - other.weight,
            self.n_main,
        )

    def loss(self, coef: Array) -> float:
        """Weighted squared error of the coefficients on these rows."""
        return float(self.square - 2 * coef @ self.moment + coef @ self.gram @ coef)


class Eliminated:
    """Moments with the unpenalised columns partialled out of the products, ready for any λ."""

    def __init__(self, moments: ProductMoments) -> None:
        d = moments.n_main
        self.d, self.moment = d, moments.moment
        self.main_inverse, self.empty_main = _pseudo_inverse(moments.gram[:d, :d])
        self.slopes = self.main_inverse @ moments.gram[:d, d:]
        left = moments.gram[d:, d:] - moments.gram[d:, :d] @ self.slopes
        self.scale = np.diag(moments.gram)[d:]
        self.left = (left + left.T) / 2
        self.values, self.vectors = np.linalg.eigh(self.left)

    def solve(self, right: Array, penalty: float) -> Array:
        """(G + λ on the products)⁻¹ right, of least norm where λ = 0 leaves a choice; right has shape (K, r)."""
        main, products = right[: self.d], right[self.d :]
        rotated = self.vectors.T @ (products - self.slopes.T @ main)
        inner = self.vectors @ (rotated * self._inverse_values(penalty)[:, None])
        return np.vstack([self.main_inverse @ main - self.slopes @ inner, inner])

    def _inverse_values(self, penalty: float) -> Array:
        if penalty > 0:
            return np.asarray(1.0 / (np.clip(self.values, 0.0, None) + penalty))
        kept = ~self.empty_products
        return np.divide(1.0, self.values, out=np.zeros_like(self.values), where=kept)

    @property
    def empty_products(self) -> NDArray[np.bool_]:
        """Directions of the products that the data do not inform."""
        return np.asarray(self.values <= _NO_VARIATION * self.scale.max(initial=1e-300))

    def null_space(self) -> Array:
        """Combinations of all columns that are zero in the data and involve products, shape (K, r)."""
        silent = self.vectors[:, self.empty_products]
        return np.vstack([-self.slopes @ silent, silent])

    def effective_dimension(self, penalty: float) -> float:
        """Rank of the main columns plus tr[S(S + λ)⁻¹]."""
        shrunk = np.clip(self.values, 0.0, None) * self._inverse_values(penalty)
        return float(self.d - self.empty_main.shape[1] + shrunk.sum())


def _pseudo_inverse(gram: Array) -> tuple[Array, Array]:
    """Inverse of a Gram matrix on its range, and its empty directions (columns at size one), shape (d, r)."""
    size = np.sqrt(np.diag(gram))
    unit = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    values, vectors = np.linalg.eigh(gram * np.outer(unit, unit))
    kept = values > _NO_VARIATION
    root = vectors[:, kept] / np.sqrt(values[kept]) * unit[:, None]
    return root @ root.T, vectors[:, ~kept]


def sum_moments(parts: list[ProductMoments]) -> ProductMoments:
    """Moments of all rows from those of the folds."""
    return ProductMoments(
        np.sum([part.gram for part in parts], axis=0),
        np.sum([part.moment for part in parts], axis=0),
        float(np.sum([part.square for part in parts])),
        float(np.sum([part.weight for part in parts])),
        parts[0].n_main,
    )


def choose_penalty(parts: list[ProductMoments], total: ProductMoments) -> float:
    """λ of the smallest out-of-fold squared error, from the moments of the folds."""
    d = total.n_main
    size = float(np.mean(np.diag(total.gram)[d:])) / total.weight
    if not size > 0:
        return 0.0  # no basis, hence no products
    losses = np.zeros(len(_GRID))
    for part in parts:
        train = total - part
        solver = Eliminated(train)
        for k, ratio in enumerate(_GRID):
            losses[k] += part.loss(solver.solve(train.moment[:, None], ratio * size * train.weight)[:, 0])
    return float(_GRID[int(np.argmin(losses))] * size * total.weight)
