"""SensitivityContourDisplay: what an unmeasured confounder of any strength could do to one reward difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.plotting._axes import COLOURS, axes_of, tidy

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SensitivityContourDisplay"]

Array = NDArray[np.float64]

_POINTS = 201
_LARGEST = 0.98
_PROBE = 0.5  # strength at which the estimator is asked once: k = √(cf_y cf_d / (1 - cf_d)) is √½ there


class SensitivityContourDisplay:
    r"""Contours of the largest bias over the strength of an unmeasured confounder.

    .. math:: |\text{bias}| \le |\rho|\sqrt{cf_y\,\frac{cf_d}{1 - cf_d}}\;S,\qquad S = \sqrt{\sigma^2\nu^2}

    over the share cf_y of the residual outcome variance that it explains and the share cf_d of the variance of the
    representer. Beyond the thick line it could turn the sign of the estimate; beyond the broken one it could make it
    insignificant at 5 %. On the diagonal the two lines have the robustness values. Points are confounders that were
    measured: what leaving each of them out would have done. They are yardsticks for the ones that were not, and no
    proof that there are none.

    Parameters
    ----------
    name : str
        Feature, or pair.
    estimate : float
        Coefficient, or difference of two rewards.
    size : float
        S, in units of y.
    rv, rv_alpha : float
        Robustness values of the sign and of significance.
    rho : float
        Correlation of the two errors.
    points : DataFrame, optional
        ``cf_d`` and ``cf_y`` of measured confounders, by their name.
    limits : tuple of float
        Ends of the axes, cf_d and cf_y.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Raises
    ------
    ValueError
        Not a fitted estimator, an unknown feature, more than one pair, or benchmarks of another kind.
    MethodNotApplicableError
        A method without sensitivity analysis.

    References
    ----------
    Chernozhukov, Cinelli, Newey, Sharma & Syrgkanis, arXiv:2112.13398 (bound). Cinelli & Hazlett 2020, JRSS B 82(1)
    (contours and benchmarks).

    Examples
    --------
    >>> from causalkit.datasets import make_reward_groups
    >>> from causalkit.plotting import SensitivityContourDisplay
    >>> from causalkit.rewards import RewardDeconfounder
    >>> log = make_reward_groups(50, 10, random_state=0)
    >>> fit = RewardDeconfounder(method="fixed_effects").fit(log.X, log.y, confounders=log.confounders)
    >>> display = SensitivityContourDisplay.from_estimator(fit, feature="x0")
    >>> bool(abs(display.bound(display.rv, display.rv) - display.estimate) < 1e-12)
    True
    """

    def __init__(
        self,
        *,
        name: str,
        estimate: float,
        size: float,
        rv: float,
        rv_alpha: float,
        rho: float = 1.0,
        points: pd.DataFrame | None = None,
        limits: tuple[float, float] = (0.5, 0.5),
    ) -> None:
        self.name, self.estimate, self.size = name, estimate, size
        self.rv, self.rv_alpha, self.rho = rv, rv_alpha, rho
        self.points, self.limits = points, limits

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        feature: str | None = None,
        X_first: Any = None,
        X_second: Any = None,
        benchmarks: Any = None,
        rho: float = 1.0,
        ax: Any = None,
    ) -> SensitivityContourDisplay:
        """Compute and draw from a fitted :class:`~causalkit.rewards.RewardDeconfounder`.

        Parameters
        ----------
        estimator : RewardDeconfounder
            Fitted.
        feature : str, optional
            Name of a feature; default the first, where no pair is given.
        X_first, X_second : array-like, shape (1, p), or texts, optional
            One pair instead of a feature.
        benchmarks : DataFrame, optional
            From :func:`causalkit.rewards.benchmark_confounders`; its rows of the feature are drawn. For a pair, a
            frame with ``cf_y`` and ``cf_d`` by name.
        rho : float in [-1, 1], default=1
            Correlation of the two errors.
        ax : Axes, optional
            New ones by default.
        """
        if not (hasattr(estimator, "sensitivity") and hasattr(estimator, "coef_")):
            raise ValueError(
                "SensitivityContourDisplay needs a fitted RewardDeconfounder; got "
                f"{type(estimator).__name__}. Call fit first."
            )
        pair = X_first is not None or X_second is not None
        if not isinstance(rho, int | float | np.number) or not -1 <= rho <= 1:
            raise ValueError(f"rho must be a correlation in [-1, 1]; got {rho!r}.")
        if pair and feature is not None:
            raise ValueError(f"feature={feature!r} and a pair were given: pass one of them.")
        table = estimator.sensitivity(X_first=X_first, X_second=X_second, cf_y=_PROBE, cf_d=_PROBE, rho=1.0)
        if pair and len(table) != 1:
            raise ValueError(f"X_first and X_second must hold one pair; got {len(table)}.")
        name = str(table.index[0]) if feature is None else str(feature)
        if name not in table.index:
            raise ValueError(f"feature {feature!r} is not among {list(table.index)}.")
        row = table.loc[name]
        points = None if benchmarks is None else _points_of(benchmarks, None if pair else name)
        display = cls(
            name="first less second" if pair else name,
            estimate=float(row["estimate"]),
            size=float(row["bound"]) / np.sqrt(_PROBE),
            rv=float(row["rv"]),
            rv_alpha=float(row["rv_alpha"]),
            rho=float(rho),
            points=points,
        )
        display.limits = display._limits()
        return display.plot(ax=ax)

    def bound(self, cf_y: Any, cf_d: Any) -> Any:
        """Largest bias at these strengths.

        Parameters
        ----------
        cf_y, cf_d : float or ndarray
            In [0, 1).

        Returns
        -------
        float or ndarray
        """
        return abs(self.rho) * np.sqrt(np.asarray(cf_y) * np.asarray(cf_d) / (1 - np.asarray(cf_d))) * self.size

    def _limits(self) -> tuple[float, float]:
        """Room for the line where the sign goes, and for the points."""
        finite = None if self.points is None else self.points[(self.points[["cf_y", "cf_d"]] < 1).all(axis=1)]
        f = abs(self.estimate) / (abs(self.rho) * self.size) if self.rho else 0.0
        # Where the line of the sign crosses the diagonal: the robustness value, for this correlation.
        crossing = 0.5 * (np.sqrt(f**4 + 4 * f**2) - f**2)
        least = max(1.6 * crossing, 0.05)
        ends = []
        for column in ("cf_d", "cf_y"):
            seen = 0.0 if finite is None or len(finite) == 0 else 1.2 * float(finite[column].max())
            ends.append(min(max(least, seen), _LARGEST))
        return ends[0], ends[1]

    def plot(self, ax: Any = None) -> SensitivityContourDisplay:
        """Draw on one axes.

        Parameters
        ----------
        ax : Axes, optional
            New ones by default.

        Returns
        -------
        SensitivityContourDisplay
        """
        self.ax_ = ax = axes_of(ax, figsize=(6.6, 4.8))
        self.figure_ = ax.figure
        d, y = (np.linspace(0, end, _POINTS) for end in self.limits)
        bias = self.bound(y[:, None], d[None, :])
        levels = _levels(float(bias.max()), abs(self.estimate))
        if bias.max() > 0:
            drawn = ax.contour(d, y, bias, levels=levels, colors=[COLOURS["data"]], linewidths=0.9)
            ax.clabel(drawn, fontsize="small", fmt=lambda value: f"{value:.3g}")
        self._draw_line(abs(self.estimate), bias, (d, y), "naive", "solid", "the sign can turn")
        if 0 < self.rv_alpha < self.rv:
            kept = self.rv_alpha / np.sqrt(1 - self.rv_alpha) * self.size
            self._draw_line(kept, bias, (d, y), "accent", "dashed", "may be insignificant (5 %)")
        if float(bias.max()) > abs(self.estimate):
            highest = 2 * float(bias.max())
            ax.contourf(d, y, bias, levels=[abs(self.estimate), highest], colors=[COLOURS["naive"]], alpha=0.14)
        if abs(self.rho) == 1 and 0 < self.rv < min(self.limits):
            ax.plot(self.rv, self.rv, "D", ms=5, color=COLOURS["naive"], ls="none", label=f"RV = {self.rv:.3f}")
        if self.points is not None:
            self._draw_points()
        ax.set(xlim=(0, self.limits[0]), ylim=(0, self.limits[1]))
        ax.set_xlabel("cf_d: share of the representer's variance")
        ax.set_ylabel("cf_y: share of the residual outcome variance")
        correlated = "" if abs(self.rho) == 1 else f", |ρ| = {abs(self.rho):g}"
        title = f"{self.name}: estimate {self.estimate:.3g}; contours of the largest bias{correlated}"
        ax.set_title(title, loc="left", fontsize="medium")
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
        tidy(ax)
        return self

    def _draw_line(
        self, level: float, bias: Array, grid: tuple[Array, Array], colour: str, style: str, word: str
    ) -> None:
        """One contour with a name in the legend; nothing where it lies outside."""
        if 0 < level < float(bias.max()):
            self.ax_.contour(*grid, bias, levels=[level], colors=[COLOURS[colour]], linewidths=2.2, linestyles=[style])
            self.ax_.plot([], [], color=COLOURS[colour], lw=2.2, ls=style, label=word)

    def _draw_points(self) -> None:
        points = self.points
        if points is None:
            return
        inside = (points[["cf_y", "cf_d"]] < 1).all(axis=1)
        for number, (name, row) in enumerate(points[inside].iterrows()):
            x, y = float(row["cf_d"]), float(row["cf_y"])
            left = x > 0.6 * self.limits[0]
            self.ax_.plot(
                x, y, "o", ms=6, color=COLOURS["corrected"], label="left out" if number == 0 else None, clip_on=False
            )
            self.ax_.annotate(
                str(name),
                (x, y),
                xytext=(-7 if left else 7, 5),
                textcoords="offset points",
                ha="right" if left else "left",
                color=COLOURS["corrected"],
            )
        for name in points.index[~inside]:
            self.ax_.plot([], [], ls="none", label=f"{name}: unbounded")


def _levels(largest: float, taken: float) -> list[float]:
    """Round numbers below the largest, none so close to the line of the sign that the two would touch."""
    from matplotlib.ticker import MaxNLocator

    ticks = [float(tick) for tick in MaxNLocator(9).tick_values(0, largest) if 0 < tick < largest]
    return [tick for tick in ticks if abs(tick - taken) > 0.03 * largest] or [largest / 2]


def _points_of(benchmarks: Any, feature: str | None) -> pd.DataFrame:
    """Strengths of measured confounders by name: those of the feature where there are several."""
    if not (hasattr(benchmarks, "columns") and {"cf_y", "cf_d"} <= set(benchmarks.columns)):
        raise ValueError(
            "benchmarks must be the frame of benchmark_confounders, or one with cf_y and cf_d by name; got "
            f"{type(benchmarks).__name__}."
        )
    frame: pd.DataFrame = benchmarks
    if frame.index.nlevels == 1:
        return frame[["cf_y", "cf_d"]]
    if feature is None:
        raise ValueError("benchmarks holds strengths per feature: for a pair pass a frame with cf_y and cf_d by name.")
    rows = frame[frame.index.get_level_values(-1) == feature]
    if len(rows) == 0:
        raise ValueError(f"benchmarks has no rows of feature {feature!r}: make it with the same features as the fit.")
    return rows.droplevel(-1)[["cf_y", "cf_d"]]
