"""The runner of ``python -m benchmarks``: rows, exit status, pages. The tables themselves run on their own."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import rows
from benchmarks.command_line import main
from benchmarks.report import summary_line
from benchmarks.rows import Row
from benchmarks.simulation import Tier, listed_mean, listed_share, repeat
from benchmarks.validation import debiasing


@pytest.fixture
def no_income_map(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    from benchmarks.validation.debiasing import common

    monkeypatch.setenv("CAUSALKIT_INCOME_MAP", str(tmp_path / "absent.csv.gz"))
    common.income_map.cache_clear()
    yield
    common.income_map.cache_clear()


def test_rows_are_judged_at_their_bars() -> None:
    assert rows.near("X1", "", 1.5, 1.0, 0.5).status == "ok"
    assert rows.near("X1", "", 1.6, 1.0, 0.5).status == "SHORT"
    assert rows.near("X1", "", 1.6, 1.0, 0.5, band=0.2).status == "ok"
    assert rows.within("X1", "", 0.9, 0.935, 0.965).status == "SHORT"
    assert rows.at_least("X1", "", 0.93, 0.93).status == "ok"
    assert rows.at_most("X1", "", 3.1, 3.0).status == "SHORT"
    assert rows.near("X1", "", math.nan, 1.0, 0.5).status == "SHORT"
    listed = rows.deviation("X1", "", 2.0, 1.0, 0.1, "another definition")
    assert (listed.status, listed.failed) == ("deviation", False)


def test_the_band_is_added_in_the_short_tier_alone() -> None:
    hits = np.repeat([1.0, 0.0], [90, 10])
    short = Tier().share_within("X1", "", hits, 0.93)
    # 3 sqrt(.93 * .07 / 100) = .0765
    assert short.status == "ok" and "band 0.077" in short.bar
    full = Tier(full=True).share_within("X1", "", hits, 0.93)
    assert full.status == "SHORT" and "band" not in full.bar


def test_two_runs_are_compared_at_three_standard_errors_of_both() -> None:
    values = np.array([0.0, 2.0] * 50)
    # SD² = 100/99, so the tolerance is 3 sqrt(1/99 + 4/100) = .67150...
    expected = 3 * math.sqrt(1 / 99 + 4 / 100)
    assert listed_mean("X1", "", values, 1.0 + expected - 1e-9, 2.0, 100).status == "ok"
    assert listed_mean("X1", "", values, 1.0 + expected + 1e-9, 2.0, 100).status == "SHORT"
    assert listed_share("X1", "", values > 1, 0.75, 100).status == "SHORT"


def _draw(rng: np.random.Generator, *, scale: float) -> dict[str, float]:
    return {"value": scale * rng.random()}


def test_repetitions_are_seeded_by_cell_and_number() -> None:
    values = repeat(_draw, 13, seed=5, n_jobs=1, scale=2.0)["value"]
    assert values.tolist() == [2 * np.random.default_rng([5, r]).random() for r in range(13)]
    np.testing.assert_array_equal(values, repeat(_draw, 13, seed=5, n_jobs=2, scale=2.0)["value"])


def test_validation_prints_rows_and_returns_zero(
    no_income_map: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status = main(["validation", "debiasing", "--sections", "D", "--full", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    assert status == 0
    line = next(line for line in printed.splitlines() if line.startswith("D2.4 "))
    assert "0.4597114277" in line and line.rstrip().endswith("ok")
    assert "not run: income map absent" in printed
    assert "1 skipped, 1 deviations." in printed
    page = (tmp_path / "debiasing.md").read_text()
    assert page.startswith("# Debiasing: acceptance table\n")
    for words in ("Versions: Python", "numpy", "Seeds:", "Hardware:", "## Deviations", "## D. Fixed numbers"):
        assert words in page


def test_sections_that_are_not_measured_keep_their_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def first(tier: Tier) -> Iterator[Row]:
        yield rows.near("B1.1", "a | b", 2.0, 1.0, 0.1)

    def second(value: float) -> Callable[[Tier], Iterator[Row]]:
        return lambda tier: iter([rows.near("D1.1", "a number", value, 1.0, 0.1)])

    output = ["--full", "--output", str(tmp_path)]
    monkeypatch.setattr(debiasing, "_STEPS", (("B", first), ("D", second(5.0))))
    main(["validation", "debiasing", *output])
    page = tmp_path / "debiasing.md"
    assert "2 numbers: 0 ok, 2 short, 0 skipped, 0 deviations. Short: B1.1, D1.1." in page.read_text()
    monkeypatch.setattr(debiasing, "_STEPS", (("B", first), ("D", second(1.0))))
    main(["validation", "debiasing", "--sections", "D", *output])
    text = page.read_text()
    assert "2 numbers: 1 ok, 1 short, 0 skipped, 0 deviations. Short: B1.1." in text
    assert text.count("a \\| b") == 2 and "| D1.1 | a number | 1 |" in text  # among those that fall short, too
    assert "sections D were measured again" in text


def test_a_row_that_falls_short_gives_status_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def short(tier: Tier) -> Iterator[Row]:
        yield rows.near("D1.1", "a number", 2.0, 1.0, 0.1)

    monkeypatch.setattr(debiasing, "_STEPS", (("D", short),))
    assert main(["validation", "debiasing"]) == 1
    assert "Short: D1.1." in capsys.readouterr().out


def test_a_missing_peer_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ppi_py", None)
    assert main(["peers", "debiasing", "--sections", "L"]) == 0
    printed = capsys.readouterr().out
    assert "pip install -e '.[bench]'" in printed and "2 skipped" in printed


def test_the_summary_counts_every_status() -> None:
    done = [
        rows.near("A1", "", 1.0, 1.0, 0.1),
        rows.near("A2", "", 2.0, 1.0, 0.1),
        rows.skipped("A3", "", "no data"),
        rows.deviation("A4", "", 2.0, 1.0, 0.1, ""),
    ]
    assert summary_line(done) == "4 numbers: 1 ok, 1 short, 1 skipped, 1 deviations. Short: A2."
