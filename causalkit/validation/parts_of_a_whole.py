"""Tables whose columns are parts of a whole: zeros, negative values, empty rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import NonFiniteError, NonPositiveError, TooFewPartsError
from causalkit.validation.arrays import as_array, as_float

__all__ = ["check_composition"]


def check_composition(
    X: Any, name: str = "X", *, zeros: str = "refuse", empty_parts: str = "refuse", min_parts: int = 1
) -> tuple[NDArray[np.float64], list[str]]:
    """Check a table of non-negative amounts, one column per part of a whole.

    Parameters
    ----------
    X : array-like, shape (n, D)
        Amounts, proportions or counts; a frame keeps its column names.
    name : str, default="X"
        Argument name for messages.
    zeros : {"refuse", "allow"}, default="refuse"
        Whether single zeros pass. A row of zeros never does: it has no proportions.
    empty_parts : {"refuse", "allow"}, default="refuse"
        Whether, with ``zeros="allow"``, a column of zeros passes (new rows may well lack a part).
    min_parts : int, default=1
        Smallest number of columns.

    Returns
    -------
    amounts : ndarray of float64, shape (n, D)
    names : list of str, length D
        Column names of a frame if they are strings, else ``x0``, ``x1``, ...

    Raises
    ------
    NonFiniteError
        NaN or infinity.
    NonPositiveError
        A negative amount, a zero that is not allowed, a row or a column of zeros.
    TooFewPartsError
        Fewer than ``min_parts`` columns.
    """
    array = _composition_array(X, name)
    columns = getattr(X, "columns", None)
    names = [f"x{j}" for j in range(array.shape[1])]
    if columns is not None and all(isinstance(column, str) for column in columns):
        names = [str(column) for column in columns]
    if array.shape[1] < min_parts:
        raise TooFewPartsError(
            f"{name} has {array.shape[1]} parts (n_features = {array.shape[1]}): expected at least {min_parts}"
            f"{', because with two parts the partial correlation is always 1' if min_parts == 3 else ''}. "
            "Pass every part of the composition as a column."
        )
    # Two reductions settle the common case without a mask; a NaN makes both of them NaN.
    low, high = float(array.min()), float(array.max())
    if low > 0 and high < np.inf:
        return array, names
    rows = _row_labels(X)
    if not (np.isfinite(low) and np.isfinite(high)):
        _refuse_non_finite(array, names, rows, name)
    if low < 0:
        _refuse_negative(array, names, rows, name)
    _check_zeros(array, names, rows, name, zeros=zeros, empty_parts=empty_parts)
    return array, names


def _composition_array(X: Any, name: str) -> NDArray[np.float64]:
    import pandas as pd

    array = as_array(X, name)
    if array.ndim != 2:
        raise ValueError(
            f"{name} must be a table of rows by parts: expected shape (n, D), got shape {array.shape}. "
            "Reshape your data: one row is array.reshape(1, -1)."
        )
    if array.shape[0] == 0:
        raise ValueError(f"Found array with 0 sample(s): {name} is empty; a minimum of 1 row is required.")
    if array.shape[1] == 0:
        raise ValueError(f"{name} has 0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")
    if array.dtype == object:
        array = np.where(pd.isna(array), np.nan, array)
    return as_float(array, name)


def _row_labels(X: Any) -> Any:
    """Labels by which the caller knows the rows: the index of a pandas frame, else None (positions)."""
    index = getattr(X, "index", None)
    return index if index is not None and not callable(index) else None


def _row_label(rows: Any, position: int) -> str:
    return str(position) if rows is None else repr(rows[position])


def _listed(labels: list[str], limit: int = 5) -> str:
    return ", ".join(labels[:limit]) + (f" and {len(labels) - limit} more" if len(labels) > limit else "")


def _refuse_non_finite(array: NDArray[np.float64], names: list[str], rows: Any, name: str) -> None:
    bad = ~np.isfinite(array)
    i, j = (int(k) for k in np.argwhere(bad)[0])
    kind = "NaN" if np.isnan(array[i, j]) else "infinity"
    raise NonFiniteError(
        f"{name} contains NaN or infinity in {int(bad.sum())} of {array.size} cells (first: row {_row_label(rows, i)}, "
        f"part {names[j]!r}, {kind}): expected finite amounts. Impute these cells or drop their rows first."
    )


def _refuse_negative(array: NDArray[np.float64], names: list[str], rows: Any, name: str) -> None:
    bad = array < 0
    i, j = (int(k) for k in np.argwhere(bad)[0])
    raise NonPositiveError(
        f"Negative values in data passed to {name}: {int(bad.sum())} cells (first: row {_row_label(rows, i)}, part "
        f"{names[j]!r}, {array[i, j]:g}). Compositions are amounts, proportions or counts: pass them before any "
        "logarithm, centring or standardising."
    )


def _check_zeros(
    array: NDArray[np.float64], names: list[str], rows: Any, name: str, *, zeros: str, empty_parts: str
) -> None:
    zero = array == 0
    per_row, per_part = zero.sum(axis=1), zero.sum(axis=0)
    n, n_parts = array.shape
    empty = np.flatnonzero(per_row == n_parts)
    if len(empty):
        raise NonPositiveError(
            f"{name} has {len(empty)} rows of zeros only: {_listed([_row_label(rows, int(i)) for i in empty])}. "
            "A row without any amount has no proportions: drop these rows."
        )
    absent = np.flatnonzero(per_part == n)
    if len(absent) and not (zeros == "allow" and empty_parts == "allow"):
        raise NonPositiveError(
            f"{name} has {len(absent)} parts that are zero in every row (n_samples = {n}): "
            f"{_listed([repr(names[j]) for j in absent])}. Nothing can be said about a part that was never "
            "seen: drop these columns."
        )
    if zeros == "refuse":
        i, j = int(per_row.argmax()), int(per_part.argmax())
        raise NonPositiveError(
            f"{name} has {int(zero.sum())} zeros in {array.size} cells (worst part: {names[j]!r} with {per_part[j]} of "
            f"{n}; worst row: {_row_label(rows, i)} with {per_row[i]} of {n_parts}): expected positive amounts, "
            'because a log-ratio with zero is infinite. Pass zero_replacement="multiplicative" or "lrsvd" to an '
            'estimator that has this argument, or put ZeroReplacement(method="multiplicative") in front.'
        )
