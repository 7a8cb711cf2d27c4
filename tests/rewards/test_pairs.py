"""Preference pairs: rules against brute force, even draws, counts that add up, shares of a confounded marker."""

from __future__ import annotations

import pickle
import re
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from causalkit.exceptions import IdentificationError
from causalkit.rewards.pair_candidates import count_candidates, pair_of_number, shuffled_numbers
from causalkit.rewards.pairs import make_preference_pairs
from causalkit.rewards.records import Factor

FEW = settings(max_examples=40, deadline=None, derandomize=True)
SEEDS = st.integers(0, 100_000)
COLUMNS = ["prompt", "chosen", "rejected", "margin", "chosen_row", "rejected_row", "standard_error"]


def rows_of(frame: pd.DataFrame) -> set[tuple[int, int]]:
    return set(zip(frame["chosen_row"].tolist(), frame["rejected_row"].tolist(), strict=True))


def log(seed: int, n: int = 30) -> tuple[Any, Any, Any]:
    """Rewards with ties, prompts, standard errors."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 12, n) / 4, rng.integers(0, 6, n), rng.uniform(0.05, 0.4, n)


@FEW
@given(seed=SEEDS, min_gap=st.sampled_from([0.0, 0.6]), min_z=st.sampled_from([0.0, 1.5]))
def test_pairs_are_those_that_pass_the_rules(seed: int, min_gap: float, min_z: float) -> None:
    R, prompts, se = log(seed)
    frame = make_preference_pairs(
        R,
        prompts=prompts,
        standard_error=se,
        noise_variance=0.04,
        min_gap=min_gap,
        min_z=min_z,
        max_pairs_per_prompt=None,
    )
    expected = set()
    for i, j in combinations(range(30), 2):
        error = np.sqrt(se[i] ** 2 + se[j] ** 2 + 2 * 0.04)
        gap = abs(R[i] - R[j])
        if prompts[i] == prompts[j] and gap > min_gap and gap > min_z * error:
            expected.add((i, j) if R[i] > R[j] else (j, i))
    assert rows_of(frame) == expected
    assert len(frame) == len(expected)
    c, r = frame["chosen_row"].to_numpy(), frame["rejected_row"].to_numpy()
    assert_allclose(frame["standard_error"], np.sqrt(se[c] ** 2 + se[r] ** 2 + 0.08), rtol=1e-12)
    assert_allclose(frame["margin"], (R[c] - R[r]) / np.std(R[c] - R[r]), rtol=1e-10)
    assert (frame["prompt"] == prompts[c]).all()


@FEW
@given(seed=SEEDS, most=st.integers(1, 4), scope=st.sampled_from(["prompt", "stratum", "global"]))
def test_counts_add_up_and_caps_hold(seed: int, most: int, scope: str) -> None:
    R, labels, _ = log(seed)
    units = {"prompt": labels, "stratum": labels, "global": np.zeros(30, dtype=int)}[scope]
    given_labels: dict[str, Any] = {"prompt": {"prompts": labels}, "stratum": {"strata": labels}, "global": {}}[scope]
    frame = make_preference_pairs(
        R, scope=scope, min_gap=0.3, max_pairs_per_prompt=most, random_state=seed, **given_labels
    )
    sizes = np.bincount(units)
    tied = sum(R[i] == R[j] and units[i] == units[j] for i, j in combinations(range(30), 2))
    close = sum(0 < abs(R[i] - R[j]) <= 0.3 and units[i] == units[j] for i, j in combinations(range(30), 2))
    candidates = int((sizes * (sizes - 1) // 2).sum())
    assert frame.attrs["candidates"] == candidates
    assert frame.attrs["kept"] + sum(frame.attrs["dropped"].values()) == candidates
    assert frame.attrs["dropped"]["tie"] == tied
    assert frame.attrs["dropped"]["min_gap"] == close
    used = units[frame["chosen_row"]]
    assert (used == units[frame["rejected_row"]]).all()
    allowed = np.full(len(sizes), most) if scope == "prompt" else most * sizes
    good = {
        u: sum(abs(R[i] - R[j]) > 0.3 for i, j in combinations(np.flatnonzero(units == u), 2))
        for u in range(len(sizes))
    }
    # Whatever the order of draws, a unit gives as many pairs as pass, up to the cap.
    assert np.bincount(used, minlength=len(sizes)).tolist() == [min(good[u], allowed[u]) for u in range(len(sizes))]
    assert len(rows_of(frame)) == len(frame)


@pytest.mark.parametrize("n", [12, 200])
def test_draws_are_even_whether_enumerated_or_not(n: int) -> None:
    """Each passing pair is as likely as any other: small and large gaps, early and late rows."""
    R = np.arange(float(n))
    cap, repeats = 20, 400
    observed = np.zeros((n, n))
    for seed in range(repeats):
        frame = make_preference_pairs(
            R, prompts=np.zeros(n), min_gap=1.5, max_pairs_per_prompt=cap, random_state=np.random.default_rng(seed)
        )
        observed[frame["rejected_row"], frame["chosen_row"]] += 1
    i, j = np.triu_indices(n, 2)
    assert observed.sum() == observed[i, j].sum() == cap * repeats
    cell = 2 * (j - i > n // 3) + (j > n // 2)
    expected = np.bincount(cell) * cap * repeats / len(i)
    # Draws without replacement vary less than the multinomial, so the test is conservative.
    assert stats.chisquare(np.bincount(cell, observed[i, j]), expected).pvalue > 1e-3
    assert observed[i, j].max() <= repeats


def test_shuffled_numbers_are_a_permutation_and_numbers_are_pairs() -> None:
    keys = np.random.default_rng(0).integers(0, 2**63, 6, dtype=np.uint64)
    for total in (1, 2, 3, 45, 1000, 4097):
        assert np.sort(shuffled_numbers(np.arange(total), total, keys)).tolist() == list(range(total))
    moved = shuffled_numbers(np.arange(4097), 4097, keys)
    assert abs(np.corrcoef(moved, np.arange(4097))[0, 1]) < 4 / np.sqrt(4097)
    i, j = pair_of_number(np.arange(45))
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [(a, b) for b in range(10) for a in range(b)]
    # The last pair of a billion rows and the first one of the next: the square root is not exact there.
    m = 10**9
    i, j = pair_of_number(np.array([m * (m - 1) // 2 - 1, m * (m - 1) // 2]))
    assert (i.tolist(), j.tolist()) == ([m - 2, 0], [m - 1, m])


def test_many_candidates_are_never_enumerated() -> None:
    """100 000 rows have 5 billion pairs: only those that are asked for are made."""
    R = np.random.default_rng(0).normal(size=100_000)
    frame = make_preference_pairs(R, scope="global", max_pairs_per_prompt=2, random_state=0)
    assert frame.attrs["candidates"] == 100_000 * 99_999 // 2 == count_candidates(np.zeros(100_000, dtype=int))
    assert len(frame) == len(rows_of(frame)) == 200_000
    again = make_preference_pairs(R, scope="global", max_pairs_per_prompt=2, random_state=0)
    pd.testing.assert_frame_equal(frame, again)
    other = make_preference_pairs(R, scope="global", max_pairs_per_prompt=2, random_state=1)
    # Two independent draws of 200 000 of 5 billion pairs share 8 on average.
    assert len(rows_of(frame) & rows_of(other)) < 30


def test_search_ends_where_next_to_nothing_passes() -> None:
    R = np.zeros(2000)
    R[0] = 1.0
    frame = make_preference_pairs(R, scope="global", max_pairs_per_prompt=10, random_state=0)
    looked_at = frame.attrs["dropped"]["tie"] + len(frame)
    assert looked_at == 20 * 10 * 2000
    assert set(frame["chosen_row"]) == {0}
    # 400 000 of 1 999 000 pairs were seen, so about a fifth of the 1999 that pass: binomial within 4 sd.
    assert len(frame) == pytest.approx(400, abs=4 * np.sqrt(400 * 0.8))


def test_columns_and_their_contents() -> None:
    frame = make_preference_pairs(
        [1.0, 3.0, 2.0, 0.0], prompts=["p", "p", "q", "q"], texts=pd.Series(["a", "b", "c", "d"]), margin_scale=4.0
    )
    assert frame.columns.tolist() == COLUMNS
    assert frame.drop(columns="standard_error").to_numpy().tolist() == [
        ["p", "b", "a", 0.5, 1, 0],
        ["q", "c", "d", 0.5, 2, 3],
    ]
    assert frame["standard_error"].isna().all()
    assert frame.attrs["margin_scale"] == 4.0


def test_prompt_is_empty_where_rows_do_not_share_it() -> None:
    frame = make_preference_pairs([1.0, 2.0, 3.0], prompts=["p", "p", "q"], scope="global")
    assert len(frame) == 3
    shared = (frame["chosen_row"] == 1) & (frame["rejected_row"] == 0)
    assert frame.loc[shared, "prompt"].tolist() == ["p"]
    assert frame.loc[~shared, "prompt"].tolist() == ["", ""]
    without = make_preference_pairs([1.0, 2.0], scope="global")
    assert without["prompt"].tolist() == [""]
    assert without["chosen"].tolist() == [None]


def test_margin_of_equal_gaps_is_one() -> None:
    assert make_preference_pairs([0.1, 0.4], prompts=[0, 0])["margin"].tolist() == [1.0]
    frame = make_preference_pairs([0.1, 0.4, 0.2, 0.5], prompts=[0, 0, 1, 1])
    assert_allclose(frame["margin"], 1.0, rtol=1e-12)


def test_errors_of_pairs_as_a_function() -> None:
    """Exact pair errors: of two rows with correlated rewards the error is not the root of a sum of squares."""
    covariance = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])

    def errors(i: Any, j: Any) -> Any:
        return np.sqrt(covariance[i, i] + covariance[j, j] - 2 * covariance[i, j])

    R = [0.0, 0.6, 1.3]
    frame = make_preference_pairs(R, prompts=[0, 0, 0], standard_error=errors, min_z=1.0)
    # sqrt(.2) = .447 < .6; sqrt(2) = 1.414 > 1.3 and > .7.
    assert rows_of(frame) == {(1, 0)}
    assert_allclose(frame["standard_error"], np.sqrt(0.2))
    noisy = make_preference_pairs(R, prompts=[0, 0, 0], standard_error=errors, noise_variance=0.5, min_z=0.5)
    # With noise the errors are sqrt(1.2) = 1.095 and sqrt(3) = 1.732: halves of .548 and .866.
    assert rows_of(noisy) == {(1, 0), (2, 0)}


@pytest.mark.parametrize("encoded", [False, True])
def test_robust_pairs_exceed_the_bias_bound(encoded: bool) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(25, 3))
    root = rng.normal(size=(3, 3))
    sigma = root @ root.T + np.eye(3)
    table = {f"text {k}": row for k, row in enumerate(X)}
    estimator = SimpleNamespace(feature_residual_covariance_=sigma, residual_variance_=0.7, encoder_=None)
    features: Any = X
    if encoded:
        estimator.encoder_ = lambda texts: np.array([table[text] for text in texts])
        features = list(table)
    R = 2 * rng.normal(size=25)
    prompts = np.arange(25) % 3
    frame = make_preference_pairs(R, prompts=prompts, robust=(estimator, features, 0.1, 0.2), max_pairs_per_prompt=None)
    expected, lost = set(), 0
    for i, j in combinations(range(25), 2):
        if prompts[i] != prompts[j]:
            continue
        q = X[i] - X[j]
        bound = np.sqrt(0.1 * 0.2 / 0.8 * 0.7 * (q @ np.linalg.inv(sigma) @ q))
        if abs(R[i] - R[j]) > bound:
            expected.add((i, j) if R[i] > R[j] else (j, i))
        else:
            lost += 1
    assert rows_of(frame) == expected
    assert frame.attrs["dropped"]["robust"] == lost > 0


def test_unpaired_rows_are_thirds_of_prompts() -> None:
    rewards = [5, 1, 3, 2, 4, 6, 0.5, 1.5, 9, 7, 7, 7]
    prompts = [0] * 6 + [1] * 2 + [2] + [3] * 3
    frame = make_preference_pairs(rewards, prompts=prompts, texts=list("abcdefghijkl"), output="unpaired")
    assert frame.columns.tolist() == ["prompt", "completion", "label"]
    assert frame.to_numpy().tolist() == [
        [0, "a", True],
        [0, "b", False],
        [0, "d", False],
        [0, "f", True],
        [1, "g", False],
        [1, "h", True],
    ]
    assert frame.attrs["dropped"] == {"single": 1, "min_gap": 3, "middle": 2}
    assert frame.attrs["kept"] + sum(frame.attrs["dropped"].values()) == 12 == frame.attrs["candidates"]
    wide = make_preference_pairs(rewards, prompts=prompts, output="unpaired", min_gap=1.0)
    assert wide["prompt"].unique().tolist() == [0]


def test_scalar_rows_are_all_rows() -> None:
    frame = make_preference_pairs([1.0, 2.0], texts=["a", "b"], output="scalar")
    assert frame.to_dict("list") == {"prompt": ["", ""], "completion": ["a", "b"], "reward": [1.0, 2.0]}
    assert make_preference_pairs([1.0, 2.0], prompts=["p", "q"], output="scalar")["prompt"].tolist() == ["p", "q"]


def test_share_of_prompts_in_which_confounders_vary() -> None:
    confounders = pd.DataFrame(
        {"author": ["a", "a", "b", "b"], "hour": [1, 2, 3, 3], "gap": [np.nan, 1, np.nan, np.nan]}
    )
    frame = make_preference_pairs([1, 2, 3, 4], prompts=["p", "p", "q", "q"], confounders=confounders)
    assert frame.attrs["confounder_variation"] == {"author": 0.0, "hour": 0.5, "gap": 0.5}
    joined = pd.concat([frame, frame])
    assert len(joined) == 4
    assert pickle.loads(pickle.dumps(frame)).attrs == frame.attrs


def test_inputs_of_other_kinds_give_the_same_pairs() -> None:
    R, prompts, se = log(4)
    frame = make_preference_pairs(R, prompts=prompts, standard_error=se, random_state=1)
    for convert in (pd.Series, pl.Series, list):
        same = make_preference_pairs(convert(R), prompts=convert(prompts), standard_error=convert(se), random_state=1)
        pd.testing.assert_frame_equal(same, frame, check_dtype=False)
    factor = Factor("c", prompts.astype(np.intp), np.arange(6))
    by_factor = make_preference_pairs(R, scope="stratum", strata=factor, max_pairs_per_prompt=None)
    by_labels = make_preference_pairs(R, scope="stratum", strata=prompts.astype(str), max_pairs_per_prompt=None)
    assert rows_of(by_factor) == rows_of(by_labels)


def test_weekday_marker_wins_half_of_its_pairs_after_adjustment() -> None:
    """Raw shares are the mean over the other days of Φ(Δ/2); after fixed effects of the weekday they are one half."""
    from causalkit.rewards.deconfounder import RewardDeconfounder

    effects = np.array([0.5, 0.3, 0.2, 0.1, -0.4, -0.35, -0.35])
    rng = np.random.default_rng(0)
    question, day = np.repeat(np.arange(5000), 3), rng.integers(0, 7, 15_000)
    quality = rng.normal(size=15_000)
    y = quality + effects[day] + rng.normal(size=15_000)
    confounders = pd.DataFrame({"weekday": day.astype(str)})
    model = RewardDeconfounder(method="fixed_effects").fit(quality[:, None], y, confounders=confounders)
    for rewards, centre in ((y, effects), (model.adjusted_reward_, np.zeros(7))):
        frame = make_preference_pairs(rewards, prompts=question, confounders=confounders)
        assert len(frame) == 15_000
        chosen, rejected = day[frame["chosen_row"]], day[frame["rejected_row"]]
        for marked in (0, 4):
            won, lost = (chosen == marked) & (rejected != marked), (rejected == marked) & (chosen != marked)
            others = np.delete(centre, marked)
            expected = stats.norm.cdf((centre[marked] - others) / 2).mean()
            n_pairs = won.sum() + lost.sum()
            assert n_pairs == pytest.approx(15_000 * 2 * 6 / 49, rel=0.1)
            assert won.sum() / n_pairs == pytest.approx(expected, abs=4 * 0.009)
        # Three answers on one weekday: 1 in 49 questions.
        share = frame.attrs["confounder_variation"]["weekday"]
        assert share == pytest.approx(48 / 49, abs=4 * np.sqrt(48 / 49**2 / 5000))


R, P = [1.0, 2.0, 2.0, 4.0], ["p", "p", "p", "q"]
FITTED = SimpleNamespace(feature_residual_covariance_=np.eye(2), residual_variance_=1.0)
FLAT = SimpleNamespace(feature_residual_covariance_=np.zeros((2, 2)), residual_variance_=1.0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, 'scope="prompt" needs prompts'),
        ({"scope": "stratum", "prompts": P}, ValueError, 'scope="stratum" needs strata'),
        ({"prompts": P, "strata": P}, ValueError, 'strata has no part in scope="prompt"'),
        ({"prompts": P, "min_gap": 5}, ValueError, "no pair survives of 3 candidates.*tie 1, min_gap 2, cap 0"),
        (
            {"prompts": P, "standard_error": [9.0] * 4, "min_z": 2},
            ValueError,
            "no pair survives of 3 candidates.*tie 1, min_gap 0, min_z 2",
        ),
        ({"prompts": ["a", "b", "c", "d"]}, ValueError, "no pair survives of 0 candidates"),
        ({"prompts": P, "ties": "error"}, ValueError, r"rewards are tied in 1 .* \(first: rows 1 and 2, 2\)"),
        ({"prompts": P, "min_z": 1}, ValueError, "min_z=1 compares differences with their standard errors"),
        ({"prompts": P[:3]}, ValueError, r"prompts must hold one label per row: expected shape \(4,\)"),
        ({"prompts": ["p", None, "p", "q"]}, ValueError, "prompts has 1 missing labels"),
        ({"prompts": [[{"a": 1}]] * 4}, TypeError, "prompts must hold labels that can be compared"),
        ({"prompts": P, "texts": ["a"]}, ValueError, "texts has 1 rows, but rewards has 4"),
        ({"prompts": P, "texts": ["a", "b", None, "c"]}, TypeError, "texts must hold strings.* row 2 is NoneType"),
        ({"prompts": P, "texts": "abcd"}, TypeError, "texts is one string"),
        ({"prompts": P, "standard_error": [1, -1, 1, 1]}, ValueError, "standard_error must not be negative; got -1"),
        ({"prompts": P, "standard_error": lambda i, j: i - 5.0}, ValueError, r"standard_error\(i, j\) must not be"),
        ({"prompts": P, "standard_error": [1.0, 1.0]}, ValueError, "standard_error has 2 rows, but rewards has 4"),
        ({"prompts": P, "noise_variance": -1}, ValueError, "noise_variance must be a finite number of at least 0"),
        ({"prompts": P, "min_gap": np.inf}, ValueError, "min_gap must be a finite number"),
        ({"prompts": P, "margin_scale": 0}, ValueError, "margin_scale must be a finite number above 0; got 0"),
        ({"prompts": P, "max_pairs_per_prompt": 0}, ValueError, "max_pairs_per_prompt must be an integer at least 1"),
        ({"prompts": P, "scope": "all"}, ValueError, "scope must be one of 'prompt', 'stratum', 'global'"),
        ({"prompts": P, "ties": "keep"}, ValueError, "ties must be one of"),
        ({"prompts": P, "output": "dpo"}, ValueError, "output must be one of"),
        ({"prompts": P, "output": "unpaired", "min_z": 1}, ValueError, 'min_z is a rule for pairs: output="unpaired"'),
        ({"prompts": P, "output": "scalar", "min_gap": 1}, ValueError, 'min_gap is a rule for pairs: output="scalar"'),
        ({"prompts": P, "output": "unpaired", "min_gap": 9}, ValueError, "no row survives of 4: 1 rows are alone"),
        ({"prompts": P, "confounders": [[1], [2]]}, ValueError, "confounders has 2 rows, but rewards has 4"),
        ({"prompts": P, "robust": (1, 2)}, ValueError, "robust must be a tuple"),
        ({"prompts": P, "robust": (object(), np.eye(4), 0.1, 0.1)}, ValueError, "robust needs a fitted"),
        ({"prompts": P, "robust": (FITTED, np.eye(4), 0.1, 0.1)}, ValueError, r"X must have shape \(4, 2\)"),
        ({"prompts": P, "robust": (FITTED, np.eye(4)[:, :2], 0.1, 1.0)}, ValueError, "cf_d must be a share in"),
        ({"prompts": P, "robust": (FLAT, np.eye(4)[:, :2], 0.1, 0.1)}, IdentificationError, "no variation given"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_preference_pairs(R, **arguments)


def test_rewards_must_be_finite_and_in_the_order_of_the_prompts() -> None:
    with pytest.raises(ValueError, match="rewards contains NaN or infinity in 1 of 2 rows"):
        make_preference_pairs([1.0, np.nan], prompts=[0, 0])
    with pytest.raises(ValueError, match=re.escape("rewards and prompts have the same index labels")):
        make_preference_pairs(pd.Series([1.0, 2.0]), prompts=pd.Series([0, 0], index=[1, 0]))
    with pytest.raises(ValueError, match=r"max_pairs_per_prompt=None would look at 449985000 pairs"):
        make_preference_pairs(np.arange(30_000.0), scope="global", max_pairs_per_prompt=None)
