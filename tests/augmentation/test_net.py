"""IV-like networks: the objective against formulas and brute force, the linear case, the known designs, failures."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax
from sklearn.exceptions import NotFittedError

from causalkit.augmentation.augmenters import AdditiveNoise
from causalkit.augmentation.net import IVLikeNetClassifier, IVLikeNetRegressor
from causalkit.augmentation.net_objective import NetObjective, loss_shares, moment_product, pair_statistic
from causalkit.augmentation.net_pairs import fit_scaling, whiten
from causalkit.exceptions import (
    PersistenceError,
)
from causalkit.nn import make_mlp, torch_generator
from causalkit.persistence import load, save
from tests.augmentation.net_designs import QUICK, OwnNetwork, linear_design, shift_second

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EXACT = {
    "hidden_layer_sizes": (),
    "early_stopping": False,
    "batch_size": 10_000,
    "learning_rate": 0.01,
    "max_epochs": 3000,
    "patience": 100,
    "random_state": 0,
}


def _number(tensor):
    return float(tensor.detach())


def _tensor(values):
    return torch.as_tensor(np.asarray(values, dtype=np.float32))


# ---------------------------------------------------------------------- the objective


def _numpy_penalty(penalty, outcome, after, before, G, weight, factor):
    """The penalty as written: outcome (n, t), after (n, R, t), before (n, t), G (n, R, k)."""
    n, n_draws = after.shape[:2]
    moment = outcome[:, None] - after if penalty == "projected" else after - before[:, None]
    share = np.repeat(weight, n_draws) / (weight.sum() * n_draws)
    moment = moment.reshape(n * n_draws, -1)
    if penalty == "pointwise":
        return factor * share @ (moment**2).sum(axis=1)
    g = G.reshape(n * n_draws, -1)
    g = g - share @ g
    S, q = (g * share[:, None]).T @ g, (g * share[:, None]).T @ moment
    return factor * np.trace(q.T @ np.linalg.solve(S, q))


def _objective(kind, penalty, alpha=0.5, n=30, n_draws=2, seed=0):
    """A small objective with its arrays and a module of known outputs."""
    rng = np.random.default_rng(seed)
    X, G = rng.standard_normal((n, 3)), rng.standard_normal((n, n_draws, 2))
    GX = X[:, None] + np.concatenate([G, 0.3 * rng.standard_normal((n, n_draws, 1))], axis=2)
    weight = rng.uniform(0.5, 2, n)
    weight /= weight.mean()
    t = 2 if kind == "regression" else 3
    y = rng.standard_normal((n, t)) if kind == "regression" else rng.integers(0, t, n)
    module = make_mlp((3, 4, t), torch_generator(seed))
    targets = _tensor(y) if kind == "regression" else torch.as_tensor(y)
    objective = NetObjective(_tensor(X), targets, _tensor(weight), penalty=penalty, alpha=alpha)
    objective.set_copies(_tensor(GX), _tensor(whiten(G, weight, ["a", "b"], warn=True).apply(G)))
    return objective, module, (X, GX, G, y, weight)


def _expected_loss(kind, penalty, alpha, module, arrays):
    X, GX, G, y, weight = arrays
    n, n_draws = GX.shape[:2]
    after, before = (module(_tensor(v)).detach().double().numpy() for v in (GX.reshape(-1, 3), X))
    if kind == "regression":
        outcome, factor = y, 1.0
        loss = ((np.repeat(y, n_draws, axis=0) - after) ** 2).sum(axis=1)
    else:
        outcome, factor = np.eye(3)[y], 0.5
        loss = -log_softmax(after, axis=1)[np.arange(n * n_draws), np.repeat(y, n_draws)]
        after, before = softmax(after, axis=1), softmax(before, axis=1)
    data = np.average(loss, weights=np.repeat(weight, n_draws))
    value = _numpy_penalty(penalty, outcome, after.reshape(n, n_draws, -1), before, G, weight, factor)
    return (data + value / alpha) * alpha / (1 + alpha), value


@pytest.mark.parametrize("kind", ["regression", "classes"])
@pytest.mark.parametrize("penalty", ["pointwise", "paired", "projected"])
def test_full_loss_is_the_formula(kind, penalty):
    objective, module, arrays = _objective(kind, penalty)
    expected, value = _expected_loss(kind, penalty, 0.5, module, arrays)
    assert _number(objective.full_loss(module)) == pytest.approx(expected, rel=1e-5)
    assert value > 0
    everything = torch.arange(30)
    assert _number(objective.batch_loss(module, everything, None)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("penalty", ["pointwise", "paired", "projected"])
def test_two_classes_count_once(penalty):
    """With two classes the penalty is that on the probability of one of them."""
    objective, _, (X, GX, G, _, weight) = _objective("classes", penalty)
    y = np.arange(30) % 2
    module = make_mlp((3, 4, 2), torch_generator(3))
    objective.targets = torch.as_tensor(y)
    objective.data_share, objective.penalty_share = 0.0, 1.0
    after, before = (
        softmax(module(_tensor(v)).detach().double().numpy(), axis=1)[:, 1:] for v in (GX.reshape(-1, 3), X)
    )
    expected = _numpy_penalty(penalty, y[:, None], after.reshape(30, 2, 1), before, G, weight, 1.0)
    assert _number(objective.full_loss(module)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["regression", "classes"])
@pytest.mark.parametrize("penalty", ["pointwise", "paired", "projected"])
def test_batch_loss_is_unbiased(kind, penalty):
    objective, module, arrays = _objective(kind, penalty)
    expected, _ = _expected_loss(kind, penalty, 0.5, module, arrays)
    values = _batch_losses(objective, module, 2000)
    assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("penalty", ["paired", "projected"])
def test_batch_penalty_is_unbiased_and_not_clipped(penalty):
    """Single products of two batches may be negative; the square of one batch average is too large by a formula."""
    objective, module, arrays = _objective("regression", penalty)
    _, expected = _expected_loss("regression", penalty, 0.5, module, arrays)
    objective.data_share, objective.penalty_share = 0.0, 1.0
    values = _batch_losses(objective, module, 4000)
    assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(len(values))
    assert values.min() < 0
    # Batches of b of n rows without repetition: |s̄_b|² exceeds |s̄|² by (1 - b/n)/b times the variance of scores.
    scores = (objective.weight[:, None, None] * objective.evaluate(module, torch.arange(30)).scores).detach()
    excess = (1 - 5 / 30) / 5 * float(((scores - scores.mean(dim=0)) ** 2).sum()) / 29
    assert excess > 0.2 * expected
    generator = torch_generator(1)
    means = [scores[torch.randperm(30, generator=generator)[:5]].mean(dim=0) for _ in range(4000)]
    squares = np.array([float(moment_product(mean, mean)) for mean in means])
    assert abs(squares.mean() - expected - excess) < 4 * squares.std() / np.sqrt(len(squares))


def _batch_losses(objective, module, times):
    generator = torch_generator(0)
    with torch.no_grad():
        batches = [torch.randperm(30, generator=generator)[:5] for _ in range(times)]
        return np.array([float(objective.batch_loss(module, batch, generator)) for batch in batches])


def test_product_of_two_independent_rows_averages_to_the_square():
    """Exhaustive: all ordered pairs with repetition give |s̄|²; pairs of different rows the corrected value."""
    scores = torch.as_tensor(np.random.default_rng(0).standard_normal((7, 2, 3)))
    products = np.array([[float(moment_product(a, b)) for b in scores] for a in scores])
    mean = scores.mean(dim=0)
    square = float(moment_product(mean, mean))
    assert products.mean() == pytest.approx(square, rel=1e-12)
    off_diagonal = (products.sum() - np.trace(products)) / 42
    assert float(pair_statistic(scores)) == pytest.approx(off_diagonal, rel=1e-12)
    assert off_diagonal == pytest.approx((7 * square - np.trace(products) / 7) / 6, rel=1e-12)
    assert float(pair_statistic(scores[:1])) == pytest.approx(products[0, 0])


@pytest.mark.parametrize("penalty", ["paired", "projected"])
def test_validation_leaves_out_equal_rows(penalty):
    objective, module, _ = _objective("regression", penalty)
    scores = (objective.weight[:, None, None] * objective.evaluate(module, torch.arange(30)).scores).detach()
    square = float(moment_product(scores.mean(dim=0), scores.mean(dim=0)))
    with torch.no_grad():
        difference = float(objective.full_loss(module)) - objective.validation_loss(module)
    expected = (square - float((30 * square - (scores**2).sum() / 30) / 29)) * objective.penalty_share
    assert difference == pytest.approx(expected, rel=1e-3)


def test_weights_count_as_repeated_rows():
    objective, module, (X, GX, G, y, _) = _objective("regression", "paired")
    counts = np.arange(30) % 3 + 1
    results = []
    for rows, weight in [
        (np.arange(30), counts / counts.mean()),
        (np.repeat(np.arange(30), counts), np.ones(counts.sum())),
    ]:
        made = NetObjective(_tensor(X[rows]), _tensor(y[rows]), _tensor(weight), penalty="paired", alpha=0.5)
        made.set_copies(_tensor(GX[rows]), _tensor(whiten(G[rows], weight, ["a", "b"], warn=True).apply(G[rows])))
        results.append(_number(made.full_loss(module)))
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    assert results[0] != pytest.approx(_number(objective.full_loss(module)), rel=1e-3)


@pytest.mark.parametrize(("alpha", "shares"), [(1.0, (0.5, 0.5)), (0.25, (0.2, 0.8)), (np.inf, (1.0, 0.0))])
def test_shares(alpha, shares):
    assert loss_shares(alpha) == pytest.approx(shares)


def test_scaling():
    X = np.array([[1.0, 5.0, 0.1], [3.0, 5.0, 0.1], [9.0, 5.0, 0.1]])
    scaling = fit_scaling(X, np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(scaling.centre, [2.0, 5.0, 0.1])
    np.testing.assert_allclose(scaling.scale, [1.0, 1.0, 1.0])


# ---------------------------------------------------------------------- the linear case


def _closed_form(penalty, X, y, GX, G, alpha, weight=None):
    """(αA + B)⁻¹(αa + b) with means taken out of x, y and g, and d as it is."""
    w = np.ones(len(y)) if weight is None else weight
    w = w / w.sum()
    x, target = GX - w @ GX, y - w @ y
    A, a, d = (x * w[:, None]).T @ x, x.T @ (w * target), GX - X
    B, b = np.zeros_like(A), np.zeros_like(a)
    if penalty == "pointwise":
        B = (d * w[:, None]).T @ d
    elif penalty != "none":
        g = G - w @ G
        S, C = (g * w[:, None]).T @ g, (g * w[:, None]).T @ (x if penalty == "projected" else d)
        B = C.T @ np.linalg.solve(S, C)
        if penalty == "projected":
            b = C.T @ np.linalg.solve(S, g.T @ (w * target))
    if np.isinf(alpha):
        A, a, B, b, alpha = A, a, 0 * B, 0 * b, 1.0
    coef = np.linalg.solve(alpha * A + B, alpha * a + b)
    return coef, w @ y - (w @ GX) @ coef


def _coefficients(net, p=3):
    points = net.predict(np.vstack([np.zeros(p), np.eye(p)]))
    return points[1:] - points[0], points[0]


@pytest.mark.parametrize(
    ("penalty", "alpha"),
    [("pointwise", 0.1), ("pointwise", 2.0), ("paired", 0.1), ("projected", 0.1), ("pointwise", np.inf)],
)
def test_without_hidden_layer_it_is_the_linear_estimator(penalty, alpha):
    X, y, GX, G = linear_design()
    net = IVLikeNetRegressor(alpha=alpha, penalty=penalty, **EXACT)
    net.fit(X, y, augmented=GX, augmentation_parameters=G)
    coef, intercept = _closed_form(penalty, X, y, GX, G, alpha)
    got = _coefficients(net)
    np.testing.assert_allclose(got[0], coef, atol=5e-3)
    assert got[1] == pytest.approx(intercept, abs=1e-2)
    assert (net.alpha_, net.penalty_, net.variation_, net.converged_) == (alpha, penalty, "augmentation", True)
    # The question is settled only if the penalty matters here.
    ordinary = _closed_form("none", X, y, X, G, 1.0)[0]
    assert np.abs(coef - ordinary).max() > 0.05


def test_without_hidden_layer_instruments_give_the_k_class_estimator():
    X, y, _, _ = linear_design()
    rng = np.random.default_rng(1)
    Z = rng.standard_normal((400, 3))
    X = X + Z @ rng.standard_normal((3, 3))
    net = IVLikeNetRegressor(alpha=0.2, **EXACT).fit(X, y, instruments=Z)
    np.testing.assert_allclose(_coefficients(net)[0], _closed_form("projected", X, y, X, Z, 0.2)[0], atol=5e-3)
    assert (net.penalty_, net.variation_) == ("projected", "instruments")


def test_batches_of_a_moment_penalty_reach_the_same_coefficients():
    X, y, GX, G = linear_design(n=2000)
    net = IVLikeNetRegressor(
        penalty="projected", **{**EXACT, "batch_size": 200, "learning_rate": 0.003, "max_epochs": 150}
    )
    net.fit(X, y, augmented=GX, augmentation_parameters=G)
    np.testing.assert_allclose(_coefficients(net)[0], _closed_form("projected", X, y, GX, G, 0.1)[0], atol=0.05)


def test_several_draws_are_averaged():
    """Two draws per row = the linear estimator on the rows taken twice."""
    X, y, GX, G = linear_design()
    both, parameters = np.stack([GX, 2 * X - GX], axis=1), np.stack([G, -G], axis=1)
    net = IVLikeNetRegressor(penalty="paired", **EXACT).fit(X, y, augmented=both, augmentation_parameters=parameters)
    twice = [np.concatenate(v) for v in [(X, X), (y, y), (GX, 2 * X - GX), (G, -G)]]
    np.testing.assert_allclose(_coefficients(net)[0], _closed_form("paired", *twice, 0.1)[0], atol=5e-3)


def test_sample_weights_enter_both_terms():
    X, y, GX, G = linear_design()
    weight = np.where(X[:, 1] > 0, 3.0, 0.5)
    weight[:20] = 0.0
    net = IVLikeNetRegressor(penalty="paired", **EXACT)
    net.fit(X, y, augmented=GX, augmentation_parameters=G, sample_weight=weight)
    expected = _closed_form("paired", X, y, GX, G, 0.1, weight)[0]
    np.testing.assert_allclose(_coefficients(net)[0], expected, atol=5e-3)
    assert np.abs(expected - _closed_form("paired", X, y, GX, G, 0.1)[0]).max() > 0.02


def test_outcomes_of_any_unit_and_number():
    X, y, GX, _ = linear_design()
    both = np.column_stack([1000 * y, X[:, 0] - 7])
    net = IVLikeNetRegressor(**EXACT).fit(X, both, augmented=GX)
    assert net.predict(X).shape == (400, 2)
    slopes = net.predict(np.eye(3)) - net.predict(np.zeros((3, 3)))
    for column, scale in enumerate([1000.0, 1.0]):
        expected = _closed_form("pointwise", X, both[:, column], GX, None, 0.1)[0]
        np.testing.assert_allclose(slopes[:, column] / scale, expected / scale, atol=5e-3)


# ---------------------------------------------------------------------- fresh draws


def test_every_epoch_has_draws_of_its_own():
    X, y, _, _ = linear_design(n=60)
    calls: list[np.ndarray] = []

    def augmentation(X, rng):
        moved, _ = shift_second(X, rng)
        calls.append(moved - X)
        return moved

    net = IVLikeNetRegressor(augmentation=augmentation, **QUICK).fit(X, y)
    assert len(calls) == net.n_epochs_ + 1  # one for the held-out rows
    shifts = {call[0, 1] for call in calls}
    assert len(shifts) == len(calls)
    assert (net.penalty_, net.variation_) == ("pointwise", "augmentation")


def test_draws_reach_the_population_estimator():
    """AdditiveNoise on column 1: h = (αA + B)⁻¹αa with A = Cov(X) + e₁e₁'s², B = e₁e₁'s² in the limit of draws."""
    X, y, _, _ = linear_design()
    net = IVLikeNetRegressor(
        alpha=0.5,
        augmentation=AdditiveNoise(scale=1.5, columns=[1]),
        **{**EXACT, "max_epochs": 600, "patience": 300},
    ).fit(X, y)
    x, target, K = X - X.mean(axis=0), y - y.mean(), np.diag([0.0, 1.5**2, 0.0])
    expected = np.linalg.solve(x.T @ x / 400 + 3 * K, x.T @ target / 400)  # (1 + 1/α) = 3
    np.testing.assert_allclose(_coefficients(net)[0], expected, atol=0.06)


def test_without_variation_it_is_an_ordinary_network():
    X, y, _, _ = linear_design()
    net = IVLikeNetRegressor(**EXACT).fit(X, y)
    expected = np.linalg.lstsq(np.column_stack([X, np.ones(400)]), y, rcond=None)[0]
    np.testing.assert_allclose(_coefficients(net)[0], expected[:3], atol=5e-3)
    assert (net.penalty_, net.variation_) == ("none", "none")


# ---------------------------------------------------------------------- known designs


def _nonlinear_design(n=4000):
    """f = sin 2x₁ + x₃²/2, x₂ follows the confounder C; training rows, test rows, then noise on x₂."""
    rng = np.random.default_rng(0)

    def rows():
        C, x1 = rng.standard_normal(n), rng.standard_normal(n)
        x2, x3 = C + 0.3 * rng.standard_normal(n), rng.standard_normal(n)
        f = np.sin(2 * x1) + x3**2 / 2
        return np.column_stack([x1, x2, x3]), f + C + 0.2 * rng.standard_normal(n), f

    (X, y, _), (X_test, _, f_test) = rows(), rows()
    GX = X.copy()
    GX[:, 1] += rng.standard_normal(n)
    return X, y, GX, X_test, f_test


def test_nonlinear_effect_is_recovered():
    """Error of a 64-64 network as a share of Var f: .85-.95 without augmentation, at most .06 at alpha = .1."""
    X, y, GX, X_test, f_test = _nonlinear_design()
    errors = {}
    for name, alpha, params in [
        ("ERM", np.inf, {}),
        ("inf", np.inf, {"augmented": GX}),
        (".1", 0.1, {"augmented": GX}),
    ]:
        net = IVLikeNetRegressor(alpha=alpha, batch_size=256, max_epochs=60, random_state=0).fit(X, y, **params)
        errors[name] = np.var(net.predict(X_test) - f_test) / np.var(f_test)
    assert 0.85 < errors["ERM"] < 0.95
    assert 0.22 < errors["inf"] < 0.32
    assert errors[".1"] < 0.06


def _coloured_digits(seed):
    from sklearn.datasets import load_digits

    digits, rng = load_digits(), np.random.default_rng(seed)
    order = rng.permutation(len(digits.target))
    true = (digits.target < 5).astype(int)
    label = np.where(rng.random(len(true)) < 0.25, 1 - true, true)

    def coloured(rows, error):
        colour = np.where(rng.random(len(rows)) < error, 1 - label[rows], label[rows])
        X = np.zeros((len(rows), 2, 64))
        X[np.arange(len(rows)), colour] = digits.data[rows] / 16
        return X.reshape(len(rows), 128)

    train, test = order[:1200], order[1200:]
    return coloured(train, rng.choice([0.1, 0.2], 1200)), label[train], coloured(test, 0.9), label[test]


def _swap_channels(X, rng):
    images = X.reshape(len(X), 2, 64)
    swapped = rng.random(len(X)) < 0.5
    return np.where(swapped[:, None, None], images[:, ::-1], images).reshape(len(X), 128)


def test_coloured_digits():
    """Colour predicts the label in training and misleads in the test: above .65 with swaps, below .30 without."""
    accuracy: dict[str, list[float]] = {"with": [], "without": []}
    for seed in range(3):
        X, y, X_test, y_test = _coloured_digits(seed)
        for name, augmentation in [("with", _swap_channels), ("without", None)]:
            net = IVLikeNetClassifier(augmentation=augmentation, random_state=0).fit(X, y)
            accuracy[name].append(net.score(X_test, y_test))
    assert np.mean(accuracy["with"]) > 0.65
    assert np.mean(accuracy["without"]) < 0.30


# ---------------------------------------------------------------------- classifier


def test_linear_classifier_meets_its_first_order_condition():
    """At the minimum of the log loss the residuals are orthogonal to every column and the constant."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 2)) * [1.0, 3.0] + 1
    labels = np.array(["no", "so", "yes"])
    y = labels[np.argmax(X @ [[0.5, 0.0, -0.5], [0.2, 0.0, -0.1]] + rng.gumbel(size=(300, 3)), axis=1)]
    net = IVLikeNetClassifier(**EXACT).fit(X, y)
    assert net.classes_.tolist() == ["no", "so", "yes"]
    residual = (y[:, None] == labels) - net.predict_proba(X)
    moments = np.column_stack([X, np.ones(300)]).T @ residual / 300
    assert np.abs(moments).max() < 3e-3
    np.testing.assert_allclose(net.predict_proba(X).sum(axis=1), 1)
    assert np.array_equal(net.predict(X), labels[net.predict_proba(X).argmax(axis=1)])


