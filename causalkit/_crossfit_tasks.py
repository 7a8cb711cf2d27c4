"""One task of cross-fitting: check a nuisance, fit it on some rows, predict others."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from joblib import parallel_config
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from causalkit.seeds import task_seed
from causalkit.threads import SingleThreadedBlas, boosting_threads
from causalkit.validation import check_choice, check_sample_weight

Array = NDArray[Any]

METHODS = ("predict", "predict_proba")


@dataclass(frozen=True, eq=False)
class Nuisance:
    """One nuisance function, :math:`E[y | X]` or :math:`P(y = level | X)`, and how it is learnt.

    Parameters
    ----------
    name : str
        Key of its predictions; also names it in error messages and seeds its tasks.
    estimator : estimator
        Unfitted model with ``fit`` and ``method``; it is cloned for every task.
    y : array-like, shape (n,) or (n, k)
        What is predicted. Several columns are fitted together by one model.
    method : {"predict", "predict_proba"}, default="predict"
        With "predict_proba" one column per level of the whole ``y`` in sorted order.
    sample_weight : array-like, shape (n,), optional
        Non-negative weights, used in fitting only.
    train_mask : array-like of bool, shape (n,), optional
        Rows that may be trained on, such as one arm. Predictions are made for every held-out row.
    X : array-like or frame, shape (n, p), optional
        Features of this nuisance, instead of those given to :meth:`CrossFitter.predict`.
    """

    name: str
    estimator: Any
    y: Any
    method: str = "predict"
    sample_weight: Any = None
    train_mask: Any = None
    X: Any = None


@dataclass(frozen=True, eq=False)
class Task:
    """A checked nuisance: plain arrays only, ready to be sent to a worker."""

    name: str
    estimator: Any
    X: Any
    y: Array
    method: str
    weight: Array | None
    mask: NDArray[np.bool_] | None
    levels: Array | None


class NamedFailure:
    """Say which nuisance, repeat and fold an error of a user's model comes from.

    A ValueError stays one; every other error becomes a RuntimeError. Interrupts pass untouched.
    """

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None or not issubclass(kind, Exception):
            return
        named = ValueError if issubclass(kind, ValueError) else RuntimeError
        raise named(f"{self.place} failed with {kind.__name__}: {error}") from error


def check_nuisances(nuisances: Sequence[Nuisance], X: Any) -> list[Task]:
    if len(nuisances) == 0:
        raise ValueError("nuisances is empty: expected at least one Nuisance.")
    names = [nuisance.name for nuisance in nuisances]
    if len(set(names)) < len(names):
        raise ValueError(f"nuisances must have distinct names; got {names}.")
    return [_check_nuisance(nuisance, X, len(nuisances[0].y)) for nuisance in nuisances]


def _check_nuisance(nuisance: Nuisance, X: Any, n_rows: int) -> Task:
    place = f"nuisance {nuisance.name!r}"
    check_choice(nuisance.method, "method", METHODS)
    features = X if nuisance.X is None else nuisance.X
    if features is None:
        raise ValueError(f"{place} has no features: pass X to predict or to the Nuisance.")
    y = np.asarray(nuisance.y)
    for what, size in (("y", len(y)), ("X", _num_samples(features))):
        if size != n_rows:
            raise ValueError(f"{place}: {what} has {size} rows, but the first y has {n_rows}; pass the same rows.")
    mask = None if nuisance.train_mask is None else np.asarray(nuisance.train_mask)
    if mask is not None and (mask.dtype != bool or mask.shape != (n_rows,)):
        raise ValueError(
            f"{place}: train_mask must be boolean of shape ({n_rows},), got {mask.dtype} of shape {mask.shape}."
        )
    probabilities = nuisance.method == "predict_proba"
    if y.ndim not in ((1,) if probabilities else (1, 2)):
        raise ValueError(f"{place}: y has shape {y.shape}, which {nuisance.method} does not take; pass one column.")
    if not probabilities and y.dtype.kind not in "biuf":
        raise ValueError(f"{place}: y must be numeric for predict, got {y.dtype}; use method='predict_proba'.")
    used = y if mask is None else y[mask]
    if used.dtype.kind == "f" and not np.isfinite(used).all():
        raise ValueError(f"{place}: y contains NaN or infinity in rows to train on; drop or impute them.")
    if isinstance(features, np.ndarray):
        features = np.ascontiguousarray(features)
    return Task(
        nuisance.name,
        nuisance.estimator,
        features,
        y,
        nuisance.method,
        check_sample_weight(nuisance.sample_weight, n_rows),
        mask,
        np.unique(y) if probabilities else None,
    )


def _training_rows(task: Task, train: NDArray[np.intp]) -> NDArray[np.intp]:
    return train if task.mask is None else train[task.mask[train]]


def check_training_rows(task: Task, repeat: int, fold: int, train: NDArray[np.intp]) -> None:
    rows = _training_rows(task, train)
    place = f"nuisance {task.name!r} in repeat {repeat}, fold {fold}"
    if len(rows) == 0:
        raise ValueError(f"{place} has no rows to train on: use fewer folds or a wider train_mask.")
    if task.levels is None:
        return
    missing = np.setdiff1d(task.levels, task.y[rows])
    if len(missing):
        raise ValueError(
            f"{place}: level {missing[0]!r} of y is absent from the training rows, so its probability cannot be "
            "learnt. Use fewer folds, pass stratify, or merge rare levels."
        )


def fit_predict(
    task: Task, repeat: int, fold: int, train: NDArray[np.intp], test: NDArray[np.intp], root: int
) -> NDArray[np.float64]:
    place = f"nuisance {task.name!r} ({type(task.estimator).__name__}) in repeat {repeat}, fold {fold}"
    rows = _training_rows(task, train)
    # A model without an n_jobs of its own stays in its task: on a cluster it would otherwise fan out once more, and
    # sums over workers in the order of their arrival differ in the last bit.
    one_job = parallel_config(backend="threading", n_jobs=1)
    with SingleThreadedBlas(), boosting_threads(task.estimator, len(rows)), NamedFailure(place), one_job:
        model = seeded_clone(task.estimator, task_seed(root, repeat, fold, task.name))
        weight = {} if task.weight is None else weight_argument(model, task.weight[rows])
        # One column of outcomes is fitted as a vector, which every model takes without a warning.
        y = task.y.reshape(len(task.y)) if task.y.size == len(task.y) else task.y
        model.fit(_safe_indexing(task.X, rows), y[rows], **weight)
        output = np.asarray(getattr(model, task.method)(_safe_indexing(task.X, test)), dtype=np.float64)
        if task.levels is not None:
            output = order_columns(output, model, task.levels)
        expected = (len(test), *(task.y.shape[1:] if task.levels is None else task.levels.shape))
        if output.size == len(test) and np.prod(expected) == len(test):
            output = output.reshape(expected)  # models differ in (n,) or (n, 1) for one column
        if output.shape != expected:
            raise ValueError(f"{task.method} returned shape {output.shape}, expected {expected}")
        if not np.isfinite(output).all():
            raise ValueError(f"{task.method} returned NaN or infinity")
    return output


def order_columns(output: Array, model: Any, levels: Array) -> Array:
    classes = getattr(model, "classes_", None)
    if classes is None:
        return output
    classes = np.asarray(classes)
    order = np.argsort(classes)
    if not np.array_equal(classes[order], levels):
        raise ValueError(f"the model knows the levels {list(classes)}, expected {list(levels)}")
    return output[:, order]


def seeded_clone(estimator: Any, seed: int) -> Any:
    """Clone with a seed in every ``random_state`` that is not an integer of the user's own."""
    model = clone(estimator)
    rng = np.random.default_rng(seed)
    seeds = {}
    for name, value in sorted(model.get_params(deep=True).items(), key=lambda item: item[0]):
        if name == "random_state" or name.endswith("__random_state"):
            drawn = int(rng.integers(2**31 - 1))
            if not isinstance(value, int | np.integer):
                seeds[name] = drawn
    if seeds:
        model.set_params(**seeds)
    return model  # not what set_params returns: that of FrozenEstimator returns nothing


def weight_argument(model: Any, weight: Array) -> dict[str, Array]:
    if isinstance(model, Pipeline) and not get_config()["enable_metadata_routing"]:
        name, final = model.steps[-1]
        return {f"{name}__{key}": value for key, value in weight_argument(final, weight).items()}
    parameters = inspect.signature(model.fit).parameters
    accepts_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    if "sample_weight" not in parameters and not accepts_any:
        raise ValueError("its fit takes no sample_weight; choose a model that does or drop the weights")
    return {"sample_weight": weight}
