"""Section 1: confounding in the neighbours' covariates, and the test that finds it without a truth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from causalkit.demo.content import Section, Table
from causalkit.demo.graph.study import Study
from causalkit.graph import HopFeatures
from causalkit.inference import covariate_association

__all__ = ["section"]

_NAMES = {"own": "own covariates", "graph": "with the neighbours'"}


def section(study: Study) -> Section:
    """The same learner with and without the network, and its residuals against neighbours' means."""
    near = _neighbour_means(study)
    rows, where = [], {}
    for kind, learner in (("own", study.own), ("graph", study.network)):
        found = {
            "outcome": covariate_association(learner.outcome_residual_, near),
            "treatment": covariate_association(learner.treatment_residual_, near),
        }
        where[kind] = found
        average = learner.ate()
        rows.append(
            {
                "the learner sees": _NAMES[kind],
                "average effect": float(average.estimate[0]),
                "standard error": float(average.std_error[0]),
                "error of effects / Var": study.relative_error(learner),
                "test, outcome": found["outcome"].statistic,
                "test, treatment": found["treatment"].statistic,
            }
        )
    table = pd.DataFrame(rows)
    return Section(
        title="What own covariates miss",
        text=(
            f"{study.graph.n_nodes:,} papers, {study.graph.n_edges:,} citations. What the neighbours are about moves "
            "the chance of treatment, the outcome and the effect. The same learner is fitted twice: on own covariates, "
            "and with averages over neighbours one and two citations away. Residuals of adequate nuisance models go "
            "with no covariate; the test is the largest √n·|correlation| with a neighbours' mean, up to 3 by chance."
        ),
        tables=(
            Table(
                f"With and without the network; the true average effect is {study.sample.effect.mean():.3f}",
                table,
                "Error of effects: mean squared error of out-of-fold effects over their variance; a constant has 1.",
            ),
        ),
        readings=tuple(_readings(table, where)),
    )


def _neighbour_means(study: Study) -> pd.DataFrame:
    hop = HopFeatures(hops=1, operators=("mean",), include_own=False, include_degree=False)
    values = hop.fit_transform(study.sample.X, graph=study.graph, nodes=study.graph.nodes)
    return pd.DataFrame(np.asarray(values, dtype=float), columns=hop.get_feature_names_out())


def _readings(table: pd.DataFrame, where: dict[str, dict[str, Any]]) -> Iterator[str]:
    own, graph = (table.iloc[row] for row in (0, 1))
    names = {found.column for found in where["own"].values()}
    yield (
        f"Nobody needs the truth to see it: residuals of own covariates reach {own['test, outcome']:.0f} (outcome) and "
        f"{own['test, treatment']:.0f} (treatment), at {' and '.join(sorted(names))}; with the network they stay at "
        f"{graph['test, outcome']:.1f} and {graph['test, treatment']:.1f}."
    )
    errors = table["error of effects / Var"]
    yield (
        f"Effects from own covariates miss {errors[0]:.0%} of the variance of the true ones, with the network "
        f"{errors[1]:.0%}. Papers cite their like, so that own words tell something of the neighbours', but not enough."
    )
