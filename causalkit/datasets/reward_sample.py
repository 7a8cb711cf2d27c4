"""What the simulated logs of published content return, and what they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LOADINGS", "THETA", "RewardSample", "levels", "linear_limits", "reward_sample"]

Array = NDArray[np.float64]

THETA = np.array([1.0, 0.5, -0.75, 0.0])
LOADINGS = np.array([0.8, -0.6, 0.0, 0.0])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RewardSample:
    r"""A simulated log, :math:`Y = f(X) + g(C) + \varepsilon`, and its truth.

    Attributes
    ----------
    X : ndarray, shape (n, p)
        Features of the content.
    y : ndarray, shape (n,)
        Outcome, ``reward + confounder_effect`` plus noise.
    confounders : DataFrame, n rows
        What else moved the outcome.
    instruments : DataFrame or None, n rows
        Variables that move the outcome only through a confounder.
    prompts : ndarray, shape (n,), or None
        Question that a row answers.
    theta : ndarray, shape (p,)
        Coefficients of the true reward, :math:`f(X) = \theta'X`.
    reward : ndarray, shape (n,)
        :math:`f(X) + E\,g(C)`, the expected outcome of this content at average confounders.
    confounder_effect : ndarray, shape (n,)
        :math:`g(C) - E\,g(C)`.
    population : mapping of str to ndarray
        What estimators converge to, shape (p,), by the name of the method; and what else is known of the design.
    """

    X: Array
    y: Array
    confounders: pd.DataFrame
    theta: Array
    reward: Array
    confounder_effect: Array
    population: Mapping[str, Array]
    instruments: pd.DataFrame | None = None
    prompts: NDArray[np.int64] | None = None

    @property
    def adjusted_reward(self) -> Array:
        r"""The adjusted reward itself, :math:`R^* = Y - g(C) + E\,g(C)`, shape (n,)."""
        return np.asarray(self.y - self.confounder_effect)

    def __repr__(self) -> str:
        names = ", ".join(map(str, self.confounders.columns))
        return f"RewardSample(n={len(self.y)}, n_features={self.X.shape[1]}, confounders=[{names}])"


def linear_limits(gamma: float) -> dict[str, Array]:
    r"""What methods converge to in :math:`X = bC + U`, :math:`Y = \theta'X + \gamma C + \varepsilon`, by name."""
    covariance = np.outer(LOADINGS, LOADINGS) + np.eye(4)
    return {
        "none": THETA + gamma * np.linalg.solve(covariance, LOADINGS),
        "outcome_only": np.linalg.solve(covariance, THETA),
        "invariance": THETA - LOADINGS * (LOADINGS @ THETA) / (LOADINGS @ LOADINGS),
        "linear_control": THETA,
        "partially_linear": THETA,
    }


def levels(codes: NDArray[np.integer], names: Sequence[int | str]) -> Any:
    """Categorical column of the named levels, in their order."""
    import pandas as pd

    return pd.Categorical.from_codes(codes, categories=pd.Index(list(names)))


def reward_sample(
    X: Array,
    theta: Array,
    effect: Array,
    noise: Array,
    confounders: dict[str, Any],
    population: dict[str, Array],
    *,
    level: float = 0.0,
    instruments: pd.DataFrame | None = None,
    prompts: NDArray[np.int64] | None = None,
) -> RewardSample:
    """Put a record together; ``effect`` is centred in the population, at ``level``."""
    import pandas as pd

    reward = X @ theta + level
    return RewardSample(
        X=X,
        y=reward + effect + noise,
        confounders=pd.DataFrame(confounders),
        instruments=instruments,
        prompts=prompts,
        theta=theta.copy(),
        reward=reward,
        confounder_effect=effect,
        population={name: np.array(value) for name, value in population.items()},
    )
