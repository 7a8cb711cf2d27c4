"""Confounders as given by the user: which columns are numeric, cyclic or categorical, and their coded forms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import UnseenLevelError
from causalkit.rewards.records import Factor
from causalkit.validation import as_array, check_magnitude

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ConfounderRoles", "Confounders", "confounder_frame", "resolve_roles"]

Array = NDArray[np.float64]

_FEW_LEVELS = 20  # integer columns with no more distinct values are pointed out in the diagnostics
MISSING_LEVEL = "(missing)"


@dataclass(frozen=True)
class ConfounderRoles:
    """What each confounder column is.

    Attributes
    ----------
    columns : tuple of str
        All columns, in order.
    numeric : tuple of str
        Columns that enter as numbers, the cyclic ones included.
    categorical : tuple of str
        Columns that enter as levels.
    cyclic : dict of str to float
        Period of each cyclic column.
    interactions : tuple of tuple of str
        Column groups whose observed cells are one factor each; they replace the single columns.
    integer_coded : tuple of str
        Numeric columns of integers that may be codes of levels.
    """

    columns: tuple[str, ...]
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    cyclic: dict[str, float] = field(default_factory=dict)
    interactions: tuple[tuple[str, ...], ...] = ()
    integer_coded: tuple[str, ...] = ()

    @property
    def factor_columns(self) -> tuple[tuple[str, ...], ...]:
        """Columns of each factor: the interactions, then the categorical columns that are in none of them."""
        inside = {name for group in self.interactions for name in group}
        return (*self.interactions, *((name,) for name in self.categorical if name not in inside))


def confounder_frame(
    confounders: Any, n_rows: int | None, name: str = "confounders", columns: tuple[str, ...] | None = None
) -> pd.DataFrame:
    """A pandas frame of the confounders, from a frame of any library, a Series, an array or a dict.

    What has no names of its own gets those of ``columns``, if there are as many, else c0, c1, ...

    Raises
    ------
    ValueError
        Other rows than X, or several columns of one name.
    TypeError
        Datetime columns.
    """
    import pandas as pd

    if isinstance(confounders, str) or (
        isinstance(confounders, list | tuple)
        and n_rows is not None
        and len(confounders) != n_rows
        and all(isinstance(entry, str) for entry in confounders)
    ):
        raise ValueError(
            f"{name} takes values, not names of columns: got {confounders!r}. Pass the columns themselves, such as "
            "df[['author', 'month']]."
        )
    if hasattr(confounders, "to_pandas") and not isinstance(confounders, pd.DataFrame | pd.Series):
        confounders = confounders.to_pandas()
    if isinstance(confounders, pd.Series):
        label = confounders.name if confounders.name not in (None, "") else _names(columns, 1)[0]
        frame = confounders.to_frame(name=str(label))
    elif isinstance(confounders, pd.DataFrame):
        frame = confounders.copy(deep=False)
        frame.columns = [str(column) for column in frame.columns]
    elif isinstance(confounders, dict):
        sizes = {
            str(column): len(values) if hasattr(values, "__len__") else 0 for column, values in confounders.items()
        }
        if len(set(sizes.values())) > 1 or any(np.ndim(values) == 0 for values in confounders.values()):
            raise ValueError(f"{name} must hold columns of equal lengths, one value per row: got lengths {sizes}.")
        frame = pd.DataFrame({str(column): values for column, values in confounders.items()})
    else:
        array = as_array(confounders, name)
        if array.dtype.kind in "US" and not hasattr(confounders, "dtype"):
            array = np.asarray(confounders, dtype=object)  # a list of mixed rows keeps its numbers
        if array.ndim > 2 or array.ndim == 0:
            raise ValueError(f"{name} must be a table of rows by columns: got shape {array.shape}.")
        array = array.reshape(len(array), -1)
        frame = pd.DataFrame(array, columns=_names(columns, array.shape[1]))
        if array.dtype == object:
            frame = frame.infer_objects()
    if n_rows is not None and len(frame) != n_rows:
        raise ValueError(f"{name} has {len(frame)} rows, but X has {n_rows}: pass the same rows to both.")
    if frame.columns.duplicated().any():
        twice = list(frame.columns[frame.columns.duplicated()])[:5]
        raise ValueError(f"{name} has several columns of the same name, {twice}: rename them.")
    # Fractions that are held as objects are numbers; whole ones may be meant as labels, and stay what they are.
    inferred = frame.infer_objects().dtypes
    fractions = {name: inferred[name] for name in frame.columns if frame[name].dtype == object}
    frame = frame.astype({name: kind for name, kind in fractions.items() if kind.kind == "f"})
    for column in frame.columns:
        if _is_date(frame[column]):
            raise TypeError(
                f"{name} column {column!r} is a datetime: derive what matters (month, weekday, hour) and name it in "
                "`cyclic` or `categorical`."
            )
    return frame


def _is_date(column: pd.Series) -> bool:
    """Dates of any type: as levels each day would have an effect of its own, which is never what is meant."""
    import pandas as pd

    if column.dtype == object:
        return pd.api.types.infer_dtype(column, skipna=True) in ("datetime64", "datetime", "date", "period")
    return pd.api.types.is_datetime64_any_dtype(column) or isinstance(column.dtype, pd.PeriodDtype)


def _names(columns: tuple[str, ...] | None, count: int) -> list[str]:
    return list(columns) if columns is not None and len(columns) == count else [f"c{j}" for j in range(count)]


def resolve_roles(frame: pd.DataFrame, categorical: Any, cyclic: Any, interactions: Any) -> ConfounderRoles:
    """Decide what each column is, by the user's word or by its type.

    Raises
    ------
    ValueError
        A name that is no column, a period that is not positive, one column as two things, or a column of text
        that ``categorical`` leaves out.
    """
    import pandas as pd

    columns = [str(column) for column in frame.columns]
    if cyclic is not None and not isinstance(cyclic, Mapping):
        raise ValueError(f'cyclic must be a dict of column to period, such as {{"hour": 24}}; got {cyclic!r}.')
    if interactions is not None and (isinstance(interactions, str) or not all(_is_group(g) for g in interactions)):
        raise ValueError(
            f"interactions must be a list of tuples of names, such as [('author', 'month')]; got {interactions!r}."
        )
    groups = tuple(tuple(map(str, group)) for group in (interactions or ()))
    periods = {str(key): _period(str(key), value) for key, value in (cyclic or {}).items()}
    named = None if categorical is None else [categorical] if isinstance(categorical, str) else list(categorical)
    _check_names("categorical", named or [], columns)
    _check_names("cyclic", periods, columns)
    _check_names("interactions", [name for group in groups for name in group], columns)
    inside = {name for group in groups for name in group}
    texts = [c for c in columns if not _is_number(frame[c]) or pd.api.types.is_bool_dtype(frame[c])]
    levels = [c for c in columns if c in inside or (c in named if named is not None else c in texts)]
    both = [c for c in levels if c in periods]
    if both:
        raise ValueError(f"column {both[0]!r} is named in `cyclic` and is categorical: keep it in one of them.")
    left = [c for c in texts if c not in levels and not pd.api.types.is_bool_dtype(frame[c])]
    if left:
        raise ValueError(
            f"confounders column {left[0]!r} holds text and is not in `categorical`: name it there, leave "
            "categorical=None, or turn it into numbers."
        )
    numeric = tuple(c for c in columns if c not in levels)
    coded = tuple(c for c in numeric if c not in periods and _looks_coded(frame[c]))
    return ConfounderRoles(tuple(columns), numeric, tuple(levels), periods, groups, coded)


def _looks_coded(column: pd.Series) -> bool:
    """Whether integers may be codes of levels: few distinct ones, or all from 0 or 1 to the largest, repeated."""
    import pandas as pd

    if not pd.api.types.is_integer_dtype(column):
        return False
    distinct = int(column.nunique())
    if distinct <= _FEW_LEVELS:
        return distinct > 2
    low, high = int(column.min()), int(column.max())
    return low in (0, 1) and high - low + 1 == distinct and 2 * distinct <= len(column)


def _is_group(group: Any) -> bool:
    return isinstance(group, list | tuple) and len(group) > 0


def _period(column: str, value: Any) -> float:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not 0 < value < np.inf:
        shown = float(value) if number else value
        raise ValueError(f"cyclic[{column!r}] must be a positive period, such as 24 for hours; got {shown!r}.")
    return float(value)


def _is_number(column: pd.Series) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(column)) and not isinstance(column.dtype, pd.CategoricalDtype)


def _check_names(argument: str, names: Any, columns: list[str]) -> None:
    for name in names:
        if name not in columns:
            raise ValueError(f"{argument} names {name!r}, which is no column of confounders; available: {columns}.")


@dataclass(frozen=True, eq=False)
class Confounders:
    """Coded confounders of some rows.

    Attributes
    ----------
    roles : ConfounderRoles
    numeric : ndarray, shape (n, number of numeric columns)
    factors : list of Factor
        In the order of ``roles.factor_columns``; new rows carry the levels of the fit, and -1, -2, ... for unseen
        ones.
    """

    roles: ConfounderRoles
    numeric: Array
    factors: list[Factor]

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.factors[0].codes) if self.factors else len(self.numeric)

    def take(self, rows: Any) -> Confounders:
        """Some of the rows."""
        factors = [Factor(f.name, f.codes[rows], f.levels) for f in self.factors]
        return Confounders(self.roles, self.numeric[rows], factors)

    def matrix(self) -> Array:
        """Numeric columns, then the code of each factor, shape (n, number of columns): input of nuisance models."""
        return np.column_stack([self.numeric, *[f.codes for f in self.factors]]).astype(np.float64)

    def design(self, drop_first: bool = False) -> Array:
        """Numeric columns as they are, then one-hot columns of each factor, shape (n, q)."""
        blocks = [self.numeric]
        for factor in self.factors:
            columns = np.zeros((len(factor.codes), factor.n_levels))
            seen = np.flatnonzero(factor.codes >= 0)
            columns[seen, factor.codes[seen]] = 1.0
            blocks.append(columns[:, 1:] if drop_first else columns)
        return np.hstack(blocks)

    def design_names(self, drop_first: bool = False) -> list[str]:
        """Names of the columns of :meth:`design`."""
        names = list(self.roles.numeric)
        for factor in self.factors:
            names += [f"{factor.name}={level}" for level in factor.levels[int(drop_first) :]]
        return names

    @classmethod
    def of_fit(cls, frame: pd.DataFrame, roles: ConfounderRoles) -> Confounders:
        """Code the rows of a fit: they settle the levels."""
        import pandas as pd

        factors = []
        for group in roles.factor_columns:
            labels = _level_labels(frame, group)
            codes, levels = pd.factorize(labels, sort=False)
            order = np.argsort([str(level) for level in levels], kind="stable")
            rank = np.empty(len(order), dtype=np.intp)
            rank[order] = np.arange(len(order))
            sorted_levels = np.empty(len(order), dtype=object)
            for position, source in enumerate(order):
                sorted_levels[position] = levels[source]
            factors.append(Factor(":".join(group), rank[codes], sorted_levels))
        numeric = _numeric_columns(frame, roles)
        check_magnitude(numeric, "confounders")
        return cls(roles, numeric, factors)

    def of_new(self, frame: pd.DataFrame, name: str = "confounders") -> Confounders:
        """Code new rows by the levels of the fit."""
        import pandas as pd

        absent = [c for c in self.roles.columns if c not in frame.columns]
        if absent:
            raise ValueError(f"{name} lacks the columns {absent}: expected {list(self.roles.columns)}.")
        factors = []
        for group, fitted in zip(self.roles.factor_columns, self.factors, strict=True):
            index = pd.Index(fitted.levels, tupleize_cols=False)
            labels = pd.Index(_level_labels(frame, group), tupleize_cols=False)
            codes = index.get_indexer(labels)
            unseen = np.flatnonzero(codes < 0)
            if len(unseen):  # rows of one unseen level keep a code of their own
                codes[unseen] = -1 - pd.factorize(labels[unseen])[0]
            factors.append(Factor(fitted.name, np.asarray(codes, dtype=np.intp), fitted.levels))
        return Confounders(self.roles, _numeric_columns(frame, self.roles), factors)

    def without_rows(self) -> Confounders:
        """The levels alone, for coding new rows later."""
        empty = np.zeros(0, dtype=np.intp)
        factors = [Factor(f.name, empty, f.levels) for f in self.factors]
        return Confounders(self.roles, np.zeros((0, self.numeric.shape[1])), factors)


def refuse_unseen(new: Confounders, frame: pd.DataFrame, remedy: str, name: str = "confounders") -> None:
    """Refuse levels that the fit has not seen.

    Raises
    ------
    UnseenLevelError
        Naming the levels and their counts.
    """
    for factor, group in zip(new.factors, new.roles.factor_columns, strict=True):
        unseen = factor.codes < 0
        if unseen.any():
            labels = _level_labels(frame, group)
            counts: dict[str, int] = {}
            for i in np.flatnonzero(unseen):
                counts[str(labels[i])] = counts.get(str(labels[i]), 0) + 1
            shown = ", ".join(f"{label} ({count} rows)" for label, count in list(counts.items())[:5])
            more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
            raise UnseenLevelError(f"{name} column {factor.name!r} has levels unseen in fit: {shown}{more}. {remedy}")


def _level_labels(frame: pd.DataFrame, group: tuple[str, ...]) -> NDArray[Any]:
    """Labels of a factor: values of one column, tuples of several; a missing value is a level of its own."""
    parts = []
    for name in group:
        column = frame[name]
        values = column.astype(object).to_numpy()
        missing = column.isna().to_numpy()
        if missing.any():
            values = values.copy()
            values[missing] = MISSING_LEVEL
        if column.dtype == object and not all(isinstance(value, Hashable) for value in values):
            raise TypeError(
                f"confounders column {name!r} holds values that cannot be levels, such as lists: turn them into "
                "strings or numbers."
            )
        parts.append(values)
    if len(parts) == 1:
        return np.asarray(parts[0], dtype=object)
    labels = np.empty(len(frame), dtype=object)
    labels[:] = list(zip(*parts, strict=True))
    return labels


def _numeric_columns(frame: pd.DataFrame, roles: ConfounderRoles) -> Array:
    table = np.empty((len(frame), len(roles.numeric)))
    for j, name in enumerate(roles.numeric):
        if frame[name].dtype.kind == "c":
            raise ValueError(f"confounders column {name!r} must hold real numbers; got {frame[name].dtype}.")
        try:
            values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError):
            raise ValueError(f"confounders column {name!r} must hold numbers; got {frame[name].dtype}.") from None
        bad = ~np.isfinite(values)
        if bad.any():
            rows = np.flatnonzero(bad)
            raise ValueError(
                f"confounders column {name!r} contains NaN or infinity in {len(rows)} rows (first: "
                f"{rows[:3].tolist()}): impute it, or add an indicator column for the missing values."
            )
        period = roles.cyclic.get(name)
        table[:, j] = values if period is None else np.mod(values, period)
    return table
