"""Second stage, its calibration term, and influence values against explicit algebra and numerical derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import linalg

from causalkit.datasets import make_intervention_curve
from causalkit.extrapolation import SplineControlFunction, do_mean, do_mean_influence
from causalkit.extrapolation import second_stage as stage
from causalkit.extrapolation.curve_part import fit_curve_part
from causalkit.extrapolation.encoder_models import action_line
from causalkit.extrapolation.splines import TensorSplines

SAMPLE = make_intervention_curve(300, n_latent=1, random_state=5)
MATRIX, INTERCEPT, RESIDUAL = action_line(SAMPLE.latent, SAMPLE.actions, None)
BASES = (TensorSplines.of(SAMPLE.latent, 5), TensorSplines.of(RESIDUAL, 4))
WANTED = np.array([[-0.5], [0.5], [1.0], [1.5], [2.0]])


def spline_fit(smoothing, phi=SAMPLE.latent, residual=RESIDUAL, y=SAMPLE.y, w=None, moments=None, calibration=0.0):
    """The seam under the estimator, with knots that do not move with the rows."""
    weight = np.ones(len(y)) if w is None else w / w.mean()
    return stage._fit(*BASES, phi, residual, y, weight, [(smoothing, smoothing)], moments, calibration)


def normal_equations(moments=None, calibration=0.0, smoothing=1e-3):
    n = len(SAMPLE.y)
    design = np.hstack([BASES[0].design(SAMPLE.latent), BASES[1].design(RESIDUAL)])
    design, y = design - design.mean(axis=0), SAMPLE.y - SAMPLE.y.mean()
    p = BASES[0].n_columns
    sizes = [np.mean((part**2).mean(axis=0)) for part in (design[:, :p], design[:, p:])]
    penalty = linalg.block_diag(
        *(
            size * (smoothing * basis.roughness() + 1e-6 * np.eye(basis.n_columns))
            for size, basis in zip(sizes, BASES, strict=True)
        )
    )
    left, right = design.T @ design / n + penalty, design.T @ y / n
    if calibration:
        f = moments - moments.mean(axis=0)
        # the gradient of λ|n⁻¹ f'(y - Bβ)|² over 2, B the ν-part
        tilt = f.T @ design[:, :p] / n
        left[:p, :p] += calibration * tilt.T @ tilt
        right[:p] += calibration * tilt.T @ (f.T @ y / n)
    return linalg.solve(left, right)


def assert_same_functions(found, coef):
    """Splines sum to one, so that a constant in all coefficients is known to rounding only and means nothing."""
    design = found.design(SAMPLE.latent, RESIDUAL)
    for part in (slice(0, found.split), slice(found.split, None)):
        assert_allclose(design[:, part] @ found.coef[part], design[:, part] @ coef[part], rtol=1e-7, atol=1e-7)


def test_coefficients_solve_the_penalised_normal_equations() -> None:
    found = spline_fit(1e-3)
    assert_same_functions(found, normal_equations())
    assert_allclose(found.nu(SAMPLE.latent).mean(), SAMPLE.y.mean())
    assert_allclose(found.psi(RESIDUAL).mean(), 0, atol=1e-10)


def test_calibration_term_is_the_explicit_quadratic_and_lowers_its_target() -> None:
    moments = np.column_stack([np.cos(2 * SAMPLE.actions[:, 0]), SAMPLE.actions[:, 0] ** 3])
    found = spline_fit(1e-3, moments=moments, calibration=30.0)
    assert_same_functions(found, normal_equations(moments, 30.0))

    def target(fit):
        left = SAMPLE.y - fit.nu(SAMPLE.latent)
        return (((left - left.mean()) @ (moments - moments.mean(axis=0)) / len(left)) ** 2).sum()

    assert target(found) < 0.5 * target(spline_fit(1e-3))


def test_blocks_of_rows_are_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = np.cos(2 * SAMPLE.actions)
    whole = spline_fit(1e-2, moments=moments, calibration=3.0)
    monkeypatch.setattr(stage, "_BLOCK_ROWS", 70)
    parts = spline_fit(1e-2, moments=moments, calibration=3.0)
    assert_same_functions(parts, whole.coef)


def test_weights_are_repeated_rows() -> None:
    counts = np.random.default_rng(1).integers(1, 4, 300)
    rows = np.repeat(np.arange(300), counts)
    moments = np.cos(2 * SAMPLE.actions)
    weighted = spline_fit(1e-2, w=counts.astype(float), moments=moments, calibration=3.0)
    repeated = spline_fit(
        1e-2, SAMPLE.latent[rows], RESIDUAL[rows], SAMPLE.y[rows], moments=moments[rows], calibration=3.0
    )
    assert_same_functions(weighted, repeated.coef)
    assert_allclose(weighted.intercept, repeated.intercept)


def test_cross_validation_takes_the_smallest_generalised_score() -> None:
    model = SplineControlFunction(n_knots=5).fit(SAMPLE.latent, RESIDUAL, SAMPLE.y)

    def score(pair):
        one = SplineControlFunction(n_knots=5, smoothing=pair).fit(SAMPLE.latent, RESIDUAL, SAMPLE.y)
        design = one.fit_.design(SAMPLE.latent, RESIDUAL)
        hat = design @ one.fit_.inverse @ design.T / 300
        error = SAMPLE.y - one.predict(SAMPLE.latent, RESIDUAL)
        return (error**2).mean() / (1 - (1 + np.trace(hat)) / 300) ** 2

    grid = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    scores = {(a, b): score((a, b)) for a in grid for b in grid}
    assert model.smoothing_ == min(scores, key=scores.__getitem__)


def test_smoothing_of_both_parts_may_differ() -> None:
    pair = SplineControlFunction(smoothing=(1e-4, 1.0)).fit(SAMPLE.latent, RESIDUAL, SAMPLE.y)
    same = SplineControlFunction(smoothing=1e-4).fit(SAMPLE.latent, RESIDUAL, SAMPLE.y)
    assert pair.smoothing_ == (1e-4, 1.0)
    assert same.smoothing_ == (1e-4, 1e-4)
    assert np.diff(pair.fit_.coef[pair.fit_.split :], 2).std() < np.diff(same.fit_.coef[same.fit_.split :], 2).std()


@pytest.mark.parametrize("smoothing", [-1.0, "best", (1.0,), (1.0, -1.0), True, np.nan])
def test_smoothing_that_makes_no_sense_is_refused(smoothing) -> None:
    with pytest.raises(ValueError, match="smoothing must be"):
        SplineControlFunction(smoothing=smoothing).fit(SAMPLE.latent, RESIDUAL, SAMPLE.y)


def test_second_stage_names_columns_that_do_not_fit() -> None:
    model = SplineControlFunction().fit(SAMPLE.latent, RESIDUAL, SAMPLE.y)
    with pytest.raises(ValueError, match="phi has 2 columns, expected 1"):
        model.structural(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="residual has 2 columns, expected 1"):
        model.predict(np.zeros((3, 1)), np.zeros((3, 2)))


# ---------------------------------------------------------------------- influence values


def curve(w, y=SAMPLE.y, sample=SAMPLE, bases=BASES, wanted=WANTED):
    """The do-mean as a function of row weights, with knots and penalty held; and what its influence values need."""
    matrix, intercept, residual = action_line(sample.latent, sample.actions, w)
    fit = stage._fit(*bases, sample.latent, residual, y, w / w.mean(), [(1e-8, 1e-8)], None, 0.0)
    found = do_mean(fit.nu, sample.latent, residual, float(np.average(y, weights=w)), matrix, intercept, wanted, w)
    return found, fit, residual, matrix


def wide_knots(points, number):
    low, high = points.min(axis=0) - 0.5, points.max(axis=0) + 0.5
    return TensorSplines(low[:, None] + (high - low)[:, None] * np.linspace(0, 1, number))


@pytest.mark.parametrize("d", [1, 2])
def test_influence_values_are_derivatives_with_respect_to_row_weights(d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact where the splines hold the truth and the errors do not go along with the slopes of the design.

    The formula leaves out n⁻¹ Σ e_i times the derivative of D_i by W, whose expectation is zero. The errors here are
    orthogonal to these products, so that what is left out is zero in the sample too.
    """
    monkeypatch.setattr(stage, "_RIDGE", 1e-8)
    sample = make_intervention_curve(300, n_latent=d, random_state=5 + d)
    residual = action_line(sample.latent, sample.actions, None)[2]
    bases = wide_knots(sample.latent, 5 - d), wide_knots(residual, 5 - d)
    centred = sample.actions - sample.actions.mean(axis=0)
    design = np.hstack([bases[0].design(sample.latent), bases[1].design(residual)])
    slopes = [bases[1].design(residual, axis) for axis in range(d)]
    barred = np.hstack([design, *slopes, *(slope * centred[:, [j]] for slope in slopes for j in range(d))])
    noise = np.random.default_rng(0).normal(size=300)
    noise -= barred @ np.linalg.lstsq(barred, noise, rcond=None)[0]
    y = sample.latent[:, 0] - 0.2 * sample.latent[:, -1] ** 3 + residual[:, 0] ** 2 - residual[:, -1] + noise
    wanted = np.array([[0.5], [1.5]]) @ np.array([[1.0, -0.6]])[:, :d]
    _, fit, residual, matrix = curve(np.ones(300), y, sample, bases, wanted)
    values = do_mean_influence(fit, sample.latent, residual, y, sample.actions, matrix, wanted)
    assert np.abs(values.mean(axis=0)).max() < 1e-3 * np.abs(values).mean()
    for i in (0, 7, 100, 211, 299):
        pair = []
        for bump in (0.1, -0.1):
            w = np.ones(300)
            w[i] += bump
            pair.append(curve(w, y, sample, bases, wanted)[0])
        # one more copy of a row has share 1/n, so the derivative by its weight is its influence value over n
        numeric = 300 * (pair[0] - pair[1]) / 0.2
        assert_allclose(values[i], numeric, rtol=2e-3, atol=2e-3 * np.abs(values).mean())


