r"""Tests of linear invariance, and which deviations from it the data could show at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from causalkit.extrapolation.splines import TensorSplines
from causalkit.validation import check_choice, check_integer

__all__ = ["InvarianceTest", "VisibleShare", "visible_share_spectrum", "wild_bootstrap_pvalue"]

Array = NDArray[np.float64]

_NO_EVIDENCE = (
    "A pass is no evidence that the representation is affine: deviations in directions that are not visible cannot be "
    "seen at this sample size."
)
_NOISE_LEVEL, _NOISE_DRAWS, _NOISE_ROWS = 0.05, 199, 5000
_SMALLEST_MOMENT = 1e-6  # of the functions of the action, relative to the largest
_BASIS_KNOTS = {1: 12, 2: 6, 3: 4}
_ADDITIVE_KNOTS = 6


@dataclass(frozen=True, eq=False)
class VisibleShare:
    """Deviations from affinity by how much of their variance the action reveals.

    Attributes
    ----------
    shares : ndarray, shape (q,)
        κ: share of the variance of each deviation that shows as a curved mean given the action, falling.
    noise : float
        Share above which a direction counts as visible: what the largest share of all exceeds in one case of twenty
        without any signal.
    n_visible : int
        Directions above it.
    """

    shares: Array
    noise: float
    n_visible: int

    def __repr__(self) -> str:
        return (
            f"VisibleShare({self.n_visible} of {len(self.shares)} directions visible, largest share "
            f"{self.shares[0]:.3g}): deviations in the other directions cannot be seen at this sample size"
        )


@dataclass(frozen=True, eq=False)
class InvarianceTest:
    """A test of E[φ | A] = WA + b.

    Attributes
    ----------
    statistic : float
        T.
    pvalue : float
        Share of bootstrap draws at least as large.
    n_bootstrap : int
        Draws.
    method : {"wild", "permutation"}
        What was drawn.
    n_obs : int
        Rows, none of which trained the representation if ``held_out``.
    held_out : bool
        Whether the rows were kept from training.
    visible : VisibleShare
        Which deviations the test could have shown.
    """

    statistic: float
    pvalue: float
    n_bootstrap: int
    method: str
    n_obs: int
    held_out: bool
    visible: VisibleShare

    def __repr__(self) -> str:
        return (
            f"InvarianceTest(statistic={self.statistic:.4g}, pvalue={self.pvalue:.3g}, method={self.method!r}, "
            f"n_obs={self.n_obs})\n{_NO_EVIDENCE}\n{self.visible!r}"
        )


def wild_bootstrap_pvalue(
    residual: Array,
    projected: Array,
    *,
    n_bootstrap: int = 499,
    method: str = "wild",
    rng: np.random.Generator,
) -> tuple[float, float]:
    r"""Test whether the residual of a representation has mean zero given the action.

    .. math:: T = n^{-1}\|R'F_\perp\|_F^2, \qquad T^*_b = n^{-1}\|(w \circ R)'F_\perp\|_F^2,\; w_i = \pm 1, \qquad
              p = \frac{1 + \#\{T^*_b \ge T\}}{1 + B}

    with the columns of R in units of their standard deviation. "permutation" exchanges the rows of R instead, and tests
    independence in the mean direction. Nothing has to be projected again, F⊥ being orthogonal to (1, A).

    Parameters
    ----------
    residual : ndarray, shape (n, d)
        R, least-squares residuals of φ on (1, A) in the same rows.
    projected : ndarray, shape (n, D)
        F⊥ of the same rows.
    n_bootstrap : int, default=499
        B.
    method : {"wild", "permutation"}, default="wild"
        What is drawn.
    rng : Generator
        Source of the draws.

    Returns
    -------
    statistic, pvalue : float
    """
    check_choice(method, "method", ("wild", "permutation"))
    draws = check_integer(n_bootstrap, "n_bootstrap", low=19)
    n = len(residual)
    spread = residual.std(axis=0)
    scaled = residual / np.where(spread > 0, spread, 1.0)
    statistic = float(((scaled.T @ projected) ** 2).sum() / n)
    larger = 0
    for _ in range(draws):
        if method == "wild":
            drawn = scaled * rng.choice([-1.0, 1.0], n)[:, None]
        else:
            drawn = scaled[rng.permutation(n)]
        larger += float(((drawn.T @ projected) ** 2).sum() / n) >= statistic
    return statistic, (1 + larger) / (1 + draws)


def visible_share_spectrum(phi: Array, actions: Array, projected: Array) -> VisibleShare:
    r"""Which deviations from an affine representation a curved mean given the action could show.

    Over splines of φ (of each coordinate, above three) with their affine part removed, the directions solve
    :math:`(n^{-2}B'F_\perp F_\perp'B)c = \kappa\,\mathrm{Cov}(B)c`. With U the splines in coordinates of unit
    covariance, the largest κ is the square of the largest singular value of :math:`M = n^{-1}U'F_\perp`, a maximum over
    all directions, of which the best of many is large without any signal. A direction counts as visible above the 95 %
    quantile of that maximum for :math:`M^* = n^{-1}U'\mathrm{diag}(\xi)F_\perp` with random signs ξ, which have the
    covariance of M without its mean: no direction at all is visible in 95 % of the cases without a signal
    (test_one_case_in_twenty_shows_a_direction_without_a_signal).

    Parameters
    ----------
    phi : ndarray, shape (n, d)
        Representation.
    actions : ndarray, shape (n, k)
        Actions.
    projected : ndarray, shape (n, D)
        F⊥.

    Returns
    -------
    VisibleShare
    """
    n = len(phi)
    basis = _deviations(phi)
    affine = np.column_stack([np.ones(n), phi])
    bent = basis - affine @ np.linalg.lstsq(affine, basis, rcond=None)[0]
    covariance = bent.T @ bent / n
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-8 * values[-1]
    unit = vectors[:, kept] / np.sqrt(values[kept])
    moments = unit.T @ (bent.T @ projected) / n
    shares = linalg.eigvalsh(moments @ moments.T)[::-1]
    noise = _largest_without_signal(bent @ unit, projected)
    return VisibleShare(np.maximum(shares, 0.0), noise, int((shares > noise).sum()))


def _largest_without_signal(unit: Array, projected: Array) -> float:
    """95 % quantile of the largest share over random signs of the rows, of 5000 rows at most: it falls as 1/n."""
    n, rng = len(unit), np.random.default_rng(0)
    if n > _NOISE_ROWS:
        rows = np.sort(rng.choice(n, _NOISE_ROWS, replace=False))
        unit, projected = unit[rows], projected[rows]
    values, vectors = np.linalg.eigh(projected.T @ projected / len(projected))
    functions = projected @ vectors[:, values > _SMALLEST_MOMENT * values[-1]]  # all that has spread, in few columns
    largest = np.empty(_NOISE_DRAWS)
    for draw in range(_NOISE_DRAWS):
        signs = rng.choice([-1.0, 1.0], len(unit))[:, None]
        largest[draw] = np.linalg.norm(unit.T @ (signs * functions), 2) ** 2
    rank = math.ceil((1 - _NOISE_LEVEL) * (_NOISE_DRAWS + 1))
    return float(np.sort(largest)[rank - 1]) / (len(unit) * n)


def _deviations(phi: Array) -> Array:
    """Splines of the representation; above three coordinates of each one alone, since products would be too many."""
    d = phi.shape[1]
    if d in _BASIS_KNOTS:
        return TensorSplines.of(phi, _BASIS_KNOTS[d]).design(phi)
    return np.hstack([TensorSplines.of(phi[:, [j]], _ADDITIVE_KNOTS).design(phi[:, [j]]) for j in range(d)])