def test_instruments_pull_the_residuals_of_a_classifier_towards_zero_correlation():
    rng = np.random.default_rng(0)
    n = 1000
    Z, C = rng.standard_normal((n, 1)), rng.standard_normal(n)
    X = np.column_stack([Z[:, 0] + 2 * C + 0.3 * rng.standard_normal(n)])
    y = (X[:, 0] - 4 * C + rng.logistic(size=n) > 0).astype(int)
    correlation = {}
    for alpha in (0.02, np.inf):
        net = IVLikeNetClassifier(alpha=alpha, **{**EXACT, "max_epochs": 800}).fit(X, y, instruments=Z)
        correlation[alpha] = abs(np.corrcoef(y - net.predict_proba(X)[:, 1], Z[:, 0])[0, 1])
    assert correlation[np.inf] > 0.2
    assert correlation[0.02] < correlation[np.inf] / 5


# ---------------------------------------------------------------------- repetition, state, files


def _flat_state(net):
    return np.concatenate([value.ravel() for value in net.weights_.values()])


def test_a_seed_repeats_and_nothing_global_moves():
    X, y, _, _ = linear_design(n=100)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads = torch.get_num_threads()
    states = []
    for seed, n_threads in [(0, 1), (0, 2), (1, 1)]:
        torch.set_num_threads(n_threads)
        try:
            net = IVLikeNetRegressor(augmentation=shift_second, **{**QUICK, "random_state": seed}).fit(X, y)
        finally:
            torch.set_num_threads(threads)
        states.append(_flat_state(net))
    assert np.array_equal(states[0], states[1])
    assert not np.array_equal(states[0], states[2])
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_a_row_is_predicted_alike_whatever_surrounds_it():
    X, y, _, _ = linear_design(n=100)
    net = IVLikeNetRegressor(**QUICK).fit(X, y)
    np.testing.assert_allclose(net.predict(X[3:4]), net.predict(X)[3:4], rtol=1e-12)


