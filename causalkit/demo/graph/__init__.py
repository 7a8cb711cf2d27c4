"""Chapter of the demo on effects on networks."""

from __future__ import annotations

from causalkit.demo.content import Chapter, Plan, Settings, Step
from causalkit.demo.graph import effect_map, intervals, neighbours, spillover, targeting
from causalkit.demo.graph.study import Study

__all__ = ["CHAPTER"]


def _prepare(settings: Settings) -> Plan:
    study = Study(settings.random_state)
    return Plan(
        "Semi-synthetic: the network is real, 2,708 papers on machine learning (Cora) with their citations and ten "
        "components of their words; treatment and outcome are simulated on it, so that the effect of every paper is "
        "known. The last step is a simulated town.",
        (
            Step("what own covariates miss", lambda: neighbours.section(study)),
            Step("effects on the map", lambda: effect_map.section(study)),
            Step("averages and their standard errors", lambda: intervals.section(study)),
            Step("whom to treat", lambda: targeting.section(study)),
            Step("treatments that reach the neighbours", lambda: spillover.section(settings)),
        ),
    )


CHAPTER = Chapter(
    name="graph",
    title="Graph: effects on networks",
    question=(
        "My units are nodes of a network. For whom does the treatment work, how sure am I, and does my neighbour's "
        "treatment reach me?"
    ),
    prepare=_prepare,
)
