"""Downstream estimators that are linear in the outcome, so that corrections pass through them.

Each builder returns a functional τ(y) with q entries. It is applied to the columns of a correction's
basis (giving Δ, shape (J, q)) and to the corrected outcome itself (giving influence values).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.basis import Basis, chunks
from causalkit.inference.covariance import cluster_sums, finite_sample_factor
from causalkit.linear import weighted_least_squares
from causalkit.validation import Groups, Treatment

__all__ = [
    "DifferenceFunctional",
    "Downstream",
    "LinearFunctional",
    "TrialRows",
    "difference_functional",
    "mean_functional",
    "regression_functional",
    "sum_of_squares",
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
        return self.split_copies(parts, slice(None))

    def split_copies(self, parts: Array, rows: slice) -> Array:
        """Split repeated rows into independent copies, in place: their parts add up in quadrature."""
        if self.frequency and self.weight is not None and self.groups is None:
            root = np.sqrt(self.weight[rows])[:, None]
            np.divide(parts, root, out=parts, where=root > 0)
        return parts

    def factor(self, n_params: int, cov_type: str = "HC1") -> float:
        """Finite-sample factor of a regression with ``n_params`` coefficients."""
        return finite_sample_factor(self.n_rows, n_params, cov_type, self.groups)


class Downstream(Protocol):
    """What a downstream estimator offers to a correction."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the q entries."""

    def project(self, basis: Basis, x: Array, cells: Codes | None) -> Array:
        """Estimates of every basis column, Δ, shape (J, q)."""

    def contributions(
        self, basis: Basis, x: Array, coef: Array, cells: Codes | None, out: Array | None = None
    ) -> Array:
        """Additive parts of the error of τ(h(x)'θ) with θ fixed, shape (n, q); written to ``out``."""

    def covariance(self, basis: Basis, x: Array, coef: Array, cells: Codes | None) -> Array:
        """Covariance of τ(h(x)'θ) with θ fixed, shape (q, q)."""

    @property
    def weights(self) -> Array:
        """First-order weights ω with τ(y) = Σ ω_i y_i, shape (n, q)."""


@dataclass(frozen=True)
class LinearFunctional:
    """τ(y) = Σ_i ω_i y_i, exactly, with influence by a function of the outcome.

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
    groups: Groups | None = None

    def project(self, basis: Basis, x: Array, cells: Codes | None) -> Array:
        """Estimates of every basis column, Δ = H'ω, shape (J, q)."""
        return basis.project(x, self.weights, cells)

    def contributions(
        self, basis: Basis, x: Array, coef: Array, cells: Codes | None, out: Array | None = None
    ) -> Array:
        """Additive parts of the error of τ(h(x)'θ) with θ fixed, shape (n, q)."""
        parts = self.parts(basis.evaluate(x, coef, cells))
        if out is None:
            return parts
        out[...] = parts
        return out

    def covariance(self, basis: Basis, x: Array, coef: Array, cells: Codes | None) -> Array:
        """Covariance of τ(h(x)'θ) with θ fixed, shape (q, q)."""
        return sum_of_squares(self.contributions(basis, x, coef, cells), self.groups)


def sum_of_squares(parts: Array, groups: Groups | None) -> Array:
    """Covariance of an estimate with these additive parts, Σ_g (Σ u)(Σ u)', shape (q, q)."""
    sums = parts if groups is None else cluster_sums(parts, groups.codes, groups.n_groups)
    return np.asarray(sums.T @ sums)


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

    return LinearFunctional(("mean",), share[:, None], parts, rows.groups)


