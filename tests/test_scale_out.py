"""Sweeps of the acceptance tables and refits of a bootstrap on real local clusters equal those of one process."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.simulation import repeat
from causalkit.augmentation import IVLikeRegressor
from causalkit.augmentation.augmenters import NullSpaceShift
from causalkit.datasets import make_linear_augmentation
from tests.clusters import dask_workers, ray_workers


def mean_of_draws(rng: np.random.Generator, *, size: int) -> Mapping[str, float]:
    values = rng.standard_normal(size)
    return {"mean": float(values.mean()), "sd": float(values.std())}


def refitted_error() -> NDArray[np.float64]:
    data = make_linear_augmentation(300, random_state=0)
    model = IVLikeRegressor(augmentation=NullSpaceShift(data.basis), random_state=0).fit(data.X, data.y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(model.inference(method="refit", n_bootstrap=12).std_error)


@pytest.mark.parametrize("workers", [dask_workers, ray_workers])
def test_sweeps_and_refits_on_a_cluster_are_those_of_one_process(workers: Any) -> None:
    sweep, errors = repeat(mean_of_draws, 25, seed=3, n_jobs=1, size=40), refitted_error()
    with workers():
        again, others = repeat(mean_of_draws, 25, seed=3, n_jobs=2, size=40), refitted_error()
    for name in sweep:
        np.testing.assert_array_equal(again[name], sweep[name])
    np.testing.assert_array_equal(others, errors)
