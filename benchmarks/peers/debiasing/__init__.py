"""Speed and memory of :mod:`causalkit.debiasing` beside its peers, in one process with one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.measuring import rows_of_sections
from benchmarks.peers.debiasing.effects import effects, sizes
from benchmarks.peers.debiasing.labels import labels
from benchmarks.peers.debiasing.scores import fits, scores
from benchmarks.peers.debiasing.transforms import transforms
from benchmarks.rows import Row
from benchmarks.simulation import Tier

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "rows"]

HEADING = "Debiasing: speed beside peers"
PAGE = "debiasing_peers.md"
PACKAGES = ("ppi-python", "dask", "threadpoolctl")
INTRO = (
    "Times are medians of interleaved calls in one process, linear algebra limited to one thread for everybody; "
    "bars are ratios, because seconds depend on the machine. Memory is the peak of what a call allocates."
)
SEEDS = "default_rng(9000) and following, one per job"
TITLES = {
    "T": "Transforms beside the plain pass (x - a)/b",
    "K": "Scores beside scipy's gaussian_kde",
    "F": "Fits",
    "L": "Labels in the trial beside ppi_py",
    "M": "Effects: growth and memory",
    "R": "Seconds and memory by size",
}


def rows(tier: Tier, sections: Sequence[str]) -> Iterator[Row]:
    """Rows of the chosen sections; the long peers run once in the short tier."""
    steps: dict[str, Callable[[Tier], Iterator[Row]]] = {
        "T": transforms,
        "K": scores,
        "F": fits,
        "L": labels,
        "M": effects,
        "R": sizes,
    }
    yield from rows_of_sections(steps, tier, sections)
