"""Projection off the dummies of categorical confounders, without ever building them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.exceptions import NonFiniteError
from causalkit.rewards.level_space import (
    LevelSystem,
    connected_sets,
    indicator,
    level_rank,
    level_system,
    singleton_rows,
)
from causalkit.rewards.records import Factor
from causalkit.validation import check_sample_weight

__all__ = ["Absorption", "absorb", "row_blocks"]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

# A float64 chunk of this size is the only copy of the columns that the projection makes.
_CHUNK_BYTES = 32 * 2**20
_BLOCK_ROWS = 4096
# Squared size of what is left of a column that the factors explain: rounding, not to be solved for.
_ROUNDING = (64 * np.finfo(np.float64).eps) ** 2


def row_blocks(n_rows: int) -> list[slice]:
    """Slices of consecutive rows, small enough that a float64 copy of their columns stays in the cache."""
    return [slice(start, min(start + _BLOCK_ROWS, n_rows)) for start in range(0, n_rows, _BLOCK_ROWS)]


@dataclass(frozen=True, eq=False)
class Absorption:
    r"""Factors prepared for the projection :math:`M_D = I - D(D'WD)^+D'W` off all their dummies.

    Attributes
    ----------
    names : tuple of str
        Names of the factors.
    codes : tuple of ndarray of int, shape (n,)
        Level of each row.
    n_levels : tuple of int
        Number of levels of each factor, levels without rows included.
    weight : ndarray, shape (n,), or None
        Weights, with mean 1 over the rows whose weight is positive.
    informative_rows : ndarray of bool, shape (n,)
        False for rows that their own dummies fit exactly: singletons, and rows without weight.
    n_singletons : int
        Rows that were alone in some level, rows that became so afterwards included.
    rank : int
        Rank of the dummies on the informative rows: the degrees of freedom that they absorb.
    connected_sets : tuple of ndarray of int, shape (G,)
        Number of the connected set of each level; -1 for a level without rows.
    level_counts : tuple of ndarray of int, shape (G,)
        Rows with positive weight per level.
    level_weights : tuple of ndarray, shape (G,)
        Total weight per level; equal to the counts without weights.
    """

    names: tuple[str, ...]
    codes: tuple[Codes, ...]
    n_levels: tuple[int, ...]
    weight: Array | None
    informative_rows: NDArray[np.bool_]
    n_singletons: int
    rank: int
    connected_sets: tuple[Codes, ...]
    level_counts: tuple[Codes, ...]
    level_weights: tuple[Array, ...]
    _sums: tuple[sparse.csr_array, ...] = field(repr=False)
    _system: LevelSystem | None = field(repr=False)

    @property
    def n_rows(self) -> int:
        """Number of rows, n."""
        return len(self.informative_rows)

    @property
    def n_informative(self) -> int:
        """Number of informative rows."""
        return int(self.informative_rows.sum())

    def residualise(self, columns: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Residuals of columns after weighted least squares on all dummies.

        Parameters
        ----------
        columns : ndarray, shape (n,) or (n, p)
            Columns to project, float32 or float64 (other types become float64).
        out : ndarray of the shape of ``columns``, optional
            Where to write; may be ``columns`` itself.

        Returns
        -------
        ndarray of the shape and dtype of ``columns``
            Sums are taken in float64, a few columns at a time. Rows that are not informative hold exact zeros.

        Raises
        ------
        ValueError
            Another number of rows than the factors, or an ``out`` of another shape.
        NonFiniteError
            NaN or infinity in ``columns``.
        """
        columns = self._check_rows(columns)
        if out is None:
            dtype = columns.dtype if columns.dtype in (np.float32, np.float64) else np.dtype(np.float64)
            out = np.empty(columns.shape, dtype=dtype)
        elif out.shape != columns.shape:
            raise ValueError(f"out has shape {out.shape}, expected that of columns, {columns.shape}.")
        table, target = (a[:, None] if a.ndim == 1 else a for a in (columns, out))
        uninformative = None if self.informative_rows.all() else ~self.informative_rows
        for part in self._column_chunks(table.shape[1]):
            chunk = np.array(table[:, part], dtype=np.float64, order="C")
            self._subtract(chunk, self._solve(chunk))
            if uninformative is not None:
                chunk[uninformative] = 0.0
            target[:, part] = chunk
        return out

    def level_means(self, columns: NDArray[Any], factor: int = 0) -> Array:
        """Weighted means of columns per level of one factor, shape (G,) or (G, p); NaN for a level without rows."""
        columns = self._check_rows(columns)
        weight = self.level_weights[factor]
        total = np.where(weight > 0, weight, np.nan)
        if columns.ndim == 1:
            return self._level_sums(np.asarray(columns, dtype=np.float64)[:, None], factor)[:, 0] / total
        means = np.empty((self.n_levels[factor], columns.shape[1]))
        for part in self._column_chunks(columns.shape[1]):
            means[:, part] = self._level_sums(np.array(columns[:, part], dtype=np.float64, order="C"), factor)
        means /= total[:, None]
        return means

    def level_effects(self, target: Array) -> list[Array]:
        """Least-squares effects of all levels on ``target``, one array of shape (G,) per factor.

        One factor: the weighted level means. Several: the solution of least norm, which for two factors is settled
        within each connected set. Every row with weight takes part, singletons included. NaN for a level without rows.
        """
        target = np.asarray(self._check_rows(target), dtype=np.float64)
        if len(self.codes) == 1:
            return [self.level_means(target)]
        if len(self.codes) == 2:
            effects = self._two_factor_effects(target)
        else:
            effects = self._least_norm_effects(target)
        return [np.where(counts > 0, a, np.nan) for a, counts in zip(effects, self.level_counts, strict=True)]

    # ------------------------------------------------------------------ steps

    def _check_rows(self, columns: NDArray[Any]) -> NDArray[Any]:
        columns = np.asarray(columns)
        if columns.ndim not in (1, 2) or columns.shape[0] != self.n_rows:
            raise ValueError(
                f"columns has shape {columns.shape}: expected one row for each of the {self.n_rows} rows of the "
                f"factors {', '.join(self.names)}."
            )
        return columns

    def _column_chunks(self, n_columns: int) -> list[slice]:
        width = max(1, _CHUNK_BYTES // (8 * self.n_rows))
        return [slice(start, min(start + width, n_columns)) for start in range(0, n_columns, width)]

    def _level_sums(self, chunk: Array, factor: int) -> Array:
        sums: Array
        if chunk.shape[1] == 1:
            values = chunk[:, 0] if self.weight is None else chunk[:, 0] * self.weight
            counted = np.bincount(self.codes[factor], weights=values, minlength=self.n_levels[factor])
            sums = counted[:, None].astype(np.float64, copy=False)
        else:
            sums = self._sums[factor] @ chunk
        if not np.isfinite(sums).all():
            raise NonFiniteError(
                f"columns contains NaN or infinity, seen in the sums over the levels of {self.names[factor]!r}: "
                "expected finite numbers. Drop or impute these rows first."
            )
        return sums

    def _solve(self, chunk: Array) -> list[Array]:
        """Level effects of a chunk, in the order of the factors; the chunk is replaced by a part of its residual.

        The largest factor is subtracted before the equations of the others are set up: what is left is small, so no
        large common level cancels in the right sides.
        """
        main = 0 if self._system is None else self._system.first
        weight = np.where(self.level_weights[main] > 0, self.level_weights[main], 1.0)[:, None]
        means = self._level_sums(chunk, main) / weight
        if self._system is None:
            return [means]
        system = self._system
        floor = _ROUNDING * np.einsum("ij,ij->j", chunk, chunk)
        for rows in row_blocks(self.n_rows):
            chunk[rows] -= means[self.codes[main][rows]]
        right_side = np.concatenate([self._level_sums(chunk, k) for k in system.others])
        rest = system.solve(right_side, floor)
        effects = [np.empty(0)] * len(self.codes)
        effects[main] = -(system.cross_transposed @ rest) / weight
        start = 0
        for k in system.others:
            effects[k] = rest[start : start + self.n_levels[k]]
            start += self.n_levels[k]
        return effects

    def _subtract(self, chunk: Array, effects: list[Array]) -> None:
        for rows in row_blocks(self.n_rows):
            for code, effect in zip(self.codes, effects, strict=True):
                chunk[rows] -= effect[code[rows]]

    def _two_factor_effects(self, target: Array) -> list[Array]:
        main = 0 if self._system is None else self._system.first
        chunk = np.array(target, dtype=np.float64)[:, None]
        effects = [a[:, 0] for a in self._solve(chunk)]
        # _solve gives the main factor's part beyond its means, which it has subtracted already.
        effects[main] = effects[main] + self.level_means(target, main)
        first, second = (np.where(counts > 0, a, 0.0) for a, counts in zip(effects, self.level_counts, strict=True))
        # Within a set c may move from one factor to the other; the norm is least where both add up to the same.
        sets = [np.where(s >= 0, s, 0) for s in self.connected_sets]
        seen = [(counts > 0).astype(np.float64) for counts in self.level_counts]
        n_sets = int(max(s.max() for s in sets)) + 1
        sums = [np.bincount(s, weights=a, minlength=n_sets) for s, a in zip(sets, (first, second), strict=True)]
        levels = sum(np.bincount(s, weights=a, minlength=n_sets) for s, a in zip(sets, seen, strict=True))
        shift = (sums[1] - sums[0]) / levels
        return [first + shift[sets[0]], second - shift[sets[1]]]

    def _least_norm_effects(self, target: Array) -> list[Array]:
        """Three or more factors: LSMR started at zero stays in the row space, so its limit has least norm."""
        root = np.ones(self.n_rows) if self.weight is None else np.sqrt(self.weight)
        dummies = sparse.vstack(
            [indicator(code, size, root) for code, size in zip(self.codes, self.n_levels, strict=True)], format="csr"
        ).T
        right_side = root * target
        solution, *_ = sparse.linalg.lsmr(dummies, right_side, atol=1e-14, btol=1e-14, conlim=0, maxiter=20_000)
        return np.split(solution, np.cumsum(self.n_levels)[:-1])


def absorb(factors: list[Factor], weight: Array | None = None, *, drop_singletons: bool = True) -> Absorption:
    r"""Prepare the projection off all levels of the factors.

    Singletons, rows that are alone in some level, are found iteratively. Each drops one row and one from the rank of
    the dummies, so :math:`n - d` does not depend on whether they are kept; they are fitted exactly. The absorbed rank
    d is the number of levels for one factor, all levels less the number of connected sets for two, and the numerical
    rank of the level-space matrix for more; a factor nested in another adds nothing.

    Parameters
    ----------
    factors : list of Factor
        One or more coded factors of the same rows.
    weight : ndarray, shape (n,), optional
        Non-negative weights. A row without weight is as good as absent.
    drop_singletons : bool, default=True
        Whether singletons count as dropped. The residuals are the same; rows and rank are then those of the rest.

    Returns
    -------
    Absorption

    Raises
    ------
    ValueError
        No factor, factors of different lengths, codes outside the levels, negative weights.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards.absorption import absorb
    >>> from causalkit.rewards.records import Factor
    >>> author = Factor("author", np.array([0, 0, 1, 1, 2]), np.array(["a", "b", "c"]))
    >>> absorption = absorb([author])
    >>> absorption.rank, absorption.n_singletons
    (2, 1)
    >>> absorption.residualise(np.array([1.0, 3.0, 5.0, 9.0, 4.0])).tolist()
    [-1.0, 1.0, -2.0, 2.0, 0.0]
    """
    codes = _checked_codes(factors)
    n_rows = len(codes[0])
    sizes = [factor.n_levels for factor in factors]
    weight = check_sample_weight(weight, n_rows, name="weight", like=f"factor {factors[0].name!r}")
    active = np.ones(n_rows, dtype=bool) if weight is None else weight > 0
    if weight is not None:
        weight = weight / weight[active].mean()
    singletons = singleton_rows(codes, sizes, active) if drop_singletons else np.zeros(n_rows, dtype=bool)
    counted = codes if active.all() else [code[active] for code in codes]
    several = len(codes) > 1
    level_counts = [np.bincount(code, minlength=size) for code, size in zip(counted, sizes, strict=True)]
    return Absorption(
        names=tuple(factor.name for factor in factors),
        codes=tuple(codes),
        n_levels=tuple(sizes),
        weight=weight,
        informative_rows=active & ~singletons,
        n_singletons=int(singletons.sum()),
        # Each singleton takes one row and one dimension of the dummies with it (test_rank_of_random_designs).
        rank=level_rank(counted) - int(singletons.sum()),
        connected_sets=tuple(connected_sets(counted, sizes)),
        level_counts=tuple(level_counts),
        level_weights=tuple(
            np.bincount(code, weights=weight, minlength=size).astype(np.float64)
            for code, size in zip(codes, sizes, strict=True)
        ),
        _sums=tuple(indicator(code, size, weight) for code, size in zip(codes, sizes, strict=True)),
        _system=level_system(codes, sizes, weight) if several else None,
    )


def _checked_codes(factors: list[Factor]) -> list[Codes]:
    if not factors:
        raise ValueError("factors is empty: expected at least one categorical confounder to absorb.")
    n_rows = len(factors[0].codes)
    if n_rows == 0:
        raise ValueError(f"factor {factors[0].name!r} has no rows: expected at least one.")
    for factor in factors:
        if len(factor.codes) != n_rows:
            raise ValueError(
                f"factor {factor.name!r} has {len(factor.codes)} rows, but {factors[0].name!r} has {n_rows}: "
                "unequal lengths; code the same rows."
            )
        low, high = int(np.min(factor.codes)), int(np.max(factor.codes))
        if low < 0 or high >= factor.n_levels:
            raise ValueError(
                f"factor {factor.name!r} has codes from {low} to {high}: expected 0 to {factor.n_levels - 1}, one per "
                "level; a missing value is a level of its own."
            )
    return [np.asarray(factor.codes, dtype=np.intp) for factor in factors]
