"""SpilloverRLearner: equality with least squares, coverage, effects of nodes, diagnostics, and what it refuses."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from causalkit.datasets import make_graph_uptake
from causalkit.exceptions import (
    AlignmentError,
    FoldError,
    GraphCoverageWarning,
    GraphError,
    IdentificationError,
    LeakageWarning,
    MethodNotApplicableError,
    OverlapWarning,
)
from causalkit.graph import GNNRegressor, Graph, SpilloverRLearner, exposure_mapping
from causalkit.persistence import load, save
from tests.graph.networks import erdos_renyi

QUICK: dict[str, Any] = {"cv": 2, "buffer": 0, "random_state": 0}


def town(n: int = 600, seed: int = 0, effect: Any = None, links: tuple[float, float] = (0.7, 0.5)) -> dict[str, Any]:
    """A long thin network with two covariates, direct effect 2 (or ``effect(X)``) and spillover 1 per share treated.

    Nodes on a ring are linked to the next and to the one after that with the probabilities ``links``: degrees differ,
    some nodes are isolated, and most pairs of nodes are far apart.
    """
    rng = np.random.default_rng(seed)
    ring = np.arange(n)
    edges = [np.column_stack([ring, (ring + k) % n])[rng.random(n) < p] for k, p in enumerate(links, start=1)]
    graph = Graph.from_edges(np.vstack(edges), n_nodes=n)
    X = rng.normal(size=(n, 2))
    e = 1 / (1 + np.exp(-0.8 * X[:, 0]))
    t = (rng.random(n) < e).astype(int)
    tau = np.full(n, 2.0) if effect is None else effect(X)
    share, mean = exposure_mapping(graph, t, "share"), exposure_mapping(graph, e, "share")
    y = X[:, 0] + tau * t + share + 0.5 * rng.normal(size=n)
    return {"X": X, "y": y, "t": t, "graph": graph, "e": e, "m": X[:, 0] + tau * e + mean, "tau": tau}


def known(case: dict[str, Any], **options: Any) -> SpilloverRLearner:
    """Fit with the true nuisances."""
    return SpilloverRLearner(**(QUICK | options)).fit(
        case["X"],
        case["y"],
        treatment=case["t"],
        graph=case["graph"],
        outcome_predictions=case["m"],
        treatment_predictions=case["e"],
    )


# ---------------------------------------------------------------------- estimates


def test_constant_effects_are_least_squares_on_residuals() -> None:
    case = town()
    learner = known(case, final_model="constant", interaction=True)
    E = case["graph"].adjacency("mean").toarray().astype(float)
    E /= np.maximum(E.sum(axis=1, keepdims=True), 1e-300)
    e = np.clip(case["e"], 0.02, 0.98)
    t, G, mean = case["t"], E @ case["t"], E @ e
    R = np.column_stack([t - e, G - mean, t * G - e * mean])
    beta = np.linalg.lstsq(R, case["y"] - case["m"], rcond=None)[0]
    assert_allclose(learner.coef_, beta, rtol=1e-8)
    assert learner.effect_names_ == ("direct", "spillover", "interaction")
    assert_allclose(learner.exposure_, G, atol=1e-7)
    assert_allclose(learner.exposure_residual_, G - mean, atol=1e-7)
    assert_allclose(learner.exposure_variance_, (E**2) @ (e * (1 - e)), atol=1e-7)
    # Averages of constant effects are combinations of the coefficients.
    isolated = case["graph"].degree == 0
    joint = learner.ate(["direct", "spillover", "total"], dependence="iid")
    assert_allclose(
        joint.estimate,
        [
            beta[0] + beta[2] * mean.mean(),
            beta[1] + beta[2] * e[~isolated].mean(),
            beta[0] + (beta[1] + beta[2]) * (~isolated).mean(),
        ],
        rtol=1e-7,
    )
    psi = learner.ate("direct", dependence="iid").std_error[0]
    J = R.T @ R / len(R)
    influence = (R * (case["y"] - case["m"] - R @ beta)[:, None]) @ np.linalg.inv(J)
    a = np.array([1, 0, mean.mean()])
    assert_allclose(psi, np.sqrt(np.mean((influence @ a) ** 2) / len(R)), rtol=1e-7)


def test_scores_are_the_ones_of_the_formula_and_average_to_the_estimate() -> None:
    case = town(effect=lambda X: 2 + X[:, 1])
    learner = known(case, final_model="linear", score_clip=0.0, clip=0.0)
    e, t = case["e"], case["t"]
    left = case["y"] - case["m"] - (t - e) * learner.effect_[:, 0]
    left -= learner.exposure_residual_ * learner.effect_[:, 1]
    direct = learner.effect_[:, 0] + (t - e) / (e * (1 - e)) * left
    assert_allclose(learner.scores_[:, 0], direct, rtol=1e-9)
    assert_allclose(learner.ate("direct").estimate[0], direct.mean(), rtol=1e-10)
    reached = case["graph"].degree > 0
    V = learner.exposure_variance_[reached]
    spill = learner.effect_[reached, 1] + (learner.exposure_residual_ * left)[reached] / V
    assert_allclose(learner.ate("spillover").estimate[0], spill.mean(), rtol=1e-7)
    assert_allclose(learner.scores_[~reached, 1], learner.effect_[~reached, 1])


def test_intervals_cover_and_varying_effects_are_found() -> None:
    hits, errors = np.zeros(2), []
    for seed in range(30):
        case = town(500, seed, effect=lambda X: 2 + X[:, 1])
        learner = known(case, final_model="linear")
        # The average over these very nodes is known exactly, so that intervals are a little wide.
        limits = learner.ate(["direct", "spillover"]).conf_int().to_numpy()
        truth = [case["tau"].mean(), 1.0]
        hits += [low < value < high for (low, high), value in zip(limits, truth, strict=True)]
        errors.append(np.mean((learner.effect_[:, 0] - case["tau"]) ** 2))
    assert hits.min() >= 24  # 99.9 % of Binomial(30, .95) lies at 24 or above
    assert np.mean(errors) < 0.1  # of a variance of 1


def test_pool_of_nuisances_on_the_uptake_design() -> None:
    """One draw of the design with its own default models: both effects within four standard errors."""
    sample = make_graph_uptake(1500, random_state=3)
    learner = SpilloverRLearner(
        exposure="count",
        final_model="constant",
        outcome_model=Ridge(10.0),
        treatment_model=LogisticRegression(C=0.1, max_iter=1000),
        random_state=0,
    ).fit(sample.X, sample.y, treatment=sample.treatment, graph=Graph.from_scipy(sample.adjacency))
    result = learner.ate(["direct", "spillover"])
    assert (np.abs(result.estimate - [-2.0, -0.5]) < 4 * result.std_error).all()
    assert learner.fold_report_["train_share"].min() < 1  # a buffer of one step
    names = learner._columns.names
    assert "sum1(x0)" in names and names[-1] == "degree"
    naive = sample.y[sample.treatment == 1].mean() - sample.y[sample.treatment == 0].mean()
    assert abs(naive + 2) > 10 * abs(learner.coef_[0] + 2)


def test_effects_of_a_fold_do_not_see_its_outcomes() -> None:
    case = town()
    first = known(case, final_model="linear")
    held = first.folds_[0] == 0
    changed = case | {"y": np.where(held, case["y"] + 100, case["y"])}
    second = known(changed, final_model="linear")
    assert_allclose(first.effect_[held], second.effect_[held])
    assert not np.allclose(first.effect_[~held], second.effect_[~held])


def test_repeats_weights_and_clusters() -> None:
    case = town()
    repeated = known(case, final_model="linear", n_repeats=3)
    assert repeated.folds_.shape == (3, 600)
    assert_allclose(repeated.coef_, known(case, final_model="constant").coef_, rtol=1e-10)  # nuisances are known
    w = np.random.default_rng(0).integers(1, 4, 600).astype(float)
    groups = np.arange(600) // 40
    fitted = SpilloverRLearner(final_model="constant", cv=2, random_state=0).fit(
        case["X"],
        case["y"],
        treatment=case["t"],
        graph=case["graph"],
        sample_weight=w,
        groups=groups,
        outcome_predictions=case["m"],
        treatment_predictions=case["e"],
    )
    R = fitted._residuals * np.sqrt(w)[:, None]
    ytilde = (case["y"] - case["m"]) * np.sqrt(w)
    assert_allclose(fitted.coef_, np.linalg.lstsq(R, ytilde, rcond=None)[0], rtol=1e-9)
    assert "15 clusters" in fitted.ate().dependence
    assert all(len(np.unique(fitted.folds_[0][groups == g])) == 1 for g in range(15))


def test_jobs_frames_and_order_of_rows_make_no_difference() -> None:
    case = town(300)
    options = {"outcome_model": Ridge(), "treatment_model": LogisticRegression(), "final_model": "linear", **QUICK}

    def fit(X: Any, rows: Any, **more: Any) -> SpilloverRLearner:
        learner = SpilloverRLearner(
            **(
                options
                | {"cv": [(np.flatnonzero(fold[rows]), np.flatnonzero(~fold[rows])) for fold in (halves, ~halves)]}
                | more
            )
        )
        return learner.fit(X, case["y"][rows], treatment=case["t"][rows], graph=case["graph"], nodes=rows)

    halves = np.random.default_rng(0).random(300) < 0.5
    rows = np.arange(300)
    first = fit(case["X"], rows)
    with parallel_config(backend="threading"):
        assert np.array_equal(first.effect_, fit(case["X"], rows, n_jobs=2).effect_)
    frame = pd.DataFrame(case["X"], columns=["a", "b"])
    second = fit(frame, rows)
    assert np.array_equal(first.effect_, second.effect_)
    assert list(second.feature_names_in_) == ["a", "b"]
    order = np.random.default_rng(1).permutation(300)
    third = fit(case["X"][order], order)
    assert_allclose(third.coef_, first.coef_, rtol=1e-4)  # models end a little apart: sums in another order


def test_message_passing_nuisances_and_a_neural_final() -> None:
    pytest.importorskip("torch")
    case = town(200)
    learner = SpilloverRLearner(
        exposure="count",
        outcome_model=GNNRegressor(encoder="sage", max_iter=30, n_bags=1, device="cpu"),
        treatment_model=LogisticRegression(),
        final_model="neural",
        n_bags=2,
        device="cpu",
        **QUICK,
    ).fit(case["X"], case["y"], treatment=case["t"], graph=case["graph"])
    models = [model for group in learner._final.models for model in group]
    assert len(models) == 2 and all(len(model.network.n_iter) == 2 for model in models)
    assert learner.predict(case["X"]).shape == (200, 2)
    explained = 1 - learner.outcome_residual_.var() / case["y"].var()
    assert explained > 0.3


# ---------------------------------------------------------------------- exposures


@pytest.mark.parametrize(
    "exposure, columns",
    [
        ("count", 2),
        ("any", 2),
        (("threshold", 2), 2),
        (["share", "two_hop_share"], 3),
        (lambda t, graph: graph.adjacency("mean") @ t, 2),
    ],
)
def test_every_kind_of_exposure_fits_and_predicts(exposure: Any, columns: int) -> None:
    case = town(300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two steps of a small dense network reach everybody
        learner = known(case, exposure=exposure, final_model="linear")
        assert learner.predict(case["X"]).shape == (300, columns)
        assert np.isfinite(learner.scores_).all()
        assert len(learner.overlap()) > 2
        assert "spillover" in str(learner.summary())


def test_a_function_is_close_to_the_mapping_that_it_repeats() -> None:
    case = town(400)
    mapped = known(case, final_model="constant")
    drawn = known(case, exposure=lambda t, graph: exposure_mapping(graph, t, "share"), final_model="constant")
    assert_allclose(drawn.coef_, mapped.coef_, atol=0.5 * np.sqrt(mapped.covariance_[1, 1]))
    again = known(case, exposure=lambda t, graph: exposure_mapping(graph, t, "share"), final_model="constant")
    assert np.array_equal(drawn.coef_, again.coef_)


def test_given_exposures_equal_the_mapping() -> None:
    case = town(300)
    mapped = known(case, final_model="linear")
    given = SpilloverRLearner(final_model="linear", **QUICK).fit(
        case["X"],
        case["y"],
        treatment=case["t"],
        graph=case["graph"],
        exposure_values=mapped.exposure_,
        exposure_mean=mapped.exposure_mean_,
        exposure_variance=mapped.exposure_variance_,
        outcome_predictions=case["m"],
        treatment_predictions=case["e"],
    )
    assert_allclose(given.effect_, mapped.effect_)
    assert_allclose(given.covariance_, mapped.covariance_)
    with pytest.raises(MethodNotApplicableError, match="unknown for exposure_values"):
        given.total_effect()


def test_rows_may_be_a_part_that_has_all_of_its_neighbours() -> None:
    left, right = town(300, 1), town(250, 2)
    both = Graph.from_scipy(sparse.block_diag([left["graph"].to_scipy(), right["graph"].to_scipy()], format="csr"))
    alone = known(left, final_model="constant")
    part = SpilloverRLearner(final_model="constant", **QUICK).fit(
        left["X"],
        left["y"],
        treatment=left["t"],
        graph=both,
        nodes=np.arange(300),
        outcome_predictions=left["m"],
        treatment_predictions=left["e"],
    )
    assert_allclose(part.coef_, alone.coef_, rtol=1e-10)


def test_effects_of_nodes_by_hand() -> None:
    case = town(300)
    learner = known(case, final_model="linear", interaction=True)
    tau, delta, theta = learner.effect_.T
    e = learner.treatment_prediction_
    full = (case["graph"].degree > 0).astype(float)
    assert_allclose(learner.direct_effect(), tau + theta * learner.exposure_mean_)
    assert_allclose(learner.direct_effect(at=0.5), tau + 0.5 * theta)
    assert_allclose(learner.spillover_effect(), delta + theta * e)
    assert_allclose(learner.spillover_effect(at=1), delta + theta)
    assert_allclose(learner.total_effect(), tau + (delta + theta) * full)
    found = learner.predict(case["X"])
    assert_allclose(learner.direct_effect(case["X"], at=0.0), found[:, 0])
    assert_allclose(learner.total_effect(case["X"]), found[:, 0] + (found[:, 1] + found[:, 2]) * full)
    with pytest.raises(ValueError, match="at is missing"):
        learner.direct_effect(case["X"])
    new = town(80, 9)
    assert learner.predict(new["X"], graph=new["graph"]).shape == (80, 3)
    assert_allclose(learner.ate("direct", at=0.25).estimate[0], (learner.scores_ @ [1, 0, 0.25]).mean(), rtol=1e-9)


def test_targets_of_an_average() -> None:
    case = town(effect=lambda X: 2 + X[:, 0])
    learner = known(case, final_model="linear", clip=0.0, score_clip=0.0)
    e = case["e"]
    truth = {
        "all": case["tau"].mean(),
        "treated": case["tau"][case["t"] == 1].mean(),
        "control": case["tau"][case["t"] == 0].mean(),
        "overlap": np.average(case["tau"], weights=e * (1 - e)),
    }
    for target, value in truth.items():
        result = learner.ate(target=target)
        assert abs(result.estimate[0] - value) < 4 * result.std_error[0], target
    assert truth["treated"] - truth["control"] > 0.5


# ---------------------------------------------------------------------- diagnostics


def test_two_hop_test_finds_what_the_mapping_misses() -> None:
    rejected = np.zeros(2)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        n = 900
        graph = Graph.from_edges([(i, (i + 1) % n) for i in range(n)], n_nodes=n)
        t = (rng.random(n) < 0.5).astype(int)
        near, far = exposure_mapping(graph, t, "share"), exposure_mapping(graph, t, "two_hop_share")
        for number, size in enumerate((0.0, 1.0)):
            y = t + near + size * far + 0.5 * rng.normal(size=n)
            learner = SpilloverRLearner(final_model="constant", **QUICK).fit(
                rng.normal(size=(n, 1)),
                y,
                treatment=t,
                graph=graph,
                outcome_predictions=np.full(n, 1.0 + size / 2),
                treatment_predictions=np.full(n, 0.5),
            )
            table = learner.two_hop_test()
            assert list(table.index) == ["direct", "spillover", "two_hop_share"]
            rejected[number] += table["pvalue"].iloc[-1] < 0.01
    assert rejected[0] <= 2 and rejected[1] == 8


def test_negative_control_is_quiet_without_and_loud_with_confounding() -> None:
    rng = np.random.default_rng(0)
    n = 1200
    graph = Graph.from_edges([(i, (i + k) % n) for i in range(n) for k in (1, 2)], n_nodes=n)
    X, hidden = rng.normal(size=(n, 2)), rng.normal(size=n)
    t = (rng.random(n) < 1 / (1 + np.exp(-X[:, 0] - 2 * hidden))).astype(int)
    y = X[:, 0] + hidden + t + rng.normal(size=n)
    learner = SpilloverRLearner(
        final_model="constant", outcome_model=LinearRegression(), treatment_model=LogisticRegression(), **QUICK
    ).fit(X, y, treatment=t, graph=graph)
    quiet = learner.negative_control(X[:, 0] + rng.normal(size=n))
    loud = learner.negative_control(hidden + rng.normal(size=n))
    assert quiet.names == ("direct", "spillover")
    assert quiet.pvalue().min() > 0.01
    assert loud.pvalue()["direct"] < 1e-6
    # The same outcome gives the same estimate as the fit.
    assert_allclose(learner.negative_control(y).estimate, learner.coef_)


def test_overlap_by_cell_and_reports() -> None:
    case = town(links=(0.4, 0.3))
    learner = known(case, exposure="count", final_model="constant")
    table = learner.overlap()
    isolated = int((case["graph"].degree == 0).sum())
    assert isolated > 20
    outside = (case["e"] < 0.05) | (case["e"] > 0.95)
    assert_allclose(table.loc["all", "outside_05"], outside.mean())
    assert table.loc["no exposure possible", "n"] == isolated
    assert table["n"].iloc[1:].sum() == 600 == table["n"].iloc[0]
    one = (exposure_mapping(case["graph"], case["t"], "count") == 1) & (case["graph"].degree > 0)
    row = table.loc["exposure 1"]
    assert (row["n"], row["n_1"]) == (one.sum(), (one & (case["t"] == 1)).sum())
    w = 1 / case["e"][one & (case["t"] == 1)]
    assert_allclose(row["ess_1"], w.sum() ** 2 / (w**2).sum())
    assert learner.report_["isolates"].iloc[0] == isolated == learner.report_["without_exposure"].iloc[0]
    assert table.loc["no exposure possible", "exposure_variance"] == 0
    assert learner.diagnostics().loc["isolates", "value"] == isolated
    share = known(town(), exposure="share", final_model="constant").overlap()
    assert len(share) == 6 and share["n"].iloc[1:].sum() == 600  # all, isolates, quarters


def test_calibration_and_residual_dependence() -> None:
    case = town(1000, effect=lambda X: 2 + X[:, 1])
    learner = known(case, final_model="linear")
    table = learner.calibration()
    assert (np.abs(table["estimate"] - 1) < 4 * table["std_error"]).all()
    assert table.loc["heterogeneity", "pvalue"] < 1e-3
    good = learner.residual_dependence()
    assert (good["largest"] < 4.5).all()
    blind = SpilloverRLearner(final_model="constant", **QUICK).fit(
        case["X"],
        case["y"],
        treatment=case["t"],
        graph=case["graph"],
        outcome_predictions=np.full(1000, case["y"].mean()),
        treatment_predictions=case["e"],
    )
    assert blind.residual_dependence().loc["outcome", "pvalue"] < 1e-6


def test_files_pickles_and_clones(tmp_path: Any) -> None:
    case = town(300)
    learner = known(case, final_model="linear", exposure=["count", ("threshold", 2)])
    save(learner, tmp_path / "learner")
    loaded = load(tmp_path / "learner")
    for other in (loaded, pickle.loads(pickle.dumps(learner))):
        assert np.array_equal(other.predict(case["X"]), learner.predict(case["X"]))
        assert np.array_equal(other.ate("total").estimate, learner.ate("total").estimate)
        assert other.overlap().equals(learner.overlap())
    with pytest.raises(MethodNotApplicableError, match="saved file does not hold"):
        loaded.negative_control(case["y"])
    assert clone(learner).get_params()["exposure"] == ["count", ("threshold", 2)]


# ---------------------------------------------------------------------- failures


class Uninterested(BaseEstimator):
    """A final model for one treatment."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Uninterested:
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.zeros(len(X))


