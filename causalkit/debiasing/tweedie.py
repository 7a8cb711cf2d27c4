"""TweedieCorrection: move each prediction against the score of the predictions' density."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.basis import Basis, NaturalSplineBasis, spline_knots
from causalkit.debiasing.calibration_lines import CalibrationLines, check_lines, fit_lines, simple_regression
from causalkit.debiasing.calibration_sample import CalibrationSample, check_calibration_sample, refuse_binary
from causalkit.debiasing.correction import CorrectionMixin
from causalkit.debiasing.fitted import FittedCorrection, as_fitted, raw_scale
from causalkit.debiasing.score import (
    KernelScore,
    choose_knots,
    fit_kernel_score,
    noise_weighted_matching,
    score_matching,
)
from causalkit.debiasing.tweedie_parts import (
    BerksonLine,
    TweedieParts,
    berkson_line,
    custom_basis,
    padded,
    refuse_atoms,
    stein_influence,
)
from causalkit.debiasing.working_model import breusch_pagan, check_increasing, residual_shape
from causalkit.documented import DocumentedEstimator
from causalkit.exceptions import CalibrationError, CalibrationWarning
from causalkit.seeds import root_seed
from causalkit.validation import check_choice, check_integer, check_vector

__all__ = ["TweedieCorrection"]

Array = NDArray[np.float64]


class TweedieCorrection(CorrectionMixin, DocumentedEstimator):
    r"""Tweedie's correction of predictions used as outcomes.

    Estimand: a mean, contrast or regression of the true outcome Y, where only predictions Ŷ are seen in
    the trial. If :math:`Y = a + b\hat Y + e` with normal noise of variance σ² then

    .. math:: g(\hat y) = a + b\hat y - (\sigma^2/b)\, s(\hat y),\qquad E[g(\hat Y)\mid Y] = Y,

    where :math:`s = (\log p)'` is the score of the density p of the predictions in the **calibration
    population** (not of the trial, whose predictions the treatment has moved). With noise that varies,
    σ²(u), the last term is :math:`(1/b)(\sigma^2 p)'/p`. Outcome: corrected map; covariate: raw map.

    Assumptions: exclusion (A ⟂ Ŷ | Y, with the same law of Ŷ given Y in both samples); a calibration
    sample of the whole population; Berkson residuals e near normal; small to moderate effects (the
    calibration variance explodes for large shifts).

    Parameters
    ----------
    score : {"spline", "kde", "gaussian"}, callable or estimator, default="spline"
        Score matching in natural cubic splines; a Gaussian kernel density; the normal score (linear
        calibration by another route); a function s(x) of an array; or an estimator with ``fit(X)`` and
        ``predict(X)`` = s.
    n_knots : int or "auto", default="auto"
        Spline knots; "auto" is cross-validated score matching with the one-standard-error rule over
        2, 3, 4, 5, 6, 8, 10, 12.
    bandwidth : "scott" or float, default="scott"
        Kernel standard deviation for ``score="kde"``.
    stein_rescale : bool, default=True
        Rescale a kernel score so that it keeps the identity E[(Ŷ - EŶ)s(Ŷ)] = -1 out of sample. Without
        it the kernel shrinks its own correction.
    noise : {"homoscedastic", "heteroscedastic"}, default="homoscedastic"
        Whether σ² may depend on the prediction (splines only).
    recalibrate : bool, default=True
        Estimate a and b; False takes a = 0, b = 1.
    cov_type : {"HC0", "HC1"}, default="HC1"
        Finite-sample factor of the calibration noise.
    weight_type : {"probability", "frequency"}, default="probability"
        What sample weights mean.
    cv : int or splitter, default=5
        Folds of the choice of knots.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the folds.

    Attributes
    ----------
    sigma_ : float
        Standard deviation of e, in units of y.
    berkson_intercept_, berkson_slope_ : float
        a and b as used.
    knots_ : ndarray, shape (K,)
        Knots, in units of the predictions (splines and "gaussian").
    score_coef_ : ndarray, shape (K,)
        Coefficients of s (of (σ²p)'/p with heteroscedastic noise) on the columns 1, ŷ and the cardinal
        natural splines of the inner knots.
    stein_constant_ : float
        Factor that rescaled a kernel score; 1 otherwise.
    monotone_ : bool
        Whether g increases over the calibration range.
    cv_results_ : dict
        ``n_knots``, ``mean_loss``, ``se_difference`` of the choice of knots; empty where none was made.
    slope_, intercept_ : float
        k and m of the linear calibration on the same rows.
    coef_, coef_cov_, coef_influence_, r_squared_, n_calibration_, support_
        As in :class:`LinearCalibration`; J = K, or 3 for a kernel or custom score. With
        ``unlabelled_predictions`` the rows of those follow the labelled rows in ``coef_influence_``.

    Raises
    ------
    DiscretePredictionsError
        One value on 1 % of the rows or more, or few distinct values: there is no density.
    CalibrationError
        A binary outcome, too few rows, a constant, a slope that is not positive.

    References
    ----------
    Pettersson, Jerzak & Daoud 2026, AAAI, doi 10.1609/aaai.v40i46.41258, proposition 3. Hyvärinen 2005,
    JMLR 6:695-709 (score matching).

    Examples
    --------
    >>> from causalkit import TweedieCorrection
    >>> from causalkit.datasets import make_mixture_map
    >>> data = make_mixture_map(sigma=2.0, n_calibration=2000, n_arm=5000, random_state=0)
    >>> correction = TweedieCorrection(n_knots=5).fit(data.calibration_predictions, data.calibration_y)
    >>> result = correction.effect(data.predictions, treatment=data.treatment)
    >>> interval = result.conf_int().iloc[0]
    >>> bool(interval["lower"] < data.effect < interval["upper"])
    True
    """

    def __init__(
        self,
        *,
        score: Any = "spline",
        n_knots: int | str = "auto",
        bandwidth: float | str = "scott",
        stein_rescale: bool = True,
        noise: str = "homoscedastic",
        recalibrate: bool = True,
        cov_type: str = "HC1",
        weight_type: str = "probability",
        cv: Any = 5,
        random_state: Any = None,
    ) -> None:
        self.score = score
        self.n_knots = n_knots
        self.bandwidth = bandwidth
        self.stein_rescale = stein_rescale
        self.noise = noise
        self.recalibrate = recalibrate
        self.cov_type = cov_type
        self.weight_type = weight_type
        self.cv = cv
        self.random_state = random_state

    def fit(
        self,
        predictions: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        groups: Any = None,
        unlabelled_predictions: Any = None,
    ) -> TweedieCorrection:
        """Fit on a calibration sample.

        Parameters
        ----------
        predictions : array-like, shape (n_c,) or (n_c, 1)
            Predictions Ŷ, out of sample for the model.
        y : array-like, shape (n_c,)
            Truth Y.
        sample_weight, groups : array-like, shape (n_c,), optional
            Weights of the kind ``weight_type`` and clusters.
        unlabelled_predictions : array-like, shape (n_u,), optional
            Further predictions of the calibration population; they sharpen the score (splines and
            homoscedastic noise only, without weights or groups).

        Returns
        -------
        TweedieCorrection
        """
        self._check_parameters()
        sample = check_calibration_sample(
            predictions, y, sample_weight=sample_weight, groups=groups, weight_type=self.weight_type
        )
        refuse_binary(sample.y)
        refuse_atoms(sample)
        lines = fit_lines(sample, self.cov_type)
        check_lines(lines, has_fieller=False)
        extra = self._check_unlabelled(unlabelled_predictions, sample)
        n_knots, cv_results = self._choose_knots(sample, extra)
        parts = self._solve(sample, lines, n_knots, extra)
        fitted = parts.fitted
        self._warn_residuals(sample)
        increasing = check_increasing(fitted)
        self._store(fitted, predictions, sample.n_rows)
        self.sigma_ = math.sqrt(parts.variance)
        self.berkson_intercept_, self.berkson_slope_ = parts.intercept, parts.slope
        self.knots_, self.score_coef_ = parts.knots, parts.score_coef
        self.stein_constant_ = parts.stein_constant
        self.monotone_ = increasing
        self.cv_results_ = cv_results
        self._n_knots = n_knots
        return self

    # ------------------------------------------------------------------ checks

    def _check_parameters(self) -> None:
        self._check_options()
        if isinstance(self.score, str):
            check_choice(self.score, "score", ("spline", "kde", "gaussian"))
        elif not (callable(self.score) or (hasattr(self.score, "fit") and hasattr(self.score, "predict"))):
            raise ValueError(
                f'score must be "spline", "kde", "gaussian", a function s(x), or an estimator with fit and predict; '
                f"got {self.score!r}."
            )
        check_choice(self.noise, "noise", ("homoscedastic", "heteroscedastic"))
        if self.noise == "heteroscedastic" and self.score not in ("spline", "gaussian"):
            raise ValueError('noise="heteroscedastic" needs score="spline" (or "gaussian"); got another score.')
        if self.n_knots != "auto":
            check_integer(self.n_knots, "n_knots", low=2)
        if self.bandwidth != "scott" and not (isinstance(self.bandwidth, int | float) and self.bandwidth > 0):
            raise ValueError(f'bandwidth must be "scott" or a positive number; got {self.bandwidth!r}.')

    def _check_unlabelled(self, values: Any, sample: CalibrationSample) -> Array | None:
        if values is None:
            return None
        extra = check_vector(values, "unlabelled_predictions")
        if self.score not in ("spline", "gaussian") or self.noise != "homoscedastic":
            raise ValueError('unlabelled_predictions needs score="spline" or "gaussian" and homoscedastic noise.')
        if sample.weight is not None or sample.groups is not None:
            raise ValueError("unlabelled_predictions cannot be combined with sample_weight or groups.")
        return extra

    def _extra_warnings(self, n_bootstrap: int) -> None:
        if hasattr(self.score, "fit") and n_bootstrap == 0:
            warnings.warn(
                "the score comes from a custom estimator: score noise not in the standard error: set n_bootstrap.",
                CalibrationWarning,
                stacklevel=3,
            )

    def _warn_residuals(self, sample: CalibrationSample) -> None:
        if self.noise == "heteroscedastic":
            return
        residuals = sample.y - sample.predictions
        if self.recalibrate:
            residuals = simple_regression(sample.predictions, sample.y, sample.weight)[3]
        p_value = breusch_pagan(sample.predictions, residuals, sample.counts)[1]
        skew, kurtosis = residual_shape(residuals, sample.weight)
        if p_value < 1e-3 or abs(skew) > 1 or kurtosis > 3:
            warnings.warn(
                f"the residuals of y on predictions are not homoscedastic and normal (Breusch-Pagan p = {p_value:.2g}, "
                f'skew {skew:.2f}, excess kurtosis {kurtosis:.2f}): use noise="heteroscedastic" or SplineCalibration.',
                CalibrationWarning,
                stacklevel=3,
            )

    # ------------------------------------------------------------------ estimation

    def _choose_knots(self, sample: CalibrationSample, extra: Array | None) -> tuple[int, dict[str, Array]]:
        if self.score == "gaussian":
            return 2, {}
        if self.score != "spline" or self.n_knots != "auto":
            return (int(self.n_knots) if self.n_knots != "auto" else 0), {}
        x = sample.predictions if extra is None else np.concatenate([sample.predictions, extra])
        centre, scale = x.mean(), x.std()
        folds, n_folds = self._folds(x, sample)
        weight = sample.counts
        n_knots, results = choose_knots((x - centre) / scale, folds, n_folds, weight)
        return n_knots, results

    def _folds(self, x: Array, sample: CalibrationSample) -> tuple[NDArray[np.intp], int]:
        from sklearn.model_selection import GroupKFold, KFold, check_cv

        groups = None if sample.groups is None else sample.groups.codes
        if isinstance(self.cv, int | np.integer):
            splits = check_integer(self.cv, "cv", low=2)
            if groups is None:
                given = self.random_state  # of generators scikit-learn's splitters know nothing
                state = root_seed(given) if isinstance(given, np.random.Generator) else given
                cv: Any = KFold(splits, shuffle=True, random_state=state)
            else:
                cv = GroupKFold(min(splits, int(groups.max()) + 1))
        else:
            cv = check_cv(self.cv)
        folds = np.full(len(x), -1, dtype=np.intp)
        count = 0
        for index, (_, test) in enumerate(cv.split(x[:, None], groups=groups)):
            folds[test] = index
            count = index + 1
        if (folds < 0).any():
            raise ValueError(f"cv must hold every row out once; {int((folds < 0).sum())} rows are never held out.")
        return folds, count

    def _refit(self, sample: CalibrationSample) -> FittedCorrection:
        return self._solve(sample, fit_lines(sample, self.cov_type), self._n_knots, None).fitted

    def _solve(
        self, sample: CalibrationSample, lines: CalibrationLines, n_knots: int, extra: Array | None
    ) -> TweedieParts:
        berkson = berkson_line(sample, self.recalibrate)
        if self.score in ("spline", "gaussian"):
            return self._solve_spline(sample, lines, berkson, n_knots, extra)
        return self._solve_score(sample, lines, berkson)

    def _solve_spline(
        self,
        sample: CalibrationSample,
        lines: CalibrationLines,
        berkson: BerksonLine,
        n_knots: int,
        extra: Array | None,
    ) -> TweedieParts:
        """θ = (a, b, 0, ...) - (σ²/b)β, or less γ/b with heteroscedastic noise, and its influence values."""
        f = sample.predictions if extra is None else np.concatenate([sample.predictions, extra])
        n_c, n = sample.n, len(f)
        weight = sample.counts
        centre, scale = float(np.average(f, weights=weight)), float(f.std())
        z = (f - centre) / scale
        knots = spline_knots(z, n_knots, weight)
        if np.any(np.diff(knots) <= 0):
            raise CalibrationError(
                f"too many knots for the distinct values of predictions: {n_knots} knots coincide. Use fewer knots, or "
                "weights that are less uneven."
            )
        basis = NaturalSplineBasis(knots)
        a, b, variance = berkson.intercept, berkson.slope, berkson.variance
        # Labelled rows carry the line and σ²; with unlabelled rows their influence is on the longer mean.
        longer = n / n_c
        of_a, of_b, of_variance = (padded(v, n) * longer for v in berkson.influence.T)
        if self.noise == "heteroscedastic":
            # In z the line a + bŷ has slope b·scale and intercept a + b·centre.
            of_level, of_slope = berkson.line_influence.T
            line = np.column_stack([of_level + centre * of_slope, scale * of_slope])
            gamma, of_gamma = noise_weighted_matching(basis, z, berkson.residuals, line, weight)
            bend, of_bend = gamma / scale, of_gamma / scale
            influence = -(of_bend / b - np.outer(of_b, bend) / b**2)
            theta = -bend / b
        else:
            beta, of_beta = score_matching(basis, z, weight)
            bend, of_bend = beta / scale, of_beta / scale
            influence = -(
                np.outer(of_variance, bend) / b + (variance / b) * of_bend - (variance / b**2) * np.outer(of_b, bend)
            )
            theta = -(variance / b) * bend
        to_raw = raw_scale(n_knots, centre, scale)
        theta, influence = to_raw @ theta, influence @ to_raw.T
        theta[0] += a
        theta[1] += b
        influence[:, 0] += of_a
        influence[:, 1] += of_b
        raw = NaturalSplineBasis(centre + scale * knots)
        whole = sample if extra is None else CalibrationSample(f, padded(sample.y, n))
        noise = whole.contributions(influence, n_knots, self.cov_type)
        fitted = as_fitted(raw, theta, noise, lines, sample, self.cov_type)
        return TweedieParts(fitted, a, b, variance, raw.knots, to_raw @ bend, 1.0)

    def _solve_score(self, sample: CalibrationSample, lines: CalibrationLines, berkson: BerksonLine) -> TweedieParts:
        """θ = (a, b, -cσ²/b) on the columns (1, ŷ, s(ŷ)) for a kernel or custom score."""
        a, b, variance = berkson.intercept, berkson.slope, berkson.variance
        kernel: KernelScore | None = None
        constant, of_constant = 1.0, np.zeros(sample.n)
        basis: Basis
        if self.score == "kde":
            kernel = fit_kernel_score(
                sample.predictions, self.bandwidth, sample.weight, repeated=sample.frequency is not None
            )
            basis = kernel.table
            if self.stein_rescale:
                constant = kernel.stein_constant
                of_constant = constant**2 * stein_influence(kernel, sample)
        else:
            basis = custom_basis(self.score, sample)
        of_a, of_b, of_variance = berkson.influence.T
        last = -constant * variance / b
        of_last = -(of_constant * variance / b + constant * of_variance / b - constant * variance / b**2 * of_b)
        influence = np.column_stack([of_a, of_b, of_last])
        noise = sample.contributions(influence, 3, self.cov_type)
        theta = np.array([a, b, last])
        fitted = as_fitted(basis, theta, noise, lines, sample, self.cov_type, kernel=kernel)
        return TweedieParts(fitted, a, b, variance, np.empty(0), np.array([last]), constant)
