"""Tests of partial correlations of log-ratios: t, Fisher, influence values, and false-discovery control."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.validation import Groups

__all__ = [
    "PairTests",
    "adjust_pvalues",
    "fisher_interval",
    "fisher_test",
    "influence_standard_errors",
    "influence_values",
    "partial_t_test",
    "shrunk_t_test",
]

Array = NDArray[np.float64]

_CLIP = 1 - 1e-12


@dataclass(frozen=True)
class PairTests:
    """Statistics and two-sided p-values of the same shape as the correlations.

    Attributes
    ----------
    statistic, pvalue : ndarray
    dof : float
        Degrees of freedom of the t reference; infinity for the normal.
    """

    statistic: Array
    pvalue: Array
    dof: float


def partial_t_test(r: Array, dof: float, null: Array | float = 0.0) -> PairTests:
    """t = x√(ν/(1-x²)) with x = r, or x = (r - r⁰)/(1 - r r⁰) against a null r⁰.

    ν = n - D + 1 - q: D - 1 free log-ratios, of which two are related and D - 3 controlled.
    """
    from scipy import stats

    x = r if np.isscalar(null) and null == 0.0 else (r - null) / (1 - r * null)
    x = np.clip(x, -_CLIP, _CLIP)
    statistic = x * np.sqrt(dof / (1 - x * x))
    return PairTests(statistic, 2 * stats.t(dof).sf(np.abs(statistic)), dof)


def fisher_test(r: Array, size: float, null: Array | float = 0.0) -> PairTests:
    """z = (atanh r - atanh ρ₀)√(n - D - q); ``size`` is n - D - q."""
    from scipy import stats

    clipped, center = np.clip(r, -_CLIP, _CLIP), np.clip(null, -_CLIP, _CLIP)
    statistic = (np.arctanh(clipped) - np.arctanh(center)) * np.sqrt(size)
    return PairTests(statistic, 2 * stats.norm.sf(np.abs(statistic)), np.inf)


def fisher_interval(r: Array, size: float, confidence_level: float) -> tuple[Array, Array]:
    """tanh(atanh r ± z/√(n - D - q))."""
    from scipy import stats

    half = stats.norm.ppf(0.5 + confidence_level / 2) / np.sqrt(size)
    center = np.arctanh(np.clip(r, -_CLIP, _CLIP))
    return np.tanh(center - half), np.tanh(center + half)


def influence_standard_errors(u: Array, r: Array, weight: Array, groups: Groups | None = None) -> Array:
    """Standard errors √(Σ IF²/n²) of all partial correlations, with IF = u_iu_j + ½r(u_i² + u_j²).

    The square of IF needs (u²)'u², (u³)'u and Σu⁴ only; with groups, sums of IF within each group, one
    D×D block at a time.

    Parameters
    ----------
    u : ndarray, shape (n, D)
        Standardised images (CΓ⁺)_i/√Γ⁺_ii of centred rows.
    r : ndarray, shape (D, D)
        Partial correlations, diagonal 1.
    weight : ndarray, shape (n,)
        Weights that sum to 1.
    groups : Groups, optional
        Clusters.
    """
    if groups is not None:
        total = np.zeros_like(r)
        for g in range(groups.n_groups):
            rows = groups.codes == g
            part, w = u[rows], weight[rows][:, None]
            squares = (w * part**2).sum(axis=0)
            total += ((w * part).T @ part + 0.5 * r * (squares[:, None] + squares)) ** 2
        return _symmetric_root(total)
    w = (weight**2)[:, None]
    square = u * u
    both = (w * square).T @ square
    cubic = (w * square * u).T @ u
    fourth = np.diag(both)
    total = both + r * (cubic + cubic.T) + 0.25 * r * r * (fourth[:, None] + fourth + 2 * both)
    return _symmetric_root(total)


def _symmetric_root(total: Array) -> Array:
    """√ of a symmetric matrix that rounding has made slightly uneven or negative."""
    return np.asarray(np.sqrt(np.maximum((total + total.T) / 2, 0.0)))


def influence_values(u: Array, r: float, i: int, j: int) -> Array:
    """Influence values u_iu_j + ½r(u_i² + u_j²) of one partial correlation, mean scale, shape (n,)."""
    return np.asarray(u[:, i] * u[:, j] + 0.5 * r * (u[:, i] ** 2 + u[:, j] ** 2))


def fisher_scale_error(standard_error: Array, r: Array, inflation: float) -> Array:
    """Standard error of atanh r, with a finite-sample inflation."""
    return np.asarray(inflation * standard_error / np.maximum(1 - r * r, 1e-12))


def shrunk_t_test(r: Array, null: Array, intensity: float, kappa: float) -> PairTests:
    """t = x√((κ-1)/(1-x²)) on κ - 1 degrees of freedom, x = (r - r⁰)/(1-λ)."""
    from scipy import stats

    if intensity >= 1:
        return PairTests(np.zeros_like(r), np.ones_like(r), kappa - 1)
    x = np.clip((r - null) / (1 - intensity), -_CLIP, _CLIP)
    statistic = x * np.sqrt((kappa - 1) / (1 - x * x))
    return PairTests(statistic, 2 * stats.t(kappa - 1).sf(np.abs(statistic)), kappa - 1)


def adjust_pvalues(pvalues: Array, method: str | None) -> Array:
    """False-discovery adjusted p-values of the pairs of a symmetric matrix; diagonal 1.

    Parameters
    ----------
    pvalues : ndarray, shape (D, D)
    method : {"bh", "by", None}
        Benjamini-Hochberg, Benjamini-Yekutieli, or none.
    """
    from scipy import stats

    if method is None:
        return pvalues.copy()
    upper = np.triu_indices(len(pvalues), 1)
    out = np.ones_like(pvalues)
    out[upper] = stats.false_discovery_control(pvalues[upper], method=method)
    out.T[upper] = out[upper]
    return out
