"""Checks and conversions that every augmenter shares."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.exceptions import AugmentationError

if TYPE_CHECKING:
    from causalkit.augmentation.augmenters.base import Augmenter

__all__ = [
    "as_parameters",
    "as_rows",
    "check_columns",
    "check_number",
    "dense_rows",
    "frozen_array",
    "resolve_columns",
    "row_products",
]

Array = NDArray[np.float64]


def as_rows(X: Any) -> Any:
    """X as float64 rows: a CSR matrix if it is sparse, else an ndarray of shape (n, p)."""
    if sparse.issparse(X):
        return X.tocsr().astype(np.float64, copy=False)
    rows = np.asarray(X, dtype=np.float64)
    if rows.ndim != 2:
        raise AugmentationError(f"X must be a table of rows: expected shape (n, p), got shape {rows.shape}.")
    return rows


def as_parameters(augmenter: Augmenter, G: Any, X: Any) -> Array:
    """G checked against the rows of X and the number of parameters, shape (n, k)."""
    expected = (X.shape[0], len(augmenter.parameter_names(X.shape[1])))
    values = np.asarray(G, dtype=np.float64)
    if values.shape != expected:
        raise AugmentationError(
            f"G of {type(augmenter).__name__} must hold one row of parameters per row of X: expected shape "
            f"{expected}, got {values.shape}. Take it from sample(n_rows, n_features, rng)."
        )
    return values


def dense_rows(augmenter: Augmenter, X: Any) -> Array:
    """X as an ndarray; a sparse X is refused, because the augmenter would fill it."""
    rows = as_rows(X)
    if sparse.issparse(rows):
        raise AugmentationError(
            f"{type(augmenter).__name__} fills the zeros of a sparse X of shape {rows.shape}: expected a dense array. "
            "Use an augmenter that preserves sparsity (SignFlip, Masking with value 0, Scaling, Permutation), or "
            "pass dense chunks to partial_fit."
        )
    return np.asarray(rows)


def frozen_array(values: Any, name: str, ndim: int) -> Array:
    """A read-only float64 copy with ``ndim`` axes and finite entries."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise AugmentationError(f"{name} must hold numbers; got {type(values).__name__}.") from None
    if array.ndim != ndim or array.size == 0:
        raise AugmentationError(f"{name} must be a non-empty array with {ndim} axes; got shape {array.shape}.")
    if not np.isfinite(array).all():
        raise AugmentationError(f"{name} must hold finite numbers; got NaN or infinity.")
    array.flags.writeable = False
    return array


def check_number(value: Any, name: str, *, low: float = -np.inf, high: float = np.inf) -> float:
    """A finite number within [low, high]."""
    ok = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not ok or not np.isfinite(value) or not low <= value <= high:
        raise AugmentationError(f"{name} must be a finite number in [{low:g}, {high:g}]; got {value!r}.")
    return float(value)


def check_columns(values: Any, name: str) -> tuple[int, ...] | None:
    """Distinct column positions; None stays None and stands for every column."""
    if values is None:
        return None
    items = [values] if isinstance(values, str) or not hasattr(values, "__iter__") else list(values)
    if any(isinstance(item, str) for item in items):
        raise AugmentationError(
            f"{name} must hold column positions, not names: got {values!r}. Use frame.columns.get_indexer(names)."
        )
    try:
        columns = tuple(operator.index(item) for item in items)
    except TypeError:
        raise AugmentationError(f"{name} must hold integer column positions; got {values!r}.") from None
    if not columns or min(columns) < 0 or len(set(columns)) < len(columns) or any(isinstance(i, bool) for i in items):
        raise AugmentationError(f"{name} must hold distinct positions from 0, at least one; got {values!r}.")
    return columns


def resolve_columns(augmenter: Augmenter, columns: tuple[int, ...] | None, n_features: int) -> NDArray[np.intp]:
    """Positions within n features; None stands for all of them."""
    if columns is None:
        return np.arange(n_features)
    if max(columns) >= n_features:
        raise AugmentationError(
            f"{type(augmenter).__name__} acts on column {max(columns)}, but X has {n_features} columns (positions 0 to "
            f"{n_features - 1}): name columns that X has."
        )
    return np.asarray(columns, dtype=np.intp)


def row_products(G: Array, matrix: Array) -> Array:
    """G @ matrix, equal to the last bit whichever rows of G are there.

    A BLAS product is not: it takes another kernel for a few rows than for many, and chunks would differ
    from the whole (test_any_split_of_the_rows_gives_the_same_draws).
    """
    return np.einsum("nk,kp->np", G, matrix, optimize=False)
