"""What every estimator of the library promises beyond scikit-learn's own checks."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
import warnings
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.linear_model import LinearRegression
from sklearn.metrics import make_scorer, r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from causalkit.persistence import load, save
from tests.clusters import dask_workers, ray_workers
from tests.contract.registry import CASES, ContractCase, ContractData

pytestmark = [
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.CalibrationWarning"),
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.ExtrapolationWarning"),
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.WeakInstrumentWarning"),
]

WITH_RESULT = [case for case in CASES if case.result is not None]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> ContractCase:
    reason = request.param.expected_failures.get(request.node.originalname)
    if reason is not None:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    return request.param


@pytest.fixture
def data(case: ContractCase) -> ContractData:
    return case.make_data()


@pytest.fixture
def fitted(case: ContractCase, data: ContractData) -> Any:
    return clone(case.estimator).fit(data.X, data.y, **data.fit_params)


def _apply(case: ContractCase, estimator: Any, X: Any, **params: Any) -> Any:
    return getattr(estimator, case.method)(X, **params)


def _of_method(case: ContractCase, params: dict[str, Any]) -> dict[str, Any]:
    """Those fit parameters that the main method takes as well."""
    accepted = inspect.signature(getattr(case.estimator, case.method)).parameters
    return {name: value for name, value in params.items() if name in accepted}


def _routed(case: ContractCase, data: ContractData) -> tuple[Any, dict[str, Any]]:
    """A clone that requests all of its row-wise parameters, and their values."""
    params = {**data.fit_params, **data.optional_params}
    estimator = clone(case.estimator).set_fit_request(**dict.fromkeys(params, True))
    shared = _of_method(case, params)
    if shared:
        getattr(estimator, f"set_{case.method}_request")(**dict.fromkeys(shared, True))
    return estimator, params


def _before_a_line(estimator: Any) -> tuple[Pipeline, Any]:
    """The estimator as the first of two steps, and a scorer; both leave sample weights to the estimator."""
    line = LinearRegression().set_fit_request(sample_weight=False).set_score_request(sample_weight=False)
    return Pipeline([("first", estimator), ("line", line)]), make_scorer(r2_score).set_score_request(
        sample_weight=False
    )


def _public_arrays(estimator: Any) -> dict[str, np.ndarray]:
    return {
        name: np.asarray(value)
        for name, value in vars(estimator).items()
        if name.endswith("_") and not name.startswith("_") and np.asarray(value).dtype.kind in "biuf"
    }


def _assert_same_fit(first: Any, second: Any) -> None:
    one, two = _public_arrays(first), _public_arrays(second)
    assert one.keys() == two.keys()
    assert one
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], err_msg=name)


# ---------------------------------------------------------------------- parameters and state


def test_clone_and_parameters_round_trip(case: ContractCase) -> None:
    params = case.estimator.get_params()
    assert params.keys() == inspect.signature(type(case.estimator)).parameters.keys()
    for copy in (clone(case.estimator), type(case.estimator)(**params), clone(case.estimator).set_params(**params)):
        assert copy is not case.estimator
        assert repr(copy.get_params()) == repr(params)
        assert vars(copy).keys() == params.keys()


def test_constructor_is_keyword_only_and_stores_what_it_is_given(case: ContractCase) -> None:
    parameters = inspect.signature(type(case.estimator)).parameters.values()
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters)
    marks = {p.name: object() for p in parameters}
    built = type(case.estimator)(**marks)
    assert all(getattr(built, name) is mark for name, mark in marks.items())


def test_seeds_may_be_states_and_generators_of_numpy(case: ContractCase, data: ContractData) -> None:
    if "random_state" not in case.estimator.get_params():
        assert not hasattr(case.estimator, "random_state")
        return
    for seeded in (np.random.default_rng, np.random.RandomState):
        first, second = (
            clone(case.estimator).set_params(random_state=seeded(5)).fit(data.X, data.y, **data.fit_params)
            for _ in range(2)
        )
        _assert_same_fit(first, second)


def test_fit_returns_self_and_leaves_parameters_and_data(case: ContractCase, data: ContractData) -> None:
    estimator = clone(case.estimator)
    before = repr(estimator.get_params())
    X, y = data.X.copy(), data.y.copy()
    params = {name: np.array(value) for name, value in data.fit_params.items()}
    for values in params.values():
        values.flags.writeable = False
    assert estimator.fit(X, y, **params) is estimator
    _apply(case, estimator, X)
    assert repr(estimator.get_params()) == before
    pd.testing.assert_frame_equal(X, data.X)
    pd.testing.assert_series_equal(y, data.y)


def test_fitting_again_gives_the_same(case: ContractCase, data: ContractData, fitted: Any) -> None:
    again = clone(case.estimator).fit(data.X, data.y, **data.fit_params)
    _assert_same_fit(fitted, again)
    _assert_same_fit(fitted, again.fit(data.X, data.y, **data.fit_params))


def test_unfitted_is_named(case: ContractCase, data: ContractData) -> None:
    with pytest.raises(NotFittedError):
        _apply(case, clone(case.estimator), data.X_new)


def test_a_failed_fit_leaves_the_old_one(case: ContractCase, data: ContractData, fitted: Any) -> None:
    before = _apply(case, fitted, data.X_new)
    state = set(vars(fitted))
    for X, y in ((data.X, data.y.where(np.arange(len(data.y)) != 7)), (data.X[:50], data.y), (data.X, 0 * data.y)):
        with pytest.raises(ValueError, match=r"NaN or infinity in 1|rows|constant"):
            fitted.fit(X, y, **data.fit_params)
        np.testing.assert_array_equal(_apply(case, fitted, data.X_new), before)
        assert set(vars(fitted)) == state


# ---------------------------------------------------------------------- containers


def test_pandas_polars_and_numpy_agree(case: ContractCase, data: ContractData, fitted: Any) -> None:
    polars = (pl.from_pandas(data.X), pl.from_pandas(data.y), pl.from_pandas(data.X_new))
    numpy = (data.X.to_numpy(), data.y.to_numpy(), data.X_new.to_numpy())
    expected = np.asarray(_apply(case, fitted, data.X_new))
    for X, y, X_new in (polars, numpy, (numpy[0].tolist(), numpy[1].tolist(), numpy[2].tolist())):
        other = clone(case.estimator).fit(X, y, **data.fit_params)
        _assert_same_fit(fitted, other)
        np.testing.assert_array_equal(np.asarray(_apply(case, other, X_new)), expected)
    params = {name: pl.Series(value) for name, value in data.fit_params.items()}
    _assert_same_fit(fitted, clone(case.estimator).fit(polars[0], polars[1], **params))
    params = {name: pd.Series(value, index=data.X.index) for name, value in data.fit_params.items()}
    _assert_same_fit(fitted, clone(case.estimator).fit(data.X, data.y, **params))


def test_column_names_are_kept_and_checked(case: ContractCase, data: ContractData, fitted: Any) -> None:
    names = list(data.X.columns)
    assert list(fitted.feature_names_in_) == names
    assert fitted.n_features_in_ == len(names)
    polars = clone(case.estimator).fit(pl.from_pandas(data.X), data.y, **data.fit_params)
    assert list(polars.feature_names_in_) == names
    renamed = data.X_new.rename(columns={names[0]: "other"})
    for X in (renamed, pl.from_pandas(renamed)):
        with pytest.raises(ValueError, match="feature names should match those that were passed during fit"):
            _apply(case, fitted, X)
    unnamed = clone(case.estimator).fit(data.X.to_numpy(), data.y, **data.fit_params)
    assert not hasattr(unnamed, "feature_names_in_")


def test_set_output(case: ContractCase, data: ContractData, fitted: Any) -> None:
    if case.method != "transform":
        pytest.skip("set_output concerns transformers")
    plain = np.asarray(fitted.transform(data.X_new))
    names = list(fitted.get_feature_names_out())
    pandas = clone(fitted).set_output(transform="pandas").fit(data.X, data.y, **data.fit_params)
    frame = pandas.transform(data.X_new)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == names
    pd.testing.assert_index_equal(frame.index, data.X_new.index)
    np.testing.assert_array_equal(frame.to_numpy(), plain)
    table = fitted.set_output(transform="polars").transform(data.X_new)
    assert isinstance(table, pl.DataFrame)
    assert table.columns == names
    np.testing.assert_array_equal(table.to_numpy(), plain)


# ---------------------------------------------------------------------- pipelines, searches, routing


@pytest.mark.filterwarnings("ignore:This object .* has a `transform` method which consumes metadata")
def test_pipeline(case: ContractCase, data: ContractData, fitted: Any) -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        estimator, _ = _routed(case, data)
        pipeline = make_pipeline(estimator, StandardScaler(), LinearRegression())
        pipeline.fit(data.X, data.y, **data.fit_params)
        _assert_same_fit(fitted, pipeline[0])
        shared = _of_method(case, data.fit_params)
        corrected = np.asarray(_apply(case, fitted, data.X, **shared)).reshape(len(data.X), -1)
        line = LinearRegression().fit(corrected, data.y)
        new = np.asarray(_apply(case, fitted, data.X_new)).reshape(len(data.X_new), -1)
        np.testing.assert_allclose(pipeline.predict(data.X_new), line.predict(new), rtol=1e-9)


@pytest.mark.filterwarnings("ignore:This object .* has a `transform` method which consumes metadata")
def test_routing_through_a_pipeline(case: ContractCase, data: ContractData) -> None:
    """Weights and clusters arrive in fit, and change its numbers."""
    with sklearn.config_context(enable_metadata_routing=True):
        estimator, params = _routed(case, data)
        direct = clone(case.estimator).fit(data.X, data.y, **params)
        pipeline = Pipeline([("first", estimator), ("scale", StandardScaler().set_fit_request(sample_weight=False))])
        pipeline.fit(data.X, data.y, **params)
        _assert_same_fit(direct, pipeline.named_steps["first"])
        for left_out in data.optional_params:
            fewer = {name: value for name, value in params.items() if name != left_out}
            other = clone(pipeline).fit(data.X, data.y, **fewer).named_steps["first"]
            arrays, without = _public_arrays(direct), _public_arrays(other)
            assert any(not np.array_equal(arrays[name], without[name]) for name in arrays), left_out


def test_unrequested_metadata_is_refused(case: ContractCase, data: ContractData) -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(clone(case.estimator), StandardScaler())
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            pipeline.fit(data.X, data.y, sample_weight=data.optional_params["sample_weight"])


@pytest.mark.filterwarnings("ignore:This object .* has a `transform` method which consumes metadata")
def test_grid_search(case: ContractCase, data: ContractData) -> None:
    (name, values), cv = next(iter(case.grid.items())), KFold(3)
    with sklearn.config_context(enable_metadata_routing=True):
        estimator, params = _routed(case, data)
        pipeline, scorer = _before_a_line(estimator)
        search = GridSearchCV(pipeline, {f"first__{name}": values}, cv=cv, scoring=scorer, error_score="raise")
        search.fit(data.X, data.y, **params)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        best = search.best_params_[f"first__{name}"]
        direct = clone(case.estimator).set_params(**{name: best}).fit(data.X, data.y, **params)
        _assert_same_fit(direct, search.best_estimator_.named_steps["first"])


@pytest.mark.filterwarnings("ignore:This object .* has a `transform` method which consumes metadata")
def test_cross_validation_slices_what_belongs_to_rows(case: ContractCase, data: ContractData) -> None:
    """Every fold's fit equals a fit by hand on its rows; groups drive the splits and the fit."""
    with sklearn.config_context(enable_metadata_routing=True):
        estimator, params = _routed(case, data)
        pipeline, scorer = _before_a_line(estimator)
        out = cross_validate(
            pipeline,
            data.X,
            data.y,
            cv=GroupKFold(4),
            params=params,
            scoring=scorer,
            return_estimator=True,
            return_indices=True,
            error_score="raise",
        )
        groups = params["groups"]
        for model, train, test in zip(out["estimator"], *out["indices"].values(), strict=True):
            assert not set(groups[train]) & set(groups[test])
            part = {key: np.asarray(value)[train] for key, value in params.items()}
            direct = clone(case.estimator).fit(data.X.iloc[train], data.y.iloc[train], **part)
            _assert_same_fit(direct, model.named_steps["first"])


