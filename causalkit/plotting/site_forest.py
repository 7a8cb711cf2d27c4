"""SiteForestDisplay: calibration slopes by site, raw and shrunk, with the interval for a new site."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.plotting._axes import COLOURS, axes_of, tidy

__all__ = ["SiteForestDisplay"]

Array = NDArray[np.float64]


class SiteForestDisplay:
    """Forest plot of calibration slopes by site.

    Parameters
    ----------
    sites : ndarray, shape (S,)
        Names of the sites.
    raw, raw_se, shrunk, shrunk_se : ndarray, shape (S,)
        Slopes k and standard errors before and after pooling.
    mean : float
        Mean slope of the sites.
    interval : tuple of float
        95 % prediction interval of the slope in a new site.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Examples
    --------
    >>> from causalkit import HierarchicalCalibration
    >>> from causalkit.datasets import make_site_map
    >>> from causalkit.plotting import SiteForestDisplay
    >>> data = make_site_map(random_state=0)
    >>> fitted = HierarchicalCalibration().fit(
    ...     data.calibration_predictions, data.calibration_y, sites=data.calibration_sites)
    >>> len(SiteForestDisplay.from_estimator(fitted).sites)
    20
    """

    def __init__(
        self,
        *,
        sites: NDArray[Any],
        raw: Array,
        raw_se: Array,
        shrunk: Array,
        shrunk_se: Array,
        mean: float,
        interval: tuple[float, float],
    ) -> None:
        self.sites, self.raw, self.raw_se = sites, raw, raw_se
        self.shrunk, self.shrunk_se, self.mean, self.interval = shrunk, shrunk_se, mean, interval

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> SiteForestDisplay:
        """Compute and draw from a fitted :class:`HierarchicalCalibration`."""
        if not hasattr(estimator, "shrunk_coef_"):
            raise ValueError(
                f"SiteForestDisplay needs a fitted HierarchicalCalibration; got {type(estimator).__name__}."
            )
        low, high = estimator.prediction_interval_[1]
        display = cls(
            sites=estimator.sites_,
            raw=estimator.site_coef_[:, 1],
            raw_se=np.sqrt(estimator.site_cov_[:, 1, 1]),
            shrunk=estimator.shrunk_coef_[:, 1],
            shrunk_se=np.sqrt(estimator.shrunk_cov_[:, 1, 1]),
            mean=float(estimator.mean_[1]),
            interval=(float(low), float(high)),
        )
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> SiteForestDisplay:
        """Draw on one axes, sites in order of their raw slope.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; new ones by default.

        Returns
        -------
        SiteForestDisplay
        """
        n = len(self.sites)
        self.ax_ = ax = axes_of(ax, figsize=(6.4, max(3.0, 1.4 + 0.22 * n)))
        self.figure_ = ax.figure
        order, rows = np.argsort(self.raw), np.arange(n)
        ax.axvspan(*self.interval, color=COLOURS["band"], alpha=0.25, lw=0, label="95 %, a new site")
        ax.axvline(self.mean, color=COLOURS["band"], lw=1)
        ax.errorbar(
            self.raw[order], rows + 0.15, xerr=1.96 * self.raw_se[order], fmt="o", ms=3, lw=0.8, color=COLOURS["data"],
            label="own rows alone",
        )  # fmt: skip
        ax.errorbar(
            self.shrunk[order], rows - 0.15, xerr=1.96 * self.shrunk_se[order], fmt="s", ms=3, lw=1,
            color=COLOURS["corrected"], label="shrunk",
        )  # fmt: skip
        ax.set_yticks(rows, [str(site) for site in self.sites[order]], fontsize="small")
        ax.set(xlabel="slope k of prediction on truth", title="Calibration slopes by site")
        ax.legend(frameon=False, fontsize="small", loc="lower right")
        tidy(ax)
        return self
