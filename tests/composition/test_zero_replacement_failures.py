"""What zero replacement refuses, and what it warns of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from causalkit.composition.zero_replacement import ZERO_METHODS, ZeroReplacement
from causalkit.exceptions import (
    ConvergenceWarning,
    NonFiniteError,
    NonPositiveError,
    NotFittedError,
    ZeroReplacementError,
    ZeroReplacementWarning,
)

COUNTS = pd.DataFrame(
    [[30, 0, 5, 7], [13, 2, 0, 9], [10, 4, 6, 0], [28, 1, 2, 3], [21, 3, 1, 5], [18, 2, 4, 4]],
    columns=["oak", "elm", "ash", "fir"],
    index=["s1", "s2", "s3", "s4", "s5", "s6"],
    dtype=float,
)


def changed(row: str, part: str, value: float) -> pd.DataFrame:
    out = COUNTS.copy()
    out.loc[row, part] = value
    return out


@pytest.mark.parametrize("method", ZERO_METHODS)
def test_amounts_are_checked(method: str) -> None:
    model = ZeroReplacement(method=method, n_components=1)
    for value, error in ((np.nan, NonFiniteError), (np.inf, NonFiniteError), (-1.0, NonPositiveError)):
        with pytest.raises(error, match="row 's4', part 'fir'"):
            model.fit(changed("s4", "fir", value))
    with pytest.raises(NonPositiveError, match="rows of zeros only: 's2'"):
        model.fit(COUNTS * (COUNTS.index != "s2")[:, None])
    with pytest.raises(NonPositiveError, match=r"zero in every row.*: 'ash'"):
        model.fit(COUNTS * [1, 1, 0, 1])
    with pytest.raises(NotFittedError):
        model.transform(COUNTS)
    fitted = ZeroReplacement(method=method, n_components=1).fit(COUNTS)
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.transform(COUNTS.rename(columns={"oak": "yew"}))
    with pytest.raises(NonFiniteError):
        fitted.transform(changed("s4", "fir", np.nan))


@pytest.mark.parametrize("method", ["gbm", "sq", "bl", "czm", "james_stein"])
def test_count_methods_refuse_fractions(method: str) -> None:
    message = rf"'{method}' expects counts: X has 1 cells.*part 'elm', 2.5.*multiplicative, lrem or lrsvd"
    with pytest.raises(ZeroReplacementError, match=message):
        ZeroReplacement(method=method).fit(changed("s2", "elm", 2.5))
    with pytest.raises(ZeroReplacementError, match=message):
        ZeroReplacement(method=method).fit(COUNTS).transform(changed("s2", "elm", 2.5))


@pytest.mark.parametrize("method", ["gbm", "sq", "bl"])
def test_a_part_seen_in_one_row_has_no_prior_there(method: str) -> None:
    alone = COUNTS.copy()
    alone["fir"] = [0, 0, 7, 0, 0, 0]
    with pytest.raises(ZeroReplacementError, match=r"'fir' was seen in row 2 only.*prior is 0"):
        ZeroReplacement(method=method, max_zero_fraction=0.9).fit(alone)
    assert (ZeroReplacement(method="czm", max_zero_fraction=0.9).fit_transform(alone) > 0).all()


@pytest.mark.parametrize("method", ZERO_METHODS)
def test_parts_of_mostly_zeros_are_named(method: str) -> None:
    sparse = COUNTS.copy()
    sparse["fir"] = [0, 0, 7, 0, 0, 0]
    message = r"1 parts with more than max_zero_fraction=0.8 zeros: 'fir' \(0.833\)"
    with pytest.raises(ZeroReplacementError, match=message):
        ZeroReplacement(method=method).fit(sparse)


@pytest.mark.parametrize("method", ["multiplicative", "lrem"])
def test_replaced_mass_must_leave_something(method: str) -> None:
    with pytest.raises(ZeroReplacementError, match=r"detection_limit is too large for .* rows: in row .* not below"):
        ZeroReplacement(method=method, detection_limit=1e3).fit(COUNTS)


def test_replaced_mass_of_counts_must_leave_something() -> None:
    """Shares of .5 in training do not cap r = 1/N, and a new row with one read lacks three parts."""
    train = [[0, 5, 5, 0], [5, 0, 0, 5], [0, 0, 5, 5], [5, 5, 0, 0]]
    model = ZeroReplacement(method="czm", fraction=1.0, threshold=1.0).fit(train)
    with pytest.raises(ZeroReplacementError, match=r"replaced mass of row 1 is 1.5 of its total 1"):
        model.transform([[1, 1, 1, 1], [1, 0, 0, 0]])


def test_lrem_needs_a_whole_part_and_enough_rows() -> None:
    with pytest.raises(ZeroReplacementError, match=r"every part has zeros. Use lrsvd"):
        ZeroReplacement(method="lrem").fit(changed("s5", "oak", 0))
    with pytest.raises(ZeroReplacementError, match=r"more rows than parts.*got 4 rows and 4 parts. Use lrsvd"):
        ZeroReplacement(method="lrem").fit(COUNTS.iloc[:4])
    fitted = ZeroReplacement(method="lrem").fit(COUNTS)
    with pytest.raises(ZeroReplacementError, match="reference part 'oak', which is zero in 1 rows"):
        fitted.transform(changed("s5", "oak", 0))
    holes = COUNTS * np.array([[1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]])
    with pytest.raises(ZeroReplacementError, match='initial="complete" needs rows without zeros; got 1'):
        ZeroReplacement(method="lrem", initial="complete").fit(holes)


def test_lrem_names_dependent_parts() -> None:
    rng = np.random.default_rng(0)
    x = rng.lognormal(size=(20, 3))
    x = np.column_stack([np.ones(20), np.ones(20), x])
    x[:5, 4] = 0.0
    with pytest.raises(ZeroReplacementError, match=r"full rank; those of x1, x2, x3 are linearly dependent"):
        ZeroReplacement(method="lrem").fit(x)


def test_lrsvd_needs_degrees_of_freedom() -> None:
    with pytest.raises(
        ZeroReplacementError, match=r"n_components=3 is too many for lrsvd on 6 rows and 4 parts: at most 2"
    ):
        ZeroReplacement(method="lrsvd", n_components=3).fit(COUNTS)
    assert (ZeroReplacement(method="lrsvd", n_components=2).fit_transform(COUNTS) > 0).all()


def test_lognormal_needs_variation() -> None:
    flat = COUNTS.copy()
    flat["elm"] = [0, 2, 2, 2, 2, 2]
    with pytest.raises(ZeroReplacementError, match=r"two distinct positive values.*'elm' has one"):
        ZeroReplacement(method="lognormal").fit(flat)
    flat["elm"] = 2.0
    fitted = ZeroReplacement(method="lognormal").fit(flat)
    with pytest.raises(ZeroReplacementError, match="zeros of 'elm': the part was constant in training"):
        fitted.transform(COUNTS)


def test_james_stein_needs_two_parts_in_a_row() -> None:
    fitted = ZeroReplacement(method="james_stein").fit(COUNTS)
    alone = pd.DataFrame([[1, 2, 3, 4], [9, 0, 0, 0]], columns=COUNTS.columns)
    with pytest.raises(ZeroReplacementError, match=r"1 rows that hold a single part \(first: row 1\)"):
        fitted.transform(alone)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (0.0, "must be positive and finite: .* 1 values that are not positive"),
        (-1.0, "must be positive and finite"),
        (np.nan, "must be positive and finite"),
        (np.inf, "must be positive and finite"),
        ([1.0, 0.5, 0.0, 1.0], "1 values that are not positive"),
        ([1.0, 2.0], r"shape \(4,\) per part, or shape \(6, 4\) per cell; got shape \(2,\)"),
        (np.ones((2, 4)), r"got shape \(2, 4\)"),
        ("low", "must be positive numbers"),
    ],
)
@pytest.mark.parametrize("method", ["multiplicative", "lognormal", "lrem", "lrsvd", "gbm"])
def test_limits_are_checked(method: str, limit: Any, message: str) -> None:
    with pytest.raises(ZeroReplacementError, match=message):
        ZeroReplacement(method=method, detection_limit=limit).fit(COUNTS)


def test_limits_per_cell_belong_to_the_training_rows() -> None:
    fitted = ZeroReplacement(detection_limit=np.full((6, 4), 0.5)).fit(COUNTS)
    with pytest.raises(ZeroReplacementError, match=r"per cell, for 6 training rows; X has 2 rows.*shape \(4,\)"):
        fitted.transform(COUNTS.iloc[:2])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"method": "zero"}, "method must be one of 'multiplicative'"),
        ({"method": None}, "method must be one of"),
        ({"output": "logs"}, "output must be one of"),
        ({"initial": "best"}, "initial must be one of"),
        ({"fraction": 0}, "fraction must be a number above 0 and at most 1; got 0"),
        ({"fraction": 1.5}, "fraction must be"),
        ({"threshold": np.nan}, "threshold must be"),
        ({"mixing": "half"}, "mixing must be"),
        ({"max_zero_fraction": -0.1}, "max_zero_fraction must be"),
        ({"n_components": 0}, "n_components must be an integer at least 1"),
        ({"n_components": 1.5}, "n_components must be an integer"),
        ({"max_iter": 0}, "max_iter must be an integer at least 1"),
        ({"tol": 0}, "tol must be a positive number"),
        ({"tol": None}, "tol must be a positive number"),
    ],
)
def test_options_are_checked(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ZeroReplacement(**option).fit(COUNTS)


def test_a_failed_fit_leaves_the_old_one() -> None:
    model = ZeroReplacement(method="gbm").fit(COUNTS)
    before = model.transform(COUNTS)
    state = {name: value for name, value in vars(model).items() if name.endswith("_")}
    with pytest.raises(ZeroReplacementError):
        model.fit(changed("s2", "elm", 2.5))
    assert all(vars(model)[name] is value for name, value in state.items())
    np.testing.assert_array_equal(model.transform(COUNTS), before)


# ---------------------------------------------------------------------- warnings


def test_a_row_of_mostly_replaced_mass_is_reported() -> None:
    message = r"1 rows get more than 30% of their mass from replaced zeros \(most: row 2"
    small = COUNTS.copy()
    small.loc["s3"] = [1, 0, 1, 0]
    with pytest.warns(ZeroReplacementWarning, match=message):
        ZeroReplacement(detection_limit=1.0).fit_transform(small)
    fitted = ZeroReplacement(detection_limit=1.0).fit(small)
    with pytest.warns(ZeroReplacementWarning, match=message):
        fitted.transform(small)


@pytest.mark.parametrize("method", ["multiplicative", "lognormal", "lrem", "lrsvd"])
def test_an_observed_value_below_its_limit_is_reported(method: str) -> None:
    limits = [1.0, 1.5, 1.0, 1.0]
    model = ZeroReplacement(method=method, detection_limit=limits, output="counts", n_components=1)
    with pytest.warns(
        ZeroReplacementWarning, match=r"1 observed values lie below.*row 3, part 'elm', 1\): they are kept"
    ):
        out = model.fit_transform(COUNTS)
    np.testing.assert_array_equal(out[COUNTS > 0], COUNTS.to_numpy()[COUNTS > 0])


@pytest.mark.parametrize("method", ["gbm", "czm", "minimum"])
def test_limits_that_are_not_used_are_not_compared(method: str, recwarn: pytest.WarningsRecorder) -> None:
    ZeroReplacement(method=method, detection_limit=5.0).fit_transform(COUNTS)
    assert not [w for w in recwarn if issubclass(w.category, ZeroReplacementWarning)]


@pytest.mark.parametrize("method", ["lrem", "lrsvd"])
def test_a_stopped_iteration_is_reported(method: str) -> None:
    with pytest.warns(ConvergenceWarning, match=f"{method} stopped after 2 .*above tol=1e-08: raise max_iter"):
        model = ZeroReplacement(method=method, max_iter=2, tol=1e-8).fit(COUNTS)
    assert model.n_iter_ == 2


def test_new_rows_that_do_not_rest_are_reported() -> None:
    with pytest.warns(ConvergenceWarning):
        stopped = ZeroReplacement(method="lrsvd", n_components=1, max_iter=2).fit(COUNTS)
    with pytest.warns(ConvergenceWarning, match="lrsvd stopped 3 new rows after 2 rounds"):
        stopped.transform(COUNTS)
