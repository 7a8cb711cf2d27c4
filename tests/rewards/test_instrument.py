"""Instrumented rewards: golden values, one solve of all columns, derivatives, duality, a design, refusals."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy import stats

from causalkit.exceptions import (
    IdentificationError,
    MethodNotApplicableError,
    UnderIdentifiedError,
    WeakInstrumentWarning,
)
from causalkit.inference.covariance import influence_covariance
from causalkit.linear import linear_moments
from causalkit.rewards.anderson_rubin import anderson_rubin_set
from causalkit.rewards.instrument import TwoStageFit, two_stage_fit
from causalkit.rewards.instrument_diagnostics import endogeneity_test, first_stage_frame
from causalkit.validation import check_groups
from tests.golden.rewards.make_instrument import CASES, LEVELS, Data, data

Array = NDArray[np.float64]
GOLDEN = json.loads((Path(__file__).parents[1] / "golden/rewards/instrument.json").read_text())
THETA, LOADING = np.array([1.0, 0.5, -0.75, 0.0]), np.array([0.8, -0.6, 0.0, 0.0])


def fit_of(d: Data) -> TwoStageFit:
    return two_stage_fit(d.X, d.W, d.C, d.Z, d.y, d.weight)


def stacked(fit: TwoStageFit) -> tuple[Array, Array]:
    """Coefficients of (X, W, C) and their influence values."""
    influence = np.hstack([fit.influence, fit.delta_influence, fit.gamma_influence])
    return np.concatenate([fit.theta, fit.delta, fit.gamma]), influence


# ---------------------------------------------------------------------- the fit


@pytest.mark.parametrize("name", CASES)
def test_fit_equals_linearmodels(name: str) -> None:
    d, golden = data(CASES[name]), GOLDEN[name]["linearmodels"]
    fit = fit_of(d)
    coef, influence = stacked(fit)
    assert_allclose(coef, golden["coef"], rtol=1e-8)
    assert_allclose(fit.intercept, golden["intercept"], rtol=1e-8)
    assert_allclose(influence_covariance(influence), golden["cov"]["HC0"], rtol=1e-8)
    assert_allclose(
        influence_covariance(influence, factor=fit.n / fit.degrees_of_freedom), golden["cov"]["HC1"], rtol=1e-8
    )
    clustered = influence_covariance(influence, groups=check_groups(d.clusters, fit.n))
    assert_allclose(clustered, golden["cov"]["cluster"], rtol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_influence_equals_one_solve_of_all_columns(name: str) -> None:
    d = data(CASES[name])
    one = np.ones(len(d.y))
    A, B = np.column_stack([one, d.X, d.W, d.C]), np.column_stack([one, d.X, d.W, d.Z])
    expected = linear_moments(B, A, d.y, d.weight)
    fit = fit_of(d)
    coef, influence = stacked(fit)
    assert_allclose(coef, expected.coef[1:], rtol=1e-9, atol=1e-11)
    assert_allclose(influence, expected.influence[:, 1:], rtol=1e-8, atol=1e-9)
    assert_allclose(fit.residuals, expected.residuals, atol=1e-10)
    effect = d.W @ fit.delta + d.C @ fit.gamma
    assert_allclose(fit.confounder_effect, effect - np.average(effect, weights=d.weight), atol=1e-12)


@pytest.mark.parametrize("name", ["one", "two_columns"])
def test_influence_is_the_derivative_by_a_row_weight(name: str) -> None:
    # With as many instruments as columns; with more, the derivative has terms whose mean is zero at the truth only.
    d = data(CASES[name])
    n, step, Z = len(d.y), 1e-5, d.Z[:, : CASES[name].m]
    _, influence = stacked(two_stage_fit(d.X, d.W, d.C, Z, d.y))
    for row in (0, 17, 60):
        ends = []
        for sign in (1, -1):
            weight = np.ones(n)
            weight[row] += sign * step
            ends.append(stacked(two_stage_fit(d.X, d.W, d.C, Z, d.y, weight))[0])
        assert_allclose(n * (ends[0] - ends[1]) / (2 * step), influence[row], rtol=1e-6, atol=1e-6)


def test_collinear_confounders_and_instruments_change_nothing() -> None:
    d = data(CASES["over_identified"])
    levels = np.arange(len(d.y)) % 4
    dummies = np.eye(4)[levels]
    fit = two_stage_fit(d.X, dummies[:, 1:], d.C, d.Z, d.y)
    same = two_stage_fit(d.X, dummies, d.C, np.column_stack([d.Z, d.Z[:, 0] - 2 * d.Z[:, 1]]), d.y)
    assert same.n_instruments == fit.n_instruments == 3 and same.n_partialled == fit.n_partialled
    assert_allclose(same.theta, fit.theta, rtol=1e-8)
    assert_allclose(same.influence, fit.influence, atol=1e-7)
    assert_allclose(same.confounder_effect, fit.confounder_effect, atol=1e-8)
    assert_allclose(first_stage_frame(same)["f"], first_stage_frame(fit)["f"], rtol=1e-8)


def test_single_precision_features_keep_their_type() -> None:
    d = data(CASES["one"])
    fit, single = fit_of(d), two_stage_fit(d.X.astype(np.float32), d.W, d.C, d.Z, d.y)
    assert single.influence.dtype == np.float32
    assert_allclose(single.theta, fit.theta, atol=1e-5)
    assert_allclose(single.influence, fit.influence, atol=1e-3)


# ---------------------------------------------------------------------- first stage and endogeneity


@pytest.mark.parametrize("name", CASES)
def test_first_stage_and_endogeneity_equal_linearmodels(name: str) -> None:
    golden, fit = GOLDEN[name]["linearmodels"], fit_of(data(CASES[name]))
    frame = first_stage_frame(fit, covariance="HC0", warn=False)
    assert_allclose(frame["partial_r2"], golden["partial_r2"], rtol=1e-8)
    assert_allclose(frame["f"] * fit.n_instruments, golden["wald"], rtol=1e-8)
    found = endogeneity_test(fit, covariance="HC0")
    assert_allclose([found.statistic, found.pvalue], golden["wooldridge"], rtol=1e-8)
    m = CASES[name].m
    for kind in ("HC0", "HC1", "homoskedastic"):
        error = np.sqrt(np.diag(golden["cov"][kind])[-m:])
        assert_allclose(endogeneity_test(fit, covariance=kind).two_stage_std_error, error, rtol=1e-8)


def test_least_squares_beside_two_stages() -> None:
    d = data(CASES["two_columns"])
    A = np.column_stack([np.ones(len(d.y)), d.X, d.W, d.C])
    coef = np.linalg.lstsq(A, d.y, rcond=None)[0]
    e = d.y - A @ coef
    inverse = np.linalg.inv(A.T @ A)
    V = inverse @ (A.T @ (A * e[:, None] ** 2)) @ inverse
    frame = endogeneity_test(fit_of(d), covariance="HC0").to_frame()
    assert_allclose(frame["least_squares"], coef[-2:], rtol=1e-9)
    assert_allclose(frame["least_squares_se"], np.sqrt(np.diag(V)[-2:]), rtol=1e-8)


def test_conditional_f_equals_sanderson_windmeijer() -> None:
    d = data(CASES["two_columns"])
    n, k = len(d.y), 3
    partial = np.column_stack([np.ones(n), d.X, d.W])

    def residual(of: Array, on: Array) -> Array:
        return of - on @ np.linalg.lstsq(on, of, rcond=None)[0]

    C, Z = residual(d.C, partial), residual(d.Z, partial)
    frame = first_stage_frame(fit_of(d), covariance="homoskedastic")
    for j in range(2):
        other = C[:, 1 - j]
        fitted = other - residual(other, Z)
        e = C[:, j] - other * (fitted @ C[:, j]) / (fitted @ other)
        u = residual(e, Z)
        expected = ((e @ e - u @ u) / (k - 1)) / (u @ u / (n - k - partial.shape[1]))
        assert_allclose(frame["conditional_f"].iloc[j], expected, rtol=1e-9)
        assert frame["conditional_df"].iloc[j] == k - 1


def test_two_columns_moved_by_one_instrument_are_weak_together() -> None:
    rng = np.random.default_rng(5)
    z, other = rng.standard_normal((2, 500))
    v = rng.standard_normal((500, 2))
    C = z[:, None] * [1.0, 0.7] + v
    x = rng.standard_normal((500, 1))
    fit = two_stage_fit(x, None, C, np.column_stack([z, other]), C.sum(axis=1), endogenous_names=["views", "price"])
    with pytest.warns(WeakInstrumentWarning, match=r"views \(F = .*price \(F = .*Anderson-Rubin") as caught:
        frame = first_stage_frame(fit)
    assert caught[0].filename == __file__
    assert (frame["f"] > 50).all() and (frame["conditional_f"] < 10).all()


def test_strong_instruments_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = first_stage_frame(fit_of(data(CASES["one"])))
    assert frame.loc["c0", "f"] == frame.loc["c0", "conditional_f"] > 10


def test_clustered_first_stage_sums_scores() -> None:
    d = data(CASES["one"])
    fit = fit_of(d)
    z, c = fit.instruments[:, 0], fit.endogenous[:, 0]
    slope = z @ c / (z @ z)
    sums = np.bincount(d.clusters, weights=z * (c - slope * z))
    g = len(sums)
    expected = slope**2 / (g / (g - 1) * sums @ sums / (z @ z) ** 2)
    frame = first_stage_frame(fit, covariance="cluster", groups=check_groups(d.clusters, fit.n))
    assert_allclose(frame["f"], expected, rtol=1e-10)
    assert_allclose(frame["pvalue"], stats.f.sf(expected, 1, g - 1), rtol=1e-8)


def test_exogenous_confounder_is_rejected_at_the_level() -> None:
    rng = np.random.default_rng(7)
    pvalues = []
    for _ in range(200):
        z, v, x, e = rng.standard_normal((4, 150))
        c = z + v
        fit = two_stage_fit(x[:, None], None, c[:, None], z[:, None], x + 2 * c + e * (1 + z**2))
        pvalues.append(endogeneity_test(fit).pvalue)
    share = np.mean(np.array(pvalues) < 0.05)
    assert 0.01 <= share <= 0.12  # four binomial standard errors and the small-sample excess of HC1


def test_test_is_void_where_instruments_determine_the_confounder() -> None:
    rng = np.random.default_rng(8)
    z, x, e = rng.standard_normal((3, 100))
    found = endogeneity_test(two_stage_fit(x[:, None], None, 3 * z[:, None], z[:, None], z + x + e))
    assert np.isnan(found.pvalue)
    assert_allclose(found.least_squares, found.two_stage, rtol=1e-10)


# ---------------------------------------------------------------------- Anderson-Rubin


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.weighted])
def test_classical_set_and_pvalue_equal_ivmodels(name: str) -> None:
    case, golden = CASES[name], GOLDEN[name]["ivmodels"]
    found = anderson_rubin_set(fit_of(data(case)), covariance="homoskedastic")
    assert found.kind == "classical"
    assert_allclose(found.pvalue(np.full(case.m, 2.1)), golden["pvalue"], rtol=1e-8)
    for level in LEVELS if case.m == 1 else ():
        assert_allclose(found.confidence_set(level).intervals, golden["sets"][str(level)], rtol=1e-7)


KINDS = [("homoskedastic", "classical"), ("HC0", "robust"), ("cluster", "clustered")]


@pytest.mark.parametrize("name", ["one", "over_identified", "weak", "weighted"])
@pytest.mark.parametrize(("covariance", "kind"), KINDS)
def test_pvalue_on_the_boundary_is_alpha(name: str, covariance: str, kind: str) -> None:
    d = data(CASES[name])
    fit = fit_of(d)
    found = anderson_rubin_set(fit, covariance=covariance, groups=check_groups(d.clusters, fit.n))
    assert found.kind == (kind if CASES[name].k == 1 else "classical")
    for level in (0.5, 0.8, 0.95):
        region = found.confidence_set(level)
        ends = [end for interval in region.intervals for end in interval if np.isfinite(end)]
        for end in ends:
            assert_allclose(found.pvalue(end), 1 - level, rtol=1e-6)
        for gamma in np.linspace(-20, 20, 101):
            assert (gamma in region) == (found.pvalue(gamma) >= 1 - level)
    assert fit.gamma[0] in found.confidence_set(0.5) or CASES[name].k > 1


@pytest.mark.parametrize("clustered", [False, True])
def test_robust_set_equals_its_inequality_on_a_grid(clustered: bool) -> None:
    rng = np.random.default_rng(11)
    z, v, x, e = rng.standard_normal((4, 80))
    kinds = set()
    labels = np.arange(80) // 2
    for strength in (0.0, 0.15, 0.3, 1.0):
        c = strength * z + v
        y = x + 2 * c + v + e * np.abs(z)
        fit = two_stage_fit(x[:, None], None, c[:, None], z[:, None], y)
        options = {"covariance": "cluster", "groups": check_groups(labels, 80)} if clustered else {}
        region = anderson_rubin_set(fit, **options).confidence_set(0.9)  # type: ignore[arg-type]
        kinds.add(region.kind)
        partial = np.column_stack([np.ones(80), x])
        y0, c0, z0 = (a - partial @ np.linalg.lstsq(partial, a, rcond=None)[0] for a in (y, c, z))
        for gamma in np.linspace(-15, 15, 301):
            scores = z0 * (y0 - c0 * gamma)
            scores = np.bincount(labels, weights=scores) if clustered else scores
            inside = scores.sum() ** 2 <= stats.chi2.ppf(0.9, 1) * (scores @ scores)
            assert (gamma in region) == inside
    assert "interval" in kinds and len(kinds) > 1


def test_invalid_instruments_leave_an_empty_set() -> None:
    rng = np.random.default_rng(12)
    Z, v, x, e = rng.standard_normal((400, 3)), *rng.standard_normal((3, 400))
    c = Z.sum(axis=1) + v
    fit = two_stage_fit(x[:, None], None, c[:, None], Z, 2 * c + 2 * Z[:, 0] + e)
    region = anderson_rubin_set(fit, covariance="homoskedastic").confidence_set()
    assert region.kind == "empty" and str(region).startswith("∅")


def test_joint_pvalue_of_two_columns() -> None:
    d = data(CASES["two_columns"])
    fit = fit_of(d)
    gamma = np.array([1.7, 2.4])
    scores = fit.instruments * (fit.outcome - fit.endogenous @ gamma)[:, None]
    total = scores.sum(axis=0)
    expected = stats.chi2.sf(total @ np.linalg.solve(scores.T @ scores, total), 3)
    found = anderson_rubin_set(fit, covariance="HC0")
    assert found.kind == "robust"
    assert_allclose(found.pvalue(gamma), expected, rtol=1e-8)
    with pytest.raises(MethodNotApplicableError, match=r"one endogenous column, got 2 \(c0, c1\): use pvalue"):
        found.confidence_set()
    with pytest.raises(ValueError, match="gamma has 1 entries"):
        found.pvalue(2.0)


# ---------------------------------------------------------------------- the simulated design


def design(rng: np.random.Generator, n: int = 4000) -> tuple[Array, Array, Array, Array]:
    """X (n, 4), C (n, 1), Z (n, 1) and y with an endogenous confounder of slope 2."""
    z, v, e = rng.standard_normal((3, n))
    c = z + v
    X = z[:, None] * LOADING + rng.standard_normal((n, 4))
    return X, c[:, None], z[:, None], X @ THETA + 2 * c + 0.8 * v + e


def test_endogenous_confounder_design() -> None:
    n, replicates = 4000, 60
    rng = np.random.default_rng(2025)
    coef, error, plain, covered = [], [], [], []
    for _ in range(replicates):
        X, C, Z, y = design(rng, n)
        fit = two_stage_fit(X, None, C, Z, y)
        estimate, influence = stacked(fit)
        coef.append(estimate)
        error.append(np.sqrt(np.diag(influence_covariance(influence))))
        plain.append(endogeneity_test(fit).least_squares[0])
        covered.append(2.0 in anderson_rubin_set(fit).confidence_set())
    estimates, errors = np.array(coef), np.array(error)
    truth, theory = np.append(THETA, 2.0), np.sqrt(np.append(np.full(4, 1.64), 3.28) / n)
    assert (np.abs(estimates.mean(axis=0) - truth) < 4 * theory / np.sqrt(replicates)).all()
    # An sd from 60 draws has a relative error of 1/√120.
    assert_allclose(estimates.std(axis=0, ddof=1), theory, rtol=4 / np.sqrt(120))
    assert_allclose(errors.mean(axis=0), theory, rtol=0.03)
    hits = np.abs(estimates - truth) < 1.959964 * errors
    assert 0.89 <= hits.mean() <= 0.99  # 300 intervals, some of them dependent
    assert np.mean(covered) > 0.95 - 4 * np.sqrt(0.95 * 0.05 / replicates)
    # Least squares with C as a control: γ + .8·Cov(V, C | X)/Var(C | X) = 2.5333.
    assert abs(np.mean(plain) - 2.5333) < 4 * np.std(plain) / np.sqrt(replicates)


# ---------------------------------------------------------------------- refusals


def test_fewer_instruments_than_columns() -> None:
    d = data(CASES["two_columns"])
    with pytest.raises(UnderIdentifiedError, match=r"1 columns \(z0\) for 2 endogenous confounders \(c0, c1\)"):
        two_stage_fit(d.X, d.W, d.C, d.Z[:, :1], d.y)


def test_columns_without_variation_of_their_own() -> None:
    d = data(CASES["one"])
    inside = d.X[:, :1] - 2 * d.W[:, :1]
    both = np.column_stack([d.Z, inside])
    with pytest.raises(IdentificationError, match=r"instruments: lag has no variation given X"):
        two_stage_fit(d.X, d.W, d.C, both, d.y, instrument_names=["draw", "lag"])
    with pytest.raises(IdentificationError, match=r"instruments: z0 has no variation"):
        two_stage_fit(d.X, d.W, d.C, np.full_like(d.Z, 0.1), d.y)
    with pytest.raises(IdentificationError, match=r"endogenous: views has no variation"):
        two_stage_fit(d.X, d.W, inside, d.Z, d.y, endogenous_names=["views"])


def test_collinear_features_are_named() -> None:
    d = data(CASES["one"])
    X = np.column_stack([d.X, d.X[:, 1] + d.W[:, 0]])
    with pytest.raises(IdentificationError, match=r"direction of .*length.*Drop one"):
        two_stage_fit(X, d.W, d.C, d.Z, d.y, feature_names=["a", "length", "b", "more"])


def test_instruments_that_move_one_direction_only() -> None:
    d = data(CASES["two_columns"])
    C = np.column_stack([d.C[:, 0], 2 * d.C[:, 0]])
    with pytest.raises(IdentificationError, match="in 1 of 2 directions only"):
        two_stage_fit(d.X, d.W, C, d.Z, d.y)


def test_too_few_rows() -> None:
    d = data(CASES["two_columns"])
    rows = slice(0, 8)
    with pytest.raises(UnderIdentifiedError, match="8 rows for 8 regressors"):
        two_stage_fit(d.X[rows], d.W[rows], d.C[rows], d.Z[rows], d.y[rows])


def test_clustered_covariance_needs_groups() -> None:
    fit = fit_of(data(CASES["one"]))
    with pytest.raises(ValueError, match="needs groups"):
        first_stage_frame(fit, covariance="cluster")
    with pytest.raises(ValueError, match="covariance must be one of"):
        anderson_rubin_set(fit, covariance="HC3")
