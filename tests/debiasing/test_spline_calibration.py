"""SplineCalibration against printed numbers, plain two-stage least squares and numerical derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from causalkit import LinearCalibration, SplineCalibration
from causalkit.datasets import load_income_map, make_gaussian_map, make_mixture_map, tilt_arms
from causalkit.exceptions import WeakInstrumentWarning
from tests.datasets.income_map import income_map_path
from tests.golden.debiasing_reference import closed_form_sample, quantile_knots, spline, weight_derivatives

# Weak calibration samples and bends that fall back are meant here.
pytestmark = pytest.mark.filterwarnings(
    "ignore::causalkit.exceptions.CalibrationWarning", "ignore::causalkit.exceptions.WeakInstrumentWarning"
)

POINTS = np.linspace(-2, 2, 9)


def sample_of(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions that bend in the truth, with skewed errors, and weights."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    return np.tanh(y) + 0.3 * (rng.gamma(2, size=n) - 2), y, rng.uniform(0.3, 2.5, n)


@pytest.mark.parametrize(
    ("n_knots", "estimate", "std_error"),
    [(2, 0.4597114277, 0.06909482), (3, 0.4592062, 0.069049), (4, 0.4600948, 0.069701)],
)
def test_printed_values(n_knots: int, estimate: float, std_error: float) -> None:
    f, y, x, arm = closed_form_sample()
    result = SplineCalibration(n_knots=n_knots, cov_type="HC0").fit(f, y).effect(x, treatment=arm)
    assert_allclose(result.estimate, estimate, atol=1e-6)
    assert_allclose(result.std_error, std_error, atol=1e-6)


@pytest.mark.parametrize("n_knots", [2, 3, 4, 6])
@pytest.mark.parametrize("weighted", [False, True])
def test_against_two_stage_least_squares(n_knots: int, weighted: bool) -> None:
    f, y, w = sample_of(1)
    weight = w if weighted else np.ones(400)
    model = SplineCalibration(n_knots=n_knots, cov_type="HC0").fit(f, y, sample_weight=w if weighted else None)
    if not weighted:
        assert_allclose(model.knots_, quantile_knots(f, n_knots), rtol=1e-10)
        assert_allclose(model.instrument_knots_, quantile_knots(y, n_knots), rtol=1e-10)

    def reference(v: np.ndarray) -> np.ndarray:
        return spline(POINTS, f, y, v, knots=model.knots_, instrument_knots=model.instrument_knots_)

    assert_allclose(model.transform(POINTS), reference(weight), rtol=1e-6, atol=1e-7)
    rows = np.arange(0, 400, 37)
    numeric = 400 * weight[rows, None] * weight_derivatives(reference, weight, rows)
    found = model.coef_influence_[rows] @ model._fitted.basis.design(POINTS).T
    assert_allclose(found, numeric, rtol=1e-4, atol=1e-4 * np.abs(numeric).max())


def test_correction_is_unbiased_given_the_truth_in_the_instruments() -> None:
    f, y, _ = sample_of(2)
    model = SplineCalibration(n_knots=4).fit(f, y)
    # Just identified: the moment E[(g(Ŷ) - Y) Z] = 0 holds exactly for every instrument.
    instruments = np.column_stack([np.ones(400), y])
    assert_allclose(instruments.T @ (model.transform(f) - y) / 400, 0, atol=1e-10)


def test_strength_by_brute_force() -> None:
    from scipy.linalg import eigh

    from tests.golden.debiasing_reference import natural_columns

    f, y, _ = sample_of(3)
    model = SplineCalibration(n_knots=3).fit(f, y)
    B, Z = natural_columns(f, model.knots_)[:, 1:], natural_columns(y, model.instrument_knots_)[:, 1:]
    B, Z = B - B.mean(axis=0), Z - Z.mean(axis=0)
    explained = B.T @ Z @ np.linalg.solve(Z.T @ Z, Z.T @ B)
    squared = eigh(explained, B.T @ B, eigvals_only=True).min()
    assert_allclose(model.strength_[3], (400 - 3) * squared / (1 - squared) / 2, rtol=1e-6)


def test_auto_takes_the_largest_strong_number_of_knots() -> None:
    seen = set()
    for k in (0.05, 0.1, 0.2, 0.3, 0.5, 0.8):
        data = make_gaussian_map(k=k, n_calibration=300, random_state=5)
        f, y = data.calibration_predictions, data.calibration_y
        model = SplineCalibration().fit(f, y)
        expected = next((n for n in (4, 3) if model.strength_.get(n, 0) >= 10), 2)
        assert model.n_knots_ == len(model.knots_) == expected
        seen.add(expected)
        if expected == 2:
            assert_allclose(model.transform(POINTS), LinearCalibration().fit(f, y).transform(POINTS), rtol=1e-9)
    assert seen == {2, 3, 4}


def test_fixed_knots_that_are_too_many_warn() -> None:
    data = make_gaussian_map(k=0.3, n_calibration=200, random_state=6)
    with pytest.warns(WeakInstrumentWarning, match="weak instruments at 6 knots"):
        SplineCalibration(n_knots=6).fit(data.calibration_predictions, data.calibration_y)


def test_coverage_on_the_mixture_map() -> None:
    covered, estimates = 0, []
    for seed in range(150):
        data = make_mixture_map(n_calibration=2000, n_arm=2500, random_state=seed)
        model = SplineCalibration().fit(data.calibration_predictions, data.calibration_y)
        result = model.effect(data.predictions, treatment=data.treatment)
        interval = result.conf_int().iloc[0]
        covered += bool(interval["lower"] <= 2 <= interval["upper"])
        estimates.append(result.estimate[0])
    # A binomial(150, .95) lies in [134, 149] with probability .997; the mean at four knots is 1.98.
    assert covered >= 134
    assert abs(np.mean(estimates) - 1.98) < 3 * np.std(estimates) / np.sqrt(150) + 0.02


def test_real_errors_with_exclusion_enforced() -> None:
    data = load_income_map(income_map_path())
    f, y = data.calibration_predictions / 1e4, data.calibration_y / 1e4
    ratios, covered, naive = [], 0, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(y), 10_000, replace=False)
        arms = tilt_arms(y[rows[5000:]], design="smooth", population=y, random_state=rng)
        model = SplineCalibration().fit(f[rows[:5000]], y[rows[:5000]])
        result = model.effect(f[rows[5000:]], treatment=arms.treatment)
        interval = result.conf_int().iloc[0]
        assert_allclose(arms.effect, 2.5312, atol=5e-5)
        ratios.append(result.estimate[0] / arms.effect)
        naive.append(result.naive.estimate[0] / arms.effect)
        covered += bool(interval["lower"] <= arms.effect <= interval["upper"])
    # 200 repetitions gave 1.003 and .92 (naive .488); a binomial(40, .92) is above 31 with probability .994.
    assert abs(np.mean(ratios) - 1.003) < 0.02
    assert abs(np.mean(naive) - 0.488) < 0.01
    assert covered >= 32
