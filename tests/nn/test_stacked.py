"""Stacked perceptrons against least squares, logistic regression and torch's own gradients and optimiser."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from causalkit import load, save
from causalkit.exceptions import DeviceUnavailableError
from causalkit.nn import fit_stacked_mlp, torch_generator
from causalkit.nn.stack import Stack, StackedData, start_weights
from causalkit.nn.stacked import _SPLIT_KEY, _validation_rows
from causalkit.nn.stacked_training import _START_KEY

torch = pytest.importorskip("torch")

CONVERGED = {"validation_fraction": 0.0, "weight_decay": 0.0, "hidden": (), "max_epochs": 3000, "device": "cpu"}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def one_bag(fit, bag):
    """The same fit with one of its bags only."""
    return replace(
        fit,
        weights=tuple(weight[[bag]] for weight in fit.weights),
        biases=tuple(bias[[bag]] for bias in fit.biases),
    )


# ---------------------------------------------------------------------- closed forms


def test_linear_network_is_weighted_least_squares(rng):
    X, weight = rng.normal(size=(150, 4)), rng.uniform(0.2, 3, size=150)
    y = 100 + 20 * X[:, 0] - 5 * X[:, 1] + 7 * rng.normal(size=150)
    fit = fit_stacked_mlp(X, y, seed=1, n_bags=2, sample_weight=weight, **CONVERGED)
    design = np.column_stack([np.ones(150), X])
    root = np.sqrt(weight)
    expected = design @ np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
    np.testing.assert_allclose(fit.predict(X)[:, 0], expected, atol=2e-3 * y.std())
    assert np.isnan(fit.validation_loss).all()
    assert fit.n_iter.tolist() == [3000, 3000]


def test_multiplier_form_is_least_squares_on_products(rng):
    X, residual = rng.normal(size=(300, 3)), rng.normal(size=(300, 2))
    tau = np.column_stack([2 + X[:, 0], -1 + 0.5 * X[:, 1]])
    y = (residual * tau).sum(axis=1) + 0.3 * rng.normal(size=300)
    fit = fit_stacked_mlp(X, y, multiplier=residual, n_outputs=2, seed=0, n_bags=1, **CONVERGED)
    one = np.column_stack([np.ones(300), X])
    design = np.column_stack([one * residual[:, [0]], one * residual[:, [1]]])
    coef = np.linalg.lstsq(design, y, rcond=None)[0].reshape(2, 4).T
    np.testing.assert_allclose(fit.predict(X), one @ coef, atol=5e-3)
    assert fit.scale == 1 and not fit.center.any()


def test_linear_network_with_log_loss_is_logistic_regression(rng):
    X = rng.normal(size=(400, 2))
    codes = np.argmax(np.column_stack([X[:, 0], 1.5 * X[:, 1], np.zeros(400)]) + rng.gumbel(size=(400, 3)), axis=1)
    fit = fit_stacked_mlp(X, codes, loss="log", n_outputs=3, seed=0, n_bags=1, **CONVERGED)
    expected = LogisticRegression(C=np.inf, tol=1e-8).fit(X, codes).predict_proba(X)
    np.testing.assert_allclose(fit.predict(X), expected, atol=2e-3)


def test_features_without_variation_give_the_mean_and_the_class_shares(rng):
    X = np.zeros((60, 2))
    y = rng.normal(size=60)
    codes = np.repeat([0, 1, 2], [10, 20, 30])
    weight = rng.uniform(size=60)
    fit = fit_stacked_mlp(X, y, seed=0, sample_weight=weight, validation_fraction=0.0, device="cpu")
    np.testing.assert_allclose(fit.predict(X[:1]), [[np.average(y, weights=weight)]], atol=0.02)
    fit = fit_stacked_mlp(X, codes, loss="log", n_outputs=3, seed=0, validation_fraction=0.0, device="cpu")
    np.testing.assert_allclose(fit.predict(X[:1]), [[1 / 6, 1 / 3, 1 / 2]], atol=0.01)
    # No epoch at all improves on the start: the answer is the constant itself.
    fit = fit_stacked_mlp(X, np.full(60, 3.5), seed=0, device="cpu", max_epochs=3)
    np.testing.assert_allclose(fit.predict(X), 3.5, atol=1e-6)


@pytest.mark.parametrize("kind", ["plain", "multiplier", "log"])
def test_gradient_is_that_of_automatic_differentiation(rng, kind):
    sizes = (3, 5, 4, 2 if kind != "plain" else 1)
    X = torch.as_tensor(rng.normal(size=(20, 3)).astype(np.float32))
    flat = torch.stack([start_weights(sizes, torch_generator(0, bag)) for bag in range(2)])
    flat += 0.1 * torch.randn(flat.shape, generator=torch_generator(9))  # the output layer starts at zero
    target = rng.integers(2, size=20) if kind == "log" else rng.normal(size=20).astype(np.float32)
    factors = torch.as_tensor(rng.normal(size=(20, 2)).astype(np.float32)) if kind == "multiplier" else None
    offset = torch.tensor([0.3, -0.2]) if kind == "log" else None
    data = StackedData(X, torch.as_tensor(target), factors, offset, torch.ones(20), torch.zeros(2, 20, dtype=bool))
    stack = Stack(sizes, flat.clone(), 0.01, 0.0)
    values = stack.forward(X)
    _, delta = data.losses(values[-1])
    stack.backward(values, delta)

    leaf = flat.clone().requires_grad_()
    total = 0
    for bag in range(2):
        hidden, start = X, 0
        for inputs, outputs in pairwise(sizes):
            weight = leaf[bag, start : start + inputs * outputs].reshape(inputs, outputs)
            bias = leaf[bag, start + inputs * outputs : start + (inputs + 1) * outputs]
            hidden = (hidden if start == 0 else torch.relu(hidden)) @ weight + bias
            start += (inputs + 1) * outputs
        if kind == "log":
            total = total + torch.nn.functional.cross_entropy(hidden + offset, data.target, reduction="sum")
        else:
            fitted = hidden[:, 0] if factors is None else (hidden * factors).sum(1)
            total = total + ((data.target - fitted) ** 2).sum()
    total.backward()
    torch.testing.assert_close(stack.gradient, leaf.grad, rtol=1e-4, atol=1e-4)


def test_steps_are_those_of_adamw(rng):
    flat = torch.as_tensor(rng.normal(size=(2, 6)).astype(np.float32))
    stack = Stack((2, 2), flat.clone(), 0.05, 0.1)
    leaf = flat.clone().requires_grad_()
    optimiser = torch.optim.AdamW([leaf], lr=0.05, weight_decay=0.1)
    for _ in range(7):
        gradient = torch.as_tensor(rng.normal(size=(2, 6)).astype(np.float32))
        stack.gradient.copy_(gradient)
        leaf.grad = gradient
        stack.step()
        optimiser.step()
    torch.testing.assert_close(stack.flat, leaf.detach(), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------- validation rows and stopping


@pytest.mark.parametrize("batch_size", ["auto", 30])
def test_validation_rows_have_no_part_in_the_steps(rng, batch_size):
    X, m = rng.normal(size=(120, 3)), rng.normal(size=120)
    y = 2 * m * X[:, 0]
    held_out = _validation_rows(np.ones(120), 0.25, 1, 4, None)[0]
    other = np.where(held_out, 1.5 * y, y)  # larger in the same direction, so that the first step helps both times
    options = {"n_bags": 1, "validation_fraction": 0.25, "seed": 4, "max_epochs": 1, "device": "cpu"}
    first, second = (fit_stacked_mlp(X, t, multiplier=m, batch_size=batch_size, **options) for t in (y, other))
    assert second.validation_loss[0] > 1.5 * first.validation_loss[0]
    for a, b in zip((*first.weights, *first.biases), (*second.weights, *second.biases), strict=True):
        assert np.array_equal(a, b)
    assert first.weights[-1].any()  # the step was taken


@pytest.mark.parametrize("batch_size", ["auto", 64])
def test_kept_weights_have_the_validation_loss_reported(rng, batch_size):
    X = rng.normal(size=(300, 5))
    y = np.sin(2 * X[:, 0]) + rng.normal(size=300)
    fit = fit_stacked_mlp(X, y, seed=2, n_bags=3, patience=8, batch_size=batch_size, device="cpu")
    assert len(set(fit.n_iter.tolist())) > 1 and fit.n_iter.max() < 400
    held_out = _validation_rows(np.ones(300), 0.2, 3, 2, None)
    for bag in range(3):
        residual = (y - one_bag(fit, bag).predict(X)[:, 0])[held_out[bag]]
        assert fit.validation_loss[bag] == pytest.approx(np.mean(residual**2), rel=1e-5)
        assert len(fit.loss_curve[bag]) == fit.n_iter[bag]
        assert fit.validation_loss[bag] < y.var()
    np.testing.assert_allclose(fit.predict(X), np.mean([one_bag(fit, b).predict(X) for b in range(3)], axis=0))


def test_validation_rows_differ_between_bags_and_have_weight(rng):
    weight = np.where(np.arange(100) < 50, 0.0, 1.0)
    held_out = _validation_rows(weight, 0.2, 3, 0, None)
    assert held_out.sum(axis=1).tolist() == [10, 10, 10]
    assert not held_out[:, :50].any()
    assert len({tuple(row) for row in held_out.tolist()}) == 3
    assert _SPLIT_KEY != _START_KEY
    codes = np.repeat([0, 1], [90, 10])
    assert _validation_rows(np.ones(100), 0.2, 3, 0, codes)[:, 90:].sum(axis=1).tolist() == [2, 2, 2]


# ---------------------------------------------------------------------- repeats, storing, devices


def test_same_seed_same_numbers_and_global_generator_untouched(rng):
    X, y = rng.normal(size=(90, 3)), rng.normal(size=90)
    before = torch.get_rng_state()
    fits = [fit_stacked_mlp(X, y, seed=s, max_epochs=30, batch_size=40, device="cpu") for s in (5, 5, 6)]
    assert torch.equal(before, torch.get_rng_state())
    predictions = [fit.predict(X) for fit in fits]
    assert np.array_equal(predictions[0], predictions[1])
    assert not np.array_equal(predictions[0], predictions[2])


def test_scale_of_the_target_moves_the_predictions_along(rng):
    X, y = rng.normal(size=(200, 3)), rng.normal(size=200)
    fits = [fit_stacked_mlp(X, t, seed=0, max_epochs=40, device="cpu") for t in (y, 1000 * y + 7)]
    np.testing.assert_allclose(fits[1].predict(X), 1000 * fits[0].predict(X) + 7, rtol=1e-3, atol=0.5)
    np.testing.assert_allclose(fits[1].validation_loss, 1e6 * fits[0].validation_loss, rtol=1e-3)


def test_save_load_and_pickle(rng, tmp_path):
    X = rng.normal(size=(80, 2))
    fit = fit_stacked_mlp(X, (X[:, 0] > 0).astype(int), loss="log", n_outputs=2, seed=0, max_epochs=5, device="cpu")
    save(fit, tmp_path / "fit.causalkit")
    for again in (load(tmp_path / "fit.causalkit"), pickle.loads(pickle.dumps(fit))):
        assert np.array_equal(again.predict(X), fit.predict(X))


@pytest.mark.gpu
def test_gpu_gives_the_numbers_of_the_cpu(rng):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    X = rng.normal(size=(400, 5))
    y = X[:, 0] * X[:, 1]
    for batch_size in ("auto", 100):
        cpu, gpu = (
            fit_stacked_mlp(X, y, seed=0, max_epochs=3, batch_size=batch_size, device=name) for name in ("cpu", "cuda")
        )
        np.testing.assert_allclose(gpu.predict(X), cpu.predict(X), rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------------- failures


def test_bag_that_diverges_is_started_again_once(rng, monkeypatch):
    X, y = rng.normal(size=(60, 2)), rng.normal(size=60)
    original, calls = StackedData.losses, []

    def broken(self, out, rows=None):
        loss, gradient = original(self, out, rows)
        calls.append(1)
        if len(calls) in times:
            loss[1] = float("nan")
        return loss, gradient

    monkeypatch.setattr(StackedData, "losses", broken)
    times: set[int] = {4}
    fit = fit_stacked_mlp(X, y, seed=0, max_epochs=10, patience=10, device="cpu")
    assert np.isfinite(fit.predict(X)).all()
    assert fit.n_iter.tolist() == [10, 10, 10] and len(calls) > 11
    assert [len(curve) for curve in fit.loss_curve] == [10, 10, 10]
    calls.clear()
    times = {4, 8}
    with pytest.raises(FloatingPointError, match=r"bag 1 diverged in epoch \d+, again after a new start at a third"):
        fit_stacked_mlp(X, y, seed=0, max_epochs=10, patience=10, device="cpu")


def test_infinite_target_is_a_named_error(rng):
    X, y = rng.normal(size=(30, 2)), np.full(30, 1e30)
    with pytest.raises(FloatingPointError, match="bag 0 diverged in epoch 1"):
        fit_stacked_mlp(X, y, multiplier=np.ones(30), seed=0, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "huber"}, "loss must be one of"),
        ({"n_outputs": 2}, "n_outputs must be 1 without a multiplier; got 2"),
        ({"multiplier": np.ones((20, 3))}, "n_outputs must be the 3 columns of multiplier; got 1"),
        ({"loss": "log", "n_outputs": 2}, "target must hold class codes 0 to n_outputs - 1 = 1"),
        ({"loss": "log", "n_outputs": 2, "multiplier": np.ones(20)}, 'multiplier goes with loss="squared" only'),
        ({"sample_weight": np.ones(3)}, r"sample_weight must have one value per row of X, shape \(20,\)"),
        ({"sample_weight": -np.ones(20)}, "sample_weight must be finite and not negative"),
        ({"batch_size": "all"}, "batch_size must be one of 'auto'"),
        ({"validation_fraction": 1.0}, "validation_fraction must lie between 0 and 1"),
        ({"n_bags": 0}, "n_bags must be an integer at least 1"),
        ({"patience": 0}, "patience must be an integer at least 1"),
    ],
)
def test_options_that_make_no_sense(rng, change, message):
    with pytest.raises(ValueError, match=message):
        fit_stacked_mlp(rng.normal(size=(20, 2)), rng.normal(size=20), **{"seed": 0, "device": "cpu"} | change)


def test_unavailable_device(rng, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceUnavailableError, match="is not available"):
        fit_stacked_mlp(rng.normal(size=(20, 2)), rng.normal(size=20), seed=0, device="cuda")
