"""The tables of the extrapolation family: deterministic sections in full, rules of the others, absent peers."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from joblib import parallel_config

from benchmarks.command_line import main
from benchmarks.peers.extrapolation import errors
from benchmarks.peers.extrapolation import penalty as dense
from benchmarks.simulation import Tier
from benchmarks.validation.extrapolation import common, curves, diagnostics, identities, networks, times


def test_identities_hold_and_reach_the_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["validation", "extrapolation", "--sections", "L", "--full", "--output", str(tmp_path)]) == 0
    assert "0 short" in capsys.readouterr().out
    page = (tmp_path / "extrapolation.md").read_text()
    assert page.startswith("# Extrapolation: acceptance table\n") and "dense double sum" in page
    ids = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| L")]
    assert len(ids) == len(set(ids)) >= 10


def test_quadrature_of_the_reach_agrees_with_a_second_rule() -> None:
    from scipy import integrate
    from scipy.stats import norm

    alpha, a = 2.0, 1.5

    def ratio(z: float) -> float:
        train = (norm.sf(z - alpha) - norm.sf(z + alpha)) / (2 * alpha)
        return float(norm.pdf(z - alpha * a) ** 2 / train)

    value = 1 / integrate.quad(ratio, alpha * a - 8, alpha * a + 8, epsabs=1e-10)[0]
    assert diagnostics.effective_share(alpha, a) == pytest.approx(value, rel=1e-7)
    # A point in the middle of a long support: p_train is 1/(2α), and ∫ p_do² = 1/(2√π).
    assert diagnostics.effective_share(50.0, 0.0) == pytest.approx(2 * math.sqrt(math.pi) / 100, rel=1e-9)


def test_visible_share_of_the_square_is_its_closed_form() -> None:
    s = 4 * 81 / 45
    assert diagnostics.visible_share(3.0, 2) == pytest.approx(s / (s + 4 * 9 / 3 + 2), abs=1e-13)


def test_curve_errors_are_those_of_the_listed_points() -> None:
    one = SimpleNamespace(actions=np.zeros((3, 1)), do_mean=lambda a: a[:, 0])
    # Off by |a|: √((2² + 2.5²)/2) far, √((.5² + 1)/2) in.
    found = common.curve_errors(lambda a: a[:, 0] + np.abs(a[:, 0]), one)
    assert found["far"] == pytest.approx(math.sqrt((4 + 6.25) / 2))
    assert found["in"] == pytest.approx(math.sqrt((0.25 + 1) / 2))
    two = SimpleNamespace(actions=np.zeros((3, 2)), do_mean=lambda a: 0 * a[:, 0])
    found = common.curve_errors(lambda a: np.linalg.norm(a, axis=1), two)
    assert [found[zone] for zone in ("in", "near", "far")] == pytest.approx([0.7, 1.5, 2.25])


def test_ruler_of_a_representation_is_affine_invariant_and_out_of_sample() -> None:
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((400, 2))
    assert common.linear_r2(latent @ [[1.0, 2.0], [0.5, -1.0]] + 3, latent) == pytest.approx(1, abs=1e-12)
    # Noise of the variance of the signal leaves half; columns of noise alone fall below zero out of sample.
    assert common.linear_r2(latent + rng.standard_normal((400, 2)), latent) == pytest.approx(0.5, abs=0.12)
    assert common.linear_r2(rng.standard_normal((400, 80)), latent) < 0


def test_medians_are_judged_at_the_bar_in_the_full_tier() -> None:
    values = np.array([0.1, 0.3, 0.4])
    full, short = Tier(full=True), Tier()
    assert common.median_row(full, "X1", "", values, 0.3).status == "ok"
    row = common.median_row(full, "X1", "", values, 0.299)
    assert row.status == "SHORT" and "0.1 0.3 0.4" in row.note
    assert common.median_row(full, "X1", "", values, 0.31, least=True).status == "SHORT"
    # Three errors of the median, √(π/2)·sd/√3 each.
    band = 3 * math.sqrt(math.pi / 2) * np.std(values, ddof=1) / math.sqrt(3)
    assert common.median_row(short, "X1", "", values, 0.3 - band + 1e-9).status == "ok"
    assert common.median_row(short, "X1", "", values, 0.3 - band - 1e-9).status == "SHORT"


def test_draws_are_the_same_for_any_number_of_processes() -> None:
    one = common.draws(Tier(n_jobs=1), _uniform, range(3))
    with parallel_config(backend="threading"):
        two = common.draws(Tier(n_jobs=2), _uniform, range(3))
    np.testing.assert_array_equal(one["value"], two["value"])
    assert one["value"][1] == np.random.default_rng(1).random()


def _uniform(r: int) -> dict[str, float]:
    return {"value": np.random.default_rng(r).random()}


def test_dense_form_is_the_kernel_and_the_double_sum() -> None:
    phi, actions, frequencies = dense.case(40)
    kernel = dense.dense_kernel(actions)
    direct = np.exp(-((actions[:, None] - actions[None]) ** 2).sum(axis=2) / 2)
    np.testing.assert_allclose(kernel, direct, atol=1e-13)
    coef = np.linalg.lstsq(np.column_stack([np.ones(40), actions]), phi, rcond=None)[0]
    r = phi - coef[0] - actions @ coef[1:]
    total = sum(r[i] @ r[j] * direct[i, j] for i in range(40) for j in range(40)) / 1600
    assert identities.dense_penalty(phi, actions, direct) == pytest.approx(total, rel=1e-12)
    assert frequencies.shape == (2, 128)


def test_gradients_of_both_forms_agree_for_the_same_kernel() -> None:
    torch = pytest.importorskip("torch")
    phi, actions, frequencies = dense.case(60)
    from causalkit.extrapolation import random_fourier_features

    threads = torch.get_num_threads()
    try:
        calls = dense._gradients(phi, actions, random_fourier_features(actions, frequencies))
        ours, theirs, built = (calls[name]().numpy() for name in ("ours", "dense", "built"))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(theirs, built, atol=1e-10)
    # They differ by the error of 256 random features alone.
    assert np.abs(ours - theirs).max() < 0.3 * np.abs(theirs).max()


def test_absent_torch_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (networks, curves):
        monkeypatch.setattr(module, "installed", lambda name: False)
    monkeypatch.setattr(times, "LinearInvarianceEncoder", _Quick)
    rows = [*networks.one_action_rows(Tier()), *networks.two_action_rows(Tier()), *curves.two_action_rows(Tier())]
    rows += list(times.rows(Tier()))[2:]
    assert [row.status for row in rows] == ["skipped"] * 4
    assert all("'.[torch]'" in row.note for row in rows)


class _Quick:
    def __init__(self, **options: Any) -> None:
        self.options = options

    def fit(self, X: Any, *, actions: Any) -> _Quick:
        return self


def test_missing_engression_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "engression", None)
    monkeypatch.setattr(errors, "draws", _fabricated)
    assert main(["peers", "extrapolation", "--sections", "E"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("engression is not installed: pip install -e '.[bench]'") == 2 and "2 skipped" in printed
    # Errors 1 for all but the network, which has ½: Rep4Ex over the network is 2.
    assert "Rep4Ex() over network of y on A" in printed and "in 0 of 2 draws" in printed


def _fabricated(tier: Tier, call: Any, numbers: range, **settings: Any) -> dict[str, np.ndarray]:
    names = [name for name in errors._WORDS if name != "engression"]
    found = {}
    for name in names:
        for key in ("in", "near", "far", "seconds"):
            found[f"{name} {key}"] = np.full(len(numbers), 0.5 if name == "network" else 1.0)
    return found
