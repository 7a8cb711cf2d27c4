"""Sections I and J: weekdays in preference pairs, and the pairwise reward model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from benchmarks.measuring import quiet
from benchmarks.rows import Row, near
from benchmarks.simulation import Tier, listed_mean, listed_sd, listed_share
from benchmarks.validation.rewards.common import coverage_row, fit
from causalkit.datasets import make_reward_weekday
from causalkit.rewards import PairwiseRewardModel, make_preference_pairs

__all__ = ["pairwise_rows", "weekday_rows"]

Array = NDArray[np.float64]

_SEED = 29_000
_DAYS = {"Monday": (0, 0.6136, 0.4992), "Friday": (4, 0.4088, 0.5018)}
_EFFECTS = np.array([0.5, 0.3, 0.2, 0.1, -0.4, -0.35, -0.35])


# ---------------------------------------------------------------------- I


def _won(rewards: Array, sample: Any) -> dict[str, tuple[float, int]]:
    """Share of its pairs with other days that a day wins, and their number."""
    pairs = make_preference_pairs(rewards, prompts=sample.prompts, max_pairs_per_prompt=None, random_state=0)
    day = sample.confounders["weekday"].astype(str).to_numpy()
    chosen, rejected = day[pairs["chosen_row"]], day[pairs["rejected_row"]]
    differ = chosen != rejected
    out = {}
    for name in _DAYS:
        wins, losses = int(np.sum(differ & (chosen == name))), int(np.sum(differ & (rejected == name)))
        out[name] = (wins / (wins + losses), wins + losses)
    return out


def _weekday(rng: np.random.Generator) -> dict[str, float]:
    sample = make_reward_weekday(random_state=rng)
    adjusted = fit("fixed_effects", sample.X, sample.y, sample.confounders).adjusted_reward_
    out: dict[str, float] = {}
    for kind, rewards in (("raw", sample.y), ("adjusted", adjusted)):
        for name, (share, count) in _won(rewards, sample).items():
            out |= {f"{kind} {name}": share, f"pairs {name}": count}
    return out


def weekday_rows(tier: Tier) -> Iterator[Row]:
    """I1 closed form, I2 one log, I3 many."""
    chance = ndtr(np.subtract.outer(_EFFECTS, _EFFECTS) / 2)
    with quiet():
        draws = tier.repeat(_weekday, 100, 10, seed=_SEED)
    for number, (name, (place, listed, once)) in enumerate(_DAYS.items()):
        exact = float(np.delete(chance[place], place).mean())
        yield near(f"I1.{number + 1}", f"{name}: share won on raw outcomes, closed form", exact, listed, 5e-5)
        sd = {}
        for kind, target in (("raw", exact), ("adjusted", 0.5)):
            letter, values = "ab"[kind == "adjusted"], draws[f"{kind} {name}"]
            # Two pairs of one day in a question share a row, so that shares vary a little more than of single pairs.
            sd[kind] = float(np.std(values, ddof=1)) if len(values) > 30 else 0.009
            what = f"{name}, {kind}: share won in the first log"
            note = "4 standard deviations" + (f"; recorded {once}" if kind == "adjusted" else "")
            yield near(f"I2.{number + 1}{letter}", what, values[0], target, 4 * sd[kind], note=note)
            what = f"{name}, {kind}: share won, mean over logs"
            band = 4 * float(np.std(values, ddof=1)) / math.sqrt(len(values))
            yield near(f"I3.{number + 1}{letter}", what, values.mean(), target, band, note=f"{len(values)} logs")
        what = f"{name}: sd of the adjusted share over logs"
        yield listed_sd(f"I3.{number + 1}c", what, draws[f"adjusted {name}"], 0.009, 1000, 5e-4)
        pairs = draws[f"pairs {name}"]
        # 15 000 pairs, two different days of which one is this one: 12/49 of them.
        what = f"{name}: pairs with other days, mean"
        yield listed_mean(f"I3.{number + 1}d", what, pairs, 15_000 * 12 / 49, float(np.std(pairs, ddof=1)), 1000)


# ---------------------------------------------------------------------- J

_PROMPTS, _PER_PROMPT = 200, 4
_TRUTH = np.array([1.0, -0.6, 0.0])
_MEAN, _SD = (1.008, -0.602, 0.003), (0.083, 0.071, 0.062)
_COVERAGE = {
    "by prompt": (0.947, 0.943, 0.950),
    "dyadic": (0.944, 0.944, 0.950),
    "independent": (0.885, 0.876, 0.889),
}
_LISTED = 1000


def _pairwise(rng: np.random.Generator) -> dict[str, float]:
    n = _PROMPTS * _PER_PROMPT
    X = rng.standard_normal((n, 3))
    reward = X @ _TRUTH + rng.gumbel(size=n)
    prompts = np.repeat(np.arange(_PROMPTS), _PER_PROMPT)
    within = np.array(list(combinations(range(_PER_PROMPT), 2)))
    first, second = ((prompts[::_PER_PROMPT, None] * _PER_PROMPT + side[None]).ravel() for side in within.T)
    won = (reward[first] > reward[second]).astype(float)
    models = {"by prompt": PairwiseRewardModel(penalty=0.0).fit(X, reward, prompts=prompts)}
    models["dyadic"] = PairwiseRewardModel(penalty=0.0).fit_pairs(X[first], X[second], won)
    alone = np.arange(len(won))
    models["independent"] = PairwiseRewardModel(penalty=0.0).fit_pairs(X[first], X[second], won, groups=alone)
    out: dict[str, float] = {f"coef{j}": value for j, value in enumerate(models["by prompt"].coef_)}
    for name, model in models.items():
        interval = np.asarray(model.inference().conf_int())
        for j, truth in enumerate(_TRUTH):
            out[f"{name}{j}"] = float(interval[j, 0] <= truth <= interval[j, 1])
    out["gap"] = float(np.abs(models["by prompt"].coef_ - models["dyadic"].coef_).max())
    return out


def pairwise_rows(tier: Tier) -> Iterator[Row]:
    """J1 means, J2 spreads, J3 coverage by three errors."""
    with quiet():
        draws = tier.repeat(_pairwise, 1000, 100, seed=_SEED + 1)
    name = f"{_PROMPTS} prompts of {_PER_PROMPT}"
    for j in range(3):
        what = f"{name}: coefficient {j + 1}"
        values = draws[f"coef{j}"]
        yield listed_mean(f"J1.{j + 1}", f"{what}, mean", values, _MEAN[j], _SD[j], _LISTED, 5e-4)
        yield listed_sd(f"J2.{j + 1}", f"{what}, sd", values, _SD[j], _LISTED, 5e-4)
    for number, (kind, shares) in enumerate(_COVERAGE.items()):
        for j, share in enumerate(shares):
            label, hits = f"J3.{number + 1}{'abc'[j]}", draws[f"{kind}{j}"]
            if kind != "independent":
                yield coverage_row(tier, label, f"{name}, {kind}: coverage {j + 1}", hits)
            what = f"{name}, {kind}: coverage {j + 1}, listed"
            yield listed_share(f"J3.{number + 1}{'def'[j]}", what, hits, share, _LISTED)
    yield near("J4", "fit and fit_pairs on the same pairs, largest gap", float(draws["gap"].max()), 0.0, 1e-8)