def refused(error: type[Exception], message: str, options: dict[str, Any] | None = None, **fit: Any) -> None:
    case = town(120)
    arguments: dict[str, Any] = {
        "X": case["X"],
        "y": case["y"],
        "treatment": case["t"],
        "graph": case["graph"],
        "outcome_predictions": case["m"],
        "treatment_predictions": case["e"],
    }
    learner = SpilloverRLearner(**({"final_model": "constant", **QUICK} | (options or {})))
    with pytest.raises(error, match=message):
        learner.fit(**(arguments | fit))
    assert not [name for name in vars(learner) if name.endswith("_") and not name.startswith("_")]
    with pytest.raises(NotFittedError):
        learner.ate()


def own_diagonal() -> Any:
    return sparse.eye_array(120, format="csr")


def test_bad_data() -> None:
    case = town(120)
    refused(TypeError, "graph is missing", graph=None)
    refused(TypeError, r"Graph\.from_scipy", graph=case["graph"].to_scipy())
    refused(AlignmentError, "X has 120 rows, the graph 80 nodes", graph=town(80)["graph"])
    refused(ValueError, "treatment is missing", treatment=None)
    refused(ValueError, "treatment has one level", treatment=np.ones(120))
    refused(ValueError, "treatment is of 3 levels: .*two levels", treatment=np.arange(120) % 3)
    refused(ValueError, "treatment is continuous", treatment=np.linspace(0, 1, 120))
    refused(ValueError, "NaN", X=np.where(np.arange(240).reshape(120, 2) == 7, np.nan, case["X"]))
    refused(ValueError, "y contains NaN", y=np.where(np.arange(120) == 3, np.nan, case["y"]))
    refused(ValueError, "outcome_predictions has 5 rows", outcome_predictions=np.ones(5))
    refused(ValueError, r"treatment_predictions must lie in \[0, 1\]", treatment_predictions=case["e"] * 2)
    refused(ValueError, "sample_weight must not be negative", sample_weight=-np.ones(120))


