"""The demo's chapter on rewards: numbers against closed forms, and the words about them."""

import io
import re

import numpy as np
import pytest

from causalkit.datasets import make_reward_linear
from causalkit.demo.content import Settings
from causalkit.demo.figures import render
from causalkit.demo.rewards import CHAPTER, baselines, drafts, entangled, groups, hidden
from causalkit.demo.runner import run_chapter
from causalkit.demo.terminal import Terminal

PNG = b"\x89PNG\r\n\x1a\n"
COEFFICIENTS = ["θ1", "θ2", "θ3", "θ4"]


@pytest.fixture(scope="module")
def run():
    stream = io.StringIO()
    return run_chapter(CHAPTER, Settings(repetitions=3), Terminal(stream)), stream.getvalue()


def test_chapter_runs_and_every_figure_draws_in_both_colours(run):
    result, text = run
    assert [section.title for section in result.sections] == [
        "Three naive rewards",
        "A confounder of many levels",
        "Entangled confounding",
        "What was not measured",
        "Pairs and a reward function",
    ]
    assert "rewards 5/5: pairs and a reward function" in text
    figures = [figure for section in result.sections for figure in section.figures]
    assert len({figure.name for figure in figures}) == len(figures) == 6
    for figure in figures:
        rendered = render(figure)
        assert rendered.light.startswith(PNG) and rendered.dark.startswith(PNG)
    assert not any(section.messages for section in result.sections), "nothing to warn of in these designs"


def test_every_method_is_near_its_limit(run):
    table = run[0].sections[0].tables[0].frame.set_index("method")
    limits = make_reward_linear(10, random_state=0).population
    for method in baselines.METHODS:
        # Standard errors of 4000 rows are at most .035 (raw outcomes).
        np.testing.assert_allclose(table.loc[method, COEFFICIENTS].astype(float), limits[method], atol=0.12)
    assert table.loc["none", "θ2"] < 0 < table.loc["partially_linear", "θ2"]
    assert table["pair accuracy"].idxmax() == "partially_linear"
    # Correlation 2/7 of the right adjusted reward with popularity; its sampling error is about .015.
    assert table.loc["partially_linear", "corr. with popularity"] == pytest.approx(2 / 7, abs=0.06)
    assert abs(table.loc["outcome_only", "corr. with popularity"]) < 0.01


def test_within_authors_the_sign_is_right(run):
    coefficients, effects = (table.frame.set_index("method") for table in run[0].sections[1].tables)
    np.testing.assert_allclose(
        coefficients.loc["fixed_effects", COEFFICIENTS].astype(float), [1, 0.5, -0.75, 0], atol=4 * 0.0167
    )
    np.testing.assert_allclose(
        coefficients.loc["outcome_only", COEFFICIENTS].astype(float), [0.72, 0.585, -0.675, 0], atol=0.07
    )
    # Theory: .3162, .3123 and .2801; the mean text of an author tells part of the author's effect.
    assert effects["error"]["mundlak"] < effects["error"]["mixed"] < effects["error"]["fixed_effects"]
    np.testing.assert_allclose(effects["error"], [0.3162, 0.3123, 0.2801], atol=0.04)
    readings = run[0].sections[1].readings
    assert "the sign turns" in readings[0] and readings[1].endswith("have the same coefficients.")


def test_invariance_does_worse_than_nothing_by_formula_too():
    b, gamma, theta = np.array([0.8, -0.6, 0, 0]), -1.5, entangled.THETA
    covariance = np.outer(b, b) + np.eye(4)
    limits = {
        "invariance": theta - b * (b @ theta) / (b @ b),
        "none": theta + gamma * np.linalg.solve(covariance, b),
        "outcome_only": np.linalg.solve(covariance, theta),
        "fixed_effects": theta,
    }
    table = entangled.section(Settings(repetitions=3)).tables[0].frame.set_index("method")
    assert table.index.tolist() == list(limits)
    for method, coef in limits.items():
        assert table["correlation"][method] == pytest.approx(entangled.true_correlation(coef), abs=0.06)
    assert table["correlation"].is_monotonic_increasing
    X, _, C, codes = entangled.draw_log(0)
    assert (C.mean(), C.std()) == (pytest.approx(0, abs=1e-12), pytest.approx(1)) and len(np.unique(codes)) == 20
    sample = np.corrcoef(X @ limits["none"], X @ theta)[0, 1]
    assert entangled.true_correlation(limits["none"]) == pytest.approx(sample, abs=0.05)


def test_hidden_confounder_is_as_strong_as_its_bound(run):
    section = run[0].sections[3]
    table = section.tables[0].frame
    # Robustness values of the population: .6955 and .0618; the second moves by .02 with a standard error of .035.
    assert table["robustness value"][0] == pytest.approx(0.6955, abs=0.02)
    assert table["robustness value"][1] < 0.12
    found = [float(number) for number in re.findall(r"\d\.\d\d", section.readings[1])]
    np.testing.assert_allclose(found[:2], found[2:], atol=0.05)
    assert found[2:] == [0.8, 0.6]


def test_weekdays_win_half_of_the_adjusted_pairs(run):
    table = run[0].sections[4].tables[0].frame
    # About 2,570 pairs per weekday: a standard error of .01, a little more for answers shared by pairs.
    np.testing.assert_allclose(table["adjusted"], 0.5, atol=0.045)
    np.testing.assert_allclose(table["raw"], table["raw, theory"], atol=0.045)
    assert table["raw, theory"][0] == pytest.approx(0.6136, abs=1e-4)


def test_reward_function_by_hand(run):
    section = run[0].sections[4]
    values = section.tables[1].frame.set_index("draft")
    assert values.loc["(blank)", "adjusted"] == "none"
    order = values.drop("(blank)")["adjusted"].str.replace("−", "-").astype(float)
    assert order.idxmax() == "What do the parks cost us?" and order.idxmin() == "THE PARKS!!! Read this now!!!"
    assert order["THE PARKS!!! Read this now!!!"] < order["A word on the parks."]
    assert section.readings[2].endswith("“What do the parks cost us?”")


def test_posts_repeat_and_the_features_count_what_is_in_them():
    first, again = drafts.write_posts(0), drafts.write_posts(0)
    assert first[0] == again[0] and (first[1] == again[1]).all()
    features = drafts.count_features(["One two?", "Stop!!"])
    np.testing.assert_allclose(features, [[np.log(3), 0, 1], [np.log(2), 2, 0]])
    star = (first[2]["author"] == "star").to_numpy()
    marks = drafts.count_features(first[0])[:, 1]
    # Means 1.5 and .3; 300 rows each.
    assert marks[star].mean() == pytest.approx(1.5, abs=0.3) and marks[~star].mean() == pytest.approx(0.3, abs=0.15)


def test_sections_name_their_sizes():
    assert "400 authors with 10 posts each" in groups.section(Settings()).text
    assert hidden.section(Settings(random_state=3)).tables[0].frame["truth"].tolist() == [1.0, 0.5, -0.75, 0.0]
