"""Columns of hop features, block by block: which nodes have covariates, products, extremes, spread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.graph.operators import extreme, operator

if TYPE_CHECKING:
    from causalkit.graph.graph import Graph

__all__ = ["OPERATORS", "Block", "Covered", "HopPlan", "covered_graph", "hop_blocks", "moments"]

OPERATORS = ("sym", "mean", "sum", "max", "min", "std")
Array = NDArray[np.float64]
Float = NDArray[np.float32]
Block = tuple[slice, Float]

_CHUNK = 16  # columns of one product: the result stays small beside the output
# A spread below rounding is none: single precision for columns of products, double for covariates.
_ROUNDING = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-13}


@dataclass(frozen=True)
class HopPlan:
    """What the columns are.

    Attributes
    ----------
    n_features, hops : int
        Covariates, p; largest number of steps.
    operators : tuple of str
        Aggregates.
    include_own, include_degree, standardize : bool
        As in ``HopFeatures``.
    """

    n_features: int
    hops: int
    operators: tuple[str, ...]
    include_own: bool
    include_degree: bool
    standardize: bool

    @property
    def n_columns(self) -> int:
        """Number of columns out."""
        return self.n_features * (self.include_own + self.hops * len(self.operators)) + self.include_degree

    def columns(self, hop: int, kind: str, part: slice) -> slice:
        """Place of one aggregate of some covariates."""
        first = self.n_features * (self.include_own + (hop - 1) * len(self.operators) + self.operators.index(kind))
        return slice(first + part.start, first + part.stop)


@dataclass(frozen=True, eq=False)
class Covered:
    """The part of a graph whose nodes have covariates.

    Attributes
    ----------
    values : ndarray, shape (c, p)
        Covariates of the c nodes that have some.
    rows : ndarray of int, shape (n,)
        Which of them the rows are.
    whole : Graph or None
        The graph, where every node has covariates.
    arrays : tuple
        indptr, indices and weights of the subgraph on the c nodes, used where some nodes have none; else empty.
    log_degree : ndarray, shape (n,)
        log(1 + in-neighbours) of the rows in the whole graph.
    n_nodes, edges_into_rows, edges_lost : int
        Nodes of the graph; edges that end in a row; those of them whose source has no covariates.
    share_differing : float
        Share of the rows whose covariates are others than the graph carries for their nodes.
    """

    values: Array
    rows: NDArray[np.intp]
    whole: Graph | None
    arrays: tuple[Any, ...]
    log_degree: Array
    n_nodes: int
    edges_into_rows: int
    edges_lost: int
    share_differing: float = 0.0

    @property
    def share_lost(self) -> float:
        """Lost edges as a share of those that end in a row."""
        return self.edges_lost / max(self.edges_into_rows, 1)

    def matrix(self, kind: str) -> Any:
        """Operator among the covered nodes."""
        if self.whole is not None:
            return self.whole.adjacency(kind)
        indptr, indices, weights = self.arrays
        return operator(indptr, indices, weights, kind)


def covered_graph(values: Array, positions: NDArray[np.intp], graph: Graph) -> Covered:
    """Join the covariates of the rows with those that the graph carries.

    Parameters
    ----------
    values : ndarray, shape (n, p)
        Covariates of the rows.
    positions : ndarray of int, shape (n,)
        Their nodes.
    graph : Graph
        Its features fill in for nodes that are not among the rows.

    Returns
    -------
    Covered

    Raises
    ------
    ValueError
        The features of the graph have another number of columns.
    """
    n = graph.n_nodes
    present = np.zeros(n, bool)
    present[positions] = True
    degree = graph.degree[positions]
    present_rows = graph.feature_rows
    full, differing = values, 0.0
    if len(positions) < n and graph.features is not None:
        if graph.features.shape[1] != values.shape[1]:
            raise ValueError(
                f"graph carries {graph.features.shape[1]} features, but X has {values.shape[1]} columns: pass the same "
                "covariates to graph.with_features."
            )
        full = graph.features.copy()
        carried = np.ones(len(positions), bool) if present_rows is None else present_rows[positions]
        differing = float((carried & ~np.isclose(full[positions], values, rtol=1e-4, atol=1e-6).all(axis=1)).mean())
        full[positions] = values
        present |= True if present_rows is None else present_rows
        rows = positions
        full = full if present.all() else full[present]
    elif len(positions) == n:
        rows = positions
        if not np.array_equal(positions, np.arange(n)):
            full = np.empty_like(values)
            full[positions] = values
    else:
        rows = positions
        full = values[np.argsort(positions)]
    into, log_degree = int(degree.sum()), np.log1p(degree)
    if present.all():
        return Covered(full, rows, graph, (), log_degree, n, into, 0, differing)
    part = graph.adjacency("raw")[present][:, present]
    place = np.cumsum(present) - 1
    rows = place[positions]
    part.sort_indices()
    arrays = (part.indptr, part.indices, part.data if graph.weighted else None)
    lost = into - int(np.diff(part.indptr)[rows].sum())
    return Covered(full, rows, None, arrays, log_degree, n, into, lost, differing)


def hop_blocks(covered: Covered, plan: HopPlan, center: Array, scale: Array) -> Iterator[Block]:
    """Columns out as (place, values), a few covariates at a time.

    Parameters
    ----------
    covered : Covered
        Covariates and edges.
    plan : HopPlan
        Which columns.
    center, scale : ndarray, shape (p,)
        What X is standardised by (centred only, where ``plan.standardize`` is False).

    Yields
    ------
    columns : slice
        Place in the output.
    block : ndarray of float32, shape (n, width)
        Values.

    Raises
    ------
    ValueError
        If single precision does not hold a column.
    """
    for columns, block in _blocks(covered, plan, center, scale):
        if not np.isfinite(block).all():
            raise ValueError(
                "X is out of scale: a column is beyond the numbers of single precision (3e38). Use "
                "standardize=True, other units for X, or smaller edge weights."
            )
        yield columns, block


def _blocks(covered: Covered, plan: HopPlan, center: Array, scale: Array) -> Iterator[Block]:
    """Blocks as they come, infinite where single precision ends."""
    everyone = len(covered.rows) == len(covered.values) and np.array_equal(covered.rows, np.arange(len(covered.rows)))
    rows = slice(None) if everyone else covered.rows
    matrices: dict[str, Any] = {}
    for start in range(0, plan.n_features, _CHUNK):
        part = slice(start, min(start + _CHUNK, plan.n_features))
        factor = (
            1.0 / np.where(scale[part] > 0, scale[part], np.inf) if plan.standardize else np.ones(part.stop - start)
        )
        shift = np.zeros(part.stop - start) if plan.standardize else center[part]
        with np.errstate(over="ignore"):
            base = ((covered.values[:, part] - center[part]) * factor).astype(np.float32)
            own = (base[rows] + shift).astype(np.float32)
        if plan.include_own:
            yield part, own
        for kind in plan.operators if plan.hops else ():
            for hop, block in enumerate(_hops(covered, kind, plan.hops, base, shift.astype(np.float32), matrices), 1):
                yield plan.columns(hop, kind, part), block[rows]
    if plan.include_degree:
        yield slice(plan.n_columns - 1, plan.n_columns), covered.log_degree[:, None].astype(np.float32)


def _hops(
    covered: Covered, kind: str, hops: int, base: Float, shift: Float, matrices: dict[str, Any]
) -> Iterator[Float]:
    """One aggregate of centred covariates at 1, 2, ... steps, in the units of X less nothing but ``shift`` put back."""
    name = {"sum": "raw", "max": "binary", "min": "binary", "std": "mean"}.get(kind, kind)
    if name not in matrices:
        matrices[name] = covered.matrix(name)
    matrix, current = matrices[name], base
    if kind in ("max", "min"):
        for _ in range(hops):
            current = extreme(matrix, current, kind, np.zeros(base.shape[1], np.float32))
            yield current + shift
    elif kind == "std":
        # In units of a power of two near the largest number, which changes no digit: squares would overflow otherwise.
        largest = np.abs(base).max(axis=0, initial=0.0)
        unit = np.exp2(np.floor(np.log2(np.where(largest > 0, largest, 1.0)))).astype(np.float32)
        current = base / unit
        squares = current**2
        for _ in range(hops):
            current, squares = matrix @ current, matrix @ squares
            yield np.sqrt(np.maximum(squares - current**2, 0.0)) * unit
    elif kind == "mean":
        for _ in range(hops):
            current = matrix @ current
            yield current + shift
    else:
        # S and A do not keep a constant: what was taken off for centring is put back as S^h 1 times it.
        ones = np.ones((len(base), 1), np.float32)
        for _ in range(hops):
            current = matrix @ current
            if shift.any():
                ones = matrix @ ones
                yield current + ones * shift
            else:
                yield current


def moments(values: NDArray[Any]) -> tuple[Array, Array]:
    """Mean and standard deviation of every column in double precision; 0 for a column that is constant."""
    n, p = values.shape
    center, scale = np.empty(p), np.empty(p)
    for start in range(0, p, _CHUNK):
        part = slice(start, start + _CHUNK)
        block = np.asarray(values[:, part], dtype=np.float64)
        center[part] = block.mean(axis=0)
        block = block - center[part]
        spread = np.sqrt(np.einsum("ij,ij->j", block, block) / n)
        largest = np.abs(block).max(axis=0) + np.abs(center[part])
        scale[part] = np.where(spread > _ROUNDING[values.dtype] * largest, spread, 0.0)
    return center, scale
