"""Shrunken level effects: direct formulas, full least squares with level means, and simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.preprocessing import TargetEncoder

from causalkit.exceptions import IdentificationError
from causalkit.rewards.absorption import absorb
from causalkit.rewards.fixed_effects import WithinFit, within_fit
from causalkit.rewards.level_effects import LevelEffects, level_effects
from causalkit.rewards.shrinkage import ShrunkEffects, mixed_effects, mundlak_effects
from tests.rewards.designs_fixed_effects import THETA, Array, factor, grouped, least_squares


def fitted(
    X: Array, y: Array, codes: np.ndarray, W: Array | None = None, weight: Array | None = None, size: int | None = None
) -> tuple[WithinFit, LevelEffects]:
    fit = within_fit(X, y, W, absorb([factor(codes, "group", size)], weight))
    return fit, level_effects(fit, X, y, W)


def unbalanced(seed: int, n_groups: int = 40) -> tuple[Array, Array, Array, np.ndarray, Array]:
    """X, y, W, codes, weight with groups of 1 to 8 rows."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_groups), rng.integers(1, 9, n_groups))
    a = rng.normal(size=n_groups)[codes]
    X = rng.normal(size=(len(codes), 2)) + a[:, None]
    W = rng.normal(size=(len(codes), 1)) + 0.5 * a[:, None]
    y = X @ np.array([1.0, -0.5]) + W[:, 0] + 2 * a + rng.normal(size=len(codes))
    weight = rng.uniform(0.3, 2.0, len(codes))
    return X, y, W, codes, weight / weight.mean()


def test_mixed_effects_follow_the_moment_formulas() -> None:
    X, y, _, codes, _ = unbalanced(1)
    fit, levels = fitted(X, y, codes)
    shrunk = mixed_effects(fit, levels)
    n_g, alpha = np.bincount(codes).astype(float), levels.effects[0]
    N, G = n_g.sum(), len(n_g)
    mean = n_g @ alpha / N
    tau2 = max(0.0, (n_g @ (alpha - mean) ** 2 - (G - 1) * fit.sigma2) / (N - n_g @ n_g / N))
    kept = tau2 / (tau2 + fit.sigma2 / n_g)
    assert shrunk.level_variance == pytest.approx(tau2) and tau2 > 0
    assert_allclose(shrunk.shrinkage, kept)
    assert_allclose(shrunk.effects, mean + kept * (alpha - mean))
    of_mean = tau2 * (n_g @ n_g) / N**2 + fit.sigma2 / N
    posterior = kept * fit.sigma2 / n_g + (1 - kept) ** 2 * of_mean
    assert_allclose(shrunk.posterior_variances, posterior)
    centred = levels.means - n_g @ levels.means / N
    of_coef = np.einsum("ij,jk,ik->i", centred, fit.covariance(), centred)
    assert_allclose(shrunk.standard_errors**2, posterior + kept**2 * of_coef)
    assert shrunk.test is None


def test_prior_of_unseen_levels() -> None:
    X, y, _, codes, _ = unbalanced(2)
    fit, levels = fitted(X, y, codes)
    mixed, mundlak = mixed_effects(fit, levels), mundlak_effects(fit, levels)
    mean, variance = mixed.prior(n_levels=3)
    assert_allclose(mean, np.average(levels.effects[0], weights=np.bincount(codes)))
    assert_allclose(variance, mixed.level_variance)
    means = np.array([[0.0, 0.0], [1.0, -2.0]])
    mean, variance = mundlak.prior(means)
    assert_allclose(mean, [mundlak.coef[0], mundlak.coef[0] + mundlak.coef[1] - 2 * mundlak.coef[2]])
    assert_allclose(variance, mundlak.level_variance)
    for wrong in (None, np.zeros((2, 3)), np.zeros(2)):
        with pytest.raises(ValueError, match=r"means must have shape \(k, 2\)"):
            mundlak.prior(wrong)