@dataclass(frozen=True)
class DifferenceFunctional:
    """Differences of (weighted) arm means from the reference arm, in chunks.

    Arm variances use ddof 1; with clusters the factor is that of a regression on arm dummies. Nothing of
    size n is allocated beyond what is returned, so that 10⁷ rows fit in a few arrays.

    Attributes
    ----------
    treatment : Treatment
    rows : TrialRows
    mass : ndarray, shape (L,)
        Sum of weights of each arm.
    factors : ndarray, shape (L,)
        Finite-sample factor of each arm.
    """

    treatment: Treatment
    rows: TrialRows
    mass: Array
    factors: Array

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the contrasts."""
        return contrast_names(self.treatment.levels)

    @property
    def weights(self) -> Array:
        """Weights ω, shape (n, q)."""
        return _signed(self._share(slice(None)), self.treatment.codes, len(self.mass))

    def _share(self, part: slice) -> Array:
        share = (1.0 / self.mass)[self.treatment.codes[part]]
        return share if self.rows.weight is None else share * self.rows.weight[part]

    def _arm_means(self, basis: Basis, x: Array, cells: Codes | None) -> Array:
        """Mean of each column in each arm, shape (J, L)."""
        codes, n_arms = self.treatment.codes, len(self.mass)
        means = np.zeros((basis.n_columns, n_arms))
        for part in chunks(len(x)):
            columns = basis.design(x[part], None if cells is None else cells[part])
            share = self._share(part)
            for level in range(n_arms):
                means[:, level] += (share * (codes[part] == level)) @ columns
        return means

    def project(self, basis: Basis, x: Array, cells: Codes | None) -> Array:
        """Estimates of every basis column, Δ, shape (J, q)."""
        means = self._arm_means(basis, x, cells)
        return means[:, 1:] - means[:, :1]

    def contributions(
        self, basis: Basis, x: Array, coef: Array, cells: Codes | None, out: Array | None = None
    ) -> Array:
        """Additive parts of the error of τ(h(x)'θ) with θ fixed, shape (n, q)."""
        parts = np.empty((len(x), len(self.mass) - 1)) if out is None else out
        for rows, values in self._chunk_contributions(basis, x, coef, cells):
            parts[rows] = values
        return parts

    def _chunk_contributions(
        self, basis: Basis, x: Array, coef: Array, cells: Codes | None
    ) -> Iterator[tuple[slice, Array]]:
        means = self._arm_means(basis, x, cells).T @ coef
        roots = np.sqrt(self.factors)
        codes, n_arms = self.treatment.codes, len(self.mass)
        for part in chunks(len(x)):
            arm = codes[part]
            error = basis.evaluate(x[part], coef, None if cells is None else cells[part])
            error -= means[arm]
            error *= self._share(part)
            error *= roots[arm]
            yield part, self.rows.split_copies(_signed(error, arm, n_arms), part)

    def covariance(self, basis: Basis, x: Array, coef: Array, cells: Codes | None) -> Array:
        """Covariance of τ(h(x)'θ) with θ fixed, shape (q, q)."""
        if self.rows.groups is not None:
            return sum_of_squares(self.contributions(basis, x, coef, cells), self.rows.groups)
        return sum(
            (values.T @ values for _, values in self._chunk_contributions(basis, x, coef, cells)),
            np.zeros((len(self.mass) - 1,) * 2),
        )


def difference_functional(treatment: Treatment, rows: TrialRows) -> DifferenceFunctional:
    """Differences of (weighted) arm means from the reference arm."""
    codes, n_arms = treatment.codes, len(treatment.levels)
    mass = np.bincount(codes, weights=rows.weight, minlength=n_arms).astype(float)
    if (mass <= 0).any():
        empty = treatment.levels[int(np.argmax(mass <= 0))]
        raise ValueError(f"treatment level {empty!r} has no weight: every arm needs rows of positive sample_weight.")
    # ddof counts rows, or repeated rows; weights of a survey do not add rows.
    size = mass if rows.frequency else np.bincount(codes, minlength=n_arms).astype(float)
    if rows.groups is None:
        factors = np.divide(size, size - 1, out=np.ones_like(size), where=size > 1)
    else:
        factors = np.full(n_arms, rows.factor(n_arms))
    return DifferenceFunctional(treatment, rows, mass, factors)


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
            values = values - _projection(values, scores, base)
        return rows.finish(values, factor)

    return LinearFunctional(contrast_names(treatment.levels), weights, parts, rows.groups)


def _projection(values: Array, scores: Array, weight: Array) -> Array:
    """Weighted least-squares fit of the influence values on the scores; both carry the weight as a factor.

    The coefficient is Σ w ψ s' (Σ w s s')⁻¹ with the weight once, as in the derivative of the weighted
    equations (test_estimated_propensity_against_stacked_equations).
    """
    root = np.sqrt(weight)[:, None]
    scaled = [np.divide(v, root, out=np.zeros_like(v), where=root > 0) for v in (scores, values)]
    return np.asarray(scores @ np.linalg.lstsq(scaled[0], scaled[1], rcond=None)[0])


def regression_functional(
    design: Array,
    targets: list[int],
    names: tuple[str, ...],
    rows: TrialRows,
    *,
    absorb: Callable[[Array], Array] | None = None,
    n_absorbed: int = 0,
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
    absorb : callable, optional
        Takes out of an outcome vector the effects that were taken out of the design beforehand. The
        coefficients do not need it, their residuals do.
    n_absorbed : int, default=0
        How many such effects count in the finite-sample factor.
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
        y = y if absorb is None else absorb(y)
        return rows.finish(weights * (y - design @ coef)[:, None], factor)

    return LinearFunctional(names, weights, parts, rows.groups)
