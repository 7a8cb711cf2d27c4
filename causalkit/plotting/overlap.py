"""OverlapDisplay: how much variation of the features the confounders leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import MethodNotApplicableError
from causalkit.plotting._axes import COLOURS, panels_of, tidy

if TYPE_CHECKING:
    import pandas as pd

    from causalkit.plotting.propensity_overlap import PropensityOverlapDisplay

__all__ = ["OverlapDisplay"]

Array = NDArray[np.float64]

# Methods that compare texts at equal confounders; the others do not rest on what is left of the features.
_METHODS = ("partially_linear", "fixed_effects", "mixed", "mundlak", "instrument", "linear_control")
_WARNED = 0.02
_LOG_BELOW = 0.1
_FLOOR = 1e-4
_MOST_NAMES = 24


class OverlapDisplay:
    r"""Spectrum of overlap, and the share of each feature that the confounders explain, side by side.

    Left, the eigenvalues of :math:`\Sigma_U\Sigma_X^{-1}` in rising order: shares of the features' variance that the
    confounders leave, per direction. A direction near 0 is one in which texts hardly ever differed at equal
    confounders, so that its reward is nearly a guess; below .02 a fit warns. The scale is logarithmic where there are
    small ones. Right, :math:`R^2_j = 1 - \operatorname{Var}(\tilde X_j)/\operatorname{Var}(X_j)` of each feature. No
    feature alone may show what a combination of features lacks.

    Parameters
    ----------
    eigenvalues : ndarray, shape (p,)
        In rising order.
    loadings : list of str, length p
        Features with the largest loadings on each direction.
    r2 : Series
        Share of variance explained, by feature.

    Attributes
    ----------
    axes_ : tuple of two Axes
    figure_ : Figure

    Raises
    ------
    ValueError
        Not a fitted estimator, or axes that are not two.
    MethodNotApplicableError
        A method that does not take the confounders out of the features.

    Examples
    --------
    >>> from causalkit.datasets import make_reward_groups
    >>> from causalkit.plotting import OverlapDisplay
    >>> from causalkit.rewards import RewardDeconfounder
    >>> log = make_reward_groups(50, 10, random_state=0)
    >>> fit = RewardDeconfounder(method="fixed_effects").fit(log.X, log.y, confounders=log.confounders)
    >>> OverlapDisplay.from_estimator(fit).eigenvalues.shape
    (4,)
    """

    def __init__(self, *, eigenvalues: Array, loadings: list[str], r2: pd.Series) -> None:
        self.eigenvalues, self.loadings, self.r2 = eigenvalues, loadings, r2

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> OverlapDisplay | PropensityOverlapDisplay:
        """Draw the overlap of a fitted :class:`~causalkit.rewards.RewardDeconfounder`, or of a learner on a network.

        An estimator with probabilities of treatment gets a :class:`PropensityOverlapDisplay`.

        Parameters
        ----------
        estimator : RewardDeconfounder, GraphRLearner or SpilloverRLearner
            Fitted.
        ax : sequence of two Axes, optional
            New ones by default.
        """
        if hasattr(estimator, "treatment_prediction_"):
            from causalkit.plotting.propensity_overlap import PropensityOverlapDisplay

            return PropensityOverlapDisplay.from_estimator(estimator, ax=ax)
        if not (hasattr(estimator, "diagnostics") and hasattr(estimator, "overlap_eigenvalues_")):
            raise ValueError(
                f"OverlapDisplay needs a fitted RewardDeconfounder, or a fitted learner of causalkit.graph; got "
                f"{type(estimator).__name__}. Call fit first."
            )
        if estimator.method not in _METHODS:
            raise MethodNotApplicableError(
                f'OverlapDisplay shows what confounders leave of the features, which method="{estimator.method}" does '
                f"not rest on: fit one of {', '.join(_METHODS)}."
            )
        found = estimator.diagnostics()
        spectrum = found.spectrum
        display = cls(
            eigenvalues=spectrum["eigenvalue"].to_numpy(dtype=float),
            loadings=[str(words) for words in spectrum["largest_loadings"]],
            r2=found.overlap["r2"],
        )
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> OverlapDisplay:
        """Draw both panels.

        Parameters
        ----------
        ax : sequence of two Axes, optional
            For the spectrum and the features; new ones by default.

        Returns
        -------
        OverlapDisplay
        """
        self.axes_ = panels_of(ax, 2, (9.2, 3.9))
        self.figure_ = self.axes_[0].figure
        self._draw_spectrum(self.axes_[0])
        self._draw_features(self.axes_[1])
        for panel in self.axes_:
            tidy(panel)
        return self

    def _draw_spectrum(self, panel: Any) -> None:
        values = self.eigenvalues
        number = np.arange(1, len(values) + 1)
        logarithmic = float(values.min()) < _LOG_BELOW
        drawn = np.maximum(values, _FLOOR) if logarithmic else values
        small = values < _WARNED
        size = 5 if len(values) <= _MOST_NAMES else 2.5
        for which, colour, words in (
            (~small, "corrected", "share of variance left"),
            (small, "naive", f"below {_WARNED:g}: {small.sum()}"),
        ):
            if which.any():
                panel.plot(number[which], drawn[which], "o", ms=size, color=COLOURS[colour], ls="none", label=words)
        panel.axhline(1, color=COLOURS["data"], lw=0.8, alpha=0.6, zorder=0)
        if logarithmic:
            panel.axhline(_WARNED, color=COLOURS["naive"], lw=1, ls=(0, (4, 2)), zorder=0)
            panel.set_yscale("log")
            panel.set_ylim(_FLOOR / 1.5 if (values < _FLOOR).any() else drawn.min() / 2, 1.6)
        else:
            panel.set_ylim(0, max(1.08, 1.04 * float(values.max())))
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set(xlabel="direction of the features", ylabel="share of variance left")
        panel.set_title(f"Overlap; least along {self.loadings[0]}", loc="left", fontsize="medium", wrap=True)
        if small.any():
            panel.legend(frameon=False, fontsize="small", loc="lower right")

    def _draw_features(self, panel: Any) -> None:
        share = self.r2.to_numpy(dtype=float)
        named = len(share) <= _MOST_NAMES
        # Without room for names an order says more than the order of the columns.
        order = np.arange(len(share)) if named else np.argsort(-share, kind="stable")
        rows = np.arange(len(share))
        panel.axvline(0, color=COLOURS["data"], lw=0.8, alpha=0.6, zorder=0)
        if named:
            panel.hlines(rows, 0, share[order], color=COLOURS["corrected"], lw=1.4)
            panel.set_yticks(rows, [str(self.r2.index[j]) for j in order])
        panel.plot(share[order], rows, "o", ms=5 if named else 2.5, color=COLOURS["corrected"], ls="none")
        panel.set_xlim(min(-0.02, float(share.min()) - 0.02), 1.02)
        panel.set_ylim(len(share) - 0.5, -0.5)
        panel.set(xlabel="R²: share that the confounders explain", ylabel="" if named else "features, by R²")
        panel.set_title("Features", loc="left", fontsize="medium")
