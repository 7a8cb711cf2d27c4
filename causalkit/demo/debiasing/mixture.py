"""Section 2: a simulated map with several modes, where a straight line corrects only part of the bias."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from causalkit.datasets import SimulatedMap, make_mixture_map
from causalkit.debiasing import LinearCalibration, SplineCalibration, TweedieCorrection
from causalkit.demo.content import Figure, Section, Settings, Table
from causalkit.demo.debiasing.estimates import Estimate, draw_estimates, estimate_of, estimates_table, naive_of
from causalkit.plotting import ScoreDisplay

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["section"]

_SIGMA, _N_CALIBRATION, _N_ARM = 3.0, 500, 5000
_Z = 1.959963984540054


@dataclass(frozen=True)
class _Repetition:
    """An estimate with its standard error, and the part of it that the trial alone would give."""

    value: float
    se: float
    sampling_se: float


def _corrections() -> dict[str, Any]:
    return {
        "linear calibration": LinearCalibration(),
        "Tweedie": TweedieCorrection(random_state=0),
        "spline calibration": SplineCalibration(),
    }


def _draw_data(seed: Any) -> SimulatedMap:
    return make_mixture_map(sigma=_SIGMA, n_calibration=_N_CALIBRATION, n_arm=_N_ARM, random_state=seed)


def section(settings: Settings) -> Section:
    """One sample in detail, then repetitions for bias and coverage."""
    data = _draw_data(settings.random_state)
    fitted = {
        name: model.fit(data.calibration_predictions, data.calibration_y) for name, model in _corrections().items()
    }
    results = {name: model.effect(data.predictions, treatment=data.treatment) for name, model in fitted.items()}
    first = next(iter(results.values()))
    estimates = [naive_of(first), *(estimate_of(name, result) for name, result in results.items())]
    repeated = _repetitions(settings)
    summary = _summary(repeated, data)
    return Section(
        title="A map with several modes, truth known",
        text=(
            f"Simulated: predictions are a mixture of four normals, the truth is the prediction plus normal noise of "
            f"standard deviation {_SIGMA:g}, the effect is {data.effect:g}, and exclusion holds. {_N_CALIBRATION:,} "
            f"calibration rows, {_N_ARM:,} trial rows per arm. The calibration slope is estimated too: an interval "
            "that ignores its noise is too short, so coverage is shown with and without that part of the variance."
        ),
        tables=(
            Table("One sample", estimates_table(estimates, data.effect)),
            Table(
                f"{settings.repetitions} samples: bias, spread and coverage of 95 % intervals",
                summary,
                _band_note(settings.repetitions),
            ),
        ),
        figures=_figures(fitted["Tweedie"], estimates, data.effect),
        readings=tuple(_readings(summary, data, settings.repetitions)),
    )


def _repetitions(settings: Settings) -> dict[str, list[_Repetition]]:
    found: dict[str, list[_Repetition]] = {}
    seeds = np.random.SeedSequence(settings.random_state).spawn(settings.repetitions)
    # The detailed sample has shown the warnings; every repetition would raise them again.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in seeds:
            data = _draw_data(np.random.default_rng(seed))
            for name, model in _corrections().items():
                model.fit(data.calibration_predictions, data.calibration_y)
                result = model.effect(data.predictions, treatment=data.treatment)
                if name == "linear calibration":
                    naive = result.naive
                    se = float(naive.std_error[0])
                    found.setdefault("naive", []).append(_Repetition(float(naive.estimate[0]), se, se))
                sampling = float(result.variance_parts["sampling"].iloc[0]) ** 0.5
                found.setdefault(name, []).append(
                    _Repetition(float(result.estimate[0]), float(result.std_error[0]), sampling)
                )
    return found


def _summary(repeated: dict[str, list[_Repetition]], data: SimulatedMap) -> pd.DataFrame:
    import pandas as pd

    limits = {
        "naive": data.population["naive"],
        "linear calibration": data.population["linear_calibration"],
        "Tweedie": data.population["tweedie"],
    }
    records = []
    for name, rows in repeated.items():
        values, se, sampling = np.array([(row.value, row.se, row.sampling_se) for row in rows]).T
        error = np.abs(values - data.effect)
        records.append(
            {
                "method": name,
                "limit in theory": limits.get(name, np.nan),
                "mean": values.mean(),
                "std. deviation": values.std(ddof=1),
                "mean std. error": se.mean(),
                "coverage": (error <= _Z * se).mean(),
                "coverage, no calibration noise": (error <= _Z * sampling).mean(),
            }
        )
    return pd.DataFrame(records)


def _binomial_band(repetitions: int) -> tuple[float, float]:
    from scipy import stats

    low, high = stats.binom(repetitions, 0.95).ppf([0.025, 0.975]) / repetitions
    return float(low), float(high)


def _band_note(repetitions: int) -> str:
    low, high = _binomial_band(repetitions)
    return (
        f"By chance alone, the coverage of a right interval lies between {low:.2f} and {high:.2f} in 95 % of such "
        "tables. The limit in theory is the value for endless samples; the spline has none in closed form."
    )


def _figures(tweedie: TweedieCorrection, estimates: list[Estimate], truth: float) -> tuple[Figure, ...]:
    def draw(canvas: Any) -> None:
        left, right = canvas.subplots(1, 2)
        ScoreDisplay.from_estimator(tweedie, ax=left)
        draw_estimates(right, estimates, truth, "One sample", "effect")

    caption = (
        "Left: estimated score of the predictions' density, the curve that Tweedie's correction follows; where it "
        "leaves the straight line, linear calibration is not enough. Right: estimates with 95 % intervals."
    )
    return (Figure("mixture", caption, draw, (11.0, 4.2)),)


def _readings(summary: pd.DataFrame, data: SimulatedMap, repetitions: int) -> list[str]:
    frame: Any = summary.set_index("method")
    corrected = frame.drop(index="naive")
    low, _ = _binomial_band(repetitions)
    best = (corrected["mean"] - data.effect).abs().idxmin()
    right = [name for name in corrected.index if corrected.loc[name, "coverage"] >= low]
    return [
        f"On average the naive estimate is {frame.loc['naive', 'mean']:.2f} and linear calibration "
        f"{frame.loc['linear calibration', 'mean']:.2f} where the truth is {data.effect:g}; closest is {best} with "
        f"{corrected.loc[best, 'mean']:.2f}.",
        "Coverage is as it should be, up to chance, for: "
        + (", ".join(right) if right else "none of the corrections")
        + ". Leaving out the calibration noise takes it from "
        + "; ".join(
            f"{row['coverage']:.2f} to {row['coverage, no calibration noise']:.2f} ({name})"
            for name, row in corrected.iterrows()
        )
        + ".",
    ]
