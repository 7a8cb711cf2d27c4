"""Compose and OneOf: actions by hand, sums and mixtures of covariances, product and union orbits, groups."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
from scipy import sparse

from causalkit.augmentation.augmenters import (
    AdditiveNoise,
    Augmenter,
    ChannelPermutation,
    Compose,
    ImageFlip,
    ImageRotation,
    Masking,
    NullSpaceShift,
    OneOf,
    Permutation,
    Scaling,
    SignFlip,
)
from causalkit.exceptions import AugmentationError
from causalkit.persistence import load, save

SHAPE = (2, 3, 3)
BASIS = np.array([[1.0, -1.0, 0.0, 2.0]])
ADDITIVE = (AdditiveNoise(0.5, columns=[1, 3]), NullSpaceShift(BASIS, 2.0), AdditiveNoise(1.5))
COVARIANCES = (np.diag([0, 0.25, 0, 0.25]), 4.0 * BASIS.T @ BASIS, 2.25 * np.eye(4))
FINITE = (SignFlip([0]), Permutation([[0, 1, 2]]), Masking(0.3, columns=[3, 1]))
CASES = [
    Compose(*ADDITIVE),
    Compose(*FINITE),
    Compose(SignFlip([0]), Scaling(0.5, 2.0), Permutation([[1, 3]])),
    Compose(SignFlip([0]), OneOf(Scaling(0.5, 2.0), Permutation([[1, 3]]))),
    OneOf(*ADDITIVE, weights=[1.0, 2.0, 5.0]),
    OneOf(*FINITE),
    OneOf(Compose(SignFlip([2]), Masking(0.5)), NullSpaceShift(BASIS), weights=[3, 1]),
]


def rows(n=40, p=4, seed=0):
    return np.random.default_rng(seed).standard_normal((n, p))


# ------------------------------------------------------------------ compose


def test_compose_applies_in_order_with_parameters_side_by_side():
    mask, shift = Masking(0.5, columns=[0, 1]), NullSpaceShift(BASIS)
    both = Compose(mask, shift)
    X = rows()
    moved, G = both(X, np.random.default_rng(0))
    assert both.parameter_names(4) == ["0.mask0", "0.mask1", "1.shift0"] and G.shape == (40, 3)
    np.testing.assert_array_equal(moved, shift.apply(mask.apply(X, G[:, :2]), G[:, 2:]))
    assert not np.array_equal(moved, mask.apply(shift.apply(X, G[:, 2:]), G[:, :2]))


def test_compose_draws_its_members_apart():
    G = Compose(AdditiveNoise(), AdditiveNoise(), AdditiveNoise()).sample(20_000, 1, np.random.default_rng(0))
    assert np.abs(np.corrcoef(G.T) - np.eye(3)).max() < 5 / math.sqrt(20_000)


def test_compose_covariance_is_the_sum():
    exact = sum(COVARIANCES)
    np.testing.assert_allclose(Compose(*ADDITIVE).covariance(4), exact, rtol=1e-14)
    check_second_moments(Compose(*ADDITIVE), exact, exact)


def check_second_moments(augmenter, exact, largest):
    n = 100_000
    X = rows(n)
    D = augmenter(X, np.random.default_rng(1))[0] - X
    d = np.diag(largest)
    assert (np.abs(D.T @ D / n - exact) <= 5 * np.sqrt(3 * np.outer(d, d) / n)).all()
    assert (np.abs(D.mean(axis=0)) <= 5 * np.sqrt(d / n)).all()


def test_compose_orbit_is_the_product():
    both = Compose(*FINITE)
    parameters, probabilities = both.orbit(4)
    assert both.orbit_size(4) == len(parameters) == 2 * 6 * 4
    assert probabilities.sum() == pytest.approx(1.0, rel=1e-14)
    expected = {}
    orbits = [list(zip(*member.orbit(4), strict=True)) for member in FINITE]
    for elements in itertools.product(*orbits):
        expected[tuple(np.concatenate([g for g, _ in elements]))] = math.prod(p for _, p in elements)
    assert {tuple(g) for g in parameters} == set(expected)
    for g, probability in zip(parameters, probabilities, strict=True):
        assert probability == pytest.approx(expected[tuple(g)], rel=1e-13)


# ------------------------------------------------------------------ one of


def test_one_of_applies_the_chosen_member():
    X = rows(200)
    either = OneOf(*ADDITIVE, weights=[1.0, 2.0, 5.0])
    moved, G = either(X, np.random.default_rng(0))
    assert either.parameter_names(4) == [
        *("choice0", "choice1", "choice2"),
        *("0.noise1", "0.noise3", "1.shift0", "2.noise0", "2.noise1", "2.noise2", "2.noise3"),
    ]
    parts = G[:, 3:5], G[:, 5:6], G[:, 6:]
    assert (G[:, :3].sum(axis=1) == 1).all()
    for i in range(200):
        j = int(G[i, :3].argmax())
        np.testing.assert_array_equal(moved[i], ADDITIVE[j].apply(X[i : i + 1], parts[j][i : i + 1])[0])
        assert all((part[i] == 0).all() for k, part in enumerate(parts) if k != j)


def test_one_of_chooses_with_its_weights():
    n = 20_000
    choices = OneOf(*ADDITIVE, weights=[1, 2, 5]).sample(n, 4, np.random.default_rng(0))[:, :3].mean(axis=0)
    expected = np.array([0.125, 0.25, 0.625])
    assert (np.abs(choices - expected) < 5 * np.sqrt(expected * (1 - expected) / n)).all()
    np.testing.assert_allclose(OneOf(*ADDITIVE).probabilities, 1 / 3, rtol=1e-15)


def test_one_of_covariance_is_the_mixture():
    exact = 0.125 * COVARIANCES[0] + 0.25 * COVARIANCES[1] + 0.625 * COVARIANCES[2]
    either = OneOf(*ADDITIVE, weights=[1.0, 2.0, 5.0])
    np.testing.assert_allclose(either.covariance(4), exact, rtol=1e-14)
    check_second_moments(either, exact, np.maximum.reduce(COVARIANCES))


def test_one_of_orbit_is_the_union():
    either = OneOf(*FINITE, weights=[1, 1, 2])
    parameters, probabilities = either.orbit(4)
    assert either.orbit_size(4) == len(parameters) == 2 + 6 + 4
    X = rows(1)
    row = 0
    for j, weight in enumerate((0.25, 0.25, 0.5)):
        for g, probability in zip(*FINITE[j].orbit(4), strict=True):
            assert probabilities[row] == pytest.approx(weight * probability, rel=1e-14)
            assert parameters[row, :3].tolist() == np.eye(3)[j].tolist()
            np.testing.assert_array_equal(either.apply(X, parameters[[row]]), FINITE[j].apply(X, g[None]))
            row += 1


def test_a_branch_that_no_row_takes():
    flip, shape = ImageFlip(SHAPE), np.ones((1, 18))
    either = OneOf(flip, ImageRotation(SHAPE, 30.0), ChannelPermutation(SHAPE), weights=[1, 1, 1])
    np.testing.assert_array_equal(either.apply(shape, [[1, 0, 0, 1, 0, 0]]), shape)


# ------------------------------------------------------------------ what does not exist


@pytest.mark.parametrize("kind", [Compose, OneOf])
def test_no_covariance_or_orbit_unless_all_members_have_one(kind):
    assert kind(AdditiveNoise(), SignFlip()).covariance(4) is None
    assert kind(AdditiveNoise(), SignFlip()).orbit(4) is None
    assert kind(AdditiveNoise(), SignFlip()).orbit_size(4) is None
    assert Compose(SignFlip(), SignFlip()).orbit(6) is None and Compose(SignFlip(), SignFlip()).orbit_size(6) == 4096
    assert OneOf(SignFlip(), SignFlip()).orbit(10) is None and OneOf(SignFlip(), SignFlip()).orbit_size(10) == 2048


# ------------------------------------------------------------------ groups


@pytest.mark.parametrize(
    ("augmenter", "p", "order"),
    [
        (Compose(SignFlip([0]), SignFlip([0, 1], jointly=True)), 4, 4),
        (Compose(SignFlip([0, 3]), Permutation([[1, 2]])), 4, 8),
        (Compose(Permutation([[0, 1]]), Permutation([[2, 3]])), 4, 4),
        (Compose(ImageFlip(SHAPE), ImageFlip(SHAPE, "vertical")), 18, 4),
        (Compose(ImageFlip(SHAPE), ImageRotation(SHAPE, [0, 90, 180, 270]), ChannelPermutation(SHAPE)), 18, 16),
        (Compose(ImageFlip(SHAPE), ImageFlip(SHAPE, "vertical"), ImageRotation(SHAPE, [0, 90, 180, 270])), 18, 8),
        (Compose(ImageFlip(SHAPE), ImageFlip(SHAPE)), 18, 2),
        (Compose(SignFlip()), 3, 8),
        (OneOf(SignFlip()), 3, 8),
    ],
)
def test_products_that_call_themselves_groups_are(augmenter, p, order):
    """Closed, of the known order, and every map with the same probability."""
    assert augmenter.is_group
    parameters, probabilities = augmenter.orbit(p)
    law: dict[bytes, float] = {}
    maps = {}
    for g, probability in zip(parameters, probabilities, strict=True):
        matrix = augmenter.apply(np.eye(p), np.tile(g, (p, 1))) + 0.0
        law[matrix.tobytes()] = law.get(matrix.tobytes(), 0.0) + probability
        maps[matrix.tobytes()] = matrix
    assert len(law) == order
    np.testing.assert_allclose(list(law.values()), 1 / order, rtol=1e-12)
    assert {(a @ b + 0.0).tobytes() for a, b in itertools.product(maps.values(), maps.values())} == set(maps)


def test_products_that_are_no_groups_say_so():
    for augmenter in (
        Compose(SignFlip([0]), Permutation([[0, 1]])),  # a flip before the swap moves with it: not closed
        Compose(Permutation([[0, 1]]), Permutation([[1, 2]])),
        Compose(SignFlip([0]), Masking(0.5)),
        Compose(SignFlip(), Permutation([[0, 1]])),
        OneOf(SignFlip([0]), SignFlip([1])),
    ):
        assert not augmenter.is_group
    maps = [
        Compose(SignFlip([0]), Permutation([[0, 1]])).apply(np.eye(2), np.tile([a, b], (2, 1)))
        for a in (0, 1)
        for b in (0, 1)
    ]
    keys = {(m + 0.0).tobytes() for m in maps}
    assert any((a @ b + 0.0).tobytes() not in keys for a, b in itertools.product(maps, maps))


# ------------------------------------------------------------------ sparse rows, values, failures


@pytest.mark.parametrize("augmenter", [case for case in CASES if case.preserves_sparsity], ids=repr)
def test_sparse_stays_sparse_and_equals_dense(augmenter):
    dense = np.where(np.random.default_rng(3).random((40, 4)) < 0.5, rows(), 0.0)
    G = augmenter.sample(40, 4, np.random.default_rng(4))
    moved = augmenter.apply(sparse.csr_matrix(dense), G)
    assert sparse.issparse(moved) and moved.format == "csr"
    np.testing.assert_array_equal(moved.toarray(), augmenter.apply(dense, G))


def test_sparsity_is_kept_if_every_member_keeps_it():
    assert [case.preserves_sparsity for case in CASES] == [False, True, True, True, False, True, False]


@pytest.mark.parametrize("augmenter", CASES, ids=repr)
def test_combinations_are_values(augmenter, tmp_path):
    save(augmenter, tmp_path / "augmenter.ck")
    X = rows()
    expected = augmenter(X, np.random.default_rng(5))[0]
    for other in (
        pickle.loads(pickle.dumps(augmenter)),
        Augmenter.from_json(augmenter.to_json()),
        load(tmp_path / "augmenter.ck"),
    ):
        assert other == augmenter and hash(other) == hash(augmenter) and repr(other) == repr(augmenter)
        np.testing.assert_array_equal(other(X, np.random.default_rng(5))[0], expected)
    assert sum(augmenter == case for case in CASES) == 1
    with pytest.raises(AttributeError, match="immutable"):
        augmenter.augmenters = ()


def test_repr_names_the_members():
    assert repr(OneOf(SignFlip([0]), Masking(0.5), weights=[1, 3])) == (
        "OneOf(SignFlip(columns=(0,)), Masking(probability=0.5), weights=[1.0, 3.0])"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Compose(), "Compose needs at least one augmenter"),
        (lambda: OneOf(), "OneOf needs at least one augmenter"),
        (lambda: Compose(SignFlip(), lambda X, rng: X), "augmenters with parameters of their own; got <function"),
        (lambda: Compose(SignFlip), "got <class"),
        (lambda: OneOf(SignFlip(), weights=[1, 2]), "one positive number for each of the 1 augmenters"),
        (lambda: OneOf(SignFlip(), Masking(0.5), weights=[1, 0]), "positive"),
        (lambda: OneOf(SignFlip(), weights=[np.nan]), "weights must hold finite"),
        (lambda: OneOf(SignFlip(), weights=1.0), "1 axes"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(AugmentationError, match=message):
        make()


def test_a_wrapped_function_is_refused():
    from causalkit.augmentation.augmenters import FunctionAugmenter

    with pytest.raises(AugmentationError, match="Write one function"):
        Compose(FunctionAugmenter(lambda X, rng: X))


def test_a_member_that_does_not_fit_is_named():
    with pytest.raises(AugmentationError, match="NullSpaceShift has shape"):
        Compose(SignFlip([0]), NullSpaceShift(BASIS))(rows(p=3), np.random.default_rng(0))
