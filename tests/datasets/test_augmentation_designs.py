"""Designs with an augmentation: documented draws, moments against formulas, known population risks."""

import pickle

import numpy as np
import pytest
from sklearn.kernel_approximation import Nystroem

from causalkit.datasets import make_linear_augmentation, make_nonlinear_augmentation, make_optical_like


def euclidean_ncer(h, f):
    risk = ((h - f) ** 2).sum()
    return risk / (risk + (f**2).sum())


@pytest.fixture(scope="module")
def designs():
    return [make_linear_augmentation(n_samples=1, random_state=seed) for seed in range(400)]


@pytest.fixture(scope="module")
def large():
    return make_linear_augmentation(n_samples=100_000, n_features=4, confounding=0.7, strength=1.5, random_state=2)


def test_linear_repeats_the_documented_draws():
    sample = make_linear_augmentation(
        n_samples=6, n_features=3, confounding=0.5, strength=2.0, keep_probability=0.6, violation=0.3, random_state=4
    )
    rng = np.random.default_rng(4)
    mixing, f = rng.normal(size=(3, 4)), rng.normal(size=3)
    C, noise_x, noise_y = rng.normal(size=(6, 3)), rng.normal(size=(6, 3)), rng.normal(size=6)
    G, uniform, weights = rng.normal(size=(6, 2)), rng.uniform(size=2), rng.normal(size=2)
    X = C @ mixing[:, :3] + 0.1 * noise_x
    kept = uniform <= 0.6
    assert kept.tolist() == [False, True]
    np.testing.assert_allclose(sample.X, X, rtol=1e-12)
    np.testing.assert_array_equal(sample.augmentation_parameters, G[:, kept])
    np.testing.assert_allclose(sample.augmented, X + G[:, kept] @ sample.basis, rtol=1e-12)
    np.testing.assert_allclose(sample.basis @ f, 0, atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(sample.basis, axis=1), 2.0, rtol=1e-14)
    coef = f + 0.3 * np.linalg.norm(f) * np.sign(weights[1]) * sample.basis[0] / 2
    np.testing.assert_allclose(sample.coef, coef, rtol=1e-12)
    np.testing.assert_allclose(sample.y, X @ coef + 0.5 * C @ mixing[:, 3] + 0.1 * noise_y, rtol=1e-12)


def test_linear_settings_leave_the_other_numbers_alone():
    settings = {"confounding": 0.0, "strength": 0.1, "keep_probability": 0.5, "violation": 0.4}
    plain = make_linear_augmentation(n_samples=5, n_features=6, random_state=1)
    other = make_linear_augmentation(n_samples=5, n_features=6, random_state=1, **settings)
    np.testing.assert_array_equal(plain.X, other.X)
    assert set(other.augmentation_parameters[0]) < set(plain.augmentation_parameters[0])
    assert not other.confounding_vector.any()
    np.testing.assert_allclose(other.least_squares_coef, other.coef, rtol=1e-14)


def test_linear_moments_are_the_stated_ones(large):
    n = len(large.y)
    residual = large.y - large.X @ large.coef
    scale = np.sqrt(np.diag(large.covariance))
    error = (large.X.T @ large.X / n - large.covariance) / np.outer(scale, scale)
    assert np.abs(error).max() < 5 * np.sqrt(2 / n)
    error = (large.X.T @ residual / n - large.confounding_vector) / (scale * residual.std())
    assert np.abs(error).max() < 5 * np.sqrt(2 / n)
    np.testing.assert_allclose(large.basis @ large.coef, 0, atol=1e-13)
    np.testing.assert_allclose(large.basis @ large.basis.T, 2.25 * np.eye(3), atol=1e-13)
    shift = large.augmented - large.X
    np.testing.assert_allclose(shift, large.augmentation_parameters @ large.basis, atol=1e-12)
    assert np.abs(large.augmentation_parameters.T @ residual / n).max() < 5 * residual.std() / np.sqrt(n)


