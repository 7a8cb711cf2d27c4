"""AugmentationDiagnosticsDisplay: what an augmentation moves, and how much confounding its invariance implies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import MethodNotApplicableError
from causalkit.plotting._axes import COLOURS, panels_of, tidy

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AugmentationDiagnosticsDisplay"]

Array = NDArray[np.float64]

_MOST_NAMES = 24
_POINTS = 60
_CROWDED = 0.8  # share of r2_max that is needed from which on the axis is logistic


class AugmentationDiagnosticsDisplay:
    r"""Relevance, moved directions and breakdown curve of a fit by augmentation, side by side.

    "relevance" (where there are parameters)
        Partial R² of each augmented feature on the parameters G, against k/n, its expectation if G moved no mean. Only
        "projected" and "paired" need to be above it.
    "moved"
        Eigenvalues :math:`l_j` of :math:`(E_n[dd'], A)`, how far each direction is moved relative to its variance.
        Directions that nothing moves stand below the broken line: they are as confounded as in least squares.
    "breakdown" (one outcome)
        Width of the bounds on a coefficient if hidden confounding explains at most a share ``r2_max`` of the outcome's
        noise, with the invariance and without. Below the share that the data need (shaded) the invariance contradicts
        the data, and there are no bounds. The line is the median coefficient, its ribbon the narrowest and the widest.

    Nothing here tests the invariance.

    Parameters
    ----------
    relevance : DataFrame or None
        ``partial_r2`` and ``floor`` per feature.
    eigenvalues : ndarray, shape (p,)
        Falling.
    is_moved : ndarray of bool, shape (p,)
        Which of them count as moved.
    curve : DataFrame or None
        ``r2_max`` and ``median``, ``low``, ``high`` of the bound widths, NaN where infeasible, and the same
        ``without`` the invariance.
    r2_needed : float
        Smallest feasible share.

    Attributes
    ----------
    axes_ : tuple of Axes
        One per panel.
    panels_ : tuple of str
        Names of the panels, in order.
    figure_ : Figure

    Raises
    ------
    MethodNotApplicableError
        The estimator has real instruments, or no augmentation at all.
    ValueError
        It is not fitted, or the axes do not match the panels.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet & Dai 2025, arXiv:2510.25128 (relevance, exclusion). Breakdown value and bounds are
    this library's.

    Examples
    --------
    >>> from causalkit.augmentation import IVLikeRegressor
    >>> from causalkit.augmentation.augmenters import NullSpaceShift
    >>> from causalkit.datasets import make_linear_augmentation
    >>> from causalkit.plotting import AugmentationDiagnosticsDisplay
    >>> data = make_linear_augmentation(500, 4, random_state=0)
    >>> model = IVLikeRegressor(augmentation=NullSpaceShift(data.basis), random_state=0).fit(data.X, data.y)
    >>> AugmentationDiagnosticsDisplay.from_estimator(model).panels_
    ('relevance', 'moved', 'breakdown')
    """

    def __init__(
        self,
        *,
        relevance: pd.DataFrame | None,
        eigenvalues: Array,
        is_moved: NDArray[np.bool_],
        curve: pd.DataFrame | None,
        r2_needed: float,
    ) -> None:
        self.relevance, self.eigenvalues, self.is_moved = relevance, eigenvalues, is_moved
        self.curve, self.r2_needed = curve, r2_needed

    @classmethod
    def from_estimator(cls, estimator: Any, *, contrast: Any = None, ax: Any = None) -> AugmentationDiagnosticsDisplay:
        """Compute and draw from an :class:`IVLikeRegressor` or :class:`IVLikeRegressorCV` fitted by augmentation.

        Parameters
        ----------
        estimator : fitted estimator
        contrast : array-like, shape (r, p) or (p,), optional
            Linear combinations of the effect for the breakdown curve; default each coefficient.
        ax : sequence of Axes, optional
            As many as there are panels.
        """
        if not (hasattr(estimator, "diagnostics") and hasattr(estimator, "variation_")):
            raise ValueError(
                "AugmentationDiagnosticsDisplay needs a fitted IVLikeRegressor or IVLikeRegressorCV; got "
                f"{type(estimator).__name__}. Call fit first."
            )
        if estimator.variation_ != "augmentation":
            raise MethodNotApplicableError(
                f"the display is about an augmentation, and this fit's source of variation is "
                f"{estimator.variation_!r}: for real instruments use instrument_diagnostics and anderson_rubin."
            )
        found = estimator.diagnostics()
        needed = float(found.breakdown["confounding_needed"].iloc[0])
        display = cls(
            relevance=found.relevance,
            eigenvalues=found.moved["eigenvalue"].to_numpy(),
            is_moved=found.moved["is_moved"].to_numpy(dtype=bool),
            curve=_curve(estimator, needed, contrast) if len(found.breakdown) == 1 else None,
            r2_needed=needed,
        )
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> AugmentationDiagnosticsDisplay:
        """Draw one panel per kind of diagnostic that the fit has.

        Parameters
        ----------
        ax : sequence of Axes, optional
            New ones by default.

        Returns
        -------
        AugmentationDiagnosticsDisplay
        """
        draw = {"relevance": self._draw_relevance, "moved": self._draw_moved, "breakdown": self._draw_breakdown}
        absent = {"relevance": self.relevance is None, "moved": False, "breakdown": self.curve is None}
        self.panels_ = tuple(name for name in draw if not absent[name])
        self.axes_ = panels_of(ax, len(self.panels_), (3.7 * len(self.panels_), 3.6))
        self.figure_ = self.axes_[0].figure
        for panel, name in zip(self.axes_, self.panels_, strict=True):
            draw[name](panel)
            tidy(panel)
        return self

    def _draw_relevance(self, ax: Any) -> None:
        frame = self.relevance
        if frame is None:
            return
        share, floor = frame["partial_r2"].to_numpy(), float(frame["floor"].iloc[0])
        rows = np.arange(len(share))
        ax.hlines(rows, 0, share, color=COLOURS["corrected"], lw=1.4)
        ax.plot(share, rows, "o", ms=4, color=COLOURS["corrected"], label="partial R²")
        ax.axvline(floor, color=COLOURS["naive"], ls="--", lw=1.2, label=f"floor k/n = {floor:.2g}")
        if len(share) <= _MOST_NAMES:
            ax.set_yticks(rows, [str(name) for name in frame.index])
        ax.set(xlabel="share of the feature's variance that G explains", ylabel="feature", title="Relevance")
        ax.set_xlim(left=0)
        ax.set_ylim(len(share) - 0.5, -0.5)
        ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)

    def _draw_moved(self, ax: Any) -> None:
        number = np.arange(1, len(self.eigenvalues) + 1)
        moved = self.is_moved
        values = self.eigenvalues
        lowest = float(values[moved].min()) if moved.any() else 1.0
        below = lowest / 10  # zero has no place on a log scale
        ax.plot(number[moved], values[moved], "o", ms=4, color=COLOURS["corrected"], label=f"moved: {moved.sum()}")
        if not moved.all():
            ax.plot(
                number[~moved],
                np.full(int((~moved).sum()), below),
                "o",
                ms=5,
                mfc="none",
                color=COLOURS["naive"],
                label=f"untouched (l = 0): {(~moved).sum()}",
            )
            ax.axhline(lowest / 3, color=COLOURS["data"], lw=0.8, ls=(0, (4, 2)))
        ax.set_yscale("log")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="direction", ylabel="l: move relative to variance", title="Moved directions")
        ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)

    def _draw_breakdown(self, ax: Any) -> None:
        frame = self.curve
        if frame is None:
            return
        r2 = frame["r2_max"].to_numpy()
        for suffix, colour, style, word in (
            ("_without", "naive", "--", "without the invariance"),
            ("", "corrected", "-", "with the invariance"),
        ):
            ax.fill_between(r2, frame[f"low{suffix}"], frame[f"high{suffix}"], color=COLOURS[colour], alpha=0.13, lw=0)
            ax.plot(r2, frame[f"median{suffix}"], color=COLOURS[colour], ls=style, lw=1.6, label=word)
        if self.r2_needed > 0:
            words = f"infeasible below {self.r2_needed:.3g}"
            left = float(r2[0])  # 0, or what a logistic axis can show
            ax.axvspan(left, self.r2_needed, color=COLOURS["data"], alpha=0.3, lw=0, label=words)
        ax.set_xlim(0, float(r2[-1]))
        if self.r2_needed > _CROWDED:
            ax.set_xscale("logit")
            ax.set_xlim(float(r2[0]), float(r2[-1]))
            ticks = [t for t in (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999) if r2[0] <= t <= r2[-1]]
            ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
            ax.set_xticks([], minor=True)
        ax.set(
            xlabel="r2_max, share of the noise from confounding", ylabel="width of the bounds", title="Breakdown curve"
        )
        ax.set_ylim(bottom=0)
        ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _curve(estimator: Any, needed: float, contrast: Any) -> pd.DataFrame:
    """Widths of the bounds over a grid of r2_max; the infeasible part keeps NaN where the invariance is used."""
    import pandas as pd

    if needed > _CROWDED:  # nearly all of the axis would be infeasible: equal steps of the log odds instead
        start, stop = np.log(1 / 9), np.log(20 * needed / (1 - needed))
        odds = np.exp(np.unique(np.append(np.linspace(start, stop, _POINTS), np.log(needed / (1 - needed)) + 1e-3)))
        grid = odds / (1 + odds)
    else:
        # Widths rise like a square root behind the share that is needed, and run to infinity at 1.
        inside = needed + (0.9 - needed) * np.linspace(0, 1, _POINTS) ** 2
        grid = np.concatenate([np.linspace(0, needed, 15)[:-1] if needed > 0 else [0.0], inside[1:]])
    records = []
    for r2 in grid:
        bounds = estimator.bounds(float(r2), contrast=contrast)
        record = {"r2_max": r2} | _summary(bounds.upper_without - bounds.lower_without, "_without")
        if bounds.feasible:
            record |= _summary(bounds.upper - bounds.lower, "")
        records.append(record)
    return pd.DataFrame(records)


def _summary(widths: Array, suffix: str) -> dict[str, float]:
    return {
        f"median{suffix}": float(np.median(widths)),
        f"low{suffix}": float(widths.min()),
        f"high{suffix}": float(widths.max()),
    }
