"""The steps of a GraphRLearner fit up to its effects: nuisances, residuals, final stage."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from causalkit.exceptions import IdentificationError
from causalkit.graph.exposure_leaks import warn_of_exposures
from causalkit.graph.final_models import Residuals, best_constant, given_kind
from causalkit.graph.final_stage import FinalCandidate, FinalStage, final_candidates, fit_final_stage
from causalkit.graph.identification import (
    check_determined,
    check_residual_variance,
    cross_moments,
    warn_of_leaks,
    warn_of_overlap,
)
from causalkit.graph.inputs import NodeRows, check_same_rows, probability_predictions
from causalkit.graph.neighbourhoods import NodeFeatures, chosen_sets
from causalkit.graph.nuisances import (
    GraphNuisance,
    NuisanceFits,
    crossfit_nuisances,
    has_torch,
    known_predictions,
)
from causalkit.graph.pool import PoolOptions, PoolTarget
from causalkit.graph.scores import clip_probabilities
from causalkit.graph.splits import GraphSplits, make_splits
from causalkit.graph.warning_place import warnings_at_caller
from causalkit.inference import network_covariance
from causalkit.nn.device import import_torch, resolve_device
from causalkit.validation import check_choice, check_integer, check_vector

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "FitPlan",
    "Residualised",
    "effect_candidates",
    "fit_effects",
    "fit_nuisances",
    "network_standard_error",
    "overall_constant",
]

Array = NDArray[np.float64]

_ENCODERS = ("sign", "sage", "gcn", "gat", "gin")


@dataclass(frozen=True, eq=False)
class FitPlan:
    """Checked parameters of a learner.

    Attributes
    ----------
    outcome_model, treatment_model, final_model, encoder
        As given.
    nuisance_sets, final_sets : tuple of str
        Feature sets.
    clip, score_clip : float
        Smallest propensities.
    cv, n_repeats, buffer, n_jobs, device, verbose
        As given.
    seed : int
        Key of all draws.
    """

    outcome_model: Any
    treatment_model: Any
    final_model: Any
    encoder: Any
    nuisance_sets: tuple[str, ...]
    final_sets: tuple[str, ...]
    clip: float
    score_clip: float
    cv: Any
    n_repeats: Any
    buffer: Any
    n_jobs: int | None
    device: Any
    n_bags: int
    verbose: int
    seed: int

    @classmethod
    def checked(cls, learner: Any, data: NodeFeatures, seed: int) -> FitPlan:
        """Check the parameters of a learner."""
        encoder = learner.encoder
        if isinstance(encoder, str):
            check_choice(encoder, "encoder", _ENCODERS)
        _check_models(learner)
        _check_buffer(learner)
        check_integer(learner.verbose, "verbose", low=0)
        _check_networks(learner)
        return cls(
            _copied(learner.outcome_model),
            _copied(learner.treatment_model),
            _copied(learner.final_model),
            encoder,
            chosen_sets(data.sets, learner.nuisance_features, "nuisance_features", nested=True),
            chosen_sets(data.sets, learner.final_features, "final_features", nested=False),
            _share(learner.clip, "clip"),
            _share(learner.score_clip, "score_clip"),
            learner.cv,
            learner.n_repeats,
            learner.buffer,
            learner.n_jobs,
            learner.device,
            learner.n_bags,
            learner.verbose,
            seed,
        )

    def with_reach(self, radius: int) -> FitPlan:
        """The same with the buffer that exposures ask for, unless the user asked for another."""
        automatic = isinstance(self.buffer, str) and self.buffer == "auto" and radius > 0
        return replace(self, buffer=radius) if automatic else self

    def pool_options(self) -> PoolOptions:
        """Candidates of the nuisance pool."""
        encoders = None
        if not isinstance(self.encoder, str) or self.encoder != "sign":
            from causalkit.graph.encoders import GNNClassifier, GNNRegressor

            encoders = (
                GNNRegressor(encoder=self.encoder, device=self.device),
                GNNClassifier(encoder=self.encoder, device=self.device),
            )
        return PoolOptions(self.nuisance_sets, has_torch(), self.device, encoders)


def _copied(model: Any) -> Any:
    """A copy of a model without its fit, so that parameters that are set later change nothing that was fitted."""
    return model if model is None or isinstance(model, str) else clone(model, safe=False)


def _check_models(learner: Any) -> None:
    """Refuse models that are no instances, and final models that cannot be fitted on residuals."""
    for name in ("outcome_model", "treatment_model", "final_model"):
        model = getattr(learner, name)
        named = isinstance(model, str) if name == "final_model" else model is None
        if isinstance(model, type) or not (named or hasattr(model, "fit")):
            words = "a name" if name == "final_model" else "None"
            got = f"the class {model.__name__}" if isinstance(model, type) else repr(model)
            raise TypeError(f"{name} must be an estimator instance, such as Ridge(), or {words}; got {got}.")
        if name == "final_model" and not named:
            given_kind(model)


def _check_buffer(learner: Any) -> None:
    """Refuse a buffer that the folds would not keep."""
    own = learner.cv is not None and not isinstance(learner.cv, int | np.integer)
    if not own or isinstance(learner.buffer, str):
        return
    if check_integer(learner.buffer, "buffer", low=0) not in (0, getattr(learner.cv, "buffer", 0)):
        raise ValueError(
            f"buffer={learner.buffer} is for an integer cv, whose folds are made here; got cv={learner.cv!r}, which "
            "makes its own: pass cv=GraphKFold(..., buffer=...), or leave buffer out."
        )


def _check_networks(learner: Any) -> None:
    """Refuse a device, or a network, that cannot be had here, before any work."""
    if str(learner.device) not in ("auto", "cpu"):
        resolve_device(learner.device)
    elif isinstance(learner.final_model, str) and learner.final_model == "neural":
        import_torch()


def _share(value: Any, name: str) -> float:
    ok = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not ok or not math.isfinite(value) or not 0 <= value < 0.5:
        raise ValueError(f"{name} must be a probability of at least 0, below .5; got {value!r}.")
    return float(value)


@dataclass(frozen=True, eq=False)
class Residualised:
    """Predictions and residuals of every repeat.

    Attributes
    ----------
    splits : GraphSplits
        Folds.
    fits : NuisanceFits
        Models; empty for known predictions.
    outcome : ndarray, shape (r, n)
        m.
    treatment : ndarray, shape (r, n, max(L, 1))
        e, clipped; E[T|X] if continuous.
    unclipped : ndarray, shape (n, max(L, 1))
        The same before it was clipped, averaged over repeats.
    clipped : ndarray of bool, shape (n,)
        Rows whose propensity was moved in the first repeat.
    outcome_residual : ndarray, shape (r, n)
        Ỹ.
    treatment_residual : ndarray, shape (r, n, k)
        T̃.
    """

    splits: GraphSplits
    fits: NuisanceFits
    outcome: Array
    treatment: Array
    unclipped: Array
    clipped: NDArray[np.bool_]
    outcome_residual: Array
    treatment_residual: Array

    def residuals(self, rows: NodeRows) -> list[Residuals]:
        """What the final stage learns from, one per repeat."""
        groups = None if rows.groups is None else rows.groups.codes
        found = []
        for outcome, treatment in zip(self.outcome_residual, self.treatment_residual, strict=True):
            unit = 1.0 if rows.treatment.levels is not None else float(np.sqrt(np.mean(treatment**2)))
            found.append(Residuals(outcome, treatment, rows.weight, groups, unit))
        return found


def fit_nuisances(
    rows: NodeRows, data: NodeFeatures, names: Any, plan: FitPlan, outcome_predictions: Any, treatment_predictions: Any
) -> Residualised:
    """Split, cross-fit what is not known, clip, and take residuals.

    Raises
    ------
    IdentificationError
        The treatment is a function of the features.
    FoldError, ValueError
        Folds or predictions that do not fit.

    Warns
    -----
    LeakageWarning, OverlapWarning
        Columns of neighbours that are the own treatment; propensities near 0 or 1.
    """
    check_same_rows(rows.X, outcome_predictions=outcome_predictions, treatment_predictions=treatment_predictions)
    moments = cross_moments(data.sets, rows.treatment)
    if not warn_of_leaks(data.sets, moments, names):  # first: it names the column, and says where it belongs
        warn_of_exposures(rows)
    check_determined(data.sets, moments)
    splits = make_splits(rows, plan.cv, n_repeats=plan.n_repeats, buffer=plan.buffer, seed=plan.seed)
    groups = None if rows.groups is None else rows.groups.codes
    largest = plan.nuisance_sets[-1]
    options = plan.pool_options()
    known: dict[str, Array] = {}
    nuisances = []
    if outcome_predictions is None:
        target = PoolTarget(rows.outcome, 0, rows.weight, groups)
        nuisances.append(GraphNuisance("outcome", target, plan.outcome_model, options, largest))
    else:
        values = check_vector(outcome_predictions, "outcome_predictions", n_rows=rows.n_rows, like="X")
        known["outcome"] = known_predictions(values[:, None], len(splits.splits))
    if treatment_predictions is None:
        target = PoolTarget(rows.treatment.values, rows.treatment.n_levels, rows.weight, groups)
        nuisances.append(GraphNuisance("treatment", target, plan.treatment_model, options, largest))
    else:
        given = probability_predictions(treatment_predictions, rows.treatment)
        known["treatment"] = known_predictions(given, len(splits.splits))
    fits = NuisanceFits({}, {})
    if nuisances:
        fits = crossfit_nuisances(nuisances, data, splits, seed=plan.seed, n_jobs=plan.n_jobs, verbose=plan.verbose)
    outcome = (known | fits.predictions)["outcome"][:, :, 0]
    return _residualised(rows, data, plan, splits, fits, outcome, (known | fits.predictions)["treatment"])


def _residualised(
    rows: NodeRows,
    data: NodeFeatures,
    plan: FitPlan,
    splits: GraphSplits,
    fits: NuisanceFits,
    outcome: Array,
    treatment: Array,
) -> Residualised:
    check_residual_variance(rows.treatment.residuals(treatment[0]), rows.treatment, data.sets)
    clipped, unclipped = np.zeros(rows.n_rows, dtype=bool), np.asarray(treatment.mean(axis=0))
    if rows.treatment.levels is not None:
        pairs = [clip_probabilities(part, plan.clip) for part in treatment]
        treatment, clipped = np.array([part for part, _ in pairs]), pairs[0][1]
        codes = rows.treatment.values.astype(np.intp)
        degree = rows.graph.degree[rows.positions]
        warn_of_overlap(treatment[0], codes, clipped, degree, rows.weight)
    residual = np.array([rows.treatment.residuals(part) for part in treatment])
    return Residualised(splits, fits, outcome, treatment, unclipped, clipped, rows.outcome - outcome, residual)


def network_standard_error(rows: NodeRows, exposure_radius: int) -> Callable[[Array], float]:
    """Standard error of the mean of centred values, by clusters or along the network."""
    whole = np.array_equal(rows.positions, np.arange(rows.graph.n_nodes))

    def standard_error(values: Array) -> float:
        with warnings_at_caller():
            found = network_covariance(
                values,
                rows.graph.distances,
                positions=None if whole else rows.positions,
                groups=None if rows.groups is None else rows.groups.codes,
                exposure_radius=exposure_radius,
            )
        if found.vanished is not None and found.vanished[0]:  # a dense network: 0 would let every candidate win
            return float(np.linalg.norm(values)) / len(values)
        return float(found.std_error[0])

    return standard_error


def effect_candidates(rows: NodeRows, plan: FitPlan) -> list[FinalCandidate]:
    """Models of the effect that ``final_model`` stands for; what it cannot mean is refused."""
    encoders = plan.pool_options().encoders
    return final_candidates(
        plan.final_model,
        plan.final_sets,
        n_rows=rows.n_rows,
        n_effects=rows.treatment.n_effects,
        neural=has_torch(),
        encoder=None if encoders is None else encoders[0],
    )


def fit_effects(rows: NodeRows, data: NodeFeatures, plan: FitPlan, nuisance: Residualised, radius: int) -> FinalStage:
    """Out-of-fold effects and the models of the final stage."""
    return fit_final_stage(
        effect_candidates(rows, plan),
        data.sets,
        nuisance.residuals(rows),
        nuisance.splits,
        standard_error=network_standard_error(rows, radius),
        seed=plan.seed,
        device=plan.device,
        n_jobs=plan.n_jobs,
        verbose=plan.verbose,
        n_bags=plan.n_bags,
    )


def overall_constant(nuisance: Residualised, rows: NodeRows) -> Array:
    """ΣT̃Ỹ/ΣT̃², averaged over repeats."""
    constants = [best_constant(found) for found in nuisance.residuals(rows)]
    if not np.isfinite(constants).all():
        raise IdentificationError("the treatment residuals have no variation: there is no effect to learn.")
    return np.asarray(np.mean(constants, axis=0))
