"""Section 3: which directions the augmentation moves, the confounding that its invariance implies, and bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from causalkit.augmentation import AugmentationDiagnostics, IVLikeRegressor
from causalkit.demo.augmentation.small_design import SmallDesign
from causalkit.demo.content import Figure, Section, Table
from causalkit.plotting import AugmentationDiagnosticsDisplay

__all__ = ["section", "split_error"]

Array = NDArray[np.float64]

_ALPHAS = (np.inf, 1.0, 0.1, 0.001)
_ABOVE = 0.2  # how far the assumed limit lies above the true share, on the way to 1
_TOO_LITTLE = 0.5  # of the share that is needed: a limit that contradicts the invariance


def section(small: SmallDesign) -> Section:
    """Diagnostics of the small draw, errors along moved and untouched directions, bounds at the true share."""
    model = IVLikeRegressor(alpha=small.alpha, augmentation=small.shift, random_state=0).fit(small.X, small.y)
    found = model.diagnostics()
    needed = float(found.breakdown["confounding_needed"].iloc[0])
    errors = _errors(small, model, found)
    limit = small.r2 + _ABOVE * (1 - small.r2)
    bounds = _bounds(small, model, limit)
    return Section(
        title="Moved and untouched directions",
        text=(
            "A shift says something about the directions that it moves and nothing about the others. The pairs show "
            "which is which without noise. If the invariance holds, the distance between least squares with and "
            "without it must come from confounding: the breakdown value is the smallest share of the outcome's noise "
            "that the features must then explain. Whoever can name a largest share gets bounds."
        ),
        tables=(
            Table(
                "Error in the norm of Σ_X, split by direction (truth known)",
                errors,
                "untouched: along directions that the shift leaves as they are. In the population that "
                "column is the same in every row.",
            ),
            Table(
                f"Bounds if confounding explains at most {limit:.2f} of the noise (in truth {small.r2:.2f})",
                bounds,
                "Plug-in bounds, without sampling error; n_bootstrap= adds standard errors of both ends. alone: the "
                "same limit without the invariance. Both are this library's derivation.",
            ),
        ),
        figures=(_figure(model),),
        readings=tuple(_readings(found, errors, bounds, needed, small, model)),
    )


def split_error(error: Array, covariance: Array, untouched: Array) -> tuple[float, float]:
    """Length of an error along the moved and the untouched directions, in the norm of the covariance.

    Parameters
    ----------
    error : ndarray, shape (p,)
        Coefficients less the truth.
    covariance : ndarray, shape (p, p)
        Σ_X.
    untouched : ndarray, shape (p, s)
        Basis N of the untouched directions; the part along them is the orthogonal projection in the norm of Σ_X.

    Returns
    -------
    tuple of float
        Moved and untouched; their squares add up to error'Σ_X error.
    """
    weighted = untouched.T @ covariance
    inside = untouched @ np.linalg.solve(weighted @ untouched, weighted @ error)
    moved, kept = error - inside, inside
    return float(np.sqrt(moved @ covariance @ moved)), float(np.sqrt(kept @ covariance @ kept))


def _errors(small: SmallDesign, model: IVLikeRegressor, found: AugmentationDiagnostics) -> pd.DataFrame:
    plain = IVLikeRegressor().fit(small.X, small.y)
    fits = {"least squares": plain.coef_}
    fits |= {
        f"from pairs, α = {'∞' if np.isinf(alpha) else f'{alpha:g}'}": coef
        for alpha, coef in zip(_ALPHAS, model.path(_ALPHAS).coef, strict=True)
    }
    rows = []
    for name, coef in fits.items():
        moved, kept = split_error(coef - small.effect, small.covariance, found.untouched)
        rows.append({"fit": name, "moved": moved, "untouched": kept})
    return pd.DataFrame(rows)


def _bounds(small: SmallDesign, model: IVLikeRegressor, limit: float) -> pd.DataFrame:
    frame = model.bounds(limit).to_frame()
    lower, upper = frame["lower"].to_numpy(), frame["upper"].to_numpy()
    return pd.DataFrame(
        {
            "feature": list(frame.index),
            "truth": small.effect,
            "lower": lower,
            "upper": upper,
            "lower, alone": frame["lower_without_invariance"].to_numpy(),
            "upper, alone": frame["upper_without_invariance"].to_numpy(),
            "holds the effect": (lower <= small.effect) & (small.effect <= upper),
        }
    )


def _figure(model: IVLikeRegressor) -> Figure:
    def draw(canvas: Any) -> None:
        AugmentationDiagnosticsDisplay.from_estimator(model, ax=canvas.subplots(1, 3))

    return Figure(
        "augmentation-diagnostics",
        "Variance that the drawn shift explains in each feature; how far each direction is moved; and the width of the "
        "bounds on a coefficient against the assumed share of confounding, with the infeasible part shaded.",
        draw,
        (11.0, 4.2),
    )


def _readings(
    found: AugmentationDiagnostics,
    errors: pd.DataFrame,
    bounds: pd.DataFrame,
    needed: float,
    small: SmallDesign,
    model: IVLikeRegressor,
) -> Iterator[str]:
    yield from (f"{note[0].upper()}{note[1:]}." for note in found.notes)
    first, last = errors.iloc[0], errors.iloc[-1]
    yield (
        f"From least squares to α = {_ALPHAS[-1]:g} the error along the moved directions goes from "
        f"{first['moved']:.2f} to {last['moved']:.2f}, along the untouched ones from {first['untouched']:.2f} to "
        f"{last['untouched']:.2f}."
    )
    held, exact = (int(table["holds the effect"].sum()) for table in (bounds, _bounds(small, model, small.r2)))
    yield (
        f"{held} of {len(bounds)} bounds hold the effect; with the limit exactly at the true share it is {exact}: "
        "the effect then lies on the edge of what is possible, and sampling error, which is left out, can push it over."
    )
    little = model.bounds(_TOO_LITTLE * needed)
    if not little.feasible:
        yield (
            f"At most {little.r2_max:.2f} contradicts the invariance: the library returns no bounds, and names "
            f"{little.r2_needed:.2f}."
        )
