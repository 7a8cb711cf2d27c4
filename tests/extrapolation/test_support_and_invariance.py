"""Reach, visible shares and tests of invariance against quadrature, brute force and binomial bands."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, linalg, stats

from causalkit import load, save
from causalkit.extrapolation import (
    effective_sample_size,
    project_off_actions,
    random_fourier_features,
    visible_share_spectrum,
    wild_bootstrap_pvalue,
)
from causalkit.extrapolation import support as reach
from causalkit.extrapolation.curve_reports import independence_test
from causalkit.extrapolation.encoder_models import action_line
from causalkit.extrapolation.support import ActionSupport, in_action_support, support_table

# ---------------------------------------------------------------------- reach

# strength over noise, action, share of the table in which four significant digits were kept
REACH = [
    (1, 1.0, 0.53),
    (1, 1.25, 0.37),
    (1, 1.5, 0.24),
    (1, 2.0, 0.076),
    (1, 2.5, 0.016),
    (2, 1.0, 0.28),
    (2, 1.25, 0.12),
    (2, 1.5, 0.038),
    (4, 1.0, 0.14),
    (4, 1.25, 0.019),
]


def exact_share(strength: float, action: float) -> float:
    """1/∫ p_do²/p_train for A uniform on (-1, 1) and standard normal noise."""

    def ratio(z: float) -> float:
        train = (stats.norm.sf(z - strength) - stats.norm.sf(z + strength)) / (2 * strength)  # exact in the right tail
        return stats.norm.pdf(z - strength * action) ** 2 / train

    middle = strength * action
    return 1 / integrate.quad(ratio, middle - 9, middle + 12, limit=400)[0]


@pytest.mark.parametrize(("strength", "action", "tabled"), REACH)
def test_effective_share_is_the_integral(strength: float, action: float, tabled: float) -> None:
    exact = exact_share(strength, action)
    assert_allclose(exact, tabled, rtol=0.03)
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        centers = strength * rng.uniform(-1, 1, (1000, 1))
        moved = strength * action + rng.normal(size=(3000, 1))
        covariance = np.atleast_2d(np.cov(moved.T))
        found.append(effective_sample_size(moved, np.array([strength * action]), centers, covariance))
    assert_allclose(np.median(found), exact, rtol=0.1)


def test_effective_share_does_not_depend_on_affine_coordinates() -> None:
    rng = np.random.default_rng(1)
    centers, noise = rng.uniform(-1, 1, (200, 2)), rng.normal(size=(400, 2))
    turn, shift = np.array([[2.0, 0.5], [-1.0, 1.0]]), np.array([3.0, -4.0])
    covariance, center = np.cov(noise.T), np.array([1.5, 0.5])
    first = effective_sample_size(noise + center, center, centers, covariance)
    second = effective_sample_size(
        (noise + center) @ turn.T + shift, turn @ center + shift, centers @ turn.T + shift, turn @ covariance @ turn.T
    )
    assert_allclose(second, first, rtol=1e-9)
    assert 0 < first < 1


def one_dimensional(n: int = 1500, strength: float = 1.0, seed: int = 0, sort: bool = False) -> ActionSupport:
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (n, 1))
    if sort:
        actions = np.sort(actions, axis=0)
    phi = strength * actions + rng.normal(size=(n, 1))
    matrix, intercept, residual = action_line(phi, actions, None)
    return ActionSupport(phi, residual, actions, matrix, intercept, n, seed)


def test_support_table_flags_by_the_rows_that_carry_an_action() -> None:
    support = one_dimensional()
    table = support_table(support, np.array([[0.5], [1.25], [1.5], [2.3], [4.0]]))
    assert table["flag"].tolist() == ["observed", "reachable", "reachable", "thin", "unsupported"]
    assert table["in_action_support"].tolist() == [True, False, False, False, False]
    for column in ("ess", "ess_share", "inside_share"):
        assert (np.diff(table[column]) < 0).all()
    assert_allclose(table["ess"], 1500 * table["ess_share"])
    assert (table["ess"] <= table["ess_classifier"] + 1e-9).all()
    assert_allclose(table["ess_share"][:2], [exact_share(1, 0.5), exact_share(1, 1.25)], rtol=0.25)


@pytest.mark.parametrize(("d", "strength"), [(1, 1.0), (2, 2.0), (1, 150.0)])
def test_shares_of_many_actions_are_those_of_each_alone(d: int, strength: float) -> None:
    """One table of exponentials for all actions; centres too far apart for it (strength 150) are taken one by one."""
    rng = np.random.default_rng(17)
    actions, residual = rng.uniform(-1, 1, (700, d)), rng.normal(size=(700, d))
    support = ActionSupport(strength * actions + residual, residual, actions, strength * np.eye(d), np.zeros(d), 700, 0)
    wanted = np.vstack([rng.uniform(-3, 3, (20, d)), np.full((1, d), 40.0)])
    covariance = np.atleast_2d(np.cov(residual.T))
    expected = [
        effective_sample_size(residual + strength * a, strength * a, support.centers, covariance) for a in wanted
    ]
    normal, classified, inside = support.shares(wanted)
    assert_allclose(normal, expected, rtol=1e-10, atol=1e-300)
    alone = [support_of_one.shares(a[None]) for a in wanted[:3] for support_of_one in (copy.deepcopy(support),)]
    assert_allclose(np.hstack([np.stack(one) for one in alone]), np.stack([normal, classified, inside])[:, :3])


def test_actions_that_were_asked_for_are_not_computed_again(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    rng = np.random.default_rng(18)
    actions, residual = rng.uniform(-1, 1, (300, 4)), rng.normal(size=(300, 4))
    support = ActionSupport(actions + residual, residual, actions, np.eye(4), np.zeros(4), 300, 0)
    first = support_table(support, np.array([[0.5] * 4, [0.5] * 4, [2.0] * 4]))
    calls = []
    original = reach._classifier_share
    monkeypatch.setattr(reach, "_classifier_share", lambda *a: calls.append(1) or original(*a))
    again = support_table(support, np.array([[2.0] * 4, [0.5] * 4, [1.0] * 4]))
    assert len(calls) == 1  # the third alone is new
    pd.testing.assert_frame_equal(again[:2], first[[False, True, True]][::-1].reset_index(drop=True))
    save(support, tmp_path / "support")  # what was found, and neighbours in compiled form, are left out
    loaded = load(tmp_path / "support")
    assert not {"_known", "_inside"} & set(vars(loaded))
    pd.testing.assert_frame_equal(support_table(loaded, np.array([[0.5] * 4, [0.5] * 4, [2.0] * 4])), first)


def test_support_does_not_depend_on_the_order_of_the_rows() -> None:
    """The first rows of data sorted by dose would stand for one end of the support."""
    wanted = np.array([[1.25], [-1.25]])
    plain, ordered = (support_table(one_dimensional(sort=sort), wanted)["ess_share"] for sort in (False, True))
    assert_allclose(ordered, plain, rtol=0.15)


def test_reach_is_a_multiple_at_which_the_flag_changes() -> None:
    support = one_dimensional()
    reach = support.reach(np.array([4.0]))
    middle = support.actions.mean(axis=0)
    inner, outer = (support_table(support, (middle + f * (4.0 - middle))[None]) for f in (reach, reach + 1 / 128))
    assert inner["flag"][0] == "reachable"
    assert outer["flag"][0] == "thin"


def test_action_support_is_the_box_the_hull_or_the_ellipsoid() -> None:
    corner = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.2, 0.2]])
    assert in_action_support(np.array([[0.4, 0.4], [0.6, 0.6], [-0.1, 0.5]]), corner).tolist() == [True, False, False]
    line = np.array([[-1.0], [2.0]])
    assert in_action_support(np.array([[0.0], [2.5]]), line).tolist() == [True, False]
    ball = np.random.default_rng(0).normal(size=(500, 4))
    assert in_action_support(np.array([[0.0] * 4, [9.0] * 4]), ball).tolist() == [True, False]


FREQUENCIES = np.random.default_rng(7).normal(size=(1, 16))

# ---------------------------------------------------------------------- visible share


def visible_matrices(strength: float, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Cov of z², ..., z^degree less their affine part in Z, and of their means given A less their affine part in A."""
    a, mass_a = np.polynomial.legendre.leggauss(60)
    v, mass_v = np.polynomial.hermite_e.hermegauss(60)
    mass_a, mass_v = mass_a / mass_a.sum(), mass_v / mass_v.sum()
    z = strength * a[:, None] + v
    scale = np.sqrt(strength**2 / 3 + 1)
    values = np.stack([(z / scale) ** j for j in range(2, degree + 1)])
    joint = (mass_a[:, None] * mass_v).ravel()

    def less_affine(functions: np.ndarray, x: np.ndarray, mass: np.ndarray) -> np.ndarray:
        design = np.column_stack([np.ones(len(x)), x])
        coef = np.linalg.solve((design * mass[:, None]).T @ design, (design * mass[:, None]).T @ functions.T)
        return functions - (design @ coef).T

    bent = less_affine(values.reshape(degree - 1, -1), z.ravel(), joint)
    means = less_affine(bent.reshape(values.shape) @ mass_v, a, mass_a)
    return (bent * joint) @ bent.T, (means * mass_a) @ means.T


