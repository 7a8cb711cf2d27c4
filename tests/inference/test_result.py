"""Inference results: bands, tests, and arithmetic against explicit covariances."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from causalkit.inference import InferenceResult, cluster_sums, influence_covariance
from causalkit.inference.result import check_confidence_level
from causalkit.validation import Groups

N = 200


def _groups(n=N, size=5):
    return Groups(np.repeat(np.arange(n // size), size), np.arange(n // size))


def _columns(seed=0):
    """Dependent columns with a known mean estimator."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(N, 1)) + np.repeat(rng.normal(size=(N // 5, 1)), 5, axis=0)
    return 2.0 + common + rng.normal(size=(N, 4)) * [0.5, 1.0, 2.0, 1.0]


def _means(columns, *, groups=None, sample=None, names=None):
    values = columns - columns.mean(axis=0)
    names = names or [f"c{j}" for j in range(columns.shape[1])]
    return InferenceResult.from_influence(columns.mean(axis=0), values, names=names, groups=groups, sample=sample)


# ---------------------------------------------------------------------- covariance


def test_covariance_of_rows_and_clusters_by_explicit_sums():
    columns = _columns()
    values = columns - columns.mean(axis=0)
    rows = sum(np.outer(v, v) for v in values) / N**2
    np.testing.assert_allclose(_means(columns).cov, rows, rtol=1e-12)
    groups = _groups()
    sums = [values[groups.codes == g].sum(axis=0) for g in range(groups.n_groups)]
    np.testing.assert_allclose(cluster_sums(values, groups.codes), sums, rtol=1e-12, atol=1e-12)
    clusters = sum(np.outer(s, s) for s in sums) / N**2
    result = _means(columns, groups=groups)
    np.testing.assert_allclose(result.cov, clusters, rtol=1e-12)
    assert result.df == N // 5 - 1
    assert result.dependence == "40 clusters"
    np.testing.assert_allclose(influence_covariance(values, factor=1.5), 1.5 * rows, rtol=1e-12)


def test_empty_clusters_add_nothing():
    values = np.ones((3, 2))
    np.testing.assert_array_equal(cluster_sums(values, np.array([0, 2, 2]), 4), [[1, 1], [0, 0], [2, 2], [0, 0]])


def test_frequency_weights_in_the_covariance():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(6, 2))
    count = np.array([1.0, 3.0, 0.0, 2.0, 1.0, 1.0])
    repeated = np.repeat(values, count.astype(int), axis=0)
    expected = repeated.T @ repeated / 6**2
    actual = influence_covariance(values * count[:, None], frequency=count)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


# ---------------------------------------------------------------------- intervals and tests


def test_intervals_and_pvalues_by_formula():
    result = InferenceResult(estimate=[1.0, -2.0], cov=np.diag([0.25, 4.0]), names=("a", "b"), n_obs=10)
    table = result.conf_int(0.9)
    z = stats.norm.ppf(0.95)
    np.testing.assert_allclose(table, [[1 - 0.5 * z, 1 + 0.5 * z], [-2 - 2 * z, -2 + 2 * z]])
    assert list(table.index) == ["a", "b"]
    np.testing.assert_allclose(result.pvalue([0.0, -1.0]), 2 * stats.norm.sf([2.0, 0.5]))
    with_t = InferenceResult(estimate=[1.0], cov=[[0.25]], names=("a",), n_obs=10, df=4)
    np.testing.assert_allclose(with_t.conf_int()["upper"], 1 + 0.5 * stats.t(4).ppf(0.975))
    np.testing.assert_allclose(with_t.pvalue(), 2 * stats.t(4).sf(2.0))


@pytest.mark.parametrize("df", [None, 7])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_pvalue_at_the_edge_of_an_interval_is_one_minus_its_level(df, level):
    result = InferenceResult(estimate=[0.3, 5.0], cov=[[2.0, 0.1], [0.1, 1.0]], names=("a", "b"), n_obs=9, df=df)
    for side in ("lower", "upper"):
        edge = result.conf_int(level)[side].to_numpy()
        np.testing.assert_allclose(result.pvalue(edge), 1 - level, rtol=1e-10)


def test_certain_estimates():
    result = InferenceResult(estimate=[1.0, 2.0], cov=np.zeros((2, 2)), names=("a", "b"), n_obs=5)
    assert list(result.pvalue([1.0, 1.0])) == [1.0, 0.0]
    np.testing.assert_array_equal(result.conf_int(joint=True), [[1.0, 1.0], [2.0, 2.0]])


