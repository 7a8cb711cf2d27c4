"""Checks that a treatment can be told apart from the covariates, before and after its model is fitted."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import IdentificationError, LeakageWarning, OverlapWarning
from causalkit.graph.inputs import CodedTreatment
from causalkit.graph.pool import FeatureSets
from causalkit.graph.warning_place import caller_level

__all__ = [
    "arm_sample_sizes",
    "check_determined",
    "check_residual_variance",
    "cross_moments",
    "warn_of_leaks",
    "warn_of_overlap",
]

Array = NDArray[np.float64]
Moments = tuple[Array, Array, Array]

_DETERMINED = 1e-6
_LEAK = 0.999
_CLIPPED_SHARE = 0.05
_ARM_SHARE = 0.05
_BLOCK_ROWS = 65_536


def _treatment_columns(treatment: CodedTreatment) -> Array:
    if treatment.levels is None:
        return treatment.values[:, None]
    return (treatment.values[:, None] == np.arange(1, treatment.n_levels)).astype(np.float64)


def cross_moments(features: FeatureSets, treatment: CodedTreatment) -> Moments:
    """Centred Z'Z, Z'T and T'T (diagonal) of columns and treatment, block by block."""
    columns, targets = features.columns, _treatment_columns(treatment)
    n = len(columns)
    center: Any = 0.0
    for start in range(0, n, _BLOCK_ROWS):
        center = center + columns[start : start + _BLOCK_ROWS].sum(axis=0, dtype=np.float64)
    center = center / n
    targets = targets - targets.mean(axis=0)
    gram: Any = 0.0
    cross: Any = 0.0
    for start in range(0, n, _BLOCK_ROWS):
        block = columns[start : start + _BLOCK_ROWS].astype(np.float64) - center
        gram = gram + block.T @ block
        cross = cross + block.T @ targets[start : start + _BLOCK_ROWS]
    return gram, cross, np.einsum("ij,ij->j", targets, targets)


def check_determined(features: FeatureSets, moments: Moments) -> None:
    """Refuse a treatment that is a linear function of some set of columns.

    Raises
    ------
    IdentificationError
        Naming the smallest set that shows it.
    """
    gram, cross, total = moments
    n = len(features.columns)
    for name, columns in features.sets.items():
        if len(columns) >= n - 1:
            continue  # any treatment is a combination of that many columns
        inner, outer = gram[np.ix_(columns, columns)], cross[columns]
        explained = np.einsum("ij,ij->j", outer, np.linalg.lstsq(inner, outer, rcond=1e-10)[0])
        left = 1 - explained / total
        if (left < _DETERMINED).any():
            raise _determined(name, float(left.min()))


def _determined(name: str, left: float) -> IdentificationError:
    words = name.replace("_", "-")
    return IdentificationError(
        f"treatment is determined by the features: given the {words} covariates a share of {max(left, 0):.2g} of its "
        f"variance is left, less than {_DETERMINED:g}. Units that differ in treatment alone do not exist. Leave out "
        f"the {words} columns that it was computed from, or accept that its effect cannot be learned from these data."
    )


def check_residual_variance(residual: Array, treatment: CodedTreatment, features: FeatureSets) -> None:
    """Refuse residuals without variance: the models predict the treatment exactly."""
    left = (residual**2).mean(axis=0) / _treatment_columns(treatment).var(axis=0)
    if (left < _DETERMINED).any():
        raise _determined(next(reversed(features.sets)), float(left.min()))


def warn_of_leaks(features: FeatureSets, moments: Moments, names: Any) -> bool:
    """Warn of columns of neighbours that are nearly the own treatment, and say whether there are some."""
    gram, cross, total = moments
    size = np.sqrt(np.maximum(np.diag(gram), 0.0))[:, None] * np.sqrt(total)
    correlation = np.divide(np.abs(cross), size, out=np.zeros_like(cross), where=size > 0).max(axis=1)
    own = set(features.sets.get("own", []))
    leaks = [names[j] for j in range(len(names)) if correlation[j] > _LEAK and j not in own]
    if leaks:
        warnings.warn(
            f"{len(leaks)} columns of neighbours are nearly the own treatment (first: {', '.join(leaks[:3])}): X "
            "holds something made of treatments, and passing it along edges brings a node its own treatment back. "
            "Exposures belong into exposure=, not into X.",
            LeakageWarning,
            stacklevel=caller_level(),
        )
    return bool(leaks)


def arm_sample_sizes(probabilities: Array, codes: NDArray[np.intp], weight: Array | None = None) -> Array:
    """Effective sample size (Σv)²/Σv² of each arm under v = w/e, shape (L,)."""
    base = np.ones(len(codes)) if weight is None else weight
    sizes = np.zeros(probabilities.shape[1])
    for level in range(len(sizes)):
        w = (base / probabilities[:, level])[codes == level]
        total = float((w**2).sum())
        sizes[level] = w.sum() ** 2 / total if total > 0 else 0.0
    return sizes


def warn_of_overlap(
    probabilities: Array, codes: NDArray[np.intp], clipped: NDArray[np.bool_], degree: Any, weight: Array | None = None
) -> None:
    """Warn where propensities had to be clipped for many rows, or few rows carry the weight of an arm.

    An arm is thin against what it is worth without propensities, so that weights of the user alone are no reason.
    """
    share = float(clipped.mean())
    sizes = arm_sample_sizes(probabilities, codes, weight)
    counts = arm_sample_sizes(np.ones_like(probabilities), codes, weight)
    thin = np.flatnonzero(sizes < _ARM_SHARE * counts)
    if share <= _CLIPPED_SHARE and len(thin) == 0:
        return
    low = degree <= np.median(degree)
    parts = ", ".join(
        f"{words} degree {clipped[rows].mean():.0%}" for words, rows in (("lower", low), ("higher", ~low)) if rows.any()
    )
    arms = "; ".join(f"level {k}: {sizes[k]:.0f} of {counts[k]:.0f} rows" for k in thin)
    warnings.warn(
        f"{share:.1%} of the propensities were clipped ({parts})"
        f"{f', and the weighted arms are thin ({arms})' if arms else ''}: for such units nobody comparable got the "
        'other treatment. Trim them, or report ate(target="overlap"); see overlap().',
        OverlapWarning,
        stacklevel=caller_level(),
    )
