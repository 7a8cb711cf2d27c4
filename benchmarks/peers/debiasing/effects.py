"""Effects: growth with n, peak memory, streams, and seconds by size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.debiasing.common import MEGABYTE, ROWS, calibration, growth, trial
from benchmarks.peers.timing import peak_bytes, seconds
from benchmarks.rows import Row, at_most, recorded, skipped
from benchmarks.simulation import Tier
from causalkit.debiasing import (
    EffectAccumulator,
    LinearCalibration,
    SplineCalibration,
    TweedieCorrection,
)

__all__ = ["effects", "sizes"]

Array = NDArray[np.float64]


def effects(tier: Tier) -> Iterator[Row]:
    """Growth and peak memory of an effect; the accumulator's memory must not grow."""
    x, treatment = trial(ROWS, 9040)
    f, y = calibration(5000, 9041)
    for number, (name, correction) in enumerate(
        (("LinearCalibration", LinearCalibration()), ("spline Tweedie K=5", TweedieCorrection(n_knots=5)))
    ):
        fitted = correction.fit(f, y)

        def effect(rows: Array, fitted: Any = fitted) -> Any:
            return fitted.effect(rows, treatment=treatment[: len(rows)])

        label = f"M{number + 1}"
        yield growth(f"{label}.1", f"{name}, effect: growth of time from 1e6 to 1e7 rows", effect, x)
        arrays = peak_bytes(partial(effect, x)) / x.nbytes
        yield at_most(f"{label}.2", f"{name}, effect, n=1e7: peak in arrays of n", arrays, 4.0)
        peaks = [peak_bytes(partial(_accumulate, fitted, x[:n], treatment[:n])) for n in (ROWS // 10, ROWS)]
        what = f"{name}, EffectAccumulator: peak at 1e7 rows over that at 1e6"
        yield at_most(f"{label}.3", what, peaks[1] / peaks[0], 1.1, note=f"{peaks[1] / MEGABYTE:.1f} MB")


def _accumulate(correction: Any, x: Array, treatment: NDArray[np.int8], chunk: int = 100_000) -> Any:
    accumulator = EffectAccumulator(correction)
    for start in range(0, len(x), chunk):
        accumulator.update(x[start : start + chunk], treatment[start : start + chunk])
    return accumulator.result()


# ---------------------------------------------------------------------- by size


def sizes(tier: Tier) -> Iterator[Row]:
    """Seconds and peak memory at 1e5, 1e6 and 1e7 rows."""
    f, y = calibration(5000, 9051)
    makers: dict[str, Callable[[], Any]] = {
        "LinearCalibration": LinearCalibration,
        "TweedieCorrection K=5": lambda: TweedieCorrection(n_knots=5),
        "TweedieCorrection kernel": lambda: TweedieCorrection(score="kde"),
        "SplineCalibration K=4": lambda: SplineCalibration(n_knots=4),
    }
    for power in (5, 6, 7):
        n = 10**power
        x, treatment = trial(n, 9052)
        big_f, big_y = calibration(n, 9053)
        for number, (name, make) in enumerate(makers.items()):
            fitted, label = make().fit(f, y), f"R{power}.{number + 1}"
            if n < ROWS or tier.full:
                fit = partial(_fit, make, big_f, big_y)
                yield _recorded(f"{label}a", f"{name}: fit, n=1e{power}", fit)
            transform = partial(fitted.transform, x)
            yield _recorded(f"{label}b", f"{name}: transform, n=1e{power}", transform)
            effect = partial(fitted.effect, x, treatment=treatment)
            yield _recorded(f"{label}c", f"{name}: effect, n=1e{power}", effect)
        fitted = makers["TweedieCorrection K=5"]().fit(f, y)
        yield from _dask_row(fitted, x, treatment, power)


def _fit(make: Callable[[], Any], f: Array, y: Array) -> Any:
    return make().fit(f, y)


def _recorded(id: str, what: str, call: Callable[[], Any]) -> Row:
    taken = seconds(call)
    return recorded(id, f"{what}, seconds", taken, f"peak {peak_bytes(call) / MEGABYTE:.0f} MB")


def _dask_row(fitted: Any, x: Array, treatment: NDArray[np.int8], power: int) -> Iterator[Row]:
    label, what = f"R{power}.9", f"EffectAccumulator over Dask chunks, K=5, n=1e{power}"
    try:
        import dask
        import dask.array as da
    except ImportError:
        yield skipped(label, what, "dask is not installed: pip install -e '.[test]'")
        return

    def update(part: Array, arms: NDArray[np.int8]) -> EffectAccumulator:
        return EffectAccumulator(fitted).update(part, arms)

    def run() -> Any:
        pieces = [da.from_array(values, chunks=500_000).to_delayed().ravel() for values in (x, treatment)]
        parts = [dask.delayed(update)(*piece) for piece in zip(*pieces, strict=True)]
        first, *others = dask.compute(*parts, scheduler="threads", num_workers=2)
        for other in others:
            first.merge(other)
        return first.result()

    yield _recorded(label, what, run)
    direct = fitted.effect(x, treatment=treatment)
    distance = abs(float(run().estimate[0] / direct.estimate[0]) - 1)
    yield at_most(f"{label}b", f"{what}: distance from `effect`, relative", distance, 1e-10)
