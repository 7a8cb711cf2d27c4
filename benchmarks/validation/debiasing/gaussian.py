"""Section A: jointly normal outcome and prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.rows import Row, near
from benchmarks.simulation import Tier, listed_sd, listed_share, standard_error
from benchmarks.validation.debiasing.common import covers
from causalkit.datasets import make_gaussian_map
from causalkit.debiasing import LinearCalibration, TweedieCorrection

__all__ = ["rows"]

_Z = 1.959963984540054


class _Cell(NamedTuple):
    k: float
    tau: float
    n_calibration: int
    n_arm: int
    sd: float
    ignoring: float
    delta: float
    fieller: float
    tweedie_sd: float
    repetitions: int = 2000

    @property
    def name(self) -> str:
        return f"k={self.k:g}, tau={self.tau:g}, n_c={self.n_calibration}, n={self.n_arm}"


_CELLS = (
    _Cell(0.5, 0.5, 200, 1000, 0.0729, 0.912, 0.952, 0.953, 0.0728),
    _Cell(0.5, 2.0, 200, 1000, 0.159, 0.565, 0.949, 0.942, 0.159),
    _Cell(0.3, 1.0, 100, 1000, 0.196, 0.640, 0.943, 0.945, 0.169),
    _Cell(0.8, 1.0, 100, 1000, 0.0720, 0.833, 0.944, 0.942, 0.0664),
    _Cell(0.5, 1.0, 2000, 5000, 0.0360, 0.882, 0.948, 0.945, 0.0360, 400),
    _Cell(0.5, 1.0, 50, 1000, 0.175, 0.562, 0.926, 0.926, 0.173),
)
# Cells in which the spline score is fitted too, and how many repetitions its listed coverage had.
_SPLINE = {0: 0.955, 1: 0.945, 4: 0.963}


def _one(
    rng: np.random.Generator, *, k: float, tau: float, n_calibration: int, n_arm: int, spline: bool
) -> dict[str, float]:
    data = make_gaussian_map(k=k, tau=tau, n_calibration=n_calibration, n_arm=n_arm, random_state=rng)
    f, y = data.calibration_predictions, data.calibration_y
    lcc = LinearCalibration().fit(f, y).effect(data.predictions, treatment=data.treatment)
    estimate = float(lcc.estimate[0])
    sampling = math.sqrt(float(lcc.variance_parts["sampling"].iloc[0]))
    gaussian = TweedieCorrection(score="gaussian", recalibrate=False).fit(f, y)
    out = {
        "naive": float(lcc.naive.estimate[0]),
        "lcc": estimate,
        "ignoring": float(abs(estimate - tau) <= _Z * sampling),
        "delta": covers(lcc, tau),
        "fieller": covers(lcc, tau, "fieller"),
        "gaussian": float(gaussian.effect(data.predictions, treatment=data.treatment).estimate[0]),
        "quantile": _quantile_contrast(f, y, data.predictions, data.treatment),
    }
    if spline:
        tweedie = TweedieCorrection(n_knots=5).fit(f, y).effect(data.predictions, treatment=data.treatment)
        parts = math.sqrt(float(tweedie.variance_parts["sampling"].iloc[0]))
        out["spline"] = covers(tweedie, tau)
        out["spline ignoring"] = float(abs(tweedie.estimate[0] - tau) <= _Z * parts)
    return out


def _quantile_contrast(f: np.ndarray, y: np.ndarray, predictions: np.ndarray, treatment: np.ndarray) -> float:
    """Contrast after giving the predictions the quantiles of the truth, tails in a straight line."""
    mapped = np.interp(predictions, np.sort(f), np.sort(y))
    scale = y.std() / f.std()
    low, high = f.min(), f.max()
    mapped = mapped + scale * (np.minimum(predictions - low, 0) + np.maximum(predictions - high, 0))
    return float(mapped[treatment == 1].mean() - mapped[treatment == 0].mean())


def rows(tier: Tier) -> Iterator[Row]:
    """Bias, spread and coverage of linear calibration and of Tweedie's correction."""
    for index, cell in enumerate(_CELLS):
        draws = tier.repeat(
            _one,
            cell.repetitions,
            300,
            seed=1000 + index,
            k=cell.k,
            tau=cell.tau,
            n_calibration=cell.n_calibration,
            n_arm=cell.n_arm,
            spline=index in _SPLINE,
        )
        yield from _cell_rows(tier, f"A{index + 1}", index, cell, draws)


def _cell_rows(tier: Tier, label: str, index: int, cell: _Cell, draws: dict[str, np.ndarray]) -> Iterator[Row]:
    lcc, n = draws["lcc"], len(draws["lcc"])
    rho2, k, tau = cell.k, cell.k, cell.tau
    theory = math.sqrt(2 / (rho2 * cell.n_arm) + tau**2 * (1 - rho2) / (rho2 * cell.n_calibration))
    slack = 3 * standard_error(lcc) + tau * (1 - k) / (k * cell.n_calibration)
    runs = f"{n} repetitions"
    naive = draws["naive"]
    yield near(f"{label}.1", f"{cell.name}: naive mean", naive.mean(), k * tau, 3 * standard_error(naive), note=runs)
    yield near(f"{label}.2", f"{cell.name}: LCC mean", lcc.mean(), tau, slack, note=runs)
    yield listed_sd(f"{label}.3", f"{cell.name}: LCC SD (theory {theory:.4f})", lcc, cell.sd, cell.repetitions)
    what = f"{cell.name}: coverage ignoring calibration"
    yield listed_share(f"{label}.4", what, draws["ignoring"], cell.ignoring, cell.repetitions)
    if cell.n_calibration >= 100:
        what = f"{cell.name}: coverage, delta"
        yield tier.share_within(f"{label}.5", what, draws["delta"], 0.935, 0.965, f"listed {cell.delta}")
    else:
        yield listed_share(f"{label}.5", f"{cell.name}: coverage, delta", draws["delta"], cell.delta, cell.repetitions)
    what = f"{cell.name}: coverage, Fieller"
    yield listed_share(f"{label}.6", what, draws["fieller"], cell.fieller, cell.repetitions)
    what = f"{cell.name}: SD, Gaussian-score Tweedie"
    yield listed_sd(f"{label}.7", what, draws["gaussian"], cell.tweedie_sd, cell.repetitions)
    if index in _SPLINE:
        what = f"{cell.name}: coverage, spline Tweedie K=5"
        yield tier.share_within(f"{label}.8", what, draws["spline"], 0.93, note=f"listed {_SPLINE[index]}")
    if index == 1:
        what = f"{cell.name}: the same, ignoring calibration"
        yield listed_share(f"{label}.9", what, draws["spline ignoring"], 0.411, cell.repetitions)
    if cell.n_calibration >= 2000:
        what = f"{cell.name}: quantile map (sqrt(k) tau)"
        # Order statistics of 2000 rows leave a bias of the second order.
        quantile = draws["quantile"]
        band = 3 * standard_error(quantile) + 0.005
        yield near(f"{label}.9", what, quantile.mean(), math.sqrt(k) * tau, band, note=runs)
