"""Errors of effects beside econml, and widths of intervals beside graphdml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.composition.common import absent, peer
from benchmarks.rows import Row, at_most, recorded, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.graph.baselines import causal_forest, nonparametric
from benchmarks.validation.graph.common import covers, draws, fit, hop_matrix, ratio_row, relative
from benchmarks.validation.graph.spillover import graphdml_fit, spillover_fit

__all__ = ["equal_coverage_width", "errors", "intervals"]

_ARMS = (
    ("causal_forest", "CausalForestDML on hop features"),
    ("nonparametric", "NonParamDML, boosting in three roles, on hop features"),
    ("causal_forest_own", "CausalForestDML on own covariates"),
    ("nonparametric_own", "NonParamDML, boosting in three roles, on own covariates"),
)
# Largest ratio of mean squared errors to causal forests on the same features.
_BARS = {"make_graph_heterogeneity": 1.5, "make_graph_complex_baseline": 1.1}
_EFFECTS = ("direct", "spillover")
_WORDS = {"make_graph_heterogeneity": "varying effects", "make_graph_complex_baseline": "complicated baseline"}


def _draw(rng: np.random.Generator, r: int, make: str) -> Mapping[str, float]:
    import causalkit.datasets as designs

    sample: Any = getattr(designs, make)(random_state=rng)
    hops = hop_matrix(sample)
    found = {"ours": relative(fit(sample, r).effect_, sample.effect)}
    for name, features in (("", hops), ("_own", sample.X)):
        found[f"causal_forest{name}"] = relative(causal_forest(features, sample, r), sample.effect)
        found[f"nonparametric{name}"] = relative(nonparametric(features, sample, r), sample.effect)
    return found


def errors(tier: Tier) -> Iterator[Row]:
    """E1 varying effects, E2 a complicated baseline."""
    if peer("econml") is None:
        reason = "peer absent: econml is not installed: pip install -e '.[econml]'"
        yield skipped("E1.1", "errors of effects beside econml", reason)
        return
    for number, (make, bar) in enumerate(_BARS.items()):
        # Seeds of the acceptance table: its draws, and its fits.
        seed = 60_100 if number == 0 else 60_400
        found = draws(tier, _draw, range(tier.size(6, 2)), seed=seed, make=make)
        label, what = f"E{number + 1}", f"{_WORDS[make]}, n=1000"
        yield recorded(f"{label}.0", f"{what}: default, error/Var(τ)", found["ours"].mean())
        for place, (key, words) in enumerate(_ARMS):
            # Own covariates cannot see what varies here: ours has to win, by whatever factor.
            high = bar if key == "causal_forest" else 1.0
            row = f"{what}: default over {words}"
            yield ratio_row(tier, f"{label}.{place + 1}", row, found["ours"], found[key], high)


def equal_coverage_width(errors: NDArray[np.float64], standard_errors: NDArray[np.float64]) -> float:
    """Mean width of intervals once they are widened or narrowed until 95 % of the draws are covered."""
    factor = float(np.quantile(np.abs(errors) / standard_errors, 0.95))
    return 2 * factor * float(standard_errors.mean())


def _uptake(rng: np.random.Generator, r: int) -> Mapping[str, float]:
    """Both with graphdml's boosting as nuisances and constant effects: what differs is the interval."""
    from graphdml.learners import default_classifier, default_regressor

    from causalkit.datasets import make_graph_uptake

    sample = make_graph_uptake(5000, random_state=rng)
    models = {"outcome_model": default_regressor(), "treatment_model": default_classifier()}
    ours, peer = spillover_fit(sample, r, final_model="constant", **models), graphdml_fit(sample, r)
    found: dict[str, float] = {}
    truths = (sample.population["average_direct_effect"], sample.population["spillover"])
    for j, (name, truth) in enumerate(zip(_EFFECTS, truths, strict=True)):
        pairs = {name: (ours.coef_[j], np.sqrt(ours.covariance_[j, j])), f"peer_{name}": (peer.coef_[j], peer.se_[j])}
        for key, (estimate, error) in pairs.items():
            found |= {f"{key}_error": float(estimate - truth), f"{key}_se": float(error)}
            found[f"{key}_covers"] = covers(float(estimate), float(error), truth)
    return found


def intervals(tier: Tier) -> Iterator[Row]:
    """W1: what width buys the same coverage."""
    if peer("graphdml") is None:
        yield skipped("W1", "intervals at equal coverage", absent("graphdml"))
        return
    found = draws(tier, _uptake, range(tier.size(40, 7)), seed=60_800)
    for place, name in enumerate(_EFFECTS):
        label, what = f"W1.{place + 1}", f"clustered uptake, n=5000, {name}, graphdml's boosting on both sides"
        ours = equal_coverage_width(found[f"{name}_error"], found[f"{name}_se"])
        theirs = equal_coverage_width(found[f"peer_{name}_error"], found[f"peer_{name}_se"])
        hits = f"{found[f'{name}_covers'].mean():.3f} and {found[f'peer_{name}_covers'].mean():.3f}"
        note = f"{len(found['direct_se'])} draws; ours {theirs / ours:.2f} times narrower; coverage as given {hits}"
        yield at_most(f"{label}a", f"{what}: our width over graphdml's at 95 % coverage", ours / theirs, 1.0, note=note)
        plain = found[f"{name}_se"].mean() / found[f"peer_{name}_se"].mean()
        yield recorded(f"{label}b", f"{what}: our mean standard error over graphdml's", float(plain))
