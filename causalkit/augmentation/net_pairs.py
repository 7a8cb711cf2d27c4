"""What a network trains on: scaled features, their augmented copies of the epoch, whitened parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.augmentation.arguments import Variation, require_parameters
from causalkit.augmentation.draws import augment, augmentation_name
from causalkit.augmentation.moments import Layout, chunk_moments
from causalkit.augmentation.solution import reduce_parameters

__all__ = ["NetPairs", "Scaling", "Whitening", "fit_scaling", "whiten"]

Array = NDArray[np.float64]

MOMENT_PENALTIES = ("projected", "paired")
_RANK_TOL = 1e-8


@dataclass(frozen=True, eq=False)
class Scaling:
    """Centre and scale of columns, both of shape (p,); a constant column has scale 1."""

    centre: Array
    scale: Array

    def apply(self, X: Array) -> Array:
        """Scaled columns, in the shape of X."""
        return np.asarray((X - self.centre) / self.scale)


def fit_scaling(X: Array, weight: Array) -> Scaling:
    """Weighted mean and standard deviation of columns; X is (n, p), the weights (n,)."""
    share = weight / weight.sum()
    centre = share @ X
    scale = np.sqrt(share @ (X - centre) ** 2)
    constant = scale <= 1e-10 * np.maximum(np.abs(X).max(axis=0), np.finfo(float).tiny)
    return Scaling(centre, np.where(constant, 1.0, scale))


@dataclass(frozen=True, eq=False)
class Whitening:
    """g ↦ (g - mean)T with T'ST = I, so that q'S⁻¹q is the squared length of the whitened q.

    Attributes
    ----------
    mean : ndarray, shape (k,)
    matrix : ndarray, shape (k, rank of S)
    """

    mean: Array
    matrix: Array

    def apply(self, G: Array) -> Array:
        """Whitened parameters, (..., rank)."""
        return np.asarray((G - self.mean) @ self.matrix)


def whiten(G: Array, weight: Array, names: list[str], *, warn: bool) -> Whitening:
    """Whitening of parameters (n, R, k) by their weighted covariance.

    Raises
    ------
    AugmentationError
        Every column is constant.
    UnderIdentifiedError
        As many directions as rows.
    """
    n, n_draws, k = G.shape
    moments = chunk_moments([G.reshape(-1, k)], Layout(k, 0, 0, 0, 0), np.repeat(weight, n_draws), n)
    matrix = reduce_parameters(moments, centred=True, rank_tol=_RANK_TOL, names=names, warn=warn, n_points=n)
    return Whitening(moments.average("g"), matrix)


@dataclass(frozen=True, eq=False)
class NetPairs:
    """Features and where their augmented copies come from.

    Attributes
    ----------
    X : ndarray, shape (n, p)
        Features in their own units.
    weight : ndarray, shape (n,)
        Weights.
    variation : Variation
        Given augmented features, parameters or instruments, and the penalty.
    augmentation : Augmenter, callable or None
        Draws copies, if they were not given.
    seed : int
        Key of the draws.
    """

    X: Array
    weight: Array
    variation: Variation
    augmentation: Any
    seed: int

    @property
    def is_drawn(self) -> bool:
        """Whether every epoch gets copies of its own."""
        return self.variation.kind == "augmentation" and self.variation.augmented is None

    def copies(self, draw: int) -> tuple[Array, Array | None]:
        """Augmented features (n, R, p), X itself without an augmentation, and parameters (n, R, k) or None."""
        variation = self.variation
        if self.is_drawn:
            rows = augment(self.augmentation, self.X, seed=self.seed, draw=draw)
            require_parameters(rows.parameters, variation.penalty, augmentation_name(self.augmentation))
            parameters = None if rows.parameters is None else np.asarray(rows.parameters)[:, None, :]
            return np.asarray(rows.features)[:, None, :], parameters
        if variation.augmented is not None:
            given = variation.augmented
            return (given.toarray()[:, None, :] if sparse.issparse(given) else given), variation.parameters
        instruments = variation.instruments
        return self.X[:, None, :], None if instruments is None else instruments[:, None, :]

    def take(self, rows: NDArray[np.intp]) -> NetPairs:
        """The same for some of the rows."""
        given = self.variation
        parts = {
            name: None if getattr(given, name) is None else getattr(given, name)[rows]
            for name in ("augmented", "parameters", "instruments")
        }
        variation = Variation(given.kind, given.penalty, **parts, instrument_names=given.instrument_names)
        return NetPairs(self.X[rows], self.weight[rows], variation, self.augmentation, self.seed)

    def parameter_names(self, k: int) -> list[str]:
        """Names of the parameters or instruments."""
        return list(self.variation.instrument_names) or [f"parameter{j}" for j in range(k)]

    def whitening(self, G: Array | None, *, warn: bool) -> Whitening | None:
        """Whitening of the parameters where the penalty needs one, else None."""
        if self.variation.penalty not in MOMENT_PENALTIES or G is None:
            return None
        return whiten(G, self.weight, self.parameter_names(G.shape[2]), warn=warn)