def test_influence_values_give_the_jackknife_error() -> None:
    _, fit, residual, matrix = curve(np.ones(300))
    values = do_mean_influence(fit, SAMPLE.latent, residual, SAMPLE.y, SAMPLE.actions, matrix, WANTED)
    left_out = []
    for i in range(300):
        w = np.ones(300)
        w[i] = 0.0
        left_out.append(curve(w)[0])
    jackknife = np.sqrt(299 * np.var(left_out, axis=0))
    inside = slice(0, 4)
    assert_allclose(values.std(axis=0)[inside] / np.sqrt(300), jackknife[inside], rtol=0.12)


def test_the_uncertain_line_matters_from_the_edge_of_the_support_outwards() -> None:
    """With W held the error of the curve comes out far too small, which the influence values show as well."""
    _, fit, residual, matrix = curve(np.ones(300))
    values = do_mean_influence(fit, SAMPLE.latent, residual, SAMPLE.y, SAMPLE.actions, matrix, WANTED)
    rng = np.random.default_rng(2)
    draws, held = [], []
    for _ in range(60):
        w = rng.multinomial(300, np.full(300, 1 / 300)).astype(float)
        draws.append(curve(w)[0])
    line, intercept, fixed = action_line(SAMPLE.latent, SAMPLE.actions, None)
    for _ in range(60):
        w = rng.multinomial(300, np.full(300, 1 / 300)).astype(float)
        one = stage._fit(*BASES, SAMPLE.latent, fixed, SAMPLE.y, w, [(1e-8, 1e-8)], None, 0.0)
        held.append(do_mean(one.nu, SAMPLE.latent, fixed, float(w @ SAMPLE.y / 300), line, intercept, WANTED, w))
    ours = values.std(axis=0) / np.sqrt(300)
    edge = slice(2, 4)  # a = 1 and 1.5
    assert (np.std(held, axis=0)[edge] < 0.8 * ours[edge]).all()
    assert_allclose(np.std(draws, axis=0)[edge], ours[edge], rtol=0.3)


