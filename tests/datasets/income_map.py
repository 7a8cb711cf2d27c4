"""Where the tests find the income map, which is not shipped because its origin states no licence."""

import os
from pathlib import Path

import pytest

FILE = "us_income_map_91377.csv.gz"
REASON = (
    f"income map not found: name the file in CAUSALKIT_INCOME_MAP, or the folder that holds {FILE} in CAUSALKIT_DATA "
    "(it is not shipped: its origin states no licence)"
)


def find_income_map() -> Path | None:
    """Path from the two variables, else ``../shared/data`` beside the checkout, else ``None``."""
    candidates = []
    if os.environ.get("CAUSALKIT_INCOME_MAP"):
        candidates.append(Path(os.environ["CAUSALKIT_INCOME_MAP"]))
    if os.environ.get("CAUSALKIT_DATA"):
        candidates.append(Path(os.environ["CAUSALKIT_DATA"]) / FILE)
    candidates.append(Path(__file__).resolve().parents[3] / "shared" / "data" / FILE)
    return next((path for path in candidates if path.is_file()), None)


def income_map_path() -> Path:
    """Path of the income map; skips the calling test, with the reason, where there is none."""
    path = find_income_map()
    if path is None:
        pytest.skip(REASON)
    return path
