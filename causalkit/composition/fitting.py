"""From centred logs to a fitted precision: choice of shrinkage, degrees of freedom, rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.covariance import (
    CentredLogs,
    basis_variances,
    proportional_error,
    refuse_constant_columns,
    refuse_proportional_parts,
    variation_of,
    weighted_crossproduct,
)
from causalkit.composition.moments import CompositionMoments
from causalkit.composition.parts import part_position
from causalkit.composition.precision import Precision, dense_precision, shrunk_precision
from causalkit.composition.shrinkage import Shrunk, closure_factor, shrink_logs
from causalkit.exceptions import DegenerateLogRatioError, DegreesOfFreedomError

__all__ = [
    "FittedPrecision",
    "fit_covariance",
    "fit_moments",
    "fit_precision",
    "partial_correlation",
    "reference_columns",
    "resolve_shrinkage",
]

Array = NDArray[np.float64]

_SINGULAR = 1e13
_NO_SHRINKAGE = 1e-14  # below this λI is lost in the rounding of a singular matrix


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


def require_shrinkage(intensity: float, n: float, n_parts: int, n_confounders: int) -> None:
    """Refuse an intensity of 0 where the covariance is singular."""
    if intensity < _NO_SHRINKAGE and n - n_confounders < n_parts:
        raise DegreesOfFreedomError(
            f"the shrinkage intensity is {intensity:g} with n = {n:g} rows, q = {n_confounders} confounders and D = "
            f"{n_parts} parts, which leaves a singular covariance: set shrinkage to a larger float, or use another "
            "method."
        )


def reference_columns(data: CentredLogs, method: str, reference: object, names: list[str]) -> Array:
    """Columns whose correlations "basis" and "logratio" shrink, shape (n, D); CLR for the other methods."""
    if method == "basis":
        return data.logs
    if method != "logratio" or reference is None:
        return data.clr
    parts = reference if isinstance(reference, list | tuple) else [reference]
    index = [part_position(part, names, "reference") for part in parts]
    if len(index) == 1:
        raise ValueError(
            'reference of shrinkage="logratio" must be a list of parts (their geometric mean) or None: with '
            "one part its own column is constant."
        )
    return np.asarray(data.logs - data.logs[:, index].mean(axis=1, keepdims=True))


def fit_precision(
    data: CentredLogs,
    names: list[str],
    method: str,
    intensity: float | None,
    *,
    variance: float | None = None,
    reference: object = None,
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
    reference : int, str or list, optional
        Reference of "logratio"; None for the CLR.

    Raises
    ------
    DegenerateLogRatioError
        Proportional parts, or a covariance of deficient rank.
    DegreesOfFreedomError
        Too few rows.
    """
    n_rows, d = int(np.count_nonzero(data.weight)), data.logs.shape[1]
    refuse_proportional_parts(data, names)
    if method == "none":
        require_degrees_of_freedom(min(n_rows, data.n_effective), d, data.n_confounders)
        return fit_covariance(weighted_crossproduct(data, data.clr), names)
    columns = reference_columns(data, method, reference, names)
    if method in ("basis", "logratio"):
        refuse_constant_columns(data.weight @ (columns * columns), data.mean, names, method)
    shrunk = shrink_logs(
        data, method, intensity=intensity, variance=variance, columns=columns if method == "logratio" else None
    )
    require_shrinkage(shrunk.intensity, n_rows, d, data.n_confounders)
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


def fit_moments(moments: CompositionMoments, names: list[str], method: str, intensity: float | None) -> FittedPrecision:
    """Fit Γ⁺ from mergeable moments, with the checks of :func:`fit_precision`."""
    gamma, d = moments.covariance(), len(names)
    tau = variation_of(gamma)
    tau[range(d), range(d)] = np.inf
    i, j = sorted(divmod(int(np.argmin(tau)), d))
    if not tau[i, j] > 1e-12 * float(np.trace(gamma)) / d:
        raise proportional_error(names[i], names[j])
    if method == "none":
        require_degrees_of_freedom(moments.n, d, 0)
        return fit_covariance(gamma, names)
    if method in ("basis", "logratio"):
        mean, second, _ = moments.central()
        refuse_constant_columns(np.diag(second), mean, names, method)
    shrunk = moments.shrunk(method, intensity)
    require_shrinkage(shrunk.intensity, moments.n, d, 0)
    try:
        precision = shrunk_precision(shrunk)
    except np.linalg.LinAlgError:
        raise rank_error(gamma, names) from None
    return FittedPrecision(precision, shrunk, gamma, closure_factor(shrunk.variances))


def rank_error(gamma: Array, names: list[str]) -> DegenerateLogRatioError:
    """The error for a Γ with a null log-contrast beside the constant, naming its parts."""
    values, vectors = np.linalg.eigh(gamma)
    rank = min(int(np.sum(values > values[-1] * len(values) * np.finfo(float).eps * 10)), len(values) - 2)
    # The constant is always a null vector; take it out of the null space before naming the parts.
    null = vectors[:, : len(values) - rank]
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
