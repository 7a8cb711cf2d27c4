"""Zeros from a low-rank fit of the centred log-ratios, below their limits; any shape of table."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.log_ratios import centred_log_ratios
from causalkit.composition.parts import closed, closed_exp
from causalkit.exceptions import ConvergenceWarning, ZeroReplacementError

__all__ = ["LowRankFill", "fit_low_rank", "largest_rank"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

_MAX_ITER = 1000
_MIN_ROUNDS = 5


def largest_rank(n: int, n_parts: int) -> int:
    """Largest number of components for which the noise variance has degrees of freedom."""
    return min(n - 1, n_parts - 1) - 1


@dataclass(frozen=True)
class _Cells:
    """What stays fixed during the iteration: zero cells, row totals c, upper bounds."""

    amounts: Array
    zero: Flags
    totals: Array
    cap: Array

    def capped(self, shares: Array) -> Array:
        """Centred log-ratios of the amounts c·shares, cut at the bounds."""
        return centred_log_ratios(np.minimum(self.totals * shares, self.cap))

    def take(self, rows: NDArray[np.intp]) -> _Cells:
        """The same for some rows."""
        return _Cells(self.amounts[rows], self.zero[rows], self.totals[rows], self.cap[rows])

    def mixed(self, shares: Array, fit: Array, mixing: float) -> Array:
        """Observed cells as the geometric mixture of the fit and themselves, closed."""
        moved = closed_exp(fit) ** (1.0 - mixing) * shares**mixing
        return closed(np.where(self.zero, shares, moved))


def _cells(amounts: Array, limits: Array, column_maximum: Array, fraction: float) -> tuple[_Cells, Array]:
    """The fixed cells, and the centred log-ratios of the start: zeros as a fraction of their limits."""
    zero = amounts == 0
    # A new row may exceed the column maximum of the training rows; its own values are no upper bound then.
    cap = np.where(zero, limits, np.maximum(column_maximum, amounts))
    cells = _Cells(amounts, zero, amounts.sum(axis=1, keepdims=True), cap)
    return cells, centred_log_ratios(np.where(zero, fraction * limits, amounts))


def _finished(cells: _Cells, centred: Array, start_centre: Array) -> Array:
    """Filled amounts: zero cells from the fit, cut at the limits; the rest as observed."""
    shares = closed(np.where(cells.zero, closed_exp(centred + start_centre), cells.amounts / cells.totals))
    bounded = np.minimum(cells.totals * shares, cells.cap)
    final = closed(np.where(cells.zero, bounded, cells.amounts))
    return np.where(cells.zero, cells.totals * final, cells.amounts)


@dataclass(frozen=True)
class LowRankFill:
    """Means and loadings of the centred log-ratios, to which new rows are fitted.

    Attributes
    ----------
    start_centre, centre : ndarray, shape (D,)
        Mean centred log-ratios of the start and of the last round.
    loadings : ndarray, shape (D, q)
        Right singular vectors V.
    retained : ndarray, shape (q,)
        (d² - σ²)/d², the share of a score that is not noise.
    column_maximum : ndarray, shape (D,)
        Largest training value of each part.
    fraction, mixing, tol : float
        Start as a fraction of the limit; weight of an observed cell against its fit; relative
        change of its misfit at which a row stops.
    max_iter, n_iter : int
        Most rounds, and the rounds of the fit.
    """

    start_centre: Array
    centre: Array
    loadings: Array
    retained: Array
    column_maximum: Array
    fraction: float
    mixing: float
    tol: float
    max_iter: int
    n_iter: int

    def fill(self, amounts: Array, limits: Array) -> Array:
        """Filled amounts of new rows, shape (n, D); means and loadings stay, rows are independent.

        A row starts from its own scores and stops by the rule of the joint fit, applied to its own misfit.
        Observed cells move with the fit meanwhile, so that a training row ends near its values of the joint
        fit and not at them.
        """
        cells, start = _cells(amounts, limits, self.column_maximum, self.fraction)
        done = start - self.centre
        active = np.flatnonzero(cells.zero.any(axis=1))
        current, here, n_round, change = done[active], cells.take(active), 0, np.inf
        misfit = _misfit(here, closed_exp(current), self._fits(current)[1])
        while len(active) and n_round < self.max_iter:
            n_round += 1
            current = self._round(here, current)
            done[active] = current
            previous, misfit = misfit, _misfit(here, closed_exp(current), self._fits(current)[1])
            moved = np.abs(previous - misfit) / np.maximum(previous, np.finfo(np.float64).tiny)
            resting = (misfit < self.tol) | (moved < self.tol)
            going = np.flatnonzero(~resting if n_round >= _MIN_ROUNDS else np.ones_like(resting))
            active, current, here, misfit = active[going], current[going], here.take(going), misfit[going]
            change = float(moved[going].max(initial=0.0))
        if len(active):
            warnings.warn(
                f"lrsvd stopped {len(active)} new rows after {self.max_iter} rounds with a last relative change of "
                f"{change:.3g}, above tol={self.tol:g}: raise max_iter.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return _finished(cells, done, self.start_centre)

    def _fits(self, centred: Array) -> tuple[Array, Array]:
        """Plain and regularised rank-q fits of rows."""
        scores = centred @ self.loadings
        return scores @ self.loadings.T, (scores * self.retained) @ self.loadings.T

    def _round(self, cells: _Cells, centred: Array) -> Array:
        """One round of new rows, whose means stay the same throughout."""
        fit, shrunken = self._fits(centred)
        logs = _zeros_from_fit(cells, closed_exp(centred), shrunken, self.centre)
        return cells.capped(cells.mixed(closed_exp(logs), fit + self.centre, self.mixing)) - self.centre


def _zeros_from_fit(cells: _Cells, shares: Array, shrunken: Array, centre: Array) -> Array:
    """Centred log-ratios with zero cells from the regularised fit, uncentred and cut at the bounds."""
    mixed = np.where(cells.zero, closed_exp(shrunken), shares)
    return cells.capped(closed_exp(centred_log_ratios(mixed) + centre))


def _misfit(cells: _Cells, shares: Array, shrunken: Array) -> Array:
    """Squared distance of the observed cells from the regularised fit, per row."""
    ratio = np.where(cells.zero, 1.0, shares / closed_exp(shrunken))
    distance: Array = np.sum(centred_log_ratios(ratio) ** 2, axis=1)
    return distance


def fit_low_rank(
    amounts: Array,
    limits: Array,
    *,
    n_components: int = 2,
    mixing: float = 0.5,
    fraction: float = 0.65,
    max_iter: int | None = None,
    tol: float = 1e-4,
) -> tuple[LowRankFill, Array]:
    r"""Alternate between a regularised rank-q fit of the centred log-ratios and the cells it may change.

    Zero cells follow the fit whose squared singular values lose the noise variance

    .. math:: \sigma^2 = \frac{np}{k}\,
              \frac{\sum_{l>q} d_l^2}{(n-1)p - (n-1)q - pq + q^2}, \qquad p = D - 1,\ k = \min(p, n-1),

    never above their detection limits; observed cells move towards the plain rank-q fit with weight
    1 - ``mixing`` while the iteration runs, and have their own values in the end.

    Parameters
    ----------
    amounts : ndarray, shape (n, D)
        Amounts with zeros.
    limits : ndarray, shape (D,) or (n, D)
        Detection limits.
    n_components : int, default=2
        Rank q.
    mixing : float, default=0.5
        β, weight of an observed cell against its fit.
    fraction, tol : float
        Fraction of the limit in the start; relative change of the misfit at which the iteration stops.
    max_iter : int, optional
        Most rounds; 1000 if None.

    Returns
    -------
    model : LowRankFill
    filled : ndarray, shape (n, D)

    Raises
    ------
    ZeroReplacementError
        More components than the table allows.

    References
    ----------
    Palarea-Albaladejo, Antoni, Ruiz-Gazen, Cuadros-Inostroza & Martín-Fernández 2022, Journal of
    Chemometrics 36:e3459.
    """
    n, n_parts = amounts.shape
    if n_components > largest_rank(n, n_parts):
        raise ZeroReplacementError(
            f"n_components={n_components} is too many for lrsvd on {n} rows and {n_parts} parts: at most "
            f"{max(largest_rank(n, n_parts), 0)}, because the rest must estimate the noise. Use fewer, or "
            'method="multiplicative".'
        )
    cells, centred = _cells(amounts, limits, amounts.max(axis=0), fraction)
    start_centre = centre = centred.mean(axis=0)
    centred = centred - centre
    fit = shrunken = centred
    shares, misfit, change = closed_exp(centred), np.inf, np.inf
    limit = _MAX_ITER if max_iter is None else max_iter
    for n_iter in range(1, limit + 1):
        logs = _zeros_from_fit(cells, shares, shrunken, centre)
        centre = logs.mean(axis=0)
        logs = cells.capped(cells.mixed(closed_exp(logs), fit + centre, mixing))
        centre = logs.mean(axis=0)
        centred = logs - centre
        shares = closed_exp(centred)
        fit, shrunken, loadings, retained = _low_rank(centred, n_components)
        previous, misfit = misfit, float(_misfit(cells, shares, shrunken).mean())
        change = abs(previous - misfit) / previous if previous > 0 else 0.0
        if n_iter >= _MIN_ROUNDS and (misfit < tol or change < tol):
            break
    else:
        warnings.warn(
            f"lrsvd stopped after {limit} rounds with a last relative change of {change:.3g}, above tol={tol:g}: raise "
            "max_iter.",
            ConvergenceWarning,
            stacklevel=4,
        )
    model = LowRankFill(
        start_centre, centre, loadings, retained, amounts.max(axis=0), fraction, mixing, tol, limit, n_iter
    )
    return model, _finished(cells, centred, start_centre)


def _low_rank(centred: Array, rank: int) -> tuple[Array, Array, Array, Array]:
    """Plain and regularised rank-q fits, loadings (D, q) and retained shares (q,)."""
    n, n_parts = centred.shape
    p = n_parts - 1
    left, d, right = np.linalg.svd(centred / np.sqrt(n), full_matrices=False)
    freedom = (n - 1 - rank) * (p - rank)  # = (n-1)p - (n-1)q - pq + q²
    noise = min(n * p / min(p, n - 1) * float(np.sum(d[rank:] ** 2)) / freedom, float(d[rank] ** 2))
    kept = d[:rank]
    retained = np.divide(kept**2 - noise, kept**2, out=np.zeros_like(kept), where=kept > 0)
    scores = np.sqrt(n) * left[:, :rank] * kept
    loadings = right[:rank].T
    return scores @ loadings.T, (scores * retained) @ loadings.T, loadings, retained
