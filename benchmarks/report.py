"""Rows on the terminal and in the validation pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.rows import Row

__all__ = ["print_rows", "summary_line", "write_page"]

_HEAD = ("id", "what", "measured", "bar", "ok")
_WIDTHS = (8, 62, 15, 34)


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
    count = {status: sum(row.status == status for row in rows) for status in ("ok", "SHORT", "skipped", "deviation")}
    text = (
        f"{len(rows)} numbers: {count['ok']} ok, {count['SHORT']} short, {count['skipped']} skipped, "
        f"{count['deviation']} deviations."
    )
    failed = [row.id for row in rows if row.failed]
    return text + (f" Short: {', '.join(failed)}." if failed else "")


def _table(rows: list[Row]) -> list[str]:
    lines = ["| id | what | measured | bar | ok | note |", "|---|---|---|---|---|---|"]
    for row in rows:
        status = f"**{row.status}**" if row.status in ("SHORT", "deviation") else row.status
        cells = (row.id, row.what, row.shown(), row.bar, status, row.note)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def write_page(
    path: Path, title: str, intro: str, facts: Mapping[str, str], rows: list[Row], titles: Mapping[str, str]
) -> None:
    """Write a validation page: head, rows that fall short, then a table per section in order of its letter.

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
    """
    lines = [f"# {title}", "", intro, ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", summary_line(rows), ""]
    for status, heading in (("SHORT", "Numbers that fall short"), ("deviation", "Deviations"), ("skipped", "Not run")):
        chosen = [row for row in rows if row.status == status]
        if chosen:
            lines += [f"## {heading}", "", *_table(chosen), ""]
    for letter, heading in titles.items():
        chosen = [row for row in rows if row.section == letter]
        if chosen:
            lines += [f"## {letter}. {heading}", "", *_table(chosen), ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines).rstrip() + "\n")
