"""Edge tables, strongest neighbours and graphs of a fitted network."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.network import FittedNetwork, significant_pairs
from causalkit.exceptions import DegreesOfFreedomError, InferenceUnavailableError, MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["dense_edges", "network_graph", "streamed_edges", "strongest_neighbours"]

Array = NDArray[np.float64]


def edge_frame(
    names: list[str],
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    columns: dict[str, Array],
) -> pd.DataFrame:
    """Table of pairs sorted by |r|, largest first."""
    import pandas as pd

    labels = pd.Index(names)  # keeps the type of text where no pair is left
    frame = pd.DataFrame({"part_a": labels[first], "part_b": labels[second], **columns})
    order = np.argsort(-np.abs(frame["partial_correlation"].to_numpy()), kind="stable")
    return frame.iloc[order].reset_index(drop=True)


def streamed_edges(
    network: FittedNetwork, fdr: str | None, max_qvalue: float, block_size: int, level: float, robust: str | None
) -> pd.DataFrame:
    """Edges with q at most ``max_qvalue`` and their intervals where there are any, without a D×D array."""
    table = significant_pairs(network, fdr, max_qvalue, block_size)
    columns = {
        "partial_correlation": table.correlation,
        "closure_null": table.closure_null,
        "statistic": table.statistic,
        "pvalue": table.pvalue,
        "qvalue": table.qvalue,
    }
    # Without an interval the two columns are absent.
    with suppress(InferenceUnavailableError, DegreesOfFreedomError):
        columns["lower"], columns["upper"] = network.pair_interval(table.correlation, level, robust)
    return edge_frame(network.names, table.first, table.second, columns)


def dense_edges(
    network: FittedNetwork,
    r: Array,
    closure_null: Array,
    pvalues: Array | None,
    qvalues: Array | None,
    interval: tuple[Array, Array] | None,
    max_qvalue: float | None,
) -> pd.DataFrame:
    """Pairs from stored matrices, all of them or those with q at most ``max_qvalue``."""
    first, second = np.triu_indices(network.n_parts, 1)
    if max_qvalue is not None and qvalues is not None:
        chosen = qvalues[first, second] <= max_qvalue
        first, second = first[chosen], second[chosen]
    matrices = {"partial_correlation": r, "closure_null": closure_null}
    if pvalues is not None and qvalues is not None:
        statistics = network.statistics(r)
        if statistics is not None:
            matrices["statistic"] = statistics
        matrices |= {"pvalue": pvalues, "qvalue": qvalues}
    if interval is not None:
        matrices |= {"lower": interval[0], "upper": interval[1]}
    return edge_frame(network.names, first, second, {name: matrix[first, second] for name, matrix in matrices.items()})


def strongest_neighbours(network: FittedNetwork, k: int, sign: str, block_size: int) -> pd.DataFrame:
    """The k strongest neighbours of every part, in blocks of rows."""
    import pandas as pd

    names = np.asarray(network.names, dtype=object)
    pieces = []
    for rows, values in network.blocks(block_size):
        strength = np.abs(values) if sign == "both" else (values.copy() if sign == "positive" else -values)
        local = np.arange(strength.shape[0])
        strength[local, local + rows.start] = -np.inf
        best = np.argpartition(-strength, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(strength, best, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, axis=1)
        frame = {
            "part": np.repeat(names[rows], k),
            "neighbour": names[best.ravel()],
            "rank": np.tile(np.arange(1, k + 1), len(local)),
            "partial_correlation": np.take_along_axis(values, best, axis=1).ravel(),
        }
        pieces.append(pd.DataFrame(frame))
    return pd.concat(pieces, ignore_index=True)


def network_graph(
    frame: pd.DataFrame, names: list[str], partial_variance: Array, mean_clr: Array, attributes: dict[str, Any]
) -> Any:
    """Undirected networkx graph: every part is a node, rows of the frame are edges.

    Raises
    ------
    MissingDependencyError
        Without networkx.
    """
    try:
        import networkx as nx
    except ImportError as error:
        raise MissingDependencyError("graphs need networkx: install it, for example pip install networkx.") from error
    graph = nx.Graph(**attributes)
    for name, variance, mean in zip(names, partial_variance, mean_clr, strict=True):
        graph.add_node(name, partial_variance=float(variance), mean_clr=float(mean))
    for edge in frame.to_dict(orient="records"):
        r = float(edge["partial_correlation"])
        values = {"weight": abs(r), "sign": 1 if r >= 0 else -1, "partial_correlation": r}
        values |= {key: float(edge[key]) for key in ("pvalue", "qvalue") if key in edge}
        graph.add_edge(edge["part_a"], edge["part_b"], **values)
    return graph
