"""Fits that are stopped by the keyboard, and workers that are killed: nothing half-fitted, no process left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["stopped_fit_problem"]

_ROOT = Path(__file__).resolve().parents[2]


def _of_session(session: int) -> list[int]:
    """Processes of a session that are alive; zombies have ended and wait to be read."""
    alive = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # pid (command) state parent group session: the command may hold spaces and brackets.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended in the meantime
        if int(fields[3]) == session and fields[0] != "Z":
            alive.append(int(entry.name))
    return alive


def _end(session: int) -> None:
    for pid in _of_session(session):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def stopped_fit_problem(family: str, when: str, seconds: float = 300.0) -> tuple[str, str]:
    """Run a fit that is stopped.

    Returns
    -------
    ended : str
        How the fit ended: the class of the exception.
    problem : str
        What is wrong with what it left, or nothing.
    """
    command = [sys.executable, "-m", "benchmarks.failures.interrupted_fit", family, when]
    process = subprocess.Popen(
        command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return "nothing", f"no end within {seconds:g} s"
    finally:
        if process.poll() is None:  # also when the book itself is interrupted
            _end(process.pid)
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        return "nothing", f"the process ended with status {process.returncode} and said nothing"
    report = json.loads(lines[-1])
    expected = "KeyboardInterrupt" if when != "kill" else "TerminatedWorkerError"
    problems = [f"left {report['left'][:4]}"] if report["left"] else []
    if report["ended"] != expected:
        problems.append(f"ended with {report['ended']}, expected {expected}")
    end = time.monotonic() + 20
    while (orphans := _of_session(process.pid)) and time.monotonic() < end:
        time.sleep(0.2)
    if orphans:
        problems.append(f"{len(orphans)} processes are left")
        _end(process.pid)
    return str(report["ended"]), "; ".join(problems)
