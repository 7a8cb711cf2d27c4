"""Rows of a fit as tensors on the device, kept there as far as they fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.extrapolation.autoencoder_networks import block_rows
from causalkit.extrapolation.torch_penalty import ActionLine, projected_features
from causalkit.nn import import_torch

__all__ = ["Batch", "TrainingData", "squared_error"]

Array = NDArray[np.float64]

_LINE_KEY = 7_303
_CACHE_BYTES = 256 * 2**20
_FEATURE_BYTES = 2**30
_LINE_ROWS = 20_000


@dataclass(frozen=True, eq=False)
class Batch:
    """Tensors of some rows, on the device: features scaled, F⊥, weights of mean 1 or None, target or None."""

    x: Any
    actions: Any
    projected: Any
    weight: Any
    target: Any

    def mean(self, values: Any) -> Any:
        """Weighted mean over rows of values, shape (n,)."""
        return values.mean() if self.weight is None else (self.weight * values).sum() / self.weight.sum()


class TrainingData:
    """Rows of the fit, on the device as far as they fit.

    Features go to the device once if they take less than 1 GB in single precision, else row by row; F⊥ is computed
    once if it takes less than 256 MB, else from G in every batch
    (test_batches_are_the_same_whether_features_are_kept_or_not).

    Parameters
    ----------
    X : ndarray, shape (n, ...)
        Features; may be a memory map.
    centre : ndarray, shape (...)
        Mean of each entry.
    scale : float
        Standard deviation over all entries.
    actions : ndarray, shape (n, k)
        Standardised actions.
    frequencies : ndarray, shape (k, D/2)
        ω.
    projection : ndarray, shape (k + 1, D)
        G.
    weight : ndarray, shape (n,), or None
        Weights of the rows.
    target : ndarray, shape (n, d), or None
        What the encoder starts from.
    device : torch.device
        Where to compute.
    moments : ndarray, shape (D, q), optional
        Combinations of the columns of F⊥ that take their place.
    """

    def __init__(
        self,
        X: NDArray[Any],
        centre: Array,
        scale: float,
        actions: Array,
        frequencies: Array,
        projection: Array,
        weight: Array | None,
        target: Array | None,
        device: Any,
        moments: Array | None = None,
    ) -> None:
        self.device = device
        self.source, self.centre, self.scale = X, centre, scale
        # Rows of weight zero are never drawn.
        self.rows = np.arange(len(X)) if weight is None else np.flatnonzero(weight > 0)
        self.weight = None if weight is None else self.tensor(weight / weight[self.rows].mean())
        self.target = None if target is None else self.tensor(target)
        self.actions = self.tensor(actions)
        self.frequencies, self.projection = self.tensor(frequencies), self.tensor(projection)
        self.moments = None if moments is None else self.tensor(moments)
        self.mean, self.covariance = _action_moments(actions, weight)
        self.x = self._all_features() if 4 * X.size <= _FEATURE_BYTES else None
        self.held = np.empty(0, dtype=np.intp)
        width = projection.shape[1] if moments is None else moments.shape[1]
        cached = 4 * len(X) * width <= _CACHE_BYTES
        self.projected = self._all_projected() if cached else None

    def hold_out(self, training: NDArray[np.intp], held: NDArray[np.intp]) -> None:
        """Train on some rows only, and keep others to stop by."""
        self.rows, self.held = training, held

    def tensor(self, values: NDArray[Any]) -> Any:
        """Array in single precision on the device."""
        return import_torch().as_tensor(np.array(values, dtype=np.float32), device=self.device)

    def features(self, rows: Any) -> Any:
        """Scaled features of rows: an array of row numbers or a slice."""
        return self.tensor((np.asarray(self.source[rows], dtype=float) - self.centre) / self.scale)

    def batch(self, index: Any) -> Batch:
        """Tensors of rows; ``index`` holds row numbers on the device."""
        actions = self.actions[index]
        return Batch(
            x=self.features(index.cpu().numpy()) if self.x is None else self.x[index],
            actions=actions,
            projected=self._projected(actions) if self.projected is None else self.projected[index],
            weight=None if self.weight is None else self.weight[index],
            target=None if self.target is None else self.target[index],
        )

    def line(self, encode: Callable[[Any], Any], seed: int, number: int) -> ActionLine:
        """Least squares of the code on (1, A) over all rows, or over 20 000 drawn anew each time."""
        torch = import_torch()
        rows = self.rows
        if len(rows) > _LINE_ROWS:
            rows = np.sort(np.random.default_rng([seed, _LINE_KEY, number]).choice(rows, _LINE_ROWS, replace=False))
        index = torch.as_tensor(rows, device=self.device)
        gram: Any = 0.0
        with torch.no_grad():
            for part in torch.split(index, block_rows(self.source.shape[1:])):
                phi = encode(self.x[part] if self.x is not None else self.features(part.cpu().numpy())).double()
                actions = self.actions[part].double()
                design = torch.cat([torch.ones_like(actions[:, :1]), actions], dim=1)
                weighted = design if self.weight is None else design * self.weight[part].double()[:, None]
                gram = gram + weighted.T @ torch.cat([design, phi], dim=1)
            size = self.actions.shape[1] + 1
            coefficients = torch.linalg.solve_ex(gram[:, :size], gram[:, size:])[0]
        moments = (torch.as_tensor(part, device=self.device) for part in (self.mean, self.covariance))
        return ActionLine(coefficients[1:].T, coefficients[0], *moments)

    def _all_features(self) -> Any:
        torch = import_torch()
        step = block_rows(self.source.shape[1:])
        return torch.cat([self.features(slice(a, a + step)) for a in range(0, len(self.source), step)])

    def _all_projected(self) -> Any:
        torch = import_torch()
        parts = torch.split(self.actions, 65_536)
        return torch.cat([self._projected(part) for part in parts])

    def _projected(self, actions: Any) -> Any:
        features = projected_features(actions, self.frequencies, self.projection)
        return features if self.moments is None else features @ self.moments


def _action_moments(actions: Array, weight: Array | None) -> tuple[Array, Array]:
    share = np.full(len(actions), 1 / len(actions)) if weight is None else weight / weight.sum()
    mean = share @ actions
    centred = actions - mean
    return mean, (centred * share[:, None]).T @ centred


def squared_error(batch: Batch, decoded: Any) -> Any:
    """Mean squared error over rows and entries."""
    return batch.mean((decoded - batch.x).square().flatten(1).mean(dim=1))
