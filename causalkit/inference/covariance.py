"""Covariance of a mean of influence values under independence or clustering."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from causalkit.validation import Groups

__all__ = ["cluster_sums", "finite_sample_factor", "influence_covariance"]

Array = NDArray[np.float64]


def cluster_sums(values: Array, codes: NDArray[np.intp], n_groups: int | None = None) -> Array:
    """Sum rows within groups.

    Parameters
    ----------
    values : ndarray, shape (n, q)
        Rows to add up.
    codes : ndarray of int, shape (n,)
        Group of each row, from 0.
    n_groups : int, optional
        Number of groups; default the largest code plus one.

    Returns
    -------
    ndarray, shape (G, q)
    """
    size = int(codes.max()) + 1 if n_groups is None else n_groups
    return np.column_stack([np.bincount(codes, weights=column, minlength=size) for column in values.T])


def influence_covariance(
    influence: Array,
    *,
    groups: Groups | None = None,
    frequency: Array | None = None,
    factor: float = 1.0,
) -> Array:
    """Covariance of the mean of influence values, c·Σ_g(Σ_{i in g}ψ_i)(Σ_{i in g}ψ_i)'/n².

    Parameters
    ----------
    influence : ndarray, shape (n, q)
        Influence values on the mean scale.
    groups : Groups, optional
        Clusters; rows are independent without them.
    frequency : ndarray, shape (n,), optional
        Number of copies that a row stands for, already multiplied into ``influence``: independent
        copies add up to ψψ'/frequency. Within clusters the copies are dependent and it has no part.
    factor : float, default=1.0
        Finite-sample factor c.

    Returns
    -------
    ndarray, shape (q, q)
    """
    n = influence.shape[0]
    if groups is not None:
        sums = cluster_sums(influence, groups.codes, groups.n_groups)
        return factor * (sums.T @ sums) / n**2
    if frequency is None:
        return factor * (influence.T @ influence) / n**2
    inverse = np.divide(1.0, frequency, out=np.zeros_like(frequency), where=frequency > 0)
    return factor * (influence.T @ (influence * inverse[:, None])) / n**2


def finite_sample_factor(n_rows: float, n_params: int, cov_type: str, groups: Groups | None = None) -> float:
    """Degrees-of-freedom factor of a sandwich covariance.

    n/(n-p) for "HC1", 1 for "HC0"; with G clusters G/(G-1)·(n-1)/(n-p) for both.

    Raises
    ------
    ValueError
        One cluster, or no more rows than coefficients.
    """
    if n_rows <= n_params and (groups is not None or cov_type == "HC1"):
        raise ValueError(
            f"the sample has {n_rows:g} rows for {n_params} coefficients: a covariance needs more rows than "
            "coefficients. Drop regressors or pass more rows; frequency weights must add up to the number of rows."
        )
    if groups is not None:
        g = groups.n_groups
        if g < 2:
            raise ValueError(f"groups has {g} cluster: a clustered covariance needs at least two.")
        return g / (g - 1) * (n_rows - 1) / (n_rows - n_params)
    return n_rows / (n_rows - n_params) if cov_type == "HC1" else 1.0
