"""TweedieCorrection against printed numbers, reference formulas, numerical derivatives and the mixture map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator

from causalkit import LinearCalibration, TweedieCorrection
from causalkit.datasets import make_mixture_map, mixture_map_truth
from causalkit.debiasing.score import fit_kernel_score
from tests.golden.debiasing_reference import closed_form_sample, kernel_tweedie, tweedie, weight_derivatives

# The true correction of the mixture map falls near 6.7, and its residual tests reject by chance.
pytestmark = pytest.mark.filterwarnings("ignore::causalkit.exceptions.CalibrationWarning")

POINTS = np.linspace(-2.5, 2.5, 11)


def sample_of(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions with two modes, a recalibration that is due, and survey weights."""
    rng = np.random.default_rng(seed)
    f = np.where(rng.random(n) < 0.5, rng.normal(-1, 0.5, n), rng.normal(1, 0.9, n))
    return f, 0.3 + 0.9 * f + rng.normal(size=n), rng.uniform(0.3, 2.5, n)


# ---------------------------------------------------------------------- printed values


@pytest.mark.parametrize(
    ("parameters", "estimate", "std_error", "tolerance"),
    [
        ({"score": "gaussian"}, 0.4597114277, 0.06909482, 1e-8),
        ({"n_knots": 2}, 0.4597114277, 0.06909482, 1e-8),
        ({"score": "gaussian", "recalibrate": False}, 0.4585925924, 0.06873939, 1e-8),
        ({"n_knots": 5, "recalibrate": False}, 0.4592409, 0.068397, 1e-6),
        ({"n_knots": 5}, 0.4603923, 0.068749, 1e-6),
        ({"n_knots": 5, "noise": "heteroscedastic"}, 0.4530449, 0.069349, 1e-6),
    ],
)
def test_printed_values(parameters: dict[str, Any], estimate: float, std_error: float, tolerance: float) -> None:
    f, y, x, arm = closed_form_sample()
    result = TweedieCorrection(cov_type="HC0", **parameters).fit(f, y).effect(x, treatment=arm)
    assert_allclose(result.estimate, estimate, atol=tolerance)
    assert_allclose(result.std_error, std_error, atol=max(tolerance, 1e-6))


def test_printed_noise_variance_and_kernel_value() -> None:
    f, y, x, arm = closed_form_sample()
    correction = TweedieCorrection(score="kde", stein_rescale=False, recalibrate=False).fit(f, y)
    assert_allclose(correction.sigma_**2, 0.5258050826, atol=1e-10)
    # Two trial predictions lie outside the calibration range; .448480 continues the raw kernel there,
    # while the correction continues with the slope of a normal tail.
    h = fit_kernel_score(f).bandwidth
    options = {"bandwidth": h, "rescale": False, "recalibrate": False}
    raw = kernel_tweedie(x, f, y, np.ones(1000), **options)
    assert_allclose(raw[arm == 1].mean() - raw[arm == 0].mean(), 0.448480, atol=5e-7)
    low, high = f.min(), f.max()
    inside = kernel_tweedie(np.clip(x, low, high), f, y, np.ones(1000), **options)
    tail = (1 + correction.sigma_**2 / f.var()) * (x - np.clip(x, low, high))
    assert_allclose(correction.transform(x), inside + tail, atol=5e-4)


# ---------------------------------------------------------------------- the correction itself


