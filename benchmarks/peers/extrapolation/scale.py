"""A million rows from a memory map: seconds, and the largest resident set of a process of its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measuring import installed
from benchmarks.peers.composition.common import peak_resident_bytes
from benchmarks.rows import Row, at_least, at_most, recorded
from benchmarks.simulation import Tier
from benchmarks.validation.extrapolation.common import linear_r2
from causalkit.datasets import make_intervention_curve
from causalkit.extrapolation import LinearInvarianceEncoder

__all__ = ["million_rows"]

_GIGABYTE = 2.0**30
_N_FEATURES = 256

_IMPORTS = """
import warnings
import numpy as np
from causalkit.extrapolation import LinearInvarianceEncoder
warnings.simplefilter("ignore")
"""
_FIT = """
X = np.load({features!r}, mmap_mode="r")
A = np.load({actions!r}, mmap_mode="r")
LinearInvarianceEncoder(n_random_features=256, random_state=0).fit(X, actions=A)
"""
_PENALTY = """
import torch
from causalkit.extrapolation.torch_penalty import projected_features, whitened_penalty
torch.set_num_threads(1)
A = torch.as_tensor(np.load({actions!r}, mmap_mode="r")[:] * 3 ** 0.5, dtype=torch.float32)
omega = torch.randn(1, 128)
G = torch.zeros(2, 256)
for start in range(0, len(A), 500):
    batch = A[start : start + 500]
    phi = (batch + torch.randn(len(batch), 1)).requires_grad_()
    whitened_penalty(phi, batch, projected_features(batch, omega, G)).backward()
"""


def million_rows(tier: Tier) -> Iterator[Row]:
    """M1 the sieve from a memory map, M2 one epoch of the penalty with F⊥ recomputed in every batch."""
    n = 1_000_000
    sample = make_intervention_curve(n, random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder) / f"{name}.npy") for name in ("features", "actions")}
        np.save(paths["features"], sample.features)
        np.save(paths["actions"], sample.actions)
        size = sample.features.nbytes + sample.actions.nbytes
        base = peak_resident_bytes(_IMPORTS, "pass")
        peak = peak_resident_bytes(_IMPORTS, _FIT.format(**paths))
        above = (peak - base - size) / _GIGABYTE
        note = f"peak {peak / _GIGABYTE:.3g} GB, imports {base / _GIGABYTE:.2g}, input {size / _GIGABYTE:.2g}"
        what = f"sieve, n=1e6, m=10, p=210, D={_N_FEATURES}, memory map: GB above imports and input"
        yield at_most("M1.1", what, above, 1.0, note=note)
        mapped = np.load(paths["features"], mmap_mode="r")
        started = time.process_time()
        encoder = LinearInvarianceEncoder(n_random_features=_N_FEATURES, random_state=0)
        encoder.fit(mapped, actions=sample.actions)
        yield recorded(
            "M1.2", "the same: processor seconds, choice of the ridge included", time.process_time() - started
        )
        # The first draw at ten thousand rows has .96.
        score = linear_r2(encoder.transform(mapped[:100_000]), sample.latent[:100_000])
        yield at_least("M1.3", "the same: R² of Z", score, 0.95)
        if installed("torch"):
            body = _PENALTY.format(**paths)
            base = peak_resident_bytes(_IMPORTS + "\nimport torch", "pass")
            above = (peak_resident_bytes(_IMPORTS, body) - base) / _GIGABYTE
            dense = 8.0 * n * n / _GIGABYTE
            note = (
                f"a kernel matrix of double precision would take {dense:.3g} GB, a stored F⊥ of single precision 0.95"
            )
            what = f"penalty and gradient, n=1e6, D={_N_FEATURES}, F⊥ recomputed per batch: GB above imports"
            yield recorded("M2", what, above, note)
