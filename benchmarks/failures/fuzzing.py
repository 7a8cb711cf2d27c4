"""The property that every call keeps: finite numbers of the right shape, or an error that names the argument."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from benchmarks.failures.hostile import OTHER, ROWS, SAME, as_labelled
from benchmarks.failures.targets import Target
from benchmarks.failures.verdict import Outcome, answer_problem, judge

__all__ = ["Attempt", "answers", "attempts_of", "drawn_attempts", "fitted_of", "run_attempt"]

_CHANGES = SAME | OTHER


@dataclass(frozen=True)
class Attempt:
    """One call with bad input.

    Attributes
    ----------
    stage : {"fit", "new"}
        Whether arguments of ``fit`` or of the method after it are changed.
    changes : tuple of (argument, name of a change)
    rows : str or None
        A change of all row-wise arguments at once, made first.
    """

    stage: str
    changes: tuple[tuple[str, str], ...] = ()
    rows: str | None = None

    def __str__(self) -> str:
        words = [f"{argument} {change}" for argument, change in self.changes]
        return f"{self.stage}: " + ", ".join(([f"all {self.rows}"] if self.rows else []) + words)


def attempts_of(target: Target) -> Iterator[Attempt]:
    """Every single change of every argument."""
    for stage, arguments in (("fit", target.rows | target.optional), ("new", target.new)):
        yield from (Attempt(stage, rows=name) for name in ROWS)
        for argument in arguments:
            yield from (Attempt(stage, ((argument, name),)) for name in _CHANGES)


def drawn_attempts(target: Target) -> st.SearchStrategy[Attempt]:
    """Several changes at a time."""

    def of_stage(stage: str, arguments: dict[str, Any]) -> st.SearchStrategy[Attempt]:
        change = st.tuples(st.sampled_from(sorted(arguments)), st.sampled_from(sorted(_CHANGES)))
        several = st.lists(change, min_size=1, max_size=3, unique_by=lambda pair: pair[0]).map(tuple)
        return st.builds(Attempt, st.just(stage), several, st.none() | st.sampled_from(sorted(ROWS)))

    return of_stage("fit", target.rows | target.optional) | of_stage("new", target.new)


@lru_cache(maxsize=128)
def _fitted(target_name: str, target: Any) -> Any:
    return _fit_in_place(target.value.make(), target.value, target.value.rows)


@dataclass(frozen=True)
class _ByIdentity:
    """Targets hold frames, which have no hash."""

    value: Target

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and other.value is self.value


@lru_cache(maxsize=128)
def _reference(name: str, target: _ByIdentity) -> Any:
    """Answers on untouched input: for new rows, and for the rows of the fit where the method takes them."""
    fitted = _fitted(name, target)
    return _numbers(_ask(fitted, target.value, target.value.new))


def fitted_of(target: Target) -> Any:
    """The estimator fitted on its own data."""
    return _fitted(target.name, _ByIdentity(target))


def answers(fitted: Any, target: Target) -> Any:
    """Its answers for new rows, as an array."""
    return _numbers(_ask(fitted, target, target.new))


def _numbers(answer: Any) -> Any:
    answer = getattr(answer, "estimate", answer)
    return np.asarray(answer.to_numpy() if hasattr(answer, "to_numpy") else answer)


def _ask(fitted: Any, target: Target, new: dict[str, Any]) -> Any:
    """Call the method; its first argument is called differently in the families, and is passed by position."""
    first, *others = new
    accepted = {"graph": target.fixed["graph"]} if "graph" in target.fixed else {}
    return getattr(fitted, target.method)(new[first], **{name: new[name] for name in others}, **accepted)


def _changed(arguments: dict[str, Any], optional: dict[str, Any], attempt: Attempt) -> dict[str, Any]:
    touched = {name for name, _ in attempt.changes}
    given = arguments | {name: value for name, value in optional.items() if name in touched}
    if attempt.rows is not None:
        change = ROWS[attempt.rows]
        given = {name: change(np.asarray(value)) for name, value in given.items()}
    for name, change_name in attempt.changes:
        given[name] = _CHANGES[change_name](as_labelled(given[name]))
    return given


def run_attempt(target: Target, attempt: Attempt, seconds: float = 20.0) -> Outcome:
    """Make the call, and judge what it came to."""
    key = _ByIdentity(target)
    names, same = target.names, attempt.rows is None and all(name in SAME for _, name in attempt.changes)
    if attempt.stage == "new":
        fitted = _fitted(target.name, key)
        given = _changed(target.new, {}, attempt)
        outcome = judge(lambda: _ask(fitted, target, given), names, seconds)
        return _judged(outcome, given, same, target, key)
    given = _changed(target.rows, target.optional, attempt)
    estimator = target.make()
    outcome = judge(lambda: _fit_in_place(estimator, target, given), names, seconds)
    if outcome.kind != "answer":
        left = [name for name in vars(estimator) if name.endswith("_") and not name.startswith("_")]
        if left:
            return Outcome("bad", detail=f"left {left[:3]} after {outcome.detail}")
        return _judged(outcome, given, same, target, key)
    answer = judge(lambda: _ask(estimator, target, target.new), names, seconds)
    touched = {name for name, _ in attempt.changes}
    answer = _judged(answer, target.new, same and not touched & set(target.optional), target, key)
    first = next(iter(given))
    if answer.kind == "bad" or target.method not in ("transform", "predict") or len(target.new) > 1:
        return answer
    own = {first: given[first]}
    return _judged(judge(lambda: _ask(estimator, target, own), names, seconds), own, False, target, key)


def _fit_in_place(estimator: Any, target: Target, given: dict[str, Any]) -> Any:
    first, *others = given
    positional = [given[first]] + ([given["y"]] if "y" in given else [])
    keyword = {name: given[name] for name in others if name != "y"}
    return estimator.fit(*positional, **keyword, **target.fixed)


def _judged(outcome: Outcome, given: dict[str, Any], same: bool, target: Target, key: _ByIdentity) -> Outcome:
    """The verdict on an outcome: an answer must be finite and fit the rows, and the same values have the same one."""
    if outcome.kind == "refused" and same:
        return Outcome("bad", detail=f"refused the same values: {outcome.detail}")
    if outcome.kind != "answer":
        return outcome
    numbers = _numbers(outcome.value)
    by_rows = target.method in ("transform", "predict", "inverse_transform")
    problem = answer_problem(numbers, _rows(next(iter(given.values()))) if by_rows else None)
    if not problem and same and not _equal(numbers, _reference(target.name, key)):
        problem = "another answer for the same values"
    return Outcome("bad", outcome.value, problem) if problem else outcome


def _equal(numbers: Any, expected: Any) -> bool:
    if numbers.shape != expected.shape or numbers.dtype.kind not in "iuf":
        return bool(np.array_equal(numbers, expected))
    scale = float(np.abs(expected).max())
    return bool(np.allclose(numbers, expected, rtol=1e-6, atol=1e-6 * scale))


def _rows(values: Any) -> int | None:
    shape = getattr(values, "shape", None)
    if shape:
        return int(shape[0])
    return len(values) if isinstance(values, list | tuple) else None
