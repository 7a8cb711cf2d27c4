"""Import every public name and run every docstring example of the installed package; one JSON object comes out.

Run by the Python of an environment, outside the checkout: ``python public_api.py CHECKOUT``. An example that needs an
extra which is not installed counts as right when it raises MissingDependencyError and names what is missing.
"""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import json
import pkgutil
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = "causalkit"


@dataclass
class Findings:
    """What was seen; ``needs`` counts by missing extra or package, ``failures`` are lines for a reader."""

    names: int = 0
    docstrings: int = 0
    examples: int = 0
    needs: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def is_installed(distribution: str) -> bool:
    """Whether a distribution is there, by its own record."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def absent_extras(requirements: list[str], installed: Any = is_installed) -> set[str]:
    """Extras of which a requirement is not installed, from lines such as ``torch>=2.3; extra == 'torch'``."""
    absent = set()
    for line in requirements:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if name and extra and name.group() != PACKAGE and not installed(name.group()):
            absent.add(extra.group(1))
    return absent


def missing_need(error: BaseException, absent: set[str]) -> str | None:
    """The absent extra, or else the absent package, that a MissingDependencyError names; None if it names neither."""
    if type(error).__name__ != "MissingDependencyError":
        return None
    text = str(error)
    groups = re.findall(rf"(?:{PACKAGE}|\.)\[([\w, -]+)\]", text)
    named = [extra for group in groups for extra in re.split(r"[, ]+", group)]
    for extra in named:
        if extra in absent:
            return extra
    packages = re.findall(r"pip install (?:--no-deps )?(\w[\w-]*)", text)
    return next((name for name in packages if importlib.util.find_spec(name.replace("-", "_")) is None), None)


class RecordingRunner(doctest.DocTestRunner):
    """Keeps the first example of a docstring that went wrong, with its exception if there was one."""

    first: tuple[doctest.Example, BaseException | None, str] | None = None

    def report_failure(self, out: Any, test: doctest.DocTest, example: doctest.Example, got: str) -> None:
        """Another output than the docstring shows."""
        self.first = self.first or (example, None, f"expected {example.want!r}, got {got!r}")

    def report_unexpected_exception(
        self, out: Any, test: doctest.DocTest, example: doctest.Example, exc_info: Any
    ) -> None:
        """An exception that the docstring does not show."""
        self.first = self.first or (example, exc_info[1], f"{type(exc_info[1]).__name__}: {exc_info[1]}")


def imported_by(example: doctest.Example, error: BaseException | None) -> str | None:
    """The package that an example itself imports and that is not there."""
    if isinstance(error, ModuleNotFoundError) and error.name and re.match(r"(import|from)\s", example.source):
        package = error.name.partition(".")[0]
        return package if package in example.source and package != PACKAGE else None
    return None


def run_docstring(test: doctest.DocTest, absent: set[str], findings: Findings) -> None:
    """Run one docstring's examples and file what came out."""
    runner = RecordingRunner(verbose=False)
    results = runner.run(test, out=lambda text: None)
    findings.docstrings += 1
    findings.examples += results.attempted
    if runner.first is None:
        return
    example, error, words = runner.first
    need = imported_by(example, error) if error else None
    need = need or (missing_need(error, absent) if error else None)
    if need:
        findings.needs[need] += 1
    else:
        where = f"{test.name}, line {(test.lineno or 0) + example.lineno + 1}"
        findings.failures.append(f"{where}: {words[:400]}")


def modules_of(package: ModuleType) -> list[str]:
    """All modules below a package but those that run something when they are imported."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [package.__name__, *sorted(info.name for info in found if not info.name.endswith("__main__"))]


def resolve_names(module: ModuleType, findings: Findings) -> None:
    """Get each name of ``__all__``; a name that needs an extra to be imported is a failure."""
    for name in getattr(module, "__all__", ()):
        findings.names += 1
        try:
            getattr(module, name)
        except (ImportError, AttributeError) as error:
            findings.failures.append(f"{module.__name__}.{name}: {type(error).__name__}: {error}")


def check(package_name: str = PACKAGE) -> Findings:
    """Names and docstrings of a package as it is installed here."""
    findings, finder = Findings(), doctest.DocTestFinder(exclude_empty=True)
    absent = absent_extras(metadata.requires(package_name) or [])
    package = importlib.import_module(package_name)
    for name in modules_of(package):
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            # Inner modules may import their extra at the top: public modules import them on use.
            need = missing_need(error, absent) or (error.name or "").partition(".")[0]
            if not need or need == package_name or importlib.util.find_spec(need.replace("-", "_")):
                findings.failures.append(f"{name}: {type(error).__name__}: {error}")
            else:
                findings.needs[f"{need} (module)"] += 1
            continue
        if hasattr(module, "__path__") or name.count(".") == 1:
            resolve_names(module, findings)
        for test in finder.find(module, name):
            if test.examples:
                run_docstring(test, absent, findings)
    return findings


def main(arguments: list[str]) -> int:
    """Print the findings; stop where the package comes from the checkout and not from the environment."""
    package = importlib.import_module(PACKAGE)
    findings = check()
    if Path(package.__file__ or "").resolve().is_relative_to(Path(arguments[0]).resolve()):
        findings.failures.append(f"{PACKAGE} was imported from the checkout: {package.__file__}")
    sys.stdout.write(json.dumps(vars(findings)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
