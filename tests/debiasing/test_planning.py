"""Planning formulas against brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import brentq, minimize_scalar

from causalkit.debiasing.planning import break_even_share, required_calibration_size
from causalkit.debiasing.prediction_powered import prediction_powered_ate


def powered_variance(share: float, r_squared: float) -> float:
    """N times the variance of a prediction-powered mean at the best λ, unit variances, found by search."""

    def variance(tuning: float) -> float:
        # Var(Y - λf)/(fN) + λ² Var(f)/((1-f)N) with Var Y = Var f = 1 and correlation ρ.
        rho = np.sqrt(r_squared)
        return (1 - 2 * tuning * rho + tuning**2) / share + tuning**2 / (1 - share)

    return float(minimize_scalar(variance, bounds=(0, 1), method="bounded", options={"xatol": 1e-10}).fun)


@pytest.mark.parametrize("r_squared", [0.1, 0.5, 0.79, 0.95])
def test_closed_form_against_search(r_squared: float) -> None:
    root = brentq(lambda f: powered_variance(f, r_squared) - 1 / r_squared, 1e-4, 1 - 1e-4, xtol=1e-12)
    assert_allclose(break_even_share(r_squared), root, rtol=1e-6)
    assert_allclose(break_even_share(r_squared), r_squared / (1 + r_squared), rtol=1e-14)


@pytest.mark.parametrize(("effect", "n_arm", "n_calibration"), [(0.5, 1000, 200), (-2.0, 300, 5000), (0.0, 10, 10)])
@pytest.mark.parametrize("r_squared", [0.3, 0.8])
def test_finite_calibration_sample(r_squared: float, effect: float, n_arm: int, n_calibration: int) -> None:
    # Per arm of N rows: Var(τ̂)·N/2 = 1/ρ² + (N/2) τ² (1-ρ²)/(ρ² n_c).
    corrected = 1 / r_squared + n_arm / 2 * effect**2 * (1 - r_squared) / (r_squared * n_calibration)
    root = brentq(lambda f: powered_variance(f, r_squared) - corrected, 1e-5, 1 - 1e-5, xtol=1e-13)
    share = break_even_share(r_squared, effect=effect, n_arm=n_arm, n_calibration=n_calibration)
    assert_allclose(share, root, rtol=1e-5)
    assert share <= break_even_share(r_squared)


def test_printed_values() -> None:
    assert round(break_even_share(0.5), 2) == 0.33
    assert round(break_even_share(0.79), 2) == 0.44
    assert required_calibration_size(0.5, relative_error=0.05) == 400
    assert isinstance(required_calibration_size(0.5), int)


@pytest.mark.parametrize("r_squared", [0.05, 0.37, 0.9])
@pytest.mark.parametrize("bound", [0.02, 0.1])
def test_required_size_is_the_smallest(r_squared: float, bound: float) -> None:
    n = required_calibration_size(r_squared, relative_error=bound)

    def noise(rows: int) -> float:
        return float(np.sqrt((1 - r_squared) / (r_squared * rows)))

    assert noise(n) <= bound * (1 + 1e-9)
    assert n == 1 or noise(n - 1) > bound


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"r_squared": 0.0}, "r_squared must be a squared correlation strictly between 0 and 1; got 0.0"),
        ({"r_squared": 1.0}, "r_squared"),
        ({"r_squared": float("nan")}, "r_squared"),
        ({"r_squared": "half"}, "r_squared"),
        ({"r_squared": 0.5, "effect": 1.0}, "n_arm and n_calibration missing"),
        ({"r_squared": 0.5, "effect": np.inf, "n_arm": 5, "n_calibration": 5}, "effect"),
        ({"r_squared": 0.5, "effect": 1.0, "n_arm": 0, "n_calibration": 5}, "n_arm"),
        ({"r_squared": 0.5, "effect": 1.0, "n_arm": 5, "n_calibration": -5}, "n_calibration"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        break_even_share(**arguments)


def test_bad_relative_error() -> None:
    with pytest.raises(ValueError, match="relative_error"):
        required_calibration_size(0.5, relative_error=0)
    with pytest.raises(ValueError, match="r_squared"):
        required_calibration_size(True)


def test_break_even_share_in_a_trial() -> None:
    # At share f* = 1/3 of 30 000 rows per arm and ρ² = .5, the standard error must be that of linear
    # calibration with an endless calibration sample: Var = (2/N)/ρ².
    rng = np.random.default_rng(30)
    n_arm, arm = 30_000, np.arange(60_000) % 2
    y = 0.5 * arm + rng.normal(size=60_000)
    f = 0.5 * y + 0.5 * rng.normal(size=60_000)
    labelled = int(2 * n_arm * break_even_share(0.5))
    result = prediction_powered_ate(
        y[:labelled],
        f[:labelled],
        treatment=arm[:labelled],
        predictions_unlabelled=f[labelled:],
        treatment_unlabelled=arm[labelled:],
    )
    assert_allclose(result.std_error, np.sqrt(2 / n_arm / 0.5), rtol=0.02)
