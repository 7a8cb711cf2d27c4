"""The calibration test against statsmodels' regressions, its level, and effects that are constant or wrong in scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import sparse, stats

from causalkit.inference import network_covariance
from causalkit.selection import calibration_test


def draw(seed: int, n: int = 600) -> tuple[Any, Any, Any, Any]:
    """Effects, residuals of outcome and treatment, folds."""
    rng = np.random.default_rng(seed)
    effect = 1 + rng.normal(size=n)
    T = rng.binomial(1, 0.4, n) - 0.4
    return effect, effect * T + rng.normal(size=n), T, rng.integers(0, 3, n)


def regressors(effect: Any, T: Any, folds: Any) -> Any:
    mean = np.array([effect[folds == k].mean() for k in folds])
    return np.column_stack([mean * T, (effect - mean) * T])


@pytest.mark.parametrize("grouped", [False, True])
def test_slopes_and_errors_are_those_of_statsmodels(grouped: bool) -> None:
    effect, Y, T, folds = draw(0)
    groups = np.arange(600) // 12 if grouped else None
    kind = {"cov_type": "HC0"}
    if grouped:
        kind = {"cov_type": "cluster", "cov_kwds": {"groups": groups}}
    fit = sm.OLS(Y, regressors(effect, T, folds)).fit(**kind)
    table = calibration_test(effect, Y, T, folds=folds, groups=groups)
    factor = np.sqrt(598 / 599) if grouped else 1.0  # statsmodels has a factor (n - 1)/(n - 2) besides C/(C - 1)
    assert_allclose(table["estimate"], fit.params, rtol=1e-10)
    assert_allclose(table["std_error"], fit.bse * factor, rtol=1e-10)
    law = stats.t(49) if grouped else stats.norm
    assert_allclose(table["pvalue"], law.sf(fit.params / (fit.bse * factor)), rtol=1e-9)
    assert table.attrs["dependence"] == ("50 clusters" if grouped else "independent rows")
    assert table.index.tolist() == ["mean_effect", "heterogeneity"]


def test_network_errors_are_those_of_the_influence_values() -> None:
    effect, Y, T, folds = draw(1, 200)
    ring = sparse.csr_array(sparse.diags_array([1.0, 1.0], offsets=[1, 199], shape=(200, 200)))
    D = regressors(effect, T, folds)
    b = np.linalg.solve(D.T @ D, D.T @ Y)
    psi = 200 * (D * (Y - D @ b)[:, None]) @ np.linalg.inv(D.T @ D)
    table = calibration_test(effect, Y, T, folds=folds, adjacency=ring, bandwidth=2)
    assert_allclose(table["std_error"], network_covariance(psi, ring, bandwidth=2).std_error, rtol=1e-10)


def test_weights_are_copies_of_rows() -> None:
    effect, Y, T, folds = draw(2, 120)
    copies = np.random.default_rng(0).integers(0, 3, 120)
    rows = np.repeat(np.arange(120), copies)
    weighted = calibration_test(effect, Y, T, folds=folds, sample_weight=copies)
    repeated = calibration_test(effect[rows], Y[rows], T[rows], folds=folds[rows])
    assert_allclose(weighted["estimate"], repeated["estimate"], rtol=1e-10)


def test_scale_and_level_of_effects_show_in_the_slopes() -> None:
    """Without noise: effects 1 + 3 times too large in deviation, twice too large in the mean."""
    effect, _, T, folds = draw(3)
    mean = np.array([effect[folds == k].mean() for k in folds])
    table = calibration_test(2 * mean + 3 * (effect - mean), effect * T, T, folds=folds)
    assert_allclose(table["estimate"], [1 / 2, 1 / 3], rtol=1e-12)


def test_several_levels_add_up() -> None:
    rng = np.random.default_rng(4)
    effect, T = rng.normal(1, 1, (300, 2)), rng.normal(size=(300, 2))
    mean = effect.mean(axis=0)
    Y = 0.5 * (T @ mean) + 2 * ((effect - mean) * T).sum(axis=1)
    assert_allclose(calibration_test(effect, Y, T)["estimate"], [0.5, 2.0], rtol=1e-10)


def test_constant_effects_have_no_heterogeneity_to_test() -> None:
    _, Y, T, folds = draw(5)
    constant = np.array([1.1, 0.9, 1.3])[folds]  # one constant per fold
    table = calibration_test(constant, Y, T, folds=folds)
    assert table["identified"].tolist() == [True, False]
    assert table.loc["heterogeneity", "pvalue"] == 1.0
    assert np.isnan(table.loc["heterogeneity", ["estimate", "std_error"]].to_numpy(dtype=float)).all()
    design = constant * T
    assert table.loc["mean_effect", "estimate"] == pytest.approx(design @ Y / (design @ design), rel=1e-12)
    centred = calibration_test(np.array([-1.0, 1.0] * 3), np.arange(6.0), np.array([1.0, 1, 2, 2, 1, 2]))
    assert centred["identified"].tolist() == [False, True]


def test_level_without_heterogeneity() -> None:
    """Priorities that have nothing to do with the outcome are called heterogeneity in 5 of 100 samples."""
    rejected = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        T = rng.binomial(1, 0.5, 300) - 0.5
        Y = 2 * T + rng.normal(size=300)
        rejected += calibration_test(2 + rng.normal(size=300), Y, T).loc["heterogeneity", "pvalue"] <= 0.05
    assert 2 <= rejected <= 20  # 99.8 % band of a binomial with mean 10


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibration_test([1.0, 2.0], [1.0], [1.0, 2.0]), "outcome_residual has 1 rows"),
        (lambda: calibration_test(np.ones((2, 2)), [1.0, 2.0], [1.0, 2.0]), "effect has 2 columns"),
        (lambda: calibration_test([0.0, 0.0], [1.0, 2.0], [1.0, 2.0]), "neither slope is identified"),
        (lambda: calibration_test([1.0, 2.0], [1.0, 2.0], [1.0, 2.0], folds=[0]), "folds must hold one label"),
        (lambda: calibration_test([1.0, 3.0], [1.0, 2.0], [1.0, 0.0]), "predict the same"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
