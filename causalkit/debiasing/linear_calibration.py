"""LinearCalibration: divide by the slope of predictions on truth."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from causalkit.debiasing.basis import Basis, CellBasis
from causalkit.debiasing.calibration_lines import (
    CalibrationLines,
    CalibrationMoments,
    add_cell_noise,
    check_lines,
    fit_lines,
)
from causalkit.debiasing.calibration_sample import (
    CalibrationSample,
    check_calibration_sample,
    check_size_and_spread,
    deviations,
)
from causalkit.debiasing.correction import CorrectionMixin
from causalkit.debiasing.differential import line_per_treatment, shift_by_treatment
from causalkit.debiasing.downstream import sum_of_squares
from causalkit.debiasing.fitted import FittedCorrection, correction_from_lines
from causalkit.documented import DocumentedEstimator
from causalkit.exceptions import WeakInstrumentWarning
from causalkit.validation import Treatment, check_choice, check_treatment, check_vector

__all__ = ["LinearCalibration"]

Array = NDArray[np.float64]


class LinearCalibration(CorrectionMixin, DocumentedEstimator):
    r"""Linear calibration of predictions used as outcomes.

    Estimand: a mean, contrast or regression of the true outcome Y, where only predictions Ŷ are seen in
    the trial. With :math:`E[\hat Y\mid Y] = m + kY` the correction is

    .. math:: g(\hat y) = (\hat y - \hat m)/\hat k,\qquad E[g(\hat Y)\mid Y] = Y,

    m and k from the regression of **Ŷ on Y** in the calibration sample. Outcome: corrected map;
    covariate: raw map.

    Assumptions: exclusion (A ⟂ Ŷ | Y, with the same law of Ŷ given Y in both samples); E[Ŷ|Y] linear;
    calibration rows out of sample for the model and at the level at which treatment varies. Neither
    normal, homoscedastic nor Berkson errors are needed. For a binary Y it is the Rogan-Gladen estimator.

    Parameters
    ----------
    variation : {"total", "within", "between", "change"}, default="total"
        Variation on which the slope is fitted: all of it, deviations from cell means, cell means, or
        changes of a unit between consecutive periods. Match it to the treatment: by cluster → between,
        fixed effects → within, difference in differences → change.
    differential : {None, "shift", "arms"}, default=None
        Error that depends on treatment, where treatment is known in the calibration sample: a shift δ
        per level, or a line per level.
    cov_type : {"HC0", "HC1"}, default="HC1"
        Covariance of the calibration coefficients; ``groups`` in ``fit`` makes it clustered.
    weight_type : {"probability", "frequency"}, default="probability"
        What sample weights mean, in the calibration sample and downstream.

    Attributes
    ----------
    slope_, intercept_ : float
        k and m.
    cov_ : ndarray, shape (2, 2)
        Covariance of (slope, intercept).
    differential_ : ndarray
        Shifts δ, shape (L - 1,), or lines (intercept, slope) per level, shape (L, 2).
    coef_ : ndarray, shape (J,)
        θ of g = h'θ with columns (1, ŷ), or those of the treatment levels.
    coef_cov_ : ndarray, shape (J, J)
        Covariance of θ.
    coef_influence_ : ndarray, shape (n_c, J)
        Influence values of θ on the mean scale; None after ``partial_fit``.
    berkson_slope_ : float
        b, slope of Y on Ŷ.
    r_squared_ : float
        Squared correlation kb.
    n_calibration_ : int
        Calibration rows.
    support_ : tuple of float
        Range of the calibration predictions.

    Raises
    ------
    CalibrationError
        Fewer than 10 rows, a constant column, or a slope that is not positive.

    References
    ----------
    Pettersson, Jerzak & Daoud 2026, AAAI, doi 10.1609/aaai.v40i46.41258, propositions 1-2. Nab et al. 2021,
    doi 10.1016/j.cmpb.2021.106238 (method of moments). Rogan & Gladen 1978.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit import LinearCalibration
    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(size=500)
    >>> calibration = LinearCalibration().fit(0.5 * y + 0.5 * rng.normal(size=500), y)
    >>> treatment = np.repeat([0, 1], 2000)
    >>> truth = 0.5 * treatment + rng.normal(size=4000)
    >>> result = calibration.effect(0.5 * truth + 0.5 * rng.normal(size=4000), treatment=treatment)
    >>> interval = result.conf_int().loc["1 - 0"]
    >>> bool(interval["lower"] < 0.5 < interval["upper"])
    True
    """

    def __init__(
        self,
        *,
        variation: str = "total",
        differential: str | None = None,
        cov_type: str = "HC1",
        weight_type: str = "probability",
    ) -> None:
        self.variation = variation
        self.differential = differential
        self.cov_type = cov_type
        self.weight_type = weight_type

    def fit(
        self,
        predictions: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        groups: Any = None,
        level: Any = None,
        period: Any = None,
        treatment: Any = None,
    ) -> LinearCalibration:
        """Fit on a calibration sample.

        Parameters
        ----------
        predictions : array-like, shape (n_c,) or (n_c, 1)
            Predictions Ŷ, out of sample for the model.
        y : array-like, shape (n_c,)
            Truth Y.
        sample_weight : array-like, shape (n_c,), optional
            Weights of the kind ``weight_type``.
        groups : array-like, shape (n_c,), optional
            Clusters.
        level : array-like, shape (n_c,), optional
            Cell or unit for ``variation``; default ``groups``.
        period : array-like, shape (n_c,), optional
            Time of each row for ``variation="change"``.
        treatment : array-like, shape (n_c,), optional
            Treatment of the calibration rows, for ``differential``.

        Returns
        -------
        LinearCalibration
        """
        self._check_options()
        check_choice(self.variation, "variation", ("total", "within", "between", "change"))
        check_choice(self.differential, "differential", (None, "shift", "arms"))
        sample = check_calibration_sample(
            predictions, y, sample_weight=sample_weight, groups=groups, weight_type=self.weight_type
        )
        support = sample.support
        arms = None
        if self.differential is not None:
            if treatment is None:
                raise ValueError(
                    f'differential="{self.differential}" needs treatment of the calibration rows in fit; got None.'
                )
            if self.variation != "total":
                raise ValueError('differential needs variation="total": the two cannot be combined.')
            arms = check_treatment(treatment, sample.n, like="predictions")
        used = deviations(sample, self.variation, level, period)
        if used is not sample:
            check_size_and_spread(used, stacklevel=3)
        lines = fit_lines(used, self.cov_type)
        check_lines(lines)
        if self.variation == "within":
            lines = add_cell_noise(lines, sample, used, self.cov_type)
        fitted = self._solve(used, lines, support, arms)
        self._store(fitted, predictions, sample.n_rows)
        self._arm_levels = None if arms is None else arms.levels
        self._moments: CalibrationMoments | None = None
        return self

    def _solve(
        self, sample: CalibrationSample, lines: CalibrationLines, support: tuple[float, float], arms: Treatment | None
    ) -> FittedCorrection:
        noise = np.asarray(lines.contributions)
        fitted = FittedCorrection(
            basis=Basis(),
            coef=lines.theta,
            noise=noise[:, :2] @ lines.theta_jacobian.T,
            groups=sample.groups,
            lines=lines,
            line_noise=noise,
            line_groups=sample.groups,
            has_rows=True,
            support=support,
            df=None if sample.groups is None else sample.groups.n_groups - 1.0,
            slope=lines.slope,
            slope_noise=noise[:, 1],
            sample=sample,
            cov_type=self.cov_type,
        )
        if arms is None:
            return fitted
        return shift_by_treatment(fitted, arms) if self.differential == "shift" else line_per_treatment(fitted, arms)

    def _refit(self, sample: CalibrationSample) -> FittedCorrection:
        if self.differential is not None:
            raise ValueError(
                "n_bootstrap is not available with differential: its delta variance is exact to first order."
            )
        return self._solve(sample, fit_lines(sample, self.cov_type), self.support_, None)

    def _store(self, fitted: FittedCorrection, predictions: Any, n_rows: float) -> None:
        super()._store(fitted, predictions, n_rows)
        order = [1, 0]
        if fitted.slope is not None and isinstance(fitted.basis, CellBasis):
            self.slope_, self.intercept_ = fitted.slope, -float(fitted.coef[0]) * fitted.slope
            # dm = -(k dθ_0 + θ_0 dk)
            moved = -(fitted.slope * fitted.noise[:, 0] + fitted.coef[0] * np.asarray(fitted.slope_noise))
            parts = np.column_stack([np.asarray(fitted.slope_noise), moved])
            self.cov_ = sum_of_squares(parts, fitted.groups)
        else:
            self.cov_ = fitted.lines.cov[np.ix_(order, order)]
        if isinstance(fitted.basis, CellBasis):
            if fitted.slope is not None:
                self.differential_ = -fitted.coef[2:] * fitted.slope
            else:
                slopes = 1.0 / fitted.coef[1::2]
                self.differential_ = np.column_stack([-fitted.coef[0::2] * slopes, slopes])
        elif hasattr(self, "differential_"):
            del self.differential_

    def _for_trial(self, n: int, treatment: Any, sites: Any) -> tuple[FittedCorrection, NDArray[np.intp] | None]:
        if self._arm_levels is None:
            return self._fitted, None
        if treatment is None:
            raise ValueError(
                f'this correction was fitted with differential="{self.differential}": pass treatment of each row.'
            )
        import pandas as pd

        values = np.asarray(treatment.to_numpy() if hasattr(treatment, "to_numpy") else treatment).reshape(-1)
        if len(values) != n:
            raise ValueError(f"treatment has {len(values)} rows, but predictions has {n}.")
        codes = pd.Index(self._arm_levels).get_indexer(pd.Index(values))
        if (codes < 0).any():
            unknown = pd.unique(values[codes < 0])[:5].tolist()
            raise ValueError(f"treatment has levels {unknown} that the calibration sample lacks: {self._arm_levels}.")
        return self._fitted, np.asarray(codes, dtype=np.intp)

    # ------------------------------------------------------------------ streams and summaries

    def partial_fit(
        self, predictions: Any, y: Any, *, sample_weight: Any = None, groups: Any = None
    ) -> LinearCalibration:
        """Add a chunk of calibration rows to the mergeable cross-moments.

        Any sequence of chunks gives the ``fit`` of all rows to rounding, heteroscedasticity-consistent and
        clustered covariances included. Memory is constant (one short row per cluster with ``groups``).
        The first chunks may be small; checks of size and slope apply once 10 rows are in. After ``fit`` the
        rows of that fit are kept and added to.

        Parameters
        ----------
        predictions, y, sample_weight, groups
            As in :meth:`fit`, for the rows of the chunk.

        Returns
        -------
        LinearCalibration
        """
        self._check_options()
        if self.variation != "total" or self.differential is not None:
            raise ValueError('partial_fit needs variation="total" and differential=None; use fit.')
        from causalkit.validation import check_groups, check_sample_weight

        f = check_vector(predictions, "predictions")
        truth = check_vector(y, "y", n_rows=len(f), like="predictions")
        weight = check_sample_weight(sample_weight, len(f), like="predictions")
        chunk = CalibrationSample(f, truth, weight, check_groups(groups, len(f)), self.weight_type)
        moments = CalibrationMoments(self.weight_type)
        held = getattr(self, "_moments", None)
        if held is not None:
            moments.merge(held)
        elif self.__sklearn_is_fitted__() and self._fitted.has_rows and self._fitted.sample is not None:
            moments.update(self._fitted.sample)  # rows of an earlier fit count too
        moments.update(chunk)
        return self._from_moments(moments, predictions)

    def merge(self, other: LinearCalibration) -> LinearCalibration:
        """Add the rows that another estimator has seen by ``partial_fit``; returns self.

        Parameters
        ----------
        other : LinearCalibration
            Fitted by ``partial_fit`` on other rows.
        """
        held, added = getattr(self, "_moments", None), getattr(other, "_moments", None)
        if held is None or added is None:
            raise ValueError("merge needs two calibrations that were fitted by partial_fit.")
        moments = CalibrationMoments(self.weight_type)
        moments.merge(held)
        moments.merge(added)
        return self._from_moments(moments, None)

    def _from_moments(self, moments: CalibrationMoments, predictions: Any) -> LinearCalibration:
        # One cluster has no clustered covariance: wait for the second, as for the tenth row.
        ready = moments.n >= 10 and (moments.clusters is None or len(moments.clusters) > 1)
        if ready:
            lines = moments.lines(self.cov_type)
            check_lines(lines, stacklevel=4)
            self._store(correction_from_lines(lines, moments.support, moments.clusters), predictions, lines.n_rows)
            self._arm_levels = None
        self._moments = moments
        return self

    @classmethod
    def from_coefficients(cls, slope: float, intercept: float = 0.0, cov: Any = None) -> LinearCalibration:
        """Calibration from published coefficients or guessed values.

        Parameters
        ----------
        slope, intercept : float
            k and m of Ŷ = m + kY.
        cov : array-like, shape (2, 2), optional
            Covariance of (slope, intercept); zero by default.

        Returns
        -------
        LinearCalibration
            Fitted; ``berkson_slope_`` and ``r_squared_`` are unknown (nan).

        Raises
        ------
        ValueError
            If the slope is not positive or ``cov`` is not positive semidefinite.
        """
        k, m = float(slope), float(intercept)
        if not (k > 0 and math.isfinite(k) and math.isfinite(m)):
            raise ValueError(
                f"slope must be a positive finite number and intercept finite; got {slope!r}, {intercept!r}."
            )
        given = np.zeros((2, 2)) if cov is None else np.asarray(cov, dtype=float)
        if given.shape != (2, 2) or not np.isfinite(given).all():
            raise ValueError(f"cov must be a finite 2 by 2 matrix in the order (slope, intercept); got {given!r}.")
        if not np.allclose(given, given.T) or np.linalg.eigvalsh(given).min() < -1e-12 * max(1.0, np.abs(given).max()):
            raise ValueError("cov must be symmetric and positive semidefinite (a covariance of slope and intercept).")
        full = np.full((4, 4), np.nan)
        full[:2, :2] = given[::-1, ::-1]
        lines = CalibrationLines(m, k, math.nan, math.nan, math.nan, math.nan, full, None, 0.0)
        if lines.slope_ratio < 5:
            warnings.warn(
                f"the slope is {lines.slope_ratio:.2f} standard errors from zero (below 5): Fieller set used; it may "
                "be unbounded.",
                WeakInstrumentWarning,
                stacklevel=2,
            )
        out = cls()
        out._store(correction_from_lines(lines, (-math.inf, math.inf), None), None, 0.0)
        out._arm_levels = None
        out._moments = None
        return out

    def inverse_transform(self, values: Any) -> Array:
        """Predictions that the correction maps to these values, m + k·value.

        Parameters
        ----------
        values : array-like, shape (n,) or (n, 1)
            Corrected outcomes.

        Returns
        -------
        ndarray
            In the shape of ``values``.
        """
        check_is_fitted(self)
        if self._arm_levels is not None:
            raise ValueError("inverse_transform is not defined with differential: the map depends on treatment.")
        x = check_vector(values, "values")
        out = self.intercept_ + self.slope_ * x
        return out[:, None] if len(np.shape(values)) == 2 else out
