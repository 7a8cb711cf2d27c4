"""The two regression lines of a calibration sample, from rows or from mergeable cross-moments."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.calibration_sample import CalibrationSample, required_rows
from causalkit.exceptions import CalibrationError, CalibrationWarning, LeakageWarning, WeakInstrumentWarning
from causalkit.inference.covariance import finite_sample_factor

__all__ = ["CalibrationLines", "CalibrationMoments", "add_cell_noise", "check_lines", "fit_lines", "simple_regression"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationLines:
    """Regressions of Ŷ on Y (m, k) and of Y on Ŷ (a, b), with their joint covariance.

    Attributes
    ----------
    intercept, slope : float
        m and k of Ŷ = m + kY + v.
    berkson_intercept, berkson_slope : float
        a and b of Y = a + bŶ + e.
    r_squared : float
        Squared correlation, kb.
    residual_variance : float
        Variance of e, divided by n.
    cov : ndarray, shape (4, 4)
        Covariance of (m, k, a, b).
    contributions : ndarray, shape (n, 4), optional
        Additive parts of the errors of (m, k, a, b); None where only moments are known.
    n_rows : float
        Sample size.
    """

    intercept: float
    slope: float
    berkson_intercept: float
    berkson_slope: float
    r_squared: float
    residual_variance: float
    cov: Array
    contributions: Array | None
    n_rows: float

    @property
    def slope_ratio(self) -> float:
        """k/SE(k), the strength of the calibration."""
        variance = float(self.cov[1, 1])
        return self.slope / math.sqrt(variance) if variance > 0 else math.inf

    @property
    def theta(self) -> Array:
        """Coefficients (-m/k, 1/k) of the linear correction."""
        return np.array([-self.intercept / self.slope, 1.0 / self.slope])

    @property
    def theta_jacobian(self) -> Array:
        """Derivative of theta with respect to (m, k), shape (2, 2)."""
        m, k = self.intercept, self.slope
        return np.array([[-1.0 / k, m / k**2], [0.0, -1.0 / k**2]])


def simple_regression(x: Array, y: Array, weight: Array | None = None) -> tuple[float, float, Array, Array]:
    """Least squares of y on (1, x): intercept, slope, influence (n, 2) and residuals (n,).

    IF(slope) = (x - x̄)e/Var x and IF(intercept) = e - x̄·IF(slope), times n·w/Σw.
    """
    n = len(x)
    share = np.full(n, 1.0 / n) if weight is None else weight / weight.sum()
    mean_x, mean_y = float(share @ x), float(share @ y)
    dx = x - mean_x
    variance = float(share @ (dx * dx))
    slope = float(share @ (dx * (y - mean_y))) / variance
    residuals = y - mean_y - slope * dx
    of_slope = (n * share) * dx * residuals / variance
    of_intercept = (n * share) * residuals - mean_x * of_slope
    return mean_y - slope * mean_x, slope, np.column_stack([of_intercept, of_slope]), residuals


def fit_lines(sample: CalibrationSample, cov_type: str = "HC1") -> CalibrationLines:
    """Fit both lines on the rows of a calibration sample."""
    m, k, influence_k, _ = simple_regression(sample.y, sample.predictions, sample.weight)
    a, b, influence_b, residuals = simple_regression(sample.predictions, sample.y, sample.weight)
    influence = np.column_stack([influence_k, influence_b])
    parts = sample.contributions(influence, 2, cov_type)
    return CalibrationLines(
        intercept=m,
        slope=k,
        berkson_intercept=a,
        berkson_slope=b,
        r_squared=k * b,
        residual_variance=float(np.average(residuals**2, weights=sample.weight)),
        cov=sample.covariance(influence, 2, cov_type),
        contributions=parts,
        n_rows=sample.n_rows,
    )


def add_cell_noise(
    lines: CalibrationLines, sample: CalibrationSample, used: CalibrationSample, cov_type: str
) -> CalibrationLines:
    """Lines fitted within cells, with the noise that cell means add to the intercepts.

    The intercept f̄ - kȳ moves with the residual of a row itself, its cell's part included; deviations from
    cell means hold only the rest (test_influence_within_and_between_cells).

    Parameters
    ----------
    lines : CalibrationLines
        Fit of ``used``.
    sample, used : CalibrationSample
        The rows, and their deviations from cell means put back on the grand means.
    cov_type : {"HC0", "HC1"}
    """
    from causalkit.inference.covariance import influence_covariance

    cell_f, cell_y = sample.predictions - used.predictions, sample.y - used.y
    share = np.ones(used.n) if used.weight is None else used.weight * (used.n / used.weight.sum())
    extra = np.zeros((used.n, 4))
    extra[:, 0] = share * (cell_f - lines.slope * cell_y)
    extra[:, 2] = share * (cell_y - lines.berkson_slope * cell_f)
    parts = np.asarray(lines.contributions) + used.contributions(extra, 2, cov_type)
    return replace(lines, contributions=parts, cov=influence_covariance(parts * used.n, groups=used.groups))


def check_lines(lines: CalibrationLines, stacklevel: int = 3, *, has_fieller: bool = True) -> None:
    """Refuse a slope that is not positive; warn where the lines speak of trouble.

    ``has_fieller`` says whether the correction divides by the slope, so that Fieller's set answers weakness.
    """
    k = lines.slope
    if not k > 0:
        raise CalibrationError(
            f"the slope of predictions on y is {k:.4g}: predictions do not increase with y: check units, sign and "
            "row order."
        )
    if lines.slope_ratio < 5:
        answer = (
            "Fieller set used; it may be unbounded."
            if has_fieller
            else "the delta interval of this correction is not reliable; LinearCalibration has Fieller's set."
        )
        warnings.warn(
            f"the calibration slope is {lines.slope_ratio:.2f} standard errors from zero (below 5): {answer} "
            f"{required_rows(lines.r_squared)} calibration rows would hold its noise to 5 %.",
            WeakInstrumentWarning,
            stacklevel=stacklevel,
        )
    if k > 1 + 1e-8:
        warnings.warn(
            f"the slope of predictions on y is {k:.4g}, above 1: predictions vary more with y than y itself: were "
            "these rows used in training? Calibrate on rows that the model has not seen.",
            LeakageWarning,
            stacklevel=stacklevel,
        )
    upper = lines.berkson_slope + 1.959964 * math.sqrt(max(float(lines.cov[3, 3]), 0.0))
    if upper < 0.8:
        warnings.warn(
            f"over-dispersed predictions: the slope of y on predictions is {lines.berkson_slope:.3g} (upper 95 % "
            f"limit {upper:.3g}, below .8); recalibrate, or check they are out of sample.",
            CalibrationWarning,
            stacklevel=stacklevel,
        )


# Monomials y^p ŷ^q up to total degree 4: enough for both lines and their joint HC covariance.
_POWERS = [(p, q) for p in range(5) for q in range(5 - p)]
_LOW = [(p, q) for p, q in _POWERS if p + q <= 2]


@dataclass
class CalibrationMoments:
    """Mergeable shifted cross-moments of a calibration sample, in constant memory without groups.

    Holds Σ w y^p ŷ^q and Σ w² y^p ŷ^q (total degree up to 4) about the mean of all rows so far, and per
    cluster the sums of degree up to 2.
    """

    weight_type: str = "probability"
    shift: tuple[float, float] | None = None
    n: int = 0
    total_weight: float = 0.0
    first: dict[tuple[int, int], float] = field(default_factory=dict)
    second: dict[tuple[int, int], float] = field(default_factory=dict)
    clusters: dict[Any, Array] | None = None
    support: tuple[float, float] = (math.inf, -math.inf)

    def update(self, sample: CalibrationSample) -> None:
        """Add the rows of a chunk."""
        if self.n and (sample.groups is None) != (self.clusters is None):
            raise ValueError("groups must be given for every chunk or for none.")
        self.merge(CalibrationMoments._of(sample, self.weight_type))

    @staticmethod
    def _of(sample: CalibrationSample, weight_type: str) -> CalibrationMoments:
        """Moments of one chunk about its own mean."""
        shift = (float(sample.y.mean()), float(sample.predictions.mean()))
        dy, df = sample.y - shift[0], sample.predictions - shift[1]
        weight = np.ones(sample.n) if sample.weight is None else sample.weight
        squared = weight if weight_type == "frequency" else weight * weight
        y_powers = [np.ones_like(dy), dy, dy**2, dy**3, dy**4]
        f_powers = [np.ones_like(df), df, df**2, df**3, df**4]
        terms = {(p, q): y_powers[p] * f_powers[q] for p, q in _POWERS}
        clusters: dict[Any, Array] | None = None
        if sample.groups is not None:
            codes, size = sample.groups.codes, sample.groups.n_groups
            sums = np.column_stack([np.bincount(codes, weights=weight * terms[key], minlength=size) for key in _LOW])
            clusters = dict(zip(sample.groups.labels.tolist(), sums, strict=True))
        return CalibrationMoments(
            weight_type=weight_type,
            shift=shift,
            n=sample.n,
            total_weight=float(weight.sum()),
            first={key: float(weight @ term) for key, term in terms.items()},
            second={key: float(squared @ term) for key, term in terms.items()},
            clusters=clusters,
            support=(float(sample.predictions.min()), float(sample.predictions.max())),
        )

    def merge(self, other: CalibrationMoments) -> None:
        """Add the moments of another sample; both are moved to the pooled mean by the binomial theorem.

        About the pooled mean no moment is larger than the spread of the rows demands, whichever chunk came
        first (test_a_far_first_chunk_costs_no_precision).
        """
        if other.shift is None:
            return
        if self.shift is None:
            self.shift = other.shift
            parts = [other]
        else:
            parts = [self, other]
        weights = [part.total_weight for part in parts]
        centres = [
            (part.shift[0] + part.first[1, 0] / w, part.shift[1] + part.first[0, 1] / w)
            for part, w in zip(parts, weights, strict=True)
            if part.shift is not None and w > 0
        ]
        used = [w for w in weights if w > 0]
        if used:
            centre = tuple(float(np.average([c[k] for c in centres], weights=used)) for k in (0, 1))
        else:
            centre = self.shift
        moved = [part._about((centre[0], centre[1])) for part in parts]
        self.first = {key: sum(part[0][key] for part in moved) for key in _POWERS}
        self.second = {key: sum(part[1][key] for part in moved) for key in _POWERS}
        clusters: dict[Any, Array] = {}
        for _, _, held in moved:
            for label, row in (held or {}).items():
                clusters[label] = clusters[label] + row if label in clusters else row
        self.clusters = None if all(held is None for _, _, held in moved) else clusters
        self.shift = (centre[0], centre[1])
        self.n += other.n
        self.total_weight += other.total_weight
        self.support = (min(self.support[0], other.support[0]), max(self.support[1], other.support[1]))

    def _about(self, centre: tuple[float, float]) -> tuple[dict, dict, dict[Any, Array] | None]:
        """First and second weighted moments and cluster sums about another point."""
        if self.shift is None:
            return {}, {}, None
        step = (self.shift[0] - centre[0], self.shift[1] - centre[1])
        clusters = None
        if self.clusters is not None:
            clusters = {}
            for label, row in self.clusters.items():
                moved = _moved(dict(zip(_LOW, row, strict=True)), step, _LOW)
                clusters[label] = np.array([moved[key] for key in _LOW])
        return _moved(self.first, step, _POWERS), _moved(self.second, step, _POWERS), clusters

    def lines(self, cov_type: str = "HC1") -> CalibrationLines:
        """Both lines with their joint covariance, as :func:`fit_lines` gives from the rows."""
        if self.shift is None:
            raise ValueError("no rows have been added yet.")
        w = self.total_weight
        my, mf = self.first[1, 0] / w, self.first[0, 1] / w
        vy = self.first[2, 0] / w - my**2
        vf = self.first[0, 2] / w - mf**2
        cyf = self.first[1, 1] / w - my * mf
        if not vy > 0 or not vf > 0:
            raise CalibrationError("y or predictions is constant on the calibration sample: nothing to calibrate.")
        k, b = cyf / vy, cyf / vf
        # Residuals v = f - k y + c and e = y - b f + d about the shift, as polynomials in (y, f).
        v = {(0, 1): 1.0, (1, 0): -k, (0, 0): k * my - mf}
        e = {(1, 0): 1.0, (0, 1): -b, (0, 0): b * mf - my}
        slope_k = _times({(1, 0): 1.0 / vy, (0, 0): -my / vy}, v)
        slope_b = _times({(0, 1): 1.0 / vf, (0, 0): -mf / vf}, e)
        mean_y, mean_f = my + self.shift[0], mf + self.shift[1]
        scores = [_plus(v, slope_k, -mean_y), slope_k, _plus(e, slope_b, -mean_f), slope_b]
        rows = w if self.weight_type == "frequency" else float(self.n)
        if self.clusters is None:
            meat = np.array([[_total(_times(s, t), self.second) for t in scores] for s in scores])
            factor = finite_sample_factor(rows, 2, cov_type)
        else:
            sums = np.array(list(self.clusters.values()))
            index = {key: j for j, key in enumerate(_LOW)}
            per_cluster = np.column_stack([sum(c * sums[:, index[key]] for key, c in s.items()) for s in scores])
            meat = per_cluster.T @ per_cluster
            g = len(self.clusters)
            factor = g / (g - 1) * (rows - 1) / (rows - 2) if g > 1 else math.nan
        return CalibrationLines(
            intercept=mean_f - k * mean_y,
            slope=k,
            berkson_intercept=mean_y - b * mean_f,
            berkson_slope=b,
            r_squared=k * b,
            residual_variance=vy - b * cyf,
            cov=factor * meat / w**2,
            contributions=None,
            n_rows=rows,
        )


def _moved(moments: dict, step: tuple[float, float], keys: list[tuple[int, int]]) -> dict:
    """Moments of (y + step0)^p (f + step1)^q from those of y^p f^q."""
    return {
        (p, q): sum(
            math.comb(p, i) * math.comb(q, j) * step[0] ** (p - i) * step[1] ** (q - j) * moments[i, j]
            for i in range(p + 1)
            for j in range(q + 1)
        )
        for p, q in keys
    }


def _times(a: dict, b: dict) -> dict:
    out: dict[tuple[int, int], float] = {}
    for (p, q), x in a.items():
        for (r, s), z in b.items():
            out[p + r, q + s] = out.get((p + r, q + s), 0.0) + x * z
    return out


def _plus(a: dict, b: dict, factor: float) -> dict:
    return {key: a.get(key, 0.0) + factor * b.get(key, 0.0) for key in {*a, *b}}


def _total(polynomial: dict, moments: dict) -> float:
    return sum(c * moments[key] for key, c in polynomial.items())
