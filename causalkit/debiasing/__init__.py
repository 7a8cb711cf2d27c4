"""Debiasing: effects on the true outcome when the outcome at hand is a model's prediction."""

from causalkit.debiasing.effects import DebiasedEffect
from causalkit.debiasing.hierarchical import HierarchicalCalibration
from causalkit.debiasing.linear_calibration import LinearCalibration
from causalkit.debiasing.spline_calibration import SplineCalibration
from causalkit.debiasing.tweedie import TweedieCorrection

__all__ = ["DebiasedEffect", "HierarchicalCalibration", "LinearCalibration", "SplineCalibration", "TweedieCorrection"]
