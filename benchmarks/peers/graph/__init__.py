"""Speed, memory, errors and widths of :mod:`causalkit.graph` beside its peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.measuring import rows_of_sections
from benchmarks.peers.graph.covariances import covariances
from benchmarks.peers.graph.errors import errors, intervals
from benchmarks.peers.graph.scale import large_networks
from benchmarks.peers.graph.small import small, spillover
from benchmarks.rows import Row
from benchmarks.simulation import Tier

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "rows"]

HEADING = "Graph: beside peers"
PAGE = "graph_peers.md"
PACKAGES = ("torch", "torch_geometric", "pymetis", "econml", "graphdml", "threadpoolctl")
INTRO = (
    "Bars on time are ratios of calls that take turns in one process with one thread for everybody, in processor "
    "seconds. A million nodes run in a process of their own for each package, with two threads for both. econml gets "
    "hop features that are ready, ours computes them within its time. Errors are mean squared errors of effects over "
    "the variance of the true effect on the same draws: econml's at the nodes of its own fit, ours out of fold."
)
SEEDS = "default_rng([61200, n]) for sizes; draws of the acceptance table for errors and intervals"
TITLES = {
    "L": "Layers on sparse matrices against edge lists",
    "V": "Covariances along a network: time and memory",
    "T": "A fit of 1000 nodes beside CausalForestDML",
    "S": "Spillover beside graphdml: time",
    "W": "Spillover beside graphdml: widths at equal coverage",
    "E": "Errors beside econml",
    "M": "A million nodes: time, memory and growth",
}


def _layers(tier: Tier) -> Iterator[Row]:
    from benchmarks.peers.graph.layers import rows as layer_rows

    yield from layer_rows(tier)


def rows(tier: Tier, sections: Sequence[str]) -> Iterator[Row]:
    """Rows of the chosen sections."""
    steps: dict[str, Callable[[Tier], Iterator[Row]]] = {
        "L": _layers,
        "V": covariances,
        "T": small,
        "S": spillover,
        "W": intervals,
        "E": errors,
        "M": large_networks,
    }
    yield from rows_of_sections(steps, tier, sections)
