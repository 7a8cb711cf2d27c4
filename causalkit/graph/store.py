"""What a graph holds and answers: arrays, ids, operators, distances; nothing of it can be changed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.exceptions import AlignmentError, GraphError
from causalkit.graph.alignment import unknown_ids
from causalkit.graph.builders import EdgeCounts, id_array
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

__all__ = ["GraphReport", "GraphStore"]

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


class GraphStore:
    """Arrays of a graph and what follows from them; :class:`Graph` adds the ways in and out."""

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
        if kind == "binary" and not self.weighted:
            kind = "raw"  # the same ones, stored once
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

    # ------------------------------------------------------------------ distances

    def components(self) -> NDArray[np.int32]:
        """Connected piece of each node, shape (n_nodes,), directions ignored."""
        labels: NDArray[np.int32] = sparse.csgraph.connected_components(self.adjacency("binary"), directed=False)[1]
        return labels

    def mean_path_length(self, n_sources: int = 100, random_state: Any = None) -> float:
        """Mean distance from sampled nodes to the others within the largest component, directions ignored."""
        n_sources = check_integer(n_sources, "n_sources", low=1)
        return mean_path_length(self.distances, n_sources=n_sources, random_state=random_state)

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
        sizes = ball_sizes(self.distances, radius, cap=_MAX_PAIRS / self.n_nodes)
        if sizes.exceeded:
            raise GraphError(
                f"radius={radius} gives more than {_MAX_PAIRS:.0e} pairs of nodes: radius {len(sizes.means) - 1} has "
                f"about {sizes.means[-1]:.0f} nodes in a ball. Take a smaller radius, or "
                "causalkit.inference.network_covariance, which works in blocks."
            )
        return sparse.vstack([block for _, block, _ in ball_blocks(self.distances, radius)], format="csr")

    @property
    def distances(self) -> Skeleton:
        """Distances between nodes, ready for the functions of :mod:`causalkit.inference`; computed once."""
        if "distances" not in self._stored:
            self._stored["distances"] = network_skeleton(self.skeleton())
        found: Skeleton = self._stored["distances"]
        return found

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
