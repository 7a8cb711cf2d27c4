"""Files, pickles, clones, pipelines, searches and routing of the linear estimators."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.kernel_approximation import Nystroem
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from causalkit import load, save
from causalkit.augmentation import IVLikeRegressor, IVLikeRegressorCV
from causalkit.augmentation.augmenters import AdditiveNoise, NullSpaceShift, Permutation
from causalkit.exceptions import InferenceUnavailableError, PersistenceError
from tests.augmentation.dense_linear import Sample, sample, stacked

pytestmark = [
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.WeakInstrumentWarning"),
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.PredictiveSelectionWarning"),
]

DATA = sample(n=120, draws=2)
NAMED = pd.DataFrame(DATA.X, columns=list("abcd"))

FITS: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (IVLikeRegressor(), {}),
    "given": (IVLikeRegressor(penalty="paired"), DATA.given(controls=True)),
    "instruments": (IVLikeRegressor(alpha=1.0), {"instruments": DATA.G[:, 0]}),
    "object": (IVLikeRegressor(augmentation=NullSpaceShift(np.eye(4)[:1]), n_draws=2, random_state=0), {}),
    "analytic": (IVLikeRegressor(augmentation=AdditiveNoise(0.5), penalty="analytic"), {}),
    "orbit": (IVLikeRegressor(augmentation=Permutation([[0, 1]]), n_draws="orbit", alpha=np.inf), {}),
    "map": (
        IVLikeRegressor(
            feature_map=Nystroem(n_components=6, random_state=0),
            ridge=0.01,
            augmentation=AdditiveNoise(),
            random_state=0,
        ),
        {},
    ),
    "chosen": (IVLikeRegressorCV(cv=3), {"augmented": DATA.GX}),
    "tolerance": (
        IVLikeRegressorCV(
            selection="tolerance", tolerance=0.001, augmentation=NullSpaceShift(np.eye(4)[:1]), random_state=0
        ),
        {"exogenous": DATA.W},
    ),
}


def fitted(kind: str) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """A fit to named features, keyword arguments of predict, and its rows as a chunk."""
    model, given = FITS[kind]
    model = clone(model).fit(NAMED, DATA.y, **given)
    controls = {name: value for name, value in given.items() if name == "exogenous"}
    return model, controls, {"X": NAMED, "y": DATA.y, **given}


@pytest.mark.parametrize("kind", FITS)
@pytest.mark.parametrize("way", ["file", "pickle"])
def test_a_fit_comes_back(kind: str, way: str, tmp_path: Path) -> None:
    model, controls, rows = fitted(kind)
    if way == "file":
        save(model, tmp_path / "model")
        again = load(tmp_path / "model")
    else:
        again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(NAMED, **controls), model.predict(NAMED, **controls))
    assert repr(again) == repr(model)
    np.testing.assert_array_equal(again.path([0.1, 1.0]).coef, model.path([0.1, 1.0]).coef)
    np.testing.assert_array_equal(again.eigenvalues_, model.eigenvalues_)
    with pytest.raises(InferenceUnavailableError, match=r"inference\(chunks="):
        again.inference()
    expected, result = model.inference(), again.inference(chunks=[rows])
    assert result.names == expected.names
    np.testing.assert_array_equal(result.estimate, expected.estimate)
    np.testing.assert_allclose(result.cov, expected.cov, rtol=1e-12)
    refits = [m.inference(method="refit", n_bootstrap=3, chunks=c).cov for m, c in ((again, [rows]), (model, None))]
    np.testing.assert_allclose(refits[0], refits[1], rtol=1e-10)
    np.testing.assert_allclose(
        again.diagnostics().breakdown.to_numpy(), model.diagnostics().breakdown.to_numpy(), rtol=1e-12
    )


@pytest.mark.parametrize("kind", ["plain", "object", "given"])
def test_a_stream_goes_on_after_loading(kind: str, tmp_path: Path) -> None:
    model, given = FITS[kind]

    def chunk(a: int, b: int) -> dict[str, Any]:
        return {"X": NAMED[a:b], "y": DATA.y[a:b], **{name: value[a:b] for name, value in given.items()}}

    save(clone(model).partial_fit(**chunk(0, 50)), tmp_path / "half")
    again = load(tmp_path / "half").partial_fit(**chunk(50, 120))
    np.testing.assert_allclose(stacked(again), stacked(clone(model).fit(NAMED, DATA.y, **given)), rtol=1e-10)


def test_records_come_back(tmp_path: Path) -> None:
    model = fitted("object")[0]
    for name, record in (("path", model.path()), ("bounds", model.bounds(0.5)), ("result", model.inference())):
        save(record, tmp_path / name)
        again = load(tmp_path / name)
        assert type(again) is type(record)
        frames = [r.summary() if name == "result" else r.to_frame() for r in (again, record)]
        pd.testing.assert_frame_equal(*frames, check_exact=True)


def test_a_file_holds_no_rows(tmp_path: Path) -> None:
    """Moments, coefficients and parameters: the size of a file does not grow with the rows."""
    sizes = []
    for n in (500, 5_000):
        data = sample(n=n)
        save(IVLikeRegressor(augmentation=AdditiveNoise(), random_state=0).fit(data.X, data.y), tmp_path / str(n))
        sizes.append((tmp_path / str(n)).stat().st_size)
    assert abs(sizes[1] - sizes[0]) < 100
    assert len(pickle.dumps(IVLikeRegressor().fit(data.X, data.y))) < 20_000


def test_a_function_is_not_saved(tmp_path: Path) -> None:
    model = IVLikeRegressor(augmentation=lambda X, rng: X + rng.normal(size=X.shape)).fit(DATA.X, DATA.y)
    with pytest.raises(PersistenceError, match="augmentation"):
        save(model, tmp_path / "model")


def test_clone_forgets_the_fit_and_keeps_the_augmentation() -> None:
    model = fitted("object")[0]
    copy = clone(model)
    assert repr(copy) == repr(model)
    assert copy.augmentation == model.augmentation
    assert set(vars(copy)) == set(copy.get_params(deep=False))


# ---------------------------------------------------------------------- pipelines, searches, routing


def test_pipeline() -> None:
    """Features are scaled first, and the augmentation acts on scaled features."""
    shift = NullSpaceShift(np.eye(4)[:1])
    pipeline = make_pipeline(StandardScaler(), IVLikeRegressor(augmentation=shift, random_state=0)).fit(NAMED, DATA.y)
    scaled = StandardScaler().fit_transform(NAMED)
    direct = IVLikeRegressor(augmentation=shift, random_state=0).fit(scaled, DATA.y)
    np.testing.assert_array_equal(pipeline.predict(NAMED), direct.predict(scaled))


def test_search_and_folds_slice_what_belongs_to_rows() -> None:
    params = {
        "augmented": DATA.GX,
        "augmentation_parameters": DATA.G,
        "sample_weight": DATA.weight,
        "groups": DATA.groups,
    }
    with sklearn.config_context(enable_metadata_routing=True):
        model = IVLikeRegressor(penalty="paired").set_fit_request(**dict.fromkeys(params, True))
        model.set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"alpha": [0.01, 1.0]}, cv=KFold(3), error_score="raise")
        search.fit(DATA.X, DATA.y, **params)
        out = cross_validate(
            model, DATA.X, DATA.y, cv=KFold(3), params=params, return_estimator=True, return_indices=True
        )
        with pytest.raises(UnsetMetadataPassedError, match="augmented"):
            cross_validate(clone(IVLikeRegressor()), DATA.X, DATA.y, params={"augmented": DATA.GX})
    for found, train, test, score in zip(
        out["estimator"], out["indices"]["train"], out["indices"]["test"], out["test_score"], strict=True
    ):
        part = DATA.rows(train)
        direct = IVLikeRegressor(penalty="paired").fit(part.X, part.y, **part.given(weights=True), groups=part.groups)
        np.testing.assert_array_equal(found.coef_, direct.coef_)
        np.testing.assert_array_equal(found.inference().cov, direct.inference().cov)
        held = DATA.rows(test)
        assert score == direct.score(held.X, held.y, held.weight)
    best = IVLikeRegressor(penalty="paired", **search.best_params_).fit(
        DATA.X, DATA.y, **DATA.given(weights=True), groups=DATA.groups
    )
    np.testing.assert_array_equal(search.best_estimator_.coef_, best.coef_)


def test_controls_are_routed_to_prediction() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        model = IVLikeRegressor().set_fit_request(exogenous=True).set_score_request(exogenous=True)
        out = cross_validate(model, DATA.X, DATA.y, cv=KFold(3), params={"exogenous": DATA.W}, error_score="raise")
    expected = []
    for train, test in KFold(3).split(DATA.X):
        a, b = DATA.rows(train), DATA.rows(test)
        direct = IVLikeRegressor().fit(a.X, a.y, exogenous=a.W)
        expected.append(direct.score(b.X, b.y, exogenous=b.W))
    np.testing.assert_allclose(out["test_score"], expected)


# ---------------------------------------------------------------------- containers


def test_frames_of_any_library_and_lists() -> None:
    polars = pytest.importorskip("polars")
    given = {"augmented": DATA.GX[:, 0], "augmentation_parameters": DATA.G[:, 0], "exogenous": DATA.W}
    expected = IVLikeRegressor(penalty="paired").fit(DATA.X, DATA.y, **given)
    tables: list[Any] = [
        lambda v: pd.DataFrame(v) if np.ndim(v) == 2 else pd.Series(v),
        lambda v: polars.from_numpy(v) if np.ndim(v) == 2 else polars.Series(v),
        lambda v: v.tolist(),
    ]
    for table in tables:
        arguments = {name: table(value) for name, value in given.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = IVLikeRegressor(penalty="paired").fit(table(DATA.X), table(DATA.y), **arguments)
        np.testing.assert_array_equal(stacked(model), stacked(expected))


def test_names_of_results() -> None:
    data = Sample(**{**vars(DATA), "X": DATA.X})
    controls = pd.DataFrame(data.W, columns=["age", "income"])
    model = IVLikeRegressor().fit(NAMED, data.y, augmented=data.GX, exogenous=controls)
    assert model.inference().names == ("intercept", "a", "b", "c", "d", "age", "income")
    assert model.bounds(0.9).names == ("a", "b", "c", "d")
    assert list(model.diagnostics().moved.columns) == ["eigenvalue", "is_moved", "shrinkage"]
    assert model.path([1.0]).feature_names == ("a", "b", "c", "d")
