"""Section H, the learner: reductions to known special cases, and results that must not depend on how they were made."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import gap, installed
from benchmarks.rows import Row, at_most, skipped
from benchmarks.validation.graph.common import fit, folds_of, graph_of

__all__ = ["learner_rows"]

Array = NDArray[np.float64]

_EXACT = 1e-8


def _ridge() -> dict[str, Any]:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    return {"outcome_model": LinearRegression(), "treatment_model": LogisticRegression()}


def _small(n: int = 300) -> Any:
    from causalkit.datasets import make_graph_heterogeneity

    return make_graph_heterogeneity(n, random_state=np.random.default_rng([61_100, n]))


def learner_rows() -> Iterator[Row]:
    """H8 special cases, H9 what must not matter."""
    sample = _small()
    yield from _constant_rows(sample)
    yield from _special_rows(sample)
    yield from _invariance_rows(sample)


def _constant_rows(sample: Any) -> Iterator[Row]:
    learner = fit(sample, final_model="constant", **_ridge())
    outcome, left = learner.outcome_residual_, learner.treatment_residual_
    held_out = np.empty(len(outcome))
    for train, test in folds_of(learner):
        held_out[test] = (outcome[train] @ left[train]) / (left[train] @ left[train])
    what = "constant final stage: effects of held-out folds against ΣỸT̃/ΣT̃²"
    yield at_most("H8.1", what, gap(learner.effect_, held_out), _EXACT)
    e = learner.treatment_prediction_
    # Scores clip at .05, nuisances at .02.
    clipped, treated = np.clip(e, 0.05, 0.95), sample.treatment
    zero, one = learner.outcome_by_level_.T
    scores = one - zero + treated / clipped * (sample.y - one) - (1 - treated) / (1 - clipped) * (sample.y - zero)
    yield at_most(
        "H8.2", "average effect against the mean of its formula", gap(learner.ate().estimate, scores.mean()), _EXACT
    )
    if not installed("econml"):
        reason = "econml is not installed: pip install -e '.[econml]'"
        yield skipped("H8.3", "constant effect against LinearDML without X", reason)
        return
    from econml.dml import LinearDML

    class Known:
        """Predictions that were made before, handed out by row."""

        def __init__(self, values: Array) -> None:
            self.values = values

        def fit(self, X: Any, y: Any, **_: Any) -> Known:
            return self

        def predict(self, X: Any) -> Array:
            return self.values[np.asarray(X)[:, 0].astype(int)]

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            return {"values": self.values}

        def set_params(self, **_: Any) -> Known:
            return self

    row = np.arange(len(sample.y), dtype=float)[:, None]
    peer = LinearDML(
        model_y=Known(learner.outcome_prediction_),
        model_t=Known(e),
        discrete_treatment=False,
        cv=2,
        fit_cate_intercept=True,
        random_state=0,
    )
    peer.fit(sample.y, sample.treatment.astype(float), W=row)
    theirs = float(np.ravel(peer.intercept_)[0])
    yield at_most("H8.3", "constant effect against LinearDML without X", gap(learner.effect_constant_, theirs), _EXACT)


def _special_rows(sample: Any) -> Iterator[Row]:
    from sklearn.linear_model import LinearRegression

    from causalkit.graph import Graph, GraphRLearner, HopFeatures

    known = {"outcome_predictions": sample.outcome_mean, "final_model": "linear", "cv": _splits(len(sample.y))}
    two = fit(sample, treatment_predictions=sample.propensity, **known)
    pair = np.column_stack([1 - sample.propensity, sample.propensity])
    multi = fit(sample, treatment_type="multi", treatment_predictions=pair, **known)
    what = "two levels as a multi-level treatment against binary: effects, average"
    distance = max(gap(np.ravel(multi.effect_), two.effect_), gap(multi.ate().estimate, two.ate().estimate))
    yield at_most("H8.4", what, distance, _EXACT)
    empty = Graph.from_edges(np.empty((0, 2), dtype=int), n_nodes=len(sample.y))
    # Without links (A + I)X is X itself, whose copies a penalty would count: means over neighbours are constant.
    # No inner folds, which are drawn anew for every set of features, and no iterations.
    options = {
        "cv": _splits(len(sample.y)),
        "random_state": 0,
        "hop_features": HopFeatures(operators=("mean",)),
        "final_model": LinearRegression(),
        "outcome_model": LinearRegression(),
    }
    given = {"treatment": sample.treatment, "treatment_predictions": sample.propensity}
    alone = GraphRLearner(**options).fit(sample.X, sample.y, graph=empty, **given)
    own = GraphRLearner(nuisance_features="own", final_features="own", **options)
    own.fit(sample.X, sample.y, graph=graph_of(sample), **given)
    what = "graph without links against own covariates alone: effects"
    yield at_most("H8.5", what, gap(alone.effect_, own.effect_), 1e-5, note="hop features are single precision")


def _splits(n: int, k: int = 5) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    fold = np.arange(n) % k
    return [(np.flatnonzero(fold != j), np.flatnonzero(fold == j)) for j in range(k)]


def _invariance_rows(sample: Any) -> Iterator[Row]:
    import pandas as pd

    from causalkit.graph import GraphRLearner
    from causalkit.persistence import load, save

    options: dict[str, Any] = {"final_model": "forest", "random_state": 0, **_ridge()}
    graph = graph_of(sample)

    def fitted(X: Any = sample.X, y: Any = sample.y, t: Any = sample.treatment, **more: Any) -> Any:
        return GraphRLearner(**options, **more).fit(X, y, treatment=t, graph=graph)

    first = fitted()
    effects = {"n_jobs": fitted(n_jobs=2).effect_}
    import joblib

    with joblib.parallel_config(backend="threading"):
        effects["threads"] = fitted(n_jobs=2).effect_
    frame = pd.DataFrame(sample.X)
    effects["pandas"] = fitted(frame, pd.Series(sample.y), pd.Series(sample.treatment)).effect_
    if installed("polars"):
        import polars as pl

        table = pl.DataFrame(sample.X, schema=[f"c{j}" for j in range(sample.X.shape[1])])
        effects["polars"] = fitted(table, pl.Series(sample.y), pl.Series(sample.treatment)).effect_
    for number, (name, effect) in enumerate(effects.items()):
        yield at_most(
            f"H9.{number + 1}", f"effects with {name} against numpy and one process", gap(effect, first.effect_), 0
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "learner.causalkit"
        save(first, path)
        again = load(path)
        moved = gap(again.predict(sample.X, graph=graph), first.predict(sample.X, graph=graph))
    yield at_most("H9.9", "predictions after saving and loading", moved, 1e-12)
