"""Tests of additivity, and how well the text predicts confounders."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causalkit.rewards.orthogonal import OrthogonalFit, gram, row_chunks, times, transposed_times
from causalkit.rewards.records import LoggedRows

__all__ = ["additivity_test", "lagrange_multiplier_test", "predictability"]

Array = NDArray[np.float64]

_LEADING = 5
_FOLDS = 5


def lagrange_multiplier_test(residual: Array, basis: Array, weight: Array | None = None) -> tuple[float, int, float]:
    """Robust score test that a residual does not go with a basis: s'Ω⁻¹s, degrees of freedom, p-value.

    s = ΣwBê and Ω = Σw²BB'ê², which is n R² where the variance does not change over the basis. Out-of-fold residuals
    are largest in the tails, where few rows inform a spline: n R² itself takes one such row for a misfit.

    Parameters
    ----------
    residual : ndarray, shape (n,)
        Residual, centred here.
    basis : ndarray, shape (n, q)
        Columns, without the constant.
    weight : ndarray, shape (n,), optional
        Weights of mean 1.
    """
    w = np.ones(len(residual)) if weight is None else weight
    e = w * (residual - np.average(residual, weights=w))
    B = basis - np.average(basis, axis=0, weights=w)
    values, V = np.linalg.eigh(gram(B, e**2))
    kept = values > 1e-10 * max(float(values.max(initial=0.0)), 1e-300)
    statistic = float(((B.T @ e) @ V[:, kept]) ** 2 @ (1 / values[kept])) if kept.any() else 0.0
    freedom = int(kept.sum())
    return statistic, freedom, float(stats.chi2.sf(statistic, freedom)) if freedom else 1.0


def additivity_test(
    fit: OrthogonalFit, columns: Array, codes: NDArray[np.intp] | None, residualise: Any = None
) -> tuple[float, int, float, float]:
    """Robust test that no product of features and confounders belongs into the reward, and its held-out R² gain.

    The products V of the leading components of X̃ with the confounder columns are made orthogonal to X̃; the score
    ΣVê is compared with its robust covariance, ΣVV'ê² or its sums within clusters.

    Parameters
    ----------
    fit : OrthogonalFit
        The additive fit.
    columns : ndarray, shape (n, q)
        Centred confounder columns.
    codes : ndarray of int, shape (n,), or None
        Clusters.
    residualise : callable, optional
        Projection off absorbed factors.

    Returns
    -------
    statistic, degrees of freedom, p-value, held-out gain
    """
    w = np.ones(fit.n) if fit.weight is None else fit.weight
    components = np.linalg.eigh(fit.second_moment)[1][:, ::-1][:, :_LEADING]
    lead = times(fit.features, components)
    V = np.empty((fit.n, lead.shape[1] * columns.shape[1]))
    # One component at a time: the projection reads its columns in small groups, far apart in a wide table.
    for block, component in zip(np.split(V, lead.shape[1], axis=1), lead.T, strict=True):
        product = component[:, None] * columns
        block[:] = product if residualise is None else residualise(product)
    shared = transposed_times(fit.features, V if fit.weight is None else V * w[:, None])
    slopes = np.linalg.pinv(fit.second_moment, hermitian=True) @ shared / fit.n
    for part in row_chunks(fit.n, fit.features.shape[1]):
        V[part] -= fit.features[part].astype(np.float64, copy=False) @ slopes
    size = np.sqrt(np.einsum("ij,ij->j", V, V) / fit.n)
    large = size > 1e-8 * max(float(size.max(initial=0.0)), 1e-300)
    V = V if large.all() else V[:, large]
    if V.shape[1] == 0 or not fit.residuals.any():
        return 0.0, 0, 1.0, 0.0
    scores = w * fit.residuals
    if codes is None:
        total, omega = scores @ V, gram(V, scores**2)
    else:
        each = [np.bincount(codes, weights=column * scores) for column in V.T]
        sums = np.stack(each, axis=1).astype(np.float64, copy=False)
        total, omega = sums.sum(axis=0), sums.T @ sums
    values, U = np.linalg.eigh(omega)
    kept = values > 1e-10 * values.max()
    statistic = float(((total @ U[:, kept]) ** 2 / values[kept]).sum())
    freedom = int(kept.sum())
    return statistic, freedom, float(stats.chi2.sf(statistic, freedom)), _held_out_gain(V, fit.residuals, fit.weight)


def _held_out_gain(V: Array, residual: Array, weight: Array | None) -> float:
    """1 - SSE/SST of the residual on V over interleaved folds, from the products of each fold."""
    folds = [slice(k, None, _FOLDS) for k in range(_FOLDS)]
    scores = residual if weight is None else residual * weight
    grams = [gram(V[fold], None if weight is None else weight[fold]) for fold in folds]
    moments = [transposed_times(V[fold], scores[fold]) for fold in folds]
    G, M = np.sum(grams, axis=0), np.sum(moments, axis=0)
    error = total = float(scores @ residual)
    for own, moment in zip(grams, moments, strict=True):
        beta = np.linalg.pinv(G - own, hermitian=True) @ (M - moment)
        error += float(beta @ own @ beta - 2 * beta @ moment)
    return 1.0 - error / total


def predictability(rows: LoggedRows, targets: Array) -> Array:
    """Out-of-fold linear predictions of some columns from the features, shape (n, t); ridge 1e-6 of the trace."""
    X, n, p = rows.X, rows.n, rows.X.shape[1]
    fold = np.random.default_rng(0).permutation(n) % _FOLDS
    centre = rows.feature_mean
    grams, moments = [], []
    for k in range(_FOLDS):
        inside = np.flatnonzero(fold == k)
        block = X[inside]
        grams.append(gram(block, centre=centre))
        sums = targets[inside]
        moments.append(transposed_times(block, sums) - np.outer(centre, sums.sum(axis=0)))
    G, M = np.sum(grams, axis=0), np.sum(moments, axis=0)
    out = np.empty_like(targets)
    small = 1e-6 * float(np.trace(G)) / p or 1.0  # features that are all constant predict nothing
    for k in range(_FOLDS):
        inside = np.flatnonzero(fold == k)
        others = targets[fold != k].mean(axis=0)
        shift = (G - grams[k]) + small * np.eye(p)
        # Centring at the overall means leaves an offset of the order of the fold's share: the mean of the others.
        beta = np.linalg.solve(shift, M - moments[k])
        out[inside] = others + times(X[inside], beta) - centre @ beta
    return out


# ---------------------------------------------------------------------- assembling
