"""Simulated designs: truth in closed form or by quadrature, draws against both."""

import pickle

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.linear_model import Ridge

from causalkit.datasets import (
    heteroscedastic_map_bias,
    make_differential_map,
    make_gaussian_map,
    make_heteroscedastic_map,
    make_mixture_map,
    make_panel_map,
    make_paper_map,
    make_site_map,
    make_surrogacy_map,
    mixture_map_truth,
)
from causalkit.datasets.paper_map import _draw_network

DESIGNS = {
    "gaussian": (make_gaussian_map, {"n_calibration": 50, "n_arm": 40}),
    "mixture": (make_mixture_map, {"n_calibration": 50, "n_arm": 40}),
    "heteroscedastic": (make_heteroscedastic_map, {"n_calibration": 50, "n_trial": 80}),
    "panel": (make_panel_map, {"n_calibration": 25, "n_arm": 20}),
    "site": (make_site_map, {"n_sites": 5, "n_rows": 10, "n_arm": 40}),
    "differential": (make_differential_map, {"n_calibration": 50, "n_arm": 40}),
    "surrogacy": (make_surrogacy_map, {"n_calibration": 50, "n_arm": 40}),
    "paper": (make_paper_map, {"n_train": 60, "n_calibration": 50, "n_trial": 80, "predictor": Ridge()}),
}
ARRAYS = ("calibration_predictions", "calibration_y", "predictions", "treatment", "y")


def slope(x, y):
    return np.polyfit(x, y, 1)[0]


def contrast(values, treatment):
    """Difference of arm means and its standard error."""
    one, zero = values[treatment == 1], values[treatment == 0]
    return one.mean() - zero.mean(), np.sqrt(one.var(ddof=1) / len(one) + zero.var(ddof=1) / len(zero))


def assert_contrast(values, treatment, truth, width=4.0):
    estimate, se = contrast(values, treatment)
    assert abs(estimate - truth) < width * se, (estimate, truth, se)


@pytest.mark.parametrize("name", DESIGNS)
def test_shapes_and_vocabulary(name):
    make, sizes = DESIGNS[name]
    sample = make(**sizes, random_state=0)
    for field in ARRAYS:
        assert getattr(sample, field).shape == ((50,) if field.startswith("calibration") else (80,))
    assert sample.treatment.dtype == np.int64 and set(sample.treatment.tolist()) == {0, 1}
    assert isinstance(sample.effect, float)
    assert "n_calibration=50, n=80" in repr(sample)
    with pytest.raises(AttributeError):
        sample.effect = 0.0
    copy = pickle.loads(pickle.dumps(sample))
    np.testing.assert_array_equal(copy.predictions, sample.predictions)
    assert dict(copy.population) == dict(sample.population)


@pytest.mark.parametrize("name", DESIGNS)
def test_random_state(name):
    make, sizes = DESIGNS[name]
    # The legacy global state is read here only to see that it stays as it was.
    before = np.random.get_state()[1].copy()  # noqa: NPY002

    def draw(random_state):
        sample = make(**sizes, random_state=random_state)
        return np.concatenate([getattr(sample, field) for field in ARRAYS])

    first = draw(7)
    np.testing.assert_array_equal(draw(7), first)
    np.testing.assert_array_equal(draw(np.random.default_rng(7)), first)
    np.testing.assert_array_equal(draw(np.random.RandomState(7)), draw(np.random.RandomState(7)))
    assert not np.array_equal(draw(8), first)
    assert not np.array_equal(draw(None), draw(None))
    shared = np.random.default_rng(7)
    assert np.array_equal(draw(shared), first) and not np.array_equal(draw(shared), first)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("make", "arguments", "words"),
    [
        (make_gaussian_map, {"k": 1.0}, "k must be a finite number above 0 and below 1"),
        (make_gaussian_map, {"tau": float("nan")}, "tau must be a finite number"),
        (make_gaussian_map, {"n_arm": 1}, "n_arm must be an integer at least 2"),
        (make_gaussian_map, {"random_state": "x"}, "random_state must be"),
        (make_gaussian_map, {"random_state": -1}, "random_state must be"),
        (make_mixture_map, {"sigma": 0}, "sigma must be a finite number above 0"),
        (make_heteroscedastic_map, {"tilt": "x"}, "tilt must be"),
        (make_panel_map, {"n_calibration": 2.5}, "n_calibration must be an integer"),
        (make_site_map, {"n_sites": 0}, "n_sites must be an integer"),
        (make_differential_map, {"shift": None}, "shift must be"),
        (make_surrogacy_map, {"k": -0.1}, "k must be"),
        (make_paper_map, {"n_train": 1}, "n_train must be"),
    ],
)
def test_bad_arguments(make, arguments, words):
    with pytest.raises(ValueError, match=words):
        make(**arguments)


