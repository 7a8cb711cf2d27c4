"""Fits of some thousand nodes: processor seconds beside econml's causal forest and beside graphdml."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.peers.augmentation.common import interleaved_cpu_medians, slower
from benchmarks.peers.composition.common import absent, peer
from benchmarks.rows import Row, recorded, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.graph.baselines import causal_forest
from benchmarks.validation.graph.common import fit, hop_matrix
from benchmarks.validation.graph.spillover import graphdml_fit, spillover_fit

__all__ = ["small", "spillover"]


def small(tier: Tier) -> Iterator[Row]:
    """T1: a default fit, 1000 nodes."""
    import causalkit.datasets as designs

    what = "n=1000, default fit: our time over CausalForestDML(cv=5, n_estimators=500)"
    if peer("econml") is None:
        yield skipped("T1.1", what, "peer absent: econml is not installed: pip install -e '.[econml]'")
        return
    cases = (("varying effects", "make_graph_heterogeneity"), ("complicated baseline", "make_graph_complex_baseline"))
    for number, (words, name) in enumerate(cases):
        sample = getattr(designs, name)(random_state=np.random.default_rng([61_200, 1000]))
        features = hop_matrix(sample)
        calls: dict[str, Callable[[], Any]] = {
            "ours": lambda sample=sample: fit(sample),
            "theirs": lambda sample=sample, features=features: causal_forest(features, sample, 0, fitted=True),
        }
        times = interleaved_cpu_medians(calls, tier.size(3, 1))
        note = "nuisances default on both sides, hop features within our time"
        yield slower(f"T1.{number + 1}", f"{words}, {what}", times["ours"], times["theirs"], 1.5, note)


def spillover(tier: Tier) -> Iterator[Row]:
    """S1: the same boosted nuisances on both sides, 5000 nodes: constant effects as graphdml has them, and defaults."""
    from causalkit.datasets import make_graph_uptake

    what = "n=5000, graphdml's boosting on both sides: our time over graphdml's"
    if peer("graphdml") is None:
        yield skipped("S1.1", what, absent("graphdml"))
        return
    from graphdml.learners import default_classifier, default_regressor

    sample = make_graph_uptake(5000, random_state=np.random.default_rng([61_200, 5000]))
    models = {"outcome_model": default_regressor(), "treatment_model": default_classifier()}
    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: spillover_fit(sample, 0, final_model="constant", **models),
        "every": lambda: spillover_fit(sample, 0, **models),
        "theirs": lambda: graphdml_fit(sample, 0),
    }
    times = interleaved_cpu_medians(calls, tier.size(5, 3))
    yield slower("S1.1", f"{what}, constant effects", times["ours"], times["theirs"], 1.0)
    ratio, note = times["every"] / times["theirs"], "with the choice between models of effects that vary"
    yield recorded("S1.2", f"{what}, defaults", ratio, f"{times['every']:.3g} s; {note}")
