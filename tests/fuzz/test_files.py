"""Saved files: damaged ones are refused or equal, forged ones are refused and run nothing."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from benchmarks.failures.files import Damage, Payload, damaged, drawn_damage, file_problem, forgeries, saved_bytes
from benchmarks.failures.fuzzing import answers, fitted_of
from benchmarks.failures.targets import targets

TARGET = next(target for target in targets() if target.name == "linear")


@pytest.fixture(scope="module")
def content() -> bytes:
    return saved_bytes(fitted_of(TARGET))


def is_equal(found: Any) -> bool:
    expected = answers(fitted_of(TARGET), TARGET)
    return type(found) is type(fitted_of(TARGET)) and np.array_equal(answers(found, TARGET), expected)


def test_damaged_files_are_refused_or_equal(content: bytes) -> None:
    @settings(max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(drawn_damage())
    def holds(damage: Damage) -> None:
        assert file_problem(damaged(content, damage), is_equal) == ""

    holds()


def test_forged_files_run_nothing(content: bytes, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    found = {name: file_problem(data, lambda _: True, mark) for name, data in forgeries(content, str(mark))}
    assert len(found) > 10
    assert not any(found.values()), found


def test_the_payload_would_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(str(tmp_path / "executed"))))
    assert (tmp_path / "executed").exists()


def test_damage_by_hand() -> None:
    assert damaged(b"abcd", Damage("flip", 0.5, b"\x01")) == b"abbd"
    assert damaged(b"abcd", Damage("cut", 0.5, b"x")) == b"ab"
    assert damaged(b"abcd", Damage("grow", 0.5, b"x")) == b"abxcd"
    assert damaged(b"abcd", Damage("overwrite", 0.5, b"x")) == b"abxd"
    assert damaged(b"abcd", Damage("drop", 0.5, b"x")) == b"abd"


def test_another_object_and_a_file_that_ran_are_noticed(content: bytes, tmp_path: Path) -> None:
    assert file_problem(content, lambda found: False) == "another object was read without an error"
    assert file_problem(content, is_equal) == ""
    assert file_problem(b"", is_equal, mark=tmp_path) == "the file was executed"
