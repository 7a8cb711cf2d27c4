"""Functions of the features that a sieve encoder combines, evaluated in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from causalkit.validation import check_choice

__all__ = ["BASES", "SieveBasis", "blocks", "make_basis"]

Array = NDArray[np.float64]

BASES = ("tanh", "fourier", "identity")
_BLOCK_ROWS = 8192


def blocks(n_rows: int) -> Iterator[slice]:
    """Consecutive slices of at most 8192 rows."""
    for start in range(0, n_rows, _BLOCK_ROWS):
        yield slice(start, min(start + _BLOCK_ROWS, n_rows))


@dataclass(frozen=True, eq=False)
class SieveBasis:
    """B(x) = [x, functions of x], x standardised.

    Attributes
    ----------
    kind : {"tanh", "fourier", "identity", "transformer"}
        Functions.
    center, scale : ndarray, shape (m,)
        Of the features; a scale of 0 marks a constant one, which is dropped.
    frequencies : ndarray, shape (m', r)
        Ω.
    phases : ndarray, shape (r,)
        β.
    transformer : object
        A fitted transformer whose output takes the place of x, for "transformer".
    """

    kind: str
    center: Array
    scale: Array
    frequencies: Array
    phases: Array
    transformer: Any = None

    @property
    def n_columns(self) -> int:
        """Columns of the design, p."""
        kept = int((self.scale > 0).sum())
        extra = {"tanh": 1, "fourier": 2}.get(self.kind, 0) * self.frequencies.shape[1]
        return kept + extra

    def design(self, X: Any) -> Array:
        """B at rows of X, shape (n, p)."""
        values = flat_features(X, self.transformer)
        kept = self.scale > 0
        standard = (values[:, kept] - self.center[kept]) / self.scale[kept]
        if self.kind == "tanh":
            return np.hstack([standard, np.tanh(standard @ self.frequencies + self.phases)])
        if self.kind == "fourier":
            angles = standard @ self.frequencies
            return np.hstack([standard, np.cos(angles), np.sin(angles)])
        return np.asarray(standard)


def flat_features(X: Any, transformer: Any) -> Array:
    """Rows of X as numbers, through a transformer if there is one."""
    values = X if transformer is None else transformer.transform(X)
    return np.asarray(values, dtype=np.float64)


def make_basis(X: Any, kind: Any, n_basis: int, rng: np.random.Generator) -> SieveBasis:
    """Learn means and spreads block by block, and draw the functions.

    Parameters
    ----------
    X : ndarray, shape (n, m)
        Features; a memory map is read in blocks.
    kind : {"tanh", "fourier", "identity"} or transformer
        Functions; an unfitted transformer is fitted on X.
    n_basis : int
        Number of functions beside x ("fourier": half of them cosines).
    rng : Generator
        Source of the draws.

    Returns
    -------
    SieveBasis

    Raises
    ------
    ValueError
        An unknown kind, or features that are all constant.
    """
    transformer = None
    if not isinstance(kind, str):
        transformer, kind = _fitted(kind, X), "transformer"
    else:
        check_choice(kind, "basis", BASES)
    n = len(X)
    total: Any = 0.0
    for rows in blocks(n):
        total = total + flat_features(X[rows], transformer).sum(axis=0)
    center = total / n
    squares: Any = 0.0
    for rows in blocks(n):
        squares = squares + ((flat_features(X[rows], transformer) - center) ** 2).sum(axis=0)
    scale = np.sqrt(squares / n)
    scale = np.where(scale > 1e-12 * (np.abs(center) + scale), scale, 0.0)
    kept = int((scale > 0).sum())
    if kept == 0:
        raise ValueError(f"features: all {len(scale)} columns are constant, so they tell nothing about the action.")
    count = {"tanh": n_basis, "fourier": n_basis // 2}.get(kind, 0)
    frequencies, phases = rng.standard_normal((kept, count)), rng.standard_normal(count)
    return SieveBasis(kind, center, scale, frequencies, phases, transformer)


def _fitted(transformer: Any, X: Any) -> Any:
    if not hasattr(transformer, "transform"):
        raise ValueError(f"basis must be one of {', '.join(map(repr, BASES))} or a transformer; got {transformer!r}.")
    try:
        check_is_fitted(transformer)
    except (NotFittedError, TypeError):
        return clone(transformer).fit(X)
    return transformer
