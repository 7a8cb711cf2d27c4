"""Columns that the learners see: own covariates, aggregates of neighbours, exposures, in nested sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from causalkit.graph.graph import Graph
from causalkit.graph.hops import HopFeatures
from causalkit.graph.pool import FeatureSets, Messages
from causalkit.validation import check_choice

__all__ = ["ExposureScale", "NodeFeatures", "chosen_sets", "fit_features", "new_features"]

Array = NDArray[np.float64]

_NAMES = ("own", "one_hop", "two_hop", "three_hop", "four_hop")


@dataclass(frozen=True, eq=False)
class ExposureScale:
    """Mean and standard deviation by which exposures are standardised, shape (q,) each."""

    center: Array
    scale: Array

    def columns(self, exposure: Array) -> NDArray[np.float32]:
        """Standardised exposures; a constant one becomes 0."""
        factor = np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0)
        return ((exposure - self.center) * factor).astype(np.float32)


@dataclass(frozen=True, eq=False)
class NodeFeatures:
    """Everything that a nuisance model may look at.

    Attributes
    ----------
    sets : FeatureSets
        Standardised columns.
    values : ndarray of float64, shape (n, p)
        Own covariates, for models that pass messages themselves.
    graph : Graph
        Carries the covariates of all nodes that have some.
    nodes : Index, shape (n,)
        Node of each row.
    """

    sets: FeatureSets
    values: Array
    graph: Graph
    nodes: Any


def fit_features(
    X: Any, values: Array, graph: Graph, nodes: Any, hop_features: Any, exposure: Array | None
) -> tuple[NodeFeatures, HopFeatures, ExposureScale | None]:
    """Learn the columns on the rows of a fit.

    Returns
    -------
    NodeFeatures, HopFeatures, ExposureScale or None
        The columns, and what has to be kept to make them for other rows.
    """
    hop = HopFeatures() if hop_features is None else hop_features
    if not isinstance(hop, HopFeatures):
        raise TypeError(
            f"hop_features must be a HopFeatures instance or None, got {type(hop_features).__name__}: pass for example "
            "HopFeatures(hops=1)."
        )
    if not hop.standardize:
        raise ValueError("hop_features must have standardize=True: penalties and networks need columns of one scale.")
    hop = clone(hop)
    columns = hop.fit_transform(X, graph=graph, nodes=nodes)
    scale = None
    if exposure is not None:
        scale = ExposureScale(exposure.mean(axis=0), exposure.std(axis=0))
    return _joined(columns, hop, values, graph, nodes, exposure, scale), hop, scale


def new_features(
    X: Any,
    values: Array,
    graph: Graph,
    nodes: Any,
    hop: HopFeatures,
    exposure: Array | None,
    scale: ExposureScale | None,
) -> NodeFeatures:
    """The same columns for other rows, of this or of another graph."""
    return _joined(hop.transform(X, graph=graph, nodes=nodes), hop, values, graph, nodes, exposure, scale)


def _joined(
    columns: NDArray[np.float32],
    hop: HopFeatures,
    values: Array,
    graph: Graph,
    nodes: Any,
    exposure: Array | None,
    scale: ExposureScale | None,
) -> NodeFeatures:
    sets = _nested_sets(hop, values.shape[1])
    if exposure is not None and scale is not None:
        # After the hops: passed along edges, an exposure would bring a node its own treatment back.
        extra = np.arange(columns.shape[1], columns.shape[1] + exposure.shape[1])
        columns = np.hstack([columns, scale.columns(exposure)])
        sets = {name: np.concatenate([part, extra]) for name, part in sets.items()}
    # A model of one fold gets that fold's rows: covariates of its neighbours in other folds come from the graph.
    others_known = graph.features is not None and len(values) < graph.n_nodes
    full = graph if others_known else graph.with_features(values, nodes)
    return NodeFeatures(FeatureSets(columns, sets, Messages(values, full, nodes)), values, full, nodes)


def _nested_sets(hop: HopFeatures, n_features: int) -> dict[str, NDArray[np.intp]]:
    own = np.arange(n_features if hop.include_own else 0)
    total = n_features * (hop.include_own + hop.hops * len(hop.operators)) + hop.include_degree
    degree = np.arange(total - 1, total) if hop.include_degree else np.arange(0)
    sets = {"own": own} if len(own) else {}
    for steps in range(1, hop.hops + 1):
        inner = np.arange(n_features * (hop.include_own + steps * len(hop.operators)))
        sets[_NAMES[steps] if steps < len(_NAMES) else f"{steps}_hop"] = np.concatenate([inner, degree])
    if not hop.hops and len(degree):
        sets["own_and_degree"] = np.arange(total)
    return sets


def chosen_sets(features: FeatureSets, choice: Any, name: str, *, nested: bool) -> tuple[str, ...]:
    """Sets that an option stands for.

    Parameters
    ----------
    features : FeatureSets
        What there is.
    choice : {"auto", "graph", "own"}
        The option.
    name : str
        Its name, for messages.
    nested : bool
        Whether "auto" tries every set, instead of the smallest and the largest.

    Returns
    -------
    tuple of str
    """
    check_choice(choice, name, ("auto", "graph", "own"))
    names = tuple(features.sets)
    if choice == "own":
        if "own" not in features.sets:
            raise ValueError(f'{name}="own" needs hop_features with include_own=True.')
        return ("own",)
    if choice == "graph":
        return names[-1:]
    return names if nested else tuple(dict.fromkeys((names[0], names[-1])))