@pytest.mark.parametrize(("strength", "tabled"), [(0.5, 0.0024), (1.0, 0.0260), (2.0, 0.1624), (4.0, 0.4937)])
def test_visible_share_of_a_quadratic_has_a_closed_form(strength: float, tabled: float) -> None:
    top = 4 * strength**4 / 45
    closed = top / (top + 4 * strength**2 / 3 + 2)
    covariance, visible = visible_matrices(strength, 2)
    assert_allclose(visible[0, 0] / covariance[0, 0], closed, rtol=1e-9)
    assert_allclose(closed, tabled, atol=6e-5)


@pytest.mark.parametrize("strength", [2.0, 4.0])
def test_spectrum_finds_the_most_visible_direction(strength: float) -> None:
    """Splines hold more than polynomials of low degree and less than all functions: the top share lies between."""
    exact = [
        linalg.eigh(visible_matrices(strength, degree)[1], visible_matrices(strength, degree)[0])[0][-1]
        for degree in (2, 8)
    ]
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (20_000, 1))
    phi = 3 - 2 * (strength * actions + rng.normal(size=(20_000, 1)))
    functions = np.polynomial.legendre.legvander(actions[:, 0], 7)[:, 1:] * np.sqrt(2 * np.arange(1, 8) + 1)
    projected, _ = project_off_actions(functions, actions)
    found = visible_share_spectrum(phi, actions, projected)
    assert 0.95 * exact[0] < found.shares[0] < 1.1 * exact[1]
    assert (np.diff(found.shares) <= 1e-12).all()
    assert found.n_visible == (found.shares > found.noise).sum() >= 2
    assert "cannot be seen at this sample size" in repr(found)
    affine = visible_share_spectrum(phi @ [[-0.3]] + 1, actions, projected)
    assert_allclose(affine.shares, found.shares, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("n", "d", "replicates"), [(250, 1, 200), (1000, 1, 60), (400, 2, 60)])
