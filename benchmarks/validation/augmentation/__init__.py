"""Acceptance table of :mod:`causalkit.augmentation`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.rows import Row
from benchmarks.simulation import Tier
from benchmarks.validation.augmentation import (
    designs,
    digits,
    exact,
    identities,
    intervals,
    nonlinear,
    optical,
    selection,
)

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "rows"]

HEADING = "Augmentation: acceptance table"
PAGE = "augmentation.md"
PACKAGES = ("torch", "ivmodels", "linearmodels")
INTRO = (
    "Every number that `causalkit.augmentation` has to meet. nCER is the normalised causal excess risk, 0 at the true "
    "effect and .5 for no effect at all; the norm is named in each row, because the same fit can be better in one and "
    "worse in the other. ERM is least squares on the rows as they are, DA+ERM on augmented rows (α = ∞). Listed means "
    "of simulations are compared at three standard errors of both runs. The files of the optical device are not "
    'shipped (see "Not run" where they were absent).'
)
SEEDS = (
    "repetition r of a cell uses numpy's default_rng([seed of the cell, r]); coloured digits default_rng(0) to "
    "default_rng(9), the non-linear design default_rng(0); seeds are in the source of each section"
)
TITLES = {
    "A": "Two features, exact rationals",
    "B": "Identities",
    "C": "Seeded samples",
    "D": "Linear design: errors by penalty and α",
    "E": "Linear design: confounding, strength, rows, partial symmetries, violations",
    "F": "Rules that choose α",
    "G": "Coverage and leaks",
    "H": "Coloured digits",
    "I": "A non-linear effect",
    "J": "Optical device",
}

_STEPS: tuple[tuple[str, Callable[[Tier], Iterator[Row]]], ...] = (
    ("A", exact.rational_rows),
    ("B", identities.rows),
    ("C", exact.fixture_rows),
    ("D", designs.default_rows),
    ("E", designs.setting_rows),
    ("F", selection.rows),
    ("G", intervals.rows),
    ("H", digits.rows),
    ("I", nonlinear.rows),
    ("J", optical.rows),
)


def rows(tier: Tier, sections: Sequence[str]) -> Iterator[Row]:
    """Rows of the chosen sections, deterministic ones first."""
    for letter, step in _STEPS:
        if letter in sections:
            yield from step(tier)
