"""Transforms beside the plain pass (x - a)/b."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.debiasing.common import MEGABYTE, ROWS, calibration, growth, ratio
from benchmarks.peers.timing import interleaved_medians, peak_bytes
from benchmarks.rows import Row, at_most
from benchmarks.simulation import Tier
from causalkit.debiasing import (
    LinearCalibration,
    SplineCalibration,
    TweedieCorrection,
)
from causalkit.debiasing.basis import NaturalSplineBasis
from causalkit.debiasing.score import fit_kernel_score

__all__ = ["transforms"]

Array = NDArray[np.float64]


def transforms(tier: Tier) -> Iterator[Row]:
    """Time, memory, growth and exactness of each transform."""
    x = np.random.default_rng(9000).normal(0.6, 1.4, ROWS)
    f, y = calibration(5000, 9001)
    cases = (
        ("T1", "LinearCalibration.transform", LinearCalibration(), 3.0),
        ("T2", "TweedieCorrection.transform, spline K=5", TweedieCorrection(n_knots=5), 35.0),
        ("T3", "SplineCalibration.transform, K=4", SplineCalibration(n_knots=4), 35.0),
        ("T4", "TweedieCorrection.transform, kernel score", TweedieCorrection(score="kde"), 8.0),
    )
    for label, what, correction, bar in cases:
        fitted = correction.fit(f, y)
        calls = {"ours": partial(fitted.transform, x), "other": lambda: (x - 0.3) / 0.7}
        yield ratio(f"{label}.1", f"{what}: n=1e7, times the pass", interleaved_medians(calls), bar)
        beyond = (peak_bytes(calls["ours"]) - x.nbytes) / MEGABYTE
        yield at_most(f"{label}.2", f"{what}: MB beyond the output", beyond, 64.0)
        total = 1 + peak_bytes(calls["ours"]) / x.nbytes
        yield at_most(f"{label}.3", f"{what}: input, output and peak, times the input", total, 4.0)
        yield growth(f"{label}.4", f"{what}: growth of time from 1e6 to 1e7 rows", fitted.transform, x)
        part = x[:200_000]
        if label in ("T2", "T3"):
            exact = NaturalSplineBasis(fitted._fitted.basis.knots).design(part) @ fitted.coef_
            distance = float(np.abs(fitted.transform(part) - exact).max())
            yield at_most(f"{label}.5", f"{what}: distance from the design times coefficients", distance, 1e-12)
        if label == "T4":
            yield from _table_error(f, y)


def _table_error(f: Array, y: Array) -> Iterator[Row]:
    """The table against its own nodes' density, interpolated exactly: the cost of 4096 nodes."""
    kernel = fit_kernel_score(f)
    x = np.linspace(*np.quantile(f, [0.01, 0.99]), 4001)
    variance = float(np.var(y - f))
    nodes = kernel.start + kernel.step * np.arange(len(kernel.density))
    # Binned masses, read off by all pairs at x: what the table would give with infinitely many nodes.
    position = (f - kernel.start) / kernel.step
    index = position.astype(int)
    mass = np.bincount(index, 1 - (position - index), len(nodes)) + np.bincount(index + 1, position - index, len(nodes))
    steps = x[:, None] - nodes
    weights = mass * np.exp(-0.5 * (steps / kernel.bandwidth) ** 2)
    exact = -(steps * weights).sum(axis=1) / (kernel.bandwidth**2 * weights.sum(axis=1))
    error = variance * float(np.abs(kernel.table.score(x) - exact).max()) / float(f.std())
    yield at_most("T4.5", "kernel score: error of the corrected value from the table, in sd", error, 1e-5)
