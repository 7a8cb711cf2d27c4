"""Warnings about augmentation parameters: those that depend on the data, and those that move no mean."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from causalkit.augmentation.augmenters.base import Augmenter, FunctionAugmenter
from causalkit.augmentation.diagnostics import leak_tests, relevance_pvalue
from causalkit.augmentation.moments import Layout, Moments, chunk_moments
from causalkit.exceptions import LeakageWarning, WeakInstrumentWarning

__all__ = ["parameter_moments", "warn_of_parameters"]

Array = NDArray[np.float64]

_LEAK_LEVEL = 1e-3 / 3


def parameter_moments(X: Array, moved: Array, parameters: Array, outcome: Array, weight: Array) -> Moments:
    """Moments of [G, GX, D, y] over all draws.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    moved : ndarray, shape (n, R, p)
    parameters : ndarray, shape (n, R, k)
    outcome : ndarray, shape (n, t)
    weight : ndarray, shape (n,)
    """
    n, n_draws, p = moved.shape
    k = parameters.shape[2]
    after = moved.reshape(-1, p)
    columns = [parameters.reshape(-1, k), after, after - np.repeat(X, n_draws, axis=0)]
    columns.append(np.repeat(outcome, n_draws, axis=0))
    return chunk_moments(columns, Layout(k, p, p, 0, outcome.shape[1]), np.repeat(weight, n_draws), n)


def warn_of_parameters(moments: Moments, *, penalty: str, augmentation: object, stacklevel: int = 2) -> None:
    """Warn of parameters that depend on the data, and of a moment penalty that holds noise only.

    Parameters
    ----------
    moments : Moments
        Of G, GX, D and y over all draws.
    penalty : str
        Resolved penalty.
    augmentation : Augmenter, callable or None
        An augmenter draws its parameters without a look at the data, so only others are tested for leaks.
    stacklevel : int, default=2
        Frame that a warning points to: 2 is the caller of this function.

    Warns
    -----
    LeakageWarning, WeakInstrumentWarning
    """
    is_safe = isinstance(augmentation, Augmenter) and not isinstance(augmentation, FunctionAugmenter)
    found = [] if is_safe else [name for name, p in leak_tests(moments).items() if p < _LEAK_LEVEL]
    if found:
        warnings.warn(
            f"the augmentation's parameters are not independent of the data ({', '.join(found)} rejected): they depend "
            "on the label or the features, or were used before. Draw them anew, without looking at X or y.",
            LeakageWarning,
            stacklevel=stacklevel,
        )
    if penalty in ("projected", "paired"):
        pvalue = relevance_pvalue(moments)
        if pvalue > 0.05:
            warnings.warn(
                f"G does not move the mean of GX (joint test p = {pvalue:.2g}), so penalty={penalty!r} holds noise "
                "only: use penalty='pointwise'.",
                WeakInstrumentWarning,
                stacklevel=stacklevel,
            )
