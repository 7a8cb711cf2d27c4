"""Odd input to the linear estimators: extreme alphas and scales, columns in another order, broken chunks and splits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.kernel_approximation import Nystroem
from sklearn.preprocessing import FunctionTransformer

from causalkit.augmentation import (
    IVLikeBoostingRegressor,
    IVLikeNetClassifier,
    IVLikeNetRegressor,
    IVLikeRegressor,
    IVLikeRegressorCV,
)
from causalkit.augmentation.augmenters import AdditiveNoise, Masking, NullSpaceShift
from causalkit.augmentation.diagnostics import leak_tests
from causalkit.datasets import load_optical_device
from causalkit.exceptions import (
    AugmentationError,
    InferenceUnavailableError,
    LeakageWarning,
    PredictiveSelectionWarning,
)

RNG = np.random.default_rng(5)
N = 200
X = RNG.normal(size=(N, 3)) @ RNG.normal(size=(3, 3))
Y = X @ [1.0, 2.0, 0.0] + RNG.normal(size=N)
NOISE = AdditiveNoise(columns=[2])
FRAME = pd.DataFrame(X, columns=list("abc"))
CONTROLS = pd.DataFrame(RNG.normal(size=(N, 2)), columns=["u", "v"])
Z = RNG.normal(size=(N, 4))
XZ = X + Z[:, :3]


def model(**options: Any) -> IVLikeRegressor:
    return IVLikeRegressor(**{"augmentation": NOISE, "random_state": 0, **options})


def selected(**options: Any) -> IVLikeRegressorCV:
    arguments = {"X": X, "y": Y, "sample_weight": None}
    arguments |= {name: options.pop(name) for name in list(options) if name in arguments}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PredictiveSelectionWarning)
        return IVLikeRegressorCV(**{"augmentation": NOISE, "random_state": 0, **options}).fit(**arguments)


# ---------------------------------------------------------------------- alphas close to zero


SIZES = np.array([1e6, 1.0, 1e-6])  # of the columns
OBLIQUE = RNG.normal(size=(1, 3)) * SIZES  # no column is still, so that rounding takes part


@pytest.mark.parametrize("penalty", ["pointwise", "paired", "analytic"])
@pytest.mark.parametrize("alpha", [1e-310, 1e-30, 1e-18, 1e-14])
def test_errors_at_tiny_alpha_are_those_of_least_squares_within_the_still_directions(
    penalty: str, alpha: float
) -> None:
    fit = model(alpha=alpha, penalty=penalty, augmentation=NullSpaceShift(OBLIQUE)).fit(X * SIZES, Y)
    still = np.linalg.svd(OBLIQUE / SIZES)[2][1:].T  # of columns of size one
    features = fit.moments_.average("X")  # the shift leaves still directions alone, and moves means by chance
    reduced = (X - features / SIZES) @ still
    e = Y - Y.mean()
    coef = np.linalg.lstsq(reduced, e, rcond=None)[0]
    bread = np.linalg.inv(reduced.T @ reduced)
    score = reduced * (e - reduced @ coef)[:, None]
    cov = still @ bread @ score.T @ score @ bread @ still.T
    np.testing.assert_allclose(fit.coef_ * SIZES, still @ coef, rtol=1e-8)
    np.testing.assert_allclose(fit.inference().std_error[1:] * SIZES, np.sqrt(np.diag(cov)), rtol=1e-6)


@pytest.mark.parametrize("alpha", [1e-300, 1e-30, 1e-16])
def test_no_errors_where_few_instruments_and_alpha_leave_rounding_alone(alpha: float) -> None:
    fit = IVLikeRegressor(alpha=alpha).fit(XZ, Y, instruments=Z[:, :2])
    with pytest.raises(InferenceUnavailableError, match="use alpha > 0"):
        fit.inference()


def test_rank_tolerance_of_zero_does_not_count_rounding() -> None:
    collinear = np.column_stack([Z[:, :3], Z[:, :3] @ RNG.normal(size=(3, 4))])
    fit = IVLikeRegressor(alpha=0.1, rank_tol=0).fit
    with pytest.warns(UserWarning, match="of rank 3 of 7"):
        coef = fit(XZ, Y, instruments=collinear).coef_
    np.testing.assert_allclose(coef, IVLikeRegressor(alpha=0.1).fit(XZ, Y, instruments=Z[:, :3]).coef_, rtol=1e-9)


def test_rank_tolerance_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="rank_tol must be a share below 1"):
        IVLikeRegressor(rank_tol=1).fit(XZ, Y, instruments=Z)


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize(("distance", "rank"), [(1.0, 4), (1e-2, 4), (3e-4, 4), (1e-6, 3), (0.0, 3)])
def test_reduced_parameters_have_unit_moments_at_any_distance_from_collinearity(distance: float, rank: int) -> None:
    G = np.column_stack([Z[:, :3] * [1e6, 1.0, 1e-6], 1e6 * Z[:, 0] + 1e6 * distance * Z[:, 3]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = IVLikeRegressor(alpha=0.1).fit(XZ, Y, instruments=G)
    reduced = (G - G.mean(axis=0)) @ fit._problem.reduction
    np.testing.assert_allclose(reduced.T @ reduced / N, np.eye(rank), atol=1e-6)
    # The projection itself, from a basis of the span by singular values.
    x, y = XZ - XZ.mean(axis=0), Y - Y.mean()
    span = Z[:, :3] if rank == 3 else Z
    basis = np.linalg.svd(span - span.mean(axis=0), full_matrices=False)[0]
    projected = basis.T @ x
    direct = np.linalg.solve(0.1 * x.T @ x + projected.T @ projected, 0.1 * x.T @ y + projected.T @ (basis.T @ y))
    np.testing.assert_allclose(fit.coef_, direct, rtol=1e-4 if distance else 1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_rows_keep_their_digits_beside_an_outcome_with_a_large_mean(weighted: bool) -> None:
    rows = sparse.random(N, 4, density=0.4, format="csr", random_state=0)
    outcome = rows @ np.arange(4.0) + RNG.normal(size=N)
    weight = RNG.exponential(size=N) if weighted else None
    options = {"augmentation": Masking(0.3), "random_state": 0}
    fit = IVLikeRegressor(**options).fit(rows, outcome + 1e8, sample_weight=weight)
    dense = IVLikeRegressor(**options).fit(rows.toarray(), outcome, sample_weight=weight)
    np.testing.assert_allclose(fit.coef_, dense.coef_, atol=1e-7)
    np.testing.assert_allclose(fit.path([0.1]).risk, dense.path([0.1]).risk, rtol=1e-6)


def test_path_over_many_alphas_and_outcomes_equals_direct_solves() -> None:
    outcomes = np.column_stack([Y, Y**2, X[:, 0]])
    fit = IVLikeRegressor(augmentation=NullSpaceShift([[0.0, 1.0, 2.0]]), random_state=0).fit(X, outcomes)
    moments = fit.moments_
    A, a = moments.second("x", "x"), moments.second("x", "y")
    B = moments.second("d", "d", centred=False)
    alphas = np.logspace(-4, 4, 9)
    direct = [np.linalg.solve(alpha * A + B, alpha * a).T for alpha in alphas]
    np.testing.assert_allclose(fit.path(alphas).coef, direct, rtol=1e-9, atol=1e-12)


def test_a_constant_outcome_gives_no_nan() -> None:
    for selection in ("gcv", "confounder_correction"):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            scores = selected(selection=selection, y=np.ones(N)).scores_
        assert np.isfinite(scores).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        table = model().fit(X, np.ones(N)).diagnostics().breakdown
    assert table["confounding_needed"].tolist() == [0.0]


def test_an_outcome_without_noise_has_bounds_without_invariance_at_least_squares() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        bounds = model().fit(X, X @ [1.0, 2.0, 3.0]).bounds(0.1)
    np.testing.assert_allclose(bounds.lower_without, [1, 2, 3], atol=1e-5)
    np.testing.assert_allclose(bounds.upper_without, [1, 2, 3], atol=1e-5)


def test_features_that_are_called_like_columns_of_the_path_stay_in_its_frame() -> None:
    named = pd.DataFrame(X, columns=["risk", "penalty", "intercept"])
    fit = model().fit(named, Y)
    frame = fit.path([fit.alpha_]).to_frame()
    np.testing.assert_allclose(frame.iloc[0, :3], fit.coef_)
    assert list(frame.columns) == ["risk", "penalty", "intercept", "intercept", "risk", "penalty", "degrees_of_freedom"]


# ---------------------------------------------------------------------- rows and columns in another order


def test_controls_in_another_order_are_refused_in_predict() -> None:
    fit = model().fit(FRAME, Y, exogenous=CONTROLS)
    with pytest.raises(ValueError, match=r"exogenous must have the columns of the fit.*'u', 'v'.*'v', 'u'"):
        fit.predict(FRAME, exogenous=CONTROLS[["v", "u"]])
    np.testing.assert_array_equal(
        fit.predict(FRAME, exogenous=CONTROLS.to_numpy()), fit.predict(FRAME, exogenous=CONTROLS)
    )


@pytest.mark.parametrize("name", ["exogenous", "instruments"])
def test_columns_in_another_order_are_refused_in_later_chunks(name: str) -> None:
    augmentation = NOISE if name == "exogenous" else None
    fit = model(augmentation=augmentation).partial_fit(FRAME, Y, **{name: CONTROLS})
    before = fit.coef_
    with pytest.raises(ValueError, match=f"{name} must have the columns of the fit in the same order"):
        fit.partial_fit(FRAME, Y, **{name: CONTROLS[["v", "u"]]})
    assert fit.coef_ is before
    chunk = {"X": FRAME, "y": Y, name: CONTROLS[["v", "u"]]}
    with pytest.raises(ValueError, match=f"{name} must have the columns of the fit in the same order"):
        fit.inference(chunks=[chunk])


def test_rows_in_another_order_are_refused_in_predict_and_score() -> None:
    fit = model().fit(FRAME, Y, exogenous=CONTROLS)
    shuffled = np.random.default_rng(0).permutation(N)
    with pytest.raises(ValueError, match="X and exogenous have the same index labels in a different order"):
        fit.predict(FRAME, exogenous=CONTROLS.iloc[shuffled])
    with pytest.raises(ValueError, match="X and y have the same index labels in a different order"):
        fit.score(FRAME, pd.Series(Y).iloc[shuffled], exogenous=CONTROLS)


def test_another_number_of_draws_is_refused_in_later_chunks() -> None:
    pairs = X[:, None, :] + RNG.normal(size=(N, 2, 3))
    fit = IVLikeRegressor().partial_fit(X, Y, augmented=pairs)
    with pytest.raises(ValueError, match="1 draws per row, the rows before have 2"):
        fit.partial_fit(X, Y, augmented=pairs[:, 0])


# ---------------------------------------------------------------------- clusters and chunks


@pytest.mark.parametrize("cv", [False, True])
def test_a_single_cluster_is_refused(cv: bool) -> None:
    estimator = IVLikeRegressorCV(augmentation=NOISE) if cv else model()
    with pytest.raises(ValueError, match="groups has 1 cluster"):
        estimator.fit(X, Y, groups=np.zeros(N))
    with pytest.raises(ValueError, match="groups has 1 cluster"):
        model().fit(X, Y).inference(chunks=[{"X": X, "y": Y, "groups": np.zeros(N)}])


def test_a_chunk_may_lie_within_one_cluster() -> None:
    groups = np.repeat([0, 1], N // 2)
    fit = model().partial_fit(X, Y)
    chunks = [{"X": X[groups == g], "y": Y[groups == g], "groups": groups[groups == g]} for g in (0, 1)]
    expected = model().fit(X, Y, groups=groups).inference()
    np.testing.assert_allclose(fit.inference(chunks=chunks).cov, expected.cov, rtol=1e-8, atol=1e-16)


def test_groups_in_some_chunks_only_are_refused() -> None:
    fit = model().partial_fit(X, Y)
    chunks = [{"X": X[:100], "y": Y[:100], "groups": np.arange(100)}, (X[100:], Y[100:])]
    with pytest.raises(ValueError, match=r"chunks\[1\] has no groups"):
        fit.inference(chunks=chunks)


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        (5, "iterable of chunks; got int"),
        ({"X": X, "y": Y}, "iterable of chunks; got dict"),
        ((X, Y), r"chunks\[0\] must be \(X, y\) or a dictionary; got ndarray"),
        ([(X, Y, Y)], r"chunks\[0\] must be \(X, y\)"),
        ([{"X": X}], r"chunks\[0\] must hold X and y"),
        ([{"X": X, "y": Y, "weights": Y}], "of other arguments instruments"),
    ],
)
def test_malformed_chunks_are_named(chunks: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        model().fit(X, Y).inference(chunks=chunks)


# ---------------------------------------------------------------------- splits and grids


@pytest.mark.parametrize(
    ("cv", "words"),
    [
        ([], "at least one split"),
        ([(np.arange(100), np.arange(0))], "test rows of split 0.*0 rows of weight 0"),
        ([(np.arange(0), np.arange(100))], "training rows of split 0"),
        ([(np.arange(100), np.arange(100, 500))], "got row 200"),
        ([(np.arange(100), np.arange(-100, 0))], "got row -100"),
    ],
)
def test_splits_without_rows_or_outside_them_are_named(cv: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        selected(cv=cv)


def test_a_fold_without_weight_is_refused() -> None:
    weight = np.r_[np.zeros(40), np.ones(N - 40)]
    with pytest.raises(ValueError, match=r"test rows of split 0.*40 rows of weight 0"):
        selected(cv=5, sample_weight=weight)


@pytest.mark.parametrize(
    ("alphas", "words"),
    [
        ([], "at least one number"),
        ([[1.0], [2.0, 3.0]], "flat list of numbers"),
        ([1j], "alpha must be in"),
        ([True], "alpha must be in"),
        ([0.1, np.nan], "got np.float64\\(nan\\)"),
        ([0.1, -1.0], "LIML"),
    ],
)
def test_bad_grids_of_alpha_are_named(alphas: Any, words: str) -> None:
    for call in (model().fit(X, Y).path, lambda grid: selected(alphas=grid)):
        with pytest.raises(ValueError, match=words):
            call(alphas)


@pytest.mark.parametrize("alpha", [-1, np.nan, "a"])
def test_a_path_is_read_at_alphas_only(alpha: Any) -> None:
    with pytest.raises(ValueError, match="alpha must be in"):
        model().fit(X, Y).path().at(alpha)


@pytest.mark.parametrize("contrast", ["a", ["a", "b", "c"], np.ones((2, 3, 3))])
def test_contrasts_that_are_no_rows_of_numbers_are_named(contrast: Any) -> None:
    with pytest.raises(ValueError, match="contrast must h"):
        model().fit(X, Y).bounds(0.9, contrast=contrast)


def test_one_refit_is_too_few_for_errors_of_bounds() -> None:
    with pytest.raises(ValueError, match=r"n_bootstrap must be 0.*at least 2; got 1"):
        model().fit(X, Y).bounds(0.9, n_bootstrap=1)


# ---------------------------------------------------------------------- feature maps and merging


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda rows: np.where(rows > 1, np.nan, rows), "returned NaN or infinity"),
        (lambda rows: rows[:3], r"returned shape \(3, 3\) for 200 rows"),
        (lambda rows: rows[:, 0], r"returned shape \(200,\)"),
    ],
)
def test_what_a_feature_map_returns_is_checked(function: Any, words: str) -> None:
    with pytest.raises(AugmentationError, match=f"feature_map FunctionTransformer {words}"):
        model(feature_map=FunctionTransformer(function)).fit(X, Y)


def test_what_is_no_feature_map_is_refused() -> None:
    for candidate in ("poly", Nystroem):
        with pytest.raises(ValueError, match="feature_map must be a scikit-learn transformer"):
            model(feature_map=candidate).fit(X, Y)


def test_fits_with_feature_maps_of_other_rows_are_not_merged() -> None:
    maps = [Nystroem(n_components=4, random_state=0) for _ in range(2)]
    first, second = (model(feature_map=f).fit(part, Y[:100]) for f, part in zip(maps, (X[:100], X[100:]), strict=True))
    with pytest.raises(ValueError, match="feature maps were fitted to different rows"):
        first.merge(second)
    again = model(feature_map=Nystroem(n_components=4, random_state=0)).fit(X[:100], Y[:100])
    assert first.merge(again).n_samples_ == 200


def test_fits_with_augmenters_that_differ_in_one_number_are_not_merged() -> None:
    basis = RNG.normal(size=(2, 20))
    other = basis.copy()
    other[1, 10] += 1
    rows = RNG.normal(size=(N, 20))
    first, second = (model(augmentation=NullSpaceShift(b)).fit(rows, Y) for b in (basis, other))
    with pytest.raises(ValueError, match="cannot merge: augmentation"):
        first.merge(second)


def test_only_estimators_of_the_class_are_merged() -> None:
    fit = model().fit(X, Y)
    for other in ("fit", selected()):
        with pytest.raises(ValueError, match="other must be a fitted IVLikeRegressor"):
            fit.merge(other)


# ---------------------------------------------------------------------- what all estimators of the room share

SHORT = {
    IVLikeBoostingRegressor: {"max_iter": 3},
    IVLikeNetRegressor: {"max_epochs": 1, "hidden_layer_sizes": (4,)},
    IVLikeNetClassifier: {"max_epochs": 1, "hidden_layer_sizes": (4,)},
}


def short(kind: Any, **options: Any) -> Any:
    return kind(**{"augmentation": NOISE, "random_state": 0, **SHORT[kind], **options})


def outcome_of(kind: Any) -> pd.Series:
    return pd.Series(Y > 0 if kind is IVLikeNetClassifier else Y)


@pytest.mark.parametrize("kind", SHORT)
@pytest.mark.parametrize("name", ["y", "groups", "sample_weight"])
def test_rows_in_another_order_are_refused_by_trees_and_networks(kind: Any, name: str) -> None:
    arguments = {"y": outcome_of(kind), "groups": pd.Series(np.arange(N)), "sample_weight": pd.Series(np.ones(N))}
    arguments[name] = arguments[name].iloc[::-1]
    with pytest.raises(ValueError, match=f"X and {name} have the same index labels in a different order"):
        short(kind).fit(FRAME, **arguments)


def test_an_interrupted_fit_of_trees_leaves_the_fit_before() -> None:
    fit = short(IVLikeBoostingRegressor).fit(X, Y)
    expected = fit.predict(X)

    def interrupted(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit.set_params(augmentation=interrupted).fit(X[:, :2], Y)
    np.testing.assert_array_equal(fit.predict(X), expected)


def test_trees_warn_of_parameters_that_look_at_the_outcome() -> None:
    G = Y[:, None] + 0.5 * RNG.normal(size=(N, 1))
    moved = X + G * [0, 0, 1]
    with pytest.warns(LeakageWarning, match="y on G") as caught:
        IVLikeBoostingRegressor(max_iter=3).fit(X, Y, augmented=moved, augmentation_parameters=G)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("exact", [Y, Y - Y.mean(), (Y > 0).astype(float)])
def test_a_parameter_that_is_the_outcome_is_a_leak(exact: np.ndarray) -> None:
    # No residual is left: the largest leak of all must not be taken for a test without an answer.
    moved = X + exact[:, None] * [0, 0, 1]
    with pytest.warns(LeakageWarning, match=r"y on G, y on G given X"):
        fit = IVLikeRegressor().fit(X, exact, augmented=moved, augmentation_parameters=exact[:, None])
    assert leak_tests(fit.moments_)["y on G"] == 0.0


def test_an_outcome_that_the_features_explain_is_no_leak() -> None:
    G = RNG.normal(size=(N, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = IVLikeRegressor().fit(X, X @ [1.0, 2.0, 3.0], augmented=X + G * [0, 0, 1], augmentation_parameters=G)
    assert min(leak_tests(fit.moments_).values()) > 1e-3 / 3


def test_unequal_weights_are_no_leak() -> None:
    rejected = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rows, G = rng.normal(size=(N, 2)), rng.normal(size=(N, 2))
        y = rows[:, 0] + rng.normal(size=N)
        weight = rng.exponential(size=N)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = IVLikeRegressor().fit(rows, y, augmented=rows + G, augmentation_parameters=G, sample_weight=weight)
        rejected.append([p < 0.05 for p in leak_tests(fit.moments_).values()])
    # Three standard errors of 200 tests at 5 %: .046. Rows counted as equal reject in a fifth to a third of the cases.
    assert (np.mean(rejected, axis=0) < 0.05 + 0.046).all()


def test_effective_rows_of_weights_and_draws() -> None:
    weight = RNG.exponential(size=N)
    fit = model(n_draws=3).fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(fit.moments_.n_effective, 3 * weight.sum() ** 2 / (weight**2).sum())
    np.testing.assert_allclose(model(n_draws=3).fit(X, Y).moments_.n_effective, 3 * N)
    parts = model().partial_fit(X[:90], Y[:90], sample_weight=weight[:90])
    parts.partial_fit(X[90:], Y[90:], sample_weight=weight[90:])
    np.testing.assert_allclose(parts.moments_.n_effective, weight.sum() ** 2 / (weight**2).sum())


def test_the_folder_of_the_optical_data_is_a_path() -> None:
    with pytest.raises(ValueError, match="path must be the folder of the files"):
        load_optical_device(None)  # type: ignore[arg-type]
