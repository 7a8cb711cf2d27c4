"""Errors of dose curves beside regressions of y on the actions, engression among them, on the same draws."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import installed
from benchmarks.peers.composition.common import absent, peer
from benchmarks.rows import Row, recorded, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.extrapolation.common import MIXINGS, POINTS, curve_errors, default_fit, draws, seeds_note
from causalkit.datasets import make_intervention_curve
from causalkit.extrapolation.baselines import make_baseline

__all__ = ["curves", "error_rows"]

Array = NDArray[np.float64]

_DRAWS, _FEW = 5, 2
_WORDS = {
    "rep4ex": "Rep4Ex()",
    "linear": "least squares of y on A",
    "flexible": "splines of y on A",
    "boosted": "boosted trees of y on A",
    "network": "network of y on A",
    "engression": "engression of y on A, its defaults, its mean",
}


def curves(sample: Any, seed: int) -> Iterator[tuple[str, Callable[[], Callable[[Array], Any]]]]:
    """Names, and calls that fit and return a curve."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    A, y = sample.actions, sample.y
    yield "rep4ex", lambda: default_fit(sample, seed).predict
    for name in ("linear", "flexible", "network", "engression"):
        needs = {"network": "torch", "engression": "engression"}.get(name)
        if needs is None or installed(needs):
            yield name, lambda name=name: make_baseline(name, A.shape[1], seed).fit(A, y).predict
    boosted = HistGradientBoostingRegressor(early_stopping=True, random_state=seed)
    yield "boosted", lambda: boosted.fit(A, y).predict


def _one(r: int, mixing: str) -> dict[str, float]:
    sample = make_intervention_curve(mixing=mixing, random_state=r)
    found = {}
    for name, fit in curves(sample, r):
        started = time.process_time()
        predict = fit()
        found[f"{name} seconds"] = time.process_time() - started
        found |= {f"{name} {zone}": value for zone, value in curve_errors(predict, sample).items()}
    return found


def error_rows(tier: Tier) -> Iterator[Row]:
    """E1 WARP, E2 LRELU: errors in, near, far and processor seconds of every curve."""
    for number, (mixing, title) in enumerate(MIXINGS.items()):
        found = draws(tier, _one, range(tier.size(_DRAWS, _FEW)), mixing=mixing)
        for place, (name, words) in enumerate(_WORDS.items()):
            label, what = f"E{number + 1}.{place + 1}", f"{title}, d=1, α=σ=1, {words}"
            if f"{name} far" not in found:
                yield skipped(label, what, absent(name) if peer(name) is None else "torch is not installed")
                continue
            for letter, zone in zip("abc", POINTS, strict=True):
                values = found[f"{name} {zone}"]
                yield recorded(
                    f"{label}{letter}", f"{what}: error {zone}, median", np.median(values), seeds_note(values)
                )
            seconds = found[f"{name} seconds"]
            yield recorded(f"{label}d", f"{what}: processor seconds, median", np.median(seconds))
        yield from _ratios(f"E{number + 1}.7", title, found)


def _ratios(label: str, title: str, found: dict[str, Array]) -> Iterator[Row]:
    """Median error of Rep4Ex over that of each regression that was run."""
    for place, name in enumerate(name for name in _WORDS if name != "rep4ex" and f"{name} far" in found):
        ratio = float(np.median(found["rep4ex far"]) / np.median(found[f"{name} far"]))
        better = int((found["rep4ex far"] < found[f"{name} far"]).sum())
        note = f"Rep4Ex has the smaller error in {better} of {len(found['rep4ex far'])} draws"
        yield recorded(f"{label}{'abcde'[place]}", f"{title}: error far, Rep4Ex() over {_WORDS[name]}", ratio, note)
