"""Acceptance table of :mod:`causalkit.composition`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.rows import Row
from benchmarks.simulation import Tier
from benchmarks.validation.composition import (
    discoveries,
    glass,
    identities,
    shrinkage,
    single_cells,
    sizes,
    sparse,
    zeros,
)

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "rows"]

HEADING = "Composition: acceptance table"
PAGE = "composition.md"
PACKAGES = ()
INTRO = (
    "Every number that `causalkit.composition` has to meet. The glass cups and the single cells are not shipped "
    '(see "Not run" where they were absent); simulated networks are those of `causalkit.datasets`. r is the partial '
    "correlation, Γ the covariance of centred log-ratios, D the number of parts."
)
SEEDS = (
    "repetition r of a cell uses numpy's default_rng([seed of the cell, r]), in section F "
    "default_rng([6000, n, r]); seeds are in the source of each section"
)
TITLES = {
    "A": "Glass cups, unshrunk",
    "B": "Glass cups, tests",
    "C": "Glass cups, shrinkage",
    "D": "Identities",
    "E": "Size of tests",
    "F": "Errors where the truth comes from single cells",
    "G": "False discoveries and power",
    "H": "Zero replacement",
    "I": "Graphical lasso",
}

# Deterministic numbers come first: they are quick and hold on every machine.
_STEPS: tuple[tuple[str, Callable[[Tier], Iterator[Row]]], ...] = (
    ("A", glass.estimate_rows),
    ("B", glass.test_rows),
    ("C", shrinkage.rows),
    ("D", identities.rows),
    ("H", zeros.rows),
    ("I", sparse.rows),
    ("E", sizes.rows),
    ("F", single_cells.rows),
    ("G", discoveries.rows),
)


def rows(tier: Tier, sections: Sequence[str]) -> Iterator[Row]:
    """Rows of the chosen sections, deterministic ones first."""
    for letter, step in _STEPS:
        if letter in sections:
            yield from step(tier)
