"""Centred, additive and isometric log-ratios of arrays, in one pass over blocks of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.parts import row_blocks

__all__ = ["additive_log_ratios", "centred_log_ratios", "group_log_ratios", "isometric_log_ratios"]

Array = NDArray[np.float64]


def centred_log_ratios(amounts: Array) -> Array:
    """log x_ij less its mean over the parts, shape (n, D) (Aitchison 1986)."""
    out = np.empty(amounts.shape)
    for rows in row_blocks(*amounts.shape):
        block = np.log(amounts[rows], out=out[rows])
        block -= block.mean(axis=1, keepdims=True)
    return out


def additive_log_ratios(amounts: Array, reference: int) -> Array:
    """log x_ij/x_ib without the column of the reference b, shape (n, D-1) (Aitchison 1986)."""
    n, n_parts = amounts.shape
    out = np.empty((n, n_parts - 1))
    for rows in row_blocks(n, n_parts):
        logs = np.log(amounts[rows])
        base = logs[:, reference : reference + 1]
        np.subtract(logs[:, :reference], base, out=out[rows, :reference])
        np.subtract(logs[:, reference + 1 :], base, out=out[rows, reference:])
    return out


def group_log_ratios(amounts: Array, group: NDArray[np.intp]) -> Array:
    """log x_ij less the mean log of a group of parts; every column is kept, shape (n, D)."""
    out = np.empty(amounts.shape)
    for rows in row_blocks(*amounts.shape):
        block = np.log(amounts[rows], out=out[rows])
        block -= block[:, group].mean(axis=1, keepdims=True)
    return out


def isometric_log_ratios(amounts: Array, contrasts: Array) -> Array:
    """log(x)V for orthonormal contrasts V, shape (n, D-1) (Egozcue et al. 2003).

    The columns of V sum to zero, so a common factor of a row drops out. It is taken out beforehand all the
    same, by the first part, because a large one would cost digits in the sum.
    """
    n, n_parts = amounts.shape
    out = np.empty((n, n_parts - 1))
    for rows in row_blocks(n, n_parts):
        logs = np.log(amounts[rows])
        logs -= logs[:, :1]
        np.matmul(logs, contrasts, out=out[rows])
    return out
