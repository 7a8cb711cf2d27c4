"""Which function serves which method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from causalkit.rewards.baselines import (
    invariance_parts,
    linear_control_parts,
    lowess_parts,
    none_parts,
    outcome_only_parts,
)
from causalkit.rewards.group_effects import fixed_effects_parts, shrunk_parts
from causalkit.rewards.instrument_method import instrument_parts
from causalkit.rewards.partially_linear import partially_linear_parts
from causalkit.rewards.records import LoggedRows, RewardParts
from causalkit.rewards.standardization_method import standardization_parts
from causalkit.rewards.weighting_method import weighting_parts

__all__ = ["METHODS", "parts_of"]

_PARTS: dict[str, Callable[[Any, LoggedRows], RewardParts]] = {
    "partially_linear": partially_linear_parts,
    "fixed_effects": fixed_effects_parts,
    "mixed": shrunk_parts,
    "mundlak": shrunk_parts,
    "instrument": instrument_parts,
    "weighting": weighting_parts,
    "standardization": standardization_parts,
    "outcome_only": outcome_only_parts,
    "linear_control": linear_control_parts,
    "invariance": invariance_parts,
    "lowess": lowess_parts,
    "none": none_parts,
}
METHODS = tuple(_PARTS)


def parts_of(estimator: Any, rows: LoggedRows) -> RewardParts:
    """Fit the estimator's method."""
    return _PARTS[estimator.method](estimator, rows)
