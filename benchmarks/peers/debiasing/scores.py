"""Scores beside scipy's gaussian_kde, and fits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.debiasing.common import calibration, ratio, speedup
from benchmarks.peers.timing import interleaved_medians
from benchmarks.rows import Row, at_most
from benchmarks.simulation import Tier
from causalkit.debiasing import (
    SplineCalibration,
    TweedieCorrection,
)
from causalkit.debiasing.basis import NaturalSplineBasis, spline_knots
from causalkit.debiasing.score import choose_knots, fit_kernel_score, score_matching

__all__ = ["fits", "scores"]

Array = NDArray[np.float64]


def _central_differences(points: Array, data: Array) -> Array:
    from scipy.stats import gaussian_kde

    density = gaussian_kde(data)
    step = 1e-4 * data.std()
    upper, lower = density.logpdf(points + step), density.logpdf(points - step)
    return np.asarray((upper - lower) / (2 * step))


def scores(tier: Tier) -> Iterator[Row]:
    """Kernel and spline scores against central differences of a kernel density."""
    f, y = calibration(20_000, 9010)
    repeats = tier.size(5, 1)
    theirs = interleaved_medians({"scipy": lambda: _central_differences(f, f)}, repeats)["scipy"]
    note = f"median of {repeats}"

    def kernel() -> Array:
        return fit_kernel_score(f).table.score(f)

    def spline() -> Array:
        return np.asarray(TweedieCorrection(n_knots=5).fit(f, y).transform(f))

    ours = interleaved_medians({"kernel": kernel, "spline": spline})
    what = "kernel score at 20 000 points from 20 000: times faster than central differences"
    yield speedup("K1.1", what, ours["kernel"], theirs, 300.0, note)
    inside = np.random.default_rng(9011).choice(np.flatnonzero(_between(f, 0.01, 0.99)), 2000, replace=False)
    distance = float(np.abs(kernel()[inside] - _central_differences(f[inside], f)).max())
    yield at_most("K1.2", "the same: distance between the 1 % and 99 % quantiles", distance, 1e-3)
    what = "spline Tweedie K=5, fit and transform, n=20 000: times faster than the same"
    yield speedup("K2", what, ours["spline"], theirs, 100.0, note)


def _between(f: Array, low: float, high: float) -> NDArray[np.bool_]:
    ends = np.quantile(f, [low, high])
    return np.asarray((f >= ends[0]) & (f <= ends[1]))


# ---------------------------------------------------------------------- fits


def fits(tier: Tier) -> Iterator[Row]:
    """Growth of a fit, and ratios between fits."""
    f, y = calibration(1_000_000, 9020)
    small_f, small_y = f[:100_000], y[:100_000]
    times = interleaved_medians(
        {
            "other": lambda: TweedieCorrection(n_knots=5).fit(small_f, small_y),
            "ours": lambda: TweedieCorrection(n_knots=5).fit(f, y),
        },
    )
    yield ratio("F1", "spline Tweedie K=5, fit: growth of time from 1e5 to 1e6 rows", times, 15.0)
    z = (small_f - small_f.mean()) / small_f.std()
    folds = np.random.default_rng(9021).integers(0, 5, len(z)).astype(np.intp)
    basis = NaturalSplineBasis(spline_knots(z, 5))
    times = interleaved_medians({"ours": lambda: choose_knots(z, folds, 5), "other": lambda: score_matching(basis, z)})
    yield ratio("F2", "choice of knots, 8 K and 5 folds, n=1e5: times one K=5 score fit", times, 20.0)
    times = interleaved_medians(
        {
            "ours": lambda: SplineCalibration(n_knots=4).fit(small_f, small_y),
            "other": lambda: TweedieCorrection(n_knots=5).fit(small_f, small_y),
        }
    )
    yield ratio("F3", "SplineCalibration K=4, n=1e5: times the K=5 score fit", times, 2.0)
