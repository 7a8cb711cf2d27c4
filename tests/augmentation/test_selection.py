"""Rules that choose alpha: refits by hand, the criterion of each rule, roots, levels, warnings."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brute
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, ShuffleSplit

from causalkit.augmentation import IVLikeRegressor, IVLikeRegressorCV
from causalkit.augmentation.augmenters import AdditiveNoise, NullSpaceShift
from causalkit.augmentation.selection import confounding_strength, level_codes
from causalkit.datasets import make_linear_augmentation
from causalkit.exceptions import MethodNotApplicableError, PredictiveSelectionWarning
from tests.augmentation.dense_linear import PENALTIES, Sample, dense_fit, sample, stacked

pytestmark = [
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.WeakInstrumentWarning"),
    pytest.mark.filterwarnings("ignore::causalkit.exceptions.PredictiveSelectionWarning"),
]

GRID = np.array([0.01, 0.3, 10.0])


def choose(data: Sample, penalty: str = "pointwise", **options: Any) -> IVLikeRegressorCV:
    names = ("controls", "weights", "groups")
    arguments = {name: options.pop(name, False) for name in names}
    groups = data.groups if arguments.pop("groups") else None
    options = {"alphas": GRID, "cv": 3, **options}
    given = data.given(**arguments)
    if penalty == "analytic":
        options["augmentation"] = AdditiveNoise(covariance=data.K)
        given = {name: value for name, value in given.items() if not name.startswith("augment")}
    return IVLikeRegressorCV(penalty=penalty, **options).fit(data.X, data.y, groups=groups, **given)


# ---------------------------------------------------------------------- held-out rows


def scores_by_hand(data: Sample, penalty: str, splits: Any, evaluate_on: str, **options: Any) -> np.ndarray:
    out = np.empty((len(GRID), len(splits)))
    for j, (train, test) in enumerate(splits):
        for i, alpha in enumerate(GRID):
            fit = dense_fit(data.rows(train), penalty, alpha, **options)
            part = data.rows(test)
            draws = part.GX.shape[1]
            x = part.GX.reshape(-1, 4) if evaluate_on == "augmented" else np.repeat(part.X, draws, axis=0)
            predicted = x @ fit.coef + fit.intercept
            if fit.controls is not None:
                predicted += np.repeat(part.W, draws, axis=0) @ fit.controls
            weight = np.repeat(part.weight, draws) if options.get("weights") else None
            y = np.repeat(part.y.reshape(len(part.X), -1), draws, axis=0)
            out[i, j] = r2_score(y, predicted, sample_weight=weight)
    return out


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("evaluate_on", ["original", "augmented"])
def test_held_out_scores_are_those_of_refits(penalty: str, evaluate_on: str) -> None:
    if penalty == "analytic" and evaluate_on == "augmented":
        return  # without draws there are no augmented rows
    data = sample(n=60, draws=2)
    splits = list(KFold(3).split(data.X))
    model = choose(data, penalty, evaluate_on=evaluate_on)
    expected = scores_by_hand(data, penalty, splits, evaluate_on)
    np.testing.assert_allclose(model.scores_, expected, rtol=1e-7, atol=1e-9)
    assert model.alpha_ == GRID[np.argmax(expected.mean(axis=1))] or penalty == "constrained"
    np.testing.assert_allclose(model.cv_results_["mean_score"], expected.mean(axis=1), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(model.cv_results_["std_score"], expected.std(axis=1), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(model.cv_results_["split2_score"], model.scores_[:, 2])
    refit = dense_fit(data, penalty, model.alpha_)
    np.testing.assert_allclose(model.coef_, refit.coef[:, 0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "options", [{"controls": True}, {"weights": True}, {"controls": True, "weights": True}], ids=str
)
def test_held_out_scores_with_controls_and_weights(options: dict[str, Any]) -> None:
    data = sample(n=60)
    for penalty in ("pointwise", "projected"):
        model = choose(data, penalty, **options)
        splits = list(KFold(3).split(data.X))
        np.testing.assert_allclose(
            model.scores_, scores_by_hand(data, penalty, splits, "original", **options), rtol=1e-7, atol=1e-9
        )


def test_outcomes_are_averaged() -> None:
    data = sample(n=60, outcomes=2)
    splits = list(KFold(3).split(data.X))
    expected = scores_by_hand(data, "pointwise", splits, "original")
    np.testing.assert_allclose(choose(data).scores_, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("cv", [ShuffleSplit(4, test_size=0.3, random_state=0), "explicit", "incomplete"], ids=str)
def test_splits_that_overlap(cv: Any) -> None:
    """Splits that are no partition are computed one by one; the rows of a training set may be any."""
    data = sample(n=60)
    rng = np.random.default_rng(0)
    if cv == "explicit":
        cv = [(np.arange(0, 40), np.arange(40, 60)), (np.arange(30, 60), np.arange(0, 25))]
    elif cv == "incomplete":  # tests that do not overlap, but training sets that are not their complements
        cv = [(rng.permutation(30), np.arange(30, 60)), (np.arange(35, 60), np.arange(0, 30))]
    splits = list(cv.split(data.X)) if hasattr(cv, "split") else cv
    np.testing.assert_allclose(
        choose(data, cv=cv).scores_, scores_by_hand(data, "pointwise", splits, "original"), rtol=1e-7, atol=1e-9
    )


def test_tests_of_a_partition_with_training_rows_among_them() -> None:
    """As many rows in both parts as there are rows is no partition by itself."""
    data = sample(n=60)
    cv = [(np.arange(20, 50), np.arange(0, 30)), (np.arange(0, 30), np.arange(30, 60))]
    model = choose(data, cv=cv)
    expected = scores_by_hand(data, "pointwise", cv, "original")
    np.testing.assert_allclose(model.scores_, expected, rtol=1e-7, atol=1e-9)
    twice = [(np.r_[0:30, 0:10], np.arange(30, 60)), (np.arange(60) >= 30, np.arange(60) < 20)]
    expected = scores_by_hand(data, "pointwise", twice, "original")
    np.testing.assert_allclose(choose(data, cv=twice).scores_, expected, rtol=1e-7, atol=1e-9)


def test_groups_drive_the_splits() -> None:
    data = sample(n=60)
    first_seen = pd.factorize(data.groups)[0]
    splits = list(GroupKFold(3).split(data.X, groups=first_seen))
    expected = scores_by_hand(data, "pointwise", splits, "original")
    np.testing.assert_allclose(choose(data, groups=True).scores_, expected, rtol=1e-7, atol=1e-9)
    splits = list(LeaveOneGroupOut().split(data.X, groups=first_seen))
    model = choose(data, groups=True, cv=LeaveOneGroupOut())
    np.testing.assert_allclose(
        model.scores_, scores_by_hand(data, "pointwise", splits, "original"), rtol=1e-7, atol=1e-9
    )
    assert model.inference().df == 7


def test_draws_stay_with_their_row() -> None:
    """Copies of one row in both parts would tell the test rows' noise: held-out scores must not rise with draws."""
    data = sample(n=60, draws=3)
    few = choose(data, selection="cv").scores_
    copies = Sample(**{**vars(data), "GX": np.repeat(data.GX, 2, axis=1), "G": np.repeat(data.G, 2, axis=1)})
    np.testing.assert_allclose(choose(copies, selection="cv").scores_, few, rtol=1e-8)


