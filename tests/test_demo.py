"""The demo: runs end to end, and leaves one report that refers to nothing outside itself."""

import io
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalkit.demo.chapters import CHAPTERS
from causalkit.demo.command import main
from causalkit.demo.content import Chapter, ChapterResult, Figure, Plan, Section, Settings, Step, Table
from causalkit.demo.debiasing.estimates import Estimate, amount, count_covered, estimates_table
from causalkit.demo.debiasing.real_map import load_real_map
from causalkit.demo.figures import render
from causalkit.demo.html_report import html_report
from causalkit.demo.runner import run_chapter, run_step
from causalkit.demo.terminal import Terminal, format_columns, format_number
from causalkit.exceptions import CalibrationWarning, DataNotFoundError
from tests.datasets.income_map import income_map_path

STEPS = (
    "A map and its two slopes",
    "A map with several modes, truth known",
    "Real errors, exclusion enforced",
    "Where exclusion fails",
    "The regression table",
    "Sites and transport",
    "Labels in the trial",
)
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def no_income_map(monkeypatch):
    for name in ("CAUSALKIT_INCOME_MAP", "CAUSALKIT_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def diabetes_run(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo") / "new" / "folder"
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CAUSALKIT_INCOME_MAP", "CAUSALKIT_DATA"):
            patch.delenv(name, raising=False)
        status = main(["--output", str(output), "--repetitions", "2"], stream=stream)
    return status, output, stream.getvalue()


def references(html):
    return re.findall(r'(?:src|srcset|href)="([^"]{0,30})', html)


def check_report(output):
    html = (output / "report.html").read_text(encoding="utf-8")
    for chapter in CHAPTERS:
        assert chapter.title in html
    for title in STEPS:
        assert f"{title}</h3>" in html
    assert references(html), "the report has figures and links within itself"
    assert all(text.startswith(("data:image/png;base64,", "#")) for text in references(html))
    assert not re.search(r"https?:|//cdn|@import|<script|<link|url\(", html)
    assert "prefers-color-scheme: dark" in html
    anchors = {text[1:] for text in references(html) if text.startswith("#")}
    assert anchors <= set(re.findall(r'id="([^"]+)"', html))
    return html


# ---------------------------------------------------------------------- the whole


def test_runs_without_the_income_map_and_says_which_data(diabetes_run):
    status, output, text = diabetes_run
    assert status == 0
    html = check_report(output)
    for words in (text, html):
        assert "diabetes" in words
        assert "income map was not found" in re.sub(r"\s+", " ", words)


def test_one_progress_line_per_step_with_seconds(diabetes_run):
    _, _, text = diabetes_run
    numbers = re.findall(r"^\[ +\d+\.\d s\] debiasing (\d)/7: ", text, flags=re.MULTILINE)
    assert numbers == list("1234567")
    seconds = [float(found) for found in re.findall(r"^\[ +(\d+\.\d) s\]", text, flags=re.MULTILINE)]
    assert seconds == sorted(seconds)


def test_figures_are_files_and_in_the_report(diabetes_run):
    _, output, _ = diabetes_run
    names = {path.name for path in output.iterdir()}
    pictures = sorted(output.glob("*.png"))
    assert names == {"report.html", *(path.name for path in pictures)}
    assert len(pictures) >= 6
    assert all(path.read_bytes().startswith(PNG) for path in pictures)
    html = (output / "report.html").read_text(encoding="utf-8")
    assert html.count("<figure>") == len(pictures)


def test_warnings_of_the_library_are_in_the_report(diabetes_run):
    _, output, _ = diabetes_run
    html = (output / "report.html").read_text(encoding="utf-8")
    assert "What the library said" in html
    assert "new-site distribution used: transport variance included" in html


def test_runs_on_the_income_map(tmp_path):
    stream = io.StringIO()
    arguments = ["--output", str(tmp_path), "--repetitions", "2", "--income-map", str(income_map_path())]
    assert main(arguments, stream=stream) == 0
    html = check_report(tmp_path)
    assert "income map, 91,377 points" in html
    # Slope .4697 of the calibration rows; north minus south 10 978 dollars in truth, 7 637 in the predictions.
    assert "0.4697" in html
    assert "truth 11.0, naive 7.64, linear calibration 16.3" in html
    assert "[7.64, 16.3] holds the truth: yes" in html
    assert "[3.65, 7.77] holds the truth: no" in html


# ---------------------------------------------------------------------- failures


@pytest.mark.parametrize("inside", [False, True])
def test_output_that_cannot_be_written(tmp_path, capsys, inside):
    taken = tmp_path / "file"
    taken.write_text("kept")
    output = taken / "folder" if inside else taken
    stream = io.StringIO()
    assert main(["--output", str(output)], stream=stream) == 1
    message = capsys.readouterr().err
    assert f"--output {output} cannot be written" in message
    assert "name a folder" in message
    assert stream.getvalue() == "", "nothing is computed before"
    assert taken.read_text() == "kept"


def test_named_map_that_is_not_there(tmp_path, capsys):
    missing = tmp_path / "nowhere.csv"
    assert main(["--output", str(tmp_path / "out"), "--income-map", str(missing)], stream=io.StringIO()) == 1
    message = capsys.readouterr().err
    assert "income map was not found" in message
    assert str(missing) in message


