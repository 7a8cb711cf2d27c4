"""The estimator: attributes, options, storage, tables, graphs, searches, files."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline

from causalkit.composition import (
    Closure,
    CompositionalPartialCorrelation,
    ZeroReplacement,
    log_ratio_covariance,
    partial_correlation,
)
from causalkit.composition.covariance import centre_logs
from causalkit.composition.shrinkage import shrink_logs
from causalkit.datasets import fetch_roman_glass_cups
from causalkit.persistence import load, save
from tests.composition.test_covariance import sample
from tests.composition.test_precision import pseudo_inverse
from tests.composition.test_shrinkage import matrix_of
from tests.datasets.composition_files import fetch_or_skip
from tests.golden.composition.make_cups import residual

Fit = CompositionalPartialCorrelation
CUPS = json.loads((Path(__file__).parents[1] / "golden" / "composition" / "cups.json").read_text(encoding="utf-8"))


def table(n: int = 30, d: int = 5, seed: int = 0) -> pd.DataFrame:
    return pd.DataFrame(sample(n, d, seed), columns=[f"p{j}" for j in range(d)])


# ---------------------------------------------------------------------- attributes of unshrunk fits


def test_attributes_are_those_of_regressions() -> None:
    X = table()
    network, logs = Fit(shrinkage=None).fit(X), np.log(X.to_numpy())
    for i in range(5):
        rest = [j for j in range(5) if j != i]
        # log x_i on the other logs with slopes that sum to 1: slopes of log(x_i/x_k) on log(x_j/x_k).
        k, others = rest[0], rest[1:]
        ratios = logs - logs[:, [k]]
        design = np.column_stack([ratios[:, others], np.ones(30)])
        beta = np.linalg.lstsq(design, ratios[:, i], rcond=None)[0][:-1]
        assert_allclose(network.coef_[i, others], beta, atol=1e-11)
        assert network.coef_[i, k] == pytest.approx(1 - beta.sum(), abs=1e-11)
        e = residual(ratios[:, i], ratios[:, others])
        assert network.partial_variance_[i] == pytest.approx(e @ e / 29, rel=1e-10)
        assert network.residual_variance_[i] == pytest.approx(e @ e / (30 - 5 + 1), rel=1e-10)
        target = logs[:, i] - logs[:, rest].mean(axis=1)
        assert network.r2_[i] == pytest.approx(1 - e @ e / np.sum((target - target.mean()) ** 2), rel=1e-9)
        for j in rest:
            ratio = logs[:, i] - logs[:, j]
            expected = 1 - e @ e / np.sum((ratio - ratio.mean()) ** 2)
            assert network.r_squared(f"p{j}")[f"p{i}"] == pytest.approx(expected, rel=1e-9)
            assert network.r_squared(j)[f"p{i}"] == network.r_squared(f"p{j}")[f"p{i}"]
    beta, r = network.coef_, network.partial_correlation_
    assert_allclose(beta.sum(axis=1), 1, atol=1e-12)
    off = ~np.eye(5, dtype=bool)
    assert_allclose(r[off], (np.sign(beta) * np.sqrt(beta * beta.T))[off], atol=1e-12)


def test_residuals_are_correlated_by_minus_r() -> None:
    """E = CΓ⁺diag(pv) has the covariance diag(pv)Γ⁺diag(pv)."""
    X = table()
    network = Fit(shrinkage=None).fit(X)
    c = np.log(X.to_numpy())
    c = c - c.mean(axis=1, keepdims=True)
    e = (c - c.mean(axis=0)) @ network.precision_ * network.partial_variance_
    pv = network.partial_variance_
    assert_allclose(np.cov(e.T), pv[:, None] * network.precision_ * pv, atol=1e-13)
    off = ~np.eye(5, dtype=bool)
    assert_allclose(np.corrcoef(e.T)[off], -network.partial_correlation_[off], atol=1e-12)


def test_cups_attributes_match_the_reference() -> None:
    X = fetch_or_skip(fetch_roman_glass_cups).parts
    reference = CUPS["A"]
    network = Fit(shrinkage=None).fit(X)
    assert_allclose(network.r2_, reference["r2"], atol=1e-9)
    assert_allclose(network.partial_variance_, reference["partial_variance"], atol=1e-11)
    assert_allclose(network.basis_variance_, reference["basis_variance"], atol=1e-10)
    assert network.score(X) == pytest.approx(reference["score"], abs=1e-9)
    assert network.score(X) == pytest.approx(9.66284, abs=5e-6)
    shown = [0.9074, 0.8764, 0.7949, 0.5572, 0.4954, 0.8285, 0.2935, 0.4092, 0.3306, 0.3923, 0.3622]
    assert_allclose(network.r2_, shown, atol=5e-5)
    by_reference = np.array(reference["r2_by_reference"], dtype=float)
    for k, part in enumerate(X.columns):
        assert_allclose(network.r_squared(part), np.delete(by_reference[:, k], k), atol=1e-9)
    silicon = {part: network.r_squared(part)["Si"] for part in X.columns if part != "Si"}
    assert min(silicon, key=silicon.__getitem__) == "Na" and max(silicon, key=silicon.__getitem__) == "Mn"
    assert (silicon["Na"], silicon["Mn"]) == pytest.approx((0.656, 0.984), abs=5e-4)
    five = Fit(shrinkage=None).fit(X[["Al", "Mg", "Ca", "Na", "K"]])
    assert five.block(["Al"], ["Na"])[0, 0] == pytest.approx(0.689470, abs=5e-7)
    assert network.block(["Al"], ["Na", "Mg"])[0] == pytest.approx([0.305199, -0.013670], abs=5e-7)


# ---------------------------------------------------------------------- shrunken fits, storage


@pytest.mark.parametrize("storage", ["dense", "factor"])
@pytest.mark.parametrize("shrinkage", [None, "basis", "invariant", "ledoit_wolf", "oas", 0.3, 1.0])
@pytest.mark.parametrize(("n", "d"), [(30, 5), (7, 12)])
def test_attributes_follow_from_the_shrunken_matrix(shrinkage: Any, storage: str, n: int, d: int) -> None:
    if shrinkage is None and n < d:
        return
    X = sample(n, d)
    network = Fit(shrinkage=shrinkage, test=None, storage=storage).fit(X)
    center, gamma = np.eye(d) - 1 / d, log_ratio_covariance(X)
    model = gamma
    if shrinkage is not None:
        method, held = (shrinkage, None) if isinstance(shrinkage, str) else ("basis", shrinkage)
        model = center @ matrix_of(shrink_logs(centre_logs(np.log(X)), method, intensity=held)) @ center
    precision, log_determinant = pseudo_inverse(model)
    pv = 1 / np.diag(precision)
    assert_allclose(network.precision_, precision, atol=1e-9 * precision.max())
    assert_allclose(network.partial_variance_, pv, rtol=1e-9)
    assert_allclose(network.partial_correlation_, -precision * np.sqrt(np.outer(pv, pv)) + 2 * np.eye(d), atol=1e-9)
    assert_allclose(network.coef_, -precision * pv[:, None] + np.eye(d), atol=1e-9)
    assert_allclose(network.r2_, 1 - ((d - 1) / d) ** 2 * pv / np.diag(model), atol=1e-9)
    assert_allclose(network.log_ratio_covariance_, gamma, atol=1e-12)
    c = np.log(X) - np.log(X).mean(axis=1, keepdims=True)
    c = c - c.mean(axis=0)
    quadratic = np.einsum("ij,jk,ik->i", c, precision, c).mean()
    assert network.score(X) == pytest.approx(
        -0.5 * ((d - 1) * np.log(2 * np.pi) - log_determinant + quadratic), rel=1e-9
    )
    for matrix in (network.partial_correlation_, network.precision_):
        assert_allclose(matrix, matrix.T, atol=0)
    # 2I - R has rank D - 1 and no negative eigenvalue.
    values = np.linalg.eigvalsh(2 * np.eye(d) - network.partial_correlation_)
    assert abs(values[0]) < 1e-10 and values[1] > 1e-4


@pytest.mark.parametrize("shrinkage", ["basis", "invariant", 0.2])
def test_factor_rows_multiply_to_partial_correlations(shrinkage: Any) -> None:
    network = Fit(shrinkage=shrinkage, test=None).fit(sample(6, 15))
    assert network.factor_.shape == (7, 15)
    product = network.factor_.T @ network.factor_
    np.fill_diagonal(product, 1.0)
    assert_allclose(product, network.partial_correlation_, atol=1e-14)
    with pytest.raises(AttributeError, match="factor_ exists when the factored route ran"):
        _ = Fit(shrinkage=shrinkage, test=None).fit(sample(40, 15)).factor_


@pytest.mark.parametrize("kind", ["t", "fisher", "t closure", "fisher closure", "basis", "invariant", "few rows"])
@pytest.mark.parametrize("fdr", ["bh", "by", None])
def test_streamed_edges_equal_the_dense_route(kind: str, fdr: str | None) -> None:
    from causalkit.datasets import make_composition_network

    X = make_composition_network(20 if kind == "few rows" else 120, 40, random_state=1).X
    options: dict[str, Any] = {"fdr": fdr, "shrinkage": None}
    if kind in ("basis", "invariant"):
        options["shrinkage"] = kind
    elif kind == "few rows":
        options["shrinkage"] = 0.05
    else:
        options |= {"test": kind.split()[0], "null": "closure" if "closure" in kind else "zero"}
    dense, factor = (Fit(**options, storage=storage).fit(X) for storage in ("dense", "factor"))
    every = dense.to_frame()
    sizes = []
    for level in (1e-6, 0.05, 0.3, 1.0):
        expected = every[every["qvalue"] <= level].reset_index(drop=True)
        pd.testing.assert_frame_equal(factor.to_frame(max_qvalue=level), expected, rtol=1e-9)
        pd.testing.assert_frame_equal(dense.to_frame(max_qvalue=level), expected)
        sizes.append(len(expected))
    assert sizes[-1] == 780 and sizes[1] >= (0 if kind == "few rows" else 1)
    with pytest.raises(ValueError, match="to_frame of all pairs of 40 parts: pass max_qvalue"):
        factor.to_frame()
    for name in ("pvalues_", "qvalues_", "partial_correlation_", "closure_null_"):
        assert_allclose(getattr(factor, name), getattr(dense, name), rtol=1e-9, atol=1e-12)


def test_stored_arrays_are_computed_once_and_factors_every_time() -> None:
    dense, factor = (Fit(shrinkage="basis", storage=s).fit(sample(6, 9)) for s in ("dense", "factor"))
    assert dense.partial_correlation_ is dense.partial_correlation_
    assert factor.partial_correlation_ is not factor.partial_correlation_
    assert not any(np.shape(v) == (9, 9) for v in vars(factor).values())
    assert factor._network.cache == {}


def test_large_dense_storage_warns_with_its_memory() -> None:
    X = np.exp(np.random.default_rng(0).normal(size=(5, 5001)))
    with pytest.warns(UserWarning, match=r"storage='dense' with D = 5001 parts takes 0\.2 GB"):
        Fit(shrinkage=0.5, test=None, storage="dense").fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Fit(shrinkage=0.5, test=None).fit(X)._storage == "factor"


def test_auto_shrinkage_counts_degrees_of_freedom() -> None:
    """Unshrunk from n - q - D + 1 = 5D on, by the effective number of rows."""
    X, rng = sample(40, 5), np.random.default_rng(1)
    assert Fit(test=None).fit(X[:29]).shrinkage_ == Fit(shrinkage=None, test=None).fit(X[:29]).shrinkage_ == 0
    assert Fit(test=None).fit(X[:28])._network.method == "basis"
    q = rng.normal(size=(30, 2))
    assert Fit(test=None).fit(X[:30], confounders=q)._network.method == "basis"
    assert Fit(test=None).fit(X[:31], confounders=rng.normal(size=(31, 2)))._network.method == "none"
    uneven = np.r_[np.ones(20), np.full(20, 0.1)]
    assert Fit(test=None).fit(X, sample_weight=uneven)._network.method == "basis"


def test_function_gives_the_array_of_the_estimator() -> None:
    X = table()
    for shrinkage in ("auto", None, "invariant", 0.4):
        expected = Fit(shrinkage=shrinkage, test=None).fit(X).partial_correlation_
        assert_allclose(partial_correlation(X, shrinkage), expected, atol=0)


# ---------------------------------------------------------------------- rows: weights, confounders, groups


@pytest.mark.parametrize("options", [{"shrinkage": None}, {"shrinkage": "basis"}, {"shrinkage": "invariant"}])
def test_rows_of_weight_zero_are_rows_that_are_not_there(options: dict[str, Any]) -> None:
    X, rng = table(40), np.random.default_rng(2)
    weight = np.where(rng.random(40) < 0.3, 0.0, rng.uniform(0.2, 2, 40))
    controls, kept = rng.normal(size=(40, 2)), weight > 0
    whole = Fit(**options).fit(X, sample_weight=weight, confounders=controls)
    part = Fit(**options).fit(X[kept], sample_weight=weight[kept], confounders=controls[kept])
    for name in ("partial_correlation_", "pvalues_", "partial_variance_", "closure_null_"):
        assert_allclose(getattr(whole, name), getattr(part, name), rtol=1e-10, atol=1e-13)
    assert (whole.dof_, whole.n_effective_) == (part.dof_, part.n_effective_)


def test_clusters_of_weight_zero_do_not_count() -> None:
    X, groups = sample(60), np.arange(60) // 3
    weight = np.r_[np.ones(45), np.zeros(15)]
    whole = Fit(shrinkage=None).fit(X, sample_weight=weight, groups=groups)
    part = Fit(shrinkage=None).fit(X[:45], groups=groups[:45])
    assert whole.dof_ == part.dof_ == 14
    assert_allclose(whole.pvalues_, part.pvalues_, rtol=1e-9)
    for test in ("bootstrap",):
        options = {"shrinkage": None, "test": test, "n_resamples": 20, "random_state": 0}
        whole = Fit(**options).fit(X, sample_weight=weight, groups=groups)
        part = Fit(**options).fit(X[:45], groups=groups[:45])
        assert_allclose(whole._network.draws, part._network.draws, atol=1e-10)


def test_zero_rules_see_the_rows_that_count() -> None:
    rng = np.random.default_rng(3)
    X = pd.DataFrame(rng.poisson(6, size=(40, 4)), columns=list("abcd"))
    X.iloc[0] = [0, 5, 5, 5]
    weight = np.r_[np.ones(30), np.zeros(10)]
    whole = Fit(zero_replacement="czm", test=None).fit(X, sample_weight=weight)
    part = Fit(zero_replacement="czm", test=None).fit(X[:30])
    assert_allclose(whole.partial_correlation_, part.partial_correlation_, atol=1e-12)


def test_equal_weights_are_no_weights() -> None:
    X = sample(20)
    for shrinkage in (None, "basis", "invariant"):
        plain = Fit(shrinkage=shrinkage).fit(X)
        weighted = Fit(shrinkage=shrinkage).fit(X, sample_weight=np.full(20, 7))
        assert_allclose(weighted.pvalues_, plain.pvalues_, rtol=1e-7)
        assert weighted.n_effective_ == 20


@pytest.mark.parametrize("shrinkage", [None, "basis", "invariant", "ledoit_wolf"])
def test_confounders_are_residualised_away(shrinkage: Any) -> None:
    """The same r from rows whose log proportions were residualised by hand."""
    X, rng = sample(25), np.random.default_rng(4)
    controls = rng.normal(size=(25, 2))
    X = X * np.exp(controls @ rng.normal(size=(2, 5)))
    network = Fit(shrinkage=shrinkage, test=None).fit(X, confounders=pd.DataFrame(controls))
    proportions = np.log(X / X.sum(axis=1, keepdims=True))
    residuals = residual(proportions, controls)
    if shrinkage is None:
        by_hand = Fit(shrinkage=None, test=None).fit(np.exp(residuals))
        assert_allclose(network.partial_correlation_, by_hand.partial_correlation_, atol=1e-11)
    moved = Fit(shrinkage=shrinkage, test=None).fit(X, confounders=controls @ [[2.0, 1.0], [0.0, 1e4]] + 3)
    assert_allclose(moved.partial_correlation_, network.partial_correlation_, atol=1e-9)
    assert_allclose(network.log_ratio_covariance_, np.cov((residuals - residuals.mean(axis=1)[:, None]).T) * 24 / 22)


# ---------------------------------------------------------------------- input of every kind


@pytest.mark.parametrize("shrinkage", [None, "basis"])
def test_containers_and_types_agree(shrinkage: Any) -> None:
    X = pd.DataFrame(np.random.default_rng(5).integers(1, 90, (30, 5)), columns=list("abcde"))
    expected = Fit(shrinkage=shrinkage).fit(X.to_numpy(float)).pvalues_
    frozen = X.to_numpy(float)
    frozen.flags.writeable = False
    others = [X, pl.DataFrame(X), X.to_numpy(np.float32), X.to_numpy(np.uint8), X.astype(object), frozen]
    others += [X.to_numpy().tolist(), np.asfortranarray(X.to_numpy()), np.repeat(X.to_numpy(), 2, axis=0)[::2]]
    for other in others:
        fitted = Fit(shrinkage=shrinkage).fit(other)
        assert_allclose(fitted.pvalues_, expected, rtol=1e-9)
        assert hasattr(fitted, "feature_names_in_") == hasattr(other, "columns")
    refitted = Fit(shrinkage=shrinkage).fit(X).fit(X.to_numpy())
    assert not hasattr(refitted, "feature_names_in_")


def test_a_failed_fit_leaves_the_old_one() -> None:
    X = table()
    network = Fit(shrinkage=None).fit(X)
    before, state = network.partial_correlation_, set(vars(network))
    for bad, options in ((X[:4], {}), (X.where(X.min().min() < X), {}), (X, {"groups": range(3)})):
        with pytest.raises(ValueError, match=r"an unshrunk fit needs|contains NaN|one label per row"):
            network.fit(bad, **options)
        assert network.partial_correlation_ is before
        assert set(vars(network)) == state


def test_zero_replacement_by_name_and_by_instance() -> None:
    rng = np.random.default_rng(6)
    X = pd.DataFrame(rng.poisson(4, size=(60, 4)) + np.array([1, 0, 0, 0]), columns=list("abcd"))
    assert (X == 0).any(axis=None)
    rule = ZeroReplacement(method="czm")
    named, given = (Fit(shrinkage=None, zero_replacement=r).fit(X) for r in ("czm", rule))
    replaced = ZeroReplacement(method="czm").fit_transform(X)
    by_hand = Fit(shrinkage=None).fit(np.asarray(replaced))
    for network in (named, given):
        assert_allclose(network.partial_correlation_, by_hand.partial_correlation_, atol=1e-13)
        assert list(network.feature_names_in_) == list("abcd")
        assert network.score(X) == pytest.approx(
            by_hand.score(np.asarray(network.zero_replacement_.transform(X))), abs=1e-10
        )
    assert given.zero_replacement is rule and not hasattr(rule, "detection_limit_")
    assert not hasattr(given.set_params(zero_replacement=None).fit(X + 1), "zero_replacement_")


# ---------------------------------------------------------------------- blocks, tables, graphs


@pytest.mark.parametrize("shape", [(30, 8), (5, 8)])
def test_blocks_by_name_position_and_slice(shape: tuple[int, int]) -> None:
    network = Fit(shrinkage="basis", test=None).fit(table(*shape))
    r = network.partial_correlation_
    cases: list[tuple[Any, Any]] = [
        (slice(None), np.arange(8)),
        (slice(1, 7, 2), [1, 3, 5]),
        (slice(None, None, -1), np.arange(8)[::-1]),
        (slice(5, 2), []),
        (["p3", "p0"], [3, 0]),
        ("p3", [3]),
        ([-1, np.int64(2)], [7, 2]),
    ]
    for rows, i in cases:
        for cols, j in cases:
            if len(i) and len(j):
                assert_allclose(network.block(rows, cols), r[np.ix_(i, j)], atol=1e-15)
    assert network.block(slice(5, 2), slice(None)).shape == (0, 8)
    pieces = list(network.iter_blocks(3))
    assert [rows for rows, _ in pieces] == [slice(0, 3), slice(3, 6), slice(6, 8)]
    assert_allclose(np.vstack([block for _, block in pieces]), r, atol=1e-15)


@pytest.mark.parametrize("sign", ["both", "positive", "negative"])
def test_top_k_sorts_every_row(sign: str) -> None:
    network = Fit(shrinkage="basis", test=None).fit(table(6, 12))
    r = network.partial_correlation_
    key = {"both": np.abs(r), "positive": r, "negative": -r}[sign].copy()
    np.fill_diagonal(key, -np.inf)
    for k in (1, 4, 11):
        found = network.top_k(k, sign)
        assert len(found) == 12 * k
        for i in range(12):
            own = found[found["part"] == f"p{i}"]
            order = np.argsort(-key[i])[:k]
            assert list(own["neighbour"]) == [f"p{j}" for j in order]
            assert_allclose(own["partial_correlation"], r[i, order], atol=1e-15)
            assert list(own["rank"]) == list(range(1, k + 1))
    with pytest.raises(ValueError, match="k must be an integer between 1 and 11"):
        network.top_k(12)


def test_table_of_pairs() -> None:
    network = Fit(shrinkage=None).fit(table())
    frame = network.to_frame()
    columns = ["part_a", "part_b", "partial_correlation", "closure_null", "statistic", "pvalue", "qvalue"]
    assert list(frame.columns) == [*columns, "lower", "upper"]
    assert len(frame) == 10
    assert frame["partial_correlation"].abs().is_monotonic_decreasing
    for row in frame.itertuples():
        i, j = int(row.part_a[1:]), int(row.part_b[1:])
        assert i < j
        assert row.partial_correlation == network.partial_correlation_[i, j]
        assert row.closure_null == network.closure_null_[i, j]
        assert (row.pvalue, row.qvalue) == (network.pvalues_[i, j], network.qvalues_[i, j])
        assert (row.lower, row.upper) == tuple(bound[i, j] for bound in network.conf_int())
        dof, r = network.dof_, row.partial_correlation
        assert row.statistic == pytest.approx(r * np.sqrt(dof / (1 - r * r)))
    assert list(Fit(shrinkage="basis").fit(table()).to_frame().columns) == columns
    assert list(Fit(shrinkage="oas").fit(table()).to_frame().columns) == columns[:4]
    drawn = Fit(shrinkage="oas", test="bootstrap", n_resamples=20, random_state=0).fit(table()).to_frame()
    assert list(drawn.columns) == [*columns[:4], "pvalue", "qvalue", "lower", "upper"]
    for bad in (-0.1, 1.5, "5%", float("nan")):
        with pytest.raises(ValueError, match=r"max_qvalue must be None or a number in \[0, 1\]"):
            network.to_frame(max_qvalue=bad)


@pytest.mark.parametrize("storage", ["dense", "factor"])
def test_graph_keeps_isolated_parts_and_says_what_it_is(storage: str, tmp_path: Path) -> None:
    nx = pytest.importorskip("networkx")
    import causalkit

    X = table(40, 6)
    network = Fit(shrinkage=None, storage=storage).fit(X)
    graph, frame = network.to_networkx(1e-4), network.to_frame(max_qvalue=1e-4)
    assert list(graph.nodes) == list(X.columns)
    assert 0 < graph.number_of_edges() == len(frame) < 15
    clr = np.log(X.to_numpy())
    clr = clr - clr.mean(axis=1, keepdims=True)
    for j, (_, values) in enumerate(graph.nodes(data=True)):
        assert values["partial_variance"] == pytest.approx(network.partial_variance_[j])
        assert values["mean_clr"] == pytest.approx(clr[:, j].mean())
    for row in frame.itertuples():
        values = graph.edges[row.part_a, row.part_b]
        assert values["weight"] == abs(row.partial_correlation)
        assert values["sign"] == np.sign(row.partial_correlation)
        assert (values["pvalue"], values["qvalue"]) == (row.pvalue, row.qvalue)
    assert graph.graph == {
        "shrinkage": 0.0,
        "null": "zero",
        "n": 40.0,
        "n_parts": 6,
        "causalkit_version": causalkit.__version__,
    }
    network.to_graphml(tmp_path / "net.graphml", 1e-4)
    again = nx.read_graphml(tmp_path / "net.graphml")
    assert {frozenset(e) for e in again.edges} == {frozenset(e) for e in graph.edges}
    assert set(again.nodes) == set(graph.nodes)


def test_graphs_without_networkx_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(ImportError, match="graphs need networkx: install it"):
        Fit(shrinkage=None).fit(table()).to_networkx()


# ---------------------------------------------------------------------- searches, files, copies


def test_grid_search_tunes_the_intensity() -> None:
    """Each score is the mean normal log-density of held-out rows in orthonormal coordinates."""
    from scipy import stats

    from tests.golden.composition.make_cups import helmert

    X, grid = table(24, 8), [0.05, 0.2, 0.5, 0.9]
    search = GridSearchCV(Fit(test=None), {"shrinkage": grid}, cv=KFold(3)).fit(X)
    v, scores = helmert(8), []
    for lam in grid:
        values = []
        for train, test in KFold(3).split(X):
            data = centre_logs(np.log(X.to_numpy()[train]))
            model = v.T @ matrix_of(shrink_logs(data, "basis", intensity=lam)) @ v
            z = np.log(X.to_numpy()) @ v
            density = stats.multivariate_normal(z[train].mean(axis=0), model)
            values.append(density.logpdf(z[test]).mean())
        scores.append(np.mean(values))
    assert_allclose(search.cv_results_["mean_test_score"], scores, rtol=1e-9)
    assert search.best_params_["shrinkage"] == grid[int(np.argmax(scores))]
    assert search.best_estimator_.shrinkage_ == search.best_params_["shrinkage"]


def test_pipeline_and_routed_rows() -> None:
    X, rng = table(60), np.random.default_rng(7)
    weight, controls, groups = rng.uniform(0.5, 2, 60), rng.normal(size=(60, 2)), np.arange(60) // 3
    pipeline = make_pipeline(Closure().set_output(transform="pandas"), Fit(shrinkage=None)).fit(X)
    assert_allclose(pipeline[-1].partial_correlation_, Fit(shrinkage=None).fit(X).partial_correlation_, atol=1e-10)
    with sklearn.config_context(enable_metadata_routing=True):
        request = {"sample_weight": True, "confounders": True, "groups": True}
        final = Fit(shrinkage=None).set_fit_request(**request)
        params = {"sample_weight": weight, "confounders": controls, "groups": groups}
        routed = make_pipeline(Closure(), final).fit(X, **params)[-1]
        assert_allclose(routed.pvalues_, Fit(shrinkage=None).fit(X, **params).pvalues_, rtol=1e-9)
        out = cross_validate(final, X, cv=KFold(3), params=params, return_estimator=True, return_indices=True)
        for fitted, train in zip(out["estimator"], out["indices"]["train"], strict=True):
            part = {key: value[train] for key, value in params.items()}
            direct = Fit(shrinkage=None).fit(X.iloc[train], **part)
            assert_allclose(fitted.pvalues_, direct.pvalues_, rtol=1e-9)


@pytest.mark.parametrize(
    "options", [{"shrinkage": None}, {"shrinkage": "basis"}, {"shrinkage": 0.3, "storage": "factor"}]
)
def test_copies_and_files_keep_the_fit(options: dict[str, Any], tmp_path: Path) -> None:
    X = table(12, 8) if options["shrinkage"] != 0.3 else table(6, 8)
    network = Fit(**options).fit(X)
    expected = network.to_frame(max_qvalue=1.0)
    save(network, tmp_path / "network")
    for again in (pickle.loads(pickle.dumps(network)), load(tmp_path / "network"), clone(network).fit(X)):
        pd.testing.assert_frame_equal(again.to_frame(max_qvalue=1.0), expected, check_exact=True)
        assert_allclose(again.partial_correlation_, network.partial_correlation_, atol=0)
        assert again.score(X) == network.score(X)
        assert repr(again) == repr(network)


def test_files_keep_groups_draws_and_streams(tmp_path: Path) -> None:
    X = table(40)
    grouped = Fit(shrinkage=None).fit(X, groups=np.arange(40) // 2)
    drawn = Fit(shrinkage="basis", test="bootstrap", n_resamples=15, random_state=0).fit(X)
    stream = Fit(shrinkage="basis", test=None).partial_fit(X[:20])
    for name, network in (("grouped", grouped), ("drawn", drawn), ("stream", stream)):
        save(network, tmp_path / name)
    again = load(tmp_path / "grouped")
    assert_allclose(again.pvalues_, grouped.pvalues_, atol=0)
    assert_allclose(again.inference([(0, 1)]).cov, grouped.inference([(0, 1)]).cov, atol=0)
    assert_allclose(load(tmp_path / "drawn").conf_int(), drawn.conf_int(), atol=0)
    later = load(tmp_path / "stream").partial_fit(X[20:])
    assert_allclose(later.partial_correlation_, stream.partial_fit(X[20:]).partial_correlation_, atol=0)
