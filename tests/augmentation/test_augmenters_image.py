"""Augmenters of images: pixels by loops, rotations against scipy, laws of shifts, colour formulas, failures."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
from scipy import ndimage, sparse
from scipy.spatial.transform import Rotation

from causalkit.augmentation.augmenters import (
    Augmenter,
    ChannelPermutation,
    ColorJitter,
    ImageFlip,
    ImageRotation,
    ImageTranslation,
    Permutation,
)
from causalkit.exceptions import AugmentationError
from causalkit.persistence import load, save

SHAPE = (3, 4, 4)
P = math.prod(SHAPE)
CASES = [
    ImageFlip(SHAPE),
    ImageFlip(SHAPE, "vertical"),
    ImageRotation(SHAPE, 20.0),
    ImageRotation(SHAPE, [0, 90, 180, 270]),
    ImageRotation(SHAPE, (0, 180)),
    ImageTranslation(SHAPE, 0.3),
    ChannelPermutation(SHAPE),
    ColorJitter(SHAPE, 0.3, 0.4, 0.5, 0.1),
    ColorJitter(SHAPE, contrast=0.4),
]


def images(n=20, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).random((n, math.prod(shape)))


# ------------------------------------------------------------------ flips


@pytest.mark.parametrize("axis", ["horizontal", "vertical"])
def test_flip_by_loop(axis):
    shape = (2, 3, 5)
    X = images(12, shape)
    moved, G = ImageFlip(shape, axis)(X, np.random.default_rng(0))
    assert 0 < G.mean() < 1
    before, after = X.reshape(-1, *shape), moved.reshape(-1, *shape)
    for i, c, y, x in itertools.product(range(12), range(2), range(3), range(5)):
        source = (y, 4 - x) if axis == "horizontal" else (2 - y, x)
        assert after[i, c, y, x] == (before[i, c, *source] if G[i, 0] else before[i, c, y, x])


# ------------------------------------------------------------------ rotations


def test_quarter_turns_are_exact():
    X = images()
    for turns in range(-4, 5):
        moved = ImageRotation(SHAPE, [0, 90]).apply(X, np.full((20, 1), 90.0 * turns)).reshape(-1, *SHAPE)
        np.testing.assert_array_equal(moved, np.rot90(X.reshape(-1, *SHAPE), turns, axes=(2, 3)))


def test_half_turns_of_oblong_images_are_exact():
    X = images(5, (2, 3, 5))
    moved = ImageRotation((2, 3, 5), (0, 180)).apply(X, np.full((5, 1), 180.0)).reshape(-1, 2, 3, 5)
    np.testing.assert_array_equal(moved, X.reshape(-1, 2, 3, 5)[:, :, ::-1, ::-1])


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 5, 9)])
def test_rotation_is_bilinear(shape):
    """Against scipy, one image at a time; more images than one batch of the vectorised code."""
    X = images(600, shape)
    moved, G = ImageRotation(shape, 180.0)(X, np.random.default_rng(1))
    assert np.abs(G).max() > 170 and (G < 0).any()
    for i in range(0, 600, 23):
        plane = X[i].reshape(shape)
        expected = ndimage.rotate(plane, G[i, 0], axes=(2, 1), order=1, reshape=False, mode="grid-constant")
        np.testing.assert_allclose(moved[i].reshape(shape), expected, atol=1e-12)


def test_rotation_angles_are_uniform():
    G = ImageRotation(SHAPE, 30.0).sample(20_000, P, np.random.default_rng(0))
    assert np.abs(G).max() <= 30 and abs(G.mean()) < 5 * 30 / math.sqrt(3 * 20_000)
    H = ImageRotation(SHAPE, [0, 90, 270]).sample(20_000, P, np.random.default_rng(0))
    values, counts = np.unique(H, return_counts=True)
    assert values.tolist() == [0.0, 90.0, 270.0]
    assert np.abs(counts / 20_000 - 1 / 3).max() < 5 * math.sqrt(2 / 9 / 20_000)


# ------------------------------------------------------------------ translations


def shift_law(side, fraction):
    """P(round(side·U) = s) for U uniform in [-fraction, fraction], by lengths of intervals."""
    reach = side * fraction
    law = {}
    for s in range(-math.ceil(reach) - 1, math.ceil(reach) + 2):
        length = min(s + 0.5, reach) - max(s - 0.5, -reach)
        if length > 0:
            law[s] = length / (2 * reach)
    return law


def test_translation_by_loop():
    shape = (2, 3, 5)
    X = images(40, shape)
    moved, G = ImageTranslation(shape, 0.6)(X, np.random.default_rng(0))
    before, after = X.reshape(-1, *shape), moved.reshape(-1, *shape)
    shifts = np.rint(G * [5, 3]).astype(int)
    assert len(np.unique(shifts, axis=0)) > 10
    for i, c, y, x in itertools.product(range(40), range(2), range(3), range(5)):
        from_y, from_x = y - shifts[i, 1], x - shifts[i, 0]
        inside = 0 <= from_y < 3 and 0 <= from_x < 5
        assert after[i, c, y, x] == (before[i, c, from_y, from_x] if inside else 0.0)


@pytest.mark.parametrize(("shape", "fraction"), [((1, 8, 8), 0.1), ((1, 4, 16), 0.3), ((1, 28, 28), 0.1)])
def test_shifts_follow_their_law_apart(shape, fraction):
    """Each shift in units of its own side, and neither tells anything about the other."""
    n = 40_000
    G = ImageTranslation(shape, fraction).sample(n, math.prod(shape), np.random.default_rng(0))
    for column, side in ((0, shape[2]), (1, shape[1])):
        pixels = G[:, column] * side
        np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-12)
        law = shift_law(side, fraction)
        assert sum(law.values()) == pytest.approx(1.0)
        assert set(np.rint(pixels).astype(int)) == set(law)
        for s, probability in law.items():
            share = (np.rint(pixels) == s).mean()
            assert abs(share - probability) < 5 * math.sqrt(probability * (1 - probability) / n)
    assert abs(np.corrcoef(G.T)[0, 1]) < 5 / math.sqrt(n)


@pytest.mark.parametrize(("shape", "fraction"), [((1, 8, 8), 0.1), ((1, 4, 16), 0.3), ((1, 28, 28), 0.1)])
def test_share_of_pixels_moved_out_of_frame(shape, fraction):
    r"""1 - (1 - E|s_x|/w)(1 - E|s_y|/h), from the discrete laws of the rounded shifts."""
    height, width = shape[1:]
    law_x, law_y = shift_law(width, fraction), shift_law(height, fraction)
    mean_x = sum(p * abs(s) for s, p in law_x.items()) / width
    mean_y = sum(p * abs(s) for s, p in law_y.items()) / height
    formula = 1 - (1 - mean_x) * (1 - mean_y)
    augmenter = ImageTranslation(shape, fraction)
    pairs = list(itertools.product(law_x, law_y))
    G = np.array([[x / width, y / height] for x, y in pairs])
    lost = 1 - augmenter.apply(np.ones((len(G), math.prod(shape))), G).mean(axis=1)
    weights = np.array([law_x[x] * law_y[y] for x, y in pairs])
    assert weights @ lost == pytest.approx(formula, rel=1e-12)
    moved, _ = augmenter(np.ones((4000, math.prod(shape))), np.random.default_rng(0))
    spread = math.sqrt(weights @ (lost - formula) ** 2)
    assert abs(1 - moved.mean() - formula) < 5 * spread / math.sqrt(4000)
    assert formula < 2 * fraction


def test_no_shift_without_fraction():
    X = images()
    np.testing.assert_array_equal(ImageTranslation(SHAPE, 0.0)(X, np.random.default_rng(0))[0], X)


# ------------------------------------------------------------------ channels


def test_channel_permutation_is_a_permutation_of_blocks():
    X = images()
    channels = ChannelPermutation(SHAPE)
    blocks = Permutation([[tuple(range(16 * c, 16 * (c + 1))) for c in range(3)]])
    parameters, probabilities = channels.orbit(P)
    np.testing.assert_array_equal(parameters, blocks.orbit(P)[0])
    np.testing.assert_array_equal(probabilities, np.full(6, 1 / 6))
    for g in parameters:
        G = np.tile(g, (20, 1))
        np.testing.assert_array_equal(channels.apply(X, G), blocks.apply(X, G))
        kept = channels.apply(sparse.csr_array(np.where(X < 0.3, X, 0.0)), G)
        assert sparse.issparse(kept)
        np.testing.assert_array_equal(kept.toarray(), channels.apply(np.where(X < 0.3, X, 0.0), G))
    orders = {tuple(channels.apply(np.repeat([[1.0, 2.0, 3.0]], 16, axis=1), g[None])[0, ::16]) for g in parameters}
    assert orders == set(itertools.permutations((1.0, 2.0, 3.0)))


# ------------------------------------------------------------------ colour


def test_colour_steps_by_formula():
    """One step at a time, with values far from the limits so that nothing is cut off."""
    X = 0.4 + 0.2 * images(6)
    pixels = X.reshape(6, *SHAPE)
    for i, factor in enumerate((0.8, 1.0, 1.1, 1.2, 0.9, 0.7)):
        G, x = np.full((6, 1), factor), pixels[i]
        np.testing.assert_allclose(ColorJitter(SHAPE, brightness=0.3).apply(X, G)[i], (factor * x).ravel(), rtol=1e-13)
        mean = sum(x.ravel()) / P
        expected = mean + factor * (x - mean)
        np.testing.assert_allclose(ColorJitter(SHAPE, contrast=0.3).apply(X, G)[i], expected.ravel(), rtol=1e-13)
        grey = (x[0] + x[1] + x[2]) / 3
        expected = grey + factor * (x - grey)
        np.testing.assert_allclose(ColorJitter(SHAPE, saturation=0.3).apply(X, G)[i], expected.ravel(), rtol=1e-13)
        turn = Rotation.from_rotvec(2 * np.pi * (factor - 1) * np.ones(3) / math.sqrt(3)).as_matrix()
        expected = np.einsum("ab,bij->aij", turn, x)
        moved = ColorJitter(SHAPE, hue=0.5).apply(X, G - 1)[i]
        np.testing.assert_allclose(moved, expected.ravel(), rtol=1e-13)


def test_colour_steps_in_their_order():
    X = 0.4 + 0.2 * images(6)
    G = np.random.default_rng(0).uniform([0.9, 0.8, 0.8, -0.1], [1.1, 1.2, 1.2, 0.1], (6, 4))
    step = X
    for column, name in enumerate(("brightness", "contrast", "saturation", "hue")):
        step = ColorJitter(SHAPE, **{name: 0.3}).apply(step, G[:, [column]])
    np.testing.assert_array_equal(ColorJitter(SHAPE, 0.3, 0.3, 0.3, 0.3).apply(X, G), step)


def test_a_third_of_a_turn_cycles_the_channels():
    X = images(6)
    moved = ColorJitter(SHAPE, hue=0.5).apply(X, np.full((6, 1), 1 / 3)).reshape(6, *SHAPE)
    np.testing.assert_allclose(moved, np.roll(X.reshape(6, *SHAPE), 1, axis=1), atol=1e-13)


def test_colour_keeps_the_limits_of_the_image():
    strong = ColorJitter(SHAPE, 3.0, 3.0, 3.0, 0.5)
    unit, wide = images(200), 10 * images(200) - 5
    moved, G = strong(np.vstack([unit, wide]), np.random.default_rng(0))
    assert (G[:, :3] >= 0).all() and np.abs(G[:, 3]).max() <= 0.5
    assert moved[:200].min() == 0.0 and moved[:200].max() == 1.0
    assert (moved[200:].min(axis=1) >= wide.min(axis=1)).all() and (moved[200:].max(axis=1) <= wide.max(axis=1)).all()
    np.testing.assert_array_equal(moved[:200], strong.apply(unit, G[:200]))


def test_colour_leaves_grey_alone():
    grey = np.tile(images(20, (1, 4, 4)), 3)
    moved, _ = ColorJitter(SHAPE, saturation=0.8, hue=0.5)(grey, np.random.default_rng(0))
    np.testing.assert_allclose(moved, grey, atol=1e-15)


def test_colour_of_any_number_of_channels():
    shape = (5, 2, 2)
    augmenter = ColorJitter(shape, brightness=0.2, saturation=0.2)
    assert augmenter.parameter_names(20) == ["brightness", "saturation"]
    X = images(7, shape)
    moved, G = augmenter(X, np.random.default_rng(0))
    assert G.shape == (7, 2) and not np.array_equal(moved, X)


# ------------------------------------------------------------------ groups, range, values

GROUPS = [
    ImageFlip(SHAPE),
    ImageFlip(SHAPE, "vertical"),
    ImageRotation(SHAPE, [0, 90, 180, 270]),
    ImageRotation(SHAPE, (360, -180)),
    ChannelPermutation(SHAPE),
]


@pytest.mark.parametrize("augmenter", GROUPS, ids=repr)
def test_groups_are_closed_and_average_to_a_projection(augmenter):
    parameters, probabilities = augmenter.orbit(P)
    maps = [augmenter.apply(np.eye(P), np.tile(g, (P, 1))) for g in parameters]
    keys = {m.tobytes() for m in maps}
    assert augmenter.is_group and len(keys) == len(maps) == augmenter.orbit_size(P)
    assert all((a @ b).tobytes() in keys for a, b in itertools.product(maps, maps))
    np.testing.assert_array_equal(probabilities, np.full(len(maps), 1 / len(maps)))
    average = sum(maps) / len(maps)
    np.testing.assert_allclose(average @ average, average, atol=1e-14)
    np.testing.assert_allclose(average, average.T, atol=1e-14)
    for m in maps:
        np.testing.assert_allclose(m @ average, average, atol=1e-14)


def test_what_is_no_group():
    for augmenter in (
        ImageRotation(SHAPE, 20.0),
        ImageRotation(SHAPE, [0, 90]),
        ImageRotation(SHAPE, [90]),
        ImageTranslation(SHAPE, 0.2),
        ColorJitter(SHAPE, 0.1),
    ):
        assert not augmenter.is_group
    assert ImageRotation(SHAPE, 20.0).orbit(P) is None and ImageRotation(SHAPE, 20.0).orbit_size(P) is None
    assert ChannelPermutation((7, 1, 1)).orbit(7) is None and ChannelPermutation((7, 1, 1)).orbit_size(7) == 5040


@pytest.mark.parametrize("augmenter", CASES, ids=repr)
def test_values_stay_in_range(augmenter):
    X = images(300)
    moved, G = augmenter(X, np.random.default_rng(0))
    assert moved.shape == X.shape and moved.min() >= 0.0 and moved.max() <= 1.0
    assert G.shape == (300, len(augmenter.parameter_names(P)))
    assert not np.array_equal(moved, X)
    assert augmenter.apply(X[:0], G[:0]).shape == (0, P)


@pytest.mark.parametrize("augmenter", CASES, ids=repr)
def test_images_are_moved_one_by_one(augmenter):
    """A row's result depends on that row and its parameters alone, to the last bit."""
    X = images(30)
    moved, G = augmenter(X, np.random.default_rng(0))
    for i in range(30):
        np.testing.assert_array_equal(augmenter.apply(X[i : i + 1], G[i : i + 1]), moved[i : i + 1])
    np.testing.assert_array_equal(X, images(30))


