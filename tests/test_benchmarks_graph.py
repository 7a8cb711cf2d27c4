"""The tables of the graph family: deterministic sections in full, rules of the others, absent peers."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from benchmarks.command_line import main
from benchmarks.peers.graph import scale, scale_run
from benchmarks.peers.graph.errors import equal_coverage_width
from benchmarks.simulation import Tier
from benchmarks.validation.graph import baselines, common, published_design, spillover


def test_identities_hold_and_reach_the_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["validation", "graph", "--sections", "H", "--full", "--output", str(tmp_path)]) == 0
    assert "0 short" in capsys.readouterr().out
    page = (tmp_path / "graph.md").read_text()
    assert page.startswith("# Graph: acceptance table\n") and "dense double sums" in page
    ids = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| H")]
    assert len(ids) == len(set(ids)) >= 22


def test_published_recipe_adds_the_constant_of_the_wrong_regression() -> None:
    pytest.importorskip("torch_geometric")
    from benchmarks.validation.graph import published

    # An outcome that is the treatment's effect alone: least squares with a constant effect recovers 2 for all,
    # the recipe's linear arm cannot.
    rng = np.random.default_rng(3)
    X = rng.standard_normal((400, 3))
    treatment = rng.integers(0, 2, 400)
    ring = sparse.csr_array(sparse.diags_array([1.0, 1.0, 1.0, 1.0], offsets=[1, -1, 399, -399], shape=(400, 400)))
    sample = SimpleNamespace(X=X, y=2.0 * treatment, treatment=treatment, adjacency=ring)
    found = published.published_recipe(sample, 0)
    assert set(published.ARMS) < set(found)
    assert np.abs(found["mlp_linear_intercept"] - 2).mean() < 0.2
    assert np.abs(found["mlp_linear"] - 2).mean() > 1.0


def test_draws_are_the_same_for_any_number_of_processes() -> None:
    one = common.draws(Tier(n_jobs=1), _uniform, range(3, 6), seed=7)
    two = common.draws(Tier(n_jobs=2), _uniform, range(3, 6), seed=7)
    np.testing.assert_array_equal(one["value"], two["value"])
    np.testing.assert_array_equal(one["number"], [3, 4, 5])
    assert one["value"][0] == np.random.default_rng([7, 3]).random()
    both = common.joined(one, {"value": np.zeros(2), "other": np.ones(2)})
    assert set(both) == {"value"} and len(both["value"]) == 5


def _uniform(rng: np.random.Generator, r: int) -> dict[str, float]:
    return {"value": rng.random(), "number": float(r)}


def test_bars_are_taken_exactly_in_the_full_tier_and_widened_in_the_short_one() -> None:
    above, below = np.array([1.0, 3.0]), np.array([2.0, 2.0])
    row = common.ratio_row(Tier(full=True), "X1", "", above, below, 0.99)
    assert row.measured == 1.0 and row.failed
    # SD of above/2 is 1/√2, its standard error 1/2: three of them are 1.5.
    assert common.ratio_row(Tier(), "X1", "", above, below, 0.99).bar == "<= 0.99, band 1.5"
    assert common.bias_row(Tier(full=True), "X1", "", np.array([-0.3, 0.1]), 0.1).status == "ok"
    assert common.bias_row(Tier(full=True), "X1", "", np.array([-0.3, 0.0]), 0.1).status == "SHORT"
    assert common.sd_row(Tier(full=True), "X1", "", np.array([0.0, 2.0]), 1.41).status == "SHORT"
    assert common.sd_row(Tier(full=True), "X1", "", np.array([0.0, 2.0]), 1.42).status == "ok"


def test_shares_are_judged_at_their_bar() -> None:
    full = Tier(full=True)
    hits = np.repeat([1.0, 0.0], [181, 19])
    assert common.share_row(full, "X1", "", hits, 0.905, 0.985).status == "ok"
    assert common.share_row(full, "X1", "", hits[1:], 0.905, 0.985).status == "SHORT"
    assert common.share_row(full, "X1", "", np.ones(200), 0.905, 0.985).status == "SHORT"
    assert common.share_row(full, "X1", "", np.array([1.0] + [0.0] * 9), 0.0, 0.1, most=True).status == "ok"
    assert common.share_row(full, "X1", "", np.array([1.0] * 2 + [0.0] * 8), 0.0, 0.1, most=True).status == "SHORT"
    # Twenty draws of a share that meets .985, or .905: 3√(.985·.015/20) = .082, 3√(.905·.095/20) = .197.
    assert common.share_row(Tier(), "X1", "", np.ones(20), 0.905, 0.985).bar.endswith("band 0.082")
    assert common.share_row(Tier(), "X1", "", np.zeros(20), 0.905).bar.endswith("band 0.2")


def test_errors_and_widths_are_those_of_their_formulas() -> None:
    truth = np.array([1.0, -1.0, 3.0, 1.0])  # variance 2
    assert common.squared(truth + 0.5, truth) == 0.25
    assert common.relative(np.ones(4), truth) == 1.0
    assert common.covers(0.0, 1.0, 1.95) == 1.0 and common.covers(0.0, 1.0, 1.97) == 0.0
    # Errors twice as large as normal ones of that standard error need twice the width.
    z = np.linspace(-1, 1, 10_001)
    width = equal_coverage_width(2 * z, np.full(10_001, 0.5))
    assert width == pytest.approx(2 * 2 * 0.95, abs=1e-3)
    wide = equal_coverage_width(2 * z, np.full(10_001, 50.0))
    assert wide == pytest.approx(width, rel=1e-12)


def test_two_forests_find_what_one_arm_has_more_than_the_other() -> None:
    rng = np.random.default_rng(5)
    features = rng.standard_normal((600, 2))
    treatment = np.arange(600) % 2
    effect = 1.0 + (features[:, 0] > 0)
    sample = SimpleNamespace(y=treatment * effect, treatment=treatment)
    fold = np.arange(600) // 2 % 3
    folds = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(3)]
    found = baselines.arm_forest(features, sample, folds, 0)
    assert np.mean((found - effect) ** 2) < 0.03
    assert baselines.difference_in_means(sample) == pytest.approx(effect[treatment == 1].mean(), abs=1e-12)


def test_draws_with_one_effect_for_all_are_found() -> None:
    kept = published_design.constant_draws(1)
    assert len(kept) == 1
    np.testing.assert_allclose(kept[0].effect, 2.0, atol=1e-12)


def test_absent_peers_are_named_with_their_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("econml", "graphdml"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["peers", "graph", "--sections", "TSWE"]) == 0
    printed = capsys.readouterr().out
    assert "4 skipped" in printed
    assert printed.count("pip install -e '.[bench]'") == 2
    assert printed.count("pip install -e '.[econml]'") == 2


def test_spillover_rows_stand_without_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        f"{name}_{key}": np.full(4, value)
        for name in ("direct", "spillover", "scored_direct", "scored_spillover")
        for key, value in (("error", 0.01), ("se", 0.05), ("covers", 1.0))
    }
    monkeypatch.setattr(spillover, "uptake", lambda tier, varying: found | {"direct_mse": np.full(4, 0.2)})
    done = {row.id: row for row in spillover.rows(Tier(full=True))}
    assert done["F16.5"].status == "skipped" and "'.[bench]'" in done["F16.5"].note
    assert done["F16.1"].status == "ok" and done["F17.11"].status == "SHORT"


def test_growth_is_that_of_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(which: str, n: int, device: str = "cpu") -> dict[str, float]:
        return {"fit": n / 1000, "ate": 0.0, "overlap": 0.0, "error": 0.1, "peak": 2.0**30 * n / 1e5}

    monkeypatch.setattr(scale, "measured", run)
    monkeypatch.setattr(scale, "peer", lambda name: math)
    done = {row.id: row for row in scale.large_networks(Tier(full=True))}
    assert done["M3.1"].status == "SHORT"  # 1000 s are more than 15 minutes
    assert done["M3.2"].status == "SHORT" and done["M3.2"].measured == pytest.approx(10)
    assert done["M3.3"].measured == pytest.approx(10)
    assert done["M3.5"].status == "ok" and done["M3.5"].measured == 1
    assert [row.id for row in scale.large_networks(Tier())] == ["M1.1", "M1.2", "M1.4", "M1.5"]


def test_a_run_reports_error_and_memory_as_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(baselines, "nonparametric", lambda features, sample, seed: np.zeros(len(features)))
    assert scale_run.main(["econml", "400"]) == 0
    found = json.loads(capsys.readouterr().out)
    effect = scale_run._sample(400).effect
    assert found["error"] == pytest.approx((effect**2).mean() / effect.var(), rel=1e-12)
    assert found["peak"] > 50 * 2**20

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        assert options["env"]["OMP_NUM_THREADS"] == "2" and (options["cwd"] / "benchmarks").is_dir()
        return SimpleNamespace(stdout='a line of a library\n{"fit": 1.5}\n')

    monkeypatch.setattr(scale.subprocess, "run", run)
    assert scale.measured("ours", 400) == {"fit": 1.5}
