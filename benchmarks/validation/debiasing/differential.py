"""Section G, simulated parts: differential error, and regressions with a corrected outcome."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.measuring import quiet
from benchmarks.rows import Row, near
from benchmarks.simulation import Tier, listed_sd
from benchmarks.validation.debiasing.common import covers
from causalkit.datasets import make_differential_map
from causalkit.debiasing import LinearCalibration

__all__ = ["rows"]

_COEFFICIENTS = {"Intercept": (5.0, 0.949), "A": (0.7, 0.958), "W": (0.5, 0.946)}


def _differential(rng: np.random.Generator) -> dict[str, float]:
    data = make_differential_map(random_state=rng)
    out: dict[str, float] = {}
    for kind in ("shift", "arms"):
        correction = LinearCalibration(differential=kind)
        correction.fit(data.calibration_predictions, data.calibration_y, treatment=data.calibration_treatment)
        result = correction.effect(data.predictions, treatment=data.treatment)
        out[kind] = float(result.estimate[0])
        out[f"{kind} covers"] = covers(result, data.effect)
    return out


def _draw(n: int, rng: np.random.Generator) -> dict[str, Any]:
    w = rng.standard_normal(n)
    a = (rng.standard_normal(n) + w > 0).astype(float)
    y = 5 + 0.7 * a + 0.5 * w + rng.standard_normal(n)
    return {"A": a, "W": w, "y": y, "f": 2 + 0.5 * y + 0.5 * rng.standard_normal(n)}


def _regression(rng: np.random.Generator) -> dict[str, float]:
    import pandas as pd

    calibration, trial = _draw(300, rng), pd.DataFrame(_draw(600, rng))
    correction = LinearCalibration().fit(calibration["f"], calibration["y"])
    interval = correction.ols("f ~ A + W", trial).conf_int()
    return {
        name: float(interval.loc[name, "lower"] <= truth <= interval.loc[name, "upper"])
        for name, (truth, _) in _COEFFICIENTS.items()
    }


def rows(tier: Tier) -> Iterator[Row]:
    """G4 differential error, G5 regressions."""
    with quiet():
        yield from _shared_coefficients()
    draws = tier.repeat(_differential, 1000, 300, seed=6000)
    yield tier.mean_near("G4.1", "common slope and shift: mean", draws["shift"], 1.0, 0.01, "listed 1.002")
    yield listed_sd("G4.2", "common slope and shift: SD", draws["shift"], 0.059, 1000, 5e-4)
    hits = draws["shift covers"]
    yield tier.share_within("G4.3", "common slope and shift: coverage", hits, 0.93, 0.97, "listed .955")
    yield tier.mean_near("G4.4", "a line per arm: mean", draws["arms"], 1.0, 0.01)
    hits = draws["arms covers"]
    yield tier.share_within("G4.5", "a line per arm: coverage", hits, 0.93, 0.97, "listed .953")
    draws = tier.repeat(_regression, 1000, 300, seed=6001)
    for number, (name, (_, listed)) in enumerate(_COEFFICIENTS.items()):
        what = f"regression with a corrected outcome: coverage of {name}"
        yield tier.share_within(f"G5.{number + 4}", what, draws[name], 0.93, 0.97, f"listed {listed}")


def _shared_coefficients() -> Iterator[Row]:
    """`ols`, `correct_vcov` and least squares of the corrected column have the same coefficients."""
    import pandas as pd
    import statsmodels.formula.api as smf

    from causalkit.debiasing import correct_vcov

    rng = np.random.default_rng(6002)
    calibration, trial = _draw(300, rng), pd.DataFrame(_draw(600, rng))
    correction = LinearCalibration().fit(calibration["f"], calibration["y"])
    ours = correction.ols("f ~ A + W", trial)
    raw = smf.ols("f ~ A + W", trial).fit(cov_type="HC1")
    params, vcov = correct_vcov(raw, correction=correction)
    corrected = trial.assign(g=correction.transform(trial["f"].to_numpy()))
    plain = smf.ols("g ~ A + W", corrected).fit()
    difference = np.abs(ours.estimate - plain.params.to_numpy()).max()
    yield near("G5.1", "`ols` less least squares of the corrected column", difference, 0.0, 1e-10)
    difference = np.abs(np.asarray(params) - plain.params.to_numpy()).max()
    yield near("G5.2", "`correct_vcov` less least squares of the corrected column", difference, 0.0, 1e-10)
    difference = np.abs(np.asarray(vcov) / ours.cov - 1).max()
    yield near("G5.3", "covariance of `correct_vcov` (HC1 fit) against `ols`, relative", difference, 0.0, 1e-8)
