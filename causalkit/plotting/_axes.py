"""Axes and colours shared by the displays; matplotlib is imported inside the call."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalkit.exceptions import MissingDependencyError

__all__ = ["COLOURS", "axes_of", "panels_of", "stacked_axes", "tidy"]

# After Okabe and Ito, distinguishable with colour-vision deficiencies; the blues are shifted so that every colour has a
# contrast of at least 3 with white and with a dark page (test_colours_are_legible_on_light_and_dark_pages).
COLOURS = {"data": "#7f7f7f", "naive": "#d55e00", "corrected": "#1f83c9", "accent": "#009e73", "band": "#2f96d6"}


def axes_of(ax: Any, n: int = 1, figsize: tuple[float, float] = (6.4, 4.2)) -> Any:
    """The given axes, or ``n`` new ones side by side.

    Raises
    ------
    MissingDependencyError
        Without matplotlib.
    """
    if ax is not None:
        return ax
    _, axes = _pyplot().subplots(1, n, figsize=figsize, layout="constrained")
    return axes


def panels_of(ax: Any, n: int, figsize: tuple[float, float]) -> tuple[Any, ...]:
    """Exactly ``n`` axes, the given ones or new ones side by side.

    Raises
    ------
    ValueError
        If another number of axes is given.
    MissingDependencyError
        Without matplotlib.
    """
    if ax is None:
        _, axes = _pyplot().subplots(1, n, figsize=figsize, layout="constrained", squeeze=False)
        return tuple(axes.ravel())
    given = tuple(np.ravel(np.asarray(ax, dtype=object)))
    if len(given) != n:
        raise ValueError(f"ax must hold {n} axes for the {n} panels of this display; got {len(given)}.")
    return given


def stacked_axes(ax: Any, heights: tuple[float, ...], figsize: tuple[float, float]) -> tuple[Any, ...]:
    """One axes per height: the given ones, or new ones above one another that share the horizontal scale.

    Raises
    ------
    ValueError
        If another number of axes is given.
    MissingDependencyError
        Without matplotlib.
    """
    if ax is not None:
        return panels_of(ax, len(heights), figsize)
    options = {"sharex": True, "figsize": figsize, "layout": "constrained"}
    _, axes = _pyplot().subplots(len(heights), 1, gridspec_kw={"height_ratios": heights}, **options)
    return tuple(axes)


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingDependencyError(
            'plots need matplotlib: install the extra `plot`, for example pip install -e ".[plot]".'
        ) from error
    return plt


def tidy(ax: Any) -> None:
    """Open the frame to the left and below."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
