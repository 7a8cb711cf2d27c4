"""The demo's chapter on extrapolation: numbers against the simulated truth, and the words about them."""

import io

import numpy as np
import pytest

from causalkit.demo.content import Settings
from causalkit.demo.extrapolation import CHAPTER
from causalkit.demo.extrapolation.study import Study
from causalkit.demo.figures import render
from causalkit.demo.runner import run_chapter
from causalkit.demo.terminal import Terminal

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def run():
    stream = io.StringIO()
    return run_chapter(CHAPTER, Settings(), Terminal(stream)), stream.getvalue()


def table_of(run, section, index):
    return run[0].sections[section].tables[0].frame.set_index(index)


def test_chapter_runs_and_every_figure_draws_in_both_colours(run):
    result, text = run
    assert [section.title for section in result.sections] == [
        "A dose curve beyond the doses",
        "How far the data reach",
        "What the tests can see",
        "Actions that say nothing",
    ]
    assert "extrapolation 4/4: actions that say nothing" in text
    figures = [figure for section in result.sections for figure in section.figures]
    assert len({figure.name for figure in figures}) == len(figures) == 3
    for figure in figures:
        rendered = render(figure)
        assert rendered.light.startswith(PNG) and rendered.dark.startswith(PNG)


def test_curve_extrapolates_better_than_regressions_on_the_dose(run):
    table = table_of(run, 0, "curve")
    ours, others = table.loc["Rep4Ex"], table.drop("Rep4Ex")
    assert ours["error inside"] < 0.2
    assert ours["error beyond"] < 0.6 and (others["error beyond"] > ours["error beyond"]).all()
    # Least squares by the design: the slope of a curve f on a uniform dose in (-1, 1) is 3 E[a f(a)].
    a = np.linspace(-1, 1, 20_001)
    truth = a + 1.5 * np.exp(-0.72) * np.sin(1.2 * a)
    grid = Study.grid(1)[:, 0]
    beyond = np.abs(grid) > 1
    gap = 3 * np.mean(a * truth) * grid - (grid + 1.5 * np.exp(-0.72) * np.sin(1.2 * grid))
    assert others["error beyond"].iloc[0] == pytest.approx(np.sqrt(np.mean(gap[beyond] ** 2)), abs=0.45)
    assert "less than the best regression" in run[0].sections[0].readings[0]


def test_strong_doses_encode_better_and_reach_less_far(run):
    table = table_of(run, 1, "strength")
    assert table.loc[2, "R² of the hidden variable"] > table.loc[1, "R² of the hidden variable"] > 0.9
    # Effective share at 1.5 by quadrature: .24 for strength 1, .038 for strength 2.
    assert table.loc[1, "effective rows at 1.5"] / 2500 == pytest.approx(0.24, abs=0.05)
    assert table.loc[2, "effective rows at 1.5"] / 2500 == pytest.approx(0.038, abs=0.015)
    assert table.loc[2, "reach"] < table.loc[1, "reach"]
    assert table.loc[2, "visible directions"] >= table.loc[1, "visible directions"]


def test_principal_component_is_caught_inside_the_support(run):
    table = table_of(run, 2, "representation")
    assert table.loc["linear-invariance encoder", "off inside"] < 0.1 < table.loc["first principal component"].iloc[0]
    assert not table.loc["first principal component", "ok"]
    assert any("misses the data there" in message for message in run[0].sections[2].messages)
    assert "a pass is no evidence" in run[0].sections[2].readings[1]


def test_actions_without_a_middle_are_refused(run):
    table = table_of(run, 3, "actions")
    assert table["answer"].tolist() == ["refused", "refused", "fitted with a warning"]
    assert "2 distinct rows" in table.loc["treated or not", "words"]
    assert "lattice" in table.loc["four doses", "words"]
    assert run[0].sections[3].readings[0].startswith("2 of 3")


def test_designs_share_their_noise_and_differ_in_strength():
    study = Study(3)
    np.testing.assert_array_equal(study.weak.noise, study.strong.noise)
    np.testing.assert_allclose(study.strong.action_matrix, 2 * study.weak.action_matrix)
