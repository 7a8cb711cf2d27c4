"""Section 5: own treatment and the neighbours', apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from causalkit.datasets import GraphSample, make_graph_uptake
from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.graph import Graph, SpilloverRLearner
from causalkit.linear import weighted_least_squares
from causalkit.plotting._axes import COLOURS, tidy

__all__ = ["section"]

_HOMES = 1500
_TRUTH = {"direct": -2.0, "spillover": -0.5}


def section(settings: Settings) -> Section:
    """Three estimates of the direct effect and of the spillover per treated neighbour."""
    town = make_graph_uptake(_HOMES, random_state=settings.random_state)
    graph = Graph.from_scipy(town.adjacency)
    squares = PolynomialFeatures(2, include_bias=False)
    learner = SpilloverRLearner(
        exposure="count",
        outcome_model=make_pipeline(squares, StandardScaler(), RidgeCV(np.logspace(0, 4, 9))),
        treatment_model=make_pipeline(squares, StandardScaler(), LogisticRegression(C=0.01, max_iter=500)),
        final_model="constant",
        random_state=settings.random_state,
    )
    learner.fit(town.X, town.y, treatment=town.treatment, graph=graph)
    total = learner.ate(effect="total")
    table = pd.DataFrame(
        [
            {"method": "no covariates", **_regression(town, [])},
            {"method": "own covariates", **_regression(town, [town.X, np.square(town.X[:, :1])])},
            {"method": "SpilloverRLearner", **_learned(learner)},
        ]
    )
    true_total = -2.0 - 0.5 * float(np.asarray(graph.degree).mean())
    return Section(
        title="Treatments that reach the neighbours",
        text=(
            f"A simulated town of {_HOMES:,} homes, linked to those close by. Uptake lowers the days of illness by 2 "
            "at home and by .5 in each neighbouring home. Attitudes cluster, and those of the neighbours confound both "
            "effects. Nuisances are ridge and logistic regressions with squares."
        ),
        tables=(Table("Direct effect (truth −2) and spillover per treated neighbour (truth −0.5)", table),),
        figures=(_figure(table),),
        readings=tuple(_readings(table, total, true_total)),
    )


def _regression(town: GraphSample, columns: list[Any]) -> dict[str, float]:
    exposure = np.asarray(town.exposure)
    design = np.column_stack([np.ones(len(town.y)), town.treatment, exposure, *columns])
    fit = weighted_least_squares(design, town.y)
    error = np.sqrt(np.diag(fit.covariance()))
    return _row(fit.coef[1:3], error[1:3])


def _learned(learner: Any) -> dict[str, float]:
    parts = [learner.ate(effect=name) for name in _TRUTH]
    return _row([part.estimate[0] for part in parts], [part.std_error[0] for part in parts])


def _row(values: Any, errors: Any) -> dict[str, float]:
    return {
        "direct": float(values[0]),
        "its SE": float(errors[0]),
        "spillover": float(values[1]),
        "SE of it": float(errors[1]),
    }


def _figure(table: pd.DataFrame) -> Figure:
    def draw(canvas: Any) -> None:
        at = np.arange(len(table))
        panels = canvas.subplots(1, 2, sharey=True)
        for ax, name, error in zip(panels, _TRUTH, ("its SE", "SE of it"), strict=True):
            for row in at:
                colour = COLOURS["corrected" if row == len(table) - 1 else "naive"]
                ax.errorbar(
                    table[name][row], row, xerr=1.96 * table[error][row], fmt="o", ms=5, capsize=3, color=colour
                )
            ax.axvline(_TRUTH[name], color=COLOURS["data"], lw=1, zorder=0)
            ax.set(xlabel=f"{name}, 95 % intervals", ylim=(len(table) - 0.5, -0.5))
            tidy(ax)
        panels[0].set_yticks(at, list(table["method"]))

    return Figure(
        "graph-spillover", "Direct effect and spillover with 95 % intervals; lines are the truth.", draw, (9.0, 2.8)
    )


def _readings(table: pd.DataFrame, total: Any, true_total: float) -> Iterator[str]:
    covered = [
        abs(float(table[name].iloc[-1]) - _TRUTH[name]) <= 1.96 * float(table[error].iloc[-1])
        for name, error in zip(_TRUTH, ("its SE", "SE of it"), strict=True)
    ]
    yield f"The learner's intervals contain the truth for {sum(covered)} of 2 effects."
    interval = total.conf_int().iloc[0]
    yield (
        f"Everybody against nobody: {float(total.estimate[0]):.2f} [{float(interval['lower']):.2f}, "
        f"{float(interval['upper']):.2f}], truth {true_total:.2f}."
    ).replace("-", "−")
