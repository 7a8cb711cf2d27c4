"""Estimates beside a known truth: one record, one table, one way to draw them, and words about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from causalkit.plotting._axes import COLOURS, tidy

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Estimate", "amount", "count_covered", "draw_estimates", "estimate_of", "estimates_table", "naive_of", "yes"]


@dataclass(frozen=True)
class Estimate:
    """An estimate of one effect with its standard error and 95 % interval."""

    method: str
    value: float
    se: float
    lower: float
    upper: float

    def covers(self, truth: float) -> bool:
        """Whether the interval holds the truth."""
        return bool(self.lower <= truth <= self.upper)


def estimate_of(method: str, result: Any) -> Estimate:
    """The first effect of a result."""
    interval = result.conf_int().iloc[0]
    return Estimate(
        method,
        float(result.estimate[0]),
        float(result.std_error[0]),
        float(interval["lower"]),
        float(interval["upper"]),
    )


def naive_of(result: Any) -> Estimate:
    """The naive effect that a corrected result carries."""
    return estimate_of("naive: predictions as they are", result.naive)


def estimates_table(estimates: Sequence[Estimate], truth: float) -> pd.DataFrame:
    """One row per estimate, with the truth and whether the interval holds it."""
    import pandas as pd

    return pd.DataFrame(
        {
            "method": [e.method for e in estimates],
            "estimate": [e.value for e in estimates],
            "std. error": [e.se for e in estimates],
            "lower": [e.lower for e in estimates],
            "upper": [e.upper for e in estimates],
            "estimate / truth": [e.value / truth for e in estimates],
            "covers truth": [e.covers(truth) for e in estimates],
        }
    )


def draw_estimates(ax: Any, estimates: Sequence[Estimate], truth: float, title: str, label: str) -> None:
    """Estimates with intervals as rows from the top, the truth as a line."""
    rows = np.arange(len(estimates))[::-1]
    for row, e in zip(rows, estimates, strict=True):
        colour = COLOURS["naive" if e.method.startswith("naive") else "corrected"]
        ax.plot([e.lower, e.upper], [row, row], color=colour, lw=2)
        ax.plot([e.value], [row], "o", color=colour)
    ax.axvline(truth, color=COLOURS["accent"], lw=1.5, label="truth")
    ax.set_yticks(rows, [e.method for e in estimates])
    ax.set_ylim(-0.6, len(estimates) - 0.4)
    ax.set(xlabel=label, title=title)
    ax.legend(frameon=False, fontsize="small")
    tidy(ax)


def amount(value: float) -> str:
    """A number in a sentence: three significant digits, thousands separated."""
    from causalkit.demo.terminal import format_number

    size = abs(value)
    decimals = 3 if size == 0 else int(np.clip(2 - np.floor(np.log10(size)), 0, 4))
    return format_number(value, decimals)


def yes(value: bool) -> str:
    """Yes or no."""
    return "yes" if value else "no"


def count_covered(estimates: Sequence[Estimate], truths: Sequence[float]) -> str:
    """How many of the intervals hold their truth, as "2 of 3"."""
    held = sum(e.covers(truth) for e, truth in zip(estimates, truths, strict=True))
    return f"{held} of {len(estimates)}"
