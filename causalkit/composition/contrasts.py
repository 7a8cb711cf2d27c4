"""Orthonormal log-contrasts: the bases of isometric log-ratio coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import TooFewPartsError
from causalkit.validation import check_choice

__all__ = ["contrast_matrix", "helmert_contrasts", "hierarchical_contrasts", "pivot_contrasts", "sign_contrasts"]

Array = NDArray[np.float64]

NAMED_BASES = ("pivot", "helmert", "hierarchical")
_TOLERANCE = 1e-10


def pivot_contrasts(n_parts: int) -> Array:
    """Contrasts of each part against the geometric mean of the parts after it, shape (D, D-1).

    z_k = √((D-k)/(D-k+1))·log(x_k/gm(x_{k+1}, ..., x_D)), k = 1, ..., D-1 (Egozcue et al. 2003).
    """
    contrasts = np.zeros((n_parts, n_parts - 1))
    for k in range(n_parts - 1):
        after = n_parts - k - 1
        contrasts[k, k] = np.sqrt(after / (after + 1))
        contrasts[k + 1 :, k] = -contrasts[k, k] / after
    return contrasts


def helmert_contrasts(n_parts: int) -> Array:
    """Contrasts of the geometric mean of the first parts against the next one, shape (D, D-1).

    z_k = √(k/(k+1))·log(gm(x_1, ..., x_k)/x_{k+1}), k = 1, ..., D-1 (Egozcue et al. 2003).
    """
    contrasts = np.zeros((n_parts, n_parts - 1))
    for k in range(1, n_parts):
        scale = np.sqrt(k / (k + 1))
        contrasts[:k, k - 1] = scale / k
        contrasts[k, k - 1] = -scale
    return contrasts


def sign_contrasts(signs: NDArray[Any]) -> Array:
    """Contrasts of a sequential binary partition, shape (D, D-1).

    Parameters
    ----------
    signs : ndarray, shape (D-1, D)
        Entries 1, -1 and 0. A row with r pluses and s minuses gives +√(s/(r(r+s))) and -√(r/(s(r+s))).

    Raises
    ------
    ValueError
        Another entry, a row without both signs, rows that do not partition sequentially.
    """
    for i, row in enumerate(signs):
        if not np.isin(row, (-1, 0, 1)).all():
            raise ValueError(f"basis has entries other than 1, 0 and -1 in row {i} of the sign matrix: {row.tolist()}.")
        if not ((row > 0).any() and (row < 0).any()):
            raise ValueError(
                f"basis row {i} of the sign matrix lacks one of the two signs: {row.tolist()}. Every row splits a "
                "group of parts in two: mark one side 1 and the other -1."
            )
    plus, minus = (signs > 0).sum(axis=1), (signs < 0).sum(axis=1)
    total = plus + minus
    up, down = np.sqrt(minus / (plus * total)), np.sqrt(plus / (minus * total))
    contrasts = (np.where(signs > 0, up[:, None], 0.0) - np.where(signs < 0, down[:, None], 0.0)).T
    _check_orthonormal(contrasts, "row", "of the sign matrix: each row must split one side of an earlier row")
    return contrasts


def hierarchical_contrasts(log_amounts: Array) -> Array:
    """Balances of a Ward tree of the parts, root first, shape (D, D-1).

    The distance of two parts is √τ_ij with τ_ij = var log(x_i/x_j), so that the first coordinates set the
    most different groups of parts against each other. The group with the earliest part is positive.

    Parameters
    ----------
    log_amounts : ndarray, shape (n, D)
        Logarithms of the amounts, up to a constant per row.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist

    n, n_parts = log_amounts.shape
    # √τ_ij is the Euclidean distance of columns i and j once the columns are centred.
    columns = (log_amounts - log_amounts.mean(axis=0)).T / np.sqrt(max(n - 1, 1))
    tree = linkage(pdist(columns), method="ward")
    members = [[j] for j in range(n_parts)]
    signs = np.zeros((n_parts - 1, n_parts))
    for step, (first, second) in enumerate(tree[:, :2].astype(int)):
        sides = sorted((members[first], members[second]), key=min)
        row = n_parts - 2 - step  # the last merge is the root
        signs[row, sides[0]], signs[row, sides[1]] = 1.0, -1.0
        members.append(sides[0] + sides[1])
    return sign_contrasts(signs)


def contrast_matrix(basis: Any, log_amounts: Array) -> Array:
    """Orthonormal contrasts V of a named basis, a sign matrix or a contrast matrix, shape (D, D-1).

    Parameters
    ----------
    basis : {"pivot", "helmert", "hierarchical"} or array-like
        A sign matrix of shape (D-1, D) or contrasts of shape (D, D-1).
    log_amounts : ndarray, shape (n, D)
        What "hierarchical" learns its tree from; the other bases use its number of columns.

    Raises
    ------
    ValueError
        An unknown name, a matrix of another shape, contrasts that are not orthonormal or do not sum to 0.
    """
    n_parts = log_amounts.shape[1]
    if n_parts < 2:
        raise TooFewPartsError(f"log-contrasts need at least 2 parts; got n_features = {n_parts}.")
    if basis is None or isinstance(basis, str):
        check_choice(basis, "basis", NAMED_BASES)
        if basis == "hierarchical":
            return hierarchical_contrasts(log_amounts)
        return pivot_contrasts(n_parts) if basis == "pivot" else helmert_contrasts(n_parts)
    matrix = np.asarray(basis)
    if matrix.dtype.kind not in "biuf":
        raise ValueError(f"basis must be one of {NAMED_BASES} or a matrix of numbers; got dtype {matrix.dtype}.")
    if matrix.shape == (n_parts - 1, n_parts):
        return sign_contrasts(matrix)
    if matrix.shape != (n_parts, n_parts - 1):
        raise ValueError(
            f"basis must be a sign matrix of shape {(n_parts - 1, n_parts)} or contrasts of shape "
            f"{(n_parts, n_parts - 1)} for {n_parts} parts; got shape {matrix.shape}."
        )
    contrasts = matrix.astype(np.float64)
    _check_orthonormal(contrasts, "column", "of the contrast matrix")
    return contrasts


def _check_orthonormal(contrasts: Array, kind: str, where: str) -> None:
    sums = np.abs(contrasts.sum(axis=0))
    if not np.all(sums <= _TOLERANCE):
        j = int(np.flatnonzero(~(sums <= _TOLERANCE))[0])
        raise ValueError(
            f"basis {kind} {j} {where} does not sum to zero (sum {contrasts[:, j].sum():.3g}): a log-contrast must."
        )
    error = np.triu(np.abs(contrasts.T @ contrasts - np.eye(contrasts.shape[1])))
    if error.max() > _TOLERANCE:
        # The first vector that does not fit itself or those before it.
        j = int(np.flatnonzero(error.max(axis=0) > _TOLERANCE)[0])
        i = int(error[:, j].argmax())
        problem = "does not have length 1" if i == j else f"is not orthogonal to {kind} {i}"
        raise ValueError(f"basis {kind} {j} {problem} {where} (error {error[i, j]:.3g}; 1e-10 is allowed).")
