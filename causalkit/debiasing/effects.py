"""DebiasedEffect: the effect on the true outcome, with every source of error and the band around it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causalkit.debiasing.basis import Basis
from causalkit.debiasing.calibration_lines import CalibrationLines
from causalkit.debiasing.confidence_sets import ConfidenceSet, RatioParts
from causalkit.debiasing.downstream import Downstream, TrialRows, sum_of_squares
from causalkit.debiasing.fitted import FittedCorrection
from causalkit.exceptions import ExtrapolationWarning
from causalkit.inference import InferenceResult, cluster_sums
from causalkit.inference.result import check_confidence_level
from causalkit.validation import Groups, check_choice

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DebiasedEffect", "assemble_effect", "assemble_from_moments", "union_groups", "warn_off_support"]

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


# ---------------------------------------------------------------------- assembly


def warn_off_support(x: Array, support: tuple[float, float], stacklevel: int = 4) -> float:
    """Share of predictions outside the calibration range; warns above 1 %."""
    below, above = float(np.mean(x < support[0])), float(np.mean(x > support[1]))
    if below + above > 0.01:
        side = "both sides" if min(below, above) > 0 else ("below" if below > 0 else "above")
        warnings.warn(
            f"{100 * (below + above):.1f} % of the predictions lie outside the calibration range "
            f"[{support[0]:.4g}, {support[1]:.4g}] ({side}): linear continuation used. Calibrate on rows that cover "
            "the trial.",
            ExtrapolationWarning,
            stacklevel=stacklevel,
        )
    return below + above


def _cross(first: Array, groups: Groups, second: Array, other: Groups) -> Array:
    """Σ_g (Σ first)(Σ second)' over groups that the two samples share by label."""
    import pandas as pd

    a = cluster_sums(first, groups.codes, groups.n_groups)
    b = cluster_sums(second, other.codes, other.n_groups)
    position = pd.Index(groups.labels).get_indexer(pd.Index(other.labels))
    return np.asarray(a[position[position >= 0]].T @ b[position >= 0])


def union_groups(
    first: Groups | None, n_first: int, second: Groups | None, n_second: int, shared: bool
) -> Groups | None:
    """Clusters of stacked rows of two samples; labels are matched only when they are shared."""
    import pandas as pd

    if first is None and second is None:
        return None
    a = np.arange(n_first) if first is None else first.codes
    b = np.arange(n_second) if second is None else second.codes
    if shared and first is not None and second is not None:
        stacked = np.concatenate([first.labels[a].astype(object), second.labels[b].astype(object)])
        codes, labels = pd.factorize(stacked)
        return Groups(np.asarray(codes, dtype=np.intp), np.asarray(labels))
    offset = int(a.max()) + 1 if n_first else 0
    total = offset + (int(b.max()) + 1 if n_second else 0)
    return Groups(np.concatenate([a, b + offset]).astype(np.intp), np.arange(total))


