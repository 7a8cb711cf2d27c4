"""Small designs and a module from outside, for the tests of the networks."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

QUICK = {"hidden_layer_sizes": (8,), "max_epochs": 5, "batch_size": 32, "random_state": 0}


def linear_design(n=400, seed=0):
    """Confounded linear data, one direction moved by the augmentation with mean G."""
    rng = np.random.default_rng(seed)
    C, G = rng.standard_normal(n), rng.standard_normal((n, 2))
    X = rng.standard_normal((n, 3)) * [1.0, 2.0, 0.5] + C[:, None] * [0.5, 1.0, 0.0] + [3.0, 0.0, -1.0]
    y = X @ [1.0, 0.0, -2.0] + 2 * C + 0.3 * rng.standard_normal(n) + 5
    GX = X + G @ np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.2]]) + 0.5 * rng.standard_normal(n)[:, None] * [0.0, 1.0, 0.0]
    return X, y, GX, G


def shift_second(X, rng):
    G = rng.standard_normal((len(X), 1))
    return X + G * (np.arange(X.shape[1]) == 1), G


class OwnNetwork(torch.nn.Module):
    """A network from outside, with dropout and batch normalisation."""

    def __init__(self, n_features=3, n_outputs=1):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Linear(n_features, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Dropout(0.2)
        )
        self.head = torch.nn.Linear(8, n_outputs)
        self.first_rows = None

    def forward(self, x):
        if self.first_rows is None:
            self.first_rows = x.detach().clone()
        return self.head(self.body(x))
