r"""What second stages share: their rows, and answers from a fitted :math:`\nu(\phi) + \psi(R)`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from causalkit.documented import DocumentedEstimator
from causalkit.validation import check_matrix, check_sample_weight, check_vector

__all__ = ["ControlFunction", "stage_rows"]

Array = NDArray[np.float64]


def stage_rows(phi: Any, residual: Any, y: Any, sample_weight: Any) -> tuple[Array, Array, Array, Array]:
    """Checked representation (n, d), residual (n, d), outcome (n,), and weights of mean 1."""
    points, _ = check_matrix(phi, "phi")
    errors, _ = check_matrix(residual, "residual", n_rows=len(points), like="phi")
    outcome = check_vector(y, "y", n_rows=len(points), like="phi")
    weight = check_sample_weight(sample_weight, len(points), like="phi")
    return points, errors, outcome, np.ones(len(points)) if weight is None else weight / weight.mean()


class ControlFunction(DocumentedEstimator):
    """Answers of a second stage whose ``fit_`` has both parts, ``nu`` and ``psi``."""

    fit_: Any
    n_features_in_: int

    def predict(self, phi: Any, residual: Any) -> Array:
        """ν(φ) + ψ(R), shape (n,)."""
        points = self._points(phi, "phi")
        return np.asarray(self.fit_.nu(points) + self.fit_.psi(self._points(residual, "residual", len(points))))

    def structural(self, phi: Any) -> Array:
        """ν(φ), shape (n,)."""
        points = self._points(phi, "phi")
        return np.asarray(self.fit_.nu(points))

    def _points(self, values: Any, name: str, n_rows: int | None = None) -> Array:
        check_is_fitted(self)
        points, _ = check_matrix(values, name, n_rows=n_rows, like=None if n_rows is None else "phi")
        if points.shape[1] != self.n_features_in_:
            raise ValueError(f"{name} has {points.shape[1]} columns, expected {self.n_features_in_} as in fit.")
        return points
