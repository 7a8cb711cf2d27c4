"""Intervals for the effect of single nodes: what they promise depends on the final stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.utils.parallel import delayed

from causalkit.crossfit import run_tasks
from causalkit.exceptions import MethodNotApplicableError
from causalkit.graph.final_models import (
    GivenModel,
    Residuals,
    fit_effect_model,
    linear_design,
    linear_moments,
)
from causalkit.graph.final_stage import FinalStage, candidate_columns
from causalkit.seeds import task_seed
from causalkit.threads import SingleThreadedBlas
from causalkit.validation import check_choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from causalkit.graph.pool import FeatureSets

__all__ = [
    "EffectInterval",
    "SandwichMoments",
    "half_sample_errors",
    "interval_method",
    "is_linear",
    "model_limits",
    "sandwich_covariance",
    "sandwich_errors",
]

Array = NDArray[np.float64]

_HALVES = 100
_BLOCK_ROWS = 65_536


class EffectInterval(tuple[Array, Array]):
    """Lower and upper limits, with the method that made them.

    It unpacks as ``lower, upper``. ``method`` is "sandwich" (an interval for the linear projection of the effect),
    "model" (the interval of the final model itself) or "half_sample" (the spread over refits of the final stage on
    halves of the clusters: a heuristic, without a coverage guarantee); ``heuristic`` says which of these it is.
    """

    method: str
    heuristic: bool

    def __new__(cls, lower: Array, upper: Array, method: str) -> EffectInterval:
        found = super().__new__(cls, (lower, upper))
        found.method = method
        found.heuristic = method == "half_sample"
        return found

    def __repr__(self) -> str:
        words = ", heuristic" if self.heuristic else ""
        return f"EffectInterval({len(self[0])} rows, method={self.method!r}{words})"


def interval_method(stage: FinalStage, method: Any, contrast: Array) -> str:
    """Method that "auto" stands for, or the one asked for if the final stage allows it.

    A model's own intervals are those of single effects: they say nothing about the difference of two.
    """
    check_choice(method, "method", ("auto", "sandwich", "model", "half_sample"))
    used = [c.kind for c, weight in zip(stage.candidates, stage.weights, strict=True) if weight > 0]
    linear = is_linear(stage)
    own = len(used) == 1 and _has_intervals(stage.models[int(np.argmax(stage.weights))][0])
    single = np.count_nonzero(contrast) <= 1
    if method == "auto":
        return "sandwich" if linear else "model" if own and single else "half_sample"
    if method == "model" and own and not single:
        raise MethodNotApplicableError(
            'method="model" has an interval for every level against the reference, not for the difference of two other '
            'levels: let T0 or T1 be the reference, or use method="half_sample".'
        )
    if method == "sandwich" and not linear:
        raise MethodNotApplicableError(
            'method="sandwich" is for a final stage that is constant or linear: use final_model="linear", or '
            'method="half_sample".'
        )
    if method == "model" and not own:
        raise MethodNotApplicableError(
            'method="model" needs a final_model with predict_interval, such as econml.grf.CausalForest: use '
            'method="half_sample".'
        )
    return str(method)


def _has_intervals(model: Any) -> bool:
    return isinstance(model, GivenModel) and hasattr(model.model, "predict_interval")


@dataclass(frozen=True, eq=False)
class SandwichMoments:
    """What the intervals of a linear final stage need, so that a file need not hold the rows of the fit.

    Attributes
    ----------
    covariance : ndarray, shape (q, q)
        Of the coefficients of (1, z) for every effect.
    rows : ndarray, shape (n, k, k)
        Covariance of the effects of every row of the fit.
    """

    covariance: Array
    rows: Array

    @classmethod
    def of(cls, stage: FinalStage, training: FeatureSets, covariance: Array, n_effects: int) -> SandwichMoments:
        """Moments of a fit whose rows are at hand."""
        points = [_points(stage, training, unit) for unit in np.eye(n_effects)]
        spread = [[np.einsum("ij,ij->i", one @ covariance, two) for two in points] for one in points]
        return cls(covariance, np.array(spread).transpose(2, 0, 1))

    def row_errors(self, contrast: Array) -> Array:
        """Standard errors of a combination of effects at the rows of the fit, shape (n,)."""
        return np.sqrt(np.maximum(np.einsum("ijk,j,k->i", self.rows, contrast, contrast), 0.0))


def is_linear(stage: FinalStage) -> bool:
    """Whether all weight is on one constant or linear candidate."""
    used = [c.kind for c, weight in zip(stage.candidates, stage.weights, strict=True) if weight > 0]
    return len(used) == 1 and isinstance(used[0], str) and used[0] in ("constant", "linear")


def sandwich_covariance(
    stage: FinalStage, training: FeatureSets, residuals: Residuals, covariance: Callable[[Array], Array]
) -> Array:
    r"""Covariance of the coefficients of a linear (or constant) effect from its ridge-penalised moment.

    With D = T̃ ⊗ (1, z) and :math:`J = D'WD + \Lambda`, the influence of a row is
    :math:`nJ^{-1}D_iw_i(\tilde Y_i - D_i'\beta)`: the interval is for the penalised projection.

    Parameters
    ----------
    stage : FinalStage
        A single constant or linear candidate.
    training : FeatureSets
        Columns of the rows of the fit.
    residuals : Residuals
        Of these rows.
    covariance : callable
        Covariance of the mean of influence values (n, q).

    Returns
    -------
    ndarray, shape (q, q)
    """
    chosen = int(np.argmax(stage.weights))
    candidate, models = stage.candidates[chosen], stage.models[chosen]
    seen = candidate_columns(training, slice(None), candidate)
    gram, cross = linear_moments(seen, residuals)
    penalty = float(np.mean([getattr(model, "penalty", 0.0) for model in models]))
    k, n = residuals.treatment.shape[1], len(seen)
    ridge = np.full(len(cross), penalty)
    ridge[:k] = 0.0
    inverse = np.linalg.pinv(gram + np.diag(ridge), hermitian=True)
    beta = inverse @ cross
    influence = np.empty((n, len(cross)))
    for start in range(0, n, _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        design = linear_design(seen[rows], residuals.treatment[rows])
        error = residuals.weights[rows] * (residuals.outcome[rows] - design @ beta)
        influence[rows] = n * (design * error[:, None]) @ inverse
    return covariance(influence)


def sandwich_errors(stage: FinalStage, columns: FeatureSets, contrast: Array, covariance: Array) -> Array:
    """Standard errors of effects at some rows, shape (m,), from the covariance of the coefficients.

    Parameters
    ----------
    stage : FinalStage
        A single constant or linear candidate.
    columns : FeatureSets
        Where the effect is wanted, m rows.
    contrast : ndarray, shape (k,)
        Combination of effects.
    covariance : ndarray, shape (q, q)
        By :func:`sandwich_covariance`.

    Returns
    -------
    ndarray, shape (m,)
    """
    points = _points(stage, columns, contrast)
    variance = np.einsum("ij,ij->i", points @ covariance, points)
    return np.sqrt(np.maximum(variance, 0.0))


def _points(stage: FinalStage, columns: FeatureSets, contrast: Array) -> Array:
    """Derivative of a combination of effects in the coefficients, shape (m, q)."""
    wanted = candidate_columns(columns, slice(None), stage.candidates[int(np.argmax(stage.weights))])
    return linear_design(wanted, np.broadcast_to(contrast, (len(wanted), len(contrast))))


def half_sample_errors(
    stage: FinalStage,
    training: FeatureSets,
    residuals: Residuals,
    clusters: NDArray[np.intp],
    columns: FeatureSets,
    contrast: Array,
    *,
    seed: int,
    device: Any,
    n_bags: int,
    n_jobs: int | None,
    verbose: int,
) -> Array:
    """Spread of the effect over refits of the final stage on random halves of the clusters, shape (m,).

    The deviation of an average over half of independent clusters, drawn without replacement, from the average over all
    has the variance of the latter; for forests and networks that is an analogy.
    """
    labels = np.unique(clusters)
    rng = np.random.default_rng(seed)
    halves = [np.flatnonzero(np.isin(clusters, rng.permutation(labels)[: len(labels) // 2])) for _ in range(_HALVES)]
    found = run_tasks(
        [
            delayed(_refit)(
                stage, training, residuals, rows, columns, contrast, task_seed(seed, j, 0, "half"), device, n_bags
            )
            for j, rows in enumerate(halves)
        ],
        n_jobs=n_jobs,
        verbose=verbose,
        label="half samples",
    )
    return np.asarray(np.std(found, axis=0, ddof=1))


def _refit(
    stage: FinalStage,
    training: FeatureSets,
    residuals: Residuals,
    rows: NDArray[np.intp],
    columns: FeatureSets,
    contrast: Array,
    seed: int,
    device: Any,
    n_bags: int,
) -> Array:
    total = np.zeros(len(columns.columns))
    part = residuals.rows(rows)
    with SingleThreadedBlas():
        for number, (candidate, weight) in enumerate(zip(stage.candidates, stage.weights, strict=True)):
            if weight == 0:
                continue
            seen = candidate_columns(training, rows, candidate)
            model = fit_effect_model(candidate.kind, seen, part, seed=seed + number, device=device, n_bags=n_bags)
            effect = model.predict(candidate_columns(columns, slice(None), candidate))
            total += weight * (effect * contrast).sum(axis=1)
    return total


def model_limits(stage: FinalStage, columns: FeatureSets, contrast: Array, alpha: float) -> tuple[Array, Array]:
    """Limits of the final model's own intervals, averaged over folds (each fold alone covers), shape (m,) each.

    ``contrast`` picks one effect, and its sign and size: shape (k,), with at most one entry that is not 0.
    """
    place = int(np.argmax(np.abs(contrast)))
    chosen = int(np.argmax(stage.weights))
    candidate, models = stage.candidates[chosen], stage.models[chosen]
    inputs = candidate_columns(columns, slice(None), candidate)
    limits = [model.model.predict_interval(inputs, alpha=alpha) for model in models]
    ends = [
        np.mean([np.asarray(pair[end]).reshape(len(inputs), -1)[:, place] for pair in limits], axis=0) for end in (0, 1)
    ]
    constant = np.mean([model.constant[place] for model in models])
    first, second = (contrast[place] * (end + constant) for end in ends)
    return np.minimum(first, second), np.maximum(first, second)


def normal_limits(center: Array, error: Array, alpha: float) -> tuple[Array, Array]:
    """center ± z·error."""
    half = stats.norm.ppf(1 - alpha / 2) * error
    return center - half, center + half
