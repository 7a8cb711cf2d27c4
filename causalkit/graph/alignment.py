"""Which node each row is: the one place that matches rows and nodes, and never by a guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import AlignmentError
from causalkit.graph.builders import id_array
from causalkit.validation import check_same_index

if TYPE_CHECKING:
    from causalkit.graph.graph import Graph
    from causalkit.graph.store import GraphStore

__all__ = ["check_graph", "require_rows", "row_positions", "unknown_ids"]

Positions = NDArray[np.intp]
_SHOWN = 5


def check_graph(graph: Any, name: str = "graph") -> Graph:
    """Check that an argument is a Graph; otherwise say which constructor makes one of it."""
    from causalkit.graph.graph import Graph

    if isinstance(graph, Graph):
        return graph
    if graph is None:
        raise TypeError(f"{name} is missing: expected a causalkit.graph.Graph, got None. {_BUILD}.")
    kind = type(graph)
    module = kind.__module__.partition(".")[0]
    if module == "networkx":
        remedy = f"Graph.from_networkx({name})"
    elif module == "scipy":
        remedy = f"Graph.from_scipy({name})"
    elif module == "torch_geometric":
        remedy = f"Graph.from_pyg({name})"
    elif module in ("pandas", "polars"):
        remedy = f"Graph.from_pandas({name})"
    elif isinstance(graph, np.ndarray) and graph.ndim == 2 and graph.shape[0] == graph.shape[1] != 2:
        remedy = f"Graph.from_scipy(scipy.sparse.csr_array({name}))"
    else:
        remedy = f"Graph.from_edges({name})"
    raise TypeError(f"{name} must be a causalkit.graph.Graph, got {kind.__module__}.{kind.__qualname__}: use {remedy}.")


_BUILD = "Build one by Graph.from_edges, .from_pandas, .from_networkx, .from_scipy or .from_pyg"


def require_rows(X: Any, /, **others: Any) -> None:
    """Refuse what describes rows of X where there is no X, which means the rows of the fit."""
    given = [name for name, value in others.items() if value is not None]
    if X is None and given:
        raise ValueError(
            f"{' and '.join(given)} given without X: without X the effects are those of the rows of fit. Pass X= too, "
            f"or leave {' and '.join(given)} out."
        )


def unknown_ids(ids: NDArray[Any], unknown: NDArray[np.bool_], graph: GraphStore) -> str:
    """What to say about ids that a graph does not have."""
    offenders = ", ".join(map(repr, ids[unknown][:_SHOWN].tolist()))
    return (
        f"{int(unknown.sum())} of {len(ids)} ids are not in the graph (first: {offenders}). It has {graph.n_nodes} "
        f"nodes (first: {_first_ids(graph)}): use ids of the same type and spelling, and list isolated nodes in nodes= "
        "when the graph is built."
    )


def _first_ids(graph: GraphStore) -> str:
    return ", ".join(map(repr, graph.nodes[:_SHOWN].tolist()))


def row_positions(X: Any, graph: Graph, nodes: Any = None, *, n_rows: int | None = None) -> Positions:
    """Position in the graph of every row.

    Without ``nodes``, row i is node i, and that is accepted only where nothing else can be meant: as many rows as
    nodes, and a graph whose ids are 0..n-1 in order or a frame whose index equals ``graph.nodes`` in order.

    Parameters
    ----------
    X : array-like or frame, shape (n, p)
        The rows.
    graph : Graph
        The nodes.
    nodes : array-like, shape (n,), optional
        Node id of each row.
    n_rows : int, optional
        Number of rows; ``len(X)`` without.

    Returns
    -------
    ndarray of int, shape (n,)

    Raises
    ------
    AlignmentError
        Rows and nodes cannot be matched; ids are unknown, repeated or of another number than the rows.
    """
    n = n_rows if n_rows is not None else int(X.shape[0]) if hasattr(X, "shape") else len(X)
    return _implied(X, graph, n) if nodes is None else _named(X, graph, nodes, n)


def _named(X: Any, graph: Graph, nodes: Any, n: int) -> Positions:
    import pandas as pd

    try:
        check_same_index(X, nodes, ("X", "nodes"))
    except ValueError as error:
        raise AlignmentError(str(error)) from None
    ids = id_array(nodes)
    if ids.shape != (n,):
        raise AlignmentError(
            f"nodes must hold the node id of each row: expected {n} ids like the rows of X, got shape {ids.shape}. "
            "Slice nodes with X."
        )
    try:
        positions: Positions = graph.nodes.get_indexer(pd.Index(ids, tupleize_cols=False))
    except TypeError as error:
        raise AlignmentError(f"nodes holds an id that is not hashable ({error}): pass ids of the graph.") from None
    unknown = positions < 0
    if unknown.any():
        raise AlignmentError(f"nodes: {unknown_ids(ids, unknown, graph)}")
    counts = np.bincount(positions, minlength=graph.n_nodes)
    if counts.max() > 1:
        offenders = ", ".join(map(repr, graph.nodes[np.flatnonzero(counts > 1)[:_SHOWN]].tolist()))
        raise AlignmentError(
            f"nodes repeats {int((counts > 1).sum())} ids (first: {offenders}; {int(counts.max())} rows for one node): "
            "expected one row per node. Average or drop the rows of a node first."
        )
    return positions


def _implied(X: Any, graph: Graph, n: int) -> Positions:
    import pandas as pd

    labels = getattr(X, "index", None)
    index = pd.Index(id_array(labels), tupleize_cols=False) if isinstance(labels, pd.Index) else None
    same = index is not None and index.equals(graph.nodes)
    if index is not None and not same and n == graph.n_nodes and index.is_unique:
        # The same labels in another order: the rows are known by label, so their positions say nothing.
        found = graph.nodes.get_indexer(index)
        if (found >= 0).all():
            raise AlignmentError(
                f"X.index and graph.nodes differ in order: row 0 is {index[0]!r}, node {int(found[0])} of the graph. "
                "Pass nodes=X.index."
            )
    positional = isinstance(graph.nodes, pd.RangeIndex)
    if n == graph.n_nodes and (positional or same):
        return np.arange(n)
    if index is not None and (graph.nodes.get_indexer(index) >= 0).all():
        remedy = "The index of X holds ids of the graph: pass nodes=X.index"
    elif positional:
        remedy = "Pass nodes= with the position of each row's node"
    else:
        remedy = "Pass nodes= with the node id of each row"
    why = "" if n != graph.n_nodes else "; the ids are not 0..n-1 in order, so the position of a row says nothing"
    raise AlignmentError(
        f"nodes is missing, and rows cannot be matched to nodes: X has {n} rows, the graph {graph.n_nodes} nodes "
        f"(first ids: {_first_ids(graph)}){why}. {remedy}."
    )
