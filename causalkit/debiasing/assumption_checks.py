"""Checks of what a correction assumes: exclusion, held-out outcomes, one slope for all sites."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from causalkit.debiasing.calibration_lines import fit_lines
from causalkit.debiasing.calibration_sample import CalibrationSample, check_calibration_sample, deviations
from causalkit.debiasing.hierarchical import site_lines
from causalkit.debiasing.site_distribution import dersimonian_laird, shrink
from causalkit.debiasing.working_model import spline_design, wald
from causalkit.exceptions import CalibrationError
from causalkit.inference import influence_covariance
from causalkit.linear import weighted_least_squares
from causalkit.validation import Groups, check_groups, check_integer, check_treatment

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["exclusion_test", "slope_heterogeneity", "validate_correction"]

Array = NDArray[np.float64]

_LEVEL = 0.05
EXCLUSION_DIRECTION = "prediction given truth (exclusion)"
SURROGACY_DIRECTION = "truth given prediction (surrogacy)"


def exclusion_test(
    predictions: Any,
    y: Any,
    *,
    treatment: Any,
    n_knots: int = 4,
    sample_weight: Any = None,
    groups: Any = None,
) -> pd.DataFrame:
    r"""Test the two textbook assumptions where treatment (or a proxy) is known in the calibration sample.

    Exclusion (A ⟂ Ŷ | Y) is the hypothesis δ = 0 in Ŷ = f(Y) + δA + v; surrogacy (A ⟂ Y | Ŷ) is δ = 0 in
    Y = f(Ŷ) + δA + e; f is a line and a natural cubic spline, so that a bent conditional mean does not
    pass for a violation. HC1, or clustered.

    Parameters
    ----------
    predictions, y : array-like, shape (n_c,)
        Calibration sample.
    treatment : array-like, shape (n_c,)
        Treatment or its proxy; several levels give one row each against the smallest.
    n_knots : int, default=4
        Knots of the spline.
    sample_weight, groups : array-like, shape (n_c,), optional
        Survey weights and clusters.

    Returns
    -------
    DataFrame
        ``direction``, ``form``, ``contrast``, ``coefficient``, ``se``, ``pvalue``, ``reading``;
        ``attrs["reading"]`` puts the two directions together (spline form, 5 %).

    Raises
    ------
    ValueError, CalibrationError
        As :meth:`LinearCalibration.fit`, and for a single treatment level.

    Notes
    -----
    Exclusion kept, surrogacy rejected: use the corrected effect. Exclusion rejected, surrogacy kept: the
    naive one. Both rejected: ``LinearCalibration(differential="shift")`` or the band. Neither: too little
    information; report the band.

    References
    ----------
    Nab et al. 2021, doi 10.1016/j.cmpb.2021.106238 (differential error); the test is ours.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit import exclusion_test
    >>> rng = np.random.default_rng(1)
    >>> a = np.repeat([0, 1], 500)
    >>> y = 0.5 * a + rng.normal(size=1000)
    >>> frame = exclusion_test(0.6 * y + 0.4 * rng.normal(size=1000), y, treatment=a)
    >>> frame.attrs["reading"]
    'exclusion kept, surrogacy rejected: use the corrected effect'
    """
    import pandas as pd
    from scipy import stats

    check_integer(n_knots, "n_knots", low=3, high=12)
    sample = check_calibration_sample(predictions, y, sample_weight=sample_weight, groups=groups)
    arms = check_treatment(treatment, sample.n, like="predictions")
    dummies = (arms.codes[:, None] == np.arange(1, len(arms.levels))).astype(float)
    reference = stats.norm if sample.groups is None else stats.t(sample.groups.n_groups - 1)
    records = []
    joint: dict[str, float] = {}
    for direction, given, outcome in (
        (EXCLUSION_DIRECTION, sample.y, sample.predictions),
        (SURROGACY_DIRECTION, sample.predictions, sample.y),
    ):
        for form in ("linear", "spline"):
            base = spline_design(given, 2 if form == "linear" else n_knots, sample.counts)
            design = np.column_stack([base, dummies])
            fit = weighted_least_squares(design, outcome, sample.weight)
            if fit.rank < design.shape[1]:
                raise CalibrationError(
                    f"treatment is collinear with {'y' if given is sample.y else 'predictions'}: its coefficient at a "
                    "given value does not exist, so neither assumption can be tested. Use a treatment or proxy that "
                    "varies at equal values."
                )
            if np.ptp(fit.residuals) <= 1e-12 * np.ptp(outcome):  # a perfect fit leaves rounding, not evidence
                fit = replace(fit, coef=np.zeros_like(fit.coef), influence=np.zeros_like(fit.influence))
            parts = sample.contributions(fit.influence, design.shape[1], "HC1")
            cov = influence_covariance(parts * sample.n, groups=sample.groups)
            first = base.shape[1]
            joint[direction + form] = wald(fit.coef[first:], cov[first:, first:])[1]
            for level in range(dummies.shape[1]):
                coefficient, se = fit.coef[first + level], math.sqrt(max(cov[first + level, first + level], 0.0))
                p_value = float(2 * reference.sf(abs(coefficient) / se)) if se > 0 else float(coefficient == 0)
                assumption = "exclusion" if direction == EXCLUSION_DIRECTION else "surrogacy"
                reading = f"{assumption} {'rejected' if p_value < _LEVEL else 'not rejected'} at 5 %"
                contrast = f"{arms.levels[level + 1]} - {arms.levels[0]}"
                records.append((direction, form, contrast, coefficient, se, p_value, reading))
    columns = ["direction", "form", "contrast", "coefficient", "se", "pvalue", "reading"]
    frame = pd.DataFrame(records, columns=columns)
    frame.attrs["reading"] = _reading(
        joint[EXCLUSION_DIRECTION + "spline"] < _LEVEL, joint[SURROGACY_DIRECTION + "spline"] < _LEVEL
    )
    return frame


def _reading(exclusion_rejected: bool, surrogacy_rejected: bool) -> str:
    if surrogacy_rejected and not exclusion_rejected:
        return "exclusion kept, surrogacy rejected: use the corrected effect"
    if exclusion_rejected and not surrogacy_rejected:
        return "exclusion rejected, surrogacy kept: use the naive effect"
    if exclusion_rejected:
        return 'both rejected: use LinearCalibration(differential="shift") or the band'
    return "neither rejected: too little information, report the band"


# ---------------------------------------------------------------------- held-out check of E[g(Ŷ) | Y] = Y


def validate_correction(
    correction: Any,
    predictions: Any,
    y: Any,
    *,
    n_bins: int = 10,
    cv: int = 5,
    groups: Any = None,
    random_state: Any = None,
) -> pd.DataFrame:
    r"""Held-out bias of a correction by level of the truth, and its error on contrasts tilted on Y.

    Each row is corrected by a fit without its fold. The identity to check is E[g(Ŷ) - Y | Y] = 0. The
    contrasts weigh rows by functions of Y (smooth, the rich, the poor), which keeps exclusion true by
    construction. Contrasts made from Ŷ would find the naive estimate right whatever the map.

    Parameters
    ----------
    correction : estimator
        Unfitted or fitted; cloned.
    predictions, y : array-like, shape (n_c,)
        Calibration sample.
    n_bins : int, default=10
        Bins of Y with equal numbers of rows.
    cv : int, default=5
        Folds.
    groups : array-like, shape (n_c,), optional
        Clusters: they drive the folds and the standard errors.
    random_state : int, RandomState or None
        Seed of the folds.

    Returns
    -------
    DataFrame
        ``kind`` ("bin" or "contrast"), ``label``, ``y_mean`` (mean truth of the bin, or the true
        contrast), ``n``, ``bias``, ``se``, ``naive_bias``.

    References
    ----------
    The identity is that of Pettersson, Jerzak & Daoud 2026, doi 10.1609/aaai.v40i46.41258; the check is ours.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit import LinearCalibration, validate_correction
    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(size=400)
    >>> frame = validate_correction(LinearCalibration(), 0.5 * y + 0.5 * rng.normal(size=400), y, n_bins=4)
    >>> frame["kind"].tolist()
    ['bin', 'bin', 'bin', 'bin', 'contrast', 'contrast', 'contrast']
    """
    import pandas as pd
    from sklearn.model_selection import GroupKFold, KFold

    check_integer(n_bins, "n_bins", low=2)
    check_integer(cv, "cv", low=2)
    sample = check_calibration_sample(predictions, y, groups=groups)
    codes = None if sample.groups is None else sample.groups.codes
    splitter: Any = KFold(cv, shuffle=True, random_state=random_state)
    if sample.groups is not None:
        splitter = GroupKFold(min(cv, sample.groups.n_groups))
    corrected = np.empty(sample.n)
    for train, test in splitter.split(sample.predictions, groups=codes):
        model = clone(correction)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(sample.predictions[train], sample.y[train])
        corrected[test] = model.transform(sample.predictions[test])
    error, raw = corrected - sample.y, sample.predictions - sample.y
    edges = np.quantile(sample.y, np.linspace(0, 1, n_bins + 1)[1:-1])
    bins = np.searchsorted(np.unique(edges), sample.y, side="right")
    records = []
    for index in np.unique(bins):
        rows = bins == index
        share = rows / rows.sum()
        label = f"[{sample.y[rows].min():.4g}, {sample.y[rows].max():.4g}]"
        records.append(
            ("bin", label, *_weighted_bias(share, sample.y, error, raw, rows.sum(), sample.groups, bins == index))
        )
    for label, chance in tilts(sample.y).items():
        share = chance / chance.sum() - (1 - chance) / (1 - chance).sum()
        records.append(("contrast", label, *_contrast_bias(chance, share, sample, error, raw)))
    return pd.DataFrame(records, columns=["kind", "label", "y_mean", "n", "bias", "se", "naive_bias"])


def tilts(y: Array) -> dict[str, Array]:
    """Treatment probabilities that depend on the truth alone: smooth, rich, poor."""
    z = (y - y.mean()) / y.std()
    return {
        "smooth": 1 / (1 + np.exp(-1.2 * z)),
        "rich": np.where(y > np.quantile(y, 0.85), 0.75, 0.25),
        "poor": np.where(y < np.quantile(y, 0.25), 0.7, 0.3),
    }


def _weighted_bias(
    share: Array, y: Array, error: Array, raw: Array, n: int, groups: Groups | None, rows: NDArray[np.bool_]
) -> tuple[float, int, float, float, float]:
    bias = float(share @ error)
    parts = (share * (error - bias))[rows]
    codes = None if groups is None else groups.codes[rows]
    return float(share @ y), int(n), bias, _clustered_se(parts, codes), float(share @ raw)


def _contrast_bias(
    chance: Array, share: Array, sample: CalibrationSample, error: Array, raw: Array
) -> tuple[float, int, float, float, float]:
    treated, control = chance / chance.sum(), (1 - chance) / (1 - chance).sum()
    parts = treated * (error - treated @ error) - control * (error - control @ error)
    codes = None if sample.groups is None else sample.groups.codes
    return float(share @ sample.y), sample.n, float(share @ error), _clustered_se(parts, codes), float(share @ raw)


def _clustered_se(parts: Array, codes: NDArray[np.intp] | None) -> float:
    sums = parts if codes is None else np.bincount(codes, weights=parts)
    n = len(parts) if codes is None else len(np.unique(codes))
    return float(np.sqrt(np.sum(sums**2) * (n / max(n - 1, 1))))


# ---------------------------------------------------------------------- slopes by site


def slope_heterogeneity(predictions: Any, y: Any, *, sites: Any, groups: Any = None) -> pd.DataFrame:
    r"""Calibration slopes by site, raw and shrunk, with the spread over sites.

    :math:`\hat k_s \sim N(k_s, v_s)`, :math:`k_s \sim N(\mu, \tau^2)` with
    :math:`\tau^2 = \max(0, (Q - S + 1)/C)`, :math:`w = 1/v`, :math:`Q = \sum w(\hat k_s - \hat\mu_w)^2`,
    :math:`C = \sum w - \sum w^2/\sum w`. Assumes exchangeable sites.

    Parameters
    ----------
    predictions, y : array-like, shape (n_c,)
        Calibration sample.
    sites : array-like, shape (n_c,)
        Site of each row.
    groups : array-like, shape (n_c,), optional
        Clusters within sites.

    Returns
    -------
    DataFrame
        Index site; ``slope``, ``se``, ``shrunk``, ``shrunk_se``, ``n``. ``attrs``: ``q``, ``i_squared``,
        ``tau`` (of the slope), ``mean``, ``prediction_interval`` (95 %, a new site), and the slopes
        ``total``, ``within`` and ``between`` sites.

    Raises
    ------
    CalibrationError
        Fewer than three usable sites.

    References
    ----------
    DerSimonian & Laird 1986; Higgins, Thompson & Spiegelhalter 2009.

    Examples
    --------
    >>> from causalkit import slope_heterogeneity
    >>> from causalkit.datasets import make_site_map
    >>> data = make_site_map(random_state=0)
    >>> frame = slope_heterogeneity(
    ...     data.calibration_predictions, data.calibration_y, sites=data.calibration_sites)
    >>> sorted(frame.attrs)
    ['between', 'i_squared', 'mean', 'prediction_interval', 'q', 'tau', 'total', 'within']
    """
    import pandas as pd
    from scipy import stats

    sample = check_calibration_sample(predictions, y, groups=groups)
    cells = check_groups(sites, sample.n, name="sites", like="predictions")
    if cells is None:
        raise ValueError("sites is missing: pass the site of each calibration row.")
    labels, coef, cov, _ = site_lines(sample, cells, "HC1")
    effects = dersimonian_laird(coef, cov)
    shrunk, joint = shrink(coef, cov, effects)
    sizes = pd.Series(cells.labels[cells.codes]).value_counts()
    frame = pd.DataFrame(
        {
            "slope": coef[:, 1],
            "se": np.sqrt(cov[:, 1, 1]),
            "shrunk": shrunk[:-1, 1],
            "shrunk_se": np.sqrt(np.diag(joint)[1:-2:2]),
            "n": [int(sizes[label]) for label in labels.tolist()],
        },
        index=pd.Index(labels, name="site"),
    )
    half = stats.t(max(len(labels) - 2, 1)).ppf(0.975) * math.sqrt(effects.mean_cov[1, 1] + effects.tau[1] ** 2)
    frame.attrs.update(
        q=float(effects.q[1]),
        i_squared=float(effects.i_squared[1]),
        tau=float(effects.tau[1]),
        mean=float(effects.mean[1]),
        prediction_interval=(float(effects.mean[1] - half), float(effects.mean[1] + half)),
        total=fit_lines(sample).slope,
        within=fit_lines(deviations(sample, "within", cells.labels[cells.codes])).slope,
        between=fit_lines(deviations(CalibrationSample(sample.predictions, sample.y), "between",
                                     cells.labels[cells.codes])).slope,
    )  # fmt: skip
    return frame
