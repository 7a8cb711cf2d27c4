"""Message-passing networks on sparse CSR operators. Loads torch and torch_geometric: import it where they are needed.

The layers are those of torch_geometric. Their sums over neighbours are replaced by one sparse product whose
transposed matrix is stored beside it, so that the backward pass is a product of the same kind and not a
conversion of the matrix in every step.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv

__all__ = [
    "KIND_OF_ENCODER",
    "GraphNetwork",
    "Operator",
    "csr_product",
    "csr_tensor",
    "make_network",
    "make_operator",
]

# Which operator of a graph each encoder sums by. GCN's has self-loops and both roots of the degree inside, so that
# the layer does not normalise again.
KIND_OF_ENCODER = {"sage": "mean", "gcn": "sym", "gat": "binary", "gin": "raw"}


# ---------------------------------------------------------------------- operators


@dataclass(frozen=True, eq=False)
class Operator:
    """A sum over neighbours, as a layer needs it.

    Attributes
    ----------
    matrix : Tensor, sparse CSR, shape (n_targets, n_sources), or None
        Receivers in the rows; it carries its transposed matrix as the attribute ``transposed``.
    edges : Tensor of int64, shape (2, m), or None
        Sources and targets instead, for attention.
    n_targets, n_sources : int
        Rows and columns.
    """

    matrix: Any
    edges: Any
    n_targets: int
    n_sources: int


def csr_tensor(matrix: Any, device: Any, *, double: bool = False) -> Any:
    """scipy CSR matrix as a ``torch.sparse_csr`` tensor with int32 indices, in single precision unless said."""
    with warnings.catch_warnings():
        # torch announces at the first such tensor of a process that the layout may still change.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.as_tensor(np.array(matrix.indptr, dtype=np.int32), device=device),
            torch.as_tensor(np.array(matrix.indices, dtype=np.int32), device=device),
            torch.as_tensor(np.array(matrix.data, dtype=np.float64 if double else np.float32), device=device),
            size=matrix.shape,
            device=device,
            check_invariants=False,
        )


def make_operator(
    matrix: Any,
    device: Any,
    *,
    symmetric: bool = False,
    attention: bool = False,
    transposed: bool = True,
    double: bool = False,
) -> Operator:
    """Put a scipy CSR matrix on a device, with its transposed matrix.

    Parameters
    ----------
    matrix : csr_array, shape (n_targets, n_sources)
        Receivers in the rows.
    device : torch.device
        Where to.
    symmetric : bool, default=False
        Whether the matrix is its own transposed one.
    attention : bool, default=False
        Whether edges one by one are needed instead.
    transposed : bool, default=True
        Whether the transposed matrix is needed: for gradients it is.
    double : bool, default=False
        Whether entries are float64 instead of float32.

    Returns
    -------
    Operator
    """
    if attention:
        targets = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        edges = torch.as_tensor(np.stack([matrix.indices.astype(np.int64), targets]), device=device)
        return Operator(None, edges, *matrix.shape)
    tensor = csr_tensor(matrix, device, double=double)
    own = symmetric or not transposed
    tensor.transposed = tensor if own else csr_tensor(matrix.T.tocsr(), device, double=double)
    return Operator(tensor, None, *matrix.shape)


class _CSRProduct(torch.autograd.Function):
    """Matrix times x, with the stored transposed matrix in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Any, matrix: Any, transposed: Any) -> Any:
        ctx.transposed = transposed
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return ctx.transposed @ gradients[0].contiguous(), None, None


def csr_product(matrix: Any, x: Any) -> Any:
    """Product of a matrix of :func:`make_operator` and the rows x, differentiable in x."""
    return _CSRProduct.apply(x, matrix, matrix.transposed)


# ---------------------------------------------------------------------- layers


class SAGE(SAGEConv):
    """Mean of the neighbours and the node itself, each through a linear map (Hamilton, Ying and Leskovec 2017)."""

    def message_and_aggregate(self, adj_t: Any, x: Any) -> Any:
        """Sum by the operator."""
        return csr_product(adj_t, x[0])


class GCN(GCNConv):
    """Product with S (Kipf and Welling 2017, equation 2)."""

    def message_and_aggregate(self, adj_t: Any, x: Any) -> Any:
        """Sum by the operator."""
        return csr_product(adj_t, x)


class GIN(GINConv):
    """Perceptron of the node plus the sum of its neighbours (Xu et al. 2019, equation 4.1)."""

    def message_and_aggregate(self, adj_t: Any, x: Any) -> Any:
        """Sum by the operator."""
        return csr_product(adj_t, x[0])


