"""Ranking measures against brute force, closed forms of Gaussian scores, other implementations and refits."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.metrics import ndcg_score, roc_auc_score

from causalkit.selection import best_of_n_uplift, pairwise_accuracy, ranking_report
from causalkit.selection.pair_counts import count_pairs

FEW = settings(max_examples=40, deadline=None, derandomize=True)
SEEDS = st.integers(0, 100_000)


def small(seed: int, n: int = 14) -> tuple[Any, Any, Any, Any]:
    """Truth and score with ties, strata and prompts."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 6, n) / 2
    truth[:2] = 0.0, 1.0
    return truth, rng.integers(0, 5, n) - 2.0, np.append([0, 0], rng.integers(0, 3, n - 2)), rng.permutation(n) % 4


def brute_accuracy(truth: Any, score: Any, strata: Any) -> float:
    won, total = 0.0, 0
    for i, j in combinations(range(len(truth)), 2):
        if strata[i] != strata[j] or truth[i] == truth[j]:
            continue
        total += 1
        product = (truth[i] - truth[j]) * (score[i] - score[j])
        won += 1.0 if product > 0 else 0.5 if product == 0 else 0.0
    return won / total if total else np.nan


def brute_uplift(truth: Any, score: Any, n: int) -> float:
    """Every subset of n rows, the truth of its best scored rows averaged."""
    gains = []
    for subset in combinations(range(len(truth)), n):
        rows = np.array(subset)
        best = rows[score[rows] == score[rows].max()]
        # Of tied rows each is as likely to be the last in a random order of ties, over all rows of the tie.
        gains.append(truth[best].mean())
    return float(np.mean(gains) - truth.mean())


def brute_report(truth: Any, score: Any, strata: Any, n: int, floor: float) -> dict[str, float]:
    uplift = brute_uplift(truth, score, n)
    return {
        "pair_accuracy": brute_accuracy(truth, score, np.zeros(len(truth))),
        "within_stratum_accuracy": brute_accuracy(truth, score, strata),
        "kendall_tau": stats.kendalltau(truth, score).statistic,
        "ndcg": ndcg_score([truth - floor], [score]),
        f"uplift_{n}": uplift,
        f"regret_{n}": brute_uplift(truth, truth, n) - uplift,
        "calibration_slope": np.polyfit(score, truth, 1)[0],
    }


@FEW
@given(seed=SEEDS)
def test_accuracy_is_the_share_of_pairs(seed: int) -> None:
    truth, score, strata, _ = small(seed)
    assert pairwise_accuracy(truth, score) == pytest.approx(brute_accuracy(truth, score, np.zeros(14)), abs=1e-14)
    expected = brute_accuracy(truth, score, strata)
    assert pairwise_accuracy(truth, score, strata=strata) == pytest.approx(expected, abs=1e-14)


@FEW
@given(seed=SEEDS)
def test_counts_of_every_row(seed: int) -> None:
    truth, score, strata, _ = small(seed)
    counts = count_pairs(truth, score, strata)
    mates = (strata[:, None] == strata) & ~np.eye(14, dtype=bool)
    same_truth, same_score = truth[:, None] == truth, score[:, None] == score
    against = (truth[:, None] - truth) * (score[:, None] - score) < 0
    for found, where in (
        (counts.pairs, mates),
        (counts.same_truth, mates & same_truth),
        (counts.same_score, mates & same_score),
        (counts.same_both, mates & same_truth & same_score),
        (counts.discordant, mates & against),
    ):
        assert_allclose(found, where.sum(axis=1), atol=0)


@FEW
@given(seed=SEEDS, n=st.integers(1, 6))
def test_uplift_is_the_mean_over_all_subsets(seed: int, n: int) -> None:
    truth, score, _, _ = small(seed, 10)
    assert best_of_n_uplift(truth, score, n) == pytest.approx(brute_uplift(truth, score, n), abs=1e-12)


