"""The penalty by random features beside the dense form over all pairs of rows: value, time, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import installed
from benchmarks.peers.augmentation.common import faster, interleaved_cpu_medians
from benchmarks.peers.timing import peak_bytes
from benchmarks.rows import Row, at_most, recorded, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.extrapolation.identities import dense_penalty
from causalkit.extrapolation import invariance_penalty, project_off_actions, random_fourier_features

__all__ = ["case", "dense_kernel", "penalty_rows"]

Array = NDArray[np.float64]

_AXES, _N_FEATURES = 2, 256
_BARS = {1000: 1.0, 10_000: 50.0}


def case(n: int) -> tuple[Array, Array, Array]:
    """Representation, standardised actions and frequencies of a Gaussian kernel of bandwidth 1."""
    rng = np.random.default_rng([75_000, 1, n])
    actions = rng.uniform(-1, 1, (n, _AXES)) * np.sqrt(3)
    z = actions + rng.standard_normal((n, _AXES))
    return z + 0.3 * z**2, actions, rng.standard_normal((_AXES, _N_FEATURES // 2))


def dense_kernel(actions: Array) -> Array:
    """exp(-|a - a'|²/2) for all pairs of rows."""
    squares = (actions**2).sum(axis=1)
    kernel = actions @ actions.T
    kernel -= 0.5 * squares
    kernel -= 0.5 * squares[:, None]
    return np.asarray(np.exp(kernel, out=kernel))


def penalty_rows(tier: Tier) -> Iterator[Row]:
    """P1 a thousand rows, P2 ten thousand."""
    for number, (n, bar) in enumerate(_BARS.items()):
        yield from _case(f"P{number + 1}", n, bar, tier)


def _case(label: str, n: int, bar: float, tier: Tier) -> Iterator[Row]:
    phi, actions, frequencies = case(n)
    name = f"n={n:.0e}, D={_N_FEATURES}, d={_AXES}".replace("e+0", "e")

    def ours() -> float:
        projected, _ = project_off_actions(random_fourier_features(actions, frequencies), actions)
        return invariance_penalty(phi, actions, projected, whiten=False)

    def theirs() -> float:
        return dense_penalty(phi, actions, dense_kernel(actions))

    features = random_fourier_features(actions, frequencies)
    same = dense_penalty(phi, actions, features @ features.T)
    yield at_most(
        f"{label}.1", f"{name}: value over the dense sum with kernel FF', less 1", abs(ours() / same - 1), 1e-8
    )
    note = f"error of {_N_FEATURES} random features"
    yield recorded(f"{label}.2", f"{name}: value over the dense sum with the Gaussian kernel", ours() / theirs(), note)
    few, many = peak_bytes(ours) / 2**20, peak_bytes(theirs) / 2**20
    note = f"{few:.3g} MB against {many:.4g} MB, features and kernel built in the call, double precision"
    yield recorded(f"{label}.3", f"{name}: peak memory, times less", many / few, note)
    if not installed("torch"):
        yield skipped(f"{label}.4", f"{name}: value and gradient, times faster", "torch is not installed")
        return
    calls = _gradients(phi, actions, features)
    times = interleaved_cpu_medians(calls, tier.size(9, 5) if n == 1000 else tier.size(5, 2), inner=1)
    what = f"{name}: value and gradient, F⊥ ready, times faster than dense with the kernel ready"
    yield faster(f"{label}.4", what, times["ours"], times["dense"], bar)
    what = f"{name}: the same, kernel built in the call"
    yield faster(f"{label}.5", what, times["ours"], times["built"], bar)


def _gradients(phi: Array, actions: Array, features: Array) -> dict[str, Callable[[], Any]]:
    """Whitened value and gradient in torch: ours, dense with the kernel ready, dense with the kernel built."""
    import torch

    from causalkit.extrapolation.torch_penalty import whitened_penalty

    moved = torch.as_tensor(actions)
    projected = torch.as_tensor(project_off_actions(features, actions)[0])
    ready = torch.as_tensor(dense_kernel(actions))
    design = torch.cat([torch.ones(len(moved), 1, dtype=moved.dtype), moved], dim=1)
    inverse = torch.linalg.inv(design.T @ design)

    def dense(kernel: Any) -> Any:
        rows = torch.as_tensor(phi).requires_grad_()
        coef = inverse @ (design.T @ rows)
        residual = rows - design @ coef
        violation = residual.T @ (kernel @ residual) / len(rows) ** 2
        line = moved @ coef[1:]
        centred = line - line.mean(dim=0)
        between = centred.T @ centred / len(rows)
        torch.trace(torch.linalg.solve(between, violation)).backward()
        return rows.grad

    def built() -> Any:
        return dense(torch.exp(-0.5 * torch.cdist(moved, moved) ** 2))

    def ours() -> Any:
        rows = torch.as_tensor(phi).requires_grad_()
        whitened_penalty(rows, moved, projected).backward()
        return rows.grad

    torch.set_num_threads(1)
    return {"ours": ours, "dense": lambda: dense(ready), "built": built}
