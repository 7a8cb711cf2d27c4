"""The projection, its rank, connected sets and singletons against dense dummies."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from causalkit.exceptions import ConvergenceWarning, NonFiniteError
from causalkit.rewards import absorption as absorption_module
from causalkit.rewards import level_space
from causalkit.rewards.absorption import Absorption, absorb
from causalkit.rewards.records import Factor
from tests.rewards.designs_fixed_effects import Array, dummies, factor, least_squares, random_factors

SOLVERS = {"dense": (1000, 0), "banded": (0, 10**6), "iterative": (0, 0)}
KINDS = st.lists(st.sampled_from(["few", "many", "nested"]), min_size=1, max_size=4)


@pytest.fixture(params=list(SOLVERS))
def solver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Force one way of solving the level equations, whatever the size."""
    direct, cells = SOLVERS[request.param]
    monkeypatch.setattr(level_space, "DIRECT_LEVELS", direct)
    monkeypatch.setattr(level_space, "BAND_CELLS", cells)
    return str(request.param)


def brute_force_sets(codes: list[np.ndarray], sizes: list[int]) -> list[list[int]]:
    """Connected sets by spreading the smallest label over rows until nothing changes."""
    labels = [{g: (k, g) for g in set(c.tolist())} for k, c in enumerate(codes)]
    changed = True
    while changed:
        changed = False
        for row in zip(*codes, strict=True):
            least = min(labels[k][g] for k, g in enumerate(row))
            for k, g in enumerate(row):
                if labels[k][g] != least:
                    labels[k][g], changed = least, True
    numbers = {label: i for i, label in enumerate(sorted({v for d in labels for v in d.values()}))}
    return [[numbers[d[g]] if g in d else -1 for g in range(size)] for d, size in zip(labels, sizes, strict=True)]


def brute_force_informative(codes: list[np.ndarray]) -> list[bool]:
    kept = [True] * len(codes[0])
    while True:
        drop = [
            i
            for i in range(len(kept))
            if kept[i] and any(sum(kept[j] and c[j] == c[i] for j in range(len(kept))) == 1 for c in codes)
        ]
        if not drop:
            return kept
        for i in drop:
            kept[i] = False


@pytest.mark.parametrize("seed", range(20))
def test_residuals_equal_those_of_dense_dummies(seed: int, solver: str) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(10, 80))
    factors = random_factors(rng, n, list(rng.choice(["few", "many", "nested"], size=1 + seed % 4)))
    weight = rng.uniform(0.1, 3.0, n) if seed % 2 else None
    X = rng.normal(size=(n, 3)) + 50.0
    D = dummies(factors)
    expected = X - D @ least_squares(D, X, weight)
    prepared = absorb(factors, weight)
    assert_allclose(prepared.residualise(X), expected, atol=1e-9)
    assert_allclose(prepared.residualise(X[:, 1]), expected[:, 1], atol=1e-9)
    assert_array_equal(prepared.residualise(X)[~prepared.informative_rows], 0.0)


@pytest.mark.parametrize("seed", range(20))
def test_level_effects_have_least_norm(seed: int, solver: str) -> None:
    rng = np.random.default_rng(100 + seed)
    n = int(rng.integers(10, 80))
    factors = random_factors(rng, n, list(rng.choice(["few", "many", "nested"], size=1 + seed % 4)))
    weight = rng.uniform(0.1, 3.0, n) if seed % 2 else None
    target = rng.normal(size=n) + 4.0
    expected = least_squares(dummies(factors), target, weight)
    got = np.concatenate(absorb(factors, weight).level_effects(target))
    seen = ~np.isnan(got)
    assert_array_equal(seen, dummies(factors).sum(axis=0) > 0)
    assert_allclose(got[seen], expected[seen], atol=1e-8)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(3, 50), kinds=KINDS, direct=st.sampled_from([0, 1000]))