def test_bad_options() -> None:
    refused(ValueError, "exposure must be one of", {"exposure": "mean"})
    refused(ValueError, "empty list", {"exposure": []})
    refused(GraphError, "diagonal", {"exposure": own_diagonal()})
    refused(GraphError, r"shape \(120, 120\)", {"exposure": sparse.eye_array(3, format="csr")})
    refused(ValueError, "interaction must be one of", {"interaction": "yes"})
    refused(ValueError, "treatment_type must be one of", {"treatment_type": "multi"})
    refused(ValueError, "clip must be", {"clip": 0.7})
    refused(ValueError, "score_clip must be", {"score_clip": -1})
    refused(ValueError, "n_bags must be", {"n_bags": 0})
    refused(ValueError, "final_model must be one of", {"final_model": "forest"})
    refused(TypeError, "learns one effect", {"final_model": Uninterested()})
    refused(ValueError, "nuisance_features must be one of", {"nuisance_features": "all"})
    refused(ValueError, "buffer must be", {"buffer": "most"})
    refused(FoldError, "buffer=20 leaves less", {"buffer": 20, "cv": 2})
    refused(ValueError, "encoder must be one of", {"encoder": "mlp"})


def test_exposures_that_identify_nothing() -> None:
    case = town(120)
    degree = case["graph"].degree.astype(float)
    three = {"exposure_values": degree, "exposure_mean": degree, "exposure_variance": np.zeros(120)}
    refused(IdentificationError, "'exposure' has no variation of its own: its residual variance .* is 0, of", **three)
    constant = {"exposure_values": np.ones(120), "exposure_mean": np.ones(120), "exposure_variance": np.ones(120)}
    refused(IdentificationError, "'exposure' is 1 for every row, so its residual variance is 0", **constant)
    refused(
        IdentificationError,
        "is the treatment, or a relabelling",
        exposure_values=5.0 - case["t"],
        exposure_mean=case["e"],
        exposure_variance=np.ones(120),
    )
    with pytest.warns(GraphCoverageWarning):
        warnings.warn("no edges", GraphCoverageWarning, stacklevel=1)
        refused(IdentificationError, "'share' is 0 for every row", graph=Graph.from_edges([], n_nodes=120))
    refused(IdentificationError, "'threshold' is 0 for every row", {"exposure": ("threshold", 60)})
    refused(IdentificationError, "depends on own treatment", {"exposure": lambda t, g: t + g.adjacency("mean") @ t})
    refused(IdentificationError, "is a combination of", {"exposure": ["share", "weighted_share"]})
    refused(IdentificationError, "treatment is determined by the features", X=case["t"][:, None] + 0.0)
    refused(
        IdentificationError, "treatment is determined by the features", treatment_predictions=case["t"].astype(float)
    )


