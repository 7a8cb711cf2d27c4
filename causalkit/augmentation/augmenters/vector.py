"""Augmenters of table columns: sign flips, masking and scaling."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from causalkit.augmentation.augmenters.base import MAX_ORBIT, Augmenter, Orbit
from causalkit.augmentation.augmenters.checks import (
    as_parameters,
    as_rows,
    check_columns,
    check_number,
    dense_rows,
    resolve_columns,
)
from causalkit.exceptions import AugmentationError

__all__ = ["Masking", "Scaling", "SignFlip"]

Array = NDArray[np.float64]


class SignFlip(Augmenter):
    r"""Random signs of some columns.

    .. math:: (GX)_j = (1 - 2G_j) X_j, \qquad G_j \sim \mathrm{Bernoulli}(\pi)

    Assumes that the outcome is an even function of the columns. With π = ½ the flips are a group: the
    orbit average keeps what is even and nothing else.

    Parameters
    ----------
    columns : sequence of int, optional
        Positions; every column by default.
    probability : float, default=0.5
        Probability π of a flip.
    jointly : bool, default=False
        One flip for all columns of a row instead of one per column.

    Raises
    ------
    AugmentationError
        A probability outside [0, 1], columns that X does not have.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128 (outcome-invariant augmentation).

    Examples
    --------
    >>> from causalkit.augmentation.augmenters import SignFlip
    >>> SignFlip(jointly=True).orbit(3)
    (array([[0.],
           [1.]]), array([0.5, 0.5]))
    """

    is_sequential = True
    columns: tuple[int, ...] | None
    probability: float
    jointly: bool

    def __init__(self, columns: ArrayLike | None = None, probability: float = 0.5, jointly: bool = False) -> None:
        self._keep(
            columns=check_columns(columns, "columns"),
            probability=check_number(probability, "probability", low=0.0, high=1.0),
            jointly=bool(jointly),
        )

    @property
    def is_group(self) -> bool:
        """True with probability ½."""
        return self.probability == 0.5

    @property
    def preserves_sparsity(self) -> bool:
        """True: minus zero is zero."""
        return True

    def parameter_names(self, n_features: int) -> list[str]:
        """``flip0``, ... by column position, or ``flip`` jointly."""
        positions = resolve_columns(self, self.columns, n_features)
        return ["flip"] if self.jointly else [f"flip{j}" for j in positions]

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """1 where the sign changes, shape (n, q), or (n, 1) jointly."""
        k = len(self.parameter_names(n_features))
        return (rng.random((n_rows, k)) < self.probability).astype(np.float64)

    def apply(self, X: Any, G: Any) -> Any:
        """X with the signs of its columns changed where G is 1."""
        rows = as_rows(X)
        signs = 1.0 - 2.0 * as_parameters(self, G, rows)
        return _scaled_columns(rows, signs, resolve_columns(self, self.columns, rows.shape[1]), self.jointly)

    def orbit_size(self, n_features: int) -> int:
        """2 to the number of flips; 1 where they are certain."""
        return _n_patterns(len(self.parameter_names(n_features)), self.probability)

    def orbit(self, n_features: int) -> Orbit | None:
        """All patterns of flips and their probabilities, at most 1024."""
        return _patterns(len(self.parameter_names(n_features)), self.probability)


class Masking(Augmenter):
    r"""Columns set to a fixed value at random.

    .. math:: (GX)_j = (1 - G_j) X_j + G_j v, \qquad G_j \sim \mathrm{Bernoulli}(\pi)

    Assumes that the outcome does not change when a column is blanked out. Masking cannot be undone, so it
    is no group.

    Parameters
    ----------
    probability : float
        Probability π that a cell is masked.
    columns : sequence of int, optional
        Positions; every column by default.
    value : float, default=0.0
        Value v of a masked cell. Only 0 keeps a sparse matrix sparse.

    Raises
    ------
    AugmentationError
        A probability outside [0, 1], columns that X does not have, a sparse X with a value other than 0.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128 (outcome-invariant augmentation).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.augmenters import Masking
    >>> Masking(0.5, value=9.0).apply(np.ones((1, 3)), [[0, 1, 0]])
    array([[1., 9., 1.]])
    """

    is_sequential = True
    probability: float
    columns: tuple[int, ...] | None
    value: float

    def __init__(self, probability: float, columns: ArrayLike | None = None, value: float = 0.0) -> None:
        self._keep(
            probability=check_number(probability, "probability", low=0.0, high=1.0),
            columns=check_columns(columns, "columns"),
            value=check_number(value, "value"),
        )

    @property
    def preserves_sparsity(self) -> bool:
        """True if masked cells are zero."""
        return self.value == 0.0

    def parameter_names(self, n_features: int) -> list[str]:
        """``mask0``, ... by column position."""
        return [f"mask{j}" for j in resolve_columns(self, self.columns, n_features)]

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """1 where a cell is masked, shape (n, q)."""
        k = len(self.parameter_names(n_features))
        return (rng.random((n_rows, k)) < self.probability).astype(np.float64)

    def apply(self, X: Any, G: Any) -> Any:
        """X with the value put where G is 1."""
        rows = as_rows(X) if self.preserves_sparsity else dense_rows(self, X)
        masked = as_parameters(self, G, rows)
        positions = resolve_columns(self, self.columns, rows.shape[1])
        if sparse.issparse(rows):
            thinned = _scaled_columns(rows, 1.0 - masked, positions, False)
            thinned.eliminate_zeros()
            return thinned
        moved = rows.copy()
        moved[:, positions] = np.where(masked == 1.0, self.value, moved[:, positions])
        return moved

    def orbit_size(self, n_features: int) -> int:
        """2 to the number of columns; 1 where masking is certain."""
        return _n_patterns(len(self.parameter_names(n_features)), self.probability)

    def orbit(self, n_features: int) -> Orbit | None:
        """All patterns of masked columns and their probabilities, at most 1024."""
        return _patterns(len(self.parameter_names(n_features)), self.probability)


class Scaling(Augmenter):
    r"""Columns multiplied by random factors.

    .. math:: (GX)_j = G_j X_j, \qquad G_j \sim U[a, b]

    Assumes that the outcome does not depend on the scale of the columns (jointly: on the length of the
    row, as with amounts of which only the shares matter).

    Parameters
    ----------
    low, high : float
        Range [a, b] of the factors.
    columns : sequence of int, optional
        Positions; every column by default.
    jointly : bool, default=False
        One factor for all columns of a row instead of one per column.

    Raises
    ------
    AugmentationError
        Limits that are not finite or in the wrong order, columns that X does not have.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128 (outcome-invariant augmentation).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.augmenters import Scaling
    >>> Scaling(0.5, 2.0, columns=[0]).apply(np.array([[3.0, 1.0]]), [[2.0]])
    array([[6., 1.]])
    """

    is_sequential = True
    low: float
    high: float
    columns: tuple[int, ...] | None
    jointly: bool

    def __init__(self, low: float, high: float, columns: ArrayLike | None = None, jointly: bool = False) -> None:
        lower, upper = check_number(low, "low"), check_number(high, "high")
        if lower > upper:
            raise AugmentationError(f"low must not exceed high; got low={lower:g} and high={upper:g}: swap them.")
        self._keep(low=lower, high=upper, columns=check_columns(columns, "columns"), jointly=bool(jointly))

    @property
    def preserves_sparsity(self) -> bool:
        """True: a multiple of zero is zero."""
        return True

    def parameter_names(self, n_features: int) -> list[str]:
        """``scale0``, ... by column position, or ``scale`` jointly."""
        positions = resolve_columns(self, self.columns, n_features)
        return ["scale"] if self.jointly else [f"scale{j}" for j in positions]

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """Factors, shape (n, q), or (n, 1) jointly."""
        k = len(self.parameter_names(n_features))
        return self.low + (self.high - self.low) * rng.random((n_rows, k))

    def apply(self, X: Any, G: Any) -> Any:
        """X with its columns multiplied by G."""
        rows = as_rows(X)
        factors = as_parameters(self, G, rows)
        return _scaled_columns(rows, factors, resolve_columns(self, self.columns, rows.shape[1]), self.jointly)


# ---------------------------------------------------------------------- shared pieces


def _scaled_columns(rows: Any, factors: Array, positions: NDArray[np.intp], jointly: bool) -> Any:
    """Rows with the columns at ``positions`` multiplied by factors (n, q), or (n, 1) jointly."""
    if not sparse.issparse(rows):
        moved = rows.copy()
        moved[:, positions] *= factors
        return moved
    moved = rows.copy()
    slot = np.full(rows.shape[1], -1)
    slot[positions] = 0 if jointly else np.arange(len(positions))
    entry_slot = slot[moved.indices]
    entry_row = np.repeat(np.arange(rows.shape[0]), np.diff(moved.indptr))
    hit = entry_slot >= 0
    moved.data[hit] *= factors[entry_row[hit], entry_slot[hit]]
    return moved


def _n_patterns(k: int, probability: float) -> int:
    return 1 if probability in (0.0, 1.0) else int(2**k)


def _patterns(k: int, probability: float) -> Orbit | None:
    """All 0/1 rows of length k with their Bernoulli probabilities."""
    if probability in (0.0, 1.0):
        return np.full((1, k), probability), np.ones(1)
    if 2**k > MAX_ORBIT:
        return None
    bits = ((np.arange(2**k)[:, None] >> np.arange(k)[::-1]) & 1).astype(np.float64)
    return bits, np.where(bits == 1.0, probability, 1.0 - probability).prod(axis=1)
