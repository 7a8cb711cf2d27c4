"""Fits to Dask collections: moments of each block in a task of its own, merged in a tree, never brought together."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from causalkit.augmentation.moments import Moments
from causalkit.augmentation.pairs import moments_of_rows

__all__ = ["fit_blocks"]


def fit_blocks(estimator: Any, X: Any, y: Any, arguments: dict[str, Any], alpha: float) -> None:
    """Fit an IVLikeRegressor to blocks of rows.

    Parameters
    ----------
    estimator : IVLikeRegressor
        Gets its fitted attributes.
    X : Dask array or frame, shape (n, p)
        Features.
    y : Dask or in-memory array, shape (n,) or (n, t)
        Outcome.
    arguments : dict
        Other arguments of ``fit``, each a Dask collection with the blocks of X, in memory, or None.
    alpha : float
        Checked alpha.

    Raises
    ------
    ValueError
        Blocks that do not match, or groups, which belong to the rows.
    """
    import dask

    if arguments["groups"] is not None:
        raise ValueError(
            "groups are for standard errors, which need the rows: leave them out of fit on a Dask collection and pass "
            "them with inference(chunks=[{'X': ..., 'y': ..., 'groups': ...}, ...])."
        )
    given = {"X": X, "y": y, **{name: value for name, value in arguments.items() if value is not None}}
    blocks, lengths = _aligned_blocks(given)
    first = next((i for i, length in enumerate(lengths) if length), None)
    if first is None:
        raise ValueError("X is empty: Found array with 0 sample(s), a minimum of 1 row is required.")
    # The first rows settle names, kinds and the feature map; every block is then checked in its own task.
    empty = dict.fromkeys(arguments)
    (sample,) = dask.compute(blocks[first])
    read = estimator._read(**(empty | sample))
    estimator._start_seed()
    estimator._source = estimator._make_source(read.rows, fit_map=False)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(int)
    shared = dask.delayed(estimator)
    tasks = [
        dask.delayed(_block_moments)(shared, {**empty, **block}, int(start))
        for block, start, length in zip(blocks, starts, lengths, strict=True)
        if length
    ]
    while len(tasks) > 1:
        merged = [dask.delayed(_merge)(tasks[i], tasks[i + 1]) for i in range(0, len(tasks) - 1, 2)]
        tasks = merged + tasks[len(tasks) - len(tasks) % 2 :]
    (moments,) = dask.compute(tasks[0])
    variation = read.rows.variation
    n_draws = estimator._draws_per_row(variation)
    problem = estimator._problem_of(moments, variation, n_draws)
    estimator._finish(moments, problem, alpha, variation, read.exogenous_names, n_draws)
    estimator._warn_of_parameters(moments, variation)
    estimator._held = None


def _block_moments(estimator: Any, block: dict[str, Any], first_row: int) -> Moments:
    rows = estimator._read(**block, first_row=first_row, reset=False).rows
    return moments_of_rows(estimator._source, rows)[0]


def _merge(first: Moments, second: Moments) -> Moments:
    return first.merge(second)


def _aligned_blocks(given: dict[str, Any]) -> tuple[list[dict[str, Any]], list[int]]:
    """The arguments of each block, delayed where they are lazy, and the blocks' lengths."""
    import dask

    lazy = {name: _row_blocks(value) for name, value in given.items() if hasattr(value, "dask")}
    counts = {name: len(blocks) for name, blocks in lazy.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"the Dask collections are cut differently, into {counts} blocks: rechunk them alike.")
    names = list(lazy)
    sizes = dask.compute([[dask.delayed(len)(block) for block in lazy[name]] for name in names])[0]
    lengths = sizes[0]
    for name, other in zip(names[1:], sizes[1:], strict=True):
        if other != lengths:
            raise ValueError(
                f"the blocks of {name} have {other[:5]} rows, those of {names[0]} {lengths[:5]}: align them."
            )
    edges = np.concatenate([[0], np.cumsum(lengths)])
    blocks: list[dict[str, Any]] = [{name: lazy[name][i] for name in names} for i in range(len(lengths))]
    for name, value in given.items():
        if name in lazy:
            continue
        rows = value.shape[0] if hasattr(value, "shape") else len(value)
        if rows != edges[-1]:
            raise ValueError(f"{name} has {rows} rows, but {names[0]} has {edges[-1]}.")
        for i, block in enumerate(blocks):
            block[name] = _safe_indexing(value, np.arange(edges[i], edges[i + 1]))
    return blocks, [int(length) for length in lengths]


def _row_blocks(collection: Any) -> list[Any]:
    delayed = collection.to_delayed()
    if getattr(delayed, "ndim", 1) >= 2:
        if any(width > 1 for width in delayed.shape[1:]):
            collection = collection.rechunk(dict.fromkeys(range(1, collection.ndim), -1))
            delayed = collection.to_delayed()
        delayed = delayed.reshape(-1)
    return list(delayed)
