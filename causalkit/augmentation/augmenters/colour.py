"""Random changes of brightness, contrast, saturation and hue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.augmentation.augmenters.checks import as_parameters, check_number
from causalkit.augmentation.augmenters.image_base import ImageAugmenter, check_image_shape
from causalkit.exceptions import AugmentationError

__all__ = ["ColorJitter"]

Array = NDArray[np.float64]


class ColorJitter(ImageAugmenter):
    r"""Change brightness, contrast, saturation and hue of images at random, in this order.

    .. math:: x \leftarrow Bx, \quad x \leftarrow \bar x + C(x - \bar x), \quad x \leftarrow g + S(x - g), \quad
              x \leftarrow R_{2\pi H}x

    with :math:`\bar x` the mean of all values of the image, g the mean over the channels of each pixel, and R
    the rotation of the three channels about the grey axis; B, C, S uniform in [max(0, 1 - b), 1 + b] for the
    respective strength b, H uniform in [-hue, hue]. Afterwards values are cut off at the limits of the image:
    [0, 1] if all its values lie there, else its own smallest and largest value. The limits depend on nothing
    but the image itself, so that other rows do not change a draw.

    Assumes that the outcome does not depend on colour and light.

    Parameters
    ----------
    image_shape : tuple of int
        Channels, height and width of the image in a row.
    brightness, contrast, saturation : float, default=0.0
        Strengths b >= 0; 0 leaves this step out. Saturation needs at least two channels.
    hue : float, default=0.0
        Largest turn of the colour circle, in [0, 0.5]; needs three channels.

    Raises
    ------
    AugmentationError
        A shape that is not three positive integers or not that of X, a strength out of range, all zero, or
        one that the channels do not allow.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128 (outcome-invariant augmentation).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.augmenters import ColorJitter
    >>> ColorJitter((1, 1, 2), brightness=0.5).apply(np.array([[0.4, 0.8]]), [[1.5]]).round(2)
    array([[0.6, 1. ]])
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float

    def __init__(
        self,
        image_shape: Sequence[int],
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
    ) -> None:
        self._keep(
            image_shape=check_image_shape(image_shape),
            brightness=check_number(brightness, "brightness", low=0.0),
            contrast=check_number(contrast, "contrast", low=0.0),
            saturation=check_number(saturation, "saturation", low=0.0),
            hue=check_number(hue, "hue", low=0.0, high=0.5),
        )
        channels = self.image_shape[0]
        if not self._active():
            raise AugmentationError(
                "brightness, contrast, saturation and hue are all 0, which changes nothing: set at least one."
            )
        if self.hue and channels != 3:
            raise AugmentationError(f"hue needs images of 3 channels; image_shape has {channels}. Use hue=0.")
        if self.saturation and channels < 2:
            raise AugmentationError("saturation needs images of at least 2 channels; got 1. Use saturation=0.")

    def parameter_names(self, n_features: int) -> list[str]:
        """Those of brightness, contrast, saturation and hue that are not 0."""
        self._check_width(n_features)
        return self._active()

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """Factors, and turns of the colour circle for the hue, shape (n, k)."""
        names = self.parameter_names(n_features)
        uniform = rng.random((n_rows, len(names)))
        strength = np.array([getattr(self, name) for name in names])
        is_hue = np.array([name == "hue" for name in names])
        low = np.where(is_hue, -strength, np.maximum(0.0, 1.0 - strength))
        high = np.where(is_hue, strength, 1.0 + strength)
        return low + (high - low) * uniform

    def apply(self, X: Any, G: Any) -> Array:
        """Images with the factors and turns of G."""
        images = self._images(X)
        flat = self._rows(images)
        parameters = as_parameters(self, G, flat)
        low, high = flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)
        unit = (low >= 0.0) & (high <= 1.0)
        moved = images
        for name, column in zip(self._active(), parameters.T, strict=True):
            moved = _STEPS[name](moved, column[:, None, None, None])
        limits = np.where(unit, 0.0, low), np.where(unit, 1.0, high)
        return np.clip(self._rows(moved), *limits)

    def _active(self) -> list[str]:
        return [name for name in _STEPS if getattr(self, name) > 0]


def _brightness(images: Array, factor: Array) -> Array:
    return images * factor


def _contrast(images: Array, factor: Array) -> Array:
    mean = images.reshape(len(images), math.prod(images.shape[1:])).mean(axis=1)[:, None, None, None]
    return mean + factor * (images - mean)


def _saturation(images: Array, factor: Array) -> Array:
    grey = images.mean(axis=1, keepdims=True)
    return grey + factor * (images - grey)


def _hue(images: Array, turns: Array) -> Array:
    # Rodrigues' formula about the unit vector (1, 1, 1)/sqrt(3): x cos + (u × x) sin + u (u'x)(1 - cos).
    cos, sin = np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)
    crossed = (np.roll(images, -2, axis=1) - np.roll(images, -1, axis=1)) / np.sqrt(3.0)
    return images * cos + crossed * sin + images.mean(axis=1, keepdims=True) * (1.0 - cos)


_STEPS = {"brightness": _brightness, "contrast": _contrast, "saturation": _saturation, "hue": _hue}
