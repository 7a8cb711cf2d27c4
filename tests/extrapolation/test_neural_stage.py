"""The second stage with networks: centring, invariance, determinism, weights, the calibration term, files."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from causalkit import load, save
from causalkit.datasets import make_intervention_curve
from causalkit.exceptions import DeviceUnavailableError
from causalkit.extrapolation import NeuralControlFunction
from causalkit.extrapolation.curve_part import fit_curve_part, new_outcome_model
from causalkit.extrapolation.encoder_models import action_line

torch = pytest.importorskip("torch")

SAMPLE = make_intervention_curve(600, random_state=2)
RESIDUAL = action_line(SAMPLE.latent, SAMPLE.actions, None)[2]
SMALL = {"hidden_layer_sizes": (16,), "max_steps": 60, "device": "cpu", "random_state": 0}


def fitted(phi=SAMPLE.latent, residual=RESIDUAL, y=SAMPLE.y, extra=None, **options) -> NeuralControlFunction:
    return NeuralControlFunction(**(SMALL | options)).fit(phi, residual, y, **(extra or {}))


def test_parts_are_centred_and_add_up() -> None:
    w = np.random.default_rng(0).integers(0, 3, 600).astype(float)
    for extra, weight in (({}, np.ones(600)), ({"sample_weight": w}, w)):
        model = fitted(extra=extra)
        nu = model.structural(SAMPLE.latent)
        total = model.predict(SAMPLE.latent, RESIDUAL)
        assert_allclose(np.average(nu, weights=weight), np.average(SAMPLE.y, weights=weight), atol=1e-9)
        assert_allclose(np.average(total - nu, weights=weight), 0, atol=1e-9)


def test_curve_of_the_oracle_is_near_the_truth() -> None:
    sample = make_intervention_curve(4000, random_state=1)
    model = NeuralControlFunction(hidden_layer_sizes=(32, 32), max_steps=800, device="cpu", random_state=0)
    part = fit_curve_part(sample.latent, sample.actions, sample.y, None, model)
    wanted = np.array([[-1.5], [-1.0], [1.0], [1.5]])
    assert np.sqrt(np.mean((part.do_mean(wanted) - sample.do_mean(wanted)) ** 2)) < 0.25
    # the regression without control function is off by 1.5 at these actions
    assert np.abs(part.do_mean(wanted) - sample.do_mean(wanted)).max() < 0.5


def test_fit_is_deterministic_and_leaves_the_global_generator() -> None:
    state = torch.get_rng_state()
    first, second = fitted(), fitted()
    assert torch.equal(torch.get_rng_state(), state)
    assert_array_equal(first.structural(SAMPLE.latent), second.structural(SAMPLE.latent))
    assert_array_equal(first.loss_curve_, second.loss_curve_)
    assert not np.array_equal(fitted(random_state=1).structural(SAMPLE.latent), first.structural(SAMPLE.latent))


def test_inputs_and_outcomes_may_have_any_units() -> None:
    plain = fitted()
    moved = fitted(40 * SAMPLE.latent + 9, 0.01 * RESIDUAL, 5 * SAMPLE.y - 2)
    assert_allclose(
        moved.predict(40 * SAMPLE.latent + 9, 0.01 * RESIDUAL),
        5 * plain.predict(SAMPLE.latent, RESIDUAL) - 2,
        atol=1e-2,
    )


def test_rows_of_weight_zero_are_not_there() -> None:
    w = np.ones(600)
    w[500:] = 0
    changed = np.where(w > 0, SAMPLE.y, 1e6)
    assert_array_equal(
        fitted(extra={"sample_weight": w}).structural(SAMPLE.latent),
        fitted(y=changed, extra={"sample_weight": w}).structural(SAMPLE.latent),
    )


def test_calibration_lowers_what_it_penalises() -> None:
    moments = np.column_stack([SAMPLE.actions[:, 0], np.cos(2 * SAMPLE.actions[:, 0])])

    def target(model):
        left = SAMPLE.y - model.structural(SAMPLE.latent)
        return (((left - left.mean()) @ (moments - moments.mean(axis=0)) / 600) ** 2).sum()

    plain = fitted(max_steps=30)
    calibrated = fitted(max_steps=30, extra={"moments": moments, "calibration": 30.0})
    assert target(calibrated) < 0.5 * target(plain)


def test_steps_are_counted_and_bounded() -> None:
    model = fitted(max_steps=7)  # 510 rows of training are two batches of an epoch, so that six steps are whole epochs
    assert model.n_steps_ == 6
    assert len(model.loss_curve_) == len(model.validation_curve_) == 3


def test_files_and_pickles_predict_the_same(tmp_path) -> None:
    model = fitted()
    save(model, tmp_path / "stage")
    for again in (load(tmp_path / "stage"), pickle.loads(pickle.dumps(model))):
        assert_array_equal(again.predict(SAMPLE.latent, RESIDUAL), model.predict(SAMPLE.latent, RESIDUAL))
    assert clone(model).get_params() == model.get_params()


def test_networks_take_over_above_three_coordinates() -> None:
    assert isinstance(new_outcome_model(None, 4, "cpu", 0), NeuralControlFunction)
    assert not isinstance(new_outcome_model(None, 3, "cpu", 0), NeuralControlFunction)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes must be a sequence of positive integers"),
        ({"max_steps": 0}, "max_steps must be an integer at least 1; got 0"),
        ({"device": "tpu"}, "device must be 'auto', 'cpu', 'cuda'"),
    ],
)
def test_parameters_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(**options)


def test_input_is_checked() -> None:
    with pytest.raises(ValueError, match=r"residual has 10 rows.*phi has 600|residual.*10.*600"):
        fitted(residual=RESIDUAL[:10])
    with pytest.raises(ValueError, match="phi has 5 rows of positive weight: expected at least 10"):
        fitted(SAMPLE.latent[:5], RESIDUAL[:5], SAMPLE.y[:5])
    with pytest.raises(ValueError, match="phi has 2 columns, expected 1"):
        fitted(max_steps=2).structural(np.zeros((3, 2)))
    if not torch.cuda.is_available():
        with pytest.raises(DeviceUnavailableError, match="CUDA"):
            fitted(device="cuda")
