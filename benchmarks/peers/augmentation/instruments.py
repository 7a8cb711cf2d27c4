"""Two-stage least squares with robust errors, beside linearmodels and pyfixest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.augmentation.common import interleaved_cpu_medians, sample, slower
from benchmarks.peers.composition.common import absent, peer
from benchmarks.rows import Row, at_most, skipped
from benchmarks.simulation import Tier
from causalkit.augmentation import IVLikeRegressor
from causalkit.inference import InferenceResult

__all__ = ["two_stage"]

Array = NDArray[np.float64]

_ROWS, _INSTRUMENTS = 100_000, 10


def _ours(X: Array, y: Array, Z: Array) -> InferenceResult:
    return IVLikeRegressor(alpha=0.0).fit(X, y, instruments=Z).inference()


def two_stage(tier: Tier) -> Iterator[Row]:
    """T1 five features beside linearmodels, T2 one feature beside pyfixest, T3 k = p, where errors are equal."""
    yield from _beside_linearmodels(tier)
    yield from _beside_pyfixest(tier)


def _beside_linearmodels(tier: Tier) -> Iterator[Row]:
    module = peer("linearmodels.iv")
    what = "n=1e5, p=5, k=10: 2SLS and robust errors over linearmodels' IV2SLS"
    if module is None:
        yield skipped("T1", what, absent("linearmodels"))
        return
    X, y, Z = sample(_ROWS, 5, _INSTRUMENTS, 1)

    def theirs(instruments: Array = Z) -> tuple[Array, Array]:
        found = module.IV2SLS(y, np.ones((len(y), 1)), X, instruments).fit(cov_type="robust")
        return np.asarray(found.params), np.asarray(found.std_errors)

    calls: dict[str, Callable[[], Any]] = {"ours": lambda: _ours(X, y, Z), "theirs": theirs}
    times = interleaved_cpu_medians(calls, tier.size(9, 5))
    yield slower("T1.1", what, times["ours"], times["theirs"], 0.5, "linearmodels refuses k < p")
    yield from _agreement("T1", _ours(X, y, Z), theirs(), same_errors=False)
    exact = Z[:, :5]
    yield from _agreement("T3", _ours(X, y, exact), theirs(exact), same_errors=True)


def _agreement(label: str, ours: InferenceResult, theirs: tuple[Array, Array], same_errors: bool) -> Iterator[Row]:
    sizes = "n=1e5, p=k=5" if same_errors else "the same"
    distance = float(np.abs(ours.estimate - theirs[0]).max())
    yield at_most(f"{label}.2", f"{sizes}: distance of the coefficients", distance, 1e-10)
    relative = float(np.abs(ours.std_error / theirs[1] - 1).max())
    if same_errors:
        yield at_most(f"{label}.3", f"{sizes}: distance of the errors, relative", relative, 1e-8)
    else:
        note = "ours have a term more, for moments that ten instruments cannot all meet; equal for k = p"
        yield at_most(f"{label}.3", f"{sizes}: distance of the errors, relative", relative, 0.01, note=note)


def _beside_pyfixest(tier: Tier) -> Iterator[Row]:
    import pandas as pd

    module = peer("pyfixest")
    what = "n=1e5, p=1, k=10: 2SLS and robust errors over pyfixest's feols"
    if module is None:
        yield skipped("T2", what, absent("pyfixest"))
        return
    X, y, Z = sample(_ROWS, 1, _INSTRUMENTS, 2)
    names = [f"z{j}" for j in range(_INSTRUMENTS)]
    frame = pd.DataFrame(np.column_stack([y, X, Z]), columns=["y", "x", *names])
    formula = f"y ~ 1 | x ~ {' + '.join(names)}"

    def theirs() -> tuple[Array, Array]:
        found = module.feols(formula, frame, vcov="hetero")
        return np.asarray(found.coef()), np.asarray(found.se())

    calls: dict[str, Callable[[], Any]] = {"ours": lambda: _ours(X, y, Z), "theirs": theirs}
    times = interleaved_cpu_medians(calls, tier.size(9, 5))
    yield slower("T2.1", what, times["ours"], times["theirs"], 0.5, "pyfixest takes one endogenous variable")
    yield from _agreement("T2", _ours(X, y, Z), theirs(), same_errors=False)
