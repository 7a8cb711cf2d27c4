"""From what a user passes, arrays or a fitted estimator, to the cross products of real instruments."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.augmentation.instrument_moments import (
    InstrumentMoments,
    Redundancy,
    independent_columns,
    keep_independent_instruments,
    require_well_posed,
)
from causalkit.augmentation.moments import Moments
from causalkit.exceptions import MethodNotApplicableError, NotFittedError, WeakInstrumentWarning
from causalkit.validation import check_matrix, check_same_index, check_sample_weight, check_vector

__all__ = ["InstrumentRows", "from_fitted_moments", "instrument_rows", "is_estimator", "resolve_moments"]

Array = NDArray[np.float64]

# A column whose variation is below 1e-13 of its size is a constant with rounding.
CONSTANT_SHARE = 1e-26
# Relative eigenvalue below which moments cannot tell a control from a combination of others.
CONTROL_TOLERANCE = 1e-13


@dataclass(frozen=True, eq=False)
class InstrumentRows:
    """Rows with [1, W] partialled out, times the root of their weight.

    Attributes
    ----------
    Z : ndarray, shape (n, k)
        Instruments, redundant columns left out.
    X : ndarray, shape (n, p)
        Features.
    y : ndarray, shape (n,), or None
        Outcome.
    moments : InstrumentMoments
        Their products.
    """

    Z: Array
    X: Array
    y: Array | None
    moments: InstrumentMoments


def is_estimator(candidate: Any) -> bool:
    """Whether the argument is an estimator and not data."""
    return hasattr(candidate, "fit") and hasattr(candidate, "get_params")


def resolve_moments(
    X: Any, y: Any, instruments: Any, exogenous: Any, sample_weight: Any, *, caller: str
) -> tuple[InstrumentMoments, InstrumentRows | None]:
    """Cross products of a fitted estimator or of rows, with the rows where they are known.

    Raises
    ------
    MethodNotApplicableError
        The estimator was not fitted with real instruments.
    NotFittedError
        The estimator is not fitted.
    ValueError
        An estimator together with data, or bad data.
    """
    if not is_estimator(X):
        rows = instrument_rows(X, y, instruments, exogenous, sample_weight, stacklevel=4)
        return rows.moments, rows
    given = {"y": y, "instruments": instruments, "exogenous": exogenous, "sample_weight": sample_weight}
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        raise ValueError(
            f"{caller} got a fitted estimator and {', '.join(extra)}: expected either an estimator alone, whose "
            "moments hold all of that, or arrays X, y and instruments. Drop one of them."
        )
    _require_instruments(X, caller)
    moments = X.moments_
    n_features = moments.layout.features
    x_names = tuple(map(str, getattr(X, "feature_names_in_", ())))
    # A feature map makes other columns than those that were passed.
    return from_fitted_moments(moments, x_names if len(x_names) == n_features else ()), None


def _require_instruments(estimator: Any, caller: str) -> None:
    name = type(estimator).__name__
    variation = getattr(estimator, "variation_", None)
    if variation is None:
        raise NotFittedError(
            f"{caller} got {name} without variation_: expected a fitted IVLikeRegressor, or arrays X, y and "
            "instruments. Call fit first."
        )
    if variation == "augmentation":
        raise MethodNotApplicableError(
            f"{caller} is for real instruments, but this {name} was fitted by augmentation: with parameters that were "
            "drawn by us the Anderson-Rubin set is a cylinder around all coefficients whose prediction the "
            "augmentation leaves alone. By construction it contains 0 and is unbounded along the effect, whatever the "
            "data say. Use diagnostics() and bounds(r2_max) of the estimator, or pass instruments."
        )
    if variation != "instruments":
        raise MethodNotApplicableError(
            f"{caller} is for real instruments, but this {name} was fitted without any (variation_ = {variation!r}). "
            "Fit it with instruments=, or pass arrays X, y and instruments."
        )


def from_fitted_moments(
    moments: Moments, x_names: tuple[str, ...] = (), z_names: tuple[str, ...] = ()
) -> InstrumentMoments:
    """Products of the real instruments of a fitted estimator, checked like those of rows.

    Parameters
    ----------
    moments : Moments
        The ``moments_`` of an ``IVLikeRegressor`` that was fitted with instruments.
    x_names, z_names : tuple of str, optional
        Column names; default X0, X1, ... and instruments0, instruments1, ...

    Returns
    -------
    InstrumentMoments
        Always about the means, also where the estimator was fitted without an intercept. ``n`` counts rows of weight
        zero, which moments cannot tell from others.

    Raises
    ------
    MethodNotApplicableError
        The estimator was fitted to several outcomes.
    AugmentationError, UnderIdentifiedError, RankError
        As for rows.
    """
    layout = moments.layout
    if layout.outcomes != 1:
        raise MethodNotApplicableError(
            f"the estimator was fitted to {layout.outcomes} outcomes: expected one, because tests and sets of "
            "instruments are for one equation. Fit each outcome on its own."
        )
    about_mean = {part: np.diag(moments.second(part, part, partial=False)) for part in "gxwy"}
    reference = {
        part: np.where(square <= CONSTANT_SHARE * (square + moments.average(part) ** 2), np.inf, square)
        for part, square in about_mean.items()
    }
    controls = moments.second("w", "w", partial=False)
    full = InstrumentMoments(
        n=moments.n_rows,
        control_rank=1 + len(independent_columns(controls, reference["w"], tolerance=CONTROL_TOLERANCE).kept),
        ZZ=moments.second("g", "g"),
        ZX=moments.second("g", "x"),
        XX=moments.second("x", "x"),
        Zy=moments.second("g", "y")[:, 0],
        Xy=moments.second("x", "y")[:, 0],
        yy=float(moments.second("y", "y")[0, 0]),
        x_names=x_names or tuple(f"X{j}" for j in range(layout.features)),
        z_names=z_names or tuple(f"instruments{j}" for j in range(layout.parameters)),
    )
    reduced, redundancy = keep_independent_instruments(full, reference["g"])
    _warn_redundant(redundancy, full.z_names, stacklevel=4)
    require_well_posed(reduced, reference["x"], float(reference["y"][0]))
    return reduced


def instrument_rows(
    X: Any, y: Any, instruments: Any, exogenous: Any = None, sample_weight: Any = None, *, stacklevel: int = 3
) -> InstrumentRows:
    """Check the data, partial [1, W] out of everything and multiply it out.

    Parameters
    ----------
    X : array-like, shape (n, p)
        Features.
    y : array-like, shape (n,), or None
        Outcome.
    instruments : array-like, shape (n, k)
        Real instruments Z.
    exogenous : array-like, shape (n, e), optional
        Controls W.
    sample_weight : array-like, shape (n,), optional
        Weights.
    stacklevel : int, default=3
        Frame that a warning points to: 2 is the caller of this function.

    Returns
    -------
    InstrumentRows

    Raises
    ------
    ValueError, AugmentationError, UnderIdentifiedError, RankError
        As in :func:`causalkit.augmentation.instruments.instrument_diagnostics`.
    """
    if instruments is None:
        raise ValueError(
            "instruments is missing: expected an array of shape (n, k), got None. Pass instruments=, or a fitted "
            "IVLikeRegressor as the first argument."
        )
    features, x_names = check_matrix(X, "X")
    n = features.shape[0]
    Z, z_names = check_matrix(instruments, "instruments", n_rows=n, like="X")
    outcome = None if y is None else check_vector(y, "y", n_rows=n, like="X")
    W = None if exogenous is None else check_matrix(exogenous, "exogenous", n_rows=n, like="X")[0]
    for other, name in ((y, "y"), (instruments, "instruments"), (exogenous, "exogenous")):
        check_same_index(X, other, ("X", name))
    if n == 0 or 0 in (features.shape[1], Z.shape[1]):
        raise ValueError(
            f"X has shape {features.shape} and instruments {Z.shape}: expected at least one row and one column of each."
        )
    weight = check_sample_weight(sample_weight, n, like="X")
    rows, redundancy = _partialled_rows(features, outcome, Z, W, weight, tuple(x_names), tuple(z_names))
    _warn_redundant(redundancy, tuple(z_names), stacklevel=stacklevel)
    return rows


def _partialled_rows(
    X: Array,
    y: Array | None,
    Z: Array,
    W: Array | None,
    weight: Array | None,
    x_names: tuple[str, ...],
    z_names: tuple[str, ...],
) -> tuple[InstrumentRows, Redundancy]:
    n, p = X.shape
    k = Z.shape[1]
    root = np.ones(n) if weight is None else np.sqrt(weight / weight[weight > 0].mean())
    columns = _centred(np.column_stack([Z, X] if y is None else [Z, X, y]), root)
    about_mean = np.einsum("ij,ij->j", columns, columns)
    left, control_rank = _residuals_on_controls(columns, W, root)
    Zr, Xr, yr = left[:, :k], left[:, k : k + p], None if y is None else left[:, -1]
    full = InstrumentMoments(
        n=int((root > 0).sum()),
        control_rank=control_rank,
        ZZ=Zr.T @ Zr,
        ZX=Zr.T @ Xr,
        XX=Xr.T @ Xr,
        Zy=None if yr is None else Zr.T @ yr,
        Xy=None if yr is None else Xr.T @ yr,
        yy=None if yr is None else float(yr @ yr),
        x_names=x_names,
        z_names=z_names,
    )
    moments, redundancy = keep_independent_instruments(full, about_mean[:k])
    require_well_posed(moments, about_mean[k : k + p], None if y is None else float(about_mean[-1]))
    return InstrumentRows(Zr[:, list(redundancy.kept)], Xr, yr, moments), redundancy


def _centred(columns: Array, root: Array) -> Array:
    """Columns less their weighted mean, times the root of the weight; a constant becomes zero exactly."""
    share = root**2 / (root**2).sum()
    centred = columns - share @ columns
    centred -= share @ centred  # the second pass takes away the rounding of the first
    centred *= root[:, None]
    raw = np.einsum("ij,ij->j", columns * root[:, None], columns * root[:, None])
    centred[:, np.einsum("ij,ij->j", centred, centred) <= CONSTANT_SHARE * raw] = 0.0
    return centred


def _residuals_on_controls(columns: Array, W: Array | None, root: Array) -> tuple[Array, int]:
    """What centred controls leave of the columns, and the rank of [1, W]."""
    if W is None or W.shape[1] == 0:
        return columns, 1
    controls = _centred(W, root)
    size = np.sqrt(np.einsum("ij,ij->j", controls, controls))
    basis, values, _ = np.linalg.svd(controls[:, size > 0] / size[size > 0], full_matrices=False)
    basis = basis[:, values > max(controls.shape) * np.finfo(float).eps * values.max(initial=0.0)]
    left = columns - basis @ (basis.T @ columns)
    return left - basis @ (basis.T @ left), 1 + basis.shape[1]


def _warn_redundant(redundancy: Redundancy, z_names: tuple[str, ...], *, stacklevel: int) -> None:
    reasons = [
        f"{', '.join(z_names[j] for j in columns)} {'is' if len(columns) == 1 else 'are'} {what}"
        for columns, what in (
            (redundancy.constant, "constant or determined by exogenous"),
            (redundancy.collinear, "a linear combination of earlier columns"),
        )
        if columns
    ]
    if reasons:
        warnings.warn(
            f"instruments: {'; '.join(reasons)}. Expected {len(z_names)} independent columns, got "
            f"{len(redundancy.kept)}; the projection uses their span. Drop these columns.",
            WeakInstrumentWarning,
            stacklevel=stacklevel + 1,
        )
