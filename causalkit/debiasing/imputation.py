"""Rubin's rules for analyses of several imputed columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalkit.inference import InferenceResult

__all__ = ["combine_imputations"]


def combine_imputations(estimates: Any, covariances: Any) -> InferenceResult:
    r"""Combine analyses of M imputed columns by Rubin's rules.

    .. math:: \bar\theta = M^{-1}\sum_m \hat\theta_m,\qquad
              V = \bar W + (1 + 1/M) B,

    W̄ the mean within-imputation covariance and B the covariance of the M estimates. The columns of
    ``impute`` are draws of the calibration given θ* ~ N(θ̂, V_θ), so V tends to the delta variance as M
    grows. Reference: t with Rubin's degrees of freedom of the least certain entry.

    Parameters
    ----------
    estimates : sequence of M, each a float, array of shape (q,) or Series
        Estimates per imputation.
    covariances : sequence of M, each a float (variance), array of shape (q, q) or frame
        Their covariances.

    Returns
    -------
    InferenceResult
        Without influence values.

    Raises
    ------
    ValueError
        Fewer than two imputations, or shapes that do not match.

    References
    ----------
    Rubin 1987, Multiple Imputation for Nonresponse in Surveys, eqs. 3.1.2-3.1.6.

    Examples
    --------
    >>> from causalkit import combine_imputations
    >>> result = combine_imputations([1.0, 1.2, 0.8], [0.04, 0.05, 0.03])
    >>> result.estimate.round(6), result.cov.round(6)
    (array([1.]), array([[0.093333]]))
    """
    estimates, covariances = list(estimates), list(covariances)
    m = len(estimates)
    if m < 2 or len(covariances) != m:
        raise ValueError(
            f"estimates has {m} and covariances {len(covariances)} imputations: expected two or more of each, one "
            "entry per imputed column."
        )
    names = estimates[0].index if hasattr(estimates[0], "iloc") else None
    values = np.array([np.atleast_1d(np.asarray(e, dtype=float)) for e in estimates])
    within = np.array([np.atleast_2d(np.asarray(c, dtype=float)) for c in covariances])
    if values.ndim != 2 or within.shape[1:] != (values.shape[1], values.shape[1]):
        raise ValueError(
            f"covariances must be {values.shape[1]} by {values.shape[1]} for {values.shape[1]} estimates; got shape "
            f"{within.shape[1:]}."
        )
    if not np.isfinite(values).all() or not np.isfinite(within).all():
        raise ValueError("estimates and covariances must be finite: an analysis of some imputation failed.")
    q = values.shape[1]
    mean_within = within.mean(axis=0)
    between = np.atleast_2d(np.cov(values.T, ddof=1))
    inflated = (1 + 1 / m) * between
    ratio = np.diag(inflated) / np.maximum(np.diag(mean_within + inflated), np.finfo(float).tiny)
    df = (m - 1) / ratio.max() ** 2 if ratio.max() > 0 else np.inf
    labels = [str(name) for name in names] if names is not None else [f"estimate{j}" for j in range(q)]
    return InferenceResult(
        estimate=values.mean(axis=0),
        cov=mean_within + inflated,
        names=tuple(labels),
        n_obs=m,
        df=None if not np.isfinite(df) or df > 1e6 else float(df),
        dependence=f"{m} imputations",
    )