def test_one_case_in_twenty_shows_a_direction_without_a_signal(n: int, d: int, replicates: int) -> None:
    """The largest share is above the line in 5 % of the cases; bound: the 99.9 % quantile of such counts."""
    rng = np.random.default_rng(1)
    shown = 0
    for _ in range(replicates):
        actions, phi = rng.uniform(-1, 1, (n, d)), rng.normal(size=(n, d))
        frequencies = rng.normal(size=(d, 16)) / 1.2
        projected, _ = project_off_actions(random_fourier_features(actions / actions.std(axis=0), frequencies), actions)
        shown += visible_share_spectrum(phi, actions, projected).n_visible > 0
    assert shown <= stats.binom.ppf(0.999, replicates, 0.05)


def test_the_line_of_visible_shares_falls_with_the_rows_and_is_drawn_from_five_thousand() -> None:
    rng = np.random.default_rng(2)
    lines = []
    for n in (5000, 20_000):
        actions, phi = rng.uniform(-1, 1, (n, 1)), rng.normal(size=(n, 1))
        projected, _ = project_off_actions(random_fourier_features(actions, FREQUENCIES), actions)
        lines.append(visible_share_spectrum(phi, actions, projected).noise)
    # Four, up to what 199 draws leave open; without the count of all rows it would be 1, with its square 16.
    assert 2.8 < lines[0] / lines[1] < 5.6


# ---------------------------------------------------------------------- tests of invariance


