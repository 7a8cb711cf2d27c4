"""Draws of the designs with real heterogeneity; what one fit yields is measured once for every section."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import installed
from benchmarks.simulation import Tier
from benchmarks.validation.graph.baselines import (
    arm_forest,
    arm_network,
    causal_forest,
    difference_in_means,
    nonparametric,
)
from benchmarks.validation.graph.common import covers, draws, fit, folds_of, hop_matrix, joined, relative, squared

__all__ = ["attachment", "baseline", "flagged", "independent", "large"]

Array = NDArray[np.float64]
Draws = dict[str, Array]

_RICH = (10, 4)  # draws on which every arm is fitted, full and short tier
_AVERAGE = (40, 14)
_PEERS = (5, 2)


def _refit(sample: Any, r: int, nuisances: Any, **options: Any) -> Any:
    """Another final stage on the nuisances of a fit, whose folds come back with the seed."""
    return fit(
        sample,
        r,
        outcome_predictions=nuisances.outcome_prediction_,
        treatment_predictions=nuisances.treatment_prediction_,
        **options,
    )


def flagged(learner: Any, which: str) -> float:
    """Whether the residuals of outcome or treatment go with covariates of neighbours, at 5 %."""
    return float(learner.residual_dependence().loc[which, "pvalue"] < 0.05)


def _average(sample: Any, learner: Any) -> dict[str, float]:
    result = learner.ate()
    truth = float(sample.effect.mean())
    estimate, error = float(result.estimate[0]), float(result.std_error[0])
    plain = learner.ate(dependence="iid")
    return {
        "ate_error": estimate - truth,
        "ate_se": error,
        "ate_covers": covers(estimate, error, truth),
        "ate_se_iid": float(plain.std_error[0]),
        "ate_covers_iid": covers(estimate, float(plain.std_error[0]), truth),
        "means_error": difference_in_means(sample) - truth,
    }


def _default(sample: Any, r: int) -> tuple[Any, dict[str, float]]:
    learner = fit(sample, r)
    found = {
        "default": relative(learner.effect_, sample.effect),
        "default_predict": relative(learner.predict(sample.X), sample.effect),
        "constant": relative(np.full(len(sample.y), learner.effect_constant_), sample.effect),
        "flag_outcome": flagged(learner, "outcome"),
        "flag_treatment": flagged(learner, "treatment"),
    }
    return learner, found | _average(sample, learner)


def _plain(rng: np.random.Generator, r: int) -> Mapping[str, float]:
    from causalkit.datasets import make_graph_heterogeneity

    return _default(make_graph_heterogeneity(random_state=rng), r)[1]


def _rich(rng: np.random.Generator, r: int) -> Mapping[str, float]:
    """Every arm on one draw: 2×2 grid, known nuisances, arms apart."""
    from causalkit.datasets import make_graph_heterogeneity

    sample = make_graph_heterogeneity(random_state=rng)
    learner, found = _default(sample, r)
    neural = _refit(sample, r, learner, final_model="neural")
    found["neural"] = relative(neural.effect_, sample.effect)
    found["neural_predict"] = relative(neural.predict(sample.X), sample.effect)
    found["final_own"] = relative(_refit(sample, r, learner, final_features="own").effect_, sample.effect)
    own = fit(sample, r, nuisance_features="own")
    found["nuisance_own"] = relative(own.effect_, sample.effect)
    found["nuisance_own_neural"] = relative(_refit(sample, r, own, final_model="neural").effect_, sample.effect)
    found["both_own"] = relative(_refit(sample, r, own, final_features="own").effect_, sample.effect)
    found["own_flag_outcome"], found["own_flag_treatment"] = flagged(own, "outcome"), flagged(own, "treatment")
    known: dict[str, Any] = {
        "outcome_predictions": sample.outcome_mean,
        "treatment_predictions": sample.propensity,
    }
    found["known"] = relative(fit(sample, r, **known).predict(sample.X), sample.effect)
    oracle = fit(sample, r, final_model="neural", **known)
    found["known_neural"] = relative(oracle.predict(sample.X), sample.effect)
    features, folds = hop_matrix(sample), folds_of(learner)
    for bags in (1, 3, 5):
        found[f"t_neural_{bags}"] = relative(arm_network(features, sample, folds, r, bags), sample.effect)
    found["t_forest"] = relative(arm_forest(features, sample, folds, r), sample.effect)
    return found


def _peers(rng: np.random.Generator, r: int, make: str) -> Mapping[str, float]:
    """econml on the same draw: hop features, and own covariates."""
    import causalkit.datasets as designs

    sample = getattr(designs, make)(random_state=rng)
    features = hop_matrix(sample)
    return {
        "causal_forest": relative(causal_forest(features, sample, r), sample.effect),
        "causal_forest_own": relative(causal_forest(sample.X, sample, r), sample.effect),
        "nonparametric": relative(nonparametric(features, sample, r), sample.effect),
        "nonparametric_own": relative(nonparametric(sample.X, sample, r), sample.effect),
    }


@cache
def attachment(tier: Tier) -> tuple[Draws, Draws, Draws]:
    """Preferential attachment, n = 1000: all draws, those with every arm, and those with econml."""
    rich = draws(tier, _rich, range(tier.size(*_RICH)), seed=60_100)
    rest = draws(tier, _plain, range(tier.size(*_RICH), tier.size(*_AVERAGE)), seed=60_100)
    peers: Draws = {}
    if installed("econml"):
        peers = draws(tier, _peers, range(tier.size(*_PEERS)), seed=60_100, make="make_graph_heterogeneity")
    return joined(rich, rest), rich, peers


def _links(rng: np.random.Generator, r: int) -> Mapping[str, float]:
    from causalkit.datasets import make_graph_heterogeneity

    sample = make_graph_heterogeneity(graph="er", random_state=rng)
    learner, found = _default(sample, r)
    found["neural"] = relative(_refit(sample, r, learner, final_model="neural").effect_, sample.effect)
    return found


@cache
def independent(tier: Tier) -> Draws:
    """Independent links, n = 1000."""
    return draws(tier, _links, range(tier.size(6, 3)), seed=60_200)


def _large(rng: np.random.Generator, r: int) -> Mapping[str, float]:
    from causalkit.datasets import make_graph_heterogeneity

    sample = make_graph_heterogeneity(4000, random_state=rng)
    learner = fit(sample, r)
    neural = _refit(sample, r, learner, final_model="neural")
    return {
        "default": relative(learner.effect_, sample.effect),
        "neural": relative(neural.effect_, sample.effect),
        "neural_predict": relative(neural.predict(sample.X), sample.effect),
    }


@cache
def large(tier: Tier) -> Draws:
    """Preferential attachment, n = 4000."""
    return draws(tier, _large, range(tier.size(3, 2)), seed=60_300)


def _complex(rng: np.random.Generator, r: int) -> Mapping[str, float]:
    from causalkit.datasets import make_graph_complex_baseline

    sample = make_graph_complex_baseline(random_state=rng)
    learner = fit(sample, r)
    features = hop_matrix(sample)
    found = {
        "default": relative(learner.effect_, sample.effect),
        "default_squared": squared(learner.effect_, sample.effect),
        "t_forest": relative(arm_forest(features, sample, folds_of(learner), r), sample.effect),
    }
    if installed("econml"):
        found["causal_forest"] = relative(causal_forest(features, sample, r), sample.effect)
    return found


@cache
def baseline(tier: Tier) -> Draws:
    """Complicated baseline and simple effect, n = 1000."""
    return draws(tier, _complex, range(tier.size(6, 3)), seed=60_400)
