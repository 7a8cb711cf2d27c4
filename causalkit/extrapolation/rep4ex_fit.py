"""The steps of a Rep4Ex fit: encoder, its tuning by the outcome, parts of a cross-fit, reported losses."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold, check_cv

from causalkit.exceptions import WeakInstrumentWarning
from causalkit.extrapolation.baselines import make_baseline
from causalkit.extrapolation.curve_part import CurvePart, fit_curve_part, new_outcome_model
from causalkit.extrapolation.curve_rows import CurveRows, CurveSettings
from causalkit.extrapolation.encoder import LinearInvarianceEncoder
from causalkit.extrapolation.encoder_models import sieve_candidates
from causalkit.extrapolation.encoder_options import moment_weighting_of
from causalkit.extrapolation.penalty import draw_frequencies, median_distance
from causalkit.extrapolation.selection import Choice, SelectionSplit, choose_tuning, selection_split, thinned
from causalkit.extrapolation.sieve_fit import RIDGES, ActionMoments
from causalkit.seeds import task_seed

__all__ = ["CurveRows", "CurveSettings", "EncoderFits", "FittedCurve", "fit_curve", "reported_losses"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

_CALIBRATIONS = (0.0, 30.0)
_N_FEATURES = 128
# Best on pilots with curves known, by the weighting of the moments; others have to be clearly better.
_REFERENCE_RIDGES = {"orthonormal": 1e-3, "kernel": 1e-4}


@dataclass(frozen=True, eq=False)
class FittedCurve:
    """Encoders and second stages.

    Attributes
    ----------
    encoders : list of estimator
        One per part.
    parts : list of CurvePart
        Second stages.
    rows_of : list of ndarray of int
        Rows of each part.
    choice : Choice or None
        Tuning chosen by the outcome.
    held : CurvePart
        Second stage without the rows of the report, with ``held_encoder``.
    held_encoder : estimator
        Its encoder.
    split : SelectionSplit
        Rows of the report and of the choice.
    fits : EncoderFits
        Encoders by the rows that they were fitted on.
    """

    encoders: list[Any]
    parts: list[CurvePart]
    rows_of: list[Rows]
    choice: Choice | None
    held: CurvePart
    held_encoder: Any
    split: SelectionSplit
    fits: EncoderFits


def tunable(encoder: Any) -> bool:
    """Whether the outcome chooses the encoder's ridge."""
    return (
        isinstance(encoder, LinearInvarianceEncoder)
        and encoder.method == "sieve"
        and isinstance(encoder.ridge, str)
        and encoder.ridge == "auto"
    )


def fit_encoder(encoder: Any, rows: CurveRows, part: Rows, seed: int) -> Any:
    """Fit a clone of an encoder on some rows; a transformer that is not ours sees features only."""
    model = clone(encoder)
    if isinstance(model, LinearInvarianceEncoder):
        if model.random_state is None:
            model.set_params(random_state=seed)
        groups = None if rows.groups is None else rows.groups.codes[part]
        with warnings.catch_warnings():  # said once, of the actions and of the encoder that is kept
            warnings.filterwarnings("ignore", message="actions lie on a lattice")
            warnings.simplefilter("ignore", WeakInstrumentWarning)
            return model.fit(
                rows.features[part], actions=rows.actions[part], sample_weight=rows.weights(part), groups=groups
            )
    return model.fit(rows.features[part])


class EncoderFits:
    """Encoders of one fit, each of them fitted once for the same rows and the same ridge.

    The rows of the core are asked for twice, to choose and to report, and splitters that do not shuffle repeat their
    parts; seeds do not depend on who asks (test_no_encoder_is_trained_twice_on_the_same_rows).
    """

    def __init__(self, rows: CurveRows, settings: CurveSettings) -> None:
        self.rows, self.settings = rows, settings
        self._fitted: dict[tuple[float | None, bytes], Any] = {}

    def __call__(self, part: Rows, ridge: float | None = None) -> Any:
        """Encoder fitted on some rows, with a ridge that takes the place of "auto"."""
        key = (ridge, np.ascontiguousarray(part).tobytes())
        if key not in self._fitted:
            encoder = self.settings.encoder
            if ridge is not None:
                encoder = clone(encoder).set_params(ridge=ridge)
            self._fitted[key] = fit_encoder(encoder, self.rows, part, self.settings.seed)
        return self._fitted[key]


