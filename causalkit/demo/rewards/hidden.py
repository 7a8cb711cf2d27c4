"""Section 4: what a confounder that was not measured could do, to a coefficient and to a pair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from causalkit.datasets import make_reward_groups, make_reward_linear
from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.demo.terminal import format_number
from causalkit.plotting import OverlapDisplay, SensitivityContourDisplay
from causalkit.rewards import RewardDeconfounder

__all__ = ["section"]

_ROWS = 4000
# What popularity explains in this design: 2/3 of the residual outcome variance, and these shares per feature.
_CF_Y, _CF_D = 2 / 3, (0.32, 0.18)


def section(settings: Settings) -> Section:
    """A wrong sign that is fragile, and a pair of drafts that is not."""
    log = make_reward_linear(_ROWS, random_state=settings.random_state)
    # The confounder is left out on purpose: this is the log of somebody who did not measure popularity.
    blind = RewardDeconfounder(method="none").fit(log.X, log.y)
    found = blind.sensitivity()
    table = pd.DataFrame(
        {
            "feature": np.arange(1, len(found) + 1),
            "estimate": found["estimate"].to_numpy(),
            "truth": log.theta,
            "robustness value": found["rv"].to_numpy(),
            "at 5 %": found["rv_alpha"].to_numpy(),
            "sign survives 0.03, 0.03": found["robust"].to_numpy(),
        }
    )
    bounds = [float(blind.sensitivity(cf_y=_CF_Y, cf_d=cf_d)["bound"].iloc[j]) for j, cf_d in enumerate(_CF_D)]

    groups = make_reward_groups(random_state=settings.random_state)
    fit = RewardDeconfounder(method="fixed_effects").fit(groups.X, groups.y, confounders=groups.confounders)
    drafts = np.array([[0.6, 0.4, -0.2, 0.0], [0.3, 0.2, 0.1, 0.5]])
    pair = fit.sensitivity(X_first=drafts[:1], X_second=drafts[1:]).iloc[0]
    return Section(
        title="What was not measured",
        text=(
            "No statistic finds a confounder that is not in the log. What can be said is how strong it would have to "
            "be: cf_y is the share of the residual outcome variance that it explains, cf_d the share of what is left "
            "of the text. The robustness value is the strength, equal on both sides, at which the sign can turn. First "
            "the posts of section 1 with popularity hidden from the fit; then two drafts compared within authors."
        ),
        tables=(Table("Raw outcomes, popularity hidden", table),),
        figures=tuple(_figures(fit, drafts)),
        readings=tuple(_readings(table, bounds, pair, float((drafts[0] - drafts[1]) @ groups.theta))),
    )


def _figures(fit: Any, drafts: Any) -> Iterator[Figure]:
    def contours(canvas: Any) -> None:
        SensitivityContourDisplay.from_estimator(fit, X_first=drafts[:1], X_second=drafts[1:], ax=canvas.subplots())

    def overlap(canvas: Any) -> None:
        OverlapDisplay.from_estimator(fit, ax=canvas.subplots(1, 2))

    yield Figure(
        "rewards-sensitivity",
        "Two drafts: the largest bias of their difference, by the strength of an unmeasured confounder.",
        contours,
        (7.2, 4.6),
    )
    yield Figure(
        "rewards-overlap",
        "What authors leave of the features. A direction with a share near zero would have no reward of its own.",
        overlap,
        (9.2, 3.8),
    )


def _readings(table: pd.DataFrame, bounds: list[float], pair: Any, truth: float) -> Iterator[str]:
    second = table.iloc[1]
    yield (
        f"Feature 2 has the estimate {format_number(float(second['estimate']), 2)} (truth {second['truth']:g}) and a "
        f"robustness value of {second['robustness value']:.2f}: a confounder of that strength could turn its sign, and "
        f"popularity, with 0.67 and {_CF_D[1]:g}, did. Feature 1 would need {table.iloc[0]['robustness value']:.2f}."
    )
    yield (
        f"At the true strengths the bound is {bounds[0]:.2f} for feature 1 and {bounds[1]:.2f} for feature 2; the "
        "biases are 0.80 and 0.60."
    )
    yield (
        f"Draft 1 less draft 2, within authors: {pair['estimate']:.3f} (standard error {pair['se']:.3f}, truth "
        f"{truth:.3f}), robustness value {pair['rv']:.2f}."
    )