def test_gaussian_map_repeats_the_documented_draws():
    sample = make_gaussian_map(k=0.5, tau=0.5, n_calibration=1000, n_arm=1000, random_state=20250801)
    rng = np.random.default_rng(20250801)
    y = rng.normal(size=1000)
    u = 0.5 * y + 0.5 * rng.normal(size=1000)
    trial = 0.5 * np.repeat([0, 1], 1000) + rng.normal(size=2000)
    np.testing.assert_array_equal(sample.calibration_predictions, u)
    np.testing.assert_array_equal(sample.predictions, 0.5 * trial + 0.5 * rng.normal(size=2000))
    # Reference values of this sample from an independent implementation.
    assert slope(sample.calibration_y, sample.calibration_predictions) == pytest.approx(0.4756118252, abs=1e-9)
    assert contrast(sample.predictions, sample.treatment)[0] == pytest.approx(0.2186441912, abs=1e-9)


def test_gaussian_map_truth():
    sample = make_gaussian_map(k=0.3, tau=1.5, n_calibration=200_000, n_arm=200_000, random_state=1)
    assert dict(sample.population) == pytest.approx(
        {
            "slope": 0.3,
            "berkson_slope": 1.0,
            "noise_variance": 0.7,
            "naive": 0.45,
            "linear_calibration": 1.5,
            "quantile_map": 1.5 * 0.3**0.5,
        }
    )
    u, y = sample.calibration_predictions, sample.calibration_y
    assert slope(y, u) == pytest.approx(0.3, abs=0.005)
    assert slope(u, y) == pytest.approx(1.0, abs=0.015)
    assert np.var(y - u) == pytest.approx(0.7, abs=0.01)
    assert_contrast(sample.predictions, sample.treatment, 0.45)
    assert_contrast(sample.y, sample.treatment, 1.5)


@pytest.mark.parametrize(
    ("sigma", "k", "naive", "linear", "variance_linear", "variance_tweedie"),
    [
        (1.0, 0.938424, 1.718201, 1.830944, 17.3056, 17.7481),
        (2.0, 0.792100, 1.315190, 1.660384, 24.2899, 31.3694),
        (3.0, 0.628713, 1.060544, 1.686850, 38.5550, 74.3949),
    ],
)
def test_mixture_map_quadrature(sigma, k, naive, linear, variance_linear, variance_tweedie):
    truth = mixture_map_truth(sigma)
    measured = (truth.slope, truth.naive, truth.linear_calibration)
    assert measured == pytest.approx((k, naive, linear), abs=1e-6)
    assert truth.variance_linear_calibration == pytest.approx(variance_linear, abs=5e-5)
    assert truth.variance_tweedie == pytest.approx(variance_tweedie, abs=5e-5)
    assert truth.mean == pytest.approx(7.0) and truth.variance == pytest.approx(15.24)
    assert truth.fisher_information == pytest.approx(0.5080857, abs=1e-7)
    # Arm means of the components: (.16 · 7.2 + .04 · 14.2)/.2 − (.64 · 5 + .16 · 13)/.8 = 8.6 − 6.6.
    assert truth.effect == pytest.approx(2.0, abs=1e-9) and truth.tweedie == pytest.approx(2.0, abs=1e-9)


