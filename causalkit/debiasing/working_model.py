"""Tests of the working model Y = a + bŶ + e and of E[Ŷ|Y] = m + kY on arrays, and whether a correction increases."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.basis import NaturalSplineBasis, spline_knots
from causalkit.debiasing.calibration_sample import CalibrationSample
from causalkit.debiasing.fitted import FittedCorrection
from causalkit.exceptions import CalibrationWarning
from causalkit.linear import weighted_least_squares

__all__ = ["breusch_pagan", "check_increasing", "residual_shape", "spline_design", "wald"]

Array = NDArray[np.float64]


def spline_design(x: Array, n_knots: int, weight: Array | None = None) -> Array:
    """Natural spline columns of standardised x (constant first), with as many knots as its values allow."""
    spread = x.std()
    z = (x - x.mean()) / (spread if spread > 0 else 1.0)
    knots = np.unique(spline_knots(z, n_knots, weight))
    if len(knots) < 3:
        return np.column_stack([np.ones_like(z), z])
    return NaturalSplineBasis(knots).design(z)


def breusch_pagan(x: Array, residuals: Array, weight: Array | None = None, n_knots: int = 5) -> tuple[float, float]:
    """Studentised Breusch-Pagan test of e² on natural splines of x (Koenker's form): statistic and p-value.

    The statistic is n·R² of the regression, chi-squared with K - 1 degrees of freedom.
    """
    from scipy import stats

    design = spline_design(x, n_knots, weight)
    squares = residuals**2
    fit = weighted_least_squares(design, squares, weight)
    mean = np.average(squares, weights=weight)
    total = float(np.average((squares - mean) ** 2, weights=weight))
    if total <= 0:
        return 0.0, 1.0
    n = len(x) if weight is None else float(weight.sum())
    statistic = n * (1 - float(np.average(fit.residuals**2, weights=weight)) / total)
    return statistic, float(stats.chi2.sf(statistic, design.shape[1] - 1))


def residual_shape(residuals: Array, weight: Array | None = None) -> tuple[float, float]:
    """Skewness and excess kurtosis."""
    centred = residuals - np.average(residuals, weights=weight)
    variance = float(np.average(centred**2, weights=weight))
    if variance <= 0:
        return 0.0, 0.0
    skew = float(np.average(centred**3, weights=weight)) / variance**1.5
    return skew, float(np.average(centred**4, weights=weight)) / variance**2 - 3


def wald(difference: Array, cov: Array) -> tuple[float, float]:
    """Wald statistic d'V⁻¹d and its chi-squared p-value."""
    from scipy import stats

    statistic = float(difference @ np.linalg.pinv(cov, hermitian=True) @ difference)
    return statistic, float(stats.chi2.sf(statistic, len(difference)))


def bend_test(sample: CalibrationSample, cov_type: str, n_knots: int = 4) -> tuple[float, float]:
    """Robust Wald test of the spline terms in Ŷ ~ f(Y): statistic and p-value; (0, 1) for few distinct Y."""
    from causalkit.inference import influence_covariance

    design = spline_design(sample.y, n_knots, sample.counts)
    if design.shape[1] < 3:
        return 0.0, 1.0
    fit = weighted_least_squares(design, sample.predictions, sample.weight)
    parts = sample.contributions(fit.influence, design.shape[1], cov_type)
    cov = influence_covariance(parts * sample.n, groups=sample.groups)
    return wald(fit.coef[2:], cov[2:, 2:])


def check_increasing(fitted: FittedCorrection) -> bool:
    """Whether g rises over the calibration range; warns where it first does not."""
    grid = np.linspace(*fitted.support, 2001)
    basis = fitted.basis
    if isinstance(basis, NaturalSplineBasis) and basis.n_columns > 2:
        slope = basis.derivative(grid) @ fitted.coef
    else:
        slope = np.diff(basis.evaluate(grid, fitted.coef))
    falling = slope <= 0
    if falling.any():
        warnings.warn(
            f"the correction does not increase with the prediction on the whole calibration range (first near "
            f"{grid[int(np.argmax(falling))]:.4g}): use fewer knots or another correction. (Between separate modes of "
            "a map even an exact correction may fall.)",
            CalibrationWarning,
            stacklevel=3,
        )
    return not bool(falling.any())
