"""Pytest hooks for a run outside the checkout: tests that need an absent extra are deselected, everything is counted.

What a case of ``tests/contract`` needs is found out by fitting it once: an estimator that raises MissingDependencyError
names its extra, and all tests of that estimator are left out by that reason. ``counts.json`` holds the counts.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from public_api import absent_extras, missing_need
from sklearn.base import clone

DESELECTED: Counter[str] = Counter()


def need_of(case: Any, absent: set[str]) -> str | None:
    """The absent extra without which an estimator cannot be fitted."""
    data = case.make_data()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            clone(case.estimator).fit(data.X, data.y, **data.fit_params)
    except ImportError as error:
        return missing_need(error, absent)
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of estimators that need what is not installed."""
    registry = sys.modules.get("tests.contract.registry")
    absent = absent_extras(metadata.requires("causalkit") or [])
    if registry is None or not absent:
        return
    needs = {case.name: need_of(case, absent) for case in registry.CASES}
    by_adapter = {repr(case.adapter): needs[case.name] for case in registry.CASES}
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        name = getattr(params.get("case"), "name", None)
        need = needs.get(name) if name else by_adapter.get(repr(params.get("estimator")))
        (left_out if need else kept).append(item)
        if need:
            DESELECTED[need] += 1
    items[:] = kept
    if left_out:
        config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write the counts by outcome, the reasons of skips, the failures, and what was deselected."""
    stats = terminalreporter.stats
    outcomes = {key: len(stats.get(key, ())) for key in ("passed", "failed", "error", "skipped", "xfailed", "xpassed")}
    reasons = Counter(str(report.longrepr[2]) for report in stats.get("skipped", ()) if report.longrepr)
    failures = [report.nodeid for key in ("failed", "error") for report in stats.get(key, ())]
    found = {"outcomes": outcomes, "skips": reasons, "failures": failures, "deselected": DESELECTED}
    Path(str(config.rootpath), "counts.json").write_text(json.dumps(found))
