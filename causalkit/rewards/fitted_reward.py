"""What a fitted RewardDeconfounder answers: rewards, confounder effects, intervals, diagnostics and sensitivity."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from causalkit.exceptions import MethodNotApplicableError
from causalkit.inference import FitSummary, InferenceResult
from causalkit.inference.result import check_confidence_level
from causalkit.rewards.backfitting import is_nonlinear
from causalkit.rewards.confounders import Confounders, confounder_frame, refuse_unseen
from causalkit.rewards.diagnostics import RewardDiagnostics
from causalkit.rewards.group_effects import LevelEffect
from causalkit.rewards.orthogonal import gram, quadratic_forms, times
from causalkit.rewards.pairwise import PairwiseRewardModel
from causalkit.rewards.reading import encode
from causalkit.rewards.sensitivity import sensitivity_frame
from causalkit.rewards.standardization_method import ModelEffect, StandardizedEffect
from causalkit.rewards.summaries import summarise
from causalkit.validation import check_fit_table, check_sample_weight, check_vector

if TYPE_CHECKING:
    import pandas as pd

    from causalkit.rewards.records import RewardParts
    from causalkit.validation import Groups

__all__ = ["FittedReward"]

Array = NDArray[np.float64]

ABSORBING = ("fixed_effects", "mixed", "mundlak")  # their errors carry the degrees of freedom of the levels
SANDWICH_ONLY = ("instrument", "weighting", "standardization", "invariance")


class FittedReward:
    """Methods after ``fit`` of :class:`RewardDeconfounder`, which sets the attributes that they read."""

    method: str
    covariance: str
    final_model: Any
    final_model_: Any
    encoder_: Any
    coef_: Array
    covariance_: Array
    intercept_: float
    feature_mean_: Array
    residual_variance_: float
    _coding: Confounders | None
    _diagnostics: RewardDiagnostics
    _groups: Groups | None
    _names: list[str]
    _outcome_mean: float
    _outcome_variance: float
    _parts: RewardParts
    _scale: float

    def _covariance_kind(self) -> str:
        return self._kind(self._groups)

    def _kind(self, groups: Groups | None) -> str:
        """Kind of covariance: "auto" resolved by the clusters and the method."""
        if self.covariance == "cluster" and groups is None:
            raise ValueError('covariance="cluster" needs groups: pass groups= to fit, or covariance="HC0".')
        if self.covariance == "homoskedastic" and self.method in SANDWICH_ONLY:
            raise MethodNotApplicableError(
                f'covariance="homoskedastic" has no formula for method="{self.method}", whose errors are sums of '
                'squared influence values: pass "auto", "HC0", "HC1" or "cluster".'
            )
        kind = self.covariance
        if kind == "auto":
            kind = "cluster" if groups is not None else "HC1" if self.method in ABSORBING else "HC0"
        if kind == "cluster" and groups is not None and groups.n_groups < 2:
            raise ValueError(
                "groups has 1 distinct label: a clustered covariance needs at least two. Leave groups out, or pass "
                "finer ones."
            )
        return kind

    # ------------------------------------------------------------------ rewards

    def _features(self, X: Any, name: str = "X") -> NDArray[np.floating]:
        check_is_fitted(self)
        features = encode(self.encoder_, X, name=name)
        return check_fit_table(self, features, name=name, dtype=[np.float64, np.float32], order="C", reset=False)

    def predict(self, X: Any, *, return_std: bool = False) -> Array | tuple[Array, Array]:
        """Reward of new content at average confounders; it takes none.

        Parameters
        ----------
        X : array-like, shape (n, p), or texts
            Features or texts.
        return_std : bool, default=False
            Also return standard errors of the reward relative to that of the mean text (linear and pairwise
            rewards).

        Returns
        -------
        ndarray, shape (n,), or a tuple of two
            In units of y (log-odds for a pairwise reward).
        """
        features = self._features(X)
        if hasattr(self, "final_model_"):
            pairwise = isinstance(self.final_model_, PairwiseRewardModel)
            if return_std and not pairwise:
                raise ValueError(
                    "return_std needs a linear or pairwise reward, and this fit has a final model of type "
                    f"{type(self.final_model_).__name__}: leave final_model at None."
                )
            reward = np.asarray(self.final_model_.predict(features), dtype=np.float64).reshape(-1)
            covariance = self.final_model_.covariance_ if pairwise else self.covariance_
        else:
            reward, covariance = self.intercept_ + times(features, self.coef_), self.covariance_
        if not return_std:
            return reward
        variance = quadratic_forms(features, self.feature_mean_, covariance)
        return reward, np.sqrt(np.clip(variance, 0.0, None))

    def _new_confounders(self, confounders: Any, n_rows: int | None) -> tuple[Confounders, pd.DataFrame]:
        if self._coding is None:
            raise ValueError('the fit had no confounders (method="none"): leave this argument out.')
        if confounders is None:
            raise ValueError(f"confounders is missing: expected the columns {list(self._coding.roles.columns)}.")
        frame = confounder_frame(confounders, n_rows, columns=self._coding.roles.columns)
        new = self._coding.of_new(frame)
        if self.method not in ("mixed", "mundlak"):
            refuse_unseen(new, frame, 'Use method="mixed", which gives unseen levels a prior, or drop these rows.')
        return new, frame

    def transform(self, X: Any, y: Any, *, confounders: Any = None) -> Array:
        """Adjusted rewards y - ĝ(c) of new logged rows, by nuisances fitted on all rows of the fit.

        Parameters
        ----------
        X : array-like, shape (n, p), or texts
            Features or texts.
        y : array-like, shape (n,)
            Outcomes.
        confounders : frame or array-like, shape (n, q)
            Their confounders.

        Returns
        -------
        ndarray, shape (n,)
        """
        features = self._features(X)
        outcome = check_vector(y, "y", n_rows=len(features), like="X")
        if self._coding is None:
            return outcome
        new, _ = self._new_confounders(confounders, len(features))
        effect: Any = self._parts.effect
        # Where the effect depends on the text: standardization, and unseen levels of "mundlak".
        by_text = isinstance(effect, LevelEffect | StandardizedEffect | ModelEffect)
        value = effect.value_at(features, new) if by_text else effect.value(new)
        return np.asarray(outcome - value)

    def confounder_effect(self, confounders: Any, *, return_std: bool = False) -> Array | tuple[Array, Array]:
        """Effect ĝ(c) of confounders on the outcome, net of the texts, less its training mean.

        Parameters
        ----------
        confounders : frame or array-like, shape (n, q)
            Confounders.
        return_std : bool, default=False
            Also return standard errors.

        Returns
        -------
        ndarray, shape (n,), or a tuple of two
        """
        check_is_fitted(self)
        new, _ = self._new_confounders(confounders, None)
        value = self._parts.effect.value(new)
        if not return_std:
            return value
        std, complete = self._parts.effect.std_error(new, self.covariance_, self.residual_variance_)
        if not complete:
            warnings.warn(
                "these standard errors are a lower bound: they hold the noise of the coefficients only, because the "
                "outcome model is not a linear smoother.",
                UserWarning,
                stacklevel=2,
            )
        return value, std

    def score(self, X: Any, y: Any, *, confounders: Any = None, sample_weight: Any = None) -> float:
        """1 - Σ(Ỹ - X̃θ̂)²/ΣỸ² on these rows: how much of the outcome net of confounders the texts explain.

        Parameters
        ----------
        X, y, confounders, sample_weight
            Rows, as in :meth:`fit`.

        Returns
        -------
        float
        """
        features = self._features(X)
        outcome = check_vector(y, "y", n_rows=len(features), like="X")
        weight = check_sample_weight(sample_weight, len(features), like="X")
        if self._coding is None:
            error = (outcome - self._outcome_mean) - times(features - self.feature_mean_, self.coef_)
            target = outcome - self._outcome_mean
        else:
            new, _ = self._new_confounders(confounders, len(features))
            if is_nonlinear(self.final_model):
                reward = np.asarray(self.final_model_.predict(features), dtype=np.float64).reshape(-1, 1)
                left, target = self._parts.effect.residuals(reward, outcome, new, weight)
                error = target - left[:, 0]
            else:
                left, target = self._parts.effect.residuals(features, outcome, new, weight)
                error = target - times(left, self.coef_)
        w = np.ones(len(target)) if weight is None else weight
        total = float(w @ target**2)
        return 1.0 - float(w @ error**2) / total if total > 0 else 0.0

    # ------------------------------------------------------------------ inference

    def inference(self) -> InferenceResult:
        """Coefficients with standard errors.

        Returns
        -------
        InferenceResult
        """
        check_is_fitted(self)
        return self._inference_of(np.eye(len(self.coef_)), self._names)

    def pair_inference(self, X_first: Any, X_second: Any) -> InferenceResult:
        """Differences of rewards within pairs of texts, with standard errors.

        Parameters
        ----------
        X_first, X_second : array-like, shape (m, p), or texts
            The two members of each pair.

        Returns
        -------
        InferenceResult
            In units of y; log-odds for a pairwise reward.
        """
        check_is_fitted(self)
        if hasattr(self, "final_model_") and not isinstance(self.final_model_, PairwiseRewardModel):
            raise ValueError(
                "pair_inference needs a linear or pairwise reward, and this fit has final_model="
                f"{type(self.final_model).__name__}: leave it at None."
            )
        first, second = self._features(X_first, "X_first"), self._features(X_second, "X_second")
        if len(first) != len(second):
            raise ValueError(f"X_first has {len(first)} rows, X_second {len(second)}: pass pairs of rows.")
        directions = (first.astype(np.float64) - second.astype(np.float64)).T
        names = [f"pair {i}" for i in range(len(first))]
        if hasattr(self, "final_model_"):
            return self.final_model_.inference().contrast(directions.T, names)
        return self._inference_of(directions, names)

    def diagnostics(self) -> RewardDiagnostics:
        """Overlap, nuisance fit, additivity, confounders that follow the text; ``.ok`` if nothing was found.

        Returns
        -------
        RewardDiagnostics
        """
        check_is_fitted(self)
        return self._diagnostics

    def summary(self) -> FitSummary:
        """Coefficients, the assumptions that they rest on, and notes.

        Returns
        -------
        FitSummary
        """
        check_is_fitted(self)
        return summarise(self)

    def sensitivity(
        self,
        *,
        X_first: Any = None,
        X_second: Any = None,
        cf_y: float = 0.03,
        cf_d: float = 0.03,
        rho: float = 1.0,
        reduction: float = 1.0,
        confidence_level: float = 0.95,
    ) -> pd.DataFrame:
        """What an unmeasured confounder of given strength could do to each coefficient, or to each pair.

        Parameters
        ----------
        X_first, X_second : array-like, shape (m, p), or texts, optional
            Pairs; default the features.
        cf_y, cf_d : float in [0, 1), default=0.03
            Shares of the residual variances of outcome and features that it explains.
        rho : float in [-1, 1], default=1
            Correlation of the two errors.
        reduction : float, default=1
            Share of an estimate that the bias must remove, for the robustness values.
        confidence_level : float, default=0.95
            One-sided level of ``ci_lower`` and ``ci_upper``.

        Returns
        -------
        DataFrame
            estimate, se, bound, lower, upper, ci_lower, ci_upper, rv, rv_alpha, e_value, robust (the sign survives).
        """
        check_is_fitted(self)
        check_confidence_level(confidence_level)
        if not self._parts.fits or self._parts.influence is not None:
            raise MethodNotApplicableError(
                f'sensitivity() is for rewards from residuals, which method="{self.method}" has none of: use '
                '"partially_linear" or "fixed_effects".'
            )
        if (X_first is None) != (X_second is None):
            raise ValueError("X_first and X_second belong together: pass both, for pairs, or neither, for features.")
        if X_first is None:
            directions, names = np.eye(len(self.coef_)), self._names
        else:
            first, second = self._features(X_first, "X_first"), self._features(X_second, "X_second")
            if len(first) != len(second):
                raise ValueError(f"X_first has {len(first)} rows, X_second {len(second)}: pass pairs of rows.")
            directions = (first.astype(np.float64) - second.astype(np.float64)).T
            names = [f"pair {i}" for i in range(len(first))]
        return sensitivity_frame(
            self._parts.fits,
            directions,
            names,
            self.coef_ @ directions,
            np.asarray(self._influence(directions), dtype=np.float64),
            self._groups.codes if self._covariance_kind() == "cluster" and self._groups is not None else None,
            float(np.sqrt(self._outcome_variance)),
            cf_y=cf_y,
            cf_d=cf_d,
            rho=rho,
            reduction=reduction,
            confidence_level=confidence_level,
        )

    def _inference_of(self, directions: Array, names: list[str]) -> InferenceResult:
        parts, kind = self._parts, self._covariance_kind()
        estimate = self.coef_ @ directions
        n = len(parts.residuals)
        if kind == "homoskedastic" and parts.influence is None:
            cov = self.covariance_
            return InferenceResult(
                estimate=estimate,
                cov=directions.T @ cov @ directions,
                names=tuple(names),
                n_obs=n,
                dependence="independent rows of equal variance",
            )
        groups = self._groups if kind == "cluster" else None
        influence = self._influence(directions)
        if groups is not None or influence.dtype == np.float64:
            return InferenceResult.from_influence(estimate, influence, names=names, groups=groups, n_obs=n)
        # In single precision the values stay as they are: a copy in double would be twice the size of X.
        cov = gram(influence) / len(influence) ** 2
        return InferenceResult(estimate=estimate, cov=cov, names=tuple(names), n_obs=n, influence_values=influence)

    def _influence(self, directions: Array) -> NDArray[Any]:
        """Influence values of combinations of the coefficients, finite-sample factors included."""
        parts, scale = self._parts, self._scale
        if parts.influence is not None:
            return np.asarray(parts.influence @ directions * scale)
        if len(parts.fits) == 1:
            return parts.fits[0].influence(directions, scale)
        return np.asarray(np.mean([fit.influence(directions, scale) for fit in parts.fits], axis=0))
