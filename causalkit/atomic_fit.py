"""A fit that fails, or is interrupted, leaves the estimator as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["atomic_fit"]


@contextmanager
def atomic_fit(estimator: Any) -> Iterator[None]:
    """Put the attributes of an estimator back if the block does not end well.

    Parameters
    ----------
    estimator : object
        Its attributes may be set anew inside the block, but not changed in place.
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:  # an interrupt too
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
