"""From moments to coefficients: the normal equations of every penalty, and what is needed to explain them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpocon, dpotrf, dtrtri

from causalkit.augmentation.moments import Moments
from causalkit.augmentation.path import (
    AlphaPath,
    Spectrum,
    cholesky_of_features,
    pair_spectrum,
    plain_spectrum,
    projected_spectrum,
)
from causalkit.exceptions import (
    AugmentationError,
    NoInvariantDirectionError,
    UnderIdentifiedError,
    WeakInstrumentWarning,
)

__all__ = ["LinearProblem", "reduce_parameters", "solve"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearProblem:
    """Centred (or raw) moments of one fit with controls partialled out, and its spectrum.

    Attributes
    ----------
    penalty : str
        Resolved penalty.
    features : {"x", "X"}
        Which features the squared error is taken on: augmented, or as they were.
    spectrum : Spectrum
        Coefficients as a function of alpha.
    A : ndarray, shape (p, p)
        Second moments of those features, without ridge.
    a : ndarray, shape (p, t)
        Their products with the outcome.
    B : ndarray, shape (p, p)
        Matrix of the penalty: C'S⁻¹C, C_D'S⁻¹C_D, E[dd'] or the known covariance; zeros without one.
    b : ndarray, shape (p, t)
        C'S⁻¹d for "projected", else zeros.
    outcome_square, penalty_square : ndarray, shape (t,)
        E_n y² and, for "projected", E_n (Py)².
    reduction : ndarray, shape (k, r), or None
        T with E[T'g g'T] = I_r: the span of the parameters without redundant columns.
    ridge : float
        Added to A.
    centred : bool
        Whether there is an intercept.
    """

    penalty: str
    features: str
    spectrum: Spectrum
    A: Array
    a: Array
    B: Array
    b: Array
    outcome_square: Array
    penalty_square: Array
    reduction: Array | None
    ridge: float
    centred: bool

    def coef(self, alpha: float) -> Array:
        """Coefficients for one alpha, shape (p, t)."""
        return np.asarray(self.spectrum.coef(np.array([alpha]))[0])

    def risk(self, coef: Array) -> Array:
        """E_n r² of coefficients (..., p, t), shape (..., t)."""
        return np.asarray(self.outcome_square + ((self.A @ coef - 2 * self.a) * coef).sum(axis=-2))

    def penalty_value(self, coef: Array) -> Array:
        """h'Bh, or E_n (Pr)² for "projected", of coefficients (..., p, t), shape (..., t)."""
        return np.asarray(self.penalty_square + ((self.B @ coef - 2 * self.b) * coef).sum(axis=-2))

    def normal_matrix(self, alpha: float) -> Array:
        """H, the matrix that multiplies the influence of a row, for alpha > 0, shape (p, p).

        αA + B, divided by α where that is infinite; A + (1 + 1/α)B for "analytic".
        """
        ridged = self.A + self.ridge * np.eye(len(self.A))
        if self.penalty == "none":
            return ridged
        if self.penalty == "analytic":
            return np.asarray(ridged + (1 + 1 / alpha) * self.B)
        return ridged if np.isinf(alpha) else np.asarray(alpha * ridged + self.B)

    def path(self, alphas: Array, moments: Moments, names: list[str], single: bool) -> AlphaPath:
        """Coefficients, intercepts, risks and penalties over a grid."""
        coef = self.spectrum.coef(alphas)  # (m, p, t)
        intercept = intercept_of(self, moments, coef)
        risk, penalty = self.risk(coef), self.penalty_value(coef)
        if single:
            coef, intercept, risk, penalty = coef[:, :, 0], intercept[:, 0], risk[:, 0], penalty[:, 0]
        else:
            coef = coef.transpose(0, 2, 1)
        freedom = self.spectrum.degrees_of_freedom(alphas)
        return AlphaPath(alphas, coef, intercept, risk, penalty, freedom, tuple(names))


def exogenous_coef(problem: LinearProblem, moments: Moments, coef: Array) -> Array:
    """Coefficients of the controls, M_ww⁻¹(M_wy - M_wx h), for coefficients (..., p, t): shape (..., e, t)."""
    centred = problem.centred
    ww = moments.second("w", "w", centred=centred, partial=False)
    wy = moments.second("w", "y", centred=centred, partial=False)
    wx = moments.second("w", problem.features, centred=centred, partial=False)
    return np.asarray(np.linalg.pinv(ww, hermitian=True) @ (wy - wx @ coef))


def intercept_of(problem: LinearProblem, moments: Moments, coef: Array) -> Array:
    """ȳ - x̄'h - w̄'δ for coefficients (..., p, t), shape (..., t); zeros without an intercept."""
    if not problem.centred:
        return np.zeros((*coef.shape[:-2], coef.shape[-1]))
    intercept = moments.average("y") - moments.average(problem.features) @ coef
    if moments.layout.controls:
        intercept = intercept - moments.average("w") @ exogenous_coef(problem, moments, coef)
    return np.asarray(intercept)


def reduce_parameters(
    moments: Moments, *, centred: bool, rank_tol: float, names: list[str], warn: bool, n_points: int
) -> Array:
    """T such that T'g has unit second moments: the span of G (or Z) without constant and collinear columns.

    Raises
    ------
    AugmentationError
        Every column is constant.
    UnderIdentifiedError
        As many directions as rows: the projection would be the identity.
    """
    S = moments.second("g", "g", centred=centred)
    raw = np.diag(moments.scatter)[moments.layout.part("g")] / moments.weight + moments.average("g") ** 2
    size = np.sqrt(np.clip(np.diag(S), 0.0, None))
    constant = size <= 1e-10 * np.sqrt(raw)
    if constant.all():
        raise AugmentationError(
            f"all columns of the parameters or instruments are constant ({', '.join(names[:6])}): they move nothing. "
            "Pass parameters that vary between rows."
        )
    unit = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, size))
    if len(S) < n_points - 1 and not constant.any():
        inverse = _inverse_root(S * np.outer(unit, unit), floor=1e3 * max(rank_tol, len(S) * np.finfo(float).eps))
        if inverse is not None:
            return np.asarray(unit[:, None] * inverse.T)
    values, vectors = np.linalg.eigh(S * np.outer(unit, unit))
    kept = values > max(rank_tol, len(values) * np.finfo(float).eps) * values.max()
    if kept.sum() >= n_points - 1:
        raise UnderIdentifiedError(
            f"the parameters or instruments have rank {int(kept.sum())} for {n_points} rows: projecting on them is "
            'the identity. Use penalty="pointwise", or fewer columns.'
        )
    redundant = list(np.flatnonzero(constant))
    if int(kept.sum()) < int((~constant).sum()):
        null = vectors[:, ~kept & (values > -np.inf)]
        loads = np.abs(null).max(axis=1) > 1e-3
        redundant += [j for j in np.flatnonzero(loads) if j not in redundant]
    if redundant and warn:
        warnings.warn(
            f"columns {[names[j] for j in redundant[:6]]} of the parameters or instruments are constant or collinear: "
            f"the projection uses their span, of rank {int(kept.sum())} of {len(names)}.",
            WeakInstrumentWarning,
            stacklevel=2,
        )
    return np.asarray(unit[:, None] * vectors[:, kept] / np.sqrt(values[kept]))


