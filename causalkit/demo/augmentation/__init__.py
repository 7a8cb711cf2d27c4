"""Chapter of the demo on transformations that leave the outcome alone."""

from __future__ import annotations

from causalkit.demo.augmentation import digits, directions, distrust, instruments, simulation, trees
from causalkit.demo.augmentation.small_design import draw_small_design
from causalkit.demo.content import Chapter, Plan, Settings, Step

__all__ = ["CHAPTER"]


def _prepare(settings: Settings) -> Plan:
    small = draw_small_design(settings.random_state)
    return Plan(
        "Simulated data, so that the effect is known; the 1,797 images of digits that come with scikit-learn, coloured "
        "for this chapter; and quarterly series of the United States, 1959 to 2009, that come with statsmodels.",
        (
            Step("simulation with a known effect", lambda: simulation.section(small, settings)),
            Step("distrust in the invariance", lambda: distrust.section(settings)),
            Step("moved and untouched directions", lambda: directions.section(small)),
            Step("coloured digits", lambda: digits.section(settings)),
            Step("an effect that is not linear", lambda: trees.section(settings)),
            Step("real instruments", lambda: instruments.section(small)),
        ),
    )


CHAPTER = Chapter(
    name="augmentation",
    title="Augmentation: transformations that leave the outcome alone",
    question=(
        "I know a transformation that leaves the outcome alone, and something hidden moves both features and outcome. "
        "What is that knowledge worth, and what is it not?"
    ),
    prepare=_prepare,
)