@pytest.mark.parametrize("augmenter", CASES, ids=repr)
def test_image_augmenters_are_values(augmenter, tmp_path):
    save(augmenter, tmp_path / "augmenter.ck")
    X = images()
    expected = augmenter(X, np.random.default_rng(5))[0]
    for other in (
        pickle.loads(pickle.dumps(augmenter)),
        Augmenter.from_json(augmenter.to_json()),
        load(tmp_path / "augmenter.ck"),
        eval(repr(augmenter)),
    ):
        assert other == augmenter and hash(other) == hash(augmenter)
        np.testing.assert_array_equal(other(X, np.random.default_rng(5))[0], expected)
    assert sum(augmenter == case for case in CASES) == 1
    assert augmenter.covariance(P) is None


def test_parameter_names():
    assert [case.parameter_names(P) for case in CASES] == [
        ["horizontal_flip"],
        ["vertical_flip"],
        ["angle"],
        ["angle"],
        ["angle"],
        ["shift_x", "shift_y"],
        ["channel_permutation"],
        ["brightness", "contrast", "saturation", "hue"],
        ["contrast"],
    ]


# ------------------------------------------------------------------ failures


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageFlip((8, 8)), r"image_shape must be \(channels, height, width\)"),
        (lambda: ImageFlip(64), "image_shape must be"),
        (lambda: ImageFlip((1, 0, 8)), "height of image_shape must be an integer at least 1"),
        (lambda: ImageFlip((1, 8, 8), "diagonal"), "axis must be one of"),
        (lambda: ImageRotation(SHAPE, -5), "degrees must be a finite number"),
        (lambda: ImageRotation(SHAPE, 0), "degrees must be positive"),
        (lambda: ImageRotation(SHAPE, "90"), "degrees must be"),
        (lambda: ImageRotation(SHAPE, [0, 45]), "multiples of 90"),
        (lambda: ImageRotation(SHAPE, []), "multiples of 90"),
        (lambda: ImageRotation(SHAPE, [0, 360]), "distinct modulo 360"),
        (lambda: ImageRotation((1, 2, 3), [0, 90]), "quarter turns need square images"),
        (lambda: ImageTranslation(SHAPE, 1.5), "fraction must be"),
        (lambda: ChannelPermutation((1, 2, 2)), "2 to 18 channels; got 1"),
        (lambda: ColorJitter(SHAPE), "all 0"),
        (lambda: ColorJitter(SHAPE, brightness=-1), "brightness must be"),
        (lambda: ColorJitter(SHAPE, hue=0.6), "hue must be"),
        (lambda: ColorJitter((2, 4, 4), hue=0.1), "hue needs images of 3 channels"),
        (lambda: ColorJitter((1, 4, 4), saturation=0.1), "at least 2 channels"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("augmenter", CASES, ids=repr)
def test_rows_of_another_width(augmenter):
    with pytest.raises(AugmentationError, match=r"3 x 4 x 4 = 48 features .* X has 47"):
        augmenter(np.zeros((2, 47)), np.random.default_rng(0))
    with pytest.raises(AugmentationError, match="X has 47"):
        augmenter.apply(np.zeros((2, 47)), np.zeros((2, 1)))


def test_sparse_images_are_refused():
    with pytest.raises(AugmentationError, match="ImageFlip fills the zeros"):
        ImageFlip(SHAPE)(sparse.csr_array(images()), np.random.default_rng(0))
