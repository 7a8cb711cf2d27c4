"""What the numeric parts of the rewards family hand to one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Factor"]


@dataclass(frozen=True, eq=False)
class Factor:
    """A categorical confounder, coded.

    Attributes
    ----------
    name : str
        Column name; names of an interaction are joined with ":".
    codes : ndarray of int, shape (n,)
        Level of each row, numbered from 0.
    levels : ndarray, shape (G,)
        Labels of the levels, in the order of the codes; tuples for an interaction.
    """

    name: str
    codes: NDArray[np.intp]
    levels: NDArray[Any]

    @property
    def n_levels(self) -> int:
        """Number of levels, G."""
        return len(self.levels)
