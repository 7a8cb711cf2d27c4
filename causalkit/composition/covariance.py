"""Covariances of log-ratios: centred logs, the matrix Γ, variation matrix and its relatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import DegenerateLogRatioError, DegreesOfFreedomError

__all__ = [
    "CentredLogs",
    "basis_variances",
    "centre_logs",
    "double_centre",
    "log_ratio_covariance",
    "proportionality",
    "refuse_constant_columns",
    "refuse_proportional_parts",
    "symmetric_balance_correlation",
    "variation_matrix",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CentredLogs:
    """Logs of closed proportions with their weighted mean (and confounders) taken out.

    Attributes
    ----------
    logs : ndarray, shape (n, D)
        Centred log proportions.
    clr : ndarray, shape (n, D)
        Centred log-ratios to the geometric mean of the row.
    mean : ndarray, shape (D,)
        Weighted mean of the log proportions.
    weight : ndarray, shape (n,)
        Weights that sum to 1.
    n_confounders : int
        q, columns that were regressed out beside the intercept.
    projector : ndarray, shape (n, q), optional
        Orthonormal basis of the weighted, centred confounders, for data sets simulated alike.
    """

    logs: Array
    clr: Array
    mean: Array
    weight: Array
    n_confounders: int = 0
    projector: Array | None = None

    @property
    def sum_of_squares(self) -> float:
        """w2 = Σ w²."""
        return float(self.weight @ self.weight)

    @property
    def n_effective(self) -> float:
        """1/Σ w², an exact count where the weights are equal."""
        size = 1.0 / self.sum_of_squares
        return float(round(size)) if abs(size - round(size)) < 1e-9 * size else size

    @property
    def unbiasing(self) -> float:
        """h1 = 1/(1 - (1 + q)w2), which is n/(n - 1 - q) without weights."""
        return 1.0 / (1.0 - (1 + self.n_confounders) * self.sum_of_squares)


def centre_logs(
    log_x: Array,
    weight: Array | None = None,
    confounders: Array | None = None,
    projector: Array | None = None,
    close: bool = True,
) -> CentredLogs:
    """Centre log proportions and regress confounders out of them.

    Parameters
    ----------
    log_x : ndarray, shape (n, D)
        Logs of positive parts; rows are closed here.
    weight : ndarray, shape (n,), optional
        Non-negative weights of any sum.
    confounders : ndarray, shape (n, q), optional
        Columns to regress out together with the intercept.
    projector : ndarray, shape (n, q), optional
        The same, already made orthonormal.
    close : bool, default=True
        False where the logs are residuals of log proportions, which closing would change.

    Raises
    ------
    DegreesOfFreedomError
        If the mean and the confounders take up all rows.
    """
    n = log_x.shape[0]
    w = np.full(n, 1.0 / n) if weight is None else weight / weight.sum()
    if close:
        logs = log_x - log_x.max(axis=1, keepdims=True)
        logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    else:
        logs = log_x.copy()
    mean = w @ logs
    logs -= mean
    if confounders is not None and projector is None:
        root = np.sqrt(w)[:, None]
        projector = np.linalg.qr(root * (confounders - w @ confounders))[0]
    if projector is not None and projector.shape[1]:
        root = np.sqrt(w)[:, None]
        # Rows of weight zero have no fitted value of their own; they carry none in any sum either.
        fitted = projector @ (projector.T @ (root * logs))
        logs -= np.divide(fitted, root, out=np.zeros_like(fitted), where=root > 0)
    q = 0 if projector is None else projector.shape[1]
    require_spread(w, q)
    clr = logs - logs.mean(axis=1, keepdims=True)
    return CentredLogs(logs, clr, mean, w, q, projector)


def require_spread(w: Array, q: int = 0) -> None:
    """Refuse weights (of sum 1) whose mean and q confounders take up all rows."""
    if not (1 + q) * float(w @ w) < 1 - 1e-12:
        raise DegreesOfFreedomError(
            f"{len(w)} rows with an effective number of {1 / float(w @ w):.3g} leave nothing to estimate a covariance "
            f"from: expected more than 1 + q = {1 + q} (q confounders). Pass more rows, or spread the weights."
        )


def double_centre(matrix: Array) -> Array:
    """G A G with G = I - 11'/D."""
    row = matrix.mean(axis=0)
    return np.asarray(matrix - row - matrix.mean(axis=1)[:, None] + row.mean())


def weighted_crossproduct(data: CentredLogs, columns: Array) -> Array:
    """h1·Σ w x x' of centred columns, exactly symmetric, shape (p, p)."""
    scaled = columns * np.sqrt(data.unbiasing * data.weight)[:, None]
    return np.asarray(scaled.T @ scaled)