def test_given_exposures_that_do_not_fit() -> None:
    case = town(120)
    values = {"exposure_values": np.arange(120.0), "exposure_mean": np.zeros(120), "exposure_variance": np.ones(120)}
    refused(ValueError, "exposure_mean, exposure_variance are missing", exposure_values=values["exposure_values"])
    refused(ValueError, "exposure_variance is missing", **{k: v for k, v in values.items() if "variance" not in k})
    refused(ValueError, "must not be negative: 120 of 120", **(values | {"exposure_variance": -np.ones(120)}))
    refused(ValueError, "exposure_mean has 5 rows", **(values | {"exposure_mean": np.zeros(5)}))
    refused(
        ValueError,
        r"shape \(120, 2, 2\)",
        exposure_values=np.random.default_rng(0).random((120, 2)),
        exposure_mean=np.zeros((120, 2)),
        exposure_variance=np.ones((120, 2)),
    )
    rows = np.arange(60)
    lacking = np.unique(case["graph"].adjacency("binary")[rows].indices)
    count = int((lacking >= 60).sum())
    part = {name: case[key][rows] for name, key in (("X", "X"), ("y", "y"), ("treatment", "t"))}
    part |= {"outcome_predictions": None, "treatment_predictions": None, "nodes": rows}
    refused(ValueError, f"{count} nodes that the rows are exposed to have no row", **part)
    refused(ValueError, f"{count} neighbours of the rows have no row", exposure_values=np.arange(60.0), **part)


