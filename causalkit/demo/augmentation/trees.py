"""Section 5: boosted trees for an effect that is not linear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causalkit.augmentation import IVLikeBoostingRegressor
from causalkit.augmentation.augmenters import NullSpaceShift
from causalkit.datasets import make_nonlinear_augmentation
from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.plotting._axes import COLOURS, tidy

__all__ = ["section"]

Array = NDArray[np.float64]

_ROWS = 3000
_PLAIN, _AUGMENTED, _PENALISED = "boosting", "boosting on shifted data (α = ∞)", "with the penalty, α = 0.1"


def section(settings: Settings) -> Section:
    """Errors of four fits, and what two of the features do in them."""
    data = make_nonlinear_augmentation(_ROWS, _ROWS, random_state=settings.random_state)
    shift = NullSpaceShift(data.basis)
    options: dict[str, dict[str, Any]] = {
        _PLAIN: {},
        _AUGMENTED: {"augmentation": shift, "alpha": np.inf},
        "with the penalty, α = 1": {"augmentation": shift, "alpha": 1.0},
        _PENALISED: {"augmentation": shift, "alpha": 0.1},
    }
    fits = {
        name: IVLikeBoostingRegressor(random_state=0, **chosen).fit(data.X, data.y) for name, chosen in options.items()
    }
    table = pd.DataFrame(
        [
            {
                "fit": name,
                "error of the effect": float(
                    np.var(model.predict(data.X_test) - data.effect_test) / data.effect_test.var()
                ),
                "R² of the outcome": float(model.score(data.X_test, data.y_test)),
            }
            for name, model in fits.items()
        ]
    )
    return Section(
        title="An effect that is not linear",
        text=(
            "The outcome is f(x) plus a hidden variable, f = sin(2x₁) + x₃²/2, and the hidden variable also drives x₂, "
            "which does nothing. Adding noise to x₂ leaves the outcome alone. Boosted trees take the same penalty as "
            "the linear fit: what they predict may not change much when x₂ does. In this design all confounding runs "
            "through x₂; confounding through x₁ or x₃ would stay."
        ),
        tables=(
            Table(
                f"Errors on {_ROWS:,} further rows",
                table,
                "error of the effect: variance of the difference to f over the variance of f. Trees come without "
                "standard errors.",
            ),
        ),
        figures=(_figure({name: fits[name] for name in (_PLAIN, _AUGMENTED, _PENALISED)}),),
        readings=tuple(_readings(table)),
    )


def _figure(fits: dict[str, IVLikeBoostingRegressor]) -> Figure:
    grid = np.linspace(-2, 2, 201)
    curves = {name: [_curve(model, feature, grid) for feature in (1, 0)] for name, model in fits.items()}
    styles = {_PLAIN: ("naive", "-"), _AUGMENTED: ("accent", "--"), _PENALISED: ("corrected", "-")}

    def draw(canvas: Any) -> None:
        axes = canvas.subplots(1, 2, sharey=True)
        for ax, place, feature, truth in zip(
            axes, (0, 1), ("x₂", "x₁"), (np.zeros_like(grid), np.sin(2 * grid)), strict=True
        ):
            ax.plot(grid, truth, color=COLOURS["data"], ls=":", lw=2, label="truth")
            for name, lines in curves.items():
                colour, style = styles[name]
                ax.plot(grid, lines[place], color=COLOURS[colour], ls=style, lw=1.5, label=name)
            ax.set(xlabel=f"{feature}, the others at 0")
            tidy(ax)
        axes[0].set_ylabel("prediction, less its mean")
        canvas.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)

    return Figure(
        "augmentation-trees",
        "What the fits say about x₂, which does nothing, and about x₁. The curves are less their means: a constant is "
        "not identified.",
        draw,
        (9.2, 4.2),
    )


def _curve(model: IVLikeBoostingRegressor, feature: int, grid: Array) -> Array:
    X = np.zeros((len(grid), 3))
    X[:, feature] = grid
    predicted = model.predict(X)
    return np.asarray(predicted - predicted.mean())


def _readings(table: pd.DataFrame) -> Iterator[str]:
    by_fit = table.set_index("fit")
    error, score = by_fit["error of the effect"], by_fit["R² of the outcome"]
    yield (
        f"Error of the effect: {error[_PLAIN]:.2f} for boosting, {error[_AUGMENTED]:.2f} on shifted data, "
        f"{error[_PENALISED]:.2f} with the penalty at α = 0.1."
    )
    yield (
        f"The outcome itself is predicted best by {score.idxmax()} (R² {score.max():.2f} against "
        f"{score[_PENALISED]:.2f}): the hidden variable helps to predict. A score on held-out rows cannot choose α."
    )
