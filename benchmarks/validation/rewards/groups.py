"""Section B: a confounder of 400 levels with ten or two rows each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import gap, quiet
from benchmarks.rows import Row, near
from benchmarks.simulation import Tier, listed_mean
from benchmarks.validation.rewards.common import THETA, coverage_row, covers, fit
from causalkit.datasets import make_reward_groups

__all__ = ["rows"]

Array = NDArray[np.float64]

_SEED = 22_000
_GROUPS = 400
_LISTED = 200
# Rows per group: coefficients by method, and the tolerance of their means.
_COEF: dict[int, dict[str, tuple[float, ...]]] = {
    10: {
        "none": (1.8, -0.1, -0.75, 0.0),
        "outcome_only": (0.72, 0.585, -0.675, 0.0),
        "fixed_effects": (1.0, 0.5, -0.75, 0.0),
        "cross-fitted encoding": (1.093, 0.429, -0.752, -0.002),
        "in-sample encoding": (0.958, 0.434, -0.694, -0.002),
    },
    2: {
        "none": (1.8, -0.1, -0.75, 0.0),
        "outcome_only": (0.40, 0.325, -0.375, 0.0),
        "fixed_effects": (1.0, 0.5, -0.75, 0.0),
        "cross-fitted encoding": (1.485, 0.138, -0.744, 0.001),
        "in-sample encoding": (0.711, 0.232, -0.453, 0.003),
    },
}
_TOLERANCE = {10: 0.01, 2: 0.02}
_ERRORS = {10: 0.0167, 2: 0.050}
# Root mean squared errors about 2a: listed, and what follows from the design.
_RMSE = {
    10: {"fixed_effects": (0.316, 0.3162), "mixed": (0.313, 0.3123), "mundlak": (0.282, 0.2801)},
    2: {"fixed_effects": (0.710, 0.7071), "mixed": (0.668, 0.6667), "mundlak": (0.612, 0.6030)},
}
# From the largest distance of the mean coefficients from θ to the smallest.
_ORDER = ("none", "outcome_only", "cross-fitted encoding", "in-sample encoding", "fixed_effects")


def _encoded(sample: Any, cross_fitted: bool) -> Array:
    """Coefficients of least squares on the features and the target-encoded level."""
    from sklearn.preprocessing import TargetEncoder

    encoder = TargetEncoder(target_type="continuous", random_state=0)
    levels = sample.confounders.astype(str).to_numpy()
    column = encoder.fit_transform(levels, sample.y)
    if not cross_fitted:
        column = encoder.fit(levels, sample.y).transform(levels)
    design = np.column_stack([np.ones(len(sample.y)), sample.X, column])
    return np.asarray(np.linalg.lstsq(design, sample.y, rcond=None)[0][1:5])


def _one(rng: np.random.Generator, *, size: int) -> dict[str, float]:
    sample = make_reward_groups(_GROUPS, size, random_state=rng)
    truth = sample.confounder_effect[::size]
    fits = {
        name: fit(name, sample.X, sample.y, sample.confounders)
        for name in ("none", "outcome_only", "fixed_effects", "mixed", "mundlak")
    }
    coef = {name: fits[name].coef_ for name in ("none", "outcome_only", "fixed_effects")}
    coef |= {"cross-fitted encoding": _encoded(sample, True), "in-sample encoding": _encoded(sample, False)}
    out = {f"{name}{j}": value for name, values in coef.items() for j, value in enumerate(values)}
    within = fits["fixed_effects"]
    se = np.sqrt(np.diag(within.covariance_))
    for j, truth_j in enumerate(THETA):
        out |= {f"se{j}": se[j], f"hit{j}": float(covers(within.coef_[j], se[j], truth_j))}
    for name in ("fixed_effects", "mixed", "mundlak"):
        effects = fits[name].level_effects_["effect"].to_numpy()
        out[f"rmse {name}"] = float(np.sqrt(np.mean((effects - truth) ** 2)))
    # Mundlak's θ̂ by its own least squares on the features and their group means.
    means = sample.X.reshape(_GROUPS, size, 4).mean(axis=1).repeat(size, axis=0)
    design = np.column_stack([np.ones(len(sample.y)), sample.X, means])
    augmented = np.linalg.lstsq(design, sample.y, rcond=None)[0][1:5]
    out["mundlak gap"] = max(gap(within.coef_, augmented), gap(fits["mundlak"].coef_, augmented))
    return out


def rows(tier: Tier) -> Iterator[Row]:
    """B1 ten rows per level, B2 two: coefficients, errors, coverage, level effects, and orders."""
    with quiet():
        for number, size in enumerate((10, 2)):
            draws = tier.repeat(_one, 200, 30, seed=_SEED + number, size=size)
            yield from _coefficient_rows(tier, f"B{number + 1}", size, draws)
            yield from _effect_rows(f"B{number + 1}", size, draws)


def _coefficient_rows(tier: Tier, label: str, size: int, draws: dict[str, Array]) -> Iterator[Row]:
    name = f"{size} per level"
    for place, (method, targets) in enumerate(_COEF[size].items()):
        for j, target in enumerate(targets):
            what = f"{name}, {method}: coefficient {j + 1}, mean"
            yield tier.mean_near(
                f"{label}.{place + 1}{'abcd'[j]}", what, draws[f"{method}{j}"], target, _TOLERANCE[size]
            )
    distance = {}
    for method in _ORDER:
        mean = np.array([draws[f"{method}{j}"].mean() for j in range(4)])
        distance[method] = float(np.linalg.norm(mean - THETA))
    found = sorted(_ORDER, key=lambda method: -distance[method])
    note = " > ".join(f"{method} {distance[method]:.3f}" for method in found)
    what = f"{name}: distances of the means from θ in the listed order (1 is yes)"
    yield near(f"{label}.6", what, float(tuple(found) == _ORDER), 1.0, 0.0, note=note)
    what = f"{name}, fixed_effects and mundlak against least squares with level means, largest gap"
    yield near(f"{label}.7", what, float(draws["mundlak gap"].max()), 0.0, 1e-8)
    exact = 1 / math.sqrt(_GROUPS * size - _GROUPS)
    for j in range(4):
        what = f"{name}, fixed_effects: standard error {j + 1}, mean (1/√(N - G) = {exact:.4f})"
        yield tier.mean_near(f"{label}.8{'abcd'[j]}", what, draws[f"se{j}"], _ERRORS[size], 5e-4)
        what = f"{name}, fixed_effects: coverage {j + 1}"
        yield coverage_row(tier, f"{label}.9{'abcd'[j]}", what, draws[f"hit{j}"])


def _effect_rows(label: str, size: int, draws: dict[str, Array]) -> Iterator[Row]:
    name = f"{size} per level"
    found = {}
    for place, (method, (listed, theory)) in enumerate(_RMSE[size].items()):
        values = draws[f"rmse {method}"]
        found[method] = float(values.mean())
        what = f"{name}, {method}: RMSE of level effects about 2a (theory {theory})"
        spread = float(np.std(values, ddof=1))
        yield listed_mean(f"{label}.{10 + place}", what, values, listed, spread, _LISTED, 5e-4)
    right = found["mundlak"] < found["mixed"] < found["fixed_effects"]
    what = f"{name}: RMSE mundlak < mixed < fixed_effects (1 is yes)"
    yield near(f"{label}.13", what, float(right), 1.0, 0.0)
