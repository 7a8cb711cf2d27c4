"""DebiasedEffect: the effect on the true outcome, with every source of error and the band around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causalkit.debiasing.calibration_lines import CalibrationLines
from causalkit.debiasing.confidence_sets import RatioParts
from causalkit.inference import InferenceResult
from causalkit.inference.confidence_sets import ConfidenceSet
from causalkit.inference.result import check_confidence_level
from causalkit.validation import check_choice

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DebiasedEffect"]

Array = NDArray[np.float64]

EXCLUSION = "exclusion (linear calibration)"
SURROGACY = "surrogacy (naive)"
RECALIBRATED = "surrogacy, recalibrated"
_WEAK = 5.0


@dataclass(frozen=True, eq=False, kw_only=True)
class DebiasedEffect(InferenceResult):
    r"""Effect on the true outcome, estimated from predictions and a calibration sample.

    The estimate is :math:`\hat\tau = \Delta'\hat\theta`, the downstream estimator applied to each column of
    the correction :math:`g(\hat y) = h(\hat y)'\theta`; its variance is
    :math:`V_{down} + \Delta'V_\theta\Delta` plus, for a new site, the transport variance.

    Assumptions: exclusion, for the estimate; the band says what surrogacy would give instead, and
    :attr:`assumption` puts both in words. Results come from ``effect`` and ``mean`` of a fitted correction.

    Attributes
    ----------
    naive : InferenceResult
        The same downstream estimator on the raw predictions.
    band : DataFrame
        The two textbook assumptions, one row each per effect: the naive estimate (right under surrogacy,
        treatment independent of the truth given the prediction) and linear calibration (right under
        exclusion, treatment independent of the prediction given the truth). A third row, the naive
        estimate times the slope b of truth on prediction, where b differs from 1 at the 5 % level.
    variance_parts : DataFrame
        Variances from trial sampling, calibration and transport to a new site; they add up to the
        variance of the estimate. With ``shared_groups`` a fourth column holds the covariance of the
        first two.
    correction : str
        Name of the correction.
    constant : ndarray, shape (q,)
        The downstream estimator of a constant 1: zero for contrasts, but not for Horvitz-Thompson.
    bootstrap_estimates : ndarray, shape (B, q), optional
        Estimates of the refitting bootstrap.

    See Also
    --------
    causalkit.debiasing.debiased_effect : One call from arrays to this result.

    References
    ----------
    Keogh et al. 2016, Statistics in Medicine 35(25):4493-4508 (delta method for a calibrated outcome);
    Fieller 1954 (the set for a ratio).

    Examples
    --------
    >>> from causalkit import LinearCalibration
    >>> from causalkit.datasets import make_gaussian_map
    >>> data = make_gaussian_map(k=0.5, tau=1.0, random_state=0)
    >>> calibration = LinearCalibration().fit(data.calibration_predictions, data.calibration_y)
    >>> effect = calibration.effect(data.predictions, treatment=data.treatment)
    >>> effect.summary().columns.tolist()
    ['estimate', 'std_error', 'pvalue', 'lower', 'upper', 'naive']
    >>> effect.variance_parts.columns.tolist()
    ['sampling', 'calibration', 'transport']
    """

    naive: InferenceResult = field(repr=False)
    band: pd.DataFrame = field(repr=False)
    variance_parts: pd.DataFrame = field(repr=False)
    correction: str = ""
    lines: CalibrationLines = field(repr=False)
    joint_cov: Array = field(repr=False)
    ratio: RatioParts | None = field(default=None, repr=False)
    new_site: bool = False
    is_contrast: bool = True
    constant: Array = field(default_factory=lambda: np.zeros(1), repr=False)
    off_support_share: float = 0.0
    bootstrap_estimates: Array | None = field(default=None, repr=False)

    # ------------------------------------------------------------------ intervals

    def _method(self, method: str) -> str:
        check_choice(method, "method", ("auto", "delta", "fieller", "bootstrap"))
        if method == "auto":
            if self.bootstrap_estimates is not None:
                return "bootstrap"
            weak = self.ratio is not None and (self.new_site or self._slope_ratio() < _WEAK)
            return "fieller" if weak else "delta"
        if method == "fieller" and self.ratio is None:
            raise ValueError(
                f'method="fieller" needs a correction that divides by one slope; {self.correction} does not. '
                'Use method="delta", or n_bootstrap in effect and method="bootstrap".'
            )
        if method == "bootstrap" and self.bootstrap_estimates is None:
            raise ValueError('method="bootstrap" needs draws: pass n_bootstrap=999 to effect.')
        return method

    def _slope_ratio(self) -> float:
        if self.ratio is None:
            return np.inf
        variance = float(self.ratio.cov[-1, -1])
        return self.ratio.slope / np.sqrt(variance) if variance > 0 else np.inf

    def confidence_sets(
        self, confidence_level: float = 0.95, joint: bool = False, method: str = "auto"
    ) -> list[ConfidenceSet]:
        """Confidence sets, one per effect; Fieller's may be a union of intervals or unbounded.

        Parameters
        ----------
        confidence_level, joint, method
            As in :meth:`conf_int`.

        Returns
        -------
        list of ConfidenceSet
            Each with ``intervals`` (pairs of ends), ``bounded`` and ``in``; printable.
        """
        level = check_confidence_level(confidence_level)
        kind = self._method(method)
        if kind == "bootstrap" and self.bootstrap_estimates is not None:
            tail = (1 - level) / 2
            if joint:
                tail /= len(self.estimate)
            bounds = np.quantile(self.bootstrap_estimates, [tail, 1 - tail], axis=0).T
            return [ConfidenceSet(((float(low), float(high)),)) for low, high in bounds]
        critical = self._critical_value(level, joint)
        if kind == "fieller" and self.ratio is not None:
            return [self.ratio.confidence_set(j, critical) for j in range(len(self.estimate))]
        half = critical * self.std_error
        return [ConfidenceSet(((float(t - h), float(t + h)),)) for t, h in zip(self.estimate, half, strict=True)]

    def conf_int(self, confidence_level: float = 0.95, joint: bool = False, method: str = "auto") -> pd.DataFrame:
        """Confidence intervals, one row per effect.

        Parameters
        ----------
        confidence_level : float, default=0.95
        joint : bool, default=False
            Simultaneous over the effects (max-t; Bonferroni for the bootstrap).
        method : {"auto", "delta", "fieller", "bootstrap"}, default="auto"
            "auto" is the percentile bootstrap where there are draws, Fieller's set where the slope is
            less than five standard errors from zero or the trial is in a new site, else the delta method.

        Returns
        -------
        DataFrame
            Columns ``lower``, ``upper`` (the hull) and ``set`` (the set itself, printable).
        """
        import pandas as pd

        sets = self.confidence_sets(confidence_level, joint, method)
        return pd.DataFrame(
            {"lower": [s.lower for s in sets], "upper": [s.upper for s in sets], "set": sets}, index=list(self.names)
        )

    def pvalue(self, null: ArrayLike = 0.0, method: str = "auto") -> pd.Series:
        """Two-sided p-values, dual to the intervals of the same method.

        Parameters
        ----------
        null : float or array-like, shape (q,), default=0
            Hypothetical effects.
        method : {"auto", "delta", "fieller", "bootstrap"}, default="auto"
            As in :meth:`conf_int`.

        Returns
        -------
        Series
            One p-value per effect.
        """
        import pandas as pd
        from scipy import stats

        kind = self._method(method)
        if kind == "delta":
            return super().pvalue(null)
        nulls = np.broadcast_to(np.asarray(null, dtype=float), self.estimate.shape)
        if kind == "bootstrap" and self.bootstrap_estimates is not None:
            draws = self.bootstrap_estimates
            # The observed estimate counts as a draw, so that no p-value is zero.
            tails = np.minimum((draws <= nulls).sum(axis=0), (draws >= nulls).sum(axis=0)) + 1
            values = np.minimum(1.0, 2 * tails / (len(draws) + 1))
        else:
            reference = stats.norm if self.df is None else stats.t(self.df)
            ratio = self.ratio
            statistics = [0.0 if ratio is None else ratio.statistic(j, float(t)) for j, t in enumerate(nulls)]
            values = 2 * reference.sf(np.array(statistics))
        return pd.Series(values, index=list(self.names), name="pvalue")

    # ------------------------------------------------------------------ between the two assumptions

    def sensitivity(self, grid: ArrayLike | None = None, confidence_level: float = 0.95) -> pd.DataFrame:
        """Effects τ(r) = τ_naive/(k + r(1/b - k)) from exclusion (r = 0) to surrogacy (r = 1).

        Where the estimator of a constant is not zero but c (Horvitz-Thompson), τ_naive is first less
        c·{m + r(-a/b - m)}, so that both ends remain the rows of the band.

        Parameters
        ----------
        grid : array-like of float in [0, 1], optional
            Default 21 even steps.
        confidence_level : float, default=0.95
            Of the delta intervals.

        Returns
        -------
        DataFrame
            One row per effect and r: ``r``, ``estimate``, ``se``, ``lower``, ``upper``.
        """
        import pandas as pd

        if not self.is_contrast:
            raise ValueError("sensitivity is defined for contrasts, where the intercept drops out; this is a mean.")
        values = np.linspace(0, 1, 21) if grid is None else np.atleast_1d(np.asarray(grid, dtype=float))
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(
                f"grid must lie in [0, 1] (0 exclusion, 1 surrogacy); got {values.min()} to {values.max()}."
            )
        if not np.isfinite(self.lines.berkson_slope):
            raise ValueError(
                "sensitivity needs b, the slope of truth on prediction; from_coefficients does not know it."
            )
        q = len(self.estimate)
        m, k = self.lines.intercept, self.lines.slope
        a, b = self.lines.berkson_intercept, self.lines.berkson_slope
        critical = self._critical_value(confidence_level, joint=False)
        records = []
        for j, name in enumerate(self.names):
            picked = [j, q, q + 1, q + 2, q + 3]
            cov, tau, c = self.joint_cov[np.ix_(picked, picked)], float(self.naive.estimate[j]), float(self.constant[j])
            for r in values:
                divisor = k + r * (1 / b - k)
                value = (tau - c * (m + r * (-a / b - m))) / divisor
                # Derivatives with respect to (τ_naive, m, k, a, b).
                gradient = [1.0, -c * (1 - r), -value * (1 - r), c * r / b, (value - c * a) * r / b**2]
                gradient = np.array(gradient) / divisor
                se = float(np.sqrt(max(gradient @ cov @ gradient, 0.0)))
                records.append((name, r, value, se, value - critical * se, value + critical * se))
        frame = pd.DataFrame(records, columns=["effect", "r", "estimate", "se", "lower", "upper"])
        return frame.set_index("effect")

    def assumption_robust(self, confidence_level: float = 0.95) -> pd.DataFrame:
        """Interval that covers under every mixture of the two assumptions: the union over r of the intervals.

        Parameters
        ----------
        confidence_level : float, default=0.95
            Of the delta intervals that are united.

        Returns
        -------
        DataFrame
            One row per effect, columns ``lower`` and ``upper``.
        """
        curve = self.sensitivity(np.linspace(0, 1, 101), confidence_level)
        hull = curve.groupby(level="effect", sort=False).agg({"lower": "min", "upper": "max"})
        return hull.loc[list(dict.fromkeys(self.names))]

    # ------------------------------------------------------------------ presentation

    def summary(self, confidence_level: float = 0.95) -> pd.DataFrame:
        """Table with estimate, std_error, pvalue, lower, upper and the naive estimate.

        Parameters
        ----------
        confidence_level : float, default=0.95
            Coverage of the intervals.

        Returns
        -------
        DataFrame
            One row per effect; a column ``set`` is added where a set is not one bounded interval.
        """
        import pandas as pd

        interval = self.conf_int(confidence_level)
        frame = pd.DataFrame({"estimate": self.estimate, "std_error": self.std_error}, index=list(self.names))
        frame["pvalue"] = self.pvalue()
        frame["lower"], frame["upper"] = interval["lower"], interval["upper"]
        if any(len(s.intervals) > 1 or not s.bounded for s in interval["set"]):
            frame["set"] = interval["set"].astype(str)
        frame["naive"] = self.naive.estimate
        return frame

    @property
    def assumption(self) -> str:
        """What the estimate rests on, in words."""
        return (
            f"{self.correction} is right under exclusion: given the true outcome, treatment does not move the "
            "prediction. The naive estimate is right under surrogacy: given the prediction, treatment does not move "
            "the truth. Neither can be tested without treatment in the calibration sample; the band holds both."
        )

    def _caption(self) -> str:
        return f"{super()._caption()}; interval: {self._method('auto')}"

    def __repr__(self) -> str:
        parts = self.variance_parts / np.maximum(self.variance_parts.sum(axis=1).to_numpy()[:, None], 1e-300)
        return (
            f"{self._caption()}\n{self.summary().round(5).to_string()}\n\n"
            f"Share of the variance\n{parts.round(3).to_string()}\n\nBand\n{self.band.round(5).to_string()}\n\n"
            f"{self.assumption}"
        )

    def _repr_html_(self) -> str:
        def table(frame: pd.DataFrame) -> str:
            return str(frame.to_html(float_format=lambda v: f"{v:.5g}", border=0))

        return (
            f"<div><p><b>{self._caption()}</b></p>{table(self.summary())}<p>Variance parts</p>"
            f"{table(self.variance_parts)}<p>Band between the two assumptions</p>{table(self.band)}"
            f"<p>{self.assumption}</p></div>"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON; influence values are left out."""
        interval = self.conf_int()
        return {
            **super().to_dict(),
            "correction": self.correction,
            "naive": self.naive.to_dict(),
            "interval": [list(map(list, s.intervals)) for s in interval["set"]],
            "interval_method": self._method("auto"),
            "band": self.band.reset_index().to_dict(orient="records"),
            "variance_parts": self.variance_parts.reset_index().to_dict(orient="records"),
        }
