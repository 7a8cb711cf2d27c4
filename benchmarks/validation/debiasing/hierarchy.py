"""Section H: slopes that differ between sites, and a trial in a new one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.measuring import quiet
from benchmarks.rows import Row, at_most, near, skipped
from benchmarks.simulation import Tier, listed_mean, listed_share, standard_error
from benchmarks.validation.debiasing.common import covers
from causalkit.datasets import SiteMap, make_site_map

__all__ = ["rows"]

_Z = 1.959963984540054


class _Cell(NamedTuple):
    n_sites: int
    n_rows: int
    shrunk: float
    raw: float
    new_slope: float
    fieller: float
    delta: float
    without: float


_CELLS = (
    _Cell(20, 60, 0.0424, 0.0455, 0.946, 0.948, 0.931, 0.444),
    _Cell(20, 30, 0.0576, 0.0664, 0.939, 0.940, 0.921, 0.449),
    _Cell(8, 100, 0.0336, 0.0344, 0.951, 0.961, 0.944, 0.570),
)
_REPETITIONS = 800


def _one(rng: np.random.Generator, *, n_sites: int, n_rows: int) -> dict[str, float]:
    from causalkit.debiasing import HierarchicalCalibration

    data = make_site_map(n_sites=n_sites, n_rows=n_rows, random_state=rng)
    fitted = HierarchicalCalibration().fit(
        data.calibration_predictions, data.calibration_y, sites=data.calibration_sites
    )
    truth = data.site_slopes[:n_sites]
    low, high = fitted.prediction_interval_[1]
    result = fitted.effect(data.predictions, treatment=data.treatment, sites=data.sites)
    parts = result.variance_parts.iloc[0]
    without = math.sqrt(parts["sampling"] + parts["calibration"])
    return {
        "shrunk": float(np.mean((fitted.shrunk_coef_[:, 1] - truth) ** 2)),
        "raw": float(np.mean((fitted.site_coef_[:, 1] - truth) ** 2)),
        "new slope": float(low <= data.site_slopes[-1] <= high),
        "fieller": covers(result, data.effect, "fieller"),
        "delta": covers(result, data.effect, "delta"),
        "without": float(abs(result.estimate[0] - data.effect) <= _Z * without),
    }


def rows(tier: Tier) -> Iterator[Row]:
    """Shrinkage, coverage in a new site, and empirical Bayes against the full posterior."""
    for index, cell in enumerate(_CELLS):
        draws = tier.repeat(_one, _REPETITIONS, 200, seed=7000 + index, n_sites=cell.n_sites, n_rows=cell.n_rows)
        yield from _cell_rows(tier, f"H{index + 1}", cell, draws)
    with quiet():
        yield from _posterior()


def _cell_rows(tier: Tier, label: str, cell: _Cell, draws: dict[str, np.ndarray]) -> Iterator[Row]:
    name = f"S={cell.n_sites}, {cell.n_rows} rows"
    roots = {kind: np.sqrt(draws[kind]) for kind in ("shrunk", "raw")}
    for number, (kind, listed) in enumerate((("shrunk", cell.shrunk), ("raw", cell.raw))):
        # Listed as the mean over samples of the root over sites, which for few sites is below the root of the mean.
        sd = float(roots[kind].std(ddof=1))
        what = f"{name}: RMSE of k over sites, mean over samples, {kind}"
        yield listed_mean(f"{label}.{number + 1}", what, roots[kind], listed, sd, _REPETITIONS, 5e-5)
    yield at_most(f"{label}.3", f"{name}: the same, shrunk over raw", roots["shrunk"].mean() / roots["raw"].mean(), 1.0)
    # A slope on n normal outcomes of variance 1 with noise .35 has variance .35²/(n - 3).
    square, target = draws["raw"], 0.35 / math.sqrt(cell.n_rows - 3)
    root = math.sqrt(float(square.mean()))
    band = 3 * standard_error(square) / (2 * root)
    yield near(f"{label}.8", f"{name}: root of the mean square of k, raw, against .35/sqrt(n - 3)", root, target, band)
    what = f"{name}: k of a new site in its interval"
    yield listed_share(f"{label}.4", what, draws["new slope"], cell.new_slope, _REPETITIONS)
    what, note = f"{name}: effect in a new site, coverage of Fieller's set", f"listed {cell.fieller}"
    yield tier.share_within(f"{label}.5", what, draws["fieller"], 0.92, note=note)
    what = f"{name}: effect in a new site, coverage of delta"
    yield listed_share(f"{label}.6", what, draws["delta"], cell.delta, _REPETITIONS)
    what = f"{name}: the same without transport variance"
    yield listed_share(f"{label}.7", what, draws["without"], cell.without, _REPETITIONS)


# ---------------------------------------------------------------------- one data set, three methods


def _posterior() -> Iterator[Row]:
    from causalkit.debiasing import HierarchicalCalibration

    data = make_site_map(n_sites=20, n_rows=60, random_state=np.random.default_rng(11))
    bayes = _fit(HierarchicalCalibration(), data)
    yield near("H4.1", "one data set, empirical Bayes: mean of k", bayes.mean_[1], 0.6217, 5e-5)
    se = math.sqrt(bayes.mean_cov_[1, 1])
    yield near("H4.2", "one data set, empirical Bayes: its SE", se, 0.0196, 5e-5)
    yield near("H4.3", "one data set, empirical Bayes: SD of k over sites", bayes.tau_[1], 0.0737, 5e-5)
    for label, method, tolerance in (("H5", "nuts", 0.01), ("H6", "svi", 0.02)):
        what = f"one data set, {method.upper()}"
        try:
            fitted = _fit(HierarchicalCalibration(method=method, random_state=0), data)
        except ImportError:
            yield skipped(label, f"{what}: posterior", "pyro is not installed (extra `bayes`)")
            continue
        yield from _posterior_rows(label, what, fitted, bayes, tolerance)


def _posterior_rows(label: str, what: str, fitted: object, bayes: object, tolerance: float) -> Iterator[Row]:
    import operator

    get = operator.attrgetter("mean_", "mean_cov_", "tau_", "shrunk_coef_")
    mean, cov, tau, coef = get(fitted)
    distance = np.abs(coef - operator.attrgetter("shrunk_coef_")(bayes)).max(axis=0)
    if tolerance == 0.01:
        yield near(f"{label}.1", f"{what}: mean of k", mean[1], 0.622, 2e-3, note="Monte Carlo error of the chains")
        yield near(f"{label}.2", f"{what}: its SD", math.sqrt(cov[1, 1]), 0.0206, 2e-3)
        yield near(f"{label}.3", f"{what}: SD of k over sites", tau[1], 0.076, 4e-3)
    else:
        yield near(f"{label}.1", f"{what}: mean of k", mean[1], 0.622, tolerance)
    yield at_most(f"{label}.4", f"{what}: largest distance of a site's k from empirical Bayes", distance[1], tolerance)
    yield at_most(f"{label}.5", f"{what}: largest distance of a site's m from empirical Bayes", distance[0], tolerance)


def _fit(correction: object, data: SiteMap) -> object:
    return correction.fit(  # type: ignore[attr-defined]
        data.calibration_predictions, data.calibration_y, sites=data.calibration_sites
    )
