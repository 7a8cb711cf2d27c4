"""The Anderson-Rubin test and its sets: golden values, closed form, brute force, duality, size, invariances."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy import optimize, stats

from causalkit.augmentation.anderson_rubin import AndersonRubinResult, anderson_rubin
from causalkit.augmentation.instrument_moments import projected_products, total_products
from causalkit.exceptions import (
    AugmentationError,
    RankError,
    UnderIdentifiedError,
    WeakInstrumentWarning,
)
from causalkit.inference.confidence_sets import ConfidenceSet, quadratic_set
from tests.golden.augmentation.make_instruments import CASES, LEVELS, Case, beta_of, data

Array = NDArray[np.float64]
GOLDEN = json.loads((Path(__file__).parents[1] / "golden/augmentation/instruments.json").read_text())
IDENTIFIED = [name for name, case in CASES.items() if case.k >= case.p]
KINDS = {
    "interval": ["interval"],
    "rays": ["rays"],
    "line": ["line"],
    "empty": ["empty"],
    "two_features": ["interval", "interval"],
    "two_rays": ["rays", "rays"],
    "rays_and_line": ["rays", "line"],
    "two_lines": ["line", "line"],
    "two_empty": ["empty", "empty"],
}


def result_of(case: Case, **options: object) -> AndersonRubinResult:
    X, y, Z, W = data(case)
    return anderson_rubin(X, y, instruments=Z, exogenous=W if case.e else None, **options)  # type: ignore[arg-type]


def by_rows(X: Array, y: Array, Z: Array, W: Array, beta: Array) -> tuple[float, int, int]:
    """AR and its degrees of freedom from residuals of regressions on rows."""
    n = len(y)
    C = np.column_stack([np.ones(n), W])
    full = np.column_stack([C, Z])
    r = y - X @ beta
    restricted, unrestricted = (float(np.sum((r - d @ np.linalg.lstsq(d, r, rcond=None)[0]) ** 2)) for d in (C, full))
    k = Z.shape[1]
    nu = n - np.linalg.matrix_rank(full)
    return (restricted - unrestricted) / k / (unrestricted / nu), k, int(nu)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("distribution", ["f", "chi2"])
def test_statistic_and_pvalue_equal_ivmodels(name: str, distribution: str) -> None:
    result = result_of(CASES[name], beta=beta_of(CASES[name]), distribution=distribution)
    statistic, pvalue = GOLDEN[name]["ivmodels"][f"ar_{distribution}"]
    assert result.statistic == pytest.approx(statistic, rel=1e-8)
    assert result.pvalue == pytest.approx(pvalue, abs=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_statistic_equals_that_of_regressions(name: str) -> None:
    case = CASES[name]
    statistic, k, nu = by_rows(*data(case), beta_of(case))
    result = result_of(case, beta=beta_of(case))
    assert result.df == (k, nu)
    assert result.statistic == pytest.approx(statistic, rel=1e-9)
    assert result.pvalue == pytest.approx(stats.f.sf(statistic, k, nu), rel=1e-8)


@pytest.mark.parametrize("name", IDENTIFIED)
@pytest.mark.parametrize("distribution", ["f", "chi2"])
@pytest.mark.parametrize("level", LEVELS)
def test_sets_equal_ivmodels(name: str, distribution: str, level: float) -> None:
    result = result_of(CASES[name], distribution=distribution, confidence_level=level)
    expected = GOLDEN[name]["ivmodels"]["sets"][f"{distribution}_{level}"]
    for unit, intervals in zip(np.eye(CASES[name].p), expected, strict=True):
        found = result.confidence_set(unit).intervals
        assert len(found) == len(intervals)
        if intervals:
            assert_allclose(found, intervals, rtol=1e-8)


@pytest.mark.parametrize("name", KINDS)
def test_every_shape_occurs(name: str) -> None:
    result = result_of(CASES[name])
    assert [result.confidence_set(unit).kind for unit in np.eye(CASES[name].p)] == KINDS[name]


def closed_form(form: Array, c: Array) -> list[tuple[float, float]]:
    """c'b₀ ± √(sδ) and the cases of signs, with an explicit inverse of Q."""
    c0, q, Q = form[0, 0], form[0, 1:], form[1:, 1:]
    b0 = np.linalg.solve(Q, q)
    s, delta = q @ b0 - c0, c @ np.linalg.solve(Q, c)
    negative = int((np.linalg.eigvalsh(Q) < 0).sum())
    if negative == 0:
        return [] if s < 0 else [(c @ b0 - np.sqrt(s * delta), c @ b0 + np.sqrt(s * delta))]
    if negative == 1 and delta < 0 and s < 0:
        half = np.sqrt(s * delta)
        return [(-np.inf, c @ b0 - half), (c @ b0 + half, np.inf)]
    return [(-np.inf, np.inf)]


