"""Moments: direct sums, every order of merging, taking out, partialling out, sparse rows."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from causalkit.augmentation.moments import Layout, Moments, chunk_moments, merge_all

LAYOUT = Layout(parameters=2, features=3, moves=3, controls=2, outcomes=1)


def table(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the layout, far from zero in places, and weights of which some are zero."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, LAYOUT.width)) @ rng.normal(size=(LAYOUT.width, LAYOUT.width))
    return rows + 100 * rng.normal(size=LAYOUT.width), rng.integers(0, 4, n).astype(float)


def of(rows: np.ndarray, weight: np.ndarray | None) -> Moments:
    blocks = [rows[:, LAYOUT.part(name)] for name in "gxdwy"]
    return chunk_moments(blocks, LAYOUT, weight, len(rows))


def assert_same(first: Moments, second: Moments, rtol: float = 1e-10) -> None:
    assert first.n_rows == second.n_rows
    np.testing.assert_allclose(first.weight, second.weight, rtol=rtol)
    np.testing.assert_allclose(first.mean, second.mean, rtol=rtol)
    scale = np.sqrt(np.outer(np.diag(second.scatter), np.diag(second.scatter)))
    np.testing.assert_allclose(first.scatter / scale, second.scatter / scale, atol=rtol)


@pytest.mark.parametrize("weighted", [False, True])
def test_direct_sums(weighted: bool) -> None:
    rows, weight = table()
    moments = of(rows, weight if weighted else None)
    w = weight if weighted else np.ones(60)
    mean = np.average(rows, axis=0, weights=w)
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(moments.scatter, (rows - mean).T @ np.diag(w) @ (rows - mean), rtol=1e-9)
    assert (moments.n_rows, moments.weight) == (60, w.sum())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 59), max_size=8, unique=True), st.integers(0, 1000))
def test_every_chunking_and_order_of_merging_is_one_batch(cuts: list[int], seed: int) -> None:
    rows, weight = table()
    edges = [0, *sorted(cuts), 60]
    parts = [of(rows[a:b], weight[a:b]) for a, b in itertools.pairwise(edges)]
    whole = of(rows, weight)
    assert_same(merge_all(parts), whole)
    shuffled = [parts[i] for i in np.random.default_rng(seed).permutation(len(parts))]
    assert_same(functools.reduce(Moments.merge, shuffled), whole)
    assert_same(functools.reduce(lambda a, b: b.merge(a), shuffled), whole)


def test_rows_of_weight_zero_are_counted_and_nothing_else() -> None:
    rows, weight = table()
    some = of(rows[:40], weight[:40])
    nothing = of(rows[40:], np.zeros(20))
    for merged in (some.merge(nothing), nothing.merge(some)):
        np.testing.assert_array_equal(merged.scatter, some.scatter)
        np.testing.assert_array_equal(merged.mean, some.mean)
        assert (merged.n_rows, merged.weight) == (60, some.weight)


def test_taking_out_undoes_merging() -> None:
    rows, weight = table()
    first, second = of(rows[:25], weight[:25]), of(rows[25:], weight[25:])
    assert_same(first.merge(second).without(second), first, rtol=1e-9)
    assert_same(first.merge(second).without(first), second, rtol=1e-9)


def test_a_large_mean_costs_no_digits() -> None:
    """Raw sums of squares would lose all of them at a mean of 1e8."""
    rows, _ = table()
    far = of(rows[:30] + 1e8, None).merge(of(rows[30:] + 1e8, None))
    near = of(rows, None)
    scale = np.sqrt(np.outer(np.diag(near.scatter), np.diag(near.scatter)))
    np.testing.assert_allclose(far.scatter / scale, near.scatter / scale, atol=1e-6)


@pytest.mark.parametrize("centred", [True, False])
def test_second_moments_of_residuals(centred: bool) -> None:
    """M_ab - M_aw M_ww⁻¹ M_wb is the moment of the residuals of regressions on W; X stands for GX - D."""
    rows, weight = table()
    moments = of(rows, weight)
    parts = {name: rows[:, LAYOUT.part(name)] for name in "gxdwy"}
    parts["X"] = parts["x"] - parts["d"]
    if centred:
        parts = {name: v - np.average(v, axis=0, weights=weight) for name, v in parts.items()}
    share = weight / weight.sum()
    root = np.sqrt(share)[:, None]
    slope = {name: np.linalg.lstsq(root * parts["w"], root * v, rcond=None)[0] for name, v in parts.items()}
    residual = {name: v - parts["w"] @ slope[name] for name, v in parts.items()}
    for a in "gxXdy":
        for b in "gxXdy":
            for values, partial in ((residual, True), (parts, False)):
                expected = values[a].T @ (share[:, None] * values[b])
                found = moments.second(a, b, centred=centred, partial=partial)
                np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    both = moments.second("Xw", "y", centred=centred, partial=False)
    stacked = np.hstack([parts["X"], parts["w"]]).T @ (share[:, None] * parts["y"])
    np.testing.assert_allclose(both, stacked, rtol=1e-8, atol=1e-8)


def test_averages() -> None:
    rows, weight = table()
    moments = of(rows, weight)
    mean = np.average(rows, axis=0, weights=weight)
    np.testing.assert_allclose(moments.average("g"), mean[:2])
    np.testing.assert_allclose(moments.average("X"), mean[2:5] - mean[5:8])
    np.testing.assert_allclose(moments.average("Xw"), np.r_[mean[2:5] - mean[5:8], mean[8:10]])
    still = Layout(0, 2, 0, 0, 1)
    plain = chunk_moments([rows[:, :2], rows[:, 2:3]], still, None, 60)
    np.testing.assert_allclose(plain.average("X"), rows[:, :2].mean(axis=0))
    np.testing.assert_allclose(plain.second("X", "X"), np.cov(rows[:, :2], rowvar=False, bias=True))


def test_collinear_controls_take_out_their_span() -> None:
    rows, weight = table()
    rows[:, 9] = 2 * rows[:, 8]
    one = Layout(2, 3, 3, 1, 1)
    blocks: list[Any] = [rows[:, LAYOUT.part(name)] for name in "gxdwy"]
    blocks[3] = blocks[3][:, :1]
    single = chunk_moments(blocks, one, weight, 60)
    np.testing.assert_allclose(of(rows, weight).second("x", "y"), single.second("x", "y"), rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_blocks(weighted: bool) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(80, LAYOUT.width)) * (rng.random((80, LAYOUT.width)) < 0.4)
    weight = rng.integers(0, 3, 80).astype(float) if weighted else None
    blocks: list[Any] = [rows[:, LAYOUT.part(name)] for name in "gxdwy"]
    dense = chunk_moments(blocks, LAYOUT, weight, 80)
    blocks[1], blocks[2] = sparse.csr_matrix(blocks[1]), sparse.csr_array(blocks[2])
    assert_same(chunk_moments(blocks, LAYOUT, weight, 80), dense)
