"""Simulated treatments on networks: confounding and heterogeneity that sit in the neighbourhood."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

from causalkit.datasets.graph_sample import (
    N_FEATURES,
    GraphSample,
    check_features,
    named_graph,
    neighbour_mean,
    smoothing,
    standardised,
)
from causalkit.datasets.simulated_map import as_generator, constants
from causalkit.validation import check_choice, check_integer

__all__ = [
    "make_graph_complex_baseline",
    "make_graph_heterogeneity",
    "make_graph_paper",
    "make_graph_random_gnn",
]

Array = NDArray[np.float64]

_NOISE_SD = 0.5
# Variance of sin Z for a standard normal Z.
_SINE_VARIANCE = (1 - math.exp(-2)) / 2


def make_graph_heterogeneity(
    n_samples: int = 1000, *, graph: Any = "ba", X: Any = None, random_state: Any = None
) -> GraphSample:
    r"""Simulate effects and confounding that follow the averages of neighbours' covariates.

    With :math:`M = D^{-1}AX` the means over neighbours (0 for isolates) and Z its columns at mean 0 and variance 1,

    .. math:: e = \sigma(.5X_0 - .7Z_1), \quad \tau = 2 + 1.5\sin Z_0, \quad Y = Z_0 + .5X_1 + T\tau + .5\varepsilon,

    X and ε standard normal, so that :math:`m = Z_0 + .5X_1 + e\tau`. A model that sees own covariates alone misses
    the confounder :math:`Z_0, Z_1` and all of the heterogeneity. For normal Z the effect has mean 2 and variance
    :math:`2.25(1 - e^{-2})/2 = .973`, about .92 on graphs of preferential attachment, where Z has heavier tails; the
    best effect that is linear in :math:`Z_0` misses it by :math:`2.25[(1 - e^{-2})/2 - e^{-1}] = .145`.

    Parameters
    ----------
    n_samples : int, default=1000
        Nodes; the size of ``graph`` where that is a matrix.
    graph : {"ba", "er", "sbm"} or scipy sparse matrix, default="ba"
        "ba": preferential attachment, 4 links per new node; "er": independent links, mean degree 10; "sbm": two equal
        blocks, link probabilities 16/n inside and 4/n between; or the adjacency of a graph of your own, for an
        outcome simulated on real nodes.
    X : array-like, shape (n, p), optional
        Covariates of your own, three columns at least, about standardised.
    random_state : int, Generator, RandomState or None
        Draws in this order: the graph; n·10 standard normals for X (both unless given); n uniforms for the treatment,
        n standard normals for ε.

    Returns
    -------
    GraphSample
        ``population``: ``average_effect`` and ``effect_variance`` for normal Z, ``linear_floor``.

    Raises
    ------
    ValueError
        A size below 6, an unknown graph, covariates that do not fit.

    References
    ----------
    The question of Sairam, Girdhar and Soni (2025), arXiv:2511.13018; the design is ours.

    Examples
    --------
    >>> from causalkit.datasets import make_graph_heterogeneity
    >>> sample = make_graph_heterogeneity(1000, random_state=0)
    >>> sample.adjacency.nnz // 2, round(sample.population["effect_variance"], 3)
    (3984, 0.973)
    """
    adjacency, features, names, rng = _frame(n_samples, graph, X, random_state)
    Z = standardised(neighbour_mean(adjacency, features))
    return _sine_design(features, names, adjacency, Z, rng)


def make_graph_random_gnn(
    n_samples: int = 1000, *, graph: Any = "ba", X: Any = None, random_state: Any = None
) -> GraphSample:
    r"""Simulate effects and confounding that follow a random two-layer graph convolution.

    As :func:`make_graph_heterogeneity`, with Z the standardised columns of
    :math:`\hat A\,\mathrm{ReLU}(\hat AXW_1)W_2`, :math:`\hat A = \tilde D^{-1/2}(A + I)\tilde D^{-1/2}`, and weights
    uniform on :math:`\pm\sqrt{6/20}`, drawn anew with each sample.

    Parameters
    ----------
    n_samples, graph, X
        As in :func:`make_graph_heterogeneity`.
    random_state : int, Generator, RandomState or None
        Draws in this order: the graph; n·10 standard normals for X (both unless given); uniforms for W₁ (one row per
        covariate) and W₂; n uniforms for the treatment, n standard normals for ε.

    Returns
    -------
    GraphSample
        ``population`` as there.

    Raises
    ------
    ValueError
        As there.

    References
    ----------
    The nuisances of Sairam, Girdhar and Soni (2025), arXiv:2511.13018, without the last rectifier; the rest is ours.

    Examples
    --------
    >>> from causalkit.datasets import make_graph_random_gnn
    >>> make_graph_random_gnn(200, graph="er", random_state=0).X.shape
    (200, 10)
    """
    adjacency, features, names, rng = _frame(n_samples, graph, X, random_state)
    return _sine_design(features, names, adjacency, standardised(_convolved(adjacency, features, rng)), rng)


def make_graph_complex_baseline(
    n_samples: int = 1000, *, graph: Any = "ba", X: Any = None, random_state: Any = None
) -> GraphSample:
    r"""Simulate a complicated baseline with a simple effect.

    Graph, X, Z and propensity as in :func:`make_graph_heterogeneity`;

    .. math:: \tau = 1 + .5Z_2, \qquad Y = 2\sin 2Z_0 + X_0Z_1 + \max(X_1, 0) + T\tau + .5\varepsilon.

    Models of each arm's outcome must learn the baseline twice and subtract; models of residuals need not.

    Parameters
    ----------
    n_samples, graph, X, random_state
        As in :func:`make_graph_heterogeneity`.

    Returns
    -------
    GraphSample
        ``population``: ``average_effect`` 1 and ``effect_variance`` .25.

    Raises
    ------
    ValueError
        As there.

    References
    ----------
    The design is ours; the setting is that of Nie and Wager (2021), doi:10.1093/biomet/asaa076, section 6.

    Examples
    --------
    >>> from causalkit.datasets import make_graph_complex_baseline
    >>> sample = make_graph_complex_baseline(500, random_state=0)
    >>> round(float(sample.effect.mean()), 6), round(float(sample.effect.var()), 6)
    (1.0, 0.25)
    """
    adjacency, features, names, rng = _frame(n_samples, graph, X, random_state)
    Z = standardised(neighbour_mean(adjacency, features))
    baseline = 2 * np.sin(2 * Z[:, 0]) + features[:, 0] * Z[:, 1] + np.maximum(features[:, 1], 0)
    population = constants(average_effect=1.0, effect_variance=0.25)
    propensity = expit(0.5 * features[:, 0] - 0.7 * Z[:, 1])
    return _sample(features, names, adjacency, baseline, 1 + 0.5 * Z[:, 2], propensity, population, rng)


def make_graph_paper(
    n_samples: int = 1000, *, graph: Any = "ba", effect: str = "simple_h", random_state: Any = None
) -> GraphSample:
    r"""Simulate the published benchmark of graph R-learners, whose effect hardly varies.

    With :math:`H = \mathrm{ReLU}(\hat A\,\mathrm{ReLU}(\hat AXW_1)W_2)`, :math:`\hat A` and W as in
    :func:`make_graph_random_gnn`, ξ and ε standard normal,

    .. math:: T = 1\{.5X_0 - .7H_1 + .3\xi > 0\}, \quad e = \Phi\big((.5X_0 - .7H_1)/.3\big), \quad
              Y = H_0 + .5X_1 + T\tau + .5\varepsilon.

    The effect τ is :math:`2 + 1.5\sin H_0` ("simple_h"), :math:`2 + H_0X_1` ("interaction") or
    :math:`2 + 1.5\sin X_0` ("local_x"). Two things to know before it ranks estimators: in "simple_h" the variance of
    the effect is about .007 on preferential attachment and below .001 on the other graphs, because averages over many
    neighbours hardly vary, so that a constant beats nearly every model; and the treatment is almost a threshold of
    :math:`X_0`, so that many probabilities are next to 0 or 1.

    Parameters
    ----------
    n_samples : int, default=1000
        Nodes; the size of ``graph`` where that is a matrix.
    graph : {"ba", "er", "sbm"} or scipy sparse matrix, default="ba"
        "ba": preferential attachment, 4 links per new node; "er": link probability .05; "sbm": two equal blocks, link
        probabilities .1 inside and .01 between.
    effect : {"simple_h", "interaction", "local_x"}, default="simple_h"
        See above.
    random_state : int, Generator, RandomState or None
        Draws in this order: the graph unless given; n·10 standard normals for X; 100 uniforms for W₁, 100 for W₂;
        n standard normals for ξ, n for ε.

    Returns
    -------
    GraphSample
        ``population``: ``effect_variance``, that of the nodes drawn.

    Raises
    ------
    ValueError
        A size below 6, an unknown graph or effect.

    References
    ----------
    Sairam, Girdhar and Soni (2025), arXiv:2511.13018, the synthetic benchmark.

    Examples
    --------
    >>> from causalkit.datasets import make_graph_paper
    >>> sample = make_graph_paper(1000, random_state=1)
    >>> bool(sample.effect.var() < 0.1)
    True
    """
    check_choice(effect, "effect", ("simple_h", "interaction", "local_x"))
    adjacency, features, names, rng = _frame(n_samples, graph, None, random_state, er=0.05, sbm=(0.1, 0.01))
    H = np.maximum(_convolved(adjacency, features, rng), 0)
    if effect == "simple_h":
        tau = 2 + 1.5 * np.sin(H[:, 0])
    elif effect == "interaction":
        tau = 2 + H[:, 0] * features[:, 1]
    else:
        tau = 2 + 1.5 * np.sin(features[:, 0])
    index = 0.5 * features[:, 0] - 0.7 * H[:, 1]
    n = len(features)
    treatment = (index + 0.3 * rng.standard_normal(n) > 0).astype(np.int64)
    propensity, baseline = ndtr(index / 0.3), H[:, 0] + 0.5 * features[:, 1]
    return GraphSample(
        X=features,
        y=baseline + treatment * tau + _NOISE_SD * rng.standard_normal(n),
        treatment=treatment,
        adjacency=adjacency,
        effect=tau,
        outcome_mean=baseline + propensity * tau,
        propensity=propensity,
        population=constants(effect_variance=float(tau.var())),
        feature_names=names,
    )


def _frame(
    n_samples: int,
    graph: Any,
    X: Any,
    random_state: Any,
    *,
    er: float | None = None,
    sbm: tuple[float, float] | None = None,
) -> tuple[Any, Array, tuple[str, ...], np.random.Generator]:
    """Graph and covariates, drawn or given."""
    n = check_integer(n_samples, "n_samples", low=6)
    rng = as_generator(random_state)
    adjacency = named_graph(
        graph, n, rng, er=10 / (n - 1) if er is None else er, sbm=(16 / n, 4 / n) if sbm is None else sbm
    )
    size = adjacency.shape[0]
    if X is not None:
        return adjacency, *check_features(X, size), rng
    names = tuple(f"x{j}" for j in range(N_FEATURES))
    return adjacency, rng.standard_normal((size, N_FEATURES)), names, rng


def _convolved(adjacency: Any, X: Array, rng: np.random.Generator) -> Array:
    limit = math.sqrt(6 / (2 * N_FEATURES))
    first = rng.uniform(-limit, limit, (X.shape[1], N_FEATURES))
    second = rng.uniform(-limit, limit, (N_FEATURES, N_FEATURES))
    operator = smoothing(adjacency)
    return np.asarray(operator @ (np.maximum(operator @ (X @ first), 0) @ second))


def _sine_design(X: Array, names: tuple[str, ...], adjacency: Any, Z: Array, rng: np.random.Generator) -> GraphSample:
    population = constants(
        average_effect=2.0,
        effect_variance=2.25 * _SINE_VARIANCE,
        linear_floor=2.25 * (_SINE_VARIANCE - math.exp(-1)),
    )
    baseline = Z[:, 0] + 0.5 * X[:, 1]
    propensity = expit(0.5 * X[:, 0] - 0.7 * Z[:, 1])
    return _sample(X, names, adjacency, baseline, 2 + 1.5 * np.sin(Z[:, 0]), propensity, population, rng)


def _sample(
    X: Array,
    names: tuple[str, ...],
    adjacency: Any,
    baseline: Array,
    effect: Array,
    propensity: Array,
    population: Any,
    rng: np.random.Generator,
) -> GraphSample:
    treatment = (rng.random(len(X)) < propensity).astype(np.int64)
    return GraphSample(
        X=X,
        y=baseline + treatment * effect + _NOISE_SD * rng.standard_normal(len(X)),
        treatment=treatment,
        adjacency=adjacency,
        effect=effect,
        outcome_mean=baseline + propensity * effect,
        propensity=propensity,
        population=population,
        feature_names=names,
    )
