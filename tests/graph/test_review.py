"""What a careful reader of the learners on graphs tried to break: rows out of order, arguments without an effect."""

from __future__ import annotations

import pickle
import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from causalkit.exceptions import AlignmentError, GraphCoverageWarning, MethodNotApplicableError
from causalkit.graph import Graph, GraphKFold, GraphRLearner, HopFeatures, SpilloverRLearner
from causalkit.nn import stacked
from tests.graph.networks import barabasi_albert, mean_matrix

N = 200

# Balls of two steps hold much of a network this small: its standard errors are not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::causalkit.exceptions.NetworkDependenceWarning")


class Village:
    """Rows of a frame that is indexed by the ids of the nodes, with known nuisances."""

    def __init__(self, steep: float = 0.6) -> None:
        rng = np.random.default_rng(0)
        edges = barabasi_albert(N, 3, rng)
        self.ids = [f"n{i}" for i in range(N)]
        A = np.zeros((N, N))
        A[edges[:, 0], edges[:, 1]] = A[edges[:, 1], edges[:, 0]] = 1
        self.graph = Graph.from_edges([(self.ids[u], self.ids[v]) for u, v in edges], nodes=self.ids)
        self.X = pd.DataFrame(rng.normal(size=(N, 2)), index=self.ids, columns=["a", "b"])
        e = 1 / (1 + np.exp(-steep * self.X["a"]))
        t = (rng.random(N) < e).astype(int)
        share = mean_matrix(A)
        effect = 2 + self.X["b"]
        base = self.X["a"] + 0.5 * rng.normal(size=N)
        self.e, self.t = e, pd.Series(t, index=self.ids)
        self.m, self.y = self.X["a"] + effect * e, base + effect * self.t
        self.share, self.share_mean = share @ t, share @ e
        self.share_variance = share**2 @ (e * (1 - e))

    def known(self, **parameters: Any) -> GraphRLearner:
        return self.fit(GraphRLearner(final_model="linear", random_state=0, cv=3).set_params(**parameters))

    def fit(self, learner: Any, **arguments: Any) -> Any:
        given = {"treatment": self.t, "graph": self.graph, "outcome_predictions": self.m}
        given |= {"treatment_predictions": self.e}
        return learner.fit(self.X, self.y, **(given | arguments))


@cache
def village() -> Village:
    return Village()


@cache
def learner() -> GraphRLearner:
    return village().known()


@cache
def spilled(interaction: bool = False) -> SpilloverRLearner:
    return village().fit(SpilloverRLearner(interaction=interaction, final_model="linear", random_state=0, cv=3))


def other_order(values: Any) -> Any:
    return pd.Series(np.asarray(values), index=village().ids).iloc[::-1]


# ---------------------------------------------------------------------- rows in another order


@pytest.mark.parametrize("name", ["outcome_predictions", "treatment_predictions"])
@pytest.mark.parametrize("kind", [GraphRLearner, SpilloverRLearner])
def test_known_predictions_in_another_order_are_refused(kind: Any, name: str) -> None:
    with pytest.raises(AlignmentError, match=f"X and {name} have the same index labels in a different order"):
        village().fit(kind(random_state=0), **{name: other_order(village().m)})


@pytest.mark.parametrize("name", ["exposure_values", "exposure_mean", "exposure_variance"])
def test_given_exposures_in_another_order_are_refused(name: str) -> None:
    c = village()
    three = {"exposure_values": c.share, "exposure_mean": c.share_mean, "exposure_variance": c.share_variance}
    with pytest.raises(AlignmentError, match=name):
        c.fit(SpilloverRLearner(random_state=0), **(three | {name: other_order(three[name])}))


def test_later_arguments_in_another_order_are_refused() -> None:
    c, found = village(), learner()
    label = other_order(c.t)
    calls = {
        "by": lambda: found.gate(label),
        "features": lambda: found.projection(label.to_frame()),
        "policy": lambda: found.policy_value(label),
        "cost": lambda: found.targeting(0.2, cost=label),
        "priorities": lambda: found.rate(label),
        "X": lambda: found.balance(label.to_frame()),
        "y_placebo": lambda: spilled().negative_control(label),
    }
    for name, call in calls.items():
        with pytest.raises(AlignmentError, match=f"X and {name} have"):
            call()
    by_position = found.gate(c.t.to_numpy()).estimate  # without labels, and with those of X in order, rows are rows
    assert_allclose(found.gate(c.t).estimate, by_position)
    assert_allclose(pickle.loads(pickle.dumps(found)).gate(c.t).estimate, by_position)


