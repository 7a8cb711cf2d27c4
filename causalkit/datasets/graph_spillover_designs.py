"""Simulated treatments on networks that reach a node's neighbours as well."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from causalkit.datasets.graph_generators import erdos_renyi, random_geometric, watts_strogatz
from causalkit.datasets.graph_sample import GraphSample, neighbour_mean, standardised
from causalkit.datasets.simulated_map import as_generator, constants
from causalkit.validation import check_choice, check_integer

__all__ = ["make_graph_direct_effect", "make_graph_uptake"]

Array = NDArray[np.float64]

_ARM_NOISE_SD = 0.1


def make_graph_direct_effect(
    n_samples: int = 2500, *, graph: str = "ws", n_redraws: int = 200, random_state: Any = None
) -> GraphSample:
    r"""Simulate a direct effect that depends on what neighbours' treatments make of their covariates.

    C uniform on (0, 1); P(W = 1|C) = .15 for C < .33, .5 for C < .66, .85 above; the exposure is
    :math:`x_i = D_i^{-1}\sum_j A_{ij}(2W_j - 1)C_j`, 0 for isolates; :math:`Y = Wg_1 + (1 - W)g_0` plus noise uniform
    on :math:`\pm\sqrt{12}\cdot .1/2`, with

    ====================  ================  ================
    :math:`g_1(x, c)`     c ≥ -.2           c < -.2
    ====================  ================  ================
    x ≥ .7                4                 .5
    .5 ≤ x < .7           1.5               .5
    x < .5                3.5               2.5
    ====================  ================  ================

    and :math:`g_0` = .5 or -.75 for x ≥ .4 and c ≥ .2 or below, .25 or -.5 for x < .4. The target is the average of
    :math:`g_1 - g_0` over C and W with the graph held fixed. Against an average over graphs as well, an interval
    for this graph covers too seldom.

    Parameters
    ----------
    n_samples : int, default=2500
        Nodes.
    graph : {"ws", "er"}, default="ws"
        "ws": a ring with 2 neighbours on each side, a share .05 of links led elsewhere; "er": independent links with
        probability 3/n.
    n_redraws : int, default=200
        Draws of (C, W) on the same graph over which the target is averaged.
    random_state : int, Generator, RandomState or None
        Draws in this order: the graph; n uniforms for C, n for W, n for the noise; then C and W of each redraw.

    Returns
    -------
    GraphSample
        X is C; ``exposure`` is x; ``effect`` is :math:`g_1 - g_0` at (x, C), and ``outcome_mean`` is given both.
        ``population``: ``average_effect``, the target, and ``average_effect_error``, the Monte Carlo standard error
        of the target.

    Raises
    ------
    ValueError
        A size below 6, an unknown graph, fewer than two redraws.

    References
    ----------
    Emmenegger, Spohn and Bühlmann (2022), arXiv:2206.14591, the simulation with a single spillover feature.

    Examples
    --------
    >>> from causalkit.datasets import make_graph_direct_effect
    >>> sample = make_graph_direct_effect(1000, n_redraws=20, random_state=0)
    >>> sample.X.shape, bool(sample.population["average_effect_error"] < 0.02)
    ((1000, 1), True)
    """
    n = check_integer(n_samples, "n_samples", low=6)
    check_choice(graph, "graph", ("ws", "er"))
    redraws = check_integer(n_redraws, "n_redraws", low=2)
    rng = as_generator(random_state)
    adjacency = watts_strogatz(n, 2, 0.05, rng) if graph == "ws" else erdos_renyi(n, 3 / n, rng)
    C, W = rng.random(n), rng.random(n)
    propensity = _stepped(C)
    treatment = (propensity > W).astype(np.int64)
    noise = (rng.random(n) - 0.5) * math.sqrt(12) * _ARM_NOISE_SD
    x = neighbour_mean(adjacency, (2 * treatment - 1) * C)
    one, zero = _arms(x, C)
    target = np.empty(redraws)
    for r in range(redraws):
        c = rng.random(n)
        w = _stepped(c) > rng.random(n)
        first, second = _arms(neighbour_mean(adjacency, (2.0 * w - 1) * c), c)
        target[r] = (first - second).mean()
    return GraphSample(
        X=C[:, None],
        y=np.where(treatment == 1, one, zero) + noise,
        treatment=treatment,
        adjacency=adjacency,
        effect=one - zero,
        outcome_mean=propensity * one + (1 - propensity) * zero,
        propensity=propensity,
        population=constants(
            average_effect=float(target.mean()),
            average_effect_error=float(target.std(ddof=1) / math.sqrt(redraws)),
        ),
        feature_names=("c",),
        exposure=x,
    )


def _stepped(c: Array) -> Array:
    return np.select([c < 0.33, c < 0.66], [0.15, 0.5], 0.85)


def _arms(x: Array, c: Array) -> tuple[Array, Array]:
    high, low = c >= -0.2, c >= 0.2
    one = np.where(x >= 0.5, np.where(high, np.where(x >= 0.7, 4.0, 1.5), 0.5), np.where(high, 3.5, 2.5))
    zero = np.where(x >= 0.4, np.where(low, 0.5, -0.75), np.where(low, 0.25, -0.5))
    return one, zero


def make_graph_uptake(n_samples: int = 5000, *, heterogeneous: bool = False, random_state: Any = None) -> GraphSample:
    r"""Simulate an uptake that clusters in space, confounded by neighbours' attitudes, with spillover.

    Points uniform on a square, linked within a radius that makes the mean degree 6. Age is uniform on (18, 85);
    chronic illness has probability :math:`\sigma(-2 + .05(age - 50))`; the attitude h is :math:`z + D^{-1}Az` at mean 0
    and variance 1, z standard normal. With a = age - 50 and T the uptake,

    .. math:: \mathrm{logit}\,e &= -.2 + .9h + .02a + .6\,chronic + D^{-1}Ah \\
              Y &= 7 + .05a + .001a^2 + 2.5\,chronic - .8h - 1.5D^{-1}Ah - 2T - .5AT + 1.5\varepsilon

    AT counts treated neighbours: the direct effect is -2, the spillover -.5 per treated neighbour. A model that sees
    own covariates alone is confounded by :math:`D^{-1}Ah`.

    Parameters
    ----------
    n_samples : int, default=5000
        Nodes.
    heterogeneous : bool, default=False
        Makes the direct effect :math:`-2 - D^{-1}Ah - .03a`.
    random_state : int, Generator, RandomState or None
        Draws in this order: n·2 uniforms for points, n for age, n for illness; n standard normals for z; n uniforms
        for the treatment; n standard normals for ε.

    Returns
    -------
    GraphSample
        X has ``age``, ``chronic`` and ``attitude``; ``exposure`` counts treated neighbours; ``outcome_mean`` averages
        over own and neighbours' treatments. ``population``: ``average_direct_effect`` (of these nodes where effects
        vary) and ``spillover``.

    Raises
    ------
    ValueError
        A size below 12, an option that is not a truth value.

    References
    ----------
    The shape of the example data of the graphdml package, after Khatami, Parikh, Chen, Roy and Salimi (2025),
    arXiv:2403.11332; numbers are ours.

    Examples
    --------
    >>> from causalkit.datasets import make_graph_uptake
    >>> sample = make_graph_uptake(2000, random_state=0)
    >>> sample.feature_names, sample.population["spillover"]
    (('age', 'chronic', 'attitude'), -0.5)
    """
    n = check_integer(n_samples, "n_samples", low=12)
    check_choice(heterogeneous, "heterogeneous", (False, True))
    rng = as_generator(random_state)
    adjacency, points = random_geometric(n, 6.0, rng)
    age = rng.uniform(18, 85, n)
    a = age - 50
    chronic = (rng.random(n) < expit(-2 + 0.05 * a)).astype(np.float64)
    z = rng.standard_normal(n)
    h = standardised(z + neighbour_mean(adjacency, z))
    near = neighbour_mean(adjacency, h)
    propensity = expit(-0.2 + 0.9 * h + 0.02 * a + 0.6 * chronic + near)
    treatment = (rng.random(n) < propensity).astype(np.int64)
    effect = -2 - near - 0.03 * a if heterogeneous else np.full(n, -2.0)
    baseline = 7 + 0.05 * a + 0.001 * a**2 + 2.5 * chronic - 0.8 * h - 1.5 * near
    exposure = np.asarray(adjacency @ treatment.astype(np.float64))
    return GraphSample(
        X=np.column_stack([age, chronic, h]),
        y=baseline + effect * treatment - 0.5 * exposure + 1.5 * rng.standard_normal(n),
        treatment=treatment,
        adjacency=adjacency,
        effect=effect,
        outcome_mean=baseline + effect * propensity - 0.5 * (adjacency @ propensity),
        propensity=propensity,
        population=constants(average_direct_effect=float(effect.mean()), spillover=-0.5),
        feature_names=("age", "chronic", "attitude"),
        exposure=exposure,
        spillover=np.full(n, -0.5),
        points=points,
    )
