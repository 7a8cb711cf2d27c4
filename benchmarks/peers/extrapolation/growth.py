"""Growth of time of the sieve in rows, basis, functions of the action and coordinates; of the penalty in rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.measuring import installed
from benchmarks.peers.augmentation.common import interleaved_cpu_medians
from benchmarks.rows import Row, at_most, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.extrapolation.times import penalty_epoch
from causalkit.datasets import make_intervention_curve
from causalkit.extrapolation import LinearInvarianceEncoder

__all__ = ["growth_rows"]

# Name, small and large (n, n_basis, D, d), and the largest growth of the operations: n(p + D)p and (p + D)².
_STEPS: tuple[tuple[str, tuple[int, int, int, int], tuple[int, int, int, int], float], ...] = (
    ("n from 2e4 to 2e5", (20_000, 200, 128, 1), (200_000, 200, 128, 1), 10.0),
    ("p from 110 to 410, n=5e4", (50_000, 100, 128, 1), (50_000, 400, 128, 1), (410 + 128) ** 2 / (110 + 128) ** 2),
    ("D from 64 to 256, n=5e4", (50_000, 200, 64, 1), (50_000, 200, 256, 1), (210 + 256) ** 2 / (210 + 64) ** 2),
    ("d from 1 to 2, n=5e4", (50_000, 200, 128, 1), (50_000, 200, 128, 2), 2.0),
)


def _fit(sample: Any, n_basis: int, n_features: int) -> Any:
    encoder = LinearInvarianceEncoder(n_basis=n_basis, n_random_features=n_features, random_state=0)
    return encoder.fit(sample.features, actions=sample.actions)


def growth_rows(tier: Tier) -> Iterator[Row]:
    """N1 rows, N2 basis, N3 functions of the action, N4 coordinates, N5 rows of the penalty."""
    for number, (name, small, large, products) in enumerate(_STEPS):
        calls: dict[str, Callable[[], Any]] = {}
        for key, (n, n_basis, n_features, d) in (("small", small), ("large", large)):
            sample = make_intervention_curve(n, n_latent=d, random_state=0)
            calls[key] = partial(_fit, sample, n_basis, n_features)
        times = interleaved_cpu_medians(calls, tier.size(3, 1))
        note = f"{times['small']:.3g} s and {times['large']:.3g} s; the operations grow {products:.3g} times, band 1.5"
        ratio = times["large"] / times["small"]
        yield at_most(f"N{number + 1}", f"sieve, {name}: growth of time", ratio, 1.5 * products, note=note)
    if not installed("torch"):
        yield skipped("N5", "penalty and gradient, n from 1e4 to 1e5: growth of time", "torch is not installed")
        return
    import torch

    torch.set_num_threads(1)
    times = interleaved_cpu_medians({"small": penalty_epoch(10_000), "large": penalty_epoch(100_000)}, tier.size(5, 3))
    note = f"{times['small']:.3g} s and {times['large']:.3g} s an epoch, batches of 500"
    ratio = times["large"] / times["small"]
    yield at_most("N5", "penalty and gradient, n from 1e4 to 1e5: growth of time", ratio, 13.0, note=note)
