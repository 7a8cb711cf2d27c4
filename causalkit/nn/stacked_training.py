"""The loop over epochs for stacked perceptrons: judge, stop or restart bags, take the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.nn.device import import_torch
from causalkit.nn.progress import ProgressLine
from causalkit.nn.seeds import torch_generator
from causalkit.nn.stack import Stack, StackedData, start_weights
from causalkit.nn.training import TrainingOptions

__all__ = ["StackedState", "train_stack"]

_START_KEY, _ORDER_KEY = 7_102, 7_103
_IMPROVEMENT = 1e-4  # relative, as in train_module
_BLOCK_ROWS = 16_384


@dataclass(frozen=True)
class StackedState:
    """What training gives: arrays per layer and numbers per bag, as in ``StackedMLP``."""

    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    validation_loss: NDArray[np.float64]
    n_iter: NDArray[np.intp]
    loss_curve: tuple[NDArray[np.float64], ...]


@dataclass
class _Bag:
    """Progress of one bag since its (new) start."""

    number: int
    curve: list[float] = field(default_factory=list)
    epochs: int = 0
    best: float = math.inf
    milestone: float = math.inf
    waited: int = 0
    retried: bool = False

    def improves(self, loss: float) -> bool:
        """Take note of a validation loss; whether it is the smallest so far."""
        if self.milestone == math.inf or loss < self.milestone - _IMPROVEMENT * abs(self.milestone):
            self.milestone, self.waited = loss, 0
        else:
            self.waited += 1
        better = loss < self.best
        self.best = min(self.best, loss)
        return better


def train_stack(
    data: StackedData, sizes: Sequence[int], options: TrainingOptions, *, seed: int, verbose: int = 0
) -> StackedState:
    """Train all bags until each has stopped; see ``fit_stacked_mlp``.

    Parameters
    ----------
    data : StackedData
        Rows and validation rows.
    sizes : sequence of int, length L + 1
        Widths of input, hidden layers and output.
    options : TrainingOptions
        How to train; a batch of at least n rows is the full batch.
    seed : int
        Key of all draws.
    verbose : int, default=0
        1 shows a progress line.

    Returns
    -------
    StackedState
    """
    return _Training(data, sizes, options, seed).run(verbose)


class _Training:
    """The loop over epochs: judge the weights at hand, stop or restart bags, take the epoch's steps."""

    def __init__(self, data: StackedData, sizes: Sequence[int], options: TrainingOptions, seed: int) -> None:
        torch = import_torch()
        self.data, self.options, self.seed = data, options, seed
        n_bags, self.n_rows = data.validation.shape
        starts = torch.stack([start_weights(sizes, torch_generator(seed, _START_KEY, bag)) for bag in range(n_bags)])
        self.starts = starts.to(data.X.device)
        self.kept = self.starts.clone()  # the best weights of every bag
        self.stack = Stack(sizes, self.starts.clone(), options.learning_rate, options.weight_decay)
        self.bags = [_Bag(number) for number in range(n_bags)]
        self.active = list(self.bags)
        self.full = options.batch_size >= self.n_rows
        # A data-dependent shape, so it is settled once and not in every epoch.
        self.holds_out = bool(data.validation.any())
        self.forward: tuple[list[Any], Any] | None = None  # layers' values and gradient at the weights at hand
        self.epoch_losses = [0.0] * n_bags
        self._select()

    def _select(self) -> None:
        """Rows and weights of the bags in training."""
        torch = import_torch()
        numbers = [bag.number for bag in self.active]
        held_out = self.data.validation[numbers]
        weight = self.data.weight.expand(held_out.shape)
        parts = torch.stack([weight * ~held_out, weight * held_out])
        self.parts = parts / parts.sum(-1, keepdim=True).clamp_min(1e-30)
        self.forward = None
        if not self.full:
            counts = held_out.sum(1)
            largest = int(counts.max())
            # Rows in the order training rows first: the sort is stable, so it is the same on every device.
            order = torch.argsort(held_out.to(torch.int8), dim=1, stable=True)
            self.training_rows = order[:, : self.n_rows - largest]
            self.validation_rows = order[:, self.n_rows - largest :]

    # ------------------------------------------------------------------ losses

    def judge(self) -> tuple[list[float], list[float]]:
        """Training and validation loss of the weights at hand; in batches the training loss is of the last epoch."""
        torch = import_torch()
        if not self.full:
            return self.epoch_losses, self._validation_in_blocks()
        values = self.stack.forward(self.data.X)
        loss, gradient = self.data.losses(values[-1])
        self.forward = (values, gradient)
        self.epoch_losses, validation = torch.sum(self.parts * loss, -1).tolist()
        return self.epoch_losses, validation

    def _validation_in_blocks(self) -> list[float]:
        torch = import_torch()
        if not self.holds_out:
            return [0.0] * len(self.active)
        total = self.parts.new_zeros(len(self.active))
        for rows in self.validation_rows.split(_BLOCK_ROWS, dim=1):
            loss, _ = self.data.losses(self.stack.forward(self.data.X[rows])[-1], rows)
            total += torch.sum(loss * self.parts[1].gather(1, rows), -1)
        result: list[float] = total.tolist()
        return result

    def epoch(self, number: int) -> None:
        """Take the steps of one epoch."""
        if self.full:
            if self.forward is None:  # the stack has changed since the weights were judged
                self.judge()
            values, gradient = self.forward  # type: ignore[misc]
            self.stack.backward(values, gradient * self.parts[0].unsqueeze(-1))
            self.stack.step()
            return
        self._batches(number)

    def _batches(self, number: int) -> None:
        torch = import_torch()
        device = self.data.X.device
        n_training = self.training_rows.shape[1]
        orders = [
            torch.randperm(
                n_training, generator=torch_generator(self.seed, _ORDER_KEY, bag.number, number), device="cpu"
            )
            for bag in self.active
        ]
        shuffled = self.training_rows.gather(1, torch.stack(orders).to(device))
        n_batches = math.ceil(n_training / self.options.batch_size)
        total = self.parts.new_zeros(len(self.active))
        for rows in shuffled.tensor_split(n_batches, dim=1):
            values = self.stack.forward(self.data.X[rows])
            loss, gradient = self.data.losses(values[-1], rows)
            share = self.data.weight[rows] / rows.shape[1]
            total += torch.sum(loss * share, -1) / n_batches
            self.stack.backward(values, gradient * share.unsqueeze(-1))
            self.stack.step()
        self.epoch_losses = total.tolist()

    # ------------------------------------------------------------------ the loop

    def run(self, verbose: int) -> StackedState:
        with ProgressLine("training", self.options.max_epochs, verbose) as progress:
            number = 0
            while True:
                training, validation = self.judge()
                self._record(training, validation)
                if not self.active:
                    break
                self.epoch(number)
                number += 1
                for bag, loss in zip(self.active, self.epoch_losses, strict=True):
                    bag.epochs += 1
                    bag.curve.append(loss)
                progress.update(min(number, self.options.max_epochs), f"loss {min(training):.4g}")
        return self._state()

    def _record(self, training: list[float], validation: list[float]) -> None:
        """Best weights, restarts, and who goes on."""
        go_on, better = [], []
        for row, bag in enumerate(self.active):
            if not (math.isfinite(training[row]) and math.isfinite(validation[row])):
                self._restart(row, bag)
                go_on.append(row)
                continue
            if bag.improves(validation[row]) or not self.holds_out:
                better.append(row)
            tired = self.holds_out and bag.waited >= self.options.patience
            if bag.epochs < self.options.max_epochs and not tired:
                go_on.append(row)
        if better:
            self.kept[[self.active[row].number for row in better]] = self.stack.flat[better]
        if len(go_on) < len(self.active):
            self.active = [self.active[row] for row in go_on]
            if self.active:
                self.stack.keep(go_on)
                self._select()

    def _restart(self, row: int, bag: _Bag) -> None:
        if bag.retried:
            raise FloatingPointError(
                f"training of bag {bag.number} diverged in epoch {bag.epochs}, again after a new start at a third of "
                f"learning_rate={self.options.learning_rate:g}: its loss is not finite. Lower learning_rate, or check "
                "that features and target have sizes near 1."
            )
        self.stack.reset(row, self.starts[bag.number])
        self.active[row] = self.bags[bag.number] = _Bag(bag.number, retried=True)
        self.forward = None

    def _state(self) -> StackedState:
        layers = self.stack.views(self.kept)
        best = [bag.best if self.holds_out else math.nan for bag in self.bags]
        return StackedState(
            weights=tuple(weight.cpu().numpy().copy() for weight, _ in layers),
            biases=tuple(bias[:, 0].cpu().numpy().copy() for _, bias in layers),
            validation_loss=np.array(best),
            n_iter=np.array([bag.epochs for bag in self.bags], dtype=np.intp),
            loss_curve=tuple(np.array(bag.curve) for bag in self.bags),
        )
