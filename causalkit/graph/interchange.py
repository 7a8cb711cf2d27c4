"""Graphs from and to networkx, torch_geometric and frames; induced subgraphs and unions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.exceptions import GraphError, MissingDependencyError
from causalkit.graph.builders import EdgeCounts, Structure, as_index

if TYPE_CHECKING:
    import pandas as pd

    from causalkit.graph.graph import Graph

__all__ = ["PygParts", "edge_frame", "induced", "joined", "networkx_edges", "pyg_parts", "to_networkx", "to_pyg"]

Columns = tuple[NDArray[Any], NDArray[Any]]


# ---------------------------------------------------------------------- networkx


def networkx_edges(g: Any, weight: str | None) -> tuple[Any, Any, Any, list[Any], bool]:
    """Positions of source and target, weights, ids and direction of a networkx graph."""
    if not (hasattr(g, "edges") and hasattr(g, "nodes") and hasattr(g, "is_directed")):
        raise GraphError(
            f"g must be a networkx graph: got a {type(g).__name__}. For pairs of ids use Graph.from_edges."
        )
    nodes = list(g.nodes)
    if not nodes:
        raise GraphError("g has no nodes: a graph has at least one.")
    position = {node: i for i, node in enumerate(nodes)}
    edges = list(g.edges(data=weight)) if weight is not None else list(g.edges())
    source = np.fromiter((position[edge[0]] for edge in edges), np.intp, len(edges))
    target = np.fromiter((position[edge[1]] for edge in edges), np.intp, len(edges))
    weights = None
    if weight is not None:
        values = [edge[-1] for edge in edges]
        absent = [edge[:2] for edge, value in zip(edges, values, strict=True) if value is None]
        if absent:
            raise GraphError(
                f"weight={weight!r} is missing on {len(absent)} of {len(edges)} edges (first: {absent[:5]}): "
                "set it on every edge, or leave weight out."
            )
        weights = np.array(values)
    return source, target, weights, nodes, bool(g.is_directed())


def to_networkx(graph: Graph) -> Any:
    """Graph or DiGraph of networkx, ids as nodes, weights as the attribute ``weight``."""
    try:
        import networkx as nx
    except ImportError as error:
        raise MissingDependencyError("to_networkx needs networkx: pip install networkx.") from error
    made = nx.DiGraph() if graph.directed else nx.Graph()
    ids = graph.nodes.tolist()
    made.add_nodes_from(ids)
    source, target, weights = _edges_once(graph)
    pairs = ((ids[u], ids[v]) for u, v in zip(source.tolist(), target.tolist(), strict=True))
    if weights is None:
        made.add_edges_from(pairs)
    else:
        made.add_weighted_edges_from((u, v, w) for (u, v), w in zip(pairs, weights.tolist(), strict=True))
    return made


# ---------------------------------------------------------------------- torch_geometric


@dataclass(frozen=True, eq=False)
class PygParts:
    """What a graph takes from a Data object.

    Attributes
    ----------
    adjacency : csr_array, shape (n, n)
        Entry [u, v] is the weight of the edge u → v.
    x : ndarray, shape (n, p), or None
        Features.
    """

    adjacency: Any
    x: NDArray[np.float64] | None


def pyg_parts(data: Any) -> PygParts:
    """Arrays of a ``torch_geometric.data.Data``."""
    edge_index = getattr(data, "edge_index", None)
    if edge_index is None:
        raise GraphError(
            f"data is a {type(data).__name__} without edge_index: expected a torch_geometric.data.Data. "
            "A Data with adj_t goes through Graph.from_scipy."
        )
    source, target = _to_numpy(edge_index).astype(np.intp)
    n = int(data.num_nodes)
    weights = getattr(data, "edge_weight", None)
    if weights is None:
        attribute = getattr(data, "edge_attr", None)
        weights = attribute if attribute is not None and (attribute.ndim == 1 or attribute.shape[1] == 1) else None
    values = np.ones(len(source), bool) if weights is None else _to_numpy(weights).astype(np.float64).reshape(-1)
    if len(source) and not (min(source.min(), target.min()) >= 0 and max(source.max(), target.max()) < n):
        raise GraphError(f"edge_index must hold positions from 0 to {n - 1} (num_nodes={n}): set data.num_nodes.")
    adjacency = sparse.coo_array((values, (source, target)), shape=(n, n)).tocsr()
    x = getattr(data, "x", None)
    return PygParts(adjacency, None if x is None else _to_numpy(x).astype(np.float64).reshape(n, -1))


def _to_numpy(tensor: Any) -> NDArray[Any]:
    return np.asarray(tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else tensor)


def to_pyg(graph: Graph) -> Any:
    """Data with both directions of undirected edges, nodes by position."""
    try:
        import torch
        from torch_geometric.data import Data
    except ImportError as error:
        raise MissingDependencyError("to_pyg needs torch and torch_geometric: pip install -e '.[graph]'.") from error
    rows = graph.adjacency("raw").tocoo()
    edge_index = torch.from_numpy(np.stack([rows.coords[1], rows.coords[0]]).astype(np.int64))
    data = Data(edge_index=edge_index, num_nodes=graph.n_nodes)
    if graph.weighted:
        data.edge_weight = torch.from_numpy(np.array(rows.data))
    if graph.features is not None:
        data.x = torch.from_numpy(graph.features.astype(np.float32))
    return data


# ---------------------------------------------------------------------- frames, parts, unions


def _edges_once(graph: Graph) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32] | None]:
    """Source and target positions of each edge, an undirected one from the smaller position."""
    rows = graph.adjacency("raw").tocoo()
    target, source = rows.coords
    keep = slice(None) if graph.directed else source < target
    return source[keep], target[keep], rows.data[keep] if graph.weighted else None


def edge_frame(graph: Graph) -> pd.DataFrame:
    """One row per edge."""
    import pandas as pd

    source, target, weights = _edges_once(graph)
    columns: dict[str, Any] = {"source": graph.nodes.take(source), "target": graph.nodes.take(target)}
    if weights is not None:
        columns["weight"] = weights
    return pd.DataFrame(columns)


def induced(graph: Graph, positions: NDArray[np.intp]) -> Graph:
    """Subgraph on the nodes at some positions, in that order."""
    part = graph.adjacency("raw")[positions][:, positions]
    part.sort_indices()
    n_edges = part.nnz if graph.directed else part.nnz // 2
    structure = Structure(
        part.indptr.astype(np.int32),
        part.indices.astype(np.int32),
        part.data if graph.weighted else None,
        EdgeCounts(n_edges),
    )
    piece = None if graph.report.piece is None else graph.report.piece[positions]
    index = as_index(graph.nodes.take(positions))
    made = type(graph)._build(structure, index, directed=graph.directed, piece=piece)
    if graph.features is None:
        return made
    return _with_rows(made, graph.features[positions], graph.feature_names, graph.feature_rows, positions)


def _with_rows(made: Graph, features: Any, names: Any, rows: Any, positions: Any) -> Graph:
    import pandas as pd

    kept = np.arange(made.n_nodes) if rows is None else np.flatnonzero(rows[positions])
    if len(kept) == 0:
        return made
    return made.with_features(pd.DataFrame(features[kept], columns=list(names)), nodes=made.nodes[kept])


def joined(cls: type[Graph], graphs: Sequence[Graph]) -> Graph:
    """Disjoint union."""
    import pandas as pd

    if not graphs or not all(isinstance(graph, cls) for graph in graphs):
        raise GraphError("graphs must be a list of at least one Graph.")
    if len({graph.directed for graph in graphs}) > 1:
        raise GraphError("graphs mix directed and undirected ones: build all of them with the same directed=.")
    ids = np.concatenate([graph.nodes.to_numpy(dtype=object) for graph in graphs])
    index = pd.Index(ids, dtype=object, tupleize_cols=False)
    repeated = index.duplicated()
    if repeated.any():
        raise GraphError(
            f"graphs share {int(repeated.sum())} ids (first: {', '.join(map(repr, index[repeated][:5].tolist()))}): "
            "ids must not repeat. Give each graph ids of its own, for example nodes=[(piece, i) for i in range(n)]."
        )
    weighted = any(graph.weighted for graph in graphs)
    whole = sparse.block_diag([graph.adjacency("raw") for graph in graphs], format="csr")
    counts = sum((graph.report.edges for graph in graphs[1:]), graphs[0].report.edges)
    structure = Structure(
        whole.indptr.astype(np.int32),
        whole.indices.astype(np.int32),
        whole.data.astype(np.float32) if weighted else None,
        counts,
    )
    piece = np.repeat(np.arange(len(graphs)), [graph.n_nodes for graph in graphs])
    made = cls._build(structure, as_index(index), directed=graphs[0].directed, piece=piece)
    names = {graph.feature_names for graph in graphs}
    if len(names) > 1 or None in names:
        return made
    rows = [np.ones(g.n_nodes, bool) if g.feature_rows is None else g.feature_rows for g in graphs]
    features = np.concatenate([graph.features for graph in graphs])  # type: ignore[misc]
    return _with_rows(made, features, graphs[0].feature_names, np.concatenate(rows), np.arange(made.n_nodes))
