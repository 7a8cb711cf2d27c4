"""Policy values against their sums and standard errors; targeting against enumeration."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse

from causalkit.selection import policy_value, targeting_policy


def test_value_is_the_mean_gain_with_its_error() -> None:
    rng = np.random.default_rng(0)
    scores, policy, baseline = rng.normal(1, 1, 50), rng.random(50), rng.random(50)
    gain = (policy - baseline) * (scores - 0.3)
    found = policy_value(policy, scores, cost=0.3, baseline=baseline)
    assert found.estimate[0] == pytest.approx(gain.mean(), rel=1e-13)
    assert found.std_error[0] == pytest.approx(gain.std() / np.sqrt(50), rel=1e-12)
    weight = rng.random(50)
    weighted = policy_value(policy, scores, cost=0.3, baseline=baseline, sample_weight=weight)
    value = np.average(gain, weights=weight)
    assert weighted.estimate[0] == pytest.approx(value, rel=1e-13)
    error = np.sqrt(np.sum((weight * (gain - value)) ** 2)) / weight.sum()
    assert weighted.std_error[0] == pytest.approx(error, rel=1e-12)


def test_value_of_several_levels() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(40, 2))
    policy = rng.dirichlet([1, 1, 1], 40)[:, 1:]
    found = policy_value(policy, scores, cost=[0.1, 0.4])
    assert found.estimate[0] == pytest.approx(np.sum(policy * (scores - [0.1, 0.4])) / 40, rel=1e-13)
    per_row = rng.random(40)
    assert policy_value(policy, scores, cost=per_row).estimate[0] == pytest.approx(
        np.sum(policy * (scores - per_row[:, None])) / 40, rel=1e-13
    )


def test_value_under_dependence() -> None:
    rng = np.random.default_rng(2)
    scores, policy = rng.normal(size=60), np.ones(60)
    psi = scores - scores.mean()
    groups = np.arange(60) // 3
    sums = np.bincount(groups, psi)
    clustered = policy_value(policy, scores, groups=groups)
    assert clustered.std_error[0] == pytest.approx(np.sqrt(20 / 19 * np.sum(sums**2)) / 60, rel=1e-12)
    assert clustered.df == 19
    path = sparse.csr_array(sparse.diags_array([1.0], offsets=[1], shape=(60, 60)))
    near = policy_value(policy, scores, adjacency=path, bandwidth=1)
    variance = psi @ psi + 2 * psi[1:] @ psi[:-1]
    assert near.std_error[0] == pytest.approx(np.sqrt(variance) / 60, rel=1e-12)
    everyone = policy_value(policy, scores, baseline=1)
    assert (everyone.estimate[0], everyone.std_error[0]) == (0.0, 0.0)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), budget=st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0]))
def test_targeting_is_the_best_subset(seed: int, budget: float) -> None:
    """Of all subsets within the budget, the one with the largest total of net effects."""
    rng = np.random.default_rng(seed)
    effect, cost = rng.normal(size=8), rng.random(8) / 2
    policy = targeting_policy(effect, budget, cost=cost)
    net = effect - cost
    allowed = range(int(8 * budget) + 1)
    best = max(net[list(rows)].sum() for size in allowed for rows in combinations(range(8), size))
    assert set(policy) <= {0.0, 1.0}
    assert policy @ net == pytest.approx(max(best, 0.0), abs=1e-12)


def test_targeting_shares_the_margin() -> None:
    assert_allclose(targeting_policy([1.0, 1.0, 1.0, 2.0], 0.5), [1 / 3, 1 / 3, 1 / 3, 1.0])
    assert_allclose(targeting_policy(np.arange(1.0, 11.0), 0.3), [0] * 7 + [1] * 3)
    assert_allclose(targeting_policy([3.0, 2.0, 1.0], 0.5, sample_weight=[1.0, 2.0, 1.0]), [1.0, 0.5, 0.0])
    assert_allclose(targeting_policy([-1.0, 0.0, -2.0], 1.0), 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: policy_value([1.0, 1.5], [1.0, 2.0]),
            r"policy must hold probabilities.*1 rows outside \(first: row 1",
        ),
        (lambda: policy_value([1.0, -0.1], [1.0, 2.0]), "policy must hold probabilities"),
        (lambda: policy_value([[0.8, 0.8]], [[1.0, 2.0]]), "add up to 1 at most"),
        (lambda: policy_value([1.0], [1.0, 2.0]), "policy has 1 rows, but scores has 2"),
        (lambda: policy_value([1.0, 1.0], np.ones((2, 2))), "policy has 1 columns, but scores has 2"),
        (lambda: policy_value([1.0, 1.0], [1.0, 2.0], baseline=2), "baseline must hold probabilities"),
        (lambda: policy_value([1.0, 1.0], [1.0, 2.0], cost=[1.0, 2.0, 3.0]), "cost has shape"),
        (lambda: policy_value([1.0, 1.0], [1.0, 2.0], cost=np.nan), "cost holds 1 entries that are NaN"),
        (lambda: targeting_policy([1.0, 2.0], 0.0), "budget must be a share above 0"),
        (lambda: targeting_policy([1.0, 2.0], 1.2), "budget must be a share above 0"),
        (lambda: targeting_policy(np.ones((3, 2)), 0.5), "effect has 2 columns"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
