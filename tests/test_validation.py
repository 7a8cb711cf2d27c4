"""Bad input is refused in words; good input comes back as plain arrays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator

from causalkit.validation import (
    check_choice,
    check_column_names,
    check_fit_table,
    check_groups,
    check_integer,
    check_magnitude,
    check_matrix,
    check_probability,
    check_same_index,
    check_sample_weight,
    check_treatment,
    check_vector,
    column_name,
)

# ---------------------------------------------------------------------- vectors


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 4],
        (1.0, 2.0, 4.0),
        np.array([1, 2, 4], dtype=np.int8),
        np.array([[1.0], [2.0], [4.0]]),
        pd.Series([1, 2, 4], index=[7, 8, 9]),
        pd.Series([1, 2, 4], dtype="Int64"),
        pd.DataFrame({"y": [1.0, 2.0, 4.0]}),
        pl.Series("y", [1, 2, 4]),
        pl.DataFrame({"y": [1.0, 2.0, 4.0]}),
        ["1", "2", "4"],
    ],
    ids=lambda v: type(v).__module__.split(".")[0] + "." + type(v).__name__,
)
def test_vector_takes_every_container(values):
    checked = check_vector(values, "y", n_rows=3)
    assert type(checked) is np.ndarray
    assert checked.dtype == np.float64
    np.testing.assert_array_equal(checked, [1.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        (None, ValueError, "y is missing: expected one value per row, got None"),
        (3.0, ValueError, "y must hold one value per row, got a scalar"),
        (np.zeros((3, 2)), ValueError, r"y must be one column: .* got shape \(3, 2\)"),
        (np.zeros((3, 1, 1)), ValueError, "y must be one column"),
        ([1.0, 2.0], ValueError, "y has 2 rows, but treatment has 3: unequal lengths"),
        ([1.0, np.nan, np.nan], ValueError, r"NaN or infinity in 2 of 3 rows \(first: row 1, NaN\)"),
        ([1.0, 2.0, -np.inf], ValueError, r"NaN or infinity in 1 of 3 rows \(first: row 2, infinity\)"),
        (pd.Series([1, None, 2], dtype="Int64"), ValueError, r"first: row 1"),
        (["a", "b", "c"], ValueError, "y must hold numbers, got dtype"),
        ([1j, 2, 3], ValueError, "Complex data not supported: y must hold real numbers"),
        ([{}, 1, 2], TypeError, "y must hold numbers: .*argument must be"),
        (sparse.csr_matrix(np.eye(3)), TypeError, r"y is a sparse matrix: .* use y\.toarray\(\)"),
    ],
)
def test_vector_refusals(values, error, words):
    with pytest.raises(error, match=words):
        check_vector(values, "y", n_rows=3, like="treatment")


def test_vector_lets_nan_pass_on_request_and_keeps_huge_values():
    assert np.isnan(check_vector([1.0, np.nan], "y", allow_nan=True)[1])
    huge = np.full(3, 1.5e308)  # their sum overflows, they are finite
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(check_vector(huge, "y"), huge)


def test_empty_input_is_refused():
    with pytest.raises(ValueError, match=r"0 sample\(s\): y is empty; a minimum of 1 row is required"):
        check_vector([], "y")


# ---------------------------------------------------------------------- matrices


def test_matrix_names():
    values = np.arange(6.0).reshape(3, 2)
    for frame in (pd.DataFrame(values, columns=["a", "b"]), pl.DataFrame(values, schema=["a", "b"])):
        matrix, names = check_matrix(frame, "X")
        np.testing.assert_array_equal(matrix, values)
        assert names == ["a", "b"]
    assert check_matrix(values, "X")[1] == ["X0", "X1"]
    assert check_matrix(values[:, 0], "X")[1] == ["X0"]
    assert check_matrix(pd.Series([1.0], name="age"), "X")[1] == ["age"]
    assert check_matrix(pd.DataFrame(values), "X")[1] == ["0", "1"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((2, 2, 2)), r"X must be a table: expected shape \(n, p\), got shape \(2, 2, 2\)"),
        (np.zeros((4, 2)), "X has 4 rows, but y has 3"),
        ([[1, 2], [3, np.nan], [np.inf, np.nan]], r"NaN or infinity in 2 of 3 rows \(first: row 1, NaN\)"),
        ([["a", 1], ["b", 2], ["c", 3]], "X must hold numbers"),
    ],
)
def test_matrix_refusals(values, words):
    with pytest.raises(ValueError, match=words):
        check_matrix(values, "X", n_rows=3, like="y")


def test_column_name():
    assert column_name(pd.Series([1], name="wealth")) == "wealth"
    assert column_name(pd.DataFrame({"wealth": [1]})) == "wealth"
    assert column_name(pl.Series("wealth", [1])) == "wealth"
    for unnamed in (pd.Series([1]), pd.Series([1], name=3), pd.DataFrame({"a": [1], "b": [2]}), pl.Series([1]), [1]):
        assert column_name(unnamed) is None


# ---------------------------------------------------------------------- weights, groups, treatment


def test_weights():
    assert check_sample_weight(None, 3) is None
    np.testing.assert_array_equal(check_sample_weight([0, 1, 2], 3), [0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ([1.0, -2.0, -3.0], r"must not be negative: got 2 negative of 3 rows \(first: row 1, -2\)"),
        ([0.0, 0.0, 0.0], "must have a positive sum: all weights are zero"),
        ([1.0, 1.0], "sample_weight has 2 rows, but y has 3"),
        ([1.0, np.nan, 1.0], "contains NaN or infinity"),
    ],
)
def test_weight_refusals(weight, words):
    with pytest.raises(ValueError, match=words):
        check_sample_weight(weight, 3, like="y")


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["b", "a", "b", "c"]),
        pd.Series(["b", "a", "b", "c"]),
        pd.Series(["b", "a", "b", "c"], dtype="category"),
        pl.Series(["b", "a", "b", "c"]),
        [["b"], ["a"], ["b"], ["c"]],
    ],
    ids=lambda v: type(v).__module__.split(".")[0] + "." + type(v).__name__,
)
def test_groups_are_coded(labels):
    groups = check_groups(labels, 4)
    assert groups.n_groups == 3
    assert list(groups.labels[groups.codes]) == ["b", "a", "b", "c"]


def test_group_refusals():
    assert check_groups(None, 3) is None
    with pytest.raises(ValueError, match=r"groups must hold one label per row: expected shape \(3,\) like y"):
        check_groups([1, 2], 3, like="y")
    with pytest.raises(ValueError, match=r"cells has 2 missing labels \(first: row 0\)"):
        check_groups(np.array([None, "a", np.nan], dtype=object), 3, name="cells")


def test_treatment_is_coded_from_the_smallest_level():
    for values in ([2, 0, 2, 1], np.array([2.0, 0.0, 2.0, 1.0]), pd.Series([2, 0, 2, 1]), pl.Series([2, 0, 2, 1])):
        treatment = check_treatment(values, 4)
        np.testing.assert_array_equal(treatment.codes, [2, 0, 2, 1])
        assert list(treatment.levels) == [0, 1, 2]
    words = check_treatment(["treated", "control"], 2)
    assert list(words.levels) == ["control", "treated"]
    assert list(check_treatment(np.array([True, False]), 2).codes) == [1, 0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1, 1, 1], r"treatment has a single level, got \[.*1.*\]: a contrast needs at least two"),
        ([1.0, np.nan, 0.0], r"treatment has 1 missing levels \(first: row 1\)"),
        ([1, 0], r"treatment must hold one level per row: expected shape \(3,\)"),
        (np.zeros((3, 2)), "treatment must hold one level per row"),
    ],
)
def test_treatment_refusals(values, words):
    with pytest.raises(ValueError, match=words):
        check_treatment(values, 3)


def test_continuous_treatment_is_sent_to_the_regression():
    with pytest.raises(ValueError, match=r'has 21 levels, more than the 20 .* pass estimator="ols"'):
        check_treatment(np.arange(21), 21)
    assert len(check_treatment(np.arange(20), 20).levels) == 20


def test_probabilities():
    np.testing.assert_array_equal(check_probability([0.2, 0.9], "propensity", n_rows=2), [0.2, 0.9])
    matrix = [[0.2, 0.8], [0.5, 0.5]]
    np.testing.assert_array_equal(check_probability(matrix, "propensity", n_rows=2), matrix)
    with pytest.raises(ValueError, match=r"strictly between 0 and 1: got 1 rows outside \(first: row 1, 1\.0\)"):
        check_probability([0.2, 1.0], "propensity", n_rows=2)
    with pytest.raises(ValueError, match=r"got 1 rows outside \(first: row 0"):
        check_probability([[0.0, 1.0], [0.5, 0.5]], "propensity", n_rows=2)


# ---------------------------------------------------------------------- options and alignment


def test_choices_and_integers():
    check_choice("a", "method", ("a", "b"))
    check_choice(None, "method", (None, "b"))
    for bad in ("c", np.zeros(2), [1]):
        with pytest.raises(ValueError, match=r"method must be one of 'a', 'b'; got"):
            check_choice(bad, "method", ("a", "b"))
    assert check_integer(np.int64(3), "cv", low=2) == 3
    for bad in (1, 2.0, True, "3", None):
        with pytest.raises(ValueError, match="cv must be an integer at least 2; got"):
            check_integer(bad, "cv", low=2)
    with pytest.raises(ValueError, match="cv must be an integer between 2 and 5; got 6"):
        check_integer(6, "cv", low=2, high=5)


def test_equal_labels_in_another_order_are_refused():
    first, second = pd.Series([1.0, 2.0, 3.0], index=list("abc")), pd.Series([1.0, 2.0, 3.0], index=list("cab"))
    with pytest.raises(
        ValueError, match=r"predictions and y have the same index labels .* y\.loc\[predictions\.index\]"
    ):
        check_same_index(first, second, ("predictions", "y"))
    repaired = second.loc[first.index]
    check_same_index(first, repaired, ("predictions", "y"))
    # Nothing can be said of other labels, of labels that repeat, or without labels.
    check_same_index(first, second.set_axis([0, 1, 2]), ("a", "b"))
    check_same_index(first.set_axis([0, 0, 1]), second.set_axis([0, 1, 0]), ("a", "b"))
    check_same_index(first, [1.0, 2.0, 3.0], ("a", "b"))
    check_same_index([1.0], (2.0,), ("a", "b"))
    # Labels of two parts cannot equal labels of one, and pandas does not compare them.
    check_same_index(first, second.set_axis(pd.MultiIndex.from_product([["a"], range(3)])), ("a", "b"))


# ---------------------------------------------------------------------- tables of features


def test_rows_of_different_lengths_are_named():
    for check in (check_vector, check_matrix):
        with pytest.raises(ValueError, match=r"y must be an array.*rows of equal lengths"):
            check([[1.0, 2.0], [3.0]], "y")


def test_dates_are_no_numbers():
    for values in (np.array(["2020-01-01"], dtype="M8[ns]"), np.array([5], dtype="m8[s]")):
        with pytest.raises(TypeError, match=r"y must hold numbers, got .*turn dates and times into numbers"):
            check_vector(values, "y")


def test_labels_in_another_byte_order():
    swapped = np.array([3, 1, 3], dtype=np.dtype("i8").newbyteorder())
    assert list(check_groups(swapped, 3).codes) == [0, 1, 0]
    assert list(check_treatment(swapped, 3).codes) == [1, 0, 1]


@pytest.mark.parametrize("largest", [1e61, 1e-61, 5e-324])
def test_magnitudes_out_of_range(largest):
    with pytest.raises(ValueError, match=r"y is out of scale: the largest value has size .*Use other units"):
        check_magnitude(np.array([0.0, -largest]), "y")
    with pytest.raises(ValueError, match="X is out of scale: the largest value in column 1"):
        check_magnitude(np.array([[1.0, largest], [2.0, 0.0]]), "X")
    with pytest.raises(ValueError, match="sample_weight is out of scale"):
        check_sample_weight([0.0, largest], 2)


def test_magnitudes_in_range():
    check_magnitude(np.array([[0.0, 1e59, 1e-59], [0.0, 0.0, -1e-300]]), "X")
    check_magnitude(np.empty((0, 2)), "X")
    check_magnitude(np.array([1.0, 2.0], dtype=np.float32), "X")


def test_names_of_columns():
    with pytest.raises(ValueError, match=r"X has several columns of the same name, \['a'\]: rename them"):
        check_column_names(pd.DataFrame(np.zeros((2, 3)), columns=list("aba")), "X")
    with pytest.raises(TypeError, match="X has column names that are strings and others that are not"):
        check_column_names(pd.DataFrame(np.zeros((2, 2)), columns=["a", 0]), "X")
    for names in (["a", "b"], [0, 1]):
        check_column_names(pd.DataFrame(np.zeros((2, 2)), columns=names), "X")
    check_column_names(np.zeros((2, 2)), "X")


class Recorder(BaseEstimator):
    """Takes what is recorded of a table."""


def test_fit_tables_are_those_of_scikit_learn():
    X, y = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [0.0, 1.0, 0.0]}), [1, 2, 3]
    recorder = Recorder()
    table, outcome = check_fit_table(recorder, X, y, y_numeric=True, magnitude=True)
    np.testing.assert_array_equal(table, X.to_numpy())
    np.testing.assert_array_equal(outcome, y)
    assert list(recorder.feature_names_in_) == ["a", "b"] and recorder.n_features_in_ == 2
    with pytest.raises(ValueError, match="feature names should match"):
        check_fit_table(recorder, X[["b", "a"]], reset=False)


@pytest.mark.parametrize(
    ("X", "y", "error", "words"),
    [
        ({"a": [1.0]}, None, TypeError, "X must be a table of numbers: .*got dict"),
        ((row for row in [[1.0], [2.0]]), None, TypeError, "X must be a table of numbers: .*got generator"),
        ("words", None, TypeError, "X must be a table of numbers: .*got str"),
        ([["a"], ["b"]], None, ValueError, "X must hold numbers"),
        ([[1.0], [2.0, 3.0]], None, ValueError, "X must be an array.*equal lengths"),
        ([[1.0], [2.0]], ["a", "b"], ValueError, "y must hold numbers"),
        ([[1.0], [2.0]], np.array([1.0, None], dtype=object), ValueError, "y contains NaN or infinity in 1 of 2 rows"),
        ([[1e70], [2.0]], [1.0, 2.0], ValueError, "X is out of scale"),
        ([[1.0], [2.0]], [1e70, 2.0], ValueError, "y is out of scale"),
    ],
)
def test_fit_tables_that_are_refused(X, y, error, words):
    given = () if y is None else (y,)
    options = {} if y is None else {"y_numeric": True}
    with pytest.raises(error, match=words):
        check_fit_table(Recorder(), X, *given, magnitude=True, **options)
