"""Speed and memory of :mod:`causalkit.rewards` beside its peers, in one process with one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.measuring import rows_of_sections
from benchmarks.peers.rewards.absorbing import levels
from benchmarks.peers.rewards.double_learning import double_learning
from benchmarks.peers.rewards.growth import growth
from benchmarks.peers.rewards.memory import memory
from benchmarks.peers.rewards.output import output
from benchmarks.rows import Row
from benchmarks.simulation import Tier

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "rows"]

HEADING = "Rewards: speed beside peers"
PAGE = "rewards_peers.md"
PACKAGES = ("pyfixest", "linearmodels", "DoubleML", "numba", "threadpoolctl")
INTRO = (
    "Times are medians of processor seconds of interleaved calls in one process, one thread for everybody; bars are "
    "ratios. Our time is that of the whole fit: coefficients, covariance, adjusted rewards, effects of the levels, "
    "diagnostics; the regression alone stands beside it. Memory is the largest resident set of a process of its own."
)
SEEDS = "default_rng([28100, job, n, p, levels]); nuisance designs default_rng([29500, n])"
TITLES = {
    "F": "Fixed effects beside pyfixest and linearmodels",
    "M": "100 000 × 384 in single precision: time and memory",
    "D": "Partially linear fits beside DoubleML",
    "R": "Reward function and preference pairs",
    "N": "Growth of time",
}


def rows(tier: Tier, sections: Sequence[str]) -> Iterator[Row]:
    """Rows of the chosen sections."""
    steps: dict[str, Callable[[Tier], Iterator[Row]]] = {
        "F": levels,
        "M": memory,
        "D": double_learning,
        "R": output,
        "N": growth,
    }
    yield from rows_of_sections(steps, tier, sections)
