"""The stages of IV-like boosting in numbers: loss, targets of a tree, the system for its leaf values, the loop.

Letters: x = GX (or X with instruments), u = X; r = y - h(x), δ = h(x) - h(u); w weights that sum to 1;
Q parameters or instruments, centred and with unit second moments, so that q'S⁻¹q = |E_w[Q·]|².
With a = min(α, 1), b = min(1, 1/α) every quantity below belongs to a·E_w r² + b·pen, which is the loss
E_w r² + pen/α times a number, and stays finite for every α in (0, ∞].
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.augmentation.splits import Partition
from causalkit.augmentation.trees import Trees, bin_features, grow_partition, join_trees

__all__ = ["Rows", "Settings", "StageProblem", "boost"]

Array = NDArray[np.float64]
Integers = NDArray[np.intp]


@dataclass(frozen=True)
class Settings:
    """Checked parameters of the growth, named as on the estimator."""

    max_iter: int
    learning_rate: float
    max_leaf_nodes: int
    min_samples_leaf: int
    seed: int
    verbose: bool


@dataclass(frozen=True, eq=False)
class Rows:
    """What the trees are grown on: x = GX (n, p), or X where nothing is augmented, and u = X for pairs.

    ``weight`` has mean 1, or is None where all weights are equal.
    """

    x: Array
    u: Array | None
    y: Array
    weight: Array | None
    parameters: Array | None
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class StageProblem:
    """What stays the same over the stages.

    Attributes
    ----------
    penalty : {"pointwise", "paired", "projected", "none"}
        pen = E_w δ², |E_w[Qδ]|², |E_w[Qr]|² or 0.
    alpha : float
        In (0, inf].
    weight : ndarray, shape (n,)
        Weights, sum 1.
    basis : ndarray, shape (n, k), or None
        Q, for "paired" and "projected".
    """

    penalty: str
    alpha: float
    weight: Array
    basis: Array | None = None

    @property
    def paired(self) -> bool:
        """Whether the penalty compares h(x) with h(u)."""
        return self.penalty in ("pointwise", "paired")

    @property
    def scales(self) -> tuple[float, float]:
        """a and b."""
        return min(self.alpha, 1.0), min(1.0, 1.0 / self.alpha)

    def loss(self, r: Array, delta: Array | None) -> float:
        """E_w r² + pen/α."""
        risk = float(self.weight @ r**2)
        if self.penalty == "none":
            return risk
        if self.penalty == "pointwise" and delta is not None:
            return risk + float(self.weight @ delta**2) / self.alpha
        moment = self._moment(delta if self.penalty == "paired" and delta is not None else r)
        return risk + float(moment @ moment) / self.alpha

    def targets(self, r: Array, delta: Array | None) -> Array:
        """Negative gradient at the rows x, then, for pairs, at the rows u (halved, per unit of weight).

        Pointwise a r - bδ at x and bδ at u; paired the same with Pδ = Q E_w[Qδ] for δ; projected a r + b Pr.
        """
        a, b = self.scales
        if self.penalty == "none":
            return r
        if self.penalty == "projected":
            return a * r + b * self._project(r)
        moved = np.zeros_like(r) if delta is None else delta
        pull = b * (moved if self.penalty == "pointwise" else self._project(moved))
        return np.concatenate([a * r - pull, pull])

    def leaf_values(
        self, leaf: Integers, other: Integers | None, n_leaves: int, r: Array, delta: Array | None
    ) -> Array:
        """Values β that minimise the loss of h + leaf values; the shortest where several do.

        With M₁, M₀ the leaf indicators of x and u, W the weights:
        pointwise  [a M₁'WM₁ + b (M₁-M₀)'W(M₁-M₀)] β = a M₁'Wr - b (M₁-M₀)'Wδ,
        paired     [a M₁'WM₁ + b CC'] β = a M₁'Wr - b C E_w[Qδ],  C = (M₁-M₀)'WQ,
        projected  [a M₁'WM₁ + b CC'] β = a M₁'Wr + b C E_w[Qr],  C = M₁'WQ.

        Parameters
        ----------
        leaf, other : ndarray of int, shape (n,)
            Leaf of x and, for pairs, of u.
        n_leaves : int
            Number of leaves, L.
        r, delta : ndarray, shape (n,)
            Residuals and, for pairs, differences.

        Returns
        -------
        ndarray, shape (L,)
        """
        a, b = self.scales
        count = np.bincount(leaf, weights=self.weight, minlength=n_leaves)
        system = a * np.diag(count)
        right = a * np.bincount(leaf, weights=self.weight * r, minlength=n_leaves)
        if self.penalty == "projected":
            C = self._leaf_moments(leaf, n_leaves)
            system += b * C @ C.T
            right += b * C @ self._moment(r)
        elif self.paired and other is not None and delta is not None:
            if self.penalty == "pointwise":
                crossed = np.bincount(leaf * n_leaves + other, weights=self.weight, minlength=n_leaves**2)
                N = crossed.reshape(n_leaves, n_leaves)
                system += b * (np.diag(N.sum(axis=1) + N.sum(axis=0)) - N - N.T)
                weighted = self.weight * delta
                right -= b * np.bincount(leaf, weights=weighted, minlength=n_leaves)
                right += b * np.bincount(other, weights=weighted, minlength=n_leaves)
            else:
                C = self._leaf_moments(leaf, n_leaves) - self._leaf_moments(other, n_leaves)
                system += b * C @ C.T
                right -= b * C @ self._moment(delta)
        return np.asarray(np.linalg.lstsq(system, right, rcond=None)[0])

    def _basis(self) -> Array:
        if self.basis is None:
            raise ValueError(f'basis is missing: penalty="{self.penalty}" needs the whitened parameters.')
        return self.basis

    def _moment(self, values: Array) -> Array:
        return np.asarray((self.weight * values) @ self._basis())

    def _project(self, values: Array) -> Array:
        return np.asarray(self._basis() @ self._moment(values))

    def _leaf_moments(self, leaf: Integers, n_leaves: int) -> Array:
        columns = self._basis().T * self.weight
        return np.stack([np.bincount(leaf, weights=column, minlength=n_leaves) for column in columns], axis=1)


def boost(rows: Rows, problem: StageProblem, settings: Settings) -> tuple[float, Trees, Array]:
    """Baseline, trees and the loss before the first and after every stage."""
    n = len(rows.y)
    u = rows.u if problem.paired else None
    stacked = rows.x if u is None else np.concatenate([rows.x, u])
    weight = None if rows.weight is None else np.tile(rows.weight, len(stacked) // n)
    bins = bin_features(stacked, weight)
    as_floats = bins.codes.astype(np.float64).T
    baseline = float(problem.weight @ rows.y)
    r = rows.y - baseline
    delta = None if u is None else np.zeros(n)
    # Residuals at the rounding error of y are noise, and a perfect fit ends there.
    rounding = (4 * np.finfo(float).eps * float(np.abs(rows.y).max())) ** 2
    losses, partitions, values = [problem.loss(r, delta)], [], []
    for stage in range(settings.max_iter):
        if losses[-1] <= rounding:
            break
        part = grow_partition(
            bins.codes,
            as_floats,
            problem.targets(r, delta),
            weight,
            max_leaf_nodes=settings.max_leaf_nodes,
            min_samples_leaf=settings.min_samples_leaf,
            seed=settings.seed,
        )
        value = settings.learning_rate * _solve_leaves(problem, part, r, delta)
        at_x = value[part.row_leaf[:n]]
        r = r - at_x
        delta = None if delta is None else delta + at_x - value[part.row_leaf[n:]]
        loss = problem.loss(r, delta)
        # The step minimises a convex quadratic, so only a tree without a gain, or rounding, can fail to lower it.
        if not loss < losses[-1]:
            break
        losses.append(loss)
        partitions.append(part)
        values.append(value)
        if settings.verbose:
            _show_progress(stage + 1, settings.max_iter)
    if settings.verbose:
        sys.stderr.write("\n")
    return baseline, join_trees(partitions, values, bins.edges), np.array(losses)


def _solve_leaves(problem: StageProblem, part: Partition, r: Array, delta: Array | None) -> Array:
    n = len(r)
    other = None if delta is None else part.row_leaf[n:]
    return problem.leaf_values(part.row_leaf[:n], other, part.n_leaves, r, delta)


def _show_progress(done: int, total: int) -> None:
    filled = 30 * done // total
    sys.stderr.write(f"\rstages [{'#' * filled}{'.' * (30 - filled)}] {done}/{total}")
    sys.stderr.flush()
