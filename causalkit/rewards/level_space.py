"""Equations in the space of factor levels: connected sets, absorbed rank, and the solver behind the projection.

With D the dummies of all levels and W the weights, everything here lives on the matrix D'WD of levels by levels.
Its diagonal blocks are diagonal, so the largest factor is eliminated exactly; what is left is a Schur complement in
the levels of the other factors. It is solved by pivoted Cholesky where it is small, by banded Cholesky where two
factors form long chains (conjugate gradients would need as many steps as the chain has links), and by conjugate
gradients otherwise.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from causalkit.exceptions import ConvergenceWarning

__all__ = ["LevelSystem", "connected_sets", "level_rank", "level_system", "singleton_rows"]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

DIRECT_LEVELS = 1000  # up to here a dense factorisation (a third of a GFlop) beats conjugate gradients
RELATIVE_RESIDUAL = 1e-10
MAX_ITERATIONS = 5000
BAND_CELLS = 4_000_000  # largest banded factor, and largest Schur complement that is built to look for a band
# Pivots of the scaled Schur complement are at least about one over the number of levels, or rounding.
_PIVOT = 1e-10


def indicator(codes: Codes, n_levels: int, weight: Array | None = None) -> sparse.csr_array:
    """Sparse D'W of one factor, shape (G, n): its product with columns gives weighted sums per level."""
    data = np.ones(len(codes)) if weight is None else np.asarray(weight, dtype=np.float64)
    columns = sparse.csc_array((data, codes, np.arange(len(codes) + 1)), shape=(n_levels, len(codes)))
    return columns.tocsr()


