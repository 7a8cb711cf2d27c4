"""Steps of a fit with spillover: rows, exposures, nuisances, residuals, final stage, scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import FoldError
from causalkit.graph.final_models import given_kind
from causalkit.graph.final_stage import FinalStage, final_candidates, fit_final_stage
from causalkit.graph.hops import HopFeatures
from causalkit.graph.inputs import NodeRows, check_rows
from causalkit.graph.neighbourhoods import NodeFeatures, fit_features, new_features
from causalkit.graph.nuisances import has_torch
from causalkit.graph.outcome_baseline import crossfit_baseline, has_baseline
from causalkit.graph.pool import FeatureSets
from causalkit.graph.rlearner_fit import FitPlan, Residualised, fit_nuisances, network_standard_error
from causalkit.graph.row_labels import row_labels
from causalkit.graph.spillover_baseline import first_plan, with_baseline
from causalkit.graph.spillover_fit import SpilloverRepeat, column_names, constant_fit, mean_scores, spillover_repeat
from causalkit.graph.spillover_inputs import ExposureSource, exposure_source
from causalkit.graph.spillover_reports import exposure_report, with_degree
from causalkit.graph.splits import GraphSplits, make_splits
from causalkit.validation import check_choice, check_integer

if TYPE_CHECKING:
    from causalkit.graph.graph import Graph

__all__ = ["SpilloverColumns", "TrainingState", "repeats_of", "train_spillover"]

Array = NDArray[np.float64]

_SELECTION_COLUMNS = ["target", "repeat", "fold", "learner", "features", "setting", "loss", "std_error", "selected"]


@dataclass(frozen=True, eq=False)
class SpilloverColumns:
    """What has to be kept to make the columns of other rows.

    Attributes
    ----------
    hop : HopFeatures
        Fitted.
    degree : tuple of two floats, or None
        Mean and standard deviation of the degree, where it is a column.
    """

    hop: HopFeatures
    degree: tuple[float, float] | None

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        own = [str(name) for name in self.hop.get_feature_names_out()]
        return own if self.degree is None else [*own, "degree"]

    def finished(self, data: NodeFeatures, degree: Array) -> NodeFeatures:
        """Columns with the degree, where it is one."""
        return data if self.degree is None else with_degree(data, degree, *self.degree)

    def new(self, X: Any, values: Array, graph: Graph, positions: NDArray[np.intp]) -> FeatureSets:
        """Columns of other rows."""
        data = new_features(X, values, graph, graph.nodes[positions], self.hop, None, None)
        return self.finished(data, graph.degree[positions].astype(np.float64)).sets


@dataclass(frozen=True, eq=False)
class TrainingState:
    """What a refit on another outcome needs; it is not saved.

    Attributes
    ----------
    rows : NodeRows
        Rows of the fit.
    data : NodeFeatures
        Their columns.
    plan : FitPlan
        Parameters of the fit.
    splits : GraphSplits
        Folds.
    repeats : list of SpilloverRepeat
        Residuals.
    has_baseline : bool
        Whether residuals of the outcome are those of :func:`with_baseline`.
    """

    rows: NodeRows
    data: NodeFeatures
    plan: FitPlan
    splits: GraphSplits
    repeats: list[SpilloverRepeat]
    has_baseline: bool


def train_spillover(
    learner: Any, rows_given: dict[str, Any], exposures: tuple[Any, Any, Any], known: tuple[Any, Any], seed: int
) -> dict[str, Any]:
    """Everything that ``fit`` does, as attributes of the learner; nothing is stored before all of it is done.

    Parameters
    ----------
    learner : SpilloverRLearner
        Its parameters.
    rows_given : dict
        Arguments of :func:`check_rows` but ``treatment_type``.
    exposures : tuple of three
        Values, means and variances of the user's, or None.
    known : tuple of two
        Outcome and treatment predictions of the user's, or None.
    seed : int
        Key of all draws.
    """
    interaction = _check_options(learner)
    if rows_given["y"] is None:
        raise ValueError(
            "SpilloverRLearner requires y to be passed, but the target y is None: pass the outcome of every row."
        )
    rows = check_rows(**rows_given, treatment_type=learner.treatment_type)
    _require_two_levels(rows)
    source = exposure_source(rows, learner.exposure, *exposures)
    names = column_names(source.names, interaction)
    data, columns = _columns(learner, rows, source)
    plan = FitPlan.checked(learner, data, seed)
    plan = replace(plan, buffer=_buffer(rows, plan))
    baseline = has_baseline(plan, treatment_is_known=known[1] is not None)
    nuisance = fit_nuisances(rows, data, columns.names, first_plan(plan) if baseline else plan, *known)
    repeats = [
        spillover_repeat(source, rows, outcome, treatment[:, 1], interaction=interaction, seed=seed + r)
        for r, (outcome, treatment) in enumerate(zip(nuisance.outcome_residual, nuisance.treatment, strict=True))
    ]
    state = TrainingState(rows, data, plan, nuisance.splits, repeats, baseline)
    selection = nuisance.fits.selection
    if baseline:
        repeats, chosen = with_baseline(state, rows.outcome, interaction=interaction)
        selection = [*chosen, *selection]
    final, scale = _final_stage(plan, rows, data.sets, repeats, nuisance.splits, source.reach)
    effect = final.effect / scale
    constant = constant_fit(repeats, rows.weight)
    return {
        **_nuisance_attributes(rows, nuisance, np.mean([one.outcome for one in repeats], axis=0)),
        "nuisance_selection_": _frame(selection, _SELECTION_COLUMNS),
        **_exposure_attributes(rows, repeats),
        "effect_": effect,
        "honest_effect_": final.honest_effect / scale,
        "effect_names_": names,
        "exposure_names_": source.names,
        "exposure_radius_": source.reach,
        "coef_": constant.coef,
        "effect_constant_": constant.coef.copy(),
        "scores_": mean_scores(repeats, effect, interaction=interaction, score_clip=plan.score_clip),
        "selection_": _frame(final.table),
        "report_": exposure_report(rows.graph.degree[rows.positions] == 0, repeats[0].columns, repeats[0].moments),
        "_influence": constant.influence,
        "_repeat_sd": constant.spread,
        "_interaction": interaction,
        "_constant": isinstance(plan.final_model, str) and plan.final_model == "constant",
        "_row_labels": row_labels(rows.X),
        "_final": final,
        "_scale": scale,
        "_source": source.finished(),
        "_columns": columns,
        "_training": replace(state, repeats=repeats),
    }


def _check_options(learner: Any) -> bool:
    check_choice(learner.interaction, "interaction", (True, False))
    check_choice(learner.treatment_type, "treatment_type", ("auto", "binary"))
    check_integer(learner.n_bags, "n_bags", low=1)
    model = learner.final_model
    if isinstance(model, str):
        check_choice(model, "final_model", ("auto", "constant", "linear", "neural"))
    elif given_kind(model) != "treatment":
        raise TypeError(
            f"final_model: {type(model).__name__} learns one effect from fit(X, y, sample_weight), but there are "
            "several: pass a model with fit(X, T, y) for several treatments, or 'constant', 'linear', 'neural'."
        )
    return bool(learner.interaction)


def _require_two_levels(rows: NodeRows) -> None:
    if rows.treatment.kind != "binary":
        found = "continuous" if rows.treatment.levels is None else f"of {rows.treatment.n_levels} levels"
        raise ValueError(
            f"treatment is {found}: SpilloverRLearner needs two levels, treated or not, because the moments of an "
            "exposure come from the probability of treatment. Code it as two levels, or use GraphRLearner."
        )


def _columns(learner: Any, rows: NodeRows, source: ExposureSource) -> tuple[NodeFeatures, SpilloverColumns]:
    """Columns of neighbourhoods, with sums and the degree where an exposure is a sum."""
    sums = any(one.mapping is not None and one.mapping.kind in ("count", "weighted") for one in source.mappings or [])
    hop = learner.hop_features
    if hop is None and sums:
        hop = HopFeatures(operators=("sym", "mean", "sum"))
    data, fitted, _ = fit_features(rows.X, rows.values, rows.graph, rows.nodes, hop, None)
    if not sums:
        return data, SpilloverColumns(fitted, None)
    degree = rows.graph.degree[rows.positions].astype(np.float64)
    columns = SpilloverColumns(fitted, (float(degree.mean()), float(degree.std())))
    return columns.finished(data, degree), columns


def _buffer(rows: NodeRows, plan: FitPlan) -> Any:
    """1 for "auto", or 0 in a network so dense that hardly a node is apart from a fold."""
    if not isinstance(plan.buffer, str):
        return plan.buffer
    check_choice(plan.buffer, "buffer", ("auto",))
    try:
        make_splits(rows, plan.cv, n_repeats=plan.n_repeats, buffer=1, seed=plan.seed)
    except FoldError:
        return 0  # what is wrong for other reasons is said when the splits are made without a buffer
    return 1


def _final_stage(
    plan: FitPlan,
    rows: NodeRows,
    sets: FeatureSets,
    repeats: list[SpilloverRepeat],
    splits: GraphSplits,
    reach: int,
) -> tuple[FinalStage, Array]:
    """Final stage on columns of one size, and the factors that columns were divided by, and effects have to be."""
    size = np.sqrt((repeats[0].columns ** 2).mean(axis=0))
    scale = size / size[0]
    groups = None if rows.groups is None else rows.groups.codes
    candidates = final_candidates(
        plan.final_model, plan.final_sets, n_rows=rows.n_rows, n_effects=len(scale), neural=has_torch()
    )
    final = fit_final_stage(
        candidates,
        sets,
        [one.residuals(scale, rows.weight, groups) for one in repeats],
        splits,
        standard_error=network_standard_error(rows, reach),
        seed=plan.seed,
        device=plan.device,
        n_jobs=plan.n_jobs,
        verbose=plan.verbose,
        n_bags=plan.n_bags,
    )
    return final, scale


def repeats_of(state: TrainingState, y: Array, *, interaction: bool) -> list[SpilloverRepeat]:
    """Repeats with residuals of another outcome, by the same models, folds and propensities."""
    rows = state.rows
    plan = first_plan(state.plan) if state.has_baseline else state.plan
    fits = crossfit_baseline(y, rows, state.data, plan, state.splits)  # of all of y: m itself
    predictions = fits.predictions["outcome"][:, :, 0]
    repeats = [replace(one, outcome=y - found) for one, found in zip(state.repeats, predictions, strict=True)]
    if state.has_baseline:
        repeats, _ = with_baseline(replace(state, repeats=repeats), y, interaction=interaction)
    return repeats


def _nuisance_attributes(rows: NodeRows, nuisance: Residualised, residual: Array) -> dict[str, Any]:
    propensity = nuisance.treatment[:, :, 1].mean(axis=0)
    whole = np.array_equal(rows.positions, np.arange(rows.graph.n_nodes))
    return {
        "outcome_prediction_": rows.outcome - residual,
        "treatment_prediction_": propensity,
        "outcome_residual_": residual,
        "treatment_residual_": rows.treatment.values - propensity,
        "clipped_share_": float(nuisance.clipped.mean()),
        "folds_": nuisance.splits.folds,
        "fold_report_": nuisance.splits.report,
        "treatment_levels_": rows.treatment.levels,
        "graph_": rows.graph,
        "positions_": rows.positions,
        "graph_fingerprint_": rows.graph.fingerprint,
        "_positions": None if whole else rows.positions,
        "_clipped": nuisance.clipped,
        "_unclipped": nuisance.unclipped,
        "_treatment": rows.treatment.values,
        "_weight": rows.weight,
        "_groups": None if rows.groups is None else rows.groups.codes,
    }


def _exposure_attributes(rows: NodeRows, repeats: list[SpilloverRepeat]) -> dict[str, Any]:
    mean = np.mean([one.moments.mean for one in repeats], axis=0)
    variance = np.mean([np.diagonal(one.moments.covariance, axis1=1, axis2=2) for one in repeats], axis=0)
    values = repeats[0].moments.values
    found = {
        "exposure_": values,
        "exposure_residual_": values - mean,
        "exposure_mean_": mean,
        "exposure_variance_": variance,
    }
    shaped = {name: part[:, 0] if part.shape[1] == 1 else part for name, part in found.items()}
    return {**shaped, "_residuals": np.mean([one.columns for one in repeats], axis=0)}


def _frame(table: list[dict[str, Any]], columns: list[str] | None = None) -> Any:
    import pandas as pd

    return pd.DataFrame(table, columns=columns)
