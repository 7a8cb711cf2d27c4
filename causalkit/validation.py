"""Checks of what users pass in: the only module that words "bad input".

Every check names the argument, says what was expected and what was got, and what to do about it.
Each returns the checked value as a plain numpy array, so that numeric code never sees a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import NonFiniteError, NonPositiveError, TooFewPartsError

__all__ = [
    "Groups",
    "Treatment",
    "as_array",
    "check_choice",
    "check_column_names",
    "check_composition",
    "check_fit_table",
    "check_groups",
    "check_integer",
    "check_magnitude",
    "check_matrix",
    "check_numeric_columns",
    "check_probability",
    "check_same_index",
    "check_sample_weight",
    "check_treatment",
    "check_vector",
    "column_name",
]

MAX_CONTRAST_LEVELS = 20
_LARGEST = 1e60


@dataclass(frozen=True)
class Groups:
    """Cluster membership of rows.

    Attributes
    ----------
    codes : ndarray of int, shape (n,)
        Group of each row, numbered from 0.
    labels : ndarray, shape (G,)
        Label of each group, so that groups of two samples can be matched.
    """

    codes: NDArray[np.intp]
    labels: NDArray[Any]

    @property
    def n_groups(self) -> int:
        """Number of distinct groups, G."""
        return len(self.labels)


@dataclass(frozen=True)
class Treatment:
    """A coded treatment.

    Attributes
    ----------
    codes : ndarray of int, shape (n,)
        Level of each row, numbered from 0 (the reference level).
    levels : ndarray, shape (L,)
        Sorted distinct values.
    """

    codes: NDArray[np.intp]
    levels: NDArray[Any]


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


def _as_float(array: NDArray[Any], name: str) -> NDArray[np.float64]:
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
    array = _as_float(array, name)
    if n_rows is not None and array.shape[0] != n_rows:
        raise ValueError(
            f"{name} has {array.shape[0]} rows, but {like or 'the other arguments'} has {n_rows}: "
            "unequal lengths; pass the same rows to both."
        )
    if array.shape[0] == 0:
        raise ValueError(f"Found array with 0 sample(s): {name} is empty; a minimum of 1 row is required.")
    if not allow_nan:
        _check_finite(array, name)
    return array


def _check_finite(array: NDArray[np.float64], name: str) -> None:
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
    array = _as_float(array, name)
    if n_rows is not None and array.shape[0] != n_rows:
        raise ValueError(f"{name} has {array.shape[0]} rows, but {like or 'the other arguments'} has {n_rows}.")
    _check_finite(array, name)
    columns = getattr(values, "columns", None)
    single = column_name(values)
    if columns is not None:
        return array, [str(c) for c in columns]
    if single is not None and array.shape[1] == 1:
        return array, [single]
    return array, [f"{name}{j}" for j in range(array.shape[1])]


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
        values = _as_float(array, "y")
        if values.ndim in (1, 2):
            _check_finite(values, "y")


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


def check_sample_weight(
    values: Any, n_rows: int, *, name: str = "sample_weight", like: str | None = None
) -> NDArray[np.float64] | None:
    """Check non-negative weights with a positive sum; ``None`` stays ``None``."""
    if values is None:
        return None
    weight = check_vector(values, name, n_rows=n_rows, like=like)
    negative = weight < 0
    if negative.any():
        raise ValueError(
            f"{name} must not be negative: got {int(negative.sum())} negative of {n_rows} rows "
            f"(first: row {int(np.argmax(negative))}, {weight[np.argmax(negative)]:g})."
        )
    if not weight.sum() > 0:
        raise ValueError(f"{name} must have a positive sum: all weights are zero, so every row would be dropped.")
    check_magnitude(weight, name)
    return weight


def check_groups(values: Any, n_rows: int, *, name: str = "groups", like: str | None = None) -> Groups | None:
    """Code cluster labels as integers; ``None`` stays ``None``. Missing labels are refused."""
    if values is None:
        return None
    import pandas as pd

    array = as_array(values, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.shape[0] != n_rows:
        raise ValueError(
            f"{name} must hold one label per row: expected shape ({n_rows},) like "
            f"{like or 'the other arguments'}, got shape {array.shape}."
        )
    codes, labels = pd.factorize(array, sort=False)
    if (codes < 0).any():
        raise ValueError(
            f"{name} has {int((codes < 0).sum())} missing labels (first: row {int(np.argmax(codes < 0))}): "
            "give every row a label."
        )
    return Groups(np.asarray(codes, dtype=np.intp), np.asarray(labels))


def check_treatment(
    values: Any,
    n_rows: int,
    *,
    name: str = "treatment",
    like: str | None = None,
    max_levels: int = MAX_CONTRAST_LEVELS,
) -> Treatment:
    """Code a discrete treatment; the smallest level is the reference."""
    import pandas as pd

    array = as_array(values, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.shape[0] != n_rows:
        raise ValueError(
            f"{name} must hold one level per row: expected shape ({n_rows},) like "
            f"{like or 'the other arguments'}, got shape {array.shape}."
        )
    codes, levels = pd.factorize(array, sort=True)
    if (codes < 0).any():
        raise ValueError(
            f"{name} has {int((codes < 0).sum())} missing values (first: row {int(np.argmax(codes < 0))}): "
            "drop these rows or code them as a level."
        )
    if len(levels) < 2:
        raise ValueError(f"{name} has a single level, got {levels.tolist()}: a contrast needs at least two levels.")
    if len(levels) > max_levels:
        raise ValueError(
            f"{name} has {len(levels)} levels, more than the {max_levels} that a contrast allows: "
            'for a continuous treatment pass estimator="ols".'
        )
    return Treatment(np.asarray(codes, dtype=np.intp), np.asarray(levels))


def check_probability(values: Any, name: str, *, n_rows: int, like: str | None = None) -> NDArray[np.float64]:
    """Check probabilities strictly between 0 and 1, one column or one column per level."""
    array = as_array(values, name)
    matrix = array.ndim == 2 and array.shape[1] > 1
    checked: NDArray[np.float64] = (
        check_matrix(values, name, n_rows=n_rows, like=like)[0]
        if matrix
        else check_vector(values, name, n_rows=n_rows, like=like)
    )
    outside = (checked <= 0) | (checked >= 1)
    if outside.any():
        rows = outside.any(axis=1) if matrix else outside
        raise ValueError(
            f"{name} must lie strictly between 0 and 1: got {int(rows.sum())} rows outside "
            f"(first: row {int(np.argmax(rows))}, {checked[np.argmax(rows)]}). "
            "Rows that are treated for certain carry no contrast; drop them."
        )
    return checked


def check_choice(value: Any, name: str, choices: tuple[Any, ...]) -> None:
    """Check that an option is one of a few values."""
    try:
        ok = value in choices
    except (TypeError, ValueError):
        ok = False
    if not ok:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}.")


def check_integer(value: Any, name: str, *, low: int, high: int | None = None) -> int:
    """Check an integer option within its range."""
    ok = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not ok or value < low or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"{name} must be an integer {limits}; got {value!r}.")
    return int(value)


def check_same_index(first: Any, second: Any, names: tuple[str, str]) -> None:
    """Refuse two pandas objects whose index labels agree as a set but not in order.

    Rows are matched by position everywhere in the library. Equal labels in another order mean that
    the user thinks of them as matched by label, and a silent positional match would be wrong.
    """
    a, b = getattr(first, "index", None), getattr(second, "index", None)
    if a is None or b is None or not hasattr(a, "equals") or not hasattr(b, "equals"):
        return
    if getattr(a, "nlevels", 1) != getattr(b, "nlevels", 1):
        return
    if len(a) != len(b) or a.equals(b) or not a.is_unique or not b.is_unique:
        return
    if bool(b.isin(a).all()):
        raise ValueError(
            f"{names[0]} and {names[1]} have the same index labels in a different order. Rows are matched by "
            f"position: reorder one of them first, for example {names[1]}.loc[{names[0]}.index]."
        )


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
    return _as_float(array, name)


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
