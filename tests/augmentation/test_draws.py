"""Draws of an augmentation: the same for any chunks, orbits, covariances, and every failure by name."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import sparse

from causalkit.augmentation.augmenters import (
    AdditiveNoise,
    Augmenter,
    ChannelPermutation,
    ColorJitter,
    Compose,
    FunctionAugmenter,
    ImageFlip,
    ImageRotation,
    ImageTranslation,
    Masking,
    NullSpaceShift,
    OneOf,
    Permutation,
    Scaling,
    SignFlip,
)
from causalkit.augmentation.draws import (
    BLOCK_ROWS,
    augment,
    augmentation_name,
    known_covariance,
    orbit_draws,
)
from causalkit.exceptions import AugmentationError, MethodNotApplicableError

P = 12
SHAPE = (3, 2, 2)
GENERATOR = np.random.default_rng(11)
ROOT = GENERATOR.standard_normal((P, P))
CASES = [
    AdditiveNoise(0.5),
    AdditiveNoise(covariance=ROOT @ ROOT.T),
    NullSpaceShift(ROOT[:7]),
    SignFlip(),
    SignFlip([1, 2], jointly=True),
    Masking(0.3, value=2.0),
    Scaling(0.5, 2.0),
    Permutation([[0, 1, 2], [(3, 4), (5, 6)]]),
    ImageFlip(SHAPE),
    ImageRotation(SHAPE, 50.0),
    ImageRotation(SHAPE, [0, 90]),
    ImageTranslation(SHAPE, 0.5),
    ChannelPermutation(SHAPE),
    ColorJitter(SHAPE, 0.2, 0.2, 0.2, 0.2),
    Compose(SignFlip(), NullSpaceShift(ROOT[:3]), ImageFlip(SHAPE)),
    OneOf(AdditiveNoise(), Permutation([[0, 1]]), Compose(SignFlip([0]), Masking(0.5))),
]
N = BLOCK_ROWS + 900
SPLITS = [[1], [700, 701], [BLOCK_ROWS - 1, BLOCK_ROWS + 1], [3, 1000, 4500, N - 1]]


def rows(n=N, p=P):
    return np.random.default_rng(0).standard_normal((n, p))


class BackwardNoise(Augmenter):
    """A user's augmenter whose first draws depend on how many rows are drawn."""

    def parameter_names(self, n_features):
        return ["noise"]

    def sample(self, n_rows, n_features, rng):
        return rng.standard_normal((n_rows, 1))[::-1]

    def apply(self, X, G):
        return X + G


class ReturnsNaN(BackwardNoise):
    def apply(self, X, G):
        moved = X + G
        moved[2, 1] = np.nan
        return moved


def shift(X, rng):
    G = rng.standard_normal((len(X), 2))
    return X + G[:, :1], G


# ------------------------------------------------------------------ chunks


@pytest.mark.parametrize("augmenter", [*CASES, BackwardNoise()], ids=repr)
def test_any_split_of_the_rows_gives_the_same_draws(augmenter):
    X = rows()
    whole = augment(augmenter, X, seed=5, draw=2)
    assert whole.features.shape == X.shape and whole.features.dtype == np.float64
    assert whole.parameters.shape == (N, len(augmenter.parameter_names(P)))
    for split in SPLITS:
        bounds = [0, *split, N]
        parts = [augment(augmenter, X[a:b], seed=5, draw=2, first_row=a) for a, b in itertools.pairwise(bounds)]
        np.testing.assert_array_equal(np.concatenate([part.features for part in parts]), whole.features)
        np.testing.assert_array_equal(np.concatenate([part.parameters for part in parts]), whole.parameters)


@pytest.mark.parametrize("augmenter", CASES, ids=repr)
def test_sequential_means_that_fewer_rows_are_the_first_ones(augmenter):
    assert augmenter.is_sequential
    many = augmenter.sample(1000, P, np.random.default_rng(3))
    for n in (1, 2, 511):
        np.testing.assert_array_equal(augmenter.sample(n, P, np.random.default_rng(3)), many[:n])


@pytest.mark.parametrize("augmenter", CASES, ids=repr)
def test_draws_repeat_and_differ_by_seed_draw_and_block(augmenter):
    X = rows(BLOCK_ROWS + 64)
    first = augment(augmenter, X, seed=5).parameters
    np.testing.assert_array_equal(first, augment(augmenter, X, seed=5, draw=0).parameters)
    for other in (augment(augmenter, X, seed=6), augment(augmenter, X, seed=5, draw=1)):
        assert not np.array_equal(first, other.parameters)
    assert not np.array_equal(first[:64], first[BLOCK_ROWS:])


def test_parameters_reproduce_the_features():
    X = rows(100)
    drawn = augment(CASES[-2], X, seed=0)
    np.testing.assert_array_equal(CASES[-2].apply(X, drawn.parameters), drawn.features)


def test_noise_is_what_its_key_says():
    """The documented key: one generator per (seed, block, draw)."""
    X = np.zeros((BLOCK_ROWS + 3, 2))
    drawn = augment(AdditiveNoise(), X, seed=7, draw=4).features
    for block, part in ((0, drawn[:BLOCK_ROWS]), (1, drawn[BLOCK_ROWS:])):
        rng = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(block, 4)))
        np.testing.assert_array_equal(part, rng.standard_normal(part.shape))


