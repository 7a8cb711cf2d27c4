"""PairwiseRewardModel: Bradley-Terry on pairs of texts, with errors for pairs that share a prompt or a text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from causalkit.atomic_fit import atomic_fit
from causalkit.exceptions import IdentificationError
from causalkit.inference import InferenceResult
from causalkit.rewards.orthogonal import row_chunks, times
from causalkit.validation import (
    Groups,
    check_groups,
    check_integer,
    check_same_index,
    check_sample_weight,
    check_vector,
)

__all__ = ["PairwiseRewardModel", "pairs_within"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

_MAX_NEWTON = 100


def pairs_within(codes: Rows, max_pairs: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Pairs of rows of the same group: all of them, or ``max_pairs`` drawn without replacement.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Group of each row.
    max_pairs : int
        Largest number of pairs of one group.
    rng : Generator
        Draws them.

    Returns
    -------
    first, second : ndarray of int, shape (m,)
        Rows, the first one before the second in the order of rows.
    """
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    first: list[Rows] = []
    second: list[Rows] = []
    for size in np.unique(sizes[sizes > 1]):
        groups = np.flatnonzero(sizes == size)
        total = int(size) * (int(size) - 1) // 2
        if total <= max_pairs:
            i, j = np.triu_indices(size, 1)
            picked_i, picked_j = np.tile(i, (len(groups), 1)), np.tile(j, (len(groups), 1))
        else:
            numbers = np.stack([rng.choice(total, max_pairs, replace=False) for _ in groups])
            picked_i, picked_j = _pair_of_number(numbers, int(size))
        first.append(order[starts[groups, None] + picked_i].ravel())
        second.append(order[starts[groups, None] + picked_j].ravel())
    if not first:
        return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    return np.concatenate(first), np.concatenate(second)


def _pair_of_number(numbers: Rows, size: int) -> tuple[Rows, Rows]:
    """The pair i < j with the given number in the order (0,1), (0,2), ..., (1,2), ...."""
    i = (size - 2 - np.floor((np.sqrt(4.0 * size * (size - 1) - 8.0 * numbers - 7) - 1) / 2)).astype(np.intp)
    j = numbers + i + 1 - size * (size - 1) // 2 + (size - i) * (size - i - 1) // 2
    return i, j.astype(np.intp)


