r"""Exposure mappings: how the treatments of others reach a node, and the chances of it under known assignment.

A mapping :math:`G_i = f_i(T_{-i})` says which part of the other treatments matters. Linear ones are weights,
:math:`G = ET`; "any" and "threshold" count treated neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.exceptions import GraphError
from causalkit.graph.graph import Graph
from causalkit.validation import check_choice, check_integer, check_vector

__all__ = ["LINEAR_KINDS", "ExposureMapping", "exposure_mapping", "neighbour_count_probability", "resolve_exposure"]

Array = NDArray[np.float64]

LINEAR_KINDS = ("share", "count", "weighted", "weighted_share", "two_hop_share")
_KINDS = (*LINEAR_KINDS, "any", "threshold")


@dataclass(frozen=True, eq=False)
class ExposureMapping:
    """A checked mapping.

    Attributes
    ----------
    kind : str
        One of the named kinds, or "matrix".
    weights : CSR matrix, shape (N, N)
        E of a linear mapping; for "any" and "threshold" the 0/1 matrix of in-neighbours.
    threshold : int
        Smallest number of treated neighbours that counts, for "any" (1) and "threshold".
    reach : int
        How many steps away a treatment may act, K.
    """

    kind: str
    weights: Any
    threshold: int = 1
    reach: int = 1

    @property
    def is_linear(self) -> bool:
        """Whether G = ET."""
        return self.kind not in ("any", "threshold")

    def values(self, treatment: Array) -> Array:
        """G of every node, shape (N,)."""
        exposure = np.asarray(self.weights @ treatment, dtype=np.float64)
        return exposure if self.is_linear else (exposure >= self.threshold).astype(np.float64)


def require_graph(graph: Any) -> Graph:
    """Refuse anything but a Graph."""
    if not isinstance(graph, Graph):
        raise TypeError(
            f"graph must be a Graph, got {type(graph).__name__}: build one with Graph.from_edges, Graph.from_pandas, "
            "Graph.from_networkx, Graph.from_scipy or Graph.from_pyg."
        )
    return graph


def resolve_exposure(graph: Graph, kind: Any, threshold: int | None = None) -> ExposureMapping:
    """Turn a named kind or a sparse matrix into a mapping on this graph.

    Raises
    ------
    GraphError
        A matrix of another shape, with own treatment on its diagonal, or with values that are not finite.
    ValueError
        An unknown kind, or a threshold where none belongs or none is given.
    """
    n = require_graph(graph).n_nodes
    if sparse.issparse(kind):
        matrix = sparse.csr_array(kind, dtype=np.float64, copy=True)  # what a learner keeps must not change with it
        if matrix.shape != (n, n):
            raise GraphError(
                f"the exposure matrix must have shape ({n}, {n}), one row and column per node; got {kind.shape}."
            )
        if not np.isfinite(matrix.data).all():
            raise GraphError("the exposure matrix holds NaN or infinity: expected finite weights.")
        own = matrix.diagonal() != 0
        if own.any():
            raise GraphError(
                f"the exposure matrix has {int(own.sum())} non-zero entries on its diagonal (first: node "
                f"{graph.nodes[int(np.argmax(own))]!r}): own treatment is T, not exposure. Set the diagonal to 0."
            )
        return ExposureMapping("matrix", matrix)
    check_choice(kind, "exposure", _KINDS)
    if (kind == "threshold") != (threshold is not None):
        raise ValueError(
            f'threshold belongs to exposure="threshold" and is needed there; got exposure={kind!r} and '
            f"threshold={threshold!r}."
        )
    if kind in ("any", "threshold"):
        least = 1 if threshold is None else check_integer(threshold, "threshold", low=1)
        return ExposureMapping(kind, graph.adjacency("binary"), least)
    return ExposureMapping(kind, _linear_weights(graph, kind), reach=2 if kind == "two_hop_share" else 1)


def _linear_weights(graph: Graph, kind: str) -> Any:
    """E of a named linear mapping; rows of nodes without neighbours are empty."""
    if kind == "count":
        return sparse.csr_array(graph.adjacency("binary"), dtype=np.float64)
    if kind == "weighted":
        return sparse.csr_array(graph.adjacency("raw"), dtype=np.float64)
    binary = sparse.csr_array(graph.adjacency("binary"), dtype=np.float64)
    if kind == "share":
        return _row_shares(binary)
    if kind == "weighted_share":
        return _row_shares(sparse.csr_array(graph.adjacency("raw"), dtype=np.float64))
    two = sparse.csr_array(binary @ binary)
    two.data[:] = 1.0
    # Nodes at exactly two steps: neither the node itself nor its neighbours.
    two = two - two.multiply(binary) - sparse.diags_array(two.diagonal(), format="csr")
    two = sparse.csr_array(two)
    two.eliminate_zeros()
    return _row_shares(two)


def _row_shares(matrix: Any) -> Any:
    total = np.asarray(matrix.sum(axis=1)).ravel()
    scale = np.divide(1.0, total, out=np.zeros(len(total)), where=total > 0)
    return sparse.csr_array(sparse.diags_array(scale, format="csr") @ matrix)


def exposure_mapping(graph: Graph, treatment: Any, kind: Any = "share", *, threshold: int | None = None) -> Array:
    r"""Exposure of every node to the treatments of others, :math:`G_i = f_i(T_{-i})`.

    Parameters
    ----------
    graph : Graph
        An edge u → v lets u act on v; undirected edges act both ways.
    treatment : array-like, shape (n_nodes,)
        Treatment of every node, in the order of ``graph.nodes``; numbers, 0/1 for "any" and "threshold".
    kind : str or sparse matrix, default="share"
        - "share": mean treatment of the neighbours; "count": their sum.
        - "weighted": sum with the edges' weights; "weighted_share": their weighted mean.
        - "two_hop_share": mean treatment of the nodes at exactly two steps.
        - "any": 1 if some neighbour is treated; "threshold": 1 if at least ``threshold`` are.
        - a sparse matrix E with an empty diagonal: E @ treatment.
    threshold : int, optional
        For "threshold".

    Returns
    -------
    ndarray, shape (n_nodes,)
        0 for nodes without neighbours: they have no exposure.

    Raises
    ------
    TypeError
        ``graph`` is no Graph.
    GraphError
        A matrix that does not fit.
    ValueError
        An unknown kind, or treatments of another length or not finite.

    References
    ----------
    Aronow & Samii 2017, Annals of Applied Statistics 11.

    Examples
    --------
    >>> from causalkit.graph import Graph, exposure_mapping
    >>> path = Graph.from_edges([(0, 1), (1, 2)], n_nodes=3)
    >>> exposure_mapping(path, [1, 0, 0]).tolist()
    [0.0, 0.5, 0.0]
    >>> exposure_mapping(path, [1, 0, 0], "any").tolist()
    [0.0, 1.0, 0.0]
    """
    mapping = resolve_exposure(graph, kind, threshold)
    values = check_vector(treatment, "treatment", n_rows=graph.n_nodes, like="graph")
    if not mapping.is_linear:
        require_binary(values)
    return mapping.values(values)


def require_binary(treatment: Array) -> None:
    """Refuse treatments that are not 0 or 1, where neighbours are counted."""
    bad = (treatment != 0) & (treatment != 1)
    if bad.any():
        raise ValueError(
            f"treatment must be 0 or 1 to count treated neighbours; got {int(bad.sum())} other values (first: position "
            f"{int(np.argmax(bad))}, {treatment[np.argmax(bad)]:g}). Code the two levels as 0 and 1."
        )


def neighbour_count_probability(neighbours: Any, probability: Array, least: int) -> Array:
    r"""P(at least ``least`` neighbours are treated) under independent Bernoulli treatments, exactly.

    The number of treated neighbours is Poisson-binomial; its distribution up to ``least`` is built up one neighbour at
    a time, for all nodes that have as many neighbours at once.

    Parameters
    ----------
    neighbours : CSR matrix, shape (N, N)
        In-neighbours of each row.
    probability : ndarray, shape (N,)
        Treatment probability of each node.
    least : int
        At least 1.

    Returns
    -------
    ndarray, shape (N,)
    """
    matrix = sparse.csr_array(neighbours)
    starts, degree = matrix.indptr[:-1], np.diff(matrix.indptr)
    if least == 1:  # 1 - Π(1 - p), by logarithms so that one pass serves hubs as well
        with np.errstate(divide="ignore"):
            logs = np.log1p(-probability[matrix.indices])
        total = np.zeros(len(degree))
        filled = degree > 0
        total[filled] = np.add.reduceat(logs, starts[filled]) if filled.any() else 0.0
        return np.asarray(-np.expm1(total))
    state = np.zeros((len(degree), least + 1))  # P(count = 0), ..., P(count = least - 1), P(count >= least)
    state[:, 0] = 1.0
    order = np.argsort(-degree, kind="stable")
    reaching = len(degree) - np.searchsorted(np.sort(degree), np.arange(int(degree.max(initial=0))), side="right")
    for step, count in enumerate(reaching):
        rows = order[:count]
        p = probability[matrix.indices[starts[rows] + step]][:, None]
        before = state[rows]
        after = before * (1 - p)
        after[:, 1:] += before[:, :-1] * p
        after[:, -1] += before[:, -1] * p[:, 0]
        state[rows] = after
    return state[:, -1]
