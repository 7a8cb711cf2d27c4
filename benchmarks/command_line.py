"""Arguments of ``python -m benchmarks`` and its exit status."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.report import print_rows, summary_line, write_page
from benchmarks.rows import Row
from benchmarks.simulation import Tier

__all__ = ["FAMILIES", "main"]

FAMILIES = ("debiasing", "composition", "augmentation", "rewards", "graph", "extrapolation")
_PAGES = Path(__file__).resolve().parent.parent / "docs" / "validation"


# Command: what it is for, and whether it has a module per family.
_COMMANDS = {
    "validation": ("every acceptance number of a family beside its bar", True),
    "peers": ("time and memory against other packages, in one process", True),
    "failures": ("failure tables, hostile input, damaged files, interrupts", True),
    "scale": ("how time and memory grow with the rows", False),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Acceptance tables, peers and growth.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (words, by_family) in _COMMANDS.items():
        command = commands.add_parser(name, help=words, description=words)
        if by_family:
            command.add_argument("family", nargs="?", choices=FAMILIES, help="one family (default: all)")
        command.add_argument("--full", action="store_true", help="all repetitions; writes docs/validation/")
        command.add_argument("--sections", help="letters of the sections to run, such as AD (default: all)")
        command.add_argument("--n-jobs", type=int, default=2, help="processes of the simulations (default: 2)")
        command.add_argument("--output", type=Path, default=_PAGES, help="folder of the pages that --full writes")
    return parser


def _modules(options: argparse.Namespace) -> list[str]:
    if not _COMMANDS[options.command][1]:
        return [f"benchmarks.{options.command}"]
    return [f"benchmarks.{options.command}.{family}" for family in ((options.family,) if options.family else FAMILIES)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the status is 1 if any number falls short, else 0."""
    options = _parser().parse_args(arguments)
    tier = Tier(full=options.full, n_jobs=options.n_jobs)
    if options.command == "failures":
        return _failures(options, tier)
    status = 0
    for name in _modules(options):
        module = import_module(name)
        sections = [letter for letter in module.TITLES if not options.sections or letter in options.sections.upper()]
        print(f"{module.HEADING} ({'full' if options.full else 'short'} tier)\n")
        started = time.perf_counter()
        rows = print_rows(module.rows(tier, sections))
        minutes = (time.perf_counter() - started) / 60
        print(f"\n{summary_line(rows)} {minutes:.1f} minutes.")
        if options.full:
            _write(options.output / module.PAGE, module, rows, sections, minutes)
        status = max(status, int(any(row.failed for row in rows)))
    return status


def _failures(options: argparse.Namespace, tier: Tier) -> int:
    """The failure book: one page for all families."""
    from benchmarks.failures import book

    sections = [letter for letter in book.TITLES if not options.sections or letter in options.sections.upper()]
    print(f"{book.HEADING} ({'full' if options.full else 'short'} tier)\n")
    started = time.perf_counter()
    rows = print_rows(book.rows(tier, sections, options.family))
    minutes = (time.perf_counter() - started) / 60
    print(f"\n{summary_line(rows)} {minutes:.1f} minutes.")
    if options.full and options.family is None:
        _write(options.output / book.PAGE, book, rows, sections, minutes)
    return int(any(row.failed for row in rows))


def _write(path: Path, module: object, rows: list[Row], sections: list[str], minutes: float) -> None:
    facts = describe(getattr(module, "PACKAGES", ()))
    facts["Seeds"] = getattr(module, "SEEDS", "none")
    facts["Duration"] = f"{minutes:.1f} minutes"
    titles = getattr(module, "TITLES", {})
    write_page(path, getattr(module, "HEADING", ""), getattr(module, "INTRO", ""), facts, rows, titles, sections)
    print(f"Written: {path}")
