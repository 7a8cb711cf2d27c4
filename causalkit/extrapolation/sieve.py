r"""The sieve encoder: linear invariance solved in closed form over a basis of functions of the features.

Any φ that is a function of the features, satisfies :math:`E[\phi\mid A] = WA + b` and whose W has the rank of the
latent variables is an affine map of them: nothing has to be reconstructed. Over :math:`\phi = C'B(x)` the best share of
variance along the action against variance of what breaks linearity is a generalised eigenproblem of cross-moments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from causalkit.extrapolation.penalty import orthonormal_moments

__all__ = ["CanonicalMap", "SieveMoments", "canonical_coordinates", "solve_sieve"]

Array = NDArray[np.float64]

_SMALLEST_DIRECTION = 1e-8


@dataclass(frozen=True, eq=False)
class SieveMoments:
    """Sums over rows of products of (1, A, B, F): all that the closed form needs. They add up over blocks.

    Attributes
    ----------
    total : ndarray, shape (1 + k + p + D, 1 + k + p + D)
        Σ w (1, A, B, F)'(1, A, B, F).
    n_actions, n_basis : int
        k and p.
    """

    total: Array
    n_actions: int
    n_basis: int

    @classmethod
    def of_rows(cls, actions: Array, basis: Array, features: Array, weight: Array | None = None) -> SieveMoments:
        """Moments of some rows; ``weight`` counts a row several times."""
        joined = np.hstack([np.ones((len(actions), 1)), actions, basis, features])
        weighted = joined if weight is None else joined * weight[:, None]
        return cls(weighted.T @ joined, actions.shape[1], basis.shape[1])

    def __add__(self, other: SieveMoments) -> SieveMoments:
        return SieveMoments(self.total + other.total, self.n_actions, self.n_basis)

    def __sub__(self, other: SieveMoments) -> SieveMoments:
        return SieveMoments(self.total - other.total, self.n_actions, self.n_basis)

    @property
    def n(self) -> float:
        """Sum of weights."""
        return float(self.total[0, 0])

    def _part(self, name: str) -> slice:
        first = 1 + self.n_actions
        return {"A": slice(1, first), "B": slice(first, first + self.n_basis), "F": slice(first + self.n_basis, None)}[
            name
        ]

    def mean(self, name: str) -> Array:
        """Mean of "A", "B" or "F"."""
        return np.asarray(self.total[0, self._part(name)] / self.n)

    def covariance(self, left: str, right: str) -> Array:
        """Covariance of two of "A", "B", "F"."""
        raw = self.total[self._part(left), self._part(right)] / self.n
        return np.asarray(raw - np.outer(self.mean(left), self.mean(right)))

    def projected(self, left: str) -> Array:
        """Cov(left, F⊥) with F⊥ = F less its least squares on (1, A)."""
        slopes = np.linalg.solve(self.covariance("A", "A"), self.covariance("A", "F"))
        return np.asarray(self.covariance(left, "F") - self.covariance(left, "A") @ slopes)

    def projected_gram(self) -> Array:
        """F⊥'F⊥/n."""
        slopes = np.linalg.solve(self.covariance("A", "A"), self.covariance("A", "F"))
        return np.asarray(self.covariance("F", "F") - self.covariance("F", "A") @ slopes)

    def violation(self, weighting: str) -> Array:
        """n⁻²B'UU'B ("orthonormal") or n⁻²B'F⊥F⊥'B ("kernel"), shape (p, p)."""
        moments = self.projected("B")
        if weighting == "orthonormal":
            moments = moments @ orthonormal_moments(self.projected_gram())
        return np.asarray(moments @ moments.T)

    def between(self) -> Array:
        """Cov(B,A) Cov(A)⁻¹ Cov(A,B), shape (p, p)."""
        cross = self.covariance("B", "A")
        return np.asarray(cross @ np.linalg.solve(self.covariance("A", "A"), cross.T))


def solve_sieve(
    covariance: Array, between: Array, violation: Array, n_components: int, ridge: float
) -> tuple[Array, Array]:
    r"""Directions with the most variance along the action per violation of linearity.

    .. math:: S_b c = \tau\,(N + \mu S)\,c

    Directions of S with an eigenvalue below 1e-8 of the largest are left out: they look fine on the rows of the fit and
    explode on others.

    Parameters
    ----------
    covariance : ndarray, shape (p, p)
        S, covariance of the basis.
    between : ndarray, shape (p, p)
        S_b, its part that goes with the action.
    violation : ndarray, shape (p, p)
        N, what breaks linearity.
    n_components : int
        d.
    ridge : float
        μ: larger keeps the residual small, smaller follows the moments.

    Returns
    -------
    directions : ndarray, shape (p, d)
        In falling order of τ.
    ratios : ndarray, shape (d,)
        τ.
    """
    values, vectors = np.linalg.eigh(covariance)
    kept = values > _SMALLEST_DIRECTION * values[-1]
    # In units of the kept directions S is the identity, which keeps the problem well scaled.
    basis = vectors[:, kept] / np.sqrt(values[kept])
    inner = basis.T @ violation @ basis
    inner[np.diag_indices_from(inner)] += ridge
    outer = basis.T @ between @ basis
    count = len(inner)
    found, directions = linalg.eigh(
        (outer + outer.T) / 2, (inner + inner.T) / 2, subset_by_index=[count - n_components, count - 1]
    )
    return basis @ directions[:, ::-1], found[::-1]


@dataclass(frozen=True, eq=False)
class CanonicalMap:
    """An affine map to canonical coordinates, φ ↦ (φ - center) @ rotation.

    Attributes
    ----------
    rotation : ndarray, shape (d, d)
        Columns are directions.
    center : ndarray, shape (d,)
        Mean of φ.
    correlations : ndarray, shape (d,)
        Canonical correlations with the action, falling.
    action_matrix : ndarray, shape (d, k)
        W in the new coordinates.
    """

    rotation: Array
    center: Array
    correlations: Array
    action_matrix: Array


def canonical_coordinates(mean: Array, covariance: Array, with_actions: Array, actions: Array) -> CanonicalMap:
    r"""Coordinates of unit variance, ordered by their correlation with the action.

    They solve :math:`S_{\phi,b}v = \rho^2\,\mathrm{Cov}(\phi)v`. The sign makes the largest entry of each row of W
    positive. Representations that differ by an affine map have the same coordinates.

    Parameters
    ----------
    mean : ndarray, shape (d,)
        Mean of φ.
    covariance : ndarray, shape (d, d)
        Cov(φ).
    with_actions : ndarray, shape (d, k)
        Cov(φ, A).
    actions : ndarray, shape (k, k)
        Cov(A).

    Returns
    -------
    CanonicalMap
    """
    slopes = np.linalg.solve(actions, with_actions.T)
    between = with_actions @ slopes
    squares, rotation = linalg.eigh((between + between.T) / 2, covariance)
    rotation = rotation[:, ::-1]
    matrix = rotation.T @ slopes.T
    largest = np.abs(matrix).argmax(axis=1)
    sign = np.where(matrix[np.arange(len(matrix)), largest] < 0, -1.0, 1.0)
    correlations = np.sqrt(np.clip(squares[::-1], 0.0, 1.0))
    return CanonicalMap(rotation * sign, mean, correlations, matrix * sign[:, None])
