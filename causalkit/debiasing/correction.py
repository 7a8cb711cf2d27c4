"""The mixin that all corrections share: transform, effect, mean, regression and imputation."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from causalkit.debiasing.calibration_sample import FEW_CLUSTERS, CalibrationSample, warn_few_clusters
from causalkit.debiasing.downstream import TrialRows, mean_functional
from causalkit.debiasing.effect_assembly import assemble_effect, check_shared_groups, warn_off_support
from causalkit.debiasing.effects import DebiasedEffect
from causalkit.debiasing.fitted import FittedCorrection
from causalkit.debiasing.trial import check_trial, choose_downstream
from causalkit.exceptions import CalibrationWarning
from causalkit.seeds import generator
from causalkit.validation import (
    check_choice,
    check_groups,
    check_integer,
    check_sample_weight,
    check_vector,
    column_name,
)

if TYPE_CHECKING:
    import pandas as pd

    from causalkit.debiasing.regression import DebiasedRegression

__all__ = ["CorrectionMixin"]

Array = NDArray[np.float64]


class CorrectionMixin(TransformerMixin):
    """Everything that a correction g(ŷ) = h(ŷ)'θ can do once it is fitted.

    A room estimator fits, calls :meth:`_store` with a :class:`FittedCorrection`, and implements
    ``_refit(sample)`` for the bootstrap.
    """

    cov_type: str
    weight_type: str
    _fitted: FittedCorrection

    # ------------------------------------------------------------------ fitted state

    def _check_options(self) -> None:
        check_choice(self.cov_type, "cov_type", ("HC0", "HC1"))
        check_choice(self.weight_type, "weight_type", ("probability", "frequency"))

    def _store(self, fitted: FittedCorrection, predictions: Any, n_rows: float) -> None:
        """Set every attribute of the fit at once, so that a failure before leaves the old fit."""
        from causalkit.inference import influence_covariance

        self._fitted = fitted
        self.coef_ = fitted.coef
        self.coef_cov_ = influence_covariance(fitted.noise * len(fitted.noise), groups=fitted.groups)
        self.coef_influence_ = fitted.noise * len(fitted.noise) if fitted.has_rows else None
        self.slope_ = fitted.lines.slope
        self.intercept_ = fitted.lines.intercept
        self.berkson_slope_ = fitted.lines.berkson_slope
        self.r_squared_ = fitted.lines.r_squared
        self.n_calibration_ = round(n_rows)
        self.support_ = fitted.support
        self.n_features_in_ = 1
        name = column_name(predictions) if getattr(predictions, "columns", None) is not None else None
        if name is not None:
            self.feature_names_in_ = np.array([name], dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _for_trial(self, n: int, treatment: Any, sites: Any) -> tuple[FittedCorrection, NDArray[np.intp] | None]:
        """The fitted correction for these trial rows, and the cell of each row where cells matter."""
        return self._fitted, None

    def _refit(self, sample: CalibrationSample) -> FittedCorrection:
        """Fit a resampled calibration sample without checks or warnings."""
        raise AttributeError(f"{type(self).__name__} cannot be refitted on resampled rows.")

    def _extra_warnings(self, n_bootstrap: int) -> None:
        """Warnings that an effect of this correction calls for."""

    def _warn_of_total_variation(self) -> None:
        if getattr(self, "variation", "total") == "total":
            warnings.warn(
                'estimator="did" with a correction fitted at variation="total": a cross-sectional slope does not '
                'repair a difference in differences. Fit LinearCalibration(variation="change") on calibration rows '
                "seen in both periods.",
                CalibrationWarning,
                stacklevel=3,
            )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")

    # ------------------------------------------------------------------ transform

    def _check_columns(self, predictions: Any) -> None:
        known = getattr(self, "feature_names_in_", None)
        columns = getattr(predictions, "columns", None)
        if columns is not None and len(columns) == 1 and known is not None and str(columns[0]) != known[0]:
            raise ValueError(
                f"The feature names should match those that were passed during fit: predictions has column "
                f"{str(columns[0])!r}, expected {known[0]!r}."
            )
        shape: tuple[int, ...] = getattr(predictions, "shape", ())  # of lists check_vector says what is wrong
        if len(shape) == 2 and shape[1] != 1:
            raise ValueError(
                f"X has {shape[1]} features, but {type(self).__name__} is expecting 1 feature as input: pass the one "
                "column of predictions."
            )

    def transform(self, predictions: Any, *, treatment: Any = None, sites: Any = None) -> Array:
        """Corrected outcome g(ŷ), a drop-in for Y in estimators that are linear in the outcome.

        Outcome: corrected map; covariate: raw map.

        Parameters
        ----------
        predictions : array-like, shape (n,) or (n, 1)
            Predictions to correct.
        treatment : array-like, shape (n,), optional
            Treatment of each row; only for a correction fitted with ``differential``.
        sites : array-like, shape (n,), optional
            Site of each row; only for :class:`HierarchicalCalibration`.

        Returns
        -------
        ndarray
            In the shape of ``predictions``; a frame under ``set_output``.
        """
        check_is_fitted(self)
        self._check_columns(predictions)
        x = check_vector(predictions, "predictions")
        fitted, cells = self._for_trial(len(x), treatment, sites)
        out = fitted.basis.evaluate(x, fitted.coef, cells)
        return out[:, None] if len(np.shape(predictions)) == 2 else out

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Name of the corrected column: that of the predictions.

        Parameters
        ----------
        input_features : array-like of str, shape (1,), optional
            Name to use where none was seen in ``fit``; must agree with it otherwise.

        Returns
        -------
        ndarray of str, shape (1,)
        """
        check_is_fitted(self)
        known = getattr(self, "feature_names_in_", None)
        if input_features is not None:
            names = np.asarray(input_features, dtype=object)
            if names.shape != (1,) or (known is not None and names[0] != known[0]):
                raise ValueError(
                    f"input_features is not equal to feature_names_in_ or should have length 1: got {list(names)}."
                )
            return names
        return np.array(["x0"], dtype=object) if known is None else np.array(known, dtype=object)

    # ------------------------------------------------------------------ effects

    def effect(
        self,
        predictions: Any,
        *,
        treatment: Any,
        estimator: str = "difference",
        confounders: Any = None,
        propensity: Any = None,
        outcome_model: Any = None,
        treatment_model: Any = None,
        post: Any = None,
        unit: Any = None,
        sites: Any = None,
        sample_weight: Any = None,
        groups: Any = None,
        shared_groups: bool = False,
        n_bootstrap: int = 0,
        cv: Any = 5,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> DebiasedEffect:
        """Effect of a treatment on the true outcome in a trial that has predictions only.

        Parameters
        ----------
        predictions : array-like, shape (n,) or (n, 1)
            Raw predictions of the trial rows (they are corrected here).
        treatment : array-like, shape (n,)
            Two to 20 levels, each compared with the smallest. With ``estimator="ols"`` a numeric treatment of
            three values or more is a dose with one slope; pass strings for one effect per level.
        estimator : {"difference", "hajek", "horvitz_thompson", "ols", "aipw", "did"}, default="difference"
            Downstream estimator: difference in means; inverse-probability weighting with or without
            normalised weights; the treatment coefficient of least squares; doubly robust with
            cross-fitted nuisances; two-way difference in differences.
        confounders : array-like, shape (n, p), optional
            Covariates of the weighting, regression or doubly robust estimator.
        propensity : array-like, shape (n,) or (n, L), optional
            Known treatment probabilities; estimated from ``confounders`` otherwise.
        outcome_model, treatment_model : estimator, optional
            Nuisance models of "aipw"; default linear and logistic regression.
        post : array-like, shape (n,), optional
            Period indicator of "did".
        unit : array-like, shape (n,), optional
            Unit of each row for "did": unit effects are absorbed, and standard errors clustered by unit
            unless ``groups`` is given.
        sites : array-like, shape (n,), optional
            Site of each row (:class:`HierarchicalCalibration`).
        sample_weight : array-like, shape (n,), optional
            Of the kind that ``weight_type`` says.
        groups : array-like, shape (n,), optional
            Clusters of the trial rows.
        shared_groups : bool, default=False
            Whether equal labels in trial and calibration groups are the same cluster.
        n_bootstrap : int, default=0
            Draws of a bootstrap that resamples rows (clusters) of both samples and refits both.
        cv, n_jobs, random_state
            Splits of "aipw", parallel jobs, and the seed of splits and bootstrap.

        Returns
        -------
        DebiasedEffect

        Raises
        ------
        ValueError
            For arguments that do not fit the estimator; the message says what to pass.
        """
        check_is_fitted(self)
        self._check_columns(predictions)
        check_integer(n_bootstrap, "n_bootstrap", low=0)
        trial = check_trial(
            predictions,
            treatment=treatment,
            estimator=estimator,
            confounders=confounders,
            propensity=propensity,
            post=post,
            unit=unit,
            sample_weight=sample_weight,
            groups=groups,
            frequency=self.weight_type == "frequency",
        )
        fitted, cells = self._for_trial(trial.rows.n, treatment, sites)
        if shared_groups:
            check_shared_groups(trial.rows, fitted)
        if n_bootstrap:
            from causalkit.debiasing.bootstrap import bootstrap_effect, check_resampling

            check_resampling(self, fitted)
        if estimator == "did":
            self._warn_of_total_variation()
        self._extra_warnings(n_bootstrap)
        outside = warn_off_support(trial.predictions, fitted.support, stacklevel=3)
        options = {"outcome_model": outcome_model, "treatment_model": treatment_model, "cv": cv, "n_jobs": n_jobs}
        downstream = choose_downstream(trial, estimator, random_state=random_state, **options)
        result = assemble_effect(
            fitted,
            downstream,
            trial.predictions,
            trial.rows,
            cells=cells,
            shared_groups=shared_groups,
            correction=type(self).__name__,
            off_support_share=outside,
        )
        self._last_off_support = outside
        if n_bootstrap:
            draws = bootstrap_effect(
                self, fitted, trial, estimator, cells, options, shared_groups, n_bootstrap, n_jobs, random_state
            )
            result = replace(result, bootstrap_estimates=draws)
        return result

    def mean(
        self, predictions: Any, *, sample_weight: Any = None, groups: Any = None, sites: Any = None
    ) -> DebiasedEffect:
        """(Weighted) mean of the true outcome over the rows of ``predictions``.

        Parameters
        ----------
        predictions : array-like, shape (n,) or (n, 1)
            Raw predictions.
        sample_weight, groups, sites : array-like, shape (n,), optional
            Weights, clusters and sites of the rows.

        Returns
        -------
        DebiasedEffect
            With one entry, "mean".
        """
        check_is_fitted(self)
        self._check_columns(predictions)
        x = check_vector(predictions, "predictions")
        rows = TrialRows(
            len(x),
            check_sample_weight(sample_weight, len(x), like="predictions"),
            check_groups(groups, len(x), like="predictions"),
            self.weight_type == "frequency",
        )
        if getattr(self, "differential", None) is not None:
            raise ValueError("mean is not defined for a correction by treatment: use effect with treatment.")
        fitted, cells = self._for_trial(len(x), None, sites)
        if rows.groups is not None and rows.groups.n_groups < FEW_CLUSTERS:
            warn_few_clusters(rows.groups.n_groups, "the sample", stacklevel=3)
        self._extra_warnings(0)
        outside = warn_off_support(x, fitted.support, stacklevel=3)
        return assemble_effect(
            fitted,
            mean_functional(rows),
            x,
            rows,
            cells=cells,
            correction=type(self).__name__,
            is_contrast=False,
            off_support_share=outside,
        )

    def ols(
        self,
        formula: str,
        data: Any,
        *,
        sample_weight: Any = None,
        groups: Any = None,
        shared_groups: bool = False,
    ) -> DebiasedRegression:
        """Least squares of the corrected outcome on a formula, with calibration noise in every standard error.

        Parameters
        ----------
        formula : str
            A statsmodels formula whose left side is the column of raw predictions in ``data``.
        data : DataFrame
            Trial data.
        sample_weight, groups : array-like, shape (n,), optional
            Weights and clusters.
        shared_groups : bool, default=False
            Whether equal labels in trial and calibration groups are the same cluster.

        Returns
        -------
        DebiasedRegression
            An :class:`InferenceResult` over all coefficients, with ``.statsmodels`` as a results object.
        """
        from causalkit.debiasing.regression import debiased_regression

        check_is_fitted(self)
        return debiased_regression(
            self, formula, data, sample_weight=sample_weight, groups=groups, shared_groups=shared_groups
        )

    def impute(self, predictions: Any, *, n_imputations: int = 20, random_state: Any = None) -> Array:
        """Corrected outcomes under draws of the calibration, θ* ~ N(θ̂, V_θ).

        Analyse each column and combine with :func:`combine_imputations`; as the number of columns grows
        the result is that of :meth:`effect`. These are draws of the calibration, not of Y: imputing Y
        given the prediction alone would return the naive estimate.

        Parameters
        ----------
        predictions : array-like, shape (n,)
            Raw predictions.
        n_imputations : int, default=20
            Number of columns, M.
        random_state : int, Generator or RandomState, optional

        Returns
        -------
        ndarray, shape (n, M)
        """
        check_is_fitted(self)
        self._check_columns(predictions)
        check_integer(n_imputations, "n_imputations", low=2)
        x = check_vector(predictions, "predictions")
        if getattr(self, "differential", None) is not None:
            raise ValueError("impute is not defined for a correction by treatment: use effect with treatment.")
        fitted, cells = self._for_trial(len(x), None, None)
        self._extra_warnings(0)
        return fitted.draw(x, generator(random_state), n_imputations, cells)

    # ------------------------------------------------------------------ diagnostics

    def diagnostics(self) -> pd.DataFrame:
        """Slopes, tests of the working model and warnings in one tidy frame.

        Returns
        -------
        DataFrame
            Columns ``quantity``, ``value``, ``se``, ``lower``, ``upper``, ``flag``.
        """
        from causalkit.debiasing.diagnostics import correction_diagnostics

        check_is_fitted(self)
        return correction_diagnostics(self)
