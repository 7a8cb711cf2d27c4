"""Run chapters step by step, and keep what the library warned about beside the step that it concerns."""

from __future__ import annotations

import re
import time
import warnings
from dataclasses import replace

from causalkit.demo.content import Chapter, ChapterResult, Section, Settings, Step
from causalkit.demo.terminal import Terminal
from causalkit.exceptions import ConvergenceWarning

__all__ = ["run_chapter", "run_step"]


def run_chapter(chapter: Chapter, settings: Settings, terminal: Terminal) -> ChapterResult:
    """Load the data of a chapter, then run its steps, showing each as it ends."""
    start = time.perf_counter()
    terminal.progress(f"{chapter.name}: loading data")
    plan = chapter.prepare(settings)
    terminal.chapter(chapter, plan.data_note)
    sections = []
    for number, step in enumerate(plan.steps, start=1):
        terminal.progress(f"{chapter.name} {number}/{len(plan.steps)}: {step.title}")
        section = run_step(step)
        terminal.section(section)
        sections.append(section)
    return ChapterResult(chapter, plan.data_note, tuple(sections), time.perf_counter() - start)


def run_step(step: Step) -> Section:
    """Run one step; warnings of the library become its messages, those of others stay warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        section = step.run()
    own: list[warnings.WarningMessage] = []
    others: list[warnings.WarningMessage] = []
    for item in caught:
        (own if _is_ours(item.category) else others).append(item)
    for item in others:
        warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
    return replace(section, messages=section.messages + tuple(_summarise(own)))


def _is_ours(category: type[Warning]) -> bool:
    return category.__module__.startswith("causalkit.") or issubclass(category, ConvergenceWarning)


def _summarise(caught: list[warnings.WarningMessage]) -> list[str]:
    """One line per kind of warning: repeated steps raise the same words with other numbers."""
    first: dict[tuple[str, str], str] = {}
    counts: dict[tuple[str, str], int] = {}
    for item in caught:
        text = str(item.message)
        key = (item.category.__name__, re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", "#", text))
        first.setdefault(key, text)
        counts[key] = counts.get(key, 0) + 1
    lines = []
    for (category, _), text in zip(first, first.values(), strict=True):
        count = counts[(category, re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", "#", text))]
        lines.append(f"{category}: {text}" + (f" ({count} times; the numbers are of the first)" if count > 1 else ""))
    return lines
