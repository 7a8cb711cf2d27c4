"""Section H: seconds of the encoders, and growth of the penalty."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.measuring import quiet
from benchmarks.peers.augmentation.common import interleaved_cpu_medians
from benchmarks.rows import Row, at_most, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.extrapolation.common import leaves_out
from benchmarks.validation.extrapolation.networks import autoencoder, missing
from causalkit.datasets import make_intervention_curve
from causalkit.extrapolation import LinearInvarianceEncoder, project_off_actions, random_fourier_features

__all__ = ["penalty_epoch", "rows"]

_BATCH, _N_FEATURES = 500, 128
_STEPS, _SHORT_STEPS = 4000, 400
_SECONDS = "processor seconds, one thread"


def penalty_epoch(n: int, d: int = 2, seed: int = 0) -> Any:
    """A call that takes the whitened penalty and its gradient over all rows once, in batches of 500."""
    import torch

    from causalkit.extrapolation.torch_penalty import whitened_penalty

    rng = np.random.default_rng([73_000, n, seed])
    actions = rng.uniform(-1, 1, (n, d)) * np.sqrt(3)
    features = random_fourier_features(actions, rng.standard_normal((d, _N_FEATURES // 2)))
    projected = torch.as_tensor(project_off_actions(features, actions)[0], dtype=torch.float32)
    phi = torch.as_tensor(actions + rng.standard_normal((n, d)), dtype=torch.float32).requires_grad_()
    standard = torch.as_tensor(actions, dtype=torch.float32)

    def call() -> None:
        for start in range(0, n, _BATCH):
            batch = slice(start, start + _BATCH)
            rows = phi[batch].detach().requires_grad_()
            whitened_penalty(rows, standard[batch], projected[batch]).backward()

    return call


def rows(tier: Tier) -> Iterator[Row]:
    """H1 sieve, H2 autoencoder, H3 penalty."""
    from threadpoolctl import threadpool_limits

    with quiet(), threadpool_limits(1):
        for number, d in enumerate((1, 2)):
            sample = make_intervention_curve(n_latent=d, random_state=0)

            def fit(sample: Any = sample) -> Any:
                return LinearInvarianceEncoder(random_state=0).fit(sample.features, actions=sample.actions)

            seconds = interleaved_cpu_medians({"fit": fit}, tier.size(5, 3))["fit"]
            yield at_most(f"H1{'ab'[number]}", f"sieve, n=1e4, d={d}: {_SECONDS}", seconds, 3.0)
        if missing():
            yield skipped("H2", f"autoencoder and penalty: {_SECONDS}", missing())
            return
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from _network_rows(tier)
        finally:
            torch.set_num_threads(threads)


def _network_rows(tier: Tier) -> Iterator[Row]:
    yield _training_row(tier)
    times = interleaved_cpu_medians({"small": penalty_epoch(10_000), "large": penalty_epoch(100_000)}, tier.size(5, 3))
    note = f"{times['small']:.3g} s and {times['large']:.3g} s, D={_N_FEATURES}, d=2"
    what = "penalty and gradient, one epoch in batches of 500: time at n=1e5 over that at n=1e4"
    yield at_most("H3", what, times["large"] / times["small"], 13.0, note=note)


def _training_row(tier: Tier) -> Row:
    steps = tier.size(_STEPS, _SHORT_STEPS)
    sample = make_intervention_curve(strength=2.0, random_state=0)

    def trained(count: int) -> float:
        started = time.process_time()
        autoencoder(sample, 0, penalty=100.0, steps=count)
        return time.process_time() - started

    trained(20)
    taken = trained(steps)
    note = leaves_out(tier, f"{_STEPS} steps", f"{_SHORT_STEPS} steps and their time multiplied")
    what = f"autoencoder, n=1e4, d=1, batch 500, {_STEPS} steps: {_SECONDS}"
    return at_most("H2", what, taken * _STEPS / steps, 60.0, note=note)