def test_effects_and_targets_by_name() -> None:
    case = town(200)
    learner = known(case, final_model="constant")
    with pytest.raises(ValueError, match="effect must be one of 'direct', 'total', 'spillover'; got 'indirect'"):
        learner.ate("indirect")
    with pytest.raises(ValueError, match="target must be one of"):
        learner.ate(target="everybody")
    with pytest.raises(ValueError, match="y_placebo has 3 rows"):
        learner.negative_control(np.ones(3))
    with pytest.raises(ValueError, match="feature"):
        learner.predict(case["X"][:, :1])
    with pytest.raises(ValueError, match="bandwidth must be an integer"):
        learner.ate(bandwidth=-1)


def test_warnings() -> None:
    case = town(300)
    extreme = np.where(np.arange(300) % 5 == 0, 0.001, case["e"])
    with pytest.warns(OverlapWarning, match="propensities were clipped"):
        known(case | {"e": extreme}, final_model="constant")
        ring = Graph.from_edges([(2 * i, 2 * i + 1) for i in range(150)], n_nodes=300)
    partner = case["t"].reshape(-1, 2)[:, ::-1].ravel()
    with pytest.warns(LeakageWarning, match="nearly the own treatment"):
        SpilloverRLearner(final_model="constant", **QUICK).fit(
            np.column_stack([case["X"], partner + 0.001 * np.random.default_rng(0).normal(size=300)]),
            case["y"],
            treatment=case["t"],
            graph=ring,
            outcome_predictions=case["m"],
            treatment_predictions=case["e"],
        )


def test_buffer_gives_way_in_a_dense_network() -> None:
    thin, dense = town(300), town(300)
    dense["graph"] = Graph.from_edges(erdos_renyi(300, 40, np.random.default_rng(0)), n_nodes=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # balls of a dense network hold everybody
        near = known(dense, final_model="constant", cv=3, buffer="auto")
    assert (near.fold_report_["train_share"] == 1).all()
    assert (known(thin, final_model="constant", cv=3, buffer="auto").fold_report_["train_share"] < 1).any()
