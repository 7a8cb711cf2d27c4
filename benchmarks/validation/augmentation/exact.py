"""Section A: a population of two features, in exact rationals; section C: two samples fixed to the last digit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import gap
from benchmarks.rows import Row, at_most, near
from benchmarks.simulation import Tier
from benchmarks.validation.augmentation.common import euclidean
from causalkit.augmentation import IVLikeRegressor, normalized_causal_excess_risk
from causalkit.augmentation.augmenters import AdditiveNoise, NullSpaceShift

__all__ = ["fixture_rows", "rational_rows"]

Array = NDArray[np.float64]

# ---------------------------------------------------------------------- two features

_SIGMA = np.array([[1.0, 2.0], [2.0, 5.0]])
_EFFECT = np.array([1.0, 0.0])
_CONFOUNDING = np.array([1.0, 2.5])
# Name, alpha (None: least squares), Euclidean and Σ_X-weighted nCER.
_RATIONALS: tuple[tuple[str, float | None, Fraction, Fraction], ...] = (
    ("ERM, c = 0", None, Fraction(1, 5), Fraction(5, 9)),
    ("DA+ERM, c = 1", np.inf, Fraction(5, 21), Fraction(17, 33)),
    ("α = 1, c = 2", 1.0, Fraction(17, 53), Fraction(37, 73)),
    ("α = .1, c = 11", 0.1, Fraction(485, 1061), Fraction(577, 1153)),
    ("α = 0, c = ∞", 0.0, Fraction(1, 2), Fraction(1, 2)),
)


def _population() -> tuple[Array, Array]:
    """Four rows whose moments are those of the population: E X = 0, E XX' = Σ_X, E Xξ = v."""
    unit = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
    root = np.linalg.cholesky(_SIGMA)
    X = unit[:, :2] @ root.T
    xi = unit[:, :2] @ np.linalg.solve(root, _CONFOUNDING) + 0.5 * unit[:, 2]
    return X, X @ _EFFECT + xi


def rational_rows(tier: Tier) -> Iterator[Row]:
    """A1 in the Euclidean norm, where the risk rises; A2 weighted by Σ_X, where it falls; A3 the order."""
    X, y = _population()
    noise = AdditiveNoise(covariance=np.diag([0.0, 1.0]))
    risks: list[tuple[float, float]] = []
    for number, (name, alpha, plain, weighted) in enumerate(_RATIONALS):
        if alpha is None:
            fit = IVLikeRegressor().fit(X, y)
        else:
            fit = IVLikeRegressor(alpha=alpha, augmentation=noise, penalty="analytic").fit(X, y)
        measured = float(euclidean(fit.coef_, _EFFECT))
        in_sigma = float(normalized_causal_excess_risk(fit.coef_, _EFFECT, _SIGMA, norm="sigma"))
        risks.append((measured, in_sigma))
        yield near(f"A1.{number + 1}", f"Euclidean nCER: {name}", measured, float(plain), 1e-12, note=f"{plain}")
        what = f"nCER weighted by Σ_X: {name}"
        yield near(f"A2.{number + 1}", what, in_sigma, float(weighted), 1e-12, note=f"{weighted}")
    steps = np.diff(np.array(risks), axis=0)
    note = "dominance over least squares is false in this norm"
    yield near("A3.1", "steps at which the Euclidean nCER rises, of 4", float((steps[:, 0] > 0).sum()), 4, 0, note=note)
    note = "dominance holds in this norm"
    yield near("A3.2", "steps at which the weighted nCER falls, of 4", float((steps[:, 1] < 0).sum()), 4, 0, note=note)


# ---------------------------------------------------------------------- seeded samples

_SIZES = {0: (4, 500), 42: (32, 2048)}
_SUMS = {
    0: (162.69641637885405, -144.1714008617177, 11.933275558032875),
    42: (-2429.230530188309, 748.7350130611014, -16.989436201861864),
}
_ALPHAS = (0.001, 0.01, 0.1, 1.0, 10.0)
_BASICS = {
    0: {"ERM": 0.7923284077, "DA+ERM": 0.0323058241, "V5": 0.0107341006},
    42: {"ERM": 0.2663807366, "DA+ERM": 0.0549533223, "V5": 0.0005838915},
}
_BY_ALPHA = {
    0: {
        "projected": (0.0127779783, 0.0124787458, 0.0127605867, 0.0224080668, 0.0305280776),
        "paired": (0.0106743812, 0.0102313678, 0.0100945470, 0.0207404564, 0.0301885674),
        "pointwise": (0.0106743812, 0.0102313678, 0.0100945470, 0.0207404564, 0.0301885674),
        "analytic": (0.0106762348, 0.0102501609, 0.0102043811, 0.0200130121, 0.0278566557),
    },
    42: {
        "projected": (0.0176400787, 0.0093744854, 0.0171764087, 0.0386818114, 0.0523211396),
        "paired": (0.0005850309, 0.0016351365, 0.0131670479, 0.0379762634, 0.0522685736),
        "pointwise": (0.0005850309, 0.0016351365, 0.0131670479, 0.0379762634, 0.0522685736),
        "analytic": (0.0005844633, 0.0015788798, 0.0128098717, 0.0377711743, 0.0523410367),
    },
}
_EFFECT_0 = (-2.5529898158, 0.6536185954, 0.8644361989, -0.7421650204)
_PROJECTED_0 = (-2.3516088189, 0.6390052668, 0.7606150348, -0.5076467199)
_SIGMA_42 = {"ERM": 0.0236325099, "DA+ERM": 0.0186798655}
_CANONICAL_42 = (0.0009621531, 0.9557537890)
_BAR = 1e-8


