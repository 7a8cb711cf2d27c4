"""Graph: nodes with ids of any kind, edges, and the operators that aggregate over neighbours."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.exceptions import AlignmentError, GraphError
from causalkit.graph import interchange
from causalkit.graph.alignment import row_positions, unknown_ids
from causalkit.graph.builders import (
    EdgeCounts,
    Structure,
    as_index,
    build_structure,
    edge_positions,
    id_array,
    matrix_edges,
    split_edges,
)
from causalkit.graph.features import check_features
from causalkit.graph.operators import KINDS, operator
from causalkit.inference.network_distance import (
    Skeleton,
    ball_blocks,
    ball_sizes,
    mean_path_length,
    network_skeleton,
)
from causalkit.validation import check_choice, check_integer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Graph", "GraphReport"]

Positions = NDArray[np.intp]
_MAX_PAIRS = 5e8


@dataclass(frozen=True)
class GraphReport:
    """What a graph is made of, and what was left out when it was built.

    Attributes
    ----------
    edges : EdgeCounts
        Edges listed, self-loops and zero weights dropped, duplicates merged, edges listed in both directions.
    isolates : int
        Nodes without any edge.
    components : int
        Connected pieces, directions ignored.
    largest_component : int
        Nodes of the largest of them.
    piece : ndarray of int, shape (n_nodes,), or None
        Which graph of :meth:`Graph.concat` a node came from: ready for ``groups=``.
    """

    edges: EdgeCounts
    isolates: int
    components: int
    largest_component: int
    piece: NDArray[np.intp] | None = field(default=None, repr=False)


class Graph:
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

    _indptr: NDArray[np.int32]
    _indices: NDArray[np.int32]
    _weights: NDArray[np.float32] | None
    _nodes: pd.Index
    _directed: bool
    _counts: EdgeCounts
    _piece: NDArray[np.intp] | None
    _features: NDArray[np.float64] | None
    _feature_names: tuple[str, ...] | None
    _feature_rows: NDArray[np.bool_] | None

    # Rebuilt when needed, so neither files nor pickles carry it.
    _not_saved = ("_cache",)

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

    # ------------------------------------------------------------------ what it is

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self._indptr) - 1

    @property
    def n_edges(self) -> int:
        """Number of edges; an undirected edge counts once."""
        return len(self._indices) if self._directed else len(self._indices) // 2

    @property
    def directed(self) -> bool:
        """Whether edges have a direction."""
        return self._directed

    @property
    def weighted(self) -> bool:
        """Whether edges have weights."""
        return self._weights is not None

    @property
    def nodes(self) -> pd.Index:
        """Ids in the order of positions."""
        return self._nodes

    @property
    def degree(self) -> NDArray[np.int64]:
        """Number of (in-)neighbours of each node."""
        return np.diff(self._indptr).astype(np.int64)

    @property
    def features(self) -> NDArray[np.float64] | None:
        """Covariates of the nodes, zeros where a node has none, or None."""
        return self._features

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of the covariates, or None."""
        return self._feature_names

    @property
    def feature_rows(self) -> NDArray[np.bool_] | None:
        """Which nodes have covariates, shape (n_nodes,); None: all of those that there are."""
        return self._feature_rows

    @property
    def report(self) -> GraphReport:
        """Edges dropped and merged, isolates, components."""
        if "report" not in self._stored:
            sizes = np.bincount(self.components())
            isolates = int((np.diff(self.skeleton().indptr) == 0).sum())
            self._stored["report"] = GraphReport(self._counts, isolates, len(sizes), int(sizes.max()), self._piece)
        report: GraphReport = self._stored["report"]
        return report

    @property
    def fingerprint(self) -> str:
        """Digest of ids, edges, weights and direction: equal graphs have equal ones."""
        if "fingerprint" not in self._stored:
            import pandas as pd

            digest = hashlib.sha256(f"{self._directed}{self.weighted}{self.n_nodes}".encode())
            if not isinstance(self._nodes, pd.RangeIndex):
                digest.update(pd.util.hash_array(self._nodes.to_numpy(), categorize=False).tobytes())
            for array in (self._indptr, self._indices, self._weights):
                digest.update(b"" if array is None else np.ascontiguousarray(array).data)
            self._stored["fingerprint"] = digest.hexdigest()
        return str(self._stored["fingerprint"])

    def __repr__(self) -> str:
        features = "" if self._features is None else f", n_features={self._features.shape[1]}"
        return (
            f"Graph(n_nodes={self.n_nodes}, n_edges={self.n_edges}, directed={self.directed}, "
            f"weighted={self.weighted}{features})"
        )

    # ------------------------------------------------------------------ look-up and operators

    def positions(self, ids: Any) -> Positions:
        """Positions of ids, shape (m,); unknown ids raise AlignmentError."""
        import pandas as pd

        array = id_array(ids)
        found: Positions = self._nodes.get_indexer(pd.Index(array, tupleize_cols=False))
        if (found < 0).any():
            raise AlignmentError(f"ids: {unknown_ids(array, found < 0, self)}")
        return found

    def adjacency(self, kind: str = "raw") -> Any:
        """Operator with receivers in the rows: row v holds the in-neighbours of v.

        Parameters
        ----------
        kind : {"raw", "binary", "mean", "sym"}, default="raw"
            "raw": A; "binary": its pattern; "mean": R; "sym": S of the class.

        Returns
        -------
        scipy.sparse.csr_array of float32, shape (n_nodes, n_nodes)
            Do not change it in place: its arrays are shared and read-only.
        """
        check_choice(kind, "kind", KINDS)
        if kind not in self._stored:
            self._check_loaded()
            self._stored[kind] = operator(self._indptr, self._indices, self._weights, kind)
        return _shared(self._stored[kind])

    def skeleton(self) -> Any:
        """Edges without direction or weight, float32 ones, shape (n_nodes, n_nodes), as csr_array."""
        if not self._directed:
            return self.adjacency("binary")
        if "skeleton" not in self._stored:
            binary = self.adjacency("binary")
            both = binary.maximum(binary.T.tocsr())
            both.sort_indices()
            self._stored["skeleton"] = both
        return _shared(self._stored["skeleton"])

    def subgraph(self, ids: Any) -> Graph:
        """Graph of some nodes, in the order given, with the edges and features that they have."""
        positions = self.positions(ids)
        if len(positions) == 0:
            raise GraphError("ids is empty: a graph has at least one node.")
        if len(np.unique(positions)) < len(positions):
            raise AlignmentError("ids repeats nodes: list each node once, for example with pandas.unique.")
        return interchange.induced(self, positions)

    # ------------------------------------------------------------------ distances

    def components(self) -> NDArray[np.int32]:
        """Connected piece of each node, shape (n_nodes,), directions ignored."""
        labels: NDArray[np.int32] = sparse.csgraph.connected_components(self.adjacency("binary"), directed=False)[1]
        return labels

    def mean_path_length(self, n_sources: int = 100, random_state: Any = None) -> float:
        """Mean distance from sampled nodes to the others within the largest component, directions ignored."""
        n_sources = check_integer(n_sources, "n_sources", low=1)
        return mean_path_length(self._distances, n_sources=n_sources, random_state=random_state)

    def balls(self, radius: int) -> Any:
        """Pairs of nodes at most ``radius`` steps apart, each node with itself, directions ignored.

        Parameters
        ----------
        radius : int
            Largest distance.

        Returns
        -------
        scipy.sparse.csr_array of bool, shape (n_nodes, n_nodes)
            GraphError where it would hold more than 5·10⁸ pairs.
        """
        radius = check_integer(radius, "radius", low=0)
        sizes = ball_sizes(self._distances, radius, cap=_MAX_PAIRS / self.n_nodes)
        if sizes.exceeded:
            raise GraphError(
                f"radius={radius} gives more than {_MAX_PAIRS:.0e} pairs of nodes: radius {len(sizes.means) - 1} has "
                f"{sizes.means[-1]:.0f} nodes in a ball on average. Take a smaller radius, or "
                "causalkit.inference.network_covariance, which works in blocks."
            )
        return sparse.vstack([block for _, block, _ in ball_blocks(self._distances, radius)], format="csr")

    @property
    def _distances(self) -> Skeleton:
        if "distances" not in self._stored:
            self._stored["distances"] = network_skeleton(self.skeleton())
        found: Skeleton = self._stored["distances"]
        return found

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

    # ------------------------------------------------------------------ immutability

    @property
    def _stored(self) -> dict[str, Any]:
        cache: dict[str, Any] = vars(self).setdefault("_cache", {})
        return cache

    def _check_loaded(self) -> None:
        """Refuse arrays that would read beyond their ends: a file may have been edited."""
        indptr, indices, n = self._indptr, self._indices, len(self._indptr) - 1
        fits = self._weights is None or len(self._weights) == len(indices)
        rows = n == len(self._nodes) and indptr[0] == 0 and indptr[-1] == len(indices) and (np.diff(indptr) >= 0).all()
        if not fits or not rows or (len(indices) and not 0 <= indices.min() <= indices.max() < n):
            raise GraphError("the arrays of this graph do not fit together: build or save it again.")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"Graph is immutable, so {name!r} cannot be set: build another graph from its edges.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Graph is immutable, so {name!r} cannot be deleted.")

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in self._not_saved}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def _shared(matrix: Any) -> Any:
    """Another matrix over the same arrays, so that nobody can exchange the stored one's."""
    return sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape, copy=False)


def _check_flag(value: Any, name: str) -> None:
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False; got {value!r}.")