def _bootstrap_critical(values, codes, level, df=None, draws=20_000, seed=1):
    """Largest studentised sum of influence values under one standard normal multiplier per cluster."""
    rng = np.random.default_rng(seed)
    sums = np.stack([np.bincount(codes, weights=column) for column in values.T], axis=1)
    se = np.sqrt((sums**2).sum(axis=0))
    largest = np.abs(rng.standard_normal((draws, len(sums))) @ sums / se).max(axis=1)
    if df is not None:
        largest = largest / np.sqrt(rng.chisquare(df, draws) / df)
    return np.quantile(largest, level)


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_joint_band_equals_multiplier_bootstrap(clustered, level):
    columns = _columns()
    values = columns - columns.mean(axis=0)
    groups = _groups() if clustered else None
    result = _means(columns, groups=groups)
    critical = result._critical_value(level, joint=True)
    codes = groups.codes if clustered else np.arange(N)
    expected = _bootstrap_critical(values, codes, level, df=result.df)
    # 20 000 and 100 000 draws: the standard error of the difference is at most .02 at these levels.
    assert abs(critical - expected) < 0.06
    half = (result.conf_int(level, joint=True)["upper"] - result.estimate) / result.std_error
    np.testing.assert_allclose(half, critical)


def test_joint_band_in_its_known_limits():
    level = 0.95
    independent = InferenceResult(estimate=np.zeros(5), cov=np.diag([1.0, 2, 3, 4, 5]), names=tuple("abcde"), n_obs=9)
    sidak = stats.norm.ppf(0.5 + level ** (1 / 5) / 2)
    assert abs(independent._critical_value(level, True) - sidak) < 0.02
    same = InferenceResult(estimate=np.zeros(3), cov=np.ones((3, 3)), names=tuple("abc"), n_obs=9)
    assert abs(same._critical_value(level, True) - stats.norm.ppf(0.975)) < 0.02
    single = InferenceResult(estimate=[0.0], cov=[[1.0]], names=("a",), n_obs=9)
    assert single._critical_value(level, True) == stats.norm.ppf(0.975)
    assert independent._critical_value(level, True) == independent._critical_value(level, True)


@pytest.mark.parametrize("level", [0, 1, 95, -0.1, "0.95", None, np.nan])
def test_bad_levels(level):
    with pytest.raises(ValueError, match=r"confidence_level must lie strictly between 0 and 1, such as 0\.95; got"):
        check_confidence_level(level)


# ---------------------------------------------------------------------- arithmetic


def _numeric_jacobian(function, point):
    step = 1e-6
    columns = []
    for j in range(len(point)):
        up, down = point.copy(), point.copy()
        up[j] += step
        down[j] -= step
        columns.append((function(up) - function(down)) / (2 * step))
    return np.column_stack(columns)


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("symbol", ["+", "-", "*"])
def test_arithmetic_is_the_delta_method_on_the_stacked_results(symbol, clustered):
    groups = _groups() if clustered else None
    columns = _columns()
    stacked = _means(columns, groups=groups)  # sandwich of all four means together
    token = object()
    a = _means(columns[:, :2], groups=groups, sample=token, names=["a0", "a1"])
    b = _means(columns[:, 2:], groups=groups, sample=token, names=["b0", "b1"])
    operation = {"+": lambda x, y: x + y, "-": lambda x, y: x - y, "*": lambda x, y: x * y}[symbol]
    combined = operation(a, b)
    jacobian = _numeric_jacobian(lambda point: operation(point[:2], point[2:]), stacked.estimate)
    np.testing.assert_allclose(combined.estimate, operation(stacked.estimate[:2], stacked.estimate[2:]), rtol=1e-12)
    np.testing.assert_allclose(combined.cov, jacobian @ stacked.cov @ jacobian.T, rtol=1e-7)
    np.testing.assert_allclose(combined.influence_values, stacked.influence_values @ jacobian.T, atol=1e-6)
    assert combined.names == (f"a0 {symbol} b0", f"a1 {symbol} b1")
    assert combined.df == stacked.df


def test_arithmetic_can_be_chained():
    columns = _columns()
    a = _means(columns[:, :1])
    b, c = (_means(columns[:, [j]], sample=a.sample) for j in (1, 2))
    chained = (a + b) * c - a
    stacked = _means(columns[:, :3])
    jacobian = _numeric_jacobian(lambda p: np.array([(p[0] + p[1]) * p[2] - p[0]]), stacked.estimate)
    np.testing.assert_allclose(chained.cov, jacobian @ stacked.cov @ jacobian.T, rtol=1e-7)
    np.testing.assert_allclose((a - a).cov, 0, atol=1e-30)


