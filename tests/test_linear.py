"""Linear fits against statsmodels, textbook algebra and repeated rows."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from causalkit.inference import finite_sample_factor
from causalkit.linear import linear_moments, weighted_least_squares
from causalkit.validation import Groups, check_groups

N, P = 60, 3


@pytest.fixture
def data():
    rng = np.random.default_rng(11)
    X = np.column_stack([np.ones(N), rng.normal(size=(N, P - 1))])
    y = X @ [1.0, 2.0, -1.0] + rng.normal(size=N) * (1 + X[:, 1] ** 2)
    weight = rng.uniform(0.2, 3.0, N)
    return X, y, weight


@pytest.mark.parametrize("cov_type", ["HC0", "HC1", "HC2", "HC3"])
def test_robust_covariances_equal_statsmodels(data, cov_type):
    X, y, _ = data
    fit = weighted_least_squares(X, y)
    peer = sm.OLS(y, X).fit(cov_type=cov_type)
    np.testing.assert_allclose(fit.coef, peer.params, rtol=1e-10)
    np.testing.assert_allclose(fit.covariance(cov_type), peer.cov_params(), rtol=1e-10)
    np.testing.assert_allclose(fit.residuals, peer.resid, atol=1e-12)
    assert fit.rank == P


@pytest.mark.parametrize("cov_type", ["HC0", "HC1", "HC2", "HC3"])
def test_weighted_covariances_equal_statsmodels(data, cov_type):
    X, y, weight = data
    fit = weighted_least_squares(X, y, weight)
    peer = sm.WLS(y, X, weights=weight).fit(cov_type=cov_type)
    np.testing.assert_allclose(fit.coef, peer.params, rtol=1e-10)
    np.testing.assert_allclose(fit.covariance(cov_type), peer.cov_params(), rtol=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cov_type", ["HC0", "HC1"])
def test_clustered_covariance_equals_statsmodels(data, weighted, cov_type):
    X, y, weight = data
    labels = np.repeat(np.arange(15), 4)
    peer = sm.WLS(y, X, weights=weight if weighted else 1.0).fit(cov_type="cluster", cov_kwds={"groups": labels})
    fit = weighted_least_squares(X, y, weight if weighted else None)
    covariance = fit.covariance(cov_type, groups=check_groups(labels, N))
    np.testing.assert_allclose(covariance, peer.cov_params(), rtol=1e-10)


def test_covariance_does_not_depend_on_the_scale_of_weights(data):
    X, y, weight = data
    for cov_type in ("HC0", "HC1", "HC2", "HC3"):
        one = weighted_least_squares(X, y, weight).covariance(cov_type)
        np.testing.assert_allclose(weighted_least_squares(X, y, 1e4 * weight).covariance(cov_type), one, rtol=1e-9)


@pytest.mark.parametrize("cov_type", ["HC0", "HC1", "HC2", "HC3"])
def test_frequency_weights_are_repeated_rows(data, cov_type):
    X, y, _ = data
    count = np.random.default_rng(2).integers(0, 4, N).astype(float)
    fit = weighted_least_squares(X, y, count)
    rows = np.repeat(np.arange(N), count.astype(int))
    repeated = weighted_least_squares(X[rows], y[rows])
    np.testing.assert_allclose(fit.coef, repeated.coef, rtol=1e-10)
    np.testing.assert_allclose(fit.covariance(cov_type, frequency=count), repeated.covariance(cov_type), rtol=1e-9)


def test_clustered_frequency_weights_are_repeated_rows(data):
    X, y, _ = data
    count = np.random.default_rng(2).integers(1, 4, N).astype(float)
    labels = np.repeat(np.arange(12), 5)
    rows = np.repeat(np.arange(N), count.astype(int))
    fit = weighted_least_squares(X, y, count)
    repeated = weighted_least_squares(X[rows], y[rows])
    expected = repeated.covariance("HC1", groups=check_groups(labels[rows], len(rows)))
    actual = fit.covariance("HC1", groups=check_groups(labels, N), frequency=count)
    np.testing.assert_allclose(actual, expected, rtol=1e-9)


def test_influence_is_the_derivative_with_respect_to_a_row_weight(data):
    """n times the change of the coefficients per unit of weight on row j, by central differences."""
    X, y, weight = data
    fit = weighted_least_squares(X, y, weight)
    step = 1e-5
    for j in (0, 17, 59):
        up, down = weight.copy(), weight.copy()
        up[j] *= 1 + step
        down[j] *= 1 - step
        slope = (weighted_least_squares(X, y, up).coef - weighted_least_squares(X, y, down).coef) / (2 * step)
        np.testing.assert_allclose(fit.influence[j], N * slope, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fit.influence.mean(axis=0), 0, atol=1e-12)


def test_rows_without_weight_have_no_part(data):
    X, y, weight = data
    weight = np.where(np.arange(N) < 10, 0.0, weight)
    wild = np.where(np.arange(N) < 10, 1e6, y)
    fit = weighted_least_squares(X, wild, weight)
    np.testing.assert_allclose(fit.coef, weighted_least_squares(X[10:], y[10:], weight[10:]).coef, rtol=1e-10)
    assert not fit.influence[:10].any()


def test_deficient_design_gets_the_minimum_norm_solution(data):
    X, y, _ = data
    doubled = np.column_stack([X, X[:, 1]])
    fit = weighted_least_squares(doubled, y)
    assert fit.rank == P
    np.testing.assert_allclose(doubled @ fit.coef, X @ weighted_least_squares(X, y).coef, rtol=1e-10)
    np.testing.assert_allclose(fit.coef[1], fit.coef[3], rtol=1e-9)
    assert weighted_least_squares(np.zeros((5, 2)), np.ones(5)).rank == 0


def test_columns_of_very_different_size_keep_their_rank(data):
    X, y, _ = data
    scale = np.array([1.0, 1e-14, 1e14])
    fit = weighted_least_squares(X * scale, y)
    assert fit.rank == P
    np.testing.assert_allclose(fit.coef * scale, weighted_least_squares(X, y).coef, rtol=1e-8)


# ---------------------------------------------------------------------- instruments


@pytest.fixture
def instrumented(data):
    X, y, weight = data
    rng = np.random.default_rng(5)
    extra = rng.normal(size=(N, 3))
    endogenous = X.copy()
    endogenous[:, 2] = extra @ [0.7, 0.5, -0.4] + 0.3 * y + rng.normal(size=N)
    return np.column_stack([X[:, :2], extra]), endogenous, y, weight


def _two_stages(Z, X, y, weight=None):
    """Brute force with explicit weighted projection matrices."""
    W = np.eye(len(y)) if weight is None else np.diag(weight)
    projection = Z @ np.linalg.inv(Z.T @ W @ Z) @ Z.T @ W
    fitted = projection @ X
    bread = np.linalg.inv(fitted.T @ W @ fitted)
    coef = bread @ fitted.T @ W @ y
    return coef, fitted, bread, W


@pytest.mark.parametrize("weighted", [False, True])
def test_moments_equal_two_stage_least_squares_and_its_sandwich(instrumented, weighted):
    Z, X, y, weight = instrumented
    weight = weight if weighted else None
    fit = linear_moments(Z, X, y, weight)
    coef, fitted, bread, W = _two_stages(Z, X, y, weight)
    np.testing.assert_allclose(fit.coef, coef, rtol=1e-9)
    scores = fitted * (np.diag(W) * (y - X @ coef))[:, None]
    hc0 = bread @ scores.T @ scores @ bread
    np.testing.assert_allclose(fit.covariance("HC0"), hc0, rtol=1e-9)
    np.testing.assert_allclose(fit.covariance("HC1"), hc0 * N / (N - P), rtol=1e-9)
    np.testing.assert_allclose(fit.normaliser, bread, rtol=1e-9)
    np.testing.assert_allclose(fit.leverage.sum(), P, rtol=1e-12)


def test_just_identified_moments_are_solved_exactly_and_have_the_derivative_as_influence(instrumented):
    Z, X, y, weight = instrumented
    Z = Z[:, :3]
    fit = linear_moments(Z, X, y, weight)
    np.testing.assert_allclose(Z.T @ (weight * fit.residuals), 0, atol=1e-8)
    step = 1e-5
    for j in (3, 40):
        up, down = weight.copy(), weight.copy()
        up[j] *= 1 + step
        down[j] *= 1 - step
        slope = (linear_moments(Z, X, y, up).coef - linear_moments(Z, X, y, down).coef) / (2 * step)
        np.testing.assert_allclose(fit.influence[j], N * slope, rtol=1e-5, atol=1e-8)


def test_regressors_as_their_own_instruments_are_least_squares(data):
    X, y, weight = data
    fit, plain = linear_moments(X, X, y, weight), weighted_least_squares(X, y, weight)
    for name in ("coef", "influence", "residuals", "leverage", "normaliser"):
        np.testing.assert_allclose(getattr(fit, name), getattr(plain, name), rtol=1e-8, atol=1e-11, err_msg=name)


def test_scales_of_instruments_and_regressors_do_not_matter(instrumented):
    Z, X, y, _ = instrumented
    scale = np.array([1.0, 1e-10, 1e10])
    fit = linear_moments(Z * [1.0, 1e8, 1e-8, 1e6, 1.0], X * scale, y)
    assert fit.rank == P
    np.testing.assert_allclose(fit.coef * scale, linear_moments(Z, X, y).coef, rtol=1e-6)


def test_collinear_instruments_do_not_matter(instrumented):
    Z, X, y, _ = instrumented
    fit = linear_moments(np.column_stack([Z, Z[:, 1] + Z[:, 2]]), X, y)
    np.testing.assert_allclose(fit.coef, linear_moments(Z, X, y).coef, rtol=1e-8)


def test_regressor_that_no_instrument_moves_lowers_the_rank(instrumented):
    Z, X, y, _ = instrumented
    unmoved = X[:, 2] - Z @ np.linalg.lstsq(Z, X[:, 2], rcond=None)[0]
    assert linear_moments(Z, np.column_stack([X[:, :2], unmoved]), y).rank == 2


# ---------------------------------------------------------------------- factors


def test_finite_sample_factors():
    groups = Groups(np.repeat(np.arange(5), 4), np.arange(5))
    assert finite_sample_factor(20, 3, "HC0") == 1.0
    assert finite_sample_factor(20, 3, "HC1") == 20 / 17
    assert finite_sample_factor(20, 3, "HC0", groups) == 5 / 4 * 19 / 17
    with pytest.raises(ValueError, match="groups has 1 cluster: a clustered covariance needs at least two"):
        finite_sample_factor(20, 3, "HC1", Groups(np.zeros(20, int), np.zeros(1)))
