"""How well a score ranks: pair accuracy, best-of-n uplift, and a report with jackknife errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from causalkit.selection.pair_counts import PairCounts, count_pairs, kendall_tau, share_ordered_rightly
from causalkit.validation import Groups, check_groups, check_integer, check_same_index, check_vector

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["best_of_n_uplift", "pairwise_accuracy", "ranking_report"]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

# Leaving out one of 200 blocks gives a standard error with a relative error of 5 %, whatever the number of prompts.
_MAX_BLOCKS = 200


def pairwise_accuracy(truth: Any, score: Any, *, strata: Any = None) -> float:
    r"""Share of pairs with different truth that the score orders rightly; ties of the score count one half.

    .. math:: \frac{\sum_{i<j}\, 1\{(t_i - t_j)(s_i - s_j) > 0\} + \tfrac12 1\{t_i \ne t_j, s_i = s_j\}}
                   {\sum_{i<j} 1\{t_i \ne t_j\}}

    With ``strata`` only pairs of the same stratum count, each pair with the same weight. For a binary truth it is the
    area under the ROC curve (within strata). It takes O(n log n) operations.

    Parameters
    ----------
    truth : array-like, shape (n,)
        What a row is worth.
    score : array-like, shape (n,)
        What ranks the rows.
    strata : array-like, shape (n,), optional
        Stratum of each row.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        No pair has different truth.

    Examples
    --------
    >>> from causalkit.selection import pairwise_accuracy
    >>> pairwise_accuracy([1, 2, 3], [0.1, 0.3, 0.2])
    0.6666666666666666
    >>> pairwise_accuracy([1, 2, 3, 4], [1, 2, 0, 0], strata=["a", "a", "b", "b"])
    0.75
    """
    t, s = _checked(truth, score)
    groups = check_groups(strata, len(t), name="strata", like="truth")
    value = float(share_ordered_rightly(count_pairs(t, s, None if groups is None else groups.codes).total())[0])
    if np.isnan(value):
        where = "no two rows" if groups is None else "no two rows of the same stratum"
        raise ValueError(f"truth orders nothing: {where} have different values, so there is no pair to rank.")
    return value


def best_of_n_uplift(truth: Any, score: Any, n: int = 4) -> float:
    r"""Gain in truth from taking, of n rows drawn at random without replacement, the one with the largest score.

    .. math:: \sum_{k=1}^{N} t_{(k)} \binom{k-1}{n-1} \Big/ \binom{N}{n} \;-\; \bar t,

    rows sorted by score in rising order. Rows of equal score share their probabilities. The sum is exact: nothing is
    drawn. With the truth as its own score it is the largest possible uplift, and the difference to it is the regret.

    Parameters
    ----------
    truth : array-like, shape (N,)
        What a row is worth.
    score : array-like, shape (N,)
        What ranks the rows.
    n : int, default=4
        Number of candidates, at most N.

    Returns
    -------
    float
        In units of truth.

    Raises
    ------
    ValueError
        More candidates than rows.

    Examples
    --------
    Of two rows of 1, 2, 3 the better one is 2, 3 or 3.

    >>> from causalkit.selection import best_of_n_uplift
    >>> round(best_of_n_uplift([1, 2, 3], [1, 2, 3], n=2), 6)
    0.666667
    """
    t, s = _checked(truth, score)
    _check_candidates(n, len(t))
    order = np.argsort(s, kind="stable")
    return _uplift(t[order], s[order], n, gammaln(np.arange(len(t) + 1) + 1.0))


def ranking_report(
    truth: Any, score: Any, *, prompts: Any = None, strata: Any = None, n: int | tuple[int, ...] = (4, 8)
) -> pd.DataFrame:
    r"""Measures of ranking with standard errors by a jackknife over prompts.

    All measures are over all rows; only ``within_stratum_accuracy`` is confined to pairs of the same stratum. Read
    that one first where a confounder such as the author moves the truth: the other measures reward a score that
    merely guesses the confounder.

    - ``pair_accuracy``, ``within_stratum_accuracy``: :func:`pairwise_accuracy`;
    - ``kendall_tau``: tau-b;
    - ``ndcg``: with gains truth less its minimum and discounts 1/log₂(1 + rank), tied scores averaged;
    - ``uplift_n``, ``regret_n``: :func:`best_of_n_uplift`, and what it lacks to ranking by the truth;
    - ``calibration_slope``: least-squares slope of the truth on the score; 1 where the score is on the truth's scale.

    Parameters
    ----------
    truth : array-like, shape (n,)
        What a row is worth.
    score : array-like, shape (n,)
        What ranks the rows.
    prompts : array-like, shape (n,), optional
        Units that are left out in turn; rows without it. Beyond 200 of them, 200 blocks of prompts are left out in
        turn, whose sizes differ by one prompt at most.
    strata : array-like, shape (n,), optional
        Stratum of each row.
    n : int or tuple of int, default=(4, 8)
        Numbers of candidates.

    Returns
    -------
    DataFrame
        Index ``metric``; columns ``estimate`` and ``standard_error``. ``attrs`` counts rows, prompts and pairs. A
        constant score has no ``kendall_tau`` and no ``calibration_slope`` (NaN), and a standard error is NaN where
        leaving out one block leaves nothing to compare.

    Raises
    ------
    ValueError
        Nothing to rank, more candidates than rows, or a single prompt.

    Examples
    --------
    >>> import numpy as np
    >>> from causalkit.selection import ranking_report
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=500)
    >>> report = ranking_report(truth, truth + rng.normal(size=500), n=4)
    >>> report.index.tolist()
    ['pair_accuracy', 'kendall_tau', 'ndcg', 'uplift_4', 'regret_4', 'calibration_slope']
    >>> bool(abs(report.loc["pair_accuracy", "estimate"] - 0.75) < 3 * report.loc["pair_accuracy", "standard_error"])
    True
    """
    import pandas as pd

    t, s = _checked(truth, score)
    size = len(t)
    candidates = tuple(n) if isinstance(n, list | tuple) else (n,)
    for number in candidates:
        _check_candidates(number, size)
    stratum = check_groups(strata, size, name="strata", like="truth")
    units = check_groups(prompts, size, name="prompts", like="truth")
    if units is not None and units.n_groups < 2:
        raise ValueError(
            "prompts has 1 distinct value: the jackknife leaves out one prompt in turn and needs at least two."
        )
    blocks, n_blocks = _blocks(size, units)
    rows: dict[str, tuple[float, Array]] = {}
    pairs = _pair_measures(rows, t, s, stratum, blocks, n_blocks)
    rows |= _sorted_measures(t, s, candidates, blocks, n_blocks)
    rows["calibration_slope"] = _slopes(t, s, blocks, n_blocks)
    frame = pd.DataFrame(
        {
            "estimate": [value for value, _ in rows.values()],
            "standard_error": [_jackknife_error(left) for _, left in rows.values()],
        },
        index=pd.Index(list(rows), name="metric"),
    )
    frame.attrs.update(n_rows=size, n_prompts=size if units is None else units.n_groups, **pairs)
    return frame


def _checked(truth: Any, score: Any) -> tuple[Array, Array]:
    check_same_index(truth, score, ("truth", "score"))
    t = check_vector(truth, "truth")
    return t, check_vector(score, "score", n_rows=len(t), like="truth")


def _check_candidates(n: Any, size: int) -> None:
    check_integer(n, "n", low=1)
    if n > size:
        raise ValueError(f"n is {n} candidates, but truth has {size} rows: n must not exceed the number of rows.")


def _blocks(size: int, units: Groups | None) -> tuple[Codes, int]:
    codes = np.arange(size, dtype=np.intp) if units is None else units.codes
    n_blocks = min(size if units is None else units.n_groups, _MAX_BLOCKS)
    return codes % n_blocks, n_blocks


def _pair_measures(
    rows: dict[str, tuple[float, Array]], t: Array, s: Array, stratum: Groups | None, blocks: Codes, n_blocks: int
) -> dict[str, int]:
    """Add the measures on pairs to ``rows``; returns the numbers of pairs compared."""
    counts = count_pairs(t, s)
    left = counts.without_blocks(count_pairs(t, s, blocks), blocks, n_blocks)
    total = counts.total()
    rows["pair_accuracy"] = _first(share_ordered_rightly, total), share_ordered_rightly(left)
    if np.isnan(rows["pair_accuracy"][0]):
        raise ValueError("truth orders nothing: all rows have the same value, so there is no pair to rank.")
    compared = {"n_pairs": int(total.pairs[0] - total.same_truth[0])}
    if stratum is not None:
        within = count_pairs(t, s, stratum.codes)
        cells = np.unique(stratum.codes * n_blocks + blocks, return_inverse=True)[1].astype(np.intp)
        kept = within.without_blocks(count_pairs(t, s, cells), blocks, n_blocks)
        inside = within.total()
        rows["within_stratum_accuracy"] = _first(share_ordered_rightly, inside), share_ordered_rightly(kept)
        if np.isnan(rows["within_stratum_accuracy"][0]):
            raise ValueError("strata leave no pair: truth does not vary within any stratum. Pass coarser strata.")
        compared["n_pairs_within_strata"] = int(inside.pairs[0] - inside.same_truth[0])
    rows["kendall_tau"] = _first(kendall_tau, total), kendall_tau(left)
    return compared


def _first(measure: Callable[[PairCounts], Array], counts: PairCounts) -> float:
    return float(measure(counts)[0])


def _sorted_measures(
    t: Array, s: Array, candidates: tuple[int, ...], blocks: Codes, n_blocks: int
) -> dict[str, tuple[float, Array]]:
    """NDCG, uplift and regret with all rows and without each block; both sorts are done once."""
    by_score, by_truth = np.argsort(s, kind="stable"), np.argsort(t, kind="stable")
    log_factorial = gammaln(np.arange(len(t) + 1) + 1.0)
    discount = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, len(t) + 2)))])
    floor = t.min()

    def measures(kept: NDArray[np.bool_] | None) -> list[float]:
        one = by_score if kept is None else by_score[kept[by_score]]
        two = by_truth if kept is None else by_truth[kept[by_truth]]
        value = [_ndcg(t[one] - floor, s[one], t[two] - floor, discount)]
        for n in candidates:
            uplift = _uplift(t[one], s[one], n, log_factorial)
            value += [uplift, _uplift(t[two], t[two], n, log_factorial) - uplift]
        return value

    names = ["ndcg", *(f"{kind}_{n}" for n in candidates for kind in ("uplift", "regret"))]
    left = np.array([measures(blocks != block) for block in range(n_blocks)])
    return {name: (value, left[:, k]) for k, (name, value) in enumerate(zip(names, measures(None), strict=True))}


def _tie_ends(sorted_score: Array) -> Codes:
    """Number of rows up to the end of each run of equal scores."""
    return np.flatnonzero(np.append(np.diff(sorted_score) != 0, True)) + 1


def _tie_means(values: Array, ends: Codes) -> Array:
    starts = np.concatenate([[0], ends[:-1]])
    return np.asarray(np.add.reduceat(values, starts) / (ends - starts))


def _uplift(truth: Array, score: Array, n: int, log_factorial: Array) -> float:
    """Uplift of rows sorted by score; NaN with fewer than n rows.

    The best of n lies among the first k rows with probability C(k, n)/C(N, n), so a run of equal scores has the
    difference of two of these, and no binomial coefficient is summed.
    """
    size = len(truth)
    if n > size:
        return float("nan")
    ends = _tie_ends(score)
    reach = ends[ends >= n]
    cumulative = np.zeros(len(ends))
    cumulative[ends >= n] = np.exp(
        log_factorial[reach] - log_factorial[reach - n] - log_factorial[size] + log_factorial[size - n]
    )
    mean = float(truth.mean())
    return float(np.diff(cumulative, prepend=0.0) @ _tie_means(truth - mean, ends))


def _ndcg(gain: Array, score: Array, ideal: Array, discount: Array) -> float:
    """NDCG of rows in rising order of score, ``ideal`` the gains in rising order; ``discount`` is cumulative."""
    ends = _tie_ends(score[::-1])
    found = float(np.diff(discount[ends], prepend=0.0) @ _tie_means(gain[::-1], ends))
    best = float(np.diff(discount[: len(ideal) + 1]) @ ideal[::-1])
    return found / best if best > 0 else float("nan")


def _slopes(t: Array, s: Array, blocks: Codes, n_blocks: int) -> tuple[float, Array]:
    """Slope of truth on score with all rows and without each block, from moments; NaN for a constant score."""
    if s.min() == s.max():
        return float("nan"), np.full(n_blocks, np.nan)
    a, b = s - s.mean(), t - t.mean()
    sums = [np.bincount(blocks, values, n_blocks) for values in (np.ones(len(a)), a, b, a * a, a * b)]
    size, first, second, square, product = (column.sum() - column for column in sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        left = (product - first * second / size) / (square - first**2 / size)
    return float(a @ b / (a @ a)), left


def _jackknife_error(left: Array) -> float:
    """Root of (K-1)/K times the sum of squares about the mean of the K values with one block left out."""
    k = len(left)
    return float(np.sqrt((k - 1) / k * ((left - left.mean()) ** 2).sum()))
