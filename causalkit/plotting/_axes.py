"""Axes and colours shared by the displays; matplotlib is imported inside the call."""

from __future__ import annotations

from typing import Any

from causalkit.exceptions import MissingDependencyError

__all__ = ["COLOURS", "axes_of", "tidy"]

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
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingDependencyError(
            'plots need matplotlib: install the extra `plot`, for example pip install -e ".[plot]".'
        ) from error
    _, axes = plt.subplots(1, n, figsize=figsize, layout="constrained")
    return axes


def tidy(ax: Any) -> None:
    """Open the frame to the left and below."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
