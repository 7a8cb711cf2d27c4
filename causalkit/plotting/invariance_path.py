"""InvariancePathDisplay: what was compared to choose the penalty or the ridge of an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import MethodNotApplicableError
from causalkit.plotting._axes import COLOURS, panels_of, tidy

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["InvariancePathDisplay"]

Array = NDArray[np.float64]

_PANELS = {
    "reconstruction": "reconstruction error",
    "q_b": "penalty Q_B, held out",
    "c_in": "C_in: off inside the support",
    "shell_loss": "loss on the outer shell",
}
_STYLES = (("corrected", "-", "o"), ("accent", "--", "s"), ("naive", ":", "^"), ("data", "-.", "D"))


class InvariancePathDisplay:
    """Losses over the penalty λ of a network, or over the ridge μ of the sieve, one panel each.

    Of an encoder alone: reconstruction error and the held-out penalty. Of a curve: how far it is off inside the
    support, and its loss on the outer shell of the actions; their sum chooses, where it can tell. A value of λ whose
    reconstruction is too poor is not admissible, and its range is shaded. The chosen value is marked.

    Parameters
    ----------
    path : DataFrame
        ``penalty``, ``chosen``, some of ``reconstruction``, ``q_b``, ``c_in`` and ``shell_loss``; perhaps
        ``admissible``, and ``calibration`` with one line for each of its values.
    xlabel : str, default="penalty"
        Words for the axis.

    Attributes
    ----------
    axes_ : tuple of Axes
    figure_ : Figure

    Raises
    ------
    ValueError
        Not a fitted Rep4Ex or LinearInvarianceEncoder; a path without losses; axes that are not one per panel.
    MethodNotApplicableError
        Nothing was compared.

    Examples
    --------
    >>> from causalkit.datasets import make_intervention_curve
    >>> from causalkit.extrapolation import LinearInvarianceEncoder
    >>> from causalkit.plotting import InvariancePathDisplay
    >>> sample = make_intervention_curve(800, random_state=0)
    >>> encoder = LinearInvarianceEncoder(n_components=1, n_basis=20, random_state=0)
    >>> encoder = encoder.fit(sample.features, actions=sample.actions)
    >>> InvariancePathDisplay.from_estimator(encoder).panels
    ['q_b']
    """

    def __init__(self, *, path: pd.DataFrame, xlabel: str = "penalty") -> None:
        self.path, self.xlabel = path, xlabel
        self.panels = [name for name in _PANELS if name in path.columns]

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> InvariancePathDisplay:
        """Draw the path of a fitted :class:`~causalkit.extrapolation.Rep4Ex` or
        :class:`~causalkit.extrapolation.LinearInvarianceEncoder`.

        Parameters
        ----------
        estimator : Rep4Ex or LinearInvarianceEncoder
            Fitted, with a penalty, ridge or calibration that was "auto".
        ax : sequence of Axes, optional
            One per panel; new ones by default.
        """
        path = getattr(estimator, "path_", None)
        if path is None:
            raise ValueError(
                "InvariancePathDisplay needs a fitted Rep4Ex or LinearInvarianceEncoder; got "
                f"{type(estimator).__name__}. Call fit first."
            )
        if len(path) == 0 or path["penalty"].nunique() < 2:
            raise MethodNotApplicableError(
                "no two values of penalty or ridge were compared: pass ridge='auto' (sieve) or penalty='auto' "
                "(networks) to the encoder."
            )
        encoder = getattr(estimator, "encoder_", estimator)
        first = encoder[0] if isinstance(encoder, list) else encoder
        sieve = getattr(first, "method", "sieve") == "sieve"
        return cls(path=path, xlabel="ridge μ" if sieve else "penalty λ").plot(ax=ax)

    def plot(self, ax: Any = None) -> InvariancePathDisplay:
        """Draw one panel per loss.

        Parameters
        ----------
        ax : sequence of Axes, optional
            One per panel; new ones by default.

        Returns
        -------
        InvariancePathDisplay
        """
        if not self.panels:
            raise ValueError(
                f"path has none of the columns {', '.join(_PANELS)}; got {', '.join(map(str, self.path.columns))}."
            )
        self.axes_ = panels_of(ax, len(self.panels), (0.6 + 3.9 * len(self.panels), 3.6))
        self.figure_ = self.axes_[0].figure
        place = self._places()
        for panel, name in zip(self.axes_, self.panels, strict=True):
            self._draw(panel, name, place)
        # The calibration weights have their own lines, named once.
        if len(self._weights()) > 1:
            self.axes_[0].legend(frameon=False, fontsize="small", title="calibration", title_fontsize="small")
        return self

    def _weights(self) -> list[Any]:
        return list(self.path["calibration"].unique()) if "calibration" in self.path.columns else [None]

    def _places(self) -> Array:
        """The penalties on a log scale; 0 stands one step below the smallest."""
        values = self.path["penalty"].to_numpy(dtype=float)
        positive = np.unique(values[values > 0])
        step = positive[1] / positive[0] if len(positive) > 1 else 10.0
        return np.where(values > 0, values, positive[0] / step if len(positive) else 1.0)

    def _draw(self, panel: Any, name: str, place: Array) -> None:
        chosen = self.path["chosen"].to_numpy(dtype=bool)
        losses = self.path[name].to_numpy(dtype=float)
        for weight, (colour, style, marker) in zip(self._weights(), _STYLES, strict=False):
            rows = np.full(len(losses), True) if weight is None else (self.path["calibration"] == weight).to_numpy()
            order = np.flatnonzero(rows)[np.argsort(place[rows])]
            label = None if weight is None else f"{weight:g}"
            panel.plot(place[order], losses[order], ls=style, marker=marker, ms=4.5, color=COLOURS[colour], label=label)
        panel.plot(
            place[chosen], losses[chosen], "o", ms=12, mfc="none", mec=COLOURS["naive"], mew=1.6, ls="none", zorder=4
        )
        panel.set_xscale("log")
        if "admissible" in self.path.columns:
            self._shade(panel, place, self.path["admissible"].to_numpy(dtype=bool))
        ticks = np.unique(place)
        values = np.unique(self.path["penalty"].to_numpy(dtype=float))
        panel.set_xticks(ticks, [_tick(value) for value in values], fontsize="small")
        panel.xaxis.set_minor_locator(_no_ticks())
        panel.set_xlabel(self.xlabel)
        panel.set_title(_PANELS[name], loc="left", fontsize="medium")
        panel.margins(y=0.18)
        panel.ticklabel_format(axis="y", useOffset=False)
        tidy(panel)

    def _shade(self, panel: Any, place: Array, admissible: NDArray[np.bool_]) -> None:
        """Shade half a step around every value that is not admissible."""
        ticks, first = np.unique(place, return_index=True)
        ratio = np.sqrt(ticks[1:] / ticks[:-1])
        below, above = np.r_[ratio[0], ratio], np.r_[ratio, ratio[-1]]
        for tick, low, high, good in zip(ticks, below, above, admissible[first], strict=True):
            if not good:
                panel.axvspan(tick / low, tick * high, color=COLOURS["data"], alpha=0.25, lw=0, zorder=0)


def _tick(value: float) -> str:
    if value == 0:
        return "0"
    power = np.log10(value)
    return f"$10^{{{round(power)}}}$" if abs(power - round(power)) < 1e-9 else f"{value:g}"


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()
