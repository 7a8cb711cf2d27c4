"""Draw the demo's figures to PNG in light and in dark colours, without touching any global state."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from causalkit.demo.content import Figure
from causalkit.exceptions import MissingDependencyError

__all__ = ["RenderedFigure", "check_matplotlib", "render"]

_LIGHT = {"text": "#1c2330", "line": "#5b6472"}
_DARK = {"text": "#e4e8ee", "line": "#9aa4b2"}
_DPI = 140


@dataclass(frozen=True)
class RenderedFigure:
    """A figure as two PNG files: dark lines on white, and light lines on nothing."""

    figure: Figure
    light: bytes
    dark: bytes


def check_matplotlib() -> None:
    """Refuse to start without matplotlib.

    Raises
    ------
    MissingDependencyError
        Naming the extra to install.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "the demo draws its figures with matplotlib, which is not installed: install the extra `plot`, for "
            'example pip install -e ".[plot]".'
        ) from error


def render(figure: Figure) -> RenderedFigure:
    """Draw a figure twice."""
    return RenderedFigure(figure, _png(figure, _LIGHT, "white"), _png(figure, _DARK, "none"))


def _png(figure: Figure, colours: dict[str, str], background: str) -> bytes:
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    text = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor")
    line = ("axes.edgecolor", "xtick.color", "ytick.color")
    settings: Any = {
        **dict.fromkeys(text, colours["text"]),
        **dict.fromkeys(line, colours["line"]),
        "axes.facecolor": "none",
        "figure.facecolor": background,
        "savefig.facecolor": background,
    }
    with rc_context(settings):
        # A figure of its own rather than pyplot's: no window, no backend to choose, nothing left open.
        canvas = Canvas(figsize=figure.size, layout="constrained")
        figure.draw(canvas)
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
