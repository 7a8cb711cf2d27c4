"""A map whose error variance depends on the prediction, with its truth by quadrature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from causalkit.datasets.simulated_map import SimulatedMap, as_generator, check_number, constants
from causalkit.validation import check_integer

__all__ = ["heteroscedastic_map_bias", "make_heteroscedastic_map"]

Array = NDArray[np.float64]

_VARIANCE_MEAN, _VARIANCE_SLOPE = 0.5, 0.3
_N_NODES = 4001
_REACH = 10.0


def _error_variance(predictions: Array) -> Array:
    return np.asarray(_VARIANCE_MEAN + _VARIANCE_SLOPE * np.tanh(predictions))


def _nodes() -> tuple[Array, Array]:
    """Nodes in u and their weights under the standard normal density of the predictions."""
    nodes = np.linspace(-_REACH, _REACH, _N_NODES)
    return nodes, np.exp(-0.5 * nodes**2) / np.sqrt(2 * np.pi) * (nodes[1] - nodes[0])


def heteroscedastic_map_bias(correction: Callable[[Array], Array], y: Any) -> Array:
    r"""Compute E[g(Ŷ) − y | Y = y] on the heteroscedastic map, for any correction g, by quadrature.

    A correction may stand for the outcome in estimators of means when this is zero for every y. Up to first
    order it is for :math:`g(u) = u + u\,\sigma^2(u) - (\sigma^2)'(u)`.

    Parameters
    ----------
    correction : callable
        g, from an array of predictions to an array of the same shape.
    y : array-like of shape (q,)
        Outcomes at which to evaluate.

    Returns
    -------
    ndarray, shape (q,)

    Raises
    ------
    ValueError
        If ``correction`` changes the shape.

    References
    ----------
    Robbins (1956) and Efron (2011), doi:10.1198/jasa.2011.tm11181, for the identity with constant variance.

    Examples
    --------
    >>> from causalkit.datasets import heteroscedastic_map_bias
    >>> heteroscedastic_map_bias(lambda u: u, [0.0]).shape
    (1,)
    """
    outcomes = np.atleast_1d(np.asarray(y, dtype=np.float64))
    nodes, weights = _nodes()
    values = np.asarray(correction(nodes), dtype=np.float64)
    if values.shape != nodes.shape:
        raise ValueError(f"correction must keep the shape of its argument: expected {nodes.shape}, got {values.shape}.")
    variance = _error_variance(nodes)
    joint = weights / np.sqrt(variance) * np.exp(-((outcomes[:, None] - nodes) ** 2) / (2 * variance))
    return np.asarray(joint @ values / joint.sum(axis=1) - outcomes)


def _tilted_contrasts(tilt: float) -> tuple[float, float]:
    """True contrast of outcomes and of predictions when A ~ Bernoulli(logistic(tilt · Y / sd Y))."""
    nodes, weights = _nodes()
    noise, noise_weights = np.polynomial.hermite_e.hermegauss(101)
    y = nodes[:, None] + np.sqrt(_error_variance(nodes))[:, None] * noise
    joint = weights[:, None] * (noise_weights / noise_weights.sum())
    treated = joint * expit(tilt * y / np.sqrt(1 + _VARIANCE_MEAN))
    control = joint - treated

    def contrast(values: Array) -> float:
        return float((treated * values).sum() / treated.sum() - (control * values).sum() / control.sum())

    return contrast(y), contrast(np.broadcast_to(nodes[:, None], y.shape))


def make_heteroscedastic_map(
    *, tilt: float = 1.2, n_calibration: int = 2000, n_trial: int = 10_000, random_state: Any = None
) -> SimulatedMap:
    r"""Simulate predictions whose error is larger where they are larger.

    :math:`\hat Y \sim N(0, 1)`, :math:`Y = \hat Y + \sigma(\hat Y)\,N(0,1)` with
    :math:`\sigma^2(u) = .5 + .3\tanh u`, so Var Y = 1.5, the slope of predictions on outcomes is 2/3 and the
    mean error variance is .5. Trial rows come from the same population; they are treated with probability
    logistic(c Y / √1.5), c the tilt, so that arm and prediction are independent given the outcome. The true
    contrast and that of predictions are integrals over the joint density, by quadrature.

    Parameters
    ----------
    tilt : float, default=1.2
        How strongly treatment depends on the outcome; 0 makes the effect 0.
    n_calibration, n_trial : int, default=2000 and 10000
        Rows of the two samples.
    random_state : int, Generator, RandomState or None
        Draws in this order: calibration predictions, outcome noise; trial predictions, outcome noise, one
        uniform each for the arm.

    Returns
    -------
    SimulatedMap
        With arms of random size. ``population``: slope, noise_variance (mean), naive,
        linear_calibration.

    Raises
    ------
    ValueError
        If tilt is not finite or a size is below 2.

    References
    ----------
    Pettersson, Jerzak and Daoud (2025), arXiv:2508.01341, for the case of constant variance.

    Examples
    --------
    >>> from causalkit.datasets import make_heteroscedastic_map
    >>> sample = make_heteroscedastic_map(random_state=0)
    >>> sample.population["naive"] < sample.effect
    True
    """
    tilt = check_number(tilt, "tilt")
    n_calibration = check_integer(n_calibration, "n_calibration", low=2)
    n_trial = check_integer(n_trial, "n_trial", low=2)
    rng = as_generator(random_state)

    def draw(n: int) -> tuple[Array, Array]:
        predictions = rng.standard_normal(n)
        return predictions, predictions + np.sqrt(_error_variance(predictions)) * rng.standard_normal(n)

    calibration_predictions, calibration_y = draw(n_calibration)
    predictions, y = draw(n_trial)
    treatment = rng.random(n_trial) < expit(tilt * y / np.sqrt(1 + _VARIANCE_MEAN))
    effect, naive = _tilted_contrasts(tilt)
    slope = 1 / (1 + _VARIANCE_MEAN)
    return SimulatedMap(
        calibration_predictions=calibration_predictions,
        calibration_y=calibration_y,
        predictions=predictions,
        treatment=treatment.astype(np.int64),
        y=y,
        effect=effect,
        population=constants(slope=slope, noise_variance=_VARIANCE_MEAN, naive=naive, linear_calibration=naive / slope),
    )
