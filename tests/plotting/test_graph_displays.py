"""The displays of the graph family: layouts, effect maps, targeting curves and overlap against closed forms."""

from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.spatial.distance import pdist

from causalkit.exceptions import GraphError, MethodNotApplicableError
from causalkit.graph import Graph
from causalkit.plotting import EffectMapDisplay, OverlapDisplay, PropensityOverlapDisplay, TOCDisplay
from causalkit.plotting._axes import COLOURS
from causalkit.plotting._graph_layout import _repulsion, graph_layout
from causalkit.selection import toc

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def adjacency_of(edges, n):
    edges = np.asarray(edges)
    ones = np.ones(len(edges))
    half = sparse.csr_array((ones, (edges[:, 0], edges[:, 1])), shape=(n, n))
    return half + half.T


def lattice(side):
    """Square lattice and the true coordinates of its nodes."""
    number = np.arange(side * side).reshape(side, side)
    edges = np.vstack(
        [
            np.column_stack([number[:, :-1].ravel(), number[:, 1:].ravel()]),
            np.column_stack([number[:-1].ravel(), number[1:].ravel()]),
        ]
    )
    return adjacency_of(edges, side * side), np.argwhere(number >= 0).astype(float)


# ---------------------------------------------------------------------- layout


def test_repulsion_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    x = rng.uniform(-5, 9, (400, 2))
    mass = rng.uniform(1, 4, 400)
    difference = x[:, None] - x[None]
    square = (difference**2).sum(axis=2)
    np.fill_diagonal(square, 1.0)
    exact = (mass[None, :, None] * difference / square[:, :, None]).sum(axis=1)
    found = _repulsion(x, mass)
    # Pairs within a cell are softened, so single nodes may differ; the field as a whole may not.
    error = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert np.median(error) < 0.03
    assert_allclose(mass @ found, 0, atol=1e-8 * np.abs(exact).sum())  # action and reaction


def test_layout_unfolds_a_lattice():
    matrix, true = lattice(14)
    x = graph_layout(matrix)
    assert np.corrcoef(pdist(x), pdist(true))[0, 1] > 0.97
    assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    assert_allclose((x**2).sum(axis=1).mean(), 1)


def test_layout_keeps_communities_apart():
    rng = np.random.default_rng(1)
    block = np.repeat(np.arange(3), 60)
    same = block[:, None] == block[None]
    links = np.triu(rng.uniform(size=same.shape) < np.where(same, 0.15, 0.003), 1)
    x = graph_layout(sparse.csr_array(links.astype(float)))
    centres = np.array([x[block == k].mean(axis=0) for k in range(3)])
    within = np.mean([x[block == k].std(axis=0).mean() for k in range(3)])
    assert pdist(centres).min() > 3 * within


def test_layout_has_a_seed_and_ignores_weights_directions_and_loops():
    matrix, _ = lattice(6)
    x = graph_layout(matrix, random_state=3)
    assert_array_equal(x, graph_layout(matrix, random_state=3))
    assert not np.allclose(x, graph_layout(matrix, random_state=4))
    assert_array_equal(x, graph_layout(sparse.triu(matrix).tocsr() * 7.0 + sparse.eye_array(36), random_state=3))


@pytest.mark.parametrize("matrix", [adjacency_of([(0, 1)], 2), sparse.csr_array((5, 5)), adjacency_of([(0, 1)], 9)])
def test_layout_of_tiny_and_empty_networks_is_finite(matrix):
    x = graph_layout(matrix)
    assert x.shape == (matrix.shape[0], 2) and np.isfinite(x).all()
    assert_array_equal(graph_layout(sparse.csr_array((1, 1))), [[0.0, 0.0]])


def test_layout_failures():
    with pytest.raises(GraphError, match="one row and one column per node"):
        graph_layout(sparse.csr_array((2, 3)))
    with pytest.raises(ValueError, match="n_iter"):
        graph_layout(lattice(3)[0], n_iter=0)


# ---------------------------------------------------------------------- effect map


@pytest.fixture
def two_parts():
    """A lattice of 25 nodes and a pair apart; rows for all nodes but the first."""
    matrix, _ = lattice(5)
    whole = sparse.block_diag([matrix, adjacency_of([(0, 1)], 2)], format="csr")
    return whole, np.arange(1, 27), np.linspace(-1, 3, 26)


def learner(whole, nodes, effect, **more):
    return SimpleNamespace(effect_=effect, graph_=Graph.from_scipy(whole), positions_=nodes, **more)


