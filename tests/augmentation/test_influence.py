"""Influence values against derivatives in the weights of rows, covariances against known forms, and the bootstrap."""

from __future__ import annotations

from typing import Any

import joblib
import numpy as np
import pytest
from scipy import sparse

from causalkit.augmentation import IVLikeRegressor, IVLikeRegressorCV
from causalkit.augmentation.augmenters import AdditiveNoise, NullSpaceShift, Permutation, Scaling
from causalkit.exceptions import InferenceUnavailableError
from tests.augmentation.dense_linear import PENALTIES, Sample, sample, stacked

pytestmark = pytest.mark.filterwarnings("ignore::causalkit.exceptions.WeakInstrumentWarning")

N = 20


def arguments_of(data: Sample, penalty: str, options: dict[str, Any]) -> tuple[IVLikeRegressor, dict[str, Any]]:
    """Estimator and keyword arguments of fit, without weights."""
    options = dict(options)
    controls = options.pop("controls", False)
    known = penalty == "analytic" or options.pop("known", False)
    given = data.given(controls=controls)
    if known:
        given = {"exogenous": data.W} if controls else {}
        options["augmentation"] = AdditiveNoise(covariance=data.K)
    elif "augmentation" in options:
        given = {"exogenous": data.W} if controls else {}
    return IVLikeRegressor(penalty=penalty, random_state=0, **options), given


def derivatives(data: Sample, penalty: str, options: dict[str, Any], weight: np.ndarray) -> np.ndarray:
    """n·w_i·∂θ/∂w_i by central differences, shape (n, q)."""
    model, given = arguments_of(data, penalty, options)

    def fitted(w: np.ndarray) -> np.ndarray:
        return stacked(model.fit(data.X, data.y, sample_weight=w, **given))[0]

    step = 1e-4
    rows = []
    for i in range(len(weight)):
        up, down = weight.copy(), weight.copy()
        up[i] += step
        down[i] -= step
        rows.append(len(weight) * weight[i] * (fitted(up) - fitted(down)) / (2 * step))
    return np.array(rows)


OPTIONS: list[dict[str, Any]] = [
    {"alpha": 0.3},
    {"alpha": 1e-3},
    {"alpha": np.inf},
    {"alpha": 0.3, "fit_intercept": False},
    {"alpha": 0.3, "controls": True},
    {"alpha": 0.3, "controls": True, "fit_intercept": False},
    {"alpha": 0.3, "ridge": 0.8},
    {"alpha": 0.3, "controls": True, "ridge": 0.2},
]


