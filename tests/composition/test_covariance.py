"""Centred logs, Γ, the variation matrix and its relatives against sums written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from causalkit.composition import (
    log_ratio_covariance,
    proportionality,
    symmetric_balance_correlation,
    variation_matrix,
)
from causalkit.composition.covariance import basis_variances, centre_logs, double_centre, weighted_crossproduct
from causalkit.datasets import fetch_roman_glass_cups
from causalkit.exceptions import DegreesOfFreedomError, TooFewPartsError
from tests.datasets.composition_files import fetch_or_skip
from tests.golden.composition.make_cups import symmetric_balances

CUPS = json.loads((Path(__file__).parents[1] / "golden" / "composition" / "cups.json").read_text(encoding="utf-8"))


def sample(n: int = 25, d: int = 5, seed: int = 0) -> Any:
    """Correlated log-normal amounts with unequal spreads."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / 2 + rng.normal(size=d))


def test_covariance_is_that_of_clr_columns() -> None:
    X = sample()
    clr = np.log(X) - np.log(X).mean(axis=1, keepdims=True)
    assert_allclose(log_ratio_covariance(X), np.cov(clr.T), atol=1e-15)
    center = np.eye(5) - 1 / 5
    assert_allclose(log_ratio_covariance(X), center @ np.cov(np.log(X).T) @ center, atol=1e-14)


def test_variation_matrix_is_the_variance_of_every_log_ratio() -> None:
    X = sample()
    tau = variation_matrix(X)
    for i in range(5):
        for j in range(5):
            assert tau[i, j] == pytest.approx(np.var(np.log(X[:, i] / X[:, j]), ddof=1), abs=1e-14)
    center = np.eye(5) - 1 / 5
    assert_allclose(log_ratio_covariance(X), -0.5 * center @ tau @ center, atol=1e-15)


def test_weighted_covariance_by_a_loop() -> None:
    X, weight = sample(), np.random.default_rng(1).uniform(0.2, 3, 25)
    w = weight / weight.sum()
    clr = np.log(X) - np.log(X).mean(axis=1, keepdims=True)
    mean = sum(w[k] * clr[k] for k in range(25))
    total = sum(w[k] * np.outer(clr[k] - mean, clr[k] - mean) for k in range(25))
    assert_allclose(log_ratio_covariance(X, weight), total / (1 - np.sum(w**2)), atol=1e-14)


