"""Augmenters of columns: laws and actions by loops, covariances, orbits, sparse rows, values, failures."""

from __future__ import annotations

import copy
import itertools
import json
import math
import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

from causalkit.augmentation.augmenters import (
    AdditiveNoise,
    Augmenter,
    FunctionAugmenter,
    Masking,
    NullSpaceShift,
    Permutation,
    Scaling,
    SignFlip,
)
from causalkit.exceptions import AugmentationError, MethodNotApplicableError, PersistenceError
from causalkit.persistence import load, save

SIGMA = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]])
BASIS = np.array([[1.0, 0.0, -1.0, 0.5], [0.0, 2.0, 1.0, 0.0]])
CASES = [
    AdditiveNoise(),
    AdditiveNoise(0.3, columns=[2, 0]),
    AdditiveNoise(2.0, covariance=SIGMA, columns=[3, 1, 0]),
    NullSpaceShift(BASIS, scale=0.7),
    SignFlip(),
    SignFlip([1, 3], probability=0.2),
    SignFlip([0, 2], jointly=True),
    Masking(0.4),
    Masking(0.25, columns=[2], value=-1.5),
    Scaling(0.5, 2.0),
    Scaling(-1.0, 1.0, columns=[3, 0], jointly=True),
    Permutation([[0, 1]]),
    Permutation([[(0, 2), (1, 3)]]),
]
SPARSE_CASES = [case for case in CASES if case.preserves_sparsity]


def rows(n=50, p=4, seed=0):
    return np.random.default_rng(seed).standard_normal((n, p))


def linear_maps(augmenter, p):
    """Matrix M of each element, GX = X M: its rows are the images of the unit vectors."""
    parameters, probabilities = augmenter.orbit(p)
    return [augmenter.apply(np.eye(p), np.tile(g, (p, 1))) for g in parameters], probabilities


# ------------------------------------------------------------------ additive augmenters


@pytest.mark.parametrize(
    ("augmenter", "exact"),
    [
        (AdditiveNoise(1.5), 2.25 * np.eye(4)),
        (AdditiveNoise(0.5, columns=[2, 0]), np.diag([0.25, 0.0, 0.25, 0.0])),
        (NullSpaceShift(BASIS, 0.7), 0.49 * BASIS.T @ BASIS),
    ],
)
def test_covariance_is_the_formula_and_the_law(augmenter, exact):
    np.testing.assert_allclose(augmenter.covariance(4), exact, rtol=1e-14)
    check_moments(augmenter, exact)


def test_covariance_of_given_noise():
    """Order of the columns matters: the first row of the matrix belongs to the first column named."""
    augmenter = AdditiveNoise(2.0, covariance=SIGMA, columns=[3, 1, 0])
    exact = np.zeros((4, 4))
    for i, a in enumerate([3, 1, 0]):
        for j, b in enumerate([3, 1, 0]):
            exact[a, b] = 4.0 * SIGMA[i, j]
    np.testing.assert_array_equal(augmenter.covariance(4), exact)
    check_moments(augmenter, exact)


def check_moments(augmenter, exact):
    n = 100_000
    X = rows(n)
    moved, _ = augmenter(X, np.random.default_rng(1))
    D = moved - X
    diagonal = np.diag(exact)
    error = np.sqrt((np.outer(diagonal, diagonal) + exact**2) / n)  # of products of Gaussians
    assert (np.abs(D.T @ D / n - exact) <= 5 * error + 1e-12).all()
    assert (np.abs(D.mean(axis=0)) <= 5 * np.sqrt(diagonal / n) + 1e-12).all()
    assert (np.abs(D.T @ X / n) <= 5 * np.sqrt(diagonal / n)[:, None] + 1e-12).all()


def test_singular_covariance_moves_its_range_only():
    direction = np.array([1.0, -2.0, 0.5])
    moved, G = AdditiveNoise(covariance=np.outer(direction, direction))(np.zeros((20, 3)), np.random.default_rng(0))
    np.testing.assert_allclose(np.cross(moved, direction), 0.0, atol=1e-7)
    assert np.abs(moved).max() > 0.1
    np.testing.assert_array_equal(moved, G)


def test_null_space_shift_by_loop():
    augmenter = NullSpaceShift(BASIS, scale=0.7)
    X = rows(6)
    moved, G = augmenter(X, np.random.default_rng(2))
    for i, j in itertools.product(range(6), range(4)):
        expected = X[i, j] + 0.7 * sum(G[i, k] * BASIS[k, j] for k in range(2))
        assert moved[i, j] == pytest.approx(expected, rel=1e-13)
    effect = np.linalg.svd(BASIS)[2][2:]  # orthogonal to every direction
    np.testing.assert_allclose(moved @ effect.T, X @ effect.T, atol=1e-12)


