"""Tensor products of cubic splines with uniform knots, straight beyond the last ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

__all__ = ["TensorSplines"]

Array = NDArray[np.float64]

_DEGREE = 3
_QUANTILES = (0.001, 0.999)


@dataclass(frozen=True, eq=False)
class TensorSplines:
    """A basis of products of cubic B-splines, one factor per axis.

    Beyond the outer knots every factor goes on along its tangent: a cubic tail would explode just where questions
    about strong interventions are asked.

    Attributes
    ----------
    knots : ndarray, shape (d, m)
        Uniform knots of each axis, outer ones included, from the .1 % to the 99.9 % quantile.
    """

    knots: Array

    @classmethod
    def of(cls, points: Array, n_knots: int) -> TensorSplines:
        """Knots for points of shape (n, d): uniform ones, since quantile knots would thin out the tails."""
        low, high = np.quantile(points, _QUANTILES, axis=0)
        wide = np.maximum(high - low, 1e-8 * np.maximum(np.abs(high) + np.abs(low), 1.0))
        return cls(low[:, None] + wide[:, None] * np.linspace(0, 1, n_knots))

    @property
    def n_axes(self) -> int:
        """d."""
        return len(self.knots)

    @property
    def per_axis(self) -> int:
        """Factors per axis."""
        return self.knots.shape[1] + _DEGREE - 1

    @property
    def n_columns(self) -> int:
        """Columns of the design."""
        return int(self.per_axis**self.n_axes)

    def design(self, points: Array, derivative: int | None = None) -> Array:
        """Basis at points (n, d), or its derivative along one axis, shape (n, n_columns)."""
        out = np.ones((len(points), 1))
        for axis in range(self.n_axes):
            factor = self._factor(points[:, axis], axis, axis == derivative)
            out = (out[:, :, None] * factor[:, None, :]).reshape(len(points), -1)
        return out

    def _factor(self, values: Array, axis: int, slope: bool) -> Array:
        knots = self.knots[axis]
        step = knots[1] - knots[0]
        padded = np.concatenate(
            [knots[0] - step * np.arange(_DEGREE, 0, -1), knots, knots[-1] + step * np.arange(1, _DEGREE + 1)]
        )
        spline = BSpline(padded, np.eye(self.per_axis), _DEGREE)
        inside = np.clip(values, knots[0], knots[-1])
        tangent = spline.derivative()(inside)
        if slope:
            return np.asarray(tangent)
        return np.asarray(spline(inside) + tangent * (values - inside)[:, None])

    def roughness(self) -> Array:
        """Σ over axes of squared second differences of the coefficients along the axis, shape (p, p)."""
        m = self.per_axis
        second = np.diff(np.eye(m), n=2, axis=0)
        total = np.zeros((self.n_columns, self.n_columns))
        for axis in range(self.n_axes):
            parts = [second.T @ second if j == axis else np.eye(m) for j in range(self.n_axes)]
            block: Array = np.asarray(parts[0], dtype=np.float64)
            for part in parts[1:]:
                block = np.asarray(np.kron(block, part), dtype=np.float64)
            total += block
        return total
