"""What several sections need: the income map, and whether an interval holds the truth."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from causalkit.debiasing import DebiasedEffect

__all__ = ["INCOME_MAP_ABSENT", "covers", "income_map"]

INCOME_MAP_ABSENT = "income map absent"
_BESIDE = Path(__file__).resolve().parents[4] / "shared" / "data" / "us_income_map_91377.csv.gz"


@cache
def income_map() -> Any:
    """The income map, or None where it is absent.

    Looked for as ``causalkit.datasets.load_income_map`` does, then in ``shared/data`` beside the checkout.
    """
    from causalkit.datasets import load_income_map
    from causalkit.exceptions import DataNotFoundError

    named = os.environ.get("CAUSALKIT_INCOME_MAP") or os.environ.get("CAUSALKIT_DATA")
    try:
        return load_income_map(None if named or not _BESIDE.is_file() else _BESIDE)
    except DataNotFoundError:
        return None


def covers(result: DebiasedEffect, truth: float, method: str = "delta") -> float:
    """1 if the 95 % set of the first effect holds the truth, else 0."""
    return float(truth in result.confidence_sets(0.95, method=method)[0])
