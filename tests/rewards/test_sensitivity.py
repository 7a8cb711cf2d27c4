"""Bounds for unmeasured confounders: closed forms, published anchors, golden values, influence of the bounds."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy import stats

from causalkit.exceptions import MethodNotApplicableError
from causalkit.rewards.deconfounder import RewardDeconfounder
from causalkit.rewards.orthogonal import fit_orthogonal
from causalkit.rewards.sensitivity import e_value, omitted_variable_bias, robustness_value, sensitivity_frame
from tests.golden.rewards.make_sensitivity import LEVEL, PATH, STRENGTHS, residual_data

Array = NDArray[np.float64]
GOLDEN = json.loads(PATH.read_text())

THETA, LOADINGS, GAMMA = np.array([1.0, 0.5, -0.75, 0.0]), np.array([0.8, -0.6, 0.0, 0.0]), 2.0
SIGMA_X = np.outer(LOADINGS, LOADINGS) + np.eye(4)
INVERSE = np.linalg.inv(SIGMA_X)
SHORT = THETA + GAMMA * INVERSE @ LOADINGS
# Var(Y|X) = 1 + γ²Var(C|X) with Var(C|X) = 1 - b'Σ_X⁻¹b = 1/2.
SIGMA2, CF_Y = 3.0, 2.0 / 3.0


def exact_sample(n: int = 64) -> tuple[Array, Array, Array]:
    """Rows whose empirical moments are those of the population: X = bC + U, Y = θ'X + γC + ε, all of variance 1."""
    noise = np.random.default_rng(3).normal(size=(n, 6))
    columns = np.linalg.qr(noise - noise.mean(axis=0))[0] * np.sqrt(n)
    C, U, error = columns[:, 0], columns[:, 1:5], columns[:, 5]
    X = np.outer(C, LOADINGS) + U
    return X, X @ THETA + GAMMA * C + error, C


def frame_of(X: Array, y: Array, weight: Array | None = None, codes: Any = None, **options: Any) -> Any:
    fit = fit_orthogonal(X, y, weight=weight)
    directions = np.eye(X.shape[1])
    settings = {"cf_y": 0.03, "cf_d": 0.03, "rho": 1.0, "reduction": 1.0, "confidence_level": 0.95} | options
    names = [f"x{j}" for j in range(X.shape[1])]
    return sensitivity_frame([fit], directions, names, fit.coef, fit.influence(), codes, float(y.std()), **settings)


# ---------------------------------------------------------------------- closed forms


def test_gaussian_confounder_moments() -> None:
    """The parts of the bound in the linear Gaussian design with its confounder hidden."""
    assert_allclose(SHORT, [1.8, -0.1, -0.75, 0.0], atol=1e-12)
    assert_allclose(np.diag(INVERSE), [0.68, 0.82, 1.0, 1.0], atol=1e-12)
    assert_allclose(1 + GAMMA**2 * (1 - LOADINGS @ INVERSE @ LOADINGS), SIGMA2)


