"""One line per part of a step: ok, SHORT or reported, seconds, counts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Line", "Report", "describe_api", "describe_tests"]


@dataclass
class Line:
    """One part of one step; ``problems`` are lines for a reader, and one is enough to be short."""

    step: str
    part: str
    seconds: float = 0.0
    counts: str = ""
    problems: list[str] = field(default_factory=list)
    only_reported: bool = False

    @property
    def state(self) -> str:
        """What the line says: a step that is only reported is never short."""
        if self.only_reported:
            return "reported"
        return "SHORT" if self.problems else "ok"

    def __str__(self) -> str:
        return f"{self.step:<11} {self.part:<9} {self.state:<8} {self.seconds:7.1f} s  {self.counts}".rstrip()


@dataclass
class Report:
    """Lines in the order in which they were finished; each is printed at once."""

    lines: list[Line] = field(default_factory=list)

    @contextmanager
    def part(self, step: str, part: str, only_reported: bool = False) -> Iterator[Line]:
        """A line that is timed, printed with up to ten of its problems, and kept."""
        line, start = Line(step, part, only_reported=only_reported), time.perf_counter()
        try:
            yield line
        except (OSError, RuntimeError) as error:
            line.problems.append(f"{type(error).__name__}: {error}")
        line.seconds = time.perf_counter() - start
        self.lines.append(line)
        print(line, flush=True)
        for problem in line.problems[:10]:
            print(f"{'':<22}{problem}", flush=True)
        if len(line.problems) > 10:
            print(f"{'':<22}and {len(line.problems) - 10} more; see the log", flush=True)

    @property
    def is_short(self) -> bool:
        """Whether any line is short."""
        return any(line.state == "SHORT" for line in self.lines)


def _needs(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} need {name}" for name, count in sorted(counts.items()))


def describe_api(found: Mapping[str, object]) -> str:
    """Counts of the names and docstrings that were checked."""
    text = f"{found['names']} names, {found['docstrings']} docstrings, {found['examples']} examples"
    needs = _needs(found["needs"])  # type: ignore[arg-type]
    return f"{text}; said what they need: {needs}" if needs else text


def describe_tests(outcomes: Mapping[str, int], deselected: Mapping[str, int]) -> str:
    """Counts of tests by outcome, and of those left out by the extra that they need."""
    words = {"xfailed": "failed as expected", "xpassed": "passed unexpectedly", "error": "errors"}
    seen = [f"{count} {words.get(name, name)}" for name, count in outcomes.items() if count or name == "passed"]
    needs = _needs(deselected)
    return ", ".join(seen) + (f"; deselected: {needs}" if needs else "")
