"""Growth of time in rows, features and levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.peers.augmentation.common import interleaved_cpu_medians
from benchmarks.rows import Row, at_most, recorded
from benchmarks.simulation import Tier
from benchmarks.validation.rewards.common import fit
from benchmarks.validation.rewards.identities_peers import crossed_log
from causalkit.datasets import make_reward_linear

__all__ = ["growth"]

# Name, small and large (n, p, levels), and the largest growth of the operations.
_STEPS: tuple[tuple[str, tuple[int, int, tuple[int, ...]], tuple[int, int, tuple[int, ...]], float], ...] = (
    ("n from 3e4 to 3e5, p=20, 1 000 levels", (30_000, 20, (1_000,)), (300_000, 20, (1_000,)), 10.0),
    ("p from 32 to 128, n=5e4, 1 000 levels", (50_000, 32, (1_000,)), (50_000, 128, (1_000,)), 16.0),
    ("levels from 100 to 2e4, n=1e5, p=20", (100_000, 20, (100,)), (100_000, 20, (20_000,)), 2.0),
    ("second factor of 1 000 levels, n=1e5, p=20", (100_000, 20, (10_000,)), (100_000, 20, (10_000, 1_000)), 3.0),
)


def growth(tier: Tier) -> Iterator[Row]:
    """N1 rows, N2 features, N3 levels, N4 a second factor, N5 rows of a partially linear fit."""
    for number, (name, small, large, products) in enumerate(_STEPS):
        calls: dict[str, Callable[[], Any]] = {}
        for key, (n, p, sizes) in (("small", small), ("large", large)):
            X, y, factors = crossed_log(n, p, sizes, 4)
            calls[key] = partial(fit, "fixed_effects", X, y, factors)
        times = interleaved_cpu_medians(calls, tier.size(5, 3))
        note = f"{times['small']:.3g} s and {times['large']:.3g} s; the operations grow {products:g} times, band 1.5"
        ratio = times["large"] / times["small"]
        yield at_most(f"N{number + 1}", f"fixed_effects, {name}: growth of time", ratio, 1.5 * products, note=note)
    calls = {}
    for key, n in (("small", 20_000), ("large", 200_000)):
        sample = make_reward_linear(n, random_state=29_700)
        calls[key] = partial(fit, "partially_linear", sample.X, sample.y, sample.confounders)
    times = interleaved_cpu_medians(calls, tier.size(5, 3))
    note = f"{times['small']:.3g} s and {times['large']:.3g} s; band 1.5"
    ratio = times["large"] / times["small"]
    yield at_most("N5", "partially_linear, n from 2e4 to 2e5: growth of time", ratio, 15.0, note=note)
    yield recorded("N6", "partially_linear, n=2e5, p=4: processor seconds", times["large"])
