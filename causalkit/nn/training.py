"""The one training loop: mini-batches, AdamW, early stopping, best weights, seeded."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.nn.device import import_torch
from causalkit.nn.progress import ProgressLine
from causalkit.nn.seeds import torch_generator
from causalkit.nn.splits import check_number
from causalkit.validation import check_integer

__all__ = ["TrainingOptions", "TrainingRecord", "train_module"]

BatchLoss = Callable[[Any, Any, Any], Any]
ValidationLoss = Callable[[Any], float]

_EPOCH_KEY = 7_001
_IMPROVEMENT = 1e-4  # relative; smaller ones keep the weights but do not start the patience again


@dataclass(frozen=True)
class TrainingOptions:
    """Options of the loop; :meth:`checked` refuses what makes no sense.

    Attributes
    ----------
    max_epochs : int
        Largest number of passes over the training rows.
    batch_size : int
        Rows per step; batches of an epoch differ by one row at most.
    learning_rate : float
        Step of AdamW.
    weight_decay : float
        Decoupled decay of AdamW; 0 is Adam.
    patience : int
        Epochs without improvement after which training stops.
    """

    max_epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int

    @classmethod
    def checked(
        cls, *, max_epochs: Any, batch_size: Any, learning_rate: Any, weight_decay: Any, patience: Any
    ) -> TrainingOptions:
        """Check the values that a user gave."""
        return cls(
            max_epochs=check_integer(max_epochs, "max_epochs", low=1),
            batch_size=check_integer(batch_size, "batch_size", low=1),
            learning_rate=check_number(learning_rate, "learning_rate", above_zero=True),
            weight_decay=check_number(weight_decay, "weight_decay", above_zero=False),
            patience=check_integer(patience, "patience", low=1),
        )


@dataclass(frozen=True)
class TrainingRecord:
    """What happened during training.

    Attributes
    ----------
    loss_curve : ndarray, shape (e,)
        Mean batch loss of each epoch.
    validation_curve : ndarray, shape (e,) or (0,)
        Validation loss after each epoch; empty without one.
    best_epoch : int
        Epoch (from 0) whose weights the module has now.
    converged : bool
        Whether the loss had stopped falling before ``max_epochs``.
    """

    loss_curve: NDArray[np.float64]
    validation_curve: NDArray[np.float64]
    best_epoch: int
    converged: bool


def train_module(
    module: Any,
    rows: Any,
    batch_loss: BatchLoss,
    options: TrainingOptions,
    *,
    seed: int,
    validation_loss: ValidationLoss | None = None,
    start_epoch: Callable[[int], None] | None = None,
    verbose: int = 0,
    label: str = "training",
) -> TrainingRecord:
    """Minimise the mean of ``batch_loss`` over random batches of rows; the module is changed in place.

    With a validation loss: stop after ``patience`` epochs without a relative improvement of 1e-4, and put
    back the weights of the best epoch. Without: stop once the mean training loss of the last ``patience``
    epochs is not lower by 1e-4 than that of the ``patience`` epochs before, and keep the last weights.
    The order of the rows depends on (seed, epoch) alone, so a run on the CPU repeats exactly.

    Parameters
    ----------
    module : torch.nn.Module
        Already on its device.
    rows : torch.Tensor of int64, shape (n,)
        Numbers of the training rows, on the CPU.
    batch_loss : callable
        ``(module, batch_indices, epoch_generator) -> scalar tensor``: batch indices are entries of ``rows`` on
        the CPU, the generator (CPU) is new in each epoch and free for the caller's own draws.
    options : TrainingOptions
        How to train.
    seed : int
        Key of all draws.
    validation_loss : callable, optional
        ``module -> float``, called in evaluation mode without gradients.
    start_epoch : callable, optional
        Called with the number of the epoch before its first batch, to draw fresh data.
    verbose : int, default=0
        1 shows a progress line on the standard error stream.
    label : str, default="training"
        What that line calls the work.

    Returns
    -------
    TrainingRecord

    Raises
    ------
    FloatingPointError
        If a loss becomes infinite or NaN.
    """
    torch = import_torch()
    optimiser = torch.optim.AdamW(module.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    losses: list[float] = []
    validation: list[float] = []
    best = _Best(options.patience)
    converged = False
    with ProgressLine(label, options.max_epochs, verbose) as progress:
        for epoch in range(options.max_epochs):
            if start_epoch is not None:
                start_epoch(epoch)
            module.train()
            losses.append(
                _one_epoch(module, rows, batch_loss, options, optimiser, torch_generator(seed, _EPOCH_KEY, epoch))
            )
            text = f"loss {losses[-1]:.4g}"
            if validation_loss is None:
                converged = _is_flat(losses, options.patience)
            else:
                validation.append(_evaluate(module, validation_loss))
                converged = best.update(epoch, validation[-1], module)
                text += f", validation {validation[-1]:.4g}"
            _require_finite(epoch, losses[-1], *validation[-1:])
            progress.update(epoch + 1, text)
            if converged:
                break
    if best.state is not None:
        module.load_state_dict(best.state)
    module.eval()
    kept = len(losses) - 1 if best.state is None else best.epoch
    return TrainingRecord(np.array(losses), np.array(validation), kept, converged)


def _one_epoch(
    module: Any, rows: Any, batch_loss: BatchLoss, options: TrainingOptions, optimiser: Any, generator: Any
) -> float:
    torch = import_torch()
    order = rows[torch.randperm(len(rows), generator=generator)]
    # Sizes that differ by one at most: a last batch of a single row would break batch normalisation.
    batches = torch.tensor_split(order, math.ceil(len(order) / options.batch_size))
    total = 0.0
    for batch in batches:
        optimiser.zero_grad(set_to_none=True)
        loss = batch_loss(module, batch, generator)
        loss.backward()
        optimiser.step()
        total = total + loss.detach() * len(batch)
    return float(total) / len(order)


def _evaluate(module: Any, validation_loss: ValidationLoss) -> float:
    torch = import_torch()
    module.eval()
    with torch.no_grad():
        return float(validation_loss(module))


class _Best:
    """The lowest validation loss so far, its weights, and whether patience has run out."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.value = math.inf
        self.epoch = 0
        self.state: dict[str, Any] | None = None
        self._milestone = math.inf
        self._waited = 0

    def update(self, epoch: int, value: float, module: Any) -> bool:
        if value < self.value:
            self.value, self.epoch = value, epoch
            self.state = copy.deepcopy(module.state_dict())
        if self._milestone == math.inf or value < self._milestone - _IMPROVEMENT * abs(self._milestone):
            self._milestone, self._waited = value, 0
        else:
            self._waited += 1
        return self._waited >= self.patience


def _is_flat(losses: list[float], patience: int) -> bool:
    if len(losses) < 2 * patience:
        return False
    before = math.fsum(losses[-2 * patience : -patience]) / patience
    after = math.fsum(losses[-patience:]) / patience
    return after >= before - _IMPROVEMENT * abs(before)


def _require_finite(epoch: int, *values: float) -> None:
    if not all(math.isfinite(value) for value in values):
        raise FloatingPointError(
            f"training diverged in epoch {epoch + 1}: the loss is {values[0]:g}. Lower learning_rate, or check that a "
            "module of your own gives finite numbers for features of this size."
        )