def test_levels_without_rows_get_the_prior() -> None:
    X, y, _, codes, _ = unbalanced(3)
    fit, levels = fitted(X, y, codes, size=codes.max() + 3)
    assert np.isnan(levels.effects[0][-2:]).all()
    for shrunk in (mixed_effects(fit, levels), mundlak_effects(fit, levels)):
        expected = np.average(shrunk.prior_means[:-2], weights=np.bincount(codes))
        assert_allclose(shrunk.effects[-2:], expected)
        assert_allclose(shrunk.shrinkage[-2:], 0.0)
        assert (shrunk.posterior_variances[-2:] > shrunk.level_variance).all()
        short = fitted(X, y, codes)
        shorter = (mixed_effects if shrunk.test is None else mundlak_effects)(*short)
        assert_allclose(shrunk.effects[:-2], shorter.effects)
        assert_allclose(shrunk.standard_errors[:-2], shorter.standard_errors)


def test_no_variance_between_levels_shrinks_all_the_way() -> None:
    rng = np.random.default_rng(4)
    codes = np.repeat(np.arange(50), 4)
    X = rng.normal(size=(200, 1))
    noise = rng.normal(size=200)
    # Level means of the noise are removed, so that level effects vary less than noise alone would make them.
    noise -= (np.bincount(codes, weights=noise) / 4)[codes]
    shrunk = mixed_effects(*fitted(X, noise, codes))
    assert shrunk.level_variance == 0.0
    assert_allclose(shrunk.shrinkage, 0.0)
    assert_allclose(shrunk.effects, shrunk.coef[0])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("numeric", [False, True])
def test_group_mean_regression_gives_the_within_coefficients(numeric: bool, weighted: bool) -> None:
    X, y, W, codes, weight = unbalanced(5)
    given, columns = (weight if weighted else None), (W if numeric else None)
    w = np.ones(len(y)) if given is None else given
    fit, levels = fitted(X, y, codes, columns, given)
    shrunk = mundlak_effects(fit, levels)
    C = np.hstack([X, W]) if numeric else X
    means = np.stack([np.average(C[codes == g], axis=0, weights=w[codes == g]) for g in range(codes.max() + 1)])
    design = np.hstack([np.ones((len(y), 1)), C, means[codes]])
    full = sm.WLS(y, design, weights=w).fit()
    m = C.shape[1]
    assert_allclose(fit.coef, full.params[1:3], atol=1e-8)
    assert_allclose(shrunk.coef, np.r_[full.params[0], full.params[1 + m :]], atol=1e-8)
    assert_allclose(shrunk.prior_means, shrunk.coef[0] + means @ shrunk.coef[1:], atol=1e-8)
    # Clustered by level, G/(G - 1) and nothing for the coefficients.
    clustered = full.get_robustcov_results("cluster", groups=codes, use_correction=False)
    G = len(means)
    slopes = slice(1 + m, 3 + m)
    covariance = np.asarray(clustered.cov_params())[slopes, slopes] * G / (G - 1)
    statistic = full.params[slopes] @ np.linalg.solve(covariance, full.params[slopes])
    assert shrunk.test is not None
    assert shrunk.test.degrees_of_freedom == 2
    assert shrunk.test.statistic == pytest.approx(statistic, rel=1e-7)
    assert shrunk.test.pvalue == pytest.approx(stats.chi2.sf(statistic, 2), rel=1e-6)


def test_variance_about_the_line_follows_its_moment() -> None:
    X, y, _, codes, _ = unbalanced(6)
    fit, levels = fitted(X, y, codes)
    shrunk = mundlak_effects(fit, levels)
    n_g = np.bincount(codes).astype(float)
    Z = np.column_stack([np.ones(len(n_g)), levels.means])
    residual = levels.effects[0] - Z @ least_squares(Z, levels.effects[0], n_g)
    root = np.sqrt(n_g)
    projector = np.eye(len(n_g)) - (root[:, None] * Z) @ np.linalg.pinv(root[:, None] * Z)
    # E[u'Nu] = tr(M N^½ Var(α̂) N^½) with Var(α̂) = σ²N⁻¹ + σ_u² I.
    excess = n_g @ residual**2 - fit.sigma2 * np.trace(projector)
    expected = max(0.0, excess / np.trace(projector @ np.diag(n_g)))
    assert shrunk.level_variance == pytest.approx(expected, rel=1e-9)
    assert_allclose(shrunk.shrinkage, expected / (expected + fit.sigma2 / n_g))