def test_nodes_of_the_largest_component_carry_their_effects(two_parts):
    whole, nodes, effect = two_parts
    display = EffectMapDisplay.from_estimator(learner(whole, nodes, effect), truth=2 * effect)
    left, right = display.axes_
    assert display.kind_ == "nodes" and display.positions.shape == (25, 2)
    assert_allclose(left.collections[1].get_array(), effect[:24])
    assert_allclose(right.collections[1].get_array(), 2 * effect[:24])
    assert_allclose(left.collections[1].get_offsets(), display.positions[1:])
    assert_allclose([left.lines[0].get_xdata(), left.lines[0].get_ydata()], display.positions[:1].T)
    segments = {frozenset(map(tuple, np.round(s, 9))) for s in left.collections[0].get_segments()}
    rows, columns = np.nonzero(np.triu(whole.toarray()[:25, :25]))
    points = np.round(display.positions, 9)
    assert segments == {frozenset([tuple(points[i]), tuple(points[j])]) for i, j in zip(rows, columns, strict=True)}
    assert left.texts[0].get_text() == "largest component: 25 of 27 nodes"
    assert "correlation with the truth 1.00" in left.get_title(loc="left")


def test_panels_share_a_scale_around_the_centre(two_parts):
    whole, nodes, effect = two_parts
    estimate, truth = effect, effect * 0 + 5
    display = EffectMapDisplay.from_result(estimate, adjacency=whole, nodes=nodes, truth=truth, component="all")
    maps = [ax.collections[1] for ax in display.axes_]
    low, high = maps[0].get_clim()
    assert maps[1].get_clim() == (low, high)
    assert_allclose((low + high) / 2, effect.mean())
    assert_allclose(high - effect.mean(), 5 - effect.mean())
    zero = EffectMapDisplay.from_result(effect, adjacency=whole, nodes=nodes, component="all", center=0.0)
    low, high = zero.axes_[0].collections[1].get_clim()
    assert_allclose(low, -high)
    assert_allclose(high, np.quantile(np.abs(effect), 0.98))
    assert zero.colorbar_.extend == "both" and display.colorbar_.extend == "neither"


def test_a_constant_effect_sits_in_the_middle_of_the_scale(two_parts):
    whole, nodes, _ = two_parts
    display = EffectMapDisplay.from_result(np.full(26, 2.0), adjacency=whole, nodes=nodes)
    assert display.axes_[0].collections[1].get_clim() == (1.0, 3.0)


def test_larger_networks_become_hexagons_with_mean_effects():
    matrix, points = lattice(40)
    effect = points[:, 0] / 10
    display = EffectMapDisplay.from_result(effect, adjacency=matrix, layout=points, max_nodes=1000)
    assert display.kind_ == "hexagons" and display.edges is None
    (cells,) = display.axes_[0].collections
    values, places = np.asarray(cells.get_array()), cells.get_offsets()
    assert len(values) < 1600
    # A hexagon with its nodes around its centre has the effect of its centre, up to half its width.
    assert np.abs(values - places[:, 0] / 10).max() < 0.2
    assert len(np.unique(cells.get_alpha())) > 1, "cells with fewer nodes are paler"


def test_given_axes_layout_and_columns_are_used(two_parts):
    whole, nodes, effect = two_parts
    points = np.random.default_rng(0).normal(size=(27, 2))
    _, ax = plt.subplots()
    fitted = learner(whole, nodes, np.column_stack([effect, -effect]))
    display = EffectMapDisplay.from_estimator(fitted, column=1, layout=points, component="all", ax=ax, label="days")
    assert display.axes_ == (ax,) and display.colorbar_.ax.get_ylabel() == "days"
    assert_allclose(display.positions, points)
    assert_allclose(ax.collections[1].get_array(), -effect)


def test_effect_map_failures(two_parts):
    whole, nodes, effect = two_parts
    with pytest.raises(ValueError, match=r"fitted learner of causalkit\.graph; got str"):
        EffectMapDisplay.from_estimator("model")
    with pytest.raises(ValueError, match="column=1 asks for more than the 1 effects"):
        EffectMapDisplay.from_estimator(learner(whole, nodes, effect), column=1)
    with pytest.raises(ValueError, match="effect has 26 rows, adjacency has 27: pass nodes="):
        EffectMapDisplay.from_result(effect, adjacency=whole)
    with pytest.raises(ValueError, match=r"nodes must lie in 0\.\.26"):
        EffectMapDisplay.from_result(effect, adjacency=whole, nodes=nodes + 1)
    with pytest.raises(ValueError, match="one row number of adjacency per effect"):
        EffectMapDisplay.from_result(effect, adjacency=whole, nodes=nodes[:-1])
    with pytest.raises(ValueError, match="layout must have two columns"):
        EffectMapDisplay.from_result(effect, adjacency=whole, nodes=nodes, layout=np.zeros((27, 3)))
    with pytest.raises(ValueError, match="truth has 25 rows"):
        EffectMapDisplay.from_result(effect, adjacency=whole, nodes=nodes, truth=effect[1:])
    with pytest.raises(ValueError, match="component"):
        EffectMapDisplay.from_result(effect, adjacency=whole, nodes=nodes, component="second")
    with pytest.raises(ValueError, match="ax must hold 2 axes"):
        EffectMapDisplay.from_result(effect, adjacency=whole, nodes=nodes, truth=effect, ax=plt.subplots()[1])
    with pytest.raises(ValueError, match="positions has 3 rows, effect has 2"):
        EffectMapDisplay(positions=np.zeros((3, 2)), effect=np.ones(2)).plot()
    with pytest.raises(ValueError, match="no finite value"):
        EffectMapDisplay(positions=np.zeros((2, 2)), effect=np.full(2, np.nan)).plot()
    # Rows outside the largest component alone leave nothing to draw.
    with pytest.raises(ValueError, match=r'no finite value.*component="all"'):
        EffectMapDisplay.from_result([1.0, 2.0], adjacency=whole, nodes=[25, 26])


