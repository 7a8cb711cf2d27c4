"""Fitting the sieve: moments by fold, the ridge by held-out penalty, and the map to canonical coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.extrapolation.basis import SieveBasis, blocks
from causalkit.extrapolation.penalty import orthonormal_moments, random_fourier_features
from causalkit.extrapolation.sieve import SieveMoments, canonical_coordinates, solve_sieve

__all__ = ["ActionMoments", "SieveMap", "fold_moments", "held_out_penalties", "sieve_map"]

Array = NDArray[np.float64]

RIDGES = (1e-2, 1e-3, 1e-4, 1e-5)


@dataclass(frozen=True, eq=False)
class ActionMoments:
    """Functions f of the standardised action.

    Attributes
    ----------
    frequencies : ndarray, shape (k, D/2)
        ω.
    """

    frequencies: Array

    def values(self, actions: Array) -> Array:
        """f at standardised actions, shape (n, D)."""
        return random_fourier_features(actions, self.frequencies)

    def cross(self, left: Array, actions: Array) -> Array:
        """left'F, shape (columns of left, D), block by block: F of all rows is not held."""
        found = np.zeros((left.shape[1], 2 * self.frequencies.shape[1]))
        for rows in blocks(len(actions)):
            found += left[rows].T @ self.values(actions[rows])
        return found

    def projection(self, actions: Array, weight: Array | None = None) -> Array:
        """G of :func:`causalkit.extrapolation.project_off_actions`, shape (k + 1, D), block by block."""
        design = np.column_stack([np.ones(len(actions)), actions])
        weighted = design if weight is None else design * weight[:, None]
        return np.asarray(np.linalg.solve(weighted.T @ design, self.cross(weighted, actions)))


@dataclass(frozen=True, eq=False)
class SieveMap:
    """A fitted sieve encoder, φ(x) = (B(x) - center) @ directions, in canonical coordinates.

    Attributes
    ----------
    directions : ndarray, shape (p, d)
        Combination of the basis.
    center : ndarray, shape (p,)
        Mean of the basis.
    correlations : ndarray, shape (d,)
        Canonical correlations with the action.
    ridge : float
        μ.
    """

    directions: Array
    center: Array
    correlations: Array
    ridge: float

    def apply(self, design: Array) -> Array:
        """φ of rows of the basis, shape (n, d)."""
        return (design - self.center) @ self.directions


def fold_moments(
    X: Any, actions: Array, basis: SieveBasis, functions: ActionMoments, folds: NDArray[np.intp], weight: Array | None
) -> list[SieveMoments]:
    """Moments of every fold, one pass over blocks of rows.

    Parameters
    ----------
    X : ndarray, shape (n, m)
        Features.
    actions : ndarray, shape (n, k)
        Standardised actions.
    folds : ndarray of int, shape (n,)
        Fold of each row, 0..K-1.
    """
    found: list[Any] = [None] * (int(folds.max()) + 1)
    for rows in blocks(len(actions)):
        design, values = basis.design(X[rows]), functions.values(actions[rows])
        for fold in np.unique(folds[rows]):
            inside = folds[rows] == fold
            part = SieveMoments.of_rows(
                actions[rows][inside],
                design[inside],
                values[inside],
                None if weight is None else weight[rows][inside],
            )
            found[fold] = part if found[fold] is None else found[fold] + part
    return found


def sieve_map(moments: SieveMoments, n_components: int, ridge: float, weighting: str) -> SieveMap:
    """Solve the sieve from moments, and turn it into canonical coordinates."""
    covariance, between = moments.covariance("B", "B"), moments.between()
    directions, _ = solve_sieve(covariance, between, moments.violation(weighting), n_components, ridge)
    canonical = canonical_coordinates(
        np.zeros(n_components),
        directions.T @ covariance @ directions,
        directions.T @ moments.covariance("B", "A"),
        moments.covariance("A", "A"),
    )
    return SieveMap(directions @ canonical.rotation, moments.mean("B"), canonical.correlations, ridge)


def held_out_penalties(
    X: Any,
    actions: Array,
    basis: SieveBasis,
    functions: ActionMoments,
    folds: NDArray[np.intp],
    moments: list[SieveMoments],
    n_components: int,
    ridges: tuple[float, ...],
    weighting: str,
) -> Array:
    r"""Held-out :math:`Q_B` of every ridge, shape (number of folds, number of ridges).

    The moments are orthonormalised on the training folds, and the terms i = j are left out of the double sum: they
    would reward a small residual. Without them the value is unbiased and can come out negative.
    """
    total = moments[0]
    for part in moments[1:]:
        total = total + part
    found = np.zeros((len(moments), len(ridges)))
    for fold in range(len(moments)):
        train = total - moments[fold]
        slopes = np.linalg.solve(train.covariance("A", "A"), train.covariance("A", "F"))
        unit = orthonormal_moments(train.projected_gram())
        maps = [sieve_map(train, n_components, ridge, weighting) for ridge in ridges]
        sums = [_HeldOut(n_components, actions.shape[1], unit.shape[1]) for _ in ridges]
        mean_f, mean_a = train.mean("F"), train.mean("A")
        for rows in blocks(len(actions)):
            inside = folds[rows] == fold
            if not inside.any():
                continue
            a = actions[rows][inside]
            u = (functions.values(a) - mean_f - (a - mean_a) @ slopes) @ unit
            design = basis.design(X[rows])[inside]
            for one, accumulated in zip(maps, sums, strict=True):
                accumulated.add(one.apply(design), a - mean_a, u)
        found[fold] = [accumulated.penalty() for accumulated in sums]
    return found


class _HeldOut:
    """Sums over held-out rows for Q_B without its diagonal terms."""

    def __init__(self, d: int, k: int, q: int) -> None:
        self.n = 0
        self.products, self.diagonal = np.zeros((d, q)), np.zeros((d, d))
        self.phi, self.with_actions, self.actions = np.zeros(d), np.zeros((d, k)), np.zeros((k, k))
        self.action_sum, self.moment_sum = np.zeros(k), np.zeros(q)

    def add(self, phi: Array, actions: Array, u: Array) -> None:
        self.n += len(phi)
        self.products += phi.T @ u
        self.diagonal += (phi * (u**2).sum(axis=1)[:, None]).T @ phi
        self.phi += phi.sum(axis=0)
        self.with_actions += phi.T @ actions
        self.actions += actions.T @ actions
        self.action_sum += actions.sum(axis=0)
        self.moment_sum += u.sum(axis=0)

    def penalty(self) -> float:
        n = self.n
        products = self.products - np.outer(self.phi, self.moment_sum) / n
        violation = (products @ products.T - self.diagonal) / n**2
        cross = self.with_actions / n - np.outer(self.phi, self.action_sum) / n**2
        spread = self.actions / n - np.outer(self.action_sum, self.action_sum) / n**2
        between = cross @ np.linalg.solve(spread, cross.T)
        d = len(between)
        return float(np.trace(np.linalg.solve(between + 1e-6 * np.trace(between) / d * np.eye(d), violation)))
