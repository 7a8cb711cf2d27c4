r"""How strong an unmeasured confounder would have to be: bias bounds, robustness values and E-values.

For a direction q with :math:`\nu_q^2 = q'\Sigma_U^{-1}q` and residual variance σ², a confounder that explains a share
cf_y of the residual outcome variance and cf_d of the variance of the representer moves q'θ by at most
:math:`|\rho|\sqrt{cf_y\,cf_d/(1 - cf_d)\,\sigma^2\nu_q^2}` (Chernozhukov, Cinelli, Newey, Sharma & Syrgkanis).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from causalkit.rewards.orthogonal import OrthogonalFit, times

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["e_value", "omitted_variable_bias", "robustness_value", "sensitivity_frame"]

Array = NDArray[np.float64]


def _check_share(value: Any, name: str) -> float:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not 0 <= value < 1:
        raise ValueError(f"{name} must be a share in [0, 1); got {value!r}.")
    return float(value)


def _check_correlation(rho: Any) -> float:
    if not isinstance(rho, int | float | np.number) or isinstance(rho, bool) or not -1 <= rho <= 1:
        raise ValueError(f"rho must be a correlation in [-1, 1]; got {rho!r}.")
    return float(rho)


def omitted_variable_bias(sigma2: Any, nu2: Any, cf_y: float, cf_d: float, rho: float = 1.0) -> Any:
    r"""Largest bias from a confounder of given strength, :math:`|\rho|\sqrt{cf_y\,\frac{cf_d}{1-cf_d}\,\sigma^2\nu^2}`.

    Parameters
    ----------
    sigma2 : float or array-like
        Residual variance of the outcome, in squared units of y.
    nu2 : float or array-like
        Second moment of the representer, :math:`q'\Sigma_U^{-1}q`.
    cf_y : float in [0, 1)
        Share of the residual outcome variance that the confounder explains.
    cf_d : float in [0, 1)
        Share of the representer's variance that it explains.
    rho : float in [-1, 1], default=1
        Correlation of the two errors; 1 is the worst case.

    Returns
    -------
    float or ndarray
        In units of y.

    Raises
    ------
    ValueError
        A strength outside its range.

    References
    ----------
    Chernozhukov, Cinelli, Newey, Sharma & Syrgkanis, arXiv:2112.13398, theorem 2.

    Examples
    --------
    >>> from causalkit.rewards import omitted_variable_bias
    >>> round(omitted_variable_bias(3.0, 0.68, 2 / 3, 0.32), 4)
    0.8
    """
    if (np.asarray(sigma2, dtype=float) < 0).any() or (np.asarray(nu2, dtype=float) < 0).any():
        raise ValueError(f"sigma2 and nu2 are second moments and must not be negative; got {sigma2!r} and {nu2!r}.")
    y, d, r = _check_share(cf_y, "cf_y"), _check_share(cf_d, "cf_d"), _check_correlation(rho)
    bias = abs(r) * np.sqrt(y * d / (1 - d) * np.asarray(sigma2, dtype=float) * np.asarray(nu2, dtype=float))
    return float(bias) if np.ndim(bias) == 0 else bias


def robustness_value(t: Any, degrees_of_freedom: Any, reduction: float = 1.0, alpha: float | None = None) -> Any:
    r"""Smallest equal strength cf_y = cf_d that takes a share ``reduction`` off an estimate.

    :math:`RV = \tfrac12(\sqrt{f^4 + 4f^2} - f^2)` with :math:`f = r|t|/\sqrt{df}`; with ``alpha``, f less
    :math:`t_{1-\alpha/2,\,df-1}/\sqrt{df-1}`: the strength at which the estimate ceases to be significant.

    Parameters
    ----------
    t : float or array-like
        t statistic (classical standard error).
    degrees_of_freedom : float
        Residual degrees of freedom.
    reduction : float, default=1
        Share of the estimate that the bias must remove.
    alpha : float in (0, 1), optional
        Level.

    Returns
    -------
    float or ndarray
        In [0, 1]; 0 where the estimate is not significant to begin with.

    Raises
    ------
    ValueError
        Degrees of freedom of 1 or less, a negative reduction, or alpha outside (0, 1).

    References
    ----------
    Cinelli & Hazlett 2020, JRSS B 82(1), section 4.

    Examples
    --------
    >>> from causalkit.rewards import robustness_value
    >>> round(robustness_value(4.1844, 783), 4), round(robustness_value(4.1844, 783, alpha=0.05), 4)
    (0.1388, 0.0763)
    """
    df = np.asarray(degrees_of_freedom, dtype=float)
    if not (df > 1).all() or reduction < 0:
        raise ValueError(
            f"degrees_of_freedom must exceed 1 and reduction must not be negative; got {degrees_of_freedom!r} and "
            f"{reduction!r}."
        )
    return _robustness(reduction * np.abs(np.asarray(t, dtype=float)) / np.sqrt(df), df, alpha)


def _robustness(f: Any, df: Any, alpha: float | None) -> Any:
    if alpha is not None:
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must lie in (0, 1); got {alpha!r}.")
        f = np.maximum(f - stats.t.ppf(1 - alpha / 2, df - 1) / np.sqrt(df - 1), 0.0)
    # The same as ½(√(f⁴ + 4f²) - f²), without the difference of large numbers.
    with np.errstate(divide="ignore", over="ignore"):
        value = 2 / (1 + np.sqrt(1 + 4 / np.square(f)))
    return float(value) if np.ndim(value) == 0 else value


def e_value(risk_ratio: Any) -> Any:
    r"""E-value :math:`RR + \sqrt{RR(RR - 1)}` of a risk ratio; one below 1 is inverted first.

    Parameters
    ----------
    risk_ratio : float or array-like
        Positive.

    Returns
    -------
    float or ndarray
        Smallest risk ratio that a confounder must have with both the text and the outcome.

    Raises
    ------
    ValueError
        A ratio that is not positive.

    References
    ----------
    VanderWeele & Ding 2017, Annals of Internal Medicine 167(4).

    Examples
    --------
    >>> from causalkit.rewards import e_value
    >>> round(e_value(3.9), 2), round(e_value(1.8), 2)
    (7.26, 3.0)
    """
    ratio = np.asarray(risk_ratio, dtype=float)
    if not (ratio > 0).all():
        raise ValueError(f"risk_ratio must be positive; got {risk_ratio!r}.")
    ratio = np.maximum(ratio, 1.0 / ratio)
    with np.errstate(over="ignore"):
        value = ratio * (1 + np.sqrt(1 - 1 / ratio))  # the product RR(RR - 1) may overflow
    return float(value) if value.ndim == 0 else value


def sensitivity_frame(
    fits: list[OrthogonalFit],
    directions: Array,
    names: list[str],
    estimates: Array,
    influence: Array,
    codes: NDArray[np.intp] | None,
    outcome_sd: float,
    *,
    cf_y: float,
    cf_d: float,
    rho: float,
    reduction: float,
    confidence_level: float,
) -> pd.DataFrame:
    """One row per direction: bound on the bias, bounds and their one-sided intervals, robustness and E-values.

    The influence of S = √(σ²ν²) is (σ²ψ_ν + ν²ψ_σ)/(2S), ψ_σ = ê² - σ², ψ_ν = ν² - (q'Σ_U⁻¹X̃)²; that of the ends
    θ_q ± kS follows.
    """
    import pandas as pd

    k = omitted_variable_bias(1.0, 1.0, cf_y, cf_d, rho)
    size, change = _size_and_influence(fits, directions)
    lower, upper = estimates - k * size, estimates + k * size
    quantile = float(stats.norm.ppf(confidence_level))
    errors = [_std_error(part, codes) for part in (influence, influence - k * change, influence + k * change)]
    df = np.asarray(fits[0].degrees_of_freedom, dtype=float)
    f = reduction * np.abs(estimates) / np.where(size > 0, size, 1.0)
    return pd.DataFrame(
        {
            "estimate": estimates,
            "se": errors[0],
            "bound": k * size,
            "lower": lower,
            "upper": upper,
            "ci_lower": lower - quantile * errors[1],
            "ci_upper": upper + quantile * errors[2],
            "rv": _robustness(f, df, None),
            "rv_alpha": _robustness(f, df, 1 - confidence_level),
            "e_value": _e_values(estimates, outcome_sd),
            "robust": (lower > 0) | (upper < 0),
        },
        index=names,
    )


def _e_values(estimates: Array, outcome_sd: float) -> Array:
    """E-values of RR = exp(.91 d); 1 for an outcome that does not vary, infinite where the ratio overflows."""
    d = np.abs(estimates) / outcome_sd if outcome_sd > 0 else np.zeros(len(estimates))
    with np.errstate(over="ignore"):
        return np.asarray(e_value(np.exp(0.91 * d)))


def _size_and_influence(fits: list[OrthogonalFit], directions: Array) -> tuple[Array, Array]:
    """S per direction and its influence values (n, r), averaged over repeats."""
    sizes, changes = [], []
    for fit in fits:
        w = np.ones(fit.n) if fit.weight is None else fit.weight
        # J⁻¹q and J⁻¹Σ_U J⁻¹q, which are the same without penalty: then ψ_ν = ν² - (q'Σ_U⁻¹X̃)².
        first: Array = np.asarray(np.linalg.solve(fit.jacobian, directions), dtype=np.float64)
        second: Array = np.asarray(np.linalg.solve(fit.jacobian, fit.second_moment @ first), dtype=np.float64)
        representer, along = times(fit.features, first), times(fit.features, second)
        nu2 = np.einsum("pr,pr->r", directions, second)
        cross = np.einsum("pr,pr->r", first, fit.second_moment @ second)
        sigma2 = float((w @ fit.residuals**2) / fit.n)
        size = np.sqrt(sigma2 * nu2)
        psi_nu = w[:, None] * (representer**2 - nu2 - 2 * (representer * along - cross))
        psi_sigma = (w * (fit.residuals**2 - sigma2))[:, None]
        sizes.append(size)
        changes.append((sigma2 * psi_nu + nu2 * psi_sigma) / (2 * np.where(size > 0, size, 1.0)))
    return np.mean(sizes, axis=0), np.mean(changes, axis=0)


def _std_error(influence: Array, codes: NDArray[np.intp] | None) -> Array:
    if codes is not None:
        influence_sums = np.stack([np.bincount(codes, weights=column) for column in influence.T], axis=1)
        return np.asarray(np.sqrt((influence_sums**2).sum(axis=0)) / len(influence))
    return np.asarray(np.sqrt((influence**2).sum(axis=0)) / len(influence))
