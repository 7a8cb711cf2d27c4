"""The demo's chapter on compositions: with the files of real tables, without them, and the words about the numbers."""

import io

import numpy as np
import pandas as pd
import pytest

from causalkit.datasets import fetch_roman_glass_cups, fetch_soil_otu
from causalkit.demo.composition import CHAPTER, data, discoveries, networks, nulls, subparts, zeros
from causalkit.demo.content import Settings
from causalkit.demo.figures import render
from causalkit.demo.runner import run_chapter
from causalkit.demo.terminal import Terminal
from causalkit.exceptions import DatasetNotFoundError
from tests.datasets.composition_files import fetch_or_skip

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def no_files(monkeypatch):
    def missing():
        raise DatasetNotFoundError("not here")

    monkeypatch.setattr(data, "fetch_roman_glass_cups", missing)
    monkeypatch.setattr(data, "fetch_soil_otu", missing)


@pytest.fixture(scope="module")
def cups():
    fetch_or_skip(fetch_roman_glass_cups)
    return data.load_whole()


def test_cups_section_has_the_published_edges(cups):
    section = networks.section(cups)
    table = section.tables[0].frame.set_index("pair")
    # Partial correlations and correlations of percentages of the cups, by explicit regressions.
    assert table.loc["Si – Al", "partial"] == pytest.approx(0.721524, abs=1e-6)
    assert table.loc["Si – Al", "of percentages"] == pytest.approx(-0.635447, abs=1e-6)
    assert section.readings[0].startswith("4 of 55 pairs have q of at most 5 % (zero null, 37 degrees of freedom)")
    assert "Si – Al, −0.64 for percentages and 0.72 for log-ratios" in section.readings[1]


def test_cups_nulls_share_three_of_four_pairs(cups):
    section = nulls.section(cups)
    assert set(section.tables[0].frame["pair"]) == {"Al – Fe", "Si – Al", "Si – Fe", "Ca – Na", "Al – Ca"}
    assert "4 pairs under the zero null, 4 under the closure null, 3 under both" in section.readings[0]


def test_cups_subcomposition_moves_a_pair(cups):
    section = subparts.section(cups)
    assert section.readings[0] == "Al – Na: 0.31 among all 11 parts, 0.69 among 5."
    row = section.tables[0].frame.set_index("pair").loc["Al – Na"]
    assert row["partial, 11 parts"] == pytest.approx(0.305199, abs=1e-6)
    assert row["partial, 5 parts"] == pytest.approx(0.689470, abs=1e-6)


def test_soil_table_drops_the_sample_with_one_read_in_plain_sight():
    fetch_or_skip(fetch_soil_otu)
    table = data.load_count_table(0)
    assert table.counts.shape == (88, 95)
    assert "103.BB1" not in table.counts.index
    assert table.confounder.index.equals(table.counts.index)
    assert "1 sample with a single read was dropped" in table.note and "63 % zeros" in table.note


def test_without_files_the_note_says_what_is_used_instead(no_files):
    whole, counts = data.load_whole(), data.load_count_table(0)
    assert whole.parts.shape == (294, 4) and (whole.parts > 0).all(axis=None)
    assert "CAUSALKIT_DATA" in whole.note and "294 Californian" in whole.note
    assert "soil table was not found" in counts.note and "20 pairs are related" in counts.note
    assert set(whole.pair) <= set(whole.kept) <= set(whole.parts.columns)


def test_simulated_counts_repeat_and_the_moved_taxa_are_not_related():
    first, again, other = (data.simulate_counts(seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first.counts, again.counts)
    assert not first.counts.equals(other.counts)
    moved = [2, 5, 8, 11]
    assert not first.truth[np.ix_(moved, moved)].any()
    logs = np.log(first.counts.to_numpy() + 0.5)
    clr = logs - logs.mean(axis=1, keepdims=True)
    correlation = [np.corrcoef(clr[:, j], first.confounder)[0, 1] for j in moved]
    assert np.sign(correlation).tolist() == [1, -1, 1, -1] and min(np.abs(correlation)) > 0.5


def test_zeros_section_counts_its_own_table():
    table = data.simulate_counts(0)
    section = zeros.section(table)
    frame = section.tables[0].frame
    assert len(frame) == 5 and frame["rule"].iloc[-1] == "gbm, acidity removed"
    zero_cells = int((table.counts == 0).to_numpy().sum())
    assert frame["capped cells"].iloc[0].endswith(f"of {zero_cells}")
    assert (frame["of them related in truth"] <= frame["pairs with q ≤ 0.05"]).all()
    # Acidity links taxa that are not related: with it removed, fewer false pairs are left.
    false = frame["pairs with q ≤ 0.05"] - frame["of them related in truth"]
    assert false.iloc[-1] < false.iloc[0]


def test_discoveries_count_edges_against_the_truth():
    table = discoveries.section(Settings(repetitions=2)).tables[0].frame
    assert len(table) == 6
    shares = table[["false discoveries", "power"]].to_numpy()
    assert ((shares >= 0) & (shares <= 1)).all()
    # Edges found are true ones, 26 times the power, and false ones.
    assert (table["edges found"] + 1e-9 >= 26 * table["power"]).all()
    invariant = table[table["method"] == "invariant"]
    assert (invariant["power"] > 0.2).all(), "0.44 and 0.47 over many draws"


def test_chapter_runs_and_every_figure_draws_in_both_colours(cups):
    stream = io.StringIO()
    result = run_chapter(CHAPTER, Settings(repetitions=2), Terminal(stream))
    assert [section.title for section in result.sections] == [
        "Percentages and log-ratios",
        "Two null hypotheses",
        "Parts that are left out",
        "Shrinkage and units",
        "A count table with zeros",
        "False discoveries, truth known",
    ]
    figures = [figure for section in result.sections for figure in section.figures]
    assert len({figure.name for figure in figures}) == len(figures) == 8
    for figure in figures:
        rendered = render(figure)
        assert rendered.light.startswith(PNG) and rendered.dark.startswith(PNG)
    units = result.sections[3].tables[0].frame.set_index("shrinkage")["change of r, largest"]
    assert (units.drop("basis") < 1e-6).all() and units["basis"] > 0.01
