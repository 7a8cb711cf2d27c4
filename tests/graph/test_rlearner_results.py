"""GraphRLearner: averages, groups, intervals, rankings, policies and diagnostics, against formulas and known truth."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LogisticRegression, Ridge

from causalkit.datasets import make_graph_heterogeneity
from causalkit.exceptions import MethodNotApplicableError, OverlapWarning
from causalkit.graph import Graph, GraphRLearner, HopFeatures
from causalkit.inference import InferenceResult, network_covariance
from causalkit.selection import calibration_test, r_loss, targeting_policy
from tests.graph.networks import mean_matrix
from tests.graph.test_rlearner import MODELS, QUICK, Town


@cache
def town() -> Town:
    return Town(600, 4)


@cache
def learner() -> GraphRLearner:
    return town().known()


# ---------------------------------------------------------------------- averages


def test_scores_and_average_are_the_formula() -> None:
    c, found = town(), learner()
    e = np.clip(c.e, 0.05, 0.95)
    residual = c.y - c.m - (c.t - e) * found.effect_
    assert_allclose(found.scores_, found.effect_ + (c.t - e) / (e * (1 - e)) * residual, rtol=1e-9)
    ate = found.ate(dependence="iid")
    assert isinstance(ate, InferenceResult)
    assert_allclose(float(ate), found.scores_.mean(), rtol=1e-12)
    assert_allclose(ate.std_error[0], found.scores_.std() / np.sqrt(600), rtol=1e-9)
    assert ate.names == ("ATE",)
    assert ate.n_obs == 600


def test_dependence_is_that_of_the_network() -> None:
    c, found = town(), learner()
    psi = found.scores_ - found.scores_.mean()
    distances = c.graph.distances
    for bandwidth in (0, 1):
        expected = network_covariance(psi, distances, bandwidth=bandwidth).cov
        assert_allclose(found.ate(bandwidth=bandwidth).cov, expected, rtol=1e-10)
    assert_allclose(found.ate(bandwidth=0).std_error, found.ate(dependence="iid").std_error, rtol=1e-10)
    near = (c.graph.adjacency("binary").toarray() > 0) | np.eye(600, dtype=bool)
    assert_allclose(found.ate(bandwidth=1).std_error[0], np.sqrt(psi @ near @ psi) / 600, rtol=1e-6)
    assert "degree" in found.ate(dependence="degree").dependence


@pytest.mark.parametrize("target", ["all", "treated", "control", "overlap"])
def test_targets_are_near_their_truth(target: str) -> None:
    c = town()
    truth = {
        "all": c.tau.mean(),
        "treated": c.tau[c.t == 1].mean(),
        "control": c.tau[c.t == 0].mean(),
        "overlap": np.average(c.tau, weights=c.e * (1 - c.e)),
    }[target]
    found = learner().ate(target=target)
    assert found.std_error[0] < 0.1
    assert abs(float(found) - truth) < 4 * found.std_error[0]
    assert found.names == ("ATE",) if target == "all" else (f"ATE ({target})",)


def test_overlap_target_is_the_constant_of_the_r_loss() -> None:
    c, found = town(), learner()
    y, t = c.y - c.m, c.t - c.e
    assert_allclose(float(found.ate(target="overlap")), (t * y).sum() / (t * t).sum(), rtol=1e-9)
    assert_allclose(found.effect_constant_, float(found.ate(target="overlap")), rtol=1e-9)


def test_intervals_of_the_average_cover() -> None:
    """The truth averages over exactly these nodes, for which the interval is a little wide."""
    hits = 0
    for seed in range(25):
        c = Town(250, 100 + seed)
        low, high = c.known().ate().conf_int().to_numpy()[0]
        hits += low < c.tau.mean() < high
    assert hits >= stats.binom.ppf(0.001, 25, 0.95)


# ---------------------------------------------------------------------- groups and projections


def test_groups_by_label() -> None:
    c, found = town(), learner()
    labels = np.where(c.X[:, 0] > 0.5, "high", np.where(c.X[:, 0] < -0.5, "low", "middle"))
    result = found.gate(labels, dependence="iid")
    assert result.names == ("high", "low", "middle")
    for number, label in enumerate(result.names):
        inside = labels == label
        gamma = found.scores_[inside]
        assert_allclose(result.estimate[number], gamma.mean(), rtol=1e-10)
        assert_allclose(result.std_error[number], gamma.std() / np.sqrt(inside.sum()), rtol=1e-9)
    shares = np.array([(labels == label).mean() for label in result.names])
    assert_allclose(result.contrast(shares[None, :]).estimate[0], float(found.ate()), rtol=1e-10)
    assert_allclose(found.gate(pd.Series(labels)).estimate, result.estimate)
    same = found.gate(np.zeros(600, int), target="overlap")
    assert_allclose(same.estimate[0], float(found.ate(target="overlap")), rtol=1e-10)


def test_groups_by_rank_are_within_folds_and_ordered() -> None:
    c, found = town(), learner()
    result = found.gate(4)
    assert result.names[0] == "group 1 of 4"
    codes = np.empty(600, int)
    for fold in range(3):
        inside = np.flatnonzero(found.folds_[0] == fold)
        ranks = stats.rankdata(found.effect_[inside]) / len(inside)
        codes[inside] = np.minimum((4 * (ranks - 0.5 / len(inside))).astype(int), 3)
    assert_allclose(result.estimate, [found.scores_[codes == g].mean() for g in range(4)], rtol=1e-9)
    truth = np.array([c.tau[codes == g].mean() for g in range(4)])
    assert (np.diff(truth) > 0).all()
    assert (np.abs(result.estimate - truth) < 4 * result.std_error).all()
    with pytest.raises(ValueError, match="too few different values within a fold for 4 groups"):
        c.known(final_model="constant").gate(4)


def test_projection_is_least_squares_of_scores() -> None:
    c, found = town(), learner()
    frame = pd.DataFrame({"near": c.M[:, 0], "own": c.X[:, 0]})
    result = found.projection(frame, dependence="iid")
    design = np.column_stack([np.ones(600), frame])
    b = np.linalg.lstsq(design, found.scores_, rcond=None)[0]
    assert result.names == ("intercept", "near", "own")
    assert_allclose(result.estimate, b, rtol=1e-9)
    bread = np.linalg.inv(design.T @ design)
    meat = design.T @ (design * ((found.scores_ - design @ b) ** 2)[:, None])
    assert_allclose(result.cov, bread @ meat @ bread, rtol=1e-8)
    assert (np.abs(result.estimate - [2, 1, 0]) < 4 * result.std_error).all()
    with pytest.raises(ValueError, match="2 columns that are linearly dependent"):
        found.projection(np.column_stack([c.X[:, 0], 2 * c.X[:, 0] + 1]))
    with pytest.raises(ValueError, match="features has 10 rows, but X has 600"):
        found.projection(c.X[:10])


# ---------------------------------------------------------------------- rankings and policies


def test_policy_value_is_the_mean_of_net_scores() -> None:
    c, found = town(), learner()
    policy = (c.X[:, 0] > 0).astype(float)
    result = found.policy_value(policy, cost=1.5, baseline=0.1, dependence="iid")
    gain = (policy - 0.1) * (found.scores_ - 1.5)
    assert_allclose(result.estimate[0], gain.mean(), rtol=1e-10)
    assert_allclose(result.std_error[0], gain.std() / np.sqrt(600), rtol=1e-9)
    assert_allclose(found.policy_value(np.ones(600)).estimate[0], float(found.ate()))
    assert found.policy_value(np.ones(600)).std_error[0] == pytest.approx(found.ate().std_error[0])


def test_targeting_spends_the_budget_on_the_largest_effects() -> None:
    c, found = town(), learner()
    table = found.targeting(0.25, cost=0.5)
    policy = table.attrs["policy"]
    assert_allclose(policy.sum(), 150)
    assert found.effect_[policy > 0].min() >= found.effect_[policy == 0].max()
    assert_allclose(policy, targeting_policy(found.effect_, 0.25, cost=0.5))
    assert_allclose(table.loc["targeted", "value"], (policy * (found.scores_ - 0.5)).mean(), rtol=1e-10)
    assert_allclose(table.loc["at random", "value"], 0.25 * (found.scores_ - 0.5).mean(), rtol=1e-10)
    truth = (policy * (c.tau - 0.5)).mean()
    row = table.loc["targeted"]
    assert abs(row["value"] - truth) < 4 * row["std_error"]
    assert row["value"] > table.loc["at random", "value"] + 2 * row["std_error"]
    assert found.targeting(1.0, cost=1e6).loc["targeted", "share"] == 0  # nobody is worth it


def test_ranking_curves() -> None:
    c, found = town(), learner()
    curve = found.toc()
    assert curve.n_obs == 600
    assert 40 <= curve.n_clusters <= 60
    assert_allclose(curve.toc[-1], 0, atol=1e-12)
    assert curve.toc[0] > 0.5
    by_truth = found.rate(c.tau)
    assert_allclose(found.rate().estimate[0], curve.autoc)
    assert_allclose(found.rate(metric="qini").estimate[0], curve.qini)
    assert by_truth.pvalue()["autoc"] < 1e-6 and found.rate().pvalue()["autoc"] < 1e-6
    noise = found.rate(np.random.default_rng(0).normal(size=600))
    assert noise.pvalue()["autoc"] > 0.01
    # Brute force of the area: the mean over rows of the mean score of those ranked as high.
    order = np.argsort(-c.tau)
    running = np.cumsum(found.scores_[order]) / np.arange(1, 601) - found.scores_.mean()
    assert_allclose(by_truth.estimate[0], running.mean(), rtol=0.02)
    small = town().known(cv=2)
    assert_allclose(small.rate(c.tau, metric="qini").estimate[0], (running * np.arange(1, 601) / 600).mean(), rtol=0.1)


def test_calibration_is_the_test_of_the_residuals() -> None:
    c, found = town(), learner()
    table = found.calibration()
    expected = calibration_test(found.effect_, c.y - c.m, c.t - c.e, folds=found.folds_[0], adjacency=c.graph.distances)
    pd.testing.assert_frame_equal(table, expected)
    assert (np.abs(table["estimate"] - 1) < 4 * table["std_error"]).all()
    assert table.loc["heterogeneity", "pvalue"] < 1e-6


# ---------------------------------------------------------------------- effects of nodes and their intervals


def test_effects_with_the_meaning_of_econml() -> None:
    c, found = town(), learner()
    assert np.array_equal(found.effect(), found.effect_)
    assert np.array_equal(found.const_marginal_effect(), found.effect_)
    assert np.array_equal(found.effect(c.X), found.predict(c.X))
    assert np.array_equal(found.const_marginal_effect(c.X), found.predict(c.X))
    assert_allclose(found.effect(T0=1, T1=0), -found.effect_)
    assert_allclose(found.effect(T0=1, T1=1), 0)
    with pytest.raises(ValueError, match=r"T1 must be a level of the treatment, \[0, 1\]; got 2"):
        found.effect(T1=2)


def test_constant_interval_is_the_sandwich_of_the_ratio() -> None:
    c = town()
    found = c.known(final_model="constant")
    low, high = interval = found.effect_interval(alpha=0.1)
    y, t = c.y - c.m, c.t - c.e
    b = (t * y).sum() / (t * t).sum()
    psi = 600 * t * (y - t * b) / (t * t).sum()
    error = np.sqrt(network_covariance(psi, c.graph.distances).cov[0, 0])
    assert interval.method == "sandwich" and not interval.heuristic
    assert_allclose(high - low, 2 * stats.norm.ppf(0.95) * error, rtol=1e-8)
    assert_allclose((low + high) / 2, found.effect_, rtol=1e-10)
    swapped = found.effect_interval(T0=1, T1=0, alpha=0.1)
    assert_allclose(swapped[0], -high)
    assert_allclose(swapped[1], -low)


def test_linear_interval_is_the_sandwich_of_the_ridge() -> None:
    c, found = town(), learner()
    columns = HopFeatures().fit_transform(c.X, graph=c.graph).astype(float)
    ones = np.column_stack([np.ones(600), columns])
    y, t = c.y - c.m, c.t - c.e
    design = t[:, None] * ones
    penalty = np.mean([model.penalty for model in found._final.models[0]])
    J = design.T @ design + np.diag([0.0] + [penalty] * columns.shape[1])
    b = np.linalg.solve(J, design.T @ y)
    psi = 600 * (design * (y - design @ b)[:, None]) @ np.linalg.inv(J)
    V = network_covariance(psi, c.graph.distances).cov
    some = np.arange(5)
    low, high = found.effect_interval(c.X, alpha=0.05)
    error = np.sqrt(np.einsum("ij,jk,ik->i", ones[some], V, ones[some]))
    assert_allclose((high - low)[some] / (2 * stats.norm.ppf(0.975)), error, rtol=1e-4)
    assert_allclose((low + high) / 2, found.predict(c.X), rtol=1e-8)


def test_linear_intervals_cover_effects_that_are_linear() -> None:
    shares = []
    for seed in range(8):
        c = Town(400, 50 + seed)
        low, high = c.known(hop_features=HopFeatures(hops=1, operators=("mean",))).effect_interval(c.X)
        shares.append(np.mean((low < c.tau) & (c.tau < high)))
    assert 0.85 < np.mean(shares) <= 1


def test_half_samples_are_a_heuristic_that_says_so() -> None:
    c = Town(200)
    found = c.known(final_model="boosting", cv=2)
    low, high = interval = found.effect_interval(c.X[:20], nodes=np.arange(20), graph=c.graph.with_features(c.X))
    assert interval.method == "half_sample" and interval.heuristic
    assert "heuristic" in repr(interval)
    assert (low < high).all()
    # For a constant the spread over halves is close to the sandwich.
    constant = town().known(final_model="constant")
    halves, sandwich = (constant.effect_interval(method=method) for method in ("half_sample", "sandwich"))
    assert_allclose((halves[1] - halves[0])[0], (sandwich[1] - sandwich[0])[0], rtol=0.4)
    with pytest.raises(MethodNotApplicableError, match='method="sandwich" is for a final stage that is constant or'):
        found.effect_interval(method="sandwich")
    with pytest.raises(MethodNotApplicableError, match='method="model" needs a final_model with predict_interval'):
        found.effect_interval(method="model")
    with pytest.raises(ValueError, match="method must be one of 'auto', 'sandwich', 'model', 'half_sample'"):
        found.effect_interval(method="bootstrap")


class Fixed(RegressorMixin, BaseEstimator):
    """A final model with intervals of its own: deviation x₀, one to each side."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Fixed:
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.asarray(X, dtype=float)[:, 0]

    def predict_interval(self, X: Any, alpha: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
        return self.predict(X) - 1 / alpha, self.predict(X) + 1 / alpha


def test_intervals_of_a_model_of_the_user() -> None:
    c = town()
    found = c.known(final_model=Fixed())
    low, high = interval = found.effect_interval(c.X, alpha=0.25)
    assert interval.method == "model"
    assert_allclose(high - found.predict(c.X), 4)
    assert_allclose(found.predict(c.X) - low, 4)
    swapped = found.effect_interval(c.X, alpha=0.25, T0=1, T1=0)
    assert_allclose(swapped[0], -high)


# ---------------------------------------------------------------------- scores of other rows


def test_score_is_one_minus_a_ratio_of_r_losses() -> None:
    c = Town(300, 7)
    fitted = c.fitted()
    new = Town(200, 8)
    columns = HopFeatures().fit(c.X, graph=c.graph).transform(new.X, graph=new.graph)
    training = HopFeatures().fit_transform(c.X, graph=c.graph)
    m, e = np.zeros(200), np.zeros(200)
    for k in range(3):
        train = fitted.folds_[0] != k
        m += Ridge(10.0).fit(training[train], c.y[train]).predict(columns) / 3
        e += LogisticRegression(C=0.1).fit(training[train], c.t[train]).predict_proba(columns)[:, 1] / 3
    y, t = new.y - m, new.t - np.clip(e, 0.02, 0.98)
    expected = 1 - r_loss(fitted.predict(new.X, graph=new.graph), y, t) / r_loss(
        np.full(200, fitted.effect_constant_), y, t
    )
    found = fitted.score(new.X, new.y, treatment=new.t, graph=new.graph)
    assert_allclose(found, expected, rtol=1e-3)
    assert found > 0.1
    assert c.fitted({"final_model": "constant"}).score(new.X, new.y, treatment=new.t, graph=new.graph) == pytest.approx(
        0, abs=0.01
    )
    weighted = fitted.score(new.X, new.y, treatment=new.t, graph=new.graph, sample_weight=np.arange(1.0, 201))
    assert weighted != found
    with pytest.raises(ValueError, match=r"treatment has 1 values that fit did not see \(first: row 3, .*2"):
        fitted.score(new.X, new.y, treatment=np.where(np.arange(200) == 3, 2, new.t), graph=new.graph)


# ---------------------------------------------------------------------- diagnostics


def test_overlap_by_degree() -> None:
    c = town()
    with pytest.warns(OverlapWarning, match="were clipped"):
        found = c.known(clip=0.3)
    table = found.overlap()
    assert table.index[0] == "all"
    assert table["n"].iloc[1:].sum() == 600 == table.loc["all", "n"]
    e = np.clip(c.e, 0.3, 0.7)
    assert_allclose(table.loc["all", "clipped"], np.mean((c.e < 0.3) | (c.e > 0.7)))
    assert_allclose(found.clipped_share_, table.loc["all", "clipped"])
    for level, w in ((1, 1 / e[c.t == 1]), (0, 1 / (1 - e[c.t == 0]))):
        assert table.loc["all", f"n_{level}"] == (c.t == level).sum()
        assert_allclose(table.loc["all", f"ess_{level}"], w.sum() ** 2 / (w**2).sum(), rtol=1e-9)
    degree = c.graph.degree
    low = int(table.index[1].split()[1].split("-")[-1])
    assert table["n"].iloc[1] == (degree <= low).sum()
    plain = c.known(clip=0.0).overlap()
    assert_allclose(plain.loc["all", "outside_05"], np.mean((c.e < 0.05) | (c.e > 0.95)))
    # Extremes are those of the predictions, whatever they are clipped to.
    assert_allclose(table.loc["all", "outside_05"], plain.loc["all", "outside_05"])
    extreme = np.where(np.arange(600) % 3 == 0, 0.995, c.e)
    with pytest.warns(OverlapWarning):
        clipped = GraphRLearner(**QUICK).fit(
            c.X,
            c.y,
            treatment=c.t,
            graph=c.graph,
            outcome_predictions=c.m,
            treatment_predictions=extreme,
        )
    assert_allclose(clipped.overlap().loc["all", "outside_01"], 1 / 3)


def test_balance_of_own_and_neighbours_covariates() -> None:
    c, found = town(), learner()
    table = found.balance()
    assert table.index.tolist() == ["x0", "x1", "neighbours' x0", "neighbours' x1"]
    X = c.X - c.X.mean(axis=0)
    values = np.column_stack([X, mean_matrix(c.graph.adjacency("binary").toarray()) @ X])
    one, zero = c.t == 1, c.t == 0
    unit = np.sqrt((values[one].var(axis=0) + values[zero].var(axis=0)) / 2)
    assert_allclose(table["before"], (values[one].mean(axis=0) - values[zero].mean(axis=0)) / unit, atol=1e-6)
    e = np.clip(c.e, 0.02, 0.98)
    after = np.average(values[one], axis=0, weights=1 / e[one]) - np.average(
        values[zero], axis=0, weights=1 / (1 - e[zero])
    )
    assert_allclose(table["after"], after / unit, atol=1e-6)
    assert table["before"].abs().max() > 0.3 > 0.2 > table["after"].abs().max()
    other = found.balance(pd.DataFrame({"height": c.X[:, 0] ** 2}))
    assert other.index.tolist() == ["height", "neighbours' height"]


def test_residuals_show_confounders_of_the_neighbourhood() -> None:
    data = make_graph_heterogeneity(800, random_state=0)
    arguments = {"treatment": data.treatment, "graph": Graph.from_scipy(data.adjacency)}
    models = {"outcome_model": Ridge(10.0), "treatment_model": LogisticRegression(C=0.1)}
    tables = [
        GraphRLearner(final_model="constant", nuisance_features=features, random_state=0, **models)
        .fit(data.X, data.y, **arguments)
        .residual_dependence()
        for features in ("own", "graph")
    ]
    assert tables[0].index.tolist() == ["outcome", "treatment"]
    assert (tables[0]["pvalue"] < 1e-4).all()
    assert (tables[0]["largest"] > 6).all()
    assert tables[0].loc["outcome", "column"] in ("mean1(x0)", "sym1(x0)")
    assert (tables[1]["largest"] < 4.5).all()
    assert tables[0]["moran_i"].abs().max() < 0.2  # which hardly moves


def test_summary_and_diagnostics() -> None:
    c, found = town(), learner()
    summary = found.summary()
    assert_allclose(summary.table.loc["ATE", "estimate"], float(found.ate()))
    assert_allclose(summary.table.loc["ATE (overlap)", "std_error"], found.ate(target="overlap").std_error[0])
    text = str(summary)
    for words in (
        "600 rows",
        "levels 0, 1",
        "linear on two_hop (1.00)",
        "wider population",
        "No interference",
        "Overlap",
    ):
        assert words in text
    assert "<table" in summary._repr_html_()
    table = found.diagnostics()
    assert table.loc["smallest training share", "value"] == 1
    assert table.loc["clipped share", "value"] == found.clipped_share_
    assert_allclose(found.fold_report_["n_test"].sum(), 600)
    assert_allclose(found.selection_["weight"], [1.0])
    assert found.n_features_in_ == 2
    assert found.graph_fingerprint_ == c.graph.fingerprint


def test_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    c = Town(60)
    GraphRLearner(**QUICK | MODELS | {"verbose": 1}).fit(c.X, c.y, treatment=c.t, graph=c.graph)
    shown = capsys.readouterr()
    assert "nuisances" in shown.err and "final stage" in shown.err and shown.out == ""
    c.fitted()
    assert capsys.readouterr().err == ""
