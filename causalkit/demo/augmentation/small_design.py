"""A small confounded design of which every population quantity is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causalkit.augmentation.augmenters import NullSpaceShift
from causalkit.datasets import make_linear_augmentation

__all__ = ["SmallDesign", "draw_small_design"]

Array = NDArray[np.float64]

_ROWS, _FEATURES = 1500, 6
_KEEP = 0.6
_NOISE_SD = 2.0


@dataclass(frozen=True, eq=False)
class SmallDesign:
    """Rows, the known shift, and the truth behind them.

    Attributes
    ----------
    X : DataFrame, shape (n, p)
        Features.
    y : ndarray, shape (n,)
        Outcome.
    shift : NullSpaceShift
        Augmentation that leaves the outcome alone.
    effect : ndarray, shape (p,)
        f.
    covariance : ndarray, shape (p, p)
        Of a row of X.
    least_squares : ndarray, shape (p,)
        What least squares converges to.
    pseudo_true : ndarray, shape (p,)
        What the fit at ``alpha`` converges to.
    alpha : float
        Distrust of the fit that is shown.
    r2 : float
        Share of the outcome's noise that the features explain.
    """

    X: pd.DataFrame
    y: Array
    shift: NullSpaceShift
    effect: Array
    covariance: Array
    least_squares: Array
    pseudo_true: Array
    alpha: float
    r2: float


def draw_small_design(random_state: int, alpha: float = 0.1) -> SmallDesign:
    """Draw the linear design with six features, some known null directions, and more noise in the outcome.

    The added noise is independent of everything else, so that neither the effect nor any limit changes; without it
    the features of this design explain nearly all of the outcome's noise.
    """
    drawn = make_linear_augmentation(_ROWS, _FEATURES, keep_probability=_KEEP, random_state=random_state)
    noise = _NOISE_SD * np.random.default_rng([random_state, 1]).standard_normal(_ROWS)
    xi = drawn.y + noise - drawn.X @ drawn.coef
    explained = float(drawn.confounding_vector @ np.linalg.solve(drawn.covariance, drawn.confounding_vector))
    return SmallDesign(
        X=pd.DataFrame(drawn.X, columns=[f"x{j + 1}" for j in range(_FEATURES)]),
        y=drawn.y + noise,
        shift=NullSpaceShift(drawn.basis),
        effect=drawn.coef,
        covariance=drawn.covariance,
        least_squares=drawn.least_squares_coef,
        pseudo_true=drawn.population_coef(alpha),
        alpha=alpha,
        r2=explained / float(xi.var()),
    )
