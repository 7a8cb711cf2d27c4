"""Learners on graphs after saving, cloning and changed parameters, with frames whose index holds the ids of nodes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.linear_model import Ridge

from causalkit.exceptions import AlignmentError, MethodNotApplicableError
from causalkit.graph import Graph, GraphRLearner, SpilloverRLearner
from causalkit.persistence import load, save
from tests.graph.test_review import Village, other_order, village

pytestmark = pytest.mark.filterwarnings("ignore::causalkit.exceptions.NetworkDependenceWarning")

RLEARNER = {
    "predict": lambda v, x: x.predict(v.X),
    "const_marginal_effect": lambda v, x: x.const_marginal_effect(),
    "effect": lambda v, x: x.effect(v.X, T0=1, T1=0),
    "effect_interval": lambda v, x: np.array(x.effect_interval(alpha=0.1)),
    "effect_interval of rows": lambda v, x: np.array(x.effect_interval(v.X)),
    "ate": lambda v, x: x.ate(target="overlap"),
    "ate in strata": lambda v, x: x.ate(dependence="degree"),
    "gate": lambda v, x: x.gate(v.X["a"] > 0),
    "gate by rank": lambda v, x: x.gate(2),
    "projection": lambda v, x: x.projection(v.X),
    "policy_value": lambda v, x: x.policy_value((v.X["b"] > 0).astype(float), cost=pd.Series(0.5, v.X.index)),
    "targeting": lambda v, x: x.targeting(0.3, cost=1.0),
    "calibration": lambda v, x: x.calibration(),
    "toc": lambda v, x: x.toc(v.X["b"]).toc,
    "rate": lambda v, x: x.rate(),
    "overlap": lambda v, x: x.overlap(),
    "balance of others": lambda v, x: x.balance(v.X),
    "diagnostics": lambda v, x: x.diagnostics(),
    "summary": lambda v, x: str(x.summary()),
    "score": lambda v, x: x.score(v.X, v.y, treatment=v.t),
    "balance": lambda v, x: x.balance(),
    "residual_dependence": lambda v, x: x.residual_dependence(),
}
SPILLOVER = {
    "predict": lambda v, x: x.predict(v.X),
    "direct_effect": lambda v, x: x.direct_effect(),
    "direct_effect of rows": lambda v, x: x.direct_effect(v.X, at=v.share),
    "spillover_effect": lambda v, x: x.spillover_effect(exposure="share", at=v.t),
    "total_effect": lambda v, x: x.total_effect(),
    "total_effect of rows": lambda v, x: x.total_effect(v.X),
    "ate": lambda v, x: x.ate(["direct", "spillover", "total"], target="treated"),
    "overlap": lambda v, x: x.overlap(),
    "two_hop_test": lambda v, x: x.two_hop_test(),
    "calibration": lambda v, x: x.calibration(),
    "diagnostics": lambda v, x: x.diagnostics(),
    "summary": lambda v, x: str(x.summary()),
    "negative_control": lambda v, x: x.negative_control(v.y),
    "residual_dependence": lambda v, x: x.residual_dependence(),
}
ROWS_NEEDED = {"score", "balance", "residual_dependence", "negative_control"}


def on_arrays(learner: Any) -> Any:
    """The same learner fitted on arrays and on rows that are numbered."""
    v = village()
    return clone(learner).fit(
        v.X.to_numpy(),
        v.y.to_numpy(),
        treatment=v.t.to_numpy(),
        graph=v.graph,
        nodes=v.ids,
        outcome_predictions=v.m.to_numpy(),
        treatment_predictions=v.e.to_numpy(),
    )


@cache
def fitted(kind: str) -> Any:
    if kind == "rlearner":
        # Nuisances that are fitted, so that score() has models before the file.
        models = {"outcome_model": Ridge(), "treatment_model": None}
        return village().fit(
            GraphRLearner(final_model="linear", random_state=0, cv=2, nuisance_features="own", **models),
            outcome_predictions=None,
            treatment_predictions=None,
        )
    return village().fit(
        SpilloverRLearner(interaction=True, final_model="linear", outcome_model=Ridge(), random_state=0, cv=2)
    )


@cache
def loaded(kind: str, folder: Any) -> Any:
    save(fitted(kind), folder / kind)
    return load(folder / kind)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("learners")


def assert_same(first: Any, second: Any) -> None:
    if isinstance(first, pd.DataFrame):
        pd.testing.assert_frame_equal(first, second)
    elif hasattr(first, "std_error"):
        assert_allclose(first.estimate, second.estimate, rtol=1e-12)
        assert_allclose(first.std_error, second.std_error, rtol=1e-12)
        assert (first.names, first.dependence) == (second.names, second.dependence)
    elif isinstance(first, str | float):
        assert first == second
    else:
        assert_allclose(first, second, rtol=1e-9, atol=1e-12)


METHODS = [("rlearner", name) for name in RLEARNER] + [("spillover", name) for name in SPILLOVER]


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_every_method_after_loading_says_the_same_or_why_not(kind: str, name: str, folder: Any) -> None:
    call = (RLEARNER if kind == "rlearner" else SPILLOVER)[name]
    before = call(village(), fitted(kind))
    again = loaded(kind, folder)
    if name in ROWS_NEEDED:
        with pytest.raises(MethodNotApplicableError, match=r"saved file.*fit again"):
            call(village(), again)
        return
    assert_same(before, call(village(), again))


def test_the_lists_hold_every_public_method() -> None:
    """Except for those that fit, or deal with parameters and routing."""
    general = {"fit", "get_params", "set_params", "get_metadata_routing", "attach_exposure"}
    for learner, listed in ((GraphRLearner, RLEARNER), (SpilloverRLearner, SPILLOVER)):
        public = {name for name in dir(learner) if not name.startswith("_") and callable(getattr(learner, name))}
        public = {name for name in public - general if not name.endswith("_request")}
        assert public == {name.split()[0] for name in listed}


@pytest.mark.parametrize("kind", ["rlearner", "spillover"])
def test_frames_with_an_index_of_ids_are_arrays_with_nodes(kind: str) -> None:
    learner = GraphRLearner(final_model="linear", random_state=0, cv=2) if kind == "rlearner" else fitted(kind)
    v, one = village(), on_arrays(learner)
    two = v.fit(clone(learner))
    assert_allclose(two.effect_, one.effect_, rtol=1e-10)
    assert_same(two.ate(), one.ate())
    assert_allclose(two.predict(v.X), one.predict(v.X.to_numpy(), nodes=v.ids), rtol=1e-10)
    part = v.X.iloc[[5, 3, 60]]
    graph = v.graph.with_features(v.X)
    assert_allclose(two.predict(part, graph=graph, nodes=part.index), two.predict(v.X)[[5, 3, 60]], rtol=1e-6)


@pytest.mark.parametrize("kind", ["rlearner", "spillover"])
def test_clones_forget_the_fit_and_find_it_again(kind: str) -> None:
    learner = fitted(kind)
    known = {} if kind == "spillover" else {"outcome_predictions": None, "treatment_predictions": None}
    again = clone(learner)
    assert vars(again).keys() == learner.get_params(deep=False).keys()
    assert np.array_equal(village().fit(again, **known).scores_, learner.scores_)


# ---------------------------------------------------------------------- order of rows


@pytest.mark.parametrize("index", ["ids", "periods", "two levels"])
def test_order_of_rows_is_checked_after_loading(index: str, tmp_path: Any) -> None:
    v = Village()
    labels = {
        "ids": pd.Index(v.ids),
        "periods": pd.period_range("2001-01", periods=len(v.ids), freq="M"),
        "two levels": pd.MultiIndex.from_arrays([np.arange(len(v.ids)) // 2, np.arange(len(v.ids)) % 2]),
    }[index]
    X = v.X.set_axis(labels, axis=0)
    given = {"treatment": v.t.to_numpy(), "graph": v.graph, "nodes": np.array(v.ids)}
    given |= {"outcome_predictions": v.m.to_numpy(), "treatment_predictions": v.e.to_numpy()}
    options: dict[str, Any] = {"final_model": "constant", "cv": 2, "random_state": 0}
    by = pd.Series(np.arange(len(X)) % 2, index=labels)
    for number, learner in enumerate((GraphRLearner(**options), SpilloverRLearner(**options))):
        save(learner.fit(X, v.y.to_numpy(), **given), tmp_path / str(number))
        for found in (learner, load(tmp_path / str(number))):
            if number == 0:
                assert_same(found.gate(by), learner.gate(by.to_numpy()))
                calls = {
                    "by": found.gate,
                    "policy": found.policy_value,
                    "X": lambda u, f=found: f.balance(u.to_frame()),
                }
            else:
                calls = {"at": lambda u, f=found: f.ate(at=u), "y_placebo": found.negative_control}
            for name, call in calls.items():
                with pytest.raises(AlignmentError, match=f"{name} have the same index labels in a different order"):
                    call(by.iloc[::-1])
    save(load(tmp_path / "0"), tmp_path / "again")
    with pytest.raises(AlignmentError, match="different order"):
        load(tmp_path / "again").gate(by.iloc[::-1])


def test_levels_at_which_effects_are_wanted_are_in_the_order_of_their_rows() -> None:
    learner = fitted("spillover")
    for call in (
        lambda: learner.direct_effect(at=other_order(village().share)),
        lambda: learner.spillover_effect(village().X, at=other_order(village().t)),
    ):
        with pytest.raises(AlignmentError, match="at have the same index labels"):
            call()


# ---------------------------------------------------------------------- intervals


@pytest.mark.parametrize("kind", ["constant", "linear"])
def test_intervals_of_several_levels_come_back(kind: str, tmp_path: Any) -> None:
    v = village()
    level = np.random.default_rng(0).integers(0, 3, len(v.X))
    learner = GraphRLearner(final_model=kind, cv=2, random_state=0, treatment_type="multi").fit(
        v.X,
        v.y,
        treatment=level,
        graph=v.graph,
        outcome_predictions=v.m,
        treatment_predictions=np.full((len(v.X), 3), 1 / 3),
    )
    save(learner, tmp_path / kind)
    again = load(tmp_path / kind)
    save(again, tmp_path / "again")
    for found in (again, load(tmp_path / "again")):
        for levels in ({"T0": 0, "T1": 2}, {"T0": 2, "T1": 1}):
            assert_same(np.array(learner.effect_interval(**levels)), np.array(found.effect_interval(**levels)))
            expected = np.array(learner.effect_interval(v.X, **levels))
            assert_same(expected, np.array(found.effect_interval(v.X, **levels)))


def test_refits_on_halves_need_the_rows(tmp_path: Any) -> None:
    learner = village().known(final_model="boosting", cv=2)
    save(learner, tmp_path / "f")
    with pytest.raises(MethodNotApplicableError, match=r"effect_interval\(\) needs the covariates of fit"):
        load(tmp_path / "f").effect_interval(village().X)


# ---------------------------------------------------------------------- functions


def treated_share(treatment: Any, graph: Graph) -> Any:
    """Share of treated neighbours, by a function."""
    return graph.adjacency("mean") @ treatment


def other_network() -> tuple[pd.DataFrame, Graph]:
    rng = np.random.default_rng(1)
    graph = Graph.from_edges([(i, (i + k) % 30) for i in range(30) for k in (1, 2)], n_nodes=30)
    return pd.DataFrame(rng.normal(size=(30, 2)), columns=["a", "b"]), graph


@cache
def by_function() -> SpilloverRLearner:
    return village().fit(SpilloverRLearner(exposure=["any", treated_share], final_model="linear", random_state=0, cv=2))


def test_files_do_without_functions_until_they_are_needed(tmp_path: Any) -> None:
    learner, v = by_function(), village()
    save(learner, tmp_path / "f")
    again = load(tmp_path / "f")
    effects = ["direct", "spillover_treated_share", "total"]
    assert_same(learner.ate(effects), again.ate(effects))
    assert str(learner.summary()) == str(again.summary())
    assert_allclose(again.total_effect(), learner.total_effect(), rtol=1e-12)
    assert_allclose(again.total_effect(v.X), learner.total_effect(v.X), rtol=1e-12)
    assert_same(learner.two_hop_test(), again.two_hop_test())
    X, graph = other_network()
    needed = r"exposure function treated_share, which a saved file.*attach_exposure\(treated_share\)"
    with pytest.raises(MethodNotApplicableError, match=needed):
        again.total_effect(X, graph=graph)
    with pytest.raises(MethodNotApplicableError, match=needed):
        v.fit(clone(again))
    assert again.attach_exposure(["any", treated_share]) is again
    assert_allclose(again.total_effect(X, graph=graph), learner.total_effect(X, graph=graph), rtol=1e-12)
    assert np.array_equal(v.fit(clone(again)).effect_, learner.effect_)
    save(load(tmp_path / "f"), tmp_path / "g")
    assert_same(load(tmp_path / "g").ate("total"), learner.ate("total"))


def test_other_functions_than_that_of_the_fit_are_refused(tmp_path: Any) -> None:
    save(by_function(), tmp_path / "f")
    again = load(tmp_path / "f")
    with pytest.raises(ValueError, match=r"exposure: treated_share is not the function of the fit.*of 200 rows"):
        again.attach_exposure(["any", lambda t, graph: graph.adjacency("binary") @ t])
    for other in (treated_share, ["any", "share"], [treated_share, "any"]):
        with pytest.raises(ValueError, match="exposure must be what the fit was given, any, treated_share"):
            again.attach_exposure(other)


# ---------------------------------------------------------------------- parameters that change after the fit


def test_parameters_that_change_after_a_fit_change_none_of_its_results() -> None:
    v, (X, graph) = village(), other_network()
    changed = {"exposure": "count", "interaction": True, "final_model": "linear", "clip": 0.3, "score_clip": 0.4}
    for learner in (
        v.fit(SpilloverRLearner(final_model="constant", random_state=0, cv=2)),
        v.fit(
            SpilloverRLearner(exposure=("threshold", 2), interaction=True, final_model="linear", random_state=0, cv=2)
        ),
    ):
        at = {"at": 0.5} if learner.interaction else {}
        before = (
            learner.ate(["direct", "total"]),
            learner.total_effect(X, graph=graph),
            learner.direct_effect(v.X, **at),
        )
        learner.set_params(**changed | {"interaction": not learner.interaction, "final_model": "auto"})
        assert_same(before[0], learner.ate(["direct", "total"]))
        assert np.array_equal(before[1], learner.total_effect(X, graph=graph))
        assert np.array_equal(before[2], learner.direct_effect(v.X, **at))
    single = v.fit(SpilloverRLearner(final_model="constant", outcome_model=Ridge(1.0), random_state=0, cv=2))
    before = single.negative_control(v.y)
    assert_same(before, single.set_params(outcome_model__alpha=1e6).negative_control(v.y))
    learner = v.known(final_model=Ridge(1.0), cv=2)
    before = [learner.ate(target=target) for target in ("all", "overlap", "treated")]
    interval = learner.effect_interval()
    learner.set_params(clip=0.3, score_clip=0.4, n_bags=1, final_model__alpha=1e6)
    for one, target in zip(before, ("all", "overlap", "treated"), strict=True):
        assert_same(one, learner.ate(target=target))
    assert_allclose(learner.effect_interval(), interval, rtol=1e-12)


def test_a_matrix_that_changes_after_a_fit_changes_nothing() -> None:
    v = village()
    E = v.graph.adjacency("mean").astype(float)
    learner = v.fit(SpilloverRLearner(exposure=E, final_model="constant", random_state=0, cv=2))
    before = learner.ate("total")
    E.data *= 5
    assert_same(before, learner.ate("total"))