@pytest.mark.parametrize("n_knots", [2, 3, 5])
@pytest.mark.parametrize("noise", ["homoscedastic", "heteroscedastic"])
@pytest.mark.parametrize("recalibrate", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_splines_against_the_formula(n_knots: int, noise: str, recalibrate: bool, weighted: bool) -> None:
    f, y, w = sample_of(1)
    weight = w if weighted else np.ones(len(f))
    model = TweedieCorrection(n_knots=n_knots, noise=noise, recalibrate=recalibrate, cov_type="HC0")
    model.fit(f, y, sample_weight=w if weighted else None)

    def reference(v: np.ndarray) -> np.ndarray:
        options = {"recalibrate": recalibrate, "heteroscedastic": noise == "heteroscedastic"}
        return tweedie(POINTS, f, y, v, knots=model.knots_, **options)

    assert_allclose(model.transform(POINTS), reference(weight), rtol=1e-7, atol=1e-8)
    rows = np.arange(0, 300, 29)
    numeric = 300 * weight[rows, None] * weight_derivatives(reference, weight, rows)
    found = model.coef_influence_[rows] @ model._fitted.basis.design(POINTS).T
    assert_allclose(found, numeric, rtol=1e-5, atol=1e-5 * np.abs(numeric).max())
    score = model._fitted.basis.design(POINTS) @ model.score_coef_
    b = model.berkson_slope_
    bend = score if noise == "heteroscedastic" else model.sigma_**2 * score
    assert_allclose(model.transform(POINTS), model.berkson_intercept_ + b * POINTS - bend / b, rtol=1e-9, atol=1e-10)


def test_unlabelled_predictions() -> None:
    f, y, _ = sample_of(2, 150)
    more = sample_of(3, 400)[0]
    model = TweedieCorrection(n_knots=4, cov_type="HC0").fit(f, y, unlabelled_predictions=more)
    n = 550

    def of_labelled(v: np.ndarray) -> np.ndarray:
        return tweedie(POINTS, f, y, v, knots=model.knots_, unlabelled=more)

    def of_unlabelled(v: np.ndarray) -> np.ndarray:
        return tweedie(POINTS, f, y, np.ones(150), knots=model.knots_, unlabelled=more, unlabelled_weight=v)

    assert_allclose(model.transform(POINTS), of_labelled(np.ones(150)), rtol=1e-7, atol=1e-8)
    found = model.coef_influence_ @ model._fitted.basis.design(POINTS).T
    assert found.shape == (n, len(POINTS))
    rows = np.arange(0, 150, 31)
    labelled = n * weight_derivatives(of_labelled, np.ones(150), rows)
    assert_allclose(found[rows], labelled, rtol=1e-5, atol=1e-5 * np.abs(labelled).max())
    unlabelled = n * weight_derivatives(of_unlabelled, np.ones(400), rows)
    assert_allclose(found[150 + rows], unlabelled, rtol=1e-5, atol=1e-5 * np.abs(unlabelled).max())
    assert_allclose(model.coef_cov_, model.coef_influence_.T @ model.coef_influence_ / n**2, rtol=1e-10)


@pytest.mark.parametrize("recalibrate", [True, False])
@pytest.mark.parametrize("rescale", [True, False])
def test_kernel_against_direct_sums(recalibrate: bool, rescale: bool) -> None:
    f, y, w = sample_of(4)
    options = {"bandwidth": 0.4, "recalibrate": recalibrate}
    model = TweedieCorrection(score="kde", stein_rescale=rescale, cov_type="HC0", **options)
    model.fit(f, y, sample_weight=w)
    inside = np.linspace(f.min() + 0.2, f.max() - 0.2, 20)
    direct = kernel_tweedie(inside, f, y, w, rescale=rescale, **options)
    assert_allclose(model.transform(inside), direct, atol=2e-4)

    arm = np.arange(20) % 2

    def contrast(v: np.ndarray) -> np.ndarray:
        g = kernel_tweedie(inside, f, y, v, rescale=rescale, **options)
        return np.array([g[arm == 1].mean() - g[arm == 0].mean()])

    result = model.effect(inside, treatment=arm)
    rows = np.arange(0, 300, 13)
    numeric = w[rows, None] * weight_derivatives(contrast, w, rows, 1e-3)
    found = result.influence_values[20 + rows] / len(result.influence_values)
    # The constant leaves each row out of its own score; its influence is that of the plain score.
    assert_allclose(found, numeric, atol=(0.05 if rescale else 0.003) * np.abs(numeric).max())


def test_custom_scores() -> None:
    f, y, _ = sample_of(5)

    class NormalScore(BaseEstimator):
        def fit(self, X: Any, y: Any = None) -> NormalScore:
            self.mean_, self.var_ = X.mean(), X.var()
            return self

        def predict(self, X: Any) -> Any:
            return -(X[:, 0] - self.mean_) / self.var_

    by_function = TweedieCorrection(score=lambda x: -(x - f.mean()) / f.var()).fit(f, y)
    by_estimator = TweedieCorrection(score=NormalScore()).fit(f, y)
    expected = LinearCalibration().fit(f, y).transform(POINTS)
    assert_allclose(by_function.transform(POINTS), expected, rtol=1e-9)
    assert_allclose(by_estimator.transform(POINTS), expected, rtol=1e-9)


# ---------------------------------------------------------------------- the mixture map


@pytest.mark.parametrize(
    ("sigma", "k", "naive", "linear", "v_linear", "v_tweedie"),
    [
        (1.0, 0.938424, 1.718201, 1.830944, 17.3056, 17.7481),
        (2.0, 0.792100, 1.315190, 1.660384, 24.2899, 31.3694),
        (3.0, 0.628713, 1.060544, 1.686850, 38.5550, 74.3949),
    ],
)
def test_population_values(
    sigma: float, k: float, naive: float, linear: float, v_linear: float, v_tweedie: float
) -> None:
    truth = mixture_map_truth(sigma)
    found = [truth.slope, truth.naive, truth.linear_calibration, truth.tweedie]
    assert_allclose(found, [k, naive, linear, 2.0], atol=1e-6)
    assert_allclose([truth.variance_linear_calibration, truth.variance_tweedie], [v_linear, v_tweedie], atol=1e-4)
    # A large calibration sample and a plug-in of the true score: the sample contrast is near the truth.
    data = make_mixture_map(sigma=sigma, n_calibration=2000, n_arm=100_000, random_state=1)
    model = TweedieCorrection(score=truth.score, recalibrate=False)
    g = model.fit(data.calibration_predictions, data.calibration_y).transform(data.predictions)
    spread = 4 * np.sqrt(g[data.treatment == 1].var() / 1e5 + g[data.treatment == 0].var() / 1e5)
    bend = np.abs(np.diff([truth.score(data.predictions[data.treatment == a]).mean() for a in (0, 1)])[0])
    noise = 4 * sigma**2 * np.sqrt(2 / 2000) * bend  # of the estimated σ²
    assert_allclose(g[data.treatment == 1].mean() - g[data.treatment == 0].mean(), 2.0, atol=spread + noise)


def test_conditional_means_of_the_predictions() -> None:
    y = np.array([0.0, 5, 10, 15, 20, 25])
    expected = [4.5437, 5.3460, 7.6406, 13.6167, 17.6996, 21.2744]
    assert_allclose(mixture_map_truth(3.0).conditional_mean(y), expected, atol=5e-5)
    sharp = mixture_map_truth(1.0).conditional_mean(np.array([3.0, 10, 20]))
    # By direct integration of x p(x) φ(y - x).
    x = np.linspace(-40, 60, 200_001)
    sds, means, weights = np.array([1, 2, 4, 5.0]), np.array([5, 7.2, 13, 14.2]), np.array([0.64, 0.16, 0.16, 0.04])
    p = (weights / sds * np.exp(-0.5 * ((x[:, None] - means) / sds) ** 2)).sum(axis=1)
    joint = p * np.exp(-0.5 * (np.array([3.0, 10, 20])[:, None] - x) ** 2)
    assert_allclose(sharp, joint @ x / joint.sum(axis=1), rtol=1e-8)


def test_coverage_and_mean_on_the_mixture_map() -> None:
    estimates, covered, raw = [], 0, []
    for seed in range(150):
        data = make_mixture_map(n_calibration=2000, n_arm=2500, random_state=seed)
        result = TweedieCorrection(n_knots=5).fit(data.calibration_predictions, data.calibration_y)
        effect = result.effect(data.predictions, treatment=data.treatment)
        interval = effect.conf_int().iloc[0]
        estimates.append(effect.estimate[0])
        covered += bool(interval["lower"] <= 2 <= interval["upper"])
        if seed < 40:
            kernel = TweedieCorrection(score="kde", stein_rescale=False)
            kernel.fit(data.calibration_predictions, data.calibration_y)
            raw.append(kernel.effect(data.predictions, treatment=data.treatment).estimate[0])
    # A binomial(150, .95) lies in [134, 149] with probability .997.
    assert covered >= 134
    assert abs(np.mean(estimates) - 2) < 3 * np.std(estimates) / np.sqrt(150)
    assert np.mean(raw) < 1.82  # the kernel without its constant shrinks its own correction


def test_one_standard_error_rule_picks_five_knots() -> None:
    picked = []
    for seed in range(40):
        data = make_mixture_map(n_calibration=2000, n_arm=2, random_state=seed)
        model = TweedieCorrection(random_state=seed).fit(data.calibration_predictions, data.calibration_y)
        picked.append(len(model.knots_))
    # At least 80 % of samples; a binomial(40, .8) is above 26 with probability .98, and .92 was measured.
    assert sum(k == 5 for k in picked) >= 27
