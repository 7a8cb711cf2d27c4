"""From edge columns of any kind to the arrays of a graph: ids, checks, merging, symmetry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.exceptions import GraphError
from causalkit.validation import check_integer

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "EdgeCounts",
    "Structure",
    "as_index",
    "build_structure",
    "edge_positions",
    "first_rows",
    "id_array",
    "matrix_edges",
    "split_edges",
]

Positions = NDArray[np.intp]
_MAX_NODES = 2**31 - 1
# Two listings of one undirected edge may differ by rounding, for example after a round trip through float32.
_WEIGHT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class EdgeCounts:
    """What happened to the edges on the way in.

    Attributes
    ----------
    listed : int
        Edges as they were passed.
    self_loops : int
        Edges from a node to itself, dropped.
    zero_weights : int
        Edges of weight zero, dropped.
    duplicates : int
        Repeats within a direction, merged into the first (weights summed).
    reciprocal : int
        Undirected edges that were listed in both directions, which is one edge.
    """

    listed: int
    self_loops: int = 0
    zero_weights: int = 0
    duplicates: int = 0
    reciprocal: int = 0

    def __add__(self, other: EdgeCounts) -> EdgeCounts:
        return EdgeCounts(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True, eq=False)
class Structure:
    """Arrays of a graph: row v lists the nodes that influence v.

    Attributes
    ----------
    indptr : ndarray of int32, shape (n + 1,)
        Start of each row.
    indices : ndarray of int32, shape (number of stored entries,)
        In-neighbours, sorted within a row.
    weights : ndarray of float32, shape (number of stored entries,), or None
        Weights; None where every edge counts one.
    counts : EdgeCounts
        What was dropped and merged.
    """

    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    weights: NDArray[np.float32] | None
    counts: EdgeCounts


def first_rows(bad: NDArray[np.bool_], limit: int = 5) -> str:
    """Positions of the first true entries, for messages."""
    rows = np.flatnonzero(bad)
    return ", ".join(map(str, rows[:limit])) + (", ..." if len(rows) > limit else "")


# ---------------------------------------------------------------------- ids


def id_array(values: Any) -> NDArray[Any]:
    """Ids as a plain array with one entry per id; tuples stay whole and integral floats become integers."""
    import pandas as pd

    if hasattr(values, "to_numpy"):
        array = np.asarray(values.to_numpy())
    elif isinstance(values, np.ndarray):
        array = values
    else:
        items = [values] if isinstance(values, str | bytes) or not isinstance(values, Iterable) else list(values)
        # One entry at a time: numpy would take tuples for a further dimension and numbers beside text for text.
        array = np.fromiter(items, dtype=object, count=len(items))
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.hasobject and array.ndim == 1 and pd.api.types.infer_dtype(array, skipna=False) != "string":
        array = np.asarray(pd.Index(array, dtype=object, tupleize_cols=False).infer_objects().to_numpy())
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.floor(array)).all():
        array = array.astype(np.int64)
    return array


def as_index(ids: Any, name: str = "nodes") -> pd.Index:
    """Distinct ids as an index; 0..n-1 in order become a range, which needs no memory."""
    import pandas as pd

    array = id_array(ids)
    if array.ndim != 1 or len(array) == 0:
        raise GraphError(f"{name} must list one id per node, at least one: got shape {array.shape}.")
    missing = np.asarray(pd.isna(array))
    if missing.any():
        raise GraphError(
            f"{name} has {int(missing.sum())} missing ids (first at rows {first_rows(missing)}): give every node an id."
        )
    try:
        index = pd.Index(array, tupleize_cols=False)
        repeated = index.duplicated()
    except TypeError as error:
        raise GraphError(
            f"{name} holds an id that is not hashable ({error}): use numbers, strings or tuples."
        ) from None
    if repeated.any():
        shown = ", ".join(map(repr, index[repeated][:5].tolist()))
        raise GraphError(
            f"{name} repeats {int(repeated.sum())} ids (first: {shown}): every node has one id. "
            "List each node once, for example with pandas.unique."
        )
    if array.dtype.kind in "iu" and array[0] == 0 and array[-1] == len(array) - 1 and (np.diff(array) == 1).all():
        return pd.RangeIndex(len(array))
    return index


def split_edges(edges: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two columns of ids from an (m, 2) array, a frame of two columns, or pairs."""
    if sparse.issparse(edges) or hasattr(edges, "edges"):
        kind = "from_scipy" if sparse.issparse(edges) else "from_networkx"
        raise GraphError(f"edges is a {type(edges).__name__}: expected pairs of ids; use Graph.{kind}.")
    if hasattr(edges, "to_numpy"):
        edges = edges.to_numpy()
    if isinstance(edges, np.ndarray):
        if edges.size == 0:
            return np.empty(0, np.intp), np.empty(0, np.intp)
        if edges.ndim != 2 or edges.shape[1] != 2:
            raise GraphError(
                f"edges must have shape (m, 2), one row per edge: got shape {edges.shape}. "
                "For two arrays of ids pass numpy.column_stack([source, target]); weights go to weights=."
            )
        return edges[:, 0], edges[:, 1]
    if not isinstance(edges, Iterable):
        raise GraphError(f"edges must be an (m, 2) array or pairs of ids: got a {type(edges).__name__}.")
    rows = list(edges)
    bad = np.array([isinstance(row, str | bytes) or not hasattr(row, "__len__") or len(row) != 2 for row in rows], bool)
    if bad.any():
        first = rows[int(np.argmax(bad))]
        raise GraphError(
            f"edges must be pairs (source, target): {int(bad.sum())} of {len(rows)} are not (rows {first_rows(bad)}; "
            f"first: {first!r}). Weights go to weights=."
        )
    if not rows:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    source, target = zip(*rows, strict=True)
    return id_array(source), id_array(target)


