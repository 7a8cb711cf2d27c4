r"""Weights under which confounder and text are independent, and what is estimated with them.

With :math:`w_i = \hat P(C_i)/\hat P(C_i \mid X_i)` every level of C has the same texts as the whole log: a regression
of Y on X then needs no model of how Y depends on C, and the level means of Y need none of how it depends on X.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.exceptions import IdentificationError, OverlapWarning
from causalkit.rewards.orthogonal import OrthogonalFit, fit_orthogonal, row_chunks
from causalkit.validation import Groups

__all__ = [
    "BalancingWeights",
    "WeightedLevelMeans",
    "auc_after_weighting",
    "balancing_weights",
    "weighted_level_means",
    "weighted_regression",
]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

RARE_PROBABILITY = 1e-3
SMALL_SHARE = 0.1


@dataclass(frozen=True, eq=False, kw_only=True)
class BalancingWeights:
    """Weights that balance the texts over the levels of a confounder.

    Attributes
    ----------
    weights : ndarray, shape (n,)
        P̂(C_i)/P̂(C_i|X_i), capped if asked for, times the sample weight.
    effective_size : float
        (Σw)²/Σw², as many rows of equal weight have the same variance.
    n_capped : int
        Rows whose weight was cut to the cap.
    smallest_probability : ndarray, shape (G,)
        Smallest probability of each level over all rows.
    level_share : ndarray, shape (G,)
        P̂(C = c), with sample weights.
    """

    weights: Array
    effective_size: float
    n_capped: int
    smallest_probability: Array
    level_share: Array


def balancing_weights(
    codes: Codes,
    probabilities: Array,
    *,
    max_weight: float | None = None,
    weight: Array | None = None,
    levels: Any = None,
    stacklevel: int = 2,
) -> BalancingWeights:
    r"""Weights :math:`w_i = \hat P(C_i)/\hat P(C_i \mid X_i)` from out-of-fold probabilities.

    Assumption: every level is possible for every text.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Level of each row, from 0.
    probabilities : ndarray, shape (n, G)
        Out-of-fold probabilities of the levels given the features; rows sum to one.
    max_weight : float, optional
        Cap. It lowers the variance and brings back some of the confounding.
    weight : ndarray, shape (n,), optional
        Sample weights of mean 1; they enter the shares and multiply the result.
    levels : sequence, length G, optional
        Labels, for messages.
    stacklevel : int, default=2
        As in :func:`warnings.warn`.

    Returns
    -------
    BalancingWeights

    Raises
    ------
    ValueError
        Shapes that disagree, probabilities outside [0, 1] or not adding up to one, or a cap that is not positive.
    IdentificationError
        A row whose own level has probability zero, without a cap.

    Warns
    -----
    OverlapWarning
        A probability below .001, or an effective size below a tenth of the rows.

    References
    ----------
    Robins, Hernán, Brumback 2000, doi 10.1097/00001648-200009000-00011 (stabilised weights).

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.rewards.weighting import balancing_weights, weighted_regression
    >>> c = np.repeat([0, 1], 5)
    >>> x = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0.0])
    >>> y = x + 3 * c
    >>> likely = np.where(x == 1, 0.8, 0.2)  # of c = 1, from the cell frequencies
    >>> w = balancing_weights(c, np.column_stack([1 - likely, likely])).weights
    >>> round(float(weighted_regression(x[:, None], y, w).coef[0]), 10)
    1.0
    """
    n = len(codes)
    n_levels = probabilities.shape[1] if probabilities.ndim == 2 else 0
    labels = np.arange(n_levels) if levels is None else levels
    _check_probabilities(codes, probabilities, n_levels)
    if max_weight is not None and not max_weight > 0:
        raise ValueError(f"max_weight must be a positive number or None (no cap); got {max_weight!r}.")
    share = np.bincount(codes, weights=weight, minlength=n_levels)
    share = share / share.sum()
    own = probabilities[np.arange(n), codes]
    impossible = own <= 0
    if impossible.any() and max_weight is None:
        row = int(np.argmax(impossible))
        raise IdentificationError(
            f"confounder level '{labels[codes[row]]}' has predicted probability 0 for {int(impossible.sum())} rows "
            f"that have it (first: row {row}): expected every level to be possible for every text, the weight is "
            "infinite. "
            "Set max_weight, pass a smoother confounder_model, or use another method."
        )
    with np.errstate(divide="ignore"):
        raw = share[codes] / own
    capped = np.zeros(n, dtype=bool) if max_weight is None else raw > max_weight
    weights = np.where(capped, max_weight, raw) if max_weight is not None else raw
    weights = weights if weight is None else weights * weight
    result = BalancingWeights(
        weights=weights,
        effective_size=float(weights.sum() ** 2 / (weights @ weights)),
        n_capped=int(capped.sum()),
        smallest_probability=probabilities.min(axis=0),
        level_share=share,
    )
    _warn_of_overlap(result, labels, stacklevel + 1)
    return result


def _check_probabilities(codes: Codes, probabilities: Array, n_levels: int) -> None:
    n = len(codes)
    if n_levels == 0 or len(probabilities) != n or codes.min() < 0 or codes.max() >= n_levels:
        raise ValueError(
            f"probabilities must have a row for each of the {n} rows and a column for each level "
            f"({int(codes.max()) + 1} or more): got shape {probabilities.shape}."
        )
    # Written so that NaN fails as well.
    valid = (probabilities >= 0).all(axis=1) & (np.abs(probabilities.sum(axis=1) - 1) < 1e-3)
    if not valid.all():
        row = int(np.argmin(valid))
        raise ValueError(
            f"probabilities must be non-negative and add up to one in every row: {int((~valid).sum())} of {n} rows do "
            f"not (first: row {row}, {probabilities[row]}). Pass predict_proba of a classifier."
        )


def _warn_of_overlap(result: BalancingWeights, labels: Any, stacklevel: int) -> None:
    n, found = len(result.weights), []
    worst = int(np.argmin(result.smallest_probability))
    if result.smallest_probability[worst] < RARE_PROBABILITY:
        found.append(
            f"level '{labels[worst]}' has predicted probability {result.smallest_probability[worst]:.2g} for some text"
        )
    if result.effective_size < SMALL_SHARE * n:
        found.append(f"the effective sample size is {result.effective_size:.1f} of {n} rows")
    if found:
        warnings.warn(
            f"little overlap of texts between confounder levels: {' and '.join(found)}. A few rows carry the estimate; "
            "consider max_weight, which cuts them at the price of some bias, or another method.",
            OverlapWarning,
            stacklevel=stacklevel,
        )


def weighted_regression(
    X: NDArray[np.floating], y: Array, weights: Array, *, names: list[str] | None = None
) -> OrthogonalFit:
    """Weighted least squares of y on (1, X).

    Influence values and covariances have w inside the scores and take the weights as known. Estimated weights make
    the estimate no less precise as a rule, so the interval is then rather too long than too short.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Features, float32 or float64.
    y : ndarray, shape (n,)
        Outcome.
    weights : ndarray, shape (n,)
        Balancing weights; their scale does not matter.
    names : list of str, optional
        Of the features, for messages.

    Returns
    -------
    OrthogonalFit
        ``features`` are X less their weighted mean.

    Raises
    ------
    IdentificationError
        Collinear features.
    """
    n, p = X.shape
    w = weights * (n / weights.sum())
    mean = np.zeros(p)
    for rows in row_chunks(n, p):
        mean += w[rows] @ X[rows].astype(np.float64)
    mean /= n
    centred = np.empty_like(X)
    for rows in row_chunks(n, p):
        centred[rows] = X[rows] - mean  # in float64, rounded once
    return fit_orthogonal(centred, y - w @ y / n, weight=w, names=names)


@dataclass(frozen=True, eq=False, kw_only=True)
class WeightedLevelMeans:
    """Mean outcome of each level, had it had the texts of the whole log.

    Attributes
    ----------
    effect : ndarray, shape (G,)
        ĝ(c) = Σ_{C=c}wY/Σ_{C=c}w, not centred; NaN for a level without rows.
    std_error : ndarray, shape (G,)
        Standard errors of ``effect``, weights taken as known; clustered if groups were given.
    n : ndarray of int, shape (G,)
        Rows of each level.
    effective_size : ndarray, shape (G,)
        (Σw)²/Σw² within the level.
    """

    effect: Array
    std_error: Array
    n: NDArray[np.intp]
    effective_size: Array


def weighted_level_means(
    y: Array, codes: Codes, n_levels: int, weights: Array, *, groups: Groups | None = None
) -> WeightedLevelMeans:
    """ĝ(c) = Σ_{C_i=c} w_iY_i / Σ_{C_i=c} w_i.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Outcome.
    codes : ndarray of int, shape (n,)
        Level of each row, from 0.
    n_levels : int
        Number of levels, G.
    weights : ndarray, shape (n,)
        Balancing weights.
    groups : Groups, optional
        Clusters of rows; their scores are summed within each level, times G/(G - 1).

    Returns
    -------
    WeightedLevelMeans
    """
    total = np.bincount(codes, weights=weights, minlength=n_levels)
    squares = np.bincount(codes, weights=weights**2, minlength=n_levels)
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = np.bincount(codes, weights=weights * y, minlength=n_levels) / total
        scores = weights * (y - effect[codes]) / total[codes]
        effective = total**2 / squares
    at, factor = codes, 1.0
    if groups is not None:
        # Cells of (group, level): a row bears on its own level only, so nothing is dense.
        cells, index = np.unique(groups.codes * n_levels + codes, return_inverse=True)
        scores = np.asarray(np.bincount(index, weights=scores), dtype=np.float64)
        at = cells % n_levels
        factor = groups.n_groups / (groups.n_groups - 1)
    variance = factor * np.bincount(at, weights=scores**2, minlength=n_levels)
    n_rows = np.bincount(codes, minlength=n_levels)
    return WeightedLevelMeans(
        effect=effect,
        std_error=np.where(n_rows > 0, np.sqrt(variance), np.nan),
        n=n_rows.astype(np.intp),
        effective_size=np.where(n_rows > 0, effective, 0.0),
    )


def auc_after_weighting(codes: Codes, probabilities: Array, weights: Array) -> tuple[float, Array]:
    """How well the classifier still tells levels apart under the weights: ½ where they balance.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Level of each row.
    probabilities : ndarray, shape (n, G)
        Out-of-fold probabilities, the scores that are compared.
    weights : ndarray, shape (n,)
        Balancing weights; ones give the AUC before weighting.

    Returns
    -------
    auc : float
        Mean over the levels, by their number of rows; with two levels the one AUC.
    per_level : ndarray, shape (G,)
        AUC of each level against the others; NaN where one side is empty.
    """
    from sklearn.metrics import roc_auc_score

    n_levels = probabilities.shape[1]
    share = np.bincount(codes, minlength=n_levels) / len(codes)
    per_level = np.full(n_levels, np.nan)
    for level in np.flatnonzero((share > 0) & (share < 1)):
        per_level[level] = roc_auc_score(codes == level, probabilities[:, level], sample_weight=weights)
    known = np.isfinite(per_level)
    auc = float(np.average(per_level[known], weights=share[known])) if known.any() else np.nan
    return auc, per_level