@FEW
@given(seed=SEEDS, n=st.integers(1, 10))
def test_increasing_maps_of_the_score_do_not_matter(seed: int, n: int) -> None:
    truth, score, strata, _ = small(seed, 10)
    moved = np.exp(3 * score) - 7
    assert best_of_n_uplift(truth, moved, n) == best_of_n_uplift(truth, score, n)
    assert pairwise_accuracy(truth, moved, strata=strata) == pairwise_accuracy(truth, score, strata=strata)
    assert best_of_n_uplift(5 - 2 * truth, score, n) == pytest.approx(-2 * best_of_n_uplift(truth, score, n), abs=1e-12)
    assert pairwise_accuracy(truth, -score) == pytest.approx(1 - pairwise_accuracy(truth, score), abs=1e-14)


@FEW
@given(seed=SEEDS)
def test_rows_may_come_in_any_order(seed: int) -> None:
    truth, score, strata, prompts = small(seed)
    order = np.random.default_rng(seed).permutation(14)
    first = ranking_report(truth, score, prompts=prompts, strata=strata, n=3)
    second = ranking_report(truth[order], score[order], prompts=prompts[order], strata=strata[order], n=3)
    assert_allclose(second.to_numpy(), first.to_numpy(), atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_uplift_of_one_of_two_and_of_all(n: int) -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=40)
    expected = {1: 0.0, 2: np.abs(truth[:, None] - truth).sum() / (2 * 40 * 39), 40: truth.max() - truth.mean()}
    if n in expected:
        assert best_of_n_uplift(truth, truth, n) == pytest.approx(expected[n], abs=1e-12)
    assert best_of_n_uplift(truth, np.zeros(40), n) == pytest.approx(0.0, abs=1e-12)


def test_binary_truth_is_the_area_under_the_curve() -> None:
    rng = np.random.default_rng(0)
    truth, score = rng.integers(0, 2, 500), rng.integers(0, 30, 500)
    assert pairwise_accuracy(truth, score) == pytest.approx(roc_auc_score(truth, score), abs=1e-13)


@pytest.mark.parametrize(
    ("w", "rho", "accuracy", "best_of_8"),
    [
        ((1.8, -0.1, -0.75, 0.0), 0.8797, 0.8423, 1.6860),
        ((0.6, 0.8, -0.75, 0.0), 0.9285, 0.8789, 1.7795),
        ((0.8, 0.65, -0.75, 0.0), 0.9833, 0.9417, 1.8845),
        ((1.0, 0.5, -0.75, 0.0), 1.0, 1.0, 1.9166),
    ],
)
def test_gaussian_texts_meet_their_closed_forms(w: Any, rho: float, accuracy: float, best_of_8: float) -> None:
    r"""½ + asin(ρ)/π and ρ|θ|e_n for texts N(0, I), e_n the mean of the largest of n normal draws."""
    theta = np.array([1.0, 0.5, -0.75, 0.0])
    X = np.random.default_rng(7).normal(size=(10_000, 4))
    truth, score = X @ theta, X @ np.array(w)
    report = ranking_report(truth, score, n=(2, 4, 8, 16, 64))
    assert np.isclose(theta @ w / (np.linalg.norm(w) * np.linalg.norm(theta)), rho, atol=1e-4)
    error = report["standard_error"]
    assert report.loc["pair_accuracy", "estimate"] == pytest.approx(accuracy, abs=4 * error["pair_accuracy"] + 1e-4)
    assert report.loc["uplift_8", "estimate"] == pytest.approx(best_of_8, abs=4 * error["uplift_8"] + 1e-4)
    for n, e_n in zip((2, 4, 8, 16, 64), (0.56419, 1.02938, 1.42360, 1.76599, 2.34373), strict=True):
        exact = rho * np.linalg.norm(theta) * e_n
        assert report.loc[f"uplift_{n}", "estimate"] == pytest.approx(exact, abs=4 * error[f"uplift_{n}"] + 2e-4)


