"""Out-of-fold predictions of any number of nuisance models from one flat list of tasks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, check_cv
from sklearn.utils.parallel import Parallel, delayed

from causalkit._crossfit_tasks import Nuisance, check_nuisances, check_training_rows, fit_predict
from causalkit.documented import DocumentedEstimator
from causalkit.seeds import root_seed, task_seed
from causalkit.validation import check_groups, check_integer

__all__ = ["CrossFitResult", "CrossFitter", "Nuisance", "run_tasks"]

Array = NDArray[Any]
Split = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True, eq=False)
class CrossFitResult:
    """Out-of-fold predictions.

    Attributes
    ----------
    predictions : dict of str to ndarray, shape (n_repeats, n) or (n_repeats, n, k)
        Predictions by nuisance name; three dimensions where y had two or probabilities were asked for.
    folds : ndarray of int, shape (n_repeats, n)
        Fold that each row was held out in.
    levels : dict of str to ndarray, shape (k,)
        Levels that the columns of probabilities belong to.
    """

    predictions: dict[str, NDArray[np.float64]]
    folds: NDArray[np.intp]
    levels: dict[str, Array] = field(default_factory=dict)


class CrossFitter(DocumentedEstimator):
    r"""Out-of-fold predictions :math:`\hat f^{(-k(i))}(X_i)` of nuisance models.

    The rows are split once for all nuisances. Every (repeat, fold, nuisance) is one task of a single
    :class:`joblib.Parallel`, so ``joblib.parallel_config`` chooses threads, processes, Dask or Ray.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, test), default=5
        An int means GroupKFold with groups, StratifiedKFold with ``stratify``, both of them combined
        with both, else KFold, shuffled (GroupKFold only with repeats).
    n_repeats : int, default=1
        Number of independent splits.
    n_jobs : int, optional
        Workers, as in joblib.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the splits and the models. Each task draws from its own stream, keyed by repeat, fold
        and nuisance name: results are bit-identical for every ``n_jobs`` and backend. BLAS is held at
        one thread within a task for the same reason. A model's own integer ``random_state`` is kept.
    verbose : int, default=0
        1 shows a progress bar on standard error.

    Notes
    -----
    Nothing is stored on the object, so that an interrupt or an error leaves it as it was.

    References
    ----------
    Chernozhukov et al. (2018), Double/debiased machine learning for treatment and structural
    parameters, The Econometrics Journal 21(1), definition 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from causalkit.crossfit import CrossFitter, Nuisance
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 2))
    >>> y = X @ [1.0, -1.0]
    >>> result = CrossFitter(cv=5, random_state=0).predict([Nuisance("outcome", LinearRegression(), y)], X)
    >>> result.predictions["outcome"].shape
    (1, 100)
    >>> bool(np.allclose(result.predictions["outcome"][0], y))
    True
    """

    def __init__(
        self,
        *,
        cv: Any = 5,
        n_repeats: int = 1,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.cv = cv
        self.n_repeats = n_repeats
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def predict(
        self, nuisances: Sequence[Nuisance], X: Any = None, *, groups: Any = None, stratify: Any = None
    ) -> CrossFitResult:
        """Predict every row by models that were trained without its fold.

        Parameters
        ----------
        nuisances : sequence of Nuisance
            The models, with distinct names.
        X : array-like or frame, shape (n, p), optional
            Features of every nuisance that does not bring its own.
        groups : array-like, shape (n,), optional
            Clusters that are never divided between training and held-out rows by an integer ``cv``.
        stratify : array-like, shape (n,), optional
            Labels that an integer ``cv`` keeps balanced over folds, such as the treatment.

        Returns
        -------
        CrossFitResult

        Raises
        ------
        ValueError
            If lengths differ, folds are no partition of the rows, a training fold lacks a level or has
            no rows, or a model fails; the message names the nuisance, the repeat and the fold.
        """
        tasks = check_nuisances(nuisances, X)
        n_rows = len(tasks[0].y)
        root = root_seed(self.random_state)
        splits, folds = self._split(n_rows, groups, stratify, root)
        jobs = [
            (task, repeat, fold, *split)
            for repeat, repeat_splits in enumerate(splits)
            for fold, split in enumerate(repeat_splits)
            for task in tasks
        ]
        for task, repeat, fold, train, _ in jobs:
            check_training_rows(task, repeat, fold, train)
        outputs = run_tasks(
            [delayed(fit_predict)(*job, root) for job in jobs], n_jobs=self.n_jobs, verbose=self.verbose
        )
        predictions: dict[str, NDArray[np.float64]] = {}
        for (task, repeat, _, _, test), output in zip(jobs, outputs, strict=True):
            if task.name not in predictions:
                predictions[task.name] = np.empty((len(splits), n_rows, *output.shape[1:]))
            predictions[task.name][repeat, test] = output
        return CrossFitResult(predictions, folds, {t.name: t.levels for t in tasks if t.levels is not None})

    def _split(self, n_rows: int, groups: Any, stratify: Any, root: int) -> tuple[list[list[Split]], NDArray[np.intp]]:
        n_repeats = check_integer(self.n_repeats, "n_repeats", low=1)
        coded = check_groups(groups, n_rows)
        labels = None if coded is None else coded.codes
        if stratify is not None:
            stratify = np.asarray(stratify)
            if stratify.shape != (n_rows,):
                raise ValueError(f"stratify must hold one label per row: expected ({n_rows},), got {stratify.shape}.")
        splits = []
        folds = np.empty((n_repeats, n_rows), dtype=np.intp)
        for repeat in range(n_repeats):
            splitter = _splitter(self.cv, n_repeats, n_rows, coded is not None, stratify is not None)
            if getattr(splitter, "shuffle", False) and hasattr(splitter, "random_state"):
                own = splitter.random_state
                if n_repeats > 1 or own is None:  # else the user fixed the one split
                    splitter.random_state = task_seed(root if own is None else root_seed(own), repeat, 0, "split")
            found = list(splitter.split(np.zeros((n_rows, 1)), stratify, labels))
            splits.append([(np.asarray(train), np.asarray(test)) for train, test in found])
            folds[repeat] = _fold_of_rows(splits[-1], n_rows, repeat)
        return splits, folds


def run_tasks(
    calls: list[Any], *, n_jobs: int | None = None, verbose: int = 0, label: str = "cross-fitting"
) -> list[Any]:
    """Run joblib tasks in the order given; ``verbose=1`` shows a progress bar on standard error."""
    if not verbose:
        return list(Parallel(n_jobs=n_jobs)(calls))
    outputs = []
    # The generator form reports results while others still run; some backends offer lists only.
    try:
        stream = Parallel(n_jobs=n_jobs, return_as="generator")(calls)
    except ValueError:
        stream = Parallel(n_jobs=n_jobs)(calls)
    for output in stream:
        outputs.append(output)
        _show_progress(len(outputs), len(calls), label)
    return outputs


def _show_progress(done: int, total: int, label: str) -> None:
    filled = 30 * done // total
    end = "\n" if done == total else ""
    sys.stderr.write(f"\r{label} [{'#' * filled}{'.' * (30 - filled)}] {done}/{total}{end}")
    sys.stderr.flush()


def _splitter(cv: Any, n_repeats: int, n_rows: int, grouped: bool, stratified: bool) -> Any:
    if cv is None or isinstance(cv, int | np.integer):
        n_splits = check_integer(5 if cv is None else cv, "cv", low=2, high=n_rows)
        if grouped and stratified:
            return StratifiedGroupKFold(n_splits, shuffle=True)
        if grouped:
            return GroupKFold(n_splits, shuffle=n_repeats > 1)
        return StratifiedKFold(n_splits, shuffle=True) if stratified else KFold(n_splits, shuffle=True)
    splitter = clone(cv, safe=False) if hasattr(cv, "split") else check_cv(cv)
    if n_repeats > 1 and not getattr(splitter, "shuffle", False):
        raise ValueError(
            f"n_repeats={n_repeats} needs splits that differ: cv={cv!r} always gives the same. "
            "Pass an integer or a shuffled splitter, or n_repeats=1."
        )
    return splitter


def _fold_of_rows(splits: list[Split], n_rows: int, repeat: int) -> NDArray[np.intp]:
    fold_of = np.full(n_rows, -1, dtype=np.intp)
    held_out = np.zeros(n_rows, dtype=np.intp)
    for fold, (train, test) in enumerate(splits):
        for rows in (train, test):
            if rows.dtype.kind not in "iu" or (len(rows) and (rows.min() < 0 or rows.max() >= n_rows)):
                raise ValueError(f"cv gave rows outside 0..{n_rows - 1} in repeat {repeat}, fold {fold}.")
        shared = np.intersect1d(train, test)
        if len(shared):
            raise ValueError(
                f"cv puts row {shared[0]} into both the training and the held-out part of repeat {repeat}, "
                f"fold {fold}: predictions must come from models that have not seen the row."
            )
        np.add.at(held_out, test, 1)
        fold_of[test] = fold
    if (held_out != 1).any():
        row = int(np.argmax(held_out != 1))
        raise ValueError(
            f"cv must hold out every row exactly once: row {row} is held out {held_out[row]} times in repeat {repeat}. "
            "Use a partition such as KFold; for repeated splits set n_repeats."
        )
    return fold_of
