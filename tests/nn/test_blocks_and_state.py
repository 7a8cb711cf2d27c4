"""Devices, seeds, perceptrons and weights as arrays."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from causalkit.exceptions import DeviceUnavailableError, MissingDependencyError
from causalkit.nn import (
    arrays_of_module,
    derived_seed,
    global_seed,
    import_torch,
    load_arrays,
    make_mlp,
    mlp_outputs,
    module_outputs,
    resolve_device,
    single_threaded,
    torch_generator,
)
from causalkit.nn.blocks import check_layer_sizes

torch = pytest.importorskip("torch")

# ---------------------------------------------------------------------- devices


def test_importing_the_package_loads_no_torch():
    code = (
        "import json, sys, causalkit.nn, causalkit.nn.training, causalkit.augmentation.net\n"
        "print(json.dumps([m for m in ('torch', 'matplotlib') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_missing_torch_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"'\.\[torch\]"):
        import_torch()


@pytest.mark.parametrize(("seen", "expected"), [(False, "cpu"), (True, "cuda")])
def test_auto_takes_the_gpu_when_there_is_one(monkeypatch, seen, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen)
    assert resolve_device("auto").type == expected
    assert resolve_device(torch.device("cpu")).type == "cpu"


def test_unavailable_device_is_a_named_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert str(resolve_device("cuda:0")) == "cuda:0"
    with pytest.raises(DeviceUnavailableError, match=r"'cuda:1' is not available: .* sees 1 CUDA devices"):
        resolve_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceUnavailableError, match="device='auto' or 'cpu'"):
        resolve_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "", None])
def test_unknown_device_is_refused(name):
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu', 'cuda'"):
        resolve_device(name)


def test_single_thread_is_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with single_threaded(), single_threaded():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# ---------------------------------------------------------------------- seeds


def test_seeds_of_different_keys_differ_and_repeat():
    seeds = [derived_seed(seed, *key) for seed in (0, 1) for key in [(), (0,), (1,), (0, 1), (1, 0)]]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert torch.equal(torch.rand(3, generator=torch_generator(5, 2)), torch.rand(3, generator=torch_generator(5, 2)))


def test_global_seed_is_local():
    before = torch.get_rng_state()
    with global_seed(3, torch.device("cpu")):
        first = torch.rand(2)
    with global_seed(3, torch.device("cpu")):
        assert torch.equal(first, torch.rand(2))
    assert torch.equal(before, torch.get_rng_state())


def test_initial_weights_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    first, second = (arrays_of_module(make_mlp((3, 5, 1), torch_generator(1))) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert all(
        np.abs(first[f"{j}.{kind}"]).max() <= 1 / np.sqrt(p) for j, p in [(0, 3), (2, 5)] for kind in ("weight", "bias")
    )


# ---------------------------------------------------------------------- perceptrons and weights


def test_outputs_by_hand():
    weights = {
        "0.weight": np.array([[1.0, -1.0], [2.0, 0.0]]),
        "0.bias": np.array([0.0, -1.0]),
        "2.weight": np.array([[1.0, 10.0]]),
        "2.bias": np.array([0.5]),
    }
    # Hidden values (1 - 2, 2 - 1) = (-1, 1) -> (0, 1), and (3, 5).
    np.testing.assert_array_equal(mlp_outputs(weights, np.array([[1.0, 2.0], [3.0, 0.0]])), [[10.5], [53.5]])


@pytest.mark.parametrize("sizes", [(4, 2), (4, 7, 1), (4, 3, 5, 2)])
def test_numpy_outputs_are_those_of_torch(sizes):
    module = make_mlp(sizes, torch_generator(0)).double()
    X = np.random.default_rng(0).standard_normal((9000, 4))  # more than one block
    expected = module(torch.as_tensor(X)).detach().numpy()
    np.testing.assert_allclose(mlp_outputs(arrays_of_module(module), X), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(module_outputs(module.float(), X, torch.device("cpu")), expected, atol=1e-5)


def test_outputs_use_evaluation_mode_and_leave_the_module_alone():
    module = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Dropout(0.9)).train()
    first = module_outputs(module, np.ones((50, 2)), torch.device("cpu"))
    assert first.shape == (50, 1)
    assert np.ptp(first) == 0
    assert module.training


def test_one_number_per_row_becomes_a_column():
    module = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Flatten(0))
    assert module_outputs(module, np.ones((5, 2)), torch.device("cpu")).shape == (5, 1)


def test_arrays_round_trip():
    source, target = make_mlp((3, 4, 2), torch_generator(0)), make_mlp((3, 4, 2), torch_generator(1))
    arrays = arrays_of_module(source)
    load_arrays(target, arrays)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))
    arrays["0.weight"][:] = 7  # no shared memory on either side
    assert not (target[0].weight == 7).any()
    assert not (source[0].weight == 7).any()


def test_arrays_of_another_structure_are_refused():
    module = make_mlp((3, 4, 2), torch_generator(0))
    with pytest.raises(ValueError, match=r"'0.weight' must have shape \(4, 3\); got \(5, 3\)"):
        load_arrays(module, arrays_of_module(make_mlp((3, 5, 2), torch_generator(0))))
    with pytest.raises(ValueError, match=r"'2\.weight' is missing in arrays"):
        load_arrays(module, arrays_of_module(make_mlp((3, 4), torch_generator(0))))
    with pytest.raises(ValueError, match=r"'4\.weight' is missing in module"):
        load_arrays(module, arrays_of_module(make_mlp((3, 4, 2, 1), torch_generator(0))))


@pytest.mark.parametrize(
    ("value", "expected"), [((), ()), ([3, np.int64(2)], (3, 2)), (5, (5,)), (np.array([4]), (4,))]
)
def test_layer_sizes(value, expected):
    assert check_layer_sizes(value) == expected


@pytest.mark.parametrize("value", [(0,), (2.5,), "64", None, (True,), True, (64, -1)])
def test_bad_layer_sizes_are_refused(value):
    with pytest.raises(ValueError, match="hidden_layer_sizes must be a sequence of positive integers"):
        check_layer_sizes(value)