@pytest.mark.parametrize(("j", "cf_d", "bias"), [(0, 0.32, 0.8), (1, 0.18, 0.6), (2, 0.0, 0.0), (3, 0.0, 0.0)])
def test_bound_is_the_bias_of_one_gaussian_confounder(j: int, cf_d: float, bias: float) -> None:
    assert_allclose(omitted_variable_bias(SIGMA2, INVERSE[j, j], CF_Y, cf_d), bias, atol=1e-4)
    assert_allclose(abs(SHORT[j] - THETA[j]), bias, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_bound_is_sharp_in_every_direction(q: list[float]) -> None:
    direction = np.array(q) / np.linalg.norm(q)
    nu2 = float(direction @ INVERSE @ direction)
    bound = omitted_variable_bias(SIGMA2, nu2, CF_Y, max(0.0, 1 - nu2))
    assert_allclose(bound, abs(GAMMA * direction @ INVERSE @ LOADINGS), atol=1e-6)


def test_robustness_values_of_the_hidden_confounder_design() -> None:
    """Feature 1 is robust, the wrong sign of feature 2 is fragile."""
    df = 1000
    t = SHORT[:2] / np.sqrt(SIGMA2 * np.diag(INVERSE)[:2]) * np.sqrt(df)
    assert_allclose(robustness_value(t, df), [0.6955, 0.0618], atol=1e-4)


def test_estimator_reports_the_hidden_confounder_design() -> None:
    X, y, _ = exact_sample()
    model = RewardDeconfounder(method="none").fit(X, y)
    table = model.sensitivity(cf_y=CF_Y, cf_d=0.32)
    assert_allclose(table["estimate"], SHORT, atol=1e-10)
    assert_allclose(table["bound"].iloc[0], 0.8, atol=1e-10)
    assert_allclose(table["lower"].iloc[0], THETA[0], atol=1e-10)
    assert_allclose(table["rv"].iloc[:2], [0.6955, 0.0618], atol=1e-4)
    assert table["robust"].tolist() == [True, False, False, False]


def test_pair_rows_are_directions() -> None:
    X, y, _ = exact_sample()
    model = RewardDeconfounder(method="none").fit(X, y)
    q = X[:3] - X[3:6]
    table = model.sensitivity(X_first=X[:3], X_second=X[3:6], cf_y=0.1, cf_d=0.2, rho=0.5)
    nu2 = np.einsum("ij,jk,ik->i", q, INVERSE, q)
    assert_allclose(table["bound"], 0.5 * np.sqrt(0.1 * 0.25 * SIGMA2 * nu2), rtol=1e-10)
    assert_allclose(table["estimate"], q @ SHORT, atol=1e-10)
    assert_allclose(table["e_value"], e_value(np.exp(0.91 * np.abs(q @ SHORT) / y.std())), rtol=1e-10)


# ---------------------------------------------------------------------- published values


def test_darfur() -> None:
    """Cinelli & Hazlett 2020, section 4.1: violence and attitudes towards peace."""
    t, df = 0.09732 / 0.02326, 783
    assert_allclose(t**2 / (t**2 + df), 0.02187, atol=1e-5)
    assert_allclose(robustness_value(4.1844, df), 0.1388, atol=1e-4)
    assert_allclose(robustness_value(4.1844, df, alpha=0.05), 0.0763, atol=1e-4)


def test_e_values() -> None:
    """VanderWeele & Ding 2017: risk ratios 3.9 and 1.8, and a standardised difference of one half."""
    assert_allclose(e_value([3.9, 1.8]), [7.26, 3.0], atol=5e-3)
    assert_allclose(e_value(1 / 3.9), e_value(3.9))
    assert e_value(1.0) == 1.0
    ratio = np.exp(0.91 * 0.5)
    assert_allclose([ratio, e_value(ratio)], [1.576, 2.53], atol=5e-3)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.1, 20), st.integers(5, 5000), st.floats(0.1, 1.0))
def test_robustness_value_is_the_strength_that_removes_the_share(t: float, df: int, reduction: float) -> None:
    """At cf_y = cf_d = RV the bias r|θ| is reached exactly: with σ²ν² = S², |θ| = S|t|/√df."""
    strength = robustness_value(t, df, reduction)
    assert_allclose(omitted_variable_bias(1.0, 1.0, strength, strength), reduction * t / np.sqrt(df), rtol=1e-6)


def test_robustness_value_of_an_insignificant_estimate_is_zero() -> None:
    assert robustness_value(1.5, 200, alpha=0.05) == 0.0
    # The boundary: f equals t_{1-α/2, df-1}/√(df-1).
    boundary = stats.t.ppf(0.975, 199) / np.sqrt(199) * np.sqrt(200)
    assert (
        robustness_value(boundary * 0.999, 200, alpha=0.05) == 0.0 < robustness_value(boundary * 1.01, 200, alpha=0.05)
    )


