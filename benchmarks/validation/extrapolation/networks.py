"""Sections C and D: how well autoencoders with the penalty recover the hidden variables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.measuring import installed
from benchmarks.rows import Row, recorded, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.extrapolation.common import MIXINGS, draws, leaves_out, linear_r2, median_row, seeds_note
from causalkit.datasets import make_intervention_curve

__all__ = ["autoencoder", "missing", "one_action_rows", "two_action_rows"]

_DRAWS, _FEW = 5, 2
_STEPS, _SHORT_STEPS = 4000, 1000
_PENALTY, _KERNEL_PENALTY = 1.0, 100.0


def missing() -> str:
    """Why networks cannot be trained here; empty if they can."""
    return "" if installed("torch") else "torch is not installed: pip install -e '.[torch]'"


def autoencoder(
    sample: Any, seed: int, *, penalty: float, steps: int, plain: bool = False, weighting: str = "auto"
) -> Any:
    """A fitted autoencoder; a plain one starts from noise and has no penalty."""
    from causalkit.extrapolation import LinearInvarianceEncoder

    encoder = LinearInvarianceEncoder(
        method="autoencoder",
        n_components=sample.latent.shape[1],
        penalty=0.0 if plain else penalty,
        moment_weighting=weighting,
        initial=None if plain else "sieve",
        max_steps=steps,
        device="cpu",
        random_state=seed,
    )
    return encoder.fit(sample.features, actions=sample.actions)


def _one(r: int, mixing: str, d: int, steps: int, plain: bool) -> dict[str, float]:
    sample = make_intervention_curve(n_latent=d, mixing=mixing, strength=2.0, random_state=r)
    found = {"floor": linear_r2(sample.features, sample.latent)}
    fitted = autoencoder(sample, r, penalty=_PENALTY, steps=steps)
    found |= {"R2": linear_r2(fitted.transform(sample.features), sample.latent), "q": fitted.invariance_penalty_}
    kernel = autoencoder(sample, r, penalty=_KERNEL_PENALTY, steps=steps, weighting="kernel")
    found["kernel"] = linear_r2(kernel.transform(sample.features), sample.latent)
    if plain:
        fitted = autoencoder(sample, r, penalty=0.0, steps=steps, plain=True)
        found["plain"] = linear_r2(fitted.transform(sample.features), sample.latent)
    return found


def _rows(tier: Tier, label: str, mixing: str, d: int, bar: float, plain: bool) -> Iterator[Row]:
    steps = tier.size(_STEPS, _SHORT_STEPS)
    found = draws(tier, _one, range(tier.size(_DRAWS, _FEW)), mixing=mixing, d=d, steps=steps, plain=plain)
    name = f"autoencoder, λ={_PENALTY:g}, {MIXINGS[mixing]}, d={d}, α=2, σ=1"
    run = leaves_out(tier, f"{_STEPS} steps", f"{_SHORT_STEPS} steps")
    yield median_row(tier, f"{label}.1", f"{name}: R² of Z, median", found["R2"], bar, least=True, note=run)
    what = f"{MIXINGS[mixing]}, d={d}: R² of Z on the raw features, median (floor)"
    yield recorded(f"{label}.2", what, np.median(found["floor"]), seeds_note(found["floor"]))
    yield recorded(f"{label}.3", f"{name}: held-out Q_B, median", np.median(found["q"]), seeds_note(found["q"]))
    what = f"autoencoder, kernel weighting, λ={_KERNEL_PENALTY:g}, {MIXINGS[mixing]}, d={d}: R² of Z, median"
    yield recorded(f"{label}.6", what, np.median(found["kernel"]), seeds_note(found["kernel"], run))
    if plain:
        what = f"plain autoencoder, {MIXINGS[mixing]}, d={d}: R² of Z, median"
        yield recorded(f"{label}.4", what, np.median(found["plain"]), seeds_note(found["plain"], run))
        what = f"{name}: R² less that of the plain one on the same draws, median"
        yield median_row(tier, f"{label}.5", what, found["R2"] - found["plain"], 0.05, least=True, note=run)


def one_action_rows(tier: Tier) -> Iterator[Row]:
    """C1 WARP, beside a plain autoencoder; C2 LRELU."""
    if missing():
        yield skipped("C1", "autoencoder, d=1, α=2, σ=1: R² of Z", missing())
        return
    yield from _rows(tier, "C1", "warp", 1, 0.98, True)
    yield from _rows(tier, "C2", "leaky", 1, 0.99, False)


def two_action_rows(tier: Tier) -> Iterator[Row]:
    """D1 WARP."""
    if missing():
        yield skipped("D1", "autoencoder, d=2, α=2, σ=1: R² of Z", missing())
        return
    yield from _rows(tier, "D1", "warp", 2, 0.96, False)
