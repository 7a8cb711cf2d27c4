"""What a table was measured with: versions, processor, date."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

__all__ = ["describe"]

_PACKAGES = ("causalkit", "numpy", "scipy", "scikit-learn", "pandas", "joblib", "statsmodels")


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(packages: tuple[str, ...] = ()) -> dict[str, str]:
    """Date, versions and hardware by name."""
    versions = []
    for name in (*_PACKAGES, *packages):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} absent")
    return {
        "Date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "Versions": f"Python {platform.python_version()}, " + ", ".join(versions),
        "Hardware": f"{_cores()} cores, {_processor()}",
        "System": f"{platform.system()} {platform.machine()}",
    }
