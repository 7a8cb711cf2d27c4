"""TOC, AUTOC and QINI against closed forms and brute force; half-samples against the spread over samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from causalkit.selection import toc


def brute(scores: Any, order: Any, weight: Any) -> tuple[float, float]:
    """Areas as sums over rows in the given order."""
    total, overall = weight.sum(), np.average(scores, weights=weight)
    autoc = qini = covered = 0.0
    for k, row in enumerate(order):
        covered += weight[row]
        top = order[: k + 1]
        gain = np.average(scores[top], weights=weight[top]) - overall
        autoc += weight[row] / total * gain
        qini += weight[row] / total * covered / total * gain
    return autoc, qini


@pytest.mark.parametrize("n", [20, 1000])
def test_uniform_scores_ranked_by_themselves(n: int) -> None:
    """Γ = S on the midpoints of n cells: AUTOC = 1/4 - 1/(4n), QINI = 1/12 - 1/(12n²), TOC(q) = (1 - q)/2."""
    score = (np.random.default_rng(0).permutation(n) + 0.5) / n
    curve = toc(score, score, n_points=20, n_bootstrap=10, random_state=0)
    assert curve.autoc == pytest.approx(1 / 4 - 1 / (4 * n), abs=1e-13)
    assert curve.qini == pytest.approx(1 / 12 - 1 / (12 * n**2), abs=1e-13)
    assert_allclose(curve.toc, (1 - curve.share) / 2, atol=1e-13)
    reverse = toc(score, -score, n_points=20, n_bootstrap=10, random_state=0)
    assert_allclose(reverse.toc, -(1 - curve.share) / 2, atol=1e-13)


def test_uniform_draws_meet_one_quarter_and_one_twelfth() -> None:
    score = np.random.default_rng(1).random(20_000)
    curve = toc(score, score, random_state=0)
    assert curve.autoc == pytest.approx(1 / 4, abs=4 * curve.autoc_std_error)
    assert curve.qini == pytest.approx(1 / 12, abs=4 * curve.qini_std_error)
    assert curve.autoc_std_error < 0.002


def test_areas_are_sums_over_rows() -> None:
    rng = np.random.default_rng(2)
    scores, priority, weight = rng.normal(size=30), rng.normal(size=30), rng.random(30) + 0.1
    curve = toc(scores, priority, sample_weight=weight, n_bootstrap=5, random_state=0)
    assert_allclose([curve.autoc, curve.qini], brute(scores, np.argsort(-priority), weight), rtol=1e-12)


def test_ties_share_their_mean_over_random_orders() -> None:
    rng = np.random.default_rng(3)
    scores, priority = rng.normal(size=12), rng.integers(0, 3, 12).astype(float)
    curve = toc(scores, priority, n_bootstrap=5, n_points=12, random_state=0)
    ones = np.ones(12)
    areas = [brute(scores, np.lexsort((rng.random(12), -priority)), ones) for _ in range(4000)]
    error = np.std(areas, axis=0) / np.sqrt(4000)
    assert_allclose([curve.autoc, curve.qini], np.mean(areas, axis=0), atol=4 * error.max())
    constant = toc(scores, np.ones(12), n_bootstrap=5, random_state=0)
    assert_allclose([constant.autoc, constant.qini], 0.0, atol=1e-15)
    assert_allclose(constant.std_error, 0.0, atol=1e-15)


def test_ranks_are_taken_within_folds() -> None:
    """Levels of a fold do not count: adding a constant to the priorities of a fold changes nothing."""
    rng = np.random.default_rng(4)
    scores, priority, folds = rng.normal(size=60), rng.normal(size=60), np.arange(60) % 3
    first = toc(scores, priority, folds=folds, n_bootstrap=10, random_state=0)
    second = toc(scores, priority + 100.0 * folds, folds=folds, n_bootstrap=10, random_state=0)
    assert_allclose(second.toc, first.toc, atol=1e-14)
    assert_allclose([second.autoc, second.autoc_std_error], [first.autoc, first.autoc_std_error], atol=1e-14)
    # By hand: rows with the same rank in folds of one size tie.
    rank = np.empty(60)
    for k in range(3):
        rank[folds == k] = stats.rankdata(priority[folds == k])
    assert toc(scores, rank, n_bootstrap=10).autoc == pytest.approx(first.autoc, abs=1e-13)


@pytest.mark.parametrize("clustered", [False, True])
def test_half_sample_errors_are_the_spread_over_samples(clustered: bool) -> None:
    areas, errors = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        priority = rng.normal(size=100)
        scores = 0.5 * priority + rng.normal(size=100)
        groups = None
        if clustered:  # every row three times: no more information
            priority, scores, groups = np.repeat(priority, 3), np.repeat(scores, 3), np.repeat(np.arange(100), 3)
        curve = toc(scores, priority, groups=groups, n_bootstrap=100, random_state=seed)
        areas.append([curve.autoc, curve.qini, curve.toc[29]])
        errors.append([curve.autoc_std_error, curve.qini_std_error, curve.std_error[29]])
    # A standard deviation of 150 draws has a relative error of 1/√300, about 6 %; halves of 100 rows add a little.
    assert_allclose(np.mean(errors, axis=0) / np.std(areas, axis=0), 1.0, atol=0.23)


def test_rate_and_bands() -> None:
    rng = np.random.default_rng(5)
    scores = rng.normal(size=200)
    curve = toc(scores, scores + rng.normal(size=200), n_points=10, random_state=0)
    for metric in ("autoc", "qini"):
        rate = curve.rate(metric)
        assert rate.estimate[0] == getattr(curve, metric)
        assert rate.std_error[0] == pytest.approx(getattr(curve, f"{metric}_std_error"), rel=1e-12)
        assert rate.dependence == "half-sample bootstrap over 200 rows"
    single, joint = curve.conf_band(), curve.conf_band(joint=True)
    assert_allclose(single["upper"] - single["toc"], stats.norm.ppf(0.975) * curve.std_error, rtol=1e-12)
    assert (joint["upper"] - single["upper"]).iloc[:-1].min() > 0
    largest = (np.abs(curve.bootstrap[:, :9]) / curve.std_error[:9]).max(axis=1)
    width = (joint["upper"] - joint["toc"]).to_numpy()[:9] / curve.std_error[:9]
    assert_allclose(width, np.quantile(largest, 0.95), rtol=1e-10)
    assert single["toc"].iloc[-1] == pytest.approx(0.0, abs=1e-14)
    with pytest.raises(ValueError, match="metric must be one of"):
        curve.rate("auc")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: toc([1.0, 2.0], [1.0, 2.0, 3.0]), "priorities has 3 rows, but scores has 2"),
        (lambda: toc([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), "scores has 3 rows: half-samples need at least four"),
        (lambda: toc(np.ones(6), np.ones(6), groups=[0, 0, 1, 1, 2, 2]), "groups has 3 clusters"),
        (lambda: toc([1.0, np.inf], [1.0, 2.0]), "scores contains NaN or infinity"),
        (lambda: toc(np.ones(6), np.ones(6), n_points=0), "n_points must be an integer"),
        (lambda: toc(np.ones(6), np.ones(6), n_bootstrap=1), "n_bootstrap must be an integer"),
        (lambda: toc(np.ones(6), np.ones(6), folds=[1, 2]), "folds must hold one label per row"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
