"""Log-ratio covariances that outlying rows cannot carry away: Tyler's shape and the minimum covariance determinant."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.contrasts import helmert_contrasts
from causalkit.composition.log_ratios import isometric_log_ratios
from causalkit.exceptions import ConvergenceWarning, DegenerateLogRatioError, DegreesOfFreedomError
from causalkit.validation import check_choice, check_composition

__all__ = ["RobustMoments", "robust_log_ratio_covariance", "robust_moments", "tyler_shape"]

Array = NDArray[np.float64]

METHODS = ("mcd", "tyler")


@dataclass(frozen=True)
class RobustMoments:
    """Robust location and covariance of centred log-ratios.

    Attributes
    ----------
    location : ndarray, shape (D,)
        Centre; sums to 0.
    covariance : ndarray, shape (D, D)
        Γ; exactly symmetric, rows sum to 0. Scaled to the covariance of normal log-ratios.
    n_iter : int
        Iterations; 0 for "mcd".
    """

    location: Array
    covariance: Array
    n_iter: int


def tyler_shape(Z: Array, tol: float = 1e-9, max_iter: int = 500) -> tuple[Array, Array, int, bool]:
    r"""Simultaneous location m and shape S (Hettmansperger and Randles).

    With unit vectors :math:`u_i = S^{-1/2}(z_i - m)/\|S^{-1/2}(z_i - m)\|` it solves

    .. math:: \frac1n\sum_i u_i = 0, \qquad \frac{p}{n}\sum_i u_i u_i' = I .

    Each row counts by its direction only, so distance gives it no weight. Affine equivariant.

    Parameters
    ----------
    Z : ndarray, shape (n, p)
        Coordinates, n above p.
    tol : float, default=1e-9
        Largest change of the standardised shape and location in one step.
    max_iter : int, default=500
        Largest number of steps.

    Returns
    -------
    location : ndarray, shape (p,)
    shape : ndarray, shape (p, p)
        Trace p; a covariance up to a factor.
    n_iter : int
    converged : bool

    Raises
    ------
    DegenerateLogRatioError
        If the rows lie in a hyperplane, or so many do that no shape exists.

    References
    ----------
    Hettmansperger and Randles (2002), Biometrika 89:851-860. Tyler (1987), Annals of Statistics 15:234-251.
    """
    p = Z.shape[1]
    location = np.median(Z, axis=0)
    centred = Z - location
    shape = _unit_trace(centred.T @ centred)
    for n_iter in range(1, max_iter + 1):
        distance = _distances(centred, shape)
        middle = float(np.median(distance))
        if not middle > 0:
            raise _flat()
        # A row at the centre has no direction; the floor keeps its weight finite.
        inverse = 1 / np.maximum(distance, 1e-12 * middle)
        directions = centred * inverse[:, None]
        updated = _unit_trace(directions.T @ directions)
        step = directions.sum(axis=0) / inverse.sum()
        # Both changes are measured in the metric of the shape, so that units do not matter.
        moved = float(_distances(step[None, :], shape)[0]) / middle
        ratio = np.linalg.solve(shape, updated)
        changed = float(np.abs(ratio * (p / np.trace(ratio)) - np.eye(p)).max())
        location, shape = location + step, updated
        centred = Z - location
        if max(moved, changed) <= tol:
            return location, shape, n_iter, True
    return location, shape, max_iter, False


def _flat() -> DegenerateLogRatioError:
    return DegenerateLogRatioError(
        "X has too many rows in one hyperplane of the log-ratios for a robust shape: some log-contrast of the parts is "
        "constant on them. Drop duplicate rows, merge proportional parts, or use robust=None."
    )


def _unit_trace(matrix: Array) -> Array:
    trace = float(np.trace(matrix))
    if not trace > 0:
        raise _flat()
    return np.asarray(matrix * (len(matrix) / trace))


def _distances(centred: Array, shape: Array) -> Array:
    """√(z'S⁻¹z) of each row."""
    from scipy.linalg import solve_triangular

    try:
        lower = np.linalg.cholesky(shape)
    except np.linalg.LinAlgError:
        lower = np.zeros_like(shape)
    scale = np.sqrt(np.diag(shape))
    if not (np.diag(lower) > 1e-8 * scale).all():
        raise _flat()
    return np.asarray(np.linalg.norm(solve_triangular(lower, centred.T, lower=True), axis=0))


def robust_moments(log_ratios: Array, contrasts: Array, method: str, random_state: Any = 0) -> RobustMoments:
    """Robust location and covariance from orthonormal coordinates.

    Parameters
    ----------
    log_ratios : ndarray, shape (n, D - 1)
        Orthonormal log-ratio coordinates z; centred log-ratios are zV'.
    contrasts : ndarray, shape (D, D - 1)
        V.
    method : {"mcd", "tyler"}
    random_state : int, RandomState or None, default=0
        Source of the starting subsets of "mcd".

    Returns
    -------
    RobustMoments
    """
    from scipy.stats import chi2

    p = contrasts.shape[1]
    if method == "mcd":
        location, covariance, n_iter = *_minimum_determinant(log_ratios, random_state), 0
    else:
        location, shape, n_iter, converged = tyler_shape(log_ratios)
        if not converged:
            warnings.warn(
                f"Tyler's shape did not converge in {n_iter} iterations: the log-ratios are close to a hyperplane, or "
                "many rows are equal. Drop duplicate rows, or use robust=None.",
                ConvergenceWarning,
                stacklevel=3,
            )
        # A shape has no size: this one makes half of the distances those of a normal distribution.
        distance = _distances(log_ratios - location, shape)
        covariance = shape * float(np.median(distance)) ** 2 / float(chi2.median(p))
    gamma = contrasts @ covariance @ contrasts.T
    return RobustMoments(contrasts @ location, (gamma + gamma.T) / 2, n_iter)


def _minimum_determinant(z: Array, random_state: Any) -> tuple[Array, Array]:
    from sklearn.covariance import MinCovDet

    singular = (
        "X has a majority of rows in one hyperplane of the log-ratios, so the covariance of its densest half is "
        "singular: drop duplicate rows, merge proportional parts, or use robust=None."
    )
    # Rank first: on flat data the search itself floods the user with warnings.
    spread = np.linalg.svd(z - z.mean(axis=0), compute_uv=False)
    if not spread[-1] > 1e-8 * spread[0]:
        raise DegenerateLogRatioError(singular)
    try:
        fitted = MinCovDet(random_state=random_state).fit(z)
    except ValueError as error:
        raise DegenerateLogRatioError(singular) from error
    values = np.linalg.eigvalsh(fitted.covariance_)
    if not values[0] > 1e-12 * values[-1]:
        raise DegenerateLogRatioError(singular)
    return np.asarray(fitted.location_), np.asarray(fitted.covariance_)


def robust_log_ratio_covariance(X: Any, method: str = "mcd", *, random_state: Any = 0) -> Array:
    """Robust covariance Γ of the centred log-ratios.

    It is estimated in orthonormal log-ratio coordinates, where it is of full rank, and carried back; both methods are
    affine equivariant, so the choice of the coordinates does not matter.

    Parameters
    ----------
    X : array-like, shape (n, D)
        Positive parts, n above 2D.
    method : {"mcd", "tyler"}, default="mcd"
        "mcd": minimum covariance determinant, reweighted, of scikit-learn. "tyler": simultaneous location and shape
        (:func:`tyler_shape`), with a size that fits normal log-ratios; partial correlations need the shape only.
    random_state : int, RandomState or None, default=0
        Source of the starting subsets of "mcd".

    Returns
    -------
    ndarray, shape (D, D)
        Exactly symmetric; rows sum to 0.

    Raises
    ------
    DegreesOfFreedomError
        If there are not more than 2D rows.
    DegenerateLogRatioError
        If too many rows lie in a hyperplane.

    Warns
    -----
    ConvergenceWarning
        If "tyler" stops early.

    References
    ----------
    Rousseeuw and Van Driessen (1999), Technometrics 41:212-223. Hettmansperger and Randles (2002), Biometrika
    89:851-860. Filzmoser and Hron (2008), Mathematical Geosciences 40:233-248, for robust estimates in orthonormal
    coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.composition.robust import robust_log_ratio_covariance
    >>> X = np.exp(np.random.default_rng(0).normal(size=(40, 4)))
    >>> robust_log_ratio_covariance(X, "tyler").shape
    (4, 4)
    """
    check_choice(method, "method", METHODS)
    amounts, _ = check_composition(X, min_parts=3)
    n, d = amounts.shape
    if n <= 2 * d:
        raise DegreesOfFreedomError(
            f"X has n_samples = {n} rows for {d} parts: a robust covariance needs more than 2D = {2 * d}. Pass more "
            "rows, fewer parts, or robust=None."
        )
    contrasts = helmert_contrasts(d)
    return robust_moments(isometric_log_ratios(amounts, contrasts), contrasts, method, random_state).covariance