class GraphLayer(torch.nn.Module):
    """One layer of an encoder plus a linear map of the node's own values, the root path.

    Parameters
    ----------
    kind : {"sign", "sage", "gcn", "gat", "gin"}
        "sign" passes no messages: its inputs are hop features.
    n_inputs, n_outputs : int
        Widths.
    heads : int
        Attention heads of "gat".
    """

    def __init__(self, kind: str, n_inputs: int, n_outputs: int, heads: int) -> None:
        super().__init__()
        self.kind = kind
        # SAGE has the map of the node itself already.
        self.root = None if kind == "sage" else torch.nn.Linear(n_inputs, n_outputs)
        self.convolution = None
        if kind == "sage":
            self.convolution = SAGE(n_inputs, n_outputs, aggr="sum")
        elif kind == "gcn":
            self.convolution = GCN(n_inputs, n_outputs, normalize=False, bias=False)
        elif kind == "gin":
            inner = torch.nn.Linear(n_inputs, n_outputs), torch.nn.ReLU(), torch.nn.Linear(n_outputs, n_outputs)
            self.convolution = GIN(torch.nn.Sequential(*inner))
        elif kind == "gat":
            # Without self-loops: the root path carries the node itself.
            self.convolution = GATConv(n_inputs, n_outputs // heads, heads, add_self_loops=False, bias=False)

    def forward(self, x: Any, targets: Any, operator: Operator) -> Any:
        """Values of the targets from those of the sources.

        Parameters
        ----------
        x : Tensor, shape (n_sources, n_inputs)
            Values of the sources.
        targets : Tensor, shape (n_targets, n_inputs)
            Values of the targets themselves.
        operator : Operator
            From sources to targets.

        Returns
        -------
        Tensor, shape (n_targets, n_outputs)
        """
        if self.convolution is None:
            return self.root(targets)  # type: ignore[misc]
        if self.kind == "sage":
            return self.convolution((x, targets), operator.matrix)
        if self.kind == "gat":
            size = (operator.n_sources, operator.n_targets)
            return self.convolution((x, targets), operator.edges, size=size) + self.root(targets)  # type: ignore[misc]
        if self.kind == "gin":
            return self.convolution((x, targets), operator.matrix) + self.root(targets)  # type: ignore[misc]
        return self.convolution(x, operator.matrix) + self.root(targets)  # type: ignore[misc]


class GraphNetwork(torch.nn.Module):
    """Layers with rectifiers between them, and a linear map to the outputs that starts at zero.

    Parameters
    ----------
    kind : {"sign", "sage", "gcn", "gat", "gin"}
        Encoder.
    n_inputs, hidden, n_layers, n_outputs : int
        Sizes.
    heads : int
        Attention heads, a divisor of ``hidden`` for "gat".
    dropout : float
        Share of the hidden values set to zero in training.
    """

    def __init__(
        self, kind: str, n_inputs: int, hidden: int, n_layers: int, n_outputs: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        widths = [n_inputs, *[hidden] * n_layers]
        self.layers = torch.nn.ModuleList(
            GraphLayer(kind, inputs, outputs, heads) for inputs, outputs in pairwise(widths)
        )
        self.head = torch.nn.Linear(widths[-1], n_outputs)
        self.dropout = dropout

    def forward(self, x: Any, operators: Operator | Sequence[Operator], generator: Any = None) -> Any:
        """Outputs of the targets of the last operator.

        Parameters
        ----------
        x : Tensor, shape (n_sources, n_inputs)
            Values of the sources of the first operator.
        operators : Operator or sequence of Operator, length n_layers
            One for all layers, or one each, whose targets are the first sources of the next.
        generator : torch.Generator, optional
            On the CPU, for dropout; without it nothing is dropped.

        Returns
        -------
        Tensor, shape (n_targets, n_outputs)
        """
        steps = [operators] * len(self.layers) if isinstance(operators, Operator) else operators
        for layer, operator in zip(self.layers, steps, strict=True):
            x = torch.relu(layer(x, x[: operator.n_targets], operator))
            if generator is not None and self.dropout > 0:
                kept = torch.rand(x.shape, generator=generator, device="cpu") >= self.dropout
                x = x * kept.to(x.device) / (1 - self.dropout)
        return self.head(x)


def make_network(
    kind: str,
    n_inputs: int,
    hidden: int,
    n_layers: int,
    n_outputs: int,
    heads: int,
    dropout: float,
    generator: Any,
    sum_scale: float = 1.0,
) -> GraphNetwork:
    """A network on the CPU with weights from a generator of its own: torch's global state is neither read nor moved.

    Weights are uniform on ±1/√(inputs), biases zero, and so is the map to the outputs.

    Parameters
    ----------
    kind, n_inputs, hidden, n_layers, n_outputs, heads, dropout
        As for :class:`GraphNetwork`.
    generator : torch.Generator
        On the CPU.
    sum_scale : float, default=1.0
        Size of h + Ah beside that of h, by which the maps of "gin" that read it start smaller: otherwise sums over
        many neighbours drown the node's own values.

    Returns
    -------
    GraphNetwork
    """
    with torch.device("meta"):
        network = GraphNetwork(kind, n_inputs, hidden, n_layers, n_outputs, heads, dropout)
    network = network.to_empty(device="cpu")
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.ndim < 2 or name.startswith("head."):
                value.zero_()
            else:
                bound = 1 / math.sqrt(value.shape[-1])
                bound /= sum_scale if name.endswith("convolution.nn.0.weight") else 1.0
                value.uniform_(-bound, bound, generator=generator)
        for epsilon in network.buffers():
            epsilon.zero_()  # that of GIN
    return network
