"""Section D: identities between routes, and what must not change r."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import quiet
from benchmarks.rows import Row, at_most, near
from benchmarks.simulation import Tier
from benchmarks.validation.composition.common import correlations, precision_by_reference
from causalkit.composition import (
    CompositionalPartialCorrelation,
    closure_null,
    log_ratio_covariance,
    shrink_covariance,
    variation_matrix,
)
from causalkit.composition.contrasts import helmert_contrasts

__all__ = ["rows"]

Array = NDArray[np.float64]

_BAR = 1e-9
_ALL = (None, "basis", "invariant", "ledoit_wolf", "oas", "logratio", 0.3)
_UNITLESS = (None, "invariant", "ledoit_wolf", "oas")


def _table(n: int, d: int, seed: int) -> Array:
    """Amounts with unequal scales, units and dependence."""
    rng = np.random.default_rng([4000, seed])
    mixing = np.eye(d) + 0.4 * rng.standard_normal((d, d)) / np.sqrt(d)
    logs = rng.standard_normal((n, d)) @ mixing * np.exp(0.4 * rng.standard_normal(d))
    return np.asarray(np.exp(logs + 2 * rng.standard_normal(d)))


def _r(X: Array, shrinkage: Any, **fit: Any) -> Array:
    return CompositionalPartialCorrelation(shrinkage=shrinkage, test=None).fit(X, **fit).partial_correlation_


def _gap(a: Array, b: Array) -> float:
    return float(np.abs(a - b).max())


def rows(tier: Tier) -> Iterator[Row]:
    """D1 routes, D2 rescaling, D3 laws of coefficients and nulls, D4 shrunken routes, D5 rows and parts."""
    with quiet():
        X = _table(60, 9, 1)
        yield from _routes(X)
        yield from _rescaling(X)
        yield from _laws(X)
        yield from _shrunken_routes(X)
        yield from _rows_and_parts(X)


def _routes(X: Array) -> Iterator[Row]:
    r, gamma, d = _r(X, None), log_ratio_covariance(X), X.shape[1]
    worst = max(_gap(correlations(precision_by_reference(gamma, k)), r) for k in range(d))
    yield at_most("D1.1", "r by ALR, the worst of all references", worst, _BAR)
    random = np.linalg.qr(np.random.default_rng(4100).standard_normal((d - 1, d - 1)))[0]
    v = helmert_contrasts(d)
    worst = max(
        _gap(correlations(b @ np.linalg.inv(np.cov(np.log(X) @ b, rowvar=False)) @ b.T), r) for b in (v, v @ random)
    )
    yield at_most("D1.2", "r by ILR, Helmert and a random basis", worst, _BAR)
    g = np.eye(d) - 1 / d
    yield at_most("D1.3", "Γ from the variation matrix", _gap(-0.5 * g @ variation_matrix(X) @ g, gamma), _BAR)
    yield at_most("D1.4", "r by the pseudo-inverse of Γ", _gap(correlations(np.linalg.pinv(gamma)), r), _BAR)


def _rescaling(X: Array) -> Iterator[Row]:
    rng = np.random.default_rng(4200)
    by_row = X * np.exp(3 * rng.standard_normal((len(X), 1)))
    by_column = X * np.exp(3 * rng.standard_normal(X.shape[1]))
    for number, shrinkage in enumerate(_ALL):
        yield at_most(
            f"D2.{number + 1}a",
            f"rows rescaled, shrinkage {shrinkage}",
            _gap(_r(by_row, shrinkage), _r(X, shrinkage)),
            _BAR,
        )
        if shrinkage in _UNITLESS:
            yield at_most(
                f"D2.{number + 1}b",
                f"columns rescaled, shrinkage {shrinkage}",
                _gap(_r(by_column, shrinkage), _r(X, shrinkage)),
                _BAR,
            )
    yield at_most("D2.8", "all amounts to the power 1.7, unshrunk", _gap(_r(X**1.7, None), _r(X, None)), _BAR)


def _laws(X: Array) -> Iterator[Row]:
    d = X.shape[1]
    for number, shrinkage in enumerate((None, "basis", "invariant")):
        fit = CompositionalPartialCorrelation(shrinkage=shrinkage, test=None).fit(X)
        sums = _gap(fit.coef_.sum(axis=1), np.ones(d))
        yield at_most(f"D3.{number + 1}", f"rows of the coefficients sum to 1, shrinkage {shrinkage}", sums, _BAR)
    y = np.log(X[:, :2] / X[:, [2]])
    yield at_most(
        "D3.4",
        "three parts: r_12 is cor(log x1/x3, log x2/x3)",
        abs(_r(X[:, :3], None)[0, 1] - np.corrcoef(y.T)[0, 1]),
        _BAR,
    )
    fit = CompositionalPartialCorrelation(shrinkage=1.0, test=None).fit(X)
    null = closure_null(fit.basis_variance_)
    yield at_most("D3.5", "λ = 1: r is the closure null", _gap(fit.partial_correlation_, null), _BAR)
    yield at_most(
        "D3.6",
        "closure null of equal variances is 1/(D-1)",
        _gap(closure_null(np.full(d, 0.3))[0, 1:], np.full(d - 1, 1 / (d - 1))),
        _BAR,
    )
    scaled = 2 * np.eye(d) - _r(X, None)
    eigenvalues = np.linalg.eigvalsh(scaled)
    yield at_most("D3.7", "2I - R: smallest eigenvalue", abs(eigenvalues[0]), _BAR)
    yield near("D3.8", "2I - R: rank", int((eigenvalues > 1e-9).sum()), d - 1, 0)


def _shrunken_routes(X: Array) -> Iterator[Row]:
    m = _basis_covariance(X, "basis")
    d = len(m)
    g = np.eye(d) - 1 / d
    clr = correlations(np.linalg.pinv(g @ m @ g, hermitian=True))
    yield at_most("D4.1", "basis: r by CLR", _gap(clr, _r(X, "basis")), _BAR)
    worst = max(_gap(correlations(precision_by_reference(m, k)), _r(X, "basis")) for k in range(d))
    yield at_most("D4.2", "basis: r by ALR, the worst of all references", worst, _BAR)
    wide = _table(20, 70, 2)
    makers: dict[str, Callable[[Array], Array]] = {
        "basis": lambda m: correlations(precision_by_reference(m, 0)),
        "invariant": lambda m: correlations(precision_by_reference(m, 0)),
        "ledoit_wolf": lambda m: correlations(precision_by_reference(m, 0)),
        "logratio": lambda m: correlations(np.linalg.inv(m)),
    }
    for number, (method, make) in enumerate(makers.items()):
        expected = make(_basis_covariance(wide, method))
        distance = _gap(_r(wide, method), expected)
        yield at_most(f"D4.{number + 3}", f"{method}, 20 rows and 70 parts: factored against dense", distance, _BAR)
    fit = CompositionalPartialCorrelation(test=None, storage="factor").fit(wide)
    full = fit.partial_correlation_
    blocks = np.vstack([block for _, block in fit.iter_blocks(16)])
    yield at_most("D4.7", "blocks of the factored fit against the whole", _gap(blocks, full), _BAR)
    product = fit.factor_.T @ fit.factor_
    np.fill_diagonal(product, 1.0)
    yield at_most("D4.8", "F'F off the diagonal against r", _gap(product, full), _BAR)


def _basis_covariance(X: Array, method: str) -> Array:
    """M = S[(1-λ)Z'Z + λI]S in full."""
    shrunk = shrink_covariance(X, method)
    inner = (1 - shrunk.intensity) * shrunk.rows.T @ shrunk.rows + shrunk.intensity * np.eye(X.shape[1])
    return np.asarray(shrunk.scale[:, None] * inner * shrunk.scale)


def _rows_and_parts(X: Array) -> Iterator[Row]:
    weight = np.random.default_rng(4300).uniform(0.5, 2, len(X))
    weight[::4] = 0
    kept, order = weight > 0, np.random.default_rng(4301).permutation(X.shape[1])
    for number, shrinkage in enumerate(_ALL[:5]):
        label = f"D5.{number + 1}"
        with_zeros = _r(X, shrinkage, sample_weight=weight)
        removed = _r(X[kept], shrinkage, sample_weight=weight[kept])
        yield at_most(
            f"{label}a", f"rows of weight 0 as rows removed, shrinkage {shrinkage}", _gap(with_zeros, removed), _BAR
        )
        permuted = _r(X[:, order], shrinkage)
        yield at_most(
            f"{label}b",
            f"parts permuted, shrinkage {shrinkage}",
            _gap(permuted, _r(X, shrinkage)[np.ix_(order, order)]),
            _BAR,
        )
