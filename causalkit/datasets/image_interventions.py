"""Images as features of an experiment: two hidden variables move a digit, or place and turn an ellipse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.datasets.intervention_designs import InterventionSample, make_intervention_curve
from causalkit.validation import check_integer, check_matrix

__all__ = ["ImageInterventionSample", "make_moved_digit", "make_rendered_shapes"]

Array = NDArray[np.float64]

_SIDE = 20  # pixels of the canvas
_REACH, _SLOPE = 5.0, 3.0  # a hidden variable z moves by 5 tanh(z/3) pixels
_TURN = 0.45 * np.pi
_AXES = (4.5, 1.8)  # half the length and width of the ellipse: with the reach it stays on the canvas
_EDGE = 0.15  # softness, in units of the ellipse's radius
_MAX_VALUE = 16.0
_BLOCK_ROWS = 2048


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ImageInterventionSample(InterventionSample):
    """An :class:`InterventionSample` whose features are images, shape (n, 20, 20), in [0, 1].

    Attributes
    ----------
    glyph : ndarray, shape (8, 8), or None
        What is moved; None for the ellipse.
    """

    glyph: Array | None = None

    def render(self, latent: Any) -> Array:
        """Images of given hidden variables.

        Parameters
        ----------
        latent : array-like, shape (m, 2)
            Hidden variables.

        Returns
        -------
        ndarray, shape (m, 20, 20)
        """
        values, _ = check_matrix(latent, "latent")
        if values.shape[1] != 2:
            raise ValueError(f"latent must have two columns, the two hidden variables; got {values.shape[1]}.")
        return _rendered(values, self.glyph)

    def __repr__(self) -> str:
        what = "ellipse" if self.glyph is None else "digit"
        return f"ImageInterventionSample(n={len(self.y)}, images of {_SIDE} x {_SIDE} pixels, {what}, null={self.null})"


def make_moved_digit(
    n_samples: int = 10_000,
    *,
    digit: int = 3,
    strength: float = 1.0,
    scale: float = 1.0,
    null: bool = False,
    random_state: Any = None,
) -> ImageInterventionSample:
    r"""Simulate actions that move one digit about an image, and an outcome that the place drives.

    Actions, hidden variables and outcome are those of :func:`make_intervention_curve` with two hidden variables; the
    features are images. The mean of one class of scikit-learn's digits, 8 x 8 pixels, lies in the middle of a canvas of
    20 x 20 pixels and is moved

    .. math:: 5\tanh(z_1/3)\text{ pixels to the right}, \qquad 5\tanh(z_2/3)\text{ pixels down},

    with bilinear interpolation. Nothing else varies: the image determines Z.

    Parameters
    ----------
    n_samples : int, default=10000
        Rows.
    digit : int in 0..9, default=3
        Class whose mean is moved.
    strength : float, default=1.0
        α, size of the effect of an action on Z.
    scale : float, default=1.0
        σ, standard deviation of the noise of each hidden variable.
    null : bool, default=False
        Whether Z has no effect on the outcome.
    random_state : int, Generator, RandomState or None
        Source of the draws, as in :func:`make_intervention_curve`.

    Returns
    -------
    ImageInterventionSample

    Raises
    ------
    ValueError
        Parameters out of range.

    References
    ----------
    The images are those of ``sklearn.datasets.load_digits``; the design is ours, in the setting of Saengkyongam,
    Rosenfeld, Ravikumar, Pfister and Peters (2024), arXiv:2310.04295.

    Examples
    --------
    >>> from causalkit.datasets import make_moved_digit
    >>> sample = make_moved_digit(200, random_state=0)
    >>> sample.features.shape, sample.do_mean([[0.0, 0.0]]).tolist()
    ((200, 20, 20), [0.0])
    """
    from sklearn.datasets import load_digits

    label = check_integer(digit, "digit", low=0, high=9)
    images, target = load_digits(return_X_y=True)
    glyph = images[target == label].mean(axis=0).reshape(8, 8) / _MAX_VALUE
    return _with_images(n_samples, strength, scale, null, random_state, glyph)


def make_rendered_shapes(
    n_samples: int = 10_000,
    *,
    strength: float = 1.0,
    scale: float = 1.0,
    null: bool = False,
    random_state: Any = None,
) -> ImageInterventionSample:
    r"""Simulate actions that move and turn an ellipse, and an outcome that place and angle drive.

    As :func:`make_moved_digit`, but the image of 20 x 20 pixels shows an ellipse with a soft edge, half axes 4.5 and
    1.8 pixels, whose centre lies half-way down and

    .. math:: 10 + 5\tanh(z_1/3)\text{ pixels from the left}, \qquad \text{turned by } .45\,\pi\tanh(z_2/3).

    Parameters
    ----------
    n_samples : int, default=10000
        Rows.
    strength : float, default=1.0
        α, size of the effect of an action on Z.
    scale : float, default=1.0
        σ, standard deviation of the noise of each hidden variable.
    null : bool, default=False
        Whether Z has no effect on the outcome.
    random_state : int, Generator, RandomState or None
        Source of the draws, as in :func:`make_intervention_curve`.

    Returns
    -------
    ImageInterventionSample

    Raises
    ------
    ValueError
        Parameters out of range.

    References
    ----------
    The design is ours, in the setting of Saengkyongam, Rosenfeld, Ravikumar, Pfister and Peters (2024),
    arXiv:2310.04295.

    Examples
    --------
    >>> from causalkit.datasets import make_rendered_shapes
    >>> sample = make_rendered_shapes(200, random_state=0)
    >>> sample.features.shape, bool(sample.features.max() <= 1)
    ((200, 20, 20), True)
    """
    return _with_images(n_samples, strength, scale, null, random_state, None)


def _with_images(
    n_samples: Any, strength: Any, scale: Any, null: bool, random_state: Any, glyph: Array | None
) -> ImageInterventionSample:
    base = make_intervention_curve(
        n_samples, n_latent=2, strength=strength, scale=scale, null=null, random_state=random_state
    )
    return ImageInterventionSample(**{**vars(base), "features": _rendered(base.latent, glyph)}, glyph=glyph)


def _rendered(latent: Array, glyph: Array | None) -> Array:
    images = np.empty((len(latent), _SIDE, _SIDE))
    for start in range(0, len(latent), _BLOCK_ROWS):
        rows = latent[start : start + _BLOCK_ROWS]
        images[start : start + len(rows)] = _ellipses(rows) if glyph is None else _moved(rows, glyph)
    return images


def _moved(latent: Array, glyph: Array) -> Array:
    """Bilinear interpolation is a product of hat functions, one per axis."""
    size = len(glyph)
    shift = _REACH * np.tanh(latent / _SLOPE) + (_SIDE - size) / 2
    place = np.arange(_SIDE)[:, None] - np.arange(size)
    across, down = (np.maximum(1 - np.abs(place - s[:, None, None]), 0) for s in shift.T)
    return np.asarray(down @ glyph @ across.transpose(0, 2, 1))


def _ellipses(latent: Array) -> Array:
    pixel = np.arange(_SIDE) + 0.5
    center = _SIDE / 2 + _REACH * np.tanh(latent[:, 0] / _SLOPE)
    angle = _TURN * np.tanh(latent[:, 1] / _SLOPE)
    x = pixel[None, None, :] - center[:, None, None]
    y = pixel[None, :, None] - _SIDE / 2
    cosine, sine = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    along, aside = x * cosine + y * sine, y * cosine - x * sine
    radius = np.hypot(along / _AXES[0], aside / _AXES[1])
    return np.asarray(1 / (1 + np.exp((radius - 1) / _EDGE)))