@pytest.mark.parametrize("augmenter", CASES[4:])
def test_multiplicative_augmenters_have_no_covariance(augmenter):
    assert augmenter.covariance(4) is None


# ------------------------------------------------------------------ actions by loops


def test_sign_flip_by_loop():
    X = rows(30)
    moved, G = SignFlip([1, 3], probability=0.2)(X, np.random.default_rng(0))
    expected = X.copy()
    for i, (column, place) in itertools.product(range(30), [(1, 0), (3, 1)]):
        expected[i, column] = -X[i, column] if G[i, place] else X[i, column]
    np.testing.assert_array_equal(moved, expected)
    joint, H = SignFlip([0, 2], jointly=True)(X, np.random.default_rng(0))
    assert H.shape == (30, 1)
    np.testing.assert_array_equal(joint[:, [0, 2]], np.where(H, -X[:, [0, 2]], X[:, [0, 2]]))
    np.testing.assert_array_equal(joint[:, [1, 3]], X[:, [1, 3]])


def test_masking_by_loop():
    X = rows(30)
    moved, G = Masking(0.25, columns=[2, 0], value=-1.5)(X, np.random.default_rng(0))
    expected = X.copy()
    for i, (column, place) in itertools.product(range(30), [(2, 0), (0, 1)]):
        expected[i, column] = -1.5 if G[i, place] else X[i, column]
    np.testing.assert_array_equal(moved, expected)
    assert 0 < G.mean() < 1


def test_scaling_by_loop():
    X = rows(30)
    moved, G = Scaling(0.5, 2.0, columns=[3, 0])(X, np.random.default_rng(0))
    np.testing.assert_array_equal(moved[:, 3], X[:, 3] * G[:, 0])
    np.testing.assert_array_equal(moved[:, 0], X[:, 0] * G[:, 1])
    np.testing.assert_array_equal(moved[:, 1:3], X[:, 1:3])
    joint, H = Scaling(0.5, 2.0, jointly=True)(X, np.random.default_rng(0))
    np.testing.assert_array_equal(joint, X * H)


@pytest.mark.parametrize(("augmenter", "mean"), [(SignFlip(probability=0.2), 0.2), (Masking(0.4), 0.4)])
def test_probabilities_are_met(augmenter, mean):
    G = augmenter.sample(20_000, 4, np.random.default_rng(0))
    assert set(np.unique(G)) == {0.0, 1.0}
    assert (np.abs(G.mean(axis=0) - mean) < 5 * math.sqrt(mean * (1 - mean) / 20_000)).all()
    assert np.abs(np.corrcoef(G.T) - np.eye(4)).max() < 5 / math.sqrt(20_000)


def test_scaling_is_uniform():
    G = Scaling(-1.0, 3.0).sample(20_000, 2, np.random.default_rng(0))
    assert G.min() >= -1 and G.max() <= 3
    assert (np.abs(G.mean(axis=0) - 1.0) < 5 * math.sqrt(16 / 12 / 20_000)).all()


# ------------------------------------------------------------------ permutations


def test_orbit_of_a_set_is_every_permutation_once():
    parameters, probabilities = Permutation([[2, 0, 3, 1]]).orbit(4)
    X = np.arange(4.0)[None]
    images = [tuple(Permutation([[2, 0, 3, 1]]).apply(X, g[None])[0]) for g in parameters]
    assert sorted(images) == sorted(itertools.permutations(range(4)))
    assert images[0] == (0, 1, 2, 3)
    np.testing.assert_array_equal(probabilities, np.full(24, 1 / 24))


def test_sets_are_drawn_uniformly_and_apart():
    augmenter = Permutation([[0, 1, 2], [(3, 5), (4, 6)]])
    n = 24_000
    G = augmenter.sample(n, 7, np.random.default_rng(0))
    counts = np.zeros((6, 2))
    np.add.at(counts, (G[:, 0].astype(int), G[:, 1].astype(int)), 1)
    assert ((counts - n / 12) ** 2 / (n / 12)).sum() < 31.3  # chi-square with 11 degrees of freedom, p = .001


def test_members_stay_together():
    X = np.arange(7.0)[None]
    augmenter = Permutation([[0, 1], [(3, 5), (4, 6)]])
    moved = [tuple(augmenter.apply(X, [[a, b]])[0]) for a in (0, 1) for b in (0, 1)]
    assert moved == [
        (0, 1, 2, 3, 4, 5, 6),
        (0, 1, 2, 4, 3, 6, 5),
        (1, 0, 2, 3, 4, 5, 6),
        (1, 0, 2, 4, 3, 6, 5),
    ]


