"""Speed and memory of :mod:`causalkit.debiasing` beside its peers, in one process with one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.timing import interleaved_medians, peak_bytes, seconds
from benchmarks.rows import Row, at_least, at_most, recorded, skipped
from benchmarks.simulation import Tier
from causalkit.debiasing import (
    EffectAccumulator,
    LinearCalibration,
    SplineCalibration,
    TweedieCorrection,
    prediction_powered_mean,
    prediction_powered_ols,
)
from causalkit.debiasing.basis import NaturalSplineBasis, spline_knots
from causalkit.debiasing.score import choose_knots, fit_kernel_score, score_matching

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "rows"]

Array = NDArray[np.float64]

HEADING = "Debiasing: speed beside peers"
PAGE = "debiasing_peers.md"
PACKAGES = ("ppi-python", "dask", "threadpoolctl")
INTRO = (
    "Times are medians of interleaved calls in one process, linear algebra limited to one thread for everybody; "
    "bars are ratios, because seconds depend on the machine. Memory is the peak of what a call allocates."
)
SEEDS = "default_rng(9000) and following, one per job"
TITLES = {
    "T": "Transforms beside the plain pass (x - a)/b",
    "K": "Scores beside scipy's gaussian_kde",
    "F": "Fits",
    "L": "Labels in the trial beside ppi_py",
    "M": "Effects: growth and memory",
    "R": "Seconds and memory by size",
}
_MISSING = "ppi-python is not installed: pip install 'causalkit[bench]'"
_N = 10_000_000
_MB = 2.0**20


def rows(tier: Tier, sections: Sequence[str]) -> Iterator[Row]:
    """Rows of the chosen sections; the long peers run once in the short tier."""
    from threadpoolctl import threadpool_limits

    from benchmarks.validation.debiasing.common import quiet

    steps: dict[str, Callable[[Tier], Iterator[Row]]] = {
        "T": _transforms,
        "K": _scores,
        "F": _fits,
        "L": _labels,
        "M": _effects,
        "R": _sizes,
    }
    with threadpool_limits(1), quiet():
        for letter in sections:
            yield from steps[letter](tier)


def _calibration(n: int, seed: int) -> tuple[Array, Array]:
    """Predictions with two modes, and the truth."""
    rng = np.random.default_rng(seed)
    f = np.where(rng.random(n) < 0.7, rng.normal(0.0, 0.6, n), rng.normal(2.5, 0.9, n))
    return f, f + 0.6 * rng.standard_normal(n)


def _ratio(id: str, what: str, times: dict[str, float], high: float) -> Row:
    note = f"{times['ours']:.3g} s against {times['other']:.3g} s"
    return at_most(id, what, times["ours"] / times["other"], high, note=note)


def _growth(id: str, what: str, call: Callable[[Array], Any], x: Array) -> Row:
    """Growth of time over ten times the rows, beside that of the plain pass.

    Fresh pages make ten times the rows cost more than ten times as much for any pass over arrays; what is
    linear grows as the plain pass does.
    """
    tenth = x[: len(x) // 10]
    times = interleaved_medians(
        {
            "small": lambda: call(tenth),
            "large": lambda: call(x),
            "small pass": lambda: (tenth - 0.3) / 0.7,
            "large pass": lambda: (x - 0.3) / 0.7,
        }
    )
    ours, plain = times["large"] / times["small"], times["large pass"] / times["small pass"]
    return at_most(id, what, ours, 1.5 * max(plain, 10.0), note=f"1.5 times that of the pass, {plain:.3g}, or of 10")


def _speedup(id: str, what: str, ours: float, theirs: float, low: float, note: str = "") -> Row:
    note = f"{ours:.3g} s against {theirs:.3g} s" + (f"; {note}" if note else "")
    return at_least(id, what, theirs / ours, low, note=note)


# ---------------------------------------------------------------------- transforms


def _transforms(tier: Tier) -> Iterator[Row]:
    x = np.random.default_rng(9000).normal(0.6, 1.4, _N)
    f, y = _calibration(5000, 9001)
    cases = (
        ("T1", "LinearCalibration.transform", LinearCalibration(), 3.0),
        ("T2", "TweedieCorrection.transform, spline K=5", TweedieCorrection(n_knots=5), 35.0),
        ("T3", "SplineCalibration.transform, K=4", SplineCalibration(n_knots=4), 35.0),
        ("T4", "TweedieCorrection.transform, kernel score", TweedieCorrection(score="kde"), 8.0),
    )
    for label, what, correction, bar in cases:
        fitted = correction.fit(f, y)
        calls = {"ours": partial(fitted.transform, x), "other": lambda: (x - 0.3) / 0.7}
        yield _ratio(f"{label}.1", f"{what}: n=1e7, times the pass", interleaved_medians(calls), bar)
        beyond = (peak_bytes(calls["ours"]) - x.nbytes) / _MB
        yield at_most(f"{label}.2", f"{what}: MB beyond the output", beyond, 64.0)
        total = 1 + peak_bytes(calls["ours"]) / x.nbytes
        yield at_most(f"{label}.3", f"{what}: input, output and peak, times the input", total, 4.0)
        yield _growth(f"{label}.4", f"{what}: growth of time from 1e6 to 1e7 rows", fitted.transform, x)
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


# ---------------------------------------------------------------------- scores


def _central_differences(points: Array, data: Array) -> Array:
    from scipy.stats import gaussian_kde

    density = gaussian_kde(data)
    step = 1e-4 * data.std()
    upper, lower = density.logpdf(points + step), density.logpdf(points - step)
    return np.asarray((upper - lower) / (2 * step))


def _scores(tier: Tier) -> Iterator[Row]:
    f, y = _calibration(20_000, 9010)
    repeats = tier.size(5, 1)
    theirs = interleaved_medians({"scipy": lambda: _central_differences(f, f)}, repeats)["scipy"]
    note = f"median of {repeats}"

    def kernel() -> Array:
        return fit_kernel_score(f).table.score(f)

    def spline() -> Array:
        return np.asarray(TweedieCorrection(n_knots=5).fit(f, y).transform(f))

    ours = interleaved_medians({"kernel": kernel, "spline": spline})
    what = "kernel score at 20 000 points from 20 000: times faster than central differences"
    yield _speedup("K1.1", what, ours["kernel"], theirs, 300.0, note)
    inside = np.random.default_rng(9011).choice(np.flatnonzero(_between(f, 0.01, 0.99)), 2000, replace=False)
    distance = float(np.abs(kernel()[inside] - _central_differences(f[inside], f)).max())
    yield at_most("K1.2", "the same: distance between the 1 % and 99 % quantiles", distance, 1e-3)
    what = "spline Tweedie K=5, fit and transform, n=20 000: times faster than the same"
    yield _speedup("K2", what, ours["spline"], theirs, 100.0, note)


def _between(f: Array, low: float, high: float) -> NDArray[np.bool_]:
    ends = np.quantile(f, [low, high])
    return np.asarray((f >= ends[0]) & (f <= ends[1]))


# ---------------------------------------------------------------------- fits


def _fits(tier: Tier) -> Iterator[Row]:
    f, y = _calibration(1_000_000, 9020)
    small_f, small_y = f[:100_000], y[:100_000]
    times = interleaved_medians(
        {
            "other": lambda: TweedieCorrection(n_knots=5).fit(small_f, small_y),
            "ours": lambda: TweedieCorrection(n_knots=5).fit(f, y),
        },
        tier.size(5, 3),
    )
    yield _ratio("F1", "spline Tweedie K=5, fit: growth of time from 1e5 to 1e6 rows", times, 15.0)
    z = (small_f - small_f.mean()) / small_f.std()
    folds = np.random.default_rng(9021).integers(0, 5, len(z)).astype(np.intp)
    basis = NaturalSplineBasis(spline_knots(z, 5))
    times = interleaved_medians({"ours": lambda: choose_knots(z, folds, 5), "other": lambda: score_matching(basis, z)})
    yield _ratio("F2", "choice of knots, 8 K and 5 folds, n=1e5: times one K=5 score fit", times, 20.0)
    times = interleaved_medians(
        {
            "ours": lambda: SplineCalibration(n_knots=4).fit(small_f, small_y),
            "other": lambda: TweedieCorrection(n_knots=5).fit(small_f, small_y),
        }
    )
    yield _ratio("F3", "SplineCalibration K=4, n=1e5: times the K=5 score fit", times, 2.0)


# ---------------------------------------------------------------------- labels


def _labels(tier: Tier) -> Iterator[Row]:
    try:
        from ppi_py import ppi_mean_ci, ppi_ols_ci
    except ImportError:
        yield skipped("L1", "prediction-powered mean beside ppi_mean_ci", _MISSING)
        yield skipped("L2", "prediction-powered OLS beside ppi_ols_ci", _MISSING)
        return
    yield from _mean_rows(ppi_mean_ci)
    yield from _ols_rows(ppi_ols_ci, tier)


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
    yield _speedup("L1.1", what, times["ours"], times["theirs"], 2.0)
    yield at_most("L1.2", "the same: distance of the intervals", _gap(ours(), theirs()), 1e-8)


def _ols_rows(peer: Callable[..., Any], tier: Tier) -> Iterator[Row]:
    rng = np.random.default_rng(9031)
    n, total = 1000, 101_000
    X = np.column_stack([np.ones(total), rng.normal(size=(total, 3))])
    y = X @ np.array([0.5, 1.0, -0.5, 0.2]) + rng.normal(size=total)
    f = 0.3 + 0.6 * y + 0.5 * rng.normal(size=total)

    def fit() -> Any:
        return prediction_powered_ols(X[:n], y[:n], predictions=f[:n], X_unlabelled=X[n:], predictions_unlabelled=f[n:])

    def theirs(lam: float | None = None) -> Any:
        return peer(X[:n], y[:n], f[:n], X[n:], f[n:], alpha=0.05, lam=lam)

    ours = interleaved_medians({"ours": lambda: fit().conf_int()})["ours"]
    other = interleaved_medians({"theirs": theirs}, tier.size(5, 3))["theirs"]
    what = "prediction_powered_ols, n=1e3, N=1e5, 4 columns: times faster than ppi_ols_ci"
    yield _speedup("L2.1", what, ours, other, 20.0)
    result = fit()
    gap = _gap(result.conf_int(), theirs(float(result.power_tuning)))
    note = "with our λ: the peer's default tunes a second time and is not centred at its own estimate"
    yield at_most("L2.2", "the same: distance of the intervals", gap, 1e-8, note=note)


# ---------------------------------------------------------------------- effects


def _trial(n: int, seed: int) -> tuple[Array, NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    treatment = rng.integers(0, 2, n).astype(np.int8)
    return rng.standard_normal(n) + 0.3 * treatment, treatment


def _effects(tier: Tier) -> Iterator[Row]:
    x, treatment = _trial(_N, 9040)
    f, y = _calibration(5000, 9041)
    for number, (name, correction) in enumerate(
        (("LinearCalibration", LinearCalibration()), ("spline Tweedie K=5", TweedieCorrection(n_knots=5)))
    ):
        fitted = correction.fit(f, y)

        def effect(rows: Array, fitted: Any = fitted) -> Any:
            return fitted.effect(rows, treatment=treatment[: len(rows)])

        label = f"M{number + 1}"
        yield _growth(f"{label}.1", f"{name}, effect: growth of time from 1e6 to 1e7 rows", effect, x)
        arrays = peak_bytes(partial(effect, x)) / x.nbytes
        yield at_most(f"{label}.2", f"{name}, effect, n=1e7: peak in arrays of n", arrays, 4.0)
        peaks = [peak_bytes(partial(_accumulate, fitted, x[:n], treatment[:n])) for n in (_N // 10, _N)]
        what = f"{name}, EffectAccumulator: peak at 1e7 rows over that at 1e6"
        yield at_most(f"{label}.3", what, peaks[1] / peaks[0], 1.1, note=f"{peaks[1] / _MB:.1f} MB")


def _accumulate(correction: Any, x: Array, treatment: NDArray[np.int8], chunk: int = 100_000) -> Any:
    accumulator = EffectAccumulator(correction)
    for start in range(0, len(x), chunk):
        accumulator.update(x[start : start + chunk], treatment[start : start + chunk])
    return accumulator.result()


# ---------------------------------------------------------------------- by size


def _sizes(tier: Tier) -> Iterator[Row]:
    f, y = _calibration(5000, 9051)
    makers: dict[str, Callable[[], Any]] = {
        "LinearCalibration": LinearCalibration,
        "TweedieCorrection K=5": lambda: TweedieCorrection(n_knots=5),
        "TweedieCorrection kernel": lambda: TweedieCorrection(score="kde"),
        "SplineCalibration K=4": lambda: SplineCalibration(n_knots=4),
    }
    for power in (5, 6, 7):
        n = 10**power
        x, treatment = _trial(n, 9052)
        big_f, big_y = _calibration(n, 9053)
        for number, (name, make) in enumerate(makers.items()):
            fitted, label = make().fit(f, y), f"R{power}.{number + 1}"
            if n < _N or tier.full:
                fit = partial(_fit, make, big_f, big_y)
                yield _recorded(f"{label}a", f"{name}: fit, n=1e{power}", fit)
            transform = partial(fitted.transform, x)
            yield _recorded(f"{label}b", f"{name}: transform, n=1e{power}", transform)
            effect = partial(fitted.effect, x, treatment=treatment)
            yield _recorded(f"{label}c", f"{name}: effect, n=1e{power}", effect)
        fitted = makers["TweedieCorrection K=5"]().fit(f, y)
        yield from _dask_row(fitted, x, treatment, power)


def _fit(make: Callable[[], Any], f: Array, y: Array) -> Any:
    return make().fit(f, y)


def _recorded(id: str, what: str, call: Callable[[], Any]) -> Row:
    taken = seconds(call)
    return recorded(id, f"{what}, seconds", taken, f"peak {peak_bytes(call) / _MB:.0f} MB")


def _dask_row(fitted: Any, x: Array, treatment: NDArray[np.int8], power: int) -> Iterator[Row]:
    label, what = f"R{power}.9", f"EffectAccumulator over Dask chunks, K=5, n=1e{power}"
    try:
        import dask
        import dask.array as da
    except ImportError:
        yield skipped(label, what, "dask is not installed: pip install 'causalkit[test]'")
        return

    def update(part: Array, arms: NDArray[np.int8]) -> EffectAccumulator:
        return EffectAccumulator(fitted).update(part, arms)

    def run() -> Any:
        pieces = [da.from_array(values, chunks=500_000).to_delayed().ravel() for values in (x, treatment)]
        parts = [dask.delayed(update)(*piece) for piece in zip(*pieces, strict=True)]
        first, *others = dask.compute(*parts, scheduler="threads", num_workers=2)
        for other in others:
            first.merge(other)
        return first.result()

    yield _recorded(label, what, run)
    direct = fitted.effect(x, treatment=treatment)
    distance = abs(float(run().estimate[0] / direct.estimate[0]) - 1)
    yield at_most(f"{label}b", f"{what}: distance from `effect`, relative", distance, 1e-10)
