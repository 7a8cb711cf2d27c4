"""Speed and memory of :mod:`causalkit.composition` beside its peers, in one process with one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.measuring import rows_of_sections
from benchmarks.peers.composition.networks import dense, large, shrunken
from benchmarks.peers.composition.sparse import lasso
from benchmarks.peers.composition.transforms import pingouin_rows, transforms
from benchmarks.rows import Row
from benchmarks.simulation import Tier

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "rows"]

HEADING = "Composition: speed beside peers"
PAGE = "composition_peers.md"
PACKAGES = ("compositional", "scikit-bio", "pingouin", "gglasso", "threadpoolctl")
INTRO = (
    "Times are medians of interleaved calls in one process, linear algebra limited to one thread for everybody; "
    "bars are ratios where there is a peer. Memory is the largest resident set of a process of its own."
)
SEEDS = "default_rng([9100, job, n, D])"
TITLES = {
    "T": "Transformers and the variation matrix beside scikit-bio",
    "S": "Shrunken partial correlations beside compositional and propr",
    "L": "Ten thousand parts",
    "D": "Dense partial correlations beside numpy",
    "Q": "Partial correlations of CLR columns beside pingouin",
    "G": "Graphical lasso beside gglasso",
}


def rows(tier: Tier, sections: Sequence[str]) -> Iterator[Row]:
    """Rows of the chosen sections; the long peers run once in the short tier."""
    steps: dict[str, Callable[[Tier], Iterator[Row]]] = {
        "T": transforms,
        "S": shrunken,
        "L": large,
        "D": dense,
        "Q": pingouin_rows,
        "G": lasso,
    }
    yield from rows_of_sections(steps, tier, sections)
