"""HierarchicalCalibration against its formulas, numerical posteriors and simulated sites."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import stats

from causalkit import HierarchicalCalibration, slope_heterogeneity
from causalkit.datasets import make_site_map
from causalkit.debiasing.site_distribution import RandomEffects, dersimonian_laird, shrink
from causalkit.exceptions import CalibrationWarning

# Six or fewer usable sites, or a weak one, may warn by chance.
pytestmark = pytest.mark.filterwarnings(
    "ignore:the calibration sample",
    "ignore:.*of the predictions lie outside",
    "ignore:.torch.jit.trace. is deprecated:DeprecationWarning",
)


def fitted_on(data: Any, **kwargs: Any) -> HierarchicalCalibration:
    model = HierarchicalCalibration(**kwargs)
    return model.fit(data.calibration_predictions, data.calibration_y, sites=data.calibration_sites)


def printed_sites() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """20 sites of 60 rows: slopes, then intercepts, then per site outcomes, their shift and noise."""
    rng = np.random.default_rng(11)
    k, m = rng.normal(0.6, 0.1, 20), rng.normal(0, 0.15, 20)
    f, y = [], []
    for s in range(20):
        y.append(rng.normal(size=60))
        y[-1] = y[-1] + 0.5 * rng.normal()
        f.append(m[s] + k[s] * y[-1] + 0.35 * rng.normal(size=60))
    return np.concatenate(f), np.concatenate(y), np.repeat(np.arange(20), 60)


# ---------------------------------------------------------------------- site lines and moments


@pytest.mark.parametrize("cov_type", ["HC0", "HC1"])
def test_site_lines_against_statsmodels(cov_type: str) -> None:
    data = make_site_map(n_sites=5, random_state=1)
    model = fitted_on(data, cov_type=cov_type)
    centred = data.calibration_y - data.calibration_y.mean()
    assert_allclose(model.centre_, data.calibration_y.mean())
    for s in range(5):
        rows = data.calibration_sites == s
        peer = sm.OLS(data.calibration_predictions[rows], sm.add_constant(centred[rows])).fit(cov_type=cov_type)
        assert_allclose(model.site_coef_[s], peer.params, rtol=1e-10)
        assert_allclose(model.site_cov_[s], peer.cov_params(), rtol=1e-9)


def test_moments_by_hand_and_by_statsmodels() -> None:
    rng = np.random.default_rng(2)
    coef, v = rng.normal(1, 0.5, (7, 2)), rng.uniform(0.02, 0.2, (7, 2))
    cov = np.stack([np.diag(row) for row in v])
    found = dersimonian_laird(coef, cov)
    from statsmodels.stats.meta_analysis import combine_effects

    for c in range(2):
        peer = combine_effects(coef[:, c], v[:, c], method_re="chi2")
        assert_allclose(found.tau[c] ** 2, max(peer.tau2, 0), rtol=1e-10)
        assert_allclose(found.mean[c], peer.mean_effect_re, rtol=1e-10)
        assert_allclose(found.mean_cov[c, c], peer.var_eff_w_re, rtol=1e-10)
        assert_allclose(found.q[c], peer.q, rtol=1e-10)
        assert_allclose(found.i_squared[c], max(0, 1 - 6 / peer.q), rtol=1e-10)


def test_shrinkage_by_the_published_form() -> None:
    rng = np.random.default_rng(3)
    coef = rng.normal(size=(6, 2))
    cov = np.stack([a @ a.T / 10 + 0.01 * np.eye(2) for a in rng.normal(size=(6, 2, 2))])
    effects = RandomEffects(np.array([0.1, 0.5]), np.diag([0.02, 0.03]), np.array([0.3, 0.2]), np.zeros(2), np.zeros(2))
    shrunk, joint = shrink(coef, cov, effects)
    T = np.diag(effects.tau**2)
    B = []
    for s in range(6):
        P = np.linalg.inv(np.linalg.inv(cov[s]) + np.linalg.inv(T))
        B.append(P @ np.linalg.inv(T))
        assert_allclose(shrunk[s], P @ (np.linalg.solve(cov[s], coef[s]) + np.linalg.solve(T, effects.mean)))
        spread = 2 / 3 * np.diag((B[s] @ (coef[s] - effects.mean)) ** 2)
        block = joint[2 * s : 2 * s + 2, 2 * s : 2 * s + 2]
        assert_allclose(block, P + B[s] @ effects.mean_cov @ B[s].T + spread, atol=1e-12)
    assert_allclose(joint[0:2, 2:4], B[0] @ effects.mean_cov @ B[1].T, atol=1e-14)
    assert_allclose(joint[0:2, 12:], B[0] @ effects.mean_cov, atol=1e-14)
    assert_allclose(shrunk[6], effects.mean)


def test_no_spread_pools_completely() -> None:
    rng = np.random.default_rng(4)
    coef, cov = rng.normal(size=(5, 2)), np.stack([np.eye(2)] * 5)
    effects = RandomEffects(np.array([1.0, 2.0]), 0.1 * np.eye(2), np.zeros(2), np.zeros(2), np.zeros(2))
    assert_allclose(shrink(coef, cov, effects)[0], np.tile([1.0, 2.0], (6, 1)))


def test_printed_sites() -> None:
    f, y, sites = printed_sites()
    model = HierarchicalCalibration().fit(f, y, sites=sites)
    assert_allclose(
        [model.mean_[1], np.sqrt(model.mean_cov_[1, 1]), model.tau_[1]], [0.6217, 0.0196, 0.0737], atol=5e-5
    )
    half = stats.t(18).ppf(0.975) * np.sqrt(model.mean_cov_[1, 1] + model.tau_[1] ** 2)
    assert_allclose(model.prediction_interval_[1], model.mean_[1] + np.array([-half, half]), rtol=1e-12)


# ---------------------------------------------------------------------- effects


def test_new_site_variance_in_parts() -> None:
    data = make_site_map(random_state=5)
    model = fitted_on(data)
    with pytest.warns(CalibrationWarning, match="new-site distribution used"):
        result = model.effect(data.predictions, treatment=data.treatment, sites=data.sites)
    naive, k = float(result.naive.estimate[0]), float(model.mean_[1])
    assert_allclose(result.estimate, naive / k, rtol=1e-12)
    parts = result.variance_parts.iloc[0]
    assert_allclose(parts["sampling"], result.naive.std_error[0] ** 2 / k**2, rtol=1e-9)
    assert_allclose(parts["calibration"], (naive / k) ** 2 * model.mean_cov_[1, 1] / k**2, rtol=1e-9)
    assert_allclose(parts["transport"], (naive / k) ** 2 * model.tau_[1] ** 2 / k**2, rtol=1e-9)
    assert_allclose(parts.sum(), result.std_error[0] ** 2, rtol=1e-12)
    # Fieller's set with t on S - 2 degrees of freedom is the default: its ends solve the equation.
    v_k = model.mean_cov_[1, 1] + model.tau_[1] ** 2
    interval = result.conf_int().iloc[0]
    for end in (interval["lower"], interval["upper"]):
        statistic = abs(naive - end * k) / np.sqrt(result.naive.std_error[0] ** 2 + end**2 * v_k)
        assert_allclose(statistic, stats.t(18).ppf(0.975), rtol=1e-9)


def test_known_sites_use_their_own_lines() -> None:
    data = make_site_map(n_sites=6, random_state=6)
    model = fitted_on(data)
    rng = np.random.default_rng(0)
    sites = rng.integers(0, 3, 400)
    m, k = model.shrunk_coef_[sites].T
    x, arm = rng.normal(size=400), np.arange(400) % 2
    g = model.centre_ + (x - m) / k
    assert_allclose(model.transform(x, sites=sites), g, rtol=1e-10)
    result = model.effect(x, treatment=arm, sites=sites)
    assert_allclose(result.estimate, g[arm == 1].mean() - g[arm == 0].mean(), rtol=1e-9)
    # Calibration variance by a numerical gradient in the shrunk lines.
    joint = shrink(model.site_coef_, model.site_cov_, dersimonian_laird(model.site_coef_, model.site_cov_))[1][:6, :6]

    def estimate(lines: np.ndarray) -> float:
        m, k = lines.reshape(3, 2)[sites].T
        g = model.centre_ + (x - m) / k
        return float(g[arm == 1].mean() - g[arm == 0].mean())

    centre = model.shrunk_coef_[:3].ravel()
    steps = 1e-6 * np.eye(6)
    gradient = np.array([(estimate(centre + step) - estimate(centre - step)) / 2e-6 for step in steps])
    assert_allclose(result.variance_parts["calibration"], gradient @ joint @ gradient, rtol=1e-6)
    assert_allclose(result.variance_parts["transport"], 0)


def test_two_new_sites_have_draws_of_their_own() -> None:
    data = make_site_map(n_sites=6, random_state=7)
    model = fitted_on(data)
    x, arm = np.tile([0.0, 1.0], 100), np.tile([0, 1], 100)
    with pytest.warns(CalibrationWarning):
        one = model.effect(x, treatment=arm, sites=np.full(200, "new"))
        two = model.effect(x, treatment=arm, sites=np.repeat(["new", "newer"], 100))
    assert_allclose(two.estimate, one.estimate)
    assert_allclose(two.variance_parts["transport"], one.variance_parts["transport"] / 2, rtol=1e-10)
    assert_allclose(two.variance_parts["calibration"], one.variance_parts["calibration"], rtol=1e-10)


def test_coverage_in_a_new_site() -> None:
    covered, slopes, ignoring, raw, shrunk = 0, 0, 0, [], []
    for seed in range(150):
        data = make_site_map(n_arm=1000, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = fitted_on(data)
            result = model.effect(data.predictions, treatment=data.treatment, sites=data.sites)
        interval = result.conf_int().iloc[0]
        covered += bool(interval["lower"] <= data.effect <= interval["upper"])
        low, high = model.prediction_interval_[1]
        slopes += bool(low <= data.site_slopes[-1] <= high)
        without = np.sqrt(result.variance_parts[["sampling", "calibration"]].to_numpy().sum())
        ignoring += bool(abs(result.estimate[0] - data.effect) < 1.96 * without)
        raw.append((model.site_coef_[:, 1] - data.site_slopes[:-1]) ** 2)
        shrunk.append((model.shrunk_coef_[:, 1] - data.site_slopes[:-1]) ** 2)
    # 800 repetitions gave .948, .946 and .444; a binomial(150, .946) is above 132 with probability .998.
    assert min(covered, slopes) >= 133
    assert ignoring < 100
    assert np.mean(shrunk) < np.mean(raw)
    assert_allclose(np.sqrt([np.mean(shrunk), np.mean(raw)]), [0.0424, 0.0455], rtol=0.06)


# ---------------------------------------------------------------------- related functions


def test_slope_heterogeneity_agrees() -> None:
    data = make_site_map(random_state=8)
    model = fitted_on(data)
    frame = slope_heterogeneity(data.calibration_predictions, data.calibration_y, sites=data.calibration_sites)
    assert_allclose(frame["slope"], model.site_coef_[:, 1])
    assert_allclose(frame["se"], np.sqrt(model.site_cov_[:, 1, 1]))
    assert_allclose(frame["shrunk"], model.shrunk_coef_[:, 1])
    assert_allclose(frame["shrunk_se"], np.sqrt(model.shrunk_cov_[:, 1, 1]))
    assert_allclose(frame.attrs["prediction_interval"], model.prediction_interval_[1])
    assert frame["n"].eq(60).all()


@pytest.mark.parametrize("method", ["svi", "nuts"])
def test_posterior_agrees_with_a_grid(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyro", reason="extra bayes is not installed")
    monkeypatch.setattr("causalkit.debiasing.hierarchical_posterior._SVI_STEPS", 1500)
    f, y, sites = printed_sites()
    size = {"num_samples": 300, "warmup_steps": 150, "n_chains": 1} if method == "nuts" else {"num_samples": 2000}
    model = HierarchicalCalibration(method=method, random_state=0, **size).fit(f, y, sites=sites)
    # The slope's posterior with its own likelihood only, on a grid of (μ, τ), under the stated priors.
    coef, var = model.site_coef_[:, 1], model.site_cov_[:, 1, 1]
    mu, tau = np.meshgrid(np.linspace(0.45, 0.8, 141), np.linspace(0.001, 0.3, 150))
    total = tau[..., None] ** 2 + var
    log = (-0.5 * np.log(total) - 0.5 * (coef - mu[..., None]) ** 2 / total).sum(axis=2)
    log += -0.5 * ((mu - 0.5) / 0.5) ** 2 - 0.5 * (tau / 0.25) ** 2
    mass = np.exp(log - log.max())
    mass /= mass.sum()
    assert_allclose(model.mean_[1], (mass * mu).sum(), atol=0.01)
    assert_allclose(model.tau_[1], (mass * tau).sum(), atol=0.012)
    simple = HierarchicalCalibration().fit(f, y, sites=sites)
    assert_allclose(model.shrunk_coef_, simple.shrunk_coef_, atol=0.02)
    known = model.effect(np.r_[0.0, 0.0, 1.0, 1.0], treatment=[0, 0, 1, 1], sites=[3, 3, 3, 3])
    assert_allclose(known.estimate, np.mean(1 / model.posterior_[:, 3, 1]), rtol=1e-10)


def test_one_site_that_outweighs_the_others_leaves_the_moments_finite() -> None:
    """C = Σw - Σw²/Σw is Σ_{s≠t} w_s w_t / Σw: with weights 1e30, 1, 2 that is 6 to thirty digits."""
    weights = np.array([1e30, 1.0, 2.0])
    coef = np.array([[0.0, 0.0], [3.0, 3.0], [1.0, 1.0]])
    cov = np.einsum("s,ij->sij", 1 / weights, np.eye(2))
    effects = dersimonian_laird(coef, cov)
    between = (1.0 * 9 + 2.0 * 1 - 2) / 6
    full = 1 / (1 / weights + between)
    assert_allclose(effects.mean, full @ coef / full.sum(), rtol=1e-12)
