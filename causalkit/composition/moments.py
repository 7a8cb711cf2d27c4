"""Mergeable cross-moments of log-ratios, for compositions with more rows than memory holds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.covariance import basis_variances, double_centre
from causalkit.composition.shrinkage import Shrunk, _ratio, identity_intensity

__all__ = ["CompositionMoments"]

Array = NDArray[np.float64]


@dataclass
class CompositionMoments:
    """Shifted sums of columns y (log proportions, or CLR for methods that are free of units).

    Holds n, Σy, Σyy', Σy²(y²)' and Σy²y', which is all that Γ and every shrinkage intensity need.

    Attributes
    ----------
    use_clr : bool
        Whether the columns are CLR ("invariant", "ledoit_wolf", "oas", "logratio") or log proportions.
    shift : ndarray, shape (D,), optional
        Mean of the first chunk, taken out of every row for accuracy.
    """

    use_clr: bool
    shift: Array | None = None
    n: int = 0
    sums: dict[str, Array] = field(default_factory=dict)

    def update(self, log_x: Array) -> None:
        """Add rows of logs."""
        from scipy.special import logsumexp

        y = log_x - logsumexp(log_x, axis=1, keepdims=True)
        if self.use_clr:
            y = y - y.mean(axis=1, keepdims=True)
        if self.shift is None:
            self.shift = y.mean(axis=0)
        y = y - self.shift
        squares = y * y
        self._add({"1": y.sum(axis=0), "11": y.T @ y, "22": squares.T @ squares, "21": squares.T @ y})
        self.n += len(y)

    def _add(self, new: dict[str, Array]) -> None:
        for key, value in new.items():
            self.sums[key] = self.sums[key] + value if key in self.sums else value

    def merge(self, other: CompositionMoments) -> None:
        """Add the moments of other rows, moved to this shift."""
        if other.shift is None:
            return
        if self.shift is None:
            self.shift = other.shift
        self._add(other._moved(other.shift - self.shift))
        self.n += other.n

    def _moved(self, step: Array) -> dict[str, Array]:
        """Sums of (y + step) from those of y."""
        n, s1, s11, s22, s21 = self.n, self.sums["1"], self.sums["11"], self.sums["22"], self.sums["21"]
        second = np.diag(s11)
        square = second + 2 * step * s1 + n * step**2  # Σ(y+a)²
        moved_11 = s11 + np.outer(step, s1) + np.outer(s1, step) + n * np.outer(step, step)
        # Σ(y_i+a_i)²(y_j+a_j) = Σy_i²y_j + 2a_iΣy_iy_j + a_i²Σy_j + a_jΣ(y_i+a_i)²
        moved_21 = s21 + 2 * step[:, None] * s11 + np.outer(step**2, s1) + np.outer(square, step)
        # Σ(y_i+a_i)²(y_j+a_j)²: the square of the second factor expanded.
        half = s21 + 2 * step[:, None] * s11 + np.outer(step**2, s1)  # Σ(y_i+a_i)² y_j
        moved_22 = (
            s22 + 2 * step[:, None] * s21.T + np.outer(step**2, second) + 2 * half * step + np.outer(square, step**2)
        )
        return {"1": s1 + n * step, "11": moved_11, "22": moved_22, "21": moved_21}

    def central(self) -> tuple[Array, Array, Array]:
        """Mean of the columns, Σxx'/n and Σx²(x²)'/n of the centred columns."""
        if self.shift is None:
            raise ValueError("no rows have been added yet.")
        mean = self.sums["1"] / self.n
        moved = self._moved(-mean)
        return mean + self.shift, moved["11"] / self.n, moved["22"] / self.n

    def covariance(self) -> Array:
        """Γ, divisor n - 1."""
        second = self.central()[1] * (self.n / (self.n - 1))
        return second if self.use_clr else double_centre(second)

    def shrunk(self, method: str, intensity: float | None = None) -> Shrunk:
        """The shrinkage that the rows would give, from the moments alone."""
        _, second, fourth = self.central()
        n, d = self.n, len(second)
        h1, w2 = n / (n - 1), 1 / n
        diagonal = np.diag(second)
        if method in ("basis", "logratio"):
            v = h1 * diagonal
            m11, m22 = second / np.sqrt(np.outer(v, v)), fourth / np.outer(v, v)
            off = ~np.eye(d, dtype=bool)
            squares = float(np.sum(m11[off] ** 2))
            lam = (
                _ratio(w2 / (1 - w2) * (float(np.sum(m22[off])) - squares), squares) if intensity is None else intensity
            )
            target = float(np.median(v)) / h1
            spread = float(np.sum(np.diag(fourth) - diagonal**2))
            lam_var = _ratio(w2 / (1 - w2) * spread, float(np.sum((diagonal - target) ** 2)))
            shrunk = lam_var * np.median(v) + (1 - lam_var) * v
            return Shrunk(lam, lam_var, np.sqrt(shrunk), _root(h1 * m11), shrunk, v, method == "basis")
        gamma = h1 * second
        if method == "invariant":
            v = basis_variances(np.diag(gamma))
            size = np.outer(v, v)
            if intensity is None:
                independent = double_centre(np.diag(v))
                noise = h1**2 * w2 / (1 - w2) * float(np.sum((fourth - second**2) / size))
                intensity = _ratio(noise, float(np.sum((gamma - independent) ** 2 / size)))
            return Shrunk(intensity, 0.0, np.sqrt(v), _root(gamma / np.sqrt(size)), v, v)
        mu = float(np.trace(gamma)) / (d - 1)
        if intensity is None:
            intensity = identity_intensity(
                method, float(np.sum(second**2)), float(np.trace(second)), float(fourth.sum()), n, d
            )
        return Shrunk(intensity, 0.0, np.full(d, np.sqrt(mu)), _root(gamma / mu), np.full(d, mu), np.full(d, mu))


def _root(matrix: Array) -> Array:
    """Rows Z with Z'Z = matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))).T)
