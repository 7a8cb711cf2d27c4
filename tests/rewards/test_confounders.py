"""Confounders as users give them: roles of columns, levels, missing values, new rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from causalkit.exceptions import UnseenLevelError
from causalkit.rewards.confounders import (
    MISSING_LEVEL,
    Confounders,
    confounder_frame,
    refuse_unseen,
    resolve_roles,
)


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "author": ["ann", "bob", None, "ann", "cyd", "bob"],
            "month": [1, 2, 10, 1, 2, 10],
            "hour": [1.0, 25.0, 23.5, 0.0, 24.0, -1.0],
            "paid": [True, False, True, True, False, False],
            "kind": pd.Categorical(["a", "b", "a", "b", "a", "b"], categories=["b", "a", "never"]),
        },
        index=list("uvwxyz"),
    )


def coded(frame: pd.DataFrame | None = None, **roles: Any) -> Confounders:
    frame = confounder_frame(table() if frame is None else frame, None)
    names = {"categorical": None, "cyclic": None, "interactions": None} | roles
    return Confounders.of_fit(frame, resolve_roles(frame, **names))


# ---------------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("given", "columns"),
    [
        (np.arange(4.0), ["c0"]),
        (np.arange(8.0).reshape(4, 2), ["c0", "c1"]),
        ([[1.0, "a"], [2.0, "b"], [3.0, "a"], [4.0, "b"]], ["c0", "c1"]),
        (pd.Series([1.0, 2, 3, 4], name="age"), ["age"]),
        (pd.Series([1.0, 2, 3, 4]), ["c0"]),
        (pl.Series("age", [1.0, 2, 3, 4]), ["age"]),
        (pl.DataFrame({"age": [1.0, 2, 3, 4], "who": list("abab")}), ["age", "who"]),
        ({"age": np.arange(4.0), 7: list("abab")}, ["age", "7"]),
        (pd.DataFrame({3: np.arange(4.0)}), ["3"]),
    ],
)
def test_tables_of_any_kind(given: Any, columns: list[str]) -> None:
    frame = confounder_frame(given, 4)
    assert list(frame.columns) == columns
    assert len(frame) == 4
    resolve_roles(frame, None, None, None)
    with pytest.raises(ValueError, match="confounders has 4 rows, but X has 5: pass the same rows"):
        confounder_frame(given, 5)


def test_object_arrays_and_lists_of_rows_keep_numbers_as_numbers() -> None:
    for rows in (np.array([[1.0, "a"], [2.0, "b"]], dtype=object), [[1.0, "a"], [2.0, "b"]]):
        roles = resolve_roles(confounder_frame(rows, 2), None, None, None)
        assert (roles.numeric, roles.categorical) == (("c0",), ("c1",))


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (np.zeros((2, 2, 2)), ValueError, r"table of rows by columns: got shape \(2, 2, 2\)"),
        (np.array(3.0), ValueError, r"got shape \(\)"),
        (pd.DataFrame(np.ones((2, 2)), columns=["a", "a"]), ValueError, r"same name, \['a'\]: rename"),
        (
            pd.DataFrame({"when": pd.to_datetime(["2016-01-05", "2016-09-28"])}),
            TypeError,
            "'when' is a datetime: derive",
        ),
        (
            pl.DataFrame({"when": ["2016-01-05", "2016-09-28"]}).with_columns(pl.col("when").str.to_datetime()),
            TypeError,
            "month, weekday, hour.*`cyclic` or `categorical`",
        ),
    ],
)
def test_tables_that_are_refused(given: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        confounder_frame(given, None)


# ---------------------------------------------------------------------- roles


def test_roles_go_by_type() -> None:
    roles = coded().roles
    assert roles.numeric == ("month", "hour")
    assert roles.categorical == ("author", "paid", "kind")
    assert roles.factor_columns == (("author",), ("paid",), ("kind",))
    assert roles.integer_coded == ("month",)  # looks like codes, and the diagnostics will say so


def test_roles_as_named() -> None:
    roles = coded(categorical=["author", "month", "kind"], cyclic={"hour": 24}).roles
    assert roles.numeric == ("hour", "paid")  # a bool that is not named is a number
    assert roles.integer_coded == ()
    assert roles.cyclic == {"hour": 24.0}
    roles = coded(interactions=[("author", "month")]).roles
    assert roles.factor_columns == (("author", "month"), ("paid",), ("kind",))
    assert roles.numeric == ("hour",)
    only = confounder_frame(pd.DataFrame({"c": [1, 2]}), None)
    assert resolve_roles(only, "c", None, None).categorical == ("c",)


def test_many_integers_are_not_taken_for_codes() -> None:
    frame = pd.DataFrame({"many": np.arange(21), "few": np.arange(21) % 20, "real": np.arange(21) % 2 / 2})
    assert resolve_roles(frame, None, None, None).integer_coded == ("few",)
    assert resolve_roles(frame, None, {"few": 20}, None).integer_coded == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"categorical": ["city"]},
            r"categorical names 'city'.*available: \['author', 'month', 'hour', 'paid', 'kind'",
        ),
        ({"cyclic": {"day": 7}}, r"cyclic names 'day'.*available: \['author'"),
        ({"interactions": [("author", "city")]}, r"interactions names 'city'.*available: \['author'"),
        ({"cyclic": {"hour": 0}}, r"cyclic\['hour'\] must be a positive period, such as 24 for hours; got 0"),
        ({"cyclic": {"hour": 24}, "categorical": ["hour", "author", "kind"]}, "'hour' is named in `cyclic` and is cat"),
        ({"categorical": ["kind"]}, "column 'author' holds text and is not in `categorical`: name it there"),
    ],
)
def test_roles_that_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        coded(**options)


# ---------------------------------------------------------------------- codes


def test_levels_are_sorted_and_a_missing_value_is_one() -> None:
    found = coded()
    author, _, kind = found.factors
    assert author.levels.tolist() == [MISSING_LEVEL, "ann", "bob", "cyd"]
    assert author.codes.tolist() == [1, 2, 0, 1, 3, 2]
    assert kind.levels.tolist() == ["a", "b"]  # categories without rows are no levels
    assert found.n == 6
    assert_array_equal(found.numeric[:, 0], [1, 2, 10, 1, 2, 10])
    with_nan = table().assign(author=["ann", np.nan, None, "ann", pd.NA, "bob"])
    assert coded(with_nan).factors[0].codes.tolist() == [1, 0, 0, 1, 0, 2]


def test_numbers_and_texts_of_one_look_are_different_levels() -> None:
    found = coded(pd.DataFrame({"a": pd.Series([1, "1", 1, "1"], dtype=object)}))
    assert found.factors[0].n_levels == 2
    assert found.factors[0].codes[0] == found.factors[0].codes[2] != found.factors[0].codes[1]


def test_an_interaction_is_the_joined_column() -> None:
    joined = table().assign(cell=[f"{a}|{m}" for a, m in zip(table()["author"], table()["month"], strict=True)])
    one = coded(interactions=[("author", "month")]).factors[0]
    two = coded(joined, categorical=["cell", "author", "kind"]).factors[-1]
    assert one.name == "author:month"
    assert one.levels[one.codes[0]] == ("ann", 1)
    assert one.n_levels == two.n_levels == 5
    assert len(set(zip(one.codes, two.codes, strict=True))) == 5


def test_cyclic_columns_are_taken_modulo_their_period() -> None:
    assert_array_equal(coded(cyclic={"hour": 24}).numeric[:, 1], [1.0, 1.0, 23.5, 0.0, 0.0, 23.0])


def test_design_and_its_names() -> None:
    found = coded(table()[["month", "author"]])
    expected = np.column_stack([[1, 2, 10, 1, 2, 10], np.eye(4)[[1, 2, 0, 1, 3, 2]]])
    assert_array_equal(found.design(), expected)
    assert_array_equal(found.design(drop_first=True), expected[:, [0, 2, 3, 4]])
    assert found.design_names() == ["month", "author=(missing)", "author=ann", "author=bob", "author=cyd"]
    assert found.design_names(drop_first=True) == ["month", "author=ann", "author=bob", "author=cyd"]
    assert_array_equal(found.matrix(), np.column_stack([[1, 2, 10, 1, 2, 10], [1, 2, 0, 1, 3, 2]]))
    some = found.take([4, 0])
    assert_array_equal(some.design(), expected[[4, 0]])
    assert found.without_rows().n == 0


# ---------------------------------------------------------------------- new rows


def test_new_rows_get_the_codes_of_the_fit() -> None:
    found = coded(table()[["author", "hour"]])
    new = pd.DataFrame({"other": [1, 2, 3, 4], "hour": [1.0] * 4, "author": ["cyd", "dan", "eve", "dan"]})
    again = found.without_rows().of_new(confounder_frame(new, 4))
    assert again.factors[0].codes.tolist() == [3, -1, -2, -1]  # rows of one unseen level stay together
    assert_array_equal(again.design()[:, 1:], [[0, 0, 0, 1], [0] * 4, [0] * 4, [0] * 4])
    with pytest.raises(
        UnseenLevelError, match=r"'author' has levels unseen in fit: dan \(2 rows\), eve \(1 rows\)\. Try"
    ):
        refuse_unseen(again, new, "Try another.")
    refuse_unseen(found.of_new(table()), table(), "")
    with pytest.raises(ValueError, match=r"confounders lacks the columns \['hour'\]: expected \['author', 'hour'\]"):
        found.of_new(new.drop(columns="hour"))


def test_unseen_cells_of_seen_levels_are_unseen() -> None:
    found = coded(table()[["author", "month"]], interactions=[("author", "month")])
    new = pd.DataFrame({"author": ["cyd", "cyd", None], "month": [2, 1, 10]})
    assert found.of_new(new).factors[0].codes.tolist() == [found.factors[0].codes[4], -1, found.factors[0].codes[2]]


def test_many_unseen_levels_are_counted() -> None:
    found = coded(pd.DataFrame({"author": list("ab")}))
    new = pd.DataFrame({"author": list("ghijklm")})
    with pytest.raises(UnseenLevelError, match="and 2 more"):
        refuse_unseen(found.of_new(new), new, "")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            [1.0, np.nan, np.inf, 2.0],
            r"'price' contains NaN or infinity in 2 rows \(first: \[1, 2\]\): impute it, or add",
        ),
        (pd.array([1, None, 3, 4], dtype="Int64"), r"NaN or infinity in 1 rows \(first: \[1\]\)"),
        ([1j, 2, 3, 4], "'price' must hold real numbers; got complex"),
    ],
)
def test_numbers_must_be_finite(values: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        coded(pd.DataFrame({"price": values}))