# ---------------------------------------------------------------------- golden values


@pytest.mark.parametrize("k", range(len(STRENGTHS)))
def test_bounds_and_their_intervals_equal_doubleml(k: int) -> None:
    data = residual_data()
    cf_y, cf_d, rho = STRENGTHS[k]
    X, y = (data["d"] - data["feature"])[:, None], data["y"] - data["outcome"]
    row = frame_of(X, y, cf_y=cf_y, cf_d=cf_d, rho=rho, confidence_level=LEVEL).iloc[0]
    golden = GOLDEN["bounds"][k]
    for name in ("estimate", "se", "lower", "upper"):
        assert_allclose(row[name], golden[name], rtol=1e-8, err_msg=name)
    # The peer exchanges the errors of the two ends; the numerical influence below settles which is which.
    assert_allclose(row["lower"] - row["ci_lower"], golden["ci_upper"] - golden["upper"], rtol=1e-8)
    assert_allclose(row["ci_upper"] - row["upper"], golden["lower"] - golden["ci_lower"], rtol=1e-8)
    if rho == 1.0:  # the peer's value with another correlation is for that correlation
        assert_allclose(row["rv"], golden["rv"], atol=1e-5)


# ---------------------------------------------------------------------- intervals of the bounds


def test_intervals_come_from_the_numerical_influence_of_the_bounds() -> None:
    """Influence values of θ ∓ kS by shifting weight to each row, refitting every time."""
    rng = np.random.default_rng(8)
    n = 40
    X = rng.normal(size=(n, 2))
    y = X @ [0.5, -0.2] + rng.normal(size=n) * (1 + X[:, 0] ** 2)
    cf_y, cf_d = 0.2, 0.3
    k = np.sqrt(cf_y * cf_d / (1 - cf_d))

    def ends(weight: Array) -> Array:
        gram = X.T @ (X * weight[:, None])
        theta = np.linalg.solve(gram, X.T @ (weight * y))
        size = np.sqrt((weight @ (y - X @ theta) ** 2) * np.diag(np.linalg.inv(gram)))
        return np.stack([theta - k * size, theta + k * size])

    step, base = 1e-5, np.full(n, 1.0 / n)
    influence = np.empty((n, 2, 2))
    for i in range(n):
        moved = {s: (1 - s * step) * base + s * step * (np.arange(n) == i) for s in (1, -1)}
        influence[i] = (ends(moved[1]) - ends(moved[-1])) / (2 * step)
    errors = np.sqrt((influence**2).sum(axis=0)) / n
    table = frame_of(X, y, cf_y=cf_y, cf_d=cf_d, confidence_level=0.9)
    z = stats.norm.ppf(0.9)
    assert_allclose(table["lower"], ends(base)[0], rtol=1e-8)
    assert_allclose(table["ci_lower"], ends(base)[0] - z * errors[0], rtol=1e-5)
    assert_allclose(table["ci_upper"], ends(base)[1] + z * errors[1], rtol=1e-5)

    codes = np.arange(n) // 4
    sums = np.stack([influence[codes == g].sum(axis=0) for g in range(10)])
    clustered = frame_of(X, y, codes=codes, cf_y=cf_y, cf_d=cf_d, confidence_level=0.9)
    expected = ends(base)[0] - z * np.sqrt((sums[:, 0] ** 2).sum(axis=0)) / n
    assert_allclose(clustered["ci_lower"], expected, rtol=1e-5)


