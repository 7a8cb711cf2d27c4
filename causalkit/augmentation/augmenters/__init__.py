"""Augmenters: transformations of rows that are believed to leave the outcome alone."""

from causalkit.augmentation.augmenters.base import MAX_ORBIT, Augmenter, FunctionAugmenter
from causalkit.augmentation.augmenters.noise import AdditiveNoise, NullSpaceShift

__all__ = ["MAX_ORBIT", "AdditiveNoise", "Augmenter", "FunctionAugmenter", "NullSpaceShift"]
