"""Two samples of one population, with and without labels: their rows, checks and clusters."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import CalibrationWarning
from causalkit.validation import (
    Groups,
    check_groups,
    check_same_index,
    check_sample_weight,
    check_treatment,
    check_vector,
)

__all__ = ["Side", "check_arms", "check_sides"]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

COMFORTABLE_LABELS = 20
FEW_CLUSTERS = 10


@dataclass(frozen=True)
class Side:
    """One of the two samples.

    Attributes
    ----------
    predictions : ndarray, shape (n,)
        Predictions f.
    y : ndarray, shape (n,), optional
        Labels; None on the unlabelled side.
    X : ndarray, shape (n, p), optional
        Regressors, for least squares.
    weight : ndarray, shape (n,), optional
        Probability weights of any scale.
    arm : ndarray of int, shape (n,), optional
        Treatment level of each row.
    clustered : bool, default=False
        Whether the rows of this side came with groups.
    """

    predictions: Array
    y: Array | None = None
    X: Array | None = None
    weight: Array | None = None
    arm: Codes | None = None
    clustered: bool = False

    @property
    def n(self) -> int:
        """Rows as stored."""
        return len(self.predictions)

    def take(self, rows: Codes) -> Side:
        """The side restricted to some rows, with repetition where positions repeat."""
        pick = {
            name: values[rows]
            for name in ("predictions", "y", "X", "weight", "arm")
            if (values := getattr(self, name)) is not None
        }
        return replace(self, **pick)


def check_arms(treatment: Any, treatment_unlabelled: Any, n: int, n_unlabelled: int) -> tuple[Codes, Codes, list[Any]]:
    """Codes of both samples in one numbering, and the levels."""
    _refuse_lone_arm(treatment, treatment_unlabelled)
    coded = check_treatment(treatment, n, like="y")
    coded_u = check_treatment(
        treatment_unlabelled, n_unlabelled, name="treatment_unlabelled", like="predictions_unlabelled"
    )
    here, there = coded.levels.tolist(), coded_u.levels.tolist()
    for level in there:
        if level not in here:
            raise ValueError(
                f"treatment has no labelled row in arm {level!r}, which treatment_unlabelled holds: expected labels in "
                "every arm. Label a random part of it, or drop the arm."
            )
    for level in here:
        if level not in there:
            raise ValueError(
                f"treatment_unlabelled has no row in arm {level!r}, which treatment holds: expected unlabelled rows in "
                "every arm. Drop the arm, or compare the labels directly."
            )
    return coded.codes, coded_u.codes, here


def _refuse_lone_arm(treatment: Any, treatment_unlabelled: Any) -> None:
    """Name the arm without rows where one side has a single level and the other has more."""
    import pandas as pd

    sides = []
    for values in (treatment, treatment_unlabelled):
        array = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values).reshape(-1)
        sides.append(pd.unique(array[~pd.isna(array)]).tolist())
    for own, other, name, word in (
        (*sides, "treatment", "labelled"),
        (*sides[::-1], "treatment_unlabelled", "unlabelled"),
    ):
        missing = [level for level in other if level not in own]
        if len(own) == 1 and own[0] in other and missing:
            raise ValueError(f"{name} has no {word} row in arm {missing[0]!r}: expected {word} rows in every arm.")


def check_sides(
    y: Any,
    predictions: Any,
    predictions_unlabelled: Any,
    weights: tuple[Any, Any],
    groups: tuple[Any, Any],
    *,
    designs: tuple[Array, Array] | None = None,
    arms: tuple[Codes, Codes, list[Any]] | None = None,
) -> tuple[Side, Side, Codes | None]:
    """Check both samples and return them with the cluster of each stacked row."""
    check_same_index(y, predictions, ("y", "predictions"))
    like, like_u = "y", "predictions_unlabelled"
    label = check_vector(y, "y", n_rows=None if designs is None else len(designs[0]), like="X")
    f = check_vector(predictions, "predictions", n_rows=len(label), like=like)
    n_unlabelled = None if designs is None else len(designs[1])
    f_u = check_vector(predictions_unlabelled, "predictions_unlabelled", n_rows=n_unlabelled, like="X_unlabelled")
    weight = check_sample_weight(weights[0], len(f), like=like)
    weight_u = check_sample_weight(weights[1], len(f_u), name="sample_weight_unlabelled", like=like_u)
    cluster = check_groups(groups[0], len(f), like=like)
    cluster_u = check_groups(groups[1], len(f_u), name="groups_unlabelled", like=like_u)
    X, X_u = designs or (None, None)
    arm, arm_u, levels = arms or (None, None, [None])
    labelled = Side(f, label, X, weight, arm, cluster is not None)
    unlabelled = Side(f_u, None, X_u, weight_u, arm_u, cluster_u is not None)
    _check_sizes(labelled, cluster, levels, "y", "labelled")
    _check_sizes(unlabelled, cluster_u, levels, "predictions_unlabelled", "unlabelled")
    return labelled, unlabelled, _stacked_codes(cluster, cluster_u, len(f), len(f_u))


def _check_sizes(side: Side, groups: Groups | None, levels: list[Any], name: str, word: str) -> None:
    """Refuse fewer than two rows or clusters in an arm; warn about few labels and few clusters."""
    group_name = "groups" if side.y is not None else "groups_unlabelled"
    for code, level in enumerate(levels):
        used = np.ones(side.n, dtype=bool) if side.arm is None else side.arm == code
        if side.weight is not None:
            used = used & (side.weight > 0)
        rows, where = int(used.sum()), "" if side.arm is None else f" in arm {level!r}"
        if rows < 2:
            raise ValueError(
                f"{name} has {rows} {word} rows of positive weight{where}: expected at least 2, and "
                f"{COMFORTABLE_LABELS} or more labels. Label more rows{where}."
            )
        if side.y is not None and rows < COMFORTABLE_LABELS:
            warnings.warn(
                f"{name} has {rows} {word} rows{where}, fewer than {COMFORTABLE_LABELS}: the normal interval is "
                "unreliable; label more rows.",
                CalibrationWarning,
                stacklevel=4,
            )
        clusters = 2 if groups is None else len(np.unique(groups.codes[used]))
        if clusters < 2:
            raise ValueError(
                f"{group_name} has {clusters} cluster{where}: a clustered covariance needs at least two. "
                f"Pass finer groups, or none."
            )
    if groups is not None and groups.n_groups < FEW_CLUSTERS:
        warnings.warn(
            f"{group_name} has {groups.n_groups} clusters, fewer than {FEW_CLUSTERS}: clustered standard errors are "
            f"unreliable; intervals use t with G−1 degrees of freedom.",
            CalibrationWarning,
            stacklevel=4,
        )


def _stacked_codes(groups: Groups | None, groups_unlabelled: Groups | None, n: int, n_unlabelled: int) -> Codes | None:
    """Cluster of each stacked row; equal labels are one cluster, rows without groups are their own.

    Linking equal labels is right where a cluster has rows in both samples, and harmless where two samples
    merely use the same names: the products of unrelated sums have mean zero.
    """
    if groups is None and groups_unlabelled is None:
        return None
    import pandas as pd

    if groups is not None and groups_unlabelled is not None:
        labels = np.concatenate([groups.labels.astype(object), groups_unlabelled.labels.astype(object)])
        common = pd.factorize(labels)[0].astype(np.intp)
        return np.concatenate(
            [common[: groups.n_groups][groups.codes], common[groups.n_groups :][groups_unlabelled.codes]]
        )
    if groups is not None:
        return np.concatenate([groups.codes, groups.n_groups + np.arange(n_unlabelled)])
    if groups_unlabelled is not None:
        return np.concatenate([groups_unlabelled.n_groups + np.arange(n), groups_unlabelled.codes])
    return None
