"""Section I: intervals from influence values, the representation known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, near
from benchmarks.simulation import Tier, listed_share
from causalkit.datasets import make_intervention_curve
from causalkit.extrapolation import SplineControlFunction, do_mean_influence
from causalkit.extrapolation.curve_part import fit_curve_part
from causalkit.inference import InferenceResult

__all__ = ["rows"]

Array = NDArray[np.float64]

_SEED = 72_000
_POINTS = (0.5, 1.0, 1.5, 2.0)
_LISTED = 400
_COVERAGE = {4000: (0.955, 0.955, 0.948, 0.935), 1000: (0.968, 0.965, 0.960, 0.950)}


def _one(rng: np.random.Generator, size: int) -> dict[str, float]:
    sample = make_intervention_curve(size, random_state=rng)
    wanted = np.array(_POINTS)[:, None]
    part = fit_curve_part(sample.latent, sample.actions, sample.y, None, SplineControlFunction())
    influence = do_mean_influence(
        part.outcome_model.fit_, part.phi, part.residual, sample.y, sample.actions, part.action_matrix, wanted
    )
    found = InferenceResult.from_influence(part.do_mean(wanted), influence, names=[f"{a:g}" for a in _POINTS])
    low, high = np.asarray(found.conf_int()).T
    truth = sample.do_mean(wanted)
    out: dict[str, float] = {}
    for j, error in enumerate(np.sqrt(np.diag(found.cov))):
        hit = float(low[j] <= truth[j] <= high[j])
        out |= {f"hit{j}": hit, f"se{j}": float(error), f"value{j}": float(found.estimate[j])}
    return out


def rows(tier: Tier) -> Iterator[Row]:
    """I1 n = 4000: coverage and size of the errors; I2 n = 1000, beside a run of its own."""
    found = tier.repeat(_one, 400, 60, seed=_SEED, size=4000)
    name = "known Z, d=1, α=σ=1, splines, n=4000"
    for j, a in enumerate(_POINTS):
        letter = "abcd"[j]
        yield tier.share_within(f"I1.1{letter}", f"{name}, a={a:g}: coverage of 95 %", found[f"hit{j}"], 0.92, 0.98)
        mean, sd = float(found[f"se{j}"].mean()), float(np.std(found[f"value{j}"], ddof=1))
        # An sd of m draws is known to 1/√(2m) of itself.
        band = tier.band(mean / sd / np.sqrt(2 * len(found["hit0"])))
        note = f"{mean:.3g} against {sd:.3g}"
        yield near(f"I1.2{letter}", f"{name}, a={a:g}: mean error over sd", mean / sd, 1.0, 0.1, band, note)
    for number, (n, listed) in enumerate(_COVERAGE.items()):
        if n != 4000:
            found = tier.repeat(_one, 400, 60, seed=_SEED + n, size=n)
        for j, a in enumerate(_POINTS):
            what = f"n={n}, a={a:g}: coverage of 95 %, listed"
            yield listed_share(f"I{number + 2}{'abcd'[j]}", what, found[f"hit{j}"], listed[j], _LISTED)
