"""Section 3: confounding that is entangled with the signal, where invariance does worse than nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.plotting._axes import COLOURS, tidy
from causalkit.rewards import RewardDeconfounder

__all__ = ["THETA", "draw_log", "section", "true_correlation"]

Array = NDArray[np.float64]

_ROWS, _AUTHORS = 2000, 20
_MOST = 10
# What goes along with big audiences is also what good posts have: b'θ is large.
THETA = np.array([0.8, -0.4, 0.6, 0.0])
_B = np.array([0.8, -0.6, 0.0, 0.0])
_GAMMA = -1.5
_WORDS = {
    "invariance": "uncorrelated with the audience",
    "none": "raw outcomes",
    "outcome_only": "outcome adjusted alone",
    "fixed_effects": "within authors",
}


def draw_log(random_state: int) -> tuple[Array, Array, Array, NDArray[np.intp]]:
    """Features, outcomes, audiences of the rows and codes of their authors; audiences have mean 0 and variance 1."""
    rng = np.random.default_rng(random_state)
    audience = rng.standard_normal(_AUTHORS)
    codes = np.repeat(np.arange(_AUTHORS), _ROWS // _AUTHORS)
    C = ((audience - audience.mean()) / audience.std())[codes]
    X = np.outer(C, _B) + rng.standard_normal((_ROWS, len(_B)))
    return X, X @ THETA + _GAMMA * C + rng.standard_normal(_ROWS), C, codes


def true_correlation(coef: Array) -> float:
    """Correlation of x'coef with the true reward over the posts of the population, Σ_X = bb' + I."""
    covariance = np.outer(_B, _B) + np.eye(len(_B))
    size = np.sqrt((coef @ covariance @ coef) * (THETA @ covariance @ THETA))
    return float(coef @ covariance @ THETA / size)


def section(settings: Settings) -> Section:
    """Correlation of each reward with the true one, over draws."""
    repetitions = min(settings.repetitions, _MOST)
    each: dict[str, list[float]] = {name: [] for name in _WORDS}
    own: list[float] = []
    for draw in range(repetitions):
        X, y, C, codes = draw_log(settings.random_state + draw)
        own.append(float(np.corrcoef(y - _GAMMA * C, C)[0, 1]))
        authors = pd.DataFrame({"author": codes.astype(str)})
        audience = pd.DataFrame({"audience": C})
        for name in _WORDS:
            confounders = audience if name == "invariance" else authors
            fit = RewardDeconfounder(method=name, timing="before").fit(X, y, confounders=confounders)
            each[name].append(true_correlation(fit.coef_))
    table = pd.DataFrame(
        [
            {
                "method": name,
                "what it is": words,
                "correlation": float(np.mean(each[name])),
                "lowest": float(np.min(each[name])),
                "highest": float(np.max(each[name])),
            }
            for name, words in _WORDS.items()
        ]
    )
    return Section(
        title="Entangled confounding",
        text=(
            f"{_AUTHORS} authors. Large audiences bring lower outcomes per post, and go along with the very features "
            "that make a post good. The true reward is then correlated with the audience, and a reward that must not "
            "be has to throw away what is right together with what is wrong."
        ),
        tables=(Table(f"Correlation with the true reward, mean and range of {repetitions} draws", table),),
        figures=(_figure(table),),
        readings=tuple(_readings(table, float(np.mean(own)))),
    )


def _figure(table: pd.DataFrame) -> Figure:
    def draw(canvas: Any) -> None:
        ax = canvas.subplots()
        at = np.arange(len(table))
        colours = [COLOURS["corrected" if name == "fixed_effects" else "naive"] for name in table["method"]]
        ax.barh(at, table["correlation"], height=0.6, color=colours)
        ax.set_yticks(at, [f"{m}\n{w}" for m, w in zip(table["method"], table["what it is"], strict=True)])
        ax.axvline(0, color=COLOURS["data"], lw=0.8)
        ax.set(
            xlim=(min(0.0, float(table["correlation"].min()) - 0.05), 1.02), xlabel="correlation with the true reward"
        )
        ax.invert_yaxis()
        tidy(ax)

    return Figure(
        "rewards-entangled",
        "Correlation of each reward with the true one, over posts of the population. Another alignment of signal and "
        "confounding has other numbers.",
        draw,
        (7.0, 3.6),
    )


def _readings(table: pd.DataFrame, own: float) -> Iterator[str]:
    value = table.set_index("method")["correlation"]
    worse = "worse than doing nothing" if value["invariance"] < value["none"] else "not worse than doing nothing"
    yield (
        f"invariance {value['invariance']:.2f}, none {value['none']:.2f}: {worse}. outcome_only "
        f"{value['outcome_only']:.2f}, fixed_effects {value['fixed_effects']:.3f}."
    )
    yield f"The true adjusted reward has a correlation of {own:.2f} with the audience, and should have it."
