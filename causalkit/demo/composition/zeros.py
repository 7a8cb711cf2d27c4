"""Section 5: a count table with zeros under four rules, and a confounder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causalkit.composition import CompositionalPartialCorrelation, ZeroReplacement
from causalkit.demo.composition.data import CountTable
from causalkit.demo.content import Figure, Section, Table
from causalkit.plotting import PartialCorrelationDisplay

__all__ = ["section"]

_RULES = {
    "gbm": "geometric Bayesian prior",
    "sq": "square-root prior",
    "czm": "fixed fraction of the limit",
    "lrsvd": "low-rank fit",
}
_LEVEL = 0.01


def section(table: CountTable) -> Section:
    """Networks under each rule, what they share, and what the confounder explains."""
    fits = {
        rule: CompositionalPartialCorrelation(shrinkage="basis", zero_replacement=rule).fit(table.counts)
        for rule in _RULES
    }
    adjusted = CompositionalPartialCorrelation(shrinkage="basis", zero_replacement="gbm").fit(
        table.counts, confounders=table.confounder.to_frame()
    )
    rows = [_row(rule, fit, table) for rule, fit in fits.items()]
    rows.append(_row("gbm", adjusted, table) | {"rule": f"gbm, {table.confounder.name} removed"})
    near = {name: _pairs(fit.pvalues_ <= _LEVEL) for name, fit in [*fits.items(), ("adjusted", adjusted)]}

    def draw(canvas: Any) -> None:
        PartialCorrelationDisplay.from_estimator(fits["gbm"], "matrix", ax=canvas.subplots())

    return Section(
        title="A count table with zeros",
        text=(
            "A logarithm needs a value in every cell, so a rule must say what a count of zero stands for. What is "
            "found should not hang on the rule: fit under several, and keep what they agree on. A variable that moves "
            "many parts at once goes into confounders=."
        ),
        tables=(
            Table(
                f"One table, {len(rows)} fits ({table.name}; basis shrinkage, closure null)",
                pd.DataFrame(rows),
                "capped: imputed cells that came out above the smallest observed share of their part and were lowered; "
                f"p ≤ {_LEVEL:g} is not adjusted for the number of pairs, q is.",
            ),
        ),
        figures=(
            Figure(
                "composition-counts",
                f"Partial correlations of {table.name} under the gbm rule, in the order of a clustering. Blocks may "
                "come from a shared cause, from the zeros, or from the parts left out.",
                draw,
                (6.6, 5.6),
            ),
        ),
        readings=tuple(_readings(near, table)),
    )


def _row(rule: str, fit: Any, table: CountTable) -> dict[str, Any]:
    shares = ZeroReplacement(method=rule).fit_transform(table.counts)
    zero = (table.counts == 0).to_numpy()
    learned = fit.zero_replacement_
    row = {
        "rule": f"{rule}: {_RULES[rule]}",
        "imputed share of a row, %": 100 * float(np.median(np.where(zero, shares, 0).sum(axis=1))),
        "capped cells": _capped(shares, zero, learned) if rule != "lrsvd" else "–",
        "λ": float(fit.shrinkage_),
        f"pairs with p ≤ {_LEVEL:g}": len(_pairs(fit.pvalues_ <= _LEVEL)),
        "pairs with q ≤ 0.05": len(_pairs(fit.qvalues_ <= 0.05)),
    }
    if table.truth is not None:
        row["of them related in truth"] = len(_pairs((fit.qvalues_ <= 0.05) & table.truth))
    return row


def _capped(shares: NDArray[np.float64], zero: NDArray[np.bool_], learned: Any) -> str:
    """Cells that the count rules set to ``fraction`` times the smallest observed share of their part."""
    limit = np.broadcast_to(learned.fraction * learned.column_minimum_, shares.shape)
    return f"{int((zero & np.isclose(shares, limit, rtol=1e-9)).sum())} of {int(zero.sum())}"


def _pairs(mask: NDArray[np.bool_]) -> set[tuple[int, int]]:
    first, second = np.nonzero(np.triu(mask, 1))
    return set(zip(first.tolist(), second.tolist(), strict=True))


def _readings(near: dict[str, set[tuple[int, int]]], table: CountTable) -> Iterator[str]:
    n_parts = table.counts.shape[1]
    by_rule = [near[rule] for rule in _RULES]
    shared, either = set.intersection(*by_rule), set.union(*by_rule)
    yield (
        f"Of {len(either)} pairs with p ≤ {_LEVEL:g} under some rule, {len(shared)} have it under all {len(_RULES)}; "
        f"by chance alone about {_LEVEL * n_parts * (n_parts - 1) / 2:.0f} pairs would have it under each."
    )
    gone = near["gbm"] - near["adjusted"]
    yield (
        f"With {table.confounder.name} removed, {len(gone)} of {len(near['gbm'])} pairs with p ≤ {_LEVEL:g} under gbm "
        f"no longer have it, and {len(near['adjusted'] - near['gbm'])} others do."
    )
    if table.truth is not None:
        true = _pairs(table.truth)
        yield (
            f"Truth is known here: {len(shared & true)} of the {len(shared)} shared pairs are related, and so are "
            f"{len(near['adjusted'] & true)} of the {len(near['adjusted'])} after adjustment."
        )
