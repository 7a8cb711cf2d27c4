"""Whether estimated effects are right on average, and whether their differences are real."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.inference.network import network_covariance
from causalkit.linear import weighted_least_squares
from causalkit.selection.losses import estimated_effect
from causalkit.validation import check_groups, check_matrix, check_sample_weight, check_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["calibration_test", "fold_means"]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]


def fold_means(values: Array, folds: Codes, weight: Array | None = None) -> Array:
    """Mean of the rows of the same fold, for every row.

    Parameters
    ----------
    values : ndarray, shape (n, L)
        What is averaged.
    folds : ndarray of int, shape (n,)
        Fold of each row, from 0.
    weight : ndarray, shape (n,), optional
        Weights; a fold without weight has mean 0.

    Returns
    -------
    ndarray, shape (n, L)
    """
    w = np.ones(len(folds)) if weight is None else weight
    total = np.bincount(folds, weights=w)
    sums = np.column_stack([np.bincount(folds, weights=w * column) for column in values.T])
    return np.divide(sums, total[:, None], out=np.zeros_like(sums), where=total[:, None] > 0)[folds]


def calibration_test(
    effect: Any,
    outcome_residual: Any,
    treatment_residual: Any,
    *,
    folds: Any = None,
    X: Any = None,
    sample_weight: Any = None,
    adjacency: Any = None,
    positions: Any = None,
    groups: Any = None,
    bandwidth: Any = "auto",
    exposure_radius: int = 0,
) -> pd.DataFrame:
    r"""Regress outcome residuals on what the estimated effects predict of them.

    .. math:: \tilde Y_i = \alpha\,\bar\tau_{k(i)}\tilde T_i + \beta\,(\hat\tau_i - \bar\tau_{k(i)})\tilde T_i + u_i

    without intercept, :math:`\bar\tau_k` the mean of the out-of-fold effects in fold k. α near 1 says that the mean
    effect is right, β near 1 that differences of effects are, and β above 0 that there is heterogeneity of which the
    estimates have found some. Means are taken within folds, because effects of a fold come from the other folds:
    their overall level is negatively correlated with the fold's own outcomes. Several levels are added up.

    Parameters
    ----------
    effect : array-like, shape (n,) or (n, L), or an estimator with ``const_marginal_effect``
        Effects at rows that they were not fitted on.
    outcome_residual : array-like, shape (n,)
        Ỹ.
    treatment_residual : array-like, shape (n,) or (n, L)
        T̃.
    folds : array-like, shape (n,), optional
        Fold of each row; one fold without it.
    X : array-like, optional
        Rows for an estimator.
    sample_weight : array-like, shape (n,), optional
        Weights of the rows.
    adjacency, positions, groups, bandwidth, exposure_radius : optional
        Dependence between rows, as in :func:`causalkit.inference.network_covariance`. Rows are independent without
        ``adjacency`` and ``groups``.

    Returns
    -------
    DataFrame
        Rows ``mean_effect`` (α) and ``heterogeneity`` (β); columns ``estimate``, ``std_error``, ``statistic``,
        ``pvalue`` (one-sided, of a slope that is not positive) and ``identified``. A regressor that is 0 everywhere,
        such as the differences of constant effects, has ``identified`` False, p-value 1 and no estimate.
        ``attrs["dependence"]`` says how dependence was treated.

    Raises
    ------
    ValueError
        Shapes that do not fit, values that are not finite, or neither slope identified.
    InferenceUnavailableError
        A network in which nearly every row is within reach of every other.

    References
    ----------
    Chernozhukov, Demirer, Duflo and Fernández-Val (2018), arXiv:1712.04802 (best linear predictor of effects); Athey
    and Wager (2019), arXiv:1902.07409 (with forests); the means within folds are ours.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.selection import calibration_test
    >>> rng = np.random.default_rng(0)
    >>> effect, treatment = rng.normal(1, 1, 2000), rng.choice([-0.5, 0.5], 2000)
    >>> table = calibration_test(effect, effect * treatment + rng.normal(size=2000), treatment)
    >>> bool((abs(table["estimate"] - 1) < 3 * table["std_error"]).all()), bool((table["pvalue"] < 0.001).all())
    (True, True)
    """
    treatment, _ = check_matrix(treatment_residual, "treatment_residual")
    n = len(treatment)
    outcome = check_vector(outcome_residual, "outcome_residual", n_rows=n, like="treatment_residual")
    values = estimated_effect(effect, X, n_rows=n)
    if values.shape != treatment.shape:
        raise ValueError(
            f"effect has {values.shape[1]} columns, but treatment_residual has {treatment.shape[1]}: expected one "
            "column for each treatment level but the first in both."
        )
    weight = check_sample_weight(sample_weight, n)
    fold = check_groups(folds, n, name="folds", like="treatment_residual")
    mean = fold_means(values, np.zeros(n, dtype=np.intp) if fold is None else fold.codes, weight)
    deviation = values - mean
    # Differences that are only rounding of a constant are none.
    deviation[np.abs(deviation) <= 1e-10 * np.abs(values).max(initial=0.0)] = 0.0
    design = np.column_stack([np.einsum("ij,ij->i", part, treatment) for part in (mean, deviation)])
    used = np.flatnonzero((design if weight is None else design[weight > 0]).any(axis=0))
    if len(used) == 0:
        raise ValueError(
            "effect is 0 in every row, or treatment_residual is: neither slope is identified. Pass effects that were "
            "estimated and residuals that vary."
        )
    fit = weighted_least_squares(design[:, used], outcome, weight)
    if fit.rank < len(used):
        raise ValueError(
            "effect and its mean within folds predict the same: the two slopes are not identified. This happens with "
            "a mean of 0 and a single difference, or with as many folds as rows; pass coarser folds."
        )
    independent = adjacency is None and groups is None
    found = network_covariance(
        fit.influence,
        adjacency,
        positions=positions,
        groups=groups,
        dependence="iid" if independent else "auto",
        bandwidth=bandwidth,
        exposure_radius=exposure_radius,
    )
    found.require_variance(tuple(("mean_effect", "heterogeneity")[place] for place in used))
    return _table(used, fit.coef, found.std_error, found.df, found.dependence)


def _table(used: Codes, coef: Array, error: Array, df: float | None, words: str) -> pd.DataFrame:
    import pandas as pd
    from scipy import stats

    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(coef == 0, 0.0, coef / error)
    reference = stats.norm if df is None else stats.t(df)
    columns = {"estimate": coef, "std_error": error, "statistic": statistic, "pvalue": reference.sf(statistic)}
    table = {name: np.full(2, 1.0 if name == "pvalue" else np.nan) for name in columns}
    for name, numbers in columns.items():
        table[name][used] = numbers
    frame = pd.DataFrame(table, index=pd.Index(["mean_effect", "heterogeneity"], name="slope"))
    frame["identified"] = np.isin([0, 1], used)
    frame.attrs["dependence"] = words
    return frame
