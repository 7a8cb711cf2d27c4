"""The check before a release: what it refuses, how it counts, and that its lists fit the checkout."""

from __future__ import annotations

import doctest
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from causalkit.exceptions import MissingDependencyError
from tools.release_check import project as lists
from tools.release_check import versions
from tools.release_check.archives import different_entries, sdist_problems, wheel_problems
from tools.release_check.command_line import main, parse
from tools.release_check.environments import Environment, Outcome, clean_variables, run, torch_release
from tools.release_check.inside import public_api
from tools.release_check.project import Project
from tools.release_check.report import Report, describe_api, describe_tests
from tools.release_check.steps import STEPS, Check

ROOT = Path(__file__).resolve().parents[1]
INSIDE = ROOT / "tools" / "release_check" / "inside"

# ---------------------------------------------------------------------- archives


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in small: one file in each folder that a release has."""
    root = tmp_path / "checkout"
    for name in ("causalkit", "datasets", "tests", "tutorials", "docs", "benchmarks", "tools"):
        (root / name).mkdir(parents=True)
        (root / name / "one.py").write_text(f"# {name}\n")
    (root / "datasets" / "one.py").rename(root / "datasets" / "table.csv")
    (root / "docs" / "_build").mkdir()
    (root / "docs" / "_build" / "built.py").write_text("")
    return root


WHEEL = {
    "causalkit/one.py": "# causalkit\n",
    "causalkit/datasets/data/table.csv": "# datasets\n",
    "causalkit-1.dist-info/METADATA": "Metadata-Version: 2.4\nName: causalkit\nProvides-Extra: torch\n\nText\n",
    "causalkit-1.dist-info/licenses/LICENSE": "terms",
}


def write_wheel(path: Path, entries: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in entries.items():
            archive.writestr(name, text)
    return path


def test_right_wheel_has_no_problems(checkout: Path, tmp_path: Path) -> None:
    assert wheel_problems(write_wheel(tmp_path / "a.whl", WHEEL), checkout, {"torch"}) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tests/test_one.py": ""}, "outside of causalkit/: tests/test_one.py"),
        ({"causalkit/test_one.py": ""}, "a test: causalkit/test_one.py"),
        ({"causalkit/__pycache__/one.pyc": ""}, "not part of an installation: causalkit/__pycache__/one.pyc"),
        ({"causalkit/one.py": None}, "missing: causalkit/one.py"),
        ({"causalkit/datasets/data/table.csv": None}, "data file missing or changed"),
        ({"causalkit/datasets/data/table.csv": "other"}, "data file missing or changed"),
        ({"causalkit/datasets/data/more.csv": "x"}, "data file that is not in datasets/"),
        ({"causalkit-1.dist-info/licenses/LICENSE": None}, "no LICENSE"),
        ({"causalkit-1.dist-info/METADATA": "Name: causalkit\n"}, "extras in the metadata differ.*torch"),
    ],
)
def test_wrong_wheel_is_described(checkout: Path, tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    entries = {name: text for name, text in (WHEEL | changed).items() if text is not None}
    problems = wheel_problems(write_wheel(tmp_path / "a.whl", entries), checkout, {"torch"})
    assert any(re.search(words, line) for line in problems), problems


def write_sdist(path: Path, root: Path, left_out: str = "", more: str = "") -> Path:
    files = ["pyproject.toml", "README.md", "LICENSE", "Makefile", "constraints.txt", "CHANGELOG.md", "PKG-INFO"]
    kept = (file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file())
    names = [name for name in (*files, *kept, more) if name and name != left_out and "_build" not in name]
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"causalkit-1/{name}"), io.BytesIO())
    return path


@pytest.mark.parametrize(
    ("left_out", "more", "problems"),
    [
        ("", "", []),
        ("Makefile", "", ["missing: Makefile"]),
        ("tests/one.py", "", ["missing: tests/one.py", "nothing of tests/"]),
        ("datasets/table.csv", "", ["nothing of datasets/"]),
        ("", ".venv/bin/python", ["not part of a release: .venv/bin/python"]),
    ],
)
def test_sdist(checkout: Path, tmp_path: Path, left_out: str, more: str, problems: list[str]) -> None:
    assert sdist_problems(write_sdist(tmp_path / "a.tar.gz", checkout, left_out, more), checkout) == problems


def test_two_wheels_differ_in_names_and_bytes(tmp_path: Path) -> None:
    first = write_wheel(tmp_path / "a.whl", {"same": "1", "other": "1", "gone": "1"})
    second = write_wheel(tmp_path / "b.whl", {"same": "1", "other": "2", "new": "1"})
    assert different_entries(first, second) == ["gone", "new", "other"]
    assert different_entries(first, first) == []


# ---------------------------------------------------------------------- names and examples


def run_examples(text: str, absent: set[str]) -> public_api.Findings:
    findings, variables = public_api.Findings(), {"MissingDependencyError": MissingDependencyError}
    public_api.run_docstring(doctest.DocTestParser().get_doctest(text, variables, "one", "one.py", 0), absent, findings)
    return findings


RAISES = ">>> raise MissingDependencyError({!r})\n>>> 1\n2\n"


@pytest.mark.parametrize(
    ("text", "need"),
    [
        (RAISES.format("nets need torch: pip install -e '.[torch]'."), "torch"),
        (RAISES.format('plots need matplotlib: pip install -e ".[plot]".'), "plot"),
        (RAISES.format("graphs need it: pip install no-such-package."), "no-such-package"),
        (">>> import no_such_package\n", "no_such_package"),
    ],
)
def test_example_that_names_what_is_missing_is_right(text: str, need: str) -> None:
    found = run_examples(text, {"torch", "plot"})
    assert found.needs == {need: 1} and not found.failures


@pytest.mark.parametrize(
    "text",
    [
        ">>> 1\n2\n",
        ">>> 1 / 0\n",
        RAISES.format("nets need torch: pip install -e '.[torch]'."),  # it is installed
        RAISES.format("something is missing"),
        ">>> __import__('no_such_package')\n",  # the package's own import, not the reader's
    ],
)
def test_other_failures_of_examples_are_kept(text: str) -> None:
    found = run_examples(text, {"plot"})
    assert len(found.failures) == 1 and found.failures[0].startswith("one, line 1") and not found.needs


def test_extras_are_absent_if_one_requirement_is() -> None:
    lines = ["numpy>=1", "torch>=2; extra == 'torch'", "a>=1; extra == 'graph'", "torch>=2; extra == 'graph'"]
    assert public_api.absent_extras(lines, {"numpy", "torch"}.__contains__) == {"graph"}
    assert public_api.absent_extras(lines, {"a"}.__contains__) == {"torch", "graph"}


def test_public_names_must_resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_module.py").write_text("__all__ = ['there', 'gone']\nthere = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module, findings = __import__("some_module"), public_api.Findings()
    public_api.resolve_names(module, findings)
    assert findings.names == 2
    assert len(findings.failures) == 1 and findings.failures[0].startswith("some_module.gone: AttributeError")


# ---------------------------------------------------------------------- tests outside the checkout

REGISTRY = """
from types import SimpleNamespace
from sklearn.base import BaseEstimator
from causalkit.exceptions import MissingDependencyError
class Plain(BaseEstimator):
    def fit(self, X, y):
        return self
