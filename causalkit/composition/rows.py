"""Rows of a composition with what belongs to them: weights, confounders and clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing

from causalkit.exceptions import DegreesOfFreedomError
from causalkit.validation import (
    Groups,
    check_composition,
    check_groups,
    check_matrix,
    check_same_index,
    check_sample_weight,
)

__all__ = ["CompositionRows", "check_rows", "refuse_repeated_names"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CompositionRows:
    """Checked rows of positive weight.

    Attributes
    ----------
    table : array-like, shape (n, D)
        Amounts as they were given.
    weight : ndarray, shape (n,), optional
    confounders : ndarray, shape (n, q), optional
    groups : Groups, optional
    """

    table: Any
    weight: Array | None
    confounders: Array | None
    groups: Groups | None


def check_rows(X: Any, confounders: Any, sample_weight: Any, groups: Any, zeros: bool) -> CompositionRows:
    """Check what belongs to the rows, and leave out rows of weight zero.

    Parameters
    ----------
    X : array-like, shape (n, D)
        Amounts.
    confounders, sample_weight, groups : array-like or None
        As in ``fit``.
    zeros : bool
        Whether there is a rule for zeros.

    Raises
    ------
    DegreesOfFreedomError
        Fewer than 3 + q rows of positive weight.
    ValueError
        Bad amounts; lengths, order or values of the other arguments.
    """
    for name, other in (("confounders", confounders), ("sample_weight", sample_weight), ("groups", groups)):
        check_same_index(X, other, ("X", name))
    refuse_repeated_names(X)
    n = len(check_composition(X, zeros="allow" if zeros else "refuse", min_parts=3)[0])
    weight = check_sample_weight(sample_weight, n, like="X")
    clusters = check_groups(groups, n, like="X")
    controls, names = (
        (None, []) if confounders is None else check_matrix(confounders, "confounders", n_rows=n, like="X")
    )
    if weight is not None and not weight.all():
        # A row of weight zero is a row that is not there: it must not count as a cluster or be resampled.
        kept = np.flatnonzero(weight)
        X, weight, n = _safe_indexing(X, kept), weight[kept], len(kept)
        clusters = None if clusters is None else check_groups(clusters.labels[clusters.codes[kept]], n)
        controls = None if controls is None else controls[kept]
    q = 0 if controls is None else controls.shape[1]
    if n - q < 3:
        raise DegreesOfFreedomError(
            f"X has {n} sample(s) (rows of positive weight): a minimum of 3 is required"
            f"{f', and {3 + q} with {q} confounders' if q else ''}."
        )
    if controls is not None:
        _check_confounders(controls, names)
    if clusters is not None and clusters.n_groups < 2:
        raise ValueError("groups has 1 cluster (of positive weight): clustered inference needs at least two.")
    return CompositionRows(X, weight, controls, clusters)


def refuse_repeated_names(X: Any) -> None:
    """Two columns of one name could not be told apart in tables, graphs and queries."""
    seen: set[str] = set()
    repeated = []
    for column in getattr(X, "columns", ()):
        if str(column) in seen:
            repeated.append(str(column))
        seen.add(str(column))
    if repeated:
        raise ValueError(f"X has several columns of the same name, {repeated[:5]}: rename them, or add the parts up.")


def _check_confounders(matrix: Array, names: list[str]) -> None:
    """Refuse constant and collinear confounders."""
    centred = matrix - matrix.mean(axis=0)
    size = np.linalg.norm(centred, axis=0)
    constant = size <= 1e-12 * np.maximum(np.abs(matrix).max(axis=0), 1e-300)
    if constant.any():
        raise ValueError(f"confounders column {names[int(np.argmax(constant))]!r} is constant: drop it.")
    if np.linalg.matrix_rank(centred / size) < matrix.shape[1]:
        raise ValueError(f"confounders are collinear: {matrix.shape[1]} columns {names[:8]} of lower rank; drop some.")