# ---------------------------------------------------------------------- files and processes

_READ_AND_APPLY = """
import sys, warnings
import numpy as np, pandas as pd
warnings.simplefilter("ignore")
from causalkit import load
folder, method = sys.argv[1:]
X = pd.read_pickle(folder + "/X.pkl")
fitted = load(folder + "/estimator")
np.save(folder + "/out.npy", np.asarray(getattr(fitted, method)(X)))
"""


def test_pickle(case: ContractCase, data: ContractData, fitted: Any) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    _assert_same_fit(fitted, again)
    np.testing.assert_array_equal(_apply(case, again, data.X_new), _apply(case, fitted, data.X_new))
    assert repr(pickle.loads(pickle.dumps(case.estimator))) == repr(case.estimator)


def test_saved_estimator_computes_the_same_in_a_fresh_process(
    case: ContractCase, data: ContractData, fitted: Any, tmp_path: Any
) -> None:
    save(fitted, tmp_path / "estimator")
    data.X_new.to_pickle(tmp_path / "X.pkl")
    subprocess.run([sys.executable, "-c", _READ_AND_APPLY, str(tmp_path), case.method], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.asarray(_apply(case, fitted, data.X_new)))


def test_saved_estimator_has_the_same_state(case: ContractCase, data: ContractData, fitted: Any, tmp_path: Any) -> None:
    save(fitted, tmp_path / "fitted")
    again = load(tmp_path / "fitted")
    assert vars(again).keys() == vars(fitted).keys()
    _assert_same_fit(fitted, again)
    if case.result is not None:
        first, second = case.result(fitted, data, None), case.result(again, data, None)
        np.testing.assert_array_equal(first.cov, second.cov)
        np.testing.assert_array_equal(first.estimate, second.estimate)
    save(case.estimator, tmp_path / "unfitted")
    unfitted = load(tmp_path / "unfitted")
    assert repr(unfitted) == repr(case.estimator)
    _assert_same_fit(unfitted.fit(data.X, data.y, **data.fit_params), fitted)


