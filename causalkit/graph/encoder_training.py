"""Training and evaluation of message-passing networks: whole graph or sampled neighbourhoods, bag by bag."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.graph.encoder_outputs import EncoderData, call_network, import_neural, layer_wise
from causalkit.graph.sampler import sample_blocks
from causalkit.nn import derived_seed, global_seed, import_torch, torch_generator, train_module, validation_split
from causalkit.nn.training import TrainingOptions

__all__ = ["Bag", "Target", "train_bags"]

Array = NDArray[np.float64]

_SPLIT_KEY, _START_KEY, _STEP_KEY, _GLOBAL_KEY = 7_201, 7_202, 7_203, 7_204
_RETRY_FACTOR = 1 / 3


@dataclass(frozen=True, eq=False)
class Target:
    """What the outputs are compared with.

    Attributes
    ----------
    values : ndarray, shape (n,)
        Standardised outcome, or class codes.
    weight : ndarray, shape (n,)
        Row weights of mean 1.
    offset : ndarray, shape (k,), or None
        Constant in front of the softmax; None for the squared loss.
    """

    values: NDArray[Any]
    weight: Array
    offset: Array | None


@dataclass(frozen=True, eq=False)
class Bag:
    """A trained network.

    Attributes
    ----------
    module : torch.nn.Module
        On its device.
    n_iter : int
        Epochs.
    validation_loss : float
        Of the weights that were kept.
    loss_curve : ndarray, shape (n_iter,)
        Training loss.
    """

    module: Any
    n_iter: int
    validation_loss: float
    loss_curve: Array


@dataclass(frozen=True, eq=False)
class _Problem:
    """Tensors of a training, on the device."""

    data: EncoderData
    fanout: tuple[int, ...] | None
    x: Any
    operator: Any
    rows: Any
    target: Any
    weight: Any
    offset: Any

    def losses(self, out: Any, batch: Any) -> Any:
        """Loss of each row of a batch of row numbers on the device."""
        torch = import_torch()
        if self.offset is None:
            return (self.target[batch] - out[:, 0]).square()
        return torch.nn.functional.cross_entropy(out + self.offset, self.target[batch], reduction="none")

    def batch_loss(self, module: Any, batch: Any, generator: Any) -> Any:
        """Mean weighted loss of a batch; ``batch`` is on the CPU."""
        local = batch.to(self.data.device)
        out = self._whole(module, local, generator) if self.fanout is None else self._sampled(module, batch, generator)
        return (self.weight[local] * self.losses(out, local)).mean()

    def _whole(self, module: Any, batch: Any, generator: Any) -> Any:
        out = call_network(module, self.data.kind, self.x, self.operator, generator)
        return out[self.rows[batch]]

    def _sampled(self, module: Any, batch: Any, generator: Any) -> Any:
        torch = import_torch()
        neural = import_neural()
        seed = int(torch.randint(2**62, (), generator=generator, device="cpu"))
        seeds = self.data.rows[batch.numpy()]
        blocks = sample_blocks(self.data.matrix, seeds, self.fanout or (), np.random.default_rng(seed))
        attention = self.data.kind == "gat"
        operators = [neural.make_operator(part, self.data.device, attention=attention) for part in blocks.matrices]
        x = torch.as_tensor(self.data.x[blocks.nodes], device=self.data.device)
        return module(x, operators, generator)

    def validation_loss(self, module: Any, batch: Any) -> float:
        """Mean weighted loss of held-out rows, on whole neighbourhoods."""
        local = batch.to(self.data.device)
        if self.data.is_large:
            out = layer_wise(module, self.data, self.x)[self.rows[local]]
        else:
            out = self._whole(module, local, None)
        weight = self.weight[local]
        return float((weight * self.losses(out, local)).sum() / weight.sum())


def train_bags(
    data: EncoderData,
    target: Target,
    make: Callable[[Any], Any],
    options: TrainingOptions,
    *,
    n_bags: int,
    fanout: tuple[int, ...] | None,
    validation_fraction: float,
    seed: int,
    verbose: int,
) -> list[Bag]:
    """Train networks one after the other, each with its own start and its own validation rows.

    Parameters
    ----------
    data : EncoderData
        Nodes, operator and rows.
    target : Target
        What to fit.
    make : callable
        From a ``torch.Generator`` to a network on the CPU.
    options : TrainingOptions
        How to train.
    n_bags : int
        Number of networks.
    fanout : tuple of int or None
        Neighbours per node and layer in training; None takes all of them, on the whole graph.
    validation_fraction : float
        Share of the rows that a network does not train on.
    seed : int
        Key of all draws.
    verbose : int
        1 shows a progress line per bag.

    Returns
    -------
    list of Bag

    Raises
    ------
    FloatingPointError
        The loss of a bag is not finite, again after one new start at a third of the learning rate.
    """
    problem = _problem(data, target, fanout)
    usable = np.flatnonzero(target.weight > 0)
    strata = target.values[usable] if target.offset is not None else None
    bags = []
    for bag in range(n_bags):
        parts = validation_split(len(usable), validation_fraction, derived_seed(seed, _SPLIT_KEY, bag), strata=strata)
        training, validation = (usable[part] for part in parts)
        step = _Step(problem, make, training, validation, seed, bag, n_bags, verbose)
        try:
            bags.append(step(options))
        except FloatingPointError as first:
            slower = replace(options, learning_rate=options.learning_rate * _RETRY_FACTOR)
            try:
                bags.append(step(slower))
            except FloatingPointError as error:
                raise FloatingPointError(
                    f"bag {bag}, again after a new start at a third of learning_rate={options.learning_rate:g}: {error}"
                ) from first
    return bags


@dataclass(frozen=True, eq=False)
class _Step:
    """Training of one bag, which may have to be repeated at another rate."""

    problem: _Problem
    make: Callable[[Any], Any]
    training: NDArray[np.intp]
    validation: NDArray[np.intp]
    seed: int
    bag: int
    n_bags: int
    verbose: int

    def __call__(self, options: TrainingOptions) -> Bag:
        torch = import_torch()
        device = self.problem.data.device
        validation = torch.as_tensor(self.validation, device="cpu")
        with _foreign_draws(self.problem.data, self.seed, self.bag):
            module = self.make(torch_generator(self.seed, _START_KEY, self.bag)).to(device)
            record = train_module(
                module,
                torch.as_tensor(self.training, device="cpu"),
                self.problem.batch_loss,
                options,
                seed=derived_seed(self.seed, _STEP_KEY, self.bag),
                validation_loss=lambda current: self.problem.validation_loss(current, validation),
                verbose=self.verbose,
                label=f"bag {self.bag + 1} of {self.n_bags}",
            )
        best = float(record.validation_curve[record.best_epoch])
        return Bag(module, len(record.loss_curve), best, record.loss_curve)


@contextmanager
def _foreign_draws(data: EncoderData, seed: int, bag: int) -> Iterator[None]:
    """Networks from outside draw from torch's global generators; ours do not."""
    outside = global_seed(derived_seed(seed, _GLOBAL_KEY, bag), data.device)
    with outside if data.kind == "module" else nullcontext():
        yield


def _problem(data: EncoderData, target: Target, fanout: tuple[int, ...] | None) -> _Problem:
    torch = import_torch()
    neural = import_neural()
    device = data.device
    whole = fanout is None or not data.is_large
    operator = (
        neural.make_operator(data.matrix, device, symmetric=data.symmetric, attention=data.kind == "gat")
        if whole
        else None
    )
    values = target.values.astype(np.float32 if target.offset is None else np.int64)
    return _Problem(
        data=data,
        fanout=fanout,
        x=torch.as_tensor(data.x, device=device),
        operator=operator,
        rows=torch.as_tensor(data.rows, device=device),
        target=torch.as_tensor(values, device=device),
        weight=torch.as_tensor(target.weight.astype(np.float32), device=device),
        offset=None if target.offset is None else torch.as_tensor(target.offset.astype(np.float32), device=device),
    )