def test_population_coefficients_are_limits_of_estimators(large):
    erm = np.linalg.lstsq(large.X, large.y)[0]
    augmented = np.linalg.lstsq(large.augmented, large.y)[0]
    np.testing.assert_allclose(large.least_squares_coef, erm, atol=0.05)
    np.testing.assert_allclose(large.population_coef(np.inf), augmented, atol=0.05)
    line = large.X @ large.coef
    np.testing.assert_allclose(large.population_coef(0), large.coef * (line @ large.y) / (line @ line), atol=0.05)
    # Small α is close to its limit, α times the risk plus that of the shift has its minimum where stated.
    np.testing.assert_allclose(large.population_coef(1e-9), large.population_coef(0.0), rtol=1e-5)
    d = large.augmented - large.X
    gram, cross = large.augmented.T @ large.augmented, large.augmented.T @ large.y
    solved = np.linalg.solve(0.3 * gram + d.T @ d, 0.3 * cross)
    np.testing.assert_allclose(large.population_coef(0.3), solved, atol=0.05)
    # None of these is what an analyst would get without confounding.
    assert np.linalg.norm(large.least_squares_coef - large.coef) > 0.2


def test_bias_formula_under_exact_invariance():
    sample = make_linear_augmentation(n_samples=1, n_features=8, strength=0.5, random_state=3)
    B = sample.basis.T @ sample.basis
    for alpha, c in ((np.inf, 1.0), (1.0, 2.0), (0.1, 11.0), (1e-3, 1001.0)):
        bias = np.linalg.solve(sample.covariance + c * B, sample.confounding_vector)
        np.testing.assert_allclose(sample.population_coef(alpha), sample.coef + bias, rtol=1e-9, atol=1e-9)


# Means over other seeds of the same design, with the α that they belong to; None is least squares.
@pytest.mark.parametrize(
    ("alpha", "published"), [(None, 0.4193), (np.inf, 0.0730), (1, 0.0500), (0.1, 0.0164), (0.01, 0.0026), (0, 0.0012)]
)
def test_population_risk_of_the_default_design(designs, alpha, published):
    fits = [d.least_squares_coef if alpha is None else d.population_coef(alpha) for d in designs]
    risks = np.array([euclidean_ncer(h, d.coef) for h, d in zip(fits, designs, strict=True)])
    se = risks.std(ddof=1) / np.sqrt(len(risks))
    # Both means carry the error of 400 designs, and the published one that of its rounding.
    assert abs(risks.mean() - published) < 3 * np.sqrt(2) * se + 5e-5


@pytest.mark.parametrize(("m", "keep", "erm", "augmented"), [(32, 2 / 3, None, 0.1013), (16, 1 / 3, 0.4734, 0.2303)])
def test_population_risk_with_few_directions(m, keep, erm, augmented):
    risks = []
    for seed in range(200):
        d = make_linear_augmentation(n_samples=1, n_features=m, keep_probability=keep, random_state=seed)
        risks.append([euclidean_ncer(h, d.coef) for h in (d.least_squares_coef, d.population_coef(np.inf))])
    mean, se = np.mean(risks, axis=0), np.std(risks, axis=0, ddof=1) / np.sqrt(200)
    assert abs(mean[1] - augmented) < 3 * np.sqrt(2) * se[1]
    assert erm is None or abs(mean[0] - erm) < 3 * np.sqrt(2) * se[0]


def test_rows_are_kept_with_the_stated_probability():
    kept = [
        len(make_linear_augmentation(n_samples=1, n_features=21, keep_probability=0.3, random_state=s).basis)
        for s in range(200)
    ]
    assert abs(np.mean(kept) - 6) < 4 * np.sqrt(20 * 0.3 * 0.7 / 200)
    rare = [make_linear_augmentation(1, 3, keep_probability=1e-6, random_state=s).basis.shape for s in range(20)]
    assert set(rare) == {(1, 3)}


