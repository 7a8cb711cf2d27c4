"""Within regressions and level effects against dense dummies, pyfixest, linearmodels and closed forms."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from causalkit.exceptions import IdentificationError
from causalkit.rewards.absorption import absorb
from causalkit.rewards.fixed_effects import WithinFit, within_fit
from causalkit.rewards.level_effects import leave_one_out_residuals, level_effects
from causalkit.validation import Groups, check_groups
from tests.golden.rewards.make_fixed_effects import PATH, designs
from tests.rewards.designs_fixed_effects import THETA, Array, dummies, factor, grouped, least_squares

GOLDEN: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
DESIGNS = designs()


def fit_of(design: dict[str, Any], dtype: type = np.float64, **options: Any) -> WithinFit:
    factors = [factor(code, f"f{k}") for k, code in enumerate(design["codes"])]
    return within_fit(design["X"].astype(dtype), design["y"], None, absorb(factors, design["weight"]), **options)


def groups_of(codes: np.ndarray) -> Groups:
    found = check_groups(codes, len(codes))
    assert found is not None
    return found


def errors(covariance: Array) -> Array:
    return np.sqrt(np.diag(covariance))


def sample(seed: int, n: int = 90, n_factors: int = 2, q: int = 2) -> tuple[Array, Array, Array, list, Array]:
    rng = np.random.default_rng(seed)
    factors = [factor(rng.integers(0, 7, n), f"f{k}") for k in range(n_factors)]
    shift = sum(rng.normal(size=7)[f.codes] for f in factors)
    W = rng.normal(size=(n, q)) + shift[:, None]
    X = rng.normal(size=(n, 3)) + W[:, :1] + shift[:, None]
    y = X @ np.array([1.0, -1.0, 0.5]) + W.sum(axis=1) + 2 * shift + rng.normal(size=n)
    return X, y, W, factors, rng.uniform(0.2, 2.0, n)


@pytest.mark.parametrize("name", list(DESIGNS))
def test_coefficients_and_errors_of_pyfixest(name: str) -> None:
    design, golden = DESIGNS[name], GOLDEN[name]["pyfixest"]
    fit = fit_of(design)
    assert_allclose(fit.coef, golden["coef"], atol=1e-10)
    n = fit.absorption.n_informative
    assert n == golden["n"]
    assert_allclose(errors(fit.covariance("HC1")), golden["HC1"], rtol=1e-9)
    assert_allclose(errors(fit.covariance("homoskedastic")), golden["homoskedastic"], rtol=1e-9)
    clusters = groups_of(design["cluster"])
    plain = fit.covariance("cluster", clusters) / fit.finite_sample_factor("cluster", clusters)
    assert_allclose(errors(plain), golden["cluster plain"], rtol=1e-9)
    # The peer's factor has (n - 1)/(n - k) where ours has n/(n - k).
    for key, codes in (("cluster", design["cluster"]), ("cluster on factor", design["codes"][0])):
        found = fit.covariance("cluster", groups_of(codes)) * (n - 1) / n
        assert_allclose(errors(found), golden[key], rtol=1e-9)


@pytest.mark.parametrize("name", list(DESIGNS))
def test_coefficients_and_errors_of_linearmodels(name: str) -> None:
    design, golden = DESIGNS[name], GOLDEN[name]["linearmodels"]
    fit = fit_of(design)
    assert_allclose(fit.coef, golden["coef"], atol=1e-8)
    assert_allclose(errors(fit.covariance("HC0")), golden["HC0"], rtol=1e-7)  # the peer demeans to about 1e-8
    clusters = groups_of(design["cluster"])
    plain = fit.covariance("cluster", clusters) / fit.finite_sample_factor("cluster", clusters)
    assert_allclose(errors(plain), golden["cluster"], rtol=1e-7)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_factors", [1, 2, 3])
def test_fit_equals_least_squares_on_dummies(n_factors: int, weighted: bool) -> None:
    X, y, W, factors, weight = sample(n_factors, n_factors=n_factors)
    weight = weight / weight.mean()
    given = weight if weighted else None
    fit = within_fit(X, y, W, absorb(factors, given))
    D = np.hstack([X, W, dummies(factors)])
    coef = least_squares(D, y, given)
    assert_allclose(fit.coef, coef[:3], atol=1e-9)
    assert_allclose(fit.gamma, coef[3:5], atol=1e-9)
    residual = y - D @ coef
    assert_allclose(fit.residuals, residual, atol=1e-9)
    rank = np.linalg.matrix_rank(D)
    assert fit.degrees_of_freedom == len(y) - rank
    assert fit.n_absorbed == rank - 3
    w = weight if weighted else np.ones(len(y))
    assert fit.sigma2 == pytest.approx(w @ residual**2 / (len(y) - rank))
    left = X - D[:, 3:] @ least_squares(D[:, 3:], X, given)
    assert_allclose(fit.residual_features, left, atol=1e-9)
    assert_allclose(fit.gram, left.T @ (left * w[:, None]), atol=1e-8)
    bread = np.linalg.inv(fit.gram)
    meat = left.T @ (left * (w * residual)[:, None] ** 2)
    assert_allclose(fit.covariance("HC1"), bread @ meat @ bread * len(y) / (len(y) - rank), rtol=1e-8)


def test_ridge_penalises_the_features_only() -> None:
    X, y, W, factors, _ = sample(11)
    D = np.hstack([X, W, dummies(factors)])
    penalty = np.zeros(D.shape[1])
    penalty[:3] = 7.0
    augmented = np.vstack([D, np.diag(np.sqrt(penalty))])
    coef = least_squares(augmented, np.concatenate([y, np.zeros(len(penalty))]))
    assert_allclose(within_fit(X, y, W, absorb(factors), penalty=7.0).coef, coef[:3], atol=1e-9)


def test_numeric_columns_that_factors_explain_are_harmless() -> None:
    X, y, W, factors, _ = sample(12)
    more = np.column_stack([W, factors[0].codes, np.ones(len(y)), W[:, 0] - 2 * W[:, 1]])
    plain, fit = within_fit(X, y, W, absorb(factors)), within_fit(X, y, more, absorb(factors))
    assert_allclose(fit.coef, plain.coef, atol=1e-9)
    assert fit.degrees_of_freedom == plain.degrees_of_freedom
    assert_allclose(fit.residuals, plain.residuals, atol=1e-8)


def test_weights_equal_repeated_rows() -> None:
    X, y, W, factors, _ = sample(13)
    copies = np.random.default_rng(0).integers(1, 4, len(y))
    repeated = [factor(np.repeat(f.codes, copies), f.name) for f in factors]
    long = within_fit(*(np.repeat(a, copies, axis=0) for a in (X, y, W)), absorb(repeated))
    fit = within_fit(X, y, W, absorb(factors, copies.astype(float)))
    assert_allclose(fit.coef, long.coef, atol=1e-10)
    assert_allclose(fit.gamma, long.gamma, atol=1e-10)
    assert_allclose(np.repeat(fit.residuals, copies), long.residuals, atol=1e-10)


def test_single_precision_gives_the_same_fit() -> None:
    design = DESIGNS["two"]
    rounded = {**design, "X": design["X"].astype(np.float32).astype(np.float64)}
    single, double = fit_of(rounded, np.float32), fit_of(rounded)
    assert single.residual_features.dtype == np.float32
    assert single.gram.dtype == np.float64
    assert_allclose(single.coef, double.coef, atol=1e-6)
    assert_allclose(single.covariance(), double.covariance(), rtol=1e-5)


def test_memory_stays_below_three_times_the_input() -> None:
    rng = np.random.default_rng(0)
    n, p = 100_000, 384
    X = rng.standard_normal((n, p), dtype=np.float32)
    codes = rng.integers(0, 10_000, n)
    y = X[:, 0] + rng.normal(size=n)
    tracemalloc.start()
    fit = within_fit(X, y, None, absorb([factor(codes, size=10_000)]))
    covariance = fit.covariance()
    level_effects(fit, X, y, covariance=covariance)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * X.nbytes
    assert fit.coef[0] == pytest.approx(1.0, abs=5 / np.sqrt(n))


def test_singletons_change_nothing() -> None:
    design = DESIGNS["two"]
    fit = fit_of(design)
    kept = fit.absorption.informative_rows
    assert not kept.all()
    short = {"X": design["X"][kept], "y": design["y"][kept], "codes": [c[kept] for c in design["codes"]]}
    shorter = fit_of({**short, "weight": None})
    assert_allclose(fit.coef, shorter.coef, atol=1e-10)
    assert fit.sigma2 == pytest.approx(shorter.sigma2, rel=1e-10)
    assert_allclose(fit.covariance(), shorter.covariance(), rtol=1e-9)
    assert_allclose(fit.residuals[~kept], 0.0, atol=0)


@pytest.mark.parametrize("weighted", [False, True])
def test_level_effects_of_one_factor(weighted: bool) -> None:
    X, y, W, factors, weight = sample(21, n_factors=1)
    given = weight / weight.mean() if weighted else None
    w = np.ones(len(y)) if given is None else given
    fit = within_fit(X, y, W, absorb(factors, given))
    levels = level_effects(fit, X, y, W, covariance=fit.covariance("homoskedastic"))
    D = np.hstack([X, W, dummies(factors)])
    assert_allclose(levels.effects[0], least_squares(D, y, given)[5:], atol=1e-9)
    assert_allclose(levels.weights[0], np.bincount(factors[0].codes, weights=w))
    # Under equal variances the formula is the least-squares covariance with features centred at their means.
    centred = D.copy()
    centred[:, :5] -= np.average(D[:, :5], axis=0, weights=w)
    classical = fit.sigma2 * np.linalg.inv(centred.T @ (centred * w[:, None]))
    assert levels.standard_errors is not None
    assert_allclose(levels.standard_errors[0], errors(classical)[5:], rtol=1e-8)


def test_crossed_level_effects_add_up() -> None:
    X, y, W, factors, _ = sample(22)
    fit = within_fit(X, y, W, absorb(factors))
    levels = level_effects(fit, X, y, W)
    assert levels.standard_errors is None
    fitted = sum(a[f.codes] for a, f in zip(levels.effects, factors, strict=True))
    assert_allclose(y - X @ fit.coef - W @ fit.gamma - fitted, fit.residuals, atol=1e-9)
    assert levels.effects[0].sum() == pytest.approx(levels.effects[1].sum())


@pytest.mark.parametrize("weighted", [False, True])
def test_leave_one_out(weighted: bool) -> None:
    X, y, _, factors, weight = sample(23, n_factors=1)
    given = weight / weight.mean() if weighted else None
    w = np.ones(len(y)) if given is None else given
    fit = within_fit(X, y, None, absorb(factors, given))
    target, codes = y - X @ fit.coef, factors[0].codes
    found = leave_one_out_residuals(fit)
    for i in range(0, len(y), 7):
        others = (codes == codes[i]) & (np.arange(len(y)) != i)
        assert found[i] == pytest.approx(target[i] - np.average(target[others], weights=w[others]), abs=1e-9)
    crossed = within_fit(X, y, None, absorb([*factors, factor(codes % 2, "half")]))
    with pytest.raises(ValueError, match="one categorical confounder, got 2: f0, half"):
        leave_one_out_residuals(crossed)


@pytest.mark.parametrize(("size", "error"), [(10, 0.0167), (2, 0.050)])
def test_standard_errors_of_many_levels(size: int, error: float) -> None:
    rng = np.random.default_rng(size)
    coefs, found = [], []
    for _ in range(60):
        X, y, group, _ = grouped(rng, 400, size)
        fit = within_fit(X, y, None, absorb([group]))
        coefs.append(fit.coef)
        found.append(errors(fit.covariance("HC1")))
    # 1/√(N - G), up to the noise of HC1 and the 4 features.
    assert_allclose(np.mean(found), error, rtol=0.03)
    assert_allclose(np.mean(coefs, axis=0), THETA, atol=4 * error / np.sqrt(60))
    ratio = np.std(coefs, axis=0).mean() / error
    assert abs(ratio - 1) < 4 / np.sqrt(2 * 60 * 4)


def test_clusters_equal_to_the_factor_do_not_count_its_levels() -> None:
    X, y, group, _ = grouped(np.random.default_rng(0), 300, 2)
    fit = within_fit(X, y, None, absorb([group]))
    groups = groups_of(group.codes)
    assert fit.finite_sample_factor("HC1") == 600 / (600 - 300 - 4)
    assert fit.finite_sample_factor("cluster", groups) == pytest.approx(300 / 299 * 600 / (600 - 1 - 4))
    sums = np.zeros((300, 4))
    np.add.at(sums, group.codes, fit.residual_features * fit.residuals[:, None])
    bread = np.linalg.inv(fit.gram)
    expected = bread @ sums.T @ sums @ bread * fit.finite_sample_factor("cluster", groups)
    assert_allclose(fit.covariance("cluster", groups), expected, rtol=1e-9)


def test_bad_input() -> None:
    X, y, W, factors, weight = sample(31)
    absorption = absorb(factors)
    with pytest.raises(ValueError, match="y has 89 rows, but the factors has 90"):
        within_fit(X, y[:-1], W, absorption)
    with pytest.raises(ValueError, match="weight differs from the weights"):
        within_fit(X, y, W, absorption, weight=weight)
    with pytest.raises(ValueError, match=r"columns has shape \(89, 3\)"):
        within_fit(X[:-1], y, W, absorption)
    constant = X.copy()
    constant[:, 1] = factors[1].codes
    with pytest.raises(IdentificationError, match=r"no variation of their own.*price"):
        within_fit(constant, y, W, absorption, names=["length", "price", "tone"])
    with pytest.raises(IdentificationError, match="x1"):
        within_fit(constant, y, None, absorption)
    assert np.isfinite(within_fit(constant, y, W, absorption, penalty=1.0).coef).all()
    with pytest.raises(ValueError, match="X has 40 features for"):
        within_fit(np.random.default_rng(0).normal(size=(40, 40)), y[:40], None, absorb([factor(np.arange(40) // 2)]))
    with pytest.raises(ValueError, match="groups is missing"):
        within_fit(X, y, W, absorption).covariance("cluster")


def test_the_weight_of_the_factors_may_be_repeated() -> None:
    X, y, W, factors, weight = sample(32)
    absorption = absorb(factors, weight)
    assert_allclose(
        within_fit(X, y, W, absorption, weight=3 * weight).coef, within_fit(X, y, W, absorption).coef, atol=0
    )
