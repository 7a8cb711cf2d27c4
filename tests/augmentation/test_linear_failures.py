"""Bad input to the linear estimators: the class of each error, and words for argument, expectation and remedy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from causalkit.augmentation import IVLikeRegressor, IVLikeRegressorCV
from causalkit.augmentation.augmenters import AdditiveNoise, NullSpaceShift, Permutation, Scaling, SignFlip
from causalkit.exceptions import (
    AugmentationError,
    InferenceUnavailableError,
    LeakageWarning,
    MethodNotApplicableError,
    NoInvariantDirectionError,
    NotFittedError,
    PredictiveSelectionWarning,
    RankError,
    UnderIdentifiedError,
    WeakInstrumentWarning,
)
from causalkit.persistence import load, save

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = X @ np.ones(3) + RNG.normal(size=60)
G = RNG.normal(size=(60, 2))
GX = X + G @ np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
Z = X[:, :2] + RNG.normal(size=(60, 2))
BAD_ROW = GX.copy()
BAD_ROW[7, 1] = np.nan
CONTROLS = pd.DataFrame({"age": X[:, 0] ** 2, "income": X[:, 1] ** 2})


def fit(*, cv: bool = False, data: tuple[Any, Any] = (X, Y), arguments: Any = None, **options: Any) -> Any:
    model = (IVLikeRegressorCV if cv else IVLikeRegressor)(**options)
    with warnings.catch_warnings():
        for category in (WeakInstrumentWarning, PredictiveSelectionWarning):
            warnings.simplefilter("ignore", category)
        return model.fit(*data, **(arguments or {}))


def in_place(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    X += 1
    return X


def too_narrow(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return X[:, :2]


def infinite(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    out = X.copy()
    out[4] = np.inf
    return out


def without_parameters(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return X + rng.normal(size=X.shape)


def streamed() -> IVLikeRegressor:
    return IVLikeRegressor().partial_fit(X, Y, augmented=GX)


PAIRS = {"augmented": GX, "augmentation_parameters": G}
Case = tuple[str, Callable[[], Any], type[Exception], list[str]]

CASES: list[Case] = [
    # alpha and the other numbers
    (
        "alpha_negative",
        lambda: fit(alpha=-0.5),
        ValueError,
        ["alpha must be in [0, inf]", "-0.5", "k-class", "instrument_diagnostics"],
    ),
    ("alpha_nan", lambda: fit(alpha=np.nan), ValueError, ["alpha must be in [0, inf]", "nan"]),
    ("alpha_text", lambda: fit(alpha="big"), ValueError, ["alpha must be in [0, inf]", "'big'"]),
    ("alpha_flag", lambda: fit(alpha=True), ValueError, ["alpha must be in [0, inf]", "True"]),
    ("alpha_of_stream", lambda: IVLikeRegressor(alpha=-1).partial_fit(X, Y), ValueError, ["alpha must be in"]),
    ("alpha_of_path", lambda: fit().path([0.1, -1]), ValueError, ["alpha must be in [0, inf]", "-1"]),
    ("alphas", lambda: fit(cv=True, alphas=[0.1, np.nan]), ValueError, ["alpha must be in [0, inf]"]),
    ("ridge", lambda: fit(ridge=-1), ValueError, ["ridge", "finite number of at least 0", "-1"]),
    ("rank_tol", lambda: fit(rank_tol=np.inf), ValueError, ["rank_tol", "at least 0", "inf"]),
    ("n_draws_zero", lambda: fit(n_draws=0), ValueError, ["n_draws", "at least 1", "0"]),
    ("n_draws_text", lambda: fit(n_draws="all"), ValueError, ["n_draws", "'all'"]),
    ("penalty_unknown", lambda: fit(penalty="ridge"), ValueError, ["penalty", "'pointwise'", "'ridge'"]),
    # where the variation comes from
    (
        "nothing_to_penalise",
        lambda: fit(penalty="pointwise"),
        AugmentationError,
        ['penalty="pointwise"', "augmentation=", "augmented=", "instruments="],
    ),
    (
        "both_augmentations",
        lambda: fit(augmentation=AdditiveNoise(), arguments={"augmented": GX}),
        AugmentationError,
        ["augmentation and augmented", "drop augmented="],
    ),
    (
        "instruments_and_augmentation",
        lambda: fit(augmentation=AdditiveNoise(), arguments={"instruments": Z}),
        AugmentationError,
        ["instruments and augmentation", "drop instruments=", "invariance_test"],
    ),
    (
        "instruments_and_augmented",
        lambda: fit(arguments={"augmented": GX, "instruments": Z}),
        AugmentationError,
        ["instruments and augmented", "drop", "invariance_test"],
    ),
    (
        "parameters_alone",
        lambda: fit(arguments={"augmentation_parameters": G}),
        AugmentationError,
        ["augmentation_parameters", "augmented="],
    ),
    (
        "augmentation_by_name",
        lambda: fit(augmentation="flip"),
        AugmentationError,
        ["augmentation must be an augmenter or a callable", "'flip'"],
    ),
    (
        "augmented_shape",
        lambda: fit(arguments={"augmented": GX[:, :2]}),
        AugmentationError,
        ["augmented", "(60, 3) or (60, R, 3)", "(60, 2)"],
    ),
    (
        "augmented_nan",
        lambda: fit(arguments={"augmented": BAD_ROW}),
        AugmentationError,
        ["augmented", "NaN or infinity", "first: row 7"],
    ),
    (
        "augmenter_in_place",
        lambda: fit(augmentation=in_place),
        AugmentationError,
        ["in_place changed X in place", "row: 0", "copy"],
    ),
    (
        "augmenter_shape",
        lambda: fit(augmentation=too_narrow),
        AugmentationError,
        ["too_narrow", "expected (60, 3)", "(60, 2)"],
    ),
    (
        "augmenter_infinite",
        lambda: fit(augmentation=infinite),
        AugmentationError,
        ["infinite", "NaN or infinity", "first bad row: 4"],
    ),
    (
        "paired_without_parameters",
        lambda: fit(penalty="paired", arguments={"augmented": GX}),
        AugmentationError,
        ['penalty="paired"', "pass augmentation_parameters=", 'penalty="pointwise"'],
    ),
    (
        "projected_function_without_parameters",
        lambda: fit(penalty="projected", augmentation=without_parameters),
        AugmentationError,
        ['penalty="projected"', "without_parameters", "return (GX, G)"],
    ),
    (
        "sparse_filled",
        lambda: fit(augmentation=AdditiveNoise(), data=(sparse.csr_matrix(X), Y)),
        AugmentationError,
        ["AdditiveNoise()", "sparse X", "preserves sparsity", "partial_fit"],
    ),
    (
        "sparse_filled_by_function",
        lambda: fit(augmentation=lambda X, rng: X.toarray(), data=(sparse.csr_matrix(X), Y)),
        AugmentationError,
        ["sparse X", "dense chunks to partial_fit"],
    ),
    # methods that do not apply
    (
        "analytic_multiplicative",
        lambda: fit(augmentation=Scaling(0.5, 2.0), penalty="analytic"),
        MethodNotApplicableError,
        ["Scaling", "no known covariance", "pointwise"],
    ),
    (
        "analytic_function",
        lambda: fit(augmentation=without_parameters, penalty="analytic"),
        MethodNotApplicableError,
        ["without_parameters", "pointwise"],
    ),
    (
        "analytic_map",
        lambda: fit(augmentation=AdditiveNoise(), penalty="analytic", feature_map=StandardScaler()),
        MethodNotApplicableError,
        ["analytic", "feature_map", "pointwise"],
    ),
    (
        "analytic_given",
        lambda: fit(penalty="analytic", arguments={"augmented": GX}),
        MethodNotApplicableError,
        ["analytic", "augmented=", "pointwise"],
    ),
    (
        "instruments_pointwise",
        lambda: fit(penalty="pointwise", arguments={"instruments": Z}),
        MethodNotApplicableError,
        ['penalty="pointwise"', 'penalty="projected"'],
    ),
    (
        "no_orbit",
        lambda: fit(augmentation=AdditiveNoise(), n_draws="orbit"),
        MethodNotApplicableError,
        ["AdditiveNoise", "no orbit", "integer n_draws"],
    ),
    (
        "large_orbit",
        lambda: fit(augmentation=Permutation([range(7)]), n_draws="orbit", data=(RNG.normal(size=(60, 7)), Y)),
        MethodNotApplicableError,
        ["5040 elements", "1024", "integer n_draws"],
    ),
    # rank
    (
        "constant_column_of_rounding_error",
        lambda: fit(data=(np.column_stack([X, np.full(60, 0.1)]), Y)),
        RankError,
        ["rank 3", "(x3 are", "n_samples = 60", "ridge > 0"],
    ),
    (
        "feature_within_controls",
        lambda: fit(arguments={"exogenous": X[:, :1] / 3}),
        RankError,
        ["rank 2", "(x0 are", "ridge > 0"],
    ),
    (
        "constant_parameters",
        lambda: fit(penalty="paired", arguments={"augmented": GX, "augmentation_parameters": np.ones((60, 2))}),
        AugmentationError,
        ["parameters or instruments are constant", "parameter0", "vary between rows"],
    ),
    (
        "constant_instruments",
        lambda: fit(arguments={"instruments": np.ones((60, 2))}),
        AugmentationError,
        ["instruments are constant", "vary between rows"],
    ),
    (
        "as_many_instruments_as_rows",
        lambda: fit(arguments={"instruments": RNG.normal(size=(60, 59))}),
        UnderIdentifiedError,
        ["rank 59 for 60 rows", "identity", 'penalty="pointwise"'],
    ),
    (
        "more_features_than_rows",
        lambda: fit(data=(RNG.normal(size=(10, 20)), Y[:10])),
        RankError,
        ["rank 9", "p = 20", "ridge > 0"],
    ),
    (
        "duplicate_columns",
        lambda: fit(data=(pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": 2 * X[:, 0]}), Y)),
        RankError,
        ["rank 2", "p = 3", "a, c", "set ridge > 0, or drop"],
    ),
    ("constant_column", lambda: fit(data=(np.column_stack([X, np.ones(60)]), Y)), RankError, ["x3", "ridge > 0"]),
    (
        "all_moved",
        lambda: fit(alpha=0.0, augmentation=AdditiveNoise()),
        NoInvariantDirectionError,
        ["moves all 3 directions", "alpha > 0", "narrower"],
    ),
    (
        "all_moved_constrained",
        lambda: fit(penalty="constrained", augmentation=AdditiveNoise()),
        NoInvariantDirectionError,
        ["only a constant is invariant", "alpha > 0"],
    ),
    (
        "all_moved_analytic",
        lambda: fit(alpha=0.0, penalty="analytic", augmentation=AdditiveNoise()),
        NoInvariantDirectionError,
        ["alpha > 0"],
    ),
    (
        "all_moved_on_the_path",
        lambda: fit(augmentation=AdditiveNoise()).path([0.0]),
        NoInvariantDirectionError,
        ["alpha > 0"],
    ),
    (
        "too_few_instruments",
        lambda: fit(alpha=0.0, arguments={"instruments": Z}),
        UnderIdentifiedError,
        ["rank 2", "p = 3", "alpha > 0, or fewer columns of X"],
    ),
    # choosing alpha
    ("selection_unknown", lambda: fit(cv=True, selection="aic"), ValueError, ["selection", "'tolerance'", "'aic'"]),
    (
        "evaluate_on_unknown",
        lambda: fit(cv=True, evaluate_on="both"),
        ValueError,
        ["evaluate_on", "'original'", "'both'"],
    ),
    (
        "gcv_projected",
        lambda: fit(cv=True, selection="gcv", arguments={"instruments": Z}),
        MethodNotApplicableError,
        ['selection="gcv"', 'penalty="projected"', "p for every alpha", '"cv"'],
    ),
    (
        "tolerance_projected",
        lambda: fit(cv=True, selection="tolerance", tolerance=0.1, arguments={"instruments": Z}),
        MethodNotApplicableError,
        ['selection="tolerance"', "no pairs", "confounder_correction"],
    ),
    (
        "tolerance_missing",
        lambda: fit(cv=True, selection="tolerance"),
        ValueError,
        ["tolerance", "at least 0", "None", "share of Var(y)"],
    ),
    (
        "tolerance_negative",
        lambda: fit(cv=True, selection="tolerance", tolerance=-0.1),
        ValueError,
        ["tolerance", "at least 0", "-0.1"],
    ),
    (
        "tolerance_strict_all_moved",
        lambda: fit(cv=True, selection="tolerance", tolerance=0, augmentation=AdditiveNoise()),
        NoInvariantDirectionError,
        ["alpha > 0"],
    ),
    (
        "tolerance_outcomes",
        lambda: fit(cv=True, selection="tolerance", tolerance=0.1, data=(X, np.column_stack([Y, Y**2]))),
        MethodNotApplicableError,
        ["one outcome", "one at a time"],
    ),
    (
        "correction_one_feature",
        lambda: fit(cv=True, selection="confounder_correction", data=(X[:, :1], Y)),
        MethodNotApplicableError,
        ["at least two features", 'selection="cv"'],
    ),
    (
        "level_continuous",
        lambda: fit(cv=True, selection="level", arguments={"instruments": RNG.normal(size=(60, 9))}),
        ValueError,
        ['selection="level"', "at least 5 levels", 'selection="cv"'],
    ),
    (
        "level_without_parameters",
        lambda: fit(cv=True, selection="level", arguments={"augmented": GX}),
        MethodNotApplicableError,
        ['selection="level"', 'selection="cv"'],
    ),
    # errors and bounds
    (
        "inference_after_stream",
        lambda: streamed().inference(),
        InferenceUnavailableError,
        ["inference(chunks=[(X, y), ...])"],
    ),
    (
        "inference_after_merge",
        lambda: streamed().merge(streamed()).inference(),
        InferenceUnavailableError,
        ["inference(chunks="],
    ),
    (
        "inference_of_other_rows",
        lambda: streamed().inference(chunks=[{"X": X, "y": Y + 1, "augmented": GX}]),
        InferenceUnavailableError,
        ["chunks are other rows", "outcome of mean"],
    ),
    (
        "inference_of_fewer_rows",
        lambda: streamed().inference(chunks=[{"X": X[:9], "y": Y[:9], "augmented": GX[:9]}]),
        InferenceUnavailableError,
        ["expected 60 rows", "got 9 rows"],
    ),
    (
        "inference_at_the_limit",
        lambda: fit(alpha=0.0, penalty="projected", arguments=PAIRS).inference(),
        InferenceUnavailableError,
        ["alpha=0", "2 parameters", "alpha > 0"],
    ),
    ("inference_method", lambda: fit().inference(method="jackknife"), ValueError, ["method", "'refit'", "'jackknife'"]),
    ("n_bootstrap", lambda: fit().inference(method="refit", n_bootstrap=1), ValueError, ["n_bootstrap", "at least 2"]),
    ("r2_max_one", lambda: fit(arguments=PAIRS).bounds(1.0), ValueError, ["r2_max must be in [0, 1)", "1.0"]),
    ("r2_max_nan", lambda: fit(arguments=PAIRS).bounds(np.nan), ValueError, ["r2_max must be in [0, 1)", "nan"]),
    (
        "bounds_of_instruments",
        lambda: fit(arguments={"instruments": Z}).bounds(0.5),
        MethodNotApplicableError,
        ["real instruments", "anderson_rubin"],
    ),
    (
        "bounds_of_outcomes",
        lambda: fit(data=(X, np.column_stack([Y, Y]))).bounds(0.5),
        MethodNotApplicableError,
        ["one outcome", "one at a time"],
    ),
    (
        "contrast_width",
        lambda: fit(arguments=PAIRS).bounds(0.5, contrast=[1.0, 2.0]),
        ValueError,
        ["contrast", "3 finite columns", "(1, 2)"],
    ),
    # merging and streams
    (
        "merge_alpha",
        lambda: streamed().merge(IVLikeRegressor(alpha=2.0).partial_fit(X, Y, augmented=GX)),
        ValueError,
        ["cannot merge", "alpha is 0.1 here and 2.0 there"],
    ),
    (
        "merge_names",
        lambda: (
            IVLikeRegressor()
            .partial_fit(pd.DataFrame(X, columns=list("abc")), Y)
            .merge(IVLikeRegressor().partial_fit(X, Y))
        ),
        ValueError,
        ["cannot merge", "features", "['a', 'b', 'c']"],
    ),
    (
        "merge_kinds",
        lambda: streamed().merge(IVLikeRegressor().partial_fit(X, Y)),
        ValueError,
        ["cannot merge", "variation"],
    ),
    (
        "merge_widths",
        lambda: IVLikeRegressor().partial_fit(X, Y).merge(IVLikeRegressor().partial_fit(X[:, :2], Y)),
        ValueError,
        ["cannot merge"],
    ),
    ("merge_unfitted", lambda: streamed().merge(IVLikeRegressor()), NotFittedError, ["not fitted"]),
    (
        "stream_without_controls",
        lambda: IVLikeRegressor().partial_fit(X, Y, exogenous=CONTROLS).partial_fit(X, Y),
        ValueError,
        ["other columns", "same arguments with every chunk"],
    ),
    # prediction
    (
        "missing_controls",
        lambda: fit(arguments={"exogenous": CONTROLS}).predict(X),
        ValueError,
        ["exogenous is missing", "'age'", "'income'"],
    ),
    (
        "surplus_controls",
        lambda: fit().predict(X, exogenous=CONTROLS),
        ValueError,
        ["exogenous", "no controls", "leave it out"],
    ),
    (
        "fewer_controls",
        lambda: fit(arguments={"exogenous": CONTROLS}).predict(X, exogenous=CONTROLS[["age"]]),
        ValueError,
        ["exogenous has 1 columns, expected 2", "'income'"],
    ),
    # rows
    ("X_nan", lambda: fit(data=(BAD_ROW, Y)), ValueError, ["NaN"]),
    ("y_rows", lambda: fit(data=(X, Y[:50])), ValueError, ["inconsistent numbers of samples"]),
    (
        "weight_rows",
        lambda: fit(arguments={"sample_weight": np.ones(50)}),
        ValueError,
        ["sample_weight has 50 rows", "X has 60"],
    ),
    (
        "weight_negative",
        lambda: fit(arguments={"sample_weight": -np.ones(60)}),
        ValueError,
        ["sample_weight must not be negative"],
    ),
    (
        "weight_zero",
        lambda: fit(arguments={"sample_weight": np.zeros(60)}),
        ValueError,
        ["sample_weight must have a positive sum"],
    ),
    (
        "controls_rows",
        lambda: fit(arguments={"exogenous": CONTROLS[:50]}),
        ValueError,
        ["exogenous has 50 rows", "X has 60"],
    ),
    (
        "instruments_rows",
        lambda: fit(arguments={"instruments": Z[:50]}),
        ValueError,
        ["instruments has 50 rows", "X has 60"],
    ),
    ("groups_rows", lambda: fit(arguments={"groups": np.arange(50)}), ValueError, ["groups", "(60,)", "(50,)"]),
    (
        "order_of_labels",
        lambda: fit(data=(pd.DataFrame(X, index=range(60)), pd.Series(Y, index=range(59, -1, -1)))),
        ValueError,
        ["X and y have the same index labels in a different order"],
    ),
    ("unfitted", lambda: IVLikeRegressor().bounds(0.5), NotFittedError, ["not fitted"]),
]


@pytest.mark.parametrize(("name", "call", "error", "words"), CASES, ids=[case[0] for case in CASES])
def test_error(name: str, call: Callable[[], Any], error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)


def test_names_of_cases_are_different() -> None:
    assert len({case[0] for case in CASES}) == len(CASES)


# ---------------------------------------------------------------------- warnings


@pytest.mark.parametrize("column", ["constant", "collinear"])
@pytest.mark.parametrize("kind", ["instruments", "parameters"])
def test_redundant_columns(column: str, kind: str) -> None:
    table = pd.DataFrame(Z if kind == "instruments" else G, columns=["rain", "wind"])
    table["more"] = 2.0 if column == "constant" else table["rain"] - table["wind"]
    if kind == "instruments":
        model, given = IVLikeRegressor(), {"instruments": table}
    else:
        model, given = IVLikeRegressor(penalty="paired"), {"augmented": GX, "augmentation_parameters": table}
    with pytest.warns(WeakInstrumentWarning, match=r"'more'.*constant or collinear.*of rank 2 of 3"):
        model.fit(X, Y, **given)
    assert model.n_parameters_ == 2
    narrow = {name: value[["rain", "wind"]] if value is table else value for name, value in given.items()}
    expected = IVLikeRegressor(penalty=model.penalty).fit(X, Y, **narrow)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8)


def test_each_warning_has_its_class() -> None:
    leak = {"augmented": X + Y[:, None], "augmentation_parameters": Y}
    with pytest.warns(LeakageWarning, match=r"y on G.*without looking at X or y"):
        IVLikeRegressor().fit(X, Y, **leak)
    with pytest.warns(WeakInstrumentWarning, match=r"does not move the mean.*penalty='pointwise'"):
        IVLikeRegressor(penalty="paired", augmentation=SignFlip(), random_state=0).fit(X - X.mean(axis=0), Y)
    with pytest.warns(PredictiveSelectionWarning, match=r"prefers too large an alpha.*hold alpha at 0\.1"):
        IVLikeRegressorCV(cv=3).fit(X, Y, augmented=GX)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        IVLikeRegressor(augmentation=NullSpaceShift(np.eye(3)[:1]), random_state=0).fit(X, Y)
        IVLikeRegressor().fit(X, Y, instruments=Z)


# ---------------------------------------------------------------------- what a failure leaves behind


class Interrupting:
    """An augmentation that is interrupted in its second call."""

    def __init__(self, error: type[BaseException]) -> None:
        self.calls, self.error = 0, error

    def __call__(self, X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        self.calls += 1
        if self.calls > 1:
            raise self.error
        return X + rng.normal(size=X.shape)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("cv", [False, True])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_fit_that_breaks_leaves_the_old_one(error: type[BaseException], cv: bool, method: str) -> None:
    if cv and method == "partial_fit":
        return  # a choice of alpha needs all rows
    model = IVLikeRegressorCV(selection="gcv") if cv else IVLikeRegressor()
    model.set_params(augmentation=Interrupting(error), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PredictiveSelectionWarning)
        model.fit(X, Y)
        before, state = model.predict(X), dict(vars(model))
        with pytest.raises(error):
            getattr(model, method)(pd.DataFrame(X, columns=list("abc")) if method == "fit" else 2 * X, Y)
    assert vars(model) == state
    np.testing.assert_array_equal(model.predict(X), before)
    assert not hasattr(model, "feature_names_in_")
    fresh = IVLikeRegressor(augmentation=Interrupting(error), n_draws=2)
    with pytest.raises(error):
        fresh.fit(X, Y)
    assert set(vars(fresh)) == set(fresh.get_params())


def test_every_stage_of_a_failed_fit_is_undone() -> None:
    model = IVLikeRegressor(alpha=0.3).fit(X, Y, augmented=GX, exogenous=CONTROLS)
    state = dict(vars(model))
    for data, given in (
        ((X, Y), {"augmented": BAD_ROW}),
        ((RNG.normal(size=(5, 9)), Y[:5]), {}),
        ((X, Y), {"instruments": np.ones(60)}),
        ((X[:, :2], Y), {"augmented": GX}),
    ):
        with pytest.raises(ValueError, match=r"NaN|rank|constant|shape"):
            model.fit(*data, **given)
        assert vars(model) == state
    assert not hasattr(model.fit(X, Y), "exogenous_coef_")


def test_a_loaded_fit_has_no_rows(tmp_path: Any) -> None:
    save(IVLikeRegressor().fit(X, Y, augmented=GX), tmp_path / "model")
    with pytest.raises(InferenceUnavailableError, match=r"loaded keeps moments only.*inference\(chunks="):
        load(tmp_path / "model").inference()


@pytest.mark.parametrize("changed", ["X", "y"])
def test_rows_changed_after_the_fit_are_noticed(changed: str) -> None:
    features, y = X.copy(), Y.copy()
    model = IVLikeRegressor().fit(features, y)
    (features if changed == "X" else y)[0] += 5
    with pytest.raises(InferenceUnavailableError, match=r"X or y was changed after fit.*Pass exactly the rows"):
        model.inference()
