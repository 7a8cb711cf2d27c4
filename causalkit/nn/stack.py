"""Stacked perceptrons: batched products, gradients written out, AdamW on one flat row of numbers per bag."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from causalkit.nn.device import import_torch

__all__ = ["Stack", "StackedData", "start_weights"]

_BETAS, _EPS = (0.9, 0.999), 1e-8
_RETRY_FACTOR = 1 / 3


@dataclass(frozen=True)
class StackedData:
    """Tensors of one training, all on one device.

    Attributes
    ----------
    X : Tensor, shape (n, p)
        Inputs.
    target : Tensor, shape (n,)
        Outcome (float32) or class codes (int64).
    multiplier : Tensor, shape (n, k), or None
        Factors of the outputs.
    offset : Tensor, shape (k,), or None
        Constant in front of the softmax; its presence makes the loss the cross-entropy.
    weight : Tensor, shape (n,)
        Row weights of mean 1.
    validation : Tensor of bool, shape (B, n)
        Rows that each bag holds out.
    """

    X: Any
    target: Any
    multiplier: Any
    offset: Any
    weight: Any
    validation: Any

    def losses(self, out: Any, rows: Any = None) -> tuple[Any, Any]:
        """Loss of each row, and its gradient in the outputs.

        Parameters
        ----------
        out : Tensor, shape (A, m, k)
            Outputs of the A bags still in training.
        rows : Tensor of int64, shape (A, m), optional
            Which rows they belong to, in each bag; all rows without.

        Returns
        -------
        loss : Tensor, shape (A, m)
        gradient : Tensor, shape (A, m, k)
        """
        target = self.target if rows is None else self.target[rows]
        if self.offset is not None:
            log_share = (out + self.offset).log_softmax(-1)
            codes = target.expand(out.shape[:2]).unsqueeze(-1)
            gradient = log_share.exp()
            gradient.scatter_add_(-1, codes, gradient.new_full((), -1.0).expand(codes.shape))
            return -log_share.gather(-1, codes).squeeze(-1), gradient
        if self.multiplier is None:
            residual = target - out[..., 0]
            return residual.square(), (-2 * residual).unsqueeze(-1)
        factors = self.multiplier if rows is None else self.multiplier[rows]
        residual = target - (out * factors).sum(-1)
        return residual.square(), (-2 * residual).unsqueeze(-1) * factors


class Stack:
    """Parameters of the bags, their gradients and AdamW's moments; row b of each tensor is bag b.

    One flat row per bag makes a step of AdamW eight short calls whatever the number of layers, and lets a bag be
    copied, reset or dropped as a row.
    """

    def __init__(self, sizes: Sequence[int], flat: Any, learning_rate: float, weight_decay: float) -> None:
        self.sizes = tuple(sizes)
        self.decay = weight_decay
        self.flat = flat
        self.first, self.second = flat.new_zeros(flat.shape), flat.new_zeros(flat.shape)
        self.rate = flat.new_full((len(flat), 1), learning_rate)
        self.steps = flat.new_zeros((len(flat), 1))
        self._refresh()

    def _refresh(self) -> None:
        self.gradient = self.flat.new_empty(self.flat.shape)
        self.layers = self.views(self.flat)
        self.gradients = self.views(self.gradient)

    def views(self, flat: Any) -> list[tuple[Any, Any]]:
        """Weights (A, inputs, outputs) and biases (A, 1, outputs) of every layer inside flat rows."""
        parts, start = [], 0
        for inputs, outputs in pairwise(self.sizes):
            middle, stop = start + inputs * outputs, start + (inputs + 1) * outputs
            parts.append((flat[:, start:middle].unflatten(1, (inputs, outputs)), flat[:, middle:stop].unsqueeze(1)))
            start = stop
        return parts

    def forward(self, X: Any) -> list[Any]:
        """Input and output of every layer for rows (m, p) shared by the bags, or (A, m, p)."""
        torch = import_torch()
        values = [X if X.ndim == 3 else X.expand(len(self.flat), *X.shape)]
        for number, (weight, bias) in enumerate(self.layers):
            if number:
                values[-1].relu_()
            values.append(torch.baddbmm(bias, values[-1], weight))
        return values

    def backward(self, values: list[Any], delta: Any) -> None:
        """Fill the gradient from the layers' values and the gradient in the outputs."""
        torch = import_torch()
        for number in reversed(range(len(self.layers))):
            weight_gradient, bias_gradient = self.gradients[number]
            weight_gradient.copy_(torch.bmm(values[number].mT, delta))
            torch.sum(delta, 1, keepdim=True, out=bias_gradient)
            if number:
                # The rectifier passes gradients where its output is above 0.
                delta = torch.ops.aten.threshold_backward(
                    torch.bmm(delta, self.layers[number][0].mT), values[number], 0
                )

    def step(self) -> None:
        """One step of AdamW with the gradient at hand, with a rate and a step count of each bag's own."""
        self.steps += 1
        self.flat.mul_(1 - self.rate * self.decay)
        self.first.lerp_(self.gradient, 1 - _BETAS[0])
        self.second.mul_(_BETAS[1]).addcmul_(self.gradient, self.gradient, value=1 - _BETAS[1])
        size = (self.second / (1 - _BETAS[1] ** self.steps)).sqrt_().add_(_EPS)
        self.flat.sub_((self.first / size).mul_(self.rate / (1 - _BETAS[0] ** self.steps)))

    def reset(self, row: int, start: Any) -> None:
        """Begin anew in one row, at a third of the rate."""
        self.flat[row] = start
        for moments in (self.first, self.second, self.steps):
            moments[row] = 0
        self.rate[row] *= _RETRY_FACTOR

    def keep(self, rows: list[int]) -> None:
        """Drop the bags that have stopped."""
        names = ("flat", "first", "second", "rate", "steps")
        for name in names:
            setattr(self, name, getattr(self, name)[rows].contiguous())
        self._refresh()


def start_weights(sizes: Sequence[int], generator: Any) -> Any:
    """Flat row of uniform weights on ±1/√(inputs), and zeros in the output layer."""
    torch = import_torch()
    parts = []
    for inputs, outputs in pairwise(sizes):
        draws = torch.rand((inputs + 1) * outputs, generator=generator, dtype=torch.float32, device="cpu")
        parts.append((2 * draws - 1) / math.sqrt(max(inputs, 1)))
    parts[-1].zero_()
    return torch.cat(parts)
