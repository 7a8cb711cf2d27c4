"""Arithmetic of prediction-powered estimates: two samples in, estimate and additive error parts out.

Notation: θ̂_n is the estimate from labels, γ̂_n and γ̂_N the same estimate from predictions on the labelled
and on the unlabelled rows. Every estimator here is θ̂_n − Ω(γ̂_n − γ̂_N) for some matrix Ω. Rows are stacked,
labelled first; a *part* is what one row adds to the error of an estimate, so that a covariance is the sum of
u_g u_g' over clusters g (single rows without groups), u_g the sum of the parts of g.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.two_sample import Codes, Side
from causalkit.inference.covariance import cluster_sums

__all__ = ["Parts", "Solution", "arm_means_solution", "combine", "mean_solution", "optimal_matrix", "power_tuning"]

Array = NDArray[np.float64]

# Predictions whose spread is rounding error carry no information; their tiny scores must not be divided by.
ROUNDING = 1e-24
# λ where the method fixes it; None where a matrix Ω takes its place. PPI++ tunes it.
FIXED: dict[str, float | None] = {"classical": 0.0, "ppi": 1.0, "predict_then_debias": None}


@dataclass(frozen=True)
class Parts:
    """Ingredients of every estimator of the family.

    Attributes
    ----------
    estimate, shift : ndarray, shape (q,)
        θ̂_n, and γ̂_n − γ̂_N.
    outcome : ndarray, shape (n, q)
        Parts of θ̂_n.
    difference : ndarray, shape (n + N, q)
        Parts of γ̂_n − γ̂_N.
    gap : ndarray, shape (q,)
        Mean prediction score of the labelled rows less that of the unlabelled ones.
    weights : tuple of two (ndarray or None)
        Weights of mean one over the used rows of each side.
    used : tuple of two int
        Rows of positive weight on each side.
    """

    estimate: Array
    shift: Array
    outcome: Array
    difference: Array
    gap: Array
    weights: tuple[Array | None, Array | None]
    used: tuple[int, int]

    def scaled(self, factors: tuple[float, float]) -> Parts:
        """The parts of each side times the root of its finite-sample factor (variance scale)."""
        if factors == (1.0, 1.0):
            return self
        n = len(self.outcome)
        root, root_unlabelled = np.sqrt(factors)
        self.difference[:n] *= root
        self.difference[n:] *= root_unlabelled
        return replace(self, outcome=self.outcome * root)


@dataclass(frozen=True)
class Solution:
    """An estimate of the family.

    Attributes
    ----------
    estimate : ndarray, shape (q,)
        The estimate.
    tuning : ndarray
        λ, shape () or one per arm, or the matrix Ω, shape (q, q) or (arms, arms).
    parts : ndarray, shape (n + N, q)
        What each stacked row adds to the error of the estimate.
    """

    estimate: Array
    tuning: Array
    parts: Array


def normalised(weight: Array | None, n: int) -> tuple[Array | None, int]:
    """Weights of mean one over the rows that they keep, and the number of these rows."""
    if weight is None:
        return None, n
    used = int(np.count_nonzero(weight))
    return weight * (used / weight.sum()), used


def _centred(values: Array, weight: Array | None, used: int, out: Array | None = None) -> tuple[float, Array]:
    """Weighted mean, and the parts w(v − mean)/n of it."""
    centre = float(values.mean() if weight is None else weight @ values / used)
    scores = np.subtract(values, centre, out=out)
    if scores @ scores <= ROUNDING * len(values) * centre**2:
        scores[:] = 0.0
    if weight is not None:
        scores *= weight
    scores /= used
    return centre, scores


def mean_parts(labelled: Side, unlabelled: Side) -> Parts:
    """Parts of a self-normalised weighted mean; q is 1."""
    n = labelled.n
    weight, used = normalised(labelled.weight, n)
    weight_u, used_u = normalised(unlabelled.weight, unlabelled.n)
    theta, outcome = _centred(labels_of(labelled), weight, used)
    difference = np.empty((n + unlabelled.n, 1))
    gamma, _ = _centred(labelled.predictions, weight, used, out=difference[:n, 0])
    gamma_u, below = _centred(unlabelled.predictions, weight_u, used_u, out=difference[n:, 0])
    np.negative(below, out=below)
    shift = np.array([gamma - gamma_u])
    return Parts(np.array([theta]), shift, outcome[:, None], difference, shift, (weight, weight_u), (used, used_u))


def labels_of(side: Side) -> Array:
    """Labels of a side that must have them."""
    if side.y is None:
        raise ValueError("y is missing: the labelled rows need one label each.")
    return side.y


def _square_sum(values: Array, weight: Array | None = None) -> float:
    if weight is None:
        return _inner(values, values)
    inverse = np.divide(1.0, weight, out=np.zeros_like(weight), where=weight > 0)
    return _inner(values, values * inverse[:, None])


def _inner(a: Array, b: Array) -> float:
    # By column: arrays of parts are stored so, and a flat product would copy them.
    return float(sum(x @ y for x, y in zip(a.T, b.T, strict=True)))


def _grouped(parts: Parts, codes: Codes | None) -> tuple[Array, Array]:
    """Parts of θ̂_n and of γ̂_n − γ̂_N, summed within clusters where there are any."""
    n = len(parts.outcome)
    if codes is None:
        return parts.outcome, parts.difference[:n]
    size = int(codes.max()) + 1
    return cluster_sums(parts.outcome, codes[:n], size), cluster_sums(parts.difference, codes, size)


def power_tuning(parts: Parts, codes: Codes | None = None) -> float:
    r"""λ that minimises the summed variances of θ̂_n − λ(γ̂_n − γ̂_N), clipped to [0, 1].

    For a mean of independent, unweighted rows it is
    :math:`\hat\lambda = Cov_n(Y, f) / \{(1 + n/N)\, Var_{n+N}(f)\}` (covariance with ddof 0, variance with
    ddof 1 over all rows). Weights and clusters multiply the pooled variance by their own design effect, the
    ratio of the variance of γ̂_n − γ̂_N with them to that without.

    Parameters
    ----------
    parts : Parts
        Parts without finite-sample factors.
    codes : ndarray of int, shape (n + N,), optional
        Cluster of each stacked row.

    Returns
    -------
    float
    """
    outcome, together = _grouped(parts, codes)
    rows, n, m = len(parts.outcome), *parts.used
    above = _square_sum(parts.difference[:rows], parts.weights[0])
    below = _square_sum(parts.difference[rows:], parts.weights[1])
    pooled = n**2 * above + m**2 * below + n * m / (n + m) * float(parts.gap @ parts.gap)
    pooled *= (1 / n + 1 / m) / (n + m - 1)
    if not above + below > 0 or not pooled > 0:
        return 0.0
    actual = _square_sum(parts.difference if codes is None else together)
    return float(np.clip(_inner(outcome, together) / (pooled * actual / (above + below)), 0.0, 1.0))


def optimal_matrix(parts: Parts, codes: Codes | None = None) -> Array:
    """Ω = Cov(θ̂_n, γ̂_n − γ̂_N) Var(γ̂_n − γ̂_N)⁻¹, shape (q, q)."""
    outcome, together = _grouped(parts, codes)
    whole = parts.difference if codes is None else together
    variance = whole.T @ whole
    # Unit diagonal first: the pseudo-inverse must not take a small unit of measurement for a lack of rank.
    size = np.sqrt(np.diag(variance))
    size[size == 0] = 1.0
    inverse = np.linalg.pinv(variance / np.outer(size, size), rcond=1e-12, hermitian=True)
    matrix: Array = (outcome.T @ together) / size @ inverse / size
    return matrix


def side_factors(labelled: Side, unlabelled: Side, codes: Codes | None, parts: Parts, ddof: int) -> tuple[float, float]:
    """Finite-sample factor of each side: G/(G − 1) with groups, else n/(n − ddof)."""
    counts = list(parts.used)
    ddofs = [ddof, ddof]
    if codes is not None:
        sides = (labelled, codes[: labelled.n]), (unlabelled, codes[labelled.n :])
        for position, (side, own) in enumerate(sides):
            if side.clustered:
                counts[position], ddofs[position] = len(np.unique(own)), 1
    first, second = (count / max(count - d, 1) for count, d in zip(counts, ddofs, strict=True))
    return first, second


def combine(parts: Parts, tuning: Array) -> tuple[Array, Array]:
    """θ̂_n − Ω(γ̂_n − γ̂_N) and its parts.

    ``tuning`` is Ω, or λ of shape () for Ω = λI. A λ overwrites ``parts.difference``: the stacked array is the
    largest of a run and is not needed afterwards.
    """
    if tuning.ndim == 0:
        stacked, moved = parts.difference, tuning * parts.shift
        stacked *= -float(tuning)
    else:
        stacked, moved = (-tuning @ parts.difference.T).T, tuning @ parts.shift
    stacked[: len(parts.outcome)] += parts.outcome
    return parts.estimate - moved, stacked


def _tuned_mean(labelled: Side, unlabelled: Side, codes: Codes | None, method: str) -> tuple[Parts, float | None]:
    """Scaled parts of a mean and its λ; None where Ω is to be found from the parts."""
    parts = mean_parts(labelled, unlabelled)
    value = FIXED[method] if method in FIXED else power_tuning(parts, codes)
    ddof = int(method == "predict_then_debias")
    return parts.scaled(side_factors(labelled, unlabelled, codes, parts, ddof)), value


def mean_solution(labelled: Side, unlabelled: Side, codes: Codes | None, method: str) -> Solution:
    """Prediction-powered mean; ``codes`` are the clusters of the stacked rows."""
    parts, value = _tuned_mean(labelled, unlabelled, codes, method)
    tuning = optimal_matrix(parts, codes) if value is None else np.asarray(value)
    estimate, stacked = combine(parts, tuning)
    return Solution(estimate, tuning, stacked)


def arm_means_solution(labelled: Side, unlabelled: Side, codes: Codes | None, method: str, n_arms: int) -> Solution:
    """Differences of prediction-powered means, each level against level 0.

    Ω of predict-then-debias is block-diagonal for independent rows; clusters that hold several arms give it
    entries off the diagonal.
    """
    rows, rows_u = labelled.n, unlabelled.n
    estimate, shift, tuned = np.empty(n_arms), np.empty(n_arms), np.zeros(n_arms)
    outcome, difference = np.zeros((rows, n_arms), order="F"), np.zeros((rows + rows_u, n_arms), order="F")
    for arm in range(n_arms):
        mine = np.flatnonzero(_arms(labelled) == arm)
        mine_u = np.flatnonzero(_arms(unlabelled) == arm)
        stacked = np.concatenate([mine, rows + mine_u])
        own = None if codes is None else codes[stacked]
        parts, value = _tuned_mean(labelled.take(mine), unlabelled.take(mine_u), own, method)
        estimate[arm], shift[arm], tuned[arm] = parts.estimate[0], parts.shift[0], value or 0.0
        outcome[mine, arm] = parts.outcome[:, 0]
        difference[stacked, arm] = parts.difference[:, 0]
    whole = Parts(estimate, shift, outcome, difference, shift, (None, None), (rows, rows_u))
    debias = method == "predict_then_debias"
    matrix = optimal_matrix(whole, codes) if debias else np.diag(tuned)
    means, stacked_parts = combine(whole, matrix)
    contrast = np.column_stack([-np.ones(n_arms - 1), np.eye(n_arms - 1)])
    return Solution(contrast @ means, matrix if debias else tuned, stacked_parts @ contrast.T)


def _arms(side: Side) -> Codes:
    if side.arm is None:
        raise ValueError("treatment is missing: every row needs its level.")
    return side.arm
