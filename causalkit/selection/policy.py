"""The value of treating some units and not others, and whom to treat with a limited budget."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.inference import InferenceResult
from causalkit.inference.network import network_covariance
from causalkit.selection.losses import estimated_effect
from causalkit.validation import check_matrix, check_sample_weight

__all__ = ["policy_value", "targeting_policy"]

Array = NDArray[np.float64]


def policy_value(
    policy: Any,
    scores: Any,
    *,
    cost: Any = 0.0,
    baseline: Any = 0.0,
    sample_weight: Any = None,
    adjacency: Any = None,
    positions: Any = None,
    groups: Any = None,
    bandwidth: Any = "auto",
    exposure_radius: int = 0,
    name: str = "policy value",
) -> InferenceResult:
    r"""Gain per unit of a treatment policy over a baseline, net of costs.

    .. math:: V = n^{-1}\sum_i \sum_l (\pi_{il} - \pi^0_{il})(\Gamma_{il} - c_{il})

    :math:`\pi_{il}` is the probability with which row i gets level l, Γ its doubly robust score. The policy must not
    have been learned from the outcomes of the rows that it is valued on.

    Parameters
    ----------
    policy : array-like, shape (n,) or (n, L)
        Probabilities in [0, 1] of each level but the first; those of a row add up to 1 at most.
    scores : array-like, shape (n,) or (n, L)
        Γ.
    cost : float or array-like, shape (L,), (n,) or (n, L), default=0.0
        Cost of a treatment, in units of the outcome.
    baseline : float or array-like, shape (n,) or (n, L), default=0.0
        Policy to compare with; 0 treats nobody, 1 everybody (with one level).
    sample_weight : array-like, shape (n,), optional
        Weights of the rows.
    adjacency, positions, groups, bandwidth, exposure_radius : optional
        Dependence between rows, as in :func:`causalkit.inference.network_covariance`. Rows are independent without
        ``adjacency`` and ``groups``.
    name : str, default="policy value"
        Name of the estimate.

    Returns
    -------
    InferenceResult

    Raises
    ------
    ValueError
        A policy or baseline outside [0, 1], shapes that do not fit, values that are not finite.

    References
    ----------
    Athey and Wager (2021), doi:10.3982/ECTA15732, section 2 (value of a policy from doubly robust scores).

    Examples
    --------
    >>> from causalkit.selection import policy_value
    >>> policy_value([1, 1, 0, 0], [3.0, 1.0, -1.0, 5.0], cost=0.5).estimate.tolist()
    [0.75]
    """
    gamma, _ = check_matrix(scores, "scores")
    n = len(gamma)
    chosen = _probabilities(policy, "policy", gamma.shape)
    reference = _probabilities(baseline, "baseline", gamma.shape)
    gain = np.einsum("ij,ij->i", chosen - reference, gamma - _costs(cost, gamma.shape))
    weight = check_sample_weight(sample_weight, n)
    value = float(np.average(gain, weights=weight))
    influence = gain - value if weight is None else (gain - value) * weight / weight.mean()
    independent = adjacency is None and groups is None
    found = network_covariance(
        influence,
        adjacency,
        positions=positions,
        groups=groups,
        dependence="iid" if independent else "auto",
        bandwidth=bandwidth,
        exposure_radius=exposure_radius,
    )
    return found.to_result([value], [name], n_obs=n)


def targeting_policy(effect: Any, budget: float, *, cost: Any = 0.0, X: Any = None, sample_weight: Any = None) -> Array:
    r"""Treat the share of rows with the largest effects net of cost, as far as they are positive.

    .. math:: \pi_i = 1\{\hat\tau_i - c_i > \max(0, q)\}, \qquad q \text{ such that the share is the budget}.

    Rows with equal net effects at the margin are treated with equal probability.

    Parameters
    ----------
    effect : array-like, shape (n,), or an estimator with ``const_marginal_effect``
        Effects of one treatment, from models that were not fitted on these rows.
    budget : float
        Largest share of rows (of weight) that may be treated, in (0, 1].
    cost : float or array-like, shape (n,), default=0.0
        Cost of the treatment, in units of the outcome.
    X : array-like, optional
        Rows for an estimator.
    sample_weight : array-like, shape (n,), optional
        Weights of the rows.

    Returns
    -------
    ndarray, shape (n,)
        Probabilities of treatment.

    Raises
    ------
    ValueError
        A budget outside (0, 1], more than one treatment, values that are not finite.

    Examples
    --------
    >>> from causalkit.selection import targeting_policy
    >>> targeting_policy([3.0, 1.0, 2.0, -1.0], 0.5).tolist()
    [1.0, 0.0, 1.0, 0.0]
    >>> targeting_policy([3.0, 1.0, 1.0, -1.0], 0.5).tolist()
    [1.0, 0.5, 0.5, 0.0]
    """
    ok = isinstance(budget, int | float | np.integer | np.floating) and not isinstance(budget, bool)
    if not ok or not 0 < budget <= 1:
        raise ValueError(f"budget must be a share above 0, at most 1; got {budget!r}.")
    values = estimated_effect(effect, X)
    if values.shape[1] != 1:
        raise ValueError(f"effect has {values.shape[1]} columns: expected one, as targeting ranks rows for one level.")
    net = (values - _costs(cost, values.shape))[:, 0]
    weight = check_sample_weight(sample_weight, len(net))
    weight = np.ones(len(net)) if weight is None else weight
    levels, code = np.unique(-net, return_inverse=True)
    size = np.bincount(code, weights=weight)
    before = np.cumsum(size) - size
    allowed = budget * size.sum()
    # Budgets such as 0.3 of ten rows are no exact number of rows in floating point.
    if abs(allowed - round(allowed)) < 1e-9 * size.sum():
        allowed = round(allowed)
    room = np.clip(allowed - before, 0.0, size)
    share = np.divide(room, size, out=(before < allowed).astype(float), where=size > 0)
    return np.asarray(share[code] * (levels < 0)[code])


def _probabilities(values: Any, name: str, shape: tuple[int, ...]) -> Array:
    if np.ndim(values) == 0:
        table = np.full(shape, float(values))
    else:
        table, _ = check_matrix(values, name, n_rows=shape[0], like="scores")
    if table.shape != shape:
        raise ValueError(
            f"{name} has {table.shape[1]} columns, but scores has {shape[1]}: expected one for each treatment level "
            "but the first."
        )
    slack = 1e-9
    rows = ~((table >= -slack) & (table <= 1 + slack)).all(axis=1) | (table.sum(axis=1) > 1 + slack)
    if rows.any():
        first = int(np.argmax(rows))
        raise ValueError(
            f"{name} must hold probabilities in [0, 1] that add up to 1 at most in each row: got {int(rows.sum())} "
            f"rows outside (first: row {first}, {table[first].tolist()}). Pass the probability of each level."
        )
    return table


def _costs(cost: Any, shape: tuple[int, ...]) -> Array:
    array = np.asarray(cost, dtype=np.float64)
    if array.ndim == 1 and array.shape[0] == shape[0] and shape[0] != shape[1]:
        array = array[:, None]
    try:
        table = np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"cost has shape {array.shape}: expected a number, one per level ({shape[1]},), one per row "
            f"({shape[0]},), or {shape}."
        ) from None
    if not np.isfinite(array).all():
        raise ValueError(f"cost holds {int((~np.isfinite(array)).sum())} entries that are NaN or infinite.")
    return table