def test_influence_values_with_weights_are_those_of_repeated_rows() -> None:
    counts = np.random.default_rng(3).integers(1, 4, 300)
    rows = np.repeat(np.arange(300), counts)
    w = counts.astype(float)
    _, fit, residual, matrix = curve(w)
    weighted = do_mean_influence(fit, SAMPLE.latent, residual, SAMPLE.y, SAMPLE.actions, matrix, WANTED, w)
    repeated = do_mean_influence(
        fit, SAMPLE.latent[rows], residual[rows], SAMPLE.y[rows], SAMPLE.actions[rows], matrix, WANTED
    )
    first = np.flatnonzero(np.r_[True, np.diff(rows) > 0])
    # a row of weight c holds the influence of its c copies, on the scale of n rather than of Σ c
    assert_allclose(weighted, repeated[first] * counts[:, None] * 300 / counts.sum(), rtol=1e-7, atol=1e-9)


def test_influence_values_do_not_depend_on_affine_maps_of_the_representation() -> None:
    for turn, shift in ((np.array([[3.0]]), 2.0), (np.array([[-0.5]]), -1.0)):
        pair = []
        for latent in (SAMPLE.latent, SAMPLE.latent @ turn + shift):
            part = fit_curve_part(latent, SAMPLE.actions, SAMPLE.y, None, SplineControlFunction(smoothing=1e-3))
            values = do_mean_influence(
                part.outcome_model.fit_, latent, part.residual, SAMPLE.y, SAMPLE.actions, part.action_matrix, WANTED
            )
            pair.append((part.do_mean(WANTED), values))
        assert_allclose(pair[1][0], pair[0][0], atol=1e-6)
        assert_allclose(pair[1][1], pair[0][1], atol=1e-4)


