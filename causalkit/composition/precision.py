"""The pseudo-inverse Γ⁺ of a log-ratio covariance, dense or as a factor that never forms D×D."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.shrinkage import Shrunk

__all__ = [
    "DensePrecision",
    "FactoredPrecision",
    "Precision",
    "dense_precision",
    "factored_precision",
    "shrunk_precision",
]

Array = NDArray[np.float64]
Index = slice | NDArray[np.intp]

ALL = slice(None)


class Precision(Protocol):
    """What the estimator asks of Γ⁺."""

    @property
    def diagonal(self) -> Array:
        """Γ⁺_ii, shape (D,)."""

    @property
    def log_pseudo_determinant(self) -> float:
        """log of the product of the non-zero eigenvalues."""

    def correlations(self, rows: Index = ALL, cols: Index = ALL) -> Array:
        """Block of partial correlations r_ij = -Γ⁺_ij/√(Γ⁺_iiΓ⁺_jj), 1 on the diagonal."""

    def matrix(self) -> Array:
        """Γ⁺, shape (D, D)."""

    def quadratic(self, c: Array) -> Array:
        """c'Γ⁺c of each row, shape (n,)."""


@dataclass(frozen=True)
class DensePrecision:
    """Γ⁺ in full.

    Attributes
    ----------
    values : ndarray, shape (D, D)
    log_pseudo_determinant : float
        log of the product of the non-zero eigenvalues.
    """

    values: Array
    log_pseudo_determinant: float

    @property
    def diagonal(self) -> Array:
        """Diagonal of Γ⁺, shape (D,)."""
        return np.diag(self.values)

    def correlations(self, rows: Index = ALL, cols: Index = ALL) -> Array:
        """Block of partial correlations, 1 on the diagonal."""
        root = np.sqrt(self.diagonal)
        # The product of the two roots is the same either way round, so the result is exactly symmetric.
        block = self.values[rows][:, cols] / np.multiply.outer(-root[rows], root[cols])
        return _unit_diagonal(block, rows, cols, len(root))

    def matrix(self) -> Array:
        """Γ⁺, shape (D, D)."""
        return self.values

    def quadratic(self, c: Array) -> Array:
        """c'Γ⁺c of each row, shape (n,)."""
        return np.asarray(np.einsum("ij,ij->i", c @ self.values, c))


@dataclass(frozen=True)
class FactoredPrecision:
    """Γ⁺ of M = S[(1-λ)Z'Z + λI]S from n + 1 rows: r_ij = F_i'F_j for i ≠ j.

    Attributes
    ----------
    factor : ndarray, shape (n + 1, D)
        F.
    diagonal : ndarray, shape (D,)
        Γ⁺_ii.
    whitened : ndarray, shape (n, D)
        W with M⁻¹ = S⁻¹(I - W'W)S⁻¹/λ.
    scale : ndarray, shape (D,)
        s.
    intensity : float
        λ.
    row_sums : ndarray, shape (D,)
        u = M⁻¹1; zeros where M is not projected.
    log_pseudo_determinant : float
    """

    factor: Array
    diagonal: Array
    whitened: Array
    scale: Array
    intensity: float
    row_sums: Array
    log_pseudo_determinant: float

    def correlations(self, rows: Index = ALL, cols: Index = ALL) -> Array:
        """Block of partial correlations, 1 on the diagonal."""
        block = self.factor[:, rows].T @ self.factor[:, cols]
        return _unit_diagonal(block, rows, cols, len(self.scale))

    def matrix(self) -> Array:
        """Γ⁺, shape (D, D)."""
        root = np.sqrt(self.diagonal)
        out = self.correlations()
        out *= np.multiply.outer(-root, root)
        np.fill_diagonal(out, self.diagonal)
        return np.asarray(out)

    def quadratic(self, c: Array) -> Array:
        """c'Γ⁺c of each row, shape (n,)."""
        scaled = c / self.scale
        images = scaled @ self.whitened.T
        value = (np.einsum("ij,ij->i", scaled, scaled) - np.einsum("ij,ij->i", images, images)) / self.intensity
        total = self.row_sums.sum()
        return np.asarray(value - (c @ self.row_sums) ** 2 / total if total > 0 else value)


def _unit_diagonal(block: Array, rows: Index, cols: Index, d: int) -> Array:
    if isinstance(rows, slice) and isinstance(cols, slice):
        a, b = range(d)[rows], range(d)[cols]
        common = np.arange(max(a.start, b.start), min(a.stop, b.stop))
        block[common - a.start, common - b.start] = 1.0
        return block
    a_index, b_index = np.arange(d)[rows], np.arange(d)[cols]
    block[a_index[:, None] == b_index] = 1.0
    return block