def test_rank_of_random_designs(seed: int, n: int, kinds: list[str], direct: int) -> None:
    factors = random_factors(np.random.default_rng(seed), n, kinds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(level_space, "DIRECT_LEVELS", direct)
        prepared = absorb(factors)
        every = absorb(factors, drop_singletons=False)
    D = dummies(factors)
    kept = D[prepared.informative_rows]
    assert prepared.rank == (np.linalg.matrix_rank(kept) if len(kept) else 0)
    assert every.rank == np.linalg.matrix_rank(D)
    assert every.n_informative - every.rank == prepared.n_informative - prepared.rank


def test_rank_of_many_connected_sets_without_dense_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    # 40 blocks of three fully crossed factors with 4, 3 and 2 levels: rank 4 + 3 + 2 - 2 in each.
    monkeypatch.setattr(level_space, "DIRECT_LEVELS", 0)
    cells = np.array(list(itertools.product(range(4), range(3), range(2))))
    blocks = np.repeat(np.arange(40), len(cells))
    codes = np.tile(cells, (40, 1)) + blocks[:, None] * np.array([4, 3, 2])
    assert absorb([factor(codes[:, k], f"f{k}") for k in range(3)]).rank == 40 * 7


def test_a_nested_factor_adds_nothing() -> None:
    rng = np.random.default_rng(1)
    author, month = np.repeat(np.arange(12), 5), rng.integers(0, 4, 60)
    team = author // 3
    plain = absorb([factor(author), factor(month)])
    with_team = absorb([factor(author), factor(team), factor(month)])
    assert with_team.rank == plain.rank == 12 + 4 - 1
    x = rng.normal(size=60)
    assert_allclose(with_team.residualise(x), plain.residualise(x), atol=1e-11)


@pytest.mark.parametrize("seed", range(10))
def test_connected_sets_and_singletons(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 14
    factors = [factor(rng.integers(0, 9, n), f"f{k}", 10) for k in range(2 + seed % 2)]
    codes = [f.codes for f in factors]
    prepared = absorb(factors)
    expected = brute_force_sets(codes, [10] * len(codes))
    # The numbers are arbitrary, the partition is not.
    pairs = {*zip(np.concatenate(prepared.connected_sets).tolist(), np.concatenate(expected).tolist(), strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert (-1, -1) in pairs
    informative = brute_force_informative(codes)
    assert prepared.informative_rows.tolist() == informative
    assert prepared.n_singletons == informative.count(False) > 0


def test_dropping_singletons_is_repeated_until_none_is_left() -> None:
    # Row 0 is alone in level 0 of the first factor; without it row 1 is alone in level 0 of the second, and so on.
    chain = absorb([factor([0, 1, 1, 2, 2, 3, 3]), factor([0, 0, 1, 1, 2, 2, 2])])
    assert chain.informative_rows.tolist() == [False] * 5 + [True] * 2
    assert chain.rank == 1


def test_levels_of_one_factor_are_one_set() -> None:
    assert absorb([factor([0, 0, 2, 2], size=4)]).connected_sets[0].tolist() == [0, -1, 0, -1]


def test_weights_equal_repeated_rows() -> None:
    rng = np.random.default_rng(3)
    n = 40
    codes, copies = [rng.integers(0, 6, n), rng.integers(0, 5, n)], rng.integers(1, 4, n)
    X = rng.normal(size=(n, 2))
    repeated = absorb([factor(np.repeat(c, copies)) for c in codes]).residualise(np.repeat(X, copies, axis=0))
    weighted = absorb([factor(c) for c in codes], copies / copies.mean()).residualise(X)
    assert_allclose(np.repeat(weighted, copies, axis=0), repeated, atol=1e-11)


def test_rows_without_weight_are_as_good_as_absent() -> None:
    rng = np.random.default_rng(4)
    codes, x = [rng.integers(0, 5, 40), rng.integers(0, 4, 40)], rng.normal(size=40)
    weight = np.where(np.arange(40) < 30, rng.uniform(0.5, 2, 40), 0.0)
    prepared = absorb([factor(c, size=5) for c in codes], weight)
    shorter = absorb([factor(c[:30], size=5) for c in codes], weight[:30])
    assert_allclose(prepared.residualise(x)[:30], shorter.residualise(x[:30]), atol=1e-11)
    assert_array_equal(prepared.residualise(x)[30:], 0.0)
    assert (prepared.rank, prepared.n_informative) == (shorter.rank, shorter.n_informative)


def _prepared(n: int = 60) -> tuple[Absorption, Array]:
    rng = np.random.default_rng(5)
    return absorb([factor(rng.integers(0, 8, n)), factor(rng.integers(0, 6, n))]), rng.normal(size=(n, 7))


def test_type_is_kept_and_sums_are_double() -> None:
    prepared, X = _prepared()
    single = X.astype(np.float32) + np.float32(1000)
    found = prepared.residualise(single)
    assert found.dtype == np.float32
    # Rounding of the input is common to both; the sums add less than one rounding of the result.
    assert_allclose(found, prepared.residualise(single.astype(np.float64)), atol=1e-6)
    assert prepared.residualise(np.arange(60)).dtype == np.float64


def test_chunks_and_in_place_results_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, X = _prepared()
    expected = prepared.residualise(X)
    monkeypatch.setattr(absorption_module, "_CHUNK_BYTES", 8 * 60 * 3)
    monkeypatch.setattr(absorption_module, "_BLOCK_ROWS", 7)
    assert_allclose(prepared.residualise(X), expected, atol=1e-13)
    columns = np.asfortranarray(X)
    assert prepared.residualise(columns, out=columns) is columns
    assert_allclose(columns, expected, atol=1e-13)


def test_residuals_of_residuals_and_of_dummies() -> None:
    prepared, X = _prepared()
    once = prepared.residualise(X)
    assert_allclose(prepared.residualise(once), once, atol=1e-12)
    indicator = np.eye(8)[prepared.codes[0]] * 1e6
    assert_allclose(prepared.residualise(indicator), 0.0, atol=1e-8)


def test_level_means() -> None:
    weight = np.array([1.0, 3.0, 2.0, 2.0])
    prepared = absorb([factor([0, 0, 2, 2], size=3)], weight)
    X = np.array([[1.0, 0.0], [5.0, 4.0], [2.0, 8.0], [4.0, 8.0]])
    assert_allclose(prepared.level_means(X), [[4.0, 3.0], [np.nan, np.nan], [3.0, 8.0]])
    assert_allclose(prepared.level_means(X[:, 0]), [4.0, np.nan, 3.0])


def test_a_chain_of_levels_is_solved_with_a_band_and_otherwise_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    # A path of 2 x 1500 levels: its smallest eigenvalue is about (π/3000)², hopeless for a few iterations.
    first = np.repeat(np.arange(1500), 2)
    second = np.minimum(first + np.tile([0, 1], 1500), 1499)
    rng = np.random.default_rng(6)
    x = rng.normal(size=3000).cumsum()
    factors = [factor(first), factor(second)]
    banded = absorb(factors)
    residual = banded.residualise(x)
    for code in (first, second):
        assert_allclose(np.bincount(code, weights=residual), 0.0, atol=1e-8)
    monkeypatch.setattr(level_space, "BAND_CELLS", 0)
    monkeypatch.setattr(level_space, "MAX_ITERATIONS", 20)
    with pytest.warns(ConvergenceWarning, match="barely connected"):
        absorb(factors).residualise(x)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="factors is empty"):
        absorb([])
    with pytest.raises(ValueError, match="'f' has no rows"):
        absorb([Factor("f", np.zeros(0, dtype=np.intp), np.arange(1))])
    with pytest.raises(ValueError, match="'b' has 2 rows, but 'a' has 3"):
        absorb([factor([0, 1, 1], "a"), factor([0, 1], "b")])
    with pytest.raises(ValueError, match=r"'a' has codes from -1 to 1: expected 0 to 1"):
        absorb([factor([-1, 1], "a")])
    with pytest.raises(ValueError, match="weight must not be negative"):
        absorb([factor([0, 1])], np.array([1.0, -1.0]))
    prepared, X = _prepared()
    with pytest.raises(ValueError, match=r"columns has shape \(5, 7\)"):
        prepared.residualise(X[:5])
    with pytest.raises(ValueError, match=r"out has shape \(60, 2\)"):
        prepared.residualise(X, out=np.empty((60, 2)))
    X[3, 2] = np.nan
    with pytest.raises(NonFiniteError, match="columns contains NaN"):
        prepared.residualise(X)
    with pytest.raises(NonFiniteError, match="columns contains NaN"):
        absorb([factor([0, 0, 1])]).residualise(np.array([1.0, np.inf, 0.0]))
