"""Tests and intervals against their formulas, derivatives in the row weights, and the cups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy import stats

from causalkit.composition import CompositionalPartialCorrelation, compositional_ci_test
from causalkit.composition.inference import (
    adjust_pvalues,
    fisher_interval,
    fisher_test,
    partial_t_test,
    shrunk_t_test,
)
from causalkit.composition.network import ranked_qvalues
from causalkit.datasets import fetch_roman_glass_cups
from tests.composition.test_covariance import sample
from tests.datasets.composition_files import fetch_or_skip
from tests.golden.composition.make_cups import (
    influence_by_differences,
    partial_correlation_by_regression,
    partial_correlation_of_weights,
)

Array = NDArray[np.float64]
CUPS = json.loads((Path(__file__).parents[1] / "golden" / "composition" / "cups.json").read_text(encoding="utf-8"))
UPPER5 = np.triu_indices(5, 1)


def unshrunk(**options: Any) -> CompositionalPartialCorrelation:
    return CompositionalPartialCorrelation(**{"shrinkage": None, **options})


# ---------------------------------------------------------------------- t and Fisher


def test_t_is_the_test_of_a_regression_coefficient() -> None:
    """t of log(x_j/x_k) in the least squares of log(x_i/x_k) on all other log-ratios, with its ν."""
    X = sample(14, 5)
    network = unshrunk().fit(X)
    ratios = np.log(X[:, [0, 1, 3, 4]] / X[:, [2]])
    design = np.column_stack([ratios[:, 1:], np.ones(14)])
    beta = np.linalg.lstsq(design, ratios[:, 0], rcond=None)[0]
    e = ratios[:, 0] - design @ beta
    error = np.sqrt(e @ e / (14 - 4) * np.linalg.inv(design.T @ design)[0, 0])
    assert network.dof_ == 14 - 4
    assert network.pvalues_[0, 1] == pytest.approx(2 * stats.t(10).sf(abs(beta[0] / error)), rel=1e-9)


def test_t_with_confounders_is_the_regression_on_them_too() -> None:
    X, controls = sample(20, 5), np.random.default_rng(1).normal(size=(20, 2))
    network = unshrunk().fit(X, confounders=controls)
    ratios = np.log(X[:, [0, 1, 3, 4]] / X[:, [2]])
    design = np.column_stack([ratios[:, 1:], controls, np.ones(20)])
    beta = np.linalg.lstsq(design, ratios[:, 0], rcond=None)[0]
    e = ratios[:, 0] - design @ beta
    dof = 20 - 6
    error = np.sqrt(e @ e / dof * np.linalg.inv(design.T @ design)[0, 0])
    assert network.dof_ == dof == 20 - 5 + 1 - 2
    assert network.pvalues_[0, 1] == pytest.approx(2 * stats.t(dof).sf(abs(beta[0] / error)), rel=1e-9)
    # The unbiased residual variance of the same kind of regression: one coefficient more than controls.
    assert network.residual_variance_[0] == pytest.approx(e @ e / dof, rel=1e-9)


def test_one_degree_of_freedom_has_a_test_and_no_interval() -> None:
    network = unshrunk().fit(sample(6, 6))
    assert network.dof_ == 1
    r = network.partial_correlation_[0, 1]
    # ν = 1 is the Cauchy distribution.
    assert network.pvalues_[0, 1] == pytest.approx(1 - 2 / np.pi * np.arctan(abs(r) / np.sqrt(1 - r * r)), rel=1e-6)
    assert "lower" not in network.to_frame()


def test_t_against_the_closure_null_moves_r_along_the_hyperbola() -> None:
    network = unshrunk(null="closure").fit(sample())
    r, null = network.partial_correlation_, network.closure_null_
    x = np.tanh(np.arctanh(r[UPPER5]) - np.arctanh(null[UPPER5]))
    dof = 25 - 5 + 1
    expected = 2 * stats.t(dof).sf(np.abs(x) * np.sqrt(dof / (1 - x * x)))
    assert_allclose(network.pvalues_[UPPER5], expected, rtol=1e-10)


def test_perfect_correlations_give_finite_numbers() -> None:
    r = np.array([1.0, -1.0, 1 - 1e-16, 0.0])
    for tests in (partial_t_test(r, 5.0), fisher_test(r, 5.0), shrunk_t_test(r, np.zeros(4), 0.5, 9.0)):
        assert np.isfinite(tests.statistic).all()
        assert (tests.pvalue[:3] < 1e-4).all() and tests.pvalue[3] == 1
    assert all(np.isfinite(bound).all() for bound in fisher_interval(r, 5.0, 0.95))


@pytest.mark.parametrize("null", ["zero", "closure"])
def test_fisher_interval_and_test_are_dual(null: str) -> None:
    """p on the boundary of the set is one minus its level."""
    network = unshrunk(test="fisher", null=null).fit(np.exp(np.random.default_rng(0).normal(size=(30, 5))))
    assert network.dof_ == 25
    r, reference = network.partial_correlation_, network.closure_null_ if null == "closure" else np.zeros((5, 5))
    for i, j in zip(*UPPER5, strict=True):
        p = network.pvalues_[i, j]
        assert p > 1e-4  # below, 1 - p has too few digits to compare
        lower, upper = network.conf_int(1 - p)
        nearest = lower if r[i, j] > reference[i, j] else upper
        assert nearest[i, j] == pytest.approx(reference[i, j], abs=1e-9)
    z = (np.arctanh(r[UPPER5]) - np.arctanh(reference[UPPER5])) * np.sqrt(25)
    assert_allclose(network.pvalues_[UPPER5], 2 * stats.norm.sf(np.abs(z)), rtol=1e-10)
    lower, upper = network.conf_int()
    half = 1.959963984540054 / 5
    assert_allclose(np.arctanh(lower[UPPER5]), np.arctanh(r[UPPER5]) - half, rtol=1e-9)
    assert_allclose(np.arctanh(upper[UPPER5]), np.arctanh(r[UPPER5]) + half, rtol=1e-9)
    assert (np.diag(lower) == 1).all() and (np.diag(upper) == 1).all()


def test_weights_enter_by_their_effective_number() -> None:
    X, weight = sample(40), np.random.default_rng(2).uniform(0.1, 2, 40)
    network = unshrunk().fit(X, sample_weight=weight)
    effective = weight.sum() ** 2 / np.sum(weight**2)
    assert network.n_effective_ == pytest.approx(effective)
    assert network.dof_ == pytest.approx(effective - 4)
    expected = partial_correlation_of_weights(np.log(X), weight, 0, 1)
    assert network.partial_correlation_[0, 1] == pytest.approx(expected, abs=1e-11)


# ---------------------------------------------------------------------- influence values


def influence_by_derivative(X: Array, weight: Array, i: int, j: int) -> Array:
    """∂r/∂w_k for weights that sum to 1, by central differences."""
    logs, total = np.log(X), weight.sum()
    out = np.empty(len(X))
    for k in range(len(X)):
        up, down = weight.copy(), weight.copy()
        up[k] += 1e-5
        down[k] -= 1e-5
        change = partial_correlation_of_weights(logs, up, i, j) - partial_correlation_of_weights(logs, down, i, j)
        out[k] = total * change / 2e-5
    return out


@pytest.mark.parametrize("kind", ["plain", "weighted", "clustered", "both"])
def test_influence_errors_come_from_the_derivative_in_the_weights(kind: str) -> None:
    X, rng = sample(40), np.random.default_rng(3)
    weight = rng.uniform(0.3, 2, 40) if kind in ("weighted", "both") else np.ones(40)
    groups = rng.integers(0, 9, 40) if kind in ("clustered", "both") else None
    w = weight / weight.sum()
    effective = 1 / np.sum(w**2)
    network = unshrunk(test="influence").fit(X, sample_weight=weight, groups=groups)
    factor = effective / (effective - 5)
    dof = effective - 5.0
    for i, j in ((0, 1), (2, 4)):
        # Γ has a divisor of n - 1, the derivative one of n.
        score = influence_by_derivative(X, weight, i, j) * w * (1 - 1 / effective)
        if groups is not None:
            score = np.array([score[groups == g].sum() for g in np.unique(groups)])
        m = len(score)
        inflation = factor * (m / (m - 1) if groups is not None else 1)
        variance = inflation * np.sum(score**2)
        r = network.partial_correlation_[i, j]
        error = np.sqrt(variance) / (1 - r * r)
        reference = stats.t(dof if groups is None else m - 1)
        assert network.pvalues_[i, j] == pytest.approx(2 * reference.sf(abs(np.arctanh(r)) / error), rel=1e-5)
        lower, upper = network.conf_int(0.9)
        assert np.arctanh(upper[i, j]) == pytest.approx(np.arctanh(r) + reference.ppf(0.95) * error, rel=1e-5)
        assert np.arctanh(lower[i, j]) == pytest.approx(np.arctanh(r) - reference.ppf(0.95) * error, rel=1e-5)
        result = network.inference([(i, j)])
        assert result.std_error[0] == pytest.approx(np.sqrt(variance), rel=1e-5)
    assert (network.pvalues_ == network.pvalues_.T).all()


def test_inference_of_several_pairs_and_their_contrast() -> None:
    X = pd.DataFrame(sample(60), columns=list("abcde"))
    network = unshrunk().fit(X)
    result = network.inference([("a", "b"), ("c", 4)])
    r = network.partial_correlation_
    assert_allclose(result.estimate, [r[0, 1], r[2, 4]])
    assert list(result.names) == ["a | b", "c | e"]
    first, second = (influence_by_differences(np.log(X.to_numpy()), *pair) for pair in ((0, 1), (2, 4)))
    expected = first @ second / 60**2 * (59 / 60) ** 2 * 60 / 55
    assert result.cov[0, 1] == pytest.approx(expected, rel=1e-5)
    difference = result.contrast([[1, -1]])
    assert difference.estimate[0] == pytest.approx(r[0, 1] - r[2, 4])
    variance = result.cov[0, 0] + result.cov[1, 1] - 2 * result.cov[0, 1]
    assert difference.std_error[0] ** 2 == pytest.approx(variance, rel=1e-9)


# ---------------------------------------------------------------------- false discoveries, shrunk t


@pytest.mark.parametrize("method", ["bh", "by"])
def test_adjusted_pvalues_from_the_definition(method: str) -> None:
    rng = np.random.default_rng(4)
    values = rng.uniform(size=21) ** 3
    values[3] = values[8]
    matrix = np.ones((7, 7))
    upper = np.triu_indices(7, 1)
    matrix[upper] = values
    matrix.T[upper] = values
    m = 21
    scale = sum(1 / k for k in range(1, m + 1)) if method == "by" else 1.0
    # The smallest level at which the pair is rejected: min over larger p of m·p/rank.
    rank = np.array([np.sum(values <= p) for p in values])
    expected = [min(1.0, min(scale * m * q / k for q, k in zip(values, rank, strict=True) if q >= p)) for p in values]
    adjusted = adjust_pvalues(matrix, method)
    assert_allclose(adjusted[upper], expected, rtol=1e-12)
    assert_allclose(adjusted, adjusted.T, atol=0)
    assert (np.diag(adjusted) == 1).all()
    assert_allclose(ranked_qvalues(values, m, method), expected, rtol=1e-12)
    assert_allclose(adjust_pvalues(matrix, None), matrix, atol=0)


def test_the_harmonic_sum_of_many_pairs_is_exact_to_rounding() -> None:
    m = 3_000_000
    exact = float(np.sum(1 / np.arange(1, m + 1)))
    assert ranked_qvalues(np.array([1e-12]), m, "by")[0] == pytest.approx(1e-12 * m * exact, rel=1e-12)


def test_shrunk_t_divides_by_what_shrinkage_took() -> None:
    r, null = np.array([0.3, -0.2, 0.1]), np.array([0.1, 0.1, 0.1])
    x = (r - null) / 0.6
    tests = shrunk_t_test(r, null, 0.4, 21.0)
    assert tests.dof == 20
    assert_allclose(tests.statistic, x * np.sqrt(20 / (1 - x * x)), rtol=1e-14)
    # t of a correlation with density ∝ (1-x²)^((κ-3)/2): its p-value is a tail of a beta distribution.
    assert_allclose(tests.pvalue, stats.beta(10, 0.5).cdf(1 - x * x), rtol=1e-9)
    full = shrunk_t_test(r, null, 1.0, 21.0)
    assert (full.pvalue == 1).all() and (full.statistic == 0).all()


# ---------------------------------------------------------------------- conditional independence


def test_ci_test_is_a_regression_in_the_subcomposition() -> None:
    X = pd.DataFrame(sample(30, 7), columns=list("abcdefg"))
    network = unshrunk().fit(X)
    logs = np.log(X.to_numpy())
    for i, j, given in (("a", "b", ["c"]), ("g", "a", ["b", "d", "f"]), (4, -1, [0, "c"])):
        columns = [X.columns.get_loc(p) if isinstance(p, str) else p % 7 for p in (i, j, *given)]
        expected = partial_correlation_by_regression(logs[:, columns], 0, 1, 2)
        dof = 30 - len(given) - 1
        for found in (network.ci_test(i, j, given), compositional_ci_test(X, i, j, given)):
            assert found.r == pytest.approx(expected, abs=1e-12)
            assert found.dof == dof
            assert found.statistic == pytest.approx(expected * np.sqrt(dof / (1 - expected**2)), rel=1e-9)
            assert found.pvalue == pytest.approx(2 * stats.t(dof).sf(abs(found.statistic)), rel=1e-9)
    assert network.ci_test("a", "b", "c") == network.ci_test(0, 1, [2])  # one part may stand alone


def test_ci_test_does_not_depend_on_the_shrinkage_of_the_fit() -> None:
    X = sample(12, 20)
    expected = compositional_ci_test(X, 0, 1, [2, 3])
    for options in (
        {"shrinkage": "basis", "test": None},
        {"shrinkage": "invariant", "test": None, "storage": "factor"},
    ):
        found = CompositionalPartialCorrelation(**options).fit(X).ci_test(0, 1, [2, 3])
        assert found.r == pytest.approx(expected.r, abs=1e-12)
        assert found.pvalue == pytest.approx(expected.pvalue, rel=1e-9)


# ---------------------------------------------------------------------- the cups


def test_cups_tests_match_the_reference() -> None:
    X = fetch_or_skip(fetch_roman_glass_cups).parts
    reference, upper = CUPS["B"], np.triu_indices(11, 1)
    network = unshrunk().fit(X)
    assert network.dof_ == reference["dof"] == 37
    assert_allclose(network.pvalues_[upper], reference["t_pvalue"], rtol=1e-7)
    assert_allclose(network.conf_int()[0][upper], reference["lower"], atol=1e-9)
    assert_allclose(network.conf_int()[1][upper], reference["upper"], atol=1e-9)
    assert len(network.to_frame(max_qvalue=0.05)) == reference["edges"]["t_05"] == 4
    assert len(network.to_frame(max_qvalue=0.10)) == reference["edges"]["t_10"] == 6
    assert np.sum(network.pvalues_[upper] <= 0.05) == 9
    frame = network.to_frame().set_index(["part_a", "part_b"])
    for pair, p in {("Al", "Fe"): 1.6252e-7, ("Si", "Al"): 2.1871e-7, ("Si", "Fe"): 4.2249e-6}.items():
        assert frame.loc[pair, "pvalue"] == pytest.approx(p, rel=5e-5)
    for pair, p in {("Ca", "Na"): 5.9646e-5, ("Fe", "Mg"): 0.006506, ("K", "P"): 0.009019}.items():
        assert frame.loc[pair, "pvalue"] == pytest.approx(p, rel=1e-4)
    bounds = {("Si", "Al"): (0.525680, 0.844735), ("Ca", "Na"): (0.347193, 0.768056), ("K", "P"): (0.111789, 0.644351)}
    for pair, expected in bounds.items():
        assert tuple(frame.loc[pair, ["lower", "upper"]]) == pytest.approx(expected, abs=5e-7)


def test_cups_fisher_closure_and_influence_match_the_reference() -> None:
    X = fetch_or_skip(fetch_roman_glass_cups).parts
    reference, upper = CUPS["B"], np.triu_indices(11, 1)
    fisher = unshrunk(test="fisher").fit(X)
    assert_allclose(fisher.pvalues_[upper], reference["fisher_pvalue"], rtol=1e-7)
    assert np.sum(fisher.pvalues_[upper] <= 0.05) == 9
    assert np.sum(fisher.qvalues_[upper] <= 0.05) == reference["edges"]["fisher_05"] == 4
    closure = unshrunk(null="closure").fit(X)
    assert_allclose(closure.closure_null_[upper], reference["closure_null"], atol=1e-10)
    assert_allclose(closure.pvalues_[upper], reference["closure_pvalue"], rtol=1e-7)
    names = list(X.columns)
    null = closure.closure_null_
    assert null[names.index("Si"), names.index("Al")] == pytest.approx(0.1035, abs=5e-5)
    assert null[names.index("Al"), names.index("Ca")] == pytest.approx(0.3095, abs=5e-5)
    edges = closure.to_frame(max_qvalue=0.05)
    found = {frozenset(pair) for pair in zip(edges["part_a"], edges["part_b"], strict=True)}
    assert found == {frozenset(p) for p in (("Si", "Fe"), ("Si", "Al"), ("Al", "Fe"), ("Al", "Ca"))}
    raw = unshrunk(test="influence").fit(X).inference([("Si", "Al")]).std_error[0] / np.sqrt(47 / 36)
    assert raw == pytest.approx(0.0777016, abs=5e-8)
    assert raw == pytest.approx(reference["influence_se_si_al"] * 46 / 47, rel=1e-6)
    five = X[["Al", "Mg", "Ca", "Na", "K"]]
    for part, expected, p in (("Na", 0.689470, 1.6253e-7), ("Mg", 0.596477, 1.5318e-5)):
        rest = [c for c in five.columns if c not in ("Al", part)]
        found = unshrunk().fit(X).ci_test("Al", part, rest)
        assert (found.r, found.dof) == pytest.approx((expected, 43), abs=5e-7)
        assert found.pvalue == pytest.approx(p, rel=5e-5)


def test_cups_shrunk_tests_match_the_published_counts() -> None:
    X = fetch_or_skip(fetch_roman_glass_cups).parts
    upper = np.triu_indices(11, 1)
    basis = CompositionalPartialCorrelation(shrinkage="basis").fit(X)
    assert basis.dof_ + 1 == pytest.approx(37.7, abs=0.3)
    assert np.sum(basis.pvalues_[upper] <= 0.05) == 7
    edges = basis.to_frame(max_qvalue=0.05)
    pairs = {frozenset(pair) for pair in zip(edges["part_a"], edges["part_b"], strict=True)}
    assert pairs == {frozenset(("Si", "Fe")), frozenset(("Al", "Fe"))}
    invariant = CompositionalPartialCorrelation(shrinkage="invariant").fit(X)
    assert invariant.dof_ + 1 == pytest.approx(46.4, abs=0.4)