@dataclass(frozen=True)
class _Sample:
    X: Array
    y: Array
    G: Array
    gamma: Array
    effect: Array
    covariance: Array

    def fit(self, penalty: str | None, alpha: float = 0.1) -> Any:
        """Fit without an intercept to the given draw; "analytic" knows the covariance of the shift."""
        options = {"alpha": alpha, "fit_intercept": False}
        if penalty is None:
            return IVLikeRegressor(**options).fit(self.X, self.y)
        if penalty == "analytic":
            shift = NullSpaceShift(self.gamma)
            return IVLikeRegressor(augmentation=shift, penalty=penalty, **options).fit(self.X, self.y)
        GX = self.X + self.G @ self.gamma
        model = IVLikeRegressor(penalty=penalty, **options)
        return model.fit(self.X, self.y, augmented=GX, augmentation_parameters=self.G)


def _sample(seed: int) -> _Sample:
    """T, ε, f, C, N_X, N_Y, G in this order, from the legacy generator, whose stream never changes."""
    m, n = _SIZES[seed]
    normal = np.random.RandomState(seed).standard_normal
    T, epsilon, f, C = normal((m, m)), normal(m), normal(m), normal((n, m))
    X = C @ T + 0.1 * normal((n, m))
    y = X @ f + C @ epsilon + 0.1 * normal(n)
    G = normal((n, m - 1))
    u = f.copy()
    u[0] += np.sign(f[0]) * np.linalg.norm(f)
    gamma = (np.eye(m) - 2 * np.outer(u, u) / (u @ u))[1:]
    return _Sample(X, y, G, gamma, f, T.T @ T + 0.01 * np.eye(m))


def fixture_rows(tier: Tier) -> Iterator[Row]:
    """C1 seed 0 with four features, C2 seed 42 with 32."""
    for number, seed in enumerate((0, 42)):
        yield from _fixture(f"C{number + 1}", seed)


def _fixture(label: str, seed: int) -> Iterator[Row]:
    sample, name = _sample(seed), f"seed {seed}, m={_SIZES[seed][0]}"
    sums = (sample.y.sum(), sample.X.sum(), sample.G.sum())
    yield at_most(f"{label}.1", f"{name}: distance of Σy, ΣX, ΣG", gap(sums, _SUMS[seed]), 1e-9)
    fits = {
        "ERM": sample.fit(None),
        "DA+ERM": sample.fit("pointwise", np.inf),
        "V5": sample.fit("constrained"),
    }
    for place, (kind, target) in enumerate(_BASICS[seed].items()):
        risk = float(euclidean(fits[kind].coef_, sample.effect))
        yield near(f"{label}.{place + 2}", f"{name}: {kind}", risk, target, _BAR)
    for place, (penalty, targets) in enumerate(_BY_ALPHA[seed].items()):
        path = sample.fit(penalty).path(_ALPHAS)
        for letter, alpha, coef, target in zip("abcde", _ALPHAS, path.coef, targets, strict=True):
            risk = float(euclidean(coef, sample.effect))
            yield near(f"{label}.{place + 5}{letter}", f"{name}: {penalty}, α = {alpha:g}", risk, target, _BAR)
    if seed == 0:
        yield at_most(f"{label}.9", f"{name}: distance of f", gap(sample.effect, _EFFECT_0), 1e-9)
        coef = sample.fit("projected").coef_
        yield at_most(f"{label}.10", f"{name}: distance of V1 at α = .1", gap(coef, _PROJECTED_0), _BAR)
        return
    for place, (kind, target) in enumerate(_SIGMA_42.items()):
        coef = fits[kind].coef_
        risk = float(normalized_causal_excess_risk(coef, sample.effect, sample.covariance, norm="sigma"))
        yield near(f"{label}.{place + 9}", f"{name}: {kind} weighted by Σ_X", risk, target, _BAR)
    values = sample.fit("projected").eigenvalues_
    for place, (end, target) in enumerate(zip((values.min(), values.max()), _CANONICAL_42, strict=True)):
        what = f"{name}: {('smallest', 'largest')[place]} squared canonical correlation"
        yield near(f"{label}.{place + 11}", what, float(end), target, _BAR)
