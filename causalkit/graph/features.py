"""Checks of covariates that are going to be passed along edges."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.validation import as_array, check_magnitude

__all__ = ["check_features"]

Array = NDArray[np.float64]


def check_features(X: Any, name: str = "X") -> tuple[Array, list[str]]:
    """Check a finite numeric table, and return it with its column names.

    Parameters
    ----------
    X : array-like or frame, shape (n, p)
        Covariates.
    name : str, default="X"
        Argument name for messages.

    Returns
    -------
    values : ndarray of float64, shape (n, p)
    names : list of str, length p
        Columns of a frame if they are strings, else ``x0``, ``x1``, ...

    Raises
    ------
    TypeError
        A sparse matrix.
    ValueError
        Not a table, columns that are not numbers, NaN or infinity, values above 1e60 or all below 1e-60.
    """
    if sparse.issparse(X):
        raise TypeError(
            f"{name} is a sparse matrix: expected a dense array or frame, because products with the graph are dense. "
            f"A dense array is required, so use {name}.toarray(), or reduce its columns first (TruncatedSVD)."
        )
    columns: Any = getattr(X, "columns", None)
    array = as_array(X, name) if columns is None else None
    shape = X.shape if array is None else array.shape
    if len(shape) != 2:
        hint = f"{name}.reshape(-1, 1)" if len(shape) == 1 else "one row per node and one column per covariate"
        raise ValueError(f"{name} must be a table of shape (n, p), got shape {shape}. Reshape your data: {hint}.")
    if shape[0] == 0:
        raise ValueError(f"Found array with 0 sample(s): {name} is empty; a minimum of 1 row is required.")
    if shape[1] == 0:
        raise ValueError(f"{name} has 0 feature(s) (shape={shape}) while a minimum of 1 is required.")
    if array is None:
        values, names = _frame_values(X, list(columns), name)
    else:
        values, names = _array_values(array, name), [f"x{j}" for j in range(shape[1])]
    _check_finite(values, names, name)
    check_magnitude(values, name)
    return values, names


def _array_values(array: NDArray[Any], name: str) -> Array:
    if np.iscomplexobj(array):
        raise ValueError(f"Complex data not supported: {name} must hold real numbers, got {array.dtype}.")
    try:
        return np.asarray(array, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        message = (
            f"{name} must hold numbers: {error}. Encode other columns in a Pipeline before the graph step "
            "(OneHotEncoder)."
        )
        raise (TypeError if "argument must be" in str(error) else ValueError)(message) from None


def _frame_values(frame: Any, columns: list[Any], name: str) -> tuple[Array, list[str]]:
    repeated = [column for column, count in Counter(columns).items() if count > 1]
    if repeated:
        raise ValueError(
            f"{name} has column names that occur more than once: {', '.join(map(repr, repeated[:8]))}. Columns are "
            "known by name: rename or drop the repeats."
        )
    values = np.empty(frame.shape)
    refused = []
    for j, column in enumerate(columns):
        part = frame.iloc[:, j] if hasattr(frame, "iloc") else frame[column]
        try:
            if hasattr(part, "iloc"):
                values[:, j] = part.to_numpy(dtype=np.float64, na_value=np.nan)
            else:
                values[:, j] = part.to_numpy()
        except (TypeError, ValueError):
            refused.append(column)
            continue
        if str(part.dtype).startswith(("datetime", "timedelta", "Datetime", "Date", "Duration")):
            refused.append(column)
    if refused:
        raise ValueError(
            f"{name} must hold numbers, but {len(refused)} of {len(columns)} columns do not: "
            f"{', '.join(map(repr, refused[:8]))}. Encode them in a Pipeline before the graph step, for example with "
            "a ColumnTransformer and OneHotEncoder."
        )
    text = all(isinstance(column, str) for column in columns)
    return values, [column if text else f"x{j}" for j, column in enumerate(columns)]


def _check_finite(values: Array, names: list[str], name: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):  # one reduction settles the common case without a mask
            return
    bad = ~np.isfinite(values)
    if not bad.any():  # the sum overflowed, the values are finite
        return
    worst = int(np.argmax(bad.sum(axis=0)))
    rows = np.flatnonzero(bad[:, worst])
    kind = "NaN" if np.isnan(values[rows[0], worst]) else "infinity"
    raise ValueError(
        f"{name} contains NaN or infinity in {int(bad.any(axis=0).sum())} of {len(names)} columns, most in "
        f"{names[worst]!r}: {len(rows)} rows (first: {', '.join(map(str, rows[:5]))}; {kind}). One of them would "
        "spread to every neighbour: impute these cells before the graph step."
    )