@pytest.mark.parametrize("case", WITH_RESULT, ids=lambda case: case.name)
def test_saved_result_is_the_same(case: ContractCase, tmp_path: Any) -> None:
    data = case.make_data()
    fitted = clone(case.estimator).fit(data.X, data.y, **data.fit_params)
    result = case.result(fitted, data, None)
    save(result, tmp_path / "result")
    again = load(tmp_path / "result")
    assert type(again) is type(result)
    pd.testing.assert_frame_equal(again.summary(), result.summary(), check_exact=True)
    pd.testing.assert_frame_equal(again.conf_int(0.8), result.conf_int(0.8), check_exact=True)
    assert repr(again) == repr(result)
    np.testing.assert_array_equal((again + again).cov, (result + result).cov)


# ---------------------------------------------------------------------- the same numbers everywhere


def _numbers(result: Any) -> np.ndarray:
    return np.concatenate([result.estimate, result.cov.ravel(), np.asarray(result.influence_values).ravel()])


@pytest.fixture(scope="module")
def serial_results() -> dict[str, np.ndarray]:
    return {case.name: _in_backend(case) for case in WITH_RESULT}


def _in_backend(case: ContractCase, n_jobs: int | None = None) -> np.ndarray:
    data = case.make_data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = clone(case.estimator)
        if "n_jobs" in estimator.get_params():
            estimator.set_params(n_jobs=n_jobs)
        fitted = estimator.fit(data.X, data.y, **data.fit_params)
        return _numbers(case.result(fitted, data, n_jobs))


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_results_do_not_depend_on_jobs_or_backend(backend: str, serial_results: dict[str, np.ndarray]) -> None:
    with joblib.parallel_config(backend, n_jobs=2):
        for case in WITH_RESULT:
            np.testing.assert_array_equal(_in_backend(case), serial_results[case.name], err_msg=case.name)
    for case in WITH_RESULT[:1]:
        np.testing.assert_array_equal(_in_backend(case, n_jobs=2), serial_results[case.name], err_msg=case.name)


@pytest.mark.parametrize("workers", [dask_workers, ray_workers])
def test_results_on_a_cluster_are_the_same(workers: Any, serial_results: dict[str, np.ndarray]) -> None:
    with workers():
        for case in WITH_RESULT:
            np.testing.assert_array_equal(_in_backend(case), serial_results[case.name], err_msg=case.name)
