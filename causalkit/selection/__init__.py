"""Selection: measures that rank estimates, scores and models by what they are used for."""

from importlib import import_module
from typing import Any

_MODULE_OF = {
    "TOCCurve": "causalkit.selection.targeting_curve",
    "best_of_n_uplift": "causalkit.selection.ranking",
    "calibration_test": "causalkit.selection.calibration",
    "dr_loss": "causalkit.selection.losses",
    "estimated_effect": "causalkit.selection.losses",
    "pairwise_accuracy": "causalkit.selection.ranking",
    "policy_value": "causalkit.selection.policy",
    "r_loss": "causalkit.selection.losses",
    "r_stacking": "causalkit.selection.stacking",
    "ranking_report": "causalkit.selection.ranking",
    "targeting_policy": "causalkit.selection.policy",
    "toc": "causalkit.selection.targeting_curve",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(import_module(_MODULE_OF[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'causalkit.selection' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
