"""Summaries of learners on graphs: averages, how they were made, and the assumptions that they rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from causalkit.inference import FitSummary

if TYPE_CHECKING:
    pass

__all__ = ["summarise_rlearner"]


def summarise_rlearner(learner: Any) -> FitSummary:
    """Summary of a fitted GraphRLearner."""
    import pandas as pd

    effects = [learner.ate(), learner.ate(target="overlap")]
    table = pd.concat([result.summary() for result in effects])
    stage = learner.selection_
    used = stage[stage["weight"] > 0]
    words = ", ".join(
        f"{row.candidate} on {row.features} ({row.weight:.2f})"
        if row.features != "none"
        else f"constant ({row.weight:.2f})"
        for row in used.itertuples()
    )
    coded = learner._treatment
    kind = "continuous" if coded.levels is None else f"levels {', '.join(map(str, coded.levels))}"
    notes = (
        f"GraphRLearner: {len(learner.positions_)} rows of a graph with {learner.graph_.n_nodes} nodes and "
        f"{learner.graph_.n_edges} edges; treatment {kind}",
        f"final stage: {words}",
        f"dependence: {effects[0].dependence}",
        f"propensities clipped: {learner.clipped_share_:.1%}",
        "The intervals are for a wider population of such nodes on this network; for the average over exactly these "
        "nodes they are a little wide.",
        "effect_constant_ and the overlap average weight units by Var(T | covariates): not the average over everybody.",
    )
    exposed = learner.exposure_radius_ > 0
    assumptions = (
        "The outcome of a node depends on its own treatment and, at most, on the exposure that was given: the effect "
        "is the direct effect at the observed exposure."
        if exposed
        else "No interference: the outcome of a node depends on its own treatment only. If neighbours' treatments act, "
        "pass exposure=, or use SpilloverRLearner.",
        "Unconfoundedness: given own and neighbours' covariates and the graph, treatment is as good as random.",
        "Overlap: for such covariates every level of treatment has a chance (see overlap()).",
        "Graph and covariates were measured before treatment.",
        "Inference is conditional on the graph.",
    )
    return FitSummary(table, notes=notes, assumptions=assumptions)
