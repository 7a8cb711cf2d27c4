"""What several sections need: learners, features, draws in parallel, and how errors are measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from benchmarks.measuring import installed, quiet
from benchmarks.rows import Row, at_least, at_most, within
from benchmarks.simulation import Tier, standard_error

__all__ = [
    "DEFAULT_CV",
    "bias_row",
    "covers",
    "draws",
    "fit",
    "folds_of",
    "graph_of",
    "hop_matrix",
    "joined",
    "ratio_row",
    "relative",
    "sd_row",
    "share_row",
    "squared",
]

Array = NDArray[np.float64]
Draws = dict[str, Array]

DEFAULT_CV = 5
_Z = 1.959963984540054


def graph_of(sample: Any) -> Any:
    """The network of a sample."""
    from causalkit.graph import Graph

    return Graph.from_scipy(sample.adjacency)


def hop_matrix(sample: Any) -> Array:
    """Hop features of the defaults, in double precision."""
    from causalkit.graph import HopFeatures

    return np.asarray(HopFeatures().fit_transform(sample.X, graph=graph_of(sample)), dtype=np.float64)


def fit(sample: Any, seed: int = 0, **options: Any) -> Any:
    """A fitted learner; arguments of ``fit`` are told from those of the class."""
    from causalkit.graph import GraphRLearner

    given = {k: options.pop(k) for k in ("exposure", "outcome_predictions", "treatment_predictions") if k in options}
    learner = GraphRLearner(random_state=seed, **options)
    return learner.fit(sample.X, sample.y, treatment=sample.treatment, graph=graph_of(sample), **given)


def folds_of(learner: Any) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Training and held-out rows of the first repeat of a fitted learner."""
    fold = np.atleast_2d(learner.folds_)[0]
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in np.unique(fold)]


def squared(estimate: Any, truth: Any) -> float:
    """Mean squared error."""
    return float(((np.asarray(estimate, dtype=np.float64).reshape(-1) - np.asarray(truth)) ** 2).mean())


def relative(estimate: Any, truth: Any) -> float:
    """Mean squared error over the variance of the truth."""
    return squared(estimate, truth) / float(np.var(truth))


def covers(estimate: float, std_error: float, truth: float) -> float:
    """Whether a 95 % interval holds the truth."""
    return float(abs(estimate - truth) <= _Z * std_error)


def _one(call: Callable[..., Mapping[str, float]], seed: int, r: int, settings: Mapping[str, Any]) -> dict[str, float]:
    from threadpoolctl import threadpool_limits

    with quiet(), threadpool_limits(1):
        if installed("torch"):
            import torch

            torch.set_num_threads(1)
        return dict(call(np.random.default_rng([seed, r]), r, **settings))


def draws(
    tier: Tier, call: Callable[..., Mapping[str, float]], numbers: Iterable[int], *, seed: int, **settings: Any
) -> Draws:
    """Run ``call(rng, r, **settings)`` for every r, one draw per task; r is seeded by (seed, r).

    A draw takes many seconds here, so that tasks of ten, as other families have them, would leave processes idle.

    Returns
    -------
    dict of str to ndarray, shape (number of draws,)
        What each draw returned, by name.
    """
    records = Parallel(n_jobs=tier.n_jobs)(delayed(_one)(call, seed, r, settings) for r in numbers)
    return {name: np.array([record[name] for record in records], dtype=float) for name in records[0]}


def joined(*parts: Draws) -> Draws:
    """Draws of one design under the names that all parts have."""
    names = set.intersection(*(set(part) for part in parts))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name in names}


def ratio_row(tier: Tier, id: str, what: str, above: Array, below: Array, high: float, note: str = "") -> Row:
    """Ratio of two means over the same draws, with the band of the delta method in the short tier."""
    ratio = float(np.mean(above) / np.mean(below))
    band = tier.band(standard_error((above - ratio * below) / np.mean(below)))
    note = f"{len(above)} draws, {np.mean(above):.3g} against {np.mean(below):.3g}" + (f"; {note}" if note else "")
    return at_most(id, what, ratio, high, band, note)


def bias_row(tier: Tier, id: str, what: str, errors: Array, high: float, note: str = "") -> Row:
    """Absolute mean of errors."""
    mean = float(np.mean(errors))
    note = f"{len(errors)} draws, mean {mean:.3g}" + (f"; {note}" if note else "")
    return at_most(id, what, abs(mean), high, tier.band(standard_error(errors)), note)


def sd_row(tier: Tier, id: str, what: str, values: Array, high: float) -> Row:
    """Standard deviation over draws."""
    sd = float(np.std(values, ddof=1))
    return at_most(id, what, sd, high, tier.band(sd / math.sqrt(2 * (len(values) - 1))), f"{len(values)} draws")


def share_row(
    tier: Tier, id: str, what: str, hits: Array, low: float, high: float = 1.0, *, most: bool = False, note: str = ""
) -> Row:
    """A share of draws in [low, high], or at most ``high``; a share that meets the bar sets the band of few draws."""
    share = float(np.mean(hits))
    edge = high if most or (high < 1 and share > (low + high) / 2) else low
    band = tier.band(math.sqrt(max(edge * (1 - edge), 0.25 / len(hits)) / len(hits)))
    note = f"{len(hits)} draws" + (f"; {note}" if note else "")
    if most:
        return at_most(id, what, share, high, band, note)
    if high >= 1:
        return at_least(id, what, share, low, band, note)
    return within(id, what, share, low, high, band, note)
