r"""Bradley-Terry on pairs of rows: the penalised fit, and its covariance where pairs share rows, prompts or groups.

Differences of features are formed a chunk of pairs at a time, so that memory grows with rows and not with pairs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.special import expit

from causalkit.exceptions import ConvergenceWarning, IdentificationError
from causalkit.rewards.orthogonal import row_chunks, times

__all__ = ["BradleyTerryFit", "ComparedPairs", "fit_bradley_terry", "pairs_within"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

_MAX_NEWTON = 100


@dataclass(frozen=True, eq=False)
class ComparedPairs:
    """Pairs of rows and who won.

    Attributes
    ----------
    X : ndarray, shape (n, p)
        Features of the rows, float32 or float64.
    first, second : ndarray of int, shape (m,)
        Rows of each pair.
    won : ndarray, shape (m,)
        1 where the first one won, 0 where the second did, shares in between.
    offset : ndarray, shape (m,)
        Known part of the log-odds.
    weight : ndarray, shape (m,)
        Weights.
    """

    X: NDArray[np.floating]
    first: Rows
    second: Rows
    won: Array
    offset: Array
    weight: Array

    def differences(self) -> Iterator[tuple[slice, Array]]:
        """Chunks of pairs with their differences of features in float64."""
        for part in row_chunks(len(self.won), self.X.shape[1]):
            yield part, self.X[self.first[part]].astype(np.float64) - self.X[self.second[part]]

    def log_odds(self, coef: Array) -> Array:
        """w'(φ_first - φ_second) + o, shape (m,)."""
        score = times(self.X, coef)
        return np.asarray(score[self.first] - score[self.second] + self.offset)

    def loss(self, log_odds: Array) -> float:
        """Minus the log-likelihood."""
        return float(self.weight @ (np.logaddexp(0.0, log_odds) - self.won * log_odds))

    def derivatives(self, log_odds: Array) -> tuple[Array, Array]:
        """Gradient (p,) and Hessian (p, p) of the loss."""
        p = self.X.shape[1]
        probability = expit(log_odds)
        pull = self.weight * (probability - self.won)
        root = np.sqrt(self.weight * probability * (1 - probability))
        gradient, hessian = np.zeros(p), np.zeros((p, p))
        for part, block in self.differences():
            gradient += block.T @ pull[part]
            block *= root[part, None]
            hessian += block.T @ block  # a matrix with itself takes half the work
        return gradient, hessian


@dataclass(frozen=True, eq=False)
class BradleyTerryFit:
    """A fitted Bradley-Terry model.

    Attributes
    ----------
    coef : ndarray, shape (p,)
        w.
    covariance : ndarray, shape (p, p)
        H⁻¹ΩH⁻¹.
    influence : ndarray, shape (U, p), or None
        Influence values of the units on the scale of a mean, where no pair crosses units.
    n_units : int
        Units with a pair.
    """

    coef: Array
    covariance: Array
    influence: Array | None
    n_units: int


def fit_bradley_terry(pairs: ComparedPairs, *, penalty: float, units: Rows) -> BradleyTerryFit:
    r"""Minimise :math:`-\sum_e w_e\log\Pr(\text{winner}_e) + \tfrac{\lambda}{2}|w|^2`.

    Parameters
    ----------
    pairs : ComparedPairs
    penalty : float
        λ.
    units : ndarray of int, shape (n,)
        Unit of each row: pairs that share a unit are dependent. A prompt for pairs within prompts; the row itself
        for pairs that cross them.

    Returns
    -------
    BradleyTerryFit

    Raises
    ------
    IdentificationError
        Collinear differences or separable pairs, without penalty.
    """
    coef = _newton(pairs, penalty)
    log_odds = pairs.log_odds(coef)
    hessian = pairs.derivatives(log_odds)[1] + penalty * np.eye(len(coef))
    inverse = np.linalg.inv(hessian)
    pull = pairs.weight * (pairs.won - expit(log_odds))
    used, codes = np.unique(np.concatenate([units[pairs.first], units[pairs.second]]), return_inverse=True)
    first, second = np.split(codes.ravel().astype(np.intp), 2)
    sums = _unit_sums(pairs, pull, first, second, len(used))
    if (first == second).all():
        n_units = len(used)
        influence = n_units * np.sqrt(n_units / max(n_units - 1, 1)) * sums @ inverse
        return BradleyTerryFit(coef, influence.T @ influence / n_units**2, influence, n_units)
    omega = sums.T @ sums
    shared = omega - _dyad_products(pairs, pull, first, second)
    # The difference need not be positive definite in small samples; without the subtraction it errs upwards.
    if np.linalg.eigvalsh(shared)[0] > 0:
        omega = shared
    return BradleyTerryFit(coef, inverse @ omega @ inverse, None, len(used))


def _newton(pairs: ComparedPairs, penalty: float) -> Array:
    """Damped Newton steps on the convex loss."""
    p = pairs.X.shape[1]
    coef, log_odds = np.zeros(p), pairs.offset
    value = pairs.loss(log_odds)
    reference = _reference_hessian(pairs) if penalty == 0 else None
    for _ in range(_MAX_NEWTON):
        gradient, hessian = pairs.derivatives(log_odds)
        if reference is not None:
            _refuse_separation(hessian, reference)
        try:
            step = np.linalg.solve(hessian + penalty * np.eye(p), gradient + penalty * coef)
        except np.linalg.LinAlgError:
            raise IdentificationError(
                f"penalty={penalty:g} is lost in rounding next to features that the pairs do not identify: raise it, "
                "or drop collinear features."
            ) from None
        size, before = 1.0, value
        while True:
            trial = coef - size * step
            log_odds = pairs.log_odds(trial)
            value = pairs.loss(log_odds) + 0.5 * penalty * float(trial @ trial)
            if value <= before or size < 1e-8:
                break
            size /= 2
        coef = trial
        if np.abs(size * step).max() <= 1e-10 * max(1e-3, np.abs(coef).max()) or before - value < 1e-15 * before:
            return coef
    warnings.warn(
        f"the pairwise fit did not settle in {_MAX_NEWTON} Newton steps (last change of the loss "
        f"{before - value:.2g}): raise penalty, or bring the features to one scale.",
        ConvergenceWarning,
        stacklevel=5,
    )
    return coef


