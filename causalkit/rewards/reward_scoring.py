"""Scores of encoded texts: rewards less standard errors, the range of training rewards, the training support."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.rewards.orthogonal import quadratic_forms, times
from causalkit.rewards.pairwise import PairwiseRewardModel

__all__ = ["Rewards", "Support", "reward_limits"]

Array = NDArray[np.float64]

_LINEAR = ("coef_", "intercept_", "covariance_", "feature_mean_")


class Rewards:
    """r̂(x) less a number of standard errors. A linear reward keeps its coefficients, another one its model.

    Nothing that belongs to the training rows is kept, so that the reward of a large log is a small object.
    """

    def __init__(self, estimator: Any, conservative: float) -> None:
        self.conservative = conservative
        model = getattr(estimator, "final_model_", estimator)
        self.linear = isinstance(model, PairwiseRewardModel) or all(hasattr(model, name) for name in _LINEAR)
        self.n_features: int | None = getattr(estimator, "n_features_in_", None)
        if self.linear:
            self.coef = np.asarray(model.coef_, dtype=np.float64)
            self.intercept = float(getattr(model, "intercept_", 0.0))
            # A pairwise reward inside a RewardDeconfounder is compared with the mean text of the log.
            self.mean: Any = getattr(estimator, "feature_mean_", None)
            self.covariance: Any = getattr(model, "covariance_", None)
            if conservative > 0 and self.mean is None:
                self._refuse_errors("a pairwise reward has errors for pairs only.")
            return
        self.model, self.names = model, getattr(model, "feature_names_in_", None)
        if conservative > 0 and "return_std" not in inspect.signature(model.predict).parameters:
            self._refuse_errors(f"{type(model).__name__}.predict has no return_std.")

    def _refuse_errors(self, reason: str) -> None:
        raise ValueError(
            f"conservative={self.conservative:g} needs the standard error of each reward, which linear rewards have: "
            f"{reason} Use final_model=None, or conservative=0."
        )

    def __call__(self, features: NDArray[np.floating]) -> Array:
        """Scores of features, shape (n, p)."""
        if not self.linear:
            return self._modelled(features)
        values = self.intercept + times(features, self.coef)
        if self.conservative > 0:
            variance = quadratic_forms(features, self.mean, self.covariance)
            values -= self.conservative * np.sqrt(np.clip(variance, 0.0, None))
        return values

    def _modelled(self, features: NDArray[np.floating]) -> Array:
        X: Any = features
        if self.names is not None:
            import pandas as pd

            X = pd.DataFrame(features, columns=self.names)
        if self.conservative == 0:
            return np.asarray(self.model.predict(X), dtype=np.float64).reshape(-1)
        reward, error = self.model.predict(X, return_std=True)
        return np.asarray(reward - self.conservative * error, dtype=np.float64).reshape(-1)


class Support:
    """Mahalanobis distance to the training mean against its 99.9 % training quantile."""

    def __init__(self, estimator: Any) -> None:
        self.mean = np.asarray(estimator.feature_mean_, dtype=np.float64)
        self.inverse = np.linalg.pinv(estimator.feature_covariance_, hermitian=True)
        self.radius = float(estimator.support_radius_)

    def outside(self, features: NDArray[np.floating]) -> NDArray[np.bool_]:
        square = quadratic_forms(features, self.mean, self.inverse)
        # A training text on the border must not fall out by rounding.
        return np.asarray(square > self.radius**2 * (1 + 1e-9))


def reward_limits(estimator: Any, clip: Any, out_of_support: str) -> tuple[float, float] | None:
    """Rewards at the quantiles of ``clip``; the range of training rewards where only texts out of support are cut."""
    if clip is None and out_of_support != "clip":
        return None
    low, high = _quantiles(clip)
    if not hasattr(estimator, "reward_quantiles_"):
        raise ValueError(
            f"clip needs quantiles of the training rewards, which {type(estimator).__name__} does not have: use a "
            "fitted RewardDeconfounder, or leave clip out."
        )
    grid = np.asarray(estimator.reward_quantiles_, dtype=np.float64)
    values = np.interp([low, high], np.linspace(0, 1, len(grid)), grid)
    return float(values[0]), float(values[1])


def _quantiles(clip: Any) -> tuple[float, float]:
    if clip is None:
        return 0.0, 1.0
    ok = isinstance(clip, tuple | list) and len(clip) == 2 and all(isinstance(q, int | float | np.number) for q in clip)
    if not ok or not 0 <= clip[0] < clip[1] <= 1:
        raise ValueError(f"clip must be two quantiles, 0 <= low < high <= 1, such as (0.01, 0.99); got {clip!r}.")
    return float(clip[0]), float(clip[1])
