"""Section 1: correlations of percentages against partial correlations of log-ratios."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from causalkit.composition import CompositionalPartialCorrelation, proportionality
from causalkit.demo.composition.data import Whole
from causalkit.demo.content import Figure, Section, Table
from causalkit.demo.terminal import format_number
from causalkit.plotting import PartialCorrelationDisplay

__all__ = ["section"]

_SHOWN = 10


def section(whole: Whole) -> Section:
    """Both correlations of every pair, the network, the matrix and the biplot."""
    fitted = CompositionalPartialCorrelation(shrinkage=None).fit(whole.parts)
    table = _pairs(whole, fitted)
    return Section(
        title="Percentages and log-ratios",
        text=(
            "Percentages add up to 100, so if one rises the others fall: their correlations are biased towards "
            "negative values. A partial correlation of log-ratios asks instead whether two parts vary together when "
            "all other ratios are held fixed; it does not depend on units, on the total, or on which part serves as "
            "the reference. It is a description: it does not say that one part causes the other."
        ),
        tables=(
            Table(
                f"Pairs with the largest partial correlations ({whole.name})",
                table.head(_SHOWN),
                "p and q refer to the zero null: no partial correlation. lower and upper: 95 % interval by Fisher's z.",
            ),
        ),
        figures=tuple(_figures(fitted, whole)),
        readings=tuple(_readings(table, fitted)),
    )


def _pairs(whole: Whole, fitted: Any) -> pd.DataFrame:
    frame = fitted.to_frame()
    raw, ratio = whole.parts.corr(), proportionality(whole.parts, kind="rho_p")
    position = {name: j for j, name in enumerate(whole.parts.columns)}
    first, second = frame["part_a"], frame["part_b"]
    return pd.DataFrame(
        {
            "pair": first + " – " + second,
            "of percentages": [raw.loc[a, b] for a, b in zip(first, second, strict=True)],
            "proportionality": [ratio[position[a], position[b]] for a, b in zip(first, second, strict=True)],
            "partial": frame["partial_correlation"],
            "lower": frame["lower"],
            "upper": frame["upper"],
            "p": frame["pvalue"],
            "q": frame["qvalue"],
        }
    )


def _figures(fitted: Any, whole: Whole) -> Iterator[Figure]:
    kinds = (
        ("network", "Pairs with q of at most 5 %. A line is a conditional association, not a cause.", (6.4, 5.6)),
        ("matrix", "All partial correlations, in the order of a clustering; dots mark q of at most 5 %.", (6.4, 5.4)),
        (
            "biplot",
            "Biplot of the log-ratios: the distance between two heads is roughly the spread of their ratio. It shows "
            "ratios of two parts, not partial correlations.",
            (6.6, 5.6),
        ),
    )
    for kind, caption, size in kinds:

        def draw(canvas: Any, kind: str = kind) -> None:
            rows = whole.parts if kind == "biplot" else None
            PartialCorrelationDisplay.from_estimator(fitted, kind, X=rows, ax=canvas.subplots())

        yield Figure(f"composition-{kind}", caption, draw, size)


def _readings(table: pd.DataFrame, fitted: Any) -> Iterator[str]:
    edges = table[table["q"] <= 0.05]
    turned = table[np.sign(table["of percentages"]) != np.sign(table["partial"])]
    yield f"{len(edges)} of {len(table)} pairs have q of at most 5 % (zero null, {fitted.dof_:.0f} degrees of freedom)."
    if len(turned):
        pair = turned.iloc[0]
        yield (
            f"{len(turned)} pairs have another sign than the correlation of their percentages. The largest: "
            f"{pair['pair']}, {format_number(float(pair['of percentages']), 2)} for percentages and "
            f"{format_number(float(pair['partial']), 2)} for log-ratios."
        )