def encoded(encoder: Any, features: Any) -> Array:
    """Representation as (n, d) numbers."""
    phi = np.asarray(encoder.transform(features), dtype=np.float64)
    phi = phi[:, None] if phi.ndim == 1 else phi
    if phi.ndim != 2 or len(phi) != len(features):
        raise ValueError(f"encoder.transform returned shape {phi.shape}, expected ({len(features)}, d).")
    if not np.isfinite(phi).all():
        bad = int(np.argmax(~np.isfinite(phi).all(axis=1)))
        raise ValueError(f"encoder.transform returned NaN or infinity (first: row {bad}).")
    return phi


def fit_curve(rows: CurveRows, settings: CurveSettings) -> FittedCurve:
    """Choose the tuning by the outcome where it is open, then fit encoder and second stage."""
    seed = settings.seed
    groups = None if rows.groups is None else rows.groups.codes
    split = selection_split(rows.moved, groups, seed)
    fits = EncoderFits(rows, settings)
    open_ridge = tunable(settings.encoder)
    calibration, choice, ridge = settings.calibration, None, None
    if open_ridge or calibration is None:
        weights = _CALIBRATIONS if calibration is None and settings.outcome_model is None else (calibration or 0.0,)
        reference = _REFERENCE_RIDGES[moment_weighting_of(settings.encoder)] if open_ridge else float("nan")
        choice = choose_tuning(_candidates(fits, weights), rows.moved, rows.y, split, seed, reference)
        calibration = choice.calibration
        ridge = choice.tuning if open_ridge else None
    calibration = calibration or 0.0
    choosing = split.choosing
    held_encoder = fits(choosing, ridge)
    held = _second_stage(rows, settings, held_encoder, choosing, calibration)
    encoders, parts, rows_of = [], [], []
    for train, used in _parts(settings.cv, settings.n_repeats, rows, seed):
        encoders.append(fits(train, ridge))
        parts.append(_second_stage(rows, settings, encoders[-1], used, calibration))
        rows_of.append(used)
    return FittedCurve(encoders, parts, rows_of, choice, held, held_encoder, split, fits)


def _parts(cv: Any, n_repeats: int, rows: CurveRows, seed: int) -> list[tuple[Rows, Rows]]:
    n = len(rows.y)
    everything = np.arange(n)
    if cv is None:
        return [(everything, everything)]
    groups = None if rows.groups is None else rows.groups.codes
    found = []
    for repeat in range(n_repeats):
        if isinstance(cv, int | np.integer):
            shuffled = KFold(int(cv), shuffle=True, random_state=task_seed(seed, repeat, 0, "split"))
            splitter = shuffled if groups is None else GroupKFold(int(cv))
        else:
            splitter = check_cv(cv)
        found += [(np.asarray(a), np.asarray(b)) for a, b in splitter.split(np.zeros((n, 1)), None, groups)]
    fewest = min(min(len(a), len(b)) for a, b in found)
    if fewest < 50:
        raise ValueError(f"cv={cv!r} leaves a part of {fewest} of {n} rows: at least 50 are needed. Lower cv.")
    return found


def moments_of(rows: CurveRows, seed: int) -> ActionMoments:
    """Functions of the action for calibration and tests."""
    rng = np.random.default_rng(seed)
    return ActionMoments(
        draw_frequencies(rows.standard.shape[1], _N_FEATURES, median_distance(rows.standard, rng), rng)
    )


def _second_stage(rows: CurveRows, settings: CurveSettings, encoder: Any, part: Rows, calibration: float) -> CurvePart:
    phi = encoded(encoder, rows.features[part])
    return stage_of(rows, settings, phi, part, calibration)


def stage_of(rows: CurveRows, settings: CurveSettings, phi: Array, part: Rows, calibration: float) -> CurvePart:
    """Second stage on a representation of some rows."""
    model = new_outcome_model(settings.outcome_model, phi.shape[1], settings.device, settings.seed)
    moments = moments_of(rows, settings.seed).values(rows.standard[part]) if calibration > 0 else None
    return fit_curve_part(
        phi, rows.moved[part], rows.y[part], rows.weights(part), model, moments=moments, calibration=calibration
    )


