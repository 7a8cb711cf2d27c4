"""Samples and rows that several comparisons share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.timing import interleaved_medians
from benchmarks.rows import Row, at_least, at_most

__all__ = ["MEGABYTE", "ROWS", "calibration", "growth", "ratio", "speedup", "trial"]

Array = NDArray[np.float64]

ROWS = 10_000_000
MEGABYTE = 2.0**20


def trial(n: int, seed: int) -> tuple[Array, NDArray[np.int8]]:
    """Predictions of a trial and its treatment."""
    rng = np.random.default_rng(seed)
    treatment = rng.integers(0, 2, n).astype(np.int8)
    return rng.standard_normal(n) + 0.3 * treatment, treatment


def calibration(n: int, seed: int) -> tuple[Array, Array]:
    """Predictions with two modes, and the truth."""
    rng = np.random.default_rng(seed)
    f = np.where(rng.random(n) < 0.7, rng.normal(0.0, 0.6, n), rng.normal(2.5, 0.9, n))
    return f, f + 0.6 * rng.standard_normal(n)


def ratio(id: str, what: str, times: dict[str, float], high: float) -> Row:
    """Ratio of two medians, which must not exceed a bar."""
    note = f"{times['ours']:.3g} s against {times['other']:.3g} s"
    return at_most(id, what, times["ours"] / times["other"], high, note=note)


def growth(id: str, what: str, call: Callable[[Array], Any], x: Array) -> Row:
    """Growth of time over ten times the rows, beside that of the plain pass.

    Fresh pages make ten times the rows cost more than ten times as much for any pass over arrays; what is
    linear grows as the plain pass does.
    """
    tenth = x[: len(x) // 10]
    times = interleaved_medians(
        {
            "small": lambda: call(tenth),
            "large": lambda: call(x),
            "small pass": lambda: (tenth - 0.3) / 0.7,
            "large pass": lambda: (x - 0.3) / 0.7,
        }
    )
    ours, plain = times["large"] / times["small"], times["large pass"] / times["small pass"]
    return at_most(id, what, ours, 1.5 * max(plain, 10.0), note=f"1.5 times that of the pass, {plain:.3g}, or of 10")


def speedup(id: str, what: str, ours: float, theirs: float, low: float, note: str = "") -> Row:
    """How many times faster than a peer."""
    note = f"{ours:.3g} s against {theirs:.3g} s" + (f"; {note}" if note else "")
    return at_least(id, what, theirs / ours, low, note=note)
