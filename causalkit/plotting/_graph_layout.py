"""Positions of nodes in the plane: springs along edges against repulsion from a grid, in time linear in the edges."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse

from causalkit.inference import network_skeleton
from causalkit.validation import check_integer

__all__ = ["graph_layout"]

Array = NDArray[np.float64]

_GRID = 128
_START_STEPS = 60
# Iterations times (nodes + edges): beyond it fewer iterations, 20 at least.
_WORK = 2e7
_MOST_ITERATIONS = 250
_LEAST_ITERATIONS = 20
_GRAVITY = 0.05


def graph_layout(adjacency: Any, *, n_iter: int | None = None, random_state: Any = 0) -> Array:
    r"""Place the nodes of a network in the plane.

    Neighbours attract each other by their distance, and all nodes repel each other by degree and distance,

    .. math:: F_i = \sum_{j \sim i} (x_j - x_i) - \sum_j \frac{(d_i + 1)(d_j + 1)}{|x_j - x_i|^2}(x_j - x_i),

    from a start in two slow directions of a lazy random walk, with steps whose largest length falls to zero. Repulsion
    is that of the mass in the cells of a grid, by one Fourier transform, so that an iteration takes time in
    proportion to nodes and edges. A weak pull to the origin keeps components together.

    Parameters
    ----------
    adjacency : scipy sparse matrix, shape (n, n)
        Directions, weights and self-loops do not count.
    n_iter : int, optional
        Iterations; 250 for networks of a few thousand nodes, fewer for larger ones.
    random_state : int or Generator, default=0
        Seed of the start.

    Returns
    -------
    ndarray, shape (n, 2)
        Centred, root mean square distance from the origin 1; zeros for a single node.

    References
    ----------
    Fruchterman & Reingold 1991, Software: Practice and Experience 21(11). Jacomy, Venturini, Heymann & Bastian 2014,
    PLoS ONE 9(6):e98679 (repulsion by degree).
    """
    matrix = network_skeleton(adjacency).matrix
    n = matrix.shape[0]
    if n == 1:
        return np.zeros((1, 2))
    if n_iter is None:
        n_iter = int(np.clip(_WORK / (n + matrix.nnz), _LEAST_ITERATIONS, _MOST_ITERATIONS))
    else:
        check_integer(n_iter, "n_iter", low=1)
    rng = np.random.default_rng(random_state)
    mass = np.diff(matrix.indptr) + 1.0
    # Two hubs with d neighbours each rest about d apart: a disc of this radius holds all of them at that density.
    radius = float(np.sqrt(mass.sum()))
    x = radius * _slow_start(matrix, rng)
    degree = mass - 1
    for step in range(n_iter):
        pull = matrix @ x - degree[:, None] * x - _GRAVITY * mass[:, None] * x
        force = pull + mass[:, None] * _repulsion(x, mass)
        # Heavy nodes move less for the same force, as their neighbours pull them many times over.
        force /= mass[:, None]
        length = np.sqrt((force**2).sum(axis=1, keepdims=True)) + 1e-12
        longest = 0.1 * radius * (1 - step / n_iter)
        x = x + force * np.minimum(0.5, longest / length)
    return _scaled(x)


def _slow_start(matrix: Any, rng: np.random.Generator) -> Array:
    """Two smooth functions on the network: power iterations of a lazy walk, apart from the constant and each other."""
    n = matrix.shape[0]
    weight = np.maximum(np.diff(matrix.indptr), 1).astype(float)
    walk = sparse.diags_array(1 / weight) @ matrix
    x = rng.normal(size=(n, 2))
    for _ in range(_START_STEPS):
        x = 0.5 * (x + walk @ x)
        x -= (weight @ x) / weight.sum()
        x, _ = np.linalg.qr(x)
    # Ends of long chains would lie far outside: ranks fill the square evenly.
    ranks = np.argsort(np.argsort(x, axis=0), axis=0)
    return 2 * (ranks + rng.uniform(size=x.shape)) / n - 1


def _repulsion(x: Array, mass: Array) -> Array:
    """Sum over all nodes of mass times (x_i - x_j)/|x_i - x_j|², from a grid (test_repulsion_is_that_of_all_pairs)."""
    low = x.min(axis=0)
    cell = max(float((x.max(axis=0) - low).max()), 1e-9) / (_GRID - 2)
    place = (x - low) / cell
    corner = place.astype(np.intp)
    part = place - corner
    density = np.zeros(_GRID * _GRID)
    shares = []
    for a in (0, 1):
        for b in (0, 1):
            index = (corner[:, 0] + a) * _GRID + corner[:, 1] + b
            share = np.abs(1 - a - part[:, 0]) * np.abs(1 - b - part[:, 1])
            density += np.bincount(index, share * mass, minlength=_GRID * _GRID)
            shares.append((index, share))
    # Twice the size, so that the periodic convolution does not wrap around.
    spectrum = fft.rfft2(density.reshape(_GRID, _GRID), s=(2 * _GRID, 2 * _GRID))
    out = np.zeros_like(x)
    for axis, kernel in enumerate(_kernels()):
        field = fft.irfft2(spectrum * kernel, s=(2 * _GRID, 2 * _GRID))[:_GRID, :_GRID].ravel() / cell
        for index, share in shares:
            out[:, axis] += share * field[index]
    return out


@cache
def _kernels() -> tuple[Any, Any]:
    """Transforms of x/|x|² and y/|x|² at offsets of cells, softened below a cell; odd, so nothing pushes itself."""
    offset = np.concatenate([np.arange(_GRID), np.arange(-_GRID, 0)]).astype(float)
    square = offset[:, None] ** 2 + offset[None, :] ** 2 + 0.25
    return fft.rfft2(offset[:, None] / square), fft.rfft2(offset[None, :] / square)


def _scaled(x: Array) -> Array:
    centred = x - x.mean(axis=0)
    return np.asarray(centred / max(float(np.sqrt((centred**2).sum(axis=1).mean())), 1e-12))
