"""Counts of pairs ordered rightly, wrongly and tied, for every row, in O(n log n)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PairCounts", "count_pairs", "kendall_tau", "share_ordered_rightly"]

Array = NDArray[np.float64]
Codes = NDArray[np.intp]


@dataclass(frozen=True)
class PairCounts:
    """Counts over pairs: of one row with all others of its stratum, or sums over rows with each pair once.

    Attributes
    ----------
    pairs : ndarray, shape (n,)
        All pairs.
    same_truth, same_score, same_both : ndarray, shape (n,)
        Pairs with equal truth, with equal score, with both equal.
    discordant : ndarray, shape (n,)
        Pairs that truth and score order differently.
    """

    pairs: Array
    same_truth: Array
    same_score: Array
    same_both: Array
    discordant: Array

    def fields(self) -> tuple[Array, ...]:
        """The five counts in the order of the constructor."""
        return self.pairs, self.same_truth, self.same_score, self.same_both, self.discordant

    def total(self) -> PairCounts:
        """Sums over rows, each pair once; arrays of shape (1,)."""
        return PairCounts(*(np.atleast_1d(field.sum() / 2) for field in self.fields()))

    def without_blocks(self, inside: PairCounts, blocks: Codes, n_blocks: int) -> PairCounts:
        """Totals when one block of rows is left out; arrays of shape (n_blocks,).

        A pair goes when either of its rows does: the counts of the block's rows, less the pairs with both rows in
        the block (``inside``), which were counted twice.
        """
        left = []
        for field, both in zip(self.fields(), inside.fields(), strict=True):
            gone = np.bincount(blocks, field, n_blocks) - np.bincount(blocks, both, n_blocks) / 2
            left.append(field.sum() / 2 - gone)
        return PairCounts(*left)


def share_ordered_rightly(counts: PairCounts) -> Array:
    """Share of pairs with different truth that the score orders rightly, ties of the score ½; NaN without a pair."""
    comparable = counts.pairs - counts.same_truth
    tied = counts.same_score - counts.same_both
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((comparable - counts.discordant - tied / 2) / comparable)


def kendall_tau(counts: PairCounts) -> Array:
    """Kendall's tau-b; NaN where truth or score is constant."""
    comparable, scored = counts.pairs - counts.same_truth, counts.pairs - counts.same_score
    concordant = comparable - counts.same_score + counts.same_both - counts.discordant
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((concordant - counts.discordant) / np.sqrt(comparable * scored))


def count_pairs(truth: Array, score: Array, strata: Codes | None = None) -> PairCounts:
    """Pairs of each row with the other rows of its stratum.

    Parameters
    ----------
    truth, score : ndarray, shape (n,)
        What is compared.
    strata : ndarray of int, shape (n,), optional
        Stratum of each row; one stratum without it.

    Returns
    -------
    PairCounts
        Arrays of shape (n,).
    """
    stratum = np.zeros(len(truth), dtype=np.intp) if strata is None else strata
    t, q = _dense(truth), _dense(score)
    return PairCounts(
        _mates(stratum),
        _mates(_joint(stratum, t)),
        _mates(_joint(stratum, q)),
        _mates(_joint(_joint(stratum, t), q)),
        _discordant(stratum, t, q),
    )


def _dense(values: Array) -> Codes:
    return np.unique(values, return_inverse=True)[1].astype(np.intp)


def _joint(first: Codes, second: Codes) -> Codes:
    return np.unique(first * (int(second.max()) + 1) + second, return_inverse=True)[1].astype(np.intp)


def _mates(codes: Codes) -> Array:
    """Number of other rows with the same code."""
    return np.asarray((np.bincount(codes)[codes] - 1).astype(np.float64))


def _discordant(stratum: Codes, t: Codes, q: Codes) -> Array:
    """Inversions of the score per row, once rows are sorted by truth.

    Ranks are compared bit by bit from the highest: two rows of a group with equal higher bits form an inversion where
    the earlier one has the bit and the later one has not. The group is then split stably by the bit, so that every
    pair is settled at the highest bit in which its ranks differ. Rows of equal truth are sorted by score: no inversion.
    """
    rows = np.lexsort((q, t, stratum))
    n = len(rows)
    sizes = np.bincount(stratum)
    ends_of = np.cumsum(sizes)
    start, end = (ends_of - sizes)[stratum[rows]], ends_of[stratum[rows]]
    rank, count, position = q[rows], np.zeros(n), np.arange(n)
    for bit in range(int(q.max()).bit_length() - 1, -1, -1):
        one = (rank >> bit) & 1 == 1
        zeros = np.concatenate([[0], np.cumsum(~one)])
        before, all_zeros = zeros[position] - zeros[start], zeros[end] - zeros[start]
        ones_before = position - start - before
        count += np.where(one, all_zeros - before, ones_before)
        border = start + all_zeros
        target = np.where(one, border + ones_before, start + before)
        inverse = np.empty(n, dtype=np.intp)
        inverse[target] = position
        start, end = np.where(one, border, start)[inverse], np.where(one, end, border)[inverse]
        rows, rank, count = rows[inverse], rank[inverse], count[inverse]
    out = np.empty(n)
    out[rows] = count
    return out
