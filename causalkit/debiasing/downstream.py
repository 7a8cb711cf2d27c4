"""Downstream estimators that are linear in the outcome, so that corrections pass through them.

Each builder returns a functional τ(y) with q entries. It is applied to the columns of a correction's
basis (giving Δ, shape (J, q)) and to the corrected outcome itself (giving influence values).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.basis import Basis
from causalkit.inference.covariance import finite_sample_factor
from causalkit.linear import weighted_least_squares
from causalkit.validation import Groups, Treatment

__all__ = [
    "Downstream",
    "LinearFunctional",
    "TrialRows",
    "difference_functional",
    "mean_functional",
    "regression_functional",
    "weighting_functional",
]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]


@dataclass(frozen=True)
class TrialRows:
    """Weights and clusters of the trial rows.

    Attributes
    ----------
    n : int
        Rows.
    weight : ndarray, shape (n,), optional
        Sample weights.
    groups : Groups, optional
        Clusters.
    frequency : bool
        Whether the weights mean repeated rows.
    """

    n: int
    weight: Array | None = None
    groups: Groups | None = None
    frequency: bool = False

    @property
    def n_rows(self) -> float:
        """Sample size."""
        return float(self.weight.sum()) if self.frequency and self.weight is not None else float(self.n)

    def finish(self, parts: Array, factor: float | Array) -> Array:
        """Apply a finite-sample factor, and split repeated rows into independent copies, in place."""
        parts *= np.sqrt(factor)
        if self.frequency and self.weight is not None and self.groups is None:
            root = np.sqrt(self.weight)[:, None]
            np.divide(parts, root, out=parts, where=root > 0)
        return parts

    def factor(self, n_params: int, cov_type: str = "HC1") -> float:
        """Finite-sample factor of a regression with ``n_params`` coefficients."""
        return finite_sample_factor(self.n_rows, n_params, cov_type, self.groups)


class Downstream(Protocol):
    """What a downstream estimator offers to a correction."""

    names: tuple[str, ...]

    def project(self, basis: Basis, x: Array, cells: Codes | None) -> Array:
        """Estimates of every basis column, Δ, shape (J, q)."""

    def contributions(self, basis: Basis, x: Array, coef: Array, cells: Codes | None) -> Array:
        """Additive parts of the error of τ(h(x)'θ) with θ fixed, shape (n, q)."""

    @property
    def weights(self) -> Array:
        """First-order weights ω with τ(y) = Σ ω_i y_i, shape (n, q)."""


@dataclass(frozen=True)
class LinearFunctional:
    """τ(y) = Σ_i ω_i y_i, exactly.

    Attributes
    ----------
    names : tuple of str, length q
        Names of the entries.
    weights : ndarray, shape (n, q)
        Weights ω.
    parts : callable
        Additive parts of the error for an outcome vector: (n,) to (n, q).
    """

    names: tuple[str, ...]
    weights: Array
    parts: Callable[[Array], Array]

    def project(self, basis: Basis, x: Array, cells: Codes | None) -> Array:
        """Estimates of every basis column, Δ = H'ω, shape (J, q)."""
        return basis.project(x, self.weights, cells)

    def contributions(self, basis: Basis, x: Array, coef: Array, cells: Codes | None) -> Array:
        """Additive parts of the error of τ(h(x)'θ) with θ fixed, shape (n, q)."""
        return self.parts(basis.evaluate(x, coef, cells))


def contrast_names(levels: NDArray[Any]) -> tuple[str, ...]:
    """Names "level - reference" of the contrasts."""
    return tuple(f"{level} - {levels[0]}" for level in levels[1:])


def mean_functional(rows: TrialRows) -> LinearFunctional:
    """(Weighted) mean of the outcome."""
    share = np.full(rows.n, 1.0 / rows.n) if rows.weight is None else rows.weight / rows.weight.sum()
    # n/(n-1) is the ddof-1 variance of a mean; with clusters it is G/(G-1).
    factor = rows.factor(1)

    def parts(y: Array) -> Array:
        return rows.finish((share * (y - share @ y))[:, None], factor)

    return LinearFunctional(("mean",), share[:, None], parts)


def difference_functional(treatment: Treatment, rows: TrialRows) -> LinearFunctional:
    """Differences of (weighted) arm means from the reference arm.

    Arm variances use ddof 1; with clusters the factor is that of a regression on arm dummies.
    """
    codes, n_arms = treatment.codes, len(treatment.levels)
    mass = np.bincount(codes, weights=rows.weight, minlength=n_arms)
    if (mass <= 0).any():
        empty = treatment.levels[int(np.argmax(mass <= 0))]
        raise ValueError(f"treatment level {empty!r} has no weight: every arm needs rows of positive sample_weight.")
    share = (1.0 / mass)[codes] if rows.weight is None else rows.weight / mass[codes]
    # ddof counts rows, or repeated rows; weights of a survey do not add rows.
    size = mass if rows.frequency else np.bincount(codes, minlength=n_arms).astype(float)
    if rows.groups is None:
        factors: Any = np.divide(size, size - 1, out=np.ones_like(size), where=size > 1)[codes][:, None]
    else:
        factors = rows.factor(n_arms)

    def parts(y: Array) -> Array:
        means = np.bincount(codes, weights=share * y, minlength=n_arms)
        error = y - means[codes]
        error *= share
        return rows.finish(_signed(error, codes, n_arms), factors)

    return LinearFunctional(contrast_names(treatment.levels), _signed(share, codes, n_arms), parts)


def _signed(values: Array, codes: Codes, n_arms: int) -> Array:
    """Columns of arm l minus arm 0: values on rows of l, minus values on rows of 0."""
    columns = np.empty((len(values), n_arms - 1))
    for level in range(1, n_arms):
        sign = (codes == level).astype(np.int8)
        sign -= codes == 0
        np.multiply(values, sign, out=columns[:, level - 1])
    return columns


def weighting_functional(
    treatment: Treatment,
    propensity: Array,
    rows: TrialRows,
    *,
    normalised: bool,
    scores: Array | None = None,
) -> LinearFunctional:
    """Inverse-probability weighting: Hájek (normalised) or Horvitz-Thompson.

    Parameters
    ----------
    treatment : Treatment
        Coded treatment.
    propensity : ndarray, shape (n, L)
        Probability of each level.
    rows : TrialRows
        Weights and clusters.
    normalised : bool
        Divide by the sum of weights in each arm (Hájek) rather than by the sample size.
    scores : ndarray, shape (n, r), optional
        Scores of the fitted propensity model; their projection is taken out of the influence values,
        because an estimated propensity makes the estimate less variable.
    """
    codes, n_arms = treatment.codes, len(treatment.levels)
    base = np.ones(rows.n) if rows.weight is None else rows.weight
    inverse = base / propensity[np.arange(rows.n), codes]
    if normalised:
        share = inverse / np.bincount(codes, weights=inverse, minlength=n_arms)[codes]
    else:
        share = inverse / base.sum()
    weights = _signed(share, codes, n_arms)
    factor = rows.factor(n_arms) if rows.groups is not None else 1.0

    def parts(y: Array) -> Array:
        if normalised:
            means = np.bincount(codes, weights=share * y, minlength=n_arms)
            values = _signed(share * (y - means[codes]), codes, n_arms)
        else:
            values = weights * y[:, None]
            values -= (base / base.sum())[:, None] * values.sum(axis=0)
        if scores is not None:
            values = values - _projection(values, scores)
        return rows.finish(values, factor)

    return LinearFunctional(contrast_names(treatment.levels), weights, parts)


def _projection(values: Array, scores: Array) -> Array:
    return scores @ np.linalg.lstsq(scores, values, rcond=None)[0]


def regression_functional(
    design: Array, targets: list[int], names: tuple[str, ...], rows: TrialRows, *, n_absorbed: int = 0
) -> LinearFunctional:
    """Coefficients ``targets`` of (weighted) least squares on a design.

    Parameters
    ----------
    design : ndarray, shape (n, p)
        Regressors, with the constant column if there is one.
    targets : list of int
        Columns of interest.
    names : tuple of str
        Their names.
    rows : TrialRows
        Weights and clusters.
    n_absorbed : int, default=0
        Effects that were taken out of the design beforehand, for the finite-sample factor.
    """
    fit = weighted_least_squares(design, np.zeros(rows.n), rows.weight)
    if fit.rank < design.shape[1]:
        raise ValueError(
            f"the regressors are collinear: the design has {design.shape[1]} columns but rank {fit.rank}. Drop "
            "confounders that are combinations of others, of the constant or of the treatment."
        )
    weighted = design if rows.weight is None else design * rows.weight[:, None]
    weights = weighted @ fit.normaliser[:, targets]
    factor = rows.factor(design.shape[1] + n_absorbed)

    def parts(y: Array) -> Array:
        coef = fit.normaliser @ (weighted.T @ y)
        return rows.finish(weights * (y - design @ coef)[:, None], factor)

    return LinearFunctional(names, weights, parts)
