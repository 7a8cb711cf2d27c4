"""Outputs of message-passing networks: the whole graph at a time, or layer by layer in blocks of nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import MissingDependencyError
from causalkit.nn import import_torch

__all__ = ["EncoderData", "call_network", "import_neural", "layer_wise", "network_outputs"]

Array = NDArray[np.float64]
Float = NDArray[np.float32]

# Above so many nodes training samples neighbourhoods, and outputs are computed layer by layer in blocks of rows.
LARGE_GRAPH = 100_000
_BLOCK_ROWS = 65_536


def import_neural() -> Any:
    """The module of the message-passing layers, imported on first use.

    Raises
    ------
    MissingDependencyError
        torch or torch_geometric is not installed.
    """
    import_torch()
    try:
        from causalkit.graph import neural
    except ImportError as error:
        raise MissingDependencyError(
            f"message-passing encoders need torch_geometric, which cannot be imported ({error}): "
            "pip install -e '.[graph]', or use encoder='sign', which does without."
        ) from error
    return neural


@dataclass(frozen=True, eq=False)
class EncoderData:
    """What a network is trained on or applied to.

    Attributes
    ----------
    x : ndarray of float32, shape (c, p)
        Standardised inputs of all nodes that have some.
    matrix : csr_array, shape (c, c)
        Operator, receivers in the rows.
    kind : str
        Encoder; "module" for a network from outside.
    symmetric : bool
        Whether the operator is its own transposed matrix.
    rows : ndarray of int, shape (n,)
        Nodes of the rows.
    device : torch.device
        Where to compute.
    """

    x: Float
    matrix: Any
    kind: str
    symmetric: bool
    rows: NDArray[np.intp]
    device: Any

    @property
    def is_large(self) -> bool:
        """Whether the graph is handled in parts; a network from outside always sees it whole."""
        return len(self.x) > LARGE_GRAPH and self.kind != "module"


def call_network(module: Any, kind: str, x: Any, operator: Any, generator: Any = None) -> Any:
    """Outputs of all nodes, as two dimensions."""
    if kind != "module":
        return module(x, operator, generator)
    out = module(x, operator.matrix)
    shape = tuple(getattr(out, "shape", ()))
    if len(shape) not in (1, 2) or shape[0] != len(x):
        raise ValueError(
            f"encoder: forward(x, adjacency) must return one row per node, shape ({len(x)}, outputs), or ({len(x)},) "
            f"for one output; got {shape or type(out).__name__}."
        )
    return out.reshape(len(x), -1)


def layer_wise(module: Any, data: EncoderData, x: Any) -> Any:
    """Exact outputs of all nodes without the values of all layers and edges in memory at a time."""
    torch = import_torch()
    neural = import_neural()
    n = len(data.x)
    for layer in module.layers:
        blocks = []
        for start in range(0, n, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, n)
            part = neural.make_operator(
                data.matrix[start:stop], data.device, attention=data.kind == "gat", transposed=False
            )
            blocks.append(torch.relu(layer(x, x[start:stop], part)))
        x = torch.cat(blocks)
    return module.head(x)


def network_outputs(module: Any, data: EncoderData) -> Array:
    """Outputs of a trained network at the rows, shape (n, k).

    In double precision where memory is no matter, so that the outputs of a node depend on its neighbourhood alone;
    sums in single precision depend on how many rows are computed together.
    """
    torch = import_torch()
    neural = import_neural()
    double = not data.is_large and data.kind != "module"
    precision = torch.float64 if double else torch.float32
    module = module.to(device=data.device, dtype=precision).eval()
    with torch.no_grad():
        x = torch.as_tensor(data.x, device=data.device, dtype=precision)
        if data.is_large:
            out = layer_wise(module, data, x)
        else:
            operator = neural.make_operator(
                data.matrix, data.device, attention=data.kind == "gat", transposed=False, double=double
            )
            out = call_network(module, data.kind, x, operator)
        result: Array = out[torch.as_tensor(data.rows, device=data.device)].double().cpu().numpy()
    return result
