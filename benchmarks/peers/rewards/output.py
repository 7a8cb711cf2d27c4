"""What trainers take: seconds of a reward function, and of preference pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.augmentation.common import interleaved_cpu_medians
from benchmarks.peers.timing import peak_bytes
from benchmarks.rows import Row, at_most, near, recorded
from benchmarks.simulation import Tier
from benchmarks.validation.rewards.common import fit
from causalkit.rewards import as_reward_function, make_preference_pairs

__all__ = ["output"]

Array = NDArray[np.float64]

_TEXTS, _FEATURES = 10_000, 50
_MEGABYTE = 2.0**20


def output(tier: Tier) -> Iterator[Row]:
    """R1 the reward function, R2 pairs within prompts, R3 pairs over a whole log."""
    yield from _function_rows(tier)
    yield from _pair_rows(tier)


def _function_rows(tier: Tier) -> Iterator[Row]:
    rng = np.random.default_rng(29_600)
    X = rng.standard_normal((_TEXTS, _FEATURES))
    y = X[:, 0] + rng.standard_normal(_TEXTS)
    model = fit("none", X, y)
    texts = [str(i) for i in range(_TEXTS)]

    def encoder(batch: list[str]) -> Array:
        return X[[int(text) for text in batch]]

    def encode() -> list[Array]:
        return [encoder(texts[start : start + 64]) for start in range(0, _TEXTS, 64)]

    for number, (words, options) in enumerate(
        (
            ("reward alone", {}),
            ("less one standard error, clipped, out of support left out", _CAUTIOUS),
        )
    ):
        function = as_reward_function(model, encoder=encoder, **options)
        calls: dict[str, Callable[[], Any]] = {"all": lambda f=function: f(completions=texts), "encoder": encode}
        times = interleaved_cpu_medians(calls, tier.size(15, 7))
        note = f"{times['all']:.3g} s with {times['encoder']:.3g} s of the encoder"
        what = f"1e4 completions, p={_FEATURES}, {words}: seconds net of the encoder"
        yield at_most(f"R1.{number + 1}", what, times["all"] - times["encoder"], 0.1, note=note)
    plain = np.array(as_reward_function(model, encoder=encoder)(completions=texts), dtype=float)
    yield at_most("R1.3", "its rewards against predict", float(np.abs(plain - model.predict(X)).max()), 1e-10)


_CAUTIOUS: dict[str, Any] = {"conservative": 1.0, "clip": (0.01, 0.99), "out_of_support": "none"}


def _pair_rows(tier: Tier) -> Iterator[Row]:
    rng = np.random.default_rng(29_601)
    n, size = 150_000, 15
    rewards, error = rng.standard_normal(n), rng.uniform(0.1, 0.3, n)
    prompts = np.arange(n) // size

    def within() -> Any:
        return make_preference_pairs(
            rewards,
            prompts=prompts,
            standard_error=error,
            noise_variance=0.1,
            min_gap=0.1,
            min_z=1.0,
            max_pairs_per_prompt=None,
            random_state=0,
        )

    def over_all() -> Any:
        return make_preference_pairs(
            rewards[:100_000],
            scope="global",
            standard_error=error[:100_000],
            min_gap=0.1,
            max_pairs_per_prompt=10,
            random_state=0,
        )

    calls: dict[str, Callable[[], Any]] = {"within": within, "all": over_all}
    times = interleaved_cpu_medians(calls, tier.size(3, 1))
    found = within()
    candidates = n // size * size * (size - 1) // 2
    what = "1.05e6 candidate pairs within 1e4 prompts"
    yield near("R2.1", f"{what}: candidates counted", float(found.attrs["candidates"]), float(candidates), 0.0)
    yield at_most("R2.2", f"{what}, gap and noise rules: processor seconds", times["within"], 5.0)
    yield recorded("R2.3", f"{what}: pairs kept", float(len(found)))
    what = "1e6 pairs drawn from the 5e9 of 1e5 rows"
    yield at_most("R3.1", f"{what}: processor seconds", times["all"], 10.0)
    peak = peak_bytes(over_all) / _MEGABYTE
    note = "a byte for each two rows would be 9537 MB"
    yield at_most("R3.2", f"{what}: peak MB", peak, 1000.0, note=note)
