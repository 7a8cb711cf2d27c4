"""What goes with the rows: treatment, clusters, weights, probabilities, labels of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.validation.arrays import as_array, check_matrix, check_vector
from causalkit.validation.tables import check_magnitude

__all__ = [
    "Groups",
    "Treatment",
    "check_groups",
    "check_probability",
    "check_same_index",
    "check_sample_weight",
    "check_treatment",
]

MAX_CONTRAST_LEVELS = 20


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


def _coded(
    values: Any, n_rows: int, name: str, like: str | None, what: str, remedy: str, *, sort: bool = False
) -> tuple[Any, Any]:
    """Integer codes of one label per row, and the labels in order of appearance or sorted; missing ones are refused."""
    import pandas as pd

    array = as_array(values, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.shape[0] != n_rows:
        raise ValueError(
            f"{name} must hold one {what} per row: expected shape ({n_rows},) like "
            f"{like or 'the other arguments'}, got shape {array.shape}."
        )
    codes, labels = pd.factorize(array, sort=sort)
    missing = codes < 0
    if missing.any():
        raise ValueError(
            f"{name} has {int(missing.sum())} missing {what}s (first: row {int(np.argmax(missing))}): {remedy}."
        )
    return codes, labels


def check_groups(values: Any, n_rows: int, *, name: str = "groups", like: str | None = None) -> Groups | None:
    """Code cluster labels as integers; ``None`` stays ``None``. Missing labels are refused."""
    if values is None:
        return None
    codes, labels = _coded(values, n_rows, name, like, "label", "give every row a label")
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
    remedy = "drop these rows or code them as a level"
    codes, levels = _coded(values, n_rows, name, like, "level", remedy, sort=True)
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
