"""Data of the chapter, and the fits that its steps share."""

from __future__ import annotations

import warnings
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from causalkit.datasets import InterventionSample, make_intervention_curve
from causalkit.exceptions import ExtrapolationWarning
from causalkit.extrapolation import LinearInvarianceEncoder, Rep4Ex
from causalkit.extrapolation.uncertainty import CurveResult

__all__ = ["Study"]

Array = NDArray[np.float64]

_ROWS = 2500
_GRID = {1: np.linspace(-2.6, 2.6, 12), 2: np.linspace(-2.2, 2.2, 10)}


class Study:
    """Two experiments that differ in how far a dose moves the hidden variable; fits are made when first asked for.

    Parameters
    ----------
    random_state : int
        Seed of the simulation and of the fits.

    Attributes
    ----------
    weak, strong : InterventionSample
        A dose of 1 moves the hidden variable by one and by two standard deviations of its noise.
    """

    def __init__(self, random_state: int) -> None:
        self.random_state = random_state
        self.weak, self.strong = (
            make_intervention_curve(_ROWS, strength=strength, random_state=random_state) for strength in (1.0, 2.0)
        )

    @cached_property
    def weak_fit(self) -> Rep4Ex:
        """Fit of the weak doses."""
        return self._fit(self.weak)

    @cached_property
    def strong_fit(self) -> Rep4Ex:
        """Fit of the strong doses."""
        return self._fit(self.strong)

    @cached_property
    def weak_curve(self) -> CurveResult:
        """Curve, band and support of the weak doses on :meth:`grid`."""
        return self._curve(self.weak_fit, 1)

    @cached_property
    def strong_curve(self) -> CurveResult:
        """Curve, band and support of the strong doses on :meth:`grid`."""
        return self._curve(self.strong_fit, 2)

    @staticmethod
    def grid(strength: int) -> Array:
        """Doses of a curve, shape (m, 1)."""
        return np.asarray(_GRID[strength][:, None])

    def _curve(self, model: Rep4Ex, strength: int) -> CurveResult:
        with warnings.catch_warnings():
            # The figures shade what these warnings say.
            warnings.simplefilter("ignore", ExtrapolationWarning)
            return model.inference(self.grid(strength))

    def _fit(self, sample: InterventionSample) -> Rep4Ex:
        # One coordinate and one weight instead of "auto": seconds instead of half a minute.
        encoder = LinearInvarianceEncoder(n_components=1, n_basis=100)
        model = Rep4Ex(encoder=encoder, calibration=0.0, random_state=self.random_state)
        return model.fit(sample.actions, sample.y, features=sample.features)
