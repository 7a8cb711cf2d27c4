"""Autoencoders with the invariance penalty: closed forms, reductions, modules, devices, failures."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from causalkit import load, save
from causalkit.datasets.intervention_designs import make_intervention_curve
from causalkit.exceptions import DeviceUnavailableError, MissingDependencyError
from causalkit.extrapolation import autoencoder_data as storage
from causalkit.extrapolation import autoencoder_training as training
from causalkit.extrapolation import invariance_penalty, project_off_actions, random_fourier_features
from causalkit.extrapolation.autoencoder_networks import leaky_outputs, leaky_perceptron
from causalkit.extrapolation.autoencoders import (
    AutoencoderPlan,
    feature_scaling,
    fit_autoencoder,
    needs_two_batches,
)
from causalkit.extrapolation.penalty import orthonormal_moments
from causalkit.nn import torch_generator

torch = pytest.importorskip("torch")

from causalkit.extrapolation import torch_penalty  # noqa: E402

RNG = np.random.default_rng(0)
FREQUENCIES = {k: RNG.normal(size=(k, 16)) for k in (1, 2)}
QUICK = {"hidden_layer_sizes": (16,), "max_steps": 40, "batch_size": 100, "device": "cpu"}


def projection(actions):
    return project_off_actions(random_fourier_features(actions, FREQUENCIES[actions.shape[1]]), actions)


def fit(X, actions, *, sample_weight=None, initial=None, **options):
    plan = AutoencoderPlan(**{"n_components": actions.shape[1], "penalty": 1.0, **QUICK, **options})
    frequencies = FREQUENCIES[actions.shape[1]]
    return fit_autoencoder(
        X, actions, frequencies, projection(actions)[1], plan, sample_weight=sample_weight, initial=initial
    )


@pytest.fixture(scope="module")
def sample():
    return make_intervention_curve(400, strength=2.0, random_state=1)


@pytest.fixture(scope="module")
def actions(sample):
    return (sample.actions - sample.actions.mean(axis=0)) / sample.actions.std(axis=0)


class Flat(torch.nn.Module):
    """From (b, 4, 5) to (b, d), with dropout."""

    def __init__(self, d=1):
        super().__init__()
        self.inner = torch.nn.Linear(20, d)
        self.drop = torch.nn.Dropout(0.1)

    def forward(self, x):
        return self.inner(self.drop(x.flatten(1)))


class Image(torch.nn.Module):
    """Back to (b, 4, 5)."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(1, 20)

    def forward(self, z):
        return self.inner(z).reshape(-1, 4, 5)


@pytest.fixture(scope="module")
def images(sample):
    return np.tanh(sample.latent[:, :, None] * np.linspace(-1, 1, 20).reshape(1, 4, 5)) * 3 + 7


# ---------------------------------------------------------------------- penalty


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_penalty_of_all_rows_is_that_of_the_numpy_function(d, weighted):
    rng = np.random.default_rng(d)
    actions = rng.uniform(-1, 1, (300, 2))
    phi = np.sin(actions @ rng.normal(size=(2, d))) + rng.normal(size=(300, d))
    weight = rng.uniform(0.5, 2, 300) if weighted else None
    projected, coefficients = projection(actions)
    tensors = [torch.as_tensor(part) for part in (phi, actions, projected)]
    found = torch_penalty.whitened_penalty(*tensors, None if weight is None else torch.as_tensor(weight))
    assert float(found) == pytest.approx(invariance_penalty(phi, actions, projected, sample_weight=weight), rel=1e-9)
    again = torch_penalty.projected_features(*(torch.as_tensor(p) for p in (actions, FREQUENCIES[2], coefficients)))
    np.testing.assert_allclose(again, projected, atol=1e-12)


def test_penalty_in_single_precision_agrees():
    rng = np.random.default_rng(5)
    actions = rng.uniform(-1, 1, (2000, 1))
    phi = 5 + 2 * actions + 0.2 * actions**2 + 0.1 * rng.normal(size=(2000, 1))
    projected, _ = projection(actions)
    tensors = [torch.as_tensor(part, dtype=torch.float32) for part in (phi, actions, projected)]
    expected = invariance_penalty(phi, actions, projected)
    assert float(torch_penalty.whitened_penalty(*tensors)) == pytest.approx(expected, rel=1e-3)


