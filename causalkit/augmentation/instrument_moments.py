"""Cross products of real instruments, features and outcome, and the k-class numbers that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from causalkit.exceptions import AugmentationError, RankError, UnderIdentifiedError

__all__ = [
    "InstrumentMoments",
    "Redundancy",
    "fuller_kappa",
    "independent_columns",
    "keep_independent_instruments",
    "liml_kappa",
    "odds",
    "projected_products",
    "require_well_posed",
    "smallest_canonical_correlation",
    "total_products",
]

Array = NDArray[np.float64]

# Share of a column's sum of squares that earlier columns must leave over. Cross products carry about sixteen
# digits of squares, so an instrument below the first bound could not be told from rounding to eight digits.
INSTRUMENT_TOLERANCE = 1e-8
FEATURE_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False, kw_only=True)
class InstrumentMoments:
    """Sums of squares and products after [1, W] was partialled out of everything.

    Attributes
    ----------
    n : int
        Rows, each one unit; rows of weight zero are not counted.
    control_rank : int
        Rank of [1, W].
    ZZ : ndarray, shape (k, k)
        Products of the instruments, of full rank: redundant columns are left out.
    ZX : ndarray, shape (k, p)
        Products of instruments and features.
    XX : ndarray, shape (p, p)
        Products of the features.
    Zy, Xy : ndarray, shape (k,) and (p,), or None
        Products with the outcome; None where there is none.
    yy : float or None
        Sum of squares of the outcome.
    x_names, z_names : tuple of str, length p and k
        Column names.
    """

    n: int
    control_rank: int
    ZZ: Array
    ZX: Array
    XX: Array
    Zy: Array | None = None
    Xy: Array | None = None
    yy: float | None = None
    x_names: tuple[str, ...]
    z_names: tuple[str, ...]

    @property
    def n_instruments(self) -> int:
        """Rank of the instruments, k."""
        return len(self.z_names)

    @property
    def n_features(self) -> int:
        """Number of features, p."""
        return len(self.x_names)

    @property
    def nu(self) -> int:
        """Residual degrees of freedom, ν = n - k - rank[1, W]."""
        return self.n - self.n_instruments - self.control_rank


@dataclass(frozen=True)
class Redundancy:
    """Columns that add nothing to those before them.

    Attributes
    ----------
    kept : tuple of int
        Columns that span the rest.
    constant : tuple of int
        Columns of which nothing is left after [1, W].
    collinear : tuple of int
        Columns that are linear combinations of earlier ones.
    """

    kept: tuple[int, ...]
    constant: tuple[int, ...]
    collinear: tuple[int, ...]


def independent_columns(gram: Array, reference: Array | None = None, *, tolerance: float) -> Redundancy:
    """Columns that stay when each is compared with those before it.

    Parameters
    ----------
    gram : ndarray, shape (m, m)
        Products of the columns.
    reference : ndarray, shape (m,), optional
        Sums of squares before anything was partialled out; a column of which less than ``tolerance`` is left
        counts as constant, and infinity marks one. Without it only a sum of squares of zero does.
    tolerance : float
        Share of the sum of squares.

    Returns
    -------
    Redundancy
    """
    left = np.diag(gram)
    bound = np.zeros(len(gram)) if reference is None else tolerance * reference
    constant = [j for j in range(len(gram)) if not left[j] > bound[j]]
    kept: list[int] = []
    collinear: list[int] = []
    # Left-looking Cholesky on unit columns; a column without a pivot is skipped and adds no row.
    scale = np.sqrt(np.where(left > 0, left, 1.0))
    unit = gram / np.outer(scale, scale)
    factor = np.zeros_like(unit)
    for j in range(len(gram)):
        if j in constant:
            continue
        rank = len(kept)
        if rank:
            factor[j, :rank] = linalg.solve_triangular(factor[kept, :rank], unit[kept, j], lower=True)
        pivot = unit[j, j] - factor[j, :rank] @ factor[j, :rank]
        if pivot > tolerance:
            factor[j, rank] = np.sqrt(pivot)
            kept.append(j)
        else:
            collinear.append(j)
    return Redundancy(tuple(kept), tuple(constant), tuple(collinear))


def keep_independent_instruments(
    moments: InstrumentMoments, reference: Array | None = None
) -> tuple[InstrumentMoments, Redundancy]:
    """Reduce the instruments to columns that span the same space.

    Parameters
    ----------
    moments : InstrumentMoments
        May hold constant or collinear instruments.
    reference : ndarray, shape (k,), optional
        Sums of squares of the instruments before [1, W] was partialled out.

    Returns
    -------
    moments : InstrumentMoments
        With ``ZZ`` of full rank.
    redundancy : Redundancy

    Raises
    ------
    AugmentationError
        No instrument varies once [1, W] is partialled out.
    """
    found = independent_columns(moments.ZZ, reference, tolerance=INSTRUMENT_TOLERANCE)
    if not found.kept:
        raise AugmentationError(
            f"instruments ({', '.join(moments.z_names)}) are constant, or determined by exogenous: expected at least "
            "one column that varies, got none. Pass a variable that moves X."
        )
    if len(found.kept) == len(moments.ZZ):
        return moments, found
    keep = list(found.kept)
    reduced = replace(
        moments,
        ZZ=moments.ZZ[np.ix_(keep, keep)],
        ZX=moments.ZX[keep],
        Zy=None if moments.Zy is None else moments.Zy[keep],
        z_names=tuple(moments.z_names[j] for j in keep),
    )
    return reduced, found


def require_well_posed(
    moments: InstrumentMoments, x_reference: Array | None = None, y_reference: float | None = None
) -> None:
    """Refuse moments on which a ratio of quadratic forms has no meaning.

    Parameters
    ----------
    moments : InstrumentMoments
        Instruments of full rank.
    x_reference : ndarray, shape (p,), optional
        Sums of squares of the features before [1, W] was partialled out.
    y_reference : float, optional
        Sum of squares of the outcome before.

    Raises
    ------
    UnderIdentifiedError
        ν < 1: the projection on [1, W, Z] is the identity.
    RankError
        The features are collinear, or the outcome is an exact linear function of them.
    """
    if moments.nu < 1:
        raise UnderIdentifiedError(
            f"instruments and exogenous leave {moments.nu} degrees of freedom: {moments.n} rows, rank "
            f"{moments.n_instruments} of the instruments and rank {moments.control_rank} of [1, exogenous], so that "
            "the projection is the identity. Pass fewer instruments or more rows."
        )
    found = independent_columns(moments.XX, x_reference, tolerance=FEATURE_TOLERANCE)
    if len(found.kept) < moments.n_features:
        names = [moments.x_names[j] for j in sorted(found.constant + found.collinear)]
        raise RankError(
            f"X has rank {len(found.kept)} of {moments.n_features} columns once the constant and exogenous are "
            f"partialled out: {', '.join(names)} are constant or linear combinations of other columns. Drop them."
        )
    if moments.yy is None:
        return
    reference = None if x_reference is None or y_reference is None else np.append(x_reference, y_reference)
    found = independent_columns(_with_outcome_last(moments), reference, tolerance=FEATURE_TOLERANCE)
    if moments.n_features not in found.kept:
        raise RankError(
            "y is an exact linear function of X, exogenous and the constant: expected a residual that varies. "
            "There is nothing to test; check that y is not built from the columns of X."
        )


def _with_outcome_last(moments: InstrumentMoments) -> Array:
    total = total_products(moments)
    order = [*range(1, len(total)), 0]
    return total[np.ix_(order, order)]


def total_products(moments: InstrumentMoments) -> Array:
    """M = [y X]'[y X], shape (p + 1, p + 1).

    Raises
    ------
    ValueError
        The moments have no outcome.
    """
    if moments.Xy is None or moments.yy is None:
        raise ValueError("y is missing: expected one outcome per row, got None.")
    top = np.append(moments.yy, moments.Xy)
    return np.vstack([top, np.column_stack([moments.Xy, moments.XX])])


def projected_products(moments: InstrumentMoments) -> Array:
    """[y X]'P[y X] with P the projection on Z: shape (p + 1, p + 1), or X'PX of shape (p, p) without outcome."""
    columns = moments.ZX if moments.Zy is None else np.column_stack([moments.Zy, moments.ZX])
    scale = np.sqrt(np.diag(moments.ZZ))
    factor = linalg.cholesky(moments.ZZ / np.outer(scale, scale), lower=True)
    root = linalg.solve_triangular(factor, columns / scale[:, None], lower=True)
    return np.asarray(root.T @ root)


def smallest_canonical_correlation(total: Array, projected: Array) -> float:
    """Smallest eigenvalue λ of ``projected`` v = λ ``total`` v, in [0, 1].

    Parameters
    ----------
    total : ndarray, shape (m, m)
        A'A, positive definite.
    projected : ndarray, shape (m, m)
        A'PA.

    Returns
    -------
    float
        Smallest squared canonical correlation of A and Z.
    """
    scale = np.sqrt(np.diag(total))
    size = np.outer(scale, scale)
    values = linalg.eigh(projected / size, total / size, eigvals_only=True, subset_by_index=[0, 0])
    return float(np.clip(values[0], 0.0, 1.0))


def odds(share: float) -> float:
    """λ/(1 - λ), infinite at one."""
    return share / (1.0 - share) if share < 1.0 else np.inf


def liml_kappa(moments: InstrumentMoments) -> float:
    """κ_LIML, the smallest eigenvalue of (M, M - P_yX) with M = [y X]'[y X] and P_yX = [y X]'P[y X].

    It is 1 + λ/(1 - λ), λ the smallest squared canonical correlation of [y X] and Z, at least one, and one where
    the instruments do not over-identify.

    Parameters
    ----------
    moments : InstrumentMoments
        With an outcome.

    Returns
    -------
    float
    """
    if moments.n_instruments <= moments.n_features:
        return 1.0  # some combination of y and X has no projection on Z at all
    return 1.0 + odds(smallest_canonical_correlation(total_products(moments), projected_products(moments)))


def fuller_kappa(moments: InstrumentMoments, constant: float = 1.0) -> float:
    """κ of Fuller's estimator, κ_LIML - c/ν (Fuller 1977).

    Parameters
    ----------
    moments : InstrumentMoments
        With an outcome.
    constant : float, default=1.0
        c: 1 for approximately unbiased estimates, 4 for small mean squared error.

    Returns
    -------
    float
    """
    return liml_kappa(moments) - constant / moments.nu