def _inverse_root(correlation: Array, *, floor: float) -> Array | None:
    """Inverse of the Cholesky factor of a matrix with room to spare above ``floor``, else None.

    The usual case at a fraction of the price of eigenvectors. The condition number in the sum norm, which is estimated,
    is at least the ratio of the largest to the smallest eigenvalue.
    """
    lower, failed = dpotrf(correlation, lower=1, clean=1)
    if failed:
        return None
    reciprocal, _ = dpocon(lower, np.abs(correlation).sum(axis=0).max(), uplo="L")
    if not reciprocal > floor:
        return None
    inverse, failed = dtrtri(lower, lower=1)
    return None if failed else np.asarray(inverse)


def parameter_rank(moments: Moments) -> int:
    """Rank of the parameters' second moments."""
    S = moments.second("g", "g")
    size = np.sqrt(np.clip(np.diag(S), 0.0, None))
    size[size == 0] = 1.0
    return int(np.linalg.matrix_rank(S / np.outer(size, size), hermitian=True, tol=1e-8))


def solve(
    moments: Moments,
    *,
    penalty: str,
    ridge: float,
    rank_tol: float,
    fit_intercept: bool,
    feature_names: list[str],
    known: Array | None = None,
    reduction: Array | None = None,
) -> LinearProblem:
    """Set up and factor the normal equations of a penalty.

    Parameters
    ----------
    moments : Moments
        Of the rows of the fit.
    penalty : str
        Resolved penalty.
    ridge, rank_tol, fit_intercept : float, float, bool
        As in the estimator.
    feature_names : list of str
        For messages.
    known : ndarray, shape (p, p), optional
        E[DD'] of an additive augmentation, for "analytic" and "constrained".
    reduction : ndarray, shape (k, r), optional
        From :func:`reduce_parameters`, for "projected" and "paired".

    Raises
    ------
    RankError
        Singular features without ridge.
    """
    centred = fit_intercept
    features = "X" if penalty in ("analytic", "constrained") else "x"
    A = moments.second(features, features, centred=centred)
    a = moments.second(features, "y", centred=centred)
    lower = cholesky_of_features(
        A + ridge * np.eye(len(A)), feature_names, floor=moments.rounding(features), n_rows=moments.n_rows
    )
    square = np.diag(moments.second("y", "y", centred=centred)).copy()
    zeros = np.zeros_like(square)
    if penalty == "projected" and reduction is not None:
        C = reduction.T @ moments.second("g", "x", centred=centred)
        d = reduction.T @ moments.second("g", "y", centred=centred)
        spectrum = projected_spectrum(a, C, d, lower=lower, rank_tol=rank_tol)
        B, b, penalised = C.T @ C, C.T @ d, np.einsum("kt,kt->t", d, d)
        return LinearProblem(penalty, features, spectrum, A, a, B, b, square, penalised, reduction, ridge, centred)
    if penalty == "none":
        spectrum = plain_spectrum(a, lower=lower, ridge=ridge)
        return LinearProblem(
            penalty, features, spectrum, A, a, np.zeros_like(A), np.zeros_like(a), square, zeros, None, ridge, centred
        )
    if penalty == "paired" and reduction is not None:
        moved = reduction.T @ moments.second("g", "d", centred=centred)
        B = moved.T @ moved
    elif known is not None:
        B = known
    else:  # d itself, not its deviation from the mean: invariance asks that no row's prediction moves
        B = moments.second("d", "d", centred=False, partial=False)
    kind = penalty if penalty in ("analytic", "constrained") else "pairs"
    spectrum = pair_spectrum(kind, a, B, lower=lower, rank_tol=rank_tol, ridge=ridge)
    return LinearProblem(
        penalty, features, spectrum, A, a, B, np.zeros_like(a), square, zeros, reduction, ridge, centred
    )


def refuse_all_moved(problem: LinearProblem, alpha: float) -> None:
    """Refuse alpha = 0 and the constrained fit where the augmentation leaves no direction alone."""
    strict = problem.penalty == "constrained" or (alpha == 0 and problem.penalty not in ("projected", "none"))
    if strict and problem.spectrum.moved.all():
        raise NoInvariantDirectionError(
            f"the augmentation moves all {len(problem.A)} directions of the features, so only a constant is "
            'invariant: use alpha > 0 (with penalty="pointwise" or "analytic"), or a narrower augmentation.'
        )