def test_mixture_map_conditional_mean():
    truth = mixture_map_truth(3.0)
    expected = [4.5437, 5.3460, 7.6406, 13.6167, 17.6996, 21.2744]
    np.testing.assert_allclose(truth.conditional_mean([0, 5, 10, 15, 20, 25]), expected, atol=5e-5)
    # Brute force for another sigma: E[U | Y = y] = ∫ u p(u) φ(y − u) du / ∫ p(u) φ(y − u) du.
    u = np.linspace(-40, 60, 200_001)
    components = zip((0.64, 0.16, 0.16, 0.04), (5, 7.2, 13, 14.2), (1, 2, 4, 5), strict=True)
    p = sum(w * norm.pdf(u, m, s) for w, m, s in components)
    for y in (3.0, 10.0, 20.0):
        weight = p * norm.pdf(y - u)
        assert mixture_map_truth(1.0).conditional_mean(y) == pytest.approx((weight @ u) / weight.sum(), abs=1e-9)
    score = np.gradient(np.log(p), u)
    inside = slice(60_000, 140_000)
    np.testing.assert_allclose(truth.score(u[inside]), score[inside], atol=1e-5)
    np.testing.assert_allclose(truth.correction(u[inside]), u[inside] - 9 * truth.score(u[inside]))


def test_mixture_map_draws():
    sample = make_mixture_map(sigma=3.0, n_calibration=200_000, n_arm=200_000, random_state=2)
    assert slope(sample.calibration_y, sample.calibration_predictions) == pytest.approx(0.628713, abs=0.006)
    assert sample.calibration_predictions.mean() == pytest.approx(7.0, abs=0.04)
    truth = mixture_map_truth(3.0)
    assert_contrast(sample.y, sample.treatment, 2.0)
    assert_contrast(sample.predictions, sample.treatment, sample.population["naive"])
    assert_contrast(truth.correction(sample.predictions), sample.treatment, 2.0)
    # Given the outcome, predictions have one law in both arms.
    for arm in (0, 1):
        near = (np.abs(sample.y - 10) < 0.25) & (sample.treatment == arm)
        drawn = sample.predictions[near]
        assert abs(drawn.mean() - 7.6406) < 4 * drawn.std() / np.sqrt(len(drawn)) + 0.05


def variance(u):
    return 0.5 + 0.3 * np.tanh(u)


def outcome_quantiles(levels):
    u = np.linspace(-9, 9, 20_001)
    weight = norm.pdf(u) * (u[1] - u[0])
    return [brentq(lambda y, p=p: weight @ norm.cdf((y - u) / np.sqrt(variance(u))) - p, -9, 9) for p in levels]


@pytest.mark.parametrize(
    ("correction", "expected"),
    [
        (lambda u: u, (0.525, 0.460, 0.091, -0.585, -1.088)),
        (lambda u: 1.5 * u, (-0.360, -0.062, 0.096, -0.063, -0.281)),
        (lambda u: u + u * variance(u), (0.140, 0.206, 0.171, 0.193, 0.162)),
        (lambda u: u + u * variance(u) - 0.3 / np.cosh(u) ** 2, (0.092, 0.078, -0.067, 0.056, 0.096)),
    ],
    ids=["naive", "global variance", "local variance", "with its derivative"],
)
def test_heteroscedastic_bias_table(correction, expected):
    quantiles = outcome_quantiles((0.02, 0.1, 0.5, 0.9, 0.98))
    np.testing.assert_allclose(heteroscedastic_map_bias(correction, quantiles), expected, atol=2e-3)


def test_heteroscedastic_map_draws():
    sample = make_heteroscedastic_map(n_calibration=200_000, n_trial=400_000, random_state=3)
    assert slope(sample.calibration_y, sample.calibration_predictions) == pytest.approx(2 / 3, abs=0.006)
    assert np.var(sample.calibration_y) == pytest.approx(1.5, abs=0.02)
    squared = (sample.calibration_y - sample.calibration_predictions) ** 2
    for point in (-1.0, 0.0, 1.0):
        near = np.abs(sample.calibration_predictions - point) < 0.05
        assert squared[near].mean() == pytest.approx(variance(point), abs=0.05)
    assert_contrast(sample.y, sample.treatment, sample.effect)
    assert_contrast(sample.predictions, sample.treatment, sample.population["naive"])
    assert make_heteroscedastic_map(tilt=0.0, random_state=0).effect == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="keep the shape"):
        heteroscedastic_map_bias(lambda u: u[:3], [0.0])


