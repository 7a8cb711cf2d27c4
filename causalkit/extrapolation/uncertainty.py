"""Intervals of dose curves: influence values, resampled second stages, and whole refits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from causalkit.exceptions import MethodNotApplicableError
from causalkit.extrapolation.curve_part import CurvePart, fit_curve_part
from causalkit.extrapolation.curve_rows import CurveRows, CurveSettings
from causalkit.extrapolation.do_curve import do_mean_influence
from causalkit.extrapolation.encoder import LinearInvarianceEncoder
from causalkit.extrapolation.rep4ex_fit import encoded, fit_encoder, stage_of
from causalkit.extrapolation.second_stage import SplineControlFunction
from causalkit.inference import InferenceResult
from causalkit.validation import Groups

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CurveResult", "EnsembleCurve", "bootstrap_curve", "influence_curve", "refitted_curves"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

GIVEN = "given the learnt representation; encoder error not included"
NOT_COVERED = "bias of an encoder that is not affine is not covered"


@dataclass(frozen=True, eq=False, kw_only=True)
class CurveResult(InferenceResult):
    """A dose curve with its intervals.

    Attributes
    ----------
    support : DataFrame
        How far the data reach for every action, see :meth:`Rep4Ex.support`.
    """

    support: pd.DataFrame | None = None

    def summary(self, confidence_level: float = 0.95) -> pd.DataFrame:
        """Estimates with intervals, and the flag of the support of every action."""
        table = super().summary(confidence_level)
        if self.support is not None and len(self.support) == len(table):
            table["support"] = self.support["flag"].to_numpy()
        return table


@dataclass(frozen=True, eq=False, kw_only=True)
class EnsembleCurve(CurveResult):
    """A dose curve from refits of encoder and second stage.

    Attributes
    ----------
    curves : ndarray, shape (n_encoders, n_bootstrap, m)
        Curves of every draw.
    parts : DataFrame
        Variance between encoders and within them, per action.
    """

    curves: Array | None = None
    parts: pd.DataFrame | None = None

    def conf_int(self, confidence_level: float = 0.95, joint: bool = False) -> pd.DataFrame:
        """Quantiles of the curves; a joint band from the covariance."""
        if joint or self.curves is None:
            return super().conf_int(confidence_level, joint)
        import pandas as pd

        tail = (1 - confidence_level) / 2
        flat = self.curves.reshape(-1, self.curves.shape[-1])
        low, high = np.quantile(flat, [tail, 1 - tail], axis=0)
        return pd.DataFrame({"lower": low, "upper": high}, index=list(self.names))


def influence_curve(
    parts: list[CurvePart],
    rows_of: list[Rows],
    y: Array,
    observed: Array,
    actions: Array,
    groups: Groups | None,
    names: list[str],
    support: Any,
) -> CurveResult:
    """Curve with influence values, averaged over the parts of a cross-fit."""
    n, total = len(y), sum(len(rows) for rows in rows_of)
    influence = np.zeros((n, len(actions)))
    estimate = np.zeros(len(actions))
    for part, rows in zip(parts, rows_of, strict=True):
        if not isinstance(part.outcome_model, SplineControlFunction):
            raise ValueError(
                f'method="influence" needs a spline second stage, got {type(part.outcome_model).__name__}: use '
                'method="bootstrap", or outcome_model=SplineControlFunction().'
            )
        # A part's mean has n/n_part times the influence on its own rows, and weight n_part/total in the average; with
        # repetitions every row is in several parts.
        influence[rows] += (n / total) * do_mean_influence(
            part.outcome_model.fit_,
            part.phi,
            part.residual,
            y[rows],
            observed[rows],
            part.action_matrix,
            actions,
            part.weight,
        )
        estimate += part.do_mean(actions) * len(rows) / total
    plain = InferenceResult.from_influence(estimate, influence, names=names, groups=groups)
    return CurveResult(
        estimate=plain.estimate,
        cov=plain.cov,
        names=plain.names,
        n_obs=n,
        influence_values=plain.influence_values,
        groups=plain.groups,
        df=plain.df,
        dependence=f"{plain.dependence}; {GIVEN}; {NOT_COVERED}",
        support=support,
    )


def resampled_curves(
    part: CurvePart, y: Array, observed: Array, actions: Array, units: Rows, n_bootstrap: int, rng: np.random.Generator
) -> Array:
    """Curves of second stages on resampled rows (or clusters), with the smoothing held, shape (B, m)."""
    labels = np.unique(units)
    members = [np.flatnonzero(units == label) for label in labels] if len(labels) < len(units) else None
    model = part.outcome_model
    if isinstance(model, SplineControlFunction):
        model = clone(model).set_params(smoothing=part.outcome_model.smoothing_)
    curves = np.empty((n_bootstrap, len(actions)))
    for draw in range(n_bootstrap):
        chosen = rng.integers(len(labels), size=len(labels))
        rows = chosen if members is None else np.concatenate([members[j] for j in chosen])
        weight = None if part.weight is None else part.weight[rows]
        fitted = fit_curve_part(part.phi[rows], observed[rows], y[rows], weight, clone(model))
        curves[draw] = fitted.do_mean(actions)
    return curves


def bootstrap_curve(
    parts: list[CurvePart],
    rows_of: list[Rows],
    y: Array,
    observed: Array,
    actions: Array,
    groups: Groups | None,
    names: list[str],
    support: Any,
    n_bootstrap: int,
    seed: int,
) -> CurveResult:
    """Curve with the covariance of resampled second stages, the representation held."""
    n, total = len(y), sum(len(rows) for rows in rows_of)
    rng = np.random.default_rng(seed)
    estimate, covariance = np.zeros(len(actions)), np.zeros((len(actions), len(actions)))
    for part, rows in zip(parts, rows_of, strict=True):
        units = np.arange(len(rows)) if groups is None else groups.codes[rows]
        curves = resampled_curves(part, y[rows], observed[rows], actions, units, n_bootstrap, rng)
        share = len(rows) / total
        estimate += share * part.do_mean(actions)
        # Parts of one repetition are independent; repetitions count as one, since they share their rows.
        covariance += share**2 * max(total / n, 1.0) * np.atleast_2d(np.cov(curves.T))
    what = "rows" if groups is None else f"{groups.n_groups} clusters"
    return CurveResult(
        estimate=estimate,
        cov=covariance,
        names=tuple(names),
        n_obs=n,
        dependence=f"{n_bootstrap} bootstrap draws of {what}; {GIVEN}; {NOT_COVERED}",
        support=support,
    )


def ensemble_curve(estimate: Array, curves: Array, names: list[str], n_obs: int, support: Any) -> EnsembleCurve:
    """Curve with the covariance of refits, split into encoder and second stage.

    Parameters
    ----------
    estimate : ndarray, shape (m,)
        Curve of the fit itself.
    curves : ndarray, shape (E, B, m)
        Curves of B second stages for each of E encoders.
    """
    import pandas as pd

    flat = curves.reshape(-1, curves.shape[-1])
    within = curves.var(axis=1, ddof=1).mean(axis=0)
    between = np.maximum(curves.mean(axis=1).var(axis=0, ddof=1) - within / curves.shape[1], 0.0)
    parts = pd.DataFrame({"encoder": between, "second_stage": within}, index=list(names))
    if curves.shape[0] < 2:
        raise MethodNotApplicableError('method="ensemble" needs n_encoders of at least 2.')
    return EnsembleCurve(
        estimate=estimate,
        cov=np.atleast_2d(np.cov(flat.T)),
        names=tuple(names),
        n_obs=n_obs,
        dependence=f"{curves.shape[0]} encoders, each on a resampled data set, with {curves.shape[1]} second stages; "
        f"includes encoder variability; {NOT_COVERED}",
        support=support,
        curves=curves,
        parts=parts,
    )


def refitted_curves(
    rows: CurveRows, settings: CurveSettings, fitted: Any, calibration: float, wanted: Array, draws: int, number: int
) -> Array:
    """Curves of resampled second stages on an encoder fitted on a resampled data set, shape (draws, m).

    Parameters
    ----------
    rows, settings : CurveRows, CurveSettings
        Of the fit.
    fitted : estimator
        Its encoder, whose tuning and dimension are kept.
    calibration : float
        Weight of the calibration term.
    wanted : ndarray, shape (m, k')
        Actions.
    draws : int
        Second stages.
    number : int
        Which of the encoders.
    """
    rng = np.random.default_rng([settings.seed, number])
    units = np.arange(len(rows.y)) if rows.groups is None else rows.groups.codes
    chosen = rng.integers(int(units.max()) + 1, size=int(units.max()) + 1)
    counts = np.bincount(chosen, minlength=int(units.max()) + 1)[units]
    sample = np.repeat(np.arange(len(rows.y)), counts)
    encoder = fit_encoder(_tuned(settings.encoder, fitted), rows, sample, settings.seed + 1 + number)
    phi = encoded(encoder, rows.features[sample])
    part = stage_of(rows, settings, phi, sample, calibration)
    return resampled_curves(part, rows.y[sample], rows.moved[sample], wanted, units[sample], draws, rng)


def _tuned(encoder: Any, fitted: Any) -> Any:
    tuned = clone(encoder)
    if isinstance(fitted, LinearInvarianceEncoder):
        tuned.set_params(n_components=fitted.n_components_, random_state=None)
        if fitted.ridge_ is not None:
            tuned.set_params(ridge=fitted.ridge_)
        elif fitted.penalty_ is not None:
            tuned.set_params(penalty=fitted.penalty_)
    return tuned
