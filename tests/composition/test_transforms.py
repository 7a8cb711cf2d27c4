"""Closure and log-ratios: formulas by loops, inverses, bases, names, containers, failures."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

from causalkit.composition.box_cox import BoxCoxCLR, box_cox_inverse
from causalkit.composition.contrasts import sign_contrasts
from causalkit.composition.parts import closed
from causalkit.composition.transforms import ALR, CLR, ILR, Closure
from causalkit.exceptions import NonFiniteError, NonPositiveError, NotFittedError, TooFewPartsError

NAMES = ["Si", "Al", "Fe", "Mg", "Ca"]
SIGNS = [[1, 1, -1, -1, -1], [1, -1, 0, 0, 0], [0, 0, 1, 1, -1], [0, 0, 1, -1, 0]]
WITH_INVERSE = [
    CLR(),
    ALR(),
    ALR(reference=1),
    ALR(reference=[0, 3]),
    ILR(),
    ILR(basis="helmert"),
    ILR(basis="hierarchical"),
    ILR(basis=SIGNS),
    BoxCoxCLR(),
    BoxCoxCLR(alpha=1e-3),
    BoxCoxCLR(alpha=1.5),
]


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(20250813)
    return pd.DataFrame(rng.lognormal(1.0, 0.8, size=(12, 5)), columns=NAMES, index=[f"cup{i}" for i in range(12)])


# ---------------------------------------------------------------------- formulas


def test_closure_by_hand(table: pd.DataFrame) -> None:
    out = Closure(total=100).fit_transform(table)
    for i, row in enumerate(table.to_numpy()):
        np.testing.assert_allclose(out[i], [100 * x / sum(row) for x in row], rtol=1e-14)


def test_closure_of_extreme_rows() -> None:
    """Sums that overflow or are subnormal, and zeros, still give proportions."""
    rows = np.array([[1e308, 1e308, 2e307], [1e-320, 1e-320, 0.0], [0.0, 3.0, 1.0]])
    out = Closure().fit_transform(rows)
    np.testing.assert_allclose(out[0], np.array([10, 10, 2]) / 22, rtol=1e-12)
    np.testing.assert_allclose(out[1], [0.5, 0.5, 0.0], rtol=1e-3)
    np.testing.assert_array_equal(out[2], [0.0, 0.75, 0.25])


def test_clr_and_alr_by_hand(table: pd.DataFrame) -> None:
    x = table.to_numpy()
    clr, alr = CLR().fit_transform(x), ALR(reference="Fe").fit_transform(table)
    group = ALR(reference=["Al", "Ca"]).fit_transform(table)
    for i in range(12):
        mean_log = math.fsum(math.log(value) for value in x[i]) / 5
        np.testing.assert_allclose(clr[i], [math.log(value) - mean_log for value in x[i]], atol=1e-13)
        np.testing.assert_allclose(alr[i], [math.log(x[i, j] / x[i, 2]) for j in (0, 1, 3, 4)], atol=1e-13)
        base = math.sqrt(x[i, 1] * x[i, 4])
        np.testing.assert_allclose(group[i], [math.log(value / base) for value in x[i]], atol=1e-13)


def test_pivot_and_helmert_by_hand(table: pd.DataFrame) -> None:
    x, parts = table.to_numpy(), 5

    def geometric_mean(values: np.ndarray) -> float:
        return math.prod(values) ** (1 / len(values))

    pivot, helmert = ILR().fit_transform(x), ILR(basis="helmert").fit_transform(x)
    for i in range(12):
        for k in range(1, parts):
            expected = math.sqrt((parts - k) / (parts - k + 1)) * math.log(x[i, k - 1] / geometric_mean(x[i, k:]))
            assert pivot[i, k - 1] == pytest.approx(expected, abs=1e-13)
            expected = math.sqrt(k / (k + 1)) * math.log(geometric_mean(x[i, :k]) / x[i, k])
            assert helmert[i, k - 1] == pytest.approx(expected, abs=1e-13)


def test_sign_matrix_by_hand(table: pd.DataFrame) -> None:
    """A balance is √(rs/(r+s)) times the log-ratio of the geometric means of its two sides."""
    logs = np.log(table.to_numpy())
    out = ILR(basis=np.array(SIGNS)).fit_transform(table)
    for k, row in enumerate(np.array(SIGNS)):
        r, s = (row == 1).sum(), (row == -1).sum()
        balance = math.sqrt(r * s / (r + s)) * (logs[:, row == 1].mean(axis=1) - logs[:, row == -1].mean(axis=1))
        np.testing.assert_allclose(out[:, k], balance, atol=1e-13)


def test_box_cox_by_hand(table: pd.DataFrame) -> None:
    x = table.to_numpy().copy()
    x[3, 1] = x[4, 0] = x[4, 2] = 0.0
    out = BoxCoxCLR(alpha=0.3).fit_transform(x)
    for i in range(12):
        powers = [(value / sum(x[i])) ** 0.3 for value in x[i]]
        np.testing.assert_allclose(out[i], [(value - sum(powers) / 5) / 0.3 for value in powers], atol=1e-13)


def test_box_cox_tends_to_clr(table: pd.DataFrame) -> None:
    """(x^α - 1)/α = log x + α(log x)²/2 + ..., so the error is of the order of α, also where x^α - 1 has no digits."""
    clr = CLR().fit_transform(table)
    for alpha in (1e-3, 1e-6, 1e-12):
        np.testing.assert_allclose(BoxCoxCLR(alpha=alpha).fit_transform(table), clr, atol=30 * alpha)


# ---------------------------------------------------------------------- bases


@pytest.mark.parametrize("basis", ["pivot", "helmert", "hierarchical", SIGNS])
def test_every_basis_keeps_distances(basis: object, table: pd.DataFrame) -> None:
    ilr = ILR(basis=basis).fit(table)
    contrasts = ilr.contrasts_
    np.testing.assert_allclose(contrasts.T @ contrasts, np.eye(4), atol=1e-14)
    np.testing.assert_allclose(contrasts.sum(axis=0), 0, atol=1e-14)
    clr, z = CLR().fit_transform(table), ilr.transform(table)
    distances = np.linalg.norm(clr[:, None] - clr[None], axis=2)
    np.testing.assert_allclose(np.linalg.norm(z[:, None] - z[None], axis=2), distances, atol=1e-12)


def test_a_given_contrast_matrix_is_used(table: pd.DataFrame) -> None:
    contrasts = ILR(basis=SIGNS).fit(table).contrasts_
    same = ILR(basis=contrasts).fit(table)
    np.testing.assert_array_equal(same.contrasts_, contrasts)
    two_parts = ILR(basis=np.array([[1, -1]])).fit([[1.0, 2.0]])
    np.testing.assert_allclose(two_parts.transform([[1.0, 2.0]]), [[math.log(0.5) / math.sqrt(2)]])


def test_the_hierarchical_basis_finds_the_groups() -> None:
    """Two groups of parts that move together: the first coordinate sets one against the other."""
    rng = np.random.default_rng(3)
    shared = rng.normal(size=(200, 2))
    x = np.exp(shared[:, [0, 1, 0, 1, 0]] + 0.1 * rng.normal(size=(200, 5)))
    root = np.sign(ILR(basis="hierarchical").fit(x).contrasts_[:, 0])
    np.testing.assert_array_equal(root, [1, -1, 1, -1, 1])


def test_the_hierarchical_basis_follows_ward_by_brute_force() -> None:
    """The closest pair in √τ is merged first; a merge of merged groups uses Ward's formula on squared distances."""
    rng = np.random.default_rng(4)
    x = rng.lognormal(size=(30, 5)) * np.exp(rng.normal(size=(30, 1)))
    logs = np.log(x)
    squared = {(i, j): np.var(logs[:, i] - logs[:, j], ddof=1) for i in range(5) for j in range(i)}
    distance = {frozenset([frozenset([i]), frozenset([j])]): value for (i, j), value in squared.items()}
    groups, merges = [frozenset([i]) for i in range(5)], []
    while len(groups) > 1:
        a, b = min(distance, key=distance.__getitem__)
        merges.append((a, b))
        groups = [g for g in groups if g not in (a, b)]
        for g in groups:
            na, nb, ng = len(a), len(b), len(g)
            to_a, to_b = distance[frozenset([a, g])], distance[frozenset([b, g])]
            between = distance[frozenset([a, b])]
            distance[frozenset([a | b, g])] = ((na + ng) * to_a + (nb + ng) * to_b - ng * between) / (na + nb + ng)
        groups.append(a | b)
        distance = {pair: value for pair, value in distance.items() if not pair & {a, b}}
    contrasts = ILR(basis="hierarchical").fit(x).contrasts_
    for column, (a, b) in zip(contrasts.T[::-1], merges, strict=True):
        sides = {frozenset(np.flatnonzero(column > 0)), frozenset(np.flatnonzero(column < 0))}
        assert sides == {a, b}