class PairwiseRewardModel(RegressorMixin, BaseEstimator):
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
    random_state : int, RandomState or None, default=None
        Draws the pairs.

    Attributes
    ----------
    coef_ : ndarray, shape (p,)
        w, log-odds per unit of each feature.
    covariance_ : ndarray, shape (p, p)
        :math:`H^{-1}\Omega H^{-1}`, Ω summed within prompts (or ``groups``); for pairs that cross prompts the dyadic
        :math:`\sum_i s_is_i' - \sum_e\psi_e\psi_e'`, s_i the sum of ψ over pairs with row i.
    scale_ : float
        Slope of the rewards on the scores; NaN after ``fit_pairs``.
    n_pairs_ : int
        Pairs used.
    n_features_in_ : int
        Features.

    Raises
    ------
    ValueError
        No pair is left.
    IdentificationError
        Separable pairs, or collinear features, without penalty.

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
            Weights of rows; a pair has the mean of its two.
        groups : array-like, shape (n,), optional
            Clusters of the standard errors; default the prompts. With pairs inside prompts, each prompt must lie in
            one group.

        Returns
        -------
        PairwiseRewardModel
        """
        self._check_parameters()
        with atomic_fit(self):
            for name, value in (("y", y), ("prompts", prompts), ("groups", groups), ("sample_weight", sample_weight)):
                check_same_index(X, value, ("X", name))
            features, reward = validate_data(
                self, X, y, y_numeric=True, dtype=[np.float64, np.float32], ensure_min_samples=2
            )
            reward = np.asarray(reward, dtype=np.float64)
            n = len(reward)
            weight = check_sample_weight(sample_weight, n, like="X")
            inside, clusters = check_groups(prompts, n, name="prompts", like="X"), check_groups(groups, n, like="X")
            first, second = self._pairs(n, inside)
            if weight is not None:
                kept = (weight[first] > 0) & (weight[second] > 0)
                first, second = first[kept], second[kept]
            gap = reward[first] - reward[second]
            kept = np.abs(gap) > self.min_gap
            if not kept.any():
                raise ValueError(
                    f"no pair is left: {len(gap)} pairs were formed, {int((~kept).sum())} have rewards that differ by "
                    f"at most min_gap={self.min_gap}. Rewards must vary within prompts: check them, or lower min_gap."
                )
            first, second, gap = first[kept], second[kept], gap[kept]
            pair_weight = None if weight is None else (weight[first] + weight[second]) / 2
            labels = self._pair_clusters(first, second, inside, clusters)
            difference = features[first].astype(np.float64) - features[second].astype(np.float64)
            won = (gap > 0).astype(np.float64)
            self._solve(difference, won, np.zeros(len(won)), pair_weight, labels, (first, second))
            score = times(features, self.coef_)
            centred = score - score.mean()
            spread = float(centred @ centred)
            self.scale_ = float(centred @ reward) / spread if spread > 0 else float("nan")
        return self

    def _pairs(self, n: int, prompts: Groups | None) -> tuple[Rows, Rows]:
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        if prompts is not None:
            return pairs_within(prompts.codes, self.max_pairs_per_prompt, rng)
        return pairs_within(np.zeros(n, dtype=np.intp), self.max_pairs_per_prompt * n, rng)

    @staticmethod
    def _pair_clusters(first: Rows, second: Rows, prompts: Groups | None, groups: Groups | None) -> Rows | None:
        """Cluster of each pair; None where pairs share rows across clusters."""
        chosen = groups if groups is not None else prompts
        if chosen is None:
            return None
        codes = chosen.codes
        if (codes[first] != codes[second]).any():
            raise ValueError(
                "groups divide pairs: some prompt has rows in two groups. Pass groups that hold whole prompts, or "
                "leave them out."
            )
        return np.unique(codes[first], return_inverse=True)[1].astype(np.intp)

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
            first = np.asarray(validate_data(self, X_first, dtype=[np.float64, np.float32]), dtype=np.float64)
            second = np.asarray(validate_data(self, X_second, dtype=[np.float64, np.float32], reset=False))
            m = len(first)
            if len(second) != m:
                raise ValueError(f"X_first has {m} rows, X_second {len(second)}: pass one row of each per pair.")
            outcome = check_vector(won, "won", n_rows=m, like="X_first")
            if ((outcome < 0) | (outcome > 1)).any():
                raise ValueError("won must lie in [0, 1]: 1 where the first text won, 0 where the second did.")
            known = np.zeros(m) if offset is None else check_vector(offset, "offset", n_rows=m, like="X_first")
            weight = check_sample_weight(sample_weight, m, like="X_first")
            clusters = check_groups(groups, m, like="X_first")
            _, rows = np.unique(np.vstack([first, second]), axis=0, return_inverse=True)
            rows = rows.ravel().astype(np.intp)
            labels = None if clusters is None else clusters.codes
            self._solve(first - second, outcome, known, weight, labels, (rows[:m], rows[m:]))
            self.scale_ = float("nan")
        return self

    # ------------------------------------------------------------------ solution

    def _solve(
        self,
        difference: Array,
        won: Array,
        offset: Array,
        weight: Array | None,
        clusters: Rows | None,
        rows: tuple[Rows, Rows],
    ) -> None:
        w = np.ones(len(won)) if weight is None else weight
        coef = self._newton(difference, won, offset, w)
        probability = expit(difference @ coef + offset)
        hessian = self._hessian(difference, w * probability * (1 - probability))
        self.coef_, self.n_pairs_ = coef, len(won)
        inverse = np.linalg.inv(hessian)
        # Influence on the scale of a mean over pairs.
        scores = difference * (w * (won - probability))[:, None]
        self._influence, self._clusters = len(won) * scores @ inverse, clusters
        if clusters is not None:
            self.covariance_ = self.inference().cov
            return
        summed = np.zeros((int(max(r.max() for r in rows)) + 1, len(coef)))
        for side in rows:
            for j in range(len(coef)):
                summed[:, j] += np.bincount(side, weights=scores[:, j], minlength=len(summed))
        omega = summed.T @ summed - scores.T @ scores
        covariance = inverse @ omega @ inverse
        # The dyadic estimate need not be positive; pairs as independent are its lower limit then.
        if np.linalg.eigvalsh(covariance)[0] < 0:
            covariance = inverse @ (scores.T @ scores) @ inverse
        self.covariance_ = covariance

    def _newton(self, difference: Array, won: Array, offset: Array, w: Array) -> Array:
        """Damped Newton steps on the convex loss."""
        coef = np.zeros(difference.shape[1])
        value = self._loss(difference, won, offset, w, coef)
        for _ in range(_MAX_NEWTON):
            probability = expit(difference @ coef + offset)
            gradient = difference.T @ (w * (probability - won)) + self.penalty * coef
            step = np.linalg.solve(self._hessian(difference, w * probability * (1 - probability)), gradient)
            size = 1.0
            while size > 1e-8 and self._loss(difference, won, offset, w, coef - size * step) > value:
                size /= 2
            coef = coef - size * step
            before, value = value, self._loss(difference, won, offset, w, coef)
            if np.abs(size * step).max() < 1e-10 * max(1.0, np.abs(coef).max()) or abs(before - value) < 1e-14 * abs(
                value
            ):
                break
        if self.penalty == 0 and np.abs(difference @ coef).max(initial=0.0) > 30 and value < 1e-6 * len(won):
            raise IdentificationError(
                "the pairs are separable: some combination of features tells every winner, and its coefficient is "
                "infinite. Set penalty > 0."
            )
        return coef

    def _loss(self, difference: Array, won: Array, offset: Array, w: Array, coef: Array) -> float:
        linear = difference @ coef + offset
        return float(w @ (np.logaddexp(0.0, linear) - won * linear)) + 0.5 * self.penalty * float(coef @ coef)

    def _hessian(self, difference: Array, curvature: Array) -> Array:
        p = difference.shape[1]
        total = self.penalty * np.eye(p)
        for part in row_chunks(len(difference), p):
            total += difference[part].T @ (difference[part] * curvature[part, None])
        if self.penalty == 0:
            values = np.linalg.eigvalsh(total)
            if values[0] <= 1e-12 * max(float(values[-1]), 1e-300):
                raise IdentificationError(
                    f"the differences of features have a direction without variation (eigenvalue {values[0]:.2g}), or "
                    "the pairs are separable: drop a feature, or set penalty > 0."
                )
        return total

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
        return times(validate_data(self, X, dtype=[np.float64, np.float32], reset=False), self.coef_)

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

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of pairs of rows that the scores order as ``y`` does (ties count one half).

        Parameters
        ----------
        X, y : array-like
            Features and rewards.
        sample_weight : ignored

        Returns
        -------
        float
        """
        from causalkit.selection import pairwise_accuracy

        return float(pairwise_accuracy(y, self.predict(X)))

    def inference(self) -> InferenceResult:
        """Coefficients with standard errors, clustered by prompt (or group), dyadic for pairs that cross prompts.

        Returns
        -------
        InferenceResult
        """
        check_is_fitted(self)
        names = [str(name) for name in getattr(self, "feature_names_in_", [])]
        names = names or [f"x{j}" for j in range(len(self.coef_))]
        if self._clusters is None:
            return InferenceResult(
                estimate=self.coef_,
                cov=self.covariance_,
                names=tuple(names),
                n_obs=self.n_pairs_,
                dependence="pairs that share a row",
            )
        n_groups = int(self._clusters.max()) + 1
        groups = Groups(self._clusters, np.arange(n_groups))
        result = InferenceResult.from_influence(self.coef_, self._influence, names=names, groups=groups)
        return replace(result, df=None, dependence=f"pairs of {n_groups} prompts or groups")
