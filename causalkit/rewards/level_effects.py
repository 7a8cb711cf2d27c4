"""Effects of the levels of fixed effects: values, standard errors, and residuals that leave the row itself out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from causalkit.rewards.fixed_effects import WithinFit
from causalkit.rewards.orthogonal import times

__all__ = ["LevelEffects", "leave_one_out_residuals", "level_effects"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LevelEffects:
    """Effects of all levels, one entry per factor in each list.

    Attributes
    ----------
    effects : list of ndarray, shape (G,)
        α̂, on the scale of the outcome at features of zero; NaN for a level without rows.
    standard_errors : list of ndarray, shape (G,), or None
        Of α̂ at the mean features; None for crossed factors, where they have no closed form in level space.
    weights : list of ndarray, shape (G,)
        Total weight n_g of each level.
    counts : list of ndarray of int, shape (G,)
        Rows per level.
    connected_sets : list of ndarray of int, shape (G,)
        Effects are comparable within a set only.
    means : ndarray, shape (G, p + q), or None
        Level means of the features and the numeric confounders, one factor only.
    """

    effects: list[Array]
    standard_errors: list[Array] | None
    weights: list[Array]
    counts: list[NDArray[np.intp]]
    connected_sets: list[NDArray[np.intp]]
    means: Array | None = field(repr=False)


def level_effects(
    fit: WithinFit, X: NDArray[np.floating], y: Array, W: Array | None = None, *, covariance: Array | None = None
) -> LevelEffects:
    r"""Effects of the levels at the within coefficients, with standard errors for one factor.

    One factor: :math:`\hat\alpha_g = \bar Y_g - \bar X_g'\hat\theta - \bar W_g'\hat\gamma`. Its error has two parts
    that are uncorrelated under equal variances, :math:`\hat\sigma^2(1/n_g + \bar W_g'(\tilde W'\tilde W)^{-1}\bar W_g)
    + m_g'Vm_g`, with :math:`m_g` the centred :math:`\bar X_g` less its fit by the numeric columns. Several factors:
    the solution of least norm, within each connected set for two.

    Parameters
    ----------
    fit : WithinFit
    X, y, W
        What :func:`within_fit` got.
    covariance : ndarray, shape (p, p), optional
        V of θ̂; default HC1.

    Returns
    -------
    LevelEffects

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards.absorption import absorb
    >>> from causalkit.rewards.fixed_effects import within_fit
    >>> from causalkit.rewards.level_effects import level_effects
    >>> from causalkit.rewards.records import Factor
    >>> month = Factor("month", np.array([0] * 5 + [1] * 5), np.array([1, 2]))
    >>> X = np.array([1.0, 0, 0, 0, 0, 1, 1, 1, 1, 0])[:, None]
    >>> y = X[:, 0] + 3.0 * month.codes
    >>> level_effects(within_fit(X, y, None, absorb([month])), X, y).effects[0].round(12).tolist()
    [0.0, 3.0]
    """
    absorption = fit.absorption
    target = y - times(X, fit.coef)
    if W is not None and W.shape[1]:
        target = target - W @ fit.gamma
    effects = absorption.level_effects(target)
    errors = means = None
    if len(absorption.codes) == 1:
        means = absorption.level_means(X)
        numeric = np.zeros((len(means), 0)) if W is None else absorption.level_means(W)
        V = fit.covariance() if covariance is None else covariance
        errors = [_level_errors(fit, means, numeric, V)]
        means = np.hstack([means, numeric])
    return LevelEffects(
        effects,
        errors,
        list(absorption.level_weights),
        list(absorption.level_counts),
        list(absorption.connected_sets),
        means,
    )


def _level_errors(fit: WithinFit, features: Array, numeric: Array, covariance: Array) -> Array:
    weight = fit.absorption.level_weights[0]
    centred, numeric = (a - _grand_mean(a, weight) for a in (features, numeric))
    net = centred - numeric @ fit.numeric.feature_slopes
    squared = np.divide(1.0, weight, out=np.full(len(weight), np.nan), where=weight > 0)
    squared += np.einsum("ij,jk,ik->i", numeric, fit.numeric.inverse, numeric)
    # A product by BLAS: einsum over three matrices would take G·p² steps one by one.
    return np.sqrt(fit.sigma2 * squared + np.einsum("ij,ij->i", net @ covariance, net))


def _grand_mean(means: Array, weight: Array) -> Array:
    seen = weight > 0
    return np.asarray(weight[seen] @ means[seen] / weight[seen].sum())


def leave_one_out_residuals(fit: WithinFit) -> Array:
    r"""Residuals whose level mean leaves the row itself out, :math:`\hat e_i/(1 - w_i/n_g)`; shape (n,).

    θ̂ is not refitted. Rows that are not informative keep their zero.

    Raises
    ------
    ValueError
        Several factors: no closed form by level means.
    """
    absorption = fit.absorption
    if len(absorption.codes) > 1:
        raise ValueError(
            f"leave_one_out needs one categorical confounder, got {len(absorption.codes)}: "
            f"{', '.join(absorption.names)}. Pass their interaction as one factor, or choose one."
        )
    own = np.ones(absorption.n_rows) if absorption.weight is None else absorption.weight
    rest = 1.0 - own / np.where(absorption.level_weights[0] > 0, absorption.level_weights[0], 1.0)[absorption.codes[0]]
    return np.divide(fit.residuals, rest, out=np.zeros(absorption.n_rows), where=absorption.informative_rows)
