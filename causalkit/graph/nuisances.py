"""Cross-fitted outcome and treatment models: the pool, models of the user's own, or known predictions."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import parallel_config
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.utils.parallel import delayed

from causalkit._crossfit_tasks import NamedFailure, seeded_clone, weight_argument
from causalkit.crossfit import run_tasks
from causalkit.graph.neighbourhoods import NodeFeatures
from causalkit.graph.pool import (
    LARGE,
    PoolChoice,
    PoolDecision,
    PoolOptions,
    PoolTarget,
    choose_from_pool,
    fit_pool,
)
from causalkit.seeds import task_seed
from causalkit.threads import SingleThreadedBlas, boosting_threads

if TYPE_CHECKING:
    from causalkit.graph.splits import GraphSplits

__all__ = [
    "FittedNuisance",
    "GraphNuisance",
    "NuisanceFits",
    "crossfit_nuisances",
    "decide",
    "fit_fold",
    "has_torch",
    "known_predictions",
    "takes_graph",
]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


def has_torch() -> bool:
    """Whether networks can take part."""
    from importlib.util import find_spec

    return find_spec("torch") is not None


@dataclass(frozen=True, eq=False)
class GraphNuisance:
    """One nuisance function and how it is learnt.

    Attributes
    ----------
    name : str
        "outcome" or "treatment": key, seed and word in messages.
    target : PoolTarget
        What is learnt.
    model : estimator or None
        None is the pool; one whose ``fit`` takes ``graph`` gets covariates and graph, others get columns.
    options : PoolOptions
        Of the pool.
    features : str
        Set of columns for a model that does not take the graph.
    """

    name: str
    target: PoolTarget
    model: Any
    options: PoolOptions
    features: str


@dataclass(frozen=True, eq=False)
class FittedNuisance:
    """A model of one fold. ``predict`` gives (m, k): probabilities of k levels, or one column."""

    model: Any
    features: str | None
    n_levels: int

    def predict(self, data: NodeFeatures, rows: Any) -> Array:
        """Predictions of some rows of a table."""
        if isinstance(self.model, PoolChoice):
            return self.model.predict(data, rows)
        inputs, extra = _inputs(data, rows, self.features)
        if self.n_levels and is_classifier(self.model):
            found = np.asarray(self.model.predict_proba(inputs, **extra), dtype=np.float64)
        elif is_classifier(self.model):
            found = np.asarray(self.model.predict_proba(inputs, **extra), dtype=np.float64)[:, 1:]
        else:
            found = np.asarray(self.model.predict(inputs, **extra), dtype=np.float64).reshape(len(inputs), -1)
            if self.n_levels == 2 and found.shape[1] == 1:
                found = np.hstack([1 - found, found])
        return found


@dataclass(frozen=True, eq=False)
class NuisanceFits:
    """Out-of-fold predictions and what made them.

    Attributes
    ----------
    predictions : dict of str to ndarray, shape (r, n, k)
        By name.
    models : dict of str to list of list of FittedNuisance
        By name, repeat and fold.
    selection : list of dict
        Rows of the pool's tables, with repeat, fold and target.
    """

    predictions: dict[str, Array]
    models: dict[str, list[list[FittedNuisance]]]
    selection: list[dict[str, Any]] = field(default_factory=list)


def crossfit_nuisances(
    nuisances: list[GraphNuisance],
    data: NodeFeatures,
    splits: GraphSplits,
    *,
    seed: int,
    n_jobs: int | None,
    verbose: int,
) -> NuisanceFits:
    """Fit every nuisance on every training part, one joblib task per (repeat, fold, nuisance).

    From 10⁵ rows on the pool decides once per repeat, on a sample of all rows: the choice among its candidates, though
    no fit, has then seen held-out rows. Its boosted trees then take steps of at least .1, and half as many.
    """
    if splits.folds.shape[1] >= LARGE:
        nuisances = [replace(one, options=one.options.for_many_rows()) for one in nuisances]
    decisions = _decide_once(nuisances, data, splits, seed, n_jobs, verbose)
    jobs = [
        (nuisance, repeat, fold, train, test)
        for repeat, repeat_splits in enumerate(splits.splits)
        for fold, (train, test) in enumerate(repeat_splits)
        for nuisance in nuisances
    ]
    outputs = run_tasks(
        [
            delayed(fit_fold)(nuisance, data, train, test, repeat, fold, seed, decisions.get((nuisance.name, repeat)))
            for nuisance, repeat, fold, train, test in jobs
        ],
        n_jobs=n_jobs,
        verbose=verbose,
        label="nuisances",
    )
    shape = splits.folds.shape
    fits = NuisanceFits({}, {nuisance.name: [[] for _ in splits.splits] for nuisance in nuisances})
    for (nuisance, repeat, fold, _, test), (fitted, output) in zip(jobs, outputs, strict=True):
        if nuisance.name not in fits.predictions:
            fits.predictions[nuisance.name] = np.empty((*shape, output.shape[1]))
        fits.predictions[nuisance.name][repeat, test] = output
        fits.models[nuisance.name][repeat].append(fitted)
        if isinstance(fitted.model, PoolChoice) and (not decisions or len(fits.models[nuisance.name][repeat]) == 1):
            place = {"target": nuisance.name, "repeat": repeat, "fold": -1 if decisions else fold}
            fits.selection.extend(place | row for row in fitted.model.table)
    return fits


def _decide_once(
    nuisances: list[GraphNuisance],
    data: NodeFeatures,
    splits: GraphSplits,
    seed: int,
    n_jobs: int | None,
    verbose: int,
) -> dict[tuple[str, int], PoolDecision]:
    n = splits.folds.shape[1]
    pooled = [nuisance for nuisance in nuisances if nuisance.model is None] if n >= LARGE else []
    keys = [(nuisance, repeat) for repeat in range(len(splits.splits)) for nuisance in pooled]
    found = run_tasks(
        [delayed(decide)(nuisance, data, np.arange(n), task_seed(seed, r, 0, nuisance.name)) for nuisance, r in keys],
        n_jobs=n_jobs,
        verbose=verbose if keys else 0,
        label="candidates",
    )
    return {(nuisance.name, r): decision for (nuisance, r), decision in zip(keys, found, strict=True)}


def decide(nuisance: GraphNuisance, data: NodeFeatures, train: Rows, seed: int) -> PoolDecision:
    """What the pool would fit to some rows."""
    with SingleThreadedBlas(), parallel_config(backend="threading", n_jobs=1), warnings.catch_warnings():
        # A logistic regression that stops early is judged by its held-out loss like every other candidate.
        warnings.filterwarnings("ignore", message="lbfgs", category=ConvergenceWarning)
        return choose_from_pool(data, nuisance.target, train, nuisance.options, seed=seed)


def fit_fold(
    nuisance: GraphNuisance,
    data: NodeFeatures,
    train: Rows,
    test: Rows,
    repeat: int,
    fold: int,
    root: int,
    decision: PoolDecision | None,
) -> tuple[FittedNuisance, Array]:
    """Fit a nuisance to the training rows of a fold, and predict its others, shape (len(test), max(levels, 1))."""
    seed = task_seed(root, repeat, fold, nuisance.name)
    words = type(nuisance.model).__name__ if nuisance.model is not None else "pool"
    place = f"the {nuisance.name} model ({words}) in repeat {repeat}, fold {fold}"
    one_job = parallel_config(backend="threading", n_jobs=1)
    with SingleThreadedBlas(), boosting_threads(nuisance.model, len(train)), NamedFailure(place), one_job:
        if nuisance.model is None:
            decision = decide(nuisance, data, train, seed) if decision is None else decision
            choice = fit_pool(data, nuisance.target, train, nuisance.options, seed=seed, decision=decision)
            fitted = FittedNuisance(choice, None, nuisance.target.n_levels)
        else:
            fitted = _fit_given(nuisance, data, train, seed)
        output = fitted.predict(data, test)
        expected = (len(test), max(nuisance.target.n_levels, 1))
        if output.shape != expected:
            raise ValueError(f"it predicts shape {output.shape}, expected {expected}")
        if not np.isfinite(output).all():
            raise ValueError("it predicts NaN or infinity")
    return fitted, output


def _fit_given(nuisance: GraphNuisance, data: NodeFeatures, train: Rows, seed: int) -> FittedNuisance:
    model = seeded_clone(nuisance.model, seed)
    target = nuisance.target.rows(train)
    values = target.values.astype(np.intp) if target.n_levels else target.values
    weight = {} if target.weight is None else weight_argument(model, target.weight)
    features = None if takes_graph(model) else nuisance.features
    inputs, extra = _inputs(data, train, features)
    model.fit(inputs, values, **extra, **weight)
    classes = getattr(model, "classes_", None)
    if target.n_levels and classes is not None and not np.array_equal(classes, np.arange(target.n_levels)):
        raise ValueError(f"it knows the levels {list(classes)}, expected the codes 0..{target.n_levels - 1}")
    return FittedNuisance(model, features, target.n_levels)


def takes_graph(model: Any) -> bool:
    """Whether ``fit`` has an argument ``graph``; a frozen model is looked at itself."""
    inner = model.estimator if isinstance(model, FrozenEstimator) else model
    return "graph" in inspect.signature(inner.fit).parameters


def _inputs(data: NodeFeatures, rows: Any, features: str | None) -> tuple[Any, dict[str, Any]]:
    if features is None:
        return data.values[rows], {"graph": data.graph, "nodes": data.nodes[rows]}
    return data.sets.take(rows, features), {}


def known_predictions(values: Array, n_repeats: int) -> Array:
    """Predictions given by the user, the same in every repeat."""
    return np.broadcast_to(values, (n_repeats, *values.shape)).copy()
