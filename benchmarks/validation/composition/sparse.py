"""Section I: the graphical lasso of two targets on the glass cups."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, at_most, near, skipped
from benchmarks.simulation import Tier
from benchmarks.validation.composition.common import CUPS_ABSENT, cups, listed
from causalkit.composition.graphical_lasso import CompositionalGraphicalLasso

__all__ = ["rows"]

Array = NDArray[np.float64]

_ALPHAS = (0.1, 0.3, 0.6, 1.0)
# Edges of "basis" and zeros of "invariant" among 55 pairs, and the objective.
_LISTED = {
    "basis": ((32, 13, 5, 0), (-38.26668, -36.18532, -35.65171, -35.58618)),
    "invariant": ((16, 20, 14, 11), (-32.84953, -29.14149, -25.80522, -22.78704)),
}


def _objective(precision: Array, gamma: Array, penalty: float, target: str) -> float:
    d = len(gamma)
    # P + 11'/D has the determinant of P on its support, because its remaining eigenvalue is 1.
    log_det = float(np.linalg.slogdet(precision if target == "basis" else precision + 1.0 / d)[1])
    absolute = float(np.abs(precision).sum() - np.abs(np.diag(precision)).sum())
    return -log_det + float(np.sum(gamma * precision)) + penalty * absolute


def rows(tier: Tier) -> Iterator[Row]:
    """I1 α_max, I2 basis, I3 invariant."""
    X = cups()
    if X is None:
        yield skipped("I1", "glass cups: graphical lasso of both targets at four penalties", CUPS_ABSENT)
        return
    for number, (target, (counts, objectives)) in enumerate(_LISTED.items()):
        for k, (alpha, count, objective) in enumerate(zip(_ALPHAS, counts, objectives, strict=True)):
            fit = CompositionalGraphicalLasso(alpha=alpha, target=target).fit(X)
            if number == 0 and k == 0:
                yield listed("I1", "largest covariance of two log-ratios", fit.alpha_max_, ".0212942547")
            label, what, p = f"I{number + 2}.{k + 1}", f"{target}, α = {alpha:g}", fit.precision_
            upper = p[np.triu_indices(len(p), 1)]
            found = int((upper != 0).sum() if target == "basis" else (upper == 0).sum())
            yield near(f"{label}a", f"{what}: {'edges' if target == 'basis' else 'zeros of 55'}", found, count, 0)
            value = _objective(p, fit.log_ratio_covariance_, alpha * fit.alpha_max_, target)
            yield near(f"{label}b", f"{what}: objective", value, objective, 1e-5)
            yield at_most(f"{label}c", f"{what}: violation of the optimality conditions", fit.kkt_residual_, 1e-6)
            yield near(f"{label}d", f"{what}: asymmetry", np.abs(p - p.T).max(), 0.0, 0.0)
