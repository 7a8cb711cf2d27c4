"""Fixed effects of one and two factors beside pyfixest and linearmodels' absorbing regression."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import gap
from benchmarks.peers.augmentation.common import interleaved_cpu_medians, slower
from benchmarks.peers.composition.common import absent, peer
from benchmarks.rows import Row, at_most, recorded, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.rewards.common import fit
from benchmarks.validation.rewards.identities_peers import crossed_log

__all__ = ["levels", "regression"]

Array = NDArray[np.float64]

_BAR = 1e-8
# Rows, features, levels of each factor; the second one is the case that has to hold.
_CASES = (
    (100_000, 50, (10_000,)),
    (100_000, 50, (10_000, 1_000)),
    (100_000, 8, (10_000,)),
    (100_000, 8, (10_000, 1_000)),
    (100_000, 64, (10_000,)),
    (100_000, 64, (10_000, 1_000)),
)
_LARGE = ((1_000_000, 8, (10_000,)), (1_000_000, 8, (10_000, 1_000)))


def regression(X: Array, y: Array, factors: Any) -> tuple[Array, Array]:
    """Coefficients and covariance alone, from coded levels, without what a reward needs beyond them."""
    from causalkit.rewards.absorption import absorb
    from causalkit.rewards.fixed_effects import within_fit
    from causalkit.rewards.records import Factor

    coded = [
        Factor(str(name), factors[name].cat.codes.to_numpy().astype(np.intp), factors[name].cat.categories.to_numpy())
        for name in factors
    ]
    found = within_fit(X, y, None, absorb(coded))
    return found.coef, found.covariance("HC1")


def _pyfixest(X: Array, y: Array, factors: Any) -> Callable[[], tuple[Array, Array]] | None:
    import pandas as pd

    module = peer("pyfixest")
    if module is None:
        return None
    names = [f"x{j}" for j in range(X.shape[1])]
    frame = pd.DataFrame(X, columns=names).assign(y=y, **{name: factors[name].astype(int) for name in factors})
    formula = f"y ~ {' + '.join(names)} | {' + '.join(factors)}"

    def call() -> tuple[Array, Array]:
        found = module.feols(formula, frame, vcov="hetero")
        return found.coef().to_numpy(), found.se().to_numpy()

    return call


def _linearmodels(X: Array, y: Array, factors: Any) -> Callable[[], tuple[Array, Array]] | None:
    module = peer("linearmodels.iv.absorbing")
    if module is None:
        return None

    def call() -> tuple[Array, Array]:
        found = module.AbsorbingLS(y, X, absorb=factors).fit(cov_type="robust")
        return np.asarray(found.params), np.asarray(found.std_errors)

    return call


def levels(tier: Tier) -> Iterator[Row]:
    """F1 and F2 fifty features, F3 to F6 eight and 64; in the full tier F7 and F8 a million rows."""
    cases = (*_CASES, *_LARGE) if tier.full else _CASES[:4]
    for number, (n, p, sizes) in enumerate(cases):
        factors = " × ".join(f"{size:,}" for size in sizes).replace(",", " ")
        yield from _case(f"F{number + 1}", f"n={n:.0e}, p={p}, levels {factors}".replace("e+0", "e"), n, p, sizes, tier)


def _case(label: str, name: str, n: int, p: int, sizes: tuple[int, ...], tier: Tier) -> Iterator[Row]:
    X, y, factors = crossed_log(n, p, sizes, 3)
    calls: dict[str, Callable[[], Any]] = {
        "fit": lambda: fit("fixed_effects", X, y, factors),
        "regression": lambda: regression(X, y, factors),
    }
    makers = {"pyfixest": _pyfixest, "linearmodels": _linearmodels}
    for peer_name, maker in makers.items():
        call = maker(X, y, factors)
        if call is None:
            yield skipped(f"{label}.{peer_name[0]}", f"{name}: beside {peer_name}", absent(peer_name))
        else:
            calls[peer_name] = call
    times = interleaved_cpu_medians(calls, 1 if n > 100_000 else tier.size(5, 3))
    ours = calls["fit"]()
    for place, peer_name in enumerate(name for name in makers if name in calls):
        letter = "ab"[place]
        theirs = calls[peer_name]()
        what = f"{name}: fit over {peer_name}"
        yield slower(f"{label}.1{letter}", what, times["fit"], times[peer_name], 1.0)
        what = f"{name}: regression and covariance alone over {peer_name}"
        yield slower(f"{label}.2{letter}", what, times["regression"], times[peer_name], 1.0)
        yield at_most(
            f"{label}.3{letter}", f"{name}: distance of the coefficients, {peer_name}", gap(ours.coef_, theirs[0]), _BAR
        )
        relative = gap(np.sqrt(np.diag(ours.covariance_)) / theirs[1], 1.0)
        note = "theirs count no absorbed levels: √(n/(n - d - p)) apart" if peer_name == "linearmodels" else ""
        yield recorded(f"{label}.4{letter}", f"{name}: distance of the errors, relative, {peer_name}", relative, note)
    yield recorded(f"{label}.5", f"{name}: fit, processor seconds", times["fit"])