def _reference_hessian(pairs: ComparedPairs) -> Array:
    """Σw dd'/4, the Hessian of pairs that nothing tells apart; refused where it is singular."""
    p = pairs.X.shape[1]
    total = np.zeros((p, p))
    for part, block in pairs.differences():
        total += block.T @ (block * (0.25 * pairs.weight[part, None]))
    size = np.sqrt(np.diag(total))
    smallest = 0.0 if (size == 0).any() else float(np.linalg.eigvalsh(total / np.outer(size, size))[0])
    if smallest <= 1e-12:
        raise IdentificationError(
            f"the differences of features have a direction without variation (smallest eigenvalue {smallest:.2g}, "
            f"{len(pairs.won)} pairs, {p} features): drop a feature that is constant within pairs or collinear, or set "
            "penalty > 0."
        )
    return total


def _refuse_separation(hessian: Array, reference: Array) -> None:
    """A direction in which the curvature dies out is one that tells every winner that it bears on."""
    if float(linalg.eigh(hessian, reference, eigvals_only=True, subset_by_index=[0, 0])[0]) < 1e-10:
        raise IdentificationError(
            "the pairs are separable: some combination of features tells every winner that it bears on, and its "
            "coefficient is infinite. Set penalty > 0."
        )


def _unit_sums(pairs: ComparedPairs, pull: Array, first: Rows, second: Rows, n_units: int) -> Array:
    """Σψ over the pairs with each unit, a pair counting once for a unit that holds both its rows; shape (U, p)."""
    total = np.zeros((n_units, pairs.X.shape[1]))
    for part, block in pairs.differences():
        a, b = first[part], second[part]
        column = np.arange(len(a))
        cross = a != b
        units, columns = np.concatenate([a, b[cross]]), np.concatenate([column, column[cross]])
        total += sparse.csr_array((pull[part][columns], (units, columns)), shape=(n_units, len(a))) @ block
    return total


def _dyad_products(pairs: ComparedPairs, pull: Array, first: Rows, second: Rows) -> Array:
    """Σ over pairs of units of (Σψ)(Σψ)', which the sums over units count twice; shape (p, p)."""
    crossing = np.flatnonzero(first != second)
    low, high = np.minimum(first, second)[crossing], np.maximum(first, second)[crossing]
    order = np.lexsort((high, low))
    new = np.append(True, (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0))
    rows, starts = crossing[order], np.flatnonzero(new)
    ends = np.append(starts[1:], len(rows))
    p = pairs.X.shape[1]
    total = np.zeros((p, p))
    limit = next(row_chunks(len(rows), p)).stop
    at = 0
    while at < len(starts):
        # Whole dyads: as many as fit into a chunk, at least one.
        stop = max(at + 1, int(np.searchsorted(ends, starts[at] + limit, side="right")))
        part = rows[starts[at] : ends[stop - 1]]
        block = (pairs.X[pairs.first[part]].astype(np.float64) - pairs.X[pairs.second[part]]) * pull[part, None]
        sums = np.add.reduceat(block, starts[at:stop] - starts[at], axis=0)
        total += sums.T @ sums
        at = stop
    return total


def pairs_within(codes: Rows, max_pairs: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Pairs of rows of the same group: all of them, or ``max_pairs`` drawn without replacement.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Group of each row.
    max_pairs : int
        Largest number of pairs of one group.
    rng : Generator
        Draws them.

    Returns
    -------
    first, second : ndarray of int, shape (m,)
        Rows, the first one before the second in the order of rows.
    """
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    first: list[Rows] = []
    second: list[Rows] = []
    for size in np.unique(sizes[sizes > 1]):
        groups = np.flatnonzero(sizes == size)
        total = int(size) * (int(size) - 1) // 2
        if total <= max_pairs:
            i, j = np.triu_indices(size, 1)
            picked_i, picked_j = np.tile(i, (len(groups), 1)), np.tile(j, (len(groups), 1))
        else:
            numbers = np.stack([rng.choice(total, max_pairs, replace=False) for _ in groups])
            picked_i, picked_j = _pair_of_number(numbers, int(size))
        first.append(order[starts[groups, None] + picked_i].ravel())
        second.append(order[starts[groups, None] + picked_j].ravel())
    if not first:
        return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    return np.concatenate(first), np.concatenate(second)


def _pair_of_number(numbers: Rows, size: int) -> tuple[Rows, Rows]:
    """The pair i < j with the given number in the order (0,1), (0,2), ..., (1,2), ...."""
    i = (size - 2 - np.floor((np.sqrt(4.0 * size * (size - 1) - 8.0 * numbers - 7) - 1) / 2)).astype(np.intp)
    j = numbers + i + 1 - size * (size - 1) // 2 + (size - i) * (size - i - 1) // 2
    return i, j.astype(np.intp)
