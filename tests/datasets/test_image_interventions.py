"""Images that actions move: the law of the design without images, pictures against slow code, failures."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import shift
from sklearn.datasets import load_digits

from causalkit.datasets import InterventionSample, make_intervention_curve, make_moved_digit, make_rendered_shapes

DESIGNS = [make_moved_digit, make_rendered_shapes]


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("options", [{}, {"strength": 2.0, "scale": 0.5}, {"null": True}])
def test_law_is_that_of_the_curve(design, options):
    sample = design(300, random_state=4, **options)
    plain = make_intervention_curve(300, n_latent=2, random_state=4, **options)
    assert isinstance(sample, InterventionSample)
    for name in ("actions", "y", "latent", "noise", "action_matrix"):
        assert_array_equal(getattr(sample, name), getattr(plain, name))
    far = np.array([[1.5, -1.0], [0.3, 2.0]])
    assert_array_equal(sample.do_mean(far), plain.do_mean(far))
    assert sample.features.shape == (300, 20, 20)
    assert sample.features.min() >= 0 and sample.features.max() <= 1
    assert_array_equal(sample.features, sample.render(sample.latent))


def test_digit_is_the_class_mean_shifted_bilinearly():
    sample = make_moved_digit(40, digit=7, random_state=0)
    images, target = load_digits(return_X_y=True)
    glyph = images[target == 7].mean(axis=0).reshape(8, 8) / 16
    assert_allclose(sample.glyph, glyph)
    canvas = np.zeros((20, 20))
    canvas[6:14, 6:14] = glyph
    for image, (right, down) in zip(sample.features, sample.latent, strict=True):
        moved = shift(canvas, 5 * np.tanh(np.array([down, right]) / 3), order=1)
        assert_allclose(image, moved, atol=1e-12)


def test_no_hidden_variable_pushes_the_digit_off_the_canvas():
    sample = make_moved_digit(10, random_state=0)
    corners = sample.render([[-50, -50], [50, 50], [-50, 50], [50, -50]])
    assert_allclose(corners.sum(axis=(1, 2)), sample.glyph.sum())
    assert_allclose(corners[0][1:9, 1:9], sample.glyph, atol=1e-12)


def test_ellipse_has_its_centre_and_angle():
    sample = make_rendered_shapes(60, random_state=1)
    pixel = np.arange(20) + 0.5
    for image, (z1, z2) in zip(sample.features, sample.latent, strict=True):
        mass = image / image.sum()
        x, y = mass.sum(axis=0) @ pixel, mass.sum(axis=1) @ pixel
        assert_allclose([x, y], [10 + 5 * np.tanh(z1 / 3), 10], atol=0.06)
        dx, dy = pixel - x, pixel - y
        cross = dy @ mass @ dx
        spread = (mass.sum(axis=0) @ dx**2, mass.sum(axis=1) @ dy**2)
        angle = 0.5 * np.arctan2(2 * cross, spread[0] - spread[1])
        assert_allclose(angle, 0.45 * np.pi * np.tanh(z2 / 3), atol=0.06)


def test_ellipse_pixels_by_hand():
    sample = make_rendered_shapes(5, random_state=0)
    z = np.array([[0.7, -1.1]])
    image = sample.render(z)[0]
    center, angle = 10 + 5 * np.tanh(0.7 / 3), 0.45 * np.pi * np.tanh(-1.1 / 3)
    for row, column in [(9, 11), (3, 12), (12, 8), (10, 15)]:
        x, y = column + 0.5 - center, row + 0.5 - 10
        along = x * np.cos(angle) + y * np.sin(angle)
        aside = -x * np.sin(angle) + y * np.cos(angle)
        radius = np.sqrt((along / 4.5) ** 2 + (aside / 1.8) ** 2)
        assert_allclose(image[row, column], 1 / (1 + np.exp((radius - 1) / 0.15)))


@pytest.mark.parametrize("design", DESIGNS)
def test_images_determine_the_hidden_variables(design):
    """The Jacobian of the image has two directions everywhere that the design goes, and blocks do not show."""
    sample = design(2100, random_state=2)
    assert_array_equal(sample.features[2040:2060], sample.render(sample.latent[2040:2060]))
    grid = np.stack(np.meshgrid(np.linspace(-5, 5, 11), np.linspace(-5, 5, 11)), axis=-1).reshape(-1, 2)
    step = 1e-4
    slopes = np.stack(
        [
            (sample.render(grid + step * unit) - sample.render(grid - step * unit)).reshape(len(grid), -1)
            for unit in np.eye(2)
        ],
        axis=-1,
    ) / (2 * step)
    assert np.linalg.svd(slopes, compute_uv=False)[:, -1].min() > 0.05


def test_failures_name_the_argument():
    with pytest.raises(ValueError, match="digit"):
        make_moved_digit(10, digit=10)
    with pytest.raises(ValueError, match="n_samples"):
        make_rendered_shapes(0)
    with pytest.raises(ValueError, match="two columns"):
        make_moved_digit(10, random_state=0).render([[1.0]])


def test_seed_and_words():
    assert_array_equal(make_moved_digit(50, random_state=3).features, make_moved_digit(50, random_state=3).features)
    assert "digit" in repr(make_moved_digit(5)) and "ellipse" in repr(make_rendered_shapes(5))
