"""IV-like networks: every bad input and its named error or warning."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from causalkit.augmentation.net import IVLikeNetClassifier, IVLikeNetRegressor
from causalkit.exceptions import (
    AugmentationError,
    ConvergenceWarning,
    DeviceUnavailableError,
    LeakageWarning,
    MethodNotApplicableError,
    UnderIdentifiedError,
    WeakInstrumentWarning,
)
from tests.augmentation.net_designs import QUICK, OwnNetwork, linear_design, shift_second

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(
    ("alpha", "error", "words"),
    [
        (0, MethodNotApplicableError, r"alpha=0 leaves a network without a data term.*IVLikeRegressor\(alpha=0\)"),
        (-1.0, ValueError, r"alpha must be in \[0, inf\].*LIML-type values are k-class"),
        (np.nan, ValueError, r"alpha must be in \[0, inf\]"),
        ("small", ValueError, r"alpha must be in \[0, inf\]"),
        (True, ValueError, r"alpha must be in \[0, inf\]"),
    ],
)
def test_bad_alpha(alpha, error, words):
    X, y, GX, _ = linear_design(n=20)
    with pytest.raises(error, match=words):
        IVLikeNetRegressor(alpha=alpha, **QUICK).fit(X, y, augmented=GX)


@pytest.mark.parametrize(
    ("params", "fit_params", "error", "words"),
    [
        ({"penalty": "pointwise"}, {}, AugmentationError, "nothing to penalise"),
        ({"penalty": "nonsense"}, {"augmented": "GX"}, ValueError, "penalty must be one of"),
        ({"penalty": "analytic"}, {"augmented": "GX"}, MethodNotApplicableError, "does not exist for this estimator"),
        (
            {"penalty": "constrained"},
            {"augmented": "GX"},
            MethodNotApplicableError,
            "does not exist for this estimator",
        ),
        (
            {"augmentation": shift_second},
            {"augmented": "GX"},
            AugmentationError,
            "augmentation and augmented were both given",
        ),
        (
            {"augmentation": shift_second},
            {"instruments": "G"},
            AugmentationError,
            "instruments and augmentation were",
        ),
        ({"penalty": "paired"}, {"augmented": "GX"}, AugmentationError, "pass augmentation_parameters="),
        ({"penalty": "pointwise"}, {"instruments": "G"}, MethodNotApplicableError, "instruments make no copies"),
        ({"augmentation": lambda X, rng: X + 1, "penalty": "paired"}, {}, AugmentationError, "came without any"),
        ({"augmentation": lambda X, rng: X[:, :1]}, {}, AugmentationError, r"\(20, 3\)"),
        ({}, {"augmented": "short"}, AugmentationError, r"expected shape \(20, 3\) or \(20, R, 3\)"),
        ({"module": "cnn"}, {}, ValueError, "module must be a torch module"),
        ({"module": lambda p, t: 3}, {}, ValueError, "module must give a torch module; the function returned int"),
        ({"module": lambda p, t: torch.nn.Linear(p, 4)}, {}, ValueError, r"shape \(b, 1\); two rows gave \(2, 4\)"),
        ({"hidden_layer_sizes": (0,)}, {}, ValueError, "hidden_layer_sizes must be"),
        ({"early_stopping": "yes"}, {}, ValueError, "early_stopping must be one of True, False"),
        ({"learning_rate": -1}, {}, ValueError, "learning_rate must be a finite number above 0"),
        ({"validation_fraction": 1.0}, {}, ValueError, "validation_fraction must lie between 0 and 1"),
        ({"device": "gpu"}, {}, ValueError, "device must be 'auto'"),
        ({"device": "cuda:99"}, {}, DeviceUnavailableError, "cuda:99"),
        ({"verbose": -1}, {}, ValueError, "verbose must be an integer"),
        ({}, {"groups": np.zeros(20)}, ValueError, "at least two groups"),
        ({}, {"sample_weight": -np.ones(20)}, ValueError, "sample_weight must not be negative"),
        ({}, {"sample_weight": np.eye(20)[0]}, ValueError, "at least two rows"),
        ({}, {"instruments": np.random.default_rng(0).standard_normal((20, 17))}, UnderIdentifiedError, "identity"),
        ({}, {"instruments": np.ones((20, 2))}, AugmentationError, "constant"),
    ],
)
def test_bad_input_is_named(params, fit_params, error, words):
    X, y, GX, G = linear_design(n=20)
    given = {"GX": GX, "G": G, "short": GX[:5]}
    values = {name: given[value] if isinstance(value, str) else value for name, value in fit_params.items()}
    net = IVLikeNetRegressor(**{**QUICK, **params})
    with pytest.raises(error, match=words):
        net.fit(X, y, **values)
    assert vars(net).keys() == net.get_params().keys()


def test_divergence_names_the_learning_rate():
    X, y, _, _ = linear_design(n=60)
    with pytest.raises(FloatingPointError, match="Lower learning_rate"):
        IVLikeNetRegressor(**{**QUICK, "learning_rate": 1e30}).fit(X, y)


def test_one_class_is_refused():
    X, _, _, _ = linear_design(n=20)
    with pytest.raises(ValueError, match="y holds one class, 1:"):
        IVLikeNetClassifier(**QUICK).fit(X, np.ones(20, dtype=int))
    with pytest.raises(ValueError, match="y holds one class"):
        IVLikeNetClassifier(**QUICK).fit(X, np.arange(20) % 2, sample_weight=np.arange(20) % 2)


def test_constant_instruments_are_named():
    X, y, _, _ = linear_design(n=60)
    Z = pd.DataFrame({"distance": np.random.default_rng(0).standard_normal(60), "always": np.ones(60)})
    with pytest.warns(WeakInstrumentWarning, match="always"):
        IVLikeNetRegressor(**QUICK).fit(X, y, instruments=Z)


def test_too_few_epochs_warn():
    X, y, GX, _ = linear_design(n=100)
    with pytest.warns(ConvergenceWarning, match="max_epochs=5 while the loss was still falling"):
        net = IVLikeNetRegressor(**QUICK).fit(X, y, augmented=GX)
    assert not net.converged_


def test_refit_forgets_the_other_kind_of_network():
    X, y, _, _ = linear_design(n=60)
    net = clone(IVLikeNetRegressor(module=OwnNetwork, **QUICK)).fit(X, y)
    net.set_params(module=None).fit(X, y)
    assert hasattr(net, "weights_")
    assert not hasattr(net, "module_")


@pytest.mark.parametrize("make", [IVLikeNetRegressor, IVLikeNetClassifier])
def test_parameters_that_depend_on_the_outcome_are_reported(make):
    X, y, GX, G = linear_design(n=500)
    target = y if make is IVLikeNetRegressor else (y > y.mean()).astype(int)
    leaky = G + 0.5 * (y / y.std())[:, None]
    with pytest.warns(LeakageWarning, match="y on G"):
        make(**QUICK).fit(X, target, augmented=GX, augmentation_parameters=leaky)


def test_parameters_of_a_function_that_looks_at_the_features_are_reported():
    X, y, _, _ = linear_design(n=500)
    with pytest.warns(LeakageWarning, match="X with G"):
        IVLikeNetRegressor(augmentation=lambda X, rng: (X + 1, X[:, :1]), **QUICK).fit(X, y)


def test_parameters_that_move_no_mean_are_reported():
    X, y, _, _ = linear_design(n=500)
    flips = np.random.default_rng(5).choice([-1.0, 1.0], (500, 1))
    centred = X - X.mean(axis=0)
    with pytest.warns(WeakInstrumentWarning, match="does not move the mean"):
        IVLikeNetRegressor(penalty="paired", **QUICK).fit(
            centred, y, augmented=centred * flips, augmentation_parameters=flips
        )


@pytest.mark.filterwarnings("error::causalkit.exceptions.LeakageWarning")
@pytest.mark.filterwarnings("error::causalkit.exceptions.WeakInstrumentWarning")
def test_sound_parameters_pass_silently():
    X, y, GX, G = linear_design(n=500)
    net = IVLikeNetRegressor(penalty="paired", **QUICK).fit(X, y, augmented=GX, augmentation_parameters=G)
    assert net.penalty_ == "paired"