def assemble_effect(
    fitted: FittedCorrection,
    downstream: Downstream,
    x: Array,
    rows: TrialRows,
    *,
    cells: NDArray[np.intp] | None = None,
    shared_groups: bool = False,
    correction: str,
    is_contrast: bool = True,
    off_support_share: float = 0.0,
    sample: object = None,
) -> DebiasedEffect:
    """Put together estimate, variance parts, naive estimate and band of one downstream estimator."""
    names, line = downstream.names, Basis()
    delta = downstream.project(fitted.basis, x, cells)
    plain = delta[:2] if fitted.basis.starts_with_line else downstream.project(line, x, None)
    estimate = delta.T @ fitted.coef
    weights = downstream.weights if fitted.kernel is not None else np.empty((0, len(names)))
    calibration = fitted.calibration_parts(x, weights, delta)
    transport = np.empty((0, len(names))) if fitted.transport_noise is None else fitted.transport_noise @ delta
    # One array holds the parts of every row; the trial's are written into it.
    stacked = np.empty((rows.n + len(calibration) + len(transport), len(names)))
    trial = downstream.contributions(fitted.basis, x, fitted.coef, cells, out=stacked[: rows.n])
    stacked[rows.n :] = np.concatenate([calibration, transport])
    raw = downstream.contributions(line, x, np.array([0.0, 1.0]), None)
    parts = {
        "sampling": sum_of_squares(trial, rows.groups),
        "calibration": sum_of_squares(calibration, fitted.groups),
        "transport": transport.T @ transport,
    }
    lcc_cov = downstream.covariance(line, x, fitted.lines.theta, None)
    joint = _joint_covariance(sum_of_squares(raw, rows.groups), fitted)
    cross = np.zeros((len(names), len(names) + 1))
    if shared_groups and rows.groups is not None and fitted.groups is not None and fitted.line_groups is not None:
        slope_noise = np.zeros(len(calibration)) if fitted.slope_noise is None else fitted.slope_noise
        cross = _cross(trial, rows.groups, np.column_stack([calibration, slope_noise]), fitted.groups)
        parts["shared"] = cross[:, :-1] + cross[:, :-1].T
        lcc = downstream.contributions(line, x, fitted.lines.theta, None)
        gradient = plain.T @ fitted.lines.theta_jacobian
        of_line = _cross(lcc, rows.groups, fitted.line_noise[:, :2], fitted.line_groups) @ gradient.T
        lcc_cov = lcc_cov + of_line + of_line.T
        q = len(names)
        joint[:q, q:] = _cross(raw, rows.groups, fitted.line_noise, fitted.line_groups)
        joint[q:, :q] = joint[:q, q:].T
    tail = (
        union_groups(fitted.groups, len(calibration), None, len(transport), False) if len(transport) else fitted.groups
    )
    groups = union_groups(rows.groups, rows.n, tail, len(stacked) - rows.n, shared_groups)
    stacked *= len(stacked)
    raw *= rows.n
    return _build(
        fitted,
        names,
        estimate,
        parts,
        plain,
        joint,
        lcc_cov,
        naive=InferenceResult.from_influence(plain[1], raw, names=names, groups=rows.groups),
        ratio=_ratio(fitted, estimate, parts["sampling"], calibration, transport, cross),
        trial_groups=rows.groups,
        n_obs=rows.n,
        influence_values=stacked,
        groups=None if groups is None else groups.codes,
        dependence=_dependence(rows.groups, fitted.groups, shared_groups),
        sample=sample,
        correction=correction,
        is_contrast=is_contrast,
        off_support_share=off_support_share,
    )


def assemble_from_moments(
    fitted: FittedCorrection,
    names: tuple[str, ...],
    delta: Array,
    arm_covariances: Array,
    n_obs: int,
    *,
    correction: str,
    off_support_share: float,
) -> DebiasedEffect:
    """The effect of a difference in means from arm moments alone.

    Parameters
    ----------
    fitted : FittedCorrection
        Its basis starts with the columns (1, x).
    names : tuple of str, length q
    delta : ndarray, shape (J, q)
        Differences of arm means of each column from the reference arm.
    arm_covariances : ndarray, shape (q + 1, J, J)
        Covariance of the column means in each arm, reference first.
    n_obs : int
        Trial rows.
    """
    n_columns = len(fitted.coef)

    def contrast_cov(coef: Array) -> Array:
        variances = np.einsum("j,ajk,k->a", coef, arm_covariances, coef)
        return np.asarray(np.diag(variances[1:]) + variances[0])

    line = np.zeros((2, n_columns))
    line[0, 1] = 1.0
    line[1, :2] = fitted.lines.theta
    naive_cov = contrast_cov(line[0])
    estimate = delta.T @ fitted.coef
    calibration = fitted.noise @ delta
    sampling = contrast_cov(fitted.coef)
    parts = {"sampling": sampling, "calibration": sum_of_squares(calibration, fitted.groups)}
    parts["transport"] = np.zeros_like(sampling)
    nothing = np.zeros((len(names), len(names) + 1))
    ratio = _ratio(fitted, estimate, sampling, calibration, np.empty((0, len(names))), nothing)
    return _build(
        fitted,
        names,
        estimate,
        parts,
        delta[:2],
        _joint_covariance(naive_cov, fitted),
        contrast_cov(line[1]),
        naive=InferenceResult(estimate=delta[1], cov=naive_cov, names=names, n_obs=n_obs),
        ratio=ratio,
        trial_groups=None,
        n_obs=n_obs,
        dependence=_dependence(None, fitted.groups, False),
        correction=correction,
        off_support_share=off_support_share,
    )


