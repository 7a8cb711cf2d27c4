"""Section 2: α as distrust, with an invariance that is more and more wrong, and without any confounding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causalkit.augmentation import IVLikeRegressor, normalized_causal_excess_risk
from causalkit.augmentation.augmenters import NullSpaceShift
from causalkit.datasets import make_linear_augmentation
from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.plotting._axes import COLOURS, tidy

__all__ = ["section"]

Array = NDArray[np.float64]

_MOST = 10
_ROWS, _FEATURES = 1024, 32
_VIOLATIONS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
_CONTROL = (0.0, 0.3, 1.0)
_PLAIN = "least squares"
_ALPHAS = {"α = ∞": np.inf, "α = 1": 1.0, "α = 0.1": 0.1, "α = 0.001": 0.001}
_LOWEST = "α = 0.001"


def section(settings: Settings) -> Section:
    """Mean errors against the size of the violation, with and without confounding."""
    repetitions = min(settings.repetitions, _MOST)
    swept = _sweep(_VIOLATIONS, 1.0, settings.random_state, repetitions)
    control = _sweep(_CONTROL, 0.0, settings.random_state, repetitions)
    return Section(
        title="Distrust, and what a false invariance costs",
        text=(
            "An invariance is a claim. Here the effect gets a part of size δ times its length along the shifted "
            "directions, so that the shift does change the outcome. Nothing in the data shows this: the drawn shift is "
            "independent of the outcome whatever the effect is. A small α trusts the invariance and pays for its "
            "being wrong; α = ∞ is least squares on shifted data."
        ),
        tables=(
            Table(
                f"nCER, Euclidean, mean of {repetitions} draws, with confounding",
                swept,
                "The effect grows with δ, so that the same error of least squares becomes a smaller share of it.",
            ),
            Table(
                f"The same without confounding, mean of {repetitions} draws",
                control,
                "A negative control: least squares is right here, up to sampling error.",
            ),
        ),
        figures=(_figure(swept),),
        readings=tuple(_readings(swept, control)),
    )


def _sweep(violations: tuple[float, ...], confounding: float, random_state: int, repetitions: int) -> pd.DataFrame:
    rows = []
    for delta in violations:
        errors = np.mean(
            [_errors(delta, confounding, random_state + draw) for draw in range(repetitions)],
            axis=0,
        )
        rows.append({"δ": delta} | dict(zip((_PLAIN, *_ALPHAS), errors.tolist(), strict=True)))
    return pd.DataFrame(rows)


def _errors(delta: float, confounding: float, seed: int) -> Array:
    """NCER of least squares and of the fit from pairs at each alpha."""
    data = make_linear_augmentation(_ROWS, _FEATURES, confounding=confounding, violation=delta, random_state=seed)
    pairs = IVLikeRegressor(augmentation=NullSpaceShift(data.basis), random_state=0).fit(data.X, data.y)
    plain = IVLikeRegressor().fit(data.X, data.y)
    coef = np.vstack([plain.coef_, pairs.path(list(_ALPHAS.values())).coef])
    return np.asarray(normalized_causal_excess_risk(coef, data.coef, norm="euclidean"))


def _figure(swept: pd.DataFrame) -> Figure:
    styles = {
        _PLAIN: ("data", ":"),
        "α = ∞": ("naive", "--"),
        "α = 1": ("accent", "-."),
        "α = 0.1": ("accent", "-"),
        _LOWEST: ("corrected", "-"),
    }

    def draw(canvas: Any) -> None:
        ax = canvas.subplots()
        for name, (colour, style) in styles.items():
            ax.plot(swept["δ"], swept[name], color=COLOURS[colour], ls=style, lw=1.8, label=name)
        ax.set(xlabel="δ, size of the violation relative to the effect", ylabel="nCER, Euclidean", ylim=(0, None))
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
        tidy(ax)

    return Figure(
        "augmentation-distrust",
        "Mean error against the size of the violation. Where the lines cross depends on how strong the confounding is.",
        draw,
        (7.4, 4.0),
    )


def _readings(swept: pd.DataFrame, control: pd.DataFrame) -> Iterator[str]:
    exact, worst = swept.iloc[0], swept.iloc[-1]
    yield (
        f"Exact invariance: {exact[_LOWEST]:.3f} at α = 0.001, {exact['α = 0.1']:.3f} at 0.1, {exact['α = ∞']:.3f} at "
        f"∞, least squares {exact[_PLAIN]:.3f}. At δ = {worst['δ']:g}: {worst[_LOWEST]:.3f}, {worst['α = 0.1']:.3f}, "
        f"{worst['α = ∞']:.3f} and {worst[_PLAIN]:.3f}."
    )
    yield (
        "In this sweep α = 0.001 "
        + ", ".join(
            f"is worse than {words} {_since(swept, rival)}"
            for rival, words in (("α = 0.1", "α = 0.1"), ("α = ∞", "α = ∞"), (_PLAIN, "plain least squares"))
        )
        + "."
    )
    last = control.iloc[-1]
    yield (
        f"Without confounding least squares has an nCER of {last[_PLAIN]:.1g}, and a false invariance "
        f"(δ = {last['δ']:g}) takes α = 0.001 to {last[_LOWEST]:.3f}: all of that error comes from the augmentation."
    )


def _since(swept: pd.DataFrame, rival: str) -> str:
    lost = swept.loc[swept[_LOWEST] > swept[rival], "δ"]
    return f"from δ = {lost.iloc[0]:g} on" if len(lost) else "nowhere"
