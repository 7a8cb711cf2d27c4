"""Breakdown value and bounds: identities in the sample, containment of the truth, infeasible limits, bootstrap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.optimize import minimize

from causalkit.augmentation import IVLikeRegressor
from causalkit.augmentation.augmenters import NullSpaceShift
from causalkit.datasets import make_linear_augmentation
from tests.augmentation.dense_linear import sample

SHIFT = np.array([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])


def confounded(seed: int, scale: float = 1.0) -> dict[str, Any]:
    """Rows with a known f that shifts along ``SHIFT`` leave alone, and the sample's own confounding."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(200, 2))
    X = hidden @ rng.normal(size=(2, 4)) + rng.normal(size=(200, 4))
    f = null_space(SHIFT) @ rng.normal(size=2)
    xi = scale * hidden @ rng.normal(size=2) + rng.normal(size=200)
    x, e = X - X.mean(axis=0), xi - xi.mean()
    A, v = x.T @ x / 200, x.T @ e / 200
    explained = v @ np.linalg.solve(A, v)
    share = explained / (e @ e / 200)
    return {
        "X": X,
        "y": X @ f + xi,
        "f": f,
        "A": A,
        "v": v,
        "share": share,
        "explained": explained,
        "total": e @ e / 200,
    }


def fit(data: dict[str, Any], **options: Any) -> IVLikeRegressor:
    model = IVLikeRegressor(augmentation=NullSpaceShift(SHIFT), random_state=0, **options)
    return model.fit(data["X"], data["y"])


@pytest.mark.parametrize("penalty", ["pointwise", "analytic", "constrained"])
def test_breakdown_identities(penalty: str) -> None:
    """v'A⁻¹v = σ²R²/(1 - R²), q from two explicit regressions, and R² is at least what the invariance needs."""
    for seed in range(8):
        data = confounded(seed)
        table = fit(data, penalty=penalty).diagnostics().breakdown.iloc[0]
        np.testing.assert_allclose(table["noise"], data["total"] - data["explained"], rtol=1e-9)
        np.testing.assert_allclose(data["explained"], table["noise"] * data["share"] / (1 - data["share"]), rtol=1e-9)
        N = null_space(SHIFT)
        design = np.column_stack([np.ones(200), data["X"]])
        free = np.linalg.lstsq(design, data["y"], rcond=None)[0][1:]
        inside = N @ np.linalg.lstsq(np.column_stack([np.ones(200), data["X"] @ N]), data["y"], rcond=None)[0][1:]
        q = (free - inside) @ data["A"] @ (free - inside)
        np.testing.assert_allclose(table["distance"], q, rtol=1e-8)
        np.testing.assert_allclose(table["confounding_needed"], q / (table["noise"] + q), rtol=1e-8)
        assert table["confounding_needed"] <= data["share"] + 1e-12


def test_bounds_hold_the_truth_and_are_no_wider_than_without_symmetries() -> None:
    for seed in range(30):
        data = confounded(seed, scale=[0.3, 1.0, 3.0][seed % 3])
        contrasts = np.vstack([np.eye(4), np.random.default_rng(seed).normal(size=(5, 4))])
        bounds = fit(data).bounds(data["share"], contrast=contrasts)
        assert bounds.feasible
        assert bounds.lower is not None
        assert bounds.upper is not None
        truth = contrasts @ data["f"]
        assert (bounds.lower <= truth + 1e-9).all()
        assert (truth <= bounds.upper + 1e-9).all()
        assert (bounds.lower_without <= bounds.lower + 1e-9).all()
        assert (bounds.upper <= bounds.upper_without + 1e-9).all()
        assert (bounds.lower_without <= truth + 1e-9).all()
        assert (truth <= bounds.upper_without + 1e-9).all()


def test_bounds_are_extreme_values_of_a_contrast() -> None:
    """The largest c'f over f = Nb with ‖h_ols - f‖²_A at most the limit, by numerical optimisation."""
    data = confounded(3)
    model, r2_max, c = fit(data), 0.6, np.array([1.0, 2.0, -1.0, 0.5])
    bounds = model.bounds(r2_max, contrast=c)
    N = null_space(SHIFT)
    ols = np.linalg.lstsq(np.column_stack([np.ones(200), data["X"]]), data["y"], rcond=None)[0][1:]
    radius = (data["total"] - data["explained"]) * r2_max / (1 - r2_max)

    def slack(b: np.ndarray) -> float:
        return float(radius - (ols - N @ b) @ data["A"] @ (ols - N @ b))

    for sign, found in ((1, bounds.lower), (-1, bounds.upper)):
        best = minimize(
            lambda b, s=sign: s * c @ N @ b, np.zeros(2), constraints={"type": "ineq", "fun": slack}, tol=1e-12
        )
        assert found is not None
        np.testing.assert_allclose(found[0], sign * best.fun, rtol=1e-5)
    wide = np.sqrt(radius * c @ np.linalg.solve(data["A"], c))
    np.testing.assert_allclose([bounds.lower_without[0], bounds.upper_without[0]], [c @ ols - wide, c @ ols + wide])


