"""Growth of time in rows, features and parameters; peak memory of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.augmentation.common import interleaved_cpu_medians, sample
from benchmarks.peers.composition.common import peak_resident_bytes
from benchmarks.rows import Row, at_most, recorded
from benchmarks.simulation import Tier
from causalkit.augmentation import IVLikeRegressor

__all__ = ["growth", "streams"]

Array = NDArray[np.float64]

_GRID = np.logspace(-4, 2, 101)
# (name, small, large), each (n, p, k), and the growth of the products behind it.
_STEPS = (
    ("n from 2e4 to 2e5, p=20, k=20", (20_000, 20, 20), (200_000, 20, 20), 10.0),
    ("p from 20 to 80, n=5e4, k=20", (50_000, 20, 20), (50_000, 80, 20), (101 / 41) ** 2),
    ("k from 20 to 80, n=5e4, p=20", (50_000, 20, 20), (50_000, 20, 80), (101 / 41) ** 2),
)


def growth(tier: Tier) -> Iterator[Row]:
    """N1 rows, N2 features, N3 parameters."""
    for number, (name, small, large, products) in enumerate(_STEPS):
        calls: dict[str, Callable[[], Any]] = {}
        for key, (n, p, k) in (("small", small), ("large", large)):
            calls[key] = partial(_path, *sample(n, p, k, 3))
        times = interleaved_cpu_medians(calls, tier.size(7, 3))
        note = f"{times['small']:.3g} s and {times['large']:.3g} s; n(k+p+1)² grows {products:.1f} times, band 1.5"
        ratio = times["large"] / times["small"]
        yield at_most(f"N{number + 1}", f"101 α, {name}: growth of time", ratio, 1.5 * products, note=note)


def _path(X: Array, y: Array, Z: Array) -> Any:
    return IVLikeRegressor().fit(X, y, instruments=Z).path(_GRID)


# ---------------------------------------------------------------------- memory

_IMPORTS = """
import numpy as np
from causalkit.augmentation import IVLikeRegressor
from causalkit.augmentation.augmenters import NullSpaceShift
"""
_STREAM = """
model = IVLikeRegressor(augmentation=NullSpaceShift(np.eye(50)[:49]), penalty={penalty!r}, random_state=0)
rng = np.random.default_rng(0)
for start in range(0, {n}, 50_000):
    X = rng.standard_normal((50_000, 50))
    model.partial_fit(X, X[:, -1] + rng.standard_normal(50_000))
model.path(np.logspace(-4, 2, 101))
"""
_MEGABYTE = 2.0**20


def _peak(n: int, penalty: str) -> float:
    return peak_resident_bytes(_IMPORTS, _STREAM.format(n=n, penalty=penalty).strip()) / _MEGABYTE


def streams(tier: Tier) -> Iterator[Row]:
    """M1 to M2: peak of a stream of 1e6 rows and 50 features over that of a quarter of the rows."""
    start = peak_resident_bytes(_IMPORTS, "pass") / _MEGABYTE
    yield recorded("M0", "imports alone, peak MB", start)
    for number, penalty in enumerate(("projected", "pointwise")):
        small, large = _peak(250_000, penalty), _peak(1_000_000, penalty)
        label, what = f"M{number + 1}", f"{penalty}, p=50, k=49, partial_fit in chunks of 50 000 rows"
        note = f"{small:.0f} MB and {large:.0f} MB; the million rows alone are 381 MB"
        yield at_most(f"{label}.1", f"{what}: peak at 1e6 rows over that at 2.5e5", large / small, 1.05, note=note)
        yield recorded(f"{label}.2", f"{what}: peak at 1e6 rows beyond imports, MB", large - start)
