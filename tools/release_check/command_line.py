"""Arguments of ``python -m tools.release_check``, and its exit status."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tools.release_check.project import Project
from tools.release_check.report import Report
from tools.release_check.steps import STEPS, Check

__all__ = ["main", "parse"]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(tempfile.gettempdir()) / "causalkit-release-check"


def _steps(text: str) -> list[str]:
    named = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in named if name not in STEPS]
    if unknown or not named:
        raise argparse.ArgumentTypeError(f"steps must be among {', '.join(STEPS)}; got {text!r}.")
    return [name for name in STEPS if name in named]


def parse(arguments: list[str]) -> argparse.Namespace:
    """Arguments as a namespace; steps in the order in which they run."""
    parser = argparse.ArgumentParser(prog="python -m tools.release_check", description=__doc__)
    parser.add_argument("--steps", type=_steps, default=list(STEPS), help=f"some of {','.join(STEPS)}; default: all")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where to work; default: {FOLDER}")
    parser.add_argument("--python", default=sys.executable, help="the Python that makes the environments")
    parser.add_argument("--keep", action="store_true", help="keep environments, to be reused by the next run")
    parser.add_argument("--quick", action="store_true", help="no contract tests in the environments of single extras")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the steps; 1 if one of them is short."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    folder, start = options.folder.resolve(), time.perf_counter()
    if folder.is_relative_to(ROOT):
        print(f"--folder must lie outside the checkout {ROOT}; got {folder}. Name another, or leave it out.")
        return 2
    report = Report()
    check = Check(Project(ROOT), folder, options.python, options.keep, options.quick, report)
    for name in options.steps:
        check.step(name)
    if not options.keep:
        check.environment("tools").remove()
    short = [f"{line.step} {line.part}" for line in report.lines if line.state == "SHORT"]
    print(f"{time.perf_counter() - start:.0f} s in all; logs in {folder / 'logs'}")
    print(f"SHORT: {', '.join(short)}" if short else "nothing is short")
    return 1 if report.is_short else 0
