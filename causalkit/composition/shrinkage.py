"""Shrinkage of log-ratio covariances: intensities, targets, and the common form M = S[(1-λ)Z'Z + λI]S."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.covariance import CentredLogs, basis_variances
from causalkit.exceptions import DegreesOfFreedomError

__all__ = ["Shrunk", "closure_null", "shrink_covariance", "shrink_logs"]

Array = NDArray[np.float64]

METHODS = ("basis", "invariant", "logratio", "ledoit_wolf", "oas")


@dataclass(frozen=True)
class Shrunk:
    """A shrunken basis covariance M = diag(s)[(1-λ)Z'Z + λI]diag(s) and what the null needs.

    Attributes
    ----------
    intensity : float
        λ.
    variance_intensity : float
        λ_var, towards the median variance; 0 where variances are not shrunken.
    scale : ndarray, shape (D,)
        s.
    rows : ndarray, shape (n, D)
        Z; for moments without rows, a square root of Z'Z.
    variances : ndarray, shape (D,)
        Variances of the independent basis behind the closure null (v* for "basis").
    sampling_variances : ndarray, shape (D,)
        v before its own shrinkage, from which independent data sets are simulated.
    projected : bool
        Whether the composition's precision is M⁻¹ less its projection on 1 (not for "logratio").
    """

    intensity: float
    variance_intensity: float
    scale: Array
    rows: Array
    variances: Array
    sampling_variances: Array
    projected: bool = True


def _clip(value: float) -> float:
    return float(min(max(value, 0.0), 1.0))


def _ratio(numerator: float, denominator: float) -> float:
    return 1.0 if denominator <= 0 else _clip(numerator / denominator)


def correlation_intensity(z: Array, weight: Array) -> float:
    """λ of correlations of standardised columns, in O(n²p): never p×p.

    λ = clip{(w2/(1-w2))·Σ_{i≠j}(m22 - m11²)/Σ_{i≠j}m11²}, m11 = Σw z_i z_j, m22 = Σw z_i² z_j².
    """
    w2 = float(weight @ weight)
    scaled = z * np.sqrt(weight)[:, None]
    outer = scaled @ scaled.T  # its squared norm is that of Σ w z z'
    own = np.einsum("ij,ij->j", scaled, scaled)
    squares = float(np.sum(outer * outer)) - float(own @ own)
    norms = np.einsum("ij,ij->i", z, z)
    fourth = float(weight @ norms**2) - float(weight @ np.einsum("ij,ij->i", z * z, z * z))
    return _ratio(w2 / (1 - w2) * (fourth - squares), squares)


def variance_intensity(x: Array, weight: Array, v: Array, unbiasing: float) -> float:
    """λ_var of variances towards their median.

    λ_var = clip{(w2/(1-w2))·Σ_i(Σw x⁴ - (Σw x²)²)/Σ_i(Σw x² - med(v)/h1)²}.
    """
    w2 = float(weight @ weight)
    squares = x * x
    second = weight @ squares
    fourth = weight @ (squares * squares)
    target = float(np.median(v)) / unbiasing
    return _ratio(w2 / (1 - w2) * float(np.sum(fourth - second**2)), float(np.sum((second - target) ** 2)))


def shrink_logs(
    data: CentredLogs,
    method: str,
    *,
    intensity: float | None = None,
    variance: float | None = None,
    columns: Array | None = None,
) -> Shrunk:
    """Shrink by one of the methods; given intensities are held, others estimated.

    Parameters
    ----------
    data : CentredLogs
    method : {"basis", "invariant", "logratio", "ledoit_wolf", "oas"}
    intensity, variance : float, optional
        λ and λ_var to hold.
    columns : ndarray, shape (n, p), optional
        Log-ratio columns of "logratio"; default the CLR.
    """
    if method in ("basis", "logratio"):
        x = data.logs if method == "basis" else (data.clr if columns is None else columns)
        return _correlation_shrinkage(data, x, intensity, variance, projected=method == "basis")
    if method == "invariant":
        return _invariant(data, intensity)
    return _scaled_identity(data, method, intensity)


def _correlation_shrinkage(
    data: CentredLogs, x: Array, intensity: float | None, variance: float | None, projected: bool
) -> Shrunk:
    h1, w = data.unbiasing, data.weight
    v = h1 * (w @ (x * x))
    v = np.maximum(v, np.finfo(float).tiny)
    z = x / np.sqrt(v)
    lam = correlation_intensity(z, w) if intensity is None else intensity
    lam_var = variance_intensity(x, w, v, h1) if variance is None else variance
    shrunk = lam_var * np.median(v) + (1 - lam_var) * v
    return Shrunk(lam, lam_var, np.sqrt(shrunk), np.sqrt(h1 * w)[:, None] * z, shrunk, v, projected)


def _invariant(data: CentredLogs, intensity: float | None) -> Shrunk:
    """M = (1-λ)Γ + λ diag(v), v from Γ alone: unchanged by units of the parts."""
    h1, w = data.unbiasing, data.weight
    gamma_diagonal = h1 * (w @ (data.clr * data.clr))
    v = basis_variances(gamma_diagonal)
    rows = np.sqrt(h1 * w)[:, None] * data.clr / np.sqrt(v)
    lam = invariant_intensity(data.clr, w, v, h1, rows) if intensity is None else intensity
    return Shrunk(lam, 0.0, np.sqrt(v), rows, v, v)


def invariant_intensity(c: Array, weight: Array, v: Array, h1: float, rows: Array) -> float:
    """λ towards T = G diag(v) G with weights 1/(v_i v_j), by matrix-vector products.

    λ = clip{Σ_ij var(γ̂_ij)/(v_iv_j) ÷ Σ_ij(γ̂_ij - T_ij)²/(v_iv_j)} over all i, j,
    var(γ̂_ij) = h1² w2/(1-w2)(m22 - m11²). In units of √v the target is I - (ab'+ba')/D + (Σv/D²)bb',
    a = √v, b = 1/a.
    """
    d = len(v)
    w2 = float(weight @ weight)
    z = c / np.sqrt(v)
    scaled = z * np.sqrt(weight)[:, None]
    outer = scaled @ scaled.T
    first = float(np.sum(outer * outer))
    norms = np.einsum("ij,ij->i", z, z)
    noise = h1**2 * w2 / (1 - w2) * (float(weight @ norms**2) - first)
    a, b = np.sqrt(v), 1 / np.sqrt(v)
    total = float(v.sum()) / d**2
    aa, bb, ab = float(a @ a), float(b @ b), float(d)
    # Squared norm of T/√(vv') and its inner product with Z'Z.
    norm_target = (
        d + 2 * (aa * bb + ab**2) / d**2 + total**2 * bb**2 - 4 * ab / d + 2 * total * bb - 4 * total * ab * bb / d
    )
    za, zb = rows @ a, rows @ b
    inner = float(np.sum(rows * rows)) - 2 * float(za @ zb) / d + total * float(zb @ zb)
    gram = rows @ rows.T
    return _ratio(noise, float(np.sum(gram * gram)) - 2 * inner + norm_target)


def _scaled_identity(data: CentredLogs, method: str, intensity: float | None) -> Shrunk:
    """M = (1-λ)Γ + λμI with λ of scikit-learn's estimator on D - 1 orthonormal log-ratio coordinates.

    scikit-learn's λ depends on the data only through ZZ', which every orthonormal basis of the log-ratios
    shares with the CLR; the dimension is D - 1. (test_identity_shrinkage_is_that_of_any_ilr)
    """
    h1, w, d = data.unbiasing, data.weight, data.clr.shape[1]
    rows = np.sqrt(h1 * w)[:, None] * data.clr
    mu = float(np.sum(rows * rows)) / (d - 1)
    if intensity is None:
        scaled = np.sqrt(w)[:, None] * data.clr
        outer = scaled @ scaled.T
        norms = np.einsum("ij,ij->i", data.clr, data.clr)
        intensity = identity_intensity(
            method, float(np.sum(outer * outer)), float(np.trace(outer)), float(w @ norms**2), data.n_effective, d
        )
    return Shrunk(intensity, 0.0, np.full(d, np.sqrt(mu)), rows / np.sqrt(mu), np.full(d, mu), np.full(d, mu))


def identity_intensity(
    method: str, squares: float, trace: float, mean_fourth_norm: float, n: float, n_parts: int
) -> float:
    """Ledoit-Wolf or oracle-approximating λ on D - 1 dimensions.

    Parameters
    ----------
    method : {"ledoit_wolf", "oas"}
    squares, trace : float
        Squared norm and trace of Σw cc'.
    mean_fourth_norm : float
        Σw‖c‖⁴.
    n : float
        Effective sample size.
    n_parts : int
        D.
    """
    p = n_parts - 1
    if method == "ledoit_wolf":
        beta = (mean_fourth_norm - squares) / (n * p)
        delta = (squares - trace**2 / p) / p
        return 1.0 if delta <= 0 else _clip(min(beta, delta) / delta)
    alpha, mean = squares / p**2, trace / p
    denominator = (n + 1.0) * (alpha - mean**2 / p)
    return 1.0 if denominator <= 0 else _clip((alpha + mean**2) / denominator)


def closure_null(variances: Array) -> Array:
    r"""Partial correlations that closing independent amounts produces by itself.

    .. math:: r^0_{ij} = \sqrt{\frac{\omega_i\omega_j}{(W-\omega_i)(W-\omega_j)}},\quad
              \omega_i = 1/v_i,\; W = \sum_i\omega_i .

    Parameters
    ----------
    variances : array-like, shape (D,)
        Variances v of the log amounts of an independent basis.

    Returns
    -------
    ndarray, shape (D, D)
        Diagonal 1. Equal variances give 1/(D - 1).

    References
    ----------
    Jin, Notredame & Erb, doi 10.57645/20.8080.02.8.

    Examples
    --------
    >>> from causalkit.composition import closure_null
    >>> closure_null([1.0, 1.0, 1.0]).round(6)[0].tolist()
    [1.0, 0.5, 0.5]
    """
    v = np.asarray(variances, dtype=float)
    if v.ndim != 1 or len(v) < 3 or not (np.isfinite(v).all() and (v > 0).all()):
        raise ValueError(f"variances must be three or more positive finite numbers; got {v!r}.")
    factor = closure_factor(v)
    out = np.outer(factor, factor)
    np.fill_diagonal(out, 1.0)
    return out


def closure_factor(v: Array) -> Array:
    """f with r⁰_ij = f_i f_j, shape (D,): √(ω_i/(W - ω_i))."""
    omega = 1 / v
    total = omega.sum()
    return np.asarray(np.sqrt(omega / (total - omega)))


def shrink_covariance(X: object, method: str = "basis", sample_weight: object = None) -> Shrunk:
    """Shrunken covariance of a composition.

    Parameters
    ----------
    X : array-like, shape (n, D)
        Positive parts; rows are closed first.
    method : {"basis", "invariant", "logratio", "ledoit_wolf", "oas"}, default="basis"
        Towards an independent basis of log proportions; of unit-invariant log-ratios; of CLR columns;
        towards a scaled identity in orthonormal log-ratio coordinates.
    sample_weight : array-like, shape (n,), optional
        Analysis weights.

    Returns
    -------
    Shrunk
        With ``intensity`` λ, ``variance_intensity`` λ_var and the pieces of M.

    Raises
    ------
    TooFewPartsError, DegreesOfFreedomError
        Fewer than three parts, or than three rows of positive weight.
    DegenerateLogRatioError
        A column of "basis" or "logratio" that does not vary.

    References
    ----------
    Schäfer & Strimmer 2005, doi 10.2202/1544-6115.1175; Opgen-Rhein & Strimmer 2007,
    doi 10.2202/1544-6115.1252.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.composition import shrink_covariance
    >>> X = np.exp(np.random.default_rng(0).normal(size=(20, 4)))
    >>> 0 <= shrink_covariance(X).intensity <= 1
    True
    """
    from causalkit.composition.covariance import centre_logs, refuse_constant_columns
    from causalkit.validation import check_choice, check_composition, check_sample_weight

    check_choice(method, "method", METHODS)
    values, names = check_composition(X, min_parts=3)
    weight = check_sample_weight(sample_weight, len(values), like="X")
    n = len(values) if weight is None else int(np.count_nonzero(weight))
    if n < 3:
        raise DegreesOfFreedomError(f"X has {n} rows of positive weight: an intensity needs a minimum of 3.")
    data = centre_logs(np.log(values, order="C"), weight)
    if method in ("basis", "logratio"):
        columns = data.logs if method == "basis" else data.clr
        refuse_constant_columns(data.weight @ (columns * columns), data.mean, names, method)
    return shrink_logs(data, method)