def edge_positions(
    source: NDArray[Any], target: NDArray[Any], nodes: Any, n_nodes: Any
) -> tuple[Positions, Positions, pd.Index]:
    """Positions of both ends of every edge, and the index of ids."""
    import pandas as pd

    if nodes is not None and n_nodes is not None:
        raise GraphError("nodes and n_nodes were both given: pass ids with nodes=, or n_nodes= for positions 0..n-1.")
    if n_nodes is not None:
        n = check_integer(n_nodes, "n_nodes", low=1, high=_MAX_NODES)
        return (*_given_positions(source, target, n), pd.RangeIndex(n))
    if nodes is not None:
        index = as_index(nodes)
        ends = [index.get_indexer(pd.Index(id_array(column), tupleize_cols=False)) for column in (source, target)]
        unknown = (ends[0] < 0) | (ends[1] < 0)
        if unknown.any():
            i = int(np.argmax(unknown))
            raise GraphError(
                f"edges name ids that nodes does not list, in {int(unknown.sum())} of {len(unknown)} rows "
                f"(rows {first_rows(unknown)}; first: {source[i]!r} - {target[i]!r}): add them to nodes, "
                "or leave the edges out."
            )
        return ends[0], ends[1], index
    if len(source) == 0:
        raise GraphError("edges is empty, so there are no nodes: pass nodes= or n_nodes= for a graph without edges.")
    return _positions_by_appearance(source, target)


