"""Prediction-powered estimates against a peer, closed forms, brute force and simulated truth."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from causalkit.debiasing.prediction_powered import (
    PredictionPoweredResult,
    prediction_powered_ate,
    prediction_powered_mean,
    prediction_powered_ols,
)
from causalkit.exceptions import CalibrationError, CalibrationWarning
from tests.golden.prediction_powered import PATH, designs

METHODS = ("ppi++", "ppi", "predict_then_debias", "classical")
GOLDEN = json.loads(PATH.read_text())


def mean_of(design: dict[str, Any], method: str = "ppi++", **kwargs: Any) -> PredictionPoweredResult:
    y, f, n = design["y"], design["f"], design["n"]
    return prediction_powered_mean(y[:n], f[:n], predictions_unlabelled=f[n:], method=method, **kwargs)


def ols_of(design: dict[str, Any], method: str = "ppi++", **kwargs: Any) -> PredictionPoweredResult:
    X, y, f, n = (design[key] for key in ("X", "y", "f", "n"))
    return prediction_powered_ols(
        X[:n], y[:n], predictions=f[:n], X_unlabelled=X[n:], predictions_unlabelled=f[n:], method=method, **kwargs
    )


def trial(seed: int, n: int = 120, n_unlabelled: int = 400, levels: tuple[Any, ...] = (0, 1)) -> dict[str, Any]:
    """Arguments of ``prediction_powered_ate``, effect 1 per step between levels."""
    rng = np.random.default_rng(seed)
    total = n + n_unlabelled
    arm = np.arange(total) % len(levels)
    y = arm + rng.normal(size=total)
    f = 0.3 + 0.6 * y + 0.5 * rng.normal(size=total)
    treatment = np.array(levels, dtype=object)[arm]
    return {
        "y": y[:n],
        "predictions": f[:n],
        "treatment": treatment[:n],
        "predictions_unlabelled": f[n:],
        "treatment_unlabelled": treatment[n:],
    }


# ---------------------------------------------------------------------- golden values


@pytest.mark.parametrize("method", ["ppi", "ppi++", "classical"])
@pytest.mark.parametrize("name", ["line", "plane", "against"])
def test_equals_the_peer(name: str, method: str) -> None:
    for kind, run in (("mean", mean_of), ("ols", ols_of)):
        golden = GOLDEN[name][f"{kind} {method}"]
        result = run(designs()[name], method)
        assert_allclose(result.estimate, golden["estimate"], rtol=0, atol=1e-8)
        assert_allclose(result.conf_int().to_numpy().T, golden["interval"], rtol=0, atol=1e-8)
        if "power_tuning" in golden:
            assert_allclose(result.power_tuning, golden["power_tuning"], rtol=0, atol=1e-8)


def test_printed_reference_values() -> None:
    design = designs()["line"]
    assert_allclose(mean_of(design, "classical").estimate, 0.6050792113, atol=1e-8)
    assert_allclose(mean_of(design, "ppi").estimate, 0.5454763705, atol=1e-8)
    tuned = mean_of(design)
    assert_allclose([tuned.power_tuning, tuned.estimate[0]], [0.9830639775, 0.5464858056], atol=1e-8)
    assert_allclose(tuned.std_error, 0.0390258710, atol=1e-8)
    assert_allclose(tuned.conf_int().to_numpy(), [[0.4699965040, 0.6229751072]], atol=1e-8)
    assert_allclose(ols_of(design, "ppi").estimate, [0.5334366054, 0.9718248097], atol=1e-8)
    line = ols_of(design)
    assert_allclose(line.power_tuning, 0.8923726019, atol=1e-8)
    assert_allclose(line.estimate, [0.5390710117, 0.9766036381], atol=1e-8)
    assert_allclose(line.std_error, [0.0363877345, 0.0342621851], atol=1e-8)
    debiased = mean_of(design, "predict_then_debias")
    assert debiased.power_tuning is None and debiased.tuning_matrix is not None
    assert_allclose(debiased.tuning_matrix, [[1.0509232355]], atol=1e-8)
    assert_allclose([debiased.estimate[0], debiased.std_error[0]], [0.5424412010, 0.0388340154], atol=1e-8)


# ---------------------------------------------------------------------- closed forms


def test_classical_is_the_labels_alone() -> None:
    design = designs()["plane"]
    X, y, n = design["X"], design["y"], design["n"]
    mean, line = mean_of(design, "classical"), ols_of(design, "classical")
    assert_allclose([mean.estimate[0], mean.std_error[0]], [y[:n].mean(), y[:n].std() / np.sqrt(n)], rtol=1e-12)
    fit = sm.OLS(y[:n], X[:n]).fit(cov_type="HC0")
    assert_allclose(line.estimate, fit.params, rtol=1e-10)
    assert_allclose(line.cov, fit.cov_params() * n / (n - 1), rtol=1e-9)
    assert mean.n_obs == n and mean.power_tuning == 0.0


def test_predictions_that_point_the_wrong_way_are_not_used() -> None:
    design = designs()["against"]
    tuned, labels = mean_of(design), mean_of(design, "classical")
    assert tuned.power_tuning == 0.0
    assert_allclose([tuned.estimate, tuned.std_error], [labels.estimate, labels.std_error], rtol=1e-12)
    debiased = mean_of(design, "predict_then_debias")
    assert debiased.tuning_matrix is not None and debiased.tuning_matrix[0, 0] < 0
    assert debiased.std_error[0] < labels.std_error[0]


def test_perfect_predictions() -> None:
    design = {**designs()["line"]}
    design["f"] = y = design["y"]
    n, m = design["n"], len(y) - design["n"]
    result = mean_of(design, "ppi")
    assert_allclose(result.estimate, y[n:].mean(), rtol=1e-12)
    assert_allclose(result.std_error, y[n:].std() / np.sqrt(m), rtol=1e-10)
    tuning = y[:n].var() / ((1 + n / m) * y.var(ddof=1))
    assert_allclose(mean_of(design).power_tuning, tuning, rtol=1e-10)


def test_tuning_of_a_mean_minimises_the_variance() -> None:
    design = designs()["line"]
    y, f, n = design["y"], design["f"], design["n"]
    grid = np.linspace(0, 2, 20001)
    covariance, above = np.cov(y[:n], f[:n]) / n, np.var(f[n:], ddof=1) / (len(f) - n)
    variance = covariance[0, 0] - 2 * grid * covariance[0, 1] + grid**2 * (covariance[1, 1] + above)
    debiased = mean_of(design, "predict_then_debias")
    assert debiased.tuning_matrix is not None
    assert_allclose(debiased.tuning_matrix[0, 0], grid[np.argmin(variance)], atol=1e-4)
    assert_allclose(debiased.cov[0, 0], variance.min(), rtol=1e-6)


def test_predict_then_debias_of_coefficients_by_brute_force() -> None:
    design = designs()["plane"]
    X, y, f, n = (design[key] for key in ("X", "y", "f", "n"))

    def influence(design: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inverse = np.linalg.inv(design.T @ design)
        coef = inverse @ design.T @ target
        return coef, (design * (target - design @ coef)[:, None]) @ inverse

    (theta, a), (gamma, b), (above, c) = influence(X[:n], y[:n]), influence(X[:n], f[:n]), influence(X[n:], f[n:])
    scale, scale_u = n / (n - 1), len(c) / (len(c) - 1)
    omega = scale * a.T @ b @ np.linalg.inv(scale * b.T @ b + scale_u * c.T @ c)
    result = ols_of(design, "predict_then_debias")
    assert result.tuning_matrix is not None
    assert_allclose(result.tuning_matrix, omega, rtol=1e-8)
    assert_allclose(result.estimate, theta + omega @ (above - gamma), rtol=1e-9)
    assert_allclose(result.cov, scale * (a.T @ a - omega @ b.T @ a), rtol=1e-8, atol=1e-14)


def test_regression_on_a_constant_is_the_mean() -> None:
    design = {**designs()["line"]}
    n, m = design["n"], len(design["y"]) - design["n"]
    design["X"] = np.ones((n + m, 1))
    weights = {
        "sample_weight": np.random.default_rng(1).uniform(0.5, 2, n),
        "sample_weight_unlabelled": np.random.default_rng(2).uniform(0.5, 2, m),
    }
    for kwargs in ({}, weights):
        mean, line = mean_of(design, **kwargs), ols_of(design, **kwargs)
        assert_allclose([line.estimate[0], line.power_tuning], [mean.estimate[0], mean.power_tuning], rtol=1e-10)
        assert mean.influence_values is not None
        squares = mean.influence_values[:, 0] ** 2 / (n + m) ** 2
        variance = squares[:n].sum() * n / (n - 1) + squares[n:].sum() * m / (m - 1)
        assert_allclose(line.cov, variance, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_uninformative_predictions(method: str) -> None:
    design = {**designs()["plane"]}
    n, labels = design["n"], mean_of(designs()["plane"], "classical")
    if method != "ppi":
        design["f"] = np.full(len(design["y"]), 0.1)
        result = mean_of(design, method)
        assert_allclose(result.estimate, labels.estimate, rtol=1e-12)
        assert_allclose(result.std_error**2, labels.std_error**2, rtol=1.5 / n)
        design["f"] = design["X"] @ np.array([0.1, 0.2, 0.3, 0.4])
        if method == "predict_then_debias":  # fitted exactly, so the coefficients of f carry no noise to borrow
            fitted, alone = ols_of(design, method), ols_of(design, "classical")
            assert_allclose(fitted.estimate, alone.estimate, rtol=1e-10)
            assert_allclose(fitted.std_error, alone.std_error, rtol=1e-10)
    else:
        design["f"] = np.zeros(len(design["y"]))
        assert_allclose(mean_of(design, method).std_error, labels.std_error, rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.floats(-50, 50), st.floats(0.1, 20), st.sampled_from(METHODS))
def test_change_of_units(shift: float, scale: float, method: str) -> None:
    design = designs()["plane"]
    moved = {**design, "y": shift + scale * design["y"], "f": shift + scale * design["f"]}
    old, new = mean_of(design, method), mean_of(moved, method)
    assert_allclose(new.estimate, shift + scale * old.estimate, rtol=1e-8, atol=1e-8)
    assert_allclose(new.std_error, scale * old.std_error, rtol=1e-8)
    old, new = ols_of(design, method), ols_of(moved, method)
    assert_allclose(new.estimate, scale * old.estimate + shift * np.eye(4)[0], rtol=1e-7, atol=1e-7)
    assert_allclose(new.std_error, scale * old.std_error, rtol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_influence_values_rebuild_the_covariance(method: str) -> None:
    for result in (ols_of(designs()["plane"], method), prediction_powered_ate(**trial(0), method=method)):
        psi = result.influence_values
        assert psi is not None
        assert_allclose(psi.T @ psi / len(psi) ** 2, result.cov, rtol=1e-10, atol=1e-16)
        assert_allclose(psi.mean(axis=0), 0, atol=1e-10)


# ---------------------------------------------------------------------- weights and clusters


@pytest.mark.parametrize("method", METHODS)
def test_weights_have_no_scale_and_zero_drops_a_row(method: str) -> None:
    design = designs()["plane"]
    n, m = design["n"], len(design["y"]) - design["n"]
    rng = np.random.default_rng(3)
    weight, weight_u = rng.uniform(0.2, 3, n), rng.uniform(0.2, 3, m)
    weight[:20], weight_u[-30:] = 0, 0
    kept = {key: design[key][20 : n + m - 30] for key in ("X", "y", "f")} | {"n": n - 20}
    for run in (mean_of, ols_of):
        all_rows = run(design, method, sample_weight=weight, sample_weight_unlabelled=10 * weight_u)
        fewer = run(kept, method, sample_weight=weight[20:], sample_weight_unlabelled=weight_u[:-30])
        assert_allclose(all_rows.estimate, fewer.estimate, rtol=1e-9)
        assert_allclose(all_rows.cov, fewer.cov, rtol=1e-8, atol=1e-16)
        even = run(design, method, sample_weight=np.full(n, 7.0), sample_weight_unlabelled=np.full(m, 0.2))
        assert_allclose(even.cov, run(design, method).cov, rtol=1e-8, atol=1e-16)


def test_weight_equals_copies_in_one_cluster() -> None:
    design = designs()["plane"]
    n, m = design["n"], len(design["y"]) - design["n"]
    copies = np.random.default_rng(4).integers(1, 4, n + m)
    repeated = {key: np.repeat(design[key], copies, axis=0) for key in ("X", "y", "f")} | {"n": int(copies[:n].sum())}
    labels = np.repeat(np.arange(n + m), copies)
    groups = {"groups": labels[: repeated["n"]], "groups_unlabelled": labels[repeated["n"] :]}
    weights = {"sample_weight": copies[:n], "sample_weight_unlabelled": copies[n:]}
    for run in (mean_of, ols_of):
        weighted = run(design, "predict_then_debias", **weights)
        clustered = run(repeated, "predict_then_debias", **groups)
        assert_allclose(weighted.estimate, clustered.estimate, rtol=1e-9)
        assert_allclose(weighted.cov, clustered.cov, rtol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_single_rows_as_groups(method: str) -> None:
    design = designs()["plane"]
    n, m = design["n"], len(design["y"]) - design["n"]
    groups = {"groups": np.arange(n), "groups_unlabelled": np.arange(n, n + m)}
    plain, grouped = ols_of(design, method), ols_of(design, method, **groups)
    assert_allclose(grouped.estimate, plain.estimate, rtol=1e-10)
    assert_allclose(grouped.cov, plain.cov, rtol=1e-9)
    assert plain.df is None and grouped.df == n - 1
    plain, grouped = mean_of(design, method), mean_of(design, method, **groups)
    assert_allclose(grouped.estimate, plain.estimate, rtol=1e-10)
    assert plain.influence_values is not None
    squares = plain.influence_values[:, 0] ** 2 / (n + m) ** 2
    factor, factor_u = (1, 1) if method == "predict_then_debias" else (n / (n - 1), m / (m - 1))
    assert_allclose(grouped.cov, squares[:n].sum() * factor + squares[n:].sum() * factor_u, rtol=1e-9)


def test_cluster_variance_by_brute_force() -> None:
    design = designs()["line"]
    y, f, n = design["y"], design["f"], design["n"]
    groups = np.array([f"village {g}" for g in np.random.default_rng(5).integers(0, 25, len(y))])
    own, other = groups[:n], groups[n:]
    parts = (y[:n] - f[:n] - (y[:n] - f[:n]).mean()) / n, (f[n:] - f[n:].mean()) / (len(f) - n)
    sums = [
        {g: part[where == g].sum() for g in np.unique(where)} for part, where in zip(parts, (own, other), strict=True)
    ]
    factor, m = 25 / 24, len(f) - n
    linked = factor * sum((sums[0][g] + sums[1][g]) ** 2 for g in sums[0])
    apart = factor * sum(s**2 for side in sums for s in side.values())
    one_side = factor * sum(s**2 for s in sums[0].values()) + f[n:].var() / m
    both = mean_of(design, "ppi", groups=own, groups_unlabelled=other)
    assert_allclose(both.cov, linked, rtol=1e-9)
    renamed = mean_of(design, "ppi", groups=own, groups_unlabelled=np.char.add(other, " b"))
    assert_allclose(renamed.cov, apart, rtol=1e-9)
    labelled = mean_of(design, "ppi", groups=own)
    assert_allclose(labelled.cov, one_side, rtol=1e-9)
    assert both.df == renamed.df == labelled.df == 24
    assert labelled.dependence == "25 labelled clusters"


def test_tuning_respects_clusters() -> None:
    rng = np.random.default_rng(6)
    cluster = np.arange(2400) % 60
    y = rng.normal(size=2400)
    # Predictions follow the rows well, but all rows of a cluster share a large error.
    design = {"y": y, "f": y + 1.5 * rng.normal(size=60)[cluster], "n": 600}
    # Clusters in blocks: 60 labelled and 60 other ones without labels.
    groups = {"groups": cluster[:600], "groups_unlabelled": 100 + cluster[600:]}
    tuned, rows = mean_of(design, **groups), mean_of(design)
    errors = [mean_of(design, method, **groups).std_error[0] for method in ("classical", "ppi")]
    assert isinstance(tuned.power_tuning, float) and isinstance(rows.power_tuning, float)
    assert tuned.power_tuning < 0.5 * rows.power_tuning
    assert tuned.std_error[0] < 1.01 * min(errors)


# ---------------------------------------------------------------------- treatment effects


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("levels", [(0, 1), ("a", "b", "c")])
def test_effect_is_a_difference_of_arm_means(method: str, levels: tuple[Any, ...]) -> None:
    data = trial(1, n=150, levels=levels)
    rng = np.random.default_rng(8)
    weight, weight_u = rng.uniform(0.5, 2, 150), rng.uniform(0.5, 2, 400)
    result = prediction_powered_ate(**data, method=method, sample_weight=weight, sample_weight_unlabelled=weight_u)
    arms = []
    for level in levels:
        here, there = data["treatment"] == level, data["treatment_unlabelled"] == level
        arms.append(
            prediction_powered_mean(
                data["y"][here],
                data["predictions"][here],
                predictions_unlabelled=data["predictions_unlabelled"][there],
                method=method,
                sample_weight=weight[here],
                sample_weight_unlabelled=weight_u[there],
            )
        )
    assert_allclose(result.estimate, [arm.estimate[0] - arms[0].estimate[0] for arm in arms[1:]], rtol=1e-9)
    expected = np.diag([arm.cov[0, 0] for arm in arms[1:]]) + arms[0].cov[0, 0]
    assert_allclose(result.cov, expected, rtol=1e-8)
    assert result.names == tuple(f"{level} - {levels[0]}" for level in levels[1:])
    if method == "predict_then_debias":
        assert result.tuning_matrix is not None
        assert_allclose(np.diag(result.tuning_matrix), [np.ravel(arm.tuning_matrix)[0] for arm in arms], rtol=1e-8)
    else:
        assert_allclose(result.power_tuning, [arm.power_tuning for arm in arms], rtol=1e-9)


def test_clusters_that_hold_both_arms() -> None:
    data = trial(2)
    rng = np.random.default_rng(9)
    own, other = rng.integers(0, 12, 120), rng.integers(0, 12, 400)
    result = prediction_powered_ate(**data, method="ppi", groups=own, groups_unlabelled=other)
    total = np.zeros(12)
    for level, sign in ((1, 1), (0, -1)):
        here, there = data["treatment"] == level, data["treatment_unlabelled"] == level
        error = (data["y"] - data["predictions"])[here]
        f = data["predictions_unlabelled"][there]
        total += sign * np.bincount(own[here], (error - error.mean()) / len(error), 12)
        total += sign * np.bincount(other[there], (f - f.mean()) / len(f), 12)
    assert_allclose(result.cov, 12 / 11 * total @ total, rtol=1e-9)


# ---------------------------------------------------------------------- bootstrap


@pytest.mark.parametrize("method", METHODS)
def test_bootstrap_agrees_with_the_formula(method: str) -> None:
    # 500 draws leave a standard error of 3 % in the bootstrap's standard error.
    plain, drawn = (mean_of(designs()["line"], method, n_bootstrap=b, random_state=0) for b in (0, 500))
    assert_allclose(drawn.std_error, plain.std_error, rtol=0.12)
    assert_allclose(drawn.estimate, plain.estimate, rtol=1e-12)
    assert drawn.influence_values is None and "bootstrap of 500" in drawn.dependence
    again = mean_of(designs()["line"], method, n_bootstrap=500, random_state=0)
    assert np.array_equal(drawn.cov, again.cov)


def test_bootstrap_of_clusters_and_arms() -> None:
    data = trial(3, n=400, n_unlabelled=1200)
    rng = np.random.default_rng(10)
    shock, cells = rng.normal(size=(40, 2)), np.arange(1600) % 40
    arm = np.concatenate([data["treatment"], data["treatment_unlabelled"]]).astype(int)
    move = shock[cells, arm]
    data["y"] = data["y"] + move[:400]
    data["predictions"], data["predictions_unlabelled"] = (
        data["predictions"] + move[:400],
        data["predictions_unlabelled"] + move[400:],
    )
    groups = {"groups": cells[:400], "groups_unlabelled": cells[400:]}
    formula = prediction_powered_ate(**data, **groups)
    drawn = prediction_powered_ate(**data, **groups, n_bootstrap=400, random_state=1)
    rows = prediction_powered_ate(**data, n_bootstrap=400, random_state=1)
    assert_allclose(drawn.std_error, formula.std_error, rtol=0.2)
    assert drawn.std_error[0] > 1.5 * rows.std_error[0]
    assert drawn.df == 39


def test_bootstrap_that_cannot_work_says_so() -> None:
    # One dummy per cluster: a resample that misses a cluster, as 9996 in 10000 do, is collinear.
    cluster = np.arange(120) % 10
    rng = np.random.default_rng(11)
    design = {"X": np.eye(10)[cluster], "y": rng.normal(size=120), "f": rng.normal(size=120), "n": 50}
    with pytest.raises(ValueError, match="n_bootstrap=5: nine of ten resamples"):
        ols_of(design, groups=cluster[:50], n_bootstrap=5, random_state=0)


# ---------------------------------------------------------------------- simulated truth


def _population(rng: np.random.Generator, n: int, total: int) -> dict[str, Any]:
    x = rng.normal(size=total)
    y = 0.5 + x + (1.0 + 0.2 * np.abs(x)) * rng.normal(size=total)
    f = 1.0 + 0.5 * y + 0.7 * rng.normal(size=total)  # biased, shrunken and noisy
    return {"X": np.column_stack([np.ones(total), x]), "y": y, "f": f, "n": n}


@pytest.mark.parametrize("method", METHODS)
def test_coverage(method: str) -> None:
    repetitions, hits = 250, np.zeros(3)
    for seed in range(repetitions):
        design = _population(np.random.default_rng([20, seed]), 300, 1500)
        mean, line = mean_of(design, method), ols_of(design, method)
        for position, (result, entry, truth) in enumerate(((mean, 0, 0.5), (line, 0, 0.5), (line, 1, 1.0))):
            low, high = result.conf_int().to_numpy()[entry]
            hits[position] += low <= truth <= high
    coverage = hits / repetitions
    print(method, coverage)
    # The published variance of PPI coefficients errs upwards here, because predictions have another slope.
    assert coverage.min() > 0.95 - 3 * np.sqrt(0.95 * 0.05 / repetitions)
    exact = coverage[:1] if method.startswith("ppi") else coverage
    assert exact.max() < 0.95 + 3 * np.sqrt(0.95 * 0.05 / repetitions)


@pytest.mark.parametrize("method", ["ppi++", "predict_then_debias"])
def test_coverage_with_clusters(method: str) -> None:
    repetitions, hits, naive = 250, 0, 0
    cluster, arm = np.arange(1200) % 40, (np.arange(1200) // 40) % 2
    for seed in range(repetitions):
        rng = np.random.default_rng([21, seed])
        y = arm + 0.7 * rng.normal(size=(40, 2))[cluster, arm] + rng.normal(size=1200)
        f = 0.5 * y + 0.4 * rng.normal(size=40)[cluster] + 0.5 * rng.normal(size=1200)
        arguments = {
            "treatment": arm[:320],
            "predictions_unlabelled": f[320:],
            "treatment_unlabelled": arm[320:],
            "method": method,
        }
        groups = {"groups": cluster[:320], "groups_unlabelled": cluster[320:]}
        interval = prediction_powered_ate(y[:320], f[:320], **arguments, **groups).conf_int().to_numpy()[0]
        hits += interval[0] <= 1 <= interval[1]
        interval = prediction_powered_ate(y[:320], f[:320], **arguments).conf_int().to_numpy()[0]
        naive += interval[0] <= 1 <= interval[1]
    coverage = hits / repetitions
    print(method, coverage, naive / repetitions)
    assert abs(coverage - 0.95) < 3 * np.sqrt(0.95 * 0.05 / repetitions)
    assert naive / repetitions < 0.85


# ---------------------------------------------------------------------- bad input


BAD_MEANS: list[tuple[dict[str, Any], str]] = [
    ({"y": np.r_[np.nan, np.ones(29)]}, "y contains NaN"),
    ({"predictions": np.r_[np.ones(29), np.inf]}, "predictions contains NaN or infinity"),
    ({"predictions_unlabelled": np.r_[np.nan, np.ones(9)]}, "predictions_unlabelled contains NaN"),
    ({"predictions": np.ones(31)}, "predictions has 31 rows, but y has 30"),
    ({"predictions": np.ones((30, 2))}, "predictions must be one column"),
    ({"sample_weight": -np.ones(30)}, "sample_weight must not be negative"),
    ({"sample_weight": np.zeros(30)}, "sample_weight must have a positive sum"),
    ({"sample_weight": np.ones(3)}, "sample_weight has 3 rows, but y has 30"),
    ({"sample_weight_unlabelled": np.ones(3)}, "sample_weight_unlabelled has 3 rows"),
    ({"groups": np.zeros(30)}, "groups has 1 cluster"),
    ({"groups_unlabelled": np.zeros(10)}, "groups_unlabelled has 1 cluster"),
    ({"groups": np.arange(4)}, "groups must hold one label per row"),
    ({"sample_weight": np.eye(30)[0]}, "y has 1 labelled rows of positive weight"),
    ({"predictions_unlabelled": [1.0]}, "predictions_unlabelled has 1 unlabelled rows"),
    ({"method": "magic"}, "method must be one of"),
    ({"n_bootstrap": -1}, "n_bootstrap must be an integer"),
    ({"n_bootstrap": 1}, "n_bootstrap must be 0 or at least 2"),
]


@pytest.mark.parametrize(("change", "words"), BAD_MEANS)
def test_bad_input_to_a_mean(change: dict[str, Any], words: str) -> None:
    rng = np.random.default_rng(0)
    arguments = {"y": rng.normal(size=30), "predictions": rng.normal(size=30), "predictions_unlabelled": np.arange(10)}
    with pytest.raises(ValueError, match=words):
        prediction_powered_mean(**(arguments | change))


def test_rows_in_another_order_are_refused() -> None:
    y = pd.Series(np.arange(30.0))
    with pytest.raises(ValueError, match="same index labels in a different order"):
        prediction_powered_mean(y, y[::-1], predictions_unlabelled=y)


def test_bad_regressors() -> None:
    design = {**designs()["line"]}
    X, y, f, n = (design[key] for key in ("X", "y", "f", "n"))
    with pytest.raises(CalibrationError, match="X has collinear columns"):
        ols_of({**design, "X": np.column_stack([X, X.sum(axis=1)])})
    arguments = {"predictions": f[:n], "predictions_unlabelled": f[n:]}
    with pytest.raises(ValueError, match="X_unlabelled must have the columns of X"):
        prediction_powered_ols(X[:n], y[:n], X_unlabelled=X[n:, :1], **arguments)
    frame = pd.DataFrame(X, columns=["one", "x"])
    with pytest.raises(ValueError, match="X_unlabelled must have the columns of X"):
        prediction_powered_ols(frame[:n], y[:n], X_unlabelled=frame[n:][["x", "one"]], **arguments)
    with pytest.raises(ValueError, match=r"y has 299 rows, but X has 300"):
        prediction_powered_ols(X[:n], y[: n - 1], X_unlabelled=X[n:], **arguments)
    result = prediction_powered_ols(frame[:n], y[:n], X_unlabelled=frame[n:], **arguments)
    assert result.names == ("one", "x")


def test_arms_without_labels() -> None:
    data = trial(4, levels=("a", "b", "c"))
    seen = data["treatment"] != "b"
    with pytest.raises(ValueError, match="no labelled row in arm 'b'"):
        prediction_powered_ate(**(data | {key: data[key][seen] for key in ("y", "predictions", "treatment")}))
    seen = data["treatment_unlabelled"] != "c"
    unlabelled = ("predictions_unlabelled", "treatment_unlabelled")
    with pytest.raises(ValueError, match="no row in arm 'c'"):
        prediction_powered_ate(**(data | {key: data[key][seen] for key in unlabelled}))
    with pytest.raises(ValueError, match="single level"):
        prediction_powered_ate(**(data | {"treatment": np.zeros(120)}))


def test_small_samples_warn() -> None:
    data = trial(5, n=60)
    few = (data["treatment"] == 0) | (np.arange(60) < 20)
    labels = {key: data[key][few] for key in ("y", "predictions", "treatment")}
    with pytest.warns(CalibrationWarning, match="10 labelled rows in arm 1, fewer than 20"):
        prediction_powered_ate(**(data | labels))
    with pytest.warns(CalibrationWarning, match=r"groups has 6 clusters.*G−1"):
        result = prediction_powered_ate(**data, groups=np.arange(60) // 10)
    assert result.df == 5


def test_result_speaks_for_itself() -> None:
    result = mean_of(designs()["line"])
    assert "method ppi++, power tuning 0.983" in repr(result)
    assert json.loads(json.dumps(result.to_dict()))["power_tuning"] == result.power_tuning
    debiased = ols_of(designs()["line"], "predict_then_debias")
    assert np.shape(json.loads(json.dumps(debiased.to_dict()))["tuning_matrix"]) == (2, 2)
    slope = result.contrast([[2.0]])
    assert_allclose(slope.std_error, 2 * result.std_error)
