"""Partial correlations: shrunken ones of many parts, and unshrunk ones beside dense inverses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.composition.common import absent, amounts, faster, peak_resident_bytes, peer, slower
from benchmarks.peers.timing import interleaved_medians, seconds
from benchmarks.rows import Row, at_least, at_most, recorded, skipped
from benchmarks.simulation import Tier
from causalkit.composition import CompositionalPartialCorrelation, log_ratio_covariance
from causalkit.composition.precision import dense_precision

__all__ = ["dense", "large", "shrunken"]

Array = NDArray[np.float64]

# Bar, and the seconds of the peer beside which it was set: small products on contending threads.
_BARS = {500: (20.0, 2.1), 1000: (50.0, 16.0), 2000: (50.0, 46.0)}
# Seconds of propr 5.1.8 under R with OpenBLAS on two cores, recorded once; it is not run here.
_PROPR = {500: 0.21, 1000: 1.5, 2000: 6.7}


def _fit(X: Array, **options: Any) -> CompositionalPartialCorrelation:
    return CompositionalPartialCorrelation(test=None, **options).fit(X)


def _full(X: Array) -> Array:
    return _fit(X, shrinkage="basis").partial_correlation_


def shrunken(tier: Tier) -> Iterator[Row]:
    """S1 to S3 against the package compositional, S4 seconds, S5 against recorded times of propr."""
    module = peer("compositional")
    taken: dict[int, float] = {}
    for number, (d, (bar, then)) in enumerate(_BARS.items()):
        X = amounts(100, d, 1)
        what = f"n=100, p={d}, all r: times faster than compositional's basis shrinkage"
        calls: dict[str, Callable[[], Any]] = {"ours": partial(_full, X)}
        if module is not None:
            calls["theirs"] = partial(module.pairwise_partial_correlation_with_basis_shrinkage, X)
        times = interleaved_medians(calls, tier.size(9, 5) if d < 2000 else tier.size(5, 3))
        taken[d] = times["ours"]
        if "theirs" not in times:
            yield skipped(f"S{number + 1}", what, absent("compositional"))
            continue
        note = f"the bar was set where the peer took {then:g} s on two threads; it shrinks to another target"
        yield faster(f"S{number + 1}", what, taken[d], times["theirs"], bar, note)
        if d == 2000:
            yield recorded("S3b", "the same, beside the wished-for 100", times["theirs"] / taken[d])
    yield at_most("S4", "n=100, p=2000: fit with all r, seconds", taken[2000], 1.0)
    for number, (d, recorded_time) in enumerate(_PROPR.items()):
        what = f"n=100, p={d}: recorded time of propr 5.1.8 over ours"
        note = f"{taken[d]:.3g} s on one thread against {recorded_time:g} s recorded on two cores; propr is not run"
        ratio = recorded_time / taken[d]
        label = f"S5.{number + 1}"
        yield at_least(label, what, ratio, 10.0, note=note) if d == 2000 else recorded(label, what, ratio, note)


# ---------------------------------------------------------------------- ten thousand parts

_IMPORTS = """
from benchmarks.peers.composition.common import amounts
from causalkit.composition import CompositionalPartialCorrelation
"""
_TOP = "X = amounts(100, 10_000, 2)\nCompositionalPartialCorrelation(test=None).fit(X).top_k(10)"
_FRAME = "X = amounts(100, 10_000, 2)\nCompositionalPartialCorrelation().fit(X).to_frame(max_qvalue=0.01)"
_GIGABYTE = 1e9


def large(tier: Tier) -> Iterator[Row]:
    """L1 seconds, L2 peak memory, L3 the table of significant pairs."""
    X = amounts(100, 10_000, 2)
    fitted = _fit(X)
    calls: dict[str, Callable[[], Any]] = {"factor": lambda: _fit(X), "top": lambda: fitted.top_k(10)}
    times = interleaved_medians(calls, tier.size(5, 3))
    yield at_most("L1.1", "n=100, p=1e4: fit and factor, seconds", times["factor"], 2.0)
    yield at_most("L1.2", "n=100, p=1e4: top_k(10), seconds", times["top"], 15.0)
    peak = peak_resident_bytes(_IMPORTS, _TOP) / _GIGABYTE
    note = "largest resident set of a process of its own, imports and input included"
    yield at_most("L2.1", "n=100, p=1e4: fit and top_k(10), peak GB", peak, 1.0, note=note)
    peak = peak_resident_bytes(_IMPORTS, "X = amounts(100, 10_000, 2)") / _GIGABYTE
    yield recorded("L2.2", "the same process without fit and top_k, peak GB", peak)
    taken = seconds(lambda: CompositionalPartialCorrelation().fit(X).to_frame(max_qvalue=0.01))
    peak = peak_resident_bytes(_IMPORTS, _FRAME) / _GIGABYTE
    what = "n=100, p=1e4: fit with p-values and to_frame(max_qvalue=.01), seconds"
    yield recorded("L3", what, taken, f"peak {peak:.2f} GB")


# ---------------------------------------------------------------------- dense


def dense(tier: Tier) -> Iterator[Row]:
    """D1 the inverse alone, D2 distance of the numbers, D3 the whole fit."""
    X = amounts(4000, 2000, 3)
    gamma = log_ratio_covariance(X)
    full = gamma + float(np.trace(gamma)) / len(gamma) ** 2
    pseudo: list[Array] = []

    def pinv() -> None:
        pseudo[:] = [np.linalg.pinv(gamma)]

    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: dense_precision(gamma),
        "inv": lambda: np.linalg.inv(full),
        "pinv": pinv,
    }
    times = interleaved_medians(calls, tier.size(5, 3))
    yield slower("D1.1", "p=2000: Γ⁺ over numpy.linalg.inv of Γ + c11'", times["ours"], times["inv"], 1.0)
    what = "p=2000: Γ⁺, times faster than numpy.linalg.pinv"
    yield faster("D1.2", what, times["ours"], times["pinv"], 5.0)
    hermitian = seconds(lambda: np.linalg.pinv(gamma, hermitian=True))
    yield recorded("D1.3", "p=2000: Γ⁺, times faster than pinv(hermitian=True)", hermitian / times["ours"])
    found = dense_precision(gamma)
    root = np.sqrt(np.diag(pseudo[0]))
    distance = float(np.abs(found.correlations() - _unit(-pseudo[0] / np.outer(root, root))).max())
    yield at_most("D2.1", "the same: distance of r from that of pinv", distance, 1e-8)
    distance = float(np.abs(found.values - pseudo[0]).max() / np.abs(pseudo[0]).max())
    yield at_most("D2.2", "the same: distance of Γ⁺ from pinv, relative to its largest entry", distance, 1e-8)

    def whole() -> Array:
        return _fit(X, shrinkage=None).partial_correlation_

    def by_hand() -> Array:
        logs = np.log(X)
        clr = logs - logs.mean(axis=1, keepdims=True)
        inverse = np.linalg.pinv(np.cov(clr, rowvar=False))
        scale = np.sqrt(np.diag(inverse))
        return -inverse / np.outer(scale, scale)

    both = interleaved_medians({"ours": whole, "theirs": by_hand}, tier.size(3, 3))
    note = f"{both['ours']:.3g} s against {both['theirs']:.3g} s; the covariance costs both the same product"
    what = "n=4000, p=2000, from amounts to all r: times faster than log, cov and pinv"
    yield recorded("D3", what, both["theirs"] / both["ours"], note)


def _unit(matrix: Array) -> Array:
    np.fill_diagonal(matrix, 1.0)
    return matrix
