"""Fitted encoders: the sieve and the networks, both ending in canonical coordinates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalkit.extrapolation.basis import SieveBasis, blocks, make_basis
from causalkit.extrapolation.components import CanonicalTest, canonical_test
from causalkit.extrapolation.encoder_inputs import EncoderRows
from causalkit.extrapolation.penalty import between_action_covariance, whitened_trace
from causalkit.extrapolation.sieve import CanonicalMap, SieveMoments, canonical_coordinates
from causalkit.extrapolation.sieve_fit import (
    RIDGES,
    ActionMoments,
    SieveMap,
    fold_moments,
    held_out_penalties,
    sieve_map,
)

__all__ = ["FittedEncoder", "SieveEncoder", "action_line", "fit_sieve_encoder", "most_components", "sieve_candidates"]

Array = NDArray[np.float64]

_LEVEL = 0.01


@dataclass(frozen=True, eq=False)
class SieveEncoder:
    """φ(x) of a solved sieve."""

    basis: SieveBasis
    map: SieveMap

    def encode(self, X: Any) -> Array:
        """φ, shape (n, d), block by block."""
        return np.concatenate([self.map.apply(self.basis.design(X[rows])) for rows in blocks(len(X))])


@dataclass(frozen=True, eq=False)
class NetworkEncoder:
    """φ(x) of a trained network, turned into canonical coordinates."""

    network: Any
    canonical: CanonicalMap

    def encode(self, X: Any) -> Array:
        """φ, shape (n, d)."""
        return (np.asarray(self.network.encode(X)) - self.canonical.center) @ self.canonical.rotation

    def decode(self, phi: Array) -> Any:
        """Features of coordinates."""
        return self.network.decode(phi @ np.linalg.inv(self.canonical.rotation) + self.canonical.center)


@dataclass(frozen=True, eq=False)
class FittedEncoder:
    """An encoder with what is known about it.

    Attributes
    ----------
    model : SieveEncoder or NetworkEncoder
        Encodes rows.
    report_phi : ndarray, shape (n_report, d)
        φ of the rows kept for reports, by a model that has not seen them.
    test : CanonicalTest
        Canonical correlations on these rows.
    correlations : ndarray, shape (d,)
        Canonical correlations on the rows of the fit.
    tuning : float or None
        Ridge of the sieve, or weight of the penalty.
    path : list of dict
        What was compared.
    history : list of dict
        Steps of a network's training.
    """

    model: Any
    report_phi: Array
    test: CanonicalTest
    correlations: Array
    tuning: float
    path: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


def most_components(rows: EncoderRows) -> int:
    """Most directions that the actions can move."""
    width = int(np.prod(rows.X.shape[1:]))
    return min(rows.actions.shape[1], width)


def action_line(phi: Array, actions: Array, weight: Array | None) -> tuple[Array, Array, Array]:
    """Least squares of φ on (1, A): W (d, k), b (d,) and the residuals (n, d)."""
    design = np.column_stack([np.ones(len(actions)), actions])
    weighted = design if weight is None else design * weight[:, None]
    coef = np.linalg.solve(weighted.T @ design, weighted.T @ phi)
    return coef[1:].T, coef[0], phi - design @ coef


def fit_sieve_encoder(
    rows: EncoderRows,
    functions: ActionMoments,
    *,
    n_components: int | None,
    basis: Any,
    n_basis: int,
    ridge: float | None,
    weighting: str,
    seed: int,
) -> FittedEncoder:
    """Fit the sieve on all rows, with ridge and dimension chosen on folds.

    Parameters
    ----------
    rows : EncoderRows
        Data.
    functions : ActionMoments
        Functions of the action.
    n_components : int or None
        d; None takes the canonical correlations that pass Bartlett's test at 1 % on the rows kept for reports.
    basis, n_basis
        As in ``LinearInvarianceEncoder``.
    ridge : float or None
        μ; None takes the smallest held-out penalty.
    weighting : {"orthonormal", "kernel"}
        Of the moments.
    seed : int
        Key of the basis.
    """
    made = make_basis(rows.X, basis, n_basis, np.random.default_rng(seed))
    parts = fold_moments(rows.X, rows.standard, made, functions, rows.folds, rows.weight)
    chosen, kept = parts[:-1], parts[-1]
    train = _sum(chosen)
    inside = rows.report
    d = most_components(rows) if n_components is None else n_components
    ridges = RIDGES if ridge is None else (ridge,)

    def choose(count: int) -> tuple[float, list[dict[str, Any]]]:
        if ridge is not None:
            return ridge, []
        part = EncoderRows(
            rows.X[~inside],
            rows.actions[~inside],
            rows.names,
            rows.scale,
            rows.standard[~inside],
            None,
            None,
            rows.folds[~inside],
        )
        found = held_out_penalties(part.X, part.standard, made, functions, part.folds, chosen, count, ridges, weighting)
        best = int(np.argmin(found.mean(axis=0)))
        path = [
            {"penalty": mu, "q_b": float(q), "chosen": j == best}
            for j, (mu, q) in enumerate(zip(ridges, found.mean(axis=0), strict=True))
        ]
        return ridges[best], path

    mu, path = choose(d)
    held = SieveEncoder(made, sieve_map(train, d, mu, weighting))
    test = canonical_test(held.encode(rows.X[inside]), rows.standard[inside])
    if n_components is None and 0 < test.passed(_LEVEL) < d:
        d = test.passed(_LEVEL)
        mu, path = choose(d)
        held = SieveEncoder(made, sieve_map(train, d, mu, weighting))
        test = canonical_test(held.encode(rows.X[inside]), rows.standard[inside])
    final = sieve_map(train + kept, d, mu, weighting)
    return FittedEncoder(SieveEncoder(made, final), held.encode(rows.X[inside]), test, final.correlations, mu, path)


def sieve_candidates(
    X: Any,
    standard: Array,
    functions: ActionMoments,
    *,
    n_components: int,
    basis: Any,
    n_basis: int,
    ridges: tuple[float, ...],
    weighting: str,
    seed: int,
) -> list[SieveEncoder]:
    """One encoder per ridge from a single pass over some rows."""
    made = make_basis(X, basis, n_basis, np.random.default_rng(seed))
    moments = fold_moments(X, standard, made, functions, np.zeros(len(X), dtype=np.intp), None)[0]
    return [SieveEncoder(made, sieve_map(moments, n_components, ridge, weighting)) for ridge in ridges]


def _sum(parts: list[SieveMoments]) -> SieveMoments:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def canonical_of(phi: Array, standard: Array) -> CanonicalMap:
    """Canonical coordinates of φ from rows."""
    mean = phi.mean(axis=0)
    centred, moved = phi - mean, standard - standard.mean(axis=0)
    n = len(phi)
    return canonical_coordinates(mean, centred.T @ centred / n, centred.T @ moved / n, moved.T @ moved / n)


def report_penalty(phi: Array, standard: Array, functions: ActionMoments) -> float:
    """Q_B of a representation on rows that did not train it."""
    centred = phi - phi.mean(axis=0)
    design = np.column_stack([np.ones(len(standard)), standard])
    # Φ'F⊥ = Φ'F - Φ'(1, A)G, so that F is needed block by block only (test_penalty_of_a_report_is_that_of_all_rows).
    moments = functions.cross(centred, standard) - (centred.T @ design) @ functions.projection(standard)
    return whitened_trace(moments / len(phi), between_action_covariance(phi, standard))
