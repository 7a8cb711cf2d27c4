r"""Influence values of the coefficients, the intercept and the controls.

Each fit solves E_n[s_i(h)] = 0; the influence of row i is H⁻¹s_i with H minus the derivative of the mean score.
A row's draws are averaged first, because the row is the unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.augmentation.moments import Moments
from causalkit.augmentation.pairs import Pair, PairSource, Rows, chunk_slices
from causalkit.augmentation.solution import LinearProblem

__all__ = ["influence_values"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Partial:
    """Centring and partialling out of one group of columns: v - mean - (w - w̄)·slope."""

    mean: Array
    slope: Array | None

    def __call__(self, values: Array, controls: Array | None) -> Array:
        out = values - self.mean
        return out if self.slope is None or controls is None else out - controls @ self.slope


def _partial(moments: Moments, name: str, centred: bool) -> _Partial:
    mean = moments.average(name) if centred else np.zeros_like(moments.average(name))
    if not moments.layout.controls:
        return _Partial(mean, None)
    options = {"centred": centred, "partial": False}
    ww = np.linalg.pinv(moments.second("w", "w", **options), hermitian=True)
    return _Partial(mean, ww @ moments.second("w", name, **options))


@dataclass(frozen=True, eq=False)
class _Scores:
    """Scores of the rows of one outcome at the fitted coefficients."""

    problem: LinearProblem
    moments: Moments
    alpha: float
    coef: Array  # (p,)
    outcome: int

    def of_pair(self, pair: Pair, rows: Rows, part: slice) -> tuple[Array, Array, Array]:
        """Score (n, p), residual (n,) and features (n, p) as they enter the squared error."""
        x = _dense(pair.x)
        d = None if pair.d is None else _dense(pair.d)
        if self.problem.features == "X" and d is not None:
            x = x - d
        controls = _controls(self.moments, rows, part, self.problem.centred)
        x = _partial(self.moments, self.problem.features, self.problem.centred)(x, controls)
        y = _partial(self.moments, "y", self.problem.centred)(rows.y[part], controls)[:, self.outcome]
        e = y - x @ self.coef
        return self._score(pair, x, e, d, controls), e, x

    def _score(self, pair: Pair, x: Array, e: Array, d: Array | None, controls: Array | None) -> Array:
        penalty, alpha = self.problem.penalty, self.alpha
        xe = x * e[:, None]
        if penalty in ("none", "constrained", "analytic") or np.isinf(alpha) or (alpha == 0 and penalty != "projected"):
            # For "analytic" the penalty's part -cKh is the same for all rows: it goes with the mean of the scores.
            # At alpha = 0 the free directions see x·e only.
            return xe
        if penalty == "projected":
            g = self._reduced(pair, controls)
            e_hat = g @ self._with_residual()
            x_hat = g @ self._first_stage("x")
            return np.asarray(alpha * xe + x_hat * (e - e_hat)[:, None] + x * e_hat[:, None])
        if d is None:
            return alpha * xe
        if penalty == "pointwise":
            return np.asarray(alpha * xe - d * (d @ self.coef)[:, None])
        g = self._reduced(pair, controls)
        d = _partial(self.moments, "d", self.problem.centred)(d, controls)
        slope = self._first_stage("d")
        u, u_hat, d_hat = d @ self.coef, g @ (slope @ self.coef), g @ slope
        return np.asarray(alpha * xe - d * u_hat[:, None] - d_hat * (u - u_hat)[:, None])

    def _reduced(self, pair: Pair, controls: Array | None) -> Array:
        if pair.g is None or self.problem.reduction is None:
            return np.zeros((pair.x.shape[0], 0))
        return _partial(self.moments, "g", self.problem.centred)(pair.g, controls) @ self.problem.reduction

    def _first_stage(self, name: str) -> Array:
        """Π of the reduced parameters, whose second moments are I: shape (r, p)."""
        reduction = self.problem.reduction
        moment = self.moments.second("g", name, centred=self.problem.centred)
        return moment if reduction is None else np.asarray(reduction.T @ moment)

    def _with_residual(self) -> Array:
        moment = self._first_stage("y")[:, self.outcome] - self._first_stage("x") @ self.coef
        return np.asarray(moment)


def _controls(moments: Moments, rows: Rows, part: slice, centred: bool) -> Array | None:
    if rows.exogenous is None:
        return None
    return rows.exogenous[part] - (moments.average("w") if centred else 0.0)


def _dense(values: Any) -> Array:
    return np.asarray(values.toarray() if sparse.issparse(values) else values)


def influence_values(
    problem: LinearProblem, moments: Moments, source: PairSource, chunks: list[Rows], alpha: float, outcome: int
) -> Array:
    """Influence values of (intercept, h, δ) for one outcome.

    Parameters
    ----------
    problem : LinearProblem
        The fit.
    moments : Moments
        Moments of all rows.
    source : PairSource
        Makes the pairs again, the same as in the fit.
    chunks : list of Rows
        The rows, in order.
    alpha : float
        Where on the path.
    outcome : int
        Column of y.

    Returns
    -------
    ndarray, shape (n, [1 +] p + e)
        On the scale of a mean; the first column is the intercept's where there is one.
    """
    alpha = _limit_or(problem, alpha)
    scores = _Scores(problem, moments, alpha, problem.coef(alpha)[:, outcome], outcome)
    s, e, we = _averaged_scores(scores, source, chunks)
    weight = _relative_weight(chunks)
    if weight is not None:
        s, e, we = s * weight[:, None], e * weight, we * weight[:, None]
    # With ridge the mean score is the ridge's pull, a constant that belongs to every row alike.
    s = s - (s.mean(axis=0) if weight is None else np.outer(weight, s.mean(axis=0)))
    coef = _times_inverse(problem, s, alpha)
    columns = [coef]
    if moments.layout.controls:
        columns.append(_control_influence(problem, moments, coef, we))
    if problem.centred:
        first = e - coef @ moments.average(problem.features)
        if moments.layout.controls:
            first = first - columns[1] @ moments.average("w")
        columns.insert(0, first[:, None])
    return np.hstack(columns)


def _limit_or(problem: LinearProblem, alpha: float) -> float:
    """Zero where alpha is too small to be told from its limit: dividing by it would leave rounding only."""
    values, moved = problem.spectrum.values, problem.spectrum.moved
    if problem.penalty not in ("pointwise", "paired", "analytic") or not moved.any() or (values[~moved] > 0).any():
        return alpha
    return alpha if alpha > 1e-14 * values[moved].min() else 0.0


def _averaged_scores(scores: _Scores, source: PairSource, chunks: list[Rows]) -> tuple[Array, Array, Array]:
    """Scores, residuals and controls times residual, averaged over the draws of each row."""
    n, p = sum(rows.n for rows in chunks), len(scores.coef)
    s, e = np.zeros((n, p)), np.zeros(n)
    we = np.zeros((n, scores.moments.layout.controls))
    at = 0
    for rows in chunks:
        for part in chunk_slices(rows.n, 3 * p, rows.first_row):
            here = slice(at + part.start, at + part.stop)
            controls = _controls(scores.moments, rows, part, scores.problem.centred)
            for pair in source.pairs(rows, part):
                score, residual, _ = scores.of_pair(pair, rows, part)
                s[here] += pair.share * score
                e[here] += pair.share * residual
                if controls is not None:
                    we[here] += pair.share * controls * residual[:, None]
        at += rows.n
    return s, e, we


def _relative_weight(chunks: list[Rows]) -> Array | None:
    if all(rows.weight is None for rows in chunks):
        return None
    weight = np.concatenate([np.ones(rows.n) if rows.weight is None else rows.weight for rows in chunks])
    return np.asarray(weight / weight.mean())


def _times_inverse(problem: LinearProblem, scores: Array, alpha: float) -> Array:
    """Influence H⁻¹s; within the unmoved directions where the penalty is without limit."""
    exact = problem.penalty == "constrained" or (alpha == 0 and problem.penalty in ("pointwise", "paired", "analytic"))
    if exact:
        free = problem.spectrum.directions[:, ~problem.spectrum.moved]
        return np.asarray(scores @ free @ free.T)
    if problem.penalty == "projected":
        return np.asarray(np.linalg.solve(problem.normal_matrix(alpha), scores.T).T)
    # H⁻¹ = Q diag(factor/α) Q', Q the directions of the path: exact for small alphas too, where H is nearly singular.
    directions = problem.spectrum.directions
    size = problem.spectrum.factors(np.array([alpha]))[0]
    if problem.penalty in ("pointwise", "paired") and not np.isinf(alpha):
        size = size / alpha
    return np.asarray((scores @ directions * size) @ directions.T)


def _control_influence(problem: LinearProblem, moments: Moments, coef: Array, we: Array) -> Array:
    """IF(δ) = M_ww⁻¹(w e - M_wx IF(h))."""
    options = {"centred": problem.centred, "partial": False}
    ww = np.linalg.pinv(moments.second("w", "w", **options), hermitian=True)
    return np.asarray((we - coef @ moments.second("w", problem.features, **options).T) @ ww)
