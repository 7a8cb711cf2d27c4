r"""Exposures of a fit with spillover: their values, and their means and covariances given the propensities.

Given covariates and graph, treatments are independent Bernoulli variables with probabilities e. The mean and the
covariance of exposures :math:`G_i = f_i(T_{-i})` then follow from e alone and need no model of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalkit.exceptions import IdentificationError
from causalkit.graph.exposure import ExposureMapping, neighbour_count_probability, resolve_exposure
from causalkit.graph.graph import Graph
from causalkit.graph.unsaved import function_name, without_functions
from causalkit.validation import check_vector

__all__ = ["N_DRAWS", "Exposure", "ExposureMoments", "exposure_moments", "linear_count_covariance", "resolve_exposures"]

Array = NDArray[np.float64]

N_DRAWS = 200
# A function that reads own treatment shows a correlation of 1/sqrt(degree) or so: far above this many standard errors.
_OWN_TREATMENT_LIMIT = 8.0


@dataclass(frozen=True, eq=False)
class Exposure:
    """One exposure of a fit: a mapping with known moments, or a function of the user's.

    Attributes
    ----------
    name : str
        How its effect is called: "share", "matrix", the name of a function.
    mapping : ExposureMapping or None
        A named or linear mapping.
    function : callable or None
        ``function(treatment, graph)`` returns one exposure per node.
    reach : int
        How many steps away a treatment may act; functions are taken to reach one step.
    """

    name: str
    mapping: ExposureMapping | None = None
    function: Callable[[Array, Graph], Any] | None = None
    reach: int = 1

    def values(self, treatment: Array, graph: Graph) -> Array:
        """Exposure of every node, shape (N,)."""
        if self.mapping is not None:
            return self.mapping.values(treatment)
        if self.function is None:
            raise TypeError("an exposure needs a mapping or a function.")
        found = self.function(treatment.copy(), graph)
        return check_vector(found, f"the exposure returned by {self.name}", n_rows=graph.n_nodes, like="graph")

    def on(self, graph: Graph) -> Exposure:
        """The same exposure on another graph, by what was asked for in the fit."""
        if self.mapping is None:
            return self
        mapping = self.mapping
        kind: Any = mapping.weights if mapping.kind == "matrix" else mapping.kind
        return replace(
            _resolved(graph, ("threshold", mapping.threshold) if kind == "threshold" else kind), name=self.name
        )

    def _saved_state(self) -> dict[str, Any]:
        return {**vars(self), "function": without_functions(self.function)}


@dataclass(frozen=True, eq=False)
class ExposureMoments:
    """Exposures of all nodes and their distribution given covariates and graph.

    Attributes
    ----------
    values, mean : ndarray, shape (N, J)
        G and γ = E[G | X].
    covariance : ndarray, shape (N, J, J)
        Covariance of the exposures of a node given X.
    unit : ndarray, shape (N, J)
        Variance that an exposure has per unit of treatment variance: Σ_j E_ij² of linear mappings, 1 of indicators
        that can be reached, NaN where there is no such unit (functions, values of the user's).
    full, none : ndarray, shape (N, J)
        Exposure when everybody is treated, and when nobody is.
    names : tuple of str, length J
        Names of the exposures.
    reach : int
        Largest number of steps over which a treatment acts, K.
    """

    values: Array
    mean: Array
    covariance: Array
    unit: Array
    full: Array
    none: Array
    names: tuple[str, ...]
    reach: int

    def rows(self, rows: NDArray[np.intp]) -> ExposureMoments:
        """The same for some nodes."""
        return ExposureMoments(
            self.values[rows],
            self.mean[rows],
            self.covariance[rows],
            self.unit[rows],
            self.full[rows],
            self.none[rows],
            self.names,
            self.reach,
        )


def resolve_exposures(graph: Graph, exposure: Any) -> list[Exposure]:
    """Check what a user asked for: one exposure, or a list of them.

    Parameters
    ----------
    graph : Graph
        The network.
    exposure : str, ("threshold", q), sparse matrix, callable, or a list of these
        As in :func:`causalkit.graph.exposure_mapping`; a pair carries the threshold.

    Returns
    -------
    list of Exposure
        Names are made unique by a number where a kind is repeated.

    Raises
    ------
    GraphError, ValueError
        A matrix that does not fit, an unknown kind, an empty list.
    """
    kinds = exposure if isinstance(exposure, list) else [exposure]
    if not kinds:
        raise ValueError('exposure is an empty list: expected at least one exposure, such as "share".')
    found = [_resolved(graph, kind) for kind in kinds]
    names = [one.name for one in found]
    if len(set(names)) == len(names):
        return found
    return [
        Exposure(
            f"{one.name}{position}" if names.count(one.name) > 1 else one.name, one.mapping, one.function, one.reach
        )
        for position, one in enumerate(found)
    ]


def _resolved(graph: Graph, kind: Any) -> Exposure:
    if isinstance(kind, tuple):
        if len(kind) != 2 or kind[0] != "threshold":
            raise ValueError(
                f'exposure={kind!r}: a pair must be ("threshold", q); pass several exposures as a list, not a tuple.'
            )
        return Exposure("threshold", resolve_exposure(graph, "threshold", kind[1]))
    if callable(kind):
        return Exposure(function_name(kind), function=kind)
    if isinstance(kind, str) and kind == "threshold":
        raise ValueError('exposure="threshold" needs its threshold: pass exposure=("threshold", q).')
    mapping = resolve_exposure(graph, kind)
    return Exposure(mapping.kind, mapping, reach=_reach(graph, mapping))


def _reach(graph: Graph, mapping: ExposureMapping) -> int:
    """Steps that a mapping bridges; a matrix that links nodes beyond two steps counts as two."""
    if mapping.kind != "matrix":
        return mapping.reach
    pattern, skeleton = abs(mapping.weights) > 0, sparse.csr_array(graph.skeleton()) > 0
    return 1 if pattern.multiply(skeleton).nnz == pattern.nnz else 2


def exposure_moments(
    exposures: list[Exposure], graph: Graph, treatment: Array, propensity: Array, *, seed: int = 0
) -> ExposureMoments:
    r"""Values, conditional means and conditional covariances of the exposures of all nodes.

    With :math:`v_j = e_j(1 - e_j)`, exactly:

    - linear :math:`G = ET`: :math:`\gamma = Ee`, covariance of two :math:`\sum_j E_{ij}F_{ij}v_j`;
    - indicators :math:`1\{\sum_j A_{ij}T_j \ge q\}`: γ is the tail of a Poisson-binomial distribution; of two with
      :math:`q \le q'` the covariance is :math:`\gamma_{q'}(1 - \gamma_q)`;
    - linear with an indicator: :math:`\sum_{j \in N_i} E_{ij}v_jP(\sum_{k\ne j} A_{ik}T_k = q - 1)`, see
      :func:`linear_count_covariance`.

    Where one of the exposures is a function, all covariances come from the same 200 draws of T, so that they belong to
    one distribution, and its mean does as well. Means of the others stay exact.

    Parameters
    ----------
    exposures : list of Exposure, length J
        From :func:`resolve_exposures`.
    graph : Graph
        The network.
    treatment : ndarray of 0 and 1, shape (N,)
        Treatments.
    propensity : ndarray, shape (N,)
        e of every node, in [0, 1].
    seed : int, default=0
        Seed of the draws.

    Returns
    -------
    ExposureMoments

    Raises
    ------
    IdentificationError
        A function whose exposure depends on own treatment.

    References
    ----------
    Aronow & Samii 2017, Annals of Applied Statistics 11 (exposure mappings). The joint recursion is ours.
    """
    known = [one for one in exposures if one.mapping is not None]
    means = {id(one): _mean(one, propensity) for one in known}
    if len(known) == len(exposures):
        covariance = _exact_covariance(exposures, propensity, means)
    else:
        drawn_mean, covariance = _drawn_moments(exposures, graph, propensity, seed)
        means |= {id(one): drawn_mean[:, j] for j, one in enumerate(exposures) if one.mapping is None}
    ones, zeros = np.ones(graph.n_nodes), np.zeros(graph.n_nodes)

    def columns(t: Array) -> Array:
        return np.column_stack([one.values(t, graph) for one in exposures])

    return ExposureMoments(
        values=columns(treatment),
        mean=np.column_stack([means[id(one)] for one in exposures]),
        covariance=covariance,
        unit=np.column_stack([_unit(one, graph.n_nodes) for one in exposures]),
        full=columns(ones),
        none=columns(zeros),
        names=tuple(one.name for one in exposures),
        reach=max(one.reach for one in exposures),
    )


def _mean(one: Exposure, propensity: Array) -> Array:
    mapping = _known(one)
    if mapping.is_linear:
        return np.asarray(mapping.weights @ propensity, dtype=np.float64)
    return neighbour_count_probability(mapping.weights, propensity, mapping.threshold)


def _known(one: Exposure) -> ExposureMapping:
    if one.mapping is None:
        raise TypeError(f"{one.name} is a function: its moments come from draws.")
    return one.mapping


def _unit(one: Exposure, n: int) -> Array:
    if one.mapping is None:
        return np.full(n, np.nan)
    if one.mapping.is_linear:
        return np.asarray(one.mapping.weights.multiply(one.mapping.weights).sum(axis=1), dtype=np.float64).ravel()
    return one.mapping.values(np.ones(n))


def _exact_covariance(exposures: list[Exposure], propensity: Array, means: dict[int, Array]) -> Array:
    count = len(exposures)
    out = np.empty((len(propensity), count, count))
    for k, first in enumerate(exposures):
        for m, second in enumerate(exposures[: k + 1]):
            out[:, k, m] = out[:, m, k] = _pair_covariance(first, second, propensity, means)
    return out


def _pair_covariance(first: Exposure, second: Exposure, propensity: Array, means: dict[int, Array]) -> Array:
    one, two = _known(first), _known(second)
    if one.is_linear and two.is_linear:
        products = sparse.csr_array(one.weights).multiply(sparse.csr_array(two.weights))
        return np.asarray(products @ (propensity * (1.0 - propensity)), dtype=np.float64)
    if one.is_linear or two.is_linear:
        linear, indicator = (one, two) if one.is_linear else (two, one)
        return linear_count_covariance(linear.weights, indicator.weights, propensity, indicator.threshold)
    # Both count the same neighbours, so the larger threshold implies the smaller.
    low, high = (first, second) if one.threshold <= two.threshold else (second, first)
    return np.asarray(means[id(high)] * (1.0 - means[id(low)]))


def linear_count_covariance(weights: Any, neighbours: Any, probability: Array, least: int) -> Array:
    r"""Covariance of a weighted sum of treatments and of 1{at least ``least`` neighbours are treated}, exactly.

    Neighbours are added one at a time. Beside P(count = k), the recursion carries
    :math:`M_k = E[\tilde L\,1\{\text{count} = k\}]`, :math:`\tilde L = \sum_j E_{ij}(T_j - e_j)` over the neighbours so
    far; the covariance is :math:`\sum_{k \ge q} M_k`. Nodes that are weighted but are no neighbours add nothing,
    because they are independent of the count.

    Parameters
    ----------
    weights : CSR matrix, shape (N, N)
        E.
    neighbours : CSR matrix, shape (N, N)
        In-neighbours of each row.
    probability : ndarray, shape (N,)
        e.
    least : int
        q, at least 1.

    Returns
    -------
    ndarray, shape (N,)
    """
    matrix = sparse.csr_array(neighbours)
    aligned = _weights_at(sparse.csr_array(weights), matrix)
    if least == 1:
        # The derivative of 1 - Π(1 - e) in e_j is Π over the others, and e_j(1 - e_j) times that is e_jΠ(1 - e).
        spread = sparse.csr_array((aligned, matrix.indices, matrix.indptr), shape=matrix.shape)
        return np.asarray((spread @ probability) * (1.0 - neighbour_count_probability(matrix, probability, 1)))
    starts, degree = matrix.indptr[:-1], np.diff(matrix.indptr)
    chance = np.zeros((len(degree), least + 1))
    chance[:, 0] = 1.0
    moment = np.zeros_like(chance)
    order = np.argsort(-degree, kind="stable")
    reaching = len(degree) - np.searchsorted(np.sort(degree), np.arange(int(degree.max(initial=0))), side="right")
    for step, count in enumerate(reaching):
        rows = order[:count]
        at = starts[rows] + step
        p, w = probability[matrix.indices[at]][:, None], aligned[at][:, None]
        f, g = chance[rows], moment[rows]
        # Treated neighbours move a count up by one; the last column holds all counts from q on.
        treated_f, treated_g = p * f, p * (g + w * (1.0 - p) * f)
        chance[rows] = _shifted(f - treated_f, treated_f)
        moment[rows] = _shifted((1.0 - p) * (g - w * p * f), treated_g)
    return moment[:, -1].copy()


def _shifted(stay: Array, move: Array) -> Array:
    out = stay.copy()
    out[:, 1:] += move[:, :-1]
    out[:, -1] += move[:, -1]
    return out


def _weights_at(weights: Any, pattern: Any) -> Array:
    """Weights at the entries of a pattern, in their order; 0 where there is none."""
    n = pattern.shape[0]
    found = sparse.csr_array(weights, copy=True)
    found.sum_duplicates()
    keys = np.repeat(np.arange(n, dtype=np.int64), np.diff(found.indptr)) * n + found.indices
    wanted = np.repeat(np.arange(n, dtype=np.int64), np.diff(pattern.indptr)) * n + pattern.indices
    out = np.zeros(len(wanted))
    if len(keys):
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        hit = keys[place] == wanted
        out[hit] = found.data[place[hit]]
    return out


def _drawn_moments(exposures: list[Exposure], graph: Graph, propensity: Array, seed: int) -> tuple[Array, Array]:
    """Mean and covariance of exposures over draws of the treatments, and whether functions leave own treatment out."""
    rng = np.random.default_rng(seed)
    n, count = len(propensity), len(exposures)
    total, squares = np.zeros((n, count)), np.zeros((n, count, count))
    cross, spread = np.zeros((n, count)), np.zeros((n, count))
    centre = np.column_stack([one.values((propensity >= 0.5).astype(np.float64), graph) for one in exposures])
    residual_sum = np.zeros(n)
    for _ in range(N_DRAWS):
        t = (rng.random(n) < propensity).astype(np.float64)
        # Deviations from one possible value: sums of squares of large counts would cancel.
        g = np.column_stack([one.values(t, graph) for one in exposures]) - centre
        total += g
        squares += g[:, :, None] * g[:, None, :]
        residual = t - propensity
        residual_sum += residual
        cross += residual[:, None] * g
        spread += (residual[:, None] * g) ** 2
    mean = total / N_DRAWS
    covariance = squares / N_DRAWS - mean[:, :, None] * mean[:, None, :]
    covariance *= N_DRAWS / (N_DRAWS - 1)
    _require_others(exposures, cross - residual_sum[:, None] * mean, spread)
    return centre + mean, covariance


def _require_others(exposures: list[Exposure], cross: Array, spread: Array) -> None:
    size = np.sqrt(spread.sum(axis=0))
    score = np.divide(np.abs(cross.sum(axis=0)), size, out=np.zeros(len(size)), where=size > 0)
    for one, value in zip(exposures, score, strict=True):
        if one.mapping is None and value > _OWN_TREATMENT_LIMIT:
            raise IdentificationError(
                f"the exposure function {one.name} depends on own treatment (correlation of both over draws: "
                f"{value:.3g} standard errors): own treatment is T, and the exposure must leave it out."
            )
