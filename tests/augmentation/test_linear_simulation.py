"""Quick tier of the simulations: error in the design of the paper, population limits, coverage of h_alpha."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from causalkit.augmentation import IVLikeRegressor, normalized_causal_excess_risk
from causalkit.augmentation.augmenters import NullSpaceShift
from causalkit.datasets import make_linear_augmentation

DESIGNS = 10
SMALL = (1e-5, 1e-4, 1e-3)


def euclidean(coef: np.ndarray, truth: np.ndarray) -> Any:
    return normalized_causal_excess_risk(coef, truth, norm="euclidean")


@pytest.fixture(scope="module")
def errors() -> dict[str, np.ndarray]:
    """Euclidean error of each method in each design (m = 32, n = 2048, without intercept, as published)."""
    found: dict[str, list[Any]] = {}
    for seed in range(DESIGNS):
        data = make_linear_augmentation(random_state=seed)
        given = {"augmented": data.augmented, "augmentation_parameters": data.augmentation_parameters}
        shift = NullSpaceShift(data.basis)
        fits = {
            "projected": IVLikeRegressor(penalty="projected", fit_intercept=False).fit(data.X, data.y, **given),
            "paired": IVLikeRegressor(penalty="paired", fit_intercept=False).fit(data.X, data.y, **given),
            "pointwise": IVLikeRegressor(fit_intercept=False).fit(data.X, data.y, **given),
            "analytic": IVLikeRegressor(penalty="analytic", augmentation=shift, fit_intercept=False).fit(
                data.X, data.y
            ),
        }
        grid = np.array([*SMALL, 0.01, 0.1, 1.0, 10.0, np.inf])
        for name, model in fits.items():
            found.setdefault(name, []).append(euclidean(model.path(grid).coef, data.coef))
        plain = IVLikeRegressor(fit_intercept=False).fit(data.X, data.y)
        found.setdefault("erm", []).append([euclidean(plain.coef_, data.coef)])
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("penalty", ["pointwise", "analytic", "paired"])
def test_quality_bar(penalty: str, errors: dict[str, np.ndarray]) -> None:
    """Mean at most .002 at alpha of .001 and below, where the published estimator has .011 at its best alpha."""
    assert (errors[penalty][:, : len(SMALL)].mean(axis=0) <= 0.002).all()
    assert errors["projected"].mean(axis=0).min() > 0.005


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("projected", (0.0342, 0.0300, 0.0198, 0.0108, 0.0193, 0.0497, 0.0682, 0.0734)),
        ("paired", (0.0009, 0.0009, 0.0009, 0.0023, 0.0157, 0.0487, 0.0680, 0.0734)),
        ("pointwise", (0.0009, 0.0009, 0.0009, 0.0023, 0.0157, 0.0485, 0.0676, 0.0734)),
        ("analytic", (0.0009, 0.0009, 0.0009, 0.0022, 0.0155, 0.0483, 0.0674, None)),
        ("erm", (0.4187,)),
    ],
)
def test_means_over_designs(method: str, expected: tuple[float, ...], errors: dict[str, np.ndarray]) -> None:
    """Within 4 standard errors of means over 200 to 400 designs (theirs are at most .0025, .010 for least squares)."""
    for j, value in enumerate(expected):
        if value is None:
            continue
        own = errors[method][:, j]
        error = np.hypot(own.std(ddof=1) / np.sqrt(DESIGNS), 0.010 if method == "erm" else min(0.0025, 0.2 * value))
        assert abs(own.mean() - value) < 4 * error, (method, j, own.mean(), value)


def test_estimates_approach_the_population() -> None:
    """Distance to the population's h_alpha falls like 1/√n for every penalty."""
    for penalty in ("projected", "pointwise", "analytic"):
        distance = []
        for n in (1_000, 16_000, 256_000):
            data = make_linear_augmentation(n, 4, random_state=1)
            model = IVLikeRegressor(
                alpha=0.1, penalty=penalty, augmentation=NullSpaceShift(data.basis), random_state=0
            ).fit(data.X, data.y)
            distance.append(np.linalg.norm(model.coef_ - data.population_coef(0.1)))
        assert distance[2] < 0.25 * distance[0], (penalty, distance)
        assert distance[2] < 0.05


def test_violated_invariance_has_a_best_alpha_above_zero() -> None:
    """With a part of the effect along the moved directions, full trust loses to a compromise."""
    grid = np.array([1e-4, 0.01, 1.0])
    found = []
    for seed in range(DESIGNS):
        data = make_linear_augmentation(violation=0.1, random_state=seed)
        model = IVLikeRegressor(fit_intercept=False).fit(data.X, data.y, augmented=data.augmented)
        found.append(euclidean(model.path(grid).coef, data.coef))
    mean = np.mean(found, axis=0)
    assert mean[1] < mean[0]
    assert mean[1] < mean[2]


