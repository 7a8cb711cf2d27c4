"""Inputs that users pass by accident: other containers, types, orders, shapes, values and labels.

Each change takes a vector or a table with labels and returns anything. Changes of ``SAME`` keep every value, so that
the answer must stay what it was; those of ``OTHER`` may be answered or refused.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse

__all__ = ["OTHER", "ROWS", "SAME", "as_labelled"]

Labelled = pd.DataFrame | pd.Series
Change = Callable[[Labelled], Any]


def as_labelled(values: Any) -> Labelled:
    """A table or vector with labels."""
    if isinstance(values, pd.DataFrame | pd.Series):
        return values
    array = np.asarray(values)
    return pd.DataFrame(array).rename(columns=lambda j: f"c{j}") if array.ndim == 2 else pd.Series(array)


def _numeric(values: Labelled) -> bool:
    return np.asarray(values).dtype.kind in "biuf"


def _like(values: Labelled, array: Any) -> Labelled:
    """The same labels around other values."""
    if isinstance(values, pd.DataFrame):
        return pd.DataFrame(array, index=values.index, columns=values.columns)
    return pd.Series(array, index=values.index, name=values.name)


def _memory_map(values: Labelled) -> Any:
    array = np.asarray(values)
    if array.dtype == object:
        array = array.astype(str)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "values.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")  # the mapping outlives the name of the file


def _read_only(values: Labelled) -> Any:
    array = np.array(values)
    array.flags.writeable = False
    return array


def _strided(values: Labelled) -> Any:
    array = np.asarray(values)
    return np.repeat(array, 2, axis=0)[::2]


def _backwards(values: Labelled) -> Any:
    return np.ascontiguousarray(np.asarray(values)[::-1])[::-1]


def _swapped(values: Labelled) -> Any:
    array = np.asarray(values)
    return array.astype(array.dtype.newbyteorder()) if _numeric(values) else array


class _Subclass(np.ndarray):
    """An array class of somebody else."""


def _polars(values: Labelled) -> Any:
    if isinstance(values, pd.DataFrame):
        return pl.DataFrame({str(name): np.asarray(values[name]) for name in values.columns})
    return pl.Series("" if values.name is None else str(values.name), np.asarray(values).tolist())


def _nullable(values: Labelled) -> Any:
    return values.convert_dtypes() if _numeric(values) else values


def _arrow(values: Labelled) -> Any:
    return values.convert_dtypes(dtype_backend="pyarrow")


SAME: dict[str, Change] = {
    "C order": lambda v: np.array(v, order="C"),
    "Fortran order": lambda v: np.array(v, order="F"),
    "strided": _strided,
    "negative strides": _backwards,
    "read-only": _read_only,
    "memory map": _memory_map,
    "other byte order": _swapped,
    "array subclass": lambda v: np.asarray(v).view(_Subclass),
    "masked array, no mask": lambda v: np.ma.MaskedArray(np.asarray(v)),
    "object": lambda v: v.astype(object),
    "list": lambda v: np.asarray(v).tolist(),
    "long double": lambda v: np.asarray(v, dtype=np.longdouble) if _numeric(v) else v,
    "polars": _polars,
    "nullable": _nullable,
    "arrow": _arrow,
    "repeated index": lambda v: v.set_axis(["r"] * len(v), axis=0),
    "index of tuples": lambda v: v.set_axis(pd.MultiIndex.from_product([["a"], range(len(v))]), axis=0),
    "index of dates": lambda v: v.set_axis(pd.date_range("2020-01-01", periods=len(v)), axis=0),
}


def _numbers(values: Labelled) -> Any:
    """A copy as floats; words become their codes."""
    array = np.array(values)
    return (
        array.astype(float) if _numeric(values) else pd.factorize(array.ravel())[0].reshape(array.shape).astype(float)
    )


def _with_cell(value: Any, row: int = 1) -> Change:
    def change(values: Labelled) -> Labelled:
        array = np.array(values, dtype=object if isinstance(value, str) or value is None else None)
        if not _numeric(values):
            array = np.array(values, dtype=object)
        elif array.dtype.kind in "biu" and array.dtype != object:
            array = array.astype(float)
        if array.size:
            array[(min(row, len(array) - 1), *([-1] * (array.ndim - 1)))] = value
        return _like(values, array)

    return change


def _scaled(factor: float) -> Change:
    return lambda values: _like(values, _numbers(values) * factor)


def _shifted(offset: float) -> Change:
    return lambda values: _like(values, _numbers(values) + offset)


def _cast(dtype: Any, factor: float = 1.0) -> Change:
    def change(values: Labelled) -> Labelled:
        with np.errstate(invalid="ignore", over="ignore"):
            return _like(
                values,
                np.trunc(_numbers(values) * factor).astype(dtype) if factor != 1 else _numbers(values).astype(dtype),
            )

    return change


def _constant(value: float) -> Change:
    return lambda values: _like(values, np.full(values.shape, value))


def _first_column(change: Callable[[Any], Any]) -> Change:
    """Change the first column only (of a vector, the vector)."""

    def apply(values: Labelled) -> Labelled:
        array = _numbers(values)
        if array.ndim == 1:
            return _like(values, change(array))
        if array.shape[1]:
            array[:, 0] = change(array[:, 0])
        return _like(values, array)

    return apply


def _uneven(values: Labelled) -> Labelled:
    array = _numbers(values)
    if array.ndim == 2:
        array = array * np.logspace(-150, 150, max(array.shape[1], 1))[: array.shape[1]]
    return _like(values, array)


def _copied_column(values: Labelled) -> Labelled:
    array = _numbers(values)
    if array.ndim == 2 and array.shape[1] > 1:
        array[:, 1] = array[:, 0]
    return _like(values, array)


def _shuffled_labels(values: Labelled) -> Labelled:
    return values.set_axis(values.index[::-1], axis=0)


def _named(names: Callable[[int], list[Any]]) -> Change:
    return lambda values: values.set_axis(names(values.shape[1]), axis=1) if values.ndim == 2 else values


def _ragged(values: Labelled) -> Any:
    rows = [list(row) if np.ndim(row) else [row] for row in np.asarray(values)]
    return [*rows[:-1], rows[-1][:-1]] if rows else []


OTHER: dict[str, Change] = {
    **{f"as {name}": _cast(name, 20.0) for name in ("int8", "uint8", "int16", "int32", "int64")},
    **{f"as {name}": _cast(name) for name in ("float16", "float32", "bool", "complex128")},
    "numbers as text": lambda v: v.astype(str),
    "words": lambda v: _like(v, np.full(v.shape, "word", dtype=object)),
    "categories": lambda v: v.astype("category"),
    "dates": lambda v: _like(v, np.full(v.shape, np.datetime64("2020-01-01", "ns"))),
    "durations": lambda v: _like(v, np.full(v.shape, np.timedelta64(5, "s"))),
    "nullable with NA": lambda v: _with_cell(np.nan)(v).convert_dtypes(),
    "arrow with null": lambda v: _with_cell(np.nan)(v).convert_dtypes(dtype_backend="pyarrow"),
    "masked array": lambda v: np.ma.MaskedArray(
        _numbers(v), mask=_numbers(v) > np.median(_numbers(v) if v.size else 0)
    ),
    "one NaN": _with_cell(np.nan),
    "one infinity": _with_cell(np.inf),
    "one -infinity": _with_cell(-np.inf),
    "one None": _with_cell(None),
    "one word": _with_cell("word"),
    "all NaN": _constant(np.nan),
    "one far value": _with_cell(1e9),
    "one huge value": _with_cell(1e200),
    "all zero": _constant(0.0),
    "all one": _constant(1.0),
    "constant, hard to sum": _constant(0.1),
    "one constant column": _first_column(lambda a: np.full(a.shape, 2.5)),
    "nearly constant column": _first_column(lambda a: 1.0 + 1e-15 * a),
    "two values": _first_column(lambda a: (a > np.median(a)).astype(float) if a.size else a),
    "repeated column": _copied_column,
    "negative": _scaled(-1.0),
    **{f"times {factor:g}": _scaled(factor) for factor in (1e300, 1e160, 1e100, 1e20, 1e-20, 1e-100, 1e-160, 1e-300)},
    "subnormal": _scaled(1e-310),
    "columns from 1e-150 to 1e150": _uneven,
    "plus 1e12": _shifted(1e12),
    "plus 1e200": _shifted(1e200),
    "no rows": lambda v: v.iloc[:0],
    "one row": lambda v: v.iloc[:1],
    "two rows": lambda v: v.iloc[:2],
    "one row less": lambda v: v.iloc[:-1],
    "one row more": lambda v: pd.concat([v, v.iloc[-1:]]),
    "no columns": lambda v: v.iloc[:, :0] if v.ndim == 2 else np.empty((len(v), 0)),
    "one column": lambda v: v.iloc[:, :1] if v.ndim == 2 else v.to_frame(),
    "one column more": lambda v: np.column_stack([_numbers(v), np.arange(len(v))]),
    "one axis": lambda v: np.asarray(v)[:, 0] if v.ndim == 2 and v.shape[1] else np.asarray(v).ravel(),
    "three axes": lambda v: (
        np.asarray(v).reshape(*v.shape, 1, 1)[..., 0] if v.ndim == 2 else np.asarray(v).reshape(-1, 1, 1)
    ),
    "transposed": lambda v: np.asarray(v).T if v.ndim == 2 else np.asarray(v)[None, :],
    "scalar": lambda v: 3.5,
    "None": lambda v: None,
    "text": lambda v: "values",
    "dictionary": lambda v: {"a": 1},
    "generator": lambda v: (row for row in np.asarray(v)),
    "function": lambda v: np.mean,
    "ragged": _ragged,
    "sparse": lambda v: sparse.csr_array(np.atleast_2d(_numbers(v))),
    "labels in another order": _shuffled_labels,
    "columns named twice": _named(lambda p: ["a"] * p),
    "columns named by numbers": _named(lambda p: list(range(p))),
    "columns named by both": _named(lambda p: [0, *[f"n{j}" for j in range(1, p)]][:p]),
    "columns in another order": lambda v: v.iloc[:, ::-1] if v.ndim == 2 else v,
    "other levels": lambda v: _like(v, [f"new {i % 7}" for i in range(len(v))]) if v.ndim == 1 else _scaled(7.0)(v),
    "all different": lambda v: _like(v, np.arange(v.size, dtype=float).reshape(v.shape)),
}


# Changes of every row-wise argument at once.
ROWS: dict[str, Callable[[Any], Any]] = {
    **{f"{count} rows": (lambda v, count=count: v[:count]) for count in (0, 1, 2, 3, 4, 6, 9, 12, 20, 50)},
    "one row many times": lambda v: v[[0] * len(v)],
    "two rows many times": lambda v: v[[0, 1] * (len(v) // 2)],
    "rows twice": lambda v: np.concatenate([v, v]),
    "rows sorted backwards": lambda v: v[::-1],
}
