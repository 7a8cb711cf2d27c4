"""Folds of a learner on a graph: repeated, buffered, and checked for leaks and missing levels."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import check_cv

from causalkit.exceptions import FoldError, LeakageWarning
from causalkit.graph.folds import GraphKFold
from causalkit.graph.warning_place import caller_level
from causalkit.seeds import task_seed
from causalkit.validation import check_choice, check_integer

if TYPE_CHECKING:
    import pandas as pd

    from causalkit.graph.inputs import CodedTreatment, NodeRows

__all__ = ["GraphSplits", "make_splits"]

Rows = NDArray[np.intp]
Split = tuple[Rows, Rows]


class GraphSplits:
    """Splits of every repeat.

    Attributes
    ----------
    splits : list of list of (train, test)
        By repeat and fold.
    folds : ndarray of int, shape (r, n)
        Fold that each row is held out in.
    report : DataFrame
        One row per repeat and fold: sizes, share of training rows that a buffer left, share of edges cut.
    """

    def __init__(self, splits: list[list[Split]], folds: Rows, report: pd.DataFrame) -> None:
        self.splits, self.folds, self.report = splits, folds, report


class FoldsOfLearner(GraphKFold):
    """Folds for an integer ``cv``; messages name the parameters of the learner, which are all that the user set."""

    _count_name: ClassVar[str] = "cv"
    _buffer_remedy: ClassVar[str] = (
        "Lower buffer, or pass cv=GraphKFold(...) with fewer parts_per_fold, whose folds are regions of their own, or "
        "with a smaller min_train_share"
    )
    _parts_remedy: ClassVar[str] = 'lower cv, or pass cv=GraphKFold(..., method="random")'

    def _least_share(self) -> str:
        return f"a share of {self.min_train_share:g}"


def make_splits(rows: NodeRows, cv: Any, *, n_repeats: Any, buffer: Any, seed: int) -> GraphSplits:
    """Split the rows once per repeat.

    Parameters
    ----------
    rows : NodeRows
        What is split.
    cv : int, GraphKFold, splitter or iterable of (train, test)
        An integer is ``GraphKFold(cv)``, over groups where there are some.
    n_repeats : int
        Number of independent splits.
    buffer : int or "auto"
        Distance from the fold within which rows are not trained on, for an integer ``cv``; "auto" is 0, and 1 with
        an exposure.
    seed : int
        Key of the splits.

    Returns
    -------
    GraphSplits

    Raises
    ------
    FoldError
        Folds that overlap or do not cover the rows, too few training rows, a level absent from a training part.

    Warns
    -----
    LeakageWarning
        An explicit ``cv`` divides groups.
    """
    import pandas as pd

    repeats = check_integer(n_repeats, "n_repeats", low=1)
    if isinstance(buffer, str):
        check_choice(buffer, "buffer", ("auto",))
        steps = 0 if rows.exposure is None else 1
    else:
        steps = check_integer(buffer, "buffer", low=0)
    splits, reports = [], []
    folds = np.empty((repeats, rows.n_rows), dtype=np.intp)
    for repeat in range(repeats):
        found, report = _one_repeat(rows, cv, repeats, repeat, steps, seed)
        folds[repeat] = _fold_of_rows(found, rows.n_rows)
        _check_levels(rows.treatment, found)
        splits.append(found)
        reports.append(report.assign(repeat=repeat))
    return GraphSplits(splits, folds, pd.concat(reports, ignore_index=True))


def _one_repeat(
    rows: NodeRows, cv: Any, repeats: int, repeat: int, buffer: int, seed: int
) -> tuple[list[Split], pd.DataFrame]:
    groups = None if rows.groups is None else rows.groups.codes
    if cv is None or isinstance(cv, int | np.integer):
        n_splits = check_integer(5 if cv is None else cv, "cv", low=2)
        _check_rare(rows.treatment, n_splits)
        splitter = FoldsOfLearner(n_splits, buffer=buffer, random_state=task_seed(seed, repeat, 0, "split"))
    elif isinstance(cv, GraphKFold):
        splitter = clone(cv, safe=False)  # a splitter has no parameters to clone by: a copy
        if repeats > 1 or splitter.random_state is None:
            splitter.random_state = task_seed(seed, repeat, 0, "split")
    else:
        return _explicit(rows, cv, repeats, repeat, seed)
    found = list(splitter.split(rows.X, groups=groups, graph=rows.graph, nodes=rows.nodes))
    return found, splitter.report_


def _explicit(rows: NodeRows, cv: Any, repeats: int, repeat: int, seed: int) -> tuple[list[Split], pd.DataFrame]:
    import pandas as pd

    if isinstance(cv, str | bytes) or not (hasattr(cv, "split") or hasattr(cv, "__iter__")):
        raise ValueError(f"cv must be an integer, GraphKFold, a splitter or an iterable of (train, test); got {cv!r}.")
    splitter = clone(cv, safe=False) if hasattr(cv, "split") else check_cv(cv)
    if repeats > 1 and not getattr(splitter, "shuffle", False):
        raise ValueError(
            f"n_repeats={repeats} needs splits that differ: cv={cv!r} always gives the same. Pass an integer, "
            "GraphKFold or a shuffled splitter, or n_repeats=1."
        )
    shuffled = getattr(splitter, "shuffle", False) and hasattr(splitter, "random_state")
    if shuffled and (repeats > 1 or splitter.random_state is None):
        splitter.random_state = task_seed(seed, repeat, 0, "split")
    groups = None if rows.groups is None else rows.groups.codes
    labels = rows.treatment.values if rows.treatment.levels is not None else None
    found = [
        (np.asarray(train), np.asarray(test))
        for train, test in splitter.split(np.zeros((rows.n_rows, 1)), labels, groups)
    ]
    for train, test in found:
        for part in (train, test):
            if part.dtype.kind not in "iu" or len(part) == 0 or part.min() < 0 or part.max() >= rows.n_rows:
                raise FoldError(
                    f"cv gave a part that is empty or holds rows outside 0..{rows.n_rows - 1}: expected integer row "
                    "numbers of X in every training and held-out part."
                )
    divided = [
        rows.groups.labels[group]
        for train, test in found
        if rows.groups is not None
        for group in np.intersect1d(rows.groups.codes[train], rows.groups.codes[test])[:5]
    ]
    if divided:
        warnings.warn(
            f"cv divides groups between training and held-out rows (first: {', '.join(map(repr, divided[:5]))}): what "
            "a group has in common leaks into predictions for its own rows. Pass an integer cv, or a group splitter.",
            LeakageWarning,
            stacklevel=caller_level(),
        )
    table = [
        {"fold": k, "n_test": len(test), "n_train": len(train), "train_share": len(train) / (rows.n_rows - len(test))}
        for k, (train, test) in enumerate(found)
    ]
    return found, pd.DataFrame(table)


def _fold_of_rows(splits: list[Split], n_rows: int) -> Rows:
    fold_of = np.full(n_rows, -1, dtype=np.intp)
    held_out = np.zeros(n_rows, dtype=np.intp)
    for fold, (train, test) in enumerate(splits):
        shared = np.intersect1d(train, test)
        if len(shared):
            raise FoldError(
                f"cv puts {len(shared)} rows into both the training and the held-out part of fold {fold} (first: "
                f"{shared[:5].tolist()}): predictions must come from models that have not seen the row."
            )
        np.add.at(held_out, test, 1)
        fold_of[test] = fold
    wrong = np.flatnonzero(held_out != 1)
    if len(wrong):
        raise FoldError(
            f"cv must hold out every row exactly once: {len(wrong)} rows are held out another number of times (first: "
            f"{wrong[:5].tolist()}; row {wrong[0]}: {held_out[wrong[0]]} times). Use a partition such as GraphKFold."
        )
    return fold_of


def _check_rare(treatment: CodedTreatment, n_splits: int) -> None:
    if treatment.levels is None:
        return
    counts = np.bincount(treatment.values.astype(np.intp), minlength=treatment.n_levels)
    rare = int(np.argmin(counts))
    if counts[rare] < n_splits:
        listed = ", ".join(
            f"{level!r}: {count}" for level, count in zip(treatment.levels.tolist(), counts, strict=True)
        )
        raise ValueError(
            f"treatment level {treatment.levels.tolist()[rare]!r} has {counts[rare]} rows, fewer than the {n_splits} "
            f"folds ({listed}): merge it with another level, drop it, or lower cv."
        )


def _check_levels(treatment: CodedTreatment, splits: list[Split]) -> None:
    if treatment.levels is None:
        return
    for fold, (train, _) in enumerate(splits):
        counts = np.bincount(treatment.values[train].astype(np.intp), minlength=treatment.n_levels)
        if (counts == 0).any():
            absent = treatment.levels.tolist()[int(np.argmin(counts))]
            raise FoldError(
                f"fold {fold} leaves no training row with treatment level {absent!r} (counts: "
                f"{dict(zip(treatment.levels.tolist(), counts.tolist(), strict=True))}): use fewer or other folds, a "
                "smaller buffer, or merge levels."
            )