def _candidates(encoders: EncoderFits, calibrations: tuple[float, ...]) -> Any:
    """Rows → fitted candidates: ridges of a sieve from one pass, or one encoder, times calibration weights."""
    rows, settings = encoders.rows, encoders.settings
    encoder = settings.encoder

    def fits(part: Rows) -> list[tuple[float, float, CurvePart]]:
        if tunable(encoder):
            probe = _components(encoder, rows, part, settings.seed)
            models = sieve_candidates(
                rows.features[part],
                rows.standard[part],
                moments_of(rows, settings.seed),
                n_components=probe,
                basis=encoder.basis,
                n_basis=encoder.n_basis,
                ridges=RIDGES,
                weighting=moment_weighting_of(encoder),
                seed=settings.seed,
            )
            coded = [(ridge, model.encode(rows.features[part])) for ridge, model in zip(RIDGES, models, strict=True)]
        else:
            coded = [(float("nan"), encoded(encoders(part), rows.features[part]))]
        return [
            (tuning, weight, stage_of(rows, settings, phi, part, weight))
            for tuning, phi in coded
            for weight in calibrations
        ]

    return fits


def _components(encoder: Any, rows: CurveRows, part: Rows, seed: int) -> int:
    if not isinstance(encoder.n_components, str):
        return int(encoder.n_components)
    probe = clone(encoder).set_params(ridge=RIDGES[1])
    return int(fit_encoder(probe, rows, part, seed).n_components_)


def reported_losses(rows: CurveRows, fitted: FittedCurve, settings: CurveSettings) -> tuple[dict[str, float], Any, Any]:
    """C_in on the rows of the report, both curves there, and losses on the outer shell of model and baselines."""
    import pandas as pd

    split, seed = fitted.split, settings.seed
    choosing = split.choosing
    baseline = make_baseline("flexible", rows.actions.shape[1], seed).fit(rows.actions[choosing], rows.y[choosing])
    report = split.report
    if len(report) > 300:
        report = np.random.default_rng(seed).choice(report, 300, replace=False)
    do, direct = thinned(fitted.held, seed).do_mean(rows.moved[report]), baseline.predict(rows.actions[report])
    c_in = float(np.mean((do - direct) ** 2))
    losses = {
        "c_in": c_in,
        "root": float(np.sqrt(c_in) / rows.y.std()) if rows.y.std() > 0 else float(np.sqrt(c_in)),
        "loss_difference": float(np.mean((rows.y[report] - do) ** 2 - (rows.y[report] - direct) ** 2)),
    }
    curves = pd.DataFrame(rows.actions[report], columns=[f"action{j}" for j in range(rows.actions.shape[1])])
    curves = curves.assign(do=do, regression=direct).sort_values("action0", ignore_index=True)
    table = {"Rep4Ex": _shell_of_model(rows, fitted, settings)}
    for name in ("linear", "flexible", "network"):
        model = _maybe(name, rows, seed)
        if model is not None:
            model.fit(rows.actions[split.core], rows.y[split.core])
            error = rows.y[split.shell] - model.predict(rows.actions[split.shell])
            table[f"{name} regression of y on actions"] = float(np.mean(error**2))
    shell = pd.DataFrame({"shell_loss": table}).sort_values("shell_loss")
    return losses, curves, shell


def _maybe(name: str, rows: CurveRows, seed: int) -> Any:
    if name == "network" and find_spec("torch") is None:
        return None
    return make_baseline(name, rows.actions.shape[1], seed)


def _shell_of_model(rows: CurveRows, fitted: FittedCurve, settings: CurveSettings) -> float:
    split = fitted.split
    core = fitted.fits(split.core, fitted.held_encoder.ridge_ if tunable(settings.encoder) else None)
    calibration = (settings.calibration or 0.0) if fitted.choice is None else fitted.choice.calibration
    part = _second_stage(rows, settings, core, split.core, calibration)
    error = rows.y[split.shell] - thinned(part, settings.seed).do_mean(rows.moved[split.shell])
    return float(np.mean(error**2))
