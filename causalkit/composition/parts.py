"""What the transformers of compositions share: checks of parts, names, and going back to amounts."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from causalkit.validation import check_column_names, check_composition, check_matrix

__all__ = ["PartsMixin", "check_total", "closed", "closed_exp", "part_position", "row_blocks"]

Array = NDArray[np.float64]

_BLOCK = 1 << 16  # numbers per block of rows: small enough to stay in the processor's cache


def row_blocks(n_rows: int, n_columns: int) -> list[slice]:
    """Slices of rows that are worked on together, so that every pass but the first finds them in the cache."""
    step = max(1, _BLOCK // max(n_columns, 1))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def closed(amounts: Array, total: float = 1.0) -> Array:
    """Rows scaled to a sum of ``total``, shape (n, D); no row may be zero."""
    with np.errstate(over="ignore"):
        sums = amounts.sum(axis=1, keepdims=True)
    extreme = ~np.isfinite(sums) | (sums < np.finfo(np.float64).tiny)
    if extreme.any():  # the sum overflows or is subnormal although every amount is finite
        amounts = amounts / amounts.max(axis=1, keepdims=True)
        sums = amounts.sum(axis=1, keepdims=True)
    shares: Array = amounts / sums
    if total != 1.0:
        shares *= total
    return shares


def closed_exp(logs: Array, total: float = 1.0) -> Array:
    """Compositions whose logarithms are ``logs`` up to a constant per row, shape (n, D)."""
    return closed(np.exp(logs - logs.max(axis=1, keepdims=True)), total)


def check_total(total: Any) -> float:
    """Check the sum that rows are scaled to: one positive finite number."""
    ok = isinstance(total, int | float | np.number) and not isinstance(total, bool | np.complexfloating)
    if not ok or not 0 < float(total) < np.inf:
        raise ValueError(f"total must be a positive number (1 for proportions, 100 for percentages); got {total!r}.")
    return float(total)


def part_position(part: Any, names: list[str], argument: str) -> int:
    """Position of a part that the argument names by name or by position (negative counts from the end)."""
    if isinstance(part, str):
        if part not in names:
            shown = ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else "")
            raise ValueError(f"{argument} names the part {part!r}, which X does not have; its parts are {shown}.")
        return names.index(part)
    if not isinstance(part, int | np.integer) or isinstance(part, bool) or not -len(names) <= part < len(names):
        raise ValueError(
            f"{argument} must be the name of a part or a position from {-len(names)} to {len(names) - 1}; got {part!r}."
        )
    return int(part) % len(names)


class PartsMixin(TransformerMixin):
    """Input and output of a transformer whose columns are parts of a whole.

    A subclass says in ``_zeros`` whether zeros pass and in ``_min_parts`` how many parts it needs.
    """

    n_features_in_: int
    _zeros: ClassVar[str] = "refuse"
    _min_parts: ClassVar[int] = 2

    def _check_training(self, X: Any) -> tuple[Array, list[str]]:
        """Amounts and part names for ``fit``; nothing is stored yet."""
        check_column_names(X, "X")
        return check_composition(X, zeros=self._zeros, min_parts=self._min_parts)

    def _remember(self, X: Any) -> None:
        """Store number and names of the parts: the last step of ``fit``, so that a failure leaves the old one."""
        validate_data(self, X, reset=True, skip_check_array=True)

    def _check_new(self, X: Any) -> Array:
        """Amounts for ``transform``, with the parts that ``fit`` saw."""
        check_is_fitted(self)
        check_column_names(X, "X")
        amounts, _ = check_composition(X, zeros=self._zeros, empty_parts="allow")
        validate_data(self, X, reset=False, skip_check_array=True)
        return amounts

    @property
    def _n_parts(self) -> int:
        check_is_fitted(self)
        return self.n_features_in_

    def _check_coordinates(self, X: Any, width: int) -> Array:
        """Coordinates for ``inverse_transform``."""
        coordinates, _ = check_matrix(X, "X")
        if coordinates.shape[1] != width:
            raise ValueError(
                f"X has {coordinates.shape[1]} columns, but {type(self).__name__} expects {width} coordinates for "
                f"{self.n_features_in_} parts: pass what transform returns."
            )
        return coordinates

    def _part_names(self, input_features: Any = None) -> NDArray[np.object_]:
        check_is_fitted(self)
        names: NDArray[np.object_] = _check_feature_names_in(self, input_features)
        return names

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags
