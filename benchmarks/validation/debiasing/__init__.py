"""Acceptance table of :mod:`causalkit.debiasing`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.rows import Row
from benchmarks.simulation import Tier
from benchmarks.validation.debiasing import (
    closed_forms,
    differential,
    exact,
    exclusion,
    gaussian,
    hierarchy,
    income,
    mixture,
    network,
    properties,
)

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "rows"]

HEADING = "Debiasing: acceptance table"
PAGE = "debiasing.md"
PACKAGES = ("pyro-ppl", "torch")
INTRO = (
    "Every number that `causalkit.debiasing` has to meet. Simulated designs are those of `causalkit.datasets`; the "
    'income map is not shipped (see "Not run" where it was absent). LCC is `LinearCalibration`.'
)
SEEDS = (
    "repetition r of a cell uses numpy's default_rng([seed of the cell, r]); seeds are in the source of each section, "
    "section E uses default_rng(r)"
)
TITLES = {
    "A": "Gaussian predictions",
    "B": "A map with several modes",
    "C": "Outcomes seen through a random network",
    "D": "Fixed numbers",
    "E": "Real errors, exclusion enforced",
    "F": "Where exclusion fails",
    "G": "Further closed forms",
    "H": "Sites",
    "I": "Properties",
}

# Deterministic numbers come first: they are quick and hold on every machine.
_STEPS: tuple[tuple[str, Callable[[Tier], Iterator[Row]]], ...] = (
    ("D", exact.rows),
    ("B", mixture.quadrature_rows),
    ("F", exclusion.rows),
    ("G", closed_forms.rows),
    ("I", properties.rows),
    ("A", gaussian.rows),
    ("B", mixture.rows),
    ("C", network.rows),
    ("E", income.rows),
    ("G", differential.rows),
    ("H", hierarchy.rows),
)


def rows(tier: Tier, sections: Sequence[str]) -> Iterator[Row]:
    """Rows of the chosen sections, deterministic ones first."""
    for letter, step in _STEPS:
        if letter in sections:
            yield from step(tier)
