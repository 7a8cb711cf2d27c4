"""Section 7: when part of the trial is labelled, is a correction or prediction-powered inference more precise?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from causalkit.debiasing import compare_corrections
from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.demo.debiasing.estimates import yes
from causalkit.demo.debiasing.real_map import RealMap
from causalkit.demo.debiasing.tilted import TiltedTrial, tilted_trial
from causalkit.plotting._axes import COLOURS, tidy

__all__ = ["section"]

_SHARES = (0.15, 0.3, 0.45, 0.6, 0.75)
_SHOWN = (0.15, 0.6)
_NAMES = {
    "naive": "naive",
    "LinearCalibration": "linear calibration",
    "TweedieCorrection": "Tweedie",
    "SplineCalibration": "spline calibration",
    "PPI++": "prediction-powered (PPI++)",
    "PTD": "predict, then debias",
}


def section(data: RealMap, settings: Settings) -> Section:
    """Compare at several shares of labels, and with the break-even share."""
    drawn = tilted_trial(data, "smooth", settings.random_state)
    frames = {share: _compare(drawn, share, settings.random_state) for share in _SHARES}
    errors = {
        method: np.array([float(_row(frame, method)["se"]) for frame in frames.values()])
        for method in ("LinearCalibration", "PPI++")
    }
    break_even = float(next(iter(frames.values())).attrs["break_even_share"])
    tables = tuple(
        Table(f"{100 * share:.0f} % of the trial labelled at random", _table(frames[share], drawn.truth))
        for share in _SHOWN
    )
    return Section(
        title="Labels in the trial",
        text=(
            "If a random part of the trial has its truth measured, prediction-powered inference needs no assumption "
            "about the map. A correction needs exclusion, but no label in the trial. Which one is more precise depends "
            "on the share of labels; the break-even share follows from the squared correlation alone when the "
            "calibration sample is large."
        ),
        tables=tables,
        figures=(_figure(errors, break_even),),
        readings=tuple(_readings(errors, break_even, frames, drawn.truth)),
    )


def _compare(drawn: TiltedTrial, share: float, random_state: int) -> pd.DataFrame:
    rng = np.random.default_rng(random_state)
    # The same fraction of each arm, so that an arm is never without labels by bad luck.
    labelled = np.zeros(len(drawn.trial.y), dtype=bool)
    for arm in (0, 1):
        rows = rng.permutation(np.flatnonzero(drawn.treatment == arm))
        labelled[rows[: max(2, round(share * len(rows)))]] = True
    return compare_corrections(
        drawn.trial.predictions,
        treatment=drawn.treatment,
        calibration_predictions=drawn.calibration.predictions,
        calibration_y=drawn.calibration.y,
        y=np.where(labelled, drawn.trial.y, np.nan),
        labelled=labelled,
    )


def _table(frame: pd.DataFrame, truth: float) -> pd.DataFrame:
    flat = frame.droplevel("effect")
    return pd.DataFrame(
        {
            "method": [_NAMES[name] for name in flat.index],
            "rests on": flat["assumption"].to_numpy(),
            "estimate": flat["estimate"].to_numpy(),
            "std. error": flat["se"].to_numpy(),
            "lower": flat["lower"].to_numpy(),
            "upper": flat["upper"].to_numpy(),
            "covers truth": ((flat["lower"] <= truth) & (truth <= flat["upper"])).to_numpy(),
        }
    )


def _row(frame: pd.DataFrame, method: str) -> Any:
    return frame.droplevel("effect").loc[method]


def _figure(errors: dict[str, Any], break_even: float) -> Figure:
    def draw(canvas: Any) -> None:
        ax = canvas.subplots()
        shares = 100 * np.array(_SHARES)
        for name, colour in (("LinearCalibration", "corrected"), ("PPI++", "naive")):
            ax.plot(shares, errors[name], "o-", color=COLOURS[colour], label=_NAMES[name])
        ax.axvline(100 * break_even, color=COLOURS["accent"], ls="--", lw=1.2, label="break-even share")
        ax.set(xlabel="share of the trial labelled, %", ylabel="standard error", title="Precision by share of labels")
        ax.set_ylim(bottom=0)
        ax.legend(frameon=False, fontsize="small")
        tidy(ax)

    caption = (
        "Standard error of linear calibration, which uses no trial labels, and of prediction-powered inference, by "
        "share of labels; dashed: the break-even share in theory."
    )
    return Figure("labels", caption, draw)


def _readings(errors: dict[str, Any], break_even: float, frames: dict[float, pd.DataFrame], truth: float) -> list[str]:
    better = np.array(_SHARES)[errors["PPI++"] < errors["LinearCalibration"]]
    found = (
        f"PPI++ has the smaller standard error from {100 * min(better):.0f} % on, of the shares tried"
        if len(better)
        else "PPI++ has the larger standard error at every share tried"
    )
    powered = {share: _row(frames[share], "PPI++") for share in _SHOWN}
    return [
        f"Break-even share in theory, for an endless calibration sample: {100 * break_even:.0f} %. Here, {found} "
        f"({', '.join(f'{100 * share:.0f}' for share in _SHARES)} %).",
        "The prediction-powered interval covers the truth: "
        + ", ".join(
            f"{yes(bool(row['lower'] <= truth <= row['upper']))} at {100 * share:.0f} % labelled"
            for share, row in powered.items()
        )
        + ".",
    ]
