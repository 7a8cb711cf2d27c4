"""The path over alpha: direct solutions, degrees of freedom as a trace, monotone penalties, limits, frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from causalkit.augmentation import IVLikeRegressor, worst_case_risk
from causalkit.augmentation.augmenters import AdditiveNoise
from causalkit.augmentation.path import cholesky_of_features
from causalkit.exceptions import NoInvariantDirectionError, RankError
from tests.augmentation.dense_linear import PENALTIES, Sample, dense_fit, sample

pytestmark = pytest.mark.filterwarnings("ignore::causalkit.exceptions.WeakInstrumentWarning")

GRID = np.logspace(-5, 5, 11)


def fit(data: Sample, penalty: str, alpha: float = 0.3, **options: Any) -> IVLikeRegressor:
    weights = options.pop("weights", False)
    if penalty == "analytic":
        model = IVLikeRegressor(alpha=alpha, penalty=penalty, augmentation=AdditiveNoise(covariance=data.K), **options)
        return model.fit(data.X, data.y, sample_weight=data.weight if weights else None)
    model = IVLikeRegressor(alpha=alpha, penalty=penalty, **options)
    return model.fit(data.X, data.y, **data.given(weights=weights))


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("ridge", [0.0, 0.4])
@pytest.mark.parametrize("k", [2, 5])
def test_path_equals_direct_solve(penalty: str, ridge: float, k: int) -> None:
    """One factorisation against a solution for each alpha; k = 5 parameters move all of the 4 directions."""
    data = sample(k=k)
    if penalty == "constrained" and k == 5:
        with pytest.raises(NoInvariantDirectionError):
            fit(data, penalty)
        return
    path = fit(data, penalty, ridge=ridge).path(GRID)
    for i, alpha in enumerate(GRID):
        expected = dense_fit(data, penalty, alpha, ridge=ridge)
        np.testing.assert_allclose(path.coef[i], expected.coef[:, 0], rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(path.intercept[i], expected.intercept[0], rtol=1e-8, atol=1e-9)
        if penalty == "projected":
            assert path.degrees_of_freedom is None
            if ridge == 0:  # p whatever alpha is
                g, x = (v - v.mean(axis=0) for v in (data.G[:, 0], data.GX[:, 0]))
                W = alpha * np.eye(40) + g @ np.linalg.pinv(g)
                np.testing.assert_allclose(np.trace(x @ np.linalg.solve(x.T @ W @ x, x.T @ W)), 4, rtol=1e-6)
        else:
            assert path.degrees_of_freedom is not None
            np.testing.assert_allclose(path.degrees_of_freedom[i], expected.hat_trace, rtol=1e-8)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_degrees_of_freedom_are_the_derivative_of_the_fit(penalty: str) -> None:
    """tr ∂ŷ/∂y with every outcome moved by itself: the fit is linear in y, so n unit outcomes show it."""
    data = sample(n=25)
    model = fit(Sample(**{**vars(data), "y": np.eye(25)}), penalty, ridge=0.3)
    before = data.X if penalty in ("analytic", "constrained") else data.GX[:, 0]
    fitted = before @ model.coef_.T + model.intercept_
    freedom = np.trace(fitted) - 1  # the intercept is not counted
    found = model.path([0.3]).degrees_of_freedom
    assert (found is None) == (penalty == "projected")
    if found is not None:
        np.testing.assert_allclose(found[0], freedom, rtol=1e-8)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_risk_and_penalty_on_the_rows(penalty: str) -> None:
    data = sample()
    path = fit(data, penalty, weights=True).path([0.01, 0.5, np.inf])
    w = data.weight / data.weight.sum()
    x = data.X if penalty in ("analytic", "constrained") else data.GX[:, 0]
    d, g = data.GX[:, 0] - data.X, data.G[:, 0] - w @ data.G[:, 0]
    P = g @ np.linalg.inv(g.T @ (w[:, None] * g)) @ (g.T * w)
    for i in range(3):
        h = path.coef[i]
        r = data.y - x @ h - path.intercept[i]
        np.testing.assert_allclose(path.risk[i], w @ r**2, rtol=1e-9)
        moved = {"projected": P @ r, "paired": P @ (d - w @ d) @ h}.get(penalty, d @ h)
        expected = h @ data.K @ h if penalty == "analytic" else w @ moved**2
        np.testing.assert_allclose(path.penalty[i], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalty_rises_with_alpha(penalty: str) -> None:
    for seed in range(5):
        path = fit(sample(seed=seed), penalty).path(np.logspace(-6, 6, 60))
        scale = path.risk.max()
        assert (np.diff(path.penalty) >= -1e-10 * scale).all()
        assert (np.diff(path.risk) <= 1e-10 * path.risk.max()).all() or penalty == "analytic"


def test_largest_risk_under_interventions() -> None:
    """E r² + E(Pr)²/alpha, which the projected fit at that alpha minimises."""
    data = sample()
    for alpha in (0.05, 1.0):
        model = fit(data, "projected", alpha)
        path = model.path([alpha])
        value = worst_case_risk(model.coef_, model.moments_, alpha)
        np.testing.assert_allclose(value, path.risk[0] + path.penalty[0] / alpha, rtol=1e-10)
        for step in np.eye(4):
            assert worst_case_risk(model.coef_ + 1e-2 * step, model.moments_, alpha) > value


@pytest.mark.parametrize("penalty", PENALTIES)
def test_ends_of_the_path(penalty: str) -> None:
    data = sample()
    path = fit(data, penalty).path([0.0, 1e-9, 1e9, np.inf])
    np.testing.assert_allclose(path.coef[0], path.coef[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(path.coef[3], path.coef[2], rtol=1e-6)
    for alpha, row in zip((0.0, np.inf), (0, 3), strict=True):
        np.testing.assert_array_equal(path.at(alpha), path.coef[row])
        np.testing.assert_allclose(fit(data, penalty, alpha).coef_, path.coef[row], rtol=1e-10, atol=1e-12)


def test_nearest_alpha_on_the_log_scale() -> None:
    path = fit(sample(), "pointwise").path([0.01, 1.0])
    np.testing.assert_array_equal(path.at(0.09), path.coef[0])
    np.testing.assert_array_equal(path.at(0.11), path.coef[1])


def test_frame() -> None:
    data = sample()
    X = pd.DataFrame(data.X, columns=list("abcd"))
    model = IVLikeRegressor().fit(X, data.y, augmented=data.GX)
    path = model.path()
    frame = path.to_frame()
    assert list(frame.columns) == ["a", "b", "c", "d", "intercept", "risk", "penalty", "degrees_of_freedom"]
    assert frame.index.name == "alpha"
    np.testing.assert_allclose(frame.index, np.logspace(-4, 2, 61))
    np.testing.assert_array_equal(frame[list("abcd")].to_numpy(), path.coef)
    assert "degrees_of_freedom" not in fit(data, "projected").path().to_frame()
    outcomes = fit(sample(outcomes=2), "pointwise").path([0.1]).to_frame()
    assert outcomes.columns.names == ["outcome", "quantity"]


def test_unit_of_a_feature_does_not_matter() -> None:
    data = sample()
    unit = np.array([1e-6, 1.0, 1e5, 1.0])
    scaled = Sample(**{**vars(data), "X": data.X * unit, "GX": data.GX * unit})
    for penalty in ("projected", "paired", "pointwise"):
        np.testing.assert_allclose(
            fit(scaled, penalty).path(GRID).coef * unit, fit(data, penalty).path(GRID).coef, rtol=1e-6, atol=1e-7
        )


def test_collinear_columns_are_named() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 5))
    X[:, 3] = X[:, 0] - X[:, 1]
    names = list("abcde")
    with pytest.raises(RankError, match=r"rank 4.*p = 5.*a, b, d.*ridge > 0"):
        cholesky_of_features(np.cov(X, rowvar=False), names)
    X[:, 2] = 7.0
    with pytest.raises(RankError, match=r"rank 4.*p = 5.*c are constant"):
        cholesky_of_features(np.cov(X, rowvar=False), names)
    well = np.diag([1e-12, 1.0, 1e12])
    np.testing.assert_allclose(cholesky_of_features(well, names), np.sqrt(well))
