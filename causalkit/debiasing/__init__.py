"""Debiasing: effects on the true outcome when the outcome at hand is a model's prediction."""

from causalkit.debiasing.assumption_checks import exclusion_test, slope_heterogeneity, validate_correction
from causalkit.debiasing.comparison import compare_corrections, debiased_effect
from causalkit.debiasing.effect_accumulator import EffectAccumulator
from causalkit.debiasing.effects import DebiasedEffect
from causalkit.debiasing.hierarchical import HierarchicalCalibration
from causalkit.debiasing.imputation import combine_imputations
from causalkit.debiasing.linear_calibration import LinearCalibration
from causalkit.debiasing.planning import break_even_share, required_calibration_size
from causalkit.debiasing.prediction_powered import (
    PredictionPoweredResult,
    prediction_powered_ate,
    prediction_powered_mean,
    prediction_powered_ols,
)
from causalkit.debiasing.regression import DebiasedRegression, correct_vcov
from causalkit.debiasing.spline_calibration import SplineCalibration
from causalkit.debiasing.tweedie import TweedieCorrection

__all__ = [
    "DebiasedEffect",
    "DebiasedRegression",
    "EffectAccumulator",
    "HierarchicalCalibration",
    "LinearCalibration",
    "PredictionPoweredResult",
    "SplineCalibration",
    "TweedieCorrection",
    "break_even_share",
    "combine_imputations",
    "compare_corrections",
    "correct_vcov",
    "debiased_effect",
    "exclusion_test",
    "prediction_powered_ate",
    "prediction_powered_mean",
    "prediction_powered_ols",
    "required_calibration_size",
    "slope_heterogeneity",
    "validate_correction",
]
