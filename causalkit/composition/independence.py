"""Conditional-independence test of two parts given others, for learners of the PC type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.composition.covariance import double_centre, log_ratio_covariance
from causalkit.composition.fitting import fit_covariance
from causalkit.composition.inference import partial_t_test
from causalkit.exceptions import DegreesOfFreedomError

__all__ = ["ConditionalIndependence", "compositional_ci_test", "independence_from_covariance"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ConditionalIndependence:
    """Result of a conditional-independence test.

    Attributes
    ----------
    r : float
        Partial correlation in the subcomposition of the two parts and the given ones.
    statistic, dof, pvalue : float
        t statistic, its degrees of freedom n - \\|S\\| - 1 - q and two-sided p-value.
    """

    r: float
    statistic: float
    dof: float
    pvalue: float


def part_index(part: Any, names: list[str]) -> int:
    """Position of a part given by name or position."""
    if isinstance(part, str):
        if part not in names:
            raise ValueError(f"unknown part {part!r}; the parts are {names[:12]}{' ...' if len(names) > 12 else ''}.")
        return names.index(part)
    if not isinstance(part, int | np.integer) or isinstance(part, bool):
        raise ValueError(f"a part must be a name or a position, got {part!r}; there are {len(names)} parts.")
    if not -len(names) <= part < len(names):
        raise ValueError(f"part {part!r} is out of range: there are {len(names)} parts.")
    return int(part) % len(names)


def independence_from_covariance(
    gamma_block: Any, names: list[str], i: Any, j: Any, given: Any, n: float, q: int
) -> ConditionalIndependence:
    """Test from blocks of Γ; ``gamma_block(indices)`` returns the block of the parts asked for."""
    parts = [given] if isinstance(given, str | int | np.integer) else list(given)
    if not parts:
        raise ValueError("given is empty: the test needs at least one part in `given`, which the log-ratios refer to.")
    first, second = part_index(i, names), part_index(j, names)
    others = [part_index(part, names) for part in parts]
    if first == second:
        raise ValueError(f"i and j are the same part, {names[first]!r}.")
    clash = [names[k] for k in others if k in (first, second)]
    if clash or len(set(others)) < len(others):
        raise ValueError(
            f"given must hold other parts, each once; got {[names[k] for k in others]} with {clash} tested."
        )
    dof = n - len(others) - 1 - q
    if dof < 1:
        raise DegreesOfFreedomError(
            f"{len(others)} given parts leave {dof:g} degrees of freedom with {n:g} rows: expected at least 1. "
            "Condition on fewer parts."
        )
    block = double_centre(gamma_block(np.array([first, second, *others])))
    precision = fit_covariance(block, [names[k] for k in (first, second, *others)]).precision
    r = precision.correlations(slice(None), slice(None))[0, 1]
    result = partial_t_test(np.array([r]), dof)
    return ConditionalIndependence(float(r), float(result.statistic[0]), float(dof), float(result.pvalue[0]))


def compositional_ci_test(X: Any, i: Any, j: Any, given: Sequence[Any]) -> ConditionalIndependence:
    r"""Test whether two parts are related given others, in the subcomposition of these parts.

    r is the partial correlation of parts i and j in the composition {i, j} ∪ S, with
    t = r√(ν/(1-r²)), ν = n - \|S\| - 1. Every S is its own normalisation: results for different S are not
    statements on one joint distribution (partial correlations are not subcompositionally coherent), and a
    learner that combines them inherits this.

    Parameters
    ----------
    X : array-like, shape (n, D)
        Positive parts.
    i, j : str or int
        Two parts.
    given : sequence of str or int
        At least one other part.

    Returns
    -------
    ConditionalIndependence

    Raises
    ------
    ValueError
        Unknown parts, i = j, i or j in ``given``, or nothing given.
    DegreesOfFreedomError
        Too few rows for the given parts.

    References
    ----------
    Erb 2020, doi 10.1016/j.acags.2020.100026 (partial correlation of a composition); degrees of freedom by
    counting free log-ratios.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.composition import compositional_ci_test
    >>> X = np.exp(np.random.default_rng(0).normal(size=(40, 5)))
    >>> compositional_ci_test(X, 0, 1, [2, 3]).dof
    37.0
    """
    from causalkit.validation import check_composition

    values, names = check_composition(X)
    gamma = log_ratio_covariance(values)
    return independence_from_covariance(
        lambda index: gamma[np.ix_(index, index)], names, i, j, given, float(len(values)), 0
    )
