"""Regression tables with a corrected outcome: from a formula, or by correcting a table one already has."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from causalkit.debiasing.calibration_sample import FEW_CLUSTERS, warn_few_clusters
from causalkit.debiasing.downstream import TrialRows, regression_functional
from causalkit.debiasing.effect_assembly import assemble_effect, check_shared_groups, warn_off_support
from causalkit.exceptions import CalibrationWarning
from causalkit.inference import InferenceResult
from causalkit.validation import check_groups, check_sample_weight

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DebiasedRegression", "correct_vcov", "debiased_regression"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class DebiasedRegression(InferenceResult):
    r"""Coefficients of a regression of the corrected outcome, with calibration noise in their covariance.

    With the correction :math:`g(\hat y) = h(\hat y)'\theta` and B the matrix of coefficients of each of its
    columns, the estimate is :math:`B'\hat\theta` and its covariance
    :math:`V_{down} + B'V_\theta B`, :math:`V_{down}` the HC1 or clustered covariance with θ fixed.

    Assumptions: exclusion given the regressors, :math:`E[\hat Y\mid Y, X] = E[\hat Y\mid Y]`; a regressor
    that the model saw breaks it for its own coefficient. Outcome: corrected map; covariate: raw map.

    Attributes
    ----------
    naive : InferenceResult
        The same regression of the raw predictions.
    variance_parts : DataFrame
        Variances from trial sampling and calibration, one row per coefficient; they add up.
    correction : str
        Name of the correction.
    outcome : ndarray, shape (n,)
        Corrected outcome of the rows used.
    design : ndarray, shape (n, p)
        Regressors.
    weight : ndarray, shape (n,), optional
        Sample weights.
    outcome_name : str
        Name of the prediction column.

    References
    ----------
    Nab et al. 2021, doi 10.1016/j.cmpb.2021.106238 (error in the outcome of a regression).

    Examples
    --------
    >>> import pandas as pd
    >>> from causalkit import LinearCalibration
    >>> from causalkit.datasets import make_gaussian_map
    >>> data = make_gaussian_map(random_state=0)
    >>> calibration = LinearCalibration().fit(data.calibration_predictions, data.calibration_y)
    >>> trial = pd.DataFrame({"predicted": data.predictions, "treated": data.treatment})
    >>> regression = calibration.ols("predicted ~ treated", trial)
    >>> regression.names
    ('Intercept', 'treated')
    """

    naive: InferenceResult = field(repr=False)
    variance_parts: pd.DataFrame = field(repr=False)
    correction: str = ""
    outcome: Array = field(repr=False)
    design: Array = field(repr=False)
    weight: Array | None = field(default=None, repr=False)
    outcome_name: str = "outcome"

    @property
    def statsmodels(self) -> Any:
        """Results of statsmodels with the corrected coefficients and covariance installed.

        ``summary()``, ``t_test``, ``conf_int`` and table makers read corrected numbers from it.
        """
        import pandas as pd
        import statsmodels.api as sm

        design = pd.DataFrame(self.design, columns=list(self.names))
        outcome = pd.Series(self.outcome, name=f"corrected {self.outcome_name}")
        model = sm.OLS(outcome, design) if self.weight is None else sm.WLS(outcome, design, weights=self.weight)
        results = model.fit(cov_type="HC1", use_t=self.df is not None)
        for target in (results, results._results):
            target.cov_params_default = self.cov
            target.cov_type = "calibrated"
            target.cov_kwds = {
                "description": "Covariance includes the calibration noise of the outcome (delta method)."
            }
            target.use_t = self.df is not None
            if self.df is not None:
                target.df_resid_inference = self.df
            target._cache = {}
        return results

    def __repr__(self) -> str:
        return super().__repr__()


def debiased_regression(
    correction: Any,
    formula: str,
    data: Any,
    *,
    sample_weight: Any = None,
    groups: Any = None,
    shared_groups: bool = False,
) -> DebiasedRegression:
    """Fit ``formula`` with the corrected outcome; see ``CorrectionMixin.ols``."""
    data = _as_pandas(data)
    weight = check_sample_weight(sample_weight, len(data), like="data")
    clusters = check_groups(groups, len(data), like="data")
    if getattr(correction, "differential", None) is not None:
        raise ValueError("ols is not defined for a correction by treatment: use effect with treatment.")
    model, kept = _design(formula, data, weight)
    x = np.asarray(model.endog, dtype=float)
    design = np.asarray(model.exog, dtype=float)
    names = tuple(model.exog_names)
    rows = TrialRows(len(x), None, None, correction.weight_type == "frequency")
    if weight is not None:
        rows = TrialRows(len(x), weight[kept], None, rows.frequency)
    if clusters is not None:
        rows = TrialRows(
            len(x), rows.weight, check_groups(clusters.labels[clusters.codes][kept], len(x)), rows.frequency
        )
    if rows.groups is not None and rows.groups.n_groups < FEW_CLUSTERS:
        warn_few_clusters(rows.groups.n_groups, "the sample", stacklevel=4)
    fitted, cells = correction._for_trial(len(x), None, None)
    if shared_groups:
        check_shared_groups(rows, fitted)
    correction._extra_warnings(0)
    warn_off_support(x, fitted.support, stacklevel=4)
    downstream = regression_functional(design, list(range(design.shape[1])), names, rows)
    effect = assemble_effect(
        fitted,
        downstream,
        x,
        rows,
        cells=cells,
        shared_groups=shared_groups,
        correction=type(correction).__name__,
        is_contrast=False,
    )
    return DebiasedRegression(
        estimate=effect.estimate,
        cov=effect.cov,
        names=names,
        n_obs=effect.n_obs,
        influence_values=effect.influence_values,
        groups=effect.groups,
        df=effect.df,
        dependence=effect.dependence,
        sample=effect.sample,
        outcome=fitted.basis.evaluate(x, fitted.coef, cells),
        design=design,
        weight=rows.weight,
        outcome_name=str(model.endog_names),
        naive=effect.naive,
        variance_parts=effect.variance_parts,
        correction=type(correction).__name__,
    )


def _as_pandas(data: Any) -> Any:
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return data
    if hasattr(data, "to_dict") and hasattr(data, "columns"):  # polars, without needing pyarrow
        return pd.DataFrame({name: data[name].to_numpy() for name in data.columns})
    raise ValueError(f"data must be a pandas or polars frame; got {type(data).__name__}.")


def _design(formula: str, data: Any, weight: Array | None) -> tuple[Any, NDArray[np.bool_]]:
    """The statsmodels model of the formula, and which rows of ``data`` it uses."""
    from statsmodels.formula import api

    if not isinstance(formula, str) or formula.count("~") != 1:
        raise ValueError(f'formula must read "prediction ~ terms" with one tilde; got {formula!r}.')
    left, right = (side.strip() for side in formula.split("~"))
    outcome = left[2:-1].strip("\"'") if left.startswith("Q(") else left
    if outcome not in data.columns:
        raise ValueError(
            f"the left side of the formula must be the column of raw predictions, untransformed; got {left!r}, and "
            f"data has {list(map(str, data.columns))[:10]}. Corrections apply to the prediction itself."
        )
    if re.search(rf"(?<![\w.]){re.escape(outcome)}(?![\w.])", right):
        warnings.warn(
            f"{outcome} is also on the right-hand side; outcome: corrected map; covariate: raw map. A corrected map "
            "has classical error and would attenuate as a regressor; the raw column is used there.",
            CalibrationWarning,
            stacklevel=4,
        )
    model = api.ols(formula, data) if weight is None else api.wls(formula, data, weights=weight)
    kept = np.ones(len(data), dtype=bool)
    missing = getattr(model.data, "missing_row_idx", None)
    if missing is not None and len(missing):
        kept[np.asarray(missing, dtype=int)] = False
    if not np.isfinite(model.exog).all() or not np.isfinite(model.endog).all():
        raise ValueError("data contains infinite values in columns of the formula: drop or repair these rows first.")
    return model, kept


# ---------------------------------------------------------------------- a table one already has


def correct_vcov(params: Any, vcov: Any = None, *, correction: Any, intercept: Any = "auto") -> tuple[Any, Any]:
    r"""Correct the coefficients and covariance of a linear regression of raw predictions.

    With calibration :math:`\hat Y = m + kY` and c = (X'WX)⁻¹X'W1 (the unit vector of the intercept, or 0
    where effects are absorbed),

    .. math:: \beta_c &= (\hat\beta - \hat m c)/\hat k \\
              V_c &= \hat k^{-2}\{V_\beta + \mathrm{Var}(\hat k)\beta_c\beta_c' +
              \mathrm{Cov}(\hat k,\hat m)(\beta_c c' + c\beta_c') + \mathrm{Var}(\hat m) cc'\}.

    Assumptions: exclusion, as in :class:`LinearCalibration`; calibration and trial rows independent.

    Parameters
    ----------
    params : results object, Series or array-like, shape (p,)
        A statsmodels or linearmodels linear-model result, or coefficients.
    vcov : frame or array-like, shape (p, p), optional
        Their covariance; read from a results object.
    correction : LinearCalibration
        Fitted, or built by ``LinearCalibration.from_coefficients``.
    intercept : "auto", str, int, array-like of shape (p,), or None, default="auto"
        Name, position or vector c of the constant; None where it was absorbed. "auto" computes c from the
        regressors of a statsmodels least-squares result (so that a full set of dummies, or no constant at
        all, is right too), and else finds a column named Intercept, const, or (Intercept).

    Returns
    -------
    params, vcov
        Of the type that was given: a Series and a frame for results objects and labelled input, else
        arrays.

    Raises
    ------
    TypeError
        For a correction that is not linear: use ``.ols(formula, data)``.
    ValueError
        For a model that is not linear in the outcome, or shapes that do not match.

    References
    ----------
    Nab et al. 2021, doi 10.1016/j.cmpb.2021.106238, external validation (the delta method).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit import LinearCalibration, correct_vcov
    >>> calibration = LinearCalibration.from_coefficients(0.5, 1.0, [[0.01, 0.0], [0.0, 0.04]])
    >>> params, vcov = correct_vcov([2.0, 1.0], np.diag([0.1, 0.2]), correction=calibration, intercept=0)
    >>> params
    array([2., 2.])
    """
    from causalkit.debiasing.linear_calibration import LinearCalibration

    if not isinstance(correction, LinearCalibration) or getattr(correction, "differential", None) is not None:
        raise TypeError(
            f"correct_vcov needs a LinearCalibration without differential; got {type(correction).__name__}: a "
            "nonlinear correction must see the rows, so use .ols(formula, data)."
        )
    check_is_fitted(correction)
    if hasattr(params, "params"):
        _refuse_nonlinear(params)
        if isinstance(intercept, str) and intercept == "auto":
            intercept = _constant_of(params)
        params, vcov = _table_of(params, vcov)
    if vcov is None:
        raise ValueError("vcov is missing: pass the covariance of params, or a results object.")
    labels = params.index if hasattr(params, "iloc") else None
    beta = np.asarray(params, dtype=float).reshape(-1)
    covariance = np.asarray(vcov, dtype=float)
    if covariance.shape != (len(beta), len(beta)) or not np.isfinite(covariance).all() or not np.isfinite(beta).all():
        raise ValueError(
            f"vcov must be finite and of shape ({len(beta)}, {len(beta)}) like params; got shape {covariance.shape}."
        )
    c = _constant_vector(intercept, labels, len(beta))
    k, m = correction.slope_, correction.intercept_
    (v_k, cov_km), (_, v_m) = np.where(np.isfinite(correction.cov_), correction.cov_, 0.0)
    corrected = (beta - m * c) / k
    cross = np.outer(corrected, c)
    total = covariance + v_k * np.outer(corrected, corrected) + cov_km * (cross + cross.T) + v_m * np.outer(c, c)
    total = total / k**2
    if labels is None:
        return corrected, total
    import pandas as pd

    return pd.Series(corrected, index=labels, name="corrected"), pd.DataFrame(total, index=labels, columns=labels)


def _constant_of(results: Any) -> Any:
    """Coefficients of a constant outcome, c = (X'WX)⁻¹X'W1, from least-squares results; else "auto"."""
    model: Any = getattr(results, "model", None)
    if type(model).__name__ not in ("OLS", "WLS", "GLS", "GLSAR") or getattr(model, "pinv_wexog", None) is None:
        return "auto"
    return np.asarray(model.pinv_wexog @ model.whiten(np.ones(len(model.exog))), dtype=float)


def _table_of(results: Any, vcov: Any) -> tuple[Any, Any]:
    """Coefficients and covariance of results; variance components of mixed models are left out."""
    table = results.params
    if vcov is None:
        vcov = results.cov_params() if callable(getattr(results, "cov_params", None)) else results.cov
    fixed = getattr(results, "fe_params", None)
    if fixed is None:
        return table, vcov
    p = len(fixed)
    vcov = vcov.iloc[:p, :p] if hasattr(vcov, "iloc") else np.asarray(vcov)[:p, :p]
    return fixed, vcov


def _refuse_nonlinear(results: Any) -> None:
    model = getattr(results, "model", None)
    module, name = type(model).__module__, type(model).__name__
    linear = {"OLS", "WLS", "GLS", "GLSAR", "MixedLM", "PanelOLS", "PooledOLS", "BetweenOLS", "FirstDifferenceOLS",
              "RandomEffects", "AbsorbingLS", "IV2SLS", "IVLIML", "IVGMM"}  # fmt: skip
    if model is not None and name not in linear:
        raise ValueError(
            f"the results come from {name} ({module.split('.')[0]}), which is not linear in the outcome: a corrected "
            "map is a drop-in for linear models only (OLS, WLS, GLS, IV, fixed effects)."
        )


def _constant_vector(intercept: Any, labels: Any, p: int) -> Array:
    c = np.zeros(p)
    if intercept is None:
        return c
    if isinstance(intercept, str):
        names = [] if labels is None else [str(label) for label in labels]
        wanted = ("Intercept", "const", "(Intercept)", "intercept") if intercept == "auto" else (intercept,)
        found = [j for j, name in enumerate(names) if name in wanted]
        if not found and intercept == "auto":
            if labels is None:
                raise ValueError(
                    'intercept="auto" needs labelled params: pass the position of the constant, or None if absorbed.'
                )
            return c
        if not found:
            raise ValueError(f"intercept {intercept!r} is not among the coefficients {names[:10]}.")
        c[found[0]] = 1.0
        return c
    if isinstance(intercept, int | np.integer):
        if not -p <= intercept < p:
            raise ValueError(f"intercept is position {intercept}, but params has {p} entries.")
        c[int(intercept)] = 1.0
        return c
    vector = np.asarray(intercept, dtype=float).reshape(-1)
    if len(vector) != p or not np.isfinite(vector).all():
        raise ValueError(f"intercept as a vector needs {p} finite entries, (X'WX)⁻¹X'W1; got shape {vector.shape}.")
    return vector
