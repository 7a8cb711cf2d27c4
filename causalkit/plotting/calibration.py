"""CalibrationDisplay: predictions given truth, the calibration line, and the corrected residuals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.plotting._axes import COLOURS, axes_of, tidy
from causalkit.validation import check_integer, check_vector

__all__ = ["CalibrationDisplay"]

Array = NDArray[np.float64]


class CalibrationDisplay:
    """Binned mean prediction given the truth, with the fitted line and correction; residuals beside it.

    Left: means of Ŷ in bins of Y (two standard errors), the line m + kY, the 45° line that a map without
    shrinkage would follow, and the correction g as the curve (g(ŷ), ŷ). Right: mean g(Ŷ) - Y in the same
    bins, which is zero for a correction that holds, beside the raw Ŷ - Y.

    Parameters
    ----------
    bins : dict of str to ndarray, shape (B,)
        ``y``, ``prediction``, ``prediction_se``, ``residual``, ``residual_se``, ``raw``.
    curve : tuple of two ndarrays, shape (200,)
        g(ŷ) and ŷ.
    slope, intercept : float
        Of Ŷ on Y.
    name : str
        Name of the correction.

    Attributes
    ----------
    ax_ : ndarray of Axes, shape (2,)
    figure_ : Figure

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit import LinearCalibration
    >>> from causalkit.plotting import CalibrationDisplay
    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(size=300)
    >>> u = 0.5 * y + 0.5 * rng.normal(size=300)
    >>> display = CalibrationDisplay.from_estimator(LinearCalibration().fit(u, y), u, y)
    >>> display.bins["y"].shape
    (10,)
    """

    def __init__(
        self, *, bins: dict[str, Array], curve: tuple[Array, Array], slope: float, intercept: float, name: str
    ) -> None:
        self.bins, self.curve = bins, curve
        self.slope, self.intercept, self.name = slope, intercept, name

    @classmethod
    def from_estimator(
        cls, estimator: Any, predictions: Any, y: Any, *, n_bins: int = 10, ax: Any = None
    ) -> CalibrationDisplay:
        """Compute and draw from a fitted correction and rows with truth.

        Parameters
        ----------
        estimator : fitted correction
        predictions, y : array-like, shape (n,)
            Rows with truth, best held out.
        n_bins : int, default=10
            Bins of Y with equal numbers of rows.
        ax : array of two Axes, optional
        """
        check_integer(n_bins, "n_bins", low=2)
        x = check_vector(predictions, "predictions")
        truth = check_vector(y, "y", n_rows=len(x), like="predictions")
        corrected = estimator.transform(x)
        edges = np.unique(np.quantile(truth, np.linspace(0, 1, n_bins + 1)[1:-1]))
        index = np.searchsorted(edges, truth, side="right")
        used = np.unique(index)

        def by_bin(values: Array) -> tuple[Array, Array]:
            groups = [values[index == b] for b in used]
            se = [g.std(ddof=1) / np.sqrt(len(g)) if len(g) > 1 else 0.0 for g in groups]
            return np.array([g.mean() for g in groups]), np.array(se)

        prediction, prediction_se = by_bin(x)
        residual, residual_se = by_bin(corrected - truth)
        bins = {
            "y": by_bin(truth)[0],
            "prediction": prediction,
            "prediction_se": prediction_se,
            "residual": residual,
            "residual_se": residual_se,
            "raw": by_bin(x - truth)[0],
        }
        grid = np.linspace(float(np.quantile(x, 0.005)), float(np.quantile(x, 0.995)), 200)
        display = cls(
            bins=bins,
            curve=(estimator.transform(grid), grid),
            slope=estimator.slope_,
            intercept=estimator.intercept_,
            name=type(estimator).__name__,
        )
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> CalibrationDisplay:
        """Draw on two axes.

        Parameters
        ----------
        ax : array of two Axes, optional
            Where to draw; new ones by default.

        Returns
        -------
        CalibrationDisplay
        """
        self.ax_ = axes = axes_of(ax, 2, (10.0, 4.2))
        self.figure_ = axes[0].figure
        b = self.bins
        left, right = axes
        span = np.array([b["y"].min(), b["y"].max()])
        left.plot(span, span, ls=":", color=COLOURS["data"], label="no shrinkage (slope 1)")
        line = self.intercept + self.slope * span
        left.plot(span, line, color=COLOURS["naive"], label=f"Ŷ on Y: slope k = {self.slope:.2f}")
        inside = (self.curve[0] >= span[0]) & (self.curve[0] <= span[1])
        left.plot(self.curve[0][inside], self.curve[1][inside], color=COLOURS["corrected"], ls="--", label=self.name)
        left.errorbar(
            b["y"],
            b["prediction"],
            yerr=2 * b["prediction_se"],
            fmt="o",
            ms=4,
            color=COLOURS["data"],
            label="bin means",
        )
        left.set(xlabel="truth Y", ylabel="prediction Ŷ", title="Prediction given truth")
        left.legend(frameon=False, fontsize="small")
        right.axhline(0, color=COLOURS["data"], lw=0.8)
        right.plot(b["y"], b["raw"], "o-", ms=4, color=COLOURS["naive"], label="raw: Ŷ − Y")
        right.errorbar(
            b["y"], b["residual"], yerr=2 * b["residual_se"], fmt="o-", ms=4, color=COLOURS["corrected"],
            label="corrected: g(Ŷ) − Y",
        )  # fmt: skip
        right.set(xlabel="truth Y", ylabel="mean error", title="Mean error by level of the truth")
        right.legend(frameon=False, fontsize="small")
        for one in axes:
            tidy(one)
        return self
