"""R-stacking: the mixture of estimated effects with the smallest R-loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from causalkit.validation import check_matrix, check_sample_weight, check_vector

__all__ = ["r_stacking"]

Array = NDArray[np.float64]


def r_stacking(effects: Any, outcome_residual: Any, treatment_residual: Any, *, sample_weight: Any = None) -> Array:
    r"""Weights of estimated effects that minimise their R-loss.

    .. math:: \min_{a \ge 0,\ \sum_c a_c = 1} \sum_i w_i\Big(\tilde Y_i - \sum_c a_c\, \tilde T_i'\hat\tau_c(x_i)\Big)^2

    The effects of a row must come from models that were not fitted on it.

    Parameters
    ----------
    effects : array-like, shape (C, n) or (C, n, k)
        Effects of every candidate.
    outcome_residual : array-like, shape (n,)
        Ỹ.
    treatment_residual : array-like, shape (n,) or (n, k)
        T̃.
    sample_weight : array-like, shape (n,), optional
        Weights of the rows.

    Returns
    -------
    ndarray, shape (C,)

    Raises
    ------
    ValueError
        Shapes that do not fit, values that are not finite.

    References
    ----------
    Nie and Wager (2021), doi:10.1093/biomet/asaa076 (stacking with the R-loss).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.selection import r_stacking
    >>> rng = np.random.default_rng(0)
    >>> treatment, truth = rng.choice([-0.5, 0.5], 500), rng.normal(size=500)
    >>> outcome = treatment * truth + 0.1 * rng.normal(size=500)
    >>> r_stacking([truth, np.zeros(500)], outcome, treatment).round(1).tolist()
    [1.0, 0.0]
    """
    treatment, _ = check_matrix(treatment_residual, "treatment_residual")
    outcome = check_vector(outcome_residual, "outcome_residual", n_rows=len(treatment))
    values = np.asarray(effects, dtype=np.float64)
    values = values[:, :, None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[1:] != treatment.shape:
        raise ValueError(
            f"effects must hold one table of shape {treatment.shape} per candidate, like treatment_residual; got "
            f"shape {np.shape(effects)}."
        )
    if not np.isfinite(values).all():
        raise ValueError("effects contains NaN or infinity: leave out the candidates that failed.")
    weight = check_sample_weight(sample_weight, len(outcome))
    root = np.ones(len(outcome)) if weight is None else np.sqrt(weight)
    # Weights sum to one, so that the residuals of the candidates are what is mixed: Ỹ - T̃'Στa = Σa(Ỹ - T̃'τ).
    left = root[:, None] * (outcome[:, None] - np.einsum("cnk,nk->nc", values, treatment))
    return simplex_least_squares(left.T @ left)


def simplex_least_squares(gram: Array) -> Array:
    """Minimise a'Ma over a ≥ 0 with sum 1, for positive semidefinite M of shape (C, C).

    The direction of the solution solves min |Ra|² + (1'a - 1)² over a ≥ 0, with M = R'R: its first-order conditions
    are those of the simplex up to a factor (test_stacking_weights_meet_the_first_order_conditions).
    """
    size = float(np.trace(gram)) / len(gram)
    if size <= 0:
        return np.full(len(gram), 1.0 / len(gram))
    values, vectors = np.linalg.eigh(gram / size)
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    stacked = np.vstack([root, np.ones((1, len(gram)))])
    found = nnls(stacked, np.append(np.zeros(len(gram)), 1.0))[0]
    return np.asarray(found / found.sum())