def test_panel_map_truth():
    sample = make_panel_map(tau=2.0, n_calibration=100_000, n_arm=100_000, random_state=4)
    assert sample.population["slope"] == pytest.approx(0.57692, abs=5e-6)
    assert sample.population["linear_calibration"] == pytest.approx(2 * 0.52)
    u, y = sample.calibration_predictions, sample.calibration_y
    assert slope(y, u) == pytest.approx(0.57692, abs=0.004)
    assert slope(np.diff(y.reshape(-1, 2))[:, 0], np.diff(u.reshape(-1, 2))[:, 0]) == pytest.approx(0.3, abs=0.003)
    arms = sample.treatment.reshape(-1, 2)[:, 0]
    assert_contrast(np.diff(sample.y.reshape(-1, 2))[:, 0], arms, 2.0)
    assert_contrast(np.diff(sample.predictions.reshape(-1, 2))[:, 0], arms, sample.population["naive"])
    assert_contrast(sample.y.reshape(-1, 2)[:, 0], arms, 0.0)
    assert sample.unit[:4].tolist() == [0, 0, 1, 1] and sample.period[:4].tolist() == [0, 1, 0, 1]
    assert (sample.treatment[::2] == sample.treatment[1::2]).all()


def test_site_map_repeats_the_documented_draws():
    sample = make_site_map(n_sites=20, n_rows=60, random_state=11)
    rng = np.random.default_rng(11)
    k = rng.normal(0.6, 0.1, 20)
    m = rng.normal(0, 0.15, 20)
    estimates, variances = np.empty(20), np.empty(20)
    for s in range(20):
        y = rng.normal(size=60) + 0.5 * rng.normal()
        predictions = m[s] + k[s] * y + 0.35 * rng.normal(size=60)
        rows = sample.calibration_sites == s
        np.testing.assert_allclose(sample.calibration_y[rows], y, rtol=1e-12)
        np.testing.assert_allclose(sample.calibration_predictions[rows], predictions, rtol=1e-12)
        centred = y - y.mean()
        estimates[s] = centred @ predictions / (centred @ centred)
        residual = predictions - predictions.mean() - estimates[s] * centred
        variances[s] = centred**2 @ residual**2 / (centred @ centred) ** 2 * 60 / 58
    # DerSimonian and Laird on these draws, against reference values of the same sample.
    w = 1 / variances
    spread = w @ (estimates - w @ estimates / w.sum()) ** 2
    tau = np.sqrt((spread - 19) / (w.sum() - w @ w / w.sum()))
    w = 1 / (variances + tau**2)
    assert (w @ estimates / w.sum(), w.sum() ** -0.5, tau) == pytest.approx((0.6217, 0.0196, 0.0737), abs=1e-4)


def test_site_map_trial_is_a_new_site():
    sample = make_site_map(n_sites=3, n_rows=10, n_arm=100_000, tau=1.5, random_state=5)
    assert sample.site_slopes.shape == sample.site_intercepts.shape == (4,)
    assert set(sample.sites.tolist()) == {3} and sample.calibration_sites.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    fitted = np.polyfit(sample.y, sample.predictions, 1)
    assert fitted == pytest.approx([sample.site_slopes[3], sample.site_intercepts[3]], abs=0.005)
    assert sample.population["naive"] == pytest.approx(1.5 * sample.site_slopes[3])
    assert_contrast(sample.y, sample.treatment, 1.5)
    assert_contrast(sample.predictions, sample.treatment, sample.population["naive"])


def lines(response, covariate, treatment):
    design = np.column_stack([np.ones_like(covariate), covariate, treatment])
    return np.linalg.lstsq(design, response, rcond=None)[0]


def test_differential_map_truth():
    sample = make_differential_map(n_calibration=200_000, n_arm=100_000, random_state=6)
    fitted = lines(sample.calibration_predictions, sample.calibration_y, sample.calibration_treatment)
    assert fitted == pytest.approx([0.1, 0.6, 0.2], abs=0.01)
    assert_contrast(sample.calibration_y, sample.calibration_treatment, 0.3)
    assert_contrast(sample.y, sample.treatment, 1.0)
    assert_contrast(sample.predictions, sample.treatment, 0.8)
    pooled = slope(sample.calibration_y, sample.calibration_predictions)
    assert 0.8 / pooled == pytest.approx(sample.population["linear_calibration"], abs=0.01)