def _given_positions(source: NDArray[Any], target: NDArray[Any], n: int) -> tuple[Positions, Positions]:
    ends = []
    for column in (source, target):
        if column.dtype.kind not in "iuf":
            column = id_array(column)
        if column.dtype.kind not in "iuf":
            raise GraphError(
                f"edges must hold positions 0..{n - 1} because n_nodes={n} was given: got {column.dtype} values such "
                f"as {column[0]!r}. For other ids pass nodes= instead of n_nodes=."
            )
        ends.append(column)
    with np.errstate(invalid="ignore"):
        # The negation also catches NaN, which compares false with everything.
        bad = ~((ends[0] >= 0) & (ends[0] < n) & (ends[1] >= 0) & (ends[1] < n))
        for column in ends:
            if column.dtype.kind == "f":
                bad |= column != np.floor(column)
    if bad.any():
        i = int(np.argmax(bad))
        raise GraphError(
            f"edges must hold whole positions from 0 to {n - 1} (n_nodes={n}): {int(bad.sum())} of {len(bad)} rows do "
            f"not (rows {first_rows(bad)}; first: {ends[0][i]} - {ends[1][i]}). Ids count from 0; for other ids pass "
            "nodes=."
        )
    return ends[0].astype(np.intp), ends[1].astype(np.intp)


def _positions_by_appearance(source: NDArray[Any], target: NDArray[Any]) -> tuple[Positions, Positions, pd.Index]:
    import pandas as pd

    both = np.empty(2 * len(source), dtype=_common_dtype(source, target))
    both[0::2], both[1::2] = source, target
    try:
        codes, ids = pd.factorize(both)
    except TypeError as error:
        bad = np.any(np.array([not _is_hashable(value) for value in both]).reshape(-1, 2), axis=1)
        raise GraphError(
            f"edges hold ids that are not hashable ({error}) in {int(bad.sum())} rows (rows {first_rows(bad)}): "
            "use numbers, strings or tuples."
        ) from None
    missing = np.any((codes < 0).reshape(-1, 2), axis=1)
    if missing.any():
        raise GraphError(
            f"edges have a missing id (NaN or None) in {int(missing.sum())} of {len(missing)} rows (rows "
            f"{first_rows(missing)}): drop these rows or give the node an id."
        )
    return codes[0::2], codes[1::2], as_index(ids)


def _common_dtype(first: NDArray[Any], second: NDArray[Any]) -> Any:
    if first.dtype == second.dtype:
        return first.dtype
    if first.dtype.kind == second.dtype.kind or {first.dtype.kind, second.dtype.kind} <= set("iuf"):
        return np.result_type(first, second)
    return object


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


# ---------------------------------------------------------------------- arrays


def build_structure(source: Positions, target: Positions, n: int, weights: Any, *, directed: bool) -> Structure:
    """Merge edges into rows of in-neighbours.

    Parameters
    ----------
    source, target : ndarray of int, shape (m,)
        Positions of both ends.
    n : int
        Number of nodes.
    weights : array-like, shape (m,), or None
        Finite, not negative.
    directed : bool
        Whether an edge acts in one direction only; otherwise it is put in both.
    """
    listed = len(source)
    values = None if weights is None else _check_weights(weights, source, target)
    loops = source == target
    zero = np.zeros(listed, bool) if values is None else (values == 0) & ~loops
    keep = ~(loops | zero)
    if not keep.all():
        source, target = source[keep], target[keep]
        values = None if values is None else values[keep]
    data: Any = np.ones(len(source), bool) if values is None else values
    # Duplicates of unweighted edges stay one edge: the sum of truth values is their "or".
    rows = sparse.coo_array((data, (target, source)), shape=(n, n)).tocsr()
    duplicates = len(source) - rows.nnz
    reciprocal = 0
    if not directed:
        rows, reciprocal = _symmetrised(rows, weighted=values is not None)
    rows.sort_indices()
    counts = EdgeCounts(listed, int(loops.sum()), int(zero.sum()), duplicates, reciprocal)
    merged = None if values is None else rows.data.astype(np.float32)
    if merged is not None and not np.isfinite(merged).all():
        raise GraphError("weights overflow single precision once duplicates are summed: divide them by a constant.")
    return Structure(rows.indptr.astype(np.int32), rows.indices.astype(np.int32), merged, counts)


