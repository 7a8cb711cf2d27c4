"""What a fitted network can be turned into: blocks, tables of edges, networkx graphs and GraphML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from causalkit.composition.edges import dense_edges, network_graph, streamed_edges, strongest_neighbours
from causalkit.composition.independence import part_index
from causalkit.composition.network import FittedNetwork
from causalkit.exceptions import DegreesOfFreedomError, InferenceUnavailableError
from causalkit.validation import check_choice, check_integer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NetworkExportMixin"]

Array = NDArray[np.float64]

_BLOCK = 512


class NetworkExportMixin:
    """Blocks, edges and graphs of :class:`CompositionalPartialCorrelation`."""

    _network: FittedNetwork
    _storage: str
    shrinkage_: float
    fdr: str | None
    robust: str | None
    confidence_level: float

    if TYPE_CHECKING:

        @property
        def partial_correlation_(self) -> Array: ...
        @property
        def closure_null_(self) -> Array: ...
        @property
        def pvalues_(self) -> Array: ...
        @property
        def qvalues_(self) -> Array: ...
        @property
        def partial_variance_(self) -> Array: ...

        def _require_test(self) -> None: ...
        def conf_int(self, confidence_level: float | None = None) -> tuple[Array, Array]: ...

    def block(self, rows: Any, cols: Any) -> Array:
        """Block of partial correlations.

        Parameters
        ----------
        rows, cols : sequence of str or int, or slice
            Parts.
        """
        check_is_fitted(self)
        names = self._network.names

        def positions(parts: Any) -> Any:
            if isinstance(parts, slice):
                start, stop, step = parts.indices(len(names))
                return slice(start, max(start, stop)) if step == 1 else np.arange(start, stop, step)
            return np.array([part_index(part, names) for part in np.atleast_1d(np.asarray(parts, dtype=object))])

        return self._network.precision.correlations(positions(rows), positions(cols))

    def iter_blocks(self, block_size: int = _BLOCK) -> Iterator[tuple[slice, Array]]:
        """Row slices with their block of partial correlations, (rows, D) at a time.

        Parameters
        ----------
        block_size : int, default=512
        """
        check_is_fitted(self)
        check_integer(block_size, "block_size", low=1)
        return self._network.blocks(block_size)

    def top_k(self, k: int, sign: str = "both") -> pd.DataFrame:
        """The k strongest neighbours of every part, in blocks of rows.

        Parameters
        ----------
        k : int
        sign : {"both", "positive", "negative"}, default="both"

        Returns
        -------
        DataFrame
            ``part``, ``neighbour``, ``rank``, ``partial_correlation``.
        """
        check_is_fitted(self)
        network = self._network
        check_integer(k, "k", low=1, high=network.n_parts - 1)
        check_choice(sign, "sign", ("both", "positive", "negative"))
        return strongest_neighbours(network, k, sign, _BLOCK)

    def to_frame(self, max_qvalue: float | None = None) -> pd.DataFrame:
        """Table of pairs, strongest first.

        Parameters
        ----------
        max_qvalue : float, optional
            Keep pairs with q at most this; with a factor the table is streamed.

        Returns
        -------
        DataFrame
            ``part_a``, ``part_b``, ``partial_correlation``, ``closure_null`` and, where there is a test,
            ``statistic`` (absent for resampling tests), ``pvalue``, ``qvalue``; ``lower`` and ``upper`` where
            an interval exists.
        """
        check_is_fitted(self)
        network = self._network
        if max_qvalue is not None and not (isinstance(max_qvalue, int | float | np.number) and 0 <= max_qvalue <= 1):
            raise ValueError(f"max_qvalue must be None or a number in [0, 1]; got {max_qvalue!r}.")
        if self._storage == "factor":
            if max_qvalue is None:
                raise ValueError(f"to_frame of all pairs of {network.n_parts} parts: pass max_qvalue, or use top_k.")
            self._require_test()
            return streamed_edges(network, self.fdr, max_qvalue, _BLOCK, self.confidence_level, self.robust)
        if max_qvalue is not None:
            self._require_test()
        tested = network.test != "none"
        pvalues, qvalues = (self.pvalues_, self.qvalues_) if tested else (None, None)
        try:
            interval = self.conf_int() if tested else None
        except (InferenceUnavailableError, DegreesOfFreedomError):
            interval = None  # no interval: the two columns are absent
        return dense_edges(
            network, self.partial_correlation_, self.closure_null_, pvalues, qvalues, interval, max_qvalue
        )

    def to_networkx(self, max_qvalue: float = 0.05) -> Any:
        """Undirected networkx graph of the pairs with q at most ``max_qvalue``.

        Parameters
        ----------
        max_qvalue : float, default=0.05

        Returns
        -------
        networkx.Graph
            All parts are nodes with ``partial_variance`` and ``mean_clr``; edges carry ``weight`` (size of r),
            ``sign``, ``partial_correlation``, ``pvalue``, ``qvalue``.
        """
        import causalkit

        check_is_fitted(self)
        network = self._network
        attributes = {
            "shrinkage": float(self.shrinkage_),
            "null": network.null,
            "n": float(network.n_effective),
            "n_parts": network.n_parts,
            "causalkit_version": causalkit.__version__,
        }
        return network_graph(
            self.to_frame(max_qvalue), network.names, self.partial_variance_, network.clr_mean, attributes
        )

    def to_graphml(self, path: Any, max_qvalue: float = 0.05) -> None:
        """Write the graph of :meth:`to_networkx` as GraphML.

        Parameters
        ----------
        path : str or path-like
        max_qvalue : float, default=0.05
        """
        graph = self.to_networkx(max_qvalue)
        import networkx as nx

        nx.write_graphml(graph, path)
