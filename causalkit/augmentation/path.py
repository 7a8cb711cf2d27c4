"""All values of alpha at the price of one factorisation, for every penalty.

A spectrum writes h(alpha) = base + Σ_j factor_j(alpha)·loading_j·direction_j with directions that do not
depend on alpha; only the factors differ between the penalties.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, eigh
from scipy.linalg.lapack import dtrtrs

from causalkit.augmentation.linear_inputs import check_alpha
from causalkit.exceptions import RankError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AlphaPath", "Spectrum", "cholesky_of_features", "pair_spectrum", "plain_spectrum", "projected_spectrum"]

Array = NDArray[np.float64]

# Relative size below which an eigenvalue of the features' correlation matrix is rounding error.
_SINGULAR = 1e-12


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Coefficients as a function of alpha.

    Attributes
    ----------
    kind : {"projected", "pairs", "analytic", "constrained", "none"}
        Which factors apply.
    base : ndarray, shape (p, t)
        Part that does not depend on alpha: the limit alpha = inf for "projected", else 0.
    directions : ndarray, shape (p, m)
        Directions that are scaled.
    loadings : ndarray, shape (m, t)
        Their sizes.
    values : ndarray, shape (m,)
        Eigenvalues: squared canonical correlations λ_j of G and GX for "projected", else l_j of (B, A).
    rank_tol : float
        Relative size below which an eigenvalue counts as zero.
    hat : ndarray, shape (m,)
        Diagonal that turns factors into degrees of freedom (1 without ridge).
    """

    kind: str
    base: Array
    directions: Array
    loadings: Array
    values: Array
    rank_tol: float
    hat: Array

    @property
    def moved(self) -> NDArray[np.bool_]:
        """Which eigenvalues are not zero, shape (m,)."""
        return np.asarray(self.values > self.rank_tol * max(1.0 if self.kind == "projected" else 0.0, self._largest))

    @property
    def _largest(self) -> float:
        return float(self.values.max(initial=0.0))

    def factors(self, alphas: Array) -> Array:
        """Factors for each alpha, shape (number of alphas, m)."""
        a, values, moved = np.asarray(alphas, dtype=float)[:, None], self.values[None, :], self.moved[None, :]
        if self.kind == "projected":
            with np.errstate(divide="ignore"):
                return np.asarray(np.where(moved | (a > 0), 1.0 / np.where(a + values > 0, a + values, np.inf), 0.0))
        if self.kind == "constrained":
            return np.repeat(np.where(moved, 0.0, 1.0), len(a), axis=0)
        if self.kind == "none":
            return np.ones((len(a), len(self.values)))
        unmoved = np.where(moved, 0.0, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.kind == "analytic":  # 1/(1 + (1 + 1/a)·values), without 1/a, which may overflow
                inner = np.where(np.isinf(a), 1.0 / (1.0 + values), a / (a + (1.0 + a) * values))
            else:
                inner = np.where(np.isinf(a), 1.0, a / (a + values))
        return np.where(a == 0, unmoved, inner)

    def coef(self, alphas: Array) -> Array:
        """Coefficients, shape (number of alphas, p, t)."""
        factors, towards = self.factors(alphas), self.directions.T
        # One product per outcome for all alphas at once.
        outcomes = [(factors * loadings) @ towards for loadings in self.loadings.T]
        return np.asarray(self.base + np.stack(outcomes, axis=-1))

    def degrees_of_freedom(self, alphas: Array) -> Array | None:
        """Trace of the hat matrix, shape (number of alphas,); None for "projected"."""
        return None if self.kind == "projected" else np.asarray(self.factors(alphas) @ self.hat)


def cholesky_of_features(A: Array, names: list[str], *, floor: Array | None = None, n_rows: int | None = None) -> Array:
    """Lower Cholesky factor of the features' second moments.

    Parameters
    ----------
    A : ndarray, shape (p, p)
        Second moments, ridge included.
    names : list of str, length p
        For the message.
    floor : ndarray, shape (p,), optional
        Second moments that are rounding error: columns with no more count as constant.
    n_rows : int, optional
        For the message.

    Raises
    ------
    RankError
        If they are singular; the message names columns that take part.
    """
    constant = ~(np.diag(A) > (0.0 if floor is None else floor))
    if constant.any():
        _refuse_rank(len(A) - int(constant.sum()), len(A), [names[j] for j in np.flatnonzero(constant)], n_rows)
    size = np.sqrt(np.diag(A))
    correlation = A / np.outer(size, size)
    # The factorisation itself tells a well-conditioned matrix cheaply; eigenvectors are for the message.
    try:
        lower = cholesky(correlation, lower=True)
    except np.linalg.LinAlgError:
        lower = None
    if lower is None or np.diag(lower).min() ** 2 < len(A) * _SINGULAR:
        values, vectors = np.linalg.eigh(correlation)
        null = values < len(A) * _SINGULAR
        if null.any() or lower is None:
            involved = np.abs(vectors[:, null]).max(axis=1, initial=0.0) > 1e-3
            _refuse_rank(int((~null).sum()), len(A), [names[j] for j in np.flatnonzero(involved)], n_rows)
    return np.asarray(lower * size[:, None])


def _refuse_rank(rank: int, p: int, involved: list[str], n_rows: int | None) -> None:
    listed = ", ".join(involved[:6]) + (f" and {len(involved) - 6} more" if len(involved) > 6 else "")
    raise RankError(
        f"the features have rank {rank}, but there are p = {p} of them ({listed} are constant or collinear, or there "
        f"are fewer rows than features{'' if n_rows is None else f', n_samples = {n_rows}'}): set ridge > 0, or drop "
        "columns."
    )


def projected_spectrum(a: Array, C: Array, d: Array, *, lower: Array, rank_tol: float) -> Spectrum:
    r"""Spectrum of h = (αA + C'C)⁻¹(αa + C'd), for parameters g of unit second moments.

    With CA⁻¹C'V = VΛ, V'V = I: h_α = h_0 + A⁻¹C'V·[V'(d - Ch_0)]_j/(α + λ_j), because the fit moves away
    from h_0 = A⁻¹a in the span of A⁻¹C' only (test_path_equals_direct_solve).

    Parameters
    ----------
    a, C, d : ndarray, shapes (p, t), (k, p), (k, t)
        Second moments of x with y, g with x, g with y; E[gg'] is the identity.
    lower : ndarray, shape (p, p)
        Cholesky factor of A.
    rank_tol : float
        Squared correlation below which a direction counts as not moved.
    """
    start = _chol_solve(lower, a)
    half = _solve_lower(lower, C.T)  # (p, k), half'half = CA⁻¹C'
    values, V = np.linalg.eigh(half.T @ half)
    directions = _solve_lower(lower, half @ V, transposed=True)
    loadings = V.T @ (d - C @ start)
    values = np.clip(values, 0.0, 1.0)
    return Spectrum("projected", start, directions, loadings, values, rank_tol, np.ones(len(values)))


def pair_spectrum(kind: str, a: Array, B: Array, *, lower: Array, rank_tol: float, ridge: float = 0.0) -> Spectrum:
    r"""Spectrum of h = (αA + B)⁻¹αa ("pairs"), (A + (1 + 1/α)B)⁻¹a ("analytic"), or a within null(B) ("constrained").

    A = MM', M⁻¹BM⁻ᵀ = U diag(l) U': every one of them is M⁻ᵀU·diag(factor)·U'M⁻¹a.

    Parameters
    ----------
    kind : {"pairs", "analytic", "constrained"}
        Which factors apply.
    a, B : ndarray, shapes (p, t), (p, p)
        Second moments of the features with the outcome, and of the moves.
    lower : ndarray, shape (p, p)
        Cholesky factor M of the features' second moments A, ridge included.
    rank_tol : float
        Eigenvalue, relative to the largest, below which a direction counts as not moved.
    ridge : float
        What A holds beyond the features' moments, for the degrees of freedom.
    """
    half = _solve_lower(lower, B)
    values, U = eigh(_solve_lower(lower, half.T))
    directions = _solve_lower(lower, U, transposed=True)
    hat = 1.0 - ridge * np.einsum("pm,pm->m", directions, directions)
    # Rounding is no move, however small alpha is.
    values = np.where(values > len(values) * np.finfo(float).eps * values.max(initial=0.0), values, 0.0)
    return Spectrum(kind, np.zeros_like(a), directions, directions.T @ a, values, rank_tol, hat)


def plain_spectrum(a: Array, *, lower: Array, ridge: float = 0.0) -> Spectrum:
    """Spectrum of least squares, where nothing is penalised and alpha has no effect."""
    p = len(lower)
    directions = _solve_lower(lower, np.eye(p), transposed=True)
    hat = 1.0 - ridge * np.einsum("pm,pm->m", directions, directions)
    return Spectrum("none", np.zeros_like(a), directions, directions.T @ a, np.zeros(p), 0.0, hat)


def _solve_lower(lower: Array, right: Array, *, transposed: bool = False) -> Array:
    """L⁻¹R, or L'⁻¹R, for a Cholesky factor, whose diagonal is positive, so that the solution exists."""
    # LAPACK reads columns: an array in rows is its transpose, an upper factor.
    by_rows = lower.flags.c_contiguous
    return np.asarray(dtrtrs(lower.T if by_rows else lower, right, lower=not by_rows, trans=transposed != by_rows)[0])


def _chol_solve(lower: Array, right: Array) -> Array:
    return _solve_lower(lower, _solve_lower(lower, right), transposed=True)


@dataclass(frozen=True, eq=False)
class AlphaPath:
    """Coefficients, risk and penalty for a grid of alphas, from one factorisation.

    Attributes
    ----------
    alphas : ndarray, shape (m,)
        Distrust in the invariance, from 0 (trusted exactly) to inf (augmented least squares).
    coef : ndarray, shape (m, p) or (m, t, p)
        Coefficients, in units of y per unit of each feature.
    intercept : ndarray, shape (m,) or (m, t)
        Intercepts.
    risk : ndarray, shape (m,) or (m, t)
        Mean squared residual on the rows of the fit (augmented rows where there are any), in squared units of y.
    penalty : ndarray, shape (m,) or (m, t)
        Value of the penalty: h'Bh, or the mean square of the projected residuals.
    degrees_of_freedom : ndarray, shape (m,), or None
        Trace of the hat matrix; None for the projected penalty, where it is p for every alpha.
    feature_names : tuple of str, length p
        Names of the coefficients.
    """

    alphas: Array
    coef: Array
    intercept: Array
    risk: Array
    penalty: Array
    degrees_of_freedom: Array | None
    feature_names: tuple[str, ...]

    def __repr__(self) -> str:
        return (
            f"AlphaPath: {len(self.alphas)} alphas from {self.alphas.min():.4g} to {self.alphas.max():.4g}, "
            f"{len(self.feature_names)} coefficients; see to_frame() and AlphaPathDisplay"
        )

    def _repr_html_(self) -> str:
        table = self.to_frame().to_html(float_format=lambda v: f"{v:.4g}", border=0, max_rows=10, max_cols=10)
        return f"<div><p>{self!r}</p>{table}</div>"

    def at(self, alpha: float) -> Array:
        """Coefficients at the alpha of the grid that is nearest on the log scale, shape (p,) or (t, p)."""
        check_alpha(alpha)
        with np.errstate(divide="ignore"):
            # Beyond every finite logarithm, but not so far that differences overflow.
            where = np.clip(np.log(np.append(self.alphas, alpha)), -1e4, 1e4)
        distance = np.abs(where[:-1] - where[-1])
        return np.asarray(self.coef[int(np.argmin(distance))])

    def to_frame(self) -> pd.DataFrame:
        """One row per alpha: coefficients, intercept, risk and penalty.

        With several outcomes the columns have two levels, the outcome's number and the quantity.
        """
        import pandas as pd

        index = pd.Index(self.alphas, name="alpha")
        if self.coef.ndim == 2:
            return self._frame(self.coef, self.intercept, self.risk, self.penalty, index)
        frames: dict[Any, pd.DataFrame] = {
            t: self._frame(self.coef[:, t], self.intercept[:, t], self.risk[:, t], self.penalty[:, t], index)
            for t in range(self.coef.shape[1])
        }
        return pd.concat(frames, axis=1, names=["outcome", "quantity"])

    def _frame(self, coef: Array, intercept: Array, risk: Array, penalty: Array, index: Any) -> pd.DataFrame:
        import pandas as pd

        table = [coef, intercept, risk, penalty]
        names = [*self.feature_names, "intercept", "risk", "penalty"]
        if self.degrees_of_freedom is not None:
            table.append(self.degrees_of_freedom)
            names.append("degrees_of_freedom")
        # Side by side by position: a feature may be called "risk" too.
        return pd.DataFrame(np.column_stack(table), index=index, columns=names)
