"""Random permutations of columns, and of groups of columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.augmentation.augmenters.base import MAX_ORBIT, Augmenter, Orbit
from causalkit.augmentation.augmenters.checks import as_parameters, as_rows, check_columns
from causalkit.exceptions import AugmentationError

__all__ = ["MAX_INDEXED", "Permutation", "draw_indices", "permute_members"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

# 18! is the last factorial below 2**53, so an index is exact in a float64 parameter.
MAX_INDEXED = 18


class Permutation(Augmenter):
    r"""Members of sets of columns permuted uniformly at random, each set on its own.

    .. math:: (GX)_{m} = X_{\pi(m)}, \qquad \pi \text{ uniform on the permutations of each set}

    A member is a column or a tuple of columns that stay together. Assumes that the outcome does not
    depend on the order of the members. The permutations are a group: the orbit average of a linear fit is
    the fit in which the members of a set share their coefficients.

    Parameters
    ----------
    sets : sequence of sequences
        Each set is a sequence of members; a member is a column position or a tuple of positions, all of
        one length within a set. No column may be in two places. ``[[0, 1], [(2, 3), (4, 5)]]`` swaps columns
        0 and 1, and the pairs (2, 3) and (4, 5).

    Raises
    ------
    AugmentationError
        A set of fewer than two members, members of unequal lengths, a column in two places or not in X, a
        set of more than 18 members (give several smaller sets or a function).

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128 (outcome-invariant augmentation).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.augmenters import Permutation
    >>> swap = Permutation([[0, 2]])
    >>> swap.apply(np.array([[1.0, 2.0, 3.0]]), [[1]])
    array([[3., 2., 1.]])
    >>> swap.orbit(3)[1]
    array([0.5, 0.5])
    """

    is_sequential = True
    sets: tuple[tuple[tuple[int, ...], ...], ...]

    def __init__(self, sets: Sequence[Sequence[Any]]) -> None:
        self._keep(sets=_check_sets(sets))

    @property
    def is_group(self) -> bool:
        """True."""
        return True

    @property
    def preserves_sparsity(self) -> bool:
        """True: columns only change places."""
        return True

    def parameter_names(self, n_features: int) -> list[str]:
        """``permutation0``, ... by set."""
        largest = max(column for members in self.sets for member in members for column in member)
        if largest >= n_features:
            raise AugmentationError(
                f"Permutation acts on column {largest}, but X has {n_features} columns (positions 0 to "
                f"{n_features - 1}): name columns that X has."
            )
        return [f"permutation{s}" for s in range(len(self.sets))]

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """Index of the permutation of each set, shape (n, sets); 0 is the identity."""
        self.parameter_names(n_features)
        return draw_indices([len(members) for members in self.sets], n_rows, rng)

    def apply(self, X: Any, G: Any) -> Any:
        """X with its columns in the order that G names."""
        rows = as_rows(X)
        indices = as_parameters(self, G, rows)
        for s, members in enumerate(self.sets):
            rows = permute_members(rows, np.asarray(members), indices[:, s])
        return rows

    def orbit_size(self, n_features: int) -> int:
        """Product of the factorials of the set sizes."""
        self.parameter_names(n_features)
        return math.prod(math.factorial(len(members)) for members in self.sets)

    def orbit(self, n_features: int) -> Orbit | None:
        """All permutations with equal probabilities, at most 1024."""
        m = self.orbit_size(n_features)
        if m > MAX_ORBIT:
            return None
        grid = np.indices([math.factorial(len(members)) for members in self.sets])
        return grid.reshape(len(self.sets), m).T.astype(np.float64), np.full(m, 1.0 / m)


# ---------------------------------------------------------------------- arithmetic of permutations


def draw_indices(sizes: list[int], n_rows: int, rng: np.random.Generator) -> Array:
    """Uniform indices of permutations, one column per set of the given sizes, shape (n, sets)."""
    uniforms = rng.random((n_rows, sum(size - 1 for size in sizes)))
    columns, used = [], 0
    for size in sizes:
        index = np.zeros(n_rows, dtype=np.int64)
        # Mixed radix: one digit below size, size - 1, ..., 2. A single uniform has 53 bits, too few for 18!.
        for radix in range(size, 1, -1):
            index = index * radix + (uniforms[:, used] * radix).astype(np.int64)
            used += 1
        columns.append(index)
    return np.stack(columns, axis=1).astype(np.float64)


def permutations_of(indices: Array, size: int) -> Integers:
    """Permutation of each index by the swaps of Fisher and Yates, shape (n, size)."""
    remaining = np.rint(indices).astype(np.int64)
    count = math.factorial(size)
    if len(remaining) and (remaining.min() < 0 or remaining.max() >= count):
        raise AugmentationError(
            f"G holds the permutation index {int(remaining.max())}: expected 0 to {count - 1} for {size} members."
        )
    digits = np.zeros((len(remaining), size), dtype=np.int64)
    for radix in range(2, size + 1):
        remaining, digits[:, size - radix] = np.divmod(remaining, radix)
    order = np.tile(np.arange(size), (len(digits), 1))
    everyone = np.arange(len(digits))
    for position in range(size - 1):
        other = position + digits[:, position]
        held = order[:, position].copy()
        order[:, position] = order[everyone, other]
        order[everyone, other] = held
    return order


def permute_members(rows: Any, members: NDArray[Any], indices: Array) -> Any:
    """Put member π(m) in the place of member m.

    Parameters
    ----------
    rows : ndarray or CSR matrix, shape (n, p)
        Rows; not changed.
    members : ndarray of int, shape (m, q)
        Columns of each member.
    indices : ndarray, shape (n,)
        Index of the permutation of each row.

    Returns
    -------
    ndarray or CSR matrix, shape (n, p)
    """
    size, width = members.shape
    order = permutations_of(indices, size)
    if not sparse.issparse(rows):
        source = members[order].reshape(len(order), size * width)
        moved = rows.copy()
        moved[:, members.ravel()] = np.take_along_axis(rows, source, axis=1)
        return moved
    moved = rows.copy()
    member_of, place_of = np.full(rows.shape[1], -1), np.zeros(rows.shape[1], dtype=np.int64)
    member_of[members] = np.arange(size)[:, None]
    place_of[members] = np.arange(width)
    target = np.argsort(order, axis=1)  # the inverse: where each member goes
    hit = member_of[moved.indices] >= 0
    columns = moved.indices[hit]
    entry_row = np.repeat(np.arange(rows.shape[0]), np.diff(moved.indptr))[hit]
    moved.indices[hit] = members[target[entry_row, member_of[columns]], place_of[columns]]
    moved.has_sorted_indices = False
    moved.sort_indices()
    return moved


def _check_sets(sets: Any) -> tuple[tuple[tuple[int, ...], ...], ...]:
    if isinstance(sets, str) or not hasattr(sets, "__iter__"):
        raise AugmentationError(f"sets must be a sequence of sets of columns, such as [[0, 1], [2, 3]]; got {sets!r}.")
    checked = tuple(_check_set(members) for members in sets)
    if not checked:
        raise AugmentationError("sets must hold at least one set of columns; got none.")
    columns = [column for members in checked for member in members for column in member]
    if len(set(columns)) < len(columns):
        twice = sorted({column for column in columns if columns.count(column) > 1})
        raise AugmentationError(
            f"sets must not share columns; got column {twice[0]} in more than one place. Merge the sets that overlap."
        )
    return checked


def _check_set(members: Any) -> tuple[tuple[int, ...], ...]:
    if isinstance(members, str) or not hasattr(members, "__iter__"):
        raise AugmentationError(f"each of sets must be a sequence of columns or tuples of columns; got {members!r}.")
    checked = tuple(check_columns(member, "sets") or () for member in members)
    if not 2 <= len(checked) <= MAX_INDEXED:
        raise AugmentationError(
            f"each of sets must have 2 to {MAX_INDEXED} members; got {len(checked)}. Split a larger set, or write a "
            "function (X, rng) that permutes."
        )
    lengths = {len(member) for member in checked}
    if len(lengths) > 1 or 0 in lengths:
        raise AugmentationError(
            f"members of a set must be columns, or tuples of equally many columns; got lengths {sorted(lengths)}."
        )
    return checked
