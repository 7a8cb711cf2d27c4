r"""Least squares on residuals: coefficients, influence values and covariances of θ̂ = (ΣX̃X̃' + λI)⁻¹ΣX̃Ỹ.

The scores ψ = (Ỹ - θ̂'X̃)X̃ are Neyman-orthogonal: small errors of the nuisance regressions that made X̃ and Ỹ change
θ̂ by their product only (Chernozhukov et al. 2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import IdentificationError
from causalkit.inference.covariance import cluster_sums
from causalkit.validation import Groups

__all__ = [
    "OrthogonalFit",
    "fit_orthogonal",
    "gram",
    "overlap_spectrum",
    "quadratic_forms",
    "ridge_by_residual_loss",
    "row_chunks",
    "times",
    "transposed_times",
]

Array = NDArray[np.float64]

_CHUNK_CELLS = 2**18  # two megabytes in float64, which stay in the cache between the steps on a chunk


def row_chunks(n: int, width: int) -> Iterator[slice]:
    """Slices of rows of about a quarter of a million cells each."""
    size = max(1024, _CHUNK_CELLS // max(width, 1))
    for first in range(0, n, size):
        yield slice(first, min(first + size, n))


def gram(X: NDArray[np.floating], weight: Array | None = None, centre: Array | None = None) -> Array:
    """ΣwXX' in float64, whatever the type of X, a chunk of rows at a time; shape (p, p)."""
    total = np.zeros((X.shape[1], X.shape[1]))
    for part in row_chunks(len(X), X.shape[1]):
        block = X[part].astype(np.float64, copy=False)
        if centre is not None:
            block = block - centre
        if weight is not None:
            block = block * np.sqrt(weight[part, None])  # on both sides: the symmetric product is half the work
        total += block.T @ block
    return total


def times(X: NDArray[np.floating], right: Array) -> Array:
    """X @ right in float64, a chunk of rows at a time."""
    out = np.empty((len(X), *right.shape[1:]))
    for part in row_chunks(len(X), X.shape[1]):
        out[part] = X[part].astype(np.float64, copy=False) @ right
    return out


def transposed_times(X: NDArray[np.floating], right: Array) -> Array:
    """X' @ right in float64, a chunk of rows at a time."""
    total = np.zeros((X.shape[1], *right.shape[1:]))
    for part in row_chunks(len(X), X.shape[1]):
        total += X[part].astype(np.float64, copy=False).T @ right[part]
    return total


def quadratic_forms(X: NDArray[np.floating], centre: Array, matrix: NDArray[np.floating]) -> Array:
    """(x - centre)'·matrix·(x - centre) of each row in float64, a chunk of rows at a time."""
    out = np.empty(len(X))
    for part in row_chunks(*X.shape):
        centred = X[part].astype(np.float64) - centre
        out[part] = np.einsum("ij,ij->i", centred @ matrix, centred)
    return out