def singleton_rows(codes: list[Codes], sizes: list[int], active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows that are alone in some level once earlier such rows are gone, shape (n,) bool.

    Parameters
    ----------
    codes : list of ndarray of int, shape (n,)
        Level of each row, one array per factor.
    sizes : list of int
        Number of levels of each factor.
    active : ndarray of bool, shape (n,)
        Rows that count.
    """
    dropped = np.zeros(len(active), dtype=bool)
    rows = np.flatnonzero(active)
    while len(rows):
        alone = np.zeros(len(rows), dtype=bool)
        for code, size in zip(codes, sizes, strict=True):
            alone |= np.bincount(code[rows], minlength=size)[code[rows]] == 1
        if not alone.any():
            break
        dropped[rows[alone]] = True
        rows = rows[~alone]
    return dropped


def connected_sets(codes: list[Codes], sizes: list[int]) -> list[Codes]:
    """Number of the connected set of each level, one array per factor; -1 for a level without rows.

    Two levels are connected if they share a row, and so on transitively. The levels of a single factor are all in
    set 0: their effects need no common reference.
    """
    seen = [np.bincount(code, minlength=size) > 0 for code, size in zip(codes, sizes, strict=True)]
    if len(codes) == 1:
        return [np.where(seen[0], 0, -1).astype(np.intp)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    left = np.tile(codes[0], len(codes) - 1)
    right = np.concatenate([code + start for code, start in zip(codes[1:], starts[1:-1], strict=True)])
    total = int(starts[-1])
    graph = sparse.coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(total, total)).tocsr()
    labels = sparse.csgraph.connected_components(graph, directed=False)[1]
    observed = np.concatenate(seen)
    numbers = np.full(total, -1, dtype=np.intp)
    numbers[observed] = np.unique(labels[observed], return_inverse=True)[1]
    return [numbers[a:b] for a, b in itertools.pairwise(starts)]


@dataclass(frozen=True, eq=False)
class LevelSystem:
    """Normal equations of several factors with the largest factor eliminated.

    Attributes
    ----------
    first : int
        Position of the factor that is eliminated.
    others : tuple of int
        Positions of the other factors, in the order of their levels in the Schur complement.
    first_weight : ndarray, shape (G,)
        Total weight per level of the eliminated factor, 1 where a level has no rows.
    scale : ndarray, shape (L,)
        Total weight per level of the others, 1 where a level has no rows: the preconditioner.
    within : csr_array, shape (L, L)
        Cross weights of the other factors among themselves.
    cross : csr_array, shape (L, G)
        Cross weights of the others with the eliminated factor.
    cross_transposed : csr_array, shape (G, L)
    factor : ndarray, shape (r, r), or None
        Upper Cholesky factor of the scaled Schur complement at ``pivots``; banded, shape (b + 1, L), if ``banded``;
        None if it is solved iteratively.
    pivots : ndarray of int, shape (r,), or None
        Levels that carry the range of the Schur complement, in the order of the factor.
    banded : bool
        Form of ``factor``.
    """

    first: int
    others: tuple[int, ...]
    first_weight: Array
    scale: Array
    within: sparse.csr_array
    cross: sparse.csr_array
    cross_transposed: sparse.csr_array
    factor: Array | None
    pivots: Codes | None
    banded: bool = False

    def schur_product(self, values: Array) -> Array:
        """Schur complement times ``values``, shape (L, m)."""
        through = self.cross_transposed @ values
        through /= self.first_weight[:, None]
        return np.asarray(self.within @ values - self.cross @ through)

    def solve(self, right_side: Array, floor: Array | float = 0.0, tolerance: float = RELATIVE_RESIDUAL) -> Array:
        """Some solution of the Schur equations for right sides in their range, shape (L, m).

        Parameters
        ----------
        right_side : ndarray, shape (L, m)
        floor : ndarray, shape (m,), or float
            Squared scaled residual that is rounding of the data: no column is solved below it.
        tolerance : float
            Relative residual at which the conjugate gradients stop.
        """
        if self.factor is None or self.pivots is None:
            return _conjugate_gradients(self.schur_product, self.scale, right_side, floor, tolerance)
        root = np.sqrt(self.scale[self.pivots])[:, None]
        out = np.zeros_like(right_side)
        scaled = right_side[self.pivots] / root
        solve = linalg.cho_solve_banded if self.banded else linalg.cho_solve
        out[self.pivots] = solve((self.factor, False), scaled) / root
        return out


def level_system(codes: list[Codes], sizes: list[int], weight: Array | None = None) -> LevelSystem:
    """Build the normal equations of two or more factors; see :class:`LevelSystem`."""
    first = int(np.argmax(sizes))
    others = tuple(k for k in range(len(codes)) if k != first)
    dummies = {k: indicator(codes[k], sizes[k]) for k in range(len(codes))}
    weighted = sparse.vstack([indicator(codes[k], sizes[k], weight) for k in others], format="csr")
    rest = sparse.vstack([dummies[k] for k in others], format="csr")
    within, cross = sparse.csr_array(weighted @ rest.T), sparse.csr_array(weighted @ dummies[first].T)
    first_weight = np.bincount(codes[first], weights=weight, minlength=sizes[first]).astype(np.float64)
    first_weight[first_weight == 0] = 1.0
    scale = np.asarray(within.diagonal())
    scale[scale == 0] = 1.0
    factor: Array | None = None
    pivots: Codes | None = None
    if len(scale) <= DIRECT_LEVELS:
        factor, pivots = _factorise(within, cross, first_weight, scale)
    elif len(codes) == 2:
        factor, pivots = _factorise_chain(within, cross, first_weight, scale)
    banded = len(scale) > DIRECT_LEVELS and factor is not None
    transposed = sparse.csr_array(cross.T)
    return LevelSystem(first, others, first_weight, scale, within, cross, transposed, factor, pivots, banded)


def _factorise(
    within: sparse.csr_array, cross: sparse.csr_array, first_weight: Array, scale: Array
) -> tuple[Array, Codes]:
    """Pivoted Cholesky of the Schur complement scaled to weights of one: factor and pivots of its range."""
    root = np.sqrt(scale)
    half = sparse.diags_array(1 / root) @ cross @ sparse.diags_array(1 / np.sqrt(first_weight))
    schur = within.toarray() / np.outer(root, root) - np.asarray((half @ half.T).todense())
    upper, order, rank, _ = linalg.lapack.dpstrf(schur, tol=_PIVOT)
    # A matrix of zeros is reported with rank one by some versions of LAPACK.
    rank = int(rank) if schur.max(initial=0.0) > _PIVOT else 0
    return np.triu(upper[:rank, :rank]), np.asarray(order[:rank] - 1, dtype=np.intp)


def _factorise_chain(
    within: sparse.csr_array, cross: sparse.csr_array, first_weight: Array, scale: Array
) -> tuple[Array | None, Codes | None]:
    """Banded Cholesky of the scaled Schur complement of two factors, or None if it has no narrow band.

    That complement is the Laplacian of a graph of levels. Adding one to the diagonal at one level of each connected
    set makes it definite, and sets the effect of this level to zero where the right side is in the range.
    """
    degrees = np.diff(cross.tocsc().indptr).astype(np.float64)
    if degrees @ degrees > BAND_CELLS:
        return None, None
    half = sparse.diags_array(1 / np.sqrt(scale)) @ cross @ sparse.diags_array(1 / np.sqrt(first_weight))
    schur = sparse.csr_array(sparse.diags_array(within.diagonal() / scale) - half @ half.T)
    order = sparse.csgraph.reverse_cuthill_mckee(schur, symmetric_mode=True).astype(np.intp)
    entries = sparse.coo_array(schur[order][:, order])
    row, column = entries.coords
    width = int(np.max(column - row, initial=0))
    if (width + 1) * len(scale) > BAND_CELLS:
        return None, None
    upper = column >= row
    band = np.zeros((width + 1, len(scale)))
    band[width - (column - row)[upper], column[upper]] = entries.data[upper]
    labels = sparse.csgraph.connected_components(schur, directed=False)[1][order]
    band[width, np.unique(labels, return_index=True)[1]] += 1.0
    try:
        return linalg.cholesky_banded(band, lower=False, check_finite=False), order
    except np.linalg.LinAlgError:  # weights so unequal that a link is lost to rounding
        return None, None


def _conjugate_gradients(
    product: Callable[[Array], Array], scale: Array, right_side: Array, floor: Array | float, tolerance: float
) -> Array:
    """Preconditioned conjugate gradients for many right sides, each with its own step lengths.

    The system may be singular: right sides in its range keep every iterate solvable, and the part of the solution in
    the null space has no effect on fitted values. A column that is done is left alone.
    """
    solution, residual = np.zeros_like(right_side), right_side.copy()
    preconditioned = residual / scale[:, None]
    direction = preconditioned.copy()
    size = np.einsum("ij,ij->j", residual, preconditioned)
    goal = np.maximum(tolerance**2 * size, floor)
    for _ in range(MAX_ITERATIONS):
        working = size > goal
        if not working.any():
            return solution
        image = product(direction)
        curvature = np.einsum("ij,ij->j", direction, image)
        # Curvature at rounding level means that the direction has left the range: the column is as good as it gets.
        working &= curvature > 0
        step = np.divide(size, curvature, out=np.zeros_like(size), where=working)
        solution += direction * step
        residual -= image * step
        np.divide(residual, scale[:, None], out=preconditioned)
        renewed = np.einsum("ij,ij->j", residual, preconditioned)
        ratio = np.divide(renewed, size, out=np.zeros_like(size), where=working)
        size = np.where(working, renewed, 0.0)
        direction *= ratio
        direction += preconditioned
    warnings.warn(
        f"the projection off the crossed factors did not converge in {MAX_ITERATIONS} steps: the largest relative "
        f"residual is {np.sqrt((size / np.maximum(goal, 1e-300)).max()) * tolerance:.1e}, expected {tolerance:g}. The "
        "factors are barely connected; drop levels that few rows share, or absorb their interaction instead.",
        ConvergenceWarning,
        stacklevel=2,
    )
    return solution


def level_rank(codes: list[Codes]) -> int:
    r"""Rank of the dummies of all factors together.

    One factor: its levels. Two: their levels less the number of connected sets. More, after those nested in another
    factor are left out: the levels of the largest factor plus the rank of the Schur complement of the rest, by pivoted
    Cholesky up to ``DIRECT_LEVELS`` of its levels and otherwise as levels less the dimension of the null space. That
    is found without a dense matrix: :math:`z - S^+Sz` of a few random vectors z, one solution by conjugate gradients
    each, spans the null space restricted to every connected set as soon as it has lower rank than there are vectors.
    """
    codes, sizes = _without_nested(codes)
    if len(codes) == 1:
        return sizes[0]
    sets = connected_sets(codes, sizes)
    if len(codes) == 2:
        return sum(sizes) - int(sets[0].max() + 1)
    system = level_system(codes, sizes)
    if system.pivots is not None:
        return sizes[system.first] + len(system.pivots)
    labels = np.concatenate([sets[k] for k in system.others])
    return sum(sizes) - _null_dimension(system, labels, len(codes))


def _without_nested(codes: list[Codes]) -> tuple[list[Codes], list[int]]:
    """Factors, recoded to the levels that occur, less those whose levels are unions of another factor's levels."""
    recoded = [np.unique(code, return_inverse=True)[1].astype(np.intp) for code in codes]
    kept: list[Codes] = []
    for code in sorted(recoded, key=lambda c: -int(c.max())):
        if not any(nested_in(finer, code) for finer in kept):
            kept.append(code)
    return kept, [int(code.max()) + 1 for code in kept]


def nested_in(finer: Codes, coarser: Codes) -> bool:
    """Whether all rows of each level of ``finer`` share one level of ``coarser``."""
    low = np.zeros(int(finer.max()) + 1, dtype=np.intp)
    low[finer] = coarser
    return bool(np.array_equal(low[finer], coarser))


def _null_dimension(system: LevelSystem, labels: Codes, n_factors: int) -> int:
    """Dimension of the null space of the Schur complement, added up over connected sets."""
    rng = np.random.default_rng(0)  # any fixed seed: the dimension does not depend on it
    n_sets = int(labels.max()) + 1
    members = indicator(labels, n_sets)
    n_members = np.asarray(members.sum(axis=1))
    vectors = np.empty((len(labels), 0))
    while True:
        probe = rng.standard_normal((len(labels), max(2 * n_factors, vectors.shape[1])))
        image = system.schur_product(probe)
        vectors = np.hstack([vectors, probe - system.solve(image, tolerance=1e-13)])
        m = vectors.shape[1]
        # Cross products within sets: entries are of order one in the null space and rounding outside it.
        outer = np.stack([members @ (vectors * vectors[:, [j]]) for j in range(m)], axis=1)
        rank = (np.linalg.eigvalsh(outer) > 1e-8).sum(axis=1)
        if not np.any((rank == m) & (n_members > m)):
            return int(rank.sum())
