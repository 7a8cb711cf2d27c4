"""Section G: coverage of the sandwich intervals, noise of the penalties, and the tests for leaks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import null_space

from benchmarks.measuring import quiet
from benchmarks.rows import Row, at_least, at_most, recorded
from benchmarks.simulation import Tier
from causalkit.augmentation import IVLikeRegressor
from causalkit.augmentation.augmenters import NullSpaceShift

__all__ = ["rows"]

Array = NDArray[np.float64]

_SEED = 13_000
_FEATURES, _KEPT, _ROWS = 6, 3, 1000
_PENALTIES = ("projected", "paired", "pointwise", "analytic")
_ALPHAS = (0.1, 1.0)


class _Design(NamedTuple):
    """One fixed design: X = CT + .1N_X, y = Xf + Cε + .1N_Y, shifts along the first null rows of f'."""

    loadings: Array
    epsilon: Array
    effect: Array
    basis: Array

    def population(self, alpha: float) -> Array:
        """(Σ_X + cB)⁻¹(Σ_X f + v), c = 1 + 1/α."""
        sigma = self.loadings.T @ self.loadings + 0.01 * np.eye(_FEATURES)
        cross = sigma @ self.effect + self.loadings.T @ self.epsilon
        return np.asarray(np.linalg.solve(sigma + (1 + 1 / alpha) * self.basis.T @ self.basis, cross))


@cache
def _design() -> _Design:
    rng = np.random.default_rng([_SEED, 99])
    T, epsilon, f = rng.standard_normal((_FEATURES, _FEATURES)), *rng.standard_normal((2, _FEATURES))
    return _Design(T, epsilon, f, np.asarray(null_space(f[None, :]).T[:_KEPT]))