# ---------------------------------------------------------------------- inverses and invariances


@pytest.mark.parametrize("transformer", WITH_INVERSE, ids=str)
def test_inverse(transformer: object, table: pd.DataFrame) -> None:
    fitted = clone(transformer).set_params(total=100).fit(table)
    back = fitted.inverse_transform(fitted.transform(table))
    np.testing.assert_allclose(back, Closure(total=100).fit_transform(table), rtol=1e-9)


compositions = arrays(np.float64, (4, 5), elements=st.floats(1e-6, 1e6))


@settings(max_examples=40, deadline=None)
@given(x=compositions, scale=arrays(np.float64, (4, 1), elements=st.floats(1e-6, 1e6)))
def test_only_ratios_matter_and_inverses_return(x: np.ndarray, scale: np.ndarray) -> None:
    for transformer in WITH_INVERSE[:-3]:
        fitted = clone(transformer).fit(x)
        z = fitted.transform(x)
        np.testing.assert_allclose(fitted.transform(x * scale), z, atol=1e-9)
        np.testing.assert_allclose(fitted.inverse_transform(z), closed(x), rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    x=arrays(np.float64, (3, 4), elements=st.one_of(st.just(0.0), st.floats(1e-4, 1e4))),
    alpha=st.sampled_from([0.05, 0.5, 1.0, 2.0]),
)
def test_box_cox_inverse_with_zeros(x: np.ndarray, alpha: float) -> None:
    x = x + np.array([1.0, 0, 0, 0])
    values = BoxCoxCLR(alpha=alpha).fit(x + 1).transform(x)
    np.testing.assert_allclose(box_cox_inverse(values, alpha), closed(x), atol=1e-7)


