"""Section G: false discoveries and power in a sparse network of 40 parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import quiet
from benchmarks.rows import Row, deviation, within
from benchmarks.simulation import Tier, standard_error
from causalkit.composition import CompositionalPartialCorrelation
from causalkit.composition.covariance import centre_logs
from causalkit.composition.inference import adjust_pvalues
from causalkit.composition.precision import shrunk_precision
from causalkit.composition.shrinkage import shrink_logs
from causalkit.datasets import make_composition_network

__all__ = ["rows"]

Array = NDArray[np.float64]

_SEED = 7000
_LEVEL = 0.05
_RESAMPLES = 200
_LISTED_DRAWS = 25
_HELD, _AGAIN = "permutation, λ held", "permutation, λ estimated anew"
_OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "invariant": {"shrinkage": "invariant"},
    "unshrunk t, zero null": {"shrinkage": None, "test": "t"},
    _HELD: {"shrinkage": "basis", "test": "permutation", "n_resamples": _RESAMPLES},
}
# False discovery proportion and power, each as listed: one number or a range of several runs.
_LISTED: dict[int, dict[str, tuple[tuple[float, float], tuple[float, float]]]] = {
    30: {
        "default": ((0.013, 0.013), (0.05, 0.05)),
        "invariant": ((0.0, 0.0), (0.05, 0.05)),
        _HELD: ((0.0, 0.0), (0.02, 0.02)),
    },
    60: {
        "default": ((0.016, 0.024), (0.37, 0.44)),
        "invariant": ((0.026, 0.026), (0.44, 0.44)),
        "unshrunk t, zero null": ((0.03, 0.04), (0.02, 0.02)),
        _HELD: ((0.0, 0.0), (0.25, 0.25)),
        _AGAIN: ((0.86, 0.86), (np.nan, np.nan)),
    },
    200: {
        "default": ((0.014, 0.018), (0.99, 0.99)),
        "invariant": ((0.018, 0.018), (0.995, 0.995)),
        "unshrunk t, zero null": ((0.06, 0.07), (0.99, 0.99)),
        _HELD: ((0.0, 0.0), (0.92, 0.92)),
        _AGAIN: ((0.88, 0.88), (np.nan, np.nan)),
    },
}
_UNITS = {"basis": ((0.0, 0.0), (0.08, 0.08)), "invariant": ((0.03, 0.03), (0.47, 0.47))}


def _qvalues(X: Array, name: str, seed: int) -> Array:
    if name == _AGAIN:
        return _permutation_estimating_again(X, np.random.default_rng(seed))
    options = _OPTIONS.get(name, {"shrinkage": name})
    return CompositionalPartialCorrelation(random_state=seed, **options).fit(X).qvalues_


def _permutation_estimating_again(X: Array, rng: np.random.Generator) -> Array:
    """The invalid test that the estimator does not offer: λ estimated anew in every permuted table.

    On permuted columns λ is nearly 1 and the null collapses, so that every observed pair looks extreme. The
    statistic is the size of r itself, as in the implementation that works in this way.
    """

    def sizes(table: Array) -> Array:
        r = shrunk_precision(shrink_logs(centre_logs(table), "basis")).correlations(slice(None), slice(None))
        return np.asarray(np.abs(r)[np.triu_indices(len(r), 1)])

    logs = np.log(X)
    observed = sizes(logs)
    null = np.sort(np.concatenate([sizes(rng.permuted(logs, axis=0)) for _ in range(_RESAMPLES)]))
    pvalue = (1 + len(null) - np.searchsorted(null, observed, side="left")) / (1 + len(null))
    full = np.ones((X.shape[1], X.shape[1]))
    full[np.triu_indices(len(full), 1)] = pvalue
    return np.asarray(adjust_pvalues(np.minimum(full, full.T), "bh"))


def _one(
    rng: np.random.Generator, *, size: int, methods: tuple[str, ...], scale_sd: float = 0.0, mean_sd: float = 0.0
) -> dict[str, float]:
    network = make_composition_network(size, 40, scale_sd=scale_sd, mean_sd=mean_sd, random_state=rng)
    upper = np.triu_indices(40, 1)
    edge, seed = network.adjacency[upper], int(rng.integers(2**31))
    out = {}
    for name in methods:
        found = _qvalues(network.X, name, seed)[upper] <= _LEVEL
        out[f"{name} fdp"] = float((found & ~edge).sum() / max(found.sum(), 1))
        out[f"{name} power"] = float((found & edge).sum() / edge.sum())
    return out


def rows(tier: Tier) -> Iterator[Row]:
    """G1 to G3 by sample size, G4 parts of unequal units, bars of the default in G5."""
    with quiet():
        bars: list[Row] = []
        for number, (n, listed) in enumerate(_LISTED.items()):
            draws = tier.repeat(_one, 200, 20, seed=_SEED + number, size=n, methods=tuple(listed))
            for k, (name, targets) in enumerate(listed.items()):
                yield from _listed_rows(f"G{number + 1}.{k + 1}", f"n={n}, {name}", draws, name, targets)
            if n >= 60:
                label, what = f"G5.{number}", f"n={n}, default"
                least = 0.30 if n == 60 else 0.95
                bars.append(tier.mean_within(f"{label}a", f"{what}: mean FDP", draws["default fdp"], -np.inf, 0.07))
                power = draws["default power"]
                bars.append(tier.mean_within(f"{label}b", f"{what}: power", power, least, 1.0))
        draws = tier.repeat(_one, 200, 20, seed=_SEED + 9, size=60, methods=tuple(_UNITS), scale_sd=0.6, mean_sd=2.0)
        for k, (name, targets) in enumerate(_UNITS.items()):
            yield from _listed_rows(f"G4.{k + 1}", f"n=60, unequal scales and means, {name}", draws, name, targets)
        yield from bars


def _listed_rows(
    label: str, what: str, draws: dict[str, Array], name: str, targets: tuple[tuple[float, float], tuple[float, float]]
) -> Iterator[Row]:
    """Against listed means, at three standard errors of this run and of one of 25 draws."""
    for suffix, words, (low, high) in (("a", "mean FDP", targets[0]), ("b", "power", targets[1])):
        values = draws[f"{name} {'fdp' if suffix == 'a' else 'power'}"]
        if np.isnan(low):
            continue
        measured, id, what_row = float(values.mean()), f"{label}{suffix}", f"{what}: {words}"
        # A mean of proportions without a single false discovery has no spread; one in 25 draws is possible.
        error = max(standard_error(values), 0.2 / len(values))
        band = 3 * error * np.sqrt(1 + len(values) / _LISTED_DRAWS)
        note = f"{len(values)} repetitions, listed with {_LISTED_DRAWS} to 40"
        if name == _AGAIN:
            note += "; the listed run does not state its number of permutations"
            yield deviation(id, what_row, measured, low, band + 5e-3, note)
        elif name == _HELD and suffix == "b":
            # Fewer permutations than ours coarsen p and cost power: two give .24 at n=60.
            note += f"; ours pools {_RESAMPLES} permutations and finds more than is listed"
            yield deviation(id, what_row, measured, low, band + 5e-3, note)
        else:
            yield within(id, what_row, measured, low - 5e-3, high + 5e-3, band, note)
