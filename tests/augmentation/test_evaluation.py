"""Causal excess risk: exact rationals, the seeded samples, and both norms' order of estimators."""

from fractions import Fraction

import numpy as np
import pytest

from causalkit.augmentation.evaluation import causal_excess_risk, normalized_causal_excess_risk
from tests.augmentation.seeded_fixture import EFFECT_0, RISKS, SIGMA_RISKS_42, SUMS, seeded_sample

COVARIANCE = [[1.0, 2.0], [2.0, 5.0]]
EFFECT = [1.0, 0.0]
# Weight c of the augmentation's covariance: least squares, on augmented data, α = 1, α = .1, the limit α = 0.
EXACT = {
    0: ("1/5", "5/9"),
    1: ("5/21", "17/33"),
    2: ("17/53", "37/73"),
    11: ("485/1061", "577/1153"),
    float("inf"): ("1/2", "1/2"),
}


def biased(c):
    """f plus (Σ + cB)⁻¹v for B = e₂e₂' and v = (1, 5/2), which is (c, 1/2)/(1 + c)."""
    return [2.0, 0.0] if c == float("inf") else [1 + c / (1 + c), 0.5 / (1 + c)]


@pytest.mark.parametrize("c", EXACT)
def test_exact_rationals_in_both_norms(c):
    euclidean, sigma = (float(Fraction(text)) for text in EXACT[c])
    h = biased(c)
    if c != float("inf"):
        bias = np.linalg.solve(np.array(COVARIANCE) + c * np.diag([0, 1.0]), [1, 2.5])
        np.testing.assert_allclose(np.subtract(h, EFFECT), bias, rtol=1e-14)
        assert causal_excess_risk(h, EFFECT, COVARIANCE) == pytest.approx(1 + 0.25 / (1 + c) ** 2, rel=1e-14)
    assert normalized_causal_excess_risk(h, EFFECT, norm="euclidean") == pytest.approx(euclidean, rel=1e-14)
    assert normalized_causal_excess_risk(h, EFFECT, COVARIANCE, norm="sigma") == pytest.approx(sigma, rel=1e-14)


def test_augmentation_can_do_harm_in_the_euclidean_norm_only():
    fits = [biased(c) for c in sorted(EXACT)]
    assert (np.diff(normalized_causal_excess_risk(fits, EFFECT, norm="euclidean")) > 0).all()
    assert (np.diff(normalized_causal_excess_risk(fits, EFFECT, COVARIANCE, norm="sigma")) < 0).all()


def test_rows_are_separate_fits():
    fits = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    truth, root = np.array([1.0, 2.0, 3.0]), np.array([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [0.1, 0.2, 0.3]])
    covariance = root.T @ root
    risk = causal_excess_risk(fits, truth, covariance)
    np.testing.assert_allclose(risk, [((root @ (h - truth)) ** 2).sum() for h in fits], rtol=1e-13)
    assert risk[2] == 0 and isinstance(causal_excess_risk(fits[0], truth, covariance), float)
    share = normalized_causal_excess_risk(fits, truth, covariance, norm="sigma")
    assert share[1] == 0.5 and share[2] == 0.0
    # The covariance has no part in the Euclidean norm.
    with_it = normalized_causal_excess_risk(fits, truth, covariance, norm="euclidean")
    np.testing.assert_array_equal(with_it, normalized_causal_excess_risk(fits, truth, norm="euclidean"))
    np.testing.assert_allclose(with_it[0], (1 + 9 + 6.25) / (1 + 9 + 6.25 + 14), rtol=1e-14)


def test_risk_is_the_mean_squared_difference_of_predictions():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 3)) @ rng.standard_normal((3, 3))
    X -= X.mean(axis=0)
    h, f = rng.standard_normal(3), rng.standard_normal(3)
    expected = ((X @ h - X @ f) ** 2).mean()
    assert causal_excess_risk(h, f, np.cov(X, rowvar=False, ddof=0)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", [0, 42])
def test_seeded_samples(seed):
    sample = seeded_sample(seed)
    for name, total in SUMS[seed].items():
        assert getattr(sample, name).sum() == pytest.approx(total, rel=1e-9)
    np.testing.assert_allclose(sample.gamma @ sample.effect, 0, atol=1e-12)
    np.testing.assert_allclose(sample.gamma @ sample.gamma.T, np.eye(len(sample.effect) - 1), atol=1e-12)
    erm = np.linalg.lstsq(sample.X, sample.y)[0]
    augmented = np.linalg.lstsq(sample.GX, sample.y)[0]
    # Least squares along f alone: every other direction is moved.
    line = sample.X @ sample.effect
    constrained = sample.effect * (line @ sample.y) / (line @ line)
    for name, h in (("erm", erm), ("augmented", augmented), ("constrained", constrained)):
        value = normalized_causal_excess_risk(h, sample.effect, norm="euclidean")
        assert value == pytest.approx(RISKS[seed][name], abs=1e-8)
    if seed == 0:
        np.testing.assert_allclose(sample.effect, EFFECT_0, atol=1e-9)
        return
    for name, h in (("erm", erm), ("augmented", augmented)):
        value = normalized_causal_excess_risk(h, sample.effect, sample.covariance, norm="sigma")
        assert value == pytest.approx(SIGMA_RISKS_42[name], abs=1e-8)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: causal_excess_risk([1.0], [1.0, 2.0], np.eye(2)), "coef must have one number per entry of true_coef"),
        (lambda: causal_excess_risk(np.ones((3, 1)), [1.0, 2.0], np.eye(2)), "coef must have one number per entry"),
        (lambda: causal_excess_risk([1.0, np.nan], [1.0, 2.0], np.eye(2)), "coef contains NaN"),
        (lambda: causal_excess_risk([1.0, 2.0], [1.0, 2.0], np.eye(3)), "covariance must have shape"),
        (lambda: causal_excess_risk([1.0, 2.0], [1.0, 2.0], [[1.0, 0.5], [0.0, 1.0]]), "must be symmetric"),
        (lambda: causal_excess_risk([1.0, 2.0], [1.0, 2.0], [[1.0, 2.0], [2.0, 1.0]]), "positive semi-definite"),
        (lambda: normalized_causal_excess_risk([1.0], [1.0], norm="l2"), "norm must be one of 'sigma', 'euclidean'"),
        (lambda: normalized_causal_excess_risk([1.0], [1.0], norm="sigma"), "covariance is missing"),
        (lambda: normalized_causal_excess_risk([1.0], [0.0], norm="euclidean"), "true_coef must not be zero"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_norm_has_no_default():
    with pytest.raises(TypeError, match="norm"):
        normalized_causal_excess_risk([1.0], [1.0])