def test_set_equals_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(400):
        p = int(rng.integers(1, 5))
        root = rng.standard_normal((p + 1, p + 1))
        signs = rng.choice([-1.0, 1.0], p=[0.2, 0.8], size=p + 1)
        form, c = root.T * signs @ root, rng.standard_normal(p)
        expected, found = closed_form(form, c), quadratic_set(form, c)
        kinds.add(ConfidenceSet(found).kind)
        assert len(found) == len(expected)
        if expected:
            assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert kinds == {"interval", "rays", "line", "empty"}


@pytest.mark.parametrize(
    ("q", "c0", "expected"),
    [
        (1.0, 4.0, ((2.0, np.inf),)),
        (-1.0, 4.0, ((-np.inf, -2.0),)),
        (0.0, -1.0, ((-np.inf, np.inf),)),
        (0.0, 1.0, ()),
    ],
)
def test_set_without_a_square_term(q: float, c0: float, expected: tuple[tuple[float, float], ...]) -> None:
    # c₀ - 2qβ ≤ 0
    assert quadratic_set(np.array([[c0, q], [q, 0.0]]), np.ones(1)) == expected


@pytest.mark.parametrize("name", [name for name in IDENTIFIED if name not in ("line", "two_lines")])
@pytest.mark.parametrize("distribution", ["f", "chi2"])
def test_pvalue_at_the_end_of_a_set_is_one_minus_its_level(name: str, distribution: str) -> None:
    case = CASES[name]
    ends = 0
    for level in (0.5, 0.8, 0.95, 0.99):
        result = result_of(case, distribution=distribution, confidence_level=level)
        for unit in np.eye(case.p):
            for end in np.ravel(result.confidence_set(unit).intervals):
                if np.isfinite(end):
                    ends += 1
                    assert result.pvalue_at(end, unit) == pytest.approx(1 - level, abs=1e-8)
                    if case.p == 1:
                        own = result_of(case, distribution=distribution, beta=end)
                        assert own.pvalue == pytest.approx(1 - level, abs=1e-8)
    assert ends > 0 or "empty" in name


@pytest.mark.parametrize("name", ["two_features", "two_rays", "rays_and_line"])
def test_projected_set_is_the_union_over_the_other_coefficient(name: str) -> None:
    case = CASES[name]
    X, y, Z, W = data(case)
    result = result_of(case)
    found = result.confidence_set("X0")
    inside = 0
    for value in np.linspace(-4, 6, 41):
        # Brute force over the second coefficient, in angles so that the far ends count.
        angles = np.linspace(-np.pi / 2, np.pi / 2, 801)[1:-1]
        pvalues = []
        for angle in angles:
            statistic, k, nu = by_rows_quick(X, y, Z, W, np.array([value, np.tan(angle)]))
            pvalues.append(stats.f.sf(statistic, k, nu))
        largest = max(pvalues)
        assert largest <= result.pvalue_at(value, "X0") + 1e-9
        if abs(largest - 0.05) > 0.01:
            assert (value in found) == (largest > 0.05)
            inside += value in found
    assert 0 < inside < 41