def test_violation_is_a_share_of_the_effect_along_the_moved_directions():
    exact = make_linear_augmentation(n_samples=2, n_features=8, keep_probability=0.5, random_state=5)
    violated = make_linear_augmentation(n_samples=2, n_features=8, keep_probability=0.5, violation=0.1, random_state=5)
    np.testing.assert_array_equal(violated.basis, exact.basis)
    added = violated.coef - exact.coef
    assert np.linalg.norm(added) == pytest.approx(0.1 * np.linalg.norm(exact.coef), rel=1e-12)
    # It lies within the moved directions, whose rows are orthonormal, and the true effect no longer outside of them.
    np.testing.assert_allclose(added @ exact.basis.T @ exact.basis, added, atol=1e-14)
    assert np.linalg.norm(violated.basis @ violated.coef) == pytest.approx(np.linalg.norm(added), rel=1e-12)
    # In the limit α = 0 that component is lost, whatever the confounding.
    np.testing.assert_allclose(violated.basis @ violated.population_coef(0), 0, atol=1e-12)


def test_nonlinear_repeats_the_documented_draws():
    sample = make_nonlinear_augmentation(n_samples=5, n_test=3, random_state=0)
    rng = np.random.default_rng(0)
    for n, X, y, effect in (
        (5, sample.X, sample.y, sample.effect),
        (3, sample.X_test, sample.y_test, sample.effect_test),
    ):
        C, x1 = rng.normal(size=n), rng.normal(size=n)
        x2 = C + 0.3 * rng.normal(size=n)
        x3 = rng.normal(size=n)
        f = np.sin(2 * x1) + x3**2 / 2
        np.testing.assert_allclose(X, np.column_stack([x1, x2, x3]), rtol=1e-14)
        np.testing.assert_allclose(effect, f, rtol=1e-14)
        np.testing.assert_allclose(y, f + C + 0.2 * rng.normal(size=n), rtol=1e-14)
    shift = rng.normal(size=5)
    np.testing.assert_allclose(sample.augmented[:, 1], sample.X[:, 1] + shift, rtol=1e-14)
    np.testing.assert_array_equal(sample.augmented[:, [0, 2]], sample.X[:, [0, 2]])
    np.testing.assert_allclose(sample.X + sample.augmentation_parameters @ sample.basis, sample.augmented, rtol=1e-14)


def test_nonlinear_errors_of_a_kernel_fit():
    sample = make_nonlinear_augmentation(random_state=0)
    mapping = Nystroem(gamma=0.2, n_components=300, random_state=0).fit(np.vstack([sample.augmented, sample.X]))
    gx, x, test = (mapping.transform(rows) for rows in (sample.augmented, sample.X, sample.X_test))

    def error(rows, weight=0.0):
        rows, differences = rows - rows.mean(axis=0), gx - x
        gram = rows.T @ rows + weight * differences.T @ differences + 1e-4 * len(rows) * np.eye(300)
        h = test @ np.linalg.solve(gram, rows.T @ (sample.y - sample.y.mean()))
        return np.var(h - sample.effect_test) / np.var(sample.effect_test)

    assert 0.85 <= error(x) <= 0.95
    assert 0.22 <= error(gx) <= 0.32
    assert error(gx, weight=10.0) <= 0.06 < error(gx, weight=1.0) < error(gx)


def test_optical_moments_are_the_stated_ones():
    sample = make_optical_like(100_000, brightness=0.8, random_state=0)
    residual = sample.y - sample.X @ sample.coef
    tolerance = 5 * np.sqrt(2 / 100_000)
    b = np.array([1, 0.75, 0.5, 0.75, 0.5, 0.25, 0.5, 0.25, 0])
    covariance = np.ones((9, 9)) + 0.25 * np.eye(9) + 0.64 * np.outer(b, b)
    np.testing.assert_allclose(sample.covariance, covariance, rtol=1e-14)
    np.testing.assert_allclose(sample.X.T @ sample.X / 100_000, covariance, atol=2 * tolerance)
    np.testing.assert_allclose(sample.confounding_vector, 0.64 * b, rtol=1e-14)
    np.testing.assert_allclose(sample.X.T @ residual / 100_000, 0.64 * b, atol=2 * tolerance)
    np.testing.assert_allclose(residual - 0.8 * sample.led, 0, atol=0.6)
    assert (residual - 0.8 * sample.led).std() == pytest.approx(0.1, rel=0.02)
    np.testing.assert_allclose(sample.least_squares_coef, np.linalg.lstsq(sample.X, sample.y)[0], atol=0.02)


