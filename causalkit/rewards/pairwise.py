"""PairwiseRewardModel: Bradley-Terry on pairs of texts, with errors for pairs that share a prompt or a text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from causalkit.atomic_fit import atomic_fit
from causalkit.documented import DocumentedEstimator
from causalkit.inference import InferenceResult
from causalkit.rewards.bradley_terry import ComparedPairs, fit_bradley_terry, pairs_within
from causalkit.rewards.orthogonal import times
from causalkit.rewards.row_hashes import hash_rows
from causalkit.seeds import generator
from causalkit.validation import (
    Groups,
    check_fit_table,
    check_groups,
    check_integer,
    check_same_index,
    check_sample_weight,
    check_vector,
)

__all__ = ["PairwiseRewardModel", "pairs_within"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


class PairwiseRewardModel(RegressorMixin, DocumentedEstimator):
    r"""Ridge-penalised Bradley-Terry model of which of two texts is better.

    .. math:: \Pr(i \succ j) = \sigma(w'(\varphi_i - \varphi_j) + o_{ij}),\qquad
              \hat w = \arg\min_w\; -\sum_e \log\Pr(\text{winner}_e) + \tfrac{\lambda}{2}|w|^2 .

    Pairs come from rewards (``fit``: the row with the larger reward wins, within prompts) or from logged preferences
    (``fit_pairs``). Scores are on the log-odds scale: they rank; ``scale_`` maps them back to the rewards.

    Parameters
    ----------
    penalty : float, default=1.0
        λ.
    max_pairs_per_prompt : int, default=10
        Pairs drawn per prompt; without prompts, this many times the number of rows in all.
    min_gap : float, default=0.0
        Pairs whose rewards differ by no more are left out.
    cv, n_repeats, n_jobs, device, verbose
        Not used: the fit is one Newton iteration on the CPU. They are there so that all estimators take the same.
    random_state : int, RandomState, Generator or None, default=None
        Draws the pairs.

    Attributes
    ----------
    coef_ : ndarray, shape (p,)
        w, log-odds per unit of each feature.
    covariance_ : ndarray, shape (p, p)
        :math:`H^{-1}\Omega H^{-1}`, Ω summed within prompts (or ``groups``) times G/(G - 1); for pairs that cross
        them the dyadic :math:`\sum_u s_us_u' - \sum_{uv}\psi_{uv}\psi_{uv}'`, s_u the sum of ψ over pairs with unit u
        (a row, or a group where there are ``groups``), ψ_uv that over pairs of the units u and v.
    scale_ : float
        Slope of the rewards on the scores, within prompts where there are any; NaN after ``fit_pairs``.
    n_pairs_ : int
        Pairs used.
    row_hashes_ : ndarray of uint64
        Hashes of the feature rows, by which texts are recognised later.
    n_features_in_, feature_names_in_
        What was seen in fit.

    Raises
    ------
    ValueError
        No pair is left, or all pairs lie in one group.
    IdentificationError
        Separable pairs, or collinear features, without penalty.

    Warns
    -----
    ConvergenceWarning
        The Newton iteration did not settle.

    Notes
    -----
    Winners taken from noisy rewards keep the direction of w, not its size. Treating pairs as independent understates
    the standard errors.

    References
    ----------
    Bradley & Terry 1952, Biometrika 39. Aronow, Samii & Assenova 2015, Political Analysis 23 (dyadic errors).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards import PairwiseRewardModel
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 2))
    >>> reward = X @ [1.0, -0.5] + rng.gumbel(size=400)
    >>> model = PairwiseRewardModel(random_state=0).fit(X, reward, prompts=np.repeat(np.arange(100), 4))
    >>> bool(model.coef_[0] > 0 > model.coef_[1])
    True
    """

    def __init__(
        self,
        *,
        penalty: float = 1.0,
        max_pairs_per_prompt: int = 10,
        min_gap: float = 0.0,
        cv: Any = 5,
        n_repeats: int = 1,
        n_jobs: int | None = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.penalty = penalty
        self.max_pairs_per_prompt = max_pairs_per_prompt
        self.min_gap = min_gap
        self.cv = cv
        self.n_repeats = n_repeats
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _check_parameters(self) -> None:
        check_integer(self.max_pairs_per_prompt, "max_pairs_per_prompt", low=1)
        for name in ("penalty", "min_gap"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < np.inf:
                raise ValueError(f"{name} must be a finite number of at least 0; got {value!r}.")

    def fit(
        self, X: Any, y: Any, *, prompts: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> PairwiseRewardModel:
        """Fit to pairs of rows, the larger reward winning.

        Parameters
        ----------
        X : array-like, shape (n, p)
            Features.
        y : array-like, shape (n,)
            Rewards.
        prompts : array-like, shape (n,), optional
            Pairs are formed within prompts; None forms them over all rows.
        sample_weight : array-like, shape (n,), optional
            Weights of rows; a pair has the mean of its two, and none if one of them is 0.
        groups : array-like, shape (n,), optional
            Clusters of the standard errors; default the prompts.

        Returns
        -------
        PairwiseRewardModel
        """
        self._check_parameters()
        with atomic_fit(self):
            for name, value in (("y", y), ("prompts", prompts), ("groups", groups), ("sample_weight", sample_weight)):
                check_same_index(X, value, ("X", name))
            features, reward = check_fit_table(
                self, X, y, y_numeric=True, dtype=[np.float64, np.float32], ensure_min_samples=2, magnitude=True
            )
            reward = np.asarray(reward, dtype=np.float64)
            n = len(reward)
            weight = _mean_one(sample_weight, n, "X")
            inside, clusters = check_groups(prompts, n, name="prompts", like="X"), check_groups(groups, n, like="X")
            first, second, gap = self._kept_pairs(reward, weight, inside)
            pairs = ComparedPairs(
                features,
                first,
                second,
                (gap > 0).astype(np.float64),
                np.zeros(len(gap)),
                (weight[first] + weight[second]) / 2,
            )
            self._solve(pairs, clusters, inside, np.arange(n))
            self.scale_ = _slope(reward, times(features, self.coef_), weight, inside)
            self.row_hashes_ = hash_rows(features)
        return self

    def _kept_pairs(self, reward: Array, weight: Array, inside: Groups | None) -> tuple[Rows, Rows, Array]:
        """Pairs of rows with positive weight whose rewards differ by more than ``min_gap``, and the differences."""
        first, second = self._pairs(len(reward), inside)
        weighted = (weight[first] > 0) & (weight[second] > 0)
        first, second = first[weighted], second[weighted]
        gap = reward[first] - reward[second]
        kept = np.abs(gap) > self.min_gap
        if not kept.any():
            raise ValueError(
                f"no pair is left: {len(gap)} pairs were formed, {int((~kept).sum())} have rewards that differ by "
                f"at most min_gap={self.min_gap}. y must vary within prompts: check it, or lower min_gap."
            )
        return first[kept], second[kept], gap[kept]

    def _pairs(self, n: int, prompts: Groups | None) -> tuple[Rows, Rows]:
        rng = generator(self.random_state)
        if prompts is not None:
            return pairs_within(prompts.codes, self.max_pairs_per_prompt, rng)
        return pairs_within(np.zeros(n, dtype=np.intp), self.max_pairs_per_prompt * n, rng)

    def fit_pairs(
        self,
        X_first: Any,
        X_second: Any,
        won: Any,
        *,
        offset: Any = None,
        sample_weight: Any = None,
        groups: Any = None,
    ) -> PairwiseRewardModel:
        """Fit to logged preferences.

        Parameters
        ----------
        X_first, X_second : array-like, shape (m, p)
            Features of the two texts of each pair.
        won : array-like, shape (m,)
            1 where the first one won, 0 where the second did, or shares in between.
        offset : array-like, shape (m,), optional
            Known part of the log-odds, such as ĝ(C_first) - ĝ(C_second).
        sample_weight : array-like, shape (m,), optional
            Weights of pairs.
        groups : array-like, shape (m,), optional
            Clusters, such as prompts; without them pairs that share an identical row are taken as dependent.

        Returns
        -------
        PairwiseRewardModel
        """
        self._check_parameters()
        with atomic_fit(self):
            first = check_fit_table(self, X_first, name="X_first", dtype=[np.float64, np.float32], magnitude=True)
            second = check_fit_table(
                self, X_second, name="X_second", dtype=[np.float64, np.float32], reset=False, magnitude=True
            )
            m = len(first)
            if len(second) != m:
                raise ValueError(f"X_first has {m} rows, X_second {len(second)}: pass one row of each per pair.")
            outcome = check_vector(won, "won", n_rows=m, like="X_first")
            if ((outcome < 0) | (outcome > 1)).any():
                raise ValueError("won must lie in [0, 1]: 1 where the first text won, 0 where the second did.")
            known = np.zeros(m) if offset is None else check_vector(offset, "offset", n_rows=m, like="X_first")
            weight = _mean_one(sample_weight, m, "X_first")
            clusters = check_groups(groups, m, like="X_first")
            features = np.concatenate([first, second])
            self.row_hashes_, texts = np.unique(hash_rows(features), return_inverse=True)
            pairs = ComparedPairs(features, np.arange(m), np.arange(m, 2 * m), outcome, known, weight)
            both = None if clusters is None else Groups(np.tile(clusters.codes, 2), clusters.labels)
            self._solve(pairs, both, None, texts.ravel().astype(np.intp))
            self.scale_ = float("nan")
        return self

    def _solve(self, pairs: ComparedPairs, groups: Groups | None, prompts: Groups | None, rows: Rows) -> None:
        """Fit, with errors by groups, else by prompts, else by rows."""
        chosen = groups if groups is not None else prompts
        units = rows if chosen is None else chosen.codes
        if len(np.unique(units[np.concatenate([pairs.first, pairs.second])])) == 1:
            if groups is not None:
                raise ValueError(
                    "groups has 1 cluster with pairs: a clustered covariance needs at least two. Leave groups out, or "
                    "pass finer ones."
                )
            # A single prompt has no other prompts to vary against; its rows have.
            chosen, units = None, rows
        fit = fit_bradley_terry(pairs, penalty=float(self.penalty), units=units)
        self.coef_, self.covariance_, self.n_pairs_ = fit.coef, fit.covariance, len(pairs.won)
        self._influence = fit.influence
        kind = "rows" if chosen is None else "groups" if groups is not None else "prompts"
        self._dependence = f"{fit.n_units} {kind}" if fit.influence is not None else f"pairs that share {kind}"

    # ------------------------------------------------------------------ use

    def predict(self, X: Any) -> Array:
        """Scores w'φ on the log-odds scale; they rank, and their level means nothing.

        Parameters
        ----------
        X : array-like, shape (n, p)
            Features.

        Returns
        -------
        ndarray, shape (n,)
        """
        check_is_fitted(self)
        return times(check_fit_table(self, X, dtype=[np.float64, np.float32], reset=False), self.coef_)

    def predict_pairs(self, X_first: Any, X_second: Any) -> Array:
        """Probability that the first text of each pair is better.

        Parameters
        ----------
        X_first, X_second : array-like, shape (m, p)
            Features.

        Returns
        -------
        ndarray, shape (m,)
        """
        first, second = self.predict(X_first), self.predict(X_second)
        if len(first) != len(second):
            raise ValueError(f"X_first has {len(first)} rows, X_second {len(second)}: pass one row of each per pair.")
        return np.asarray(expit(first - second))

    def score(self, X: Any, y: Any, *, prompts: Any = None) -> float:
        """Share of pairs of rows that the scores order as ``y`` does (ties of the scores count one half).

        Parameters
        ----------
        X, y : array-like
            Features and rewards.
        prompts : array-like, shape (n,), optional
            Only pairs within prompts count.

        Returns
        -------
        float
        """
        from causalkit.selection import pairwise_accuracy

        return float(pairwise_accuracy(y, self.predict(X), strata=prompts))

    def inference(self) -> InferenceResult:
        """Coefficients with standard errors, clustered by prompt (or group), dyadic for pairs that cross prompts.

        Returns
        -------
        InferenceResult
        """
        check_is_fitted(self)
        names = [str(name) for name in getattr(self, "feature_names_in_", [])]
        names = names or [f"x{j}" for j in range(len(self.coef_))]
        if self._influence is None:
            return InferenceResult(
                estimate=self.coef_,
                cov=self.covariance_,
                names=tuple(names),
                n_obs=self.n_pairs_,
                dependence=self._dependence,
            )
        n_units = len(self._influence)
        result = InferenceResult.from_influence(
            self.coef_, self._influence, names=names, n_obs=self.n_pairs_, df=n_units - 1
        )
        return replace(result, dependence=self._dependence)


def _mean_one(sample_weight: Any, n_rows: int, like: str) -> Array:
    weight = check_sample_weight(sample_weight, n_rows, like=like)
    return np.ones(n_rows) if weight is None else weight / weight.mean()


def _slope(reward: Array, score: Array, weight: Array, prompts: Groups | None) -> float:
    """Slope of rewards on scores within prompts; NaN where scores do not vary there."""
    codes = np.zeros(len(score), dtype=np.intp) if prompts is None else prompts.codes
    total = np.bincount(codes, weight)
    centred = score - (np.bincount(codes, weight * score) / np.where(total > 0, total, 1.0))[codes]
    spread = float(weight @ centred**2)
    return float((weight * centred) @ reward) / spread if spread > 0 else float("nan")
