"""Confidence sets that need not be intervals: unions, unbounded, or empty, as a quadratic inequality gives them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

__all__ = ["ConfidenceSet", "quadratic_set", "split_by_contrast"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ConfidenceSet:
    """The values of a coefficient that a test does not reject: a union of closed intervals.

    Attributes
    ----------
    intervals : tuple of (float, float)
        Disjoint intervals in increasing order; ends may be infinite. Empty where every value is rejected.
    confidence_level : float
        Level of the set.
    name : str
        What the values are.
    """

    intervals: tuple[tuple[float, float], ...]
    confidence_level: float = 0.95
    name: str = ""

    @property
    def kind(self) -> str:
        """ "interval", "rays" (two), "ray" (one), "line" or "empty"."""
        if not self.intervals:
            return "empty"
        if len(self.intervals) == 2:
            return "rays"
        infinite = int(np.isinf(self.intervals[0]).sum())
        return ("interval", "ray", "line")[infinite]

    @property
    def lower(self) -> float:
        """Smallest value, minus infinity where the set is unbounded below, NaN where it is empty."""
        return self.intervals[0][0] if self.intervals else np.nan

    @property
    def upper(self) -> float:
        """Largest value, infinity where the set is unbounded above, NaN where it is empty."""
        return self.intervals[-1][1] if self.intervals else np.nan

    @property
    def bounded(self) -> bool:
        """Whether the set lies between two finite numbers; so does the empty set."""
        return self.kind in ("interval", "empty")

    def __contains__(self, value: float) -> bool:
        return any(low <= value <= high for low, high in self.intervals)

    def __str__(self) -> str:
        if not self.intervals:
            return "∅ (every value is rejected: the model or the instruments do not hold)"
        return " ∪ ".join(
            f"{'(' if np.isinf(low) else '['}{_number(low)}, {_number(high)}{')' if np.isinf(high) else ']'}"
            for low, high in self.intervals
        )


def _number(value: float) -> str:
    return ("-∞" if value < 0 else "∞") if np.isinf(value) else f"{value:.6g}"


def quadratic_set(form: Array, contrast: Array) -> tuple[tuple[float, float], ...]:
    """All v with min over c'β = v of (1, -β')·form·(1, -β')' ≤ 0.

    Parameters
    ----------
    form : ndarray, shape (p + 1, p + 1)
        Symmetric; [c₀, q'; q, Q], so that the quadratic is β'Qβ - 2q'β + c₀.
    contrast : ndarray, shape (p,)
        c, not zero.

    Returns
    -------
    tuple of (float, float)
        Closed intervals in increasing order.

    Notes
    -----
    Where Q is invertible this is c'b₀ ± √(sδ) with b₀ = Q⁻¹q, s = q'b₀ - c₀, δ = c'Q⁻¹c and the cases of their
    signs; minimising over the null space of c first leaves one quadratic in v that needs no inverse of Q
    (test_set_equals_the_closed_form).
    """
    # Coordinates: the constant, v, and the directions in which c'β does not move.
    rotation = linalg.block_diag(1.0, -np.column_stack(split_by_contrast(contrast)))
    a = rotation.T @ form @ rotation
    inner, cross = a[2:, 2:], a[2:, :2]
    reduced = a[:2, :2]
    if len(inner):
        values, vectors = np.linalg.eigh(inner)
        if values[0] <= 0:
            return ((-np.inf, np.inf),)
        root = (vectors / np.sqrt(values)).T @ cross
        reduced = reduced - root.T @ root
    return _roots(float(reduced[1, 1]), float(reduced[0, 1]), float(reduced[0, 0]))


def _roots(a: float, b: float, c: float) -> tuple[tuple[float, float], ...]:
    """All v with a·v² + 2b·v + c ≤ 0."""
    discriminant = b * b - a * c
    line = ((-np.inf, np.inf),)
    if a == 0:
        if b == 0:
            return line if c <= 0 else ()
        return ((-np.inf, -c / (2 * b)),) if b > 0 else ((-c / (2 * b), np.inf),)
    if discriminant < 0:
        return () if a > 0 else line
    # The root of larger size first, the other from their product: no cancellation.
    far = -(b + np.copysign(np.sqrt(discriminant), b))
    low, high = sorted((far / a, c / far)) if far != 0 else (0.0, 0.0)
    if a > 0:
        return ((low, high),)
    return line if low == high else ((-np.inf, low), (high, np.inf))


def split_by_contrast(contrast: Array) -> tuple[Array, Array]:
    """c/(c'c) and an orthonormal basis of what is orthogonal to c, shapes (p,) and (p, p - 1)."""
    q, _ = np.linalg.qr(np.column_stack([contrast, np.eye(len(contrast))]))
    return contrast / (contrast @ contrast), q[:, 1:]