def test_optical_invariances():
    sample = make_optical_like(50, random_state=1)
    images = sample.X.reshape(-1, *sample.image_shape)
    outcome = sample.X @ sample.coef
    for moved in (images[..., ::-1], images[..., ::-1, :], np.rot90(images, axes=(2, 3))):
        rows = moved.reshape(50, 9)
        np.testing.assert_allclose(rows @ sample.coef, outcome, rtol=1e-12, atol=1e-13)
        # The LED's light does not stay where it is, so that there is something to gain.
        assert not np.allclose(rows, sample.X)
    shuffled = np.random.default_rng(0).permuted(sample.X, axis=1)
    np.testing.assert_allclose(shuffled @ sample.coef, outcome, rtol=1e-12, atol=1e-13)
    # Noise on any single pixel changes the outcome.
    assert (sample.coef > 0).all()
    # With equal weights the fit that no permutation changes is better, and confounding of the sum remains.
    one = np.ones(9)
    weight = one @ (sample.covariance @ sample.coef + sample.confounding_vector) / (one @ sample.covariance @ one)
    assert euclidean_ncer(weight * one, sample.coef) < 0.2 * euclidean_ncer(sample.least_squares_coef, sample.coef)
    # By hand: 1'v = 4.5 and 1'Σ1 = 81 + 9/4 + 4.5².
    assert weight == pytest.approx(1 / 3 + 4.5 / 103.5, rel=1e-12)


def test_optical_without_led_is_not_confounded():
    sample = make_optical_like(20, brightness=0, random_state=0)
    np.testing.assert_allclose(sample.least_squares_coef, sample.coef, rtol=1e-14)
    assert np.abs(sample.y - sample.X @ sample.coef).max() < 0.5


MAKERS = [
    lambda seed: make_linear_augmentation(4, 3, random_state=seed),
    lambda seed: make_nonlinear_augmentation(4, 4, random_state=seed),
    lambda seed: make_optical_like(4, random_state=seed),
]


@pytest.mark.parametrize("make", MAKERS)
def test_randomness_comes_from_random_state_alone(make):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    np.testing.assert_array_equal(make(4).y, make(np.random.default_rng(4)).y)
    assert not np.array_equal(make(4).y, make(5).y)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("make", MAKERS)
def test_records_are_frozen_and_can_be_pickled(make):
    sample = make(0)
    with pytest.raises(AttributeError):
        sample.y = None
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(sample)).X, sample.X)
    assert "n=4" in repr(sample)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make_linear_augmentation(n_samples=0), "n_samples must be an integer at least 1"),
        (lambda: make_linear_augmentation(n_features=1), "n_features must be an integer at least 2"),
        (lambda: make_linear_augmentation(confounding=np.nan), "confounding must be a finite number"),
        (lambda: make_linear_augmentation(strength=0.0), "strength must be a finite number above 0"),
        (lambda: make_linear_augmentation(keep_probability=0.0), "keep_probability must be a finite number above 0"),
        (lambda: make_linear_augmentation(keep_probability=1.5), "keep_probability must be a probability above 0"),
        (lambda: make_linear_augmentation(violation="much"), "violation must be a finite number"),
        (lambda: make_linear_augmentation(random_state="one"), "random_state must be None"),
        (lambda: make_linear_augmentation(1, 2, random_state=0).population_coef(-1), r"alpha must be in \[0, inf\]"),
        (lambda: make_linear_augmentation(1, 2, random_state=0).population_coef(np.nan), "alpha must be in"),
        (lambda: make_nonlinear_augmentation(n_test=0), "n_test must be an integer at least 1"),
        (lambda: make_optical_like(brightness=np.inf), "brightness must be a finite number"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