def test_score_and_predict_refuse_another_order() -> None:
    c = village()
    found = c.fit(
        GraphRLearner(outcome_model=Ridge(), treatment_model=LogisticRegression(), final_model="linear", buffer=0),
        outcome_predictions=None,
        treatment_predictions=None,
        exposure=c.share,
    )
    with pytest.raises(AlignmentError, match="X and y have"):
        found.score(c.X, other_order(c.y), treatment=c.t, exposure=c.share)
    with pytest.raises(AlignmentError, match="X and exposure have"):
        found.predict(c.X, exposure=other_order(c.share))
    with pytest.raises(ValueError, match="treatment is missing"):
        found.score(c.X, c.y, exposure=c.share)
    assert np.isfinite(found.score(c.X, c.y, treatment=c.t, exposure=c.share))


# ---------------------------------------------------------------------- arguments that would have no effect


def test_nodes_without_rows_are_refused() -> None:
    c = village()
    for call in (
        lambda: learner().effect(nodes=c.ids[:3]),
        lambda: learner().const_marginal_effect(graph=c.graph),
        lambda: learner().effect_interval(exposure=c.share),
        lambda: spilled().direct_effect(nodes=c.ids[:3]),
        lambda: spilled().total_effect(graph=c.graph),
    ):
        with pytest.raises(ValueError, match="given without X"):
            call()


@pytest.mark.parametrize("cv", [KFold(3), GraphKFold(3), [(np.arange(100), np.arange(100, N))]])
def test_a_buffer_beside_folds_of_the_users_own_is_refused(cv: Any) -> None:
    with pytest.raises(ValueError, match="buffer=1 is for an integer cv"):
        village().known(cv=cv, buffer=1)


def test_own_folds_without_a_buffer_are_taken() -> None:
    assert village().known(cv=KFold(3), buffer=0).fold_report_["train_share"].tolist() == [1.0] * 3
    buffered = village().known(cv=GraphKFold(3, buffer=1, min_train_share=0.05), buffer=1)
    assert buffered.fold_report_["train_share"].max() < 1.0


def test_exposures_at_which_effects_are_wanted_are_checked_without_interaction_too() -> None:
    with pytest.raises(ValueError, match="at has 3 rows"):
        spilled().direct_effect(at=np.ones(3))
    with pytest.raises(ValueError, match="at has no meaning"):
        spilled().ate("total", at=0.5)
    with pytest.raises(ValueError, match="effect is empty"):
        spilled().ate([])
    assert_allclose(spilled().ate(at=0.5).estimate, spilled().ate().estimate)  # one effect at every exposure
    assert abs(spilled(True).ate(at=1.0).estimate - spilled(True).ate(at=0.0).estimate) > 1e-3


def test_an_exposure_may_be_numbered_by_numpy() -> None:
    assert_allclose(spilled().spillover_effect(exposure=np.int64(0)), spilled().effect_[:, 1])


def test_half_samples_train_as_many_networks_as_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from causalkit.graph import effect_intervals

    seen = []
    original = stacked.fit_stacked_mlp

    def quick(*arguments: Any, **options: Any) -> Any:
        seen.append(options["n_bags"])
        return original(*arguments, **(options | {"max_epochs": 1}))

    monkeypatch.setattr(stacked, "fit_stacked_mlp", quick)
    monkeypatch.setattr(effect_intervals, "_HALVES", 3)
    found = village().known(final_model="neural", n_bags=2, n_jobs=1)
    assert found.effect_interval().heuristic
    assert seen == [2] * 6  # three folds and three halves


# ---------------------------------------------------------------------- what is asked for, before any work


@pytest.mark.parametrize("name", ["outcome_model", "treatment_model", "final_model"])
@pytest.mark.parametrize("model", [Ridge, 3])
def test_models_that_are_no_instances_are_refused_by_name(name: str, model: Any) -> None:
    with pytest.raises(TypeError, match=f"{name} must be an estimator instance"):
        village().known(**{name: model})