def test_weights_are_repeated_rows() -> None:
    rng = np.random.default_rng(9)
    X = rng.normal(size=(30, 2))
    y = X @ [0.5, -0.2] + rng.normal(size=30)
    counts = rng.integers(1, 4, 30)
    weighted = frame_of(X, y, weight=counts / counts.mean())
    repeated = frame_of(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    for name in ("estimate", "bound", "lower", "upper"):
        assert_allclose(weighted[name], repeated[name], rtol=1e-10)


def test_no_confounding_leaves_the_estimate() -> None:
    X, y, _ = exact_sample()
    table = RewardDeconfounder(method="none").fit(X, y).sensitivity(cf_y=0.0, cf_d=0.5)
    assert (table["bound"] == 0).all()
    assert_allclose(table["lower"], table["estimate"])


def test_one_sided_interval_covers_the_hidden_truth() -> None:
    """At the true strengths the lower end estimates θ₁ itself, so its one-sided 95 % interval covers in 95 %."""
    n, replicates, covered = 400, 300, 0
    for seed in range(replicates):
        rng = np.random.default_rng(seed)
        C, U, error = rng.normal(size=n), rng.normal(size=(n, 4)), rng.normal(size=n)
        X = np.outer(C, LOADINGS) + U
        y = X @ THETA + GAMMA * C + error
        table = frame_of(X - X.mean(axis=0), y - y.mean(), cf_y=CF_Y, cf_d=0.32)
        covered += bool(table["ci_lower"].iloc[0] <= THETA[0])
    # Three binomial standard errors at 300 replicates are .038.
    assert 0.912 <= covered / replicates <= 0.988


# ---------------------------------------------------------------------- failures


@pytest.mark.parametrize("value", [-0.1, 1.0, np.nan, "0.1", True])
@pytest.mark.parametrize("name", ["cf_y", "cf_d"])
def test_strengths_are_shares(name: str, value: Any) -> None:
    X, y, _ = exact_sample()
    with pytest.raises(ValueError, match=rf"{name} must be a share in \[0, 1\)"):
        omitted_variable_bias(**({"sigma2": 1.0, "nu2": 1.0, "cf_y": 0.1, "cf_d": 0.1} | {name: value}))
    with pytest.raises(ValueError, match=rf"{name} must be a share in \[0, 1\)"):
        RewardDeconfounder(method="none").fit(X, y).sensitivity(**{name: value})


@pytest.mark.parametrize("rho", [-1.1, 1.5, np.nan, None])
def test_rho_is_a_correlation(rho: Any) -> None:
    with pytest.raises(ValueError, match=r"rho must be a correlation in \[-1, 1\]"):
        omitted_variable_bias(1.0, 1.0, 0.1, 0.1, rho)


@pytest.mark.parametrize("ratio", [0.0, -1.0, [1.0, 0.0], np.nan])
def test_risk_ratios_are_positive(ratio: Any) -> None:
    with pytest.raises(ValueError, match="risk_ratio must be positive"):
        e_value(ratio)


def test_robustness_value_failures() -> None:
    with pytest.raises(ValueError, match="degrees_of_freedom must exceed 1"):
        robustness_value(2.0, 1)
    with pytest.raises(ValueError, match="reduction must not be negative"):
        robustness_value(2.0, 10, reduction=-0.5)
    with pytest.raises(ValueError, match=r"alpha must lie in \(0, 1\)"):
        robustness_value(2.0, 10, alpha=1.0)


def test_sensitivity_needs_both_texts_of_a_pair() -> None:
    X, y, _ = exact_sample()
    model = RewardDeconfounder(method="none").fit(X, y)
    with pytest.raises(ValueError, match="belong together"):
        model.sensitivity(X_first=X[:2])
    with pytest.raises(ValueError, match="X_first has 2 rows, X_second 3"):
        model.sensitivity(X_first=X[:2], X_second=X[:3])
    with pytest.raises(ValueError, match="confidence_level"):
        model.sensitivity(confidence_level=1.0)


def test_sensitivity_is_for_rewards_from_residuals() -> None:
    X, y, C = exact_sample()
    model = RewardDeconfounder(method="invariance").fit(X, y, confounders=C)
    with pytest.raises(MethodNotApplicableError, match='method="invariance"'):
        model.sensitivity()