# ---------------------------------------------------------------------- oracle


@pytest.mark.parametrize(("d", "near", "far"), [(1, 0.08, 0.15), (2, 0.10, 0.15)])
def test_oracle_curve_is_right_beyond_the_support(d: int, near: float, far: float) -> None:
    errors = []
    for seed in range(5):
        sample = make_intervention_curve(10_000, n_latent=d, random_state=seed)
        part = fit_curve_part(sample.latent, sample.actions, sample.y, None, SplineControlFunction())
        if d == 1:
            points = [np.array([[1.25], [1.5], [-1.25], [-1.5]]), np.array([[2.0], [2.5], [-2.0], [-2.5]])]
        else:
            angles = np.arange(8) * np.pi / 4
            circle = np.column_stack([np.cos(angles), np.sin(angles)])
            points = [1.5 * circle, 2.25 * circle]
        errors.append([np.sqrt(np.mean((part.do_mean(a) - sample.do_mean(a)) ** 2)) for a in points])
    found = np.median(errors, axis=0)
    assert found[0] <= near
    assert found[1] <= far


def test_null_effect_gives_a_flat_curve_although_the_outcome_bends_with_the_representation() -> None:
    sample = make_intervention_curve(10_000, null=True, random_state=0)
    part = fit_curve_part(sample.latent, sample.actions, sample.y, None, SplineControlFunction())
    wanted = np.linspace(-2, 2, 9)[:, None]
    assert np.abs(part.do_mean(wanted)).max() < 0.15
    assert np.corrcoef(sample.latent[:, 0], sample.y)[0, 1] > 0.7
