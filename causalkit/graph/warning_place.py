"""Warnings that point at the line of the user, however deep in the package they arise."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["caller_level", "warnings_at_caller"]

# Between the user's line and ours: wrappers of outputs and routing, workers, and this package.
_BETWEEN = {"causalkit", "sklearn", "joblib", "contextlib"}


def caller_level() -> int:
    """``stacklevel`` of the nearest line outside the package, for the function that calls this one."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    return level


@contextmanager
def warnings_at_caller() -> Iterator[None]:
    """Give warnings of a block again, as of the nearest line outside the package.

    The filters of the user decide then; inside the block every warning passes.
    """
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield
    for one in found:
        warnings.warn(one.message, stacklevel=caller_level())
