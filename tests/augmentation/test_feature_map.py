"""Mapped features: kernel duals over all pairs of rows, explicit maps, names, and the known non-linear design."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, SplineTransformer, StandardScaler

from causalkit.augmentation import IVLikeRegressor
from causalkit.augmentation.augmenters import AdditiveNoise, Permutation
from causalkit.datasets import make_nonlinear_augmentation
from tests.augmentation.dense_linear import Sample, sample

pytestmark = [
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.WeakInstrumentWarning"),
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.LeakageWarning"),
]


def small(n: int = 24) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    G = rng.normal(size=(n, 2))
    y = np.sin(X[:, 0]) + X[:, 1] ** 2 + 0.3 * rng.normal(size=n)
    return {"X": X, "y": y, "G": G, "GX": X + G @ rng.normal(size=(2, 3)), "new": rng.normal(size=(10, 3))}


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("alpha", [0.05, 1.0, np.inf])
def test_all_landmarks_equal_the_pairwise_dual(gamma: float, alpha: float) -> None:
    """β = (QK + nηI)⁻¹J₁'y with Q = J₁'J₁ + (J₁ - J₀)'(J₁ - J₀)/alpha, K on the 2n rows (GX, X)."""
    d, n, ridge = small(), 24, 0.01
    nodes = np.vstack([d["GX"], d["X"]])
    K = rbf_kernel(nodes, gamma=gamma)
    J1 = np.hstack([np.eye(n), np.zeros((n, n))])
    J0 = np.hstack([np.zeros((n, n)), np.eye(n)])
    Q = J1.T @ J1 + (0.0 if np.isinf(alpha) else 1 / alpha) * (J1 - J0).T @ (J1 - J0)
    beta = np.linalg.solve(Q @ K + n * ridge * np.eye(2 * n), J1.T @ d["y"])
    expected = rbf_kernel(d["new"], nodes, gamma=gamma) @ beta
    mapping = Nystroem(gamma=gamma, n_components=2 * n, random_state=0)
    model = IVLikeRegressor(alpha=alpha, feature_map=mapping, ridge=ridge, fit_intercept=False)
    model.fit(d["X"], d["y"], augmented=d["GX"])
    np.testing.assert_allclose(model.predict(d["new"]), expected, atol=1e-8)
    assert model.coef_.shape == (2 * n,)
    assert not hasattr(mapping, "components_")  # a clone was fitted


@pytest.mark.parametrize("alpha", [0.05, 1.0])
def test_all_landmarks_equal_the_projected_dual(alpha: float) -> None:
    """β = (WK + nαηI)⁻¹Wy with W = αI + P, K on the augmented rows."""
    d, n, ridge = small(), 24, 0.01
    K = rbf_kernel(d["GX"], gamma=1.0)
    W = alpha * np.eye(n) + d["G"] @ np.linalg.pinv(d["G"])
    beta = np.linalg.solve(W @ K + n * alpha * ridge * np.eye(n), W @ d["y"])
    expected = rbf_kernel(d["new"], d["GX"], gamma=1.0) @ beta
    for given in (
        {"augmented": d["GX"], "augmentation_parameters": d["G"]},
        {"instruments": d["G"]},
    ):
        real = "instruments" in given
        mapping = Nystroem(gamma=1.0, n_components=n if real else 2 * n, random_state=0)
        model = IVLikeRegressor(alpha=alpha, penalty="projected", feature_map=mapping, ridge=ridge, fit_intercept=False)
        model.fit(d["GX"] if real else d["X"], d["y"], **given)
        np.testing.assert_allclose(model.predict(d["new"]), expected, atol=1e-8)


def test_linear_kernel_is_the_linear_fit_with_ridge() -> None:
    d, ridge = small(), 0.2
    mapping = Nystroem(kernel="linear", n_components=48, random_state=0)
    options = {"alpha": 0.3, "ridge": ridge, "fit_intercept": False}
    mapped = IVLikeRegressor(feature_map=mapping, **options).fit(d["X"], d["y"], augmented=d["GX"])
    plain = IVLikeRegressor(**options).fit(d["X"], d["y"], augmented=d["GX"])
    np.testing.assert_allclose(mapped.predict(d["new"]), plain.predict(d["new"]), atol=1e-8)


