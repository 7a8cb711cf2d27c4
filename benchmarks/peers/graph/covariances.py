"""Covariances along a network: multiples of one sparse product, and memory far below a dense matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.peers.augmentation.common import interleaved_cpu_medians
from benchmarks.peers.timing import peak_bytes, seconds
from benchmarks.rows import Row, at_most, recorded
from benchmarks.simulation import Tier

__all__ = ["covariances"]

_MEGABYTE = 2.0**20


def _network(n: int, degree: float) -> Any:
    from causalkit.datasets.graph_generators import erdos_renyi
    from causalkit.inference import network_skeleton

    return network_skeleton(erdos_renyi(n, degree / n, np.random.default_rng([61_200, n])))


def covariances(tier: Tier) -> Iterator[Row]:
    """V1 the kernel of common neighbours, V2 all pairs within two steps."""
    from causalkit.inference import network_covariance

    skeleton = _network(1_000_000, 10)
    values = np.random.default_rng(61_201).standard_normal(1_000_000)
    values -= values.mean()
    times = interleaved_cpu_medians(
        {
            "ours": lambda: network_covariance(values, skeleton, dependence="network", kernel="psd", bandwidth=2),
            "product": lambda: skeleton.matrix @ values,
        },
        tier.size(9, 5),
    )
    what = "1e6 nodes, 5e6 links: standard error with the kernel of common neighbours, in sparse matrix-vector products"
    note = f"{times['ours']:.3g} s against {times['product']:.3g} s"
    yield at_most("V1", what, times["ours"] / times["product"], 3.0, note=note)
    n = 100_000
    skeleton, values = _network(n, 10), values[:n] - values[:n].mean()

    def two_steps() -> Any:
        return network_covariance(values, skeleton, dependence="network", kernel="uniform", bandwidth=2)

    note = f"a dense matrix would be {8 * n**2 / _MEGABYTE:.0f} MB"
    yield at_most(
        "V2.1", "1e5 nodes, all pairs within 2 steps: peak MB", peak_bytes(two_steps) / _MEGABYTE, 1000.0, note=note
    )
    yield recorded("V2.2", "1e5 nodes, all pairs within 2 steps: seconds", seconds(two_steps))
