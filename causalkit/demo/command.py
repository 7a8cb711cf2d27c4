"""The command line of the demo."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TextIO

from causalkit.demo.content import ChapterResult, Settings
from causalkit.demo.figures import RenderedFigure, check_matplotlib, render
from causalkit.demo.terminal import Terminal
from causalkit.exceptions import MissingDependencyError

__all__ = ["main"]

REPORT = "report.html"


def main(arguments: Sequence[str] | None = None, *, stream: TextIO | None = None) -> int:
    """Run the demo.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line without the program's name; default that of the process.
    stream : text stream, optional
        Where progress and tables go; default standard output.

    Returns
    -------
    int
        0, or 1 with a message on standard error: output that cannot be written, a named map that is not
        there or not a map, or matplotlib missing.
    """
    chosen = _parser().parse_args(arguments)
    terminal = Terminal(sys.stdout if stream is None else stream)
    try:
        check_matplotlib()
        output = _writable(chosen.output)
        # Chapters are imported here, so that the help and the two checks above answer at once.
        from causalkit.demo.chapters import CHAPTERS
        from causalkit.demo.runner import run_chapter

        settings = Settings(chosen.income_map, chosen.repetitions, chosen.seed)
        results = [run_chapter(chapter, settings, terminal) for chapter in CHAPTERS]
        _write(results, output, terminal)
    except (OSError, MissingDependencyError) as error:
        sys.stderr.write(f"causalkit.demo: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m causalkit.demo",
        description="Run every family's main analysis; tables here, figures and one HTML report in the output folder.",
    )
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder of the results (%(default)s)")
    parser.add_argument(
        "--income-map",
        type=Path,
        help="CSV file of the income map (see causalkit.datasets.load_income_map); default: the file named by the "
        "variable CAUSALKIT_INCOME_MAP; without either, the bundled diabetes data are used",
    )
    parser.add_argument(
        "--repetitions", type=_positive, default=Settings.repetitions, help="of simulated comparisons (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=_natural, default=Settings.random_state, help="of everything that is drawn (%(default)s)"
    )
    return parser


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more; got {value}")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"expected at least 2; got {value}")
    return value


def _writable(output: Path) -> Path:
    """Make the folder and try to write in it, before any work is done."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise OSError(
            f"--output {output} cannot be written ({error.strerror or error}): name a folder that you may write in."
        ) from error
    return output


def _write(results: Sequence[ChapterResult], output: Path, terminal: Terminal) -> None:
    """Draw the figures, then write them and the report."""
    from causalkit.demo.html_report import html_report

    wanted = [figure for result in results for section in result.sections for figure in section.figures]
    terminal.progress(f"drawing {len(wanted)} figures")
    figures: dict[str, RenderedFigure] = {figure.name: render(figure) for figure in wanted}
    for name, rendered in figures.items():
        (output / f"{name}.png").write_bytes(rendered.light)
    report = output / REPORT
    report.write_text(html_report(results, figures, terminal.elapsed), encoding="utf-8")
    terminal.progress(f"done: {report}, and {len(figures)} figures beside it")
