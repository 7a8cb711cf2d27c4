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
from causalkit.augmentation.net_objective import MOMENT_PENALTIES, NetObjective
from causalkit.augmentation.parameter_warnings import parameter_moments, warn_of_parameters
from causalkit.augmentation.solution import reduce_parameters
from causalkit.nn.device import import_torch

__all__ = ["NetObjectives", "NetPairs", "Scaling", "Targets", "Whitening", "fit_scaling", "whiten"]

Array = NDArray[np.float64]

_VALIDATION_DRAW = 0  # epoch e trains on draw e + 1
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


@dataclass(frozen=True, eq=False)
class Targets:
    """Outcomes as the network sees them.

    Attributes
    ----------
    values : ndarray, shape (n, t) or (n,)
        Outcomes, or class numbers.
    n_outputs : int
        Width of the network's last layer.
    scaling : Scaling or None
        Centre and scale of outcomes; None for classes.
    """

    values: NDArray[Any]
    n_outputs: int
    scaling: Scaling | None

    def columns(self) -> Array:
        """Outcomes (n, t), or the indicators of all classes but the first."""
        if self.values.ndim == 2:
            return self.values
        return np.eye(self.n_outputs)[self.values][:, 1:]


class NetObjectives:
    """Objectives of the training and of the validation rows, on the device, in single precision."""

    def __init__(
        self,
        pairs: NetPairs,
        targets: Targets,
        training: NDArray[np.intp],
        validation: NDArray[np.intp],
        alpha: float,
        device: Any,
        scale_features: bool,
    ) -> None:
        self.pairs = pairs.take(training)
        self.device = device
        moved, parameters = pairs.copies(_VALIDATION_DRAW)
        p = pairs.X.shape[1]
        self.scaling = Scaling(np.zeros(p), np.ones(p))
        if scale_features:
            # Both members of the pairs: an augmentation may move a column far out of the range of X.
            both = np.concatenate([pairs.X[training], moved[training, 0]])
            self.scaling = fit_scaling(both, np.tile(pairs.weight[training], 2))
        directions = self._directions(pairs, parameters, training, warn=True)
        if parameters is not None and pairs.variation.kind == "augmentation":
            moments = parameter_moments(pairs.X, moved, parameters, targets.columns(), pairs.weight)
            penalty = pairs.variation.penalty
            warn_of_parameters(moments, penalty=penalty, augmentation=pairs.augmentation)

        def objective(rows: NDArray[np.intp], redraw: Any) -> NetObjective:
            made = NetObjective(
                self._tensor(self.scaling.apply(pairs.X[rows])),
                self._targets(targets, rows),
                self._tensor(pairs.weight[rows] / pairs.weight[rows].mean()),
                penalty=pairs.variation.penalty,
                alpha=alpha,
                redraw=redraw,
            )
            own = None if directions is None else self._tensor(directions[rows])
            made.set_copies(self._tensor(self.scaling.apply(moved[rows])), own)
            return made

        self.training = objective(training, self._redraw if pairs.is_drawn else None)
        self.validation = objective(validation, None) if len(validation) else None

    def _directions(
        self, pairs: NetPairs, parameters: Array | None, training: NDArray[np.intp], *, warn: bool
    ) -> Array | None:
        """Parameters whitened by those of the training rows, where the penalty uses them."""
        if parameters is None or pairs.variation.penalty not in MOMENT_PENALTIES:
            return None
        names = pairs.parameter_names(parameters.shape[2])
        return whiten(parameters[training], pairs.weight[training], names, warn=warn).apply(parameters)

    def _redraw(self, epoch: int) -> tuple[Any, Any]:
        moved, parameters = self.pairs.copies(_VALIDATION_DRAW + 1 + epoch)
        directions = self._directions(self.pairs, parameters, np.arange(len(moved)), warn=False)
        return self._tensor(self.scaling.apply(moved)), None if directions is None else self._tensor(directions)

    def _tensor(self, values: Array) -> Any:
        torch = import_torch()
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)

    def _targets(self, targets: Targets, rows: NDArray[np.intp]) -> Any:
        if targets.scaling is not None:
            return self._tensor(targets.scaling.apply(targets.values[rows]))
        torch = import_torch()
        return torch.as_tensor(targets.values[rows], dtype=torch.int64, device=self.device)
