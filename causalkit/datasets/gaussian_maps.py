"""Designs whose every truth is a closed form: Gaussian outcomes and predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.datasets.simulated_map import SimulatedMap, as_generator, check_number, constants, two_arms
from causalkit.validation import check_integer

__all__ = ["DifferentialMap", "make_differential_map", "make_gaussian_map", "make_surrogacy_map"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DifferentialMap(SimulatedMap):
    """A simulated map whose calibration rows have a treatment too.

    Attributes
    ----------
    calibration_treatment : ndarray of int, shape (n_calibration,)
        Arm of the calibration rows.
    """

    calibration_treatment: NDArray[np.int64]


def make_gaussian_map(
    *,
    k: float = 0.5,
    tau: float = 1.0,
    n_calibration: int = 1000,
    n_arm: int = 1000,
    random_state: Any = None,
) -> SimulatedMap:
    r"""Simulate a jointly normal outcome and prediction, shrunk by the factor k.

    Calibration: :math:`Y \sim N(0, 1)`, :math:`\hat Y \mid Y \sim N(kY, k(1-k))`, which is a least-squares
    predictor with squared correlation k. Trial: :math:`Y \mid A \sim N(\tau A, 1)`, the same law of
    :math:`\hat Y \mid Y`. Hence the contrast of predictions is kτ, dividing it by k gives τ, and quantile
    mapping gives √k·τ.

    Parameters
    ----------
    k : float, default=0.5
        Slope of the prediction on the outcome, between 0 and 1.
    tau : float, default=1.0
        True effect.
    n_calibration, n_arm : int, default=1000
        Calibration rows; trial rows per arm (controls first).
    random_state : int, Generator, RandomState or None
        Draws in this order, all standard normal: calibration outcomes, their noise, trial outcomes of
        both arms, their noise.

    Returns
    -------
    SimulatedMap
        ``population``: slope, berkson_slope, noise_variance (of the outcome given the prediction), naive,
        linear_calibration, quantile_map.

    Raises
    ------
    ValueError
        If k is not between 0 and 1, tau is not finite, or a size is below 2.

    References
    ----------
    Pettersson, Jerzak and Daoud (2025), arXiv:2508.01341, on shrunken predictions. Nab et al. (2021),
    doi:10.1016/j.cmpb.2021.106238, on systematic error in an outcome.

    Examples
    --------
    >>> from causalkit.datasets import make_gaussian_map
    >>> sample = make_gaussian_map(k=0.5, tau=2.0, random_state=0)
    >>> sample.population["naive"], sample.effect
    (1.0, 2.0)
    """
    k = check_number(k, "k", low=0, high=1)
    tau = check_number(tau, "tau")
    n_calibration = check_integer(n_calibration, "n_calibration", low=2)
    n_arm = check_integer(n_arm, "n_arm", low=2)
    rng = as_generator(random_state)
    noise = math.sqrt(k * (1 - k))
    calibration_y = rng.standard_normal(n_calibration)
    calibration_predictions = k * calibration_y + noise * rng.standard_normal(n_calibration)
    treatment = two_arms(n_arm)
    y = tau * treatment + rng.standard_normal(2 * n_arm)
    predictions = k * y + noise * rng.standard_normal(2 * n_arm)
    return SimulatedMap(
        calibration_predictions=calibration_predictions,
        calibration_y=calibration_y,
        predictions=predictions,
        treatment=treatment,
        y=y,
        effect=tau,
        population=constants(
            slope=k,
            berkson_slope=1.0,
            noise_variance=1 - k,
            naive=k * tau,
            linear_calibration=tau,
            quantile_map=math.sqrt(k) * tau,
        ),
    )


def _sample_with_shift(
    *,
    intercept: float,
    slope: float,
    shift: float,
    noise: float,
    tau: float,
    calibration_effect: float,
    n_calibration: int,
    n_arm: int,
    random_state: Any,
) -> dict[str, Any]:
    """Draw Ŷ = intercept + slope Y + shift A + noise N(0, 1) in both samples, A known in both."""
    n_calibration = check_integer(n_calibration, "n_calibration", low=4)
    n_arm = check_integer(n_arm, "n_arm", low=2)
    rng = as_generator(random_state)
    arms = np.arange(n_calibration, dtype=np.int64) % 2
    calibration_y = calibration_effect * arms + rng.standard_normal(n_calibration)
    treatment = two_arms(n_arm)

    def predict(y: NDArray[np.float64], a: NDArray[np.int64]) -> NDArray[np.float64]:
        return intercept + slope * y + shift * a + noise * rng.standard_normal(len(y))

    calibration_predictions = predict(calibration_y, arms)
    y = tau * treatment + rng.standard_normal(2 * n_arm)
    return {
        "calibration_predictions": calibration_predictions,
        "calibration_y": calibration_y,
        "calibration_treatment": arms,
        "predictions": predict(y, treatment),
        "treatment": treatment,
        "y": y,
        "effect": tau,
    }


def make_differential_map(
    *,
    shift: float = 0.2,
    tau: float = 1.0,
    calibration_effect: float = 0.3,
    n_calibration: int = 1000,
    n_arm: int = 2000,
    random_state: Any = None,
) -> DifferentialMap:
    r"""Simulate a treatment that moves the prediction by itself, not only through the outcome.

    :math:`\hat Y = .1 + .6\,Y + \delta A + .4\,N(0,1)` in both samples; :math:`Y \mid A \sim N(.3A, 1)` in the
    calibration sample, :math:`N(\tau A, 1)` in the trial. The contrast of predictions is :math:`.6\tau + \delta`,
    so that :math:`\tau = (\tau_{naive} - \delta)/.6`. A calibration line fitted on all calibration rows has
    slope :math:`.6 + \delta\,c/(4 + c^2)`, c the calibration effect; its value for the effect is
    ``population["linear_calibration"]``.

    Parameters
    ----------
    shift : float, default=0.2
        Direct effect δ of the treatment on the prediction.
    tau : float, default=1.0
        True effect in the trial.
    calibration_effect : float, default=0.3
        Difference of mean outcomes between the arms of the calibration sample.
    n_calibration, n_arm : int, default=1000 and 2000
        Calibration rows (arms alternate, control first); trial rows per arm (controls first).
    random_state : int, Generator, RandomState or None
        Draws in this order, all standard normal: calibration outcomes, their noise, trial outcomes, their
        noise.

    Returns
    -------
    DifferentialMap
        With ``calibration_treatment``. ``population``: intercept, slope (given the arm), shift, naive,
        linear_calibration.

    Raises
    ------
    ValueError
        If a number is not finite or a size is too small.

    References
    ----------
    Nab et al. (2021), doi:10.1016/j.cmpb.2021.106238: differential measurement error in an outcome.

    Examples
    --------
    >>> from causalkit.datasets import make_differential_map
    >>> sample = make_differential_map(random_state=0)
    >>> round(sample.population["naive"], 12)
    0.8
    """
    shift = check_number(shift, "shift")
    tau = check_number(tau, "tau")
    c = check_number(calibration_effect, "calibration_effect")
    slope = 0.6
    drawn = _sample_with_shift(
        intercept=0.1,
        slope=slope,
        shift=shift,
        noise=0.4,
        tau=tau,
        calibration_effect=c,
        n_calibration=n_calibration,
        n_arm=n_arm,
        random_state=random_state,
    )
    naive = slope * tau + shift
    # Cov(A, Y) = c/4 and Var Y = 1 + c^2/4 with balanced arms.
    pooled = slope + shift * c / (4 + c**2)
    population = constants(intercept=0.1, slope=slope, shift=shift, naive=naive, linear_calibration=naive / pooled)
    return DifferentialMap(**drawn, population=population)


def make_surrogacy_map(
    *,
    k: float = 0.6,
    tau: float = 0.8,
    n_calibration: int = 1000,
    n_arm: int = 2000,
    random_state: Any = None,
) -> DifferentialMap:
    r"""Simulate a treatment that moves the outcome only through what the predictor sees.

    :math:`\hat Y \mid A \sim N(\tau A, k)` and :math:`Y = \hat Y + N(0, 1-k)`, in both samples. Given the
    prediction, outcome and arm are independent, so the contrast of predictions is τ and needs no
    correction; dividing it by the slope k among untreated rows inflates it to τ/k. Given the outcome,
    :math:`E[\hat Y \mid Y, A] = kY + (1-k)\tau A`: the same map, seen as one with a direct effect
    :math:`\delta = (1-k)\tau` of the treatment on the prediction.

    Parameters
    ----------
    k : float, default=0.6
        Slope of the prediction on the outcome within an arm, between 0 and 1.
    tau : float, default=0.8
        True effect, and the shift of the predictions.
    n_calibration, n_arm : int, default=1000 and 2000
        Calibration rows (arms alternate, control first); trial rows per arm (controls first).
    random_state : int, Generator, RandomState or None
        Draws in this order, all standard normal: calibration outcomes, the noise of their predictions
        given the outcome, trial outcomes, their noise.

    Returns
    -------
    DifferentialMap
        With ``calibration_treatment``. ``population``: slope (given the arm), shift, naive,
        linear_calibration (line fitted on untreated calibration rows).

    Raises
    ------
    ValueError
        If k is not between 0 and 1, tau is not finite, or a size is too small.

    References
    ----------
    Prentice (1989), Statistics in Medicine 8:431-440: surrogate endpoints. Pettersson, Jerzak and Daoud
    (2025), arXiv:2508.01341: the opposite assumption.

    Examples
    --------
    >>> from causalkit.datasets import make_surrogacy_map
    >>> sample = make_surrogacy_map(random_state=0)
    >>> round(sample.population["linear_calibration"], 3)
    1.333
    """
    k = check_number(k, "k", low=0, high=1)
    tau = check_number(tau, "tau")
    shift = (1 - k) * tau
    drawn = _sample_with_shift(
        intercept=0.0,
        slope=k,
        shift=shift,
        noise=math.sqrt(k * (1 - k)),
        tau=tau,
        calibration_effect=tau,
        n_calibration=n_calibration,
        n_arm=n_arm,
        random_state=random_state,
    )
    population = constants(slope=k, shift=shift, naive=tau, linear_calibration=tau / k)
    return DifferentialMap(**drawn, population=population)
