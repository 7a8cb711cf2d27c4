"""HopFeatures: own covariates beside aggregates over neighbours one and more steps away."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from causalkit.documented import DocumentedEstimator
from causalkit.exceptions import GraphCoverageWarning, GraphError
from causalkit.graph.alignment import check_graph, row_positions
from causalkit.graph.features import check_features
from causalkit.graph.hop_columns import OPERATORS, Block, Covered, HopPlan, covered_graph, hop_blocks, moments
from causalkit.graph.warning_place import caller_level
from causalkit.validation import check_choice, check_integer

if TYPE_CHECKING:
    import pandas as pd

    from causalkit.graph.graph import Graph

__all__ = ["HopFeatures"]

Float = NDArray[np.float32]
Array = NDArray[np.float64]

_FARTHEST = 1e15  # standard deviations
_WARN_SHARE = 0.2
_WARN_DIFFERING = 0.5


class HopFeatures(TransformerMixin, DocumentedEstimator):
    r"""Covariates of a node and aggregates of its neighbours' covariates.

    The columns are

    .. math:: \big[\,X,\; S X,\; R X,\; S^2 X,\; R^2 X,\; \dots,\; \log(1+\deg)\,\big]

    with R = D⁻¹A the mean over in-neighbours and S = D̃^{-1/2}(A+I)D̃^{-1/2}. X is centred first, so that the
    mean of no neighbours is the average node. With ``standardize`` every column gets mean 0 and standard
    deviation 1 on the rows of ``fit``; the same numbers are used for another graph.

    Covariates have to be settled before the treatment. A treatment in X would reach its own node again after
    two hops: an exposure belongs into ``exposure=`` of the learners, not here.

    Parameters
    ----------
    hops : int, default=2
        Largest number of steps, h.
    operators : tuple of {"sym", "mean", "sum", "max", "min", "std"}, default=("sym", "mean")
        Aggregates for every hop: "sym" S^h X, "mean" R^h X, "sum" A^h X, "max" and "min" over all walks of h
        steps, "std" the standard deviation :math:`\sqrt{R^h X^2 - (R^h X)^2}`.
    include_own : bool, default=True
        Whether X itself is part of the output.
    include_degree : bool, default=True
        Whether log(1 + number of in-neighbours) is.
    standardize : bool, default=True
        Whether columns are standardised. False keeps the units of X; the mean, max and min of no neighbours
        are then the average of X in ``fit``.
    memory : str or path-like, optional
        Folder for a ``.npy`` file per output, written block by block and returned as a copy-on-write memory
        map, for outputs beyond the working memory. The files are the caller's to delete.

    Attributes
    ----------
    center_, scale_ : ndarray, shape (p,)
        Mean and standard deviation of X in ``fit``; a scale of 0 marks a constant column.
    column_center_, column_scale_ : ndarray, shape (number of columns out,)
        The same of the columns out, before they are standardised.
    report_ : DataFrame
        ``rows``, ``nodes``, ``edges_into_rows``, ``edges_lost`` (from neighbours without covariates) and
        ``share_lost`` of ``fit``.
    graph_ : Graph
        Graph of ``fit``, which ``transform`` uses by default.
    n_features_in_ : int
        Number of covariates, p.
    feature_names_in_ : ndarray of str, shape (p,)
        Their names, where ``fit`` saw a frame.

    Raises
    ------
    TypeError
        ``graph`` is missing or no Graph.
    AlignmentError
        Rows cannot be matched to nodes.
    GraphError
        A directed graph after an undirected one, or the reverse.
    ValueError
        Text, NaN or infinity in X, another number of columns, unknown operators.

    Warns
    -----
    GraphCoverageWarning
        More than 20 % of the edges into the rows come from nodes without covariates, or there are no edges; or X
        differs from the covariates that the graph carries for most of the rows.

    Notes
    -----
    Rows may be some of the nodes. Covariates of other nodes come from ``graph.with_features(X_all)``; without
    it, aggregates run over the rows of the call alone. The degree is always that of the whole graph.

    References
    ----------
    Frasca et al. (2020), SIGN: Scalable inception graph neural networks, equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.graph import Graph, HopFeatures
    >>> path = Graph.from_edges([(0, 1), (1, 2), (2, 3)], n_nodes=4)
    >>> X = np.array([[1.0], [3.0], [5.0], [11.0]])
    >>> hop = HopFeatures(hops=1, operators=("mean",), standardize=False, include_degree=False)
    >>> hop.fit_transform(X, graph=path)
    array([[ 1.,  3.],
           [ 3.,  3.],
           [ 5.,  7.],
           [11.,  5.]], dtype=float32)
    >>> hop.get_feature_names_out()
    array(['x0', 'mean1(x0)'], dtype=object)
    """

    def __init__(
        self,
        *,
        hops: int = 2,
        operators: Any = ("sym", "mean"),
        include_own: bool = True,
        include_degree: bool = True,
        standardize: bool = True,
        memory: str | os.PathLike[str] | None = None,
    ) -> None:
        self.hops = hops
        self.operators = operators
        self.include_own = include_own
        self.include_degree = include_degree
        self.standardize = standardize
        self.memory = memory

    def fit(self, X: Any, y: Any = None, *, graph: Any = None, nodes: Any = None) -> HopFeatures:
        """Learn means and standard deviations.

        Parameters
        ----------
        X : array-like or frame, shape (n, p)
            Covariates.
        y : object
            Ignored.
        graph : Graph
            The network.
        nodes : array-like, shape (n,), optional
            Node of each row; may be left out where row i can only be node i.
        """
        self._fit(X, graph, nodes, keep=False)
        return self

    def fit_transform(self, X: Any, y: Any = None, *, graph: Any = None, nodes: Any = None) -> Any:
        """Fit, and return the columns of the same rows, with the products computed once."""
        raw = self._fit(X, graph, nodes, keep=True)
        return self._finished(raw)

    def transform(self, X: Any, *, graph: Any = None, nodes: Any = None) -> Any:
        """Columns of new rows, of the graph of ``fit`` or of another one.

        Parameters
        ----------
        X : array-like or frame, shape (m, p)
            Covariates.
        graph : Graph, optional
            Their network; that of ``fit`` by default.
        nodes : array-like, shape (m,), optional
            Node of each row.

        Returns
        -------
        ndarray of float32, shape (m, number of columns out)
        """
        check_is_fitted(self)
        used = self.graph_ if graph is None else check_graph(graph)
        if used.directed != self.graph_.directed:
            words = ("undirected", "directed")
            raise GraphError(
                f"graph is {words[used.directed]}, but fit saw {'a' if self.graph_.directed else 'an'} "
                f"{words[self.graph_.directed]} graph: neighbours mean something else. Build it with "
                f"directed={self.graph_.directed}."
            )
        values, _ = check_features(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        self._refuse_other_units(values)
        covered = covered_graph(values, row_positions(X, used, nodes), used)
        _warn_of_coverage(covered, used)
        return self._finished(self._filled(covered, self._plan(values.shape[1]), self.center_, self.scale_))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names such as ``age``, ``sym1(age)``, ``mean2(age)``, ``log_degree``."""
        check_is_fitted(self)
        own = [str(name) for name in _check_feature_names_in(self, input_features)]
        plan = self._plan(len(own))
        names = list(own) if plan.include_own else []
        names += [f"{kind}{hop}({name})" for hop in range(1, plan.hops + 1) for kind in plan.operators for name in own]
        return np.array(names + ["log_degree"] * plan.include_degree, dtype=object)

    # ------------------------------------------------------------------ steps

    def _fit(self, X: Any, graph: Any, nodes: Any, *, keep: bool) -> Any:
        """Learn from the rows; with ``keep``, return their columns, not yet standardised."""
        graph = check_graph(graph)
        values, _ = check_features(X)
        plan = self._plan(values.shape[1])
        covered = covered_graph(values, row_positions(X, graph, nodes), graph)
        _warn_of_coverage(covered, graph)
        center, scale = moments(values)
        column_center, column_scale = np.empty(plan.n_columns), np.empty(plan.n_columns)

        def learn(columns: slice, block: Float) -> None:
            column_center[columns], column_scale[columns] = moments(block)

        raw = None
        if keep:
            raw = self._filled(covered, plan, center, scale, learn)
        else:
            for columns, block in hop_blocks(covered, plan, center, scale):
                learn(columns, block)
        # Everything is stored at the end, so that a failure leaves an earlier fit as it was.
        validate_data(self, X, reset=True, skip_check_array=True)
        self.center_, self.scale_ = center, scale
        self.column_center_, self.column_scale_ = column_center, column_scale
        self.report_ = _report(covered)
        self.graph_: Graph = graph
        return raw

    def _refuse_other_units(self, values: Array) -> None:
        """Columns are in single precision, which standardised values of another scale would leave."""
        gap = np.abs(values - self.center_).max(axis=0, initial=0.0)
        far = gap > _FARTHEST * np.where(self.scale_ > 0, self.scale_, 1.0)
        if far.any():
            j = int(np.argmax(far))
            raise ValueError(
                f"X is out of scale: a value in column {j} is {gap[j]:g} from the mean of fit, whose standard "
                f"deviation is {self.scale_[j]:g}; expected values in the units of fit."
            )

    def _plan(self, n_features: int) -> HopPlan:
        """Checked parameters."""
        hops = check_integer(self.hops, "hops", low=0)
        operators = self.operators
        if isinstance(operators, str) or not isinstance(operators, list | tuple):
            raise ValueError(f"operators must be a tuple such as ('sym', 'mean'); got {operators!r}.")
        for kind in operators:
            check_choice(kind, "operators", OPERATORS)
        if len(set(operators)) < len(operators):
            raise ValueError(f"operators repeats a name: {operators!r}. List each one once.")
        for name in ("include_own", "include_degree", "standardize"):
            check_choice(getattr(self, name), name, (True, False))
        plan = HopPlan(
            n_features, hops, tuple(operators), bool(self.include_own), bool(self.include_degree), self.standardize
        )
        if plan.n_columns == 0:
            raise ValueError("no columns are left: include_own, include_degree, hops or operators must ask for some.")
        return plan

    def _filled(
        self, covered: Covered, plan: HopPlan, center: Array, scale: Array, learn: Callable[..., None] | None = None
    ) -> Float:
        """Columns before they are standardised, in memory or in a file."""
        shape = (len(covered.rows), plan.n_columns)
        if self.memory is None:
            return _fill(np.empty(shape, np.float32), hop_blocks(covered, plan, center, scale), learn)
        os.makedirs(self.memory, exist_ok=True)
        handle, path = tempfile.mkstemp(prefix="hop_features_", suffix=".npy", dir=self.memory)
        os.close(handle)
        try:
            out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
            return _fill(out, hop_blocks(covered, plan, center, scale), learn)
        except BaseException:  # an interrupt as well: half a file is of no use to anybody
            os.remove(path)
            raise

    def _finished(self, raw: Float) -> Float:
        """Columns as they are handed out; a file is reopened so that later changes stay out of it."""
        if self.standardize:
            _standardise(raw, self.column_center_, self.column_scale_)
        if isinstance(raw, np.memmap):
            raw.flush()
            return np.load(str(raw.filename), mmap_mode="c")
        return raw

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "column_scale_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # single precision halves the memory of the columns
        return tags


