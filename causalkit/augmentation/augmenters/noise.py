"""Additive augmenters: noise and shifts whose covariance is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causalkit.augmentation.augmenters.base import Augmenter
from causalkit.augmentation.augmenters.checks import (
    as_parameters,
    check_columns,
    check_number,
    dense_rows,
    frozen_array,
    resolve_columns,
    row_products,
)
from causalkit.exceptions import AugmentationError

__all__ = ["AdditiveNoise", "NullSpaceShift"]

Array = NDArray[np.float64]


class AdditiveNoise(Augmenter):
    r"""Gaussian noise on some columns.

    .. math:: GX = X + G E', \qquad G \sim N(0, \sigma^2 \Sigma)

    E picks the columns, so that :math:`E[DD'] = \sigma^2 E\Sigma E'`, with :math:`\Sigma = I` by default. Assumes
    that the outcome does not react to a change of these columns in any direction that Σ reaches.

    Parameters
    ----------
    scale : float, default=1.0
        Standard deviation σ, or the factor of Σ's root.
    covariance : array-like, shape (q, q), optional
        Σ over the q columns, symmetric and positive semi-definite; identity by default.
    columns : sequence of int, optional
        Positions of the q columns; every column by default.

    Attributes
    ----------
    covariance_matrix : ndarray, shape (q, q), or None
        The argument ``covariance``; the method of that name returns E[DD'].

    Raises
    ------
    AugmentationError
        A negative scale, a covariance of another shape or not positive semi-definite, columns that X does
        not have, a sparse X.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128 (outcome-invariant augmentation).

    Examples
    --------
    >>> from causalkit.augmentation.augmenters import AdditiveNoise
    >>> AdditiveNoise(scale=2.0, columns=[0]).covariance(2)
    array([[4., 0.],
           [0., 0.]])
    """

    is_sequential = True
    scale: float
    covariance_matrix: Array | None
    columns: tuple[int, ...] | None

    def __init__(
        self, scale: float = 1.0, covariance: ArrayLike | None = None, columns: ArrayLike | None = None
    ) -> None:
        matrix = None if covariance is None else _check_covariance(covariance)
        chosen = check_columns(columns, "columns")
        if matrix is not None and chosen is not None and len(matrix) != len(chosen):
            raise AugmentationError(
                f"covariance must be over the {len(chosen)} columns given: expected shape "
                f"({len(chosen)}, {len(chosen)}), got {matrix.shape}."
            )
        self._keep(scale=check_number(scale, "scale", low=0.0), covariance_matrix=matrix, columns=chosen)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor arguments by name."""
        return {"scale": self.scale, "covariance": self.covariance_matrix, "columns": self.columns}

    def parameter_names(self, n_features: int) -> list[str]:
        """``noise0``, ... by column position."""
        return [f"noise{j}" for j in self._positions(n_features)]

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """The noise itself, shape (n, q)."""
        noise = rng.standard_normal((n_rows, len(self._positions(n_features))))
        if self.covariance_matrix is not None:
            noise = row_products(noise, _root(self.covariance_matrix).T)
        noise *= self.scale
        return noise

    def apply(self, X: Any, G: Any) -> Array:
        """X with G added to its columns."""
        rows = dense_rows(self, X)
        noise = as_parameters(self, G, rows)
        if self.columns is None:
            return rows + noise
        moved = rows.copy()
        moved[:, list(self.columns)] += noise
        return moved

    def covariance(self, n_features: int) -> Array:
        """scale²·Σ at the columns, zero elsewhere, shape (p, p)."""
        positions = self._positions(n_features)
        block = np.eye(len(positions)) if self.covariance_matrix is None else self.covariance_matrix
        full = np.zeros((n_features, n_features))
        full[np.ix_(positions, positions)] = self.scale**2 * block
        return full

    def _positions(self, n_features: int) -> NDArray[np.intp]:
        positions = resolve_columns(self, self.columns, n_features)
        if self.covariance_matrix is not None and len(self.covariance_matrix) != len(positions):
            raise AugmentationError(
                f"covariance of AdditiveNoise has shape {self.covariance_matrix.shape}, but X has {n_features} "
                "columns: give one row and column per column of X, or name its columns."
            )
        return positions


class NullSpaceShift(Augmenter):
    r"""Gaussian shifts along known directions.

    .. math:: GX = X + \sigma G\Gamma, \qquad G \sim N(0, I_k)

    so that :math:`E[DD'] = \sigma^2\Gamma'\Gamma`. Assumes that the rows of Γ lie in the null space of the
    effect: moving along them leaves the outcome alone.

    Parameters
    ----------
    basis : array-like, shape (k, p)
        The directions Γ; rows need be neither orthogonal nor independent.
    scale : float, default=1.0
        Strength σ.

    Raises
    ------
    AugmentationError
        A basis that is not a finite matrix or not of X's width, a negative scale, a sparse X.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128 (the linear Gaussian setting of their theorems).

    Examples
    --------
    >>> from causalkit.augmentation.augmenters import NullSpaceShift
    >>> NullSpaceShift([[1.0, -1.0]], scale=2.0).covariance(2)
    array([[ 4., -4.],
           [-4.,  4.]])
    """

    is_sequential = True
    basis: Array
    scale: float

    def __init__(self, basis: ArrayLike, scale: float = 1.0) -> None:
        self._keep(basis=frozen_array(basis, "basis", 2), scale=check_number(scale, "scale", low=0.0))

    def parameter_names(self, n_features: int) -> list[str]:
        """``shift0``, ... by row of the basis."""
        if self.basis.shape[1] != n_features:
            raise AugmentationError(
                f"basis of NullSpaceShift has shape {self.basis.shape}, but X has {n_features} columns: expected "
                f"(k, {n_features}), one direction per row."
            )
        return [f"shift{j}" for j in range(len(self.basis))]

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """Standard normal shifts, shape (n, k)."""
        return rng.standard_normal((n_rows, len(self.parameter_names(n_features))))

    def apply(self, X: Any, G: Any) -> Array:
        """X + scale·G·basis."""
        rows = dense_rows(self, X)
        return rows + self.scale * row_products(as_parameters(self, G, rows), self.basis)

    def covariance(self, n_features: int) -> Array:
        """scale²·basis'basis, shape (p, p)."""
        self.parameter_names(n_features)
        return self.scale**2 * (self.basis.T @ self.basis)


def _check_covariance(values: ArrayLike) -> Array:
    matrix = frozen_array(values, "covariance", 2)
    if matrix.shape[0] != matrix.shape[1] or not np.allclose(matrix, matrix.T, rtol=1e-10, atol=0.0):
        raise AugmentationError(f"covariance must be a symmetric matrix; got shape {matrix.shape}.")
    smallest = float(np.linalg.eigvalsh(matrix)[0])
    if smallest < -1e-10 * float(np.abs(matrix).max()):
        raise AugmentationError(f"covariance must be positive semi-definite; its smallest eigenvalue is {smallest:g}.")
    return matrix


def _root(matrix: Array) -> Array:
    """R with RR' = matrix; by eigenvalues, because a singular covariance has no Cholesky factor here."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
