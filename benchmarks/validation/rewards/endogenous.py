"""Section D: a confounder that something unobserved moves together with the outcome, and an instrument for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import quiet
from benchmarks.rows import Row, near
from benchmarks.simulation import Tier, listed_mean, listed_sd
from benchmarks.validation.rewards.common import (
    LOADINGS,
    THETA,
    coverage_row,
    covers,
    exact_normals,
    fit,
    four_errors,
    listed_vector,
    ranking,
)
from causalkit.datasets import make_reward_instrument

__all__ = ["rows"]

Array = NDArray[np.float64]

_SEED = 24_000
_ROWS = 4000
_LISTED = 300
_METHODS = ("none", "linear_control", "instrument")
_POPULATION = {
    "none": (1.8, -0.1, -0.75, 0.0),
    "linear_control": (0.7867, 0.66, -0.75, 0.0),
    "instrument": (1.0, 0.5, -0.75, 0.0),
}
_GAMMA = {"linear_control": 2.5333, "instrument": 2.0}
_SIMULATED = {
    "none": (1.802, -0.100, -0.749, 0.002),
    "linear_control": (0.789, 0.659, -0.751, 0.001),
    "instrument": (1.002, 0.500, -0.750, 0.001),
}
_SIMULATED_GAMMA = {"linear_control": 2.532, "instrument": 2.000}


def _limits() -> dict[str, Array]:
    """What each method converges to, from the covariances of the design; the last entry is the effect of C."""
    joint = np.block([[np.outer(LOADINGS, LOADINGS) + np.eye(4), LOADINGS[:, None]], [LOADINGS[None, :], 2.0]])
    bias = np.linalg.solve(joint, np.append(np.zeros(4), 0.8))
    none = THETA + 2 * np.linalg.solve(np.outer(LOADINGS, LOADINGS) + np.eye(4), LOADINGS)
    return {"none": none, "linear_control": np.append(THETA, 2.0) + bias, "instrument": np.append(THETA, 2.0)}


def _effect(found: Any, names: Any) -> float:
    """Effect of one unit of the confounder."""
    import pandas as pd

    value = found.confounder_effect(pd.DataFrame({names: [0.0, 1.0]}))
    return float(value[1] - value[0])


def _fits(X: Array, y: Array, confounders: Any, instruments: Any) -> dict[str, Any]:
    return {
        "none": fit("none", X, y),
        "linear_control": fit("linear_control", X, y, confounders),
        "instrument": fit("instrument", X, y, confounders, instruments=instruments),
    }


def rows(tier: Tier) -> Iterator[Row]:
    """D1 an exact sample, D2 simulated means, D3 their spread, D4 errors and coverage."""
    with quiet():
        yield from _exact_rows()
        yield from _simulated_rows(tier)


def _exact_rows() -> Iterator[Row]:
    import pandas as pd

    draw = exact_normals(60, 7, 24_001)
    Z, V, U, e = draw[:, 0], draw[:, 1], draw[:, 2:6], draw[:, 6]
    X, C = np.outer(Z, LOADINGS) + U, Z + V
    y = X @ THETA + 2 * C + 0.8 * V + e
    fits = _fits(X, y, pd.DataFrame({"c": C}), pd.DataFrame({"z": Z}))
    for number, (method, targets) in enumerate(_POPULATION.items()):
        for j, target in enumerate(targets):
            what = f"exact sample, {method}: coefficient {j + 1}"
            yield near(f"D1.{number + 1}{'abcd'[j]}", what, fits[method].coef_[j], target, 1e-4)
        if method in _GAMMA:
            what = f"exact sample, {method}: effect of C"
            yield near(f"D1.{number + 1}e", what, _effect(fits[method], "c"), _GAMMA[method], 1e-4)
    rho = ranking(fits["linear_control"].coef_)[0]
    yield near("D1.4", "exact sample, linear_control: ρ", rho, 0.9809, 1e-4)


def _one(rng: np.random.Generator) -> dict[str, float]:
    sample = make_reward_instrument(_ROWS, random_state=rng)
    fits = _fits(sample.X, sample.y, sample.confounders, sample.instruments)
    out = {f"{name}{j}": value for name, found in fits.items() for j, value in enumerate(found.coef_)}
    for name in _GAMMA:
        out[f"{name}4"] = _effect(fits[name], "popularity")
    se = np.sqrt(np.diag(fits["instrument"].covariance_))
    for j, truth in enumerate(THETA):
        out |= {f"se{j}": se[j], f"hit{j}": float(covers(fits["instrument"].coef_[j], se[j], truth))}
    inside = fits["instrument"].anderson_rubin_.pvalue(2.0) >= 0.05
    return out | {"set": float(inside)}


def _simulated_rows(tier: Tier) -> Iterator[Row]:
    draws = tier.repeat(_one, 300, 40, seed=_SEED)
    limits = _limits()
    for number, method in enumerate(_METHODS):
        label, name = f"D2.{number + 1}", f"n={_ROWS}, {method}"
        for j, target in enumerate(limits[method]):
            what = f"{name}: {'effect of C' if j == 4 else f'coefficient {j + 1}'}, mean"
            yield four_errors(f"{label}{'abcde'[j]}", what, draws[f"{method}{j}"], float(target))
        yield from listed_vector(
            f"D3.{number + 1}", f"{name}, listed", draws, method, _SIMULATED[method], _LISTED, 5e-4
        )
        if method in _SIMULATED_GAMMA:
            values = draws[f"{method}4"]
            spread = float(np.std(values, ddof=1))
            what = f"{name}, listed: effect of C, mean"
            yield listed_mean(f"D3.{number + 1}e", what, values, _SIMULATED_GAMMA[method], spread, _LISTED, 5e-4)
    # Var(.8V + e) = 1.64; the projected C is Z, whose residual variance given X is 1/2.
    exact = math.sqrt(1.64 / _ROWS)
    for j in range(4):
        what = f"n={_ROWS}, instrument: coefficient {j + 1}"
        yield listed_sd(f"D4.1{'abcd'[j]}", f"{what}, sd (√(1.64/n) = .0202)", draws[f"instrument{j}"], exact, _LISTED)
        yield listed_mean(f"D4.2{'abcd'[j]}", f"{what}, standard error, mean", draws[f"se{j}"], 0.0202, 5e-4, 300, 1e-4)
        yield coverage_row(tier, f"D4.3{'abcd'[j]}", f"{what}, coverage", draws[f"hit{j}"])
    exact = math.sqrt(3.28 / _ROWS)
    what = f"n={_ROWS}, instrument: effect of C, sd (√(3.28/n) = .0286)"
    yield listed_sd("D4.4", what, draws["instrument4"], exact, _LISTED)
    what = f"n={_ROWS}, instrument: Anderson-Rubin set holds the effect"
    yield coverage_row(tier, "D4.5", what, draws["set"])
