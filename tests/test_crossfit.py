"""Cross-fitting against explicit loops, over backends, and on bad input."""

from __future__ import annotations

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDRegressor
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from causalkit.crossfit import CrossFitter, Nuisance
from tests.clusters import dask_workers

N = 90


@pytest.fixture
def data():
    rng = np.random.default_rng(7)
    X = rng.normal(size=(N, 3))
    y = X @ [1.0, -0.5, 0.2] + rng.normal(size=N)
    treatment = rng.choice(["a", "b", "c"], size=N)
    return X, y, treatment


class ShuffledClasses(ClassifierMixin, BaseEstimator):
    """Predicts class frequencies, with its classes in reverse order."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)[::-1]
        self.frequency_ = np.array([np.mean(y == level) for level in self.classes_])
        return self

    def predict_proba(self, X):
        return np.tile(self.frequency_, (len(X), 1))


class Broken(RegressorMixin, BaseEstimator):
    """Fails, returns a wrong shape, or is interrupted, as asked."""

    def __init__(self, how="error"):
        self.how = how

    def fit(self, X, y):
        if self.how == "error":
            raise ZeroDivisionError("division of zero by zero")
        if self.how == "interrupt":
            raise KeyboardInterrupt
        return self

    def predict(self, X):
        return np.full(len(X), np.nan) if self.how == "nan" else np.zeros((len(X), 2))


# ---------------------------------------------------------------------- values


def test_predictions_equal_cross_val_predict(data):
    X, y, _ = data
    cv = KFold(4, shuffle=True, random_state=3)
    result = CrossFitter(cv=cv).predict([Nuisance("outcome", LinearRegression(), y)], X)
    expected = cross_val_predict(LinearRegression(), X, y, cv=cv)
    np.testing.assert_allclose(result.predictions["outcome"], [expected], rtol=1e-12)
    for fold, (_, test) in enumerate(cv.split(X)):
        np.testing.assert_array_equal(np.flatnonzero(result.folds[0] == fold), test)


def test_probabilities_have_one_column_per_sorted_level(data):
    X, _, treatment = data
    cv = StratifiedKFold(3)
    folds = list(cv.split(X, treatment))
    nuisances = [
        Nuisance("logit", LogisticRegression(), treatment, method="predict_proba"),
        Nuisance("reverse", ShuffledClasses(), treatment, method="predict_proba"),
    ]
    result = CrossFitter(cv=folds).predict(nuisances, X)
    expected = cross_val_predict(LogisticRegression(), X, treatment, cv=folds, method="predict_proba")
    np.testing.assert_allclose(result.predictions["logit"], [expected], rtol=1e-10)
    assert list(result.levels["reverse"]) == ["a", "b", "c"]
    for train, test in folds:
        shares = [np.mean(treatment[train] == level) for level in "abc"]
        np.testing.assert_allclose(result.predictions["reverse"][0, test], np.tile(shares, (len(test), 1)))


def test_several_outcome_columns_and_one_column_keep_their_shapes(data):
    X, y, _ = data
    nuisances = [
        Nuisance("two", LinearRegression(), np.column_stack([y, 2 * y])),
        Nuisance("one_column", LinearRegression(), y[:, None]),
        Nuisance("flat_model", RandomForestRegressor(2, random_state=0), y[:, None]),
    ]
    predictions = CrossFitter(cv=3, n_repeats=2, random_state=0).predict(nuisances, X).predictions
    assert predictions["two"].shape == (2, N, 2)
    assert predictions["one_column"].shape == predictions["flat_model"].shape == (2, N, 1)
    np.testing.assert_allclose(predictions["two"][..., 1], 2 * predictions["two"][..., 0], rtol=1e-10)
    np.testing.assert_allclose(predictions["two"][..., :1], predictions["one_column"], rtol=1e-10)


def test_train_mask_weights_and_own_features(data):
    X, y, treatment = data
    mask = treatment == "b"
    weight = np.random.default_rng(0).integers(0, 3, N).astype(float)
    outcome = np.where(mask, y, np.nan)  # unknown outside the mask, and not needed there
    cv = list(KFold(3).split(X))
    nuisance = Nuisance("arm", LinearRegression(), outcome, sample_weight=weight, train_mask=mask, X=X[:, :1])
    result = CrossFitter(cv=cv).predict([nuisance])
    for train, test in cv:
        rows = np.repeat(train[mask[train]], weight[train[mask[train]]].astype(int))
        expected = LinearRegression().fit(X[rows, :1], y[rows]).predict(X[test, :1])
        np.testing.assert_allclose(result.predictions["arm"][0, test], expected, rtol=1e-8)


def test_weights_reach_the_last_step_of_a_pipeline(data):
    X, y, _ = data
    weight = np.r_[np.zeros(N // 2), np.ones(N - N // 2)]
    cv = list(KFold(3).split(X))
    model = make_pipeline(StandardScaler(), LinearRegression())
    result = CrossFitter(cv=cv).predict([Nuisance("piped", model, y, sample_weight=weight)], X)
    for train, test in cv:
        rows = train[weight[train] > 0]
        expected = LinearRegression().fit(X[rows], y[rows]).predict(X[test])
        np.testing.assert_allclose(result.predictions["piped"][0, test], expected, rtol=1e-9)


def test_frames_are_sliced_as_frames(data):
    X, y, _ = data

    class NeedsNames(LinearRegression):
        def fit(self, X, y):
            assert list(X.columns) == ["p", "q", "r"]
            return super().fit(X, y)

    frame = pd.DataFrame(X, columns=["p", "q", "r"], index=np.arange(N)[::-1])
    cv = KFold(3)
    with_frame = CrossFitter(cv=cv).predict([Nuisance("f", NeedsNames(), y)], frame).predictions["f"]
    with_array = CrossFitter(cv=cv).predict([Nuisance("f", LinearRegression(), y)], X).predictions["f"]
    np.testing.assert_allclose(with_frame, with_array, rtol=1e-12)


# ---------------------------------------------------------------------- splits


def test_groups_are_never_divided(data):
    X, y, _ = data
    groups = np.repeat(np.arange(18), 5)
    nuisance = [Nuisance("f", DummyRegressor(), y)]
    one = CrossFitter(cv=3).predict(nuisance, X, groups=groups).folds
    expected = np.empty(N, dtype=int)
    for fold, (_, test) in enumerate(GroupKFold(3).split(X, y, groups)):
        expected[test] = fold
    np.testing.assert_array_equal(one[0], expected)
    many = CrossFitter(cv=3, n_repeats=4, random_state=1).predict(nuisance, X, groups=groups).folds
    assert all(len(set(row[groups == g])) == 1 for row in many for g in range(18))
    assert len({tuple(row) for row in many}) == 4


def test_stratified_folds_hold_equal_shares(data):
    X, y, _ = data
    arm = np.repeat([0, 1, 2], N // 3)
    folds = CrossFitter(cv=5, random_state=0).predict([Nuisance("f", DummyRegressor(), y)], X, stratify=arm).folds
    counts = [[np.sum((folds[0] == fold) & (arm == level)) for level in range(3)] for fold in range(5)]
    np.testing.assert_array_equal(counts, np.full((5, 3), 6))


def test_groups_and_strata_together(data):
    X, y, _ = data
    groups = np.repeat(np.arange(30), 3)
    arm = groups % 2
    folds = (
        CrossFitter(cv=3, random_state=0)
        .predict([Nuisance("f", DummyRegressor(), y)], X, groups=groups, stratify=arm)
        .folds[0]
    )
    assert all(len(set(folds[groups == g])) == 1 for g in range(30))
    assert all(abs(arm[folds == fold].mean() - 0.5) < 0.1 for fold in range(3))


def test_seeds_decide_splits_and_repeats_differ(data):
    X, y, _ = data
    nuisance = [Nuisance("f", DummyRegressor(), y)]

    def folds(seed, **kwargs):
        return CrossFitter(random_state=seed, **kwargs).predict(nuisance, X).folds

    np.testing.assert_array_equal(folds(1, n_repeats=3), folds(1, n_repeats=3))
    np.testing.assert_array_equal(folds(np.random.default_rng(5)), folds(np.random.default_rng(5)))
    np.testing.assert_array_equal(folds(1, n_repeats=3)[:1], folds(1))  # a repeat's split is its own
    assert not np.array_equal(folds(1), folds(2))
    fixed = KFold(5, shuffle=True, random_state=4)
    np.testing.assert_array_equal(folds(1, cv=fixed), folds(2, cv=fixed))
    repeated = folds(1, cv=fixed, n_repeats=2)
    assert not np.array_equal(repeated[0], repeated[1])
    np.testing.assert_array_equal(repeated, folds(2, cv=fixed, n_repeats=2))
    assert fixed.random_state == 4


# ---------------------------------------------------------------------- the same numbers everywhere


def _stochastic_nuisances(data):
    _, y, treatment = data
    return [
        Nuisance("forest", RandomForestRegressor(3, max_features=1), y),
        Nuisance("piped", make_pipeline(StandardScaler(), SGDRegressor(max_iter=20, tol=None)), y),
        Nuisance("arm", LogisticRegression(), treatment, method="predict_proba"),
        Nuisance("line", LinearRegression(), np.column_stack([y, y**2])),
    ]


def _predict(data, nuisances=None, **kwargs):
    fitter = CrossFitter(cv=3, n_repeats=2, random_state=42, **kwargs)
    return fitter.predict(nuisances or _stochastic_nuisances(data), data[0], stratify=data[2])


def _assert_identical(first, second):
    assert first.predictions.keys() == second.predictions.keys()
    for name, values in first.predictions.items():
        np.testing.assert_array_equal(values, second.predictions[name], err_msg=name)
    np.testing.assert_array_equal(first.folds, second.folds)


def test_predictions_do_not_depend_on_the_backend(data):
    serial = _predict(data)
    with joblib.parallel_config("threading", n_jobs=2):
        _assert_identical(serial, _predict(data))
    with joblib.parallel_config("loky", n_jobs=2):
        _assert_identical(serial, _predict(data))
    _assert_identical(serial, _predict(data, n_jobs=2))


def test_predictions_on_a_dask_cluster_are_the_same(data):
    with dask_workers():
        on_cluster = _predict(data)
    _assert_identical(_predict(data), on_cluster)


def test_order_and_company_of_nuisances_do_not_matter(data):
    nuisances = _stochastic_nuisances(data)
    serial = _predict(data, nuisances)
    _assert_identical(serial, _predict(data, nuisances[::-1]))
    alone = _predict(data, nuisances[:1])
    np.testing.assert_array_equal(alone.predictions["forest"], serial.predictions["forest"])


def test_tasks_draw_from_different_streams(data):
    X, y, _ = data
    same_twice = [Nuisance(name, RandomForestRegressor(2, max_features=1), y) for name in ("a", "b")]
    result = CrossFitter(cv=2, random_state=0).predict(same_twice, X).predictions
    assert not np.array_equal(result["a"], result["b"])
    fixed = [Nuisance(name, RandomForestRegressor(2, max_features=1, random_state=9), y) for name in ("a", "b")]
    result = CrossFitter(cv=2, random_state=0).predict(fixed, X).predictions
    np.testing.assert_array_equal(result["a"], result["b"])


def test_estimators_of_the_user_stay_untouched(data):
    X, y, _ = data
    model = RandomForestRegressor(2)
    before = model.get_params()
    CrossFitter(cv=2, random_state=0).predict([Nuisance("f", model, y)], X)
    assert model.get_params() == before
    assert not hasattr(model, "estimators_")


def test_blas_threads_are_restored(data):
    from threadpoolctl import threadpool_info

    def threads():
        return {lib["filepath"]: lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}

    before = threads()
    with joblib.parallel_config("threading", n_jobs=2):
        _predict(data)
    with pytest.raises(RuntimeError):
        CrossFitter(cv=2).predict([Nuisance("f", Broken(), data[1])], data[0])
    assert threads() == before


def test_progress_goes_to_standard_error(data, capsys):
    X, y, _ = data
    nuisance = [Nuisance("f", DummyRegressor(), y)]
    quiet = CrossFitter(cv=4, random_state=0).predict(nuisance, X)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    loud = CrossFitter(cv=4, random_state=0, verbose=1).predict(nuisance, X)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [f"{done}/4" in captured.err for done in range(1, 5)] == [True] * 4
    assert captured.err.endswith("4/4\n")
    _assert_identical(quiet, loud)


# ---------------------------------------------------------------------- failures


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_failing_model_is_named(data, n_jobs):
    X, y, _ = data
    nuisances = [Nuisance("good", DummyRegressor(), y), Nuisance("bad", Broken(), y)]
    words = r"nuisance 'bad' \(Broken\) in repeat 0, fold \d failed with ZeroDivisionError: division of zero"
    with pytest.raises(RuntimeError, match=words), joblib.parallel_config("threading"):
        CrossFitter(cv=3, n_jobs=n_jobs).predict(nuisances, X)


@pytest.mark.parametrize(
    ("how", "words"), [("nan", "predict returned NaN or infinity"), ("shape", r"returned shape \(30, 2\), expected")]
)
def test_wrong_output_is_named(data, how, words):
    X, y, _ = data
    with pytest.raises(ValueError, match=rf"nuisance 'bad' .*fold 0 .*{words}"):
        CrossFitter(cv=3).predict([Nuisance("bad", Broken(how), y)], X)


def test_interrupt_passes_through_and_leaves_nothing(data):
    X, y, _ = data
    fitter = CrossFitter(cv=3)
    before = dict(vars(fitter))
    with pytest.raises(KeyboardInterrupt):
        fitter.predict([Nuisance("good", DummyRegressor(), y), Nuisance("bad", Broken("interrupt"), y)], X)
    assert vars(fitter) == before


def test_absent_level_is_named_before_any_fit(data):
    X, y, _ = data
    rare = np.repeat(["a", "b", "c"], [1, 40, N - 41])
    nuisances = [Nuisance("would_fail", Broken(), y), Nuisance("arm", LogisticRegression(), rare, "predict_proba")]
    with pytest.raises(ValueError, match=r"'arm' in repeat 0, fold 0: level .*'a'.* absent from the training rows"):
        CrossFitter(cv=KFold(3)).predict(nuisances, X)


@pytest.mark.parametrize(
    ("cv", "words"),
    [
        (ShuffleSplit(3, random_state=0), "hold out every row exactly once"),
        ([(np.arange(50), np.arange(50, N))], "row 0 is held out 0 times"),
        ([(np.arange(N), np.arange(N))], "row 0 into both"),
        ([(np.arange(0), np.arange(N))], "no rows to train on"),
        ([(np.arange(5), np.array([200]))], "rows outside 0..89"),
        (1, "cv must be an integer between 2 and 90"),
    ],
)
def test_bad_splits(data, cv, words):
    X, y, _ = data
    with pytest.raises(ValueError, match=words):
        CrossFitter(cv=cv).predict([Nuisance("f", DummyRegressor(), y)], X)


@pytest.mark.parametrize("cv", [KFold(3), [(np.arange(45), np.arange(45, N)), (np.arange(45, N), np.arange(45))]])
def test_repeats_of_the_same_split_are_refused(data, cv):
    X, y, _ = data
    with pytest.raises(ValueError, match="n_repeats=2 needs splits that differ"):
        CrossFitter(cv=cv, n_repeats=2).predict([Nuisance("f", DummyRegressor(), y)], X)


def test_bad_nuisances(data):
    X, y, treatment = data
    model = LinearRegression()
    nan = np.where(np.arange(N) == 3, np.nan, y)
    cases = [
        ([], "nuisances is empty"),
        ([Nuisance("f", model, y), Nuisance("f", model, y)], "distinct names"),
        ([Nuisance("f", model, y, method="transform")], "method must be one of"),
        ([Nuisance("f", model, y), Nuisance("g", model, y[:10])], "'g': y has 10 rows"),
        ([Nuisance("f", model, y, X=X[:10])], "X has 10 rows"),
        ([Nuisance("f", model, nan)], "y contains NaN"),
        ([Nuisance("f", model, treatment)], "must be numeric for predict"),
        ([Nuisance("f", model, np.c_[y, y], method="predict_proba")], "does not take"),
        ([Nuisance("f", model, y, train_mask=np.arange(N))], "train_mask must be boolean"),
        ([Nuisance("f", model, y, train_mask=np.zeros(N, bool))], "no rows to train on"),
        ([Nuisance("f", model, y, sample_weight=-np.ones(N))], "must not be negative"),
        ([Nuisance("f", ShuffledClasses(), treatment, "predict_proba", np.ones(N))], "takes no sample_weight"),
    ]
    for nuisances, words in cases:
        with pytest.raises(ValueError, match=words):
            CrossFitter(cv=3).predict(nuisances, X)
    with pytest.raises(ValueError, match="has no features"):
        CrossFitter().predict([Nuisance("f", model, y)])
    with pytest.raises(ValueError, match="stratify must hold one label per row"):
        CrossFitter().predict([Nuisance("f", model, y)], X, stratify=y[:4])
