"""Weights of a module as plain arrays, and outputs of a fitted module."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.nn.device import import_torch

__all__ = ["arrays_of_module", "load_arrays", "module_outputs"]

_BLOCK_ROWS = 8192


def arrays_of_module(module: Any) -> dict[str, NDArray[Any]]:
    """Parameters and buffers of a module as numpy arrays that share no memory with it.

    Parameters
    ----------
    module : torch.nn.Module
        On any device.

    Returns
    -------
    dict of str to ndarray
        By the names of ``state_dict``. Such a dict pickles, and :func:`causalkit.save` stores it.
    """
    return {name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()}


def load_arrays(module: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Copy arrays into a module of the same structure and return it.

    Raises
    ------
    ValueError
        If names or shapes differ; the first difference is named.
    """
    torch = import_torch()
    state = module.state_dict()
    for name in [*state, *arrays]:
        if name not in arrays or name not in state:
            where = "arrays" if name in state else "module"
            raise ValueError(f"{name!r} is missing in {where}: expected the same names in both; use the same sizes.")
        if tuple(state[name].shape) != arrays[name].shape:
            raise ValueError(f"{name!r} must have shape {tuple(state[name].shape)}; got {arrays[name].shape}.")
    module.load_state_dict({name: torch.as_tensor(np.array(value)) for name, value in arrays.items()})
    return module


def module_outputs(module: Any, X: NDArray[Any], device: Any) -> NDArray[np.float64]:
    """Outputs of a module in evaluation mode, block by block.

    Parameters
    ----------
    module : torch.nn.Module
        Neither its mode nor its device is changed.
    X : ndarray, shape (n, p)
        Inputs; they are passed on as float32.
    device : torch.device
        Where to compute.

    Returns
    -------
    ndarray, shape (n, t)
        A module that gives one number per row has t = 1.
    """
    torch = import_torch()
    working = copy.deepcopy(module).to(device).eval()
    blocks = []
    with torch.no_grad():
        for start in range(0, X.shape[0], _BLOCK_ROWS):
            rows = torch.as_tensor(X[start : start + _BLOCK_ROWS], dtype=torch.float32, device=device)
            blocks.append(working(rows).double().cpu().numpy())
    outputs = np.concatenate(blocks)
    return outputs.reshape(len(outputs), -1)
