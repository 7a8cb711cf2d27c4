"""Sections D and E: mean errors over fresh linear designs, by penalty, alpha and setting."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import quiet
from benchmarks.rows import Row, at_most
from benchmarks.simulation import Tier
from benchmarks.validation.augmentation.common import euclidean, fit_sample, linear_sample, listed, mean_of_listed
from causalkit.augmentation import normalized_causal_excess_risk

__all__ = ["default_rows", "setting_rows"]

Array = NDArray[np.float64]

_SEED = 11_000
# More than the twenty that would do: errors have long tails, so that the spread of twenty is too small now and then.
_SHORT = 60

# ---------------------------------------------------------------------- the default design

_ALPHAS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
_PENALTIES = {"V1": "projected", "V1x8": "projected", "V2": "paired", "V3": "pointwise", "V4": "analytic"}
_NAMES = {
    "V1": "projected",
    "V1x8": "projected, 8 draws",
    "V2": "paired",
    "V3": "pointwise",
    "V4": "analytic",
}
_TABLE = {
    "V1": (0.0342, 0.0300, 0.0198, 0.0108, 0.0193, 0.0497, 0.0682),
    "V1x8": (0.0032, 0.0031, 0.0029, 0.0033, 0.0160, 0.0485, 0.0675),
    "V2": (0.0009, 0.0009, 0.0009, 0.0023, 0.0157, 0.0487, 0.0680),
    "V3": (0.0009, 0.0009, 0.0009, 0.0023, 0.0157, 0.0485, 0.0676),
    "V4": (0.0009, 0.0009, 0.0009, 0.0022, 0.0155, 0.0483, 0.0674),
}
# Value and standard error over 400 designs.
_PRECISE = {8.3e-3: (0.0118, 0.0003), 2.15e-2: (0.0117, 0.0003), 0.147: (0.0243, 0.0005), 1.0: (0.0513, 0.0010)}
_POPULATION = {np.inf: 0.0730, 1.0: 0.0500, 0.1: 0.0164, 0.01: 0.0026, 0.0: 0.0012}
_FINE = tuple(np.logspace(-5, 1, 25))


def _default(rng: np.random.Generator) -> dict[str, float]:
    """Errors of every method on one design; keys are method@alpha, sigma:method@alpha for the weighted norm."""
    sample, seed = linear_sample(rng)
    f, sigma = sample.coef, sample.covariance

    def weighted(coef: Array) -> Array:
        return np.asarray(normalized_causal_excess_risk(coef, f, sigma, norm="sigma"))

    plain = fit_sample(sample, None).coef_
    out = {"ERM": float(euclidean(plain, f)), "sigma:ERM": float(weighted(plain))}
    for method, penalty in _PENALTIES.items():
        model = fit_sample(sample, penalty, seed, n_draws=8 if method == "V1x8" else 1)
        grid = (*_ALPHAS, *_PRECISE, *_FINE, np.inf) if method == "V1" else (*_ALPHAS, np.inf)
        coef = model.path(grid).coef
        out |= {f"{method}@{a:g}": float(r) for a, r in zip(grid, euclidean(coef, f), strict=True)}
        if method == "V1":
            out |= {f"sigma:V1@{a:g}": float(r) for a, r in zip(grid, weighted(coef), strict=True)}
    for alpha in _POPULATION:
        out[f"population@{alpha:g}"] = float(euclidean(sample.population_coef(alpha), f))
    out["population ERM"] = float(euclidean(sample.least_squares_coef, f))
    return out


def default_rows(tier: Tier) -> Iterator[Row]:
    """D1 the table, D2 the values over 400 designs, D3 weighted by Σ_X, D4 the population, D5 the quality bar."""
    with quiet():
        draws = tier.repeat(_default, 400, _SHORT, seed=_SEED)
    for number, (method, targets) in enumerate(_TABLE.items()):
        for place, (alpha, target) in enumerate(zip(_ALPHAS, targets, strict=True)):
            what = f"{_NAMES[method]}, α = {alpha:g}: mean Euclidean nCER"
            yield listed(f"D1.{number + 1}{'abcdefg'[place]}", what, draws[f"{method}@{alpha:g}"], target)
    yield listed("D2.1", "ERM: mean Euclidean nCER", draws["ERM"], 0.4187, 0.0100, 400)
    yield listed("D2.2", "DA+ERM: mean Euclidean nCER", draws["V1@inf"], 0.0734, 0.0014, 400)
    for number, (alpha, (target, se)) in enumerate(_PRECISE.items()):
        what = f"projected, α = {alpha:g}: mean Euclidean nCER"
        yield listed(f"D2.{number + 3}", what, draws[f"V1@{alpha:g}"], target, se, 400)
    yield listed("D3.1", "ERM: mean nCER weighted by Σ_X", draws["sigma:ERM"], 0.0338, n_listed=400)
    yield listed("D3.2", "DA+ERM: mean nCER weighted by Σ_X", draws["sigma:V1@inf"], 0.0267, n_listed=400)
    alpha = _best({a: draws[f"sigma:V1@{a:g}"] for a in _FINE})
    what = f"projected, best α = {alpha:.2g}: mean nCER weighted by Σ_X"
    yield listed("D3.3", what, draws[f"sigma:V1@{alpha:g}"], 0.0100, n_listed=400)
    yield listed("D4.1", "population, ERM: mean Euclidean nCER", draws["population ERM"], 0.4193, n_listed=400)
    for number, (value, target) in enumerate(_POPULATION.items()):
        name = "DA+ERM" if np.isinf(value) else f"α = {value:g}"
        what = f"population, {name}: mean Euclidean nCER"
        yield listed(f"D4.{number + 2}", what, draws[f"population@{value:g}"], target, n_listed=400)
    yield from _quality(tier, draws)


def _quality(tier: Tier, draws: dict[str, Array]) -> Iterator[Row]:
    number = 0
    for method in ("V3", "V4"):
        for alpha in (1e-5, 1e-4, 1e-3):
            number += 1
            values = draws[f"{method}@{alpha:g}"]
            what = f"quality: {_NAMES[method]}, α = {alpha:g}: mean Euclidean nCER"
            yield tier.mean_within(f"D5.{number}", what, values, -np.inf, 0.002)
    alpha = _best({a: draws[f"V1@{a:g}"] for a in _FINE})
    what = f"the published form at its best, α = {alpha:.2g}: mean Euclidean nCER"
    yield mean_of_listed("D5.7", what, draws[f"V1@{alpha:g}"], 0.011, 0.012)
    ratio = float(draws["V3@0.001"].mean() / draws[f"V1@{alpha:g}"].mean())
    yield at_most("D5.8", "pointwise at α = .001 over the published form at its best", ratio, 0.2)


def _best(by_alpha: dict[float, Array]) -> float:
    """The alpha of the smallest mean."""
    return min(by_alpha, key=lambda alpha: float(by_alpha[alpha].mean()))


# ---------------------------------------------------------------------- other settings

_CONFOUNDING = {0.25: (0.0577, 0.0053, 0.0013, 0.0002), 0.5: (0.1809, 0.0207, 0.0052, 0.0006)}
_CONFOUNDING |= {0.75: (0.3110, 0.0452, 0.0117, 0.0015), 1.0: (0.4256, 0.0772, 0.0206, 0.0026)}
_STRENGTH = {0.01: (0.4196, 0.4187, 0.4114, 0.3540), 0.1: (0.4196, 0.3549, 0.2104, 0.0705)}
_STRENGTH |= {0.3: (0.4196, 0.2064, 0.0823, 0.0182), 1.0: (0.4196, 0.0716, 0.0191, 0.0024)}
_STRENGTH |= {3.0: (0.4196, 0.0184, 0.0033, 0.0010), 10.0: (0.4196, 0.0025, 0.0012, 0.0010)}
_FOUR = ("ERM", "DA+ERM", "projected, α = .1", "pointwise, α = .01")
# Violation: projected and pointwise at four alphas.
_VIOLATION = {
    0.0: ((0.029, 0.011, 0.020, 0.051), (0.001, 0.002, 0.016, 0.050)),
    0.1: ((0.049, 0.018, 0.023, 0.053), (0.011, 0.009, 0.019, 0.051)),
}
_VIOLATION_ALPHAS = (1e-4, 0.01, 0.1, 1.0)
_SIZES = {256: (0.0418, 0.0014), 16384: (0.0032, 0.0010)}
# Listed to three decimals.
_COARSE = 5e-4


def _setting(rng: np.random.Generator, *, size: int = 2048, m: int = 32, **settings: float) -> dict[str, float]:
    sample, seed = linear_sample(rng, size, m, **settings)
    f = sample.coef
    out = {"ERM": float(euclidean(fit_sample(sample, None).coef_, f))}
    for penalty in ("projected", "pointwise"):
        grid = np.unique((*_FINE, 1e-4, 1e-3, 0.01, 0.1, 1.0, np.inf))
        risks = euclidean(fit_sample(sample, penalty, seed).path(grid).coef, f)
        out |= {f"{penalty}@{a:g}": float(r) for a, r in zip(grid, risks, strict=True)}
    return out


def setting_rows(tier: Tier) -> Iterator[Row]:
    """E1 confounding, E2 strength of the shift, E3 rows, E4 partial symmetries, E5 a violated invariance."""
    with quiet():
        cases = (("E1", "confounding", "κ", _CONFOUNDING), ("E2", "strength", "γ", _STRENGTH))
        for label, setting, letter, table in cases:
            for number, (value, targets) in enumerate(table.items()):
                seed = _SEED + 100 * int(label[1]) + number
                draws = tier.repeat(_setting, 200, _SHORT, seed=seed, **{setting: value})
                values = (draws["ERM"], draws["projected@inf"], draws["projected@0.1"], draws["pointwise@0.01"])
                for place, (name, target) in enumerate(zip(_FOUR, targets, strict=True)):
                    what = f"{letter} = {value:g}: {name}"
                    yield listed(f"{label}.{number + 1}{'abcd'[place]}", what, values[place], target, n_listed=200)
        yield from _size_rows(tier)
        yield from _partial_rows(tier)
        yield from _violation_rows(tier)


def _size_rows(tier: Tier) -> Iterator[Row]:
    for number, (n, targets) in enumerate(_SIZES.items()):
        draws = tier.repeat(_setting, 200, _SHORT, seed=_SEED + 300 + number, size=n)
        for place, (penalty, target) in enumerate(zip(("projected", "pointwise"), targets, strict=True)):
            alpha = _best({a: draws[f"{penalty}@{a:g}"] for a in _FINE})
            what = f"n={n}: {penalty} at its best, α = {alpha:.2g}"
            yield listed(f"E3.{number + 1}{'ab'[place]}", what, draws[f"{penalty}@{alpha:g}"], target)


def _partial_rows(tier: Tier) -> Iterator[Row]:
    draws = tier.repeat(_setting, 200, _SHORT, seed=_SEED + 400, keep_probability=2 / 3)
    cases = (("DA+ERM", "projected@inf", 0.1013), ("projected, α = .01", "projected@0.01", 0.0290))
    for place, (name, key, target) in enumerate((*cases, ("pointwise, α = .001", "pointwise@0.001", 0.0191))):
        what = f"m=32, rows of Γ kept with probability 2/3: {name}"
        yield listed(f"E4.1{'abc'[place]}", what, draws[key], target, n_listed=200)
    draws = tier.repeat(_setting, 400, _SHORT, seed=_SEED + 401, m=16, keep_probability=1 / 3)
    more = (("ERM", "ERM", 0.4734), ("DA+ERM", "projected@inf", 0.2303))
    more += (("projected, α = .01", "projected@0.01", 0.1618), ("pointwise, α = .01", "pointwise@0.01", 0.1587))
    for place, (name, key, target) in enumerate(more):
        what = f"m=16, rows of Γ kept with probability 1/3: {name}"
        yield listed(f"E4.2{'abcd'[place]}", what, draws[key], target, n_listed=400)


def _violation_rows(tier: Tier) -> Iterator[Row]:
    for number, (delta, by_penalty) in enumerate(_VIOLATION.items()):
        draws = tier.repeat(_setting, 200, _SHORT, seed=_SEED + 500 + number, violation=delta)
        label = f"E5.{number + 1}"
        yield mean_of_listed(
            f"{label}a", f"δ = {delta:g}: ERM", draws["ERM"], 0.413, 0.418, "listed run: SE about .015"
        )
        for place, (penalty, targets) in enumerate(zip(("projected", "pointwise"), by_penalty, strict=True)):
            for step, (alpha, target) in enumerate(zip(_VIOLATION_ALPHAS, targets, strict=True)):
                what = f"δ = {delta:g}: {penalty}, α = {alpha:g}"
                values = draws[f"{penalty}@{alpha:g}"]
                yield listed(f"{label}{'bc'[place]}{step + 1}", what, values, target, rounding=_COARSE)