def dense_precision(gamma: Array) -> DensePrecision:
    """Γ⁺ = (Γ + c11')⁻¹ - 11'/(cD²), c = tr Γ/D²: one Cholesky inverse.

    Raises
    ------
    numpy.linalg.LinAlgError
        If Γ has a null vector beside 1; the caller names the parts.
    """
    d = len(gamma)
    c = float(np.trace(gamma)) / d**2
    inverse, log_det = _cholesky_inverse(gamma + c)
    inverse -= 1 / (c * d * d)
    # On the complement of 1 the determinant is that of Γ; along 1 it is cD.
    return DensePrecision(inverse, -(log_det - np.log(c * d)))


def _cholesky_inverse(matrix: Array) -> tuple[Array, float]:
    from scipy.linalg import lapack

    factor, info = lapack.dpotrf(matrix, lower=1, clean=0, overwrite_a=0)
    if info:
        raise np.linalg.LinAlgError("matrix is not positive definite")
    log_det = 2 * float(np.sum(np.log(np.diag(factor))))
    inverse, info = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if info:
        raise np.linalg.LinAlgError("matrix is singular")
    lower = np.tril(inverse)
    return lower + np.tril(lower, -1).T, log_det


def shrunk_precision(shrunk: Shrunk) -> Precision:
    """The cheaper exact route: factored for fewer rows than parts (or λ = 1), dense otherwise."""
    n, d = shrunk.rows.shape
    if shrunk.intensity > 0 and (n < d or shrunk.intensity >= 1):
        return factored_precision(shrunk)
    scaled = shrunk.rows * shrunk.scale
    covariance = (1 - shrunk.intensity) * (scaled.T @ scaled)
    covariance[range(d), range(d)] += shrunk.intensity * shrunk.scale**2
    if shrunk.intensity == 0 and shrunk.projected:
        return dense_precision(_centred(covariance))
    inverse, log_det = _cholesky_inverse(covariance)
    if not shrunk.projected:
        return DensePrecision(inverse, -log_det)
    u = inverse.sum(axis=0)
    total = float(u.sum())
    inverse -= np.outer(u, u) / total
    return DensePrecision(inverse, np.log(d) - log_det - np.log(total))


def _centred(matrix: Array) -> Array:
    from causalkit.composition.covariance import double_centre

    return double_centre(matrix)


def factored_precision(shrunk: Shrunk) -> FactoredPrecision:
    """Exact factor for λ > 0.

    LL' = λ/(1-λ)·I + ZZ', W = L⁻¹Z, u = (1/s - W'W(1/s))/(λs), σ = Σu,
    Γ⁺_ii = (1 - ‖W_i‖²)/(λs_i²) - u_i²/σ; rows of F: W_i/(s_i√(λΓ⁺_ii)) and u_i/√(σΓ⁺_ii).
    """
    from scipy.linalg import solve_triangular

    lam, s, z = shrunk.intensity, shrunk.scale, shrunk.rows
    n, d = z.shape
    if lam >= 1:
        whitened = np.zeros((0, d))
        log_small = 0.0
    else:
        gram = z @ z.T
        gram[range(n), range(n)] += lam / (1 - lam)
        lower = np.linalg.cholesky(gram)
        whitened = solve_triangular(lower, z, lower=True, check_finite=False)
        log_small = 2 * float(np.sum(np.log(np.diag(lower)))) + n * np.log(1 - lam) - n * np.log(lam)
    own = 1 - np.einsum("ij,ij->j", whitened, whitened)
    log_det = 2 * float(np.sum(np.log(s))) + d * np.log(lam) + log_small
    diagonal = own / (lam * s * s)
    if not shrunk.projected:
        factor = whitened / (s * np.sqrt(lam * diagonal))
        return FactoredPrecision(factor, diagonal, whitened, s, lam, np.zeros(d), -log_det)
    y = 1 / s
    u = (y - whitened.T @ (whitened @ y)) / (lam * s)
    total = float(u.sum())
    diagonal = diagonal - u * u / total
    factor = np.vstack([whitened / (s * np.sqrt(lam * diagonal)), u / np.sqrt(total * diagonal)])
    log_pdet = np.log(d) - log_det - np.log(total)
    return FactoredPrecision(factor, diagonal, whitened, s, lam, u, log_pdet)
