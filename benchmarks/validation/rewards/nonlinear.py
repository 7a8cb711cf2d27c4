"""Section C: two numeric confounders that move texts and outcome along curves."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import quiet
from benchmarks.rows import Row, near
from benchmarks.simulation import Tier, listed_mean, listed_sd, listed_share
from benchmarks.validation.rewards.common import coverage_row, covers, fit
from causalkit.datasets import make_reward_nonlinear

__all__ = ["rows"]

Array = NDArray[np.float64]

_SEED = 23_000
_ROWS = 2000
_THETA = np.array([1.0, -0.5, 0.5])
_POPULATION = {
    "none": (1.7708, 0.0246, 0.5),
    "linear_control": (1.5691, 0.0246, 0.5),
    "outcome_only": (0.6953, -0.3689, 0.5),
    "fixed_effects": (1.0, -0.5, 0.5),
}


def rows(tier: Tier) -> Iterator[Row]:
    """C1 population, C2 splines, C3 the default nuisance, C4 boosting, C5 boosting without cross-fitting."""
    with quiet():
        yield from _population_rows()
        yield from _spline_rows(tier)
        yield from _boosting_rows(tier)
        yield from _in_sample_rows(tier)


# ---------------------------------------------------------------------- population


@cache
def quadrature() -> dict[str, Any]:
    """A weighted sample with the moments of the design: Gauss-Legendre nodes for C, signs for U; y without noise."""
    import pandas as pd

    nodes, share = np.polynomial.legendre.leggauss(20)
    cells = list(product(range(20), range(20), product((-1.0, 1.0), repeat=3)))
    C = 2 * np.array([(nodes[i], nodes[j]) for i, j, _ in cells])
    weight = np.array([share[i] * share[j] for i, j, _ in cells])
    wave, bowl = np.sin(2 * C[:, 0]), C[:, 1] ** 2 - 4 / 3
    X = np.column_stack([wave, bowl / 2, np.zeros(len(C))]) + np.array([u for _, _, u in cells])
    g = 2 * wave + bowl + C[:, 0]
    labels = pd.DataFrame({"cell": [f"{i}:{j}" for i, j, _ in cells]})
    return {"X": X, "y": X @ _THETA + g, "C": C, "labels": labels, "weight": weight, "g": g}


def _population_rows() -> Iterator[Row]:
    design = quadrature()
    for number, (method, targets) in enumerate(_POPULATION.items()):
        confounders = design["C"] if method == "linear_control" else design["labels"]
        coef = fit(method, design["X"], design["y"], confounders, sample_weight=design["weight"]).coef_
        for j, target in enumerate(targets):
            what = f"population, {method}: coefficient {j + 1}"
            yield near(f"C1.{number + 1}{'abc'[j]}", what, coef[j], target, 1e-4)
    # R* = θ'X + ε with Var ε = 1 on top of what the nodes hold.
    w, g, reward = design["weight"] / design["weight"].sum(), design["g"], design["X"] @ _THETA
    mean = [float(w @ a) for a in (g, reward)]
    shared = float(w @ ((g - mean[0]) * (reward - mean[1])))
    spread = float(w @ (g - mean[0]) ** 2) * (float(w @ (reward - mean[1]) ** 2) + 1)
    yield near("C1.5", "population: correlation of R* and g", shared / spread**0.5, 0.1856, 1e-4)


# ---------------------------------------------------------------------- simulation


def spline() -> Any:
    """Ten uniform knots, cubic, and a little ridge."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import SplineTransformer

    basis = SplineTransformer(n_knots=10, degree=3, knots="uniform", extrapolation="linear", include_bias=False)
    return make_pipeline(basis, Ridge(0.01))


