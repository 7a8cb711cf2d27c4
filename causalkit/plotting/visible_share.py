"""VisibleShareDisplay: which deviations from an affine representation the data could show."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.plotting._axes import COLOURS, axes_of, tidy

__all__ = ["VisibleShareDisplay"]

Array = NDArray[np.float64]

_FLOOR = 1e-8


class VisibleShareDisplay:
    """Spectrum of visible shares, falling, with the line of what noise alone would show.

    Each point is a direction in which the representation could deviate from an affine one, its height the share of the
    deviation's variance that appears as a curved mean given the action. Directions above the line are visible.
    A test of linear invariance says nothing about those below it: a pass is no evidence that the representation is
    affine.

    Parameters
    ----------
    shares : ndarray, shape (q,)
        Visible shares, falling.
    noise : float
        Share from which a direction counts as visible.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Raises
    ------
    ValueError
        An estimator or result without a spectrum.

    Examples
    --------
    >>> from causalkit.datasets import make_intervention_curve
    >>> from causalkit.extrapolation import LinearInvarianceEncoder
    >>> from causalkit.plotting import VisibleShareDisplay
    >>> sample = make_intervention_curve(800, strength=4.0, random_state=0)
    >>> encoder = LinearInvarianceEncoder(n_components=1, n_basis=20, ridge=1e-2, random_state=0)
    >>> encoder = encoder.fit(sample.features, actions=sample.actions)
    >>> VisibleShareDisplay.from_estimator(encoder).n_visible > 0
    True
    """

    def __init__(self, *, shares: Array, noise: float) -> None:
        self.shares, self.noise = np.asarray(shares, dtype=float), float(noise)
        self.n_visible = int((self.shares > self.noise).sum())

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> VisibleShareDisplay:
        """Draw the spectrum of a fitted :class:`~causalkit.extrapolation.Rep4Ex` or
        :class:`~causalkit.extrapolation.LinearInvarianceEncoder`, on the rows that it kept for reports.

        Parameters
        ----------
        estimator : Rep4Ex or LinearInvarianceEncoder
            Fitted.
        ax : Axes, optional
            New ones by default.
        """
        fitted = hasattr(estimator, "action_names_") and hasattr(estimator, "diagnostics")
        found = getattr(estimator.diagnostics(), "invariance", None) if fitted else None
        if found is None:
            raise ValueError(
                "VisibleShareDisplay needs a fitted Rep4Ex or LinearInvarianceEncoder; got "
                f"{type(estimator).__name__}. Call fit first."
            )
        return cls.from_result(found, ax=ax)

    @classmethod
    def from_result(cls, result: Any, *, ax: Any = None) -> VisibleShareDisplay:
        """Draw the spectrum of an invariance test, or one from
        :func:`~causalkit.extrapolation.visible_share_spectrum`.

        Parameters
        ----------
        result : InvarianceTest or VisibleShare
        ax : Axes, optional
            New ones by default.
        """
        spectrum = getattr(result, "visible", result)
        if not (hasattr(spectrum, "shares") and hasattr(spectrum, "noise")):
            raise ValueError(
                f"result must be an invariance test or a visible-share spectrum; got {type(result).__name__}."
            )
        return cls(shares=spectrum.shares, noise=spectrum.noise).plot(ax=ax)

    def plot(self, ax: Any = None) -> VisibleShareDisplay:
        """Draw on one axes.

        Parameters
        ----------
        ax : Axes, optional
            New ones by default.

        Returns
        -------
        VisibleShareDisplay
        """
        self.ax_ = ax = axes_of(ax, figsize=(6.8, 4.2))
        self.figure_ = ax.figure
        number = np.arange(1, len(self.shares) + 1)
        heights = np.maximum(self.shares, _FLOOR)
        seen = self.shares > self.noise
        ax.vlines(number, _FLOOR, heights, color=COLOURS["data"], lw=0.8, alpha=0.6, zorder=1)
        ax.plot(number[seen], heights[seen], "o", ms=6, color=COLOURS["corrected"], ls="none", label="visible")
        ax.plot(
            number[~seen], heights[~seen], "o", ms=6, mfc="none", mec=COLOURS["data"], ls="none", label="cannot be seen"
        )
        ax.axhline(self.noise, color=COLOURS["naive"], lw=1.2, ls="--", label="largest without a signal, 95 %")
        ax.set_yscale("log")
        low = min(float(heights.min()), self.noise)
        ax.set(ylim=(max(low / 3, _FLOOR), 1.5), xlim=(0.4, len(number) + 0.6))
        ax.set(xlabel="direction of deviation from an affine map", ylabel="visible share of its variance")
        ax.set_title(f"{self.n_visible} of {len(number)} directions are visible", loc="left", fontsize="medium")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(frameon=False, fontsize="small")
        tidy(ax)
        return self