@dataclass(frozen=True, eq=False)
class OrthogonalFit:
    """A solved regression of residuals on residuals.

    Attributes
    ----------
    coef : ndarray, shape (p,)
        θ̂.
    features : ndarray, shape (n, p)
        X̃, in the type of X.
    residuals : ndarray, shape (n,)
        ê = Ỹ - X̃θ̂.
    weight : ndarray, shape (n,), or None
        Weights of mean 1.
    second_moment : ndarray, shape (p, p)
        Σ_U = n⁻¹ΣwX̃X̃'.
    penalty : float
        λ.
    n_absorbed : int
        Rank of what was absorbed without cross-fitting, among the rows with weight; 0 where residuals are out-of-fold.
    """

    coef: Array
    features: NDArray[np.floating]
    residuals: Array
    weight: Array | None
    second_moment: Array
    penalty: float
    n_absorbed: int = 0

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.residuals)

    @property
    def n_weighted(self) -> int:
        """Number of rows with positive weight: the others are as good as absent."""
        return self.n if self.weight is None else int(np.count_nonzero(self.weight))

    @property
    def jacobian(self) -> Array:
        """J = Σ_U + (λ/n) I."""
        return self.second_moment + self.penalty / self.n * np.eye(len(self.coef))

    @property
    def degrees_of_freedom(self) -> int:
        """n - d - p over the rows with weight.

        With a penalty there may be more features than that leaves; their effective dimension then takes their place.
        """
        left = self.n_weighted - self.n_absorbed
        if left <= len(self.coef) and self.penalty > 0:
            return max(1, round(left - self.effective_dimension))
        return left - len(self.coef)

    @property
    def residual_variance(self) -> float:
        """Σwê²/(n - d - p), the weights having mean 1 over the rows with weight."""
        variance = self._squares() / self.degrees_of_freedom
        return variance if self.weight is None else variance * self.n_weighted / float(self.weight.sum())

    def _squares(self) -> float:
        return float(self.residuals @ (self.residuals if self.weight is None else self.residuals * self.weight))

    @property
    def effective_dimension(self) -> float:
        """tr[Σ_U(Σ_U + λI/n)⁻¹], p without penalty."""
        return float(np.trace(np.linalg.solve(self.jacobian, self.second_moment)))

    def influence(self, directions: Array | None = None, scale: float = 1.0) -> NDArray[np.floating]:
        """Influence values of θ̂ (or of its combinations), in the type of X, shape (n, p) or (n, r).

        Parameters
        ----------
        directions : ndarray, shape (p, r), optional
            Columns q: influence of q'θ̂.
        scale : float
            Multiplies every value, for degrees of freedom.
        """
        right = np.linalg.inv(self.jacobian)
        right = right if directions is None else right @ directions
        out = np.empty((self.n, right.shape[1]), dtype=self.features.dtype)
        residuals = self.residuals * scale if self.weight is None else self.residuals * self.weight * scale
        for part in row_chunks(self.n, self.features.shape[1]):
            out[part] = (self.features[part].astype(np.float64, copy=False) @ right) * residuals[part, None]
        return out

    def covariance(self, kind: str, groups: Groups | None = None) -> Array:
        """Sandwich covariance of θ̂, shape (p, p), accumulated over chunks of rows.

        Parameters
        ----------
        kind : {"homoskedastic", "HC0", "HC1", "cluster"}
            "homoskedastic" is σ̂²J⁻¹/n, for an error variance that goes with 1/w where there are weights.
        groups : Groups, optional
            For "cluster": scores are summed within them, times G/(G - 1).
        """
        inverse = np.linalg.inv(self.jacobian)
        n = self.n
        if kind == "homoskedastic":
            return np.asarray(self._squares() / self.degrees_of_freedom * inverse / n)
        scores = self.residuals if self.weight is None else self.residuals * self.weight
        if kind == "cluster" and groups is not None:
            sums = np.zeros((groups.n_groups, len(self.coef)))
            for part in row_chunks(n, len(self.coef)):
                block = self.features[part].astype(np.float64, copy=False) * scores[part, None]
                sums += cluster_sums(block, groups.codes[part], groups.n_groups)
            meat = sums.T @ sums * (groups.n_groups / (groups.n_groups - 1))
        else:
            meat = gram(self.features, scores**2)
        factor = self.n_weighted / self.degrees_of_freedom if kind == "HC1" else 1.0
        return np.asarray(inverse @ (meat * (factor / n**2)) @ inverse)


def fit_orthogonal(
    features: NDArray[np.floating],
    outcome: Array,
    *,
    weight: Array | None = None,
    penalty: float = 0.0,
    n_absorbed: int = 0,
    names: list[str] | None = None,
    second_moment: Array | None = None,
    feature_moment: Array | None = None,
) -> OrthogonalFit:
    """Solve (ΣwX̃X̃' + λI)θ = ΣwX̃Ỹ.

    Parameters
    ----------
    features : ndarray, shape (n, p)
        X̃.
    outcome : ndarray, shape (n,)
        Ỹ.
    weight : ndarray, shape (n,), optional
        Weights of mean 1.
    penalty : float
        λ.
    n_absorbed : int
        Rank that was absorbed.
    names : list of str, optional
        Of the features, for messages.
    second_moment : ndarray, shape (p, p), optional
        Σ_U, where it is known already.
    feature_moment : ndarray, shape (p, p), optional
        Σ_X, against which the variation that is left is judged.

    Raises
    ------
    IdentificationError
        Rank-deficient residual features without penalty; the message names a direction.
    """
    n, p = features.shape
    total = gram(features, weight) if second_moment is None else second_moment * n
    moment = transposed_times(features, outcome if weight is None else outcome * weight)
    if penalty == 0:
        reference = total / n if feature_moment is None else feature_moment
        refuse_unidentified(total / n, reference, names or [f"x{j}" for j in range(p)], n)
    coef = np.linalg.solve(total + penalty * np.eye(p), moment)
    residuals = outcome - times(features, coef)
    return OrthogonalFit(coef, features, residuals, weight, total / n, float(penalty), n_absorbed)