def _check_weights(weights: Any, source: Positions, target: Positions) -> NDArray[np.float64]:
    array = np.asarray(weights.to_numpy() if hasattr(weights, "to_numpy") else weights)
    if array.shape == (len(source), 1):
        array = array[:, 0]
    if array.shape != (len(source),):
        raise GraphError(f"weights must hold one number per edge: expected shape ({len(source)},), got {array.shape}.")
    try:
        values = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise GraphError(f"weights must be numbers, got {array.dtype} ({error}).") from None
    # The store has single precision, so what it cannot hold is not a finite positive weight there.
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        single = values.astype(np.float32)
    bad = ~np.isfinite(single) | (values < 0) | ((values > 0) & (single == 0))
    if bad.any():
        pairs = ", ".join(f"{source[i]} - {target[i]}: {values[i]:g}" for i in np.flatnonzero(bad)[:5])
        raise GraphError(
            f"weights must be finite and not negative, within single precision: {int(bad.sum())} of {len(bad)} are not "
            f"(positions {pairs}). Drop these edges or clean the weights first."
        )
    return values


def _symmetrised(rows: Any, *, weighted: bool) -> tuple[Any, int]:
    """Both directions of every edge, and how many edges were listed in both."""
    other = rows.T.tocsr()
    union = rows.maximum(other) if weighted else rows + other
    reciprocal = (2 * rows.nnz - union.nnz) // 2
    if weighted and reciprocal:
        pattern = rows.astype(bool)
        both = pattern.multiply(pattern.T.tocsr()).tocoo()
        upper = both.coords[0] < both.coords[1]
        u, v = both.coords[0][upper], both.coords[1][upper]
        forward, backward = (np.asarray(matrix[u, v]).ravel() for matrix in (rows, other))
        bad = np.abs(forward - backward) > _WEIGHT_TOLERANCE * np.maximum(forward, backward)
        if bad.any():
            shown = ", ".join(f"{u[i]} - {v[i]}: {backward[i]:g} and {forward[i]:g}" for i in np.flatnonzero(bad)[:5])
            raise GraphError(
                f"weights of {int(bad.sum())} undirected edges differ between their two directions (positions {shown}"
                "): give one weight to each pair, or pass directed=True."
            )
    return union, int(reciprocal)


def matrix_edges(adjacency: Any, directed: bool | None) -> tuple[Positions, Positions, NDArray[Any] | None, int, bool]:
    """Edges u → v from the entries [u, v] of a square matrix: source, target, weights, n, directed."""
    if not sparse.issparse(adjacency):
        raise GraphError(
            f"adjacency must be a scipy sparse matrix or array: got a {type(adjacency).__name__}. "
            "For a dense matrix pass scipy.sparse.csr_array(matrix); for edges use Graph.from_edges."
        )
    if adjacency.ndim != 2 or adjacency.shape[0] != adjacency.shape[1] or adjacency.shape[0] == 0:
        raise GraphError(f"adjacency must be square, one row and one column per node: got shape {adjacency.shape}.")
    summed = sparse.csr_array(adjacency, copy=True)
    summed.sum_duplicates()
    entries = summed.tocoo()
    if directed is not True and np.isfinite(entries.data).all():
        difference = abs(summed.astype(np.float64) - summed.T.tocsr().astype(np.float64)).tocoo()
        gap = float(difference.data.max(initial=0.0))
        symmetric = gap <= _WEIGHT_TOLERANCE * float(np.abs(entries.data).max(initial=0.0))
        if directed is False and not symmetric:
            at = int(np.argmax(difference.data))
            u, v = int(difference.coords[0][at]), int(difference.coords[1][at])
            raise GraphError(
                f"adjacency is not symmetric, but directed=False was given: its largest asymmetry is at [{u}, {v}] "
                f"({gap:g}). Pass directed=True, or symmetrise it with adjacency.maximum(adjacency.T)."
            )
        directed = not symmetric
    source, target = (part.astype(np.intp) for part in entries.coords)
    # A matrix of ones says which edges there are, and nothing of their strength.
    plain = entries.dtype == bool or bool((entries.data == 1).all())
    return source, target, None if plain else entries.data, adjacency.shape[0], bool(directed)
