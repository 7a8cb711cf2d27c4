"""AlphaPathDisplay: what coefficients, penalty and risk become as the invariance is trusted less."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.plotting._axes import COLOURS, stacked_axes, tidy
from causalkit.validation import check_integer

__all__ = ["AlphaPathDisplay"]

Array = NDArray[np.float64]

# Twelve lines can be told apart by colour and style together; more are drawn without names.
_STYLES = list(product(("-", "--", ":"), ("corrected", "naive", "accent", "data")))


class AlphaPathDisplay:
    r"""Coefficients against alpha, with the penalty and the risk of each point below.

    alpha is drawn on a log scale. The limits 0 and ∞, where the path has them, stand as points one step beyond the
    ends of the grid. The penalty is the mean squared change of the prediction under the augmentation (of the projected
    residual with instruments), the risk the mean squared residual on the rows of the fit. A low risk is no sign of a
    small causal error: least squares has the lowest.

    Parameters
    ----------
    alphas : ndarray, shape (m,)
        Points of the path, in [0, ∞], in rising order.
    coef : ndarray, shape (m, p)
        Coefficients of one outcome.
    risk, penalty : ndarray, shape (m,)
        Mean squared residual and value of the penalty.
    names : list of str, length p
        Names of the coefficients.
    alpha : float, optional
        The alpha to mark.
    half_width : ndarray, shape (m, p), optional
        Half the width of the 95 % bands, pointwise in alpha.
    limits : tuple of str
        What the path is at 0 and at ∞, in words.

    Attributes
    ----------
    axes_ : tuple of Axes
        Of the coefficients, the penalty and the risk.
    figure_ : Figure

    Raises
    ------
    ValueError
        An estimator without a path, an unknown feature or outcome, or axes that are not three.
    InferenceUnavailableError
        Bands of a fit whose rows are not at hand.

    References
    ----------
    Akbar, Kilbertus, Shen, Muandet & Dai 2025, arXiv:2510.25128, Proposition 1 (the path of "projected").

    Examples
    --------
    >>> from causalkit.augmentation import IVLikeRegressor
    >>> from causalkit.augmentation.augmenters import NullSpaceShift
    >>> from causalkit.datasets import make_linear_augmentation
    >>> from causalkit.plotting import AlphaPathDisplay
    >>> data = make_linear_augmentation(500, 4, random_state=0)
    >>> model = IVLikeRegressor(augmentation=NullSpaceShift(data.basis), random_state=0).fit(data.X, data.y)
    >>> display = AlphaPathDisplay.from_estimator(model, bands=True)
    >>> display.coef.shape, display.half_width.shape
    ((61, 4), (61, 4))
    """

    def __init__(
        self,
        *,
        alphas: Array,
        coef: Array,
        risk: Array,
        penalty: Array,
        names: list[str],
        alpha: float | None = None,
        half_width: Array | None = None,
        limits: tuple[str, str] = ("penalty exact", "no penalty"),
    ) -> None:
        self.alphas, self.coef, self.risk, self.penalty = alphas, coef, risk, penalty
        self.names, self.alpha, self.half_width, self.limits = names, alpha, half_width, limits

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        alphas: Any = None,
        *,
        bands: bool = False,
        features: Sequence[str] | None = None,
        outcome: int = 0,
        ax: Any = None,
    ) -> AlphaPathDisplay:
        """Compute and draw from a fitted :class:`IVLikeRegressor` or :class:`IVLikeRegressorCV`.

        Parameters
        ----------
        estimator : fitted estimator
            With ``path``; its ``alpha_`` is marked.
        alphas : array-like, shape (m,), optional
            Grid in [0, inf]; default that of ``path``.
        bands : bool, default=False
            Pointwise 95 % bands of the coefficients at each alpha, from influence values: one pass over the rows per
            point. They are about the path of the population, not about the causal effect.
        features : sequence of str, optional
            Names of the coefficients to draw; default all.
        outcome : int, default=0
            Which outcome, of several.
        ax : sequence of three Axes, optional
        """
        if not (hasattr(estimator, "path") and hasattr(estimator, "alpha_")):
            raise ValueError(
                "AlphaPathDisplay needs a fitted IVLikeRegressor or IVLikeRegressorCV; got "
                f"{type(estimator).__name__}. Call fit first."
            )
        path = estimator.path(alphas)
        limits = {
            "instruments": ("only the instruments' variation", "least squares"),
            "augmentation": ("invariance trusted exactly", "augmented least squares"),
        }.get(estimator.variation_, ("no effect", "no effect"))
        halves = _half_widths(estimator, path, outcome) if bands else None
        display = cls._of_path(path, estimator.alpha_, halves, limits, features, outcome)
        return display.plot(ax=ax)

    @classmethod
    def from_result(
        cls,
        path: Any,
        *,
        alpha: float | None = None,
        features: Sequence[str] | None = None,
        outcome: int = 0,
        ax: Any = None,
    ) -> AlphaPathDisplay:
        """Draw an :class:`AlphaPath`, without bands.

        Parameters
        ----------
        path : AlphaPath
            From ``IVLikeRegressor.path``.
        alpha : float, optional
            The alpha to mark.
        features, outcome, ax
            As in :meth:`from_estimator`.
        """
        if not (hasattr(path, "alphas") and hasattr(path, "degrees_of_freedom")):
            raise ValueError(
                f"path must be an AlphaPath, as IVLikeRegressor.path returns it; got {type(path).__name__}."
            )
        limits = ("penalty exact", "no penalty")
        return cls._of_path(path, alpha, None, limits, features, outcome).plot(ax=ax)

    @classmethod
    def _of_path(
        cls,
        path: Any,
        alpha: float | None,
        halves: Array | None,
        limits: tuple[str, str],
        features: Sequence[str] | None,
        outcome: int,
    ) -> AlphaPathDisplay:
        names = [str(name) for name in path.feature_names]
        kept = _positions(features, names)
        several = path.coef.ndim == 3
        check_integer(outcome, "outcome", low=0, high=path.coef.shape[1] - 1 if several else 0)
        coef, risk, penalty = ((part[:, outcome] if several else part) for part in (path.coef, path.risk, path.penalty))
        order = np.argsort(path.alphas, kind="stable")
        return cls(
            alphas=np.asarray(path.alphas)[order],
            coef=coef[order][:, kept],
            risk=risk[order],
            penalty=penalty[order],
            names=[names[j] for j in kept],
            alpha=alpha,
            half_width=None if halves is None else halves[order][:, kept],
            limits=limits,
        )

    def plot(self, ax: Any = None) -> AlphaPathDisplay:
        """Draw on three axes that share the scale of alpha.

        Parameters
        ----------
        ax : sequence of three Axes, optional
            For coefficients, penalty and risk; new ones by default.

        Returns
        -------
        AlphaPathDisplay
        """
        axes = stacked_axes(ax, (3.2, 1, 1), (6.8, 6.4))
        self.axes_, self.figure_ = axes, axes[0].figure
        place, ticks, labels = _log_places(self.alphas, self.alpha)
        at = place(self.alphas)
        self._draw_coefficients(axes[0], at)
        for panel, values, word in ((axes[1], self.penalty, "penalty"), (axes[2], self.risk, "risk")):
            _line(panel, self.alphas, at, values, COLOURS["corrected"], "-")
            panel.set_ylabel(word)
            low, high = min(0.0, float(values.min())), float(values.max())
            margin = 0.08 * (high - low) or 1.0  # room for the points at alpha = 0 and inf, also on a flat line
            panel.set_ylim(low - margin, high + margin)
        for panel in axes:
            if self.alpha is not None:
                panel.axvline(
                    float(place(np.array([self.alpha]))[0]),
                    color=COLOURS["data"],
                    lw=1,
                    ls=(0, (4, 2)),
                    zorder=0,
                )
            panel.set_xticks(ticks, labels)
            tidy(panel)
        axes[2].set_xlabel(f"α      (0: {self.limits[0]};  ∞: {self.limits[1]})")
        if axes[0].get_legend_handles_labels()[0]:
            axes[0].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return self

    def _draw_coefficients(self, panel: Any, at: Array) -> None:
        p = self.coef.shape[1]
        named = p <= len(_STYLES)
        panel.axhline(0, color=COLOURS["data"], lw=0.8, alpha=0.6, zorder=0)
        for j in range(p):
            style, colour = _STYLES[j] if named else ("-", "band")
            label = self.names[j] if named else None
            if self.half_width is not None:
                half = self.half_width[:, j]
                inner = np.isfinite(self.alphas) & (self.alphas > 0)
                low, high = (self.coef[:, j] - half)[inner], (self.coef[:, j] + half)[inner]
                panel.fill_between(at[inner], low, high, color=COLOURS[colour], alpha=0.18 if named else 0.08, lw=0)
            _line(panel, self.alphas, at, self.coef[:, j], COLOURS[colour], style, label=label, thin=not named)
        panel.set_ylabel("coefficient")
        marked = "" if self.alpha is None else f"; broken line: α = {self.alpha:.3g}"
        bands = "" if self.half_width is None else ", pointwise 95 % bands"
        panel.set_title(f"{p} coefficient{'s' * (p > 1)}{bands}{marked}", fontsize="medium", loc="left")


def _line(
    panel: Any, alphas: Array, at: Array, values: Array, colour: str, style: str, label: Any = None, thin: bool = False
) -> None:
    """The finite part as a line, the limits as points of their own: what lies between is not computed."""
    inner = np.isfinite(alphas) & (alphas > 0)
    panel.plot(at[inner], values[inner], color=colour, ls=style, lw=0.9 if thin else 1.6, label=label)
    if not inner.all():
        panel.plot(at[~inner], values[~inner], "o", ms=4, color=colour, ls="none")


def _log_places(alphas: Array, marked: float | None) -> tuple[Any, list[float], list[str]]:
    """Function from alpha to its place, log10 with 0 and ∞ beyond the ends, and the ticks with their labels."""
    everything = alphas if marked is None else np.append(alphas, marked)
    finite = everything[np.isfinite(everything) & (everything > 0)]
    ends = np.log10([finite.min(), finite.max()]) if len(finite) else np.array([-1.0, 1.0])
    step = max(0.1 * float(ends[1] - ends[0]), 0.15)

    def place(values: Array) -> Array:
        inner = np.isfinite(values) & (values > 0)
        logs = np.log10(np.where(inner, values, 1.0))
        return np.where(inner, logs, np.where(values == 0, ends[0] - step, ends[1] + step))

    decades = np.arange(np.ceil(ends[0] - 1e-9), np.floor(ends[1] + 1e-9) + 1)
    decades = decades[:: max(1, -(-len(decades) // 8))]
    ticks = {float(d): f"$10^{{{int(d)}}}$" for d in decades}
    if (everything == 0).any():
        ticks = {float(ends[0] - step): "0", **ticks}
    if np.isinf(everything).any():
        ticks[float(ends[1] + step)] = "∞"
    return place, list(ticks), list(ticks.values())


def _positions(features: Sequence[str] | None, names: list[str]) -> list[int]:
    if features is None:
        return list(range(len(names)))
    missing = [name for name in features if name not in names]
    if missing:
        raise ValueError(f"features names {missing[:5]}, which are not among the coefficients {names[:12]}.")
    return [names.index(name) for name in features]


def _half_widths(estimator: Any, path: Any, outcome: int) -> Array:
    """Half widths of the 95 % intervals at every alpha of the path, shape (m, p).

    ``inference`` reads the alpha of the fit from ``alpha_``: a view of the estimator with another one needs no
    second fit, because moments and spectrum do not depend on alpha
    (test_bands_are_the_intervals_of_a_fit_at_each_alpha).
    """
    view = object.__new__(type(estimator))
    vars(view).update(vars(estimator))
    outcomes = path.coef.shape[1] if path.coef.ndim == 3 else 1
    p, rows = len(path.feature_names), []
    for alpha in path.alphas:
        view.alpha_ = float(alpha)
        intervals = view.inference().conf_int()
        first = outcome * (len(intervals) // outcomes) + int(estimator.fit_intercept)
        rows.append((intervals["upper"] - intervals["lower"]).to_numpy()[first : first + p] / 2)
    return np.array(rows)