def test_variable_that_names_a_missing_map_is_taken_at_its_word(tmp_path, monkeypatch):
    monkeypatch.setenv("CAUSALKIT_INCOME_MAP", str(tmp_path / "nowhere.csv"))
    with pytest.raises(DataNotFoundError, match="CAUSALKIT_INCOME_MAP"):
        load_real_map(None, 0)


def test_named_file_that_is_no_map(tmp_path, capsys):
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    assert main(["--output", str(tmp_path / "out"), "--income-map", str(other)], stream=io.StringIO()) == 1
    assert "lacks the columns" in capsys.readouterr().err


def test_without_matplotlib_the_message_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["--output", str(tmp_path / "out")], stream=io.StringIO()) == 1
    assert "install the extra `plot`" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [["--repetitions", "1"], ["--repetitions", "many"], ["--seed", "-1"], ["--unknown"]]
)
def test_command_line_that_makes_no_sense(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: python -m causalkit.demo" in capsys.readouterr().err


# ---------------------------------------------------------------------- parts


def test_diabetes_rows_are_split_and_regions_match_the_features(no_income_map):
    from sklearn.datasets import load_diabetes

    data = load_real_map(None, 0)
    assert len(data.calibration.y) == len(data.trial.y) == 221
    both = np.sort(np.concatenate([data.calibration.y, data.trial.y]))
    np.testing.assert_array_equal(both, np.sort(load_diabetes().target))
    bmi = load_diabetes().data[:, 2]
    counted = int(data.regions[1].calibration.sum() + data.regions[1].trial.sum())
    assert counted == int((bmi > np.median(bmi)).sum())


def test_warnings_are_gathered_once_per_kind_and_others_pass_through():
    def noisy():
        for value in (0.25, 0.5, 0.75):
            warnings.warn(f"share {value}", CalibrationWarning, stacklevel=1)
        warnings.warn("other words", CalibrationWarning, stacklevel=1)
        warnings.warn("not ours", RuntimeWarning, stacklevel=1)
        return Section("title", "text")

    with pytest.warns(RuntimeWarning, match="not ours"):
        section = run_step(Step("noisy", noisy))
    assert section.messages == (
        "CalibrationWarning: share 0.25 (3 times; the numbers are of the first)",
        "CalibrationWarning: other words",
    )


def test_a_new_chapter_is_shown_without_changing_the_rendering():
    def draw(canvas):
        canvas.subplots().plot([0, 1], [0, 1])

    frame = pd.DataFrame({"name <b>": ["x & y"], "number": [1234.5678]})
    section = Section("One <step>", "text", (Table("T", frame),), (Figure("drawn", "a line", draw),), ("read",))
    chapter = Chapter("other", "Other family", "Why?", lambda settings: Plan("note", (Step("go", lambda: section),)))
    stream = io.StringIO()
    result = run_chapter(chapter, Settings(), Terminal(stream))
    assert isinstance(result, ChapterResult)
    html = html_report([result], {"drawn": render(section.figures[0])}, 1.0)
    assert "One &lt;step&gt;" in html
    assert "x &amp; y" in html
    assert "1,235" in html and "1,235" in stream.getvalue()
    assert "other 1/1: go" in stream.getvalue()


def test_figures_differ_in_light_and_dark_and_leave_no_trace():
    import matplotlib

    def draw(canvas):
        canvas.subplots().set_title("words")

    before = dict(matplotlib.rcParams)
    rendered = render(Figure("drawn", "words", draw))
    assert rendered.light.startswith(PNG) and rendered.dark.startswith(PNG)
    assert rendered.light != rendered.dark
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (0.12345, "0.1235"), (12.345, "12.35"), (91377.0, "91,377"), (-2.5, "−2.500"), (-1e-9, "0.0000"),
     (float("nan"), "–"), (float("inf"), "∞"), (-float("inf"), "−∞")],
)  # fmt: skip
def test_numbers(value, text):
    assert format_number(value) == text


def test_columns_share_decimals_and_name_small_p_values():
    frame = pd.DataFrame({"p": [1e-9, 0.04], "estimate": [1.0, 2.0], "upper": [10.0, 200.0], "ok": [True, False]})
    texts = format_columns(frame)
    assert texts["p"].tolist() == ["< 0.0001", "0.0400"]
    assert texts["estimate"].tolist() == ["1.0", "2.0"]
    assert texts["upper"].tolist() == ["10.0", "200.0"]
    assert texts["ok"].tolist() == ["yes", "no"]


def test_words_about_estimates():
    inside, outside = Estimate("a", 1.0, 0.5, 0.0, 2.0), Estimate("b", 5.0, 0.5, 4.0, 6.0)
    assert count_covered([inside, outside], [1.5, 1.5]) == "1 of 2"
    assert estimates_table([inside, outside], 2.0)["estimate / truth"].tolist() == [0.5, 2.5]
    assert [amount(value) for value in (1234.6, -0.04567, 0.0)] == ["1,235", "−0.0457", "0.000"]


def test_a_terminal_with_few_characters_is_no_obstacle(tmp_path):
    path = Path(tmp_path) / "out.txt"
    with path.open("w", encoding="ascii") as stream:
        Terminal(stream).line("τ = 1")
    assert path.read_text() == "? = 1\n"
