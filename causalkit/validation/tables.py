"""Tables of features as scikit-learn takes them: names, numeric columns, scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.validation.arrays import as_array, as_float, check_finite

__all__ = ["check_column_names", "check_fit_table", "check_magnitude", "check_numeric_columns"]

_LARGEST = 1e60


def check_numeric_columns(table: Any, name: str) -> None:
    """Refuse columns of a frame that hold text, dates or other things that are no numbers, by name.

    Parameters
    ----------
    table : object
        Anything; only frames with columns are looked at.
    name : str
        Argument name for messages.

    Raises
    ------
    ValueError
        Naming the columns and what to do.
    """
    if not hasattr(table, "columns") or not hasattr(table, "dtypes") or callable(table.columns):
        return
    import pandas as pd

    frame = table.to_pandas() if not isinstance(table, pd.DataFrame) and hasattr(table, "to_pandas") else table
    if not isinstance(frame, pd.DataFrame):
        return
    bad = []
    for position, column in enumerate(frame.columns):
        values = frame.iloc[:, position]
        if pd.api.types.is_numeric_dtype(values) and not isinstance(values.dtype, pd.CategoricalDtype):
            continue
        if values.dtype == object and pd.to_numeric(values, errors="coerce").notna().sum() >= values.notna().sum():
            continue  # numbers in an object column: the conversion will tell
        bad.append(f"{column!r} ({values.dtype})")
    if bad:
        raise ValueError(
            f"{name} has columns that are no numbers: {', '.join(bad[:5])}"
            f"{f' and {len(bad) - 5} more' if len(bad) > 5 else ''}. Encode or drop them first, for example with "
            "OneHotEncoder in a Pipeline; from dates derive numbers such as month or hour."
        )


def check_magnitude(values: NDArray[Any], name: str) -> None:
    """Refuse numbers of which the fourth powers leave the range of double precision.

    Variances of products are sums of fourth powers. Beyond these limits they overflow or vanish, and what is computed
    from them is NaN, an infinity or a division by zero.

    Parameters
    ----------
    values : ndarray of float, shape (n,) or (n, p)
        Finite numbers; every column is looked at on its own, and a column of zeros passes.
    name : str
        Argument name for the message.

    Raises
    ------
    ValueError
        A column whose largest size is above 1e60, or below 1e-60 and not zero.
    """
    if values.size == 0 or values.dtype.kind != "f":
        return
    largest = np.atleast_1d(np.maximum(np.max(values, axis=0), -np.min(values, axis=0)).astype(np.float64))
    bad = (largest > _LARGEST) | ((largest < 1 / _LARGEST) & (largest > 0))
    if bad.any():
        j = int(np.argmax(bad))
        where = f" in column {j}" if values.ndim == 2 else ""
        raise ValueError(
            f"{name} is out of scale: the largest value{where} has size {largest[j]:g}, expected one between "
            f"{1 / _LARGEST:g} and {_LARGEST:g}, because squares and products of it cannot be held in double "
            f"precision. Use other units, or correct the value."
        )


def check_fit_table(
    estimator: Any, X: Any, y: Any = "no_validation", *, name: str = "X", magnitude: bool = False, **options: Any
) -> Any:
    """Check and record a table of features as ``sklearn.utils.validation.validate_data`` does, naming what is wrong.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_`` and ``feature_names_in_``, or is asked for them with ``reset=False``.
    X, y : array-like
        Features, and an outcome where there is one.
    name : str, default="X"
        Name of the table for messages.
    magnitude : bool, default=False
        Whether :func:`check_magnitude` is asked as well.
    **options
        Passed to ``validate_data``.

    Returns
    -------
    array or tuple of two arrays
        The table, with the outcome if it was given.

    Raises
    ------
    TypeError, ValueError
        Naming X or y.
    """
    from sklearn.utils.validation import validate_data

    check_column_names(X, name)
    check_numeric_columns(X, name)
    if not hasattr(X, "shape") and as_array(X, name).ndim == 0:
        raise TypeError(
            f"{name} must be a table of numbers: expected shape (n, p), got {type(X).__name__}. "
            "Pass an array, a frame or a list of rows."
        )
    checks_outcome = not isinstance(y, str) and y is not None
    if checks_outcome and options.get("y_numeric"):
        _check_outcome(y)
    try:
        checked = validate_data(estimator, X, y, **options)
    except (TypeError, ValueError) as error:
        if any(words in str(error) for words in ("could not convert", "argument must be", "bytes/strings")):
            raise type(error)(f"{name} must hold numbers: {error}") from None
        raise
    if magnitude:
        table, outcome = checked if checks_outcome else (checked, None)
        if not hasattr(table, "nnz"):
            check_magnitude(table, name)
        if outcome is not None and outcome.dtype.kind == "f":
            check_magnitude(outcome, "y")
    return checked


def _check_outcome(y: Any) -> None:
    """Refuse outcomes that are no numbers, or missing in an array of objects, where scikit-learn looks at neither."""
    array = as_array(y, "y")
    if array.dtype.kind not in "biuf":
        values = as_float(array, "y")
        if values.ndim in (1, 2):
            check_finite(values, "y")


def check_column_names(table: Any, name: str) -> None:
    """Refuse a frame of which two columns have the same name, or only some have a name.

    Parameters
    ----------
    table : object
        Anything; only pandas frames are looked at, others cannot have such names.
    name : str
        Argument name for messages.
    """
    columns = getattr(table, "columns", None)
    if columns is None or not hasattr(columns, "duplicated"):
        return
    words = [isinstance(column, str) for column in columns]
    if any(words) and not all(words):
        raise TypeError(
            f"{name} has column names that are strings and others that are not: Feature names are only supported if "
            f"all input features have string names. Use {name}.columns = {name}.columns.astype(str)."
        )
    twice = columns[columns.duplicated()]
    if len(twice):
        raise ValueError(f"{name} has several columns of the same name, {list(twice[:5])}: rename them.")