def overlap_spectrum(second_moment: Array, total: Array) -> tuple[Array, Array]:
    """Eigenvalues of Σ_U Σ_X⁻¹ in rising order, and their directions as columns: shares of variance left.

    A feature without any variation counts as 0 along itself.

    Parameters
    ----------
    second_moment, total : ndarray, shape (p, p)
        Σ_U and Σ_X.
    """
    size = np.sqrt(np.clip(np.diag(total), 0.0, None))
    unit = np.where(size > 0, 1.0 / np.where(size > 0, size, 1.0), 0.0)
    values, vectors = np.linalg.eigh(total * np.outer(unit, unit))
    kept = values > 1e-12 * max(float(values.max(initial=0.0)), 1e-300)
    white = unit[:, None] * vectors[:, kept] / np.sqrt(values[kept])
    shares, inner = np.linalg.eigh(white.T @ second_moment @ white)
    missing = len(size) - int(kept.sum())
    directions = np.hstack([vectors[:, ~kept], white @ inner])
    return np.concatenate([np.zeros(missing), np.clip(shares, 0.0, None)]), directions


def refuse_unidentified(second_moment: Array, total: Array, names: list[str], n: int) -> None:
    """Refuse features without variation of their own, relative to their variation before.

    Raises
    ------
    IdentificationError
        Naming the smallest eigenvalue and the features in that direction.
    """
    shares, directions = overlap_spectrum(second_moment, total)
    if len(shares) < n and shares[0] > 1e-10:
        return
    loading = np.abs(directions[:, 0]) * np.sqrt(np.clip(np.diag(total), 0.0, None))
    loading = loading if loading.any() else np.abs(directions[:, 0])
    worst = [names[j] for j in np.argsort(loading)[::-1][:3] if loading[j] > 0.1 * loading.max()]
    own = overlap_spectrum(total, np.diag(np.diag(total)))[0][0]
    # Where the features themselves are at fault, the confounders have no part in it.
    reason = "are constant or collinear" if own <= 1e-10 else "have no variation of their own given the confounders"
    raise IdentificationError(
        f"the features {reason}: smallest eigenvalue {shares[0]:.2g} in the direction of {', '.join(worst)} ({n} rows, "
        f"{len(shares)} features). Drop one of them, or set penalty > 0."
    )


def ridge_by_residual_loss(
    features: NDArray[np.floating], outcome: Array, folds: NDArray[np.intp], weight: Array | None = None
) -> float:
    """λ with the smallest out-of-fold loss Σ(Ỹ - X̃'θ̂_λ)², from the moments of each fold.

    25 values of λ/n on the log scale, from 1e-6 to 1e3 times tr(Σ_U)/p.
    """
    n, p = features.shape
    labels = np.unique(folds)
    grams, moments, squares, sizes = [], [], [], []
    for fold in labels:
        rows = np.flatnonzero(folds == fold)
        w = None if weight is None else weight[rows]
        y = outcome[rows]
        grams.append(gram(features[rows], w))
        moments.append(transposed_times(features[rows], y if w is None else y * w))
        squares.append(float(y @ (y if w is None else y * w)))
        sizes.append(len(rows))
    total, moment = np.sum(grams, axis=0), np.sum(moments, axis=0)
    grid = np.logspace(-6, 3, 25) * float(np.trace(total)) / n / p
    losses = np.zeros(len(grid))
    for G, m, square, size in zip(grams, moments, squares, sizes, strict=True):
        values, V = np.linalg.eigh(total - G)
        projected = V.T @ (moment - m)
        for k, ratio in enumerate(grid):
            theta = V @ (projected / np.maximum(values + ratio * (n - size), 1e-300))
            losses[k] += square - 2 * theta @ m + theta @ G @ theta
    return float(grid[int(np.argmin(losses))] * n)