@pytest.mark.parametrize("seed", range(4))
def test_report_and_its_jackknife_are_refits(seed: int) -> None:
    truth, score, strata, prompts = small(seed)
    full = brute_report(truth, score, strata, 3, truth.min())
    kept = [prompts != g for g in range(4)]
    left = [brute_report(truth[k], score[k], strata[k], 3, truth.min()) for k in kept]
    report = ranking_report(truth, score, prompts=prompts, strata=strata, n=3)
    assert report.index.tolist() == list(full)
    for name, value in full.items():
        values = np.array([fit[name] for fit in left])
        error = np.sqrt(3 / 4 * ((values - values.mean()) ** 2).sum())
        assert_allclose(report.loc[name].to_numpy(dtype=float), [value, error], atol=1e-10)
    assert report.attrs["n_prompts"] == 4
    assert report.attrs["n_pairs"] == sum(truth[i] != truth[j] for i, j in combinations(range(14), 2))


def test_errors_cover_where_rows_of_a_prompt_belong_together() -> None:
    """One text repeated four times per prompt: the error by prompts is that of distinct texts, twice that by rows."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=150)
    score = truth + rng.normal(size=150)
    four, prompts = (np.repeat(truth, 4), np.repeat(score, 4)), np.repeat(np.arange(150), 4)
    single = ranking_report(truth, score)["standard_error"]
    by_prompt = ranking_report(*four, prompts=prompts)["standard_error"]
    by_row = ranking_report(*four)["standard_error"]
    for name in ("pair_accuracy", "kendall_tau", "calibration_slope"):
        assert by_prompt[name] == pytest.approx(single[name], rel=0.02)
        assert by_row[name] == pytest.approx(single[name] / 2, rel=0.25)


def test_jackknife_errors_are_the_spread_over_samples() -> None:
    estimates, errors = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=300)
        report = ranking_report(truth, truth + rng.normal(size=300), n=4)
        estimates.append(report["estimate"])
        errors.append(report["standard_error"])
    spread, mean_error = pd.DataFrame(estimates).std(), pd.DataFrame(errors).mean()
    # A standard deviation of 60 draws has a relative error of 1/√118, about 9 %.
    assert_allclose(mean_error / spread, 1.0, atol=4 * 0.092)


def test_constant_score_ranks_like_a_coin() -> None:
    report = ranking_report([1.0, 2.0, 5.0, 3.0], np.ones(4), n=2)
    assert report.loc["pair_accuracy", "estimate"] == 0.5
    assert report.loc["uplift_2", "estimate"] == pytest.approx(0.0, abs=1e-15)
    assert np.isnan(report.loc[["kendall_tau", "calibration_slope"], "estimate"]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pairwise_accuracy([1, 1], [1, 2]), "truth orders nothing: no two rows have different values"),
        (lambda: pairwise_accuracy([1, 2], [1, 2], strata=["a", "b"]), "no two rows of the same stratum"),
        (lambda: pairwise_accuracy([1, 2], [1, 2, 3]), "score has 3 rows, but truth has 2"),
        (lambda: pairwise_accuracy([1, np.nan], [1, 2]), "truth contains NaN or infinity in 1 of 2 rows"),
        (lambda: best_of_n_uplift([1, 2], [1, 2], 3), "n is 3 candidates, but truth has 2 rows"),
        (lambda: best_of_n_uplift([1, 2], [1, 2], 0), "n must be an integer at least 1; got 0"),
        (lambda: best_of_n_uplift([1, 2], [1, 2], 1.5), "n must be an integer at least 1; got 1.5"),
        (lambda: ranking_report([1, 2], [1, 2], n=(1, 3)), "n is 3 candidates"),
        (lambda: ranking_report([1, 2], [1, 2], prompts=[0, 0], n=1), "prompts has 1 distinct value"),
        (lambda: ranking_report([1, 2], [1, 2], strata=[0, 1], n=1), "strata leave no pair"),
        (lambda: ranking_report([1, 1], [1, 2], n=1), "truth orders nothing: all rows"),
        (lambda: ranking_report([1, 2], [1, 2], strata=[0], n=1), "strata must hold one label per row"),
        (
            lambda: pairwise_accuracy(pd.Series([1, 2], index=[0, 1]), pd.Series([1, 2], index=[1, 0])),
            "same index labels in a different order",
        ),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_names_are_lazy_and_listed() -> None:
    import causalkit.selection as selection

    assert set(selection.__all__) <= set(dir(selection))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        selection.nonsense  # noqa: B018
