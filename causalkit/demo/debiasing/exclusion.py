"""Section 4: arms that the map can see, and what the band and the tests say then."""

from __future__ import annotations

from typing import Any

import pandas as pd

from causalkit.debiasing import DebiasedEffect, LinearCalibration, exclusion_test
from causalkit.demo.content import Figure, Section, Table
from causalkit.demo.debiasing.estimates import Estimate, amount, estimate_of, estimates_table, naive_of, yes
from causalkit.demo.debiasing.real_map import RealMap, Region
from causalkit.plotting import BandDisplay

__all__ = ["section"]


def section(data: RealMap) -> Section:
    """Contrasts of regions or groups, whose truth is known."""
    effects = {region.name: _effect(data, region) for region in data.regions}
    truths = {region.name: _truth(data, region) for region in data.regions}
    tables, readings = [], []
    for region in data.regions:
        effect, truth = effects[region.name], truths[region.name]
        test = exclusion_test(
            data.calibration.predictions,
            data.calibration.y,
            treatment=region.calibration,
            groups=data.calibration.cells,
        )
        shifted = _shifted(data, region)
        robust = effect.assumption_robust().iloc[0]
        tables.append(
            Table(
                f"{region.name}; truth {amount(truth)} {data.unit}",
                estimates_table([naive_of(effect), estimate_of("linear calibration", effect), shifted], truth),
                "“Arm known in calibration” fits the shift of the prediction between arms at equal truth, which needs "
                "the arm in the calibration sample.",
            )
        )
        tables.append(Table(f"{region.name}: tests on the calibration sample", _test_table(test)))
        readings.append(_band_reading(region.name, effect, robust, truth))
        readings.append(
            f"{region.name}: the tests say {test.attrs['reading']}; with the arm known in calibration the estimate is "
            f"{amount(shifted.value)}, interval covers the truth: {yes(shifted.covers(truth))}."
        )
    return Section(
        title="Where exclusion fails",
        text=(
            "Arms here are groups that the model can see in its inputs, so at equal truth the prediction may differ "
            "between arms, and the division by k is not justified. Every result therefore carries the band: the naive "
            "estimate is right if the arm moves the truth only through what the model sees (surrogacy), linear "
            "calibration if it moves the prediction only through the truth (exclusion)."
        ),
        tables=tuple(tables),
        figures=(_figure(effects, truths),),
        readings=tuple(readings),
    )


def _truth(data: RealMap, region: Region) -> float:
    first, second = region.trial == 1, region.trial == 0
    return float(data.trial.y[first].mean() - data.trial.y[second].mean())


def _effect(data: RealMap, region: Region) -> DebiasedEffect:
    rows, trial = data.calibration, data.trial
    clustered = rows.cells is not None  # the same cells hold rows of both samples
    fitted = LinearCalibration().fit(rows.predictions, rows.y, groups=rows.cells)
    return fitted.effect(trial.predictions, treatment=region.trial, groups=trial.cells, shared_groups=clustered)


def _shifted(data: RealMap, region: Region) -> Estimate:
    rows, trial = data.calibration, data.trial
    fitted = LinearCalibration(differential="shift").fit(
        rows.predictions, rows.y, treatment=region.calibration, groups=rows.cells
    )
    result = fitted.effect(
        trial.predictions, treatment=region.trial, groups=trial.cells, shared_groups=rows.cells is not None
    )
    return estimate_of("arm known in calibration", result)


def _test_table(test: pd.DataFrame) -> pd.DataFrame:
    frame = test.loc[test["form"] == "spline", ["direction", "coefficient", "se", "pvalue", "reading"]]
    return frame.rename(columns={"se": "std. error", "pvalue": "p"})


def _band_reading(name: str, effect: DebiasedEffect, robust: Any, truth: float) -> str:
    low, high = float(effect.band["estimate"].min()), float(effect.band["estimate"].max())
    wide = robust["lower"] <= truth <= robust["upper"]
    return (
        f"{name}: truth {amount(truth)}, naive {amount(float(effect.naive.estimate[0]))}, linear calibration "
        f"{amount(float(effect.estimate[0]))}. The band [{amount(low)}, {amount(high)}] holds the truth: "
        f"{yes(low <= truth <= high)}. The interval over all mixtures of the two assumptions, "
        f"[{amount(robust['lower'])}, {amount(robust['upper'])}], holds it: {yes(wide)}."
    )


def _figure(effects: dict[str, DebiasedEffect], truths: dict[str, float]) -> Figure:
    def draw(canvas: Any) -> None:
        for ax, name in zip(canvas.subplots(1, len(effects)), effects, strict=True):
            BandDisplay.from_result(effects[name], truth=truths[name], ax=ax)
            ax.set(title=name, ylabel="effect")

    caption = (
        "Effect as the assumption moves from exclusion (left end: linear calibration) to surrogacy (right end: naive), "
        "with 95 % intervals, and the truth."
    )
    return Figure("band", caption, draw, (11.0, 4.2))
