"""Simulated compositions whose partial correlations are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.datasets.simulated_map import as_generator, check_number
from causalkit.validation import check_integer, check_matrix, check_vector

__all__ = ["CompositionNetwork", "LogisticNormalSample", "make_composition_network", "make_logistic_normal"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LogisticNormalSample:
    r"""Compositions whose log-ratios are jointly normal, and their true partial correlations.

    Attributes
    ----------
    X : ndarray, shape (n, D)
        Proportions; rows sum to 1.
    precision : ndarray, shape (D, D)
        Γ⁺ of the population, the pseudo-inverse of the covariance of the centred log-ratios.
    partial_correlation : ndarray, shape (D, D)
        :math:`-\Gamma^+_{ij}/\sqrt{\Gamma^+_{ii}\Gamma^+_{jj}}`, diagonal 1.
    """

    X: Array
    precision: Array
    partial_correlation: Array

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n={self.X.shape[0]}, n_parts={self.X.shape[1]})"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class CompositionNetwork(LogisticNormalSample):
    """Compositions of amounts that form a sparse network.

    Attributes
    ----------
    X, precision, partial_correlation
        As in :class:`LogisticNormalSample`.
    amounts : ndarray, shape (n, D)
        The amounts before they were closed.
    basis_precision : ndarray, shape (D, D)
        Inverse covariance Ω of the log amounts.
    adjacency : ndarray of bool, shape (D, D)
        Pairs that are dependent given the other amounts.
    """

    amounts: Array
    basis_precision: Array
    adjacency: NDArray[np.bool_]


def make_composition_network(
    n_samples: int = 60,
    n_parts: int = 40,
    *,
    scale_sd: float = 0.0,
    mean_sd: float = 0.0,
    random_state: Any = None,
) -> CompositionNetwork:
    r"""Simulate closed log-normal amounts with known neighbours.

    Log amounts are :math:`\mu + \mathrm{diag}(s)z`, :math:`z \sim N(0, K^{-1})`, where K has 1 on its diagonal
    and -.4 between neighbours 1-2, 2-3, 4-5, 5-6, ...: every third link of the chain is left out. Hence each
    edge has partial correlation .4 among the amounts, and 40 parts have 26 edges in 780 pairs.

    Parameters
    ----------
    n_samples : int, default=60
        Rows.
    n_parts : int, default=40
        Parts D, at least 3.
    scale_sd : float, default=0.0
        Standard deviation of log s. With 0 all parts have the same units.
    mean_sd : float, default=0.0
        Standard deviation of μ.
    random_state : int, Generator, RandomState or None
        Draws in this order, all standard normal: D for log s, D for μ (both always drawn, so that the other
        numbers do not depend on the two settings), n·D for the amounts.

    Returns
    -------
    CompositionNetwork
        Its ``precision`` is :math:`\Omega - uu'/(1'u)` with :math:`u = \Omega 1`: closing the amounts makes every
        pair dependent, by little where D is large.

    Raises
    ------
    ValueError
        If a size or a standard deviation is out of range.

    References
    ----------
    Jin, Notredame and Erb, doi:10.57645/20.8080.02.8, on closed independent amounts; Zhang, Wang and Lin (2023),
    arXiv:2309.06985, for the precision after closing.

    Examples
    --------
    >>> from causalkit.datasets import make_composition_network
    >>> network = make_composition_network(n_samples=60, n_parts=40, random_state=0)
    >>> network.X.shape, int(network.adjacency.sum()) // 2
    ((60, 40), 26)
    """
    n = check_integer(n_samples, "n_samples", low=1)
    d = check_integer(n_parts, "n_parts", low=3)
    scale_sd = _check_sd(scale_sd, "scale_sd")
    mean_sd = _check_sd(mean_sd, "mean_sd")
    rng = as_generator(random_state)
    scale = np.exp(scale_sd * rng.standard_normal(d))
    mean = mean_sd * rng.standard_normal(d)
    first = np.array([j for j in range(d - 1) if j % 3 != 2])
    chain = np.eye(d)
    chain[first, first + 1] = chain[first + 1, first] = -0.4
    # z = L⁻ᵀe has covariance (LL')⁻¹.
    lower = np.linalg.cholesky(chain)
    logs = mean + scale * np.linalg.solve(lower.T, rng.standard_normal((n, d)).T).T
    omega = chain / np.outer(scale, scale)
    u = omega.sum(axis=1)
    precision = omega - np.outer(u, u) / u.sum()
    return CompositionNetwork(
        X=_close_logs(logs),
        precision=precision,
        partial_correlation=_correlations(precision),
        amounts=np.exp(logs),
        basis_precision=omega,
        adjacency=(chain != 0) & ~np.eye(d, dtype=bool),
    )


def make_logistic_normal(
    mean: Any, covariance: Any, n_samples: int = 100, *, reference: int = -1, random_state: Any = None
) -> LogisticNormalSample:
    r"""Simulate compositions from the mean and covariance of their additive log-ratios.

    :math:`(\log x_i/x_b)_{i \ne b} \sim N(\mathrm{mean}, \Sigma)`; then
    :math:`\Gamma^+ = F'\Sigma^{-1}F`, F the identity without row b and with -1 in column b.

    Parameters
    ----------
    mean : array-like, shape (D - 1,)
        Mean log-ratios.
    covariance : array-like, shape (D - 1, D - 1)
        Their covariance Σ, symmetric and positive definite.
    n_samples : int, default=100
        Rows.
    reference : int, default=-1
        Position b of the reference part among the D parts of the result.
    random_state : int, Generator, RandomState or None
        Draws n·(D - 1) standard normal numbers, multiplied by the Cholesky factor of Σ.

    Returns
    -------
    LogisticNormalSample

    Raises
    ------
    ValueError
        If the shapes do not match, Σ is not symmetric positive definite, or ``reference`` is out of range.

    References
    ----------
    Aitchison (1986), The Statistical Analysis of Compositional Data, chapter 6. The benchmark of Jin, Notredame and
    Erb, doi:10.57645/20.8080.02.8, draws from the moments of single-cell counts in this way.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.datasets import make_logistic_normal
    >>> sample = make_logistic_normal([0.0, 0.0], np.eye(2), n_samples=50, random_state=0)
    >>> sample.X.shape, float(abs(sample.partial_correlation[0, 1]).round(6))
    ((50, 3), 0.0)
    """
    center = check_vector(mean, "mean")
    p = len(center)
    if p < 2:
        raise ValueError(f"mean must hold at least 2 log-ratios (3 parts); got {p}.")
    sigma, _ = check_matrix(covariance, "covariance", n_rows=p, like="mean")
    if sigma.shape != (p, p):
        raise ValueError(f"covariance must have shape ({p}, {p}) to match mean; got {sigma.shape}.")
    if not np.allclose(sigma, sigma.T, rtol=1e-10, atol=0):
        raise ValueError("covariance must be symmetric; got a matrix that differs from its transpose.")
    check_integer(n_samples, "n_samples", low=1)
    b = check_integer(reference, "reference", low=-p - 1, high=p) % (p + 1)
    try:
        lower = np.linalg.cholesky(sigma)
    except np.linalg.LinAlgError:
        raise ValueError(
            "covariance must be positive definite; got a singular or indefinite matrix. Use more rows than parts to "
            "estimate it, or drop a part."
        ) from None
    ratios = center + as_generator(random_state).standard_normal((n_samples, p)) @ lower.T
    projection = np.delete(np.eye(p + 1), b, axis=0)
    projection[:, b] = -1
    half = np.linalg.solve(lower, projection)
    precision = half.T @ half
    return LogisticNormalSample(
        X=_close_logs(np.insert(ratios, b, 0.0, axis=1)),
        precision=precision,
        partial_correlation=_correlations(precision),
    )


def _check_sd(value: Any, name: str) -> float:
    number = check_number(value, name)
    if number < 0:
        raise ValueError(f"{name} must not be negative: it is a standard deviation; got {value!r}.")
    return number


def _close_logs(logs: Array) -> Array:
    """Proportions from logs of amounts; the largest part of a row is taken out first against overflow."""
    amounts = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(amounts / amounts.sum(axis=1, keepdims=True))


def _correlations(precision: Array) -> Array:
    root = np.sqrt(np.diag(precision))
    out = -precision / np.outer(root, root)
    np.fill_diagonal(out, 1.0)
    return np.asarray(out)
