"""Section 1: the mean outcome under doses that were not tried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from causalkit.demo.content import Figure, Section, Table
from causalkit.demo.extrapolation.study import Study
from causalkit.extrapolation.baselines import make_baseline
from causalkit.plotting import DoseCurveDisplay

__all__ = ["section"]

_BASELINES = {"linear": "least squares", "flexible": "splines", "network": "network"}


def section(study: Study) -> Section:
    """The curve beside regressions of the outcome on the dose, and the truth."""
    sample, result, grid = study.weak, study.weak_curve, study.grid(1)
    others = pd.DataFrame(
        {
            name: make_baseline(name, 1, study.random_state).fit(sample.actions, sample.y).predict(grid)
            for name in _BASELINES
        }
    )
    truth = sample.do_mean(grid)
    beyond = np.abs(grid[:, 0]) > 1
    errors = others.sub(truth, axis=0).assign(Rep4Ex=result.estimate - truth)
    table = pd.DataFrame(
        {
            "curve": ["Rep4Ex", *(f"{words} of y on the dose" for words in _BASELINES.values())],
            "error inside": [_root(errors[name][~beyond]) for name in ("Rep4Ex", *_BASELINES)],
            "error beyond": [_root(errors[name][beyond]) for name in ("Rep4Ex", *_BASELINES)],
        }
    )
    return Section(
        title="A dose curve beyond the doses",
        text=(
            "A regression of the outcome on the dose is right inside the support and a guess beyond it. The features "
            "show which values of the hidden variable lie further along the line on which doses move it, and what the "
            "outcome is there. Errors are root mean squares against the true curve, inside and beyond the doses tried."
        ),
        tables=(Table("Error of each curve", table),),
        figures=(_figure(study, others, truth),),
        readings=tuple(_readings(table, study)),
    )


def _root(errors: Any) -> float:
    return float(np.sqrt(np.mean(np.asarray(errors) ** 2)))


def _figure(study: Study, others: pd.DataFrame, truth: Any) -> Figure:
    result, interval = study.weak_curve, study.weak_curve.conf_int()
    support = result.support

    def draw(canvas: Any) -> None:
        DoseCurveDisplay(
            position=study.grid(1)[:, 0],
            estimate=result.estimate,
            flags=[] if support is None else support["flag"],
            lower=interval["lower"].to_numpy(),
            upper=interval["upper"].to_numpy(),
            baselines=others,
            truth=truth,
            observed=study.weak.actions[:, 0],
            xlabel="dose",
        ).plot(ax=canvas.subplots())

    return Figure(
        "extrapolation-curve",
        "Mean outcome under every dose with its band, regressions on the dose, the truth; support shaded.",
        draw,
        (8.8, 4.2),
    )


def _readings(table: pd.DataFrame, study: Study) -> Iterator[str]:
    ours, others = table.iloc[0], table.iloc[1:]
    best = others.sort_values("error beyond").iloc[0]
    words = "less than" if ours["error beyond"] < best["error beyond"] else "no less than"
    yield (
        f"Beyond the doses tried the curve is off by {ours['error beyond']:.2f}, {words} the best regression "
        f"({best['curve']}: {best['error beyond']:.2f})."
    )
    interval, truth = study.weak_curve.conf_int(), study.weak.do_mean(study.grid(1))
    covered = ((interval["lower"] <= truth) & (truth <= interval["upper"])).sum()
    yield (
        f"The 95 % band contains the truth at {covered} of {len(truth)} doses: it takes the encoder as given, and does "
        "not cover its bias."
    )
