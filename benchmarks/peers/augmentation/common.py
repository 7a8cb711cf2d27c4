"""Samples, processor times and rows that several comparisons share."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, at_least, at_most

__all__ = ["faster", "interleaved_cpu_medians", "sample", "slower"]

Array = NDArray[np.float64]


def sample(n: int, p: int, k: int, seed: int) -> tuple[Array, Array, Array]:
    """X, y and instruments Z with a hidden cause of X and y."""
    rng = np.random.default_rng([9200, seed, n, p, k])
    Z, hidden = rng.standard_normal((n, k)), rng.standard_normal((n, p))
    X = Z @ rng.standard_normal((k, p)) * 0.3 + hidden @ rng.standard_normal((p, p)) / np.sqrt(p)
    X += 0.3 * rng.standard_normal((n, p))
    return X, X @ rng.standard_normal(p) + hidden @ rng.standard_normal(p) + rng.standard_normal(n), Z


def interleaved_cpu_medians(calls: Mapping[str, Callable[[], Any]], repeats: int, inner: int = 1) -> dict[str, float]:
    """Median processor seconds of each call; calls take turns, after one that is not counted.

    All threads count, so that a peer which starts more than one is not favoured, and other work on the machine
    plays no part. ``inner`` calls stand behind one time, for calls of milliseconds.
    """
    for call in calls.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            gc.collect()
            started = time.process_time()
            for _ in range(inner):
                call()
            taken[name].append((time.process_time() - started) / inner)
    return {name: statistics.median(values) for name, values in taken.items()}


def _note(ours: float, theirs: float, note: str) -> str:
    return f"{ours:.3g} s against {theirs:.3g} s" + (f"; {note}" if note else "")


def faster(id: str, what: str, ours: float, theirs: float, low: float, note: str = "") -> Row:
    """How many times faster than a peer, which must reach a bar."""
    return at_least(id, what, theirs / ours, low, note=_note(ours, theirs, note))


def slower(id: str, what: str, ours: float, theirs: float, high: float, note: str = "") -> Row:
    """Our time over that of a peer, which must not exceed a bar."""
    return at_most(id, what, ours / theirs, high, note=_note(ours, theirs, note))