@pytest.mark.parametrize("make", [IVLikeNetRegressor, IVLikeNetClassifier])
def test_pickled_and_saved_networks_predict_the_same(make, tmp_path):
    X, y, _, _ = linear_design(n=100)
    target = y if make is IVLikeNetRegressor else (y > y.mean()).astype(int)
    augmentation = AdditiveNoise(columns=[1])
    frame = pd.DataFrame(X, columns=list("abc"))
    net = make(augmentation=augmentation, **QUICK).fit(frame, target)
    save(net, tmp_path / "net.causalkit")
    for again in (pickle.loads(pickle.dumps(net)), load(tmp_path / "net.causalkit"), copy.deepcopy(net)):
        assert np.array_equal(again.predict(frame), net.predict(frame))
        assert again.layer_sizes_ == net.layer_sizes_
        assert again.feature_names_in_.tolist() == ["a", "b", "c"]


def test_a_loaded_network_needs_no_torch(tmp_path):
    X, y, _, _ = linear_design(n=100)
    net = IVLikeNetRegressor(**QUICK).fit(X, y)
    save(net, tmp_path / "net.causalkit")
    code = (
        "import sys\nimport numpy as np\nfrom causalkit.persistence import load\n"
        f"print(repr(float(load({str(tmp_path / 'net.causalkit')!r}).predict(np.ones((1, 3)))[0])))\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(float(net.predict(np.ones((1, 3)))[0]), rel=1e-12)


def test_own_module_by_class_and_by_instance(tmp_path):
    X, y, _, _ = linear_design(n=100)
    before = torch.get_rng_state()
    nets = [IVLikeNetRegressor(module=OwnNetwork, augmentation=shift_second, **QUICK).fit(X, y) for _ in range(2)]
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(nets[0].predict(X), nets[1].predict(X))
    assert not hasattr(nets[0], "weights_")
    # Features arrive as given: columns 0 and 2, which the augmentation leaves alone, are those of rows of X.
    first = nets[0].module_.first_rows.numpy()[:, [0, 2]]
    assert all(np.isclose(X[:, [0, 2]], row, rtol=1e-6).all(axis=1).any() for row in first)
    again = pickle.loads(pickle.dumps(nets[0]))
    assert np.array_equal(again.predict(X), nets[0].predict(X))
    with pytest.raises(PersistenceError, match=r"module_? is a torch object|callable"):
        save(IVLikeNetRegressor(module=OwnNetwork(), **QUICK).fit(X, y), tmp_path / "own")
    start = OwnNetwork()
    kept = copy.deepcopy(start.state_dict())
    IVLikeNetRegressor(module=start, **QUICK).fit(X, y)
    assert all(torch.equal(kept[name], value) for name, value in start.state_dict().items())


def test_own_classifier_gives_logits():
    X, y, _, _ = linear_design(n=100)
    net = IVLikeNetClassifier(module=OwnNetwork, **QUICK).fit(X, np.digitize(y, np.quantile(y, [0.3, 0.6])))
    assert net.predict_proba(X).shape == (100, 3)


def test_an_interrupt_leaves_nothing_half_fitted():
    X, y, _, _ = linear_design(n=100)
    calls = {"left": 3}

    def augmentation(X, rng):
        calls["left"] -= 1
        if calls["left"] == 0:
            raise KeyboardInterrupt
        return X + 1.0

    net = IVLikeNetRegressor(augmentation=augmentation, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y)
    assert vars(net).keys() == net.get_params().keys()
    with pytest.raises(NotFittedError):
        net.predict(X)
    calls["left"] = 100
    before = net.fit(X, y).predict(X)
    calls["left"] = 2
    with pytest.raises(KeyboardInterrupt):
        net.fit(X[:, :2], y)
    assert np.array_equal(net.predict(X), before)


def test_progress_line_names_the_estimator(capsys):
    X, y, _, _ = linear_design(n=60)
    IVLikeNetRegressor(verbose=1, **QUICK).fit(X, y)
    out, err = capsys.readouterr()
    assert (out, "IVLikeNetRegressor [" in err) == ("", True)


def test_groups_stay_on_one_side(monkeypatch):
    from causalkit.augmentation import net_fit

    X, y, _, _ = linear_design(n=100)
    groups = np.repeat([f"g{j}" for j in range(10)], 10)
    seen = []
    original = net_fit.validation_split

    def spy(*args, **kwargs):
        seen.append(original(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(net_fit, "validation_split", spy)
    IVLikeNetRegressor(**QUICK).fit(X, y, groups=groups)
    training, validation = seen[0]
    assert len(validation) == 10
    assert not set(groups[training]) & set(groups[validation])


def test_fit_arguments_are_routed():
    from sklearn import config_context
    from sklearn.model_selection import cross_validate

    X, y, GX, _ = linear_design(n=90)
    with config_context(enable_metadata_routing=True):
        net = IVLikeNetRegressor(**QUICK).set_fit_request(augmented=True)
        result = cross_validate(net, X, y, params={"augmented": GX}, cv=2, return_estimator=True)
    assert [fold.variation_ for fold in result["estimator"]] == ["augmentation"] * 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("module", [None, OwnNetwork])
def test_same_code_on_the_gpu(module):
    X, y, _, _ = linear_design(n=300)
    options = {**QUICK, "max_epochs": 3, "module": module, "augmentation": shift_second}
    nets = [IVLikeNetRegressor(device=device, **options).fit(X, y) for device in ("cpu", "cuda")]
    assert [net.device_ for net in nets] == ["cpu", "cuda"]
    if module is None:  # dropout draws differ between devices
        np.testing.assert_allclose(nets[1].predict(X), nets[0].predict(X), rtol=1e-3, atol=1e-2)
    assert np.array_equal(pickle.loads(pickle.dumps(nets[1])).predict(X), nets[1].predict(X))
