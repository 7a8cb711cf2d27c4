"""What several sections need: fits of one sample by every penalty, their errors, and how a listed mean is judged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import gap
from benchmarks.rows import Row, near
from benchmarks.simulation import listed_mean, standard_error
from causalkit.augmentation import IVLikeRegressor, normalized_causal_excess_risk
from causalkit.augmentation.augmenters import NullSpaceShift
from causalkit.datasets import make_linear_augmentation

__all__ = [
    "LISTED_DESIGNS",
    "euclidean",
    "fit_sample",
    "linear_sample",
    "listed",
    "mean_of_listed",
    "relative_gap",
]

Array = NDArray[np.float64]

# Where the number of designs behind a listed mean is not stated; its listed standard errors fit no smaller number.
LISTED_DESIGNS = 150
# Half a unit of the fourth decimal.
_ROUNDING = 5e-5


def euclidean(coef: Any, truth: Array) -> Any:
    """Normalised causal excess risk in the Euclidean norm, of one fit or of the rows of a path."""
    return normalized_causal_excess_risk(coef, truth, norm="euclidean")


def fit_sample(sample: Any, penalty: str | None, seed: int = 0, **options: Any) -> IVLikeRegressor:
    """Fit of a linear sample by a penalty, with shifts along its basis; None is least squares as the data are."""
    if penalty is None:
        return IVLikeRegressor(**options).fit(sample.X, sample.y)
    shift = NullSpaceShift(sample.basis)
    model = IVLikeRegressor(augmentation=shift, penalty=penalty, random_state=seed, **options)
    return model.fit(sample.X, sample.y)


def linear_sample(rng: np.random.Generator, n: int = 2048, m: int = 32, **settings: Any) -> tuple[Any, int]:
    """A fresh design with its rows, and a seed for the augmentation that is not that of the design."""
    sample = make_linear_augmentation(n, m, random_state=rng, **settings)
    return sample, int(rng.integers(2**31 - 1))


def listed(
    id: str,
    what: str,
    values: Array,
    target: float,
    se: float | None = None,
    n_listed: int = LISTED_DESIGNS,
    rounding: float = _ROUNDING,
) -> Row:
    """A mean over designs against a listed one, at three standard errors of both runs.

    Without a listed standard error that of the listed run follows from our spread and its number of designs.
    """
    if se is None:
        return listed_mean(id, what, values, target, float(np.std(values, ddof=1)), n_listed, rounding)
    band = 3 * math.hypot(standard_error(values), se)
    note = f"{len(values)} designs, listed with {n_listed}, SE {se:g}"
    return near(id, what, float(np.mean(values)), target, band + rounding, note=note)


def mean_of_listed(id: str, what: str, values: Array, low: float, high: float, note: str = "") -> Row:
    """A mean against a listed range, which three standard errors of this run widen in either tier."""
    middle = (low + high) / 2
    band = 3 * standard_error(values)
    note = f"{len(values)} designs" + (f"; {note}" if note else "")
    return near(id, what, float(np.mean(values)), middle, (high - low) / 2, band, note)


def relative_gap(a: Any, b: Any) -> float:
    """Largest absolute difference over the largest entry of b."""
    return gap(a, b) / float(np.abs(np.asarray(b)).max())