def log_ratio_covariance(X: Any, sample_weight: Any = None) -> Array:
    r"""Covariance Γ of the centred log-ratios, divisor n - 1.

    .. math:: \Gamma = G S G,\quad S = \mathrm{cov}(\log x),\quad G = I - 11'/D .

    Parameters
    ----------
    X : array-like, shape (n, D)
        Positive parts; rows need not be closed.
    sample_weight : array-like, shape (n,), optional
        Analysis weights.

    Returns
    -------
    ndarray, shape (D, D)

    References
    ----------
    Aitchison 1986, The Statistical Analysis of Compositional Data, ch. 4.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.composition import log_ratio_covariance
    >>> X = np.exp(np.random.default_rng(0).normal(size=(20, 4)))
    >>> bool(abs(log_ratio_covariance(X).sum()) < 1e-12)
    True
    """
    from causalkit.validation import check_composition, check_sample_weight

    values, _ = check_composition(X)
    weight = check_sample_weight(sample_weight, len(values), like="X")
    # Log-ratios need no closing: row means go first, so that totals of any size cost no accuracy.
    clr = np.log(values, order="C")
    clr -= clr.mean(axis=1, keepdims=True)
    share = np.full(len(clr), 1.0 / len(clr)) if weight is None else weight / weight.sum()
    require_spread(share)
    clr -= share @ clr
    if weight is None:
        return np.asarray(clr.T @ clr) / (len(clr) - 1)
    clr *= np.sqrt(share / (1 - share @ share))[:, None]
    return np.asarray(clr.T @ clr)


def variation_matrix(X: Any, sample_weight: Any = None) -> Array:
    r"""Variances of all log-ratios.

    .. math:: \tau_{ij} = \mathrm{var}\log(x_i/x_j) = \gamma_{ii}+\gamma_{jj}-2\gamma_{ij} .

    Parameters
    ----------
    X : array-like, shape (n, D)
        Positive parts.
    sample_weight : array-like, shape (n,), optional
        Analysis weights.

    Returns
    -------
    ndarray, shape (D, D)
        Symmetric with zero diagonal; divisor n - 1.

    References
    ----------
    Aitchison 1986, definition 4.4.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.composition import variation_matrix
    >>> variation_matrix(np.array([[1.0, 2.0, 1.0], [1.0, 4.0, 1.0], [1.0, 8.0, 1.0]])).round(6)
    array([[0.      , 0.480453, 0.      ],
           [0.480453, 0.      , 0.480453],
           [0.      , 0.480453, 0.      ]])
    """
    return variation_of(log_ratio_covariance(X, sample_weight))


def variation_of(gamma: Array) -> Array:
    """Variation matrix of Γ."""
    diagonal = np.diag(gamma)
    tau = diagonal[:, None] + diagonal - 2 * gamma
    np.maximum(tau, 0.0, out=tau)
    np.fill_diagonal(tau, 0.0)
    return np.asarray(tau)


def basis_variances(gamma_diagonal: Array) -> Array:
    """Variances v of an independent basis with these log-ratio variances, floored at 10⁻³ of their mean.

    v_i = (t_i - Σt/(2(D-1)))/(D-2), t_i = Σ_j τ_ij = Dγ_ii + tr Γ (Friedman & Alm 2012, eq. 8-9).
    """
    d = len(gamma_diagonal)
    totals = d * gamma_diagonal + gamma_diagonal.sum()
    v = (totals - totals.sum() / (2 * (d - 1))) / (d - 2)
    return np.asarray(np.maximum(v, 1e-3 * v.mean()))


def proportionality(X: Any, kind: str = "rho_p", sample_weight: Any = None) -> Array:
    r"""Proportionality of parts from centred log-ratios.

    rho_p = 2γ_ij/(γ_ii+γ_jj); phi_s = var(c_i-c_j)/var(c_i+c_j) = (1-ρ_p)/(1+ρ_p); phi = τ_ij/γ_ii.

    Parameters
    ----------
    X : array-like, shape (n, D)
        Positive parts.
    kind : {"rho_p", "phi_s", "phi"}, default="rho_p"
    sample_weight : array-like, shape (n,), optional
        Analysis weights.

    Returns
    -------
    ndarray, shape (D, D)

    References
    ----------
    Quinn et al. 2017, Scientific Reports 7:16252.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.composition import proportionality
    >>> X = np.exp(np.random.default_rng(0).normal(size=(20, 4)))
    >>> bool((np.diag(proportionality(X)) == 1).all())
    True
    """
    from causalkit.validation import check_choice

    check_choice(kind, "kind", ("rho_p", "phi_s", "phi"))
    gamma = log_ratio_covariance(X, sample_weight)
    diagonal = np.diag(gamma)
    if kind == "phi":
        return np.asarray(variation_of(gamma) / diagonal[:, None])
    total = diagonal[:, None] + diagonal
    if kind == "phi_s":
        return np.asarray((total - 2 * gamma) / (total + 2 * gamma))
    rho = 2 * gamma / total
    np.fill_diagonal(rho, 1.0)
    return np.asarray(rho)


