"""Learners on graphs: levels of several effects, weights in overlap, messages and warnings that point at the user."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from causalkit.exceptions import (
    FoldError,
    GraphCoverageWarning,
    LeakageWarning,
    NetworkDependenceWarning,
    OverlapWarning,
)
from causalkit.graph import Graph, GraphKFold, GraphRLearner, HopFeatures, SpilloverRLearner, exposure_contrast
from tests.graph.test_review import N, spilled, village

QUIET = pytest.mark.filterwarnings("ignore::causalkit.exceptions.NetworkDependenceWarning")

# ---------------------------------------------------------------------- levels of several effects


@QUIET
def test_levels_of_several_effects_go_by_name() -> None:
    learner = spilled(interaction=True)
    share, t = village().share, village().t
    both = learner.ate(["direct", "spillover", "total"], at={"direct": share, "spillover": t})
    for number, single in enumerate((learner.ate(at=share), learner.ate("spillover", at=t), learner.ate("total"))):
        assert_allclose(both.estimate[number], single.estimate[0], rtol=1e-12)
        assert_allclose(both.std_error[number], single.std_error[0], rtol=1e-12)
    half = learner.ate(["direct", "spillover"], at={"spillover": 1.0})
    assert_allclose(half.estimate, [learner.ate().estimate[0], learner.ate("spillover", at=1.0).estimate[0]])
    assert_allclose(learner.ate(["direct", "total"], at=0.5).estimate[0], learner.ate(at=0.5).estimate[0])
    assert not np.isclose(both.estimate[0], half.estimate[0])


@QUIET
def test_one_level_for_effects_that_mean_different_things_by_it_is_refused() -> None:
    learner = spilled(interaction=True)
    with pytest.raises(
        ValueError, match=r"at=0\.5 would be the exposure .* and the own treatment of 'spillover'.*dict"
    ):
        learner.ate(["direct", "spillover"], at=0.5)
    for at, shown in (({"spillover": 1}, "'direct'"), ({"total": 1}, "'direct'"), ({"else": 1}, "'direct'")):
        with pytest.raises(ValueError, match=f"at has a level for .*: expected levels .* that are asked for, {shown}"):
            learner.ate(["direct", "total"], at=at)
    with pytest.raises(ValueError, match=r"at has a level for 'total'.*here none"):
        learner.ate("total", at={"total": 1})
    both = ["direct", "spillover"]  # without interaction a level is of no account
    assert_allclose(spilled().ate(both, at=0.5).estimate, spilled().ate(both).estimate)


# ---------------------------------------------------------------------- weights in overlap


@QUIET
def test_effective_sample_sizes_are_those_of_the_weights() -> None:
    v, w = village(), np.random.default_rng(0).uniform(0.1, 3, N)
    options: dict[str, Any] = {"final_model": "constant", "cv": 2, "random_state": 0}
    for learner in (GraphRLearner(**options), SpilloverRLearner(**options)):
        table = v.fit(learner, sample_weight=w).overlap()
        e = np.clip(v.e.to_numpy(), 0.02, 0.98)
        for level, probability in ((0, 1 - e), (1, e)):
            inside = v.t.to_numpy() == level
            worth = (w / probability)[inside]
            assert_allclose(table[f"ess_{level}"].iloc[0], worth.sum() ** 2 / (worth**2).sum(), rtol=1e-10)
            assert table[f"n_{level}"].iloc[0] == inside.sum()
        plain = v.fit(learner).overlap()["ess_1"].iloc[0]
        assert_allclose(plain, (1 / e[inside]).sum() ** 2 / (1 / e[inside] ** 2).sum(), rtol=1e-10)


@QUIET
def test_uneven_weights_alone_are_no_lack_of_overlap() -> None:
    """One row in a hundred has nearly all of the weight: of a randomised arm of 50 rows that is about all."""
    v, w = village(), np.where(np.arange(N) % 100 == 0, 1e4, 1.0)
    known = {"treatment_predictions": np.full(N, 0.5), "outcome_predictions": v.m}
    with warnings.catch_warnings():
        warnings.simplefilter("error", OverlapWarning)
        v.fit(GraphRLearner(final_model="constant", cv=2, random_state=0), sample_weight=w, **known)
    # Weights that pile up on rows with hardly any chance of their arm are.
    e = np.where(np.arange(N) < 4, 0.02, 0.5)
    t = np.where(np.arange(N) < 4, 1, village().t.to_numpy())
    known |= {"treatment_predictions": e, "treatment": pd.Series(t, index=v.ids)}
    learner = GraphRLearner(final_model="constant", cv=2, random_state=0, clip=0.0001)
    even = np.where(np.arange(N) < 4, 25.0, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OverlapWarning)
        v.fit(learner, **known)
    assert v.fit(learner, sample_weight=even, **known).overlap()["ess_1"].iloc[0] < 5


# ---------------------------------------------------------------------- messages


@QUIET
@pytest.mark.parametrize("value", ["a", None, np.nan, ["a"] * N, object()])
def test_costs_and_policies_that_are_no_numbers_are_named(value: Any) -> None:
    learner = village().known(final_model="constant", cv=2)
    for name in ("cost", "baseline"):
        with pytest.raises(ValueError, match=rf"^{name} (must|contains|is missing)"):
            learner.policy_value(np.ones(N), **{name: value})
    with pytest.raises(ValueError, match=r"^cost (must|contains|is missing)"):
        learner.targeting(0.5, cost=value)
    with pytest.raises(ValueError, match=r"^policy (must|contains|is missing)"):
        learner.policy_value(value)
    assert_allclose(learner.policy_value(1, cost=np.float32(0.5)).estimate, learner.ate().estimate - 0.5)


@pytest.mark.parametrize("learner", [GraphRLearner, SpilloverRLearner, HopFeatures])
def test_columns_with_one_name_are_refused(learner: Any) -> None:
    v = village()
    twice = v.X.assign(c=1.0).set_axis(["age", "b", "age"], axis=1)
    given = {} if learner is HopFeatures else {"y": v.y, "treatment": v.t}
    with pytest.raises(ValueError, match=r"X has column names that occur more than once: 'age'\. .*rename"):
        learner().fit(twice, graph=v.graph, **given)


@QUIET
def test_exposures_with_one_name_are_refused() -> None:
    v = village()
    values = pd.DataFrame({"g": v.share, "h": v.share**2}, index=v.ids).set_axis(["g", "g"], axis=1)
    two = {"exposure_mean": values * 0, "exposure_variance": np.broadcast_to(np.eye(2), (N, 2, 2))}
    with pytest.raises(ValueError, match="exposure_values has column names that occur more than once: g, g"):
        v.fit(SpilloverRLearner(), exposure_values=values, **two)


@pytest.mark.parametrize(
    ("options", "given", "words"),
    [
        (
            {"buffer": 3},
            {},
            r"buffer=3 leaves less than a share of 0\.25 .*pass cv=GraphKFold\(\.\.\.\) with fewer parts",
        ),
        ({"cv": 4}, {"groups": np.arange(N) % 3}, "groups has 3 groups, fewer than cv=4: lower cv"),
    ],
)
def test_messages_about_folds_name_what_the_user_set(options: Any, given: Any, words: str) -> None:
    with pytest.raises(FoldError, match=words) as found:
        village().fit(GraphRLearner(final_model="constant", random_state=0, **options), **given)
    assert "n_splits" not in str(found.value) and "min_train_share=" not in str(found.value)
    own = GraphKFold(2, buffer=3, random_state=0)
    with pytest.raises(FoldError, match=r"min_train_share=0\.25 .*Lower buffer, parts_per_fold or min_train_share\.$"):
        village().fit(GraphRLearner(final_model="constant", cv=own))


# ---------------------------------------------------------------------- where warnings point


def said_here(category: type[Warning], call: Any) -> None:
    with pytest.warns(category) as found:
        call()
    places = {one.filename for one in found if issubclass(one.category, category)}
    assert places == {__file__}


def fit_here(learner: Any, **changes: Any) -> Any:
    v = village()
    given = {"X": v.X, "y": v.y, "treatment": v.t, "graph": v.graph}
    given |= {"outcome_predictions": v.m, "treatment_predictions": v.e}
    return learner.fit(**given | changes)


def test_warnings_of_fits_point_at_the_line_of_the_user() -> None:
    v = village()
    learner = GraphRLearner(final_model="constant", cv=2, random_state=0)
    extreme = np.where(v.t == 1, 0.999, 0.001)
    extreme[::3] = 0.5
    spill = SpilloverRLearner(final_model="constant", cv=2, random_state=0)
    for one in (learner, spill):
        said_here(OverlapWarning, lambda one=one: fit_here(one, treatment_predictions=extreme))
        leak = pd.DataFrame({"a": v.X["a"], "exposed": v.share}, index=v.ids)
        said_here(LeakageWarning, lambda one=one, leak=leak: fit_here(one, X=leak))
    folds = [(np.arange(100), np.arange(100, 200)), (np.arange(100, 200), np.arange(100))]
    grouped = GraphRLearner(final_model="constant", cv=folds)
    said_here(LeakageWarning, lambda: fit_here(grouped, groups=np.arange(N) % 50))


def test_warnings_of_features_point_at_the_line_of_the_user() -> None:
    v = village()
    part, hop = v.X.iloc[:30], HopFeatures().set_output(transform="pandas")
    said_here(GraphCoverageWarning, lambda: hop.fit(part, graph=v.graph, nodes=part.index))
    said_here(GraphCoverageWarning, lambda: hop.fit_transform(part, graph=v.graph, nodes=part.index))
    said_here(GraphCoverageWarning, lambda: hop.transform(part, graph=v.graph, nodes=part.index))
    empty = Graph.from_edges(np.empty((0, 2)), n_nodes=N)
    learner = GraphRLearner(final_model="constant", cv=2, random_state=0)
    known = {"outcome_predictions": v.m.to_numpy(), "treatment_predictions": v.e.to_numpy()}
    X, y, t = v.X.to_numpy(), v.y.to_numpy(), v.t.to_numpy()
    said_here(GraphCoverageWarning, lambda: learner.fit(X, y, treatment=t, graph=empty, **known))


def test_warnings_of_averages_point_at_the_line_of_the_user() -> None:
    v = village()
    learner = v.known(final_model="constant", cv=2)
    said_here(NetworkDependenceWarning, lambda: learner.ate(bandwidth=4))
    groups = np.arange(N) % 4
    said_here(NetworkDependenceWarning, lambda: fit_here(learner, groups=groups).calibration())
    spill = SpilloverRLearner(final_model="constant", cv=2, random_state=0)
    said_here(NetworkDependenceWarning, lambda: fit_here(spill))
    said_here(NetworkDependenceWarning, lambda: spill.ate(bandwidth=4))
    given = {"treatment": v.t.to_numpy(), "graph": v.graph, "probability": 0.5}
    said_here(NetworkDependenceWarning, lambda: exposure_contrast(v.y.to_numpy(), **given))


def test_filters_of_the_user_decide_over_warnings_that_are_given_again() -> None:
    learner = village().known(final_model="constant", cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NetworkDependenceWarning)
        with pytest.raises(NetworkDependenceWarning):
            learner.ate(bandwidth=4)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("ignore", NetworkDependenceWarning)
        learner.ate(bandwidth=4)
    assert found == []
