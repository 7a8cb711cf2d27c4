"""What the numeric parts of the rewards family hand to one another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from causalkit.rewards.confounders import Confounders
    from causalkit.rewards.effects import ConfounderEffect
    from causalkit.rewards.fixed_effects import WithinFit
    from causalkit.rewards.orthogonal import OrthogonalFit
    from causalkit.validation import Groups

__all__ = ["BASELINES", "EXTRA_ATTRIBUTES", "Factor", "LoggedRows", "RewardParts"]

# Methods that are known to be wrong, kept to show by how much.
BASELINES = ("outcome_only", "linear_control", "invariance", "lowess", "none")

# Attributes of the estimator that some methods set (`RewardParts.extras`), and a fit by another one removes.
EXTRA_ATTRIBUTES = (
    "outcome_model_",
    "treatment_model_",
    "final_model_",
    "n_rounds_",
    "repeat_sd_",
    "level_effects_",
    "variance_components_",
    "weights_",
    "balance_",
    "first_stage_",
    "anderson_rubin_",
)

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Factor:
    """A categorical confounder, coded.

    Attributes
    ----------
    name : str
        Column name; names of an interaction are joined with ":".
    codes : ndarray of int, shape (n,)
        Level of each row, numbered from 0.
    levels : ndarray, shape (G,)
        Labels of the levels, in the order of the codes; tuples for an interaction.
    """

    name: str
    codes: NDArray[np.intp]
    levels: NDArray[Any]

    @property
    def n_levels(self) -> int:
        """Number of levels, G."""
        return len(self.levels)


@dataclass(frozen=True, eq=False)
class LoggedRows:
    """Checked rows of a log.

    Attributes
    ----------
    X : ndarray, shape (n, p)
        Features, float32 or float64.
    y : ndarray, shape (n,)
        Outcomes.
    confounders : Confounders or None
        Coded confounders.
    weight : ndarray, shape (n,), or None
        Weights of mean 1.
    groups : Groups or None
        Clusters.
    names : list of str, length p
        Feature names.
    instruments : ndarray, shape (n, k), or None
        Instruments.
    instrument_names : list of str, length k
        Their names.
    targets : Confounders or None
        Confounders of the population to standardise to.
    feature_mean : ndarray, shape (p,)
        Weighted means of the features.
    feature_moment : ndarray, shape (p, p)
        Σ_X, their weighted covariance with divisor n.
    """

    X: NDArray[np.floating]
    y: Array
    confounders: Confounders | None
    weight: Array | None
    groups: Groups | None
    names: list[str]
    instruments: Array | None
    instrument_names: list[str]
    targets: Confounders | None
    feature_mean: Array
    feature_moment: Array

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.y)

    def mean(self, values: Array) -> Any:
        """Weighted mean over rows."""
        return np.average(values, axis=0, weights=self.weight)


@dataclass(frozen=True, eq=False, kw_only=True)
class RewardParts:
    """What a method returns.

    Attributes
    ----------
    coef : ndarray, shape (p,)
        θ̂.
    adjusted : ndarray, shape (n,)
        Adjusted rewards R̂ on the scale and with the mean of the outcome.
    effect_rows : ndarray, shape (n,)
        ĝ of the rows, centred.
    effect : ConfounderEffect
        ĝ of new rows.
    fits : list of OrthogonalFit
        One per repeat of cross-fitting; empty where ``influence`` is given instead.
    influence : ndarray, shape (n, p), or None
        Influence values of θ̂ where they do not come from ``fits``.
    residuals : ndarray, shape (n,)
        Residuals behind the residual variance.
    residual_variance : float
        σ̂².
    degrees_of_freedom : int
        Behind σ̂².
    informative : ndarray of bool, shape (n,)
        Rows that bear on θ̂.
    second_moment : ndarray, shape (p, p)
        Σ_U, covariance of the features given the confounders.
    within : WithinFit or None
        The regression within levels, whose covariances carry the absorbed degrees of freedom.
    covariance : ndarray, shape (p, p), or None
        Of θ̂, where it was needed on the way.
    intercept : float or None
        Of r̂(x) = intercept + x'θ̂; None where the mean text has the mean outcome.
    n_absorbed : int
        Absorbed rank.
    penalty : float
        λ.
    extras : dict
        Further fitted attributes by name.
    """

    coef: Array
    adjusted: Array
    effect_rows: Array
    effect: ConfounderEffect
    fits: list[OrthogonalFit]
    influence: Array | None = None
    residuals: Array
    residual_variance: float
    degrees_of_freedom: int
    informative: NDArray[np.bool_]
    second_moment: Array
    within: WithinFit | None = None
    covariance: Array | None = None
    intercept: float | None = None
    n_absorbed: int = 0
    penalty: float = 0.0
    extras: dict[str, Any] = field(default_factory=dict)
