"""RewardComparisonDisplay: how well the rewards of several methods rank held-out content."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from causalkit.plotting._axes import COLOURS, panels_of, tidy

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RewardComparisonDisplay"]

_BASELINES = ("none", "outcome_only", "linear_control", "invariance", "lowess")
# In this order the first one that the frame holds is drawn.
_PREFERRED = ("within_stratum_accuracy", "pair_accuracy")
_CHANCE = {"within_stratum_accuracy": 0.5, "pair_accuracy": 0.5, "kendall_tau": 0.0, "correlation": 0.0}
_WORDS = {
    "within_stratum_accuracy": "pair accuracy within strata",
    "pair_accuracy": "pair accuracy, all pairs",
    "kendall_tau": "Kendall's tau",
    "ndcg": "NDCG",
    "correlation": "correlation with the truth",
    "calibration_slope": "slope of the yardstick on the reward",
}


class RewardComparisonDisplay:
    """A measure of ranking per method, with 95 % intervals where there are standard errors.

    Baselines that are known to be biased have a colour of their own; a hollow point is a method whose fits warned. A
    method that does not apply to the data has its place and no point. Where the yardstick is the logged outcome, a
    reward that guesses the confounders looks good over all pairs: accuracy within strata is drawn by default where
    there were strata.

    Parameters
    ----------
    table : DataFrame
        A row per method, as :func:`causalkit.rewards.compare_rewards` returns it.
    metrics : tuple of str
        Columns to draw, one panel each.
    baselines : collection of str
        Rows that are drawn as baselines.

    Attributes
    ----------
    axes_ : tuple of Axes
        One per measure.
    figure_ : Figure

    Raises
    ------
    ValueError
        A frame of another kind, an unknown measure, or axes that do not match the measures.

    Examples
    --------
    >>> from causalkit.datasets import make_reward_linear
    >>> from causalkit.plotting import RewardComparisonDisplay
    >>> from causalkit.rewards import compare_rewards
    >>> log = make_reward_linear(400, random_state=0)
    >>> table = compare_rewards(
    ...     log.X, log.y, confounders=log.confounders, methods=("none", "linear_control"), truth=log.reward
    ... )
    >>> RewardComparisonDisplay.from_result(table).metrics
    ('pair_accuracy',)
    """

    def __init__(self, *, table: pd.DataFrame, metrics: tuple[str, ...], baselines: Collection[str]) -> None:
        self.table, self.metrics, self.baselines = table, metrics, baselines

    @classmethod
    def from_result(
        cls,
        table: Any,
        *,
        metrics: str | tuple[str, ...] | None = None,
        baselines: Collection[str] = _BASELINES,
        ax: Any = None,
    ) -> RewardComparisonDisplay:
        """Draw the frame of :func:`causalkit.rewards.compare_rewards`.

        Parameters
        ----------
        table : DataFrame
            A row per method.
        metrics : str or tuple of str, optional
            Measures, one panel each; default accuracy within strata, or over all pairs where there were no strata.
        baselines : collection of str
            Names of the rows to draw as baselines; default the names of the methods that are.
        ax : Axes or sequence of Axes, optional
            One per measure.
        """
        if not (hasattr(table, "columns") and {"warned", "note"} <= set(table.columns)):
            raise ValueError(f"table must be the frame of compare_rewards; got {type(table).__name__}.")
        available = [c for c in table.columns if c not in ("warned", "note") and not str(c).endswith("_se")]
        if metrics is None:
            chosen = tuple(name for name in _PREFERRED if name in available)[:1]
        else:
            chosen = (metrics,) if isinstance(metrics, str) else tuple(metrics)
        unknown = [name for name in chosen if name not in available]
        if unknown or not chosen:
            raise ValueError(f"metrics must be among {available}; got {list(unknown or chosen)}.")
        return cls(table=table, metrics=chosen, baselines=baselines).plot(ax=ax)

    def plot(self, ax: Any = None) -> RewardComparisonDisplay:
        """Draw a panel per measure, methods from top to bottom in the order of the table.

        Parameters
        ----------
        ax : Axes or sequence of Axes, optional
            New ones by default.

        Returns
        -------
        RewardComparisonDisplay
        """
        k, rows = len(self.metrics), len(self.table)
        self.axes_ = panels_of(ax, k, (1.6 + 4.2 * k, 1.5 + 0.42 * rows))
        self.figure_ = self.axes_[0].figure
        for number, (panel, metric) in enumerate(zip(self.axes_, self.metrics, strict=True)):
            self._draw(panel, metric)
            panel.set_yticks(np.arange(rows), list(map(str, self.table.index)) if number == 0 else [""] * rows)
            tidy(panel)
        yardstick = self.table.attrs.get("yardstick")
        if yardstick is not None:
            words = "the true reward" if yardstick == "truth" else "the logged outcome"
            self.axes_[0].set_title(f"Held-out rows against {words}", loc="left", fontsize="medium")
        return self

    def _draw(self, panel: Any, metric: str) -> None:
        value = self.table[metric].to_numpy(dtype=float)
        error_name = f"{metric}_se"
        has_error = error_name in self.table
        error = self.table[error_name].to_numpy(dtype=float) if has_error else np.full(len(value), np.nan)
        for i, name in enumerate(self.table.index):
            if not np.isfinite(value[i]):
                place = {"xycoords": ("axes fraction", "data"), "ha": "center", "va": "center"}
                panel.annotate("does not apply", (0.5, i), color=COLOURS["data"], **place)
                continue
            colour = COLOURS["naive" if name in self.baselines else "corrected"]
            if np.isfinite(error[i]):
                panel.hlines(i, value[i] - 1.96 * error[i], value[i] + 1.96 * error[i], color=colour, lw=1.6)
            hollow = bool(self.table["warned"].iloc[i])
            panel.plot(value[i], i, "o", ms=6, color=colour, mfc="none" if hollow else colour, ls="none")
        if metric in _CHANCE:
            panel.axvline(_CHANCE[metric], color=COLOURS["data"], lw=1, ls=(0, (4, 2)), zorder=0)
        panel.set_ylim(len(value) - 0.5, -0.5)
        panel.set_xlabel(_WORDS.get(metric, metric.replace("_", " ")) + (", 95 % intervals" if has_error else ""))
        self._legend(panel)

    def _legend(self, panel: Any) -> None:
        if panel is not self.axes_[-1]:
            return
        kinds = {"baseline": ("naive", True), "method": ("corrected", True), "hollow: its fits warned": ("data", False)}
        here = {
            "baseline": any(name in self.baselines for name in self.table.index),
            "method": any(name not in self.baselines for name in self.table.index),
            "hollow: its fits warned": bool((self.table["warned"].fillna("") != "").any()),
        }
        for word, (colour, full) in kinds.items():
            if here[word]:
                paint = COLOURS[colour]
                panel.plot([], [], "o", color=paint, mfc=paint if full else "none", ls="none", label=word)
        panel.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
