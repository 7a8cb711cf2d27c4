"""Projected boosting beside anchorboosting, which rests on internals of LightGBM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.augmentation.common import interleaved_cpu_medians
from benchmarks.peers.composition.common import absent, peer
from benchmarks.rows import Row, recorded, skipped
from benchmarks.simulation import Tier
from causalkit.augmentation import IVLikeBoostingRegressor

__all__ = ["boosting"]

Array = NDArray[np.float64]

_ROWS, _FEATURES, _INSTRUMENTS, _STAGES, _LEAVES, _ALPHA = 100_000, 10, 3, 100, 15, 0.1


def _sample(n: int) -> tuple[Array, Array, Array, Array]:
    """X, y, Z and the effect, of two features and not linear; the hidden cause reaches the first and y."""
    rng = np.random.default_rng([9201, n])
    Z, hidden = rng.standard_normal((n, _INSTRUMENTS)), rng.standard_normal(n)
    X = rng.standard_normal((n, _FEATURES))
    X[:, 0] += Z.sum(axis=1) + hidden
    effect = np.sin(X[:, 0]) + X[:, 1] ** 2 / 2
    return X, effect + hidden + 0.3 * rng.standard_normal(n), Z, effect


def _loss(fitted: Array, y: Array, Z: Array) -> float:
    """α E r² + E(Pr)², what both minimise (γ = 1 + 1/α)."""
    r = y - fitted
    g = Z - Z.mean(axis=0)
    projected = g @ np.linalg.solve(g.T @ g, g.T @ r)
    return float(_ALPHA * np.mean((r - r.mean()) ** 2) + np.mean(projected**2))


def boosting(tier: Tier) -> Iterator[Row]:
    """B1 times, B2 the loss that both minimise, B3 error of the effect."""
    module = peer("anchorboosting")
    what = "n=1e5, p=10, k=3, 100 stages of 15 leaves: our time over anchorboosting"
    if module is None:
        yield skipped("B1", what, absent("anchorboosting"))
        return
    X, y, Z, effect = _sample(_ROWS)

    def ours() -> Any:
        model = IVLikeBoostingRegressor(alpha=_ALPHA, max_iter=_STAGES, max_leaf_nodes=_LEAVES, min_samples_leaf=20)
        return model.fit(X, y, instruments=Z)

    def theirs() -> Any:
        booster = module.AnchorBooster(
            gamma=1 + 1 / _ALPHA,
            num_boost_round=_STAGES,
            num_leaves=_LEAVES,
            min_data_in_leaf=20,
            num_threads=1,
            verbose=-1,
        )
        return booster.fit(X, y, Z=Z)

    calls: dict[str, Callable[[], Any]] = {"ours": ours, "theirs": theirs}
    times = interleaved_cpu_medians(calls, tier.size(3, 1))
    note = f"{times['ours']:.3g} s against {times['theirs']:.3g} s; no bar"
    yield recorded("B1", what, times["ours"] / times["theirs"], note)
    fitted = {"ours": np.asarray(ours().predict(X)), "theirs": np.asarray(theirs().predict(X))}
    losses = {name: _loss(values, y, Z) for name, values in fitted.items()}
    note = f"{losses['ours']:.4g} against {losses['theirs']:.4g}; trees are grown by other rules"
    yield recorded("B2", "the same: our training loss over theirs", losses["ours"] / losses["theirs"], note)
    errors = {name: float(np.var(values - effect) / np.var(effect)) for name, values in fitted.items()}
    yield recorded("B3.1", "the same: variance of the error over that of the effect, ours", errors["ours"])
    yield recorded("B3.2", "the same: variance of the error over that of the effect, anchorboosting", errors["theirs"])
