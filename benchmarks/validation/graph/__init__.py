"""Acceptance table of :mod:`causalkit.graph`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.rows import Row
from benchmarks.simulation import Tier
from benchmarks.validation.graph import heterogeneity, identities, intervals, published_design, spillover

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "rows"]

HEADING = "Graph: acceptance table"
PAGE = "graph.md"
PACKAGES = ("torch", "torch_geometric", "pymetis", "econml", "graphdml")
INTRO = (
    "Every number that `causalkit.graph` has to meet. Errors of effects are those of `effect_`, which is out of fold, "
    "unless a row says `predict`; `error/Var(τ)` is the mean squared error over the variance of the true effect, so "
    "that a constant has 1. Networks have 1000 nodes unless said; BA is preferential attachment with 4 links per new "
    "node, ER independent links, SBM two blocks, WS a small world. The published recipe is a script of this benchmark "
    "alone: it shows what its numbers are made of. Peers that are scored on the nodes of their own fit say so."
)
SEEDS = "draw r of a cell uses numpy's default_rng([seed of the cell, r]); seeds are in the source of each section"
TITLES = {
    "A": "Effects of nodes where they vary",
    "B": "The published design, and the published recipe on it",
    "G": "With and without the graph: nuisances by final stage",
    "C": "Average effects and their intervals",
    "D": "Tests and diagnostics",
    "F": "Spillover beside graphdml",
    "H": "Identities",
}


def _published(tier: Tier) -> Iterator[Row]:
    yield from published_design.rows(tier)
    yield from published_design.degenerate(tier)
    yield from published_design.encoders(tier)


def _effects(tier: Tier) -> Iterator[Row]:
    yield from heterogeneity.effects(tier)
    yield from heterogeneity.econml_rows(tier)


def _grid(tier: Tier) -> Iterator[Row]:
    yield from heterogeneity.grid(tier)
    yield from published_design.grid(tier)


def _averages(tier: Tier) -> Iterator[Row]:
    yield from heterogeneity.averages(tier)
    yield from intervals.exposure(tier)


def _tests(tier: Tier) -> Iterator[Row]:
    yield from intervals.without_heterogeneity(tier)
    yield from intervals.diagnostics(tier)


_STEPS: tuple[tuple[str, Callable[[Tier], Iterator[Row]]], ...] = (
    ("H", identities.rows),
    ("A", _effects),
    ("G", _grid),
    ("C", _averages),
    ("D", _tests),
    ("B", _published),
    ("F", spillover.rows),
)


def rows(tier: Tier, sections: Sequence[str]) -> Iterator[Row]:
    """Rows of the chosen sections, deterministic ones first."""
    for letter, step in _STEPS:
        if letter in sections:
            yield from step(tier)