def test_box_cox_inverse_of_large_tables_has_roots() -> None:
    """Σx = 1 and the centred powers are those that were asked for, for values that no data gave."""
    values = np.random.default_rng(1).normal(size=(50, 30)) * 0.05
    values -= values.mean(axis=1, keepdims=True)
    x = BoxCoxCLR(alpha=0.5).fit(np.ones((2, 30))).inverse_transform(values)
    np.testing.assert_allclose(x.sum(axis=1), 1)
    powers = (x**0.5 - (x**0.5).mean(axis=1, keepdims=True)) / 0.5
    np.testing.assert_allclose(powers, values, atol=1e-12)


# ---------------------------------------------------------------------- names and containers


def test_feature_names(table: pd.DataFrame) -> None:
    def names(transformer: object) -> list[str]:
        return list(transformer.fit(table).get_feature_names_out())

    assert names(Closure()) == NAMES
    assert names(CLR())[:2] == ["clr(Si)", "clr(Al)"]
    assert names(ALR(reference="Fe")) == ["log(Si/Fe)", "log(Al/Fe)", "log(Mg/Fe)", "log(Ca/Fe)"]
    assert names(ALR(reference=["Si", "Al"]))[2] == "log(Fe/gm(Si,Al))"
    assert names(ALR(reference=NAMES))[0] == "log(Si/gm(Si,Al,...,Ca))"
    assert names(ILR()) == ["pivot(Si)", "pivot(Al)", "pivot(Fe)", "pivot(Mg)"]
    assert names(ILR(basis="helmert")) == ["ilr1", "ilr2", "ilr3", "ilr4"]
    assert names(BoxCoxCLR())[4] == "boxcox(Ca)"
    assert list(CLR().fit(table.to_numpy()).get_feature_names_out())[:2] == ["clr(x0)", "clr(x1)"]
    assert CLR().fit(table.to_numpy()).get_feature_names_out(NAMES)[0] == "clr(Si)"


def test_references(table: pd.DataFrame) -> None:
    assert ALR().fit(table).reference_ == 4
    assert ALR(reference="Al").fit(table).reference_ == 1
    np.testing.assert_array_equal(ALR(reference=["Al", -1]).fit(table).reference_, [1, 4])


