"""Penalty, sieve, canonical coordinates, splines and curves against double sums, dense solvers and loops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import linalg, stats

from causalkit.datasets import make_intervention_curve
from causalkit.extrapolation import (
    between_action_covariance,
    canonical_coordinates,
    do_mean,
    invariance_penalty,
    project_off_actions,
    random_fourier_features,
    solve_sieve,
)
from causalkit.extrapolation.basis import make_basis
from causalkit.extrapolation.components import canonical_test
from causalkit.extrapolation.encoder_models import action_line
from causalkit.extrapolation.penalty import orthonormal_moments
from causalkit.extrapolation.sieve import SieveMoments
from causalkit.extrapolation.sieve_fit import ActionMoments, fold_moments, held_out_penalties, sieve_map
from causalkit.extrapolation.splines import TensorSplines

RNG = np.random.default_rng(20260101)
N, K, D_PHI = 120, 2, 2
ACTIONS = RNG.uniform(-1, 1, (N, K))
PHI = ACTIONS @ RNG.normal(size=(K, D_PHI)) + RNG.normal(size=(N, D_PHI)) + 0.3 * ACTIONS**2
FREQUENCIES = RNG.normal(size=(K, 8))
FEATURES = random_fourier_features(ACTIONS, FREQUENCIES)
PROJECTED, COEFFICIENTS = project_off_actions(FEATURES, ACTIONS)
WEIGHTS = RNG.integers(1, 4, N).astype(float)


# ---------------------------------------------------------------------- penalty


def test_random_features_have_length_one_and_the_gaussian_kernel_as_mean() -> None:
    assert_allclose((FEATURES**2).sum(axis=1), 1)
    points = RNG.normal(size=(6, 2))
    many = random_fourier_features(points, np.random.default_rng(0).normal(size=(2, 20_000)) / 1.5)
    squares = ((points[:, None] - points) ** 2).sum(axis=2)
    assert_allclose(many @ many.T, np.exp(-squares / (2 * 1.5**2)), atol=0.02)


def test_penalty_is_the_double_sum_over_residuals_and_kernel() -> None:
    design = np.column_stack([np.ones(N), ACTIONS])
    residual = PHI - design @ np.linalg.lstsq(design, PHI, rcond=None)[0]
    total = 0.0
    for i in range(N):
        for j in range(N):
            total += (residual[i] @ residual[j]) * (FEATURES[i] @ FEATURES[j])
    assert_allclose(invariance_penalty(PHI, ACTIONS, PROJECTED, whiten=False), total / N**2, rtol=1e-10)


def test_whitened_penalty_is_the_explicit_trace() -> None:
    centred, moved = PHI - PHI.mean(axis=0), ACTIONS - ACTIONS.mean(axis=0)
    slopes = np.linalg.lstsq(moved, centred, rcond=None)[0].T
    between = slopes @ np.cov(ACTIONS.T, bias=True) @ slopes.T
    assert_allclose(between_action_covariance(PHI, ACTIONS), between, rtol=1e-10)
    violation = centred.T @ (PROJECTED @ PROJECTED.T) @ centred / N**2
    expected = np.trace(linalg.inv(between + 1e-6 * np.trace(between) / 2 * np.eye(2)) @ violation)
    assert_allclose(invariance_penalty(PHI, ACTIONS, PROJECTED), expected, rtol=1e-9)


def test_whitened_penalty_ignores_affine_maps_and_the_plain_one_can_be_gamed() -> None:
    turned = PHI @ np.array([[2.0, 0.3], [-1.0, 0.5]]) + [3.0, -7.0]
    assert_allclose(
        invariance_penalty(turned, ACTIONS, PROJECTED), invariance_penalty(PHI, ACTIONS, PROJECTED), rtol=1e-3
    )
    plain = [invariance_penalty(scale * PHI, ACTIONS, PROJECTED, whiten=False) for scale in (1.0, 0.1)]
    assert_allclose(plain[1], 0.01 * plain[0])


def test_penalty_vanishes_for_linear_means_and_explodes_without_dependence() -> None:
    straight = ACTIONS @ np.array([[1.0, 2.0], [0.5, -1.0]]) + 4
    assert invariance_penalty(straight, ACTIONS, PROJECTED) < 1e-20
    loose = invariance_penalty(np.random.default_rng(5).normal(size=(N, 2)), ACTIONS, PROJECTED)
    assert loose > 3 * invariance_penalty(PHI, ACTIONS, PROJECTED)


def test_projection_is_orthogonal_to_the_actions_and_reproduces_from_its_coefficients() -> None:
    design = np.column_stack([np.ones(N), ACTIONS])
    assert_allclose(design.T @ PROJECTED, 0, atol=1e-10)
    assert_allclose(FEATURES - design @ COEFFICIENTS, PROJECTED)


def test_penalty_with_weights_is_that_of_repeated_rows() -> None:
    rows = np.repeat(np.arange(N), WEIGHTS.astype(int))
    weighted, _ = project_off_actions(FEATURES, ACTIONS, WEIGHTS)
    repeated, _ = project_off_actions(FEATURES[rows], ACTIONS[rows])
    assert_allclose(weighted[rows], repeated, atol=1e-12)
    for whiten in (True, False):
        assert_allclose(
            invariance_penalty(PHI, ACTIONS, weighted, whiten=whiten, sample_weight=WEIGHTS),
            invariance_penalty(PHI[rows], ACTIONS[rows], repeated, whiten=whiten),
            rtol=1e-9,
        )


def test_penalty_does_not_depend_on_the_order_of_rows_or_of_action_columns() -> None:
    order = np.random.default_rng(1).permutation(N)
    expected = invariance_penalty(PHI, ACTIONS, PROJECTED)
    assert_allclose(invariance_penalty(PHI[order], ACTIONS[order], PROJECTED[order]), expected, rtol=1e-9)
    swapped, _ = project_off_actions(random_fourier_features(ACTIONS[:, ::-1], FREQUENCIES[::-1]), ACTIONS[:, ::-1])
    assert_allclose(invariance_penalty(PHI, ACTIONS[:, ::-1], swapped), expected, rtol=1e-9)


def test_orthonormal_moments_are_orthonormal_over_the_rows() -> None:
    unit = PROJECTED @ orthonormal_moments(PROJECTED.T @ PROJECTED / N)
    assert_allclose(unit.T @ unit / N, np.eye(unit.shape[1]), atol=1e-8)


# ---------------------------------------------------------------------- sieve

BASIS = np.column_stack([PHI, PHI**2, np.tanh(PHI[:, :1]), np.sin(2 * PHI[:, 1:])])


def moments(rows: slice | np.ndarray = slice(None), weight: np.ndarray | None = None) -> SieveMoments:
    return SieveMoments.of_rows(ACTIONS[rows], BASIS[rows], FEATURES[rows], weight)


@pytest.mark.parametrize("weighting", ["orthonormal", "kernel"])
def test_moments_are_the_dense_matrices(weighting: str) -> None:
    found = moments()
    centred, moved = BASIS - BASIS.mean(axis=0), ACTIONS - ACTIONS.mean(axis=0)
    hat = moved @ linalg.inv(moved.T @ moved) @ moved.T
    assert_allclose(found.between(), centred.T @ hat @ centred / N, atol=1e-10)
    assert_allclose(found.covariance("B", "B"), np.cov(BASIS.T, bias=True), atol=1e-10)
    columns = PROJECTED
    if weighting == "orthonormal":
        left, singular, _ = np.linalg.svd(PROJECTED, full_matrices=False)
        columns = left[:, singular**2 > 1e-4 * singular[0] ** 2] * np.sqrt(N)
    assert_allclose(found.violation(weighting), centred.T @ columns @ columns.T @ centred / N**2, atol=1e-7)


def test_moments_of_blocks_add_up_and_weights_repeat_rows() -> None:
    whole = moments().total
    assert_allclose((moments(slice(0, 50)) + moments(slice(50, None))).total, whole, rtol=1e-12, atol=1e-10)
    assert_allclose((moments() - moments(slice(0, 50))).total, moments(slice(50, None)).total, atol=1e-9)
    repeated = np.repeat(np.arange(N), WEIGHTS.astype(int))
    assert_allclose(moments(weight=WEIGHTS).total, moments(repeated).total, rtol=1e-12, atol=1e-10)


def test_sieve_is_the_dense_generalised_eigenproblem() -> None:
    found = moments()
    covariance, between, violation = found.covariance("B", "B"), found.between(), found.violation("orthonormal")
    directions, ratios = solve_sieve(covariance, between, violation, 2, 1e-3)
    values, vectors = linalg.eigh(between, violation + 1e-3 * covariance)
    assert_allclose(ratios, values[::-1][:2], rtol=1e-8)
    for j in range(2):
        expected = vectors[:, -1 - j]
        cosine = directions[:, j] @ expected / np.linalg.norm(directions[:, j]) / np.linalg.norm(expected)
        assert_allclose(abs(cosine), 1, rtol=1e-8)


def test_sieve_leaves_out_directions_without_spread() -> None:
    found = SieveMoments.of_rows(ACTIONS, np.column_stack([BASIS, BASIS[:, 0] - BASIS[:, 1]]), FEATURES)
    args = (found.covariance("B", "B"), found.between(), found.violation("kernel"), 2, 1e-3)
    plain = moments()
    expected = solve_sieve(plain.covariance("B", "B"), plain.between(), plain.violation("kernel"), 2, 1e-3)[1]
    directions, ratios = solve_sieve(*args)
    assert np.isfinite(directions).all()
    assert_allclose(ratios, expected, rtol=1e-6)


def test_moments_in_blocks_and_folds_are_one_pass() -> None:
    sample = make_intervention_curve(9_000, n_latent=2, random_state=3)  # more than one block of rows
    functions = ActionMoments(FREQUENCIES)
    basis = make_basis(sample.features, "tanh", 10, np.random.default_rng(0))
    folds = np.random.default_rng(1).integers(0, 3, 9_000)
    parts = fold_moments(sample.features, sample.actions, basis, functions, folds, None)
    design, values = basis.design(sample.features), functions.values(sample.actions)
    total = (parts[0] + parts[1] + parts[2]).total
    joined = np.hstack([np.ones((9_000, 1)), sample.actions, design, values])
    assert_allclose(total, joined.T @ joined, rtol=1e-9, atol=1e-7)
    kept = (sample.features - sample.features.mean(axis=0)) / sample.features.std(axis=0)
    assert_allclose(design[:, :10], kept, atol=1e-9)
    assert_allclose(design[:, 10:], np.tanh(kept @ basis.frequencies + basis.phases), atol=1e-9)


def test_held_out_penalty_leaves_the_diagonal_out() -> None:
    sample = make_intervention_curve(240, n_latent=2, random_state=4)
    functions = ActionMoments(FREQUENCIES)
    basis = make_basis(sample.features, "identity", 1, np.random.default_rng(0))
    folds = np.arange(240) % 2
    parts = fold_moments(sample.features, sample.actions, basis, functions, folds, None)
    found = held_out_penalties(
        sample.features, sample.actions, basis, functions, folds, parts, 2, (1e-2,), "orthonormal"
    )[0, 0]
    train, held = folds == 1, folds == 0
    f = functions.values(sample.actions)
    design = np.column_stack([np.ones(240), sample.actions])
    slopes = np.linalg.lstsq(design[train], f[train], rcond=None)[0]
    projected = f - design @ slopes
    unit = (projected @ orthonormal_moments(projected[train].T @ projected[train] / train.sum()))[held]
    phi = sieve_map(parts[1], 2, 1e-2, "orthonormal").apply(basis.design(sample.features))[held]
    n, raw = len(phi), phi
    phi, between = phi - phi.mean(axis=0), between_action_covariance(phi, sample.actions[held])
    violation = phi.T @ unit @ unit.T @ phi - sum(np.outer(raw[i], raw[i]) * (unit[i] @ unit[i]) for i in range(n))
    expected = np.trace(linalg.solve(between + 1e-6 * np.trace(between) / 2 * np.eye(2), violation)) / n**2
    assert_allclose(found, expected, rtol=1e-8)


# ---------------------------------------------------------------------- canonical coordinates


def canonical(phi: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean = phi.mean(axis=0)
    centred, moved = phi - mean, ACTIONS - ACTIONS.mean(axis=0)
    found = canonical_coordinates(mean, centred.T @ centred / N, centred.T @ moved / N, moved.T @ moved / N)
    return (phi - found.center) @ found.rotation, found.correlations, found.action_matrix


def test_canonical_coordinates_are_invariant_under_affine_maps() -> None:
    first, rho, matrix = canonical(PHI)
    second, again, _ = canonical(PHI @ np.array([[2.0, 0.3], [-1.0, 0.5]]) + [3.0, -7.0])
    assert_allclose(second, first, atol=1e-9)
    assert_allclose(again, rho)
    assert_allclose(np.cov(first.T, bias=True), np.eye(2), atol=1e-10)
    assert (matrix[np.arange(2), np.abs(matrix).argmax(axis=1)] > 0).all()
    assert_allclose(matrix, action_line(first, ACTIONS, None)[0], atol=1e-10)


def test_canonical_correlations_are_those_of_whitened_cross_covariances() -> None:
    whiten = [linalg.inv(linalg.sqrtm(np.cov(values.T, bias=True))) for values in (PHI, ACTIONS)]
    cross = np.cov(PHI.T, ACTIONS.T, bias=True)[:2, 2:]
    expected = np.linalg.svd(whiten[0] @ cross @ whiten[1], compute_uv=False)
    assert_allclose(canonical(PHI)[1], expected, rtol=1e-9)
    assert_allclose(canonical_test(PHI, ACTIONS).correlations, expected, rtol=1e-9)


def test_bartlett_is_the_formula_for_one_direction_and_keeps_its_level() -> None:
    r = stats.pearsonr(PHI[:, 0], ACTIONS[:, 0])[0]
    found = canonical_test(PHI[:, :1], ACTIONS[:, :1])
    assert_allclose(found.pvalues, stats.chi2.sf(-(N - 1 - 1.5) * np.log(1 - r**2), 1), rtol=1e-9)
    rng = np.random.default_rng(8)
    rejected, second = 0, 0
    for _ in range(400):
        actions = rng.uniform(-1, 1, (150, 2))
        rejected += canonical_test(rng.normal(size=(150, 2)), actions).pvalues[0] < 0.05
        one = np.column_stack([2 * actions[:, 0], np.zeros(150)]) + rng.normal(size=(150, 2))
        second += canonical_test(one, actions).passed(0.05) == 2
    # 400 draws: 99.9 % of binomial counts at 5 % lie in [7, 36]
    assert 7 <= rejected <= 36
    assert 7 <= second <= 36


# ---------------------------------------------------------------------- splines


def test_splines_are_a_partition_of_unity_with_straight_tails() -> None:
    points = RNG.normal(size=(500, 2))
    splines = TensorSplines.of(points, 5)
    assert_allclose(splines.design(points).sum(axis=1), 1, atol=1e-12)
    assert_allclose(np.diff(splines.knots, n=2), 0, atol=1e-12)
    assert_allclose(splines.knots[:, [0, -1]].T, np.quantile(points, [0.001, 0.999], axis=0), atol=1e-12)
    line = TensorSplines.of(points[:, :1], 6)
    for side in (-1, 1):
        far = side * np.arange(5.0, 60.0, 5.0)[:, None]
        design = line.design(far)
        assert_allclose(np.diff(design, n=2, axis=0), 0, atol=1e-10)
        assert_allclose(np.diff(design, axis=0) / (5 * side), line.design(far[1:], 0), atol=1e-10)


def test_spline_slopes_are_numerical_derivatives_and_lines_are_spanned() -> None:
    points = 2.5 * RNG.normal(size=(60, 2))
    splines = TensorSplines.of(RNG.normal(size=(400, 2)), 6)
    for axis in range(2):
        step = np.zeros(2)
        step[axis] = 1e-6
        numeric = (splines.design(points + step) - splines.design(points - step)) / 2e-6
        assert_allclose(splines.design(points, axis), numeric, atol=1e-7)
    for target in (points[:, 0], points[:, 1], points[:, 0] * points[:, 1]):
        coef = np.linalg.lstsq(splines.design(points), target, rcond=None)[0]
        assert_allclose(splines.design(points) @ coef, target, atol=1e-8)


def test_roughness_is_the_sum_of_squared_second_differences_of_the_grid() -> None:
    splines = TensorSplines.of(RNG.normal(size=(100, 2)), 4)
    coef = RNG.normal(size=splines.n_columns)
    grid = coef.reshape(splines.per_axis, splines.per_axis)
    expected = (np.diff(grid, n=2, axis=0) ** 2).sum() + (np.diff(grid, n=2, axis=1) ** 2).sum()
    assert_allclose(coef @ splines.roughness() @ coef, expected)


# ---------------------------------------------------------------------- curves


def test_do_mean_is_the_loop_over_rows_and_no_constant_matters() -> None:
    y = RNG.normal(size=N)
    matrix, intercept, residual = action_line(PHI, ACTIONS, WEIGHTS)

    def structural(points: np.ndarray) -> np.ndarray:
        return np.sin(points[:, 0]) + points[:, 1] ** 2 + 5

    wanted = np.array([[0.3, -2.0], [1.5, 1.5]])
    for weight in (np.ones(N), WEIGHTS):
        center = np.average(y, weights=weight)
        found = do_mean(structural, PHI, residual, center, matrix, intercept, wanted, weight)
        for j, a in enumerate(wanted):
            terms = [
                weight[i]
                * (structural((PHI[i] + matrix @ (a - ACTIONS[i]))[None])[0] - structural(PHI[i : i + 1])[0] + y[i])
                for i in range(N)
            ]
            assert_allclose(found[j], sum(terms) / weight.sum(), rtol=1e-10)


@pytest.mark.parametrize("d", [1, 2])
def test_truth_of_the_design_is_the_average_over_the_noise(d: int) -> None:
    sample = make_intervention_curve(10, n_latent=d, scale=0.8, strength=1.5, random_state=0)
    nodes, mass = np.polynomial.hermite_e.hermegauss(60)
    for a in np.random.default_rng(0).uniform(-2, 2, (4, d)):
        moved = sample.action_matrix @ a
        z = moved[:, None] + 0.8 * nodes  # the sum over coordinates needs their marginal laws only
        expected = ((z + 1.5 * np.sin(1.2 * z)) @ mass / mass.sum()).sum()
        assert_allclose(sample.do_mean(a[None]), [expected], rtol=1e-9)


def test_design_has_the_values_of_the_table() -> None:
    actions = np.array([[0.5], [1.0], [1.25], [1.5], [2.0], [2.5]])
    one = make_intervention_curve(5, random_state=0).do_mean(actions)
    assert_allclose(one, [0.91, 1.68, 1.98, 2.21, 2.49, 2.60], atol=0.006)
    two = make_intervention_curve(5, strength=2.0, random_state=0).do_mean(actions[:5])
    assert_allclose(two, [1.68, 2.49, 2.60, 2.68, 3.27], atol=0.006)


def test_penalty_of_a_report_is_that_of_all_rows() -> None:
    from causalkit.extrapolation.encoder_models import report_penalty
    from causalkit.extrapolation.penalty import invariance_penalty, project_off_actions
    from causalkit.extrapolation.sieve_fit import ActionMoments

    rng = np.random.default_rng(4)
    n = 20_000  # three blocks
    actions = rng.uniform(-1, 1, (n, 2))
    phi = actions @ [[2.0, 0.5], [-0.5, 1.0]] + rng.standard_normal((n, 2))
    phi = phi + 0.2 * phi**2
    functions = ActionMoments(rng.standard_normal((2, 16)))
    projected, coefficients = project_off_actions(functions.values(actions), actions)
    np.testing.assert_allclose(functions.projection(actions), coefficients, atol=1e-12)
    np.testing.assert_allclose(
        report_penalty(phi, actions, functions), invariance_penalty(phi, actions, projected), rtol=1e-9
    )
    weight = rng.uniform(0.5, 2.0, n)
    expected = project_off_actions(functions.values(actions), actions, weight)[1]
    np.testing.assert_allclose(functions.projection(actions, weight), expected, atol=1e-12)