_CACHE: dict[int, tuple[Array, Array]] = {}


def by_rows_quick(X: Array, y: Array, Z: Array, W: Array, beta: Array) -> tuple[float, int, int]:
    """As by_rows, with the regressions on rows done once per data set."""
    if id(y) not in _CACHE:
        C = np.column_stack([np.ones(len(y)), W])
        columns = np.column_stack([y, X])
        products = []
        for design in (C, np.column_stack([C, Z])):
            residual = columns - design @ np.linalg.lstsq(design, columns, rcond=None)[0]
            products.append(residual.T @ residual)
        _CACHE.clear()
        _CACHE[id(y)] = (products[0], products[1])
    outer, inner = _CACHE[id(y)]
    weights = np.concatenate([[1.0], -beta])
    k, nu = Z.shape[1], len(y) - Z.shape[1] - W.shape[1] - 1
    unrestricted = weights @ inner @ weights
    return float((weights @ outer @ weights - unrestricted) / k / (unrestricted / nu)), k, nu


def test_line_where_two_eigenvalues_are_negative() -> None:
    # The formula that takes only the sign of δ would give two rays here; a search over the other coefficient
    # shows that values between them are not rejected.
    case = Case(1, 120, 5, 2, 1, 0.05)
    X, y, Z, W = data(case)
    result = result_of(case)
    total, projected = total_products(result.moments), projected_products(result.moments)
    form = projected - stats.f.ppf(0.95, *result.df) * result.df[0] / result.df[1] * (total - projected)
    eigenvalues = np.linalg.eigvalsh(form[1:, 1:])
    assert (eigenvalues < 0).all()
    b0 = np.linalg.solve(form[1:, 1:], form[0, 1:])
    assert form[0, 1:] @ b0 < form[0, 0]  # so that c'b₀ lies strictly between the two rays
    assert result.confidence_set("X0").kind == "line"
    best = optimize.minimize_scalar(
        lambda angle: by_rows_quick(X, y, Z, W, np.array([b0[0], np.tan(angle)]))[0], bounds=(-1.57, 1.57)
    )
    statistic, k, nu = by_rows(X, y, Z, W, np.array([b0[0], np.tan(best.x)]))
    assert stats.f.sf(statistic, k, nu) > 0.05


def test_exactly_identified_set_contains_the_estimate() -> None:
    result = result_of(CASES["exactly_identified"])
    for unit, estimate in zip(np.eye(2), GOLDEN["exactly_identified"]["linearmodels"]["coef"], strict=True):
        assert estimate in result.confidence_set(unit)
        assert result.pvalue_at(estimate, unit) == pytest.approx(1.0, abs=1e-6)


def test_rotation_of_instruments_and_affine_changes_leave_the_test_alone() -> None:
    case = CASES["two_features"]
    X, y, Z, W = data(case)
    beta = beta_of(case)
    base = anderson_rubin(X, y, instruments=Z, exogenous=W, beta=beta)
    rng = np.random.default_rng(1)
    mix = rng.standard_normal((case.k, case.k))
    rotation = np.linalg.qr(mix)[0]
    variants = [
        (X, y, Z @ rotation, W, beta),
        (X, y, Z @ mix - 7.0 + W @ rng.standard_normal((case.e, case.k)), W, beta),
        (X + 5.0, 3.0 * y - 2.0, Z, 10 * W + 1.0, 3.0 * beta),
        (X * [1e-3, 1e4], y, Z * [1e5, 1.0, 1e-5, 2.0], W, beta / [1e-3, 1e4]),
    ]
    for Xv, yv, Zv, Wv, bv in variants:
        changed = anderson_rubin(Xv, yv, instruments=Zv, exogenous=Wv, beta=bv)
        assert changed.statistic == pytest.approx(base.statistic, rel=1e-8)
        assert changed.pvalue == pytest.approx(base.pvalue, rel=1e-8)
    scaled = anderson_rubin(X * [1e-3, 1e4], y, instruments=Z, exogenous=W)
    for j, factor in enumerate([1e-3, 1e4]):
        expected = np.array(base.confidence_set(f"X{j}").intervals) / factor
        assert_allclose(scaled.confidence_set(f"X{j}").intervals, expected, rtol=1e-8)


