"""Choosing the encoder's tuning with the outcome: agreement inside the support, and the outer shell of the actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.extrapolation.baselines import crossfit_regression
from causalkit.extrapolation.curve_part import CurvePart

__all__ = [
    "Choice",
    "SelectionSplit",
    "calibration_gaps",
    "choose_tuning",
    "clearly_better",
    "outer_shell",
    "selection_split",
]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

_REPORT_SHARE, _HELD_SHARE, _SHELL_SHARE = 0.2, 0.25, 0.2
_FEWEST_CLUSTERS = 3  # one for the report, one held out, one to train on
# A tuning other than the reference has to be better by this many standard errors of the paired differences.
_CLEARLY = 2.0
_MOST_ACTIONS = 300
_MOST_ROWS = 2000


@dataclass(frozen=True, eq=False)
class SelectionSplit:
    """Which rows choose and which report.

    Attributes
    ----------
    report : ndarray of int
        Rows of the reported losses, a fifth.
    train, held : ndarray of int
        The others, split for the loss inside the support.
    core, shell : ndarray of int
        The others, split by their Mahalanobis radius in the actions at its 80 % quantile.
    """

    report: Rows
    train: Rows
    held: Rows
    core: Rows
    shell: Rows

    @property
    def choosing(self) -> Rows:
        """Everything but the report."""
        return np.sort(np.concatenate([self.train, self.held]))


def outer_shell(actions: Array) -> NDArray[np.bool_]:
    """Rows whose Mahalanobis radius exceeds its 80 % quantile."""
    centred = actions - actions.mean(axis=0)
    inverse = np.linalg.inv(centred.T @ centred / len(centred))
    radius = np.einsum("ij,jk,ik->i", centred, inverse, centred)
    return np.asarray(radius > np.quantile(radius, 1 - _SHELL_SHARE))


def selection_split(actions: Array, groups: Rows | None, seed: int) -> SelectionSplit:
    """Draw the split by rows, or by clusters."""
    rng = np.random.default_rng(seed)
    n = len(actions)
    units = np.arange(n) if groups is None else groups
    if int(units.max()) + 1 < _FEWEST_CLUSTERS:
        raise ValueError(
            f"groups holds {int(units.max()) + 1} cluster(s), expected at least {_FEWEST_CLUSTERS}: the rows are split "
            "by cluster to choose the model and to report its losses. Leave groups out, or pass finer ones."
        )
    place = (rng.permutation(int(units.max()) + 1) / (int(units.max()) + 1))[units]
    report = np.flatnonzero(place < _REPORT_SHARE)
    rest = np.flatnonzero(place >= _REPORT_SHARE)
    held = place[rest] < _REPORT_SHARE + (1 - _REPORT_SHARE) * _HELD_SHARE
    outside = outer_shell(actions[rest])
    return SelectionSplit(report, rest[~held], rest[held], rest[~outside], rest[outside])


def calibration_gaps(part: CurvePart, actions: Array, regression: Array, seed: int) -> Array:
    """(μ_do(a) - μ_reg(a))² on at most 300 rows; both curves are E[Y | A = a] inside the support."""
    rows = np.arange(len(actions))
    if len(rows) > _MOST_ACTIONS:
        rows = np.random.default_rng(seed).choice(rows, _MOST_ACTIONS, replace=False)
    return np.asarray((thinned(part, seed).do_mean(actions[rows]) - regression[rows]) ** 2)


def thinned(part: CurvePart, seed: int) -> CurvePart:
    """A part whose means run over at most 2000 rows, for losses that are themselves averages."""
    n = len(part.phi)
    if n <= _MOST_ROWS:
        return part
    rows = np.random.default_rng(seed).choice(n, _MOST_ROWS, replace=False)
    # ν before and after the move is averaged over the same rows: their difference varies less than either.
    return CurvePart(
        part.phi[rows],
        part.residual[rows],
        part.action_matrix,
        part.intercept,
        part.outcome_model,
        part.outcome_mean,
        None if part.weight is None else part.weight[rows],
    )


@dataclass(frozen=True, eq=False)
class Choice:
    """The tuning that was chosen, and the path.

    Attributes
    ----------
    tuning : float
        Ridge or penalty of the encoder.
    calibration : float
        Weight of the calibration term.
    path : list of dict
        penalty, calibration, c_in, shell_loss, chosen.
    """

    tuning: float
    calibration: float
    path: list[dict[str, Any]]


def choose_tuning(
    fits: Callable[[Rows], list[tuple[float, float, CurvePart]]],
    actions: Array,
    y: Array,
    split: SelectionSplit,
    seed: int,
    reference: float,
) -> Choice:
    r"""Choose by the sum of the loss inside the support and the loss on the outer shell, where it can tell.

    Candidates differ by thousandths of the variance of y, which is the size of the noise in the sum. A reference is
    kept unless another candidate is better by two standard errors of the paired differences; among those that are, the
    smallest sum wins.

    Parameters
    ----------
    fits : callable
        Rows → (tuning, calibration weight, fitted part) of every candidate, fitted on these rows.
    actions : ndarray, shape (n, k)
        Actions.
    y : ndarray, shape (n,)
        Outcomes.
    split : SelectionSplit
        Rows.
    seed : int
        Key of draws.
    reference : float
        Tuning that is kept unless another is clearly better, with the smallest calibration weight.

    Returns
    -------
    Choice
    """
    choosing = split.choosing
    regression = np.empty(len(y))
    regression[choosing] = crossfit_regression(actions[choosing], y[choosing], seed=seed)
    candidates, inside, shell = [], [], []
    for tuning, weight, part in fits(split.train):
        candidates.append((tuning, weight))
        inside.append(calibration_gaps(part, actions[split.held], regression[split.held], seed))
    for _, _, part in fits(split.core):
        shell.append((y[split.shell] - thinned(part, seed).do_mean(actions[split.shell])) ** 2)
    kept = min(range(len(candidates)), key=lambda j: (candidates[j][0] != reference, candidates[j][1]))
    best = clearly_better(np.array(inside), np.array(shell), kept)
    path = [
        {
            "penalty": tuning,
            "calibration": weight,
            "c_in": float(gaps.mean()),
            "shell_loss": float(errors.mean()),
            "chosen": number == best,
        }
        for number, ((tuning, weight), gaps, errors) in enumerate(zip(candidates, inside, shell, strict=True))
    ]
    return Choice(*candidates[best], path)


def clearly_better(inside: Array, shell: Array, reference: int) -> int:
    """Row with the smallest sum of means among those below the reference by two standard errors, or the reference.

    Parameters
    ----------
    inside : ndarray, shape (c, n_1)
        Losses of the candidates, row by row.
    shell : ndarray, shape (c, n_2)
        Losses on other rows.
    reference : int
        Candidate that is kept in doubt.

    Returns
    -------
    int
    """
    gain, variance = np.zeros(len(inside)), np.zeros(len(inside))
    for losses in (inside, shell):
        difference = losses[reference] - losses
        gain += difference.mean(axis=1)
        variance += difference.var(axis=1) / losses.shape[1]
    better = gain > _CLEARLY * np.sqrt(variance)
    return int(np.argmax(np.where(better, gain, -np.inf))) if better.any() else reference