@pytest.mark.parametrize("transformer", [Closure(), *WITH_INVERSE], ids=str)
def test_containers_agree(transformer: object, table: pd.DataFrame) -> None:
    expected = clone(transformer).fit_transform(table.to_numpy())
    frame = clone(transformer).set_output(transform="pandas").fit_transform(table)
    assert list(frame.index) == list(table.index)
    np.testing.assert_array_equal(frame.to_numpy(), expected)
    polars = clone(transformer).set_output(transform="polars").fit_transform(pl.from_pandas(table))
    assert polars.columns == list(frame.columns)
    np.testing.assert_array_equal(polars.to_numpy(), expected)
    np.testing.assert_array_equal(clone(transformer).fit_transform(table.to_numpy().tolist()), expected)
    again = pickle.loads(pickle.dumps(clone(transformer).fit(table)))
    np.testing.assert_array_equal(again.transform(table), expected)


def test_rows_do_not_depend_on_blocks() -> None:
    """Tables larger than one block of rows equal their rows, one by one."""
    x = np.random.default_rng(5).lognormal(size=(700, 200))
    for transformer in (CLR(), ALR(), ALR(reference=[1, 5]), ILR()):
        whole = transformer.fit(x).transform(x)
        rows = np.vstack([transformer.transform(x[i : i + 1]) for i in (0, 326, 327, 328, 699)])
        np.testing.assert_allclose(whole[[0, 326, 327, 328, 699]], rows, atol=1e-12)


def test_pipeline_and_search(table: pd.DataFrame) -> None:
    """What the contract tests leave out, because these transformers take no row-wise arguments."""
    y = np.log(table["Si"] / table["Al"]).to_numpy()
    pipeline = make_pipeline(ALR(reference="Al"), LinearRegression()).fit(table, y)
    np.testing.assert_allclose(pipeline.predict(table), y, atol=1e-12)
    search = GridSearchCV(
        Pipeline([("ratios", ALR()), ("first", PCA(1)), ("line", LinearRegression())]),
        {"ratios__reference": ["Si", "Al", "Ca"]},
        cv=3,
        error_score="raise",
    ).fit(table, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# ---------------------------------------------------------------------- failures


def _changed(table: pd.DataFrame, value: float) -> pd.DataFrame:
    out = table.copy()
    out.loc["cup7", "Mg"] = value
    return out


@pytest.mark.parametrize("transformer", [Closure(), *WITH_INVERSE], ids=str)
def test_amounts_are_checked(transformer: object, table: pd.DataFrame) -> None:
    estimator = clone(transformer)
    for value, word in ((np.nan, "NaN"), (np.inf, "infinity")):
        with pytest.raises(NonFiniteError, match=rf"X contains NaN or infinity.*row 'cup7', part 'Mg', {word}"):
            estimator.fit(_changed(table, value))
    with pytest.raises(NonPositiveError, match=r"Negative values.*row 'cup7', part 'Mg', -2.*amounts"):
        estimator.fit(_changed(table, -2.0))
    with pytest.raises(NonPositiveError, match="rows of zeros only: 'cup7'"):
        estimator.fit(table * (table.index != "cup7")[:, None])
    with pytest.raises(NotFittedError):
        estimator.transform(table)
    estimator.fit(table)
    for value, error in ((np.nan, NonFiniteError), (-1.0, NonPositiveError)):
        with pytest.raises(error):
            estimator.transform(_changed(table, value))
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.transform(table.rename(columns={"Si": "Sr"}))
    with pytest.raises(ValueError, match="expecting 5 features"):
        clone(transformer).fit(table.to_numpy()).transform(table.to_numpy()[:, :4])


@pytest.mark.parametrize("transformer", [CLR(), ALR(), ILR()], ids=str)
def test_zeros_are_refused_where_a_logarithm_is_taken(transformer: object, table: pd.DataFrame) -> None:
    zeros = _changed(_changed(table, 0.0), 0.0)
    zeros.loc["cup2", ["Mg", "Fe"]] = 0.0
    message = (
        r"3 zeros in 60 cells \(worst part: 'Mg' with 2 of 12; worst row: 'cup2' with 2 of 5\).*multiplicative.*lrsvd"
    )
    with pytest.raises(NonPositiveError, match=message):
        clone(transformer).fit(zeros)
    fitted = clone(transformer).fit(table)
    with pytest.raises(NonPositiveError, match="3 zeros"):
        fitted.transform(zeros)


@pytest.mark.parametrize("transformer", [Closure(), BoxCoxCLR()], ids=str)
def test_single_zeros_pass_where_no_logarithm_is_taken(transformer: object, table: pd.DataFrame) -> None:
    fitted = clone(transformer).fit(_changed(table, 0.0))
    assert np.isfinite(fitted.transform(table * [1, 1, 1, 0, 1])).all()
    with pytest.raises(NonPositiveError, match=r"zero in every row.*'Mg'"):
        clone(transformer).fit(table * [1, 1, 1, 0, 1])


@pytest.mark.parametrize("transformer", [CLR(), ALR(), ILR(), BoxCoxCLR()], ids=str)
def test_one_part_is_too_few(transformer: object) -> None:
    with pytest.raises(TooFewPartsError, match=r"1 parts.*at least 2"):
        clone(transformer).fit([[1.0], [2.0]])


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("Zn", "'Zn', which X does not have; its parts are 'Si'"),
        (5, "from -5 to 4; got 5"),
        (None, "got None"),
        (1.0, "got 1.0"),
        (True, "got True"),
        ([], "at least one"),
        (["Si", 0], "different parts"),
        (["Si", "Zn"], "'Zn'"),
    ],
)
def test_references_are_checked(reference: object, message: str, table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=message):
        ALR(reference=reference).fit(table)


