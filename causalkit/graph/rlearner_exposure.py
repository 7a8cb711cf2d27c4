"""Exposures of a GraphRLearner: numbers, or mappings of the treatments; how far they reach; who cannot see them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from causalkit.exceptions import MethodNotApplicableError
from causalkit.graph.exposure import require_binary
from causalkit.graph.folds import GraphKFold
from causalkit.graph.inputs import NodeRows, check_exposure
from causalkit.graph.nuisances import takes_graph
from causalkit.graph.spillover_inputs import mapped_source
from causalkit.graph.unsaved import function_name

__all__ = ["exposed_rows", "is_mapping", "refuse_models_without_exposure"]

_REMEDY = "Pass rows for all nodes, or the exposures as numbers, one row per row of X"


def is_mapping(exposure: Any) -> bool:
    """Whether an exposure says how to compute numbers from treatments: a name, a pair, a matrix, a function, a list."""
    if isinstance(exposure, list):
        return any(is_mapping(one) for one in exposure)
    named = isinstance(exposure, str) or (isinstance(exposure, tuple) and any(isinstance(v, str) for v in exposure))
    return named or sparse.issparse(exposure) or callable(exposure)


def exposed_rows(rows: NodeRows, exposure: Any, learner: Any) -> tuple[NodeRows, int]:
    """Rows with the numbers of their exposures, and how many steps away a treatment may act, K.

    A named mapping or a matrix has a reach. Numbers and functions do not tell theirs: it is one step, or the buffer
    that the user asks for, which says how far treatments of held-out nodes are to be kept from training rows.

    Parameters
    ----------
    rows : NodeRows
        Rows of the fit; they hold exposures that were given as numbers.
    exposure : array-like, name, pair, sparse matrix, callable, list or None
        What ``fit`` was given.
    learner : GraphRLearner
        Its ``buffer`` and ``cv``.

    Raises
    ------
    MethodNotApplicableError
        A mapping of a treatment with several levels.
    IdentificationError
        A function that depends on own treatment.
    ValueError, GraphError
        Neighbours without a row, a mapping that does not fit.
    """
    if exposure is None:
        return rows, 0
    if not is_mapping(exposure):
        return rows, _asked_for(learner)
    if rows.treatment.kind == "multi":
        raise MethodNotApplicableError(
            f"exposure={_shown(exposure)} is computed from treatments of two levels, or numbers, but the treatment has "
            f"{rows.treatment.n_levels} levels: compute exposures to the levels that matter with "
            "exposure_mapping(graph, treatment == level), and pass the numbers."
        )
    source = mapped_source(rows.graph, rows.positions, exposure, _REMEDY)
    mappings = source.mappings or []
    if any(one.mapping is not None and not one.mapping.is_linear for one in mappings):
        require_binary(rows.treatment.values)
    values = check_exposure(source.values(rows.treatment.values), rows.n_rows, rows.treatment.values)
    functions = [one for one in mappings if one.function is not None]
    if functions and rows.treatment.kind == "binary":
        # Draws of treatments show whether a function reads own treatment, whatever their probability.
        chance = np.full(rows.n_rows, rows.treatment.values.mean())
        replace(source, mappings=functions).moments(rows.treatment.values, chance, 0)
    return replace(rows, exposure=values), max(source.reach, _asked_for(learner) if functions else 1)


def _asked_for(learner: Any) -> int:
    own_folds = isinstance(learner.cv, GraphKFold)
    steps = learner.cv.buffer if own_folds else learner.buffer
    return max(1, int(steps)) if isinstance(steps, int | np.integer) else 1


def _shown(exposure: Any) -> str:
    return function_name(exposure) if callable(exposure) else repr(exposure) if isinstance(exposure, str) else "..."


def refuse_models_without_exposure(learner: Any, outcome_known: bool, treatment_known: bool) -> None:
    """Refuse models that take the graph themselves beside exposures, which they would not get.

    Exposures must not be passed along edges, because they would bring a node its own treatment back, and such a model
    passes along whatever is in X.

    Raises
    ------
    MethodNotApplicableError
        Naming the argument.
    """
    used = {
        "outcome_model": None if outcome_known else learner.outcome_model,
        "treatment_model": None if treatment_known else learner.treatment_model,
        "final_model": learner.final_model,
    }
    for name, model in used.items():
        if model is not None and not isinstance(model, str) and takes_graph(model):
            _refuse(f"{name}={type(model).__name__}(...) takes the graph itself", name)
    pools = (learner.outcome_model is None and not outcome_known) or (
        learner.treatment_model is None and not treatment_known
    )
    automatic = isinstance(learner.final_model, str) and learner.final_model == "auto"
    encoder = learner.encoder
    if not (isinstance(encoder, str) and encoder == "sign") and (pools or automatic):
        shown = repr(encoder) if isinstance(encoder, str) else f"{type(encoder).__name__}(...)"
        _refuse(f"encoder={shown} adds networks that take the graph themselves", "encoder")


def _refuse(what: str, name: str) -> None:
    remedy = (
        'leave it at "sign"' if name == "encoder" else "pass a model of columns, which gets hop features and exposures"
    )
    raise MethodNotApplicableError(
        f"{what}, but exposures are not passed along edges, so that it would not see them: {remedy}, or leave exposure "
        "out and use SpilloverRLearner."
    )
