"""Axes and colours shared by the displays; matplotlib is imported inside the call."""

from __future__ import annotations

from typing import Any

from causalkit.exceptions import MissingDependencyError

__all__ = ["COLOURS", "axes_of", "tidy"]

# Okabe-Ito: distinguishable with colour-vision deficiencies, and on light and dark backgrounds.
COLOURS = {"data": "#7f7f7f", "naive": "#d55e00", "corrected": "#0072b2", "accent": "#009e73", "band": "#56b4e9"}


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
