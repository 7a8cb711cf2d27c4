"""Augmentation: effects under hidden confounding from transformations that leave the outcome alone."""

from causalkit.augmentation import augmenters
from causalkit.augmentation.boosting import IVLikeBoostingRegressor
from causalkit.augmentation.cross_validated import IVLikeRegressorCV
from causalkit.augmentation.evaluation import causal_excess_risk, normalized_causal_excess_risk, worst_case_risk
from causalkit.augmentation.linear import IVLikeRegressor

__all__ = [
    "IVLikeBoostingRegressor",
    "IVLikeRegressor",
    "IVLikeRegressorCV",
    "augmenters",
    "causal_excess_risk",
    "normalized_causal_excess_risk",
    "worst_case_risk",
]
