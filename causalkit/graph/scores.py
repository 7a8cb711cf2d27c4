r"""Doubly robust scores of treatment effects, and averages of them over groups of units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.validation import check_choice

__all__ = [
    "Averages",
    "average_effects",
    "clip_probabilities",
    "continuous_scores",
    "doubly_robust_scores",
    "of_levels",
]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]


def clip_probabilities(probabilities: Array, floor: float) -> tuple[Array, NDArray[np.bool_]]:
    """Keep probabilities away from 0 (and so from 1), rows adding up to one.

    Parameters
    ----------
    probabilities : ndarray, shape (n, L)
        One column per level.
    floor : float
        Smallest probability.

    Returns
    -------
    clipped : ndarray, shape (n, L)
        Two levels are clipped to [floor, 1 - floor]; more are raised to the floor and scaled back to sum 1.
    moved : ndarray of bool, shape (n,)
        Rows that changed.
    """
    moved = np.asarray((probabilities < floor).any(axis=1))
    raised = np.maximum(probabilities, floor)
    if probabilities.shape[1] == 2:
        second = np.clip(probabilities[:, 1], floor, 1 - floor)
        return np.column_stack([1 - second, second]), moved
    return raised / raised.sum(axis=1, keepdims=True), moved


def baseline_outcome(outcome: Array, probabilities: Array, effect: Array) -> Array:
    """μ₀ = m - Σ e_l τ_l, shape (n,)."""
    return np.asarray(outcome - np.einsum("nl,nl->n", probabilities[:, 1:], effect))


def of_levels(by_level: Array, probabilities: Array) -> tuple[Array, Array]:
    """m = Σ e_l μ_l and τ_l = μ_l - μ₀ of outcomes by level, shapes (n,) and (n, L - 1)."""
    return np.einsum("nl,nl->n", probabilities, by_level), by_level[:, 1:] - by_level[:, :1]


def doubly_robust_scores(y: Array, codes: Codes, outcome: Array, probabilities: Array, effect: Array) -> Array:
    r"""Scores whose mean is the average effect of each level.

    .. math:: \Gamma_l = \tau_l + \frac{1\{T=l\}}{e_l}(Y-\mu_l) - \frac{1\{T=0\}}{e_0}(Y-\mu_0), \qquad
              \mu_0 = m - \sum_l e_l\tau_l,\; \mu_l = \mu_0 + \tau_l

    With two levels that is :math:`\tau + \frac{T-e}{e(1-e)}\{Y - m - (T-e)\tau\}`.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Outcomes.
    codes : ndarray of int, shape (n,)
        Levels, 0..L-1.
    outcome : ndarray, shape (n,)
        m = E[Y|X].
    probabilities : ndarray, shape (n, L)
        e, away from 0.
    effect : ndarray, shape (n, L - 1)
        τ.

    Returns
    -------
    ndarray, shape (n, L - 1)
    """
    base = baseline_outcome(outcome, probabilities, effect)
    untreated = np.where(codes == 0, (y - base) / probabilities[:, 0], 0.0)
    scores = effect - untreated[:, None]
    for level in range(1, probabilities.shape[1]):
        taken = codes == level
        scores[taken, level - 1] += ((y - base - effect[:, level - 1]) / probabilities[:, level])[taken]
    return scores


def continuous_scores(outcome_residual: Array, treatment_residual: Array, variance: Array, effect: Array) -> Array:
    r"""Scores :math:`\tau + \tilde T(\tilde Y - \tilde T\tau)/v` of a partially linear model, v = Var(T|X)."""
    return np.asarray(effect + treatment_residual / variance * (outcome_residual - treatment_residual * effect))


@dataclass(frozen=True, eq=False)
class Averages:
    """Weighted averages with influence values.

    Attributes
    ----------
    estimate : ndarray, shape (q,)
        Σ numerator / Σ denominator.
    influence : ndarray, shape (n, q)
        On the scale of a mean.
    numerator, denominator : ndarray, shape (n, q), or None
        What is averaged, so that parts of the rows can be averaged too.
    """

    estimate: Array
    influence: Array
    numerator: Array | None = None
    denominator: Array | None = None


def ratio(numerator: Array, denominator: Array, weight: Array | None = None) -> Averages:
    """Σ w·numerator / Σ w·denominator per column, and ψ = w(numerator - estimate·denominator)/mean(w·denominator)."""
    w = np.ones(len(numerator)) if weight is None else weight
    bottom = w @ denominator / len(w)
    estimate = (w @ numerator / len(w)) / bottom
    return Averages(estimate, w[:, None] * (numerator - denominator * estimate) / bottom, numerator, denominator)


def average_effects(
    target: str,
    y: Array,
    codes: Codes,
    outcome: Array,
    probabilities: Array,
    effect: Array,
    scores: Array,
    weight: Array | None,
) -> Averages:
    r"""Average effects over everybody, the treated, the controls, or where arms overlap.

    "overlap" averages with weights :math:`h = (\sum_l 1/e_l)^{-1}`, which is e(1 - e) with two levels. Plugging an
    estimate of e into h would move the estimate to first order, so h is corrected by its derivative,
    :math:`h + \sum_l \partial_l h\,(1\{T=l\} - e_l) = h^2/e_T^2`; with two levels that is (T - e)², and the estimate
    :math:`\sum\tilde T\tilde Y/\sum\tilde T^2`.

    Parameters
    ----------
    target : {"all", "treated", "control", "overlap"}
        Whom to average over.
    y, codes, outcome, probabilities, effect
        As in :func:`doubly_robust_scores`.
    scores : ndarray, shape (n, L - 1)
        Γ.
    weight : ndarray, shape (n,), optional
        Weights of the rows.

    Returns
    -------
    Averages
    """
    check_choice(target, "target", ("all", "treated", "control", "overlap"))
    if target == "all":
        return ratio(scores, np.ones_like(scores), weight)
    if target == "overlap":
        h = 1.0 / (1.0 / probabilities).sum(axis=1)
        corrected = (h / probabilities[np.arange(len(codes)), codes]) ** 2
        numerator = h[:, None] * scores + (corrected - h)[:, None] * effect
        return ratio(numerator, np.broadcast_to(corrected[:, None], numerator.shape), weight)
    base = baseline_outcome(outcome, probabilities, effect)
    control = (codes == 0).astype(np.float64)
    numerator, denominator = np.empty_like(scores), np.empty_like(scores)
    for level in range(1, probabilities.shape[1]):
        taken = (codes == level).astype(np.float64)
        odds = probabilities[:, level] / probabilities[:, 0]
        if target == "treated":
            numerator[:, level - 1] = (taken - control * odds) * (y - base)
            denominator[:, level - 1] = taken
        else:
            numerator[:, level - 1] = (taken / odds - control) * (y - base - effect[:, level - 1])
            denominator[:, level - 1] = control
    return ratio(numerator, denominator, weight)
