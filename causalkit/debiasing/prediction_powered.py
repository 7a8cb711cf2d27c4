"""Prediction-powered estimates: a random part of the trial carries labels, the rest predictions only."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.power_tuned_ols import ols_solution
from causalkit.debiasing.power_tuning import arm_means_solution, mean_solution
from causalkit.debiasing.prediction_powered_result import PredictionPoweredResult, result_of
from causalkit.debiasing.two_sample import check_arms, check_sides
from causalkit.validation import check_choice, check_integer, check_matrix, check_same_index, check_vector

__all__ = [
    "prediction_powered_ate",
    "prediction_powered_mean",
    "prediction_powered_ols",
]

Array = NDArray[np.float64]

METHODS = ("ppi++", "ppi", "predict_then_debias", "classical")


def prediction_powered_mean(
    y: Any,
    predictions: Any,
    *,
    predictions_unlabelled: Any,
    method: str = "ppi++",
    sample_weight: Any = None,
    sample_weight_unlabelled: Any = None,
    groups: Any = None,
    groups_unlabelled: Any = None,
    n_bootstrap: int = 0,
    random_state: Any = None,
) -> PredictionPoweredResult:
    r"""Mean of an outcome from n labelled rows and N rows that have predictions only.

    With labels drawn at random, :math:`\hat\theta = \bar Y_n + \lambda(\bar f_N - \bar f_n)` is consistent for
    E[Y] however bad the predictions f are, and
    :math:`SE^2 = \lambda^2 Var(f_N)/N + Var(Y - \lambda f)/n` (ddof 0).

    - ``"ppi++"``: :math:`\hat\lambda = Cov_n(Y, f) / \{(1 + n/N) Var(f)\}`, variance over all rows with ddof 1,
      clipped to [0, 1]. Weights and clusters enter λ through their design effect.
    - ``"ppi"``: λ = 1. ``"classical"``: λ = 0, the labels alone.
    - ``"predict_then_debias"``: λ is replaced by Ω = Cov(Ȳ_n, f̄_n) / {Var f̄_n + Var f̄_N} with ddof-1
      variances, unclipped, and SE² = Var Ȳ_n − Ω Cov(f̄_n, Ȳ_n).

    Parameters
    ----------
    y : array-like, shape (n,)
        Labels.
    predictions : array-like, shape (n,)
        Predictions on the labelled rows, made by a model that was not trained on them.
    predictions_unlabelled : array-like, shape (N,)
        Predictions on the other rows.
    method : {"ppi++", "ppi", "predict_then_debias", "classical"}, default="ppi++"
        Estimator.
    sample_weight, sample_weight_unlabelled : array-like, optional
        Probability weights of each sample; means are self-normalised, so the scale does not matter.
    groups, groups_unlabelled : array-like, optional
        Clusters of each sample, either alone or both. A label that occurs in both samples is one cluster.
        The factor of a side is then G/(G − 1) in place of 1 (or n/(n − 1), predict-then-debias), and the
        reference is t with the smaller G − 1 degrees of freedom.
    n_bootstrap : int, default=0
        If positive, the covariance is that of this many resamples of rows (or clusters) of both samples,
        tuned anew in each.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the bootstrap.

    Returns
    -------
    PredictionPoweredResult
        One estimate, named "mean".

    Raises
    ------
    ValueError
        NaN or infinity, unequal lengths, negative or zero-sum weights, fewer than two used rows on a side, one
        cluster, an unknown method, ``n_bootstrap=1``.

    Warns
    -----
    CalibrationWarning
        Fewer than 20 labelled rows, or fewer than 10 clusters.

    References
    ----------
    Angelopoulos et al. (2023), Prediction-powered inference, arXiv:2301.09633. Angelopoulos, Duchi and Zrnic
    (2023), PPI++, arXiv:2311.01453. Kluger et al. (2025), predict-then-debias, arXiv:2501.18577.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.debiasing.prediction_powered import prediction_powered_mean
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(1.0, 1.0, size=5000)
    >>> predictions = 0.5 * truth + 0.3 * rng.normal(size=5000)
    >>> arguments = {"predictions_unlabelled": predictions[500:]}
    >>> tuned = prediction_powered_mean(truth[:500], predictions[:500], **arguments)
    >>> labels_only = prediction_powered_mean(truth[:500], predictions[:500], method="classical", **arguments)
    >>> bool(tuned.std_error[0] < labels_only.std_error[0])
    True
    """
    _check_options(method, n_bootstrap)
    labelled, unlabelled, codes = check_sides(
        y, predictions, predictions_unlabelled, (sample_weight, sample_weight_unlabelled), (groups, groups_unlabelled)
    )
    solve = partial(mean_solution, method=method)
    return result_of(solve, labelled, unlabelled, codes, ("mean",), method, n_bootstrap, random_state)


def prediction_powered_ols(
    X: Any,
    y: Any,
    *,
    predictions: Any,
    X_unlabelled: Any,
    predictions_unlabelled: Any,
    method: str = "ppi++",
    sample_weight: Any = None,
    sample_weight_unlabelled: Any = None,
    groups: Any = None,
    groups_unlabelled: Any = None,
    n_bootstrap: int = 0,
    random_state: Any = None,
) -> PredictionPoweredResult:
    r"""Least-squares coefficients from labelled rows and rows that have regressors and predictions only.

    :math:`\hat\theta = \theta(Y; n) + \lambda\{\theta(f; N) - \theta(f; n)\}`, θ(v; ·) the coefficients of v on X
    in a sample. With scores r(v) = x(v − x'θ̂) and H the mean of xx' over all rows,
    :math:`V = H^{-1}\{Var(r(Y) - \lambda r(f))/n + \lambda^2 Var(r(f))/N\}H^{-1}` (ddof 1). λ̂ minimises the
    trace of V, with scores at the estimate of λ = 1, and is clipped to [0, 1].

    λ = 0 is ordinary least squares of the labels with its own Hessian (n/(n − 1) times HC0).
    Predict-then-debias takes the residuals and the Hessian of each of the three fits and the p×p matrix
    Ω = Cov(θ̂_n, γ̂_n){Var γ̂_n + Var γ̂_N}⁻¹, γ̂ the coefficients of f.

    Parameters
    ----------
    X : array-like, shape (n, p)
        Regressors of the labelled rows, with a column of ones if there is to be an intercept.
    y : array-like, shape (n,)
        Labels.
    predictions : array-like, shape (n,)
        Predictions on the labelled rows.
    X_unlabelled : array-like, shape (N, p)
        Regressors of the other rows, in the same order of columns.
    predictions_unlabelled : array-like, shape (N,)
        Predictions on the other rows.
    method, sample_weight, sample_weight_unlabelled, groups, groups_unlabelled, n_bootstrap, random_state : optional
        As in :func:`prediction_powered_mean`. The factor of a side is G/(G − 1) with groups, n/(n − 1) without.

    Returns
    -------
    PredictionPoweredResult
        One estimate per column of ``X``.

    Raises
    ------
    ValueError
        As :func:`prediction_powered_mean`; columns of ``X_unlabelled`` that differ from those of ``X``.
    CalibrationError
        Collinear columns.

    Warns
    -----
    CalibrationWarning
        Fewer than 20 labelled rows, or fewer than 10 clusters.

    Notes
    -----
    Where the predictions have other coefficients than the labels and the regressors are random, the PPI and
    PPI++ variance is taken at a common coefficient, as published, and tends to be too large;
    predict-then-debias does not have this slack.

    References
    ----------
    As in :func:`prediction_powered_mean`.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.debiasing.prediction_powered import prediction_powered_ols
    >>> rng = np.random.default_rng(0)
    >>> X = np.column_stack([np.ones(3000), rng.normal(size=3000)])
    >>> truth = X @ [0.5, 1.0] + rng.normal(size=3000)
    >>> predictions = 0.8 * truth + 0.4 * rng.normal(size=3000)
    >>> result = prediction_powered_ols(
    ...     X[:300],
    ...     truth[:300],
    ...     predictions=predictions[:300],
    ...     X_unlabelled=X[300:],
    ...     predictions_unlabelled=predictions[300:],
    ... )
    >>> result.names
    ('X0', 'X1')
    """
    _check_options(method, n_bootstrap)
    design, names = check_matrix(X, "X")
    design_u, names_u = check_matrix(X_unlabelled, "X_unlabelled")
    both_named = hasattr(X, "columns") and hasattr(X_unlabelled, "columns")
    if design.shape[1] != design_u.shape[1] or (both_named and names != names_u):
        raise ValueError(
            f"X_unlabelled must have the columns of X: expected {names}, got {names_u}. Select and order them alike."
        )
    check_same_index(X, y, ("X", "y"))
    check_same_index(X_unlabelled, predictions_unlabelled, ("X_unlabelled", "predictions_unlabelled"))
    labelled, unlabelled, codes = check_sides(
        y,
        predictions,
        predictions_unlabelled,
        (sample_weight, sample_weight_unlabelled),
        (groups, groups_unlabelled),
        designs=(design, design_u),
    )
    solve = partial(ols_solution, method=method)
    return result_of(solve, labelled, unlabelled, codes, tuple(names), method, n_bootstrap, random_state)


def prediction_powered_ate(
    y: Any,
    predictions: Any,
    *,
    treatment: Any,
    predictions_unlabelled: Any,
    treatment_unlabelled: Any,
    method: str = "ppi++",
    sample_weight: Any = None,
    sample_weight_unlabelled: Any = None,
    groups: Any = None,
    groups_unlabelled: Any = None,
    n_bootstrap: int = 0,
    random_state: Any = None,
) -> PredictionPoweredResult:
    r"""Average treatment effect from a trial of which a random part of each arm is labelled.

    :math:`\hat\tau_a = \hat\theta_a - \hat\theta_0`, each arm's mean as in :func:`prediction_powered_mean` with
    its own λ and self-normalised weights (for example 1/propensity). Arms are independent; clusters that hold
    rows of several arms link them in the covariance.

    Parameters
    ----------
    y : array-like, shape (n,)
        Labels.
    predictions : array-like, shape (n,)
        Predictions on the labelled rows.
    treatment : array-like, shape (n,)
        Treatment level of the labelled rows; the smallest level is the reference.
    predictions_unlabelled, treatment_unlabelled : array-like, shape (N,)
        Predictions and treatment levels of the other rows.
    method, sample_weight, sample_weight_unlabelled, groups, groups_unlabelled, n_bootstrap, random_state : optional
        As in :func:`prediction_powered_mean`. Finite-sample factors count rows or clusters within the arm.

    Returns
    -------
    PredictionPoweredResult
        One estimate per level but the first, named "level - reference". ``power_tuning`` holds one λ per
        level in sorted order.

    Raises
    ------
    ValueError
        As :func:`prediction_powered_mean`; an arm without two labelled and two unlabelled rows.

    Warns
    -----
    CalibrationWarning
        An arm with fewer than 20 labelled rows; fewer than 10 clusters.

    References
    ----------
    As in :func:`prediction_powered_mean`.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.debiasing.prediction_powered import prediction_powered_ate
    >>> rng = np.random.default_rng(0)
    >>> treatment = np.tile([0, 1], 2000)
    >>> truth = treatment + rng.normal(size=4000)
    >>> predictions = 0.5 * truth + 0.3 * rng.normal(size=4000)
    >>> result = prediction_powered_ate(
    ...     truth[:800],
    ...     predictions[:800],
    ...     treatment=treatment[:800],
    ...     predictions_unlabelled=predictions[800:],
    ...     treatment_unlabelled=treatment[800:],
    ... )
    >>> result.names, bool(abs(result.estimate[0] - 1) < 3 * result.std_error[0])
    (('1 - 0',), True)
    """
    _check_options(method, n_bootstrap)
    n = len(check_vector(y, "y"))
    n_unlabelled = len(check_vector(predictions_unlabelled, "predictions_unlabelled"))
    arms = check_arms(treatment, treatment_unlabelled, n, n_unlabelled)
    check_same_index(treatment, y, ("treatment", "y"))
    labelled, unlabelled, codes = check_sides(
        y,
        predictions,
        predictions_unlabelled,
        (sample_weight, sample_weight_unlabelled),
        (groups, groups_unlabelled),
        arms=arms,
    )
    levels = arms[2]
    solve = partial(arm_means_solution, method=method, n_arms=len(levels))
    names = tuple(f"{level} - {levels[0]}" for level in levels[1:])
    return result_of(solve, labelled, unlabelled, codes, names, method, n_bootstrap, random_state)


def _check_options(method: Any, n_bootstrap: Any) -> None:
    check_choice(method, "method", METHODS)
    check_integer(n_bootstrap, "n_bootstrap", low=0)
    if n_bootstrap == 1:
        raise ValueError("n_bootstrap must be 0 or at least 2, got 1: one resample has no covariance.")
