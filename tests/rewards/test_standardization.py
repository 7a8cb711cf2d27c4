"""Standardised rewards: statsmodels, brute force, derivatives, equal loops, a simulated design, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import SplineTransformer

from causalkit.exceptions import IdentificationError
from causalkit.inference.covariance import influence_covariance
from causalkit.rewards.standardization import StandardizedFit, average_over_targets, interacted_ridge

Array = NDArray[np.float64]


def sample(seed: int = 0, n: int = 150, weighted: bool = False) -> tuple[Array, Array, Array, Array | None]:
    """X (n, 2), basis B (n, 3) of two numeric columns and their product, y and weights of mean 1."""
    rng = np.random.default_rng(seed)
    C = rng.standard_normal((n, 2))
    X = C @ [[0.8, 0.0], [0.2, -0.5]] + rng.standard_normal((n, 2)) * [1.0, 3.0] + 1.0
    y = X @ [1.0, -0.5] + X[:, 0] * C[:, 0] + 2 * C[:, 1] + rng.standard_normal(n) * (1 + np.abs(C[:, 0]))
    weight = rng.uniform(0.2, 2, n) if weighted else None
    B = np.column_stack([C, C[:, 0] * C[:, 1]])
    return X, B, y, None if weight is None else weight / weight.mean()


def columns(X: Array, B: Array) -> Array:
    """(1, X, B, X⊗B) without any centring."""
    return np.column_stack([np.ones(len(X)), X, B, (X[:, :, None] * B[:, None, :]).reshape(len(X), -1)])


def at_target(p: int, b_star: Array) -> Array:
    """Rows that take the coefficients of ``columns`` to those of the features at a mean basis."""
    return np.hstack([np.zeros((p, 1)), np.eye(p), np.zeros((p, len(b_star))), np.kron(np.eye(p), b_star)])


def solve_ridge(X: Array, B: Array, y: Array, w: Array, penalty: float, scale: Array) -> Array:
    """Coefficients of ``columns`` by the normal equations, products of features at ``scale`` penalised."""
    F = columns(X, B)
    size = np.concatenate([np.zeros(1 + X.shape[1] + B.shape[1]), np.repeat(scale**2, B.shape[1])])
    return np.linalg.solve(F.T @ (F * w[:, None]) + penalty * np.diag(size), F.T @ (w * y))


# ---------------------------------------------------------------------- closed form


@pytest.mark.parametrize("weighted", [False, True])
def test_without_penalty_it_is_least_squares(weighted: bool) -> None:
    X, B, y, weight = sample(weighted=weighted)
    target = B[:20] + 0.3
    fit = interacted_ridge(X, B, y, weight=weight, target_basis=target, penalty=0.0)
    w = np.ones(len(y)) if weight is None else weight
    peer = sm.WLS(y, columns(X, B), weights=w).fit(cov_type="HC0")
    rows = at_target(2, target.mean(axis=0))
    assert_allclose(fit.coef, rows @ peer.params, rtol=1e-9)
    assert_allclose(influence_covariance(fit.influence), rows @ peer.cov_params() @ rows.T, rtol=1e-8)
    assert_allclose(fit.residuals, peer.resid, atol=1e-10)
    assert_allclose(fit.interactions.ravel(), peer.params[-6:], rtol=1e-8)
    assert_allclose(fit.degrees_of_freedom, peer.df_resid)
    # r̂ is the mean prediction over the target rows, and R̂ exchanges the prediction for it.
    predictions = np.array([columns(X, np.tile(b, (len(y), 1))) @ peer.params for b in target]).mean(axis=0)
    assert_allclose(fit.intercept + X @ fit.coef, predictions, atol=1e-10)
    assert_allclose(fit.adjusted_reward, y - peer.fittedvalues + predictions, atol=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_equals_the_normal_equations(weighted: bool) -> None:
    X, B, y, weight = sample(1, weighted=weighted)
    w = np.ones(len(y)) if weight is None else weight
    mean = w @ X / w.sum()
    scale = np.sqrt(w @ (X - mean) ** 2 / w.sum())
    # The products' penalty does not depend on centring, because what centring changes is not penalised.
    beta = solve_ridge(X, B, y, w, 40.0, scale)
    fit = interacted_ridge(X, B, y, weight=weight, penalty=40.0)
    b_star = w @ B / w.sum()
    assert_allclose(fit.coef, at_target(2, b_star) @ beta, rtol=1e-9)
    assert_allclose(fit.target_basis, b_star, rtol=1e-12)
    assert_allclose(fit.residuals, y - columns(X, B) @ beta, atol=1e-9)
    assert_allclose(fit.interactions.ravel(), beta[-6:], rtol=1e-8)


def test_confounder_effect_of_new_rows() -> None:
    X, B, y, _ = sample(2)
    fit = interacted_ridge(X, B, y, penalty=3.0)
    assert_allclose(fit.confounder_effect(X, B), y - fit.adjusted_reward, atol=1e-10)
    new_X, new_B, _, _ = sample(3, n=7)
    beta = solve_ridge(X, B, y, np.ones(len(y)), 3.0, X.std(axis=0))
    expected = columns(new_X, new_B) @ beta - (fit.intercept + new_X @ fit.coef)
    assert_allclose(fit.confounder_effect(new_X, new_B), expected, atol=1e-9)


@pytest.mark.parametrize("penalty", [0.0, 25.0])
@pytest.mark.parametrize("own_mix", [False, True])
def test_influence_is_the_derivative_by_a_row_weight(penalty: float, own_mix: bool) -> None:
    X, B, y, _ = sample(4)
    n, step, scale = len(y), 1e-5, X.std(axis=0)
    target = B[5:30] + 0.5
    fit = interacted_ridge(X, B, y, target_basis=None if own_mix else target, penalty=penalty)
    for row in (0, 70, 149):
        ends = []
        for sign in (1, -1):
            w = np.ones(n)
            w[row] += sign * step
            b_star = w @ B / w.sum() if own_mix else target.mean(axis=0)
            ends.append(at_target(2, b_star) @ solve_ridge(X, B, y, w, penalty, scale))
        assert_allclose(n * (ends[0] - ends[1]) / (2 * step), fit.influence[row], rtol=1e-6, atol=1e-7)


def test_penalty_has_the_smallest_loss_out_of_fold() -> None:
    X, B, y, weight = sample(5, weighted=True)
    assert weight is not None
    n = len(y)
    folds = np.arange(n) % 4
    mean, b_mean = weight @ X / n, weight @ B / n
    scale = np.sqrt(weight @ (X - mean) ** 2 / n)
    products = ((X - mean) / scale)[:, :, None] * (B - b_mean)[:, None, :]
    size = np.mean([weight @ products[:, j, k] ** 2 / n for j in range(2) for k in range(3)])
    losses = []
    grid = np.logspace(-6, 3, 25) * size
    for value in grid:
        loss = 0.0
        for fold in range(4):
            test = folds == fold
            train_weight = weight[~test]
            beta = solve_ridge(X[~test], B[~test], y[~test], train_weight, value * train_weight.sum(), scale)
            loss += weight[test] @ (y[test] - columns(X[test], B[test]) @ beta) ** 2
        losses.append(loss)
    fit = interacted_ridge(X, B, y, weight=weight, folds=folds)
    assert_allclose(fit.penalty, n * grid[int(np.argmin(losses))], rtol=1e-9)
    assert 0 < np.argmin(losses) < 24


def test_extreme_penalty_is_the_regression_without_products() -> None:
    X, B, y, _ = sample(6)
    fit = interacted_ridge(X, B, y, penalty=1e12)
    plain = sm.OLS(y, np.column_stack([np.ones(len(y)), X, B])).fit()
    assert_allclose(fit.coef, plain.params[1:3], rtol=1e-6)
    assert_allclose(fit.degrees_of_freedom, plain.df_resid, rtol=1e-6)


def test_all_levels_of_a_factor_may_be_given() -> None:
    rng = np.random.default_rng(7)
    codes = rng.integers(0, 3, 200)
    X = rng.standard_normal((200, 2)) + codes[:, None]
    y = X @ [1.0, 0.5] * (1 + codes) + rng.standard_normal(200)
    share = np.array([0.2, 0.2, 0.6])
    target = np.repeat(np.eye(3), (share * 10).astype(int), axis=0)
    fit = interacted_ridge(X, np.eye(3)[codes], y, target_basis=target, penalty=0.0)
    # With a slope per level the answer is the mean of the slopes of separate regressions.
    slopes = np.array([LinearRegression().fit(X[codes == c], y[codes == c]).coef_ for c in range(3)])
    assert_allclose(fit.coef, share @ slopes, rtol=1e-9)


def test_units_of_the_features_do_not_matter() -> None:
    X, B, y, _ = sample(8)
    folds = np.arange(len(y)) % 5
    fit = interacted_ridge(X, B, y, folds=folds)
    other = interacted_ridge(X * [100.0, 0.01] + 5, B, y, folds=folds)
    assert_allclose(other.coef * [100.0, 0.01], fit.coef, rtol=1e-8)
    assert_allclose(other.adjusted_reward, fit.adjusted_reward, atol=1e-8)


def test_single_precision_features() -> None:
    X, B, y, _ = sample(9)
    fit, single = (interacted_ridge(Z, B, y, penalty=5.0) for Z in (X, X.astype(np.float32)))
    assert single.influence.dtype == np.float32
    assert_allclose(single.coef, fit.coef, atol=1e-5)


# ---------------------------------------------------------------------- any outcome model


def test_average_equals_a_loop_and_the_closed_form() -> None:
    X, B, y, _ = sample(10)
    model = LinearRegression().fit(columns(X, B)[:, 1:], y)

    def predict(both: Array) -> Array:
        return np.asarray(model.predict(columns(both[:, :2], both[:, 2:])[:, 1:]))

    targets = np.vstack([B[:6], B[:3]])
    weight = np.random.default_rng(11).uniform(0.5, 2, 9)
    found = average_over_targets(predict, X, targets, weight)
    loop = sum(w * predict(np.column_stack([X, np.tile(t, (len(X), 1))])) for t, w in zip(targets, weight, strict=True))
    assert_allclose(found, loop / weight.sum(), rtol=1e-10)
    fit = interacted_ridge(X, B, y, target_basis=targets, penalty=0.0)
    assert_allclose(average_over_targets(predict, X, targets), fit.intercept + X @ fit.coef, rtol=1e-8)


def test_equal_targets_are_predicted_once() -> None:
    calls = []

    def predict(both: Array) -> Array:
        calls.append(both[0, 1])
        return both.sum(axis=1)

    found = average_over_targets(predict, np.arange(3.0)[:, None], np.array([[1.0], [4.0], [1.0], [1.0]]))
    assert sorted(calls) == [1.0, 4.0]
    assert_allclose(found, np.arange(3.0) + 1.75)


# ---------------------------------------------------------------------- simulated truth

THETA, LOADING = np.array([1.0, 0.5, -0.75, 0.0]), np.array([0.8, -0.6, 0.0, 0.0])


def spline_fit(X: Array, c: Array, y: Array, **options: Array) -> StandardizedFit:
    basis = SplineTransformer(n_knots=10, knots="uniform", extrapolation="linear", include_bias=False)
    return interacted_ridge(X, basis.fit_transform(c[:, None]), y, folds=np.arange(len(y)) % 5, **options)


def test_additive_design_meets_the_general_gate() -> None:
    n, replicates = 4000, 60
    rng = np.random.default_rng(41)
    coef, hits, correlation = [], [], []
    for _ in range(replicates):
        c, e = rng.standard_normal((2, n))
        X = c[:, None] * LOADING + rng.standard_normal((n, 4))
        y = X @ THETA + 2 * c + e
        fit = spline_fit(X, c, y)
        error = np.sqrt(np.diag(influence_covariance(fit.influence)))
        coef.append(fit.coef)
        hits.append(np.abs(fit.coef - THETA) < 1.959964 * error)
        correlation.append(np.corrcoef(fit.adjusted_reward, c)[0, 1])
    estimates = np.array(coef)
    spread = estimates.std(axis=0, ddof=1)
    assert (np.abs(estimates.mean(axis=0) - THETA) < 4 * spread / np.sqrt(replicates)).all()
    # 240 intervals: four binomial standard errors are .056.
    assert 0.95 - 0.056 <= np.mean(hits) <= 0.995
    # θ'X alone goes with C: b'θ/√(θ'Σθ + σ²) = 2/7 is right, zero would be wrong.
    assert abs(np.mean(correlation) - 2 / 7) < 4 * np.std(correlation) / np.sqrt(replicates)


def test_effects_that_differ_over_the_log_are_averaged() -> None:
    # x·(1 + C²) has mean slope 2 over C ~ N(0, 1), and a log's own mean of C² moves: coverage needs that part too.
    n, replicates = 1500, 120
    rng = np.random.default_rng(42)
    estimates, errors = [], []
    for _ in range(replicates):
        c, u, e = rng.standard_normal((3, n))
        x = 0.5 * c + u
        fit = interacted_ridge(x[:, None], np.column_stack([c, c**2, c**3]), x * (1 + c**2) + c + e, penalty=0.0)
        estimates.append(fit.coef[0])
        errors.append(np.sqrt(influence_covariance(fit.influence)[0, 0]))
    assert abs(np.mean(estimates) - 2) < 4 * np.std(estimates) / np.sqrt(replicates)
    assert_allclose(np.mean(errors), np.std(estimates, ddof=1), rtol=4 / np.sqrt(2 * replicates))
    # 1/n is the variance at a fixed mix, Var(C²)/n = 2/n that of the mix.
    assert_allclose(np.mean(errors), np.sqrt(3 / n), rtol=0.03)


# ---------------------------------------------------------------------- refusals


def test_level_without_rows_of_its_own_is_not_identified() -> None:
    rng = np.random.default_rng(12)
    codes = np.repeat([0, 1, 2], [50, 50, 1])
    X, y = rng.standard_normal((101, 2)), rng.standard_normal(101)
    B = np.eye(3)[codes]
    with pytest.raises(IdentificationError, match=r"coefficients of .*length.* at the target confounders"):
        interacted_ridge(X, B, y, target_basis=np.eye(3), penalty=0.0, names=["length", "caps"])
    # A target without that level needs nothing from it.
    fit = interacted_ridge(X, B, y, target_basis=np.eye(3)[:2], penalty=0.0)
    slopes = [LinearRegression().fit(X[codes == c], y[codes == c]).coef_ for c in (0, 1)]
    assert_allclose(fit.coef, np.mean(slopes, axis=0), rtol=1e-8)
    assert np.isfinite(interacted_ridge(X, B, y, target_basis=np.eye(3), penalty=1.0).coef).all()


def test_constant_and_collinear_features_are_named() -> None:
    X, B, y, _ = sample(13)
    with pytest.raises(IdentificationError, match="caps does not vary"):
        interacted_ridge(np.column_stack([X, np.full(len(y), 2.0)]), B, y, penalty=1.0, names=["a", "b", "caps"])
    with pytest.raises(IdentificationError, match=r"no variation of their own .* direction of caps"):
        interacted_ridge(np.column_stack([X, B[:, 0]]), B, y, penalty=1.0, names=["a", "b", "caps"])


def test_arguments() -> None:
    X, B, y, _ = sample(14)
    with pytest.raises(ValueError, match="folds is missing"):
        interacted_ridge(X, B, y)
    with pytest.raises(ValueError, match="penalty must be a number of at least 0"):
        interacted_ridge(X, B, y, penalty=-1.0)
    with pytest.raises(ValueError, match="70 features and the confounder basis 60 columns: 4200 products"):
        interacted_ridge(np.ones((5, 70)), np.ones((5, 60)), np.ones(5), penalty=1.0)
    with pytest.raises(ValueError, match="target_confounders must be a table with at least one row"):
        average_over_targets(lambda both: both[:, 0], X, np.empty((0, 2)))
    with pytest.raises(ValueError, match="one finite number per row"):
        average_over_targets(lambda both: both, X, B)
    with pytest.raises(ValueError, match="150 of them not finite"):
        average_over_targets(lambda both: np.full(len(both), np.nan), X, B)
