"""ScoreDisplay: the score of the predictions' density that Tweedie's correction follows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.plotting._axes import COLOURS, axes_of, tidy

__all__ = ["ScoreDisplay"]

Array = NDArray[np.float64]


class ScoreDisplay:
    """Estimated score ŝ(ŷ) with the support of the calibration predictions.

    The normal score, a straight line through the mean, is drawn for comparison: where the two agree the
    correction is linear calibration. With heteroscedastic noise the curve is (σ²p)'/p divided by σ².

    Parameters
    ----------
    grid, score, normal_score : ndarray, shape (m,)
        Predictions, the estimated score there, and the normal one.
    support : tuple of float
        Range of the calibration predictions.
    knots : ndarray, shape (K,)
        Knots of the spline.
    quantiles : ndarray, shape (r,)
        Positions of the rug.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Examples
    --------
    >>> from causalkit import TweedieCorrection
    >>> from causalkit.datasets import make_mixture_map
    >>> from causalkit.plotting import ScoreDisplay
    >>> data = make_mixture_map(sigma=2.0, n_calibration=1000, n_arm=10, random_state=0)
    >>> fitted = TweedieCorrection(n_knots=4).fit(data.calibration_predictions, data.calibration_y)
    >>> ScoreDisplay.from_estimator(fitted).grid.shape
    (300,)
    """

    def __init__(
        self,
        *,
        grid: Array,
        score: Array,
        normal_score: Array,
        support: tuple[float, float],
        knots: Array,
        quantiles: Array,
    ) -> None:
        self.grid, self.score, self.normal_score = grid, score, normal_score
        self.support, self.knots, self.quantiles = support, knots, quantiles

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> ScoreDisplay:
        """Compute and draw from a fitted :class:`TweedieCorrection`."""
        if not hasattr(estimator, "sigma_"):
            raise ValueError(f"ScoreDisplay needs a fitted TweedieCorrection; got {type(estimator).__name__}.")
        low, high = estimator.support_
        margin = 0.1 * (high - low)
        grid = np.linspace(low - margin, high + margin, 300)
        a, b = estimator.berkson_intercept_, estimator.berkson_slope_
        # g = a + bŷ - (σ²/b)s, whatever the score and whether it was rescaled.
        score = (a + b * grid - estimator.transform(grid)) * b / estimator.sigma_**2
        x = estimator._fitted.sample.predictions
        display = cls(
            grid=grid,
            score=score,
            normal_score=-(grid - x.mean()) / x.var(),
            support=(low, high),
            knots=estimator.knots_,
            quantiles=np.quantile(x, np.linspace(0.005, 0.995, 100)),
        )
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> ScoreDisplay:
        """Draw on one axes.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; new ones by default.

        Returns
        -------
        ScoreDisplay
        """
        self.ax_ = ax = axes_of(ax)
        self.figure_ = ax.figure
        ax.axhline(0, color=COLOURS["data"], lw=0.8)
        ax.plot(
            self.grid, self.normal_score, ls="--", color=COLOURS["naive"], label="normal score (linear calibration)"
        )
        inside = (self.grid >= self.support[0]) & (self.grid <= self.support[1])
        ax.plot(self.grid, self.score, color=COLOURS["corrected"], lw=0.8, ls=":")
        ax.plot(self.grid[inside], self.score[inside], color=COLOURS["corrected"], label="estimated score")
        for knot in self.knots:
            ax.axvline(knot, color=COLOURS["band"], lw=0.6, alpha=0.6)
        floor = min(self.score.min(), self.normal_score.min())
        ax.plot(self.quantiles, np.full_like(self.quantiles, floor), "|", color=COLOURS["data"], label="predictions")
        ax.set(xlabel="prediction ŷ", ylabel="score s(ŷ)", title="Score of the predictions' density")
        ax.legend(frameon=False, fontsize="small")
        tidy(ax)
        return self
