"""Section 2: effects of papers on the map, and final stages compared by a loss that needs no truth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from causalkit.demo.content import Figure, Section, Table
from causalkit.demo.graph.study import Study
from causalkit.plotting import EffectMapDisplay

__all__ = ["section"]

_STAGES = (("constant", "own"), ("linear", "own"), ("boosting", "own"), ("linear", "graph"), ("boosting", "graph"))
_COLUMNS = {"own": "own", "graph": "own and neighbours'"}


def section(study: Study) -> Section:
    """The map beside the truth, and final stages with their held-out losses."""
    rows = []
    for model, features in _STAGES:
        learner = study.network if (model, features) == _STAGES[-1] else study.final_stage(model, features)
        rows.append(
            {
                "final stage": model,
                "columns": "none" if model == "constant" else _COLUMNS[features],
                "held-out loss": float(learner.selection_["r_loss"].iloc[0]),
                "error of effects / Var": study.relative_error(learner),
            }
        )
    table = pd.DataFrame(rows)
    return Section(
        title="Effects on the map",
        text=(
            "Nuisances of the network for all of them; the final stage differs. Residuals of held-out papers decide "
            "between final stages, which needs no truth; the last column, which does, shows whether they decide well. "
            'By default a learner compares such a pool itself (final_model="auto") and mixes the best.'
        ),
        tables=(Table("Final stages on the same residuals", table),),
        figures=(_figure(study),),
        readings=tuple(_readings(study, table)),
    )


def _figure(study: Study) -> Figure:
    def draw(canvas: Any) -> None:
        EffectMapDisplay.from_estimator(study.network, truth=study.sample.effect, ax=canvas.subplots(1, 2))

    return Figure(
        "graph-effect-map",
        "Out-of-fold effects of the papers in the largest component, and the true ones: the same regions of the "
        "network have large and small effects.",
        draw,
        (11.4, 5.4),
    )


def _readings(study: Study, table: pd.DataFrame) -> Iterator[str]:
    by_loss, by_error = (list(table[name].rank()) for name in ("held-out loss", "error of effects / Var"))
    orders = "the same order" if by_loss == by_error else "different orders"
    yield f"Held-out loss and true error put the final stages in {orders}."
    correlation = float(np.corrcoef(study.network.effect_, study.sample.effect)[0, 1])
    yield f"Estimated and true effects correlate by {correlation:.2f}; no column was made for this design."
