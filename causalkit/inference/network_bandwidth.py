"""How far dependence reaches in a network, and strata of nodes with similar degrees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.inference.network_distance import mean_path_length, network_skeleton
from causalkit.validation import check_integer

__all__ = ["NetworkBandwidth", "degree_strata", "suggest_bandwidth"]

Codes = NDArray[np.intp]

_MIN_STRATUM = 30


@dataclass(frozen=True)
class NetworkBandwidth:
    """A bandwidth and what it follows from.

    Attributes
    ----------
    bandwidth : int
        Distance b up to which nodes count as dependent.
    path_length : float
        Mean path length L in the largest component.
    mean_degree : float
        Mean number of neighbours.
    unrounded : float
        b̃, before rounding and before the reach of the exposure.
    exposure_radius : int
        K.
    """

    bandwidth: int
    path_length: float
    mean_degree: float
    unrounded: float
    exposure_radius: int

    def __int__(self) -> int:
        return self.bandwidth

    __index__ = __int__


def suggest_bandwidth(
    adjacency: Any, *, exposure_radius: int = 0, n_sources: int = 100, random_state: Any = 0
) -> NetworkBandwidth:
    r"""Choose the distance up to which nodes count as dependent.

    With L the mean path length in the largest component, :math:`\bar d` the mean degree and K the exposure radius,

    .. math:: \tilde b = \begin{cases} L/2 & L < 2\log n/\log\bar d \\ L^{1/3} & \text{otherwise}\end{cases},
              \qquad b = \max(\mathrm{round}\,\tilde b,\; 2K),

    halves rounded up; b = 2K where :math:`\bar d \le 1`. The first case is that of networks whose neighbourhoods grow
    exponentially, the second that of lattice-like ones.

    Parameters
    ----------
    adjacency : scipy sparse matrix, shape (n, n), or Skeleton
        The network; weights and directions are dropped.
    exposure_radius : int, default=0
        K: how far away a treatment may act.
    n_sources : int, default=100
        Nodes from which L is measured; it is exact where the largest component has no more.
    random_state : int or Generator, default=0
        Seed of these nodes.

    Returns
    -------
    NetworkBandwidth

    Raises
    ------
    ValueError
        A negative radius, no source.

    References
    ----------
    Leung (2022), Econometrica 90:267-293, section 4 (bandwidth).

    Examples
    --------
    >>> from scipy import sparse
    >>> from causalkit.inference import suggest_bandwidth
    >>> ring = sparse.diags_array([1.0, 1.0], offsets=[1, 63], shape=(64, 64))
    >>> rule = suggest_bandwidth(ring)
    >>> rule.bandwidth, round(rule.path_length, 4), round(rule.unrounded, 4)
    (3, 16.254, 2.5331)
    """
    skeleton = network_skeleton(adjacency)
    radius = check_integer(exposure_radius, "exposure_radius", low=0)
    sources = check_integer(n_sources, "n_sources", low=1)
    degree = float(skeleton.degree.mean())
    length = mean_path_length(skeleton, n_sources=sources, random_state=random_state)
    unrounded = 0.0
    if degree > 1:
        expanding = length < 2 * math.log(skeleton.n_nodes) / math.log(degree)
        unrounded = length / 2 if expanding else length ** (1 / 3)
    bandwidth = max(math.floor(unrounded + 0.5), 2 * radius)
    return NetworkBandwidth(bandwidth, length, degree, unrounded, radius)


def degree_strata(degree: Any, *, min_size: int = _MIN_STRATUM) -> Codes:
    """Group nodes of neighbouring degrees until every group is large enough.

    Degrees are joined in rising order until a stratum has ``min_size`` nodes; what is left over at the top joins the
    last stratum. Nodes of equal degree are never separated.

    Parameters
    ----------
    degree : array-like, shape (n,)
        Number of neighbours.
    min_size : int, default=30
        Nodes per stratum; fewer only where there are fewer in all.

    Returns
    -------
    ndarray of int, shape (n,)
        Stratum, numbered by rising degree.
    """
    values, place, counts = np.unique(np.asarray(degree), return_inverse=True, return_counts=True)
    stratum, held = np.zeros(len(values), dtype=np.intp), 0
    for j, count in enumerate(counts[:-1].tolist()):  # over distinct degrees, not over nodes
        held += count
        full = held >= min_size
        stratum[j + 1] = stratum[j] + full
        held = 0 if full else held
    if held + counts[-1] < min_size:
        stratum[stratum == stratum[-1]] = max(stratum[-1] - 1, 0)
    return stratum[place]
