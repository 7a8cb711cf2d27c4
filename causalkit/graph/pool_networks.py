"""Perceptrons of the nuisance pool: how long they train for how many rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from causalkit.nn.stacked import StackedMLP, fit_stacked_mlp

if TYPE_CHECKING:
    from causalkit.graph.pool import PoolTarget

__all__ = ["TrainingLength", "fit_network", "training_length"]

_BAGS = 3
_LARGE = 100_000


class TrainingLength(NamedTuple):
    """How many networks, for how many epochs, with how much patience."""

    n_bags: int
    max_epochs: int
    patience: int


def training_length(n_rows: int, n_bags: int) -> TrainingLength:
    """Few bags and epochs above 10⁵ rows, where an epoch is many steps."""
    return TrainingLength(1, 10, 2) if n_rows > _LARGE else TrainingLength(n_bags, 400, 40)


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
        max_epochs=length.max_epochs,
        patience=length.patience,
    )
