"""Sums of products of influence values over pairs of nearby nodes, for three kernels of the distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.inference.network_distance import Skeleton, ball_blocks

__all__ = ["KernelSum", "common_ball_sum", "uniform_sum"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class KernelSum:
    r"""A kernel sum :math:`\sum_{ij} K_{ij}\psi_i\psi_j'` and how far its balls reached.

    Attributes
    ----------
    total : ndarray, shape (q, q)
        The sum.
    mean_ball : float
        Mean size of the closed balls.
    reached : int
        Radius that was used: the one asked for, or the largest distance in the network where that is smaller.
    smoothed : ndarray, shape (n, q), or None
        Values s with :math:`s's` equal to the sum, for kernels that have them.
    """

    total: Array
    mean_ball: float
    reached: int
    smoothed: Array | None = None


def uniform_sum(values: Array, skeleton: Skeleton, bandwidth: int) -> KernelSum:
    r"""Sum with the uniform kernel, :math:`\psi'B_b\psi` with :math:`B_b = 1\{\ell(i, j) \le b\}`.

    It may have negative eigenvalues. With b = 0 rows are independent; b = 1 is one sparse product.

    Parameters
    ----------
    values : ndarray, shape (n, q)
        Influence values, 0 at nodes without one.
    skeleton : Skeleton
        The network.
    bandwidth : int
        b.

    Returns
    -------
    KernelSum
    """
    if bandwidth == 0:
        return KernelSum(values.T @ values, 1.0, 0)
    if bandwidth == 1:
        summed = values + skeleton.matrix @ values
        return KernelSum(_symmetric(values.T @ summed), *_first_ball(skeleton))
    total, entries, reached = np.zeros((values.shape[1],) * 2), 0, 0
    for rows, block, distance in ball_blocks(skeleton, bandwidth):
        total += values[rows].T @ (block @ values)
        entries += block.nnz
        reached = max(reached, distance)
    return KernelSum(_symmetric(total), entries / skeleton.n_nodes, reached)


def common_ball_sum(values: Array, skeleton: Skeleton, radius: int, *, scaling: str = "each") -> KernelSum:
    r"""Sum with weights from common members of two balls, never with a negative eigenvalue.

    With :math:`N_i` the closed ball of the given radius, the weight of a pair is

    .. math:: \frac{|N_i \cap N_j|}{\sqrt{|N_i||N_j|}} \;(\texttt{"each"}), \qquad
              \frac{|N_i \cap N_j|}{n^{-1}\sum_k |N_k|} \;(\texttt{"mean"}).

    Both are inner products of rows of the scaled ball indicator, so the sum is :math:`s's` with
    :math:`s_k = \sum_{i \in N_k} \psi_i/\sqrt{|N_i|}`, or with the mean size. Radius 1 is one sparse product.

    Parameters
    ----------
    values : ndarray, shape (n, q)
        Influence values, 0 at nodes without one.
    skeleton : Skeleton
        The network.
    radius : int
        Radius of the balls; pairs up to twice as far apart get weight.
    scaling : {"each", "mean"}, default="each"
        What the common members are counted against.

    Returns
    -------
    KernelSum
    """
    if radius == 0:
        return KernelSum(values.T @ values, 1.0, 0, values)
    if radius == 1:
        mean_ball, reached = _first_ball(skeleton)
        scale = (skeleton.degree + 1)[:, None] if scaling == "each" else mean_ball
        scaled = values / np.sqrt(scale)
        smoothed = scaled + skeleton.matrix @ scaled
        return KernelSum(smoothed.T @ smoothed, mean_ball, reached, smoothed)
    smoothed, entries, reached = np.zeros_like(values), 0, 0
    for rows, block, distance in ball_blocks(skeleton, radius):
        size = np.diff(block.indptr).astype(np.float64)[:, None]
        # Balls are symmetric, j in N_i where i in N_j, so a block of rows serves as a block of columns.
        smoothed += block.T @ (values[rows] / np.sqrt(size) if scaling == "each" else values[rows])
        entries += block.nnz
        reached = max(reached, distance)
    mean_ball = entries / skeleton.n_nodes
    if scaling == "mean":
        smoothed = smoothed / np.sqrt(mean_ball)
    return KernelSum(smoothed.T @ smoothed, mean_ball, reached, smoothed)


def _first_ball(skeleton: Skeleton) -> tuple[float, int]:
    return 1.0 + float(skeleton.degree.mean()), int(skeleton.degree.any())


def _symmetric(matrix: Array) -> Array:
    """Remove rounding that a sum in blocks leaves between the two triangles."""
    return np.asarray((matrix + matrix.T) / 2)