def label(options: dict[str, Any]) -> str:
    return "-".join(f"{name}={value}" for name, value in options.items())


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("options", OPTIONS, ids=label)
def test_influence_is_the_derivative_in_the_weight_of_a_row(penalty: str, options: dict[str, Any]) -> None:
    data = sample(n=N)
    weight = np.random.default_rng(1).uniform(0.5, 2.0, N)
    expected = derivatives(data, penalty, options, weight)
    model, given = arguments_of(data, penalty, options)
    result = model.fit(data.X, data.y, sample_weight=weight, **given).inference()
    np.testing.assert_allclose(result.influence_values, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(result.cov, expected.T @ expected / N**2, rtol=1e-5)
    np.testing.assert_allclose(result.estimate, stacked(model)[0])


@pytest.mark.parametrize(
    ("penalty", "options"),
    [
        ("projected", {"n_draws": 3, "augmentation": NullSpaceShift(np.eye(4)[:2]), "controls": True}),
        ("paired", {"n_draws": 3, "augmentation": NullSpaceShift(np.eye(4)[:2]), "controls": True}),
        ("pointwise", {"n_draws": 3, "augmentation": Scaling(0.5, 1.5), "controls": True}),
        ("pointwise", {"n_draws": "orbit", "augmentation": Permutation([[0, 1]])}),
        ("pointwise", {"alpha": 0.0}),
        ("analytic", {"alpha": 0.0}),
        ("constrained", {"known": True, "controls": True}),
        ("constrained", {"augmentation": Permutation([[0, 1]]), "n_draws": 2}),
    ],
    ids=str,
)
def test_influence_with_draws_and_at_the_limit(penalty: str, options: dict[str, Any]) -> None:
    data = sample(n=N)
    weight = np.ones(N)
    expected = derivatives(data, penalty, options, weight)
    model, given = arguments_of(data, penalty, options)
    for w in (None, weight):
        found = model.fit(data.X, data.y, sample_weight=w, **given).inference().influence_values
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("k", [4, 6])
def test_two_stage_least_squares(k: int) -> None:
    """Real instruments at alpha = 0: derivatives again; with k = p the usual robust covariance."""
    data = sample(n=N, k=k)
    given = {"instruments": data.G[:, 0], "exogenous": data.W}
    model = IVLikeRegressor(alpha=0.0)

    def fitted(i: int, step: float) -> np.ndarray:
        w = np.ones(N)
        w[i] += step
        return stacked(model.fit(data.GX[:, 0], data.y, sample_weight=w, **given))[0]

    expected = np.array([N * (fitted(i, 1e-4) - fitted(i, -1e-4)) / 2e-4 for i in range(N)])
    result = model.fit(data.GX[:, 0], data.y, **given).inference()
    np.testing.assert_allclose(result.influence_values, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    if k == 4:
        one = np.ones((N, 1))
        R, Z = np.hstack([one, data.GX[:, 0], data.W]), np.hstack([one, data.G[:, 0], data.W])
        beta = np.linalg.solve(Z.T @ R, Z.T @ data.y)
        inverse, scores = np.linalg.inv(Z.T @ R), Z * (data.y - R @ beta)[:, None]
        np.testing.assert_allclose(result.estimate, beta, rtol=1e-8)
        np.testing.assert_allclose(result.cov, inverse @ (scores.T @ scores) @ inverse.T, rtol=1e-7)
    assert result.names == ("intercept", "x0", "x1", "x2", "x3", "exogenous0", "exogenous1")


@pytest.mark.parametrize("penalty", PENALTIES)
def test_clusters_add_up_their_rows(penalty: str) -> None:
    data = sample()
    model, given = arguments_of(data, penalty, {})
    rows = model.fit(data.X, data.y, sample_weight=data.weight, **given).inference()
    result = model.fit(data.X, data.y, sample_weight=data.weight, groups=data.groups, **given).inference()
    np.testing.assert_array_equal(result.estimate, rows.estimate)
    sums = np.stack([rows.influence_values[data.groups == g].sum(axis=0) for g in np.unique(data.groups)])
    np.testing.assert_allclose(result.cov, sums.T @ sums / 40**2, rtol=1e-9)
    assert result.df == len(np.unique(data.groups)) - 1
    assert "8 clusters" in result.dependence


def test_result_says_what_it_targets() -> None:
    data = sample()
    result = IVLikeRegressor(alpha=0.25).fit(data.X, data.y, augmented=data.GX).inference()
    assert "coefficients at alpha=0.25, not the causal effect itself" in result.dependence
    rule = IVLikeRegressorCV(selection="gcv")
    with pytest.warns(UserWarning, match="prediction"):
        rule.fit(data.X, data.y, augmented=data.GX)
    assert "conditional on alpha" in rule.inference().dependence


# ---------------------------------------------------------------------- bootstrap


def test_bootstrap_agrees_with_influence_values() -> None:
    """A mean squared relative gap of standard errors of 10 % is 3 times its Monte Carlo error at 300 replicates."""
    data = sample(n=400, seed=3)
    noise = NullSpaceShift(np.eye(4)[:2])
    for penalty in ("pointwise", "projected", "analytic"):
        model = IVLikeRegressor(alpha=0.5, augmentation=noise, penalty=penalty, random_state=0).fit(data.X, data.y)
        result = model.inference(method="refit", n_bootstrap=300)
        ratio = result.std_error / model.inference().std_error
        assert np.sqrt(np.mean((ratio - 1) ** 2)) < 0.13, (penalty, ratio)
        assert "300 refits of resampled rows with new draws" in result.dependence
        np.testing.assert_allclose(result.estimate, stacked(model)[0])


def test_bootstrap_draws_the_augmentation_anew() -> None:
    """With rows that are all alike only the draws vary, so replicates without new draws would not vary at all."""
    X, y = np.tile([[1.0, 2.0]], (50, 1)), np.full(50, 3.0)
    model = IVLikeRegressor(augmentation=AdditiveNoise(), fit_intercept=False, random_state=0, alpha=1.0).fit(X, y)
    assert model.inference(method="refit", n_bootstrap=20).std_error.min() > 1e-3
    kept = IVLikeRegressor(fit_intercept=False, alpha=1.0, ridge=0.1).fit(
        X, y, augmented=np.tile([[1.0, 4.0]], (50, 1))
    )
    assert kept.inference(method="refit", n_bootstrap=20).std_error.max() < 1e-12


def test_bootstrap_resamples_whole_clusters() -> None:
    """Copies of a row within its cluster add no information: clustered errors stay, the others shrink by √5."""
    data = sample(n=100, seed=5)
    many = data.rows(np.repeat(np.arange(100), 5))
    groups = np.repeat(np.arange(100), 5)

    def errors(rows: Sample, **given: Any) -> np.ndarray:
        model = IVLikeRegressor(random_state=0).fit(rows.X, rows.y, augmented=rows.GX, **given)
        return model.inference(method="refit", n_bootstrap=200).std_error

    single, clustered, naive = errors(data), errors(many, groups=groups), errors(many)
    np.testing.assert_allclose(clustered, single, rtol=1e-7)  # the same draws of 100 units
    ratio = np.sqrt(np.mean((naive / single) ** 2))
    assert abs(ratio * np.sqrt(5) - 1) < 0.15


def test_bootstrap_does_not_depend_on_jobs() -> None:
    data = sample(n=60, seed=2)
    model = IVLikeRegressor(augmentation=AdditiveNoise(0.5), n_draws=2, random_state=0)
    model.fit(data.X, data.y, groups=data.groups, exogenous=data.W)
    serial = model.inference(method="refit", n_bootstrap=12)
    with joblib.parallel_config("threading", n_jobs=2):
        result = model.inference(method="refit", n_bootstrap=12)
    np.testing.assert_array_equal(result.cov, serial.cov)


# ---------------------------------------------------------------------- rows given again


@pytest.mark.parametrize("penalty", PENALTIES)
def test_chunks_give_the_errors_of_one_fit(penalty: str) -> None:
    data = sample(n=90, draws=2)
    options = {"controls": True}
    model, given = arguments_of(data, penalty, options)
    whole = model.fit(data.X, data.y, sample_weight=data.weight, groups=data.groups, **given).inference()
    chunks = []
    for part in (slice(0, 20), slice(20, 75), slice(75, 90)):
        rows = data.rows(part)
        own = arguments_of(rows, penalty, options)[1]
        chunks.append({"X": rows.X, "y": rows.y, "sample_weight": rows.weight, "groups": rows.groups, **own})
    streamed = arguments_of(data, penalty, options)[0]
    for chunk in chunks:
        streamed.partial_fit(**{name: value for name, value in chunk.items() if name != "groups"})
    with pytest.raises(InferenceUnavailableError, match=r"inference\(chunks="):
        streamed.inference()
    result = streamed.inference(chunks=iter(chunks))
    np.testing.assert_allclose(result.estimate, whole.estimate, rtol=1e-9)
    np.testing.assert_allclose(result.cov, whole.cov, rtol=1e-8)
    assert result.df == whole.df
    again = streamed.inference(method="refit", n_bootstrap=5, chunks=chunks)
    np.testing.assert_allclose(again.cov, model.inference(method="refit", n_bootstrap=5).cov, rtol=1e-7)


def test_chunks_of_other_rows_are_refused() -> None:
    data = sample()
    model = IVLikeRegressor().partial_fit(data.X, data.y, augmented=data.GX)
    first = {"X": data.X, "y": data.y, "augmented": data.GX}
    model.inference(chunks=[first])
    other = {**first, "X": data.X + 1e-3}
    wrong = [[], [first, first], [{**first, "y": data.y + 1e-3}], [other], [{**first, "sample_weight": data.weight}]]
    for chunks in wrong:
        with pytest.raises(InferenceUnavailableError, match=r"chunks are other rows.*expected .*Pass exactly the rows"):
            model.inference(chunks=chunks)


def test_sparse_chunks() -> None:
    rng = np.random.default_rng(0)
    X = sparse.random(120, 4, 0.5, format="csr", random_state=rng)
    y = X @ np.ones(4) + rng.normal(size=120)
    model = IVLikeRegressor(augmentation=Scaling(0.5, 2.0), random_state=0)
    whole = model.fit(X, y).inference()
    streamed = IVLikeRegressor(augmentation=Scaling(0.5, 2.0), random_state=0)
    chunks = [(X[:50], y[:50]), (X[50:], y[50:])]
    for chunk in chunks:
        streamed.partial_fit(*chunk)
    np.testing.assert_allclose(streamed.inference(chunks=chunks).cov, whole.cov, rtol=1e-8)
    refits = [m.inference(method="refit", n_bootstrap=4, chunks=c).cov for m, c in ((streamed, chunks), (model, None))]
    np.testing.assert_allclose(refits[0], refits[1], rtol=1e-7)
