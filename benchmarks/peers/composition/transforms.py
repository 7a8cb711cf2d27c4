"""Transformers and the variation matrix beside scikit-bio, partial correlations of log-ratios beside pingouin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.composition.common import absent, amounts, peer, slower
from benchmarks.peers.timing import interleaved_medians, seconds
from benchmarks.rows import Row, at_most, recorded, skipped
from benchmarks.simulation import Tier
from causalkit.composition import CompositionalPartialCorrelation, variation_matrix
from causalkit.composition.transforms import ALR, CLR, ILR

__all__ = ["pingouin_rows", "transforms"]

Array = NDArray[np.float64]

_ROWS, _PARTS = 100_000, 200


def transforms(tier: Tier) -> Iterator[Row]:
    """T1 to T3 transformers, T4 the variation matrix."""
    composition = peer("skbio.stats.composition")
    if composition is None:
        for number, name in enumerate(("CLR", "ALR", "ILR", "variation_matrix")):
            yield skipped(f"T{number + 1}", f"{name} beside scikit-bio", absent("scikit-bio"))
        return
    X = amounts(_ROWS, _PARTS, 4)
    # Proportions, because scikit-bio documents compositions; both check their input.
    X /= X.sum(axis=1, keepdims=True)
    ilr = ILR().fit(X)
    basis = np.ascontiguousarray(ilr.contrasts_.T)
    cases: tuple[tuple[str, Callable[[], Any], Callable[[], Any]], ...] = (
        ("CLR", _transform(CLR().fit(X), X), lambda: composition.clr(X)),
        ("ALR", _transform(ALR(reference=0).fit(X), X), lambda: composition.alr(X, 0)),
        ("ILR, the same basis", _transform(ilr, X), lambda: composition.ilr(X, basis=basis)),
    )
    for number, (name, ours, theirs) in enumerate(cases):
        label, what = f"T{number + 1}", f"{name}, 1e5 x 200: transform over scikit-bio's function"
        times = interleaved_medians({"ours": ours, "theirs": theirs}, tier.size(7, 5))
        yield slower(f"{label}.1", what, times["ours"], times["theirs"], 1.5)
        distance = float(np.abs(np.asarray(ours()) - np.asarray(theirs())).max())
        yield at_most(f"{label}.2", "the same: distance of the values", distance, 1e-10)
    taken = seconds(lambda: CLR().fit_transform(X))
    yield recorded("T1.3", "CLR, 1e5 x 200: fit and transform, which check the input twice, seconds", taken)
    for number, (n, d) in enumerate(((10_000, 200), (100, 1000))):
        yield from _variation(composition, n, d, f"T4.{number + 1}", tier)


def _transform(fitted: Any, X: Array) -> Callable[[], Any]:
    return lambda: fitted.transform(X)


def _variation(composition: Any, n: int, d: int, label: str, tier: Tier) -> Iterator[Row]:
    X = amounts(n, d, 5)
    X /= X.sum(axis=1, keepdims=True)
    calls = {"ours": lambda: variation_matrix(X), "theirs": lambda: composition.pairwise_vlr(X)}
    times = interleaved_medians(calls, tier.size(5, 3))
    what = f"variation_matrix, n={n}, p={d}: over scikit-bio's pairwise_vlr"
    yield slower(f"{label}a", what, times["ours"], times["theirs"], 1.0)
    theirs = composition.pairwise_vlr(X)
    distance = float(np.abs(variation_matrix(X) - np.asarray(getattr(theirs, "data", theirs))).max())
    yield at_most(f"{label}b", "the same: distance of the values", distance, 1e-8)


# ---------------------------------------------------------------------- pingouin


def pingouin_rows(tier: Tier) -> Iterator[Row]:
    """Q1 time, Q2 error of partial correlations taken from CLR columns as if they were free variables."""
    import pandas as pd

    module = peer("pingouin")
    if module is None:
        yield skipped("Q1", "n=500, p=50: pcorr of CLR columns", absent("pingouin"))
        return
    X = amounts(500, 50, 6)
    logs = np.log(X)
    clr = pd.DataFrame(logs - logs.mean(axis=1, keepdims=True))

    def ours() -> Array:
        return CompositionalPartialCorrelation(shrinkage=None, test=None).fit(X).partial_correlation_

    times = interleaved_medians({"ours": ours, "theirs": lambda: module.pcorr(clr)}, tier.size(7, 5))
    note = f"{times['ours']:.3g} s against {times['theirs']:.3g} s; no bar"
    yield recorded("Q1", "n=500, p=50: time of pingouin's pcorr over ours", times["theirs"] / times["ours"], note)
    error = float(np.abs(np.asarray(module.pcorr(clr)) - ours()).max())
    note = "the covariance of CLR columns is singular; ours is within 1e-9 of every log-ratio basis"
    yield recorded("Q2", "the same: largest error of pingouin's r", error, note)
