"""Rows held out for early stopping."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_number", "validation_split"]


def validation_split(
    n_rows: int,
    fraction: Any,
    seed: int,
    *,
    strata: NDArray[np.intp] | None = None,
    groups: NDArray[np.intp] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split rows at random into training and validation rows.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    fraction : float
        Share of the validation rows, between 0 and 1, both excluded.
    seed : int
        Key of the split.
    strata : ndarray of int, shape (n,), optional
        Classes to be represented in proportion. Ignored with groups.
    groups : ndarray of int, shape (n,), optional
        Rows of a group stay together; groups are added until the share is reached.

    Returns
    -------
    training, validation : ndarray of int
        Sorted row numbers, each with at least one row.

    Raises
    ------
    ValueError
        If the fraction is out of range, or there are fewer than two rows or groups.

    Examples
    --------
    >>> from causalkit.nn import validation_split
    >>> training, validation = validation_split(10, 0.2, 0)
    >>> len(training), len(validation)
    (8, 2)
    """
    share = check_number(fraction, "validation_fraction", above_zero=True)
    if share >= 1:
        raise ValueError(f"validation_fraction must lie between 0 and 1, both excluded; got {fraction!r}.")
    rng = np.random.default_rng(seed)
    n_units = n_rows if groups is None else int(groups.max()) + 1
    if n_units < 2:
        raise ValueError(
            f"a validation split needs at least two {'rows' if groups is None else 'groups'}: got {n_units}. "
            "Pass early_stopping=False, or more data."
        )
    order = rng.permutation(n_units)
    if groups is None:
        if strata is not None:
            order = order[np.argsort(strata[order], kind="stable")]
        # Every 1/share-th row of the ordered list: each class gives its part up to one row.
        steps = np.floor(np.arange(n_units + 1) * share + rng.uniform())
        chosen = np.zeros(n_units, dtype=bool)
        chosen[order[np.diff(steps) > 0]] = True
    else:
        sizes = np.bincount(groups, minlength=n_units)[order]
        taken = np.cumsum(sizes) - sizes < share * n_rows
        taken[-1] = False
        chosen = np.zeros(n_units, dtype=bool)
        chosen[order[taken]] = True
        chosen = chosen[groups]
    if not chosen.any():
        chosen[int(rng.integers(n_rows))] = True
    elif chosen.all():
        chosen[int(rng.integers(n_rows))] = False
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def check_number(value: Any, name: str, *, above_zero: bool) -> float:
    """Check a finite number, at least 0 or above it."""
    ok = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not ok or not math.isfinite(value) or value < 0 or (above_zero and value == 0):
        raise ValueError(
            f"{name} must be a finite number {'above 0' if above_zero else 'of at least 0'}; got {value!r}."
        )
    return float(value)
