"""Clusters of a network: how much they are linked to the rest, covariances over them, and a partition to start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from causalkit.exceptions import AlignmentError
from causalkit.inference.covariance import cluster_sums
from causalkit.inference.network_distance import Skeleton, network_skeleton
from causalkit.validation import Groups, check_groups, check_integer

__all__ = [
    "CONDUCTANCE_LIMIT",
    "NetworkClusters",
    "check_clusters",
    "cluster_covariance",
    "code_conductance",
    "conductance",
    "network_clusters",
    "row_positions",
]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

CONDUCTANCE_LIMIT = 0.1

# Numbers of clusters that are tried from the largest one down.
_TRIED = (200, 150, 100, 75, 50, 40, 30, 25, 20, 16, 12, 10, 8, 6, 5, 4, 3, 2)


@dataclass(frozen=True, eq=False, repr=False)
class NetworkClusters:
    """A partition of the nodes.

    Attributes
    ----------
    codes : ndarray of int, shape (n,)
        Cluster of each node, from 0.
    conductance : ndarray, shape (C,)
        Share of the links of each cluster that leave it.
    """

    codes: Codes
    conductance: Array

    @property
    def n_clusters(self) -> int:
        """Number of clusters, C."""
        return len(self.conductance)

    def __repr__(self) -> str:
        return f"NetworkClusters(n_clusters={self.n_clusters}, max_conductance={self.conductance.max():.3g})"


def conductance(adjacency: Any, groups: Any) -> Array:
    r"""Share of the links of each cluster that lead out of it, :math:`\phi(S) = \mathrm{cut}(S)/\mathrm{vol}(S)`.

    :math:`\mathrm{cut}(S)` counts links with one end in S, :math:`\mathrm{vol}(S)` is the sum of degrees in S. Clusters
    are nearly independent, and clustered standard errors right, where all of them are small; above 0.1 they are in
    doubt. A cluster without links has conductance 0.

    Parameters
    ----------
    adjacency : scipy sparse matrix, shape (n, n), or Skeleton
        The network; weights and directions are dropped.
    groups : array-like, shape (n,)
        Cluster of each node.

    Returns
    -------
    ndarray, shape (C,)
        In the order in which the clusters first appear in ``groups``.

    Raises
    ------
    ValueError
        ``groups`` has not one label per node.

    References
    ----------
    Leung (2021), arXiv:2103.01470, section 2.

    Examples
    --------
    A path of four nodes, cut in the middle: one of three ends of links leaves each half.

    >>> from scipy import sparse
    >>> from causalkit.inference import conductance
    >>> path = sparse.diags_array([1.0, 1.0, 1.0], offsets=1, shape=(4, 4))
    >>> conductance(path, ["a", "a", "b", "b"]).round(4).tolist()
    [0.3333, 0.3333]
    """
    skeleton = network_skeleton(adjacency)
    checked = check_groups(groups, skeleton.n_nodes, like="adjacency")
    if checked is None:
        raise ValueError("groups is missing: expected the cluster of each node, got None.")
    return code_conductance(skeleton, checked.codes, checked.n_groups)


def code_conductance(skeleton: Skeleton, codes: Codes, n_groups: int) -> Array:
    """Conductance of clusters that are already coded, shape (n_groups,)."""
    member = sparse.csr_array((np.ones(len(codes)), codes, np.arange(len(codes) + 1)), shape=(len(codes), n_groups))
    # Links between clusters: a C×C sparse table, as large as the number of linked pairs of clusters.
    links = member.T @ skeleton.matrix @ member
    volume = np.bincount(codes, weights=skeleton.degree, minlength=n_groups)
    cut = volume - links.diagonal()
    return np.divide(cut, volume, out=np.zeros(n_groups), where=volume > 0)


def cluster_covariance(influence: Array, groups: Groups) -> Array:
    r"""Covariance of a mean with dependence inside clusters only.

    .. math:: \frac{C}{C-1}\, n^{-2} \sum_{c} \Big(\sum_{i \in c}\psi_i\Big)\Big(\sum_{i \in c}\psi_i\Big)'

    Parameters
    ----------
    influence : ndarray, shape (n, q)
        Centred influence values.
    groups : Groups
        Clusters, two at least.

    Returns
    -------
    ndarray, shape (q, q)

    Raises
    ------
    ValueError
        Fewer than two clusters.

    References
    ----------
    Leung (2021), arXiv:2103.01470; t quantiles with C - 1 degrees of freedom.
    """
    count = groups.n_groups
    if count < 2:
        raise ValueError(
            f"groups has {count} cluster: a clustered covariance needs at least two. Pass finer clusters, or leave "
            'groups out and use dependence="network".'
        )
    sums = cluster_sums(influence, groups.codes, count)
    return np.asarray(count / (count - 1) * (sums.T @ sums) / influence.shape[0] ** 2)


def network_clusters(adjacency: Any, n_clusters: int | str = "auto", *, random_state: Any = 0) -> NetworkClusters:
    r"""Partition a network into clusters with few links between them, by spectral clustering.

    The C leading eigenvectors of :math:`D^{-1/2}AD^{-1/2}` in the largest component, rows scaled to length one, are
    clustered by k-means. Every other component goes, as a whole, to one of the clusters in turn, which adds no link
    between clusters.

    With ``"auto"`` C is the largest of 200, 150, 100, ..., 2 whose clusters all have conductance of 0.1 at most.
    Numbers for which the C-th smallest eigenvalue of the normalised Laplacian exceeds 0.2 are left out: half of it
    bounds the largest conductance of any C clusters from below. Without such a number the components themselves are
    the clusters; a single component then means that the network has no nearly independent clusters.

    Parameters
    ----------
    adjacency : scipy sparse matrix, shape (n, n), or Skeleton
        The network; weights and directions are dropped.
    n_clusters : int or "auto", default="auto"
        C, at least 2.
    random_state : int or RandomState
        Seed of the first eigenvector and of k-means.

    Returns
    -------
    NetworkClusters
        ``codes`` is what ``groups`` of other functions takes.

    Raises
    ------
    ValueError
        ``n_clusters`` below 2 or above half of the nodes of the largest component.

    References
    ----------
    Leung (2021), arXiv:2103.01470, section 4 (spectral clusters); Lee, Oveis Gharan and Trevisan (2014),
    doi:10.1145/2665063 (the bound).

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from causalkit.inference import network_clusters
    >>> villages = sparse.block_diag([np.ones((10, 10))] * 4, format="lil")
    >>> for first in range(0, 30, 10):
    ...     villages[first, first + 10] = 1.0
    >>> network_clusters(villages.tocsr(), 4)
    NetworkClusters(n_clusters=4, max_conductance=0.0217)
    """
    skeleton = network_skeleton(adjacency)
    labels = csgraph.connected_components(skeleton.matrix, directed=False)[1]
    sizes = np.bincount(labels)
    giant = np.flatnonzero(labels == sizes.argmax())
    largest = len(giant) // 2
    if n_clusters != "auto":
        count = check_integer(n_clusters, "n_clusters", low=2)
        if count > largest:
            raise ValueError(
                f"n_clusters is {count}, but the largest component has {len(giant)} nodes: expected at most half of "
                f"them, {largest}. Ask for fewer clusters, or pass the components as groups."
            )
        _, vectors = _leading(skeleton, giant, count, random_state)
        return _partition(skeleton, labels, giant, vectors, random_state)
    tried = [count for count in _TRIED if count <= largest]
    if tried:
        values, vectors = _leading(skeleton, giant, tried[0], random_state)
        for count in tried:
            if 1 - values[count - 1] > 2 * CONDUCTANCE_LIMIT:
                continue
            found = _partition(skeleton, labels, giant, vectors[:, :count], random_state)
            if found.conductance.max() <= CONDUCTANCE_LIMIT:
                return found
    return NetworkClusters(labels.astype(np.intp), np.zeros(len(sizes)))


def _leading(skeleton: Skeleton, nodes: Codes, count: int, random_state: Any) -> tuple[Array, Array]:
    """Largest eigenvalues, in falling order, of the normalised adjacency of one component, and their vectors."""
    from scipy.sparse.linalg import eigsh
    from sklearn.utils import check_random_state

    matrix = skeleton.matrix[nodes][:, nodes]
    root = 1 / np.sqrt(skeleton.degree[nodes])
    scaled = sparse.diags_array(root) @ matrix @ sparse.diags_array(root)
    if len(nodes) <= 500 or count >= len(nodes) - 1:
        values, vectors = np.linalg.eigh(scaled.toarray())
    else:
        start = check_random_state(random_state).standard_normal(len(nodes))
        # One more eigenvalue than needed steadies the last of them; a loose tolerance is enough for k-means.
        values, vectors = eigsh(scaled, k=count, which="LA", v0=start, tol=1e-4, ncv=min(len(nodes), 3 * count + 20))
    order = np.argsort(values)[::-1][:count]
    return values[order], vectors[:, order]


def _partition(skeleton: Skeleton, labels: Codes, giant: Codes, vectors: Array, random_state: Any) -> NetworkClusters:
    from sklearn.cluster import KMeans

    count = vectors.shape[1]
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = vectors / np.where(length > 0, length, 1.0)
    found = KMeans(count, n_init=4, random_state=random_state).fit_predict(rows)
    others = np.unique(labels, return_inverse=True)[1] % count
    codes = others.astype(np.intp)
    codes[giant] = found
    # k-means may leave a cluster empty where eigenvectors coincide.
    codes = np.unique(codes, return_inverse=True)[1].astype(np.intp)
    return NetworkClusters(codes, code_conductance(skeleton, codes, int(codes.max()) + 1))


def check_clusters(groups: Any, n_rows: int) -> Groups:
    """Code clusters of rows, which must be there."""
    checked = check_groups(groups, n_rows, like="influence")
    if checked is None:
        raise ValueError('groups is missing: dependence="cluster" needs the cluster of each row.')
    return checked


def row_positions(positions: Any, n_rows: int, n_nodes: int) -> Codes:
    """Node of each row, checked; rows are nodes in order without ``positions``."""
    if positions is None:
        if n_rows != n_nodes:
            raise AlignmentError(
                f"influence has {n_rows} rows, but adjacency has {n_nodes} nodes: rows can only mean nodes in order "
                "where the counts agree. Pass positions, the node of each row."
            )
        return np.arange(n_rows)
    array = np.asarray(positions)
    if array.shape != (n_rows,) or array.dtype.kind not in "iu":
        raise AlignmentError(
            f"positions must hold one integer per row: expected shape ({n_rows},), got shape {array.shape} of "
            f"{array.dtype}. Pass the position of each row's node in adjacency."
        )
    outside = (array < 0) | (array >= n_nodes)
    if outside.any():
        raise AlignmentError(
            f"positions must lie in 0..{n_nodes - 1}: got {int(outside.sum())} others, first "
            f"{array[outside][:5].tolist()}."
        )
    repeated = np.flatnonzero(np.bincount(array, minlength=n_nodes) > 1)
    if len(repeated):
        raise AlignmentError(
            f"positions repeats {len(repeated)} nodes, first {repeated[:5].tolist()}: expected one row per node. "
            "Average the influence values of a node's rows first."
        )
    return array.astype(np.intp)
