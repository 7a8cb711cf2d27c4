"""What tells a fit how the features vary: instruments, an augmentation, or augmented features.

The estimators of the room take the same five arguments and refuse the same combinations of them; this is
the one place that words these refusals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.exceptions import AugmentationError, MethodNotApplicableError
from causalkit.validation import check_choice, check_matrix, check_same_index

__all__ = ["PENALTIES", "Variation", "check_same_rows", "require_parameters", "resolve_variation"]

Array = NDArray[np.float64]

PENALTIES = ("projected", "paired", "pointwise", "analytic", "constrained")

_USE = (
    "Pass augmentation= (an augmenter or a callable), augmented= (augmented features made beforehand) or instruments=."
)


@dataclass(frozen=True)
class Variation:
    """The variation that a fit uses, and the penalty that goes with it.

    Attributes
    ----------
    kind : {"instruments", "augmentation", "none"}
        Where the variation comes from.
    penalty : str
        The penalty, "auto" resolved; "none" where there is no variation.
    augmented : ndarray of float64, shape (n, R, p), CSR matrix of shape (n, p), or None
        Augmented features that were given; None for an augmenter, whose draws are made later.
    parameters : ndarray of float64, shape (n, R, k), or None
        Augmentation parameters that were given.
    instruments : ndarray of float64, shape (n, k), or None
        Real instruments.
    instrument_names : tuple of str, length k
        Column names of the instruments, or of the given parameters; empty where neither was given.
    """

    kind: str
    penalty: str
    augmented: Any = None
    parameters: Array | None = None
    instruments: Array | None = None
    instrument_names: tuple[str, ...] = ()


def resolve_variation(
    X: Any,
    *,
    augmentation: Any,
    penalty: Any,
    instruments: Any,
    augmented: Any,
    augmentation_parameters: Any,
    allowed: tuple[str, ...] = PENALTIES,
) -> Variation:
    """Check the arguments that say how the features vary, and resolve ``penalty="auto"``.

    Parameters
    ----------
    X : array-like or sparse matrix, shape (n, p)
        Features: only the shape, and the column names and index of a frame, are read.
    augmentation : Augmenter, callable or None
        What draws augmented features later.
    penalty : str
        "auto" or one of :data:`PENALTIES`.
    instruments : array-like, shape (n, k), or None
        Real instruments.
    augmented : array-like, shape (n, p) or (n, R, p), or None
        Augmented features that were made beforehand.
    augmentation_parameters : array-like, shape (n, k) or (n, R, k), or None
        Their parameters.
    allowed : tuple of str
        Penalties that the calling estimator has.

    Returns
    -------
    Variation

    Raises
    ------
    ValueError
        If ``penalty`` is not a known code, or instruments have other rows than X.
    AugmentationError
        If the augmentation is not callable, two sources of variation are given, a penalty is named without
        any, augmented features or parameters have another shape or are not finite, or the penalty needs
        parameters that are missing.
    MethodNotApplicableError
        If the estimator, or this source of variation, does not have the penalty.
    """
    check_choice(penalty, "penalty", ("auto", *PENALTIES))
    if augmentation is not None and not callable(augmentation):
        raise AugmentationError(
            f"augmentation must be an augmenter or a callable (X, rng) -> GX or (GX, G): got {augmentation!r}. "
            "Pass an object of causalkit.augmentation.augmenters, an instance rather than its name."
        )
    _check_sources(augmentation, instruments, augmented, augmentation_parameters)
    if augmentation is None and augmented is None and instruments is None:
        if penalty != "auto":
            raise AugmentationError(
                f'penalty="{penalty}" has nothing to penalise: there is no variation to use. {_USE}'
            )
        return Variation("none", "none")
    chosen = penalty if penalty != "auto" else ("pointwise" if instruments is None else "projected")
    _check_penalty(chosen, allowed, instruments is not None, augmented is not None)
    if instruments is not None:
        check_same_index(X, instruments, ("X", "instruments"))
        Z, names = check_matrix(instruments, "instruments", n_rows=np.shape(X)[0], like="X")
        return Variation("instruments", chosen, instruments=Z, instrument_names=tuple(names))
    if augmented is None:
        return Variation("augmentation", chosen)
    GX = _check_augmented(augmented, X)
    n_draws = 1 if sparse.issparse(GX) else GX.shape[1]
    G = _check_parameters(augmentation_parameters, X, n_draws)
    require_parameters(G, chosen, "augmented")
    columns = getattr(augmentation_parameters, "columns", None)
    k = 0 if G is None else G.shape[2]
    labels = [f"parameter{j}" for j in range(k)] if columns is None else [str(column) for column in columns]
    return Variation("augmentation", chosen, augmented=GX, parameters=G, instrument_names=tuple(labels))


def require_parameters(parameters: Array | None, penalty: str, source: str) -> None:
    """Refuse the projected and the paired penalty where there are no augmentation parameters.

    Parameters
    ----------
    parameters : ndarray or None
        Parameters that were given or drawn.
    penalty : str
        Resolved penalty.
    source : str
        What the augmented features came from: the name of the augmenter, or "augmented".

    Raises
    ------
    AugmentationError
        If the penalty needs parameters and there are none.
    """
    if parameters is None and penalty in ("projected", "paired"):
        remedy = "pass augmentation_parameters=" if source == "augmented" else "return (GX, G) from the augmentation"
        raise AugmentationError(
            f'penalty="{penalty}" projects on the parameters G of the augmentation, but {source} came without any: '
            f'{remedy}, or use penalty="pointwise", which needs no G.'
        )


def check_same_rows(X: Any, **others: Any) -> None:
    """Refuse frames and series whose index labels are those of X in another order.

    Parameters
    ----------
    X : array-like
        Features.
    others : array-like or None
        Arguments with one row per row of X, by name.

    Raises
    ------
    ValueError
        Naming the first that is in another order.
    """
    for name, other in others.items():
        check_same_index(X, other, ("X", name))


def _check_sources(augmentation: Any, instruments: Any, augmented: Any, parameters: Any) -> None:
    if augmentation is not None and augmented is not None:
        raise AugmentationError(
            "augmentation and augmented were both given, and either alone says what GX is: drop augmented= to have "
            "GX drawn, or set augmentation=None to use the features that you augmented yourself."
        )
    for name, value in (("augmentation", augmentation), ("augmented", augmented)):
        if instruments is not None and value is not None:
            raise AugmentationError(
                f"instruments and {name} were both given, and a fit uses one kind of variation: drop instruments= to "
                f"use the augmentation, or drop {name}= to use real instruments. To hold both kinds of knowledge "
                "against each other, use invariance_test."
            )
    if parameters is not None and augmented is None:
        other = "the augmentation draws its own parameters" if augmentation is not None else "augmented is missing"
        raise AugmentationError(
            f"augmentation_parameters belong to augmented features, but {other}: pass augmented= with them, "
            "drop augmentation_parameters=, or pass real instruments as instruments=."
        )


def _check_penalty(penalty: str, allowed: tuple[str, ...], with_instruments: bool, with_augmented: bool) -> None:
    if penalty not in allowed:
        raise MethodNotApplicableError(
            f'penalty="{penalty}" does not exist for this estimator, which has {", ".join(map(repr, allowed))}: '
            f'use penalty="{"projected" if with_instruments else "pointwise"}".'
        )
    if with_instruments and penalty != "projected":
        raise MethodNotApplicableError(
            f'penalty="{penalty}" compares features with their augmented copies, and instruments make no copies: '
            'use penalty="projected" (or "auto") with instruments.'
        )
    if with_augmented and penalty == "analytic":
        raise MethodNotApplicableError(
            'penalty="analytic" needs the known covariance of an additive augmenter, and augmented= says nothing '
            'about it: pass augmentation= instead, or use penalty="pointwise".'
        )


def _check_augmented(augmented: Any, X: Any) -> Any:
    """Augmented features as (n, R, p), or a CSR matrix of shape (n, p)."""
    n, p = np.shape(X)
    ours, theirs = getattr(X, "columns", None), getattr(augmented, "columns", None)
    if ours is not None and theirs is not None and list(ours) != list(theirs):
        raise AugmentationError(
            f"augmented must have the columns of X in the same order: expected {[str(c) for c in ours]}, got "
            f"{[str(c) for c in theirs]}. Reorder them: augmented[X.columns]."
        )
    check_same_index(X, augmented, ("X", "augmented"))
    if sparse.issparse(augmented):
        matrix = sparse.csr_array(augmented, dtype=np.float64)
        if matrix.shape != (n, p):
            raise _wrong_shape("augmented", matrix.shape, n, p)
        stored = np.repeat(np.arange(n), np.diff(matrix.indptr))
        finite = np.bincount(stored[~np.isfinite(matrix.data)], minlength=n) == 0
        _refuse_non_finite(np.where(finite, 0.0, np.nan), "augmented")
        return matrix
    array = _as_float(augmented, "augmented")
    if array.shape[:1] != (n,) or array.ndim not in (2, 3) or array.shape[-1] != p or 0 in array.shape:
        raise _wrong_shape("augmented", array.shape, n, p)
    _refuse_non_finite(array, "augmented")
    return array.reshape(n, -1, p)


def _check_parameters(parameters: Any, X: Any, n_draws: int) -> Array | None:
    """Parameters as (n, R, k)."""
    if parameters is None:
        return None
    n = np.shape(X)[0]
    check_same_index(X, parameters, ("X", "augmentation_parameters"))
    array = _as_float(parameters, "augmentation_parameters")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim == 2 and n_draws == 1:
        array = array[:, None, :]
    if array.ndim != 3 or array.shape[:2] != (n, n_draws) or array.shape[2] == 0:
        expected = f"({n}, k) or ({n}, 1, k)" if n_draws == 1 else f"({n}, {n_draws}, k)"
        raise AugmentationError(
            f"augmentation_parameters must have one row of parameters for every augmented row: expected shape "
            f"{expected}, got {np.shape(parameters)}. Pass the parameters that made augmented, in its row order."
        )
    _refuse_non_finite(array, "augmentation_parameters")
    return array


def _as_float(values: Any, name: str) -> Array:
    try:
        return np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise AugmentationError(
            f"{name} must be an array of numbers: got {type(values).__name__} that does not convert to float "
            f"({error}). Pass a numeric array with the rows of X."
        ) from None


def _wrong_shape(name: str, got: tuple[int, ...], n: int, p: int) -> AugmentationError:
    return AugmentationError(
        f"{name} must have the rows and columns of X: expected shape ({n}, {p}) or ({n}, R, {p}), got {got}. "
        "Augment the rows of X, in their order, without dropping any."
    )


def _refuse_non_finite(array: Array, name: str) -> None:
    finite = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    if not finite.all():
        raise AugmentationError(
            f"{name} contains NaN or infinity in {int((~finite).sum())} of {len(array)} rows (first: row "
            f"{int(np.argmin(finite))}): expected finite numbers. Mend these rows or drop them from every argument."
        )
