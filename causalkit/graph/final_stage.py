"""The final stage: out-of-fold effects of every candidate, the guard for a constant, and R-stacking."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import parallel_config
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.parallel import delayed

from causalkit._crossfit_tasks import NamedFailure
from causalkit.crossfit import run_tasks
from causalkit.graph.final_models import Residuals, fit_effect_model, given_kind
from causalkit.graph.final_weights import compared, mixed_by_fold, weights_by_fold
from causalkit.graph.nuisances import takes_graph
from causalkit.graph.pool import MESSAGES, FeatureSets, encoder_label
from causalkit.graph.warning_place import caller_level
from causalkit.seeds import task_seed
from causalkit.threads import SingleThreadedBlas

if TYPE_CHECKING:
    from causalkit.graph.splits import GraphSplits

__all__ = ["FinalCandidate", "FinalStage", "final_candidates", "fit_final_stage"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

MOST_FOREST_ROWS = 50_000
LARGE = 100_000
_SELECTION_ROWS = 50_000
_LEAST_WEIGHT = 0.05  # of a candidate that is fitted again on all rows of a large table


@dataclass(frozen=True, eq=False)
class FinalCandidate:
    """A kind of effect model on a set of columns.

    Attributes
    ----------
    label : str
        Name in tables.
    kind : str or estimator
        What is fitted.
    features : str
        Set of columns; empty for a constant.
    """

    label: str
    kind: Any
    features: str


@dataclass(frozen=True)
class _Run:
    """How tasks run: key of the draws, where networks train and how many, workers, progress."""

    seed: int
    device: Any
    n_bags: int
    n_jobs: int | None
    verbose: int


@dataclass(frozen=True, eq=False)
class FinalStage:
    """Fitted candidates and their weights.

    Attributes
    ----------
    effect : ndarray, shape (n, k)
        Out-of-fold effects, averaged over repeats.
    honest_effect : ndarray, shape (n, k)
        The same with weights for each fold that come from the rows of the others. The weights of ``effect`` were
        chosen for the loss on these very rows: a test of ``effect`` on them finds what was selected, not what is there.
    candidates : list of FinalCandidate
        All that were compared.
    weights : ndarray, shape (C,)
        Weights of the stack.
    models : list of list of EffectModel
        Models of every candidate over repeats and folds; empty where the weight is 0.
    table : list of dict
        candidate, features, r_loss, std_error (of the difference to the constant), r_score, weight.
    """

    effect: Array
    honest_effect: Array
    candidates: list[FinalCandidate]
    weights: Array
    models: list[list[Any]]
    table: list[dict[str, Any]]

    def predict(self, features: FeatureSets) -> Array:
        """Mean over the models of every fold, shape (n, k)."""
        total: Any = 0.0
        for candidate, weight, models in zip(self.candidates, self.weights, self.models, strict=True):
            if not models:
                continue
            columns = candidate_columns(features, slice(None), candidate)
            total = total + weight * np.mean([model.predict(columns) for model in models], axis=0)
        return np.asarray(total)


def final_candidates(
    final_model: Any, sets: tuple[str, ...], *, n_rows: int, n_effects: int, neural: bool, encoder: Any = None
) -> list[FinalCandidate]:
    """Candidates that an option stands for, the constant first in the pool.

    ``encoder`` is a message-passing regressor that joins the pool, by pseudo-outcomes, where there is one effect.

    Raises
    ------
    ValueError
        An unknown name, or trees or a model of one effect with several effects.
    """
    names = ("constant", "linear", "forest", "boosting", "neural")
    trees = ("forest", "boosting")
    if not isinstance(final_model, str):
        if n_effects > 1 and given_kind(final_model) == "weights":
            raise ValueError(
                f"final_model: {type(final_model).__name__} learns one effect from fit(X, y, sample_weight), but the "
                f'treatment has {n_effects} beside the reference: use "constant", "linear", "neural", or a model with '
                "fit(X, T, y) for several treatments."
            )
        features = MESSAGES if takes_graph(final_model) else sets[-1]
        return [FinalCandidate(type(final_model).__name__, final_model, features)]
    if final_model not in ("auto", *names):
        raise ValueError(
            f"final_model must be one of 'auto', {', '.join(map(repr, names))} or an estimator; got {final_model!r}."
        )
    if final_model in trees and n_effects > 1:
        raise ValueError(
            f'final_model="{final_model}" learns one effect, but the treatment has {n_effects} beside the reference: '
            'use "constant", "linear" or "neural".'
        )
    if final_model != "auto":
        return [FinalCandidate(final_model, final_model, "" if final_model == "constant" else sets[-1])]
    found = [FinalCandidate("constant", "constant", "")]
    for name in names[1:]:
        left_out = (
            (name in trees and n_effects > 1)
            or (name == "forest" and n_rows > MOST_FOREST_ROWS)
            or (name == "neural" and not neural)
        )
        if not left_out:
            found += [FinalCandidate(name, name, features) for features in sets]
    if encoder is not None and n_effects == 1:
        found.append(FinalCandidate(encoder_label(encoder.encoder), encoder, MESSAGES))
    return found


def candidate_columns(features: FeatureSets, rows: Any, candidate: FinalCandidate) -> NDArray[np.float32]:
    """Columns of a candidate; a constant needs none but the number of rows."""
    if not candidate.features:
        return features.columns[rows][:, :0]
    return features.take(rows, candidate.features)


def fit_final_stage(
    candidates: list[FinalCandidate],
    features: FeatureSets,
    residuals: list[Residuals],
    splits: GraphSplits,
    *,
    standard_error: Callable[[Array], float],
    seed: int,
    device: Any,
    n_jobs: int | None,
    verbose: int,
    n_bags: int = 5,
) -> FinalStage:
    """Fit, compare and weight the candidates.

    The held-out R-loss of a candidate is taken over its out-of-fold effects. If the smallest is below that of the
    constant by less than one standard error of the paired difference, the effect is the constant; otherwise weights of
    at least 0 that sum to 1 minimise the R-loss over all candidates. A single candidate is used as it is.

    Parameters
    ----------
    candidates : list of FinalCandidate
        What to compare.
    features : FeatureSets
        Columns of all rows.
    residuals : list of Residuals, one per repeat
        Out-of-fold residuals of all rows.
    splits : GraphSplits
        Which rows train which model.
    standard_error : callable
        Standard error of the mean of a centred array of shape (n,), given dependence along the network.
    seed : int
        Key of all draws.
    device, n_jobs, verbose, n_bags
        As in the learners.
    """
    n = splits.folds.shape[1]
    run = _Run(seed, device, n_bags, n_jobs, verbose)
    if len(candidates) > 1 and n >= LARGE:
        return _fit_large(candidates, features, residuals, splits, standard_error, run)
    effects, models = _out_of_fold(candidates, features, residuals, splits, run)
    weights, table = compared(candidates, effects, residuals, splits, standard_error)
    effect = np.tensordot(weights, effects.mean(axis=1), axes=1)
    by_fold = weights_by_fold(effects, residuals, splits, standard_error)
    kept = [found if weight > 0 else [] for weight, found in zip(weights, models, strict=True)]
    return FinalStage(effect, mixed_by_fold(by_fold, effects, splits), candidates, weights, kept, table)


def _fit_large(
    candidates: list[FinalCandidate],
    features: FeatureSets,
    residuals: list[Residuals],
    splits: GraphSplits,
    standard_error: Callable[[Array], float],
    run: _Run,
) -> FinalStage:
    """Compare on a sample of the rows, and fit those with weight on all of them."""
    n = splits.folds.shape[1]
    sample = np.sort(np.random.default_rng(run.seed).choice(n, _SELECTION_ROWS, replace=False))
    messages = None if features.messages is None else features.messages[sample]
    part = FeatureSets(features.columns[sample], features.sets, messages)
    few = [found.rows(sample) for found in residuals]
    effects, _ = _out_of_fold(candidates, part, few, _sampled(splits, sample), run)

    def of_sample(values: Array) -> float:
        # A sample of few nodes has hardly any neighbours in it: its rows are as good as independent.
        return float(values.std() / np.sqrt(len(values)))

    weights, table = compared(candidates, effects, few, _sampled(splits, sample), of_sample)
    by_fold = weights_by_fold(effects, few, _sampled(splits, sample), of_sample)
    weights = _without_small(weights)
    # A constant costs nothing; what has no weight over all rows is not fitted for the sake of a fold.
    used = [j for j in range(len(candidates)) if weights[j] > 0 or j == 0]
    by_fold = [[_among(one, used) for one in repeat] for repeat in by_fold]
    found, fitted = _out_of_fold([candidates[j] for j in used], features, residuals, splits, run)
    models: list[list[Any]] = [[] for _ in candidates]
    for j, group in zip(used, fitted, strict=True):
        models[j] = group if weights[j] > 0 else []
    for row, weight in zip(table, weights, strict=True):
        row["weight"] = float(weight)
    effect = np.tensordot(weights[used], found.mean(axis=1), axes=1)
    honest = mixed_by_fold([[one[used] for one in repeat] for repeat in by_fold], found, splits)
    return FinalStage(effect, honest, candidates, weights, models, table)


def _among(weights: Array, used: list[int]) -> Array:
    """Weights of the candidates that are fitted, the constant where none of a fold's is among them."""
    kept = np.zeros(len(weights))
    kept[used] = weights[used]
    return kept / kept.sum() if kept.sum() > 0 else np.eye(len(weights))[0]


