"""Aggregation over neighbours: CSR operators, and the extremes that no matrix product gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["KINDS", "extreme", "operator"]

KINDS = ("raw", "binary", "mean", "sym")
Float = NDArray[np.float32]


def operator(
    indptr: NDArray[np.int32], indices: NDArray[np.int32], weights: Float | None, kind: str
) -> sparse.csr_array:
    r"""One operator of a graph, receivers in the rows.

    .. math::
        A, \qquad 1\{A > 0\}, \qquad R = D^{-1}A, \qquad S = \tilde D^{-1/2}(A + I)\tilde D^{-1/2},

    with :math:`d_v = \sum_u A_{vu}` and :math:`\tilde D = \mathrm{diag}(d) + I`. Rows of isolates are empty in R and
    hold one on the diagonal of S.

    Parameters
    ----------
    indptr, indices : ndarray of int32, shapes (n + 1,) and (m,)
        In-neighbours of each node, sorted.
    weights : ndarray of float32, shape (m,), or None
        Weights; None for ones.
    kind : {"raw", "binary", "mean", "sym"}
        A, its pattern, R or S.

    Returns
    -------
    csr_array of float32, shape (n, n)
    """
    n = len(indptr) - 1
    data = np.ones(len(indices), np.float32) if weights is None or kind == "binary" else weights
    if kind in ("raw", "binary"):
        return _frozen(data, indices, indptr, n)
    rows = np.repeat(np.arange(n, dtype=np.int32), np.diff(indptr))
    total = np.bincount(rows, weights=None if weights is None else weights, minlength=n).astype(np.float64)
    if kind == "mean":
        # total is positive wherever a row has an entry, because weights are.
        return _frozen((data / total[rows]).astype(np.float32), indices, indptr, n)
    root = 1.0 / np.sqrt(total + 1.0)
    scaled = sparse.csr_array(((data * root[rows] * root[indices]).astype(np.float32), indices, indptr), shape=(n, n))
    whole = sparse.csr_array(scaled + sparse.dia_array(((root**2)[None, :].astype(np.float32), [0]), shape=(n, n)))
    whole.sort_indices()
    return _frozen(whole.data, whole.indices, whole.indptr, n)


def _frozen(data: Any, indices: Any, indptr: Any, n: int) -> sparse.csr_array:
    for array in (data, indices, indptr):
        array.flags.writeable = False
    return sparse.csr_array((data, indices, indptr), shape=(n, n), copy=False)


def extreme(matrix: Any, values: Float, which: str, empty: Float) -> Float:
    """Largest or smallest value among the neighbours, column by column.

    Parameters
    ----------
    matrix : csr_array, shape (n, n)
        Pattern of in-neighbours.
    values : ndarray, shape (n, p)
        Values of the nodes.
    which : {"max", "min"}
        The extreme.
    empty : ndarray, shape (p,)
        What a node without neighbours gets.

    Returns
    -------
    ndarray of float32, shape (n, p)
    """
    reduce = np.maximum.reduceat if which == "max" else np.minimum.reduceat
    filled = np.flatnonzero(np.diff(matrix.indptr))
    starts = matrix.indptr[filled]
    out = np.tile(empty.astype(np.float32), (matrix.shape[0], 1))
    if len(filled):
        for j in range(values.shape[1]):  # one column of gathered values at a time bounds the memory
            out[filled, j] = reduce(np.ascontiguousarray(values[:, j])[matrix.indices], starts)
    return out