# ---------------------------------------------------------------------- targeting


@pytest.fixture(scope="module")
def curve():
    score = (np.arange(2000) + 0.5) / 2000
    return toc(score, score, random_state=0)


def test_curve_of_uniform_scores_is_the_line_with_its_band(curve):
    display = TOCDisplay.from_result(curve)
    line = next(line for line in display.ax_.lines if "AUTOC" in line.get_label())
    # For a score that is its own priority, uniform on (0, 1): TOC(q) = (1 - q)/2, and the area is 1/4.
    assert_allclose(line.get_ydata(), (1 - np.asarray(line.get_xdata())) / 2, atol=1e-9)
    assert "priority: AUTOC 0.25 ± " in line.get_label()
    (band,) = display.ax_.collections
    top = band.get_paths()[0].vertices
    at_half = top[np.isclose(top[:, 0], 0.5), 1]
    half_width = 1.959964 * curve.std_error[49]
    assert_allclose([at_half.min(), at_half.max()], [0.25 - half_width, 0.25 + half_width], rtol=1e-6)
    assert "at each share" in display.ax_.get_title(loc="left")


def test_several_curves_have_colours_and_a_joint_band_is_wider(curve):
    rng = np.random.default_rng(0)
    none = toc(curve.share, rng.normal(size=len(curve.share)), random_state=0)
    display = TOCDisplay.from_result({"model": curve, "chance": none}, joint=True)
    colours = [line.get_color() for line in display.ax_.lines if "AUTOC" in line.get_label()]
    assert colours == [COLOURS["corrected"], COLOURS["naive"]]
    single = TOCDisplay.from_result(curve)

    def height(ax):
        vertices = ax.collections[0].get_paths()[0].vertices
        at = vertices[np.isclose(vertices[:, 0], 0.5), 1]
        return at.max() - at.min()

    assert height(display.ax_) > height(single.ax_)
    assert "whole curve" in display.ax_.get_title(loc="left")


def test_the_curve_comes_from_the_estimator(curve):
    asked = []

    def targeting_curve(priorities=None):
        asked.append(priorities)
        return curve

    fitted = SimpleNamespace(toc=targeting_curve, effect_=np.zeros(3))
    assert list(TOCDisplay.from_estimator(fitted).curves) == ["out-of-fold effect"]
    TOCDisplay.from_estimator(fitted, priorities=np.arange(3))
    assert asked[0] is None and list(asked[1]) == [0, 1, 2]


def test_targeting_failures(curve):
    with pytest.raises(ValueError, match=r"fitted learner .* with toc.*; got int"):
        TOCDisplay.from_estimator(3)
    with pytest.raises(ValueError, match=r"one to 4 TOCCurve objects.*among them float"):
        TOCDisplay.from_result(0.5)
    with pytest.raises(ValueError, match=r"one to 4 TOCCurve objects.*got 5"):
        TOCDisplay.from_result({str(k): curve for k in range(5)})


# ---------------------------------------------------------------------- overlap


@pytest.fixture
def arms():
    """Two strata of degree, four rows each: probabilities that make the shares countable."""
    propensity = np.array([0.5, 0.5, 0.5, 0.5, 0.02, 0.2, 0.4, 0.5])
    treatment = np.array([0, 0, 1, 1, 0, 1, 1, 0])
    degree = np.array([1, 1, 1, 1, 3, 4, 4, 4])
    return propensity, treatment, degree


def test_shares_by_degree_are_counted(arms):
    propensity, treatment, degree = arms
    table = PropensityOverlapDisplay(propensity=propensity, treatment=treatment, degree=degree).by_degree
    assert list(table["degree"]) == ["1", "3", "4"], "deciles of 8 rows; ties stay together"
    by = table.set_index("degree")
    assert by.loc["1", "outside"] == 0 and by.loc["1", "ess 0"] == 1 and by.loc["1", "ess 1"] == 1
    outside = (by["outside"] * by["n"]).sum()
    assert outside == 1, "one row at .02"
    last = by.iloc[-1]
    # Treated rows at degree 4 weigh 1/.2 and 1/.4: (5 + 2.5)²/(25 + 6.25)/2.
    assert_allclose(last["ess 1"], 7.5**2 / 31.25 / 2)


