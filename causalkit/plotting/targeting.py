"""TOCDisplay: what treating those with the largest priority first gains, with its band."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from causalkit.plotting._axes import COLOURS, axes_of, tidy

if TYPE_CHECKING:
    from causalkit.selection import TOCCurve

__all__ = ["TOCDisplay"]

_ORDER = ("corrected", "naive", "accent", "data")
_STEADY = 0.05


class TOCDisplay:
    r"""Targeting operator characteristic with a 95 % band at each share, and the area under it.

    The curve at q is how much larger the average effect is among the share q with the largest priorities than among
    all rows. A priority without information stays near 0 everywhere; every curve ends there. The legend has AUTOC, the
    area under the curve, with its standard error.

    Parameters
    ----------
    curves : mapping of str to TOCCurve
        Curves by name, four at most.
    joint : bool, default=False
        One band for all shares instead of one per share.
    xlabel, ylabel : str
        Words of your own.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Raises
    ------
    ValueError
        Not a fitted estimator, no curve, or more than four.
    MissingDependencyError
        Without matplotlib.

    References
    ----------
    Yadlowsky, Fleming, Shah, Brunskill and Wager (2025), arXiv:2111.07966, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.plotting import TOCDisplay
    >>> from causalkit.selection import toc
    >>> score = (np.arange(1000) + 0.5) / 1000
    >>> display = TOCDisplay.from_result(toc(score, score, random_state=0))
    >>> round(display.curves["priority"].autoc, 2)
    0.25
    """

    def __init__(
        self,
        *,
        curves: Mapping[str, TOCCurve],
        joint: bool = False,
        xlabel: str = "share treated, largest priority first",
        ylabel: str = "average effect less that of all",
    ) -> None:
        self.curves, self.joint = curves, joint
        self.xlabel, self.ylabel = xlabel, ylabel

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, priorities: Any = None, joint: bool = False, ax: Any = None
    ) -> TOCDisplay:
        """Compute and draw from a fitted learner of :mod:`causalkit.graph`.

        Parameters
        ----------
        estimator : GraphRLearner
            Fitted.
        priorities : array-like, shape (n,), optional
            Ranking of your own for the rows of the fit; default the out-of-fold effect.
        joint : bool, default=False
            One band for all shares.
        ax : Axes, optional
            New ones by default.
        """
        if not (hasattr(estimator, "toc") and hasattr(estimator, "effect_")):
            raise ValueError(
                "TOCDisplay needs a fitted learner of causalkit.graph with toc(); got "
                f"{type(estimator).__name__}. Call fit first, or pass a curve of causalkit.selection.toc to "
                "TOCDisplay.from_result."
            )
        name = "out-of-fold effect" if priorities is None else "priority"
        return cls.from_result({name: estimator.toc(priorities)}, joint=joint, ax=ax)

    @classmethod
    def from_result(cls, curves: Any, *, joint: bool = False, ax: Any = None) -> TOCDisplay:
        """Draw one curve, or several to compare priorities.

        Parameters
        ----------
        curves : TOCCurve, or mapping of str to TOCCurve
            From :func:`causalkit.selection.toc`.
        joint : bool, default=False
            One band for all shares.
        ax : Axes, optional
            New ones by default.
        """
        named = dict(curves) if isinstance(curves, Mapping) else {"priority": curves}
        wrong = [type(curve).__name__ for curve in named.values() if not hasattr(curve, "conf_band")]
        if wrong or not 1 <= len(named) <= len(_ORDER):
            raise ValueError(
                f"curves must hold one to {len(_ORDER)} TOCCurve objects of causalkit.selection.toc; got "
                f"{len(named)}{f', among them {wrong[0]}' if wrong else ''}."
            )
        return cls(curves=named, joint=joint).plot(ax=ax)

    def plot(self, ax: Any = None) -> TOCDisplay:
        """Draw on one axes.

        Parameters
        ----------
        ax : Axes, optional
            New ones by default.

        Returns
        -------
        TOCDisplay
        """
        self.ax_ = ax = axes_of(ax)
        self.figure_ = ax.figure
        ax.axhline(0, color=COLOURS["data"], lw=0.8, zorder=0)
        ends = []
        for (name, curve), colour in zip(self.curves.items(), _ORDER, strict=False):
            band = curve.conf_band(joint=self.joint)
            share = band.index.to_numpy(dtype=float)
            ax.fill_between(share, band["lower"], band["upper"], color=COLOURS[colour], alpha=0.2, lw=0)
            area = f"{curve.autoc:.3g}".replace("-", "−")
            words = f"{name}: AUTOC {area} ± {curve.autoc_std_error:.2g}"
            ax.plot(share, band["toc"], color=COLOURS[colour], lw=1.6, label=words)
            steady = band[share >= min(_STEADY, share.max())]
            ends += [steady["lower"].min(), steady["upper"].max(), band["toc"].min(), band["toc"].max()]
        ax.set_xlim(0, 1)
        # The band of a handful of rows may run off the page; the curves may not.
        margin = 0.05 * (max(ends) - min(ends)) or 1.0
        ax.set_ylim(min(0, *ends) - margin, max(0, *ends) + margin)
        ax.set(xlabel=self.xlabel, ylabel=self.ylabel)
        reach = "of the whole curve" if self.joint else "at each share"
        ax.set_title(f"Targeting, 95 % band {reach}", loc="left", fontsize="medium")
        ax.legend(frameon=False, fontsize="small", loc="upper right")
        tidy(ax)
        return self
