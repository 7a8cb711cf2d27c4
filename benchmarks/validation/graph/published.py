"""The published recipe of a graph R-learner, as a benchmark only: what its numbers are made of.

Graph convolutions of 32 units, two folds, 150 full-batch steps for the nuisances and 200 for the effect at a rate
of 1e-3, no validation rows, propensities as they come, a linear effect without a constant, and an effect that is
fitted and scored on the same nodes (Sairam, Girdhar & Soni 2025, arXiv:2511.13018). None of this is in the library.
The linear arm is a regression of outcome residuals on treatment residual times X; its constant is a constant of the
outcome residuals, which the recipe adds to the effect all the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ARMS", "published_recipe", "trained_output"]

Array = NDArray[np.float64]

ARMS = ("mlp_linear", "gcn_linear", "mlp_gcn", "t_gcn", "gcn_gcn")
_HIDDEN, _NUISANCE_STEPS, _FINAL_STEPS, _RATE = 32, 150, 200, 1e-3


def published_recipe(sample: Any, seed: int) -> dict[str, Array]:
    """Effects of all nodes by every arm of the ablation.

    Parameters
    ----------
    sample : GraphSample
        Nodes with covariates, outcome, treatment and adjacency.
    seed : int
        Of the folds and of the weights.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        Names as in ``ARMS``; "gcn_linear_intercept" is the linear arm with a constant effect added.
    """
    import torch

    torch.manual_seed(seed)
    X = torch.as_tensor(sample.X, dtype=torch.float32)
    y = torch.as_tensor(sample.y, dtype=torch.float32)
    t = torch.as_tensor(sample.treatment, dtype=torch.float32)
    edges = torch.as_tensor(np.stack(sample.adjacency.nonzero()), dtype=torch.long)
    order = np.random.default_rng(seed).permutation(len(sample.y))
    folds = (order[: len(order) // 2], order[len(order) // 2 :])
    found: dict[str, Array] = {}
    for kind in ("mlp", "gcn"):
        outcome, left = _residuals(kind, X, y, t, edges, folds)
        a, b = outcome.numpy().astype(float), left.numpy().astype(float)
        wide = np.column_stack([np.ones(len(a)), sample.X])
        found[f"{kind}_linear"] = wide @ _least_squares(np.column_stack([np.ones(len(a)), b[:, None] * sample.X]), a)
        found[f"{kind}_linear_intercept"] = wide @ _least_squares(b[:, None] * wide, a)
        found[f"{kind}_gcn"] = trained_output(
            X, edges, lambda out, a=outcome, b=left: ((a - b * out) ** 2).mean(), _FINAL_STEPS
        )
    found["t_gcn"] = _flipped(X, y, t, edges)
    return found


def _least_squares(design: Array, target: Array) -> Array:
    return np.asarray(np.linalg.lstsq(design, target, rcond=None)[0])


def _network(kind: str, width: int) -> Any:
    import torch
    from torch_geometric.nn import GCNConv

    if kind == "mlp":
        return torch.nn.ModuleList([torch.nn.Linear(width, _HIDDEN), torch.nn.Linear(_HIDDEN, 1)])
    return torch.nn.ModuleList([GCNConv(width, _HIDDEN), GCNConv(_HIDDEN, 1)])


def _forward(net: Any, X: Any, edges: Any) -> Any:
    import torch

    first, second = net
    if isinstance(first, torch.nn.Linear):
        return second(torch.relu(first(X)))[:, 0]
    return second(torch.relu(first(X, edges)), edges)[:, 0]


def _train(net: Any, X: Any, edges: Any, loss: Any, steps: int) -> None:
    import torch

    optimiser = torch.optim.Adam(net.parameters(), lr=_RATE)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(_forward(net, X, edges)).backward()
        optimiser.step()


def _output(net: Any, X: Any, edges: Any) -> Array:
    import torch

    with torch.no_grad():
        return np.asarray(_forward(net, X, edges).numpy(), dtype=np.float64)


def trained_output(X: Any, edges: Any, loss: Any, steps: int) -> Array:
    """Output of a two-layer convolution at all nodes after some steps on a loss of its output."""
    net = _network("gcn", X.shape[1])
    _train(net, X, edges, loss, steps)
    return _output(net, X, edges)


def _residuals(kind: str, X: Any, y: Any, t: Any, edges: Any, folds: Any) -> tuple[Any, Any]:
    """Residuals of outcome and treatment, each half by networks trained on the loss of the other half."""
    import torch

    outcome, left = torch.empty_like(y), torch.empty_like(t)
    for train, test in (folds, folds[::-1]):
        net = _network(kind, X.shape[1])
        _train(net, X, edges, lambda out, r=train: ((out[r] - y[r]) ** 2).mean(), _NUISANCE_STEPS)
        outcome[test] = (y - torch.as_tensor(_output(net, X, edges), dtype=y.dtype))[test]
        net = _network(kind, X.shape[1])
        _train(
            net,
            X,
            edges,
            lambda out, r=train: torch.nn.functional.binary_cross_entropy_with_logits(out[r], t[r]),
            _NUISANCE_STEPS,
        )
        left[test] = (t - torch.sigmoid(torch.as_tensor(_output(net, X, edges), dtype=t.dtype)))[test]
    return outcome, left


def _flipped(X: Any, y: Any, t: Any, edges: Any) -> Array:
    """What is called a T-learner there: one network of covariates and treatment, and all treatments flipped at once."""
    import torch

    net = _network("gcn", X.shape[1] + 1)
    _train(net, torch.column_stack([X, t]), edges, lambda out: ((out - y) ** 2).mean(), _FINAL_STEPS)
    one, zero = (torch.column_stack([X, torch.full_like(t, value)]) for value in (1.0, 0.0))
    return _output(net, one, edges) - _output(net, zero, edges)
