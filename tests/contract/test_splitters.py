"""What every splitter promises: folds that fit together, the same for one seed, wherever scikit-learn takes a cv."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, check_cv, cross_val_score

from causalkit.persistence import load, save
from tests.contract.registry import SPLITTER_CASES, SplitterCase

N_ROWS = 60


@pytest.fixture(params=SPLITTER_CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> SplitterCase:
    return request.param


@pytest.fixture
def X() -> Any:
    return np.random.default_rng(0).normal(size=(N_ROWS, 2))


def folds_of(case: SplitterCase, splitter: Any, X: Any) -> list[tuple[Any, Any]]:
    return list(splitter.split(X, **case.make_params(len(X))))


def assert_same_folds(first: Any, second: Any) -> None:
    for (train, test), (other_train, other_test) in zip(first, second, strict=True):
        np.testing.assert_array_equal(train, other_train)
        np.testing.assert_array_equal(test, other_test)


def test_every_row_is_held_out_once_and_never_trained_on_then(case: SplitterCase, X: Any) -> None:
    folds = folds_of(case, case.splitter, X)
    assert len(folds) == case.splitter.get_n_splits(X)
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(N_ROWS))
    for train, test in folds:
        assert len(train) and not np.intersect1d(train, test).size
        assert (len(train) + len(test) == N_ROWS) == case.covers_training


def test_the_same_folds_for_one_seed_in_every_container(case: SplitterCase, X: Any) -> None:
    folds = folds_of(case, case.splitter, X)
    assert_same_folds(folds, folds_of(case, case.splitter, X))
    assert_same_folds(folds, folds_of(case, case.splitter, X.tolist()))
    assert_same_folds(folds, folds_of(case, case.splitter, pl.DataFrame(X)))
    assert_same_folds(folds, folds_of(case, case.splitter, pd.DataFrame(X)))


def test_copies_pickles_and_files_split_the_same(case: SplitterCase, X: Any, tmp_path: Any) -> None:
    folds = folds_of(case, case.splitter, X)
    save(case.splitter, tmp_path / "splitter")
    copies = (clone(case.splitter, safe=False), pickle.loads(pickle.dumps(case.splitter)), load(tmp_path / "splitter"))
    for copy in copies:
        assert copy is not case.splitter and repr(copy) == repr(case.splitter)
        assert_same_folds(folds, folds_of(case, copy, X))


def test_the_constructor_stores_what_it_is_given(case: SplitterCase) -> None:
    first, *rest = inspect.signature(type(case.splitter)).parameters.values()
    assert first.name == "n_splits"
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in rest)
    marks = {parameter.name: object() for parameter in (first, *rest)}
    built = type(case.splitter)(**marks)
    assert all(getattr(built, name) is mark for name, mark in marks.items())


def test_splits_leave_parameters_and_data(case: SplitterCase, X: Any) -> None:
    before, values = repr(case.splitter), X.copy()
    X.flags.writeable = False
    folds_of(case, case.splitter, X)
    assert repr(case.splitter) == before
    np.testing.assert_array_equal(X, values)


def test_scikit_learn_takes_it_as_cv(case: SplitterCase, X: Any) -> None:
    """Scores and searches use exactly these folds, and arguments of ``split`` reach it."""
    assert check_cv(case.splitter) is case.splitter
    y, params = X[:, 0] + X[:, 1] ** 2, case.make_params(N_ROWS)
    folds = folds_of(case, case.splitter, X)
    by_hand = [Ridge().fit(X[train], y[train]).score(X[test], y[test]) for train, test in folds]
    with sklearn.config_context(enable_metadata_routing=True):
        scores = cross_val_score(Ridge(), X, y, cv=case.splitter, params=params)
        search = GridSearchCV(Ridge(), {"alpha": [1.0, 50.0]}, cv=case.splitter).fit(X, y, **params)
    np.testing.assert_allclose(scores, by_hand, rtol=1e-12)
    assert search.cv_results_["mean_test_score"][0] == pytest.approx(np.mean(by_hand), rel=1e-12)


def test_without_its_arguments_it_says_what_is_missing(case: SplitterCase, X: Any) -> None:
    with pytest.raises(TypeError, match="graph"):
        case.splitter.split(X)
