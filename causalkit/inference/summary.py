"""What ``summary()`` of an estimator gives: a table, how it was made, and the assumptions that it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FitSummary"]

_MOST_ROWS = 30


@dataclass(frozen=True, eq=False, repr=False)
class FitSummary:
    """Main numbers of a fit with the assumptions that they rest on; shows itself as text and in notebooks.

    Attributes
    ----------
    table : DataFrame
        The numbers: estimates with standard errors, tests and 95 % intervals, or what the estimator documents.
    notes : tuple of str
        How they were made, what an interval is for, and what to look at.
    assumptions : tuple of str
        What the numbers rest on.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards import RewardDeconfounder
    >>> rng = np.random.default_rng(0)
    >>> X, hour = rng.normal(size=(200, 2)), rng.integers(0, 3, 200)
    >>> y = X[:, 0] + hour + rng.normal(size=200)
    >>> fit = RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=hour.astype(str)[:, None])
    >>> summary = fit.summary()
    >>> summary.table.shape, len(summary.assumptions)
    ((2, 6), 6)
    """

    table: pd.DataFrame
    notes: tuple[str, ...]
    assumptions: tuple[str, ...]

    def __repr__(self) -> str:
        lines = [*self.notes, "", self.table.round(5).to_string(), "", "Assumptions"]
        return "\n".join([*lines, *(f"{i}. {text}" for i, text in enumerate(self.assumptions, start=1))])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        listed = "".join(f"<li>{escape(text)}</li>" for text in self.assumptions)
        table = self.table.to_html(float_format=lambda value: f"{value:.5g}", border=0, max_rows=_MOST_ROWS)
        return f"<div>{notes}{table}<details><summary>Assumptions</summary><ol>{listed}</ol></details></div>"
