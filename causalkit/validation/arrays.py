"""One column or one table of numbers: shapes, types, finite values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_array", "as_float", "check_finite", "check_matrix", "check_vector", "column_name", "unboxed"]


def column_name(values: Any) -> str | None:
    """Name that a Series or a one-column frame carries, if it is a string."""
    columns = getattr(values, "columns", None)
    name = columns[0] if columns is not None and len(columns) == 1 else getattr(values, "name", None)
    return name if isinstance(name, str) and name else None


def as_array(values: Any, name: str) -> NDArray[Any]:
    """Anything that numpy reads as an array, of any type and shape; nothing, sparse and ragged values are refused."""
    if values is None:
        raise ValueError(f"{name} is missing: expected one value per row, got None.")
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise TypeError(
            f"{name} is a sparse matrix: expected a dense array, Series or frame; "
            f"A dense array is required, so use {name}.toarray()."
        )
    try:
        array = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values)
    except ValueError as error:
        raise ValueError(
            f"{name} must be an array, list, Series or frame with rows of equal lengths; it cannot be read ({error})."
        ) from None
    # In the byte order of this machine, which pandas needs to count values and torch to read them.
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def unboxed(array: NDArray[Any]) -> NDArray[Any]:
    """Numbers that are held as Python objects as numbers; an array of anything else as it is."""
    if array.dtype != object:
        return array
    try:
        found = np.asarray(array.tolist())
    except ValueError:  # ragged
        return array
    return found if found.dtype.kind in "biuf" and found.shape == array.shape else array


def as_float(array: NDArray[Any], name: str) -> NDArray[np.float64]:
    """Numbers in double precision; complex values, dates and words are refused."""
    if np.iscomplexobj(array):
        raise ValueError(f"Complex data not supported: {name} must hold real numbers, got {array.dtype}.")
    if array.dtype.kind in "mM":
        raise TypeError(f"{name} must hold numbers, got {array.dtype}: turn dates and times into numbers first.")
    try:
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, TypeError) and "argument must be" in str(error):
            raise TypeError(f"{name} must hold numbers: {error}") from None
        raise ValueError(
            f"{name} must hold numbers, got dtype {array.dtype} that does not convert to float ({error})."
        ) from None


def check_vector(
    values: Any, name: str, *, n_rows: int | None = None, like: str | None = None, allow_nan: bool = False
) -> NDArray[np.float64]:
    """Check one finite number per row; accepts (n,), (n, 1), a Series or a one-column frame.

    Parameters
    ----------
    values : array-like
        The values.
    name : str
        Argument name for messages.
    n_rows : int, optional
        Number of rows that is required.
    like : str, optional
        Name of the argument that sets ``n_rows``, for the message.
    allow_nan : bool, default=False
        Whether NaN passes.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    array = as_array(values, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 0:
        raise ValueError(f"{name} must hold one value per row, got a scalar. Reshape your data to shape (n,).")
    if array.ndim != 1:
        raise ValueError(
            f"{name} must be one column: expected shape (n,) or (n, 1), got shape {array.shape}. "
            "Pass the one column of predictions or outcomes that is meant."
        )
    array = as_float(array, name)
    if n_rows is not None and array.shape[0] != n_rows:
        raise ValueError(
            f"{name} has {array.shape[0]} rows, but {like or 'the other arguments'} has {n_rows}: "
            "unequal lengths; pass the same rows to both."
        )
    if array.shape[0] == 0:
        raise ValueError(f"Found array with 0 sample(s): {name} is empty; a minimum of 1 row is required.")
    if not allow_nan:
        check_finite(array, name)
    return array


def check_finite(array: NDArray[np.float64], name: str) -> None:
    """Refuse NaN and infinity, with the count of rows and the first of them."""
    # One reduction settles the common case without an n-sized mask.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(array)):
            return
    bad = ~np.isfinite(array) if array.ndim == 1 else ~np.isfinite(array).all(axis=1)
    count = int(bad.sum())
    if count == 0:  # the sum overflowed, the values are finite
        return
    kind = "NaN" if np.isnan(array).any() else "infinity"
    raise ValueError(
        f"{name} contains NaN or infinity in {count} of {array.shape[0]} rows (first: row {int(np.argmax(bad))}, "
        f"{kind}): expected finite numbers. Drop or impute these rows first."
    )


def check_matrix(
    values: Any, name: str, *, n_rows: int | None = None, like: str | None = None
) -> tuple[NDArray[np.float64], list[str]]:
    """Check a finite numeric matrix and return it with its column names.

    Returns
    -------
    matrix : ndarray of float64, shape (n, p)
    names : list of str, length p
        Column names of a frame, else ``name0``, ``name1``, ...
    """
    array = as_array(values, name)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(f"{name} must be a table: expected shape (n, p), got shape {array.shape}.")
    array = as_float(array, name)
    if n_rows is not None and array.shape[0] != n_rows:
        raise ValueError(f"{name} has {array.shape[0]} rows, but {like or 'the other arguments'} has {n_rows}.")
    check_finite(array, name)
    columns = getattr(values, "columns", None)
    single = column_name(values)
    if columns is not None:
        return array, [str(c) for c in columns]
    if single is not None and array.shape[1] == 1:
        return array, [single]
    return array, [f"{name}{j}" for j in range(array.shape[1])]
