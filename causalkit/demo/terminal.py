"""Plain-text output of the demo: progress lines with elapsed seconds, tables, readings."""

from __future__ import annotations

import math
import textwrap
import time
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from causalkit.demo.content import Chapter, Section

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Terminal", "format_columns", "format_number"]

_WIDTH = 110
_TOGETHER = ("truth", "estimate", "std. error", "naive", "pooled", "new site", "lower", "upper")


class Terminal:
    """Writes the demo's progress and results to a text stream.

    Parameters
    ----------
    stream : text stream
        Usually standard output.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._start = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds since the terminal was made."""
        return time.perf_counter() - self._start

    def line(self, text: str = "") -> None:
        """One line, shown at once."""
        # A terminal that knows fewer characters shows question marks rather than ending the run.
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        self.stream.write(text.encode(encoding, errors="replace").decode(encoding) + "\n")
        self.stream.flush()

    def progress(self, text: str) -> None:
        """A progress line with the seconds so far."""
        self.line(f"[{self.elapsed:6.1f} s] {text}")

    def chapter(self, chapter: Chapter, data_note: str) -> None:
        """Heading of a chapter, and which data it uses."""
        self.line(f"\n{chapter.title}\n{'=' * len(chapter.title)}")
        self._wrapped(data_note)
        self.line()

    def section(self, section: Section) -> None:
        """Tables, readings and warnings of a section."""
        for table in section.tables:
            self.line(f"\n  {table.title}")
            texts = format_columns(table.frame)
            right = {name: _is_number_column(table.frame[name]) for name in texts.columns}
            widths = {name: max(len(str(name)), *texts[name].str.len(), 0) for name in texts.columns}
            for cells in [list(texts.columns), *texts.to_numpy().tolist()]:
                padded = [
                    str(cell).rjust(widths[name]) if right[name] else str(cell).ljust(widths[name])
                    for name, cell in zip(texts.columns, cells, strict=True)
                ]
                self.line("    " + "  ".join(padded).rstrip())
            if table.note:
                self._wrapped(table.note, "    ")
        self.line()
        for text in section.readings:
            self._wrapped(text, "  > ", "    ")
        for text in section.messages:
            self._wrapped(text, "  ! ", "    ")
        self.line()

    def _wrapped(self, text: str, first: str = "", rest: str | None = None) -> None:
        indent = first if rest is None else rest
        self.line(textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=indent))


def _is_number_column(column: Any) -> bool:
    return column.dtype.kind in "iuf"


def format_number(value: float, decimals: int | None = None) -> str:
    """A number with thousands separators; four significant digits unless ``decimals`` is given."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if decimals is None:
        decimals = _decimals(abs(value))
    text = f"{value:,.{decimals}f}"
    if text.startswith("-"):
        return "−" + text[1:] if any(digit in text for digit in "123456789") else text[1:]
    return text


def _decimals(size: float) -> int:
    return 4 if size == 0 else int(np.clip(3 - math.floor(math.log10(size)), 0, 4))


def _column_decimals(values: Any) -> int:
    numbers = np.abs(values.to_numpy(dtype=float))
    numbers = numbers[np.isfinite(numbers)]
    return _decimals(float(numbers.max())) if len(numbers) else 0


def format_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as text: one number of decimals per column, yes and no for booleans.

    The columns of an estimate and its interval share their decimals. A column named ``p`` is shown as a
    p-value, with "< 0.0001" where it is smaller, and coverage with two decimals.
    """
    out = {}
    together = [name for name in frame.columns if name in _TOGETHER]
    shared = _column_decimals(frame[together]) if together else 0
    for name in frame.columns:
        column = frame[name]
        kind = column.dtype.kind
        if name == "p":
            texts = ["< 0.0001" if value < 1e-4 else format_number(value, 4) for value in column]
        elif kind == "f":
            decimals = shared if name in _TOGETHER else _column_decimals(column)
            decimals = 2 if name.startswith("coverage") else decimals
            texts = [format_number(value, decimals) for value in column]
        elif kind in "iu":
            texts = [f"{value:,}" for value in column]
        else:
            texts = [
                ("yes" if value else "no") if isinstance(value, bool | np.bool_) else str(value) for value in column
            ]
        out[name] = texts
    return type(frame)(out, dtype=object, columns=frame.columns)
