"""Draws of an augmentation, the same for every chunking of the rows.

Rows belong to fixed blocks of 4096 by their number in the whole sample, and the generator of a block is
keyed by (seed, block, draw). Whoever asks for rows 5000 to 9000 gets what one pass over all rows would give.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.augmentation.augmenters.base import MAX_ORBIT, Augmenter, FunctionAugmenter
from causalkit.augmentation.augmenters.checks import as_rows
from causalkit.augmentation.draw_checks import (
    Augmentation,
    augmentation_name,
    check_augmentation,
    checked_call,
    fills_zeros,
    stack_parameters,
)
from causalkit.exceptions import MethodNotApplicableError
from causalkit.validation import check_integer

__all__ = ["BLOCK_ROWS", "AugmentedRows", "augment", "augmentation_name", "known_covariance", "orbit_draws"]

Array = NDArray[np.float64]

BLOCK_ROWS = 4096


@dataclass(frozen=True)
class AugmentedRows:
    """One augmented copy of some rows.

    Attributes
    ----------
    features : ndarray of float64 or CSR matrix, shape (n, p)
        GX.
    parameters : ndarray of float64, shape (n, k), or None
        G; None if a function returned the features alone.
    """

    features: Any
    parameters: Array | None


def augment(augmentation: Augmentation, X: Any, *, seed: int, draw: int = 0, first_row: int = 0) -> AugmentedRows:
    """Draw one augmented copy of the rows of X.

    Parameters
    ----------
    augmentation : Augmenter or callable
        An augmenter, or ``(X, rng) -> GX`` or ``(GX, G)``. A function gets at most one block at a time and
        its draws depend on how the rows are cut into chunks.
    X : ndarray or sparse matrix, shape (n, p)
        Rows; a sparse matrix needs an augmenter that preserves sparsity.
    seed : int
        Seed of the whole sample.
    draw : int, default=0
        Number of the replicate.
    first_row : int, default=0
        Number of X's first row in the whole sample.

    Returns
    -------
    AugmentedRows
        Features (n, p) and parameters (n, k).

    Raises
    ------
    AugmentationError
        Neither an augmenter nor callable; features or parameters of another shape, NaN or infinity; X
        changed in place; a sparse X that would be filled.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.augmenters import AdditiveNoise
    >>> from causalkit.augmentation.draws import augment
    >>> X = np.zeros((6, 2))
    >>> whole, tail = augment(AdditiveNoise(), X, seed=1), augment(AdditiveNoise(), X[4:], seed=1, first_row=4)
    >>> np.array_equal(whole.features[4:], tail.features)
    True
    """
    check_integer(seed, "seed", low=0)
    check_integer(draw, "draw", low=0)
    check_integer(first_row, "first_row", low=0)
    check_augmentation(augmentation)
    rows = as_rows(X)
    is_sparse = sparse.issparse(rows)
    if is_sparse and _own_law(augmentation) and not augmentation.preserves_sparsity:  # type: ignore[union-attr]
        raise fills_zeros(augmentation, rows.shape)
    n = rows.shape[0]
    starts = [0, *range(BLOCK_ROWS - first_row % BLOCK_ROWS, n, BLOCK_ROWS)]
    parts: list[Any] = []
    parameters: list[Array | None] = []
    features = None if is_sparse else np.empty(rows.shape)
    for start, stop in zip(starts, [*starts[1:], n], strict=True):
        part, G = _augment_block(augmentation, rows[start:stop], seed, draw, first_row + start)
        if features is None:
            parts.append(part)
        else:
            features[start:stop] = part
        parameters.append(G)
    stacked = sparse.vstack(parts, format="csr") if features is None else features
    return AugmentedRows(stacked, stack_parameters(augmentation, parameters))


def orbit_draws(augmentation: Augmentation, X: Any) -> Iterator[tuple[float, AugmentedRows]]:
    """Every element of a finite augmenter, applied to all rows, with its probability.

    Parameters
    ----------
    augmentation : Augmenter
        An augmenter with an orbit of at most 1024 elements.
    X : ndarray or sparse matrix, shape (n, p)
        Rows.

    Yields
    ------
    probability : float
        Probability of the element; they add up to one.
    rows : AugmentedRows
        All rows under that element; its parameters (k,) are repeated for each row.

    Raises
    ------
    MethodNotApplicableError
        No orbit, or one of more than 1024 elements.
    AugmentationError
        As in ``augment``.
    """
    check_augmentation(augmentation)
    rows = as_rows(X)
    parameters, probabilities = _known_orbit(augmentation, rows.shape[1])

    def elements() -> Iterator[tuple[float, AugmentedRows]]:
        for element, probability in zip(parameters, probabilities, strict=True):
            G = np.tile(element, (rows.shape[0], 1))
            moved = checked_call(augmentation, rows, lambda X, G=G: (augmentation.apply(X, G), G), 0)  # type: ignore
            yield float(probability), AugmentedRows(moved[0], moved[1])

    return elements()


def known_covariance(augmentation: Augmentation, n_features: int) -> Array:
    """E[DD'] of an additive augmenter, shape (p, p).

    Raises
    ------
    MethodNotApplicableError
        If the change D = GX - X depends on X, does not have mean zero, or is a function's.
    """
    check_augmentation(augmentation)
    known = augmentation.covariance(n_features) if isinstance(augmentation, Augmenter) else None
    if known is None:
        raise MethodNotApplicableError(
            f"{augmentation_name(augmentation)} has no known covariance of its change, because it is not additive "
            "noise independent of X: use penalty='pointwise', which needs draws only."
        )
    return known


# ---------------------------------------------------------------------- one block


def _own_law(augmentation: Augmentation) -> bool:
    return isinstance(augmentation, Augmenter) and not isinstance(augmentation, FunctionAugmenter)


def _known_orbit(augmentation: Augmentation, n_features: int) -> tuple[Array, Array]:
    name = augmentation_name(augmentation)
    orbit = augmentation.orbit(n_features) if isinstance(augmentation, Augmenter) else None
    if orbit is not None and len(orbit[0]) <= MAX_ORBIT:
        return orbit
    size = augmentation.orbit_size(n_features) if isinstance(augmentation, Augmenter) else None
    size = len(orbit[0]) if orbit is not None else size
    if size is None:
        raise MethodNotApplicableError(
            f"{name} is not a finite set of transformations, so it has no orbit: use an integer n_draws."
        )
    raise MethodNotApplicableError(
        f"{name} has an orbit of {size} elements, more than the {MAX_ORBIT} that are enumerated: use an integer "
        "n_draws."
    )


def _augment_block(augmentation: Augmentation, X: Any, seed: int, draw: int, row: int) -> tuple[Any, Array | None]:
    """Rows of one block, the first of which has number ``row`` in the whole sample."""
    block, offset = divmod(row, BLOCK_ROWS)
    n, p = X.shape
    if isinstance(augmentation, Augmenter) and not isinstance(augmentation, FunctionAugmenter):
        augmenter: Augmenter = augmentation
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(block, draw)))
        # A law without the prefix property must draw its whole block whatever part is wanted.
        drawn = augmenter.sample(offset + n if augmenter.is_sequential else BLOCK_ROWS, p, rng)
        G = np.asarray(drawn)[offset : offset + n]
        return checked_call(augmenter, X, lambda X: (augmenter.apply(X, G), G), row)
    # A function draws anew for each chunk: the offset keeps two chunks of one block from equal draws.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(block, draw, offset)))
    return checked_call(augmentation, X, lambda X: augmentation(X, rng), row)
