"""Encoders and decoders: perceptrons built in torch and evaluated in numpy, modules of one's own checked."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.nn import import_torch, make_mlp, module_outputs

__all__ = [
    "LEAK",
    "block_rows",
    "check_module",
    "check_outputs",
    "leaky_outputs",
    "leaky_perceptron",
    "user_outputs",
]

Array = NDArray[np.float64]

LEAK = 0.2
_BLOCK_ROWS = 8192
_BLOCK_ENTRIES = 2**24
_PROBE_ROWS = 64


def leaky_perceptron(layer_sizes: Sequence[int], generator: Any) -> Any:
    """Linear layers with LeakyReLU(.2) between them, as a ``torch.nn.Sequential``; layer j is entry 2j.

    Not :func:`causalkit.nn.make_mlp` as it is: a rectifier that is flat below zero loses the tails of the features,
    which carry the answer here.
    """
    torch = import_torch()
    layers = make_mlp(layer_sizes, generator)
    return torch.nn.Sequential(
        *[torch.nn.LeakyReLU(LEAK) if isinstance(part, torch.nn.ReLU) else part for part in layers]
    )


def leaky_outputs(weights: Mapping[str, NDArray[Any]], X: Array) -> Array:
    """Outputs of a fitted :func:`leaky_perceptron`, in numpy and double precision, shape (n, t)."""
    layers = sorted({int(name.partition(".")[0]) for name in weights})
    hidden = X
    for number, layer in enumerate(layers):
        if number:
            hidden = np.where(hidden > 0, hidden, LEAK * hidden)
        hidden = hidden @ weights[f"{layer}.weight"].T.astype(float) + weights[f"{layer}.bias"].astype(float)
    return hidden


def user_outputs(module: Any, X: NDArray[Any], device: Any, name: str, shape: tuple[int, ...]) -> Array:
    """Outputs of a module in double precision, shape (n, *shape), checked by :func:`check_outputs`."""
    outputs = module_outputs(module, X, device)
    if outputs.shape[1] != math.prod(shape):
        raise ValueError(
            f"{name} must give outputs of shape (b, {', '.join(map(str, shape))}); got {outputs.shape[1]} numbers per "
            "row. Change its last layer, or n_components."
        )
    return check_outputs(outputs.reshape(len(outputs), *shape), name)


def check_outputs(outputs: Array, name: str, first_row: int = 0) -> Array:
    """Refuse NaN and infinity, with the first row that has them."""
    bad = np.asarray(~np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1))
    if bad.any():
        raise ValueError(
            f"{name} gives NaN or infinity in {int(bad.sum())} of {len(bad)} rows (first: row "
            f"{first_row + int(np.argmax(bad))}): expected finite numbers. Lower learning_rate or penalty, or check "
            "the module for logarithms, divisions and overflow."
        )
    return outputs


def check_module(module: Any, name: str, inputs: Any, shape: tuple[int, ...], device: Any) -> Any:
    """A copy of a module on its device in single precision, after a look at its outputs for a few rows.

    Parameters
    ----------
    module : torch.nn.Module
        Of the user; it is not changed.
    name : str
        Argument name for messages.
    inputs : torch.Tensor, shape (b, ...)
        A few rows on the device.
    shape : tuple of int
        What an output row must look like.
    device : torch.device
        Where the copy goes.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ValueError
        No torch module; outputs of another shape, or not finite.
    """
    torch = import_torch()
    if not isinstance(module, torch.nn.Module):
        raise ValueError(f"{name} must be a torch.nn.Module; got {type(module).__name__}.")
    working = copy.deepcopy(module).to(device=device, dtype=torch.float32).eval()
    rows = inputs[:_PROBE_ROWS]
    with torch.no_grad():
        outputs = working(rows)
    got = tuple(getattr(outputs, "shape", ()))
    expected = (len(rows), *shape)
    if got != expected:
        raise ValueError(
            f"{name} must turn a batch of shape {tuple(rows.shape)} into one of shape {expected}; got {got or outputs}."
            " Change its last layer or reshape inside the module."
        )
    check_outputs(outputs.double().cpu().numpy(), name)
    return working


def block_rows(feature_shape: tuple[int, ...]) -> int:
    """Rows to work on at a time, fewer where a row is large."""
    return max(1, min(_BLOCK_ROWS, _BLOCK_ENTRIES // max(math.prod(feature_shape), 1)))
