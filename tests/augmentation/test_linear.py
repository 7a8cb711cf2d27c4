"""Linear fits: every penalty against explicit projections, the fixed samples, limits, invariances, kinds of input."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.linalg import qr

from causalkit.augmentation import IVLikeRegressor, normalized_causal_excess_risk
from causalkit.augmentation.augmenters import (
    AdditiveNoise,
    Compose,
    Masking,
    NullSpaceShift,
    Permutation,
    Scaling,
    SignFlip,
)
from causalkit.exceptions import WeakInstrumentWarning
from tests.augmentation.dense_linear import PENALTIES, Sample, dense_fit, sample, stacked
from tests.augmentation.seeded_fixture import (
    ALPHAS,
    CANONICAL_42,
    EFFECT_0,
    PROJECTED_0,
    RISKS,
    SIGMA_RISKS_42,
    SIZES,
    SUMS,
    seeded_sample,
)

# Small samples: parameters that hardly move the mean of GX are no concern of the algebra.
pytestmark = pytest.mark.filterwarnings("ignore::causalkit.exceptions.WeakInstrumentWarning")


def fit(data: Sample, penalty: str, alpha: float = 0.3, *, known: bool = False, **options: Any) -> IVLikeRegressor:
    """Fit to given pairs, or, for "analytic" and a known covariance, to an additive augmentation."""
    arguments = {name: options.pop(name, False) for name in ("controls", "weights")}
    if penalty == "analytic" or known:
        noise = AdditiveNoise(covariance=data.K)
        given = data.given(parameters=False, **arguments)
        del given["augmented"]
        return IVLikeRegressor(alpha=alpha, penalty=penalty, augmentation=noise, **options).fit(data.X, data.y, **given)
    return IVLikeRegressor(alpha=alpha, penalty=penalty, **options).fit(data.X, data.y, **data.given(**arguments))


# ---------------------------------------------------------------------- explicit projections

OPTIONS: list[dict[str, Any]] = [
    {},
    {"intercept": False},
    {"controls": True},
    {"intercept": False, "controls": True},
    {"weights": True},
    {"ridge": 0.7},
    {"controls": True, "weights": True, "ridge": 0.2},
    {"draws": 3},
    {"draws": 3, "controls": True, "weights": True, "ridge": 0.2},
]


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(f"{k}{v}" for k, v in o.items()) or "plain")
def test_every_penalty_equals_explicit_projections(penalty: str, options: dict[str, Any]) -> None:
    options = dict(options)
    data = sample(draws=options.pop("draws", 1))
    for alpha in (1e-3, 0.3, 10.0, np.inf):
        expected = dense_fit(data, penalty, alpha, **options)
        given = {"fit_intercept" if name == "intercept" else name: value for name, value in options.items()}
        model = fit(data, penalty, alpha, **given)
        np.testing.assert_allclose(model.coef_, expected.coef[:, 0], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(model.intercept_, expected.intercept[0], rtol=1e-8, atol=1e-10)
        assert hasattr(model, "exogenous_coef_") == (expected.controls is not None)
        if expected.controls is not None:
            np.testing.assert_allclose(model.exogenous_coef_, expected.controls[:, 0], rtol=1e-8, atol=1e-10)
            predicted = data.X @ expected.coef[:, 0] + data.W @ expected.controls[:, 0] + expected.intercept[0]
            np.testing.assert_allclose(model.predict(data.X, exogenous=data.W), predicted, rtol=1e-8)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("options", [{}, {"controls": True, "weights": True}, {"ridge": 0.5}], ids=str)
def test_trust_without_limit(penalty: str, options: dict[str, Any]) -> None:
    """alpha = 0: least squares within the directions that stay; for "projected" the instrumental fit of least risk."""
    data = sample()
    expected = dense_fit(data, penalty, 0.0, **options)
    model = fit(data, penalty, 0.0, **options)
    np.testing.assert_allclose(model.coef_, expected.coef[:, 0], rtol=1e-7, atol=1e-8)
    # The solution with a small alpha goes there.
    np.testing.assert_allclose(fit(data, penalty, 1e-7, **options).coef_, model.coef_, rtol=1e-3, atol=1e-4)
    if penalty != "projected":
        constrained = fit(data, "constrained", known=penalty == "analytic", **options)
        np.testing.assert_allclose(model.coef_, constrained.coef_, rtol=1e-7, atol=1e-9)


def test_regression_on_transformed_rows() -> None:
    """Proposition 1 of Akbar et al.: least squares of sY + tPY on sX + tPX, s = √α, t = √(1+α) - √α."""
    for k in (2, 4, 6):
        data = sample(n=60, k=k)
        g, x, y = (v - v.mean(axis=0) for v in (data.G[:, 0], data.GX[:, 0], data.y))
        P = g @ np.linalg.pinv(g)
        for alpha in (0.01, 0.5, 3.0):
            s, t = np.sqrt(alpha), np.sqrt(1 + alpha) - np.sqrt(alpha)
            expected = np.linalg.lstsq(s * x + t * P @ x, s * y + t * P @ y, rcond=None)[0]
            np.testing.assert_allclose(fit(data, "projected", alpha).coef_, expected, rtol=1e-10)


def test_augmented_least_squares() -> None:
    data = sample()
    design = np.column_stack([np.ones(len(data.X)), data.GX[:, 0]])
    expected = np.linalg.lstsq(design, data.y, rcond=None)[0]
    for penalty in ("projected", "paired", "pointwise"):
        model = fit(data, penalty, np.inf)
        np.testing.assert_allclose(np.r_[model.intercept_, model.coef_], expected, rtol=1e-9)
        np.testing.assert_allclose(fit(data, penalty, 1e8).coef_, expected[1:], rtol=1e-6)


def test_nothing_given_is_least_squares_and_ridge() -> None:
    data = sample()
    design = np.column_stack([np.ones(len(data.X)), data.X])
    expected = np.linalg.lstsq(design, data.y, rcond=None)[0]
    for alpha in (0.0, 0.1, np.inf):
        model = IVLikeRegressor(alpha=alpha).fit(data.X, data.y)
        np.testing.assert_allclose(np.r_[model.intercept_, model.coef_], expected, rtol=1e-9)
        assert (model.variation_, model.penalty_, model.n_parameters_, model.n_draws_) == ("none", "none", 0, 1)
    x, y = data.X - data.X.mean(axis=0), data.y - data.y.mean()
    ridge = np.linalg.solve(x.T @ x / len(x) + 2 * np.eye(4), x.T @ y / len(x))
    np.testing.assert_allclose(IVLikeRegressor(ridge=2.0).fit(data.X, data.y).coef_, ridge, rtol=1e-10)
    wide = np.random.default_rng(0).normal(size=(10, 30))
    kernel = wide @ wide.T / 10 + 0.1 * np.eye(10)  # the dual of ridge, which more columns than rows need
    expected = wide.T @ np.linalg.solve(kernel, data.y[:10]) / 10
    model = IVLikeRegressor(ridge=0.1, fit_intercept=False).fit(wide, data.y[:10])
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-9)


def test_identity_augmentation_is_least_squares() -> None:
    data = sample()
    plain = IVLikeRegressor().fit(data.X, data.y)
    for alpha in (0.0, 0.1, np.inf):
        for model in (
            IVLikeRegressor(alpha=alpha).fit(data.X, data.y, augmented=data.X),
            IVLikeRegressor(alpha=alpha, augmentation=AdditiveNoise(scale=0.0)).fit(data.X, data.y),
        ):
            assert model.penalty_ == "pointwise"
            np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-10)
            np.testing.assert_allclose(model.intercept_, plain.intercept_, rtol=1e-10)


# ---------------------------------------------------------------------- two samples, fixed to the last digit


@pytest.mark.parametrize("seed", [0, 42])
def test_fixed_samples(seed: int) -> None:
    data, expected = seeded_sample(seed), RISKS[seed]
    for name, total in SUMS[seed].items():
        np.testing.assert_allclose(getattr(data, name).sum(), total, rtol=1e-10)

    def risk(penalty: str = "auto", alpha: float = 0.1, **given: Any) -> float:
        augmentation = given.pop("augmentation", None)
        model = IVLikeRegressor(alpha=alpha, penalty=penalty, augmentation=augmentation, fit_intercept=False)
        return normalized_causal_excess_risk(model.fit(data.X, data.y, **given).coef_, data.effect, norm="euclidean")

    pairs = {"augmented": data.GX, "augmentation_parameters": data.G}
    shift = NullSpaceShift(data.gamma)
    assert abs(risk() - expected["erm"]) < 1e-8
    assert abs(risk("pointwise", np.inf, **pairs) - expected["augmented"]) < 1e-8
    assert abs(risk("constrained", **pairs) - expected["constrained"]) < 1e-8
    assert abs(risk("constrained", augmentation=shift) - expected["constrained"]) < 1e-8
    assert abs(risk("pointwise", 0.0, **pairs) - expected["constrained"]) < 1e-8
    for i, alpha in enumerate(ALPHAS):
        assert abs(risk("projected", alpha, **pairs) - expected["projected"][i]) < 1e-8
        assert abs(risk("paired", alpha, **pairs) - expected["paired"][i]) < 1e-8
        assert abs(risk("pointwise", alpha, **pairs) - expected["paired"][i]) < 1e-8
        assert abs(risk("analytic", alpha, augmentation=shift) - expected["analytic"][i]) < 1e-8


def test_fixed_sample_coefficients_and_correlations() -> None:
    data = seeded_sample(0)
    pairs = {"augmented": data.GX, "augmentation_parameters": data.G}
    model = IVLikeRegressor(penalty="projected", fit_intercept=False).fit(data.X, data.y, **pairs)
    np.testing.assert_allclose(data.effect, EFFECT_0, atol=1e-10)
    np.testing.assert_allclose(model.coef_, PROJECTED_0, atol=1e-9)
    large = seeded_sample(42)
    pairs = {"augmented": large.GX, "augmentation_parameters": large.G}
    model = IVLikeRegressor(penalty="projected", fit_intercept=False).fit(large.X, large.y, **pairs)
    assert model.eigenvalues_.shape == (SIZES[42][0] - 1,)
    np.testing.assert_allclose([model.eigenvalues_.min(), model.eigenvalues_.max()], CANONICAL_42, atol=1e-9)
    for name, alpha in (("erm", None), ("augmented", np.inf)):
        options = {} if alpha is None else pairs
        fitted = IVLikeRegressor(alpha=alpha or 0.1, fit_intercept=False).fit(large.X, large.y, **options)
        share = normalized_causal_excess_risk(fitted.coef_, large.effect, large.covariance, norm="sigma")
        assert abs(share - SIGMA_RISKS_42[name]) < 1e-8


# ---------------------------------------------------------------------- invariances


@pytest.mark.parametrize("penalty", PENALTIES)
def test_order_of_rows_and_shifts(penalty: str) -> None:
    data = sample(draws=2)
    model = fit(data, penalty, controls=True)
    shuffled = fit(data.rows(np.random.default_rng(1).permutation(40)), penalty, controls=True)
    np.testing.assert_allclose(stacked(shuffled), stacked(model), rtol=1e-9)
    offset = np.array([5.0, -2.0, 0.0, 1.0])
    moved = Sample(
        data.X + offset, data.y + 7, data.GX + offset, data.G - 3, data.W + 4, data.weight, data.groups, data.K
    )
    shifted = fit(moved, penalty, controls=True)
    np.testing.assert_allclose(shifted.coef_, model.coef_, rtol=1e-8)
    np.testing.assert_allclose(shifted.exogenous_coef_, model.exogenous_coef_, rtol=1e-8)
    expected = model.intercept_ + 7 - offset @ model.coef_ - 4 * model.exogenous_coef_.sum()
    np.testing.assert_allclose(shifted.intercept_, expected, rtol=1e-8)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_change_of_basis(penalty: str) -> None:
    """Turning the basis of the moved directions together with G changes nothing; nor do new units of G."""
    data = seeded_sample(0)
    turn = qr(np.random.default_rng(3).normal(size=(3, 3)))[0]

    def coef(gamma: np.ndarray, G: np.ndarray) -> np.ndarray:
        if penalty == "analytic":
            model = IVLikeRegressor(penalty=penalty, augmentation=NullSpaceShift(gamma)).fit(data.X, data.y)
        else:
            GX = data.X + G @ gamma
            model = IVLikeRegressor(penalty=penalty).fit(data.X, data.y, augmented=GX, augmentation_parameters=G)
        return model.coef_

    expected = coef(data.gamma, data.G)
    np.testing.assert_allclose(coef(turn @ data.gamma, data.G @ turn.T), expected, rtol=1e-9)
    if penalty != "analytic":
        units = np.array([1e-3, 1.0, 1e3])
        np.testing.assert_allclose(coef(data.gamma / units[:, None], data.G * units), expected, rtol=1e-8)


def test_paired_and_pointwise_agree_where_moves_are_linear_in_parameters() -> None:
    data = seeded_sample(0)
    given = {"augmented": data.GX, "augmentation_parameters": data.G}
    for alpha in (1e-3, 0.1, 10.0):
        models = [
            IVLikeRegressor(alpha=alpha, penalty=penalty, fit_intercept=False).fit(data.X, data.y, **given)
            for penalty in ("paired", "pointwise")
        ]
        np.testing.assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-9)


def test_known_covariance_needs_no_draws() -> None:
    data = sample()
    first, second = (
        IVLikeRegressor(penalty="analytic", augmentation=NullSpaceShift(data.K[:2]), random_state=seed)
        for seed in (0, 1)
    )
    np.testing.assert_array_equal(first.fit(data.X, data.y).coef_, second.fit(data.X, data.y).coef_)
    assert first.n_draws_ == 1


# ---------------------------------------------------------------------- draws and orbits


@pytest.mark.parametrize("penalty", ["projected", "paired", "pointwise"])
def test_identical_draws_count_as_one(penalty: str) -> None:
    data = sample()
    many = sample(draws=1)
    repeated = Sample(
        many.X, many.y, np.repeat(many.GX, 4, axis=1), np.repeat(many.G, 4, axis=1), *list(vars(many).values())[4:]
    )
    one, four = fit(data, penalty, controls=True), fit(repeated, penalty, controls=True)
    np.testing.assert_allclose(stacked(four), stacked(one), rtol=1e-9)
    np.testing.assert_allclose(four.inference().cov, one.inference().cov, rtol=1e-8)
    assert (one.n_draws_, four.n_draws_, four.n_samples_) == (1, 4, 40)


@pytest.mark.parametrize("shape", ["(n, p)", "(n, 1, p)", "frame"])
def test_shapes_of_given_features(shape: str) -> None:
    data = sample()
    GX, G = data.GX[:, 0], data.G[:, 0]
    given = {
        "(n, p)": (data.X, GX, G),
        "(n, 1, p)": (data.X, data.GX, data.G),
        "frame": tuple(pd.DataFrame(table) for table in (data.X, GX, G)),
    }[shape]
    if shape == "frame":
        for table, letter in zip(given, "xxg", strict=True):
            table.columns = [f"{letter}{j}" for j in range(table.shape[1])]
    model = IVLikeRegressor(alpha=0.3, penalty="paired").fit(
        given[0], data.y, augmented=given[1], augmentation_parameters=given[2]
    )
    np.testing.assert_array_equal(model.coef_, fit(data, "paired").coef_)
    assert hasattr(model, "feature_names_in_") == (shape == "frame")


def test_augmentation_object_equals_its_draws_given_beforehand() -> None:
    """Draws are keyed by (seed, block of 4096 rows, draw); the seed comes from random_state."""
    data = sample()
    shift = NullSpaceShift(np.eye(4)[:2])
    seed = int(np.random.RandomState(5).randint(2**31 - 1))
    G = np.stack(
        [
            shift.sample(4096, 4, np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, draw))))[:40]
            for draw in range(3)
        ],
        axis=1,
    )
    for penalty in ("projected", "paired", "pointwise"):
        drawn = IVLikeRegressor(penalty=penalty, augmentation=shift, n_draws=3, random_state=5).fit(data.X, data.y)
        GX = data.X[:, None, :] + G @ np.eye(4)[:2]
        given = IVLikeRegressor(penalty=penalty).fit(data.X, data.y, augmented=GX, augmentation_parameters=G)
        np.testing.assert_allclose(drawn.coef_, given.coef_, rtol=1e-10)
        assert (drawn.n_draws_, drawn.n_parameters_) == (3, 2)


def test_a_function_may_augment() -> None:
    data = sample()

    def shift(X: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        G = rng.normal(size=(len(X), 1))
        return X + G * [1.0, 0.0, 0.0, 0.0], G

    fits = [
        IVLikeRegressor(augmentation=shift, penalty=penalty, n_draws=20, random_state=1).fit(data.X, data.y)
        for penalty in ("pointwise", "paired")
    ]
    exact = IVLikeRegressor(augmentation=NullSpaceShift(np.eye(4)[:1]), penalty="analytic").fit(data.X, data.y)
    for model in fits:
        assert np.abs(model.coef_ - exact.coef_).max() < 0.2 * np.abs(exact.coef_).max()
    again = IVLikeRegressor(augmentation=shift, n_draws=20, random_state=1).fit(data.X, data.y)
    np.testing.assert_array_equal(again.coef_, fits[0].coef_)
    other = IVLikeRegressor(augmentation=shift, n_draws=20, random_state=2).fit(data.X, data.y)
    assert np.abs(other.coef_ - fits[0].coef_).max() > 1e-6


@pytest.mark.parametrize(
    ("group", "basis"),
    [
        (Permutation([[0, 1, 2]]), np.array([[1, 1, 1, 0], [0, 0, 0, 1]])),
        (Permutation([[(0, 1), (2, 3)]]), np.array([[1, 0, 1, 0], [0, 1, 0, 1]])),
        (SignFlip(columns=[1, 3]), np.array([[1, 0, 0, 0], [0, 0, 1, 0]])),
        (Compose(Permutation([[0, 1]]), SignFlip(columns=[3])), np.array([[1, 1, 0, 0], [0, 0, 1, 0]])),
    ],
    ids=["permutation", "pairs", "flips", "composed"],
)
def test_whole_orbit_is_least_squares_among_invariant_coefficients(group: Any, basis: np.ndarray) -> None:
    """Averaging over a finite group needs no penalty: augmented least squares is within the invariant space."""
    data = sample()
    X = data.X - data.X.mean(axis=0)  # flips leave centred data alone on average
    model = IVLikeRegressor(alpha=np.inf, augmentation=group, n_draws="orbit").fit(X, data.y)
    design = np.column_stack([np.ones(40), X @ basis.T])
    expected = np.linalg.lstsq(design, data.y, rcond=None)[0]
    np.testing.assert_allclose(model.coef_, basis.T @ expected[1:], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(model.intercept_, expected[0], rtol=1e-9)
    for alpha in (0.0, 0.1):  # nothing is left for a penalty to do
        penalised = IVLikeRegressor(alpha=alpha, augmentation=group, n_draws="orbit").fit(X, data.y)
        np.testing.assert_allclose(penalised.coef_, model.coef_, rtol=1e-8, atol=1e-9)
    assert model.n_draws_ == len(group.orbit(4)[1])


def test_orbit_with_unequal_probabilities() -> None:
    data = sample()
    mask = Masking(0.2, columns=[0, 1])
    elements, probabilities = mask.orbit(4)
    assert len(set(probabilities.round(12))) > 1
    GX = np.stack([mask.apply(data.X, np.tile(g, (40, 1))) for g in elements], axis=1)
    G = np.repeat(elements[None], 40, axis=0)
    stack = Sample(data.X, data.y, GX, G, data.W, data.weight, data.groups, data.K)
    for penalty in ("pointwise", "constrained", "paired", "projected"):
        expected = dense_fit(stack, penalty, 0.3, weights=True, shares=probabilities)
        model = IVLikeRegressor(alpha=0.3, penalty=penalty, augmentation=mask, n_draws="orbit")
        model.fit(data.X, data.y, sample_weight=data.weight)
        np.testing.assert_allclose(model.coef_, expected.coef[:, 0], rtol=1e-8, atol=1e-10)


# ---------------------------------------------------------------------- weights, outcomes, containers


@pytest.mark.parametrize("penalty", PENALTIES)
def test_weights_are_repeated_rows(penalty: str) -> None:
    data = sample(draws=2)
    repeated = data.rows(np.repeat(np.arange(40), data.weight.astype(int)))
    for controls in (False, True):
        weighted = fit(data, penalty, weights=True, controls=controls)
        np.testing.assert_allclose(
            stacked(weighted), stacked(fit(repeated, penalty, controls=controls)), rtol=1e-8, atol=1e-10
        )
        scaled = Sample(**{**vars(data), "weight": 10 * data.weight})
        np.testing.assert_allclose(
            stacked(fit(scaled, penalty, weights=True, controls=controls)), stacked(weighted), rtol=1e-9
        )


@pytest.mark.parametrize("penalty", PENALTIES)
def test_outcomes_are_fitted_one_by_one(penalty: str) -> None:
    data = sample(outcomes=3, draws=2)
    model = fit(data, penalty, controls=True, weights=True)
    assert (model.coef_.shape, model.intercept_.shape, model.exogenous_coef_.shape) == ((3, 4), (3,), (3, 2))
    assert model.predict(data.X, exogenous=data.W).shape == (40, 3)
    result = model.inference()
    frame = model.path([0.1, 1.0]).to_frame()
    for t in range(3):
        alone = fit(Sample(**{**vars(data), "y": data.y[:, t]}), penalty, controls=True, weights=True)
        np.testing.assert_allclose(stacked(model)[t], stacked(alone)[0], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(
            model.predict(data.X, exogenous=data.W)[:, t], alone.predict(data.X, exogenous=data.W), rtol=1e-9
        )
        part = slice(7 * t, 7 * t + 7)
        np.testing.assert_allclose(result.cov[part, part], alone.inference().cov, rtol=1e-8)
        pd.testing.assert_frame_equal(
            frame[t], alone.path([0.1, 1.0]).to_frame(), rtol=1e-8, atol=1e-9, check_names=False
        )
    assert result.names[7] == "y1: intercept"


@pytest.mark.parametrize("kind", ["flip", "mask", "scale", "swap", "given", "instruments"])
def test_sparse_rows_give_the_dense_fit(kind: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5)) * (rng.random((300, 5)) < 0.3)
    y = X @ np.arange(5) + rng.normal(size=300)
    augmentation = {
        "flip": SignFlip(columns=[0]),
        "mask": Masking(0.3),
        "scale": Scaling(0.5, 2.0, columns=[1, 2]),
        "swap": Permutation([[1, 2]]),
    }.get(kind)
    given = {"given": {"augmented": X * 1.5}, "instruments": {"instruments": X[:, :1] + rng.normal(size=(300, 2))}}
    for options in ({}, {"sample_weight": rng.random(300), "exogenous": rng.normal(size=(300, 1))}):
        arguments = {**given.get(kind, {}), **options}
        dense = IVLikeRegressor(augmentation=augmentation, random_state=0).fit(X, y, **arguments)
        if kind == "given":
            arguments["augmented"] = sparse.csr_matrix(arguments["augmented"])
        for table in (sparse.csr_matrix(X), sparse.csc_array(X)):
            model = IVLikeRegressor(augmentation=augmentation, random_state=0).fit(table, y, **arguments)
            np.testing.assert_allclose(stacked(model), stacked(dense), rtol=1e-9, atol=1e-12)
            controls = arguments.get("exogenous")
            predicted = model.predict(table, exogenous=controls)
            np.testing.assert_allclose(predicted, dense.predict(X, exogenous=controls), rtol=1e-9)
            np.testing.assert_allclose(model.inference().cov, dense.inference().cov, rtol=1e-8)


def test_single_precision_is_accumulated_in_double() -> None:
    """Sums in single precision would lose the small eigenvalues that decide a fit at small alpha."""
    data = seeded_sample(42)
    X, GX = data.X.astype(np.float32), data.GX.astype(np.float32)
    wide = IVLikeRegressor(alpha=1e-4, fit_intercept=False).fit(X.astype(float), data.y, augmented=GX.astype(float))
    narrow = IVLikeRegressor(alpha=1e-4, fit_intercept=False).fit(X, data.y, augmented=GX)
    np.testing.assert_allclose(narrow.coef_, wide.coef_, rtol=1e-12)
    assert narrow.coef_.dtype == narrow.predict(X).dtype == np.float64
    drawn = IVLikeRegressor(augmentation=AdditiveNoise(0.1), random_state=0).fit(X, data.y.astype(np.float32))
    again = IVLikeRegressor(augmentation=AdditiveNoise(0.1), random_state=0)
    np.testing.assert_allclose(
        drawn.coef_, again.fit(X.astype(float), data.y.astype(np.float32).astype(float)).coef_, rtol=1e-12
    )


# ---------------------------------------------------------------------- attributes


def test_instruments_are_named_and_counted() -> None:
    data = sample(n=200, k=3)
    Z = pd.DataFrame(data.G[:, 0], columns=["rain", "wind", "sun"])
    Z["again"] = Z["rain"] + Z["wind"]
    Z["same"] = 1.0
    plain = IVLikeRegressor().fit(data.GX[:, 0], data.y, instruments=Z[["rain", "wind", "sun"]])
    with pytest.warns(WeakInstrumentWarning, match=r"rain.*wind.*again|same") as caught:
        model = IVLikeRegressor().fit(data.GX[:, 0], data.y, instruments=Z)
    assert "'same'" in str(caught[0].message)
    assert "rank 3 of 5" in str(caught[0].message)
    assert (model.variation_, model.penalty_, model.n_parameters_) == ("instruments", "projected", 3)
    assert model.eigenvalues_.shape == (3,)
    np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-8)


def test_score_is_the_share_of_variance_on_the_rows_as_given() -> None:
    data = sample()
    model = fit(data, "pointwise", controls=True)
    residual = data.y - model.predict(data.X, exogenous=data.W)
    share = 1 - np.average(residual**2, weights=data.weight) / np.average(
        (data.y - np.average(data.y, weights=data.weight)) ** 2, weights=data.weight
    )
    found = model.score(data.X, data.y, data.weight, exogenous=data.W)
    np.testing.assert_allclose(found, share, rtol=1e-12)


@pytest.mark.parametrize("name", ["linear", "cross_validated"])
def test_examples_of_the_documentation(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"causalkit.augmentation.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_an_augmenter_is_replaced_as_a_whole() -> None:
    model = IVLikeRegressor(augmentation=AdditiveNoise(0.5))
    params = model.get_params()
    assert "augmentation__scale" not in params
    assert model.set_params(**params).augmentation == AdditiveNoise(0.5)
    assert model.set_params(augmentation=AdditiveNoise(2.0)).augmentation.scale == 2.0