# ---------------------------------------------------------------------- levels


def test_levels_are_unique_rows_and_halves_of_continuous_columns() -> None:
    rng = np.random.default_rng(0)
    discrete = rng.integers(0, 3, (50, 2)).astype(float)
    codes = level_codes(discrete)
    for i in range(50):
        np.testing.assert_array_equal(codes == codes[i], (discrete == discrete[i]).all(axis=1))
    mixed = np.column_stack([discrete, rng.normal(size=50)])
    middle = (mixed[:, 2].min() + mixed[:, 2].max()) / 2
    table = np.column_stack([discrete, mixed[:, 2] > middle])
    codes = level_codes(mixed)
    for i in range(50):
        np.testing.assert_array_equal(codes == codes[i], (table == table[i]).all(axis=1))


@pytest.mark.parametrize("source", ["instruments", "given", "drawn"])
def test_whole_levels_are_held_out(source: str) -> None:
    data = sample(n=60, k=2)
    G = np.random.default_rng(1).integers(0, 3, (60, 2)).astype(float)
    data = Sample(**{**vars(data), "G": G[:, None], "GX": data.X[:, None] + G[:, None] @ np.ones((2, 4))})
    splits = list(GroupKFold(3).split(data.X, groups=level_codes(G)))
    options = {"selection": "level", "alphas": GRID, "cv": 3, "penalty": "projected"}
    if source == "instruments":
        model = IVLikeRegressorCV(**options).fit(data.GX[:, 0], data.y, instruments=G)
        data = Sample(**{**vars(data), "X": data.GX[:, 0]})
    elif source == "given":
        model = IVLikeRegressorCV(**options).fit(data.X, data.y, **data.given())
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function = IVLikeRegressorCV(augmentation=lambda X, rng: (data.GX[:, 0], G), **options)
            model = function.fit(data.X, data.y)
    expected = scores_by_hand(data, "projected", splits, "original")
    np.testing.assert_allclose(model.scores_, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    "parameters",
    [np.random.default_rng(0).normal(size=(60, 8)), np.tile([[0.0], [1.0]], (30, 1))],
    ids=["every row its own level", "two levels"],
)
def test_degenerate_levels(parameters: np.ndarray) -> None:
    data = sample(n=60)
    model = IVLikeRegressorCV(selection="level")
    with pytest.raises(ValueError, match=r'at least 5 levels.*use selection="cv"'):
        model.fit(data.X, data.y, instruments=parameters)
    with pytest.raises(MethodNotApplicableError, match=r'there are none here: use selection="cv"'):
        IVLikeRegressorCV(selection="level").fit(data.X, data.y, augmented=data.GX)


