"""Losses that rank estimated effects on held-out rows, without knowing the true effect."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.validation import check_matrix, check_sample_weight, check_vector

__all__ = ["dr_loss", "dr_loss_terms", "estimated_effect", "r_loss", "r_loss_terms"]

Array = NDArray[np.float64]


def estimated_effect(effect: Any, X: Any = None, *, name: str = "effect", n_rows: int | None = None) -> Array:
    """Effects as a table of one column per treatment level, from values or from a fitted estimator.

    Parameters
    ----------
    effect : array-like, shape (n,) or (n, L), or an estimator
        Effects, or an object with ``const_marginal_effect(X)`` (econml's estimators and those of this library).
        Outcome axes of length one are dropped.
    X : array-like, optional
        Rows to evaluate the estimator at.
    name : str
        Argument name for messages.
    n_rows : int, optional
        Number of rows that is required.

    Returns
    -------
    ndarray, shape (n, L)

    Raises
    ------
    ValueError
        An estimator without ``X``, several outcomes, or effects that are not finite numbers.
    """
    method = getattr(effect, "const_marginal_effect", None)
    if method is None:
        return check_matrix(effect, name, n_rows=n_rows)[0]
    if X is None:
        raise ValueError(f"{name} is an estimator ({type(effect).__name__}), so the rows to score are needed: pass X.")
    values = np.asarray(method(X), dtype=np.float64)
    if values.ndim == 3:  # rows × outcomes × levels
        if values.shape[1] != 1:
            raise ValueError(
                f"{name} has {values.shape[1]} outcomes, expected one: score an estimator of a single outcome, or "
                "pass the effects on one outcome as an array."
            )
        values = values[:, 0]
    return check_matrix(values, name, n_rows=n_rows)[0]


def r_loss_terms(effect: Array, outcome_residual: Array, treatment_residual: Array) -> Array:
    r"""Squared errors :math:`(\tilde Y_i - \sum_l \tilde T_{il}\tau_{il})^2` of each row.

    Parameters
    ----------
    effect, treatment_residual : ndarray, shape (n, L)
        Effects and residuals of each level but the first.
    outcome_residual : ndarray, shape (n,)
        Residuals of the outcome.

    Returns
    -------
    ndarray, shape (n,)
    """
    return np.asarray((outcome_residual - np.einsum("ij,ij->i", treatment_residual, effect)) ** 2)


def dr_loss_terms(effect: Array, scores: Array) -> Array:
    r"""Squared errors :math:`\sum_l (\Gamma_{il} - \tau_{il})^2` of each row.

    Parameters
    ----------
    effect, scores : ndarray, shape (n, L)
        Effects and doubly robust scores of each level but the first.

    Returns
    -------
    ndarray, shape (n,)
    """
    return np.asarray(((scores - effect) ** 2).sum(axis=1))


def r_loss(
    effect: Any, outcome_residual: Any, treatment_residual: Any, *, X: Any = None, sample_weight: Any = None
) -> float:
    r"""R-loss of estimated effects.

    .. math:: L(\tau) = n^{-1}\sum_i \Big(\tilde Y_i - \sum_l \tilde T_{il}\tau_l(x_i)\Big)^2, \qquad
              \tilde Y = Y - m(X),\; \tilde T_l = 1\{T = l\} - e_l(X)

    With the true m and e and a binary treatment, :math:`E[L(\tau)] - E[L(\tau^*)] = E[e(1-e)(\tau - \tau^*)^2]`: the
    order of losses is that of errors, weighted by overlap. Residuals and effects must come from models that were not
    fitted on the rows that are scored.

    Parameters
    ----------
    effect : array-like, shape (n,) or (n, L), or an estimator with ``const_marginal_effect``
        Effects of each level but the first.
    outcome_residual : array-like, shape (n,)
        Ỹ.
    treatment_residual : array-like, shape (n,) or (n, L)
        T̃.
    X : array-like, optional
        Rows for an estimator.
    sample_weight : array-like, shape (n,), optional
        Weights of the rows.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Shapes that do not fit, values that are not finite.

    References
    ----------
    Nie and Wager (2021), doi:10.1093/biomet/asaa076, equation 4.

    Examples
    --------
    >>> from causalkit.selection import r_loss
    >>> r_loss([1.0, 2.0], [0.5, -1.0], [0.5, -0.5])
    0.0
    """
    treatment, _ = check_matrix(treatment_residual, "treatment_residual")
    outcome = check_vector(outcome_residual, "outcome_residual", n_rows=len(treatment))
    values = estimated_effect(effect, X, n_rows=len(treatment))
    _same_levels(values, treatment, "treatment_residual")
    weight = check_sample_weight(sample_weight, len(treatment))
    return float(np.average(r_loss_terms(values, outcome, treatment), weights=weight))


def dr_loss(effect: Any, scores: Any, *, X: Any = None, sample_weight: Any = None) -> float:
    r"""Squared distance of estimated effects from doubly robust scores.

    .. math:: n^{-1}\sum_i \sum_l (\Gamma_{il} - \tau_l(x_i))^2

    With :math:`E[\Gamma|X] = \tau^*` it exceeds its smallest value by :math:`E(\tau - \tau^*)^2`, not weighted by
    overlap; where overlap is thin it is noisier than :func:`r_loss`.

    Parameters
    ----------
    effect : array-like, shape (n,) or (n, L), or an estimator with ``const_marginal_effect``
        Effects of each level but the first.
    scores : array-like, shape (n,) or (n, L)
        Γ.
    X : array-like, optional
        Rows for an estimator.
    sample_weight : array-like, shape (n,), optional
        Weights of the rows.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Shapes that do not fit, values that are not finite.

    References
    ----------
    Kennedy (2023), doi:10.1214/23-EJS2157 (the regression on doubly robust scores).

    Examples
    --------
    >>> from causalkit.selection import dr_loss
    >>> dr_loss([1.0, 2.0], [3.0, 2.0])
    2.0
    """
    target, _ = check_matrix(scores, "scores")
    values = estimated_effect(effect, X, n_rows=len(target))
    _same_levels(values, target, "scores")
    return float(np.average(dr_loss_terms(values, target), weights=check_sample_weight(sample_weight, len(target))))


def _same_levels(effect: Array, other: Array, name: str) -> None:
    if effect.shape[1] != other.shape[1]:
        raise ValueError(
            f"effect has {effect.shape[1]} columns, but {name} has {other.shape[1]}: expected one column for each "
            "treatment level but the first in both."
        )
