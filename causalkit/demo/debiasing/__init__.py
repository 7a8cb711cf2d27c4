"""Chapter of the demo on predictions as outcomes."""

from __future__ import annotations

from causalkit.demo.content import Chapter, Plan, Settings, Step
from causalkit.demo.debiasing import exclusion, labels, mixture, regression, sites, tilted, two_slopes
from causalkit.demo.debiasing.real_map import load_real_map

__all__ = ["CHAPTER"]


def _prepare(settings: Settings) -> Plan:
    data = load_real_map(settings.income_map, settings.random_state)
    return Plan(
        data.note,
        (
            Step("a map and its two slopes", lambda: two_slopes.section(data)),
            Step("a map with several modes, truth known", lambda: mixture.section(settings)),
            Step("real errors, exclusion enforced", lambda: tilted.section(data, settings)),
            Step("where exclusion fails", lambda: exclusion.section(data)),
            Step("the regression table", lambda: regression.section(data, settings)),
            Step("sites and transport", lambda: sites.section(data, settings)),
            Step("labels in the trial", lambda: labels.section(data, settings)),
        ),
    )


CHAPTER = Chapter(
    name="debiasing",
    title="Debiasing: predictions as outcomes",
    question=(
        "My outcome is a model's prediction. What is the treatment effect on the real thing, and how sure can I be?"
    ),
    prepare=_prepare,
)
