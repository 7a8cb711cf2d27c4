"""PartialCorrelationDisplay: what is drawn, against values computed here from Γ and from the edge table."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from causalkit.composition import CompositionalPartialCorrelation
from causalkit.composition.graphical_lasso import CompositionalGraphicalLasso
from causalkit.datasets import make_composition_network
from causalkit.plotting import PartialCorrelationDisplay
from causalkit.plotting._axes import COLOURS
from causalkit.plotting._partial_correlation_kinds import cluster_order, eigenvalues

matplotlib.use("Agg")
KINDS = ("network", "matrix", "null", "scree", "pvalues", "biplot")
NAMES = [f"part {letter}" for letter in "ABCDEFGH"]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def table():
    X = make_composition_network(n_samples=150, n_parts=8, random_state=1).X
    return pd.DataFrame(100 * X, columns=NAMES)


@pytest.fixture(scope="module")
def fitted(table):
    return CompositionalPartialCorrelation(shrinkage=None).fit(table)


def lines(ax, width_above=0.0):
    return [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linewidth() > width_above]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_with_words_on_its_axes_n_and_parts(fitted, table, kind):
    display = PartialCorrelationDisplay.from_estimator(fitted, kind, X=table if kind == "biplot" else None)
    assert display.figure_ is display.ax_.figure
    display.figure_.canvas.draw()
    assert "n = 150, D = 8" in display.ax_.get_title()
    if kind != "network":
        assert display.ax_.get_xlabel() and display.ax_.get_ylabel()


@pytest.mark.parametrize("kind", KINDS)
def test_axes_that_are_given_are_used(fitted, kind):
    figure, ax = plt.subplots()
    display = PartialCorrelationDisplay.from_estimator(fitted, kind, ax=ax)
    assert display.ax_ is ax and display.figure_ is figure
    assert plt.get_fignums() == [figure.number]


def test_edges_are_those_of_the_table(fitted):
    display = PartialCorrelationDisplay.from_estimator(fitted, "network", max_qvalue=0.01)
    expected = fitted.to_frame(max_qvalue=0.01)[["part_a", "part_b", "partial_correlation"]]
    pd.testing.assert_frame_equal(display.edges(), expected, check_dtype=False)
    assert f"{len(expected)} of 28 pairs with q ≤ 0.01 (zero null)" in display.title


def test_null_hypothesis_is_named(table):
    fitted = CompositionalPartialCorrelation(shrinkage=0.2).fit(table)
    for kind in ("network", "matrix", "null", "pvalues"):
        assert "(closure null)" in PartialCorrelationDisplay.from_estimator(fitted, kind).title


def test_network_shows_sign_by_colour_and_style_and_size_by_width():
    r = np.eye(4)
    r[0, 1] = r[1, 0] = 0.8
    r[2, 3] = r[3, 2] = -0.4
    edge = (r != 0) & ~np.eye(4, dtype=bool)
    display = PartialCorrelationDisplay(
        kind="network", names=list("abcd"), values={"r": r, "edge": edge}, title="words"
    ).plot()
    first, second = lines(display.ax_)[:2]
    assert first.get_color() == COLOURS["corrected"] and second.get_color() == COLOURS["naive"]
    assert first.get_linestyle() == "-" and second.get_linestyle() == "--"
    assert_allclose([first.get_linewidth(), second.get_linewidth()], [0.6 + 4.4, 0.6 + 2.2])
    texts = {text.get_text() for text in display.ax_.get_legend().get_texts()}
    assert texts == {"r positive", "r negative", "width: |r| up to 0.80"}


def test_network_layout_is_a_circle_in_cluster_order_and_repeats(fitted):
    places = []
    for _ in range(2):
        ax = PartialCorrelationDisplay.from_estimator(fitted, "network").ax_
        found = {text.get_text(): text.xy for text in ax.texts}
        places.append(np.array([found[name] for name in NAMES], dtype=float))
    assert_allclose(places[0], places[1], rtol=0, atol=0)
    assert_allclose(np.hypot(*places[0].T), 1.0)
    clockwise = np.argsort(np.mod(np.pi / 2 - np.arctan2(places[0][:, 1], places[0][:, 0]) + 1e-9, 2 * np.pi))
    assert clockwise.tolist() == cluster_order(fitted.partial_correlation_).tolist()


def test_network_takes_positions_and_names_missing_parts(fitted):
    layout = {name: (float(k), 2.0 * k) for k, name in enumerate(NAMES)}
    ax = PartialCorrelationDisplay.from_estimator(fitted, "network", layout=layout).ax_
    assert {text.get_text(): tuple(text.xy) for text in ax.texts} == layout
    del layout["part C"]
    with pytest.raises(ValueError, match=r"layout lacks 1 parts, for example \['part C'\]"):
        PartialCorrelationDisplay.from_estimator(fitted, "network", layout=layout)
    with pytest.raises(ValueError, match='"circular" or a mapping'):
        PartialCorrelationDisplay.from_estimator(fitted, "network", layout="spring")


def test_network_without_edges_says_so(fitted):
    display = PartialCorrelationDisplay.from_estimator(fitted, "network", max_qvalue=0.0)
    assert display.edges().empty
    assert "no edge" in {text.get_text() for text in display.ax_.get_legend().get_texts()}


def test_large_network_leaves_isolated_parts_out_and_says_how_many():
    d = 70
    r, edge = np.eye(d), np.zeros((d, d), dtype=bool)
    r[3, 9] = r[9, 3] = 0.5
    edge[3, 9] = edge[9, 3] = True
    names = [f"p{j}" for j in range(d)]
    ax = PartialCorrelationDisplay(kind="network", names=names, values={"r": r, "edge": edge}, title="t").plot().ax_
    assert {text.get_text() for text in ax.texts} == {"p3", "p9"}
    assert ax.get_legend().get_title().get_text() == "68 parts without edges not drawn"


def test_matrix_is_r_in_cluster_order_with_a_blank_diagonal(fitted):
    ax = PartialCorrelationDisplay.from_estimator(fitted, "matrix").ax_
    order = cluster_order(fitted.partial_correlation_)
    assert [label.get_text() for label in ax.get_yticklabels()] == [NAMES[j] for j in order]
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    expected = fitted.partial_correlation_[np.ix_(order, order)].copy()
    np.fill_diagonal(expected, np.nan)
    assert_allclose(shown, expected)
    low, high = ax.images[0].get_clim()
    assert low == -high == -np.nanmax(np.abs(expected))


def test_clustering_puts_related_parts_side_by_side():
    r = np.eye(6)
    for i, j in ((0, 5), (1, 4), (2, 3)):
        r[i, j] = r[j, i] = -0.9
    order = cluster_order(r).tolist()
    assert all(abs(order.index(i) - order.index(j)) == 1 for i, j in ((0, 5), (1, 4), (2, 3)))


def test_null_puts_each_pair_at_its_two_values_with_the_identity_line(fitted):
    ax = PartialCorrelationDisplay.from_estimator(fitted, "null").ax_
    upper = np.triu_indices(8, 1)
    drawn = np.concatenate([line.get_xydata() for line in ax.lines if line.get_linestyle() == "None"])
    expected = np.column_stack([fitted.closure_null_[upper], fitted.partial_correlation_[upper]])
    assert_allclose(drawn[np.lexsort(drawn.T)], expected[np.lexsort(expected.T)])
    identity = next(line for line in ax.lines if line.get_label() == "closure null: r = r⁰")
    assert_allclose(identity.get_xdata(), identity.get_ydata())


def test_null_names_the_pairs_when_there_are_few(fitted):
    ax = PartialCorrelationDisplay.from_estimator(fitted, "null").ax_
    edges = fitted.to_frame(max_qvalue=0.05)
    assert {text.get_text() for text in ax.texts} == {
        f"{a}–{b}" for a, b in zip(edges.part_a, edges.part_b, strict=True)
    }


def test_scree_is_the_spectrum_of_the_coordinates_covariance(fitted, table):
    # Orthonormal coordinates have the eigenvalues of Γ without its zero: those of the CLR by singular values.
    logs = np.log(table.to_numpy())
    clr = logs - logs.mean(axis=1, keepdims=True)
    squared = np.linalg.svd(clr - clr.mean(axis=0), compute_uv=False)[:7] ** 2
    ax = PartialCorrelationDisplay.from_estimator(fitted, "scree").ax_
    assert_allclose([bar.get_height() for bar in ax.patches], 100 * squared / squared.sum(), rtol=1e-10)
    assert_allclose(ax.lines[0].get_ydata()[-1], 100)


def test_pvalue_histogram_counts_every_pair_once(fitted):
    ax = PartialCorrelationDisplay.from_estimator(fitted, "pvalues").ax_
    counts = [bar.get_height() for bar in ax.patches]
    assert sum(counts) == 28
    pvalues = fitted.to_frame()["pvalue"]
    assert counts[0] == int((pvalues < 0.05).sum())
    assert_allclose(ax.lines[0].get_ydata(), 28 / 20)


def test_biplot_distances_are_log_ratio_variances_when_there_are_three_parts():
    rng = np.random.default_rng(3)
    X = np.exp(rng.normal(size=(60, 3)) * [1.0, 0.5, 0.2])
    fitted = CompositionalPartialCorrelation(shrinkage=None).fit(X)
    display = PartialCorrelationDisplay.from_estimator(fitted, "biplot", X=X)
    heads = display.values["heads"]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert_allclose(np.sum((heads[i] - heads[j]) ** 2), np.log(X[:, i] / X[:, j]).var(ddof=1), rtol=1e-10)
    # Heads times rows give back the centred log-ratios.
    clr = np.log(X) - np.log(X).mean(axis=1, keepdims=True)
    assert_allclose(display.values["scores"] @ heads.T, clr - clr.mean(axis=0), atol=1e-12)


def test_biplot_replaces_zeros_by_the_rule_of_the_fit():
    X = np.random.default_rng(4).poisson(3.0, size=(80, 5))
    X[X.sum(axis=1) == 0] = 1
    fitted = CompositionalPartialCorrelation(zero_replacement="czm").fit(X)
    display = PartialCorrelationDisplay.from_estimator(fitted, "biplot", X=X)
    assert display.values["scores"].shape == (80, 2)
    assert np.isfinite(display.values["scores"]).all()
    with pytest.raises(ValueError):
        PartialCorrelationDisplay.from_estimator(fitted, "biplot", X=X[:, :4])


def test_vectors_have_a_sign_that_does_not_depend_on_the_solver():
    gamma = np.cov(np.random.default_rng(5).normal(size=(30, 4)), rowvar=False)
    values, vectors = eigenvalues(gamma)
    assert (np.diff(values) <= 0).all()
    top = np.abs(vectors).argmax(axis=0)
    assert (vectors[top, range(3)] > 0).all()


def test_graphical_lasso_shows_the_pairs_that_are_not_zero(table):
    fitted = CompositionalGraphicalLasso(alpha=0.5).fit(table)
    display = PartialCorrelationDisplay.from_estimator(fitted, "network")
    expected = np.count_nonzero(np.triu(fitted.precision_, 1))
    assert 0 < expected < 28
    assert len(display.edges()) == expected
    assert f"{expected} of 28 pairs not zero" in display.title
    with pytest.raises(ValueError, match="CompositionalGraphicalLasso does not have"):
        PartialCorrelationDisplay.from_estimator(fitted, "null")


# ---------------------------------------------------------------------- failures


def test_unfitted_wrong_kind_and_wrong_rows(fitted, table):
    with pytest.raises(ValueError, match="Call fit first"):
        PartialCorrelationDisplay.from_estimator(object())
    with pytest.raises(ValueError, match="kind"):
        PartialCorrelationDisplay.from_estimator(fitted, "heatmap")
    with pytest.raises(ValueError, match="X has 5 parts"):
        PartialCorrelationDisplay.from_estimator(fitted, "biplot", X=table.iloc[:, :5])
    with pytest.raises(ValueError, match="has no edges"):
        PartialCorrelationDisplay.from_estimator(fitted, "scree").edges()


def test_fit_without_a_test_says_which_options_give_pvalues(table):
    fitted = CompositionalPartialCorrelation(shrinkage="ledoit_wolf").fit(table)
    with pytest.raises(AttributeError, match="there are no p-values"):
        PartialCorrelationDisplay.from_estimator(fitted, "pvalues")
    with pytest.raises(AttributeError, match="there are no p-values"):
        PartialCorrelationDisplay.from_estimator(fitted, "network")
    assert PartialCorrelationDisplay.from_estimator(fitted, "scree").values["shares"].shape == (7,)


def test_too_many_parts_for_a_figure():
    X = np.exp(np.random.default_rng(6).normal(size=(5, 2001)))
    fitted = CompositionalPartialCorrelation(shrinkage=0.5, test=None).fit(X)
    with pytest.raises(ValueError, match="2001 parts; a figure takes at most 2000"):
        PartialCorrelationDisplay.from_estimator(fitted, "matrix")
