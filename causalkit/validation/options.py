"""Options: one of a few values, or a whole number."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["check_choice", "check_integer"]


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
