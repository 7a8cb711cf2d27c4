r"""Several residuals in one loss: own treatment, exposures, and products of both.

.. math:: Y = g_0(X) + \tau(X)T + \delta(X)'G + \theta(X)'TG + \varepsilon, \qquad
          R = (T - e,\; G - \gamma,\; TG - e\gamma), \qquad \beta = (\tau, \delta, \theta).

Columns are ordered own treatment, the J exposures, then (with interaction) the J products, q in all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import IdentificationError
from causalkit.linear import LinearFit, weighted_least_squares

__all__ = [
    "ScoreAverage",
    "average_scores",
    "constant_effects",
    "effect_weights",
    "floored_variance",
    "orthogonal_scores",
    "require_variation",
    "residual_columns",
    "residual_variance",
]

Array = NDArray[np.float64]

# Shares of a column's variance that count as nothing: below the first the column is known, below the second it is a
# combination of the others.
_KNOWN_SHARE = 1e-6
_COLLINEAR_SHARE = 1e-8
# Eigenvalues of a correlation matrix below this are directions in which a node's residuals do not vary.
_NO_VARIATION = 1e-8
_SMALLEST_SHARE = 0.01


@dataclass(frozen=True, eq=False)
class ScoreAverage:
    """An average of per-node effects.

    Attributes
    ----------
    estimate : float
        The average.
    influence : ndarray, shape (n,)
        Influence values, centred, on the scale of a mean.
    """

    estimate: float
    influence: Array


def residual_columns(
    treatment: Array, propensity: Array, values: Array, mean: Array, *, interaction: bool = False
) -> Array:
    """R of every row.

    Parameters
    ----------
    treatment, propensity : ndarray, shape (n,)
        T and e.
    values, mean : ndarray, shape (n, J)
        Exposures G and their means γ given covariates.
    interaction : bool, default=False
        Whether the products TG belong to the model.

    Returns
    -------
    ndarray, shape (n, 1 + J) or (n, 1 + 2J)
    """
    columns = [(treatment - propensity)[:, None], values - mean]
    if interaction:
        columns.append(treatment[:, None] * values - propensity[:, None] * mean)
    return np.hstack(columns)


def residual_variance(propensity: Array, mean: Array, covariance: Array, *, interaction: bool = False) -> Array:
    r"""V = E[RR' | X], with T independent of the exposures given X.

    With :math:`v = e(1 - e)` and Σ the covariance of the exposures: Var T̃ = v, Cov(T̃, G̃) = 0, Cov(G̃, G̃') = Σ,
    and for the products :math:`I_k = TG_k - e\gamma_k`

    .. math:: Cov(\tilde T, I_k) = v\gamma_k, \quad Cov(\tilde G_k, I_l) = e\Sigma_{kl}, \quad
              Cov(I_k, I_l) = e\Sigma_{kl} + v\gamma_k\gamma_l .

    Parameters
    ----------
    propensity : ndarray, shape (n,)
        e.
    mean : ndarray, shape (n, J)
        γ.
    covariance : ndarray, shape (n, J, J)
        Σ.
    interaction : bool, default=False
        Whether R holds the products.

    Returns
    -------
    ndarray, shape (n, q, q)
    """
    n, count = mean.shape
    size = 1 + count * (2 if interaction else 1)
    out = np.zeros((n, size, size))
    v = propensity * (1.0 - propensity)
    out[:, 0, 0] = v
    exposures = slice(1, 1 + count)
    out[:, exposures, exposures] = covariance
    if interaction:
        products = slice(1 + count, size)
        out[:, 0, products] = out[:, products, 0] = v[:, None] * mean
        shared = propensity[:, None, None] * covariance
        out[:, exposures, products] = out[:, products, exposures] = shared
        out[:, products, products] = shared + v[:, None, None] * mean[:, :, None] * mean[:, None, :]
    return out


def floored_variance(
    propensity: Array, mean: Array, covariance: Array, unit: Array, *, score_clip: float, interaction: bool = False
) -> Array:
    r"""V with floors, for the denominators of scores.

    The floor of a treatment's variance is :math:`c(1 - c)`, c = ``score_clip``; that of an exposure is the same per
    unit of treatment variance, :math:`c(1 - c)\sum_j E_{ij}^2`, so that it does not depend on the scale of the
    exposure (a share of ten neighbours has a tenth of the variance of one). Exposures without a unit are floored at 1 %
    of their average variance. Own treatment is floored through e clipped to [c, 1 - c]. The result is the covariance of
    residuals under a distribution that exists (those e, and exposures with a little independent noise), so it is
    positive semidefinite, and definite where the exposures' covariance is; diagonals of a finished V are not touched.

    Parameters
    ----------
    propensity, mean, covariance, interaction
        As in :func:`residual_variance`.
    unit : ndarray, shape (n, J)
        Variance of an exposure per unit of treatment variance; NaN where there is none.
    score_clip : float
        c, in [0, .5).

    Returns
    -------
    ndarray, shape (n, q, q)
    """
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    average = variance.mean(axis=0)
    floor = np.where(np.isnan(unit), _SMALLEST_SHARE * average, score_clip * (1.0 - score_clip) * unit)
    # A node that no treatment can reach stays without variance: its residual is 0 and moves nothing.
    lift = np.where((unit > 0) | np.isnan(unit), np.maximum(floor - variance, 0.0), 0.0)
    raised = covariance.copy()
    index = np.arange(mean.shape[1])
    raised[:, index, index] += lift
    clipped = np.clip(propensity, score_clip, 1.0 - score_clip)
    return residual_variance(clipped, mean, raised, interaction=interaction)


def require_variation(moment: Array, names: tuple[str, ...], scale: Array) -> None:
    """Refuse residuals of which one has no variation of its own.

    Parameters
    ----------
    moment : ndarray, shape (q, q)
        Average of RR', or of V.
    names : tuple of str, length q
        What the columns are.
    scale : ndarray, shape (q,)
        Variance of what each column is the residual of; with 0 (a constant) the column is refused.

    Raises
    ------
    IdentificationError
        Naming the column, its residual variance, and what to do.
    """
    for k, name in enumerate(names):
        own = float(moment[k, k])
        if not own > _KNOWN_SHARE * scale[k]:
            raise IdentificationError(
                f"{name} has no variation of its own: its residual variance given covariates and graph is {own:.3g}, "
                f"of {scale[k]:.3g} before. {_remedy(k, constant=not scale[k] > 0)}"
            )
    size = np.sqrt(np.diag(moment))
    correlation = moment / np.outer(size, size)
    for k, name in enumerate(names):
        others = np.delete(np.arange(len(names)), k)
        cross = correlation[others, k]
        share = 1.0 - float(cross @ np.linalg.lstsq(correlation[np.ix_(others, others)], cross, rcond=None)[0])
        if not share > _COLLINEAR_SHARE:
            raise IdentificationError(
                f"{name} is a combination of {', '.join(names[j] for j in others)}: its residual variance is "
                f"{moment[k, k]:.3g}, and {max(share, 0.0) * moment[k, k]:.3g} of it is left given theirs. Use one of "
                "them, or another exposure."
            )


def _remedy(column: int, *, constant: bool) -> str:
    if column == 0:
        return "The treatment is determined by the features: drop those that follow from it."
    if constant:
        return (
            "The exposure is the same for every node (no edges into the rows, or a threshold that nobody or everybody "
            "reaches): use another exposure, or GraphRLearner for the direct effect alone."
        )
    return "The exposure is determined by covariates and graph: use another exposure, or drop features that encode it."


def constant_effects(R: Array, outcome_residual: Array, weight: Array | None = None) -> LinearFit:
    r"""Least squares of Ỹ on R, :math:`\hat\beta = (\sum RR')^{-1}\sum R\tilde Y`.

    Parameters
    ----------
    R : ndarray, shape (n, q)
        Residuals.
    outcome_residual : ndarray, shape (n,)
        Ỹ.
    weight : ndarray, shape (n,), optional
        Weights.

    Returns
    -------
    LinearFit
        ``influence`` is :math:`J^{-1}R_i(\tilde Y_i - R_i'\hat\beta)`, :math:`J = n^{-1}\sum RR'`.
    """
    return weighted_least_squares(R, outcome_residual, weight)


def orthogonal_scores(beta: Array, R: Array, outcome_residual: Array, variance: Array) -> Array:
    r"""Scores :math:`\Gamma_i = \beta_i + V_i^{-1}R_i(\tilde Y_i - R_i'\beta_i)`.

    Their average is that of β, and errors of β and of the nuisances enter only in products. In directions in which a
    node's residuals do not vary (two exposures that are proportional at it, no neighbours) the score is β itself.

    Parameters
    ----------
    beta : ndarray, shape (n, q)
        Effects at each row, out-of-fold.
    R : ndarray, shape (n, q)
        Residuals.
    outcome_residual : ndarray, shape (n,)
        Ỹ.
    variance : ndarray, shape (n, q, q)
        V, symmetric and positive semidefinite.

    Returns
    -------
    ndarray, shape (n, q)

    References
    ----------
    Chernozhukov et al. 2018, The Econometrics Journal 21 (orthogonal scores); this form, with several residuals, is
    the efficient score of the partially linear model with a known V and homoskedastic noise.
    """
    left = outcome_residual - np.einsum("ij,ij->i", R, beta)
    size = np.sqrt(np.diagonal(variance, axis1=1, axis2=2))
    size = np.where(size > 0, size, 1.0)
    # Correlations, so that one limit serves exposures of any scale.
    values, vectors = np.linalg.eigh(variance / (size[:, :, None] * size[:, None, :]))
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=values > _NO_VARIATION)
    rotated = np.einsum("nqk,nq->nk", vectors, R / size) * inverse
    return beta + np.einsum("nqk,nk->nq", vectors, rotated) / size * left[:, None]


def effect_weights(effect: str, at: Array | None, full: Array, none: Array, *, interaction: bool = False) -> Array:
    r"""Vectors a with effect = a'β: direct, spillover of one exposure, total.

    - direct at exposure g: :math:`\tau + \theta'g`;
    - spillover at own treatment t, per unit of the exposure: :math:`\delta_k + t\theta_k`;
    - total, everybody treated against nobody: :math:`\tau + \delta'(g_1 - g_0) + \theta'g_1`.

    Parameters
    ----------
    effect : {"direct", "spillover0", "spillover1", ..., "total"}
        The number is that of the exposure.
    at : ndarray, shape (n, J) or (n,), or None
        g for "direct", t for a spillover; unused without interaction.
    full, none : ndarray, shape (n, J)
        Exposure with everybody and with nobody treated.
    interaction : bool, default=False
        Whether β holds θ.

    Returns
    -------
    ndarray, shape (n, q)
    """
    n, count = full.shape
    out = np.zeros((n, 1 + count * (2 if interaction else 1)))
    if effect.startswith("spillover"):
        k = int(effect.removeprefix("spillover"))
        out[:, 1 + k] = 1.0
        if interaction:
            out[:, 1 + count + k] = at
        return out
    out[:, 0] = 1.0
    if effect == "total":
        out[:, 1 : 1 + count] = full - none
    if interaction:
        out[:, 1 + count :] = full if effect == "total" else at
    return out


def average_scores(
    scores: Array,
    beta: Array,
    weights: Array,
    treatment: Array,
    propensity: Array,
    *,
    target: str = "all",
    sample_weight: Array | None = None,
    include: Array | None = None,
) -> ScoreAverage:
    r"""Average of a'β over nodes, the treated, the untreated, or with overlap weights.

    With s = a'Γ and b = a'β: mean of s; treated :math:`\sum(es + (T - e)b)/\sum T`; control
    :math:`\sum((1 - e)s - (T - e)b)/\sum(1 - T)`; overlap, with v = e(1 - e),
    :math:`\sum\{vs + ((T - e)^2 - v)b\}/\sum(T - e)^2`, whose weights carry the correction for an estimated e. For the
    treatment alone these are the usual doubly robust averages; the last is :math:`\sum\tilde T\tilde Y/\sum\tilde T^2`.

    Parameters
    ----------
    scores, beta, weights : ndarray, shape (n, q)
        Γ, β and a.
    treatment, propensity : ndarray, shape (n,)
        T and e.
    target : {"all", "treated", "control", "overlap"}, default="all"
        Whom to average over.
    sample_weight : ndarray, shape (n,), optional
        Weights.
    include : ndarray of bool, shape (n,), optional
        Nodes that count.

    Returns
    -------
    ScoreAverage
    """
    s, b = np.einsum("ij,ij->i", weights, scores), np.einsum("ij,ij->i", weights, beta)
    v = propensity * (1.0 - propensity)
    part, share = {
        "all": (s, np.ones(len(s))),
        "treated": (propensity * s + (treatment - propensity) * b, treatment),
        "control": ((1.0 - propensity) * s - (treatment - propensity) * b, 1.0 - treatment),
        "overlap": (v * s + ((treatment - propensity) ** 2 - v) * b, (treatment - propensity) ** 2),
    }[target]
    w = np.ones(len(s)) if sample_weight is None else sample_weight
    w = w if include is None else np.where(include, w, 0.0)
    mass = float((w * share).mean())
    estimate = float((w * part).mean()) / mass
    return ScoreAverage(estimate, w * (part - estimate * share) / mass)