def _without_small(weights: Array) -> Array:
    """Weights below a twentieth left out: each candidate costs fits on all rows."""
    kept = np.where(weights >= _LEAST_WEIGHT, weights, 0.0)
    return np.asarray(kept / kept.sum())


def _sampled(splits: GraphSplits, sample: Rows) -> GraphSplits:
    place = np.full(splits.folds.shape[1], -1)
    place[sample] = np.arange(len(sample))

    def inside(rows: Rows) -> Rows:
        found = place[rows]
        return found[found >= 0]

    pairs = [[(inside(train), inside(test)) for train, test in repeat] for repeat in splits.splits]
    return type(splits)(pairs, splits.folds[:, sample], splits.report)


def _out_of_fold(
    candidates: list[FinalCandidate],
    features: FeatureSets,
    residuals: list[Residuals],
    splits: GraphSplits,
    run: _Run,
) -> tuple[Array, list[list[Any]]]:
    """Effects (C, r, n, k) of every candidate at rows that it was not fitted on, and the models."""
    jobs = [
        (number, repeat, fold, train, test)
        for repeat, repeat_splits in enumerate(splits.splits)
        for fold, (train, test) in enumerate(repeat_splits)
        for number in range(len(candidates))
    ]
    outputs = run_tasks(
        [
            delayed(_fit_one)(candidates[number], features, residuals[repeat], train, test, repeat, fold, run)
            for number, repeat, fold, train, test in jobs
        ],
        n_jobs=run.n_jobs,
        verbose=run.verbose,
        label="final stage",
    )
    repeats, n = splits.folds.shape
    effects = np.empty((len(candidates), repeats, n, residuals[0].treatment.shape[1]))
    models: list[list[Any]] = [[] for _ in candidates]
    for (number, repeat, _, _, test), (model, effect) in zip(jobs, outputs, strict=True):
        effects[number, repeat, test] = effect
        models[number].append(model)
    return effects, models


def _fit_one(
    candidate: FinalCandidate,
    features: FeatureSets,
    residuals: Residuals,
    train: Rows,
    test: Rows,
    repeat: int,
    fold: int,
    run: _Run,
) -> tuple[Any, Array]:
    seed = task_seed(run.seed, repeat, fold, f"{candidate.label} {candidate.features}")
    place = f"the final model ({candidate.label}) in repeat {repeat}, fold {fold}"
    with SingleThreadedBlas(), NamedFailure(place), parallel_config(backend="threading", n_jobs=1):
        columns = candidate_columns(features, train, candidate)
        part = residuals.rows(train)
        try:
            model = fit_effect_model(candidate.kind, columns, part, seed=seed, device=run.device, n_bags=run.n_bags)
        except FloatingPointError as error:  # a network diverged, at a third of the rate too
            warnings.warn(f"{place} is a constant instead: {error}", ConvergenceWarning, stacklevel=caller_level())
            model = fit_effect_model("constant", columns, part, seed=seed)
        effect = model.predict(candidate_columns(features, test, candidate))
        if not np.isfinite(effect).all():
            raise ValueError("it predicts NaN or infinity")
    return model, effect