def test_arithmetic_with_constants():
    result = _means(_columns()[:, :2])
    for shifted, estimate in ((result + 1, result.estimate + 1), (1 - result, 1 - result.estimate)):
        np.testing.assert_allclose(shifted.estimate, estimate)
        np.testing.assert_allclose(shifted.cov, result.cov)
    scaled = np.array([2.0, -3.0]) * result
    np.testing.assert_allclose(scaled.estimate, result.estimate * [2.0, -3.0])
    np.testing.assert_allclose(scaled.cov, result.cov * np.outer([2.0, -3.0], [2.0, -3.0]))
    np.testing.assert_allclose(scaled.influence_values, result.influence_values * [2.0, -3.0])
    assert scaled.names == result.names
    np.testing.assert_allclose((result - [1.0, 2.0]).estimate, result.estimate - [1.0, 2.0])
    np.testing.assert_allclose((-result).estimate, -result.estimate)


def test_contrasts():
    result = _means(_columns())
    matrix = np.array([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0]])
    contrast = result.contrast(matrix)
    np.testing.assert_allclose(contrast.estimate, matrix @ result.estimate)
    np.testing.assert_allclose(contrast.cov, matrix @ result.cov @ matrix.T)
    assert contrast.names == ("+1*c0 -1*c1", "+0.5*c2")
    assert result.contrast([1, 0, 0, 0], names=["first"]).names == ("first",)
    assert result.contrast(np.zeros(4)).names == ("0",)
    with pytest.raises(ValueError, match="matrix has 2 columns, expected one per estimate: 4"):
        result.contrast([1.0, -1.0])


def test_independent_samples_are_joined_block_by_block():
    a, b = _means(_columns(0)[:, :2]), _means(_columns(1)[:, :1], groups=_groups())
    joined = InferenceResult.concatenate([a, b])
    np.testing.assert_allclose(joined.cov[:2, :2], a.cov)
    np.testing.assert_allclose(joined.cov[2:, 2:], b.cov)
    assert not joined.cov[:2, 2:].any()
    assert joined.n_obs == 2 * N
    assert joined.df == 39
    difference = joined.contrast([1.0, 0.0, -1.0])
    np.testing.assert_allclose(difference.std_error**2, a.cov[0, 0] + b.cov[0, 0])
    with pytest.raises(ValueError, match="share their rows"):
        InferenceResult.concatenate([a, a + 1])


def test_arithmetic_that_has_no_covariance_is_refused():
    columns = _columns()
    a, other = _means(columns[:, :1]), _means(columns[:, 1:2])
    with pytest.raises(ValueError, match=r"cannot form a \+ b: .* same rows of one fit.*InferenceResult\.concatenate"):
        a + other
    bare = InferenceResult(estimate=[1.0], cov=[[1.0]], names=("b",), n_obs=N, sample=a.sample)
    with pytest.raises(ValueError, match=r"cannot form a \* b: a result without influence values"):
        a * bare
    with pytest.raises(ValueError, match=r"cannot form a - b of 1 and 2 estimates"):
        a - _means(columns[:, :2], sample=a.sample)


def test_results_of_other_rows_or_clusters_are_not_added():
    columns = _columns()
    a = _means(columns[:, :1], groups=_groups())
    rows = _means(columns[:100, :1], sample=a.sample)
    with pytest.raises(ValueError, match="cannot form"):
        a + rows
    unclustered = _means(columns[:, :1], sample=a.sample)
    with pytest.raises(ValueError, match="cannot form"):
        a + unclustered


# ---------------------------------------------------------------------- presentation


def test_summary_and_dict_agree_with_the_numbers():
    result = _means(_columns()[:, :2], groups=_groups())
    table = result.summary(0.9)
    assert list(table.columns) == ["estimate", "std_error", "statistic", "pvalue", "lower", "upper"]
    np.testing.assert_allclose(table["statistic"], table["estimate"] / table["std_error"])
    pd.testing.assert_frame_equal(table[["lower", "upper"]], result.conf_int(0.9))
    plain = result.to_dict()
    assert plain["estimate"] == result.estimate.tolist()
    assert plain["df"] == 39
    assert "200 rows, 40 clusters, t with 39 degrees of freedom" in repr(result)
    assert "<table" in result._repr_html_()


def test_summary_of_repeated_names():
    result = InferenceResult(estimate=[1.0, 2.0], cov=np.eye(2), names=("a", "a"), n_obs=4)
    table = result.summary()
    assert table.shape == (2, 6)
    np.testing.assert_allclose(table["upper"] - table["estimate"], stats.norm.ppf(0.975))


def test_result_is_frozen_and_checked():
    result = _means(_columns())
    with pytest.raises(AttributeError):
        result.n_obs = 3
    with pytest.raises(ValueError, match=r"estimate has 2 entries, but cov has shape \(1, 1\) and names has 2"):
        InferenceResult(estimate=[1.0, 2.0], cov=[[1.0]], names=("a", "b"), n_obs=3)