def test_histogram_shows_every_row_of_each_arm(arms):
    propensity, treatment, degree = arms
    display = PropensityOverlapDisplay(propensity=propensity, treatment=treatment, degree=degree).plot()
    panel = display.axes_[0]
    steps = [patch for patch in panel.patches if hasattr(patch, "get_data") and patch.get_label()[:5] == "level"]
    assert [patch.get_label() for patch in steps] == ["level 0: 4 rows", "level 1: 4 rows"]
    for patch, level in zip(steps, (0, 1), strict=True):
        expected = np.histogram(propensity[treatment == level], np.linspace(0, 1, 41))[0] / 4
        assert_allclose(patch.get_data().values, expected)
    bars = display.axes_[1].patches
    assert_allclose([bar.get_height() for bar in bars], display.by_degree["outside"])


def test_levels_have_a_column_each():
    rng = np.random.default_rng(0)
    propensity = rng.dirichlet([2, 2, 2], 300)
    treatment = rng.choice(["a", "b", "c"], 300)
    display = PropensityOverlapDisplay(propensity=propensity, treatment=treatment, degree=np.ones(300)).plot()
    own = propensity[treatment == "b", 1]
    expected = (1 / own).sum() ** 2 / (1 / own**2).sum() / len(own)
    assert_allclose(display.by_degree["ess b"].to_numpy(), [expected])
    labels = [patch.get_label() for patch in display.axes_[0].patches if "among" in str(patch.get_label())]
    assert labels == [f"of level {level}, among the others" for level in "abc"]


def test_a_probability_of_zero_takes_all_of_the_weight():
    table = PropensityOverlapDisplay(
        propensity=np.array([0.0, 0.5, 0.5, 0.5]), treatment=np.array([1, 1, 1, 0]), degree=np.ones(4)
    ).by_degree
    assert_allclose(table["ess 1"], 1 / 3)


def test_overlap_display_hands_learners_with_probabilities_on(arms):
    propensity, treatment, _ = arms
    pairs = [(8, 4), (8, 5), (8, 6), (8, 7), (9, 5), (9, 6), (9, 7)]
    graph = Graph.from_edges(pairs, n_nodes=10)
    fitted = SimpleNamespace(
        treatment_prediction_=propensity,
        treatment_residual_=treatment - propensity,
        treatment_levels_=np.array([0, 1]),
        graph_=graph,
        positions_=np.arange(8),
    )
    display = OverlapDisplay.from_estimator(fitted)
    assert isinstance(display, PropensityOverlapDisplay)
    assert_array_equal(display.degree, graph.degree[:8])
    assert_array_equal(display.codes, treatment)
    three = np.random.default_rng(0).dirichlet([1, 1, 1], 8)
    codes = np.array([0, 1, 2, 2, 1, 0, 1, 2])
    fitted.treatment_prediction_, fitted.treatment_levels_ = three, np.array(["a", "b", "c"])
    fitted.treatment_residual_ = (codes[:, None] == [1, 2]) - three[:, 1:]
    assert_array_equal(OverlapDisplay.from_estimator(fitted).codes, codes)
    fitted.treatment_levels_ = None
    with pytest.raises(MethodNotApplicableError, match="continuous treatment"):
        OverlapDisplay.from_estimator(fitted)


def test_overlap_failures(arms):
    propensity, treatment, degree = arms
    with pytest.raises(ValueError, match=r"RewardDeconfounder, or a fitted learner of causalkit\.graph"):
        OverlapDisplay.from_estimator("model")
    with pytest.raises(
        ValueError, match=r"PropensityOverlapDisplay needs a fitted learner of causalkit\.graph; got str"
    ):
        PropensityOverlapDisplay.from_estimator("model")
    with pytest.raises(ValueError, match=r"expected shape \(8,\) or \(8, 2\)"):
        PropensityOverlapDisplay(propensity=propensity[:-1], treatment=treatment, degree=degree)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        PropensityOverlapDisplay(propensity=propensity + 0.6, treatment=treatment, degree=degree)
    with pytest.raises(ValueError, match="degree has 3 rows"):
        PropensityOverlapDisplay(propensity=propensity, treatment=treatment, degree=degree[:3])
    with pytest.raises(ValueError, match="ax must hold 2 axes"):
        PropensityOverlapDisplay(propensity=propensity, treatment=treatment, degree=degree).plot(ax=plt.subplots()[1])