def test_size_of_test_and_coverage_with_instruments_of_no_strength() -> None:
    rng = np.random.default_rng(5)
    repetitions, n, k = 1000, 60, 3
    rejected = covered = 0
    for _ in range(repetitions):
        Z, (hidden, noise) = rng.standard_normal((n, k)), rng.standard_normal((2, n))
        x = 0.1 * Z[:, 0] + hidden
        y = 1.5 * x + hidden + noise
        result = anderson_rubin(x, y, instruments=Z, beta=1.5)
        rejected += result.pvalue < 0.05
        covered += 1.5 in result.confidence_set()
    # F is exact for normal errors; four standard errors of a share of .05 in 1000 are .0276.
    assert abs(rejected / repetitions - 0.05) < 0.0276
    assert covered == repetitions - rejected


def test_default_tests_zero_and_names_work() -> None:
    case = CASES["two_features"]
    result = result_of(case, contrast="X1")
    assert result.statistic == pytest.approx(by_rows(*data(case), np.zeros(2))[0], rel=1e-9)
    assert result.confidence_set() == result.confidence_set([0.0, 1.0])
    assert result.confidence_set().name == "X1"
    assert result.confidence_set([1.0, -1.0]).name == "+1*X0 -1*X1"
    frame = result.to_frame()
    assert list(frame.index) == ["X0", "X1"]
    assert frame.loc["X1", "confidence_set"] == str(result.confidence_set())
    assert frame.loc["X1", "pvalue"] == result.pvalue_at(0.0)
    assert "95% set of X1: [1.89062, 2.20047]" in str(result)
    wide = result.confidence_set(confidence_level=0.99).intervals[0]
    assert wide[0] < 1.89 < 2.21 < wide[1]


def test_sets_print_what_they_are() -> None:
    assert str(ConfidenceSet(((1.0, 2.5),))) == "[1, 2.5]"
    assert str(ConfidenceSet(((-np.inf, 1.0), (2.0, np.inf)))) == "(-∞, 1] ∪ [2, ∞)"
    assert str(ConfidenceSet(((-np.inf, np.inf),))) == "(-∞, ∞)"
    assert str(ConfidenceSet(())).startswith("∅")
    rays = ConfidenceSet(((-np.inf, 1.0), (2.0, np.inf)))
    assert 1.5 not in rays and 2.0 in rays and not rays.bounded
    assert ConfidenceSet(((-np.inf, 1.0),)).kind == "ray"
    assert 0.0 not in ConfidenceSet(()) and ConfidenceSet(()).bounded
    assert (rays.lower, rays.upper) == (-np.inf, np.inf)
    assert np.isnan([ConfidenceSet(()).lower, ConfidenceSet(()).upper]).all()


