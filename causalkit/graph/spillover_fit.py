"""Fits with several residuals on arrays: residuals of every repeat, constant effects, scores, averages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causalkit.graph.final_models import Residuals
from causalkit.graph.inputs import NodeRows
from causalkit.graph.spillover_exposures import ExposureMoments
from causalkit.graph.spillover_inputs import ExposureSource
from causalkit.graph.spillover_moments import (
    constant_effects,
    floored_variance,
    orthogonal_scores,
    require_variation,
    residual_columns,
    residual_variance,
)

__all__ = ["ConstantFit", "SpilloverRepeat", "column_names", "constant_fit", "mean_scores", "spillover_repeat"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class SpilloverRepeat:
    """Residuals of one repeat of cross-fitting.

    Attributes
    ----------
    outcome : ndarray, shape (n,)
        Ỹ.
    propensity : ndarray, shape (n,)
        ê, clipped.
    columns : ndarray, shape (n, q)
        R.
    moments : ExposureMoments
        Of the rows.
    """

    outcome: Array
    propensity: Array
    columns: Array
    moments: ExposureMoments

    def residuals(self, scale: Array, weight: Array | None, groups: Rows | None) -> Residuals:
        """What the final stage is fitted on: columns of one size, so that one penalty serves all of them."""
        return Residuals(self.outcome, self.columns / scale, weight, groups, 1.0)


@dataclass(frozen=True, eq=False)
class ConstantFit:
    """Constant effects.

    Attributes
    ----------
    coef : ndarray, shape (q,)
        β̂, averaged over repeats.
    influence : ndarray, shape (n, q)
        Influence values on the scale of a mean, averaged likewise.
    spread : ndarray, shape (q,)
        Standard deviation of β̂ over repeats; 0 with a single one.
    """

    coef: Array
    influence: Array
    spread: Array


def column_names(exposures: tuple[str, ...], interaction: bool) -> tuple[str, ...]:
    """Names of the effects, direct first; exposures are named where there are several."""
    if len(exposures) == 1:
        return ("direct", "spillover", *(["interaction"] if interaction else []))
    products = [f"interaction_{name}" for name in exposures] if interaction else []
    return ("direct", *(f"spillover_{name}" for name in exposures), *products)


def spillover_repeat(
    source: ExposureSource, rows: NodeRows, outcome: Array, propensity: Array, *, interaction: bool, seed: int
) -> SpilloverRepeat:
    """Residuals of one repeat, after the check that each of them varies.

    Parameters
    ----------
    source : ExposureSource
        Exposures of the rows.
    rows : NodeRows
        Their treatments and weights.
    outcome : ndarray, shape (n,)
        Ỹ.
    propensity : ndarray, shape (n,)
        ê, clipped.
    interaction : bool
        Whether R holds the products.
    seed : int
        Seed of the draws for exposures that are functions.

    Raises
    ------
    IdentificationError
        The treatment or an exposure has no variation of its own.
    """
    treatment = rows.treatment.values
    moments = source.moments(treatment, propensity, seed)
    columns = residual_columns(treatment, propensity, moments.values, moments.mean, interaction=interaction)
    variance = residual_variance(propensity, moments.mean, moments.covariance, interaction=interaction)
    w = np.ones(rows.n_rows) if rows.weight is None else rows.weight
    names = _described(moments.names, interaction)
    raw = _raw_variance(treatment, moments.values, w, interaction)
    require_variation(np.einsum("n,nq,nr->qr", w, columns, columns) / len(w), names, raw)
    require_variation(np.einsum("n,nqr->qr", w, variance) / len(w), names, raw)
    return SpilloverRepeat(outcome, propensity, columns, moments)


def _described(exposures: tuple[str, ...], interaction: bool) -> tuple[str, ...]:
    words = tuple(f"the exposure {name!r}" for name in exposures)
    products = tuple(f"the product of treatment and exposure {name!r}" for name in exposures) if interaction else ()
    return ("the treatment", *words, *products)


def _raw_variance(treatment: Array, values: Array, w: Array, interaction: bool) -> Array:
    raw = np.column_stack([treatment, values, *([treatment[:, None] * values] if interaction else [])])
    centred = raw - np.average(raw, axis=0, weights=w)
    return np.asarray(np.average(centred**2, axis=0, weights=w))


def constant_fit(repeats: list[SpilloverRepeat], weight: Array | None) -> ConstantFit:
    """Least squares of Ỹ on R in every repeat, averaged."""
    fits = [constant_effects(one.columns, one.outcome, weight) for one in repeats]
    coefs = np.array([fit.coef for fit in fits])
    spread = coefs.std(axis=0, ddof=1) if len(fits) > 1 else np.zeros(coefs.shape[1])
    return ConstantFit(coefs.mean(axis=0), np.mean([fit.influence for fit in fits], axis=0), spread)


def mean_scores(repeats: list[SpilloverRepeat], effect: Array, *, interaction: bool, score_clip: float) -> Array:
    """Scores Γ of every row, averaged over repeats."""
    found = []
    for one in repeats:
        variance = floored_variance(
            one.propensity,
            one.moments.mean,
            one.moments.covariance,
            one.moments.unit,
            score_clip=score_clip,
            interaction=interaction,
        )
        found.append(orthogonal_scores(effect, one.columns, one.outcome, variance))
    return np.asarray(np.mean(found, axis=0))
