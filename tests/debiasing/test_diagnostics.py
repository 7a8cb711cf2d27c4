"""Diagnostics, the exclusion test and held-out checks against statsmodels and designs of known truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import stats

from causalkit import (
    LinearCalibration,
    SplineCalibration,
    TweedieCorrection,
    exclusion_test,
    slope_heterogeneity,
    validate_correction,
)
from causalkit.datasets import make_differential_map, make_gaussian_map, make_site_map, make_surrogacy_map
from causalkit.debiasing.working_model import breusch_pagan, residual_shape, spline_design, wald
from tests.golden.debiasing_reference import natural_columns

pytestmark = pytest.mark.filterwarnings("ignore::causalkit.exceptions.CalibrationWarning")


def values_of(model: Any) -> pd.Series:
    return model.diagnostics().set_index("quantity")["value"]


# ---------------------------------------------------------------------- one sample


def test_diagnostics_of_a_linear_calibration() -> None:
    data = make_gaussian_map(k=0.6, n_calibration=400, random_state=0)
    f, y = data.calibration_predictions, data.calibration_y
    model = LinearCalibration().fit(f, y)
    frame = model.diagnostics()
    assert list(frame.columns) == ["quantity", "value", "se", "lower", "upper", "flag"]
    rows = frame.set_index("quantity")
    one, two = sm.OLS(f, sm.add_constant(y)).fit(cov_type="HC1"), sm.OLS(y, sm.add_constant(f)).fit(cov_type="HC1")
    names = [f"{name} ({given})" for given, pair in (
        ("prediction on truth", ("intercept m", "slope k")), ("truth on prediction", ("intercept a", "slope b"))
    ) for name in pair]  # fmt: skip
    assert_allclose(rows.loc[names, "value"], [*one.params, *two.params], rtol=1e-9)
    assert_allclose(rows.loc[names, "se"], [*one.bse, *two.bse], rtol=1e-9)
    assert_allclose(rows.loc[names[1], "upper"], one.params[1] + 1.959964 * one.bse[1], rtol=1e-9)
    for name, fit in (("p: nothing to correct (k = 1, m = 0)", one), ("p: Berkson (a = 0, b = 1)", two)):
        peer = fit.wald_test((np.eye(2), np.array([0.0, 1.0])), use_f=False, scalar=True)
        assert_allclose(rows.loc[name, "value"], float(peer.pvalue), rtol=1e-6, atol=1e-14)
    assert_allclose(rows.loc["squared correlation", "value"], two.rsquared, rtol=1e-10)
    assert_allclose(rows.loc["skewness of residuals", "value"], stats.skew(two.resid), rtol=1e-8)
    assert_allclose(rows.loc["excess kurtosis of residuals", "value"], stats.kurtosis(two.resid), rtol=1e-8)
    bend = spline_design(y, 4)
    peer = sm.OLS(f, bend).fit(cov_type="HC1").wald_test(np.eye(4)[2:], use_f=False, scalar=True)
    assert_allclose(rows.loc["p: E[prediction | truth] linear", "value"], float(peer.pvalue), rtol=1e-7)
    assert rows.loc["largest atom of predictions", "value"] == 0


def test_breusch_pagan_against_statsmodels() -> None:
    from statsmodels.stats.diagnostic import het_breuschpagan

    rng = np.random.default_rng(1)
    x = rng.normal(size=300)
    e = (1 + 0.4 * np.tanh(x)) * rng.normal(size=300)
    knots = np.quantile((x - x.mean()) / x.std(), np.linspace(0.02, 0.98, 5))
    peer = het_breuschpagan(e, natural_columns((x - x.mean()) / x.std(), knots), robust=True)
    assert_allclose(breusch_pagan(x, e), peer[:2], rtol=1e-7)
    counts = rng.integers(1, 4, 300)
    twice = breusch_pagan(np.repeat(x, counts), np.repeat(e, counts))
    knots_move = breusch_pagan(x, e, counts.astype(float))
    assert_allclose(knots_move[0], twice[0], rtol=0.05)  # the scale of x is that of the rows, not of the copies


def test_shape_and_wald() -> None:
    rng = np.random.default_rng(2)
    e, counts = rng.gamma(2, size=200), rng.integers(1, 4, 200)
    copies = np.repeat(e, counts)
    assert_allclose(residual_shape(e, counts.astype(float)), [stats.skew(copies), stats.kurtosis(copies)], rtol=1e-9)
    d, V = rng.normal(size=3), np.diag([1.0, 2.0, 4.0])
    assert_allclose(wald(d, V), [d**2 @ [1, 0.5, 0.25], stats.chi2.sf(d**2 @ [1, 0.5, 0.25], 3)], rtol=1e-12)


def test_rows_that_clusters_and_corrections_add() -> None:
    data = make_site_map(random_state=3)
    f, y, sites = data.calibration_predictions, data.calibration_y, data.calibration_sites
    found = values_of(LinearCalibration().fit(f, y, groups=sites))
    frame = pd.DataFrame({"f": f, "y": y, "s": sites})
    centred = frame[["f", "y"]] - frame.groupby("s")[["f", "y"]].transform("mean")
    means = frame.groupby("s")[["f", "y"]].mean()
    assert_allclose(found["slope k within clusters"], np.polyfit(centred["y"], centred["f"], 1)[0], rtol=1e-9)
    assert_allclose(found["slope k between clusters"], np.polyfit(means["y"], means["f"], 1)[0], rtol=1e-9)
    assert_allclose(found["smallest weight share of a cluster"], 1 / 20)
    assert_allclose(found["I² of slopes over clusters"], slope_heterogeneity(f, y, sites=sites).attrs["i_squared"])
    spline = SplineCalibration(n_knots=3).fit(f, y)
    assert_allclose(values_of(spline)["instrument strength F_3"], spline.strength_[3])
    tweedie = TweedieCorrection(n_knots=3).fit(f, y)
    assert values_of(tweedie)["increasing on the calibration range"] == tweedie.monotone_
    with pytest.warns(UserWarning, match="outside"):
        spline.effect(np.array([-9.0, 0, 0.1, 9]), treatment=[0, 1, 0, 1])
    assert_allclose(values_of(spline)["share of trial predictions off support"], 0.5)


def test_published_coefficients_have_few_diagnostics() -> None:
    found = values_of(LinearCalibration.from_coefficients(0.5, 0.1, [[0.01, 0], [0, 0.01]]))
    assert_allclose(found["slope k (prediction on truth)"], 0.5)
    assert "skewness of residuals" not in found.index
    expected = stats.chi2.sf((0.25 + 0.01) / 0.01, 2)
    assert_allclose(found["p: nothing to correct (k = 1, m = 0)"], expected, rtol=1e-9)


# ---------------------------------------------------------------------- exclusion and surrogacy


@pytest.mark.parametrize("clustered", [False, True])
def test_exclusion_test_against_statsmodels(clustered: bool) -> None:
    data = make_differential_map(n_calibration=300, random_state=4)
    f, y, a = data.calibration_predictions, data.calibration_y, data.calibration_treatment
    groups = np.arange(300) % 30 if clustered else None
    frame = exclusion_test(f, y, treatment=a, groups=groups)
    options = {"cov_type": "cluster", "cov_kwds": {"groups": groups}} if clustered else {"cov_type": "HC1"}
    row = 0
    for given, outcome in ((y, f), (f, y)):
        z = (given - given.mean()) / given.std()
        bent = natural_columns(z, np.quantile(z, np.linspace(0.02, 0.98, 4)))
        for base in (np.column_stack([np.ones(300), z]), bent):
            peer = sm.OLS(outcome, np.column_stack([base, a])).fit(use_t=clustered, **options)
            if clustered:
                p = 2 * stats.t(29).sf(abs(peer.params[-1] / peer.bse[-1]))
            else:
                p = peer.pvalues[-1]
            found = frame.loc[row, ["coefficient", "se", "pvalue"]].to_numpy(float)
            assert_allclose(found, [peer.params[-1], peer.bse[-1], p], rtol=1e-6, atol=1e-12)
            row += 1
    assert row == len(frame)


def test_readings() -> None:
    rng = np.random.default_rng(5)
    a = np.repeat([0, 1], 2000)
    y = a + rng.normal(size=4000)
    bent = np.logaddexp(0, 2 * y) + 0.3 * rng.normal(size=4000)  # exclusion holds, the mean bends
    frame = exclusion_test(bent, y, treatment=a)
    assert frame.attrs["reading"] == "exclusion kept, surrogacy rejected: use the corrected effect"
    linear = frame.loc[frame["form"].eq("linear") & frame["direction"].str.contains("exclusion"), "pvalue"]
    assert linear.iloc[0] < 0.05  # a bent mean passes for a violation where only lines are fitted
    data = make_surrogacy_map(n_calibration=4000, random_state=6)
    frame = exclusion_test(data.calibration_predictions, data.calibration_y, treatment=data.calibration_treatment)
    assert frame.attrs["reading"] == "exclusion rejected, surrogacy kept: use the naive effect"
    assert_allclose(frame["coefficient"].iloc[0], 0.32, atol=0.06)
    both = make_differential_map(n_calibration=4000, calibration_effect=2.0, random_state=7)
    frame = exclusion_test(both.calibration_predictions, both.calibration_y, treatment=both.calibration_treatment)
    assert "both rejected" in frame.attrs["reading"]
    frame = exclusion_test(bent[::40], y[::40], treatment=rng.permutation(a)[::40])
    assert frame.attrs["reading"] == "neither rejected: too little information, report the band"


def test_size_of_the_exclusion_test() -> None:
    rejected = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        a = np.repeat([0, 1], 200)
        y = 0.5 * a + rng.normal(size=400)
        f = 0.5 * y + 0.2 * np.tanh(2 * y) + 0.4 * rng.normal(size=400)
        frame = exclusion_test(f, y, treatment=a)
        rejected += frame["pvalue"].iloc[1] < 0.05
    # A binomial(200, .05) lies in [2, 20] with probability .998.
    assert 2 <= rejected <= 20


# ---------------------------------------------------------------------- held-out checks


def test_held_out_bias_by_hand() -> None:
    from sklearn.model_selection import GroupKFold

    data = make_gaussian_map(n_calibration=300, random_state=8)
    f, y, groups = data.calibration_predictions, data.calibration_y, np.arange(300) % 25
    frame = validate_correction(LinearCalibration(), f, y, n_bins=4, cv=3, groups=groups)
    g = np.empty(300)
    for train, test in GroupKFold(3).split(f, groups=groups):
        g[test] = LinearCalibration().fit(f[train], y[train]).transform(f[test])
    low = y < np.quantile(y, 0.25)
    error = g - y
    row = frame.iloc[0]
    assert_allclose([row["bias"], row["naive_bias"], row["n"]], [error[low].mean(), (f - y)[low].mean(), 75])
    sums = np.bincount(groups[low], weights=(error[low] - error[low].mean()) / 75)
    n = len(np.unique(groups[low]))
    assert_allclose(row["se"], np.sqrt(np.sum(sums**2) * n / (n - 1)), rtol=1e-9)
    chance = np.where(y > np.quantile(y, 0.85), 0.75, 0.25)
    share = chance / chance.sum() - (1 - chance) / (1 - chance).sum()
    rich = frame.set_index("label").loc["rich"]
    assert_allclose([rich["y_mean"], rich["bias"]], [share @ y, share @ error], rtol=1e-9)


def test_held_out_bias_finds_the_shrinkage() -> None:
    data = make_gaussian_map(k=0.5, n_calibration=5000, random_state=9)
    frame = validate_correction(LinearCalibration(), data.calibration_predictions, data.calibration_y, random_state=0)
    # Linear in truth: no bias beyond four standard errors, while the raw predictions are shrunk by a half.
    assert (np.abs(frame["bias"]) < 4 * frame["se"]).all()
    extreme = frame[frame["kind"].eq("bin")].iloc[[0, -1]]
    assert_allclose(extreme["naive_bias"], -0.5 * extreme["y_mean"], atol=0.1)


def test_slope_heterogeneity_attributes() -> None:
    data = make_site_map(n_sites=8, n_rows=100, random_state=10)
    f, y, sites = data.calibration_predictions, data.calibration_y, data.calibration_sites
    frame = slope_heterogeneity(f, y, sites=sites)
    weight = 1 / frame["se"] ** 2
    pooled = np.average(frame["slope"], weights=weight)
    assert_allclose(frame.attrs["q"], np.sum(weight * (frame["slope"] - pooled) ** 2), rtol=1e-9)
    assert_allclose(frame.attrs["total"], np.polyfit(y, f, 1)[0], rtol=1e-9)
    assert_allclose(frame.attrs["i_squared"], max(0, 1 - 7 / frame.attrs["q"]), rtol=1e-9)