# ---------------------------------------------------------------------- rules without held-out rows


@pytest.mark.parametrize("penalty", ["paired", "pointwise", "analytic", "constrained"])
def test_generalised_cross_validation(penalty: str) -> None:
    data = sample(n=60, draws=2)
    model = choose(data, penalty, selection="gcv")
    values = []
    for alpha in GRID:
        fit = dense_fit(data, penalty, alpha)
        x = data.X if penalty in ("analytic", "constrained") else data.GX.reshape(-1, 4)
        y = data.y if penalty in ("analytic", "constrained") else np.repeat(data.y, 2)
        risk = np.mean((y - x @ fit.coef[:, 0] - fit.intercept[0]) ** 2) / data.y.var()
        values.append(risk / (1 - fit.hat_trace / 60) ** 2)
    np.testing.assert_allclose(model.scores_[:, 0], values, rtol=1e-8)
    assert model.alpha_ == GRID[np.argmin(values)] or penalty == "constrained"


@pytest.mark.parametrize("penalty", ["paired", "pointwise", "analytic"])
@pytest.mark.parametrize("tolerance", [1e-6, 1e-4, 0.003])
def test_tolerance_is_met_exactly(penalty: str, tolerance: float) -> None:
    data = sample(n=60, draws=2)
    model = choose(data, penalty, selection="tolerance", tolerance=tolerance)
    assert 0 < model.alpha_ < np.inf
    h = dense_fit(data, penalty, model.alpha_).coef[:, 0]
    d = (data.GX - data.X[:, None]).reshape(-1, 4)
    if penalty == "paired":
        g = (data.G - data.G.mean(axis=(0, 1))).reshape(-1, 2)
        d = g @ np.linalg.lstsq(g, d - d.mean(axis=0), rcond=None)[0]
    B = data.K if penalty == "analytic" else d.T @ d / len(d)
    np.testing.assert_allclose(h @ B @ h, tolerance * data.y.var(), rtol=1e-7)
    assert model.scores_.shape == (0, 1)
    assert len(model.alphas_) == 0


def test_ends_of_the_tolerance() -> None:
    data = sample(n=60)
    for penalty in ("paired", "pointwise", "analytic"):
        strict = choose(data, penalty, selection="tolerance", tolerance=0)
        assert strict.alpha_ == 0
        np.testing.assert_allclose(strict.coef_, dense_fit(data, penalty, 0.0).coef[:, 0], rtol=1e-7, atol=1e-9)
        assert choose(data, penalty, selection="tolerance", tolerance=1e3).alpha_ == np.inf
    constrained = choose(data, "constrained", selection="tolerance", tolerance=0.01)
    np.testing.assert_allclose(constrained.coef_, dense_fit(data, "constrained", 1.0).coef[:, 0], rtol=1e-8, atol=1e-10)
    unmoved = IVLikeRegressorCV(selection="tolerance", tolerance=0.0).fit(data.X, data.y)
    assert unmoved.alpha_ == np.inf


