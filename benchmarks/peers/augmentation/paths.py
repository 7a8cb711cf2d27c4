"""The whole path over alpha beside one, and beside 101, anchor regressions of ivmodels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.augmentation.common import faster, interleaved_cpu_medians, sample, slower
from benchmarks.peers.composition.common import absent, peer
from benchmarks.rows import Row, at_most, recorded, skipped
from benchmarks.simulation import Tier
from causalkit.augmentation import IVLikeRegressor

__all__ = ["paths"]

Array = NDArray[np.float64]

_GRID = np.logspace(-4, 2, 101)
# Rows, features, instruments, bar against one fit, calls behind one time.
_CASES = ((100_000, 50, 49, 0.3, 1), (2048, 32, 31, 0.5, 20))


def paths(tier: Tier) -> Iterator[Row]:
    """A1 n = 1e5, A2 n = 2048, A3 one fit."""
    models = peer("ivmodels.models.anchor_regression")
    for number, (n, p, k, bar, inner) in enumerate(_CASES):
        label, sizes = f"A{number + 1}", f"n={n}, p={p}, k={k}"
        if models is None:
            yield skipped(label, f"{sizes}: 101 α beside ivmodels' anchor regression", absent("ivmodels"))
            continue
        X, y, Z = sample(n, p, k, 1)
        yield from _case(label, sizes, models.AnchorRegression, (X, y, Z), bar, inner, tier)


def _case(
    label: str, sizes: str, anchor: Any, data: tuple[Array, Array, Array], bar: float, inner: int, tier: Tier
) -> Iterator[Row]:
    X, y, Z = data

    def ours() -> Any:
        return IVLikeRegressor().fit(X, y, instruments=Z).path(_GRID)

    def theirs(alpha: float = 0.1) -> Any:
        return anchor(gamma=1 + 1 / alpha).fit(X, y, Z=Z)

    calls: dict[str, Callable[[], Any]] = {
        "ours": ours,
        "one fit": lambda: IVLikeRegressor().fit(X, y, instruments=Z),
        "theirs": theirs,
    }
    times = interleaved_cpu_medians(calls, tier.size(15, 9), inner)
    what = f"{sizes}: 101 α over one anchor regression of ivmodels"
    yield slower(f"{label}.1", what, times["ours"], times["theirs"], bar)
    what = f"{sizes}: one fit over one anchor regression of ivmodels"
    yield slower(f"{label}.2", what, times["one fit"], times["theirs"], 1.0)
    alphas = _GRID if tier.full else _GRID[::20]
    started = time.process_time()
    fits = [theirs(float(alpha)) for alpha in alphas]
    all_of_them = (time.process_time() - started) * len(_GRID) / len(alphas)
    note = "" if tier.full else f"101 are {len(alphas)} fits times {len(_GRID) / len(alphas):.1f}"
    what = f"{sizes}: 101 α, times faster than 101 anchor regressions of ivmodels"
    yield faster(f"{label}.3", what, times["ours"], all_of_them, 20.0, note)
    found = ours()
    kept = found.coef if tier.full else found.coef[::20]
    pairs = [(h, np.ravel(fit.coef_)) for h, fit in zip(kept, fits, strict=True)]
    distance = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
    what = f"{sizes}: distance of the coefficients over the largest, {len(fits)} α"
    yield at_most(f"{label}.4", what, distance, 1e-10)
    yield recorded(f"{label}.5", f"{sizes}: 101 α, processor seconds", times["ours"])
