"""Zeros as values below a detection limit, one part at a time: multiplicative, lognormal, minimum.

Every method returns a *filled* matrix: observed cells keep their values, imputed cells are scaled so that
the ratios are those of the method. Closing it gives the proportions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx

from causalkit.exceptions import ZeroReplacementError

__all__ = [
    "LognormalFill",
    "MinimumFill",
    "MultiplicativeFill",
    "censored_normal_fit",
    "fill_multiplicatively",
    "fit_lognormal",
    "inverse_mills_ratio",
]

Array = NDArray[np.float64]

_MAX_NEWTON = 100


def inverse_mills_ratio(z: Array) -> Array:
    """φ(z)/Φ(z) of the normal law, without cancellation in the lower tail."""
    ratio: Array = np.sqrt(2 / np.pi) / erfcx(-z / np.sqrt(2))
    return ratio


def fill_multiplicatively(amounts: Array, replacement: Array) -> Array:
    """Put r_ij into the zero cells and take their mass from the observed cells of the row.

    The multiplicative form multiplies observed cells by 1 - Σr/c with c the observed total; here the
    imputed cells are divided by it instead, which gives the same ratios.

    Parameters
    ----------
    amounts : ndarray, shape (n, D)
        Amounts with zeros.
    replacement : ndarray, shape (n, D) or (D,)
        r, in the units of the amounts; used in the zero cells only.

    Raises
    ------
    ZeroReplacementError
        The replaced mass of a row is not below its observed total.

    References
    ----------
    Martín-Fernández, Barceló-Vidal & Pawlowsky-Glahn 2003, Mathematical Geology 35:253-278.
    """
    zero = amounts == 0
    placed = np.where(zero, replacement, 0.0)
    mass, totals = placed.sum(axis=1), amounts.sum(axis=1)
    if (mass >= totals).any():
        row = int(np.argmax(mass / totals))
        raise ZeroReplacementError(
            f"detection_limit is too large for {int((mass >= totals).sum())} rows: in row {row} the replaced mass "
            f"{mass[row]:.6g} is not below the observed total {totals[row]:.6g}. Lower the limits or the fraction, or "
            "drop these rows."
        )
    left = 1.0 - mass / totals
    return np.where(zero, placed / left[:, None], amounts)


@dataclass(frozen=True)
class MultiplicativeFill:
    """r_ij = fraction times the detection limit of the cell."""

    fraction: float

    def fill(self, amounts: Array, limits: Array) -> Array:
        """Filled amounts, shape (n, D); ``limits`` has shape (D,) or (n, D)."""
        return fill_multiplicatively(amounts, self.fraction * limits)


@dataclass(frozen=True)
class MinimumFill:
    """Every zero becomes one value, and nothing is rescaled.

    Attributes
    ----------
    value : float
        Smallest positive value of the training matrix.
    """

    value: float

    def fill(self, amounts: Array, limits: Array) -> Array:
        """Filled amounts, shape (n, D); the limits are not used."""
        return np.where(amounts == 0, self.value, amounts)


@dataclass(frozen=True)
class LognormalFill:
    """r_ij = exp(E[log x_ij | x_ij < dl_ij]) for log-normal parts.

    Attributes
    ----------
    names : list of str, length D
        Parts.
    log_mean, log_sd : ndarray, shape (D,)
        μ and σ of log x_j. Where σ is 0 the part had no zeros in training and does not vary.
    """

    names: list[str]
    log_mean: Array
    log_sd: Array

    def fill(self, amounts: Array, limits: Array) -> Array:
        """Filled amounts, shape (n, D); ``limits`` has shape (D,) or (n, D)."""
        needed = (amounts == 0).any(axis=0)
        unknown = needed & (self.log_sd == 0)
        if unknown.any():
            raise ZeroReplacementError(
                f"lognormal cannot replace zeros of {self.names[int(np.argmax(unknown))]!r}: the part was constant in "
                "training, so its spread is unknown. Use multiplicative."
            )
        replacement = np.zeros(amounts.shape)
        logs = np.broadcast_to(np.log(limits), amounts.shape)[:, needed]
        mean, sd = self.log_mean[needed], self.log_sd[needed]
        replacement[:, needed] = np.exp(mean - sd * inverse_mills_ratio((logs - mean) / sd))
        return fill_multiplicatively(amounts, replacement)


def fit_lognormal(amounts: Array, limits: Array, names: list[str]) -> LognormalFill:
    """Left-censored normal fits of log x_j, part by part.

    Raises
    ------
    ZeroReplacementError
        A part with zeros has fewer than two distinct positive values.

    References
    ----------
    Palarea-Albaladejo & Martín-Fernández 2015, Chemometrics and Intelligent Laboratory Systems 143:85-96.
    """
    n_parts = amounts.shape[1]
    mean, sd = np.zeros(n_parts), np.zeros(n_parts)
    log_limits = np.broadcast_to(np.log(limits), amounts.shape)
    for j in range(n_parts):
        zero = amounts[:, j] == 0
        observed = np.log(amounts[~zero, j])
        varies = observed.max() > observed.min()
        if zero.any() and not varies:
            raise ZeroReplacementError(
                f"lognormal needs at least two distinct positive values of every part that has zeros; "
                f"{names[j]!r} has one. Use multiplicative, or drop the part."
            )
        if varies:
            mean[j], sd[j] = censored_normal_fit(observed, log_limits[zero, j])
    return LognormalFill(names, mean, sd)


def censored_normal_fit(observed: Array, limits: Array) -> tuple[float, float]:
    """Maximum likelihood of a normal law from observed values and upper limits of censored ones.

    In δ = μ/σ and γ = 1/σ the log-likelihood

        m log γ - ½Σ(γx - δ)² + Σ log Φ(γd - δ)

    is concave (Olsen 1978, Econometrica 46:1211-1215), so that Newton steps, halved where they do not
    climb, find its only maximum.

    Parameters
    ----------
    observed : ndarray, shape (m,)
        Values, at least two of them distinct.
    limits : ndarray, shape (k,)
        Limits below which the censored values lie.

    Returns
    -------
    mean, sd : float
    """
    from scipy.special import log_ndtr

    centre, scale = float(observed.mean()), float(observed.std())
    x, d, m = (observed - centre) / scale, (limits - centre) / scale, len(observed)

    def height(t: Array) -> float:
        if t[1] <= 0:
            return -np.inf
        return float(m * np.log(t[1]) - 0.5 * np.sum((t[1] * x - t[0]) ** 2) + log_ndtr(t[1] * d - t[0]).sum())

    theta = np.array([0.0, 1.0])
    for _ in range(_MAX_NEWTON):
        delta, gamma = theta
        z, residual = gamma * d - delta, gamma * x - delta
        ratio = inverse_mills_ratio(z)
        bend = ratio * (z + ratio)  # -(log Φ)''
        slope = np.array([residual.sum() - ratio.sum(), m / gamma - x @ residual + d @ ratio])
        cross = -x.sum() - d @ bend
        curvature = np.array([[m + bend.sum(), cross], [cross, m / gamma**2 + x @ x + d**2 @ bend]])
        step, here = np.linalg.solve(curvature, slope), height(theta)
        if slope @ step < 1e-20 * m:
            break
        while height(theta + step) < here and np.abs(step).max() > 1e-16:
            step = step / 2
        theta = theta + step
    return centre + scale * float(theta[0] / theta[1]), scale / float(theta[1])