def test_confounder_correction() -> None:
    """Its likelihood maximised by brute force, and the alpha of the nearest norm."""
    data = sample(n=60)
    x, y = data.X - data.X.mean(axis=0), data.y - data.y.mean()
    ols = np.linalg.lstsq(x, y, rcond=None)[0]
    s, q = np.linalg.eigh(x.T @ x / 60)
    share = (q.T @ (ols / np.linalg.norm(ols))) ** 2

    def loss(log_theta: np.ndarray) -> float:
        m = 1 + np.exp(log_theta) / s
        return float(0.5 * np.log(m).sum() + 2 * np.log((share / m).sum()))

    best = brute(lambda v: loss(v[0]), [(np.log(s.min()) - 10, np.log(s.max()) + 10)], Ns=4000)[0]
    theta = np.exp(best) if loss(best) < 0 else 0.0
    beta = 1 / (1 + 1 / (0.001 + theta * np.mean(1 / s)))
    np.testing.assert_allclose(confounding_strength(ols, x.T @ x / 60), beta, rtol=1e-4)
    grid = np.logspace(-4, 2, 40)
    for penalty in ("pointwise", "projected", "analytic"):
        model = choose(data, penalty, selection="confounder_correction", alphas=grid)
        sizes = [np.linalg.norm(dense_fit(data, penalty, a).coef) for a in grid]
        target = np.sqrt((1 - beta) * np.sum(dense_fit(data, penalty, np.inf).coef ** 2))
        np.testing.assert_allclose(model.scores_[:, 0], np.abs(sizes - target), rtol=1e-4, atol=1e-4 * target)
        assert model.alpha_ == grid[np.argmin(np.abs(sizes - target))]


def test_confounding_strength_tells_confounding_from_none() -> None:
    """Effects without preferred direction against a bias along the small eigenvalues, averaged over designs."""
    rng = np.random.default_rng(0)
    found = {False: [], True: []}
    for _ in range(40):
        p = 20
        root = rng.normal(size=(p, 2 * p)) / np.sqrt(2 * p)
        covariance = root @ root.T
        f, v = rng.normal(size=p), root @ rng.normal(size=2 * p)
        for confounded in found:
            coef = f + (3 * np.linalg.solve(covariance, v) if confounded else 0.0)
            found[confounded].append(confounding_strength(coef, covariance))
    assert np.mean(found[True]) > np.mean(found[False]) + 0.3


# ---------------------------------------------------------------------- refusals and warnings


@pytest.mark.parametrize("rule", ["cv", "level", "gcv"])
def test_choices_by_prediction_are_told(rule: str) -> None:
    data = sample(n=60)
    G = np.random.default_rng(1).integers(0, 3, (60, 2)).astype(float)
    given = {"augmented": data.X + G @ np.ones((2, 4)), "augmentation_parameters": G}
    model = IVLikeRegressorCV(selection=rule, cv=3)
    with pytest.warns(PredictiveSelectionWarning, match=rf"selection='{rule}' chose alpha=.* by prediction") as caught:
        model.fit(data.X, data.y, **given)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        IVLikeRegressorCV(selection="confounder_correction").fit(data.X, data.y, **given)
        IVLikeRegressorCV(selection="tolerance", tolerance=0.01).fit(data.X, data.y, **given)


def test_default_grid_and_clone() -> None:
    data = sample(n=60)
    model = choose(data, alphas=None, selection="gcv")
    np.testing.assert_allclose(model.alphas_, np.logspace(-4, 2, 61))
    again = clone(model).fit(data.X, data.y, **data.given())
    np.testing.assert_array_equal(stacked(again), stacked(model))
    plain = IVLikeRegressor(alpha=model.alpha_).fit(data.X, data.y, **data.given())
    np.testing.assert_allclose(stacked(plain), stacked(model), rtol=1e-12)
    np.testing.assert_allclose(plain.inference().cov, model.inference().cov, rtol=1e-10)


def test_prediction_prefers_a_larger_alpha_than_the_effect() -> None:
    """The reason for the warning: mean error of "cv" above that of a fixed alpha of .1 in the paper's design."""
    chosen, fixed = [], []
    for seed in range(8):
        data = make_linear_augmentation(600, 8, random_state=seed)
        given = {"augmented": data.augmented, "augmentation_parameters": data.augmentation_parameters}
        options = {"penalty": "projected"}
        rule = IVLikeRegressorCV(cv=3, **options).fit(data.X, data.y, **given)
        plain = IVLikeRegressor(alpha=0.1, **options).fit(data.X, data.y, **given)
        chosen.append(np.sum((rule.coef_ - data.coef) ** 2))
        fixed.append(np.sum((plain.coef_ - data.coef) ** 2))
    assert np.mean(fixed) < np.mean(chosen)


def test_known_covariance_is_used_by_every_rule() -> None:
    data = make_linear_augmentation(500, 5, random_state=0)
    for rule in ("cv", "gcv", "confounder_correction", "tolerance"):
        model = IVLikeRegressorCV(
            selection=rule, tolerance=0.01, penalty="analytic", augmentation=NullSpaceShift(data.basis), cv=3
        ).fit(data.X, data.y)
        expected = IVLikeRegressor(alpha=model.alpha_, penalty="analytic", augmentation=NullSpaceShift(data.basis))
        np.testing.assert_allclose(model.coef_, expected.fit(data.X, data.y).coef_, rtol=1e-9)
