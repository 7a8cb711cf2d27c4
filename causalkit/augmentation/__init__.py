"""Augmentation: effects under hidden confounding from transformations that leave the outcome alone."""

from causalkit.augmentation import augmenters
from causalkit.augmentation.anderson_rubin import AndersonRubinResult, anderson_rubin
from causalkit.augmentation.boosting import IVLikeBoostingRegressor
from causalkit.augmentation.bounds import IdentifiedBounds
from causalkit.augmentation.cross_validated import IVLikeRegressorCV
from causalkit.augmentation.diagnostics import AugmentationDiagnostics
from causalkit.augmentation.evaluation import causal_excess_risk, normalized_causal_excess_risk, worst_case_risk
from causalkit.augmentation.instruments import instrument_diagnostics
from causalkit.augmentation.invariance import InvarianceTest, invariance_test
from causalkit.augmentation.linear import IVLikeRegressor
from causalkit.augmentation.net import IVLikeNetClassifier, IVLikeNetRegressor
from causalkit.augmentation.path import AlphaPath

__all__ = [
    "AlphaPath",
    "AndersonRubinResult",
    "AugmentationDiagnostics",
    "IVLikeBoostingRegressor",
    "IVLikeNetClassifier",
    "IVLikeNetRegressor",
    "IVLikeRegressor",
    "IVLikeRegressorCV",
    "IdentifiedBounds",
    "InvarianceTest",
    "anderson_rubin",
    "augmenters",
    "causal_excess_risk",
    "instrument_diagnostics",
    "invariance_test",
    "normalized_causal_excess_risk",
    "worst_case_risk",
]