def _rows_of(design: _Design, rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    C = rng.standard_normal((n, _FEATURES))
    X = C @ design.loadings + 0.1 * rng.standard_normal((n, _FEATURES))
    return X, X @ design.effect + C @ design.epsilon + 0.1 * rng.standard_normal(n)


def _covered(rng: np.random.Generator) -> dict[str, float]:
    design = _design()
    X, y = _rows_of(design, rng, _ROWS)
    seed, shift = int(rng.integers(2**31 - 1)), NullSpaceShift(design.basis)
    out: dict[str, float] = {}
    for penalty in _PENALTIES:
        for alpha in _ALPHAS:
            model = IVLikeRegressor(alpha=alpha, augmentation=shift, penalty=penalty, random_state=seed).fit(X, y)
            target = design.population(alpha)
            interval = np.asarray(model.inference().conf_int())[1:]
            inside = (interval[:, 0] <= target) & (target <= interval[:, 1])
            out |= {f"{penalty}@{alpha:g}:{j}": float(hit) for j, hit in enumerate(inside)}
            out[f"{penalty}@{alpha:g}:error"] = float(((model.coef_ - target) ** 2).sum())
            if penalty == "projected":
                out |= _of_transformed(model, X, y, alpha, target)
    return out


def _of_transformed(model: Any, X: Array, y: Array, alpha: float, target: Array) -> dict[str, float]:
    """Coverage of the least-squares errors of the regression on transformed rows, which are not offered."""
    from causalkit.augmentation.draws import augment

    drawn = augment(model.augmentation, X, seed=model._seed)
    g = drawn.parameters - drawn.parameters.mean(axis=0)
    s, t = np.sqrt(alpha), np.sqrt(1 + alpha) - np.sqrt(alpha)
    both = np.column_stack([drawn.features - drawn.features.mean(axis=0), y - y.mean()])
    both = s * both + t * g @ np.linalg.lstsq(g, both, rcond=None)[0]
    design, outcome = both[:, :-1], both[:, -1]
    inverse = np.linalg.inv(design.T @ design)
    coef = inverse @ design.T @ outcome
    noise = float(((outcome - design @ coef) ** 2).sum()) / (len(y) - X.shape[1] - 1)
    half = stats.norm.ppf(0.975) * np.sqrt(noise * np.diag(inverse))
    inside = np.abs(coef - target) <= half
    return {f"transformed@{alpha:g}": float(inside.mean())}


def rows(tier: Tier) -> Iterator[Row]:
    """G1 to G4 coverage by penalty, G5 noise, G6 errors that are not offered, G7 and G8 leaks."""
    with quiet():
        draws = tier.repeat(_covered, 2000, 400, seed=_SEED)
        for number, penalty in enumerate(_PENALTIES):
            for place, alpha in enumerate(_ALPHAS):
                label, what = f"G{number + 1}.{place + 1}", f"{penalty}, α = {alpha:g}: coverage of 95 % intervals"
                hits = [draws[f"{penalty}@{alpha:g}:{j}"] for j in range(_FEATURES)]
                hits.sort(key=lambda values: float(values.mean()))
                yield tier.share_within(f"{label}a", f"{what}, least of six", hits[0], 0.93, 0.97)
                yield tier.share_within(f"{label}b", f"{what}, largest of six", hits[-1], 0.93, 0.97)
        ratio = np.sqrt(draws["pointwise@0.1:error"].mean() / draws["projected@0.1:error"].mean())
        yield at_most("G5", "α = .1: RMSE to h_α of pointwise over projected", float(ratio), 0.5)
        for number, (alpha, low, high) in enumerate(((0.1, 0.55, 0.65), (1.0, 0.86, 0.92))):
            share = float(draws[f"transformed@{alpha:g}"].mean())
            what = f"α = {alpha:g}: coverage of least-squares errors of the transformed regression"
            note = f"not offered by the library; listed with {low:g} to {high:g} in a design of its own"
            yield recorded(f"G6.{number + 1}", what, share, note)
        yield from _leaks(tier)


# ---------------------------------------------------------------------- leaks


def _leak(rng: np.random.Generator, *, k: int, leak: float, through: str = "y", size: int = 2000) -> dict[str, float]:
    design = _design()
    X, y = _rows_of(design, rng, size)
    source = y if through == "y" else y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
    G = rng.standard_normal((size, k)) + leak * (source / source.std())[:, None]
    GX = X + G @ design.basis[:k]
    model = IVLikeRegressor().fit(X, y, augmented=GX, augmentation_parameters=G)
    return {str(name): float(p) for name, p in model.diagnostics().leak["pvalue"].items()}


def _leaks(tier: Tier) -> Iterator[Row]:
    draws = tier.repeat(_leak, 2000, 500, seed=_SEED + 1, k=3, leak=0.0)
    for number, (name, values) in enumerate(draws.items()):
        pvalue = float(stats.kstest(values, "uniform").pvalue)
        what = f"independent G, {name}: p of the Kolmogorov-Smirnov test of its p-values against uniform"
        yield at_least(f"G7.{number + 1}", what, pvalue, 0.001, note=f"{len(values)} repetitions")
    draws = tier.repeat(_leak, 1000, 300, seed=_SEED + 2, k=1, leak=0.1)
    values = draws["y on G"]
    what = "G = N(0, 1) + .1·y/sd(y), y on G: rejections at 5 %"
    yield tier.share_within("G8.1", what, values < 0.05, 0.95, note="listed with .99")
    share = float((draws["y on G given X"] < 0.05).mean())
    yield recorded("G8.2", "the same, y on G given X: rejections at 5 %", share, "X already tells most of y here")
    draws = tier.repeat(_leak, 1000, 300, seed=_SEED + 3, k=1, leak=0.1, through="residual")
    what = "G = N(0, 1) + .1·e/sd(e), e the residual of least squares, y on G given X: rejections at 5 %"
    yield tier.share_within("G8.3", what, draws["y on G given X"] < 0.05, 0.95)
    share = float((draws["y on G"] < 0.05).mean())
    yield recorded("G8.4", "the same, y on G: rejections at 5 %", share)
