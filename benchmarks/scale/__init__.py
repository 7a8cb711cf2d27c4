"""How time and memory of each family's main job grow with the rows, from ten thousand to ten million."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.rows import Row, recorded
from benchmarks.scale.cases import CASES
from benchmarks.simulation import Tier

__all__ = ["HEADING", "INTRO", "PACKAGES", "PAGE", "SEEDS", "TITLES", "rows"]

HEADING = "Scale: time and memory by rows"
PAGE = "scale.md"
PACKAGES: tuple[str, ...] = ("torch",)
INTRO = (
    "Each line is a process of its own with two threads: seconds of the work itself, and the largest memory beyond "
    "what a run of 2000 rows needed. Families whose numbers add up over blocks get blocks of 100 000 rows; rewards and "
    "extrapolation hold their rows. Networks stand in [Graph: beside peers](graph_peers.md), section M. An exponent is "
    "the growth of the time for ten times the rows, as a power of ten."
)
SEEDS = "default_rng(0) in every process"
TITLES = {letter: name.capitalize() for letter, name in zip("DCARX", CASES, strict=True)}

_ROOT = Path(__file__).resolve().parents[2]
_LARGEST = {"rewards": 10_000_000, "extrapolation": 1_000_000}
_THREADS = "2"


def _measured(family: str, n: int) -> dict[str, float]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), _THREADS)
    done = subprocess.run(
        [sys.executable, "-c", f"from benchmarks.scale.cases import main; main({family!r}, {n})"],
        capture_output=True,
        text=True,
        check=True,
        cwd=_ROOT,
        env={**os.environ, **threads},
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows(tier: Tier, sections: Sequence[str]) -> Iterator[Row]:
    """Rows of the chosen families; the short tier stops at a hundred thousand."""
    from math import log10

    for letter, family in zip(TITLES, CASES, strict=True):
        if letter not in sections:
            continue
        most = _LARGEST.get(family, 10_000_000) if tier.full else 100_000
        words = (CASES[family].__doc__ or "").split(".")[0]
        before = None
        for number, n in enumerate(size for size in (10_000, 100_000, 1_000_000, 10_000_000) if size <= most):
            found = _measured(family, n)
            label, what = f"{letter}{number + 1}", f"{words}, n = {n:.0e}".replace("e+0", "e")
            growth = "" if before is None else f"exponent {log10(found['seconds'] / before):.2f}"
            yield recorded(f"{label}.1", f"{what}: seconds", found["seconds"], growth)
            yield recorded(f"{label}.2", f"{what}: MB", found["megabytes"])
            before = found["seconds"]
