"""Augmenters of images: flips, rotations, translations and permuted channels.

A row holds one image, flattened from (channels, height, width). All arithmetic is vectorised over rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.augmentation.augmenters.base import MAX_ORBIT, Orbit
from causalkit.augmentation.augmenters.checks import as_parameters, as_rows, check_number
from causalkit.augmentation.augmenters.image_base import ImageAugmenter, Shape, check_image_shape
from causalkit.augmentation.augmenters.permutation import MAX_INDEXED, draw_indices, permute_members
from causalkit.augmentation.augmenters.resampling import rotated, translated
from causalkit.exceptions import AugmentationError
from causalkit.validation import check_choice

__all__ = ["ChannelPermutation", "ImageFlip", "ImageRotation", "ImageTranslation"]

Array = NDArray[np.float64]


class ImageFlip(ImageAugmenter):
    r"""Mirror images with probability one half.

    .. math:: (GX)_{c,i,j} = X_{c,i,w-1-j} \text{ if } G = 1 \text{ (horizontal)}, \qquad G \sim \mathrm{Bernoulli}(1/2)

    Assumes that the outcome does not depend on which side is left (horizontal) or up (vertical). A group
    of two elements.

    Parameters
    ----------
    image_shape : tuple of int
        Channels, height and width of the image in a row.
    axis : {"horizontal", "vertical"}, default="horizontal"
        Mirror left and right, or top and bottom.

    Raises
    ------
    AugmentationError
        A shape that is not three positive integers or not that of X.
    ValueError
        Another axis.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128 (outcome-invariant augmentation).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.augmenters import ImageFlip
    >>> ImageFlip((1, 1, 3)).apply(np.array([[1.0, 2.0, 3.0]]), [[1]])
    array([[3., 2., 1.]])
    """

    axis: str

    def __init__(self, image_shape: Sequence[int], axis: str = "horizontal") -> None:
        check_choice(axis, "axis", ("horizontal", "vertical"))
        self._keep(image_shape=check_image_shape(image_shape), axis=axis)

    @property
    def is_group(self) -> bool:
        """True."""
        return True

    def parameter_names(self, n_features: int) -> list[str]:
        """``horizontal_flip`` or ``vertical_flip``."""
        self._check_width(n_features)
        return [f"{self.axis}_flip"]

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """1 where an image is mirrored, shape (n, 1)."""
        self._check_width(n_features)
        return (rng.random((n_rows, 1)) < 0.5).astype(np.float64)

    def apply(self, X: Any, G: Any) -> Array:
        """Images mirrored where G is 1."""
        images = self._images(X)
        flip = as_parameters(self, G, self._rows(images))[:, 0] == 1.0
        moved = images.copy()
        moved[flip] = np.flip(images[flip], axis=3 if self.axis == "horizontal" else 2)
        return self._rows(moved)

    def orbit_size(self, n_features: int) -> int:
        """Two."""
        return 2

    def orbit(self, n_features: int) -> Orbit:
        """The image and its mirror image, one half each."""
        self._check_width(n_features)
        return np.array([[0.0], [1.0]]), np.array([0.5, 0.5])


class ImageRotation(ImageAugmenter):
    r"""Rotate images about their centre, counter-clockwise.

    .. math:: (GX)_c(u) = X_c(R_G^{-1}u), \qquad G \sim U[-d, d] \text{ or uniform on given quarter turns}

    Values between pixels are bilinear, and what comes from outside is 0: the result stays within the hull of
    the image's values and 0. Multiples of 90 degrees only move pixels and are exact. Assumes that the
    outcome does not depend on the orientation.

    Parameters
    ----------
    image_shape : tuple of int
        Channels, height and width of the image in a row.
    degrees : float or sequence of int
        A number d: angles uniform in [-d, d], 0 < d <= 180. A sequence: angles uniform on these distinct multiples
        of 90; other than 180 they need square images. The sets {0, 180} and {0, 90, 180, 270} are groups.

    Raises
    ------
    AugmentationError
        A shape that is not three positive integers or not that of X, degrees of another form.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128 (outcome-invariant augmentation).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.augmenters import ImageRotation
    >>> ImageRotation((1, 2, 2), [0, 90, 180, 270]).apply(np.array([[1.0, 2.0, 3.0, 4.0]]), [[90]])
    array([[2., 4., 1., 3.]])
    """

    degrees: float | tuple[int, ...]

    def __init__(self, image_shape: Sequence[int], degrees: Any) -> None:
        shape = check_image_shape(image_shape)
        self._keep(image_shape=shape, degrees=_check_degrees(degrees, shape))

    @property
    def is_group(self) -> bool:
        """True for {0}, {0, 180} and {0, 90, 180, 270}."""
        groups = ({0}, {0, 180}, {0, 90, 180, 270})
        return isinstance(self.degrees, tuple) and {angle % 360 for angle in self.degrees} in groups

    def parameter_names(self, n_features: int) -> list[str]:
        """``angle``, in degrees."""
        self._check_width(n_features)
        return ["angle"]

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """Angles in degrees, shape (n, 1)."""
        self._check_width(n_features)
        uniform = rng.random((n_rows, 1))
        if isinstance(self.degrees, tuple):
            return np.asarray(self.degrees, dtype=np.float64)[(uniform * len(self.degrees)).astype(np.intp)]
        return (2.0 * uniform - 1.0) * self.degrees

    def apply(self, X: Any, G: Any) -> Array:
        """Images rotated by the angles in G."""
        images = self._images(X)
        angles = as_parameters(self, G, self._rows(images))[:, 0]
        return self._rows(rotated(images, angles))

    def orbit_size(self, n_features: int) -> int | None:
        """Number of given angles; None for a range."""
        return len(self.degrees) if isinstance(self.degrees, tuple) else None

    def orbit(self, n_features: int) -> Orbit | None:
        """The given angles with equal probabilities; None for a range."""
        self._check_width(n_features)
        if not isinstance(self.degrees, tuple):
            return None
        m = len(self.degrees)
        return np.asarray(self.degrees, dtype=np.float64)[:, None], np.full(m, 1.0 / m)


class ImageTranslation(ImageAugmenter):
    r"""Shift images by whole pixels; what comes into the frame is 0.

    .. math:: (GX)_{c,i,j} = X_{c,\,i - s_y,\,j - s_x}, \qquad s_x = \mathrm{round}(wU_1),\ s_y = \mathrm{round}(hU_2),
              \qquad U_1, U_2 \sim U[-\varphi, \varphi] \text{ independent}

    The shifts along the two sides are drawn apart, each in units of its own side. Assumes that the outcome
    depends neither on the position nor on what leaves the frame: the expected share of pixels that do is
    :math:`1 - (1 - E|s_x|/w)(1 - E|s_y|/h)`.

    Parameters
    ----------
    image_shape : tuple of int
        Channels, height and width of the image in a row.
    fraction : float
        Largest shift φ as a share of each side, in [0, 1].

    Raises
    ------
    AugmentationError
        A shape that is not three positive integers or not that of X, a fraction outside [0, 1].

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128 (outcome-invariant augmentation).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.augmenters import ImageTranslation
    >>> ImageTranslation((1, 1, 4), 0.5).apply(np.array([[1.0, 2.0, 3.0, 4.0]]), [[0.25, 0.0]])
    array([[0., 1., 2., 3.]])
    """

    fraction: float

    def __init__(self, image_shape: Sequence[int], fraction: float) -> None:
        self._keep(
            image_shape=check_image_shape(image_shape), fraction=check_number(fraction, "fraction", low=0.0, high=1.0)
        )

    def parameter_names(self, n_features: int) -> list[str]:
        """``shift_x`` to the right and ``shift_y`` downwards, each in units of its own side."""
        self._check_width(n_features)
        return ["shift_x", "shift_y"]

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """Shifts of whole pixels in units of the sides, shape (n, 2)."""
        self._check_width(n_features)
        sides = np.array([self.image_shape[2], self.image_shape[1]])
        uniform = (2.0 * rng.random((n_rows, 2)) - 1.0) * self.fraction
        return np.rint(uniform * sides) / sides

    def apply(self, X: Any, G: Any) -> Array:
        """Images shifted by the nearest whole number of pixels."""
        images = self._images(X)
        shifts = as_parameters(self, G, self._rows(images))
        pixels = np.rint(shifts * [self.image_shape[2], self.image_shape[1]]).astype(np.int64)
        return self._rows(translated(images, pixels[:, 0], pixels[:, 1]))


class ChannelPermutation(ImageAugmenter):
    r"""Channels of images permuted uniformly at random.

    .. math:: (GX)_{c,i,j} = X_{\pi(c),i,j}, \qquad \pi \text{ uniform on the permutations of the channels}

    Assumes that the outcome does not depend on which channel holds what. A group.

    Parameters
    ----------
    image_shape : tuple of int
        Channels, height and width of the image in a row; 2 to 18 channels.

    Raises
    ------
    AugmentationError
        A shape that is not three positive integers or not that of X, another number of channels.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet, Dai 2025, arXiv 2510.25128 (outcome-invariant augmentation).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.augmentation.augmenters import ChannelPermutation
    >>> ChannelPermutation((2, 1, 2)).apply(np.array([[1.0, 2.0, 3.0, 4.0]]), [[1]])
    array([[3., 4., 1., 2.]])
    """

    def __init__(self, image_shape: Sequence[int]) -> None:
        shape = check_image_shape(image_shape)
        if not 2 <= shape[0] <= MAX_INDEXED:
            raise AugmentationError(
                f"image_shape of ChannelPermutation must have 2 to {MAX_INDEXED} channels; got {shape[0]}."
            )
        self._keep(image_shape=shape)

    @property
    def is_group(self) -> bool:
        """True."""
        return True

    @property
    def preserves_sparsity(self) -> bool:
        """True: pixels only change places."""
        return True

    def parameter_names(self, n_features: int) -> list[str]:
        """``channel_permutation``, an index that is 0 for the identity."""
        self._check_width(n_features)
        return ["channel_permutation"]

    def sample(self, n_rows: int, n_features: int, rng: np.random.Generator) -> Array:
        """Index of the permutation, shape (n, 1)."""
        self._check_width(n_features)
        return draw_indices([self.image_shape[0]], n_rows, rng)

    def apply(self, X: Any, G: Any) -> Any:
        """Images with their channels in the order that G names."""
        rows = as_rows(X)
        indices = as_parameters(self, G, rows)[:, 0]
        channels = np.arange(rows.shape[1]).reshape(self.image_shape[0], -1)
        return permute_members(rows, channels, indices)

    def orbit_size(self, n_features: int) -> int:
        """Factorial of the number of channels."""
        return math.factorial(self.image_shape[0])

    def orbit(self, n_features: int) -> Orbit | None:
        """All orders of the channels with equal probabilities, at most 1024."""
        self._check_width(n_features)
        m = self.orbit_size(n_features)
        if m > MAX_ORBIT:
            return None
        return np.arange(m, dtype=np.float64)[:, None], np.full(m, 1.0 / m)


def _check_degrees(values: Any, shape: Shape) -> float | tuple[int, ...]:
    if not hasattr(values, "__iter__") or isinstance(values, str):
        largest = check_number(values, "degrees", low=0.0, high=180.0)
        if largest == 0.0:
            raise AugmentationError("degrees must be positive, or a sequence of multiples of 90; got 0.")
        return largest
    angles = tuple(int(check_number(value, "degrees")) for value in values)
    if not angles or any(a != v or a % 90 for a, v in zip(angles, values, strict=True)):
        raise AugmentationError(
            f"a sequence of degrees must hold multiples of 90; got {values!r}. Pass one number for a range."
        )
    if len({angle % 360 for angle in angles}) < len(angles):
        raise AugmentationError(f"degrees must be distinct modulo 360; got {angles}.")
    if shape[1] != shape[2] and any(angle % 180 for angle in angles):
        raise AugmentationError(
            f"quarter turns need square images; got height {shape[1]} and width {shape[2]}. Use degrees=(0, 180)."
        )
    return angles
