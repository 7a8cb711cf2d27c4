"""Section E: rejection rates of tests of a true null at the 5 % level."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.measuring import quiet
from benchmarks.rows import Row, near, within
from benchmarks.simulation import Tier, listed_share
from causalkit.composition import CompositionalPartialCorrelation, compositional_ci_test

__all__ = ["rows"]

Array = NDArray[np.float64]

_SIZES = ((12, 8), (20, 8), (30, 25))
_FISHER = (0.053, 0.051, 0.050)
_DRAWS = 20_000
_SEED = 5000
# A rate listed with three decimals.
_ROUNDING = 5e-4
# Rows of a cluster share .64 of the variance, so that quadratic forms of them correlate by .64² and five rows inflate
# the variance of r by 1 + 4·.64².
_CLUSTER_SIZE = 2 * float(stats.norm.sf(1.959963984540054 / math.sqrt(1 + 4 * 0.64**2)))


def _one(rng: np.random.Generator, *, size: int, d: int) -> dict[str, float]:
    """One composition whose ALR coordinates are independent standard normal; the pair lacks the reference."""
    X = np.exp(np.column_stack([rng.standard_normal((size, d - 1)), np.zeros(size)]))
    fit = CompositionalPartialCorrelation(shrinkage=None, test="t").fit(X)
    r, nu = float(fit.partial_correlation_[0, 1]), size - d
    lower, upper = fit.conf_int()
    conservative = abs(r) * math.sqrt(nu / (1 - r * r)) > stats.t.ppf(0.975, nu)
    return {
        "t": float(fit.pvalues_[0, 1] < 0.05),
        "nu": float(conservative),
        "fisher": float(not lower[0, 1] <= 0 <= upper[0, 1]),
    }


def _amounts(rng: np.random.Generator, rows: str) -> tuple[Array, NDArray[np.int64] | None]:
    """Independent parts of one variance: 80 clusters of five rows, or elliptical rows of five degrees of freedom."""
    n, d = 400, 8
    if rows == "clusters":
        groups = np.repeat(np.arange(n // 5), 5)
        return 0.8 * rng.standard_normal((n // 5, d))[groups] + 0.6 * rng.standard_normal((n, d)), groups
    return rng.standard_normal((n, d)) / np.sqrt(rng.chisquare(5, (n, 1)) / 5), None


def _dependent(rng: np.random.Generator, *, rows: str) -> dict[str, float]:
    logs, groups = _amounts(rng, rows)
    X, true = np.exp(logs), 1 / (logs.shape[1] - 1)
    influence = CompositionalPartialCorrelation(shrinkage=None, test="influence").fit(X, groups=groups)
    fisher = CompositionalPartialCorrelation(shrinkage=None, test="fisher").fit(X)
    out = {}
    for name, fit in (("influence", influence), ("fisher", fisher)):
        lower, upper = fit.conf_int()
        out[name] = float(not lower[0, 1] <= true <= upper[0, 1])
    return out


def _subcomposition(rng: np.random.Generator) -> dict[str, float]:
    """Test of two parts given two, 20 rows; ALR coordinates to the second given part are independent."""
    X = np.exp(np.column_stack([rng.standard_normal((20, 3)), np.zeros(20)]))
    return {"ci": float(compositional_ci_test(X, 0, 1, [2, 3]).pvalue < 0.05)}


def rows(tier: Tier) -> Iterator[Row]:
    """E1 to E3 sizes by n and D, E4 clusters and heavy tails, E5 the conditional-independence test."""
    with quiet():
        for number, ((n, d), fisher) in enumerate(zip(_SIZES, _FISHER, strict=True)):
            draws = tier.repeat(_one, _DRAWS, 1500, seed=_SEED + number, size=n, d=d)
            label, what = f"E{number + 1}", f"n={n}, D={d}"
            yield tier.share_within(f"{label}.1", f"{what}: size of t on n-D+1", draws["t"], 0.045, 0.055)
            yield listed_share(f"{label}.2", f"{what}: size of Fisher's test", draws["fisher"], fisher, _DRAWS)
            if number == 0:
                share = float(draws["nu"].mean())
                note = f"{len(draws['nu'])} repetitions; below .045, so that this number of degrees of freedom fails"
                band = tier.band(math.sqrt(0.028 * 0.972 / len(draws["nu"])))
                yield within("E1.3", f"{what}: size of t on n-D, conservative", share, 0.0, 0.045 - 1e-9, note=note)
                yield near("E1.4", f"{what}: the same against its listed rate", share, 0.028, 0.003, band, note)
        yield from _dependent_rows(tier)
        draws = tier.repeat(_subcomposition, _DRAWS, 3000, seed=_SEED + 20)
        yield listed_share("E5", "n=20: size of the test given two parts", draws["ci"], 0.051, _DRAWS)


def _dependent_rows(tier: Tier) -> Iterator[Row]:
    cases = (("clusters", "clusters of five rows", 0.052, 0.211), ("heavy", "rows of t with 5 df", 0.071, 0.172))
    for number, (kind, name, influence, fisher) in enumerate(cases):
        draws = tier.repeat(_dependent, _DRAWS, 1000, seed=_SEED + 10 + number, rows=kind)
        label, what = f"E4.{number + 1}", f"{name}, n=400, D=8"
        hits = draws["influence"]
        share = float(hits.mean())
        band = tier.band(math.sqrt(influence * (1 - influence) / len(hits)))
        note = f"{len(hits)} repetitions"
        yield near(f"{label}a", f"{what}: size of influence", share, influence, 0.015 + _ROUNDING, band, note)
        hits = draws["fisher"]
        band = tier.band(math.sqrt(fisher * (1 - fisher) / len(hits)))
        share = float(hits.mean())
        if kind == "clusters":
            note += f"; for large n it is {_CLUSTER_SIZE:.4f}, which the next row compares"
        yield near(f"{label}b", f"{what}: size of Fisher's test", share, fisher, 0.015 + _ROUNDING, band, note)
        if kind == "clusters":
            what = f"{what}: size of Fisher's test against its large-sample value"
            band = tier.band(math.sqrt(_CLUSTER_SIZE * (1 - _CLUSTER_SIZE) / len(hits)))
            yield near(f"{label}c", what, share, _CLUSTER_SIZE, 0.01, band, "2Φ(-1.96/√(1 + 4·.64²))")
