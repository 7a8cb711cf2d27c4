"""Chapter of the demo on rewards of logged content."""

from __future__ import annotations

from causalkit.demo.content import Chapter, Plan, Settings, Step
from causalkit.demo.rewards import baselines, drafts, entangled, groups, hidden

__all__ = ["CHAPTER"]


def _prepare(settings: Settings) -> Plan:
    return Plan(
        "Simulated logs of published content, so that the true reward is known. Features stand for an embedding of the "
        "text.",
        (
            Step("three naive rewards", lambda: baselines.section(settings)),
            Step("a confounder of many levels", lambda: groups.section(settings)),
            Step("entangled confounding", lambda: entangled.section(settings)),
            Step("what was not measured", lambda: hidden.section(settings)),
            Step("pairs and a reward function", lambda: drafts.section(settings)),
        ),
    )


CHAPTER = Chapter(
    name="rewards",
    title="Rewards: what logged content is worth",
    question=(
        "I have logged content, its outcomes, and what else moved the outcomes. What reward should I rank drafts or "
        "train a model with?"
    ),
    prepare=_prepare,
)