class Untouched(Ridge):
    """A model that must not be fitted."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        raise RuntimeError("work was begun")


@pytest.mark.parametrize("final_model", ["forest", Ridge()])
def test_models_of_one_effect_are_refused_for_several_before_nuisances_are_fitted(final_model: Any) -> None:
    c = village()
    with pytest.raises(ValueError, match="learns one effect"):
        GraphRLearner(outcome_model=Untouched(), final_model=final_model).fit(
            c.X, c.y, treatment=np.arange(N) % 3, graph=c.graph
        )
    with pytest.raises(ValueError, match="final_model must be one of"):
        GraphRLearner(outcome_model=Untouched(), final_model="tree").fit(c.X, c.y, treatment=c.t, graph=c.graph)


@pytest.mark.parametrize(("name", "value"), [("cv", "five"), ("cv", 2.5), ("verbose", -1)])
def test_other_parameters_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be an integer"):
        village().known(**{name: value})


def test_levels_of_an_effect_are_single_values() -> None:
    with pytest.raises(ValueError, match="T1 must be one level"):
        learner().effect(T1=np.ones(N))


def test_balance_of_other_rows_is_refused() -> None:
    with pytest.raises(ValueError, match=f"X has 3 rows, but fit had {N}"):
        learner().balance(np.ones((3, 1)))


def test_a_group_without_weight_is_named() -> None:
    c = village()
    weighted = c.fit(GraphRLearner(final_model="constant", cv=3), sample_weight=np.arange(N) % 2)
    with pytest.raises(ValueError, match="the rows of group '0' have no weight"):
        weighted.gate(np.arange(N) % 2)


# ---------------------------------------------------------------------- numbers


class Ranges(RegressorMixin, BaseEstimator):
    """Several constant effects, by least squares, with limits of its own: half a unit below, one above."""

    def fit(self, X: Any, T: Any, y: Any) -> Ranges:
        self.effect_ = np.linalg.lstsq(T, y, rcond=None)[0]
        return self

    def predict(self, X: Any) -> Any:
        return np.tile(self.effect_, (len(X), 1))

    def predict_interval(self, X: Any, alpha: float) -> Any:
        return self.predict(X) - 0.5, self.predict(X) + 1


def test_own_intervals_of_a_model_belong_to_the_level_that_was_asked_for() -> None:
    c = village()
    level = np.random.default_rng(1).integers(0, 3, N)
    y = c.X["a"] + 1.0 * (level == 1) + 5.0 * (level == 2)
    found = GraphRLearner(final_model=Ranges(), cv=2, random_state=0).fit(
        c.X,
        y,
        treatment=level,
        graph=c.graph,
        outcome_predictions=c.X["a"] + 2,
        treatment_predictions=np.full((N, 3), 1 / 3),
    )
    effect = found.predict(c.X)
    for T0, T1, low, high in (
        (0, 1, effect[:, 0] - 0.5, effect[:, 0] + 1),
        (0, 2, effect[:, 1] - 0.5, effect[:, 1] + 1),
        (2, 0, -effect[:, 1] - 1, -effect[:, 1] + 0.5),
    ):
        limits = found.effect_interval(T0=T0, T1=T1)
        assert limits.method == "model"
        assert_allclose(limits[0], low, rtol=1e-9)
        assert_allclose(limits[1], high, rtol=1e-9)
    between = found.effect_interval(T0=1, T1=2)  # limits of two effects are none of their difference
    assert between.method == "half_sample"
    assert ((between[0] <= 4.2) & (between[1] >= 3.8)).all()
    with pytest.raises(MethodNotApplicableError, match="difference of two other"):
        found.effect_interval(T0=1, T1=2, method="model")


def test_overlap_average_is_the_ratio_of_residual_products_where_propensities_are_extreme() -> None:
    c = Village(steep=3.0)
    with pytest.warns(UserWarning, match="propensities were clipped"):
        found = c.known(clip=0.01, score_clip=0.2)
    e = np.clip(c.e, 0.01, 0.99)
    expected = ((c.t - e) * (c.y - c.m)).sum() / ((c.t - e) ** 2).sum()
    assert_allclose(float(found.ate(target="overlap")), expected, rtol=1e-10)
    assert_allclose(found.effect_constant_, expected, rtol=1e-10)


def test_covariates_in_other_units_than_those_of_the_graph_are_said() -> None:
    c = village()
    graph, half = c.graph.with_features(c.X), c.ids[: N // 2]
    some = c.X.loc[half]
    with warnings.catch_warnings():
        warnings.simplefilter("error", GraphCoverageWarning)
        hop = HopFeatures().fit(some, graph=graph, nodes=half)
        changed = some.copy()
        changed.iloc[0] += 1.0  # one node with other covariates is a question that may be asked
        hop.transform(changed, graph=graph, nodes=half)
    with pytest.warns(GraphCoverageWarning, match="X differs from the covariates that graph carries in 100% of the"):
        hop.transform(2 * some, graph=graph, nodes=half)
    with pytest.warns(GraphCoverageWarning, match="X differs"):
        make_pipeline(StandardScaler(), HopFeatures()).fit(5 * some, hopfeatures__graph=graph, hopfeatures__nodes=half)
