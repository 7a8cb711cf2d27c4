"""Simulated compositions: the documented draws, and moments of large samples against the stated truth."""

import numpy as np
import pytest

from causalkit.datasets import make_composition_network, make_logistic_normal


def clr_covariance(X):
    logs = np.log(X)
    return np.cov(logs - logs.mean(axis=1, keepdims=True), rowvar=False)


def test_network_has_the_stated_edges():
    network = make_composition_network(n_samples=5, n_parts=40, random_state=0)
    pairs = np.argwhere(np.triu(network.adjacency)) + 1
    expected = [(j, j + 1) for j in range(1, 40) if j % 3]
    assert [tuple(pair) for pair in pairs.tolist()] == expected and len(expected) == 26
    assert (network.adjacency == network.adjacency.T).all()
    np.testing.assert_array_equal(network.basis_precision[network.adjacency], -0.4)
    np.testing.assert_allclose(network.X.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(network.X, network.amounts / network.amounts.sum(axis=1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize("scale_sd", [0.0, 0.6])
def test_network_precision_is_that_of_the_closed_amounts(scale_sd):
    network = make_composition_network(n_samples=40_000, n_parts=5, scale_sd=scale_sd, mean_sd=2.0, random_state=1)
    centre = np.eye(5) - 1 / 5
    gamma = centre @ np.linalg.inv(network.basis_precision) @ centre
    np.testing.assert_allclose(network.precision, np.linalg.pinv(gamma), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        np.log(network.amounts).std(axis=0), np.sqrt(np.diag(np.linalg.inv(network.basis_precision))), rtol=0.02
    )
    measured = np.linalg.pinv(clr_covariance(network.X), rcond=1e-10)
    root = np.sqrt(np.diag(measured))
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose((-measured / np.outer(root, root))[off], network.partial_correlation[off], atol=0.02)


def test_network_repeats_the_documented_draws():
    network = make_composition_network(n_samples=7, n_parts=4, scale_sd=0.5, mean_sd=2.0, random_state=3)
    rng = np.random.default_rng(3)
    scale, mean, noise = np.exp(0.5 * rng.normal(size=4)), 2 * rng.normal(size=4), rng.normal(size=(7, 4))
    chain = np.array([[1, -0.4, 0, 0], [-0.4, 1, -0.4, 0], [0, -0.4, 1, 0], [0, 0, 0, 1.0]])
    z = noise @ np.linalg.inv(np.linalg.cholesky(chain))
    np.testing.assert_allclose(np.log(network.amounts), mean + scale * z, rtol=1e-12, atol=1e-12)
    # Without spread of scales and means the noise is the same.
    plain = make_composition_network(n_samples=7, n_parts=4, random_state=3)
    np.testing.assert_allclose(np.log(plain.amounts), z, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reference", [-1, 0, 2])
def test_logistic_normal_has_the_given_moments(reference):
    mean = np.array([0.5, -1.0, 2.0])
    covariance = np.array([[1.0, 0.4, 0.2], [0.4, 2.0, -0.3], [0.2, -0.3, 0.5]])
    sample = make_logistic_normal(mean, covariance, 40_000, reference=reference, random_state=0)
    np.testing.assert_allclose(sample.X.sum(axis=1), 1, rtol=1e-14)
    logs = np.log(sample.X)
    ratios = np.delete(logs - logs[:, [reference]], reference, axis=1)
    np.testing.assert_allclose(ratios.mean(axis=0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(ratios, rowvar=False), covariance, atol=0.05)
    # The covariance of centred log-ratios follows from that of the additive ones, padded by the reference.
    padded = np.insert(np.insert(covariance, reference % 4, 0, axis=0), reference % 4, 0, axis=1)
    centre = np.eye(4) - 1 / 4
    np.testing.assert_allclose(sample.precision, np.linalg.pinv(centre @ padded @ centre), atol=1e-12)
    assert (np.diag(sample.partial_correlation) == 1).all()
    # Four parts, two of them given: by hand from the inverse of the additive covariance.
    inverse = np.linalg.inv(covariance)
    kept = np.delete(np.delete(sample.partial_correlation, reference, axis=0), reference, axis=1)
    assert kept[0, 1] == pytest.approx(-inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1]), abs=1e-12)


def test_logistic_normal_does_not_overflow():
    sample = make_logistic_normal([800.0, -800.0], np.eye(2), 3, random_state=0)
    assert np.isfinite(sample.X).all() and sample.X[0, 0] == 1.0


@pytest.mark.parametrize("make", [
    lambda seed: make_composition_network(n_samples=3, n_parts=4, random_state=seed).X,
    lambda seed: make_logistic_normal([0.0, 0.0], np.eye(2), 3, random_state=seed).X,
])  # fmt: skip
def test_randomness_comes_from_random_state_alone(make):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    np.testing.assert_array_equal(make(4), make(np.random.default_rng(4)))
    assert not np.array_equal(make(4), make(5))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make_composition_network(n_parts=2), "n_parts must be an integer at least 3"),
        (lambda: make_composition_network(n_samples=0), "n_samples must be an integer at least 1"),
        (lambda: make_composition_network(scale_sd=-1.0), "scale_sd must not be negative"),
        (lambda: make_composition_network(mean_sd=float("nan")), "mean_sd must be a finite number"),
        (lambda: make_logistic_normal([0.0], [[1.0]]), "at least 2 log-ratios"),
        (lambda: make_logistic_normal([0.0, 0.0], np.eye(3)), "covariance has 3 rows"),
        (lambda: make_logistic_normal([0.0, 0.0], np.ones((2, 3))), "covariance must have shape"),
        (lambda: make_logistic_normal([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]), "must be symmetric"),
        (lambda: make_logistic_normal([0.0, 0.0], np.ones((2, 2))), "must be positive definite"),
        (lambda: make_logistic_normal([0.0, 0.0], np.eye(2), reference=3), "reference must be an integer between -3"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
