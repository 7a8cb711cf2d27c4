"""Rows on the terminal and in the validation pages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.rows import Row

__all__ = ["kept_sections", "print_rows", "summary_line", "write_page"]

_HEAD = ("id", "what", "measured", "bar", "ok")
_WIDTHS = (8, 62, 15, 34)
_HEADER = ("| id | what | measured | bar | ok | note |", "|---|---|---|---|---|---|")
# Bars inside a cell are escaped.
_CELLS = re.compile(r"(?<!\\)\|")


def print_rows(rows: Iterable[Row]) -> list[Row]:
    """Print each row as soon as it is measured; returns all of them."""
    print("  ".join(name.ljust(width) for name, width in zip(_HEAD, (*_WIDTHS, 0), strict=True)))
    done = []
    for row in rows:
        cells = (row.id, row.what, row.shown(), row.bar)
        text = "  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
        print(f"{text}  {row.status}" + (f"   ({row.note})" if row.note else ""), flush=True)
        done.append(row)
    return done


def summary_line(rows: list[Row]) -> str:
    """Counts, and the identifiers of rows that fall short."""
    return _counted(_lines(rows))


def _lines(rows: list[Row]) -> list[str]:
    lines = []
    for row in rows:
        status = f"**{row.status}**" if row.status in ("SHORT", "deviation") else row.status
        cells = (row.id, row.what, row.shown(), row.bar, status, row.note)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _status(line: str) -> str:
    return _CELLS.split(line)[5].strip("* ")


def _counted(lines: list[str]) -> str:
    count = Counter(_status(line) for line in lines)
    text = (
        f"{len(lines)} numbers: {count['ok']} ok, {count['SHORT']} short, {count['skipped']} skipped, "
        f"{count['deviation']} deviations."
    )
    failed = [_CELLS.split(line)[1].strip() for line in lines if _status(line) == "SHORT"]
    return text + (f" Short: {', '.join(failed)}." if failed else "")


def kept_sections(path: Path) -> dict[str, list[str]]:
    """Lines of the tables of a page by the letter of their section; nothing where there is no page."""
    found: dict[str, list[str]] = {}
    letter = ""
    for line in path.read_text().splitlines() if path.is_file() else ():
        if line.startswith("## "):
            heading = re.match(r"## ([A-Z])\. ", line)
            letter = heading[1] if heading else ""
        elif letter and line.startswith("| ") and not line.startswith("| id |"):
            found.setdefault(letter, []).append(line)
    return found


def write_page(
    path: Path,
    title: str,
    intro: str,
    facts: Mapping[str, str],
    rows: list[Row],
    titles: Mapping[str, str],
    measured: Sequence[str],
) -> None:
    """Write a validation page: head, rows that fall short, then a table per section in order of its letter.

    Sections that were not measured keep what the page has of them.

    Parameters
    ----------
    path : Path
        Markdown file to write.
    title, intro : str
        Heading and first paragraph.
    facts : mapping of str to str
        Versions, seeds, hardware.
    rows : list of Row
    titles : mapping of str to str
        Title of each section by its letter.
    measured : sequence of str
        Letters of the sections that ``rows`` are of.
    """
    tables = {letter: lines for letter, lines in kept_sections(path).items() if letter not in measured}
    again = f"; sections {''.join(measured)} were measured again after the others" if tables else ""
    tables |= {letter: _lines([row for row in rows if row.section == letter]) for letter in measured}
    every = [line for letter in titles for line in tables.get(letter, [])]
    lines = [f"# {title}", "", intro, ""]
    lines += [f"- {name}: {value}{again if name == 'Duration' else ''}" for name, value in facts.items()]
    lines += ["", _counted(every), ""]
    for status, heading in (("SHORT", "Numbers that fall short"), ("deviation", "Deviations"), ("skipped", "Not run")):
        chosen = [line for line in every if _status(line) == status]
        if chosen:
            lines += [f"## {heading}", "", *_HEADER, *chosen, ""]
    for letter, heading in titles.items():
        if tables.get(letter):
            lines += [f"## {letter}. {heading}", "", *_HEADER, *tables[letter], ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines).rstrip() + "\n")
