"""What several sections need: quiet fits, exact samples, the closed forms of ranking, and how means are judged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, near, within
from benchmarks.simulation import Tier, listed_mean, standard_error
from causalkit.rewards import RewardDeconfounder

__all__ = [
    "EXPECTED_MAXIMUM",
    "LOADINGS",
    "THETA",
    "coverage_row",
    "covers",
    "exact_normals",
    "fit",
    "four_errors",
    "halves",
    "linear_smoother",
    "listed_vector",
    "ranking",
]

Array = NDArray[np.float64]

THETA = np.array([1.0, 0.5, -0.75, 0.0])
LOADINGS = np.array([0.8, -0.6, 0.0, 0.0])
# Mean of the largest of n standard normal variables.
EXPECTED_MAXIMUM = {2: 0.56419, 4: 1.02938, 8: 1.42360, 16: 1.76599, 64: 2.34373}
_Z = 1.959963984540054


def fit(method: str, X: Any, y: Any, confounders: Any = None, **options: Any) -> RewardDeconfounder:
    """A fit whose confounders were settled before the texts; arguments of ``fit`` are told from those of the class."""
    given = {k: options.pop(k) for k in ("instruments", "sample_weight", "groups", "prompts") if k in options}
    options = {"timing": "before", "random_state": 0, **options}
    return RewardDeconfounder(method=method, **options).fit(X, y, confounders=confounders, **given)


def linear_smoother() -> Any:
    """Least squares, the nuisance that is right in linear designs."""
    from sklearn.linear_model import LinearRegression

    return LinearRegression()


def exact_normals(n: int, k: int, seed: int) -> Array:
    """Columns with means 0, variances 1 and covariances 0 in the sample itself, so that it is its own population."""
    draw = np.random.default_rng(seed).standard_normal((n, k))
    left = np.linalg.svd(draw - draw.mean(axis=0), full_matrices=False)[0]
    return np.asarray(left * math.sqrt(n))


def halves(n: int) -> list[tuple[Array, Array]]:
    """Folds of a sample that stands twice below itself: each half is fitted with an exact copy of it."""
    first = np.arange(n)
    return [(first, first + n), (first + n, first)]


def ranking(w: Array, theta: Array = THETA, n: int = 8) -> tuple[float, float, float]:
    """ρ = w'θ/(|w||θ|), pair accuracy ½ + asin(ρ)/π and best-of-n uplift ρ|θ|e_n for texts X ~ N(0, I)."""
    size = float(np.linalg.norm(theta))
    rho = float(w @ theta / (np.linalg.norm(w) * size))
    return rho, 0.5 + math.asin(min(rho, 1.0)) / math.pi, rho * size * EXPECTED_MAXIMUM[n]


def covers(estimate: Any, std_error: Any, truth: Any) -> Any:
    """Whether 95 % intervals hold the truth."""
    return np.abs(np.asarray(estimate) - truth) <= _Z * np.asarray(std_error)


def four_errors(id: str, what: str, values: Array, target: float) -> Row:
    """A mean within four Monte Carlo standard errors of the truth, in either tier."""
    band = 4 * standard_error(values)
    return near(id, what, float(np.mean(values)), target, band, note=f"{len(values)} repetitions, 4 standard errors")


def coverage_row(tier: Tier, id: str, what: str, hits: Array, note: str = "") -> Row:
    """Coverage of 95 % intervals in [.92, .98] from 300 repetitions on; fewer widen the bar."""
    if tier.full and len(hits) < 300:
        share = float(np.mean(hits))
        edge = 0.92 if share < 0.95 else 0.98
        band = 3 * math.sqrt(edge * (1 - edge) / len(hits))
        note = f"{len(hits)} repetitions" + (f"; {note}" if note else "")
        return within(id, what, share, 0.92, 0.98, band, note)
    return tier.share_within(id, what, hits, 0.92, 0.98, note)


def listed_vector(
    label: str,
    what: str,
    draws: dict[str, Array],
    key: str,
    listed: Sequence[float],
    n_listed: int,
    rounding: float,
) -> Iterator[Row]:
    """Means of key0, key1, ... against those of another run, at three standard errors of both."""
    for j, target in enumerate(listed):
        values = draws[f"{key}{j}"]
        row = f"{what}: coefficient {j + 1}, mean"
        yield listed_mean(
            f"{label}{'abcdefgh'[j]}", row, values, target, float(np.std(values, ddof=1)), n_listed, rounding
        )
