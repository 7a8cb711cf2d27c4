"""Properties that must hold for any composition: units, totals, orders, powers, reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from causalkit.composition import CompositionalPartialCorrelation, closure_null
from causalkit.composition.covariance import centre_logs
from causalkit.composition.shrinkage import closure_factor, shrink_logs
from causalkit.exceptions import InferenceUnavailableError

Fit = CompositionalPartialCorrelation
FEW = settings(max_examples=25, deadline=None, derandomize=True)
SEEDS = st.integers(0, 100_000)
FREE_OF_UNITS = st.sampled_from([None, "invariant", "ledoit_wolf", "oas"])
ANY = st.sampled_from([None, "basis", "invariant", "ledoit_wolf", "oas", 0.3, 1.0])
WIDTHS = st.sampled_from([(12, 3), (15, 6), (30, 5), (6, 9), (4, 20)])


def amounts(seed: int, n: int, d: int) -> Any:
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(size=(n, d)) @ (np.eye(d) + 0.3 * rng.normal(size=(d, d))))


def network_of(X: Any, shrinkage: Any, **rows: Any) -> CompositionalPartialCorrelation:
    n, d = X.shape
    assume(shrinkage is not None or n >= 2 * d)
    return Fit(shrinkage=shrinkage, test=None).fit(X, **rows)


@FEW
@given(seed=SEEDS, shape=WIDTHS, shrinkage=ANY)
def test_totals_of_rows_do_not_matter(seed: int, shape: tuple[int, int], shrinkage: Any) -> None:
    X = amounts(seed, *shape)
    rescaled = X * np.exp(50 * np.random.default_rng(seed).normal(size=(shape[0], 1)))
    r = network_of(X, shrinkage).partial_correlation_
    assert_allclose(network_of(rescaled, shrinkage).partial_correlation_, r, atol=1e-9)


@FEW
@given(seed=SEEDS, shape=WIDTHS, shrinkage=FREE_OF_UNITS)
def test_units_of_parts_do_not_matter(seed: int, shape: tuple[int, int], shrinkage: Any) -> None:
    X = amounts(seed, *shape)
    rescaled = X * 10.0 ** np.random.default_rng(seed).uniform(-90, 90, shape[1])
    first, second = network_of(X, shrinkage), network_of(rescaled, shrinkage)
    assert_allclose(second.partial_correlation_, first.partial_correlation_, atol=1e-9)
    assert_allclose(second.partial_variance_, first.partial_variance_, rtol=1e-8)
    assert second.shrinkage_ == pytest.approx(first.shrinkage_, abs=1e-9)


@FEW
@given(seed=SEEDS, shape=WIDTHS, power=st.sampled_from([-2.0, 0.1, 3.0]), shrinkage=FREE_OF_UNITS)
def test_powers_do_not_matter(seed: int, shape: tuple[int, int], power: float, shrinkage: Any) -> None:
    X = amounts(seed, *shape)
    first, second = network_of(X, shrinkage), network_of(X**power, shrinkage)
    assert_allclose(second.partial_correlation_, first.partial_correlation_, atol=1e-9)
    assert_allclose(second.partial_variance_, power**2 * first.partial_variance_, rtol=1e-8)


@FEW
@given(seed=SEEDS, shape=WIDTHS, shrinkage=ANY)
def test_orders_of_parts_and_rows_move_the_result_along(seed: int, shape: tuple[int, int], shrinkage: Any) -> None:
    X, rng = amounts(seed, *shape), np.random.default_rng(seed)
    parts, rows = rng.permutation(shape[1]), rng.permutation(shape[0])
    first, second = network_of(X, shrinkage), network_of(X[rows][:, parts], shrinkage)
    assert_allclose(second.partial_correlation_, first.partial_correlation_[np.ix_(parts, parts)], atol=1e-9)
    assert_allclose(second.closure_null_, first.closure_null_[np.ix_(parts, parts)], atol=1e-10)
    assert second.score(X[:, parts]) == pytest.approx(first.score(X), rel=1e-8, abs=1e-8)


@FEW
@given(seed=SEEDS, shape=st.sampled_from([(30, 5), (15, 6)]), test=st.sampled_from(["t", "fisher", "influence"]))
def test_pvalues_move_along_too(seed: int, shape: tuple[int, int], test: str) -> None:
    X, rng = amounts(seed, *shape), np.random.default_rng(seed)
    parts = rng.permutation(shape[1])
    groups = rng.integers(0, 5, shape[0]) if test == "influence" else None
    first, second = (Fit(shrinkage=None, test=test).fit(x, groups=groups) for x in (X, X[:, parts]))
    assert_allclose(second.pvalues_, first.pvalues_[np.ix_(parts, parts)], rtol=1e-6, atol=1e-12)
    assert_allclose(second.qvalues_, first.qvalues_[np.ix_(parts, parts)], rtol=1e-6, atol=1e-12)
    # Labels of clusters have no order, and every row its own cluster is nearly no cluster.
    if test == "influence":
        renamed = Fit(shrinkage=None).fit(X, groups=np.array(list("zyxwv"))[groups])
        assert_allclose(renamed.pvalues_, first.pvalues_, rtol=1e-9)
        own = Fit(shrinkage=None).fit(X, groups=np.arange(shape[0]))
        alone = Fit(shrinkage=None, test="influence").fit(X)
        n = shape[0]
        errors = [network.inference([(0, 1)]).std_error[0] for network in (own, alone)]
        assert errors[0] / errors[1] == pytest.approx(np.sqrt(n / (n - 1)), rel=1e-9)


@FEW
@given(seed=SEEDS, shape=WIDTHS, scale=st.floats(1e-6, 1e6))
def test_weights_have_no_unit_and_whole_ones_repeat_rows(seed: int, shape: tuple[int, int], scale: float) -> None:
    X, rng = amounts(seed, *shape), np.random.default_rng(seed)
    counts = rng.integers(1, 4, shape[0])
    for shrinkage in (None, "basis", "invariant"):
        if shrinkage is None and shape[0] < 2 * shape[1]:
            continue
        first = Fit(shrinkage=shrinkage, test=None).fit(X, sample_weight=counts)
        second = Fit(shrinkage=shrinkage, test=None).fit(X, sample_weight=counts * scale)
        assert_allclose(second.partial_correlation_, first.partial_correlation_, atol=1e-9)
    if shape[0] >= 2 * shape[1]:
        repeated = Fit(shrinkage=None, test=None).fit(np.repeat(X, counts, axis=0))
        weighted = Fit(shrinkage=None, test=None).fit(X, sample_weight=counts)
        assert_allclose(weighted.partial_correlation_, repeated.partial_correlation_, atol=1e-9)
        assert weighted.n_effective_ < repeated.n_effective_


@FEW
@given(seed=SEEDS, shape=WIDTHS)
def test_full_shrinkage_is_the_closure_null(seed: int, shape: tuple[int, int]) -> None:
    X = amounts(seed, *shape)
    network = Fit(shrinkage=1.0, test=None).fit(X)
    assert_allclose(network.partial_correlation_, closure_null(network.basis_variance_), atol=1e-12)
    assert_allclose(network.closure_null_, network.partial_correlation_, atol=1e-12)


@FEW
@given(seed=SEEDS, shape=WIDTHS, shrinkage=ANY)
def test_shapes_and_ranges(seed: int, shape: tuple[int, int], shrinkage: Any) -> None:
    network, d = network_of(amounts(seed, *shape), shrinkage), shape[1]
    r = network.partial_correlation_
    assert (r == r.T).all() and (np.diag(r) == 1).all()
    assert np.abs(r).max() <= 1 + 1e-9
    assert_allclose(network.precision_ @ np.ones(d), 0, atol=1e-7 * network.precision_.max())
    assert_allclose(network.coef_.sum(axis=1), 1, atol=1e-7)
    assert (network.partial_variance_ > 0).all()
    assert (network.r2_ <= 1).all() and (network.r2_ >= -1e-9).all()
    assert 0 <= network.shrinkage_ <= 1
    null = network.closure_null_
    assert ((null > 0) & (null <= 1 + 1e-12)).all()


@FEW
@given(seed=SEEDS, d=st.integers(3, 12))
def test_closure_null_is_a_product_of_factors(seed: int, d: int) -> None:
    v = np.exp(2 * np.random.default_rng(seed).normal(size=d))
    null, factor = closure_null(v), closure_factor(v)
    off = ~np.eye(d, dtype=bool)
    assert_allclose(null[off], np.outer(factor, factor)[off], rtol=1e-12)
    assert_allclose(closure_null(1e8 * v), null, rtol=1e-9)  # no unit
    # Γ⁺ of independent amounts has the null vector 1, and 2I - R is Γ⁺ scaled by its roots.
    omega = 1 / v
    root = np.sqrt(omega * (1 - omega / omega.sum()))
    assert_allclose((2 * np.eye(d) - null) @ root, 0, atol=1e-9 * root.max())


@FEW
@given(seed=SEEDS, test=st.sampled_from(["t", "fisher", "influence", "bootstrap"]))
def test_intervals_shrink_with_the_level_and_hold_the_estimate(seed: int, test: str) -> None:
    X = amounts(seed, 30, 4)
    network = Fit(shrinkage=None, test=test, n_resamples=60, random_state=0).fit(X)
    wide, narrow = network.conf_int(0.99), network.conf_int(0.5)
    off = ~np.eye(4, dtype=bool)
    assert ((wide[0] <= narrow[0]) & (narrow[1] <= wide[1])).all()
    assert ((wide[0] >= -1) & (wide[1] <= 1)).all()
    r = network.partial_correlation_
    assert ((wide[0] <= r) & (r <= wide[1]))[off].all()
    if test in ("fisher", "influence"):  # a pair is significant where its interval leaves out 0
        lower, upper = network.conf_int(0.95)
        outside = ((lower > 0) | (upper < 0))[off]
        assert (outside == (network.pvalues_ < 0.05)[off]).all()


@FEW
@given(seed=SEEDS, q=st.integers(1, 3), shrinkage=st.sampled_from([None, "basis", "invariant"]))
def test_confounders_that_explain_nothing_cost_degrees_of_freedom(seed: int, q: int, shrinkage: Any) -> None:
    """Confounders orthogonal to the log proportions leave r of an unshrunk fit as it is."""
    X, rng = amounts(seed, 30, 5), np.random.default_rng(seed)
    logs = np.log(X / X.sum(axis=1, keepdims=True))
    design = np.column_stack([np.ones(30), logs])
    controls = rng.normal(size=(30, q))
    controls -= design @ np.linalg.lstsq(design, controls, rcond=None)[0]
    plain, with_controls = network_of(X, shrinkage), network_of(X, shrinkage, confounders=controls)
    ratio = 29 / (29 - q)
    assert_allclose(with_controls.log_ratio_covariance_, ratio * plain.log_ratio_covariance_, rtol=1e-8, atol=1e-10)
    if shrinkage is None:
        assert_allclose(with_controls.partial_correlation_, plain.partial_correlation_, atol=1e-8)
        fitted = Fit(shrinkage=None).fit(X, confounders=controls)
        assert fitted.dof_ == 30 - 5 + 1 - q


@FEW
@given(seed=SEEDS, shape=WIDTHS, method=st.sampled_from(["basis", "invariant", "ledoit_wolf", "oas"]))
def test_held_intensities_reproduce_the_fit(seed: int, shape: tuple[int, int], method: str) -> None:
    data = centre_logs(np.log(amounts(seed, *shape)))
    free = shrink_logs(data, method)
    held = shrink_logs(data, method, intensity=free.intensity, variance=free.variance_intensity)
    assert_allclose(held.rows, free.rows, atol=0)
    assert_allclose(held.scale, free.scale, atol=0)


def test_dropping_a_part_changes_the_others() -> None:
    """Partial correlations are not coherent over subcompositions: that is the point, and not a defect."""
    X = amounts(3, 60, 5)
    whole = Fit(shrinkage=None).fit(X).partial_correlation_[:4, :4]
    part = Fit(shrinkage=None).fit(X[:, :4]).partial_correlation_
    assert np.abs(whole - part).max() > 0.05


def test_no_test_is_offered_where_none_is_valid() -> None:
    X = amounts(1, 30, 5)
    for shrinkage in ("logratio", "ledoit_wolf", "oas"):
        assert not hasattr(Fit(shrinkage=shrinkage).fit(X), "pvalues_")
        with pytest.raises(InferenceUnavailableError):
            Fit(shrinkage=shrinkage, test="shrunk_t").fit(X)
