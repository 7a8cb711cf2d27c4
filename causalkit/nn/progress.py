"""A progress line in plain text on the standard error stream."""

from __future__ import annotations

import sys
from types import TracebackType

__all__ = ["ProgressLine"]

_WIDTH = 24


class ProgressLine:
    """One line that is written over as work proceeds, and ended when the block is left, however it is left.

    Parameters
    ----------
    label : str
        Text in front.
    total : int
        Number of steps.
    verbose : int
        0 writes nothing.
    """

    def __init__(self, label: str, total: int, verbose: int) -> None:
        self.label = label
        self.total = total
        self.verbose = verbose
        self._longest = 0

    def __enter__(self) -> ProgressLine:
        return self

    def update(self, done: int, text: str = "") -> None:
        """Show that so many steps are done."""
        if not self.verbose:
            return
        filled = round(_WIDTH * done / max(self.total, 1))
        line = f"{self.label} [{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{self.total} {text}"
        self._longest = max(self._longest, len(line))
        sys.stderr.write("\r" + line.ljust(self._longest))
        sys.stderr.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._longest:
            sys.stderr.write("\n")
