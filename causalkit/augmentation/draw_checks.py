"""What an augmentation returned, checked against the rows that it was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.augmentation.augmenters.base import Augmenter, FunctionAugmenter
from causalkit.exceptions import AugmentationError

__all__ = ["augmentation_name", "check_augmentation", "checked_call", "fills_zeros", "stack_parameters"]

Array = NDArray[np.float64]
Augmentation = Augmenter | Callable[..., Any]


def augmentation_name(augmentation: Augmentation) -> str:
    """How messages call an augmentation: the function's name, or the augmenter's repr."""
    if isinstance(augmentation, FunctionAugmenter):
        return augmentation.name
    if isinstance(augmentation, Augmenter):
        return repr(augmentation)
    return str(getattr(augmentation, "__qualname__", type(augmentation).__qualname__))


def check_augmentation(augmentation: Any) -> None:
    """Refuse what is neither an augmenter nor a function."""
    if not callable(augmentation) or isinstance(augmentation, type):
        raise AugmentationError(
            "augmentation must be an augmenter or a function (X, rng) -> GX or (GX, G); got "
            f"{augmentation!r}. See causalkit.augmentation.augmenters."
        )


def checked_call(augmentation: Augmentation, X: Any, call: Callable[[Any], Any], row: int) -> tuple[Any, Array | None]:
    """Call on a copy of X and check (GX, G); ``row`` is the number of X's first row, for messages."""
    name = augmentation_name(augmentation)
    given = X.copy()  # the caller's X stays whole even if the function writes into what it gets
    result = call(given)
    _check_untouched(name, X, given, row)
    features, G = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    checked = _check_features(augmentation, features, X, row)
    if G is None:
        return checked, None
    parameters = np.asarray(_numbers(name, G, "parameters"))
    if parameters.ndim == 1:
        parameters = parameters[:, None]
    if parameters.ndim != 2 or parameters.shape[0] != X.shape[0]:
        raise AugmentationError(
            f"{name} returned parameters G of shape {parameters.shape}: expected ({X.shape[0]}, k), one row per row "
            "of X."
        )
    _check_finite(name, parameters, "parameters G", row)
    return checked, parameters


def _check_untouched(name: str, X: Any, given: Any, row: int) -> None:
    if given.shape == X.shape:
        if sparse.issparse(X):
            changed = (given != X).indices if given.nnz == X.nnz and np.array_equal(given.indptr, X.indptr) else None
            same = changed is not None and len(changed) == 0
            bad = 0 if same else int(np.flatnonzero(np.diff((given != X).tocsr().indptr))[0])
        else:
            equal = given == X
            same = bool(equal.all())
            bad = 0 if same else int(np.argmin(equal.all(axis=1)))
        if same:
            return
    else:
        bad = 0
    raise AugmentationError(
        f"{name} changed X in place (first changed row: {row + bad}): expected X to stay as it was. Work on a copy, "
        "for example GX = X.copy()."
    )


def _check_features(augmentation: Augmentation, features: Any, X: Any, row: int) -> Any:
    name = augmentation_name(augmentation)
    shape = getattr(features, "shape", None) or np.shape(features)
    if tuple(shape) != X.shape:
        raise AugmentationError(
            f"{name} returned features of shape {tuple(shape)} for rows {row} to {row + X.shape[0] - 1}: expected "
            f"{X.shape}, one augmented row per row of X. Return GX, or the pair (GX, G)."
        )
    if sparse.issparse(features):
        features = features.tocsr().astype(np.float64) if sparse.issparse(X) else features.toarray()
    elif sparse.issparse(X):
        raise fills_zeros(augmentation, X.shape)
    if sparse.issparse(features):
        _check_finite(name, features, "features", row)
        return features
    checked = _numbers(name, features, "features")
    _check_finite(name, checked, "features", row)
    return checked


def _numbers(name: str, values: Any, what: str) -> Array:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise AugmentationError(f"{name} returned {what} that are not numbers: got {type(values).__name__}.") from None


def _check_finite(name: str, values: Any, what: str, row: int) -> None:
    if sparse.issparse(values):
        finite = np.isfinite(values.data)
        if finite.all():
            return
        bad = int(np.searchsorted(values.indptr, np.argmin(finite), side="right")) - 1
    else:
        finite = np.isfinite(values).all(axis=1)
        if finite.all():
            return
        bad = int(np.argmin(finite))
    raise AugmentationError(
        f"{name} returned {what} with NaN or infinity (first bad row: {row + bad}): expected finite numbers. Check the "
        "transformation on that row."
    )


def stack_parameters(augmentation: Augmentation, parameters: list[Array | None]) -> Array | None:
    """Parameters of consecutive blocks as one (n, k) array."""
    given = [G for G in parameters if G is not None]
    widths = {G.shape[1] for G in given}
    if len(given) not in (0, len(parameters)) or len(widths) > 1:
        raise AugmentationError(
            f"{augmentation_name(augmentation)} returned parameters of {sorted(widths)} columns in some blocks of "
            f"rows and none in {len(parameters) - len(given)}: expected (n, k) with one k for all rows."
        )
    return np.concatenate(given) if given else None


def fills_zeros(augmentation: Augmentation, shape: tuple[int, ...]) -> AugmentationError:
    """The error for a sparse X that the augmentation would make dense."""
    return AugmentationError(
        f"{augmentation_name(augmentation)} fills the zeros of a sparse X of shape {shape}: expected an augmenter that "
        "preserves sparsity (SignFlip, Masking with value 0, Scaling, Permutation). Use one of these, or pass dense "
        "chunks to partial_fit."
    )