def symmetric_balance_correlation(X: Any, sample_weight: Any = None) -> Array:
    r"""Correlation of symmetric balances, an association of two parts given the geometric mean of the rest.

    With p4 = 1/(D-1+√(D(D-2))), p3 = (√(D-2)+√D)p4/√(D-2), a = 1+p3, b = p3-p4:
    var_i = a²γ_ii + b²γ_jj + 2abγ_ij and cov = ab(γ_ii+γ_jj) + (a²+b²)γ_ij.

    Parameters
    ----------
    X : array-like, shape (n, D)
        Positive parts, D at least 3.
    sample_weight : array-like, shape (n,), optional
        Analysis weights.

    Returns
    -------
    ndarray, shape (D, D)

    References
    ----------
    Kynčlová, Hron & Filzmoser 2017, Mathematical Geosciences 49:777-796.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.composition import symmetric_balance_correlation
    >>> X = np.exp(np.random.default_rng(0).normal(size=(20, 4)))
    >>> symmetric_balance_correlation(X).shape
    (4, 4)
    """
    from causalkit.validation import check_composition

    check_composition(X, min_parts=3)
    gamma = log_ratio_covariance(X, sample_weight)
    d, diagonal = len(gamma), np.diag(gamma)
    p4 = 1 / (d - 1 + np.sqrt(d * (d - 2)))
    p3 = (np.sqrt(d - 2) + np.sqrt(d)) * p4 / np.sqrt(d - 2)
    a, b = 1 + p3, p3 - p4
    variance = a**2 * diagonal[:, None] + b**2 * diagonal + 2 * a * b * gamma
    covariance = a * b * (diagonal[:, None] + diagonal) + (a**2 + b**2) * gamma
    out = covariance / np.sqrt(variance * variance.T)
    np.fill_diagonal(out, 1.0)
    return np.asarray(out)


def rounding_variance(mean: Array) -> float:
    """Variance that rounding alone gives to logs of this size."""
    return float((32 * np.finfo(float).eps * (1 + np.abs(mean).max())) ** 2)


def proportional_error(first: str, second: str) -> DegenerateLogRatioError:
    """The error for two parts in a constant ratio."""
    return DegenerateLogRatioError(
        f"parts {first!r} and {second!r} are proportional: their log-ratio does not vary. Merge them, or drop one of "
        "the two."
    )


def refuse_constant_columns(variances: Array, mean: Array, names: list[str], method: str) -> None:
    """Refuse columns that shrinkage of correlations would have to divide by a spread of 0."""
    constant = np.flatnonzero(variances <= np.maximum(1e-24 * variances.mean(), rounding_variance(mean)))
    if len(constant):
        what = "log proportion" if method == "basis" else "log-ratio"
        raise DegenerateLogRatioError(
            f"the {what} of part {names[constant[0]]!r} does not vary ({len(constant)} such parts), and "
            f"shrinkage={method!r} divides by its spread. Use shrinkage='invariant', 'ledoit_wolf' or None."
        )


def refuse_proportional_parts(data: CentredLogs, names: list[str]) -> None:
    """Refuse two parts whose log-ratio does not vary (relative 1e-12, or rounding), in O(nD log D).

    A random projection of the columns puts equal columns next to each other; neighbours are then compared
    in full.
    """
    columns = data.clr * np.sqrt(data.weight)[:, None]
    size = float(np.einsum("ij,ij->", columns, columns)) / columns.shape[1]
    small = max(1e-12 * size, rounding_variance(data.mean))
    probe = np.random.default_rng(0).standard_normal(len(columns)) @ columns
    order = np.argsort(probe)
    near = np.flatnonzero(np.diff(probe[order]) <= 10 * np.sqrt(small))
    for position in near:
        # Columns that a projection cannot tell apart may still be separated by others in between.
        for step in range(1, 6):
            if position + step >= len(order):
                break
            i, j = sorted((int(order[position]), int(order[position + step])))
            difference = columns[:, i] - columns[:, j]
            if difference @ difference <= small:
                raise proportional_error(names[i], names[j])