def test_whole_weights_have_the_moments_of_repeated_rows() -> None:
    X, counts = sample(), np.random.default_rng(2).integers(1, 4, 25)
    repeated = np.repeat(X, counts, axis=0)
    ratio = log_ratio_covariance(X, counts) / log_ratio_covariance(repeated)
    # Weights say how much a row counts, not how often it was seen: the divisor is that of the effective size.
    n, effective = counts.sum(), counts.sum() ** 2 / np.sum(counts**2)
    assert_allclose(ratio, (1 - 1 / n) / (1 - 1 / effective), rtol=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
def test_confounders_are_regressed_out_of_every_column(weighted: bool) -> None:
    X, rng = sample(30), np.random.default_rng(3)
    controls = np.column_stack([rng.normal(size=30), 1e6 * rng.exponential(size=30)])
    weight = rng.uniform(0.2, 3, 30) if weighted else np.ones(30)
    data = centre_logs(np.log(X), weight if weighted else None, controls)
    proportions = np.log(X / X.sum(axis=1, keepdims=True))
    design, root = np.column_stack([np.ones(30), controls / [1, 1e6]]), np.sqrt(weight)[:, None]
    residuals = proportions - design @ np.linalg.lstsq(root * design, root * proportions, rcond=None)[0]
    assert_allclose(data.logs, residuals, atol=1e-12)
    w = weight / weight.sum()
    size = 1 / np.sum(w**2)
    expected = (residuals.T * w) @ residuals * size / (size - 3)
    assert_allclose(weighted_crossproduct(data, data.logs), expected, atol=1e-13)
    assert_allclose(weighted_crossproduct(data, data.clr), double_centre(expected), atol=1e-13)


def test_residuals_of_residuals_are_those_of_the_data() -> None:
    """What the bootstrap relies on: resampled residuals need not be closed again."""
    X, rng = sample(30), np.random.default_rng(4)
    controls, rows = rng.normal(size=(30, 2)), rng.integers(0, 30, 30)
    first = centre_logs(np.log(X), None, controls)
    raw = centre_logs(np.log(X)[rows], None, controls[rows])
    again = centre_logs((first.logs + first.mean)[rows], None, controls[rows], close=False)
    assert_allclose(again.logs, raw.logs, atol=1e-12)


def test_independent_amounts_give_back_their_variances() -> None:
    v = np.array([0.5, 1.0, 2.0, 0.1, 3.0])
    assert_allclose(basis_variances(np.diag(double_centre(np.diag(v)))), v, atol=1e-14)


def test_basis_variances_have_a_floor() -> None:
    # Four parts that move together leave nothing for the fourth: 3t_i - Σt/2 is negative there.
    gamma = double_centre(np.diag([1.0, 1.0, 1.0, -0.2]))
    v = basis_variances(np.diag(gamma))
    raw = np.array([1.0, 1.0, 1.0, -0.2])
    assert_allclose(v, np.maximum(raw, 1e-3 * raw.mean()), atol=1e-14)


def test_proportionality_by_variances_of_clr_columns() -> None:
    X = sample()
    c = np.log(X) - np.log(X).mean(axis=1, keepdims=True)
    var = c.var(axis=0, ddof=1)
    for i in range(5):
        for j in range(5):
            if i == j:
                continue
            difference, total = np.var(c[:, i] - c[:, j], ddof=1), np.var(c[:, i] + c[:, j], ddof=1)
            assert proportionality(X)[i, j] == pytest.approx(1 - difference / (var[i] + var[j]), abs=1e-13)
            assert proportionality(X, "phi_s")[i, j] == pytest.approx(difference / total, rel=1e-10)
            assert proportionality(X, "phi")[i, j] == pytest.approx(difference / var[i], rel=1e-10)
    assert (np.diag(proportionality(X)) == 1).all()
    assert_allclose(np.diag(proportionality(X, "phi_s")), 0, atol=1e-14)
    with pytest.raises(ValueError, match="kind must be one of 'rho_p', 'phi_s', 'phi'; got 'rho'"):
        proportionality(X, "rho")


@pytest.mark.parametrize("d", [3, 4, 9])
def test_symmetric_balances_orthogonalise_two_axes_symmetrically(d: int) -> None:
    X = sample(30, d)
    r = symmetric_balance_correlation(X)
    for i in range(d):
        for j in range(i):
            assert r[i, j] == r[j, i] == pytest.approx(symmetric_balances(np.log(X), i, j), abs=1e-12)


def test_units_totals_and_containers_do_not_matter() -> None:
    import pandas as pd
    import polars as pl

    X, rng = sample(), np.random.default_rng(5)
    gamma = log_ratio_covariance(X)
    rescaled = X * np.exp(rng.normal(size=(25, 1)) * 100) * 10.0 ** rng.uniform(-80, 80, 5)
    assert_allclose(log_ratio_covariance(rescaled), gamma, atol=1e-10)
    for other in (pd.DataFrame(X), pl.DataFrame(X), X.tolist(), np.asfortranarray(X)):
        assert_allclose(log_ratio_covariance(other), gamma, atol=1e-15)
    counts = rng.integers(1, 200, (25, 5)).astype(np.uint8)
    assert_allclose(log_ratio_covariance(counts), log_ratio_covariance(counts.astype(float)), atol=0)
    X.flags.writeable = False
    assert_allclose(log_ratio_covariance(X), gamma, atol=0)


def test_one_row_has_no_covariance_and_two_parts_no_balance() -> None:
    with pytest.raises(DegreesOfFreedomError, match=r"1 rows .* leave nothing to estimate a covariance from"):
        variation_matrix(sample(1))
    with pytest.raises(DegreesOfFreedomError, match=r"expected more than 1 \+ q = 1"):
        variation_matrix(sample(4), [1, 0, 0, 0])
    with pytest.raises(TooFewPartsError, match="2 parts"):
        symmetric_balance_correlation(sample(9, 2))


def test_cups_match_explicit_variances() -> None:
    X = fetch_or_skip(fetch_roman_glass_cups).parts
    reference = CUPS["A"]
    gamma = log_ratio_covariance(X)
    assert_allclose(variation_matrix(X), reference["variation"], atol=1e-9)
    assert_allclose(np.trace(gamma), reference["trace"], atol=1e-9)
    assert_allclose(basis_variances(np.diag(gamma)), reference["basis_variance"], atol=1e-9)
    assert_allclose(proportionality(X), reference["rho_p"], atol=1e-9)
    assert_allclose(symmetric_balance_correlation(X), reference["symmetric_balances"], atol=1e-9)
    # Published to the last digit shown.
    assert np.trace(gamma) == pytest.approx(0.236098, abs=5e-7)
    values = np.linalg.eigvalsh(gamma)
    assert values[-1] / values[1] == pytest.approx(158.03, abs=0.005)
    v = basis_variances(np.diag(gamma))
    assert (v[0], v[4], v.mean()) == pytest.approx((0.019557, 0.002951, 0.0236098), abs=5e-7)
    table = {("Si", "Al"): (0.645, 0.798), ("Al", "Fe"): (-0.014, 0.094), ("Si", "Fe"): (-0.552, -0.483)}
    table |= {("Ca", "Na"): (0.574, 0.665), ("Fe", "Mg"): (0.521, 0.591), ("K", "P"): (0.295, 0.386)}
    rho, balance, names = proportionality(X), symmetric_balance_correlation(X), list(X.columns)
    for (a, b), expected in table.items():
        i, j = names.index(a), names.index(b)
        assert (rho[i, j], balance[i, j]) == pytest.approx(expected, abs=5e-4)