def draw(
    rng: np.random.Generator, n: int, bend: float = 0.0, spread: bool = False, strength: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    actions = rng.uniform(-1, 1, (n, 1))
    noise = rng.normal(size=(n, 1)) * (np.sqrt(0.5 + actions**2) if spread else 1.0)
    z = strength * actions + noise
    phi = z + bend * z**2
    standard = actions / actions.std()
    projected, _ = project_off_actions(random_fourier_features(standard, FREQUENCIES), standard)
    return action_line(phi, actions, None)[2], projected


@pytest.mark.parametrize(("method", "spread"), [("wild", False), ("wild", True), ("permutation", False)])
def test_invariance_test_keeps_its_level(method: str, spread: bool) -> None:
    rng = np.random.default_rng(11)
    rejected = sum(
        wild_bootstrap_pvalue(*draw(rng, 500, spread=spread), n_bootstrap=99, method=method, rng=rng)[1] <= 0.05
        for _ in range(200)
    )
    # 5 % with three points either side, as 200 replicates allow
    assert 0.02 <= rejected / 200 <= 0.08


def test_invariance_test_has_power_and_its_statistic_is_the_double_sum() -> None:
    rng = np.random.default_rng(12)
    residual, projected = draw(rng, 400, bend=1.0, strength=3.0)
    statistic, pvalue = wild_bootstrap_pvalue(residual, projected, n_bootstrap=199, rng=rng)
    scaled = residual[:, 0] / residual[:, 0].std()
    gram = projected @ projected.T
    assert_allclose(statistic, scaled @ gram @ scaled / 400, rtol=1e-9)
    assert pvalue <= 0.02


def test_bootstrap_pvalue_counts_the_draws_of_the_same_signs() -> None:
    residual, projected = draw(np.random.default_rng(13), 60, bend=0.1)
    statistic, pvalue = wild_bootstrap_pvalue(residual, projected, n_bootstrap=39, rng=np.random.default_rng(0))
    rng, larger = np.random.default_rng(0), 0
    scaled = residual[:, 0] / residual[:, 0].std()
    for _ in range(39):
        signed = rng.choice([-1.0, 1.0], 60) * scaled
        larger += signed @ projected @ projected.T @ signed / 60 >= statistic
    assert pvalue == (1 + larger) / 40


def test_bootstrap_arguments_are_checked() -> None:
    residual, projected = draw(np.random.default_rng(14), 60)
    with pytest.raises(ValueError, match=r"method must be one of 'wild', 'permutation'; got 'tame'"):
        wild_bootstrap_pvalue(residual, projected, method="tame", rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="n_bootstrap must be an integer at least 19; got 5"):
        wild_bootstrap_pvalue(residual, projected, n_bootstrap=5, rng=np.random.default_rng(0))


def test_independence_test_keeps_its_level_and_sees_spread_that_the_mean_does_not() -> None:
    rng = np.random.default_rng(15)
    pvalues = [independence_test(*draw(rng, 300), n_permutations=39, seed=j) for j in range(100)]
    # 99.9 % of binomial counts of 100 at 5 %
    assert sum(p <= 0.05 for p in pvalues) <= 13
    residual, projected = draw(rng, 1000, spread=True)
    assert independence_test(residual, projected, n_permutations=199) <= 0.01
    assert wild_bootstrap_pvalue(residual, projected, n_bootstrap=199, rng=rng)[1] > 0.05


def test_spectrum_of_many_coordinates_takes_each_alone() -> None:
    rng = np.random.default_rng(16)
    actions = rng.uniform(-1, 1, (400, 8))
    phi = 2 * actions + rng.normal(size=(400, 8))
    projected, _ = project_off_actions(random_fourier_features(actions, rng.normal(size=(8, 8))), actions)
    found = visible_share_spectrum(phi, actions, projected)
    # eight splines of eight functions each, less the affine part of each
    assert len(found.shares) <= 8 * 6
    assert (found.shares >= 0).all()


def test_the_corners_of_all_actions_bound_the_support_of_many_rows() -> None:
    rng = np.random.default_rng(0)
    actions = np.vstack([rng.uniform(-1, 1, (20_000, 2)), [[3.0, 3.0]]])
    residual = rng.normal(size=(20_001, 1))
    found = ActionSupport(residual, residual, actions, np.ones((1, 2)), np.zeros(1), 20_001, 0)
    assert found.observed(np.array([[3.0, 3.0], [2.0, 2.0], [3.0, 0.0]])).tolist() == [True, True, False]


def test_independence_sees_a_spread_that_grows_with_the_action() -> None:
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (1500, 1))
    residual = np.exp(0.4 * actions) * rng.normal(size=(1500, 1))
    features = random_fourier_features(actions / actions.std(), rng.normal(size=(1, 32)))
    assert independence_test(residual, features, n_permutations=199) <= 0.01
