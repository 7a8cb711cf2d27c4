"""RewardDeconfounder: rewards of logged content, net of the known confounders of its outcome."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from causalkit.atomic_fit import atomic_fit
from causalkit.exceptions import BadControlError, MethodNotApplicableError
from causalkit.inference import InferenceResult
from causalkit.inference.result import check_confidence_level
from causalkit.rewards.confounders import Confounders, confounder_frame, refuse_unseen
from causalkit.rewards.diagnostics import RewardDiagnostics, diagnose, warn_of
from causalkit.rewards.methods import METHODS, parts_of
from causalkit.rewards.orthogonal import overlap_spectrum, row_chunks, times
from causalkit.rewards.pairwise import PairwiseRewardModel
from causalkit.rewards.reading import encode, read_log
from causalkit.rewards.records import LoggedRows, RewardParts
from causalkit.rewards.sensitivity import sensitivity_frame
from causalkit.rewards.summaries import RewardSummary, summarise
from causalkit.validation import check_choice, check_integer, check_sample_weight, check_vector

if TYPE_CHECKING:
    import pandas as pd

    from causalkit.validation import Groups

__all__ = ["RewardDeconfounder"]

Array = NDArray[np.float64]

COVARIANCES = ("auto", "homoskedastic", "HC0", "HC1", "cluster")
_ABSORBING = ("fixed_effects", "mixed", "mundlak")


class RewardDeconfounder(BaseEstimator):
    def __init__(
        self,
        *,
        method: str = "partially_linear",
        outcome_model: Any = None,
        treatment_model: Any = None,
        final_model: Any = None,
        confounder_model: Any = None,
        encoder: Any = None,
        penalty: float | str = 0.0,
        categorical: Any = None,
        cyclic: Any = None,
        interactions: Any = None,
        endogenous: Any = None,
        timing: Any = None,
        leave_one_out: bool = False,
        max_weight: float | None = None,
        covariance: str = "auto",
        cv: Any = 5,
        n_repeats: int = 1,
        n_jobs: int | None = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.method = method
        self.outcome_model = outcome_model
        self.treatment_model = treatment_model
        self.final_model = final_model
        self.confounder_model = confounder_model
        self.encoder = encoder
        self.penalty = penalty
        self.categorical = categorical
        self.cyclic = cyclic
        self.interactions = interactions
        self.endogenous = endogenous
        self.timing = timing
        self.leave_one_out = leave_one_out
        self.max_weight = max_weight
        self.covariance = covariance
        self.cv = cv
        self.n_repeats = n_repeats
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # ------------------------------------------------------------------ fit

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        confounders: Any = None,
        instruments: Any = None,
        target_confounders: Any = None,
        prompts: Any = None,
        sample_weight: Any = None,
        groups: Any = None,
    ) -> RewardDeconfounder:
        self._check_parameters()
        with atomic_fit(self):
            rows, frame = read_log(
                self,
                X,
                y,
                confounders=confounders,
                instruments=instruments,
                target_confounders=target_confounders,
                prompts=prompts,
                sample_weight=sample_weight,
                groups=groups,
            )
            self._check_timing(rows)
            self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
            parts = parts_of(self, rows)
            self._store(rows, parts)
            self._diagnostics = diagnose(self, rows, parts, frame, prompts)
            if isinstance(self.final_model, PairwiseRewardModel):
                self.final_model_ = clone(self.final_model).fit(rows.X, parts.adjusted, prompts=prompts)
            warn_of(self, self._diagnostics, stacklevel=2)
        return self

    def _check_parameters(self) -> None:
        check_choice(self.method, "method", METHODS)
        check_choice(self.covariance, "covariance", COVARIANCES)
        check_integer(self.n_repeats, "n_repeats", low=1)
        number = isinstance(self.penalty, int | float | np.number) and not isinstance(self.penalty, bool)
        if not (self.penalty == "cv" if isinstance(self.penalty, str) else number and 0 <= self.penalty < np.inf):
            raise ValueError(f'penalty must be a number of at least 0, or "cv"; got {self.penalty!r}.')
        if self.max_weight is not None and not self.max_weight > 0:
            raise ValueError(f"max_weight must be a positive number or None; got {self.max_weight!r}.")

    def _check_timing(self, rows: LoggedRows) -> None:
        """Refuse confounders that the user says were settled after the text."""
        if rows.confounders is None:
            return
        columns = rows.confounders.roles.columns
        timing = self.timing
        if timing is None or timing == "before":
            return
        if not isinstance(timing, dict):
            raise ValueError(
                f'timing must be None, "before" or a dict of column to "before" or "after"; got {timing!r}.'
            )
        for name, when in timing.items():
            if name not in columns:
                raise ValueError(
                    f"timing names {name!r}, which is no column of confounders; available: {list(columns)}."
                )
            check_choice(when, f"timing[{name!r}]", ("before", "after"))
            if when == "after" and self.method != "instrument":
                raise BadControlError(
                    f"confounders column {name!r} was settled after the text was written, so removing its effect would "
                    'remove part of the reward: drop it, or use it with method="instrument".'
                )

    def _store(self, rows: LoggedRows, parts: RewardParts) -> None:
        self._parts, self._groups = parts, rows.groups
        self._names = rows.names
        for name in [n for n in vars(self) if n in _EXTRA_ATTRIBUTES]:
            delattr(self, name)
        for name, value in parts.extras.items():
            setattr(self, name, value)
        self.coef_, self.penalty_ = parts.coef, parts.penalty
        self.feature_mean_, self.feature_covariance_ = rows.feature_mean, rows.feature_moment
        self._outcome_mean = float(rows.mean(rows.y))
        self._outcome_variance = float(rows.mean((rows.y - self._outcome_mean) ** 2))
        self.intercept_ = self._outcome_mean - float(rows.feature_mean @ parts.coef)
        self.adjusted_reward_, self.confounder_effect_ = parts.adjusted, parts.effect_rows
        self.informative_rows_ = parts.informative
        self.feature_residual_covariance_ = parts.second_moment
        self.overlap_eigenvalues_ = overlap_spectrum(parts.second_moment, rows.feature_moment)[0]
        self.residual_variance_, self.degrees_of_freedom_ = parts.residual_variance, parts.degrees_of_freedom
        self.n_absorbed_ = parts.n_absorbed
        self.confounder_names_ = (
            None if rows.confounders is None else np.array(rows.confounders.roles.columns, dtype=object)
        )
        self._coding = None if rows.confounders is None else rows.confounders.without_rows()
        self.covariance_ = self._covariance_matrix(parts)
        rewards = self._outcome_mean + times(rows.X, parts.coef) - float(rows.feature_mean @ parts.coef)
        self.reward_quantiles_ = np.quantile(rewards, np.linspace(0, 1, 1001))
        self.support_radius_ = self._support_radius(rows)

    def _covariance_matrix(self, parts: RewardParts) -> Array:
        kind = self._covariance_kind()
        if parts.within is not None:
            return parts.within.covariance(kind, self._groups)
        if parts.influence is None and len(parts.fits) == 1:
            return parts.fits[0].covariance(kind, self._groups)
        return self.inference().cov

    def _covariance_kind(self) -> str:
        return self._kind(self._groups)

    def _kind(self, groups: Groups | None) -> str:
        if self.covariance == "cluster" and groups is None:
            raise ValueError('covariance="cluster" needs groups: pass groups= to fit, or covariance="HC0".')
        if self.covariance != "auto":
            return self.covariance
        if groups is not None:
            return "cluster"
        return "HC1" if self.method in _ABSORBING else "HC0"

    def _kind_for(self, rows: LoggedRows) -> tuple[str, Groups | None]:
        """Kind of covariance of a fit to these rows, and its clusters."""
        return self._kind(rows.groups), rows.groups

    def _support_radius(self, rows: LoggedRows) -> float:
        """99.9 % quantile of the Mahalanobis distances of the training rows."""
        inverse = np.linalg.pinv(rows.feature_moment, hermitian=True)
        distance = np.empty(rows.n)
        for part in row_chunks(rows.n, rows.X.shape[1]):
            centred = rows.X[part].astype(np.float64) - rows.feature_mean
            distance[part] = np.einsum("ij,ij->i", centred @ inverse, centred)
        return float(np.sqrt(np.quantile(np.clip(distance, 0.0, None), 0.999)))

    # ------------------------------------------------------------------ rewards

    def _features(self, X: Any, name: str = "X") -> NDArray[np.floating]:
        check_is_fitted(self)
        features = encode(self.encoder_, X, fitted=True, name=name)
        return validate_data(self, features, dtype=[np.float64, np.float32], reset=False)

    def predict(self, X: Any, *, return_std: bool = False) -> Array | tuple[Array, Array]:
        features = self._features(X)
        if hasattr(self, "final_model_"):
            if return_std:
                raise ValueError(
                    "return_std needs a linear reward, and this fit has final_model="
                    f"{type(self.final_model).__name__}: leave it at None, or take the intervals of its own."
                )
            return np.asarray(self.final_model_.predict(features), dtype=np.float64).reshape(-1)
        reward = self._outcome_mean + times(features, self.coef_) - float(self.feature_mean_ @ self.coef_)
        if not return_std:
            return reward
        variance = np.empty(len(features))
        for part in row_chunks(len(features), features.shape[1]):
            centred = features[part].astype(np.float64) - self.feature_mean_
            variance[part] = np.einsum("ij,ij->i", centred @ self.covariance_, centred)
        return reward, np.sqrt(np.clip(variance, 0.0, None))

    def _new_confounders(self, confounders: Any, n_rows: int | None) -> tuple[Confounders, pd.DataFrame]:
        if self._coding is None:
            raise ValueError('the fit had no confounders (method="none"): leave this argument out.')
        if confounders is None:
            raise ValueError(f"confounders is missing: expected the columns {list(self.confounder_names_)}.")
        frame = confounder_frame(confounders, n_rows)
        new = self._coding.of_new(frame)
        if self.method not in ("mixed", "mundlak"):
            refuse_unseen(new, frame, 'Use method="mixed", which gives unseen levels a prior, or drop these rows.')
        return new, frame

    def transform(self, X: Any, y: Any, *, confounders: Any = None) -> Array:
        features = self._features(X)
        outcome = check_vector(y, "y", n_rows=len(features), like="X")
        if self._coding is None:
            return outcome
        new, _ = self._new_confounders(confounders, len(features))
        return np.asarray(outcome - self._parts.effect.value(new))

    def fit_transform(self, X: Any, y: Any, *, confounders: Any = None, **fit_metadata: Any) -> Array:
        return self.fit(X, y, confounders=confounders, **fit_metadata).adjusted_reward_.copy()

    def confounder_effect(self, confounders: Any, *, return_std: bool = False) -> Array | tuple[Array, Array]:
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
        features = self._features(X)
        outcome = check_vector(y, "y", n_rows=len(features), like="X")
        weight = check_sample_weight(sample_weight, len(features), like="X")
        if self._coding is None:
            left, target = features - self.feature_mean_, outcome - self._outcome_mean
        else:
            new, _ = self._new_confounders(confounders, len(features))
            left, target = self._parts.effect.residuals(features, outcome, new)
        error = target - left @ self.coef_
        w = np.ones(len(target)) if weight is None else weight
        total = float(w @ target**2)
        return 1.0 - float(w @ error**2) / total if total > 0 else 0.0

    # ------------------------------------------------------------------ inference

    def inference(self) -> InferenceResult:
        check_is_fitted(self)
        return self._inference_of(np.eye(len(self.coef_)), self._names)

    def pair_inference(self, X_first: Any, X_second: Any) -> InferenceResult:
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
        return self._inference_of(directions, [f"pair {i}" for i in range(len(first))])

    def diagnostics(self) -> RewardDiagnostics:
        check_is_fitted(self)
        return self._diagnostics

    def summary(self) -> RewardSummary:
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
        return InferenceResult.from_influence(
            estimate, self._influence(directions), names=names, groups=groups, n_obs=n
        )

    def _influence(self, directions: Array) -> NDArray[np.floating]:
        """Influence values of combinations of the coefficients, finite-sample factors included."""
        parts, kind = self._parts, self._covariance_kind()
        scale = 1.0
        if parts.within is not None:
            scale = float(np.sqrt(parts.within.finite_sample_factor(kind, self._groups)))
        elif kind == "HC1":
            scale = float(np.sqrt(len(parts.residuals) / parts.degrees_of_freedom))
        elif kind == "cluster" and self._groups is not None:
            scale = float(np.sqrt(self._groups.n_groups / (self._groups.n_groups - 1)))
        if parts.influence is not None:
            return np.asarray(parts.influence @ directions * scale)
        if len(parts.fits) == 1:
            return parts.fits[0].influence(directions, scale)
        return np.asarray(np.mean([fit.influence(directions, scale) for fit in parts.fits], axis=0))


_EXTRA_ATTRIBUTES = (
    "outcome_model_",
    "treatment_model_",
    "final_model_",
    "n_rounds_",
    "repeat_sd_",
    "level_effects_",
    "variance_components_",
    "weights_",
    "first_stage_",
)
