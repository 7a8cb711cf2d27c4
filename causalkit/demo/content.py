"""What a chapter of the demo returns: plain data, without any rendering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Chapter", "ChapterResult", "Figure", "Plan", "Section", "Settings", "Step", "Table"]


@dataclass(frozen=True)
class Settings:
    """What the user chose.

    Attributes
    ----------
    income_map : Path or None
        File of the income map, where the user named one.
    repetitions : int
        Repetitions of the simulated comparisons.
    random_state : int
        Seed of everything that is drawn.
    """

    income_map: Path | None = None
    repetitions: int = 60
    random_state: int = 0


@dataclass(frozen=True, eq=False)
class Table:
    """A table with a title; ``frame`` is shown without its index, ``note`` below it."""

    title: str
    frame: pd.DataFrame
    note: str = ""


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure that can be drawn more than once, in light and in dark colours.

    Attributes
    ----------
    name : str
        Stem of the file.
    caption : str
        What the figure shows; also its text alternative.
    draw : callable
        Takes an empty matplotlib figure and draws on it.
    size : tuple of float
        Width and height in inches.
    """

    name: str
    caption: str
    draw: Callable[[Any], None] = field(repr=False)
    size: tuple[float, float] = (7.0, 4.2)


@dataclass(frozen=True, eq=False)
class Section:
    """One step of an analysis.

    Attributes
    ----------
    title, text : str
        Heading, and what was done and why.
    tables, figures : tuple
        Results.
    readings : tuple of str
        What the numbers say, made from the numbers.
    messages : tuple of str
        Warnings that the library raised during the step.
    """

    title: str
    text: str
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    readings: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """A section to come: the words of its progress line, and the function that makes it."""

    title: str
    run: Callable[[], Section]


@dataclass(frozen=True)
class Plan:
    """A chapter with its data loaded: which data they are, and the steps."""

    data_note: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Chapter:
    """A family's chapter.

    Attributes
    ----------
    name : str
        Name of the family, as in the package.
    title, question : str
        Heading, and the question that its user asks.
    prepare : callable
        Takes the :class:`Settings`, loads the data and returns a :class:`Plan`.
    """

    name: str
    title: str
    question: str
    prepare: Callable[[Settings], Plan]


@dataclass(frozen=True)
class ChapterResult:
    """A chapter that has run, with the seconds that it took."""

    chapter: Chapter
    data_note: str
    sections: tuple[Section, ...]
    seconds: float