def test_surrogacy_map_truth():
    sample = make_surrogacy_map(n_calibration=200_000, n_arm=100_000, random_state=7)
    a = sample.calibration_treatment
    forward = lines(sample.calibration_predictions, sample.calibration_y, a)
    assert forward == pytest.approx([0.0, 0.6, 0.32], abs=0.01)
    assert lines(sample.calibration_y, sample.calibration_predictions, a) == pytest.approx([0.0, 1.0, 0.0], abs=0.015)
    assert_contrast(sample.y, sample.treatment, 0.8)
    naive, _ = contrast(sample.predictions, sample.treatment)
    assert naive == pytest.approx(0.8, abs=0.02)
    untreated = slope(sample.calibration_y[a == 0], sample.calibration_predictions[a == 0])
    assert naive / untreated == pytest.approx(1.333, abs=0.03)
    assert (naive - forward[2]) / forward[1] == pytest.approx(0.8, abs=0.03)
    assert sample.population["linear_calibration"] == pytest.approx(4 / 3)


def test_paper_map_design():
    sample = make_paper_map(
        tau=2.0, n_train=3000, n_calibration=500, n_trial=20_000, return_predictions=False, random_state=8
    )
    np.testing.assert_allclose(sample.train_features.mean(axis=0), 0.0, atol=1e-10)
    np.testing.assert_allclose(sample.train_features.std(axis=0), 1.0, atol=1e-10)
    assert sample.features.shape == (20_000, 100) and sample.calibration_features.shape == (500, 100)
    assert sample.predictions.shape == (0,) and sample.predictor is None
    confounder = sample.confounders[:, 0]
    np.testing.assert_allclose(sample.propensity, 1 / (1 + np.exp(-confounder)))
    a = sample.treatment
    se = np.sqrt((sample.propensity * (1 - sample.propensity)).sum())
    assert abs((a - sample.propensity).sum()) < 4 * se
    coefficients = lines(sample.y, confounder, a)
    assert coefficients == pytest.approx([0.0, 1.0, 2.0], abs=0.06)
    # Given the outcome, features do not depend on the arm: no step at equal outcomes.
    steps = [lines(column, sample.y, a)[2] for column in sample.features.T[:5]]
    assert np.max(np.abs(steps)) < 0.12


def test_paper_map_network_is_uniform_within_its_bounds():
    layers = _draw_network(np.random.default_rng(0))
    assert [w.shape for w, _ in layers] == [(1, 50), (50, 50), (50, 50), (50, 100)]
    for weight, bias in layers:
        bound = weight.shape[0] ** -0.5
        drawn = np.r_[weight.ravel(), bias]
        assert np.abs(drawn).max() <= bound
        assert np.std(drawn) == pytest.approx(bound / np.sqrt(3), rel=0.15)


def test_paper_map_predictions_are_those_of_the_predictor():
    sample = make_paper_map(n_train=300, n_calibration=50, n_trial=80, predictor=Ridge(2.0), random_state=9)
    by_hand = Ridge(2.0).fit(sample.train_features, sample.train_y)
    np.testing.assert_allclose(sample.predictions, by_hand.predict(sample.features))
    np.testing.assert_allclose(sample.calibration_predictions, by_hand.predict(sample.calibration_features))


def test_paper_map_default_predictor_shrinks_and_the_line_mends_it():
    sample = make_paper_map(tau=2.0, random_state=10)
    k = slope(sample.calibration_y, sample.calibration_predictions)
    assert 0.2 < k < 0.75
    treated, control = sample.treatment / sample.propensity, (1 - sample.treatment) / (1 - sample.propensity)

    def hajek(values):
        return np.average(values, weights=treated) - np.average(values, weights=control)

    assert hajek(sample.y) == pytest.approx(2.0, abs=0.2)
    assert hajek(sample.predictions) < 1.5
    assert hajek(sample.predictions) / k == pytest.approx(2.0, abs=0.3)
