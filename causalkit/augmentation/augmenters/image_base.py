"""What augmenters of images share: a row holds one image, flattened from (channels, height, width)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.augmentation.augmenters.base import Augmenter
from causalkit.augmentation.augmenters.checks import dense_rows
from causalkit.exceptions import AugmentationError
from causalkit.validation import check_integer

__all__ = ["ImageAugmenter", "Shape", "check_image_shape"]

Array = NDArray[np.float64]
Shape = tuple[int, int, int]


class ImageAugmenter(Augmenter):
    """What augmenters of images share: the shape, and the reshaping of rows.

    Attributes
    ----------
    image_shape : tuple of int
        Channels, height and width.
    """

    is_sequential = True
    image_shape: Shape

    def _check_width(self, n_features: int) -> None:
        if n_features != math.prod(self.image_shape):
            raise AugmentationError(
                f"{type(self).__name__} expects rows of {' x '.join(map(str, self.image_shape))} = "
                f"{math.prod(self.image_shape)} features (channels, height, width), but X has {n_features}: pass the "
                "image_shape of X."
            )

    def _images(self, X: Any) -> Array:
        """Rows as images, shape (n, channels, height, width)."""
        rows = dense_rows(self, X)
        self._check_width(rows.shape[1])
        return rows.reshape(-1, *self.image_shape)

    def _rows(self, images: Array) -> Array:
        """Images as rows, shape (n, p)."""
        return images.reshape(-1, math.prod(self.image_shape))


def check_image_shape(values: Any) -> Shape:
    """Channels, height and width as three positive integers."""
    sizes = tuple(values) if hasattr(values, "__iter__") and not isinstance(values, str) else (values,)
    if len(sizes) != 3:
        raise AugmentationError(
            f"image_shape must be (channels, height, width), such as (1, 8, 8) for grey images; got {values!r}."
        )
    names = ("channels of image_shape", "height of image_shape", "width of image_shape")
    channels, height, width = (check_integer(size, name, low=1) for size, name in zip(sizes, names, strict=True))
    return channels, height, width