def test_sparse_chunks_stay_sparse_and_equal_dense():
    dense = np.where(np.random.default_rng(1).random((N, P)) < 0.2, rows(), 0.0)
    for augmenter in (SignFlip(), Masking(0.5), Scaling(0, 1), Permutation([[0, 1, 2]]), ChannelPermutation(SHAPE)):
        drawn = augment(augmenter, sparse.csr_matrix(dense), seed=1)
        assert sparse.issparse(drawn.features) and drawn.features.format == "csr"
        expected = augment(augmenter, dense, seed=1)
        np.testing.assert_array_equal(drawn.features.toarray(), expected.features)
        np.testing.assert_array_equal(drawn.parameters, expected.parameters)


def test_no_rows():
    drawn = augment(SignFlip(), np.zeros((0, 3)), seed=0)
    assert drawn.features.shape == (0, 3) and drawn.parameters.shape == (0, 3)


# ------------------------------------------------------------------ functions


@pytest.mark.parametrize("wrap", [lambda f: f, FunctionAugmenter], ids=["plain", "wrapped"])
def test_functions_draw_by_block_of_the_chunk(wrap):
    X = rows()
    drawn = augment(wrap(shift), X, seed=3)
    np.testing.assert_array_equal(drawn.features, X + drawn.parameters[:, :1])
    np.testing.assert_array_equal(drawn.features, augment(wrap(shift), X, seed=3).features)
    halves = [augment(wrap(shift), X[a:b], seed=3, first_row=a).parameters for a, b in ((0, 100), (100, 200))]
    np.testing.assert_array_equal(halves[0], drawn.parameters[:100])
    assert not np.intersect1d(halves[0], halves[1]).size
    assert not np.intersect1d(drawn.parameters[:BLOCK_ROWS], drawn.parameters[BLOCK_ROWS:]).size


def test_functions_may_return_features_alone_or_one_parameter():
    X = rows(10)
    alone = augment(lambda X, rng: (X + 1).astype(np.float32).tolist(), X, seed=0)
    assert alone.parameters is None
    np.testing.assert_array_equal(alone.features, (X + 1).astype(np.float32))
    one = augment(lambda X, rng: (X, np.arange(len(X))), X, seed=0)
    assert one.parameters.shape == (10, 1) and one.parameters.dtype == np.float64
    np.testing.assert_array_equal(one.features, X)


def test_functions_of_sparse_rows():
    X = sparse.csr_array(np.eye(4))
    drawn = augment(lambda X, rng: (2 * X).tocoo(), X, seed=0)
    assert drawn.features.format == "csr"
    np.testing.assert_array_equal(drawn.features.toarray(), 2 * np.eye(4))
    filled = augment(lambda X, rng: sparse.csr_array(X), np.eye(4), seed=0)
    assert isinstance(filled.features, np.ndarray)


def test_names():
    assert augmentation_name(SignFlip([0])) == "SignFlip(columns=(0,))"
    assert augmentation_name(shift) == augmentation_name(FunctionAugmenter(shift)) == "shift"

    class Jitter:
        def __call__(self, X, rng):
            return X

    assert augmentation_name(Jitter()).endswith("Jitter")


# ------------------------------------------------------------------ orbits and covariances


def test_orbit_draws_average_to_the_expectation():
    """Every element once: the weighted mean over the orbit of a mask is (1 - π) x."""
    X = rows(30, 4)
    drawn = list(orbit_draws(Masking(0.3), X))
    assert len(drawn) == 16 and sum(p for p, _ in drawn) == pytest.approx(1.0, rel=1e-14)
    np.testing.assert_allclose(sum(p * part.features for p, part in drawn), 0.7 * X, atol=1e-14)
    for _, part in drawn:
        assert part.parameters.shape == (30, 4) and (part.parameters == part.parameters[0]).all()


def test_orbit_draws_of_a_group_are_invariant_on_average():
    X = rows(30)
    augmenter = Compose(ImageFlip(SHAPE), ImageRotation(SHAPE, [0, 90, 180, 270]))
    average = sum(p * part.features for p, part in orbit_draws(augmenter, X))
    per_channel = X.reshape(30, 3, 4).mean(axis=2)  # four pixels of a 2 x 2 image, all in one orbit
    np.testing.assert_allclose(average, np.repeat(per_channel, 4, axis=1), atol=1e-14)


def test_orbit_draws_of_sparse_rows():
    dense = np.where(rows(20, 4) > 0.5, 1.0, 0.0)
    for probability, part in orbit_draws(Permutation([[0, 1, 2]]), sparse.csr_array(dense)):
        assert probability == pytest.approx(1 / 6) and sparse.issparse(part.features)


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (AdditiveNoise(), r"AdditiveNoise\(\) is not a finite set .* use an integer n_draws"),
        (shift, "shift is not a finite set"),
        (FunctionAugmenter(shift), "shift is not a finite set"),
        (SignFlip(), r"SignFlip\(\) has an orbit of 4096 elements, more than the 1024"),
        (Compose(SignFlip(range(6)), SignFlip(range(6))), "orbit of 4096 elements"),
    ],
)
def test_orbits_that_do_not_exist(augmentation, message):
    with pytest.raises(MethodNotApplicableError, match=message):
        orbit_draws(augmentation, rows(5))


