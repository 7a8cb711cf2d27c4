"""Section 5: preference pairs, and a reward function that is called by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causalkit.datasets import make_reward_weekday
from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.demo.terminal import format_number
from causalkit.plotting._axes import COLOURS, tidy
from causalkit.rewards import RewardDeconfounder, as_reward_function, make_preference_pairs

__all__ = ["count_features", "section", "write_posts"]

Array = NDArray[np.float64]

_QUESTIONS = 3000
_POSTS = 600
_TOPICS = ("the budget", "a new bridge", "school meals", "the harbour", "bus lines", "the library", "rents", "parks")
DRAFTS = (
    "What do the parks cost us?",
    "A word on the parks.",
    "THE PARKS!!! Read this now!!!",
    "   ",
)


def count_features(texts: list[str]) -> Array:
    """Words on the log scale, exclamation marks, and whether there is a question: the encoder of this section."""
    return np.array([[np.log1p(len(text.split())), text.count("!"), float("?" in text)] for text in texts])


def write_posts(random_state: int) -> tuple[list[str], Array, pd.DataFrame]:
    """Texts, outcomes and authors; the star shouts more and is read more, and shouting costs 0.2 per mark."""
    rng = np.random.default_rng(random_state)
    star = rng.random(_POSTS) < 0.5
    marks = rng.poisson(np.where(star, 1.5, 0.3))
    asks = rng.random(_POSTS) < 0.4
    words = rng.integers(2, 9, _POSTS)
    texts = [
        ("What about " if ask else "On ")
        + rng.choice(_TOPICS)
        + " today" * int(extra)
        + ("?" if ask else ".")
        + "!" * k
        for ask, k, extra in zip(asks, marks, words, strict=True)
    ]
    y = -0.2 * marks + 0.5 * asks + 1.0 * star + 0.5 * rng.standard_normal(_POSTS)
    return texts, y, pd.DataFrame({"author": np.where(star, "star", "desk")})


def section(settings: Settings) -> Section:
    """Pairs that a weekday wins before and after, and rewards of four drafts."""
    log = make_reward_weekday(_QUESTIONS, random_state=settings.random_state)
    adjusted = RewardDeconfounder(method="fixed_effects").fit(log.X, log.y, confounders=log.confounders)
    days = log.confounders["weekday"].cat
    shares = pd.DataFrame(
        {
            "weekday": days.categories,
            "raw": _won(log.y, days.codes.to_numpy(), log.prompts),
            "raw, theory": log.population["win_share"],
            "adjusted": _won(adjusted.adjusted_reward_, days.codes.to_numpy(), log.prompts),
        }
    )
    texts, y, authors = write_posts(settings.random_state)
    fit = RewardDeconfounder(method="fixed_effects", encoder=count_features).fit(texts, y, confounders=authors)
    raw = RewardDeconfounder(method="none", encoder=count_features).fit(texts, y)
    reward = as_reward_function(fit)
    values = pd.DataFrame(
        {
            "draft": [draft if draft.strip() else "(blank)" for draft in DRAFTS],
            "adjusted": [_shown(value) for value in reward(completions=list(DRAFTS))],
            "raw outcomes": [_shown(value) for value in as_reward_function(raw)(completions=list(DRAFTS))],
        }
    )
    pairs = make_preference_pairs(
        adjusted.adjusted_reward_,
        prompts=log.prompts,
        noise_variance=adjusted.residual_variance_,
        min_z=1.0,
        confounders=log.confounders,
        random_state=0,
    )
    best = reward.select_best([list(DRAFTS)])[0]
    return Section(
        title="Pairs and a reward function",
        text=(
            f"{_QUESTIONS:,} questions with three answers each, rated higher on some weekdays. Pairs of raw ratings "
            "teach a model the weekday; pairs of adjusted rewards do not. Below, short posts by two authors: the star "
            "is read more and shouts more. Exclamation marks lower the outcome, and raw outcomes say that they raise "
            "it. The reward function is what a trainer calls; here it is called by hand."
        ),
        tables=(
            Table("Share of pairs with an answer of another day that each weekday wins", shares),
            Table("Rewards of four drafts", values, "A blank completion has no reward; trainers leave it out."),
        ),
        figures=(_figure(shares),),
        readings=tuple(_readings(shares, pairs, best, (raw.coef_[1], fit.coef_[1]))),
    )


def _won(rewards: Array, day: NDArray[np.integer], prompts: Any) -> Array:
    """Share of pairs of one question and different days that are won by each day."""
    pairs = make_preference_pairs(rewards, prompts=prompts, max_pairs_per_prompt=None)
    chosen, rejected = day[pairs["chosen_row"]], day[pairs["rejected_row"]]
    apart = chosen != rejected
    won, lost = np.bincount(chosen[apart], minlength=7), np.bincount(rejected[apart], minlength=7)
    return np.asarray(won / (won + lost))


def _shown(value: float | None) -> str:
    return "none" if value is None else format_number(value, 3)


def _figure(shares: pd.DataFrame) -> Figure:
    def draw(canvas: Any) -> None:
        ax = canvas.subplots()
        at = np.arange(len(shares))
        ax.plot(at, shares["raw"], "o", ms=6, color=COLOURS["naive"], label="raw ratings")
        ax.plot(at, shares["raw, theory"], "_", ms=18, mew=1.6, color=COLOURS["data"], label="raw, theory")
        ax.plot(at, shares["adjusted"], "o", ms=6, color=COLOURS["corrected"], label="adjusted rewards")
        ax.axhline(0.5, color=COLOURS["data"], lw=0.8, ls=(0, (4, 2)), zorder=0)
        ax.set_xticks(at, [str(name)[:3] for name in shares["weekday"]])
        ax.set(ylabel="share of pairs won")
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
        tidy(ax)

    return Figure("rewards-weekdays", "Share of preference pairs that each weekday wins.", draw, (7.4, 3.6))


def _readings(shares: pd.DataFrame, pairs: pd.DataFrame, best: str, marks: tuple[float, float]) -> Iterator[str]:
    raw, adjusted = shares["raw"].to_list(), shares["adjusted"].to_list()
    yield (
        f"Monday wins {raw[0]:.3f} of its raw pairs and Friday {raw[4]:.3f}; after adjustment {adjusted[0]:.3f} and "
        f"{adjusted[4]:.3f}."
    )
    varies = pairs.attrs["confounder_variation"]["weekday"]
    yield (
        f"The weekday differs within {100 * varies:.0f} % of the questions, so that it does not cancel in pairs. "
        f"{pairs.attrs['kept']:,} of {pairs.attrs['candidates']:,} pairs differ by more than their standard error."
    )
    yield (
        f"An exclamation mark is worth {format_number(marks[0], 2)} in raw outcomes and {format_number(marks[1], 2)} "
        f"within authors (truth −0.2). Best of the four drafts: “{best}”"
    )
