"""What the simulated designs on networks return, and the pieces that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.datasets.graph_generators import barabasi_albert, erdos_renyi, stochastic_blocks
from causalkit.validation import check_choice, check_matrix

__all__ = ["GraphSample", "check_features", "named_graph", "neighbour_mean", "smoothing", "standardised"]

Array = NDArray[np.float64]

N_FEATURES = 10


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class GraphSample:
    r"""Nodes of a network with covariates, a binary treatment, an outcome, and the truth about them.

    Attributes
    ----------
    X : ndarray, shape (n, p)
        Covariates that an analyst sees.
    y : ndarray, shape (n,)
        Outcome.
    treatment : ndarray of int, shape (n,)
        0 or 1.
    adjacency : csr_array, shape (n, n)
        Symmetric, ones, empty diagonal.
    effect : ndarray, shape (n,)
        Effect of the node's own treatment, at the exposure it had where neighbours' treatments matter.
    outcome_mean : ndarray, shape (n,)
        Mean of y given covariates and graph, over own treatments (and at the exposure it had).
    propensity : ndarray, shape (n,)
        Probability of treatment.
    population : mapping of str to float
        Known targets and variances; each design says which.
    feature_names : tuple of str, length p
        Names of the columns of X.
    exposure : ndarray, shape (n,), or None
        What neighbours' treatments amount to for a node.
    spillover : ndarray, shape (n,), or None
        Effect of one more unit of exposure.
    points : ndarray, shape (n, 2), or None
        Where nodes lie, for graphs of points.
    """

    X: Array
    y: Array
    treatment: NDArray[np.int64]
    adjacency: Any
    effect: Array
    outcome_mean: Array
    propensity: Array
    population: Mapping[str, float]
    feature_names: tuple[str, ...]
    exposure: Array | None = None
    spillover: Array | None = None
    points: Array | None = None

    def __repr__(self) -> str:
        return (
            f"GraphSample(n={len(self.y)}, n_features={self.X.shape[1]}, n_edges={self.adjacency.nnz // 2}, "
            f"average_effect={self.effect.mean():.4g})"
        )

    def __getstate__(self) -> dict[str, Any]:
        # A read-only mapping cannot be pickled; its content can.
        return {**self.__dict__, "population": dict(self.population)}


def named_graph(graph: Any, n: int, rng: np.random.Generator, *, er: float, sbm: tuple[float, float]) -> Any:
    """Draw the graph of a name, or check and return one that is given.

    Parameters
    ----------
    graph : {"ba", "er", "sbm"} or scipy sparse matrix
        Name, or adjacency.
    n : int
        Nodes.
    rng : Generator
        Source of the draws.
    er : float
        Link probability of "er".
    sbm : tuple of float
        Link probabilities inside and between the two equal blocks of "sbm".

    Returns
    -------
    csr_array, shape (n, n)
    """
    if sparse.issparse(graph):
        from causalkit.inference.network_distance import network_skeleton

        return network_skeleton(graph).matrix
    check_choice(graph, "graph", ("ba", "er", "sbm"))
    if graph == "ba":
        return barabasi_albert(n, 4, rng)
    if graph == "er":
        return erdos_renyi(n, min(er, 1.0), rng)
    return stochastic_blocks([n - n // 2, n // 2], min(sbm[0], 1.0), min(sbm[1], 1.0), rng)


def check_features(X: Any, n: int) -> tuple[Array, tuple[str, ...]]:
    """Check given covariates, three columns at least."""
    array, names = check_matrix(X, "X", n_rows=n, like="graph")
    if array.shape[1] < 3:
        raise ValueError(f"X has {array.shape[1]} columns: the design uses the first three. Pass at least three.")
    return array, tuple(names)


def neighbour_mean(adjacency: Any, values: Array) -> Array:
    """Mean over neighbours, 0 for nodes without one; same shape as ``values``."""
    degree = np.maximum(np.diff(adjacency.indptr), 1)
    return np.asarray(adjacency @ values) / (degree[:, None] if values.ndim == 2 else degree)


def smoothing(adjacency: Any) -> Any:
    r""":math:`\tilde D^{-1/2}(A + I)\tilde D^{-1/2}`, with :math:`\tilde D` the degree plus one."""
    root = sparse.diags_array(1 / np.sqrt(np.diff(adjacency.indptr) + 1.0))
    return sparse.csr_array(root @ (adjacency + sparse.eye_array(adjacency.shape[0])) @ root)


def standardised(values: Array) -> Array:
    """Columns with mean 0 and variance 1; a column that does not vary becomes 0."""
    centred = values - values.mean(axis=0)
    size = np.sqrt((centred**2).mean(axis=0))
    return np.asarray(centred / np.where(size > 1e-12, size, 1.0))
