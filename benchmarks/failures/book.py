"""Rows of the failure book: tables of the families, hostile input, damaged files, interrupts."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings

from benchmarks.failures.files import damaged, drawn_damage, file_problem, forgeries, saved_bytes
from benchmarks.failures.fuzzing import answers, attempts_of, drawn_attempts, fitted_of, run_attempt
from benchmarks.failures.interrupts import stopped_fit_problem
from benchmarks.failures.register import run_rows
from benchmarks.failures.targets import Target, targets
from benchmarks.rows import Row, near
from benchmarks.simulation import Tier

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "families_of", "rows"]

PAGE = "failures.md"
HEADING = "Failure book"
INTRO = (
    "What the library answers to bad input, damaged files and interrupts. Tables: each row of a family's failure table "
    "with the class of the answer and the calls that are made. Hostile input: each estimator of the library is fitted "
    "and asked with every change of `benchmarks/failures/hostile.py` (types, memory orders, NaN, scales, shapes, "
    "labels), one at a time and several at once; a call must give finite numbers of the right shape, the same numbers "
    "where the values are the same, or an error of the library that names the argument. Files: damaged bytes and "
    "forged members must be refused, or read as the original, and nothing in them may run. Interrupts: a fit that is "
    "stopped leaves no fitted attribute and no process."
)
SEEDS = "derandomised draws"
PACKAGES = ("numpy", "pandas", "polars", "scikit-learn", "hypothesis", "torch")
FAMILIES = ("debiasing", "composition", "augmentation", "rewards", "graph", "extrapolation")
TITLES = {
    **{letter: f"Failure table: {family}" for letter, family in zip("ABCDEF", FAMILIES, strict=True)},
    "G": "Hostile input: calls that ended badly",
    "H": "Saved files: readings that ended badly",
    "I": "Interrupts: fits that ended badly",
}
# One target of each family is saved.
SAVED = ("linear", "network_unshrunk", "iv_like_plain", "reward_fixed_effects", "graph_rlearner_linear", "rep4ex")


def families_of(family: str | None) -> tuple[str, ...]:
    """All families, or the one that is asked for."""
    return FAMILIES if family is None else (family,)


def rows(tier: Tier, sections: list[str], family: str | None = None) -> Iterator[Row]:
    """Rows of the sections, for one family or all."""
    chosen = families_of(family)
    for letter, name in zip("ABCDEF", FAMILIES, strict=True):
        if letter in sections and name in chosen:
            yield from run_rows(letter, name, import_module(f"benchmarks.failures.tables.{name}").TABLE)
    asked = [target for target in targets() if target.family in chosen]
    if "G" in sections:
        for number, target in enumerate(asked, start=1):
            yield _hostile(f"G{number}", target, tier)
    if "H" in sections:
        for number, target in enumerate((t for t in asked if t.name in SAVED), start=1):
            yield from _files(f"H{number}", target, tier)
    if "I" in sections:
        for number, name in enumerate(chosen, start=1):
            yield from _interrupts(f"I{number}", name)


def _hostile(id: str, target: Target, tier: Tier) -> Row:
    attempts = list(attempts_of(target))
    if not tier.full:
        attempts = attempts[::7]
    attempts += _draw(drawn_attempts(target), tier.size(300, 20))
    counts: Counter[str] = Counter()
    bad: dict[str, str] = {}
    for attempt in attempts:
        outcome = run_attempt(target, attempt, seconds=60.0)
        counts[outcome.kind] += 1
        if outcome.kind == "bad":
            bad.setdefault(outcome.detail[:120], str(attempt))
    note = f"{len(attempts)} calls: {counts['answer']} answered, {counts['refused']} refused"
    note += "".join(f"; {attempt}: {detail}" for detail, attempt in list(bad.items())[:3])
    return near(id, f"{target.family}: {target.name}", counts["bad"], 0, 0, note=note)


def _draw(strategy: Any, count: int) -> list[Any]:
    """So many draws, the same ones at every run."""
    drawn: list[Any] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        drawn.append(value)

    collect()
    return drawn


def _files(id: str, target: Target, tier: Tier) -> Iterator[Row]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = fitted_of(target)
        content = saved_bytes(fitted)
        expected = answers(fitted, target)

    def is_equal(found: Any) -> bool:
        return type(found) is type(fitted) and np.array_equal(answers(found, target), expected)

    damages = _draw(drawn_damage(), tier.size(1000, 100))
    problems = [file_problem(damaged(content, damage), is_equal) for damage in damages]
    found = [problem for problem in problems if problem]
    note = f"{len(damages)} damaged files of {len(content)} bytes" + "".join(f"; {text}" for text in found[:2])
    yield near(f"{id}.1", f"{target.family}: damaged file of {target.name}", len(found), 0, 0, note=note)
    with tempfile.TemporaryDirectory() as folder:
        mark = Path(folder) / "executed"
        forged = list(forgeries(content, str(mark)))
        results = [(name, file_problem(data, lambda _: True, mark)) for name, data in forged]
    wrong = [f"{name}: {problem}" for name, problem in results if problem]
    note = f"{len(forged)} forged files" + "".join(f"; {text}" for text in wrong[:2])
    yield near(f"{id}.2", f"{target.family}: forged file of {target.name}", len(wrong), 0, 0, note=note)


def _interrupts(id: str, family: str) -> Iterator[Row]:
    moments = ["0.02", "0.1", "0.3"] + (["kill"] if family in ("rewards", "graph") else [])
    for number, when in enumerate(moments, start=1):
        ended, problem = stopped_fit_problem(family, when)
        what = "a killed worker" if when == "kill" else f"an interrupt after {when} s of computing"
        note = f"ended with {ended}" + (f"; {problem}" if problem else "")
        yield near(f"{id}.{number}", f"{family}: {what}", float(bool(problem)), 0, 0, note=note)
