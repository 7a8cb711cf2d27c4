"""A fitted network of partial correlations: blocks, tests of pairs and streamed edges, on arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.covariance import CentredLogs
from causalkit.composition.inference import (
    PairTests,
    fisher_interval,
    fisher_scale_error,
    fisher_test,
    influence_standard_errors,
    partial_t_test,
    shrunk_t_test,
)
from causalkit.composition.precision import Precision
from causalkit.composition.shrinkage import Shrunk
from causalkit.exceptions import DegreesOfFreedomError, InferenceUnavailableError
from causalkit.validation import Groups

__all__ = ["FittedNetwork", "significant_pairs"]

Array = NDArray[np.float64]
Rows = slice | NDArray[np.intp]

BLOCKWISE = ("t", "fisher", "shrunk_t")


@dataclass(frozen=True)
class FittedNetwork:
    """Everything that a fit leaves behind.

    Attributes
    ----------
    precision : Precision
        Γ⁺.
    names : list of str, length D
    method : str
        "none" or the shrinkage that was used.
    shrunk : Shrunk, optional
        Shrinkage pieces; None for an unshrunk fit.
    data : CentredLogs, optional
        Centred rows; None after ``partial_fit``.
    gamma : ndarray, shape (D, D), optional
        Γ where it was formed.
    clr_mean : ndarray, shape (D,)
        Mean CLR.
    null_factor : ndarray, shape (D,)
        f with r⁰_ij = f_i f_j.
    n_effective : float
        1/Σw².
    n_confounders : int
    test, null : str
        What the p-values test and how; test "none" where there is none.
    dof : float
        ν of "t", n - D - q of "fisher", κ - 1 of "shrunk_t", the t reference of "influence".
    groups : Groups, optional
    stored_pvalues : ndarray, shape (D, D), optional
        p-values of tests that need all rows at once.
    draws : ndarray, shape (B, pairs), optional
        Bootstrap draws of the pairs above the diagonal.
    redrawn : int
        Singular bootstrap resamples that were drawn again.
    """

    precision: Precision
    names: list[str]
    method: str
    shrunk: Shrunk | None
    data: CentredLogs | None
    gamma: Array | None
    clr_mean: Array
    null_factor: Array
    n_effective: float
    n_confounders: int
    test: str
    null: str
    dof: float
    groups: Groups | None = None
    stored_pvalues: Array | None = None
    draws: Array | None = None
    redrawn: int = 0
    cache: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def n_parts(self) -> int:
        """D."""
        return len(self.names)

    def closure_block(self, rows: Rows, cols: Rows) -> Array:
        """r⁰ of a block; its entries on the diagonal of the matrix are f_i², which no test reads."""
        return np.outer(self.null_factor[rows], self.null_factor[cols])

    def pair_tests(self, r: Array, closure_null: Array) -> PairTests:
        """Statistics and p-values of correlations beside their closure null, elementwise."""
        null: Array | float = closure_null if self.null == "closure" else 0.0
        if self.test == "t":
            return partial_t_test(r, self.dof, null)
        if self.test == "fisher":
            return fisher_test(r, self.dof, null)
        intensity = 0.0 if self.shrunk is None else self.shrunk.intensity
        return shrunk_t_test(r, closure_null, intensity, self.dof + 1)

    def deviation_bound(self, max_pvalue: float) -> float:
        """A size of r - r⁰ (or r) that every pair with p at most ``max_pvalue`` reaches.

        It spares the tail probabilities of pairs that are far from any edge. Of the closure-null forms the
        unshrunk one, (r - r⁰)/(1 - r r⁰), is at most twice the plain difference in size.
        """
        from scipy import stats

        if max_pvalue >= 1:
            return 0.0
        if self.test == "fisher":
            bound = float(np.tanh(stats.norm.isf(max_pvalue / 2) / np.sqrt(self.dof))) * (1 - 1e-9)
            return 0.0 if self.null == "closure" else bound
        critical = float(stats.t(self.dof).isf(max_pvalue / 2))
        bound = critical / float(np.sqrt(critical**2 + self.dof))
        if self.test == "shrunk_t" and self.shrunk is not None:
            return bound * (1 - self.shrunk.intensity) * (1 - 1e-9)
        return 0.0 if self.null == "closure" else bound * (1 - 1e-9)

    def images(self) -> Array:
        """Standardised images u_i = (CΓ⁺)_i/√Γ⁺_ii of the centred rows, shape (n, D)."""
        if self.data is None:
            raise ValueError("the rows are not kept after partial_fit.")
        matrix = self.precision.matrix()
        return np.asarray(self.data.clr @ matrix / np.sqrt(self.precision.diagonal))

    def influence_tests(self, r: Array) -> tuple[PairTests, Array]:
        """Tests on the Fisher scale with influence standard errors, and those errors of atanh r."""
        from scipy import stats

        if self.data is None:
            raise ValueError("the rows are not kept after partial_fit.")
        raw = influence_standard_errors(self.images(), r, self.data.weight, self.groups)
        error = fisher_scale_error(raw, r, self.influence_inflation)
        null = self.closure_block(slice(None), slice(None)) if self.null == "closure" else np.zeros_like(r)
        clipped = np.clip(r, -(1 - 1e-12), 1 - 1e-12)
        difference = np.arctanh(clipped) - np.arctanh(np.clip(null, -(1 - 1e-12), 1 - 1e-12))
        statistic = difference / np.maximum(error, np.finfo(float).tiny)
        return PairTests(statistic, 2 * stats.t(self.dof).sf(np.abs(statistic)), self.dof), error

    @property
    def influence_inflation(self) -> float:
        """√(n/(n-D)), times √(m/(m-1)) with m groups."""
        n = self.n_effective
        out = n / (n - self.n_parts - self.n_confounders)
        if self.groups is not None:
            out *= self.groups.n_groups / (self.groups.n_groups - 1)
        return float(np.sqrt(out))

    def interval(self, r: Array, level: float, robust: str | None) -> tuple[Array, Array]:
        """Confidence intervals of all pairs, shape (D, D) each, diagonal 1."""
        from scipy import stats

        if self.draws is not None:
            bounds = np.quantile(self.draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
            lower, upper = (symmetric(values, self.n_parts) for values in bounds)
        elif self.test == "influence":
            error = self.influence_tests(r)[1]
            half = stats.t(self.dof).ppf(0.5 + level / 2) * error
            center = np.arctanh(np.clip(r, -(1 - 1e-12), 1 - 1e-12))
            lower, upper = np.tanh(center - half), np.tanh(center + half)
        else:
            lower, upper = self.pair_interval(r, level, robust)
        for bound in (lower, upper):
            np.fill_diagonal(bound, 1.0)
        return lower, upper

    def pair_interval(self, r: Array, level: float, robust: str | None) -> tuple[Array, Array]:
        """Fisher's intervals of any correlations, elementwise."""
        if self.shrunk is not None or robust == "mcd":
            raise InferenceUnavailableError(
                "a shrunken or MCD partial correlation has no interval in closed form: use test='bootstrap' (it covers "
                "the shrunken target), or shrinkage=None."
            )
        return fisher_interval(r, self.fisher_size(robust), level)

    def fisher_size(self, robust: str | None) -> float:
        """n - D - q, discounted for Tyler's shape."""
        size = self.n_effective - self.n_parts - self.n_confounders
        if size <= 0:
            raise DegreesOfFreedomError(
                f"Fisher's interval needs n - D - q > 0; got n = {self.n_effective:g}, D = {self.n_parts}, "
                f"q = {self.n_confounders}. ν = 1 allows test='t' only."
            )
        return float(size / (1 + 2 / (self.n_parts - 1)) if robust == "tyler" else size)

    def statistics(self, r: Array) -> Array | None:
        """Test statistics of all pairs; None for tests that resample."""
        if self.test == "influence":
            return self.influence_tests(r)[0].statistic
        if self.test not in BLOCKWISE:
            return None
        everything = slice(0, self.n_parts)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.pair_tests(r, self.closure_block(everything, everything)).statistic

    def blocks(self, block_size: int) -> Iterator[tuple[slice, Array]]:
        """Row slices with their block of correlations, shape (rows, D)."""
        for start in range(0, self.n_parts, block_size):
            rows = slice(start, min(start + block_size, self.n_parts))
            yield rows, self.precision.correlations(rows, slice(0, self.n_parts))


