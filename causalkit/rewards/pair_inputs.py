"""What preference pairs are made of: checked rewards, units, errors of pairs and the rules that a pair must pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from causalkit.exceptions import IdentificationError
from causalkit.rewards.orthogonal import row_chunks
from causalkit.rewards.pair_candidates import Rows, Rule
from causalkit.rewards.reading import encode
from causalkit.rewards.records import Factor
from causalkit.rewards.sensitivity import omitted_variable_bias
from causalkit.validation import Groups, check_groups, check_same_index, check_vector

__all__ = ["PairUnits", "check_amount", "check_texts", "pair_bounds", "pair_errors", "pair_rules", "pair_units"]

Array = NDArray[np.float64]
Errors = Callable[[Rows, Rows], Array]

_SCOPES = {"prompt": "prompts", "stratum": "strata"}


@dataclass(frozen=True)
class PairUnits:
    """Units within which rows are compared.

    Attributes
    ----------
    codes : ndarray of int, shape (n,)
        Unit of each row.
    prompts : Groups or None
        Prompts, where they are given.
    """

    codes: Rows
    prompts: Groups | None


def check_amount(value: Any, name: str, *, positive: bool = False) -> float:
    """Check a finite number that is not negative."""
    ok = isinstance(value, int | float | np.number) and not isinstance(value, bool) and 0 <= value < np.inf
    if not ok or (positive and value == 0):
        raise ValueError(f"{name} must be a finite number {'above' if positive else 'of at least'} 0; got {value!r}.")
    return float(value)


def check_texts(texts: Any, n: int) -> NDArray[np.object_]:
    """Texts (strings, or lists of messages) as an object array, shape (n,); None becomes None throughout."""
    out = np.full(n, None, dtype=object)
    if texts is None:
        return out
    if isinstance(texts, str):
        raise TypeError("texts is one string: expected a list or Series of strings, one per row.")
    values = texts.to_list() if hasattr(texts, "to_list") else list(texts)
    if len(values) != n:
        raise ValueError(f"texts has {len(values)} rows, but rewards has {n}: pass the same rows to both.")
    for i, value in enumerate(values):
        if not isinstance(value, str | list):
            raise TypeError(
                f"texts must hold strings, or lists of messages: row {i} is {type(value).__name__}. Drop rows without "
                "text."
            )
        out[i] = value
    return out


def pair_units(rewards: Any, n: int, scope: str, prompts: Any, strata: Any) -> PairUnits:
    """Code the units of the scope.

    Raises
    ------
    ValueError
        The argument that the scope needs is missing, or ``strata`` is given to a scope that does not use it.
    """
    needed = _SCOPES.get(scope)
    if (needed == "prompts" and prompts is None) or (needed == "strata" and strata is None):
        other = "strata" if needed == "prompts" else "prompts"
        raise ValueError(
            f'scope="{scope}" needs {needed}, one label per row: pass {needed}=, or choose a scope with {other} or '
            'scope="global".'
        )
    if strata is not None and scope != "stratum":
        raise ValueError(f'strata has no part in scope="{scope}": leave it out, or pass scope="stratum".')
    groups = _labels(prompts, rewards, n, "prompts")
    if scope == "prompt" and groups is not None:
        return PairUnits(groups.codes, groups)
    inside = strata.codes if isinstance(strata, Factor) else strata
    units = _labels(inside, rewards, n, "strata")
    return PairUnits(np.zeros(n, dtype=np.intp) if units is None else units.codes, groups)


def _labels(values: Any, rewards: Any, n: int, name: str) -> Groups | None:
    check_same_index(rewards, values, ("rewards", name))
    try:
        return check_groups(values, n, name=name, like="rewards")
    except TypeError as error:
        raise TypeError(
            f"{name} must hold labels that can be compared, such as strings or numbers ({error}): for conversations "
            "pass an id per row, and put the messages in afterwards."
        ) from None


def pair_errors(standard_error: Any, noise_variance: float, n: int, min_z: float) -> Errors | None:
    """Standard error of a difference of rewards, as a function of two arrays of rows; None where nothing is known.

    Raises
    ------
    ValueError
        Errors that are negative or not finite, or ``min_z`` without any error.
    """
    if standard_error is None and noise_variance == 0:
        if min_z > 0:
            raise ValueError(
                f"min_z={min_z:g} compares differences with their standard errors, and there are none: pass "
                "standard_error=, or noise_variance= (residual_variance_ for adjusted rewards)."
            )
        return None
    if callable(standard_error):
        given = standard_error

        def variance(i: Rows, j: Rows) -> Array:
            if len(i) == 0:
                return np.zeros(0)
            values = check_vector(given(i, j), "standard_error(i, j)", n_rows=len(i), like="i")
            _refuse_negative(values, "standard_error(i, j)")
            return np.asarray(values**2)

    else:
        squares = np.zeros(n)
        if standard_error is not None:
            checked = check_vector(standard_error, "standard_error", n_rows=n, like="rewards")
            _refuse_negative(checked, "standard_error")
            squares = checked**2

        def variance(i: Rows, j: Rows) -> Array:
            return np.asarray(squares[i] + squares[j])

    return lambda i, j: np.sqrt(variance(i, j) + 2 * noise_variance)


def _refuse_negative(values: Array, name: str) -> None:
    if (values < 0).any():
        raise ValueError(f"{name} must not be negative; got {values.min():g} (entry {int(values.argmin())}).")


def pair_rules(
    rewards: Array, min_gap: float, min_z: float, errors: Errors | None, bounds: Errors | None
) -> dict[str, Rule]:
    """Rules by name, in the order in which they are applied."""

    def gap(i: Rows, j: Rows) -> Array:
        return np.asarray(np.abs(rewards[i] - rewards[j]))

    rules: dict[str, Rule] = {
        "tie": lambda i, j: rewards[i] != rewards[j],
        "min_gap": lambda i, j: gap(i, j) > min_gap,
    }
    if min_z > 0 and errors is not None:
        rules["min_z"] = lambda i, j: gap(i, j) > min_z * errors(i, j)
    if bounds is not None:
        rules["robust"] = lambda i, j: gap(i, j) > bounds(i, j)
    return rules


def pair_bounds(robust: Any, n: int) -> Errors:
    r"""Largest bias of a difference of rewards from an unmeasured confounder of the given strength.

    :math:`\sqrt{cf_y \frac{cf_d}{1 - cf_d}\sigma^2 q'\Sigma_U^{-1}q}` with q the difference of the two rows' features.
    The features are multiplied by a root of :math:`\Sigma_U^{-1}` once, so that a pair costs p operations.

    Parameters
    ----------
    robust : tuple
        Fitted estimator, features (or texts) of the rows, cf_y, cf_d.
    n : int
        Number of rows.

    Returns
    -------
    callable
        Of two arrays of rows.
    """
    if not isinstance(robust, tuple) or len(robust) != 4:
        raise ValueError(f"robust must be a tuple (estimator, X, cf_y, cf_d); got {type(robust).__name__}.")
    estimator, X, cf_y, cf_d = robust
    for name in ("feature_residual_covariance_", "residual_variance_"):
        if not hasattr(estimator, name):
            raise ValueError(
                f"robust needs a fitted RewardDeconfounder: {type(estimator).__name__} has no {name}. Fit it first, or "
                "leave robust out."
            )
    features = np.asarray(encode(getattr(estimator, "encoder_", None), X))
    sigma = np.asarray(estimator.feature_residual_covariance_, dtype=np.float64)
    if features.shape != (n, len(sigma)):
        raise ValueError(f"robust: X must have shape ({n}, {len(sigma)}), a row per reward; got {features.shape}.")
    if features.dtype.kind not in "fiub" or not np.isfinite(features).all():
        raise ValueError("robust: X must hold finite numbers, the features of the fit: drop or impute the other rows.")
    scale = float(omitted_variable_bias(float(estimator.residual_variance_), 1.0, cf_y, cf_d))
    try:
        root = np.linalg.cholesky(sigma)
    except np.linalg.LinAlgError:
        raise IdentificationError(
            "robust: some direction of the features has no variation given the confounders, so no bound exists there. "
            "Drop a feature."
        ) from None
    white = np.empty(features.shape, dtype=features.dtype if features.dtype == np.float32 else np.float64)
    for part in row_chunks(n, features.shape[1]):
        white[part] = solve_triangular(root, features[part].astype(np.float64).T, lower=True).T

    def bound(i: Rows, j: Rows) -> Array:
        size = np.empty(len(i))
        for part in row_chunks(len(i), white.shape[1]):
            q = white[i[part]].astype(np.float64) - white[j[part]]
            size[part] = np.sqrt(np.einsum("ij,ij->i", q, q))
        return scale * size

    return bound
