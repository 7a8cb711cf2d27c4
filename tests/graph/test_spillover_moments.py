"""Moments of exposures against enumeration of all treatments; fits and scores against least squares and averages."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse

from causalkit.exceptions import GraphError, IdentificationError
from causalkit.graph import Graph
from causalkit.graph.spillover_exposures import N_DRAWS, exposure_moments, resolve_exposures
from causalkit.graph.spillover_moments import (
    average_scores,
    constant_effects,
    effect_weights,
    floored_variance,
    orthogonal_scores,
    require_variation,
    residual_columns,
    residual_variance,
)
from tests.graph.test_exposure import random_graph


def outside_matrix(n: int) -> Any:
    E = sparse.random_array((n, n), density=0.4, random_state=np.random.default_rng(4)).tolil()
    E.setdiag(0)
    return E.tocsr()


def largest_neighbour(t: np.ndarray, graph: Graph) -> np.ndarray:
    """Whether the last neighbour in the order of nodes is treated: a mapping that has no name."""
    A = graph.adjacency("binary").toarray() > 0
    last = np.where(A.any(axis=1), A.shape[1] - 1 - np.argmax(A[:, ::-1], axis=1), 0)
    return np.where(A.any(axis=1), t[last], 0.0)


def enumerated(graph: Graph, exposures: list, e: np.ndarray, interaction: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean of G, and E[RR'] with R centred at means that come from the same enumeration."""
    n, J = graph.n_nodes, len(exposures)
    draws, chances = [], []
    for assignment in itertools.product([0.0, 1.0], repeat=n):
        t = np.array(assignment)
        G = np.column_stack([one.values(t, graph) for one in exposures])
        columns = [t[:, None], G] + ([t[:, None] * G] if interaction else [])
        draws.append(np.hstack(columns))
        chances.append(np.prod(np.where(t == 1, e, 1 - e)))
    draws, chances = np.array(draws), np.array(chances)
    mean = np.einsum("d,dnq->nq", chances, draws)
    centred = draws - mean
    return mean[:, 1 : 1 + J], np.einsum("d,dnq,dnr->nqr", chances, centred, centred)


KINDS: dict[str, Any] = {
    "share": "share",
    "count": "count",
    "weighted": "weighted",
    "weighted_share": "weighted_share",
    "two_hop_share": "two_hop_share",
    "matrix": outside_matrix(9),
    "any": "any",
    "threshold": ("threshold", 2),
    "two linear": ["share", "two_hop_share"],
    "linear and any": ["count", "any"],
    "outside and any": [outside_matrix(9), "any"],
    "linear and threshold": ["share", ("threshold", 3)],
    "outside and threshold": [outside_matrix(9), ("threshold", 2)],
    "two indicators": [("threshold", 3), "any"],
    "three": ["weighted", ("threshold", 2), "any"],
}


