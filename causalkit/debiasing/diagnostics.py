"""What a fitted correction says of itself: its line, its sample, its working model."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from causalkit.debiasing.calibration_lines import fit_lines, simple_regression
from causalkit.debiasing.calibration_sample import CalibrationSample, deviations
from causalkit.debiasing.hierarchical import site_lines
from causalkit.debiasing.site_distribution import dersimonian_laird
from causalkit.debiasing.working_model import bend_test, breusch_pagan, residual_shape, wald
from causalkit.exceptions import CalibrationError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["correction_diagnostics"]


_LEVEL = 0.05


# ---------------------------------------------------------------------- diagnostics() of a fitted correction


def correction_diagnostics(correction: Any) -> pd.DataFrame:
    """Tidy frame of what a fitted correction says of itself; see ``CorrectionMixin.diagnostics``."""
    import pandas as pd

    fitted, lines = correction._fitted, correction._fitted.lines
    rows: list[tuple[str, float, float, str]] = []

    def add(quantity: str, value: float, se: float = math.nan, flag: str = "") -> None:
        rows.append((quantity, float(value), float(se), flag))

    errors = np.sqrt(np.maximum(np.diag(lines.cov), 0.0))
    for j, (name, value) in enumerate(
        [
            ("intercept m (prediction on truth)", lines.intercept),
            ("slope k (prediction on truth)", lines.slope),
            ("intercept a (truth on prediction)", lines.berkson_intercept),
            ("slope b (truth on prediction)", lines.berkson_slope),
        ]
    ):
        add(name, value, errors[j], "weak: below 5 standard errors" if j == 1 and lines.slope_ratio < 5 else "")
    add("squared correlation", lines.r_squared, flag="below .3: a weak map" if lines.r_squared < 0.3 else "")
    add("effective sample size factor", lines.r_squared)
    for name, difference, picked in (
        ("p: nothing to correct (k = 1, m = 0)", [lines.intercept, lines.slope - 1], [0, 1]),
        ("p: Berkson (a = 0, b = 1)", [lines.berkson_intercept, lines.berkson_slope - 1], [2, 3]),
    ):
        cov = lines.cov[np.ix_(picked, picked)]
        p_value = wald(np.array(difference), cov)[1] if np.isfinite(cov).all() and cov.any() else math.nan
        add(name, p_value, flag="rejected at 5 %" if p_value < _LEVEL else "")
    if fitted.sample is not None:
        _add_sample_rows(add, fitted.sample, correction.cov_type)
    if hasattr(correction, "monotone_"):
        add("increasing on the calibration range", correction.monotone_, flag="" if correction.monotone_ else "falls")
    for k, value in getattr(correction, "strength_", {}).items():
        add(f"instrument strength F_{k}", value, flag="weak: below 10" if value < 10 else "")
    if hasattr(correction, "_last_off_support"):
        share = correction._last_off_support
        add("share of trial predictions off support", share, flag="extrapolation" if share > 0.01 else "")
    frame = pd.DataFrame(rows, columns=["quantity", "value", "se", "flag"])
    half = 1.959964 * frame["se"]
    frame.insert(3, "lower", frame["value"] - half)
    frame.insert(4, "upper", frame["value"] + half)
    return frame


def _add_sample_rows(add: Any, sample: CalibrationSample, cov_type: str) -> None:
    """Working-model tests, atoms and clusters of the calibration rows."""
    residuals = simple_regression(sample.predictions, sample.y, sample.weight)[3]
    for name, p_value in (
        ("p: E[prediction | truth] linear", bend_test(sample, cov_type)[1]),
        ("p: homoscedastic (Breusch-Pagan)", breusch_pagan(sample.predictions, residuals, sample.counts)[1]),
    ):
        add(name, p_value, flag="rejected at 5 %" if p_value < _LEVEL else "")
    skew, kurtosis = residual_shape(residuals, sample.weight)
    add("skewness of residuals", skew, flag="above 1 in size" if abs(skew) > 1 else "")
    add("excess kurtosis of residuals", kurtosis, flag="above 3" if kurtosis > 3 else "")
    counts = np.unique(sample.predictions, return_counts=True)[1]
    atom = counts.max() / sample.n if counts.max() > 1 else 0.0
    add("largest atom of predictions", atom, flag="an atom" if atom >= 0.01 else "")
    if sample.groups is None:
        return
    weight = np.ones(sample.n) if sample.weight is None else sample.weight
    mass = np.bincount(sample.groups.codes, weights=weight, minlength=sample.groups.n_groups)
    add("smallest weight share of a cluster", mass.min() / mass.sum())
    add(
        "largest weight share of a cluster",
        mass.max() / mass.sum(),
        flag="dominant" if mass.max() > mass.sum() / 5 else "",
    )
    for variation in ("within", "between"):
        try:
            part = fit_lines(deviations(sample, variation), cov_type)
        except (ValueError, ZeroDivisionError):
            continue  # cells of one row, or too few of them: this level has no slope
        add(f"slope k {variation} clusters", part.slope, math.sqrt(max(float(part.cov[1, 1]), 0.0)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, coef, cov, _ = site_lines(CalibrationSample(sample.predictions, sample.y, sample.weight, None,
                                                           sample.weight_type), sample.groups, cov_type)  # fmt: skip
    except CalibrationError:
        return
    add("I² of slopes over clusters", dersimonian_laird(coef, cov).i_squared[1])


# ---------------------------------------------------------------------- exclusion and surrogacy
