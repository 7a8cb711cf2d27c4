"""Zeros as censored additive log-ratios of a normal law, by expectation-maximisation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.log_ratios import additive_log_ratios
from causalkit.composition.zero_limits import fill_multiplicatively, inverse_mills_ratio
from causalkit.exceptions import ConvergenceWarning, ZeroReplacementError

__all__ = ["LogRatioNormalFill", "fit_log_ratio_normal"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

_MAX_ITER = 50
# A residual variance of exactly 0 would divide by zero; this share of the marginal variance is negligible.
_VARIANCE_FLOOR = 1e-12


@dataclass(frozen=True)
class LogRatioNormalFill:
    """Normal law of the additive log-ratios, from which zeros are imputed below their limits.

    Attributes
    ----------
    names : list of str, length D
        Parts.
    reference : int
        Reference part of the log-ratios, which no row may lack.
    mean : ndarray, shape (D-1,)
        M, the mean that the last imputation of the fit used.
    covariance : ndarray, shape (D-1, D-1)
        C, likewise.
    fraction : float
        Fraction of the limit for rows of which the reference alone was observed.
    n_iter : int
        Iterations of the fit.
    centred : bool
        Whether regressions are those of centred log-ratios.
    """

    names: list[str]
    reference: int
    mean: Array
    covariance: Array
    fraction: float
    n_iter: int
    centred: bool = True

    def fill(self, amounts: Array, limits: Array) -> Array:
        """Filled amounts, shape (n, D); ``limits`` has shape (D,) or (n, D)."""
        lacking = np.flatnonzero(amounts[:, self.reference] == 0)
        if len(lacking):
            raise ZeroReplacementError(
                f"lrem was fitted with the reference part {self.names[self.reference]!r}, which is zero in "
                f"{len(lacking)} rows (first: row {lacking[0]}). Drop these rows, or use lrsvd."
            )
        data = _CensoredLogRatios(amounts, limits, self.reference, self.fraction)
        data.impute(self.mean, self.covariance, self.names, self.centred)
        return data.filled()


class _CensoredLogRatios:
    """Additive log-ratios with their zero patterns; imputed cells change in place."""

    def __init__(self, amounts: Array, limits: Array, reference: int, fraction: float) -> None:
        self.amounts = amounts
        self.reference = reference
        self.start = additive_log_ratios(fill_multiplicatively(amounts, fraction * limits), reference)
        self.zero: Flags = np.delete(amounts == 0, reference, axis=1)
        base = np.log(amounts[:, [reference]])
        self.limits = np.delete(np.broadcast_to(np.log(limits), amounts.shape), reference, axis=1) - base
        self.values = self.start.copy()
        # A filled cell is scaled relative to the observed ones, which keep their values and ratios.
        self.patterns, inverse = np.unique(self.zero, axis=0, return_inverse=True)
        order = np.argsort(inverse.ravel(), kind="stable")
        counts = np.bincount(inverse.ravel(), minlength=len(self.patterns))
        self.rows = np.split(order, np.cumsum(counts)[:-1])

    def _censored_patterns(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]]:
        # Rows of which the reference alone was observed have nothing to be regressed on: they keep their start.
        for pattern, rows in zip(self.patterns, self.rows, strict=True):
            if pattern.any() and not pattern.all():
                yield rows, np.flatnonzero(~pattern), np.flatnonzero(pattern)

    def impute(self, mean: Array, covariance: Array, names: list[str], centred: bool) -> Array:
        """E-step: truncated conditional means into the censored cells; the sum of conditional covariances."""
        extra = np.zeros_like(covariance)
        moments = covariance if centred else covariance + np.outer(mean, mean)
        for rows, o, m in self._censored_patterns():
            try:
                slopes = np.linalg.solve(moments[np.ix_(o, o)], moments[np.ix_(o, m)])
            except np.linalg.LinAlgError:
                parts = [name for j, name in enumerate(names) if j != self.reference]
                raise ZeroReplacementError(
                    f"lrem needs log-ratios of full rank; those of {', '.join(parts[k] for k in o[:8])} are linearly "
                    "dependent. Drop proportional or constant parts, or use lrsvd."
                ) from None
            residual = moments[np.ix_(m, m)] - moments[np.ix_(m, o)] @ slopes
            constant = mean[m] - mean[o] @ slopes
            centre = (constant if centred else -constant) + self.values[np.ix_(rows, o)] @ slopes
            sd = np.sqrt(np.maximum(np.diag(residual), _VARIANCE_FLOOR * np.diag(moments)[m]))
            ratio = inverse_mills_ratio((self.limits[np.ix_(rows, m)] - centre) / sd)
            self.values[np.ix_(rows, m)] = centre - sd * ratio
            extra[np.ix_(m, m)] += len(rows) * residual
        return extra

    def initial(self, kind: str) -> tuple[Array, Array]:
        """Starting mean and covariance."""
        if kind == "multiplicative":
            return self.start.mean(axis=0), np.atleast_2d(np.cov(self.start, rowvar=False))
        available = ~self.zero
        mean = np.where(available, self.values, 0.0).sum(axis=0) / available.sum(axis=0)
        return mean, np.atleast_2d(np.cov(self.values[available.all(axis=1)], rowvar=False))

    def filled(self) -> Array:
        """x_ij = x_ib·exp(y_ij) in the censored cells, the amounts elsewhere."""
        imputed = self.amounts[:, [self.reference]] * np.exp(np.where(self.zero, self.values, 0.0))
        out = self.amounts.copy()
        others = np.delete(np.arange(out.shape[1]), self.reference)
        out[:, others] = np.where(self.zero, imputed, self.amounts[:, others])
        return out


def fit_log_ratio_normal(
    amounts: Array,
    limits: Array,
    names: list[str],
    *,
    initial: str = "auto",
    fraction: float = 0.65,
    max_iter: int | None = None,
    tol: float = 1e-4,
    centred: bool = True,
) -> tuple[LogRatioNormalFill, Array]:
    r"""Fit the normal law of additive log-ratios with values censored at log dl_ij - log x_ib.

    For each pattern of zeros, with o the observed and m the censored log-ratios,

    .. math:: B = C_{oo}^{-1} C_{om}, \quad \mu = M_m + (y_o - M_o)B, \quad
              s^2 = \mathrm{diag}(C_{mm} - C_{mo}B), \quad y_m = \mu - s\,\varphi(z)/\Phi(z),
              \quad z = (\psi - \mu)/s .

    Then M is the mean of the completed rows and C their scatter plus the conditional covariances, over
    n - 1. The reference is the first part without zeros.

    Parameters
    ----------
    amounts : ndarray, shape (n, D)
        Amounts with zeros.
    limits : ndarray, shape (D,) or (n, D)
        Detection limits.
    names : list of str, length D
        Parts.
    initial : {"auto", "complete", "multiplicative"}, default="auto"
        Start from the available means and the complete rows, or from multiplicative replacement; "auto"
        is the first when more than D rows are complete.
    fraction, tol : float
        Fraction of the limit in the start; largest change of M and C at which the iteration stops.
    max_iter : int, optional
        Most iterations; 50 if None.
    centred : bool, default=True
        False regresses uncentred moments, for comparison with a published implementation.

    Returns
    -------
    model : LogRatioNormalFill
    filled : ndarray, shape (n, D)

    Raises
    ------
    ZeroReplacementError
        No part without zeros, too few rows, log-ratios that are linearly dependent.

    References
    ----------
    Palarea-Albaladejo & Martín-Fernández 2008, Computers & Geosciences 34:902-917.
    """
    n, n_parts = amounts.shape
    whole = np.flatnonzero((amounts > 0).all(axis=0))
    if n <= n_parts or n_parts < 2 or not len(whole):
        problem = "every part has zeros" if not len(whole) else f"got {n} rows and {n_parts} parts"
        raise ZeroReplacementError(
            f"lrem needs two parts, more rows than parts and one part without zeros; {problem}. Use lrsvd."
        )
    data = _CensoredLogRatios(amounts, limits, int(whole[0]), fraction)
    complete = int((~data.zero.any(axis=1)).sum())
    if initial == "auto":
        initial = "complete" if complete > n_parts else "multiplicative"
    if initial == "complete" and complete < 2:
        raise ZeroReplacementError(
            f'initial="complete" needs rows without zeros; got {complete}. Use initial="multiplicative".'
        )
    mean, covariance = data.initial(initial)
    limit, change, n_iter = _MAX_ITER if max_iter is None else max_iter, np.inf, 0
    while change >= tol and n_iter < limit:
        n_iter, used = n_iter + 1, (mean, covariance)
        extra = data.impute(mean, covariance, names, centred)
        mean = data.values.mean(axis=0)
        deviations = data.values - mean
        covariance = (deviations.T @ deviations + extra) / (n - 1)
        change = max(float(np.abs(mean - used[0]).max()), float(np.abs(covariance - used[1]).max()))
    if change >= tol:
        warnings.warn(
            f"lrem stopped after {limit} iterations with a last change of {change:.3g}, above tol={tol:g}: raise "
            "max_iter.",
            ConvergenceWarning,
            stacklevel=4,
        )
    # The moments of the last imputation are kept, so that filling the training rows again gives the same.
    model = LogRatioNormalFill(names, int(whole[0]), *used, fraction, n_iter, centred)
    return model, data.filled()
