"""One fit of a large network in this process: ``python -m benchmarks.peers.graph.scale_run ours 1000000 cpu``."""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["main", "peak_memory"]

_LINKS = 5


def _sample(n: int) -> Any:
    """The design with varying effects on preferential attachment with 5 links per new node."""
    from causalkit.datasets import make_graph_heterogeneity
    from causalkit.datasets.graph_generators import barabasi_albert

    rng = np.random.default_rng([61_200, n])
    return make_graph_heterogeneity(n, graph=barabasi_albert(n, _LINKS, rng), random_state=rng)


def peak_memory() -> int:
    """Largest resident set of this process in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _ours(sample: Any, device: str) -> dict[str, float]:
    from causalkit.graph import Graph, GraphRLearner

    graph = Graph.from_scipy(sample.adjacency)
    started = time.perf_counter()
    learner = GraphRLearner(device=device, random_state=0)
    learner.fit(sample.X, sample.y, treatment=sample.treatment, graph=graph)
    fitted = time.perf_counter()
    learner.ate()
    averaged = time.perf_counter()
    learner.overlap()
    done = time.perf_counter()
    error = float(((learner.effect_ - sample.effect) ** 2).mean() / sample.effect.var())
    return {"fit": fitted - started, "ate": averaged - fitted, "overlap": done - averaged, "error": error}


def _econml(sample: Any) -> dict[str, float]:
    from benchmarks.validation.graph.baselines import nonparametric
    from causalkit.graph import Graph, HopFeatures

    features = HopFeatures().fit_transform(sample.X, graph=Graph.from_scipy(sample.adjacency))
    started = time.perf_counter()
    effect = nonparametric(features, sample, 0)
    taken = time.perf_counter() - started
    return {"fit": taken, "error": float(((effect - sample.effect) ** 2).mean() / sample.effect.var())}


def main(arguments: list[str]) -> int:
    """Fit, and print seconds and largest memory as one line of JSON."""
    which, n, device = arguments[0], int(arguments[1]), arguments[2] if len(arguments) > 2 else "cpu"
    warnings.simplefilter("ignore")
    sample = _sample(n)
    found = _ours(sample, device) if which == "ours" else _econml(sample)
    print(json.dumps({**found, "peak": peak_memory()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
