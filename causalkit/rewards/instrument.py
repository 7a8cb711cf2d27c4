r"""Two-stage least squares of the outcome on features and confounders, some of them instrumented.

With A = (1, X, W, C), B = (1, X, W, Z) and P_B the projection on B, (θ̂, δ̂, γ̂) = (A'P_BA)⁻¹A'P_BY. The features X and
the other confounders W are partialled out first (Frisch, Waugh and Lovell), from cross-products over chunks of rows:
what is left are the few columns of Y, C and Z, and X is never copied as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import IdentificationError, UnderIdentifiedError
from causalkit.linear import linear_moments
from causalkit.rewards.orthogonal import row_chunks

__all__ = ["TwoStageFit", "two_stage_fit"]

Array = NDArray[np.float64]

# Share of a column's variance below which nothing of its own is left.
_NO_VARIATION = 1e-10


@dataclass(frozen=True, eq=False, kw_only=True)
class TwoStageFit:
    """A solved two-stage least squares problem and what its tests need.

    Attributes
    ----------
    theta : ndarray, shape (p,)
        θ̂, coefficients of the features.
    delta : ndarray, shape (q,)
        δ̂, coefficients of the other confounders; of least norm where their columns are collinear.
    gamma : ndarray, shape (m,)
        γ̂, coefficients of the endogenous confounders.
    intercept : float
        Constant of the outcome equation.
    influence : ndarray, shape (n, p)
        Influence values of θ̂ on the mean scale, in the type of X.
    delta_influence : ndarray, shape (n, q)
        Influence values of δ̂.
    gamma_influence : ndarray, shape (n, m)
        Influence values of γ̂.
    residuals : ndarray, shape (n,)
        Y - α̂ - X'θ̂ - W'δ̂ - C'γ̂.
    confounder_effect : ndarray, shape (n,)
        W'δ̂ + C'γ̂ less its mean.
    outcome, endogenous, instruments : ndarray, shapes (n,), (n, m) and (n, k)
        Y, C and Z after (1, X, W) was partialled out; collinear instruments are replaced by a basis.
    weight : ndarray, shape (n,), or None
        Weights of mean 1.
    n_partialled : int
        Rank of (1, X, W).
    endogenous_names : tuple of str, length m
        Names of C.
    """

    theta: Array
    delta: Array
    gamma: Array
    intercept: float
    influence: NDArray[np.floating]
    delta_influence: Array
    gamma_influence: Array
    residuals: Array
    confounder_effect: Array
    outcome: Array
    endogenous: Array
    instruments: Array
    weight: Array | None
    n_partialled: int
    endogenous_names: tuple[str, ...]

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.residuals)

    @property
    def n_instruments(self) -> int:
        """k, the rank of the instruments given X and W."""
        return self.instruments.shape[1]

    @property
    def nu(self) -> int:
        """ν = n - k - rank(1, X, W), degrees of freedom of the first stage."""
        return self.n - self.n_instruments - self.n_partialled

    @property
    def degrees_of_freedom(self) -> int:
        """n - rank(1, X, W) - m."""
        return self.n - self.n_partialled - len(self.gamma)

    @property
    def residual_variance(self) -> float:
        """Σwê²/(n - rank(1, X, W) - m)."""
        e = self.residuals
        return float(e @ (e if self.weight is None else e * self.weight) / self.degrees_of_freedom)


@dataclass(frozen=True, eq=False)
class _Partialled:
    """Regression of some columns on (1, X, W)."""

    slopes: Array  # (p + q, s)
    inverse: Array  # (p + q, p + q) pseudo-inverse of the centred Gram matrix
    mean: Array  # (p + q,) of (X, W)
    column_mean: Array  # (s,)
    residuals: Array  # (n, s)
    rank: int  # of (X, W), without the constant


def two_stage_fit(
    X: NDArray[np.floating],
    W: Array | None,
    C: Array,
    Z: Array,
    y: Array,
    weight: Array | None = None,
    *,
    feature_names: Any = None,
    endogenous_names: Any = None,
    instrument_names: Any = None,
) -> TwoStageFit:
    r"""Two-stage least squares of y on (1, X, W, C) with C instrumented by Z.

    .. math:: (\hat\theta, \hat\delta, \hat\gamma) = (A'P_BA)^{-1}A'P_BY, \quad A = (1, X, W, C),\ B = (1, X, W, Z).

    Assumptions: Z moves y only through C, given X and W, and moves C (is relevant); effects are additive.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Features, float32 or float64.
    W : ndarray, shape (n, q), or None
        Encoded other confounders; they may be collinear with one another.
    C : ndarray, shape (n, m)
        Endogenous confounders.
    Z : ndarray, shape (n, k)
        Instruments.
    y : ndarray, shape (n,)
        Outcome.
    weight : ndarray, shape (n,), optional
        Weights of mean 1.
    feature_names, endogenous_names, instrument_names : sequence of str, optional
        For messages and tables.

    Returns
    -------
    TwoStageFit

    Raises
    ------
    UnderIdentifiedError
        Fewer instruments than endogenous columns, or too few rows.
    IdentificationError
        Features that are collinear given W, or an instrument or endogenous column without variation given X and W,
        by name; or instruments that do not move every endogenous column.

    References
    ----------
    Wooldridge, *Econometric Analysis of Cross Section and Panel Data* (2010), section 5.2, equations (5.24), (5.34).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards.instrument import two_stage_fit
    >>> rng = np.random.default_rng(0)
    >>> z, v, u, e = rng.standard_normal((4, 2000))
    >>> c, x = z + v, 0.8 * z + u
    >>> y = x + 2 * c + 0.8 * v + e
    >>> fit = two_stage_fit(x[:, None], None, c[:, None], z[:, None], y)
    >>> bool(abs(fit.theta[0] - 1) < 0.1), bool(abs(fit.gamma[0] - 2) < 0.1)
    (True, True)
    """
    n, p = X.shape
    m, k = C.shape[1], Z.shape[1]
    features = _names(feature_names, "x", p)
    endogenous, instruments = _names(endogenous_names, "c", m), _names(instrument_names, "z", k)
    if k < m:
        raise UnderIdentifiedError(
            f"instruments has {k} columns ({', '.join(instruments)}) for {m} endogenous confounders "
            f"({', '.join(endogenous)}): expected at least as many instruments. Pass more instruments, or name fewer "
            "columns in endogenous."
        )
    W = np.empty((n, 0)) if W is None else W
    part = _partial_out(X, W, np.column_stack([y, C, Z]), weight, features)
    _refuse_constant(part, C, 1, weight, "endogenous", endogenous)
    _refuse_constant(part, Z, 1 + m, weight, "instruments", instruments)
    outcome, treated = part.residuals[:, 0], part.residuals[:, 1 : 1 + m]
    basis = _full_rank(part.residuals[:, 1 + m :], weight)
    if n <= basis.shape[1] + part.rank + 1:
        raise UnderIdentifiedError(
            f"X and y have {n} rows for {basis.shape[1] + part.rank + 1} regressors of the first stage: expected more "
            "rows than regressors. Pass more rows, or fewer features, confounders or instruments."
        )
    second = linear_moments(basis, treated, outcome, weight)
    if second.rank < m:
        raise IdentificationError(
            f"the instruments move the endogenous confounders ({', '.join(endogenous)}) in {second.rank} of {m} "
            f"directions only, given X and the other confounders (instruments: {', '.join(instruments)}). Pass other "
            "instruments, or name fewer columns in endogenous."
        )
    slopes = part.slopes[:, 0] - part.slopes[:, 1 : 1 + m] @ second.coef
    influence, delta_influence = _outer_influence(X, W, part, second.influence, second.residuals, weight)
    effect = W @ slopes[p:] + C @ second.coef
    return TwoStageFit(
        theta=slopes[:p],
        delta=slopes[p:],
        gamma=second.coef,
        intercept=float(part.column_mean[0] - part.column_mean[1 : 1 + m] @ second.coef - part.mean @ slopes),
        influence=influence,
        delta_influence=delta_influence,
        gamma_influence=second.influence,
        residuals=second.residuals,
        confounder_effect=effect - np.average(effect, weights=weight),
        outcome=outcome,
        endogenous=treated,
        instruments=basis,
        weight=weight,
        n_partialled=part.rank + 1,
        endogenous_names=endogenous,
    )


def _names(names: Any, prefix: str, size: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{j}" for j in range(size)) if names is None else tuple(map(str, names))


def _partial_out(
    X: NDArray[np.floating], W: Array, columns: Array, weight: Array | None, names: tuple[str, ...]
) -> _Partialled:
    """Regress the columns on (1, X, W) from cross-products, chunk by chunk."""
    n, p = X.shape
    width = p + W.shape[1]
    ones = np.ones(n) if weight is None else weight
    mean, total = np.zeros(width), float(ones.sum())
    for rows in row_chunks(n, width):
        mean[:p] += ones[rows] @ X[rows].astype(np.float64)
        mean[p:] += ones[rows] @ W[rows]
    mean /= total
    column_mean = ones @ columns / total
    gram, cross = np.zeros((width, width)), np.zeros((width, columns.shape[1]))
    for rows in row_chunks(n, width):
        block = _block(X, W, mean, rows)
        weighted = block * ones[rows, None]
        gram += block.T @ weighted
        cross += weighted.T @ (columns[rows] - column_mean)
    inverse, rank = _pseudo_inverse(gram, names)
    slopes = inverse @ cross
    residuals = np.empty_like(columns)
    for rows in row_chunks(n, width):
        residuals[rows] = columns[rows] - column_mean - _block(X, W, mean, rows) @ slopes
    return _Partialled(slopes, inverse, mean, column_mean, residuals, rank)


def _block(X: NDArray[np.floating], W: Array, mean: Array, rows: slice) -> Array:
    """Rows of (X, W) in float64, centred."""
    return np.asarray(np.hstack([X[rows].astype(np.float64), W[rows]]) - mean)


def _pseudo_inverse(gram: Array, names: tuple[str, ...]) -> tuple[Array, int]:
    """Inverse of the Gram matrix of (X, W) where W may be collinear and X may not."""
    size = np.sqrt(np.diag(gram))
    unit = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    values, vectors = np.linalg.eigh(gram * np.outer(unit, unit))
    empty = values <= _NO_VARIATION
    p = len(names)
    # A dependence among columns of W leaves θ and γ alone; one that involves a feature does not.
    loading = np.linalg.norm(vectors[:p, empty], axis=1)
    if loading.max(initial=0.0) > 1e-5:
        worst = [names[j] for j in np.argsort(loading)[::-1][:3] if loading[j] > 0.1 * loading.max()]
        raise IdentificationError(
            f"the features have no variation of their own given the other confounders: smallest eigenvalue "
            f"{values[0]:.2g} in the direction of {', '.join(worst)}. Drop one of them."
        )
    root = vectors[:, ~empty] / np.sqrt(values[~empty]) * unit[:, None]
    return root @ root.T, int((~empty).sum())


def _refuse_constant(
    part: _Partialled, columns: Array, first: int, weight: Array | None, argument: str, names: tuple[str, ...]
) -> None:
    """Refuse columns that X, W and the constant determine."""
    width = columns.shape[1]
    left = np.average(part.residuals[:, first : first + width] ** 2, axis=0, weights=weight)
    before = np.average((columns - part.column_mean[first : first + width]) ** 2, axis=0, weights=weight)
    # The mean square bounds what rounding leaves of a constant column.
    floor = np.finfo(float).eps * np.average(columns**2, axis=0, weights=weight)
    dead = [name for name, a, b, c in zip(names, left, before, floor, strict=True) if a <= _NO_VARIATION * b + c]
    if dead:
        raise IdentificationError(
            f"{argument}: {', '.join(dead)} has no variation given X and the other confounders, so it identifies "
            "nothing. Expected a column that is not a constant or a function of them; drop it or pass another one."
        )


def _full_rank(Z: Array, weight: Array | None) -> Array:
    """Z itself, or a basis of its columns where they are collinear."""
    scaled = Z if weight is None else Z * np.sqrt(weight)[:, None]
    size = np.linalg.norm(scaled, axis=0)
    _, s, vt = np.linalg.svd(scaled / size, full_matrices=False)
    kept = s > np.sqrt(_NO_VARIATION)
    return Z if kept.all() else np.asarray((Z / size) @ vt[kept].T)


def _outer_influence(
    X: NDArray[np.floating],
    W: Array,
    part: _Partialled,
    gamma_influence: Array,
    residuals: Array,
    weight: Array | None,
) -> tuple[NDArray[np.floating], Array]:
    """Influence values of θ̂ and δ̂: their own scores, less what γ̂ passes on through the slopes of C on (X, W)."""
    n, p = X.shape
    through = part.slopes[:, 1 : 1 + gamma_influence.shape[1]].T
    inverse = n * part.inverse
    scores = residuals if weight is None else residuals * weight
    influence, other = np.empty((n, p), dtype=X.dtype), np.empty((n, W.shape[1]))
    for rows in row_chunks(n, p + W.shape[1]):
        block = (_block(X, W, part.mean, rows) @ inverse) * scores[rows, None] - gamma_influence[rows] @ through
        influence[rows], other[rows] = block[:, :p], block[:, p:]
    return influence, other
