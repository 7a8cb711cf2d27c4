"""Weights of the candidates of the final stage: the guard for a constant, R-stacking, and both without each fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.graph.final_models import Residuals, best_constant
from causalkit.selection.stacking import r_stacking

if TYPE_CHECKING:
    from causalkit.graph.final_stage import FinalCandidate
    from causalkit.graph.splits import GraphSplits

__all__ = ["compared", "mixed_by_fold", "weights_by_fold"]

Array = NDArray[np.float64]


def compared(
    candidates: list[FinalCandidate],
    effects: Array,
    residuals: list[Residuals],
    splits: GraphSplits,
    standard_error: Callable[[Array], float],
) -> tuple[Array, list[dict[str, Any]]]:
    """Weights of the stack, and the table of the comparison; R-scores are against out-of-fold constants."""
    terms = _loss_terms(effects, residuals)
    everything = np.ones(terms.shape[1], dtype=bool)
    weights, losses, errors = _stacked(terms, effects, residuals, everything, standard_error)
    constant = _constant_loss(residuals, splits)
    table = [
        {
            "candidate": candidate.label,
            "features": candidate.features or "none",
            "r_loss": float(loss),
            "std_error": float(error),
            "r_score": float(1 - loss / constant) if constant > 0 else 0.0,
            "weight": float(weight),
        }
        for candidate, loss, error, weight in zip(candidates, losses, errors, weights, strict=True)
    ]
    return weights, table


def _loss_terms(effects: Array, residuals: list[Residuals]) -> Array:
    """Squared errors (C, n) of the R-loss, means over repeats."""
    found = [
        (one.outcome - np.einsum("cnk,nk->cn", effects[:, repeat], one.treatment)) ** 2
        for repeat, one in enumerate(residuals)
    ]
    return np.asarray(np.mean(found, axis=0))


def _stacked(
    terms: Array,
    effects: Array,
    residuals: list[Residuals],
    used: NDArray[np.bool_],
    standard_error: Callable[[Array], float],
) -> tuple[Array, Array, Array]:
    """Weights from some rows, with losses there and standard errors of their differences to the constant's."""
    w = residuals[0].weights * used
    total, share = w.sum(), used.mean()
    losses = terms @ w / total
    errors = np.zeros(len(terms))
    for number in range(1, len(terms)):
        difference = (terms[0] - terms[number]) * w
        # Rows left out are zeros of a mean over all rows.
        errors[number] = standard_error((difference - difference[used].mean()) * used) / share
    best = int(np.argmin(losses))
    if best == 0 or losses[0] - losses[best] < errors[best]:
        return np.eye(len(terms))[0], losses, errors
    weights = r_stacking(
        np.concatenate([effects[:, repeat, used] for repeat in range(len(residuals))], axis=1),
        np.concatenate([found.outcome[used] for found in residuals]),
        np.concatenate([found.treatment[used] for found in residuals]),
        sample_weight=np.tile(w[used], len(residuals)),
    )
    return weights, losses, errors


def weights_by_fold(
    effects: Array, residuals: list[Residuals], splits: GraphSplits, standard_error: Callable[[Array], float]
) -> list[list[Array]]:
    """Weights for every repeat and fold, from the rows outside the fold."""
    if len(effects) == 1:
        return [[np.ones(1)] * len(repeat) for repeat in splits.splits]
    terms = _loss_terms(effects, residuals)
    found = []
    for repeat in splits.splits:
        of_repeat = []
        for _, test in repeat:
            used = np.ones(terms.shape[1], dtype=bool)
            used[test] = False
            of_repeat.append(_stacked(terms, effects, residuals, used, standard_error)[0])
        found.append(of_repeat)
    return found


def mixed_by_fold(weights: list[list[Array]], effects: Array, splits: GraphSplits) -> Array:
    """Effects with the weights of their fold, means over repeats, shape (n, k)."""
    total = np.zeros(effects.shape[2:])
    for repeat, (of_repeat, folds) in enumerate(zip(weights, splits.splits, strict=True)):
        for weight, (_, test) in zip(of_repeat, folds, strict=True):
            total[test] += np.tensordot(weight, effects[:, repeat, test], axes=1)
    return total / len(weights)


def _constant_loss(residuals: list[Residuals], splits: GraphSplits) -> float:
    """R-loss of the constant that fits the other folds best."""
    losses = []
    for found, repeat in zip(residuals, splits.splits, strict=True):
        terms = np.zeros(len(found.outcome))
        for train, test in repeat:
            terms[test] = (found.outcome[test] - found.treatment[test] @ best_constant(found.rows(train))) ** 2
        losses.append(float(np.average(terms, weights=found.weight)))
    return float(np.mean(losses))