@pytest.mark.parametrize("penalty", ["projected", "paired", "pointwise", "constrained"])
def test_explicit_map_equals_mapped_pairs(penalty: str) -> None:
    """x = φ(GX) and d = φ(GX) - φ(X)."""
    data = sample(n=120, draws=2)
    mapping = PolynomialFeatures(2, include_bias=False)
    options: dict[str, Any] = {"penalty": penalty, "ridge": 0.01}
    model = IVLikeRegressor(feature_map=mapping, **options).fit(data.X, data.y, **data.given())
    phi = mapping.fit(data.X).transform
    GX = np.stack([phi(data.GX[:, r]) for r in range(2)], axis=1)
    mapped = Sample(**{**vars(data), "X": phi(data.X), "GX": GX})
    plain = IVLikeRegressor(**options).fit(mapped.X, mapped.y, **mapped.given())
    np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(model.predict(data.X), plain.predict(mapped.X), rtol=1e-6)
    np.testing.assert_allclose(model.inference().cov, plain.inference().cov, rtol=1e-5, atol=1e-10)


def test_map_is_fitted_on_the_rows_and_their_augmented_copies() -> None:
    d = small()
    model = IVLikeRegressor(feature_map=StandardScaler()).fit(d["X"], d["y"], augmented=d["GX"])
    scaler = model._source.feature_map
    np.testing.assert_allclose(scaler.mean_, np.vstack([d["GX"], d["X"]]).mean(axis=0))
    swap = Permutation([[0, 1]])
    model = IVLikeRegressor(feature_map=StandardScaler(), augmentation=swap, n_draws="orbit").fit(d["X"], d["y"])
    orbit = np.vstack([d["X"], d["X"][:, [1, 0, 2]], d["X"]])
    np.testing.assert_allclose(model._source.feature_map.mean_, orbit.mean(axis=0))
    plain = IVLikeRegressor(feature_map=StandardScaler()).fit(d["X"], d["y"])
    np.testing.assert_allclose(plain._source.feature_map.mean_, d["X"].mean(axis=0))


def test_names_of_mapped_features() -> None:
    d = small()
    X = pd.DataFrame(d["X"], columns=list("abc"))
    mapping = PolynomialFeatures(2, include_bias=False)
    model = IVLikeRegressor(feature_map=mapping, ridge=1e-3).fit(X, d["y"])
    assert len(model.path([1.0]).feature_names) == 9
    assert model.inference().names[0] == "intercept"
    assert len(model.inference().names) == 10
    unnamed = FunctionTransformer(lambda X: X[:, :2] ** 2)
    model = IVLikeRegressor(feature_map=unnamed).fit(d["X"], d["y"])
    assert model.inference().names == ("intercept", "map0", "map1")
    assert model.n_features_in_ == 3
    with pytest.raises(ValueError, match="2 features, but IVLikeRegressor is expecting 3"):
        model.predict(d["X"][:, :2])


def test_draws_go_through_the_map() -> None:
    d = small()
    options = {"augmentation": AdditiveNoise(0.3), "n_draws": 2, "random_state": 0, "ridge": 1e-3}
    mapping = make_pipeline(StandardScaler(), SplineTransformer(n_knots=3, include_bias=False))
    first = IVLikeRegressor(feature_map=mapping, **options).fit(d["X"], d["y"])
    second = IVLikeRegressor(feature_map=mapping, **options).fit(d["X"], d["y"])
    np.testing.assert_array_equal(first.coef_, second.coef_)
    assert first.n_draws_ == 2
    assert np.isfinite(first.inference(method="refit", n_bootstrap=5).std_error).all()


def test_nonlinear_design() -> None:
    """Error over Var f on new rows: least squares .85 to .95, alpha = inf .22 to .32, alpha = .1 at most .06."""
    data = make_nonlinear_augmentation(random_state=0)
    mapping = Nystroem(gamma=0.2, n_components=150, random_state=0)

    def error(alpha: float, **given: Any) -> float:
        model = IVLikeRegressor(alpha=alpha, feature_map=mapping, ridge=1e-4).fit(data.X, data.y, **given)
        return float(np.var(model.predict(data.X_test) - data.effect_test) / np.var(data.effect_test))

    assert 0.85 <= error(0.1) <= 0.95
    errors = [error(alpha, augmented=data.augmented) for alpha in (np.inf, 1.0, 0.1)]
    assert 0.22 <= errors[0] <= 0.32
    assert errors[2] <= 0.06
    assert errors[0] > errors[1] > errors[2]