def test_no_relation_is_not_found() -> None:
    rng = np.random.default_rng(7)
    pvalues = []
    for _ in range(200):
        codes = np.repeat(np.arange(120), 3)
        X = rng.normal(size=(360, 2)) + rng.normal(size=(120, 2))[codes]
        y = X[:, 0] + rng.normal(size=120)[codes] + rng.normal(size=360)
        test = mundlak_effects(*fitted(X, y, codes)).test
        assert test is not None
        pvalues.append(test.pvalue)
    # Binomial band of four standard deviations about 5 %, and room for the χ² approximation with 120 clusters.
    assert 0.0 < np.mean(np.array(pvalues) < 0.05) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200) + 0.02
    assert 0.3 < np.mean(np.array(pvalues) < 0.5) < 0.7


def _replicate(rng: np.random.Generator, size: int) -> tuple[dict[str, Array], dict[str, float], list[ShrunkEffects]]:
    X, y, group, truth = grouped(rng, 400, size)
    prepared = absorb([group])
    fit = within_fit(X, y, None, prepared)
    levels = level_effects(fit, X, y)
    shrunk = [mixed_effects(fit, levels), mundlak_effects(fit, levels)]
    design = np.column_stack([np.ones(len(y)), X])
    means = levels.means[group.codes]
    coefs = {
        "none": least_squares(design, y)[1:],
        "outcome_only": least_squares(design, prepared.residualise(y))[1:],
        "fixed_effects": fit.coef,
        "mundlak": least_squares(np.hstack([design, means]), y)[1:5],
    }
    errors = {
        name: float(np.sqrt(np.mean((estimate - truth) ** 2)))
        for name, estimate in (
            ("fixed_effects", levels.effects[0]),
            ("mixed", shrunk[0].effects),
            ("mundlak", shrunk[1].effects),
        )
    }
    ratios = [float(np.mean((s.effects - truth) ** 2 / s.standard_errors**2)) for s in shrunk]
    return coefs, errors | {"mixed ratio": ratios[0], "mundlak ratio": ratios[1]}, shrunk


TABLE = {
    10: {
        "none": (1.80, -0.10, -0.75, 0.0),
        "outcome_only": (0.72, 0.585, -0.675, 0.0),
        "rmse": {"fixed_effects": 0.316, "mixed": 0.313, "mundlak": 0.282},
        "encoded": [(1.093, 0.429, -0.752, -0.002), (0.958, 0.434, -0.694, -0.002)],
    },
    2: {
        "none": (1.80, -0.10, -0.75, 0.0),
        "outcome_only": (0.40, 0.325, -0.375, 0.0),
        "rmse": {"fixed_effects": 0.710, "mixed": 0.668, "mundlak": 0.612},
        "encoded": [(1.485, 0.138, -0.744, 0.001), (0.711, 0.232, -0.453, 0.003)],
    },
}


