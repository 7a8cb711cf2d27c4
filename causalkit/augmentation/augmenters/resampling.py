"""Rotation and translation of many images at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["rotated", "translated"]

Array = NDArray[np.float64]

# Bilinear values need a dozen temporaries of a batch; this many images keep them small.
_BATCH = 512


def rotated(images: Array, angles: Array) -> Array:
    """Images turned counter-clockwise about their centres.

    Parameters
    ----------
    images : ndarray, shape (n, channels, height, width)
        Images; not changed.
    angles : ndarray, shape (n,)
        Degrees. Half turns, and quarter turns of square images, move pixels exactly; others are bilinear
        with 0 outside the frame.

    Returns
    -------
    ndarray, shape (n, channels, height, width)
    """
    out = np.empty_like(images)
    exact = np.mod(angles, 90.0 if images.shape[2] == images.shape[3] else 180.0) == 0.0
    quarter = np.mod(np.rint(angles / 90.0), 4).astype(np.int64)
    for turns in range(4):
        chosen = exact & (quarter == turns)
        if chosen.any():
            out[chosen] = np.rot90(images[chosen], turns, axes=(2, 3))
    rest = np.flatnonzero(~exact)
    for start in range(0, len(rest), _BATCH):
        batch = rest[start : start + _BATCH]
        out[batch] = _bilinear_rotation(images[batch], np.deg2rad(angles[batch]))
    return out


def translated(images: Array, right: NDArray[np.int64], down: NDArray[np.int64]) -> Array:
    """Images shifted by whole pixels, 0 where nothing comes from.

    Parameters
    ----------
    images : ndarray, shape (n, channels, height, width)
        Images; not changed.
    right, down : ndarray of int, shape (n,)
        Shifts in pixels.

    Returns
    -------
    ndarray, shape (n, channels, height, width)
    """
    rows = np.arange(images.shape[2]) - down[:, None]
    columns = np.arange(images.shape[3]) - right[:, None]
    return _pixels(images, rows[:, :, None], columns[:, None, :])


def _bilinear_rotation(images: Array, radians: Array) -> Array:
    height, width = images.shape[2:]
    y = (np.arange(height) - (height - 1) / 2)[None, :, None]
    x = (np.arange(width) - (width - 1) / 2)[None, None, :]
    cos, sin = np.cos(radians)[:, None, None], np.sin(radians)[:, None, None]
    # Each pixel looks back along the inverse rotation; rows count downwards, which turns the sign of sin.
    source_y = cos * y + sin * x + (height - 1) / 2
    source_x = cos * x - sin * y + (width - 1) / 2
    low_y, low_x = np.floor(source_y), np.floor(source_x)
    part_y, part_x = (source_y - low_y)[:, None], (source_x - low_x)[:, None]
    top, left = low_y.astype(np.int64), low_x.astype(np.int64)
    upper = _pixels(images, top, left) * (1 - part_x) + _pixels(images, top, left + 1) * part_x
    lower = _pixels(images, top + 1, left) * (1 - part_x) + _pixels(images, top + 1, left + 1) * part_x
    return upper * (1 - part_y) + lower * part_y


def _pixels(images: Array, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Array:
    """Pixels of every channel at (rows, columns), which broadcast to (n, h, w); 0 outside the frame."""
    n, channels, height, width = images.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    flat = np.clip(rows, 0, height - 1) * width + np.clip(columns, 0, width - 1)
    planes = images.reshape(n, channels, height * width)
    taken = np.take_along_axis(planes, flat.reshape(n, 1, height * width), axis=2).reshape(images.shape)
    return np.where(inside[:, None], taken, 0.0)
