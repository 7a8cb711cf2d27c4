"""What wheel and sdist must hold and must not; paths and bytes only, nothing is installed here."""

from __future__ import annotations

import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

__all__ = ["different_entries", "sdist_problems", "wheel_problems"]

DATA = "causalkit/datasets/data/"
OF_THE_SDIST = ("pyproject.toml", "README.md", "LICENSE", "Makefile", "constraints.txt", "CHANGELOG.md", "PKG-INFO")
FOLDERS_OF_THE_SDIST = ("causalkit", "datasets", "tests", "tutorials", "docs", "benchmarks", "tools")
NEVER = {"__pycache__", ".git", ".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "demo_output"}
# Folders that the documentation and Python write beside the sources.
BUILT = {"__pycache__", "_build", "gallery", "generated"}


def _entries(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def _left_behind(names: list[str]) -> list[str]:
    return [name for name in names if NEVER & set(PurePosixPath(name).parts) or name.endswith((".pyc", ".pyo"))]


def _files(folder: Path, pattern: str) -> set[str]:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob(pattern) if path.is_file()}
    return {name for name in found if not BUILT & set(PurePosixPath(name).parts)}


def wheel_problems(wheel: Path, root: Path, extras: set[str]) -> list[str]:
    """Lines about what a wheel lacks or should not hold; none if it is right.

    Parameters
    ----------
    wheel : Path
        The file.
    root : Path
        The checkout that it was built from.
    extras : set of str
        The extras that ``pyproject.toml`` has.
    """
    entries = _entries(wheel)
    problems = [f"not part of an installation: {name}" for name in _left_behind(list(entries))]
    info = next((name.partition("/")[0] for name in entries if name.endswith(".dist-info/METADATA")), "")
    outside = [name for name in entries if name.partition("/")[0] not in {"causalkit", info}]
    problems += [f"outside of causalkit/: {name}" for name in outside]
    problems += [f"a test: {name}" for name in entries if PurePosixPath(name).name.startswith(("test_", "conftest"))]
    modules = {f"causalkit/{name}" for name in _files(root / "causalkit", "*.py")}
    problems += [f"missing: {name}" for name in sorted(modules - entries.keys())]
    wanted = {DATA + name: (root / "datasets" / name).read_bytes() for name in _files(root / "datasets", "*")}
    problems += [f"data file missing or changed: {name}" for name in wanted if entries.get(name) != wanted[name]]
    more = [name for name in entries if name.startswith(DATA) and name not in wanted]
    problems += [f"data file that is not in datasets/: {name}" for name in more]
    if not any(name.startswith(f"{info}/licenses/") and name.endswith("/LICENSE") for name in entries):
        problems.append("no LICENSE beside the metadata")
    declared = set(Parser().parsestr(entries.get(f"{info}/METADATA", b"").decode()).get_all("Provides-Extra") or [])
    if declared != extras:
        problems.append(f"extras in the metadata differ from pyproject.toml: {sorted(declared ^ extras)}")
    return problems


def sdist_problems(sdist: Path, root: Path) -> list[str]:
    """Lines about what an sdist lacks or should not hold; none if it is right."""
    with tarfile.open(sdist) as archive:
        names = [member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()]
    problems = [f"not part of a release: {name}" for name in _left_behind(names)]
    problems += [f"missing: {name}" for name in OF_THE_SDIST if name not in names]
    for folder in FOLDERS_OF_THE_SDIST:
        wanted = {f"{folder}/{name}" for name in _files(root / folder, "*.py")}
        problems += [f"missing: {name}" for name in sorted(wanted - set(names))]
        if not any(name.startswith(f"{folder}/") for name in names):
            problems.append(f"nothing of {folder}/")
    return problems


def different_entries(first: Path, second: Path) -> list[str]:
    """Names in one of two wheels only, or with other bytes."""
    one, two = _entries(first), _entries(second)
    return sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
