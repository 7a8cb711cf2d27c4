"""Section 1: the linear simulation, errors in two norms, intervals and what they are about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causalkit.augmentation import IVLikeRegressor, normalized_causal_excess_risk
from causalkit.augmentation.augmenters import NullSpaceShift
from causalkit.datasets import make_linear_augmentation
from causalkit.demo.augmentation.small_design import SmallDesign, draw_small_design
from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.demo.terminal import format_number
from causalkit.plotting import AlphaPathDisplay
from causalkit.plotting._axes import COLOURS, tidy

__all__ = ["section"]

Array = NDArray[np.float64]

_MOST = 12
_ROWS, _FEATURES = 2048, 32
_GRID = np.logspace(-4, 2, 61)
_NORMS = {"euclidean": "Euclidean", "sigma": "weighted by Σ_X"}
_PUBLISHED, _PAIRS = "published", "from pairs"


def section(small: SmallDesign, settings: Settings) -> Section:
    """Errors over draws of the published design, then one fit with intervals."""
    repetitions = min(settings.repetitions, _MOST)
    paths = _mean_paths(settings.random_state, repetitions)
    errors = _error_table(paths)
    model = IVLikeRegressor(alpha=small.alpha, augmentation=small.shift, random_state=0).fit(small.X, small.y)
    intervals = _interval_table(small, model)
    pseudo, effect, total = _count_held(settings.random_state, repetitions)
    return Section(
        title="A simulation with a known effect",
        text=(
            f"{_FEATURES} features, {_ROWS:,} rows, hidden variables behind features and outcome, and shifts along "
            "directions in which the effect is exactly zero. The published estimator projects on the drawn shifts. "
            "Because they are drawn by us, they are independent of the outcome, and the projection only estimates a "
            "known zero: the fit from pairs (x, shifted x) leaves that noise out. α is distrust in the invariance: "
            "∞ is least squares on shifted data, near 0 the fit may hardly change under the shift. Errors are nCER, 0 "
            "at the truth and ½ for a fit as bad as no effect at all, in two norms: they can disagree."
        ),
        tables=(
            Table(
                f"nCER, mean of {repetitions} draws",
                errors,
                "A simulation under exact invariance: the best case. The fit from pairs is this library's and has not "
                "been published.",
            ),
            Table(
                f"One draw with {len(small.effect)} features, α = {small.alpha:g}: 95 % intervals",
                intervals,
                "pseudo-true: what the fit converges to at this α. The intervals are about it, not about the effect.",
            ),
        ),
        figures=(_error_figure(paths), _path_figure(model)),
        readings=tuple(_readings(errors, pseudo, effect, total)),
    )


def _mean_paths(random_state: int, repetitions: int) -> dict[str, dict[str, Array]]:
    """By norm and method, mean nCER on the grid of alphas (one number for the methods without alpha)."""
    sums: dict[str, dict[str, Array]] = {norm: {} for norm in _NORMS}
    for draw in range(repetitions):
        data = make_linear_augmentation(_ROWS, _FEATURES, random_state=random_state + draw)
        shift = NullSpaceShift(data.basis)
        published = IVLikeRegressor(augmentation=shift, penalty="projected", random_state=0).fit(data.X, data.y)
        pairs = IVLikeRegressor(augmentation=shift, random_state=0).fit(data.X, data.y)
        coefficients = {
            "least squares": IVLikeRegressor().fit(data.X, data.y).coef_[None, :],
            "least squares on shifted data": pairs.path([np.inf]).coef,
            _PUBLISHED: published.path(_GRID).coef,
            _PAIRS: pairs.path(_GRID).coef,
        }
        for norm, found in sums.items():
            for name, coef in coefficients.items():
                error = normalized_causal_excess_risk(coef, data.coef, data.covariance, norm=norm)
                found[name] = found.get(name, 0.0) + np.asarray(error) / repetitions
    return sums


def _error_table(paths: dict[str, dict[str, Array]]) -> pd.DataFrame:
    at = {alpha: int(np.argmin(np.abs(np.log(_GRID / alpha)))) for alpha in (0.1, 0.01)}
    rows = []
    for name in paths["euclidean"]:
        places = at.items() if name in (_PUBLISHED, _PAIRS) else [(np.nan, 0)]
        for alpha, place in places:
            label = name if np.isnan(alpha) else f"{name}, α = {alpha:g}"
            rows.append({"fit": label} | {f"{_NORMS[norm]}": float(paths[norm][name][place]) for norm in _NORMS})
    return pd.DataFrame(rows)


def _interval_table(small: SmallDesign, model: IVLikeRegressor) -> pd.DataFrame:
    intervals = model.inference().conf_int().iloc[1:]
    lower, upper = intervals["lower"].to_numpy(), intervals["upper"].to_numpy()
    return pd.DataFrame(
        {
            "feature": list(small.X.columns),
            "truth": small.effect,
            "least squares": IVLikeRegressor().fit(small.X, small.y).coef_,
            "estimate": model.coef_,
            "lower": lower,
            "upper": upper,
            "pseudo-true": small.pseudo_true,
            "holds pseudo-true": (lower <= small.pseudo_true) & (small.pseudo_true <= upper),
            "holds the effect": (lower <= small.effect) & (small.effect <= upper),
        }
    )


def _count_held(random_state: int, repetitions: int) -> tuple[int, int, int]:
    """Intervals that hold the pseudo-true coefficient, those that hold the effect, and all."""
    pseudo = effect = total = 0
    for draw in range(repetitions):
        small = draw_small_design(random_state + draw)
        model = IVLikeRegressor(alpha=small.alpha, augmentation=small.shift, random_state=0).fit(small.X, small.y)
        table = _interval_table(small, model)
        pseudo += int(table["holds pseudo-true"].sum())
        effect += int(table["holds the effect"].sum())
        total += len(table)
    return pseudo, effect, total


def _error_figure(paths: dict[str, dict[str, Array]]) -> Figure:
    styles = {
        "least squares": ("data", ":"),
        "least squares on shifted data": ("data", "--"),
        _PUBLISHED: ("naive", "-"),
        _PAIRS: ("corrected", "-"),
    }

    def draw(canvas: Any) -> None:
        axes = canvas.subplots(1, 2)
        for ax, (norm, found) in zip(axes, paths.items(), strict=True):
            for name, values in found.items():
                colour, style = styles[name]
                line = np.broadcast_to(values, _GRID.shape)
                ax.plot(_GRID, line, color=COLOURS[colour], ls=style, lw=1.6, label=name)
            ax.set(xscale="log", yscale="log", xlabel="α", title=f"nCER, {_NORMS[norm]}")
            tidy(ax)
        canvas.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)

    return Figure(
        "augmentation-errors",
        "Mean error against α under exact invariance, in two norms. The published estimator turns up again at small "
        "α, where it fits the noise of its own projection.",
        draw,
        (9.2, 4.4),
    )


def _path_figure(model: IVLikeRegressor) -> Figure:
    def draw(canvas: Any) -> None:
        axes = canvas.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": (3.2, 1, 1)})
        AlphaPathDisplay.from_estimator(model, [0, *_GRID, np.inf], bands=True, ax=axes)

    return Figure(
        "augmentation-path",
        "The small draw: coefficients, mean squared change under the shift, and mean squared residual against α, all "
        "from one factorisation. The bands are about each α's pseudo-true coefficients.",
        draw,
        (7.6, 6.2),
    )


def _readings(errors: pd.DataFrame, pseudo: int, effect: int, total: int) -> Iterator[str]:
    table = errors.set_index("fit")["Euclidean"]

    def shown(name: str) -> str:
        return format_number(float(table[name]), 3)

    yield (
        f"Euclidean nCER: least squares {shown('least squares')}, on shifted data "
        f"{shown('least squares on shifted data')}, published at α = 0.01 {shown(f'{_PUBLISHED}, α = 0.01')}, from "
        f"pairs {shown(f'{_PAIRS}, α = 0.01')}. All of it rests on the invariance, which no data can confirm."
    )
    yield (
        f"Over the small draws {pseudo} of {total} intervals hold the pseudo-true coefficient and {effect} hold the "
        "effect: confounding in directions that nothing shifts is not in the interval."
    )
