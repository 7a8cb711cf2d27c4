"""Repetitions of a simulated cell, and how their averages are judged."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from benchmarks.rows import Row, at_least, at_most, near, within

__all__ = ["Tier", "listed_mean", "listed_sd", "listed_share", "repeat", "standard_error"]

Array = NDArray[np.float64]

# Three standard errors: with some 200 banded rows, two would fail ten of them by chance.
_WIDTH = 3.0
_PER_TASK = 10


def repeat(
    one: Callable[..., Mapping[str, float]], n: int, *, seed: int, n_jobs: int = 2, **settings: Any
) -> dict[str, Array]:
    """Run ``one(rng, **settings)`` n times; repetition r is seeded by (seed, r) for any number of jobs.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        What each repetition returned, by name.
    """
    tasks = [range(start, min(start + _PER_TASK, n)) for start in range(0, n, _PER_TASK)]
    parts = Parallel(n_jobs=n_jobs)(delayed(_some)(one, seed, part, settings) for part in tasks)
    records = [record for part in parts for record in part]
    return {name: np.array([record[name] for record in records], dtype=float) for name in records[0]}


def _some(
    one: Callable[..., Mapping[str, float]], seed: int, part: range, settings: Mapping[str, Any]
) -> list[Mapping[str, float]]:
    from threadpoolctl import threadpool_limits

    # Small and weak samples are drawn on purpose: their warnings are expected.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        return [one(np.random.default_rng([seed, r]), **settings) for r in part]


@dataclass(frozen=True)
class Tier:
    """How many repetitions are run, and how an average over them is judged.

    A bar is stated for the full tier and taken exactly there. In the short tier three Monte Carlo standard
    errors of the repetitions run are added to it. Numbers of a published simulation without a bar of their
    own are compared at three standard errors of both runs, in either tier.
    """

    full: bool = False
    n_jobs: int = 2

    def size(self, full: int, short: int) -> int:
        """Number of repetitions."""
        return full if self.full else short

    def repeat(
        self, one: Callable[..., Mapping[str, float]], full: int, short: int, *, seed: int, **settings: Any
    ) -> dict[str, Array]:
        """Repetitions of this tier."""
        return repeat(one, self.size(full, short), seed=seed, n_jobs=self.n_jobs, **settings)

    def band(self, standard_error: float) -> float:
        """What is added to a bar: nothing in the full tier."""
        return 0.0 if self.full else _WIDTH * standard_error

    def share_within(self, id: str, what: str, hits: Array, low: float, high: float = 1.0, note: str = "") -> Row:
        """A share of repetitions, such as a coverage."""
        # The band is that of a share which just meets the nearer end of the bar.
        share = float(np.mean(hits))
        edge = low if high >= 1 or share < (low + high) / 2 else high
        band = self.band(math.sqrt(edge * (1 - edge) / len(hits)))
        note = f"{len(hits)} repetitions" + (f"; {note}" if note else "")
        if high >= 1:
            return at_least(id, what, share, low, band, note)
        return within(id, what, share, low, high, band, note)

    def mean_within(self, id: str, what: str, values: Array, low: float, high: float, note: str = "") -> Row:
        """A mean over repetitions."""
        band = self.band(standard_error(values))
        note = f"{len(values)} repetitions" + (f"; {note}" if note else "")
        if low == -math.inf:
            return at_most(id, what, float(np.mean(values)), high, band, note)
        return within(id, what, float(np.mean(values)), low, high, band, note)

    def mean_near(self, id: str, what: str, values: Array, target: float, tolerance: float, note: str = "") -> Row:
        """A mean over repetitions within a tolerance of a target."""
        note = f"{len(values)} repetitions" + (f"; {note}" if note else "")
        return near(id, what, float(np.mean(values)), target, tolerance, self.band(standard_error(values)), note)


def standard_error(values: Array) -> float:
    """Of the mean of independent repetitions."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def listed_mean(
    id: str, what: str, values: Array, listed: float, listed_sd: float, n_listed: int, rounding: float = 0.0
) -> Row:
    """A mean against that of another run of the same design, at three standard errors of both."""
    band = _WIDTH * math.sqrt(float(np.var(values, ddof=1)) / len(values) + listed_sd**2 / n_listed)
    return near(id, what, float(np.mean(values)), listed, band + rounding, note=_both(values, n_listed))


def listed_sd(id: str, what: str, values: Array, listed: float, n_listed: int, rounding: float = 0.0) -> Row:
    """A standard deviation against that of another run of the same design."""
    sd = float(np.std(values, ddof=1))
    centred = (values - values.mean()) / sd
    # Var of a sample variance is (κ - 1)/n in units of σ⁴; a heavy tail widens the band.
    kurtosis = float(np.mean(centred**4))
    relative = math.sqrt(max(kurtosis - 1, 2.0) / 4 * (1 / len(values) + 1 / n_listed))
    return near(id, what, sd, listed, _WIDTH * sd * relative + rounding, note=_both(values, n_listed))


def listed_share(id: str, what: str, hits: Array, listed: float, n_listed: int) -> Row:
    """A share against that of another run of the same design."""
    variance = listed * (1 - listed)
    band = _WIDTH * math.sqrt(variance * (1 / len(hits) + 1 / n_listed))
    return near(id, what, float(np.mean(hits)), listed, band + 5e-4, note=_both(hits, n_listed))


def _both(values: Array, n_listed: int) -> str:
    return f"{len(values)} repetitions, listed with {n_listed}"
