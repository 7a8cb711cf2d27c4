"""Fieller's confidence sets for a ratio, which may be unions of intervals or unbounded, and their p-values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.inference.confidence_sets import ConfidenceSet

__all__ = ["RatioParts"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RatioParts:
    """Numerators and the common denominator of τ = N/k, with their joint covariance.

    Attributes
    ----------
    numerator : ndarray, shape (q,)
        Uncorrected estimates less the intercept's part.
    slope : float
        k.
    cov : ndarray, shape (q + 1, q + 1)
        Covariance of (N, k).
    """

    numerator: Array
    slope: float
    cov: Array

    def confidence_set(self, index: int, critical: float) -> ConfidenceSet:
        """{t : (N - tk)² ≤ z²(V_N - 2t C_Nk + t² V_k)} for one numerator."""
        z2 = critical**2
        n, k = float(self.numerator[index]), self.slope
        v_n, v_k, c = float(self.cov[index, index]), float(self.cov[-1, -1]), float(self.cov[index, -1])
        a, b, d = k * k - z2 * v_k, -2.0 * (n * k - z2 * c), n * n - z2 * v_n
        discriminant = b * b - 4 * a * d
        # With a > 0 the point N/k solves the inequality, so the roots are real up to rounding.
        if a > 0:
            root = np.sqrt(max(discriminant, 0.0))
            return ConfidenceSet((((-b - root) / (2 * a), (-b + root) / (2 * a)),))
        if a == 0 and b != 0:  # the quadratic term is gone: a half-line
            return ConfidenceSet(((-np.inf, -d / b),) if b > 0 else ((-d / b, np.inf),))
        if discriminant <= 0 or a == 0:
            return ConfidenceSet(((-np.inf, np.inf),))
        root = np.sqrt(discriminant)
        low, high = sorted(((-b - root) / (2 * a), (-b + root) / (2 * a)))
        return ConfidenceSet(((-np.inf, low), (high, np.inf)))

    def statistic(self, index: int, null: float) -> float:
        """|N - tk| in standard errors: the set at level 1 - p ends where this has p-value p."""
        variance = self.cov[index, index] - 2 * null * self.cov[index, -1] + null**2 * self.cov[-1, -1]
        distance = abs(float(self.numerator[index]) - null * self.slope)
        if distance == 0:
            return 0.0
        return distance / float(np.sqrt(variance)) if variance > 0 else np.inf