def test_known_covariance():
    np.testing.assert_array_equal(known_covariance(AdditiveNoise(2.0), 3), 4.0 * np.eye(3))
    for augmentation, name in ((SignFlip(), "SignFlip"), (shift, "shift"), (FunctionAugmenter(shift), "shift")):
        with pytest.raises(MethodNotApplicableError, match=rf"{name}.* no known covariance .*penalty='pointwise'"):
            known_covariance(augmentation, 3)


# ------------------------------------------------------------------ failures


def in_place(X, rng):
    X[3, 0] = 9.0
    return X


def in_place_beside(X, rng):
    moved = X + 1
    X.sort(axis=0)
    return moved


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (in_place, r"in_place changed X in place \(first changed row: 13\).*X.copy\(\)"),
        (in_place_beside, "in_place_beside changed X in place"),
        (lambda X, rng: X[:, :2], r"features of shape \(6, 2\) for rows 10 to 15: expected \(6, 4\)"),
        (lambda X, rng: X[:-1], r"features of shape \(5, 4\)"),
        (lambda X, rng: None, r"features of shape \(\) for rows"),
        (lambda X, rng: (X, X, X), r"features of shape \(3, 6, 4\)"),
        (lambda X, rng: X.astype(str).astype(object) + "a", "features that are not numbers"),
        (
            lambda X, rng: np.where(np.arange(6)[:, None] == 4, np.inf, X),
            r"features with NaN or infinity \(first bad row: 14\)",
        ),
        (lambda X, rng: (X, np.zeros((5, 1))), r"parameters G of shape \(5, 1\): expected \(6, k\)"),
        (lambda X, rng: (X, np.zeros((6, 1, 1))), "parameters G of shape"),
        (lambda X, rng: (X, np.full((6, 1), np.nan)), r"parameters G with NaN or infinity \(first bad row: 10\)"),
        (lambda X, rng: (X, [["a"]] * 6), "parameters that are not numbers"),
        (ReturnsNaN(), r"ReturnsNaN\(\) returned features with NaN or infinity \(first bad row: 12\)"),
        (ImageFlip(SHAPE), "ImageFlip expects rows of 3 x 2 x 2 = 12 features"),
    ],
)
def test_what_an_augmentation_must_not_return(augmentation, message):
    X = rows(6, 4)
    with pytest.raises(AugmentationError, match=message):
        augment(augmentation, X, seed=0, first_row=10)
    np.testing.assert_array_equal(X, rows(6, 4))


def test_parameters_must_be_of_one_kind_in_all_blocks():
    def turning(X, rng):
        return (X, np.zeros((len(X), 1))) if len(X) == BLOCK_ROWS else X

    def widening(X, rng):
        return X, np.zeros((len(X), 1 if len(X) == BLOCK_ROWS else 2))

    for function in (turning, widening):
        with pytest.raises(AugmentationError, match="one k for all rows"):
            augment(function, rows(), seed=0)


def test_sparse_rows_that_would_be_filled():
    X = sparse.csr_array(np.eye(4))
    for augmentation in (AdditiveNoise(), lambda X, rng: X.toarray(), BackwardNoise()):
        with pytest.raises(AugmentationError, match=r"fills the zeros of a sparse X .* pass dense chunks"):
            augment(augmentation, X, seed=0)


def test_sparse_rows_with_bad_values():
    def broken(X, rng):
        moved = X.copy()
        moved.data[2] = np.nan
        return moved

    def writing(X, rng):
        X.data[1] = 7.0
        return X.copy()

    def emptying(X, rng):
        X.data[2] = 0.0
        X.eliminate_zeros()
        return X

    X = sparse.csr_array(np.eye(4))
    with pytest.raises(AugmentationError, match="first bad row: 2"):
        augment(broken, X, seed=0)
    with pytest.raises(AugmentationError, match="first changed row: 1"):
        augment(writing, X, seed=0)
    with pytest.raises(AugmentationError, match="first changed row: 2"):
        augment(emptying, X, seed=0)
    np.testing.assert_array_equal(X.toarray(), np.eye(4))


@pytest.mark.parametrize("augmentation", [None, "flip", 3, SignFlip])
def test_what_is_no_augmentation(augmentation):
    for call in (
        lambda: augment(augmentation, rows(5), seed=0),
        lambda: orbit_draws(augmentation, rows(5)),
        lambda: known_covariance(augmentation, 3),
    ):
        with pytest.raises(AugmentationError, match="must be an augmenter or a function"):
            call()


@pytest.mark.parametrize("bad", [{"seed": -1}, {"seed": 0.5}, {"draw": -1}, {"first_row": -4}, {"first_row": None}])
def test_keys_must_be_integers(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be an integer at least 0"):
        augment(SignFlip(), rows(5), **{"seed": 0, **bad})
