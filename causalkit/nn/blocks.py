"""Multi-layer perceptrons: built in torch, evaluated in numpy once they are fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.nn.device import import_torch

__all__ = ["check_layer_sizes", "make_mlp", "mlp_outputs"]

Array = NDArray[np.float64]

_BLOCK_ROWS = 8192


def check_layer_sizes(value: Any, name: str = "hidden_layer_sizes") -> tuple[int, ...]:
    """Check a sequence of layer widths, possibly empty; a single integer is one layer."""
    sizes = (value,) if isinstance(value, int | np.integer) and not isinstance(value, bool) else value
    ok = isinstance(sizes, Sequence | np.ndarray) and not isinstance(sizes, str)
    if not ok or not all(isinstance(s, int | np.integer) and not isinstance(s, bool) and s > 0 for s in sizes):
        raise ValueError(f"{name} must be a sequence of positive integers, such as (64, 64) or (); got {value!r}.")
    return tuple(int(s) for s in sizes)


def make_mlp(layer_sizes: Sequence[int], generator: Any) -> Any:
    """Linear layers with rectifiers between them, as a ``torch.nn.Sequential``.

    Weights and biases are uniform on ±1/√(inputs), drawn from the generator given: torch's global
    random state is neither read nor moved (test_initial_weights_leave_the_global_generator_alone).

    Parameters
    ----------
    layer_sizes : sequence of int, length L + 1
        Width of the input, of each hidden layer, of the output.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    torch.nn.Sequential
        float32, on the CPU; its layer j is entry 2j.

    Examples
    --------
    >>> from causalkit.nn import make_mlp, torch_generator
    >>> [tuple(p.shape) for p in make_mlp((3, 8, 1), torch_generator(0)).parameters()]
    [(8, 3), (8,), (1, 8), (1,)]
    """
    torch = import_torch()
    layers: list[Any] = []
    for inputs, outputs in pairwise(layer_sizes):
        linear = torch.nn.utils.skip_init(torch.nn.Linear, inputs, outputs)
        bound = 1 / math.sqrt(max(inputs, 1))
        with torch.no_grad():
            linear.weight.uniform_(-bound, bound, generator=generator)
            linear.bias.uniform_(-bound, bound, generator=generator)
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def mlp_outputs(weights: Mapping[str, NDArray[Any]], X: Array) -> Array:
    """Outputs of a fitted perceptron, in numpy and double precision.

    A loaded estimator predicts without torch, and a row's prediction does not depend on the rows around
    it as it would with sums in single precision.

    Parameters
    ----------
    weights : mapping of str to ndarray
        What :func:`causalkit.nn.arrays_of_module` gives for :func:`make_mlp`.
    X : ndarray, shape (n, p)
        Inputs.

    Returns
    -------
    ndarray, shape (n, t)
    """
    layers = sorted({int(name.partition(".")[0]) for name in weights})
    matrices = [(weights[f"{j}.weight"].T.astype(float), weights[f"{j}.bias"].astype(float)) for j in layers]
    blocks = []
    for start in range(0, X.shape[0], _BLOCK_ROWS):
        hidden = X[start : start + _BLOCK_ROWS]
        for number, (matrix, bias) in enumerate(matrices):
            hidden = (hidden if number == 0 else np.maximum(hidden, 0.0)) @ matrix + bias
        blocks.append(hidden)
    return np.concatenate(blocks)
