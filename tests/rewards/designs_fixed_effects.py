"""Designs and dense reference computations for the tests of fixed effects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from causalkit.rewards.records import Factor

Array = NDArray[np.float64]
THETA = np.array([1.0, 0.5, -0.75, 0.0])
DIRECTION = np.array([0.8, -0.6, 0.0, 0.0])


def factor(codes: list[int] | NDArray[np.intp], name: str = "f", size: int | None = None) -> Factor:
    codes = np.asarray(codes, dtype=np.intp)
    return Factor(name, codes, np.arange(int(codes.max()) + 1 if size is None else size))


def dummies(factors: list[Factor]) -> Array:
    """All dummies of all levels, shape (n, total levels)."""
    return np.hstack([np.eye(f.n_levels)[f.codes] for f in factors])


def least_squares(design: Array, target: Array, weight: Array | None = None) -> Array:
    """Weighted least squares of minimum norm."""
    root = np.ones(len(design)) if weight is None else np.sqrt(weight)
    scaled = target * (root if target.ndim == 1 else root[:, None])
    return np.asarray(np.linalg.lstsq(design * root[:, None], scaled, rcond=None)[0])


def random_factors(rng: np.random.Generator, n: int, kinds: list[str]) -> list[Factor]:
    """Factors of few or many levels, or unions of the levels of the factor before."""
    out: list[Factor] = []
    for k, kind in enumerate(kinds):
        if kind == "nested" and out:
            codes = rng.integers(0, 3, out[-1].n_levels)[out[-1].codes]
        else:
            codes = rng.integers(0, 3 if kind == "few" else 1 + n // 3, n)
        out.append(factor(codes, f"f{k}", int(codes.max()) + 2))  # one level without rows
    return out


def grouped(rng: np.random.Generator, n_groups: int, size: int) -> tuple[Array, Array, Factor, Array]:
    """X, y, factor and level effects 2a_g of the design with many levels."""
    codes = np.repeat(np.arange(n_groups), size)
    a = rng.normal(size=n_groups)
    X = a[codes][:, None] * DIRECTION + rng.normal(size=(len(codes), 4))
    y = X @ THETA + 2 * a[codes] + rng.normal(size=len(codes))
    return X, y, factor(codes, "group"), 2 * a