def boosting(rounds: int, leaves: int) -> Any:
    """Gradient boosting of small trees."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        max_iter=rounds, max_leaf_nodes=leaves, learning_rate=0.1, early_stopping=False, random_state=0
    )


def _record(found: Any, sample: Any, name: str = "") -> dict[str, float]:
    se = np.sqrt(np.diag(found.covariance_))
    out: dict[str, float] = {}
    for j, truth in enumerate(_THETA):
        out |= {f"{name}coef{j}": found.coef_[j], f"{name}hit{j}": float(covers(found.coef_[j], se[j], truth))}
    target = sample.adjusted_reward
    out[f"{name}corr"] = float(np.corrcoef(found.adjusted_reward_, target)[0, 1])
    out[f"{name}rmse"] = float(np.std(found.adjusted_reward_ - target))
    return out


def _one(rng: np.random.Generator, *, kind: str) -> dict[str, float]:
    sample = make_reward_nonlinear(_ROWS, random_state=rng)
    model = spline() if kind == "spline" else boosting(100, 8)
    nuisances = {"outcome_model": model, "treatment_model": model}
    out = _record(fit("partially_linear", sample.X, sample.y, sample.confounders, **nuisances), sample)
    if kind == "spline":
        out |= _record(fit("partially_linear", sample.X, sample.y, sample.confounders), sample, "default ")
    only = fit("outcome_only", sample.X, sample.y, sample.confounders, outcome_model=model)
    out["only"] = float(np.corrcoef(only.adjusted_reward_, sample.adjusted_reward)[0, 1])
    out["raw"] = float(np.corrcoef(sample.y, sample.adjusted_reward)[0, 1])
    return out


def _correlations(
    label: str, name: str, draws: dict[str, Array], listed: tuple[float, float, float, float], n_listed: int
) -> Iterator[Row]:
    keys = {
        "corr": "correlation of R̂ and R*",
        "rmse": "RMSE of R̂ about R*",
        "only": "outcome_only, correlation with R*",
        "raw": "raw outcome, correlation with R*",
    }
    for place, ((key, what), target) in enumerate(zip(keys.items(), listed, strict=True)):
        spread = float(np.std(draws[key], ddof=1))
        rounding = 5e-5 if key == "corr" else 5e-4
        yield listed_mean(f"{label}.{place + 4}", f"{name}: {what}", draws[key], target, spread, n_listed, rounding)


def _spline_rows(tier: Tier) -> Iterator[Row]:
    draws = tier.repeat(_one, 300, 40, seed=_SEED, kind="spline")
    name = "splines"
    for j, (target, share) in enumerate(zip((0.998, -0.502, 0.499), (0.943, 0.957, 0.937), strict=True)):
        what = f"{name}: coefficient {j + 1}"
        yield tier.mean_near(f"C2.1{'abc'[j]}", f"{what}, mean", draws[f"coef{j}"], target, 0.01)
        yield listed_sd(f"C2.2{'abc'[j]}", f"{what}, sd", draws[f"coef{j}"], 0.022, 300, 5e-4)
        yield coverage_row(tier, f"C2.3{'abc'[j]}", f"{what}, coverage", draws[f"hit{j}"])
        yield listed_share(f"C2.3{'def'[j]}", f"{what}, coverage listed", draws[f"hit{j}"], share, 300)
    yield from _correlations("C2", name, draws, (0.9977, 0.118, 0.902, 0.689), 300)
    for j, truth in enumerate(_THETA):
        what = f"default nuisance: coefficient {j + 1}"
        yield tier.mean_near(f"C3.1{'abc'[j]}", f"{what}, mean", draws[f"default coef{j}"], float(truth), 0.01)
        yield coverage_row(tier, f"C3.2{'abc'[j]}", f"{what}, coverage", draws[f"default hit{j}"])


def _boosting_rows(tier: Tier) -> Iterator[Row]:
    draws = tier.repeat(_one, 30, 6, seed=_SEED + 1, kind="boosting")
    name = "boosting, 100 rounds of 8 leaves"
    for j, target in enumerate((0.990, -0.496, 0.498)):
        what = f"{name}: coefficient {j + 1}"
        yield tier.mean_near(f"C4.1{'abc'[j]}", f"{what}, mean", draws[f"coef{j}"], target, 0.02)
        yield listed_sd(f"C4.2{'abc'[j]}", f"{what}, sd", draws[f"coef{j}"], 0.0225, 30, 0.0015)
        yield listed_share(f"C4.3{'abc'[j]}", f"{what}, coverage listed", draws[f"hit{j}"], 0.933, 30)
    yield from _correlations("C4", name, draws, (0.9835, 0.317, 0.882, 0.686), 30)


def _without_folds(rng: np.random.Generator) -> dict[str, float]:
    """Large boosting predictions of the rows that it was fitted to: what is not offered."""
    sample = make_reward_nonlinear(_ROWS, random_state=rng)
    C = sample.confounders.to_numpy()
    level = boosting(300, 31).fit(C, sample.y).predict(C)
    mean = np.column_stack([boosting(300, 31).fit(C, column).predict(C) for column in sample.X.T])
    left, target = sample.X - mean, sample.y - level
    inverse = np.linalg.inv(left.T @ left)
    theta = inverse @ (left.T @ target)
    scores = left * (target - left @ theta)[:, None]
    se = np.sqrt(np.diag(inverse @ (scores.T @ scores) @ inverse))
    effect = level - mean @ theta
    adjusted = sample.y - effect + effect.mean()
    out: dict[str, float] = {f"coef{j}": theta[j] for j in range(3)}
    out |= {f"hit{j}": float(covers(theta[j], se[j], _THETA[j])) for j in range(3)}
    out["corr"] = float(np.corrcoef(adjusted, sample.adjusted_reward)[0, 1])
    out["rmse"] = float(np.std(adjusted - sample.adjusted_reward))
    out["only"] = float(np.corrcoef(sample.y - level, sample.adjusted_reward)[0, 1])
    out["raw"] = float(np.corrcoef(sample.y, sample.adjusted_reward)[0, 1])
    return out


def _in_sample_rows(tier: Tier) -> Iterator[Row]:
    draws = tier.repeat(_without_folds, 15, 4, seed=_SEED + 2)
    name = "boosting, 300 rounds of 31 leaves, no cross-fitting (not offered)"
    for j, (target, share) in enumerate(zip((0.976, -0.474, 0.482), (0.87, 0.73, 0.87), strict=True)):
        what = f"{name}: coefficient {j + 1}"
        yield listed_mean(f"C5.1{'abc'[j]}", f"{what}, mean", draws[f"coef{j}"], target, 0.029, 15, 5e-4)
        yield listed_share(f"C5.2{'abc'[j]}", f"{what}, coverage listed", draws[f"hit{j}"], share, 15)
    yield from _correlations("C5", name, draws, (0.952, 0.539, 0.796, 0.686), 15)
