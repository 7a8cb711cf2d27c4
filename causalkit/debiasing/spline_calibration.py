"""SplineCalibration: a bent correction from an instrumental-variable moment, without normal errors."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.basis import NaturalSplineBasis, spline_knots
from causalkit.debiasing.calibration_lines import CalibrationLines, check_lines, fit_lines
from causalkit.debiasing.calibration_sample import CalibrationSample, check_calibration_sample, refuse_binary
from causalkit.debiasing.correction import CorrectionMixin
from causalkit.debiasing.fitted import FittedCorrection, spline_on_raw_scale
from causalkit.debiasing.working_model import check_increasing
from causalkit.documented import DocumentedEstimator
from causalkit.exceptions import CalibrationError, WeakInstrumentWarning
from causalkit.linear import linear_moments
from causalkit.validation import check_integer

__all__ = ["SplineCalibration"]

Array = NDArray[np.float64]

_STRONG = 10.0


class SplineCalibration(CorrectionMixin, DocumentedEstimator):
    r"""Outcome-calibrated natural spline for predictions used as outcomes.

    Estimand: a mean, contrast or regression of the true outcome Y, where only predictions Ŷ are seen in
    the trial. The correction g(ŷ) = B(ŷ)'β with natural splines B solves the moment
    :math:`E[g(\hat Y) - Y \mid Y] = 0` with splines Z of **Y as instruments**,

    .. math:: \hat\beta = (B'P_Z B)^{-1} B'P_Z y .

    With two knots it is :class:`LinearCalibration` exactly. Outcome: corrected map; covariate: raw map.

    Assumptions: exclusion (A ⟂ Ŷ | Y, with the same law of Ŷ given Y in both samples) and completeness
    (Ŷ varies enough with Y). Neither normal nor Berkson errors are needed, and calibration rows may be
    selected on Y. The inverse problem becomes ill-posed as knots are added or R² falls.

    Parameters
    ----------
    n_knots : int in 2..6 or "auto", default="auto"
        Knots of g and of the instruments. "auto" is the largest of 4, 3 whose strength F_K is at least
        10, else 2.
    cov_type : {"HC0", "HC1"}, default="HC1"
        Finite-sample factor of the calibration noise.
    weight_type : {"probability", "frequency"}, default="probability"
        What sample weights mean.

    Attributes
    ----------
    n_knots_ : int
        Knots used, K.
    knots_, instrument_knots_ : ndarray, shape (K,)
        Knots of g (units of the predictions) and of the instruments (units of y).
    strength_ : dict of int to float
        F_K = (n_c - K)ρ²/(1 - ρ²)/(K - 1), ρ the smallest canonical correlation of the non-constant
        columns of B and Z, for each K that was tried.
    monotone_ : bool
        Whether g increases over the calibration range.
    slope_, intercept_ : float
        k and m of the linear calibration on the same rows.
    coef_, coef_cov_, coef_influence_, berkson_slope_, r_squared_, n_calibration_, support_
        As in :class:`LinearCalibration`; J = K columns 1, ŷ and the cardinal splines of the inner knots.

    Raises
    ------
    CalibrationError
        A binary outcome, too many knots for the distinct values, too few rows, a constant.

    References
    ----------
    The two-stage least squares form of Newey & Powell 2003, Econometrica 71:1565-1578, with the roles of
    regressor and instrument given by the measurement error: Ŷ is regressor, Y its own instrument.

    Examples
    --------
    >>> from causalkit import SplineCalibration
    >>> from causalkit.datasets import make_mixture_map
    >>> data = make_mixture_map(sigma=2.0, n_calibration=2000, n_arm=5000, random_state=0)
    >>> correction = SplineCalibration(n_knots=3).fit(data.calibration_predictions, data.calibration_y)
    >>> correction.effect(data.predictions, treatment=data.treatment).estimate.shape
    (1,)
    """

    def __init__(self, *, n_knots: int | str = "auto", cov_type: str = "HC1", weight_type: str = "probability") -> None:
        self.n_knots = n_knots
        self.cov_type = cov_type
        self.weight_type = weight_type

    def fit(self, predictions: Any, y: Any, *, sample_weight: Any = None, groups: Any = None) -> SplineCalibration:
        """Fit on a calibration sample.

        Parameters
        ----------
        predictions : array-like, shape (n_c,) or (n_c, 1)
            Predictions Ŷ, out of sample for the model.
        y : array-like, shape (n_c,)
            Truth Y.
        sample_weight, groups : array-like, shape (n_c,), optional
            Weights of the kind ``weight_type`` and clusters.

        Returns
        -------
        SplineCalibration
        """
        self._check_options()
        if self.n_knots != "auto":
            check_integer(self.n_knots, "n_knots", low=2, high=6)
        sample = check_calibration_sample(
            predictions, y, sample_weight=sample_weight, groups=groups, weight_type=self.weight_type
        )
        refuse_binary(sample.y)
        lines = fit_lines(sample, self.cov_type)
        check_lines(lines, has_fieller=False)
        n_knots, strength = self._choose(sample)
        fitted = _solve(sample, lines, n_knots, self.cov_type)
        self._warn_strength(n_knots, strength)
        increasing = check_increasing(fitted)
        self._store(fitted, predictions, sample.n_rows)
        self.n_knots_, self.strength_ = n_knots, strength
        self.knots_ = spline_knots(sample.predictions, n_knots, sample.counts)
        self.instrument_knots_ = spline_knots(sample.y, n_knots, sample.counts)
        self.monotone_ = increasing
        return self

    def _choose(self, sample: CalibrationSample) -> tuple[int, dict[int, float]]:
        if self.n_knots != "auto":
            k = int(self.n_knots)
            return k, {k: instrument_strength(sample, k)}
        strength: dict[int, float] = {}
        for k in (4, 3):
            try:
                strength[k] = instrument_strength(sample, k)
            except CalibrationError:
                strength[k] = 0.0  # ties leave too few distinct knots
            if strength[k] >= _STRONG:
                return k, strength
        strength[2] = instrument_strength(sample, 2)
        return 2, strength

    def _warn_strength(self, n_knots: int, strength: dict[int, float]) -> None:
        values = ", ".join(f"F_{k} = {value:.1f}" for k, value in strength.items())
        if n_knots == 2 and self.n_knots == "auto":
            warnings.warn(
                f"the calibration sample is too weak for a bent correction ({values}, below 10): the fit equals "
                "LinearCalibration.",
                WeakInstrumentWarning,
                stacklevel=3,
            )
        elif strength[n_knots] < _STRONG:
            same = ": it equals LinearCalibration" if n_knots == 2 else ""
            warnings.warn(
                f"weak instruments at {n_knots} knots ({values}, below 10){same}; use fewer knots.",
                WeakInstrumentWarning,
                stacklevel=3,
            )

    def _refit(self, sample: CalibrationSample) -> FittedCorrection:
        return _solve(sample, fit_lines(sample, self.cov_type), self.n_knots_, self.cov_type)


def _bases(sample: CalibrationSample, n_knots: int) -> tuple[Array, Array, float, float, Array]:
    """Columns of g and of the instruments on standardised scales, with the scale of the predictions."""
    weight = sample.counts
    centre = float(np.average(sample.predictions, weights=weight))
    scale = float(sample.predictions.std())
    z = (sample.predictions - centre) / scale
    u = (sample.y - np.average(sample.y, weights=weight)) / sample.y.std()
    knots, own = spline_knots(z, n_knots, weight), spline_knots(u, n_knots, weight)
    for name, found in (("predictions", knots), ("y", own)):
        if np.any(np.diff(found) <= 1e-9):
            raise CalibrationError(
                f"too many knots for the distinct values of {name}: {n_knots} knots coincide. Use fewer knots."
            )
    return NaturalSplineBasis(knots).design(z), NaturalSplineBasis(own).design(u), centre, scale, knots


def instrument_strength(sample: CalibrationSample, n_knots: int) -> float:
    """F_K = (n_c - K)ρ²/(1 - ρ²)/(K - 1) with the smallest canonical correlation ρ of B and Z."""
    columns, instruments, *_ = _bases(sample, n_knots)
    share = np.full(sample.n, 1.0 / sample.n) if sample.weight is None else sample.weight / sample.weight.sum()
    parts = []
    for matrix in (columns[:, 1:], instruments[:, 1:]):
        centred = (matrix - share @ matrix) * np.sqrt(share)[:, None]
        parts.append(np.linalg.qr(centred)[0])
    squared = min(float(np.linalg.svd(parts[0].T @ parts[1], compute_uv=False)[-1]) ** 2, 1.0)
    if squared >= 1.0:
        return float("inf")
    return (sample.n_rows - n_knots) * squared / (1 - squared) / (n_knots - 1)


def _solve(sample: CalibrationSample, lines: CalibrationLines, n_knots: int, cov_type: str) -> FittedCorrection:
    """β = (B'P_ZB)⁻¹B'P_Zy with φ_j = (B'P_ZB/n)⁻¹(P_ZB)_j(y_j - B_j'β)."""
    columns, instruments, centre, scale, knots = _bases(sample, n_knots)
    fit = linear_moments(instruments, columns, sample.y, sample.weight)
    if fit.rank < n_knots:
        raise CalibrationError(
            f"the spline moment matrix of {n_knots} knots is singular: too many knots for the distinct values of "
            "predictions."
        )
    return spline_on_raw_scale(knots, fit.coef, fit.influence, centre, scale, lines, sample, cov_type)
