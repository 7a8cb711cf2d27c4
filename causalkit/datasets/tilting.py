"""Arms that depend on the outcome alone: a way to make a trial from data whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from causalkit.datasets.simulated_map import as_generator
from causalkit.exceptions import CalibrationError
from causalkit.validation import check_choice, check_vector

__all__ = ["TiltedArms", "tilt_arms"]


@dataclass(frozen=True, eq=False)
class TiltedArms:
    """Arms drawn by :func:`tilt_arms`.

    Attributes
    ----------
    treatment : ndarray of int, shape (n,)
        Arm of each row, 0 or 1.
    propensity : ndarray, shape (n,)
        P(Y), the probability of treatment.
    effect : float
        Σ P y / Σ P − Σ (1−P) y / Σ (1−P) over the population.
    """

    treatment: NDArray[np.int64]
    propensity: NDArray[np.float64]
    effect: float


def _propensity(y: NDArray[np.float64], population: NDArray[np.float64], design: str) -> NDArray[np.float64]:
    if design == "smooth":
        return np.asarray(expit(1.2 * (y - population.mean()) / population.std()))
    if design == "rich":
        return np.where(y > np.quantile(population, 0.85), 0.75, 0.25)
    return np.where(y < np.quantile(population, 0.25), 0.7, 0.3)


def tilt_arms(y: Any, *, design: str = "smooth", population: Any = None, random_state: Any = None) -> TiltedArms:
    r"""Draw treatment arms from a probability P(Y) that depends on the outcome alone.

    Given the outcome, arm and prediction are then independent, so the assumption behind corrections of
    predictions as outcomes holds by construction, with whatever error the real predictions have. The
    contrast that an estimator should return is

    .. math:: \tau = \frac{\sum P(y)\,y}{\sum P(y)} - \frac{\sum (1-P(y))\,y}{\sum (1-P(y))},

    both sums over the population. Tilting on the prediction instead would make the contrast of
    predictions right by construction and could rank no correction.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcomes of the rows to assign.
    design : {"smooth", "rich", "poor"}, default="smooth"
        ``"smooth"``: logistic(1.2 z), z the standardised outcome; ``"rich"``: .75 above the .85 quantile,
        else .25; ``"poor"``: .7 below the .25 quantile, else .3.
    population : array-like, optional
        Outcomes that set mean, standard deviation, quantiles and the true contrast; default ``y``.
    random_state : int, Generator, RandomState or None
        One uniform draw per row, in order.

    Returns
    -------
    TiltedArms
        ``treatment``, ``propensity`` of shape (n,), and ``effect``.

    Raises
    ------
    ValueError
        If outcomes are not finite or ``design`` is unknown.
    CalibrationError
        If the population is constant.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.datasets import tilt_arms
    >>> arms = tilt_arms(np.arange(100.0), design="poor", random_state=0)
    >>> round(arms.effect, 3)
    -15.625
    """
    check_choice(design, "design", ("smooth", "rich", "poor"))
    outcomes = check_vector(y, "y")
    reference = outcomes if population is None else check_vector(population, "population")
    if np.ptp(reference) == 0:
        raise CalibrationError("y is constant: arms that depend on it cannot be made. Pass outcomes that vary.")
    propensity = _propensity(outcomes, reference, design)
    everywhere = _propensity(reference, reference, design)
    effect = np.average(reference, weights=everywhere) - np.average(reference, weights=1 - everywhere)
    treatment = (as_generator(random_state).random(len(outcomes)) < propensity).astype(np.int64)
    return TiltedArms(treatment, propensity, float(effect))
