"""Multiple imputation of the calibration: Rubin's rules, and agreement with the delta method."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from causalkit import (
    HierarchicalCalibration,
    LinearCalibration,
    SplineCalibration,
    TweedieCorrection,
    combine_imputations,
)
from causalkit.datasets import make_gaussian_map, make_site_map

DATA = make_gaussian_map(n_calibration=400, n_arm=300, random_state=0)
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*of the predictions lie outside", "ignore:the correction does not increase"
)


def test_rubins_rules_by_hand() -> None:
    estimates = [np.array([1.0, 2.0]), np.array([1.2, 1.7]), np.array([0.7, 2.4]), np.array([1.1, 2.1])]
    covariances = [np.diag([0.1, 0.2]) + 0.01 * j for j in range(4)]
    result = combine_imputations(estimates, covariances)
    between = np.cov(np.array(estimates).T)
    total = np.mean(covariances, axis=0) + 1.25 * between
    assert_allclose(result.estimate, np.mean(estimates, axis=0))
    assert_allclose(result.cov, total)
    share = 1.25 * np.diag(between) / np.diag(total)
    assert_allclose(result.df, 3 / share.max() ** 2)


def test_labels_survive() -> None:
    index = pd.Index(["a", "b"])
    estimates = [pd.Series([1.0, 2.0], index=index), pd.Series([1.1, 2.2], index=index)]
    result = combine_imputations(estimates, [pd.DataFrame(np.eye(2), index=index, columns=index)] * 2)
    assert result.names == ("a", "b")


@pytest.mark.parametrize(
    ("estimates", "covariances", "words"),
    [
        ([1.0], [0.1], "two or more of each"),
        ([1.0, 2.0], [0.1], "two or more of each"),
        ([[1.0, 2.0]] * 2, [0.1, 0.1], "2 by 2"),
        ([1.0, np.nan], [0.1, 0.1], "finite"),
    ],
)
def test_analyses_that_do_not_fit(estimates: Any, covariances: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        combine_imputations(estimates, covariances)


@pytest.mark.parametrize(
    "correction",
    [
        LinearCalibration(),
        TweedieCorrection(n_knots=3),
        TweedieCorrection(score="kde"),
        SplineCalibration(n_knots=3),
    ],
    ids=repr,
)
@pytest.mark.parametrize("clustered", [False, True])
def test_many_imputations_give_the_delta_method(correction: Any, clustered: bool) -> None:
    groups = np.arange(400) % 40 if clustered else None
    model = correction.fit(DATA.calibration_predictions, DATA.calibration_y, groups=groups)
    m = 2000
    columns = model.impute(DATA.predictions, n_imputations=m, random_state=0)
    assert columns.shape == (600, m)
    treated = DATA.treatment == 1
    estimates = columns[treated].mean(axis=0) - columns[~treated].mean(axis=0)
    result = model.effect(DATA.predictions, treatment=DATA.treatment)
    sampling, calibration = result.variance_parts[["sampling", "calibration"]].iloc[0]
    # Linear in θ: the spread between imputations is the calibration variance, its own error √(2/M) = 3 %.
    assert_allclose(estimates.var(ddof=1), calibration, rtol=0.13)
    assert_allclose(estimates.mean(), result.estimate[0], atol=4 * np.sqrt(calibration / m))
    within = columns[treated].var(axis=0, ddof=1) / 300 + columns[~treated].var(axis=0, ddof=1) / 300
    combined = combine_imputations(list(estimates), list(within))
    assert_allclose(combined.std_error[0] ** 2, sampling + calibration, rtol=0.05)


def test_imputations_are_seeded_and_centred() -> None:
    model = LinearCalibration().fit(DATA.calibration_predictions, DATA.calibration_y)
    first, second = (model.impute(DATA.predictions, random_state=3) for _ in range(2))
    assert_allclose(first, second)
    assert first.shape == (600, 20)
    generator = model.impute(DATA.predictions[:2], n_imputations=2, random_state=np.random.default_rng(0))
    assert generator.shape == (2, 2)
    with pytest.raises(ValueError, match="n_imputations"):
        model.impute(DATA.predictions, n_imputations=1)


def test_a_new_site_draws_its_own_line() -> None:
    sites = make_site_map(random_state=1)
    model = HierarchicalCalibration()
    model.fit(sites.calibration_predictions, sites.calibration_y, sites=sites.calibration_sites)
    with pytest.warns(UserWarning, match="new-site distribution"):
        columns = model.impute(np.array([0.0, 1.0]), n_imputations=4000, random_state=0)
    with pytest.warns(UserWarning, match="new-site distribution"):
        result = model.effect(np.array([0.0, 1.0, 0.0, 1.0]), treatment=[0, 1, 0, 1])
    expected = result.variance_parts[["calibration", "transport"]].to_numpy().sum()
    assert_allclose(np.diff(columns, axis=0).var(), expected, rtol=0.1)
