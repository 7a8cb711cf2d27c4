"""Section 3: partial correlations change when parts are left out."""

from __future__ import annotations

import pandas as pd

from causalkit.composition import CompositionalPartialCorrelation
from causalkit.demo.composition.data import Whole
from causalkit.demo.content import Section, Table
from causalkit.demo.terminal import format_number

__all__ = ["section"]


def section(whole: Whole) -> Section:
    """The same pairs in the whole and in a subcomposition."""
    full = CompositionalPartialCorrelation(shrinkage=None).fit(whole.parts)
    kept = list(whole.kept)
    part = CompositionalPartialCorrelation(shrinkage=None).fit(whole.parts[kept])
    frame = part.to_frame()
    table = pd.DataFrame(
        {
            "pair": frame["part_a"] + " – " + frame["part_b"],
            f"partial, {whole.parts.shape[1]} parts": [
                float(full.block([a], [b])[0, 0]) for a, b in zip(frame["part_a"], frame["part_b"], strict=True)
            ],
            f"partial, {len(kept)} parts": frame["partial_correlation"],
            "lower": frame["lower"],
            "upper": frame["upper"],
            "p": frame["pvalue"],
        }
    )
    a, b = whole.pair
    others = [name for name in kept if name not in whole.pair]
    test = full.ci_test(a, b, others)
    whole_r = float(full.block([a], [b])[0, 0])
    return Section(
        title="Parts that are left out",
        text=(
            "“All other parts held fixed” depends on which others were measured. A subcomposition has other partial "
            "correlations, and neither set is wrong: they answer different questions. Ratios of two parts do not "
            "change when parts are dropped; partial correlations do. So name the parts beside every number."
        ),
        tables=(Table(f"Pairs of {', '.join(kept)}, in the whole and on their own", table, "p: zero null."),),
        readings=(
            f"{a} – {b}: {format_number(whole_r, 2)} among all {whole.parts.shape[1]} parts, "
            f"{format_number(test.r, 2)} among {len(kept)}.",
            f"ci_test asks the second question from the first fit: {a} and {b} given {', '.join(others)}, "
            f"t = {format_number(test.statistic, 2)} on {test.dof:.0f} degrees of freedom, p = {test.pvalue:.2g}.",
        ),
    )
