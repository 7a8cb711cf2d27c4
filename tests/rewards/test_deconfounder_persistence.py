"""Files, pickles, clones, workers and backends: the same numbers everywhere, for every method."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from causalkit import load, save
from causalkit.exceptions import PersistenceError
from causalkit.rewards import PairwiseRewardModel, RewardDeconfounder
from tests.clusters import dask_workers
from tests.rewards.test_deconfounder import log, texts_log

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning")

X, Y, C = log(30, 160)
LEVELS, NUMBERS = C[["author"]], C[["age"]]
GROUPS = np.arange(160) // 4
INSTRUMENT = pd.DataFrame({"luck": C["age"] + np.random.default_rng(30).normal(size=160)})

FITS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "partially_linear": ({"cyclic": {"hour": 24}}, {"confounders": C}),
    "repeats": ({"n_repeats": 2, "penalty": "cv"}, {"confounders": C, "groups": GROUPS}),
    "own models": ({"outcome_model": Ridge(), "treatment_model": LinearRegression()}, {"confounders": C}),
    "curved": ({"final_model": Ridge(), "cv": 2}, {"confounders": C}),
    "pairwise": ({"final_model": PairwiseRewardModel(random_state=0)}, {"confounders": C, "prompts": GROUPS}),
    "fixed_effects": ({"method": "fixed_effects"}, {"confounders": C, "groups": GROUPS}),
    "cells": (
        {"method": "fixed_effects", "categorical": ["author", "part"], "interactions": [("author", "part")]},
        {"confounders": LEVELS.assign(part=np.where(C["hour"] < 12, "am", "pm"))},
    ),
    "crossed": ({"method": "fixed_effects"}, {"confounders": LEVELS.assign(part=np.where(C["hour"] < 12, "am", "pm"))}),
    "mixed": ({"method": "mixed"}, {"confounders": LEVELS}),
    "mundlak": ({"method": "mundlak"}, {"confounders": LEVELS.assign(author=[f"a{k}" for k in np.arange(160) // 8])}),
    "instrument": ({"method": "instrument"}, {"confounders": NUMBERS, "instruments": INSTRUMENT}),
    "weighting": ({"method": "weighting"}, {"confounders": LEVELS}),
    "classifier": (
        {"method": "weighting", "confounder_model": LogisticRegression(), "max_weight": 3.0},
        {"confounders": LEVELS},
    ),
    "standardization": ({"method": "standardization"}, {"confounders": C, "target_confounders": C[:20]}),
    "standardization by a model": ({"method": "standardization", "outcome_model": Ridge()}, {"confounders": C}),
    "outcome_only": ({"method": "outcome_only"}, {"confounders": C}),
    "linear_control": ({"method": "linear_control"}, {"confounders": C}),
    "invariance": ({"method": "invariance"}, {"confounders": NUMBERS}),
    "lowess": ({"method": "lowess"}, {"confounders": NUMBERS}),
    "none": ({"method": "none", "covariance": "HC1"}, {}),
}


def fitted(kind: str, **changes: Any) -> tuple[RewardDeconfounder, dict[str, Any]]:
    options, given = FITS[kind]
    return RewardDeconfounder(random_state=0, **{**options, **changes}).fit(X, Y, **given), given


def assert_same(one: RewardDeconfounder, two: RewardDeconfounder, given: dict[str, Any]) -> None:
    """Every answer of both fits, bit by bit."""
    assert vars(one).keys() == vars(two).keys()
    for name in (
        "coef_",
        "covariance_",
        "adjusted_reward_",
        "confounder_effect_",
        "overlap_eigenvalues_",
        "repeat_sd_",
    ):
        assert_array_equal(getattr(one, name, 0.0), getattr(two, name, 0.0), err_msg=name)
    confounders = given.get("confounders")
    assert_array_equal(one.predict(X), two.predict(X))
    assert_array_equal(one.transform(X, Y, confounders=confounders), two.transform(X, Y, confounders=confounders))
    assert one.score(X, Y, confounders=confounders) == two.score(X, Y, confounders=confounders)
    if confounders is not None:
        assert_array_equal(one.confounder_effect(confounders), two.confounder_effect(confounders))
    assert_array_equal(one.inference().cov, two.inference().cov)
    assert repr(one.summary()) == repr(two.summary())
    assert repr(one.diagnostics()) == repr(two.diagnostics())
    pd.testing.assert_frame_equal(one.diagnostics().spectrum, two.diagnostics().spectrum)
    for name in ("level_effects_", "first_stage_"):
        if hasattr(one, name):
            pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("kind", FITS)
@pytest.mark.parametrize("way", ["file", "pickle"])
def test_a_fit_comes_back(kind: str, way: str, tmp_path: Path) -> None:
    model, given = fitted(kind)
    if way == "file":
        save(model, tmp_path / "model")
        again = load(tmp_path / "model")
    else:
        again = pickle.loads(pickle.dumps(model))
    assert repr(again) == repr(model)
    assert_same(model, again, given)
    if model._parts.fits and model._parts.influence is None:
        pd.testing.assert_frame_equal(again.sensitivity(), model.sensitivity())


@pytest.mark.parametrize("kind", FITS)
def test_a_clone_and_a_second_fit_are_the_same(kind: str) -> None:
    model, given = fitted(kind)
    again = clone(model).fit(X, Y, **given)
    assert_same(model, again, given)
    # A fit by another method leaves nothing of its own behind.
    other = RewardDeconfounder(method="fixed_effects", random_state=0).fit(X, Y, confounders=LEVELS)
    other.set_params(**model.get_params(deep=False)).fit(X, Y, **given)
    assert_same(model, other, given)


def test_files_hold_no_rows_of_features_or_outcomes(tmp_path: Path) -> None:
    model, _ = fitted("partially_linear")
    held = [value for value in vars(model).values() if isinstance(value, np.ndarray)]
    assert not any(np.shares_memory(value, X.to_numpy()) for value in held)
    assert not hasattr(model, "X_")
    save(model, tmp_path / "model")
    assert (tmp_path / "model").stat().st_size < 300_000


def test_what_cannot_be_stored_is_named(tmp_path: Path) -> None:
    texts, y, author = texts_log()
    encoder = make_pipeline(TfidfVectorizer(), TruncatedSVD(4, random_state=0))
    model = RewardDeconfounder(method="fixed_effects", encoder=encoder).fit(texts, y, confounders=author)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(["tax", "poll wall"]), model.predict(["tax", "poll wall"]))

    def encode(given: list[str]) -> NDArray[np.float64]:
        return np.array([[len(text), text.count(" ")] for text in given], dtype=float)

    plain = RewardDeconfounder(method="fixed_effects", encoder=encode).fit(texts, y, confounders=author)
    with pytest.raises(PersistenceError, match="encoder"):
        save(plain, tmp_path / "model")
    assert not (tmp_path / "model").exists()


# ---------------------------------------------------------------------- workers

PARALLEL: dict[str, dict[str, Any]] = {
    "default": {"n_repeats": 2},
    "forest": {
        "outcome_model": RandomForestRegressor(3, max_depth=3),
        "treatment_model": RandomForestRegressor(3, max_depth=3),
        "cv": 3,
    },
    "curved": {"final_model": Ridge(), "cv": 2},
    "weighting": {"method": "weighting"},
    "outcome_only": {"method": "outcome_only"},
}


def numbers(names: tuple[str, ...] = tuple(PARALLEL), **changes: Any) -> dict[str, NDArray[np.float64]]:
    found = {}
    for name in names:
        options = PARALLEL[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            confounders = LEVELS if name == "weighting" else C
            model = RewardDeconfounder(**{"random_state": 0, **options, **changes}).fit(X, Y, confounders=confounders)
            # A forest predicts by adding up its trees in the order in which threads finish.
            effect = model.confounder_effect(confounders) if name != "forest" else np.zeros(0)
        found[name] = np.concatenate([model.coef_, model.covariance_.ravel(), model.adjusted_reward_, effect])
    return found


@pytest.fixture(scope="module")
def serial() -> dict[str, NDArray[np.float64]]:
    return numbers()


def assert_identical(one: dict[str, NDArray[np.float64]], two: dict[str, NDArray[np.float64]]) -> None:
    for name in one:
        assert_array_equal(one[name], two[name], err_msg=name)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_and_backends_do_not_matter(backend: str, serial: dict[str, NDArray[np.float64]]) -> None:
    with joblib.parallel_config(backend, n_jobs=2):
        assert_identical(numbers(), serial)


def test_number_of_jobs_does_not_matter(serial: dict[str, NDArray[np.float64]]) -> None:
    assert_identical(numbers(n_jobs=2), serial)


def test_a_dask_cluster_gives_the_same(serial: dict[str, NDArray[np.float64]]) -> None:
    with dask_workers():
        assert_identical(numbers(("default", "forest", "weighting")), serial)


def test_seeds_matter_where_nothing_else_does(serial: dict[str, NDArray[np.float64]]) -> None:
    other = numbers(random_state=1)
    for name in serial:
        assert not np.array_equal(serial[name], other[name])
    state = np.random.RandomState(5)
    fits = [
        RewardDeconfounder(random_state=s).fit(X, Y, confounders=C).coef_ for s in (state, np.random.RandomState(5))
    ]
    assert_array_equal(*fits)


def test_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    RewardDeconfounder(random_state=0, verbose=1).fit(X, Y, confounders=C)
    assert "10/10" in capsys.readouterr().err
    RewardDeconfounder(random_state=0).fit(X, Y, confounders=C)
    assert capsys.readouterr().err == ""