@pytest.mark.parametrize("size", [10, 2])
def test_table_of_many_levels(size: int) -> None:
    rng = np.random.default_rng(size)
    found = [_replicate(rng, size) for _ in range(60)]
    coefs = {name: np.mean([c[name] for c, _, _ in found], axis=0) for name in found[0][0]}
    # .01 (two per group: .02) is the tolerance of 200 replicates; 60 add their Monte Carlo error.
    tolerance = (0.01 if size == 10 else 0.02) + 0.01
    assert_allclose(coefs["none"], TABLE[size]["none"], atol=tolerance + 0.02)
    assert_allclose(coefs["outcome_only"], TABLE[size]["outcome_only"], atol=tolerance)
    assert_allclose(coefs["fixed_effects"], THETA, atol=tolerance)
    for c, _, _ in found:
        assert_allclose(c["mundlak"], c["fixed_effects"], atol=1e-8)
    distance = {name: np.linalg.norm(c - THETA) for name, c in coefs.items()}
    assert distance["none"] > distance["outcome_only"] > distance["fixed_effects"]
    rmse = {name: np.mean([e[name] for _, e, _ in found]) for name in found[0][1]}
    for name, expected in TABLE[size]["rmse"].items():
        assert rmse[name] == pytest.approx(expected, abs=0.01)
    assert rmse["fixed_effects"] > rmse["mixed"] > rmse["mundlak"]
    assert rmse["mixed ratio"] == pytest.approx(1.0, abs=0.06)
    assert rmse["mundlak ratio"] == pytest.approx(1.0, abs=0.06)


@pytest.mark.filterwarnings("ignore:`TargetEncoder.shuffle`:FutureWarning")
@pytest.mark.parametrize("size", [10, 2])
def test_target_encoding_is_not_an_adjustment(size: int) -> None:
    rng = np.random.default_rng(size)
    crossed, plain, within = [], [], []
    for replicate in range(40):
        X, y, group, _ = grouped(rng, 400, size)
        column = group.codes[:, None]
        encoder = TargetEncoder(target_type="continuous", random_state=replicate)
        one = np.ones((len(y), 1))
        crossed.append(least_squares(np.hstack([X, encoder.fit_transform(column, y), one]), y)[:4])
        plain.append(least_squares(np.hstack([X, encoder.fit(column, y).transform(column), one]), y)[:4])
        within.append(within_fit(X, y, None, absorb([group])).coef)
    assert_allclose([np.mean(crossed, axis=0), np.mean(plain, axis=0)], TABLE[size]["encoded"], atol=0.03)
    distance = [np.linalg.norm(np.mean(c, axis=0) - THETA) for c in (crossed, plain, within)]
    assert distance[2] < min(distance[:2]) / 3


def test_bad_input() -> None:
    X, y, _, codes, _ = unbalanced(8)
    fit = within_fit(X, y, None, absorb([factor(codes, "author"), factor(codes % 3, "month")]))
    levels = level_effects(fit, X, y)
    for method, name in ((mixed_effects, "mixed"), (mundlak_effects, "mundlak")):
        with pytest.raises(ValueError, match=f'method="{name}" needs exactly one .* got 2: author, month'):
            method(fit, levels)
    rng = np.random.default_rng(0)
    few = np.repeat(np.arange(4), 20)
    many = rng.normal(size=(80, 6))
    outcome = rng.normal(size=80)
    with pytest.raises(IdentificationError, match=r"4 levels of 'group' do not identify .* 6 level means"):
        mundlak_effects(*fitted(many, outcome, few))
    # A feature whose level means do not vary says nothing about levels.
    level = np.tile([-1.0, 1.0], 60)
    with pytest.raises(IdentificationError, match="smallest eigenvalue"):
        mundlak_effects(
            *fitted(np.column_stack([level, rng.normal(size=120)]), rng.normal(size=120), np.arange(120) // 4)
        )


def test_a_penalty_keeps_few_levels_identified() -> None:
    rng = np.random.default_rng(9)
    codes = np.repeat(np.arange(5), 30)
    X = rng.normal(size=(150, 8)) + rng.normal(size=(5, 8))[codes]
    y = rng.normal(size=150)
    fit = within_fit(X, y, None, absorb([factor(codes)]), penalty=4.0)
    levels = level_effects(fit, X, y)
    shrunk = mundlak_effects(fit, levels)
    Z = np.column_stack([np.ones(5), levels.means])
    ridge = np.diag(np.r_[0.0, np.full(8, 4.0)])
    expected = np.linalg.solve(Z.T @ (30 * Z) + ridge, Z.T @ (30 * levels.effects[0]))
    assert_allclose(shrunk.coef, expected, atol=1e-9)
    assert shrunk.test is not None and 0 <= shrunk.test.pvalue <= 1
