"""Section L: closed forms, dense sums, explicit eigenproblems, loops and the jackknife."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from benchmarks.measuring import gap, installed
from benchmarks.rows import Row, at_most
from benchmarks.simulation import Tier
from benchmarks.validation.extrapolation.diagnostics import visible_share
from causalkit.datasets import make_intervention_curve
from causalkit.extrapolation import (
    SplineControlFunction,
    canonical_coordinates,
    do_mean,
    do_mean_influence,
    invariance_penalty,
    project_off_actions,
    random_fourier_features,
    solve_sieve,
)
from causalkit.extrapolation.curve_part import fit_curve_part
from causalkit.extrapolation.penalty import orthonormal_moments
from causalkit.extrapolation.sieve import SieveMoments

__all__ = ["dense_penalty", "rows"]

Array = NDArray[np.float64]

_EXACT = 1e-10


def dense_penalty(phi: Array, actions: Array, kernel: Array) -> float:
    """n⁻² Σ_ij ⟨r_i, r_j⟩ k_ij with the least-squares residual r of φ on (1, A)."""
    design = np.column_stack([np.ones(len(phi)), actions])
    residual = phi - design @ np.linalg.lstsq(design, phi, rcond=None)[0]
    return float((kernel * (residual @ residual.T)).sum() / len(phi) ** 2)


def rows(tier: Tier) -> Iterator[Row]:
    """L1-L4 the penalty, L5-L7 the sieve, L8-L10 curves and their influence values, L11 a closed form."""
    yield from _penalty_rows()
    yield from _sieve_rows()
    yield from _curve_rows()
    worst = max(
        gap(visible_share(a, 2), (4 * a**4 / 45) / (4 * a**4 / 45 + 4 * a**2 / 3 + 2)) for a in (0.5, 1.0, 2.0, 4.0)
    )
    yield at_most("L11", "visible share of He_2 by quadrature against its closed form, four α", worst, 1e-12)


def _penalty_rows() -> Iterator[Row]:
    rng = np.random.default_rng(74_000)
    actions = rng.uniform(-1, 1, (300, 2))
    phi = actions + 0.5 * actions**2 + rng.standard_normal((300, 2))
    features = random_fourier_features(actions, rng.standard_normal((2, 32)))
    projected, _ = project_off_actions(features, actions)
    plain = invariance_penalty(phi, actions, projected, whiten=False)
    dense = dense_penalty(phi, actions, features @ features.T)
    yield at_most("L1", "projected form against the dense double sum, relative", gap(plain / dense, 1), _EXACT)
    whitened = invariance_penalty(phi, actions, projected)
    moved = invariance_penalty(phi @ np.array([[7.0, 3.0], [-2.0, 0.5]]) + 3, actions, projected)
    yield at_most("L2", "whitened penalty of φ against that of Hφ + c, relative", gap(moved / whitened, 1), 1e-3)
    squared = ((actions[:, None] - actions[None]) ** 2).sum(axis=2)
    many = random_fourier_features(actions, rng.standard_normal((2, 20_000)))
    worst = gap(many @ many.T, np.exp(-squared / 2))
    yield at_most("L3", "random features, D=40 000, against the Gaussian kernel, largest gap", worst, 0.04)
    if installed("torch"):
        import torch

        from causalkit.extrapolation.torch_penalty import whitened_penalty

        found = whitened_penalty(torch.as_tensor(phi), torch.as_tensor(actions), torch.as_tensor(projected)).item()
        yield at_most("L4", "penalty in torch against that in numpy, relative", gap(found / whitened, 1), _EXACT)


def _sieve_rows() -> Iterator[Row]:
    rng = np.random.default_rng(74_001)
    n, p, d = 400, 12, 2
    actions = rng.uniform(-1, 1, (n, d))
    basis = np.column_stack([actions + rng.standard_normal((n, d)), rng.standard_normal((n, p - d))])
    basis[:, d:] += np.tanh(basis[:, :d] @ rng.standard_normal((d, p - d)))
    features = random_fourier_features(actions, rng.standard_normal((d, 16)))
    moments = SieveMoments.of_rows(actions, basis, features)
    parts = [SieveMoments.of_rows(actions[i::3], basis[i::3], features[i::3]) for i in range(3)]
    worst = gap(parts[0].total + parts[1].total + parts[2].total, moments.total) / gap(moments.total, 0)
    yield at_most("L5", "moments of three parts against one pass, relative", worst, 1e-12)
    left, right = basis - basis.mean(axis=0), actions - actions.mean(axis=0)
    covariance, spread = left.T @ left / n, right.T @ right / n
    cross = left.T @ right / n
    between = cross @ np.linalg.inv(spread) @ cross.T
    projected, _ = project_off_actions(features, actions)
    unit = projected @ orthonormal_moments(projected.T @ projected / n)
    violation = left.T @ unit @ unit.T @ left / n**2
    values = linalg.eigh(between, violation + 1e-3 * covariance, eigvals_only=True)[::-1][:d]
    ratios = solve_sieve(moments.covariance("B", "B"), moments.between(), moments.violation("orthonormal"), d, 1e-3)[1]
    yield at_most("L6", "sieve from moments against an explicit eigenproblem, relative", gap(ratios / values, 1), 1e-8)
    found = canonical_coordinates(left[:, :d].mean(axis=0), covariance[:d, :d], cross[:d], spread).correlations
    root = np.linalg.inv(np.linalg.cholesky(covariance[:d, :d]))
    direct = np.linalg.svd(root @ cross[:d] @ np.linalg.inv(np.linalg.cholesky(spread)).T)[1]
    yield at_most("L7", "canonical correlations against singular values", gap(found, direct), _EXACT)


def _curve_rows() -> Iterator[Row]:
    sample = make_intervention_curve(300, random_state=74_002)
    z, a, y = sample.latent, sample.actions, sample.y
    wanted = np.array([[0.5], [1.5]])
    model = SplineControlFunction(n_knots=6, smoothing=1e-2)
    part = fit_curve_part(z, a, y, None, model)
    curve = part.do_mean(wanted)
    nu = part.outcome_model.structural
    loop = [
        np.mean(
            [
                nu(z[i : i + 1] + (wanted[j] - a[i]) @ part.action_matrix.T)[0] - nu(z[i : i + 1])[0] + y[i]
                for i in range(300)
            ]
        )
        for j in range(2)
    ]
    yield at_most("L8", "mean under an action against a loop over rows", gap(curve, loop), _EXACT)
    line = do_mean(lambda q: 3 * q[:, 0] + 1, z, part.residual, float(y.mean()), part.action_matrix, part.intercept, a)
    direct = y.mean() + 3 * part.action_matrix[0, 0] * (a[:, 0] - a.mean())
    yield at_most("L9", "curve of a linear ν against ȳ + 3W(a - ā)", gap(line, direct), _EXACT)
    influence = do_mean_influence(part.outcome_model.fit_, z, part.residual, y, a, part.action_matrix, wanted)
    rest = np.arange(300)
    left_out = np.array([_without(z, a, y, rest != i, wanted) for i in rest])
    jackknife = np.sqrt(299 / 300 * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0))
    ours = np.sqrt((influence**2).sum(axis=0)) / 300
    worst = gap(ours / jackknife, 1)
    yield at_most("L10", "errors by influence values against the jackknife, n=300, two actions, relative", worst, 0.1)


def _without(z: Array, a: Array, y: Array, kept: NDArray[np.bool_], wanted: Array) -> Array:
    model = SplineControlFunction(n_knots=6, smoothing=1e-2)
    return fit_curve_part(z[kept], a[kept], y[kept], None, model).do_mean(wanted)