@pytest.mark.parametrize("interaction", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("directed", [False, True])
def test_moments_equal_enumeration_of_all_treatments(kind: str, interaction: bool, directed: bool) -> None:
    n = 9
    graph = random_graph(n, 0.4, 8, directed)
    e = np.random.default_rng(1).uniform(0.05, 0.95, n)
    exposures = resolve_exposures(graph, KINDS[kind])
    found = exposure_moments(exposures, graph, np.zeros(n), e)
    mean, expected = enumerated(graph, exposures, e, interaction)
    assert_allclose(found.mean, mean, atol=1e-12)
    V = residual_variance(e, found.mean, found.covariance, interaction=interaction)
    assert_allclose(V, expected, atol=1e-12)
    assert_allclose(found.values, np.column_stack([one.values(np.zeros(n), graph) for one in exposures]))
    assert_allclose(found.full, np.column_stack([one.values(np.ones(n), graph) for one in exposures]))


@given(st.integers(0, 10_000), st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_linear_with_indicator_equals_enumeration_even_for_certain_treatments(seed: int, q: int) -> None:
    n = 7
    rng = np.random.default_rng(seed)
    graph = random_graph(n, rng.uniform(0.1, 0.9), seed, directed=bool(seed % 2))
    e = rng.choice([0.0, 1.0, 0.3, 0.8], n)
    exposures = resolve_exposures(graph, ["count", ("threshold", q)])
    found = exposure_moments(exposures, graph, np.zeros(n), e)
    mean, expected = enumerated(graph, exposures, e, False)
    assert_allclose(found.mean, mean, atol=1e-12)
    assert_allclose(found.covariance, expected[:, 1:, 1:], atol=1e-12)


def test_draws_of_a_function_are_close_to_enumeration_and_belong_to_one_seed() -> None:
    n = 9
    graph = random_graph(n, 0.4, 8)
    e = np.random.default_rng(1).uniform(0.2, 0.8, n)
    exposures = resolve_exposures(graph, ["share", largest_neighbour])
    found = exposure_moments(exposures, graph, np.zeros(n), e, seed=3)
    mean, expected = enumerated(graph, exposures, e, False)
    assert_allclose(found.mean[:, 0], mean[:, 0], atol=1e-12)  # linear means need no draws
    # Five standard errors of a mean, and of a variance of values between 0 and 1.
    assert_allclose(found.mean[:, 1], mean[:, 1], atol=5 * 0.5 / np.sqrt(N_DRAWS))
    assert_allclose(found.covariance, expected[:, 1:, 1:], atol=5 * 0.25 / np.sqrt(N_DRAWS))
    assert not np.allclose(found.covariance[:, 0, 0], expected[:, 1, 1], atol=1e-12)  # all of them are drawn
    again = exposure_moments(exposures, graph, np.zeros(n), e, seed=3)
    assert np.array_equal(found.covariance, again.covariance)
    other = exposure_moments(exposures, graph, np.zeros(n), e, seed=4)
    assert not np.array_equal(found.covariance, other.covariance)


def test_drawn_moments_are_those_of_the_draws() -> None:
    n = 6
    graph = random_graph(n, 0.5, 2)
    e = np.full(n, 0.4)
    kept = []

    def recorded(t: np.ndarray, graph: Graph) -> np.ndarray:
        kept.append(1e6 + graph.adjacency("binary") @ t)
        return kept[-1]

    found = exposure_moments(resolve_exposures(graph, recorded), graph, np.zeros(n), e)
    draws = np.array(kept[1 : N_DRAWS + 1])  # the first call is the centre, the last ones are G and its extremes
    assert_allclose(found.mean[:, 0], draws.mean(axis=0), rtol=1e-13)
    assert_allclose(found.covariance[:, 0, 0], draws.var(axis=0, ddof=1), rtol=1e-8)
    assert found.names == ("recorded",)


def test_a_function_that_reads_own_treatment_is_refused() -> None:
    graph = random_graph(40, 0.1, 2)
    e = np.full(40, 0.5)
    closed = lambda t, g: (g.adjacency("binary") @ t + t) / (g.degree + 1)  # noqa: E731
    with pytest.raises(IdentificationError, match="depends on own treatment"):
        exposure_moments(resolve_exposures(graph, closed), graph, np.zeros(40), e)
    opened = lambda t, g: (g.adjacency("binary") @ t) / (g.degree + 1)  # noqa: E731
    assert exposure_moments(resolve_exposures(graph, opened), graph, np.zeros(40), e).values.shape == (40, 1)


def test_names_reach_and_units() -> None:
    graph = Graph.from_edges([(0, 1), (1, 2), (2, 3)], n_nodes=5)
    near = sparse.csr_array(np.eye(5, k=1) * [[1], [1], [1], [0], [0]])
    far = sparse.csr_array(([1.0], ([0], [3])), shape=(5, 5))
    one, two, three = resolve_exposures(graph, [near, far, "any"])
    assert (one.name, two.name, three.name) == ("matrix0", "matrix1", "any")
    assert (one.reach, two.reach, three.reach) == (1, 2, 1)
    found = exposure_moments(resolve_exposures(graph, ["share", "any"]), graph, np.ones(5), np.full(5, 0.5))
    assert_allclose(found.unit, [[1, 1], [0.5, 1], [0.5, 1], [1, 1], [0, 0]])
    assert found.reach == 1
    assert_allclose(found.values[4], 0)


# ---------------------------------------------------------------------- fits


def small_problem(seed: int, interaction: bool, n: int = 300) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    graph = random_graph(n, 6 / n, seed)
    e = rng.uniform(0.1, 0.9, n)
    t = (rng.random(n) < e).astype(float)
    found = exposure_moments(resolve_exposures(graph, "share"), graph, t, e)
    R = residual_columns(t, e, found.values, found.mean, interaction=interaction)
    return rng, e, t, found, R


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("interaction", [False, True])
def test_constant_effects_are_least_squares_and_influence_is_the_derivative(interaction: bool, weighted: bool) -> None:
    rng, _, _, _, R = small_problem(0, interaction)
    y = R @ np.arange(1.0, R.shape[1] + 1) + rng.normal(size=len(R))
    w = rng.uniform(0.5, 2, len(R)) if weighted else np.ones(len(R))
    fit = constant_effects(R, y, w if weighted else None)
    root = np.sqrt(w)[:, None]
    assert_allclose(fit.coef, np.linalg.lstsq(R * root, y * root[:, 0], rcond=None)[0], rtol=1e-10)
    # The influence of row i is the derivative of the estimate in the (relative) weight of the row, times n / w.
    for i in (0, 7, 100):
        h = 1e-6
        up, down = w.copy(), w.copy()
        up[i] += h
        down[i] -= h
        derivative = (constant_effects(R, y, up).coef - constant_effects(R, y, down).coef) / (2 * h)
        assert_allclose(fit.influence[i], len(R) * w[i] * derivative, rtol=1e-5, atol=1e-8)


def test_scores_average_to_the_effects_whatever_beta_says() -> None:
    """E[Γ | X] is the true effect under the true e, for any β: enumeration of treatments, no noise."""
    n = 8
    graph = random_graph(n, 0.5, 5)
    rng = np.random.default_rng(0)
    e = rng.uniform(0.2, 0.8, n)
    truth, wrong = rng.normal(size=(n, 3)), rng.normal(size=(n, 3))
    exposures = resolve_exposures(graph, "share")
    mean = np.zeros((n, 3))
    for assignment in itertools.product([0.0, 1.0], repeat=n):
        t = np.array(assignment)
        found = exposure_moments(exposures, graph, t, e)
        R = residual_columns(t, e, found.values, found.mean, interaction=True)
        V = residual_variance(e, found.mean, found.covariance, interaction=True)
        y = np.einsum("ij,ij->i", R, truth)
        mean += np.prod(np.where(t == 1, e, 1 - e)) * orthogonal_scores(wrong, R, y, V)
    reached = graph.degree > 0
    assert_allclose(mean[reached], truth[reached], atol=1e-9)
    assert_allclose(mean[~reached, 0], truth[~reached, 0], atol=1e-9)
    assert_allclose(mean[~reached, 1:], wrong[~reached, 1:], atol=1e-9)


def test_scores_without_interaction_have_a_closed_form() -> None:
    rng, e, t, found, R = small_problem(3, False)
    V = residual_variance(e, found.mean, found.covariance)
    beta, y = rng.normal(size=R.shape), rng.normal(size=len(R))
    left = y - (R * beta).sum(axis=1)
    variance = found.covariance[:, 0, 0]
    expected = beta + np.column_stack(
        [
            (t - e) / (e * (1 - e)) * left,
            np.divide(R[:, 1] * left, variance, out=np.zeros(len(R)), where=variance > 0),
        ]
    )
    assert_allclose(orthogonal_scores(beta, R, y, V), expected, rtol=1e-9, atol=1e-12)


def test_proportional_exposures_share_a_score_and_keep_the_rest() -> None:
    """At a node of degree d, share and count are one exposure: d·count's effect plus the share's is corrected."""
    n = 200
    graph = random_graph(n, 5 / n, 1)
    rng = np.random.default_rng(0)
    e = rng.uniform(0.2, 0.8, n)
    t = (rng.random(n) < e).astype(float)
    found = exposure_moments(resolve_exposures(graph, ["share", "count"]), graph, t, e)
    R = residual_columns(t, e, found.values, found.mean)
    V = residual_variance(e, found.mean, found.covariance)
    beta, y = rng.normal(size=R.shape), rng.normal(size=n)
    scores = orthogonal_scores(beta, R, y, V)
    left = y - (R * beta).sum(axis=1)
    rows = graph.degree > 0
    joint = (scores - beta)[:, 1] + graph.degree * (scores - beta)[:, 2]
    assert_allclose(joint[rows], (R[:, 1] * left)[rows] / found.covariance[rows, 0, 0], rtol=1e-6)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("interaction", [False, True])
@pytest.mark.parametrize("kind", ["share", "any", ["share", ("threshold", 2)], "count"])
def test_floors_keep_a_covariance_and_only_add_to_it(kind: Any, interaction: bool) -> None:
    n = 60
    graph = random_graph(n, 4 / n, 3)
    rng = np.random.default_rng(0)
    e = rng.choice([0.001, 0.02, 0.5, 0.999], n)
    found = exposure_moments(resolve_exposures(graph, kind), graph, np.zeros(n), e)
    plain = residual_variance(e, found.mean, found.covariance, interaction=interaction)
    V = floored_variance(e, found.mean, found.covariance, found.unit, score_clip=0.05, interaction=interaction)
    assert V[:, 0, 0].min() >= 0.05 * 0.95 - 1e-15
    J = found.mean.shape[1]
    for k in range(J):
        assert (V[:, 1 + k, 1 + k] >= 0.05 * 0.95 * found.unit[:, k] - 1e-15).all()
        assert (V[:, 1 + k, 1 + k] >= plain[:, 1 + k, 1 + k] - 1e-15).all()
    reached = (found.unit > 0).all(axis=1)
    smallest = np.linalg.eigvalsh(V).min(axis=1)
    assert smallest.min() > -1e-12
    if J == 1:
        assert (smallest[reached] > 1e-8).all()
    calm = (e == 0.5) & (np.diagonal(found.covariance, axis1=1, axis2=2) >= 0.05 * 0.95 * found.unit).all(axis=1)
    assert calm.any()
    assert_allclose(V[calm], plain[calm], atol=1e-15)


def test_averages_against_the_usual_doubly_robust_ones() -> None:
    rng, e, t, found, _ = small_problem(5, False)
    n = len(e)
    y = rng.normal(size=n) + 2 * t
    m, tau = rng.normal(size=n), rng.normal(size=n)
    mu0, mu1 = m - e * tau, m + (1 - e) * tau
    beta = np.column_stack([tau, np.zeros(n)])
    a = effect_weights("direct", None, found.full, found.none)
    scores = np.column_stack([tau + (t - e) / (e * (1 - e)) * (y - m - (t - e) * tau), rng.normal(size=n)])
    aipw = mu1 - mu0 + t * (y - mu1) / e - (1 - t) * (y - mu0) / (1 - e)
    expected = {
        "all": aipw.mean(),
        "treated": (t * (y - mu0) - (1 - t) * e / (1 - e) * (y - mu0)).sum() / t.sum(),
        "control": ((1 - e) / e * t * (y - mu1) - (1 - t) * (y - mu1)).sum() / (1 - t).sum(),
        "overlap": ((t - e) * (y - m)).sum() / ((t - e) ** 2).sum(),
    }
    for target, value in expected.items():
        found_average = average_scores(scores, beta, a, t, e, target=target)
        assert_allclose(found_average.estimate, value, rtol=1e-10, err_msg=target)
        assert abs(found_average.influence.mean()) < 1e-12
    w = rng.integers(1, 4, n).astype(float)
    rows = np.repeat(np.arange(n), w.astype(int))
    weighted = average_scores(scores, beta, a, t, e, sample_weight=w)
    assert_allclose(weighted.estimate, aipw[rows].mean())
    some = rng.random(n) < 0.5
    assert_allclose(average_scores(scores, beta, a, t, e, include=some).estimate, aipw[some].mean())


def test_effects_are_differences_of_the_model() -> None:
    rng = np.random.default_rng(0)
    n, J = 5, 2
    beta = rng.normal(size=(n, 1 + 2 * J))
    full, none, g = rng.normal(size=(3, n, J))

    def outcome(t: np.ndarray, G: np.ndarray) -> np.ndarray:
        return t * beta[:, 0] + (G * beta[:, 1:3]).sum(axis=1) + t * (G * beta[:, 3:]).sum(axis=1)

    one, zero = np.ones(n), np.zeros(n)
    direct = effect_weights("direct", g, full, none, interaction=True)
    assert_allclose((direct * beta).sum(axis=1), outcome(one, g) - outcome(zero, g))
    step = np.array([0.0, 1.0])
    for t in (one, zero):
        spill = effect_weights("spillover1", t, full, none, interaction=True)
        assert_allclose((spill * beta).sum(axis=1), outcome(t, g + step) - outcome(t, g))
    total = effect_weights("total", None, full, none, interaction=True)
    assert_allclose((total * beta).sum(axis=1), outcome(one, full) - outcome(zero, none))


# ---------------------------------------------------------------------- failures


def refused(R: np.ndarray, scale: list[float], names: tuple[str, ...], message: str) -> None:
    with pytest.raises(IdentificationError, match=message):
        require_variation(R.T @ R / len(R), names, np.array(scale))


def test_residuals_without_variation_are_named() -> None:
    rng = np.random.default_rng(0)
    T, G = rng.normal(size=(2, 500))
    names = ("treatment", "share")
    require_variation(np.eye(2), names, np.ones(2))
    refused(
        np.column_stack([T * 1e-4, G]),
        [1.0, 1.0],
        names,
        r"treatment has no variation.*e-0[89], of 1 before.*determined by the",
    )
    refused(
        np.column_stack([T, 0 * G]), [1.0, 0.0], names, r"share has no variation.*is 0, of 0 before.*same for every"
    )
    refused(np.column_stack([T, 1e-4 * G]), [1.0, 1.0], names, r"share has no variation.*determined by covariates and")
    refused(
        np.column_stack([T, G, 2 * G - T]), [1.0] * 3, ("treatment", "a", "b"), "treatment is a combination of a, b"
    )
    refused(np.column_stack([T, G, 2 * G]), [1.0] * 3, ("treatment", "a", "b"), "a is a combination of treatment, b")


def test_exposures_that_make_no_sense() -> None:
    graph = Graph.from_edges([(0, 1), (1, 2)], n_nodes=3)
    with pytest.raises(ValueError, match="empty list"):
        resolve_exposures(graph, [])
    with pytest.raises(ValueError, match=r'pass exposure=\("threshold", q\)'):
        resolve_exposures(graph, "threshold")
    with pytest.raises(ValueError, match="as a list, not a tuple"):
        resolve_exposures(graph, ("share", "count"))
    with pytest.raises(ValueError, match="must be one of"):
        resolve_exposures(graph, "mean")
    with pytest.raises(GraphError, match="diagonal"):
        resolve_exposures(graph, ["share", sparse.eye_array(3, format="csr")])
    short = lambda t, g: t[:2]  # noqa: E731
    with pytest.raises(ValueError, match="returned by lambda has 2 rows, but graph has 3"):
        exposure_moments(resolve_exposures(graph, short), graph, np.zeros(3), np.full(3, 0.5))