def test_failures() -> None:
    X, y, Z, W = data(CASES["two_features"])
    with pytest.raises(ValueError, match="instruments is missing"):
        anderson_rubin(X, y)
    with pytest.raises(ValueError, match="y is missing"):
        anderson_rubin(X, instruments=Z)
    with pytest.raises(ValueError, match="distribution must be one of 'f', 'chi2'"):
        anderson_rubin(X, y, instruments=Z, distribution="normal")
    with pytest.raises(ValueError, match="confidence_level"):
        anderson_rubin(X, y, instruments=Z, confidence_level=95)
    with pytest.raises(ValueError, match="beta has 3 entries: expected one per column of X, 2"):
        anderson_rubin(X, y, instruments=Z, beta=[1, 2, 3])
    with pytest.raises(ValueError, match="contrast names 'income': expected a column of X, one of X0, X1"):
        anderson_rubin(X, y, instruments=Z, contrast="income")
    with pytest.raises(ValueError, match="contrast has 3 entries"):
        anderson_rubin(X, y, instruments=Z, contrast=[1, 0, 0])
    with pytest.raises(ValueError, match="contrast is zero"):
        anderson_rubin(X, y, instruments=Z, contrast=[0, 0])
    with pytest.raises(ValueError, match="contrast is missing: X has 2 columns"):
        anderson_rubin(X, y, instruments=Z).confidence_set()
    with pytest.raises(ValueError, match="instruments has 249 rows, but X has 250"):
        anderson_rubin(X, y, instruments=Z[1:])
    with pytest.raises(RankError, match=r"X has rank 2 of 3 columns.*X2"):
        anderson_rubin(np.column_stack([X, X.sum(axis=1)]), y, instruments=Z)
    with pytest.raises(RankError, match="y is an exact linear function"):
        anderson_rubin(X, X @ [1.0, 2.0] + W.sum(axis=1), instruments=Z, exogenous=W)
    with pytest.raises(RankError, match="y is an exact linear function"):
        anderson_rubin(X, np.full(250, 0.1), instruments=Z)


def test_fewer_instruments_than_features() -> None:
    case = CASES["fewer_instruments"]
    result = result_of(case)  # the joint test exists
    with pytest.raises(UnderIdentifiedError, match=r"rank k = 2, X has p = 3.*alpha > 0"):
        result.confidence_set("X0")
    with pytest.raises(UnderIdentifiedError, match="k = 2"):
        result_of(case, contrast="X0")
    assert "AR = " in str(result)


def test_too_many_instruments_for_the_rows() -> None:
    rng = np.random.default_rng(0)
    X, y, Z = rng.standard_normal((10, 1)), rng.standard_normal(10), rng.standard_normal((10, 9))
    with pytest.raises(UnderIdentifiedError, match="10 rows, rank 9 of the instruments and rank 1"):
        anderson_rubin(X, y, instruments=Z)
    assert anderson_rubin(X, y, instruments=Z[:, :8]).df == (8, 1)


def test_constant_and_collinear_instruments_are_named_and_add_nothing() -> None:
    case = CASES["interval"]
    X, y, Z, W = data(case)
    base = anderson_rubin(X, y, instruments=Z, exogenous=W, beta=1.0)
    more = np.column_stack([np.full(case.n, 0.1), Z, W[:, 0] * 2 + 1, Z[:, 0] - 3 * Z[:, 2]])
    with pytest.warns(
        WeakInstrumentWarning, match=r"instruments0, instruments4 are constant.*instruments5 is a linear"
    ):
        result = anderson_rubin(X, y, instruments=more, exogenous=W, beta=1.0)
    assert result.df == base.df
    assert result.statistic == pytest.approx(base.statistic, rel=1e-8)
    assert result.moments.z_names == ("instruments1", "instruments2", "instruments3")
    with pytest.raises(AugmentationError, match=r"instruments0.* constant, or determined by exogenous"):
        anderson_rubin(X, y, instruments=np.ones(case.n))
    with pytest.raises(AugmentationError, match="got none"):
        anderson_rubin(X, y, instruments=W[:, 0], exogenous=W)


def test_direct_comparison_with_ivmodels() -> None:
    tests = pytest.importorskip("ivmodels.tests")
    rng = np.random.default_rng(11)
    for n, k in ((50, 1), (200, 6), (1000, 3)):
        Z, (hidden, noise) = rng.standard_normal((n, k)), rng.standard_normal((2, n))
        x = Z.sum(axis=1) + hidden
        y = x + hidden + noise
        statistic, pvalue = tests.anderson_rubin_test(Z, x[:, None], y, np.array([0.8]), critical_values="f")
        result = anderson_rubin(x, y, instruments=Z, beta=0.8)
        assert result.statistic == pytest.approx(statistic, rel=1e-8)
        assert result.pvalue == pytest.approx(pvalue, abs=1e-8)
