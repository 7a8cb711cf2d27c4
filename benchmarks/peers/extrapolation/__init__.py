"""Errors, time and memory of :mod:`causalkit.extrapolation` beside its peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.measuring import rows_of_sections
from benchmarks.peers.extrapolation.errors import error_rows
from benchmarks.peers.extrapolation.growth import growth_rows
from benchmarks.peers.extrapolation.penalty import penalty_rows
from benchmarks.peers.extrapolation.scale import million_rows
from benchmarks.rows import Row
from benchmarks.simulation import Tier

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "rows"]

HEADING = "Extrapolation: beside peers"
PAGE = "extrapolation_peers.md"
PACKAGES = ("torch", "engression", "threadpoolctl")
INTRO = (
    "Times are medians of processor seconds of calls that take turns in one process, one thread for everybody. The "
    "dense penalty is the double sum over all pairs of rows with a Gaussian kernel, its value and gradient in torch as "
    "ours; it is timed with the kernel matrix ready, and with the matrix built in the call. Regressions of y on the "
    "actions see no features; actions being exogenous, they need to model no confounding, and are the honest "
    "competitors of a dose curve. Errors are those of the acceptance table, on the same draws; a ratio above one "
    "means that the peer has the smaller error."
)
SEEDS = "make_intervention_curve(random_state=r), r = 0..4; sizes default_rng([75000, job, n])"
TITLES = {
    "P": "Penalty and gradient beside the dense form",
    "M": "A million rows",
    "N": "Growth of time",
    "E": "Errors and time beside regressions of y on the actions",
}


def rows(tier: Tier, sections: Sequence[str]) -> Iterator[Row]:
    """Rows of the chosen sections."""
    steps: dict[str, Callable[[Tier], Iterator[Row]]] = {
        "P": penalty_rows,
        "M": million_rows,
        "N": growth_rows,
        "E": error_rows,
    }
    yield from rows_of_sections(steps, tier, sections)
