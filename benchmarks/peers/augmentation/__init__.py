"""Speed and memory of :mod:`causalkit.augmentation` beside its peers, in one process with one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.measuring import rows_of_sections
from benchmarks.peers.augmentation.boosting import boosting
from benchmarks.peers.augmentation.growth import growth, streams
from benchmarks.peers.augmentation.instruments import two_stage
from benchmarks.peers.augmentation.paths import paths
from benchmarks.rows import Row
from benchmarks.simulation import Tier

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "rows"]

HEADING = "Augmentation: speed beside peers"
PAGE = "augmentation_peers.md"
PACKAGES = ("ivmodels", "linearmodels", "pyfixest", "anchorboosting", "lightgbm", "threadpoolctl")
INTRO = (
    "Times are medians of processor seconds of interleaved calls in one process, one thread for everybody; bars are "
    "ratios. Beside each time stands the distance of the coefficients. Memory is the largest resident set of a process "
    "of its own. linearmodels refuses fewer instruments than features and pyfixest takes one endogenous variable: "
    "there is no comparison there."
)
SEEDS = "default_rng([9200, job, n, p, k]), boosting default_rng([9201, n])"
TITLES = {
    "A": "The path over α beside ivmodels",
    "T": "Two-stage least squares with robust errors beside linearmodels and pyfixest",
    "B": "Projected boosting beside anchorboosting",
    "N": "Growth of time",
    "M": "Peak memory of a stream",
}


def rows(tier: Tier, sections: Sequence[str]) -> Iterator[Row]:
    """Rows of the chosen sections."""
    steps: dict[str, Callable[[Tier], Iterator[Row]]] = {
        "A": paths,
        "T": two_stage,
        "B": boosting,
        "N": growth,
        "M": streams,
    }
    yield from rows_of_sections(steps, tier, sections)
