"""Perceptrons of the nuisance pool: how long they train for how many rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from causalkit.nn.stacked import StackedMLP, fit_stacked_mlp

if TYPE_CHECKING:
    from causalkit.graph.pool import PoolTarget

__all__ = ["TrainingLength", "fit_network", "training_length"]

_BAGS = 3
_FULL_BATCH = 4000
_BATCH = 1024  # larger ones leave the cache: three times slower an epoch on a CPU, and fewer steps
_STEPS, _PATIENCE = 400, 40
_LEAST_EPOCHS, _LEAST_PATIENCE = 10, 2
_ONE_BAG = 100_000


class TrainingLength(NamedTuple):
    """How many networks, in which batches, for how many epochs, with how much patience."""

    n_bags: int
    batch_size: int
    max_epochs: int
    patience: int


def training_length(n_rows: int, n_bags: int) -> TrainingLength:
    """400 steps at most, of which 40 without progress: full batches up to 4000 rows, small ones above.

    A large table has many steps in an epoch; it gets 10 epochs and a patience of 2 at least. Above 10⁵ rows the
    spread between networks is small, and one is enough.
    """
    if n_rows <= _FULL_BATCH:
        return TrainingLength(n_bags, n_rows, _STEPS, _PATIENCE)
    steps = n_rows / _BATCH
    epochs, patience = math.ceil(_STEPS / steps), math.ceil(_PATIENCE / steps)
    bags = 1 if n_rows > _ONE_BAG else n_bags
    return TrainingLength(bags, _BATCH, max(epochs, _LEAST_EPOCHS), max(patience, _LEAST_PATIENCE))


def fit_network(columns: Any, target: PoolTarget, seed: int, device: Any) -> StackedMLP:
    """Bagged perceptrons of two layers of 64, with early stopping on rows of their own."""
    length = training_length(len(columns), _BAGS)
    return fit_stacked_mlp(
        columns,
        target.values.astype(np.intp) if target.n_levels else target.values,
        loss="log" if target.n_levels else "squared",
        n_outputs=target.n_levels or 1,
        sample_weight=target.weight,
        seed=seed,
        device=device,
        n_bags=length.n_bags,
        batch_size=length.batch_size,
        max_epochs=length.max_epochs,
        patience=length.patience,
    )
