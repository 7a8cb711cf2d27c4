"""Tables, peers and rows that several comparisons share."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, at_least, at_most

__all__ = ["absent", "amounts", "faster", "peak_resident_bytes", "peer", "slower"]

Array = NDArray[np.float64]

_INSTALL = "is not installed: pip install -e '.[bench]'"

# The measured process reports its own largest resident set, imports and input included. Under Linux the largest set
# that getrusage knows starts at that of the parent process; that of /proc starts with the program.
_PEAK = """
import pathlib
import resource
import sys
from threadpoolctl import threadpool_limits
{preamble}
with threadpool_limits(1):
    {body}
status = pathlib.Path("/proc/self/status")
if status.is_file():
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    print(int(line.split()[1]) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def amounts(n: int, d: int, seed: int, rank: int = 5) -> Array:
    """Positive parts whose logs have a few common factors; one draw per (n, D, seed)."""
    rng = np.random.default_rng([9100, seed, n, d])
    logs = rng.standard_normal((n, d))
    logs += rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d))
    return np.asarray(np.exp(logs))


def peer(name: str) -> ModuleType | None:
    """An imported peer, or None where it is absent."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        return None


def absent(name: str) -> str:
    """Reason of a skipped row."""
    return f"peer absent: {name} {_INSTALL}"


def _note(ours: float, theirs: float, note: str) -> str:
    return f"{ours:.3g} s against {theirs:.3g} s" + (f"; {note}" if note else "")


def faster(id: str, what: str, ours: float, theirs: float, low: float, note: str = "") -> Row:
    """How many times faster than a peer, which must reach a bar."""
    return at_least(id, what, theirs / ours, low, note=_note(ours, theirs, note))


def slower(id: str, what: str, ours: float, theirs: float, high: float, note: str = "") -> Row:
    """Our time over that of a peer, which must not exceed a bar."""
    return at_most(id, what, ours / theirs, high, note=_note(ours, theirs, note))


def peak_resident_bytes(preamble: str, body: str) -> int:
    """Largest resident memory of a fresh Python process that runs the lines, linear algebra on one thread."""
    code = _PEAK.format(preamble=preamble, body=body.replace("\n", "\n    "))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])
