"""The tables of the augmentation family: deterministic sections in full, rules of the others, absent peers and data."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.command_line import main
from benchmarks.peers.augmentation.common import interleaved_cpu_medians
from benchmarks.simulation import Tier
from benchmarks.validation.augmentation import exact, identities, intervals, optical
from benchmarks.validation.augmentation.common import listed, mean_of_listed
from causalkit.datasets import make_optical_like


def test_exact_rationals_and_seeded_samples_hold() -> None:
    done = [*exact.rational_rows(Tier()), *exact.fixture_rows(Tier())]
    assert len(done) == 66
    assert [row.id for row in done if row.status != "ok"] == []
    assert len({row.id for row in done}) == len(done)


def test_identities_hold() -> None:
    done = list(identities.rows(Tier()))
    assert [row.id for row in done if row.failed] == []
    assert len({row.id for row in done}) == len(done)
    assert sum(row.status == "ok" for row in done) >= 45


def test_two_runs_of_designs_are_compared_at_three_standard_errors_of_both() -> None:
    values = np.array([0.0, 0.02] * 50)
    # SD² = 1e-4·100/99; half a unit of the fourth decimal is added for the rounding of the listed mean
    own = 1e-4 / 99
    stated = 3 * math.sqrt(own + 0.001**2) + 5e-5
    assert listed("X1", "", values, 0.01 + stated - 1e-9, 0.001, 400).status == "ok"
    assert listed("X1", "", values, 0.01 + stated + 1e-9, 0.001, 400).status == "SHORT"
    derived = 3 * math.sqrt(own + 1e-4 * 100 / 99 / 400) + 5e-5
    assert listed("X1", "", values, 0.01 + derived - 1e-9, n_listed=400).status == "ok"
    assert listed("X1", "", values, 0.01 + derived + 1e-9, n_listed=400).status == "SHORT"
    band = 3 * math.sqrt(own)
    assert mean_of_listed("X1", "", values, 0.01 + band - 1e-9, 0.5).status == "ok"
    assert mean_of_listed("X1", "", values, 0.01 + band + 1e-9, 0.5).status == "SHORT"


def test_population_coefficients_of_the_fixed_design() -> None:
    design = intervals._design()
    # Least squares on a large augmented sample of the same design is α = ∞, c = 1.
    X, y = intervals._rows_of(design, np.random.default_rng(1), 200_000)
    GX = X + np.random.default_rng(2).standard_normal((len(y), len(design.basis))) @ design.basis
    fitted = np.linalg.lstsq(GX, y, rcond=None)[0]
    # Noise of the 200 000 rows: at most .02 for any coefficient.
    np.testing.assert_allclose(fitted, design.population(math.inf), atol=0.02)
    assert np.abs(design.basis @ design.effect).max() < 1e-12


def test_optical_protocol_recovers_an_unconfounded_device() -> None:
    sample = make_optical_like(1000, brightness=0.0, random_state=0)
    found = optical.experiment_errors(sample.X, sample.y, sample.led, seed=0, n_draws=2)
    # Nothing is confounded: least squares is the effect up to the part of y that the LED explains by chance.
    assert found["degree"] == 1
    assert found["ERM"] < 1e-4
    # Noise on every pixel shrinks an effect that the pixels do have.
    assert found["DA+ERM"] > found["ERM"] and found["V1@0.01"] > found["DA+ERM"]


def test_absent_optical_files_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CAUSALKIT_OPTICAL_DEVICE", str(tmp_path))
    optical._frames.cache_clear()
    try:
        done = list(optical.rows(Tier()))
    finally:
        optical._frames.cache_clear()
    assert [row.status for row in done] == ["skipped"]
    assert "CAUSALKIT_OPTICAL_DEVICE" in done[0].note


def test_missing_peers_are_named_with_their_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ivmodels.models.anchor_regression", "linearmodels.iv", "pyfixest", "anchorboosting"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["peers", "augmentation", "--sections", "ATB"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("pip install -e '.[bench]'") == 5 and "5 skipped" in printed


def test_validation_writes_its_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["validation", "augmentation", "--sections", "A", "--full", "--output", str(tmp_path)]) == 0
    assert "12 ok, 0 short" in capsys.readouterr().out
    page = (tmp_path / "augmentation.md").read_text()
    assert page.startswith("# Augmentation: acceptance table\n") and "485/1061" in page


def test_calls_take_turns_after_one_that_is_not_counted() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    assert set(interleaved_cpu_medians(calls, repeats=2, inner=2)) == {"a", "b"}
    assert "".join(order) == "ab" + "aabb" * 2
