"""Augmentation: effects under hidden confounding from transformations that leave the outcome alone."""

from causalkit.augmentation import augmenters
from causalkit.augmentation.linear import IVLikeRegressor

__all__ = ["IVLikeRegressor", "augmenters"]