def _fill(out: Float, blocks: Iterator[Block], learn: Callable[..., None] | None) -> Float:
    for columns, block in blocks:
        out[:, columns] = block
        if learn is not None:
            learn(columns, block)
    return out


def _standardise(columns: Float, center: Array, scale: Array) -> None:
    """Centre and scale in place, some rows at a time; constant columns become 0."""
    n, width = columns.shape
    factor = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0).astype(np.float32)
    step = max(1, (1 << 20) // width)
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        columns[rows] -= center.astype(np.float32)
        columns[rows] *= factor


def _warn_of_coverage(covered: Covered, graph: Graph) -> None:
    if covered.share_differing > _WARN_DIFFERING:
        warnings.warn(
            f"X differs from the covariates that graph carries in {covered.share_differing:.0%} of the rows: those of "
            "neighbours that are not among the rows come from the graph, and would be in other units or out of date. "
            "If X was transformed, as in a Pipeline, pass graph.with_features of covariates transformed likewise.",
            GraphCoverageWarning,
            stacklevel=caller_level(),
        )
    if graph.n_edges == 0:
        warnings.warn(
            "graph has no edges, so the columns of neighbours are constant: only own covariates carry information.",
            GraphCoverageWarning,
            stacklevel=caller_level(),
        )
    elif covered.share_lost > _WARN_SHARE:
        warnings.warn(
            f"{covered.share_lost:.0%} of the {covered.edges_into_rows} edges into the {len(covered.rows)} rows come "
            "from nodes without covariates, and aggregates leave them out. Pass the covariates of all nodes by "
            "graph.with_features(X_all).",
            GraphCoverageWarning,
            stacklevel=caller_level(),
        )


def _report(covered: Covered) -> pd.DataFrame:
    import pandas as pd

    row = {
        "rows": len(covered.rows),
        "nodes": covered.n_nodes,
        "edges_into_rows": covered.edges_into_rows,
        "edges_lost": covered.edges_lost,
        "share_lost": covered.share_lost,
    }
    return pd.DataFrame([row])
