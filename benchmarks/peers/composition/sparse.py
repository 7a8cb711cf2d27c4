"""The graphical lasso beside gglasso, both stopped at the same violation of the optimality conditions."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.composition.common import absent, amounts, peer, slower
from benchmarks.peers.timing import interleaved_medians
from benchmarks.rows import Row, at_most, recorded, skipped
from benchmarks.simulation import Tier
from causalkit.composition import log_ratio_covariance
from causalkit.composition.penalised_likelihood import largest_covariance, optimality_residual, solve_sparse

__all__ = ["lasso"]

Array = NDArray[np.float64]

_ALPHAS = (0.1, 0.3, 0.6)
# The peer takes tolerances of its own residuals; the loosest that reaches the target is timed.
_TOLERANCES = tuple(10.0**-k for k in range(3, 11))
_TARGET = 1e-6


def _gut() -> tuple[Array, str]:
    """Γ of the American Gut counts, zeros replaced, or of a simulated table of the same size."""
    from causalkit.composition.zero_replacement import ZeroReplacement
    from causalkit.datasets import fetch_american_gut
    from causalkit.exceptions import DatasetNotFoundError

    try:
        counts = fetch_american_gut().parts
    except DatasetNotFoundError:
        return log_ratio_covariance(amounts(289, 127, 7)), "simulated table, 289 x 127"
    rule = ZeroReplacement(max_zero_fraction=0.99)
    return log_ratio_covariance(np.asarray(rule.fit_transform(counts))), "American Gut, 289 x 127"


def _theirs(solver: Any, gamma: Array, penalty: float, tol: float) -> Array:
    with redirect_stdout(io.StringIO()):
        found, _ = solver(gamma, penalty, np.eye(len(gamma)), tol=tol, rtol=tol, max_iter=20_000)
    return np.asarray(found["Theta"])


def lasso(tier: Tier) -> Iterator[Row]:
    """G1 to G3 by penalty."""
    module = peer("gglasso.solver.single_admm_solver")
    gamma, name = _gut()
    # The peer starts at the identity with a step of 1: variances near 1 suit it, and change nothing for ours.
    gamma = gamma / np.diag(gamma).max()
    for number, alpha in enumerate(_ALPHAS):
        label, what = f"G{number + 1}", f"{name}, α = {alpha:g} α_max: graphical lasso over gglasso's ADMM_SGL"
        if module is None:
            yield skipped(label, what, absent("gglasso"))
            continue
        yield from _one(module.ADMM_SGL, gamma, alpha * largest_covariance(gamma), label, what, tier)


def _one(solver: Any, gamma: Array, penalty: float, label: str, what: str, tier: Tier) -> Iterator[Row]:
    tol, residual = 0.0, np.inf
    for tol in _TOLERANCES:
        theta = _theirs(solver, gamma, penalty, tol)
        residual = optimality_residual(theta, gamma, penalty, "basis")
        if residual <= _TARGET:
            break
    if not np.isfinite(residual):
        yield recorded(label, f"{what}: the peer's Theta is not positive definite at any tolerance", residual)
        return
    # Ours is stopped at what the peer reached, whether or not that is the target.
    goal = max(residual, 1e-12)
    calls = {
        "ours": partial(solve_sparse, gamma, penalty, "basis", tol=goal),
        "theirs": partial(_theirs, solver, gamma, penalty, tol),
    }
    times = interleaved_medians(calls, tier.size(5, 3))
    ours = solve_sparse(gamma, penalty, "basis", tol=goal)
    note = f"violations {ours.kkt_residual:.1e} and {residual:.1e}, {ours.n_iter} steps, its tol {tol:.0e}"
    yield slower(f"{label}.1", what, times["ours"], times["theirs"], 2.0, note)
    excess = ours.kkt_residual / goal
    yield at_most(f"{label}.2", "the same: our violation of the optimality conditions over the peer's", excess, 1.0)
    distance = float(np.abs(ours.precision - theta).max()) / float(np.abs(theta).max())
    yield at_most(f"{label}.3", "the same: distance of the precisions, relative to the largest entry", distance, 1e-3)