class Net(Plain):
    def fit(self, X, y):
        raise MissingDependencyError("nets need torch: pip install -e '.[torch]'.")
def case(name, estimator):
    return SimpleNamespace(name=name, estimator=estimator, adapter=estimator, make_data=data)
def data():
    return SimpleNamespace(X=[[1.0]], y=[1.0], fit_params={})
CASES = [case("plain", Plain()), case("net", Net())]
"""
TESTS = """
import pytest
from tests.contract.registry import CASES
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case):
    case.estimator.fit([[1.0]], [1.0])
@pytest.mark.parametrize("estimator", [case.adapter for case in CASES])
def test_adapter(estimator):
    estimator.fit([[1.0]], [1.0])
def test_wrong():
    assert False
def test_skipped():
    pytest.skip("a reason")
"""


def test_tests_that_need_an_absent_extra_are_deselected_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "contract"
    folder.mkdir(parents=True)
    for name in (tmp_path / "tests" / "__init__.py", folder / "__init__.py", tmp_path / "pytest.ini"):
        name.write_text("[pytest]\npythonpath = .\n" if name.suffix == ".ini" else "")
    (folder / "registry.py").write_text(REGISTRY)
    (folder / "test_some.py").write_text(TESTS)
    shutil.copy(INSIDE / "conftest.py", tmp_path)
    api = (INSIDE / "public_api.py").read_text()
    (tmp_path / "public_api.py").write_text(f"{api}\n\ndef absent_extras(*arguments):\n    return {{'torch'}}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    variables = {**clean_variables(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == 1, done.stdout
    found = json.loads((tmp_path / "counts.json").read_text())
    assert found["deselected"] == {"torch": 2}
    assert found["outcomes"] == {"passed": 2, "failed": 1, "error": 0, "skipped": 1, "xfailed": 0, "xpassed": 0}
    assert found["failures"] == ["tests/contract/test_some.py::test_wrong"]
    assert list(found["skips"].values()) == [1]


class FakeEnvironment(Environment):
    """Its Python is a shell script: no environment is made."""

    def pip(self, *arguments: str | Path) -> Outcome:
        return Outcome(1, "no matching distribution")


def a_check(tmp_path: Path) -> Check:
    return Check(lists.Project(ROOT), tmp_path, sys.executable, keep=False, quick=False, report=Report())


@pytest.mark.parametrize(
    ("counts", "status", "problem"),
    [
        ({"passed": 3}, 0, None),
        ({"passed": 0}, 5, "no test"),
        ({"passed": 2, "failed": 1}, 1, "failed: one"),
        (None, 2, "usage"),
    ],
)
def test_outcome_of_a_test_run(tmp_path: Path, counts: Any, status: int, problem: str | None) -> None:
    check, found = a_check(tmp_path), ""
    if counts is not None:
        failures = ["one"] * counts.get("failed", 0)
        found = json.dumps({"outcomes": counts, "skips": {}, "failures": failures, "deselected": {}})
    environment = Environment(tmp_path / "env", sys.executable, tmp_path / "log.txt")
    environment.python.parent.mkdir(parents=True)
    write = f"echo '{found}' > counts.json\n" if found else ""
    environment.python.write_text(f"#!/bin/sh\necho 'no test or usage'\n{write}exit {status}\n")
    environment.python.chmod(0o755)
    with check.report.part("core", "contract") as line:
        check.pytest(line, environment, tmp_path, ("tests",))
    assert bool(line.problems) == (problem is not None)
    assert problem is None or problem in line.problems[0]


def test_counts_of_an_earlier_run_are_not_taken_for_this_one(tmp_path: Path) -> None:
    (tmp_path / "counts.json").write_text('{"outcomes": {"passed": 3}, "skips": {}, "failures": [], "deselected": {}}')
    environment = Environment(tmp_path / "env", sys.executable, tmp_path / "log.txt")
    environment.python.parent.mkdir(parents=True)
    environment.python.write_text("#!/bin/sh\nexit 3\n")
    environment.python.chmod(0o755)
    check = a_check(tmp_path)
    with check.report.part("core", "contract") as line:
        check.pytest(line, environment, tmp_path, ("tests",))
    assert line.state == "SHORT" and not line.counts


def test_failed_installation_is_short_and_without_a_wheel_too(tmp_path: Path) -> None:
    check = a_check(tmp_path)
    with check.report.part("core", "install") as line:
        check.install(Environment(tmp_path / "env", sys.executable, tmp_path / "log.txt"), "", False, line)
    assert "run the step build" in line.problems[0]
    check.archives.mkdir()
    (check.archives / "causalkit-1-py3-none-any.whl").write_bytes(b"")
    environment = FakeEnvironment(tmp_path / "env", sys.executable, tmp_path / "log.txt")
    environment.folder.mkdir()
    check.contract("core", environment)
    assert [entry.state for entry in check.report.lines] == ["SHORT", "SHORT"]


# ---------------------------------------------------------------------- environments, lines, arguments


def test_environment_is_reused_for_the_same_key_alone(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env", "/bin/true", tmp_path / "log.txt")
    assert not environment.prepare("one")
    environment.folder.mkdir()
    environment.finish("one")
    assert environment.prepare("one")
    assert not environment.prepare("two")
    assert not environment.folder.exists()


def test_commands_do_not_see_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code = "import os, sys; print(os.getenv('PYTHONPATH'), os.getcwd(), os.getenv('OMP_NUM_THREADS'))"
    done = run([sys.executable, "-c", code], tmp_path, tmp_path / "logs" / "log.txt")
    assert done.output.split() == ["None", str(tmp_path), "1"]
    assert done.output in (tmp_path / "logs" / "log.txt").read_text()
    stopped = run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, tmp_path / "log.txt", timeout=0.5)
    assert stopped.status == 124 and "stopped" in stopped.tail()


def test_torch_is_pinned() -> None:
    assert torch_release("torch-geometric==2.8.1\ntorch==2.13.0\n") == "2.13.0"
    assert re.fullmatch(r"[\d.]+", torch_release((ROOT / "constraints.txt").read_text()))
    with pytest.raises(ValueError, match="no line torch==VERSION"):
        torch_release("numpy==2\n")


def test_a_line_with_a_problem_is_short_unless_it_is_only_reported(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    with report.part("core", "install") as line:
        line.counts = "12 packages"
    with report.part("prerelease", "contract", only_reported=True) as line:
        line.problems += ["failed: one"]
    assert not report.is_short
    with report.part("oldest", "install"):
        raise RuntimeError("bounds cannot be met")
    assert report.is_short and [line.state for line in report.lines] == ["ok", "reported", "SHORT"]
    printed = capsys.readouterr().out
    assert "12 packages" in printed and "failed: one" in printed and "bounds cannot be met" in printed


def test_counts_as_words() -> None:
    tests = describe_tests({"passed": 5, "failed": 0, "xfailed": 2}, {"torch": 4})
    assert tests == "5 passed, 2 failed as expected; deselected: 4 need torch"
    api = describe_api({"names": 1, "docstrings": 2, "examples": 3, "needs": {"plot": 1}})
    assert api == "1 names, 2 docstrings, 3 examples; said what they need: 1 need plot"


def test_steps_run_in_their_order_and_unknown_ones_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["--steps", "oldest,build"]).steps == ["build", "oldest"]
    assert parse([]).steps == list(STEPS)
    with pytest.raises(SystemExit):
        parse(["--steps", "build,nonsense"])
    assert "nonsense" in capsys.readouterr().err


def test_folder_in_the_checkout_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--folder", str(ROOT / "build"), "--steps", "build"]) == 2
    assert "outside the checkout" in capsys.readouterr().out


# ---------------------------------------------------------------------- lists against the checkout


def test_the_copied_contract_tests_import_nothing_that_stays_behind(tmp_path: Path) -> None:
    Project(ROOT).copy_contract(tmp_path / "outside")
    files = sorted((tmp_path / "outside" / "tests").rglob("*.py"))
    imported = {name for file in files for name in re.findall(r"^from (tests[.\w]*) import", file.read_text(), re.M)}
    assert imported
    for name in imported:
        path = (tmp_path / "outside").joinpath(*name.split("."))
        assert path.is_dir() or path.with_suffix(".py").exists(), name


def test_lists_fit_the_checkout() -> None:
    project = lists.Project(ROOT)
    assert set(lists.EXTRAS) == set(project.extras) - {"test", "docs", "bench", "release"}
    assert set(lists.OLDEST_EXTRAS) <= set(lists.EXTRAS) and set(lists.EXTRAS) >= lists.WITH_TORCH
    assert len(project.test_tools()) == len(lists.TEST_TOOLS)
    assert project.settings["project"]["requires-python"] == f">={versions.PYTHON}"
    for paths in lists.LEFT_OUT.values():
        assert all((ROOT / path).exists() for path in paths)


def test_every_golden_script_is_in_its_target() -> None:
    golden = ROOT / "tests" / "golden"
    scripts = [path.relative_to(golden) for path in golden.rglob("*.py") if "__main__" in path.read_text()]
    listed = re.search(r"^GOLDEN := ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert listed is not None
    names = listed.group(1).replace("\\", "").split()
    assert sorted(names) == sorted(".".join(path.with_suffix("").parts) for path in scripts)
