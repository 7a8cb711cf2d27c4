"""Prediction-powered estimates: a random part of the trial carries labels, the rest predictions only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from causalkit.debiasing.power_tuned_ols import ols_solution
from causalkit.debiasing.power_tuning import Solution, arm_means_solution, mean_solution
from causalkit.debiasing.two_sample import Codes, Side, check_arms, check_sides
from causalkit.debiasing.two_sample_bootstrap import Solver, bootstrap_estimates
from causalkit.inference.covariance import influence_covariance
from causalkit.inference.result import InferenceResult
from causalkit.validation import Groups, check_choice, check_integer, check_matrix, check_same_index, check_vector

__all__ = [
    "PredictionPoweredResult",
    "prediction_powered_ate",
    "prediction_powered_mean",
    "prediction_powered_ols",
]

Array = NDArray[np.float64]

METHODS = ("ppi++", "ppi", "predict_then_debias", "classical")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PredictionPoweredResult(InferenceResult):
    """Result of a prediction-powered estimate.

    Attributes
    ----------
    method : str
        "ppi++", "ppi", "predict_then_debias" or "classical".
    power_tuning : float or ndarray, shape (arms,), optional
        λ; one per treatment level for :func:`prediction_powered_ate`. None for predict-then-debias.
    tuning_matrix : ndarray, shape (q, q) or (arms, arms), optional
        Ω of predict-then-debias, else None.
    influence_values : ndarray, shape (n + N, q), or None
        Labelled rows first, then unlabelled ones. None after a bootstrap, whose covariance they would not match.

    See Also
    --------
    causalkit.inference.InferenceResult : Intervals, tests, contrasts and arithmetic.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.debiasing.prediction_powered import prediction_powered_mean
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=2000)
    >>> predictions = truth + 0.5 * rng.normal(size=2000)
    >>> result = prediction_powered_mean(truth[:200], predictions[:200], predictions_unlabelled=predictions[200:])
    >>> sorted(result.to_dict())[-3:]
    ['power_tuning', 'std_error', 'tuning_matrix']
    """

    method: str = "ppi++"
    power_tuning: float | Array | None = None
    tuning_matrix: Array | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON; influence values are left out."""
        tuning, matrix = self.power_tuning, self.tuning_matrix
        return {
            **super().to_dict(),
            "method": self.method,
            "power_tuning": tuning.tolist() if isinstance(tuning, np.ndarray) else tuning,
            "tuning_matrix": None if matrix is None else matrix.tolist(),
        }

    def _caption(self) -> str:
        if self.tuning_matrix is not None or self.power_tuning is None:
            return f"{super()._caption()}; method {self.method}"
        values = ", ".join(f"{value:.3f}" for value in np.atleast_1d(self.power_tuning))
        return f"{super()._caption()}; method {self.method}, power tuning {values}"


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
    random_state : int, RandomState instance or None, default=None
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
    return _result(solve, labelled, unlabelled, codes, ("mean",), method, n_bootstrap, random_state)


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
    return _result(solve, labelled, unlabelled, codes, tuple(names), method, n_bootstrap, random_state)


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
    return _result(solve, labelled, unlabelled, codes, names, method, n_bootstrap, random_state)


def _check_options(method: Any, n_bootstrap: Any) -> None:
    check_choice(method, "method", METHODS)
    check_integer(n_bootstrap, "n_bootstrap", low=0)
    if n_bootstrap == 1:
        raise ValueError("n_bootstrap must be 0 or at least 2, got 1: one resample has no covariance.")


def _result(
    solve: Solver,
    labelled: Side,
    unlabelled: Side,
    codes: Codes | None,
    names: tuple[str, ...],
    method: str,
    n_bootstrap: int,
    random_state: Any,
) -> PredictionPoweredResult:
    """Solve, and wrap the solution with the covariance that was asked for."""
    n, total = labelled.n, labelled.n + unlabelled.n
    solution: Solution = solve(labelled, unlabelled, codes)
    scores = solution.parts
    scores *= total
    influence: Array | None = scores
    clusters = None if codes is None else Groups(codes, np.arange(int(codes.max()) + 1))
    cov = influence_covariance(scores, groups=clusters)
    counts = [(s, len(np.unique(c))) for s, c in _clustered_sides(labelled, unlabelled, codes, method)]
    words = " and ".join(f"{count} {side} clusters" for side, count in counts) or "independent rows"
    if n_bootstrap:
        rng = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
        draws = bootstrap_estimates(solve, labelled, unlabelled, codes, n_bootstrap=n_bootstrap, rng=rng)
        cov, influence = np.atleast_2d(np.cov(draws, rowvar=False)), None
        words = f"{words}, bootstrap of {n_bootstrap} resamples"
    debias = method == "predict_then_debias"
    tuning: float | Array = solution.tuning if solution.tuning.ndim else float(solution.tuning)
    return PredictionPoweredResult(
        estimate=solution.estimate,
        cov=cov,
        names=names,
        n_obs=n if method == "classical" else total,
        influence_values=influence,
        groups=codes if influence is not None else None,
        df=min(count for _, count in counts) - 1 if counts else None,
        dependence=words,
        method=method,
        power_tuning=None if debias else tuning,
        tuning_matrix=solution.tuning if debias else None,
    )


def _clustered_sides(labelled: Side, unlabelled: Side, codes: Codes | None, method: str) -> list[tuple[str, Codes]]:
    """Name and codes of each sample that came with groups and takes part."""
    if codes is None:
        return []
    sides = [("labelled", codes[: labelled.n])] if labelled.clustered else []
    if unlabelled.clustered and method != "classical":
        sides.append(("unlabelled", codes[labelled.n :]))
    return sides
