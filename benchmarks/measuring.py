"""What every page needs: sections in turn with one thread, silence about designs that are difficult, largest gaps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.rows import Row
from benchmarks.simulation import Tier

__all__ = ["gap", "installed", "quiet", "rows_of_sections"]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings: samples are small, weak or far on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def installed(name: str) -> bool:
    """Whether a package can be imported."""
    return find_spec(name) is not None


def gap(a: Any, b: Any) -> float:
    """Largest absolute difference."""
    return float(np.abs(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)).max())


def rows_of_sections(
    steps: Mapping[str, Callable[[Tier], Iterator[Row]]], tier: Tier, sections: Sequence[str]
) -> Iterator[Row]:
    """Rows of the chosen sections, each by its letter, with one thread for linear algebra."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), quiet():
        for letter in sections:
            yield from steps[letter](tier)
