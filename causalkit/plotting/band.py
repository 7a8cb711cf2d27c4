"""BandDisplay: the effect from one textbook assumption to the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from causalkit.plotting._axes import COLOURS, axes_of, tidy

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BandDisplay"]


class BandDisplay:
    """Effect τ(r) between exclusion (r = 0) and surrogacy (r = 1), with both ends and the estimate.

    Parameters
    ----------
    curve : DataFrame
        ``r``, ``estimate``, ``lower``, ``upper``.
    estimate, lower, upper : float
        The result's estimate and interval.
    naive : float
        Effect on the raw predictions.
    name, correction : str
        Name of the effect and of the correction.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Examples
    --------
    >>> from causalkit import LinearCalibration
    >>> from causalkit.datasets import make_gaussian_map
    >>> from causalkit.plotting import BandDisplay
    >>> data = make_gaussian_map(random_state=0)
    >>> fitted = LinearCalibration().fit(data.calibration_predictions, data.calibration_y)
    >>> display = BandDisplay.from_result(fitted.effect(data.predictions, treatment=data.treatment))
    >>> display.name
    '1 - 0'
    """

    def __init__(
        self,
        *,
        curve: pd.DataFrame,
        estimate: float,
        lower: float,
        upper: float,
        naive: float,
        name: str,
        correction: str,
    ) -> None:
        self.curve, self.estimate, self.lower, self.upper = curve, estimate, lower, upper
        self.naive, self.name, self.correction = naive, name, correction

    @classmethod
    def from_result(
        cls,
        result: Any,
        *,
        effect: str | None = None,
        truth: float | None = None,
        title: str | None = None,
        ylabel: str | None = None,
        ax: Any = None,
    ) -> BandDisplay:
        """Compute and draw from a :class:`DebiasedEffect`.

        Parameters
        ----------
        result : DebiasedEffect
        effect : str, optional
            Name of one effect; default the first.
        truth : float, optional
            Known effect on the truth, drawn as a line.
        title, ylabel : str, optional
            Words of your own, for example with the unit of the outcome.
        ax : Axes, optional
        """
        name = result.names[0] if effect is None else effect
        if name not in result.names:
            raise ValueError(f"effect {effect!r} is not among {list(result.names)}.")
        j = result.names.index(name)
        interval = result.conf_int().iloc[j]
        display = cls(
            curve=result.sensitivity().loc[[name]],
            estimate=float(result.estimate[j]),
            lower=float(interval["lower"]),
            upper=float(interval["upper"]),
            naive=float(result.naive.estimate[j]),
            name=name,
            correction=result.correction,
        )
        return display.plot(truth=truth, title=title, ylabel=ylabel, ax=ax)

    def plot(
        self, truth: float | None = None, ax: Any = None, *, title: str | None = None, ylabel: str | None = None
    ) -> BandDisplay:
        """Draw on one axes.

        Parameters
        ----------
        truth : float, optional
            The true effect, where it is known: a horizontal line.
        ax : Axes, optional
            Where to draw; new ones by default.
        title, ylabel : str, optional
            Default "Between the two assumptions" and "effect (name)".

        Returns
        -------
        BandDisplay
        """
        self.ax_ = ax = axes_of(ax)
        self.figure_ = ax.figure
        r = self.curve["r"].to_numpy()
        ax.fill_between(
            r,
            self.curve["lower"],
            self.curve["upper"],
            color=COLOURS["band"],
            alpha=0.3,
            lw=0,
            label="95 % interval at r",
        )
        ax.plot(r, self.curve["estimate"], color=COLOURS["corrected"], label="τ(r)")
        ax.axhline(self.naive, color=COLOURS["naive"], ls="--", lw=1, label="naive")
        errors = [[self.estimate - self.lower], [self.upper - self.estimate]]
        ax.errorbar(
            [-0.03], [self.estimate], yerr=errors, fmt="o", color=COLOURS["corrected"], label=self.correction, capsize=3
        )
        if truth is not None:
            ax.axhline(truth, color=COLOURS["accent"], lw=1.2, label="truth")
        ax.set_xticks([0, 0.5, 1], ["exclusion\nr = 0", "r = 0.5", "surrogacy\nr = 1"])
        ax.set(
            ylabel=f"effect ({self.name})" if ylabel is None else ylabel,
            title="Between the two assumptions" if title is None else title,
        )
        ax.legend(frameon=False, fontsize="small")
        tidy(ax)
        return self
