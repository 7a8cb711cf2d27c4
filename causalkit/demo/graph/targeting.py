"""Section 4: whether predicted differences exist, and what a budget gains by them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from causalkit.demo.content import Figure, Section, Table
from causalkit.demo.graph.study import Study
from causalkit.plotting import OverlapDisplay, TOCDisplay
from causalkit.selection import targeting_policy

__all__ = ["section"]

_BUDGET, _COST = 0.2, 2.0


def section(study: Study) -> Section:
    """Targeting curves of both learners, and the value of treating a fifth."""
    truth = study.sample.effect
    network, own = study.network, study.own
    curves = {"with the neighbours'": network.toc(), "own covariates": network.toc(own.effect_)}
    rows = []
    for name, effect in (("with the neighbours'", network.effect_), ("own covariates", own.effect_)):
        policy = targeting_policy(effect, _BUDGET, cost=_COST)
        value = network.policy_value(policy, cost=_COST)
        rows.append(
            {
                "ranking": name,
                "value": float(value.estimate[0]),
                "standard error": float(value.std_error[0]),
                "true value": float(np.mean(policy * (truth - _COST))),
            }
        )
    best = targeting_policy(truth, _BUDGET, cost=_COST)
    rows.append(
        {
            "ranking": "true effects",
            "value": np.nan,
            "standard error": np.nan,
            "true value": float(np.mean(best * (truth - _COST))),
        }
    )
    table = pd.DataFrame(rows)
    return Section(
        title="Whom to treat",
        text=(
            "The curve shows how much larger the average effect is among the papers with the largest predictions than "
            f"among all. The table treats the best {_BUDGET:.0%} at a cost of {_COST:g} each; values are per paper of "
            "the whole network. Overlap decides where any of this can be trusted: it is shown by degree."
        ),
        tables=(Table(f"Value of treating {_BUDGET:.0%}", table),),
        figures=(_curves(curves), _overlap(network)),
        readings=tuple(_readings(table, curves)),
    )


def _curves(curves: dict[str, Any]) -> Figure:
    def draw(canvas: Any) -> None:
        TOCDisplay.from_result(curves, ax=canvas.subplots())

    return Figure(
        "graph-targeting",
        "Targeting curves with 95 % bands, of effects with the neighbours' covariates and of effects from own ones.",
        draw,
    )


def _overlap(learner: Any) -> Figure:
    def draw(canvas: Any) -> None:
        OverlapDisplay.from_estimator(learner, ax=canvas.subplots(1, 2))

    return Figure(
        "graph-overlap", "Probabilities of treatment by arm, and overlap by number of citations.", draw, (10.4, 4.1)
    )


def _readings(table: pd.DataFrame, curves: dict[str, Any]) -> Iterator[str]:
    first, second = (curve.autoc for curve in curves.values())
    yield f"Area under the targeting curve: {first:.2f} with the network, {second:.2f} with own covariates."
    value, error, true = (float(table[name][0]) for name in ("value", "standard error", "true value"))
    best = float(table["true value"].iloc[-1])
    yield (
        f"Estimated value {value:.3f} (standard error {error:.3f}); in truth the ranking earns {true:.3f}, which is "
        f"{true / best:.0%} of what a ranking by the true effects would."
    )
