"""What every simulated design of this package returns, and how its randomness is set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SimulatedMap", "as_generator", "check_number", "constants", "two_arms"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SimulatedMap:
    """A calibration sample, a trial and the truth.

    Attributes
    ----------
    calibration_predictions, calibration_y : ndarray, shape (n_calibration,)
        Prediction and truth of the labelled rows.
    predictions : ndarray, shape (n,)
        Predictions of the trial rows.
    treatment : ndarray of int, shape (n,)
        Arm of the trial rows.
    y : ndarray, shape (n,)
        True outcome of the trial rows, which an analyst would not have.
    effect : float
        True effect of the treatment on the outcome.
    population : mapping of str to float
        Population values: ``"slope"`` (of prediction on outcome, k), and the limits of estimators where
        they are known, such as ``"naive"`` (contrast of predictions) and ``"linear_calibration"``.
    """

    calibration_predictions: NDArray[np.float64]
    calibration_y: NDArray[np.float64]
    predictions: NDArray[np.float64]
    treatment: NDArray[np.int64]
    y: NDArray[np.float64]
    effect: float
    population: Mapping[str, float]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(n_calibration={len(self.calibration_y)}, n={len(self.treatment)}, "
            f"effect={self.effect:g})"
        )

    def __getstate__(self) -> dict[str, Any]:
        # A read-only mapping cannot be pickled; its content can.
        return {**self.__dict__, "population": dict(self.population)}


def constants(**values: float) -> Mapping[str, float]:
    """Freeze named population values."""
    return MappingProxyType({name: float(value) for name, value in values.items()})


def as_generator(random_state: Any) -> np.random.Generator:
    """Return a numpy Generator from an int, a Generator, a RandomState or ``None``.

    A Generator is used as it is and moves on; the global state of numpy is never touched.

    Raises
    ------
    ValueError
        For anything else.
    """
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**31 - 1, size=4))
    is_seed = isinstance(random_state, int | np.integer) and not isinstance(random_state, bool) and random_state >= 0
    if random_state is None or is_seed:
        return np.random.default_rng(random_state)
    raise ValueError(
        f"random_state must be None, a non-negative integer, a Generator or a RandomState; got {random_state!r}."
    )


def check_number(value: Any, name: str, *, low: float = -math.inf, high: float = math.inf) -> float:
    """Check a finite number strictly between two limits.

    Raises
    ------
    ValueError
        If it is not a number, not finite, or not strictly between ``low`` and ``high``.
    """
    ok = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not ok or not math.isfinite(value) or not low < value < high:
        raise ValueError(f"{name} must be a finite number above {low:g} and below {high:g}; got {value!r}.")
    return float(value)


def two_arms(n_arm: int) -> NDArray[np.int64]:
    """Return ``n_arm`` zeros, then ``n_arm`` ones."""
    return np.repeat(np.array([0, 1], dtype=np.int64), n_arm)
