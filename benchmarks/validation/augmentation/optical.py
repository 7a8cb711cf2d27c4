"""Section J: the optical device, where its files were given; a reproduction in which no method is a success.

Pixel noise does not leave this outcome alone: it acts as shrinkage. The effect of no pixel at all scores .5.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import quiet
from benchmarks.rows import Row, near, recorded, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.augmentation.common import euclidean
from causalkit.augmentation import IVLikeRegressor

__all__ = ["experiment_errors", "rows"]

Array = NDArray[np.float64]

_ABSENT = "files of the optical device absent: name their folder in CAUSALKIT_OPTICAL_DEVICE"
_DEGREE_ONE = (70, 74, 79, 82)
_ALPHAS = (1.0, 0.1, 0.01)
_INDICATIVE = (0.652, 0.579, 0.661)


@cache
def _frames() -> dict[str, Any] | None:
    from causalkit.datasets import load_optical_device
    from causalkit.exceptions import DatasetNotFoundError

    folder = os.environ.get("CAUSALKIT_OPTICAL_DEVICE")
    if not folder:
        return None
    try:
        return load_optical_device(folder)
    except DatasetNotFoundError:
        return None


def _powers(X: Array, degree: int) -> Array:
    from sklearn.preprocessing import PolynomialFeatures

    return np.asarray(PolynomialFeatures(degree, include_bias=False).fit_transform(X))


def _design(X: Array, led: Array, degree: int) -> Array:
    return np.column_stack([np.ones(len(X)), _powers(X, degree), led])


def _degree(X: Array, y: Array, led: Array) -> int:
    """The degree with the smaller error over five folds, of a regression that includes the LED."""
    folds = np.random.default_rng(0).permutation(len(y)) % 5
    errors = []
    for degree in (1, 2):
        table, error = _design(X, led, degree), 0.0
        for fold in range(5):
            held = folds == fold
            coef = np.linalg.lstsq(table[~held], y[~held], rcond=None)[0]
            error += float(((y[held] - table[held] @ coef) ** 2).sum())
        errors.append(error)
    return 1 + int(np.argmin(errors))


def experiment_errors(X: Array, y: Array, led: Array, seed: int, n_draws: int = 20) -> dict[str, float]:
    """Degree, and Euclidean nCER of least squares, augmented least squares and the published form on one set.

    The effect is a regression of y - ĉ·LED on the powers of the centred pixels, ĉ from the regression with the LED.
    """
    X, y, led = X - X.mean(axis=0), y - y.mean(), led - led.mean()
    degree = _degree(X, y, led)
    slope = np.linalg.lstsq(_design(X, led, degree), y, rcond=None)[0][-1]
    features = _powers(X, degree)
    plain = IVLikeRegressor().fit(features, y).coef_
    truth = np.linalg.lstsq(np.column_stack([np.ones(len(y)), features]), y - slope * led, rcond=None)[0][1:]
    rng = np.random.default_rng([17_000, seed])
    out: dict[str, list[float]] = {"DA+ERM": [], **{f"V1@{a:g}": [] for a in _ALPHAS}}
    for _ in range(n_draws):
        noise = np.sqrt(0.1) * X.std() * rng.standard_normal(X.shape)
        given = {"augmented": _powers(X + noise, degree), "augmentation_parameters": _powers(noise, degree)}
        coef = IVLikeRegressor(penalty="projected").fit(features, y, **given).path([np.inf, *_ALPHAS]).coef
        for name, risk in zip(out, euclidean(coef, truth), strict=True):
            out[name].append(float(risk))
    means = {name: float(np.mean(values)) for name, values in out.items()}
    return {"degree": float(degree), "ERM": float(euclidean(plain, truth)), **means}


def rows(tier: Tier) -> Iterator[Row]:
    """J1 the zero predictor, J2 degrees, J3 and J4 listed means, J5 the published form."""
    frames = _frames()
    if frames is None:
        yield skipped("J1", "twelve experiments: degrees, ERM, DA+ERM, projected at three α", _ABSENT)
        return
    found: dict[int, dict[str, float]] = {}
    with quiet():
        for frame in frames.values():
            number = int(frame.attrs["experiment"])
            columns = frame.to_numpy(dtype=float)
            found[number] = experiment_errors(columns[:, :9], columns[:, 10], columns[:, 9], number, tier.size(20, 5))
    mean = {name: float(np.mean([row[name] for row in found.values()])) for name in next(iter(found.values()))}
    yield recorded("J1", "no effect at all: nCER", 0.5, "every method below scores worse than this")
    wrong = sum((row["degree"] == 1) != (number in _DEGREE_ONE) for number, row in found.items())
    yield near("J2", "experiments whose degree is not the listed one", wrong, 0, 0)
    yield near("J3", "ERM: mean Euclidean nCER over experiments", mean["ERM"], 0.824, 0.002)
    yield near("J4", "DA+ERM: mean Euclidean nCER over experiments", mean["DA+ERM"], 0.706, 0.01)
    for place, (alpha, target) in enumerate(zip(_ALPHAS, _INDICATIVE, strict=True)):
        what = f"projected, α = {alpha:g}: mean Euclidean nCER over experiments"
        yield recorded(f"J5.{place + 1}", what, mean[f"V1@{alpha:g}"], f"listed as indicative: {target:g}")
