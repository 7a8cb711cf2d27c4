"""Section C: outcomes seen through a frozen random network, the published design."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from joblib import Parallel, delayed

from benchmarks.measuring import quiet
from benchmarks.rows import Row, within
from benchmarks.simulation import Tier
from causalkit.datasets import make_paper_map
from causalkit.debiasing import LinearCalibration, SplineCalibration, TweedieCorrection

__all__ = ["rows"]

_EFFECTS = np.linspace(-2.0, 2.0, 13)
_SEED = 3000
# Slope of the estimates on the truth, mean absolute error, both as listed.
_LISTED = {
    "observed Y": (1.005, 0.027),
    "naive": (0.525, 0.522),
    "LCC, Horvitz-Thompson": (1.019, 0.085),
    "LCC, Hájek": (1.021, 0.081),
    "Tweedie KDE, Hájek": (1.008, 0.071),
    "spline Tweedie, Hájek": (1.018, 0.072),
    "SplineCalibration, Hájek": (math.nan, math.nan),
}


def _one(index: int) -> dict[str, float]:
    from threadpoolctl import threadpool_limits

    with quiet(), threadpool_limits(1):
        data = make_paper_map(tau=float(_EFFECTS[index]), random_state=np.random.default_rng([_SEED, index]))
        weight = np.where(data.treatment == 1, 1 / data.propensity, 1 / (1 - data.propensity))
        treated = data.treatment == 1
        out = {
            "observed Y": float(
                np.average(data.y[treated], weights=weight[treated])
                - np.average(data.y[~treated], weights=weight[~treated])
            )
        }
        corrections = {
            "LCC": LinearCalibration(),
            "Tweedie KDE": TweedieCorrection(score="kde"),
            "spline Tweedie": TweedieCorrection(random_state=0),
            "SplineCalibration": SplineCalibration(),
        }
        for name, correction in corrections.items():
            correction.fit(data.calibration_predictions, data.calibration_y)
            result = correction.effect(
                data.predictions, treatment=data.treatment, estimator="hajek", propensity=data.propensity
            )
            out[f"{name}, Hájek"] = float(result.estimate[0])
            out["naive"] = float(result.naive.estimate[0])
        weighted = corrections["LCC"].effect(
            data.predictions, treatment=data.treatment, estimator="horvitz_thompson", propensity=data.propensity
        )
        out["LCC, Horvitz-Thompson"] = float(weighted.estimate[0])
        out["k"] = float(corrections["LCC"].slope_)
        return out


def rows(tier: Tier) -> Iterator[Row]:
    """Slope of estimates on true effects, and mean absolute error, over 13 effects."""
    records = Parallel(n_jobs=tier.n_jobs)(delayed(_one)(index) for index in range(len(_EFFECTS)))
    for number, (name, (slope, error)) in enumerate(_LISTED.items()):
        estimates = np.array([record[name] for record in records])
        measured, spread = _slope(estimates)
        absolute = np.abs(estimates - _EFFECTS)
        note = f"13 effects, standard error {spread:.3f}" + ("" if math.isnan(slope) else f"; listed {slope}, {error}")
        low, high = (0.45, 0.60) if name == "naive" else (0.97, 1.05)
        yield within(f"C{number + 1}.1", f"{name}: slope", measured, low, high, note=note)
        if name != "naive":
            yield within(f"C{number + 1}.2", f"{name}: mean absolute error", absolute.mean(), 0.0, 0.12)
        else:
            yield within(f"C{number + 1}.2", f"{name}: mean absolute error", absolute.mean(), 0.4, 0.6)
    slopes = np.array([record["k"] for record in records])
    yield within("C8.1", "smallest k over the draws of the network", slopes.min(), 0.2, 0.7, note="listed .27")
    yield within("C8.2", "largest k over the draws of the network", slopes.max(), 0.2, 0.7, note="listed .66")


def _slope(estimates: np.ndarray) -> tuple[float, float]:
    """Slope of the estimates on the true effects and its standard error."""
    x = _EFFECTS - _EFFECTS.mean()
    slope = float(x @ estimates / (x @ x))
    residuals = estimates - estimates.mean() - slope * x
    return slope, float(np.sqrt(residuals @ residuals / (len(x) - 2) / (x @ x)))
