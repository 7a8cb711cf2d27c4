"""Graphical lasso of log-ratios: stored values, optimality worked out anew, closed forms, brute force."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import helmert
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from causalkit.composition.graphical_lasso import CompositionalGraphicalLasso
from causalkit.composition.penalised_likelihood import optimality_residual
from causalkit.datasets import fetch_roman_glass_cups
from causalkit.exceptions import (
    ConvergenceWarning,
    DegenerateLogRatioError,
    DegreesOfFreedomError,
    NonFiniteError,
    NonPositiveError,
    TooFewPartsError,
)
from tests.datasets.composition_files import fetch_or_skip

TARGETS = ["basis", "invariant"]


@pytest.fixture(scope="module")
def cups():
    return fetch_or_skip(fetch_roman_glass_cups).parts


@pytest.fixture
def amounts():
    rng = np.random.default_rng(0)
    return np.exp(rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6)) * 0.5)


def gamma_of(X):
    logs = np.log(np.asarray(X))
    return np.cov(logs - logs.mean(axis=1, keepdims=True), rowvar=False)


def objective(precision, gamma, penalty):
    off = np.abs(precision).sum() - np.abs(np.diag(precision)).sum()
    values = np.linalg.eigvalsh(precision)
    log_det = np.log(values[values > 1e-9 * values[-1]]).sum()
    return -log_det + np.sum(gamma * precision) + penalty * off


@pytest.mark.parametrize(
    ("target", "alpha", "edges", "value"),
    [
        ("basis", 0.1, 32, -38.26668),
        ("basis", 0.3, 13, -36.18532),
        ("basis", 0.6, 5, -35.65171),
        ("basis", 1.0, 0, -35.58618),
        ("invariant", 0.1, 55 - 16, -32.84953),
        ("invariant", 0.3, 55 - 20, -29.14149),
        ("invariant", 0.6, 55 - 14, -25.80522),
        ("invariant", 1.0, 55 - 11, -22.78704),
    ],
)
def test_cups(cups, target, alpha, edges, value):
    model = CompositionalGraphicalLasso(alpha=alpha, target=target).fit(cups)
    assert model.alpha_max_ == pytest.approx(0.0212942547, abs=1e-10)
    assert np.count_nonzero(np.triu(model.precision_, 1)) == edges
    assert objective(model.precision_, gamma_of(cups), alpha * model.alpha_max_) == pytest.approx(value, abs=1e-5)
    assert model.kkt_residual_ <= 1e-6
    np.testing.assert_array_equal(model.precision_, model.precision_.T)
    np.testing.assert_allclose(model.log_ratio_covariance_, gamma_of(cups), rtol=0, atol=1e-15)


def test_a_vanishing_penalty_gives_the_unpenalised_score(cups):
    model = CompositionalGraphicalLasso(alpha=1e-7, target="invariant").fit(cups)
    assert model.score(cups) == pytest.approx(9.66284, abs=1e-5)
    # The stored partial correlation of Si and Al without a penalty.
    assert model.partial_correlation_[0, 1] == pytest.approx(0.721524, abs=1e-4)


@pytest.mark.parametrize("alpha", [0.05, 0.4, 1.0])
def test_optimality_of_the_basis_target(amounts, alpha):
    model = CompositionalGraphicalLasso(alpha=alpha).fit(amounts)
    theta, penalty = model.precision_, alpha * model.alpha_max_
    gap = np.linalg.inv(theta) - gamma_of(amounts)
    off = ~np.eye(6, dtype=bool)
    scale = gamma_of(amounts).max()
    edge = (theta != 0) & off
    np.testing.assert_allclose(np.diag(gap), 0, atol=1e-6 * scale)
    np.testing.assert_allclose(gap[edge], penalty * np.sign(theta[edge]), atol=1e-6 * scale)
    assert (np.abs(gap[off]) <= penalty + 1e-6 * scale).all()


@pytest.mark.parametrize("alpha", [0.2, 0.4, 1.0])
def test_optimality_of_the_invariant_target(amounts, alpha):
    model = CompositionalGraphicalLasso(alpha=alpha, target="invariant").fit(amounts)
    precision, penalty, gamma = model.precision_, alpha * model.alpha_max_, gamma_of(amounts)
    np.testing.assert_allclose(precision.sum(axis=0), 0, atol=1e-12 * precision.max())
    # P⁺ = Γ + αGZG with Z = sign P where P is not 0: the free entries of Z are found by least squares.
    gap = np.linalg.pinv(precision, rcond=1e-10) - gamma
    centre = np.eye(6) - 1 / 6
    fixed = np.sign(precision) * ~np.eye(6, dtype=bool)
    free = [(i, j) for i in range(6) for j in range(i) if precision[i, j] == 0]
    assert len(free) > 0
    columns = []
    for i, j in free:
        unit = np.zeros((6, 6))
        unit[i, j] = unit[j, i] = 1
        columns.append((centre @ unit @ centre).ravel())
    rest = (gap / penalty - centre @ fixed @ centre).ravel()
    z, *_ = np.linalg.lstsq(np.array(columns).T, rest, rcond=None)
    assert (np.abs(z) <= 1 + 1e-5).all()
    np.testing.assert_allclose(np.array(columns).T @ z, rest, atol=1e-6 * gamma.max() / penalty)


def test_three_parts_by_brute_force():
    X = np.exp(np.random.default_rng(3).normal(size=(30, 3)) @ [[1, 0.6, 0], [0, 1, 0.3], [0, 0, 0.4]])
    gamma = gamma_of(X)
    penalty = 0.3 * max(abs(gamma[0, 1]), abs(gamma[0, 2]), abs(gamma[1, 2]))
    pairs = [(0, 1), (0, 2), (1, 2)]

    def laplacian(weights):
        out = np.zeros((3, 3))
        for (i, j), weight in zip(pairs, weights, strict=True):
            out[[i, j], [j, i]] -= weight
            out[i, i] += weight
            out[j, j] += weight
        return out

    def value(weights):
        matrix = laplacian(weights)
        eigenvalues = np.linalg.eigvalsh(matrix + 1 / 3)
        if eigenvalues[0] <= 0:
            return np.inf
        return -np.log(eigenvalues).sum() + np.sum(gamma * matrix) + 2 * penalty * np.abs(weights).sum()

    found = minimize(
        value, [1.0, 1.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 5000}
    )
    model = CompositionalGraphicalLasso(alpha=0.3, target="invariant").fit(X)
    np.testing.assert_allclose(model.precision_, laplacian(found.x), atol=1e-5)


def test_alpha_of_one_leaves_the_diagonal(amounts):
    model = CompositionalGraphicalLasso(alpha=1.0).fit(amounts)
    np.testing.assert_allclose(model.precision_, np.diag(1 / np.diag(gamma_of(amounts))), rtol=1e-6)
    np.testing.assert_array_equal(model.partial_correlation_, np.eye(6))


def test_a_large_penalty_does_not_empty_the_invariant_graph(amounts):
    model = CompositionalGraphicalLasso(alpha=50.0, target="invariant").fit(amounts)
    assert np.count_nonzero(np.triu(model.precision_, 1)) == 15


@pytest.mark.parametrize("target", TARGETS)
def test_score_is_the_normal_density_of_orthonormal_coordinates(amounts, target):
    model = CompositionalGraphicalLasso(alpha=0.3, target=target).fit(amounts[:30])
    contrasts = helmert(6)
    if target == "basis":
        covariance = contrasts @ np.linalg.inv(model.precision_) @ contrasts.T
    else:
        covariance = np.linalg.inv(contrasts @ model.precision_ @ contrasts.T)
    center = (np.log(amounts[:30]) @ contrasts.T).mean(axis=0)
    expected = multivariate_normal(center, covariance).logpdf(np.log(amounts[30:]) @ contrasts.T).mean()
    assert model.score(amounts[30:]) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("target", TARGETS)
def test_units_order_and_closure_do_not_matter(amounts, target):
    model = CompositionalGraphicalLasso(alpha=0.2, target=target)
    first = model.fit(amounts).partial_correlation_
    rng = np.random.default_rng(1)
    rescaled = amounts * rng.lognormal(size=6) * rng.lognormal(size=(40, 1))
    np.testing.assert_allclose(model.fit(rescaled).partial_correlation_, first, atol=1e-5)
    order = rng.permutation(6)
    np.testing.assert_allclose(
        model.fit(amounts[:, order]).partial_correlation_, first[np.ix_(order, order)], atol=1e-5
    )


@pytest.mark.parametrize("target", TARGETS)
def test_fewer_rows_than_parts(target):
    X = np.exp(np.random.default_rng(2).normal(size=(10, 25)))
    model = CompositionalGraphicalLasso(alpha=0.3, target=target).fit(X)
    assert model.kkt_residual_ <= 1e-7
    assert np.linalg.eigvalsh(model.precision_)[0 if target == "basis" else 1] > 0
    assert np.isfinite(model.score(X))


def test_weights(amounts):
    model = CompositionalGraphicalLasso(alpha=0.2)
    weight = np.r_[np.ones(25), np.zeros(15)]
    np.testing.assert_allclose(
        model.fit(amounts, sample_weight=weight).precision_, model.fit(amounts[:25]).precision_, rtol=1e-5, atol=1e-8
    )
    with pytest.raises(DegreesOfFreedomError, match="n_samples = 2 rows"):
        model.fit(amounts, sample_weight=np.r_[1, 1, np.zeros(38)])
    with pytest.raises(ValueError, match="must not be negative"):
        model.fit(amounts, sample_weight=-weight)


def test_residual_of_a_wrong_matrix(amounts):
    gamma = gamma_of(amounts)
    model = CompositionalGraphicalLasso(alpha=0.2).fit(amounts)
    penalty = 0.2 * model.alpha_max_
    shifted = model.precision_ + np.diag([0.1, 0, 0, 0, 0, 0])
    expected = np.abs(np.diag(np.linalg.inv(shifted) - gamma)).max() / np.diag(gamma).max()
    assert optimality_residual(shifted, gamma, penalty, "basis") >= expected - 1e-12
    assert optimality_residual(-model.precision_, gamma, penalty, "basis") == np.inf


@pytest.mark.parametrize("target", TARGETS)
def test_stopping_early_warns_and_keeps_a_usable_matrix(amounts, target):
    with pytest.warns(ConvergenceWarning, match=r"after 2 steps.*Raise max_iter"):
        model = CompositionalGraphicalLasso(alpha=0.1, target=target, max_iter=2).fit(amounts)
    assert model.n_iter_ == 2 and 1e-7 < model.kkt_residual_ < np.inf
    assert np.isfinite(model.score(amounts))


def test_names_cloning_pickling_and_grid_search(amounts):
    frame = pd.DataFrame(amounts, columns=list("abcdef"))
    model = CompositionalGraphicalLasso(alpha=0.2).fit(frame)
    assert list(model.feature_names_in_) == list("abcdef") and model.n_features_in_ == 6
    again = pickle.loads(pickle.dumps(model))
    assert again.score(frame) == model.score(frame)
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(ValueError, match="feature names"):
        model.score(frame[list("fedcba")])
    with pytest.raises(NotFittedError):
        CompositionalGraphicalLasso().score(frame)
    search = GridSearchCV(CompositionalGraphicalLasso(), {"alpha": [0.05, 0.5, 1.0]}, cv=4).fit(frame)
    folds = [clone(search.estimator).set_params(alpha=0.5).fit(frame.iloc[10:]).score(frame.iloc[:10])]
    assert search.cv_results_["split0_test_score"][1] == pytest.approx(folds[0], abs=1e-12)


def test_verbose_writes_to_standard_error_only(amounts, capsys):
    CompositionalGraphicalLasso(alpha=0.01, target="invariant", verbose=1, tol=1e-12).fit(amounts)
    captured = capsys.readouterr()
    assert captured.out == "" and "graphical lasso: step 50" in captured.err


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda X: np.where(np.arange(6) == 2, np.nan, X), NonFiniteError, "NaN"),
        (lambda X: np.where(np.arange(240).reshape(40, 6) == 8, 0.0, X), NonPositiveError, "ZeroReplacement"),
        (lambda X: -X, NonPositiveError, "Negative"),
        (lambda X: X[:, :2], TooFewPartsError, "at least 3"),
        (lambda X: X[:2], DegreesOfFreedomError, "n_samples = 2"),
        (lambda X: np.repeat(X[:1], 5, axis=0), DegenerateLogRatioError, "part 'x0' does not vary"),
    ],
)
def test_bad_data(amounts, change, error, words):
    with pytest.raises(error, match=words):
        CompositionalGraphicalLasso().fit(change(amounts))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"alpha": 0}, "alpha must be a finite number above 0"),
        ({"alpha": np.inf}, "alpha must be a finite number above 0"),
        ({"tol": -1.0}, "tol must be a finite number above 0"),
        ({"target": "clr"}, "target must be one of 'basis', 'invariant'"),
        ({"max_iter": 0}, "max_iter must be an integer at least 1"),
    ],
)
def test_bad_parameters(amounts, parameters, words):
    with pytest.raises(ValueError, match=words):
        CompositionalGraphicalLasso(**parameters).fit(amounts)
