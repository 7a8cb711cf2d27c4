"""What a fitted correction hands to the effect machinery: coefficients with their calibration noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.basis import Basis, NaturalSplineBasis
from causalkit.debiasing.calibration_lines import CalibrationLines
from causalkit.debiasing.calibration_sample import CalibrationSample
from causalkit.debiasing.score import KernelScore
from causalkit.validation import Groups

__all__ = [
    "FittedCorrection",
    "as_fitted",
    "correction_from_lines",
    "raw_scale",
    "spline_on_raw_scale",
    "square_root_rows",
]

Array = NDArray[np.float64]


def square_root_rows(cov: Array) -> Array:
    """Rows u with Σ u u' = cov: stand-ins for the rows of a sample whose noise is known only in sum."""
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    return (vectors * np.sqrt(np.maximum(values, 0.0))).T


@dataclass(frozen=True)
class FittedCorrection:
    """A correction g(ŷ) = h(ŷ)'θ with the noise of θ.

    Attributes
    ----------
    basis : Basis
        The columns h.
    coef : ndarray, shape (J,)
        θ.
    noise : ndarray, shape (R, J)
        Additive parts of the error of θ, one row per calibration row; where rows are not kept, a square
        root of its covariance.
    groups : Groups, optional
        Clusters of the rows of ``noise``.
    lines : CalibrationLines
        Both regression lines of the same calibration rows (the band needs them).
    line_noise : ndarray, shape (R', 4)
        Additive parts of the errors of (m, k, a, b).
    line_groups : Groups, optional
        Clusters of the rows of ``line_noise``.
    has_rows : bool
        Whether ``noise`` has one row per calibration row.
    support : tuple of float
        Range of the calibration predictions.
    df : float, optional
        Degrees of freedom of the calibration noise (G - 1, S - 2); None for the normal.
    slope, slope_noise : float, ndarray of shape (R,), optional
        The slope that the correction divides by, where there is a single one: Fieller's set needs it.
    transport_noise : ndarray, shape (R'', J), optional
        Rows of the noise of θ from the choice of a new site.
    transport_slope_noise : ndarray, shape (R'',), optional
        Its part for ``slope``.
    sample : CalibrationSample, optional
        Calibration rows, kept for refitting in the bootstrap and for diagnostics.
    kernel : KernelScore, optional
        A kernel score, whose own noise depends on the downstream weights.
    """

    basis: Basis
    coef: Array
    noise: Array
    groups: Groups | None
    lines: CalibrationLines
    line_noise: Array
    line_groups: Groups | None
    has_rows: bool
    support: tuple[float, float]
    df: float | None = None
    slope: float | None = None
    slope_noise: Array | None = None
    transport_noise: Array | None = None
    transport_slope_noise: Array | None = None
    sample: CalibrationSample | None = None
    kernel: KernelScore | None = None
    cov_type: str = "HC1"

    def calibration_parts(self, x: Array, weights: Array, delta: Array) -> Array:
        """Additive parts of the calibration error of Δ'θ, shape (R, q)."""
        parts = self.noise @ delta
        if self.kernel is not None and self.sample is not None:
            counts = self.sample.counts
            share = np.ones(self.sample.n) if counts is None else counts * (self.sample.n / counts.sum())
            influence = self.kernel.functional_influence(x, weights, self.sample.predictions, share)
            parts = parts + self.sample.contributions(self.coef[2] * influence, len(self.coef), self.cov_type)
        return parts

    def draw(self, x: Array, rng: np.random.Generator, n_draws: int, cells: NDArray[np.intp] | None) -> Array:
        """Corrected outcomes under draws of the calibration, shape (n, M).

        Every calibration row (cluster) gets one standard normal multiplier per draw, which moves θ by
        Σ ξ u and a kernel score by the same rows.
        """
        if self.groups is None:
            multipliers = rng.standard_normal((n_draws, len(self.noise)))
        else:
            multipliers = rng.standard_normal((n_draws, self.groups.n_groups))[:, self.groups.codes]
        thetas = self.coef + multipliers @ self.noise
        if self.transport_noise is not None:
            thetas = thetas + rng.standard_normal((n_draws, len(self.transport_noise))) @ self.transport_noise
        columns = [self.basis.evaluate(x, theta, cells) for theta in thetas]
        if self.kernel is not None and self.sample is not None:
            scale = self.sample.contributions(np.ones((self.sample.n, 1)), len(self.coef), self.cov_type)[:, 0]
            counts = self.sample.counts
            share = np.ones(self.sample.n) if counts is None else counts * (self.sample.n / counts.sum())
            for column, multiplier in zip(columns, multipliers, strict=True):
                mass = multiplier * scale * share
                column += self.coef[2] * self.kernel.perturbation(x, self.sample.predictions, mass)
        return np.column_stack(columns)


def raw_scale(n_columns: int, centre: float, scale: float) -> Array:
    """Matrix that turns coefficients on (1, z, cardinals) into those on (1, x, cardinals), z = (x - centre)/scale."""
    matrix = np.eye(n_columns)
    matrix[0, 1], matrix[1, 1] = -centre / scale, 1.0 / scale
    return matrix


def spline_on_raw_scale(
    knots: Array,
    theta: Array,
    influence: Array,
    centre: float,
    scale: float,
    lines: CalibrationLines,
    sample: CalibrationSample,
    cov_type: str,
) -> FittedCorrection:
    """A spline correction fitted on z = (ŷ - centre)/scale, put on the scale of the predictions."""
    to_raw = raw_scale(len(theta), centre, scale)
    noise = sample.contributions(influence @ to_raw.T, len(theta), cov_type)
    basis = NaturalSplineBasis(centre + scale * knots)
    return as_fitted(basis, to_raw @ theta, noise, lines, sample, cov_type)


def as_fitted(
    basis: Basis,
    theta: Array,
    noise: Array,
    lines: CalibrationLines,
    sample: CalibrationSample,
    cov_type: str,
    *,
    kernel: KernelScore | None = None,
) -> FittedCorrection:
    """A nonlinear correction on the rows of a calibration sample."""
    return FittedCorrection(
        basis=basis,
        coef=theta,
        noise=noise,
        groups=sample.groups,
        lines=lines,
        line_noise=np.asarray(lines.contributions),
        line_groups=sample.groups,
        has_rows=True,
        support=sample.support,
        df=None if sample.groups is None else sample.groups.n_groups - 1.0,
        sample=sample,
        kernel=kernel,
        cov_type=cov_type,
    )


def correction_from_lines(
    lines: CalibrationLines, support: tuple[float, float], clusters: dict[Any, Any] | None
) -> FittedCorrection:
    """A linear correction whose rows are not kept: a square root of the covariance stands in for them."""
    known = np.where(np.isfinite(lines.cov), lines.cov, 0.0)
    rows = square_root_rows(known)
    return FittedCorrection(
        basis=Basis(),
        coef=lines.theta,
        noise=rows[:, :2] @ lines.theta_jacobian.T,
        groups=None,
        lines=lines,
        line_noise=rows,
        line_groups=None,
        has_rows=False,
        support=support,
        df=None if clusters is None else len(clusters) - 1.0,
        slope=lines.slope,
        slope_noise=rows[:, 1],
    )
