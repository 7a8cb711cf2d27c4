"""100 000 texts with 384 features in single precision: seconds, and the largest memory of a process of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.peers.composition.common import peak_resident_bytes
from benchmarks.rows import Row, at_most, recorded
from benchmarks.simulation import Tier
from benchmarks.validation.rewards.common import fit

__all__ = ["memory"]

_ROWS, _FEATURES, _LEVELS, _SECOND = 100_000, 384, 10_000, 1_000
_INPUT = 4 * _ROWS * _FEATURES
_MEGABYTE = 2.0**20

_IMPORTS = """
import warnings
import numpy as np
import pandas as pd
from causalkit.rewards import RewardDeconfounder
warnings.simplefilter("ignore")
"""
_MAKE = f"""
rng = np.random.default_rng(29400)
X = rng.standard_normal(({_ROWS}, {_FEATURES}), dtype=np.float32)
first, second = rng.integers({_LEVELS}, size={_ROWS}), rng.integers({_SECOND}, size={_ROWS})
y = X[:, 0].astype(np.float64) + rng.standard_normal({_LEVELS})[first] + rng.standard_normal({_ROWS})
one = pd.DataFrame({{"author": pd.Categorical(first)}})
two = one.assign(month=pd.Categorical(second))
"""
_FIT = 'model = RewardDeconfounder(method="fixed_effects", timing="before").fit(X, y, confounders={which})'


def _peak(*lines: str) -> int:
    return peak_resident_bytes(_IMPORTS, "\n".join(line.strip() for line in lines))


def memory(tier: Tier) -> Iterator[Row]:
    """M1 seconds, M2 peaks beyond the imports, the input of 154 MB included."""
    space: dict[str, Any] = {}
    exec(_IMPORTS.replace('warnings.simplefilter("ignore")', "") + _MAKE, space)
    name = "n=1e5, p=384, float32, 10 000 levels"
    for number, (which, words, bar) in enumerate((("one", name, 10.0), ("two", f"{name} × 1 000", 60.0))):
        taken = []
        for _ in range(tier.size(3, 1)):
            started = time.process_time()
            fit("fixed_effects", space["X"], space["y"], space[which])
            taken.append(time.process_time() - started)
        what = f"{words}: fit with covariance, processor seconds"
        yield at_most(f"M1.{number + 1}", what, float(np.median(taken)), bar)
    del space
    start = _peak("pass")
    made = _peak(_MAKE)
    yield recorded("M2.0", "data made, peak over the input", (made - start) / _INPUT)
    cases = (
        ("fit and covariance", (_FIT.format(which="one"),)),
        ("fit, covariance and influence values", (_FIT.format(which="one"), "result = model.inference()")),
        ("two factors: fit and covariance", (_FIT.format(which="two"),)),
    )
    for number, (words, lines) in enumerate(cases):
        peak = _peak(_MAKE, *lines)
        note = f"{(peak - start) / _MEGABYTE:.0f} MB beyond {start / _MEGABYTE:.0f} MB of imports"
        what = f"{name}: {words}, peak with the input over the input"
        yield at_most(f"M2.{number + 1}", what, (peak - start) / _INPUT, 4.0, note=note)
