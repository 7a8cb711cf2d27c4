"""Section 1: three naive rewards and the adjusted one where all of them have a closed form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

from causalkit.datasets import RewardSample, make_reward_linear
from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.demo.terminal import format_number
from causalkit.plotting import RewardComparisonDisplay
from causalkit.rewards import RewardDeconfounder, compare_rewards

__all__ = ["METHODS", "section"]

_ROWS = 4000
METHODS = ("none", "invariance", "outcome_only", "partially_linear")


def _models(log: RewardSample) -> dict[str, RewardDeconfounder]:
    """One estimator per method; the relations of this design are lines, and so are the nuisance models."""
    line = LinearRegression()
    return {
        name: RewardDeconfounder(method=name, outcome_model=line, treatment_model=line, timing="before", random_state=0)
        for name in METHODS
    }


def section(settings: Settings) -> Section:
    """Coefficients, ranking of held-out content, and correlation with the confounder."""
    log = make_reward_linear(_ROWS, random_state=settings.random_state)
    models = _models(log)
    compared = compare_rewards(
        log.X, log.y, confounders=log.confounders, methods=models, truth=log.reward, random_state=0
    )
    popularity = log.confounders["popularity"].to_numpy()
    ranked = compared[["pair_accuracy", "uplift_8"]].to_numpy(dtype=float)
    rows = []
    for (name, model), (accuracy, uplift) in zip(models.items(), ranked.tolist(), strict=True):
        model.fit(log.X, log.y, confounders=log.confounders)
        rows.append(
            {
                "method": name,
                **{f"θ{j + 1}": float(value) for j, value in enumerate(model.coef_)},
                "pair accuracy": accuracy,
                "best of 8": uplift,
                "corr. with popularity": float(np.corrcoef(model.adjusted_reward_, popularity)[0, 1]),
            }
        )
    table = pd.DataFrame(rows)
    return Section(
        title="Three naive rewards",
        text=(
            f"{_ROWS:,} posts with four features. The popularity of the author moves the outcome (by 2 per unit), and "
            "popular authors write differently. The true reward has the coefficients 1, 0.5, −0.75 and 0. Regressing "
            "raw outcomes (none) credits the text with popularity; a reward forced to be uncorrelated with popularity "
            "(invariance) loses what popular authors do well; subtracting the mean outcome at each popularity and "
            "regressing on the raw features (outcome_only) shrinks exactly the confounded directions. Residuals on "
            "both sides (partially_linear) are right."
        ),
        tables=(
            Table(
                "Coefficients of the reward, ranking of held-out posts, and the adjusted reward's correlation with "
                "popularity",
                table,
                "Best of 8: mean gain in true reward from choosing the best of eight posts by the reward.",
            ),
        ),
        figures=(_figure(compared),),
        readings=tuple(_readings(table, log)),
    )


def _figure(compared: pd.DataFrame) -> Figure:
    def draw(canvas: Any) -> None:
        RewardComparisonDisplay.from_result(compared, ax=canvas.subplots())

    return Figure(
        "rewards-baselines",
        "Share of pairs of held-out posts that each reward orders as the true reward does.",
        draw,
        (7.4, 3.2),
    )


def _readings(table: pd.DataFrame, log: RewardSample) -> Iterator[str]:
    second: dict[str, float] = dict(zip(table["method"], table["θ2"], strict=True))
    limits = {name: format_number(float(log.population[name][1]), 2) for name in second}
    yield (
        f"Feature 2, whose true coefficient is 0.5: none {format_number(second['none'], 2)} (limit {limits['none']}, "
        f"the wrong sign), invariance {second['invariance']:.2f} ({limits['invariance']}), outcome_only "
        f"{second['outcome_only']:.2f} ({limits['outcome_only']}), partially_linear {second['partially_linear']:.2f}."
    )
    right = float(table["corr. with popularity"].iloc[-1])
    yield (
        f"The right adjusted reward correlates with popularity, by {right:.2f} (limit {2 / 7:.2f}): popular authors "
        "write somewhat better posts here. A correlation of zero, as outcome_only has, is a symptom, not a goal."
    )