def test_largest_set_is_exact_in_floating_point():
    augmenter = Permutation([list(range(18))])
    last = math.factorial(18) - 1
    X = np.arange(18.0)[None]
    images = {tuple(augmenter.apply(X, [[index]])[0]) for index in (0, 1, last - 1, last)}
    assert len(images) == 4 and all(sorted(image) == list(range(18)) for image in images)
    G = augmenter.sample(2000, 18, np.random.default_rng(0))
    assert G.max() <= last and len(np.unique(G)) == 2000
    assert augmenter.orbit(18) is None and augmenter.orbit_size(18) == math.factorial(18)


# ------------------------------------------------------------------ orbits and groups

GROUPS = [
    (SignFlip([1, 3]), np.diag([1.0, 0.0, 1.0, 0.0])),
    (SignFlip([0, 2], jointly=True), np.diag([0.0, 1.0, 0.0, 1.0])),
    (Permutation([[0, 1, 3]]), np.array([[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 3, 0], [1, 1, 0, 1]]) / 3),
    (Permutation([[(0, 2), (1, 3)]]), np.kron(np.eye(2), np.full((2, 2), 0.5))),
]


@pytest.mark.parametrize("augmenter", [case for case, _ in GROUPS])
def test_groups_are_closed_and_uniform(augmenter):
    maps, probabilities = linear_maps(augmenter, 4)
    keys = [m.tobytes() for m in maps]
    assert augmenter.is_group and len(set(keys)) == len(keys)
    np.testing.assert_allclose(probabilities, 1 / len(keys), rtol=1e-14)
    for a, b in itertools.product(maps, maps):
        assert (a @ b + 0.0).tobytes() in {(m + 0.0).tobytes() for m in maps}


def test_orbit_average_projects_on_the_invariant_subspace():
    for augmenter, projection in GROUPS:
        maps, probabilities = linear_maps(augmenter, 4)
        average = sum(p * m for p, m in zip(probabilities, maps, strict=True))
        np.testing.assert_allclose(average, projection, atol=1e-15)
        for m in maps:
            np.testing.assert_allclose(m @ average, average, atol=1e-15)


def test_uneven_flips_and_masks_are_no_groups():
    assert not SignFlip(probability=0.3).is_group
    assert not any(case.is_group for case in (Masking(0.5), Scaling(1, 2), AdditiveNoise(), NullSpaceShift(BASIS)))


def test_orbit_probabilities_are_bernoulli():
    parameters, probabilities = Masking(0.2, columns=[0, 1, 2]).orbit(4)
    assert parameters.shape == (8, 3) and len({tuple(g) for g in parameters}) == 8
    for g, probability in zip(parameters, probabilities, strict=True):
        assert probability == pytest.approx(0.2 ** g.sum() * 0.8 ** (3 - g.sum()), rel=1e-14)


def test_certain_flips_are_one_element():
    parameters, probabilities = SignFlip([0, 1], probability=1.0).orbit(3)
    assert parameters.tolist() == [[1.0, 1.0]] and probabilities.tolist() == [1.0]
    assert SignFlip(probability=0.0).orbit_size(30) == 1


def test_orbits_end_at_1024_elements():
    assert len(SignFlip().orbit(10)[1]) == 1024
    assert SignFlip().orbit(11) is None and SignFlip().orbit_size(11) == 2048
    assert Permutation([range(7)]).orbit(7) is None and Permutation([range(7)]).orbit_size(7) == 5040
    assert Scaling(1, 2).orbit(3) is None and Scaling(1, 2).orbit_size(3) is None


# ------------------------------------------------------------------ sparse rows


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array])
@pytest.mark.parametrize("augmenter", SPARSE_CASES, ids=repr)
def test_sparse_stays_sparse_and_equals_dense(augmenter, container):
    dense = np.where(np.random.default_rng(3).random((40, 4)) < 0.4, rows(40), 0.0)
    X = container(dense.astype(np.float32))
    dense = dense.astype(np.float32).astype(float)
    G = augmenter.sample(40, 4, np.random.default_rng(4))
    moved = augmenter.apply(X, G)
    assert sparse.issparse(moved) and moved.format == "csr" and moved.dtype == np.float64
    assert moved.nnz <= X.nnz and moved.has_sorted_indices
    np.testing.assert_array_equal(moved.toarray(), augmenter.apply(dense, G))
    np.testing.assert_array_equal(X.toarray(), dense)


