"""Brute-force variances: a stacked sandwich with numerical derivatives, and the jackknife."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["jackknife_variance", "stacked_variance"]

Array = NDArray[np.float64]


def _factor(n: int, groups: Array) -> float:
    g = len(np.unique(groups))
    return g / (g - 1) * (n - 1) / (n - 2)


def stacked_variance(f: Array, y: Array, own: Array, trial: Array, treatment: Array, other: Array) -> float:
    """Variance of (mean of treated - mean of controls)/k with clusters that both samples share.

    The parameters are m, k and both arm means. Their moment conditions are stacked, differentiated
    numerically, and summed within the clusters of either sample.
    """

    def moments(p: Array) -> tuple[Array, Array]:
        residual = f - p[0] - p[1] * y
        calibration = np.column_stack([residual, residual * y]) / len(f)
        arms = np.column_stack([(treatment == 0) * (trial - p[2]), (treatment == 1) * (trial - p[3])]) / len(trial)
        return calibration, arms

    def total(p: Array) -> Array:
        return np.concatenate([part.sum(axis=0) for part in moments(p)])

    k, m = np.polyfit(y, f, 1)
    at = np.array([m, k, trial[treatment == 0].mean(), trial[treatment == 1].mean()])
    step = 1e-5
    derivative = np.column_stack([(total(at + step * e) - total(at - step * e)) / (2 * step) for e in np.eye(4)])
    calibration, arms = moments(at)
    calibration = calibration * np.sqrt(_factor(len(f), own))
    arms = arms * np.sqrt(_factor(len(trial), other))
    sums = {label: np.zeros(4) for label in {*own.tolist(), *other.tolist()}}
    for label, row in zip(own.tolist(), calibration, strict=True):
        sums[label][:2] += row
    for label, row in zip(other.tolist(), arms, strict=True):
        sums[label][2:] += row
    stacked = np.array(list(sums.values()))
    inverse = np.linalg.inv(derivative)
    cov = inverse @ (stacked.T @ stacked) @ inverse.T

    def effect(p: Array) -> float:
        return float((p[3] - p[2]) / p[1])

    gradient = np.array([(effect(at + step * e) - effect(at - step * e)) / (2 * step) for e in np.eye(4)])
    return float(gradient @ cov @ gradient)


def jackknife_variance(make: Callable[[], Any], f: Array, y: Array, trial: Array, treatment: Array) -> float:
    """Variance of the effect over calibration rows left out one at a time, the trial held fixed."""
    treated = treatment == 1
    estimates = np.empty(len(f))
    for row in range(len(f)):
        kept = np.arange(len(f)) != row
        corrected = make().fit(f[kept], y[kept]).transform(trial)
        estimates[row] = corrected[treated].mean() - corrected[~treated].mean()
    n = len(f)
    return float((n - 1) / n * np.sum((estimates - estimates.mean()) ** 2))
