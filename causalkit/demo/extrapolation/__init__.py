"""Chapter of the demo on interventions beyond the data."""

from __future__ import annotations

from causalkit.demo.content import Chapter, Plan, Settings, Step
from causalkit.demo.extrapolation import curve, judging, reach, refusals
from causalkit.demo.extrapolation.study import Study

__all__ = ["CHAPTER"]


def _prepare(settings: Settings) -> Plan:
    study = Study(settings.random_state)
    return Plan(
        "Simulated: one dose between -1 and 1, one hidden variable that it moves, ten features that are a bent "
        "function of the hidden variable, and an outcome that shares noise with them. The true curve is known.",
        (
            Step("a dose curve beyond the doses", lambda: curve.section(study)),
            Step("how far the data reach", lambda: reach.section(study)),
            Step("what the tests can see", lambda: judging.section(study)),
            Step("actions that say nothing", lambda: refusals.section(study)),
        ),
    )


CHAPTER = Chapter(
    name="extrapolation",
    title="Extrapolation: interventions beyond the data",
    question="What happens under an intervention stronger than any that I have seen, and when can nobody know?",
    prepare=_prepare,
)
