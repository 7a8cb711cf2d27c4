"""Graph: nodes with ids of any kind, edges, and the operators that aggregate over neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import AlignmentError, GraphError
from causalkit.graph import interchange
from causalkit.graph.alignment import row_positions
from causalkit.graph.builders import (
    Structure,
    as_index,
    build_structure,
    edge_positions,
    id_array,
    matrix_edges,
    split_edges,
)
from causalkit.graph.features import check_features
from causalkit.graph.store import GraphStore

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Graph"]


class Graph(GraphStore):
    r"""Nodes, edges and the operators that aggregate over neighbours.

    An edge u → v says that u influences v, so row v of every operator aggregates the in-neighbours of v. With
    A_vu the weight of u → v (1 without weights), d_v = Σ_u A_vu and D̃ = diag(d) + I,

    .. math:: R = D^{-1}A \ (\text{0 for isolates}), \qquad S = \tilde D^{-1/2}(A + I)\tilde D^{-1/2}.

    Undirected edges act both ways. Self-loops and edges of weight zero are dropped, repeats within a direction
    are one edge (weights summed); ``report`` counts them. Distances, components and folds ignore directions.

    A graph is immutable. It has no length, shape or iterator, so that scikit-learn never slices it with the
    rows: it is passed as ``graph=``, next to ``nodes=``, which says what node each row is.

    Build it by :meth:`from_edges`, :meth:`from_pandas` (polars too), :meth:`from_networkx`,
    :meth:`from_scipy`, :meth:`from_pyg` or :meth:`concat`.

    Attributes
    ----------
    n_nodes, n_edges : int
        Nodes; edges (an undirected edge counts once).
    directed, weighted : bool
        Whether edges have a direction, and weights.
    nodes : pandas.Index, shape (n_nodes,)
        Ids in the order of positions.
    degree : ndarray of int64, shape (n_nodes,)
        Number of (in-)neighbours, weights ignored.
    features : ndarray of float64, shape (n_nodes, p), or None
        Covariates of the nodes, where :meth:`with_features` gave some.
    report : GraphReport
        Edges dropped and merged, isolates, components.
    fingerprint : str
        Digest of ids, edges, weights and direction.

    Raises
    ------
    GraphError
        Edges that are not pairs, unknown, missing or unhashable ids, weights that are negative or not finite,
        an undirected edge with two weights, no edges and no list of nodes.

    References
    ----------
    Kipf & Welling (2017), Semi-supervised classification with graph convolutional networks, equation 2 (S);
    Hamilton, Ying & Leskovec (2017), Inductive representation learning on large graphs, section 3.3 (R).

    Examples
    --------
    >>> from causalkit.graph import Graph
    >>> graph = Graph.from_edges([("ann", "bob"), ("bob", "eve"), ("eve", "bob")], nodes=["ann", "bob", "eve", "joe"])
    >>> graph
    Graph(n_nodes=4, n_edges=2, directed=False, weighted=False)
    >>> graph.degree
    array([1, 2, 1, 0])
    >>> graph.adjacency("mean").toarray()[1]
    array([0.5, 0. , 0.5, 0. ], dtype=float32)
    >>> graph.report.edges.reciprocal, graph.report.isolates
    (1, 1)
    """

    def __init__(self) -> None:
        raise TypeError(
            "Graph has no constructor of its own: use Graph.from_edges, .from_pandas, .from_networkx, .from_scipy, "
            ".from_pyg or .concat."
        )

    # ------------------------------------------------------------------ construction

    @classmethod
    def _build(
        cls, structure: Structure, nodes: pd.Index, *, directed: bool, piece: NDArray[np.intp] | None = None
    ) -> Graph:
        for array in (structure.indptr, structure.indices, structure.weights, piece):
            if array is not None:
                array.flags.writeable = False
        graph: Graph = object.__new__(cls)
        vars(graph).update(
            _indptr=structure.indptr,
            _indices=structure.indices,
            _weights=structure.weights,
            _nodes=nodes,
            _directed=bool(directed),
            _counts=structure.counts,
            _piece=piece,
            _features=None,
            _feature_names=None,
            _feature_rows=None,
        )
        return graph

    @classmethod
    def from_edges(
        cls, edges: Any, *, nodes: Any = None, n_nodes: int | None = None, weights: Any = None, directed: bool = False
    ) -> Graph:
        """Build a graph from pairs of ids.

        Parameters
        ----------
        edges : array-like, shape (m, 2), or iterable of pairs
            Source and target of each edge, ids of any hashable type.
        nodes : array-like, shape (n,), optional
            All ids in the order of positions, isolates included. Without it, and without ``n_nodes``, ids come in
            the order of their first appearance.
        n_nodes : int, optional
            Says that edges hold positions 0..n_nodes-1.
        weights : array-like, shape (m,), optional
            Finite and not negative.
        directed : bool, default=False
            Whether an edge acts from source to target only.
        """
        source, target = split_edges(edges)
        _check_flag(directed, "directed")
        return cls._from_columns(source, target, nodes=nodes, n_nodes=n_nodes, weights=weights, directed=directed)

    @classmethod
    def _from_columns(
        cls, source: Any, target: Any, *, nodes: Any, n_nodes: Any, weights: Any, directed: bool
    ) -> Graph:
        u, v, index = edge_positions(source, target, nodes, n_nodes)
        return cls._build(build_structure(u, v, len(index), weights, directed=directed), index, directed=directed)

    @classmethod
    def from_pandas(
        cls,
        frame: Any,
        *,
        source: str = "source",
        target: str = "target",
        weight: str | None = None,
        nodes: Any = None,
        directed: bool = False,
    ) -> Graph:
        """Build a graph from a pandas or polars frame with one row per edge.

        Parameters
        ----------
        frame : DataFrame
            Edges.
        source, target : str
            Columns of ids.
        weight : str, optional
            Column of weights.
        nodes, directed
            As in :meth:`from_edges`.
        """
        columns = getattr(frame, "columns", None)
        if columns is None:
            raise GraphError(
                f"frame is a {type(frame).__name__}: expected a pandas or polars DataFrame with one row per edge. "
                "For pairs of ids use Graph.from_edges."
            )
        absent = [name for name in (source, target, weight) if name is not None and name not in list(columns)]
        if absent:
            raise GraphError(
                f"frame has no column {', '.join(map(repr, absent))}: its columns are "
                f"{', '.join(map(repr, list(columns)[:12]))}. Name them by source=, target= and weight=."
            )
        _check_flag(directed, "directed")
        ends = [id_array(frame[name]) for name in (source, target)]
        weights = None if weight is None else frame[weight]
        return cls._from_columns(*ends, nodes=nodes, n_nodes=None, weights=weights, directed=directed)

    @classmethod
    def from_networkx(cls, g: Any, *, weight: str | None = None) -> Graph:
        """Build a graph from a networkx graph: its nodes in their order, its direction.

        Parameters
        ----------
        g : networkx.Graph, DiGraph or a multigraph
            Parallel edges are merged.
        weight : str, optional
            Edge attribute with the weights.
        """
        source, target, weights, nodes, directed = interchange.networkx_edges(g, weight)
        structure = build_structure(source, target, len(nodes), weights, directed=directed)
        return cls._build(structure, as_index(nodes), directed=directed)

    @classmethod
    def from_scipy(cls, adjacency: Any, *, nodes: Any = None, directed: bool | None = None) -> Graph:
        """Build a graph from a square sparse matrix whose entry [u, v] is the weight of the edge u → v.

        This is the convention of ``scipy.sparse.csgraph`` and of :meth:`to_scipy`; :meth:`adjacency` has receivers
        in its rows. A matrix of ones only gives a graph without weights.

        Parameters
        ----------
        adjacency : sparse matrix or array, shape (n, n)
            Entries.
        nodes : array-like, shape (n,), optional
            Ids in the order of the rows; positions 0..n-1 without.
        directed : bool, optional
            None: directed unless the matrix is symmetric.
        """
        source, target, weights, n, found = matrix_edges(adjacency, directed)
        index = None if nodes is None else as_index(nodes)
        if index is not None and len(index) != n:
            raise GraphError(f"nodes lists {len(index)} ids, but adjacency has {n} rows: pass one id per row.")
        structure = build_structure(source, target, n, weights, directed=found)
        return cls._build(structure, as_index(np.arange(n)) if index is None else index, directed=found)

    @classmethod
    def from_pyg(cls, data: Any) -> Graph:
        """Build a graph from a ``torch_geometric.data.Data``.

        Edges come from ``edge_index``, weights from ``edge_weight`` (or an ``edge_attr`` of one column), features
        from ``x``. The graph is undirected if every edge is listed in both directions with one weight.
        """
        parts = interchange.pyg_parts(data)
        graph = cls.from_scipy(parts.adjacency)
        return graph if parts.x is None else graph.with_features(parts.x)

    @classmethod
    def concat(cls, graphs: Sequence[Graph]) -> Graph:
        """Join graphs without common nodes into one; ``report.piece`` says which one a node came from.

        Features are kept where all of the graphs have the same ones. Ids must not repeat: graphs built from
        positions need ``nodes=`` first.
        """
        return interchange.joined(cls, list(graphs))

    def with_features(self, X: Any, nodes: Any = None) -> Graph:
        """Attach covariates, from which neighbours that are not among the rows of a call are read.

        Parameters
        ----------
        X : array-like or frame, shape (m, p)
            Numeric, finite.
        nodes : array-like, shape (m,), optional
            Node of each row. Nodes without a row have no covariates.

        Returns
        -------
        Graph
            The same structure, shared, with features.
        """
        values, names = check_features(X)
        positions = row_positions(X, self, nodes)
        full = np.zeros((self.n_nodes, values.shape[1]))
        full[positions] = values
        present = np.zeros(self.n_nodes, bool)
        present[positions] = True
        full.flags.writeable = present.flags.writeable = False
        graph: Graph = object.__new__(type(self))
        vars(graph).update(vars(self))
        vars(graph).update(
            _features=full, _feature_names=tuple(names), _feature_rows=None if present.all() else present
        )
        return graph

    # ------------------------------------------------------------------ parts

    def subgraph(self, ids: Any) -> Graph:
        """Graph of some nodes, in the order given, with the edges and features that they have."""
        positions = self.positions(ids)
        if len(positions) == 0:
            raise GraphError("ids is empty: a graph has at least one node.")
        if len(np.unique(positions)) < len(positions):
            raise AlignmentError("ids repeats nodes: list each node once, for example with pandas.unique.")
        return interchange.induced(self, positions)

    # ------------------------------------------------------------------ ways out

    def to_scipy(self) -> Any:
        """Sparse matrix with the weight of the edge u → v at [u, v], shape (n_nodes, n_nodes)."""
        return self.adjacency("raw").T.tocsr()

    def to_frame(self) -> pd.DataFrame:
        """One row per edge: ``source``, ``target`` and, with weights, ``weight``; isolates have none."""
        return interchange.edge_frame(self)

    def to_networkx(self) -> Any:
        """``networkx.Graph`` or ``DiGraph`` with the ids as nodes and the weights as ``weight``."""
        return interchange.to_networkx(self)

    def to_pyg(self) -> Any:
        """``torch_geometric.data.Data`` with ``edge_index`` (both directions), ``edge_weight`` and ``x``."""
        return interchange.to_pyg(self)


def _check_flag(value: Any, name: str) -> None:
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False; got {value!r}.")