def _build(
    fitted: FittedCorrection,
    names: tuple[str, ...],
    estimate: Array,
    parts: dict[str, Array],
    plain: Array,
    joint: Array,
    lcc_cov: Array,
    *,
    naive: InferenceResult,
    trial_groups: Groups | None,
    is_contrast: bool = True,
    **fields: Any,
) -> DebiasedEffect:
    import pandas as pd

    freedoms = [] if trial_groups is None else [trial_groups.n_groups - 1.0]
    if fitted.df is not None:
        freedoms.append(fitted.df)
    df = min(freedoms) if freedoms else None
    return DebiasedEffect(
        estimate=estimate,
        cov=np.sum(list(parts.values()), axis=0),
        names=names,
        df=df,
        naive=naive,
        band=_band(fitted.lines, plain, lcc_cov, naive, joint, df),
        variance_parts=pd.DataFrame({key: np.diag(value) for key, value in parts.items()}, index=list(names)),
        lines=fitted.lines,
        joint_cov=joint,
        new_site=fitted.transport_noise is not None,
        is_contrast=is_contrast,
        constant=plain[0],
        **fields,
    )


def _dependence(trial: Groups | None, calibration: Groups | None, shared: bool) -> str:
    if trial is None and calibration is None:
        return "independent rows"
    sides = [
        f"{'rows' if g is None else g.n_groups} {'independent' if g is None else 'clusters'} in the {name}"
        for g, name in ((trial, "trial"), (calibration, "calibration sample"))
    ]
    return " and ".join(sides) + (", clusters shared" if shared else "")


def _joint_covariance(naive_cov: Array, fitted: FittedCorrection) -> Array:
    """Covariance of (naive estimates, m, k, a, b) of independent samples, shape (q + 4, q + 4)."""
    from scipy.linalg import block_diag

    return np.asarray(block_diag(naive_cov, fitted.lines.cov))


def _ratio(
    fitted: FittedCorrection, estimate: Array, sampling: Array, calibration: Array, transport: Array, cross: Array
) -> RatioParts | None:
    """Numerator N = kτ and slope k: an error u of τ and w of k move N by ku + τw.

    ``cross`` holds Σ_g (Σ trial)(Σ (calibration, w))' over shared clusters, shape (q, q + 1).
    """
    if fitted.slope is None or fitted.slope_noise is None:
        return None
    k, q = fitted.slope, len(estimate)
    moved = np.column_stack([k * calibration + np.outer(fitted.slope_noise, estimate), fitted.slope_noise])
    cov = sum_of_squares(moved, fitted.groups)
    cov[:q, :q] += k * k * sampling
    shared = np.zeros((q + 1, q + 1))
    shared[:q, :q] = k * (k * cross[:, :q] + np.outer(cross[:, q], estimate))
    shared[:q, q] = k * cross[:, q]
    cov += shared + shared.T
    if fitted.transport_slope_noise is not None:
        w = fitted.transport_slope_noise
        third = np.column_stack([k * transport + np.outer(w, estimate), w])
        cov += third.T @ third
    return RatioParts(k * estimate, k, cov)


def _band(
    lines: CalibrationLines,
    plain: Array,
    lcc_cov: Array,
    naive: InferenceResult,
    joint: Array,
    df: float | None,
) -> pd.DataFrame:
    """The rows of the band: naive, linear calibration and, where b differs from 1, the recalibrated naive."""
    import pandas as pd
    from scipy import stats

    q = len(naive.names)
    critical = float((stats.norm if df is None else stats.t(df)).ppf(0.975))
    lcc = plain.T @ lines.theta
    # Errors of (m, k) move Δ'θ by Δ' dθ/d(m, k).
    gradient = plain.T @ lines.theta_jacobian
    cov = lcc_cov + gradient @ lines.cov[:2, :2] @ gradient.T
    a, b = lines.berkson_intercept, lines.berkson_slope
    se_b = float(np.sqrt(lines.cov[3, 3]))
    test_b = abs(b - 1) > 1.959964 * se_b if np.isfinite(b) and se_b > 0 else False
    records = []
    for j, name in enumerate(naive.names):
        entries = [(SURROGACY, float(naive.estimate[j]), float(naive.std_error[j]))]
        entries.append((EXCLUSION, float(lcc[j]), float(np.sqrt(max(cov[j, j], 0.0)))))
        if test_b:
            mass = float(plain[0, j])  # zero up to rounding for contrasts with normalised weights
            jac = np.zeros(q + 4)
            jac[j], jac[q + 2], jac[q + 3] = b, mass, naive.estimate[j]
            variance = float(jac @ joint @ jac)
            entries.append((RECALIBRATED, a * mass + b * float(naive.estimate[j]), float(np.sqrt(max(variance, 0.0)))))
        for assumption, value, se in entries:
            records.append((name, assumption, value, se, value - critical * se, value + critical * se))
    frame = pd.DataFrame(records, columns=["effect", "assumption", "estimate", "se", "lower", "upper"])
    return frame.set_index("effect")
