r"""How much confounding an invariance implies, and bounds on the effect for a limit on confounding.

For :math:`\xi = y - f'x` with :math:`v = E[x\xi]`, least squares misses f by :math:`A^{-1}v` and
:math:`\|h_{OLS} - f\|_A^2 = v'A^{-1}v = \sigma^2 R^2/(1 - R^2)`, where σ² is the residual variance of least
squares and R² the share of Var(ξ) that x explains. An invariance Bf = 0 puts f into null(B).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalkit.augmentation.moments import Moments
from causalkit.augmentation.path import cholesky_of_features, pair_spectrum
from causalkit.exceptions import MethodNotApplicableError
from causalkit.validation import check_integer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Breakdown", "IdentifiedBounds", "breakdown", "identified_bounds"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Breakdown:
    """Least squares with and without the invariance, and their distance.

    Attributes
    ----------
    h_ols, h_invariant : ndarray, shape (p, t)
        Least squares on the features as they are, unrestricted and within null(B).
    free : ndarray, shape (p, p - r)
        Basis of null(B), orthonormal in the inner product of A.
    inverse : ndarray, shape (p, p)
        A⁻¹.
    distance : ndarray, shape (t,)
        q = ‖h_ols - h_invariant‖²_A, in squared units of y.
    noise : ndarray, shape (t,)
        σ², residual variance of least squares.
    moved : ndarray of bool, shape (p,)
        Which generalised eigen-directions the augmentation moves.
    eigenvalues : ndarray, shape (p,)
        Generalised eigenvalues of (B, A).
    """

    h_ols: Array
    h_invariant: Array
    free: Array
    inverse: Array
    distance: Array
    noise: Array
    moved: NDArray[np.bool_]
    eigenvalues: Array

    @property
    def confounding_needed(self) -> Array:
        """Smallest R² that reconciles the data with the invariance, q/(σ² + q), shape (t,); 0 if y is constant."""
        total = self.noise + self.distance
        return np.asarray(self.distance / np.where(total > 0, total, 1.0))


def breakdown(
    moments: Moments, B: Array, *, ridge: float, rank_tol: float, centred: bool, names: list[str]
) -> Breakdown:
    """Compare least squares with least squares within null(B), from moments of the features as they are."""
    A = moments.second("X", "X", centred=centred)
    a = moments.second("X", "y", centred=centred)
    lower = cholesky_of_features(A + ridge * np.eye(len(A)), names, floor=moments.rounding("X"), n_rows=moments.n_rows)
    spectrum = pair_spectrum("constrained", a, B, lower=lower, rank_tol=rank_tol, ridge=ridge)
    inverse = spectrum.directions @ spectrum.directions.T
    free = spectrum.directions[:, ~spectrum.moved]
    h_ols, h_invariant = inverse @ a, free @ (free.T @ a)
    gap = h_ols - h_invariant
    square = np.diag(moments.second("y", "y", centred=centred))
    noise = square - 2 * np.einsum("pt,pt->t", h_ols, a) + np.einsum("pt,pq,qt->t", h_ols, A, h_ols)
    noise = np.clip(noise, 0.0, None)  # an outcome without noise leaves rounding of either sign
    distance = np.einsum("pt,pq,qt->t", gap, A, gap)
    return Breakdown(h_ols, h_invariant, free, inverse, distance, noise, spectrum.moved, spectrum.values)


@dataclass(frozen=True, eq=False)
class IdentifiedBounds:
    """Bounds on linear combinations of the effect when confounding is limited to a share of the noise.

    The bounds are plug-in: they hold for the population with these moments, and their sampling error is in
    ``std_error`` where a bootstrap was asked for.

    Attributes
    ----------
    r2_max : float
        The limit that was assumed: share of Var(y - f'x) that x explains.
    r2_needed : float
        Smallest share that the data allow together with the invariance.
    feasible : bool
        Whether r2_max is at least that.
    lower, upper : ndarray, shape (r,), or None
        Bounds; None where infeasible.
    lower_without, upper_without : ndarray, shape (r,)
        Bounds from the same limit without any invariance.
    names : tuple of str, length r
        The contrasts.
    std_error : ndarray, shape (r, 2), or None
        Bootstrap standard errors of lower and upper.
    """

    r2_max: float
    r2_needed: float
    feasible: bool
    lower: Array | None
    upper: Array | None
    lower_without: Array
    upper_without: Array
    names: tuple[str, ...]
    std_error: Array | None = None

    def to_frame(self) -> pd.DataFrame:
        """One row per contrast; NaN where the limit is infeasible, which ``attrs`` repeats in words."""
        import pandas as pd

        missing = np.full(len(self.names), np.nan)
        frame = pd.DataFrame(
            {
                "lower": missing if self.lower is None else self.lower,
                "upper": missing if self.upper is None else self.upper,
                "lower_without_invariance": self.lower_without,
                "upper_without_invariance": self.upper_without,
            },
            index=list(self.names),
        )
        if self.std_error is not None:
            frame["lower_std_error"], frame["upper_std_error"] = self.std_error.T
        frame.attrs["note"] = self._note()
        return frame

    def _note(self) -> str:
        if not self.feasible:
            return (
                f"r2_max = {self.r2_max:.4g} is infeasible: with the invariance the data need at least "
                f"{self.r2_needed:.4g}. Either confounding is stronger, or the invariance is false."
            )
        return f"plug-in bounds for r2_max = {self.r2_max:.4g} (needed: {self.r2_needed:.4g})" + (
            ", without sampling error" if self.std_error is None else ""
        )

    def __repr__(self) -> str:
        return f"IdentifiedBounds: {self._note()}\n{self.to_frame().round(5).to_string()}"

    def _repr_html_(self) -> str:
        return f"<div><p>{self._note()}</p>{self.to_frame().to_html(float_format=lambda v: f'{v:.5g}', border=0)}</div>"


def _interval(parts: Breakdown, r2_max: float, c: Array, t: int) -> tuple[Array | None, Array | None, Array, Array]:
    """Lower and upper with the invariance, then without, for contrasts c (r, p) of outcome t."""
    radius = parts.noise[t] * r2_max / (1 - r2_max)
    wide = np.sqrt(radius * np.einsum("rp,pq,rq->r", c, parts.inverse, c))
    centre = c @ parts.h_ols[:, t]
    slack = radius - parts.distance[t]
    # Rounding must not decide where the limit is exactly what is needed (q = 0 without moved directions).
    if slack < -1e-12 * (parts.noise[t] + parts.distance[t]):
        return None, None, centre - wide, centre + wide
    half = np.sqrt(max(slack, 0.0) * ((c @ parts.free) ** 2).sum(axis=1))
    inside = c @ parts.h_invariant[:, t]
    return inside - half, inside + half, centre - wide, centre + wide


def _contrasts(contrast: Any, names: list[str]) -> tuple[Array, list[str]]:
    if contrast is None:
        return np.eye(len(names)), names
    try:
        rows = np.atleast_2d(np.asarray(contrast, dtype=float))
    except (TypeError, ValueError):
        raise ValueError(
            f"contrast must hold numbers, one weight per coefficient ({', '.join(names[:6])}); got {contrast!r}."
        ) from None
    if rows.ndim != 2 or rows.shape[1] != len(names) or not np.isfinite(rows).all():
        raise ValueError(
            f"contrast must have {len(names)} finite columns, one per coefficient; got shape {rows.shape}."
        )
    labels = [" ".join(f"{w:+g}*{name}" for w, name in zip(row, names, strict=True) if w) or "0" for row in rows]
    return rows, labels


def identified_bounds(estimator: Any, r2_max: Any, contrast: Any, n_bootstrap: int = 0) -> IdentifiedBounds:
    """Bounds of a fitted estimator; see :meth:`IVLikeRegressor.bounds`."""
    number = isinstance(r2_max, int | float | np.number) and not isinstance(r2_max, bool)
    if not number or not 0 <= r2_max < 1:
        raise ValueError(f"r2_max must be in [0, 1), a share of the outcome's noise; got {r2_max!r}.")
    if estimator.variation_ == "instruments":
        raise MethodNotApplicableError(
            "bounds() uses the directions that an augmentation moves, and this fit has real instruments: for those use "
            "anderson_rubin."
        )
    if np.ndim(estimator.coef_) > 1:
        raise MethodNotApplicableError(
            f"bounds() is for one outcome, and this fit has {len(estimator.coef_)}: fit the outcomes one at a time."
        )
    if check_integer(n_bootstrap, "n_bootstrap", low=0) == 1:
        raise ValueError("n_bootstrap must be 0, for no standard errors, or at least 2; got 1.")
    rows, labels = _contrasts(contrast, estimator._names)
    parts = estimator._breakdown(estimator.moments_)
    lower, upper, lower_without, upper_without = _interval(parts, float(r2_max), rows, 0)
    needed = float(parts.confounding_needed[0])
    errors = (
        _bootstrap_errors(estimator, float(r2_max), rows, n_bootstrap) if n_bootstrap and lower is not None else None
    )
    return IdentifiedBounds(
        float(r2_max), needed, lower is not None, lower, upper, lower_without, upper_without, tuple(labels), errors
    )


def _bootstrap_errors(estimator: Any, r2_max: float, rows: Array, n_bootstrap: int) -> Array:
    """Standard errors of both ends over refits with new draws; an infeasible replicate has its ends at h_invariant."""
    from causalkit.augmentation.inference import replicate_moments

    held, groups = estimator._rows_for_inference(None)
    ends = []
    for b in range(n_bootstrap):
        key = np.random.SeedSequence(estimator._seed, spawn_key=(1, b))
        parts = estimator._breakdown(replicate_moments(estimator, held[0], groups, key))
        lower, upper, *_ = _interval(parts, r2_max, rows, 0)
        inside = rows @ parts.h_invariant[:, 0]
        ends.append(np.stack([inside if lower is None else lower, inside if upper is None else upper], axis=1))
    return np.asarray(np.std(ends, axis=0, ddof=1))
