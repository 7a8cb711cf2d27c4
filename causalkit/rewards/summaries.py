"""The summary of a fit: coefficients, the assumptions that they rest on, and what the interval is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from causalkit.inference import FitSummary
from causalkit.rewards.records import BASELINES

if TYPE_CHECKING:
    pass

__all__ = ["summarise"]

_CONSISTENCY = (
    "Consistency: the logged outcome is the outcome of the text as published; rows do not affect one another."
)
_UNMEASURED = (
    "No unmeasured confounding given C: Y(x) independent of the text given C, and nothing in C was determined after "
    "the text was written (timing)."
)
_ADDITIVITY = 'Additivity: Y = f(text) + g(C) + ε; if it fails use method="standardization".'
_OVERLAP = "Overlap: Var(X - E[X|C]) is positive definite; the spectrum in diagnostics() says where it nearly fails."
_REPRESENTATION = (
    "Representation: the reward is that of the features φ(text) together with whatever unmodelled part of the text "
    "moves with them given C."
)
_SAMPLING = "Sampling: rows (or groups) are independent draws."
_OF_METHOD = {
    "instrument": "Instruments move Y only through the instrumented confounder and are relevant.",
    "weighting": "Weighting needs every level possible for every text.",
    "mixed": "Shrinkage takes group effects as draws from one population (affects small groups' ĝ only, not θ̂).",
    "mundlak": "Shrinkage takes group effects as draws around a line in the mean texts (affects ĝ only, not θ̂).",
}


def summarise(estimator: Any) -> FitSummary:
    """Summary of a fitted RewardDeconfounder."""
    method, parts = estimator.method, estimator._parts
    notes = [f"RewardDeconfounder, method={method!r}: {len(parts.residuals)} rows, {len(parts.coef)} features"]
    if method in BASELINES:
        notes.append("This method is a baseline that is known to be biased; it is offered for comparison only.")
    if parts.penalty > 0 and parts.fits:
        notes.append(
            f"penalty {parts.penalty:.4g}: the intervals are for the penalised coefficients (effective dimension "
            f"{parts.fits[0].effective_dimension:.3g} of {len(parts.coef)})"
        )
    if hasattr(estimator, "final_model_"):
        notes.append(
            "The reward is that of final_model; coefficients and intervals are those of its linear projection."
        )
    if method == "instrument":
        notes.append("Where the instrumented confounder came after the text, the reward is net of the path through it.")
    if method == "weighting":
        known = estimator.balance_["weights_taken_as_known"]
        notes.append(
            "The weights are taken as known in the standard errors, which are then too large as a rule."
            if known
            else "The standard errors account for the estimated weights of the logistic classifier."
        )
    notes += [f"Warned: {problem}" for problem in estimator._diagnostics.problems]
    assumptions = [_CONSISTENCY, _UNMEASURED]
    if method != "standardization":
        assumptions.append(_ADDITIVITY)
    assumptions += [_OVERLAP, _REPRESENTATION, _SAMPLING]
    if method in _OF_METHOD:
        assumptions.append(_OF_METHOD[method])
    return FitSummary(estimator.inference().summary(), notes=tuple(notes), assumptions=tuple(assumptions))