def test_sparse_cases_are_those_that_keep_zeros():
    kept = {type(case).__name__ for case in SPARSE_CASES}
    assert kept == {"SignFlip", "Masking", "Scaling", "Permutation"}
    assert not Masking(0.5, value=1.0).preserves_sparsity


@pytest.mark.parametrize("augmenter", [AdditiveNoise(), NullSpaceShift(BASIS), Masking(0.5, value=1.0)])
def test_sparse_that_would_be_filled_is_refused(augmenter):
    with pytest.raises(AugmentationError, match=f"{type(augmenter).__name__} fills the zeros"):
        augmenter(sparse.csr_array(rows()), np.random.default_rng(0))


# ------------------------------------------------------------------ the protocol


@pytest.mark.parametrize("augmenter", CASES, ids=repr)
def test_draws_have_names_shapes_and_leave_x_alone(augmenter):
    X = rows()
    before = X.copy()
    moved, G = augmenter(X, np.random.default_rng(0))
    names = augmenter.parameter_names(4)
    assert G.shape == (50, len(names)) and len(set(names)) == len(names)
    assert moved.shape == X.shape and moved.dtype == np.float64 and not np.shares_memory(moved, X)
    np.testing.assert_array_equal(X, before)
    again, H = augmenter(X.astype(np.float32).astype(float), np.random.default_rng(0))
    np.testing.assert_array_equal(G, H)
    assert again.shape == moved.shape


def test_parameter_names():
    assert AdditiveNoise(columns=[2, 0]).parameter_names(3) == ["noise2", "noise0"]
    assert NullSpaceShift(BASIS).parameter_names(4) == ["shift0", "shift1"]
    assert SignFlip(jointly=True).parameter_names(3) == ["flip"]
    assert Masking(0.5, columns=[1]).parameter_names(3) == ["mask1"]
    assert Scaling(1, 2).parameter_names(2) == ["scale0", "scale1"]
    assert Permutation([[0, 1], [2, 3]]).parameter_names(4) == ["permutation0", "permutation1"]


@pytest.mark.parametrize("augmenter", CASES, ids=repr)
def test_augmenters_are_values(augmenter, tmp_path):
    save(augmenter, tmp_path / "augmenter.ck")
    copies = [
        pickle.loads(pickle.dumps(augmenter)),
        Augmenter.from_json(augmenter.to_json()),
        load(tmp_path / "augmenter.ck"),
        type(augmenter)(**augmenter.get_params()),
    ]
    X = rows()
    expected = augmenter(X, np.random.default_rng(5))[0]
    for other in copies:
        assert other == augmenter and hash(other) == hash(augmenter) and repr(other) == repr(augmenter)
        np.testing.assert_array_equal(other(X, np.random.default_rng(5))[0], expected)
        for value in vars(other).values():
            assert not isinstance(value, np.ndarray) or not value.flags.writeable
    assert copy.deepcopy(augmenter) is augmenter and copy.copy(augmenter) is augmenter
    assert clone(augmenter, safe=False) is augmenter
    assert sum(augmenter == case for case in CASES) == 1
    assert eval(repr(augmenter)) == augmenter
    with pytest.raises(AttributeError, match="immutable"):
        augmenter.columns = [0]
    with pytest.raises(AttributeError, match="immutable"):
        del augmenter.scale


def test_arrays_are_copied_and_read_only():
    basis = BASIS.copy()
    augmenter = NullSpaceShift(basis)
    basis[:] = 0.0
    np.testing.assert_array_equal(augmenter.basis, BASIS)
    with pytest.raises(ValueError, match="read-only"):
        augmenter.basis[0, 0] = 3.0


def test_json_is_readable():
    assert json.loads(AdditiveNoise(0.5, columns=[1]).to_json()) == {
        "augmenter": "AdditiveNoise",
        "params": {"scale": 0.5, "covariance": None, "columns": [1]},
    }


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[1, 2]",
        "{}",
        '{"augmenter": "Augmenter", "params": {}}',
        '{"augmenter": "MAX_ORBIT", "params": {}}',
        '{"augmenter": "json", "params": {}}',
        '{"augmenter": "SignFlip", "params": {"columns": null}}',
        '{"augmenter": "SignFlip", "params": {"columns": null, "probability": 3, "jointly": false}}',
    ],
)
def test_json_of_another_form_is_refused(text):
    with pytest.raises(AugmentationError):
        Augmenter.from_json(text)


# ------------------------------------------------------------------ functions


def add_one(X, rng):
    return X + 1.0, np.ones((len(X), 1))


