"""One main job per family at a given number of rows, each in a process of its own.

Rows come in blocks that are drawn as they are needed, outside the time measured, wherever the family can add blocks up.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.graph.scale_run import peak_memory

__all__ = ["CASES", "main"]

Array = NDArray[np.float64]

_BLOCK = 100_000


class _Clock:
    """Seconds of what runs inside its ``with``."""

    def __init__(self) -> None:
        self.total = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.total += time.perf_counter() - self._started


def _sizes(n: int) -> Iterator[int]:
    for start in range(0, n, _BLOCK):
        yield min(_BLOCK, n - start)


def debiasing(n: int, clock: _Clock) -> None:
    """Corrected effect of a trial of n rows, added up in blocks."""
    from causalkit import EffectAccumulator, LinearCalibration

    rng = np.random.default_rng(0)
    truth = rng.standard_normal(5000)
    correction = LinearCalibration().fit(0.5 * truth + 0.5 * rng.standard_normal(5000), truth)
    accumulator = EffectAccumulator(correction)
    for size in _sizes(n):
        treatment = rng.integers(0, 2, size)
        predictions = 0.1 * treatment + rng.standard_normal(size)
        with clock:
            accumulator.update(predictions, treatment)
    with clock:
        accumulator.result().conf_int()


def composition(n: int, clock: _Clock) -> None:
    """Partial correlations of 30 parts, added up in blocks."""
    from causalkit import CompositionalPartialCorrelation

    rng = np.random.default_rng(0)
    model = CompositionalPartialCorrelation()
    for size in _sizes(n):
        parts = np.exp(rng.standard_normal((size, 30)))
        with clock:
            model.partial_fit(parts)
    with clock:
        model.to_frame(max_qvalue=0.05)


def augmentation(n: int, clock: _Clock) -> None:
    """IV-like regression on 10 features with a shift along 9 directions, added up in blocks."""
    from causalkit import IVLikeRegressor
    from causalkit.augmentation.augmenters import NullSpaceShift

    rng = np.random.default_rng(0)
    model = IVLikeRegressor(augmentation=NullSpaceShift(np.eye(10)[:9]), random_state=0)
    for size in _sizes(n):
        X = rng.standard_normal((size, 10))
        y = X[:, -1] + rng.standard_normal(size)
        with clock:
            model.partial_fit(X, y)


def rewards(n: int, clock: _Clock) -> None:
    """Rewards of content with 10 features under one fixed effect of 1000 levels, in memory, with intervals."""
    import pandas as pd

    from causalkit import RewardDeconfounder

    rng = np.random.default_rng(0)
    author = rng.integers(0, 1000, n)
    X = rng.standard_normal((n, 10))
    y = X[:, 0] + author / 1000 + rng.standard_normal(n)
    authors = pd.DataFrame({"author": pd.Categorical(author)})
    with clock:
        model = RewardDeconfounder(method="fixed_effects", timing="before").fit(X, y, confounders=authors)
        model.inference().conf_int()


def extrapolation(n: int, clock: _Clock) -> None:
    """Rep4Ex with its defaults on 10 features and one action, in memory, and the curve at five actions."""
    from causalkit.datasets import make_intervention_curve
    from causalkit.extrapolation import Rep4Ex

    sample = make_intervention_curve(n, random_state=0)
    with clock:
        model = Rep4Ex(random_state=0).fit(sample.actions, sample.y, features=sample.features)
        model.predict(np.linspace(-1.5, 1.5, 5)[:, None])


CASES: dict[str, Callable[[int, _Clock], None]] = {
    "debiasing": debiasing,
    "composition": composition,
    "augmentation": augmentation,
    "rewards": rewards,
    "extrapolation": extrapolation,
}


def main(family: str, n: int) -> None:
    """Run a case after a small one that pays for imports; prints seconds and memory as one line of JSON."""
    warnings.simplefilter("ignore")
    CASES[family](2000, _Clock())
    before = peak_memory()
    clock = _Clock()
    CASES[family](n, clock)
    print(json.dumps({"seconds": clock.total, "megabytes": (peak_memory() - before) / 2**20}))
