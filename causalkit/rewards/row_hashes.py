"""Hashes of feature rows, by which two samples are searched for the same texts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["hash_rows"]

_CHUNK_CELLS = 2**16
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def hash_rows(X: Any) -> NDArray[np.uint64]:
    """A 64-bit hash of each row of features, equal for rows that are equal in single precision.

    Entries are rounded to float32, so that features stored in either precision match, then mixed with their column
    number and added up modulo 2⁶⁴. Different rows share a hash with probability near 2⁻⁶⁴.

    Parameters
    ----------
    X : array-like, shape (n, p)
        Numbers.

    Returns
    -------
    ndarray of uint64, shape (n,)
    """
    rows = np.asarray(X)
    out = np.empty(len(rows), dtype=np.uint64)
    salt = (np.arange(rows.shape[1], dtype=np.uint64) + np.uint64(1)) * _GOLDEN
    size = max(1024, _CHUNK_CELLS // max(rows.shape[1], 1))
    for start in range(0, len(rows), size):
        with np.errstate(over="ignore"):
            # Adding 0 turns -0 into 0, which has other bits but is the same number.
            single = np.ascontiguousarray(rows[start : start + size], dtype=np.float32) + np.float32(0)
        mixed = single.view(np.uint32).astype(np.uint64) + salt
        mixed ^= mixed >> np.uint64(30)
        mixed *= _FIRST
        mixed ^= mixed >> np.uint64(27)
        mixed *= _SECOND
        mixed ^= mixed >> np.uint64(31)
        out[start : start + size] = mixed.sum(axis=1, dtype=np.uint64)
    return out
