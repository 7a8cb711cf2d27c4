"""Times and peak memory of calls, measured alike for everybody."""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["interleaved_medians", "peak_bytes", "seconds"]


def seconds(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    gc.collect()
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def interleaved_medians(calls: Mapping[str, Callable[[], Any]], repeats: int = 5) -> dict[str, float]:
    """Median seconds of each call; the calls take turns, so that a busy moment hits all of them.

    Every call runs once beforehand unless it is run only once, to leave imports and caches out.
    """
    if repeats > 1:
        for call in calls.values():
            call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            taken[name].append(seconds(call))
    return {name: statistics.median(values) for name, values in taken.items()}


def peak_bytes(call: Callable[[], Any]) -> int:
    """Largest number of bytes that a call holds beyond what was there before, its result included."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        result = call()
        peak = tracemalloc.get_traced_memory()[1]
        del result
    finally:
        tracemalloc.stop()
    return peak - before
