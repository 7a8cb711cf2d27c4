"""Shrinkage intensities and targets against double sums over rows and pairs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from causalkit.composition import CompositionalPartialCorrelation, closure_null, shrink_covariance
from causalkit.composition.contrasts import helmert_contrasts
from causalkit.composition.covariance import centre_logs, double_centre
from causalkit.composition.shrinkage import Shrunk, shrink_logs
from causalkit.datasets import fetch_roman_glass_cups
from causalkit.exceptions import DegenerateLogRatioError, DegreesOfFreedomError, TooFewPartsError
from tests.composition.test_covariance import sample
from tests.datasets.composition_files import fetch_or_skip

Array = NDArray[np.float64]
METHODS = ["basis", "invariant", "logratio", "ledoit_wolf", "oas"]


def matrix_of(shrunk: Shrunk) -> Array:
    """M = S[(1-λ)Z'Z + λI]S."""
    inner = (1 - shrunk.intensity) * shrunk.rows.T @ shrunk.rows + shrunk.intensity * np.eye(len(shrunk.scale))
    return np.asarray(shrunk.scale[:, None] * inner * shrunk.scale)


def clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def correlation_shrinkage_by_loops(x: Array, w: Array) -> tuple[float, float, Array, Array]:
    """λ, λ_var, v* and cov* of columns, from their definitions (Schäfer & Strimmer; Opgen-Rhein & Strimmer)."""
    n, p = x.shape
    x = x - w @ x
    w2 = float(np.sum(w**2))
    h1 = 1 / (1 - w2)
    v = np.array([h1 * sum(w[k] * x[k, i] ** 2 for k in range(n)) for i in range(p)])
    z = x / np.sqrt(v)
    above = below = 0.0
    r = np.eye(p)
    for i in range(p):
        for j in range(p):
            if i == j:
                continue
            products = z[:, i] * z[:, j]
            first = float(w @ products)
            # Variance of a weighted mean of products.
            above += w2 / (1 - w2) * float(w @ (products - first) ** 2)
            below += first**2
            r[i, j] = h1 * first
    lam = clip(above / below)
    squares = x**2
    spread = sum(w2 / (1 - w2) * float(w @ (squares[:, i] - w @ squares[:, i]) ** 2) for i in range(p))
    lam_var = clip(spread / sum((w @ squares[:, i] - np.median(v) / h1) ** 2 for i in range(p)))
    shrunk = lam_var * np.median(v) + (1 - lam_var) * v
    covariance = np.array(
        [
            [np.sqrt(shrunk[i] * shrunk[j]) * (1.0 if i == j else (1 - lam) * r[i, j]) for j in range(p)]
            for i in range(p)
        ]
    )
    return lam, lam_var, shrunk, covariance


@pytest.mark.parametrize(("n", "d"), [(25, 5), (6, 9), (3, 4)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("method", ["basis", "logratio"])
def test_correlation_shrinkage_is_its_double_sum(method: str, weighted: bool, n: int, d: int) -> None:
    X = sample(n, d)
    weight = np.random.default_rng(1).uniform(0.2, 3, n) if weighted else None
    w = np.full(n, 1 / n) if weight is None else weight / weight.sum()
    x = np.log(X / X.sum(axis=1, keepdims=True))
    if method == "logratio":
        x = x - x.mean(axis=1, keepdims=True)
    lam, lam_var, variances, covariance = correlation_shrinkage_by_loops(x, w)
    shrunk = shrink_covariance(X, method, weight)
    assert shrunk.intensity == pytest.approx(lam, abs=1e-12)
    assert shrunk.variance_intensity == pytest.approx(lam_var, abs=1e-12)
    assert_allclose(shrunk.variances, variances, rtol=1e-12)
    assert_allclose(matrix_of(shrunk), covariance, atol=1e-13)


@pytest.mark.parametrize(("n", "d"), [(200, 5), (6, 9)])
@pytest.mark.parametrize("weighted", [False, True])
def test_invariant_shrinkage_is_its_double_sum(weighted: bool, n: int, d: int) -> None:
    X = sample(n, d)
    weight = np.random.default_rng(1).uniform(0.2, 3, n) if weighted else np.ones(n)
    w = weight / weight.sum()
    c = np.log(X) - np.log(X).mean(axis=1, keepdims=True)
    c = c - w @ c
    w2 = float(np.sum(w**2))
    h1 = 1 / (1 - w2)
    gamma = h1 * (c.T * w) @ c
    tau = np.array([[gamma[i, i] + gamma[j, j] - 2 * gamma[i, j] for j in range(d)] for i in range(d)])
    total = tau.sum(axis=1)
    v = (total - total.sum() / (2 * (d - 1))) / (d - 2)
    v = np.maximum(v, 1e-3 * v.mean())
    target = double_centre(np.diag(v))
    above = below = 0.0
    for i in range(d):
        for j in range(d):
            products = c[:, i] * c[:, j]
            above += h1**2 * w2 / (1 - w2) * float(w @ (products - w @ products) ** 2) / (v[i] * v[j])
            below += (gamma[i, j] - target[i, j]) ** 2 / (v[i] * v[j])
    lam = clip(above / below)
    assert 0 < lam < 1
    shrunk = shrink_covariance(X, "invariant", weight)
    assert shrunk.intensity == pytest.approx(lam, abs=1e-11)
    assert_allclose(shrunk.variances, v, rtol=1e-12)
    assert_allclose(matrix_of(shrunk), (1 - lam) * gamma + lam * np.diag(v), atol=1e-13)


@pytest.mark.parametrize("method", ["ledoit_wolf", "oas"])
@pytest.mark.parametrize(("n", "d"), [(25, 5), (6, 9)])
def test_identity_shrinkage_is_that_of_any_ilr(method: str, n: int, d: int) -> None:
    from sklearn.covariance import ledoit_wolf, oas

    X, rng = sample(n, d), np.random.default_rng(2)
    shrunk = shrink_covariance(X, method)
    rotation = np.linalg.qr(rng.normal(size=(d - 1, d - 1)))[0]
    for v in (helmert_contrasts(d), helmert_contrasts(d)[::-1], helmert_contrasts(d) @ rotation):
        z = np.log(X) @ v
        lam = {"ledoit_wolf": ledoit_wolf, "oas": oas}[method](z - z.mean(axis=0), assume_centered=True)[1]
        assert shrunk.intensity == pytest.approx(lam, abs=1e-12)
        model = (1 - lam) * np.cov(z.T) + lam * np.trace(np.cov(z.T)) / (d - 1) * np.eye(d - 1)
        assert_allclose(v.T @ matrix_of(shrunk) @ v, model, atol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_extreme_intensities(method: str) -> None:
    X = sample()
    data = centre_logs(np.log(X))
    full, none = (shrink_logs(data, method, intensity=lam, variance=0.0) for lam in (1.0, 0.0))
    assert_allclose(matrix_of(full), np.diag(full.variances), atol=1e-15)
    source = data.logs if method == "basis" else data.clr
    assert_allclose(matrix_of(none), np.cov(source.T), atol=1e-14)


def test_one_variance_for_all_means_full_shrinkage_of_variances() -> None:
    """A target that every variance meets leaves nothing in the denominator: λ_var is 1, not an error."""
    cycle = np.exp(np.array([np.roll([1.0, 0.3, -0.8, 0.1], k) for k in range(4)]))
    shrunk = shrink_covariance(cycle, "basis")
    assert shrunk.variance_intensity == 1.0
    assert_allclose(shrunk.variances, shrunk.sampling_variances[0], rtol=1e-12)


def test_closure_null_is_the_precision_of_independent_amounts() -> None:
    """r⁰ of independent amounts by the pseudo-inverse of their closed covariance."""
    v = np.array([0.3, 1.0, 2.0, 0.7, 5.0, 0.1])
    precision = np.linalg.pinv(double_centre(np.diag(v)), hermitian=True)
    root = np.sqrt(np.diag(precision))
    expected = -precision / np.outer(root, root)
    np.fill_diagonal(expected, 1.0)
    assert_allclose(closure_null(v), expected, atol=1e-14)
    assert_allclose(closure_null(7 * np.ones(6))[np.triu_indices(6, 1)], 1 / 5, atol=1e-15)
    for bad in ([1.0, 1.0], [1.0, 0.0, 1.0], [[1.0, 1.0, 1.0]], [1.0, np.nan, 2.0]):
        with pytest.raises(ValueError, match="variances must be three or more positive finite numbers"):
            closure_null(bad)


@pytest.mark.parametrize("method", ["basis", "invariant", "ledoit_wolf", "oas"])
def test_full_shrinkage_gives_the_closure_null(method: str) -> None:
    from causalkit.composition.precision import shrunk_precision

    shrunk = shrink_logs(centre_logs(np.log(sample())), method, intensity=1.0)
    assert_allclose(shrunk_precision(shrunk).correlations(), closure_null(shrunk.variances), atol=1e-14)


def test_basis_depends_on_units_and_the_others_do_not() -> None:
    X = sample()
    rescaled = X * [1.0, 10.0, 0.01, 5.0, 1e3] * np.random.default_rng(3).lognormal(0, 2, (25, 1))
    for method in ("invariant", "ledoit_wolf", "oas", "logratio"):
        assert shrink_covariance(rescaled, method).intensity == pytest.approx(
            shrink_covariance(X, method).intensity, abs=1e-12
        )
    assert abs(shrink_covariance(rescaled, "basis").intensity - shrink_covariance(X, "basis").intensity) > 0.01


def test_too_little_to_shrink() -> None:
    with pytest.raises(DegreesOfFreedomError, match="2 rows of positive weight: an intensity needs a minimum of 3"):
        shrink_covariance(sample(2))
    with pytest.raises(DegreesOfFreedomError, match="2 rows of positive weight"):
        shrink_covariance(sample(4), sample_weight=[1, 0, 0, 2])
    with pytest.raises(TooFewPartsError, match="2 parts"):
        shrink_covariance(sample(9, 2))
    with pytest.raises(ValueError, match=r"method must be one of 'basis', .*; got 'auto'"):
        shrink_covariance(sample(), "auto")


def test_a_share_that_does_not_vary_is_named() -> None:
    shares = sample(12, 4)
    X = np.column_stack([0.9 * shares / shares.sum(axis=1, keepdims=True), np.full(12, 0.1)])
    with pytest.raises(DegenerateLogRatioError, match=r"log proportion of part 'x4' does not vary .*'invariant'"):
        shrink_covariance(X)
    assert 0 < shrink_covariance(X, "invariant").intensity < 1


def test_cups_match_published_intensities() -> None:
    X = fetch_or_skip(fetch_roman_glass_cups).parts
    basis = shrink_covariance(X, "basis")
    assert basis.intensity == pytest.approx(0.0591229332037, abs=1e-10)
    assert basis.variance_intensity == pytest.approx(0.0814671156855, abs=1e-10)
    weighted = shrink_covariance(X, "basis", np.arange(1, 48) / 1128)
    assert weighted.intensity == pytest.approx(0.0800512760687, abs=1e-10)
    assert weighted.variance_intensity == pytest.approx(0.0657030871643, abs=1e-10)
    ratios = shrink_covariance(X, "logratio")
    assert (ratios.intensity, ratios.variance_intensity) == pytest.approx((0.193441, 0.0780513), abs=5e-7)
    for method, expected in (("invariant", 0.286621), ("ledoit_wolf", 0.146007), ("oas", 0.154474)):
        assert shrink_covariance(X, method).intensity == pytest.approx(expected, abs=5e-7)
    table = {"basis": (0.623465, 0.588440, -0.542880, 0.572914), "invariant": (0.414801, 0.340395, -0.286261, 0.459362)}
    for method, expected in table.items():
        network = CompositionalPartialCorrelation(shrinkage=method, test=None).fit(X)
        pairs = [("Si", "Al"), ("Fe", "Al"), ("Si", "Fe"), ("Ca", "Na")]
        found = [network.block([a], [b])[0, 0] for a, b in pairs]
        assert found == pytest.approx(expected, abs=5e-7)
