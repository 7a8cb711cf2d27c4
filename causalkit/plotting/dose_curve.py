"""DoseCurveDisplay: the mean outcome along a line of actions, with how far the data reach behind it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import ExtrapolationWarning
from causalkit.plotting._action_rays import ActionRay, action_ray, shade_flags
from causalkit.plotting._axes import COLOURS, axes_of, tidy
from causalkit.validation import check_choice, check_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DoseCurveDisplay"]

Array = NDArray[np.float64]

_STYLES = ("--", "-.", ":", (0, (1, 4)))
_MOST_TICKS = 400


class DoseCurveDisplay:
    r"""Dose curve :math:`a \mapsto E[Y \mid do(A = a)]` with its band, baselines, and the support shaded.

    The region in which actions were tried is plain; beyond it the shade darkens with what
    :meth:`causalkit.extrapolation.Rep4Ex.support` says: reachable, thin, unsupported. Ticks at the bottom are the
    actions of the fit. Baselines are regressions of the outcome on the actions. The band is about the second stage; it
    does not cover an encoder that is wrong.

    Parameters
    ----------
    position : ndarray, shape (m,)
        Positions along the line, rising.
    estimate : ndarray, shape (m,)
        Curve.
    flags : sequence of str
        "observed", "reachable", "thin" or "unsupported", one per position.
    lower, upper : ndarray, shape (m,), optional
        95 % band, pointwise.
    baselines : DataFrame, optional
        Other curves, one per column.
    truth : ndarray, shape (m,), optional
        The true curve.
    observed : ndarray, optional
        Positions of the actions of the fit.
    xlabel : str, default="action"
        Words for the axis.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Raises
    ------
    ValueError
        Not a fitted Rep4Ex; several actions without a direction; shapes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.datasets import make_intervention_curve
    >>> from causalkit.extrapolation import LinearInvarianceEncoder, Rep4Ex
    >>> from causalkit.plotting import DoseCurveDisplay
    >>> sample = make_intervention_curve(800, random_state=0)
    >>> encoder = LinearInvarianceEncoder(n_components=1, n_basis=20, ridge=1e-2)
    >>> model = Rep4Ex(encoder=encoder, calibration=0.0, random_state=0)
    >>> model = model.fit(sample.actions, sample.y, features=sample.features)
    >>> display = DoseCurveDisplay.from_estimator(model, [-2, -1, 0, 1, 2], baselines=False, truth=sample.do_mean)
    >>> display.estimate.shape, display.flags[2]
    ((5,), 'observed')
    """

    def __init__(
        self,
        *,
        position: Array,
        estimate: Array,
        flags: Any,
        lower: Array | None = None,
        upper: Array | None = None,
        baselines: pd.DataFrame | None = None,
        truth: Array | None = None,
        observed: Array | None = None,
        xlabel: str = "action",
    ) -> None:
        self.position, self.estimate, self.flags = position, estimate, list(flags)
        self.lower, self.upper, self.baselines, self.truth = lower, upper, baselines, truth
        self.observed, self.xlabel = observed, xlabel

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        actions: Any,
        *,
        baselines: Any = True,
        truth: Any = None,
        direction: Any = None,
        origin: Any = None,
        band: str | None = "influence",
        n_bootstrap: int = 200,
        ax: Any = None,
    ) -> DoseCurveDisplay:
        """Compute and draw from a fitted :class:`~causalkit.extrapolation.Rep4Ex`.

        Parameters
        ----------
        estimator : Rep4Ex
            Fitted.
        actions : array-like, shape (m,) or (m, 1)
            Where to draw the curve: actions, or with several of them positions t along ``origin + t · direction``.
        baselines : bool or list of str, default=True
            Whether regressions of the outcome on the actions are drawn, or which of them.
        truth : callable or array-like, shape (m,), optional
            The true curve, as a function of actions (m, k) or as values at the rising positions.
        direction, origin : array-like, shape (k,), optional
            The line, for several actions; it starts at 0 by default.
        band : {"influence", "bootstrap", "ensemble", None}, default="influence"
            Method of :meth:`~causalkit.extrapolation.Rep4Ex.inference`; None draws no band, as for a model from a file.
        n_bootstrap : int, default=200
            Draws of the last two.
        ax : Axes, optional
            New ones by default.
        """
        ray = action_ray(estimator, actions, direction, origin, "DoseCurveDisplay")
        if band is not None:
            check_choice(band, "band", ("influence", "bootstrap", "ensemble"))
        known = None if truth is None else _truth(truth, ray)
        lower = upper = None
        with warnings.catch_warnings():
            # What these warnings say is what the shade shows.
            warnings.simplefilter("ignore", ExtrapolationWarning)
            if band is None:
                estimate = np.asarray(estimator.predict(ray.actions))
                flags = estimator.support(ray.actions)["flag"]
            else:
                result = estimator.inference(ray.actions, method=band, n_bootstrap=n_bootstrap)
                interval = result.conf_int()
                estimate, flags = result.estimate, result.support["flag"]
                lower, upper = interval["lower"].to_numpy(), interval["upper"].to_numpy()
            others = _baselines(estimator, ray, baselines)
        display = cls(
            position=ray.position,
            estimate=estimate,
            flags=flags,
            lower=lower,
            upper=upper,
            baselines=others,
            truth=known,
            observed=ray.observed,
            xlabel=ray.label,
        )
        return display.plot(ax=ax)

    def plot(self, ax: Any = None, *, title: str | None = None, ylabel: str | None = None) -> DoseCurveDisplay:
        """Draw on one axes.

        Parameters
        ----------
        ax : Axes, optional
            New ones by default.
        title, ylabel : str, optional
            Words of your own; default none and "mean outcome under do(action)".

        Returns
        -------
        DoseCurveDisplay
        """
        self.ax_ = ax = axes_of(ax, figsize=(8.2, 4.4))
        self.figure_ = ax.figure
        shade_flags(ax, self.position, self.flags)
        if self.lower is not None and self.upper is not None:
            ax.fill_between(
                self.position, self.lower, self.upper, color=COLOURS["band"], alpha=0.3, lw=0, label="95 % interval"
            )
        if self.baselines is not None:
            for name, style in zip(self.baselines.columns, _STYLES * 3, strict=False):
                values = self.baselines[name]
                ax.plot(self.position, values, color=COLOURS["naive"], ls=style, lw=1, label=f"y on actions: {name}")
        if self.truth is not None:
            ax.plot(self.position, self.truth, color=COLOURS["accent"], lw=1.6, ls=(0, (5, 2)), label="truth")
        ax.plot(self.position, self.estimate, color=COLOURS["corrected"], lw=2, label="Rep4Ex")
        self._draw_observed()
        ax.set(xlim=(self.position[0], self.position[-1]), ylim=self._limits(), xlabel=self.xlabel)
        ax.set_ylabel("mean outcome under do(action)" if ylabel is None else ylabel)
        if title is not None:
            ax.set_title(title, loc="left", fontsize="medium")
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
        tidy(ax)
        return self

    def _draw_observed(self) -> None:
        if self.observed is None or len(self.observed) == 0:
            return
        # Quantiles show the same support as ten thousand ticks.
        ticks = np.quantile(self.observed, np.linspace(0, 1, min(len(self.observed), _MOST_TICKS)))
        bottom = self.ax_.get_xaxis_transform()
        self.ax_.vlines(ticks, 0, 0.03, transform=bottom, color=COLOURS["data"], lw=0.5, label="actions of the fit")

    def _limits(self) -> tuple[float, float]:
        """Room for the curves everywhere, and for the band where rows carry it."""
        carried = np.asarray(self.flags) != "unsupported"
        seen = [self.estimate]
        for edge in (self.lower, self.upper):
            if edge is not None:
                seen.append(edge[carried])
        if self.truth is not None:
            seen.append(self.truth)
        if self.baselines is not None:
            # A baseline may run away; the figure is about the curve.
            inner = float(np.ptp(self.estimate)) + float(np.std(self.estimate))
            values = self.baselines.to_numpy()
            seen.append(np.clip(values, self.estimate.min() - inner, self.estimate.max() + inner).ravel())
        values = np.concatenate(seen)
        low, high = float(values.min()), float(values.max())
        margin = 0.06 * (high - low or 1.0)
        return low - 1.4 * margin, high + margin


def _truth(truth: Any, ray: ActionRay) -> Array:
    values = truth(ray.actions) if callable(truth) else truth
    return check_vector(values, "truth", n_rows=len(ray.position), like="actions")


def _baselines(estimator: Any, ray: ActionRay, wanted: Any) -> pd.DataFrame | None:
    if wanted is False or wanted is None:
        return None
    names = None if wanted is True else list(wanted)
    table: pd.DataFrame = estimator.baselines(ray.actions, names=names).drop(columns="Rep4Ex")
    return table
