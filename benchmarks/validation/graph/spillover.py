"""Section F: direct effect and spillover on a network of points, beside graphdml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import installed
from benchmarks.rows import Row, at_least, recorded, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.graph.common import bias_row, covers, draws, graph_of, ratio_row, relative

__all__ = ["graphdml_fit", "rows", "spillover_fit", "uptake"]

Draws = dict[str, NDArray[np.float64]]

_LESS = -np.inf
_NAMES = ("direct", "spillover")


def spillover_fit(sample: Any, seed: int, **options: Any) -> Any:
    """Ours, with the count of treated neighbours as the exposure."""
    from causalkit.graph import SpilloverRLearner

    learner = SpilloverRLearner(exposure="count", random_state=seed, **options)
    return learner.fit(sample.X, sample.y, treatment=sample.treatment, graph=graph_of(sample))


def graphdml_fit(sample: Any, seed: int, **options: Any) -> Any:
    """The peer with its defaults; the sum of neighbours' treatments is the count."""
    import graphdml

    data = graphdml.GraphData(X=sample.X, T=sample.treatment, Y=sample.y, adjacency=sample.adjacency)
    return graphdml.GraphDML(exposure="sum", random_state=seed, **options).fit(data)


def _one(rng: np.random.Generator, r: int, heterogeneous: bool) -> Mapping[str, float]:
    from causalkit.datasets import make_graph_uptake

    sample = make_graph_uptake(5000, heterogeneous=heterogeneous, random_state=rng)
    learner = spillover_fit(sample, r)
    truths = (sample.population["average_direct_effect"], sample.population["spillover"])
    found: dict[str, float] = {}
    for j, (name, truth) in enumerate(zip(_NAMES, truths, strict=True)):
        result = learner.ate(effect=name)
        scored = float(result.estimate[0]), float(result.std_error[0])
        constant = float(learner.coef_[j]), float(np.sqrt(learner.covariance_[j, j]))
        # Where effects are constant, as the peer takes them to be, the constant fit is what is asked for.
        for key, (estimate, error) in ((name, scored if heterogeneous else constant), (f"scored_{name}", scored)):
            found |= {f"{key}_error": estimate - truth, f"{key}_se": error}
            found[f"{key}_covers"] = covers(estimate, error, truth)
    if heterogeneous:
        found["direct_mse"] = relative(np.asarray(learner.effect_)[:, 0], sample.effect)
    if installed("graphdml"):
        peer = graphdml_fit(sample, r)
        for j, (name, truth) in enumerate(zip(_NAMES, truths, strict=True)):
            estimate, error = float(peer.coef_[j]), float(peer.se_[j])
            found |= {f"peer_{name}_error": estimate - truth, f"peer_{name}_se": error}
            found[f"peer_{name}_covers"] = covers(estimate, error, truth)
    return found


@cache
def uptake(tier: Tier, heterogeneous: bool) -> Draws:
    """Draws of the uptake design, n = 5000."""
    size = tier.size(20, 7) if heterogeneous else tier.size(40, 14)
    return draws(tier, _one, range(size), seed=60_800 + heterogeneous, heterogeneous=heterogeneous)


def rows(tier: Tier) -> Iterator[Row]:
    """F16 constant effects, F17 a direct effect that varies."""
    cases = (("F16", "clustered uptake", False, 0.04, 35 / 40), ("F17", "uptake, varying effect", True, 0.06, 17 / 20))
    for label, words, heterogeneous, bias, share in cases:
        found = uptake(tier, heterogeneous)
        what = f"{words}, n=5000"
        yield bias_row(tier, f"{label}.1", f"{what}: bias of the direct effect", found["direct_error"], bias)
        yield bias_row(tier, f"{label}.2", f"{what}: bias of the spillover", found["spillover_error"], 0.015)
        for number, name in enumerate(_NAMES):
            hits = found[f"{name}_covers"]
            band = tier.band(float(np.sqrt(share * (1 - share) / len(hits))))
            words = f"{what}: coverage, {name}"
            yield at_least(f"{label}.{number + 3}", words, float(hits.mean()), share, band, f"{len(hits)} draws")
        yield from _peer_rows(tier, label, what, found)
        if not heterogeneous:
            for number, name in enumerate(_NAMES):
                words = f"{what}: mean standard error of the average of scores, {name}"
                note = f"coverage {found[f'scored_{name}_covers'].mean():.3f}"
                yield recorded(f"{label}.{number + 12}", words, found[f"scored_{name}_se"].mean(), note)
        if heterogeneous:
            words = f"{what}: direct effects of nodes, error/Var(τ)"
            yield tier.mean_within(f"{label}.11", words, found["direct_mse"], _LESS, 0.15)


def _peer_rows(tier: Tier, label: str, what: str, found: Draws) -> Iterator[Row]:
    if "peer_direct_se" not in found:
        reason = "peer absent: graphdml is not installed: pip install -e '.[bench]'"
        yield skipped(f"{label}.5", f"{what}: mean standard error over graphdml's", reason)
        for number, name in enumerate(_NAMES):
            words = f"{what}: mean standard error, {name}"
            yield recorded(f"{label}.{number + 7}", words, found[f"{name}_se"].mean())
        return
    for number, name in enumerate(_NAMES):
        ours, theirs = found[f"{name}_se"], found[f"peer_{name}_se"]
        words = f"{what}: mean standard error over graphdml's, {name}"
        yield ratio_row(tier, f"{label}.{number + 5}", words, ours, theirs, 0.6)
    for number, name in enumerate(_NAMES):
        error, hits = found[f"peer_{name}_error"].mean(), found[f"peer_{name}_covers"].mean()
        yield recorded(f"{label}.{2 * number + 7}", f"{what}: graphdml, bias, {name}", error)
        yield recorded(f"{label}.{2 * number + 8}", f"{what}: graphdml, coverage, {name}", hits)
