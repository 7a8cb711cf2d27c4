"""Layers that pass messages, on stored CSR operators, beside torch_geometric's on an edge index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.peers.augmentation.common import interleaved_cpu_medians
from benchmarks.rows import Row, at_least, at_most, recorded, skipped
from benchmarks.simulation import Tier

__all__ = ["rows"]

_NODES, _EDGES, _WIDTH = 100_000, 1_000_000, 32


def _both_ways(layer: Callable[[Any], Any], x: Any, weight: Any) -> tuple[Any, Any]:
    """Output, and the gradient of a weighted sum of it in x: no gradient of ones, which products may treat apart."""
    x = x.detach().requires_grad_()
    out = layer(x)
    out.backward(weight)
    return out.detach(), x.grad


def _layers(graph: Any, index: Any) -> Iterator[tuple[str, str, Callable[[Any], Any], Callable[[Any], Any]]]:
    """Letter, name, our layer, and theirs with the same weights."""
    import torch
    from torch_geometric.nn import GINConv, SAGEConv

    from causalkit.graph.neural import GIN, SAGE, make_operator
    from causalkit.nn import global_seed

    cpu = torch.device("cpu")
    with global_seed(61_210, cpu):
        sage, sage_peer = SAGE(_WIDTH, _WIDTH, aggr="sum"), SAGEConv(_WIDTH, _WIDTH)
        inner = torch.nn.Sequential(torch.nn.Linear(_WIDTH, _WIDTH), torch.nn.ReLU(), torch.nn.Linear(_WIDTH, _WIDTH))
    sage_peer.load_state_dict(sage.state_dict())
    gin, gin_peer = GIN(inner), GINConv(inner)
    mean = make_operator(graph.adjacency("mean"), cpu)
    total = make_operator(graph.adjacency("raw"), cpu)
    yield "L1", "SAGE", lambda x: sage(x, mean.matrix), lambda x: sage_peer(x, index)
    yield "L2", "GIN", lambda x: gin(x, total.matrix), lambda x: gin_peer(x, index)


def rows(tier: Tier) -> Iterator[Row]:
    """L1 SAGE, L2 GIN: ratio of times forward and backward, differences; forward alone and the bare sum."""
    try:
        import torch
        import torch_geometric  # noqa: F401
    except ImportError as error:
        yield skipped("L1", "SAGE and GIN layers", f"{error.name} is not installed")
        return
    from causalkit.graph import Graph
    from causalkit.nn import single_threaded, torch_generator

    edges = np.random.default_rng([61_200, _NODES]).integers(0, _NODES, size=(_EDGES, 2))
    # Ours drops self-loops and repeats when a graph is built: the peer gets the same edges.
    edges = np.unique(edges[edges[:, 0] != edges[:, 1]], axis=0)
    graph = Graph.from_edges(edges, n_nodes=_NODES, directed=True)
    index = torch.as_tensor(edges.T.copy())
    x = torch.randn(_NODES, _WIDTH, generator=torch_generator(61_211))
    weight = torch.randn(_NODES, _WIDTH, generator=torch_generator(61_212))
    size = f"1e5 nodes, {len(edges):.3g} directed edges, d = {_WIDTH}"
    repeats = tier.size(9, 5)
    with single_threaded():
        for letter, name, ours, theirs in _layers(graph, index):
            yield from _compared(letter, f"{name} layer, {size}", ours, theirs, x, weight, repeats)
        yield from _bare(graph, index, x, weight, repeats, size)


def _compared(
    letter: str,
    what: str,
    ours: Callable[[Any], Any],
    theirs: Callable[[Any], Any],
    x: Any,
    weight: Any,
    repeats: int,
) -> Iterator[Row]:
    import torch

    (out, gradient), (peer_out, peer_gradient) = (_both_ways(layer, x, weight) for layer in (ours, theirs))
    yield at_most(f"{letter}.1", f"{what}: largest difference of outputs", (out - peer_out).abs().max(), 1e-5)
    yield at_most(f"{letter}.2", f"{what}: of gradients", (gradient - peer_gradient).abs().max(), 1e-5)
    times = interleaved_cpu_medians(
        {"ours": lambda: _both_ways(ours, x, weight), "theirs": lambda: _both_ways(theirs, x, weight)}, repeats
    )
    note = f"{times['ours']:.3g} s against {times['theirs']:.3g} s, one thread"
    ratio = times["theirs"] / times["ours"]
    yield at_least(f"{letter}.3", f"{what}: forward and backward, times faster", ratio, 3.0, note=note)
    with torch.no_grad():
        times = interleaved_cpu_medians({"ours": lambda: ours(x), "theirs": lambda: theirs(x)}, repeats)
    note = f"{times['ours']:.3g} s against {times['theirs']:.3g} s, one thread"
    yield recorded(f"{letter}.4", f"{what}: forward alone, times faster", times["theirs"] / times["ours"], note=note)


def _bare(graph: Any, index: Any, x: Any, weight: Any, repeats: int, size: str) -> Iterator[Row]:
    """The sum over neighbours alone, against a gather and a scatter in torch."""
    import torch

    from causalkit.graph.neural import csr_product, make_operator

    operator = make_operator(graph.adjacency("raw"), torch.device("cpu"))

    def scattered(values: Any) -> Any:
        return torch.zeros_like(values).index_add_(0, index[1], values[index[0]])

    def gathered(values: Any) -> Any:
        return csr_product(operator.matrix, values)

    times = interleaved_cpu_medians(
        {"ours": lambda: _both_ways(gathered, x, weight), "theirs": lambda: _both_ways(scattered, x, weight)}, repeats
    )
    note = f"{times['ours']:.3g} s against {times['theirs']:.3g} s, one thread"
    what = f"Sum over neighbours, {size}: forward and backward, times faster than index_add_"
    yield recorded("L3", what, times["theirs"] / times["ours"], note=note)
