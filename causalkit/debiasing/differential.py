"""Calibration error that depends on treatment: a shift per level, or a line per level."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from causalkit.debiasing.basis import CellBasis
from causalkit.debiasing.calibration_lines import check_lines, fit_lines
from causalkit.debiasing.calibration_sample import check_size_and_spread
from causalkit.debiasing.fitted import FittedCorrection
from causalkit.exceptions import CalibrationError
from causalkit.linear import weighted_least_squares
from causalkit.validation import Treatment

__all__ = ["line_per_treatment", "shift_by_treatment"]


def shift_by_treatment(fitted: FittedCorrection, arms: Treatment) -> FittedCorrection:
    """Ŷ = m + kY + δ_A: columns (1, ŷ, 1{A=1}, ...), θ = (-m/k, 1/k, -δ/k)."""
    sample = fitted.sample
    if sample is None:
        raise ValueError("differential calibration needs calibration rows.")
    dummies = (arms.codes[:, None] == np.arange(1, len(arms.levels))).astype(float)
    design = np.column_stack([np.ones(sample.n), sample.y, dummies])
    fit = weighted_least_squares(design, sample.predictions, sample.weight)
    if fit.rank < design.shape[1] or not fit.coef[1] > 0:
        raise CalibrationError(
            f"the slope of predictions on y at equal treatment is {fit.coef[1]:.4g}: expected a positive slope and "
            "both y and treatment varying. Check units, sign and row order."
        )
    parts = sample.contributions(fit.influence, design.shape[1], fitted.cov_type)
    m, k, shift = fit.coef[0], fit.coef[1], fit.coef[2:]
    jacobian = np.zeros((design.shape[1], design.shape[1]))
    jacobian[0, 0], jacobian[0, 1] = -1 / k, m / k**2
    jacobian[1, 1] = -1 / k**2
    jacobian[2:, 1] = shift / k**2
    jacobian[range(2, design.shape[1]), range(2, design.shape[1])] = -1 / k
    return replace(
        fitted,
        basis=CellBasis(len(arms.levels), shared_slope=True),
        coef=np.concatenate([[-m / k, 1 / k], -shift / k]),
        noise=parts @ jacobian.T,
        slope=float(k),
        slope_noise=parts[:, 1],
    )


def line_per_treatment(fitted: FittedCorrection, arms: Treatment) -> FittedCorrection:
    """A line per treatment level: columns (1, ŷ) of each level, θ = (-m_a/k_a, 1/k_a)."""
    sample = fitted.sample
    if sample is None:
        raise ValueError("differential calibration needs calibration rows.")
    n_arms = len(arms.levels)
    coef, noise = np.zeros(2 * n_arms), np.zeros((sample.n, 2 * n_arms))
    for level in range(n_arms):
        rows = arms.codes == level
        part = sample.take(rows)
        names = (f"predictions in arm {arms.levels[level]}", f"y in arm {arms.levels[level]}")
        check_size_and_spread(part, names, stacklevel=5)
        lines = fit_lines(replace(part, groups=None), fitted.cov_type)
        check_lines(lines, stacklevel=5)
        of_line = slice(2 * level, 2 * level + 2)
        coef[of_line] = lines.theta
        influence = np.asarray(lines.contributions)[:, :2] @ lines.theta_jacobian.T
        if sample.groups is not None:
            # Within clusters the copies of a row are dependent, and the factor is that of the whole sample.
            plain = fit_lines(replace(part, groups=None, weight_type="probability"), "HC0")
            g = sample.groups.n_groups
            factor = g / (g - 1) * (sample.n_rows - 1) / (sample.n_rows - 2 * n_arms)
            influence = np.sqrt(factor) * np.asarray(plain.contributions)[:, :2] @ lines.theta_jacobian.T
        noise[rows, of_line] = influence
    return replace(fitted, basis=CellBasis(n_arms), coef=coef, noise=noise, slope=None, slope_noise=None)
