"""From centred logs to a fitted precision: choice of shrinkage, degrees of freedom, rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.covariance import (
    CentredLogs,
    basis_variances,
    refuse_proportional_parts,
    weighted_crossproduct,
)
from causalkit.composition.precision import Precision, dense_precision, shrunk_precision
from causalkit.composition.shrinkage import Shrunk, closure_factor, shrink_logs
from causalkit.exceptions import DegenerateLogRatioError, DegreesOfFreedomError

__all__ = ["FittedPrecision", "fit_covariance", "fit_precision", "partial_correlation", "resolve_shrinkage"]

Array = NDArray[np.float64]

_SINGULAR = 1e13


@dataclass(frozen=True)
class FittedPrecision:
    """Γ⁺ with the pieces that the tests need.

    Attributes
    ----------
    precision : Precision
    shrunk : Shrunk, optional
        None for an unshrunk fit.
    gamma : ndarray, shape (D, D), optional
        Γ, formed by dense unshrunk fits.
    null_factor : ndarray, shape (D,)
        f with r⁰_ij = f_i f_j.
    """

    precision: Precision
    shrunk: Shrunk | None
    gamma: Array | None
    null_factor: Array


def resolve_shrinkage(
    shrinkage: object, n_effective: float, n_parts: int, n_confounders: int
) -> tuple[str, float | None]:
    """Method and held intensity of the ``shrinkage`` parameter.

    "auto" is unshrunk when n - q - D + 1 ≥ 5D, else "basis"; a float is "basis" with λ held.
    """
    if shrinkage is None:
        return "none", None
    if isinstance(shrinkage, str):
        if shrinkage == "auto":
            enough = n_effective - n_confounders - n_parts + 1 >= 5 * n_parts
            return ("none", None) if enough else ("basis", None)
        return shrinkage, None
    return "basis", float(shrinkage)  # type: ignore[arg-type]


def require_degrees_of_freedom(n: float, n_parts: int, n_confounders: int) -> None:
    """Refuse an unshrunk fit whose covariance cannot have full rank."""
    if n - n_confounders < n_parts:
        raise DegreesOfFreedomError(
            f"an unshrunk fit needs at least as many rows as parts: n = {n:g}, D = {n_parts}, q = {n_confounders} "
            f"confounders leave ν = {n - n_parts + 1 - n_confounders:g} degrees of freedom. Use shrinkage, such as "
            'shrinkage="basis", or fewer parts; a pseudo-inverse value is not given.'
        )


def fit_precision(
    data: CentredLogs,
    names: list[str],
    method: str,
    intensity: float | None,
    *,
    variance: float | None = None,
    columns: Array | None = None,
) -> FittedPrecision:
    """Fit Γ⁺ by one method.

    Parameters
    ----------
    data : CentredLogs
    names : list of str
        Parts, for messages.
    method : {"none", "basis", "invariant", "logratio", "ledoit_wolf", "oas"}
    intensity, variance : float, optional
        λ and λ_var to hold.
    columns : ndarray, shape (n, D), optional
        Log-ratio columns of "logratio".
    """
    n_rows, d = int(np.count_nonzero(data.weight)), data.logs.shape[1]
    refuse_proportional_parts(data, names)
    if method == "none":
        require_degrees_of_freedom(min(n_rows, data.n_effective), d, data.n_confounders)
        return fit_covariance(weighted_crossproduct(data, data.clr), names)
    shrunk = shrink_logs(data, method, intensity=intensity, variance=variance, columns=columns)
    if shrunk.intensity == 0 and n_rows - data.n_confounders < d:
        raise DegreesOfFreedomError(
            f"the estimated shrinkage is 0 with n = {n_rows} rows, q = {data.n_confounders} confounders and D = {d} "
            "parts, which leaves a singular covariance: set shrinkage to a float, or use another method."
        )
    try:
        precision = shrunk_precision(shrunk)
    except np.linalg.LinAlgError:
        gamma = weighted_crossproduct(data, data.clr)
        raise rank_error(gamma, names) from None
    return FittedPrecision(precision, shrunk, None, closure_factor(shrunk.variances))


def fit_covariance(gamma: Array, names: list[str]) -> FittedPrecision:
    """Unshrunk Γ⁺ of a covariance, refusing one of deficient rank."""
    try:
        precision = dense_precision(gamma)
    except np.linalg.LinAlgError:
        raise rank_error(gamma, names) from None
    c = float(np.trace(gamma)) / len(gamma) ** 2
    condition = np.abs(gamma + c).sum(axis=0).max() * np.abs(precision.values).sum(axis=0).max()
    if not condition < _SINGULAR:
        raise rank_error(gamma, names)
    return FittedPrecision(precision, None, gamma, closure_factor(basis_variances(np.diag(gamma))))


def rank_error(gamma: Array, names: list[str]) -> DegenerateLogRatioError:
    """The error for a Γ with a null log-contrast beside the constant, naming its parts."""
    values, vectors = np.linalg.eigh(gamma)
    rank = int(np.sum(values > values[-1] * len(values) * np.finfo(float).eps * 10))
    # The constant is always a null vector; take it out of the null space before naming the parts.
    null = vectors[:, : max(len(values) - rank, 2)]
    null = null - null.mean(axis=0)
    worst = null[:, int(np.argmax(np.linalg.norm(null, axis=0)))]
    involved = [names[k] for k in np.flatnonzero(np.abs(worst) > 0.1 * np.abs(worst).max())]
    return DegenerateLogRatioError(
        f"the log-ratio covariance has numerical rank {rank}, expected D - 1 = {len(names) - 1}: a log-contrast of the "
        f"parts {involved[:12]} does not vary. Drop one of them or merge them."
    )


def partial_correlation(X: object, shrinkage: object = "auto", sample_weight: object = None) -> Array:
    r"""Partial correlations of the parts of a composition, as an array.

    .. math:: r_{ij} = -\Gamma^+_{ij}\big/\sqrt{\Gamma^+_{ii}\Gamma^+_{jj}},

    Γ the covariance of centred log-ratios. :class:`CompositionalPartialCorrelation` adds tests, intervals
    and graphs.

    Parameters
    ----------
    X : array-like, shape (n, D)
        Positive parts.
    shrinkage : {"auto", "basis", "invariant", "logratio", "ledoit_wolf", "oas"}, float or None, default="auto"
        As in :class:`CompositionalPartialCorrelation`.
    sample_weight : array-like, shape (n,), optional
        Analysis weights.

    Returns
    -------
    ndarray, shape (D, D)
        Symmetric with unit diagonal.

    Raises
    ------
    ValueError
        As :meth:`CompositionalPartialCorrelation.fit`.

    References
    ----------
    Erb 2020, doi 10.1016/j.acags.2020.100026.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.composition import partial_correlation
    >>> X = np.exp(np.random.default_rng(0).normal(size=(30, 4)))
    >>> partial_correlation(X, shrinkage=None).shape
    (4, 4)
    """
    from causalkit.composition.partial_correlation_estimator import CompositionalPartialCorrelation

    network = CompositionalPartialCorrelation(shrinkage=shrinkage, test=None)
    return network.fit(X, sample_weight=sample_weight).partial_correlation_
