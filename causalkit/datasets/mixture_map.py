"""A map with several modes, whose truth is known by quadrature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from causalkit.datasets.simulated_map import SimulatedMap, as_generator, check_number, constants, two_arms
from causalkit.validation import check_integer

__all__ = [
    "MixtureMapTruth",
    "make_mixture_map",
    "mixture_map_truth",
]

Array = NDArray[np.float64]

_WEIGHTS = np.array([0.64, 0.16, 0.16, 0.04])
_MEANS = np.array([5.0, 7.2, 13.0, 14.2])
_SDS = np.array([1.0, 2.0, 4.0, 5.0])
_ARM_OF_COMPONENT = np.array([0, 1, 0, 1])
_N_NODES = 20_001


def _log_components(x: Array, extra_variance: float) -> Array:
    """Log of weight times normal density of each component, after adding independent noise: (n, 4)."""
    variance = _SDS**2 + extra_variance
    return np.asarray(
        np.log(_WEIGHTS) - 0.5 * np.log(2 * np.pi * variance) - (x[..., None] - _MEANS) ** 2 / (2 * variance)
    )


def _mixture_score(x: Array, extra_variance: float) -> Array:
    """Derivative of the log density, by posterior weights, which stay exact far into the tails."""
    logs = _log_components(x, extra_variance)
    posterior = np.exp(logs - logsumexp(logs, axis=-1, keepdims=True))
    return np.asarray((posterior * (_MEANS - x[..., None]) / (_SDS**2 + extra_variance)).sum(axis=-1))


@dataclass(frozen=True)
class MixtureMapTruth:
    """Population values of :func:`make_mixture_map`.

    Attributes
    ----------
    sigma : float
        Standard deviation of the outcome given the prediction.
    mean, variance : float
        Of the predictions.
    slope : float
        k = V / (V + σ²).
    fisher_information : float
        ∫ p′² / p of the density p of the predictions.
    effect, naive, linear_calibration, tweedie : float
        Truth, and the limits of the contrast of predictions, of that divided by k, and of Tweedie's
        correction.
    variance_linear_calibration, variance_tweedie : float
        Population variance of the corrected predictions: V + 2σ² + σ⁴/V and V + 2σ² + σ⁴ I(p).
    """

    sigma: float
    mean: float
    variance: float
    slope: float
    fisher_information: float
    effect: float
    naive: float
    linear_calibration: float
    tweedie: float
    variance_linear_calibration: float
    variance_tweedie: float

    def score(self, predictions: Any) -> Array:
        """(log p)′ at each prediction, same shape."""
        return _mixture_score(np.asarray(predictions, dtype=np.float64), 0.0)

    def correction(self, predictions: Any) -> Array:
        """Tweedie's correction ŷ − σ² (log p)′(ŷ), same shape."""
        values = np.asarray(predictions, dtype=np.float64)
        return values - self.sigma**2 * _mixture_score(values, 0.0)

    def conditional_mean(self, y: Any) -> Array:
        """E[Ŷ | Y = y] = y + σ² (log p_Y)′(y), same shape."""
        values = np.asarray(y, dtype=np.float64)
        return values + self.sigma**2 * _mixture_score(values, self.sigma**2)


def mixture_map_truth(sigma: float) -> MixtureMapTruth:
    r"""Compute the population values of the mixture map by quadrature.

    With :math:`\hat Y \sim p = \sum_c w_c N(\mu_c, s_c^2)` and :math:`Y = \hat Y + N(0, \sigma^2)`,
    :math:`E[\hat Y \mid Y] = Y + \sigma^2 (\log p_Y)'(Y)`. The contrast of predictions is the integral of
    this against the difference of the arms' densities of Y, and Tweedie's correction, whose conditional
    mean is Y, has the true contrast. The integrands are smooth and vanish at both ends, so the trapezoid
    rule converges exponentially.

    Parameters
    ----------
    sigma : float
        Standard deviation of the outcome given the prediction, positive.

    Returns
    -------
    MixtureMapTruth

    Raises
    ------
    ValueError
        If sigma is not a positive finite number.

    References
    ----------
    Pettersson, Jerzak and Daoud (2025), arXiv:2508.01341: Tweedie's correction of shrunken predictions.

    Examples
    --------
    >>> from causalkit.datasets import mixture_map_truth
    >>> round(mixture_map_truth(3.0).naive, 6)
    1.060544
    """
    sigma = check_number(sigma, "sigma", low=0)
    mean = float(_WEIGHTS @ _MEANS)
    variance = float(_WEIGHTS @ (_SDS**2 + (_MEANS - mean) ** 2))
    slope = variance / (variance + sigma**2)
    reach = 14 * float(np.sqrt(_SDS.max() ** 2 + sigma**2))
    nodes = np.linspace(_MEANS.min() - reach, _MEANS.max() + reach, _N_NODES)
    step = nodes[1] - nodes[0]
    density = np.exp(_log_components(nodes, 0.0)).sum(axis=-1)
    fisher = float(step * (density * _mixture_score(nodes, 0.0) ** 2).sum())
    components = np.exp(_log_components(nodes, sigma**2))
    treated = _ARM_OF_COMPONENT == 1
    contrast = components[:, treated].sum(axis=1) / _WEIGHTS[treated].sum()
    contrast = contrast - components[:, ~treated].sum(axis=1) / _WEIGHTS[~treated].sum()
    effect = float(step * (contrast * nodes).sum())
    naive = effect + float(step * sigma**2 * (contrast * _mixture_score(nodes, sigma**2)).sum())
    return MixtureMapTruth(
        sigma=sigma,
        mean=mean,
        variance=variance,
        slope=slope,
        fisher_information=fisher,
        effect=effect,
        naive=naive,
        linear_calibration=naive / slope,
        tweedie=effect,
        variance_linear_calibration=variance + 2 * sigma**2 + sigma**4 / variance,
        variance_tweedie=variance + 2 * sigma**2 + sigma**4 * fisher,
    )


