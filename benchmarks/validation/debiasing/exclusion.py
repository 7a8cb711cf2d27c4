"""Section F: treatments that move the prediction by themselves, real and simulated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.measuring import quiet
from benchmarks.rows import Row, at_least, at_most, near, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.debiasing.common import INCOME_MAP_ABSENT, income_map
from causalkit.datasets import make_surrogacy_map
from causalkit.debiasing import LinearCalibration

__all__ = ["rows"]

# Direction: column, truth, naive, LCC, whether the band holds the truth.
_REGIONS = (
    ("north less south", "lat", 10_978.0, 7_637.0, 16_257.0, True),
    ("east less west", "lon", 1_753.0, 3_651.0, 7_772.0, False),
)
_N = 200_000


def rows(tier: Tier) -> Iterator[Row]:
    """Regions of the income map, then a map on which surrogacy holds."""
    with quiet():
        yield from _regions()
        yield from _surrogacy()


def _regions() -> Iterator[Row]:
    data = income_map()
    if data is None:
        yield skipped("F1", "income map: north less south, east less west", INCOME_MAP_ABSENT)
        return
    lcc = LinearCalibration().fit(data.calibration_predictions, data.calibration_y)
    for number, (name, column, truth, naive, corrected, inside) in enumerate(_REGIONS):
        position = data.trial[column].to_numpy()
        treatment = (position > np.median(position)).astype(int)
        result = lcc.effect(data.predictions, treatment=treatment)
        income = float(data.y[treatment == 1].mean() - data.y[treatment == 0].mean())
        values = (("truth", income, truth), ("naive", result.naive.estimate[0], naive))
        for part, (what, value, target) in enumerate((*values, ("LCC", result.estimate[0], corrected))):
            yield near(f"F{number + 1}.{part + 1}", f"{name}: {what}", value, target, 0.5)
        low, high = sorted(result.band["estimate"].iloc[:2])
        held = float(low <= income <= high)
        what = f"{name}: the band {'holds' if inside else 'does not hold'} the truth"
        yield near(f"F{number + 1}.4", f"{what} (1 yes, 0 no)", held, float(inside), 0.0)


def _surrogacy() -> Iterator[Row]:
    from causalkit.debiasing import exclusion_test

    data = make_surrogacy_map(k=0.6, tau=0.8, n_calibration=_N, n_arm=_N, random_state=np.random.default_rng(4000))
    f, y, arms = data.calibration_predictions, data.calibration_y, data.calibration_treatment
    untreated = LinearCalibration().fit(f[arms == 0], y[arms == 0])
    lcc = untreated.effect(data.predictions, treatment=data.treatment)
    shifted = LinearCalibration(differential="shift").fit(f, y, treatment=arms)
    mended = shifted.effect(data.predictions, treatment=data.treatment)
    truth = float(data.y[data.treatment == 1].mean() - data.y[data.treatment == 0].mean())
    yield near("F3.1", "surrogacy: truth in the sample", truth, 0.8, 3 * math.sqrt(2 / _N))
    yield _estimate("F3.2", "surrogacy: naive", lcc.naive, 0.8)
    yield _estimate("F3.3", "surrogacy: LCC from untreated rows", lcc, 4 / 3)
    yield near("F3.4", "surrogacy: k given treatment", shifted.slope_, 0.6, 3 * math.sqrt(shifted.cov_[0, 0]))
    yield _estimate("F3.5", "surrogacy: differential correction", mended, 0.8)
    tests = exclusion_test(f, y, treatment=arms)
    for number, (direction, target) in enumerate((("exclusion", 0.32), ("surrogacy", 0.0))):
        chosen = tests[tests["direction"].str.contains(direction)]
        for part, test in enumerate(chosen.itertuples()):
            what, label = f"{direction} test, {test.form}", f"F{4 + number}.{2 * part + 1}"
            yield near(label, f"{what}: coefficient of treatment", test.coefficient, target, 3 * test.se)
            label = f"F{4 + number}.{2 * part + 2}"
            if direction == "exclusion":
                yield at_most(label, f"{what}: p (must reject)", test.pvalue, 1e-6)
            else:
                yield at_least(label, f"{what}: p (must not reject)", test.pvalue, 0.05)


def _estimate(id: str, what: str, result: Any, target: float) -> Row:
    """An estimate within three of its standard errors of a closed form."""
    return near(id, what, float(result.estimate[0]), target, 3 * float(result.std_error[0]))