@dataclass(frozen=True)
class PairTable:
    """Pairs above the diagonal that were kept.

    Attributes
    ----------
    first, second : ndarray of int, shape (E,)
    correlation, closure_null, statistic, pvalue, qvalue : ndarray, shape (E,)
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    correlation: Array
    closure_null: Array
    statistic: Array
    pvalue: Array
    qvalue: Array


def symmetric(values: Array, d: int) -> Array:
    """Symmetric matrix with unit diagonal from the values of the pairs above it."""
    out = np.ones((d, d))
    upper = np.triu_indices(d, 1)
    out[upper] = values
    out.T[upper] = values
    return out


def significant_pairs(network: FittedNetwork, fdr: str | None, max_qvalue: float, block_size: int) -> PairTable:
    """Pairs with q ≤ a in blocks of rows, without any D×D array.

    A q-value of at most a is the minimum of m·p_(l)/l over l, reached where p_(l) ≤ a: only p ≤ a need be
    kept and ranked, with m = D(D-1)/2 (test_streamed_edges_equal_the_dense_route).
    """
    d, bound = network.n_parts, network.deviation_bound(max_qvalue)
    against_closure = network.test == "shrunk_t" or network.null == "closure"
    kept: list[tuple[NDArray[Any], ...]] = []
    for start in range(0, d, block_size):
        rows, cols = slice(start, min(start + block_size, d)), slice(start, d)
        r = network.precision.correlations(rows, cols)
        deviation = r - network.closure_block(rows, cols) if against_closure else r
        i, j = np.nonzero(np.abs(deviation) >= bound)
        above = j > i
        i, j = i[above], j[above]
        null = network.null_factor[i + start] * network.null_factor[j + start]
        tests = network.pair_tests(r[i, j], null)
        near = tests.pvalue <= max_qvalue
        columns = (i + start, j + start, r[i, j], null, tests.statistic, tests.pvalue)
        kept.append(tuple(column[near] for column in columns))
    first, second, r, null, statistic, pvalue = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    qvalue = ranked_qvalues(pvalue, d * (d - 1) // 2, fdr)
    chosen = qvalue <= max_qvalue
    picked = [part[chosen] for part in (first, second, r, null, statistic, pvalue, qvalue)]
    return PairTable(picked[0].astype(np.intp), picked[1].astype(np.intp), *picked[2:])


def ranked_qvalues(pvalue: Array, n_tests: int, fdr: str | None) -> Array:
    """Adjusted p-values of the smallest p-values among ``n_tests``."""
    if fdr is None:
        return pvalue.copy()
    order = np.argsort(pvalue, kind="stable")
    scale = float(n_tests)
    if fdr == "by":
        # Σ 1/k to n: exact for short lists, the asymptotic series beyond.
        k = np.arange(1, min(n_tests, 10**6) + 1)
        harmonic = float(np.sum(1 / k))
        if n_tests > 10**6:
            harmonic = float(np.log(n_tests) + np.euler_gamma + 1 / (2 * n_tests))
        scale *= harmonic
    ranked = scale * pvalue[order] / np.arange(1, len(pvalue) + 1)
    out = np.empty_like(ranked)
    out[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return out
