"""Threads of boosted trees: one for few rows, in the calling thread alone, with the same trees."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from threadpoolctl import threadpool_info, threadpool_limits

from causalkit.threads import boosting_threads


def openmp() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "openmp"}


def test_few_rows_have_one_thread_and_the_limit_ends() -> None:
    model = HistGradientBoostingRegressor()
    with threadpool_limits(limits=2, user_api="openmp"):
        with boosting_threads(model, 1000):
            assert openmp() == {1}
        assert openmp() == {2}
        with boosting_threads(model, 10**6):
            assert openmp() == {2}
        with boosting_threads(RandomForestRegressor(), 1000):
            assert openmp() == {2}
        with pytest.raises(ValueError), boosting_threads(model, 1000):
            raise ValueError
        assert openmp() == {2}


def test_trees_do_not_depend_on_it() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 6))
    y = np.sin(X[:, 0]) * X[:, 1] + rng.normal(size=3000)
    found = []
    for rows in (1000, 10**6):
        model = HistGradientBoostingRegressor(max_iter=40, random_state=0)
        with threadpool_limits(limits=2, user_api="openmp"), boosting_threads(model, rows):
            found.append(model.fit(X, y).predict(X))
    assert_array_equal(*found)