@pytest.mark.parametrize(
    ("basis", "message"),
    [
        ("pivots", "basis must be one of 'pivot'"),
        (None, "basis must be one of"),
        (np.eye(5), r"sign matrix of shape \(4, 5\).*got shape \(5, 5\)"),
        ([["a"] * 5] * 4, "matrix of numbers"),
        ([*SIGNS[:3], [0, 0, 1, 1, 0]], "row 3.*lacks one of the two signs"),
        ([*SIGNS[:3], [0, 0, 2, -1, 0]], "other than 1, 0 and -1 in row 3"),
        ([*SIGNS[:3], [0, 1, -1, 0, 0]], r"row 3 is not orthogonal to row 0"),
        (2 * ILR().fit(np.ones((1, 5))).contrasts_, "column 0 does not have length 1"),
        (np.abs(ILR().fit(np.ones((1, 5))).contrasts_), "column 0 of the contrast matrix does not sum to zero"),
        (np.full((5, 4), np.nan), "column 0 of the contrast matrix does not sum to zero"),
    ],
)
def test_bases_are_checked(basis: object, message: str, table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=message):
        ILR(basis=basis).fit(table)


def test_a_repeated_sign_row_is_named() -> None:
    with pytest.raises(ValueError, match="row 1 is not orthogonal to row 0"):
        sign_contrasts(np.array([[1, -1, 0], [1, -1, 0]]))


@pytest.mark.parametrize("total", [0, -1.0, np.inf, np.nan, None, "1", True])
def test_total_is_checked(total: object, table: pd.DataFrame) -> None:
    for transformer in (Closure(), CLR(), ALR(), ILR(), BoxCoxCLR()):
        with pytest.raises(ValueError, match="total must be a positive number"):
            clone(transformer).set_params(total=total).fit(table)


@pytest.mark.parametrize("alpha", [0, -0.5, np.nan, None, "half"])
def test_alpha_is_checked(alpha: object, table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="alpha"):
        BoxCoxCLR(alpha=alpha).fit(table)


def test_inverse_checks_its_coordinates(table: pd.DataFrame) -> None:
    with pytest.raises(NotFittedError):
        CLR().inverse_transform(table)
    with pytest.raises(ValueError, match="5 columns, but ILR expects 4 coordinates for 5 parts"):
        ILR().fit(table).inverse_transform(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="NaN or infinity"):
        CLR().fit(table).inverse_transform(np.full((1, 5), np.nan))
    with pytest.raises(ValueError, match=r"1 rows that no composition maps to.*row 1"):
        BoxCoxCLR().fit(table).inverse_transform([[0, 0, 0, 0, 0], [4, -1, -1, -1, -1]])


def test_a_failed_fit_leaves_the_old_one(table: pd.DataFrame) -> None:
    for transformer, bad in ((ALR(reference="Fe"), {"reference": "Zn"}), (ILR(), {"basis": "pivots"}), (CLR(), {})):
        fitted = clone(transformer).fit(table)
        state = {name: value for name, value in vars(fitted).items() if name.endswith("_")}
        with pytest.raises(ValueError):
            fitted.set_params(**bad).fit(_changed(table.rename(columns={"Si": "Sr"}), 0.0))
        assert all(vars(fitted)[name] is value for name, value in state.items())
