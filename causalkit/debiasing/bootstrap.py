"""Bootstrap of a debiased effect: both samples resampled, calibration and downstream estimator refitted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.debiasing.calibration_sample import CalibrationSample
from causalkit.debiasing.fitted import FittedCorrection
from causalkit.debiasing.trial import Trial, choose_downstream
from causalkit.exceptions import CalibrationError
from causalkit.validation import Groups

__all__ = ["bootstrap_effect", "check_resampling"]

Array = NDArray[np.float64]


def check_resampling(correction: Any, fitted: FittedCorrection) -> None:
    """Refuse a bootstrap of a correction that cannot be refitted on resampled rows."""
    if getattr(correction, "differential", None) is not None:
        raise ValueError("n_bootstrap is not available with differential: use its delta standard error.")
    sample = fitted.sample
    if sample is None or not fitted.has_rows:
        raise ValueError(
            "n_bootstrap needs the calibration rows, and they are not kept by partial_fit, from_coefficients or "
            "HierarchicalCalibration. Use fit with LinearCalibration, TweedieCorrection or SplineCalibration."
        )
    if len(fitted.noise) != sample.n:
        raise ValueError(
            "n_bootstrap is not available with unlabelled_predictions: its delta standard error already carries the "
            "noise of these rows. Use n_bootstrap=0, or fit without them."
        )


def bootstrap_effect(
    correction: Any,
    fitted: FittedCorrection,
    trial: Trial,
    estimator: str,
    cells: NDArray[np.intp] | None,
    options: dict[str, Any],
    shared_groups: bool,
    n_bootstrap: int,
    n_jobs: int | None,
    random_state: Any,
) -> Array:
    """Estimates under resampling of rows, or of whole clusters, of the calibration sample and the trial.

    The two samples are resampled independently, or together by cluster label with ``shared_groups``.

    Returns
    -------
    ndarray, shape (B, q)
    """
    from joblib import Parallel, delayed

    sample = fitted.sample
    if sample is None:
        raise ValueError("n_bootstrap needs the calibration rows.")
    seeds = np.random.SeedSequence(_entropy(random_state)).spawn(n_bootstrap)
    draws = Parallel(n_jobs=n_jobs)(
        delayed(_one_draw)(correction, sample, trial, estimator, cells, options, shared_groups, seed) for seed in seeds
    )
    estimates = np.array([draw for draw in draws if draw is not None])
    if len(estimates) < 0.9 * n_bootstrap:
        raise CalibrationError(
            f"{n_bootstrap - len(estimates)} of {n_bootstrap} bootstrap draws could not be refitted (no positive "
            "slope, no spread, an empty arm or collinear confounders): the samples are too small for the "
            "bootstrap. Use n_bootstrap=0, and method='fieller' with LinearCalibration."
        )
    return estimates


def _entropy(random_state: Any) -> int | None:
    if random_state is None:
        return None
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63 - 1))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return int(random_state)


def _one_draw(
    correction: Any,
    sample: CalibrationSample,
    trial: Trial,
    estimator: str,
    cells: NDArray[np.intp] | None,
    options: dict[str, Any],
    shared_groups: bool,
    seed: np.random.SeedSequence,
) -> Array | None:
    rng = np.random.default_rng(seed)
    if shared_groups and sample.groups is not None and trial.rows.groups is not None:
        calibration_rows, trial_rows = _shared_rows(sample.groups, trial.rows.groups, rng)
    else:
        calibration_rows = _resample(sample.n, sample.groups, rng)
        trial_rows = _resample(trial.rows.n, trial.rows.groups, rng)
    drawn = trial.take(trial_rows)
    if drawn.treatment is not None:
        mass = np.bincount(drawn.treatment.codes, weights=drawn.rows.weight, minlength=len(drawn.treatment.levels))
        if not (mass > 0).all():
            return None
    try:
        refitted = correction._refit(sample.take(calibration_rows))
    except CalibrationError:
        return None
    if not refitted.lines.slope > 0:
        return None
    nuisance_seed = int(rng.integers(2**31 - 1))
    picked = None if cells is None else cells[trial_rows]
    try:
        downstream = choose_downstream(drawn, estimator, random_state=nuisance_seed, **{**options, "n_jobs": 1})
        delta = downstream.project(refitted.basis, drawn.predictions, picked)
    except ValueError:  # a rare category may be lost, so that regressors are collinear or arms separated
        return None
    return np.asarray(delta.T @ refitted.coef)


def _rows_of(codes: NDArray[np.intp], chosen: NDArray[np.intp], n_groups: int) -> NDArray[np.intp]:
    """Rows of the chosen clusters, with repeats."""
    order = np.argsort(codes, kind="stable")
    size = np.bincount(codes, minlength=n_groups)
    start = np.concatenate([[0], np.cumsum(size)[:-1]])
    pieces = [order[start[g] : start[g] + size[g]] for g in chosen]
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.intp)


def _resample(n: int, groups: Groups | None, rng: np.random.Generator) -> NDArray[np.intp]:
    if groups is None:
        return rng.integers(0, n, n)
    return _rows_of(groups.codes, rng.integers(0, groups.n_groups, groups.n_groups), groups.n_groups)


def _shared_rows(first: Groups, second: Groups, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    import pandas as pd

    labels = pd.Index(first.labels).union(pd.Index(second.labels), sort=False)
    chosen = labels[rng.integers(0, len(labels), len(labels))]
    rows = []
    for groups in (first, second):
        codes = pd.Index(groups.labels).get_indexer(chosen)
        rows.append(_rows_of(groups.codes, codes[codes >= 0], groups.n_groups))
    return rows[0], rows[1]
