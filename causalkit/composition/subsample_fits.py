"""The many fits of stability selection: one task per subsample and penalty, with what is held across them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.parallel import Parallel, delayed

from causalkit.composition.fitting import resolve_shrinkage
from causalkit.threads import SingleThreadedBlas

__all__ = ["Plan", "held_shrinkage", "penalty_name", "run_tasks"]

Array = NDArray[np.float64]
Task = tuple[int, int]

_MAX_QVALUE = 0.05


@dataclass(frozen=True, eq=False)
class Plan:
    """What every task needs: the model, the data and the rows of each subsample."""

    model: Any
    X: Any
    rows: list[NDArray[np.intp]]
    key: str | None
    alphas: Array | None
    n_jobs: int | None
    verbose: int


def _last_step(model: Any) -> Any:
    return model.steps[-1][1] if isinstance(model, Pipeline) else model


def penalty_name(estimator: Any) -> str | None:
    """Name of the penalty among the parameters, or None where there is none."""
    if "alpha" not in _last_step(estimator).get_params(deep=False):
        return None
    return f"{estimator.steps[-1][0]}__alpha" if isinstance(estimator, Pipeline) else "alpha"


class _HeldShrinkage(BaseEstimator):
    """Partial correlations with an intensity held for a method that takes none as a parameter."""

    def __init__(self, estimator: Any, method: str, intensity: float) -> None:
        self.estimator = estimator
        self.method = method
        self.intensity = intensity

    def fit(self, X: Any, y: Any = None) -> Any:
        """Fit the network with the pair that was given."""
        model = clone(self.estimator)
        # The public parameter means "basis" when it is a number, so the resolved pair is put in its place.
        model._method = lambda *_: (self.method, self.intensity)
        self.network_ = model.fit(X)
        return self

    @property
    def qvalues_(self) -> Array:
        """q-values of the network, shape (D, D)."""
        return np.asarray(self.network_.qvalues_)


def held_shrinkage(estimator: Any, X: Any, n_rows: int, n_parts: int) -> Any:
    """Unfitted estimator that keeps on every subsample the shrinkage method and intensity of all rows.

    Re-estimated, the intensity would move with the subsample, and the networks would not be comparable.
    """
    final = _last_step(estimator)
    given = final.get_params(deep=False).get("shrinkage")
    if not isinstance(given, str):  # unshrunk, an intensity of the user's own, or another kind of estimator
        return clone(estimator)
    method, _ = resolve_shrinkage(given, float(n_rows), n_parts, 0)
    robust = final.get_params(deep=False).get("robust") is not None
    held: Any
    if method == "none" or robust:
        held = clone(final).set_params(shrinkage=None)
    else:
        whole = clone(estimator)
        _last_step(whole).set_params(test=None)  # only the intensity is wanted here
        intensity = float(_last_step(whole.fit(X)).shrinkage_)
        if method == "basis":
            held = clone(final).set_params(shrinkage=intensity)
        else:
            held = _HeldShrinkage(clone(final), method, intensity)
    if not isinstance(estimator, Pipeline):
        return held
    return clone(estimator).set_params(**{estimator.steps[-1][0]: held})


def run_tasks(plan: Plan, tasks: list[Task], counts: Array, n_fits: NDArray[np.intp]) -> None:
    """Fit the tasks and add their edges to the counts."""
    for done, ((_, position), edges) in enumerate(zip(tasks, _stream(plan, tasks), strict=True), start=1):
        counts[position] += edges
        n_fits[position] += 1
        if plan.verbose:
            _show_progress(done, len(tasks))


def _stream(plan: Plan, tasks: list[Task]) -> Iterable[NDArray[np.bool_]]:
    def calls() -> Iterator[Any]:
        for b, position in tasks:
            alpha = None if plan.alphas is None else float(plan.alphas[position])
            yield delayed(_fit_edges)(plan.model, plan.X, plan.rows[b], b, plan.key, alpha)

    # The generator form keeps one result at a time; some backends offer lists only.
    try:
        parallel = Parallel(n_jobs=plan.n_jobs, return_as="generator")
    except ValueError:
        parallel = Parallel(n_jobs=plan.n_jobs)
    return parallel(calls())


def _fit_edges(
    model: Any, X: Any, rows: NDArray[np.intp], number: int, key: str | None, alpha: float | None
) -> NDArray[np.bool_]:
    """Edges above the diagonal of the model fitted to one subsample."""
    fitted = clone(model) if key is None else clone(model).set_params(**{key: alpha})
    with SingleThreadedBlas():
        try:
            final = _last_step(fitted.fit(_safe_indexing(X, rows)))
        except ValueError as error:
            setting = "" if alpha is None else f" with alpha={alpha:g}"
            error.add_note(f"while fitting subsample {number} of {len(rows)} rows{setting}; see subsample_size")
            raise
        matrix = np.asarray(final.qvalues_) <= _MAX_QVALUE if key is None else final.partial_correlation_ != 0
    return np.asarray(matrix[np.triu_indices(len(matrix), 1)])


def _show_progress(done: int, total: int) -> None:
    filled = 30 * done // total
    end = "\n" if done == total else ""
    sys.stderr.write(f"\rsubsamples [{'#' * filled}{'.' * (30 - filled)}] {done}/{total}{end}")
    sys.stderr.flush()
