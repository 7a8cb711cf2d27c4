"""Section 4: shrinkage, and which of its targets depend on the units of the parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from causalkit.composition import CompositionalPartialCorrelation
from causalkit.demo.composition.data import Whole
from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.plotting import PartialCorrelationDisplay

__all__ = ["section"]

_METHODS: tuple[Any, ...] = (None, "basis", "invariant", "ledoit_wolf", "oas")
_DRAWS = 20


def section(whole: Whole, settings: Settings) -> Section:
    """λ and the largest change of r when the units of the parts change."""
    rng = np.random.default_rng(settings.random_state)
    factors = np.exp(1.5 * rng.standard_normal((_DRAWS, whole.parts.shape[1])))
    values = whole.parts.to_numpy()
    rows = []
    for method in _METHODS:
        fit = CompositionalPartialCorrelation(shrinkage=method).fit(whole.parts)
        untested = CompositionalPartialCorrelation(shrinkage=method, test=None)
        moved = [
            float(np.abs(untested.fit(values * row).partial_correlation_ - fit.partial_correlation_).max())
            for row in factors
        ]
        has_test = method in (None, "basis", "invariant")
        rows.append(
            {
                "shrinkage": "none" if method is None else method,
                "λ": float(fit.shrinkage_),
                "edges, q ≤ 5 %": str(len(fit.to_frame(max_qvalue=0.05))) if has_test else "no test",
                "change of r, median": float(np.median(moved)),
                "change of r, largest": float(np.max(moved)),
            }
        )
    table = pd.DataFrame(rows)
    scree = CompositionalPartialCorrelation(shrinkage=None).fit(whole.parts)

    def draw(canvas: Any) -> None:
        PartialCorrelationDisplay.from_estimator(scree, "scree", ax=canvas.subplots())

    return Section(
        title="Shrinkage and units",
        text=(
            "With few rows the smallest eigenvalues of the log-ratio covariance are noise, and its inverse is made of "
            "them. Shrinkage steadies it; with fewer rows than parts there is no other way. The target decides what "
            f"is gained and lost: here every part gets another unit, {_DRAWS} times at random."
        ),
        tables=(
            Table(
                "Shrinkage intensity, edges, and largest change of a partial correlation under a change of units",
                table,
                "Edges of the first row are under the zero null, those of basis and invariant under the closure null.",
            ),
        ),
        figures=(
            Figure(
                "composition-scree",
                "Eigenvalues of the log-ratio covariance. A long tail of small ones calls for shrinkage; it does not "
                "say how many factors there are.",
                draw,
                (6.6, 4.2),
            ),
        ),
        readings=tuple(_readings(table)),
    )


def _readings(table: pd.DataFrame) -> list[str]:
    fixed = table.loc[table["change of r, largest"] < 1e-6, "shrinkage"]
    basis = table[table["shrinkage"] == "basis"].iloc[0]
    median, largest = float(basis["change of r, median"]), float(basis["change of r, largest"])
    return [
        f"Units do not matter for: {', '.join(fixed)}.",
        "basis shrinks towards independent amounts in the units given: a change of units moved some r by "
        f"{median:.2f} in the median draw and {largest:.2f} at most. Where units are arbitrary, use invariant.",
    ]