def test_function_augmenter_calls_the_function(tmp_path):
    augmenter = FunctionAugmenter(add_one)
    moved, G = augmenter(np.zeros((3, 2)), np.random.default_rng(0))
    assert (moved == 1).all() and G.shape == (3, 1)
    assert pickle.loads(pickle.dumps(augmenter)) == augmenter and augmenter != FunctionAugmenter(print)
    assert augmenter.covariance(2) is None and augmenter.orbit(2) is None and not augmenter.is_group
    with pytest.raises(MethodNotApplicableError, match="add_one"):
        augmenter.sample(3, 2, np.random.default_rng(0))
    with pytest.raises(MethodNotApplicableError, match="draws and acts in one call"):
        augmenter.apply(np.zeros((3, 2)), np.zeros((3, 1)))
    with pytest.raises(MethodNotApplicableError, match="names"):
        augmenter.parameter_names(2)
    with pytest.raises(AugmentationError, match="no JSON form"):
        augmenter.to_json()
    with pytest.raises(PersistenceError, match="code is never stored"):
        save(augmenter, tmp_path / "function.ck")


# ------------------------------------------------------------------ failures


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdditiveNoise(-1.0), "scale must be a finite number"),
        (lambda: AdditiveNoise("1"), "scale must be"),
        (lambda: AdditiveNoise(np.nan), "scale must be"),
        (lambda: AdditiveNoise(covariance=[[1.0, 2.0], [0.0, 1.0]]), "symmetric"),
        (lambda: AdditiveNoise(covariance=[[1.0, 2.0], [2.0, 1.0]]), "positive semi-definite.* -1"),
        (lambda: AdditiveNoise(covariance=np.eye(2), columns=[0]), "over the 1 columns"),
        (lambda: AdditiveNoise(columns=["age"]), "not names"),
        (lambda: AdditiveNoise(columns="age"), "not names"),
        (lambda: SignFlip(columns=[0.5]), "integer column positions"),
        (lambda: SignFlip(columns=[-1]), "distinct positions from 0"),
        (lambda: SignFlip(columns=[]), "at least one"),
        (lambda: SignFlip(columns=[1, 1]), "distinct"),
        (lambda: SignFlip(columns=[True, False]), "distinct positions"),
        (lambda: SignFlip(probability=1.5), r"probability must be a finite number in \[0, 1\]"),
        (lambda: Masking(-0.1), "probability"),
        (lambda: Masking(0.5, value=np.inf), "value must be"),
        (lambda: Scaling(2.0, 1.0), "low must not exceed high"),
        (lambda: NullSpaceShift([1.0, 2.0]), "basis must be a non-empty array with 2 axes"),
        (lambda: NullSpaceShift([["a"]]), "basis must hold numbers"),
        (lambda: NullSpaceShift([[np.nan]]), "basis must hold finite"),
        (lambda: Permutation([]), "at least one set"),
        (lambda: Permutation(3), "sequence of sets"),
        (lambda: Permutation([0, 1]), "each of sets must be a sequence"),
        (lambda: Permutation([[0]]), "2 to 18 members"),
        (lambda: Permutation([range(19)]), "2 to 18 members; got 19"),
        (lambda: Permutation([[0, (1, 2)]]), r"lengths \[1, 2\]"),
        (lambda: Permutation([[0, 1], [1, 2]]), "column 1 in more than one place"),
        (lambda: Permutation([["a", "b"]]), "not names"),
        (lambda: FunctionAugmenter(3), "function must be callable"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(AugmentationError, match=message):
        make()


@pytest.mark.parametrize(
    ("augmenter", "message"),
    [
        (SignFlip([5]), "SignFlip acts on column 5, but X has 4 columns"),
        (AdditiveNoise(columns=[4]), "AdditiveNoise acts on column 4"),
        (AdditiveNoise(covariance=np.eye(3)), "covariance of AdditiveNoise has shape"),
        (NullSpaceShift(np.eye(3)), r"expected \(k, 4\)"),
        (Permutation([[1, 7]]), "Permutation acts on column 7"),
    ],
)
def test_features_that_do_not_fit(augmenter, message):
    with pytest.raises(AugmentationError, match=message):
        augmenter(rows(), np.random.default_rng(0))


def test_parameters_that_do_not_fit():
    with pytest.raises(AugmentationError, match=r"expected shape \(50, 4\), got \(50, 3\)"):
        SignFlip().apply(rows(), np.zeros((50, 3)))
    with pytest.raises(AugmentationError, match="permutation index 2"):
        Permutation([[0, 1]]).apply(rows(3), np.full((3, 1), 2))
    with pytest.raises(AugmentationError, match="table of rows"):
        SignFlip().apply(np.zeros(3), np.zeros((3, 1)))
