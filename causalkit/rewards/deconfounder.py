"""RewardDeconfounder: rewards of logged content, net of the known confounders of its outcome."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import TransformerTags

from causalkit.atomic_fit import atomic_fit
from causalkit.documented import DocumentedEstimator
from causalkit.rewards.diagnostic_warnings import warn_of
from causalkit.rewards.diagnostics import diagnose
from causalkit.rewards.fitted_reward import FittedReward
from causalkit.rewards.methods import parts_of
from causalkit.rewards.orthogonal import overlap_spectrum, quadratic_forms, times
from causalkit.rewards.pairwise import PairwiseRewardModel
from causalkit.rewards.parameters import check_parameters, check_timing
from causalkit.rewards.reading import prompt_codes, read_log
from causalkit.rewards.records import EXTRA_ATTRIBUTES, LoggedRows, RewardParts
from causalkit.rewards.row_hashes import hash_rows
from causalkit.seeds import root_seed

if TYPE_CHECKING:
    from causalkit.validation import Groups

__all__ = ["RewardDeconfounder"]

Array = NDArray[np.float64]

_SUPPORT_ROWS = 20_000


class RewardDeconfounder(FittedReward, DocumentedEstimator):
    r"""Reward of logged content, net of the known confounders of its outcome.

    The log holds texts X = φ(text), an outcome Y and confounders C that moved the outcome and went along with what
    was written: :math:`Y = f(X) + g(C) + \varepsilon`. The reward of a text is
    :math:`R^* = Y - g(C) + E\,g(C)`, the outcome that it would have had at average confounders. For linear f and
    ``method="partially_linear"``

    .. math:: \hat\theta = (\textstyle\sum\tilde X\tilde X' + \lambda I)^{-1}\sum\tilde X\tilde Y,\quad
              \hat g(C) = \hat\ell(C) - \hat\theta'\hat m(C),\quad
              \hat R = Y - \hat g(C) + \overline{\hat g},

    with :math:`\tilde Y = Y - \hat\ell(C)`, :math:`\tilde X = X - \hat m(C)` out-of-fold. Subtracting
    :math:`\hat\ell(C)` alone ("outcome_only") would attenuate the very signal that is wanted.

    Parameters
    ----------
    method : str, default="partially_linear"
        - "partially_linear": any confounders; cross-fitted as above.
        - "fixed_effects": categorical confounders of any number of levels, crossed or not, numeric ones beside them.
        - "mixed": exactly one factor; effects of levels shrunk to their mean, θ̂ within levels.
        - "mundlak": exactly one factor; effects shrunk towards a line in the level's mean texts.
        - "instrument": numeric confounders that are mismeasured or caused by unobservables, with ``instruments``.
        - "weighting": categorical confounders; rows weighted so that texts and confounders are independent.
        - "standardization": what a text is worth may differ over the confounders; averaged over
          ``target_confounders``.
        - "outcome_only", "linear_control", "invariance", "lowess", "none": baselines that are known to be biased.
    outcome_model, treatment_model : regressor, optional
        Nuisances C → E[Y|C] and C → E[X|C] (for "standardization" the outcome model is [X, C] → Y). Default: splines
        of numeric columns with ten uniform knots, one-hot levels, ridge by leave-one-out error per target. A model of
        the user's gets numeric columns as they are and one-hot levels.
    final_model : regressor or PairwiseRewardModel, optional
        f; None is linear. A regressor is fitted by backfitting; coefficients and intervals are then those of the
        linear projection.
    confounder_model : classifier, optional
        Text → C for "weighting"; default multinomial logistic regression on standardised features.
    encoder : transformer or callable, optional
        Texts to features; X may then be a list or Series of strings.
    penalty : float or "cv", default=0.0
        Ridge λ in θ̂, with scikit-learn's meaning of alpha; "cv" takes the smallest out-of-fold residual loss.
    categorical : list of str, optional
        Columns that are levels; None goes by type. Integer codes must be named.
    cyclic : dict of str to float, optional
        Period of cyclic columns, such as ``{"hour": 24}``.
    interactions : list of tuple of str, optional
        Columns whose observed cells are one factor, such as ``[("author", "month")]``.
    endogenous : list of str, optional
        Columns that "instrument" instruments; None means all numeric ones.
    timing : None, "before" or dict, optional
        Whether confounders were settled "before" or "after" the text was written; no statistic can tell.
    leave_one_out : bool, default=False
        For one factor: the level mean that a row is compared with leaves the row out.
    max_weight : float, optional
        Cap of the weights of "weighting" (a biased compromise).
    covariance : {"auto", "homoskedastic", "HC0", "HC1", "cluster"}, default="auto"
        "auto" clusters by ``groups`` where they are given; else HC1 with absorbed degrees of freedom for methods with
        levels, HC0 for the others.
    cv, n_repeats, n_jobs, device, random_state, verbose
        Cross-fitting, as in :class:`causalkit.CrossFitter`; ``device`` is for neural models of the user's.

    Attributes
    ----------
    coef_ : ndarray, shape (p,)
        θ̂, in units of y per unit of each feature.
    intercept_ : float
        So that ``intercept_ + x'coef_`` is the reward of x.
    covariance_ : ndarray, shape (p, p)
        Of θ̂.
    adjusted_reward_ : ndarray, shape (n,)
        R̂ of the logged rows, out-of-fold where there is cross-fitting, with the mean of y.
    confounder_effect_ : ndarray, shape (n,)
        ĝ of the rows, centred.
    informative_rows_ : ndarray of bool, shape (n,)
        Rows that bear on θ̂ (singletons of levels do not).
    feature_residual_covariance_ : ndarray, shape (p, p)
        Σ_U, covariance of the features given the confounders.
    overlap_eigenvalues_ : ndarray, shape (p,)
        Shares of the features' variance that the confounders leave, in rising order.
    residual_variance_, degrees_of_freedom_, n_absorbed_, penalty_
        σ̂², its degrees of freedom, absorbed rank, λ.
    level_effects_, variance_components_ : DataFrame, dict
        Methods with levels: factor, level, n, effect, se, shrinkage, connected_set; and the variances of shrinkage.
    weights_, first_stage_, anderson_rubin_ : ndarray, DataFrame, AndersonRubinSet
        Of "weighting" and "instrument"; the first stage shows γ̂ by least squares beside γ̂ by instruments, and the
        Anderson-Rubin set (one endogenous column) is the one to read where instruments are weak.
    outcome_model_, treatment_model_, final_model_, encoder_ : fitted models
        Nuisances on all rows, the reward model, the encoder.
    repeat_sd_ : ndarray, shape (p,)
        Spread of θ̂ over repeats of cross-fitting.
    feature_mean_, feature_covariance_, reward_quantiles_, support_radius_
        Training means and covariance of the features, quantiles of the rewards at 0, .001, ..., 1, and the 99.9 %
        quantile of the Mahalanobis distance.
    row_hashes_ : ndarray of uint64, shape (n,)
        Hashes of the features of the rows, by which an experiment is checked for rows of the log.
    n_features_in_, feature_names_in_, confounder_names_
        What was seen in fit.

    Raises
    ------
    IdentificationError
        Features without variation of their own given the confounders, without penalty.
    BadControlError
        A confounder declared to be settled after the text.
    UnseenLevelError
        ``transform`` or ``confounder_effect`` of levels that the method has no value for.

    Notes
    -----
    Assumptions: no unmeasured confounding given C, nothing in C settled after the text, additivity (tested), overlap
    (reported), independent rows or groups. The adjusted reward *should* correlate with the confounders wherever good
    texts went along with them; zero correlation is the signature of "outcome_only" and "invariance".

    It implements the idea of Loghmani (2025) with orthogonal scores; the formulas are derived in the guide.

    References
    ----------
    Loghmani 2025, arXiv:2506.00152. Robinson 1988, Econometrica 56. Chernozhukov et al. 2018, The Econometrics
    Journal 21.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards import RewardDeconfounder
    >>> X = np.array([1.0, 0, 0, 0, 0, 1, 1, 1, 1, 0])[:, None]
    >>> C = np.array(["low"] * 5 + ["high"] * 5)
    >>> y = X[:, 0] + 3.0 * (C == "high")
    >>> float(RewardDeconfounder(method="fixed_effects").fit(X, y, confounders=C).coef_[0].round(6))
    1.0
    >>> float(RewardDeconfounder(method="none").fit(X, y).coef_[0].round(6))
    2.8
    """

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
        """Fit the reward of the log.

        Parameters
        ----------
        X : array-like, shape (n, p), or texts
            Features; with an ``encoder``, a list or Series of strings.
        y : array-like, shape (n,)
            Outcome.
        confounders : frame or array-like, shape (n, q)
            What moved the outcome besides the content; not needed by ``method="none"``.
        instruments : array-like, shape (n, k), optional
            For "instrument".
        target_confounders : frame, optional
            Rows of the population that "standardization" averages over; default the log itself.
        prompts : array-like, shape (n,), optional
            Prompt of each row, for pairwise rewards and diagnostics.
        sample_weight : array-like, shape (n,), optional
            Weights.
        groups : array-like, shape (n,), optional
            Clusters: they drive the splits and the standard errors.

        Returns
        -------
        RewardDeconfounder
        """
        check_parameters(self)
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
            inside = prompt_codes(prompts, rows.n)
            self._kind_for(rows)  # refuses a covariance that the method or the groups do not allow
            check_timing(self, rows)
            self._seed = root_seed(self.random_state)
            parts = parts_of(self, rows)
            overlap = overlap_spectrum(parts.second_moment, rows.feature_moment)
            self._store(rows, parts, overlap[0])
            self._diagnostics = diagnose(self, rows, parts, overlap, frame, inside)
            if isinstance(self.final_model, PairwiseRewardModel):
                self.final_model_ = clone(self.final_model).fit(
                    rows.X, parts.adjusted, prompts=prompts, sample_weight=rows.weight, groups=groups
                )
            if hasattr(self, "final_model_"):
                rewards = np.asarray(self.final_model_.predict(rows.X), dtype=np.float64).reshape(-1)
                self.reward_quantiles_ = np.quantile(rewards, np.linspace(0, 1, 1001))
            warn_of(self, self._diagnostics, stacklevel=2)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags = TransformerTags()
        tags.input_tags.string = self.encoder is not None
        return tags

    def _store(self, rows: LoggedRows, parts: RewardParts, shares: Array) -> None:
        self._groups = rows.groups
        self._scale = self._influence_scale(parts)
        self._parts = replace(parts, within=None)  # its factors belong to the rows of the fit
        self._names = rows.names
        for name in [n for n in vars(self) if n in EXTRA_ATTRIBUTES]:
            delattr(self, name)
        for name, value in parts.extras.items():
            setattr(self, name, value)
        self.coef_, self.penalty_ = parts.coef, parts.penalty
        self.feature_mean_, self.feature_covariance_ = rows.feature_mean, rows.feature_moment
        self._outcome_mean = float(rows.mean(rows.y))
        self._outcome_variance = float(rows.mean((rows.y - self._outcome_mean) ** 2))
        self.intercept_ = self._outcome_mean - float(rows.feature_mean @ parts.coef)
        if parts.intercept is not None:
            self.intercept_ = parts.intercept
        self.adjusted_reward_, self.confounder_effect_ = parts.adjusted, parts.effect_rows
        self.informative_rows_ = parts.informative
        self.feature_residual_covariance_ = parts.second_moment
        self.overlap_eigenvalues_ = shares
        self.residual_variance_, self.degrees_of_freedom_ = parts.residual_variance, parts.degrees_of_freedom
        self.n_absorbed_ = parts.n_absorbed
        self.confounder_names_ = (
            None if rows.confounders is None else np.array(rows.confounders.roles.columns, dtype=object)
        )
        self._coding = None if rows.confounders is None else rows.confounders.without_rows()
        self.covariance_ = self._covariance_matrix(parts)
        rewards = self.intercept_ + times(rows.X, parts.coef)
        self.reward_quantiles_ = np.quantile(rewards, np.linspace(0, 1, 1001))
        self.support_radius_ = self._support_radius(rows)
        self.row_hashes_ = hash_rows(rows.X)

    def _covariance_matrix(self, parts: RewardParts) -> Array:
        kind = self._covariance_kind()
        if parts.covariance is not None:
            return parts.covariance
        if parts.influence is None and len(parts.fits) == 1:
            return parts.fits[0].covariance(kind, self._groups)
        if kind == "homoskedastic" and parts.influence is None:  # no influence values: the mean over repeats
            return np.asarray(np.mean([fit.covariance(kind) for fit in parts.fits], axis=0))
        return self.inference().cov

    def _kind_for(self, rows: LoggedRows) -> tuple[str, Groups | None]:
        """Kind of covariance of a fit to these rows, and its clusters."""
        return self._kind(rows.groups), rows.groups

    def _support_radius(self, rows: LoggedRows) -> float:
        """99.9 % quantile of the Mahalanobis distances of the training rows, of 20 000 of them where there are more."""
        some = rows.X
        if rows.n > _SUPPORT_ROWS:
            some = some[np.random.default_rng(0).permutation(rows.n)[:_SUPPORT_ROWS]]
        inverse = np.linalg.pinv(rows.feature_moment, hermitian=True)
        distance = np.clip(quadratic_forms(some, rows.feature_mean, inverse), 0.0, None)
        return float(np.sqrt(np.quantile(distance, 0.999)))

    def _influence_scale(self, parts: RewardParts) -> float:
        """What influence values are multiplied by: degrees of freedom and the number of clusters."""
        kind = self._covariance_kind()
        if parts.within is not None:
            groups = self._groups if kind == "cluster" else None  # the factor of clusters is for their sums only
            return float(np.sqrt(parts.within.finite_sample_factor(kind, groups)))
        if kind == "HC1":
            n = parts.fits[0].n_weighted if parts.fits else len(parts.residuals)
            return float(np.sqrt(n / parts.degrees_of_freedom))
        if kind == "cluster" and self._groups is not None:
            return float(np.sqrt(self._groups.n_groups / (self._groups.n_groups - 1)))
        return 1.0

    def fit_transform(
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
    ) -> Array:
        """Fit, and return the out-of-fold adjusted rewards of the rows: not what ``fit(...).transform(...)`` gives.

        Parameters
        ----------
        X, y, confounders, instruments, target_confounders, prompts, sample_weight, groups
            As in :meth:`fit`.

        Returns
        -------
        ndarray, shape (n,)
        """
        self.fit(
            X,
            y,
            confounders=confounders,
            instruments=instruments,
            target_confounders=target_confounders,
            prompts=prompts,
            sample_weight=sample_weight,
            groups=groups,
        )
        return self.adjusted_reward_.copy()
