"""Zeros of counts: Bayesian-multiplicative replacement and the James-Stein estimator of proportions.

As in the other methods, the result is a *filled* matrix: observed counts stay, imputed cells carry the
ratios of the method. James-Stein shrinks every cell, so there the row totals stay instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import ZeroReplacementError

__all__ = [
    "COUNT_METHODS",
    "PRIOR_METHODS",
    "CountFill",
    "JamesSteinFill",
    "check_counts",
    "fill_counts",
    "james_stein",
    "leave_one_out_totals",
    "prior_replacement",
]

Array = NDArray[np.float64]

PRIOR_METHODS = ("gbm", "sq", "bl")
COUNT_METHODS = (*PRIOR_METHODS, "czm", "james_stein")


def check_counts(amounts: Array, names: list[str], method: str) -> None:
    """Refuse amounts that are not whole numbers."""
    fractional = amounts != np.rint(amounts)
    if fractional.any():
        i, j = (int(k) for k in np.argwhere(fractional)[0])
        raise ZeroReplacementError(
            f"method {method!r} expects counts: X has {int(fractional.sum())} cells that are not whole numbers (first: "
            f"row {i}, part {names[j]!r}, {amounts[i, j]:.6g}). Pass the counts, or use multiplicative, lrem or lrsvd."
        )


def leave_one_out_totals(counts: Array, names: list[str]) -> Array:
    """Column totals of all rows but the row itself, shape (n, D).

    Raises
    ------
    ZeroReplacementError
        A part that one row only has: without that row its total is 0, and so is its prior.
    """
    others = counts.sum(axis=0) - counts
    if (others <= 0).any():
        i, j = (int(k) for k in np.argwhere(others <= 0)[0])
        raise ZeroReplacementError(
            f"part {names[j]!r} was seen in row {i} only, so its leave-one-out prior is 0 there. Drop the part, or use "
            'method="czm" or "multiplicative".'
        )
    return others


def prior_replacement(row_totals: Array, prior: Array, method: str) -> Array:
    """Posterior mean proportions of cells without counts, r_ij = t_ij·s_i/(N_i + s_i), shape (n, D).

    Parameters
    ----------
    row_totals : ndarray, shape (n,)
        N.
    prior : ndarray, shape (n, D) or (1, D)
        t, up to a factor per row.
    method : {"gbm", "sq", "bl"}
        Strength of the prior: s_i = 1/gm(t_i), √N_i, D.

    References
    ----------
    Martín-Fernández, Hron, Templ, Filzmoser & Palarea-Albaladejo 2015, Statistical Modelling 15:134-158.
    """
    shares = prior / prior.sum(axis=1, keepdims=True)
    totals = row_totals[:, None]
    if method == "gbm":
        strength = np.exp(-np.log(shares).mean(axis=1, keepdims=True))
    elif method == "sq":
        strength = np.sqrt(totals)
    else:
        strength = np.full((1, 1), float(prior.shape[1]))
    return shares * strength / (totals + strength)


def fill_counts(counts: Array, replacement: Array, column_minimum: Array, fraction: float) -> Array:
    """Filled counts for replacement proportions r, shape (n, D).

    An r_ij above the smallest observed proportion of its part becomes ``fraction`` times that minimum,
    so that a part that was not seen never looks larger than one that was.

    Raises
    ------
    ZeroReplacementError
        The replaced proportions of a row add up to 1 or more.
    """
    zero = counts == 0
    capped = np.where(replacement > column_minimum, fraction * column_minimum, replacement)
    placed = np.where(zero, capped, 0.0)
    mass = placed.sum(axis=1)
    if (mass >= 1).any():
        row = int(mass.argmax())
        raise ZeroReplacementError(
            f"the replaced mass of row {row} is {mass[row]:.4g} of its total {counts[row].sum():.6g}: expected less "
            "than all of it. Drop rows with few counts, or parts with many zeros."
        )
    scale = counts.sum(axis=1) / (1.0 - mass)
    return np.where(zero, placed * scale[:, None], counts)


@dataclass(frozen=True)
class CountFill:
    """Count methods gbm, sq, bl and czm with the column totals and minima of the training rows.

    Attributes
    ----------
    method : str
    column_totals : ndarray, shape (D,)
        Counts per part.
    column_minimum : ndarray, shape (D,)
        Smallest observed proportion per part.
    fraction, threshold : float
        czm puts fraction·threshold/N_i; ``fraction`` also sets the capped value.
    """

    method: str
    column_totals: Array
    column_minimum: Array
    fraction: float
    threshold: float

    def fill(self, amounts: Array, limits: Array) -> Array:
        """Filled counts of new rows, shape (n, D); the limits are not used."""
        return self.fill_with_prior(amounts, self.column_totals[None, :])

    def fill_with_prior(self, counts: Array, prior: Array) -> Array:
        """Filled counts with a prior of shape (n, D) or (1, D)."""
        totals = counts.sum(axis=1)
        if self.method == "czm":
            replacement = np.broadcast_to(self.fraction * self.threshold / totals[:, None], counts.shape)
        else:
            replacement = prior_replacement(totals, prior, self.method)
        return fill_counts(counts, replacement, self.column_minimum, self.fraction)


@dataclass(frozen=True)
class JamesSteinFill:
    """Every row shrunk towards equal proportions."""

    def fill(self, amounts: Array, limits: Array) -> Array:
        """Shrunken counts with the row totals of the data, shape (n, D); the limits are not used.

        Raises
        ------
        ZeroReplacementError
            Two or more counts in one part only: the estimated variance is 0, and zeros would stay zeros.
        """
        alone = np.flatnonzero(((amounts > 0).sum(axis=1) == 1) & (amounts.sum(axis=1) > 1))
        if len(alone) and amounts.shape[1] > 1:
            raise ZeroReplacementError(
                f"james_stein cannot shrink {len(alone)} rows that hold a single part (first: row {alone[0]}): their "
                "estimated variance is 0. Drop these rows, or use gbm, sq, bl or czm."
            )
        return james_stein(amounts) * amounts.sum(axis=1, keepdims=True)


def james_stein(counts: Array) -> Array:
    """Shrunken proportions λ/D + (1 - λ)q with q = x/N, shape (n, D).

    λ = (1 - Σq²)/((N - 1)Σ(1/D - q)²), cut to [0, 1]; 1 where a row has one count or equal proportions.

    References
    ----------
    Hausser & Strimmer 2009, Journal of Machine Learning Research 10:1469-1484.
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares, even = counts / totals, 1.0 / counts.shape[1]
    noise = 1.0 - np.sum(shares**2, axis=1, keepdims=True)
    signal = (totals - 1.0) * np.sum((even - shares) ** 2, axis=1, keepdims=True)
    weight = np.clip(np.divide(noise, signal, out=np.ones_like(noise), where=signal > 0), 0.0, 1.0)
    shrunken: Array = weight * even + (1.0 - weight) * shares
    return shrunken
