r"""Win probabilities from a log and from an experiment, weighted by what the experiment says about the log's bias."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold, check_cv
from sklearn.utils.validation import check_is_fitted

from causalkit.exceptions import LeakageWarning, MethodNotApplicableError
from causalkit.rewards.backfitting import is_nonlinear
from causalkit.rewards.orthogonal import row_chunks
from causalkit.rewards.pairwise import PairwiseRewardModel
from causalkit.rewards.reading import encode
from causalkit.rewards.row_hashes import hash_rows
from causalkit.validation import check_groups, check_integer, check_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ExperimentFusion", "combine_with_experiment", "hash_rows"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ExperimentFusion:
    r"""Win probabilities :math:`\hat p = \omega\hat p_O + (1 - \omega)\hat p_U` of a log and an experiment.

    Attributes
    ----------
    weight : float
        ω, the weight of the log, averaged over the splits.
    bias : float
        Mean of :math:`\hat p_O` less the share won, over held-out pairs with the text that the log prefers first;
        averaged over the splits. Above 0 the log is too sure of itself, or wrong.
    variance_observational, variance_experimental : float
        Mean variances of the two win probabilities, averaged over the splits.
    splits : DataFrame
        The same numbers of each split, with its numbers of pairs.
    observational : fitted RewardDeconfounder or PairwiseRewardModel
        Reward of the log.
    experimental : tuple of fitted PairwiseRewardModel
        One per split.
    """

    weight: float
    bias: float
    variance_observational: float
    variance_experimental: float
    splits: pd.DataFrame = field(repr=False)
    observational: Any = field(repr=False)
    experimental: tuple[Any, ...] = field(repr=False)

    def predict_pairs(self, X_first: Any, X_second: Any) -> Array:
        """Probability that the first text of each pair wins, averaged over the splits.

        Parameters
        ----------
        X_first, X_second : array-like, shape (m, p), or texts
            The two texts of each pair, as the observational reward takes them.

        Returns
        -------
        ndarray, shape (m,)
        """
        first, second = _pair_features(self.observational, X_first, X_second)
        log, _ = _log_probability(self.observational, first, second)
        weights = self.splits["weight"].to_numpy()
        parts = [
            weight * log + (1 - weight) * model.predict_pairs(first, second)
            for weight, model in zip(weights, self.experimental, strict=True)
        ]
        return np.asarray(np.mean(parts, axis=0))


def combine_with_experiment(
    observational: Any,
    X_first: Any,
    X_second: Any,
    won: Any,
    *,
    groups: Any = None,
    experimental_model: Any = None,
    cv: Any = 2,
    random_state: Any = None,
) -> ExperimentFusion:
    r"""Combine the reward of a log with experimental comparisons of texts.

    .. math:: \hat p(a \succ b) = \omega\,\hat p_O + (1 - \omega)\,\hat p_U,\qquad
              \omega = \frac{V_U}{\widehat{bias}^2 + V_O + V_U},

    where :math:`\hat p_O` comes from the log (:math:`\Phi(q'\hat\theta/(\sqrt2\hat\sigma))` for a reward in units of
    the outcome, :math:`\sigma(w'q)` for a pairwise one, q the difference of features) and :math:`\hat p_U` from a
    pairwise model of one half of the experiment. The bias is the mean of :math:`\hat p_O` less the share won in the
    other half, each pair turned so that :math:`\hat p_O \ge \tfrac12`: win probabilities of a pair and of its
    reverse add up to 1, so in arbitrary order the mean difference would be 0 whatever the bias. The halves are
    swapped and the two predictions averaged. V_O and V_U are mean variances by the delta method from q'Vq.

    Assumptions: the experiment assigned texts at random within pairs, and its outcomes chose neither the method nor
    the penalty of the log's reward.

    Parameters
    ----------
    observational : fitted RewardDeconfounder or PairwiseRewardModel
        Reward of the log, linear or pairwise.
    X_first, X_second : array-like, shape (m, p), or texts
        The two texts of each experimental pair.
    won : array-like, shape (m,)
        1 where the first text won, 0 where the second did, or shares in between.
    groups : array-like, shape (m,), optional
        Units that the halves keep together and errors are clustered by, such as prompts.
    experimental_model : PairwiseRewardModel, optional
        Unfitted; cloned. Default ``PairwiseRewardModel()``.
    cv : int, splitter or iterable of (train, test), default=2
        Splits: the experimental model is fitted on the first part, the bias measured on the second.
    random_state : int, RandomState or None, default=None
        Shuffles the pairs, or the groups, before they are split.

    Returns
    -------
    ExperimentFusion

    Raises
    ------
    ValueError
        Lengths that differ, won outside [0, 1], or fewer pairs (groups) than splits.
    MethodNotApplicableError
        A reward that is neither linear nor pairwise: its win probabilities have no variance.

    Warns
    -----
    LeakageWarning
        Texts of the experiment were among the rows of the log's fit.

    References
    ----------
    Loghmani 2026, Reward Modeling for Business Objectives, working paper; the turning of pairs is ours.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards import RewardDeconfounder, combine_with_experiment
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2))
    >>> log = RewardDeconfounder(method="none").fit(X, X @ [1.0, 0.0] + rng.normal(size=500))
    >>> first, second = rng.normal(size=(2, 300, 2))
    >>> won = (first - second) @ [1.0, 0.0] + rng.logistic(size=300) > 0
    >>> fused = combine_with_experiment(log, first, second, won, random_state=0)
    >>> bool(0 < fused.weight < 1), fused.predict_pairs(first, second).shape
    (True, (300,))
    """
    import pandas as pd

    model = _experimental_model(experimental_model)
    check_is_fitted(observational)
    _refuse_without_variance(observational)
    first, second = _pair_features(observational, X_first, X_second)
    outcome = check_vector(won, "won", n_rows=len(first), like="X_first")
    if ((outcome < 0) | (outcome > 1)).any():
        raise ValueError("won must lie in [0, 1]: 1 where the first text won, 0 where the second did.")
    units = check_groups(groups, len(first), like="X_first")
    _warn_of_leakage(observational, first, second)
    log, log_variance = _log_probability(observational, first, second)
    rows, models = [], []
    for train, test in _splits(cv, len(first), None if units is None else units.codes, random_state):
        clusters = None if units is None else units.codes[train]
        fitted = clone(model).fit_pairs(first[train], second[train], outcome[train], groups=clusters)
        _, variance = _pairwise_probability(fitted, first[test], second[test])
        bias = _oriented_bias(log[test], outcome[test])
        v_log, v_experiment = float(log_variance[test].mean()), float(variance.mean())
        if bias == 0 and v_log + v_experiment == 0:
            raise ValueError(
                "X_first and X_second have the same features in every held-out pair, so that nothing was compared: "
                "pass pairs of different texts."
            )
        rows.append((v_experiment / (bias**2 + v_log + v_experiment), bias, v_log, v_experiment, len(train), len(test)))
        models.append(fitted)
    names = ["weight", "bias", "variance_observational", "variance_experimental", "n_fitted", "n_held_out"]
    splits = pd.DataFrame(rows, columns=names)
    means = splits.mean()
    return ExperimentFusion(
        weight=float(means["weight"]),
        bias=float(means["bias"]),
        variance_observational=float(means["variance_observational"]),
        variance_experimental=float(means["variance_experimental"]),
        splits=splits,
        observational=observational,
        experimental=tuple(models),
    )


def _experimental_model(model: Any) -> Any:
    if model is None:
        return PairwiseRewardModel()
    if not hasattr(model, "fit_pairs"):
        raise TypeError(
            f"experimental_model must be a PairwiseRewardModel; got {type(model).__name__}, which has no fit_pairs."
        )
    return model


def _refuse_without_variance(observational: Any) -> None:
    if isinstance(observational, PairwiseRewardModel):
        return
    final = getattr(observational, "final_model", None)
    if not hasattr(observational, "residual_variance_") or is_nonlinear(final):
        raise MethodNotApplicableError(
            "observational must be a fitted RewardDeconfounder with a linear or pairwise reward, or a fitted "
            f"PairwiseRewardModel; got {type(observational).__name__}"
            f"{'' if final is None else f' with final_model={type(final).__name__}'}, whose win probabilities have no "
            "variance. Leave final_model at None."
        )


def _pair_features(
    observational: Any, X_first: Any, X_second: Any
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Features of both texts, through the log's encoder where it has one."""
    encoder = getattr(observational, "encoder_", None)
    sides = []
    for name, side in (("X_first", X_first), ("X_second", X_second)):
        features = encode(encoder, side, name=name)
        columns = getattr(features, "columns", None)
        known = getattr(observational, "feature_names_in_", None)
        if columns is not None and known is not None and list(columns) != list(known):
            raise ValueError(f"{name} has the columns {list(columns)}, expected those of the log: {list(known)}.")
        array = np.asarray(features)
        array = array if array.dtype == np.float32 else array.astype(np.float64)
        if array.ndim != 2 or array.shape[1] != observational.n_features_in_:
            raise ValueError(
                f"{name} must have shape (m, {observational.n_features_in_}), the features of the observational reward"
                f"; got shape {array.shape}."
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{name} contains NaN or infinity: drop or impute these pairs.")
        sides.append(array)
    if len(sides[0]) != len(sides[1]):
        raise ValueError(f"X_first has {len(sides[0])} rows, X_second {len(sides[1])}: pass one row of each per pair.")
    return sides[0], sides[1]


def _quadratic(
    first: NDArray[np.floating], second: NDArray[np.floating], coef: Array, covariance: Array
) -> tuple[Array, Array]:
    """q'θ and q'Vq of the differences q."""
    value, variance = np.empty(len(first)), np.empty(len(first))
    for part in row_chunks(len(first), len(coef)):
        block = first[part].astype(np.float64) - second[part]
        value[part] = block @ coef
        variance[part] = np.einsum("ij,ij->i", block @ covariance, block)
    return value, np.clip(variance, 0.0, None)


def _pairwise_probability(model: Any, first: NDArray[np.floating], second: NDArray[np.floating]) -> tuple[Array, Array]:
    """σ(w'q) and its variance (p(1 - p))² q'Vq."""
    value, variance = _quadratic(first, second, model.coef_, model.covariance_)
    probability = expit(value)
    return probability, (probability * (1 - probability)) ** 2 * variance


def _log_probability(
    observational: Any, first: NDArray[np.floating], second: NDArray[np.floating]
) -> tuple[Array, Array]:
    """Win probabilities of the log's reward and their variances.

    A reward in units of the outcome wins where the difference q'θ plus the difference of two independent residuals,
    of variance 2σ², is positive; σ is taken as known.
    """
    final = getattr(observational, "final_model_", observational)
    if isinstance(final, PairwiseRewardModel):
        return _pairwise_probability(final, first, second)
    value, variance = _quadratic(first, second, observational.coef_, observational.covariance_)
    scale = max(float(np.sqrt(2 * observational.residual_variance_)), 1e-150)  # a perfect fit has σ = 0
    return stats.norm.cdf(value / scale), (stats.norm.pdf(value / scale) / scale) ** 2 * variance


def _oriented_bias(probability: Array, won: Array) -> float:
    """Mean of p̂_O less the share won, each pair turned so that p̂_O is at least one half.

    A pair with p̂_O = ½ has no preferred side: it adds nothing, so that the order of its texts does not matter.
    """
    return float(np.mean(np.sign(probability - 0.5) * (probability - won)))


def _splits(cv: Any, m: int, codes: NDArray[np.intp] | None, random_state: Any) -> list[tuple[Any, Any]]:
    if isinstance(cv, int | np.integer):
        check_integer(cv, "cv", low=2)
        units = m if codes is None else int(codes.max()) + 1
        if units < cv:
            what = "pairs" if codes is None else "groups"
            raise ValueError(
                f"won has {units} {what}, fewer than the cv={cv} parts: pass more of them, or a smaller cv."
            )
        kind = KFold if codes is None else GroupKFold
        return list(kind(int(cv), shuffle=True, random_state=random_state).split(np.zeros((m, 1)), groups=codes))
    return list(check_cv(cv).split(np.zeros((m, 1)), groups=codes))


def _warn_of_leakage(observational: Any, first: NDArray[np.floating], second: NDArray[np.floating]) -> None:
    known = getattr(observational, "row_hashes_", None)
    if known is None:
        return
    hashes = np.unique(np.concatenate([hash_rows(first), hash_rows(second)]))
    seen = int(np.isin(hashes, known).sum())
    if seen:
        warnings.warn(
            f"{seen} of the {len(hashes)} different texts in X_first and X_second have the features of rows that the "
            "observational reward was fitted on: its win probabilities are not those of new texts, and its bias looks "
            "smaller than it is. Fit it without these rows.",
            LeakageWarning,
            stacklevel=3,
        )
