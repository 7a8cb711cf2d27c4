"""Augmenters: transformations of rows that are believed to leave the outcome alone."""

from causalkit.augmentation.augmenters.base import MAX_ORBIT, Augmenter, FunctionAugmenter
from causalkit.augmentation.augmenters.colour import ColorJitter
from causalkit.augmentation.augmenters.combine import Compose, OneOf
from causalkit.augmentation.augmenters.image import ChannelPermutation, ImageFlip, ImageRotation, ImageTranslation
from causalkit.augmentation.augmenters.noise import AdditiveNoise, NullSpaceShift
from causalkit.augmentation.augmenters.permutation import Permutation
from causalkit.augmentation.augmenters.vector import Masking, Scaling, SignFlip

__all__ = [
    "MAX_ORBIT",
    "AdditiveNoise",
    "Augmenter",
    "ChannelPermutation",
    "ColorJitter",
    "Compose",
    "FunctionAugmenter",
    "ImageFlip",
    "ImageRotation",
    "ImageTranslation",
    "Masking",
    "NullSpaceShift",
    "OneOf",
    "Permutation",
    "Scaling",
    "SignFlip",
]