def _draw_arm(arm: int, n: int, sigma: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Outcomes of one arm, then predictions from their law given the outcome in the whole population."""
    own = np.flatnonzero(arm == _ARM_OF_COMPONENT)
    component = rng.choice(own, size=n, p=_WEIGHTS[own] / _WEIGHTS[own].sum())
    y = _MEANS[component] + np.sqrt(_SDS[component] ** 2 + sigma**2) * rng.standard_normal(n)
    logs = _log_components(y, sigma**2)
    cumulative = np.exp(logs - logsumexp(logs, axis=1, keepdims=True)).cumsum(axis=1)
    # Rounding may leave the last cumulative weight just below 1, hence the bound on the index.
    source = np.minimum((rng.random(n)[:, None] > cumulative).sum(axis=1), len(_WEIGHTS) - 1)
    total = _SDS[source] ** 2 + sigma**2
    centre = (_MEANS[source] * sigma**2 + y * _SDS[source] ** 2) / total
    spread = _SDS[source] * sigma / np.sqrt(total)
    return y, centre + spread * rng.standard_normal(n)


def make_mixture_map(
    *, sigma: float = 3.0, n_calibration: int = 2000, n_arm: int = 5000, random_state: Any = None
) -> SimulatedMap:
    r"""Simulate a map with several modes, on which a straight line corrects only part of the bias.

    :math:`\hat Y \sim \sum_c w_c N(\mu_c, s_c^2)` with w = (.64, .16, .16, .04), μ = (5, 7.2, 13, 14.2),
    s = (1, 2, 4, 5), and :math:`Y = \hat Y + N(0, \sigma^2)`. In the trial, outcomes of the treated come from
    components 2 and 4, those of controls from 1 and 3; predictions are then drawn from their law given the
    outcome in the whole population, whatever the arm. Hence the effect is 2, and the treatment moves the
    prediction only through the outcome.

    Parameters
    ----------
    sigma : float, default=3.0
        Standard deviation of the outcome given the prediction.
    n_calibration, n_arm : int, default=2000 and 5000
        Calibration rows; trial rows per arm (controls first).
    random_state : int, Generator, RandomState or None
        Draws in this order: calibration components, predictions, outcome noise; then for controls and
        after them for the treated: components of the outcome, outcomes, components of the prediction
        (one uniform each), predictions.

    Returns
    -------
    SimulatedMap
        ``population``: slope, noise_variance, naive, linear_calibration, tweedie; more in
        :func:`mixture_map_truth`.

    Raises
    ------
    ValueError
        If sigma is not positive or a size is below 2.

    References
    ----------
    Pettersson, Jerzak and Daoud (2025), arXiv:2508.01341.

    Examples
    --------
    >>> from causalkit.datasets import make_mixture_map
    >>> sample = make_mixture_map(sigma=2.0, random_state=0)
    >>> sample.predictions.shape
    (10000,)
    """
    truth = mixture_map_truth(sigma)
    n_calibration = check_integer(n_calibration, "n_calibration", low=2)
    n_arm = check_integer(n_arm, "n_arm", low=2)
    rng = as_generator(random_state)
    component = rng.choice(len(_WEIGHTS), size=n_calibration, p=_WEIGHTS)
    calibration_predictions = _MEANS[component] + _SDS[component] * rng.standard_normal(n_calibration)
    calibration_y = calibration_predictions + truth.sigma * rng.standard_normal(n_calibration)
    arms = [_draw_arm(arm, n_arm, truth.sigma, rng) for arm in (0, 1)]
    return SimulatedMap(
        calibration_predictions=calibration_predictions,
        calibration_y=calibration_y,
        predictions=np.concatenate([predictions for _, predictions in arms]),
        treatment=two_arms(n_arm),
        y=np.concatenate([y for y, _ in arms]),
        effect=truth.effect,
        population=constants(
            slope=truth.slope,
            noise_variance=truth.sigma**2,
            naive=truth.naive,
            linear_calibration=truth.linear_calibration,
            tweedie=truth.tweedie,
        ),
    )
