"""Section 3: the errors of a real map, with arms that move the prediction only through the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from causalkit.datasets import tilt_arms
from causalkit.debiasing import LinearCalibration, SplineCalibration, TweedieCorrection
from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.demo.debiasing.estimates import (
    Estimate,
    amount,
    count_covered,
    draw_estimates,
    estimate_of,
    estimates_table,
    naive_of,
)
from causalkit.demo.debiasing.real_map import RealMap, Rows

__all__ = ["TiltedTrial", "section", "tilted_trial"]

_N_CALIBRATION, _N_TRIAL = 2000, 5000
_DESIGNS = {
    "smooth": "treatment likelier the higher the truth",
    "rich": "treatment at the top of the truth",
    "poor": "treatment at the bottom of the truth",
}


@dataclass(frozen=True, eq=False)
class TiltedTrial:
    """Calibration rows, trial rows, arms drawn from the truth alone, and the contrast that they have."""

    calibration: Rows
    trial: Rows
    treatment: Any
    truth: float


def tilted_trial(data: RealMap, design: str, random_state: int) -> TiltedTrial:
    """Draw a calibration sample and a trial from the map, and tilt the arms on the truth."""
    rng = np.random.default_rng(random_state)
    calibration, trial = data.calibration.sample(_N_CALIBRATION, rng), data.trial.sample(_N_TRIAL, rng)
    arms = tilt_arms(trial.y, design=design, population=data.trial.y, random_state=rng)
    return TiltedTrial(calibration, trial, arms.treatment, arms.effect)


def _corrections() -> dict[str, Any]:
    return {
        "linear calibration": LinearCalibration(),
        "Tweedie": TweedieCorrection(random_state=0),
        "Tweedie, 5 knots": TweedieCorrection(n_knots=5),
        "Tweedie, 5 knots, noise that varies": TweedieCorrection(n_knots=5, noise="heteroscedastic"),
        "spline calibration": SplineCalibration(),
    }


def section(data: RealMap, settings: Settings) -> Section:
    """Every correction on three designs."""
    found, truths = {}, {}
    for design in _DESIGNS:
        trial = tilted_trial(data, design, settings.random_state)
        results = {
            name: model.fit(trial.calibration.predictions, trial.calibration.y).effect(
                trial.trial.predictions, treatment=trial.treatment
            )
            for name, model in _corrections().items()
        }
        naive = naive_of(next(iter(results.values())))
        found[design] = [naive, *(estimate_of(name, result) for name, result in results.items())]
        truths[design] = trial.truth
    n_calibration, n_trial = len(trial.calibration.y), len(trial.trial.y)
    tables = tuple(
        Table(
            f"Design “{design}”: {_DESIGNS[design]}; truth {amount(truths[design])} {data.unit}",
            estimates_table(estimates, truths[design]),
        )
        for design, estimates in found.items()
    )
    return Section(
        title="Real errors, exclusion enforced",
        text=(
            f"Predictions and truth are real ({n_calibration:,} calibration rows, {n_trial:,} trial rows); only the "
            "arms are made, by a probability that depends on the truth. Given the truth, arm and prediction are then "
            "independent whatever the errors look like, and the true contrast is known. (Arms made from the "
            "prediction would find the naive estimate right by construction and could rank nothing.)"
        ),
        tables=tables,
        figures=(_figure(found, truths, data.unit),),
        readings=tuple(_readings(found, truths)),
    )


def _figure(found: dict[str, list[Estimate]], truths: dict[str, float], unit: str) -> Figure:
    def draw(canvas: Any) -> None:
        axes = canvas.subplots(1, len(found))
        for position, (ax, design) in enumerate(zip(axes, found, strict=True)):
            draw_estimates(ax, found[design], truths[design], f"“{design}”", unit)
            if position:
                ax.set_yticklabels([])

    caption = "Effects with 95 % intervals on three designs, with the known truth."
    return Figure("real_errors", caption, draw, (11.5, 3.6))


def _readings(found: dict[str, list[Estimate]], truths: dict[str, float]) -> list[str]:
    lines = []
    for design, estimates in found.items():
        truth = truths[design]
        # Rounded, so that of two equal corrections the simpler, which comes first, is named.
        errors = [round(abs(e.value / truth - 1), 9) for e in estimates[1:]]
        best, worst = estimates[1 + int(np.argmin(errors))], estimates[1 + int(np.argmax(errors))]
        lines.append(
            f"“{design}”: the naive estimate returns {100 * estimates[0].value / truth:.0f} % of the truth; closest is "
            f"{best.method} ({100 * best.value / truth:.0f} %), farthest of the corrections {worst.method} "
            f"({100 * worst.value / truth:.0f} %)."
        )
    known = list(truths.values())
    by_method = [[estimates[j] for estimates in found.values()] for j in range(len(next(iter(found.values()))))]
    same = {
        rows[0].method
        for rows in by_method
        if rows[0].method.startswith("Tweedie")
        and all(np.isclose(row.value, linear.value, rtol=1e-9) for row, linear in zip(rows, by_method[1], strict=True))
    }
    if same:
        lines.append(
            f"{', '.join(sorted(same))} chose two knots, the normal score, and so equals linear calibration: the "
            "calibration sample does not ask for a bend."
        )
    lines.append(
        "Designs on which the interval covers the truth: "
        + "; ".join(f"{rows[0].method.split(':')[0]} {count_covered(rows, known)}" for rows in by_method)
        + "."
    )
    return lines
