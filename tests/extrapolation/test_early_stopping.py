"""Early stopping of autoencoders, and the warning of a poor reconstruction."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from causalkit.datasets import make_intervention_curve
from causalkit.extrapolation import LinearInvarianceEncoder, project_off_actions, random_fourier_features
from causalkit.extrapolation.autoencoder_stopping import StoppingRule
from causalkit.extrapolation.autoencoders import AutoencoderPlan, fit_autoencoder
from causalkit.extrapolation.reconstruction_check import component_error, poor_reconstruction

torch = pytest.importorskip("torch")

SAMPLE = make_intervention_curve(400, strength=2.0, random_state=1)
ACTIONS = SAMPLE.actions / SAMPLE.actions.std(axis=0)
FREQUENCIES = np.random.default_rng(0).normal(size=(1, 8))
PROJECTION = project_off_actions(random_fourier_features(ACTIONS, FREQUENCIES), ACTIONS)[1]
NOISE = np.random.default_rng(2).normal(size=(400, 6))  # nothing to learn: the longer the training, the worse


def plan(**options) -> AutoencoderPlan:
    quick = {"n_components": 1, "penalty": 0.0, "hidden_layer_sizes": (16,), "max_steps": 200, "batch_size": 100}
    return AutoencoderPlan(**{**quick, "device": "cpu", "early_stopping": True, "patience": 5, **options})


def fit(X=SAMPLE.features, **options):
    return fit_autoencoder(X, ACTIONS, FREQUENCIES, PROJECTION, plan(**options))


def looks(fitted) -> list[float]:
    return [row["validation"] for row in fitted.history if "validation" in row]


@pytest.mark.parametrize("X", [SAMPLE.features, NOISE], ids=["signal", "noise"])
def test_the_weights_kept_are_those_of_the_lowest_loss_on_rows_not_trained_on(X) -> None:
    options = {"learning_rate": 0.03, "hidden_layer_sizes": (64, 64), "validation_fraction": 0.25}
    fitted = fit(X, **options)
    held = plan(**options).stopping.split(np.arange(400), None, 0)[1]
    assert len(held) == 100
    # Without a penalty the value is the reconstruction error, here of the weights that were kept, in numpy.
    assert_allclose(fitted.row_errors(X[held]).mean(), min(looks(fitted)), rtol=1e-4)


def test_training_stops_when_patience_is_out_and_not_before_the_penalty_has_its_weight() -> None:
    fitted = fit(NOISE, learning_rate=0.03, hidden_layer_sizes=(64, 64), patience=3)
    last = fitted.history[-1]["step"]
    assert 50 <= last < 200
    values = looks(fitted)
    assert min(values) < values[-1]
    assert fitted.settled
    assert "validation" not in fitted.history[20]  # a tenth of the steps: the ramp goes on up to a quarter
    whole = fit(NOISE, learning_rate=0.03, hidden_layer_sizes=(64, 64), early_stopping=False)
    assert whole.history[-1]["step"] == 200
    assert set(whole.history[0]) == {"step", "reconstruction", "q_b", "weight"}
    held = plan().stopping.split(np.arange(400), None, 0)[1]
    assert fitted.row_errors(NOISE[held]).mean() < whole.row_errors(NOISE[held]).mean() + 1


@pytest.mark.parametrize("options", [{"penalty": 1.0}, {"method": "variational"}, {"method": "linear_prior"}])
def test_stopping_repeats_and_leaves_the_global_generator(options: dict) -> None:
    if options.get("method") == "linear_prior":
        pytest.importorskip("pyro")
    state = torch.get_rng_state()
    pair = [fit(max_steps=60, patience=2, **options) for _ in range(2)]
    assert torch.equal(state, torch.get_rng_state())
    assert_array_equal(pair[0].encode(SAMPLE.features), pair[1].encode(SAMPLE.features))
    assert looks(pair[0]) == looks(pair[1]) != []
    for name, value in pair[0].prior.items():
        assert_array_equal(value, pair[1].prior[name])


def test_looking_does_not_change_the_training() -> None:
    """With patience for all looks, the steps are those of the training rows alone."""
    fitted = fit(max_steps=60, patience=60, penalty=1.0)
    kept = np.ones(400)
    kept[plan().stopping.split(np.arange(400), None, 0)[1]] = 0.0
    options = {"max_steps": 60, "penalty": 1.0, "early_stopping": False}
    alone = fit_autoencoder(SAMPLE.features, ACTIONS, FREQUENCIES, PROJECTION, plan(**options), sample_weight=kept)
    # Features are scaled by all rows in one fit and by the training rows in the other.
    errors = [[row["reconstruction"] for row in one.history] for one in (fitted, alone)]
    assert_allclose(*errors, rtol=0.2)
    assert [row["step"] for row in fitted.history] == [row["step"] for row in alone.history]


def test_clusters_are_not_divided() -> None:
    groups = np.random.default_rng(3).integers(0, 40, 500) * 7
    rows = np.flatnonzero(np.arange(500) % 5 > 0)
    training, held = StoppingRule(0.2, 1).split(rows, groups, 0)
    assert not set(groups[training]) & set(groups[held])
    assert_array_equal(np.sort(np.concatenate([training, held])), rows)
    assert 0.1 < len(held) / len(rows) < 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"early_stopping": "yes"}, "early_stopping must be True or False; got 'yes'"),
        ({"validation_fraction": 0.0}, "validation_fraction must be a finite number above 0; got 0.0"),
        ({"validation_fraction": 1.5}, "validation_fraction must lie between 0 and 1, both excluded; got 1.5"),
        ({"patience": 0}, "patience must be an integer at least 1; got 0"),
    ],
)
def test_rules_that_make_no_sense(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(**options)


# ---------------------------------------------------------------------- reconstruction


@pytest.mark.parametrize("method", ["autoencoder", "variational", "linear_prior"])
def test_every_method_says_that_its_reconstruction_is_poor(method: str) -> None:
    if method == "linear_prior":
        pytest.importorskip("pyro")
    options = {"n_components": 1, "penalty": 0.0, "hidden_layer_sizes": (8,), "batch_size": 100, "device": "cpu"}
    encoder = LinearInvarianceEncoder(method=method, max_steps=2, random_state=0, **options)
    with pytest.warns(ConvergenceWarning) as caught:
        encoder.fit(SAMPLE.features, actions=SAMPLE.actions)
    texts = [str(one.message) for one in caught if "principal component" in str(one.message)]
    assert len(texts) == 1
    assert f'by method="{method}" is poor: {encoder.reconstruction_error_:.3g} of the variance' in texts[0]
    assert ("prior_weight" in texts[0]) == (method == "variational")


def test_a_good_reconstruction_says_nothing_and_early_stopping_reaches_the_encoder() -> None:
    options = {"hidden_layer_sizes": (32,), "batch_size": 100, "device": "cpu", "random_state": 0}
    encoder = LinearInvarianceEncoder(
        method="autoencoder", n_components=1, penalty=0.0, max_steps=400, early_stopping=True, patience=100, **options
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encoder.fit(SAMPLE.features, actions=SAMPLE.actions)
    assert not [one for one in caught if "principal component" in str(one.message)]
    assert encoder.history_["validation"].notna().any()


def test_principal_components_lose_what_the_smaller_singular_values_hold() -> None:
    rng = np.random.default_rng(4)
    X = rng.normal(size=(300, 4, 2)) @ rng.normal(size=(2, 2)) + 3.0
    centre, scale = X.mean(axis=0), 2.0
    network = SimpleNamespace(n_components=2, centre=centre, scale=scale)
    values = np.linalg.svd((X - centre).reshape(300, 8) / scale, compute_uv=False)
    assert_allclose(component_error(network, X, X), (values[2:] ** 2).sum() / (300 * 8), rtol=1e-6)


def test_a_penalty_that_costs_more_than_a_fifth_of_the_reconstruction_is_said() -> None:
    network = SimpleNamespace(
        method="autoencoder", n_components=1, centre=np.zeros(3), scale=1.0, reconstruction_error=lambda X: 0.0
    )
    path = [{"reconstruction": 0.10, "chosen": False}, {"reconstruction": 0.13, "chosen": True}]
    said = poor_reconstruction(network, NOISE[:, :3], NOISE[:, :3], path)
    assert said is not None
    assert "at the chosen penalty 0.13 of the variance is lost, more than 20 % above the 0.1 without" in said
    path[1]["reconstruction"] = 0.12
    assert poor_reconstruction(network, NOISE[:, :3], NOISE[:, :3], path) is None
