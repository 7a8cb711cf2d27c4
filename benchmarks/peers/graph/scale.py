"""Ten thousand to a million nodes, each size and package in a process of its own: seconds and largest memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers.composition.common import peer
from benchmarks.rows import Row, at_most, recorded, skipped
from benchmarks.simulation import Tier

__all__ = ["large_networks", "measured"]

_ROOT = Path(__file__).resolve().parents[3]
_GIGABYTE = 2.0**30
_THREADS = "2"


def measured(which: str, n: int, device: str = "cpu") -> dict[str, float]:
    """Seconds by step and largest memory of one run of :mod:`benchmarks.peers.graph.scale_run`."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), _THREADS)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.graph.scale_run", which, str(n), device],
        capture_output=True,
        text=True,
        check=True,
        cwd=_ROOT,
        env={**os.environ, **threads},
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def large_networks(tier: Tier) -> Iterator[Row]:
    """M1 ten thousand, M2 a hundred thousand, M3 a million nodes (the last one in the full tier alone)."""
    sizes = (10_000, 100_000, 1_000_000) if tier.full else (10_000,)
    before = None
    for number, n in enumerate(sizes):
        label, what = f"M{number + 1}", f"{n:.0e} nodes".replace("e+0", "e")
        ours = measured("ours", n)
        total = ours["fit"] + ours["ate"] + ours["overlap"]
        note = f"fit {ours['fit']:.3g} s, average {ours['ate']:.3g} s, overlap {ours['overlap']:.3g} s; two threads"
        words = f"{what}, 5 links a node, 10 covariates: fit, average with interval, overlap"
        peak = ours["peak"] / _GIGABYTE
        if n == 1_000_000:
            yield at_most(f"{label}.1", f"{words}, minutes", total / 60, 15.0, note=note)
            yield at_most(f"{label}.2", f"{what}: peak GB", peak, 8.0)
        else:
            yield recorded(f"{label}.1", f"{words}, minutes", total / 60, note)
            yield recorded(f"{label}.2", f"{what}: peak GB", peak)
        if before is not None:
            yield recorded(f"{label}.3", f"{what}: growth of time for ten times the nodes", total / before)
        before = total
        yield recorded(f"{label}.4", f"{what}: error/Var(τ) of the effects", ours["error"])
        yield from _peer_rows(label, what, n, total)


def _peer_rows(label: str, what: str, n: int, total: float) -> Iterator[Row]:
    words = f"{what}: our time over NonParamDML's, boosting in three roles, cv=5, on hop features"
    if peer("econml") is None:
        yield skipped(f"{label}.5", words, "peer absent: econml is not installed: pip install -e '.[econml]'")
        return
    theirs = measured("econml", n)
    note = f"{theirs['fit']:.3g} s of its fit alone; peak {theirs['peak'] / _GIGABYTE:.2g} GB"
    note += f"; error/Var(τ) {theirs['error']:.3g}"
    if n == 1_000_000:
        yield at_most(f"{label}.5", words, total / theirs["fit"], 1.0, note=note)
    else:
        yield recorded(f"{label}.5", words, total / theirs["fit"], note)
