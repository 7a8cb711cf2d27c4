"""A test, with real instruments, that the outcome does not move along given directions of the features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causalkit.augmentation.instrument_inputs import InstrumentRows, instrument_rows, is_estimator
from causalkit.augmentation.instrument_moments import (
    InstrumentMoments,
    odds,
    projected_products,
    smallest_canonical_correlation,
    total_products,
)
from causalkit.augmentation.instruments import warn_if_weak
from causalkit.exceptions import MethodNotApplicableError, UnderIdentifiedError
from causalkit.linear import linear_moments
from causalkit.validation import check_matrix

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["InvarianceTest", "invariance_test"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class InvarianceTest:
    """Two tests of directions·β = 0 with real instruments.

    Attributes
    ----------
    j_statistic, j_pvalue : float
        ν(κ_LIML - 1) of the equation without the directions, and its χ² p-value.
    j_df : int
        k - p + r.
    wald_statistic, wald_pvalue : float
        Wald test on two-stage least squares with heteroscedasticity-robust errors, χ²(r). NaN if the rank of the
        instruments is below p; ``notes`` says so.
    wald_df : int
        r, the rank of the directions.
    estimate : ndarray, shape (r0,)
        directions·β of two-stage least squares, one per row that was passed; NaN as above.
    notes : tuple of str
        What a rejection means, and what could not be computed.
    """

    j_statistic: float
    j_pvalue: float
    j_df: int
    wald_statistic: float
    wald_pvalue: float
    wald_df: int
    estimate: Array
    notes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """One row per test with columns statistic, df and pvalue."""
        import pandas as pd

        return pd.DataFrame(
            {
                "statistic": [self.j_statistic, self.wald_statistic],
                "df": [self.j_df, self.wald_df],
                "pvalue": [self.j_pvalue, self.wald_pvalue],
            },
            index=["J", "Wald"],
        )

    def __str__(self) -> str:
        return "\n".join([self.to_frame().to_string(), *self.notes])


def invariance_test(X: Any, y: Any, *, instruments: Any, directions: Any, exogenous: Any = None) -> InvarianceTest:
    r"""Test, with real instruments, that the outcome does not move along given directions of X.

    The hypothesis is :math:`D\beta = 0` for the r independent rows of ``directions``, such as the directions that an
    augmentation moves. A synthetic augmentation cannot test its own invariance; a real instrument can.

    - J: with N a basis of the null space of D, :math:`\nu(\hat\kappa_{LIML} - 1)` of the regression of y on XN with
      the same instruments, asymptotically :math:`\chi^2(k - p + r)`. It is joint with the validity of the instruments,
      and it keeps its level when they are weak.
    - Wald: :math:`(D\hat\beta)'(D\hat VD')^{-1}D\hat\beta` for two-stage least squares with robust errors,
      :math:`\chi^2(r)`. It takes the instruments as valid and strong.

    Assumptions: linear outcome, exogenous and excluded instruments, independent rows; for J also homoscedastic errors.

    Parameters
    ----------
    X : array-like, shape (n, p)
        Features.
    y : array-like, shape (n,)
        Outcome.
    instruments : array-like, shape (n, k)
        Real instruments Z, k - p + r ≥ 1.
    directions : array-like, shape (r, p) or (p,)
        Directions along which the effect should be zero; dependent rows count once.
    exogenous : array-like, shape (n, e), optional
        Controls W.

    Returns
    -------
    InvarianceTest

    Raises
    ------
    UnderIdentifiedError
        k - p + r < 1, so that nothing over-identifies; or ν < 1.
    MethodNotApplicableError
        ``X`` is an estimator: the test needs rows.
    AugmentationError, RankError, ValueError
        As in :func:`~causalkit.augmentation.instruments.instrument_diagnostics`; directions of another shape, or zero.

    Warns
    -----
    WeakInstrumentWarning
        As in :func:`~causalkit.augmentation.instruments.instrument_diagnostics`; it concerns the Wald test.

    References
    ----------
    Anderson, Rubin 1949, doi 10.1214/aoms/1177730090 (the J statistic of LIML). Guggenberger, Kleibergen, Mavroeidis,
    Chen 2012, doi 10.3982/ECTA8774 (its level with weak instruments).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.invariance import invariance_test
    >>> rng = np.random.default_rng(0)
    >>> Z, (hidden, noise) = rng.standard_normal((500, 3)), rng.standard_normal((2, 500))
    >>> X = Z[:, :2] + 0.5 * Z[:, [2]] + hidden[:, None]
    >>> y = X[:, 0] + hidden + noise
    >>> first, second = (invariance_test(X, y, instruments=Z, directions=d) for d in ([1, 0], [0, 1]))
    >>> bool(first.j_pvalue < 0.001), bool(second.j_pvalue > 0.05)
    (True, True)
    """
    if is_estimator(X):
        raise MethodNotApplicableError(
            f"invariance_test needs rows, got a {type(X).__name__}: its robust errors do not follow from moments. "
            "Pass the arrays X, y, instruments and directions."
        )
    if y is None:
        raise ValueError("y is missing: expected one outcome per row, got None.")
    rows = instrument_rows(X, y, instruments, exogenous)
    moments = rows.moments
    given, moved, still = _check_directions(directions, moments)
    k, p, r = moments.n_instruments, moments.n_features, len(moved)
    if k - p + r < 1:
        raise UnderIdentifiedError(
            f"instruments have rank k = {k}, X has p = {p} columns and directions have rank r = {r}: the test has "
            f"k - p + r = {k - p + r} degrees of freedom, expected at least 1. Pass more instruments or directions."
        )
    warn_if_weak(moments, rows, stacklevel=3)
    j = _restricted_j(moments, still)
    wald, estimate = _wald(rows, given, moved) if k >= p else (np.nan, np.full(len(given), np.nan))
    notes = ["J rejects if the outcome moves along the directions, or if the instruments are not valid."]
    if k < p:
        notes.append(f"No Wald test: rank {k} of the instruments is below the {p} columns of X.")
    return InvarianceTest(
        j_statistic=j,
        j_pvalue=float(stats.chi2.sf(j, k - p + r)),
        j_df=k - p + r,
        wald_statistic=wald,
        wald_pvalue=float(stats.chi2.sf(wald, r)),
        wald_df=r,
        estimate=estimate,
        notes=tuple(notes),
    )


def _check_directions(directions: Any, moments: InstrumentMoments) -> tuple[Array, Array, Array]:
    """The rows as given, r independent rows that span them, and a basis of their null space, shape (p, p - r)."""
    p = moments.n_features
    given = np.asarray(directions) if getattr(directions, "ndim", None) is None else directions
    given = given.reshape(1, -1) if isinstance(given, np.ndarray) and given.ndim == 1 else given
    matrix, _ = check_matrix(given, "directions")
    if matrix.shape[1] != p:
        raise ValueError(
            f"directions has {matrix.shape[1]} columns: expected one per column of X, {p} "
            f"({', '.join(moments.x_names)})."
        )
    # Unit features decide the rank and the null space, so that units of measurement do not.
    scale = np.sqrt(np.diag(moments.XX))
    _, values, vt = np.linalg.svd(matrix / scale)
    rank = int((values > max(matrix.shape) * np.finfo(float).eps * values.max(initial=0.0)).sum())
    if rank == 0:
        raise ValueError("directions is zero: expected at least one direction along which the outcome should not move.")
    return matrix, vt[:rank] * scale, vt[rank:].T / scale[:, None]


def _restricted_j(moments: InstrumentMoments, still: Array) -> float:
    """ν(κ_LIML - 1) of y on XN with instruments Z."""
    basis = np.zeros((moments.n_features + 1, still.shape[1] + 1))
    basis[0, 0] = 1.0
    basis[1:, 1:] = still
    total, projected = total_products(moments), projected_products(moments)
    share = smallest_canonical_correlation(basis.T @ total @ basis, basis.T @ projected @ basis)
    return moments.nu * odds(share)


def _wald(rows: InstrumentRows, given: Array, moved: Array) -> tuple[float, Array]:
    """Robust Wald statistic of moved·β = 0 on two-stage least squares, and given·β."""
    y = rows.y
    if y is None:
        raise ValueError("y is missing: expected one outcome per row, got None.")
    fit = linear_moments(rows.Z, rows.X, y)
    value = moved @ fit.coef
    covariance = moved @ fit.covariance("HC0") @ moved.T
    scale = np.sqrt(np.diag(covariance))
    standardised = value / scale
    statistic = standardised @ np.linalg.solve(covariance / np.outer(scale, scale), standardised)
    return float(statistic), given @ fit.coef
