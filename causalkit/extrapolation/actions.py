"""Checks of actions: numbers with enough distinct rows, standardised inside."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import ExtrapolationWarning, IdentificationError
from causalkit.validation import as_array, check_magnitude, check_matrix, check_numeric_columns

__all__ = ["ActionScale", "check_actions", "check_new_actions"]

Array = NDArray[np.float64]

_FEW_ROWS = 50
_FEW_LEVELS = 5
_COLLINEAR = 1e-8


@dataclass(frozen=True, eq=False)
class ActionScale:
    """Mean and standard deviation of every action, shape (k,)."""

    center: Array
    scale: Array

    def standardised(self, actions: Array) -> Array:
        """Actions in units of their spread."""
        return (actions - self.center) / self.scale


def check_actions(actions: Any, *, warn: bool = True, stacklevel: int = 5) -> tuple[Array, list[str], ActionScale]:
    """Check the actions of a fit.

    Parameters
    ----------
    actions : array-like or frame, shape (n, k)
        Actions.
    warn : bool, default=True
        Whether to warn of lattices.

    Returns
    -------
    values : ndarray, shape (n, k)
    names : list of str
    scale : ActionScale

    Raises
    ------
    ValueError, TypeError
        Not a table of finite numbers, or too few rows.
    IdentificationError
        Constant or collinear columns; as few distinct rows as a linear function can always fit.
    """
    values, names = _table(actions)
    n = len(values)
    if n < _FEW_ROWS:
        raise ValueError(f"actions has {n} rows: expected at least {_FEW_ROWS}. Pass more rows, or lower cv.")
    center, scale = values.mean(axis=0), values.std(axis=0)
    constant = [name for name, size in zip(names, scale, strict=True) if not size > 1e-12]
    if constant:
        raise IdentificationError(
            f"actions has constant columns {constant} (smallest singular value 0): an action that never moves shows "
            "nothing. Drop them."
        )
    found = ActionScale(center, scale)
    standard = found.standardised(values)
    _check_distinct(values, standard, names, warn, stacklevel)
    singular = np.linalg.svd(standard, compute_uv=False) / np.sqrt(n)
    if singular[-1] < _COLLINEAR:
        direction = np.linalg.svd(standard, full_matrices=False)[2][-1]
        involved = [name for name, entry in zip(names, direction, strict=True) if abs(entry) > 0.1]
        raise IdentificationError(
            f"actions has collinear columns {involved} (smallest singular value {singular[-1]:.2g}): drop one of them."
        )
    return values, names, found


def _table(actions: Any) -> tuple[Array, list[str]]:
    if actions is None:
        raise ValueError("actions is missing: expected one row of actions per row of features. Pass actions=.")
    try:
        check_numeric_columns(actions, "actions")
    except ValueError as error:
        raise TypeError(f"{error} Categories become columns of combinations (0/1 or doses).") from None
    shape = as_array(actions, "actions").shape
    if len(shape) == 1:
        raise ValueError(
            f"actions is one-dimensional, shape {shape}: expected (n, k). Reshape your data: "
            "one action is actions.reshape(-1, 1)."
        )
    return check_matrix(actions, "actions")


def _check_distinct(values: Array, standard: Array, names: list[str], warn: bool, stacklevel: int) -> None:
    k = values.shape[1]
    distinct = np.unique(standard, axis=0)
    # Fewer directions than rows although there are few rows: columns are collinear, which has its own message.
    few = len(distinct) <= k + 1
    if few and len(distinct) <= np.linalg.matrix_rank(np.column_stack([np.ones(len(distinct)), distinct])):
        raise IdentificationError(
            f"actions has {len(distinct)} distinct rows for {k} columns: a linear function fits the mean of any "
            "representation at that few points (one-hot, binary, one point per arm), so that every encoder satisfies "
            "the constraint. Record combinations or more dose levels; for arms use ordinary contrasts of means."
        )
    levels = [len(np.unique(column)) for column in values.T]
    few = [f"{name} ({count} levels)" for name, count in zip(names, levels, strict=True) if count < _FEW_LEVELS]
    if few and warn:
        warnings.warn(
            f"actions lie on a lattice in {', '.join(few)}: the curve is identified at points of the lattice only, up "
            "to what repeats with its period. Read predictions between and beyond the levels with care.",
            ExtrapolationWarning,
            stacklevel=stacklevel,
        )


def check_new_actions(actions: Any, names: list[str], from_frame: bool) -> Array:
    """Actions of a prediction, shape (m, k); columns of a frame are matched by name.

    Raises
    ------
    ValueError
        Another number of columns, names that are missing, one dimension, values that are not finite or out of scale.
    """
    if from_frame and hasattr(actions, "columns"):
        given = {str(name): name for name in actions.columns}
        absent = [name for name in names if name not in given]
        if absent:
            raise ValueError(
                f"The feature names should match those that were passed during fit: actions has no column {absent}, "
                f"expected {names}."
            )
        actions = actions[[given[name] for name in names]]
    values, _ = _table(actions)
    if values.shape[1] != len(names):
        raise ValueError(f"actions has {values.shape[1]} columns, expected {len(names)} as in fit ({names}).")
    check_magnitude(values, "actions")
    return values
