"""Debiasing: effects on the true outcome when the outcome at hand is a model's prediction."""

from causalkit.debiasing.effects import DebiasedEffect
from causalkit.debiasing.linear_calibration import LinearCalibration

__all__ = ["DebiasedEffect", "LinearCalibration"]
