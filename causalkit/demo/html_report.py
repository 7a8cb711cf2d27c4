"""The report: one HTML file that holds its style and its figures and refers to nothing outside."""

from __future__ import annotations

import base64
import platform
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version

from causalkit import __version__
from causalkit.demo.content import ChapterResult, Section, Table
from causalkit.demo.figures import RenderedFigure
from causalkit.demo.terminal import format_columns

__all__ = ["html_report"]

_PIXELS_PER_INCH = 82
_STYLE = """
:root { color-scheme: light dark; --back: #f5f6f8; --card: #ffffff; --text: #1c2330; --soft: #5b6472;
  --line: #d9dde3; --accent: #0072b2; --tint: #e9f2f9; --note: #fdf3e7; --note-line: #d55e00; }
@media (prefers-color-scheme: dark) { :root { --back: #12161c; --card: #1a2029; --text: #e4e8ee; --soft: #9aa4b2;
  --line: #323b47; --accent: #6db8e8; --tint: #1b2a38; --note: #2d2319; --note-line: #e08a45; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.2rem 4rem; }
h1 { font-size: 1.9rem; margin: 0 0 .3rem; } h2 { font-size: 1.45rem; margin: 2.6rem 0 .3rem; }
h3 { font-size: 1.12rem; margin: 0 0 .5rem; } h4 { font-size: .95rem; margin: 1.3rem 0 .4rem; }
p { margin: .5rem 0; max-width: 48rem; } a { color: var(--accent); } .soft { color: var(--soft); }
nav ol { margin: .4rem 0; padding-left: 1.4rem; columns: 2; column-gap: 2.5rem; }
nav li { break-inside: avoid; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1.3rem 1.5rem;
  margin: 1.1rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .85rem .28rem 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; max-width: 9rem; }
td:first-child { white-space: nowrap; } .number { text-align: right; }
td.number { white-space: nowrap; }
figure { margin: 1.2rem 0 .4rem; } img { max-width: 100%; height: auto; display: block; }
figcaption, .note { color: var(--soft); font-size: .86rem; margin: .4rem 0; max-width: 48rem; }
.reading { background: var(--tint); border-left: 3px solid var(--accent); padding: .55rem .9rem; margin-top: 1.1rem; }
.said { background: var(--note); border-left: 3px solid var(--note-line); padding: .55rem .9rem; margin-top: .8rem;
  font-size: .88rem; }
.reading ul, .said ul { margin: .2rem 0; padding-left: 1.1rem; } .reading li, .said li { margin: .2rem 0; }
@media (max-width: 40rem) { nav ol { columns: 1; } section { padding: 1rem; } }
@media print { section { break-inside: avoid; } }
"""


def html_report(results: Sequence[ChapterResult], figures: Mapping[str, RenderedFigure], seconds: float) -> str:
    """Put the whole report together.

    Parameters
    ----------
    results : sequence of ChapterResult
        Chapters in order.
    figures : mapping of str to RenderedFigure
        By the name of the figure.
    seconds : float
        Time that the demo took, for the foot of the page.

    Returns
    -------
    str
        A complete HTML document.
    """
    body = "".join(_chapter(result, figures) for result in results)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>causalkit: demo report</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        "<h1>causalkit: demo report</h1>\n"
        '<p class="soft">Every number and every sentence in a blue box was computed in this run. Sentences in an '
        "orange box are the library’s own warnings.</p>\n"
        f"{_contents(results)}{body}{_foot(seconds)}</main>\n</body>\n</html>\n"
    )


def _anchor(result: ChapterResult, number: int) -> str:
    return f"{result.chapter.name}-{number}"


def _contents(results: Sequence[ChapterResult]) -> str:
    parts = ["<nav>"]
    for result in results:
        links = "".join(
            f'<li><a href="#{_anchor(result, number)}">{escape(section.title)}</a></li>'
            for number, section in enumerate(result.sections, start=1)
        )
        parts.append(f"<p><b>{escape(result.chapter.title)}</b></p><ol>{links}</ol>")
    return "".join([*parts, "</nav>\n"])


def _chapter(result: ChapterResult, figures: Mapping[str, RenderedFigure]) -> str:
    chapter = result.chapter
    sections = "".join(
        _section(section, number, _anchor(result, number), figures)
        for number, section in enumerate(result.sections, start=1)
    )
    return (
        f'<h2 id="{chapter.name}">{escape(chapter.title)}</h2>\n<p><i>{escape(chapter.question)}</i></p>\n'
        f'<p class="soft">{escape(result.data_note)}</p>\n{sections}'
    )


def _section(section: Section, number: int, anchor: str, figures: Mapping[str, RenderedFigure]) -> str:
    parts = [f'<section id="{anchor}">\n<h3>{number}. {escape(section.title)}</h3>\n<p>{escape(section.text)}</p>\n']
    parts.extend(_table(table) for table in section.tables)
    parts.extend(_figure(figures[figure.name]) for figure in section.figures)
    for kind, heading, lines in (
        ("reading", "What the numbers say", section.readings),
        ("said", "What the library said", section.messages),
    ):
        if lines:
            items = "".join(f"<li>{escape(line)}</li>" for line in lines)
            parts.append(f'<div class="{kind}"><b>{heading}</b><ul>{items}</ul></div>\n')
    return "".join([*parts, "</section>\n"])


def _table(table: Table) -> str:
    texts = format_columns(table.frame)
    classes = [' class="number"' if table.frame[name].dtype.kind in "iuf" else "" for name in table.frame.columns]
    head = "".join(f"<th{kind}>{escape(str(name))}</th>" for name, kind in zip(texts.columns, classes, strict=True))
    rows = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, classes, strict=True)) + "</tr>\n"
        for row in texts.to_numpy().tolist()
    )
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<h4>{escape(table.title)}</h4>\n<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>{note}\n"
    )


def _figure(rendered: RenderedFigure) -> str:
    caption = escape(rendered.figure.caption)
    # The same scale for every figure, so that their letters are of one size.
    width = round(_PIXELS_PER_INCH * rendered.figure.size[0])
    light, dark = (f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in (rendered.light, rendered.dark))
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" width="{width}" alt="{caption}"></picture><figcaption>{caption}</figcaption></figure>\n'
    )


def _foot(seconds: float) -> str:
    names = ("numpy", "scipy", "scikit-learn", "pandas", "statsmodels", "matplotlib")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f'<p class="soft">causalkit {escape(__version__)} · Python {platform.python_version()} · {escape(versions)} · '
        f"{seconds:.0f} s in all · made by <code>python -m causalkit.demo</code></p>\n"
    )