# ---------------------------------------------------------------------- coverage

REPETITIONS = 300


@functools.cache
def repeated(penalty: str, alpha: float, n_draws: int = 1) -> tuple[np.ndarray, float]:
    """One fixed design: how often 95 % intervals hold each coefficient of the population's h_alpha, and the RMSE."""
    m, n = 6, 1000
    rng = np.random.default_rng(12)
    T, epsilon, f = rng.normal(size=(m, m)), rng.normal(size=m), rng.normal(size=m)
    u = f.copy()
    u[0] += np.sign(f[0]) * np.linalg.norm(f)
    gamma = (np.eye(m) - 2 * np.outer(u, u) / (u @ u))[1:4]
    covariance = T.T @ T + 0.01 * np.eye(m)
    target = np.linalg.solve(covariance + (1 + 1 / alpha) * gamma.T @ gamma, covariance @ f + T.T @ epsilon)
    inside, errors = np.zeros((REPETITIONS, m)), []
    for i in range(REPETITIONS):
        C = rng.normal(size=(n, m))
        X = C @ T + 0.1 * rng.normal(size=(n, m))
        y = X @ f + C @ epsilon + 0.1 * rng.normal(size=n)
        shift = NullSpaceShift(gamma)
        model = IVLikeRegressor(alpha=alpha, penalty=penalty, augmentation=shift, n_draws=n_draws, random_state=i)
        table = model.fit(X, y).inference().conf_int().to_numpy()[1:]
        inside[i] = (table[:, 0] <= target) & (target <= table[:, 1])
        errors.append(model.coef_ - target)
    return inside.mean(axis=0), float(np.sqrt(np.mean(np.square(errors))))


@pytest.mark.parametrize(
    ("penalty", "alpha", "n_draws"),
    [
        ("projected", 0.1, 1),
        ("projected", 1.0, 1),
        ("pointwise", 0.1, 1),
        ("pointwise", 1.0, 1),
        ("pointwise", 0.1, 4),
        ("paired", 0.1, 1),
        ("analytic", 0.1, 1),
    ],
)
def test_coverage(penalty: str, alpha: float, n_draws: int) -> None:
    """Binomial band of 3.3 standard errors around .95 for each of six coefficients: .909 to .991."""
    band = 3.3 * np.sqrt(0.95 * 0.05 / REPETITIONS)
    found, _ = repeated(penalty, alpha, n_draws)
    assert (np.abs(found - 0.95) < band).all(), found


def test_errors_of_the_transformed_regression_would_not_cover() -> None:
    """Least squares errors of sY + tPY on sX + tPX are far too small at alpha = .1; the ones given here are not."""
    data = make_linear_augmentation(1000, 6, random_state=3)
    x, g, y = data.augmented, data.augmentation_parameters, data.y
    x, g, y = x - x.mean(axis=0), g - g.mean(axis=0), y - y.mean()
    s, t = np.sqrt(0.1), np.sqrt(1.1) - np.sqrt(0.1)
    P = g @ np.linalg.pinv(g)
    left, right = s * x + t * P @ x, s * y + t * P @ y
    residual = right - left @ np.linalg.lstsq(left, right, rcond=None)[0]
    naive = np.sqrt(np.diag(np.linalg.inv(left.T @ left)) * (residual @ residual) / (1000 - 6))
    model = IVLikeRegressor(penalty="projected", alpha=0.1).fit(
        data.X, data.y, augmented=data.augmented, augmentation_parameters=data.augmentation_parameters
    )
    assert np.median(model.inference().std_error[1:] / naive) > 1.3


def test_replicates_reduce_the_noise_of_projection() -> None:
    """Eight draws: .0031 instead of .0300 at alpha = 1e-4, because the noise of the projection falls with them."""
    found = []
    for seed in range(5):
        data = make_linear_augmentation(random_state=seed)
        options = {"penalty": "projected", "augmentation": NullSpaceShift(data.basis), "fit_intercept": False}
        fits = [IVLikeRegressor(n_draws=r, random_state=seed, **options).fit(data.X, data.y) for r in (1, 8)]
        found.append([euclidean(model.path([1e-4]).coef[0], data.coef) for model in fits])
    one, eight = np.mean(found, axis=0)
    assert abs(eight - 0.0031) < 0.0025
    assert one > 4 * eight


def test_pairs_are_at_least_twice_as_precise() -> None:
    """Root mean square distance to the population's h_alpha at alpha = .1: pairs at most half of projecting."""
    assert repeated("pointwise", 0.1, 1)[1] <= 0.5 * repeated("projected", 0.1, 1)[1]
