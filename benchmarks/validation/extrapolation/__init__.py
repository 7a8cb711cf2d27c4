"""Acceptance table of :mod:`causalkit.extrapolation`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.rows import Row
from benchmarks.simulation import Tier
from benchmarks.validation.extrapolation import curves, diagnostics, identities, intervals, networks, times

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "rows"]

HEADING = "Extrapolation: acceptance table"
PAGE = "extrapolation.md"
PACKAGES = ("torch", "pyro-ppl")
INTRO = (
    "Every number that `causalkit.extrapolation` has to meet. Actions are uniform on (-1, 1), 10 000 rows unless said, "
    "Z = MA + V with M of size α and V of standard deviation σ; WARP bends Z three times (c = .6), LRELU is a network "
    "of four leaky layers, nearly linear. Errors of a curve are root mean squared errors about the true mean outcome "
    "at |a| = .5 and 1 (in), 1.25 and 1.5 (near), 2 and 2.5 (far), both signs; with two actions on circles of radius "
    ".7, 1.5 and 2.25 in eight directions. R² is that of least squares of Z on φ, fitted on one half and scored on the "
    "other; beside it stands the floor that the raw features reach. Bars are on medians of five draws and were set "
    "before the library existed. All designs are ours; none is from a paper's experiments."
)
SEEDS = (
    "draw r of a design is make_intervention_curve(random_state=r), r = 0..4, and the estimator's seed is r; "
    "repetitions use default_rng([seed of the section, r]), seeds are in the source of each section"
)
TITLES = {
    "A": "Curves with known hidden variables",
    "B": "Rep4Ex with its defaults, one action",
    "C": "Autoencoders, one action",
    "D": "Autoencoders, two actions",
    "E": "Rep4Ex with its defaults, two actions",
    "F": "No effect at all",
    "G": "Level of the invariance test",
    "H": "Time",
    "I": "Intervals from influence values",
    "J": "Reach of the data",
    "K": "What the actions can show",
    "L": "Identities",
}

_STEPS: tuple[tuple[str, Callable[[Tier], Iterator[Row]]], ...] = (
    ("L", identities.rows),
    ("K", diagnostics.visible_rows),
    ("J", diagnostics.support_rows),
    ("A", curves.oracle_rows),
    ("B", curves.default_rows),
    ("E", curves.two_action_rows),
    ("F", curves.null_rows),
    ("G", diagnostics.invariance_rows),
    ("I", intervals.rows),
    ("C", networks.one_action_rows),
    ("D", networks.two_action_rows),
    ("H", times.rows),
)


def rows(tier: Tier, sections: Sequence[str]) -> Iterator[Row]:
    """Rows of the chosen sections, deterministic ones first."""
    for letter, step in _STEPS:
        if letter in sections:
            yield from step(tier)