def test_penalty_does_not_change_under_affine_maps_and_has_their_gradients():
    rng = np.random.default_rng(2)
    actions, projected = (lambda a: (torch.as_tensor(a), torch.as_tensor(projection(a)[0])))(rng.normal(size=(200, 2)))
    phi = torch.as_tensor(np.tanh(actions.numpy()) + rng.normal(size=(200, 2))).requires_grad_()
    H = torch.tensor([[0.01, 0.002], [-0.004, 0.02]], dtype=torch.float64)
    value = torch_penalty.whitened_penalty(phi, actions, projected)
    mapped = torch_penalty.whitened_penalty(phi @ H.T + 3, actions, projected)
    # The millionth on the diagonal is all that tells them apart.
    assert mapped.item() == pytest.approx(value.item(), rel=1e-4)
    first, second = (torch.autograd.grad(v, phi, retain_graph=True)[0] for v in (value, mapped))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4 * float(first.abs().max()))
    # No gain from shrinking, or from moving: the derivative along φ itself and along a constant is zero.
    size = (first * phi).abs().sum().item()
    assert abs((first * phi).sum().item()) < 1e-6 * size and float(first.sum(dim=0).abs().max()) < 1e-9


def _population(frequencies, matrix, intercept):
    """G and tr(S_B⁻¹MM') of φ = z + .3z², z = 2a + N(0, 1), a ~ U(-1, 1), by quadrature over a."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    a, w = nodes[:, None], weights / 2
    features = random_fourier_features(a, frequencies)
    design = np.column_stack([np.ones(60), a])
    coefficients = np.linalg.solve(design.T * w @ design, design.T * w @ features)
    mean = 2 * a + 0.3 * (4 * a**2 + 1)
    moments = ((mean - a @ matrix.T - intercept) * w[:, None]).T @ (features - design @ coefficients)
    return coefficients, float(np.trace(np.linalg.solve(matrix @ matrix.T / 3, moments @ moments.T)))


@pytest.mark.parametrize("slope", [2.0, 1.5])
def test_two_batches_have_no_bias_where_one_has(slope):
    matrix, intercept = np.array([[slope]]), np.array([0.4])
    coefficients, expected = _population(FREQUENCIES[1], matrix, intercept)
    line = torch_penalty.ActionLine(*(torch.as_tensor(p) for p in (matrix, intercept, np.zeros(1), np.eye(1) / 3)))
    frequencies, coefficients = torch.as_tensor(FREQUENCIES[1]), torch.as_tensor(coefficients)
    rng = np.random.default_rng(0)
    two, one = [], []
    for _ in range(2500):
        a = rng.uniform(-1, 1, (40, 1))
        z = 2 * a + rng.normal(size=(40, 1))
        phi, a = torch.as_tensor(z + 0.3 * z**2), torch.as_tensor(a)
        projected = torch_penalty.projected_features(a, frequencies, coefficients)
        two.append(float(torch_penalty.two_batch_penalty(phi, a, projected, line)))
        one.append(float(torch_penalty.whitened_penalty(phi, a, projected)))
    assert abs(np.mean(two) - expected) < 4 * np.std(two) / 50
    if slope == 2.0:  # the slope that one batch finds for itself, so that values can be compared
        assert np.mean(one) > expected + 10 * np.std(one) / 50


def test_two_batch_form_on_the_same_rows_twice_is_the_square():
    rng = np.random.default_rng(3)
    actions = rng.normal(size=(150, 2))
    projected, _ = projection(actions)
    phi = np.column_stack([actions[:, 0] ** 2 + actions[:, 0], actions[:, 1] + rng.normal(size=150)])
    design = np.column_stack([np.ones(150), actions])
    coefficients = np.linalg.lstsq(design, phi, rcond=None)[0]
    covariance = np.cov(actions.T, bias=True)
    parts = (coefficients[1:].T, coefficients[0], actions.mean(axis=0), covariance)
    line = torch_penalty.ActionLine(*map(torch.as_tensor, parts))
    doubled = [torch.as_tensor(np.vstack([part, part])) for part in (phi, actions, projected)]
    doubled[0].requires_grad_()
    value = torch_penalty.two_batch_penalty(*doubled, line)
    assert float(value.detach()) == pytest.approx(invariance_penalty(phi, actions, projected), rel=1e-9)
    gradient = torch.autograd.grad(value, doubled[0])[0]
    whole = doubled[0].detach().clone().requires_grad_()
    other = torch.autograd.grad(torch_penalty.whitened_penalty(whole, *doubled[1:]), whole)[0]
    # The same gradient as through S_B of one batch, up to a constant that no map of the code can follow.
    residual = (gradient - gradient.mean(dim=0)) - (other - other.mean(dim=0))
    assert float(residual.abs().max()) < 1e-9 * float(other.abs().max()) + 1e-12


@pytest.mark.parametrize(
    ("penalty", "batch_size", "expected"),
    [(0.0, 10, False), (1.0, 499, True), (100.0, 500, False), (100.1, 500, True), (200.0, 1000, False)],
)
def test_small_batches_and_large_penalties_take_two_batches(penalty, batch_size, expected):
    assert needs_two_batches(penalty, batch_size) is expected


def test_orthonormal_moments_add_up_in_the_bias_of_one_batch():
    # λ q/B against .2: 17 moments of variance 1.
    assert not needs_two_batches(5.8, 500, 17)
    assert needs_two_batches(5.9, 500, 17)


# ---------------------------------------------------------------------- training


def test_schedules():
    assert [training.ramp(s, 1000) for s in (0, 49, 50, 150, 250, 999)] == pytest.approx([0, 0, 0, 0.5, 1, 1])
    rates = np.array([training.one_cycle(s, 1000) for s in range(1000)])
    assert rates[300] == 1 == rates.max() and (np.diff(rates[:300]) > 0).all() and (np.diff(rates[300:]) < 0).all()
    assert rates[0] == pytest.approx(1 / 25) and rates[-1] < 1e-4
    assert all(np.isfinite(training.one_cycle(s, t)) for t in (1, 2, 3) for s in range(t))


def test_a_training_step_does_not_see_the_scale_of_the_code(sample, actions):
    """φ → Hφ + c at the last layer, undone in front of the decoder: same loss, same gradients elsewhere."""
    centre, scale = feature_scaling(sample.features)
    coefficients = projection(actions)[1]
    data = storage.TrainingData(sample.features, centre, scale, actions, FREQUENCIES[1], coefficients, None, None,
                                 torch.device("cpu"))  # fmt: skip
    batch = data.batch(torch.arange(400))
    batch = replace(batch, **{n: getattr(batch, n).double() for n in ("x", "actions", "projected")})
    results = []
    for h, c in ((1.0, 0.0), (0.01, 5.0)):
        encoder = leaky_perceptron((10, 8, 1), torch_generator(0)).double()
        decoder = leaky_perceptron((1, 8, 10), torch_generator(1)).double()
        with torch.no_grad():
            encoder[-1].weight *= h
            encoder[-1].bias *= h
            encoder[-1].bias += c
            decoder[0].bias -= decoder[0].weight[:, 0] * c / h
            decoder[0].weight /= h
        phi, _, loss = training.PlainObjective(encoder, decoder, 1)(batch, 1.0, None)
        loss = loss + 10 * torch_penalty.whitened_penalty(phi, batch.actions, batch.projected)
        loss.backward()
        inner = [encoder[0].weight, encoder[0].bias, decoder[2].weight, decoder[2].bias]
        torch.optim.Adam(inner, lr=1e-3).step()
        results.append((float(loss.detach()), [part.detach().numpy() for part in inner]))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-6)
    for one, two in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(two, one, atol=1e-6)


def test_penalty_straightens_the_code():
    """Penalty and share of Z that is affine in φ on other rows, against the same network without penalty."""
    sample = make_intervention_curve(2000, strength=2.0, random_state=1)
    A = (sample.actions - sample.actions.mean(axis=0)) / sample.actions.std(axis=0)
    found = {}
    for penalty in (0.0, 20.0):
        fitted = fit(sample.features[:1000], A[:1000], penalty=penalty, max_steps=400, batch_size=500,
                     hidden_layer_sizes=(32, 32), learning_rate=1e-2)  # fmt: skip
        phi = fitted.encode(sample.features)
        held_out = invariance_penalty(phi[1000:], A[1000:], projection(A[1000:])[0])
        found[penalty] = held_out, np.corrcoef(phi[1000:, 0], sample.latent[1000:, 0])[0, 1] ** 2
        assert fitted.reconstruction_error(sample.features[1000:]) < 0.02
    assert found[20.0][0] < found[0.0][0] / 4, found
    assert found[20.0][1] > found[0.0][1] + 0.05, found


def test_two_batches_train_too(sample, actions):
    plain, penalised = (
        fit(sample.features, actions, penalty=penalty, max_steps=400, learning_rate=1e-2) for penalty in (0.0, 20.0)
    )
    assert (plain.unbiased, penalised.unbiased) == (False, True)
    values = [
        invariance_penalty(f.encode(sample.features), actions, projection(actions)[0]) for f in (plain, penalised)
    ]
    assert values[1] < values[0] / 3


def test_history_has_the_ramp_and_falls(sample, actions):
    fitted = fit(sample.features, actions, max_steps=200, penalty=3.0, batch_size=500)
    steps = [record["step"] for record in fitted.history]
    assert steps == list(range(2, 201, 2))
    assert [record["weight"] for record in fitted.history] == pytest.approx(
        [3 * min(1, max(0, (step - 1 - 10) / 40)) for step in steps]
    )
    errors = [record["reconstruction"] for record in fitted.history]
    assert errors[-1] < errors[0] / 2
    assert set(fitted.history[0]) == {"step", "reconstruction", "q_b", "weight"}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_start_from_a_target(sample, actions, sign):
    target = sign * (sample.latent - sample.latent.mean()) / sample.latent.std()
    fitted = fit(sample.features, actions, initial=target, max_steps=1600, penalty=0.0, learning_rate=1e-2)
    assert sign * np.corrcoef(fitted.encode(sample.features)[:, 0], sample.latent[:, 0])[0, 1] > 0.8


def test_same_seed_same_numbers_and_the_global_generator_stays(sample, actions):
    before = torch.get_rng_state()
    for options in ({}, {"method": "variational"}, {"penalty": 200.0}):
        one, two, other = (fit(sample.features, actions, seed=seed, **options) for seed in (0, 0, 1))
        assert np.array_equal(one.encode(sample.features), two.encode(sample.features))
        assert not np.array_equal(one.encode(sample.features), other.encode(sample.features))
    assert torch.equal(before, torch.get_rng_state())


def test_rows_of_weight_zero_are_not_seen(sample, actions):
    weight = np.where(np.arange(400) < 250, 1.0, 0.0)
    changed = np.where(weight[:, None] > 0, sample.features, 1e3)
    coefficients = project_off_actions(random_fourier_features(actions, FREQUENCIES[1]), actions, weight)[1]
    plan = AutoencoderPlan(n_components=1, penalty=1.0, **QUICK)
    one, two, scaled = (
        fit_autoencoder(X, actions, FREQUENCIES[1], coefficients, plan, sample_weight=w)
        for X, w in ((sample.features, weight), (changed, weight), (sample.features, 7 * weight))
    )
    assert np.array_equal(one.encode(sample.features), two.encode(sample.features))
    np.testing.assert_allclose(scaled.encode(sample.features), one.encode(sample.features), rtol=1e-3, atol=1e-4)


def test_batches_are_the_same_whether_features_are_kept_or_not(sample, actions, tmp_path, monkeypatch):
    whole = fit(sample.features, actions, penalty=200.0)
    path = tmp_path / "features.npy"
    np.save(path, sample.features)
    monkeypatch.setattr(storage, "_CACHE_BYTES", 0)
    monkeypatch.setattr(storage, "_FEATURE_BYTES", 0)
    piecewise = fit(np.load(path, mmap_mode="r"), actions, penalty=200.0)
    np.testing.assert_allclose(piecewise.encode(sample.features), whole.encode(sample.features), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("limit", [2**28, 0])
def test_batches_hold_the_moments_asked_for(limit, sample, actions, monkeypatch):
    monkeypatch.setattr(storage, "_CACHE_BYTES", limit)
    centre, scale = feature_scaling(sample.features)
    projected, coefficients = projection(actions)
    moments = orthonormal_moments(projected.T @ projected / 400)
    data = storage.TrainingData(sample.features, centre, scale, actions, FREQUENCIES[1], coefficients, None, None,
                                 torch.device("cpu"), moments)  # fmt: skip
    batch = data.batch(torch.tensor([5, 0, 399]))
    np.testing.assert_allclose(batch.projected, (projected @ moments)[[5, 0, 399]], atol=2e-4)
    np.testing.assert_allclose(batch.x, ((sample.features - centre) / scale)[[5, 0, 399]], atol=1e-5)
    np.testing.assert_array_equal(batch.actions, actions[[5, 0, 399]].astype(np.float32))
    found = fit_autoencoder(
        sample.features, actions, FREQUENCIES[1], coefficients, AutoencoderPlan(n_components=1, penalty=1.0, **QUICK),
        moments=moments,
    )  # fmt: skip
    phi = found.encode(sample.features)
    assert np.isfinite(phi).all() and not np.allclose(phi, fit(sample.features, actions).encode(sample.features))


def test_scaling_is_one_number_and_a_mean_per_entry(images):
    centre, scale = feature_scaling(images)
    np.testing.assert_allclose(centre, images.mean(axis=0))
    assert scale == pytest.approx(np.sqrt(images.var(axis=0).mean()))
    weight = np.arange(400.0)
    centre, scale = feature_scaling(images, weight)
    repeated = np.repeat(images, np.arange(400), axis=0)
    np.testing.assert_allclose(centre, repeated.mean(axis=0))
    assert scale == pytest.approx(np.sqrt(repeated.var(axis=0).mean()))


def test_progress_line(sample, actions, capsys):
    fit(sample.features, actions, verbose=1)
    assert "40/40 reconstruction" in capsys.readouterr().err
    fit(sample.features, actions)
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------------- outputs


def test_perceptron_in_numpy_is_the_module(sample, actions):
    fitted = fit(sample.features, actions, hidden_layer_sizes=(16, 8))
    scaled = torch.as_tensor((sample.features - fitted.centre) / fitted.scale, dtype=torch.float32)
    phi = fitted.module(scaled).detach().numpy()
    np.testing.assert_allclose(fitted.encode(sample.features), phi, atol=1e-5)
    decoded = fitted.decoder(torch.as_tensor(phi)).detach().numpy()
    np.testing.assert_allclose(fitted.decode(phi.astype(float)), fitted.centre + fitted.scale * decoded, atol=1e-4)
    gap = sample.features - fitted.decode(fitted.encode(sample.features))
    share = (gap**2).sum() / ((sample.features - sample.features.mean(axis=0)) ** 2).sum()
    assert fitted.reconstruction_error(sample.features) == pytest.approx(share)
    assert [type(layer).__name__ for layer in fitted.module] == ["Linear", "LeakyReLU"] * 2 + ["Linear"]
    assert fitted.encode(sample.features[:0]).shape == (0, 1)
    weights = {"0.weight": np.eye(2), "0.bias": np.zeros(2), "2.weight": np.ones((1, 2)), "2.bias": np.ones(1)}
    np.testing.assert_allclose(leaky_outputs(weights, np.array([[3.0, -1.0]])), [[1 + 3 - 0.2]])


@pytest.mark.parametrize("method", ["autoencoder", "variational"])
def test_saved_fits_give_the_same_numbers_without_torch(method, sample, actions, tmp_path):
    fitted = fit(sample.features, actions, method=method)
    save(fitted, tmp_path / "fit")
    np.save(tmp_path / "X.npy", sample.features)
    code = (
        "import sys, numpy as np, causalkit\n"
        f"fitted = causalkit.load({str(tmp_path / 'fit')!r})\n"
        f"phi = fitted.encode(np.load({str(tmp_path / 'X.npy')!r}))\n"
        f"np.save({str(tmp_path / 'phi.npy')!r}, np.hstack([phi, fitted.decode(phi)]))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    phi = fitted.encode(sample.features)
    assert np.array_equal(np.load(tmp_path / "phi.npy"), np.hstack([phi, fitted.decode(phi)]))


def test_modules_of_ones_own(images, actions, tmp_path):
    encoder, decoder = Flat(), Image()
    before = [part.clone() for part in (*encoder.parameters(), *decoder.parameters())]
    state = torch.get_rng_state()
    options = {"encoder_module": encoder, "decoder_module": decoder, "max_steps": 300, "learning_rate": 0.02}
    fitted = fit(images, actions, **options)
    assert torch.equal(state, torch.get_rng_state())
    for old, now in zip(before, (*encoder.parameters(), *decoder.parameters()), strict=True):
        assert torch.equal(old, now)
    phi = fitted.encode(images)
    assert phi.shape == (400, 1) and fitted.decode(phi).shape == (400, 4, 5)
    assert fitted.reconstruction_error(images) < 0.1
    gap = images - fitted.decode(phi)
    assert fitted.reconstruction_error(images) == pytest.approx((gap**2).mean() / images.var(axis=0).mean())
    assert np.array_equal(phi, fit(images, actions, **options).encode(images))
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).encode(images), phi)
    save(fitted, tmp_path / "fit")
    loaded = load(tmp_path / "fit")
    with pytest.raises(ValueError, match="encoder_module is missing: modules of one's own are code"):
        loaded.encode(images)
    again = loaded.with_modules(Flat(), Image())
    assert np.array_equal(again.encode(images), phi) and np.array_equal(again.decode(phi), fitted.decode(phi))
    with pytest.raises(ValueError, match=r"must have shape \(2, 20\); got \(1, 20\)"):
        loaded.with_modules(Flat(2))
    with pytest.raises(ValueError, match=r"encoder_module must be a torch.nn.Module; got str"):
        loaded.with_modules("Flat")


def test_own_encoder_beside_a_perceptron(sample, actions):
    module = torch.nn.Linear(10, 1)
    fitted = fit(sample.features, actions, encoder_module=module, method="variational")
    assert fitted.own_modules == (True, False) and fitted.decode(fitted.encode(sample.features)).shape == (400, 10)
    with pytest.raises(ValueError, match="decoder_module was None in fit"):
        fitted.with_modules(module, module)


# ---------------------------------------------------------------------- noisy codes


def _batch(weighted, rng, d=2):
    tensors = [torch.as_tensor(rng.normal(size=(30, size))) for size in (4, 3, 5)]
    return storage.Batch(*tensors, torch.as_tensor(rng.uniform(0.2, 2, 30)) if weighted else None, None)


def _noisy(d=2, near_zero=False):
    encoder = leaky_perceptron((4, 6, 2 * d), torch_generator(3)).double()
    if near_zero:
        with torch.no_grad():
            encoder[-1].weight[d:] = 0
            encoder[-1].bias[d:] = -20
    return encoder, leaky_perceptron((d, 6, 4), torch_generator(4)).double()


@pytest.mark.parametrize("weighted", [False, True])
def test_variational_loss_is_reconstruction_and_divergence(weighted):
    batch = _batch(weighted, np.random.default_rng(0))
    encoder, decoder = _noisy()
    objective = training.PlainObjective(encoder, decoder, 2, prior_weight=0.7)
    phi, reconstruction, loss = objective(batch, 1.0, torch_generator(0))
    mean, log_sd = objective.posterior(batch.x)
    normal = torch.distributions.Normal
    divergence = torch.distributions.kl_divergence(normal(mean, log_sd.exp()), normal(0.0, 1.0)).sum(dim=1)
    weight = torch.ones(30) if batch.weight is None else batch.weight
    expected = reconstruction + 0.7 * (weight * divergence).sum() / weight.sum()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(phi, mean)


def test_variational_code_without_noise_or_prior_is_the_deterministic_one():
    batch = _batch(True, np.random.default_rng(1))
    encoder, decoder = _noisy(near_zero=True)
    noisy = training.PlainObjective(encoder, decoder, 2, prior_weight=0.0)(batch, 1.0, torch_generator(0))
    plain = training.PlainObjective(encoder, decoder, 2)(batch, 1.0, None)
    for one, two in zip(noisy, plain, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)


def test_larger_prior_weight_holds_the_code_nearer_to_the_prior(sample, actions):
    spreads = [
        fit(sample.features, actions, method="variational", prior_weight=w, max_steps=300, penalty=0.0)
        .encode(sample.features)
        .std()
        for w in (1e-3, 10.0)
    ]
    assert spreads[1] < 0.2 < spreads[0]


@pytest.mark.parametrize("weighted", [False, True])
def test_linear_prior_is_its_evidence_bound(weighted):
    pytest.importorskip("pyro")
    from causalkit.extrapolation.linear_prior import LinearPriorObjective

    rng = np.random.default_rng(2)
    batch = _batch(weighted, rng)
    encoder, decoder = _noisy(near_zero=True)
    objective = LinearPriorObjective(encoder, decoder, 2, 3, device=torch.device("cpu"))
    for name in ("matrix", "intercept", "log_diagonal", "below"):
        value = torch.as_tensor(rng.normal(size=tuple(getattr(objective, name).shape)))
        setattr(objective, name, value.requires_grad_())
    objective.log_noise = torch.tensor(-0.4, dtype=torch.float64, requires_grad=True)
    phi, reconstruction, loss = objective(batch, 0.3, None)
    prior = objective.prior()
    dist = torch.distributions
    mean = batch.actions @ objective.matrix.T + objective.intercept
    q = dist.MultivariateNormal(phi, np.exp(-40) * torch.eye(2, dtype=torch.float64))
    p = dist.MultivariateNormal(mean, torch.as_tensor(prior["covariance"]))
    x = dist.Normal(decoder(phi), float(prior["noise_scale"])).log_prob(batch.x).sum(dim=1)
    weight = torch.ones(30) if batch.weight is None else batch.weight
    expected = (weight * (0.3 * dist.kl_divergence(q, p) - x)).sum() / (30 * 4)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    gap = (decoder(phi) - batch.x).square().mean(dim=1)
    torch.testing.assert_close(reconstruction, (weight * gap).sum() / weight.sum(), rtol=1e-5, atol=1e-6)
    assert len(objective.parameters()) == 8 + 5


def test_linear_prior_learns_the_line_of_its_code(sample, actions):
    pyro = pytest.importorskip("pyro")
    before, state = set(pyro.get_param_store().keys()), torch.get_rng_state()
    options = {"method": "linear_prior", "penalty": 0.0, "max_steps": 300, "learning_rate": 1e-2}
    fitted = fit(sample.features, actions, **options)
    assert set(pyro.get_param_store().keys()) == before and torch.equal(state, torch.get_rng_state())
    phi = fitted.encode(sample.features)
    line = np.polyfit(actions[:, 0], phi[:, 0], 1)
    assert fitted.prior["action_matrix"][0, 0] == pytest.approx(line[0], rel=0.1)
    residual = phi[:, 0] - np.polyval(line, actions[:, 0])
    assert fitted.prior["covariance"][0, 0] == pytest.approx(residual.var(), rel=0.3)
    assert np.corrcoef(phi[:, 0], sample.latent[:, 0])[0, 1] ** 2 > 0.8
    assert fitted.decode(phi).shape == sample.features.shape and fitted.prior["noise_scale"].shape == ()
    short = {**options, "max_steps": 20}
    one, two = (fit(sample.features, actions, **short).encode(sample.features) for _ in range(2))
    assert np.array_equal(one, two)


# ---------------------------------------------------------------------- devices


class _FactoryCalls(torch.overrides.TorchFunctionMode):
    """Record calls that make a tensor out of nothing and do not say on which device."""

    names = ("tensor", "as_tensor", "zeros", "ones", "empty", "full", "arange", "rand", "randn", "randint", "randperm",
             "linspace", "eye", "from_numpy")  # fmt: skip

    def __init__(self):
        super().__init__()
        self.without: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in self.names and getattr(torch, name) is func and "device" not in (kwargs or {}):
            caller = sys._getframe(1)
            while caller is not None and "causalkit" not in caller.f_code.co_filename:
                caller = caller.f_back
            if caller is not None:
                self.without.append(f"{name} in {Path(caller.f_code.co_filename).name}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ["autoencoder", "variational"])
@pytest.mark.parametrize("kept", [True, False])
def test_every_tensor_is_made_on_the_device_asked_for(method, kept, sample, actions, monkeypatch):
    if not kept:
        monkeypatch.setattr(storage, "_CACHE_BYTES", 0)
        monkeypatch.setattr(storage, "_FEATURE_BYTES", 0)
    with _FactoryCalls() as calls:
        for options in ({}, {"penalty": 200.0}, {"encoder_module": torch.nn.Linear(10, 1)}):
            fit(sample.features, actions, method=method, sample_weight=np.ones(400), initial=sample.latent, **options)
    assert calls.without == []


def test_the_record_of_calls_sees_a_tensor_without_a_device(sample, actions, monkeypatch):
    original = storage.projected_features

    def careless(*arguments):
        torch.zeros(3)
        return original(*arguments)

    monkeypatch.setattr(storage, "projected_features", careless)
    with _FactoryCalls() as calls:
        fit(sample.features, actions)
    assert "zeros in autoencoder_data.py" in calls.without


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"penalty": 200.0}, {"method": "variational"}, {"method": "linear_prior"}])
def test_gpu_gives_the_numbers_of_the_cpu(options, sample, actions):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    cpu, gpu = (fit(sample.features, actions, **{**options, "device": device}) for device in ("cpu", "cuda"))
    assert gpu.device == "cuda"
    first, second = cpu.encode(sample.features), gpu.encode(sample.features)
    if options.get("method") == "linear_prior":  # draws of the device itself
        assert np.isfinite(second).all()
    else:
        np.testing.assert_allclose(second, first, rtol=1e-2, atol=1e-2 * first.std())


# ---------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "sieve"}, ValueError, "method must be one of 'autoencoder', 'variational', 'linear_prior'"),
        ({"n_components": 0}, ValueError, "n_components must be an integer at least 1"),
        ({"penalty": -1.0}, ValueError, "penalty must be a finite number of at least 0; got -1.0"),
        ({"prior_weight": -0.1}, ValueError, "prior_weight must be a finite number of at least 0"),
        ({"hidden_layer_sizes": (8, 0)}, ValueError, "hidden_layer_sizes must be a sequence of positive integers"),
        ({"max_steps": 0}, ValueError, "max_steps must be an integer at least 1"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer at least 1"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be a finite number above 0"),
        ({"device": "gpu"}, ValueError, "device must be 'auto'"),
        ({"device": "cuda:99"}, DeviceUnavailableError, "is not available"),
        ({"encoder_module": "net"}, ValueError, r"encoder_module must be a torch.nn.Module; got str"),
        (
            {"encoder_module": torch.nn.Linear(10, 3)},
            ValueError,
            r"encoder_module must turn a batch of shape \(64, 10\) into one of shape \(64, 1\); got \(64, 3\)",
        ),
        (
            {"decoder_module": torch.nn.Linear(1, 9)},
            ValueError,
            r"decoder_module must turn a batch of shape \(64, 1\) into one of shape \(64, 10\); got \(64, 9\)",
        ),
        ({"learning_rate": 1e30, "max_steps": 100}, FloatingPointError, "training diverged before step"),
    ],
)
def test_bad_plans(options, error, message, sample, actions):
    with pytest.raises(error, match=message):
        fit(sample.features, actions, **options)


class Logarithm(torch.nn.Module):
    def forward(self, x):
        return torch.log(x[:, :1])


def test_outputs_that_are_not_finite(sample, actions):
    first = int(np.argmax(sample.features[:, 0] < sample.features[:, 0].mean()))
    with pytest.raises(ValueError, match=rf"encoder_module gives NaN or infinity .* \(first: row {first}\)"):
        fit(sample.features, actions, encoder_module=Logarithm())
    fitted = fit(sample.features, actions)
    broken = sample.features.copy()
    broken[7] = np.nan
    with pytest.raises(ValueError, match=r"the encoder gives NaN or infinity in 1 of 400 rows \(first: row 7\)"):
        fitted.encode(broken)


def test_images_need_modules(images, actions):
    with pytest.raises(ValueError, match=r"encoder_module is missing: X has shape \(400, 4, 5\)"):
        fit(images, actions)
    with pytest.raises(ValueError, match="decoder_module is missing"):
        fit(images, actions, encoder_module=Flat())


def test_features_and_codes_of_another_shape(sample, actions):
    fitted = fit(sample.features, actions)
    with pytest.raises(ValueError, match=r"X must have rows of shape \(10,\) as in fit; got \(9,\)"):
        fitted.encode(sample.features[:, :9])
    with pytest.raises(ValueError, match=r"codes must have shape \(n, 1\); got \(400, 10\)"):
        fitted.decode(sample.features)
    with pytest.raises(ValueError, match="X does not vary: all features are constant"):
        fit(np.full((400, 3), 1e8), actions)


@pytest.mark.parametrize(
    ("package", "method", "extra"), [("torch", "autoencoder", "torch"), ("pyro", "linear_prior", "bayes")]
)
def test_missing_packages_name_the_extra(package, method, extra, sample, actions, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"'\.\[{extra}\]"):
        fit(sample.features, actions, method=method)


def test_importing_loads_neither_torch_nor_pyro():
    code = (
        "import sys, causalkit.extrapolation.autoencoders, causalkit.extrapolation.linear_prior\n"
        "print([m for m in ('torch', 'pyro', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
