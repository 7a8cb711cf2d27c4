"""Labels in the trial: beside ppi_py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.debiasing.common import speedup
from benchmarks.peers.timing import interleaved_medians
from benchmarks.rows import Row, at_most, skipped
from benchmarks.simulation import Tier
from causalkit.debiasing import (
    prediction_powered_mean,
    prediction_powered_ols,
)

__all__ = ["labels"]

Array = NDArray[np.float64]

_MISSING = "ppi-python is not installed: pip install -e '.[bench]'"


def labels(tier: Tier) -> Iterator[Row]:
    """Time against ppi_py, and the distance of the intervals."""
    try:
        from ppi_py import ppi_mean_ci, ppi_ols_ci
    except ImportError:
        yield skipped("L1", "prediction-powered mean beside ppi_mean_ci", _MISSING)
        yield skipped("L2", "prediction-powered OLS beside ppi_ols_ci", _MISSING)
        return
    yield from _mean_rows(ppi_mean_ci)
    yield from _ols_rows(ppi_ols_ci)


def _gap(interval: Any, theirs: Any) -> float:
    lower, upper = (np.ravel(side) for side in theirs)
    ours = interval[["lower", "upper"]].to_numpy(dtype=float)
    return float(np.abs(ours - np.column_stack([lower, upper])).max())


def _mean_rows(peer: Callable[..., Any]) -> Iterator[Row]:
    rng = np.random.default_rng(9030)
    n, total = 10_000, 1_010_000
    y = rng.normal(size=total)
    f = 0.6 * y + 0.5 * rng.normal(size=total)

    def ours() -> Any:
        return prediction_powered_mean(y[:n], f[:n], predictions_unlabelled=f[n:]).conf_int()

    def theirs() -> Any:
        return peer(y[:n], f[:n], f[n:], alpha=0.05)

    times = interleaved_medians({"ours": ours, "theirs": theirs})
    what = "prediction_powered_mean, n=1e4, N=1e6: times faster than ppi_mean_ci"
    yield speedup("L1.1", what, times["ours"], times["theirs"], 2.0)
    yield at_most("L1.2", "the same: distance of the intervals", _gap(ours(), theirs()), 1e-8)


def _ols_rows(peer: Callable[..., Any]) -> Iterator[Row]:
    rng = np.random.default_rng(9031)
    n, total = 1000, 101_000
    X = np.column_stack([np.ones(total), rng.normal(size=(total, 3))])
    y = X @ np.array([0.5, 1.0, -0.5, 0.2]) + rng.normal(size=total)
    f = 0.3 + 0.6 * y + 0.5 * rng.normal(size=total)

    def fit() -> Any:
        return prediction_powered_ols(X[:n], y[:n], predictions=f[:n], X_unlabelled=X[n:], predictions_unlabelled=f[n:])

    def theirs(lam: float | None = None) -> Any:
        return peer(X[:n], y[:n], f[:n], X[n:], f[n:], alpha=0.05, lam=lam)

    times = interleaved_medians({"ours": lambda: fit().conf_int(), "theirs": theirs})
    what = "prediction_powered_ols, n=1e3, N=1e5, 4 columns: times faster than ppi_ols_ci"
    yield speedup("L2.1", what, times["ours"], times["theirs"], 20.0)
    result = fit()
    gap = _gap(result.conf_int(), theirs(float(result.power_tuning)))
    note = "with our λ: the peer's default tunes a second time and is not centred at its own estimate"
    yield at_most("L2.2", "the same: distance of the intervals", gap, 1e-8, note=note)
