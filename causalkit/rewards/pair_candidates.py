"""Pairs of rows within units (prompts, strata, the whole log): enumerated or drawn, filtered, capped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["KeptPairs", "Rule", "count_candidates", "keep_pairs", "pair_of_number", "shuffled_numbers"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Rule = Callable[[Rows, Rows], NDArray[np.bool_]]

# Pairs held at once while rules are applied, and how many pairs of one unit are enumerated where only some are wanted.
_CHUNK = 2**20
_ENUMERATED = 1000
# A unit with too many pairs to enumerate is drawn from until the cap is reached or this many times the cap was seen.
_TRIES = 20
_ROUNDS = 6


@dataclass
class KeptPairs:
    """Pairs that pass every rule.

    Attributes
    ----------
    first, second : ndarray of int, shape (m,)
        Rows of each pair, the first one before the second.
    dropped : dict of str to int
        Pairs dropped by each rule; a pair counts for the first rule that drops it. "cap" counts the pairs beyond the
        cap, seen or not, so that kept and dropped pairs add up to the candidates.
    """

    first: Rows
    second: Rows
    dropped: dict[str, int] = field(default_factory=dict)


def count_candidates(codes: Rows) -> int:
    """Number of pairs of rows with the same code."""
    sizes = np.bincount(codes)
    return int((sizes * (sizes - 1) // 2).sum())


def keep_pairs(codes: Rows, caps: Rows | None, rules: dict[str, Rule], rng: np.random.Generator) -> KeptPairs:
    """Pairs within units that pass the rules, at most ``caps`` of each unit, drawn evenly from those that pass.

    Units with many pairs and a low cap are not enumerated: pairs are drawn in random order until the cap is reached.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Unit of each row, numbered from 0.
    caps : ndarray of int, shape (n_units,), or None
        Largest number of pairs of each unit; None keeps all.
    rules : dict of str to callable
        By name, in order: two arrays of rows to a mask of the pairs that pass.
    rng : Generator
        Draws pairs.

    Returns
    -------
    KeptPairs
        Sorted by unit, then by the rows in their order.
    """
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    totals = sizes * (sizes - 1) // 2
    large = np.zeros(len(sizes), dtype=bool) if caps is None else totals > np.maximum(_TRIES * caps, _ENUMERATED)
    dropped = dict.fromkeys(rules, 0)
    kept: list[tuple[Rows, Rows]] = []
    for units, i, j in _enumerated(order, starts, sizes, np.flatnonzero(~large & (sizes > 1))):
        passed = _passing(i, j, rules, dropped)
        units, i, j = units[passed], i[passed], j[passed]
        if caps is not None:
            within = _capped(units, caps, rng)
            i, j = i[within], j[within]
        kept.append((i, j))
    for unit in np.flatnonzero(large):
        rows = order[starts[unit] : starts[unit] + sizes[unit]]
        kept.append(_drawn(rows, int(caps[unit]) if caps is not None else 0, rules, dropped, rng))
    first = np.concatenate([pair[0] for pair in kept]) if kept else np.zeros(0, dtype=np.intp)
    second = np.concatenate([pair[1] for pair in kept]) if kept else np.zeros(0, dtype=np.intp)
    by_unit = np.lexsort((second, first, codes[first]))
    dropped["cap"] = int(totals.sum()) - len(first) - sum(dropped.values())
    return KeptPairs(first[by_unit], second[by_unit], dropped)


def _passing(i: Rows, j: Rows, rules: dict[str, Rule], dropped: dict[str, int]) -> Rows:
    """Numbers of the pairs that pass; ``dropped`` is counted up. A rule sees only what the earlier ones let through."""
    left = np.arange(len(i))
    for name, rule in rules.items():
        passed = left[rule(i[left], j[left])]
        dropped[name] += len(left) - len(passed)
        left = passed
    return left


def _enumerated(order: Rows, starts: Rows, sizes: Rows, units: Rows) -> Iterator[tuple[Rows, Rows, Rows]]:
    """Every pair of the given units in chunks: unit, first and second row. A chunk holds whole units."""
    for size in np.unique(sizes[units]):
        alike = units[sizes[units] == size]
        i, j = np.triu_indices(size, 1)
        step = max(1, _CHUNK // len(i))
        for k in range(0, len(alike), step):
            some = alike[k : k + step]
            base = starts[some, None]
            yield np.repeat(some, len(i)), order[base + i].ravel(), order[base + j].ravel()


def _capped(units: Rows, caps: Rows, rng: np.random.Generator) -> Rows:
    """Numbers of at most ``caps`` pairs of each unit: those with the smallest random keys."""
    shuffled = np.lexsort((rng.random(len(units)), units))
    sorted_units = units[shuffled]
    begins = np.flatnonzero(np.diff(sorted_units, prepend=-1))
    sizes = np.diff(begins, append=len(units))
    place = np.arange(len(units)) - np.repeat(begins, sizes)
    return shuffled[place < caps[sorted_units]]


def _drawn(
    rows: Rows, cap: int, rules: dict[str, Rule], dropped: dict[str, int], rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """Pairs of the rows in random order without repetition, until ``cap`` passed or 20 times the cap was seen."""
    total = len(rows) * (len(rows) - 1) // 2
    keys = rng.integers(0, 2**63, _ROUNDS, dtype=np.uint64)
    kept: list[tuple[Rows, Rows]] = []
    missing, place, end = cap, 0, min(_TRIES * cap, total)
    while missing > 0 and place < end:
        size = min(max(2 * missing, 1024), _CHUNK, end - place)
        i, j = pair_of_number(shuffled_numbers(np.arange(place, place + size), total, keys))
        i, j = rows[i], rows[j]
        counts = dict.fromkeys(rules, 0)
        passed = _passing(i, j, rules, counts)
        if len(passed) > missing:
            # Only pairs up to the last one taken were looked at; the others count as beyond the cap.
            last = int(passed[missing - 1]) + 1
            counts = dict.fromkeys(rules, 0)
            passed = _passing(i[:last], j[:last], rules, counts)
        for name, number in counts.items():
            dropped[name] += number
        kept.append((i[passed], j[passed]))
        missing, place = missing - len(passed), place + size
    return np.concatenate([pair[0] for pair in kept]), np.concatenate([pair[1] for pair in kept])


def shuffled_numbers(numbers: Rows, total: int, keys: NDArray[np.uint64]) -> Rows:
    """Image of numbers under a permutation of 0, ..., total - 1 that the keys choose.

    It is a Feistel network on the smallest square of a power of two that holds ``total``, applied again to what lands
    outside: a random order of billions of pairs of which no more is held than what is asked for.
    """
    half = np.uint64(max(1, ((total - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    x = numbers.astype(np.uint64)
    outside = np.arange(len(x))
    while len(outside):
        left, right = x[outside] >> half, x[outside] & mask
        for key in keys:
            mixed = (right + key) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ ((mixed >> np.uint64(29)) & mask)
        x[outside] = (left << half) | right
        outside = outside[x[outside] >= total]
    return x.astype(np.intp)


def pair_of_number(numbers: Rows) -> tuple[Rows, Rows]:
    """The pair i < j with number j(j-1)/2 + i."""
    j = ((1 + np.sqrt(1 + 8.0 * numbers)) / 2).astype(np.intp)
    # The root of a large number may be off by one.
    j -= j * (j - 1) // 2 > numbers
    j += j * (j + 1) // 2 <= numbers
    return numbers - j * (j - 1) // 2, j
