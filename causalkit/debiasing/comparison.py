"""One-call effects from arrays, and one table of every correction side by side."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from causalkit.debiasing.effects import DebiasedEffect
from causalkit.debiasing.hierarchical import HierarchicalCalibration
from causalkit.debiasing.linear_calibration import LinearCalibration
from causalkit.debiasing.planning import break_even_share
from causalkit.debiasing.prediction_powered import prediction_powered_ate
from causalkit.debiasing.spline_calibration import SplineCalibration
from causalkit.debiasing.tweedie import TweedieCorrection
from causalkit.exceptions import CalibrationError
from causalkit.validation import check_treatment, check_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare_corrections", "debiased_effect"]


def debiased_effect(
    predictions: Any,
    *,
    treatment: Any,
    calibration_predictions: Any,
    calibration_y: Any,
    correction: Any = None,
    estimator: str = "difference",
    confounders: Any = None,
    propensity: Any = None,
    sites: Any = None,
    calibration_sites: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    calibration_weight: Any = None,
    calibration_groups: Any = None,
    shared_groups: bool = False,
) -> DebiasedEffect:
    r"""Effect on the true outcome from a trial with predictions and a calibration sample, in one call.

    Fits ``correction`` on the calibration sample and returns its ``effect`` in the trial: the downstream
    estimator applied to :math:`g(\hat Y)`, :math:`E[g(\hat Y)\mid Y] = Y`. The formulas and assumptions are
    those of the correction, exclusion first of all; the band of the result holds the naive estimate and
    linear calibration whichever correction is used. Outcome: corrected map; covariate: raw map.

    Parameters
    ----------
    predictions : array-like, shape (n,)
        Raw predictions of the trial.
    treatment : array-like, shape (n,)
        Treatment of the trial rows.
    calibration_predictions, calibration_y : array-like, shape (n_c,)
        Predictions and truth of the calibration sample.
    correction : estimator, optional
        Unfitted; cloned. Default :class:`LinearCalibration`.
    estimator : str, default="difference"
        As in ``effect``.
    confounders : array-like, shape (n, p), optional
        Covariates of the trial rows, as in ``effect``.
    propensity : array-like, shape (n,) or (n, L), optional
        Known treatment probabilities.
    sites : array-like, shape (n,), optional
        Site of each trial row, for :class:`HierarchicalCalibration`.
    calibration_sites : array-like, shape (n_c,), optional
        Site of each calibration row.
    sample_weight, groups : array-like, shape (n,), optional
        Weights and clusters of the trial rows.
    calibration_weight, calibration_groups : array-like, shape (n_c,), optional
        The same of the calibration rows.
    shared_groups : bool, default=False
        Whether equal group labels in the two samples are the same cluster.

    Returns
    -------
    DebiasedEffect

    Raises
    ------
    ValueError, CalibrationError
        As ``fit`` and ``effect`` of the correction.

    References
    ----------
    Pettersson, Jerzak & Daoud 2026, AAAI, doi 10.1609/aaai.v40i46.41258.

    Examples
    --------
    >>> from causalkit import debiased_effect
    >>> from causalkit.datasets import make_gaussian_map
    >>> data = make_gaussian_map(random_state=0)
    >>> result = debiased_effect(
    ...     data.predictions, treatment=data.treatment,
    ...     calibration_predictions=data.calibration_predictions, calibration_y=data.calibration_y)
    >>> result.band["assumption"].tolist()[:2]
    ['surrogacy (naive)', 'exclusion (linear calibration)']
    """
    model = clone(LinearCalibration() if correction is None else correction)
    extra = {}
    if isinstance(model, HierarchicalCalibration):
        extra["sites"] = calibration_sites
    elif calibration_sites is not None or sites is not None:
        raise ValueError(f"sites need HierarchicalCalibration; the correction is {type(model).__name__}.")
    if getattr(model, "differential", None) is not None:
        raise ValueError("a differential correction needs the treatment of the calibration rows: call fit and effect.")
    model.fit(
        calibration_predictions, calibration_y, sample_weight=calibration_weight, groups=calibration_groups, **extra
    )
    return model.effect(
        predictions,
        treatment=treatment,
        estimator=estimator,
        confounders=confounders,
        propensity=propensity,
        sites=sites,
        sample_weight=sample_weight,
        groups=groups,
        shared_groups=shared_groups,
    )


def compare_corrections(
    predictions: Any,
    *,
    treatment: Any,
    calibration_predictions: Any,
    calibration_y: Any,
    y: Any = None,
    labelled: Any = None,
    corrections: Any = None,
    estimator: str = "difference",
    confounders: Any = None,
    groups: Any = None,
    calibration_groups: Any = None,
) -> pd.DataFrame:
    """Naive, linear, Tweedie and spline estimates side by side; with labels in the trial, PPI++ and PTD too.

    Parameters
    ----------
    predictions, treatment : array-like, shape (n,)
        Trial.
    calibration_predictions, calibration_y : array-like, shape (n_c,)
        Calibration sample.
    y : array-like, shape (n,), optional
        Trial truth, read where ``labelled`` is true (NaN elsewhere is fine).
    labelled : array-like of bool, shape (n,), optional
        Which trial rows are labelled, at random within arms; default where ``y`` is not NaN.
    corrections : dict of str to estimator, optional
        Default LinearCalibration, TweedieCorrection, SplineCalibration.
    estimator : str, default="difference"
        Downstream estimator of the corrections; the label-based comparators are differences in means.
    confounders : array-like, shape (n, p), optional
        For ``estimator``.
    groups, calibration_groups : array-like, optional
        Clusters.

    Returns
    -------
    DataFrame
        Index (method, effect); ``estimate``, ``se``, ``lower``, ``upper``, ``assumption``, ``note``. A
        correction that refuses these data has NaN and its reason in ``note``. ``attrs``:
        ``r_squared`` of the calibration sample, ``break_even_share`` f* of labels above which
        prediction-powered inference is more precise, ``labelled_share`` of the trial.

    Raises
    ------
    ValueError
        For labels without a mask of the right length, or arms without labels.

    References
    ----------
    Pettersson, Jerzak & Daoud 2026, AAAI, doi 10.1609/aaai.v40i46.41258; Angelopoulos, Duchi & Zrnic 2023,
    arXiv 2311.01453 (PPI++); Kluger et al. 2025, arXiv 2501.18577 (predict-then-debias).

    Examples
    --------
    >>> from causalkit import compare_corrections
    >>> from causalkit.datasets import make_mixture_map
    >>> data = make_mixture_map(sigma=2.0, n_calibration=1000, n_arm=1000, random_state=0)
    >>> frame = compare_corrections(
    ...     data.predictions, treatment=data.treatment,
    ...     calibration_predictions=data.calibration_predictions, calibration_y=data.calibration_y)
    >>> frame.index.get_level_values("method").unique().tolist()
    ['naive', 'LinearCalibration', 'TweedieCorrection', 'SplineCalibration']
    """
    import pandas as pd

    x = check_vector(predictions, "predictions")
    labels = _labelled_rows(y, labelled, len(x))
    models = corrections or {
        "LinearCalibration": LinearCalibration(),
        "TweedieCorrection": TweedieCorrection(random_state=0),
        "SplineCalibration": SplineCalibration(),
    }
    linear = clone(LinearCalibration()).fit(calibration_predictions, calibration_y, groups=calibration_groups)
    shared = {"treatment": treatment, "estimator": estimator, "confounders": confounders, "groups": groups}
    base = linear.effect(predictions, **shared)
    records = [("naive", *row, "surrogacy", "") for row in _rows(base.naive)]
    for label, model in models.items():
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                fitted = clone(model).fit(calibration_predictions, calibration_y, groups=calibration_groups)
                result = fitted.effect(predictions, **shared)
        except CalibrationError as error:
            missing = [(label, name, np.nan, np.nan, np.nan, np.nan, "exclusion", str(error)) for name in base.names]
            records.extend(missing)
            continue
        note = "; ".join(dict.fromkeys(str(w.message).split(":")[0] for w in caught))
        records.extend((label, *row, "exclusion", note) for row in _rows(result))
    share = 0.0
    if labels is not None:
        mask, truth = labels
        share = float(mask.mean())
        records.extend(_label_based(x, treatment, mask, truth, groups))
    columns = ["method", "effect", "estimate", "se", "lower", "upper", "assumption", "note"]
    frame = pd.DataFrame(records, columns=columns).set_index(["method", "effect"])
    frame.attrs.update(
        r_squared=linear.r_squared_,
        # Perfect predictions have a squared correlation of one up to rounding.
        break_even_share=break_even_share(min(linear.r_squared_, 1 - 1e-12)),
        labelled_share=share,
    )
    return frame


def _rows(result: Any) -> list[tuple[str, float, float, float, float]]:
    interval = result.conf_int()
    return [
        (
            name,
            float(result.estimate[j]),
            float(result.std_error[j]),
            *interval.iloc[j][["lower", "upper"]].astype(float),
        )
        for j, name in enumerate(result.names)
    ]


def _labelled_rows(y: Any, labelled: Any, n: int) -> Any:
    if y is None:
        if labelled is not None:
            raise ValueError("labelled is given without y: pass the truth of the labelled trial rows.")
        return None
    truth = check_vector(y, "y", n_rows=n, like="predictions", allow_nan=True)
    mask = np.isfinite(truth) if labelled is None else np.asarray(labelled).reshape(-1).astype(bool)
    if len(mask) != n:
        raise ValueError(f"labelled has {len(mask)} rows, but predictions has {n}.")
    if not np.isfinite(truth[mask]).all():
        raise ValueError(f"y is not finite on {int((~np.isfinite(truth[mask])).sum())} labelled rows.")
    if mask.all() or not mask.any():
        raise ValueError(
            f"labelled marks {int(mask.sum())} of {n} trial rows: the label-based comparators need labelled and "
            "unlabelled rows. Mark a part of them, or leave out y."
        )
    return mask, truth


def _label_based(x: Any, treatment: Any, mask: Any, truth: Any, groups: Any) -> list[tuple[Any, ...]]:
    arms = check_treatment(treatment, len(x), like="predictions")
    clusters = None if groups is None else np.asarray(groups)
    records: list[tuple[Any, ...]] = []
    for method, label in (("ppi++", "PPI++"), ("predict_then_debias", "PTD")):
        result = prediction_powered_ate(
            truth[mask],
            x[mask],
            predictions_unlabelled=x[~mask],
            treatment=arms.levels[arms.codes][mask],
            treatment_unlabelled=arms.levels[arms.codes][~mask],
            method=method,
            groups=None if clusters is None else clusters[mask],
            groups_unlabelled=None if clusters is None else clusters[~mask],
        )
        records.extend((label, *row, "labels at random", "") for row in _rows(result))
    return records
