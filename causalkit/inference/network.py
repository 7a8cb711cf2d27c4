"""Covariance of averages over the nodes of a network whose values depend on one another."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import NetworkDependenceWarning
from causalkit.inference.network_bandwidth import degree_strata, suggest_bandwidth
from causalkit.inference.network_clusters import check_clusters, row_positions
from causalkit.inference.network_distance import Skeleton, ball_sizes, network_skeleton
from causalkit.inference.network_forms import (
    KernelPlan,
    NetworkCovariance,
    clustered_rows,
    independent_rows,
    kernel_rows,
)
from causalkit.validation import check_choice, check_integer, check_matrix

__all__ = ["network_covariance"]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

# Balls of that many entries in all are counted in minutes; more are refused before the work starts.
_MAX_ENTRIES = 4e9
_LARGE_PART = 0.25


def network_covariance(
    influence: Any,
    adjacency: Any = None,
    *,
    positions: Any = None,
    groups: Any = None,
    dependence: str = "auto",
    kernel: str = "auto",
    bandwidth: Any = "auto",
    exposure_radius: int = 0,
    ball_cap: Any = "auto",
    random_state: Any = 0,
) -> NetworkCovariance:
    r"""Covariance of averages over nodes that respects dependence along the network.

    The average of n centred influence values :math:`\psi_i` has covariance :math:`\Omega/n`. With ℓ the number of
    steps between two nodes and :math:`N_i` the nodes within b' steps of i:

    - ``kernel="uniform"``: :math:`\Omega = n^{-1}\sum_{ij} 1\{\ell(i,j) \le b\}\psi_i\psi_j'`. b = 0 is independence.
      It can come out negative.
    - ``kernel="psd"``: weights :math:`|N_i \cap N_j|/\sqrt{|N_i||N_j|}` with :math:`b' = \max(1, \lceil b/2\rceil)`,
      or K where that is larger, so that they reach about as far as b. Never negative.
    - ``kernel="auto"``: uniform, and psd where the uniform one has a negative eigenvalue.
    - ``kernel="wild"``: weights :math:`|N_i \cap N_j|/(n^{-1}\sum_k|N_k|)` with b' = b, the covariance of a
      multiplier bootstrap along the network; its ``influence_values`` carry joint bands.
    - ``dependence="cluster"``: :math:`\frac{C}{C-1}n^{-1}\sum_c(\sum_{i\in c}\psi_i)(\sum_{i\in c}\psi_i)'`, to be read
      with C - 1 degrees of freedom.
    - ``dependence="degree"``: values are centred within strata of equal degree, merged to 30 nodes, and b = 2K. The
      target is then the average over this very network instead of a population that it was drawn from.

    The automatic bandwidth is that of :func:`suggest_bandwidth`, under a cap: where balls of radius b hold more than
    √n nodes on average, hardly two nodes are independent and the estimate is mostly noise. Without interference
    (K = 0) b then becomes the largest radius, 1 at least, below the cap; with interference the reach 2K is kept, and
    the psd form with b' = K is used with a warning. ``dependence`` of the result says so.

    Parameters
    ----------
    influence : array-like, shape (n,) or (n, q)
        Centred influence values on the scale of a mean, weights included.
    adjacency : scipy sparse matrix, shape (N, N), or Skeleton, optional
        The network; weights and directions are dropped. It may be left out with ``groups``.
    positions : ndarray of int, shape (n,), optional
        Node of each row, where rows are a part of the nodes. Steps still lead through all nodes.
    groups : array-like, shape (n,), optional
        Cluster of each row.
    dependence : {"auto", "iid", "network", "cluster", "degree"}, default="auto"
        "auto" is "cluster" with ``groups``, else "network".
    kernel : {"auto", "uniform", "psd", "wild"}, default="auto"
        See above.
    bandwidth : int or "auto", default="auto"
        b. A number is used as it is; beyond the largest distance it means that distance, which is said.
    exposure_radius : int, default=0
        K: how far away a treatment may act.
    ball_cap : "auto", float or None, default="auto"
        Largest mean ball. "auto" is √n for an automatic bandwidth, and no cap for a number.
    random_state : int or Generator, default=0
        Seed of the nodes from which the mean path length is measured.

    Returns
    -------
    NetworkCovariance

    Raises
    ------
    AlignmentError
        Rows and nodes do not match.
    ValueError
        A missing network or missing clusters, a negative bandwidth, or one so large that the balls do not fit.
    TypeError, GraphError
        ``adjacency`` is not a square sparse matrix of finite numbers.

    Warns
    -----
    NetworkDependenceWarning
        Fewer than 10 clusters, a conductance above 0.1, a reach of exposures whose balls exceed the cap, a bandwidth
        whose balls hold more than a quarter of the rows, or no independent variation left.

    References
    ----------
    Kojevnikov, Marmer and Song (2021), J. Econometrics 222:882-908 (uniform kernel); Leung (2022), Econometrica
    90:267-293 (bandwidth, psd weights); Leung (2021), arXiv:2103.01470 (clusters); Hoshino and Yanagi (2023),
    arXiv:2108.07455 (wild bootstrap); Emmenegger, Spohn and Bühlmann (2022), arXiv:2206.14591 (degree strata).

    Examples
    --------
    Neighbours on a ring share half of their noise, which an independent standard error misses.

    >>> import numpy as np
    >>> from scipy import sparse
    >>> from causalkit.inference import network_covariance
    >>> n = 2000
    >>> ring = sparse.diags_array([1.0, 1.0], offsets=[1, n - 1], shape=(n, n))
    >>> noise = np.random.default_rng(0).normal(size=n + 1)
    >>> values = noise[:-1] + noise[1:]
    >>> values -= values.mean()
    >>> independent = network_covariance(values, ring, dependence="iid")
    >>> network = network_covariance(values, ring, bandwidth=1)
    >>> bool(network.std_error > 1.3 * independent.std_error), network.dependence
    (True, 'network, uniform kernel, bandwidth 1 (mean ball 3)')
    """
    values, _ = check_matrix(influence, "influence")
    check_choice(dependence, "dependence", ("auto", "iid", "network", "cluster", "degree"))
    check_choice(kernel, "kernel", ("auto", "uniform", "psd", "wild"))
    reach = check_integer(exposure_radius, "exposure_radius", low=0)
    if not isinstance(bandwidth, str) or bandwidth != "auto":
        check_integer(bandwidth, "bandwidth", low=0)
    cap = _check_cap(ball_cap, bandwidth, len(values))
    if dependence == "auto":
        dependence = "network" if groups is None else "cluster"
    if dependence == "iid":
        return independent_rows(values)
    skeleton = None if adjacency is None else network_skeleton(adjacency)
    if dependence == "cluster":
        return clustered_rows(values, check_clusters(groups, len(values)), skeleton, positions)
    if skeleton is None:
        raise ValueError(
            f'adjacency is missing: dependence="{dependence}" needs the network as a scipy sparse matrix. Pass it, '
            'or groups, or dependence="iid".'
        )
    nodes = row_positions(positions, len(values), skeleton.n_nodes)
    if dependence == "degree":
        strata = degree_strata(skeleton.degree[nodes])
        values = values - _strata_means(values, strata)[strata]
        plan = KernelPlan(2 * reach, kernel) if bandwidth == "auto" else KernelPlan(int(bandwidth), kernel)
    elif bandwidth == "auto":
        rule = suggest_bandwidth(skeleton, exposure_radius=reach, random_state=random_state)
        plan = KernelPlan(rule.bandwidth, kernel)
    else:
        plan = KernelPlan(int(bandwidth), kernel)
    plan = _capped(plan, skeleton, nodes, cap, reach, bandwidth == "auto")
    found = kernel_rows(values, skeleton, nodes, plan, reach)
    cancelled = found.vanished is not None and found.vanished.any()  # which has a warning of its own
    if not cancelled and (found.mean_ball or 0) > _LARGE_PART * len(values):
        radius = plan.bandwidth if found.radius is None else found.radius
        warnings.warn(
            f"Balls of radius {radius} hold {found.mean_ball:.4g} of {len(values)} nodes on average: centred "
            "values nearly cancel over so large a part, and the standard error is far too small. Pass a smaller "
            'bandwidth, or bandwidth="auto".',
            NetworkDependenceWarning,
            stacklevel=2,
        )
    if dependence == "degree":
        words = f"centred within {int(strata.max()) + 1} degree strata; {found.dependence}"
        return replace(found, method="degree", dependence=words)
    return found


def _check_cap(ball_cap: Any, bandwidth: Any, n_rows: int) -> float:
    if isinstance(ball_cap, str) and ball_cap == "auto":
        return math.sqrt(n_rows) if isinstance(bandwidth, str) else math.inf
    if ball_cap is None:
        return math.inf
    ok = isinstance(ball_cap, int | float | np.integer | np.floating) and not isinstance(ball_cap, bool)
    if not ok or not ball_cap >= 1:
        raise ValueError(f'ball_cap must be "auto", None or a number of at least 1; got {ball_cap!r}.')
    return float(ball_cap)


def _strata_means(values: Array, strata: Codes) -> Array:
    counts = np.bincount(strata)
    return np.column_stack([np.bincount(strata, weights=column) / counts for column in values.T])


def _capped(plan: KernelPlan, skeleton: Skeleton, nodes: Codes, cap: float, reach: int, automatic: bool) -> KernelPlan:
    """Lower the bandwidth, or change the kernel, where the balls hold too large a part of the network."""
    b = plan.bandwidth
    if b == 0:
        return plan
    present = None
    if len(nodes) < skeleton.n_nodes:
        present = np.zeros(skeleton.n_nodes)
        present[nodes] = 1.0
    limit = min(cap, _MAX_ENTRIES / skeleton.n_nodes)
    sizes = ball_sizes(skeleton, b, cap=limit, present=present)
    if not sizes.exceeded:
        return plan
    if limit < cap:
        raise ValueError(
            f"bandwidth {b} is too large for this network: its balls would hold more than {_MAX_ENTRIES:g} entries in "
            f"all, while radius {len(sizes.means) - 1} has {sizes.means[-1]:.4g} nodes per ball. Pass a smaller "
            'bandwidth, bandwidth="auto", or groups.'
        )
    if reach == 0 or not automatic:
        lowered = max(len(sizes.means) - 1, 1)
        return replace(plan, bandwidth=lowered, note=f"lowered from {b}, whose mean ball exceeds {cap:.4g}")
    warnings.warn(
        f"Balls of radius {b} hold more than {cap:.4g} of {len(nodes)} nodes on average, and treatments act over "
        f"{reach} steps: nearly all pairs of nodes are dependent. The psd kernel with radius {reach} is used, and "
        "its standard error is imprecise: pass groups if there are clusters without links between them.",
        NetworkDependenceWarning,
        stacklevel=3,
    )
    note = f"the mean ball at distance {b} exceeds {cap:.4g}"
    return KernelPlan(2 * reach, "wild" if plan.kernel == "wild" else "psd", reach, note)
