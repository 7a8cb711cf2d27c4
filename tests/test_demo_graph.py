"""The demo's chapter on networks: numbers against the simulated truth, and the words about them."""

import io

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from causalkit.datasets import make_graph_uptake
from causalkit.demo.content import Settings
from causalkit.demo.figures import render
from causalkit.demo.graph import CHAPTER, spillover
from causalkit.demo.graph.study import Study
from causalkit.demo.runner import run_chapter
from causalkit.demo.terminal import Terminal

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def study():
    return Study(0)


@pytest.fixture(scope="module")
def run():
    stream = io.StringIO()
    return run_chapter(CHAPTER, Settings(), Terminal(stream)), stream.getvalue()


def table_of(run, section, index):
    return run[0].sections[section].tables[0].frame.set_index(index)


def test_chapter_runs_and_every_figure_draws_in_both_colours(run):
    result, text = run
    assert [section.title for section in result.sections] == [
        "What own covariates miss",
        "Effects on the map",
        "Averages and their standard errors",
        "Whom to treat",
        "Treatments that reach the neighbours",
    ]
    assert "graph 5/5: treatments that reach the neighbours" in text
    figures = [figure for section in result.sections for figure in section.figures]
    assert len({figure.name for figure in figures}) == len(figures) == 5
    for figure in figures:
        rendered = render(figure)
        assert rendered.light.startswith(PNG) and rendered.dark.startswith(PNG)
    assert not any(section.messages for section in result.sections), "nothing to warn of in these designs"


def test_the_study_is_cora_with_the_design_on_it(study):
    assert (study.graph.n_nodes, study.graph.n_edges) == (2708, 5278)
    X, sample = study.sample.X, study.sample
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(X.std(axis=0), 1)
    # The effect of the design by hand: neighbours' means, standardised.
    binary = (study.graph.to_scipy() != 0).astype(float)
    near = (binary @ X) / np.maximum(binary.sum(axis=1), 1)[:, None]
    Z = (near - near.mean(axis=0)) / near.std(axis=0)
    np.testing.assert_allclose(sample.effect, 2 + 1.5 * np.sin(Z[:, 0]))
    assert set(study.subject) >= {"Neural_Networks", "Theory"}


def test_the_test_of_residuals_finds_the_missing_network(run):
    table = table_of(run, 0, "the learner sees")
    own, network = table.loc["own covariates"], table.loc["with the neighbours'"]
    # By chance the largest of ten standard normals exceeds 3.3 in 1 of 100 cases.
    for test in ("test, outcome", "test, treatment"):
        assert own[test] > 6 and network[test] < 3.3
    assert network["error of effects / Var"] < 0.1 < 0.5 < own["error of effects / Var"] < 1.1
    assert abs(network["average effect"] - 2.0) < 2 * network["standard error"]


def test_held_out_loss_orders_final_stages_as_the_truth_does(run):
    table = run[0].sections[1].tables[0].frame
    assert table["final stage"].tolist() == ["constant", "linear", "boosting", "linear", "boosting"]
    errors = table["error of effects / Var"]
    # A constant has the variance of the effect as error, and what its own level misses.
    assert errors[0] == pytest.approx(1, abs=0.05)
    assert errors[4] < errors[3] < min(errors[1], errors[2]) < errors[0]
    assert table["held-out loss"].idxmin() == 4 and table["held-out loss"].idxmax() == 0
    assert run[0].sections[1].readings[0].endswith(("the same order.", "different orders."))


def test_averages_by_subject_have_their_truth_inside(run, study):
    table = table_of(run, 2, "average over")
    assert table.loc["all papers", "truth"] == pytest.approx(study.sample.effect.mean())
    theory = study.sample.effect[study.subject == "Theory"].mean()
    assert table.loc["theory", "truth"] == pytest.approx(theory)
    deviation = (table["estimate"] - table["truth"]).abs() / table["SE, network"]
    assert deviation.max() < 3, "eight intervals"
    # Effects of neighbours are alike, so that independence understates the error of the population's average.
    assert table.loc["all papers", "SE, network"] > 1.5 * table.loc["all papers", "SE, independent"]


def test_targeting_is_worth_what_it_says(run):
    table = table_of(run, 3, "ranking")
    known = table.drop("true effects")
    assert ((known["value"] - known["true value"]).abs() < 3 * known["standard error"]).all()
    best = table.loc["true effects", "true value"]
    assert 0.8 * best < table.loc["with the neighbours'", "true value"] <= best
    assert table.loc["own covariates", "true value"] < 0.8 * best


def test_spillover_is_told_from_the_direct_effect(run):
    table = table_of(run, 4, "method")
    ours = table.loc["SpilloverRLearner"]
    assert abs(ours["direct"] + 2) < 3 * ours["its SE"]
    assert abs(ours["spillover"] + 0.5) < 3 * ours["SE of it"]
    # Without the neighbours' attitudes both are too large, by more than noise.
    for name in ("no covariates", "own covariates"):
        row = table.loc[name]
        assert row["direct"] < -2 - 2 * row["its SE"] and row["spillover"] < -0.5 - 2 * row["SE of it"]
    town = make_graph_uptake(1500, random_state=0)
    plain = LinearRegression().fit(np.column_stack([town.treatment, town.exposure]), town.y)
    np.testing.assert_allclose(table.loc["no covariates", ["direct", "spillover"]].astype(float), plain.coef_)
    assert "1,500 homes" in spillover.section(Settings(random_state=1)).text
