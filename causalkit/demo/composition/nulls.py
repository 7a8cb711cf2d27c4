"""Section 2: zero null and closure null."""

from __future__ import annotations

from typing import Any

import pandas as pd

from causalkit.composition import CompositionalPartialCorrelation
from causalkit.demo.composition.data import Whole
from causalkit.demo.content import Figure, Section, Table
from causalkit.demo.terminal import format_number
from causalkit.plotting import PartialCorrelationDisplay

__all__ = ["section"]

_NULLS = ("zero", "closure")


def section(whole: Whole) -> Section:
    """Edges under either null, and the figure that shows why they differ."""
    fits = {null: CompositionalPartialCorrelation(shrinkage=None, null=null).fit(whole.parts) for null in _NULLS}
    frames = {null: fit.to_frame() for null, fit in fits.items()}
    table = pd.DataFrame(
        {
            "pair": frames["zero"]["part_a"] + " – " + frames["zero"]["part_b"],
            "partial": frames["zero"]["partial_correlation"],
            "closure null": frames["zero"]["closure_null"],
            "q, zero null": frames["zero"]["qvalue"],
            "q, closure null": frames["closure"]["qvalue"],
        }
    )
    by_either = table[(table["q, zero null"] <= 0.05) | (table["q, closure null"] <= 0.05)]

    def draw(canvas: Any) -> None:
        PartialCorrelationDisplay.from_estimator(fits["closure"], "null", ax=canvas.subplots())

    def draw_pvalues(canvas: Any) -> None:
        axes = canvas.subplots(1, 2)
        for ax, null in zip(axes, _NULLS, strict=True):
            PartialCorrelationDisplay.from_estimator(fits[null], "pvalues", ax=ax)

    return Section(
        title="Two null hypotheses",
        text=(
            "Amounts that have nothing to do with each other still have positive partial correlations once they are "
            "divided by their sum: the closure null r⁰. “Zero null” asks whether the log-ratios are conditionally "
            "independent; “closure null” asks whether there is more than what dividing independent amounts by their "
            "total makes. A p-value means nothing until one of the two is named."
        ),
        tables=(Table("Pairs with q of at most 5 % under either null", by_either),),
        figures=(
            Figure(
                "composition-null",
                "Partial correlation against its value for closed independent amounts; marked: q of at most 5 % under "
                "the closure null. Being off one line does not mean being off the other.",
                draw,
                (7.0, 5.0),
            ),
            Figure(
                "composition-pvalues",
                "p-values of all pairs under either null. They are dependent, so the histogram is a picture, not a "
                "test.",
                draw_pvalues,
                (9.0, 3.8),
            ),
        ),
        readings=tuple(_readings(table)),
    )


def _readings(table: pd.DataFrame) -> list[str]:
    zero, closure = table["q, zero null"] <= 0.05, table["q, closure null"] <= 0.05
    lines = [
        f"{int(zero.sum())} pairs under the zero null, {int(closure.sum())} under the closure null, "
        f"{int((zero & closure).sum())} under both; r⁰ runs from {table['closure null'].min():.2f} to "
        f"{table['closure null'].max():.2f}."
    ]
    for mask, words in ((zero & ~closure, "the zero null only"), (closure & ~zero, "the closure null only")):
        if mask.any():
            row = table[mask].iloc[0]
            r, null = format_number(float(row["partial"]), 2), format_number(float(row["closure null"]), 2)
            lines.append(f"By {words}: {row['pair']}, r = {r} beside r⁰ = {null}.")
    return lines
