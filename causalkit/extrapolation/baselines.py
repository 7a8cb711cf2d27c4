"""Curves to compare with: regressions of the outcome on the actions, which know nothing of features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import KFold

from causalkit.exceptions import MissingDependencyError

__all__ = ["BASELINES", "crossfit_regression", "fitted_baseline", "make_baseline"]

Array = NDArray[np.float64]

BASELINES = ("linear", "flexible", "network", "engression")


def make_baseline(name: str, n_actions: int, seed: int) -> Any:
    """An unfitted regression of y on A.

    Parameters
    ----------
    name : {"linear", "flexible", "network", "engression"}
        Least squares; splines for one action, boosted trees for more; a network; engression, where it is installed.
    n_actions : int
        k.
    seed : int
        Key of draws.

    Returns
    -------
    estimator or None
        None where a package is missing.
    """
    from sklearn.linear_model import LinearRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import SplineTransformer, StandardScaler

    if name == "linear":
        return LinearRegression()
    if name == "flexible" and n_actions == 1:
        return make_pipeline(
            StandardScaler(), SplineTransformer(8, extrapolation="linear"), RidgeCV(np.logspace(-4, 2, 7))
        )
    if name == "flexible":
        from sklearn.ensemble import HistGradientBoostingRegressor

        return HistGradientBoostingRegressor(
            learning_rate=0.05, max_leaf_nodes=8, early_stopping=True, random_state=seed
        )
    if name == "network":
        return _Network(seed)
    try:
        import engression  # noqa: F401
    except ImportError:
        return None
    return _Engression(seed)


def fitted_baseline(name: str, actions: Array, y: Array, seed: int, *, required: bool) -> Any:
    """A baseline fitted on all rows; None where its package is missing, which is an error if it was ``required``."""
    model = make_baseline(name, actions.shape[1], seed)
    if model is not None:
        return model.fit(actions, y)
    if required:
        raise MissingDependencyError(f"the baseline {name!r} needs {name}, which is not installed: pip install {name}.")
    return None


class _Network:
    """Perceptrons of two layers of 64, averaged over three starts."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, actions: Array, y: Array) -> _Network:
        from causalkit.nn import fit_stacked_mlp

        self.center_, self.scale_ = actions.mean(axis=0), actions.std(axis=0)
        standard = (actions - self.center_) / self.scale_
        self.model_ = fit_stacked_mlp(standard, y, max_epochs=200, patience=20, batch_size=512, seed=self.seed)
        return self

    def predict(self, actions: Array) -> Array:
        return self.model_.predict((actions - self.center_) / self.scale_)[:, 0]

    def __sklearn_clone__(self) -> _Network:
        return _Network(self.seed)


class _Engression:
    """engression with its defaults and its mean prediction."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, actions: Array, y: Array) -> _Engression:
        import engression
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.model_ = engression.engression(
                torch.as_tensor(actions, dtype=torch.float32),
                torch.as_tensor(y[:, None], dtype=torch.float32),
                device="cpu",
                verbose=False,
            )
        return self

    def predict(self, actions: Array) -> Array:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            found = self.model_.predict(torch.as_tensor(actions, dtype=torch.float32), target="mean")
        return np.asarray(found, dtype=np.float64).reshape(len(actions))

    def __sklearn_clone__(self) -> _Engression:
        return _Engression(self.seed)


def crossfit_regression(actions: Array, y: Array, *, n_splits: int = 5, seed: int = 0) -> Array:
    """Out-of-fold mean of y given A by the flexible baseline, shape (n,)."""
    model = make_baseline("flexible", actions.shape[1], seed)
    found = np.empty(len(y))
    for train, test in KFold(n_splits, shuffle=True, random_state=seed % (2**31)).split(actions):
        found[test] = clone(model).fit(actions[train], y[train]).predict(actions[test])
    return found
