"""Section H: zero replacement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.measuring import quiet
from benchmarks.rows import Row, near, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.composition.common import CUPS_ABSENT, cups
from causalkit.composition.zero_replacement import ZeroReplacement

__all__ = ["rows"]

_COUNTS = np.array([[10, 0, 5, 1], [3, 2, 0, 0], [0, 4, 6, 9], [8, 1, 2, 3]])
# Imputed proportions in reading order.
_PROPORTIONS = {
    "gbm": (0.0375621459104, 0.124370069447, 0.040625, 0.132798704073),
    "sq": (0.0368421052632, 0.0819841005485, 0.040625, 0.111963298118),
    "bl": (0.0368421052632, 0.117913832200, 0.040625, 0.104347826087),
    "czm": (0.0203125, 0.065, 0.040625, 0.0171052631579),
}
_GBM_COUNTS = (0.624450017227, 0.744726557273, 0.243262036627, 2.90956135471)
_JAMES_STEIN = (0.57258065, 0.03494624, 0.30376344, 0.08870968)
_LIMITS = {"Mg": 0.45, "K": 0.40, "Ti": 0.06}
# Mean log proportion of the imputed cells, tolerance, rounds where listed.
_CUPS: dict[str, tuple[dict[str, Any], tuple[float, float, float], float, int | None]] = {
    "multiplicative": ({"method": "multiplicative"}, (-5.8294370733, -5.9432030893, -7.8441752044), 1e-8, None),
    "lognormal": ({"method": "lognormal"}, (-5.505558, -5.577332, -7.500821), 1e-6, None),
    "lrem, complete": (
        {"method": "lrem", "initial": "complete"},
        (-5.5125523101, -5.5607311215, -7.4701838312),
        1e-8,
        15,
    ),
    "lrem, multiplicative": (
        {"method": "lrem", "initial": "multiplicative"},
        (-5.5135102374, -5.5607284736, -7.4701810698),
        1e-8,
        20,
    ),
    "lrsvd": ({"method": "lrsvd"}, (-5.6684020404, -5.5353072272, -7.4582714976), 1e-8, 7),
}


def rows(tier: Tier) -> Iterator[Row]:
    """H1 and H2 small counts, H3 glass cups with censored cells."""
    with quiet():
        for number, (method, targets) in enumerate(_PROPORTIONS.items()):
            filled = np.asarray(ZeroReplacement(method=method).fit_transform(_COUNTS))[_COUNTS == 0]
            for k, target in enumerate(targets):
                yield near(f"H1.{number + 1}{'abcd'[k]}", f"{method}: zero cell {k + 1}", filled[k], target, 1e-9)
        counts = np.asarray(ZeroReplacement(method="gbm", output="counts").fit_transform(_COUNTS))
        for k, target in enumerate(_GBM_COUNTS):
            yield near(f"H2.1{'abcd'[k]}", f"gbm as counts: zero cell {k + 1}", counts[_COUNTS == 0][k], target, 1e-9)
        kept = float(np.abs(counts - _COUNTS)[_COUNTS > 0].max())
        yield near("H2.1e", "gbm as counts: change of observed cells", kept, 0.0, 0.0)
        shrunk = np.asarray(ZeroReplacement(method="james_stein").fit_transform(_COUNTS))[0]
        for k, target in enumerate(_JAMES_STEIN):
            # Listed with eight decimals.
            yield near(f"H2.2{'abcd'[k]}", f"james_stein: row 1, part {k + 1}", shrunk[k], target, 5.001e-9)
        yield from _censored_cups()


def _censored_cups() -> Iterator[Row]:
    X = cups()
    if X is None:
        yield skipped("H3", "glass cups with censored Mg, K, Ti: five methods", CUPS_ABSENT)
        return
    censored, limits = X.copy(), X.min()
    for part, limit in _LIMITS.items():
        censored.loc[X[part] < limit, part] = 0.0
        limits[part] = limit
    zero = censored.to_numpy() == 0
    true = np.log(X.to_numpy() / X.to_numpy().sum(axis=1, keepdims=True))
    for number, (name, (options, targets, tolerance, rounds)) in enumerate(_CUPS.items()):
        rule = ZeroReplacement(detection_limit=limits.to_numpy(), **options)
        logs = np.log(np.asarray(rule.fit_transform(censored)))
        for k, (part, target) in enumerate(zip(_LIMITS, targets, strict=True)):
            j = list(X.columns).index(part)
            cells = zero[:, j]
            note = f"{cells.sum()} cells, true mean {true[cells, j].mean():.6f}"
            label = f"H3.{number + 1}{'abc'[k]}"
            yield near(label, f"{name}: mean log proportion, {part}", logs[cells, j].mean(), target, tolerance, 0, note)
        if rounds is not None:
            yield near(f"H3.{number + 1}d", f"{name}: rounds", rule.n_iter_, rounds, 0)
