"""Dense and factored pseudo-inverses against eigenvectors, additive log-ratios and regressions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from causalkit.composition import log_ratio_covariance
from causalkit.composition.covariance import centre_logs, double_centre
from causalkit.composition.precision import Precision, dense_precision, factored_precision, shrunk_precision
from causalkit.composition.shrinkage import shrink_logs
from causalkit.datasets import fetch_roman_glass_cups
from tests.composition.test_covariance import sample
from tests.composition.test_shrinkage import METHODS, matrix_of
from tests.datasets.composition_files import fetch_or_skip
from tests.golden.composition.make_cups import (
    all_partial_correlations,
    alr_route,
    helmert,
    ilr_route,
)

Array = NDArray[np.float64]
CUPS = json.loads((Path(__file__).parents[1] / "golden" / "composition" / "cups.json").read_text(encoding="utf-8"))


def pseudo_inverse(gamma: Array) -> tuple[Array, float]:
    """Γ⁺ and the log of its pseudo-determinant from eigenvectors orthogonal to 1."""
    v = helmert(len(gamma))
    values, vectors = np.linalg.eigh(v.T @ gamma @ v)
    basis = v @ vectors
    return (basis / values) @ basis.T, -float(np.sum(np.log(values)))


def correlations_of(precision: Array) -> Array:
    root = np.sqrt(np.diag(precision))
    out = -precision / np.outer(root, root)
    np.fill_diagonal(out, 1.0)
    return np.asarray(out)


def assert_is_precision(precision: Precision, expected: Array, log_determinant: float, rtol: float = 1e-11) -> None:
    size = np.abs(expected).max()
    assert_allclose(precision.matrix(), expected, atol=rtol * size)
    assert_allclose(precision.diagonal, np.diag(expected), rtol=rtol)
    assert_allclose(precision.correlations(), correlations_of(expected), atol=rtol)
    assert precision.log_pseudo_determinant == pytest.approx(log_determinant, rel=1e-11)
    c = np.random.default_rng(9).normal(size=(4, len(expected)))
    c -= c.mean(axis=1, keepdims=True)
    assert_allclose(precision.quadratic(c), np.einsum("ij,jk,ik->i", c, expected, c), rtol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(30, 3), (30, 7), (8, 8), (41, 40)])
def test_dense_route_equals_every_other_route(n: int, d: int) -> None:
    """One matrix from ALR of every reference, from orthonormal coordinates, and from eigenvectors."""
    X = np.exp(np.random.default_rng(n).normal(size=(n, d)))
    precision = dense_precision(log_ratio_covariance(X))
    expected, log_determinant = pseudo_inverse(log_ratio_covariance(X))
    tolerance = 1e-7 if n - d < 2 else 1e-9
    assert_is_precision(precision, expected, log_determinant, tolerance)
    logs, r = np.log(X), precision.correlations()
    for k in range(0, d, max(1, d // 6)):
        assert_allclose(r, correlations_of(alr_route(logs, k)), atol=tolerance)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(d - 1, d - 1)))[0]
    for v in (helmert(d), helmert(d)[::-1], helmert(d) @ rotation):
        assert_allclose(r, correlations_of(ilr_route(logs, v)), atol=tolerance)
    assert_allclose(precision.matrix() @ np.ones(d), 0, atol=1e-8 * precision.diagonal.max())


def test_three_parts_have_the_correlation_of_their_log_ratios() -> None:
    X = sample(20, 3)
    r = dense_precision(log_ratio_covariance(X)).correlations()
    for i, j, k in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
        expected = np.corrcoef(np.log(X[:, i] / X[:, k]), np.log(X[:, j] / X[:, k]))[0, 1]
        assert r[i, j] == pytest.approx(expected, abs=1e-13)


def test_entries_are_correlations_of_regression_residuals() -> None:
    X = sample(20, 5)
    r = dense_precision(log_ratio_covariance(X)).correlations()
    assert_allclose(r, all_partial_correlations(np.log(X)), atol=1e-11)


def test_a_null_contrast_is_an_error_of_rank() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        dense_precision(double_centre(np.diag([1.0, 1.0, -1.0, 1.0])))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "d"), [(30, 6), (6, 6), (5, 12), (3, 40)])
@pytest.mark.parametrize("intensity", [0.06, 0.4, 0.999, 1.0])
def test_factor_and_dense_route_are_the_pseudo_inverse(method: str, n: int, d: int, intensity: float) -> None:
    shrunk = shrink_logs(centre_logs(np.log(sample(n, d))), method, intensity=intensity)
    model = matrix_of(shrunk)
    if shrunk.projected:
        expected, log_determinant = pseudo_inverse(double_centre(model))
    else:
        expected, log_determinant = np.linalg.inv(model), -float(np.linalg.slogdet(model)[1])
    for precision in (factored_precision(shrunk), shrunk_precision(shrunk)):
        assert_is_precision(precision, expected, log_determinant, 1e-10)
    rows = 1 if intensity == 1 else n + 1
    assert factored_precision(shrunk).factor.shape == (rows - (0 if shrunk.projected else 1), d)


@pytest.mark.parametrize("method", ["basis", "invariant", "ledoit_wolf", "oas"])
def test_no_shrinkage_is_the_inverse_itself(method: str) -> None:
    shrunk = shrink_logs(centre_logs(np.log(sample(30, 5))), method, intensity=0.0, variance=0.0)
    expected, log_determinant = pseudo_inverse(log_ratio_covariance(sample(30, 5)))
    assert_is_precision(shrunk_precision(shrunk), expected, log_determinant)


@pytest.mark.parametrize("shape", [(30, 6), (4, 6)])
def test_blocks_are_cut_from_the_whole(shape: tuple[int, int]) -> None:
    precision = shrunk_precision(shrink_logs(centre_logs(np.log(sample(*shape))), "basis", intensity=0.3))
    r = precision.correlations()
    index: list[Any] = [slice(0, 6), slice(1, 3), slice(4, 6), slice(2, 2), np.array([5, 0, 2]), np.array([3, 3])]
    for rows in index:
        for cols in index:
            assert_allclose(precision.correlations(rows, cols), r[rows][:, cols], atol=1e-15)


def test_projection_does_not_depend_on_clr_or_alr() -> None:
    """Basis shrinkage of log proportions, projected, equals the ALR covariance of the same M for any reference."""
    shrunk = shrink_logs(centre_logs(np.log(sample(7, 9))), "basis")
    r, model = shrunk_precision(shrunk).correlations(), matrix_of(shrunk)
    for k in (0, 4, 8):
        f = np.delete(np.eye(9), k, axis=0)
        f[:, k] = -1
        alr = f.T @ np.linalg.inv(f @ model @ f.T) @ f
        assert_allclose(r, correlations_of(alr), atol=1e-12)


def test_cups_match_regressions() -> None:
    X = fetch_or_skip(fetch_roman_glass_cups).parts
    precision = dense_precision(log_ratio_covariance(X))
    assert_allclose(1 / precision.diagonal, CUPS["A"]["partial_variance"], atol=1e-11)
    assert_allclose(precision.correlations(), CUPS["A"]["partial_correlation"], atol=1e-11)
    assert max(CUPS["D"].values()) < 1e-9  # the stored values are the same by every route
    published = {
        ("Si", "Al"): 0.721524,
        ("Al", "Fe"): 0.726681,
        ("Si", "Fe"): -0.663102,
        ("Ca", "Na"): 0.597281,
        ("Fe", "Mg"): 0.428432,
        ("K", "P"): 0.412748,
        ("P", "Sb"): 0.365974,
        ("Ti", "P"): 0.356379,
        ("Fe", "Sb"): 0.343100,
    }
    names, r = list(X.columns), precision.correlations()
    for (a, b), value in published.items():
        assert r[names.index(a), names.index(b)] == pytest.approx(value, abs=5e-7)
    pv = [0.00203265, 0.000875304, 0.00346872, 0.00812528, 0.00278456, 0.00177691, 0.00841246, 0.00831486]
    assert_allclose(1 / precision.diagonal[:8], pv, rtol=3e-6)
