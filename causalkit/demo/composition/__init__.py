"""Chapter of the demo on columns that are parts of a whole."""

from __future__ import annotations

from collections.abc import Callable

from threadpoolctl import threadpool_limits

from causalkit.demo.composition import discoveries, networks, nulls, subparts, units, zeros
from causalkit.demo.composition.data import load_count_table, load_whole
from causalkit.demo.content import Chapter, Plan, Section, Settings, Step

__all__ = ["CHAPTER"]


def _prepare(settings: Settings) -> Plan:
    whole, counts = load_whole(), load_count_table(settings.random_state)
    return Plan(
        f"{whole.note} {counts.note}",
        (
            Step("percentages and log-ratios", _one_thread(lambda: networks.section(whole))),
            Step("two null hypotheses", _one_thread(lambda: nulls.section(whole))),
            Step("parts that are left out", _one_thread(lambda: subparts.section(whole))),
            Step("shrinkage and units", _one_thread(lambda: units.section(whole, settings))),
            Step("a count table with zeros", _one_thread(lambda: zeros.section(counts))),
            Step("false discoveries, truth known", _one_thread(lambda: discoveries.section(settings))),
        ),
    )


def _one_thread(run: Callable[[], Section]) -> Callable[[], Section]:
    """Run a step on one thread: threads that share thousands of small products take ten times as long."""

    def limited() -> Section:
        with threadpool_limits(limits=1):
            return run()

    return limited


CHAPTER = Chapter(
    name="composition",
    title="Composition: parts of a whole",
    question="My columns are parts of a whole. Which parts are directly related, and which only look it?",
    prepare=_prepare,
)
