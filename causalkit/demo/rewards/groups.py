"""Section 2: a confounder of many levels, within which a sign flips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from causalkit.datasets import RewardSample, make_reward_groups
from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.demo.terminal import format_number
from causalkit.plotting._axes import COLOURS, tidy
from causalkit.rewards import RewardDeconfounder

__all__ = ["section"]

_AUTHORS, _POSTS = 400, 10
_METHODS = ("none", "outcome_only", "fixed_effects", "mundlak")


def section(settings: Settings) -> Section:
    """Coefficients between and within authors, and the effects of authors."""
    log = make_reward_groups(_AUTHORS, _POSTS, random_state=settings.random_state)
    fits = {
        name: RewardDeconfounder(method=name).fit(log.X, log.y, confounders=log.confounders)
        for name in (*_METHODS, "mixed")
    }
    table = pd.DataFrame(
        [
            {"method": name}
            | {f"θ{j + 1}": float(value) for j, value in enumerate(fits[name].coef_)}
            | {"SE of θ2": float(np.sqrt(fits[name].covariance_[1, 1]))}
            for name in _METHODS
        ]
    )
    effects = _effects_table(fits, log)
    return Section(
        title="A confounder of many levels",
        text=(
            f"{_AUTHORS} authors with {_POSTS} posts each. Each author has an audience of their own, which moves the "
            "outcome and goes along with how they write. Fixed effects compare posts of the same author; the "
            "regression with the authors' mean texts (mundlak) has the same coefficients, and gives authors who were "
            "never seen an effect as well."
        ),
        tables=(
            Table("Coefficients; the truth is 1, 0.5, −0.75, 0", table),
            Table(
                "Effects of authors: root mean squared error about the truth",
                effects,
                "Shrinkage helps the effects of authors. It does not touch the coefficients of the text.",
            ),
        ),
        figures=(_figure(fits, log),),
        readings=tuple(_readings(table)),
    )


def _effects_table(fits: dict[str, Any], log: RewardSample) -> pd.DataFrame:
    """Errors of level effects; a common constant is no error."""
    authors = log.confounders["author"]
    truth = pd.Series(log.confounder_effect).groupby(authors.to_numpy()).first()
    rows = []
    for name in ("fixed_effects", "mixed", "mundlak"):
        effect = fits[name].level_effects_.set_index("level")["effect"]
        error = (effect - truth.loc[effect.index]).to_numpy(dtype=float)
        rows.append({"method": name, "error": float(np.sqrt(np.mean((error - error.mean()) ** 2)))})
    return pd.DataFrame(rows)


def _figure(fits: dict[str, Any], log: RewardSample) -> Figure:
    shown = {"none": ("naive", 0.22), "outcome_only": ("accent", 0.0), "fixed_effects": ("corrected", -0.22)}

    def draw(canvas: Any) -> None:
        ax = canvas.subplots()
        at = np.arange(len(log.theta))
        for name, (colour, shift) in shown.items():
            half = 1.96 * np.sqrt(np.diag(fits[name].covariance_))
            ax.errorbar(
                fits[name].coef_, at - shift, xerr=half, fmt="o", ms=5, color=COLOURS[colour], capsize=2, label=name
            )
        ax.plot(log.theta, at, "|", ms=34, mew=1.4, color=COLOURS["data"], label="truth")
        ax.axvline(0, color=COLOURS["data"], lw=0.8, zorder=0)
        ax.set_yticks(at, [f"θ{j + 1}" for j in at])
        ax.set(ylim=(len(at) - 0.5, -0.5), xlabel="coefficient, 95 % intervals")
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
        tidy(ax)

    return Figure(
        "rewards-groups",
        "Coefficients with 95 % intervals and their true values: raw outcomes turn the sign of the second.",
        draw,
        (7.4, 3.6),
    )


def _readings(table: pd.DataFrame) -> Iterator[str]:
    by = table.set_index("method")
    attenuated = float(by["θ1"]["outcome_only"])
    raw, within = (float(by["θ2"][name]) for name in ("none", "fixed_effects"))
    turned = "the sign turns" if raw * within < 0 else "no sign turns in this draw"
    yield (
        f"Feature 2: {format_number(raw, 2)} from raw outcomes, {format_number(within, 2)} within authors (truth 0.5): "
        f"{turned}."
    )
    within_rows = by.loc[["fixed_effects", "mundlak"]].iloc[:, :4].to_numpy(dtype=float)
    agree = np.allclose(within_rows[0], within_rows[1], rtol=0, atol=1e-8)
    yield f"fixed_effects and mundlak have {'the same' if agree else 'other'} coefficients."
    yield (
        f"outcome_only has {attenuated:.2f} for feature 1 (truth 1): it took the authors out "
        "of the outcome and left them in the text."
    )
