"""Section E: bounds, robustness values and E-values where the missing confounder is known."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import gap, quiet
from benchmarks.rows import Row, at_most, near
from benchmarks.simulation import Tier
from benchmarks.validation.rewards.common import LOADINGS, fit
from benchmarks.validation.rewards.linear import exact_sample
from causalkit.rewards import e_value, omitted_variable_bias, robustness_value

__all__ = ["rows"]

Array = NDArray[np.float64]

_EXACT = 1e-4
_CF_Y = 2 / 3
# Feature: short coefficient, cf_d, ν², bias.
_FEATURES = {
    1: (1.8, 0.32, 0.68, 0.8),
    2: (-0.1, 0.18, 0.82, 0.6),
    3: (-0.75, 0.0, 1.0, 0.0),
    4: (0.0, 0.0, 1.0, 0.0),
}
_RV = {1: 0.6955, 2: 0.0618}
_DARFUR = (0.09732, 0.02326, 783)


def rows(tier: Tier) -> Iterator[Row]:
    """E1 and E2 the exact sample with C hidden, E3 any direction, E4 a published example, E5 E-values."""
    with quiet():
        yield from _hidden_rows()
        yield from _direction_rows()
        yield from _published_rows()


def _hidden_rows() -> Iterator[Row]:
    X, y, C, _ = exact_sample(2.0)
    short = fit("none", X, y)
    sigma2 = float(np.mean((y - y.mean() - (X - X.mean(axis=0)) @ short.coef_) ** 2))
    yield near("E1.1", "C hidden: σ²", sigma2, 3.0, _EXACT)
    long = np.linalg.lstsq(np.column_stack([np.ones(len(y)), X, C]), y, rcond=None)[0]
    left = y - np.column_stack([np.ones(len(y)), X, C]) @ long
    yield near(
        "E1.2", "C hidden: cf_y, share of σ² that C explains", 1 - float(np.mean(left**2)) / sigma2, _CF_Y, _EXACT
    )
    precision = np.linalg.inv(short.feature_residual_covariance_)
    shares = np.diag(precision)
    # Given C the representer's second moment is that of U, one for every feature.
    for j, (coef, cf_d, nu2, bias) in _FEATURES.items():
        label, name = f"E2.{j}", f"C hidden, feature {j}"
        yield near(f"{label}a", f"{name}: short coefficient", short.coef_[j - 1], coef, _EXACT)
        yield near(f"{label}b", f"{name}: ν²", float(shares[j - 1]), nu2, _EXACT)
        yield near(f"{label}c", f"{name}: cf_d = 1 - ν²", 1 - float(shares[j - 1]), cf_d, _EXACT)
        bound = short.sensitivity(cf_y=_CF_Y, cf_d=cf_d)["bound"].iloc[j - 1]
        yield near(f"{label}d", f"{name}: bound at the true strengths", bound, bias, _EXACT)
        yield near(
            f"{label}e", f"{name}: bound as a pure function", omitted_variable_bias(3, nu2, _CF_Y, cf_d), bias, _EXACT
        )
        if j in _RV:
            value = short.sensitivity()["rv"].iloc[j - 1]
            # n - p degrees of freedom stand in for n in the exact sample: the formula has S, which knows neither.
            yield near(f"{label}f", f"{name}: robustness value", value, _RV[j], _EXACT)


def _direction_rows() -> Iterator[Row]:
    X, y, _, _ = exact_sample(2.0)
    short = fit("none", X, y)
    precision = np.linalg.inv(np.outer(LOADINGS, LOADINGS) + np.eye(4))
    q = np.random.default_rng(25_000).standard_normal((20, 4))
    worst = 0.0
    for row in q:
        cf_d = 1 - float(row @ precision @ row / (row @ row))
        frame = short.sensitivity(X_first=row[None], X_second=np.zeros((1, 4)), cf_y=_CF_Y, cf_d=cf_d)
        worst = max(worst, gap(frame["bound"].iloc[0], abs(2 * row @ precision @ LOADINGS)))
    yield at_most("E3.1", "20 directions q: bound against |q'Σ_X⁻¹bγ|, largest gap", worst, _EXACT)


def _published_rows() -> Iterator[Row]:
    estimate, se, df = _DARFUR
    t = estimate / se
    yield near("E4.1", "Darfur: t", t, 4.1844, 5e-4)
    yield near("E4.2", "Darfur: partial R²", t**2 / (t**2 + df), 0.02187, 5e-6)
    yield near("E4.3", "Darfur: robustness value", robustness_value(4.1844, df), 0.1388, 5e-5)
    yield near("E4.4", "Darfur: robustness value at level .05", robustness_value(4.1844, df, alpha=0.05), 0.0763, 5e-5)
    yield near("E5.1", "E-value of 3.9", e_value(3.9), 7.26, 5e-3)
    yield near("E5.2", "E-value of 1.8", e_value(1.8), 3.0, 5e-3)
    ratio = math.exp(0.91 * 0.5)
    yield near("E5.3", "d = .5: risk ratio", ratio, 1.576, 5e-4)
    yield near("E5.4", "d = .5: E-value", e_value(ratio), 2.53, 5e-3)
    yield near("E5.5", "E-value of 1/3.9 equals that of 3.9", e_value(1 / 3.9), e_value(3.9), 1e-12)
