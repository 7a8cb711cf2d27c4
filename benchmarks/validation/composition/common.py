"""What several sections need: the tables that do not ship, listed numbers, matrices by other routes."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, near
from causalkit.composition import CompositionalPartialCorrelation

__all__ = [
    "CUPS_ABSENT",
    "STEM_CELLS_ABSENT",
    "correlations",
    "cups",
    "listed",
    "pair",
    "precision_by_reference",
    "stem_cells",
    "unshrunk",
]

Array = NDArray[np.float64]

CUPS_ABSENT = "roman_glass_cups.csv absent"
STEM_CELLS_ABSENT = "mouse_stem_cells_5637x244_counts.csv.gz absent"
_BESIDE = Path(__file__).resolve().parents[4] / "shared" / "data"


@cache
def cups() -> Any:
    """Frame (47, 11) of the glass cups, or None where the file is absent."""
    from causalkit.datasets import fetch_roman_glass_cups
    from causalkit.exceptions import DatasetNotFoundError

    try:
        return fetch_roman_glass_cups().parts
    except DatasetNotFoundError:
        return None


@cache
def stem_cells() -> Array | None:
    """Counts (5637, 244) of mouse stem cells, or None; the file has no licence, hence no public reader."""
    import pandas as pd

    named = os.environ.get("CAUSALKIT_DATA")
    for folder in (*([Path(named)] if named else []), _BESIDE):
        path = folder / "mouse_stem_cells_5637x244_counts.csv.gz"
        if path.is_file():
            return np.asarray(pd.read_csv(path, header=None), dtype=float)
    return None


def listed(id: str, what: str, measured: float, text: str, note: str = "") -> Row:
    """A number against a listed one, to half a unit of its last digit."""
    mantissa, _, exponent = text.partition("e")
    decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
    # A value on the edge of the rounding may fall to either side.
    return near(id, what, measured, float(text), 0.5000001 * 10.0**-decimals, note=note)


def pair(frame: Any, names: str) -> tuple[int, int]:
    """Positions of a pair written as "Si-Al"."""
    a, b = names.split("-")
    columns = list(frame.columns)
    return columns.index(a), columns.index(b)


def unshrunk(X: Any, **options: Any) -> CompositionalPartialCorrelation:
    """Unshrunk fit."""
    return CompositionalPartialCorrelation(shrinkage=None, **options).fit(X)


def correlations(precision: Array) -> Array:
    """Partial correlations of Γ⁺, diagonal 1."""
    root = np.sqrt(np.diag(precision))
    out = -precision / np.outer(root, root)
    np.fill_diagonal(out, 1.0)
    return np.asarray(out)


def precision_by_reference(covariance: Array, k: int) -> Array:
    """Γ⁺ = F'(F M F')⁻¹F, F the identity without row k and with -1 in column k."""
    f = np.delete(np.eye(len(covariance)), k, axis=0)
    f[:, k] = -1.0
    return np.asarray(f.T @ np.linalg.solve(f @ covariance @ f.T, f))
