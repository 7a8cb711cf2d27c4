"""The image-like design of Pettersson, Jerzak and Daoud: outcomes seen through a frozen random network."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from causalkit.datasets.simulated_map import SimulatedMap, as_generator, check_number, constants
from causalkit.validation import check_integer

__all__ = ["PaperMap", "make_paper_map"]

Array = NDArray[np.float64]
Layers = list[tuple[Array, Array]]

_WIDTHS = (1, 50, 50, 50, 100)
_DROPOUT = 0.2
_FEATURE_NOISE_SD = 0.3


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PaperMap(SimulatedMap):
    """A simulated map with the features that its predictions are made from.

    Attributes
    ----------
    train_features, train_y : ndarray, shape (n_train, 100), (n_train,)
        Rows for fitting a predictor; no calibration or trial row is among them.
    calibration_features : ndarray, shape (n_calibration, 100)
    features : ndarray, shape (n, 100)
        Features of the trial rows.
    confounders : ndarray, shape (n, 1)
        Cause of both treatment and outcome in the trial.
    propensity : ndarray, shape (n,)
        True probability of treatment in the trial.
    predictor : estimator or None
        Fitted on the training rows; ``None``, with empty predictions, if none was asked for.
    """

    train_features: Array
    train_y: Array
    calibration_features: Array
    features: Array
    confounders: Array
    propensity: Array
    predictor: Any


def _draw_network(rng: np.random.Generator) -> Layers:
    """Weights and biases, uniform between plus and minus 1 / √(inputs of the layer)."""
    layers = []
    for fan_in, fan_out in pairwise(_WIDTHS):
        bound = 1 / np.sqrt(fan_in)
        layers.append((rng.uniform(-bound, bound, (fan_in, fan_out)), rng.uniform(-bound, bound, fan_out)))
    return layers


def _draw_features(y: Array, layers: Layers, rng: np.random.Generator) -> Array:
    """Pass outcomes through the network, dropping units at random, and add noise."""
    values = y[:, None]
    for weight, bias in layers[:-1]:
        values = np.maximum(values @ weight + bias, 0.0)
        # Dropout stays active: each row loses other units, so that no predictor can recover y exactly.
        values *= (rng.random(values.shape) >= _DROPOUT) / (1 - _DROPOUT)
    weight, bias = layers[-1]
    values = values @ weight + bias
    return np.asarray(values + _FEATURE_NOISE_SD * rng.standard_normal(values.shape))


def _draw_rows(n: int, tau: float, layers: Layers, rng: np.random.Generator) -> dict[str, Array]:
    confounder = rng.standard_normal(n)
    propensity = np.asarray(expit(confounder))
    treatment = (rng.random(n) < propensity).astype(np.int64)
    y = tau * treatment + confounder + rng.standard_normal(n)
    return {
        "confounder": confounder,
        "propensity": propensity,
        "treatment": treatment,
        "y": y,
        "features": _draw_features(y, layers, rng),
    }


def _fit_predictor(predictor: Any, features: Array, y: Array) -> Any:
    from sklearn.base import clone

    if predictor is not None:
        return clone(predictor).fit(features, y)
    from sklearn.neural_network import MLPRegressor

    network = MLPRegressor(
        hidden_layer_sizes=(64, 32),
        alpha=1e-2,
        learning_rate_init=1e-3,
        early_stopping=True,
        max_iter=60,
        random_state=0,
    )
    return network.fit(features, y)


def make_paper_map(
    *,
    tau: float = 1.0,
    n_train: int = 8000,
    n_calibration: int = 2000,
    n_trial: int = 10_000,
    return_predictions: bool = True,
    predictor: Any = None,
    random_state: Any = None,
) -> PaperMap:
    r"""Simulate outcomes that are seen only through a frozen random network, as a picture shows wealth.

    :math:`C \sim N(0,1)`, :math:`A \sim Bernoulli(1/(1+e^{-C}))`, :math:`Y = \tau A + C + N(0,1)`, features
    :math:`X = g(Y) + N(0, .3^2) \in R^{100}`. g is a network 1→50→50→50→100 with weights and biases
    U(±1/√inputs); each of its first three layers is followed by ReLU and by dropout of 20 % of the units,
    drawn anew for each row. Treatment reaches the features only through the outcome. The truth is τ,
    to be estimated with the given propensity or with C as confounder.

    Parameters
    ----------
    tau : float, default=1.0
        True effect.
    n_train, n_calibration, n_trial : int, default=8000, 2000 and 10000
        Rows for fitting the predictor, for calibration, and of the trial.
    return_predictions : bool, default=True
        Whether to fit a predictor of the outcome on the training rows and predict the other two samples
        (about a second at the default sizes); if False, predictions are empty arrays.
    predictor : estimator, optional
        Regressor to clone and fit; default scikit-learn's ``MLPRegressor(hidden_layer_sizes=(64, 32),
        alpha=1e-2, learning_rate_init=1e-3, early_stopping=True, max_iter=60, random_state=0)``.
    random_state : int, Generator, RandomState or None
        Draws in this order: layer by layer weights, then biases; then for training and calibration rows
        together, and after them for the trial: C, one uniform each for A, outcome noise, dropout of the three
        layers, feature noise.

    Returns
    -------
    PaperMap
        With train_features, train_y, calibration_features, features, confounders, propensity and
        predictor. Features are standardised by mean and standard deviation of the training rows.
        ``population`` is empty, because the slope depends on the predictor.

    Raises
    ------
    ValueError
        If tau is not finite or a size is below 2.

    References
    ----------
    Pettersson, Jerzak and Daoud (2025), arXiv:2508.01341, simulation study.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from causalkit.datasets import make_paper_map
    >>> sample = make_paper_map(n_train=200, n_calibration=100, n_trial=300, predictor=Ridge(), random_state=0)
    >>> sample.features.shape, sample.predictions.shape
    ((300, 100), (300,))
    """
    tau = check_number(tau, "tau")
    n_train = check_integer(n_train, "n_train", low=2)
    n_calibration = check_integer(n_calibration, "n_calibration", low=2)
    n_trial = check_integer(n_trial, "n_trial", low=2)
    rng = as_generator(random_state)
    layers = _draw_network(rng)
    labelled = _draw_rows(n_train + n_calibration, tau, layers, rng)
    trial = _draw_rows(n_trial, tau, layers, rng)
    centre = labelled["features"][:n_train].mean(axis=0)
    scale = labelled["features"][:n_train].std(axis=0)
    train, calibration = np.split((labelled["features"] - centre) / scale, [n_train])
    train_y, calibration_y = np.split(labelled["y"], [n_train])
    features = (trial["features"] - centre) / scale
    fitted = _fit_predictor(predictor, train, train_y) if return_predictions else None
    return PaperMap(
        calibration_predictions=np.empty(0) if fitted is None else np.asarray(fitted.predict(calibration)),
        calibration_y=calibration_y,
        predictions=np.empty(0) if fitted is None else np.asarray(fitted.predict(features)),
        treatment=trial["treatment"].astype(np.int64),
        y=trial["y"],
        effect=tau,
        population=constants(),
        train_features=train,
        train_y=train_y,
        calibration_features=calibration,
        features=features,
        confounders=trial["confounder"][:, None],
        propensity=trial["propensity"],
        predictor=fitted,
    )