def test_a_limit_below_what_is_needed() -> None:
    data = confounded(1)
    model = fit(data)
    needed = float(model.diagnostics().breakdown["confounding_needed"].iloc[0])
    bounds = model.bounds(0.9 * needed)
    assert not bounds.feasible
    assert bounds.lower is None
    assert bounds.upper is None
    assert bounds.r2_needed == needed
    assert np.isnan(bounds.to_frame()[["lower", "upper"]]).to_numpy().all()
    assert np.isfinite(bounds.to_frame()["lower_without_invariance"]).all()
    assert "infeasible" in bounds.to_frame().attrs["note"]
    assert f"at least {needed:.4g}" in repr(bounds)
    exactly = model.bounds(needed)
    assert exactly.lower is not None
    assert exactly.upper is not None
    constrained = fit(data, penalty="constrained").coef_
    np.testing.assert_allclose(exactly.lower, constrained, atol=1e-6)
    np.testing.assert_allclose(exactly.upper, constrained, atol=1e-6)


def test_bounds_without_any_symmetry() -> None:
    data = sample()
    bounds = IVLikeRegressor().fit(data.X, data.y).bounds(0.5)
    np.testing.assert_allclose(bounds.lower, bounds.lower_without, rtol=1e-9)
    np.testing.assert_allclose(bounds.upper, bounds.upper_without, rtol=1e-9)
    point = IVLikeRegressor().fit(data.X, data.y)
    closed = point.bounds(0.0)
    np.testing.assert_allclose(closed.lower, point.coef_, rtol=1e-7)
    np.testing.assert_allclose(closed.upper, point.coef_, rtol=1e-7)


def test_names_and_displays() -> None:
    model = fit(confounded(0))
    assert model.bounds(0.9).names == ("x0", "x1", "x2", "x3")
    bounds = model.bounds(0.9, contrast=[[1, -1, 0, 0], [0, 0, 0, 0]])
    assert bounds.names == ("+1*x0 -1*x1", "0")
    assert list(bounds.to_frame().index) == list(bounds.names)
    assert "plug-in bounds for r2_max = 0.9" in repr(bounds)
    assert "without sampling error" in bounds._repr_html_()


def test_bootstrap_of_the_ends_covers_sampling_error() -> None:
    """Standard errors of both ends against their spread over fresh samples of one design."""

    def ends(seed: int, n_bootstrap: int = 0) -> Any:
        rng = np.random.default_rng(100)
        mixing, f, loads = rng.normal(size=(2, 4)), null_space(SHIFT) @ rng.normal(size=2), rng.normal(size=2)
        rng = np.random.default_rng(seed)
        hidden = rng.normal(size=(400, 2))
        X = hidden @ mixing + rng.normal(size=(400, 4))
        y = X @ f + hidden @ loads + rng.normal(size=400)
        return fit({"X": X, "y": y}).bounds(0.9, n_bootstrap=n_bootstrap)

    spread = np.std([np.stack([b.lower, b.upper], axis=1) for b in map(ends, range(300))], axis=0)
    errors = np.mean([ends(seed, 60).std_error for seed in range(10)], axis=0)
    assert errors.shape == (4, 2)
    np.testing.assert_allclose(errors, spread, rtol=0.25)
    frame = ends(0, 5).to_frame()
    assert {"lower_std_error", "upper_std_error"} <= set(frame)
    assert "without sampling error" not in frame.attrs["note"]


def test_exact_invariance_in_the_population() -> None:
    """A large sample of the design of the paper: the share that is needed stays below the true one."""
    data = make_linear_augmentation(20_000, 6, random_state=0)
    xi = data.y - data.X @ data.coef
    v = data.confounding_vector
    share = v @ np.linalg.solve(data.covariance, v) / xi.var()
    model = IVLikeRegressor(augmentation=NullSpaceShift(data.basis), penalty="analytic").fit(data.X, data.y)
    assert model.bounds(min(share + 0.01, 0.999)).feasible
    assert model.bounds(0.0).r2_needed <= share + 0.01
