"""PropensityOverlapDisplay: probabilities of treatment by arm, and what overlap is left at each degree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import MethodNotApplicableError
from causalkit.plotting._axes import COLOURS, panels_of, tidy
from causalkit.validation import check_treatment, check_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PropensityOverlapDisplay"]

Array = NDArray[np.float64]

_EDGE = 0.05
_BINS = np.linspace(0, 1, 41)
_STRATA = 10
_ROOM = 36  # letters of tick labels that stand side by side
_MARKERS = "osD^v<>Ph*"


class PropensityOverlapDisplay:
    r"""Probabilities of treatment by arm, beside the overlap within deciles of degree.

    Left, a histogram of :math:`\hat e` per arm: where one arm has rows and the other none, its effects rest on the
    model alone. With more than two levels, the probability of each level among the rows that did not get it. The parts
    outside [.05, .95] are shaded. Right, by decile of degree (ties stay together), the share of rows outside
    [.05, .95], and the effective sample size of each arm under weights w = 1/(probability of the own level),

    .. math:: \frac{(\sum w)^2}{\sum w^2}\Big/ n_{\text{arm}},

    as a share of its rows: 1 where all weights are equal. Hubs and leaves often differ in both.

    Parameters
    ----------
    propensity : ndarray, shape (n,) or (n, L)
        Probability of treatment, or of each level.
    treatment : array-like, shape (n,)
        Level of each row.
    degree : array-like, shape (n,)
        Number of neighbours.
    levels : sequence, length L, optional
        Names of the levels, in the order of the columns; default the sorted values of ``treatment``.

    Attributes
    ----------
    by_degree : DataFrame
        Per stratum ``degree`` (its range), ``n``, ``outside`` and ``ess`` of each level.
    axes_ : tuple of two Axes
    figure_ : Figure

    Raises
    ------
    ValueError
        Not a fitted estimator, arrays that do not fit one another, probabilities outside [0, 1], axes that are not two.
    MethodNotApplicableError
        A continuous treatment, which has no probabilities.

    Examples
    --------
    >>> from causalkit.datasets import make_graph_heterogeneity
    >>> from causalkit.plotting import PropensityOverlapDisplay
    >>> data = make_graph_heterogeneity(200, random_state=0)
    >>> degree = data.adjacency.sum(axis=0)
    >>> display = PropensityOverlapDisplay(propensity=data.propensity, treatment=data.treatment, degree=degree)
    >>> list(display.by_degree.columns)
    ['degree', 'n', 'outside', 'ess 0', 'ess 1']
    """

    def __init__(self, *, propensity: Any, treatment: Any, degree: Any, levels: Any = None) -> None:
        coded = check_treatment(treatment, len(np.asarray(treatment)))
        names = list(coded.levels if levels is None else levels)
        probability = np.asarray(propensity, dtype=float)
        if probability.ndim == 1:
            probability = np.column_stack([1 - probability, probability])
        n = len(coded.codes)
        if probability.shape != (n, len(names)) or len(names) != len(coded.levels):
            raise ValueError(
                f"propensity must hold a probability per row, or per row and level: expected shape ({n},) or ({n}, "
                f"{len(coded.levels)}) with as many levels; got {np.shape(propensity)} and {len(names)} levels."
            )
        if not ((probability >= 0) & (probability <= 1)).all():
            raise ValueError(f"propensity must lie in [0, 1]: got {probability.min():.3g} to {probability.max():.3g}.")
        self.propensity, self.codes, self.levels = probability, coded.codes, names
        self.degree = check_vector(degree, "degree", n_rows=n, like="treatment")
        self.by_degree = self._by_degree()

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> PropensityOverlapDisplay:
        """Draw the cross-fitted probabilities of a fitted learner.

        Parameters
        ----------
        estimator : GraphRLearner or SpilloverRLearner
            Fitted on a binary or a multi-level treatment.
        ax : sequence of two Axes, optional
            New ones by default.
        """
        needed = ("treatment_prediction_", "treatment_residual_", "graph_", "positions_")
        if not all(hasattr(estimator, name) for name in needed):
            raise ValueError(
                "PropensityOverlapDisplay needs a fitted learner of causalkit.graph; got "
                f"{type(estimator).__name__}. Call fit first."
            )
        levels = getattr(estimator, "treatment_levels_", None)
        if levels is None:
            raise MethodNotApplicableError(
                "a continuous treatment has no probabilities: look at residual_dependence() and balance() of the "
                "learner instead."
            )
        display = cls(
            propensity=estimator.treatment_prediction_,
            treatment=_codes(estimator.treatment_prediction_, estimator.treatment_residual_),
            degree=np.asarray(estimator.graph_.degree)[estimator.positions_],
            levels=levels,
        )
        return display.plot(ax=ax)

    def _by_degree(self) -> pd.DataFrame:
        import pandas as pd

        strata = np.unique(np.quantile(self.degree, np.arange(1, _STRATA) / _STRATA, method="higher"))
        index = np.searchsorted(strata, self.degree, side="left")
        own = self.propensity[np.arange(len(self.codes)), self.codes]
        outside = np.asarray(((self.propensity < _EDGE) | (self.propensity > 1 - _EDGE)).any(axis=1))
        records = []
        for stratum in np.unique(index):
            rows = index == stratum
            low, high = self.degree[rows].min(), self.degree[rows].max()
            words = f"{low:g}" if low == high else f"{low:g}–{high:g}"
            record = {"degree": words, "n": int(rows.sum()), "outside": float(outside[rows].mean())}
            for code, level in enumerate(self.levels):
                record[f"ess {level}"] = _effective_share(own[rows & (self.codes == code)])
            records.append(record)
        return pd.DataFrame(records)

    def plot(self, ax: Any = None) -> PropensityOverlapDisplay:
        """Draw both panels.

        Parameters
        ----------
        ax : sequence of two Axes, optional
            For the histogram and the strata; new ones by default.

        Returns
        -------
        PropensityOverlapDisplay
        """
        self.axes_ = panels_of(ax, 2, (10.4, 4.1))
        self.figure_ = self.axes_[0].figure
        self._draw_histogram(self.axes_[0])
        self._draw_strata(self.axes_[1])
        for panel in self.axes_:
            tidy(panel)
        return self

    def _draw_histogram(self, panel: Any) -> None:
        colours = _colours(len(self.levels))
        for code, level in enumerate(self.levels):
            mine = self.codes == code
            if len(self.levels) == 2:
                values, words = self.propensity[mine, 1], f"level {level}: {mine.sum()} rows"
            else:
                values, words = self.propensity[~mine, code], f"of level {level}, among the others"
            if len(values):
                height = np.histogram(values, _BINS)[0] / len(values)
                panel.stairs(height, _BINS, color=colours[code], fill=len(self.levels) == 2, alpha=0.3, lw=0)
                panel.stairs(height, _BINS, color=colours[code], lw=1.4, label=words)
        for low, high in ((0, _EDGE), (1 - _EDGE, 1)):
            panel.axvspan(low, high, color=COLOURS["data"], alpha=0.25, lw=0, zorder=0)
        panel.set_xlim(0, 1)
        what = "probability of treatment" if len(self.levels) == 2 else "probability of the level"
        panel.set(xlabel=what, ylabel="share of the rows")
        panel.set_title("Overlap", loc="left", fontsize="medium")
        # Above the highest bar, wherever it is.
        panel.set_ylim(0, 1.08 * panel.dataLim.y1)
        panel.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)

    def _draw_strata(self, panel: Any) -> None:
        frame, place = self.by_degree, np.arange(len(self.by_degree))
        panel.bar(place, frame["outside"], width=0.7, color=COLOURS["data"], alpha=0.5, label="outside [.05, .95]")
        colours = _colours(len(self.levels))
        for code, level in enumerate(self.levels):
            panel.plot(
                place,
                frame[f"ess {level}"],
                marker=_MARKERS[code % len(_MARKERS)],
                ms=4.5,
                lw=1.2,
                color=colours[code],
                label=f"effective share, level {level}",
            )
        crowded = int(frame["degree"].str.len().sum()) > _ROOM
        panel.set_xticks(place, list(frame["degree"]), rotation=35 if crowded else 0, fontsize="small")
        panel.set_ylim(0, 1.04)
        panel.set(xlabel="degree", ylabel="share of the rows")
        panel.set_title("By degree", loc="left", fontsize="medium")
        panel.legend(
            frameon=False,
            fontsize="small",
            loc="upper center",
            bbox_to_anchor=(0.5, -0.28 if crowded else -0.16),
            ncols=2,
        )


def _codes(prediction: Any, residual: Any) -> NDArray[np.intp]:
    """Levels 0, 1, ... of the rows: a residual is the indicator of its level less the prediction."""
    expected, left = np.asarray(prediction, dtype=float), np.asarray(residual, dtype=float)
    taken = (expected + left)[:, None] if expected.ndim == 1 else expected[:, 1:] + left.reshape(len(expected), -1)
    return np.where(taken.max(axis=1) > 0.5, taken.argmax(axis=1) + 1, 0)


def _effective_share(probability: Array) -> float:
    """Effective sample size of inverse weights over the number of rows; NaN without rows."""
    if len(probability) == 0:
        return float("nan")
    # Relative to the smallest probability: a zero has all of the weight instead of an infinite one.
    least = float(probability.min())
    weight = least / probability if least > 0 else (probability == 0).astype(float)
    return float(weight.sum() ** 2 / (weight**2).sum() / len(probability))


def _colours(count: int) -> list[Any]:
    if count == 2:
        return [COLOURS["naive"], COLOURS["corrected"]]
    from matplotlib import colormaps

    return [colormaps["viridis"](0.3 + 0.5 * k / max(count - 1, 1)) for k in range(count)]
