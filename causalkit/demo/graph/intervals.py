"""Section 3: averages with standard errors for independent rows and along the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from causalkit.demo.content import Figure, Section, Table
from causalkit.demo.graph.study import Study
from causalkit.plotting._axes import COLOURS, tidy

__all__ = ["section"]

_DEPENDENCE = {"iid": "SE, independent", "network": "SE, network"}


def section(study: Study) -> Section:
    """Average effect, and averages by subject, with and without dependence along the network."""
    effect, subject = study.sample.effect, study.subject
    subjects = np.unique(subject)
    found = {
        name: [study.network.ate(dependence=name), study.network.gate(subject, dependence=name)] for name in _DEPENDENCE
    }
    table = pd.DataFrame(
        {
            "average over": ["all papers", *(one.replace("_", " ").lower() for one in subjects)],
            "estimate": np.concatenate([part.estimate for part in found["iid"]]),
            "truth": [effect.mean(), *(effect[subject == one].mean() for one in subjects)],
            **{words: np.concatenate([part.std_error for part in found[name]]) for name, words in _DEPENDENCE.items()},
        }
    )
    return Section(
        title="Averages and their standard errors",
        text=(
            "Averages of orthogonal scores, for all papers and by subject. Standard errors allow for no dependence, "
            "or for dependence along citations. Effects are alike between neighbours, so that the second, which is "
            "about a wider population of such papers on this network, exceeds the first. How far dependence is taken "
            f"to reach: for all papers, {found['network'][0].dependence}; by subject, "
            f"{found['network'][1].dependence}."
        ),
        tables=(Table("Average effects", table),),
        figures=(_figure(table),),
        readings=tuple(_readings(table)),
    )


def _figure(table: pd.DataFrame) -> Figure:
    def draw(canvas: Any) -> None:
        ax = canvas.subplots()
        at = np.arange(len(table))
        half = 1.96 * table["SE, network"]
        ax.errorbar(
            table["estimate"], at, xerr=half, fmt="o", ms=5, capsize=3, color=COLOURS["corrected"], label="estimate"
        )
        ax.plot(table["truth"], at, "|", ms=18, mew=1.6, color=COLOURS["accent"], ls="none", label="truth")
        ax.set_yticks(at, list(table["average over"]))
        ax.set(ylim=(len(table) - 0.5, -0.5), xlabel="average effect, 95 % intervals along the network")
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
        tidy(ax)

    return Figure(
        "graph-averages", "Average effects by subject with network-robust intervals, and their truth.", draw, (8.4, 3.8)
    )


def _readings(table: pd.DataFrame) -> Iterator[str]:
    covered = (table["estimate"] - table["truth"]).abs() <= 1.96 * table["SE, network"]
    yield f"{int(covered.sum())} of {len(table)} network-robust intervals contain the average of the true effects."
    ratio = float(table["SE, network"][0] / table["SE, independent"][0])
    yield f"For all papers the network-robust standard error is {ratio:.1f} times that of independent rows."
