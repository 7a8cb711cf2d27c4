"""What an encoder is given, checked: features of any shape, actions, weights, clusters, and the split for reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import IdentificationError
from causalkit.extrapolation.actions import ActionScale, check_actions
from causalkit.extrapolation.penalty import draw_frequencies, median_distance
from causalkit.extrapolation.sieve_fit import ActionMoments
from causalkit.validation import (
    Groups,
    as_array,
    check_choice,
    check_column_names,
    check_groups,
    check_integer,
    check_numeric_columns,
    check_sample_weight,
)

__all__ = ["EncoderRows", "action_moments", "check_features", "encoder_rows"]

Array = NDArray[np.float64]

_REPORT_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class EncoderRows:
    """Checked rows.

    Attributes
    ----------
    X : ndarray, shape (n, ...)
        Features as they are stored.
    actions : ndarray, shape (n, k)
        Actions (features of them, where ``action_features`` is given).
    names : list of str
        Of the actions as the user gave them.
    scale : ActionScale
        Of ``actions``.
    standard : ndarray, shape (n, k)
        Standardised actions.
    weight : ndarray or None, shape (n,)
        Weights with mean 1.
    groups : Groups or None
        Clusters.
    folds : ndarray of int, shape (n,)
        0..K-1 for choosing, K for the rows that reports are made on.
    """

    X: Any
    actions: Array
    names: list[str]
    scale: ActionScale
    standard: Array
    weight: Array | None
    groups: Groups | None
    folds: NDArray[np.intp]

    @property
    def report(self) -> NDArray[np.bool_]:
        """Rows kept from everything that is reported on them."""
        return np.asarray(self.folds == self.folds.max())


def check_features(features: Any, n_rows: int | None = None, *, like: str = "actions", any_shape: bool = False) -> Any:
    """Check features, (n, m) or of any shape for modules; a memory map stays one.

    Raises
    ------
    ValueError
        Lengths that differ, text, NaN or infinity, too many axes.
    """
    if features is None:
        raise ValueError("features is missing: expected one row per row of actions, got None.")
    if hasattr(features, "toarray") and hasattr(features, "nnz"):
        raise TypeError(
            "features is a sparse matrix: expected a dense array or frame. A dense array is required, so use "
            "features.toarray()."
        )
    check_column_names(features, "features")
    check_numeric_columns(features, "features")
    array = features if isinstance(features, np.ndarray) else as_array(features, "features")
    if array.ndim < 2:
        raise ValueError(f"features must be a table of shape (n, m), got shape {array.shape}. Reshape your data.")
    if 0 in array.shape[1:]:
        raise ValueError(f"features has 0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")
    if np.iscomplexobj(array):
        raise ValueError(f"Complex data not supported: features must hold real numbers, got {array.dtype}.")
    if array.ndim > 2 and not any_shape:
        raise ValueError(
            f"features has shape {array.shape}: rows with more than one axis need encoder_module (and decoder_module), "
            "or a transformer as basis."
        )
    if n_rows is not None and len(array) != n_rows:
        raise ValueError(f"features has {len(array)} rows, but {like} has {n_rows}: pass the same rows to both.")
    if array.dtype.kind not in "biuf":
        try:
            array = array.astype(np.float64)
        except TypeError as error:
            raise TypeError(f"features must hold numbers: {error}") from None
        except ValueError as error:
            raise ValueError(f"features must hold numbers, got dtype {array.dtype} ({error}).") from None
    _check_finite(array)
    return array


def _check_finite(array: NDArray[Any]) -> None:
    for start in range(0, len(array), 65_536):
        block = array[start : start + 65_536]
        if block.dtype.kind == "f" and not np.isfinite(block).all():
            bad = np.flatnonzero(~np.isfinite(block.reshape(len(block), -1)).all(axis=1))
            raise ValueError(
                f"features contains NaN or infinity in {len(bad)} of the rows {start}..{start + len(block) - 1} "
                f"(first: {(bad[:5] + start).tolist()}): expected finite numbers. Impute or drop them first."
            )


def encoder_rows(
    X: Any,
    actions: Any,
    *,
    action_features: Any,
    sample_weight: Any,
    groups: Any,
    selection_cv: Any,
    any_shape: bool,
    seed: int,
) -> EncoderRows:
    """Check everything, and split the rows into folds for choosing and one for reports."""
    raw, names, scale = check_actions(actions)
    features = check_features(X, len(raw), any_shape=any_shape)
    values = raw
    if action_features is not None:
        values = transformed_actions(action_features, raw)
        _, _, scale = check_actions(values, warn=False)
    n = len(values)
    weight = check_sample_weight(sample_weight, n, like="actions")
    checked = check_groups(groups, n, like="actions")
    folds = _folds(n, check_integer(selection_cv, "selection_cv", low=2), checked, seed)
    return EncoderRows(
        features,
        values,
        names,
        scale,
        scale.standardised(values),
        None if weight is None else weight / weight.mean(),
        checked,
        folds,
    )


def transformed_actions(action_features: Any, actions: Array, width: int | None = None) -> Array:
    """t(A), shape (n, k'); ``width`` is k' of the fit."""
    found = np.asarray(action_features(actions), dtype=np.float64)
    if found.ndim != 2 or len(found) != len(actions):
        raise ValueError(
            f"action_features returned shape {found.shape}, expected ({len(actions)}, k'): it must keep the rows."
        )
    if width is not None and found.shape[1] != width:
        raise ValueError(
            f"action_features returned {found.shape[1]} columns, expected {width} as in fit: pass the function of the "
            "fit."
        )
    return found


def matched_columns(features: Any, columns: list[str] | None) -> Any:
    """Columns of a frame in the order of ``fit``; anything else as it is."""
    if columns is None or not hasattr(features, "columns"):
        return features
    given = {str(name): name for name in features.columns}
    absent = [name for name in columns if name not in given]
    if absent:
        raise ValueError(f"features has no column {absent[:5]}: fit saw {columns[:5]}.")
    return features[[given[name] for name in columns]]


def _folds(n: int, count: int, groups: Groups | None, seed: int) -> NDArray[np.intp]:
    rng = np.random.default_rng(seed)
    units = np.arange(n) if groups is None else groups.codes
    n_units = n if groups is None else groups.n_groups
    if n_units < 2 * (count + 1):
        raise ValueError(
            f"{'groups' if groups is not None else 'actions'} has {n_units} "
            f"{'clusters' if groups is not None else 'rows'}, too few for selection_cv={count} folds and a fifth of "
            "the rows for reports: lower selection_cv."
        )
    place = rng.permutation(n_units) / n_units
    of_unit = np.where(place < _REPORT_SHARE, count, ((place - _REPORT_SHARE) / (1 - _REPORT_SHARE) * count))
    return np.asarray(np.minimum(of_unit.astype(np.intp), count)[units])


def action_moments(rows: EncoderRows, bandwidth: Any, n_random_features: Any, seed: int) -> tuple[ActionMoments, Any]:
    """Random functions of the action, and the bandwidth that they have."""
    count = check_integer(n_random_features, "n_random_features", low=2)
    if count % 2:
        raise ValueError(f"n_random_features must be even, one cosine and one sine per frequency; got {count}.")
    rng = np.random.default_rng(seed)
    if isinstance(bandwidth, str):
        check_choice(bandwidth, "bandwidth", ("median", "mixture"))
        median = median_distance(rows.standard, rng)
        if not median > 0:
            raise IdentificationError("actions: more than half of the pairs of rows are equal; pass a bandwidth.")
        used: Any = median if bandwidth == "median" else median * np.array([0.5, 1.0, 2.0])
    else:
        ok = isinstance(bandwidth, int | float | np.number) and not isinstance(bandwidth, bool) and bandwidth > 0
        if not ok:
            raise ValueError(f'bandwidth must be "median", "mixture" or a number above 0; got {bandwidth!r}.')
        used = float(bandwidth)
    return ActionMoments(draw_frequencies(rows.standard.shape[1], count, used, rng)), used
