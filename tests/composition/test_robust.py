"""Robust covariances: the equations they solve, equivariance, outliers, refusals."""

import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.covariance import MinCovDet

from causalkit.composition.robust import robust_log_ratio_covariance, robust_moments, tyler_shape
from causalkit.exceptions import ConvergenceWarning, DegenerateLogRatioError, DegreesOfFreedomError, NonPositiveError

METHODS = ["mcd", "tyler"]


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.standard_t(3, size=(80, 4)) @ rng.normal(size=(4, 4)) + rng.normal(size=4)


@pytest.fixture
def amounts():
    rng = np.random.default_rng(1)
    return np.exp(rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)) * 0.4)


def clr_covariance(X):
    logs = np.log(X)
    return np.cov(logs - logs.mean(axis=1, keepdims=True), rowvar=False)


def correlations(gamma):
    precision = np.linalg.pinv(gamma, rcond=1e-10)
    root = np.sqrt(np.diag(precision))
    return -precision / np.outer(root, root)


def test_shape_solves_its_two_equations(rows):
    location, shape, n_iter, converged = tyler_shape(rows, tol=1e-12)
    assert converged and 1 < n_iter < 500
    assert np.trace(shape) == pytest.approx(4, abs=1e-12)
    values, vectors = np.linalg.eigh(shape)
    directions = (rows - location) @ (vectors / np.sqrt(values)) @ vectors.T
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    np.testing.assert_allclose(directions.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(4 * directions.T @ directions / 80, np.eye(4), atol=1e-10)


def test_shape_is_affine_equivariant_and_blind_to_distance(rows):
    location, shape, *_ = tyler_shape(rows, tol=1e-12)
    rng = np.random.default_rng(2)
    matrix, shift = rng.normal(size=(4, 4)), rng.normal(size=4)
    moved = tyler_shape(rows @ matrix.T + shift, tol=1e-12)
    np.testing.assert_allclose(moved[0], matrix @ location + shift, atol=1e-9)
    expected = matrix @ shape @ matrix.T
    np.testing.assert_allclose(moved[1], expected * 4 / np.trace(expected), atol=1e-9)
    # A row pushed away from the centre keeps its direction, so nothing changes.
    pushed = rows.copy()
    pushed[0] = location + 1e4 * (rows[0] - location)
    np.testing.assert_allclose(tyler_shape(pushed, tol=1e-12)[1], shape, atol=1e-8)


def test_shape_stops_at_the_limit(rows):
    *_, n_iter, converged = tyler_shape(rows, tol=1e-12, max_iter=3)
    assert (n_iter, converged) == (3, False)


def test_mcd_is_that_of_orthonormal_coordinates(amounts):
    contrasts = np.linalg.svd(np.eye(5) - 1 / 5)[0][:, :4]
    fitted = MinCovDet(random_state=0).fit(np.log(amounts) @ contrasts)
    expected = contrasts @ fitted.covariance_ @ contrasts.T
    np.testing.assert_allclose(robust_log_ratio_covariance(amounts, "mcd"), expected, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_gamma_is_doubly_centred_and_free_of_units_and_coordinates(amounts, method):
    gamma = robust_log_ratio_covariance(amounts, method)
    np.testing.assert_array_equal(gamma, gamma.T)
    np.testing.assert_allclose(gamma.sum(axis=0), 0, atol=1e-12)
    rng = np.random.default_rng(3)
    rescaled = amounts * rng.lognormal(size=5) * rng.lognormal(size=(60, 1))
    np.testing.assert_allclose(robust_log_ratio_covariance(rescaled, method), gamma, atol=1e-8)
    contrasts = np.linalg.svd(np.eye(5) - 1 / 5)[0][:, :4] @ ortho_group.rvs(4, random_state=0)
    moments = robust_moments(np.log(amounts) @ contrasts, contrasts, method)
    np.testing.assert_allclose(moments.covariance, gamma, atol=1e-8)
    assert moments.location.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_size_fits_normal_log_ratios_and_outliers_do_not_move_it(method):
    rng = np.random.default_rng(4)
    mixing = rng.normal(size=(5, 5)) * 0.5
    X = np.exp(rng.normal(size=(4000, 5)) @ mixing)
    clean = clr_covariance(X)
    gamma = robust_log_ratio_covariance(X, method)
    np.testing.assert_allclose(np.trace(gamma), np.trace(clean), rtol=0.06)
    np.testing.assert_allclose(correlations(gamma), correlations(clean), atol=0.06)
    # One row in twenty is replaced by a distant cloud.
    X[:200] = np.exp(rng.normal(np.array([6, -6, 6, 0, 0]), size=(200, 5)))
    off = ~np.eye(5, dtype=bool)
    robust_error = np.abs(correlations(robust_log_ratio_covariance(X, method)) - correlations(clean))[off].max()
    plain_error = np.abs(correlations(clr_covariance(X)) - correlations(clean))[off].max()
    # Tyler's shape is moved a little by a cloud in one direction, the determinant not at all.
    assert robust_error < (0.5 if method == "tyler" else 0.2) * plain_error


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["duplicated", "constant", "proportional"])
def test_flat_data_are_refused(amounts, method, kind):
    X = amounts.copy()
    if kind == "duplicated":
        X[:45] = X[0]
    elif kind == "constant":
        X[:] = 1
    else:
        X[:, 4] = 2 * X[:, 3]
    with pytest.raises(DegenerateLogRatioError, match="hyperplane"):
        robust_log_ratio_covariance(X, method)


def test_slow_convergence_warns(amounts, monkeypatch):
    import causalkit.composition.robust as module

    unpatched = module.tyler_shape
    monkeypatch.setattr(module, "tyler_shape", lambda z: unpatched(z, max_iter=2))
    with pytest.warns(ConvergenceWarning, match="did not converge in 2 iterations"):
        robust_log_ratio_covariance(amounts, "tyler")


def test_bad_arguments(amounts):
    with pytest.raises(ValueError, match="method must be one of 'mcd', 'tyler'"):
        robust_log_ratio_covariance(amounts, "sign")
    with pytest.raises(DegreesOfFreedomError, match="more than 2D = 10"):
        robust_log_ratio_covariance(amounts[:10], "tyler")
    with pytest.raises(NonPositiveError):
        robust_log_ratio_covariance(np.where(amounts == amounts[0, 0], 0, amounts), "tyler")
