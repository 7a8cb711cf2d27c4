"""Rows of the failure tables: what the user does, the named answer, and the tests that do it.

The calls are those of the test suite: a row lists the tests that make them, and a run of the row is a run of these
tests in which the classes that were raised or warned of are written down and compared with the names of the row.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import pytest

from benchmarks.rows import Row, Status

__all__ = ["FailureRow", "row", "run_rows"]


@dataclass(frozen=True)
class FailureRow:
    """One row of a failure table.

    Attributes
    ----------
    what : str
        What the user does.
    names : tuple of str
        Classes of the errors and warnings that answer it; none where the input is not an error after all.
    tests : tuple of str
        Tests that make the call: ``file::test`` below the family's folder, with ``[name`` for one parameter.
    """

    what: str
    names: tuple[str, ...]
    tests: tuple[str, ...]


def row(what: str, names: str, *tests: str) -> FailureRow:
    """A row; names of classes are separated by spaces."""
    return FailureRow(what, tuple(names.split()), tests)


def _node(family: str, test: str) -> str:
    file, _, rest = test.partition("::")
    return f"tests/{family}/test_{file}.py::test_{rest}"


def _belongs(node: str, prefix: str) -> bool:
    return node == prefix or node.startswith(prefix if "[" in prefix else f"{prefix}[")


class _Observer:
    """Results of tests, and the classes that ``pytest.raises`` and ``pytest.warns`` met in each."""

    def __init__(self, prefixes: Sequence[str]) -> None:
        self.prefixes = prefixes
        self.results: dict[str, str] = {}
        self.met: dict[str, set[str]] = {}
        self._node = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if any(_belongs(item.nodeid, prefix) for prefix in self.prefixes)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.results[report.nodeid] = report.outcome

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        self._node = item.nodeid
        originals = {name: getattr(pytest, name) for name in ("raises", "warns")}
        for name, original in originals.items():
            setattr(pytest, name, self._recorded(original))
        try:
            return (yield)
        finally:
            for name, original in originals.items():
                setattr(pytest, name, original)

    def _recorded(self, original: Any) -> Any:
        def made(expected: Any, *args: Any, **options: Any) -> Any:
            if args:  # called with a function rather than as a context
                return original(expected, *args, **options)
            return _Recorded(original(expected, **options), self.met.setdefault(self._node, set()))

        return made


@dataclass
class _Recorded:
    """A context of ``pytest.raises`` or ``pytest.warns`` that writes down what came."""

    context: Any
    met: set[str] = field(default_factory=set)

    def __enter__(self) -> Any:
        self.inner = self.context.__enter__()
        return self.inner

    def __exit__(self, kind: Any, value: Any, trace: Any) -> Any:
        swallowed = self.context.__exit__(kind, value, trace)
        classes = [] if kind is None else [kind]
        if isinstance(self.inner, list) or hasattr(self.inner, "list"):
            classes += [warning.category for warning in self.inner]
        for found in classes:
            self.met.update(cls.__name__ for cls in found.__mro__)
        return swallowed


def run_rows(letter: str, family: str, table: Sequence[FailureRow]) -> list[Row]:
    """Run the tests of a table in one session, and judge its rows."""
    prefixes = sorted({_node(family, test) for entry in table for test in entry.tests})
    # One file may be named with and without parameters: whole tests are asked for, and rows pick theirs.
    wanted = sorted({prefix.partition("[")[0] for prefix in prefixes})
    observer = _Observer(prefixes)
    before = os.environ.pop("PYTEST_ADDOPTS", None)
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(output):
        options = ["-q", "-n", "0", "-p", "no:cacheprovider", "-o", "addopts=", "--no-header", "--tb=line"]
        code = pytest.main([*options, *wanted], plugins=[observer])
    if before is not None:
        os.environ["PYTEST_ADDOPTS"] = before
    if not observer.results:
        raise RuntimeError(f"the tests of {family} did not run (status {code}):\n{output.getvalue()[-2000:]}")
    return [_judged(f"{letter}{i}", family, entry, observer) for i, entry in enumerate(table, start=1)]


def _judged(id: str, family: str, entry: FailureRow, observer: _Observer) -> Row:
    results: dict[str, str] = {}
    missing = []
    for test in entry.tests:
        prefix = _node(family, test)
        found = {node: result for node, result in observer.results.items() if _belongs(node, prefix)}
        missing += [] if found else [f"no test {test}"]
        results |= found
    met = set().union(*(observer.met.get(node, set()) for node in results)) if results else set()
    passed = sum(result == "passed" for result in results.values())
    failed = [node.rpartition("::")[2] for node, result in results.items() if result == "failed"]
    unmet = [f"{name} did not come" for name in entry.names if name not in met]
    problems = [*missing, *(f"{name} fails" for name in failed), *unmet]
    status: Status = "ok" if passed and not problems else "skipped" if not passed and not problems else "SHORT"
    what = f"{entry.what} → {', '.join(entry.names) or 'no error'}"
    return Row(id, what, float(passed), f"{len(results)} of {len(results)} calls", status, "; ".join(problems[:4]))
