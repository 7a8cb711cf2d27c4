"""Results with standard errors: from influence values, or from refits that draw the augmentation anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy import sparse

from causalkit.augmentation.influence import influence_values
from causalkit.augmentation.moments import Moments
from causalkit.augmentation.pairs import PairSource, Rows, moments_of_rows
from causalkit.augmentation.solution import LinearProblem, exogenous_coef, intercept_of
from causalkit.inference import InferenceResult
from causalkit.validation import Groups

__all__ = ["bootstrap_result", "influence_result", "stacked_estimates"]

Array = NDArray[np.float64]


def stacked_estimates(problem: LinearProblem, moments: Moments, alpha: float) -> Array:
    """(intercept, h, δ) of every outcome, shape (t, [1 +] p + e)."""
    coef = problem.coef(alpha)
    parts = [coef]
    if moments.layout.controls:
        parts.append(exogenous_coef(problem, moments, coef))
    if problem.centred:
        parts.insert(0, intercept_of(problem, moments, coef)[None, :])
    return np.vstack(parts).T


def _all_names(names: list[str], n_outcomes: int, single: bool) -> list[str]:
    return names if single else [f"y{t}: {name}" for t in range(n_outcomes) for name in names]


def influence_result(
    problem: LinearProblem,
    moments: Moments,
    source: PairSource,
    chunks: list[Rows],
    alpha: float,
    groups: Groups | None,
    names: list[str],
    single: bool,
) -> InferenceResult:
    """Result whose covariance is that of the influence values, summed within groups."""
    estimate = stacked_estimates(problem, moments, alpha)
    influence = [influence_values(problem, moments, source, chunks, alpha, t) for t in range(len(estimate))]
    return InferenceResult.from_influence(
        estimate.ravel(),
        np.hstack(influence),
        names=_all_names(names, len(estimate), single),
        groups=groups,
        n_obs=moments.n_rows,
    )


def bootstrap_result(
    estimator: Any, chunks: list[Rows], groups: Groups | None, names: list[str], n_bootstrap: int
) -> InferenceResult:
    """Covariance over refits of resampled units, each with draws of its own.

    A replicate repeats each unit (row, or group) as often as it was drawn, and every copy of a row gets augmented
    rows of its own: copies that shared theirs would count the noise of the draws twice
    (test_bootstrap_agrees_with_influence_values). Augmented features that were given cannot be drawn anew and move
    with their row.
    """
    rows = _joined(chunks)
    tasks = (
        delayed(_replicate)(estimator, rows, groups, np.random.SeedSequence(estimator._seed, spawn_key=(b,)))
        for b in range(n_bootstrap)
    )
    estimates = np.asarray(Parallel()(tasks))
    estimate = stacked_estimates(estimator._problem, estimator.moments_, estimator.alpha_)
    units = "rows" if groups is None else f"{groups.n_groups} clusters"
    return InferenceResult(
        estimate=estimate.ravel(),
        cov=np.atleast_2d(np.cov(estimates, rowvar=False)),
        names=tuple(_all_names(names, len(estimate), estimator._single_output)),
        n_obs=estimator.moments_.n_rows,
        df=None if groups is None else groups.n_groups - 1,
        dependence=f"{n_bootstrap} refits of resampled {units} with new draws",
    )


def replicate_moments(estimator: Any, rows: Rows, groups: Groups | None, key: np.random.SeedSequence) -> Moments:
    """Moments of resampled units with new draws of the augmentation."""
    rng = np.random.default_rng(key)
    units = rows.n if groups is None else groups.n_groups
    copies = np.bincount(rng.integers(0, units, units), minlength=units)
    index = np.repeat(np.arange(rows.n), copies if groups is None else copies[groups.codes])
    source = replace(estimator._source, seed=int(rng.integers(2**31 - 1)))
    return moments_of_rows(source, _taken(rows, index))[0]


def _taken(rows: Rows, index: NDArray[np.intp]) -> Rows:
    """The rows of an index, with what belongs to them."""

    def take(values: Any) -> Any:
        return None if values is None else values[index]

    names = ("augmented", "parameters", "instruments")
    variation = replace(rows.variation, **{name: take(getattr(rows.variation, name)) for name in names})
    return replace(
        rows,
        X=rows.X[index],
        y=rows.y[index],
        variation=variation,
        exogenous=take(rows.exogenous),
        weight=take(rows.weight),
    )


def _replicate(estimator: Any, rows: Rows, groups: Groups | None, key: np.random.SeedSequence) -> Array:
    moments = replicate_moments(estimator, rows, groups, key)
    problem = estimator._problem_of(moments, rows.variation, estimator.n_draws_, warn=False)
    return stacked_estimates(problem, moments, estimator.alpha_).ravel()


def _joined(chunks: list[Rows]) -> Rows:
    """One block of rows from chunks; given pairs and instruments are joined with them."""
    if len(chunks) == 1:
        return chunks[0]
    first = chunks[0]

    def join(parts: list[Any]) -> Any:
        if parts[0] is None:
            return None
        return sparse.vstack(parts, format="csr") if sparse.issparse(parts[0]) else np.concatenate(parts)

    variation = replace(
        first.variation,
        augmented=join([r.variation.augmented for r in chunks]),
        parameters=join([r.variation.parameters for r in chunks]),
        instruments=join([r.variation.instruments for r in chunks]),
    )
    return Rows(
        X=join([r.X for r in chunks]),
        y=join([r.y for r in chunks]),
        variation=variation,
        exogenous=join([r.exogenous for r in chunks]),
        weight=None
        if all(r.weight is None for r in chunks)
        else np.concatenate([np.ones(r.n) if r.weight is None else r.weight for r in chunks]),
        first_row=first.first_row,
    )
