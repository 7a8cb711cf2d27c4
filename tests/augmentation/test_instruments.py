"""Instrument diagnostics, k-class numbers and the invariance test: golden values, formulas, sizes, failures."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy import linalg, stats
from sklearn.linear_model import LinearRegression

from causalkit.augmentation.anderson_rubin import anderson_rubin
from causalkit.augmentation.instrument_inputs import from_fitted_moments, instrument_rows
from causalkit.augmentation.instrument_moments import (
    fuller_kappa,
    independent_columns,
    liml_kappa,
    projected_products,
    total_products,
)
from causalkit.augmentation.instruments import effective_f, instrument_diagnostics
from causalkit.augmentation.invariance import invariance_test
from causalkit.augmentation.linear import IVLikeRegressor
from causalkit.augmentation.moments import Layout, chunk_moments
from causalkit.exceptions import (
    AugmentationError,
    MethodNotApplicableError,
    NotFittedError,
    RankError,
    UnderIdentifiedError,
    WeakInstrumentWarning,
)
from tests.golden.augmentation.make_instruments import CASES, beta_of, data

Array = NDArray[np.float64]
GOLDEN = json.loads((Path(__file__).parents[1] / "golden/augmentation/instruments.json").read_text())
IDENTIFIED = [name for name, case in CASES.items() if case.k >= case.p]
SEVERAL = [name for name in IDENTIFIED if CASES[name].p > 1]
WEAK = "ignore::causalkit.exceptions.WeakInstrumentWarning"


class Fitted(LinearRegression):
    """An estimator with the attributes of a fit that the tools read."""

    def __init__(self, variation: str | None = None, moments: Any = None) -> None:
        super().__init__()
        if variation is not None:
            self.variation_ = variation
            self.moments_ = moments


def fitted_to(X: Array, y: Array, Z: Array, W: Array, weight: Array | None = None) -> Fitted:
    layout = Layout(Z.shape[1], X.shape[1], 0, W.shape[1], 1)
    return Fitted("instruments", chunk_moments([Z, X, W, y[:, None]], layout, weight, len(y)))


def residuals(columns: Array, W: Array, weight: Array | None = None) -> Array:
    """Residuals on [1, W], times the root of the weight."""
    root = np.ones(len(columns)) if weight is None else np.sqrt(weight)
    design = np.column_stack([np.ones(len(columns)), W]) * root[:, None]
    scaled = columns * root[:, None]
    return scaled - design @ np.linalg.lstsq(design, scaled, rcond=None)[0]


def value(frame: pd.DataFrame, quantity: str, feature: str = "", column: str = "value") -> float:
    return float(frame.loc[(quantity, feature), column])


@pytest.mark.filterwarnings(WEAK)
@pytest.mark.parametrize("name", IDENTIFIED)
def test_rank_test_and_kappa_equal_the_peers(name: str) -> None:
    X, y, Z, W = data(CASES[name])
    frame = instrument_diagnostics(X, y, instruments=Z, exogenous=W)
    statistic, pvalue = GOLDEN[name]["ivmodels"]["rank"]
    assert value(frame, "rank_test") == pytest.approx(statistic, rel=1e-8)
    assert value(frame, "rank_test", column="pvalue") == pytest.approx(pvalue, abs=1e-8)
    for peer in ("ivmodels", "linearmodels"):
        assert value(frame, "kappa_liml") == pytest.approx(GOLDEN[name][peer]["kappa_liml"], rel=1e-8)
    found = [value(frame, "partial_r2", f"X{j}") for j in range(CASES[name].p)]
    assert_allclose(found, GOLDEN[name]["linearmodels"]["partial_r2"], rtol=1e-8)


@pytest.mark.filterwarnings(WEAK)
@pytest.mark.parametrize("name", IDENTIFIED)
def test_every_number_equals_its_formula_on_rows(name: str) -> None:
    case = CASES[name]
    X, y, Z, W = data(case)
    frame = instrument_diagnostics(X, y, instruments=Z, exogenous=W)
    Zr, Xr, yr = (residuals(a, W) for a in (Z, X, y[:, None]))
    P = Zr @ np.linalg.pinv(Zr)
    k, p, nu = case.k, case.p, case.n - case.k - case.e - 1
    for j in range(p):
        x = Xr[:, j]
        f = (x @ P @ x / k) / (x @ (x - P @ x) / nu)
        assert value(frame, "partial_r2", f"X{j}") == pytest.approx(x @ P @ x / (x @ x), rel=1e-8)
        assert value(frame, "first_stage_f", f"X{j}") == pytest.approx(f, rel=1e-8)
        assert value(frame, "first_stage_f", f"X{j}", "pvalue") == pytest.approx(stats.f.sf(f, k, nu), rel=1e-6)
        assert (value(frame, "first_stage_f", f"X{j}", "df_num"), value(frame, "first_stage_f", f"X{j}", "df_den")) == (
            k,
            nu,
        )
    smallest = linalg.eigh(Xr.T @ P @ Xr, Xr.T @ Xr - Xr.T @ P @ Xr, eigvals_only=True)[0]
    assert value(frame, "cragg_donald") == pytest.approx(nu / k * smallest, rel=1e-8)
    if p == 1:  # the joint number is then the only F
        assert value(frame, "cragg_donald") == pytest.approx(value(frame, "first_stage_f", "X0"), rel=1e-9)
    yX = np.column_stack([yr, Xr])
    kappa = linalg.eigh(yX.T @ yX, yX.T @ (yX - P @ yX), eigvals_only=True)[0]
    assert value(frame, "kappa_liml") == pytest.approx(kappa, rel=1e-9)
    assert value(frame, "kappa_fuller") == pytest.approx(kappa - 1 / nu, rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_effective_f_equals_its_formula(weighted: bool) -> None:
    case = CASES["interval"]
    X, y, Z, W = data(case)
    rng = np.random.default_rng(3)
    X = X + Z[:, [0]] ** 2 * rng.standard_normal((case.n, 1))  # unequal variances
    weight = rng.uniform(0.5, 2, case.n) if weighted else None
    frame = instrument_diagnostics(X, y, instruments=Z, exogenous=W, sample_weight=weight)
    z, x = residuals(Z, W, weight), residuals(X, W, weight)[:, 0]
    inverse = np.linalg.inv(z.T @ z)
    fitted = z @ inverse @ z.T @ x
    meat = sum((x[i] - fitted[i]) ** 2 * np.outer(z[i], z[i]) for i in range(case.n))
    expected = x @ fitted / np.trace(inverse @ meat)
    assert value(frame, "effective_f", "X0") == pytest.approx(expected, rel=1e-9)
    assert effective_f(z @ np.diag([1e6, 1.0, 1e-6]), x) == pytest.approx(expected, rel=1e-9)
    # The usual F is another number here.
    assert abs(expected / value(frame, "first_stage_f", "X0") - 1) > 0.1


def test_effective_f_is_the_usual_one_for_equal_variances() -> None:
    rng = np.random.default_rng(4)
    Z = rng.standard_normal((20_000, 3))
    x = Z @ [0.1, 0.1, 0.0] + rng.standard_normal(20_000)
    frame = instrument_diagnostics(x, instruments=Z)
    assert value(frame, "effective_f", "X0") == pytest.approx(value(frame, "first_stage_f", "X0"), rel=0.05)


def test_rank_test_has_its_level_when_one_direction_is_not_moved() -> None:
    rng = np.random.default_rng(6)
    n, k, repetitions = 300, 4, 600
    statistics = np.empty(repetitions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakInstrumentWarning)
        for r in range(repetitions):
            Z = rng.standard_normal((n, k))
            X = np.outer(Z[:, 0], [1.0, -2.0]) + rng.standard_normal((n, 2))
            statistics[r] = value(instrument_diagnostics(X, instruments=Z), "rank_test", column="pvalue")
    # Four standard errors of a share of .05 in 600 are .036.
    assert abs((statistics < 0.05).mean() - 0.05) < 0.036


@pytest.mark.filterwarnings(WEAK)
def test_numbers_do_not_depend_on_the_basis_of_instruments_or_units() -> None:
    X, y, Z, W = data(CASES["two_features"])
    rng = np.random.default_rng(1)
    base = instrument_diagnostics(X, y, instruments=Z, exogenous=W)
    mixed = instrument_diagnostics(
        X * [1e-4, 1e5] + 3.0, 2 * y + X[:, 0], instruments=Z @ rng.standard_normal((4, 4)) + W[:, [0]], exogenous=W - 9
    )
    assert_allclose(mixed["value"], base["value"], rtol=1e-7)


def test_whole_weights_are_repeated_rows_up_to_degrees_of_freedom() -> None:
    X, y, Z, W = data(CASES["two_features"])
    times = np.random.default_rng(2).integers(0, 4, len(y))
    weighted = instrument_rows(X, y, Z, W, times).moments
    repeated = instrument_rows(*(np.repeat(a, times, axis=0) for a in (X, y, Z, W))).moments
    assert weighted.n == (times > 0).sum()
    assert liml_kappa(weighted) == pytest.approx(liml_kappa(repeated), rel=1e-10)
    factor = times[times > 0].mean()
    assert_allclose(total_products(weighted) * factor, total_products(repeated), rtol=1e-9)
    assert_allclose(projected_products(weighted) * factor, projected_products(repeated), rtol=1e-9)


def test_fuller_takes_off_a_constant_over_the_degrees_of_freedom() -> None:
    case = CASES["two_features"]
    moments = instrument_rows(*(data(case)[i] for i in (0, 1, 2, 3))).moments
    assert moments.nu == 250 - 4 - 3
    assert fuller_kappa(moments, 4.0) == pytest.approx(GOLDEN["two_features"]["ivmodels"]["kappa_liml"] - 4 / 243)


def test_names_of_frames_are_kept() -> None:
    X, y, Z, W = data(CASES["two_features"])
    frame = instrument_diagnostics(
        pd.DataFrame(X, columns=["price", "income"]), y, instruments=pd.DataFrame(Z, columns=list("abcd")), exogenous=W
    )
    golden = GOLDEN["two_features"]["linearmodels"]["partial_r2"]
    assert value(frame, "partial_r2", "income") == pytest.approx(golden[1], rel=1e-8)
    assert list(frame.columns) == ["value", "df_num", "df_den", "pvalue", "note"]
    result = anderson_rubin(pd.DataFrame(X, columns=["price", "income"]), y, instruments=Z, contrast="income")
    assert result.confidence_set().name == "income"


def test_what_cannot_be_computed_is_nan_and_says_why() -> None:
    X, _, Z, W = data(CASES["two_features"])
    frame = instrument_diagnostics(X, instruments=Z, exogenous=W)
    assert np.isnan(value(frame, "kappa_liml")) and "pass y" in frame.loc[("kappa_liml", ""), "note"]
    assert np.isnan(value(frame, "effective_f"))
    assert "one column of X, got 2" in frame.loc[("effective_f", ""), "note"]


def test_fewer_instruments_than_features_warn() -> None:
    X, y, Z, W = data(CASES["fewer_instruments"])
    with pytest.warns(WeakInstrumentWarning, match="rank 2 is below the 3 columns of X"):
        frame = instrument_diagnostics(X, y, instruments=Z, exogenous=W)
    assert value(frame, "cragg_donald") == 0.0
    assert value(frame, "kappa_liml") == 1.0
    assert np.isnan(value(frame, "rank_test")) and "not identified" in frame.loc[("rank_test", ""), "note"]


def test_weak_instruments_warn_and_strong_ones_do_not() -> None:
    rng = np.random.default_rng(7)
    Z, (hidden, other) = rng.standard_normal((400, 2)), rng.standard_normal((2, 400))
    with pytest.warns(WeakInstrumentWarning, match=r"effective F of X0 is .*anderson_rubin"):
        instrument_diagnostics(0.05 * Z[:, 0] + hidden, instruments=Z)
    # Each column is moved, but both by the same combination: only the rank test sees it.
    X = np.outer(Z.sum(axis=1), [1.0, 1.0]) + np.column_stack([hidden, other])
    with pytest.warns(WeakInstrumentWarning, match=r"weak instruments: the rank test has p = "):
        instrument_diagnostics(X, instruments=Z)
    with pytest.warns(WeakInstrumentWarning, match="F of X1 is"):
        instrument_diagnostics(np.column_stack([Z[:, 0] + hidden, other]), instruments=Z)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        instrument_diagnostics(Z + np.column_stack([hidden, other]), instruments=Z)


def test_warnings_point_to_the_caller() -> None:
    X, y, Z, W = data(CASES["two_features"])
    Z = np.column_stack([Z, Z[:, 0]])
    weak = np.random.default_rng(0).standard_normal(X.shape)
    calls = [
        lambda: instrument_diagnostics(weak, y, instruments=Z, exogenous=W),
        lambda: invariance_test(weak, y, instruments=Z, directions=[1, 0]),
        lambda: anderson_rubin(X, y, instruments=Z),
        lambda: anderson_rubin(fitted_to(X, y, Z, W)),
    ]
    for call, expected in zip(calls, (2, 2, 1, 1), strict=True):
        with pytest.warns(WeakInstrumentWarning) as caught:
            call()
        assert [Path(warning.filename).name for warning in caught] == ["test_instruments.py"] * expected


def test_instruments_that_determine_a_feature_are_infinitely_strong() -> None:
    rng = np.random.default_rng(8)
    Z = rng.standard_normal((50, 2))
    frame = instrument_diagnostics(Z[:, 0], instruments=Z)
    assert value(frame, "partial_r2", "X0") == pytest.approx(1.0)
    assert value(frame, "first_stage_f", "X0") > 1e12
    assert value(frame, "first_stage_f", "X0", "pvalue") == 0.0


# ---------------------------------------------------------------- a fitted estimator as first argument


@pytest.mark.filterwarnings(WEAK)
@pytest.mark.parametrize("name", CASES)
def test_fitted_estimator_gives_the_numbers_of_its_rows(name: str) -> None:
    X, y, Z, W = data(CASES[name])
    estimator = fitted_to(X, y, Z, W)
    by_rows = instrument_diagnostics(X, y, instruments=Z, exogenous=W)
    found = instrument_diagnostics(estimator)
    same = [quantity for quantity in by_rows.index if quantity[0] != "effective_f"]
    assert_allclose(found.loc[same, "value"], by_rows.loc[same, "value"], rtol=1e-8)
    assert_allclose(found.loc[same, "pvalue"], by_rows.loc[same, "pvalue"], rtol=1e-6)
    if CASES[name].p == 1:
        assert np.isnan(value(found, "effective_f", "X0"))
        assert "needs rows" in found.loc[("effective_f", "X0"), "note"]
    statistic, pvalue = GOLDEN[name]["ivmodels"]["ar_f"]
    result = anderson_rubin(estimator, beta=beta_of(CASES[name]))
    assert result.statistic == pytest.approx(statistic, rel=1e-8)
    assert result.pvalue == pytest.approx(pvalue, abs=1e-8)


def test_fitted_estimator_with_weights_and_redundant_columns() -> None:
    X, y, Z, W = data(CASES["two_features"])
    weight = np.random.default_rng(3).uniform(0.5, 2, len(y))
    Z = np.column_stack([Z, np.full(len(y), 0.3), Z[:, 1] + Z[:, 2]])
    W = np.column_stack([W, np.ones(len(y)), W.sum(axis=1)])
    estimator = fitted_to(X, y, Z, W, weight)
    message = r"instruments4 is constant.*instruments5 is a linear combination"
    with pytest.warns(WeakInstrumentWarning, match=message):
        found = instrument_diagnostics(estimator)
    with pytest.warns(WeakInstrumentWarning, match=message):
        expected = instrument_diagnostics(X, y, instruments=Z, exogenous=W, sample_weight=weight)
    assert_allclose(found["value"], expected["value"], rtol=1e-8)
    assert value(found, "first_stage_f", "X0", "df_den") == 250 - 4 - 3


def test_regressor_fitted_with_instruments_and_by_augmentation() -> None:
    X, y, Z, W = data(CASES["two_features"])
    estimator = IVLikeRegressor(alpha=0.0).fit(pd.DataFrame(X, columns=["a", "b"]), y, instruments=Z, exogenous=W)
    assert_allclose(estimator.coef_, GOLDEN["two_features"]["linearmodels"]["coef"], rtol=1e-9)
    expected = GOLDEN["two_features"]["ivmodels"]["sets"]["f_0.95"]
    result = anderson_rubin(estimator)
    assert_allclose([result.confidence_set(name).intervals for name in "ab"], expected, rtol=1e-8)
    assert value(instrument_diagnostics(estimator), "kappa_liml") == pytest.approx(
        GOLDEN["two_features"]["ivmodels"]["kappa_liml"], rel=1e-9
    )
    augmented = IVLikeRegressor(augmentation=lambda X, rng: X + rng.standard_normal(X.shape), random_state=0)
    with pytest.raises(MethodNotApplicableError, match="fitted by augmentation"):
        anderson_rubin(augmented.fit(X, y))


@pytest.mark.parametrize("tool", [instrument_diagnostics, anderson_rubin])
def test_estimators_without_instruments_are_refused(tool: Any) -> None:
    with pytest.raises(MethodNotApplicableError, match=r"fitted by augmentation.*contains 0 and is unbounded"):
        tool(Fitted("augmentation", SimpleNamespace()))
    with pytest.raises(MethodNotApplicableError, match=r"without any \(variation_ = 'none'\)"):
        tool(Fitted("none", SimpleNamespace()))
    with pytest.raises(NotFittedError, match="Call fit first"):
        tool(Fitted())
    X, y, Z, W = data(CASES["two_features"])
    with pytest.raises(ValueError, match="a fitted estimator and y, instruments: expected either"):
        tool(fitted_to(X, y, Z, W), y, instruments=Z)
    layout = Layout(4, 2, 0, 2, 2)
    several = chunk_moments([Z, X, W, np.column_stack([y, -y])], layout, None, len(y))
    with pytest.raises(MethodNotApplicableError, match="fitted to 2 outcomes: expected one"):
        tool(Fitted("instruments", several))


def test_the_set_of_a_synthetic_augmentation_holds_zero_and_is_unbounded_along_the_effect() -> None:
    # Why it is refused: γΓ'G moves GX only where f does not look, so any multiple of f fits the outcome equally well.
    rng = np.random.default_rng(12)
    n, p = 2000, 3
    f = np.array([1.0, 2.0, -1.0])
    null = linalg.null_space(f[None, :]).T
    hidden, G = rng.standard_normal((n, 1)), rng.standard_normal((n, p - 1))
    X = hidden @ rng.standard_normal((1, p)) + rng.standard_normal((n, p))
    y = X @ f + 3 * hidden[:, 0]
    moved = X + G @ null
    for multiple in (0.0, 1.0, 5.0, -100.0):
        # The product with f does not depend on G: the statistic is that of pure noise.
        assert anderson_rubin(moved, y, instruments=G, beta=multiple * f).pvalue > 0.01
    assert anderson_rubin(moved, y, instruments=G, beta=f + null[0]).pvalue < 1e-10


# ---------------------------------------------------------------- invariance


@pytest.mark.filterwarnings(WEAK)
@pytest.mark.parametrize("name", SEVERAL)
def test_invariance_test_equals_the_peers(name: str) -> None:
    X, y, Z, W = data(CASES[name])
    found = invariance_test(X, y, instruments=Z, directions=[1.0, 0.0], exogenous=W)
    statistic, pvalue = GOLDEN[name]["ivmodels"]["j_first_zero"]
    assert found.j_statistic == pytest.approx(statistic, rel=1e-8)
    assert found.j_pvalue == pytest.approx(pvalue, abs=1e-8)
    golden = GOLDEN[name]["linearmodels"]
    assert found.wald_statistic == pytest.approx(golden["wald_first_zero"], rel=1e-8)
    assert_allclose(found.estimate, golden["coef"][:1], rtol=1e-10)
    assert (found.j_df, found.wald_df) == (CASES[name].k - 1, 1)


@pytest.mark.filterwarnings(WEAK)
@pytest.mark.parametrize("name", IDENTIFIED)
def test_invariance_in_every_direction_is_the_anderson_rubin_test_of_zero(name: str) -> None:
    case = CASES[name]
    X, y, Z, W = data(case)
    found = invariance_test(X, y, instruments=Z, directions=np.eye(case.p), exogenous=W)
    ar = anderson_rubin(X, y, instruments=Z, exogenous=W, distribution="chi2")
    assert found.j_statistic == pytest.approx(case.k * ar.statistic, rel=1e-9)
    assert found.j_pvalue == pytest.approx(ar.pvalue, rel=1e-7)
    golden = GOLDEN[name]["linearmodels"]
    expected = golden["coef"] @ np.linalg.solve(golden["cov"], golden["coef"])
    assert found.wald_statistic == pytest.approx(expected, rel=1e-8)


def test_directions_count_by_their_span_and_not_by_units() -> None:
    rng = np.random.default_rng(9)
    Z, hidden = rng.standard_normal((300, 5)), rng.standard_normal((300, 1))
    X = Z @ rng.standard_normal((5, 3)) + hidden
    y = X @ [1.0, 0.5, -0.5] + hidden[:, 0]
    D = rng.standard_normal((2, 3))
    base = invariance_test(X, y, instruments=Z, directions=D)
    spanned = invariance_test(X, y, instruments=Z, directions=np.vstack([D, D.sum(axis=0)]))
    assert (spanned.j_df, spanned.wald_df) == (base.j_df, base.wald_df) == (4, 2)
    assert spanned.estimate.shape == (3,)
    scale = np.array([1e-4, 1.0, 1e5])
    scaled = invariance_test(X * scale, y, instruments=Z, directions=D * scale)
    for other in (spanned, scaled):
        assert other.j_statistic == pytest.approx(base.j_statistic, rel=1e-8)
        assert other.wald_statistic == pytest.approx(base.wald_statistic, rel=1e-7)


@pytest.mark.parametrize("effect", [0.0, 0.3])
def test_invariance_size_and_power(effect: float) -> None:
    rng = np.random.default_rng(10)
    n, repetitions = 400, 500
    found = np.empty((repetitions, 2))
    for r in range(repetitions):
        Z, (hidden, noise) = rng.standard_normal((n, 4)), rng.standard_normal((2, n))
        X = Z[:, :2] + Z[:, 2:] + 0.5 * hidden[:, None] + rng.standard_normal((n, 2))
        y = X[:, 0] + effect * X[:, 1] + hidden + noise
        test = invariance_test(X, y, instruments=Z, directions=[0, 1])
        found[r] = test.j_pvalue, test.wald_pvalue
    share = (found < 0.05).mean(axis=0)
    if effect:
        assert (share > 0.9).all()
    else:  # four standard errors of a share of .05 in 500 are .039
        assert (np.abs(share - 0.05) < 0.039).all()


def test_invariance_without_two_stage_least_squares() -> None:
    X, y, Z, W = data(CASES["fewer_instruments"])
    with pytest.warns(WeakInstrumentWarning, match="rank 2 is below"):
        found = invariance_test(X, y, instruments=Z, directions=np.eye(3)[:2], exogenous=W)
    assert found.j_df == 1 and 0 <= found.j_pvalue <= 1
    assert np.isnan(found.wald_pvalue) and "No Wald test" in found.notes[-1]
    assert "No Wald test" in str(found)
    with pytest.raises(UnderIdentifiedError, match=r"k - p \+ r = 0 degrees of freedom"):
        invariance_test(X, y, instruments=Z, directions=[1, 0, 0], exogenous=W)
    with pytest.raises(UnderIdentifiedError, match="rank k = 2"):
        invariance_test(X, y, instruments=Z, directions=[[1, 0, 0], [2, 0, 0]], exogenous=W)


def test_invariance_failures() -> None:
    X, y, Z, W = data(CASES["two_features"])
    with pytest.raises(ValueError, match=r"directions has 3 columns: expected one per column of X, 2 \(X0, X1\)"):
        invariance_test(X, y, instruments=Z, directions=[1, 0, 0])
    with pytest.raises(ValueError, match="directions is zero"):
        invariance_test(X, y, instruments=Z, directions=[0, 0])
    with pytest.raises(ValueError, match="y is missing"):
        invariance_test(X, None, instruments=Z, directions=[1, 0])
    with pytest.raises(MethodNotApplicableError, match="needs rows, got a Fitted"):
        invariance_test(fitted_to(X, y, Z, W), None, instruments=None, directions=[1, 0])
    frame = invariance_test(X, y, instruments=Z, directions=pd.DataFrame([[1.0, 0.0]])).to_frame()
    assert list(frame.index) == ["J", "Wald"]


# ---------------------------------------------------------------- bad input


def test_failures() -> None:
    X, y, Z, _ = data(CASES["two_features"])
    with pytest.raises(ValueError, match=r"instruments is missing.*or a fitted"):
        instrument_diagnostics(X, y)
    with pytest.raises(ValueError, match="exogenous has 2 rows, but X has 250"):
        instrument_diagnostics(X, y, instruments=Z, exogenous=[1.0, 2.0])
    with pytest.raises(ValueError, match="sample_weight must not be negative"):
        instrument_diagnostics(X, y, instruments=Z, sample_weight=-np.ones(250))
    with pytest.raises(ValueError, match="instruments contains NaN or infinity"):
        instrument_diagnostics(X, y, instruments=np.where(Z > 2, np.nan, Z))
    with pytest.raises(ValueError, match="expected at least one row and one column"):
        instrument_diagnostics(X, y, instruments=Z[:, :0])
    with pytest.raises(AugmentationError, match="constant, or determined by exogenous"):
        instrument_diagnostics(X, y, instruments=np.full((250, 2), 1e6))
    with pytest.raises(RankError, match=r"X has rank 1 of 2 columns.*X1 are constant or linear"):
        instrument_diagnostics(np.column_stack([X[:, 0], 2 * X[:, 0]]), instruments=Z)
    with pytest.raises(UnderIdentifiedError, match="leave 0 degrees of freedom: 5 rows, rank 4"):
        instrument_diagnostics(X[:5], instruments=Z[:5])
    shuffled = pd.DataFrame(Z, index=range(250)[::-1])
    with pytest.raises(ValueError, match="X and instruments have the same index labels in a different order"):
        instrument_diagnostics(pd.DataFrame(X), instruments=shuffled)


def test_large_offsets_and_small_variation_are_no_constants() -> None:
    X, y, Z, W = data(CASES["two_features"])
    base = instrument_diagnostics(X, y, instruments=Z, exogenous=W)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shifted = instrument_diagnostics(X, y, instruments=1e-3 * Z + 1e5, exogenous=W)
    assert_allclose(shifted["value"], base["value"], rtol=1e-5)


def test_independent_columns_keeps_the_first_of_each_span() -> None:
    rng = np.random.default_rng(0)
    A = rng.standard_normal((30, 3))
    columns = np.column_stack([A[:, 0], np.zeros(30), A[:, 1], A[:, 0] - A[:, 1], A[:, 2], 5 * A[:, 2]])
    found = independent_columns(columns.T @ columns, tolerance=1e-8)
    assert (found.kept, found.constant, found.collinear) == ((0, 2, 4), (1,), (3, 5))


def test_moments_of_a_fit_are_checked() -> None:
    X, y, Z, W = data(CASES["two_features"])
    with pytest.raises(AugmentationError, match="expected at least one column that varies"):
        from_fitted_moments(fitted_to(X, y, np.ones((250, 1)), W).moments_)
    with pytest.raises(RankError, match="rank 1 of 2"):
        from_fitted_moments(fitted_to(np.column_stack([X[:, 0], W[:, 0]]), y, Z, W).moments_)
    with pytest.raises(RankError, match="y is an exact linear function"):
        from_fitted_moments(fitted_to(X, np.full(250, 0.1), Z, W).moments_)
